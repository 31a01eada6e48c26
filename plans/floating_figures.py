"""Figures of merit of floating: what is left of the capacity, and what leaked while it was held."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plans.capacity_figures import last_check, last_cycle, retention
from plans.cell_figures import CellRun, gathered
from plans.resistance_figures import flag, trust
from ssblab.analysis.common import RECTANGULAR
from ssblab.analysis.cycling import StepRecord, capacity_retention
from ssblab.analysis.leakage import HoldFit, fit_hold
from ssblab.analysis.spectra import arc_resistance
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value

__all__ = ["fit_of_hold", "floating", "hold_current"]

logger = logging.getLogger(__name__)

_REACTION_Hz = (1.0, 1e4)  # of the electrodes: below what relaxes between particles, above diffusion
# Share of a hold that is left out of the fit: what settles first is of another kind, and large.
_SETTLED = 0.1

Held = Mapping[str, Any]
Floats = NDArray[np.float64]


def floating(run: RunData) -> list[Value]:
    """Compute what a floating test gives, as far as it came."""
    of_spectra = [_resistances, trust] if "spectra" in run.streams else []
    return gathered(run, [last_check, retention, _retentions, _leakages, _increases, *of_spectra])


def fit_of_hold(run: CellRun, section: str, *, with_zero: bool = True) -> HoldFit:
    """Take the current of a held section apart into what settles and what leaks, without its first tenth.

    The accuracy of the instrument at zero is left out of the uncertainty without `with_zero`.

    Raises
    ------
    BadInput
        If too little of it was recorded.
    """
    time_s, current_A = hold_current(run, section)
    after_s = _SETTLED * float(time_s[-1])
    return fit_hold(
        time_s,
        current_A,
        current_accuracy_A=_zero_A(run, current_A[time_s >= after_s]) if with_zero else 0.0,
        current_relative_accuracy=run.accuracy,
        after_s=after_s,
    )


def hold_current(run: CellRun, section: str) -> tuple[Floats, Floats]:
    """Time (s) since a hold began, and current (A), without what was recorded on the way to the voltage.

    Raises
    ------
    BadInput
        If nothing of it was recorded.
    """
    steps = _held(run, section)
    time_s, voltage_V, current_A = (
        np.concatenate([getattr(step, column) for step in steps])
        for column in ("time_s", "voltage_V", "current_A")
    )
    there = np.abs(voltage_V - np.median(voltage_V)) < run.voltage_accuracy_V
    # The last record of a step and the first of the next are of one moment.
    kept = there & (np.diff(time_s, prepend=-math.inf) > 0)
    return time_s[kept] - time_s[0], current_A[kept]


def _held(run: CellRun, section: str) -> list[StepRecord]:
    steps = [step for step in run.section(section) if step.kind == "hold"]
    if not steps:
        raise BadInput(f"{section}: no hold was recorded")
    return steps


def _zero_A(run: CellRun, current_A: Floats) -> float:
    """Accuracy at zero; of a potentiostat, whose range follows the current: of the largest of these."""
    zero_A: float | None = run.start["current_accuracy_A"]
    return run.accuracy * float(np.abs(current_A).max()) if zero_A is None else zero_A


def _potentials(run: CellRun) -> Iterator[tuple[str, Held]]:
    """Potentials whose hold has begun, with the end of the names of their figures of merit."""
    for held in run.start["held_potentials"]:
        if run.sections(held["sections"][0]):
            yield held["name"].replace(" ", ""), held


def _of_each(run: CellRun, compute: Callable[[CellRun, str, Held], Iterable[Value]]) -> Iterator[Value]:
    """Compute something of each potential; what one lacks does not take the others along."""
    for name, held in _potentials(run):
        try:
            yield from compute(run, name, held)
        except BadInput as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], held["name"], error)


def _retentions(run: CellRun) -> Iterable[Value]:
    return _of_each(run, _retention)


def _leakages(run: CellRun) -> Iterable[Value]:
    return _of_each(run, _leakage)


def _resistances(run: CellRun) -> Iterable[Value]:
    return _of_each(run, _resistance)


def _retention(run: CellRun, name: str, held: Held) -> Iterable[Value]:
    before, after = held["check_ups"][0], held["check_ups"][-1]
    value = capacity_retention(last_cycle(run, before), last_cycle(run, after))
    definition = f"{value.definition}: {after} over {before}, around {held['name']}"
    yield replace(value, name=f"capacity_retention_{name}", definition=definition)


def _leakage(run: CellRun, name: str, held: Held) -> Iterable[Value]:
    """Give what passed and leaked in the whole holds; one that was broken off is not in."""
    about = f"{held['name']} {run.start['potential_reference']}"
    sections = [section for section in held["sections"] if _is_whole(run, section)]
    if sections:
        passed = _passed(run, sections)
        yield replace(passed, name=f"hold_charge_{name}", definition=f"{passed.definition}; {about}")
    fits = _fits(run, sections)
    if not fits:
        return
    last = list(fits.values())[-1].leakage_current
    yield replace(last, name=f"leakage_current_{name}", definition=f"{last.definition}; {about}")
    leaks = [(_hours(run, section), fit.leakage_current) for section, fit in fits.items()]
    hours = math.fsum(hour for hour, _ in leaks)
    yield Value(
        f"leakage_charge_{name}",
        math.fsum(hour * leak.value / 1e3 for hour, leak in leaks),
        "mAh",
        math.fsum(hour * (leak.uncertainty or 0.0) / 1e3 for hour, leak in leaks),
        f"leakage current times time, of {hours:.4g} h of whole holds; {last.definition}; {about}",
    )


def _increases(run: CellRun) -> Iterable[Value]:
    """Give leakages less that of the first potential, the baseline.

    The wrong zero of a cycler is the same in both, and drops out. A potentiostat has another in each range.
    """
    with_zero = run.start["current_accuracy_A"] is None
    leaks = []
    for name, held in _potentials(run):
        sections = [section for section in held["sections"] if _is_whole(run, section)]
        if fits := _fits(run, sections, with_zero=with_zero):
            leaks.append((name, held["name"], list(fits.values())[-1].leakage_current))
    for name, potential, leak in leaks[1:]:
        _, first, baseline = leaks[0]
        zero = "" if with_zero else "; the instrument's zero is common and drops out"
        yield Value(
            f"leakage_increase_{name}",
            leak.value - baseline.value,
            leak.unit,
            math.hypot(leak.uncertainty or 0.0, baseline.uncertainty or 0.0),
            f"leakage current at {potential} less that at {first}, the baseline{zero}; {leak.definition}",
        )


def _is_whole(run: CellRun, section: str) -> bool:
    """Whether a potential was held to the end."""
    held = [step for step in run.steps if step.section == section and step.kind == "hold"]
    return bool(held) and not any(step.broken_off for step in held)


def _fits(run: CellRun, sections: Iterable[str], *, with_zero: bool = True) -> dict[str, HoldFit]:
    """Take the currents of holds apart; one with too few records is left out."""
    found = {}
    for section in sections:
        try:
            found[section] = fit_of_hold(run, section, with_zero=with_zero)
        except BadInput as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], section, error)
    return found


def _passed(run: CellRun, sections: Iterable[str]) -> Value:
    """Charge that passed in holds, with the sign of the current."""
    steps = [step for section in sections for step in _held(run, section)]
    charge_mAh = math.fsum(math.copysign(step.passed_mAh, step.current_A.mean()) for step in steps)
    hours = math.fsum(_hours(run, section) for section in sections)
    zero_mAh = 1e3 * hours * max(_zero_A(run, step.current_A) for step in steps)
    uncertainty = RECTANGULAR * math.hypot(zero_mAh, run.accuracy * charge_mAh)
    definition = (
        f"charge passed in {hours:.4g} h of whole holds, with what settles; uncertain by the instrument"
    )
    return Value("hold_charge", charge_mAh, "mAh", uncertainty, definition)


def _hours(run: CellRun, section: str) -> float:
    steps = _held(run, section)
    return float(steps[-1].time_s[-1] - steps[0].time_s[0]) / 3600


def _resistance(run: CellRun, name: str, held: Held) -> Iterable[Value]:
    sections = [held["check_ups"][place] for place in (0, -1)]
    before, after = (_reaction_resistance(run, section) for section in sections)
    yield replace(after, name=f"reaction_resistance_{name}")
    yield Value(
        f"resistance_change_{name}",
        after.value - before.value,
        "ohm",
        math.hypot(after.uncertainty or 0.0, before.uncertainty or 0.0),
        f"after minus before {held['name']}: {after.definition}; "
        f"before: {sections[0]}{flag(run.spectrum(sections[0]))}",
    )


def _reaction_resistance(run: CellRun, section: str) -> Value:
    spectrum = run.spectrum(section)
    low_Hz, high_Hz = _REACTION_Hz
    value = arc_resistance(spectrum.frequency_Hz, spectrum.z_ohm, from_Hz=low_Hz, to_Hz=high_Hz)
    return replace(value, definition=f"{value.definition}; {section}{flag(spectrum)}")
