"""Weiss Technik and Vötsch chambers with S!MPAC controller, SIMSERV protocol on TCP port 2049.

Source: command numbers that public clients quote from the maker's "Communication protocol S!MPAC simserv"
of 2019 (ClimateChamberMonitor and VotschTechnik-climate-chamber-Python, both used with chambers;
weiss_labevent of basil 3.3.0 with a LabEvent T/210/70/5, whose replies end with CR LF); the maker's own
example; return codes as a client for Vötsch chambers lists them. A command is its number, the chamber index
(always 1) and arguments, joined by the byte 0xB6. Control variable 1 is temperature, 2 humidity; digital
output 1 starts and stops.

SIMSERV and not the ASCII of CTS chambers, although CTS publishes it: SIMSERV has the chamber's alarm
limits, messages and input limits, its clients were tried on instruments, and CTS frames need 8O1 serial
lines.

No command for alarm limits is known: they are read, and must be set at the chamber within a margin of the
station's limits before it is started from here. Which output switches humidity depends on the chamber. A
set point may be acknowledged before it can be read back (field report of a client), so it is read back
repeatedly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from devices.families.climate_chamber import CONSTANT, PROGRAM, STANDBY, ClimateChamber
from devices.instrument import About, Identity, quality_of
from devices.signals import Setting
from ssblab.links import InstrumentError, LinkClosed, LinkSettings, LinkTimeout, ProtocolError, Refusal, line

__all__ = ["Simserv", "decode", "decode_count", "decode_number", "decode_reading", "decode_text", "encode"]

T = TypeVar("T")

_SEPARATOR = "\xb6"
_REPLY = line(b"\r\n")
_CODES = {
    -1: "empty command",
    -2: "chamber index missing",
    -3: "chamber index out of range",
    -4: "chamber not present",
    -5: "unknown command",
    -6: "too few or wrong parameters",
    -7: "no server",
    -8: "data can't be read",
    -9: "error while executing",
    -10: "index error",
    -11: "nobody is logged in",
    -12: "the user may not do this",
    -13: "logged in already",
}
_UNKNOWN_COMMAND, _UNREADABLE = -5, -8
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_COUNT = re.compile(r"\d+")

_INFORMATION, _STATUS = 99997, 10012
_SET_VARIABLE, _SETPOINT, _ACTUAL = 11001, 11002, 11004
_INPUT_LOW, _INPUT_HIGH, _ALARM_LOW, _ALARM_HIGH = 11007, 11009, 11014, 11015
_VARIABLES, _UNIT = 11018, 11023
_SET_OUTPUT, _OUTPUT = 14001, 14003
_MESSAGES, _MESSAGE_TYPE, _MESSAGE_TEXT, _MESSAGE_ACTIVE = 17002, 17005, 17007, 17009
_STOP_PROGRAM, _PROGRAM_STATUS = 19015, 19210

_TEMPERATURE, _HUMIDITY = 1, 2
_START = 1
_RUNS, _HAS_ALARM = 2, 8
_TYPE_ALARM = 1
_TOLERANCE = 0.06  # two decimals come back, one is sent
_READ_BACK_WITHIN_S = 5.0
_LOOK_S = 0.25
_SAFE_ATTEMPTS = 2


def encode(number: int, *arguments: object) -> bytes:
    """Command for chamber 1."""
    return (_SEPARATOR.join(map(str, [number, 1, *arguments])) + "\r").encode("latin-1")


def decode(reply: bytes) -> list[str]:
    """Decode a reply to its values; a negative return code is a refusal."""
    text = reply.decode("latin-1")
    if not text.endswith("\r\n") or not text[:-2].isprintable():
        raise ProtocolError("not a line of text")
    code, *values = text[:-2].split(_SEPARATOR)
    if not re.fullmatch(r"1|-\d{1,3}", code):
        raise ProtocolError(f"{code!r} is no return code")
    if code != "1":
        raise Refusal(f"return code {code}: {_CODES.get(int(code), 'unknown')}")
    return values


def decode_text(reply: bytes) -> str:
    """Decode a reply with one value, a text."""
    values = decode(reply)
    if len(values) != 1:
        raise ProtocolError(f"{len(values)} values, not one")
    return values[0].strip()


def decode_number(reply: bytes) -> float:
    """Decode a reply with one number."""
    word = decode_text(reply)
    if not _NUMBER.fullmatch(word):
        raise ProtocolError(f"{word!r} is no number")
    return float(word)


def decode_reading(reply: bytes) -> float:
    """Decode an actual value; NaN if the chamber can't read it."""
    if reply == f"{_UNREADABLE}\r\n".encode():
        return math.nan
    return decode_number(reply)


