"""Keyence GT2 sensor amplifiers behind an RS-232C unit DL-RS1A.

Source: DL-RS1A user's manual, GT2 edition, pages 7 to 14: `MS` (outputs and values of all amplifiers), `SR`
(one datum of one amplifier; number 006 is its error state), error replies `ER,command,number`. Bits of the
error state: DL-EP1 user's manual, page 3-37. Lines end with CR LF; 9600 8N1 at delivery. Values are
`+ddd.dddd` mm.

Not verified: what stands instead of a value when a head is in error or beyond its range. Whatever is no
number, or is the end of the display's range (199.9999 mm), is told as no number; an error state other than 0
makes the reading of its head invalid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import ClassVar, TypeVar

from devices.families.thickness_gauge import HeadReading, ThicknessGauge
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["KeyenceGt2", "decode_datum", "decode_heads", "encode_read", "error_words"]

T = TypeVar("T")

_REPLY_END = line(b"\r\n")
_END_OF_RANGE_MM = 199.9998
_VALUE = re.compile(r"[+-]\d{3}\.\d{4}")
_VALUE_LENGTH = 9
_MOST = 15
_DETECTION_MODE, _ERROR_STATE = 101, 6
_JUDGEMENTS = {"0": "none", "1": "high", "2": "low", "3": "high and low", "4": "go"}
_ERRORS = {
    "00": "invalid command",
    "02": "the unit can't reach the amplifier",
    "20": "wrong length of data",
    "21": "wrong number of parameters",
    "22": "wrong parameter",
    "29": "error of the serial line",
    "65": "no amplifier of this ID",
}
_ERROR_BITS = (
    "overcurrent",
    "head error",
    "EEPROM error",
    "jam check error",
    "self-timing delay error",
    "number of units error",
    "calculation error",
    "calculation mode error",
)


def encode_read(amplifier: int, datum: int) -> bytes:
    """Question for one datum of one amplifier (ID 0 to 14)."""
    return f"SR,{amplifier:02d},{datum:03d}\r\n".encode("ascii")


def decode_datum(reply: bytes, amplifier: int, datum: int) -> str:
    """Decode the reply to `encode_read`."""
    head = f"SR,{amplifier:02d},{datum:03d},"
    text = _text(reply, "SR")
    if not text.startswith(head) or not 1 <= len(text) - len(head) <= 10:
        raise ProtocolError(f"not datum {datum:03d} of amplifier {amplifier:02d}")
    return text[len(head) :]


def decode_heads(reply: bytes) -> list[HeadReading]:
    """Decode the reply to MS, all amplifiers in the order of their ID."""
    fields = _text(reply, "MS").split(",")[1:]
    if not fields or len(fields) % 2 or len(fields) > 2 * _MOST:
        raise ProtocolError(f"{len(fields)} fields, not pairs of output and value")
    return [_head(output, value) for output, value in zip(fields[::2], fields[1::2], strict=True)]


def decode_error_state(reply: bytes, amplifier: int) -> int:
    """Decode the error state of one amplifier: bits, 0 if all is well."""
    text = decode_datum(reply, amplifier, _ERROR_STATE)
    if not re.fullmatch(r"\d{5}", text) or int(text) > 0xFFFF:
        raise ProtocolError(f"{text!r} is no error state")
    return int(text)


def error_words(state: int) -> str:
    """What the bits of an error state mean."""
    known = [word for bit, word in enumerate(_ERROR_BITS) if state >> bit & 1]
    return ", ".join(known + ([f"unknown error {state}"] if state >> len(_ERROR_BITS) else []))


def _head(output: str, value: str) -> HeadReading:
    if output not in _JUDGEMENTS or len(value) != _VALUE_LENGTH or value[0] not in "+-":
        raise ProtocolError(f"{output + ',' + value!r} is no output with a value")
    if not _VALUE.fullmatch(value):
        if any(c.isdigit() for c in value):
            raise ProtocolError(f"{value!r} is no value")
        return HeadReading(math.nan, _JUDGEMENTS[output], "invalid")
    number = float(value)
    if abs(number) >= _END_OF_RANGE_MM:
        return HeadReading(math.nan, _JUDGEMENTS[output], "saturated")
    return HeadReading(number, _JUDGEMENTS[output], "ok")


def _text(reply: bytes, command: str) -> str:
    try:
        text = reply.decode("ascii").removesuffix("\r\n")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    refused = re.fullmatch(rf"ER,{command},(\d\d)", text)
    if refused:
        raise Refusal(f"error {refused[1]} ({_ERRORS.get(refused[1], 'unknown')})")
    if not text.startswith(f"{command},"):
        raise ProtocolError(f"not a reply to {command}")
    return text


class KeyenceGt2(ThicknessGauge):
    """GT2 amplifiers, the main unit (ID 00) being head 0."""

    model = "Keyence GT2 with DL-RS1A"
    about = About(
        maker="Keyence",
        models="GT2-70, GT2-500 amplifiers with DL-RS1A",
        protocol="DL-RS1A commands MS, SR",
        transport="RS-232C, 9600 8N1",
        verified=("frames that Keyence prints in the DL-RS1A manual",),
        unsupported="writing settings, presets, banks, calculation, DRQ input; what an amplifier sends "
        "instead of a value beyond its range is not verified",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 8N1")

    def identify(self) -> Identity:
        """Ask the main unit for its detection mode, and count the amplifiers.

        Raises
        ------
        WrongInstrument
            If there are fewer amplifiers than heads.
        """
        self._ask(
            encode_read(0, _DETECTION_MODE),
            lambda r: decode_datum(r, 0, _DETECTION_MODE),
        )
        found = len(self._ask(b"MS\r\n", decode_heads))
        if found < self.heads:
            raise self.wrong(f"{found} amplifier{'s' if found > 1 else ''} for {self.heads} heads")
        return Identity("Keyence", f"GT2 with DL-RS1A, {found} amplifier{'s' if found > 1 else ''}")

    def read_heads(self) -> list[HeadReading]:
        """Ask for all outputs and values, and, if one is no number, for the error state of that head.

        Raises
        ------
        InstrumentError
            If a head reports an error.
        """
        readings = self._ask(b"MS\r\n", decode_heads)
        if len(readings) < self.heads:
            raise self.refused(f"has only {len(readings)} of {self.heads} amplifiers left")
        for number, reading in enumerate(readings[: self.heads]):
            if reading.quality != "ok":
                self._look_for_error(number)
        return readings

    def _look_for_error(self, number: int) -> None:
        state = self._ask(
            encode_read(number, _ERROR_STATE),
            lambda r: decode_error_state(r, number),
        )
        if state:
            raise self.refused(f"head {number} reports {error_words(state)}")

    def _ask(self, command: bytes, decode: Callable[[bytes], T]) -> T:
        return self.link.ask(command, _REPLY_END, decode)
