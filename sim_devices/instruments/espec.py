"""ESPEC chamber with a P-300 class controller, ASCII protocol.

Source: command set, reply formats and error words in ESPEC North America's ChamberConnectLibrary 2.2.5
(`p300.py`, `espec.py`, `especinteract.py`); cause of each error in a public table from the SCP-220 manual;
address and the reply to `MON?` in the EHS communication manual, pages 8 and 22; `T,T,S2,160.0` captured from
an SH-641 (public ATWG client); times and port 57732 in the public espec-pr3j client. Lines end with CR LF.
Over RS-485 each command begins with the address; the acknowledgement repeats the command verbatim.

Placeholders, for want of the P-300 manual: the numbers of alarms, that an alarm stops the chamber, that limit
alarms wait until the air has been inside once, what is possible while keys are protected (run and stop, not
changes), the state after power-up (standby), how long answers take. Guarantee soak is kept, without effect.
Not simulated: timers, product temperature control (refused as an option that is missing), the IP settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Protocol, TypeVar

from sim_devices.line import LineInstrument
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["Chamber", "SimulatedEspec"]

_MONITOR_S, _SETTING_S = 0.05, 0.2  # to the answer; placeholders
_MONITOR_PACE_S, _SETTING_PACE_S = 0.2, 0.5  # a client leaves this long before its next command
_SLICE_S = 10.0  # in which a ramp of a program moves on
_HIGH_ALARM, _LOW_ALARM, _HIGH_HUMIDITY_ALARM, _LOW_HUMIDITY_ALARM, _FAULT_ALARM = 1, 2, 3, 4, 12
_PROGRAMS = 40
_RELAYS = range(1, 13)
_REFRIGERATION = {"REF0": "OFF", "REF1": "20", "REF3": "50", "REF6": "100", "REF9": "AUTO"}
T = TypeVar("T")

_NUMBER = r"[+-]?\d+(?:\.\d*)?"


class Chamber(Protocol):
    """The air in the chamber and its machinery."""

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have `catch_up` called before anything that stands in the air looks at it."""

    def control(self, temperature_C: float | None, humidity_percent: float | None) -> None:
        """Drive the air to a temperature and a humidity, from the time to which it was advanced."""

    def advance_to(self, time_s: float) -> None:
        """Move the air to a monotonic time of the clock."""

    def temperature_C(self) -> float:
        """Temperature of the air now."""

    def humidity_percent(self) -> float:
        """Relative humidity of the air now."""

    def heater_percent(self) -> float:
        """Output of the heater."""

    def humidifier_percent(self) -> float:
        """Output of the humidifier."""


class _RefusedError(Exception):
    """The text after `NA:`."""


@dataclass
class _Loop:
    """Constant set point and alarm limits of temperature or humidity."""

    setpoint: float
    high: float
    low: float
    range: tuple[float, float]
    enabled: bool = True


@dataclass
class _Step:
    """One step of a program."""

    temperature_C: float
    duration_s: float
    humidity_percent: float | None = None
    temperature_ramp: bool = False
    humidity_ramp: bool = False
    guarantee: bool = False
    pause: bool = False
    refrigeration: str = "REF9"
    relays: set[int] = field(default_factory=set)


@dataclass
class _Program:
    """A stored program, or the remote one."""

    steps: list[_Step] = field(default_factory=list)
    name: str = ""
    end: str = "OFF"
    counters: list[tuple[int, int, int]] = field(default_factory=lambda: [(0, 0, 0), (0, 0, 0)])
    details: dict[str, str] = field(default_factory=dict)
    written: str = ""


@dataclass
class _Run:
    """A program that runs."""

    program: _Program
    number: int
    remote: bool
    done_to_s: float
    index: int
    left_s: float
    start: tuple[float, float | None]
    counts: list[int]
    paused: bool = False
    held: bool = False


