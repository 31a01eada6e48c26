"""Simulated Keithley 2450 SourceMeter in its SCPI command set.

Written from the Model 2450 Reference Manual (2450-901-01 Rev. B and D) sections 3 and 6, and where only that
one could be read, the Model 2461's (2461-901-01), whose SCPI is the same: output-off states, source limits,
overvoltage protection, reading buffers, trigger model with blocks and timers. Placeholders, which the manuals
do not tell: what a reading gives while the output is off, the error for an output that an overheated
instrument refuses, the overhead of a reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

from sim_devices.instruments.keithley_source import Cell, Reading, SourceStage, boolean, unquoted
from sim_devices.scpi import Handler, ScpiError, ScpiInstrument, number
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["SimulatedKeithley2450"]

_OVERHEAD_S = 0.002  # of a reading, beside its aperture
_LOOK_S = 0.02
_LINE_Hz = 50.0
_NAMES = {"VOLT": "VOLTage", "CURR": "CURRent", "RES": "RESistance"}
_LARGEST = {"VOLT": 210.0, "CURR": 1.05}
_PROTECTIONS = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
_OFF_STATES = {"NORM": "NORMAL", "HIMP": "HIMPEDANCE", "ZERO": "ZERO", "GUAR": "GUARD"}
_OVERFLOW = "9.9E+37"
_TOO_HOT = "Execution error, over temperature"
_STAT_OVER_TEMPERATURE, _STAT_LIMIT, _STAT_SENSE, _STAT_OUTPUT = 16, 32, 64, 128

Block = tuple[str, tuple[float | str, ...]]


@dataclass
class _Buffer:
    """A reading buffer; a full one forgets its oldest reading."""

    size: int = 100_000
    readings: list[tuple[Reading, int]] = field(default_factory=list)

    def add(self, reading: Reading, status: int) -> None:
        self.readings.append((reading, status))
        del self.readings[: -self.size]


@dataclass
class _Timer:
    """A trigger timer."""

    delay_s: float = 1e-5
    count: int = 1
    stimulus: str = "NONE"
    generate: bool = False
    enabled: bool = False
    begun_s: float = math.inf
    taken: int = 0  # of its events

    def start(self, at_s: float) -> None:
        if self.enabled:
            self.begun_s, self.taken = at_s, 0

    def next_event_s(self) -> float:
        first = 0 if self.generate else 1
        if self.count and self.taken >= self.count + self.generate:
            return math.inf
        return self.begun_s + (first + self.taken) * self.delay_s


class _TriggerModel:
    """Runs blocks, each at its own time, as far as the clock has come."""

    def __init__(self, instrument: SimulatedKeithley2450) -> None:
        self._instrument = instrument
        self.blocks: dict[int, Block] = {}
        self.timers = {n: _Timer() for n in range(1, 5)}
        self.state = "EMPTY"
        self.block = 0
        self.at_s = math.inf
        self._counters: dict[int, int] = {}

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "WAITING")

    def clear(self) -> None:
        self.blocks.clear()
        self.state, self.block = "EMPTY", 0

    def initiate(self, now_s: float) -> None:
        if not self.blocks or set(self.blocks) != set(range(1, len(self.blocks) + 1)):
            raise ScpiError(-221)
        self.state, self.block, self.at_s = "RUNNING", 1, now_s
        self._counters.clear()

    def abort(self) -> None:
        if self.running:
            self.state = "ABORTED"

    def catch_up(self, now_s: float) -> None:
        while self.running:
            kind, arguments = self.blocks[self.block]
            step = getattr(self, f"_{kind}")(now_s, *arguments)
            if step is None:  # it is not over yet
                break
            self.at_s, following = step
            if following > len(self.blocks):
                self.state = "IDLE"
                break
            self.block = following

    def _after(self, at_s: float, now_s: float) -> tuple[float, int] | None:
        return (at_s, self.block + 1) if at_s <= now_s else None

    def _clear(self, now_s: float, name: str) -> tuple[float, int]:
        self._instrument.buffers[name].readings.clear()
        return self.at_s, self.block + 1

    def _delay(self, now_s: float, duration_s: float) -> tuple[float, int] | None:
        return self._after(self.at_s + duration_s, now_s)

    def _notify(self, now_s: float, event: float) -> tuple[float, int]:
        for timer in self.timers.values():
            if timer.stimulus == f"NOT{int(event)}":
                timer.start(self.at_s)
        return self.at_s, self.block + 1

    def _wait(self, now_s: float, event: str) -> tuple[float, int] | None:
        if not event.startswith("TIM"):
            return None
        timer = self.timers[int(event[3:])]
        at_s = timer.next_event_s()
        if at_s > now_s:
            return None
        timer.taken += 1
        return max(at_s, self.at_s), self.block + 1

    def _measure(self, now_s: float, name: str) -> tuple[float, int] | None:
        end_s = self.at_s + self._instrument.reading_s()
        if end_s <= now_s:
            self._instrument.take_reading(name, end_s)
        return self._after(end_s, now_s)

    def _count(self, now_s: float, target: float, following: float) -> tuple[float, int]:
        self._counters[self.block] = self._counters.get(self.block, 0) + 1
        again = self._counters[self.block] < target
        return self.at_s, int(following) if again else self.block + 1

    def _always(self, now_s: float, following: float) -> tuple[float, int]:
        return self.at_s, int(following)

    def _limit(self, now_s: float, kind: str, a: float, b: float, following: float) -> tuple[float, int]:
        value = self._instrument.last_value()
        met = {
            "ABOV": value > b,
            "BEL": value < a,
            "IN": min(a, b) <= value <= max(a, b),
            "OUT": not min(a, b) <= value <= max(a, b),
        }[kind]
        return self.at_s, int(following) if met else self.block + 1

    def _output(self, now_s: float, on: float) -> tuple[float, int]:
        self._instrument.stage.set_output(bool(on), self.at_s)
        return self.at_s, self.block + 1

    def _recall(self, now_s: float, name: str, index: float) -> tuple[float, int]:
        self._instrument.recall(name, int(index), self.at_s)
        return self.at_s, self.block + 1

    def _next(self, now_s: float, name: str) -> tuple[float, int]:
        self._instrument.recall_next(name, self.at_s)
        return self.at_s, self.block + 1


class SimulatedKeithley2450(ScpiInstrument):
    """A 2450 with its HI and SENSE HI at a cell's positive.

    Parameters
    ----------
    cell : Cell
        In front of it.
    noise : float
        Factor on the noise of readings.
    language : str
        Command set that `*LANG?` tells.
    """

    identification = "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.6.7c"
    breakdowns: tuple[Breakdown, ...] = ("error", "over_range")
    latency_s = 0.002
    largest_buffer: ClassVar[int] = 6_875_000

    def __init__(
        self, clock: Clock, cell: Cell, *, noise: float = 1.0, seed: int = 1, language: str = "SCPI"
    ) -> None:
        super().__init__(clock)
        self.stage = SourceStage(cell, off_limit=0.1, noise=noise, seed=seed)
        self.language = language
        self.model = _TriggerModel(self)
        self.buffers: dict[str, _Buffer] = {}
        self._lists: dict[str, list[float]] = {}
        self._list_index: dict[str, int] = {}
        self.commands = {
            **self._output_commands(),
            **self._source_commands(),
            **self._sense_commands(),
            **self._buffer_commands(),
            **self._trigger_commands(),
            **self._system_commands(),
        }
        cell.attach(self.catch_up)
        self.power_on()

    def power_on(self) -> None:
        """Take the values after power-up: output off in the normal off state, which is 0 V."""
        self.model = _TriggerModel(self)
        self.buffers = {"defbuffer1": _Buffer(), "defbuffer2": _Buffer()}
        self._lists, self._list_index = {}, {}
        self._sensed = "CURR"
        self._nplc = dict.fromkeys(_NAMES, 1.0)
        self._four_wire = dict.fromkeys(_NAMES, False)
        self._settings: dict[str, str] = {}
        self._read_back = {"VOLT": True, "CURR": True}
        self._waiting = False
        self._held: list[str] = []
        self._count = 1
        self._last_value = math.nan
        self._terminals = "FRON"
        self.stage.reset(self.clock.monotonic())

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer; what comes after `*WAI` waits for the trigger model."""
        while (end := buffer.find(b"\n")) >= 0:
            text = bytes(buffer[:end]).decode("latin-1").strip()
            del buffer[: end + 1]
            self.latency_s = self._reply_s
            self.catch_up()
            if self.model.running and text.upper() in ("*WAI", "*OPC?"):
                self._waiting = True
            if self._waiting:
                self._held.append(text)
            elif text and (reply := self._line(text)) is not None:
                yield reply + self.line_end

    def unsolicited(self) -> Iterator[bytes]:
        """Answer what waited, once the trigger model has ended."""
        self.catch_up()
        if not self._waiting or self.model.running:
            return
        self._waiting = False
        held, self._held = self._held, []
        yield from self.receive(bytearray("".join(f"{text}\n" for text in held).encode("latin-1")))

    def next_unsolicited(self) -> float | None:
        """Tell when to look next whether the trigger model has ended."""
        return self.clock.monotonic() + _LOOK_S if self._waiting else None

    def catch_up(self) -> None:
        """Run the trigger model up to now."""
        self.model.catch_up(self.clock.monotonic())

    def error_entry(self, code: int, text: str) -> str:
        """Write an entry of the event log as the manual prints it."""
        if code == 0:
            return '0,"No error;0;0 0"'
        when = datetime.fromtimestamp(self.clock.now(), UTC)
        return f'{code},"{text};1;{when:%Y/%m/%d %H:%M:%S}.{when.microsecond // 1000:03d}"'

    def reading_s(self) -> float:
        """Time that a reading takes: its aperture, twice if the source is read back."""
        aperture_s = self._nplc[self._sensed] / _LINE_Hz
        return aperture_s * (2 if self._read_back[self.stage.source] else 1) + _OVERHEAD_S

    def take_reading(self, name: str, at_s: float, after_s: float = 0.0) -> None:
        """Measure into a buffer; the reading is stamped later by a time that has not passed yet."""
        reading = self.stage.measure(at_s, self._nplc[self._sensed], self._sensed)
        status = _STAT_OUTPUT if self.stage.output else 0
        status |= _STAT_LIMIT if reading.limited else 0
        status |= _STAT_SENSE if self._four_wire[self._sensed] else 0
        status |= _STAT_OVER_TEMPERATURE if self.broken("error") else 0
        self._last_value = reading.voltage_V if self._sensed == "VOLT" else reading.current_A
        self.buffers[name].add(replace(reading, at_s=at_s + after_s), status)

    def last_value(self) -> float:
        """What was measured last."""
        return self._last_value

    def recall(self, name: str, index: int, at_s: float) -> None:
        """Take over the settings at an index of a configuration list, from 1."""
        self._list_index[name] = index
        function = "VOLT" if name.startswith("Volt") else "CURR"
        self.stage.set_level(function, self._lists[name][index - 1], at_s)

    def recall_next(self, name: str, at_s: float) -> None:
        """Take over the settings at the next index; after the last comes the first."""
        self.recall(name, self._list_index.get(name, 0) % len(self._lists[name]) + 1, at_s)

    def _line(self, text: str) -> bytes | None:
        self.catch_up()
        if self.broken("error") and self.stage.output:
            self.model.abort()
            self.stage.set_output(False)
            self.put_error(-200, _TOO_HOT)
        return super()._line(text)

    # --- output ---

    def _output_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            ":OUTPut[1][:STATe]": self._set_output,
            ":OUTPut[1][:STATe]?": lambda: str(int(self.stage.output)),
            ":OUTPut[1]:INTerlock:TRIPped?": lambda: str(int(self.stage.interlock)),
            ":OUTPut[1]:SMODe": lambda word: self._set_off_state(("VOLT", "CURR"), word),
            ":OUTPut[1]:SMODe?": lambda: self.stage.off_state[self.stage.source],
            ":ROUTe:TERMinals": self._set_terminals,
            ":ROUTe:TERMinals?": lambda: self._terminals,
        }
        for function in ("VOLT", "CURR"):
            header = f":OUTPut[1]:{_NAMES[function]}:SMODe"
            commands[header] = lambda word, f=function: self._set_off_state((f,), word)
            commands[f"{header}?"] = lambda f=function: self.stage.off_state[f]
        return commands

    def _set_output(self, word: str) -> None:
        on = boolean(word)
        if on:
            if self.broken("error"):
                raise ScpiError(-200, _TOO_HOT)
            level_V = self.stage.level["VOLT"] if self.stage.source == "VOLT" else self.stage.limit["VOLT"]
            if abs(level_V) > 21.0 and not self.stage.interlock:
                raise ScpiError(-221, "Settings conflict, interlock")
        self.stage.set_output(on)

    def _set_off_state(self, functions: tuple[str, ...], word: str) -> None:
        short = word.upper()[:4]
        if short not in _OFF_STATES or word.upper() not in (short, _OFF_STATES[short]):
            raise ScpiError(-224)
        for function in functions:
            self.stage.off_state[function] = short
        self.stage.drive()

    def _set_terminals(self, word: str) -> None:
        if word.upper()[:4] not in ("FRON", "REAR"):
            raise ScpiError(-224)
        self._terminals = word.upper()[:4]
        self.stage.set_output(False)

    # --- source ---

    def _source_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            ":SOURce[1]:FUNCtion[:MODE]": self._set_source,
            ":SOURce[1]:FUNCtion[:MODE]?": lambda: self.stage.source,
            ":SOURce[1]:VOLTage:PROTection[:LEVel]": self._set_protection,
            ":SOURce[1]:VOLTage:PROTection[:LEVel]?": self._protection,
            ":SOURce[1]:VOLTage:PROTection[:LEVel]:TRIPped?": lambda: "0",
        }
        for function, limit in (("VOLT", "ILIMit"), ("CURR", "VLIMit")):
            commands |= self._source_function_commands(function, limit)
        return commands

    def _source_function_commands(self, function: str, limit: str) -> dict[str, Handler]:
        head, largest = f":SOURce[1]:{_NAMES[function]}", _LARGEST[function]
        limited = "CURR" if function == "VOLT" else "VOLT"
        smallest = 1e-9 if limited == "CURR" else 0.02
        level = f"{head}[:LEVel][:IMMediate][:AMPLitude]"

        def set_limit(word: str) -> None:
            value = number(word, smallest, _LARGEST[limited], MIN=smallest, MAX=_LARGEST[limited])
            if limited == "VOLT" and value > self.stage.protection_V:
                raise ScpiError(-222)
            self.stage.limit[limited] = value
            self.stage.drive()

        def set_automatic_range(word: str) -> None:
            self.stage.fixed_range[function] = None if boolean(word) else self.stage.range(function)

        return {
            level: lambda word: self.stage.set_level(function, number(word, -largest, largest)),
            f"{level}?": lambda: _nr3(self.stage.level[function]),
            f"{head}:{limit}[:LEVel]": set_limit,
            f"{head}:{limit}[:LEVel]?": lambda: _nr3(self.stage.limit[limited]),
            f"{head}:{limit}[:LEVel]:TRIPped?": lambda: str(
                int(self.stage.source == function and self.stage.tripped())
            ),
            f"{head}:RANGe": lambda word: self.stage.set_range(function, number(word, -largest, largest)),
            f"{head}:RANGe?": lambda: _nr3(self.stage.range(function)),
            f"{head}:RANGe:AUTO": set_automatic_range,
            f"{head}:RANGe:AUTO?": lambda: str(int(self.stage.fixed_range[function] is None)),
            f"{head}:READ:BACK": lambda word: self._read_back.update({function: boolean(word)}),
            f"{head}:READ:BACK?": lambda: str(int(self._read_back[function])),
            **self._plain(f"{head}:DELay", 0.0, 10_000.0),
            **self._switch(f"{head}:DELay:AUTO", True),
            f"{head}:DELay": partial(self._set_delay, head),
            **self._switch(f"{head}:HIGH:CAPacitance", False),
            f":SOURce[1]:LIST:{_NAMES[function]}": lambda *words: self._store_list(function, words, False),
            f":SOURce[1]:LIST:{_NAMES[function]}:APPend": lambda *words: self._store_list(
                function, words, True
            ),
            f":SOURce[1]:LIST:{_NAMES[function]}?": lambda: ",".join(
                map(_nr3, self._lists.get(_list_name(function), []))
            ),
            f":SOURce[1]:SWEep:{_NAMES[function]}:LIST": lambda *words: self._set_list_sweep(
                function, *words
            ),
            f":SOURce[1]:SWEep:{_NAMES[function]}:LINear": lambda *words: self._set_linear_sweep(
                function, *words
            ),
        }

    def _set_delay(self, head: str, word: str) -> None:
        self._settings[f"{head}:DELay"] = _nr3(number(word, 0, 1e4))
        self._settings[f"{head}:DELay:AUTO"] = "0"

    def _set_source(self, word: str) -> None:
        short = word.upper()[:4]
        if word.upper() not in (short, _NAMES.get(short, "").upper()) or short not in _LARGEST:
            raise ScpiError(-224)
        if short != self.stage.source:
            self.stage.output = False  # a change of the source function switches the output off
        self.stage.source = short
        self.stage.drive()

    def _set_protection(self, word: str) -> None:
        if word.upper() == "NONE":
            self.stage.protection_V = math.inf
        elif word.upper().removeprefix("PROT") in map(str, _PROTECTIONS):
            self.stage.protection_V = float(word.upper().removeprefix("PROT"))
        else:
            raise ScpiError(-224)
        self.stage.drive()

    def _protection(self) -> str:
        return f"PROT{self.stage.protection_V:.0f}" if math.isfinite(self.stage.protection_V) else "NONE"

    def _store_list(self, function: str, words: tuple[str, ...], append: bool) -> None:
        if not 1 <= len(words) <= 100:
            raise ScpiError(-108 if words else -109)
        values = [number(word, -_LARGEST[function], _LARGEST[function]) for word in words]
        name = _list_name(function)
        earlier = self._lists.get(name, []) if append else []
        if len(earlier) + len(values) > 2500:
            raise ScpiError(-222)
        self._lists[name] = earlier + values
        self._list_index.pop(name, None)

    def _set_list_sweep(
        self, function: str, start: str, delay: str = "0", count: str = "1", *rest: str
    ) -> None:
        name = unquoted(rest[2]) if len(rest) > 2 else _list_name(function)
        if name not in self._lists:
            raise ScpiError(-221)
        buffer = unquoted(rest[1]) if len(rest) > 1 else "defbuffer1"
        self._load_sweep(name, int(number(start, 1)), number(delay, -1), int(number(count, 0)), buffer)

    def _set_linear_sweep(
        self,
        function: str,
        start: str,
        stop: str,
        points: str,
        delay: str = "-1",
        count: str = "1",
        *rest: str,
    ) -> None:
        first, last, steps = number(start), number(stop), int(number(points, 2, 1e6))
        values = [first + i * (last - first) / (steps - 1) for i in range(steps)]
        if len(rest) > 2 and boolean(rest[2]):
            values += values[::-1]
        name = "VoltLinearSweepList" if function == "VOLT" else "CurrLinearSweepList"
        self._lists[name] = values
        buffer = unquoted(rest[3]) if len(rest) > 3 else "defbuffer1"
        self._load_sweep(name, 1, number(delay, -1), int(number(count, 0)), buffer)

    def _load_sweep(self, name: str, start: int, delay_s: float, count: int, buffer: str) -> None:
        """Make the trigger model of a sweep: it switches the output on, and off at its end."""
        self._find(buffer)
        self._list_index.pop(name, None)
        points = max(count, 1) * len(self._lists[name])
        self.model.clear()
        self.model.blocks = {
            1: ("clear", (buffer,)),
            2: ("recall", (name, float(start))),
            3: ("output", (1.0,)),
            4: ("delay", (max(delay_s, 0.001 if delay_s < 0 else 0.0),)),
            5: ("measure", (buffer,)),
            6: ("next", (name,)),
            7: ("count", (float(points), 4.0)),
            8: ("output", (0.0,)),
        }
        self.model.state = "IDLE"

    # --- sense ---

    def _sense_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            "[:SENSe[1]]:FUNCtion[:ON]": self._set_function,
            "[:SENSe[1]]:FUNCtion[:ON]?": lambda: (
                '"RES"' if self._sensed == "RES" else f'"{self._sensed}:DC"'
            ),
            "[:SENSe[1]]:COUNt": lambda word: setattr(self, "_count", int(number(word, 1, 300_000))),
            "[:SENSe[1]]:COUNt?": lambda: str(self._count),
        }
        for function, name in _NAMES.items():
            head = f"[:SENSe[1]]:{name}" + ("[:DC]" if function != "RES" else "")
            largest = _LARGEST.get(function, 210e6)
            commands |= {
                f"{head}:NPLCycles": lambda word, f=function: self._nplc.update({f: number(word, 0.01, 10)}),
                f"{head}:NPLCycles?": lambda f=function: _nr3(self._nplc[f]),
                f"{head}:RSENse": lambda word, f=function: self._four_wire.update({f: boolean(word)}),
                f"{head}:RSENse?": lambda f=function: str(int(self._four_wire[f])),
                f"{head}:RANGe[:UPPer]": partial(self._set_sense_range, function, largest),
                f"{head}:RANGe[:UPPer]?": lambda f=function: _nr3(self.stage.sense_range(f)),
                f"{head}:RANGe:AUTO": partial(self._set_automatic_sense_range, function),
                f"{head}:RANGe:AUTO?": lambda f=function: str(int(self.stage.fixed_sense_range[f] is None)),
                **self._switch(f"{head}:AZERo[:STATe]", True),
                **self._switch(f"{head}:AVERage[:STATe]", False),
                **self._plain(f"{head}:AVERage:COUNt", 1, 100, 10),
                **self._word(f"{head}:AVERage:TCONtrol", "REP"),
            }
        return commands

    def _set_sense_range(self, function: str, largest: float, word: str) -> None:
        self.stage.fix_sense_range(function, number(word, -largest, largest, MIN=0.0, MAX=largest))

    def _set_automatic_sense_range(self, function: str, word: str) -> None:
        present = self.stage.sense_range(function)
        self.stage.fix_sense_range(function, None if boolean(word) else present)

    def _function(self) -> str:
        return '"RES"' if self._sensed == "RES" else f'"{self._sensed}:DC"'

    def _set_function(self, word: str) -> None:
        name = unquoted(word).upper().removesuffix(":DC")
        for short, long in _NAMES.items():
            if name in (short, long.upper()):
                self._sensed = short
                return
        raise ScpiError(-224)

    # --- buffers and readings ---

    def _buffer_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            ":READ?": self._read,
            ":MEASure?": self._read,
            ":FETCh?": lambda *words: self._last(*words),
            ":TRACe:MAKE": self._make_buffer,
            ":TRACe:DELete": self._delete_buffer,
            ":TRACe:CLEar": lambda word="defbuffer1": self._find(word).readings.clear(),
            ":TRACe:ACTual?": lambda word="defbuffer1": str(len(self._find(word).readings)),
            ":TRACe:POINts": self._set_points,
            ":TRACe:POINts?": lambda word="defbuffer1": str(self._find(word).size),
            ":TRACe:TRIGger": lambda word="defbuffer1": self._take(word),
            ":TRACe:DATA?": self._data,
            **self._word(":TRACe:FILL:MODE", "CONT"),
            **self._plain(":FORMat:ASCii:PRECision", 0, 16),
            **self._word(":FORMat[:DATA]", "ASC"),
        }
        for name, statistic in {
            "AVERage": lambda values: sum(values) / len(values),
            "MAXimum": max,
            "MINimum": min,
            "STDDev": _deviation,
        }.items():
            commands[f":TRACe:STATistics:{name}?"] = lambda word="defbuffer1", s=statistic: self._statistic(
                word, s
            )
        return commands

    def _find(self, word: str) -> _Buffer:
        try:
            return self.buffers[unquoted(word).lower() if "defb" in word.lower() else unquoted(word)]
        except KeyError:
            raise ScpiError(-224) from None

    def _make_buffer(self, name: str, size: str, style: str = "STAN") -> None:
        self.buffers[unquoted(name)] = _Buffer(int(number(size, 10, self.largest_buffer)))

    def _delete_buffer(self, name: str) -> None:
        if unquoted(name).startswith("defbuffer"):
            raise ScpiError(-224)
        self.buffers.pop(unquoted(name), None)

    def _set_points(self, size: str, word: str = "defbuffer1") -> None:
        buffer = self._find(word)
        buffer.size = int(number(size, 10, self.largest_buffer))
        buffer.readings.clear()

    def _take(self, word: str) -> None:
        """Take as many readings as the count says; the next reply comes when they are done."""
        self._find(word)
        for i in range(self._count):
            self.take_reading(unquoted(word), self.clock.monotonic(), i * self.reading_s())
            self.takes(self.reading_s())

    def _read(self, *words: str) -> str:
        self._take(words[0] if words else "defbuffer1")
        return self._last(*words)

    def _last(self, *words: str) -> str:
        buffer = self._find(words[0] if words else "defbuffer1")
        if not buffer.readings:
            raise ScpiError(-230)
        return self._elements(buffer, buffer.readings[-1], words[1:] or ("READ",))

    def _data(self, start: str, end: str, word: str = "defbuffer1", *elements: str) -> str:
        buffer = self._find(word)
        first, last = int(number(start, 1)), int(number(end, 1))
        if not first <= last <= len(buffer.readings):
            raise ScpiError(-222)
        chosen = buffer.readings[first - 1 : last]
        return ",".join(self._elements(buffer, entry, elements or ("READ",)) for entry in chosen)

    def _elements(self, buffer: _Buffer, entry: tuple[Reading, int], elements: tuple[str, ...]) -> str:
        return ",".join(self._element(buffer, *entry, element.upper()) for element in elements)

    def _element(self, buffer: _Buffer, reading: Reading, status: int, element: str) -> str:
        values = {"VOLT": reading.voltage_V, "CURR": reading.current_A}
        values["RES"] = reading.voltage_V / reading.current_A if reading.current_A else math.inf
        if element.startswith("SOURSTAT"):
            return str(status)
        if element.startswith("SOUR"):
            read_back = self._read_back[reading.source]
            return _nr3(values[reading.source] if read_back else reading.level)
        if element.startswith("READ"):
            return _OVERFLOW if self.broken("over_range") else _nr3(values[reading.sensed])
        if element.startswith("REL"):
            return f"{reading.at_s - buffer.readings[0][0].at_s:.6f}"
        if element.startswith("STAT"):
            return "8" if self._terminals == "FRON" else "0"
        if element.startswith("UNIT"):
            return {"VOLT": "Volt DC", "CURR": "Amp DC", "RES": "Ohm"}[reading.sensed]
        raise ScpiError(-224)

    def _statistic(self, word: str, statistic: Callable[[list[float]], float]) -> str:
        readings = [reading for reading, _ in self._find(word).readings]
        values = [
            reading.voltage_V if reading.sensed == "VOLT" else reading.current_A for reading in readings
        ]
        return _nr3(statistic(values)) if values else _OVERFLOW

    # --- trigger model ---

    def _trigger_commands(self) -> dict[str, Handler]:
        head = ":TRIGger:BLOCk"
        commands: dict[str, Handler] = {
            ":INITiate[:IMMediate]": self._initiate,
            ":ABORt": lambda: self.model.abort(),
            ":TRIGger:STATe?": self._state,
            ":TRIGger:LOAD": self._load,
            f"{head}:BUFFer:CLEar": lambda block, name="defbuffer1": self._block(
                block, "clear", self._named(name)
            ),
            f"{head}:MEASure": lambda block, name="defbuffer1", count="1": self._block(
                block, "measure", self._named(name)
            ),
            f"{head}:MDIGitize": lambda block, name="defbuffer1", count="1": self._block(
                block, "measure", self._named(name)
            ),
            f"{head}:NOTify": lambda block, event: self._block(block, "notify", number(event, 1, 8)),
            f"{head}:WAIT": lambda block, event, *rest: self._block(block, "wait", _event(event)),
            f"{head}:DELay:CONStant": lambda block, s: self._block(block, "delay", number(s, 0, 1e4)),
            f"{head}:BRANch:COUNter": lambda block, count, to: self._block(
                block, "count", number(count, 1), number(to, 1)
            ),
            f"{head}:BRANch:ALWays": lambda block, to: self._block(block, "always", number(to, 1)),
            f"{head}:BRANch:LIMit:CONStant": lambda block, kind, a, b, to, measure="0": self._block(
                block, "limit", _limit_type(kind), number(a), number(b), number(to, 1)
            ),
            f"{head}:SOURce:STATe": lambda block, word: self._block(block, "output", float(boolean(word))),
            f"{head}:CONFig:RECall": lambda block, name, index="1": self._block(
                block, "recall", self._listed(name), number(index, 1)
            ),
            f"{head}:CONFig:NEXT": lambda block, name: self._block(block, "next", self._listed(name)),
            "*TRG": lambda: None,
        }
        for n in range(1, 5):
            timer = f":TRIGger:TIMer{n}"
            commands |= {
                f"{timer}:DELay": lambda s, n=n: self._set_timer(n, delay_s=number(s, 8e-6, 100_000)),
                f"{timer}:DELay?": lambda n=n: _nr3(self.model.timers[n].delay_s),
                f"{timer}:COUNt": lambda c, n=n: self._set_timer(n, count=int(number(c, 0, 1_048_575))),
                f"{timer}:STARt:STIMulus": lambda word, n=n: self._set_timer(n, stimulus=_event(word)),
                f"{timer}:STARt:GENerate": lambda word, n=n: self._set_timer(n, generate=boolean(word)),
                f"{timer}:STATe": lambda word, n=n: self._set_timer(n, enabled=boolean(word)),
                f"{timer}:STATe?": lambda n=n: str(int(self.model.timers[n].enabled)),
                f"{timer}:CLEar": lambda n=n: self._set_timer(n, begun_s=math.inf),
            }
        return commands

    def _initiate(self) -> None:
        if self.model.running:
            raise ScpiError(-213)
        self.model.initiate(self.clock.monotonic())
        self.catch_up()

    def _state(self) -> str:
        return f"{self.model.state};{self.model.state};{self.model.block}"

    def _load(self, template: str, *words: str) -> None:
        name = unquoted(template).upper()
        self.model.clear()
        if name == "EMPTY":
            return
        buffer = self._named(words[2]) if len(words) > 2 else "defbuffer1"
        delay_s = number(words[1], 0, 1e4) if len(words) > 1 else 0.0
        if name != "SIMPLELOOP" or not words:
            raise ScpiError(-224)
        self.model.blocks = {
            1: ("clear", (buffer,)),
            2: ("output", (1.0,)),
            3: ("delay", (delay_s,)),
            4: ("measure", (buffer,)),
            5: ("count", (number(words[0], 1), 3.0)),
            6: ("output", (0.0,)),
        }
        self.model.state = "IDLE"

    def _block(self, block: str, kind: str, *arguments: float | str) -> None:
        if self.model.running:
            raise ScpiError(-221)
        self.model.blocks[int(number(block, 1, 63))] = (kind, arguments)
        self.model.state = "BUILDING"

    def _named(self, word: str) -> str:
        self._find(word)
        return unquoted(word)

    def _listed(self, word: str) -> str:
        if unquoted(word) not in self._lists:
            raise ScpiError(-224)
        return unquoted(word)

    def _set_timer(self, n: int, **values: float | bool | str) -> None:
        for name, value in values.items():
            setattr(self.model.timers[n], name, value)

    # --- system ---

    def _system_commands(self) -> dict[str, Handler]:
        return {
            "*LANG?": lambda: self.language,
            "*LANG": lambda word: None,  # takes effect after the next power-up
            ":*CLS": self._clear,
            ":STATus:PRESet": lambda: None,
            ":STATus:CLEar": lambda: None,
            ":STATus:OPERation[:EVENt]?": lambda: "0",
            ":STATus:QUEStionable[:EVENt]?": lambda: "0",
            ":SYSTem:LFRequency?": lambda: f"{_LINE_Hz:.0f}",
            ":SYSTem:BEEPer[:IMMediate]": lambda frequency, duration: None,
            ":SYSTem:EVENtlog:COUNt?": lambda *words: str(len(self._errors)),
        }

    def _plain(self, header: str, low: float, high: float, start: float = 0.0) -> dict[str, Handler]:
        """Commands of a number that changes nothing here."""

        def store(word: str) -> None:
            self._settings[header] = _told(number(word, low, high, MIN=low, MAX=high, DEF=start), low)

        return {header: store, f"{header}?": lambda: self._settings.get(header, _told(start, low))}

    def _switch(self, header: str, start: bool) -> dict[str, Handler]:
        def store(word: str) -> None:
            self._settings[header] = str(int(boolean(word)))

        return {header: store, f"{header}?": lambda: self._settings.get(header, str(int(start)))}

    def _word(self, header: str, start: str) -> dict[str, Handler]:
        def store(word: str, *rest: str) -> None:
            self._settings[header] = word.upper()[:4]

        return {header: store, f"{header}?": lambda *words: self._settings.get(header, start)}


def _list_name(function: str) -> str:
    return "VoltCustomSweepList" if function == "VOLT" else "CurrCustomSweepList"


def _told(value: float, low: float) -> str:
    """A count (nothing below 1 is one) as an integer."""
    return str(int(value)) if low == 1 else _nr3(value)


def _nr3(value: float) -> str:
    return f"{value:.6E}" if math.isfinite(value) else _OVERFLOW


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))


def _event(word: str) -> str:
    """Short form of an event that something waits for."""
    name, digit = word.upper().rstrip("0123456789"), word[len(word.rstrip("0123456789")) :]
    shorts = {"NOTIFY": "NOT", "TIMER": "TIM", "COMMAND": "COMM", "DISPLAY": "DISP", "SLIMIT": "SLIM"}
    short = shorts.get(name, name)
    if short not in (*shorts.values(), "NONE", "DIG", "BLEN", "LAN", "TSPL"):
        raise ScpiError(-224)
    return short + digit


def _limit_type(word: str) -> str:
    for short, long in (("ABOV", "ABOVE"), ("BEL", "BELOW"), ("IN", "INSIDE"), ("OUT", "OUTSIDE")):
        if word.upper() in (short, long):
            return short
    raise ScpiError(-224)
