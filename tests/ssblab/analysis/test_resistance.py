"""DC resistance of circuits with known elements, and of a simulated cell against its own impedance."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from ssblab.analysis.resistance import (
    Pulse,
    areal_resistance,
    current_groups,
    dc_resistance,
    mean_resistance,
    pulse_resistance,
)
from ssblab.quantities import BadInput, Value
from tests.ssblab.analysis.recorded import Channel, step

R0, R1, TAU = 3.0, 2.0, 1.5
EXACT = {"voltage_resolution_V": 0.0, "current_relative_accuracy": 0.0}


def circuit(time_s):
    return R0 + R1 * (1 - np.exp(-np.asarray(time_s) / TAU))


def pulse(current_A, *, drift_V_s=0.0, noise_V=0.0, every_s=0.1, first_s=0.0, counter=True, seed=0):
    """A circuit R0 + R1 || C1 and a source that drifts, at rest until 600 s and in a pulse of 12 s."""
    generator = np.random.default_rng(seed)
    rest = np.arange(0.0, 600.5, 1.0)
    passed = np.arange(first_s, 12.0, every_s)
    drift = lambda time: 3.7 + drift_V_s * (time - 600)  # noqa: E731
    voltage = drift(600 + passed) + current_A * circuit(passed) + generator.normal(0, noise_V, len(passed))
    return Pulse(
        step(rest, drift(rest) + generator.normal(0, noise_V, len(rest)), 0.0, kind="rest"),
        step(
            600 + passed,
            voltage,
            current_A,
            charge_mAh=abs(current_A) * passed / 3.6 if counter else None,
        ),
    )


@pytest.mark.parametrize("current_A", [0.004, -0.004])
def test_resistances_of_a_known_circuit(current_A):
    found = pulse_resistance(pulse(current_A), **EXACT)
    assert list(found) == [0.1, 1.0, 10.0]
    for time_s, value in found.items():
        assert value.name == f"dc_resistance_{time_s:g}s"
        assert (value.value, value.unit) == (pytest.approx(circuit(time_s), rel=1e-6), "ohm")


def test_what_the_open_circuit_does_by_itself_is_taken_off():
    found = pulse_resistance(pulse(-0.004, drift_V_s=1e-4), **EXACT)[10.0]
    assert found.value == pytest.approx(circuit(10.0), rel=1e-6)
    assert "drifted by 0.1 mV/s" in found.definition


def test_a_pulse_that_was_first_read_late_is_timed_by_the_charge_that_had_passed():
    late = pulse_resistance(pulse(-0.004, first_s=0.05, every_s=0.5), **EXACT)
    assert 0.1 in late  # between the first two records
    assert late[0.1].value == pytest.approx(circuit(0.1), abs=3 * late[0.1].uncertainty)
    assert late[10.0].value == pytest.approx(circuit(10.0), rel=1e-4)
    told = replace(pulse(-0.004, first_s=0.2, every_s=0.2, counter=False), start_s=600.0)
    found = pulse_resistance(told, **EXACT)
    assert list(found) == [1.0, 10.0]
    assert found[1.0].value == pytest.approx(circuit(1.0), rel=1e-6)


def test_times_that_the_records_do_not_reach_are_left_out():
    assert list(pulse_resistance(pulse(0.004), after_s=(1.0, 60.0), **EXACT)) == [1.0]


def test_uncertainties_of_a_pulse_are_as_large_as_its_errors():
    apart = []
    for seed in range(100):
        value = pulse_resistance(pulse(-0.004, noise_V=1e-4, seed=seed), **EXACT)[10.0]
        apart.append((value.value - circuit(10.0)) / value.uncertainty)
    assert 0.7 < np.std(apart) < 1.3
    assert abs(np.mean(apart)) < 0.4


def test_resolution_and_accuracy_are_counted():
    value = pulse_resistance(pulse(0.004), voltage_resolution_V=1e-3, current_relative_accuracy=0.01)[10.0]
    resolution, gain = 1e-3 / math.sqrt(12) / 0.004, circuit(10.0) * 0.01 / math.sqrt(3)
    assert value.uncertainty == pytest.approx(math.hypot(resolution, gain), rel=1e-3)


def test_a_rest_of_few_records_gives_its_last_voltage():
    short = pulse(0.004)
    rest = step([600.0], 3.7, 0.0, kind="rest")
    value = pulse_resistance(replace(short, rest=rest), **EXACT)[10.0]
    assert value.value == pytest.approx(circuit(10.0))
    assert "fewer than 3 records" in value.definition


def test_the_slope_over_several_currents():
    currents = (-0.001, -0.002, -0.003, -0.004)
    value = dc_resistance([pulse(one, drift_V_s=1e-5) for one in currents], **EXACT)
    assert (value.name, value.unit) == ("dc_resistance_10s", "ohm")
    assert value.value == pytest.approx(circuit(10.0), rel=1e-6)
    assert dc_resistance([pulse(one) for one in currents], after_s=1.0, **EXACT).value == pytest.approx(
        circuit(1.0)
    )


def test_uncertainties_of_the_slope_are_as_large_as_its_errors():
    apart = []
    for seed in range(60):
        pulses = [
            pulse(one, noise_V=1e-4, seed=10 * seed + i) for i, one in enumerate((-0.001, -0.002, -0.004))
        ]
        value = dc_resistance(pulses, **EXACT)
        apart.append((value.value - circuit(10.0)) / value.uncertainty)
    assert 0.5 < np.std(apart) < 1.3


def test_bad_pulses_are_refused():
    with pytest.raises(BadInput, match="at least two currents"):
        dc_resistance([pulse(0.004), pulse(0.004)], **EXACT)
    with pytest.raises(BadInput, match="at least two currents"):  # what differs is noise
        dc_resistance([pulse(0.004), pulse(0.004002)], **EXACT)
    with pytest.raises(BadInput, match="no current"):
        pulse_resistance(pulse(0.0), **EXACT)


def test_currents_are_told_apart_by_more_than_the_accuracy():
    currents_A = [-0.005, -0.002, -0.005001, -0.0048]
    assert current_groups(currents_A, current_relative_accuracy=0.002) == [[2, 0], [3], [1]]
    assert current_groups(currents_A, current_relative_accuracy=0.01) == [[2, 0, 3], [1]]
    assert current_groups([], current_relative_accuracy=0.002) == []


def test_the_mean_of_pulses_is_as_uncertain_as_they_are_or_as_they_scatter():
    several = [Value("r", ohms, "ohm", 0.1, "(V - V0) / I") for ohms in (10.0, 10.02)]
    mean = mean_resistance(several)
    assert (mean.value, mean.uncertainty) == (pytest.approx(10.01), pytest.approx(0.1))
    assert mean.definition == "mean of 2 pulses: (V - V0) / I"
    apart = mean_resistance([several[0], Value("r", 11.0, "ohm", 0.1, "")])
    assert apart.uncertainty == pytest.approx(0.5)
    assert mean_resistance(several[:1]) == several[0]
    with pytest.raises(BadInput, match="no resistance"):
        mean_resistance([])


def test_areal_resistance():
    value = areal_resistance(Value("r", 5.0, "ohm", 0.1, ""), area_cm2=4.0, area_uncertainty_cm2=0.04)
    assert (value.name, value.value, value.unit) == ("areal_r", 20.0, "ohm cm2")
    assert value.uncertainty == pytest.approx(math.hypot(0.4, 0.2))
    with pytest.raises(BadInput, match="ohm is needed"):
        areal_resistance(Value("r", 5.0, "S", 0.1, ""), area_cm2=4.0, area_uncertainty_cm2=None)


def step_response_ohm(cell, time_s):
    """Voltage over current after a step of current, from the impedance at imaginary frequencies.

    H. Stehfest, Commun. ACM 13 (1970) 47.
    """
    terms, half = 12, 6
    total = 0.0
    for k in range(1, terms + 1):
        weight = sum(
            j**half
            * math.factorial(2 * j)
            / math.prod(math.factorial(one) for one in (half - j, j, j - 1, k - j, 2 * j - k))
            for j in range((k + 1) // 2, min(k, half) + 1)
        )
        s = k * math.log(2) / time_s
        impedance = cell.impedance(np.array([-1j * s / (2 * np.pi)]))[0].real
        total += (-1) ** (k + half) * weight * impedance / s
    return total * math.log(2) / time_s


def simulated(clock, design):
    channel = Channel(Cell(clock, design=design, state_of_charge=0.5))
    pulses = []
    for current_A in (0.0005, 0.001, 0.002, 0.004):
        rest = channel.rest(at_s=np.arange(0.0, 601.0, 10.0))
        away = channel.current("discharge", -current_A, at_s=np.arange(0.0, 10.05, 0.1))
        pulses.append(Pulse(rest, away))
        channel.current("charge", current_A, at_s=np.arange(0.0, 10.05, 0.1))
    return pulses


def test_a_simulated_cell_answers_a_pulse_as_its_impedance_says(clock):
    found = pulse_resistance(simulated(clock, "standard-2.1")[0], **EXACT)
    cell = Cell(clock, state_of_charge=0.5)
    for time_s in (0.1, 1.0, 10.0):
        assert found[time_s].value == pytest.approx(step_response_ohm(cell, time_s), rel=2e-3)


def test_bond_levels_of_simulated_cells_stand_to_each_other_as_documented(clock):
    # S001 L5904-5907: (b) about twice, (c) about 1.3 times (a).
    bonded, b, c = (
        dc_resistance(simulated(clock, design), **EXACT).value
        for design in ("standard-2.1", "bond-b", "bond-c")
    )
    assert b / bonded == pytest.approx(2.0, abs=0.1)
    assert c / bonded == pytest.approx(1.3, abs=0.05)
