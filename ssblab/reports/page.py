"""The page of a run: one HTML file that needs nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ssblab.catalog import RunData
from ssblab.quantities import Value
from ssblab.reports.pictures import drawings
from ssblab.reports.repeat import command_line, ipython_lines
from ssblab.reports.text import duration, moment, number, rounded, unit_text
from ssblab.results import FIGURES_KEY, Related, figures_of_merit

__all__ = ["write_report"]

logger = logging.getLogger(__name__)

_TEMPLATE = "page.html.j2"
_SHOWN_ELSEWHERE = frozenset(
    {"uid", "time", "plan_name", "sample", "arguments", "plan_args", "devices", "versions", "station"}
)


def write_report(run: RunData, path: Path, related: Related | None = None) -> Path:
    """Write the page of a run: what was done, how it ended, results, pictures, settings, how to repeat it.

    A run of any bluesky plan gets one, and so does a run that was broken off: with what there is.

    Parameters
    ----------
    run : RunData
    path : Path
        The HTML file; what was there is replaced.
    related : callable, optional
        Reads another run by its uid, for a run that is about several.

    Returns
    -------
    Path
        `path`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssblab.reports", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        moment=moment, duration=duration, shown=_shown, unit=unit_text, markup=Markup, result=_result
    )
    results, why_no_results = _results(run, related)
    page = environment.get_template(_TEMPLATE).render(
        start=run.start,
        stop=run.stop,
        plan=str(run.start.get("plan_name", "a run without a plan name")),
        description=_description(run.start.get("plan_name")),
        sample=_sample(run.start),
        ending=_ending(run),
        safe_state=_safe_state(run),
        results=results,
        why_no_results=why_no_results,
        drawings=drawings(run, related, results),
        arguments=_mapping(run.start, "plan_args") | _mapping(run.start, "arguments"),
        devices=_devices(run.start),
        versions=_mapping(run.start, "versions"),
        streams=[_stream(name, dataset) for name, dataset in run.streams.items()],
        metadata={key: value for key, value in run.start.items() if key not in _SHOWN_ELSEWHERE},
        command_line=command_line(run.start),
        ipython_lines=ipython_lines(run.start),
    )
    path.write_text(page, encoding="utf-8")
    return path


@dataclass(frozen=True)
class _Notice:
    """Something good or bad about a run, in a word and in a sentence."""

    good: bool
    word: str
    reason: str


def _ending(run: RunData) -> _Notice:
    if not run.stop:
        return _Notice(
            False,
            "open",
            "The run has no end: it goes on, or its process was lost. This is what was recorded.",
        )
    status = str(run.stop.get("exit_status", "unknown"))
    reason = str(run.stop.get("reason") or "")
    if status == "success":
        return _Notice(True, status, reason)
    return _Notice(False, status, reason or "No reason was recorded.")


def _safe_state(run: RunData) -> _Notice:
    record = run.streams.get("safe_state")
    if record is None or not record.sizes["time"]:
        return _Notice(False, "not recorded", "Nothing says that the station was brought to its safe state.")
    last = record.isel(time=-1)
    steps, confirmed = int(last["safe_state_steps"]), int(last["safe_state_confirmed"])
    problem = str(last["safe_state_problem"].item() or "")
    count = f"{confirmed} of {steps} steps confirmed"
    if confirmed < steps or problem:
        return _Notice(False, "not confirmed", f"{count}: {problem or 'no reason was recorded'}")
    if not steps:
        return _Notice(False, "none", "The station has no steps of a safe state.")
    return _Notice(True, "confirmed", count)


def _description(plan_name: Any) -> str:
    """Give the first line of a plan's own description; "" for a plan that is not known here."""
    import bluesky.plans

    from plans.catalogue import find_plans

    known = find_plans().get(str(plan_name)) or getattr(bluesky.plans, str(plan_name), None)
    return (getattr(known, "__doc__", None) or "").strip().partition("\n")[0]


def _mapping(start: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Give a part of a start document, whose content any plan may choose; empty if it is no mapping."""
    part = start.get(key)
    return dict(part) if isinstance(part, Mapping) else {}


def _sample(start: Mapping[str, Any]) -> dict[str, Any]:
    record = _mapping(start, "sample") or {"name": start.get("sample")}
    return {key: value for key, value in record.items() if value}


def _devices(start: Mapping[str, Any]) -> dict[str, Any]:
    named = {role: start[role] for role in ("detectors", "motors") if start.get(role)}
    return _mapping(start, "devices") or named


def _results(run: RunData, related: Related | None) -> tuple[list[Value], str]:
    """Give the figures of merit, or why there are none."""
    if FIGURES_KEY not in run.start:
        return [], "This plan has no figures of merit."
    try:
        found = list(figures_of_merit(run, related).values())
    except Exception as error:
        logger.warning("run %s: no figures of merit: %s", run.start["uid"], error)
        return [], f"The figures of merit could not be computed: {type(error).__name__}: {error}."
    recorded = ", ".join(run.streams) or "none"
    return found, f"What was recorded (streams: {recorded}) is not enough for any figure of merit."


def _result(value: Value) -> str:
    return rounded(value.value, value.uncertainty)


@dataclass(frozen=True)
class _Stream:
    """A line of the table of streams; times in s since 1970."""

    name: str
    events: int
    first_s: float | None
    last_s: float | None
    period_s: float | None


def _stream(name: str, dataset: Any) -> _Stream:
    time_s = np.asarray(dataset["time"], dtype=float)
    if not len(time_s):
        return _Stream(name, 0, None, None, None)
    period_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else None
    return _Stream(name, len(time_s), float(time_s[0]), float(time_s[-1]), period_s)


def _shown(value: Any) -> str:
    """Write a value of a document for a reader."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return number(value) if isinstance(value, float) else str(value)
