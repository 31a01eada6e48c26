"""Figures of merit of plating and stripping: shorts, critical current density, thickness, resistances."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from plans.cell_figures import CellRun, gathered
from ssblab.analysis.common import RECTANGULAR
from ssblab.analysis.cycling import StepRecord
from ssblab.analysis.plating import critical_current_density, plated_thickness
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value

__all__ = ["critical", "plating"]


def plating(run: RunData) -> list[Value]:
    """Compute when the cell shorted, what was plated, and its resistances."""
    return gathered(run, [_short, _thickness, _resistances, _spectra])


def critical(run: RunData) -> list[Value]:
    """Compute the current density that the cell bears, and what `plating` does."""
    return gathered(run, [_critical, _short, _thickness, _resistances, _spectra])


def _half_cycles(run: CellRun) -> list[StepRecord]:
    """Charges and discharges, in order."""
    found = [step for step in run.steps if step.kind in ("charge", "discharge")]
    if not found:
        raise BadInput("no half cycle was recorded")
    return found


def _shorted(run: CellRun) -> int | None:
    """Number of the half cycle in which the plan found a short, from 1."""
    if "events" not in run.run.streams:
        return None
    return int(run.run.streams["events"]["events_half_cycle"].values[0])


def _critical(run: CellRun) -> Iterable[Value]:
    shorted = _shorted(run)
    results = [
        (1e3 * abs(float(np.median(half.current_A))) / run.sample.area_cm2, number == shorted)
        for number, half in enumerate(_half_cycles(run), start=1)
    ]
    yield from critical_current_density(results, current_relative_accuracy=run.accuracy)


def _short(run: CellRun) -> Iterable[Value]:
    halves = _half_cycles(run)
    shorted = _shorted(run)
    about = "time from the first current to the short that the plan found, rests included"
    if shorted is None:
        last_s = float(halves[-1].time_s[-1] - halves[0].time_s[0])
        yield Value("short_time", math.nan, "s", math.nan, f"{about}; none within {last_s:.0f} s")
        return
    half = halves[shorted - 1]
    reason = str(run.run.streams["events"]["events_reason"].values[0])
    spacing_s = float(np.median(np.diff(half.time_s))) if len(half.time_s) > 1 else math.nan
    yield Value(
        "short_time",
        float(half.time_s[-1] - halves[0].time_s[0]),
        "s",
        spacing_s * RECTANGULAR,
        f"{about}: {reason}; one interval of the records, rectangular: a soft short may have begun before",
    )


def _thickness(run: CellRun) -> Iterable[Value]:
    halves = _half_cycles(run)
    largest_mAh = max(half.passed_mAh for half in halves)
    forth_mAh = sum(half.passed_mAh for half in halves if half.kind == halves[0].kind)
    for name, charge_mAh, about in (
        ("plated_thickness", largest_mAh, "largest half cycle"),
        ("plated_thickness_total", forth_mAh, "all half cycles in the direction of the first"),
    ):
        value = plated_thickness(
            charge_mAh,
            area_cm2=run.sample.area_cm2,
            charge_uncertainty_mAh=run.accuracy * RECTANGULAR * charge_mAh,
        )
        yield replace(value, name=name, definition=f"{value.definition}; {about}")


def _resistances(run: CellRun) -> Iterable[Value]:
    """Give voltage over current of the first and the last half cycle, and the largest overpotential."""
    halves = _half_cycles(run)
    for name, half in (("first", halves[0]), ("last", halves[-1])):
        ohm = np.abs(half.voltage_V / half.current_A)
        yield Value(
            f"resistance_{name}_half_cycle",
            float(np.median(ohm)),
            "ohm",
            float(np.std(ohm)),
            f"median of |V / I| in the {name} half cycle; its scatter",
        )
    yield Value(
        "overpotential_max",
        max(float(np.abs(half.voltage_V).max()) for half in halves),
        "V",
        run.voltage_accuracy_V * RECTANGULAR,
        "largest |V| of all half cycles; the voltmeter's accuracy, rectangular",
    )


def _spectra(run: CellRun) -> Iterable[Value]:
    for name in ("before", "after"):
        spectrum = run.spectrum(f"spectrum {name}")
        lowest = int(np.argmin(spectrum.frequency_Hz))
        yield Value(
            f"resistance_{name}",
            float(spectrum.z_ohm.real[lowest]),
            "ohm",
            math.nan,
            f"real part of the impedance at {spectrum.frequency_Hz[lowest]:.3g} Hz, {name} plating "
            f"({spectrum.verdict})",
        )
