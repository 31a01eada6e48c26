"""The moisture laboratory as a whole: the same seed, the same data; couplings; cost."""

import numpy as np
import pytest

from sim_devices.lab.moisture import MoistureRoom
from ssblab.clock import VirtualClock
from ssblab.samples import ElectrolyteSample
from ssblab.station import build_laboratory, load_station

DAY_S = 86400.0
SULFUR_PER_FORMULA = 4.4  # Li5.4PS4.4Cl1.6
MOLAR_MASS_g_mol = 5.4 * 6.94 + 30.974 + 4.4 * 32.06 + 1.6 * 35.45
VESSEL_VALVE, PURGE_SHUT, PUMP = 3, 4, 5


@pytest.fixture
def sample():
    found = load_station("sim").samples["argyrodite-01"]
    assert isinstance(found, ElectrolyteSample)
    return found.model_dump()


def turn(lab, *on):
    """Bring the relays into a position."""
    for channel in range(6):
        lab.things["room"].switch(channel, channel in on)


def readings(seed, sample):
    """What a sequence of readings gives."""
    clock = VirtualClock(epoch=0)
    lab = build_laboratory(load_station("sim").simulated.model_copy(update={"seed": seed}), clock)
    try:
        lab.mount(sample)
        lab.things["room"].flow_setpoint_mL_min = 500.0
        turn(lab, 0, VESSEL_VALVE, PURGE_SHUT)
        found = []
        for _ in range(20):
            clock.sleep(60.0)
            room = lab.things["room"].advance()
            found += [room.dew_point_sensor.read_C(), room.h2s_sensor.read_ppm(), room.gauge_Pa()]
        return found
    finally:
        lab.close()
        clock.close()


def test_the_same_seed_gives_the_same_readings_and_another_does_not(sample):
    first = readings(1, sample)
    assert readings(1, sample) == first
    assert readings(2, sample) != first


def test_without_a_sample_there_is_no_h2s_and_the_cell_is_empty(lab, clock):
    turn(lab, VESSEL_VALVE, PURGE_SHUT)
    lab.things["room"].flow_setpoint_mL_min = 500.0
    clock.sleep(3600.0)
    room = lab.things["room"].advance()
    assert room.vessel.h2s_mole_fraction == 0.0
    impedance = room.impedance(np.array([1e3, 1e6]))
    assert (np.abs(impedance) > 1e4).all()
    assert np.degrees(np.angle(impedance)) == pytest.approx([-90.0, -90.0])


def test_an_unknown_sample_is_refused_with_those_there_are(lab, sample):
    with pytest.raises(ValueError, match=r"no sample 'other': it has argyrodite-01, lps-lii-01; add it"):
        lab.mount({**sample, "name": "other"})
    assert lab.things["room"].electrolyte is None


def test_idle_days_advance_in_few_steps(lab, clock, sample, monkeypatch):
    lab.mount(sample)
    steps = []
    step = MoistureRoom._step
    monkeypatch.setattr(
        MoistureRoom, "_step", lambda room, dt_s, *told: (steps.append(dt_s), step(room, dt_s, *told))
    )
    clock.sleep(5 * DAY_S)
    lab.things["room"].advance()
    assert sum(steps) == pytest.approx(5 * DAY_S)
    assert len(steps) < 10


@pytest.mark.ground_truth
@pytest.mark.parametrize("end", ["purge", "bypass"])
def test_gt02_h2s_stays_within_the_sulfur_and_ends_with_dry_gas_or_bypass(lab, clock, sample, end):
    lab.mount(sample)
    lab.things["room"].flow_setpoint_mL_min = 500.0
    turn(lab, 2, VESSEL_VALVE, PURGE_SHUT)  # room air, the wettest there is
    clock.sleep(3 * 3600.0)
    exposed = lab.things["room"].advance().vessel.h2s_mole_fraction
    assert exposed > 1e-9
    turn(lab, *([] if end == "purge" else [PURGE_SHUT]))
    clock.sleep(1800.0)
    before_mol = lab.things["room"].advance().vessel.h2s_out_mol
    clock.sleep(600.0)
    after_mol = lab.things["room"].advance().vessel.h2s_out_mol
    exposed_mol_s = exposed * lab.things["room"].mass_flow.flow_mol_s
    assert (after_mol - before_mol) / 600.0 < 0.01 * exposed_mol_s
    sulfur_mol = SULFUR_PER_FORMULA * sample["mass_g"] / MOLAR_MASS_g_mol
    assert 0.0 < after_mol <= sulfur_mol


def test_the_relays_reach_pump_and_gas(lab, clock):
    turn(lab, PURGE_SHUT, PUMP)
    clock.sleep(600.0)
    assert lab.things["room"].advance().vacuum.pressure_Pa < 10.0
    turn(lab)
    clock.sleep(300.0)
    assert lab.things["room"].advance().vacuum.pressure_Pa == pytest.approx(101325.0, rel=0.01)


def test_h2s_in_the_room_reaches_the_wall_detector_and_latches(lab, devices):
    detector = devices["room_h2s"]
    assert detector.tripped == ""
    lab.things["room"].room_h2s_ppm = 12.0
    detector.trigger().wait()
    assert detector.concentration.get() == pytest.approx(12.0)
    lab.things["room"].room_h2s_ppm = 0.0
    detector.trigger().wait()
    assert "gas alarm" in detector.tripped
