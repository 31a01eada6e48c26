import pytest

from sim_devices.physics.constants import flow_mL_min_from_mol_s, flow_mol_s_from_mL_min
from sim_devices.physics.mass_flow import MassFlowController


def test_standard_flow_units() -> None:
    # Ideal gas: 24.465 L at 25 degC and 1 atm are one mol.
    assert flow_mol_s_from_mL_min(24_465.0) == pytest.approx(1.0 / 60.0)
    assert flow_mL_min_from_mol_s(flow_mol_s_from_mL_min(500.0)) == pytest.approx(500.0)


def test_flow_follows_the_setpoint_with_its_time_constant() -> None:
    controller = MassFlowController(time_constant_s=1.0)
    mean_mol_s = controller.advance(1.0, setpoint_mol_s=1e-4)
    assert controller.flow_mol_s == pytest.approx(0.63212e-4, rel=1e-4)
    assert mean_mol_s == pytest.approx(0.36788e-4, rel=1e-4)
    controller.advance(60.0, setpoint_mol_s=1e-4)
    assert controller.flow_mol_s == pytest.approx(1e-4)


def test_semigroup() -> None:
    whole, parts = MassFlowController(), MassFlowController()
    whole.advance(2.0, setpoint_mol_s=1e-4)
    parts.advance(0.7, setpoint_mol_s=1e-4)
    parts.advance(1.3, setpoint_mol_s=1e-4)
    assert parts.flow_mol_s == pytest.approx(whole.flow_mol_s, rel=1e-12)


def test_full_scale_and_negative_setpoints_are_held() -> None:
    controller = MassFlowController()
    controller.advance(60.0, setpoint_mol_s=1.0)
    assert flow_mL_min_from_mol_s(controller.flow_mol_s) == pytest.approx(1000.0)
    controller.advance(60.0, setpoint_mol_s=-1.0)
    assert controller.flow_mol_s == pytest.approx(0.0, abs=1e-20)


def test_a_weak_source_cannot_carry_the_setpoint() -> None:
    controller = MassFlowController()
    setpoint_mol_s = 0.9 * controller.full_scale_mol_s
    assert controller.reachable_mol_s(setpoint_mol_s, 1.5e5) == setpoint_mol_s
    assert controller.reachable_mol_s(setpoint_mol_s, 1.1e5) < setpoint_mol_s
    assert controller.reachable_mol_s(setpoint_mol_s, 0.9e5) == 0.0
