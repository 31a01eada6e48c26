"""Straight lines with uncertainties against published ones, and the checks that all figures share."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ssblab.analysis.common import above_zero, columns, finite_rows, noise, straight_line
from ssblab.quantities import BadInput

X = np.array([0.0, 1.0, 2.0, 4.0, 7.0])
Y = np.array([1.1, 2.9, 5.2, 8.8, 15.1])


def test_a_line_without_uncertainties_is_that_of_ordinary_regression():
    line, known = straight_line(X, Y), stats.linregress(X, Y)
    assert line.slope == pytest.approx(known.slope)
    assert line.slope_uncertainty == pytest.approx(known.stderr)
    assert line.at(0.0) == (pytest.approx(known.intercept), pytest.approx(known.intercept_stderr))


def test_two_points_with_uncertainties_give_the_slope_by_propagation():
    line = straight_line(np.array([0.0, 2.0]), np.array([1.0, 5.0]), np.array([0.3, 0.4]))
    assert (line.slope, line.slope_uncertainty) == (pytest.approx(2.0), pytest.approx(0.25))
    assert line.at(0.0) == (pytest.approx(1.0), pytest.approx(0.3))


def test_scatter_beyond_the_uncertainties_widens_and_less_does_not_narrow():
    tight, wide = (straight_line(X, Y, np.full(5, own)) for own in (1e-6, 10.0))
    assert tight.slope_uncertainty == pytest.approx(straight_line(X, Y).slope_uncertainty)
    assert wide.slope_uncertainty == pytest.approx(10 / math.sqrt(np.sum((X - X.mean()) ** 2)))


def test_too_few_points_give_no_slope():
    with pytest.raises(BadInput, match="2 points at 2 places"):
        straight_line(X[:2], Y[:2])
    with pytest.raises(BadInput, match="at 1 places"):
        straight_line(np.ones(5), Y)


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_units_change_numbers_and_nothing_else(factor, offset):
    line, other = straight_line(X, Y), straight_line(factor * X, Y + offset)
    assert other.slope * factor == pytest.approx(line.slope, rel=1e-6)
    assert other.slope_uncertainty * factor == pytest.approx(line.slope_uncertainty, rel=1e-4)


def test_noise_is_that_which_was_put_on_a_smooth_course():
    course = np.sin(np.linspace(0, 3, 5000))
    assert noise(course + np.random.default_rng(0).normal(0, 0.01, 5000)) == pytest.approx(0.01, rel=0.05)
    assert math.isnan(noise(course[:2]))


def test_bad_columns_are_refused():
    with pytest.raises(BadInput, match="different shapes"):
        columns(time_s=[0, 1, 2], voltage_V=[1, 2])
    with pytest.raises(BadInput, match="2 rows"):
        columns(time_s=[0, 1])
    with pytest.raises(BadInput, match="time_s does not rise"):
        columns(time_s=[0, 1, 1])
    with pytest.raises(BadInput, match="different lengths"):
        finite_rows([1, 2], [1], at_least=1, what="things")
    with pytest.raises(BadInput, match="things: 1 usable of 2"):
        finite_rows([1, math.nan], at_least=2, what="things")
    with pytest.raises(BadInput, match="mass is nan"):
        above_zero(mass=math.nan)
