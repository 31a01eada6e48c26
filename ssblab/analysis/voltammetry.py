"""Electrochemical stability window: where a sweep begins to drive more current than an inert cell would.

In the inert region the current is that of a capacitance and of whatever conducts electrons, a straight line
in the potential, one for each direction. What is above it is the reaction. The window depends on the
threshold of the current density, on the scan rate and on the area that reacts: it is a convention, narrower
than what some papers read off by eye, and the thermodynamic window is narrower still (requirement D16).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ssblab.analysis.common import (
    RECTANGULAR,
    COULOMB_PER_mAh,
    Floats,
    Line,
    above_zero,
    columns,
    noise,
    straight_line,
)
from ssblab.quantities import BadInput, Value


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Part of a voltammogram in which the potential goes one way.

    Attributes
    ----------
    time_s, potential_V, current_A : ndarray, shape (n,)
    """

    time_s: Floats
    potential_V: Floats
    current_A: Floats

    @property
    def direction(self) -> Literal["anodic", "cathodic"]:
        """Whether the potential rises or falls."""
        return "anodic" if self.potential_V[-1] > self.potential_V[0] else "cathodic"

    @property
    def rate_V_s(self) -> float:
        """Mean scan rate, with sign."""
        return float((self.potential_V[-1] - self.potential_V[0]) / (self.time_s[-1] - self.time_s[0]))


def split_sweeps(
    time_s: ArrayLike, potential_V: ArrayLike, current_A: ArrayLike, *, turn_V: float = 0.005
) -> list[Sweep]:
    """Take a voltammogram apart at its turning points.

    Parameters
    ----------
    time_s, potential_V, current_A : array_like, shape (n,)
        In the order in which they were recorded; rows that are not finite are left out.
    turn_V : float
        The potential has turned when it is back by so much from its extreme: more than noise.

    Returns
    -------
    list of Sweep
        Each begins with the turning point at which the one before ends.

    Raises
    ------
    BadInput
        Fewer than three rows, a time that does not rise, or a potential that does not move by `turn_V`.
    """
    above_zero(turn_V=turn_V)
    rows = np.broadcast_arrays(*(np.asarray(one, dtype=float) for one in (time_s, potential_V, current_A)))
    usable = np.all(np.isfinite(rows), axis=0)
    time, potential, current = (row[usable] for row in rows)
    columns(time_s=time, potential_V=potential, current_A=current)
    ends = _turns(potential, turn_V)
    if len(ends) < 2:
        raise BadInput(f"the potential does not move by {turn_V:g} V: there is no sweep")
    return [
        Sweep(*(column[first : last + 1] for column in (time, potential, current)))
        for first, last in pairwise(ends)
    ]


def onset_potential(
    sweeps: Iterable[Sweep],
    *,
    direction: Literal["anodic", "cathodic"],
    threshold_uA_cm2: float,
    area_cm2: float,
    inert_V: tuple[float, float],
    potential_accuracy_V: float,
) -> Value:
    """Potential at which oxidation (anodic sweeps) or reduction (cathodic) exceeds a current density.

    The first sweep that exceeds it counts: in a voltammogram that is widened step by step, later ones go over
    products. The line through the inert region is fitted to each sweep by itself.

    Parameters
    ----------
    sweeps : iterable of Sweep
        In the order in which they were recorded.
    direction : {"anodic", "cathodic"}
    threshold_uA_cm2 : float
        Above the line of the inert region, of either sign.
    area_cm2 : float
    inert_V : tuple of float
        Potentials between which nothing reacts.
    potential_accuracy_V : float
        Of the instrument and the reference electrode; rectangular.

    Returns
    -------
    Value
        `onset_oxidation` or `onset_reduction`, V; NaN where no sweep exceeds the threshold for good, with the
        potential that was reached in the definition.

    Raises
    ------
    BadInput
        No sweep in that direction, or none with three records in the inert region.
    """
    above_zero(threshold_uA_cm2=threshold_uA_cm2, area_cm2=area_cm2)
    ways = [sweep for sweep in sweeps if sweep.direction == direction]
    based = [(sweep, line) for sweep in ways if (line := _background(sweep, inert_V)) is not None]
    if not based:
        raise BadInput(
            f"none of {len(ways)} {direction} sweeps has three records between {inert_V[0]:g} V and "
            f"{inert_V[1]:g} V: the inert region is not known"
        )
    name = "onset_oxidation" if direction == "anodic" else "onset_reduction"
    about = (
        f"first {direction} sweep whose current exceeds the line through {inert_V[0]:g} V to {inert_V[1]:g} "
        f"V by {threshold_uA_cm2:g} uA/cm2, straight between two records"
    )
    sign = 1.0 if direction == "anodic" else -1.0
    for number, (sweep, line) in enumerate(based, start=1):
        found = _crossing(sweep, line, sign, 1e-6 * threshold_uA_cm2 * area_cm2, inert_V)
        if found is not None:
            onset_V, own_V = found
            uncertainty = math.hypot(own_V, potential_accuracy_V * RECTANGULAR)
            definition = f"{about}; sweep {number} of {len(based)}, {1e3 * sweep.rate_V_s:.3g} mV/s"
            return Value(name, onset_V, "V", uncertainty, definition)
    reached = sign * max(float(np.max(sign * sweep.potential_V)) for sweep, _ in based)
    return Value(name, math.nan, "V", math.nan, f"{about}; not exceeded up to {reached:.4g} V")


