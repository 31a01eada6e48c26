"""Maccor battery cycler behind MacNet, the JSON port (TCP 57570).

Sources: notes taken from Maccor's help text on MacNet (functions, fields, result codes, error messages, the
100 ms between updates of direct mode, the watchdog `MacNetDirectModeWD`, no rest over JSON), and the examples
of that text which pymacnet 1.1.3 reproduces. Meanings of RF1 and RF2: table of a second public client
(C. Perera's MacNet.py). A request has no terminator, so its end is where its JSON is complete; a reply ends
with CR LF. Channels are counted from 0 on the wire.

Placeholders, for which no source was at hand: the numbers of the JSON-RPC errors, the wording of refusals,
the result of (6, 11) as a number, the time that a start takes, noise, what a channel shows beside `Stat`
after a loss of power, a trip or its end, where Capacity and Energy begin to count in direct mode, the sign of
Current, the code of a trip of current or power, the reply to an echo, the parameters of login and check, the
reading beyond the range. Left out: the binary ports, chambers, SMBus, FRA, selecting several channels at
once, the texts of a running test (4, 6); the set points Power and Resistance are taken and not acted on.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["Cell", "SimulatedMacNet"]

_AVAILABLE, _ACTIVE, _SUSPENDED, _COMPLETED, _PROBLEM, _POWER_FAIL, _STARTING = 0, 2, 3, 4, 5, 9, 12
_CHARGE, _DISCHARGE, _REST, _RF1_PROBLEM, _RF1_SUSPENDED, _RF1_COMPLETE = 1, 2, 4, 29, 30, 31
_START_OF_STEP, _STEP_TIME, _CURRENT, _VOLTAGE, _AMP_HOUR = 0, 129, 132, 133, 136
_SAFETY_VOLTAGE, _PAUSED, _NORMAL_END, _FORCED_STEP, _SAFETY_ABSOLUTE, _LOST_CONTROL = (
    190, 192, 193, 199, 253, 254,
)  # fmt: skip
_SHORTEST_UPDATE_S = 0.1
_MOST_CHANNELS = 128
_VARIABLES = 16
_LONGEST_NAME, _LONGEST_COMMENT = 250, 80
_DIRECT_RESULTS = {
    1: "Illegal system type",
    2: "The channel is not active",
    3: "Command sent too fast",
    4: "Direct mode is not active",
    5: "Direct mode is not ready yet",
}
_NOT_AVAILABLE, _NO_PROCEDURE, _NAME_EXISTS = 1, 2, 4
_START_RESULTS = {
    _NOT_AVAILABLE: "Channel not available",
    _NO_PROCEDURE: "Procedure not found",
    _NAME_EXISTS: "Test name already exists",
}

#: What the machine's procedure folder holds, if the laboratory says nothing else: for cells of 8 mAh.
_PROCEDURES: dict[str, list[dict[str, Any]]] = {
    "capacity_check": [
        {"mode": "charge", "current_A": 4e-3, "voltage_V": 4.1, "end_current_A": 4e-4, "end_time_s": 18e3},
        {"mode": "rest", "end_time_s": 600.0},
        {"mode": "discharge", "current_A": 4e-3, "voltage_V": 3.0, "end_time_s": 18e3},
    ],
    "rest_1h": [{"mode": "rest", "end_time_s": 3600.0}],
}


class Cell(Protocol):
    """What is connected to a channel; charging currents are positive."""

    charge_Ah: float
    energy_Wh: float
    voltage_V: float
    current_A: float

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have `catch_up` called before anybody reads the cell."""

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect."""

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current; at a limit of the voltage, hold that."""

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage."""

    def read(self) -> tuple[float, float]:
        """Voltage and current now, with all that drives the cell brought up to now."""

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring the cell up to a time, or to where `ended` says so; give the time that was reached."""


