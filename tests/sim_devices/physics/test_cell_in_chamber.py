"""A cell that stands in a climate chamber or in an oven."""

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from sim_devices.physics.climate_chamber import ClimateChamber
from sim_devices.physics.oven import Oven

LAG_S = 150.0  # heat capacity over heat loss, per area of the cell


@pytest.fixture
def chamber(clock):
    return ClimateChamber(clock, np.random.default_rng(1), temperature_C=25.0, heating_K_min=3.0)


@pytest.fixture
def oven(clock):
    return Oven(clock, np.random.default_rng(1))


class Power:
    """A controller that holds a heater power."""

    acts = False

    def __init__(self, power):
        self.output_fraction = power

    def advance(self, dt_s, temperature_C):
        pass


def test_a_cell_starts_with_the_air_and_follows_a_ramp_with_its_lag(clock, chamber):
    cell = Cell(clock, surroundings=chamber)
    assert cell.temperature_C() == 25.0
    chamber.control(85.0, None)
    clock.sleep(900.0)
    rate_K_s = 3.0 / 60.0
    assert cell.temperature_C() == pytest.approx(25.0 + rate_K_s * (900.0 - LAG_S), abs=0.2)
    clock.sleep(7200.0)
    assert cell.temperature_C() == pytest.approx(85.0, abs=0.05)


def test_looking_seldom_gives_the_same_as_looking_often(clock, chamber):
    often, seldom = (Cell(clock, surroundings=chamber) for _ in range(2))
    for cell in (often, seldom):
        cell.source_current(-0.004, voltage_min_V=2.5)
    for target_C in (60.0, 25.0, -20.0):
        chamber.control(target_C, None)
        for _ in range(60):
            clock.sleep(20.0)
            often.read()
        chamber.advance_to(clock.monotonic())
    assert seldom.temperature_C() == pytest.approx(often.temperature_C(), abs=0.05)
    assert seldom.read()[0] == pytest.approx(often.read()[0], abs=1e-3)
    assert seldom.energy_Wh == pytest.approx(often.energy_Wh, rel=1e-4)


def test_a_target_changed_while_nobody_looks_at_the_cell_is_followed_later(clock, chamber):
    """Hot for half an hour and back: the cell has been hot, though it was looked at only cold."""
    cell = Cell(clock, surroundings=chamber)
    chamber.control(85.0, None)
    clock.sleep(3600.0)
    chamber.advance_to(clock.monotonic())
    chamber.control(25.0, None)
    clock.sleep(1200.0)
    air_C, rate_K_s = 85.0 - 1.5 * 20.0, -1.5 / 60.0
    assert chamber.temperature_C() == pytest.approx(air_C, abs=0.5)
    assert cell.temperature_C() == pytest.approx(chamber.air_C - rate_K_s * LAG_S, abs=0.3)


class Program:
    """A controller that finds out what it should have done only when it is asked."""

    def __init__(self, clock, chamber, steps):
        self._clock, self._chamber, self._steps = clock, chamber, list(steps)
        chamber.attach(self.catch_up)

    def catch_up(self):
        now_s = self._clock.monotonic()
        while self._steps and self._steps[0][0] <= now_s:
            time_s, target_C = self._steps.pop(0)
            self._chamber.advance_to(time_s)
            self._chamber.control(target_C, None)


def test_a_program_of_the_controller_is_caught_up_with_before_a_cell_follows(clock, chamber):
    now_s = clock.monotonic()
    Program(clock, chamber, [(now_s, 85.0), (now_s + 3600.0, 25.0)])
    cell = Cell(clock, surroundings=chamber)
    clock.sleep(4800.0)
    assert cell.temperature_C() == pytest.approx(55.0 + 1.5 / 60.0 * LAG_S, abs=0.6)


def test_a_cutoff_is_found_while_the_chamber_moves(clock, chamber):
    cell = Cell(clock, surroundings=chamber)
    chamber.control(-20.0, None)
    began_s = clock.monotonic()
    cell.source_current(-0.008)
    clock.sleep(10_000.0)
    reached_s = cell.advance(ended=lambda voltage_V, _: voltage_V < 3.0)
    assert began_s + 600.0 < reached_s < clock.monotonic()
    assert cell.voltage_V == pytest.approx(3.0, abs=1e-3)
    assert cell.equations.ambient_C[0] <= reached_s


def test_weeks_at_rest_are_one_piece(clock, chamber, oven):
    chamber.control(45.0, None)
    oven.attach(Power(0.05))
    for air in (chamber, oven):
        clock.sleep(86_400.0)
        now_s = clock.monotonic()
        air.advance_to(now_s)
        clock.sleep(42 * 86_400.0)
        assert air.air_until(now_s, clock.monotonic())[0] == clock.monotonic()


def test_a_cell_follows_an_oven(clock, oven):
    cell = Cell(clock, surroundings=oven)
    oven.attach(Power(0.2))
    level_K, time_constant_s = 0.2 * 600.0 / 1.5, 1000.0
    clock.sleep(1000.0)
    oven_K = level_K * -np.expm1(-1.0)
    behind_K = level_K / time_constant_s * np.exp(-1.0) * LAG_S
    assert oven.air_C == pytest.approx(25.0, abs=0.1)  # nobody has looked
    assert cell.temperature_C() == pytest.approx(25.0 + oven_K - behind_K, abs=1.0)
    assert oven.air_C == pytest.approx(25.0 + oven_K)
    clock.sleep(86_400.0)
    assert cell.temperature_C() == pytest.approx(25.0 + level_K, abs=0.05)


def test_a_cell_is_warmer_than_the_air_by_its_own_heat(clock, chamber):
    cell = Cell(clock, surroundings=chamber)
    chamber.control(25.0, None)
    cell.source_current(-0.04, voltage_min_V=2.5)
    clock.sleep(300.0)
    assert cell.temperature_C() > chamber.air_C + 0.1
