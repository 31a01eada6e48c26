"""Hioki impedance meters: BT4560 (battery impedance meter) and IM3590 (chemical impedance analyzer).

Sources. BT4560: its communication manual BT4560A987 ("all commands except *TRG and :INIT are processed
sequentially", execution times, the answer `+1.06571E-03` of `:FETCH?`, an input buffer of 256 bytes), and two
public clients that drive a BT4560, TBMEIS by R. Chou and a production line's in C#, for functions, ranges,
rates, delays, limiter, zero crossing, and the order R, X, V of a reading. IM3590: the maker's list of
commands, and a sample program for a sweep in the analyzer mode of a related Hioki model (`:MODE ANALyzer`,
`:SWEep:TRIGger SEQuential`, `:LIST:STARt:STOP`, `:PARameter1 Z`, `:PARameter3 Phase`, `*TRG`, `:MEASure?`,
answered by frequency, Z and phase of each point in one line); names of the bits of ESR0 from another such
sample. IEEE 488.2-1992 for `*ESR?` and `*OPC`: asked as `*OPC;*ESR?`, bit 0 tells that nothing runs any
more, as often as it is asked. Neither meter has an error queue: bits 2 to 5 of `*ESR?` tell that an order was
not taken.

Unverified. BT4560: the current of each range (1.5 A, 500 mA and 50 mA rms in the ranges 3, 10 and 100 mohm,
each within 10 %), that it measures with two significant digits of the frequency (the public client's list of
frequencies agrees), that a new function ends the point that runs, and what marks an overflow (a sister model:
1E+8 to 1E+10; anything from 1E+8 on is taken for one). IM3590: number of points (801), ranges of level, bias
and limits, the format of the battery voltage, what marks an overflow (anything from 9.9E+9 on and anything
with an asterisk is taken for one), that a change of mode ends a sweep, and the unit of a constant current.
That one is sent in amperes: if the meter counted in milliamperes, it would refuse or apply a thousandth,
never more. Hioki states levels as root mean square, as our techniques count them.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from itertools import accumulate
from typing import Any, ClassVar, Literal

from ophyd.utils import LimitError

from devices.families.electrochemical import ImpedancePoint
from devices.families.impedance_meter import ImpedanceMeter
from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep
from devices.instrument import About, Identity, Instrument
from ssblab.links import InstrumentError, LinkSettings, ProtocolError, Refusal
from ssblab.links.scpi import ScpiClient, decode_identification, decode_text

__all__ = ["Hioki", "HiokiBT4560", "HiokiIM3590"]

Spectrum = ImpedanceSweep | GalvanostaticImpedanceSweep

_COMPLETE = 0x01
_PROBLEMS = {
    0x04: "a query error",
    0x08: "a fault of its own (device error)",
    0x10: "an order that it can't carry out (execution error)",
    0x20: "an order that it does not know (command error)",
    0x80: "that it has lost its power",
}
_HEADER = re.compile(r":?[A-Z][A-Z0-9:]*\s+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(E[+-]?\d+)?", re.IGNORECASE)
_CONSTANT_LEVEL_MISSED, _LIMITED = 0x40, 0x20  # bits COF and LOF of ESR0


def decode_word(reply: bytes) -> str:
    """Text of a reply, without the header that the meter sets before it if it was told to."""
    text = decode_text(reply).upper()
    return text[match.end() :].strip() if (match := _HEADER.match(text)) else text


def decode_choice(reply: bytes, choices: tuple[str, ...]) -> str:
    """One of some words, in its short form: the capitals of how the manual spells it ("EXTernal": EXT).

    Raises
    ------
    ProtocolError
        If it is none of them.
    """
    word = decode_word(reply)
    for choice in choices:
        short = "".join(letter for letter in choice if not letter.islower())
        if word in (short, choice.upper()):
            return short
    raise ProtocolError(f"{word!r} is none of {', '.join(choices)}")


def decode_events(reply: bytes) -> bool:
    """Whether nothing runs any more, from an answer to `*OPC;*ESR?`.

    Raises
    ------
    Refusal
        If the register tells of an error, or that the power was lost.
    """
    word = decode_word(reply).removeprefix("*ESR").strip()
    if not re.fullmatch(r"\d{1,3}", word) or int(word) > 255:
        raise ProtocolError(f"{word!r} is no event register")
    events = int(word)
    problems = [text for bit, text in _PROBLEMS.items() if events & bit]
    if problems:
        raise Refusal(f"reports {' and '.join(problems)} (event register {events})")
    return bool(events & _COMPLETE)


def confirm_events(reply: bytes) -> None:
    """Check that the orders before a `*ESR?` were taken; raises Refusal if not."""
    decode_events(reply)


def decode_values(reply: bytes, overflow: float) -> list[float]:
    """Numbers of a reading; NaN where the meter shows an overflow or a fault.

    Parameters
    ----------
    overflow : float
        From this magnitude on a number is none.
    """
    return [_value(word.strip(), overflow) for word in decode_word(reply).split(",")]


def _value(word: str, overflow: float) -> float:
    if word and set(word) <= set("*+-.E0123456789") and "*" in word:
        return math.nan
    if not _NUMBER.fullmatch(word):
        raise ProtocolError(f"{word!r} is no number")
    value = float(word)
    return value if abs(value) < overflow else math.nan


def decode_number(reply: bytes) -> float:
    """One setting; NaN is none."""
    (value,) = _counted(decode_values(reply, math.inf), 1)
    return value


def _counted(values: list[float], count: int) -> list[float]:
    if len(values) != count:
        raise ProtocolError(f"{len(values)} numbers, not {count}")
    return values


class Hioki(ImpedanceMeter, Instrument):
    """What Hioki's impedance meters have in common.

    Times of the points are the computer's: the meters have no clock in their readings.
    """

    overflow: ClassVar[float]
    _choices: ClassVar[dict[str, tuple[str, ...]]]  # of the settings that are words

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scpi = ScpiClient(
            self.link, confirm="*ESR?", decode_confirmation=confirm_events, line_end=b"\r\n"
        )
        self._began = math.nan

    @abstractmethod
    def _go_idle(self) -> None:
        """End what runs, take the signal away and read that back; may be done twice."""

    def identify(self) -> Identity:
        """Ask for maker, model, serial number and firmware."""
        maker, model, serial, firmware = self._scpi.ask("*IDN?", decode_identification)
        if f"{maker} {model}".upper() != self.model.upper():
            raise self.wrong(f"{maker} {model}")
        return Identity("Hioki", model, serial="" if serial == "0" else serial, firmware=firmware)

    def upload_limits(self) -> None:
        """End what the meter may be measuring: after power-up it measures by itself."""
        self.insist(self._go_idle)

    def switch_off(self) -> None:
        """End the point that runs, take the signal away, prove both, and read the voltage."""
        self.insist(self._go_idle)
        self.read_at_rest()

    def _idle(self) -> bool:
        """Whether nothing runs; raises InstrumentError if the meter reports an error."""
        return self._scpi.ask("*OPC;*ESR?", decode_events)

    def _prove_idle(self) -> None:
        if not self._idle():
            raise self.refused("a measurement that began before still runs")

    def _set(self, header: str, word: str) -> None:
        """Set a word and read it back."""
        self._scpi.order(f"{header} {word}")
        self._check(header, word)

    def _check(self, header: str, word: str) -> None:
        found = self._word(header)
        if found != word:
            raise self.refused(f"{header} is {found}, not {word}")

    def _word(self, header: str) -> str:
        """Ask for a setting that is a word, in its short form."""
        choices = self._choices.get(header, ("ON", "OFF"))
        return self._scpi.ask(f"{header}?", lambda reply: decode_choice(reply, choices))

    def _set_number(self, header: str, value: float, tolerance: float) -> float:
        """Set, read back and give what was set."""
        self._scpi.order(f"{header} {value:.6G}")
        found = self._scpi.ask(f"{header}?", decode_number)
        if not abs(found - value) <= tolerance:
            raise self.refused(f"{header} is {found:g}, not {value:g}")
        return found

    def _values(self, question: str, count: int, timeout_s: float | None = None) -> list[float]:
        return self._scpi.ask(
            question,
            lambda reply: _counted(decode_values(reply, self.overflow), count),
            timeout_s=timeout_s,
        )

    def _record_rest(self, potential_V: float) -> None:
        self.record(potential=potential_V, quality="ok" if math.isfinite(potential_V) else "saturated")

    def _not_at_rest(self, problem: str) -> InstrumentError:
        self.record(potential=math.nan, quality="invalid")
        return self.refused(problem)


class HiokiBT4560(Hioki):
    """BT4560: an alternating current that its range fixes, 0.1 Hz to 1050 Hz.

    The range is that whose current (50 mA, 500 mA or 1.5 A rms) is the amplitude asked for, within 10 %, the
    tolerance of that current. There is no bias. A spectrum is taken point by point: each is started by
    `:INIT`, and awaited by asking, so that it can be stopped at any time. The current stops where it crosses
    zero, and the meter's own voltage limiter is on, with the level that its panel has been given (the command
    for that level is not verified); the window of the technique is checked at the cell's voltage before the
    spectrum and with each point. At rest the function is the direct voltage alone, without current, and
    nothing is measured unasked.

    Frequencies are rounded to what the meter can do: steps of 0.01 Hz below 1 Hz, 0.1 Hz below 10 Hz, 1 Hz
    below 100 Hz, and 10 Hz above; the rows have the frequency that the meter reads back. The time of a point
    is when it was found complete.

    Parameters
    ----------
    speed : {"FAST", "MED", "SLOW"}
        Rate of the impedance: more waves are averaged where it is slow.
    """

    model = "Hioki BT4560"
    techniques: ClassVar[tuple[type, ...]] = (GalvanostaticImpedanceSweep,)
    overflow = 1e8
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=5.0, serial="9600 8N1")
    about: ClassVar[About] = About(
        maker="Hioki",
        models="BT4560",
        protocol="IEEE 488.2 style text",
        transport="RS-232C or USB (virtual COM port), 9600 8N1",
        verified=("readings that a public client (TBMEIS) shows", "an answer that the maker prints"),
        unsupported=(
            "zero adjustment, comparator, memory, temperature, other ranges of the BT4560-50. Not verified: "
            "currents of the ranges, marks of an overflow, whether a new function ends a point that runs"
        ),
    )
    _choices: ClassVar[dict[str, tuple[str, ...]]] = {
        ":FUNC": ("RV", "ZV", "R", "Z", "V"),
        ":TRIG:SOUR": ("IMMediate", "EXTernal"),
    }
    _ranges_A: ClassVar[dict[str, float]] = {"3E-3": 1.5, "10E-3": 0.5, "100E-3": 0.05}
    _tolerance: ClassVar[float] = 0.1

    def __init__(self, *, speed: Literal["FAST", "MED", "SLOW"] = "MED", **kwargs: Any) -> None:
        if speed not in ("FAST", "MED", "SLOW"):
            raise ValueError(f"speed must be FAST, MED or SLOW, not {speed!r}")
        super().__init__(**kwargs)
        self._speed = speed
        self._frequencies_Hz: list[float] = []
        self._next = 0
        self._applied_Hz = math.nan
        low_A, high_A = min(self._ranges_A.values()), max(self._ranges_A.values())
        self.sweep_frequency.narrow(0.1, 1050.0)
        self.sweep_current_amplitude.narrow((1 - self._tolerance) * low_A, (1 + self._tolerance) * high_A)
        peak_A = math.sqrt(2) * (1 + self._tolerance) * high_A
        self.applied_current.narrow(-peak_A, peak_A)
        self.applied_potential.narrow(-5.1, 5.1)

    def check_task(self, task: Any) -> None:
        """Raise LimitError if the meter can't do a spectrum: amplitude, bias, frequencies too close."""
        super().check_task(task)
        self._range(task.amplitude_A)
        if task.bias_A != 0.0:
            raise LimitError(f"{self.name}: a bias of {task.bias_A:g} A is not possible, only 0")
        frequencies_Hz = [_settable_Hz(f) for f in task.frequencies_Hz()]
        if len(set(frequencies_Hz)) < len(frequencies_Hz):
            raise LimitError(
                f"{self.name}: {task.points_per_decade:g} points per decade are closer than "
                "the meter's frequencies, which have two digits"
            )

    def begin(self, task: Any) -> None:
        """Set everything up, check the cell's voltage, and start the first point."""
        self.read_at_rest()
        self._check_window(task)
        self._set(":AUT", "OFF")
        range_ohm = self._range(task.amplitude_A)
        self._set_number(":RANG", float(range_ohm), 1e-6)
        self._scpi.order(f":SAMP:RATE Z,{self._speed}", ":SAMP:RATE V,MED")
        self._set(":ZERO:CROS", "ON")
        self._set(":LIM", "ON")
        self._set(":ADJ:SLOP", "ON")
        self._scpi.order(":CALC:AVER 1")
        self._set(":FUNC", "RV")
        self._frequencies_Hz = [_settable_Hz(f) for f in task.frequencies_Hz()]
        self._next = 0
        self._start_point()

    def listen(self) -> bool:
        """Take over the point that has become complete, and start the next one."""
        task = self.running_task()
        if task is None or not self._idle():
            return False
        real_ohm, imag_ohm, potential_V = self._values(":FETC?", 3)
        ok = math.isfinite(real_ohm) and math.isfinite(imag_ohm)
        now = self.clock.now()
        self.add_point(ImpedancePoint(now, self._applied_Hz, real_ohm, imag_ohm, "ok" if ok else "overload"))
        self.potential.record(potential_V, now)
        self._check_window(task)
        if self._next < len(self._frequencies_Hz):
            self._start_point()
            return False
        self._go_idle()
        return True

    def read_at_rest(self) -> None:
        """Read the voltage, without current.

        Raises
        ------
        InstrumentError
            If the meter measures by itself or with current, or reports an error.
        """
        function, continuous = self._word(":FUNC"), self._word(":INIT:CONT")
        if (function, continuous) != ("V", "OFF"):
            raise self._not_at_rest(
                f"it may apply its current (function {function}, continuous {continuous}) though nothing runs"
            )
        (potential_V,) = self._values(":READ?", 1)
        try:
            self._idle()
        except InstrumentError:
            self.record(potential=math.nan, quality="invalid")
            raise
        self._record_rest(potential_V)

    def _go_idle(self) -> None:
        self._scpi.order("*CLS", ":SYST:HEAD OFF", ":INIT:CONT OFF", ":TRIG:SOUR IMM", ":FUNC V")
        self._check(":INIT:CONT", "OFF")
        self._check(":TRIG:SOUR", "IMM")
        self._check(":FUNC", "V")
        self._prove_idle()

    def _start_point(self) -> None:
        wanted_Hz = self._frequencies_Hz[self._next]
        self._applied_Hz = self._set_number(":FREQ", wanted_Hz, 0.001 * wanted_Hz)
        self._scpi.order(":INIT")
        self._next += 1

    def _range(self, amplitude_A: float) -> str:
        for range_ohm, current_A in self._ranges_A.items():
            if abs(amplitude_A - current_A) <= self._tolerance * current_A * (1 + 1e-9):
                return range_ohm
        raise LimitError(
            f"{self.name}: an amplitude of {amplitude_A:g} A is not possible: each range has its own, "
            + ", ".join(f"{a:g} A ({float(ohm):g} ohm)" for ohm, a in self._ranges_A.items())
            + f", within {self._tolerance:.0%}"
        )

    def _check_window(self, task: GalvanostaticImpedanceSweep) -> None:
        found_V = self.potential.get()
        if not task.potential_min_V <= found_V <= task.potential_max_V:
            raise self.refused(
                f"the cell's voltage of {found_V:g} V is outside the window from {task.potential_min_V:g} "
                f"to {task.potential_max_V:g} V, {self.so_far()}"
            )


