"""PalmSens potentiostats (EmStat4 HR, EmStat Pico): an interpreter of MethodSCRIPT, as far as EIS needs it.

Sources: MethodSCRIPT manual 1.8 and PalmSens's published examples (package format, metadata, EIS and OCP
scripts). Lines end with LF. The first character of a command is echoed. Output is streamed while a script
runs and ends with an empty line. After an error the instrument ignores its input for 0.1 s. A runtime error
ends the script without its `on_finished:` part, so that the cell can stay on.

Not in the manual, and chosen here: the time that a point takes, the thresholds of overload and underload.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim_devices.wire import SimulatedInstrument
from ssblab.clock import Clock, Timer

__all__ = ["ElectrochemicalCell", "SimulatedPalmSens", "encode_value"]

_OFFSET = 1 << 27
_EXPONENTS = {
    "a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, " ": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15,
    "E": 18,
}  # fmt: skip
_LITERAL = re.compile(r"([+-]?\d+)([afpnumkMGTPEi]?)")
_HEXADECIMAL = re.compile(r"0x([0-9A-Fa-f]+)i?")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPE = re.compile(r"[a-j][a-z]")
_OPTION = re.compile(r"[a-z_]+\([^)]*\)")
_LONGEST_LINE = 255
_DEAF_S = 0.1
_CYCLES = 4.0
_SHORTEST_POINT_S = 0.25
_FAILS_AFTER_POINTS = 3
_LOWEST_FREQUENCY_Hz = 1e-3  # direct current, for a loop at constant potential

#: Arguments of each command: new variable, variable written, variable read, value, whole number, type, text.
_COMMANDS: dict[str, tuple[str, ...]] = {
    "var": ("new",),
    "array": ("new", "whole"),
    "store_var": ("out", "value", "type"),
    "set_pgstat_chan": ("whole",),
    "set_pgstat_mode": ("whole",),
    "set_max_bandwidth": ("value",),
    "set_range": ("type", "value"),
    "set_range_minmax": ("type", "value", "value"),
    "set_autoranging": ("type", "value", "value"),
    "set_e": ("value",),
    "cell_on": (),
    "cell_off": (),
    "wait": ("value",),
    "timer_start": (),
    "timer_get": ("out",),
    "meas": ("value", "out", "type"),
    "meas_loop_eis": ("out", "out", "out", "value", "value", "value", "value", "value"),
    "meas_loop_ocp": ("out", "value", "value"),
    "meas_loop_ca": ("out", "out", "value", "value", "value"),
    "pck_start": (),
    "pck_add": ("in",),
    "pck_end": (),
    "endloop": (),
    "send_string": ("text",),
}
_ON_FINISHED = "on_finished:"
#: Of a measurement loop: how long each point takes, and what takes it then.
_Points = Sequence[tuple[float, Callable[[], None]]]
_TECHNIQUES = {"meas_loop_eis": 0x000D, "meas_loop_ocp": 0x000B, "meas_loop_ca": 0x0007}


class ElectrochemicalCell(Protocol):
    """What is connected to the potentiostat."""

    def potential_V(self) -> float:
        """Potential of the cell at rest, now."""

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance in ohm at the frequencies, now."""


@dataclass(frozen=True)
class _Model:
    potential_V: tuple[float, float]
    frequency_Hz: float
    amplitude_V: float
    ranges: tuple[tuple[int, float], ...]  # index, full scale in A


_MODELS = {
    "es4_hr": _Model((-6.0, 6.0), 200e3, 0.9, tuple((9 + 3 * i, 10.0 ** (i - 7)) for i in range(7))),
    "espico": _Model(
        (-1.7, 2.0),
        200e3,
        0.429,
        tuple(enumerate((100e-9, 1e-6, 6e-6, 13e-6, 25e-6, 50e-6, 100e-6, 200e-6, 1e-3, 5e-3), start=128)),
    ),
}


class _ParseError(Exception):
    def __init__(self, code: int, line: int, column: int = 1) -> None:
        super().__init__(code, line, column)
        self.code = code
        self.line = line
        self.column = column


