"""The family of potentiostats: a cell at rest, held, swept, cycled, and its impedance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ophyd.utils import LimitError

from devices.flyer import Column, Flyer, FlyingDevice, Row
from devices.instrument import Cpt
from devices.signals import Measured, Setting, Switch, Text
from devices.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    GalvanostaticImpedanceSweep,
    ImpedanceSweep,
    LinearSweep,
    OpenCircuit,
)

__all__ = [
    "COURSE",
    "IMPEDANCE",
    "CoursePoint",
    "ImpedancePoint",
    "Potentiostat",
    "Technique",
    "impedance_row",
]

Technique = (
    OpenCircuit
    | ConstantPotential
    | ConstantCurrent
    | LinearSweep
    | CyclicVoltammetry
    | ImpedanceSweep
    | GalvanostaticImpedanceSweep
)
PointStatus = Literal["ok", "overload", "underload", "timing"]

IMPEDANCE = {
    "frequency": Column("Hz", "Frequency applied"),
    "z_real": Column("ohm", "Real part of the impedance"),
    "z_imag": Column("ohm", "Imaginary part, the raw one: negative for a capacitive cell"),
    "status": Column("", "ok, overload, underload or timing; an overloaded point is no impedance"),
}
COURSE = {
    "potential": Column("V", "Working against reference electrode"),
    "current": Column("A", "Positive charges the cell", precision=9),
    "status": Column("", "ok, overload, underload or timing"),
}


@dataclass(frozen=True)
class ImpedancePoint:
    """One frequency of a spectrum.

    Attributes
    ----------
    time : float
        When the point was complete, s since 1970, from the instrument's own timer.
    frequency_Hz : float
        Frequency applied.
    z_real_ohm, z_imag_ohm : float
        Impedance. The imaginary part is the raw one, Z'': negative for a capacitive cell.
    status : {"ok", "overload", "underload", "timing"}
        Whether the current fitted the range. An overloaded point is kept, but is no impedance.
    """

    time: float
    frequency_Hz: float
    z_real_ohm: float
    z_imag_ohm: float
    status: PointStatus


@dataclass(frozen=True)
class CoursePoint:
    """One reading of a course in time.

    Attributes
    ----------
    time : float
        Of the reading, s since 1970, from the instrument's own timer.
    potential_V, current_A : float
        Working against reference electrode; positive charges the cell.
    status : {"ok", "overload", "underload", "timing"}
        Whether the current fitted the range.
    """

    time: float
    potential_V: float
    current_A: float
    status: PointStatus


def impedance_row(point: ImpedancePoint) -> Row:
    """Row of a flyer with the columns `IMPEDANCE`."""
    return Row(
        point.time,
        {
            "frequency": point.frequency_Hz,
            "z_real": point.z_real_ohm,
            "z_imag": point.z_imag_ohm,
            "status": point.status,
        },
    )


class Potentiostat(FlyingDevice):
    """Controls and measures a cell; each technique runs in the instrument (`devices.techniques`).

    The flyer `impedance` takes spectra, the flyer `course` everything else. The safe state is the cell
    switched off.
    """

    family = "potentiostat"

    potential = Cpt(
        Measured, unit="V", precision=5, kind="hinted", doc="Working against reference electrode, cell off"
    )
    current = Cpt(Measured, unit="A", precision=9, kind="normal", doc="Through the cell; 0 while it is off")
    cell = Cpt(Switch, kind="normal", doc="Cell connected to the potentiostat (1) or not (0)")
    current_range = Cpt(Text, kind="normal", doc="Current range of the last point")
    quality = Cpt(Text, value="invalid", kind="normal", doc="Whether the reading is ok, invalid or saturated")
    applied_potential = Cpt(
        Setting, unit="V", precision=4, limits=(-10.0, 10.0), kind="config", doc="Direct voltage applied"
    )
    applied_current = Cpt(
        Setting, unit="A", precision=9, limits=(-10.0, 10.0), kind="config", doc="Direct current applied"
    )
    sweep_amplitude = Cpt(
        Setting, unit="V", precision=4, limits=(0.0, 1.0), kind="config", doc="Alternating voltage, rms"
    )
    sweep_current_amplitude = Cpt(
        Setting, unit="A", precision=9, limits=(0.0, 1.0), kind="config", doc="Alternating current, rms"
    )
    sweep_frequency = Cpt(
        Setting, unit="Hz", precision=3, limits=(1e-6, 1e7), kind="omitted", doc="Frequency applied last"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flyers = {
            "impedance": Flyer(self, "impedance", IMPEDANCE),
            "course": Flyer(self, "course", COURSE),
        }

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that does a technique."""
        if isinstance(task, ImpedanceSweep | GalvanostaticImpedanceSweep):
            return self.flyers["impedance"]
        if isinstance(task, Technique):
            return self.flyers["course"]
        raise TypeError(f"{self.name}: {task!r} is no technique of a potentiostat")

    def check_task(self, task: Any) -> None:
        """Raise LimitError if a frequency, amplitude, current or potential is outside the limits."""
        for signal, value in _settings(task):
            getattr(self, signal).check_value(value)
        if isinstance(task, ImpedanceSweep):
            self._check_peaks(task)

    def task_taken(self, task: Any) -> None:
        """Record what is applied, as the configuration of the stream to come."""
        nothing = dict.fromkeys(
            ("applied_potential", "applied_current", "sweep_amplitude", "sweep_current_amplitude"), math.nan
        )
        match task:
            case ImpedanceSweep():
                applied = {"applied_potential": task.bias_V, "sweep_amplitude": task.amplitude_V}
            case GalvanostaticImpedanceSweep():
                applied = {"applied_current": task.bias_A, "sweep_current_amplitude": task.amplitude_A}
            case ConstantPotential():
                applied = {"applied_potential": task.potential_V}
            case ConstantCurrent():
                applied = {"applied_current": task.current_A}
            case _:
                applied = {}
        self.record(**{**nothing, **applied})

    def add_point(self, point: ImpedancePoint, current_range: str = "") -> None:
        """Take over a point of the running spectrum."""
        self.add_rows([impedance_row(point)])
        self.sweep_frequency.record(point.frequency_Hz, point.time)
        self.current_range.record(current_range, point.time)
        self.quality.record(_quality(point.status, point.z_real_ohm, point.z_imag_ohm), point.time)

    def add_course(self, points: Sequence[CoursePoint], current_range: str = "") -> None:
        """Take over readings of the running course."""
        self.add_rows(
            [
                Row(p.time, {"potential": p.potential_V, "current": p.current_A, "status": p.status})
                for p in points
            ]
        )
        if points:
            last = points[-1]
            self.potential.record(last.potential_V, last.time)
            self.current.record(last.current_A, last.time)
            self.current_range.record(current_range, last.time)
            self.quality.record(_quality(last.status, last.potential_V, last.current_A), last.time)

    def _check_peaks(self, sweep: ImpedanceSweep) -> None:
        low, high = self.applied_potential.limits
        peak_V = math.sqrt(2) * sweep.amplitude_V
        if not (low <= sweep.bias_V - peak_V and sweep.bias_V + peak_V <= high):
            raise LimitError(
                f"{self.name}: {sweep.bias_V:g} V +/- {peak_V:g} V leaves the potentials allowed, "
                f"from {low:g} to {high:g} V"
            )


