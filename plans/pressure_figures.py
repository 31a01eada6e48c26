"""Figures of merit of experiments in a press: compaction, cells against pressure, cells that swell."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plans.capacity_figures import cycle_figures, last_cycle
from plans.cell_figures import CellRun, gathered
from plans.resistance_figures import resistance_of_discharge
from ssblab.analysis.common import uncertainty_of
from ssblab.analysis.compaction import conductivity_exponent, hysteresis, pellet_conductivity, porosity
from ssblab.analysis.cycling import StepRecord, discharge_capacity
from ssblab.analysis.spectra import ohmic_resistance, polarisation_resistance
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value
from ssblab.samples import ElectrolyteSample

__all__ = ["PelletPoint", "compaction", "cycling", "pellet_points", "press_course", "swelling"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

_MEAN_S = 120.0  # of the end of a rest, over which thickness and pressure are averaged


@dataclass(frozen=True)
class PelletPoint:
    """A pellet at one pressure.

    Attributes
    ----------
    way : {"rising", "falling"}
    asked_MPa, pressure_MPa, thickness_mm : float
        What it was pressed with; pressure and thickness when it was measured.
    conductivity : Value
    porosity : Value or None
        None where the true density was not given.
    """

    way: str
    asked_MPa: float
    pressure_MPa: float
    thickness_mm: float
    conductivity: Value
    porosity: Value | None

    @property
    def ending(self) -> str:
        """Of the names of its figures of merit."""
        return f"_{self.asked_MPa:g}MPa_{self.way}"


class _PelletRun(CellRun):
    """A run on an electrolyte in a press: its spectra are read as those of a cell."""

    def __init__(self, run: RunData) -> None:
        self.run = run
        self.start = run.start
        fields = set(ElectrolyteSample.model_fields)
        record = {key: value for key, value in run.start["sample"].items() if key in fields}
        self.pellet = ElectrolyteSample.model_validate(record)
        self._channel = run.start["devices"]["channel"]


def cycling(run: RunData) -> list[Value]:
    """Compute capacity and resistance of a cell at each pressure, and their hysteresis."""
    return gathered(run, [_at_highest, _at_each, _cell_hystereses])


def swelling(run: RunData) -> list[Value]:
    """Compute how a cell swells in the press, and its capacity."""
    return gathered(run, [_swelling, _residual, _capacity])


def compaction(run: RunData) -> list[Value]:
    """Compute conductivity and porosity of a powder at each pressure, and how one goes with the other."""
    points = pellet_points(run)
    if not points:
        return []
    found = list(_pellet_values(points))
    groups: tuple[Callable[[list[PelletPoint]], Iterable[Value]], ...] = (_exponent, _pellet_hysteresis)
    for group in groups:
        try:
            found += group(points)
        except BadInput as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], group.__name__.strip("_"), error)
    return found


# -------------------------------------------------------------------------------------------------- powders


def pellet_points(run: RunData) -> list[PelletPoint]:
    """Compute conductivity and porosity at each pressure that was measured at."""
    if "points" not in run.streams:
        return []
    seen, marks = _PelletRun(run), run.streams["points"]
    keys = ("section", "way", "asked", "pressure", "thickness")
    rows = zip(*(marks[f"points_{key}"].values.tolist() for key in keys), strict=True)
    found = []
    for section, way, asked_MPa, pressure_MPa, thickness_mm in rows:
        try:
            conducts, pores = _measured(seen, section, pressure_MPa, thickness_mm)
        except BadInput as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], section, error)
            continue
        found.append(PelletPoint(way, asked_MPa, pressure_MPa, thickness_mm, conducts, pores))
    return found


def _measured(
    run: _PelletRun, section: str, pressure_MPa: float, thickness_mm: float
) -> tuple[Value, Value | None]:
    pellet, spectrum = run.pellet, run.spectrum(section)
    resistance = ohmic_resistance(spectrum.frequency_Hz, spectrum.z_ohm)
    size: dict[str, Any] = {
        "thickness_mm": thickness_mm,
        "area_cm2": pellet.area_cm2,
        "thickness_uncertainty_mm": pellet.thickness_uncertainty_mm,
        "area_uncertainty_cm2": pellet.area_uncertainty_cm2,
    }
    at = f"at {pressure_MPa:.4g} MPa and {thickness_mm:.4g} mm, both measured ({section})"
    flag = f"; FLAGGED: {spectrum.reasons}" if spectrum.verdict == "flag" else ""
    conducts = pellet_conductivity(resistance, **size)
    conducts = replace(conducts, definition=f"{conducts.definition}; {at}{flag}")
    density_g_cm3 = run.start["true_density_g_cm3"]
    if density_g_cm3 is None:
        return conducts, None
    pores = porosity(
        mass_g=pellet.mass_g,
        density_g_cm3=density_g_cm3,
        mass_uncertainty_g=pellet.mass_uncertainty_g,
        density_uncertainty_g_cm3=None,
        **size,
    )
    return conducts, replace(pores, definition=f"{pores.definition}; {at}")


def _pellet_values(points: list[PelletPoint]) -> Iterator[Value]:
    highest = max(points, key=lambda point: point.asked_MPa)
    for point, ending in [(highest, ""), *((point, point.ending) for point in points)]:
        for value in (point.conductivity, point.porosity):
            if value is not None:
                yield replace(value, name=f"{value.name}{ending}")


def _exponent(points: list[PelletPoint]) -> Iterable[Value]:
    rising = [point for point in points if point.way == "rising"]
    pores = [point.porosity.value for point in rising if point.porosity is not None]
    conducts = [point.conductivity for point in rising if point.porosity is not None]
    # Thickness and area are common to the conductivities of a pellet, but for the little that it shrinks.
    return conductivity_exponent(
        pores, [value.value for value in conducts], conductivity_relative_uncertainty=None
    )


def _pellet_hysteresis(points: list[PelletPoint]) -> Iterable[Value]:
    return hysteresis(
        [point.asked_MPa for point in points],
        [point.conductivity.value for point in points],
        at_MPa=min(point.asked_MPa for point in points),
        name="conductivity",
        unit="S/cm",
        uncertainty=max(uncertainty_of(point.conductivity) for point in points),
    )


# ------------------------------------------------------------------------------------ cells against pressure


def _at_highest(run: CellRun) -> Iterable[Value]:
    highest = max(run.start["pressures"], key=lambda point: point["pressure_MPa"])
    return list(_of_section(run, highest["section"]))


def _at_each(run: CellRun) -> Iterable[Value]:
    done = set(run.sections())
    for point in run.start["pressures"]:
        if point["section"] in done:
            ending = f"_{point['pressure_MPa']:g}MPa_{point['way']}"
            for value in _of_section(run, point["section"]):
                yield replace(value, name=f"{value.name}{ending}")


def _of_section(run: CellRun, section: str) -> Iterator[Value]:
    """Compute what was measured at one pressure, as far as it came."""
    pressure_MPa = float(np.nanmean(press_course(run, "pressure", run.section(section))[1]))
    at = f"at {pressure_MPa:.4g} MPa, measured ({section})"
    steps = run.section(section)
    if any(step.kind == "discharge" for step in steps) and steps[-1].kind == "rest":
        value = discharge_capacity(steps, current_relative_accuracy=run.accuracy)
        yield replace(value, definition=f"{value.definition}; {at}")
    for value in resistance_of_discharge(run, section):
        yield replace(value, definition=f"{value.definition}; of the charged cell, {at}")
    for spectrum in [one for one in run.spectra if one.section == section][-1:]:
        flag = f"; FLAGGED: {spectrum.reasons}" if spectrum.verdict == "flag" else ""
        for resistance in (ohmic_resistance, polarisation_resistance):
            value = resistance(spectrum.frequency_Hz, spectrum.z_ohm)
            yield replace(value, definition=f"{value.definition}; of the charged cell, {at}{flag}")


def _cell_hystereses(run: CellRun) -> Iterable[Value]:
    points = run.start["pressures"]
    if all(point["way"] == "rising" for point in points):
        return
    values = [{value.name: value for value in _of_section(run, point["section"])} for point in points]
    pressures_MPa = [point["pressure_MPa"] for point in points]
    for name in dict.fromkeys(name for found in values for name in found):
        several = [found[name] for found in values if name in found]
        if len(several) == len(points):
            yield from hysteresis(
                pressures_MPa,
                [value.value for value in several],
                at_MPa=min(pressures_MPa),
                name=name,
                unit=several[0].unit,
                uncertainty=max(map(uncertainty_of, several)),
            )


# ----------------------------------------------------------------------------------------- cells that swell


def press_course(
    run: CellRun, signal: str, steps: Iterable[StepRecord] | None = None
) -> tuple[Floats, Floats]:
    """Time (s since 1970) and what the press read beside the steps of a cell; of all that was recorded."""
    time_s = np.asarray(run.run.streams["press"]["time"], dtype=float)
    readings = run.column("press", "press", signal).astype(float)
    if steps is not None:
        among = list(steps)
        inside = (time_s >= among[0].time_s[0]) & (time_s <= among[-1].time_s[-1])
        time_s, readings = time_s[inside], readings[inside]
    if not len(time_s):
        raise BadInput("nothing was recorded of the press meanwhile")
    return time_s, readings


def _swelling(run: CellRun) -> Iterable[Value]:
    section = _whole_cycles(run)[-1]
    charged, discharged = (_after(run, section, kind) for kind in ("charge", "discharge"))
    about = f"at the end of the rests after charge and discharge, {section}"
    return _change(run, "change", charged, discharged, "charged less discharged", about)


def _residual(run: CellRun) -> Iterable[Value]:
    cycles = _whole_cycles(run)
    if len(cycles) < 2:
        return []
    first, last = (_after(run, section, "discharge") for section in (cycles[0], cycles[-1]))
    about = f"at the end of the rests after the discharges of {cycles[-1]} and {cycles[0]}"
    return _change(run, "residual", last, first, "discharged, last less first cycle", about)


def _capacity(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, _whole_cycles(run)[-1]))


def _whole_cycles(run: CellRun) -> list[str]:
    """Sections with a charge and a discharge, and a rest after each.

    Raises
    ------
    BadInput
        If there is none.
    """
    found = [
        section
        for section in run.sections("cycle ")
        if [step.kind for step in run.section(section)].count("rest") == 2
    ]
    if not found:
        raise BadInput("no whole cycle was recorded")
    return found


def _signal(run: CellRun) -> str:
    return "pressure" if _swells_in(run)["mode"] == "fixed gap" else "thickness"


def _swells_in(run: CellRun) -> Mapping[str, Any]:
    swelling: Mapping[str, Any] = run.start["swelling"]
    return swelling


def _after(run: CellRun, section: str, kind: str) -> tuple[float, float]:
    """Mean reading at the end of the rest after a charge or discharge, and its standard uncertainty."""
    steps = run.section(section)
    place = next(i for i, step in enumerate(steps) if step.kind == kind)
    rest = next(step for step in steps[place:] if step.kind == "rest")
    time_s, readings = press_course(run, _signal(run))
    end_s = rest.time_s[-1]
    among = (time_s >= max(rest.time_s[0], end_s - _MEAN_S)) & (time_s <= end_s)
    if not among.any():
        among = time_s == time_s[time_s <= end_s].max(initial=-math.inf)
    return _mean(readings, among)


def _mean(readings: Floats, among: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean of some readings, and its standard uncertainty: their scatter, and the step that they go in."""
    sound = readings[among & np.isfinite(readings)]
    if not len(sound):
        raise BadInput("no sound reading of the press")
    scatter = float(np.std(sound, ddof=1)) if len(sound) > 1 else math.nan
    steps = np.diff(np.unique(readings[np.isfinite(readings)]))
    resolution = float(steps.min()) / math.sqrt(12) if len(steps) else 0.0
    return float(np.mean(sound)), math.hypot(scatter / math.sqrt(len(sound)), resolution)


def _change(
    run: CellRun, what: str, later: tuple[float, float], sooner: tuple[float, float], words: str, about: str
) -> Iterator[Value]:
    """Give a change of thickness or pressure, and its share."""
    change, own = later[0] - sooner[0], math.hypot(later[1], sooner[1])
    definition = f"{words}; {about}; uncertainty from scatter and step of the readings"
    if _signal(run) == "pressure":
        definition = f"pressure at a fixed gap, {definition}"
        yield Value(f"pressure_{what}", change, "MPa", own, definition)
        share = f"relative_pressure_{what}"
        yield Value(share, change / sooner[0], "1", own / sooner[0], f"of {sooner[0]:.4g} MPa; {definition}")
        return
    given_um = _swells_in(run)["thickness_um"]
    whole_mm = sooner[0] if given_um is None else given_um / 1e3
    of = "the gauge's reading" if given_um is None else "as given"
    definition = f"thickness at a constant pressure, {definition}"
    yield Value(f"thickness_{what}_um", 1e3 * change, "um", 1e3 * own, definition)
    share_of = f"of {1e3 * whole_mm:.4g} um, {of}; {definition}"
    yield Value(f"thickness_{what}", change / whole_mm, "1", own / whole_mm, share_of)
