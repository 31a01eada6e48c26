"""What the programs of a cell say of their time beforehand, and which of their ends did not come in a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plans.cell_figures import CellRun
from plans.programs import longest_s
from ssblab.analysis.cycling import StepRecord
from ssblab.catalog import RunData
from ssblab.samples import CellSample
from ssblab.steps import (
    Amount,
    Bounds,
    Condition,
    Current,
    Hold,
    Loop,
    Program,
    Rest,
    Step,
    While,
    check,
    numbered,
    parse,
    resolve,
)

__all__ = ["Forecast", "Unreached", "forecasts", "unreached"]

_VOLTAGE_TOLERANCE_V = 2e-3
_RELATIVE_TOLERANCE = 0.02  # of currents and capacities, between the last record and the end of a step


@dataclass(frozen=True)
class Forecast:
    """What can be said of the program of one section without simulating it.

    Attributes
    ----------
    section, text : str
        As in the start document.
    shortest_s : float
        It takes no less.
    longest_s : float or None
        It takes no more, pauses not counted: a step without a time of its own is ended by the plan in any
        case. None where a wait has no bound.
    warnings : tuple of str
        What its writer should know.
    """

    section: str
    text: str
    shortest_s: float
    longest_s: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Unreached:
    """A step that only its time ended, though it has other ends.

    Attributes
    ----------
    section, number, step : str
        Where it is, and its text as it was written.
    times : int
        How often that happened, in cycles.
    wanted, found : str
        The ends that did not come, and what was measured at the end of the last of these steps.
    has_time : bool
        Whether its program gives it a time; else the plan gave it up.
    """

    section: str
    number: str
    step: str
    times: int
    wanted: str
    found: str
    has_time: bool


def forecasts(start: Mapping[str, Any]) -> list[Forecast]:
    """Say of each program of a start document what can be said without simulating it.

    Parameters
    ----------
    start : mapping
        Of any run; one that has no programs of a cell has no forecasts.
    """
    if not start.get("programs"):
        return []
    sample = CellSample.model_validate(start["sample"])
    return [_forecast(record["section"], record["text"], sample) for record in start["programs"]]


def _forecast(section: str, text: str, sample: CellSample) -> Forecast:
    bounds = Bounds(
        f"sample {sample.name}",
        (
            Condition("voltage", ">", Amount(sample.voltage_min_V, "V")),
            Condition("voltage", "<", Amount(sample.voltage_max_V, "V")),
        ),
    )
    report = check(parse(text), sample, bounds)
    resolved = report.resolved.program
    ended = replace(resolved, steps=tuple(_ended(step, sample) for step in resolved.steps))
    warnings = tuple(str(finding) for finding in report.findings if finding.severity == "warning")
    return Forecast(section, text, report.shortest_s, check(ended, sample, bounds).longest_s, warnings)


def _ended(step: Step, sample: CellSample) -> Step:
    """Give a step with the time after which the plan ends it."""
    if isinstance(step, (Loop, While)):
        return replace(step, steps=tuple(_ended(inner, sample) for inner in step.steps))
    if isinstance(step, (Current, Hold, Rest)):
        return replace(step, for_s=longest_s(step, sample))
    return step


def unreached(run: RunData) -> list[Unreached]:
    """Find the steps of a run that only their time ended, though they have other ends.

    Parameters
    ----------
    run : RunData
        One without programs of a cell has none.
    """
    if not run.start.get("programs"):
        return []
    seen = CellRun(run)
    programs = {
        record["section"]: _by_number(parse(record["text"]), seen.sample) for record in run.start["programs"]
    }
    found: dict[tuple[str, str], Unreached] = {}
    for record in seen.steps:
        written, step = programs.get(record.section, {}).get(record.number, (None, None))
        if not isinstance(step, (Current, Hold, Rest)) or not step.until:
            continue
        if _by_time(record, longest_s(step, seen.sample)) and not any(
            _came(end, record) for end in step.until
        ):
            place = (record.section, record.number)
            found[place] = Unreached(
                *place,
                step=written.text(),
                times=found[place].times + 1 if place in found else 1,
                wanted=" or ".join(end.text(ending=True) for end in written.until),
                found=", ".join(dict.fromkeys(_at_end(record, step.until))),
                has_time=step.for_s is not None,
            )
    return list(found.values())


def _by_number(program: Program, sample: CellSample) -> dict[str, tuple[Any, Any]]:
    """Steps as they were written and in amperes and terminal voltages, by number."""
    resolved = resolve(program, sample).program
    pairs = zip(numbered(program.steps), numbered(resolved.steps), strict=True)
    return {number: (written, step) for (number, written, _), (_, step, _) in pairs}


def _by_time(record: StepRecord, longest_s: float) -> bool:
    """Whether a step took all its time, as far as its records tell."""
    spacing_s = float(np.median(np.diff(record.time_s))) if len(record.time_s) > 1 else 0.0
    return record.duration_s + record.unrecorded_s + 2 * spacing_s >= longest_s


def _came(end: Condition, record: StepRecord) -> bool:
    """Whether an end of a step had come at its last record; of what the channel does not measure, no."""
    value = end.amount.value
    match end.quantity:
        case "voltage":
            above_V = record.last_voltage_V - value
            if end.comparison is None:
                return abs(above_V) <= _VOLTAGE_TOLERANCE_V
            return (above_V if end.comparison == ">" else -above_V) >= -_VOLTAGE_TOLERANCE_V
        case "current" if end.comparison == "<":
            return abs(float(record.current_A[-1])) <= (1 + _RELATIVE_TOLERANCE) * value
        case "current":
            return abs(float(record.current_A[-1])) >= (1 - _RELATIVE_TOLERANCE) * value
        case "capacity":
            return record.passed_mAh >= (1 - _RELATIVE_TOLERANCE) * value
    return False


def _at_end(record: StepRecord, ends: tuple[Condition, ...]) -> Iterator[str]:
    for end in ends:
        match end.quantity:
            case "current":
                yield f"{1e3 * abs(float(record.current_A[-1])):.4g} mA"
            case "capacity":
                yield f"{record.passed_mAh:.4g} mAh"
            case _:
                yield f"{record.last_voltage_V:.4g} V"
