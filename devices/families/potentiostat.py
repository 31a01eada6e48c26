"""The family of potentiostats: a cell at rest, held, swept, cycled, and its impedance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, get_args

from devices.families.electrochemical import CoursePoint, ElectrochemicalDevice, ImpedancePoint
from devices.families.techniques import Technique
from devices.instrument import Cpt
from devices.signals import Measured, Switch, Text

__all__ = ["Potentiostat"]


class Potentiostat(ElectrochemicalDevice):
    """Controls and measures a cell with all techniques; its safe state is the cell switched off."""

    family = "potentiostat"
    techniques: ClassVar[tuple[type, ...]] = get_args(Technique)

    #: Of current and potential, as makers of small potentiostats state them: 0.2 % and 2 mV.
    current_relative_accuracy: ClassVar[float] = 0.002
    voltage_resolution_V: ClassVar[float] = 1e-5
    voltage_accuracy_V: ClassVar[float] = 0.002

    current = Cpt(Measured, unit="A", precision=9, kind="normal", doc="Through the cell; 0 while it is off")
    cell = Cpt(Switch, kind="normal", doc="Cell connected to the potentiostat (1) or not (0)")
    current_range = Cpt(Text, kind="normal", doc="Current range of the last point")

    def add_point(self, point: ImpedancePoint, current_range: str = "") -> None:
        """Take over a point of the running spectrum."""
        super().add_point(point)
        self.current_range.record(current_range, point.time)

    def add_course(self, points: Sequence[CoursePoint], current_range: str = "") -> None:
        """Take over readings of the running course."""
        super().add_course(points)
        if points:
            self.current.record(points[-1].current_A, points[-1].time)
            self.current_range.record(current_range, points[-1].time)
