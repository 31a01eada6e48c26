"""ESPEC chambers with a P-300, SCP-220 or PR-3J class controller, ASCII protocol.

Source: commands, replies and error words as in ESPEC North America's ChamberConnectLibrary 2.2.5 and in the
public clients espec-pr3j 0.5.0 (waits of 0.2 s after a monitor and 0.5 s after a setting command, TCP port
57732) and ATWG (`T,T,S2,160.0` captured from an SH-641); ESPEC's EHS communication manual prints the reply
to `MON?`, the address of RS-485, and the forms `OK : address, setting command` and `NA : error message`.
Lines end with CR LF. Temperature has one decimal, humidity none.

The set point must lie between the chamber's high and low alarm limits, which are absolute; both are sent
together. No command acknowledges an alarm: that is done at the chamber. What the numbers of alarms mean is in
the manual of each chamber and was not at hand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from devices.families.climate_chamber import CONSTANT, OFF, PROGRAM, STANDBY, ClimateChamber
from devices.instrument import About, Identity
from ssblab.links import InstrumentError, LinkClosed, LinkSettings, LinkTimeout, ProtocolError, Refusal, line

__all__ = [
    "Espec",
    "Loop",
    "Monitor",
    "check_acknowledgement",
    "decode_alarms",
    "decode_humidity",
    "decode_mode",
    "decode_monitor",
    "decode_temperature",
    "decode_type",
    "encode_loop",
]

T = TypeVar("T")

_REPLY = line(b"\r\n")
_MODES = {"OFF": OFF, "STANDBY": STANDBY, "CONSTANT": CONSTANT, "RUN": PROGRAM}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_COUNT = re.compile(r"\d+")
_MONITOR_PAUSE_S, _SETTING_PAUSE_S = 0.2, 0.5
_TEMPERATURE_STEP_K, _HUMIDITY_STEP_percent = 0.1, 1.0
_SAFE_ATTEMPTS = 2


@dataclass(frozen=True)
class Loop:
    """Temperature (degC) or relative humidity (%): value, set point (NaN while off), alarm limits."""

    value: float
    setpoint: float
    high: float
    low: float


@dataclass(frozen=True)
class Monitor:
    """Reply to `MON?`; humidity (%) is NaN where the chamber has none."""

    temperature_C: float
    humidity_percent: float
    mode: str
    alarms: int


def encode_loop(name: str, decimals: int, **values: float) -> str:
    """Command that sets set point S, high limit H and low limit L, as many as are given, all at once."""
    return f"{name}, {' '.join(f'{letter}{value:.{decimals}f}' for letter, value in values.items())}"


def decode_temperature(reply: bytes) -> Loop:
    """Decode the reply to `TEMP?`."""
    return Loop(*map(_number, _fields(reply, 4)))


def decode_humidity(reply: bytes) -> Loop:
    """Decode the reply to `HUMI?`; its set point is OFF while humidity is not controlled."""
    value, setpoint, high, low = _fields(reply, 4)
    held = math.nan if setpoint == "OFF" else _number(setpoint)
    return Loop(_number(value), held, _number(high), _number(low))


def decode_monitor(reply: bytes) -> Monitor:
    """Decode the reply to `MON?`."""
    temperature, humidity, mode, alarms = _fields(reply, 4)
    percent = _number(humidity) if humidity else math.nan
    return Monitor(_number(temperature), percent, _mode(mode), _count(alarms))


def decode_mode(reply: bytes) -> str:
    """Decode the reply to `MODE?` to the family's word."""
    return _mode(_fields(reply, 1)[0])


def decode_alarms(reply: bytes) -> tuple[int, ...]:
    """Decode the reply to `ALARM?`: how many, then the number of each."""
    count, *numbers = map(_count, _fields(reply))
    if count != len(numbers):
        raise ProtocolError(f"{len(numbers)} alarms where {count} are announced")
    return tuple(numbers)


def decode_type(reply: bytes) -> tuple[bool, str, float]:
    """Decode the reply to `TYPE?`: whether it has humidity, controller, highest temperature (degC)."""
    words = _fields(reply)
    if len(words) not in (3, 4) or not all(words):
        raise ProtocolError(f"{len(words)} fields, not 3 or 4")
    return len(words) == 4, words[-2], _number(words[-1])


def check_acknowledgement(reply: bytes, command: str) -> None:
    """Check that a setting command comes back after OK."""
    text = _text(reply)
    acknowledged = re.fullmatch(r"OK ?: ?(.*)", text)
    if not acknowledged or acknowledged[1] != command:
        raise ProtocolError(f"not an acknowledgement of {command!r}")


