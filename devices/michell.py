"""Michell Optidew chilled-mirror dew-point transmitters, Modbus RTU (RS-485, USB) or Modbus TCP (Ethernet).

Source: Optidew User's Manual 97551 issue 1 (February 2018), appendix B, p. 47 (functions 3, 6, 16; types;
9600 8N1), p. 49 (registers 0 to 30), p. 50 (registers 31 to 40: units, operating mode, faults). Numbers are
IEEE 754 singles, high word first: the other way round than Vaisala's. Register numbers are addresses of the
protocol data unit. The pages after p. 50 could not be read: the basis of the water fraction (register 105,
"default = dry basis") is left as it is, and so is the pressure that the instrument computes with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from devices.families.dew_point_transmitter import DewPointTransmitter
from devices.instrument import About, Cpt, Identity
from devices.signals import Text
from ssblab.links import InstrumentError, LinkSettings, ProtocolError
from ssblab.links.modbus import ModbusClient, float_from_registers

__all__ = [
    "MichellOptidew",
    "Readings",
    "State",
    "celsius",
    "decode_readings",
    "decode_state",
    "faults_in",
    "vapour_pressure_Pa",
]

_ADDRESS = 0
_PLATE, _PLATE_COUNT = 2, 4  # serial number (two words), firmware, version of the register map
_READINGS, _READINGS_COUNT = 6, 20  # 26 to 29 and 32 are not in the map: nothing is asked across them
_UNITS, _UNITS_COUNT = 30, 2
_STATE, _STATE_COUNT = 33, 7

_MODES = {5: "max cool", 6: "DCC", 7: "hold", 8: "measure", 9: "standby", 10: "FAST", 13: "system failure"}
_MEASURE, _FAILURE = 8, 13
_CONTROL = ("idle", "in control", "heating", "cooling")
_IN_CONTROL = 1
_FAULTS_1 = (
    "optics search fail",
    "optics minimum limit",
    "optics maximum limit",
    "ambient Pt100 fail",
    "mirror Pt100 fail",
    "mirror overheat",
    "pressure transmitter loop fail",
    "heating saturation",
    "cooling saturation",
)
_FAULTS_2 = (
    "ambient Pt100 open",
    "ambient Pt100 low",
    "ambient Pt100 high",
    "mirror Pt100 open",
    "mirror Pt100 low",
    "mirror Pt100 high",
    "pressure transmitter loop open",
    "pressure transmitter loop alarm",
    "pressure transmitter loop fail",
    "contaminated",
)
_NOT_IN_ITS_MAP = ("exception 1 ", "exception 2 ")
_SATURATIONS = {"heating saturation", "cooling saturation"}


@dataclass(frozen=True)
class Readings:
    """One poll; temperatures in the instrument's unit, water by volume, vapour pressure."""

    dew_point: float
    temperature: float
    water_ppm: float
    vapour_Pa: float


@dataclass(frozen=True)
class State:
    """What the instrument is doing: mode, control of the mirror's temperature, its faults."""

    mode: str
    control: str
    faults: tuple[str, ...]

    @property
    def quality(self) -> str:
        """Quality of a reading in this state: the mirror is at the dew point only when it is controlled."""
        if set(self.faults) - _SATURATIONS or self.mode != _MODES[_MEASURE]:
            return "invalid"
        if self.faults:
            return "saturated"
        return "ok" if self.control == _CONTROL[_IN_CONTROL] else "invalid"


def decode_readings(registers: Sequence[int]) -> Readings:
    """Decode registers 6 to 25."""
    numbers = [float_from_registers(registers[i : i + 2], "high first") for i in (0, 2, 8, 18)]
    return Readings(*numbers)


def celsius(value: float, unit: int) -> float:
    """Temperature in degC of a number in the unit of register 30: 0 degC, 1 degF."""
    if unit not in (0, 1):
        raise ProtocolError(f"temperature unit {unit} is not in the manual")
    return value if unit == 0 else (value - 32.0) / 1.8


def faults_in(word: int, names: Sequence[str]) -> list[str]:
    """Names of the bits that are set; a bit without a name is told by its value."""
    return [names[i] if i < len(names) else f"fault {1 << i}" for i in range(16) if word >> i & 1]


def decode_state(registers: Sequence[int]) -> State:
    """Decode registers 33 to 39."""
    mode, control, first, second = registers[0], registers[4], registers[5], registers[6]
    if mode not in _MODES or control >= len(_CONTROL):
        raise ProtocolError(f"operating mode {mode} with sensor status {control} is not in the manual")
    faults = faults_in(first, _FAULTS_1) + faults_in(second, _FAULTS_2)
    return State(_MODES[mode], _CONTROL[control], tuple(faults))


def vapour_pressure_Pa(dew_point_C: float) -> float:
    """Vapour pressure at a dew point, over ice below 0 degC: Magnus form of Sonntag 1990, within 1 %."""
    if dew_point_C < 0:
        return 611.2 * math.exp(22.46 * dew_point_C / (272.62 + dew_point_C))
    return 611.2 * math.exp(17.62 * dew_point_C / (243.12 + dew_point_C))


