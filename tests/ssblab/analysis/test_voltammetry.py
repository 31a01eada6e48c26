"""Stability windows of voltammograms whose onset is a closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssblab.analysis.voltammetry import onset_potential, split_sweeps, stability_window, sweep_charges
from ssblab.quantities import BadInput

RATE_V_s, AREA_cm2 = 1e-3, 0.785
TAFEL_V, OXIDISES_V, REDUCES_V = 0.05, 2.6, 1.7
DOUBLE_LAYER_F, LEAK_S = 1e-5, 1e-8
INERT_V = (2.0, 2.3)
GIVEN = {"threshold_uA_cm2": 1.0, "area_cm2": AREA_cm2, "inert_V": INERT_V, "potential_accuracy_V": 0.0}


def faradaic_A(potential_V):
    """Two Tafel lines that are at 1 uA/cm2 where the electrolyte is said to react."""
    oxidation = np.exp((potential_V - OXIDISES_V) / TAFEL_V)
    reduction = np.exp((REDUCES_V - potential_V) / TAFEL_V)
    return 1e-6 * AREA_cm2 * (oxidation - reduction)


def voltammogram(*ends_V, step_V=1e-3, noise_A=0.0, seed=0):
    potential = [ends_V[0]]
    for end in ends_V[1:]:
        count = max(2, round(abs(end - potential[-1]) / step_V))
        potential += list(np.linspace(potential[-1], end, count + 1)[1:])
    potential = np.array(potential)
    time = np.append(0.0, np.cumsum(np.abs(np.diff(potential)))) / RATE_V_s
    direction = np.sign(np.gradient(potential, time))
    current = faradaic_A(potential) + DOUBLE_LAYER_F * RATE_V_s * direction + LEAK_S * (potential - 2.0)
    return time, potential, current + np.random.default_rng(seed).normal(0, noise_A, len(time))


WIDENED = (2.15, 2.5, 1.9, 2.7, 1.6, 2.8, 1.5, 2.15)


def test_a_voltammogram_is_taken_apart_at_its_turns():
    sweeps = split_sweeps(*voltammogram(*WIDENED))
    assert [one.direction for one in sweeps] == ["anodic", "cathodic"] * 3 + ["anodic"]
    assert [round(one.potential_V[-1], 9) for one in sweeps] == [*WIDENED[1:]]
    assert [one.rate_V_s for one in sweeps] == pytest.approx([1e-3, -1e-3] * 3 + [1e-3])


def test_noise_of_the_potential_is_no_turn():
    time, potential, current = voltammogram(*WIDENED)
    rough = potential + np.random.default_rng(1).normal(0, 3e-4, len(time))
    assert len(split_sweeps(time, rough, current)) == 7
    with pytest.raises(BadInput, match="no sweep"):
        split_sweeps(time, 2.0 + 1e-6 * potential, current)


@pytest.mark.parametrize("noise_A", [0.0, 2e-8])
def test_onsets_are_where_the_reaction_has_the_threshold(noise_A):
    sweeps = split_sweeps(*voltammogram(*WIDENED, noise_A=noise_A))
    oxidation = onset_potential(sweeps, direction="anodic", **GIVEN)
    reduction = onset_potential(sweeps, direction="cathodic", **GIVEN)
    assert (oxidation.name, reduction.name) == ("onset_oxidation", "onset_reduction")
    # The Tafel current in the inert region, 0.2 % of the threshold, tilts the line a little.
    assert oxidation.value == pytest.approx(OXIDISES_V, abs=3 * oxidation.uncertainty + 2e-3)
    assert reduction.value == pytest.approx(REDUCES_V, abs=3 * reduction.uncertainty + 2e-3)
    assert oxidation.uncertainty < 5e-3
    assert "sweep 2 of 4" in oxidation.definition
    window = stability_window(oxidation, reduction)
    assert (window.name, window.unit) == ("stability_window", "V")
    assert window.value == pytest.approx(OXIDISES_V - REDUCES_V, abs=3 * window.uncertainty + 4e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 30.0))
def test_another_threshold_moves_the_onset_along_the_tafel_line(threshold):
    sweeps = split_sweeps(*voltammogram(*WIDENED))
    value = onset_potential(sweeps, direction="anodic", **GIVEN | {"threshold_uA_cm2": threshold})
    assert value.value == pytest.approx(OXIDISES_V + TAFEL_V * math.log(threshold), abs=5e-3)


def test_a_window_that_was_not_reached_is_not_invented():
    sweeps = split_sweeps(*voltammogram(2.15, 2.5, 1.9, 2.15))
    value = onset_potential(sweeps, direction="anodic", **GIVEN)
    assert math.isnan(value.value)
    assert "not exceeded up to 2.5 V" in value.definition
    reduction = onset_potential(split_sweeps(*voltammogram(*WIDENED)), direction="cathodic", **GIVEN)
    assert math.isnan(stability_window(value, reduction).value)


def test_one_record_above_the_threshold_is_noise():
    time, potential, current = voltammogram(2.15, 2.5, 1.9, 2.15)
    current[200] += 1e-4
    assert math.isnan(
        onset_potential(split_sweeps(time, potential, current), direction="anodic", **GIVEN).value
    )


def test_the_accuracy_of_the_potential_is_in_the_uncertainty():
    sweeps = split_sweeps(*voltammogram(*WIDENED))
    value = onset_potential(sweeps, direction="anodic", **GIVEN | {"potential_accuracy_V": 0.03})
    assert value.uncertainty == pytest.approx(0.03 / math.sqrt(3), rel=0.01)


def test_without_an_inert_region_there_is_no_onset():
    sweeps = split_sweeps(*voltammogram(*WIDENED))
    with pytest.raises(BadInput, match="inert region is not known"):
        onset_potential(sweeps, direction="anodic", **GIVEN | {"inert_V": (4.0, 5.0)})


def test_charges_of_sweeps_are_those_of_the_reaction_alone():
    sweeps = split_sweeps(*voltammogram(*WIDENED))
    charges = sweep_charges(sweeps, area_cm2=AREA_cm2, inert_V=INERT_V, current_relative_accuracy=0.0)
    assert [one.unit for one in charges] == ["mAh/cm2"] * 7
    for sweep, charge in zip(sweeps[1:-1], charges[1:-1], strict=True):
        sign = 1 if sweep.direction == "anodic" else -1
        low, high = min(sweep.potential_V), max(sweep.potential_V)
        oxidised = np.exp((high - OXIDISES_V) / TAFEL_V) - np.exp((low - OXIDISES_V) / TAFEL_V)
        reduced = np.exp((REDUCES_V - low) / TAFEL_V) - np.exp((REDUCES_V - high) / TAFEL_V)
        expected = 1e-6 * TAFEL_V / RATE_V_s * (oxidised - reduced) / 3.6
        assert charge.value == pytest.approx(expected, abs=3 * charge.uncertainty + 3e-5), sign
    outside = sweep_charges(sweeps, area_cm2=AREA_cm2, inert_V=(4.0, 5.0), current_relative_accuracy=0.0)
    assert all(math.isnan(one.value) for one in outside)
