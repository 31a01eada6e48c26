"""MKS series-900 vacuum transducer (925, 972B or 974B), RS-232 or RS-485, 9600 8N1.

Source: operation manuals of the series, whose protocol is one: 902B 100017633 rev. B p. 12-13 (syntax, ACK
and NAK, addresses 254 and 255, baud rate, delay), p. 21 (lock, user switch, test), p. 46 (queries); 910
DualTrans p. 15 (set points), p. 24 (SN, TIM, TEM, T), p. 46 (queries, forms of numbers); 971 UniMag p. 26
(assignment of relays; PR1 to PR5, taken for the 972B too). Model 974B (PR1 to PR5, words of EN, letters of
T): driver `mks974b` of pymeasure 0.16, where it is said too that a new set point or direction sets the
hysteresis 10 % off. Texts of NAK 160, 169, 172, 175, 180: public driver of a 972B (uw-loci/972b).

Not in the sources, and placeholders here: that a transducer beyond its range shows the end of the range;
that a sensor which a model lacks is NAK160; the ranges of set points (those of the readings); the ranges of
the single sensors of a 974B, whose piezo is taken for absolute; latency. Left out: zero, atmosphere and gas
adjustments, analogue output, factory default.
"""

from __future__ import annotations

import re

from sim_devices.instruments.pfeiffer_tpg import Gauge
from sim_devices.line import LineInstrument
from ssblab.clock import Clock

__all__ = ["SimulatedMks900"]

_PA_PER_TORR = 101_325.0 / 760.0
_UNITS_Pa = {"TORR": _PA_PER_TORR, "MBAR": 100.0, "PASCAL": 1.0}
_BAUD_RATES = ("4800", "9600", "19200", "38400", "57600", "115200", "230400")
_ON_OFF = ("ON", "OFF")
_MESSAGE = re.compile(r"@(\d{3})([A-Z]+)(\d?)(.?)(.*)")
_ALL_REPLY, _ALL_SILENT = 254, 255
_NOT_RECOGNISED, _INVALID, _OUT_OF_RANGE, _NO_MARK, _LOCKED = 160, 169, 172, 175, 180
_UNLOCKED_ALWAYS = {"FD", "TST"}
_COLD_CATHODE_BELOW_Torr = 1e-4

#: Device type, range in Torr, and the words that EN takes beside OFF.
_MODELS = {
    "925": ("MicroPirani", (1e-5, 760.0), ("ON",)),
    "972B": ("DualMag", (1e-8, 760.0), ("ON", "CMB", "PIR", "CC")),
    "974B": ("QuadMag", (1e-8, 1500.0), ("ON", "CMB", "PIR", "PZ", "CC")),
}
#: What PRn shows of a single sensor, by its range in Torr; otherwise it is the (combined) reading.
_PIRANI, _PIEZO, _COLD_CATHODE = (1e-5, 760.0), (0.1, 1500.0), (1e-8, 5e-3)
_SENSORS = {
    "925": {},
    "972B": {"1": _PIRANI, "2": _COLD_CATHODE, "5": _COLD_CATHODE},
    "974B": {"1": _PIRANI, "2": _PIEZO, "5": _COLD_CATHODE},
}
_FIXED_WORDS = {"RSD": _ON_OFF, "SW": _ON_OFF, "TST": _ON_OFF, "SPD": _ON_OFF, "BR": _BAUD_RATES}


class _Nak(Exception):
    """The transducer says no, with this code."""


