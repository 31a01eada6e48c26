"""Weiss Technik / Vötsch chamber with S!MPAC controller, SIMSERV protocol on TCP port 2049.

Source: command numbers that public clients quote from the maker's "Communication protocol S!MPAC simserv"
of 2019 (ClimateChamberMonitor; VotschTechnik-climate-chamber-Python, which marks those it has checked
against the manual; weiss_labevent of basil, tried on a LabEvent T/210/70/5: identity, outputs, replies that
end with CR LF); the maker's example (set point 56.7, start, read); return codes -1 to -13 as a public
client for Vötsch chambers lists them; that a set point may be acknowledged before it is read back: field
report of another client. A command is number, chamber index, arguments, joined by the byte 0xB6, ended by
CR; its reply is 1 or a negative code, then values.

Placeholders, for want of the manual: texts and numbers of messages, that an alarm stops the chamber and
waits until the air has been inside once, decimals of values, the output that switches humidity, that a
value outside the input limits is a wrong parameter. No program is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sim_devices.line import LineInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["Chamber", "SimulatedSimserv"]

_SEPARATOR = "\xb6"
_NO_NUMBER, _BAD_INDEX, _UNKNOWN, _PARAMETER, _NOT_FOUND, _FAILED, _INDEX = -2, -3, -5, -6, -8, -9, -10
_ALARM, _WARNING, _INFORMATION = 1, 2, 4
_STOPS = 1
_START = 1
_HUMIDITY_OUTPUT = 3


class Chamber(Protocol):
    """The air in the chamber and its machinery."""

    rate_limits_K_min: tuple[float, float]

    def control(self, temperature_C: float | None, humidity_percent: float | None) -> None:
        """Drive the air to a temperature and a humidity, from the time to which it was advanced."""

    def advance_to(self, time_s: float) -> None:
        """Move the air to a monotonic time of the clock."""

    def temperature_C(self) -> float:
        """Temperature of the air now."""

    def humidity_percent(self) -> float:
        """Relative humidity of the air now."""


class _RefusedError(Exception):
    """The negative return code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class _Variable:
    """A control variable, with its limits: of the input, of warnings, of alarms."""

    name: str
    unit: str
    setpoint: float
    input: tuple[float, float]
    warning: tuple[float, float]
    alarm: tuple[float, float]
    shown: float = 0.0
    shown_from_s: float = -math.inf


@dataclass
class _Message:
    """Something that the chamber can report."""

    text: str
    type: int
    category: int = 0
    active: bool = False


