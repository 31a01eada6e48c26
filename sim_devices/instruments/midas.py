"""Honeywell Midas gas detector, Modbus TCP.

Source: Honeywell MIDAS-A-001 user manual, appendix A, tables A1 to A3. Low word first, and ppm also with a
ppb display, as the numat/midas client found on instruments. Placeholders, for which no source was at hand:
latency, warm-up time, that a reset clears an alarm only for as long as the gas is below the threshold, what a
loss of power clears (latched alarms and faults, inhibition, the count of seconds), and the concentration that
is shown beyond the range. Busy is exception 6 of the Modbus specification. Thresholds can't be written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["RoomAir", "SimulatedMidas"]

_WARM_UP, _MONITORING, _ALARMS_INHIBITED, _FAULTS_INHIBITED, _ALL_INHIBITED = range(5)
_REGISTERS = 16
_COMMAND, _KEY = 20, 21
_PASSWORD = 0x3626
_RESET = 0x015E
_INHIBIT = {
    0x025E: _ALARMS_INHIBITED,
    0x035E: _FAULTS_INHIBITED,
    0x045E: _ALL_INHIBITED,
    0x055E: _MONITORING,
}
_DECIMALS = 2
_UNIT_CODES = {"ppm": 1, "ppb": 2, "% volume": 4, "% LEL": 8, "mA": 16}
_FIRST_INSTRUMENT_FAULT = 30
_OVER_RANGE, _FAILED = 10, 49  # m10; F49 stands for any fault of the instrument
_RANGE_ppm = 100.0


class RoomAir(Protocol):
    """The air at the detector."""

    def concentration_ppm(self) -> float:
        """Gas at the sample inlet now."""


class SimulatedMidas(ModbusInstrument):
    """Looks at its gas whenever it is asked; alarms and faults latch until they are reset.

    Parameters
    ----------
    air : RoomAir
        What it draws in.
    low_threshold_ppm, high_threshold_ppm : float
        Alarm levels.
    warm_up_s : float
        Time after power-up in which it does not watch yet.
    display : str
        Unit on its display.

    Attributes
    ----------
    mode : int
        State while it is not warming up: 1 monitoring, 2 to 4 inhibited, 5 simulation, 6 bump test, 7 and 8
        calibration.
    fault_number : int
        Fault that is there now, 0 for none; below 30 of maintenance (m), else of the instrument (F).
    frozen : bool
        Answers, but its firmware stands still: no heartbeat, no count of seconds.
    """

    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        air: RoomAir,
        *,
        low_threshold_ppm: float = 5.0,
        high_threshold_ppm: float = 10.0,
        warm_up_s: float = 0.0,
        display: str = "ppm",
        unit: int = 1,
    ) -> None:
        super().__init__(clock, unit=unit, framing="tcp")
        self._air = air
        self._thresholds_ppm = (low_threshold_ppm, high_threshold_ppm)
        self._warm_up_s = warm_up_s
        self._display = display
        self.fault_number = 0
        self.frozen = False
        self.power_on()

    def power_on(self) -> None:
        """Begin to warm up, with nothing latched and nothing inhibited; the thresholds are kept."""
        self._powered_s = self.clock.monotonic()
        self._concentration_ppm = 0.0
        self._seconds = 0
        self._alarms = [False, False]
        self._latched_fault = 0
        self._command = 0
        self.mode = _MONITORING

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Look at the gas once, so that all words of an answer are of one time, and answer."""
        self._look()
        return super().receive(buffer)

    def read_holding_register(self, address: int) -> int:
        """Status registers 40001 to 40016."""
        if address >= _REGISTERS:
            raise ModbusException(2)
        return self._registers()[address]

    def write_registers(self, address: int, values: list[int]) -> None:
        """Take a command and its key, together or one after the other; other pairs have no effect."""
        if address < _COMMAND or address + len(values) > _KEY + 1:
            raise ModbusException(2)
        for register, value in enumerate(values, start=address):
            if register == _COMMAND:
                self._command = value
            elif value == _PASSWORD:
                self._execute_command()

    def _execute_command(self) -> None:
        if self._command == _RESET:
            self._alarms = [False, False]
            self._latched_fault = 0
        self.mode = _INHIBIT.get(self._command, self.mode)

    def _look(self) -> None:
        if self.frozen:
            return
        self._seconds = int(self.clock.monotonic() - self._powered_s)
        self._concentration_ppm = _RANGE_ppm if self.broken("over_range") else self._air.concentration_ppm()
        state = self._state()
        if state == _MONITORING:
            for i, threshold_ppm in enumerate(self._thresholds_ppm):
                self._alarms[i] |= self._concentration_ppm >= threshold_ppm
        if (fault := self._fault()) and state not in (_FAULTS_INHIBITED, _ALL_INHIBITED):
            self._latched_fault = fault

    def _fault(self) -> int:
        if self.broken("error"):
            return _FAILED
        return _OVER_RANGE if self.broken("over_range") else self.fault_number

    def _state(self) -> int:
        warming = self.clock.monotonic() < self._powered_s + self._warm_up_s
        return _WARM_UP if warming else self.mode

    def _status(self) -> int:
        fault = 0 if not self._latched_fault else 1 if self._latched_fault < _FIRST_INSTRUMENT_FAULT else 2
        heartbeat = self._seconds // 2 % 2
        low, high = self._alarms
        return self._state() | fault << 4 | low << 6 | high << 7 | heartbeat << 11

    def _registers(self) -> list[int]:
        low_ppm, high_ppm = self._thresholds_ppm
        gas_and_cartridge, temperature_C, cell_life_h, flow_mL_min, reserved = 0x0B21, 25, 12960, 500, 0
        return [
            self._status(),
            gas_and_cartridge,
            *float_words(self._concentration_ppm, low_first=True),
            max(0, min(0xFFFF, round(self._concentration_ppm * 10**_DECIMALS))),
            self._latched_fault,
            _UNIT_CODES[self._display] << 8 | _DECIMALS,
            temperature_C,
            cell_life_h,
            self._seconds & 0xFFFF,
            flow_mL_min,
            reserved,
            *float_words(low_ppm, low_first=True),
            *float_words(high_ppm, low_first=True),
        ]