class _Relay:
    """A set-point relay; its values in Pa."""

    def __init__(self, setpoint_Pa: float) -> None:
        self.direction = "BELOW"
        self.enabled = "OFF"
        self.is_energized = False
        self.move(setpoint_Pa)

    def move(self, setpoint_Pa: float) -> None:
        """Take a set point; the hysteresis follows, 10 % off."""
        self.setpoint_Pa = setpoint_Pa
        self.hysteresis_Pa = setpoint_Pa * (1.1 if self.direction == "BELOW" else 0.9)

    def look(self, pressure_Pa: float) -> str:
        """SET or CLEAR: energized beyond the set point, released beyond the hysteresis value."""
        sign = 1.0 if self.direction == "BELOW" else -1.0
        if self.enabled == "OFF" or sign * (pressure_Pa - self.hysteresis_Pa) > 0:
            self.is_energized = False
        elif sign * (pressure_Pa - self.setpoint_Pa) < 0:
            self.is_energized = True
        return "SET" if self.is_energized else "CLEAR"


class SimulatedMks900(LineInstrument):
    """Answers questions (`?`) and commands (`!`) to its address and to the universal ones.

    Parameters
    ----------
    gauge : Gauge
        What it is flanged to.
    model : {"925", "972B", "974B"}
        Its model number.
    unit_address : int
        Its address on the line, 1-253.
    locked : bool
        Whether it was delivered with a special configuration: commands need `FD!UNLOCK` after each power-up.
    """

    latency_s = 0.01
    terminator = b";FF"
    breakdowns = ("error", "over_range")

    def __init__(
        self,
        clock: Clock,
        gauge: Gauge,
        *,
        model: str = "925",
        unit_address: int = 253,
        locked: bool = False,
    ) -> None:
        super().__init__(clock)
        self._gauge = gauge
        self._model = model
        self._device_type, self._range_Torr, self._assignments = _MODELS[model]
        self._address = unit_address
        self._locked_at_power_on = locked
        self._words = {"U": "TORR", "RSD": "ON", "SW": "ON", "SPD": "ON", "BR": "9600", "UT": "VACUUM1"}
        self._relays = {number: _Relay(_PA_PER_TORR) for number in "123"}
        self._first_power_on = clock.monotonic()
        self.power_on()

    def power_on(self) -> None:
        """Lock again and end the test; everything else is kept in the transducer."""
        self._is_locked = self._locked_at_power_on
        self._words["TST"] = "OFF"
        for relay in self._relays.values():
            relay.is_energized = False

    def answer(self, line: str) -> bytes:
        """Give the reply to one message."""
        match = _MESSAGE.fullmatch(line[max(line.rfind("@"), 0) :].upper())
        if match is None or int(match[1]) not in (self._address, _ALL_REPLY, _ALL_SILENT):
            return b""
        address = self._address  # a new one holds from the next message on
        try:
            said = f"ACK{self._obey(match[2], match[3], match[4], match[5])}"
        except _Nak as refusal:
            said = f"NAK{refusal}"
        if int(match[1]) == _ALL_SILENT:
            return b""
        return f"@{address:03d}{said};FF".encode("ascii")

    def _obey(self, word: str, number: str, mark: str, argument: str) -> str:
        if mark == "?" and not argument:
            return self._tell(word, number)
        if mark != "!":
            raise _Nak(_NO_MARK)
        if self._is_locked and word not in _UNLOCKED_ALWAYS:
            raise _Nak(_LOCKED)
        if word in ("SP", "SH", "SD", "EN") and number in self._relays:
            return self._set_relay(self._relays[number], word, argument)
        if number:
            raise _Nak(_NOT_RECOGNISED)
        return self._set(word, argument)

    def _tell(self, word: str, number: str) -> str:
        pressure_Pa = self._reading_Pa()
        if word == "PR":
            return self._tell_pressure(number, pressure_Pa)
        if number in self._relays:
            relay = self._relays[number]
            state = relay.look(pressure_Pa)
            values = {"SS": state, "EN": relay.enabled, "SD": relay.direction}
            values |= {"SP": self._shown(relay.setpoint_Pa), "SH": self._shown(relay.hysteresis_Pa)}
        else:
            values = self._plate() | self._words if not number else {}
        if word not in values:
            raise _Nak(_NOT_RECOGNISED)
        return values[word]

    def _plate(self) -> dict[str, str]:
        hours = int((self.clock.monotonic() - self._first_power_on) // 3600)
        return {
            "AD": f"{self._address:03d}",
            "MD": self._model,
            "DT": self._device_type,
            "MF": "MKS",
            "HV": "A",
            "FV": "1.12",
            "SN": "1125123456",
            "TIM": str(hours),
            "TEM": _scientific(25.0, 2),
            "T": self._status(),
        }

    def _status(self) -> str:
        if self.broken("error"):
            return "M"
        is_low = self._reading_Pa() < _COLD_CATHODE_BELOW_Torr * _PA_PER_TORR
        return "G" if self._model != "925" and is_low else "O"

    def _tell_pressure(self, number: str, pressure_Pa: float) -> str:
        sensors = _SENSORS[self._model]
        if number not in ("1", "2", "3", "4", *sensors):
            raise _Nak(_NOT_RECOGNISED)
        low, high = sensors.get(number, self._range_Torr)
        pressure_Pa = min(max(pressure_Pa, low * _PA_PER_TORR), high * _PA_PER_TORR)
        return self._shown(pressure_Pa, 3 if number == "4" else 2)

    def _reading_Pa(self) -> float:
        low_Pa, high_Pa = (end * _PA_PER_TORR for end in self._range_Torr)
        return high_Pa if self.broken("over_range") else min(max(self._gauge.pressure_Pa(), low_Pa), high_Pa)

    def _shown(self, pressure_Pa: float, decimals: int = 2) -> str:
        return _scientific(pressure_Pa / _UNITS_Pa[self._words["U"]], decimals)

    def _set_relay(self, relay: _Relay, word: str, argument: str) -> str:
        if word == "SP":
            relay.move(self._pressure_Pa(argument))
            return self._shown(relay.setpoint_Pa)
        if word == "SH":
            relay.hysteresis_Pa = self._pressure_Pa(argument)
            return self._shown(relay.hysteresis_Pa)
        allowed = ("ABOVE", "BELOW") if word == "SD" else ("OFF", *self._assignments)
        if argument not in allowed:
            raise _Nak(_INVALID)
        if word == "SD":
            relay.direction = argument
            relay.move(relay.setpoint_Pa)
        else:
            relay.enabled = argument
        return argument

    def _pressure_Pa(self, argument: str) -> float:
        try:
            pressure_Pa = float(argument) * _UNITS_Pa[self._words["U"]]
        except ValueError:
            raise _Nak(_INVALID) from None
        low, high = self._range_Torr
        if not low <= pressure_Pa / _PA_PER_TORR <= high:
            raise _Nak(_OUT_OF_RANGE)
        return pressure_Pa

    def _set(self, word: str, argument: str) -> str:
        if word == "AD":
            return self._set_address(argument)
        if word == "FD":
            if argument not in ("LOCK", "UNLOCK"):
                raise _Nak(_INVALID)
            self._is_locked = argument == "LOCK"
            return ""
        allowed = tuple(_UNITS_Pa) if word == "U" else _FIXED_WORDS.get(word)
        if word not in self._words:
            raise _Nak(_NOT_RECOGNISED)
        if allowed is not None and argument not in allowed:
            raise _Nak(_INVALID)
        self._words[word] = argument
        return "" if word in ("SW", "TST") else argument

    def _set_address(self, argument: str) -> str:
        if not re.fullmatch(r"\d{1,3}", argument):
            raise _Nak(_INVALID)
        if not 1 <= int(argument) <= 253:
            raise _Nak(_OUT_OF_RANGE)
        self._address = int(argument)
        return f"{self._address:03d}"


def _scientific(value: float, decimals: int) -> str:
    """Number as the series writes it: 1.23E-3, 7.60E+2."""
    mantissa, exponent = f"{value:.{decimals}E}".split("E")
    return f"{mantissa}E{exponent[0]}{int(exponent[1:])}"