def _settings(task: Any) -> list[tuple[str, float]]:
    """Signals of the family that hold the limits of what a technique applies, with the values."""
    match task:
        case ImpedanceSweep():
            return [
                ("sweep_frequency", task.frequency_start_Hz),
                ("sweep_frequency", task.frequency_end_Hz),
                ("sweep_amplitude", task.amplitude_V),
                ("applied_potential", task.bias_V),
            ]
        case GalvanostaticImpedanceSweep():
            return [
                ("sweep_frequency", task.frequency_start_Hz),
                ("sweep_frequency", task.frequency_end_Hz),
                ("sweep_current_amplitude", task.amplitude_A),
                ("applied_current", task.bias_A),
                ("applied_potential", task.potential_min_V),
                ("applied_potential", task.potential_max_V),
            ]
        case ConstantPotential():
            return [("applied_potential", task.potential_V), ("applied_current", task.current_limit_A)]
        case ConstantCurrent():
            return [
                ("applied_current", task.current_A),
                ("applied_potential", task.potential_min_V),
                ("applied_potential", task.potential_max_V),
            ]
        case LinearSweep():
            return [
                ("applied_potential", task.start_V),
                ("applied_potential", task.end_V),
                ("applied_current", task.current_limit_A),
            ]
        case CyclicVoltammetry():
            return [
                ("applied_potential", task.start_V),
                ("applied_potential", task.vertex_1_V),
                ("applied_potential", task.vertex_2_V),
                ("applied_current", task.current_limit_A),
            ]
        case OpenCircuit():
            return []
    raise TypeError(f"{task!r} is no technique of a potentiostat")


def _quality(status: PointStatus, *values: float) -> str:
    if not all(map(math.isfinite, values)):
        return "invalid"
    return "saturated" if status == "overload" else "ok"
