"""Capacities, efficiencies, retention, rates: against closed forms and what a simulated cell hides."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.physics.cell import Cell
from ssblab.analysis.cycling import (
    areal_capacity,
    capacity_retention,
    charge_capacity,
    coulombic_efficiency,
    discharge_capacity,
    discharge_energy,
    energy_efficiency,
    fade_per_cycle,
    group_cycles,
    mean_voltage,
    rate_capability,
    specific_capacity,
    split_steps,
)
from ssblab.quantities import BadInput, Value
from tests.ssblab.analysis.recorded import Channel, step

HOUR = np.arange(0.0, 3601.0, 60.0)
TEN_HOURS = np.arange(0.0, 36_001.0, 60.0)


def discharged(charge_mAh, **options):
    """An hour of discharge."""
    return step(HOUR, 3.5, -1e-3 * charge_mAh, **options)


def mAh(value, name="discharge_capacity"):
    return Value(name, value, "mAh", 0.0, "")


# Steps


def test_a_step_knows_its_charge_energy_and_mean_voltage():
    # A voltage that falls straight from 4 V to 3 V while 10 mAh pass: 35 mWh.
    one = step(TEN_HOURS, np.linspace(4.0, 3.0, len(TEN_HOURS)), -0.001)
    assert one.duration_s == 36_000
    assert one.passed_mAh == pytest.approx(10)
    assert one.energy_mWh == pytest.approx(35)
    assert one.mean_voltage_V == pytest.approx(3.5)
    assert (one.voltage_V[0], one.last_voltage_V) == (4.0, 3.0)


def test_what_the_counter_had_before_the_first_record_has_energy_too():
    one = step([60.0, 120.0], 2.0, -0.06, charge_mAh=[1.0, 2.0])
    assert (one.passed_mAh, one.energy_mWh, one.mean_voltage_V) == (2.0, 4.0, 2.0)


def test_a_rest_has_no_mean_voltage():
    assert math.isnan(step(HOUR, 3.5, 0.0, kind="rest").mean_voltage_V)


def test_a_step_of_columns_that_do_not_go_together_is_refused():
    with pytest.raises(BadInput, match="one value for each row"):
        step([0.0, 1.0], 3.5, 0.001, charge_mAh=[0.0])


def rows(**changes):
    time = np.arange(0.0, 60.0)
    block = np.repeat(np.arange(6), 10)
    given = {
        "time_s": time,
        "voltage_V": 3.0 + time / 100,
        "current_A": np.array([1e-3, 0.0, -1e-3])[block % 3],
        "step": block % 3 + 1,
        "cycle": block // 3 + 1,
    }
    return given | changes


def test_rows_of_a_stream_become_steps():
    steps = split_steps(**rows(), section="check-up 1")
    assert [one.number for one in steps] == ["1", "2", "3", "1", "2", "3"]
    assert [one.cycle for one in steps] == [1, 1, 1, 2, 2, 2]
    assert [one.kind for one in steps] == 2 * ["charge", "rest", "discharge"]
    assert {one.section for one in steps} == {"check-up 1"}
    assert [one.time_s[0] for one in steps] == [0, 10, 20, 30, 40, 50]
    assert sum(len(one.time_s) for one in steps) == 60
    assert steps[2].passed_mAh == pytest.approx(9 * 1e-3 / 3.6)
    assert list(group_cycles(steps)) == [("check-up 1", 1), ("check-up 1", 2)]


def test_the_same_step_in_a_new_cycle_is_a_new_step():
    assert len(split_steps(**rows(step=np.ones(60)))) == 2


def test_in_a_silicon_half_cell_a_falling_voltage_is_a_charge():
    steps = split_steps(**rows(), charge_raises_voltage=False)
    assert [one.kind for one in steps[:3]] == ["discharge", "rest", "charge"]


def test_the_words_of_the_program_go_before_a_guess():
    steps = split_steps(**rows(kind=np.repeat(["charge", "hold", "discharge"] * 2, 10)))
    assert steps[1].kind == "hold"


def test_the_counter_of_the_instrument_is_taken_if_there_is_one():
    steps = split_steps(**rows(charge_mAh=np.tile(np.linspace(0, 7.0, 10), 6)))
    assert steps[0].passed_mAh == 7.0


def test_rows_without_a_reading_are_left_out():
    voltage = rows()["voltage_V"].copy()
    voltage[5] = math.nan
    steps = split_steps(**rows(voltage_V=voltage))
    assert len(steps) == 6
    assert len(steps[0].time_s) == 9
    with pytest.raises(BadInput, match="no row"):
        split_steps(**rows(voltage_V=np.full(60, math.nan)))


def test_bad_rows_are_refused():
    with pytest.raises(BadInput, match="falls"):
        split_steps(**rows(time_s=rows()["time_s"][::-1]))
    with pytest.raises(BadInput, match="different lengths"):
        split_steps(**rows(cycle=[1]))


def test_a_step_may_have_gone_on_until_the_next_began_but_no_longer_than_records_are_apart():
    time = np.array([0.0, 60.0, 120.0, 125.0, 185.0, 500.0])
    steps = split_steps(time, np.full(6, 3.5), np.full(6, 1e-3), step=[1, 1, 1, 2, 2, 3])
    assert [one.unrecorded_s for one in steps[:2]] == [5.0, 60.0]
    assert math.isnan(steps[2].unrecorded_s)
    assert steps[0].unrecorded_mAh == pytest.approx(5e-3 / 3.6)


@given(st.floats(1e-3, 1e3), st.integers(2, 50))
def test_capacity_and_mean_voltage_do_not_depend_on_how_often_one_records_a_straight_course(scale, count):
    time = np.linspace(0, 3600, count)
    one = step(time, np.linspace(4.0, 3.0, count), -0.001 * scale)
    assert one.passed_mAh == pytest.approx(scale)
    assert one.mean_voltage_V == pytest.approx(3.5)


# Capacities


def test_the_capacity_of_a_cycle_is_that_of_all_its_steps_of_the_kind():
    records = [step(HOUR, 4.0, 0.003, kind="charge"), step(HOUR, 4.2, 0.001, kind="charge"), discharged(2.0)]
    records.append(step(HOUR, 4.2, 0.001, kind="hold"))
    capacity = charge_capacity(records, current_relative_accuracy=0.001)
    assert (capacity.name, capacity.unit) == ("charge_capacity", "mAh")
    assert capacity.value == pytest.approx(4.0)
    assert capacity.uncertainty == pytest.approx(4e-3 / math.sqrt(3))
    assert "2 steps" in capacity.definition
    assert discharge_capacity(records, current_relative_accuracy=0).value == pytest.approx(2.0)
    with pytest.raises(BadInput, match="no step of the kind 'discharge'"):
        discharge_capacity(records[:2], current_relative_accuracy=0)


def test_what_may_have_passed_after_the_last_record_is_an_uncertainty():
    # A minute at 1 mA.
    capacity = discharge_capacity([discharged(1.0, unrecorded_s=60.0)], current_relative_accuracy=0)
    assert capacity.uncertainty == pytest.approx(1 / 60 / math.sqrt(3))


def test_an_end_is_as_sharp_as_the_voltage_is_resolved():
    time_s, voltage_V = np.array([0.0, 1800.0, 3600.0]), np.array([4.0, 3.0, 2.5])
    steps = split_steps(time_s, voltage_V, [-1e-3] * 3, step=[1] * 3, voltage_resolution_V=1e-3)
    # 0.5 mAh while it falls by the last 500 mV: 1 uAh in one millivolt, in each of both discharges.
    steps = [dataclasses.replace(step, unrecorded_s=0.0) for step in steps]
    kept = capacity_retention(steps, steps)
    assert kept.value == 1.0
    assert kept.uncertainty == pytest.approx(math.sqrt(2) * 1e-3 / math.sqrt(3))


def test_coulombic_efficiency_does_not_know_the_accuracy_of_the_current():
    records = [step(HOUR, 4.0, 0.004, kind="charge"), discharged(3.0, unrecorded_s=36.0)]
    efficiency = coulombic_efficiency(records)
    assert (efficiency.value, efficiency.unit) == (pytest.approx(0.75), "1")
    assert efficiency.uncertainty == pytest.approx(0.75 * 0.01 / math.sqrt(3))
    nothing = coulombic_efficiency([step(HOUR, 4.0, 0.0, kind="charge"), discharged(3.0)])
    assert math.isnan(nothing.value)
    assert "no charge passed" in nothing.definition


def test_energies_and_mean_voltages():
    records = [step(HOUR, 4.0, 0.001, kind="charge"), step(HOUR, 3.0, -0.001)]
    assert mean_voltage(records, kind="charge", voltage_accuracy_V=0.001).value == pytest.approx(4.0)
    mean = mean_voltage(records, kind="discharge", voltage_accuracy_V=0.001)
    assert (mean.value, mean.unit) == (pytest.approx(3.0), "V")
    assert mean.uncertainty == pytest.approx(0.001 / math.sqrt(3))
    energy = discharge_energy(records, current_relative_accuracy=0.001, voltage_accuracy_V=0)
    assert (energy.value, energy.unit) == (pytest.approx(3.0), "mWh")
    assert energy.uncertainty == pytest.approx(3e-3 / math.sqrt(3))
    efficiency = energy_efficiency(records, voltage_accuracy_V=0.001)
    assert efficiency.value == pytest.approx(0.75)
    # An offset of 1 mV makes 3.001 / 4.001.
    assert efficiency.uncertainty == pytest.approx((3.001 / 4.001 - 0.75) / math.sqrt(3), rel=1e-3)
    below_zero = [step(HOUR, -0.5, -0.001, kind="charge"), step(HOUR, 0.3, 0.001)]
    assert math.isnan(energy_efficiency(below_zero, voltage_accuracy_V=0).value)


def test_retention_is_of_the_last_over_the_first():
    kept = capacity_retention([discharged(8.0)], [discharged(7.6)])
    assert (kept.name, kept.value, kept.unit) == ("capacity_retention", pytest.approx(0.95), "1")


def test_fade_of_the_published_laminate():
    # 95 % after 200 cycles (S000 L1384) is 0.025 % a cycle.
    fade = fade_per_cycle([1, 101, 201], [8.0, 7.8, 7.6])
    assert fade.value == pytest.approx(0.00025)
    assert fade.uncertainty == pytest.approx(0, abs=1e-9)


def test_the_scatter_of_the_capacities_is_in_the_fade():
    generator, cycle = np.random.default_rng(2), np.arange(1, 51)
    fades = [
        fade_per_cycle(cycle, 3.0 * (1 - 0.004 * (cycle - 1)) + generator.normal(0, 0.01, 50))
        for _ in range(200)
    ]
    apart = np.array([(one.value - 0.004) / one.uncertainty for one in fades])
    assert abs(apart.mean()) < 0.3
    assert 0.8 < apart.std() < 1.2
    with pytest.raises(BadInput, match="3 are needed"):
        fade_per_cycle([1, 2], [3.0, 2.9])


def test_rates():
    given = {1.0: [discharged(9.0)], 0.1: [discharged(10.0)], 4.0: [discharged(7.0)], 2.0: [discharged(8.5)]}
    shares, rate = rate_capability(given)
    assert [(one, value.value) for one, value in shares.items()] == [
        (0.1, 1.0),
        (1.0, pytest.approx(0.9)),
        (2.0, pytest.approx(0.85)),
        (4.0, pytest.approx(0.7)),
    ]
    # A third of the way from 85 % to 70 %, in the logarithm of the rate.
    assert rate.value == pytest.approx(2 * 2 ** (1 / 3))
    assert abs(rate.value - (2 + 2 / 3)) < 3 * rate.uncertainty
    assert rate.unit == "1/h"
    del given[4.0]
    _, unknown = rate_capability(given)
    assert math.isnan(unknown.value)
    assert "not crossed" in unknown.definition
    with pytest.raises(BadInput, match="at least 2"):
        rate_capability({1.0: [discharged(9.0)]})


def test_rates_of_charge():
    """What is varied is compared, not the slow way back."""
    given = {
        rate: [discharged(10.0), step(HOUR, 4.0, 1e-3 * charge_mAh, kind="charge")]
        for rate, charge_mAh in ((0.5, 10.0), (6.0, 7.0))
    }
    shares, rate = rate_capability(given, "charge")
    assert [(value.name, value.value) for value in shares.values()] == [
        ("relative_charge_capacity_0.5C", 1.0),
        ("relative_charge_capacity_6C", pytest.approx(0.7)),
    ]
    assert "rate at which the charge capacity is 80%" in rate.definition
    assert 0.5 < rate.value < 6.0


def test_rate_at_80_percent_of_a_cell_whose_capacity_falls_with_the_logarithm_of_the_rate():
    def capacity(rate):
        return 10 - 4 * math.log10(rate / 0.1)

    rates = (0.1, 0.2, 0.5, 1.0)
    _, found = rate_capability({rate: [discharged(capacity(rate))] for rate in rates})
    assert found.value == pytest.approx(0.1 * 10**0.5)


def test_capacity_per_mass_and_area():
    specific = specific_capacity(mAh(3.0), mass_mg=1.0, mass_uncertainty_mg=0.01)
    assert (specific.name, specific.unit) == ("specific_discharge_capacity", "mAh/g")
    assert (specific.value, specific.uncertainty) == (pytest.approx(3000.0), pytest.approx(30.0))
    areal = areal_capacity(mAh(8.0), area_cm2=4.0, area_uncertainty_cm2=None)
    assert (areal.value, areal.unit, areal.uncertainty) == (2.0, "mAh/cm2", 0.0)
    assert "without the uncertainty of the area" in areal.definition
    with pytest.raises(BadInput, match="mass_mg is 0"):
        specific_capacity(mAh(3.0), mass_mg=0.0, mass_uncertainty_mg=None)
    with pytest.raises(BadInput, match="mAh is needed"):
        areal_capacity(replace(mAh(3.0), unit="Ah"), area_cm2=1.0, area_uncertainty_cm2=None)


# The simulated cell


def test_a_cycle_of_a_simulated_cell(clock):
    channel = Channel(Cell(clock, state_of_charge=0.0))
    records = [
        channel.current("charge", 0.0008, limit_V=4.2),
        channel.voltage("charge", 4.2, at_s=np.arange(0.0, 7201.0, 60.0)),
        channel.rest(at_s=HOUR),
        channel.current("discharge", -0.0008, limit_V=2.5),
    ]
    charged = charge_capacity(records, current_relative_accuracy=0)
    discharge = discharge_capacity(records, current_relative_accuracy=0)
    # Full is what the open circuit says; a tenth of the hourly rate comes near it from below.
    assert 0.985 < charged.value / 8.0 < 1.001
    assert charged.value - discharge.value == pytest.approx(1e3 * channel.cell.charge_Ah, abs=1e-6)
    # The integral of V dQ that the records give, against that of the cell's equations.
    energies = [one.energy_mWh * (1 if one.kind == "charge" else -1) for one in records]
    assert sum(energies) == pytest.approx(1e3 * channel.cell.energy_Wh, abs=0.002)
    assert 0.99 < coulombic_efficiency(records).value < 1.0
    assert group_cycles(records).keys() == {("", 1)}


def test_records_of_other_spacing_give_the_same_capacity(clock):
    found = []
    for every_s in (60.0, 600.0):
        channel = Channel(Cell(clock, state_of_charge=1.0))
        found.append(channel.current("discharge", -0.008, limit_V=2.5, every_s=every_s))
    assert found[0].passed_mAh == pytest.approx(found[1].passed_mAh, rel=1e-6)
    fine, coarse = (mean_voltage([one], kind="discharge", voltage_accuracy_V=0) for one in found)
    assert fine.uncertainty < 5e-4
    assert fine.value == pytest.approx(coarse.value, abs=3 * coarse.uncertainty)
