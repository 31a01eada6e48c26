"""PalmSens potentiostats (EmStat4 HR and LR, EmStat Pico, Nexus): online commands, and the bench of scripts.

Sources: MethodSCRIPT manual 1.8 and PalmSens's published examples (package format, metadata, current ranges,
measurement loops); the SDK's tables of commands and errors; ranges, modes and windows as public clients quote
them from the manual's appendix B. Of the Nexus, the examples give the identifier, the indices of its ranges
(other ones under control of a current), and that the metadata of an imaginary part tell the range of
potential; its figures of 10 V, 1 A and 1 MHz are the maker's. Lines end with LF. The first character of a
command is echoed. Output is streamed while a script runs and ends with an empty line. After an error the
instrument ignores its input for 0.1 s. A runtime error ends the script without its `on_finished:` part, so
that the cell can stay on.

A positive current oxidises at the working electrode: it charges a cell whose positive is the working
electrode (the maker's battery_cycling script charges with a positive current up to the upper potential).

Not in these sources, and chosen here: the time that an impedance point takes; the shortest interval; the
thresholds of overload, underload and critical overload; that `busy` shows as error 0006; what the variable of
the current in `meas_loop_cp` is called (db, the set current); the largest amplitude of the Nexus (that of the
EmStat4), and that it measures 1 mA and 10 mA with its shunts.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim_devices.instruments.methodscript import (
    Aborted,
    Command,
    LoopEnded,
    ParseError,
    Point,
    Points,
    Program,
    Script,
    ScriptError,
    encode_value,
    parse,
)
from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock, Timer

__all__ = ["ElectrochemicalCell", "SimulatedPalmSens", "encode_value"]

_DEAF_S = 0.1
_CYCLES = 4.0
_SHORTEST_POINT_S = 0.25
_SHORTEST_INTERVAL_S = 4e-4
_FAILS_AFTER_POINTS = 3
_LOWEST_FREQUENCY_Hz = 1e-3  # direct current, for a cell that only tells its impedance
_UNDERLOAD = 1e-3  # of the range's full scale
_CRITICAL = 1.5  # of the largest range's full scale
_OVERLOADED, _UNDERLOADED = 0x2, 0x4
_POTENTIOSTAT = (2, 3, 4)  # modes: low speed, high speed, largest range
_GALVANOSTAT = 6


class ElectrochemicalCell(Protocol):
    """What is connected to the potentiostat.

    A cell that can be driven has `source_voltage`, `source_current`, `open`, `advance`, `voltage_V`,
    `current_A` and `attach` besides, as `sim_devices.physics.battery_cell.BatteryCell` has them. One that has
    not is taken for a source of its potential behind its impedance at 1 mHz.
    """

    def potential_V(self) -> float:
        """Potential of the cell at rest, now."""

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance in ohm at the frequencies, now."""


@dataclass(frozen=True)
class _Model:
    potential_V: tuple[float, float]
    #: Lowest and highest potential, and widest window, by mode.
    modes: dict[int, tuple[float, float, float]]
    frequency_Hz: float
    amplitude_V: float
    ranges: tuple[tuple[int, float], ...]  # index, full scale in A
    slow_ranges: tuple[tuple[int, float], ...] = ()  # the same in modes 2 and 4, where they differ
    galvanostat_ranges: tuple[tuple[int, float], ...] = ()  # the same in mode 6, where they differ
    potential_range: int | None = None  # index, told with an imaginary part instead of that of the current


