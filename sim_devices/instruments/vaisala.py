"""Vaisala DRYCAP dew-point transmitter, Modbus RTU or TCP.

Source, by register number (PDU address + 1): register blocks, measurements, status, pressure settings and
exceptions DMT340 M210704EN p. 188-192; self-test and identification DMT143 M211435EN-J p. 80; text of the
self-test HMP110 M211060EN-H p. 78; water fraction PTU300 p. 205, eq. (8). Latency is a placeholder (a probe's
response delay can be set to 0 to 1020 ms). The permanent pressure setting outlasts a loss of power, the
temporary one does not (DMT340 p. 189); that a reading beyond the range is unavailable, and the number of the
error shown, are ours. The manual has no exception for an instrument that is busy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Literal, Protocol

from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from sim_devices.physics.moist_air import (
    dew_point_liquid_C,
    saturation_pressure_liquid_Pa,
    saturation_pressure_Pa,
)
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["MoistGas", "SimulatedVaisala"]

_BLOCKS = ((1, 66), (257, 289), (513, 517), (769, 776), (1025, 1028), (7937, 7943))
_RH, _T, _TD, _TDF, _PPM = 1, 3, 7, 9, 21
_INTEGERS = {257: (_RH, 100), 258: (_T, 100), 260: (_TD, 100), 261: (_TDF, 100), 267: (_PPM, 1)}
_PRESSURE, _TEMPORARY_PRESSURE = 769, 771
_PRESSURE_INTEGERS = {1025: _PRESSURE, 1026: _TEMPORARY_PRESSURE}
_LARGEST_PRESSURE_hPa = 9999.0
_TEST_INTEGER, _TEST_FLOAT, _TEST_TEXT = 7937, 7938, 7940
_ERROR_BIT = 1 << 2


class MoistGas(Protocol):
    """The gas at the sensor."""

    def dew_point_C(self) -> float:
        """Dew point at the gas's own pressure: over ice below the triple point, else over liquid water."""

    def temperature_C(self) -> float:
        """Temperature of the gas."""


class SimulatedVaisala(ModbusInstrument):
    """Answers functions 3, 16 and 43/14.

    The instrument does not measure the pressure of the gas: its water fraction is right as far as its
    pressure setting is.

    Attributes
    ----------
    sensor_failed : bool
        Measurements are not available: NaN, or 0 in the integer registers.
    errors : int
        Bits of the active errors.
    """

    latency_s = 0.05
    breakdowns: tuple[Breakdown, ...] = ("error", "over_range")

    def __init__(
        self, clock: Clock, air: MoistGas, *, unit: int = 240, framing: Literal["rtu", "tcp"] = "rtu"
    ) -> None:
        super().__init__(clock, unit=unit, framing=framing)
        self._air = air
        self._pressures_hPa = {_PRESSURE: 1013.25}
        self.sensor_failed = False
        self.errors = 0
        self.power_on()

    def power_on(self) -> None:
        """Go back to the permanent pressure setting, and measure anew."""
        self._pressures_hPa[_TEMPORARY_PRESSURE] = 0.0
        self._values: dict[int, float] = {}

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Measure once, so that all words of an answer are of one time, and answer."""
        unavailable = self.sensor_failed or self.broken("over_range")
        self._values = {} if unavailable else self._measure()
        return super().receive(buffer)

    def identification(self) -> dict[int, bytes]:
        """Name plate."""
        return {
            0x00: b"Vaisala",
            0x01: b"DMT143",
            0x02: b"1.4.2",
            0x03: b"http://www.vaisala.com/",
            0x04: b"Vaisala DRYCAP Dewpoint Transmitter DMT143",
            0x80: b"J1140501",
            0x81: b"2025-01-09",
        }

    def read_holding_register(self, address: int) -> int:
        """Word of a register; what is unavailable inside a block reads as NaN or 0."""
        number = address + 1
        if not any(first <= number <= last for first, last in _BLOCKS):
            raise ModbusException(2)
        if number <= 66 or 769 <= number <= 776:
            return self._float_word(number)
        if number in _INTEGERS:
            return self._measured_integer(*_INTEGERS[number])
        if number in _PRESSURE_INTEGERS:
            return int(self._pressures_hPa[_PRESSURE_INTEGERS[number]])
        return self._constant_or_status(number)

    def write_registers(self, address: int, values: list[int]) -> None:
        """Set a pressure; what is out of range is acknowledged and ignored."""
        number = address + 1
        if number in self._pressures_hPa and len(values) == 2:
            low, high = values
            self._set_pressure(number, struct.unpack(">f", struct.pack(">HH", high, low))[0])
        elif number in _PRESSURE_INTEGERS and len(values) == 1:
            signed = values[0] - 0x10000 if values[0] & 0x8000 else values[0]
            self._set_pressure(_PRESSURE_INTEGERS[number], signed)
        else:
            raise ModbusException(2)

    def _set_pressure(self, number: int, pressure_hPa: float) -> None:
        if 0 <= pressure_hPa <= _LARGEST_PRESSURE_hPa:
            self._pressures_hPa[number] = pressure_hPa

    def _measure(self) -> dict[int, float]:
        dew_point_C, temperature_C = self._air.dew_point_C(), self._air.temperature_C()
        vapour_Pa = saturation_pressure_Pa(dew_point_C)
        total_Pa = 100 * (self._pressures_hPa[_TEMPORARY_PRESSURE] or self._pressures_hPa[_PRESSURE])
        return {
            _RH: 100 * vapour_Pa / saturation_pressure_liquid_Pa(temperature_C),
            _T: temperature_C,
            _TD: dew_point_liquid_C(vapour_Pa),
            _TDF: dew_point_C,
            _PPM: 1e6 * vapour_Pa / (total_Pa - vapour_Pa) if total_Pa > vapour_Pa else math.nan,
        }

    def _float_word(self, number: int) -> int:
        first = number - (number + 1) % 2
        value = (self._values | self._pressures_hPa).get(first, math.nan)
        return float_words(value, low_first=True)[number - first]

    def _measured_integer(self, number: int, scale: int) -> int:
        value = self._values.get(number, math.nan)
        if math.isnan(value):
            return 0
        return max(-0x8000, min(0x7FFF, round(value * scale))) & 0xFFFF

    def _constant_or_status(self, number: int) -> int:
        errors = self.errors | (_ERROR_BIT if self.broken("error") else 0)
        low, high = float_words(-123.45, low_first=True)
        text = struct.unpack(">4H", b"-123.45\0")
        return {
            513: int(errors == 0),
            514: int(bool(self._values)),
            516: errors & 0xFFFF,
            517: errors >> 16 & 0xFFFF,
            _TEST_INTEGER: -12345 & 0xFFFF,
            _TEST_FLOAT: low,
            _TEST_FLOAT + 1: high,
            **{_TEST_TEXT + i: word for i, word in enumerate(text)},
        }.get(number, 0)
