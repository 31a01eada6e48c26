"""MKS series-900 vacuum transducers 925, 972B and 974B, RS-232 or RS-485.

Source: operation manuals of the series, whose protocol is one: 902B 100017633 rev. B, p. 12-13 (syntax,
addresses, NAK), p. 46 (queries); 910 DualTrans, p. 24 (status letters), p. 46 (queries, forms of numbers);
971 UniMag, p. 26. Status letters of the 974B and its words for the units: driver `mks974b` of pymeasure
0.16. Texts of the NAK codes: public driver of a 972B (uw-loci/972b).

A question is "@253PR4?;FF", its answer "@253ACK1.234E-5;FF" or "@253NAK160;FF". Ends of the ranges are those
of the data sheets. Not verified: which number a transducer shows beyond its range; a reading at the end of
the range counts as beyond it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from devices.families.vacuum_gauge import OVER_RANGE, VacuumGauge
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = ["Mks900", "decode_answer", "decode_pressure", "decode_status", "decode_unit", "encode_question"]

T = TypeVar("T")

_REPLY = line(b";FF")
_ANSWER = re.compile(rb"@(\d{3})(ACK|NAK)([\x20-\x3a\x3c-\x7e]*);FF")
_NUMBER = re.compile(r"\d\.\d{1,3}E[+-]?\d{1,2}")
_PA_PER_TORR = 101_325.0 / 760.0
_UNITS_Pa = {"TORR": _PA_PER_TORR, "MBAR": 100.0, "PASCAL": 1.0}
_RANGES_Torr = {"925": (1e-5, 760.0), "972B": (1e-8, 760.0), "974B": (1e-8, 1500.0)}
_STATES = {
    "O": "",
    "G": "",  # its cold cathode is on
    "R": "pressure dose exceeded",
    "M": "MicroPirani failure",
    "C": "cold cathode failure",
    "Z": "piezo failure",
}
_SOUND = {"O", "G", "R"}
_NAKS = {
    "8": "zero adjustment at too high a pressure",
    "9": "atmospheric adjustment at too low a pressure",
    "160": "message not recognised",
    "169": "invalid argument",
    "172": "value out of range",
    "175": "neither question nor command",
    "180": "locked",
    "195": "control set point is enabled",
}


def encode_question(address: int, what: str) -> bytes:
    """Ask the transducer at an address, such as encode_question(253, "PR4")."""
    return f"@{address:03d}{what}?;FF".encode("ascii")


def decode_answer(reply: bytes, address: int) -> str:
    """Decode an answer of the transducer at an address."""
    match = _ANSWER.fullmatch(reply)
    if match is None:
        raise ProtocolError("not an answer of a series-900 transducer")
    if int(match[1]) != address:
        raise ProtocolError(f"an answer of address {int(match[1])}, not {address}")
    text = match[3].decode("ascii")
    if match[2] == b"NAK":
        raise Refusal(f"refused: {_NAKS.get(text, 'reason unknown')} (NAK{text})")
    return text


def decode_pressure(text: str) -> float:
    """Number of a pressure, such as "1.234E-5"."""
    if not _NUMBER.fullmatch(text):
        raise ProtocolError(f"{text!r} is no pressure")
    return float(text)


def decode_status(text: str) -> str:
    """Letter of the transducer's status."""
    if not re.fullmatch("[A-Z]", text):
        raise ProtocolError(f"{text!r} is no status")
    return text


def decode_unit(text: str) -> float:
    """Unit of pressure, in Pa."""
    if text not in _UNITS_Pa:
        raise ProtocolError(f"{text!r} is no unit of pressure")
    return _UNITS_Pa[text]


class Mks900(VacuumGauge):
    """MKS 925 MicroPirani, 972B DualMag or 974B QuadMag, in whatever unit it shows.

    Parameters
    ----------
    unit_address : int
        Its address on the line, 1-253.
    """

    model = "MKS 925, 972B or 974B"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 8N1")
    about = About(
        maker="MKS Instruments",
        models="925, 972B, 974B",
        protocol="series-900 text (@253PR4?;FF)",
        transport="RS-232 or RS-485, 9600 8N1",
        verified=(
            "answers printed in the manuals of 902B, 910 and 971",
            "pymeasure 0.16 mks974b against the simulated instrument",
        ),
        unsupported="set-point relays, adjustments, separate sensors; what it shows beyond its range is not "
        "verified: a reading at the end of the range is told as saturated",
    )

    def __init__(self, *, unit_address: int = 253, **kwargs: Any) -> None:
        if not 1 <= unit_address <= 253:
            raise ValueError(f"unit_address must be 1 to 253, not {unit_address!r}")
        self._address = unit_address
        self._range_Torr = (math.nan, math.nan)
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for maker, model, serial number and firmware."""
        maker, model = self._ask("MF", str), self._ask("MD", str)
        if maker != "MKS" or model not in _RANGES_Torr:
            raise self.wrong(f"{maker} {model}")
        self._range_Torr = _RANGES_Torr[model]
        return Identity(maker, model, serial=self._ask("SN", str), firmware=self._ask("FV", str))

    def poll(self) -> None:
        """Read status, unit and pressure; the unit each time, because anybody can change it.

        Raises
        ------
        InstrumentError
            If the transducer reports that a sensor has failed.
        """
        letter = self._ask("T", decode_status)
        unit_Pa = self._ask("U", decode_unit)
        pressure_Pa = self._ask("PR4", decode_pressure) * unit_Pa
        problem = _STATES.get(letter, f"status {letter}")
        if letter not in _SOUND:
            self.record(pressure=math.nan, state=problem, quality="invalid")
            raise self.refused(f"reports {problem}")
        beyond = self._beyond(pressure_Pa / _PA_PER_TORR)
        self.record(
            pressure=pressure_Pa,
            state=", ".join(filter(None, [problem, beyond])),
            quality="saturated" if beyond else "ok",
        )

    def _beyond(self, pressure_Torr: float) -> str:
        """Which end of its range a reading is at; the numbers have four digits."""
        low_Torr, high_Torr = self._range_Torr
        if pressure_Torr <= low_Torr * 1.001:
            return "under-range"
        return OVER_RANGE if pressure_Torr >= high_Torr * 0.999 else ""

    def _ask(self, what: str, decode: Callable[[str], T]) -> T:
        """Ask; the answer does not say to which question, but each has a form of its own."""
        return self.link.ask(
            encode_question(self._address, what),
            _REPLY,
            lambda reply: decode(decode_answer(reply, self._address)),
        )
