"""Keysight 34970A, 34972A and DAQ970A data acquisition units with multiplexer modules.

Sources: user's guides 34970-90002/-90003 and 34972-90001 (command reference, scan memory, power failure,
status registers, channel lists), programming guide of the DAQ970A (`*IDN?`, `R?`, channels of its modules,
`ROUT:MON:DATA?`), command reference of the 34980A, of the same family (`VOLT:IMP:AUTO`, `TEMP:TRAN:TC`).
Replies of `SYST:CTYP?` as clients have captured them; an empty slot answers zeros.

From memory, not verified: the numbers of the channel-list errors (111, 112, 113) and of the isolator error
(501), error -221 for settings changed while a scan runs, the width of a relative time stamp, the format of
`CONF?`. Placeholders: time of a relay, of the thermocouple check, serial numbers. Resistance, current,
alternating voltage, frequency and other temperature sensors can be configured, but nothing for them is
wired: they read overload or 0. Left out: digital and actuator modules, stored states, mass memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sim_devices.instruments.scanning import HeldUntilScanned, ScanningInstrument, Sweeps, Terminals, spans
from sim_devices.scpi import Handler, ScpiError, number
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["SimulatedKeysightDaq"]

_OVERLOAD = 9.9e37
_INFINITE_COUNT = 9.90000200e37
_NOT_A_NUMBER = 9.91e37
_BEYOND_RANGE = 1.2
_RANGES_V = (0.1, 1.0, 10.0, 100.0, 300.0)
_HIGHEST_OHM, _FIXED_OHM = 1e10, 1e7
_NPLC = (0.02, 0.2, 1.0, 2.0, 10.0, 20.0, 100.0, 200.0)
_RELAY_S = 0.0125
_DELAY_S = 0.002
_CHECK_S = 0.02
_LAST_TIME_S = 359_999.0
_MOST_SWEEPS = 50_000
_ALARMS = 20
_SCANNING, _MEMORY_FULL = 16, 4096
_VOLTAGE_OVERLOAD, _TEMPERATURE_OVERLOAD = 1, 1024

#: Channels of a module that measure voltage, and those that measure current alone.
_MODULES: dict[str, tuple[int, tuple[int, ...]]] = {
    "34901A": (20, (21, 22)),
    "34902A": (16, ()),
    "34908A": (40, ()),
    "DAQM900A": (20, ()),
    "DAQM901A": (20, (21, 22)),
    "DAQM902A": (16, ()),
    "DAQM908A": (40, ()),
}
_MODELS = {  # identification; maker, serial number and firmware of a module; readings in memory
    "34970A": ("HEWLETT-PACKARD,34970A,0,13-2-2", "HEWLETT-PACKARD", "0", "2.3", 50_000),
    "34972A": (
        "Agilent Technologies,34972A,MY49000001,1.16-1.13-02-02",
        "Agilent Technologies",
        "0",
        "2.3",
        50_000,
    ),
    "DAQ970A": (
        "Keysight Technologies,DAQ970A,MY12345678,A.02.04-00.16-11.29-00.02-02-01",
        "Keysight Technologies",
        "MY00000001",
        "1.00",
        100_000,
    ),
}
_FUNCTIONS = {  # as CONF and FUNC spell it -> as FUNC? prints it, unit
    "VOLT:DC": ("VOLT", "VDC"),
    "VOLT:AC": ("VOLT:AC", "VAC"),
    "CURR:DC": ("CURR", "ADC"),
    "CURR:AC": ("CURR:AC", "AAC"),
    "RES": ("RES", "OHM"),
    "FRES": ("FRES", "OHM"),
    "FREQ": ("FREQ", "HZ"),
    "PER": ("PER", "SEC"),
    "TEMP": ("TEMP", "C"),
}
_OPEN_READS_OVERLOAD = ("RES", "FRES", "TEMP")


@dataclass
class _Channel:
    """Configuration of a channel, as after a factory reset."""

    function: str = "VOLT:DC"
    range: float | None = None  # None chooses by itself
    nplc: float = 1.0
    probe: str = "TC"
    thermocouple: str = "J"
    junction: str = "INT"
    junction_C: float = 0.0
    check: bool = False
    unit: str = "C"
    highest_impedance: bool = False
    autozero: bool = True
    delay_s: float | None = None
    scaling: bool = False
    gain: float = 1.0
    offset: float = 0.0
    upper: float = 1e15
    upper_on: bool = False
    lower: float = -1e15
    lower_on: bool = False
    alarm: int = 1


@dataclass
class _Reading:
    """One reading in memory."""

    value: float
    unit: str
    since_s: float
    at: float
    channel: int
    limit: int = 0


@dataclass
class _Format:
    """What comes with a reading."""

    alarm: bool = False
    channel: bool = False
    time: bool = False
    unit: bool = False
    absolute: bool = False


@dataclass
class _State:
    """All that a factory reset resets."""

    channels: dict[int, _Channel]
    scan_list: list[int] = field(default_factory=list)
    format: _Format = field(default_factory=_Format)
    source: str = "IMM"
    timer_s: float = 10.0
    count: float = 1
    monitored: int | None = None
    monitoring: bool = False
    closed: set[int] = field(default_factory=set)


class SimulatedKeysightDaq(ScanningInstrument):
    """Scans, monitors and watches limits.

    Parameters
    ----------
    terminals : Terminals
        What is wired to the channels.
    model : {"34970A", "34972A", "DAQ970A"}
        On the name plate.
    slots : dict
        Module in each slot: {100: "34901A"}.
    line_Hz : float
        Power-line frequency.
    """

    latency_s = 0.02
    queue_length = 10
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        terminals: Terminals,
        *,
        model: Literal["34970A", "34972A", "DAQ970A"] = "34970A",
        slots: dict[int, str] | None = None,
        line_Hz: float = 50.0,
    ) -> None:
        super().__init__(clock, terminals)
        self.slots = {int(slot): module for slot, module in (slots or {100: "34901A"}).items()}
        self._line_Hz = line_Hz
        self.identification, *self._module_words, self._capacity = _MODELS[model]
        self.recall = True  #: whether power-up brings back what was; in permanent memory
        self._memory: deque[_Reading] = deque()
        self._fill()
        self._to_output = False
        self._output: list[_Reading] = []
        self.commands = self._all_commands()
        self._reset_all()

    def _fill(self) -> None:
        self._overflowed = False
        self._questionable = 0
        self._alarms: deque[str] = deque()
        self._memory.clear()

    def power_on(self) -> None:
        """Bring back state, readings and scan, or do a factory reset, as `MEM:STAT:REC:AUTO` says."""
        with self._lock:
            self._forget_input()
            self._errors.clear()
            self._alarms.clear()
            if not self.recall:
                self._reset_all()
            elif self._scan is not None and self.scanning:
                for _ in range(min(self._scan.position, len(self._memory))):
                    self._memory.pop()
                self._scan.sweep_again()
                self._await_sweep()

    def reset(self) -> None:
        """Do a factory reset."""
        self._reset_all()

    def _reset_all(self) -> None:
        self._scan = None
        self._fill()
        self._state = _State({number: _Channel() for slot in self.slots for number in self._numbers(slot)})

    # --- measuring ---

    def scan_ended(self) -> None:
        """Nothing more: the readings are where they shall be."""

    def _numbers(self, slot: int) -> list[int]:
        count, currents = _MODULES.get(self.slots[slot], (0, ()))
        return [slot + n for n in (*range(1, count + 1), *currents)]

    def _measures(self, channel: int, function: str) -> bool:
        _, currents = _MODULES[self.slots[100 * (channel // 100)]]
        return (channel % 100 in currents) == function.startswith("CURR")

    def _named(self, *where: str, function: str = "") -> list[int]:
        """Channels of a list, or those of the scan list; one that can't do the function is an error."""
        if not where:
            return list(self._state.scan_list)
        found: list[int] = []
        for first, last in spans(where[0]):
            for channel in (first, last):
                self._check(channel, function)
            known = sorted(self._state.channels)
            found += [
                c for c in known if first <= c <= last and (not function or self._measures(c, function))
            ]
        return found

    def _check(self, channel: int, function: str) -> None:
        if 100 * (channel // 100) not in self.slots:
            raise ScpiError(111, "Channel list: slot number out of range")
        if channel not in self._state.channels or (function and not self._measures(channel, function)):
            raise ScpiError(112, "Channel list: channel number out of range")

    def _duration_s(self, channel: int) -> float:
        setting = self._state.channels[channel]
        cycles = setting.nplc * (2 if setting.autozero else 1)
        delay_s = _DELAY_S if setting.delay_s is None else setting.delay_s
        check_s = _CHECK_S if setting.function == "TEMP" and setting.check else 0.0
        return _RELAY_S + delay_s + cycles / self._line_Hz + check_s

    def _measure(self, channel: int) -> tuple[float, str]:
        """Reading of a channel now, with its unit."""
        setting = self._state.channels[channel]
        unit = setting.unit if setting.function == "TEMP" else _FUNCTIONS[setting.function][1]
        value = math.inf if self.broken("over_range") else self._unscaled(channel, setting)
        if math.isinf(value):
            overload = _TEMPERATURE_OVERLOAD if setting.function == "TEMP" else _VOLTAGE_OVERLOAD
            self._questionable |= overload
            return math.copysign(_OVERLOAD, value), unit
        return (setting.gain * value + setting.offset if setting.scaling else value), unit

    def _unscaled(self, channel: int, setting: _Channel) -> float:
        if setting.function == "VOLT:DC":
            return self._voltage_V(channel, setting)
        if setting.function == "TEMP" and setting.probe == "TC":
            return self._temperature(channel, setting)
        return math.inf if setting.function in _OPEN_READS_OVERLOAD else 0.0

    def _voltage_V(self, channel: int, setting: _Channel) -> float:
        ranges_V = _RANGES_V if setting.range is None else (setting.range,)
        value_V = 0.0
        for range_V in ranges_V:
            high = setting.highest_impedance and range_V <= 10.0
            value_V = self._terminals.voltage_V(channel, _HIGHEST_OHM if high else _FIXED_OHM)
            if abs(value_V) <= _BEYOND_RANGE * range_V:
                return value_V
        return math.copysign(math.inf, value_V)

    def _temperature(self, channel: int, setting: _Channel) -> float:
        if setting.check and self._terminals.is_open(channel):
            return math.inf
        value_C = self._terminals.temperature_C(channel, setting.thermocouple)
        if not -270.0 <= value_C <= 1820.0:
            return math.copysign(math.inf, value_C)
        return {"C": value_C, "F": 1.8 * value_C + 32.0, "K": value_C + 273.15}[setting.unit]

    def _take(self, channel: int, at_s: float) -> None:
        assert self._scan is not None
        value, unit = self._measure(channel)
        since_s = at_s - self._scan.began_s
        reading = _Reading(value, unit, since_s, self._scan.began_at + since_s, channel)
        self._watch(reading)
        if self._to_output:
            self._output.append(reading)
            return
        if len(self._memory) >= self._capacity:
            self._memory.popleft()
            self._overflowed = True
        self._memory.append(reading)

    def _watch(self, reading: _Reading) -> None:
        setting = self._state.channels[reading.channel]
        if setting.upper_on and reading.value > setting.upper:
            reading.limit = 2
        elif setting.lower_on and reading.value < setting.lower:
            reading.limit = 1
        if reading.limit:
            every = _Format(alarm=True, channel=True, time=True, unit=True, absolute=True)
            if len(self._alarms) < _ALARMS:
                self._alarms.append(f"{_show(reading, every)},{setting.alarm}")

    def _start(self, *, to_output: bool) -> None:
        if self.scanning or self.broken("busy"):
            raise ScpiError(-213)
        if not self._state.scan_list:
            raise ScpiError(113, "Channel list: empty scan list")
        self._fill()
        self._to_output, self._output = to_output, []
        state = self._state
        self.begin_scan(
            Sweeps(
                self.clock,
                [(channel, self._duration_s(channel)) for channel in state.scan_list],
                self._take,
                interval_s=state.timer_s if state.source == "TIM" else 0.0,
                count=state.count,
                triggered=state.source in ("BUS", "EXT"),
            )
        )

    def _abort(self) -> None:
        if self._scan is not None:
            self.catch_up()
            self._scan.end()

    def _read(self) -> str:
        self._start(to_output=True)
        raise HeldUntilScanned(lambda: ",".join(self._shown(self._output)))

    def _fetch(self) -> str:
        if self.scanning and not self._to_output:
            raise HeldUntilScanned(self._fetched)
        return self._fetched()

    def _fetched(self) -> str:
        if not self._memory:
            raise ScpiError(-230)
        return ",".join(self._shown(self._memory))

    def _read_and_erase(self, word: str = "100000") -> str:
        wanted = int(number(word, 1, 100_000))
        taken = [self._memory.popleft() for _ in range(min(wanted, len(self._memory)))]
        self._overflowed = False
        return _block(",".join(self._shown(taken)))

    def _remove(self, word: str) -> str:
        wanted = int(number(word, 1, len(self._memory)))
        return ",".join(self._shown([self._memory.popleft() for _ in range(wanted)]))

    def _shown(self, readings: deque[_Reading] | list[_Reading]) -> list[str]:
        return [_show(reading, self._state.format) for reading in readings]

    # --- commands ---

    def _all_commands(self) -> dict[str, Handler]:
        commands: dict[str, Handler] = {
            "*WAI": self.wait_command,
            "*OPC?": self.complete_question,
            "*TRG": self._trigger,
            ":INITiate": lambda: self._start(to_output=False),
            ":ABORt": self._abort,
            ":READ?": self._read,
            ":FETCh?": self._fetch,
            ":R?": self._read_and_erase,
            ":DATA:POINts?": lambda: f"{len(self._memory):+d}",
            ":DATA:REMove?": self._remove,
            ":ROUTe:SCAN": self._set_scan_list,
            ":ROUTe:SCAN?": lambda: _block(_listed(self._state.scan_list)),
            ":ROUTe:SCAN:SIZE?": lambda: f"{len(self._state.scan_list):+d}",
            ":ROUTe:CLOSe": lambda where: self._state.closed.update(self._named(where)),
            ":ROUTe:OPEN": lambda where: self._state.closed.difference_update(self._named(where)),
            ":ROUTe:CLOSe?": lambda where: ",".join(
                str(int(channel in self._state.closed)) for channel in self._named(where)
            ),
            ":ROUTe:DONE?": lambda: "1",
            ":ROUTe:MONitor": self._set_monitored,
            ":ROUTe:MONitor?": lambda: _block(
                _listed([] if self._state.monitored is None else [self._state.monitored])
            ),
            ":ROUTe:MONitor:STATe": lambda word: setattr(self._state, "monitoring", _switch(word)),
            ":ROUTe:MONitor:STATe?": lambda: str(int(self._state.monitoring)),
            ":ROUTe:MONitor:DATA?": self._monitor,
            ":TRIGger:SOURce": self._set_source,
            ":TRIGger:SOURce?": lambda: self._state.source,
            ":TRIGger:TIMer": self._set_timer,
            ":TRIGger:TIMer?": lambda: _number(self._state.timer_s),
            ":TRIGger:COUNt": self._set_count,
            ":TRIGger:COUNt?": lambda: _number(min(self._state.count, _INFINITE_COUNT)),
            ":STATus:OPERation:CONDition?": lambda: f"{self._operation():+d}",
            ":STATus:OPERation[:EVENt]?": lambda: f"{self._operation():+d}",
            ":STATus:QUEStionable:CONDition?": lambda: f"{self._questionable_now():+d}",
            ":STATus:QUEStionable[:EVENt]?": self._questionable_event,
            ":STATus:PRESet": lambda: None,
            ":SYSTem:ERRor?": self._error,
            ":SYSTem:ERRor[:NEXT]?": self._error,
            ":SYSTem:ALARm?": self._next_alarm,
            ":SYSTem:CTYPe?": self._module_type,
            ":SYSTem:CPON": self._reset_module,
            ":SYSTem:PRESet": self._preset,
            ":SYSTem:VERSion?": lambda: "1994.0",
            ":SYSTem:DATE?": lambda: self._clock_says("+%Y,+%m,+%d"),
            ":SYSTem:TIME?": lambda: self._clock_says("%H,%M,%S.000"),
            ":SYSTem:TIME:SCAN?": self._scan_time,
            ":SYSTem:REMote": lambda: None,
            ":SYSTem:LOCal": lambda: None,
            ":MEMory:STATe:RECall:AUTO": lambda word: setattr(self, "recall", _switch(word)),
            ":MEMory:STATe:RECall:AUTO?": lambda: str(int(self.recall)),
            ":INSTrument:DMM?": lambda: "1",
            ":INSTrument:DMM:INSTalled?": lambda: "1",
            ":CONFigure?": lambda *where: ",".join(map(self._configuration, self._named(*where))),
        }
        for name, header in (
            ("alarm", "ALARm"),
            ("channel", "CHANnel"),
            ("time", "TIME"),
            ("unit", "UNIT"),
        ):
            commands |= self._format_commands(name, f":FORMat:READing:{header}")
        commands |= {
            ":FORMat:READing:TIME:TYPE": self._set_time_type,
            ":FORMat:READing:TIME:TYPE?": lambda: "ABS" if self._state.format.absolute else "REL",
        }
        for alarm in range(1, 5):
            commands |= self._alarm_commands(alarm)
        return commands | self._function_commands() | self._channel_commands()

    def _function_commands(self) -> dict[str, Handler]:
        headers = {
            "VOLT:DC": ":VOLTage[:DC]",
            "VOLT:AC": ":VOLTage:AC",
            "CURR:DC": ":CURRent[:DC]",
            "CURR:AC": ":CURRent:AC",
            "RES": ":RESistance",
            "FRES": ":FRESistance",
            "FREQ": ":FREQuency",
            "PER": ":PERiod",
            "TEMP": ":TEMPerature",
        }
        commands: dict[str, Handler] = {}
        for function, header in headers.items():
            commands[f":CONFigure{header}"] = self._configure(function)
            commands[f":MEASure{header}?"] = self._measure_at_once(function)
            if function != "TEMP":
                commands |= self._setting(f"[:SENSe]{header}:RANGe", "range", _range, _show_range)
                commands |= self._setting(
                    f"[:SENSe]{header}:RANGe:AUTO",
                    "range",
                    lambda word: None if _switch(word) else 10.0,
                    lambda value: str(int(value is None)),
                )
            if function not in ("VOLT:AC", "CURR:AC", "FREQ", "PER"):
                commands |= self._setting(f"[:SENSe]{header}:NPLCycles", "nplc", _nplc, _number)
        return commands

    def _channel_commands(self) -> dict[str, Handler]:
        couple = "[:SENSe]:TEMPerature:TRANsducer:TCouple"
        commands: dict[str, Handler] = {}
        for header, name, parse, show in (
            ("[:SENSe]:TEMPerature:TRANsducer:TYPE", "probe", _word("TC", "RTD", "FRTD", "THER"), str),
            (f"{couple}:TYPE", "thermocouple", _word(*"BEJKNRST"), str),
            (f"{couple}:CHECk", "check", _switch, _show_switch),
            (f"{couple}:RJUNction:TYPE", "junction", _word("INT", "EXT", "FIX"), str),
            (f"{couple}:RJUNction", "junction_C", lambda word: number(word, -20, 80), _number),
            (":UNIT:TEMPerature", "unit", _word("C", "F", "K"), str),
            (":INPut:IMPedance:AUTO", "highest_impedance", _switch, _show_switch),
            ("[:SENSe]:VOLTage[:DC]:IMPedance:AUTO", "highest_impedance", _switch, _show_switch),
            ("[:SENSe]:ZERO:AUTO", "autozero", _switch, _show_switch),
            (":ROUTe:CHANnel:DELay", "delay_s", lambda word: number(word, 0, 60), _show_delay),
            (":ROUTe:CHANnel:DELay:AUTO", "delay_s", _auto_delay, lambda value: str(int(value is None))),
            (":CALCulate:SCALe:STATe", "scaling", _switch, _show_switch),
            (":CALCulate:SCALe:GAIN", "gain", number, _number),
            (":CALCulate:SCALe:OFFSet", "offset", number, _number),
            (":CALCulate:LIMit:UPPer", "upper", number, _number),
            (":CALCulate:LIMit:UPPer:STATe", "upper_on", _switch, _show_switch),
            (":CALCulate:LIMit:LOWer", "lower", number, _number),
            (":CALCulate:LIMit:LOWer:STATe", "lower_on", _switch, _show_switch),
        ):
            commands |= self._setting(header, name, parse, show)
        # The junction's fixed temperature has a name of its own on the 34970A.
        commands |= self._setting(
            f"{couple}:RJUNction:FIXed", "junction_C", lambda word: number(word, -20, 80), _number
        )
        commands["[:SENSe]:FUNCtion"] = self._set_function
        commands["[:SENSe]:FUNCtion?"] = lambda *where: ",".join(
            f'"{_FUNCTIONS[self._state.channels[channel].function][0]}"' for channel in self._named(*where)
        )
        return commands

    def _setting(
        self, header: str, name: str, parse: Callable[[str], object], show: Callable[..., str]
    ) -> dict[str, Handler]:
        """Command and query of a setting that each channel has."""

        def change(word: str, *where: str) -> None:
            self._refuse_while_scanning()
            value = parse(word)
            for channel in self._named(*where):
                setattr(self._state.channels[channel], name, value)

        def tell(*where: str) -> str:
            return ",".join(show(getattr(self._state.channels[c], name)) for c in self._named(*where))

        return {header: change, f"{header}?": tell}

    def _format_commands(self, name: str, header: str) -> dict[str, Handler]:
        return {
            header: lambda word: setattr(self._state.format, name, _switch(word)),
            f"{header}?": lambda: str(int(getattr(self._state.format, name))),
        }

    def _alarm_commands(self, alarm: int) -> dict[str, Handler]:
        header = f":OUTPut:ALARm{alarm}:SOURce" if alarm > 1 else ":OUTPut:ALARm[1]:SOURce"

        def assign(where: str) -> None:
            for channel in self._named(where):
                self._state.channels[channel].alarm = alarm

        def assigned() -> str:
            return _block(_listed([c for c, s in self._state.channels.items() if s.alarm == alarm]))

        return {header: assign, f"{header}?": assigned}

    def _configure(self, function: str) -> Handler:
        def configure(*words: str) -> None:
            self._refuse_while_scanning()
            *parameters, where = words or ("",)
            channels = self._named(where, function=function)
            setting = _Channel(function=function)
            if function == "TEMP":
                _set_probe(setting, parameters)
            elif parameters:
                setting.range = _range(parameters[0])
            for channel in channels:
                self._state.channels[channel] = _Channel(**vars(setting))
            self._state.scan_list = sorted(set(channels))
            self._state.format = _Format(absolute=self._state.format.absolute)
            self._state.source, self._state.count = "IMM", 1

        return configure

    def _measure_at_once(self, function: str) -> Handler:
        configure = self._configure(function)

        def measure(*words: str) -> str:
            configure(*words)
            return self._read()

        return measure

    def _refuse_while_scanning(self) -> None:
        if self.scanning:
            raise ScpiError(-221)

    def _set_function(self, word: str, *where: str) -> None:
        self._refuse_while_scanning()
        wanted = word.strip("\"'").upper()
        found = {"VOLT": "VOLT:DC", "CURR": "CURR:DC"}.get(wanted, wanted)
        if found not in _FUNCTIONS:
            raise ScpiError(-224)
        for channel in self._named(*where, function=found):
            self._state.channels[channel] = _Channel(function=found)

    def _set_scan_list(self, where: str) -> None:
        self._refuse_while_scanning()
        self._state.scan_list = sorted(set(self._named(where)))

    def _set_monitored(self, where: str) -> None:
        (channel,) = self._named(where)
        self._state.monitored = channel

    def _monitor(self) -> str:
        if not self._state.monitoring or self._state.monitored is None:
            return _number(_NOT_A_NUMBER)
        return _number(self._measure(self._state.monitored)[0])

    def _set_source(self, word: str) -> None:
        self._refuse_while_scanning()
        self._state.source = _word("BUS", "IMM", "EXT", "TIM")(word)

    def _set_timer(self, word: str) -> None:
        self._refuse_while_scanning()
        self._state.timer_s = round(number(word, 0, _LAST_TIME_S, MIN=0.0, MAX=_LAST_TIME_S), 3)

    def _set_count(self, word: str) -> None:
        self._refuse_while_scanning()
        count = number(
            word, 1, _MOST_SWEEPS, MIN=1.0, MAX=float(_MOST_SWEEPS), INF=math.inf, INFINITY=math.inf
        )
        self._state.count = count

    def _set_time_type(self, word: str) -> None:
        self._state.format.absolute = _word("ABS", "REL")(word) == "ABS"

    def _trigger(self) -> None:
        if not self.scanning or self._scan is None or self._state.source != "BUS":
            raise ScpiError(-211)
        self._scan.trigger()
        self._await_sweep()

    def _operation(self) -> int:
        return _SCANNING if self.scanning or self.broken("busy") else 0

    def _questionable_now(self) -> int:
        return self._questionable | (_MEMORY_FULL if self._overflowed else 0)

    def _questionable_event(self) -> str:
        now, self._questionable = self._questionable_now(), 0
        return f"{now:+d}"

    def _error(self) -> str:
        if self.broken("error") and not self._errors:
            return self.error_entry(501, "I/O processor: isolator framing error")
        return self._next_error()

    def error_entry(self, code: int, text: str) -> str:
        """Write an entry of the error queue, with a sign."""
        return f'{code:+d},"{text}"'

    def _next_alarm(self) -> str:
        empty = f"{_number(0.0)} ,0000,00,00,00,00,00.000,000,0,0"
        return self._alarms.popleft() if self._alarms else empty

    def _module_type(self, word: str) -> str:
        slot = int(number(word))
        if slot not in (100, 200, 300):
            raise ScpiError(-222)
        maker, serial, firmware = self._module_words
        module = self.slots.get(slot, "")
        return f"{maker},{module},{serial},{firmware}" if module else f"{maker},0,0,0"

    def _reset_module(self, word: str) -> None:
        slots = list(self.slots) if word.upper() == "ALL" else [int(number(word, 100, 300))]
        for slot in slots:
            if slot in self.slots:
                self._state.channels.update({n: _Channel() for n in self._numbers(slot)})

    def _preset(self) -> None:
        self._scan = None
        self._fill()

    def _clock_says(self, layout: str) -> str:
        return datetime.fromtimestamp(self.clock.now(), UTC).strftime(layout)

    def _scan_time(self) -> str:
        at = self._scan.began_at if self._scan is not None else 0.0
        return f"{_date(at)}"

    def _configuration(self, channel: int) -> str:
        setting = self._state.channels[channel]
        printed = _FUNCTIONS[setting.function][0]
        if setting.function == "TEMP":
            return f'"{printed} {setting.probe},{setting.thermocouple}"'
        return f'"{printed} {_show_range(setting.range)}"'


def _show(reading: _Reading, wanted: _Format) -> str:
    words = [_number(reading.value) + (f" {reading.unit}" if wanted.unit else "")]
    if wanted.time:
        words.append(_date(reading.at) if wanted.absolute else f"{reading.since_s:011.3f}")
    if wanted.channel:
        words.append(f"{reading.channel:03d}")
    if wanted.alarm:
        words.append(str(reading.limit))
    return ",".join(words)


def _date(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y,%m,%d,%H,%M,%S.") + f"{moment.microsecond // 1000:03d}"


def _number(value: float) -> str:
    return f"{value:+.8E}"


def _block(text: str) -> str:
    size = str(len(text))
    return f"#{len(size)}{size}{text}"


def _listed(channels: list[int]) -> str:
    return "(@" + ",".join(map(str, channels)) + ")"


def _switch(word: str) -> bool:
    if word.upper() not in ("ON", "OFF", "0", "1"):
        raise ScpiError(-224)
    return word.upper() in ("ON", "1")


def _show_switch(value: bool) -> str:
    return str(int(value))


def _word(*allowed: str) -> Callable[[str], str]:
    """Parse one of some words, in short form or longer."""

    def parse(word: str) -> str:
        for short in allowed:
            if word.upper() == short or (len(short) >= 3 and word.upper().startswith(short)):
                return short
        raise ScpiError(-224)

    return parse


def _range(word: str) -> float | None:
    if word.upper() in ("AUTO", "DEF"):
        return None
    value = number(word, 0.0, _RANGES_V[-1], MIN=_RANGES_V[0], MAX=_RANGES_V[-1])
    return next(limit for limit in _RANGES_V if value <= limit)


def _show_range(value: float | None) -> str:
    return _number(10.0 if value is None else value)


def _nplc(word: str) -> float:
    value = number(word, 0.0, _NPLC[-1], MIN=_NPLC[0], MAX=_NPLC[-1])
    return next(limit for limit in _NPLC if value <= limit)


def _show_delay(value: float | None) -> str:
    return _number(_DELAY_S if value is None else value)


def _auto_delay(word: str) -> float | None:
    return None if _switch(word) else _DELAY_S


def _set_probe(setting: _Channel, parameters: list[str]) -> None:
    if parameters:
        setting.probe = (
            "TC" if parameters[0].upper() == "DEF" else _word("TC", "RTD", "FRTD", "THER")(parameters[0])
        )
    if len(parameters) > 1 and setting.probe == "TC" and parameters[1].upper() != "DEF":
        setting.thermocouple = _word(*"BEJKNRST")(parameters[1])
