"""Eurotherm 3216 temperature controller, Modbus RTU, 9600 baud 8N1.

Source: Eurotherm 3200 Series Engineering Handbook HA028651 issue 7, pages 81 and 82 (addresses 1 to 25 and 68
to 103, status bits, wear of the memory behind the set points); public clients for the 3200 series for the
other addresses (35 and 531: nupylab; 111 and 112: lewis and QModBus; 273: two drivers for the 3216) and for
the numbers at twice the address above 0x8000, which are IEEE 754 singles whatever decimals the display has.

The target set point (2) lies in memory that bears 100 000 writes, so a ramp is the instrument's own: target
and rate are written once, and only if they change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from devices.families.furnace import Furnace
from devices.instrument import About, Identity, quality_of
from ssblab.links import InstrumentError, LinkClosed, LinkSettings, ProtocolError
from ssblab.links.modbus import ModbusClient, float_from_registers, registers_from_float

__all__ = ["Condition", "Eurotherm3216", "decode_condition", "decode_numbers"]

_TEMPERATURE = 1
_TARGET = 2
_MANUAL_OUTPUT = 3
_RATE_LIMIT = 35
_STATUS = 75
_HIGH_LIMIT = 111
_LOW_LIMIT = 112
_MODE = 273
_AUTOMATIC, _MANUAL = 0, 1
_RAMP_UNIT = 531
_PER_MINUTE = 0

_MANUAL_BIT = 4
_FAULT_BITS = {
    0: "alarm 1",
    1: "alarm 2",
    2: "alarm 3",
    3: "alarm 4",
    5: "sensor break",
    6: "loop break",
    7: "low load current",
    8: "high leakage current",
    10: "over range",
    11: "overcurrent",
    14: "remote set point failed",
}
_TOLERANCE = 0.05  # half of the last decimal that the instrument keeps of a set point, a rate or an output
_OFF_WITHIN_S = 5.0
_OFF_LOOK_S = 0.25


@dataclass(frozen=True)
class Condition:
    """The status word: whether the loop is in manual mode, and what is wrong."""

    manual: bool
    faults: tuple[str, ...]


def decode_condition(registers: Sequence[int]) -> Condition:
    """Decode the status word and the one after it, which is its inverse."""
    if len(registers) != 2 or registers[0] ^ registers[1] != 0xFFFF:
        raise ProtocolError("no status word with its inverse")
    faults = tuple(name for bit, name in _FAULT_BITS.items() if registers[0] >> bit & 1)
    return Condition(bool(registers[0] >> _MANUAL_BIT & 1), faults)


def decode_numbers(registers: Sequence[int]) -> tuple[float, ...]:
    """Decode singles, high half first; a measured value may be NaN."""
    if len(registers) % 2:
        raise ProtocolError("half a number")
    return tuple(
        float_from_registers(registers[i : i + 2], "high first") for i in range(0, len(registers), 2)
    )


class Eurotherm3216(Furnace):
    """Eurotherm 3216; degrees of its display are degrees Celsius, its ramp unit is the minute.

    Parameters
    ----------
    unit : int
        Its Modbus address, 1-247.
    framing : {"rtu", "tcp"}
        "tcp" behind a gateway that speaks Modbus TCP.
    """

    model = "Eurotherm 3216"
    about = About(
        maker="Eurotherm",
        models="3216 and others of the 3200 series",
        protocol="Modbus RTU or TCP, singles above 0x8000",
        transport="RS-232 or RS-485, 9600 8N1; TCP through a gateway",
        verified=(
            "addresses of handbook HA028651, p. 81-82",
            "minimalmodbus 2.1 against the simulated instrument",
        ),
        unsupported="the programmer, tuning, alarm settings; known by its status word alone; addresses 35, "
        "111, 112, 273 and 531 are from public clients, as the handbook's other pages were not at hand",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="9600 8N1")

    def __init__(self, *, unit: int = 1, framing: Literal["rtu", "tcp"] = "rtu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._modbus = ModbusClient(self.link, unit, framing)

    def identify(self) -> Identity:
        """Look for the status word with its inverse; the handbook's pages at hand name no name plate."""
        try:
            self._read_condition()
        except InstrumentError as error:
            raise self.wrong(f"an instrument that has no status word ({error.problem})") from error
        except ProtocolError as error:
            raise self.wrong(f"an instrument with {error}") from error
        return Identity("Eurotherm", "3200 series")

    def upload_limits(self) -> None:
        """Make the instrument's set-point limits as narrow as the station's, and take them over.

        Limits that are narrower in the instrument stay as they are.

        Raises
        ------
        InstrumentError
            If the instrument does not accept them, or ramps in another unit than K/min.
        """
        if self._modbus.read_registers(_RAMP_UNIT, 1) != (_PER_MINUTE,):
            raise self.refused("its ramp unit is not the minute: set it on the instrument")
        own_high_C, own_low_C = self._read_numbers(_HIGH_LIMIT, 2)
        low_C, high_C = self.temperature_setpoint.limits
        if low_C > own_low_C:
            self._bring_to(_LOW_LIMIT, low_C, "low set-point limit")
        if high_C < own_high_C:
            self._bring_to(_HIGH_LIMIT, high_C, "high set-point limit")
        own_high_C, own_low_C = self._read_numbers(_HIGH_LIMIT, 2)
        self.temperature_setpoint.narrow(own_low_C, own_high_C)

    def poll(self) -> None:
        """Read temperature, set points, ramp rate, heater power and status.

        Raises
        ------
        InstrumentError
            If the instrument reports an alarm, or has lost its sensor.
        """
        condition = self._condition()
        temperature_C, target_C, _, output_percent, working_C = self._read_numbers(_TEMPERATURE, 5)
        (rate_K_min,) = self._read_numbers(_RATE_LIMIT, 1)
        self.record(
            temperature=temperature_C,
            temperature_setpoint=target_C,
            working_setpoint=working_C,
            ramp_rate=rate_K_min,
            output=output_percent,
            quality="invalid" if condition.faults else quality_of(temperature_C),
        )
        if condition.faults:
            raise self.refused(f"reports {', '.join(condition.faults)}")

    def write_ramp(self, temperature_C: float, ramp_K_min: float) -> None:
        """Write rate and target where they differ, close the loop, and read all back."""
        self._bring_to(_RATE_LIMIT, ramp_K_min, "ramp rate")
        self._bring_to(_TARGET, temperature_C, "set point")
        if self._condition().manual:
            self._modbus.write_register(_MODE, _AUTOMATIC)
        if self._condition().manual:
            raise self.refused("stays in manual mode")
        self.record(temperature_setpoint=temperature_C, ramp_rate=ramp_K_min)

    def make_safe(self) -> None:
        """Open the loop, set the heater power to 0, and see that it is.

        Alarms and a lost sensor do not keep it from that. After a fault of the link it looks how far it
        came and goes on, once.
        """
        self.insist(self._switch_off)

    def _switch_off(self) -> None:
        if not self._condition().manual:
            self._modbus.write_register(_MODE, _MANUAL)
        manual_output_percent, _ = self._read_numbers(_MANUAL_OUTPUT, 2)
        if manual_output_percent != 0.0:
            self._write_number(_MANUAL_OUTPUT, 0.0)
        deadline_s = self.clock.monotonic() + _OFF_WITHIN_S
        while not self._is_off():
            if self.clock.monotonic() > deadline_s:
                raise self.refused(f"heater still at {self.output.get():g} % after {_OFF_WITHIN_S:g} s")
            self.clock.sleep(_OFF_LOOK_S)  # the power follows with the controller's next cycle

    def _is_off(self) -> bool:
        manual_output_percent, output_percent = self._read_numbers(_MANUAL_OUTPUT, 2)
        self.record(output=output_percent)
        return self._condition().manual and manual_output_percent == output_percent == 0.0

    def _condition(self) -> Condition:
        try:
            return self._read_condition()
        except ProtocolError as error:
            raise self.link.failed(str(error), advice=LinkClosed.default_advice) from error

    def _read_condition(self) -> Condition:
        return decode_condition(self._modbus.read_registers(_STATUS, 2))

    def _bring_to(self, parameter: int, value: float, what: str) -> None:
        (held,) = self._read_numbers(parameter, 1)
        if abs(held - value) > _TOLERANCE or math.isnan(held):
            self._write_number(parameter, value)
            (held,) = self._read_numbers(parameter, 1)
        if not abs(held - value) <= _TOLERANCE:
            raise self.refused(f"{what}: holds {held:g}, told {value:g}")

    def _read_numbers(self, first: int, number: int) -> tuple[float, ...]:
        return decode_numbers(self._modbus.read_registers(_number_address(first), 2 * number))

    def _write_number(self, parameter: int, value: float) -> None:
        self._modbus.write_registers(_number_address(parameter), registers_from_float(value, "high first"))


def _number_address(parameter: int) -> int:
    return 0x8000 + 2 * parameter
