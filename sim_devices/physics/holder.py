"""A place for a cell: leads go out of it, a chamber may stand around it, a press may close on it.

In a press, the leads may as well be its platens, with a powder between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim_devices.physics.cell import Cell, Surroundings
from sim_devices.physics.electrolyte_cell import ElectrolyteCell
from sim_devices.physics.powder import PowderSample
from ssblab.clock import Clock

__all__ = ["CellHolder", "Press"]

_EMPTY_F = 1e-11  # between the leads; placeholder, plausible 1e-12 to 1e-10
_RAIL_V = 10.0  # where a source of current ends that finds nothing


class Press(Protocol):
    """What presses on the cell."""

    def mount(self, body: Cell | PowderSample) -> None:
        """Take a cell or a powder between the platens."""

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance between the platens, ohm."""


class CellHolder:
    """Leads with a cell at their end, or with nothing.

    Instruments are connected to the holder and keep their connection when an operator changes the cell.

    Parameters
    ----------
    clock : Clock
        Its time moves the cell.
    generator : numpy.random.Generator
        Not used: leads have no noise.
    surroundings : Surroundings, optional
        What the holder stands in.
    press : Press, optional
        What presses on it.

    Attributes
    ----------
    cell : Cell or ElectrolyteCell or None
        The hidden truth; None while there is nothing, or a powder, which its press knows.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        surroundings: Surroundings | None = None,
        press: Press | None = None,
    ) -> None:
        self._surroundings = surroundings
        self._press = press
        self._drivers: list[Callable[[], None]] = []
        self._open = _OpenLeads(clock)
        self.cell: Cell | ElectrolyteCell | None = None

    def mount(self, body: Cell | ElectrolyteCell | PowderSample) -> None:
        """Put a cell in, as the operator does; it stays open until somebody drives it.

        Raises
        ------
        ValueError
            If a powder has no press, or the press is closed.
        """
        if isinstance(body, PowderSample) and self._press is None:
            raise ValueError("a powder is measured in a press, and there is none around this place")
        if self._press is not None and not isinstance(body, ElectrolyteCell):
            self._press.mount(body)
        if isinstance(body, PowderSample):
            self.cell = None
            return
        self.cell = body
        for catch_up in self._drivers:
            body.attach(catch_up)
        if self._surroundings is not None and isinstance(body, Cell):
            body.stand_in(self._surroundings)

    @property
    def _inside(self) -> Cell | ElectrolyteCell | _OpenLeads:
        return self._open if self.cell is None else self.cell

    @property
    def voltage_V(self) -> float:
        """At the terminals, when last brought up to the time."""
        return self._inside.voltage_V

    @property
    def current_A(self) -> float:
        """At the terminals, when last brought up to the time."""
        return self._inside.current_A

    @property
    def charge_Ah(self) -> float:
        """Charge that has passed into the cell since it was put in."""
        return self._inside.charge_Ah

    @property
    def energy_Wh(self) -> float:
        """Energy that has passed into the cell since it was put in."""
        return self._inside.energy_Wh

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have an instrument that drives the cell by a program brought up to now before the cell is read."""
        self._drivers.append(catch_up)
        if self.cell is not None:
            self.cell.attach(catch_up)

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect: no current flows from now on, or from a time that `advance` has reached."""
        self._inside.open(at_s=at_s)

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current between two voltages, as `Cell.source_current`."""
        self._inside.source_current(current_A, voltage_min_V, voltage_max_V, at_s=at_s)

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage with no more than a current, as `Cell.source_voltage`."""
        self._inside.source_voltage(voltage_V, current_limit_A, at_s=at_s)

    def read(self) -> tuple[float, float]:
        """Voltage (V) and current (A) now."""
        return self._inside.read()

    def potential_V(self) -> float:
        """Voltage now, V."""
        return self.read()[0]

    def positive_potential_V(self) -> float:
        """Potential of the positive electrode against the reference electrode now; 0 V without a cell."""
        return 0.0 if self.cell is None else self.cell.positive_potential_V()

    def negative_potential_V(self) -> float:
        """Potential of the negative electrode against the reference electrode now; 0 V without a cell."""
        return 0.0 if self.cell is None else self.cell.negative_potential_V()

    def temperature_C(self) -> float:
        """Temperature of the cell, or of the empty holder, now."""
        return self._inside.temperature_C()

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance at the leads now, ohm; without a cell that between the platens, where there are any."""
        if self.cell is None and self._press is not None:
            return self._press.impedance(frequency_Hz)
        return self._inside.impedance(frequency_Hz)

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring the cell up to a time, or to where `ended`, as `Cell.advance`."""
        return self._inside.advance(until_s, ended)


class _OpenLeads:
    """Nothing that lets direct current through: a source of current ends at its rail."""

    charge_Ah = energy_Wh = current_A = 0.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.voltage_V = 0.0

    def open(self, *, at_s: float | None = None) -> None:
        self.voltage_V = 0.0

    def source_current(
        self, current_A: float, voltage_min_V: float, voltage_max_V: float, *, at_s: float | None = None
    ) -> None:
        rail_V = math.copysign(_RAIL_V, current_A) if current_A else 0.0
        self.voltage_V = min(max(rail_V, voltage_min_V), voltage_max_V)

    def source_voltage(self, voltage_V: float, current_limit_A: float, *, at_s: float | None = None) -> None:
        self.voltage_V = voltage_V

    def read(self) -> tuple[float, float]:
        return self.voltage_V, 0.0

    def temperature_C(self) -> float:
        return 25.0

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.asarray(1.0 / (2j * np.pi * frequency_Hz * _EMPTY_F), dtype=np.complex128)

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        now_s = self._clock.monotonic() if until_s is None else until_s
        return now_s
