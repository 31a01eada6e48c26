import numpy as np
import pytest

from sim_devices.physics.circulator import Circulator

ROOM_C = 25.0


def make(clock, **options):
    return Circulator(clock, np.random.default_rng(1), **{"noise_K": 0.0} | options)


def after(clock, circulator, seconds):
    clock.sleep(seconds)
    return circulator.bath_C()


def test_idle_it_stays_at_room_temperature(clock):
    circulator = make(clock)
    assert after(clock, circulator, 86_400.0) == pytest.approx(ROOM_C)
    assert circulator.power_percent() == 0.0


def test_full_power_heats_at_the_rate_of_its_heat_capacity(clock):
    circulator = make(clock, heat_capacity_J_K=12_000.0, heating_W=2000.0)
    circulator.control(90.0)
    assert circulator.power_percent() == 100.0
    assert after(clock, circulator, 6.0) == pytest.approx(ROOM_C + 1.0, abs=0.01)


@pytest.mark.parametrize("target_C", [60.0, 25.5, 5.0, -20.0])
def test_it_gets_there_and_holds_with_the_power_that_the_loss_takes(clock, target_C):
    circulator = make(clock, loss_W_K=4.0, heating_W=2000.0, cooling_W=400.0)
    circulator.control(target_C)
    assert after(clock, circulator, 3 * 3600.0) == pytest.approx(target_C, abs=1e-3)
    loss_W = 4.0 * (target_C - ROOM_C)
    assert circulator.power_percent() == pytest.approx(loss_W / (20.0 if loss_W > 0 else 4.0), abs=0.1)
    assert circulator.external_C() == pytest.approx(target_C, abs=1e-3)


def test_the_steps_in_which_it_is_looked_at_do_not_matter(clock):
    once, often = make(clock), make(clock)
    for circulator in (once, often):
        circulator.control(70.0)
    for _ in range(500):
        clock.sleep(1.0)
        often.external_C()
    assert often.bath_C() == pytest.approx(once.bath_C(), abs=1e-3)
    assert often.external_C() == pytest.approx(once.external_C(), abs=1e-3)


def test_a_temperature_out_of_reach_is_not_reached(clock):
    circulator = make(clock, loss_W_K=10.0, cooling_W=200.0)
    circulator.control(-20.0)
    assert after(clock, circulator, 86_400.0) == pytest.approx(ROOM_C - 20.0, abs=0.01)
    assert circulator.power_percent() == -100.0


def test_the_cell_lags_behind_the_bath(clock):
    circulator = make(clock)
    circulator.control(60.0)
    clock.sleep(120.0)
    assert ROOM_C < circulator.external_C() < circulator.bath_C()


def test_stopped_it_drifts_back(clock):
    circulator = make(clock)
    circulator.control(60.0)
    assert after(clock, circulator, 7200.0) == pytest.approx(60.0, abs=0.01)
    circulator.control(None)
    assert circulator.power_percent() == 0.0
    assert ROOM_C < after(clock, circulator, 1800.0) < 50.0


def test_noise_is_the_generators(clock):
    noisy, same = make(clock, noise_K=0.01), make(clock, noise_K=0.01)
    looks = [noisy.bath_C() for _ in range(200)]
    assert looks == [same.bath_C() for _ in range(200)]
    assert np.std(looks) == pytest.approx(0.01, rel=0.3)
