"""Pfeiffer TPG 361 and TPG 362 gauge controllers, mnemonics protocol on TCP port 8000, USB or RS-485.

Source: Pfeiffer BG 5510 BEN (communication protocol TPG 361, TPG 362) and BG 5195 BEN (TPG 26x, whose
mnemonics are the same where used here). A question is a mnemonic and CR; the controller answers ACK or NAK
with CR LF; ENQ then fetches the data, or the error word after NAK. From power-up until the first character
it sends a measurement each second.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

from devices.families.vacuum_gauge import OVER_RANGE, VacuumGauge
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal, line

__all__ = [
    "PfeifferTpg",
    "decode_identity",
    "decode_measurement",
    "decode_unit",
    "encode_question",
]

_ETX = b"\x03"
_ENQ = b"\x05"
_REPLY = line(b"\r\n")
_ANSWER = re.compile(rb"([\x06\x15])\r\n([\x20-\x7e]*)\r\n")
_NAK = b"\x15"
_MEASUREMENT = re.compile(r"([0-6]),([+-]?\d\.\d{1,4}E[+-]?\d{1,2})")
_STATES = ("", "under-range", OVER_RANGE, "sensor error", "sensor off", "no sensor", "identification error")
_QUALITIES = ("ok", "saturated", "saturated", "invalid", "invalid", "invalid", "invalid")
_PA_PER_TORR = 133.3224
_UNITS_Pa = {"0": 100.0, "1": _PA_PER_TORR, "2": 1.0, "3": _PA_PER_TORR / 1000, "4": 100.0}
_VOLT = "5"
_ERRORS = ("controller error", "no hardware", "inadmissible parameter", "syntax error")
_CHANNELS = {"TPG361": 1, "TPG362": 2}


def encode_question(mnemonic: str) -> bytes:
    """Message that asks for what a mnemonic stands for."""
    return mnemonic.encode("ascii") + b"\r"


def decode_measurement(reply: bytes) -> tuple[int, float]:
    """Decode the answer to PRn: status (0 ok, 1 under-range, 2 over-range, 3-6 no reading) and value."""
    match = _MEASUREMENT.fullmatch(_answer(reply))
    if match is None:
        raise ProtocolError("not a status and a value")
    return int(match[1]), float(match[2])


def decode_unit(reply: bytes) -> float:
    """Decode the answer to UNI: the controller's unit, in Pa."""
    code = _answer(reply)
    if code == _VOLT:
        raise Refusal("shows the gauge's voltage: set a pressure unit at the controller")
    if code not in _UNITS_Pa:
        raise ProtocolError("not a unit of pressure")
    return _UNITS_Pa[code]


def decode_identity(reply: bytes) -> tuple[str, str, str, str, str]:
    """Decode the answer to AYT: type, order number, serial number, firmware and hardware version."""
    fields = [field.strip() for field in _answer(reply).split(",")]
    if len(fields) != 5 or not all(fields):
        raise ProtocolError("not five fields of an identity")
    return fields[0], fields[1], fields[2], fields[3], fields[4]


def _answer(reply: bytes) -> str:
    """Data of an acknowledged message; after NAK they are the error word."""
    match = _ANSWER.fullmatch(reply)
    if match is None:
        raise ProtocolError("not an acknowledgement and a line of data")
    data = match[2].decode("ascii").strip()
    if match[1] == _NAK:
        raise _refusal(data)
    return data


def _refusal(word: str) -> ProtocolError:
    if not re.fullmatch(r"[01]{4}", word):
        return ProtocolError("not an error word")
    errors = [text for digit, text in zip(word, _ERRORS, strict=True) if digit == "1"]
    return Refusal(f"refused: {', '.join(errors) or 'no reason given'}")


class PfeifferTpg(VacuumGauge):
    """One gauge of a TPG 361 or TPG 362, in whatever unit of pressure the controller shows.

    Parameters
    ----------
    channel : int
        Gauge connector, 1 or 2 (TPG 361: 1).
    """

    model = "Pfeiffer TPG 361/362"
    about = About(
        maker="Pfeiffer Vacuum",
        models="TPG 361, TPG 362",
        protocol="Pfeiffer mnemonics",
        transport="TCP 8000; USB or RS-485, 9600 8N1",
        verified=("manuals BG 5510 BEN and BG 5195 BEN", "identity captured from a TPG 362"),
        unsupported="switching gauges on and off, set points, degassing; the Pfeiffer Vacuum protocol",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 8N1", wake=_ETX)

    def __init__(self, *, channel: int = 1, **kwargs: Any) -> None:
        if channel not in (1, 2):
            raise ValueError(f"channel must be 1 or 2, not {channel!r}")
        self._channel = channel
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask who it is, and check that it has the gauge's connector."""
        kind, _, serial, firmware, _ = self.link.ask(
            encode_question("AYT"), _REPLY, decode_identity, enquiry=_ENQ
        )
        if kind not in _CHANNELS:
            raise self.wrong(kind)
        if self._channel > _CHANNELS[kind]:
            raise self.wrong(f"{kind}, which has no channel {self._channel}")
        return Identity("Pfeiffer Vacuum", f"TPG {kind[3:]}", serial=serial, firmware=firmware)

    def poll(self) -> None:
        """Read unit and pressure; the unit each time, because anybody can change it at the controller.

        Raises
        ------
        InstrumentError
            If there is no reading: sensor error, off, absent or not identified.
        """
        unit_Pa = self.link.ask(encode_question("UNI"), _REPLY, decode_unit, enquiry=_ENQ)
        status, value = self.link.ask(
            encode_question(f"PR{self._channel}"), _REPLY, decode_measurement, enquiry=_ENQ
        )
        has_reading = _QUALITIES[status] != "invalid"
        self.record(
            pressure=value * unit_Pa if has_reading else math.nan,
            state=_STATES[status],
            quality=_QUALITIES[status],
        )
        if not has_reading:
            raise self.refused(f"reports {_STATES[status]} of gauge {self._channel}")
