"""Eurotherm 3216 temperature controller, Modbus RTU, 9600 baud 8N1.

Source: Eurotherm 3200 Series Engineering Handbook HA028651 issue 7, pages 81 and 82, for addresses 1 to 25
and 68 to 103 with the status word; public clients for 35, 111, 112, 273 and 531 and for the singles at
twice the address above 0x8000, high half first. Assumed, for want of the handbook's other pages: values
outside a range are refused with exception 3, a manual output in automatic mode with exception 2; a broken
sensor reads as the top of the input range and takes the heater power to 0; the working set point starts at
the temperature when the loop is closed; changes between manual and automatic are bumpless; alarm 1 is a
high alarm.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from ssblab.clock import Clock

__all__ = ["HeatedChamber", "SimulatedEurotherm3216"]

_SINGLES_FROM = 0x8000
_OUTPUT_DECIMALS = 1
_RATE_DECIMALS = 1
_OVER_RANGE = 0.05  # share of the span above the range at which the status word tells it
_ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 2, 3


class HeatedChamber(Protocol):
    """The furnace with the controller's sensor in it."""

    def temperature_C(self) -> float:
        """Temperature at the sensor now; whoever integrates the furnace brings it up to now before."""


@dataclass(frozen=True)
class _Parameter:
    """One address: its value in its unit, how to change it, and its decimals (None: a plain word)."""

    read: Callable[[], float]
    write: Callable[[float], None] | None = None
    decimals: int | None = None


class SimulatedEurotherm3216(ModbusInstrument):
    """Ramps its working set point to the target and drives a heater by proportional and integral action.

    The laboratory calls `advance` as it integrates the furnace: in steps of about a second while `acts` is
    true, in one step of any length while it is not, because the heater power is constant then.

    Parameters
    ----------
    furnace : HeatedChamber
        What it controls.
    decimals : int
        Decimals of temperatures on the display, and in their integer registers.
    proportional_band_K : float
        Error that alone gives full power.
    integral_time_s : float
        Time in which a constant error gives as much again by integral action.
    range_C : tuple of float
        Lowest and highest temperature of the sensor input; set-point limits start there.

    Attributes
    ----------
    sensor_broken : bool
        A fault of the sensor.
    working_setpoint_C : float
        On the ramp.
    output_fraction : float
        Heater power, 0 to 1.
    alarm_C : float
        Alarm 1 is active above it.
    """

    latency_s = 0.02

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
        self._furnace = furnace
        self._decimals = decimals
        self._proportional_band_K = proportional_band_K
        self._integral_time_s = integral_time_s
        self._range_low_C, self._range_high_C = range_C
        self._low_limit_C, self._high_limit_C = range_C
        self.alarm_C = self._range_high_C
        self.sensor_broken = False
        self._manual = True
        self._manual_fraction = 0.0
        self._control_fraction = 0.0
        self._integral_fraction = 0.0
        self._target_C = self._range_low_C
        self.working_setpoint_C = self._range_low_C
        self._rate_K_min = 0.0
        self._ramp_unit = 0
        self._parameters = self._map()

    @property
    def acts(self) -> bool:
        """Whether the heater power may change by itself."""
        return not (self._manual or self.sensor_broken)

    @property
    def output_fraction(self) -> float:
        """Heater power, 0 to 1."""
        if self._manual:
            return self._manual_fraction
        return 0.0 if self.sensor_broken else self._control_fraction

    def advance(self, dt_s: float, temperature_C: float) -> None:
        """Act once at the end of an interval.

        Parameters
        ----------
        dt_s : float
            Since the last action.
        temperature_C : float
            At the sensor now.
        """
        if self._manual:
            self.working_setpoint_C = temperature_C
        elif not self.sensor_broken:
            self._move_setpoint(dt_s)
            self._control(dt_s, self.working_setpoint_C - temperature_C)

    def _move_setpoint(self, dt_s: float) -> None:
        distance_K = self._target_C - self.working_setpoint_C
        step_K = self._rate_K_min / 60.0 * dt_s if self._rate_K_min > 0 else math.inf
        self.working_setpoint_C += min(max(distance_K, -step_K), step_K)

    def _control(self, dt_s: float, error_K: float) -> None:
        proportional = error_K / self._proportional_band_K
        integral = self._integral_fraction + proportional * dt_s / self._integral_time_s
        wanted = proportional + integral
        self._control_fraction = min(max(wanted, 0.0), 1.0)
        if wanted == self._control_fraction:  # a heater at its end would wind the integral up
            self._integral_fraction = integral

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
            for i, word in enumerate(values):
                parameter = self._parameter(address + i)
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
        parameter.write(value)

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
        return self._range_high_C if self.sensor_broken else self._furnace.temperature_C()

    def _read_output(self) -> float:
        return 100.0 * self.output_fraction

    def _status(self) -> int:
        temperature_C = self._read_temperature()
        span_C = self._range_high_C - self._range_low_C
        bits = {
            0: temperature_C > self.alarm_C,
            4: self._manual,
            5: self.sensor_broken,
            10: temperature_C > self._range_high_C + _OVER_RANGE * span_C,
        }
        return sum(active << bit for bit, active in bits.items())

    def _write_target(self, value_C: float) -> None:
        self._target_C = _within(value_C, self._low_limit_C, self._high_limit_C)

    def _write_output(self, percent: float) -> None:
        if not self._manual:
            raise ModbusException(_ILLEGAL_ADDRESS)
        self._manual_fraction = _within(percent, 0.0, 100.0) / 100.0

    def _write_alarm(self, value_C: float) -> None:
        self.alarm_C = _within(value_C, self._range_low_C, self._range_high_C)

    def _write_rate(self, rate_K_min: float) -> None:
        self._rate_K_min = _within(rate_K_min, 0.0, 3000.0)

    def _write_high_limit(self, value_C: float) -> None:
        self._high_limit_C = _within(value_C, self._low_limit_C, self._range_high_C)
        self._target_C = min(self._target_C, self._high_limit_C)

    def _write_low_limit(self, value_C: float) -> None:
        self._low_limit_C = _within(value_C, self._range_low_C, self._high_limit_C)
        self._target_C = max(self._target_C, self._low_limit_C)

    def _write_mode(self, value: float) -> None:
        manual = bool(_within(value, 0, 1))
        if manual and not self._manual:
            self._manual_fraction = self.output_fraction
        elif self._manual and not manual:
            self.working_setpoint_C = self._furnace.temperature_C()
            self._control_fraction = self._integral_fraction = self._manual_fraction
        self._manual = manual

    def _write_ramp_unit(self, value: float) -> None:
        self._ramp_unit = int(_within(value, 0, 2))


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ModbusException(_ILLEGAL_VALUE)
    return value
