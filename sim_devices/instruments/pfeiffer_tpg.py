"""Pfeiffer TPG 362 gauge controller with a Pirani/cold-cathode gauge, mnemonics protocol.

Source: Pfeiffer BG 5510 BEN (communication protocol TPG 361, TPG 362) and BG 5195 BEN (TPG 26x, section 5);
identity in the form captured from a TPG 362. Range of the gauge: 5e-9 to 1000 mbar. The manuals do not say
which number goes with under-range and over-range; here it is the end of the range. That the unit is kept when
power is lost is assumed, and that a gauge that was switched off comes back on. There is no answer that means
busy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["Gauge", "SimulatedPfeifferTpg"]

_ETX, _ENQ, _CR = b"\x03"[0], b"\x05"[0], b"\r"[0]
_ACK, _NAK = b"\x06\r\n", b"\x15\r\n"
_STREAM_S = 1.0
_NO_ERROR, _PARAMETER_ERROR, _SYNTAX_ERROR = "0000", "0010", "0001"
_LOWEST_Pa, _HIGHEST_Pa = 5e-7, 1e5
_UNITS_Pa = (100.0, 133.3224, 1.0, 0.1333224, 100.0)  # mbar, Torr, Pa, micron, hPa
_VOLT = 5
_FIRMWARE = "010300"


class Gauge(Protocol):
    """The vessel that the gauge is flanged to."""

    def pressure_Pa(self) -> float:
        """Absolute pressure now."""


class SimulatedPfeifferTpg(SimulatedInstrument):
    """Answers AYT, ERR, PNR, PR1, PR2, PRX, SEN, TID, UNI; measures by itself until it is first talked to.

    Attributes
    ----------
    sensor_error : bool
        The first gauge is broken, as a fault.
    unit : int
        Code of the unit at its display: 0 mbar, 1 Torr, 2 Pa, 3 micron, 4 hPa, 5 V.

    Parameters
    ----------
    gauge : Gauge
        What the first gauge is flanged to.
    second : Gauge, optional
        What the second gauge is flanged to; without it no gauge is connected there.
    """

    latency_s = 0.02
    kind = "TPG362"
    breakdowns: tuple[Breakdown, ...] = ("error", "over_range")

    def __init__(self, clock: Clock, gauge: Gauge, second: Gauge | None = None) -> None:
        super().__init__(clock)
        self._gauges = (gauge, second)
        self.sensor_error = False
        self.unit = 0
        self.power_on()

    def power_on(self) -> None:
        """Forget errors and enquiries, and measure by itself again."""
        self._error_word = _NO_ERROR
        self._requested = ""
        self._is_on = [True, True]
        self._next_line: float | None = self.clock.monotonic() + _STREAM_S

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Take messages, enquiries and ETX; any character ends the measurements of power-up."""
        if buffer:
            self._next_line = None
        while ends := [i for i, byte in enumerate(buffer) if byte in (_ETX, _ENQ, _CR)]:
            text, end = bytes(buffer[: ends[0]]), buffer[ends[0]]
            del buffer[: ends[0] + 1]
            if end == _CR:
                yield self._message(text.decode("latin-1"))
            elif end == _ENQ:
                yield self._data().encode("ascii") + b"\r\n"

    def unsolicited(self) -> Iterable[bytes]:
        """Give the measurement of each second, from power-up on."""
        now = self.clock.monotonic()
        if self._next_line is None or now < self._next_line:
            return ()
        self._next_line += _STREAM_S * (1 + math.floor((now - self._next_line) / _STREAM_S))
        return (f"{self._measurements()}\r\n".encode("ascii"),)

    def next_unsolicited(self) -> float | None:
        """Monotonic time of the next measurement that it sends by itself."""
        return self._next_line

    def _message(self, text: str) -> bytes:
        mnemonic, *parameters = text.replace(" ", "").replace("\n", "").split(",")
        error = self._accept(mnemonic, parameters)
        self._requested = mnemonic if error == _NO_ERROR else ""
        if error != _NO_ERROR:
            self._error_word = error
        return _ACK if error == _NO_ERROR else _NAK

    def _accept(self, mnemonic: str, parameters: list[str]) -> str:
        if mnemonic == "UNI" and parameters:
            if len(parameters) > 1 or parameters[0] not in tuple("012345"):
                return _PARAMETER_ERROR
            self.unit = int(parameters[0])
            return _NO_ERROR
        if mnemonic == "SEN" and parameters:
            return self._switch(parameters)
        if mnemonic not in ("AYT", "ERR", "PNR", "PR1", "PR2", "PRX", "SEN", "TID", "UNI"):
            return _SYNTAX_ERROR
        return _PARAMETER_ERROR if parameters else _NO_ERROR

    def _switch(self, parameters: list[str]) -> str:
        """Leave each gauge as it is (0), or switch it off (1) or on (2)."""
        if len(parameters) != len(self._gauges) or not set(parameters) <= set("012"):
            return _PARAMETER_ERROR
        for index, wanted in enumerate(parameters):
            if wanted != "0" and self._gauges[index] is not None:
                self._is_on[index] = wanted == "2"
        return _NO_ERROR

    def _data(self) -> str:
        match self._requested:
            case "AYT":
                return f"{self.kind},PTG28290,44998061,{_FIRMWARE},010100"
            case "PNR":
                return _FIRMWARE
            case "PR1":
                return self._measurement(0)
            case "PR2":
                return self._measurement(1)
            case "PRX":
                return self._measurements()
            case "SEN":
                states = [
                    0 if gauge is None else 1 + on
                    for gauge, on in zip(self._gauges, self._is_on, strict=True)
                ]
                return ",".join(map(str, states))
            case "TID":
                return ",".join("noSEn" if gauge is None else "PKR" for gauge in self._gauges)
            case "UNI":
                return str(self.unit)
        word, self._error_word = self._error_word, _NO_ERROR  # reading it cancels it
        return word

    def _measurements(self) -> str:
        return f"{self._measurement(0)},{self._measurement(1)}"

    def _measurement(self, index: int) -> str:
        gauge = self._gauges[index]
        if gauge is None:
            return f"5,{_number(0.0)}"
        if self.broken("error") or (index == 0 and self.sensor_error):
            return f"3,{_number(0.0)}"
        if not self._is_on[index]:
            return f"4,{_number(0.0)}"
        pressure_Pa = math.inf if self.broken("over_range") else gauge.pressure_Pa()
        status = 1 if pressure_Pa < _LOWEST_Pa else 2 if pressure_Pa > _HIGHEST_Pa else 0
        return f"{status},{_number(self._shown(min(max(pressure_Pa, _LOWEST_Pa), _HIGHEST_Pa)))}"

    def _shown(self, pressure_Pa: float) -> float:
        if self.unit == _VOLT:
            return 6.8 + 0.6 * math.log10(pressure_Pa / 100)  # output of the gauge, pressure in mbar
        return pressure_Pa / _UNITS_Pa[self.unit]


def _number(value: float) -> str:
    """Number as it is sent for a logarithmic gauge: the third and fourth decimal are always 0."""
    mantissa, exponent = f"{value:+.2E}".split("E")
    return f"{mantissa}00E{exponent}"
