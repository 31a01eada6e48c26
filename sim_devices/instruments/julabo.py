"""Julabo heating and refrigerating circulators, interface commands; RS-232 4800 7E1.

Source: the lists of commands, of status messages and of times in the manuals of SC 2500, Magnum 91, LC 6,
FL 1201 and Magio MX: `in_...` commands are answered with a line, `out_...` commands with nothing; they are
obeyed in remote control only, and the next `status` tells what was wrong with them (-08 invalid command, -09
not allowed in this mode, -10 too small, -11 too large, -13 outside the temperature limits) or which alarm
there is. 250 ms must pass after an `out_...` command and 10 ms after an answer before the next command;
`out_sp_03` and `out_sp_04` set the warning limits of temperature. Version text and codes of alarms as two
public clients have them.

Assumed: a command that comes too early is lost; a sensor that is not there reads as dashes; commands may be
upper or lower case; set points must lie between the warning limits; an alarm lasts until it is acknowledged
at the instrument; limits, set point and remote control are kept without power, and it comes back stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from sim_devices.line import LineInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["Bath", "SimulatedJulabo"]

_INVALID, _NOT_NOW, _TOO_SMALL, _TOO_LARGE, _OUTSIDE = -8, -9, -10, -11, -13
_ERRORS = {
    _INVALID: "INVALID COMMAND",
    _NOT_NOW: "COMMAND NOT ALLOWED IN CURRENT OPERATING MODE",
    _TOO_SMALL: "VALUE TOO SMALL",
    _TOO_LARGE: "VALUE TOO LARGE",
    _OUTSIDE: "VALUE EXCEEDS TEMPERATURE LIMITS",
}
_LOW_LEVEL = "-01 LOW LEVEL ALARM"
_TOO_HOT = "-03 EXCESS TEMPERATURE WARNING"
_TOO_COLD = "-04 LOW TEMPERATURE WARNING"
_BROKEN_SENSOR = "-05 WORKING SENSOR ALARM"
_STATES = ("00 MANUAL STOP", "01 MANUAL START", "02 REMOTE STOP", "03 REMOTE START")

_NO_SENSOR = "---.--"
_NUMBER = re.compile(r"[+-]?\d{1,4}(\.\d{0,2})?")
_AFTER_ANSWER_S = 0.01


class Bath(Protocol):
    """The bath, and what its fluid flows through."""

    low_level: bool

    def control(self, target_C: float | None) -> None:
        """Bring the bath to a temperature and hold it there; None: neither heat nor cool."""

    def bath_C(self) -> float:
        """Temperature at the working sensor."""

    def external_C(self) -> float:
        """Temperature at the sensor in the cell."""

    def power_percent(self) -> float:
        """Heating power, or cooling power with a minus, as a share of the largest."""


class SimulatedJulabo(LineInstrument):
    """A circulator in front of its bath.

    Parameters
    ----------
    bath : Bath
        What it tempers.
    version : str
        What it says of itself.
    remote : bool
        Whether remote control has been switched on at the instrument.
    external_sensor : bool
        Whether there is one.
    range_C : tuple of float
        Working temperatures of the model.
    protection_C : float
        Set with a tool at the high-temperature cut-out.
    gap_s : float
        Time that must pass after an `out_...` command.

    Attributes
    ----------
    lost : list of str
        Commands that came too early.
    """

    latency_s = 0.03
    terminator = b"\r"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        bath: Bath,
        *,
        version: str = "JULABO MAGIO MS-1000F VERSION 1.1.2",
        remote: bool = True,
        external_sensor: bool = True,
        range_C: tuple[float, float] = (-50.0, 200.0),
        protection_C: float = 180.0,
        gap_s: float = 0.25,
    ) -> None:
        super().__init__(clock)
        self._bath = bath
        self._version = version
        self.remote = remote
        self._external_sensor = external_sensor
        self._low_C, self._high_C = range_C
        self._protection_C = protection_C
        self._gap_s = gap_s
        self._setpoint_C = 25.0
        self._warn_high_C, self._warn_low_C = self._high_C, self._low_C
        self._external_control = False
        self._pump_stage = 1
        self._parameters = {6: 0.7, 7: 80.0, 8: 3.0}  # Xp, Tn, Tv of the internal controller
        self.lost: list[str] = []
        self.power_on()

    def power_on(self) -> None:
        """Stand by; nothing is heated, cooled or pumped."""
        self._error = 0
        self._alarm = ""
        self._free_s = 0.0
        self._run(False)

    def acknowledge(self) -> None:
        """Press OK at the instrument: the alarm goes, if its cause has."""
        self._alarm = ""

    def mend(self) -> None:
        """End all breakdowns and faults of the wire, and press OK."""
        super().mend()
        self.acknowledge()

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer; XON and XOFF, and line feeds, are no part of them."""
        cleaned = bytes(buffer).translate(None, b"\x11\x13\n")
        buffer[:] = cleaned
        yield from super().receive(buffer)

    def answer(self, line: str) -> bytes:
        """Give the answer to an `in_...` command, `version` or `status`; silence to all others."""
        if self.broken("busy"):
            return b""
        now_s = self.clock.monotonic()
        if now_s < self._free_s:
            self.lost.append(line)
            return b""
        self._watch()
        command, _, argument = line.strip().lower().partition(" ")
        answer = self._ask(command) if not argument.strip() else None
        if answer is not None:
            self._free_s = now_s + self.latency_s + _AFTER_ANSWER_S
            return f"{answer}\r\n".encode("ascii")
        self._error = self._order(command, argument.strip()) or self._error
        self._free_s = now_s + self._gap_s
        return b""

    def _watch(self) -> None:
        """See whether there is reason for an alarm; one that stops the bath stays."""
        if self._bath.low_level or self.broken("error"):
            self._alarm = _LOW_LEVEL
        elif self.broken("over_range"):
            self._alarm = _BROKEN_SENSOR
        if self._alarm:
            self._run(False)

    def _run(self, on: bool) -> None:
        self._running = on
        self._bath.control(self._setpoint_C if on else None)

    def _ask(self, command: str) -> str | None:
        match command:
            case "version":
                return self._version
            case "status":
                return self._status()
            case "in_pv_00":
                return _NO_SENSOR if self.broken("over_range") else f"{self._bath.bath_C():.2f}"
            case "in_pv_01":
                return f"{self._bath.power_percent():.0f}"
            case "in_pv_02":
                return f"{self._bath.external_C():.2f}" if self._external_sensor else _NO_SENSOR
            case "in_pv_03":
                return f"{self._bath.bath_C() + 0.2:.2f}"
            case "in_pv_04":
                return f"{self._protection_C:.0f}"
            case "in_sp_00":
                return f"{self._setpoint_C:.2f}"
            case "in_sp_03":
                return f"{self._warn_high_C:.2f}"
            case "in_sp_04":
                return f"{self._warn_low_C:.2f}"
            case "in_sp_07":
                return f"{self._pump_stage}"
            case "in_mode_04":
                return f"{int(self._external_control)}"
            case "in_mode_05":
                return f"{int(self._running)}"
            case "in_par_06" | "in_par_07" | "in_par_08":
                return f"{self._parameters[int(command[-1])]:.1f}"
        return None

    def _status(self) -> str:
        if self._error:
            error, self._error = self._error, 0
            return f"{error:03d} {_ERRORS[error]}"
        if self._alarm:
            return self._alarm
        bath_C = self._bath.bath_C()
        if self._running and bath_C > self._warn_high_C:
            return _TOO_HOT
        if self._running and bath_C < self._warn_low_C:
            return _TOO_COLD
        return _STATES[2 * self.remote + self._running]

    def _order(self, command: str, argument: str) -> int:
        """Obey; the error that the next status tells, or 0."""
        if command not in self._orders() or not _NUMBER.fullmatch(argument):
            return _INVALID
        if not self.remote:
            return _NOT_NOW
        value = float(argument)
        low, high = self._orders()[command]
        if value < low:
            return _TOO_SMALL
        if value > high:
            return _TOO_LARGE
        return self._obey(command, value)

    def _orders(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each command."""
        return {
            "out_mode_04": (0, 1),
            "out_mode_05": (0, 1),
            "out_sp_00": (self._low_C, self._high_C),
            "out_sp_03": (self._low_C, self._high_C),
            "out_sp_04": (self._low_C, self._high_C),
            "out_sp_07": (1, 4),
            "out_par_06": (0.1, 99.9),
            "out_par_07": (3, 9999),
            "out_par_08": (0, 999),
        }

    def _obey(self, command: str, value: float) -> int:
        match command:
            case "out_mode_04":
                self._external_control = bool(value)
            case "out_mode_05":
                if value and self._alarm:
                    return _NOT_NOW
                self._run(bool(value))
            case "out_sp_00":
                if not self._warn_low_C <= value <= self._warn_high_C:
                    return _OUTSIDE
                self._setpoint_C = value
                self._run(self._running)
            case "out_sp_03":
                self._warn_high_C = value
            case "out_sp_04":
                self._warn_low_C = value
            case "out_sp_07":
                self._pump_stage = int(value)
            case _:
                self._parameters[int(command[-1])] = value
        return 0
