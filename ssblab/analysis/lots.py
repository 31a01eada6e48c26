"""Lots of cells: how much they scatter, which of them stand out, and which have a micro-short."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ssblab.analysis.common import Floats, columns, finite_rows, straight_line, uncertainty_of
from ssblab.quantities import BadInput, Value

# Iglewicz and Hoaglin: scores above are potential outliers; 0.6745 makes the median deviation of a normal
# distribution a standard deviation, 1.2533 its mean deviation.
OUTLIER = 3.5
MEDIAN_DEVIATION, MEAN_DEVIATION = 0.6745, 1.253314

Grade = Literal["pass", "suspect", "reject"]


def lot_statistics(values: ArrayLike, *, name: str, unit: str, design: float | None = None) -> list[Value]:
    """Mean and spread of one quantity over the cells of a lot.

    Parameters
    ----------
    values : array_like, shape (n,)
        One of each cell; NaN are left out.
    name, unit : str
        Of the quantity; they begin the names of the results.
    design : float, optional
        What the cells were designed for.

    Returns
    -------
    list of Value
        `_count`, `_mean`, `_standard_deviation`, `_coefficient_of_variation` (%), `_range`,
        `_deviation_max` (%, of the cell farthest from the mean, over the mean), and with a design
        `_mean_from_design` and `_deviation_max_from_design` (%).

    Raises
    ------
    BadInput
        Fewer than two cells, or a mean or design of zero.

    References
    ----------
    Requirements D2 and J5. The documents' +/- 3 % (S001 L6410-6412) does not say of what; both are given.
    Uncertainty of a standard deviation: S. Ahn and J. A. Fessler, Standard errors of mean, variance, and
    standard deviation estimators (2003); of a coefficient of variation, normal approximation.
    """
    (sample,) = finite_rows(values, at_least=2, what=f"cells with a {name}")
    count, mean, spread = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    if mean == 0 or design == 0:
        raise BadInput(f"mean {mean:g}, design {design}: deviations relative to zero are not defined")
    root = math.sqrt(2 * (count - 1))
    half = float(stats.t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    variation = 100 * spread / abs(mean)
    cells = f"of {count} cells"
    found = [
        Value(f"{name}_count", count, "1", None, "cells of the lot with a value"),
        Value(
            f"{name}_mean",
            mean,
            unit,
            spread / math.sqrt(count),
            f"mean {cells}; uncertainty s / sqrt(n); 95 % confidence +/- {half:.3g} {unit} (Student)",
        ),
        Value(
            f"{name}_standard_deviation",
            spread,
            unit,
            spread / root,
            f"s {cells}, n - 1 in the denominator; uncertainty s / sqrt(2 (n - 1)), of a normal distribution",
        ),
        Value(
            f"{name}_coefficient_of_variation",
            variation,
            "%",
            variation * math.hypot(1 / root, variation / 100 / math.sqrt(count)),
            f"s / mean {cells}",
        ),
        Value(f"{name}_range", float(np.ptp(sample)), unit, None, f"largest less smallest {cells}"),
        _farthest(f"{name}_deviation_max", sample, mean, f"the mean {cells}"),
    ]
    if design is not None:
        found += [
            Value(
                f"{name}_mean_from_design",
                100 * (mean / design - 1),
                "%",
                100 * spread / math.sqrt(count) / abs(design),
                f"mean {cells} / {design:g} {unit} - 1",
            ),
            _farthest(
                f"{name}_deviation_max_from_design", sample, design, f"the design of {design:g} {unit}"
            ),
        ]
    return found


def modified_z_scores(values: ArrayLike) -> Floats:
    """How far each value is from the median, in robust standard deviations, with sign.

    0.6745 (x - median) / MAD; where more than half of the values are alike and MAD is 0, the mean absolute
    deviation takes its place.

    Parameters
    ----------
    values : array_like, shape (n,)
        At least 3 finite ones; NaN stay NaN.

    Raises
    ------
    BadInput
        Fewer than three values.

    References
    ----------
    B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers, ASQC Quality Press 1993; NIST/SEMATECH
    e-Handbook of Statistical Methods, 1.3.5.17.
    """
    finite_rows(values, at_least=3, what="values of a lot")
    given = np.asarray(values, dtype=float)
    apart = given - np.nanmedian(given)
    unit = float(np.nanmedian(np.abs(apart))) / MEDIAN_DEVIATION
    if unit == 0:
        unit = float(np.nanmean(np.abs(apart))) * MEAN_DEVIATION
    return np.asarray(apart / unit if unit else 0 * apart)


def open_circuit_decay(
    time_s: ArrayLike, voltage_V: ArrayLike, *, after_s: float, voltage_resolution_V: float
) -> Value:
    """Speed at which the magnitude of a resting cell's voltage falls, in mV/h; positive where it falls.

    A short brings the voltage towards zero, from below where that of the cell is negative.

    Parameters
    ----------
    time_s, voltage_V : array_like, shape (n,)
        Of the rest, rising.
    after_s : float
        Since the first record: what is left out, because the cell relaxes.
    voltage_resolution_V : float
        Of the instrument; counts once at each end of the line.

    Raises
    ------
    BadInput
        Fewer than three records after that.
    """
    time, voltage = columns(time_s=time_s, voltage_V=voltage_V)
    time, voltage = finite_rows(
        *(column[time - time[0] >= after_s] for column in (time, voltage)),
        at_least=3,
        what=f"records of the rest after {after_s:g} s",
    )
    voltage = math.copysign(1.0, float(np.median(voltage))) * voltage
    line = straight_line(time, voltage)
    duration_s = float(time[-1] - time[0])
    resolution = voltage_resolution_V / math.sqrt(6) / duration_s
    # By how much the two halves of the line differ says how straight it is.
    half = len(time) // 2
    bent = 0.0
    if half >= 3:
        bent = (
            straight_line(time[:half], voltage[:half]).slope
            - straight_line(time[half:], voltage[half:]).slope
        )
    uncertainty = math.hypot(line.slope_uncertainty, resolution, bent / 2)
    definition = (
        f"minus slope of a straight line through the last {duration_s:.4g} s of the rest, of the voltage "
        "times the sign of its median: how fast abs(V) falls; uncertain by the scatter, the resolution and "
        "half the difference of the slopes of its halves"
    )
    return Value("open_circuit_decay", -3.6e6 * line.slope, "mV/h", 3.6e6 * uncertainty, definition)


@dataclasses.dataclass(frozen=True)
class Limit:
    """Where a quantity begins to be suspect, and where it is rejected.

    Attributes
    ----------
    suspect, reject : float
        Where both are the same there is no suspect range.
    bad : {"above", "below"}
        Side of the limits on which a quantity is bad.
    """

    suspect: float
    reject: float
    bad: Literal["above", "below"]

    def __post_init__(self) -> None:
        if not self._sign * self.suspect <= self._sign * self.reject:
            raise BadInput(
                f"suspect from {self.suspect:g} and rejected from {self.reject:g}, where {self.bad} is bad: "
                "what is rejected has to be suspect too"
            )

    @property
    def _sign(self) -> float:
        return 1.0 if self.bad == "above" else -1.0

    def grade(self, value: float) -> Grade:
        """Grade a number; one at the limit itself passes."""
        sign = self._sign
        if sign * value > sign * self.reject:
            return "reject"
        return "suspect" if sign * value > sign * self.suspect else "pass"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be thought of a cell.

    Attributes
    ----------
    grade : {"pass", "suspect", "reject"}
    reasons : tuple of str
        One for each quantity, in words.
    """

    grade: Grade
    reasons: tuple[str, ...]


