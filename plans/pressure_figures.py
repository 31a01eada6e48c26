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
from plans.pressure import PRESS_STREAM
from plans.recorded import RecordedRun, Spectrum
from plans.resistance_figures import flag, resistance_of_discharge
from ssblab.analysis.common import uncertainty_of
from ssblab.analysis.compaction import conductivity_exponent, hysteresis, pellet_conductivity, porosity
from ssblab.analysis.cycling import StepRecord, discharge_capacity
from ssblab.analysis.impedance import fit_circuit
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
    resistance, conductivity : Value
        Of all of the pellet: its grains and what is between them.
    porosity : Value or None
        None where the true density was not given.
    """

    way: str
    asked_MPa: float
    pressure_MPa: float
    thickness_mm: float
    resistance: Value
    conductivity: Value
    porosity: Value | None

    @property
    def ending(self) -> str:
        """Of the names of its figures of merit."""
        return f"_{self.asked_MPa:g}MPa_{self.way}"


class _PelletRun(RecordedRun):
    """A run on an electrolyte in a press."""

    def __init__(self, run: RunData) -> None:
        super().__init__(run)
        fields = set(ElectrolyteSample.model_fields)
        record = {key: value for key, value in run.start["sample"].items() if key in fields}
        self.pellet = ElectrolyteSample.model_validate(record)


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
    asked_MPa = [point["pressure_MPa"] for point in run.start["pressures"]]
    found = list(_pellet_values(points, highest_MPa=max(asked_MPa)))
    groups: tuple[Callable[[list[PelletPoint], float], Iterable[Value]], ...] = (
        _exponent,
        _pellet_hysteresis,
    )
    for group in groups:
        try:
            found += group(points, min(asked_MPa))
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
            measured = _measured(seen, section, pressure_MPa, thickness_mm)
        except BadInput as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], section, error)
            continue
        found.append(PelletPoint(way, asked_MPa, pressure_MPa, thickness_mm, *measured))
    return found


def _measured(
    run: _PelletRun, section: str, pressure_MPa: float, thickness_mm: float
) -> tuple[Value, Value, Value | None]:
    """Compute resistance, conductivity and porosity at one pressure."""
    pellet, spectrum = run.pellet, run.spectrum(section)
    resistance = _total_resistance(spectrum)
    size: dict[str, Any] = {
        "thickness_mm": thickness_mm,
        "area_cm2": pellet.area_cm2,
        "thickness_uncertainty_mm": pellet.thickness_uncertainty_mm,
        "area_uncertainty_cm2": pellet.area_uncertainty_cm2,
    }
    at = f"at {pressure_MPa:.4g} MPa and {thickness_mm:.4g} mm, both measured ({section})"
    conducts = pellet_conductivity(resistance, **size)
    conducts = replace(conducts, definition=f"{conducts.definition}; {at}{flag(spectrum)}")
    density_g_cm3 = run.start["true_density_g_cm3"]
    if density_g_cm3 is None:
        return resistance, conducts, None
    pores = porosity(
        mass_g=pellet.mass_g,
        density_g_cm3=density_g_cm3,
        mass_uncertainty_g=pellet.mass_uncertainty_g,
        density_uncertainty_g_cm3=None,
        **size,
    )
    return resistance, conducts, replace(pores, definition=f"{pores.definition}; {at}")


def _total_resistance(spectrum: Spectrum) -> Value:
    """All that a pellet resists. What is between its particles relaxes among the frequencies measured.

    Raises
    ------
    BadInput
        If the spectrum has too few points to tell the pellet from the electrodes.
    """
    fit = fit_circuit(spectrum.frequency_Hz, spectrum.z_ohm)
    low_Hz, high_Hz = fit.frequency_Hz[-1], fit.frequency_Hz[0]
    fitted = f"fitted from {high_Hz:.3g} to {low_Hz:.3g} Hz, rms residual {100 * fit.rms_residual:.2g} %"
    return replace(fit.r_total, definition=f"{fit.r_total.definition}; {fitted}")


def _pellet_values(points: list[PelletPoint], highest_MPa: float) -> Iterator[Value]:
    highest = [point for point in points if point.asked_MPa == highest_MPa]
    for point, ending in [*((point, "") for point in highest), *((point, point.ending) for point in points)]:
        for value in (point.conductivity, point.porosity):
            if value is not None:
                yield replace(value, name=f"{value.name}{ending}")


def _exponent(points: list[PelletPoint], _: float) -> Iterable[Value]:
    rising = [point for point in points if point.way == "rising"]
    pores = [point.porosity.value for point in rising if point.porosity is not None]
    conducts = [point.conductivity for point in rising if point.porosity is not None]
    # Thickness and area are common to the conductivities of a pellet, but for the little that it shrinks.
    return conductivity_exponent(
        pores, [value.value for value in conducts], conductivity_relative_uncertainty=None
    )


def _pellet_hysteresis(points: list[PelletPoint], lowest_MPa: float) -> Iterable[Value]:
    own = [
        point.conductivity.value * uncertainty_of(point.resistance) / point.resistance.value
        for point in points
    ]
    found = hysteresis(
        [point.asked_MPa for point in points],
        [point.conductivity.value for point in points],
        at_MPa=lowest_MPa,
        name="conductivity",
        unit="S/cm",
        uncertainty=float(np.max(own)),
    )
    said = (
        "uncertain by the resistances; what the points have in common, area and zero of the gauge, is not in"
    )
    return [replace(value, definition=f"{value.definition}; {said}") for value in found]


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


def _of_section(run: CellRun, section: str, *, is_compared: bool = False) -> Iterator[Value]:
    """Compute what was measured at one pressure, as far as it came.

    What is compared with what the same channel measured is not uncertain by the accuracy of its current.
    """
    accuracy = 0.0 if is_compared else run.accuracy
    pressure_MPa = float(np.nanmean(press_course(run, "pressure", run.section(section))[1]))
    at = f"at {pressure_MPa:.4g} MPa, measured ({section})"
    steps = run.section(section)
    discharges = [step for step in steps if step.kind == "discharge"]
    if discharges and steps[-1].kind == "rest" and not any(step.broken_off for step in discharges):
        value = discharge_capacity(steps, current_relative_accuracy=accuracy)
        yield replace(value, definition=f"{value.definition}; {at}")
    for value in resistance_of_discharge(run, section, current_relative_accuracy=accuracy):
        yield replace(value, definition=f"{value.definition}; of the charged cell, {at}")
    for spectrum in [one for one in run.spectra if one.section == section][-1:]:
        for resistance in (ohmic_resistance, polarisation_resistance):
            value = resistance(spectrum.frequency_Hz, spectrum.z_ohm)
            yield replace(value, definition=f"{value.definition}; of the charged cell, {at}{flag(spectrum)}")


def _cell_hystereses(run: CellRun) -> Iterable[Value]:
    points = run.start["pressures"]
    if all(point["way"] == "rising" for point in points):
        return
    values = [
        {value.name: value for value in _of_section(run, point["section"], is_compared=True)}
        for point in points
    ]
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
                uncertainty=float(np.max([uncertainty_of(value) for value in several])),
            )


# ----------------------------------------------------------------------------------------- cells that swell


def press_course(
    run: CellRun, signal: str, steps: Iterable[StepRecord] | None = None
) -> tuple[Floats, Floats]:
    """Time (s since 1970) and what the press read beside the steps of a cell; of all that was recorded."""
    time_s = np.asarray(run.run.streams[PRESS_STREAM]["time"], dtype=float)
    readings = run.column(PRESS_STREAM, "press", signal).astype(float)
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
    """Sections with a charge and a discharge, and a rest after each, none of them broken off.

    Raises
    ------
    BadInput
        If there is none.
    """
    found = [
        section
        for section in run.sections("cycle ")
        if [step.kind for step in run.section(section) if not step.broken_off].count("rest") == 2
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
    """Mean reading at the end of the rest after a charge or discharge, and its standard uncertainty.

    Raises
    ------
    BadInput
        If the press was not read in that rest: elsewhere the cell is another.
    """
    steps = run.section(section)
    place = next(i for i, step in enumerate(steps) if step.kind == kind)
    rest = next(step for step in steps[place:] if step.kind == "rest")
    time_s, readings = press_course(run, _signal(run))
    within = (time_s >= rest.time_s[0]) & (time_s <= rest.time_s[-1])
    if not within.any():
        raise BadInput(f"{section}: the press was not read in the rest after the {kind}")
    last_s = time_s[within].max()
    return _mean(readings, within & (time_s >= min(last_s, rest.time_s[-1] - _MEAN_S)))


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
    """Give a change of thickness or pressure, and its share.

    Raises
    ------
    BadInput
        After the change, if what it is a share of was not measured.
    """
    change, own = later[0] - sooner[0], math.hypot(later[1], sooner[1])
    definition = f"{words}; {about}; uncertainty from scatter and step of the readings"
    if _signal(run) == "pressure":
        definition = f"pressure at a fixed gap, {definition}"
        yield Value(f"pressure_{what}", change, "MPa", own, definition)
        if not sooner[0] > 0:
            raise BadInput(
                f"the press reads {sooner[0]:.3g} MPa on the cell: check the zero of its load cell"
            )
        share = f"relative_pressure_{what}"
        yield Value(share, change / sooner[0], "1", own / sooner[0], f"of {sooner[0]:.4g} MPa; {definition}")
        return
    given_um = _swells_in(run)["thickness_um"]
    whole_mm = sooner[0] if given_um is None else given_um / 1e3
    of = "the gauge's reading" if given_um is None else "as given"
    definition = f"thickness at a constant pressure, {definition}"
    yield Value(f"thickness_{what}_um", 1e3 * change, "um", 1e3 * own, definition)
    if not whole_mm > abs(change):
        raise BadInput(
            f"{of}, the cell is {1e3 * whole_mm:.3g} um thick and changes by {1e3 * change:.3g} um: was the "
            "gauge zeroed on the cell? Set its zero with the closed empty press, or give the cell's thickness"
        )
    share_of = f"of {1e3 * whole_mm:.4g} um, {of}; {definition}"
    yield Value(f"thickness_{what}", change / whole_mm, "1", own / whole_mm, share_of)
