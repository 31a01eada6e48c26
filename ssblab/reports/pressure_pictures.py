"""Pictures of experiments in a press: compaction of powders, and what cells do while they are pressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from plans.cell_figures import CellRun
from plans.pressure import PRESS_STREAM
from plans.pressure_figures import PelletPoint, pellet_points, press_course
from ssblab.catalog import RunData
from ssblab.reports.drawing import BLUE, GREEN, VERMILLION, WIDTH_IN, Drawing, TimeAxis, drawing, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

__all__ = ["draw_compaction", "draw_course", "pressure_drawings"]

_MARKERS = {"rising": "o-", "falling": "s--"}


def pressure_drawings(run: RunData) -> list[Drawing]:
    """Draw what a run in a press has the data for; nothing for other runs."""
    found = []
    if points := pellet_points(run):
        size_in = (WIDTH_IN, 3.2)
        found.append(
            drawing("compaction", "Conductivity under pressure", size_in, _on_panel(draw_compaction, points))
        )
    if "programs" in run.start and PRESS_STREAM in run.streams and run.streams[PRESS_STREAM].sizes["time"]:
        size_in = (WIDTH_IN, 4.2)
        found.append(drawing("press", "The press beside the cell", size_in, _courses(CellRun(run))))
    return found


def draw_compaction(axes: Axes, points: Sequence[PelletPoint]) -> str:
    """Draw conductivity, and porosity where it is known, against pressure; give the caption."""
    other = axes.twinx() if all(point.porosity is not None for point in points) else None
    for way, style in _MARKERS.items():
        branch = _branch(points, way)
        pressure_MPa = [point.asked_MPa for point in branch]
        conducts = [1e3 * point.conductivity.value for point in branch]
        axes.plot(pressure_MPa, conducts, style, color=BLUE, fillstyle="none")
        if other is not None:
            pores = [100 * point.porosity.value for point in branch if point.porosity is not None]
            other.plot(pressure_MPa, pores, style, color=VERMILLION, fillstyle="none")
    axes.set(xlabel="pressure / MPa", ylim=(0, None))
    axes.set_ylabel("conductivity / mS cm$^{-1}$", color=BLUE)
    caption = "Conductivity (left, blue) against the pressure with which it was pressed"
    if other is not None:
        other.spines["right"].set_visible(True)
        other.set_ylabel("porosity / %", color=VERMILLION)
        other.set_ylim(0, None)
        caption += ", and porosity (right, orange-red)"
    return f"{caption}. Circles: rising, squares: falling."


def _branch(points: Sequence[PelletPoint], way: str) -> list[PelletPoint]:
    """Points of one way; the way down begins at the top."""
    branch = [point for point in points if point.way == way]
    rising = [point for point in points if point.way == "rising"]
    if way == "falling" and branch and rising:
        return [max(rising, key=_asked), *branch]
    return branch


def _asked(point: PelletPoint) -> float:
    return point.asked_MPa


def draw_course(axes: Axes, run: CellRun, signal: str, time: TimeAxis) -> None:
    """Draw what the press read beside a cell, "thickness" (um) or "pressure" (MPa), against time."""
    time_s, readings = press_course(run, signal)
    factor, label = (1e3, "thickness / µm") if signal == "thickness" else (1.0, "pressure / MPa")
    line(axes, time(time_s), factor * readings, color=GREEN if signal == "thickness" else VERMILLION)
    axes.set_ylabel(label)


def _courses(run: CellRun) -> Callable[[FigureBase], str]:
    def draw(panel: FigureBase) -> str:
        time_s = press_course(run, "pressure")[0]
        axis = TimeAxis(float(time_s[0]), float(time_s[-1]))
        voltage, thickness, pressure = panel.subplots(3, 1, sharex=True)
        for step in run.steps:
            line(voltage, axis(step.time_s), step.voltage_V, color=BLUE)
        voltage.set_ylabel("voltage / V")
        if np.isfinite(press_course(run, "thickness")[1]).any():
            draw_course(thickness, run, "thickness", axis)
        draw_course(pressure, run, "pressure", axis)
        pressure.set_xlabel(f"time since the first record of the press / {axis.unit}")
        return "Voltage of the cell; what the thickness gauge and the load cell of the press read beside it."

    return draw


def _on_panel(
    draw: Callable[[Axes, Sequence[PelletPoint]], str], points: Sequence[PelletPoint]
) -> Callable[[FigureBase], str]:
    return lambda panel: draw(panel.subplots(), points)
