"""Vaisala DRYCAP dew-point transmitters and probes, Modbus RTU, or TCP through a Modbus gateway.

Source, by register number (PDU address + 1): measurements DMT340 M210704EN p. 188 and HMP4 M211982EN p. 20;
faults DMT340 p. 189 and HMP110 p. 89; pressure DMT340 p. 189 and HMP4 p. 55; self-test and identification
DMT143 M211435EN-J p. 80; factory settings 19200 8N2, address 240, HMP4 p. 20. Numbers are IEEE 754 singles,
low word first; what is not available is NaN.

Not served: probes behind an Indigo500, whose identification answers for its own unit alone; DPT145 and
DPT146, which have another map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from devices.families.dew_point_transmitter import DewPointTransmitter
from devices.instrument import About, Cpt, Identity, quality_of
from devices.signals import Setting
from ssblab.links import InstrumentError, LinkSettings
from ssblab.links.modbus import ModbusClient, float_from_registers, registers_from_float

__all__ = ["Readings", "VaisalaDewPoint", "decode_error_bits", "decode_readings"]

_MAKER = "Vaisala"
_READINGS, _READINGS_COUNT = 2, 20  # registers 3 to 22: one question, so that all numbers are of one time
_FAULT_STATUS = 512
_NO_ERRORS = 1
_ERROR_BITS = 515
_PRESSURE_hPa = 768
_SELF_TEST = 7937
_SELF_TEST_WORDS = (0xE666, 0xC2F6)  # -123.45, low word first
_VENDOR, _PRODUCT, _VERSION, _SERIAL = 0x00, 0x01, 0x02, 0x80
_HPA_PER_KPA = 10.0
_SINGLE_PRECISION = 1e-6


@dataclass(frozen=True)
class Readings:
    """One poll: gas temperature, dew or frost point, water relative to dry gas. NaN: not available."""

    temperature_C: float
    dew_point_C: float
    water_ppm: float


def decode_readings(registers: Sequence[int]) -> Readings:
    """Decode registers 3 to 22."""
    return Readings(
        temperature_C=float_from_registers(registers[0:2], "low first"),
        dew_point_C=float_from_registers(registers[6:8], "low first"),
        water_ppm=float_from_registers(registers[18:20], "low first"),
    )


def decode_error_bits(registers: Sequence[int]) -> list[int]:
    """Numbers of the errors that registers 516 and 517 show as active; the manual of the model lists them."""
    low, high = registers
    return [number for number in range(32) if (high << 16 | low) >> number & 1]


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_SINGLE_PRECISION)


class VaisalaDewPoint(DewPointTransmitter):
    """Vaisala DRYCAP transmitter or probe with the self-test registers, such as DMT143 and DMP5 to DMP8.

    Parameters
    ----------
    unit : int
        Its Modbus address.
    framing : {"rtu", "tcp"}
        Serial frames (also through a serial-to-network server), or Modbus TCP through a gateway.
    gas_pressure_kPa : float, optional
        Absolute pressure of the gas, which the instrument needs for the water fraction: written into its
        permanent setting on connect, if that is another. Default: leave the setting alone.
    """

    model = "Vaisala DRYCAP"
    about = About(
        maker="Vaisala",
        models="DRYCAP transmitters and probes with self-test registers: DMT143, DMT340, DMP5 to DMP8",
        protocol="Modbus RTU or TCP, low word first",
        transport="RS-485, 19200 8N2; TCP through a gateway",
        verified=("frames that the maker prints", "minimalmodbus 2.1 against the simulated instrument"),
        unsupported="probes behind an Indigo500, DPT145, DPT146; sensor purge and settings but the pressure",
    )
    accuracy_K = 2.0  # of dew point, DMT143 data sheet; less below -60 degC
    settings: ClassVar[LinkSettings] = LinkSettings(serial="19200 8N2")

    pressure_setting = Cpt(
        Setting,
        unit="kPa",
        precision=2,
        limits=(0.0, 5000.0),
        kind="config",
        doc="Absolute gas pressure that the instrument computes the water fraction with",
    )

    def __init__(
        self,
        *,
        unit: int = 240,
        framing: Literal["rtu", "tcp"] = "rtu",
        gas_pressure_kPa: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._modbus = ModbusClient(self.link, unit, framing)
        self._gas_pressure_kPa = gas_pressure_kPa

    def identify(self) -> Identity:
        """Read the name plate; refuse another maker's, and instruments without one."""
        try:
            plate = self._modbus.identification(level=3)
        except InstrumentError as error:
            raise self.wrong(f"an instrument without name plate: {error.problem}") from error
        if plate.get(_VENDOR) != _MAKER:
            raise self.wrong(f"{plate.get(_VENDOR, '')} {plate.get(_PRODUCT, '')}")
        return Identity(_MAKER, plate.get(_PRODUCT, ""), plate.get(_SERIAL, ""), plate.get(_VERSION, ""))

    def upload_limits(self) -> None:
        """Prove the order of words by the self-test register, and bring the gas pressure into the instrument.

        Raises
        ------
        WrongInstrument
            If the self-test register does not read -123.45.
        LimitError
            If the gas pressure is outside the limits; nothing was written then.
        InstrumentError
            If the instrument holds another pressure than it was told: it ignores what is out of its range.
        """
        words = self._modbus.read_registers(_SELF_TEST, len(_SELF_TEST_WORDS))
        if words != _SELF_TEST_WORDS:
            raise self.wrong(f"self-test register {words[0]:04X} {words[1]:04X}, not E666 C2F6")
        held_kPa = self._read_pressure()
        if self._gas_pressure_kPa is not None and not _same(held_kPa, self._gas_pressure_kPa):
            self._write_pressure(self._gas_pressure_kPa)

    def poll(self) -> None:
        """Read dew point, temperature and water fraction.

        Raises
        ------
        InstrumentError
            If the instrument reports errors of its own.
        """
        fault_free = self._modbus.read_registers(_FAULT_STATUS, 1)[0] == _NO_ERRORS
        readings = decode_readings(self._modbus.read_registers(_READINGS, _READINGS_COUNT))
        complete = quality_of(readings.dew_point_C + readings.water_ppm)
        self.record(
            dew_point=readings.dew_point_C,
            temperature=readings.temperature_C,
            water_fraction=readings.water_ppm,
            quality=complete if fault_free else "invalid",
        )
        if not fault_free:
            errors = decode_error_bits(self._modbus.read_registers(_ERROR_BITS, 2))
            raise self.refused(f"reports errors {', '.join(map(str, errors)) or 'without number'}")

    def _write_pressure(self, pressure_kPa: float) -> None:
        self.pressure_setting.check_value(pressure_kPa)
        words = registers_from_float(pressure_kPa * _HPA_PER_KPA, "low first")
        self._modbus.write_registers(_PRESSURE_hPa, words)
        held_kPa = self._read_pressure()
        if not _same(held_kPa, pressure_kPa):
            raise self.refused(f"holds a gas pressure of {held_kPa:g} kPa, told {pressure_kPa:g} kPa")

    def _read_pressure(self) -> float:
        registers = self._modbus.read_registers(_PRESSURE_hPa, 2)
        pressure_kPa = float_from_registers(registers, "low first") / _HPA_PER_KPA
        self.record(pressure_setting=pressure_kPa)
        return pressure_kPa