class _RuntimeError(Exception):
    def __init__(self, code: int, line: int) -> None:
        super().__init__(code, line)
        self.code = code
        self.line = line


class _Aborted(Exception):
    """`Z` was received."""


class _LoopEnded(Exception):
    """`Y` was received."""


@dataclass(frozen=True)
class _Command:
    line: int
    name: str
    arguments: tuple[str, ...]
    body: tuple[_Command, ...] = ()


@dataclass(frozen=True)
class _Program:
    main: tuple[_Command, ...]
    finish: tuple[_Command, ...]


@dataclass
class _Value:
    type: str = "aa"
    number: float = 0.0
    whole: bool = False
    metadata: str = ""


@dataclass
class _Run:
    """A script under way."""

    steps: Generator[float, None, None]
    resume: float
    in_loop: bool = False
    timer: Timer | None = None
    package: list[str] = field(default_factory=list)


def encode_value(value: float, *, whole: bool = False) -> str:
    """Eight characters: 28 bits with an offset of 2**27 as hexadecimal digits, then an SI prefix."""
    if not math.isfinite(value):
        return "     nan"
    if whole:
        return f"{round(value) + _OFFSET:07X}i"
    for prefix, exponent in _EXPONENTS.items():
        scaled = value / 10.0**exponent
        if abs(scaled) < _OFFSET - 1:
            return f"{round(scaled) + _OFFSET:07X}{prefix}"
    return "     nan"


def _number(literal: str) -> float | None:
    if match := _HEXADECIMAL.fullmatch(literal):
        return float(int(match[1], 16))
    if match := _LITERAL.fullmatch(literal):
        return float(f"{match[1]}e{_EXPONENTS.get(match[2], 0)}")
    return None


