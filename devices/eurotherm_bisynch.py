"""Eurotherm 2000-series temperature controllers, EI-Bisynch, 9600 baud 7E1.

Source: two public stream protocols for the 2000 series (NSLS-II and ISIS `eurotherm2k`): frames, block check,
the error codes behind EE, the mnemonics PV (temperature), SP (working set point), OP (output), RR (set-point
rate), mA (0 automatic, 1 manual); SL (target set point), HS and LS (its limits) from clients of the 2408 and
of the 3504. The bits of the summary output status word (Modbus address 75) are those of two public clients.

Not verified: that the status word's mnemonic is SO, in hexadecimal. A controller that does not know it
answers with EOT and is refused when it is connected, because a broken sensor could not be told then. The unit
of RR can only be read in configuration mode: it must be the minute, and the display must be in degrees
Celsius.

An instrument tells one parameter in an exchange. Set points lie in memory that wears out, so they are written
only where they differ.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any, ClassVar

from devices.families.furnace import Furnace
from devices.instrument import About, Identity, quality_of
from ssblab.links import InstrumentError, LinkSettings, ProtocolError, Refusal

__all__ = [
    "BisynchStatus",
    "EurothermBisynch",
    "check_acknowledged",
    "decode_number",
    "decode_status",
    "decode_word",
    "encode_poll",
    "encode_selection",
    "frame_reply",
]

_STX, _ETX, _EOT, _ENQ, _ACK, _NAK = b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x15"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_WORD = re.compile(r">([0-9A-Fa-f]{1,4})")
_LONGEST_REPLY = 64

_TEMPERATURE, _WORKING_SETPOINT, _TARGET, _OUTPUT, _RATE = "PV", "SP", "SL", "OP", "RR"
_HIGH_LIMIT, _LOW_LIMIT = "HS", "LS"
_MODE, _AUTOMATIC, _MANUAL = "mA", 0, 1
_STATUS = "SO"
_ERROR = "EE"

_ERRORS = {
    1: "unknown parameter",
    2: "the parameter is read only",
    7: "not a message",
    8: "the value is outside the limits",
}
_MANUAL_BIT = 4
_FAULT_BITS = {
    0: "alarm 1",
    1: "alarm 2",
    2: "alarm 3",
    3: "alarm 4",
    5: "sensor break",
    6: "loop break",
    7: "heater fail",
    10: "temperature out of range",
    11: "control module fault",
    13: "remote sensor break",
}
_RATE_DECIMALS = _OUTPUT_DECIMALS = 1
_OFF_WITHIN_S = 5.0
_OFF_LOOK_S = 0.25


@dataclass(frozen=True)
class BisynchStatus:
    """The status word: whether the loop is in manual mode, and what is wrong."""

    manual: bool
    faults: tuple[str, ...]


def encode_poll(unit: int, mnemonic: str) -> bytes:
    """Ask a unit (0 to 99) for a parameter."""
    return _EOT + _address(unit) + mnemonic.encode("ascii") + _ENQ


def encode_selection(unit: int, mnemonic: str, data: str) -> bytes:
    """Tell a unit the value of a parameter."""
    body = (mnemonic + data).encode("ascii") + _ETX
    return _EOT + _address(unit) + _STX + body + _check(body)


def frame_reply(buffer: bytes) -> int | None:
    """Length of the first reply: one character, or data with its block check after ETX."""
    if buffer[:1] in (_EOT, _ACK, _NAK):
        return 1
    if buffer[:1] != _STX:
        raise ProtocolError("no start of text")
    end = buffer.find(_ETX)
    if end < 0:
        if len(buffer) > _LONGEST_REPLY:
            raise ProtocolError("no end of text")
        return None
    return end + 2 if len(buffer) >= end + 2 else None


def decode_number(reply: bytes, mnemonic: str) -> float:
    """Decode the answer to a poll for a number."""
    data = _data(reply, mnemonic).strip()
    if not _NUMBER.fullmatch(data):
        raise ProtocolError(f"{data!r} is no number")
    return float(data)


def decode_word(reply: bytes, mnemonic: str) -> int:
    """Decode the answer to a poll for a word in hexadecimal, such as ">0020"."""
    data = _data(reply, mnemonic).strip()
    if not (found := _WORD.fullmatch(data)):
        raise ProtocolError(f"{data!r} is no word in hexadecimal")
    return int(found[1], 16)


def decode_status(word: int) -> BisynchStatus:
    """Decode the summary output status word."""
    faults = tuple(name for bit, name in _FAULT_BITS.items() if word >> bit & 1)
    return BisynchStatus(bool(word >> _MANUAL_BIT & 1), faults)


def check_acknowledged(reply: bytes) -> None:
    """Check the reply to a selection."""
    if reply == _NAK:
        raise Refusal("not accepted")
    if reply != _ACK:
        raise ProtocolError("neither ACK nor NAK")


def _data(reply: bytes, mnemonic: str) -> str:
    if reply == _EOT:
        raise Refusal(f"does not know the parameter {mnemonic}")
    if len(reply) < 4 or reply[:1] != _STX or reply[-2:-1] != _ETX:
        raise ProtocolError("not an answer to a poll")
    body = reply[1:-1]
    if reply[-1:] != _check(body):
        raise ProtocolError("wrong block check")
    if not body.startswith(mnemonic.encode("ascii")):
        raise ProtocolError(f"not an answer to {mnemonic}")
    try:
        return body[len(mnemonic) : -1].decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("not ASCII") from None


def _address(unit: int) -> bytes:
    group, number = divmod(unit, 10)
    return f"{group}{group}{number}{number}".encode("ascii")


def _check(body: bytes) -> bytes:
    return bytes([reduce(xor, body)])


class EurothermBisynch(Furnace):
    """Eurotherm 2200, 2400 and 3500 whose port is set to EI-Bisynch.

    Parameters
    ----------
    unit : int
        Its address, 0 to 99.
    decimals : int
        Decimals of temperatures on its display; a set point is told with as many.

    Raises
    ------
    ValueError
        If there is no such address.
    """

    model = "Eurotherm EI-Bisynch"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 7E1")
    about = About(
        maker="Eurotherm",
        models="2200, 2400 and 3500 series, port set to EI-Bisynch",
        protocol="EI-Bisynch",
        transport="RS-232/RS-485, 9600 7E1; also through a serial server",
        verified=("bytes that the ISIS emulator of a Eurotherm answers",),
        unsupported="Mnemonic SO of the status word unverified (refused at connection if unknown). "
        "Rate must be per minute. No programmer, no tuning, no second set point.",
    )

    def __init__(self, *, unit: int = 1, decimals: int = 1, **kwargs: Any) -> None:
        if unit not in range(100):
            raise ValueError(f"an EI-Bisynch address is 0 to 99, not {unit!r}")
        self._unit = unit
        self._decimals = decimals
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Look for temperature and status word; the protocol's pages at hand name no name plate."""
        try:
            self._number(_TEMPERATURE)
            self._word(_STATUS)
        except InstrumentError as error:
            raise self.wrong(f"an instrument that {error.problem}") from error
        return Identity("Eurotherm", "EI-Bisynch controller")

    def upload_limits(self) -> None:
        """Make the instrument's set-point limits as narrow as the station's, and take them over.

        Limits that are narrower in the instrument stay as they are.

        Raises
        ------
        InstrumentError
            If the instrument does not accept them.
        """
        low_C, high_C = self.temperature_setpoint.limits
        if low_C > self._number(_LOW_LIMIT):
            self._bring_to(_LOW_LIMIT, low_C, self._decimals, "low set-point limit")
        if high_C < self._number(_HIGH_LIMIT):
            self._bring_to(_HIGH_LIMIT, high_C, self._decimals, "high set-point limit")
        self.temperature_setpoint.narrow(self._number(_LOW_LIMIT), self._number(_HIGH_LIMIT))

    def poll(self) -> None:
        """Read status, temperature, set points, ramp rate and heater power.

        Raises
        ------
        InstrumentError
            If the instrument reports an alarm, or has lost its sensor.
        """
        faults = self._status().faults
        temperature_C = self._number(_TEMPERATURE)
        self.record(
            temperature=math.nan if _unmeasured(faults) else temperature_C,
            temperature_setpoint=self._number(_TARGET),
            working_setpoint=self._number(_WORKING_SETPOINT),
            ramp_rate=self._number(_RATE),
            output=self._number(_OUTPUT),
            quality="invalid" if faults else quality_of(temperature_C),
        )
        if faults:
            raise self.refused(f"reports {', '.join(faults)}")

    def write_ramp(self, temperature_C: float, ramp_K_min: float) -> None:
        """Write rate and target where they differ, close the loop, and read all back."""
        rate_K_min = self._bring_to(_RATE, ramp_K_min, _RATE_DECIMALS, "ramp rate")
        target_C = self._bring_to(_TARGET, temperature_C, self._decimals, "set point")
        if self._is_manual():
            self._select(_MODE, f"{_AUTOMATIC}")
        if self._is_manual():
            raise self.refused("stays in manual mode")
        self.record(temperature_setpoint=target_C, ramp_rate=rate_K_min)

    def make_safe(self) -> None:
        """Open the loop, set the heater power to 0, and see that it is.

        Alarms and a lost sensor do not keep it from that. After a fault of the link it looks how far it
        came and goes on, once.
        """
        self.insist(self._switch_off)

    def _switch_off(self) -> None:
        if not self._is_manual():
            self._select(_MODE, f"{_MANUAL}")
        if self._number(_OUTPUT) != 0.0:
            self._select(_OUTPUT, f"{0:.{_OUTPUT_DECIMALS}f}")
        deadline_s = self.clock.monotonic() + _OFF_WITHIN_S
        while not self._is_off():
            if self.clock.monotonic() > deadline_s:
                raise self.refused(f"heater still at {self.output.get():g} % after {_OFF_WITHIN_S:g} s")
            self.clock.sleep(_OFF_LOOK_S)  # the power follows with the controller's next cycle

    def _is_off(self) -> bool:
        output_percent = self._number(_OUTPUT)
        self.record(output=output_percent)
        return self._is_manual() and output_percent == 0.0

    def _is_manual(self) -> bool:
        return self._number(_MODE) == _MANUAL

    def _status(self) -> BisynchStatus:
        return decode_status(self._word(_STATUS))

    def _bring_to(self, mnemonic: str, value: float, decimals: int, what: str) -> float:
        """Write a parameter unless the instrument holds the value, as far as its decimals go; return it."""
        told = f"{value:.{decimals}f}"
        if self._number(mnemonic) != float(told):
            self._select(mnemonic, told)
        if (held := self._number(mnemonic)) != float(told):
            raise self.refused(f"{what}: holds {held:g}, told {told}")
        return held

    def _number(self, mnemonic: str) -> float:
        return self.link.ask(
            encode_poll(self._unit, mnemonic), frame_reply, lambda reply: decode_number(reply, mnemonic)
        )

    def _word(self, mnemonic: str) -> int:
        return self.link.ask(
            encode_poll(self._unit, mnemonic), frame_reply, lambda reply: decode_word(reply, mnemonic)
        )

    def _select(self, mnemonic: str, data: str) -> None:
        """Write a parameter; after a NAK the instrument is asked what was wrong."""
        try:
            self.link.order(encode_selection(self._unit, mnemonic, data), frame_reply, check_acknowledged)
        except InstrumentError as error:
            code = self._word(_ERROR)
            why = _ERRORS.get(code, "unknown error")
            raise self.refused(f"{mnemonic} {data} not accepted: {why} (EE {code})") from error


def _unmeasured(faults: tuple[str, ...]) -> bool:
    return "sensor break" in faults or "temperature out of range" in faults