def _emstat4(potential_V: float, first: int, last: int) -> _Model:
    window = (-potential_V, potential_V, 2.0 * potential_V)
    ranges = tuple((index, 10.0 ** (index // 3 - 10)) for index in range(first, last + 1, 3))
    return _Model((-potential_V, potential_V), dict.fromkeys((2, 3, 4, 6), window), 200e3, 0.9, ranges)


def _nexus() -> _Model:
    shunts = tuple((index, 10.0 ** (index - 11)) for index in range(8, 12))
    amplifiers = tuple((index, 10.0 ** (index - 9)) for index in range(6))
    galvanostat = tuple((index + 32, scale_A) for index, scale_A in amplifiers + shunts)
    modes = dict.fromkeys((2, 3, 4, 6), (-10.0, 10.0, 20.0))
    ranges = ((16, 1e-10), *amplifiers, *shunts)
    return _Model((-10.0, 10.0), modes, 1e6, 0.9, ranges, galvanostat_ranges=galvanostat, potential_range=0)


_MODELS = {
    "es4_hr": _emstat4(6.0, 9, 27),
    "es4_lr": _emstat4(3.0, 3, 24),
    "espico": _Model(
        (-1.7, 2.0),
        {2: (-1.25, 2.0, 2.2), 3: (-1.7, 2.0, 1.214), 4: (-1.7, 2.0, 2.6)},
        200e3,
        0.429,
        tuple(enumerate((100e-9, 1e-6, 6e-6, 13e-6, 25e-6, 50e-6, 100e-6, 200e-6, 1e-3, 5e-3), start=128)),
        tuple(enumerate((1e-7, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 63e-6, 125e-6, 250e-6, 500e-6, 1e-3, 5e-3))),
    ),
    "nexus1": _nexus(),
}


class _Terminals:
    """Drives a cell, or reckons what one that can't be driven would do."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell
        self._driven = hasattr(cell, "source_voltage")
        self._source: Callable[[float, float], tuple[float, float]] = _open_circuit

    def open(self) -> None:
        self._source = _open_circuit
        if self._driven:
            self._cell.open()

    def source_voltage(self, voltage_V: float, current_limit_A: float) -> None:
        self._source = lambda rest_V, ohm: (voltage_V, (voltage_V - rest_V) / ohm)
        if self._driven:
            self._cell.source_voltage(voltage_V, current_limit_A)

    def source_current(self, current_A: float, low_V: float, high_V: float) -> None:
        self._source = lambda rest_V, ohm: (rest_V + current_A * ohm, current_A)
        if self._driven:
            self._cell.source_current(current_A, low_V, high_V)

    def read(self, at_s: float) -> tuple[float, float]:
        """Potential and current at a monotonic time that is not later than now."""
        if self._driven:
            self._cell.advance(at_s)
            return self._cell.voltage_V, self._cell.current_A
        ohm = float(self._cell.impedance(np.array([_LOWEST_FREQUENCY_Hz]))[0].real)
        return self._source(self._cell.potential_V(), ohm)

    def rest_V(self, at_s: float) -> float:
        if self._driven:
            return self.read(at_s)[0]
        return float(self._cell.potential_V())


def _open_circuit(rest_V: float, ohm: float) -> tuple[float, float]:
    return rest_V, 0.0


@dataclass
class _Run:
    """A script under way."""

    script: Script
    resume: float
    halted: float | None = None  # since when
    timer: Timer | None = None
    timer_at: float = math.inf


class SimulatedPalmSens(SimulatedInstrument):
    """Runs scripts on a cell and streams their output at the time at which it would come.

    Parameters
    ----------
    cell : ElectrochemicalCell
        Asked at the moment at which a point is measured.
    device_type : {"es4_hr", "es4_lr", "espico", "nexus1"}
        EmStat4 HR, EmStat4 LR, EmStat Pico or Nexus.
    serial : str
        Serial number.
    noise : float
        Relative standard deviation of real and imaginary part.
    seed : int
        Of the noise.
    """

    latency_s = 0.005
    single_client = True
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

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
        self._terminals = _Terminals(cell)
        self._model = _MODELS[device_type]
        self._device_type = device_type
        self._serial = serial
        self._noise = noise
        self._random = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._proceeding = False
        self._run: _Run | None = None
        self.scripts = 0  #: number of scripts run so far
        self.fail_next_loop: int | None = None  #: error that ends the next loop after three points
        if hasattr(cell, "attach"):
            cell.attach(self._wake)
        self.power_on()

    def power_on(self) -> None:
        """Forget the script that ran and the one that was loaded; the cell is off."""
        with self._lock:
            if self._run is not None and self._run.timer is not None:
                self._run.timer.cancel()
            self._run = None
            self._now = self.clock.monotonic()
            self._loading: list[str] | None = None
            self._load_command = ""
            self._loaded: Program | None = None
            self._deaf_until = -math.inf
            self._outbox: list[tuple[float, bytes]] = []
            self.cell_is_on = False  #: whether the potentiostat is connected to the cell
            self._terminals.open()
            self._reset()

    def _reset(self) -> None:
        """Set up the potentiostat as each script finds it; the cell stays as it is."""
        self._mode = 0
        self._potential_V = 0.0
        self._current_A = 0.0
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
            now = self.clock.monotonic()
            count = next((i for i, (at, _) in enumerate(self._outbox) if at > now), len(self._outbox))
            due = [data for _, data in self._outbox[:count]]
            del self._outbox[:count]
            return due

    def next_unsolicited(self) -> float | None:
        """Monotonic time of the next output or of the next step of the script."""
        with self._lock:
            times = [at for at, _ in self._outbox[:1]]
            if self._run is not None and self._run.halted is None:
                times.append(self._run.resume)
            return min(times, default=None)

    def opened(self) -> None:
        """Lose the output that nobody was there to read."""
        with self._lock:
            self._outbox.clear()

    # --- what the potentiostat itself understands ---

    def _line(self, line: str) -> bytes:
        if self._loading is not None:
            return self._load(line)
        if line == "":
            return b"\n"
        if self.broken("busy"):
            return self._error(line[0], 0x0006)
        if line in ("Z", "Y", "h", "H"):
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
            case "m":
                return self._error("m", 0x0048)
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
            self._loaded = parse(lines)
        except ParseError as error:
            return self._error(self._load_command, error.code, f": Line {error.line}, Col {error.column}")
        return self._start("e") if self._load_command == "e" else b"l\n"

    def _start(self, echo: str) -> bytes:
        assert self._loaded is not None
        self.scripts += 1
        self._now = self.clock.monotonic() + self.latency_s
        self._reset()
        self._run = _Run(Script(self._loaded, self), self._now)
        self._await_step(self._run)
        return f"{echo}\n".encode()

    def _interrupt(self, command: str) -> bytes:
        self._proceed()
        run = self._run
        if run is None or (command == "Y" and not run.script.in_loop):
            return self._error(command, 0x0006)
        self._now = self.clock.monotonic() + self.latency_s
        if command == "h":
            run.halted = run.halted or self.clock.monotonic()
        elif command == "H":
            self._resume(run)
        else:
            self._resume(run)
            self._step(run, Aborted() if command == "Z" else LoopEnded())
        return f"{command}\n".encode()

    def _resume(self, run: _Run) -> None:
        if run.halted is not None:
            run.resume += self.clock.monotonic() - run.halted
            run.halted = None
            self._await_step(run)

    # --- how a script moves on ---

    def script_time_s(self) -> float:
        """Monotonic time at which the script stands."""
        return self._now

    def send(self, text: str) -> None:
        """Send a line of output."""
        self._outbox.append((self._now, f"{text}\n".encode("latin-1")))

    def _wake(self) -> None:
        with self._lock:
            self._proceed()

    def _fire(self) -> None:
        with self._lock:
            run = self._run
            if run is not None:
                run.timer, run.timer_at = None, math.inf
                self._proceed()
                if self._run is run:
                    self._await_step(run)

    def _proceed(self) -> None:
        """Run the script up to now."""
        if self._proceeding:  # the cell was asked for what the script is measuring
            return
        self._proceeding = True
        try:
            while (run := self._run) is not None and run.halted is None:
                if run.resume > self.clock.monotonic():
                    break
                self._now = run.resume
                self._step(run)
        finally:
            self._proceeding = False

    def _step(self, run: _Run, interruption: Exception | None = None) -> None:
        steps = run.script.steps
        try:
            delay_s = steps.throw(interruption) if interruption else next(steps)
        except StopIteration:
            self._end(run, "")
        except ScriptError as error:
            self._deaf_until = self._now + _DEAF_S
            self._end(run, f"!{error.code:04X}: Line {error.line}\n")
        else:
            run.resume = self._now + delay_s
            self._await_step(run)

    def _end(self, run: _Run, text: str) -> None:
        if run.timer is not None:
            run.timer.cancel()
        self._run = None
        self.send(text)

    def _await_step(self, run: _Run) -> None:
        """Take the step at its time even if nobody pumps then: the cell is to be looked at in that moment."""
        if run.halted is not None:
            return
        if run.timer is not None:
            if run.timer_at <= run.resume:  # it comes in time, and sees to the next
                return
            run.timer.cancel()
        run.timer_at = run.resume
        run.timer = self.clock.call_later(max(0.0, run.resume - self.clock.monotonic()), self._fire)

    # --- what scripts tell the potentiostat ---

    def do(self, script: Script, command: Command) -> None:
        """Do a command of the potentiostat."""
        value = partial(self._value, script, command)
        match command.name:
            case "set_pgstat_mode":
                self._set_mode(command, round(value(0)))
            case "set_autoranging" if command.arguments[0] == "ba":
                self._set_current_ranges(command, value(1), value(2))
            case "set_range_minmax" if command.arguments[0] == "da":
                self._check_potentials(command, value(1), value(2))
            case "set_e":
                self._outside_loops(script, command, 0x4032)
                self._check_potentials(command, value(0))
                self._potential_V = value(0)
                self._drive()
            case "set_i":
                self._outside_loops(script, command, 0x4033)
                self._check_current(command, value(0))
                self._current_A = value(0)
                self._drive()
            case "cell_on":
                if self._mode == 0:
                    raise ScriptError(0x0023, command.line)
                if "ocp" in command.options:
                    self._potential_V = script.number(command.options["ocp"][0])
                self.cell_is_on = True
                self._drive()
            case "cell_off":
                self.cell_is_on = False
                self._drive()

    def _drive(self) -> None:
        if not self.cell_is_on:
            self._terminals.open()
        elif self._mode == _GALVANOSTAT:
            self._terminals.source_current(self._current_A, *self._model.potential_V)
        else:
            self._terminals.source_voltage(self._potential_V, 2.0 * _CRITICAL * self._full_scale_A())

    def _full_scale_A(self) -> float:
        return self._model.ranges[-1][1]

    def _base_ranges(self) -> tuple[tuple[int, float], ...]:
        """All current ranges of the mode."""
        if self._mode in (2, 4) and self._model.slow_ranges:
            return self._model.slow_ranges
        if self._mode == _GALVANOSTAT and self._model.galvanostat_ranges:
            return self._model.galvanostat_ranges
        return self._model.ranges

    def _set_mode(self, command: Command, mode: int) -> None:
        if mode != 0 and mode not in self._model.modes:
            raise ScriptError(0x0021, command.line)
        self._mode = mode
        self._current_ranges = self._base_ranges()
        if mode == 0:
            self.cell_is_on = False
        self._drive()

    def _set_current_ranges(self, command: Command, low_A: float, high_A: float) -> None:
        if min(low_A, high_A) <= 0:
            raise ScriptError(0x4204, command.line)
        ranges = self._base_ranges()
        first = next((i for i, r in enumerate(ranges) if r[1] >= low_A * (1 - 1e-9)), len(ranges) - 1)
        last = next((i for i, r in enumerate(ranges) if r[1] >= high_A * (1 - 1e-9)), len(ranges) - 1)
        self._current_ranges = ranges[first : max(first, last) + 1]

    def _check_potentials(self, command: Command, *potentials_V: float) -> None:
        low_V, high_V, window_V = self._model.modes.get(self._mode, (*self._model.potential_V, math.inf))
        if min(potentials_V) < low_V or max(potentials_V) > high_V:
            raise ScriptError(0x000F, command.line)
        if max(potentials_V) - min(potentials_V) > window_V * (1 + 1e-9):
            raise ScriptError(0x000F, command.line)

    def _check_current(self, command: Command, current_A: float) -> None:
        if abs(current_A) > self._full_scale_A():
            raise ScriptError(0x4205, command.line)

    @staticmethod
    def _outside_loops(script: Script, command: Command, code: int) -> None:
        if script.in_loop:
            raise ScriptError(code, command.line)

    # --- what it measures ---

    def points(self, script: Script, command: Command) -> Points:
        """Check a measurement loop's arguments, and give its points."""
        outputs = {"meas_loop_ocp": 1, "meas_loop_eis": 3, "meas_loop_geis": 3}.get(command.name, 2)
        values = [script.number(word) for word in command.arguments[outputs:]]
        loops: dict[str, Callable[..., Iterable[Point]]] = {
            "meas_loop_ocp": self._ocp,
            "meas_loop_ca": self._ca,
            "meas_loop_cp": self._cp,
            "meas_loop_lsv": self._lsv,
            "meas_loop_cv": self._cv,
            "meas_loop_eis": self._eis,
            "meas_loop_geis": self._geis,
        }
        return self._until_failure(command, loops[command.name](script, command, *values))

    def _until_failure(self, command: Command, points: Iterable[Point]) -> Points:
        failure, self.fail_next_loop = self.fail_next_loop, None
        for count, (delay_s, take) in enumerate(points):
            if self.broken("error"):
                raise ScriptError(0x0032, command.line)
            if failure is not None and count == _FAILS_AFTER_POINTS:
                yield delay_s, partial(_fail, failure, command.line)
            yield delay_s, take

    def single(self, script: Script, command: Command) -> Point:
        """Check the arguments of `meas`, and give its point."""
        duration_s, (output, kind) = script.number(command.arguments[0]), command.arguments[1:]
        if kind not in ("ab", "ba"):
            raise ScriptError(0x4209, command.line)

        def take() -> None:
            potential_V, current_A = self._look(command)
            if kind == "ab":
                self._store(script, output, kind, potential_V, self._potential_metadata(potential_V))
            else:
                self._store(script, output, kind, current_A, self._current_metadata(current_A))

        return max(0.0, duration_s), take

    def _ocp(self, script: Script, command: Command, interval_s: float, duration_s: float) -> Iterable[Point]:
        if self.cell_is_on:
            raise ScriptError(0x0014, command.line)
        self._check_interval(command, interval_s)

        def take() -> None:
            rest_V = self._terminals.rest_V(self._now)
            self._store(script, command.arguments[0], "ab", rest_V, self._potential_metadata(rest_V))

        return [(interval_s, take)] * _count(duration_s, interval_s)

    def _ca(
        self, script: Script, command: Command, potential_V: float, interval_s: float, duration_s: float
    ) -> Iterable[Point]:
        self._check_controlled(command, _POTENTIOSTAT)
        self._check_interval(command, interval_s)
        self._check_potentials(command, potential_V)
        self._potential_V = potential_V
        self._drive()
        take = partial(self._take_current, script, command, potential_V)
        return [(interval_s, take)] * _count(duration_s, interval_s)

    def _cp(
        self, script: Script, command: Command, current_A: float, interval_s: float, duration_s: float
    ) -> Iterable[Point]:
        self._check_controlled(command, (_GALVANOSTAT,))
        self._check_interval(command, interval_s)
        self._check_current(command, current_A)
        self._current_A = current_A
        self._drive()

        def take() -> None:
            measured_V, _ = self._look(command)
            self._store(script, command.arguments[0], "ab", measured_V, self._potential_metadata(measured_V))
            self._store(script, command.arguments[1], "db", current_A, ",10")

        return [(interval_s, take)] * _count(duration_s, interval_s)

    def _lsv(
        self, script: Script, command: Command, begin_V: float, end_V: float, step_V: float, rate_V_s: float
    ) -> Iterable[Point]:
        self._check_sweep(command, step_V, rate_V_s, begin_V, end_V)
        return self._steps(script, command, _staircase(begin_V, end_V, step_V), step_V / rate_V_s)

    def _cv(
        self,
        script: Script,
        command: Command,
        begin_V: float,
        vertex_1_V: float,
        vertex_2_V: float,
        step_V: float,
        rate_V_s: float,
    ) -> Iterable[Point]:
        self._check_sweep(command, step_V, rate_V_s, begin_V, vertex_1_V, vertex_2_V)
        scans = 1
        if "nscans" in command.options:
            scans = round(script.number(command.options["nscans"][0]))
        levels_V = [begin_V]
        for target_V in (vertex_1_V, vertex_2_V, begin_V):
            levels_V += _staircase(levels_V[-1], target_V, step_V)[1:]
        return self._scans(script, command, levels_V, step_V / rate_V_s, scans)

    def _scans(
        self, script: Script, command: Command, levels_V: list[float], interval_s: float, scans: int
    ) -> Points:
        marked = "nscans" in command.options
        for number in range(scans):
            if marked:
                self.send(f"C{number:04X}")
            try:
                yield from self._steps(script, command, levels_V, interval_s)
            finally:
                if marked:
                    self.send("-")

    def _steps(self, script: Script, command: Command, levels_V: list[float], interval_s: float) -> Points:
        for level_V in levels_V:
            self._potential_V = level_V
            self._drive()
            yield interval_s, partial(self._take_current, script, command, level_V)

    def _take_current(self, script: Script, command: Command, potential_V: float) -> None:
        _, current_A = self._look(command)
        metadata = self._current_metadata(current_A)
        if int(metadata[2], 16) & _OVERLOADED:
            current_A = math.copysign(self._current_ranges[-1][1], current_A)
        self._store(script, command.arguments[0], "da", potential_V, ",10")
        self._store(script, command.arguments[1], "ba", current_A, metadata)

    def _look(self, command: Command) -> tuple[float, float]:
        """Potential and current at the script's time; too large a current ends the script."""
        if not self.cell_is_on:
            return self._terminals.rest_V(self._now), 0.0
        potential_V, current_A = self._terminals.read(self._now)
        if abs(current_A) > _CRITICAL * self._full_scale_A():
            raise ScriptError(0x0032, command.line)
        return potential_V, current_A

    def _current_metadata(self, current_A: float) -> str:
        if self.broken("over_range"):
            current_A = math.inf
        index, status = self._range(abs(current_A))
        if index == self._base_ranges()[0][0]:  # a direct current may be 0
            status &= ~_UNDERLOADED
        return f",1{status:X},2{index:02X}"

    def _potential_metadata(self, potential_V: float) -> str:
        low_V, high_V = self._model.potential_V
        over = self.broken("over_range") or not low_V < potential_V < high_V
        return ",12" if over else ",10"

    def _range(self, current_A: float) -> tuple[int, int]:
        """Index of the range for a current, and the status bits."""
        index, scale_A = next(
            (r for r in self._current_ranges if r[1] >= current_A), self._current_ranges[-1]
        )
        if current_A > scale_A:
            return index, _OVERLOADED
        return index, _UNDERLOADED if current_A < _UNDERLOAD * scale_A else 0

    def _eis(
        self,
        script: Script,
        command: Command,
        amplitude_V: float,
        begin_Hz: float,
        end_Hz: float,
        points: float,
        bias_V: float,
    ) -> Iterable[Point]:
        self._check_controlled(command, (3,))
        self._check_spectrum(command, amplitude_V, begin_Hz, end_Hz, points)
        if amplitude_V > self._model.amplitude_V:
            raise ScriptError(0x0012, command.line)
        self._check_potentials(command, bias_V)
        self._potential_V = bias_V
        self._drive()
        take = partial(self._take_impedance, script, command, amplitude_V)
        return _spectrum(begin_Hz, end_Hz, points, take)

    def _geis(
        self,
        script: Script,
        command: Command,
        amplitude_A: float,
        begin_Hz: float,
        end_Hz: float,
        points: float,
        bias_A: float,
    ) -> Iterable[Point]:
        self._check_controlled(command, (_GALVANOSTAT,))
        self._check_spectrum(command, amplitude_A, begin_Hz, end_Hz, points)
        if abs(bias_A) + math.sqrt(2) * amplitude_A > self._full_scale_A():
            raise ScriptError(0x0012, command.line)
        self._current_A = bias_A
        self._drive()
        take = partial(self._take_impedance, script, command, math.nan, amplitude_A=amplitude_A)
        return _spectrum(begin_Hz, end_Hz, points, take)

    def _take_impedance(
        self,
        script: Script,
        command: Command,
        amplitude_V: float,
        frequency_Hz: float,
        amplitude_A: float = math.nan,
    ) -> None:
        """Measure impedance, with noise and a clipped current, and what is told with it."""
        true_ohm = complex(self._cell.impedance(np.array([frequency_Hz]))[0])
        noise = 1.0 + self._noise * complex(*self._random.standard_normal(2))
        if math.isnan(amplitude_A):
            amplitude_A = amplitude_V / max(abs(true_ohm), 1e-12)
        else:
            amplitude_V = amplitude_A * abs(true_ohm)
        peak_A = math.sqrt(2) * amplitude_A
        if self.broken("over_range"):
            peak_A = 3.0 * self._current_ranges[-1][1]
        index, status = self._range(peak_A)
        metadata = f",1{status:X},2{index:02X}"
        measured_ohm = true_ohm * noise
        if status & _OVERLOADED:
            measured_ohm *= peak_A / self._current_ranges[-1][1]
        self._store(script, command.arguments[0], "dc", frequency_Hz)
        self._store(script, command.arguments[1], "cc", measured_ohm.real, metadata)
        if self._model.potential_range is not None:
            metadata = f",1{status:X},2{self._model.potential_range:02X}"
        self._store(script, command.arguments[2], "cd", measured_ohm.imag, metadata)
        if "eis_acdc" in command.options:
            direct = self._look(command)
            told = (amplitude_V, direct[0], amplitude_A, direct[1])
            for word, kind, value in zip(
                command.options["eis_acdc"], ("ch", "ci", "cj", "ck"), told, strict=True
            ):
                self._store(script, word, kind, value, ",10")

    def _check_controlled(self, command: Command, modes: tuple[int, ...]) -> None:
        if not self.cell_is_on:
            raise ScriptError(0x4027, command.line)
        if self._mode not in modes:
            raise ScriptError(0x0023, command.line)

    @staticmethod
    def _check_interval(command: Command, interval_s: float) -> None:
        if interval_s <= 0:
            raise ScriptError(0x4204, command.line)
        if interval_s < _SHORTEST_INTERVAL_S:
            raise ScriptError(0x005A, command.line)

    def _check_sweep(self, command: Command, step_V: float, rate_V_s: float, *potentials_V: float) -> None:
        self._check_controlled(command, _POTENTIOSTAT)
        if min(step_V, rate_V_s) <= 0:
            raise ScriptError(0x4204, command.line)
        if max(potentials_V) - min(potentials_V) < step_V * (1 - 1e-9):
            raise ScriptError(0x4029, command.line)
        self._check_interval(command, step_V / rate_V_s)
        self._check_potentials(command, *potentials_V)

    def _check_spectrum(
        self, command: Command, amplitude: float, begin_Hz: float, end_Hz: float, points: float
    ) -> None:
        if min(amplitude, begin_Hz, end_Hz) <= 0:
            raise ScriptError(0x4204, command.line)
        if points < 1:
            raise ScriptError(0x4205, command.line)
        if max(begin_Hz, end_Hz) > self._model.frequency_Hz:
            raise ScriptError(0x0011, command.line)

    @staticmethod
    def _store(script: Script, word: str, kind: str, value: float, metadata: str = "") -> None:
        script.store(word, kind, value, metadata)

    @staticmethod
    def _value(script: Script, command: Command, position: int) -> float:
        return script.number(command.arguments[position])


def _fail(code: int, line: int) -> None:
    raise ScriptError(code, line)


def _count(duration_s: float, interval_s: float) -> int:
    return max(0, math.floor(duration_s / interval_s + 1e-9))


def _staircase(begin_V: float, end_V: float, step_V: float) -> list[float]:
    """Levels of a sweep, first and last among them."""
    count = math.floor(abs(end_V - begin_V) / step_V + 1e-9)
    step_V = math.copysign(step_V, end_V - begin_V)
    return [begin_V + i * step_V for i in range(count + 1)]


def _spectrum(
    begin_Hz: float, end_Hz: float, points: float, take: Callable[[float], None]
) -> Iterable[Point]:
    return [
        (max(_CYCLES / frequency_Hz, _SHORTEST_POINT_S), partial(take, frequency_Hz))
        for frequency_Hz in np.geomspace(begin_Hz, end_Hz, round(points)).tolist()
    ]
