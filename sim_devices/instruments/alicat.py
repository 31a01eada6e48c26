"""Alicat MC-series mass-flow controller, ASCII protocol, firmware 10v20.

Source: replies captured from an MC-500SCCM-D, firmware 10v20.0-R24, as published in the fixtures of the
alicatlib client; Alicat serial primer; status MOV and ADC: table of device status, Alicat EtherNet/IP manual,
assembly 101. 19200 baud 8N1, unit id A-Z, lines end with CR both ways.

Unit id and full scale are in permanent memory, and so, it is assumed, is the gas. The set point is not kept
here when power is lost, nor is a valve hold: the maker lets users choose whether a set point is saved, and
the default is not known to us. The reading beyond the range, 28 % above full scale, is a placeholder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sim_devices.line import LineInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["FlowPath", "SimulatedAlicat"]

#: By the maker's numbers, short and long names.
_GASES = (
    ("Air", "Air"), ("Ar", "Argon"), ("CH4", "Methane"), ("CO", "Carbon Monoxide"), ("CO2", "Carbon Dioxide"),
    ("C2H6", "Ethane"), ("H2", "Hydrogen"), ("He", "Helium"), ("N2", "Nitrogen"), ("N2O", "Nitrous Oxide"),
    ("Ne", "Neon"), ("O2", "Oxygen"),
)  # fmt: skip
_BEYOND = 1.28  # of the full scale: where a reading ends


class FlowPath(Protocol):
    """The gas line that the controller sits in."""

    setpoint_mL_min: float

    def flow_mL_min(self) -> float:
        """Mass flow now, at 25 degC and 101.325 kPa."""

    def temperature_C(self) -> float:
        """Gas temperature."""

    def pressure_kPa(self) -> float:
        """Absolute pressure in the controller."""


class SimulatedAlicat(LineInstrument):
    """Answers polls (`A`), set points (`AS`, `ALS`), valve holds (`AHP`, `AHC`, `AC`), gases, and who it is.

    Tares (`AV`, `AP`, `APC`) are acknowledged; there is no offset to take away.

    Parameters
    ----------
    path : FlowPath
        The line that it controls.
    full_scale_mL_min : float
        Largest flow; set points above are cut to it, as the instrument does.
    """

    latency_s = 0.02
    breakdowns: tuple[Breakdown, ...] = ("error", "over_range")

    def __init__(
        self, clock: Clock, path: FlowPath, *, full_scale_mL_min: float = 1000.0, unit: str = "A"
    ) -> None:
        super().__init__(clock)
        self._path = path
        self._unit = unit
        self.full_scale_mL_min = full_scale_mL_min
        self._gas = 0
        self.extra_status = ""  #: status codes such as "TMF" or "OVR", as a fault of the instrument
        self.power_on()

    def power_on(self) -> None:
        """Forget set point and valve hold: no flow."""
        self._setpoint_mL_min = 0.0
        self._hold = ""  # where the valve is held: "position", "closed", or ""
        self._drive()

    def answer(self, line: str) -> bytes:
        """Give the reply to one command."""
        if not line.upper().startswith(self._unit):
            return b""  # another unit's business
        return self._command(line[1:].upper().removeprefix("$$"))

    def _command(self, command: str) -> bytes:
        if command == "":
            return self._frame()
        if command == "VE":
            return self._line("  10v20.0-R24 Jan  9 2025,15:04:07")
        if command == "??M*":
            plate = enumerate(self._name_plate())
            return b"".join(self._line(f"M{i:02d} {text}", gap=" ") for i, text in plate)
        if command == "FPF 5":
            return self._line(f"+{self.full_scale_mL_min:07.2f} 12 SCCM", gap=" ")
        if command == "R122":  # control point: mass flow
            return self._line("  122 = 37")
        if command == "LS":
            return self._setpoint_reply()
        if command.startswith("LS "):
            return self._set(command[3:], self._setpoint_reply)
        if command.startswith("S") and command[1:2] in "+-0123456789." and command != "S":
            return self._set(command[1:], self._frame)
        if command in ("HP", "HC", "C"):
            return self._hold_valve({"HP": "position", "HC": "closed", "C": ""}[command])
        if command in ("V", "P", "PC"):
            return self._frame()
        return self._gas_command(command)

    def _gas_command(self, command: str) -> bytes:
        """Tell or change the gas that flows are computed for."""
        if command == "??G*":
            return b"".join(self._line(f"G{i:02d} {name:>8}") for i, (name, _) in enumerate(_GASES))
        if command == "GS":
            return self._gas_reply()
        if command == "R46":
            return self._line(f"  046 = {self._gas}")
        if command.startswith("GS "):
            return self._set_gas(command[3:], self._gas_reply)
        if command.startswith("W46="):
            return self._set_gas(command[4:], lambda: self._line(f"  046 = {self._gas}"))
        if command.startswith("G"):
            return self._set_gas(command[1:], self._frame)
        return b"?\r"

    def _set_gas(self, text: str, reply: Callable[[], bytes]) -> bytes:
        number = text.split()[0] if text.split() else ""
        if not number.isdecimal() or int(number) >= len(_GASES):
            return b"?\r"
        self._gas = int(number)
        return reply()

    def _gas_reply(self) -> bytes:
        return self._line(f"{self._gas} {' '.join(_GASES[self._gas])}")

    def _set(self, text: str, reply: object) -> bytes:
        try:
            value = float(text.split()[0])
        except (ValueError, IndexError):
            return b"?\r"
        self._setpoint_mL_min = min(max(value, 0.0), self.full_scale_mL_min)
        self._drive()
        assert callable(reply)
        return bytes(reply())

    def _hold_valve(self, hold: str) -> bytes:
        self._hold = hold
        self._drive()
        return self._frame()

    def _drive(self) -> None:
        if self._hold != "position":  # a valve that is held where it is follows no set point
            self._path.setpoint_mL_min = 0.0 if self._hold else self._setpoint_mL_min

    def _frame(self) -> bytes:
        pressure_psia = self._path.pressure_kPa() / 6.894757
        temperature_C = self._path.temperature_C()
        beyond = self.broken("over_range")
        mass_flow = _BEYOND * self.full_scale_mL_min if beyond else self._path.flow_mL_min()
        volume_flow = mass_flow * (temperature_C + 273.15) / 298.15 * 101.325 / self._path.pressure_kPa()
        shown = {"ADC": self.broken("error"), "MOV": beyond, "HLD": bool(self._hold)}
        status = [*self.extra_status.split(), *(code for code, on in shown.items() if on)]
        codes = "".join(f" {code}" for code in status)
        numbers = f"{pressure_psia:+07.2f} {temperature_C:+07.2f} {volume_flow:+07.2f} {mass_flow:+07.2f}"
        return self._line(
            f"{numbers} {self._setpoint_mL_min:+07.2f} {_GASES[self._gas][0]:>6}{codes}", gap=" "
        )

    def _setpoint_reply(self) -> bytes:
        now = self._path.setpoint_mL_min
        return self._line(f"{now:+07.2f} {self._setpoint_mL_min:+07.2f} 12 SCCM", gap=" ")

    def _line(self, text: str, *, gap: str = " ") -> bytes:
        return f"{self._unit}{gap}{text}\r".encode("ascii")

    def _name_plate(self) -> list[str]:
        return [
            "ALICAT SCIENTIFIC",
            "www.AlicatScientific.com",
            "+1 520-290-6060",
            "info@alicat.com",
            f"Model Number MC-{self.full_scale_mL_min:.0f}SCCM-D",
            "Serial Number 123456",
            "Date Manufactured 01/09/2025",
            "Date Calibrated   01/09/2025",
            "Calibrated By     CAL",
            "Software Revision 10v20.0-R24",
        ]
