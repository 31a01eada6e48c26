"""Neware BTS 8 battery cycler behind its BTS Client: the TCP API (XML), and a machine that runs step files.

Sources: replies captured from a BTS 8.0 machine, as published in the tests of the aurora-neware client
0.2.3 (layout, order of attributes, misspelt names of replies, 15 digits of single-precision numbers, 0.1 s
of resolution, a step's first record at 0 s and its last at its end, more where the voltage has changed);
a second public client, written after the maker's "BTSAPI" 1.19 (commands, words for the states, at most 1000
records a request, one request outstanding, a state that is up to 5 s old); step files in use with BTS Client
8.0 and the writer aurora-unicycler 0.4.6, run on BTS 8.0.0 (types of steps, their limits and units).

Not known, and chosen here: log codes but 100000 (start), 100001 (end) and 102000 (running), which the
captures suggest; silence to an unknown command or one that is no XML, and to whatever comes before the reply
to the first; "--" for a number beyond the range; a machine that loses power stops its tests and keeps their
data; the replies to `reset` and to the pauses; how a reserved pause ends; that a step's own record conditions
replace those of the whole file; that a step follows the one before without a gap in what is driven; that a
charge (types 3 and 7) takes nothing out of a cell above its voltage, and a discharge (19 and 20) puts nothing
into one below it: the cell is left open until it has come back.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

import numpy as np

from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["Cell", "SimulatedNeware"]

_END = b"#\r\n"
_MOST_RECORDS = 1000
_TICK_S = 0.1
_TOLERANCE_V = 1e-4  # of protections, and of a cell that comes back: the resolution of a step file's voltages
_NO_CURRENT = 1e-4  # of the range, a tenth of the accuracy that makers state: less is none
_EPS_S = 1e-6
_STARTED, _ENDED, _RUNNING = 100000, 100001, 102000
_OVER_V, _UNDER_V, _OVER_A, _UNDER_A, _ALARM, _BEYOND, _STOPPED = range(190001, 190008)  # placeholders
_MISSPELT = {"download": "donwload_resp", "downloadlog": "donwloadlog_resp"}
_CYCLE, _FINISH, _PAUSE = 5, 6, 13
_TYPES = {1: "cc", 2: "dc", 3: "cv", 4: "rest", 7: "cccv", 19: "dv", 20: "cccd"}
_NEEDS = {"cc": ("Curr",), "dc": ("Curr",), "cv": ("Volt",), "dv": ("Volt",), "rest": ("Time",)}
#: How many units of a step file's number are one ampere, volt, second or ampere hour, at scale 1.
_UNITS = {"Curr": 1e3, "Volt": 1e4, "Time": 1e3, "Stop_Volt": 1e4, "Stop_Curr": 1e3, "Cap": 3.6e6}
_SCALED = ("Curr", "Stop_Curr", "Cap")
_DISCHARGES = {"dc", "dv", "cccd"}
_STARTS_FROM = ("finish", "stop", "protect")


class Cell(Protocol):
    """What a channel is connected to (`sim_devices.physics.battery_cell`)."""

    voltage_V: float
    current_A: float
    charge_Ah: float
    energy_Wh: float

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have `catch_up` called before anybody reads the cell."""

    def read(self) -> tuple[float, float]:
        """Voltage (V) and current (A) now."""

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect."""

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = ...,
        voltage_max_V: float = ...,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current, within a compliance."""

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = ..., *, at_s: float | None = None
    ) -> None:
        """Hold a voltage, within a compliance."""

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring it up to a time, or to where `ended`; gives the time reached."""


class _NoCell:
    """Open terminals: no current flows, and a current source ends at its rail."""

    charge_Ah = energy_Wh = current_A = 0.0

    def __init__(self, rail_V: float) -> None:
        self._rail_V = rail_V
        self.voltage_V = 0.0

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Nothing reads this but its channel."""

    def read(self) -> tuple[float, float]:
        return self.voltage_V, 0.0

    def open(self, *, at_s: float | None = None) -> None:
        self.voltage_V = 0.0

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        self.voltage_V = math.copysign(self._rail_V, current_A) if current_A else 0.0

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        self.voltage_V = voltage_V

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        assert until_s is not None
        return until_s


