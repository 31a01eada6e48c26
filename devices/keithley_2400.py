"""Keithley 2400 source-measure unit (also 2401 and 2400-LV).

Source: Series 2400 User's Manual 2400S-900-01: commands of section 18, trigger model of section 11, errors
of appendix B. While the unit takes readings it hears nothing but `:ABORt`: a course is cut into groups of
readings that each last some seconds, each one `:READ?`, whose reply comes by itself when the group is done.
Within a group the unit's source delay keeps the interval; the delay of each group is chosen so that the
course keeps its schedule, although a reading and the way between two groups take time themselves.

Time stamps are of the unit's own clock (TIME, begun anew by `:SYST:TIME:RES`), which counts 1024 ticks of a
second as milliseconds: they run 2.4 % fast and are set right here (maker's note "Using the Model 2400
Internal Timestamp Feature"). TIME, unlike the stamps of the trace buffer, goes on from group to group; the
trace buffer is therefore not used. Not verified on an instrument: whether the source delay is of the same
clock (the schedule holds in either case).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from devices.instrument import About
from devices.keithley import Course, Function, KeithleySmu, Sample, batched
from ssblab.links import LinkSettings, ProtocolError, line
from ssblab.links.scpi import decode_number, decode_numbers

__all__ = ["Keithley2400", "decode_samples"]

_TICK = 1000 / 1024  # seconds in a second of the time stamp
_WRAP_S = 99_999.999  # the time stamp begins again
_COMPLIANCE, _OVER_VOLTAGE, _RANGE_COMPLIANCE = 1 << 3, 1 << 4, 1 << 16
_GROUP_S, _WATCHED_GROUP_S = 10.0, 2.0  # the latter where a reading may end the course
_LOOK, _SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.2, 0.05, 1.0  # share of an interval, and its bounds
_READING_S = 0.045  # two functions with one power-line cycle each at 50 Hz
_FAST_READING_S = 0.01
_LONG_S = 0.5  # intervals from which on one power-line cycle is integrated
_PROTECTIONS_V = (20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 160.0)
_VALUES_A_COMMAND = 20  # the unit's input is short where a serial line has no flow control


def decode_samples(reply: bytes, count: int) -> list[Sample]:
    """Readings of a group: voltage, current, time stamp and status word each; times in true seconds.

    Raises
    ------
    ProtocolError
        If these are not so many readings.
    """
    return [_sample(*fields) for fields in batched(decode_numbers(reply, 4 * count), 4)]


def _sample(voltage_V: float, current_A: float, stamp: float, status: float) -> Sample:
    if not (stamp >= 0.0 and status >= 0.0 and status.is_integer()):
        raise ProtocolError("no time or no status")
    limited = bool(int(status) & (_COMPLIANCE | _OVER_VOLTAGE | _RANGE_COMPLIANCE))
    return Sample(stamp * _TICK, voltage_V, current_A, limited)


class Keithley2400(KeithleySmu):
    """Keithley 2400, four-wire: HI and SENSE HI at the cell's positive, LO and SENSE LO at its negative.

    The end of a course is found by the driver after each group of readings. If the computer fails in a
    course, the output stays on with its compliance: the unit has nothing that would switch it off then.
    """

    model = "2400"
    models: ClassVar[tuple[str, ...]] = ("MODEL 2400", "MODEL 2400-C", "MODEL 2400-LV", "MODEL 2401")
    shortest_interval_s: ClassVar[float] = 0.1
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=3.0, serial="57600 8N1", wake=b":ABOR\n")
    about: ClassVar[About] = About(
        maker="Keithley",
        models="2400, 2401, 2400-LV SourceMeter",
        protocol="SCPI of the 2400 series",
        transport="RS-232, 57600 8N1, terminator LF; GPIB and TCP through a converter",
        verified=(
            "a reply captured from an instrument",
            "error numbers that the maker prints",
            "pymeasure 0.16.0 and qcodes 0.58.0 drive our simulated instrument",
        ),
        unsupported=(
            "pulses, resistance, limit tests, source memory. The output stays on if the computer fails in a "
            "course. Not verified on an instrument: the shortest interval (0.1 s), the schedule of groups"
        ),
    )

    def __init__(self, **kwargs: Any) -> None:
        self._group = 0  # readings asked for
        self._taken = 0
        self._stamp_s = 0.0  # true seconds of the last stamp, without its wraps
        self._gap_s = 0.05  # between two groups, beside the delays; measured as the course goes
        self._delay_s = 0.0
        super().__init__(**kwargs)

    def look_period_s(self, task: Any) -> float:
        """How often to look whether a group has come: so much longer is the interval between two groups."""
        return min(max(_LOOK * task.interval_s, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)

    def protect(self) -> None:
        """Set the lowest overvoltage protection above what the station allows, and read it back."""
        level_V = next((level for level in _PROTECTIONS_V if level > self.open_limit_V), self.largest_V)
        self.scpi.order(f":SOUR:VOLT:PROT {level_V:g}")
        found = self.scpi.ask(":SOUR:VOLT:PROT?", decode_number)
        if not math.isclose(found, level_V, rel_tol=1e-3):
            raise self.refused(f"its overvoltage protection is {found:g} V, not {level_V:g} V")

    def configure(self, course: Course) -> None:
        """Set functions, ranges, four-wire sensing and integration time, with the output off."""
        source = course.source
        nplc = 1.0 if course.interval_s >= _LONG_S else 0.1
        self.scpi.order(":SOUR:CLE:AUTO OFF", f":SOUR:FUNC {source}", f":SOUR:{source}:MODE FIX")
        self.scpi.order(f":SOUR:{source} 0", f":SOUR:{source}:RANG:AUTO ON", ":SYST:RSEN ON")
        self.scpi.order(":SENS:FUNC:CONC ON", ':SENS:FUNC "VOLT","CURR"')
        self.scpi.order(":SENS:VOLT:RANG:AUTO ON", ":SENS:CURR:RANG:AUTO ON", f":SENS:VOLT:NPLC {nplc:g}")
        self.scpi.order(":FORM:ELEM VOLT,CURR,TIME,STAT", ":ARM:SOUR IMM", ":ARM:COUN 1")
        self.scpi.order(":TRIG:COUN 1", ":TRIG:DEL 0", ":SOUR:DEL 0")
        if not self.scpi.ask(":SYST:RSEN?", decode_number):
            raise self.refused("it does not sense with four wires")

    def set_level(self, source: Function, level: float) -> None:
        """Set what is sourced."""
        self.scpi.order(f":SOUR:{source} {level:.9g}")

    def set_limit(self, source: Function, limit: float) -> float:
        """Set the compliance; give it as read back."""
        word = f":SENS:{'CURR' if source == 'VOLT' else 'VOLT'}:PROT"
        self.scpi.order(f"{word} {limit:.9g}")
        return self.scpi.ask(f"{word}?", decode_number)

    def check_course(self, course: Course) -> None:
        """Take a course of any length: it is cut into groups."""

    def start_course(self, course: Course) -> float:
        """Begin the time anew and ask for the first group."""
        self._taken, self._stamp_s, self._gap_s = 0, 0.0, 0.05
        if course.steps:
            self.scpi.order(":SOUR:VOLT:MODE LIST")
        self.scpi.order(":SYST:TIME:RES")
        began_s = self.clock.now()
        self._ask_for_group(course)
        return began_s

    def fetch(self, course: Course) -> tuple[list[Sample], bool]:
        """Give the group that has come, if one has, and ask for the next."""
        lines = self.link.receive_waiting(line(b"\n"))
        if not lines:
            return [], False
        try:
            if len(lines) > 1:
                raise ProtocolError("a group came twice")
            samples = self._unwrapped(decode_samples(lines[0], self._group))
        except ProtocolError as error:
            raise self.link.failed(f"{lines[0]!r} makes no sense ({error})") from error
        if self._taken:
            self._gap_s = max(samples[0].time_s - self._stamp_s - self._delay_s - _reading_s(course), 0.0)
        self._taken, self._stamp_s = self._taken + self._group, samples[-1].time_s
        self._group = 0
        over = self._taken >= course.readings
        if not over and not any(sample.limited and course.window_V for sample in samples):
            self._ask_for_group(course)
        return samples, over

    def read_once(self) -> Sample:
        """Take one reading."""
        (sample,) = self.scpi.ask(":READ?", lambda reply: decode_samples(reply, 1))
        return sample

    def end_course(self) -> None:
        """Abort the readings under way; what they gave so far is not wanted."""
        if self._group:
            self._group = 0
            self.link.close()  # opened again it is aborted, and drained of what may still come
        self.scpi.order(":ABOR")

    def _ask_for_group(self, course: Course) -> None:
        """Ask for the next readings, so that the last of them comes when the schedule has it."""
        count = max(1, min(round(_group_s(course) / course.interval_s), course.readings - self._taken))
        due_s = (self._taken + count) * course.interval_s
        free_s = due_s - self._stamp_s - self._gap_s - count * _reading_s(course)
        self._delay_s = max(free_s / count, 0.0)
        if course.steps:
            levels = [course.steps[(self._taken + i) % len(course.steps)] for i in range(count)]
            for i, values in enumerate(batched(levels, _VALUES_A_COMMAND)):
                words = ",".join(f"{value:.6g}" for value in values)
                self.scpi.order(f":SOUR:LIST:VOLT{':APP' if i else ''} {words}")
        self.scpi.order(f":TRIG:COUN {count}", f":SOUR:DEL {self._delay_s:.5f}")
        self.link.send(b":READ?\n")
        self._group = count

    def _unwrapped(self, samples: list[Sample]) -> list[Sample]:
        """Add the turns of the time stamp that have gone by."""
        turn_s = _WRAP_S * _TICK
        unwrapped, last_s = [], self._stamp_s
        for sample in samples:
            turns = math.ceil(max(last_s - sample.time_s - 0.5 * turn_s, 0.0) / turn_s)
            last_s = sample.time_s + turns * turn_s
            unwrapped.append(Sample(last_s, sample.voltage_V, sample.current_A, sample.limited))
        return unwrapped


def _group_s(course: Course) -> float:
    """How long a group of readings lasts."""
    ends = course.window_V is not None or course.end_current_A is not None
    return max(_WATCHED_GROUP_S if ends else _GROUP_S, course.interval_s)


def _reading_s(course: Course) -> float:
    return _READING_S if course.interval_s >= _LONG_S else _FAST_READING_S