def decode_count(reply: bytes) -> int:
    """Decode a reply with one whole number that is not negative."""
    word = decode_text(reply)
    if not _COUNT.fullmatch(word):
        raise ProtocolError(f"{word!r} is no whole number")
    return int(word)


def _check_done(reply: bytes) -> None:
    if decode(reply):
        raise ProtocolError("values where only an acknowledgement should be")


class Simserv(ClimateChamber):
    """Weiss Technik or Vötsch chamber.

    Parameters
    ----------
    humidity_output : int or None
        Digital output that switches humidity control, as the chamber counts them (1 is start); None for a
        chamber without humidity.
    """

    model = "Weiss Technik / Vötsch with S!MPAC"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0)
    about = About(
        maker="Weiss Technik, Vötsch",
        models="LabEvent, ClimeEvent, VT3, VC3 with S!MPAC controller",
        protocol="SIMSERV",
        transport="TCP 2049",
        verified=(
            "examples of the maker's manual as public clients quote them",
            "weiss_labevent of basil-daq 3.3.0 works on the simulated chamber",
        ),
        unsupported="Programs, gradients, dryer and compressed air. Alarm limits are checked, not written: "
        "no command for them is known. The manual itself was not at hand.",
    )

    def __init__(self, *, humidity_output: int | None = None, **kwargs: Any) -> None:
        self._humidity_output = humidity_output
        self._alarm_text = ""
        super().__init__(**kwargs)

    @property
    def controls_humidity(self) -> bool:
        """Whether the station file names the output that switches humidity."""
        return self._humidity_output is not None

    def identify(self) -> Identity:
        """Ask for the name plate: type, serial number, version of the program."""
        try:
            chamber_type = self._ask(decode_text, _INFORMATION, 1)
        except InstrumentError as error:
            if str(_UNKNOWN_COMMAND) in error.problem:
                raise self.wrong(f"an instrument that has no name plate ({error.problem})") from error
            raise
        if "C" not in (unit := self._ask(decode_text, _UNIT, _TEMPERATURE)):
            raise self.wrong(f"{chamber_type}, whose first control variable is in {unit!r}")
        serial = self._ask(decode_text, _INFORMATION, 3)
        return Identity("Weiss", chamber_type, serial, self._ask(decode_text, _INFORMATION, 8))

    def upload_limits(self) -> None:
        """See that the chamber's alarm limits are within a margin of the station's, and take its limits over.

        Raises
        ------
        InstrumentError
            If the alarm limits are wider: nothing but the chamber's own panel can change them. Or if there is
            no humidity although the station file names its output.
        """
        if self.controls_humidity and self._ask(decode_count, _VARIABLES) < _HUMIDITY:
            raise self.refused("has no humidity, but the station file names a humidity_output")
        self._check_limits(_TEMPERATURE, self.temperature_setpoint, self.alarm_margin_K)
        if self.controls_humidity:
            low, high = self._limits(_HUMIDITY, _INPUT_LOW, _INPUT_HIGH)
            self.humidity_setpoint.narrow(low, high)

    def read_chamber(self) -> None:
        """Read temperature, humidity, set points, state and alarms."""
        status = self._ask(decode_count, _STATUS)
        temperature_C = self._ask(decode_reading, _ACTUAL, _TEMPERATURE)
        setpoint_C = self._ask(decode_number, _SETPOINT, _TEMPERATURE)
        humidity = self._read_humidity() if self.controls_humidity else (math.nan, math.nan)
        if not status & _HAS_ALARM:
            self._alarm_text = ""
        elif not self._alarm_text:
            self._alarm_text = self._read_alarms()
        quality = quality_of(temperature_C)
        if self._alarm_text or (self.controls_humidity and math.isnan(humidity[0])):
            quality = "invalid"
        self.record(
            temperature=temperature_C,
            temperature_setpoint=setpoint_C,
            relative_humidity=humidity[0],
            humidity_setpoint=humidity[1],
            state=self._state(status),
            alarms=self._alarm_text,
            quality=quality,
        )

    def write_climate(self, temperature_C: float, humidity_percent: float | None) -> None:
        """Write the set points, start manual operation, and read all back."""
        if self._read_state() == PROGRAM:
            self._tell(_STOP_PROGRAM)
        self._write_variable(_TEMPERATURE, self.temperature_setpoint, temperature_C)
        if self._humidity_output is not None:
            if humidity_percent is not None:
                self._write_variable(_HUMIDITY, self.humidity_setpoint, humidity_percent)
            self._switch(self._humidity_output, humidity_percent is not None)
            if humidity_percent is None:
                self.record(humidity_setpoint=math.nan)
        self._switch(_START, True)
        if (state := self._read_state()) != CONSTANT:
            raise self.refused(f"is in state {state!r}, told {CONSTANT!r}")

    def make_safe(self) -> None:
        """Stop program or manual operation, and see that the chamber rests.

        After a fault of the link it looks how far it came and goes on, once.
        """
        for attempt in range(_SAFE_ATTEMPTS):
            try:
                self._stop()
                return
            except (LinkTimeout, LinkClosed):
                if attempt == _SAFE_ATTEMPTS - 1:
                    raise

    def _stop(self) -> None:
        state = self._read_state()
        if state == PROGRAM:
            self._tell(_STOP_PROGRAM)
        if state != STANDBY:
            self._switch(_START, False)
        self._await(self._read_state, lambda now: now == STANDBY, "state", STANDBY)

    def _read_state(self) -> str:
        state = self._state(self._ask(decode_count, _STATUS))
        self.record(state=state)
        return state

    def _state(self, status: int) -> str:
        if not status & _RUNS:
            return STANDBY
        return PROGRAM if self._ask(decode_count, _PROGRAM_STATUS) else CONSTANT

    def _read_humidity(self) -> tuple[float, float]:
        percent = self._ask(decode_reading, _ACTUAL, _HUMIDITY)
        is_on = self._ask(decode_count, _OUTPUT, self._humidity_output)
        return percent, self._ask(decode_number, _SETPOINT, _HUMIDITY) if is_on else math.nan

    def _read_alarms(self) -> str:
        """Texts of the active alarms; there is one question for each message that the chamber knows."""
        texts = []
        for number in range(1, self._ask(decode_count, _MESSAGES) + 1):
            is_active = self._ask(decode_count, _MESSAGE_ACTIVE, number)
            if is_active and self._ask(decode_count, _MESSAGE_TYPE, number) & _TYPE_ALARM:
                texts.append(self._ask(decode_text, _MESSAGE_TEXT, number))
        return "; ".join(texts) or "without a message"

    def _limits(self, variable: int, low: int, high: int) -> tuple[float, float]:
        return self._ask(decode_number, low, variable), self._ask(decode_number, high, variable)

    def _check_limits(self, variable: int, signal: Setting, margin: float) -> None:
        held = self._limits(variable, _ALARM_LOW, _ALARM_HIGH)
        wanted = self.wanted_alarm_limits(signal, margin, held)
        if wanted != held:
            raise self.refused(
                f"its alarm limits are {held[0]:g} to {held[1]:g} {signal.unit}, wider than the station's: "
                f"set them at the chamber to {wanted[0]:g} to {wanted[1]:g} {signal.unit}"
            )
        signal.narrow(*held)
        signal.narrow(*self._limits(variable, _INPUT_LOW, _INPUT_HIGH))

    def _write_variable(self, variable: int, signal: Setting, value: float) -> None:
        self._tell(_SET_VARIABLE, variable, f"{value:.1f}")
        held = self._await(
            lambda: self._ask(decode_number, _SETPOINT, variable),
            lambda held: abs(held - value) <= _TOLERANCE,
            f"{signal.attr_name} ({signal.unit})",
            f"{value:g}",
        )
        self.record(**{signal.attr_name: held})

    def _switch(self, output: int, on: bool) -> None:
        self._tell(_SET_OUTPUT, output, int(on))
        self._await(
            lambda: self._ask(decode_count, _OUTPUT, output),
            lambda held: held == on,
            f"digital output {output}",
            str(int(on)),
        )

    def _await(self, read: Callable[[], T], arrived: Callable[[T], bool], what: str, told: str) -> T:
        """Read back until it is there: the chamber may acknowledge before it shows what it was told."""
        deadline_s = self.clock.monotonic() + _READ_BACK_WITHIN_S
        while not arrived(held := read()):
            if self.clock.monotonic() > deadline_s:
                raise self.refused(f"{what}: holds {held}, told {told}, after {_READ_BACK_WITHIN_S:g} s")
            self.clock.sleep(_LOOK_S)
        return held

    def _ask(self, decoded: Callable[[bytes], T], number: int, *arguments: object) -> T:
        return self.link.ask(encode(number, *arguments), _REPLY, decoded)

    def _tell(self, number: int, *arguments: object) -> None:
        self.link.order(encode(number, *arguments), _REPLY, _check_done)
