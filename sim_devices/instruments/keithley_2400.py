"""Simulated Keithley 2400 SourceMeter.

Written from the Series 2400 User's Manual (2400S-900-01): commands of section 18, trigger model of section 11
(while it runs, commands wait until it is idle again; `:ABORt` and few others do not), output-off states of
section 13, error numbers of appendix B (+803 for a reading with the output off, and no answer). Its seconds
are 1024 ticks of a clock that counts milliseconds: time stamps run 2.4 % fast (maker's note "Using the Model
2400 Internal Timestamp Feature"). Placeholder: the overhead of a reading.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from sim_devices.instruments.keithley_source import Cell, Reading, SourceStage, boolean, unquoted
from sim_devices.scpi import Handler, ScpiError, ScpiInstrument, number
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["SimulatedKeithley2400"]

_LINE_Hz = 50.0
_OVERHEAD_S = 0.002  # of a source-delay-measure cycle, beside delay and apertures
_AUTOMATIC_DELAY_S = 0.001
_TICKS = 1.024  # seconds of the time stamp in a second
_WRAP_S = 99_999.999
_MOST_READINGS = 2500
_NAMES = {"VOLT": "VOLTage", "CURR": "CURRent", "RES": "RESistance"}
_LARGEST = {"VOLT": 210.0, "CURR": 1.05}
_DEFAULT_LIMIT = {"VOLT": 21.0, "CURR": 105e-6}
_PROTECTIONS_V = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0)
_OFF_STATES = {"NORM": "NORMAL", "HIMP": "HIMPEDANCE", "ZERO": "ZERO", "GUAR": "GUARD"}
_ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT")
_BUFFER_FULL = 1 << 9
_OVERFLOW, _NOT_A_NUMBER = 9.9e37, 9.91e37
_TEXTS = {
    800: "Illegal with storage active",
    802: "OUTPUT blocked by interlock",
    803: "Not permitted with OUTPUT off",
    810: "OUTPUT blocked by Over Temp",
    824: "Cannot exceed compliance range",
}
_AT_ONCE = ("ABOR", "ABORT", "SYST:PRES", "SYSTEM:PRESET", "*TRG", "*RST", "*RCL")


class _Run:
    """Source-delay-measure cycles under way: when each sources, and when each has measured."""

    def __init__(self, times: list[tuple[float, float]], levels: list[float] | None) -> None:
        self.times = times
        self.levels = levels
        self.readings: list[Reading] = []
        self.sourced = 0

    @property
    def end_s(self) -> float:
        return self.times[-1][1]

    @property
    def over(self) -> bool:
        return len(self.readings) == len(self.times)


class SimulatedKeithley2400(ScpiInstrument):
    """A 2400 with its INPUT/OUTPUT HI and 4-WIRE SENSE HI at a cell's positive.

    Parameters
    ----------
    cell : Cell
        In front of it.
    noise : float
        Factor on the noise of readings.
    """

    identification = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")
    latency_s = 0.005
    queue_length = 10

    def __init__(self, clock: Clock, cell: Cell, *, noise: float = 1.0, seed: int = 1) -> None:
        super().__init__(clock)
        self.stage = SourceStage(cell, off_limit=0.005, noise=noise, seed=seed, lowest_V=0.2, lowest_A=1e-6)
        self._run: _Run | None = None
        self._waiting: deque[str] = deque()
        self._time_zero_s = clock.monotonic()
        self.commands = {
            **self._output_commands(),
            **self._source_commands(),
            **self._sense_commands(),
            **self._trigger_commands(),
            **self._data_commands(),
            **self._system_commands(),
        }
        cell.attach(self.catch_up)
        self.power_on()

    def power_on(self) -> None:
        """Take the values after power-up: output off in the normal off state, which is 0 V."""
        self._time_zero_s = self.clock.monotonic()
        self._trace: list[Reading] = []
        self._trace_points = 100
        self._trace_control = "NEV"
        self._measurement_events = self._measurement_enable = 0
        self.reset()

    def reset(self) -> None:
        """Take the values of `*RST`; the trace buffer stays."""
        self._run = None
        self._waiting.clear()
        self._samples: list[Reading] = []
        self._settings: dict[str, str] = {}
        self._sensed = {"CURR"}
        self._nplc = 1.0
        self._four_wire = False
        self._automatic_off = False
        self._mode = {"VOLT": "FIX", "CURR": "FIX"}
        self._lists: dict[str, list[float]] = {"VOLT": [], "CURR": []}
        self._sweep = {"STAR": 0.0, "STOP": 0.0}
        self._sweep_points = _MOST_READINGS
        self._arm_count, self._trigger_count = 1, 1
        self._arm_source, self._arm_timer_s = "IMM", 0.1
        self._trigger_delay_s = 0.0
        self._delay_s: float | None = None  # automatic
        self._elements: tuple[str, ...] = _ELEMENTS
        self._statistic = "MEAN"
        self.stage.reset(self.clock.monotonic())

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer, but for those that wait until the readings are done."""
        while (end := buffer.find(b"\n")) >= 0:
            text = bytes(buffer[:end]).decode("latin-1").strip()
            del buffer[: end + 1]
            if text and (reply := self._take(text)) is not None:
                yield reply + self.line_end

    def unsolicited(self) -> Iterator[bytes]:
        """Answer what waited, once the readings are done."""
        self.catch_up()
        while self._waiting and self._run is None:
            reply = self._line(self._waiting.popleft())
            if reply is not None:
                yield reply + self.line_end

    def next_unsolicited(self) -> float | None:
        """Tell when the readings under way are done."""
        if self._run is not None:
            return self._run.end_s
        return self.clock.monotonic() if self._waiting else None

    def catch_up(self) -> None:
        """Take the readings that are due."""
        run, now_s = self._run, self.clock.monotonic()
        if run is None:
            return
        for source_s, end_s in run.times[len(run.readings) :]:
            if source_s > now_s:
                return
            if run.levels is not None and run.sourced == len(run.readings):
                self.stage.set_level(
                    self.stage.source, run.levels[len(run.readings) % len(run.levels)], source_s
                )
                run.sourced += 1
            if end_s > now_s:
                return
            run.readings.append(self.stage.measure(end_s, self._nplc, ""))
        self._finish(run)

    def put_error(self, code: int, text: str = "") -> None:
        """Put an error into the queue."""
        super().put_error(code, _TEXTS.get(code, text) if code > 0 else text)

    def error_entry(self, code: int, text: str) -> str:
        """Write an entry of the error queue, with a sign as the manual prints it."""
        return f'{code:+d},"{text}"'

    def _take(self, text: str) -> bytes | None:
        self.catch_up()
        if self.broken("busy"):  # taking readings for its front panel: what waits is lost with the connection
            return None
        at_once = text.upper().lstrip(":").split(" ")[0] in _AT_ONCE
        if (self._run is not None or self._waiting) and not at_once:
            self._waiting.append(text)
            return None
        return self._line(text)

    def _line(self, text: str) -> bytes | None:
        self.latency_s = self._reply_s
        if self.broken("error") and self.stage.output:
            self.stage.set_output(False)
            self.put_error(810)
        return super()._line(text)

    def _finish(self, run: _Run) -> None:
        self._run = None
        self._samples = run.readings
        if self._trace_control == "NEXT":
            self._trace = (self._trace + run.readings)[: self._trace_points]
            if len(self._trace) == self._trace_points:
                self._trace_control = "NEV"
                self._measurement_events |= _BUFFER_FULL
        if self._automatic_off:
            self.stage.set_output(False, run.end_s)

    # --- output and source ---

    def _output_commands(self) -> dict[str, Handler]:
        return {
            ":OUTPut[1][:STATe]": self._set_output,
            ":OUTPut[1][:STATe]?": lambda: str(int(self.stage.output)),
            ":OUTPut[1]:SMODe": self._set_off_state,
            ":OUTPut[1]:SMODe?": lambda: self.stage.off_state["VOLT"],
            **self._switch(":OUTPut[1]:INTerlock:STATe", False),
            ":OUTPut[1]:INTerlock:TRIPped?": lambda: str(int(not self._interlocked())),
            **self._word(":ROUTe:TERMinals", "FRON"),
        }

    def _interlocked(self) -> bool:
        enabled = self._settings.get(":OUTPut[1]:INTerlock:STATe", "0") == "1"
        return enabled and not self.stage.interlock

    def _set_output(self, word: str) -> None:
        on = boolean(word)
        if on and self.broken("error"):
            raise ScpiError(810)
        if on and self._interlocked():
            raise ScpiError(802)
        self.stage.set_output(on)

    def _set_off_state(self, word: str) -> None:
        short = word.upper()[:4]
        if short not in _OFF_STATES or word.upper() not in (short, _OFF_STATES[short]):
            raise ScpiError(-140, "Character data error")
        self.stage.off_state = dict.fromkeys(("VOLT", "CURR"), short)
        self.stage.drive()

    def _source_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            ":SOURce[1]:FUNCtion[:MODE]": self._set_source,
            ":SOURce[1]:FUNCtion[:MODE]?": lambda: self.stage.source,
            ":SOURce[1]:DELay": lambda word: setattr(self, "_delay_s", number(word, 0, 9999.999)),
            ":SOURce[1]:DELay?": lambda: _nr3(self._delay_s or 0.0),
            ":SOURce[1]:DELay:AUTO": self._set_automatic_delay,
            ":SOURce[1]:DELay:AUTO?": lambda: str(int(self._delay_s is None)),
            ":SOURce[1]:CLEar[:IMMediate]": lambda: self.stage.set_output(False),
            ":SOURce[1]:CLEar:AUTO": lambda word: setattr(self, "_automatic_off", boolean(word)),
            ":SOURce[1]:CLEar:AUTO?": lambda: str(int(self._automatic_off)),
            ":SOURce[1]:VOLTage:PROTection[:LIMit]": self._set_protection,
            ":SOURce[1]:VOLTage:PROTection[:LIMit]?": lambda: _nr3(min(self.stage.protection_V, 210.0)),
            ":SOURce[1]:VOLTage:PROTection:TRIPped?": lambda: "0",
            **self._word(":SOURce[1]:SWEep:SPACing", "LIN"),
            ":SOURce[1]:SWEep:POINts": lambda word: setattr(
                self, "_sweep_points", int(number(word, 2, _MOST_READINGS))
            ),
            ":SOURce[1]:SWEep:POINts?": lambda: str(self._sweep_points),
            **self._word(":SOURce[1]:SWEep:RANGing", "BEST"),
        }
        for function in ("VOLT", "CURR"):
            commands |= self._source_function_commands(function)
        return commands

    def _source_function_commands(self, function: str) -> dict[str, Handler]:
        head, largest = f":SOURce[1]:{_NAMES[function]}", _LARGEST[function]
        level = f"{head}[:LEVel][:IMMediate][:AMPLitude]"

        def set_automatic_range(word: str) -> None:
            self.stage.fixed_range[function] = None if boolean(word) else self.stage.range(function)

        return {
            level: lambda word: self.stage.set_level(function, number(word, -largest, largest)),
            f"{level}?": lambda: _nr3(self.stage.level[function]),
            f"{head}:MODE": partial(self._set_mode, function),
            f"{head}:MODE?": lambda: self._mode[function],
            f"{head}:RANGe": lambda word: self.stage.set_range(function, number(word, -largest, largest)),
            f"{head}:RANGe?": lambda: _nr3(1.05 * self.stage.range(function)),
            f"{head}:RANGe:AUTO": set_automatic_range,
            f"{head}:RANGe:AUTO?": lambda: str(int(self.stage.fixed_range[function] is None)),
            f"{head}:STARt": lambda word: self._sweep.update(STAR=number(word, -largest, largest)),
            f"{head}:STOP": lambda word: self._sweep.update(STOP=number(word, -largest, largest)),
            f"{head}:STEP": self._set_step,
            f":SOURce[1]:LIST:{_NAMES[function]}": partial(self._set_list, function, False),
            f":SOURce[1]:LIST:{_NAMES[function]}:APPend": partial(self._set_list, function, True),
            f":SOURce[1]:LIST:{_NAMES[function]}?": lambda: ",".join(map(_nr3, self._lists[function])),
            f":SOURce[1]:LIST:{_NAMES[function]}:POINts?": lambda: str(len(self._lists[function])),
        }

    def _set_source(self, word: str) -> None:
        short = word.upper()[:4]
        if word.upper() not in (short, _NAMES.get(short, "").upper()) or short not in _LARGEST:
            raise ScpiError(-140, "Character data error")
        if short != self.stage.source:
            self.stage.output = False
        self.stage.source = short
        self.stage.drive()

    def _set_automatic_delay(self, word: str) -> None:
        self._delay_s = None if boolean(word) else (self._delay_s or 0.0)

    def _set_protection(self, word: str) -> None:
        value_V = abs(number(word, -210, 210, NONE=210.0, MAX=210.0, MIN=20.0, DEF=210.0))
        fitting = [level_V for level_V in _PROTECTIONS_V if level_V <= value_V] or [20.0]
        self.stage.protection_V = math.inf if value_V > 160.0 else fitting[-1]
        self.stage.drive()

    def _set_mode(self, function: str, word: str) -> None:
        short = {"FIX": "FIX", "FIXED": "FIX", "LIST": "LIST", "SWE": "SWE", "SWEEP": "SWE"}.get(word.upper())
        if short is None:
            raise ScpiError(-140, "Character data error")
        self._mode[function] = short

    def _set_step(self, word: str) -> None:
        step = number(word)
        if step == 0.0:
            raise ScpiError(-222)
        self._sweep_points = round(abs((self._sweep["STOP"] - self._sweep["STAR"]) / step)) + 1

    def _set_list(self, function: str, append: bool, *words: str) -> None:
        if not 1 <= len(words) <= 100:
            raise ScpiError(-108 if words else -109)
        values = [number(word, -_LARGEST[function], _LARGEST[function]) for word in words]
        values = (self._lists[function] if append else []) + values
        if len(values) > _MOST_READINGS:
            raise ScpiError(-222)
        self._lists[function] = values

    # --- sense ---

    def _sense_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            "[:SENSe[1]]:FUNCtion[:ON]": self._set_functions,
            "[:SENSe[1]]:FUNCtion[:ON]?": self._functions,
            "[:SENSe[1]]:FUNCtion[:ON]:ALL": lambda: self._sensed.update(_NAMES),
            "[:SENSe[1]]:FUNCtion:OFF:ALL": lambda: self._sensed.clear(),
            "[:SENSe[1]]:FUNCtion:OFF": lambda *words: self._sensed.difference_update(map(_function, words)),
            **self._switch("[:SENSe[1]]:FUNCtion:CONCurrent", True),
            **self._switch("[:SENSe[1]]:AVERage[:STATe]", False),
            **self._word("[:SENSe[1]]:AVERage:TCONtrol", "REP"),
            **self._plain("[:SENSe[1]]:AVERage:COUNt", 1, 100, 10),
            **self._word("[:SENSe[1]]:RESistance:MODE", "AUTO"),
        }
        for function, name in _NAMES.items():
            head = f"[:SENSe[1]]:{name}" + ("[:DC]" if function != "RES" else "")
            largest = _LARGEST.get(function, 210e6)
            commands |= {
                f"{head}:NPLCycles": lambda word: setattr(self, "_nplc", number(word, 0.01, 10)),
                f"{head}:NPLCycles?": lambda: _nr3(self._nplc),
                f"{head}:RANGe[:UPPer]": partial(self._set_sense_range, function, largest),
                f"{head}:RANGe[:UPPer]?": lambda f=function: _nr3(1.05 * self.stage.sense_range(f)),
                f"{head}:RANGe:AUTO": partial(self._set_automatic_sense_range, function),
                f"{head}:RANGe:AUTO?": lambda f=function: str(int(self.stage.fixed_sense_range[f] is None)),
            }
            if function == "RES":
                continue
            commands |= {
                f"{head}:PROTection[:LEVel]": partial(self._set_limit, function),
                f"{head}:PROTection[:LEVel]?": partial(self._limit, function),
                f"{head}:PROTection:TRIPped?": partial(self._tripped, function),
            }
        return commands

    def _set_sense_range(self, function: str, largest: float, word: str) -> None:
        self.stage.fix_sense_range(function, number(word, -largest, largest, MIN=0.0, MAX=largest))

    def _set_automatic_sense_range(self, function: str, word: str) -> None:
        present = self.stage.sense_range(function)
        self.stage.fix_sense_range(function, None if boolean(word) else present)

    def _set_limit(self, function: str, word: str) -> None:
        largest = _LARGEST[function]
        value = abs(number(word, -largest, largest, MAX=largest, DEF=_DEFAULT_LIMIT[function]))
        self.stage.limit[function] = value
        self.stage.drive()

    def _limit(self, function: str) -> str:
        return _nr3(self.stage.limit[function])

    def _tripped(self, function: str) -> str:
        return str(int(self.stage.limited == function and self.stage.tripped()))

    def _set_functions(self, *words: str) -> None:
        chosen = set(map(_function, words))
        concurrent = self._settings.get("[:SENSe[1]]:FUNCtion:CONCurrent", "1") == "1"
        self._sensed = (self._sensed | chosen) if concurrent else chosen

    def _functions(self) -> str:
        return ",".join(
            f'"{name}"' for name in ("VOLT:DC", "CURR:DC", "RES") if name.removesuffix(":DC") in self._sensed
        )

    # --- trigger model ---

    def _trigger_commands(self) -> dict[str, Handler]:
        return {
            ":INITiate[:IMMediate]": self._initiate,
            ":ABORt": self._abort,
            "*TRG": lambda: None,
            ":ARM[:SEQuence[1]][:LAYer[1]]:COUNt": partial(self._set_count, "_arm_count"),
            ":ARM[:SEQuence[1]][:LAYer[1]]:COUNt?": lambda: str(self._arm_count),
            ":ARM[:SEQuence[1]][:LAYer[1]]:SOURce": self._set_arm_source,
            ":ARM[:SEQuence[1]][:LAYer[1]]:SOURce?": lambda: self._arm_source,
            ":ARM[:SEQuence[1]][:LAYer[1]]:TIMer": lambda word: setattr(
                self, "_arm_timer_s", number(word, 0.001, 99_999.99)
            ),
            ":ARM[:SEQuence[1]][:LAYer[1]]:TIMer?": lambda: _nr3(self._arm_timer_s),
            ":TRIGger[:SEQuence[1]]:COUNt": partial(self._set_count, "_trigger_count"),
            ":TRIGger[:SEQuence[1]]:COUNt?": lambda: str(self._trigger_count),
            ":TRIGger[:SEQuence[1]]:DELay": lambda word: setattr(
                self, "_trigger_delay_s", number(word, 0, 999.9999)
            ),
            ":TRIGger[:SEQuence[1]]:DELay?": lambda: _nr3(self._trigger_delay_s),
            ":TRIGger[:SEQuence[1]]:CLEar": lambda: None,
            **self._word(":TRIGger[:SEQuence[1]]:SOURce", "IMM"),
            **self._word(":TRIGger[:SEQuence[1]]:OUTPut", "NONE"),
            **self._word(":ARM[:SEQuence[1]][:LAYer[1]]:OUTPut", "NONE"),
            **self._plain(":TRIGger[:SEQuence[1]]:ILINe", 1, 4, 1),
            **self._plain(":TRIGger[:SEQuence[1]]:OLINe", 1, 4, 2),
            **self._plain(":ARM[:SEQuence[1]][:LAYer[1]]:ILINe", 1, 4, 1),
            **self._plain(":ARM[:SEQuence[1]][:LAYer[1]]:OLINe", 1, 4, 2),
        }

    def _set_count(self, which: str, word: str) -> None:
        count = int(number(word, 1, _MOST_READINGS))
        other = self._trigger_count if which == "_arm_count" else self._arm_count
        if count * other > _MOST_READINGS:
            raise ScpiError(-221)
        setattr(self, which, count)

    def _set_arm_source(self, word: str) -> None:
        short = {"IMMEDIATE": "IMM", "TIMER": "TIM", "TLINK": "TLIN", "MANUAL": "MAN"}.get(word.upper())
        self._arm_source = short or word.upper()

    def _initiate(self) -> None:
        if not self.stage.output and not self._automatic_off:
            raise ScpiError(803)
        self.stage.set_output(True)
        mode = self._mode[self.stage.source]
        levels = self._lists[self.stage.source] if mode == "LIST" else None
        if mode == "SWE":
            step = (self._sweep["STOP"] - self._sweep["STAR"]) / (self._sweep_points - 1)
            levels = [self._sweep["STAR"] + i * step for i in range(self._sweep_points)]
        if levels == []:
            raise ScpiError(-221)
        self._run = _Run(self._times(), levels)

    def _times(self) -> list[tuple[float, float]]:
        """When each cycle sources and ends."""
        begin_s = at_s = self.clock.monotonic()
        delay_s = _AUTOMATIC_DELAY_S if self._delay_s is None else self._delay_s
        reading_s = max(len(self._sensed), 1) * self._nplc / _LINE_Hz + _OVERHEAD_S
        times = []
        for arm in range(self._arm_count):
            if self._arm_source == "TIM":
                at_s = max(at_s, begin_s + arm * self._arm_timer_s)
            for _ in range(self._trigger_count):
                source_s = at_s + self._trigger_delay_s
                at_s = source_s + delay_s + reading_s
                times.append((source_s, at_s))
        return times

    def _abort(self) -> None:
        self._run = None
        self._waiting.clear()  # the readings asked for are not sent

    # --- data ---

    def _data_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            ":READ?": self._read,
            ":FETCh?": lambda: self._data(self._samples, self._stamp),
            ":FORMat:ELEMents[:SENSe[1]]": self._set_elements,
            ":FORMat:ELEMents[:SENSe[1]]?": lambda: ",".join(self._elements),
            **self._word(":FORMat[:DATA]", "ASC"),
            ":TRACe:DATA?": lambda: self._data(self._trace, lambda at_s: at_s - self._trace[0].at_s),
            ":TRACe:CLEar": lambda: self._trace.clear(),
            ":TRACe:POINts": self._set_trace_points,
            ":TRACe:POINts?": lambda: str(self._trace_points),
            ":TRACe:POINts:ACTual?": lambda: str(len(self._trace)),
            ":TRACe:FEED": self._set_feed,
            ":TRACe:FEED:CONTrol": self._set_trace_control,
            ":TRACe:FEED:CONTrol?": lambda: self._trace_control,
            **self._word(":TRACe:TSTamp:FORMat", "ABS"),
            ":CALCulate3:FORMat": lambda word: setattr(self, "_statistic", word.upper()[:4]),
            ":CALCulate3:DATA?": self._statistics,
        }
        for function, name in _NAMES.items():
            commands[f":MEASure:{name}[:DC]?" if function != "RES" else f":MEASure:{name}?"] = partial(
                self._measure, function
            )
            commands[f":CONFigure:{name}[:DC]" if function != "RES" else f":CONFigure:{name}"] = partial(
                self._configure, function
            )
        return commands

    def _read(self) -> None:
        self._initiate()
        self._waiting.appendleft(":FETC?")

    def _measure(self, function: str) -> None:
        self._configure(function)
        self._read()

    def _configure(self, function: str) -> None:
        """Measure one function with all of its settings as after power-up; the output goes on."""
        self._sensed = {function}
        self._arm_count, self._trigger_count, self._trigger_delay_s = 1, 1, 0.0
        if function in self.stage.limit:
            self.stage.limit[function] = _DEFAULT_LIMIT[function]
        self.stage.set_output(True)

    def _stamp(self, at_s: float) -> float:
        return ((at_s - self._time_zero_s) * _TICKS) % _WRAP_S

    def _data(self, readings: list[Reading], stamp: Callable[[float], float]) -> str:
        if not readings:
            raise ScpiError(-230)
        return ",".join(self._one(reading, stamp) for reading in readings)

    def _one(self, reading: Reading, stamp: Callable[[float], float]) -> str:
        sourced_V = reading.level if reading.source == "VOLT" else _NOT_A_NUMBER
        sourced_A = reading.level if reading.source == "CURR" else _NOT_A_NUMBER
        resistance = reading.voltage_V / reading.current_A if reading.current_A else _OVERFLOW
        values = {
            "VOLT": reading.voltage_V if "VOLT" in self._sensed else sourced_V,
            "CURR": reading.current_A if "CURR" in self._sensed else sourced_A,
            "RES": resistance if "RES" in self._sensed else _NOT_A_NUMBER,
            "TIME": stamp(reading.at_s),
            "STAT": float(self._status(reading)),
        }
        if self.broken("over_range"):
            values |= {name: _OVERFLOW for name in ("VOLT", "CURR") if name in self._sensed}
        return ",".join(f"{values[element]:+.6E}" for element in self._elements)

    def _status(self, reading: Reading) -> int:
        bits = {0: self.broken("over_range"), 2: self._settings.get(":ROUTe:TERMinals", "FRON") == "FRON"}
        bits |= {3: reading.limited, 11: "VOLT" in self._sensed, 12: "CURR" in self._sensed}
        bits |= {13: "RES" in self._sensed, 14: reading.source == "VOLT", 15: reading.source == "CURR"}
        bits[22] = self._four_wire
        return sum(1 << bit for bit, is_set in bits.items() if is_set)

    def _set_elements(self, *words: str) -> None:
        chosen = {word.upper()[: 3 if word.upper().startswith("RES") else 4] for word in words}
        if not chosen or not chosen <= set(_ELEMENTS):
            raise ScpiError(-140, "Character data error")
        self._elements = tuple(element for element in _ELEMENTS if element in chosen)

    def _set_trace_points(self, word: str) -> None:
        self._trace_points = int(number(word, 1, _MOST_READINGS, MIN=1, MAX=_MOST_READINGS))

    def _set_feed(self, word: str) -> None:
        if self._trace_control == "NEXT":
            raise ScpiError(800)

    def _set_trace_control(self, word: str) -> None:
        self._trace_control = "NEXT" if word.upper() == "NEXT" else "NEV"
        if self._trace_control == "NEXT":
            self._trace = []

    def _statistics(self) -> str:
        if not self._trace:
            raise ScpiError(-230)
        columns = [[r.voltage_V for r in self._trace], [r.current_A for r in self._trace]]
        take = {"MAX": max, "MIN": min}.get(self._statistic[:3], lambda values: sum(values) / len(values))
        return ",".join(f"{take(values):+.6E}" for values in columns)

    # --- system ---

    def _system_commands(self) -> dict[str, Handler]:
        return {
            ":*CLS": self._clear,
            ":SYSTem:RSENse": lambda word: setattr(self, "_four_wire", boolean(word)),
            ":SYSTem:RSENse?": lambda: str(int(self._four_wire)),
            ":SYSTem:TIME:RESet": lambda: setattr(self, "_time_zero_s", self.clock.monotonic()),
            ":SYSTem:TIME?": lambda: _nr3(self._stamp(self.clock.monotonic())),
            **self._switch(":SYSTem:TIME:RESet:AUTO", False),
            ":SYSTem:PRESet": self.reset,
            **self._word(":SYSTem:AZERo:STATe", "1"),
            ":SYSTem:LFRequency?": lambda: f"{_LINE_Hz:.0f}",
            ":SYSTem:LFRequency": lambda word: None,
            **self._switch(":SYSTem:LFRequency:AUTO", True),
            ":SYSTem:BEEPer[:IMMediate]": lambda frequency, duration: None,
            **self._switch(":DISPlay:ENABle", True),
            ":STATus:PRESet": lambda: setattr(self, "_measurement_enable", 0),
            ":STATus:MEASurement:ENABle": lambda word: setattr(
                self, "_measurement_enable", int(number(word, 0, 65535))
            ),
            ":STATus:MEASurement:ENABle?": lambda: str(self._measurement_enable),
            ":STATus:MEASurement[:EVENt]?": self._read_measurement_events,
        }

    def _read_measurement_events(self) -> str:
        events, self._measurement_events = self._measurement_events, 0
        return str(events)

    def _clear(self) -> None:
        super()._clear()
        self._measurement_events = 0

    def _status_byte(self) -> str:
        """Answer `*STB?`: bit 0 sums up the measurement events, bit 6 what asks for service."""
        byte = int(super()._status_byte()) & ~0x40
        byte |= 0x01 if self._measurement_events & self._measurement_enable else 0
        return str(byte | (0x40 if byte & self._request_enable else 0))

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
        def store(word: str) -> None:
            self._settings[header] = word.upper()[:4]

        return {header: store, f"{header}?": lambda: self._settings.get(header, start)}


def _function(word: str) -> str:
    name = unquoted(word).upper().removesuffix(":DC")
    for short, long in _NAMES.items():
        if name in (short, long.upper()):
            return short
    raise ScpiError(-224)


def _told(value: float, low: float) -> str:
    """A count (nothing below 1 is one) as an integer."""
    return str(int(value)) if low == 1 else _nr3(value)


def _nr3(value: float) -> str:
    return f"{value:.6E}"
