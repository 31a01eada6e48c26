"""Mettler-Toledo terminals and balances with a load cell, MT-SICS levels 0 and 1.

Source: MT-SICS reference manuals (formats of replies, status characters, ES/ET/EL); commands I2, I4, SI, TA,
T, TAC, Z. Lines end with CR LF; 9600 8N1 at delivery. A weight is `S S     100.00 g`: ten characters, right
justified. Mass is converted to force with standard gravity (see `devices.families.load_cell`).

Not verified: the form of a reply while the weighing module reports an error (`S S Error 10b`).
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from devices.families.load_cell import LoadCell, LoadReading, force_kN
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["MtSics", "decode_accepted", "decode_tare", "decode_text", "decode_weight"]

_REPLY_END = line(b"\r\n")
_WEIGHT = re.compile(r" *(-?\d+\.?\d*) +([A-Za-z%]+)")
_ERRORS = {"ES": "it does not know the command", "ET": "it received it damaged", "EL": "it can't do that"}
_STATUS = {
    "I": "it can't do that now (busy, or not stable in time)",
    "L": "a parameter is wrong, or it has no such function",
    "+": "beyond its range, too much",
    "-": "beyond its range, too little",
}


def decode_weight(reply: bytes, tare: bool) -> LoadReading:
    """Decode the reply to SI; beyond the range, or in error, there is no number."""
    status, rest = _parts(reply, "S")
    if status in ("+", "-") and not rest:
        return LoadReading(math.nan, stable=False, tared=tare, quality="saturated")
    if rest.startswith("Error"):
        raise Refusal(f"its weighing module reports {rest}")
    if status not in ("S", "D"):
        raise _said(status, rest)
    return LoadReading(_mass_kN(rest), stable=status == "S", tared=tare, quality="ok")


def decode_tare(reply: bytes) -> bool:
    """Decode the reply to TA: whether a tare is taken off."""
    status, rest = _parts(reply, "TA")
    if status != "A":
        raise _said(status, rest)
    return _mass_kN(rest) != 0.0


def decode_accepted(reply: bytes, command: str) -> str:
    """Decode the reply to an order: A, or S with the weight, if it was carried out."""
    status, rest = _parts(reply, command)
    if status not in ("A", "S"):
        raise _said(status, rest)
    return status


def decode_text(reply: bytes, command: str) -> str:
    """Decode the reply to a question that is answered with one text in quotes."""
    status, rest = _parts(reply, command)
    found = re.fullmatch(r'"([^"]*)"', rest)
    if status == "A" and found:
        return found[1]
    raise _said(status, rest)


def _parts(reply: bytes, command: str) -> tuple[str, str]:
    try:
        text = reply.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None
    if text.rstrip("\r\n") in _ERRORS:
        raise Refusal(_ERRORS[text.rstrip("\r\n")])
    found = re.fullmatch(rf"{command} ([A-Z+\-])(?: (.*))?\r\n", text)
    if not found:
        raise ProtocolError(f"not a reply to {command}")
    return found[1], found[2] or ""


def _mass_kN(text: str) -> float:
    found = _WEIGHT.fullmatch(text)
    if not found:
        raise ProtocolError(f"{text!r} is no weight")
    return force_kN(float(found[1]), found[2])


def _said(status: str, rest: str) -> ProtocolError:
    if status in _STATUS and not rest:
        return Refusal(_STATUS[status])
    return ProtocolError(f"{status!r} with {rest!r} is no answer")


class MtSics(LoadCell):
    """Weighing terminal or balance that speaks MT-SICS."""

    model = "MT-SICS terminal"
    about = About(
        maker="Mettler-Toledo",
        models="weighing terminals and balances with MT-SICS level 1 (IND, XS, MS, ...)",
        protocol="MT-SICS 0 and 1",
        transport="RS-232C 9600 8N1, or TCP where the terminal has it",
        verified=("mettler-toledo-device 1.5.0 reads the simulated terminal",),
        unsupported="targets and tolerances, adjustment; no force limit is held by the terminal",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 8N1")

    def identify(self) -> Identity:
        """Ask for the balance data and the serial number."""
        data = self.link.ask(b"I2\r\n", _REPLY_END, lambda r: decode_text(r, "I2"))
        serial = self.link.ask(b"I4\r\n", _REPLY_END, lambda r: decode_text(r, "I4"))
        return Identity("Mettler-Toledo", data, serial=serial)

    def read_load(self) -> LoadReading:
        """Ask for the tare and for the net weight now, stable or not."""
        tare = self.link.ask(b"TA\r\n", _REPLY_END, decode_tare)
        return self.link.ask(b"SI\r\n", _REPLY_END, lambda r: decode_weight(r, tare))

    def write_zero(self) -> None:
        """Tell it to zero, when stable."""
        self._order("Z")

    def write_tare(self, on: bool) -> None:
        """Tell it to take the load now off, when stable, or nothing."""
        self._order("T" if on else "TAC")

    def _order(self, command: str) -> None:
        self.link.order(f"{command}\r\n".encode(), _REPLY_END, lambda r: decode_accepted(r, command))