def stability_window(oxidation: Value, reduction: Value) -> Value:
    """Width of the window, E_ox - E_red, in V; both of one threshold, against one reference.

    Parameters
    ----------
    oxidation, reduction : Value
        From `onset_potential`; NaN of one makes NaN.
    """
    width = oxidation.value - reduction.value
    own = math.hypot(
        *(math.nan if one.uncertainty is None else one.uncertainty for one in (oxidation, reduction))
    )
    about = f"E_ox - E_red; E_ox: {oxidation.definition}; E_red: {reduction.definition}"
    return Value("stability_window", width, "V", own, about)


def sweep_charges(
    sweeps: Sequence[Sweep],
    *,
    area_cm2: float,
    inert_V: tuple[float, float],
    current_relative_accuracy: float,
) -> list[Value]:
    """Charge of the reaction in each sweep, over the area, without the line of the inert region.

    Parameters
    ----------
    sweeps : sequence of Sweep
    area_cm2 : float
    inert_V : tuple of float
    current_relative_accuracy : float
        Rectangular.

    Returns
    -------
    list of Value
        mAh/cm2, positive for oxidation; one for each sweep, NaN for one without three records in the inert
        region.
    """
    above_zero(area_cm2=area_cm2)
    found = []
    for number, sweep in enumerate(sweeps, start=1):
        name = f"charge_of_sweep_{number}"
        about = (
            f"integral over time of the current less the line through {inert_V[0]:g} V to {inert_V[1]:g} V, "
            f"{sweep.direction} sweep from {sweep.potential_V[0]:.4g} V to {sweep.potential_V[-1]:.4g} V"
        )
        line = _background(sweep, inert_V)
        if line is None:
            reason = "not defined: fewer than three records in the inert region"
            found.append(Value(name, math.nan, "mAh/cm2", math.nan, f"{about}; {reason}"))
            continue
        faradaic = sweep.current_A - _heights(line, sweep.potential_V)
        duration_s = float(sweep.time_s[-1] - sweep.time_s[0])
        line_A = line.at(float(sweep.potential_V.mean()))[1]
        charge = float(np.trapezoid(faradaic, sweep.time_s)) / COULOMB_PER_mAh / area_cm2
        uncertainty = math.hypot(
            line_A * duration_s / COULOMB_PER_mAh / area_cm2, charge * current_relative_accuracy * RECTANGULAR
        )
        found.append(Value(name, charge, "mAh/cm2", uncertainty, about))
    return found


def _turns(potential: Floats, turn_V: float) -> list[int]:
    """First row, turning points and last row."""
    ends, extreme, way = [0], 0, 0
    for row, value in enumerate(potential):
        if way == 0:
            if abs(value - potential[0]) >= turn_V:
                way, extreme = (1 if value > potential[0] else -1), row
        elif way * (value - potential[extreme]) >= 0:
            extreme = row
        elif way * (potential[extreme] - value) >= turn_V:
            ends.append(extreme)
            way, extreme = -way, row
    return [*ends, extreme] if way else ends


def _background(sweep: Sweep, inert_V: tuple[float, float]) -> Line | None:
    low, high = sorted(inert_V)
    inert = (sweep.potential_V >= low) & (sweep.potential_V <= high)
    if len(np.unique(sweep.potential_V[inert])) < 3:
        return None
    return straight_line(sweep.potential_V[inert], sweep.current_A[inert])


def _heights(line: Line, potential_V: Floats) -> Floats:
    return np.asarray(line.middle[1] + line.slope * (potential_V - line.middle[0]))


def _crossing(
    sweep: Sweep, line: Line, sign: float, threshold_A: float, inert_V: tuple[float, float]
) -> tuple[float, float] | None:
    """Where the current beyond the inert region exceeds the line for good, and its standard uncertainty."""
    edge = max(inert_V) if sign > 0 else min(inert_V)
    beyond = sign * sweep.potential_V >= sign * edge
    potential = sweep.potential_V[beyond]
    excess = sign * (sweep.current_A[beyond] - _heights(line, potential)) - threshold_A
    if len(excess) < 2 or not np.any(excess > 0):
        return None
    # A single record above is noise: the first of which the next is above too.
    above = np.flatnonzero((excess[:-1] > 0) & (excess[1:] > 0))
    if len(above) == 0:
        return None
    first = int(above[0])
    if first == 0:
        return float(potential[0]), abs(float(potential[1] - potential[0])) * RECTANGULAR
    before, after = first - 1, first
    part = -excess[before] / (excess[after] - excess[before])
    step_V = float(potential[after] - potential[before])
    onset_V = float(potential[before]) + part * step_V
    slope_S = abs(float(excess[after] - excess[before]) / step_V) if step_V else math.inf
    around = sweep.current_A[beyond][max(first - 10, 0) : first + 10]
    current_A = math.hypot(line.at(onset_V)[1], noise(around) if len(around) >= 3 else 0.0)
    # The current bends between two records: at most half their distance, if it is not steeper than that.
    return onset_V, math.hypot(current_A / slope_S, abs(step_V) / math.sqrt(12))
