"""A&D weighing indicators AD-4401A and AD-4406A with a load cell, RS-232C, command mode.

Source: AD-4406 and AD-4406A instruction manuals, pages 45 to 47 (data format, commands, addresses, replies I,
? and M), AD-4401A instruction manual, page 53 (commands), AD-4402 instruction manual, page 80 (data format as
printed there). Lines end with CR LF; a function is echoed when it has been carried out; "@NN" before command
and reply is the address.

Not verified, and so not used: the commands that write set points (the force limit must be set at the
indicator by hand), the formats of RS, RB, RF and RT of the AD-4401A, the command set of the AD-4402. Not
verified: the serial framing at delivery (9600 7E1 here; the manuals leave it to a function), and that the
AD-4401A prints the data format of the others.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

from devices.families.load_cell import LoadCell, LoadReading, force_kN
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["AndIndicator", "decode_echo", "decode_load", "encode"]

_REPLY_END = line(b"\r\n")
_DATA = re.compile(r"(ST|US|OL|LO|HD),(GS|NT|TR|G |N |T ),?([+\- ])([ \d.,]{7})([ a-z]{2,3})")
_NUMBER = re.compile(r"\d+\.?\d*")
_SAID = {
    "I": "it can't do that now (busy, unstable or out of range)",
    "?": "it does not know the command",
    "M": "its memory is full",
}


def encode(command: str, unit: int = 0) -> bytes:
    """Command line, with an address (1-99) or without (0)."""
    return f"{_prefix(unit)}{command}\r\n".encode("ascii")


def decode_load(reply: bytes, unit: int = 0) -> LoadReading:
    """Decode a line of data; what is out of range or held is no number."""
    text = _body(reply, unit)
    found = _DATA.fullmatch(text)
    if not found:
        raise ProtocolError("not a line of data")
    header, kind, sign, digits, weight_unit = found.groups()
    tared = kind.strip() in ("NT", "N")
    if kind[0] == "T" or header == "HD":
        return LoadReading(math.nan, stable=False, tared=tared, quality="invalid")
    if header in ("OL", "LO") or not digits.strip(" .,"):
        return LoadReading(math.nan, stable=False, tared=tared, quality="saturated")
    number = digits.replace(",", ".")
    if sign == " " or not _NUMBER.fullmatch(number):
        raise ProtocolError(f"{sign + digits!r} is no number")
    value = force_kN(float(sign + number), weight_unit.strip())
    return LoadReading(value, stable=header == "ST", tared=tared, quality="ok")


def decode_echo(reply: bytes, command: str, unit: int = 0) -> str:
    """Decode the echo of a function that was carried out."""
    text = _body(reply, unit)
    if text != command:
        raise ProtocolError(f"not the echo of {command}")
    return text


def _prefix(unit: int) -> str:
    return f"@{unit:02d}" if unit else ""


def _body(reply: bytes, unit: int) -> str:
    try:
        text = reply.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    if not text.endswith("\r\n") or not text.startswith(_prefix(unit)):
        raise ProtocolError(f"not a line of unit {unit}")
    text = text[len(_prefix(unit)) : -2]
    if text in _SAID:
        raise Refusal(_SAID[text])
    return text


class AndIndicator(LoadCell):
    """A&D indicator, calibrated in kg, g or t.

    Parameters
    ----------
    unit : int
        Address on the line, 1 to 99; 0 if it is set to none.
    """

    model = "A&D AD-4401A or AD-4406A"
    about = About(
        maker="A&D",
        models="AD-4401A, AD-4406A",
        protocol="A&D command mode, with or without addresses",
        transport="RS-232C, 9600 7E1 (framing at delivery not verified)",
        verified=("lines of data and replies that A&D prints",),
        unsupported="writing set points, comparator, batching; AD-4402: its data format is read, its "
        "commands are not known",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=0.5, serial="9600 7E1")

    def __init__(self, *, unit: int = 0, **kwargs: Any) -> None:
        self._unit = unit
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for the load: there is no question of identity, but nothing else answers in this form."""
        self.read_load()
        return Identity("A&D", "AD-4401A or AD-4406A")

    def read_load(self) -> LoadReading:
        """Ask for what is displayed."""
        return self.link.ask(encode("RW", self._unit), _REPLY_END, lambda r: decode_load(r, self._unit))

    def write_zero(self) -> None:
        """Tell it to zero the gross load."""
        self._order("MZ")

    def write_tare(self, on: bool) -> None:
        """Tell it to take the load now off, or nothing."""
        self._order("MT" if on else "CT")

    def _order(self, command: str) -> None:
        self.link.order(
            encode(command, self._unit), _REPLY_END, lambda r: decode_echo(r, command, self._unit)
        )