class SimulatedEspec(LineInstrument):
    """Answers monitor and setting commands in front of a chamber.

    Parameters
    ----------
    chamber : Chamber
        What it controls.
    unit : int or None
        RS-485 address, 1-16; None over TCP or RS-232, where no command has one.
    humidity : bool
        Whether the chamber controls humidity.
    temperature_range_C, humidity_range_percent : tuple of float
        Of the chamber; also the alarm limits at delivery.

    Attributes
    ----------
    early_commands : int
        How many commands came sooner than the maker's clients send them.
    """

    terminator = b"\r\n"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error")

    def __init__(
        self,
        clock: Clock,
        chamber: Chamber,
        *,
        unit: int | None = None,
        humidity: bool = True,
        temperature_range_C: tuple[float, float] = (-40.0, 160.0),
        humidity_range_percent: tuple[float, float] = (10.0, 98.0),
        controller: str = "S2",
        rom: str = "P300 Ver.1.00",
    ) -> None:
        super().__init__(clock)
        self._chamber = chamber
        self._unit = unit
        self._has_humidity = humidity
        self._identity = (controller, rom)
        low_C, high_C = temperature_range_C
        self._temperature = _Loop(23.0, high_C, low_C, (low_C, high_C))
        low, high = humidity_range_percent
        self._humidity = _Loop(50.0, high, low, (low, high), enabled=False)
        self._refrigeration = "REF9"
        self._programs: dict[int, _Program] = {}
        self._clock_ahead_s = 0.0
        self._mask = "00000000"
        self._free_at_s = 0.0
        self.early_commands = 0
        self._monitors: dict[str, Callable[[list[str]], str]] = {
            "ROM?": lambda p: self._identity[1],
            "TYPE?": self._type,
            "DATE?": lambda p: f"{self._date():%y.%m/%d}",
            "TIME?": lambda p: f"{self._date():%H:%M:%S}",
            "SRQ?": lambda p: "".join(self._srq),
            "MASK?": lambda p: self._mask,
            "ALARM?": lambda p: ",".join(map(str, [len(self._alarms()), *self._alarms()])),
            "KEYPROTECT?": lambda p: "ON" if self._protected else "OFF",
            "MODE?": lambda p: self._mode_text(detail=_is(p, "DETAIL")),
            "MON?": self._mon,
            "TEMP?": self._temp,
            "HUMI?": self._humi,
            "%?": self._heaters,
            "SET?": lambda p: self._refrigeration,
            "REF?": self._compressors,
            "RELAY?": lambda p: _listed(self._relays_now()),
            "CONSTANT SET?": self._constant,
            "PRGM MON?": self._program_state,
            "PRGM SET?": self._program_name,
            "PRGM USE?": self._programs_used,
            "PRGM DATA?": self._program_data,
            "RUN PRGM?": self._remote_data,
            "RUN PRGM MON?": self._remote_state,
        }
        self._settings: dict[str, Callable[[list[str]], None]] = {
            "DATE": self._set_date,
            "TIME": self._set_time,
            "MASK": self._set_mask,
            "SRQ": self._reset_srq,
            "KEYPROTECT": self._set_protect,
            "POWER": self._set_power,
            "MODE": self._set_mode,
            "TEMP": lambda p: self._set_loop(self._temperature, p),
            "HUMI": self._set_humidity,
            "SET": self._set_refrigeration,
            "RELAY": self._set_relays,
            "RUN PRGM": self._run_remote,
            "PRGM": self._run_control,
            "PRGM DATA WRITE": self._write_program,
            "PRGM ERASE": self._erase,
        }
        self.power_on()
        chamber.attach(self._catch_up)

    def power_on(self) -> None:
        """Come up in standby; set points, alarm limits and programs are kept."""
        self._mode = "STANDBY"
        self._run: _Run | None = None
        self._latched: list[int] = []
        self._armed: set[int] = set()
        self._srq = list("00000000")
        self._protected = False
        self._relays: set[int] = set()
        self._editing: tuple[int, _Program] | None = None
        self._drive()

    def acknowledge(self) -> None:
        """Reset latched alarms, as the operator does at the chamber; there is no command for it."""
        self._latched.clear()
        self._armed.clear()

    def mend(self) -> None:
        """End all breakdowns and faults of the wire, and acknowledge the alarms."""
        super().mend()
        self.acknowledge()

    def answer(self, line: str) -> bytes:
        """Give the reply to one command."""
        command = line
        if self._unit is not None:
            address, _, command = line.partition(",")
            if address.strip() != str(self._unit):
                return b""  # another chamber's business
        name, *parameters = (word.strip() for word in command.split(","))
        name = " ".join(name.upper().split())
        is_monitor = name.endswith("?")
        self._note_pace(is_monitor)
        try:
            if self._unit is None and name.isdigit():
                raise _RefusedError("ADDR ERR")
            if self.broken("busy"):
                raise _RefusedError("CHB NOT READY")
            self._catch_up()
            if is_monitor:
                return self._line(self._find(self._monitors, name)(parameters))
            if self._protected and name in ("TEMP", "HUMI", "SET", "RELAY", "PRGM DATA WRITE", "PRGM ERASE"):
                raise _RefusedError("PROTECT ON")
            self._find(self._settings, name)(parameters)
        except _RefusedError as refused:
            return self._line(f"NA:{refused}")
        return self._line(f"OK:{line}")

    def _line(self, text: str) -> bytes:
        return text.encode("latin-1") + b"\r\n"

    def _note_pace(self, is_monitor: bool) -> None:
        now_s = self.clock.monotonic()
        self.early_commands += now_s < self._free_at_s - 1e-6
        self._free_at_s = now_s + (_MONITOR_PACE_S if is_monitor else _SETTING_PACE_S)
        self.latency_s = _MONITOR_S if is_monitor else _SETTING_S

    def _find(self, commands: dict[str, Callable[[list[str]], T]], name: str) -> Callable[[list[str]], T]:
        if name not in commands:
            raise _RefusedError("CONT NOT READY-1" if "PTC" in name.rstrip("?").split() else "CMD ERR")
        return commands[name]

    # --- what time brings

    def _catch_up(self) -> None:
        """Let the program go on to now, and see whether the air is outside the alarm limits."""
        if self._run:
            self._go_on(self._run, self.clock.monotonic())
        self._chamber.advance_to(self.clock.monotonic())
        self._watch()
        if self._alarms() and self._mode not in ("OFF", "STANDBY"):
            self._srq[1] = "1"
            self._stop("STANDBY")

    def _alarms(self) -> list[int]:
        return [*self._latched, *([_FAULT_ALARM] if self.broken("error") else [])]

    def _watch(self) -> None:
        if self._mode in ("OFF", "STANDBY"):
            self._armed.clear()
            return
        temperature_C = self._chamber.temperature_C()
        self._limit_alarm(_HIGH_ALARM, temperature_C > self._temperature.high)
        self._limit_alarm(_LOW_ALARM, temperature_C < self._temperature.low)
        if self._has_humidity and self._targets()[1] is not None:
            percent = self._chamber.humidity_percent()
            self._limit_alarm(_HIGH_HUMIDITY_ALARM, percent > self._humidity.high)
            self._limit_alarm(_LOW_HUMIDITY_ALARM, percent < self._humidity.low)
        else:
            self._armed -= {_HIGH_HUMIDITY_ALARM, _LOW_HUMIDITY_ALARM}

    def _limit_alarm(self, number: int, outside: bool) -> None:
        if not outside:
            self._armed.add(number)
        elif number in self._armed and number not in self._latched:
            self._latched.append(number)

    def _go_on(self, run: _Run, until_s: float) -> None:
        while not (run.paused or run.held) and self._run is run and run.done_to_s < until_s:
            slice_s = min(_SLICE_S, until_s - run.done_to_s, run.left_s)
            self._drive()
            run.done_to_s += slice_s
            run.left_s -= slice_s
            self._chamber.advance_to(run.done_to_s)
            if run.left_s <= 0.0:
                self._next_step(run)
        run.done_to_s = until_s

    def _next_step(self, run: _Run) -> None:
        step = run.program.steps[run.index]
        index = run.index + 1
        self._srq[2] = "1"
        for which, (first, last, _) in enumerate(run.program.counters):
            if last == index and run.counts[which] > 0:
                run.counts[which] -= 1
                index = first - 1
                break
        if index >= len(run.program.steps):
            self._end(run.program.end)
            return
        run.start = (step.temperature_C, step.humidity_percent)
        run.index, run.left_s = index, run.program.steps[index].duration_s
        run.paused = run.program.steps[index].pause
        self._drive()

    def _end(self, how: str) -> None:
        if how == "HOLD" and self._run:
            self._run.held = True
            self._drive()
        elif how.startswith("RUN:"):
            self._start(int(how[4:]), 1)
        else:
            self._stop("CONSTANT" if how == "CONST" else how)

    def _stop(self, mode: str) -> None:
        """Leave a program, if one runs, for another mode."""
        if mode != self._mode:
            self._srq[3] = "1"
        self._mode, self._run = mode, None
        self._drive()

    def _targets(self) -> tuple[float | None, float | None]:
        if self._mode in ("OFF", "STANDBY"):
            return None, None
        if self._run:
            return self._program_targets(self._run)
        return self._temperature.setpoint, self._humidity.setpoint if self._humidity.enabled else None

    def _program_targets(self, run: _Run) -> tuple[float, float | None]:
        step = run.program.steps[run.index]
        done = 1.0 - run.left_s / step.duration_s if step.duration_s > 0.0 else 1.0
        temperature_C, percent = step.temperature_C, step.humidity_percent
        if step.temperature_ramp:
            temperature_C = run.start[0] + done * (step.temperature_C - run.start[0])
        if step.humidity_ramp and percent is not None and run.start[1] is not None:
            percent = run.start[1] + done * (percent - run.start[1])
        return temperature_C, percent

    def _drive(self) -> None:
        self._chamber.control(*self._targets())

    # --- monitor commands

    def _type(self, parameters: list[str]) -> str:
        wet = ["T"] if self._has_humidity else []
        return ",".join(["T", *wet, self._identity[0], f"{self._temperature.range[1]:.1f}"])

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now() + self._clock_ahead_s, UTC)

    def _mode_text(self, *, detail: bool) -> str:
        if not self._run or not detail:
            return "RUN" if self._run else self._mode
        state = " END HOLD" if self._run.held else " PAUSE" if self._run.paused else ""
        return ("RMT RUN" if self._run.remote else "RUN") + state

    def _mon(self, parameters: list[str]) -> str:
        humidity = f"{self._chamber.humidity_percent():.0f}" if self._has_humidity else ""
        mode = self._mode_text(detail=_is(parameters, "DETAIL"))
        return f"{self._chamber.temperature_C():.1f},{humidity},{mode},{len(self._alarms())}"

    def _temp(self, parameters: list[str]) -> str:
        loop = self._temperature
        setpoint = self._program_targets(self._run)[0] if self._run else loop.setpoint
        return f"{self._chamber.temperature_C():.1f},{setpoint:.1f},{loop.high:.1f},{loop.low:.1f}"

    def _humi(self, parameters: list[str]) -> str:
        self._need_humidity()
        loop = self._humidity
        target = loop.setpoint if loop.enabled else None
        if self._run:
            target = self._program_targets(self._run)[1]
        shown = "OFF" if target is None else f"{target:.0f}"
        return f"{self._chamber.humidity_percent():.0f},{shown},{loop.high:.0f},{loop.low:.0f}"

    def _need_humidity(self) -> None:
        if not self._has_humidity:
            raise _RefusedError("CONT NOT READY-1")

    def _heaters(self, parameters: list[str]) -> str:
        dry = f"{self._chamber.heater_percent():.1f}"
        return f"2,{dry},{self._chamber.humidifier_percent():.1f}" if self._has_humidity else f"1,{dry}"

    def _compressors(self, parameters: list[str]) -> str:
        runs = self._targets()[0] is not None and self._refrigeration != "REF0"
        return "2,ON1,ON2" if runs else "2,OFF1,OFF2"

    def _relays_now(self) -> set[int]:
        return self._run.program.steps[self._run.index].relays if self._run else self._relays

    def _constant(self, parameters: list[str]) -> str:
        what = parameters[0].upper() if parameters else ""
        if what == "TEMP":
            return f"{self._temperature.setpoint:.1f},ON"
        if what == "HUMI":
            self._need_humidity()
            return f"{self._humidity.setpoint:.0f},{'ON' if self._humidity.enabled else 'OFF'}"
        if what == "REF":
            return _REFRIGERATION[self._refrigeration]
        if what == "RELAY":
            return _listed(self._relays)
        raise _RefusedError("CONT NOT READY-1" if what == "PTC" else "PARA ERR")

    def _running(self, *, remote: bool) -> _Run:
        if self._run is None or self._run.remote != remote:
            raise _RefusedError("CONT NOT READY-2")
        return self._run

    def _state_of(self, run: _Run) -> list[str]:
        temperature_C, percent = self._program_targets(run)
        humidity = [] if not self._has_humidity else ["OFF" if percent is None else f"{percent:.0f}"]
        return [str(run.index + 1), f"{temperature_C:.1f}", *humidity, _hours_minutes(run.left_s)]

    def _program_state(self, parameters: list[str]) -> str:
        run = self._running(remote=False)
        return ",".join([*self._state_of(run), *map(str, run.counts)])

    def _remote_state(self, parameters: list[str]) -> str:
        return ",".join([*self._state_of(self._running(remote=True)), "0"])

    def _remote_data(self, parameters: list[str]) -> str:
        run = self._running(remote=True)
        step = run.program.steps[0]
        words = [f"TEMP{run.start[0]:.1f}", f"GOTEMP{step.temperature_C:.1f}"]
        if step.humidity_percent is not None:
            words += [f"HUMI{run.start[1]:.0f}", f"GOHUMI{step.humidity_percent:.0f}"]
        words += [f"TIME{_hours_minutes(step.duration_s)}", self._refrigeration]
        words += [f"RELAYON,{','.join(map(str, sorted(step.relays)))}"] if step.relays else []
        return " ".join(words)

    def _program_name(self, parameters: list[str]) -> str:
        run = self._running(remote=False)
        return f"RAM:{run.number},<{run.program.name}>,END({run.program.end})"

    def _programs_used(self, parameters: list[str]) -> str:
        if _is(parameters, "RAM"):
            return _listed(self._programs)
        if _is(parameters, "ROM"):
            return "0"
        program = self._stored(_program_number(parameters))
        return f"{program.name},{program.written}"

    def _stored(self, number: int) -> _Program:
        if number not in self._programs:
            raise _RefusedError("DATA NOT READY")
        return self._programs[number]

    def _program_data(self, parameters: list[str]) -> str:
        program = self._stored(_program_number(parameters))
        if len(parameters) == 1:
            a, b = (".".join(map(str, counter)) for counter in program.counters)
            return f"{len(program.steps)},<{program.name}>,COUNT,A({a}),B({b}),END({program.end})"
        if _is(parameters[1:], "DETAIL"):
            return self._program_detail(program)
        if step := re.fullmatch(r"STEP(\d+)", parameters[1].upper()):
            number = int(step[1])
            if not 1 <= number <= len(program.steps):
                raise _RefusedError("DATA NOT READY")
            return self._step_text(number, program.steps[number - 1])
        raise _RefusedError("PARA ERR")

    def _program_detail(self, program: _Program) -> str:
        def beginning(loop: str, key: str) -> list[str]:
            mode = program.details.get(f"PRE MODE {loop}", "OFF")
            return [f"{loop}{mode}", *([program.details.get(key, "0")] if mode == "SV" else [])]

        low, high = (f"{x:.1f}" for x in self._temperature.range)
        words = [program.details.get("HTEMP", high), program.details.get("LTEMP", low)]
        if self._has_humidity:
            low, high = (f"{x:.0f}" for x in self._humidity.range)
            words += [program.details.get("HHUMI", high), program.details.get("LHUMI", low)]
        words += beginning("TEMP", "PRE TSV")
        words += beginning("HUMI", "PRE HSV") if self._has_humidity else []
        return ",".join(words)

    def _step_text(self, number: int, step: _Step) -> str:
        words = [str(number), f"TEMP{step.temperature_C:.1f}", f"TEMP RAMP {_on_off(step.temperature_ramp)}"]
        if self._has_humidity and step.humidity_percent is None:
            words += ["HUMI OFF"]
        elif step.humidity_percent is not None:
            words += [f"HUMI{step.humidity_percent:.0f}", f"HUMI RAMP {_on_off(step.humidity_ramp)}"]
        words += [f"TIME{_hours_minutes(step.duration_s)}", f"GRANTY {_on_off(step.guarantee)}"]
        words += [step.refrigeration]
        words += [f"RELAY ON{'.'.join(map(str, sorted(step.relays)))}"] if step.relays else []
        return ",".join([*words, f"PAUSE {_on_off(step.pause)}"])

    # --- setting commands

    def _set_date(self, parameters: list[str]) -> None:
        found = re.match(r"(\d+)\.(\d+)/(\d+)", ",".join(parameters)) or _wrong()
        year, month, day = map(int, found.groups())
        self._set_clock(year=2000 + year, month=month, day=day)

    def _set_time(self, parameters: list[str]) -> None:
        found = re.fullmatch(r"(\d+):(\d+):(\d+)", ",".join(parameters)) or _wrong()
        hour, minute, second = map(int, found.groups())
        self._set_clock(hour=hour, minute=minute, second=second)

    def _set_clock(self, **fields: int) -> None:
        try:
            wanted = self._date().replace(**fields)  # type: ignore[arg-type]
        except ValueError:
            raise _RefusedError("DATA OUT OF RANGE") from None
        self._clock_ahead_s += (wanted - self._date()).total_seconds()

    def _set_mask(self, parameters: list[str]) -> None:
        (re.fullmatch(r"0[01]{3}00[01]0", ",".join(parameters))) or _wrong()
        self._mask = parameters[0]

    def _reset_srq(self, parameters: list[str]) -> None:
        _is(parameters, "RESET") or _wrong()
        self._srq = list("00000000")

    def _set_protect(self, parameters: list[str]) -> None:
        if self._mode == "OFF":
            raise _RefusedError("CONT NOT READY-4")
        self._protected = _switch(parameters)

    def _set_power(self, parameters: list[str]) -> None:
        self._go_to("CONSTANT" if _switch(parameters) else "OFF")

    def _set_mode(self, parameters: list[str]) -> None:
        wanted = parameters[0].upper() if parameters else ""
        if run := re.fullmatch(r"RUN(\d+)", wanted):
            self._start(int(run[1]), 1)
        elif wanted in ("OFF", "STANDBY", "CONSTANT"):
            self._go_to(wanted)
        else:
            _wrong()

    def _go_to(self, mode: str) -> None:
        if mode == "CONSTANT":
            self._need_no_alarm()
        self._stop(mode)

    def _need_no_alarm(self) -> None:
        if self._alarms():
            raise _RefusedError("CHB NOT READY")

    def _set_humidity(self, parameters: list[str]) -> None:
        self._need_humidity()
        if _is(parameters, "SOFF"):
            self._humidity.enabled = False
        else:
            self._set_loop(self._humidity, parameters)
            if re.search(r"(?i)\bS", " ".join(parameters)):
                self._humidity.enabled = True
        self._drive()

    def _set_loop(self, loop: _Loop, parameters: list[str]) -> None:
        """Take over S, H and L, all or none; the set point must stay between the alarm limits."""
        values = {"S": loop.setpoint, "H": loop.high, "L": loop.low}
        words = re.findall(rf"([SHL])\s*({_NUMBER})(?=\s|$)", " ".join(parameters).upper())
        if not words or "".join(a + b for a, b in words) != "".join(parameters).upper().replace(" ", ""):
            _wrong()
        decimals = 1 if loop is self._temperature else 0
        values.update({letter: round(float(number), decimals) for letter, number in words})
        if not loop.range[0] <= values["L"] <= values["S"] <= values["H"] <= loop.range[1]:
            raise _RefusedError("DATA OUT OF RANGE")
        loop.setpoint, loop.high, loop.low = values["S"], values["H"], values["L"]
        self._drive()

    def _set_refrigeration(self, parameters: list[str]) -> None:
        wanted = parameters[0].upper() if len(parameters) == 1 else ""
        self._refrigeration = wanted if wanted in _REFRIGERATION else _wrong()

    def _set_relays(self, parameters: list[str]) -> None:
        on = _switch(parameters[:1])
        numbers = {int(word) if word.isdigit() else _wrong() for word in parameters[1:]}
        if not numbers or not numbers <= set(_RELAYS):
            raise _RefusedError("CONT NOT READY-5" if numbers else "PARA ERR")
        self._relays = self._relays | numbers if on else self._relays - numbers

    def _run_remote(self, parameters: list[str]) -> None:
        """Run one step from TEMP to GOTEMP, then hold."""
        text = ",".join(parameters).upper()
        found = dict(re.findall(rf"(?:^|\s)(TEMP|GOTEMP|HUMI|GOHUMI)({_NUMBER})(?=\s|$)", text))
        time = re.search(r"(?:^|\s)TIME(\d+):(\d+)(?=\s|$)", text)
        relays = re.search(r"RELAYON,([\d,]+)", text)
        if "TEMP" not in found or time is None:
            _wrong()
        if "HUMI" in found:
            self._need_humidity()
        values = {key: float(value) for key, value in found.items()}
        for key, value in values.items():
            loop = self._humidity if "HUMI" in key else self._temperature
            if not loop.low <= value <= loop.high:
                raise _RefusedError("DATA OUT OF RANGE")
        start = (values["TEMP"], values.get("HUMI"))
        step = _Step(
            values.get("GOTEMP", start[0]),
            60.0 * (60 * int(time[1]) + int(time[2])),
            values.get("GOHUMI", start[1] or 0.0) if start[1] is not None else None,
            temperature_ramp=True,
            humidity_ramp=True,
            relays={int(word) for word in relays[1].split(",") if word} if relays else set(),
        )
        self._begin(_Program([step], end="HOLD"), 0, 0, remote=True, start=start)

    def _start(self, number: int, step: int) -> None:
        program = self._stored(number)
        if not 1 <= step <= len(program.steps):
            raise _RefusedError("DATA NOT READY")
        now = (self._chamber.temperature_C(), self._chamber.humidity_percent())
        self._begin(program, number, step - 1, remote=False, start=now)

    def _begin(
        self, program: _Program, number: int, index: int, *, remote: bool, start: tuple[float, float | None]
    ) -> None:
        self._need_no_alarm()
        counts = [cycles for _, _, cycles in program.counters]
        now_s, left_s = self.clock.monotonic(), program.steps[index].duration_s
        self._mode = "RUN"
        self._run = _Run(program, number, remote, now_s, index, left_s, start, counts)
        self._srq[3] = "1"
        self._drive()

    def _run_control(self, parameters: list[str]) -> None:
        words = [word.upper() for word in parameters]
        if words[:1] == ["RUN"]:
            step = re.fullmatch(r"STEP(\d+)", words[2] if len(words) == 3 else "STEP1") or _wrong()
            self._start(_program_number(words[1:2]), int(step[1]))
            return
        if self._run is None:
            raise _RefusedError("CONT NOT READY-2")
        if words == ["PAUSE"]:
            self._run.paused = True
        elif words == ["CONTINUE"]:
            self._run.paused = False
        elif words == ["ADVANCE"]:
            self._next_step(self._run)
        elif words[:1] == ["END"] and words[1:] in (["STANDBY"], ["OFF"], ["CONST"], ["HOLD"]):
            self._end(words[1])
        else:
            _wrong()

    def _write_program(self, parameters: list[str]) -> None:
        words = [word.upper() for word in parameters]
        found = re.fullmatch(r"PGM(\d+)", words[0]) if len(words) > 1 else None
        number = int(found[1]) if found else _wrong()
        if not 1 <= number <= _PROGRAMS:
            raise _RefusedError("PRGM WRITE ERR-1")
        if words[1] in ("EDIT START", "OVER WRITE START"):
            if self._editing:
                raise _RefusedError("PRGM WRITE ERR-4")
            if self._run and self._run.number == number:
                raise _RefusedError("PRGM WRITE ERR-10")
            self._editing = number, _Program(written=f"{self._date():%y.%m/%d}")
            return
        if not self._editing:
            raise _RefusedError("PRGM WRITE ERR-2")
        if self._editing[0] != number:
            raise _RefusedError("PRGM WRITE ERR-7")
        program = self._editing[1]
        if words[1] in ("EDIT CANCEL", "OVER WRITE CANCEL"):
            self._editing = None
        elif words[1] in ("EDIT END", "OVER WRITE END"):
            if not program.steps:
                raise _RefusedError("PRGM WRITE ERR-11")
            self._programs[number], self._editing = program, None
        elif words[1].startswith("STEP"):
            self._write_step(program, words[1:])
        else:
            self._write_detail(program, words[1], parameters[2:])

    def _write_detail(self, program: _Program, key: str, values: list[str]) -> None:
        upper = [value.upper() for value in values]
        if key == "NAME" and len(values) == 1:
            program.name = values[0]
        elif key == "END" and upper[:1] == ["RUN"] and re.fullmatch(r"PTN\d+", upper[-1]):
            program.end = f"RUN:{int(upper[-1][3:])}"
        elif key == "END" and upper in (["OFF"], ["STANDBY"], ["CONSTANT"], ["CONST"], ["HOLD"]):
            program.end = upper[0]
        elif key == "COUNT" and values:
            for name, *numbers in re.findall(r"([AB])\((\d+)\.(\d+)\.(\d+)\)", ",".join(upper)):
                first, last, cycles = map(int, numbers)
                program.counters["AB".index(name)] = first, last, cycles
        elif key in ("HTEMP", "LTEMP", "HHUMI", "LHUMI", "PRE TSV", "PRE HSV") and len(values) == 1:
            re.fullmatch(_NUMBER, values[0]) or _wrong()
            program.details[key] = values[0]
        elif key == "PRE MODE" and len(upper) == 2 and upper[0] in ("TEMP", "HUMI"):
            program.details[f"PRE MODE {upper[0]}"] = upper[1]
        else:
            _wrong()

    def _write_step(self, program: _Program, words: list[str]) -> None:
        if words[0] != f"STEP{len(program.steps) + 1}":
            raise _RefusedError("PRGM WRITE ERR-8")
        step = _Step(self._temperature.setpoint, 3600.0)
        for word in words[1:]:
            self._write_word(step, " ".join(word.split()))
        if step.humidity_ramp and step.humidity_percent is None:
            raise _RefusedError("PRGM WRITE ERR-15")
        low, high = self._temperature.range
        if not low <= step.temperature_C <= high:
            raise _RefusedError("DATA OUT OF RANGE")
        program.steps.append(step)

    def _write_word(self, step: _Step, word: str) -> None:
        if found := re.fullmatch(rf"TEMP({_NUMBER})", word):
            step.temperature_C = float(found[1])
        elif found := re.fullmatch(rf"HUMI({_NUMBER}|OFF)", word):
            self._need_humidity()
            step.humidity_percent = None if found[1] == "OFF" else float(found[1])
        elif found := re.fullmatch(r"TIME(\d+):(\d+)", word):
            step.duration_s = 60.0 * (60 * int(found[1]) + int(found[2]))
        elif found := re.fullmatch(r"(TRAMP|HRAMP|GRANTY|PAUSE) ?(ON|OFF)", word):
            fields = {"TRAMP": "temperature_ramp", "HRAMP": "humidity_ramp", "GRANTY": "guarantee"}
            setattr(step, fields.get(found[1], "pause"), found[2] == "ON")
        elif word in _REFRIGERATION:
            step.refrigeration = word
        elif found := re.fullmatch(r"RELAY (ON|OFF)([\d.]+)", word):
            numbers = {int(number) for number in found[2].split(".") if number}
            step.relays = step.relays | numbers if found[1] == "ON" else step.relays - numbers
        else:
            raise _RefusedError("PRGM WRITE ERR-13")

    def _erase(self, parameters: list[str]) -> None:
        number = _program_number(parameters)
        self._stored(number)
        if self._run and self._run.number == number:
            raise _RefusedError("PRGM WRITE ERR-10")
        del self._programs[number]


def _wrong() -> NoReturn:
    raise _RefusedError("PARA ERR")


def _is(parameters: list[str], word: str) -> bool:
    return [parameter.upper() for parameter in parameters] == [word]


def _switch(parameters: list[str]) -> bool:
    if not (_is(parameters, "ON") or _is(parameters, "OFF")):
        _wrong()
    return _is(parameters, "ON")


def _on_off(value: bool) -> str:
    return "ON" if value else "OFF"


def _listed(numbers: object) -> str:
    ordered = sorted(numbers)  # type: ignore[call-overload]
    return ",".join(map(str, [len(ordered), *ordered]))


def _hours_minutes(duration_s: float) -> str:
    minutes = int(duration_s // 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _program_number(parameters: list[str]) -> int:
    found = re.fullmatch(r"(RAM|ROM):(\d+)", parameters[0].upper()) if parameters else None
    if found is None:
        raise _RefusedError("PARA ERR")
    return int(found[2])