class _OpenTerminals:
    """A channel to which nothing is connected."""

    charge_Ah = energy_Wh = voltage_V = current_A = 0.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Nobody else looks at it."""

    def open(self, *, at_s: float | None = None) -> None:
        """It is."""

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """No current can flow."""

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """No current can flow."""

    def read(self) -> tuple[float, float]:
        """Nothing."""
        return 0.0, 0.0

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Let time pass."""
        return self._clock.monotonic() if until_s is None else until_s


class _RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _missing() -> _RpcError:
    return _RpcError(-32002, "Missing object")


def _illegal() -> _RpcError:
    return _RpcError(-32003, "Illegal value")


class _Params:
    """The members of `params`, each checked as it is taken."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def number(self, name: str) -> float:
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e38:
            raise _illegal()
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        value = self.number(name)
        if value != int(value) or not low <= value <= high:
            raise _illegal()
        return int(value)

    def text(self, name: str, longest: int) -> str:
        value = self._take(name)
        if not isinstance(value, str) or len(value) > longest:
            raise _illegal()
        return value.strip()

    def mode(self) -> str:
        value = self._take("ChMode")
        if value not in ("C", "D"):  # rest can't be set over JSON
            raise _illegal()
        return str(value)

    def _take(self, name: str) -> Any:
        if name not in self._members:
            raise _missing()
        return self._members[name]


@dataclass(frozen=True)
class _Safety:
    """As (6, 10) has it; currents and powers without sign."""

    VSafeMax: float
    VSafeMin: float
    ISafeChg: float
    ISafeDis: float
    PBatSafeChg: float
    PBatSafeDis: float

    def trip(self, voltage_V: float, current_A: float) -> int:
        """Code of what is violated, 0 if nothing is."""
        if not self.VSafeMin <= voltage_V <= self.VSafeMax:
            return _SAFETY_VOLTAGE
        most_A = self.ISafeChg if current_A > 0 else self.ISafeDis
        most_W = self.PBatSafeChg if current_A > 0 else self.PBatSafeDis
        if abs(current_A) > most_A * 1.0001 or abs(current_A * voltage_V) > most_W * 1.0001:
            return _SAFETY_ABSOLUTE
        return 0


@dataclass(frozen=True)
class _Output:
    """What a channel drives: mutually limiting set points, None where one is ignored."""

    mode: str  # "C", "D", or "R" in a procedure
    current_A: float | None = None
    voltage_V: float | None = None
    largest_A: float = math.inf  # of the current range

    @property
    def rf1(self) -> int:
        return {"C": _CHARGE, "D": _DISCHARGE, "R": _REST}[self.mode]

    def apply(self, cell: Cell, at_s: float) -> None:
        """Drive the cell; a charger takes nothing out of it, and a load puts nothing in."""
        sign = {"C": 1.0, "D": -1.0, "R": 0.0}[self.mode]
        limit_V = self.voltage_V
        if sign == 0.0 or (self.current_A is None and limit_V is None):
            cell.open(at_s=at_s)
        elif self.current_A is None:
            assert limit_V is not None
            cell.source_voltage(limit_V, self.largest_A, at_s=at_s)
        else:
            highest = limit_V if limit_V is not None and sign > 0 else math.inf
            lowest = limit_V if limit_V is not None and sign < 0 else -math.inf
            cell.source_current(sign * self.current_A, lowest, highest, at_s=at_s)
        if sign * cell.current_A < 0:
            cell.open(at_s=at_s)


@dataclass(frozen=True)
class _Step:
    """One step of a procedure; a voltage is held if there is an end by current, else it is an end."""

    mode: str
    end_time_s: float
    current_A: float = 0.0
    voltage_V: float | None = None
    end_current_A: float | None = None
    end_Ah: float | None = None

    @property
    def output(self) -> _Output:
        held_V = self.voltage_V if self.end_current_A is not None else None
        return _Output(
            {"charge": "C", "discharge": "D", "rest": "R"}[self.mode], self.current_A or None, held_V
        )

    def ended(self, voltage_V: float, current_A: float, passed_Ah: float) -> int:
        """Code of the end that has come, 0 if none has."""
        sign = -1.0 if self.mode == "discharge" else 1.0
        if self.end_Ah is not None and passed_Ah >= self.end_Ah:
            return _AMP_HOUR
        if self.voltage_V is None or sign * (voltage_V - self.voltage_V) < -1e-6:
            return 0
        if self.end_current_A is None:
            return _VOLTAGE
        return _CURRENT if abs(current_A) <= self.end_current_A else 0


@dataclass
class _Test:
    """What runs on a channel: direct mode, or the steps of a procedure."""

    name: str
    steps: Sequence[_Step] = ()
    output: _Output = field(default_factory=lambda: _Output("R"))
    uses_current: bool = True  # set points that were out of range at the start stay ignored
    uses_voltage: bool = True
    data_time_s: float = 0.0
    updated_s: float = -math.inf
    index: int = 0

    @property
    def direct(self) -> bool:
        return not self.steps


class _Channel:
    """One channel: its test, brought up to now when somebody looks."""

    def __init__(self, clock: Clock, cell: Cell, safety: _Safety, watchdog_s: float, restarts: bool) -> None:
        self._clock = clock
        self._connected = not isinstance(cell, _OpenTerminals)
        self._at_s = clock.monotonic()
        self._active_at_s = math.inf
        self._watchdog_s = watchdog_s
        self._counters_restart = restarts
        self._counted = (0.0, 0.0)  # charge and energy of the cell when they were last counted
        self.cell = cell
        self.safety = safety
        self.stat, self.rf1, self.rf2 = _AVAILABLE, 0, 0
        self.test: _Test | None = None
        self.test_s = self.step_s = 0.0
        self.step = self.cycle = self.records = 0
        self.capacity_Ah = self.energy_Wh = 0.0
        self.variables = [0.0] * _VARIABLES
        self.lost_control = False  # as the machine will find in its next look at a running test
        cell.attach(self.catch_up)

    @property
    def running(self) -> bool:
        return self.stat in (_STARTING, _ACTIVE)

    def start(self, test: _Test, active_at_s: float) -> None:
        self.test = test
        self.stat, self.rf1, self.rf2 = _STARTING, 0, 0
        self._active_at_s = active_at_s
        self.test_s = self.step_s = 0.0
        self.cycle, self.step = 0, 1
        self._count_anew()

    def update(self, output: _Output) -> None:
        """Take new set points in direct mode."""
        assert self.test is not None
        self.test.updated_s = self._at_s
        if output == self.test.output:
            return
        if output.mode != self.test.output.mode and self._counters_restart:
            self._count_anew()
        self.test.output = output
        self._drive()

    def suspend(self, reason: int = _PAUSED) -> None:
        self._stop(_SUSPENDED, _RF1_SUSPENDED, reason)

    def resume(self) -> None:
        self.stat, self.rf2 = _ACTIVE, _START_OF_STEP
        assert self.test is not None
        self.test.updated_s = self._at_s
        self._drive()

    def reset(self) -> None:
        reason = _PAUSED if self.running else self.rf2
        self._stop(_AVAILABLE, 0, reason)
        self.test = None

    def lose_power(self) -> None:
        """What ran is interrupted; variables are gone."""
        if self.test is not None and self.stat in (_STARTING, _ACTIVE, _SUSPENDED):
            self._stop(_POWER_FAIL, _RF1_SUSPENDED, _PAUSED)
        self.variables = [0.0] * _VARIABLES

    def end_step(self) -> None:
        """Go on to the next step of a procedure, on the operator's word."""
        self._next_step(_FORCED_STEP)

    def catch_up(self) -> None:
        """Bring the test up to now."""
        now = self._clock.monotonic()
        while self._at_s < now:
            if self.stat == _STARTING:
                self._at_s = min(now, self._active_at_s)
                if self._at_s >= self._active_at_s:
                    self.stat = _ACTIVE
                    self._drive()
            elif self.stat == _ACTIVE:
                self._run(now)
            else:
                self._at_s = now

    def _run(self, now: float) -> None:
        assert self.test is not None
        if self.lost_control or (not self._connected and self._wants_current()):
            self.lost_control = False
            self._stop(_PROBLEM, _RF1_PROBLEM, _LOST_CONTROL)
            return
        limit_s, at_limit = self._time_limit()
        until = min(now, limit_s)
        reached = min(self.cell.advance(until, self._stops), now) if until > self._at_s else self._at_s
        self.test_s += reached - self._at_s
        self.step_s += reached - self._at_s
        self._at_s = reached
        self._count()
        if trip := self.safety.trip(self.cell.voltage_V, self.cell.current_A):
            self._stop(_PROBLEM, _RF1_PROBLEM, trip)
        elif end := self._step_end(self.cell.voltage_V, self.cell.current_A):
            self._next_step(end)
        elif reached >= limit_s:
            at_limit()

    def _wants_current(self) -> bool:
        assert self.test is not None
        output = self.test.output
        return output.mode != "R" and bool(output.current_A or output.voltage_V)

    def _time_limit(self) -> tuple[float, Callable[[], None]]:
        """Time at which the test changes by itself, and what happens then."""
        assert self.test is not None
        if not self.test.direct:
            left_s = self.test.steps[self.test.index].end_time_s - self.step_s
            return self._at_s + max(left_s, 0.0), lambda: self._next_step(_STEP_TIME)
        if self._watchdog_s > 0:
            return self.test.updated_s + self._watchdog_s, self.suspend
        return math.inf, lambda: None

    def _stops(self, voltage_V: float, current_A: float) -> bool:
        return bool(self.safety.trip(voltage_V, current_A) or self._step_end(voltage_V, current_A))

    def _step_end(self, voltage_V: float, current_A: float) -> int:
        assert self.test is not None
        if self.test.direct:
            return 0
        passed_Ah = self.capacity_Ah + abs(self.cell.charge_Ah - self._counted[0])
        return self.test.steps[self.test.index].ended(voltage_V, current_A, passed_Ah)

    def _next_step(self, reason: int) -> None:
        assert self.test is not None
        self.test.index += 1
        if self.test.index == len(self.test.steps):
            self._stop(_COMPLETED, _RF1_COMPLETE, _NORMAL_END)
            return
        self._drive()
        self.rf2 = reason

    def _drive(self) -> None:
        """Put the set points, or the step, on the cell."""
        test = self.test
        assert test is not None
        if not test.direct:
            test.output = test.steps[test.index].output
            self.step, self.step_s = test.index + 1, 0.0
            self._count_anew()
        self.rf1 = test.output.rf1
        test.output.apply(self.cell, self._at_s)

    def _stop(self, stat: int, rf1: int, rf2: int) -> None:
        if self.running:
            self.cell.open(at_s=self._at_s)
        self.stat, self.rf1, self.rf2 = stat, rf1, rf2

    def _count_anew(self) -> None:
        self._counted = (self.cell.charge_Ah, self.cell.energy_Wh)
        self.capacity_Ah = self.energy_Wh = 0.0

    def _count(self) -> None:
        assert self.test is not None
        self.capacity_Ah += abs(self.cell.charge_Ah - self._counted[0])
        self.energy_Wh += abs(self.cell.energy_Wh - self._counted[1])
        self._counted = (self.cell.charge_Ah, self.cell.energy_Wh)
        if self.test.data_time_s > 0:
            self.records = int(self.test_s // self.test.data_time_s) + 1


class SimulatedMacNet(SimulatedInstrument):
    """Answers the JSON functions of MacNet, and runs direct mode and procedures on its channels.

    Parameters
    ----------
    *cells : Cell
        What the channels are connected to, from channel 1 on; further channels are empty.
    channels : int
        How many the machine has.
    procedures : mapping
        Its test procedures: name -> steps, each {mode: charge, discharge or rest, end_time_s, current_A,
        voltage_V, end_current_A, end_Ah}; a voltage is held if the step ends by current, else ends the step.
    watchdog_s : float
        `MacNetDirectModeWD` of its System.ini; 0 is off, as delivered.
    start_s : float
        Time between the start of a test and its first current.
    system_type : int
        As (1, 2) tells; direct mode is for type 0.
    ranges_A : sequence of float
        Full scales of the four current ranges.
    voltage_V : pair of float
        Lowest and highest voltage.
    counters_restart : bool
        Whether Capacity and Energy begin anew when direct mode changes between charge and discharge.
    signed_current : bool
        Whether Current is negative in a discharge.
    noise_V : float
        Standard deviation of a voltage that is read; currents have 1e-5 of their range.
    seed : int
        Of the noise.

    Attributes
    ----------
    channels : list
        The truth about each: its `stat`, `rf1`, `rf2`, `test`, `safety` and counters, when last looked at.
    """

    latency_s = 0.02
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        *cells: Cell,
        channels: int = 8,
        procedures: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        watchdog_s: float = 0.0,
        start_s: float = 1.0,
        system_type: int = 0,
        ranges_A: Sequence[float] = (150e-6, 5e-3, 0.15, 5.0),
        voltage_V: Sequence[float] = (-1.0, 5.0),
        counters_restart: bool = True,
        signed_current: bool = False,
        noise_V: float = 20e-6,
        seed: int = 1,
    ) -> None:
        super().__init__(clock)
        self._generator = np.random.default_rng(seed)
        self._noise_V = noise_V
        self._start_s = start_s
        self._system_type = system_type
        self._ranges_A = tuple(ranges_A)
        self._voltage_V = tuple(voltage_V)
        self._signed_current = signed_current
        largest_A = max(ranges_A)
        largest_W = largest_A * self._voltage_V[1]
        self._safety = _Safety(
            self._voltage_V[1], self._voltage_V[0], largest_A, largest_A, largest_W, largest_W
        )
        self._procedures = {
            name: [_Step(**step) for step in steps] for name, steps in (procedures or _PROCEDURES).items()
        }
        self._names: set[str] = set()
        things = [*cells, *(_OpenTerminals(clock) for _ in range(channels - len(cells)))]
        self.channels = [_Channel(clock, cell, self._safety, watchdog_s, counters_restart) for cell in things]
        self.power_on()

    def power_on(self) -> None:
        """Interrupt what ran; safety limits are those of the channels again."""
        for channel in self.channels:
            channel.catch_up()
            channel.lose_power()
            channel.safety = self._safety

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the complete requests in the buffer."""
        while buffer := _without_gap(buffer):
            length = _object_length(buffer)
            if length is None:
                return
            text = bytes(buffer[:length])
            del buffer[:length]
            yield json.dumps(self._reply(text), indent=4).encode("ascii") + b"\r\n"

    def _reply(self, text: bytes) -> dict[str, Any]:
        number: Any = None
        try:
            request = _parsed(text)
            number = request.get("id")
            if request.get("method") != "MacNet" or request.get("jsonrpc") != "2.0" or number is None:
                raise _RpcError(-32600, "Method MacNet, jsonrpc 2.0 or id not found")
            members = request.get("params")
            if not isinstance(members, dict) or not {"FClass", "FNum"} <= members.keys():
                raise _RpcError(-32602, "Invalid params")
            result = self._function(members)
        except _RpcError as error:
            return {"jsonrpc": "2.0", "error": {"code": error.code, "message": error.message}, "id": number}
        return {"jsonrpc": "2.0", "result": result, "id": number}

    def _function(self, members: Mapping[str, Any]) -> dict[str, Any]:
        key = members["FClass"], members["FNum"]
        system: dict[tuple[Any, Any], Callable[[_Params], dict[str, Any]]] = {
            (0, 0): lambda _: {},
            (1, 1): self._versions,
            (1, 2): self._system,
            (4, 1): self._states,
            (4, 2): self._voltages,
            (4, 3): self._currents,
            (8, 1): lambda _: {"Result": "PASSED"},
            (8, 2): lambda _: {"Result": "PASSED"},
        }
        of_channel: dict[tuple[Any, Any], Callable[[_Channel, _Params], dict[str, Any]]] = {
            (3, 1): self._specification,
            (4, 4): lambda _, __: {"Len": 1, "AuxValues": [24.75]},
            (4, 5): lambda _, __: {"Len": 1, "AuxUnit": ["degC"]},
            (4, 7): self._status,
            (4, 8): lambda channel, _: {"Len": _VARIABLES, "VARs": list(channel.variables)},
            (4, 10): self._end_step,
            (6, 2): self._start,
            (6, 3): self._suspend,
            (6, 4): self._resume,
            (6, 5): self._reset,
            (6, 6): self._archive,
            (6, 7): self._start_direct,
            (6, 8): self._update_direct,
            (6, 9): self._set_variable,
            (6, 10): self._set_safety,
            (6, 11): self._check_start,
        }
        known = {*system, *of_channel}
        if not _whole_numbers(key) or key[0] not in {fclass for fclass, _ in known}:
            raise _RpcError(-32010, "Invalid FClass")
        if key not in known:
            raise _RpcError(-32011, "Invalid FNum")
        if self.broken("busy") and key[0] not in (0, 1):
            raise _RpcError(-32001, "MacNet error")
        params = _Params(members)
        answer = {"FClass": key[0], "FNum": key[1]}
        if key in system:
            return answer | system[key](params)
        number = params.whole("Chan", 0, len(self.channels) - 1)
        return answer | {"Chan": number} | of_channel[key](self._channel(number), params)

    def _channel(self, number: int) -> _Channel:
        channel = self.channels[number]
        if self.broken("error") and channel.running:
            channel.lost_control = True
        channel.catch_up()
        return channel

    def _versions(self, params: _Params) -> dict[str, Any]:
        return {
            "APIVersion": 1,
            "MacTest32EXEversionMajor": 3,
            "MacTest32EXEversionMinor": 2,
            "MacTest32EXEversionBuild": 18,
            "MacTest32DLLversionMajor": 3,
            "MacTest32DLLversionMinor": 2,
            "MacTest32DLLversionBuild": 18,
            "MacTest32ExeDT": "2016-11-08T15:02:58",
            "MacTest32DLLDT": "2016-11-13T11:29:48",
        }

    def _system(self, params: _Params) -> dict[str, Any]:
        return {
            "SystemID": "SIM4000",
            "SystemType": self._system_type,
            "ControllerBoards": 1,
            "TestChannels": len(self.channels),
            "AuxBoards": 1,
            "AuxChannels": len(self.channels),
            "SMB1Pos": 0,
            "SMB3Pos": 0,
        }

    def _specification(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        ranges = {
            f"IR{i}{way}": _float32(x) for i, x in enumerate(self._ranges_A, 1) for way in ("Chg", "Dis")
        }
        safety = {name: _float32(value) for name, value in asdict(self._safety).items()}
        return {"Vmax": self._voltage_V[1], "Vmin": self._voltage_V[0]} | safety | ranges

    def _several(self, params: _Params) -> tuple[dict[str, Any], list[_Channel]]:
        first = params.whole("Chan", 0, len(self.channels) - 1)
        count = params.whole("Len", 1, min(_MOST_CHANNELS, len(self.channels) - first))
        channels = [self._channel(number) for number in range(first, first + count)]
        return {"Chan": first, "Len": count}, channels

    def _states(self, params: _Params) -> dict[str, Any]:
        asked, channels = self._several(params)
        return asked | {"Status": [self._state(channel) for channel in channels]}

    def _voltages(self, params: _Params) -> dict[str, Any]:
        asked, channels = self._several(params)
        return asked | {"Voltage": [self._read_voltage(channel) for channel in channels]}

    def _currents(self, params: _Params) -> dict[str, Any]:
        asked, channels = self._several(params)
        return asked | {"Current": [self._read_current(channel) for channel in channels]}

    def _status(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        shown = datetime.fromtimestamp(self.clock.now(), UTC).replace(tzinfo=None)
        return self._state(channel) | {
            "LastRecNum": channel.records,
            "Cycle": channel.cycle,
            "Step": channel.step,
            "TestTime": round(channel.test_s, 2),
            "StepTime": round(channel.step_s, 2),
            "Capacity": _float32(channel.capacity_Ah),
            "Energy": _float32(channel.energy_Wh),
            "Current": self._read_current(channel),
            "Voltage": self._read_voltage(channel),
            "TesterTime": shown.isoformat(timespec="seconds"),
        }

    def _state(self, channel: _Channel) -> dict[str, int]:
        if self.broken("error"):
            return {"RF1": _RF1_PROBLEM, "RF2": _LOST_CONTROL, "Stat": _PROBLEM}
        return {"RF1": channel.rf1, "RF2": channel.rf2, "Stat": channel.stat}

    def _read_voltage(self, channel: _Channel) -> float:
        if self.broken("over_range"):
            return _float32(1.05 * self._voltage_V[1])
        return _float32(channel.cell.read()[0] + self._noise_V * self._generator.standard_normal())

    def _read_current(self, channel: _Channel) -> float:
        if channel.stat != _ACTIVE:
            return 0.0
        current_A = channel.cell.current_A if self._signed_current else abs(channel.cell.current_A)
        if current_A == 0.0:
            return 0.0
        full_A = min((x for x in self._ranges_A if x >= abs(current_A) * 0.9999), default=max(self._ranges_A))
        return _float32(current_A + 1e-5 * full_A * self._generator.standard_normal())

    def _end_step(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        if channel.stat != _ACTIVE or channel.test is None or channel.test.direct:
            return {"Result": "The channel is not active"}
        channel.end_step()
        return {"Result": "OK"}

    def _check_start(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        name, procedure = params.text("TestName", _LONGEST_NAME), params.text("ProcName", _LONGEST_NAME)
        return {"Result": self._refuses(channel, name, procedure)}

    def _refuses(self, channel: _Channel, name: str, procedure: str | None) -> int:
        if channel.stat != _AVAILABLE or self.broken("error"):
            return _NOT_AVAILABLE
        if procedure is not None and procedure not in self._procedures:
            return _NO_PROCEDURE
        return _NAME_EXISTS if name in self._names else 0

    def _start(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        name, procedure = params.text("TestName", _LONGEST_NAME), params.text("ProcName", _LONGEST_NAME)
        params.text("Comment", _LONGEST_COMMENT)
        params.number("Crate")
        if code := self._refuses(channel, name, procedure):
            return {"Result": _START_RESULTS[code]}
        test = _Test(self._register(name), self._procedures[procedure], data_time_s=10.0)
        channel.start(test, self.clock.monotonic() + self._start_s)
        return {"Result": "OK"}

    def _start_direct(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        name = params.text("TestName", _LONGEST_NAME)
        output = self._set_points(params)
        data_time_s = params.number("DataTime")
        params.number("DataV")
        params.number("DataI")
        if self._system_type != 0:
            return {"Result": _DIRECT_RESULTS[1]}
        if code := self._refuses(channel, name, None):
            return {"Result": _START_RESULTS[code]}
        test = _Test(
            self._register(name),
            output=output,
            uses_current=output.current_A is not None,
            uses_voltage=output.voltage_V is not None,
            data_time_s=data_time_s,
            updated_s=self.clock.monotonic() + self._start_s,
        )
        channel.start(test, self.clock.monotonic() + self._start_s)
        return {"Result": "OK"}

    def _update_direct(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        output = self._set_points(params)
        test = channel.test
        if test is None or not channel.running:
            return {"Result": _DIRECT_RESULTS[2]}
        if not test.direct:
            return {"Result": _DIRECT_RESULTS[4]}
        if channel.stat == _STARTING:
            return {"Result": _DIRECT_RESULTS[5]}
        if self.clock.monotonic() - test.updated_s < _SHORTEST_UPDATE_S:
            return {"Result": _DIRECT_RESULTS[3]}
        channel.update(
            replace(
                output,
                current_A=output.current_A if test.uses_current else None,
                voltage_V=output.voltage_V if test.uses_voltage else None,
            )
        )
        return {"Result": "OK"}

    def _set_points(self, params: _Params) -> _Output:
        current_A, voltage_V = params.number("Current"), params.number("Voltage")
        params.number("Power")
        params.number("Resistance")
        largest_A = self._ranges_A[params.whole("CurrentRange", 1, len(self._ranges_A)) - 1]
        within_A = 0.0 <= current_A <= largest_A * 1.0001
        within_V = self._voltage_V[0] <= voltage_V <= self._voltage_V[1]
        return _Output(
            params.mode(), current_A if within_A else None, voltage_V if within_V else None, largest_A
        )

    def _suspend(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        if channel.running:
            channel.suspend()
            return {"Result": "OK"}
        return {"Result": "The channel is not active"}

    def _resume(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        if channel.stat in (_SUSPENDED, _POWER_FAIL) and channel.test is not None:
            channel.resume()
            return {"Result": "OK"}
        return {"Result": "The channel is not suspended"}

    def _reset(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        channel.reset()
        return {"Result": "OK"}

    def _archive(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        return {"Result": "OK" if channel.stat == _COMPLETED else "The test is not completed"}

    def _set_variable(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        channel.variables[params.whole("VarNum", 1, _VARIABLES) - 1] = params.number("Value")
        return {"Result": "OK"}

    def _set_safety(self, channel: _Channel, params: _Params) -> dict[str, Any]:
        asked = {name: params.number(name) for name in asdict(self._safety)}
        own = asdict(self._safety)
        lowest = own.pop("VSafeMin")
        taken = {name: min(asked[name], most) for name, most in own.items()}
        taken["VSafeMin"] = max(asked["VSafeMin"], lowest)
        channel.safety = _Safety(**{name: _float32(value) for name, value in taken.items()})
        return asdict(channel.safety)

    def _register(self, name: str) -> str:
        if name == "Random":
            name = f"R{self._generator.integers(10**9):09d}"
        self._names.add(name)
        return name


def _float32(value: float) -> float:
    """What is left of a number in four bytes."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _whole_numbers(key: tuple[Any, Any]) -> bool:
    return all(isinstance(part, int) and not isinstance(part, bool) for part in key)


def _without_gap(buffer: bytearray) -> bytearray:
    """Drop white space between two requests."""
    gap = len(buffer) - len(buffer.lstrip())
    del buffer[:gap]
    return buffer


def _object_length(buffer: bytearray) -> int | None:
    """Length of the JSON object at the beginning, None if it is not complete; all of it if it is none."""
    if not buffer.startswith(b"{"):
        return len(buffer)
    depth, quoted, escaped = 0, False, False
    for position, byte in enumerate(bytes(buffer)):
        character = chr(byte)
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return position + 1
    return None


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        request = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _RpcError(-32700, "Parse error") from None
    if not isinstance(request, dict):
        raise _RpcError(-32700, "Parse error")
    return request
