"""LabJack T7, Modbus TCP on port 502, most significant word first.

Source: the maker's table of registers (`ljm_constants.json`): addresses, types, which can be written, the
test values, which register sets the direction of a line when it is read or written, that `DIO_STATE` tells
the level at the terminal, that the watchdog must be off before its settings are written (error 2671), that
any communication clears it, and that settings named `..._DEFAULT` are kept without power.

Assumed: error 2671 and the like are told by Modbus exception 4, an unknown register by exception 2; a line
that is an input and open reads high (pull-up); the watchdog acts once until it is cleared again, and the
startup delay counts as the first timeout if it is not 0. Functions 3, 6 and 16; function 76 is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sim_devices.modbus import ModbusException, ModbusInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["Panel", "SimulatedLabJackT7"]

_LINES = 23
_ALL = (1 << _LINES) - 1
_INPUTS = 14
_ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _FAILURE, _BUSY = 2, 3, 4, 6

_ENABLE, _ADVANCED, _TIMEOUT, _STARTUP_DELAY = 61600, 61602, 61604, 61606
_STRICT_ENABLE, _STRICT_KEY, _STRICT_CLEAR = 61610, 61612, 61614
_RESET_ENABLE = 61620
_DIO_ENABLE, _DIO_STATE, _DIO_DIRECTION, _DIO_INHIBIT = 61630, 61632, 61634, 61636
_DAC_ENABLES, _DAC_VALUES = (61640, 61650), (61642, 61652)
_WATCHDOG = (
    *(_ENABLE, _ADVANCED, _TIMEOUT, _STARTUP_DELAY, _STRICT_ENABLE, _STRICT_KEY),
    *(_RESET_ENABLE, _DIO_ENABLE, _DIO_STATE, _DIO_DIRECTION, _DIO_INHIBIT, *_DAC_ENABLES),
)


class Panel(Protocol):
    """What hangs on the digital lines."""

    def attach(self, look: Callable[[], None]) -> None:
        """Call `look` before somebody looks at a relay."""

    def drive(self, line: int, on: bool) -> None:
        """Drive a line high (on), or low or not at all."""

    def contact(self, line: int) -> bool:
        """Whether an input line is pulled high from outside."""


@dataclass(frozen=True)
class _Register:
    """One register: its type as in the maker's table, how it is read and written (None: can't be)."""

    kind: str  # "H" UINT16, "I" UINT32, "f" FLOAT32
    read: Callable[[], float] | None
    write: Callable[[float], None] | None = None

    @property
    def words(self) -> int:
        """Modbus registers that it takes."""
        return 1 if self.kind == "H" else 2


class SimulatedLabJackT7(ModbusInstrument):
    """A T7 with its digital lines, analog outputs and watchdog.

    Parameters
    ----------
    panel : Panel
        What hangs on the lines.
    serial_number : int
        On its label.
    product : float
        7 for a T7, 4 for a T4.

    Attributes
    ----------
    stuck : dict
        Line -> level that the terminal has whatever is written, as a fault (a short circuit).
    dac_V : list of float
        Analog outputs.
    trips : int
        How often the watchdog has acted.
    flash_writes : int
        How often a setting that is kept without power was written.
    """

    latency_s = 0.003
    breakdowns: tuple[Breakdown, ...] = ("busy", "error")

    def __init__(
        self, clock: Clock, panel: Panel, *, serial_number: int = 470010000, product: float = 7.0
    ) -> None:
        super().__init__(clock, unit=1, framing="tcp")
        self._panel = panel
        self._product = product
        self._serial_number = serial_number
        self._watchdog: dict[int, float] = dict.fromkeys(_WATCHDOG, 0) | dict.fromkeys(_DAC_VALUES, 0.0)
        self._tests: dict[int, float] = {55110: 0x0011, 55120: 0x00112233, 55124: -9999.0}
        self.stuck: dict[int, bool] = {}
        self.trips = 0
        self.flash_writes = 0
        self.power_on()
        self._registers = self._table()
        panel.attach(self.look_at_watchdog)

    def power_on(self) -> None:
        """Make all lines inputs, analog outputs 0; the watchdog starts as it was set."""
        self._outputs = 0  # bit per line: 1 output
        self._levels = 0  # bit per line: what an output was told
        self._inhibit = 0
        self.dac_V = [0.0, 0.0]
        self._tripped = False
        self._fed_s = self.clock.monotonic()
        self._patience_s = self._watchdog[_STARTUP_DELAY] or self._watchdog[_TIMEOUT]
        self._drive()

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole frames in the buffer, after looking at the watchdog."""
        self.look_at_watchdog()
        if not self._watchdog[_STRICT_ENABLE]:
            self._feed()
        yield from super().receive(buffer)

    def look_at_watchdog(self) -> None:
        """Act if the watchdog's time is over."""
        late = self.clock.monotonic() - self._fed_s >= self._patience_s
        if self._watchdog[_ENABLE] and late and not self._tripped:
            self._tripped = True
            self.trips += 1
            self._act()

    def _feed(self) -> None:
        self._fed_s = self.clock.monotonic()
        self._patience_s = self._watchdog[_TIMEOUT]
        self._tripped = False

    def _act(self) -> None:
        if self._watchdog[_DIO_ENABLE]:
            self._inhibit = int(self._watchdog[_DIO_INHIBIT])
            self._change(int(self._watchdog[_DIO_STATE]), int(self._watchdog[_DIO_DIRECTION]))
        for i in range(2):
            if self._watchdog[_DAC_ENABLES[i]]:
                self.dac_V[i] = self._watchdog[_DAC_VALUES[i]]
        if self._watchdog[_RESET_ENABLE]:
            self.power_cycle()

    def read_holding_register(self, address: int) -> int:
        """Word of a register."""
        self._fail_if_broken()
        for first in (address, address - 1):
            register = self._registers.get(first)
            if register is not None and address - first < register.words:
                if register.read is None:
                    raise ModbusException(_ILLEGAL_ADDRESS)
                return int(
                    struct.unpack(f">{register.words}H", _pack(register.kind, register.read()))[
                        address - first
                    ]
                )
        raise ModbusException(_ILLEGAL_ADDRESS)

    def write_registers(self, address: int, values: list[int]) -> None:
        """Write whole registers, one after another."""
        self._fail_if_broken()
        while values:
            register = self._registers.get(address)
            if register is None or register.write is None:
                raise ModbusException(_ILLEGAL_ADDRESS)
            if len(values) < register.words:
                raise ModbusException(_ILLEGAL_VALUE)
            words, values = values[: register.words], values[register.words :]
            (value,) = struct.unpack(f">{register.kind}", struct.pack(f">{register.words}H", *words))
            register.write(value)
            address += register.words

    def _fail_if_broken(self) -> None:
        if self.broken("busy"):
            raise ModbusException(_BUSY)
        if self.broken("error"):
            raise ModbusException(_FAILURE)

    def _table(self) -> dict[int, _Register]:
        registers = {
            2500: _Register("H", lambda: self._terminals() & 0xFF),
            2501: _Register("H", lambda: self._terminals() >> 8 & 0xFF),
            2580: _Register("H", lambda: self._terminals() & 0xFFFF),
            2800: _Register("I", self._terminals, lambda value: self._change(int(value), self._outputs)),
            2850: _Register("I", lambda: self._outputs, lambda value: self._change(self._levels, int(value))),
            2900: _Register("I", lambda: self._inhibit, self._write_inhibit),
            55100: _Register("I", lambda: 0x00112233),
            60000: _Register("f", lambda: self._product),
            60002: _Register("f", lambda: 1.35),
            60004: _Register("f", lambda: 1.0292),
            60006: _Register("f", lambda: 0.9421),
            60028: _Register("I", lambda: self._serial_number),
            _STRICT_CLEAR: _Register("I", None, self._clear_strictly),
        }
        registers |= {2000 + line: self._line(line) for line in range(_LINES)}
        registers |= {2 * i: _Register("f", lambda: 0.0) for i in range(_INPUTS)}
        registers |= {1000 + 2 * i: self._dac(i) for i in range(2)}
        registers |= {address: self._test(address) for address in self._tests}
        registers |= {address: self._setting(address, "I") for address in _WATCHDOG}
        registers |= {address: self._setting(address, "f") for address in _DAC_VALUES}
        return registers

    def _line(self, line: int) -> _Register:
        """Make one digital line: to read it makes it an input, to write it an output."""

        def read() -> float:
            self._outputs &= ~(1 << line)
            self._drive()
            return self._terminals() >> line & 1

        def write(value: float) -> None:
            self._outputs |= 1 << line
            self._levels = self._levels & ~(1 << line) | (value != 0) << line
            self._drive()

        return _Register("H", read, write)

    def _dac(self, i: int) -> _Register:
        def write(value: float) -> None:
            self.dac_V[i] = min(max(value, 0.0), 5.0)

        return _Register("f", lambda: self.dac_V[i], write)

    def _test(self, address: int) -> _Register:
        kind = {55110: "H", 55120: "I", 55124: "f"}[address]

        def write(value: float) -> None:
            self._tests[address] = value

        return _Register(kind, lambda: self._tests[address], write)

    def _setting(self, address: int, kind: str) -> _Register:
        """Make one setting of the watchdog; all but its switch are locked while it is on."""

        def write(value: float) -> None:
            if address != _ENABLE and self._watchdog[_ENABLE]:
                raise ModbusException(_FAILURE)
            self._watchdog[address] = value
            self.flash_writes += 1
            self._feed()

        return _Register(kind, lambda: self._watchdog[address], write)

    def _clear_strictly(self, key: float) -> None:
        if key != self._watchdog[_STRICT_KEY]:
            raise ModbusException(_ILLEGAL_VALUE)
        self._feed()

    def _write_inhibit(self, value: float) -> None:
        self._inhibit = int(value) & _ALL

    def _change(self, levels: int, outputs: int) -> None:
        """Change levels and directions of the lines that are not inhibited."""
        kept = self._inhibit
        self._levels = self._levels & kept | levels & ~kept & _ALL
        self._outputs = self._outputs & kept | outputs & ~kept & _ALL
        self._drive()

    def _drive(self) -> None:
        for line in range(_LINES):
            on = bool(self._outputs & self._levels & (1 << line))
            self._panel.drive(line, self.stuck.get(line, on))

    def _terminals(self) -> int:
        return sum(self._terminal(line) << line for line in range(_LINES))

    def _terminal(self, line: int) -> bool:
        if line in self.stuck:
            return self.stuck[line]
        if self._outputs >> line & 1:
            return bool(self._levels >> line & 1)
        return self._panel.contact(line)


def _pack(kind: str, value: float) -> bytes:
    return struct.pack(f">{kind}", value if kind == "f" else int(value))
