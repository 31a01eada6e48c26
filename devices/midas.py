"""Honeywell Midas gas detector, Modbus TCP on port 502.

Source: Honeywell MIDAS-A-001 user manual, appendix A, tables A1 to A3 (register numbers there are PDU
address + 40001). That floats come low word first, and in ppm also where the display shows ppb, is from the
numat/midas client, which runs on instruments; so are the letters of fault codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devices.families.gas_alarm import MONITORING, GasAlarm
from devices.instrument import About, Identity
from ssblab.links import ProtocolError
from ssblab.links.modbus import ModbusClient, float_from_registers

__all__ = ["HoneywellMidas", "MidasReport", "decode_report", "fault_name"]

_REPORT, _REPORT_COUNT = 0, 16
_COMMAND = 20
_RESET = (0x015E, 0x3626)
_STATES = (
    "warm-up",
    MONITORING,
    "alarms inhibited",
    "alarms and faults inhibited",
    "fully inhibited",
    "simulation",
    "bump test",
    "loop calibration",
    "calibration",
)
_UNITS = {1: "ppm", 2: "ppb", 4: "% volume", 8: "% LEL", 16: "mA"}
_UNITS_IN_PPM = ("ppm", "ppb")
_INSTRUMENT_FAULT = 0b10
_FIRST_INSTRUMENT_FAULT = 30
_OVER_RANGE = "m10"
_STALE_S = 5.0  # the detector counts seconds; without a new count it is not alive, whatever it answers


@dataclass(frozen=True)
class MidasReport:
    """What registers 40001 to 40016 say; concentration and thresholds in ppm where `unit` is ppm or ppb."""

    state: str
    maintenance_fault: bool
    instrument_fault: bool
    low_alarm: bool
    high_alarm: bool
    gas_id: int
    cartridge_id: int
    concentration: float
    fault_code: str
    unit: str
    seconds: int
    low_threshold: float
    high_threshold: float

    @property
    def quality(self) -> str:
        """Quality of the concentration."""
        if self.fault_code == _OVER_RANGE:
            return "saturated"
        measured = math.isfinite(self.concentration) and self.unit in _UNITS_IN_PPM
        return "ok" if measured and not self.instrument_fault else "invalid"


def fault_name(number: int) -> str:
    """Fault as the display shows it: m for maintenance, F for the instrument; empty for none."""
    if number == 0:
        return ""
    return f"m{number}" if number < _FIRST_INSTRUMENT_FAULT else f"F{number}"


def decode_report(registers: Sequence[int]) -> MidasReport:
    """Decode registers 40001 to 40016.

    Raises
    ------
    ProtocolError
        If they can't be those of a Midas.
    """
    status, unit, decimals = registers[0], registers[6] >> 8, registers[6] & 0b111
    low, high = (float_from_registers(registers[i : i + 2], "low first") for i in (12, 14))
    if status & 0xF >= len(_STATES):
        raise ProtocolError(f"state {status & 0xF} is not defined")
    if unit not in _UNITS or decimals > 3:
        raise ProtocolError(f"unit {unit} with {decimals} decimals is not defined")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ProtocolError("thresholds are no numbers")
    return MidasReport(
        state=_STATES[status & 0xF],
        maintenance_fault=bool(status >> 4 & 1),
        instrument_fault=bool(status >> 4 & _INSTRUMENT_FAULT),
        low_alarm=bool(status >> 6 & 1),
        high_alarm=bool(status >> 7 & 1),
        gas_id=registers[1] & 0xFF,
        cartridge_id=registers[1] >> 8,
        concentration=float_from_registers(registers[2:4], "low first"),
        fault_code=fault_name(registers[5]),
        unit=_UNITS[unit],
        seconds=registers[9],
        low_threshold=low,
        high_threshold=high,
    )


class HoneywellMidas(GasAlarm):
    """Honeywell Midas with a cartridge for a toxic gas, which measures in ppm or ppb.

    Quality is "stale" if the detector's own count of seconds stands still.

    Parameters
    ----------
    unit : int
        Its Modbus unit identifier.
    """

    model = "Honeywell Midas"
    about = About(
        maker="Honeywell",
        models="Midas with a cartridge that measures in ppm or ppb",
        protocol="Modbus TCP",
        transport="TCP 502",
        verified=(
            "manual MIDAS-A-001, appendix A",
            "order of words and fault codes of the numat/midas client",
        ),
        unsupported="inhibiting, thresholds (set at the detector); it has no name plate to be known by",
    )

    def __init__(self, *, unit: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._modbus = ModbusClient(self.link, unit, "tcp")
        self._seconds = -1
        self._counted_at_s = -math.inf

    def identify(self) -> Identity:
        """Read the status registers: a Midas has no name plate, but few others could be taken for it."""
        registers = self._modbus.read_registers(_REPORT, _REPORT_COUNT)
        try:
            report = decode_report(registers)
        except ProtocolError as error:
            raise self.wrong(f"a Modbus instrument whose {error}") from error
        if report.unit not in _UNITS_IN_PPM:
            raise self.wrong(f"a Midas that measures in {report.unit}")
        return Identity("Honeywell", f"Midas, gas {report.gas_id}, cartridge {report.cartridge_id}")

    def read_detector(self) -> None:
        """Read concentration, alarms, faults, state and thresholds."""
        registers = self._modbus.read_registers(_REPORT, _REPORT_COUNT)
        try:
            report = decode_report(registers)
        except ProtocolError as error:
            raise self.link.failed(f"the registers make no sense ({error})") from error
        self.record(
            concentration=report.concentration,
            alarm=int(report.low_alarm or report.high_alarm),
            fault=int(report.maintenance_fault or report.instrument_fault or report.fault_code != ""),
            state=report.state,
            fault_code=report.fault_code,
            low_threshold=report.low_threshold,
            high_threshold=report.high_threshold,
            quality="stale" if self._stands_still(report.seconds) else report.quality,
        )

    def write_reset(self) -> None:
        """Write the command that resets alarms and faults."""
        self._modbus.write_registers(_COMMAND, _RESET)

    def _stands_still(self, seconds: int) -> bool:
        now_s = self.clock.monotonic()
        if seconds != self._seconds:
            self._seconds, self._counted_at_s = seconds, now_s
        return now_s - self._counted_at_s > _STALE_S
