"""Keyence GT2 sensor amplifiers behind an RS-232C unit DL-RS1A.

Source: DL-RS1A user's manual, GT2 edition, pages 7 to 14 (commands, formats, error numbers, data numbers 101
to 122); its GT-70A edition, pages 11 and 12, for the numbers 000 to 081, which the GT2 edition shares in as
far as it could be read (101, 006). Bits of the error state: DL-EP1 user's manual, page 3-37. Lines end with
CR or CR LF, replies with CR LF.

Not verified: what stands instead of a value when a head is in error or beyond the display's range. Here it is
"+EEE.EEEE" and the end of the range, as the SK-1000 edition of the same manual has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from sim_devices.wire import SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["Gap", "SimulatedGt2"]

_LARGEST_MM = 199.9999
_HEAD_ERROR = 1 << 1

#: Data number -> number of characters, value at delivery; those that can be written.
_SETTINGS: dict[int, tuple[int, str]] = {
    50: (1, "1"), 51: (1, "0"), 53: (1, "1"), 60: (1, "1"), 61: (1, "1"),
    **{70 + 3 * bank + i: (9, value) for bank in range(4)
       for i, value in enumerate(("+005.0000", "+002.0000", "+000.0000"))},
    90: (1, "0"), 100: (1, "0"), 101: (1, "0"), 102: (1, "0"), 103: (1, "3"), 104: (1, "0"),
    105: (9, "+000.5000"), 106: (1, "0"), 107: (4, "1000"), 108: (1, "0"), 109: (9, "+000.0100"),
    110: (1, "0"), 111: (5, "001.0"), 112: (1, "0"), 113: (1, "0"), 114: (9, "+000.0030"), 115: (1, "0"),
    116: (1, "0"), 117: (9, "+000.0000"), 118: (9, "+000.0000"), 120: (1, "0"), 121: (1, "0"), 122: (1, "0"),
}  # fmt: skip
_HIGHEST = {
    51: 3,
    100: 8,
    101: 4,
    103: 5,
    104: 2,
    113: 3,
    116: 5,
}  # of settings of one digit; else 1 (050: 2)


class Gap(Protocol):
    """What the heads touch."""

    def distance_mm(self) -> float:
        """Distance that the first head measures."""


class _Head:
    """One amplifier: its settings and its preset."""

    def __init__(self, offset_mm: float) -> None:
        self.offset_mm = offset_mm
        self.settings = {number: value for number, (_, value) in _SETTINGS.items()}
        self.preset_mm = 0.0


class SimulatedGt2(SimulatedInstrument):
    """Answers `M0`, `MS`, `SR`, `SW` and `AW`; else `ER`.

    Parameters
    ----------
    gap : Gap
        Under all heads.
    offsets_mm : sequence of float
        What each head shows more than the gap; one amplifier each, up to 15.
    """

    latency_s = 0.02
    breakdowns = ("busy", "error", "over_range")

    def __init__(
        self, clock: Clock, gap: Gap, *, offsets_mm: tuple[float, ...] | list[float] = (0.0,)
    ) -> None:
        super().__init__(clock)
        self._gap = gap
        self._heads = [_Head(offset_mm) for offset_mm in offsets_mm]
        self.power_on()

    def power_on(self) -> None:
        """Measure; settings and presets are kept without power."""

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer, which end with CR or CR LF."""
        while (end := buffer.find(b"\r")) >= 0:
            line = bytes(buffer[:end]).lstrip(b"\n").decode("latin-1")
            del buffer[: end + 1]
            if buffer[:1] == b"\n":
                del buffer[:1]
            yield f"{self.reply(line)}\r\n".encode("latin-1")

    def reply(self, line: str) -> str:
        """Give the reply to one command."""
        command, *parameters = line.split(",")
        wanted = {"M0": 0, "MS": 0, "SR": 2, "SW": 3, "AW": 2}
        if command not in wanted:
            return f"ER,{command[:2]},00"
        if self.broken("busy"):
            return f"ER,{command},02"
        if len(parameters) != wanted[command]:
            return f"ER,{command},21"
        try:
            return self._obey(command, parameters)
        except ValueError as error:
            return f"ER,{command},{error}"

    def _obey(self, command: str, parameters: list[str]) -> str:
        if command == "M0":
            return ",".join(["M0", *(self._value(head) for head in self._heads)])
        if command == "MS":
            return ",".join(["MS", *(f"{self._output(head)},{self._value(head)}" for head in self._heads)])
        if command == "AW":
            for head in self._heads:
                self._write(head, parameters[0], parameters[1])
            return f"AW,{parameters[0]}"
        head = self._head(parameters[0])
        if command == "SR":
            return f"SR,{parameters[0]},{parameters[1]},{self._read(head, parameters[1])}"
        self._write(head, parameters[1], parameters[2])
        return f"SW,{parameters[0]},{parameters[1]}"

    def _head(self, text: str) -> _Head:
        if not re.fullmatch(r"\d\d", text):
            raise ValueError("22")
        if int(text) >= len(self._heads):
            raise ValueError("65")
        return self._heads[int(text)]

    def _read(self, head: _Head, text: str) -> str:
        number = _number(text)
        if number in (0, 1):
            return self._value(head)
        if number == 2:
            return self._value(head, preset=False)
        if number == 5:
            return str(self._output(head))
        if number == 6:
            return f"{_HEAD_ERROR if self.broken('error') else 0:05d}"
        if number not in head.settings:
            raise ValueError("22")
        return head.settings[number]

    def _write(self, head: _Head, text: str, value: str) -> None:
        number = _number(text)
        if number not in _SETTINGS:
            raise ValueError("22")
        length = _SETTINGS[number][0]
        if len(value) != length:
            raise ValueError("22")
        form = {1: r"\d", 4: r"\d{4}", 5: r"\d{3}\.\d", 9: r"[+-][01]\d\d\.\d{4}"}[length]
        if not re.fullmatch(form, value):
            raise ValueError("22")
        if length == 1 and int(value) > (2 if number == 50 else _HIGHEST.get(number, 1)):
            raise ValueError("22")
        rising = head.settings[number] == "0" and value == "1"
        if number == 50 and head.settings[number] == "0" and value in "12":
            head.preset_mm = 0.0
            if value == "1":
                head.preset_mm = float(head.settings[72 + 3 * int(head.settings[51])]) - self._measured_mm(
                    head
                )
        if number == 60 and rising:
            head.settings = {n: v for n, (_, v) in _SETTINGS.items()}
            head.preset_mm = 0.0
        head.settings[number] = value

    def _value(self, head: _Head, *, preset: bool = True) -> str:
        if self.broken("error"):
            return "+EEE.EEEE"
        shown_mm = self._measured_mm(head) + (head.preset_mm if preset else 0.0)
        if self.broken("over_range"):
            shown_mm = _LARGEST_MM
        shown_mm = round(min(max(shown_mm, -_LARGEST_MM), _LARGEST_MM), 4) + 0.0
        return f"{shown_mm:+09.4f}"

    def _output(self, head: _Head) -> int:
        """1: HIGH, 2: LOW, 4: GO; none while the head is in error."""
        if self.broken("error"):
            return 0
        bank = int(head.settings[51])
        shown_mm = float(self._value(head))
        high = shown_mm > float(head.settings[70 + 3 * bank])
        low = shown_mm < float(head.settings[71 + 3 * bank])
        return (int(high) + 2 * int(low)) or 4

    def _measured_mm(self, head: _Head) -> float:
        return self._gap.distance_mm() + head.offset_mm


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{3}", text):
        raise ValueError("22")
    return int(text)
