"""Simulated Hioki BT4560 battery impedance meter, and what Hioki's meters have in common.

Written from the communication manual BT4560A987 (sequential execution but for `*TRG` and `:INIT`, execution
times, `:FETCH?` answered as `+1.06571E-03`) and from what public clients send (TBMEIS, and a production
line's in C#). Registers as its sisters of the BT356x series have them: a command does not answer, a query
that fails does not answer, and the kind of error is in `*ESR?`; `:ESR0?` tells end of conversion (bit 0), end
of measurement (1) and a fault of a measurement (5).

Placeholders, for want of a page of the manual: waves per point at each rate, currents of the ranges, marks of
an overflow (1.00000E+09) and of a fault (1.00000E+10), that a changed setting ends the measurement that runs,
the limiter's level (4.2 V, set at the panel), what is kept after power-up, and the commands `:MEMory:STATe`,
`:CALibration:AUTO` and `:SYSTem:RESet`, which its sisters have.
"""

from __future__ import annotations

import cmath
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sim_devices.scpi import Handler, ScpiError, ScpiInstrument, number
from ssblab.clock import Clock

__all__ = ["Cell", "HiokiInstrument", "SimulatedBT4560"]

_COMMAND, _EXECUTION, _DEVICE, _QUERY, _POWER_ON, _COMPLETE = 0x20, 0x10, 0x08, 0x04, 0x80, 0x01
_OVERFLOW, _FAULT = 1e9, 1e10


