"""What drivers of Keithley source-measure units have in common: what a technique asks of a source.

Sources: Model 2450 Reference Manual 2450-901-01 (sections 2 to 4), Series 2400 User's Manual 2400S-900-01
(section 3, "Battery charging/discharging", and section 13). Facts that decide how a cell is treated:

- Current is positive out of HI. With HI and SENSE HI at the cell's positive, a positive current charges it
  (both manuals).
- Only the high-impedance off state (HIMP) disconnects the cell: in the normal one the unit is a source of
  0 V, which discharges the cell. That one is what it has after power-up, so it is set at each opening of the
  link.
- A source of current whose voltage limit lies below the cell's voltage clamps the cell down to it with any
  current: the cell's voltage is read at no current first, with the limit above what the station allows.
- With the relay of HIMP open nothing can be measured. "Cell off" is therefore a source of 0 A; at rest it
  is on only for as long as a reading takes, which costs two strokes of the output relay (the manuals warn
  to use HIMP where the output is switched often).
"""

from __future__ import annotations

import itertools
import logging
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ophyd.utils import LimitError

from devices.families.electrochemical import CoursePoint
from devices.families.smu import SourceMeasureUnit
from devices.families.techniques import ConstantCurrent, ConstantPotential, LinearSweep, OpenCircuit
from devices.instrument import Identity, Instrument
from ssblab.links import InstrumentError, LinkSettings
from ssblab.links.scpi import ScpiClient, decode_identification, decode_number, decode_text

__all__ = [
    "Course",
    "KeithleySmu",
    "Sample",
    "batched",
    "course_of",
    "decode_off_state",
    "decode_output",
]

logger = logging.getLogger(__name__)

Function = Literal["VOLT", "CURR"]

_ENOUGH = 0.01  # relative: a limit read back may be rounded


@dataclass(frozen=True)
class Course:
    """What a technique asks of a source.

    Attributes
    ----------
    source : {"VOLT", "CURR"}
        What is sourced.
    start : float
        Level when the output goes on, V or A.
    limit : float
        Of the other quantity, A or V; a magnitude.
    steps : tuple of float
        Levels of one pass of a sweep; empty for a constant level.
    readings : int
        How many there are if nothing ends the course.
    interval_s : float
        Between them.
    window_V : tuple of float or None
        Voltages between which the course goes on.
    end_current_A : float or None
        The course ends when the current's magnitude falls below this.
    """

    source: Function
    start: float
    limit: float
    steps: tuple[float, ...]
    readings: int
    interval_s: float
    window_V: tuple[float, float] | None = None
    end_current_A: float | None = None


@dataclass(frozen=True)
class Sample:
    """One reading: seconds of the instrument's own clock, voltage, current, whether the limit was reached."""

    time_s: float
    voltage_V: float
    current_A: float
    limited: bool


def course_of(task: Any, open_limit_V: float) -> Course:
    """Tell what a technique asks of a source.

    Parameters
    ----------
    task
        A technique of the family.
    open_limit_V : float
        Above any voltage that a cell may have, for a source of no current.
    """
    interval_s = task.interval_s
    readings = max(1, round(task.duration() / interval_s))
    if isinstance(task, OpenCircuit):
        return Course("CURR", 0.0, open_limit_V, (), readings, interval_s)
    if isinstance(task, ConstantCurrent):
        window_V = (task.potential_min_V, task.potential_max_V)
        return Course("CURR", task.current_A, max(map(abs, window_V)), (), readings, interval_s, window_V)
    limit_A = task.current_limit_A
    if isinstance(task, ConstantPotential):
        end_A = task.end_current_A
        return Course("VOLT", task.potential_V, limit_A, (), readings, interval_s, end_current_A=end_A)
    if isinstance(task, LinearSweep):
        steps = (task.start_V, *_leg(task.start_V, task.end_V, task.step_V))
        return Course("VOLT", task.start_V, limit_A, steps, len(steps), interval_s)
    corners = (task.start_V, task.vertex_1_V, task.vertex_2_V, task.start_V)
    steps = tuple(level for a, b in itertools.pairwise(corners) for level in _leg(a, b, task.step_V))
    return Course("VOLT", task.start_V, limit_A, steps, len(steps) * int(task.cycles), interval_s)


def _leg(start_V: float, end_V: float, step_V: float) -> list[float]:
    """Levels from one potential to another, without the first."""
    count = math.ceil(abs(end_V - start_V) / step_V - 1e-9)
    return [start_V + (end_V - start_V) * i / count for i in range(1, count + 1)]


def batched(values: Sequence[float], count: int) -> Iterator[Sequence[float]]:
    """Give so many values at a time; the last group may be smaller."""
    for i in range(0, len(values), count):
        yield values[i : i + count]


