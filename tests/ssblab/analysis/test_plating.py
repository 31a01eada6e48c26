"""Shorts made by hand, the known thickness of lithium, and simulated cells that know when they shorted."""

import math

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from ssblab.analysis.plating import (
    HalfCycle,
    critical_current_density,
    find_short,
    half_cycles,
    plated_thickness,
    smallest_potential,
)
from ssblab.quantities import BadInput
from tests.ssblab.analysis.recorded import Channel

TIME = np.arange(0.0, 3600.0, 10.0)


def plated(voltage_V, *, current_A=5e-4, time_s=TIME):
    time, voltage, current = np.broadcast_arrays(time_s, voltage_V, current_A)
    return HalfCycle(time, np.array(voltage, dtype=float), np.array(current, dtype=float))


def test_one_milliampere_hour_is_4_85_micrometres_of_lithium():
    thickness = plated_thickness(1.0, area_cm2=1.0, charge_uncertainty_mAh=0.01)
    assert (thickness.value, thickness.unit) == (pytest.approx(4.85, abs=5e-3), "um")
    assert thickness.uncertainty == pytest.approx(0.0485, abs=5e-5)
    assert plated_thickness(2.0, area_cm2=4.0).value == pytest.approx(thickness.value / 2)
    with pytest.raises(BadInput, match="without sign"):
        plated_thickness(-1.0, area_cm2=1.0)
    with pytest.raises(BadInput, match="area_cm2"):
        plated_thickness(1.0, area_cm2=0.0)


def test_half_cycles_are_where_a_current_of_one_sign_and_size_flows():
    current = np.repeat([0.0, 1e-4, -1e-4, 0.0, 2e-4, 3e-4], 20)
    cycles = half_cycles(np.arange(120.0), 0.03 * np.sign(current), current)
    assert [one.mean_current_A for one in cycles] == [1e-4, -1e-4, 2e-4, 3e-4]
    assert [one.time_s[0] for one in cycles] == [20, 40, 80, 100]
    assert cycles[0].charge_mAh[-1] == pytest.approx(19 * 1e-4 / 3.6)
    with pytest.raises(BadInput, match="no current"):
        half_cycles(np.arange(120.0), np.zeros(120), np.zeros(120))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sudden_fall_is_a_short_and_its_charge_is_known(sign):
    short = find_short(plated(sign * np.where(TIME < 1800, 0.1, 0.01), current_A=sign * 5e-4))
    assert short.time_s == 1800
    assert short.charge_mAh == pytest.approx(0.25)
    assert "fell from 0.1 V to 0.01 V" in short.reason


@pytest.mark.parametrize(
    "voltage_V",
    [
        np.full(360, 0.1),
        0.1 + 0.05 * np.exp(-TIME / 500),  # a peak of nucleation that wears off
        0.1 * (1 - np.exp(-TIME / 5)),  # rises
        np.where(TIME == 1800, 0.01, 0.1),  # one reading
        0.1 + np.random.default_rng(0).normal(0, 0.003, 360),
    ],
)
def test_what_is_no_short(voltage_V):
    assert find_short(plated(voltage_V)) is None


def test_a_cell_that_was_shorted_from_the_beginning_is_found_by_its_resistance():
    flat = plated(0.05)
    assert find_short(flat) is None
    assert find_short(flat, floor_ohm=90.0) is None
    short = find_short(flat, floor_ohm=200.0)
    assert "below 0.09 V" in short.reason


def test_bad_arguments_are_refused():
    with pytest.raises(BadInput, match="fall_fraction"):
        find_short(plated(0.1), fall_fraction=1.5)
    with pytest.raises(BadInput, match="floor_ohm"):
        find_short(plated(0.1), floor_ohm=0.0)


def test_the_critical_current_is_the_last_that_was_survived():
    results = [
        (0.1, False),
        (-0.1, False),
        (0.2, False),
        (-0.2, False),
        (0.3, False),
        (-0.3, True),
        (0.4, False),
    ]
    critical, shorting = critical_current_density(results, current_relative_accuracy=0.0)
    assert (critical.value, critical.unit) == (0.3, "mA/cm2")
    assert (shorting.value, shorting.name) == (0.3, "shorting_current_density")
    critical, shorting = critical_current_density(
        [*results[:4], (0.3, True)], current_relative_accuracy=0.001
    )
    assert (critical.value, shorting.value) == (0.2, 0.3)
    assert critical.uncertainty == pytest.approx(0.1 / math.sqrt(3), rel=1e-3)