class HiokiIM3590(Hioki):
    """IM3590: spectra with constant voltage or constant current, 1 mHz to 200 kHz, swept in the meter.

    An `ImpedanceSweep` holds its alternating voltage at the cell (CV) upon a direct voltage (DC bias). A
    `GalvanostaticImpedanceSweep` holds its alternating current (CC) in the battery function, where the meter
    meets the battery's own voltage; no bias is possible there. The limit of the other quantity, the largest
    that the device's limits allow, is in the meter before a sweep starts. If the level could not be held or
    was limited anywhere in the sweep, all its points are "overload": the meter does not tell which.

    The meter gives all points together at the end, without times: they are shared out between start and end
    by the periods of the frequencies, in the order of the sweep, and are good to a few per cent of the sweep.

    At rest: mode LCR, waiting for a trigger, bias off, level 5 mV (the lowest), battery function on. The
    meter may put out this level between measurements unless its trigger-synchronous output is switched on at
    its panel; the command for it is not verified. `potential` is the voltage that the battery function shows.

    Parameters
    ----------
    speed : {"FAST", "MED", "SLOW", "SLOW2"}
        Of the measurement: more waves are averaged where it is slow.
    """

    model = "Hioki IM3590"
    overflow = 9.9e9
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=3.0, serial="9600 8N1")
    about: ClassVar[About] = About(
        maker="Hioki",
        models="IM3590",
        protocol="IEEE 488.2 style text",
        transport="TCP, USB (virtual COM port) or RS-232C, 9600 8N1",
        verified=("commands and answer of a sample program for the analyzer mode of a related Hioki model",),
        unsupported=(
            "LCR mode, continuous mode, segments, corrections, equivalent circuits, judgments, memory. Not "
            "verified: unit of the constant current (sent in A), marks of an overflow"
        ),
    )
    _choices: ClassVar[dict[str, tuple[str, ...]]] = {
        ":MODE": ("LCR", "ANALyzer", "CONTinuous"),
        ":TRIG": ("INTernal", "EXTernal"),
        ":SWE:MAIN:SOUR": ("FREQuency", "V", "CV", "CC", "DCBias"),
        ":SWE:TRIG": ("SEQuential", "REPeat", "STEP"),
        ":SPEE": ("FAST", "MEDium", "SLOW", "SLOW2"),
        ":LEV": ("V", "CV", "CC"),
        **dict.fromkeys((":PAR1", ":PAR2", ":PAR3", ":PAR4"), ("Z", "PHASe", "OFF")),
    }
    _most_points: ClassVar[int] = 801
    _rest_level_V: ClassVar[float] = 0.005

    def __init__(self, *, speed: Literal["FAST", "MED", "SLOW", "SLOW2"] = "MED", **kwargs: Any) -> None:
        if speed not in ("FAST", "MED", "SLOW", "SLOW2"):
            raise ValueError(f"speed must be FAST, MED, SLOW or SLOW2, not {speed!r}")
        super().__init__(**kwargs)
        self._speed = speed
        self.sweep_frequency.narrow(1e-3, 200e3)
        self.sweep_amplitude.narrow(0.005, 5.0)
        self.sweep_current_amplitude.narrow(10e-6, 0.05)
        self.applied_potential.narrow(-5.0 - math.sqrt(2) * 5.0, 5.0 + math.sqrt(2) * 5.0)
        self.applied_current.narrow(-0.1, 0.1)

    def check_task(self, task: Any) -> None:
        """Raise LimitError if the meter can't do a spectrum."""
        super().check_task(task)
        if task.points > self._most_points:
            raise LimitError(f"{self.name}: {task.points} points are more than {self._most_points}")
        if isinstance(task, ImpedanceSweep):
            if abs(task.bias_V) > 5.0:
                raise LimitError(
                    f"{self.name}: a bias of {task.bias_V:g} V is not possible, only -5 V to 5 V"
                )
        elif task.bias_A != 0.0:
            raise LimitError(f"{self.name}: a bias of {task.bias_A:g} A is not possible, only 0")

    def begin(self, task: Any) -> None:
        """Bring limits, level, bias and frequencies into the meter, and start the sweep."""
        self.read_at_rest()
        if isinstance(task, GalvanostaticImpedanceSweep):
            self._check_window(task)
        self._set(":MODE", "ANAL")
        self._set(":SWE:MAIN:SOUR", "FREQ")
        self._set(":SWE:TRIG", "SEQ")
        self._set(":SEGM", "OFF")
        for parameter, shown in enumerate(("Z", "OFF", "PHAS", "OFF"), start=1):
            self._set(f":PAR{parameter}", shown)
        self._set(":RANG:AUTO", "ON")
        self._set(":SPEE", self._speed)
        self._set_frequencies(task)
        if isinstance(task, ImpedanceSweep):
            self._set_voltage(task)
        else:
            self._set_current(task)
        self._scpi.ask_once(":ESR0?", decode_number)  # which clears it
        self._began = self.clock.now()
        self._scpi.order("*TRG")

    def listen(self) -> bool:
        """Take over all points as soon as the sweep is complete."""
        task = self.running_task()
        if not self._idle():
            self.heard()  # it answers that it is sweeping: all rows come at the end
            return False
        ended = self.clock.now()
        values = self._values(":MEAS?", 3 * task.points, 5.0 + 0.1 * task.points)
        events = self._scpi.ask_once(":ESR0?", decode_number)
        if not (0 <= events <= 255):
            raise self.refused(f"{events:g} is no event register")
        held = not int(events) & (_CONSTANT_LEVEL_MISSED | _LIMITED)
        for point in self._points(task, values, ended, held):
            self.add_point(point)
        self._go_idle()
        return True

    def read_at_rest(self) -> None:
        """Read the battery's voltage.

        Raises
        ------
        InstrumentError
            If a bias is on, or the meter triggers itself, or reports an error.
        """
        bias, trigger, battery = (self._word(header) for header in (":DCB", ":TRIG", ":BATT"))
        if bias != "OFF" or trigger != "EXT":
            raise self._not_at_rest(
                f"it may apply a signal (DC bias {bias}, trigger {trigger}) though nothing runs"
            )
        potential_V = self._values(":BATT:MONI?", 1)[0] if battery == "ON" else math.nan
        try:
            self._prove_idle()
        except InstrumentError:
            self.record(potential=math.nan, quality="invalid")
            raise
        self._record_rest(potential_V)

    def _go_idle(self) -> None:
        self._scpi.order("*CLS", ":HEAD OFF", ":MODE LCR", ":TRIG EXT", ":DCB OFF", ":BATT ON")
        self._check(":MODE", "LCR")
        self._check(":TRIG", "EXT")
        self._check(":BATT", "ON")
        self._check(":DCB", "OFF")
        self._set(":LEV", "V")
        self._set_number(":LEV:VOLT", self._rest_level_V, 1e-4)
        self._prove_idle()

    def _set_frequencies(self, task: Spectrum) -> None:
        first_Hz, last_Hz = task.frequency_start_Hz, task.frequency_end_Hz
        self._scpi.order(f":LIST:STAR:STOP {first_Hz:.5G},{last_Hz:.5G},{task.points},LOG")
        found = self._scpi.ask(":LIST:STAR:STOP?", decode_word)
        try:
            *numbers, spacing = found.split(",")
            start_Hz, stop_Hz, points = map(float, numbers)
        except ValueError:
            raise self.refused(f"its list of frequencies is {found}") from None
        if (
            not (_near(start_Hz, first_Hz) and _near(stop_Hz, last_Hz))
            or points != task.points
            or spacing.strip() != "LOG"
        ):
            raise self.refused(f"its list of frequencies is {found}")

    def _set_voltage(self, task: ImpedanceSweep) -> None:
        self._set_number(":LIM:CURR", min(self.applied_current.limits[1], 0.1), 1e-5)
        self._set(":LIM", "ON")
        self._set(":LEV", "CV")
        self._set_number(":LEV:CVOLT", task.amplitude_V, 0.001)
        self._set_number(":DCB:LEV", task.bias_V, 0.01)
        self._set(":BATT", "OFF")  # before the bias, which the battery function may not allow
        self._set(":DCB", "ON")

    def _set_current(self, task: GalvanostaticImpedanceSweep) -> None:
        self._set(":LEV", "CC")
        self._set_number(":LIM:VOLT", min(self.sweep_amplitude.limits[1], 5.0), 0.001)
        self._set(":LIM", "ON")
        self._set_number(":LEV:CCURR", task.amplitude_A, max(1e-5, 0.01 * task.amplitude_A))

    def _points(self, task: Spectrum, values: list[float], ended: float, held: bool) -> list[ImpedancePoint]:
        """Points of a sweep from its numbers, after a check that each belongs to its frequency."""
        wanted_Hz = task.frequencies_Hz()
        shares = list(accumulate(1.0 / f + 0.05 for f in wanted_Hz))
        points = []
        for i, asked_Hz in enumerate(wanted_Hz):
            found_Hz, modulus_ohm, phase_deg = values[3 * i : 3 * i + 3]
            if not _near(found_Hz, asked_Hz):
                raise self.refused(
                    f"point {i + 1} is of {found_Hz:g} Hz, not {asked_Hz:g} Hz: see its :MEASure:VALid"
                )
            phase = math.radians(phase_deg)
            real_ohm, imag_ohm = modulus_ohm * math.cos(phase), modulus_ohm * math.sin(phase)
            ok = held and math.isfinite(real_ohm) and math.isfinite(imag_ohm)
            time = self._began + (ended - self._began) * shares[i] / shares[-1]
            points.append(ImpedancePoint(time, found_Hz, real_ohm, imag_ohm, "ok" if ok else "overload"))
        return points

    def _check_window(self, task: GalvanostaticImpedanceSweep) -> None:
        found_V = self.potential.get()
        if not task.potential_min_V <= found_V <= task.potential_max_V:
            raise self.refused(
                f"the cell's voltage of {found_V:g} V is outside the window from {task.potential_min_V:g} "
                f"to {task.potential_max_V:g} V"
            )


def _settable_Hz(frequency_Hz: float) -> float:
    """Nearest frequency that a BT4560 can do."""
    digits = 2 if frequency_Hz < 1 else 1 if frequency_Hz < 10 else 0 if frequency_Hz < 100 else -1
    return round(frequency_Hz, digits)


def _near(found_Hz: float, asked_Hz: float) -> bool:
    """Whether a frequency is the one asked for, in the steps that the IM3590 has."""
    return abs(found_Hz - asked_Hz) <= 0.02 * asked_Hz + 0.0005
