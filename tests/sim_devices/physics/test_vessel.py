import pytest

from sim_devices.physics.vessel import ReactionVessel

FLOW_mol_s = 3.7e-4


def test_a_step_of_water_is_washed_in_over_the_residence_time() -> None:
    vessel = ReactionVessel()
    vessel.advance(vessel.gas_mol / FLOW_mol_s, flow_mol_s=FLOW_mol_s, inlet_water_mole_fraction=1e-3)
    assert vessel.water_mole_fraction == pytest.approx(0.63212e-3, rel=1e-4)


def test_h2s_settles_at_release_over_flow() -> None:
    vessel = ReactionVessel()
    vessel.advance(300.0, flow_mol_s=FLOW_mol_s, inlet_water_mole_fraction=0.0, h2s_release_mol_s=1e-9)
    assert vessel.h2s_mole_fraction * FLOW_mol_s == pytest.approx(1e-9, rel=1e-9)


def test_sulfur_balance() -> None:
    vessel = ReactionVessel()
    for release_mol_s, flow_mol_s in [(1e-9, FLOW_mol_s), (2e-10, FLOW_mol_s), (1e-10, 0.0), (0.0, 1e-4)]:
        vessel.advance(
            7.0, flow_mol_s=flow_mol_s, inlet_water_mole_fraction=0.0, h2s_release_mol_s=release_mol_s
        )
    held_mol = vessel.h2s_mole_fraction * vessel.gas_mol
    assert held_mol + vessel.h2s_out_mol == pytest.approx(7.0 * (1e-9 + 2e-10 + 1e-10), rel=1e-9)


def test_semigroup() -> None:
    whole, parts = ReactionVessel(), ReactionVessel()
    inputs = {
        "flow_mol_s": FLOW_mol_s,
        "inlet_water_mole_fraction": 1e-3,
        "water_uptake_mol_s": 1e-9,
        "h2s_release_mol_s": 5e-10,
    }
    whole.advance(10.0, **inputs)
    parts.advance(4.0, **inputs)
    parts.advance(6.0, **inputs)
    assert parts.h2s_mole_fraction == pytest.approx(whole.h2s_mole_fraction, rel=1e-12)
    assert parts.water_mole_fraction == pytest.approx(whole.water_mole_fraction, rel=1e-12)
    assert parts.h2s_out_mol == pytest.approx(whole.h2s_out_mol, rel=1e-10)


def test_bypassed_it_keeps_its_gas() -> None:
    vessel = ReactionVessel(water_mole_fraction=1e-3, h2s_mole_fraction=2e-6)
    vessel.advance(3600.0, flow_mol_s=0.0, inlet_water_mole_fraction=0.0)
    assert (vessel.water_mole_fraction, vessel.h2s_mole_fraction) == (1e-3, 2e-6)
    assert vessel.h2s_out_mol == 0.0
