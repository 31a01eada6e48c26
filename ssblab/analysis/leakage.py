"""Leakage current of a cell that is held at a voltage: what is left of the current when the cell has settled.

While it settles, the current is that of diffusion and relaxation, a function that falls (or rises) towards
zero without ever turning: completely monotone. Every such function, power laws and stretched exponentials
among them, is a sum of exponentials with amplitudes of one sign (S. Bernstein, Acta Math. 52 (1929) 1). So
the amplitudes of many exponentials are fitted, none below zero, with the leakage as a constant
(C. L. Lawson and R. J. Hanson, Solving Least Squares Problems, 1974, chapter 23): a linear problem that has
one solution and needs no start.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, nnls

from ssblab.analysis.common import RECTANGULAR, COULOMB_PER_mAh, Floats, columns, noise
from ssblab.quantities import BadInput, Value

# Time constants in a decade. What they leave of one exponential between two of them, of its amplitude, adds
# to the uncertainty: 2e-5 is the largest of trials.
PER_DECADE = 20
GRID = 2e-5
# Records that lie closer in the logarithm of time become one, their mean.
MEANS_PER_DECADE = 200
# The longest time constant, in lengths of the hold: what settles so slowly falls by a tenth in it, and is
# told from a leakage only as far as the records say.
LONGEST = 10.0
# Relative weight of a record: without it the large currents at the beginning would rule the fit.
MODEL = 0.005
FEWEST = 12
ROUNDING = 1e-9  # of the largest current


@dataclasses.dataclass(frozen=True)
class HoldFit:
    """Result of `fit_hold`.

    Attributes
    ----------
    time_s, current_A, fitted_A : ndarray, shape (n,)
        Since the beginning of the hold; measured; fitted.
    leakage_current : Value
        uA, with the sign of the current at the terminals.
    hold_charge, leakage_charge : Value
        mAh: integral of the current, and of the leakage, over the same time, with sign.
    """

    time_s: Floats
    current_A: Floats
    fitted_A: Floats
    leakage_current: Value
    hold_charge: Value
    leakage_charge: Value


def fit_hold(
    time_s: ArrayLike,
    current_A: ArrayLike,
    *,
    current_accuracy_A: float,
    current_relative_accuracy: float,
    after_s: float = 0.0,
) -> HoldFit:
    """Take the current of a held cell apart into what settles and what leaks.

    Parameters
    ----------
    time_s : array_like, shape (n,)
        Since the beginning of the hold, rising, in any spacing.
    current_A : array_like, shape (n,)
        At constant voltage; leave out what was recorded while the current was limited.
    current_accuracy_A, current_relative_accuracy : float
        Of the instrument, at zero and of the reading; rectangular.
    after_s : float
        Records and charge before are left out: the transient that is of no interest.

    Returns
    -------
    HoldFit

    Raises
    ------
    BadInput
        Fewer than 12 usable records after `after_s`, or a time that does not rise.

    References
    ----------
    Requirement D7 (floating test).
    """
    time, current = columns(time_s=time_s, current_A=current_A)
    usable = np.isfinite(current) & (time >= max(after_s, 0.0))
    time, current = time[usable], current[usable]
    if len(time) < FEWEST:
        raise BadInput(f"{len(time)} records of the hold after {after_s:g} s: at least {FEWEST} are needed")
    leakage_A, own_A, fitted = _fit(time, current)
    zero_A = current_accuracy_A * RECTANGULAR
    gain = current_relative_accuracy * RECTANGULAR
    hours = float(time[-1] - time[0]) / 3600
    charge_mAh = float(np.trapezoid(current, time)) / COULOMB_PER_mAh
    about = f"from {time[0]:.4g} s to {time[-1]:.4g} s of the hold"
    leak = (
        f"constant in I = I_leak + sum of exponentials of one sign with time constants up to {LONGEST:g} "
        "holds; middle of the leakages that the records allow, uncertain by half their range and by the "
        "instrument"
    )
    leakage_uncertainty_A = math.hypot(own_A, zero_A, gain * leakage_A)
    return HoldFit(
        time,
        current,
        fitted,
        Value("leakage_current", 1e6 * leakage_A, "uA", 1e6 * leakage_uncertainty_A, f"{leak}; {about}"),
        Value(
            "hold_charge",
            charge_mAh,
            "mAh",
            math.hypot(1e3 * hours * zero_A, gain * charge_mAh),
            f"trapezoidal integral of the current {about}, with what settles; uncertain by the instrument",
        ),
        Value(
            "leakage_charge",
            1e3 * leakage_A * hours,
            "mAh",
            1e3 * leakage_uncertainty_A * hours,
            f"leakage current times the time {about}; leakage current: {leak}",
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Least squares of a constant and decays of one sign, reduced to as many rows as there are columns."""

    decays: Floats
    one: Floats
    target: Floats

    @classmethod
    def of(cls, decays: Floats, current: Floats, weight: Floats) -> _Problem:
        everything = np.column_stack([decays, np.ones_like(current), current]) * weight[:, None]
        rows = np.linalg.qr(everything)[1]
        return cls(rows[:, :-2], rows[:, -2], rows[:, -1])

    def misfit(self, leakage: float) -> float:
        """Sum of weighted squares if the leakage is so much; convex."""
        return float(_amplitudes(self.decays, self.target - leakage * self.one)[1] ** 2)

    def best(self) -> tuple[float, Floats, float]:
        """Leakage, amplitudes of the decays, and sum of squares of the best fit."""
        both = np.column_stack([self.decays, self.one, -self.one])
        solution, norm = _amplitudes(both, self.target)
        return float(solution[-2] - solution[-1]), solution[:-2], float(norm**2)

    def edge(self, best: float, step: float, allowed: float) -> float:
        """Leakage on one side of the best at which the sum of squares has grown to what is allowed."""
        while self.misfit(best + step) < allowed:
            step *= 2
        return float(
            brentq(lambda leakage: self.misfit(leakage) - allowed, best, best + step, xtol=abs(step) / 100)
        )


