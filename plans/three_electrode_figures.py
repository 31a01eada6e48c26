"""Figures of merit of cells with a reference electrode: closure, what ends a discharge, margin to lithium."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plans.cell_figures import CellRun, gathered
from ssblab.analysis.common import RECTANGULAR, straight_line
from ssblab.analysis.cycling import StepRecord, charge_capacity
from ssblab.analysis.plating import smallest_potential
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value, parse

__all__ = ["three_electrode"]

_SETTLING_S = 30.0  # after a current was switched the voltage moves too fast to be read at two times
_LAST_READINGS = 3  # of a discharge, over which slopes at its end are taken
_AT_LIMIT_V = 0.2  # the last record of a discharge may stand so far before its end


@dataclass(frozen=True)
class _Potentials:
    """Both electrodes against the reference electrode within one step, and the charge passed in it."""

    time_s: NDArray[np.float64]
    positive_V: NDArray[np.float64]
    negative_V: NDArray[np.float64]
    charge_mAh: NDArray[np.float64]


def three_electrode(run: RunData) -> list[Value]:
    """Compute closure, what ended the last discharge, and how near each charge came to lithium."""
    return gathered(run, [_closure, _discharge_end, _charges, _guard])


def _potentials(run: CellRun, step: StepRecord) -> _Potentials:
    """Readings of both electrodes in a step."""
    time_s = np.asarray(run.run.streams["potentials"]["time"], dtype=float)
    positive_V, negative_V = (
        run.column("potentials", "electrodes", f"{side}_potential").astype(float)
        for side in ("positive", "negative")
    )
    began_s, ended_s = _lasted(run, step)
    rows = (time_s >= began_s) & (time_s <= ended_s)
    rows &= np.isfinite(positive_V) & np.isfinite(negative_V)
    beyond_s = time_s[rows] - np.clip(time_s[rows], step.time_s[0], step.time_s[-1])
    current_A = np.abs(np.interp(time_s[rows], step.time_s, step.current_A))
    charge_mAh = np.interp(time_s[rows], step.time_s, step.charge_mAh) + current_A * beyond_s / 3.6
    return _Potentials(time_s[rows], positive_V[rows], negative_V[rows], np.maximum(charge_mAh, 0.0))


def _lasted(run: CellRun, step: StepRecord) -> tuple[float, float]:
    """Times between which the current of a step flew for certain."""
    marks = run.run.streams["steps"]
    began_s, ended_s = (np.asarray(marks[f"steps_{key}"], dtype=float) for key in ("began", "ended"))
    place = int(np.flatnonzero((began_s <= step.time_s[0]) & (step.time_s[0] <= ended_s))[0])
    if str(marks["steps_ended_by"].values[place]):
        return float(began_s[place]), float(ended_s[place])  # the plan ended it, after its last look
    return float(began_s[place]), float(step.time_s[-1])


def _closure(run: CellRun) -> Iterable[Value]:
    found = []
    for step in run.steps:
        seen = _potentials(run, step)
        settled = (seen.time_s >= step.time_s[0] + _SETTLING_S) & (seen.time_s <= step.time_s[-1])
        cell_V = np.interp(seen.time_s, step.time_s, step.voltage_V)
        found.append((cell_V - (seen.positive_V - seen.negative_V))[settled])
    closure_V = np.concatenate(found) if found else np.empty(0)
    if len(closure_V) == 0:
        raise BadInput("no potentials were recorded")
    about = (
        f"V less the difference of the potentials of both electrodes, {len(closure_V)} readings, V straight "
        f"between two records, without the first {_SETTLING_S:g} s of each step"
    )
    own_V = run.voltage_accuracy_V * RECTANGULAR
    yield Value(
        "closure_rms", float(np.sqrt(np.mean(closure_V**2))), "V", own_V, f"root mean square of: {about}"
    )
    yield Value("closure_max", float(np.abs(closure_V).max()), "V", own_V, f"largest of: {about}")


def _discharge_end(run: CellRun) -> Iterable[Value]:
    """Give slopes of both electrodes at the end of the largest discharge that was recorded to its end."""
    limit_V = min((step.last_voltage_V for step in run.steps if step.kind == "discharge"), default=math.nan)
    discharges = [
        step
        for step in run.steps
        if step.kind == "discharge" and step.last_voltage_V < limit_V + _AT_LIMIT_V and len(step.time_s) > 2
    ]
    if not discharges:
        raise BadInput("no discharge was recorded")
    step = max(discharges, key=lambda step: step.passed_mAh)
    seen = _potentials(run, step)
    rows = slice(-_LAST_READINGS, None)
    if len(seen.time_s) < _LAST_READINGS:
        raise BadInput("too few potentials were recorded at the end of the discharge")
    slopes = {}
    for side, potential_V in (("positive", seen.positive_V), ("negative", seen.negative_V)):
        line = straight_line(seen.charge_mAh[rows], potential_V[rows])
        slopes[side] = abs(line.slope)
        yield Value(
            f"{side}_slope_at_discharge_end",
            abs(line.slope),
            "V/mAh",
            line.slope_uncertainty,
            f"|dE/dQ| of the {side} electrode over the last {_LAST_READINGS} readings of the "
            f"discharge in {step.section!r}, straight line",
        )
    ends = max(slopes, key=lambda side: slopes[side])
    share = slopes[ends] / sum(slopes.values())
    yield Value(
        "discharge_ended_by",
        float(ends == "negative"),
        "1",
        None,
        f"0 positive, 1 negative electrode: the {ends}, with {share:.0%} of |dV/dQ| at the cut-off",
    )


def _charges(run: CellRun) -> Iterable[Value]:
    reference_V = _argument_V(run, "reference_potential")
    for section, rate in _charge_sections(run):
        steps = [step for step in run.section(section) if step.kind == "charge"]
        capacity = charge_capacity(steps, current_relative_accuracy=run.accuracy)
        yield replace(
            capacity, name=f"charge_capacity_{rate:g}C", definition=f"{capacity.definition}; {section}"
        )
        seen = _potentials(run, steps[-1])
        least, at_0_V = smallest_potential(
            seen.negative_V + reference_V, seen.charge_mAh, potential_accuracy_V=run.voltage_accuracy_V
        )
        yield replace(least, name=f"{least.name}_{rate:g}C", definition=f"{least.definition}; {section}")
        yield _at_potential(run, seen, reference_V, _argument_V(run, "guard"), section, rate)
        nominal_mAh = run.sample.capacity_mAh
        yield Value(
            f"state_of_charge_at_0_V_{rate:g}C",
            at_0_V.value / nominal_mAh,
            "1",
            math.nan if at_0_V.uncertainty is None else at_0_V.uncertainty / nominal_mAh,
            f"{at_0_V.definition}; over the nominal capacity; {section}",
        )


def _at_potential(
    run: CellRun, seen: _Potentials, reference_V: float, guard_V: float, section: str, rate: float
) -> Value:
    """State of charge at which the guard was reached."""
    _, reached = smallest_potential(
        seen.negative_V + reference_V - guard_V, seen.charge_mAh, potential_accuracy_V=run.voltage_accuracy_V
    )
    nominal_mAh = run.sample.capacity_mAh
    about = (
        "charge since the slow discharge over the nominal capacity, where the negative electrode came to the "
        f"guard of {guard_V:g} V against Li/Li+; {section}"
    )
    return Value(
        f"state_of_charge_at_guard_{rate:g}C",
        reached.value / nominal_mAh,
        "1",
        math.nan if reached.uncertainty is None else reached.uncertainty / nominal_mAh,
        about if math.isfinite(reached.value) else f"{about}; it did not come there",
    )


def _guard(run: CellRun) -> Iterable[Value]:
    """Give the slowest rate at which the guard was reached."""
    reached = []
    if "events" in run.run.streams:
        events = run.run.streams["events"]
        risks = np.asarray(events["events_event"]) == "li_plating_risk"
        reached = np.asarray(events["events_rate"], dtype=float)[risks].tolist()
    rates = [rate for _, rate in _charge_sections(run)]
    if not rates:
        raise BadInput("no charge was recorded")
    about = "slowest C-rate at which the negative electrode came to the guard"
    if reached:
        yield Value("rate_at_guard", min(reached), "1/h", None, about)
    else:
        yield Value("rate_at_guard", math.nan, "1/h", math.nan, f"{about}; it did not up to {max(rates):g}C")


def _charge_sections(run: CellRun) -> list[tuple[str, float]]:
    prefix = "charge at "
    return [(section, run.rate(section.removeprefix(prefix))) for section in run.sections(prefix)]


def _argument_V(run: CellRun, name: str) -> float:
    return parse(run.start["arguments"][name], "V", name=name)
