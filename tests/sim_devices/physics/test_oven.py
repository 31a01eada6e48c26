import numpy as np
import pytest

from sim_devices.physics.oven import Oven


class Steady:
    """A heater that does not act by itself."""

    acts = False

    def __init__(self, power):
        self.output_fraction = power
        self.steps = []

    def advance(self, dt_s, temperature_C):
        self.steps.append((dt_s, temperature_C))


def make(clock, **options):
    return Oven(clock, np.random.default_rng(1), **options)


def test_without_controller_it_stays_at_room_temperature(clock):
    oven = make(clock)
    clock.sleep(3600.0)
    assert oven.temperature_C() == pytest.approx(25.0)


def test_steady_power_ends_where_heating_and_loss_are_equal(clock):
    oven = make(clock, loss_W_K=2.0, heater_power_W=400.0, heat_capacity_J_K=500.0)
    oven.attach(Steady(0.5))
    clock.sleep(86_400.0)
    assert oven.temperature_C() == pytest.approx(25.0 + 100.0)


def test_a_burnt_heater_does_not_heat(clock):
    oven = make(clock)
    oven.attach(Steady(1.0))
    oven.heater_works = False
    clock.sleep(3600.0)
    assert oven.temperature_C() == pytest.approx(25.0)


def test_a_heater_that_does_not_act_costs_one_step(clock):
    oven, heater = make(clock), Steady(0.0)
    oven.attach(heater)
    clock.sleep(86_400.0)
    oven.temperature_C()
    assert [dt_s for dt_s, _ in heater.steps] == [86_400.0]


def test_a_heater_that_acts_is_asked_each_second(clock):
    oven, heater = make(clock), Steady(0.0)
    heater.acts = True
    oven.attach(heater)
    clock.sleep(5.5)
    oven.temperature_C()
    assert [dt_s for dt_s, _ in heater.steps] == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]


def test_noise_is_the_generators(clock):
    quiet, noisy, same = make(clock), make(clock, noise_K=0.1), make(clock, noise_K=0.1)
    looks = [noisy.temperature_C() for _ in range(200)]
    assert looks == [same.temperature_C() for _ in range(200)]
    assert np.std(looks) == pytest.approx(0.1, rel=0.3)
    assert quiet.temperature_C() == 25.0