def _amplitudes(matrix: Floats, target: Floats) -> tuple[Floats, float]:
    # Neighbouring decays are much alike, which takes more exchanges than the usual 3 of each.
    amplitudes, norm = nnls(matrix, target, maxiter=100 * matrix.shape[1])
    return amplitudes, float(norm)


def _fit(time: Floats, current: Floats) -> tuple[float, float, Floats]:
    """Leakage, its standard uncertainty, and the fitted current (A).

    The uncertainty is that of the likelihood: leakages for which the sum of squares, with the best amplitudes
    for each, is larger than the smallest by less than the variance of the records.
    """
    since = time - time[0]
    # In units of the largest current, so that rounding is far below what is fitted.
    largest = float(np.abs(current).max()) or 1.0
    scatter = noise(current[-max(len(current) // 3, FEWEST) :]) / largest
    shortest_s, longest_s = float(since[1]) / 2, LONGEST * float(since[-1])
    count = round(PER_DECADE * math.log10(longest_s / shortest_s))
    constants_s = np.geomspace(shortest_s, longest_s, count)
    at_s, counted = _means(since, since)
    relative, _ = _means(since, current / largest)
    decays = np.exp(-at_s[:, None] / constants_s)
    weight = 1 / np.hypot(np.maximum(scatter / np.sqrt(counted), ROUNDING), MODEL * relative)
    problems = {sign: _Problem.of(sign * decays, relative, weight) for sign in (1.0, -1.0)}
    sign = min(problems, key=lambda one: problems[one].best()[2])
    problem = problems[sign]
    best, amplitudes, squares = problem.best()
    free = max(len(at_s) - 1 - int(np.count_nonzero(amplitudes)), 1)
    allowed = max(squares * (1 + 1 / free), len(at_s) * ROUNDING)
    step = max(abs(best), scatter, ROUNDING) / 100
    low, high = (problem.edge(best, side * step, allowed) for side in (-1.0, 1.0))
    middle = (low + high) / 2
    amplitudes, _ = _amplitudes(problem.decays, problem.target - middle * problem.one)
    active = np.flatnonzero(amplitudes)
    fitted = middle + sign * np.exp(-since[:, None] / constants_s[active]) @ amplitudes[active]
    return middle * largest, math.hypot((high - low) / 2, GRID) * largest, np.asarray(fitted * largest)


def _means(since_s: Floats, values: Floats) -> tuple[Floats, NDArray[np.int_]]:
    """Means over equal pieces of the logarithm of time, and how many records each is of."""
    piece = np.floor(MEANS_PER_DECADE * np.log10(since_s + since_s[1]))
    begins = np.flatnonzero(np.diff(piece, prepend=-math.inf))
    counted = np.diff(np.append(begins, len(values)))
    return np.add.reduceat(values, begins) / counted, counted
