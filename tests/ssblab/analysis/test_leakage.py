"""Leakage against known constants below known transients, and the oxidation hidden in a simulated cell."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.physics.cell import Cell
from sim_devices.physics.cell_equations import State
from ssblab.analysis.leakage import fit_hold
from ssblab.quantities import BadInput
from tests.ssblab.analysis.recorded import Channel

EXACT = {"current_accuracy_A": 0.0, "current_relative_accuracy": 0.0}
DAYS = np.geomspace(1.0, 5 * 86400.0, 400)
TRANSIENTS = {
    "exponential": 2e-3 * np.exp(-DAYS / 3e3),
    "two exponentials": 1e-3 * np.exp(-DAYS / 200) + 1e-4 * np.exp(-DAYS / 2e4),
    "stretched": 2e-3 * np.exp(-np.sqrt(DAYS / 3e3)),
    "steep power law": 2e-4 * (DAYS / 100) ** -0.9,
    "rising": -1e-3 * np.exp(-DAYS / 2e4),
    "none": 0 * DAYS,
}


def near(value, truth):
    return abs(value.value - truth) < 3 * value.uncertainty


@pytest.mark.parametrize("leak_uA", [0.0, 3.0, -3.0])
@pytest.mark.parametrize("transient", TRANSIENTS)
def test_a_known_leakage_below_a_known_transient(transient, leak_uA):
    noise_A = np.random.default_rng(1).normal(0, 5e-8, len(DAYS))
    fit = fit_hold(DAYS, TRANSIENTS[transient] + 1e-6 * leak_uA + noise_A, **EXACT)
    assert fit.leakage_current.unit == "uA"
    assert near(fit.leakage_current, leak_uA)
    if transient in ("exponential", "two exponentials", "rising", "none"):
        assert fit.leakage_current.uncertainty < 0.15


def test_a_slow_power_law_is_not_taken_for_a_leakage():
    # Diffusion into a half space goes on for ever: the records cannot tell, and the uncertainty says so.
    current = 2e-4 * (DAYS / 100) ** -0.5 + np.random.default_rng(1).normal(0, 5e-8, len(DAYS))
    leakage = fit_hold(DAYS, current, **EXACT).leakage_current
    assert near(leakage, 0.0)
    assert leakage.uncertainty > 1e6 * current[-1] / 2


@settings(max_examples=4, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_units_of_current_and_time_change_nothing_else(current, time):
    once = fit_hold(DAYS, TRANSIENTS["exponential"] + 3e-6, **EXACT).leakage_current
    other = fit_hold(time * DAYS, current * (TRANSIENTS["exponential"] + 3e-6), **EXACT).leakage_current
    assert other.value / current == pytest.approx(once.value, abs=once.uncertainty)


def test_records_spaced_evenly_give_the_same_as_records_spaced_in_the_logarithm():
    for time in (DAYS, np.arange(0.0, 5 * 86400.0, 30.0)):
        current = 2e-3 * np.exp(-time / 3e3) + 3e-6
        noise_A = np.random.default_rng(4).normal(0, 5e-8, len(time))
        assert near(fit_hold(time, current + noise_A, **EXACT).leakage_current, 3.0)


def test_charges_are_integrals_from_a_given_time():
    time = np.arange(0.0, 36_001.0, 10.0)
    fit = fit_hold(time, 1e-3 * np.exp(-time / 1000) + 1e-5, after_s=3600.0, **EXACT)
    settled_mAh = 1000 * (math.exp(-3.6) - math.exp(-36)) / 3600
    assert fit.hold_charge.value == pytest.approx(settled_mAh + 0.01 * 9, rel=1e-4)
    assert fit.leakage_charge.value == pytest.approx(0.01 * 9, abs=3 * fit.leakage_charge.uncertainty)
    assert fit.leakage_charge.unit == "mAh"
    assert fit.leakage_charge.uncertainty == pytest.approx(9e-3 * fit.leakage_current.uncertainty)
    assert fit.time_s[0] == 3600


def test_the_zero_of_the_instrument_is_in_the_uncertainty():
    fit = fit_hold(DAYS, TRANSIENTS["none"] + 1e-6, current_accuracy_A=3e-7, current_relative_accuracy=0.0)
    assert fit.leakage_current.uncertainty == pytest.approx(0.3 / math.sqrt(3), rel=1e-3)


def test_the_fit_goes_through_the_records():
    fit = fit_hold(DAYS, TRANSIENTS["two exponentials"] + 3e-6, **EXACT)
    np.testing.assert_allclose(fit.fitted_A, fit.current_A, rtol=0.02)


def test_no_current_at_all_is_no_leakage():
    fit = fit_hold(DAYS, np.zeros(len(DAYS)), **EXACT)
    assert fit.leakage_current.value == pytest.approx(0, abs=1e-4)


def test_bad_holds_are_refused():
    with pytest.raises(BadInput, match="at least 12"):
        fit_hold(DAYS, TRANSIENTS["none"], after_s=4e5, **EXACT)
    with pytest.raises(BadInput, match="does not rise"):
        fit_hold(DAYS[::-1], TRANSIENTS["none"], **EXACT)


def held(clock, voltage_V):
    """Charge a fresh cell, hold it for five days; the records, and the oxidation that is hidden in it."""
    channel = Channel(Cell(clock, design="ncm-in-li", capacity_Ah=0.004))
    channel.current("charge", 0.0004, limit_V=voltage_V)
    oxidised_C = []
    cell = channel.cell
    began_s = channel.now_s
    time = np.append(0.0, np.geomspace(1.0, 5 * 86400.0, 300))
    cell.source_voltage(voltage_V, at_s=began_s)
    current = []
    for passed_s in time:
        cell.advance(began_s + passed_s)
        current.append(cell.current_A)
        oxidised_C.append(cell._state[State.OXIDISED_C])
    return time, np.array(current), np.array(oxidised_C)


@pytest.mark.parametrize("voltage_V", [3.63, 3.93])
def test_leakage_of_a_simulated_hold_is_the_hidden_oxidation(clock, voltage_V):
    time, current, oxidised_C = held(clock, voltage_V)
    fit = fit_hold(time, current, after_s=60.0, **EXACT)
    rate_uA = 1e6 * (oxidised_C[-1] - oxidised_C[150]) / (time[-1] - time[150])
    assert fit.leakage_current.value == pytest.approx(rate_uA, abs=3 * fit.leakage_current.uncertainty)
    assert fit.leakage_current.uncertainty < 0.02
    after = np.searchsorted(time, 60.0)
    hidden_mAh = (oxidised_C[-1] - oxidised_C[after]) / 3.6
    assert fit.leakage_charge.value == pytest.approx(hidden_mAh, abs=3 * fit.leakage_charge.uncertainty)


def test_more_leaks_at_the_higher_voltage(clock):
    low, high = (fit_hold(*held(clock, volts)[:2], after_s=60.0, **EXACT) for volts in (3.63, 3.93))
    assert high.leakage_current.value > 100 * abs(low.leakage_current.value)
