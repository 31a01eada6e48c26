"""Pictures of potentials of single electrodes in charges, and of voltammograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plans.cell_figures import CellRun
from ssblab.analysis.cycling import StepRecord
from ssblab.catalog import RunData
from ssblab.reports.drawing import BLUE, GREY, VERMILLION, WIDTH_IN, Drawing, drawing, line

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

__all__ = ["electrode_drawings"]


def electrode_drawings(run: RunData) -> list[Drawing]:
    """Draw potentials of both electrodes, and voltammograms, where there are any; else nothing."""
    if "programs" not in run.start:
        return []
    seen, found = CellRun(run), []
    if "potentials" in run.streams and seen.steps:
        size_in = (WIDTH_IN, 4.2)
        found.append(
            drawing("electrodes", "Both electrodes", size_in, lambda panel: _electrodes(panel, seen))
        )
    if sweeps := [step for step in seen.steps if step.section.startswith(("oxidation ", "reduction "))]:
        size_in = (WIDTH_IN, 3.4)
        found.append(
            drawing("voltammogram", "Voltammogram", size_in, lambda panel: _voltammogram(panel, seen, sweeps))
        )
    return found


def _electrodes(panel: FigureBase, run: CellRun) -> str:
    """Potentials of each charge over the charge passed in it."""
    time_s = np.asarray(run.run.streams["potentials"]["time"], dtype=float)
    upper, lower = panel.subplots(2, 1, sharex=True)
    charges = [step for step in run.steps if step.kind == "charge" and len(step.time_s) > 1]
    for number, step in enumerate(charges):
        within = (time_s >= step.time_s[0]) & (time_s <= step.time_s[-1])
        charge_mAh = np.interp(time_s[within], step.time_s, step.charge_mAh)
        shade = 0.35 + 0.65 * (number + 1) / len(charges)
        for axes, side, colour in ((upper, "positive", VERMILLION), (lower, "negative", BLUE)):
            potential_V = run.column("potentials", "electrodes", f"{side}_potential")[within].astype(float)
            line(axes, charge_mAh, potential_V, color=colour, alpha=shade)
    lower.axhline(0.0, color=GREY, linewidth=0.8)
    upper.set_ylabel("positive / V")
    lower.set_ylabel("negative / V")
    lower.set_xlabel("charge / mAh")
    names = ", ".join(dict.fromkeys(step.section for step in charges)) or "none was recorded"
    return f"Potentials against the reference electrode in the charges, later ones stronger: {names}."


def _voltammogram(panel: FigureBase, run: CellRun, sweeps: list[StepRecord]) -> str:
    axes = panel.subplots()
    for number, step in enumerate(sweeps, start=1):
        density_uA_cm2 = 1e6 * step.current_A / run.sample.area_cm2
        shade = 0.25 + 0.75 * number / len(sweeps)
        line(axes, step.voltage_V, density_uA_cm2, color=BLUE, alpha=shade)
    reference = run.sample.reference
    axes.set_xlabel(f"potential against {reference} / V" if reference else "voltage / V")
    axes.set_ylabel("current density / uA/cm2")
    return f"Current density of {len(sweeps)} sweeps, later ones stronger."
