import itertools
import math

import numpy as np
import pytest

from sim_devices.physics.climate_chamber import ClimateChamber
from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa


def quiet(clock, **options):
    return ClimateChamber(
        clock, np.random.default_rng(1), temperature_noise_K=0.0, humidity_noise_percent=0.0, **options
    )


def test_far_from_the_target_it_goes_at_its_rates(clock):
    chamber = quiet(clock, heating_K_min=3.0, cooling_K_min=1.5)
    chamber.control(100.0, None)
    clock.sleep(600.0)
    assert chamber.temperature_C() == pytest.approx(23.0 + 30.0)
    chamber.control(-30.0, None)
    clock.sleep(600.0)
    assert chamber.temperature_C() == pytest.approx(53.0 - 15.0)


def test_a_controller_may_ask_for_slower_rates(clock):
    chamber = quiet(clock)
    chamber.rate_limits_K_min = (1.0, 0.5)
    chamber.control(100.0, None)
    clock.sleep(600.0)
    assert chamber.temperature_C() == pytest.approx(33.0)


def test_it_overshoots_a_little_and_settles(clock):
    chamber = quiet(clock)
    chamber.control(60.0, None)
    seen_C = []
    for _ in range(200):
        clock.sleep(10.0)
        seen_C.append(chamber.temperature_C())
    assert 60.2 < max(seen_C) < 61.5
    assert seen_C[-1] == pytest.approx(60.0, abs=1e-3)


def test_the_loop_takes_over_without_a_jump_of_the_rate(clock):
    chamber = quiet(clock)
    chamber.control(60.0, None)
    last_C, rates = chamber.temperature_C(), []
    for _ in range(1200):
        clock.sleep(1.0)
        now_C = chamber.temperature_C()
        rates.append(now_C - last_C)
        last_C = now_C
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < 0.002  # K/s within a second


def test_looking_often_makes_no_difference(clock):
    often, seldom = quiet(clock), quiet(clock)
    for chamber in (often, seldom):
        chamber.control(60.0, 70.0)
    for _ in range(100):
        clock.sleep(7.7)
        often.temperature_C()
    assert often.temperature_C() == pytest.approx(seldom.temperature_C(), abs=1e-9)
    assert often.humidity_percent() == pytest.approx(seldom.humidity_percent(), abs=1e-9)


def test_without_control_it_goes_to_the_room(clock):
    chamber = quiet(clock, temperature_C=80.0, passive_s=3600.0)
    clock.sleep(3600.0)
    assert chamber.temperature_C() == pytest.approx(23.0 + 57.0 / math.e)
    clock.sleep(1e6)
    assert chamber.temperature_C() == pytest.approx(23.0)
    assert chamber.humidity_percent() == pytest.approx(45.0)


def test_humidity_lags(clock):
    chamber = quiet(clock, humidity_lag_s=240.0)
    chamber.control(23.0, 85.0)
    clock.sleep(240.0)
    assert chamber.humidity_percent() == pytest.approx(85.0 - 40.0 / math.e)


def test_uncontrolled_vapour_stays_while_the_air_gets_warm(clock):
    chamber = quiet(clock, leak_s=1e9)
    chamber.control(60.0, None)
    clock.sleep(7200.0)
    dried = saturation_pressure_liquid_Pa(23.0) / saturation_pressure_liquid_Pa(60.0)
    assert chamber.humidity_percent() == pytest.approx(45.0 * dried, rel=1e-4)


def test_the_air_is_never_supersaturated(clock):
    chamber = quiet(clock)
    chamber.control(-20.0, None)
    clock.sleep(7200.0)
    assert chamber.humidity_percent() <= 100.0


def test_a_heater_that_is_broken_does_not_heat(clock):
    chamber = quiet(clock)
    chamber.heating_K_min = 0.0
    chamber.control(60.0, None)
    clock.sleep(3600.0)
    assert chamber.temperature_C() == 23.0
    assert chamber.heater_percent() == 0.0


def test_the_heater_makes_up_for_the_loss(clock):
    chamber = quiet(clock, heating_K_min=3.0, passive_s=3600.0)
    chamber.control(83.0, None)
    clock.sleep(60.0)
    chamber.temperature_C()
    assert chamber.heater_percent() == 100.0
    clock.sleep(7200.0)
    chamber.temperature_C()
    assert chamber.heater_percent() == pytest.approx(100.0 * (60.0 / 60.0) / 3.0, rel=1e-3)


def test_noise_comes_from_the_generator_alone(clock):
    one, same, other = (ClimateChamber(clock, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.temperature_C() == same.temperature_C() != other.temperature_C()