def _agree(dew_point_C: float, vapour_Pa: float) -> bool:
    """Whether two registers say the same; supercooled water has at most 1.5 times the pressure of ice."""
    is_possible = -110.0 <= dew_point_C <= 150.0
    return is_possible and 0.5 <= vapour_Pa / vapour_pressure_Pa(dew_point_C) <= 2.0


class MichellOptidew(DewPointTransmitter):
    """Michell Optidew (2018 and later) with its Modbus interface.

    A chilled mirror reads the dew point only while it controls the mirror's temperature; during its cleaning
    cycle (DCC) and while it heats or cools there is no reading. Below 0 degC the mirror's film is taken for
    ice, as the maker's "dew/frost point" has it.

    Parameters
    ----------
    unit : int
        Its Modbus address.
    framing : {"rtu", "tcp"}
        Serial frames (also through a serial-to-network server), or Modbus TCP.
    """

    model = "Michell Optidew"
    accuracy_K = 0.2  # of dew point, data sheet of the Optidew
    settings: ClassVar[LinkSettings] = LinkSettings(serial="9600 8N1")
    about = About(
        maker="Michell Instruments",
        models="Optidew (2018 and later)",
        protocol="Modbus RTU or TCP, high word first",
        transport="RS-485 or USB, 9600 8N1; TCP 502",
        verified=(
            "register map of manual 97551, p. 47-50",
            "minimalmodbus 2.1 against the simulated instrument",
        ),
        unsupported="starting a DCC, alarms, analogue outputs; basis (dry or wet) and pressure of the water "
        "fraction stay as set at the instrument; manual p. 51 and later could not be read",
    )

    operating_mode = Cpt(Text, kind="omitted", doc="Operating mode, control of the mirror, and faults")

    def __init__(self, *, unit: int = 1, framing: Literal["rtu", "tcp"] = "rtu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._modbus = ModbusClient(self.link, unit, framing)
        self._unit = unit
        self._framing = framing

    def identify(self) -> Identity:
        """Read serial number and firmware; the instrument has no name plate, so its map is looked at.

        Raises
        ------
        WrongInstrument
            If registers are missing, the address register holds another address, or units or state are not
            among those of the manual.
        """
        try:
            plate = self._modbus.read_registers(_PLATE, _PLATE_COUNT)
            address = self._modbus.read_registers(_ADDRESS, 1)[0]
            decode_state(self._modbus.read_registers(_STATE, _STATE_COUNT))
            celsius(0.0, self._modbus.read_registers(_UNITS, _UNITS_COUNT)[0])
        except InstrumentError as error:
            if not error.problem.startswith(_NOT_IN_ITS_MAP):  # it is busy, or failed
                raise
            raise self.wrong(f"an instrument with another register map: {error.problem}") from error
        except ProtocolError as error:
            raise self.wrong(f"an instrument whose {error}") from error
        if self._framing == "rtu" and address != self._unit:
            raise self.wrong(f"an instrument whose register 0 holds {address}, not its address {self._unit}")
        return Identity("Michell", "Optidew", str(plate[0] << 16 | plate[1]), str(plate[2]))

    def poll(self) -> None:
        """Read state, dew point, temperature and water fraction.

        Raises
        ------
        InstrumentError
            If the instrument reports a fault other than a dew point beyond its range, or a system failure.
        WrongInstrument
            If dew point and vapour pressure contradict each other: numbers with swapped words look like
            0 degC.
        """
        state = self._read_state()
        readings, dew_point_C, temperature_C = self._read()
        quality = state.quality
        if quality == "ok" and not math.isfinite(dew_point_C + readings.water_ppm):
            quality = "invalid"
        if quality == "ok" and not _agree(dew_point_C, readings.vapour_Pa):
            self.record(quality="invalid")
            raise self.wrong(
                f"an instrument with dew point {dew_point_C:g} degC at {readings.vapour_Pa:g} Pa of water"
            )
        is_reading = quality == "ok"
        self.record(
            dew_point=dew_point_C if is_reading else math.nan,
            temperature=math.nan if any("ambient" in fault for fault in state.faults) else temperature_C,
            water_fraction=readings.water_ppm if is_reading else math.nan,
            operating_mode=", ".join([state.mode, state.control, *state.faults]),
            quality=quality,
        )
        serious = [fault for fault in state.faults if fault not in _SATURATIONS]
        if state.mode == _MODES[_FAILURE] or serious:
            raise self.refused(f"reports {', '.join(serious) or state.mode}")

    def _read_state(self) -> State:
        try:
            return decode_state(self._modbus.read_registers(_STATE, _STATE_COUNT))
        except ProtocolError as error:
            self.record(quality="invalid")
            raise self.refused(str(error)) from error

    def _read(self) -> tuple[Readings, float, float]:
        """Readings, with dew point and temperature in degC; the unit each time, because it can be changed."""
        readings = decode_readings(self._modbus.read_registers(_READINGS, _READINGS_COUNT))
        unit = self._modbus.read_registers(_UNITS, _UNITS_COUNT)[0]
        try:
            return readings, celsius(readings.dew_point, unit), celsius(readings.temperature, unit)
        except ProtocolError as error:
            self.record(quality="invalid")
            raise self.refused(str(error)) from error
