"""Lots against textbook statistics, and verdicts on simulated cells of which one has a hidden micro-short."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.physics.cell import Cell
from ssblab.analysis.leakage import fit_hold
from ssblab.analysis.lots import (
    OUTLIER,
    Limit,
    lot_statistics,
    micro_short_verdict,
    modified_z_scores,
    open_circuit_decay,
)
from ssblab.quantities import BadInput, Value
from tests.ssblab.analysis.recorded import Channel

LOT = [7.8, 8.0, 8.0, 8.1, 8.1]
DECAY, LEAKAGE = Limit(1.0, 5.0, "above"), Limit(1.0, 10.0, "above")
EFFICIENCY = Limit(99.0, 97.0, "below")


def of(name, value, unit, uncertainty=0.0):
    return Value(name, value, unit, uncertainty, "")


def by_name(values):
    return {value.name.removeprefix("capacity_"): value for value in values}


def test_statistics_of_a_small_lot():
    found = by_name(lot_statistics([*LOT, math.nan], name="capacity", unit="mAh", design=8.2))
    assert found["count"].value == 5
    assert (found["mean"].value, found["mean"].unit) == (pytest.approx(8.0), "mAh")
    spread = math.sqrt(0.06 / 4)
    assert found["standard_deviation"].value == pytest.approx(spread)
    assert found["mean"].uncertainty == pytest.approx(spread / math.sqrt(5))
    assert f"+/- {2.776 * spread / math.sqrt(5):.3g} mAh" in found["mean"].definition
    assert found["coefficient_of_variation"].value == pytest.approx(100 * spread / 8)
    assert found["range"].value == pytest.approx(0.3)
    assert (found["deviation_max"].value, found["deviation_max"].unit) == (pytest.approx(2.5), "%")
    assert found["mean_from_design"].value == pytest.approx(-100 * 0.2 / 8.2)
    assert found["deviation_max_from_design"].value == pytest.approx(100 * 0.4 / 8.2)
    assert "mean_from_design" not in by_name(lot_statistics(LOT, name="capacity", unit="mAh"))


def test_uncertainties_of_the_statistics_are_as_large_as_their_errors():
    generator = np.random.default_rng(3)
    lots = [
        by_name(lot_statistics(generator.normal(8, 0.08, 17), name="capacity", unit="mAh"))
        for _ in range(500)
    ]
    for name, truth in (("mean", 8.0), ("standard_deviation", 0.08), ("coefficient_of_variation", 1.0)):
        errors = [lot[name].value - truth for lot in lots]
        assert np.mean([lot[name].uncertainty for lot in lots]) == pytest.approx(np.std(errors), rel=0.15)


def test_lots_without_statistics_are_refused():
    with pytest.raises(BadInput, match="2 are needed"):
        lot_statistics([8.0], name="capacity", unit="mAh")
    with pytest.raises(BadInput, match="relative to zero"):
        lot_statistics([-1.0, 1.0], name="capacity", unit="mAh")


def test_scores_are_those_of_the_formula():
    # Median 3, deviations 2 1 0 1 97: their median is 1.
    np.testing.assert_allclose(
        modified_z_scores([1.0, 2.0, 3.0, 4.0, 100.0]), 0.6745 * np.array([-2, -1, 0, 1, 97])
    )


def stand_out(values):
    return np.abs(modified_z_scores(values)) > OUTLIER


def test_outliers_do_not_hide_each_other():
    lot = [8.0, 8.05, 7.95, 8.02, 7.98, 8.01, 4.0, 4.1]
    assert list(np.flatnonzero(stand_out(lot))) == [6, 7]
    assert list(np.flatnonzero(stand_out([*lot, math.nan]))) == [6, 7]


def test_a_lot_of_cells_alike_has_no_outlier_but_the_one_that_differs():
    assert not stand_out([8.0] * 5).any()
    assert list(np.flatnonzero(stand_out([8.0] * 9 + [7.0]))) == [9]
    with pytest.raises(BadInput, match="3 are needed"):
        stand_out([8.0, 7.0])


@given(st.lists(st.floats(1.0, 10.0), min_size=5, max_size=20), st.floats(0.01, 100.0))
def test_outliers_do_not_depend_on_the_unit(lot, factor):
    scores = modified_z_scores(lot)
    np.testing.assert_allclose(modified_z_scores(factor * np.array(lot)), scores, rtol=1e-6, atol=1e-6)


def test_decay_of_a_straight_course():
    time = np.arange(0.0, 36_001.0, 60.0)
    falling = open_circuit_decay(time, 4.0 - 2e-3 * time / 3600, after_s=3600.0, voltage_resolution_V=0.0)
    assert (falling.value, falling.unit) == (pytest.approx(2.0), "mV/h")
    assert falling.uncertainty < 1e-6
    rough = open_circuit_decay(time, np.full(len(time), 4.0), after_s=0.0, voltage_resolution_V=1e-3)
    assert rough.uncertainty == pytest.approx(1 / math.sqrt(6) / 10)
    with pytest.raises(BadInput, match="3 are needed"):
        open_circuit_decay(time, 0 * time, after_s=35_960.0, voltage_resolution_V=0.0)


def test_a_course_that_bends_is_uncertain():
    time = np.arange(0.0, 36_001.0, 60.0)
    bending = open_circuit_decay(time, 4 + 0.01 * np.exp(-time / 9000), after_s=0.0, voltage_resolution_V=0.0)
    assert bending.uncertainty > 0.3


@pytest.mark.parametrize(
    ("value", "grade"), [(0.5, "pass"), (1.0, "pass"), (2.0, "suspect"), (6.0, "reject")]
)
def test_each_limit_grades(value, grade):
    verdict = micro_short_verdict(open_circuit_decay=(of("open_circuit_decay", value, "mV/h"), DECAY))
    assert verdict.grade == grade
    assert "open circuit decay" in verdict.reasons[0]


def test_an_efficiency_is_bad_below_its_limits():
    for value, grade in ((99.5, "pass"), (98.0, "suspect"), (96.0, "reject")):
        found = of("coulombic_efficiency", value, "%")
        assert micro_short_verdict(coulombic_efficiency=(found, EFFICIENCY)).grade == grade
    assert Limit(97.0, 97.0, "below").grade(96.0) == "reject"


@pytest.mark.parametrize("limits", [(0.1, 0.05, "above"), (97.0, 99.0, "below"), (1.0, math.nan, "above")])
def test_limits_that_reject_what_is_not_suspect_are_refused(limits):
    """The order of the two once said which side is bad: 5 mV/h passed limits of 0.1 and 0.05 mV/h."""
    with pytest.raises(BadInput, match="has to be suspect too"):
        Limit(*limits)


def test_the_worst_grade_is_that_of_the_cell_and_all_reasons_are_given():
    verdict = micro_short_verdict(
        open_circuit_decay=(of("open_circuit_decay", 0.1, "mV/h"), DECAY),
        coulombic_efficiency=(of("coulombic_efficiency", 96.0, "%"), EFFICIENCY),
        leakage_current=(of("leakage_current", 2.0, "uA"), LEAKAGE),
    )
    assert verdict.grade == "reject"
    assert [reason.split(": ")[1].split(" ")[0] for reason in verdict.reasons] == [
        "pass",
        "reject",
        "suspect",
    ]


def test_what_is_not_known_well_enough_is_suspect():
    unsure = of("leakage_current", 0.9, "uA", 0.1)
    verdict = micro_short_verdict(leakage_current=(unsure, LEAKAGE))
    assert verdict.grade == "suspect"
    assert "not within its uncertainty" in verdict.reasons[0]
    unknown = micro_short_verdict(leakage_current=(of("leakage_current", math.nan, "uA"), LEAKAGE))
    assert unknown.grade == "suspect"
    assert "could not be determined" in unknown.reasons[0]
    with pytest.raises(BadInput, match="nothing was measured"):
        micro_short_verdict()


@pytest.mark.parametrize(("short_S", "grade"), [(0.0, "pass"), (2e-5, "reject")])
def test_a_hidden_micro_short_is_found(clock, short_S, grade):
    channel = Channel(Cell(clock, state_of_charge=0.6, micro_short_S=short_S))
    rest = channel.rest(at_s=np.arange(0.0, 40 * 3600.0, 600.0))
    channel.current("charge", 0.0008, limit_V=4.0)
    hold = channel.voltage("hold", 4.0, at_s=np.append(0.0, np.geomspace(1.0, 2 * 86400.0, 200)))
    decay = open_circuit_decay(rest.time_s, rest.voltage_V, after_s=12 * 3600.0, voltage_resolution_V=1e-5)
    fit = fit_hold(
        hold.time_s - hold.time_s[0],
        hold.current_A,
        current_accuracy_A=1e-7,
        current_relative_accuracy=0.001,
        after_s=60.0,
    )
    # What leaks through the short is known: its conductance times the voltage.
    assert fit.leakage_current.value == pytest.approx(4e6 * short_S, abs=1.0)
    verdict = micro_short_verdict(
        open_circuit_decay=(decay, Limit(0.3, 0.6, "above")),
        leakage_current=(fit.leakage_current, Limit(5.0, 20.0, "above")),
    )
    assert verdict.grade == grade


def test_a_short_brings_the_voltage_of_a_lithiated_half_cell_towards_zero_too(clock):
    """Silicon against In-Li is below zero: there the short raises the voltage."""
    found = {}
    for short_S in (0.0, 1e-4):
        cell = Cell(clock, design="si-powder-50nm", state_of_charge=0.7, micro_short_S=short_S)
        rest = Channel(cell).rest(at_s=np.arange(0.0, 20 * 3600.0, 600.0))
        assert rest.last_voltage_V < -0.05
        found[short_S] = open_circuit_decay(
            rest.time_s, rest.voltage_V, after_s=10 * 3600.0, voltage_resolution_V=1e-5
        )
        assert "abs(V)" in found[short_S].definition
    assert abs(found[0.0].value) < 0.01
    assert found[1e-4].value > 0.02
