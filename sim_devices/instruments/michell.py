"""Michell Optidew chilled-mirror dew-point transmitter, Modbus RTU or TCP.

Source: Optidew User's Manual 97551 issue 1 (February 2018), appendix B: functions and types p. 47, registers
0 to 30 p. 49, 31 to 40 p. 50; that registers 100, 101 and 105 set units and basis is said there too. What the
manual does not say, or says on pages that could not be read, is a placeholder: the length of the first
cleaning cycle (DCC), latency, exceptions (2 for registers outside the map, 3 for values outside a list, 6
when busy), that the dew-point register shows the mirror's temperature while it is heated, and which registers
survive power-off (all that can be written).

Formulas: wet bulb by the psychrometer equation of WMO-No. 8 (2018), annex 4.B; the others are definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from sim_devices.instruments.vaisala import MoistGas
from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from sim_devices.physics.constants import ZERO_CELSIUS_K, GAS_CONSTANT_J_mol_K
from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa, saturation_pressure_Pa
from ssblab.clock import Clock

__all__ = ["SimulatedOptidew"]

_DEW_POINT, _AMBIENT, _PRESSURE, _HUMIDITY, _PPM_VOLUME, _PPM_WEIGHT = 6, 8, 10, 12, 14, 16
_ABSOLUTE, _MIXING_RATIO, _WET_BULB, _VAPOUR = 18, 20, 22, 24
_DCC, _MEASURE, _FAILURE = 6, 8, 13
_IN_CONTROL, _HEATING, _COOLING = 1, 2, 3
_COOLING_SATURATION, _HEATING_SATURATION, _OPTICS_SEARCH_FAIL = 256, 128, 1
_TEMPERATURE_UNIT, _PRESSURE_UNIT, _BASIS = 100, 101, 105
_LARGEST = {_TEMPERATURE_UNIT: 1, _PRESSURE_UNIT: 4, _BASIS: 1}
_PSI_Pa, _BAR_Pa, _ATMOSPHERE_Pa = 6894.757, 1e5, 101_325.0
_WATER_g_mol = 18.015
_HEATED_K = 20.0


class SimulatedOptidew(ModbusInstrument):
    """Answers functions 3, 6 and 16.

    After power-up it cleans its mirror (DCC) before it measures.

    Parameters
    ----------
    gas : MoistGas
        What flows over the mirror.
    dcc_s : float
        Length of the cleaning cycle after power-up.
    lowest_C, highest_C : float
        Where the mirror's Peltier element comes to its ends.
    pressure_kPa : float
        Pressure that it computes with; it has no transmitter.

    Attributes
    ----------
    fault_1, fault_2 : int
        Bits of the fault registers 38 and 39.
    """

    latency_s = 0.05
    breakdowns = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        gas: MoistGas,
        *,
        unit: int = 1,
        framing: Literal["rtu", "tcp"] = "rtu",
        serial: int = 144_321,
        dcc_s: float = 120.0,
        lowest_C: float = -60.0,
        highest_C: float = 90.0,
        pressure_kPa: float = 101.325,
        carrier_g_mol: float = 28.964,
    ) -> None:
        super().__init__(clock, unit=unit, framing=framing)
        self._gas = gas
        self._serial = serial
        self._dcc_s = dcc_s
        self._range_C = (lowest_C, highest_C)
        self._pressure_Pa = 1000.0 * pressure_kPa
        self._carrier_g_mol = carrier_g_mol
        self._settings = dict.fromkeys(_LARGEST, 0) | {_PRESSURE_UNIT: 4}
        self._registers: dict[int, int] = {}
        self.fault_1 = self.fault_2 = 0
        self.power_on()

    def power_on(self) -> None:
        """Begin with a cleaning cycle; settings are kept."""
        self._dcc_until = self.clock.monotonic() + self._dcc_s

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Measure once, so that all words of an answer are of one time, and answer."""
        self._registers = self._measure()
        return super().receive(buffer)

    def read_holding_register(self, address: int) -> int:
        """Word of a register; outside the map: illegal address."""
        if address not in self._registers:
            raise ModbusException(2)
        return self._registers[address]

    def write_registers(self, address: int, values: list[int]) -> None:
        """Set the Modbus address, a unit or the basis; all else is read-only."""
        if len(values) != 1 or address not in (0, *_LARGEST):
            raise ModbusException(2)
        (value,) = values
        if address == 0:
            if not 1 <= value <= 247:
                raise ModbusException(3)
            self.unit = value
        elif value > _LARGEST[address]:
            raise ModbusException(3)
        else:
            self._settings[address] = value

    def _measure(self) -> dict[int, int]:
        frost_C, ambient_C = self._gas.dew_point_C(), self._gas.temperature_C()
        mode, control, left_s = self._state()
        mirror_C = min(max(frost_C, self._range_C[0]), self._range_C[1])
        if control == _HEATING:
            mirror_C = ambient_C + _HEATED_K
        fault_1 = self.fault_1 | self._saturation(frost_C)
        if self.broken("error"):
            fault_1 |= _OPTICS_SEARCH_FAIL
        words = {0: self.unit, 2: self._serial >> 16, 3: self._serial & 0xFFFF, 4: 105, 5: 3}
        for address, value in self._quantities(mirror_C, ambient_C).items():
            words[address], words[address + 1] = float_words(value, low_first=False)
        words |= {30: self._settings[_TEMPERATURE_UNIT], 31: self._settings[_PRESSURE_UNIT]}
        hours, seconds = divmod(int(left_s), 3600)
        words |= {33: mode, 34: hours, 35: seconds // 60, 36: seconds % 60, 37: control}
        words |= {38: fault_1, 39: self.fault_2, 40: 0}
        return words | self._settings

    def _state(self) -> tuple[int, int, float]:
        """Operating mode, sensor status, and what is left of the mode."""
        left_s = self._dcc_until - self.clock.monotonic()
        if self.broken("error"):
            return _FAILURE, 0, 0.0
        if left_s > 0:
            return _DCC, _HEATING, left_s
        return _MEASURE, _COOLING if self._saturation(self._gas.dew_point_C()) else _IN_CONTROL, 0.0

    def _saturation(self, frost_C: float) -> int:
        if self.broken("over_range") or frost_C < self._range_C[0]:
            return _COOLING_SATURATION
        return _HEATING_SATURATION if frost_C > self._range_C[1] else 0

    def _quantities(self, dew_point_C: float, ambient_C: float) -> dict[int, float]:
        """What the instrument shows for a mirror temperature, in its units."""
        vapour_Pa, total_Pa = saturation_pressure_Pa(dew_point_C), self._pressure_Pa
        is_wet_basis = bool(self._settings[_BASIS])
        dry_fraction = vapour_Pa / max(total_Pa - vapour_Pa, 1.0)
        ratio = dry_fraction * _WATER_g_mol / self._carrier_g_mol
        moles_m3 = vapour_Pa / (GAS_CONSTANT_J_mol_K * (ambient_C + ZERO_CELSIUS_K))
        return {
            _DEW_POINT: self._shown_temperature(dew_point_C),
            _AMBIENT: self._shown_temperature(ambient_C),
            _PRESSURE: self._shown_pressure(),
            _HUMIDITY: 100.0 * vapour_Pa / saturation_pressure_liquid_Pa(ambient_C),
            _PPM_VOLUME: 1e6 * (vapour_Pa / total_Pa if is_wet_basis else dry_fraction),
            _PPM_WEIGHT: 1e6 * (ratio / (1.0 + ratio) if is_wet_basis else ratio),
            _ABSOLUTE: moles_m3 * _WATER_g_mol,
            _MIXING_RATIO: 1e3 * ratio,
            _WET_BULB: self._shown_temperature(_wet_bulb_C(ambient_C, vapour_Pa, total_Pa)),
            _VAPOUR: vapour_Pa,
        }

    def _shown_temperature(self, temperature_C: float) -> float:
        return 32.0 + 1.8 * temperature_C if self._settings[_TEMPERATURE_UNIT] else temperature_C

    def _shown_pressure(self) -> float:
        gauge_Pa = self._pressure_Pa - _ATMOSPHERE_Pa
        return (
            gauge_Pa / _PSI_Pa,
            self._pressure_Pa / _PSI_Pa,
            gauge_Pa / _BAR_Pa,
            self._pressure_Pa / _BAR_Pa,
            self._pressure_Pa / 1000.0,
        )[self._settings[_PRESSURE_UNIT]]


def _wet_bulb_C(temperature_C: float, vapour_Pa: float, total_Pa: float) -> float:
    low_C, high_C = temperature_C - 60.0, temperature_C + 60.0
    for _ in range(40):
        wet_C = (low_C + high_C) / 2.0
        carried_Pa = 6.53e-4 * (1 + 9.44e-4 * wet_C) * total_Pa * (temperature_C - wet_C)
        if saturation_pressure_liquid_Pa(wet_C) - carried_Pa > vapour_Pa:
            high_C = wet_C
        else:
            low_C = wet_C
    return low_C