@dataclass(frozen=True)
class _Protections:
    voltage_min_V: float = -math.inf
    voltage_max_V: float = math.inf
    current_min_A: float = -math.inf
    current_max_A: float = math.inf
    delay_s: float = 0.0

    def tripped(self, voltage_V: float, current_A: float) -> int:
        """Log code of what is violated, or 0."""
        if voltage_V > self.voltage_max_V + _TOLERANCE_V:
            return _OVER_V
        if voltage_V < self.voltage_min_V - _TOLERANCE_V:
            return _UNDER_V
        if current_A > self.current_max_A * (1.0 + 1e-6):
            return _OVER_A
        return _UNDER_A if current_A < self.current_min_A * (1.0 + 1e-6) else 0


@dataclass(frozen=True)
class _Step:
    """One step of a step file, in SI units; NaN where the file says nothing."""

    type: str
    current_A: float = math.nan
    voltage_V: float = math.nan
    time_s: float = math.nan
    stop_voltage_V: float = math.nan
    stop_current_A: float = math.nan
    capacity_Ah: float = math.nan
    start_step: int = 0
    cycle_count: int = 0
    protections: _Protections = _Protections()
    record_s: float = math.inf
    record_V: float = math.inf
    record_A: float = math.inf

    @property
    def holds(self) -> bool:
        return self.type in ("cv", "dv", "cccv", "cccd")

    @property
    def sign(self) -> int:
        return -1 if self.type in _DISCHARGES else 1

    def ended(self, voltage_V: float, current_A: float, charge_Ah: float) -> bool:
        """Whether the step's own conditions end it; those that are NaN never do."""
        return (
            self.sign * (voltage_V - self.stop_voltage_V) >= 0.0
            or abs(current_A) <= self.stop_current_A
            or abs(charge_Ah) >= self.capacity_Ah
        )


def _read_steps(path: Path) -> tuple[list[_Step], int]:
    """Read a step file: its steps and the number of the first; ValueError if the machine can't run it."""
    config = ET.parse(path).getroot().find("config")
    if config is None or config.get("type") != "Step File":
        raise ValueError("not a step file")
    scale = _value(config, "Head_Info/Scale", 1.0)
    whole = config.find("Whole_Prt")
    steps = [_read_step(element, whole, scale) for element in config.findall("Step_Info/*")]
    for number, step in enumerate(steps, start=1):
        if step.type == "cycle" and not (1 <= step.start_step < number and step.cycle_count >= 1):
            raise ValueError(f"step {number}: no cycle")
    first = int(_value(config, "Head_Info/Start_Step", 1.0))
    if not 1 <= first <= len(steps):
        raise ValueError("no first step")
    return steps, first


def _read_step(element: ET.Element, whole: ET.Element | None, scale: float) -> _Step:
    number = int(element.get("Step_Type", ""))
    if number in (_FINISH, _PAUSE):
        return _Step("end" if number == _FINISH else "pause")
    if number == _CYCLE:
        start, count = (_value(element, f"Limit/Other/{name}", 0.0) for name in ("Start_Step", "Cycle_Count"))
        return _Step("cycle", start_step=int(start), cycle_count=int(count))
    kind = _TYPES.get(number, "")
    limits = {
        name: _value(element, f"Limit/Main/{name}", math.nan) / unit / (scale if name in _SCALED else 1.0)
        for name, unit in _UNITS.items()
    }
    if not kind or any(math.isnan(limits[name]) for name in _NEEDS.get(kind, ("Curr", "Volt"))):
        raise ValueError(f"step of type {number}")
    record = _own_or_whole(element, whole, "Record")
    return _Step(
        kind,
        limits["Curr"],
        limits["Volt"],
        limits["Time"],
        limits["Stop_Volt"],
        limits["Stop_Curr"],
        limits["Cap"],
        protections=_read_protections(_own_or_whole(element, whole, "Protect"), scale),
        record_s=_value(record, "Main/Time", math.inf) / 1000.0,
        record_V=_value(record, "Main/Volt", math.inf) / 1e4,
        record_A=_value(record, "Main/Curr", math.inf) / 1000.0 / scale,
    )


def _read_protections(element: ET.Element | None, scale: float) -> _Protections:
    return _Protections(
        _value(element, "Main/Volt/Lower", -math.inf) / 1e4,
        _value(element, "Main/Volt/Upper", math.inf) / 1e4,
        _value(element, "Main/Curr/Lower", -math.inf) / 1000.0 / scale,
        _value(element, "Main/Curr/Upper", math.inf) / 1000.0 / scale,
        _value(element, "Main/Delay_Time", 0.0) / 1000.0,
    )


def _own_or_whole(element: ET.Element, whole: ET.Element | None, name: str) -> ET.Element | None:
    own = element.find(name)
    return own if own is not None else whole.find(name) if whole is not None else None


def _value(element: ET.Element | None, path: str, default: float) -> float:
    found = element.find(path) if element is not None else None
    return default if found is None else float(found.get("Value", ""))


