"""Eurotherm 2000-series temperature controller, EI-Bisynch, 9600 baud 7E1.

Source: the frames with their block check, as in two public stream protocols for the 2000 series (NSLS-II and
ISIS `eurotherm2k`): a poll EOT G G U U mnemonic ENQ is answered with STX mnemonic data ETX BCC, a selection
EOT G G U U STX mnemonic data ETX BCC with ACK or NAK, and EE then tells in hexadecimal what was wrong (0
nothing, 1 unknown parameter, 2 read only, 7 no message, 8 out of limits); the mnemonics PV, SP, SL, OP, RR,
mA, XP, TI, HO from there, HS and LS from a public scan of a 3504. A channel digit before a mnemonic comes
back in the answer.

Bits of the summary output status word as in two public clients of the 2000 series (Modbus address 75, with
"sensor break" bit 5 and "PV out of range" bit 10); that its mnemonic is SO, in hexadecimal, could not be
verified; nor could A1, the set point of alarm 1. Assumed: EOT answers a poll for a parameter that does not
exist; numbers have the decimals of the display; a controller that is being configured at its keys takes
address 0, so that it is silent at its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sim_devices.instruments.eurotherm_loop import EurothermLoop, HeatedChamber, NotInThisMode, OutOfLimits
from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["SimulatedEurothermBisynch"]

_STX, _ETX, _EOT, _ENQ, _ACK, _NAK = b"\x02", b"\x03", b"\x04", b"\x05", b"\x06", b"\x15"
_POLL = re.compile(rb"\x04(\d)\1(\d)\2(1?)([A-Za-z][A-Za-z0-9])\x05", re.DOTALL)
_SELECTION = re.compile(rb"\x04(\d)\1(\d)\2\x02(1?)([A-Za-z][A-Za-z0-9])([^\x03]*)\x03(.)", re.DOTALL)
_LONGEST = 64

_NO_ERROR, _UNKNOWN, _READ_ONLY, _NO_MESSAGE, _OUT_OF_LIMITS = 0, 1, 2, 7, 8


@dataclass(frozen=True)
class _Parameter:
    """What a mnemonic stands for; `decimals` None means a word in hexadecimal."""

    read: Callable[[], float]
    write: Callable[[float], None] | None = None
    decimals: int | None = 1


class SimulatedEurothermBisynch(EurothermLoop, SimulatedInstrument):
    """A controller behind EI-Bisynch; see `EurothermLoop` for what it does, and who calls `advance`.

    Parameters
    ----------
    furnace : HeatedChamber
        What it controls.
    unit : int
        Its address, 0 to 99: group and unit number are its two digits.
    decimals : int
        Decimals of temperatures on the display and in messages.
    proportional_band_K, integral_time_s, range_C
        Of the loop.
    """

    latency_s = 0.02
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        furnace: HeatedChamber,
        *,
        unit: int = 1,
        decimals: int = 1,
        proportional_band_K: float = 20.0,
        integral_time_s: float = 200.0,
        range_C: tuple[float, float] = (0.0, 1200.0),
    ) -> None:
        super().__init__(clock)
        self._address = b"%02d" % unit
        self._decimals = decimals
        self._highest_output_percent = 100.0
        self.start_loop(
            furnace,
            proportional_band_K=proportional_band_K,
            integral_time_s=integral_time_s,
            range_C=(range_C[0], range_C[1]),
        )
        self._parameters = self._table()

    def power_on(self) -> None:
        """Be in manual mode with the heater off, and have no error to report."""
        super().power_on()
        self._error = _NO_ERROR

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the polls and selections in the buffer."""
        while (start := buffer.find(_EOT)) >= 0:
            del buffer[:start]
            seen = bytes(buffer)  # a match looks into what it matched, which must not change
            if found := _POLL.match(seen):
                del buffer[: found.end()]
                yield self._addressed(found, self._poll(*found.group(3, 4)))
            elif found := _SELECTION.match(seen):
                del buffer[: found.end()]
                whole = found.group(3) + found.group(4) + found.group(5) + _ETX
                yield self._addressed(
                    found, self._select(found.group(4), found.group(5), found.group(6) == _check(whole))
                )
            elif buffer.find(_EOT, 1) > 0 or len(buffer) > _LONGEST:
                del buffer[0]  # EOT resets the line: what came before it is forgotten
            else:
                return
        buffer.clear()

    def _addressed(self, found: re.Match[bytes], work: Callable[[], bytes]) -> bytes:
        """Do the work if the message is for this unit and it listens; silence otherwise."""
        if found.group(1) + found.group(2) != self._address or self.broken("busy"):
            return b""
        self._furnace.temperature_C()  # brings the furnace, and with it this controller, up to now
        return work()

    def _poll(self, channel: bytes, mnemonic: bytes) -> Callable[[], bytes]:
        def work() -> bytes:
            parameter = self._parameters.get(mnemonic)
            if parameter is None:
                self._error = _UNKNOWN
                return _EOT
            body = channel + mnemonic + self._data(parameter) + _ETX
            return _STX + body + _check(body)

        return work

    @staticmethod
    def _data(parameter: _Parameter) -> bytes:
        if parameter.decimals is None:
            return b">%04X" % int(parameter.read())
        text = f"{parameter.read():.{parameter.decimals}f}"
        return (text if parameter.decimals else text + ".").encode("ascii")

    def _select(self, mnemonic: bytes, data: bytes, sound: bool) -> Callable[[], bytes]:
        def work() -> bytes:
            self._error = self._write(mnemonic, data) if sound else _NO_MESSAGE
            return _NAK if self._error else _ACK

        return work

    def _write(self, mnemonic: bytes, data: bytes) -> int:
        parameter = self._parameters.get(mnemonic)
        if parameter is None:
            return _UNKNOWN
        if parameter.write is None:
            return _READ_ONLY
        try:
            value = int(data[1:], 16) if data.startswith(b">") else float(data)
            parameter.write(round(value, parameter.decimals) if parameter.decimals is not None else value)
        except ValueError:
            return _NO_MESSAGE
        except OutOfLimits:
            return _OUT_OF_LIMITS
        except NotInThisMode:
            return _READ_ONLY
        return _NO_ERROR

    def _table(self) -> dict[bytes, _Parameter]:
        places = self._decimals
        return {
            b"PV": _Parameter(self._read_temperature, decimals=places),
            b"SP": _Parameter(lambda: self.working_setpoint_C, decimals=places),
            b"SL": _Parameter(lambda: self._target_C, self._write_target, places),
            b"S1": _Parameter(lambda: self._target_C, self._write_target, places),
            b"OP": _Parameter(self._read_output, self._write_output),
            b"HO": _Parameter(lambda: self._highest_output_percent),
            b"RR": _Parameter(lambda: self._rate_K_min, self._write_rate),
            b"HS": _Parameter(lambda: self._high_limit_C, self._write_high_limit, places),
            b"LS": _Parameter(lambda: self._low_limit_C, self._write_low_limit, places),
            b"A1": _Parameter(lambda: self.alarm_C, self._write_alarm, places),
            b"mA": _Parameter(lambda: float(self._manual), self._write_mode, 0),
            b"XP": _Parameter(lambda: self._proportional_band_K),
            b"TI": _Parameter(lambda: self._integral_time_s, decimals=0),
            b"TD": _Parameter(lambda: 0.0, decimals=0),
            b"SO": _Parameter(self._status, decimals=None),
            b"EE": _Parameter(self._take_error, decimals=None),
        }

    def _read_temperature(self) -> float:
        return self._range_high_C if self.broken("over_range") else super()._read_temperature()

    def _status(self) -> int:
        bits = self._status_bits() | {6: self.broken("error")}  # loop break
        bits[10] |= self.broken("over_range")
        return sum(active << bit for bit, active in bits.items())

    def _take_error(self) -> int:
        error, self._error = self._error, _NO_ERROR
        return error


def _check(body: bytes) -> bytes:
    """Exclusive or of all bytes after STX, ETX included."""
    check = 0
    for byte in body:
        check ^= byte
    return bytes([check])
