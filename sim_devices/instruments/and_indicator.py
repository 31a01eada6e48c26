"""A&D weighing indicators AD-4401A and AD-4406A on RS-232C, command mode.

Source: AD-4406/AD-4406A instruction manuals, pages 45 to 47 (data format, replies to commands, addresses),
and AD-4401A instruction manual, page 53 (list of commands). Lines end with CR LF. The commands whose replies
are not on those pages (RB, RF, RT and RS of the AD-4401A, RA and RZ of the AD-4406A) are not simulated. Not
verified: how far from zero MZ works, and that the AD-4401A prints the AD-4406A's data format.
"""

from __future__ import annotations

from typing import Literal, Protocol

from sim_devices.line import LineInstrument
from ssblab.clock import Clock

__all__ = ["Load", "SimulatedAndIndicator"]

_GRAVITY_N_KG = 9.80665
_ZERO_SHARE = 0.02  # of the capacity: placeholder
_OVERLOAD_DIVISIONS = 9  # beyond the capacity: placeholder
_LOOK_S = 0.2

_READS = {
    "AD-4401A": {"RW": ""},
    "AD-4406A": {"RW": "", "RW,1": "", "RW,2": "", "RG": "G", "RN": "N", "RT": "T"},
}
_FUNCTIONS = {
    "AD-4401A": {"MZ", "MT", "CT", "DT", "MG", "MN", "BB", "BD", "HB"},
    "AD-4406A": {"MZ", "MT", "CT", "MG", "MN"},
}


class Load(Protocol):
    """What presses on the load cell."""

    def force_N(self) -> float:
        """Force on it now."""


class SimulatedAndIndicator(LineInstrument):
    """Answers requests with data, and functions with their echo.

    Parameters
    ----------
    load : Load
        On its load cell.
    model : {"AD-4401A", "AD-4406A"}
        Which commands it knows.
    capacity_kg, decimals : float, int
        Full scale, and digits behind the point; one division is one of the last digit.
    address : int
        1 to 99: it obeys and answers only behind "@NN", and obeys behind "@00". 0: no address.
    """

    latency_s = 0.03
    terminator = b"\r\n"
    breakdowns = ("busy", "over_range")

    def __init__(
        self,
        clock: Clock,
        load: Load,
        *,
        model: Literal["AD-4401A", "AD-4406A"] = "AD-4401A",
        capacity_kg: float = 1500.0,
        decimals: int = 2,
        address: int = 0,
    ) -> None:
        super().__init__(clock)
        self._load = load
        self._model = model
        self._capacity_kg = capacity_kg
        self._decimals = decimals
        self._address = address
        self._zero_kg = 0.0  # kept without power
        self.power_on()

    def power_on(self) -> None:
        """Show the gross load, without tare; no weighing sequence runs."""
        self._tare_kg = 0.0
        self._shows_net = False
        self.sequence = ""  #: "weighing", "discharge" or "" while no sequence runs
        self._seen = (-1e9, 0.0)
        self._steady = True

    def answer(self, line: str) -> bytes:
        """Give the reply to one command."""
        prefix = ""
        if self._address:
            prefix, line = line[:3], line[3:]
            if prefix not in ("@00", f"@{self._address:02d}"):
                return b""
        reply = self._reply(line)
        return b"" if prefix == "@00" else f"{prefix}{reply}\r\n".encode("ascii")

    def _reply(self, command: str) -> str:
        reads, functions = _READS[self._model], _FUNCTIONS[self._model]
        if command not in reads and command not in functions:
            return "?"
        if self.broken("busy"):
            return "I"
        if command in reads:
            return self._data(reads[command] or ("N" if self._shows_net else "G"))
        return command if self._do(command) else "I"

    def _do(self, command: str) -> bool:
        """Carry a function out; say whether it could be."""
        gross_kg, steady = self._gross_kg(), self._look()
        match command:
            case "MZ":
                if not steady or abs(gross_kg) > _ZERO_SHARE * self._capacity_kg:
                    return False
                self._zero_kg += gross_kg
            case "MT":
                if not steady or gross_kg < 0 or self._is_over(gross_kg):
                    return False
                self._tare_kg, self._shows_net = gross_kg, True
            case "CT":
                self._tare_kg, self._shows_net = 0.0, False
            case "MG" | "MN":
                self._shows_net = command == "MN"
            case "BB" | "BD":
                self.sequence = "weighing" if command == "BB" else "discharge"
            case "HB":
                self.sequence = ""
        return True

    def _data(self, kind: str) -> str:
        gross_kg, steady = self._gross_kg(), self._look()
        shown_kg = {"G": gross_kg, "N": gross_kg - self._tare_kg, "T": self._tare_kg}[kind]
        shown_kg = round(shown_kg, self._decimals) + 0.0
        header = {"G": "GS", "N": "NT", "T": "TR"}[kind]
        sign = "-" if shown_kg < 0 else "+"
        digits = f"{abs(shown_kg):07.{self._decimals}f}"
        if self._is_over(gross_kg) or len(digits) > 7:
            blank = "".join("." if c == "." else " " for c in f"{0:07.{self._decimals}f}")
            return f"OL,{header},{sign}{blank}kg"
        return f"{'ST' if steady else 'US'},{header},{sign}{digits}kg"

    def _gross_kg(self) -> float:
        return self._load.force_N() / _GRAVITY_N_KG - self._zero_kg

    def _is_over(self, gross_kg: float) -> bool:
        over_kg = self._capacity_kg + _OVERLOAD_DIVISIONS * self._division_kg()
        return self.broken("over_range") or abs(gross_kg) > over_kg

    def _division_kg(self) -> float:
        return float(10.0**-self._decimals)

    def _look(self) -> bool:
        """Whether the load changes by less than some divisions a second."""
        now_s, (then_s, then_kg) = self.clock.monotonic(), self._seen
        if now_s - then_s >= _LOOK_S:
            now_kg = self._gross_kg() + self._zero_kg
            self._steady = abs(now_kg - then_kg) / (now_s - then_s) <= max(
                100 * self._division_kg(), 5e-4 * self._capacity_kg
            )
            self._seen = (now_s, now_kg)
        return self._steady
