"""Pictures of experiments on cells: their course, their curves, what fades, what leaks, their spectra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plans.cell_figures import CellRun
from plans.recorded import Spectrum
from ssblab.analysis.cycling import StepRecord, group_cycles
from ssblab.catalog import RunData
from ssblab.reports.drawing import (
    BLUE,
    VERMILLION,
    WIDTH_IN,
    Drawing,
    TimeAxis,
    drawing,
    largest_resistance_ohm,
    line,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

__all__ = ["cell_drawings"]

_MOST_CURVES = 12  # of one picture; more are not told apart
_VIEW = 1.1  # width of a Nyquist plot, in largest resistances

Draw = Callable[["FigureBase", CellRun], str]


def cell_drawings(run: RunData) -> list[Drawing]:
    """Draw what a run of an experiment on a cell has the data for; nothing for other runs."""
    if "programs" not in run.start:
        return []
    seen = CellRun(run)
    pictures: list[tuple[str, str, float, bool, Draw]] = [
        ("course", "Voltage and current", 3.4, bool(seen.steps), _course),
        ("curves", "Charge and discharge", 3.4, bool(_halves(seen)), _curves),
        ("capacity", "Capacity by cycle", 2.8, len(_discharges(seen)) > 2, _capacities),
        ("holds", "Current of held voltages", 3.0, bool(_holds(seen)), _hold_currents),
        ("spectra", "Impedance", 3.6, bool(seen.spectra), _nyquist),
    ]
    return [
        drawing(name, title, (WIDTH_IN, height_in), _drawer(draw, seen))
        for name, title, height_in, there, draw in pictures
        if there
    ]


def _drawer(draw: Draw, run: CellRun) -> Callable[[FigureBase], str]:
    return lambda panel: draw(panel, run)


def _course(panel: FigureBase, run: CellRun) -> str:
    time_s = np.concatenate([step.time_s for step in run.steps])
    voltage_V = np.concatenate([step.voltage_V for step in run.steps])
    current_mA = 1e3 * np.concatenate([step.current_A for step in run.steps])
    axis = TimeAxis(float(time_s[0]), float(time_s[-1]))
    upper, lower = panel.subplots(2, 1, sharex=True)
    line(upper, axis(time_s), voltage_V, color=BLUE)
    line(lower, axis(time_s), current_mA, color=VERMILLION)
    upper.set_ylabel("voltage / V")
    lower.set_ylabel("current / mA")
    lower.set_xlabel(f"time since the first record / {axis.unit}")
    sections = ", ".join(run.sections())
    return f"Voltage between the terminals, and current (positive raises the voltage). Sections: {sections}."


def _halves(run: CellRun) -> list[StepRecord]:
    """Charges and discharges; of many, some that are spread over all."""
    found = [step for step in run.steps if step.kind in ("charge", "discharge") and len(step.time_s) > 2]
    if len(found) <= 2 * _MOST_CURVES:
        return found
    chosen = np.unique(np.linspace(0, len(found) - 1, 2 * _MOST_CURVES).astype(int))
    return [found[i] for i in chosen]


def _curves(panel: FigureBase, run: CellRun) -> str:
    axes, steps = panel.subplots(), _halves(run)
    colours = _shades(len(steps))
    for step, colour in zip(steps, colours, strict=True):
        style = {"linestyle": "-" if step.kind == "charge" else "--", "color": colour}
        line(axes, step.charge_mAh, step.voltage_V, **style)
    axes.set_xlabel("charge passed in the step / mAh")
    axes.set_ylabel("voltage / V")
    few = f" {len(steps)} of them, spread over all." if len(steps) == 2 * _MOST_CURVES else ""
    return f"Charges (lines) and discharges (dashed), the first blue, the last red.{few}"


def _discharges(run: CellRun) -> list[tuple[str, float]]:
    cycles = group_cycles(run.steps)
    found = [
        (section, sum(step.passed_mAh for step in steps if step.kind == "discharge"))
        for (section, _), steps in cycles.items()
    ]
    return [(section, passed_mAh) for section, passed_mAh in found if passed_mAh > 0]


def _capacities(panel: FigureBase, run: CellRun) -> str:
    axes = panel.subplots()
    found = _discharges(run)
    checks = np.array([section.startswith("check-up") for section, _ in found])
    place, passed_mAh = np.arange(1, len(found) + 1), np.array([passed for _, passed in found])
    for chosen, colour, label in ((~checks, BLUE, "cycles"), (checks, VERMILLION, "check-ups")):
        if chosen.any():
            style: dict[str, Any] = {"color": colour, "markersize": 4, "label": label}
            axes.plot(place[chosen], passed_mAh[chosen], "o", **style)
    axes.set_xlabel("cycle, in the order of measurement")
    axes.set_ylabel("discharge capacity / mAh")
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize="small")
    return "Charge passed in the discharges of each cycle."


def _holds(run: CellRun) -> dict[str, list[StepRecord]]:
    """Held voltages by section."""
    found: dict[str, list[StepRecord]] = {}
    for step in run.steps:
        if step.kind == "hold":
            found.setdefault(step.section, []).append(step)
    return found


def _hold_currents(panel: FigureBase, run: CellRun) -> str:
    axes = panel.subplots()
    holds = _holds(run)
    for (section, steps), colour in zip(holds.items(), _shades(len(holds)), strict=True):
        time_s = np.concatenate([step.time_s for step in steps])
        current_uA = 1e6 * np.abs(np.concatenate([step.current_A for step in steps]))
        shown = (time_s > time_s[0]) & (current_uA > 0)
        axes.loglog((time_s[shown] - time_s[0]) / 3600, current_uA[shown], color=colour, label=plain(section))
    axes.set_xlabel("time since the hold began / h")
    axes.set_ylabel("current / µA")
    axes.legend(fontsize="small")
    return "Magnitude of the current while the voltage was held, both axes logarithmic."


def _nyquist(panel: FigureBase, run: CellRun) -> str:
    axes = panel.subplots()
    spectra = [spectrum for spectrum in run.spectra if len(spectrum.z_ohm)][-_MOST_CURVES:]
    view_ohm = 0.0
    for spectrum, colour in zip(spectra, _shades(len(spectra)), strict=True):
        style: dict[str, Any] = {"color": colour, "markersize": 3, "fillstyle": "none"}
        axes.plot(spectrum.z_ohm.real, -spectrum.z_ohm.imag, "o-", label=_told(spectrum), **style)
        view_ohm = max(view_ohm, _VIEW * largest_resistance_ohm(spectrum.z_ohm))
    axes.set(xlabel="Z′ / Ω", ylabel="−Z″ / Ω", aspect="equal", xlim=(0, view_ohm))
    axes.set_ylim(-view_ohm / 8, view_ohm / 2)
    axes.legend(fontsize="small", loc="upper left")
    flagged = sum(spectrum.verdict != "accept" for spectrum in spectra)
    return f"Nyquist plot, equal axes; {len(spectra)} spectra, {flagged} of them not accepted when taken."


def _told(spectrum: Spectrum) -> str:
    told = spectrum.section if spectrum.verdict == "accept" else f"{spectrum.section} ({spectrum.verdict})"
    return plain(told)


def _shades(count: int) -> Sequence[Any]:
    """Colours from blue to red, told apart by colour-blind readers too."""
    from matplotlib.colors import to_rgb

    first, last = np.array(to_rgb(BLUE)), np.array(to_rgb(VERMILLION))
    return [tuple((1 - place) * first + place * last) for place in np.linspace(0, 1, max(count, 1))][:count]
