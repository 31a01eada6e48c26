"""What the families that do techniques on a cell have in common: potentiostat, SMU, impedance meter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep
from devices.flyer import Column, Flyer, FlyingDevice, Row
from devices.instrument import Cpt
from devices.signals import Measured, Setting, Text

__all__ = ["COURSE", "IMPEDANCE", "CoursePoint", "ElectrochemicalDevice", "ImpedancePoint"]

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
_SPECTRA = (ImpedanceSweep, GalvanostaticImpedanceSweep)


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


class ElectrochemicalDevice(FlyingDevice):
    """Does techniques on a cell, each in the instrument (`devices.families.techniques`).

    The flyer `impedance` takes spectra, the flyer `course` everything else. A subclass says in `techniques`
    what it can do.
    """

    techniques: ClassVar[tuple[type, ...]] = ()

    potential = Cpt(Measured, unit="V", precision=5, kind="hinted", doc="Working against reference electrode")
    quality = Cpt(Text, value="invalid", kind="normal", doc="Whether the reading is ok, invalid or saturated")
    applied_potential = Cpt(
        Setting, unit="V", precision=4, limits=(-10.0, 10.0), kind="config", doc="Direct voltage applied"
    )
    applied_current = Cpt(
        Setting, unit="A", precision=9, limits=(-10.0, 10.0), kind="config", doc="Direct current applied"
    )
    sweep_amplitude = Cpt(
        Setting, unit="V", precision=4, limits=(0.0, 5.0), kind="config", doc="Alternating voltage, rms"
    )
    sweep_current_amplitude = Cpt(
        Setting, unit="A", precision=9, limits=(0.0, 5.0), kind="config", doc="Alternating current, rms"
    )
    sweep_frequency = Cpt(
        Setting, unit="Hz", precision=3, limits=(1e-6, 1e7), kind="omitted", doc="Frequency applied last"
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if set(self.techniques) & set(_SPECTRA):
            self.flyers["impedance"] = Flyer(self, "impedance", IMPEDANCE)
        if set(self.techniques) - set(_SPECTRA):
            self.flyers["course"] = Flyer(self, "course", COURSE)

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that does a technique."""
        if not isinstance(task, self.techniques):
            known = ", ".join(technique.__name__ for technique in self.techniques)
            raise TypeError(f"{self.name} ({self.family}) does {known}, not {task!r}")
        return self.flyers["impedance" if isinstance(task, _SPECTRA) else "course"]

    def check_task(self, task: Any) -> None:
        """Raise LimitError if a frequency, amplitude, current or potential is outside the limits."""
        for signal, value in task.applies():
            getattr(self, signal).check_value(value)

    def task_taken(self, task: Any) -> None:
        """Record what is applied, as the configuration of the stream to come."""
        settings = ("applied_potential", "applied_current", "sweep_amplitude", "sweep_current_amplitude")
        self.record(**{**dict.fromkeys(settings, math.nan), **task.configuration()})

    def add_point(self, point: ImpedancePoint) -> None:
        """Take over a point of the running spectrum."""
        self.add_rows(
            [
                Row(
                    point.time,
                    {
                        "frequency": point.frequency_Hz,
                        "z_real": point.z_real_ohm,
                        "z_imag": point.z_imag_ohm,
                        "status": point.status,
                    },
                )
            ]
        )
        self.sweep_frequency.record(point.frequency_Hz, point.time)
        self.quality.record(_quality(point.status, point.z_real_ohm, point.z_imag_ohm), point.time)

    def add_course(self, points: Sequence[CoursePoint]) -> None:
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
            self.quality.record(_quality(last.status, last.potential_V, last.current_A), last.time)


def _quality(status: PointStatus, *values: float) -> str:
    if not all(map(math.isfinite, values)):
        return "invalid"
    return "saturated" if status == "overload" else "ok"