def decode_output(reply: bytes) -> bool:
    """Whether the output is on."""
    return decode_number(reply) != 0.0


def decode_off_state(reply: bytes) -> str:
    """Short form of the output-off state, such as "HIMP"."""
    return decode_text(reply).upper()[:4]


class KeithleySmu(SourceMeasureUnit, Instrument):
    """Brings the off state, limits and output of a Keithley unit where a technique needs them.

    A subclass runs the course in its instrument, and takes single readings.
    """

    models: ClassVar[tuple[str, ...]] = ()
    largest_V: ClassVar[float] = 210.0
    largest_A: ClassVar[float] = 1.05
    smallest_limit: ClassVar[dict[str, float]] = {"VOLT": 1e-9, "CURR": 0.02}  # by what is sourced
    shortest_interval_s: ClassVar[float] = 0.05
    longest_interval_s: ClassVar[float] = 900.0
    off_state_questions: ClassVar[tuple[str, ...]] = (":OUTP:SMOD?",)
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0)

    def __init__(self, **kwargs: Any) -> None:
        self._course: Course | None = None
        self._began_s = math.nan
        self._last_s = -math.inf
        super().__init__(**kwargs)
        self.scpi = ScpiClient(self.link)
        self.applied_potential.narrow(-self.largest_V, self.largest_V)
        self.applied_current.narrow(-self.largest_A, self.largest_A)

    @property
    def open_limit_V(self) -> float:
        """Voltage limit of a source of no current: above what the cell may have."""
        return 1.05 * max(map(abs, self.applied_potential.limits))

    def identify(self) -> Identity:
        """Ask who it is."""
        maker, model, serial, firmware = self.scpi.ask("*IDN?", decode_identification)
        if "KEITHLEY" not in maker.upper() or model.upper() not in self.models:
            raise self.wrong(f"{maker} {model}")
        return Identity("Keithley", model.upper().removeprefix("MODEL "), serial, firmware)

    def upload_limits(self) -> None:
        """Bring off state and overvoltage protection into the instrument."""
        self._set_off_state()
        self.protect()

    def check_task(self, task: Any) -> None:
        """Raise LimitError if a technique leaves the limits, or is faster or longer than the unit can be."""
        super().check_task(task)
        course = course_of(task, self.open_limit_V)
        if not 0.999 * self.shortest_interval_s <= course.interval_s <= self.longest_interval_s:
            raise LimitError(
                f"{self.name}: {course.interval_s:g} s between readings is not allowed, it must be from "
                f"{self.shortest_interval_s:g} to {self.longest_interval_s:g} s"
            )
        if course.limit < self.smallest_limit[course.source]:
            unit = "A" if course.source == "VOLT" else "V"
            raise LimitError(
                f"{self.name}: a limit of {course.limit:g} {unit} is below the smallest, "
                f"{self.smallest_limit[course.source]:g} {unit}"
            )
        self.check_course(course)

    def begin(self, task: Any) -> None:
        """Bring source and limits into the instrument, read them back, switch the output on and start."""
        course = course_of(task, self.open_limit_V)
        self._expect_off()
        self.upload_limits()
        self.configure(course)
        if course.source == "CURR":
            self._set("CURR", 0.0, self.open_limit_V)
            self._switch_on()
            self._check_cell(course)
        self._set(course.source, course.start, course.limit)
        if course.source == "VOLT":
            self._switch_on()
        self._course, self._last_s = course, -math.inf
        self._began_s = self.start_course(course)

    def listen(self) -> bool:
        """Take over what has been measured; when the course is over, switch the output off."""
        course = self._course
        if course is None:
            raise self.refused("nothing measures")
        samples, over = self.fetch(course)
        ended = self._take(course, samples)
        if over or ended:
            self.insist(self._off)
        return over or ended

    def read_at_rest(self) -> None:
        """Read the potential at no current, with the output on for just that.

        Raises
        ------
        InstrumentError
            If the output is on though nothing runs, or the instrument reports a fault.
        """
        self._expect_off()
        self.insist(self._measure_at_rest)

    def switch_off(self) -> None:
        """End what runs and switch the output off, at high impedance; read both back."""
        self.insist(self._off)
        self.record(potential=math.nan, quality="invalid")

    @abstractmethod
    def protect(self) -> None:
        """Bring the overvoltage protection into the instrument and read it back."""

    @abstractmethod
    def configure(self, course: Course) -> None:
        """Set functions, ranges, four-wire sensing and integration time, with the output off."""

    @abstractmethod
    def set_level(self, source: Function, level: float) -> None:
        """Set what is sourced."""

    @abstractmethod
    def set_limit(self, source: Function, limit: float) -> float:
        """Set the limit of what is not sourced; give it as read back."""

    @abstractmethod
    def check_course(self, course: Course) -> None:
        """Raise LimitError for a course that is too long for the instrument."""

    @abstractmethod
    def start_course(self, course: Course) -> float:
        """Start the readings, the output being on; give the time (s since 1970) of their second 0."""

    @abstractmethod
    def fetch(self, course: Course) -> tuple[list[Sample], bool]:
        """Give the readings that are new, and whether there will be no more."""

    @abstractmethod
    def read_once(self) -> Sample:
        """Take one reading; the output is on."""

    @abstractmethod
    def end_course(self) -> None:
        """End what runs in the instrument; nothing may run."""

    def _resynchronise(self) -> None:
        self.link.send(b"*CLS\n")  # what others did wrong is not reported to us
        super()._resynchronise()
        self._set_off_state()

    def _set_off_state(self) -> None:
        self.scpi.order(":OUTP:SMOD HIMP")
        self._expect_high_impedance()

    def _expect_high_impedance(self) -> None:
        for question in self.off_state_questions:
            state = self.scpi.ask(question, decode_off_state)
            if state != "HIMP":
                raise self.refused(
                    f"its output-off state is {state}, not high impedance: it would load the cell"
                )

    def _set(self, source: Function, level: float, limit: float) -> None:
        found = self.set_limit(source, limit)
        if not abs(found - limit) <= _ENOUGH * limit:
            raise self.refused(f"its limit is {found:g}, not {limit:g}")
        self.set_level(source, level)

    def _measure_at_rest(self) -> None:
        """Read the potential at no current; after a fault the output is off again."""
        try:
            self.upload_limits()
            self.configure(course_of(OpenCircuit(1.0, 1.0), self.open_limit_V))
            self._set("CURR", 0.0, self.open_limit_V)
            self._switch_on()
            sample = self.read_once()
            self._off()
        except Exception:
            self._secure()
            raise
        self._stop_securing()  # of a try before this one
        quality, potential_V = "ok", sample.voltage_V
        if sample.limited:
            quality, potential_V = "saturated", math.nan
        elif not math.isfinite(potential_V):
            quality = "invalid"
        self.record(potential=potential_V, current=0.0, quality=quality)

    def _switch_on(self) -> None:
        self.scpi.order(":OUTP ON")
        if not self.scpi.ask(":OUTP?", decode_output):
            raise self.refused("its output does not go on")
        self.record(output=1.0)

    def _expect_off(self) -> None:
        on = self.scpi.ask(":OUTP?", decode_output)
        self.record(output=float(on))
        if on:
            self.record(potential=math.nan, current=math.nan, quality="invalid")
            raise self.refused("its output is on though nothing runs")

    def _off(self) -> None:
        for order in (self.end_course, lambda: self.scpi.order(":OUTP OFF")):
            try:
                order()
            except InstrumentError as error:  # of something earlier, perhaps: whether it is off is read back
                logger.warning("%s", error)
        if self.scpi.ask(":OUTP?", decode_output):
            self.record(output=1.0)
            raise self.refused("its output stays on")
        self._set_off_state()
        self._course = None
        self.record(output=0.0, current=0.0)

    def _check_cell(self, course: Course) -> None:
        """Make sure that the cell is where a source of current does not clamp it."""
        sample = self.read_once()
        low_V, high_V = course.window_V or (-self.open_limit_V, self.open_limit_V)
        if sample.limited or not low_V <= sample.voltage_V <= high_V:
            raise self.refused(
                f"the cell is at {sample.voltage_V:g} V, outside the window of {low_V:g} to {high_V:g} V"
            )

    def _take(self, course: Course, samples: list[Sample]) -> bool:
        """Take over readings up to the one that ends the course; say whether there is one."""
        points, ended = [], False
        for sample in samples:
            if not sample.time_s >= self._last_s:
                raise self.link.failed("the times of its readings go back")
            self._last_s = sample.time_s
            at_window = course.window_V is not None and sample.limited
            overload = sample.limited and not at_window
            points.append(
                CoursePoint(
                    self._began_s + sample.time_s,
                    sample.voltage_V,
                    sample.current_A,
                    "overload" if overload or not _finite(sample) else "ok",
                )
            )
            if at_window or _ends(course, sample):
                ended = True
                break
        self.add_course(points)
        return ended


def _finite(sample: Sample) -> bool:
    return math.isfinite(sample.voltage_V) and math.isfinite(sample.current_A)


def _ends(course: Course, sample: Sample) -> bool:
    if course.window_V is not None:
        low_V, high_V = course.window_V
        return not math.isnan(sample.voltage_V) and not low_V <= sample.voltage_V <= high_V
    return course.end_current_A is not None and abs(sample.current_A) < course.end_current_A
