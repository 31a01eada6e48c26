"""What simulated Keithley source-measure units have in common: a source with its limit in front of a cell.

Source: Model 2450 Reference Manual (2450-901-01) sections 2 and 4, Series 2400 User's Manual (2400S-900-01)
sections 3, 6 and 13. Current is positive out of HI, which is connected to the cell's positive. At its limit a
source of voltage becomes a source of current, and the other way round; both limits are magnitudes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim_devices.scpi import ScpiError

__all__ = [
    "CURRENT_RANGES_A",
    "VOLTAGE_RANGES_V",
    "Cell",
    "RESISTANCE_RANGES_ohm",
    "Reading",
    "SourceStage",
    "boolean",
    "unquoted",
]

VOLTAGE_RANGES_V = (0.02, 0.2, 2.0, 20.0, 200.0)
CURRENT_RANGES_A = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
RESISTANCE_RANGES_ohm = (20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8)

_POWER_W = 22.05  # 21 V at 1.05 A, or 210 V at 105 mA
_VOLTAGE_NOISE_V = 10e-6  # of one power-line cycle; placeholder
_CURRENT_NOISE = 1e-5  # share of the reading; placeholder


class Cell(Protocol):
    """What is connected to HI and LO."""

    voltage_V: float
    current_A: float

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have an instrument brought up to now before the cell is read."""

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect."""

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current within a window of voltage."""

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage with a limit of current."""

    def advance(self, until_s: float | None = None) -> float:
        """Bring it up to a time of the clock."""


@dataclass(frozen=True)
class Reading:
    """One measurement: when (monotonic clock), what, and whether the source was at its limit."""

    at_s: float
    voltage_V: float
    current_A: float
    limited: bool
    level: float
    source: str
    sensed: str


class SourceStage:
    """Source function, levels, limits, ranges, off state and output.

    Parameters
    ----------
    cell : Cell
        On HI and LO, four-wire.
    off_limit : float
        Share of the full scale of the current range that the normal off state allows.
    noise : float
        Factor on the noise of readings.
    lowest_V, lowest_A : float
        Full scale of the lowest ranges of the model.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        off_limit: float,
        noise: float,
        seed: int,
        lowest_V: float = 0.02,
        lowest_A: float = 1e-8,
    ) -> None:
        self.cell = cell
        self._ranges = {
            "VOLT": tuple(full for full in VOLTAGE_RANGES_V if full >= lowest_V),
            "CURR": tuple(full for full in CURRENT_RANGES_A if full >= lowest_A),
            "RES": RESISTANCE_RANGES_ohm,
        }
        self.interlock = False
        self.overheated = False
        self._off_limit = off_limit
        self._noise = noise
        self._generator = np.random.default_rng(seed)
        self.reset(at_s=None)

    def reset(self, at_s: float | None) -> None:
        """Take the values after power-up: output off in the normal off state."""
        self.source = "VOLT"
        self.level = {"VOLT": 0.0, "CURR": 0.0}
        self.limit = {"VOLT": 21.0, "CURR": 105e-6}
        self.fixed_range: dict[str, float | None] = {"VOLT": None, "CURR": None}
        self.fixed_sense_range: dict[str, float | None] = {"VOLT": None, "CURR": None, "RES": None}
        self.off_state = {"VOLT": "NORM", "CURR": "NORM"}
        self.protection_V = math.inf
        self.output = False
        self.drive(at_s)

    @property
    def limited(self) -> str:
        """Quantity that the limit holds for."""
        return "CURR" if self.source == "VOLT" else "VOLT"

    def range(self, function: str) -> float:
        """Full scale of the source range in use."""
        fixed = self.fixed_range[function]
        return fixed if fixed is not None else _range_for(self.level[function], self._ranges[function])

    def set_range(self, function: str, value: float) -> None:
        """Fix a source range."""
        self.fixed_range[function] = _range_for(value, self._ranges[function])

    def sense_range(self, function: str) -> float:
        """Full scale of a measuring range: the fixed one, else the one for what is there now."""
        fixed = self.fixed_sense_range[function]
        if fixed is not None:
            return fixed
        self.cell.advance()
        voltage_V, current_A = self.cell.voltage_V, self.cell.current_A
        resistance_ohm = voltage_V / current_A if current_A else math.inf
        present = {"VOLT": voltage_V, "CURR": current_A, "RES": resistance_ohm}[function]
        return _range_for(present, self._ranges[function])

    def fix_sense_range(self, function: str, value: float | None) -> None:
        """Fix the smallest measuring range that holds a value; None: automatic from now on."""
        self.fixed_sense_range[function] = (
            None if value is None else _range_for(value, self._ranges[function])
        )

    def set_level(self, function: str, value: float, at_s: float | None = None) -> None:
        """Set a level; the output follows at once."""
        fixed = self.fixed_range[function]
        if fixed is not None and abs(value) > 1.05 * fixed:
            raise ScpiError(-222)
        if function == "VOLT" and abs(value) > self.protection_V:
            raise ScpiError(-221)
        self.level[function] = value
        self.check_power()
        self.drive(at_s)

    def check_power(self) -> None:
        """Refuse what is outside the operating boundaries."""
        if self.output and abs(self.level[self.source]) * self.limit[self.limited] > 1.001 * _POWER_W:
            raise ScpiError(-221)

    def set_output(self, on: bool, at_s: float | None = None) -> None:
        """Switch the output."""
        self.output = on
        self.drive(at_s)

    def drive(self, at_s: float | None = None) -> None:
        """Have the cell see what the source is told."""
        if not self.output:
            self._drive_off(at_s)
        elif self.source == "VOLT":
            self.cell.source_voltage(self.level["VOLT"], self.limit["CURR"], at_s=at_s)
        else:
            limit_V = min(self.limit["VOLT"], self.protection_V)
            self.cell.source_current(self.level["CURR"], -limit_V, limit_V, at_s=at_s)
            if self.level["CURR"] == 0.0 and abs(self.cell.voltage_V) > limit_V:
                # a source of no current clamps an outer voltage above its limit, too
                self.cell.source_voltage(math.copysign(limit_V, self.cell.voltage_V), 1.05, at_s=at_s)

    def _drive_off(self, at_s: float | None) -> None:
        state = self.off_state[self.source]
        if state in ("HIMP", "GUAR"):
            self.cell.open(at_s=at_s)
        elif state == "NORM":
            current_A = self.range("CURR") if self.source == "CURR" else self.limit["CURR"]
            self.cell.source_voltage(
                0.0, self._off_limit * _range_for(current_A, self._ranges["CURR"]), at_s=at_s
            )
        else:
            self.cell.source_voltage(0.0, max(self.limit["CURR"], abs(self.level["CURR"])), at_s=at_s)

    def measure(self, at_s: float, nplc: float, sensed: str) -> Reading:
        """Measure voltage and current at a time that the cell has not passed yet."""
        self.cell.advance(at_s)
        voltage_V, current_A = self.cell.voltage_V, self.cell.current_A
        limited = self.output and self._at_limit(voltage_V, current_A)
        scale = self._noise / math.sqrt(max(nplc, 0.01))
        voltage_V += scale * _VOLTAGE_NOISE_V * float(self._generator.standard_normal())
        current_A *= 1.0 + scale * _CURRENT_NOISE * float(self._generator.standard_normal())
        return Reading(at_s, voltage_V, current_A, limited, self.level[self.source], self.source, sensed)

    def tripped(self) -> bool:
        """Whether the source is at its limit now."""
        self.cell.advance()
        return self.output and self._at_limit(self.cell.voltage_V, self.cell.current_A)

    def _at_limit(self, voltage_V: float, current_A: float) -> bool:
        if self.source == "VOLT":
            return abs(current_A) >= self.limit["CURR"] * (1 - 1e-9)
        return abs(current_A - self.level["CURR"]) > 1e-3 * abs(self.level["CURR"]) + 1e-12


def _range_for(value: float, ranges: tuple[float, ...]) -> float:
    return next((full for full in ranges if abs(value) <= 1.05 * full), ranges[-1])


def boolean(word: str) -> bool:
    """Value of an on/off parameter."""
    try:
        return {"1": True, "ON": True, "0": False, "OFF": False}[word.upper()]
    except KeyError:
        raise ScpiError(-224) from None


def unquoted(word: str) -> str:
    """Content of a string parameter in either kind of quotes."""
    return word.strip().strip("\"'")
