"""Keithley DAQ6510 with multiplexer modules 7700, 7702 or 7708, SCPI command set.

Sources: the maker's examples (tektronix/keithley: scans of temperature and resistance, monitor), the
clients pymeasure, keithley-tempcontrol and two others (`SYST:CARD1:IDN?` of a 7700, `TRAC:DATA?` with CHAN,
READ, REL, three words of `ROUT:SCAN:STAT?`), reference manuals of the 2450, 2461 and DMM7510, of the same
family and firmware (`TRIG:STAT?`, `TRAC:DATA?`, error queue, input resistance).

From memory, not verified: the words of `ROUT:SCAN:STAT?`, semicolons between the replies of several
channels, what an empty slot answers, error -213 for a second start, -221 for settings changed while a scan
runs or for a function that the channel does not have, 1115 for a buffer that exists, that a user's buffer
fills once. Placeholders: time of a relay, three integrations a reading with autozero. Left out: the trigger
model's blocks, limits and statistics, digital and totalizer channels, the TSP command set.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from sim_devices.instruments.scanning import HeldUntilScanned, ScanningInstrument, Sweeps, Terminals, spans
from sim_devices.scpi import Handler, ScpiError, number
from sim_devices.wire import Breakdown
from ssblab.clock import Clock

__all__ = ["SimulatedKeithleyDaq6510"]

_OVERFLOW = 9.9e37
_BEYOND_RANGE = 1.2
_HIGHEST_OHM, _FIXED_OHM = 1e10, 1e7
_RELAY_S = 0.01
_INTEGRATIONS = 3  # signal, zero and reference
_LONGEST_INTERVAL_S = 100e3
_SMALLEST_BUFFER, _LARGEST_BUFFER = 10, 7_000_000
_DEFAULT_BUFFER = 100_000

_MODULES = {
    "7700": ("7700,20Ch Mux w/CJC,1.0.0a,01234567", 20),
    "7702": ("7702,40Ch Mux,1.0.0a,01234568", 40),
    "7708": ("7708,40Ch Mux w/CJC,1.0.0a,01234569", 40),
}
_RANGES = {
    "VOLT:DC": (0.1, 1.0, 10.0, 100.0, 1000.0),
    "VOLT:AC": (0.1, 1.0, 10.0, 100.0, 750.0),
    "CURR:DC": (10e-6, 100e-6, 1e-3, 10e-3, 0.1, 1.0, 3.0),
    "CURR:AC": (100e-6, 1e-3, 10e-3, 0.1, 1.0, 3.0),
    "RES": (10.0, 100.0, 1e3, 10e3, 100e3, 1e6, 10e6, 100e6),
    "FRES": (1.0, 10.0, 100.0, 1e3, 10e3, 100e3, 1e6, 10e6, 100e6),
}
_HEADERS = {
    "VOLT:DC": ":VOLTage[:DC]",
    "VOLT:AC": ":VOLTage:AC",
    "CURR:DC": ":CURRent[:DC]",
    "CURR:AC": ":CURRent:AC",
    "RES": ":RESistance",
    "FRES": ":FRESistance",
    "TEMP": ":TEMPerature",
}
_UNITS = {
    "VOLT:DC": "Volt DC",
    "VOLT:AC": "Volt AC",
    "CURR:DC": "Amp DC",
    "CURR:AC": "Amp AC",
    "RES": "Ohm",
    "FRES": "Ohm",
    "TEMP": "Celsius",
}
_NAMES = {
    **{name: name for name in _UNITS},
    "VOLT": "VOLT:DC",
    "VOLTAGE": "VOLT:DC",
    "VOLTAGE:DC": "VOLT:DC",
    "VOLTAGE:AC": "VOLT:AC",
    "CURR": "CURR:DC",
    "CURRENT": "CURR:DC",
    "CURRENT:DC": "CURR:DC",
    "CURRENT:AC": "CURR:AC",
    "RESISTANCE": "RES",
    "FRESISTANCE": "FRES",
    "TEMPERATURE": "TEMP",
}


@dataclass
class _Function:
    """Settings of a function, as after a reset."""

    range: float = 10.0
    auto: bool = True
    nplc: float = 1.0
    autozero: bool = True
    impedance: str = "MOHM10"
    transducer: str = "TC"
    thermocouple: str = "K"
    junction: str = "SIM"
    junction_C: float = 23.0
    unit: str = "CELS"
    open_detection: bool = True
    offset_compensation: str = "OFF"
    averaging: bool = False
    auto_delay: bool = True
    line_sync: bool = False
    relative: bool = False
    relative_to: float = 0.0


@dataclass
class _Reading:
    """One reading in a buffer."""

    value: float
    unit: str
    channel: str
    at: float


@dataclass
class _Buffer:
    """A reading buffer; one that fills once keeps what it has when it is full."""

    size: int
    once: bool
    readings: deque[_Reading] = field(default_factory=deque)

    def add(self, reading: _Reading) -> None:
        if len(self.readings) >= self.size:
            if self.once:
                return
            self.readings.popleft()
        self.readings.append(reading)


@dataclass
class _State:
    """All that a reset resets."""

    functions: dict[int, str]  # of each channel, and of the terminals at the front (0)
    settings: dict[tuple[int, str], _Function] = field(default_factory=dict)
    buffers: dict[str, _Buffer] = field(
        default_factory=lambda: {
            name: _Buffer(_DEFAULT_BUFFER, False) for name in ("defbuffer1", "defbuffer2")
        }
    )
    scan_list: list[int] = field(default_factory=list)
    scan_buffer: str = "defbuffer1"
    scans: int = 1
    interval_s: float = 0.0
    stimulus: str = "NONE"
    closed: int | None = None
    delays_s: dict[int, float] = field(default_factory=dict)
    outcome: str = "EMPTY"
    format: str = "ASC"
    digits: int = 0


class SimulatedKeithleyDaq6510(ScanningInstrument):
    """Scans channels into reading buffers, or measures at the channel that is closed.

    Parameters
    ----------
    terminals : Terminals
        What is wired to the channels.
    slots : dict
        Module in each slot: {1: "7700"}.
    front : bool
        Whether its TERMINALS switch is at FRONT: then no channel is measured.
    line_Hz : float
        Power-line frequency.
    """

    latency_s = 0.01
    identification = "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04591126,1.7.12b"
    breakdowns: tuple[Breakdown, ...] = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        terminals: Terminals,
        *,
        slots: dict[int, Literal["7700", "7702", "7708"]] | None = None,
        front: bool = False,
        line_Hz: float = 50.0,
    ) -> None:
        super().__init__(clock, terminals)
        self.slots = {int(slot): module for slot, module in (slots or {1: "7700"}).items()}
        self.front = front
        self._line_Hz = line_Hz
        self.commands = self._all_commands()
        self.power_on()

    def power_on(self) -> None:
        """Forget all settings, readings and scans."""
        with self._lock:
            self._forget_input()
            self._errors.clear()
            self._reset_all()

    def reset(self) -> None:
        """Do what `*RST` does: settings to their defaults, buffers of the user gone."""
        self._reset_all()

    def _reset_all(self) -> None:
        self._scan = None
        self._state = _State({0: "VOLT:DC", **{channel: "VOLT:DC" for channel in self._channels()}})

    def error_entry(self, code: int, text: str) -> str:
        """Write an entry of the error queue: code, and text, type and time between quotes."""
        if code == 0:
            return f'0,"{text};0;0 0"'
        at = datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
        return f'{code},"{text};1;{at}"'

    # --- measuring ---

    def _channels(self) -> list[int]:
        return [100 * slot + n + 1 for slot, module in self.slots.items() for n in range(_MODULES[module][1])]

    def _named(self, *where: str) -> list[int]:
        """Channels of a list, or the terminals (0) without one."""
        if not where:
            return [0]
        found = []
        for first, last in spans(where[0]):
            if not {first, last} <= self._state.functions.keys() - {0}:
                raise ScpiError(-222, "Parameter data out of range; channel list")
            found += [channel for channel in self._channels() if first <= channel <= last]
        return found

    def _settings(self, channel: int, function: str = "") -> _Function:
        key = channel, function or self._state.functions[channel]
        return self._state.settings.setdefault(key, _Function())

    def _duration_s(self, channel: int) -> float:
        settings = self._settings(channel)
        integrations = _INTEGRATIONS if settings.autozero else 1
        return (
            _RELAY_S + self._state.delays_s.get(channel, 0.0) + integrations * settings.nplc / self._line_Hz
        )

    def _measure(self, channel: int) -> _Reading:
        """Reading of a channel now."""
        function = self._state.functions[channel]
        settings = self._settings(channel)
        if self.front:
            channel = 0
        value = math.inf if self.broken("over_range") else self._value(channel, function, settings)
        if math.isinf(value):
            value = math.copysign(_OVERFLOW, value)
        elif settings.relative:
            value -= settings.relative_to
        name = ("Front" if self.front else "Rear") if channel == 0 else str(channel)
        return _Reading(value, _UNITS[function], name, self.clock.now())

    def _value(self, channel: int, function: str, settings: _Function) -> float:
        if function == "VOLT:DC":
            return self._voltage_V(channel, settings)
        if function == "TEMP" and settings.transducer == "TC":
            if settings.open_detection and self._terminals.is_open(channel):
                return math.inf
            value_C = self._terminals.temperature_C(channel, settings.thermocouple)
            if not -270.0 <= value_C <= 1820.0:
                return math.copysign(math.inf, value_C)
            return {"CELS": value_C, "FAHR": 1.8 * value_C + 32.0, "KELV": value_C + 273.15}[settings.unit]
        return math.inf if function in ("RES", "FRES", "TEMP") else 0.0

    def _voltage_V(self, channel: int, settings: _Function) -> float:
        value_V = 0.0
        for range_V in _RANGES["VOLT:DC"] if settings.auto else (settings.range,):
            high = settings.impedance == "AUTO" and range_V <= 10.0
            value_V = self._terminals.voltage_V(channel, _HIGHEST_OHM if high else _FIXED_OHM)
            if abs(value_V) <= _BEYOND_RANGE * range_V:
                return value_V
        return math.copysign(math.inf, value_V)

    def _take(self, channel: int, at_s: float) -> None:
        assert self._scan is not None
        reading = self._measure(channel)
        at = self._scan.began_at + at_s - self._scan.began_s
        if (buffer := self._state.buffers.get(self._state.scan_buffer)) is not None:
            buffer.add(replace(reading, at=at))

    def scan_ended(self) -> None:
        """Say that the scan was a success."""
        self._state.outcome = "SUCCESS"

    def _initiate(self) -> None:
        if self.scanning or self.broken("busy"):
            raise ScpiError(-213)
        state = self._state
        channels = state.scan_list or [0]
        self.begin_scan(
            Sweeps(
                self.clock,
                [(channel, self._duration_s(channel)) for channel in channels],
                self._take,
                interval_s=state.interval_s,
                count=state.scans or math.inf,
            )
        )
        state.outcome = "RUNNING"

    def _abort(self) -> None:
        if self._scan is not None and self.scanning:
            self.catch_up()
            if self.scanning:
                self._scan.end()
                self._state.outcome = "ABORTED"

    def _scan_state(self) -> str:
        if self.broken("busy"):
            return "RUNNING;1;1"
        scan = self._scan
        done, position = (scan.done, scan.position) if scan is not None else (0, 0)
        return f"{self._state.outcome};{done};{position}"

    def _trigger_state(self) -> str:
        state = "IDLE"
        if self.broken("busy"):
            state = "RUNNING"
        elif self._scan is not None and self.scanning:
            state = "WAITING" if self._scan.waiting else "RUNNING"
        elif self._state.outcome == "ABORTED":
            state = "ABORTED"
        return f"{state};{state};{1 if state == 'IDLE' else 6}"

    def _read(self, *words: str) -> str:
        """Measure at the terminals, or at the channel that is closed, into a buffer."""
        if self.scanning or self.broken("busy"):
            raise ScpiError(-221)
        name, elements = self._buffer_and_elements(words)
        channel = self._state.closed or 0
        at_s = self.clock.monotonic() + self._duration_s(channel)
        buffer = self._buffer(name)

        def take(_: int, __: float) -> None:
            buffer.add(self._measure(channel))

        # A reading is a scan of one, so that what comes after it waits for it.
        self.begin_scan(Sweeps(self.clock, [(channel, at_s - self.clock.monotonic())], take))
        raise HeldUntilScanned(lambda: self._shown([buffer.readings[-1]], elements, buffer))

    def _measure_at_once(self, function: str) -> Handler:
        def measure(*words: str) -> str:
            self._set_function_of([0], function)
            return self._read(*words)

        return measure

    # --- buffers ---

    def _buffer(self, word: str) -> _Buffer:
        name = word.strip("\"'")
        if name not in self._state.buffers:
            raise ScpiError(-224, f"Illegal parameter value; no buffer {name}")
        return self._state.buffers[name]

    def _make_buffer(self, word: str, size: str = str(_DEFAULT_BUFFER), *style: str) -> None:
        name = word.strip("\"'")
        if name in self._state.buffers:
            raise ScpiError(1115, "Parameter error: TRACe:MAKE cannot take an existing reading buffer name")
        wanted = int(number(size, 0, _LARGEST_BUFFER)) or _LARGEST_BUFFER
        self._state.buffers[name] = _Buffer(max(wanted, _SMALLEST_BUFFER), once=True)

    def _delete_buffer(self, word: str) -> None:
        self._buffer(word)
        if word.strip("\"'").startswith("defbuffer"):
            raise ScpiError(-221)
        del self._state.buffers[word.strip("\"'")]

    def _clear_buffer(self, word: str = "defbuffer1") -> None:
        self._buffer(word).readings.clear()

    def _resize_buffer(self, size: str, word: str = "defbuffer1") -> None:
        buffer = self._buffer(word)
        buffer.size = int(number(size, _SMALLEST_BUFFER, _LARGEST_BUFFER))
        buffer.readings.clear()

    def _set_fill(self, mode: str, word: str = "defbuffer1") -> None:
        self._buffer(word).once = _word("ONCE", "CONT")(mode) == "ONCE"

    def _data(self, first: str, last: str, *words: str) -> str:
        name, elements = self._buffer_and_elements(words)
        buffer = self._buffer(name)
        begin, end = (int(number(word, 1, len(buffer.readings))) for word in (first, last))
        if begin > end:
            raise ScpiError(-222)
        return self._shown(list(buffer.readings)[begin - 1 : end], elements, buffer)

    def _buffer_and_elements(self, words: tuple[str, ...]) -> tuple[str, list[str]]:
        if words and words[0][:1] in "\"'":
            return words[0], [_element(word) for word in words[1:]] or ["READ"]
        return "defbuffer1", [_element(word) for word in words] or ["READ"]

    def _shown(self, readings: list[_Reading], elements: list[str], buffer: _Buffer) -> str:
        began = buffer.readings[0].at
        return ",".join(self._say(reading, element, began) for reading in readings for element in elements)

    def _say(self, reading: _Reading, element: str, began: float) -> str:
        moment = datetime.fromtimestamp(reading.at, UTC)
        match element:
            case "READ":
                return self._number(reading.value)
            case "REL":
                return f"{reading.at - began:.6f}"
            case "CHAN":
                return reading.channel
            case "UNIT":
                return reading.unit
            case "FORM":
                return f"{reading.value:+.6f} {reading.unit}"
            case "DATE":
                return moment.strftime("%m/%d/%Y")
            case "TIME":
                return moment.strftime("%H:%M:%S")
            case "TST":
                return moment.strftime("%m/%d/%Y %H:%M:%S.%f") + "000"
            case "SEC":
                return str(int(reading.at))
            case "FRAC":
                return f"{reading.at % 1:.9f}"
        return "0"

    def _number(self, value: float) -> str:
        return f"{value:.{max(self._state.digits - 1, 0) if self._state.digits else 6}E}"

    # --- commands ---

    def _all_commands(self) -> dict[str, Handler]:
        state = self._scan_state
        commands: dict[str, Handler] = {
            "*WAI": self.wait_command,
            "*OPC?": self.complete_question,
            "*LANG": lambda word: None if word.upper() == "SCPI" else _refuse(-224),
            "*LANG?": lambda: "SCPI",
            ":INITiate[:IMMediate]": self._initiate,
            ":ABORt": self._abort,
            ":TRIGger:STATe?": self._trigger_state,
            ":READ?": self._read,
            ":FETCh?": self._fetch,
            ":TRACe:MAKE": self._make_buffer,
            ":TRACe:DELete": self._delete_buffer,
            ":TRACe:CLEar": self._clear_buffer,
            ":TRACe:POINts": self._resize_buffer,
            ":TRACe:POINts?": lambda word="defbuffer1": str(self._buffer(word).size),
            ":TRACe:ACTual?": lambda word="defbuffer1": str(len(self._buffer(word).readings)),
            ":TRACe:ACTual:STARt?": lambda word="defbuffer1": str(min(1, len(self._buffer(word).readings))),
            ":TRACe:ACTual:END?": lambda word="defbuffer1": str(len(self._buffer(word).readings)),
            ":TRACe:FILL:MODE": self._set_fill,
            ":TRACe:FILL:MODE?": lambda word="defbuffer1": "ONCE" if self._buffer(word).once else "CONT",
            ":TRACe:DATA?": self._data,
            ":ROUTe:SCAN[:CREate]": self._set_scan_list,
            ":ROUTe:SCAN[:CREate]?": lambda: _listed(self._state.scan_list),
            ":ROUTe:SCAN:ADD[:SINGle]": self._add_to_scan,
            ":ROUTe:SCAN:BUFFer": self._set_scan_buffer,
            ":ROUTe:SCAN:BUFFer?": lambda: self._state.scan_buffer,
            ":ROUTe:SCAN:COUNt:SCAN": self._set_scans,
            ":ROUTe:SCAN:COUNt:SCAN?": lambda: str(self._state.scans),
            ":ROUTe:SCAN:COUNt:STEP?": lambda: str(len(self._state.scan_list)),
            ":ROUTe:SCAN:INTerval": self._set_interval,
            ":ROUTe:SCAN:INTerval?": lambda: self._number(self._state.interval_s),
            ":ROUTe:SCAN:STARt:STIMulus": lambda word: setattr(self._state, "stimulus", word.upper()),
            ":ROUTe:SCAN:STARt:STIMulus?": lambda: self._state.stimulus,
            ":ROUTe:SCAN:STATe?": state,
            ":ROUTe[:CHANnel]:CLOSe": self._close,
            ":ROUTe[:CHANnel]:CLOSe?": lambda *_: _listed(
                [] if self._state.closed is None else [self._state.closed]
            ),
            ":ROUTe[:CHANnel]:OPEN": self._open,
            ":ROUTe[:CHANnel]:OPEN:ALL": lambda: setattr(self._state, "closed", None),
            ":ROUTe[:CHANnel]:STATe?": lambda where: ";".join(
                str(int(channel == self._state.closed)) for channel in self._named(where)
            ),
            ":ROUTe[:CHANnel]:DELay": self._set_delay,
            ":ROUTe[:CHANnel]:DELay?": lambda where: ";".join(
                self._number(self._state.delays_s.get(channel, 0.0)) for channel in self._named(where)
            ),
            ":ROUTe:TERMinals?": lambda: "FRON" if self.front else "REAR",
            ":FORMat[:DATA]": lambda word: setattr(self._state, "format", _word("ASC", "REAL", "SRE")(word)),
            ":FORMat[:DATA]?": lambda: self._state.format,
            ":FORMat:ASCii:PRECision": self._set_digits,
            ":FORMat:ASCii:PRECision?": lambda: str(self._state.digits),
            ":SYSTem:ERRor[:NEXT]?": self._error,
            ":SYSTem:BEEPer": lambda frequency, duration: None,
            ":SYSTem:TIME": lambda *_: None,
            ":SYSTem:TIME?": lambda *_: datetime.fromtimestamp(self.clock.now(), UTC).strftime(
                "%a %b %d %H:%M:%S %Y"
            ),
            ":STATus:PRESet": lambda: None,
            ":STATus:OPERation:CONDition?": lambda: "0",
            ":DISPlay:CLEar": lambda: None,
            ":DISPlay:SCReen": lambda word: None,
            ":DISPlay:WATCh:CHANnels": lambda *_: None,
            ":DISPlay:USER1:TEXT": lambda word: None,
            ":DISPlay:USER2:TEXT": lambda word: None,
            ":DISPlay:LIGHt:STATe": lambda word: None,
            "[:SENSe[1]]:FUNCtion[:ON]": self._set_function,
            "[:SENSe[1]]:FUNCtion[:ON]?": lambda *where: ";".join(
                f'"{self._state.functions[channel]}"' for channel in self._named(*where)
            ),
        }
        for slot in (1, 2):
            commands |= self._slot_commands(slot)
        for function, header in _HEADERS.items():
            commands |= self._function_commands(function, header)
        return commands

    def _slot_commands(self, slot: int) -> dict[str, Handler]:
        words, count = _MODULES.get(self.slots.get(slot, ""), ("Empty Slot", 0))
        return {
            f":SYSTem:CARD{slot}:IDN?": lambda: words,
            f":SYSTem:CARD{slot}:VCHannel[:STARt]?": lambda: str(100 * slot + 1 if count else 0),
            f":SYSTem:CARD{slot}:VCHannel:END?": lambda: str(100 * slot + count if count else 0),
            f":SYSTem:CARD{slot}:VMAX?": lambda: "300",
        }

    def _function_commands(self, function: str, header: str) -> dict[str, Handler]:
        commands: dict[str, Handler] = {f":MEASure{header}?": self._measure_at_once(function)}
        settings: list[tuple[str, str, Callable[[str], object], Callable[..., str]]] = [
            (":NPLCycles", "nplc", lambda word: number(word, 0.0005, 15.0), self._number),
            (":AZERo[:STATe]", "autozero", _switch, _show_switch),
            (":AVERage[:STATe]", "averaging", _switch, _show_switch),
            (":DELay:AUTO", "auto_delay", _switch, _show_switch),
            (":LINE:SYNC", "line_sync", _switch, _show_switch),
            (":RELative:STATe", "relative", _switch, _show_switch),
            (":RELative", "relative_to", number, self._number),
        ]
        if function in _RANGES:
            settings.append((":RANGe:AUTO", "auto", _switch, _show_switch))
            commands |= self._range_commands(function, header)
        if function == "VOLT:DC":
            settings.append((":INPutimpedance", "impedance", _word("AUTO", "MOHM10"), str))
        if function in ("RES", "FRES", "TEMP"):
            settings.append((":OCOMpensated", "offset_compensation", _word("ON", "OFF", "AUTO"), str))
        if function in ("FRES", "TEMP"):
            settings.append((":ODETector", "open_detection", _switch, _show_switch))
        if function == "TEMP":
            couple = ":TCouple"
            settings += [
                (":TRANsducer", "transducer", _word("TC", "THER", "RTD", "TRTD", "FRTD", "CJC"), str),
                (f"{couple}:TYPE", "thermocouple", _word(*"BEJKNRST"), str),
                (f"{couple}:RJUNction:RSELect", "junction", _word("SIM", "INT", "EXT"), str),
                (
                    f"{couple}:RJUNction:SIMulated",
                    "junction_C",
                    lambda word: number(word, 0, 65),
                    self._number,
                ),
                (":UNIT", "unit", _word("CELS", "FAHR", "KELV"), str),
            ]
        for tail, name, parse, show in settings:
            commands |= self._setting(function, f"[:SENSe[1]]{header}{tail}", name, parse, show)
        return commands

    def _setting(
        self, function: str, header: str, name: str, parse: Callable[[str], object], show: Callable[..., str]
    ) -> dict[str, Handler]:
        def change(word: str, *where: str) -> None:
            self._refuse_while_scanning()
            value = parse(word)
            for settings in self._settings_of(function, *where):
                setattr(settings, name, value)

        def tell(*where: str) -> str:
            return ";".join(show(getattr(settings, name)) for settings in self._settings_of(function, *where))

        return {header: change, f"{header}?": tell}

    def _range_commands(self, function: str, header: str) -> dict[str, Handler]:
        ranges = _RANGES[function]

        def change(word: str, *where: str) -> None:
            self._refuse_while_scanning()
            value = number(word, 0.0, ranges[-1], MIN=ranges[0], MAX=ranges[-1], DEF=ranges[-1])
            for settings in self._settings_of(function, *where):
                settings.range, settings.auto = next(r for r in ranges if value <= r), False

        def tell(*where: str) -> str:
            return ";".join(
                self._number(min(s.range, ranges[-1])) for s in self._settings_of(function, *where)
            )

        full = f"[:SENSe[1]]{header}:RANGe[:UPPer]"
        return {full: change, f"{full}?": tell}

    def _settings_of(self, function: str, *where: str) -> list[_Function]:
        channels = self._named(*where)
        if any(channel and self._state.functions[channel] != function for channel in channels):
            raise ScpiError(-221)
        return [self._settings(channel, function) for channel in channels]

    def _refuse_while_scanning(self) -> None:
        if self.scanning:
            raise ScpiError(-221)

    def _set_function(self, word: str, *where: str) -> None:
        self._refuse_while_scanning()
        name = _NAMES.get(word.strip("\"'").upper())
        if name is None:
            raise ScpiError(-224)
        self._set_function_of(self._named(*where), name)

    def _set_function_of(self, channels: list[int], function: str) -> None:
        for channel in channels:
            self._state.functions[channel] = function
            if channel:  # settings of a channel begin anew with its function
                self._state.settings[channel, function] = _Function()

    def _set_scan_list(self, where: str) -> None:
        self._refuse_while_scanning()
        self._state.scan_list = self._named(where)
        self._state.outcome = "BUILDING" if self._state.scan_list else "EMPTY"

    def _add_to_scan(self, where: str) -> None:
        self._refuse_while_scanning()
        self._state.scan_list += self._named(where)

    def _set_scan_buffer(self, word: str) -> None:
        self._refuse_while_scanning()
        self._buffer(word)
        self._state.scan_buffer = word.strip("\"'")

    def _set_scans(self, word: str) -> None:
        self._refuse_while_scanning()
        self._state.scans = int(number(word, 0, 100e6, INF=0.0, MIN=1.0, DEF=1.0))

    def _set_interval(self, word: str) -> None:
        self._refuse_while_scanning()
        self._state.interval_s = number(word, 0.0, _LONGEST_INTERVAL_S)

    def _set_digits(self, word: str) -> None:
        self._state.digits = int(number(word, 0, 16))

    def _close(self, where: str) -> None:
        (channel,) = self._named(where)
        self._state.closed = channel

    def _open(self, where: str) -> None:
        if self._state.closed in self._named(where):
            self._state.closed = None

    def _set_delay(self, word: str, where: str) -> None:
        delay_s = number(word, 0, 60)
        self._state.delays_s.update(dict.fromkeys(self._named(where), delay_s))

    def _fetch(self, *words: str) -> str:
        name, elements = self._buffer_and_elements(words)
        buffer = self._buffer(name)
        if not buffer.readings:
            raise ScpiError(-230)
        return self._shown([buffer.readings[-1]], elements, buffer)

    def _error(self) -> str:
        if self.broken("error") and not self._errors:
            return self.error_entry(-240, "Hardware error")
        return self._next_error()


def _refuse(code: int) -> None:
    raise ScpiError(code)


def _listed(channels: list[int]) -> str:
    """Channel list with ranges: "(@101:103,105)"."""
    parts: list[list[int]] = []
    for channel in channels:
        if parts and channel == parts[-1][1] + 1:
            parts[-1][1] = channel
        else:
            parts.append([channel, channel])
    return "(@" + ",".join(f"{a}:{b}" if b > a else str(a) for a, b in parts) + ")"


def _element(word: str) -> str:
    for short, long in (
        ("READ", "READING"),
        ("REL", "RELATIVE"),
        ("CHAN", "CHANNEL"),
        ("UNIT", "UNIT"),
        ("FORM", "FORMATTED"),
        ("DATE", "DATE"),
        ("TIME", "TIME"),
        ("TST", "TSTAMP"),
        ("SEC", "SECONDS"),
        ("FRAC", "FRACTIONAL"),
        ("STAT", "STATUS"),
        ("EXTR", "EXTRA"),
    ):
        if word.upper() in (short, long):
            return short
    raise ScpiError(-224)


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