def micro_short_verdict(
    *,
    open_circuit_decay: tuple[Value, Limit] | None = None,
    coulombic_efficiency: tuple[Value, Limit] | None = None,
    leakage_current: tuple[Value, Limit] | None = None,
) -> Verdict:
    """Judge from rest, cycle and hold whether a finished cell has a micro-short.

    Parameters
    ----------
    open_circuit_decay, coulombic_efficiency, leakage_current : tuple of Value and Limit, optional
        What was measured and its limits, in the value's unit. The documents give no thresholds (the
        conditioning was under study, S001 L6454-6458), so that none stands here.

    Returns
    -------
    Verdict
        The worst of the single grades. A value without a number is suspect; one that is on the good side but
        whose limit is within two standard uncertainties is suspect too, because it does not show that the
        cell is good.

    Raises
    ------
    BadInput
        Nothing to judge from.

    References
    ----------
    Requirement C11.
    """
    judged = [one for one in (open_circuit_decay, coulombic_efficiency, leakage_current) if one is not None]
    if not judged:
        raise BadInput("nothing was measured that says whether there is a micro-short")
    graded = [_judge(value, limit) for value, limit in judged]
    order: tuple[Grade, ...] = ("pass", "suspect", "reject")
    worst = max((grade for grade, _ in graded), key=order.index)
    return Verdict(worst, tuple(reason for _, reason in graded))


def _judge(value: Value, limit: Limit) -> tuple[Grade, str]:
    about = f"{value.name.replace('_', ' ')} {value.value:.4g} {value.unit}"
    limits = f"suspect from {limit.suspect:g}, rejected from {limit.reject:g} {value.unit}"
    if not math.isfinite(value.value):
        return "suspect", f"{about}: could not be determined ({value.definition})"
    grade = limit.grade(value.value)
    own = uncertainty_of(value)
    nearby = (value.value - 2 * own, value.value + 2 * own)
    if grade == "pass" and math.isfinite(own) and any(limit.grade(near) != "pass" for near in nearby):
        return "suspect", f"{about} +/- {own:.2g}: good, but not within its uncertainty ({limits})"
    return grade, f"{about}: {grade} ({limits})"


def _farthest(name: str, sample: Floats, centre: float, of: str) -> Value:
    deviation = 100 * float(np.abs(sample / centre - 1).max())
    return Value(name, deviation, "%", None, f"largest abs(x / {of} - 1) of the cells")
