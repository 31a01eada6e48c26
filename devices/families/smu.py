"""The family of source-measure units: a source of voltage or current that measures both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from devices.families.electrochemical import CoursePoint, ElectrochemicalDevice
from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    LinearSweep,
    OpenCircuit,
)
from devices.instrument import Cpt
from devices.signals import Measured, Switch

__all__ = ["SourceMeasureUnit"]


class SourceMeasureUnit(ElectrochemicalDevice):
    """Does direct techniques on a cell, four-wire; its safe state is the output off at high impedance.

    The compliance (limit of the quantity that is not sourced) goes into the instrument before the output goes
    on. Off at any other state than high impedance would short a cell.
    """

    family = "source-measure unit"
    techniques: ClassVar[tuple[type, ...]] = (
        OpenCircuit,
        ConstantPotential,
        ConstantCurrent,
        LinearSweep,
        CyclicVoltammetry,
    )

    current = Cpt(Measured, unit="A", precision=9, kind="normal", doc="Through the cell; 0 while it is off")
    output = Cpt(Switch, kind="normal", doc="Output on (1) or off at high impedance (0)")

    def add_course(self, points: Sequence[CoursePoint]) -> None:
        """Take over readings of the running course."""
        super().add_course(points)
        if points:
            self.current.record(points[-1].current_A, points[-1].time)
