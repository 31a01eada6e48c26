from math import log

import pytest

from sim_devices.physics.constants import ATMOSPHERE_Pa
from sim_devices.physics.vacuum import VacuumChamber


def test_pump_down_is_exponential_then_limited() -> None:
    chamber = VacuumChamber(leak_conductance_m3_s=0.0, outgassing_Pa_m3_s=0.0, ultimate_pressure_Pa=1.0)
    time_constant_s = chamber.volume_m3 / chamber.pumping_speed_m3_s
    chamber.advance(time_constant_s * log(100.0), pump_on=True)
    assert chamber.pressure_Pa == pytest.approx(1.0 + (ATMOSPHERE_Pa - 1.0) / 100.0)
    chamber.advance(3600.0, pump_on=True)
    assert chamber.pressure_Pa == pytest.approx(1.0)


def test_reaches_vacuum_in_minutes_and_stays_below_10_pascal() -> None:
    chamber = VacuumChamber()
    chamber.advance(600.0, pump_on=True)
    assert 1.0 < chamber.pressure_Pa < 10.0


def test_semigroup() -> None:
    whole, parts = VacuumChamber(), VacuumChamber()
    mean_Pa = whole.advance(90.0, pump_on=True)
    first_Pa = parts.advance(30.0, pump_on=True)
    second_Pa = parts.advance(60.0, pump_on=True)
    assert parts.pressure_Pa == pytest.approx(whole.pressure_Pa, rel=1e-11)
    assert (first_Pa + 2.0 * second_Pa) / 3.0 == pytest.approx(mean_Pa, rel=1e-11)


def test_a_leak_keeps_it_from_the_limit() -> None:
    chamber = VacuumChamber(leak_conductance_m3_s=1e-5)
    chamber.advance(1e5, pump_on=True)
    assert chamber.pressure_Pa > 500.0


def test_pump_off_rises_slowly_and_vent_returns_it_to_the_room() -> None:
    chamber = VacuumChamber(pressure_Pa=2.0)
    chamber.advance(3600.0, pump_on=False)
    # 1e-3 Pa m3/s of outgassing and 1e-9 m3/s of leak at 1 atm into 20 L.
    assert chamber.pressure_Pa == pytest.approx(2.0 + 3600.0 * (1e-3 + 1.01325e-4) / 0.02, rel=1e-2)
    chamber.advance(600.0, pump_on=False, vent_open=True)
    assert chamber.pressure_Pa == pytest.approx(ATMOSPHERE_Pa)


def test_a_sealed_chamber_never_exceeds_the_room() -> None:
    chamber = VacuumChamber(pressure_Pa=2.0)
    chamber.advance(1e12, pump_on=False)
    assert chamber.pressure_Pa == pytest.approx(ATMOSPHERE_Pa)
