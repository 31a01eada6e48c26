"""Pictures of runs: each where its columns were recorded; for other runs, all columns against time.

matplotlib is imported when something is drawn, and its pyplot state is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plans.moisture_figures import MoistureRun
from ssblab.analysis.impedance import CircuitFit, fit_circuit
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value, parse
from ssblab.reports.cell_pictures import cell_drawings
from ssblab.reports.drawing import (
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILLION,
    WIDTH_IN,
    Drawing,
    Floats,
    TimeAxis,
    drawing,
    figure_of,
    label,
    largest_resistance_ohm,
    line,
)
from ssblab.reports.electrode_pictures import electrode_drawings
from ssblab.reports.member_pictures import member_drawings
from ssblab.reports.pressure_pictures import pressure_drawings
from ssblab.reports.text import number, rounded
from ssblab.results import Related

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

__all__ = ["Drawing", "drawings", "write_picture"]

logger = logging.getLogger(__name__)

_STATES = {
    "impedance_before": ("before", BLUE, "o"),
    "impedance_after": ("after exposure", VERMILLION, "s"),
    "impedance_heated": ("after heating", GREEN, "^"),
}
_PANEL_HEIGHT_IN = 1.5
_VIEW = 1.4  # width of a Nyquist plot, in largest resistances
_PNG_SIZE_IN, _PNG_DPI = (11.0, 3.6), 150


@dataclass(frozen=True)
class _Picture:
    """A picture that needs some columns, by device role and signal, in at least one of its streams."""

    name: str
    title: str
    streams: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    height_in: float
    draw: Callable[[FigureBase, MoistureRun, Sequence[str]], str]

    def streams_in(self, run: RunData) -> list[str]:
        """Give those of its streams that a run has, with the columns and with events."""
        devices = run.start.get("devices")
        if not isinstance(devices, Mapping) or not isinstance(run.start.get("sample"), Mapping):
            return []
        names = {f"{devices.get(role)}_{signal}" for role, signal in self.columns}
        recorded = {stream for stream, dataset in run.streams.items() if dataset.sizes["time"]}
        return [name for name in self.streams if name in recorded and names <= set(run.streams[name])]


def drawings(run: RunData, related: Related | None = None, results: Sequence[Value] = ()) -> list[Drawing]:
    """Draw all pictures that a run has the data for; one that fails does not keep the others away.

    Parameters
    ----------
    run : RunData
    related : callable, optional
        Reads other runs, for a run that is about several.
    results : sequence of Value
        Figures of merit of the run, for the same.
    """
    fitting = [(picture, picture.streams_in(run)) for picture in _PICTURES]
    known = [
        drawing(picture.name, picture.title, (WIDTH_IN, picture.height_in), _drawer(picture, run, streams))
        for picture, streams in fitting
        if streams
    ]
    known += [*cell_drawings(run), *electrode_drawings(run), *pressure_drawings(run)]
    if related is not None:
        known += member_drawings(run, related, {value.name: value for value in results})
    return known or list(_columns_against_time(run))


def _drawer(picture: _Picture, run: RunData, streams: Sequence[str]) -> Callable[[FigureBase], str]:
    return lambda panel: picture.draw(panel, MoistureRun(run), streams)


def write_picture(run: RunData, path: Path) -> Path:
    """Write one PNG of a moisture exposure: Nyquist plot, and H2S and dew point against time, side by side.

    Raises
    ------
    BadInput
        If the run lacks the streams of one of the two.
    """
    with figure_of(_PNG_SIZE_IN) as figure:
        figure.set_facecolor("white")
        panels: Any = figure.subfigures(1, 2)
        for panel, picture in zip(panels, (_NYQUIST, _EXPOSURE), strict=True):
            streams = picture.streams_in(run)
            if not streams:
                raise BadInput(f"run {run.start['uid']} has no data for the picture {picture.title!r}")
            picture.draw(panel, MoistureRun(run), streams)
        figure.savefig(path, format="png", dpi=_PNG_DPI)
    return path


def _readings(run: MoistureRun, streams: Sequence[str], role: str, signal: str) -> Floats:
    """Readings of several streams, one after another; NaN where the instrument did not call them sound."""
    quality = f"{run.run.start['devices'][role]}_quality"
    parts = []
    for stream in streams:
        values = run.column(stream, role, signal).astype(float)
        if quality in run.run.streams[stream]:
            values[run.column(stream, role, "quality") != "ok"] = np.nan
        parts.append(values)
    return np.concatenate(parts)


def _unit(run: MoistureRun, stream: str, role: str, signal: str) -> str:
    return str(run.run.streams[stream][f"{run.run.start['devices'][role]}_{signal}"].attrs.get("units", ""))


def _left_out(values: Floats, what: str) -> str:
    count = int(np.count_nonzero(~np.isfinite(values)))
    return f" {count} of {len(values)} {what}, not called sound by the instrument, left out." if count else ""


def _times(run: MoistureRun, streams: Sequence[str]) -> tuple[Floats, TimeAxis]:
    time_s = np.concatenate([run.time_s(stream) for stream in streams])
    axis = TimeAxis(time_s[0], time_s[-1])
    return axis(time_s), axis


# ------------------------------------------------------------------------------------- moisture exposures


def _draw_exposure(panel: FigureBase, run: MoistureRun, streams: Sequence[str]) -> str:
    time, axis = _times(run, streams)
    h2s = _readings(run, streams, "h2s", "concentration")
    upper, lower = panel.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    line(upper, time, h2s, color=VERMILLION)
    unit = _unit(run, streams[0], "h2s", "concentration")
    upper.set_ylabel(label("H₂S", unit))
    band = _draw_dew_point(lower, run, streams, time)
    lower.set_xlabel(f"time since start of {streams[0]} / {axis.unit}")
    caption = f"H₂S in the gas from the vessel, and dew point of the box. {band}"
    if "purge" in streams:
        begin = axis(run.time_s("purge")[0])
        for axes in (upper, lower):
            axes.axvspan(begin, time[-1], color=GREY, alpha=0.15, linewidth=0)
        inside = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"}
        upper.annotate("purge", (begin, 1), xycoords=("data", "axes fraction"), **inside)
        caption += " Grey: dry purge."
    if np.isfinite(h2s).any():
        caption += f" Largest H₂S reading: {number(float(np.nanmax(h2s)))} {unit}."
    return caption + _left_out(h2s, "H₂S readings")


def _draw_conditioning(panel: FigureBase, run: MoistureRun, streams: Sequence[str]) -> str:
    time, axis = _times(run, streams)
    axes = panel.subplots()
    band = _draw_dew_point(axes, run, streams, time)
    axes.set_xlabel(f"time since start of {streams[0]} / {axis.unit}")
    return f"Dew point of the box with the vessel bypassed. {band}"


def _draw_dew_point(axes: Axes, run: MoistureRun, streams: Sequence[str], time: Floats) -> str:
    """Draw the dew point with its set point and band; say in words what they are."""
    dew_point_C = _readings(run, streams, "box", "dew_point")
    axes.set_ylabel(label("dew point", _unit(run, streams[0], "box", "dew_point")))
    tolerance_K = run.run.start.get("dew_point_tolerance_K")
    said = ""
    if tolerance_K is not None and "dew_point" in run.run.start.get("arguments", {}):
        set_point_C = run.dew_point_setpoint_C
        axes.axhspan(set_point_C - tolerance_K, set_point_C + tolerance_K, color=SKY, alpha=0.2, linewidth=0)
        axes.axhline(set_point_C, color=BLUE, linewidth=0.8, linestyle="--")
        said = f"Dashed line and band: set point {number(set_point_C)} °C ± {number(tolerance_K)} K."
    line(axes, time, dew_point_C, color=BLUE)
    return said + _left_out(dew_point_C, "dew points")


def _draw_nyquist(panel: FigureBase, run: MoistureRun, streams: Sequence[str]) -> str:
    axes = panel.subplots()
    view_ohm, said = 0.0, []
    spectra = {stream: run.spectrum(stream.removeprefix("impedance_")) for stream in streams}
    spectra = {stream: spectrum for stream, spectrum in spectra.items() if len(spectrum[0])}
    if not spectra:
        raise BadInput("the potentiostat called no point sound")
    for stream, (frequency_Hz, impedance_ohm) in spectra.items():
        state, colour, marker = _STATES[stream]
        fit = _fit(frequency_Hz, impedance_ohm)
        shown = state
        if fit is not None:
            axes.plot(fit.fitted_ohm.real, -fit.fitted_ohm.imag, color=colour)
            resistance = rounded(fit.r_total.value, fit.r_total.uncertainty)
            shown += f": R = {resistance} Ω"
            said.append(f"{state} {resistance} Ω")
        style: dict[str, Any] = {"color": colour, "markersize": 4, "fillstyle": "none", "label": shown}
        axes.plot(impedance_ohm.real, -impedance_ohm.imag, marker, **style)
        view_ohm = max(view_ohm, _VIEW * largest_resistance_ohm(impedance_ohm))
    z_ohm = np.concatenate([impedance_ohm for _, impedance_ohm in spectra.values()])
    top_ohm = view_ohm / 2
    bottom_ohm = float(np.clip(-1.1 * z_ohm.imag.max(), -top_ohm / 2, 0))
    axes.set(
        xlabel="Z′ / Ω", ylabel="−Z″ / Ω", aspect="equal", xlim=(0, view_ohm), ylim=(bottom_ohm, top_ohm)
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize="small")
    inside = (z_ohm.real <= view_ohm) & (-z_ohm.imag <= top_ohm) & (-z_ohm.imag >= bottom_ohm)
    fits = f" Lines: fitted circuits; total resistance {', '.join(said)}." if said else ""
    return (
        f"Nyquist plot, equal axes. Points: measured; {np.count_nonzero(~inside)} of {len(z_ohm)}, most of "
        f"them of the tail of the electrodes, lie outside.{fits}"
    )


def _fit(frequency_Hz: Floats, impedance_ohm: NDArray[np.complex128]) -> CircuitFit | None:
    try:
        return fit_circuit(frequency_Hz, impedance_ohm)
    except BadInput:
        return None


def _draw_heating(panel: FigureBase, run: MoistureRun, streams: Sequence[str]) -> str:
    time, axis = _times(run, streams)
    temperature_C = _readings(run, streams, "furnace", "temperature")
    pressure_Pa = _readings(run, streams, "gauge", "pressure")
    left = panel.subplots()
    right = left.twinx()
    right.spines["right"].set_visible(True)
    line(left, time, temperature_C, color=VERMILLION)
    line(right, time, np.where(pressure_Pa > 0, pressure_Pa, np.nan), color=BLUE)
    right.set_yscale("log")
    left.set_xlabel(f"time since start of pumping / {axis.unit}")
    temperature = label("temperature", _unit(run, streams[0], "furnace", "temperature"))
    left.set_ylabel(temperature, color=VERMILLION)
    right.set_ylabel(label("pressure", _unit(run, streams[0], "gauge", "pressure")), color=BLUE)
    caption = "Temperature of the furnace (left, orange-red) and pressure (right, blue, logarithmic)."
    if limit := run.run.start.get("arguments", {}).get("vacuum"):
        right.axhline(parse(limit, "Pa", name="vacuum"), color=BLUE, linewidth=0.8, linestyle="--")
        caption += f" Dashed line: heating starts below {limit}."
    return caption + _left_out(pressure_Pa, "pressures")


_NYQUIST = _Picture(
    "nyquist",
    "Impedance before and after",
    tuple(_STATES),
    (
        ("potentiostat", "frequency"),
        ("potentiostat", "z_real"),
        ("potentiostat", "z_imag"),
        ("potentiostat", "status"),
    ),
    4.8,
    _draw_nyquist,
)
_EXPOSURE = _Picture(
    "exposure",
    "H₂S and dew point during exposure and purge",
    ("exposure", "purge"),
    (("h2s", "concentration"), ("box", "dew_point")),
    4.2,
    _draw_exposure,
)
_PICTURES = (
    _NYQUIST,
    _EXPOSURE,
    _Picture(
        "conditioning",
        "Conditioning of the air",
        ("conditioning", "zero"),
        (("box", "dew_point"),),
        2.6,
        _draw_conditioning,
    ),
    _Picture(
        "heating",
        "Vacuum heating",
        ("heating",),
        (("furnace", "temperature"), ("gauge", "pressure")),
        3.0,
        _draw_heating,
    ),
)


# ----------------------------------------------------------------------------------------------- any plan


def _columns_against_time(run: RunData) -> Iterator[Drawing]:
    """Draw each numeric column of each stream against time."""
    for number_of_stream, (stream, dataset) in enumerate(run.streams.items()):
        names = [name for name, column in dataset.items() if column.ndim == 1 and column.dtype.kind in "fiub"]
        if stream == "safe_state" or not names or not dataset.sizes["time"]:
            continue
        rows = (len(names) + 1) // 2
        size_in = (WIDTH_IN, _PANEL_HEIGHT_IN * rows + 0.4)
        yield drawing(
            f"stream-{number_of_stream}", f"Stream {stream}", size_in, _column_drawer(dataset, names, rows)
        )


def _column_drawer(dataset: Any, names: Sequence[Any], rows: int) -> Callable[[FigureBase], str]:
    def draw(panel: FigureBase) -> str:
        time_s = np.asarray(dataset["time"], dtype=float)
        axis = TimeAxis(time_s[0], time_s[-1])
        grid = panel.subplots(rows, min(2, len(names)), sharex=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            line(axes, axis(time_s), np.asarray(dataset[name], dtype=float), color=BLUE)
            shown = label(str(name), dataset[name].attrs.get("units", ""))
            axes.set_title(shown, fontsize="small", loc="left")
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        panel.supxlabel(f"time since the first event / {axis.unit}", fontsize="medium")
        others = ", ".join(str(name) for name in dataset if name not in names)
        return "Each column of numbers against time." + (f" Not drawn: {others}." if others else "")

    return draw
