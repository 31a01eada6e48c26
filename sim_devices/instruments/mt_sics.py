"""Mettler-Toledo weighing terminal or balance that speaks MT-SICS, levels 0 and 1.

Source: MT-SICS reference manuals (formats of replies with and without weight, error messages S I, S +, S -,
ES, ET, EL, L; lists of commands in the manuals of JS and ME/MS balances); serial number, balance data and
levels as an XS204 prints them in the documentation of the client mettler-toledo-device. Lines end with CR LF.
`S`, `T` and `Z` on a load that moves answer "I" at once; a real one tries for some seconds first. The form of
a reply while the weighing module is in error ("S S Error 10b") is not verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from sim_devices.line import LineInstrument
from ssblab.clock import Clock

__all__ = ["Load", "SimulatedMtSics"]

_GRAVITY_N_KG = 9.80665
_UNITS_KG = {"g": 1e-3, "kg": 1.0, "t": 1e3}
_ZERO_SHARE = 0.02  # of the capacity: placeholder
_REPEAT_S = 0.1
_LOOK_S = 0.2
_COMMANDS = (
    [
        "@",
        "I0",
        "I1",
        "I2",
        "I3",
        "I4",
        "I5",
        "I10",
        "I11",
        "S",
        "SI",
        "SIR",
        "Z",
        "ZI",
        "D",
        "DW",
        "T",
        "TA",
        "TAC",
        "TI",
        "SU",
        "SIU",
    ],
    [0] * 12 + [0] + [1] * 8,
)


class Load(Protocol):
    """What presses on the load cell."""

    def force_N(self) -> float:
        """Force on it now."""


class SimulatedMtSics(LineInstrument):
    """Answers S, SI, SIR, SU, SIU, Z, ZI, T, TI, TA, TAC, D, DW, @, I0 to I5, I10 and I11.

    Parameters
    ----------
    load : Load
        On its load cell.
    kind, serial : str
        As `I11` and `I4` print them.
    capacity_kg : float
        Full scale.
    unit : {"g", "kg", "t"}
        In which it prints.
    decimals : int
        Digits behind the point, in that unit.
    """

    latency_s = 0.03
    terminator = b"\r\n"
    breakdowns = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        load: Load,
        *,
        kind: str = "IND570",
        serial: str = "1126493049",
        capacity_kg: float = 1500.0,
        unit: str = "kg",
        decimals: int = 2,
    ) -> None:
        super().__init__(clock)
        self._load = load
        self._kind = kind
        self._serial = serial
        self._capacity_kg = capacity_kg
        self._unit = unit
        self._decimals = decimals
        self._zero_kg = 0.0
        self.power_on()

    def power_on(self) -> None:
        """No tare, nothing repeated."""
        self._tare_kg = 0.0
        self._repeats_from: float | None = None
        self._seen = (-1e9, 0.0)
        self._steady = True

    def unsolicited(self) -> Iterator[bytes]:
        """Send the weight again and again after `SIR`."""
        while self._repeats_from is not None and self._repeats_from <= self.clock.monotonic():
            self._repeats_from += _REPEAT_S
            yield f"{self._weight('S')}\r\n".encode("ascii")

    def next_unsolicited(self) -> float | None:
        """When the next weight after `SIR` is due."""
        return self._repeats_from

    def answer(self, line: str) -> bytes:
        """Give the reply to one command, which may be several lines."""
        words = re.findall(r'"[^"]*"|\S+', line)
        command, arguments = (words[0], words[1:]) if words else ("", [])
        if command in ("@", "S", "SI", "SIR", "SR", "SU", "SIU"):
            self._repeats_from = None
        return "".join(f"{reply}\r\n" for reply in self._replies(command, arguments)).encode("ascii")

    def _replies(self, command: str, arguments: list[str]) -> list[str]:
        if command not in _COMMANDS[0]:
            return ["ES"]
        if command != "@" and self.broken("busy"):
            return [f"{'S' if command in ('SI', 'SIR', 'SU', 'SIU') else command} I"]
        if arguments and command not in ("TA", "D", "I10"):
            return ["ES"]
        match command:
            case "@":
                self._tare_kg = 0.0
                return [f'I4 A "{self._serial}"']
            case "I0":
                last = len(_COMMANDS[0]) - 1
                pairs = zip(_COMMANDS[1], _COMMANDS[0], strict=False)
                return [f'I0 {"A" if i == last else "B"} {n} "{name}"' for i, (n, name) in enumerate(pairs)]
            case "I1":
                return ['I1 A "01" "2.30" "2.22" "" ""']
            case "I2":
                return [f'I2 A "{self._kind} Standard {self._shown(self._capacity_kg)} {self._unit}"']
            case "I3":
                return ['I3 A "5.18 5.18.14.550.7"']
            case "I4":
                return [f'I4 A "{self._serial}"']
            case "I5":
                return ['I5 A "12121306C"']
            case "I10":
                return ["I10 A" if arguments else 'I10 A "press"']
            case "I11":
                return [f'I11 A "{self._kind}"']
            case "S" | "SU":
                return [self._weight("S", stable_only=True)]
            case "SI" | "SIU":
                return [self._weight("S")]
            case "SIR":
                self._repeats_from = self.clock.monotonic() + _REPEAT_S
                return [self._weight("S")]
            case "D" | "DW" | "TAC":
                if command == "TAC":
                    self._tare_kg = 0.0
                return [f"{command} A" if command != "D" or arguments else "D L"]
        return [self._zero(command) if command[0] == "Z" else self._tare(command, arguments)]

    def _zero(self, command: str) -> str:
        gross_kg, steady = self._gross_kg(), self._look()
        if abs(gross_kg) > _ZERO_SHARE * self._capacity_kg:
            return f"{command} {'+' if gross_kg > 0 else '-'}"
        if command == "Z" and not steady:
            return "Z I"
        self._zero_kg += gross_kg
        self._tare_kg = 0.0
        return "Z A" if command == "Z" else f"ZI {'S' if steady else 'D'}"

    def _tare(self, command: str, arguments: list[str]) -> str:
        gross_kg, steady = self._gross_kg(), self._look()
        if command == "TA":
            if arguments:
                if len(arguments) != 2 or arguments[1] != self._unit or not _is_number(arguments[0]):
                    return "TA L"
                self._tare_kg = float(arguments[0]) * _UNITS_KG[self._unit]
            return f"TA A {self._shown(self._tare_kg):>10} {self._unit}"
        if gross_kg > self._capacity_kg or gross_kg < 0:
            return f"{command} {'+' if gross_kg > 0 else '-'}"
        if command == "T" and not steady:
            return "T I"
        self._tare_kg = gross_kg
        return f"{command} {'S' if steady else 'D'} {self._shown(gross_kg):>10} {self._unit}"

    def _weight(self, name: str, *, stable_only: bool = False) -> str:
        gross_kg, steady = self._gross_kg(), self._look()
        if self.broken("error"):
            return f"{name} S Error 10b"
        if self.broken("over_range") or gross_kg > self._capacity_kg:
            return f"{name} +"
        if gross_kg < -_ZERO_SHARE * self._capacity_kg:
            return f"{name} -"
        if stable_only and not steady:
            return f"{name} I"
        shown = self._shown(gross_kg - self._tare_kg)
        return f"{name} {'S' if steady else 'D'} {shown:>10} {self._unit}"

    def _shown(self, mass_kg: float) -> str:
        return f"{round(mass_kg / _UNITS_KG[self._unit], self._decimals) + 0.0:.{self._decimals}f}"

    def _gross_kg(self) -> float:
        return self._load.force_N() / _GRAVITY_N_KG - self._zero_kg

    def _look(self) -> bool:
        """Whether the load changes slowly; told from one look to the next."""
        now_s, (then_s, then_kg) = self.clock.monotonic(), self._seen
        if now_s - then_s >= _LOOK_S:
            now_kg = self._gross_kg() + self._zero_kg
            self._steady = abs(now_kg - then_kg) / (now_s - then_s) <= 1e-3 * self._capacity_kg
            self._seen = (now_s, now_kg)
        return self._steady


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text) is not None
