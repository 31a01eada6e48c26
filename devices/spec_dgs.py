"""SPEC Sensors DGS and DGS2 digital gas sensors, UART, 9600 baud 8N1.

Source: the maker's Arduino library SPEC-Sensors/DGS (a carriage return asks for a reading; lines end with
CR LF; fields are parted by a comma and a space) and public code for DGS2 (seven fields, temperature and
humidity in hundredths). That `c` starts and stops a line a second: AirGradient's DGSx component. The range of
each field: header comments of Electronza's sketches for firmware 15SEP17.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.families.gas_sensor import GasSensor
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, line

__all__ = ["Reading", "SpecDgs", "decode_reading"]

_ASK = b"\r"
_TOGGLE_STREAM = b"c"
_REPLY = line(b"\r\n")
_STREAM_PERIOD_S = 1.0
_LISTEN_STEP_S = 0.1
_MODELS = {11: "DGS", 7: "DGS2"}
_SERIAL = re.compile(r"\d{8,12}")
_INTEGER = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True)
class Reading:
    """One line of the sensor.

    Attributes
    ----------
    model : str
        "DGS" or "DGS2".
    serial : str
        Eight to twelve digits.
    concentration_ppb, temperature_C, relative_humidity_percent : float
        Whole numbers for a DGS; a DGS2 has hundredths of temperature and humidity.
    uptime_s : float
        Time since power came on; NaN for a DGS2, which does not tell.
    """

    model: str
    serial: str
    concentration_ppb: float
    temperature_C: float
    relative_humidity_percent: float
    uptime_s: float


def decode_reading(reply: bytes) -> Reading:
    """Decode a line; the number of its fields tells which sensor sent it."""
    fields = _fields(reply)
    model = _MODELS.get(len(fields))
    if model is None:
        raise ProtocolError(f"{len(fields)} fields: neither a DGS (11) nor a DGS2 (7)")
    if not _SERIAL.fullmatch(fields[0]):
        raise ProtocolError(f"{fields[0]!r} is no serial number")
    numbers = [_integer(field) for field in fields[1:]]
    scale = 1.0 if model == "DGS" else 100.0
    temperature_C, humidity_percent = numbers[1] / scale, numbers[2] / scale
    if not (-99 <= temperature_C <= 99 and 0 <= humidity_percent <= 100):
        raise ProtocolError(f"{temperature_C:g} degC and {humidity_percent:g} % can't be")
    uptime_s = _uptime_s(*numbers[6:]) if model == "DGS" else math.nan
    return Reading(model, fields[0], numbers[0], temperature_C, humidity_percent, uptime_s)


def _fields(reply: bytes) -> list[str]:
    try:
        text = reply.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    return [field.removeprefix(" ") for field in text.removesuffix("\r\n").split(",")]


def _integer(field: str) -> int:
    if not _INTEGER.fullmatch(field):
        raise ProtocolError(f"{field!r} is no whole number")
    return int(field)


def _uptime_s(days: int, hours: int, minutes: int, seconds: int) -> float:
    if days < 0 or not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60):
        raise ProtocolError(f"{days} d {hours} h {minutes} min {seconds} s is no time")
    return 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds


class SpecDgs(GasSensor):
    """SPEC DGS or DGS2 for one gas.

    Parameters
    ----------
    range_ppb : float
        Where the sensor's range ends: 10 ppm for hydrogen sulphide (DGS-H2S 968-036).
    warm_up_s : float
        How long after power-up the readings drift; until then their quality is "invalid". A DGS tells how
        long it has had power; for a DGS2 the time counts from the first contact.
    """

    model = "SPEC DGS or DGS2"
    about = About(
        maker="SPEC Sensors",
        models="DGS and DGS2, one gas each",
        protocol="SPEC UART, lines of text",
        transport="UART or USB, 9600 8N1",
        verified=("the maker's Arduino library", "public code for DGS2 and for the stream"),
        unsupported="zeroing and other settings; DGS2 is known from public code alone",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=3.0, serial="9600 8N1")

    #: 15 % of reading, for a sensor zeroed after 60 min of power (SPEC data sheet DGS-IAQ 968-040, March
    #: 2017; taken to hold for the whole DGS series).
    relative_accuracy = 0.15

    def __init__(self, *, range_ppb: float = 10_000.0, warm_up_s: float = 3600.0, **kwargs: Any) -> None:
        self.range_ppb = range_ppb
        self._warm_up_s = warm_up_s
        self._first_contact_s = math.nan
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """End a stream that somebody left running and ask for a reading; it has the serial number in it.

        Raises
        ------
        WrongInstrument
            If another sensor than before is there.
        """
        self._end_stream()
        reading = self.link.ask(_ASK, _REPLY, decode_reading)
        identity = Identity("SPEC Sensors", reading.model, serial=reading.serial)
        if self.identity not in (None, identity):
            raise self.wrong(f"{identity}, it was {self.identity}")
        if math.isnan(self._first_contact_s):
            self._first_contact_s = self.clock.monotonic()
        return identity

    def poll(self) -> None:
        """Have the sensor measure."""
        reading = self.link.ask(_ASK, _REPLY, self._decode_own)
        self.record(
            concentration=reading.concentration_ppb,
            temperature=reading.temperature_C,
            relative_humidity=reading.relative_humidity_percent,
            quality=self._quality(reading),
        )

    def _decode_own(self, reply: bytes) -> Reading:
        reading = decode_reading(reply)
        if self.identity is not None and reading.serial != self.identity.serial:
            raise ProtocolError(f"serial number {reading.serial}, not {self.identity.serial}")
        return reading

    def _quality(self, reading: Reading) -> str:
        known_s = self.clock.monotonic() - self._first_contact_s
        uptime_s = known_s if math.isnan(reading.uptime_s) else reading.uptime_s
        if uptime_s < self._warm_up_s:
            return "invalid"
        return "saturated" if reading.concentration_ppb >= self.range_ppb else "ok"

    def _end_stream(self) -> None:
        """Make the sensor silent: the lines of a stream look like replies but are older than the question."""
        if not self._talks(1.5 * _STREAM_PERIOD_S):
            return
        self.link.send(_TOGGLE_STREAM)
        self._talks(_STREAM_PERIOD_S)  # a line that was on its way, or the reading that some firmware answers
        if self._talks(1.5 * _STREAM_PERIOD_S):
            raise self.refused("sends readings by itself and does not stop")

    def _talks(self, listen_s: float) -> bool:
        end_s = self.clock.monotonic() + listen_s
        while self.clock.monotonic() < end_s:
            self.clock.sleep(_LISTEN_STEP_S)
            if self.link.receive_waiting(_REPLY):
                return True
        return False