class _Parser:
    """Turns lines into a program, or raises what is wrong first."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._declared: set[str] = set()
        self._open_loop: list[tuple[int, str, tuple[str, ...], list[_Command]]] = []
        self._package = False
        self._main: list[_Command] = []
        self._finish: list[_Command] | None = None

    def parse(self) -> _Program:
        for number, raw in enumerate(self._lines, start=1):
            if len(raw) > _LONGEST_LINE:
                raise _ParseError(0x0008, number)
            text = raw if raw.strip().startswith("send_string") else raw.split("#", 1)[0]
            if text.strip():
                self._command(number, text)
        if self._open_loop or self._package:
            raise _ParseError(0x4018, len(self._lines))
        return _Program(tuple(self._main), tuple(self._finish or ()))

    def _command(self, number: int, text: str) -> None:
        words = [(match[0], match.start() + 1) for match in re.finditer(r'"[^"]*"|[^\s"]+', text)]
        name, column = words[0]
        if name == _ON_FINISHED:
            if self._open_loop or self._finish is not None:
                raise _ParseError(0x400C, number, column)
            self._finish = []
            return
        if name not in _COMMANDS:
            raise _ParseError(0x4001, number, column)
        arguments = [word for word in words[1:] if not _OPTION.fullmatch(word[0])]
        self._check_arguments(number, name, arguments, len(text.rstrip()) + 1)
        self._place(number, column, name, tuple(word for word, _ in arguments))

    def _check_arguments(self, number: int, name: str, arguments: list[tuple[str, int]], end: int) -> None:
        kinds = _COMMANDS[name]
        if len(arguments) < len(kinds):
            raise _ParseError(0x4004, number, end)
        if len(arguments) > len(kinds):
            raise _ParseError(0x420A, number, arguments[len(kinds)][1])
        for kind, (word, column) in zip(kinds, arguments, strict=True):
            if (code := self._wrong(kind, word)) is not None:
                raise _ParseError(code, number, column)

    def _wrong(self, kind: str, word: str) -> int | None:
        match kind:
            case "new":
                if not _NAME.fullmatch(word):
                    return 0x402B
                if word in self._declared:
                    return 0x4026
                self._declared.add(word)
            case "type":
                return None if _TYPE.fullmatch(word) else 0x0002
            case "text":
                return None if word.startswith('"') else 0x4004
            case "whole":
                return None if _number(word) is not None else 0x4039
            case "value" if not _NAME.fullmatch(word):
                return None if _number(word) is not None else 0x4039
            case _:
                return None if word in self._declared else 0x420B
        return None

    def _place(self, number: int, column: int, name: str, arguments: tuple[str, ...]) -> None:
        if name in ("pck_start", "pck_add", "pck_end"):
            if self._package == (name == "pck_start"):
                raise _ParseError(0x401B, number, column)
            self._package = name != "pck_end"
        if name in _TECHNIQUES:
            if self._open_loop:
                raise _ParseError(0x400B, number, column)
            self._open_loop.append((number, name, arguments, []))
            return
        if name == "endloop":
            if not self._open_loop:
                raise _ParseError(0x400E, number, column)
            begin, loop, loop_arguments, body = self._open_loop.pop()
            self._block().append(_Command(begin, loop, loop_arguments, tuple(body)))
            return
        self._block().append(_Command(number, name, arguments))

    def _block(self) -> list[_Command]:
        if self._open_loop:
            return self._open_loop[-1][3]
        return self._main if self._finish is None else self._finish


class SimulatedPalmSens(SimulatedInstrument):
    """Runs scripts on a cell and streams their output at the time at which it would come.

    Parameters
    ----------
    cell : ElectrochemicalCell
        Asked at the moment at which a point is measured.
    device_type : {"es4_hr", "espico"}
        EmStat4 HR or EmStat Pico.
    serial : str
        Serial number.
    noise : float
        Relative standard deviation of real and imaginary part.
    seed : int
        Of the noise.
    """

    latency_s = 0.005
    single_client = True

    def __init__(
        self,
        clock: Clock,
        cell: ElectrochemicalCell,
        *,
        device_type: str = "es4_hr",
        serial: str = "ES4HR20B0001",
        noise: float = 0.002,
        seed: int = 0,
    ) -> None:
        super().__init__(clock)
        self._cell = cell
        self._model = _MODELS[device_type]
        self._device_type = device_type
        self._serial = serial
        self._noise = noise
        self._random = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self.cell_is_on = False  #: whether the potentiostat is connected to the cell
        self.scripts = 0  #: number of scripts run so far
        self.fail_next_loop: int | None = None  #: error that ends the next loop after three points
        self._loading: list[str] | None = None
        self._load_command = ""
        self._loaded: _Program | None = None
        self._deaf_until = -math.inf
        self._outbox: list[tuple[float, bytes]] = []
        self._run: _Run | None = None
        self._now = 0.0
        self._reset()

    def _reset(self) -> None:
        self._variables: dict[str, _Value] = {}
        self._mode = 0
        self._potential_V = 0.0
        self._timer_began = self._now
        self._current_ranges = self._model.ranges

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer."""
        with self._lock:
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end]).decode("latin-1").rstrip("\r")
                del buffer[: end + 1]
                if self.clock.monotonic() >= self._deaf_until:
                    yield self._line(line)

    def unsolicited(self) -> Iterable[bytes]:
        """Give the output that is due."""
        with self._lock:
            self._proceed()
            due = [data for at, data in self._outbox if at <= self.clock.monotonic()]
            del self._outbox[: len(due)]
            return due

    def next_unsolicited(self) -> float | None:
        """Monotonic time of the next output or of the next step of the script."""
        with self._lock:
            times = [at for at, _ in self._outbox[:1]] + ([self._run.resume] if self._run else [])
            return min(times, default=None)

    def opened(self) -> None:
        """Lose the output that nobody was there to read."""
        with self._lock:
            self._outbox.clear()

    def _line(self, line: str) -> bytes:
        if self._loading is not None:
            return self._load(line)
        if line == "":
            return b"\n"
        if line in ("Z", "Y"):
            return self._interrupt(line)
        if self._run is not None:
            return self._error(line[0], 0x0006)
        match line:
            case "t":
                return f"t{self._device_type}1304#Oct 22 2021 14:38:26\nR*\n".encode()
            case "i":
                return f"i{self._serial}\n".encode()
            case "v":
                return b"v0108\n"
            case "e" | "l":
                self._loading, self._load_command = [], line
                return b""
            case "r":
                return self._start("r") if self._loaded else self._error("r", 0x000C)
        return self._error(line[0], 0x0004 if line[0] == "G" else 0x0003)

    def _error(self, echo: str, code: int, where: str = "") -> bytes:
        self._deaf_until = self.clock.monotonic() + _DEAF_S
        return f"{echo}!{code:04X}{where}\n".encode("latin-1")

    def _load(self, line: str) -> bytes:
        assert self._loading is not None
        if line:
            self._loading.append(line)
            return b""
        lines, self._loading, self._loaded = self._loading, None, None
        try:
            self._loaded = _Parser(lines).parse()
        except _ParseError as error:
            return self._error(self._load_command, error.code, f": Line {error.line}, Col {error.column}")
        return self._start("e") if self._load_command == "e" else b"l\n"

    def _start(self, echo: str) -> bytes:
        assert self._loaded is not None
        self.scripts += 1
        self._now = self.clock.monotonic() + self.latency_s
        self._reset()
        self._run = _Run(self._execute(self._loaded), self._now)
        self._await_step()
        return f"{echo}\n".encode()

    def _interrupt(self, command: str) -> bytes:
        self._proceed()
        run = self._run
        if run is None or (command == "Y" and not run.in_loop):
            return self._error(command, 0x0006)
        self._now = self.clock.monotonic() + self.latency_s
        self._step(run, _Aborted() if command == "Z" else _LoopEnded())
        return f"{command}\n".encode()

    def _wake(self) -> None:
        with self._lock:
            self._proceed()

    def _proceed(self) -> None:
        """Run the script up to now."""
        while self._run is not None and self._run.resume <= self.clock.monotonic():
            self._now = self._run.resume
            self._step(self._run)

    def _step(self, run: _Run, interruption: Exception | None = None) -> None:
        if run.timer is not None:
            run.timer.cancel()
        try:
            delay_s = run.steps.throw(interruption) if interruption else next(run.steps)
        except (StopIteration, _Aborted, _LoopEnded):
            self._run = None
            self._send("")
        except _RuntimeError as error:
            self._run = None
            self._deaf_until = self._now + _DEAF_S
            self._send(f"!{error.code:04X}: Line {error.line}\n")
        else:
            run.resume = self._now + delay_s
            self._await_step()

    def _await_step(self) -> None:
        """Take the step at its time even if nobody pumps then: the cell is to be looked at in that moment."""
        assert self._run is not None
        delay_s = max(0.0, self._run.resume - self.clock.monotonic())
        self._run.timer = self.clock.call_later(delay_s, self._wake)

    def _send(self, text: str) -> None:
        self._outbox.append((self._now, f"{text}\n".encode("latin-1")))

    def _execute(self, program: _Program) -> Generator[float, None, None]:
        try:
            yield 0.0
            yield from self._block(program.main)
        except (_Aborted, _LoopEnded):
            pass
        yield from self._block(program.finish)

    def _block(self, commands: Iterable[_Command]) -> Generator[float, None, None]:
        for command in commands:
            if command.name in _TECHNIQUES:
                yield from self._loop(command)
            elif command.name == "wait":
                yield max(0.0, self._argument(command, 0))
            elif command.name == "meas":
                yield max(0.0, self._argument(command, 0))
                self._measure(command)
            else:
                self._do(command)

    def _loop(self, command: _Command) -> Generator[float, None, None]:
        assert self._run is not None
        points = {
            "meas_loop_eis": self._eis,
            "meas_loop_ocp": self._ocp,
            "meas_loop_ca": self._ca,
        }[command.name](command)
        self._run.in_loop = True
        self._send(f"M{_TECHNIQUES[command.name]:04X}")
        failure, self.fail_next_loop = self.fail_next_loop, None
        try:
            for count, (delay_s, measure) in enumerate(points):
                yield delay_s
                if failure is not None and count == _FAILS_AFTER_POINTS:
                    raise _RuntimeError(failure, command.line)
                measure()
                yield from self._block(command.body)
        except _LoopEnded:
            pass
        except _Aborted:
            self._send("*")
            raise
        self._run.in_loop = False
        self._send("*")

    def _eis(self, command: _Command) -> _Points:
        amplitude_V, begin_Hz, end_Hz, points, bias_V = (self._argument(command, i) for i in range(3, 8))
        self._check_eis(command, amplitude_V, begin_Hz, end_Hz, points, bias_V)
        return [
            (
                max(_CYCLES / frequency_Hz, _SHORTEST_POINT_S),
                partial(self._take_impedance, command, amplitude_V, frequency_Hz),
            )
            for frequency_Hz in np.geomspace(begin_Hz, end_Hz, round(points)).tolist()
        ]

    def _check_eis(
        self,
        command: _Command,
        amplitude_V: float,
        begin_Hz: float,
        end_Hz: float,
        points: float,
        bias_V: float,
    ) -> None:
        if not self.cell_is_on:
            raise _RuntimeError(0x4027, command.line)
        if self._mode != 3:
            raise _RuntimeError(0x0023, command.line)
        if min(amplitude_V, begin_Hz, end_Hz) <= 0:
            raise _RuntimeError(0x4204, command.line)
        if points < 1:
            raise _RuntimeError(0x4205, command.line)
        if max(begin_Hz, end_Hz) > self._model.frequency_Hz:
            raise _RuntimeError(0x0011, command.line)
        if amplitude_V > self._model.amplitude_V:
            raise _RuntimeError(0x0012, command.line)
        self._check_potential(command, bias_V)

    def _take_impedance(self, command: _Command, amplitude_V: float, frequency_Hz: float) -> None:
        impedance_ohm, metadata = self._impedance(amplitude_V, frequency_Hz)
        self._store(command, 0, "dc", frequency_Hz)
        self._store(command, 1, "cc", impedance_ohm.real, metadata)
        self._store(command, 2, "cd", impedance_ohm.imag, metadata)

    def _impedance(self, amplitude_V: float, frequency_Hz: float) -> tuple[complex, str]:
        """Impedance as measured, with noise and clipped current, and its metadata."""
        true_ohm = complex(self._cell.impedance(np.array([frequency_Hz]))[0])
        noise = 1.0 + self._noise * complex(*self._random.standard_normal(2))
        peak_A = math.sqrt(2) * amplitude_V / max(abs(true_ohm), 1e-12)
        index, scale_A = next((r for r in self._current_ranges if r[1] >= peak_A), self._current_ranges[-1])
        status = 0x2 if peak_A > scale_A else 0x4 if peak_A < 1e-3 * scale_A else 0x0
        return true_ohm * noise * max(1.0, peak_A / scale_A), f",1{status:X},2{index:02X}"

    def _ocp(self, command: _Command) -> _Points:
        if self.cell_is_on:
            raise _RuntimeError(0x0014, command.line)
        interval_s, duration_s = self._argument(command, 1), self._argument(command, 2)
        return self._dc_points(command, interval_s, duration_s, ("ab",))

    def _ca(self, command: _Command) -> _Points:
        potential_V, interval_s, duration_s = (self._argument(command, i) for i in range(2, 5))
        if not self.cell_is_on:
            raise _RuntimeError(0x4027, command.line)
        self._check_potential(command, potential_V)
        self._potential_V = potential_V
        return self._dc_points(command, interval_s, duration_s, ("da", "ba"))

    def _dc_points(
        self, command: _Command, interval_s: float, duration_s: float, types: tuple[str, ...]
    ) -> _Points:
        if interval_s <= 0:
            raise _RuntimeError(0x4204, command.line)
        points = math.floor(duration_s / interval_s + 1e-9)
        return [(interval_s, partial(self._take_direct, command, types))] * points

    def _take_direct(self, command: _Command, types: tuple[str, ...]) -> None:
        for position, kind in enumerate(types):
            self._store(command, position, kind, self._direct(kind), ",10")

    def _direct(self, kind: str) -> float:
        """Value now of a direct quantity: potential measured (ab) or applied (da), current (ba)."""
        if kind == "ba":
            if not self.cell_is_on:
                return 0.0
            resistance_ohm = self._cell.impedance(np.array([_LOWEST_FREQUENCY_Hz]))[0].real
            return float((self._potential_V - self._cell.potential_V()) / resistance_ohm)
        return self._potential_V if kind == "da" or self.cell_is_on else self._cell.potential_V()

    def _measure(self, command: _Command) -> None:
        kind = command.arguments[2]
        if kind not in ("ab", "ba"):
            raise _RuntimeError(0x4209, command.line)
        self._store(command, 1, kind, self._direct(kind), ",10")

    def _do(self, command: _Command) -> None:
        match command.name:
            case "var" | "array":
                self._variables[command.arguments[0]] = _Value()
            case "store_var":
                whole = command.arguments[1].endswith("i")
                value = _Value(command.arguments[2], self._argument(command, 1), whole)
                self._variables[command.arguments[0]] = value
            case "set_pgstat_mode":
                self._set_mode(command)
            case "set_autoranging" if command.arguments[0] == "ba":
                self._set_current_ranges(command)
            case "set_range_minmax" if command.arguments[0] == "da":
                self._check_potential(command, self._argument(command, 1), self._argument(command, 2))
            case "set_e":
                self._check_potential(command, self._argument(command, 0))
                self._potential_V = self._argument(command, 0)
            case "cell_on":
                if self._mode == 0:
                    raise _RuntimeError(0x0023, command.line)
                self.cell_is_on = True
            case "cell_off":
                self.cell_is_on = False
            case "timer_start":
                self._timer_began = self._now
            case "timer_get":
                self._store(command, 0, "eb", self._now - self._timer_began)
            case "send_string":
                self._send("T" + command.arguments[0].strip('"'))
            case "pck_start" | "pck_add" | "pck_end":
                self._pack(command)

    def _pack(self, command: _Command) -> None:
        assert self._run is not None
        if command.name == "pck_start":
            self._run.package = []
        elif command.name == "pck_add":
            value = self._variables[command.arguments[0]]
            text = encode_value(value.number, whole=value.whole)
            self._run.package.append(f"{value.type}{text}{value.metadata}")
        else:
            self._send("P" + ";".join(self._run.package))

    def _set_mode(self, command: _Command) -> None:
        self._mode = round(self._argument(command, 0))
        if self._mode not in (0, 2, 3, 4):
            raise _RuntimeError(0x0021, command.line)

    def _set_current_ranges(self, command: _Command) -> None:
        low_A, high_A = self._argument(command, 1), self._argument(command, 2)
        if min(low_A, high_A) <= 0:
            raise _RuntimeError(0x4204, command.line)
        ranges = self._model.ranges
        first = next((i for i, r in enumerate(ranges) if r[1] >= low_A * (1 - 1e-9)), len(ranges) - 1)
        last = next((i for i, r in enumerate(ranges) if r[1] >= high_A * (1 - 1e-9)), len(ranges) - 1)
        self._current_ranges = ranges[first : max(first, last) + 1]

    def _check_potential(self, command: _Command, *potentials_V: float) -> None:
        low_V, high_V = self._model.potential_V
        if not all(low_V <= potential_V <= high_V for potential_V in potentials_V):
            raise _RuntimeError(0x000F, command.line)

    def _store(self, command: _Command, position: int, kind: str, value: float, metadata: str = "") -> None:
        self._variables[command.arguments[position]] = _Value(kind, value, metadata=metadata)

    def _argument(self, command: _Command, position: int) -> float:
        word = command.arguments[position]
        if word in self._variables:
            return self._variables[word].number
        number = _number(word)
        assert number is not None  # the parser has seen to that
        return number