def _text(reply: bytes) -> str:
    try:
        text = reply.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    if not text.endswith("\r\n") or not text[:-2].isprintable():
        raise ProtocolError("not a line of text")
    if refused := re.match(r"NA ?: ?", text):
        raise Refusal(f"refused: {text[refused.end() : -2]}")
    return text[:-2]


def _fields(reply: bytes, count: int | None = None) -> list[str]:
    words = _text(reply).split(",")
    if count is not None and len(words) != count:
        raise ProtocolError(f"{len(words)} fields, not {count}")
    return words


def _number(word: str) -> float:
    if not _NUMBER.fullmatch(word):
        raise ProtocolError(f"{word!r} is no number")
    return float(word)


def _count(word: str) -> int:
    if not _COUNT.fullmatch(word):
        raise ProtocolError(f"{word!r} is no count")
    return int(word)


def _mode(word: str) -> str:
    if word not in _MODES:
        raise ProtocolError(f"{word!r} is no mode")
    return _MODES[word]


class Espec(ClimateChamber):
    """ESPEC chamber on TCP or a serial line.

    Parameters
    ----------
    unit : int or None
        RS-485 address, 1-16; None over TCP and RS-232.
    """

    model = "ESPEC P-300, SCP-220, PR-3J"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=3.0, serial="9600 8N1")
    about = About(
        maker="ESPEC",
        models="P-300, SCP-220, PR-3J (SH, SU, PR, PL series)",
        protocol="ESPEC ASCII",
        transport="TCP 57732; RS-232 or RS-485, 9600 8N1",
        verified=(
            "reply to MON? as ESPEC's EHS manual prints it",
            "TYPE? captured from an SH-641",
            "espec-pr3j 0.5.0 works on the simulated chamber; by hand also ATWG 0.1.5, dopes 2025.1.0 and "
            "ChamberConnectLibrary 2.2.5 (ported to Python 3)",
        ),
        unsupported="Programs, timers and product temperature control; meaning of the alarm numbers. "
        "Alarms are acknowledged at the chamber.",
    )

    def __init__(self, *, unit: int | None = None, **kwargs: Any) -> None:
        self._address = "" if unit is None else f"{unit},"
        self._controls_humidity = False
        self._free_at_s = -math.inf
        self._alarm_limits_C = (-math.inf, math.inf)
        super().__init__(**kwargs)

    @property
    def controls_humidity(self) -> bool:
        """Whether the chamber has a wet-bulb sensor."""
        return self._controls_humidity

    def identify(self) -> Identity:
        """Ask for sensors and controller, and for the version of its ROM."""
        try:
            words = self._ask("TYPE?", _fields)
        except InstrumentError as error:
            if "CMD ERR" in error.problem:
                raise self.wrong("an ESPEC controller that does not know TYPE?") from error
            raise
        try:
            self._controls_humidity, controller, highest_C = decode_type(",".join(words).encode() + b"\r\n")
        except ProtocolError as error:
            raise self.wrong(f"an instrument that answers {','.join(words)!r} to TYPE?") from error
        rom = self._ask("ROM?", _text)
        return Identity("ESPEC", f"{controller} up to {highest_C:g} degC", firmware=rom)

    def upload_limits(self) -> None:
        """Bring the chamber's alarm limits to a margin outside the station's limits, and read them back.

        Alarm limits that are narrower in the chamber stay as they are, and narrow the set points.

        Raises
        ------
        InstrumentError
            If the chamber does not hold them.
        """
        held = self._bring_limits("TEMP", 1, decode_temperature)
        self._alarm_limits_C = (held.low, held.high)
        if self.controls_humidity:
            self._bring_limits("HUMI", 0, decode_humidity)

    def read_chamber(self) -> None:
        """Read temperature, humidity, set points, mode and alarms."""
        monitor = self._ask("MON?", decode_monitor)
        temperature = self._ask("TEMP?", decode_temperature)
        humidity = self._ask("HUMI?", decode_humidity) if self.controls_humidity else None
        alarms = self._ask("ALARM?", decode_alarms) if monitor.alarms else ()
        self.record(
            temperature=temperature.value,
            temperature_setpoint=temperature.setpoint,
            relative_humidity=humidity.value if humidity else math.nan,
            humidity_setpoint=humidity.setpoint if humidity else math.nan,
            state=monitor.mode,
            alarms=" ".join(map(str, alarms)),
            quality="invalid" if alarms else "ok",
        )

    def write_climate(self, temperature_C: float, humidity_percent: float | None) -> None:
        """Write the set points, go to constant mode, and read all back."""
        self._tell(encode_loop("TEMP", 1, S=temperature_C))
        temperature = self._ask("TEMP?", decode_temperature)
        if (temperature.low, temperature.high) != self._alarm_limits_C:
            raise self.refused(
                f"its alarm limits are {temperature.low:g} to {temperature.high:g} degC now, not "
                f"{self._alarm_limits_C[0]:g} to {self._alarm_limits_C[1]:g}: connect it anew"
            )
        if self.controls_humidity:
            self._write_humidity(humidity_percent)
        if self._ask("MODE?", decode_mode) != CONSTANT:
            self._tell("MODE,CONSTANT")
        # In a program the set points shown are the program's, so they count only now.
        mode = self._ask("MODE?", decode_mode)
        temperature = self._ask("TEMP?", decode_temperature)
        self.record(state=mode, temperature_setpoint=temperature.setpoint)
        if mode != CONSTANT:
            raise self.refused(f"is in mode {mode!r}, told {CONSTANT!r}")
        self._check("set point", temperature.setpoint, temperature_C, _TEMPERATURE_STEP_K, "degC")
        if self.controls_humidity:
            held_percent = self._ask("HUMI?", decode_humidity).setpoint
            self.record(humidity_setpoint=held_percent)
            if humidity_percent is not None or not math.isnan(held_percent):
                told_percent = math.nan if humidity_percent is None else humidity_percent
                self._check("humidity", held_percent, told_percent, _HUMIDITY_STEP_percent, "%")

    def make_safe(self) -> None:
        """Stop the chamber's machinery (standby), and see that it has stopped.

        A chamber that is in standby or off is left so. After a fault of the link it looks how far it came and
        goes on, once.
        """
        for attempt in range(_SAFE_ATTEMPTS):
            try:
                self._stop()
                return
            except (LinkTimeout, LinkClosed):
                if attempt == _SAFE_ATTEMPTS - 1:
                    raise

    def _stop(self) -> None:
        mode = self._ask("MODE?", decode_mode)
        if mode not in (OFF, STANDBY):
            self._tell("MODE,STANDBY")
            mode = self._ask("MODE?", decode_mode)
        self.record(state=mode)
        if mode not in (OFF, STANDBY):
            raise self.refused(f"is in mode {mode!r}, told {STANDBY!r}")

    def _write_humidity(self, percent: float | None) -> None:
        self._tell("HUMI, SOFF" if percent is None else encode_loop("HUMI", 0, S=percent))

    def _bring_limits(self, name: str, decimals: int, decode: Callable[[bytes], Loop]) -> Loop:
        """Bring the alarm limits of a loop to where they shall be; the set point must stay inside."""
        is_temperature = name == "TEMP"
        signal = self.temperature_setpoint if is_temperature else self.humidity_setpoint
        margin = self.alarm_margin_K if is_temperature else self.alarm_margin_percent
        held = self._ask(f"{name}?", decode)
        low, high = (
            round(limit, decimals)
            for limit in self.wanted_alarm_limits(signal, margin, (held.low, held.high))
        )
        if (low, high) != (held.low, held.high):
            values = {"H": high, "L": low}
            if not low <= held.setpoint <= high and not math.isnan(held.setpoint):
                values = {"S": min(max(held.setpoint, low), high), **values}
            self._tell(encode_loop(name, decimals, **values))
            held = self._ask(f"{name}?", decode)
        if (low, high) != (held.low, held.high):
            raise self.refused(
                f"{name} alarm limits: holds {held.low:g} to {held.high:g}, told {low:g} to {high:g}"
            )
        signal.narrow(held.low, held.high)
        return held

    def _check(self, what: str, held: float, told: float, step: float, unit: str) -> None:
        if not abs(held - told) <= step / 2 + 1e-9:
            raise self.refused(f"{what}: holds {held:g} {unit}, told {told:g} {unit}")

    def _ask(self, command: str, decode: Callable[[bytes], T]) -> T:
        self._wait(_MONITOR_PAUSE_S)
        return self.link.ask(f"{self._address}{command}\r\n".encode(), _REPLY, decode)

    def _tell(self, command: str) -> None:
        sent = f"{self._address}{command}"
        self._wait(_SETTING_PAUSE_S)
        self.link.order(f"{sent}\r\n".encode(), _REPLY, lambda reply: check_acknowledgement(reply, sent))

    def _wait(self, pause_s: float) -> None:
        """Wait until the chamber is ready for a command that takes it `pause_s`."""
        wait_s = self._free_at_s - self.clock.monotonic()
        if wait_s > 0.0:
            self.clock.sleep(wait_s)
        self._free_at_s = self.clock.monotonic() + pause_s