def test_a_critical_current_that_was_not_found_is_not_invented():
    critical, shorting = critical_current_density([(0.1, False), (0.2, False)], current_relative_accuracy=0.0)
    assert critical.value == 0.2
    assert math.isnan(critical.uncertainty)
    assert "lower bound" in critical.definition
    assert math.isnan(shorting.value)
    critical, shorting = critical_current_density([(0.1, True)], current_relative_accuracy=0.0)
    assert math.isnan(critical.value)
    assert shorting.value == 0.1
    with pytest.raises(BadInput, match="no half cycles"):
        critical_current_density([], current_relative_accuracy=0.0)


def test_the_potential_of_a_negative_electrode_and_where_it_reaches_zero():
    charge = np.linspace(0, 8, 81)
    least, at = smallest_potential(0.1 - 0.02 * charge, charge, potential_accuracy_V=0.0)
    assert (least.value, least.unit) == (pytest.approx(-0.06), "V")
    assert (at.value, at.unit) == (pytest.approx(5.0), "mAh")
    assert at.uncertainty == pytest.approx(0.1 / math.sqrt(12))
    _, never = smallest_potential(0.1 + 0 * charge, charge, potential_accuracy_V=0.0)
    assert math.isnan(never.value)


def stepped(clock, *, temperature_C=25.0, densities=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)):
    """Plate and strip with rising current; the records, and the cell."""
    cell = Cell(clock, design="li-llz-li", capacity_Ah=0.005, area_cm2=1.0, temperature_C=temperature_C)
    floor_ohm = float(cell.impedance(np.array([1e-2])).real[0])
    channel = Channel(cell)
    steps = [
        channel.current("charge", sign * 1e-3 * density, at_s=np.arange(0.0, 3601.0, 10.0))
        for density in densities
        for sign in (1, -1)
    ]
    columns = (
        np.concatenate([getattr(one, name)[1:] for one in steps])
        for name in ("time_s", "voltage_V", "current_A")
    )
    return cell, floor_ohm, half_cycles(*columns)


def judged(cycles, floor_ohm):
    """Areal current (mA/cm2, of 1 cm2) of each half cycle, and whether it shorted."""
    return [
        (1e3 * cycle.mean_current_A, find_short(cycle, floor_ohm=floor_ohm) is not None) for cycle in cycles
    ]


def test_a_simulated_cell_shorts_above_its_critical_current(clock):
    cell, floor_ohm, cycles = stepped(clock)
    results = judged(cycles, floor_ohm)
    critical, shorting = critical_current_density(results, current_relative_accuracy=0.0)
    # The cell knows when lithium grew through: in this half cycle or, softly, in the one before.
    shorted = next(number for number, one in enumerate(cycles) if one.time_s[-1] >= cell.shorted_at_s)
    first = next(number for number, (_, short) in enumerate(results) if short)
    assert 0 <= first - shorted <= 1
    assert cell.shorted
    assert critical.value <= shorting.value
    # Voids concentrate the current, so that it is below that of the clean interface, 0.5 mA/cm2.
    assert 0.3 <= critical.value <= 0.5


def test_a_simulated_cell_that_does_not_short_is_not_called_shorted(clock):
    cell, floor_ohm, cycles = stepped(clock, densities=(0.05, 0.1, 0.2))
    assert not cell.shorted
    assert not any(short for _, short in judged(cycles, floor_ohm))


def test_heat_lets_a_simulated_garnet_bear_more(clock):
    # S002 L28-42: voids and short at 25 degC, suppressed at about 100 degC.
    found = []
    for temperature_C in (25.0, 100.0):
        _, floor_ohm, cycles = stepped(clock, temperature_C=temperature_C)
        results = judged(cycles, floor_ohm)
        found.append(critical_current_density(results, current_relative_accuracy=0.0)[0].value)
    assert found[1] > found[0]
