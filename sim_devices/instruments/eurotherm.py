"""Eurotherm 3216 temperature controller, Modbus RTU, 9600 baud 8N1.

Source: Eurotherm 3200 Series Engineering Handbook HA028651 issue 7, pages 81 and 82, for addresses 1 to 25
and 68 to 103 with the status word; public clients for 35, 111, 112, 273 and 531 and for the singles at
twice the address above 0x8000, high half first. Assumed, for want of the handbook's other pages: values
outside a range are refused with exception 3, a manual output in automatic mode with exception 2. Whether
it has an answer that means busy is not known to us.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sim_devices.instruments.eurotherm_loop import EurothermLoop, HeatedChamber, NotInThisMode, OutOfLimits
from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["HeatedChamber", "SimulatedEurotherm3216"]

_SINGLES_FROM = 0x8000
_OUTPUT_DECIMALS = 1
_RATE_DECIMALS = 1
_ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 2, 3
_LOOP_BREAK, _OVER_RANGE = 6, 10


@dataclass(frozen=True)
class _Parameter:
    """One address: its value in its unit, how to change it, and its decimals (None: a plain word)."""

    read: Callable[[], float]
    write: Callable[[float], None] | None = None
    decimals: int | None = None


class SimulatedEurotherm3216(EurothermLoop, ModbusInstrument):
    """A controller behind Modbus; see `EurothermLoop` for what it does, and who calls `advance`.

    Parameters
    ----------
    furnace : HeatedChamber
        What it controls.
    decimals : int
        Decimals of temperatures on the display, and in their integer registers.
    proportional_band_K, integral_time_s, range_C
        Of the loop.
    """

    latency_s = 0.02
    breakdowns: tuple[Breakdown, ...] = ("error", "over_range")

    def __init__(
        self,
        clock: Clock,
        furnace: HeatedChamber,
        *,
        unit: int = 1,
        framing: Literal["rtu", "tcp"] = "rtu",
        decimals: int = 1,
        proportional_band_K: float = 20.0,
        integral_time_s: float = 200.0,
        range_C: tuple[float, float] = (0.0, 1200.0),
    ) -> None:
        super().__init__(clock, unit=unit, framing=framing)
        self._decimals = decimals
        self._ramp_unit = 0
        self.start_loop(
            furnace,
            proportional_band_K=proportional_band_K,
            integral_time_s=integral_time_s,
            range_C=range_C,
        )
        self._parameters = self._map()

    def read_holding_register(self, address: int) -> int:
        """Integer registers, and halves of singles."""
        if address < _SINGLES_FROM:
            return self._word(self._parameter(address))
        number, half = divmod(address - _SINGLES_FROM, 2)
        parameter = self._parameter(number)
        if parameter.decimals is None:
            raise ModbusException(_ILLEGAL_ADDRESS)
        return float_words(parameter.read(), low_first=False)[half]

    def write_registers(self, address: int, values: list[int]) -> None:
        """Write integer registers, or whole singles."""
        if address < _SINGLES_FROM:
            parameters = [self._parameter(address + i) for i in range(len(values))]
            for parameter, word in zip(parameters, values, strict=True):
                signed = word - 0x10000 if word & 0x8000 else word
                self._change(parameter, signed / 10 ** (parameter.decimals or 0))
            return
        if address % 2 or len(values) % 2:
            raise ModbusException(_ILLEGAL_ADDRESS)
        for i in range(0, len(values), 2):
            (value,) = struct.unpack(">f", struct.pack(">HH", *values[i : i + 2]))
            self._change(self._parameter((address + i - _SINGLES_FROM) // 2), value)

    def _parameter(self, number: int) -> _Parameter:
        self._furnace.temperature_C()  # brings the furnace, and with it this controller, up to now
        try:
            return self._parameters[number]
        except KeyError:
            raise ModbusException(_ILLEGAL_ADDRESS) from None

    @staticmethod
    def _word(parameter: _Parameter) -> int:
        scaled = round(parameter.read() * 10 ** (parameter.decimals or 0))
        if parameter.decimals is not None:
            scaled = min(max(scaled, -0x8000), 0x7FFF)
        return scaled & 0xFFFF

    @staticmethod
    def _change(parameter: _Parameter, value: float) -> None:
        if parameter.write is None:
            raise ModbusException(_ILLEGAL_ADDRESS)
        if not math.isfinite(value):
            raise ModbusException(_ILLEGAL_VALUE)
        try:
            parameter.write(value)
        except OutOfLimits:
            raise ModbusException(_ILLEGAL_VALUE) from None
        except NotInThisMode:
            raise ModbusException(_ILLEGAL_ADDRESS) from None

    def _map(self) -> dict[int, _Parameter]:
        places = self._decimals
        target = _Parameter(lambda: self._target_C, self._write_target, places)
        return {
            1: _Parameter(self._read_temperature, decimals=places),
            2: target,
            3: _Parameter(self._read_output, self._write_output, _OUTPUT_DECIMALS),
            4: _Parameter(self._read_output, decimals=_OUTPUT_DECIMALS),
            5: _Parameter(lambda: self.working_setpoint_C, decimals=places),
            11: _Parameter(lambda: self._range_low_C, decimals=places),
            12: _Parameter(lambda: self._range_high_C, decimals=places),
            13: _Parameter(lambda: self.alarm_C, self._write_alarm, places),
            24: target,
            35: _Parameter(lambda: self._rate_K_min, self._write_rate, _RATE_DECIMALS),
            75: _Parameter(self._status),
            76: _Parameter(lambda: self._status() ^ 0xFFFF),
            111: _Parameter(lambda: self._high_limit_C, self._write_high_limit, places),
            112: _Parameter(lambda: self._low_limit_C, self._write_low_limit, places),
            273: _Parameter(lambda: self._manual, self._write_mode),
            531: _Parameter(lambda: self._ramp_unit, self._write_ramp_unit),
        }

    def _read_temperature(self) -> float:
        return self._range_high_C if self.broken("over_range") else super()._read_temperature()

    def _status(self) -> int:
        bits = self._status_bits() | {_LOOP_BREAK: self.broken("error")}
        bits[_OVER_RANGE] |= self.broken("over_range")
        return sum(active << bit for bit, active in bits.items())

    def _write_ramp_unit(self, value: float) -> None:
        if value not in (0, 1, 2):
            raise OutOfLimits
        self._ramp_unit = int(value)