@dataclass
class _Test:
    """What the data base keeps of a test."""

    id: int
    data: list[str] = field(default_factory=list)  # rows, as they are sent
    layers: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True)
class _Shown:
    """A channel's state as the client's computer has last heard of it."""

    state: str
    cycle: int
    step: int
    type: str
    voltage: str
    current: str
    capacity_Ah: float
    energy_Wh: float
    total_s: float
    step_s: float
    log_code: int


class _Channel:
    """One channel: runs steps on its cell, lazily, and makes records as it goes."""

    def __init__(self, machine: SimulatedNeware, cell: Cell, subdevid: int, chlid: int) -> None:
        self._machine = machine
        self._clock = machine.clock
        self.cell = cell
        self.subdevid, self.chlid = subdevid, chlid
        self.state = "finish"
        self.light = False
        self.barcode = ""
        self.pause: dict[str, str] | None = None
        self.tests: list[_Test] = []
        self._log_code = 0
        self._steps: list[_Step] = []
        self._index = 0
        self._cycle = 1
        self._loops: dict[int, int] = {}
        self._began_s = 0.0  # of the test
        self._step_began_s = self._now_s = 0.0
        self._charge_Ah = self._energy_Wh = 0.0  # of the cell, when the step began
        self._end_s = self._record_s = math.inf
        self._ending = self._recording = False
        self._idle = False  # the cell is beyond the voltage that is to be held, on the other side
        self._trip = 0
        self._last_V = self._last_A = math.nan
        self._first_record = 1
        self._start_V = self._start_A = 0.0
        self._shown: tuple[float, object, _Shown] | None = None
        cell.attach(self.catch_up)

    @property
    def test(self) -> _Test | None:
        return self.tests[-1] if self.tests else None

    def find_test(self, testid: int) -> _Test | None:
        """Give a test by its number; 0 is the last."""
        return self.test if testid == 0 else next((t for t in self.tests if t.id == testid), None)

    def start(self, steps: list[_Step], first: int, testid: int, barcode: str) -> None:
        """Begin a test."""
        self._steps, self._index, self._cycle, self._loops = steps, first - 1, 1, {}
        self.barcode, self.pause = barcode, None
        self.tests.append(_Test(testid))
        self.state, self._log_code = "working", _RUNNING
        self._began_s = self._now_s = self._clock.monotonic()
        self._note(_STARTED)
        self._begin_step()

    def stop(self, state: str = "stop", code: int = _STOPPED) -> None:
        """End the test now, as by hand, or by a protection."""
        self._now_s = self._clock.monotonic()
        if self.state == "working":
            self._make_record()
            self._close_step()
        self._end(state, code)

    def resume(self) -> None:
        """Go on after a pause or a stop, at the beginning of the step."""
        assert self.test is not None
        self.state, self._log_code, self.test.complete = "working", _RUNNING, False
        self._now_s = self._clock.monotonic()
        self._begin_step()

    def jump(self, number: int) -> None:
        """Go to a step."""
        self._make_record()
        self._close_step()
        self._index = number - 1
        self._begin_step()

    def replace(self, steps: list[_Step]) -> None:
        """Go on with other steps, from the next on."""
        self._steps = steps

    @property
    def step_count(self) -> int:
        return len(self._steps)

    def lose_power(self) -> None:
        """Open the relays; the data stay."""
        self.light, self._shown = False, None
        if self.state in ("working", "pause"):
            self.catch_up()
            self._end("stop", _STOPPED)

    def catch_up(self) -> None:
        """Bring the program up to now."""
        now_s = self._clock.monotonic()
        while self.state == "working" and self._now_s < now_s - _EPS_S:
            self._go_on(now_s)

    def shown(self) -> _Shown:
        """What the client's computer knows: it hears of the channel every few seconds."""
        machine, now_s = self._machine, self._clock.monotonic()
        broken = machine.broken("error"), machine.broken("over_range")
        if (
            self._shown is None
            or now_s - self._shown[0] >= machine.status_period_s
            or self._shown[1] != broken
        ):
            self._shown = (now_s, broken, self._look())
        return self._shown[2]

    def _look(self) -> _Shown:
        machine = self._machine
        self.catch_up()
        beyond = machine.broken("over_range")
        fault = _BEYOND if beyond else _ALARM if machine.broken("error") else 0
        if fault and self.state in ("working", "pause"):
            self.stop("protect", fault)
        voltage_V, current_A = self.cell.read()
        state = "protect" if fault else "ligth" if self.light else self.state
        active = state in ("working", "pause")
        step = self._steps[self._index] if active else _Step("--")
        return _Shown(
            state,
            self._cycle,
            self._index + 1 if active else 0,
            step.type,
            "--" if beyond else _short(voltage_V),
            "--" if beyond else _short(current_A if state == "working" else 0.0),
            abs(self.cell.charge_Ah - self._charge_Ah) if active else 0.0,
            abs(self.cell.energy_Wh - self._energy_Wh) if active else 0.0,
            self._now_s - self._began_s if active else 0.0,
            self._now_s - self._step_began_s if active else 0.0,
            fault or self._log_code,
        )

    # ----- the program

    def _begin_step(self) -> None:
        """Begin the step at the index; steps that only control are done on the way."""
        while True:
            if self._index >= len(self._steps) or self._steps[self._index].type == "end":
                self._end("finish", _ENDED)
                return
            step = self._steps[self._index]
            if step.type == "cycle":
                self._loop(step)
            elif step.type == "pause":
                self._index += 1
                self.state = "pause"
                self.cell.open(at_s=self._now_s)
                return
            else:
                break
        self._step_began_s = self._now_s
        self._charge_Ah, self._energy_Wh = self.cell.charge_Ah, self.cell.energy_Wh
        self._end_s = self._now_s + step.time_s if math.isfinite(step.time_s) else math.inf
        self._ending = self._recording = False
        self._trip = 0
        self._drive(step)
        assert self.test is not None
        self._first_record = len(self.test.data) + 1
        self._start_V, self._start_A = self.cell.voltage_V, self.cell.current_A
        self._make_record()

    def _loop(self, step: _Step) -> None:
        done = self._loops.get(self._index, 0) + 1
        if done < step.cycle_count:
            self._loops[self._index] = done
            self._index = step.start_step - 1
            self._cycle += 1
        else:
            self._loops.pop(self._index, None)
            self._index += 1

    def _drive(self, step: _Step) -> None:
        cell, now_s = self.cell, self._now_s
        match step.type:
            case "rest":
                cell.open(at_s=now_s)
            case "cc" | "dc":
                cell.source_current(step.sign * step.current_A, at_s=now_s)
            case "cccv":
                cell.source_current(step.current_A, voltage_max_V=step.voltage_V, at_s=now_s)
            case "cccd":
                cell.source_current(-step.current_A, voltage_min_V=step.voltage_V, at_s=now_s)
            case _:
                limit_A = math.inf if math.isnan(step.current_A) else step.current_A
                cell.source_voltage(step.voltage_V, limit_A, at_s=now_s)
        self._idle = step.holds and self._flows_back(cell.current_A)
        if self._idle:
            cell.open(at_s=now_s)

    def _go_on(self, now_s: float) -> None:
        """Go as far as something happens, at most to now."""
        step = self._steps[self._index]
        until_s = min(self._end_s, self._record_s, now_s)
        self._now_s = self.cell.advance(until_s, None if self._ending else self._watch)
        if self._now_s < until_s:
            self._happened(step)
        elif not self._ending and self._watch(self.cell.voltage_V, self.cell.current_A):
            self._happened(step)  # just when a record was due
        if self._now_s >= self._end_s - _EPS_S:
            self._now_s = max(self._now_s, self._end_s)
            self._make_record()
            self._close_step()
            if self._trip:
                self._end("protect", self._trip)
            elif self._pause_is_due():
                self._index += 1
                self.state, self.pause = "pause", None
                self.cell.open(at_s=self._now_s)
            else:
                self._index += 1
                self._begin_step()
        elif self._now_s >= self._record_s - _EPS_S:
            self._make_record()

    def _watch(self, voltage_V: float, current_A: float) -> bool:
        step = self._steps[self._index]
        if step.ended(voltage_V, current_A, self.cell.charge_Ah - self._charge_Ah):
            return True
        if self._trip_code(voltage_V, current_A) or self._turns(voltage_V, current_A):
            return True
        return not self._recording and (
            abs(voltage_V - self._last_V) >= step.record_V or abs(current_A - self._last_A) >= step.record_A
        )

    def _turns(self, voltage_V: float, current_A: float) -> bool:
        """Whether the current of a held voltage would change its sign, or flows again."""
        step = self._steps[self._index]
        if self._idle:
            return step.sign * (step.voltage_V - voltage_V) >= _TOLERANCE_V
        return step.holds and self._flows_back(current_A)

    def _flows_back(self, current_A: float) -> bool:
        return self._steps[self._index].sign * current_A < -_NO_CURRENT * self._machine.current_range_A

    def _trip_code(self, voltage_V: float, current_A: float) -> int:
        if not self._machine.voltage_min_V <= voltage_V <= self._machine.voltage_range_V:
            return _BEYOND
        return self._steps[self._index].protections.tripped(voltage_V, current_A)

    def _happened(self, step: _Step) -> None:
        """Act on what the machine sees with its next sample."""
        tick_s = self._step_began_s + math.ceil((self._now_s - self._step_began_s) / _TICK_S - 1e-6) * _TICK_S
        voltage_V, current_A = self.cell.voltage_V, self.cell.current_A
        if step.ended(voltage_V, current_A, self.cell.charge_Ah - self._charge_Ah):
            self._ending = True
            self._end_s = min(self._end_s, tick_s)
        elif code := self._trip_code(voltage_V, current_A):
            self._ending, self._trip = True, code
            delay_s = 0.0 if code == _BEYOND else step.protections.delay_s
            self._end_s = min(self._end_s, tick_s + delay_s)
        elif self._turns(voltage_V, current_A):
            self._drive(step)
        else:
            self._recording = True
            self._record_s = min(self._record_s, tick_s)

    def _pause_is_due(self) -> bool:
        if self.pause is None:
            return False
        here = {"cycleid": self._cycle, "stepid": self._index + 1}
        return all(int(self.pause.get(name) or -1) in (-1, number) for name, number in here.items())

    def _make_record(self) -> None:
        assert self.test is not None
        step, cell = self._steps[self._index], self.cell
        time_s = self._now_s - self._step_began_s
        self.test.data.append(
            f'<data seqid="{len(self.test.data) + 1}" stepid="{self._index + 1}" cycleid="{self._cycle}" '
            f'steptype="{step.type}" testtime="{round(time_s / _TICK_S) * 100}" atime="{self._date()}" '
            f'volt="{_long(cell.voltage_V)}" curr="{_long(cell.current_A)}" '
            f'cap="{_long(abs(cell.charge_Ah - self._charge_Ah))}" '
            f'eng="{_long(abs(cell.energy_Wh - self._energy_Wh))}" />'
        )
        self._last_V, self._last_A = cell.voltage_V, cell.current_A
        self._recording = False
        passed = math.floor(time_s / step.record_s + _EPS_S) if math.isfinite(step.record_s) else 0
        self._record_s = self._step_began_s + (passed + 1) * step.record_s

    def _close_step(self) -> None:
        assert self.test is not None
        step, cell = self._steps[self._index], self.cell
        self.test.layers.append(
            f'<data startseqid="{self._first_record}" endseqid="{len(self.test.data)}" '
            f'stepindex="{len(self.test.layers) + 1}" stepid="{self._index + 1}" cycleid="{self._cycle}" '
            f'steptype="{step.type}" steptime="{round((self._now_s - self._step_began_s) / _TICK_S) * 100}" '
            f'endatime="{self._date()}" startvolt="{_long(self._start_V)}" endvolt="{_long(cell.voltage_V)}" '
            f'startcurr="{_long(self._start_A)}" endcurr="{_long(cell.current_A)}" '
            f'cap="{_long(abs(cell.charge_Ah - self._charge_Ah))}" '
            f'eng="{_long(abs(cell.energy_Wh - self._energy_Wh))}" dcir="0" />'
        )

    def _end(self, state: str, code: int) -> None:
        assert self.test is not None
        self.cell.open(at_s=self._now_s)
        self.state = state
        self._log_code = 0 if state == "finish" else code
        self.test.complete = True
        self._note(code)

    def _note(self, code: int) -> None:
        assert self.test is not None
        number = max(len(self.test.data), 1)
        self.test.log.append(f'<data seqid="{number}" log_code="{code}" atime="{self._date()}" />')

    def _date(self) -> str:
        now_s = self._clock.now() - (self._clock.monotonic() - self._now_s) + self._machine.clock_offset_s
        return datetime.fromtimestamp(now_s + _EPS_S, self._machine.zone).strftime("%Y-%m-%d %H:%M:%S")