class Cell(Protocol):
    """What the meters are connected to."""

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance at frequencies, ohm."""

    def potential_V(self) -> float:
        """Direct voltage now."""


class HiokiInstrument(ScpiInstrument):
    """Registers instead of an error queue, headers before replies, one measurement that runs beside commands.

    Settings are made by `words`, `switch` and `value`, which hold them in `settings` under their header.
    """

    line_end: ClassVar[bytes] = b"\r\n"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.settings: dict[str, str] = {}
        self._defaults: dict[str, str] = {}
        self._headers = False
        self._terminator = b"\r\n"
        self._spelling: dict[Handler, str] = {}
        self._spelled = ""  # header of the command in hand, as the manual spells it
        self._due: float | None = None
        self._pending_complete = False
        self._device_events = [0, 0, 0, 0]
        self._enables = [0, 0, 0, 0]

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer, with the terminator that was chosen."""
        for reply in super().receive(buffer):
            yield reply.removesuffix(self.line_end) + self._terminator

    def put_error(self, code: int, text: str = "") -> None:
        """Set the bit of an error's kind."""
        kinds = {1: _COMMAND, 2: _EXECUTION, 3: _DEVICE, 4: _QUERY}
        self._events |= kinds.get(-code // 100, _DEVICE)

    def power_on(self) -> None:
        """Bring settings and registers to their initial values; nothing has been measured."""
        self.settings.update(self._defaults)
        self._headers = False
        self._terminator = b"\r\n"
        self._due = None
        self._pending_complete = False
        self._events = _POWER_ON
        self._event_enable = self._request_enable = 0
        self._device_events = [0, 0, 0, 0]
        self._enables = [0, 0, 0, 0]

    def reset(self) -> None:
        """Initialise the settings; registers and the interface stay."""
        self.abort()
        self.settings.update(self._defaults)

    @abstractmethod
    def finish(self) -> None:
        """Take the result of the measurement that has run its time."""

    def update(self) -> None:
        """Let a measurement end that has run its time."""
        if self._due is not None and self.clock.monotonic() >= self._due:
            self._due = None
            self.finish()
            self._complete()

    def start(self, duration_s: float) -> None:
        """Begin a measurement beside the commands."""
        if self._due is not None:
            raise ScpiError(-211)
        self._due = self.clock.monotonic() + duration_s

    def abort(self) -> None:
        """End the measurement that runs, without result."""
        self._due = None
        self._complete()

    def left_s(self) -> float:
        """Time until the measurement that runs is over."""
        return 0.0 if self._due is None else self._due - self.clock.monotonic()

    def wait_for_end(self) -> None:
        """Have this line's reply, and all after it, come when the measurement is over."""
        if self._due is not None:
            self.takes(self.left_s())
            self._due = self.clock.monotonic()
            self.update()

    def words(self, header: str, default: str, *choices: str, changes: bool = True) -> None:
        """Add a setting with words: in the manual's spelling, the short form in capitals."""
        self._defaults[header] = default.upper()

        def put(word: str) -> None:
            for choice in choices:
                short = "".join(c for c in choice if not c.islower())
                if word.upper() in (short, choice.upper()):
                    return self._put(header, choice.upper(), changes)
            raise ScpiError(-200)

        self._add(header, put)

    def switch(self, header: str, default: str = "OFF", *, changes: bool = True) -> None:
        """Add a setting that is ON or OFF."""
        self._defaults[header] = default

        def put(word: str) -> None:
            state = {"ON": "ON", "1": "ON", "OFF": "OFF", "0": "OFF"}.get(word.upper())
            if state is None:
                raise ScpiError(-200)
            self._put(header, state, changes)

        self._add(header, put)

    def value(
        self,
        header: str,
        default: float,
        low: float,
        high: float,
        form: str = ".5E",
        *,
        off: bool = False,
        changes: bool = True,
    ) -> None:
        """Add a setting that is a number, or also OFF."""
        self._defaults[header] = "OFF" if off else format(default, form)

        def put(word: str) -> None:
            text = "OFF" if off and word.upper() == "OFF" else format(number(word, low, high), form)
            self._put(header, text, changes)

        self._add(header, put)

    def number_of(self, header: str) -> float:
        """Value of a numeric setting."""
        return float(self.settings[header])

    def is_on(self, header: str) -> bool:
        """Whether a switch is on."""
        return self.settings[header] == "ON"

    def changed(self) -> None:
        """React to a setting that changes what is measured."""
        self.abort()

    def common_hioki(self) -> dict[str, Handler]:
        """Commands that all Hioki meters have."""
        return {
            **{f":ESE{i}": self._enable(i) for i in range(4)},
            **{f":ESE{i}?": lambda i=i: str(self._enables[i]) for i in range(4)},
            **{f":ESR{i}?": lambda i=i: self._read_device_events(i) for i in range(4)},
        }

    def _put(self, header: str, text: str, changes: bool) -> None:
        if self.broken("busy"):
            raise ScpiError(-200)
        self.settings[header] = text
        if changes:
            self.changed()

    def _add(self, header: str, put: Callable[[str], None]) -> None:
        self.commands[header] = put
        self.commands[f"{header}?"] = lambda: self.settings[header]

    def _enable(self, i: int) -> Handler:
        def put(word: str) -> None:
            self._enables[i] = int(number(word, 0, 255))

        return put

    def _read_device_events(self, i: int) -> str:
        events, self._device_events[i] = self._device_events[i], 0
        return str(events)

    def _common(self) -> dict[str, Handler]:
        common = super()._common()
        for header in [header for header in common if header.startswith(":SYSTem")]:
            del common[header]
        common["*OPC?"] = self._completion
        common["*WAI"] = self.wait_for_end
        return common

    def _completion(self) -> str:
        self.wait_for_end()
        return "1"

    def _operation_complete(self) -> None:
        if self._due is None:
            self._events |= _COMPLETE
        else:
            self._pending_complete = True

    def _complete(self) -> None:
        if self._pending_complete:
            self._pending_complete = False
            self._events |= _COMPLETE

    def _clear(self) -> None:
        super()._clear()
        self._pending_complete = False
        self._device_events = [0, 0, 0, 0]

    def _read_events(self) -> str:
        if self.broken("error"):
            self._events |= _DEVICE
        return super()._read_events()

    def _handler(self, header: str) -> Handler:
        handler = super()._handler(header)
        if not self._spelling:
            self._spelling = {h: name for name, h in {**self._common(), **self.commands}.items()}
        self._spelled = self._spelling.get(handler, header)
        return handler

    def _message(self, message: str, path: str) -> tuple[str, str | None]:
        self.update()
        path, reply = super()._message(message, path)
        if reply is None or not self._headers or not self._has_header(self._spelled):
            return path, reply
        return path, f"{self._spelled.rstrip('?').upper()} {reply}"

    def _has_header(self, spelled: str) -> bool:
        return spelled.startswith(":") and not spelled.startswith((":ESR", ":FETCh", ":READ", ":MEASure?"))


class SimulatedBT4560(HiokiInstrument):
    """A BT4560 at a cell, with the ranges 3, 10 and 100 mohm.

    Parameters
    ----------
    cell : Cell
        What it measures.
    limiter_V : float
        Level of the voltage limiter, as set at the panel.
    """

    identification = "HIOKI,BT4560,141100001,V1.05"
    latency_s = 0.004
    breakdowns = ("busy", "error", "over_range")
    _currents_A: ClassVar[dict[float, float]] = {3e-3: 1.5, 10e-3: 0.5, 100e-3: 0.05}
    _waves: ClassVar[tuple[tuple[float, dict[str, int]], ...]] = (
        (66.0, {"FAST": 1, "MEDIUM": 2, "SLOW": 8}),
        (250.0, {"FAST": 2, "MEDIUM": 8, "SLOW": 32}),
        (math.inf, {"FAST": 8, "MEDIUM": 32, "SLOW": 128}),
    )
    _voltage_s: ClassVar[dict[str, float]] = {"FAST": 0.1, "MEDIUM": 0.4, "SLOW": 1.0}

    def __init__(self, clock: Clock, cell: Cell, *, limiter_V: float = 4.2) -> None:
        super().__init__(clock)
        self._cell = cell
        self._limiter_V = limiter_V
        self._rates = {"Z": "MEDIUM", "V": "MEDIUM"}
        self._armed = False
        self._result: list[float] = [_FAULT]
        self._memory: list[list[float]] = []
        self.currents_applied_A: set[float] = set()
        self._describe()
        self.power_on()

    @property
    def signal_is_on(self) -> bool:
        """Whether its current flows through the cell now."""
        self.update()
        return self.settings[":FUNCtion"] != "V" and (self._due is not None or self._free_running())

    def power_on(self) -> None:
        """Measure by itself again, with the initial settings."""
        super().power_on()
        self._rates = {"Z": "MEDIUM", "V": "MEDIUM"}
        self._armed = False
        self._result = [_FAULT]
        self._memory = []

    def reset(self) -> None:
        """Initialise within 75 ms."""
        super().reset()
        self._rates = {"Z": "MEDIUM", "V": "MEDIUM"}
        self.takes(0.075)

    def changed(self) -> None:
        """End the measurement that runs; what has been triggered must be triggered again."""
        self._armed = False
        super().changed()

    def finish(self) -> None:
        """Take the readings of the measurement that is over."""
        self._result = self._readings()
        faulty = any(value >= _OVERFLOW for value in self._result)
        self._device_events[0] |= 0x03 | (0x20 if faulty else 0)
        if self.is_on(":MEMory:STATe"):
            self._memory.append(self._result)

    def _describe(self) -> None:
        self.words(":FUNCtion", "RV", "RV", "ZV", "R", "Z", "V")
        self.value(":CALCulate:AVERage", 1, 1, 99, ".0f")
        self.switch(":AUTorange")
        self.words(":SAMPle:DELay:MODE", "WAVE", "WAVE", "DELTa", "TIME")
        self.value(":SAMPle:DELay:WAVE", 0.0, 0.0, 9.0, ".1f")
        self.value(":SAMPle:DELay:DELTa", 0.01, 0.001, 10.0, ".3f")
        self.switch(":ADJust:SLOPe")
        self.switch(":LIMiter")
        self.switch(":ZERO:CROSs")
        self.words(":TRIGger:SOURce", "IMMEDIATE", "IMMediate", "EXTernal")
        self.switch(":INITiate:CONTinuous", "ON")
        self.value(":MEASure:VALid", 0, 0, 255, ".0f", changes=False)
        self.switch(":MEMory:STATe", changes=False)
        self.switch(":SYSTem:BEEPer", "ON", changes=False)
        self.switch(":CALibration:AUTO", "ON", changes=False)
        self._defaults[":FREQuency"], self._defaults[":RANGe"] = "1000", "1.00000E-01"
        self.commands.update(
            {
                **self.common_hioki(),
                ":FREQuency": self._set_frequency,
                ":FREQuency?": lambda: self.settings[":FREQuency"],
                ":RANGe": self._set_range,
                ":RANGe?": lambda: self.settings[":RANGe"],
                ":SAMPle:RATE": self._set_rate,
                ":SAMPle:RATE?": self._rate,
                ":INITiate[:IMMediate]": self._initiate,
                ":FETCh?": self._fetch,
                ":READ?": self._read,
                "*TRG": self._trigger,
                ":ADJust?": self._adjust,
                ":CALibration?": self._calibrate,
                ":MEMory:DATA?": lambda: ";".join(_text(row) for row in self._memory) or "END",
                ":MEMory:CLEAr": lambda: self._memory.clear(),
                ":SYSTem:HEADer": self._set_headers,
                ":SYSTem:HEADer?": lambda: "ON" if self._headers else "OFF",
                ":SYSTem:LOCal": lambda: None,
                ":SYSTem:RESet": self.reset,
            }
        )

    def _set_headers(self, word: str) -> None:
        if word.upper() not in ("ON", "OFF"):
            raise ScpiError(-200)
        self._headers = word.upper() == "ON"

    def _set_frequency(self, word: str) -> None:
        hertz = number(word, 0.1, 1050.0)
        digits = 2 if hertz < 1 else 1 if hertz < 10 else 0 if hertz < 100 else -1
        self._put(":FREQuency", f"{round(hertz, digits):g}", True)

    def _set_range(self, word: str) -> None:
        """Choose the smallest range that holds the value."""
        wanted_ohm = number(word, 0.0, 0.12)
        fitting = [ohm for ohm in self._currents_A if wanted_ohm <= 1.2 * ohm]
        self._put(":RANGe", f"{min(fitting):.5E}", True)

    def _set_rate(self, kind: str, word: str) -> None:
        rates = {"FAST": "FAST", "MED": "MEDIUM", "MEDIUM": "MEDIUM", "SLOW": "SLOW"}
        if kind.upper() not in self._rates or word.upper() not in rates:
            raise ScpiError(-200)
        self._rates[kind.upper()] = rates[word.upper()]
        self.changed()

    def _rate(self, kind: str) -> str:
        if kind.upper() not in self._rates:
            raise ScpiError(-200)
        return self._rates[kind.upper()]

    def _free_running(self) -> bool:
        return self.is_on(":INITiate:CONTinuous") and self.settings[":TRIGger:SOURce"] == "IMMEDIATE"

    def _initiate(self) -> None:
        if self.broken("busy") or self.is_on(":INITiate:CONTinuous"):
            raise ScpiError(-213)
        if self.settings[":TRIGger:SOURce"] == "EXTERNAL":
            self._armed = True
        else:
            self._begin()

    def _trigger(self) -> None:
        waiting = self._armed or self.is_on(":INITiate:CONTinuous")
        if self.broken("busy") or self.settings[":TRIGger:SOURce"] != "EXTERNAL" or not waiting:
            raise ScpiError(-211)
        self._armed = False
        self._begin()

    def _begin(self) -> None:
        self.start(self._duration_s())
        if self.settings[":FUNCtion"] != "V":
            self.currents_applied_A.add(self._currents_A[round(self.number_of(":RANGe"), 6)])

    def _fetch(self) -> str | None:
        if self.broken("busy"):
            raise ScpiError(-200)
        if self._free_running():
            self._result = self._readings()
        return _text(self._result)

    def _read(self) -> str | None:
        if self.broken("busy") or self.is_on(":INITiate:CONTinuous"):
            raise ScpiError(-213)
        if self.settings[":TRIGger:SOURce"] == "EXTERNAL":  # the answer would come after a trigger
            self._armed = True
            return None
        self._begin()
        self.wait_for_end()
        return _text(self._result)

    def _adjust(self, kind: str = "SPOT") -> str:
        if kind.upper() not in ("SPOT", "ALL"):
            raise ScpiError(-200)
        self.takes(15.0 if kind.upper() == "ALL" else 1.0)
        return "0"

    def _calibrate(self) -> str:
        self.takes(0.2)
        return "0"

    def _duration_s(self) -> float:
        function = self.settings[":FUNCtion"]
        duration_s = self._voltage_s[self._rates["V"]] if "V" in function else 0.0
        if function != "V":
            hertz = self.number_of(":FREQuency")
            waves = next(waves for limit, waves in self._waves if hertz <= limit)[self._rates["Z"]]
            delay = self.number_of(":SAMPle:DELay:WAVE") + (0.5 if self.is_on(":ZERO:CROSs") else 0.0)
            duration_s += (waves * self.number_of(":CALCulate:AVERage") + delay) / hertz + 0.05
        return duration_s

    def _readings(self) -> list[float]:
        function = self.settings[":FUNCtion"]
        volts = self._cell.potential_V()
        readings = self._impedance(volts) if function != "V" else []
        if "V" in function:
            beyond = self.broken("over_range") or abs(volts) > 5.1
            readings.append(math.copysign(_OVERFLOW, volts) if beyond else volts)
        return readings

    def _impedance(self, volts: float) -> list[float]:
        range_ohm = round(self.number_of(":RANGe"), 6)
        z = complex(self._cell.impedance(np.array([self.number_of(":FREQuency")]))[0])
        peak_V = math.sqrt(2) * self._currents_A[range_ohm] * abs(z)
        if self.is_on(":LIMiter") and volts + peak_V > self._limiter_V:
            return [_FAULT, _FAULT]
        values = [z.real, z.imag]
        largest_ohm = 1.2 * range_ohm
        if self.broken("over_range") or any(abs(value) > largest_ohm for value in values):
            return [_OVERFLOW, _OVERFLOW]
        if self.settings[":FUNCtion"].startswith("Z"):
            return [abs(z), math.degrees(cmath.phase(z))]
        return values


def _text(values: list[float]) -> str:
    return ",".join(f"{value:+.5E}" for value in values)