class SimulatedSimserv(LineInstrument):
    """Answers SIMSERV commands in front of a chamber.

    Parameters
    ----------
    chamber : Chamber
        What it controls.
    humidity : bool
        Whether it controls humidity: as control variable 2, switched by digital output 3.
    input_limits_C, alarm_limits_C : tuple of float
        Of the temperature, as they were set at the chamber; there is no command for them.
    chamber_type, serial : str
        Of the name plate.
    readback_delay_s : float
        Until a new set point is read back.
    """

    latency_s = 0.03
    terminator = b"\r"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        chamber: Chamber,
        *,
        humidity: bool = False,
        input_limits_C: tuple[float, float] = (-70.0, 180.0),
        alarm_limits_C: tuple[float, float] = (-75.0, 185.0),
        chamber_type: str = "LabEvent T/210/70/5",
        serial: str = "64636625",
        readback_delay_s: float = 0.3,
    ) -> None:
        super().__init__(clock)
        self._chamber = chamber
        self._readback_delay_s = readback_delay_s
        self._plate = [chamber_type, "19", serial, "64636625-1", "2.1.0", "3.5.10", "4.2", "1.9.0"]
        low, high = alarm_limits_C
        self._variables = [
            _Variable("Temperature", "\xb0C", 23.0, input_limits_C, (low + 2, high - 2), alarm_limits_C)
        ]
        if humidity:
            self._variables.append(
                _Variable("Humidity", "%rH", 50.0, (10.0, 98.0), (3.0, 99.0), (0.0, 100.0))
            )
        for variable in self._variables:
            variable.shown = variable.setpoint
        self._has_humidity = humidity
        second = "Humidity" if humidity else "Not installed"
        #: Names of the digital outputs from the second on: the first is start, and has none.
        self._output_names = [
            "Condensation protection",
            second,
            "Not installed",
            "Compressed air",
            "Air dryer",
            "Not installed",
        ]
        self._fan_percent = 100.0
        self._gradients_K_min = [0.0, 0.0]
        self._limit_message = _Message("Temperature alarm limit exceeded", _ALARM, _STOPS)
        self._fault_message = _Message("Refrigeration: high pressure", _ALARM, _STOPS)
        self._messages = [
            _Message("Door open", _INFORMATION),
            _Message("Water supply low", _WARNING),
            self._limit_message,
            self._fault_message,
        ]
        self._commands: dict[int, Callable[[list[str]], list[object]]] = {
            99997: lambda a: [_pick(self._plate, a)],
            10012: lambda a: [self._status()],
            11018: lambda a: [len(self._variables)],
            11026: lambda a: [_pick(self._variables, a).name],
            11023: lambda a: [_pick(self._variables, a).unit],
            11001: self._set_variable,
            11002: lambda a: [f"{self._shown(_pick(self._variables, a)):.2f}"],
            11004: self._actual,
            11007: lambda a: [f"{_pick(self._variables, a).input[0]:.2f}"],
            11009: lambda a: [f"{_pick(self._variables, a).input[1]:.2f}"],
            11014: lambda a: [f"{_pick(self._variables, a).alarm[0]:.2f}"],
            11015: lambda a: [f"{_pick(self._variables, a).alarm[1]:.2f}"],
            11016: lambda a: [f"{_pick(self._variables, a).warning[0]:.2f}"],
            11017: lambda a: [f"{_pick(self._variables, a).warning[1]:.2f}"],
            11066: lambda a: [f"{self._gradients_K_min[0]:.2f}"],
            11068: lambda a: self._set_gradient(0, a),
            11070: lambda a: [f"{self._gradients_K_min[1]:.2f}"],
            11072: lambda a: self._set_gradient(1, a),
            12012: lambda a: [1],
            12019: lambda a: [_pick(["Supply air"], a)],
            12016: lambda a: [_pick(["\xb0C"], a)],
            12002: self._actual,
            13007: lambda a: [1],
            13011: lambda a: [_pick(["Fan speed"], a)],
            13010: lambda a: [_pick(["%"], a)],
            13005: lambda a: [_pick([f"{self._fan_percent:.2f}"], a)],
            13006: self._set_fan,
            13002: lambda a: [_pick(["50.00"], a)],
            13004: lambda a: [_pick(["100.00"], a)],
            14007: lambda a: [len(self._output_names)],
            14010: lambda a: [_pick(self._output_names, a)],
            14001: self._set_output,
            14003: lambda a: [int(_pick(self._outputs, a))],
            15004: lambda a: [1],
            15005: lambda a: [_pick(["Door closed"], a)],
            15002: lambda a: [_pick([1], a)],
            17002: lambda a: [len(self._messages)],
            17005: lambda a: [_pick(self._messages, a).type],
            17007: lambda a: [_pick(self._messages, a).text],
            17009: lambda a: [int(self._is_active(_pick(self._messages, a)))],
            17111: lambda a: [_pick(self._messages, a).category],
            17012: self._reset,
            19204: lambda a: [0],
            19210: lambda a: [0],
            19014: self._no_program,
            19015: lambda a: [],
            19031: self._no_program,
        }
        self.power_on()

    def power_on(self) -> None:
        """Come up at rest, with all outputs off; set points and limits are kept."""
        self._outputs = [False] * (1 + len(self._output_names))
        self._limit_message.active = False
        self._armed = False
        self._drive()

    def mend(self) -> None:
        """End all breakdowns and faults of the wire, and reset the alarms."""
        super().mend()
        self._limit_message.active = False

    def answer(self, line: str) -> bytes:
        """Give the reply to one command."""
        try:
            values = self._command(line.strip("\n"))
        except _RefusedError as refused:
            return f"{refused.code}\r\n".encode("latin-1")
        return (_SEPARATOR.join(map(str, [1, *values])) + "\r\n").encode("latin-1")

    def _command(self, line: str) -> list[object]:
        if not line:
            raise _RefusedError(-1)
        number, *arguments = line.split(_SEPARATOR)
        if not arguments:
            raise _RefusedError(_NO_NUMBER)
        if not arguments[0].isdigit():
            raise _RefusedError(_BAD_INDEX)
        if not number.isdigit() or int(number) not in self._commands:
            raise _RefusedError(_UNKNOWN)
        if self.broken("busy"):
            raise _RefusedError(_FAILED)
        self._watch()
        return self._commands[int(number)](arguments[1:])

    # --- what time brings

    def _watch(self) -> None:
        """See whether the air is beyond the alarm limits; an alarm stops the chamber."""
        self._chamber.advance_to(self.clock.monotonic())
        low_C, high_C = self._variables[0].alarm
        outside = not low_C <= self._chamber.temperature_C() <= high_C
        if self._outputs[0] and outside and self._armed:
            self._limit_message.active = True
        self._armed = self._outputs[0] and (self._armed or not outside)
        if any(self._is_active(message) and message.category == _STOPS for message in self._messages):
            self._outputs[0] = False
            self._drive()

    def _is_active(self, message: _Message) -> bool:
        return message.active or (message is self._fault_message and self.broken("error"))

    def _drive(self) -> None:
        runs = self._outputs[_START - 1]
        percent = None
        if runs and self._has_humidity and self._outputs[_HUMIDITY_OUTPUT - 1]:
            percent = self._variables[1].setpoint
        up, down = (rate or math.inf for rate in self._gradients_K_min)
        self._chamber.rate_limits_K_min = (up, down)
        self._chamber.control(self._variables[0].setpoint if runs else None, percent)

    # --- commands

    def _status(self) -> int:
        active = [message.type for message in self._messages if self._is_active(message)]
        return 1 + 2 * self._outputs[0] + 4 * (_WARNING in active) + 8 * (_ALARM in active)

    def _actual(self, arguments: list[str]) -> list[object]:
        variable = _pick(self._variables, arguments)
        if self.broken("over_range"):
            raise _RefusedError(_NOT_FOUND)
        value = self._chamber.humidity_percent() if variable.unit[0] == "%" else self._chamber.temperature_C()
        return [f"{value:.2f}"]

    def _shown(self, variable: _Variable) -> float:
        if self.clock.monotonic() >= variable.shown_from_s:
            variable.shown = variable.setpoint
        return variable.shown

    def _set_variable(self, arguments: list[str]) -> list[object]:
        variable = _pick(self._variables, arguments)
        value = _value(arguments)
        if not variable.input[0] <= value <= variable.input[1]:
            raise _RefusedError(_PARAMETER)
        self._shown(variable)
        variable.setpoint, variable.shown_from_s = value, self.clock.monotonic() + self._readback_delay_s
        self._drive()
        return []

    def _set_gradient(self, which: int, arguments: list[str]) -> list[object]:
        value = _value(arguments)
        if value < 0.0:
            raise _RefusedError(_PARAMETER)
        self._gradients_K_min[which] = value
        self._drive()
        return []

    def _set_fan(self, arguments: list[str]) -> list[object]:
        value = _value(arguments)
        if not 50.0 <= value <= 100.0:
            raise _RefusedError(_PARAMETER)
        self._fan_percent = value
        return []

    def _set_output(self, arguments: list[str]) -> list[object]:
        _pick(self._outputs, arguments)
        if len(arguments) < 2 or arguments[1] not in ("0", "1"):
            raise _RefusedError(_PARAMETER)
        output, on = int(arguments[0]), arguments[1] == "1"
        if output == _START and on and self._status() & 8:
            raise _RefusedError(_FAILED)
        self._outputs[output - 1] = on
        self._drive()
        return []

    def _reset(self, arguments: list[str]) -> list[object]:
        for message in self._messages:
            message.active = False
        return []

    def _no_program(self, arguments: list[str]) -> list[object]:
        raise _RefusedError(_INDEX)


def _pick(items: list, arguments: list[str]):  # type: ignore[no-untyped-def]
    """Item that the first argument numbers, from 1."""
    if not arguments or not arguments[0].isdigit():
        raise _RefusedError(_PARAMETER)
    if not 1 <= int(arguments[0]) <= len(items):
        raise _RefusedError(_NOT_FOUND)
    return items[int(arguments[0]) - 1]


def _value(arguments: list[str]) -> float:
    try:
        value = float(arguments[1])
    except (ValueError, IndexError):
        raise _RefusedError(_PARAMETER) from None
    if not math.isfinite(value):
        raise _RefusedError(_PARAMETER)
    return value