class SimulatedNeware(SimulatedInstrument):
    """BTS 8 machine with units of eight channels, served by its BTS Client.

    Answers connect, getdevinfo, getchlstatus, inquire, inquiredf, download, downloadStepLayer, downloadlog,
    start, stop, continue, goto, reset, light, clearflag, resetalarm, setpause, cancelpause and getpause.
    Step files are read from disk, under the path that `start` names.

    Parameters
    ----------
    cells : Cell
        At channels 1, 2, ...; further channels are empty.
    units : int
        Middle machines, with eight channels each.
    devtype, devid : int
        Kind of machine (27: BTS85) and its number.
    voltage_range_V, current_range_A : float
        Highest of each channel; a step that asks for more is refused.
    voltage_min_V : float, optional
        Lowest; by default as far below 0 V. Models differ: -5 to 5 V, or 25 mV to 5 V.
    status_period_s : float
        How often the client's computer hears of a channel's state.
    timezone : str
        Of the client's computer: its times have no zone.
    clock_offset_s : float
        By how much its clock is ahead.
    username, password : str
        For `connect`; all other commands work without it.

    Attributes
    ----------
    wrong_subdevid : bool
        Name unit 1 in the replies about all units, as some versions do.
    """

    latency_s = 0.02
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        *cells: Cell,
        units: int = 1,
        devtype: int = 27,
        devid: int = 21,
        voltage_range_V: float = 5.0,
        current_range_A: float = 0.1,
        voltage_min_V: float | None = None,
        status_period_s: float = 5.0,
        timezone: str = "UTC",
        clock_offset_s: float = 0.0,
        username: str = "admin",
        password: str = "neware",
    ) -> None:
        super().__init__(clock)
        if len(cells) > 8 * units:
            raise ValueError(f"{len(cells)} cells do not fit into {8 * units} channels")
        self._devtype, self._devid = devtype, devid
        self.voltage_range_V, self.current_range_A = voltage_range_V, current_range_A
        self.voltage_min_V = -voltage_range_V if voltage_min_V is None else voltage_min_V
        self.status_period_s = status_period_s
        self.zone = ZoneInfo(timezone)
        self.clock_offset_s = clock_offset_s
        self._login = (username, password)
        self.wrong_subdevid = False
        self._last_test = 100
        places = [(unit, number) for unit in range(1, units + 1) for number in range(1, 9)]
        spare = [_NoCell(1.1 * voltage_range_V) for _ in places[len(cells) :]]
        self.channels = {
            place: _Channel(self, cell, *place) for place, cell in zip(places, [*cells, *spare], strict=True)
        }
        self.power_on()

    def power_on(self) -> None:
        """Open all relays; tests that ran are stopped, and their data kept by the data base."""
        for channel in self.channels.values():
            channel.lose_power()

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the request in the buffer; what comes before its reply is dropped."""
        end = buffer.find(_END)
        if end < 0:
            return
        request = bytes(buffer[:end])
        buffer.clear()
        if self.broken("busy"):
            return
        try:
            root = ET.fromstring(request)
        except (ET.ParseError, ValueError, LookupError):
            return
        command = (root.findtext("cmd") or "").strip()
        answer = getattr(self, f"_do_{command}", None)
        if root.tag == "bts" and answer is not None:
            lines = answer(root)
            name = _MISSPELT.get(command, f"{command}_resp")
            text = "\r\n".join(
                [
                    '<?xml version="1.0" encoding="UTF-8"?>',
                    '<bts version="1.0">',
                    f"  <cmd>{name}</cmd>",
                    *lines,
                ]
            )
            yield f"{text}\r\n</bts>\n\n#\r\n".encode()

    # ----- questions

    def _do_connect(self, root: ET.Element) -> list[str]:
        known = (root.findtext("username"), root.findtext("password")) == self._login
        return [f"  <result>{_ok(known)}</result>"]

    def _do_getdevinfo(self, root: ET.Element) -> list[str]:
        rows = [
            f'    <channel ip="127.0.0.1" devtype="{self._devtype}" devid="{self._devid}" '
            f'subdevid="{channel.subdevid}" Channelid="{channel.chlid}">'
            f"{_true(channel.shown().state not in ('working', 'pause'))}</channel>"
            for channel in self.channels.values()
        ]
        return [
            '  <serverip count="1">',
            '    <server ip="127.0.0.1" port="3306" />',
            "  </serverip>",
            f'  <middle count="{len(rows)}">',
            *rows,
            "</middle>",
        ]

    def _do_getchlstatus(self, root: ET.Element) -> list[str]:
        return _listed(
            f"<status {self._place(channel, item)} "
            f'reservepause="{int(channel.pause is not None)}">{channel.shown().state}</status>'
            for item, channel in self._asked(root)
        )

    def _do_inquire(self, root: ET.Element) -> list[str]:
        return _listed(self._inquired(item, channel) for item, channel in self._asked(root))

    def _inquired(self, item: ET.Element, channel: _Channel) -> str:
        shown = channel.shown()
        unit = 1 if self.wrong_subdevid else channel.subdevid
        step = f'step_id="{shown.step}" ' if shown.step else ""
        barcode = f"barcode={quoteattr(channel.barcode)} " if item.get("barcode") == "1" else ""
        return (
            f'<inquire dev="{self._devtype}-{self._devid}-{unit}-{channel.chlid}-0" '
            f'cycle_id="{shown.cycle}" {step}step_type="{shown.type}" workstatus="{shown.state}" {barcode}'
            f'current="{shown.current}" voltage="{shown.voltage}" capacity="{_short(shown.capacity_Ah)}" '
            f'energy="{_short(shown.energy_Wh)}" totaltime="{_short(shown.total_s, 1)}" '
            f'relativetime="{_short(shown.step_s, 1)}" open_or_close="0" log_code="{shown.log_code}" />'
        )

    def _do_inquiredf(self, root: ET.Element) -> list[str]:
        rows = []
        for item, channel in self._asked(root):
            channel.catch_up()
            test = channel.find_test(_integer(item, "testid"))
            rows.append(
                f'<chl {self._place(channel, item, ip=False)} testid="{test.id if test else 0}" '
                f'count="{len(test.data) if test else 0}">{_true(test is not None and test.complete)}</chl>'
            )
        return _listed(rows)

    def _do_download(self, root: ET.Element) -> list[str]:
        item, channel, test = self._asked_test(root, "download")
        if channel is None:
            return ['  <list count="0" />']
        first, count = _integer(item, "startpos"), _integer(item, "count")
        rows = test.data if test else []
        begin = max(first, 1) - 1
        return [
            f"  <download {self._place(channel, item, ip=False)} "
            f'testid="{test.id if test else _integer(item, "testid")}" startpos="{first}" count="{count}" '
            f'auxid="{_integer(item, "auxid")}" />',
            *_listed(rows[begin : begin + min(count, _MOST_RECORDS)]),
        ]

    def _do_downloadlog(self, root: ET.Element) -> list[str]:
        item, channel, test = self._asked_test(root, "download")
        if channel is None:
            return ['  <list count="0" />']
        return [
            f"  <download {self._place(channel, item, ip=False)} "
            f'testid="{test.id if test else 0}" log_lever="{_integer(item, "log_lever")}" />',
            *_listed(test.log if test else []),
        ]

    def _do_downloadStepLayer(self, root: ET.Element) -> list[str]:
        item, channel, test = self._asked_test(root, "downloadStepLayer")
        if channel is None:
            return ['  <list count="0" />']
        return [
            f"  <downloadStepLayer {self._place(channel, item, ip=False)} "
            f'testid="{test.id if test else 0}" />',
            *_listed(test.layers if test else []),
        ]

    # ----- orders

    def _do_start(self, root: ET.Element) -> list[str]:
        return self._each(root, self._start)

    def _start(self, item: ET.Element, channel: _Channel) -> bool:
        steps = self._load(item)
        if steps is None or channel.state not in _STARTS_FROM or channel.light or self.broken("error"):
            return False
        self._last_test += 1
        channel.start(*steps, self._last_test, item.get("barcode", ""))
        return True

    def _do_stop(self, root: ET.Element) -> list[str]:
        return self._each(root, self._stop)

    def _stop(self, item: ET.Element, channel: _Channel) -> bool:
        if channel.state not in ("working", "pause"):
            return False
        channel.stop()
        return True

    def _do_continue(self, root: ET.Element) -> list[str]:
        return self._each(root, self._continue)

    def _continue(self, item: ET.Element, channel: _Channel) -> bool:
        if channel.state not in ("pause", "stop") or channel.test is None or self.broken("error"):
            return False
        channel.resume()
        return True

    def _do_goto(self, root: ET.Element) -> list[str]:
        return self._each(root, self._goto)

    def _goto(self, item: ET.Element, channel: _Channel) -> bool:
        number = _integer(item, "step")
        if channel.state != "working" or not 1 <= number <= channel.step_count:
            return False
        channel.jump(number)
        return True

    def _do_reset(self, root: ET.Element) -> list[str]:
        return self._each(root, self._reset)

    def _reset(self, item: ET.Element, channel: _Channel) -> bool:
        steps = self._load(item)
        if steps is None or channel.state != "working" or len(steps[0]) < channel.step_count:
            return False
        channel.replace(steps[0])
        return True

    def _do_light(self, root: ET.Element) -> list[str]:
        return self._each(root, self._light)

    def _light(self, item: ET.Element, channel: _Channel) -> bool:
        if channel.state in ("working", "pause"):
            return False
        channel.light = (item.text or "").strip() == "true"
        return True

    def _do_clearflag(self, root: ET.Element) -> list[str]:
        return self._each(root, self._acknowledge)

    def _do_resetalarm(self, root: ET.Element) -> list[str]:
        return self._each(root, self._acknowledge)

    def _acknowledge(self, item: ET.Element, channel: _Channel) -> bool:
        if channel.state != "protect" or self.broken("error"):
            return False
        channel.state = "stop"
        return True

    def _do_setpause(self, root: ET.Element) -> list[str]:
        return self._each(root, self._set_pause)

    def _set_pause(self, item: ET.Element, channel: _Channel) -> bool:
        if channel.state != "working":
            return False
        channel.pause = {name: item.get(name, "-1") for name in ("cycleid", "stepid", "timeout")}
        return True

    def _do_cancelpause(self, root: ET.Element) -> list[str]:
        return self._each(root, self._cancel_pause)

    def _cancel_pause(self, item: ET.Element, channel: _Channel) -> bool:
        reserved, channel.pause = channel.pause is not None, None
        return reserved

    def _do_getpause(self, root: ET.Element) -> list[str]:
        rows = []
        for item, channel in self._asked(root):
            facts = "".join(f" {name}={quoteattr(value)}" for name, value in (channel.pause or {}).items())
            rows.append(
                f"<getpause {self._place(channel, item)}{facts}>{_true(channel.pause is not None)}</getpause>"
            )
        return _listed(rows)

    def _each(self, root: ET.Element, work: Callable[[ET.Element, _Channel], bool]) -> list[str]:
        rows = []
        for item, channel in self._asked(root):
            channel.catch_up()
            rows.append(f"<{item.tag} {self._place(channel, item)}>{_ok(work(item, channel))}</{item.tag}>")
        return _listed(rows)

    def _load(self, item: ET.Element) -> tuple[list[_Step], int] | None:
        """Read the step file that an order names; None if it is not there, or not for this machine."""
        try:
            steps, first = _read_steps(Path((item.text or "").strip()))
        except (OSError, ET.ParseError, ValueError, LookupError):
            return None
        fits = all(
            not step.current_A > self.current_range_A
            and all(
                math.isnan(voltage_V) or self.voltage_min_V <= voltage_V <= self.voltage_range_V
                for voltage_V in (step.voltage_V, step.stop_voltage_V)
            )
            for step in steps
        )
        return (steps, first) if fits else None

    def _asked(self, root: ET.Element) -> list[tuple[ET.Element, _Channel]]:
        """Elements that name a channel of this machine, and the channels."""
        command = (root.findtext("cmd") or "").strip()
        items = [*root.findall("list/*"), *root.findall(command)]
        found = [(item, self._channel(item)) for item in items]
        return [(item, channel) for item, channel in found if channel is not None]

    def _asked_test(self, root: ET.Element, tag: str) -> tuple[ET.Element, _Channel | None, _Test | None]:
        item = root.find(tag)
        if item is None or (channel := self._channel(item)) is None:
            return ET.Element(tag), None, None
        channel.catch_up()
        return item, channel, channel.find_test(_integer(item, "testid"))

    def _channel(self, item: ET.Element) -> _Channel | None:
        if (_integer(item, "devtype"), _integer(item, "devid")) != (self._devtype, self._devid):
            return None
        return self.channels.get((_integer(item, "subdevid"), _integer(item, "chlid")))

    def _place(self, channel: _Channel, item: ET.Element, *, ip: bool = True) -> str:
        unit = 1 if self.wrong_subdevid else channel.subdevid
        address = f"ip={quoteattr(item.get('ip', '127.0.0.1'))} " if ip else ""
        return (
            f'{address}devtype="{self._devtype}" devid="{self._devid}" subdevid="{unit}" '
            f'chlid="{channel.chlid}"'
        )


def _listed(rows: Iterator[str] | list[str]) -> list[str]:
    rows = list(rows)
    if not rows:
        return ['  <list count="0" />']
    return [f'  <list count="{len(rows)}">', *(f"    {row}" for row in rows), "  </list>"]


def _ok(done: bool) -> str:
    return "ok" if done else "false"


def _true(value: bool) -> str:
    return "true" if value else "false"


def _integer(item: ET.Element, name: str) -> int:
    try:
        return int(item.get(name, "0"))
    except ValueError:
        return 0


def _short(value: float, decimals: int = 4) -> str:
    """A number as `inquire` shows it: four decimals, no zeros behind."""
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _long(value: float) -> str:
    """A number as `download` shows it: single precision, 15 digits."""
    return f"{float(np.float32(value)):.15g}"
