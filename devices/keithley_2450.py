"""Keithley 2450 source-measure unit, SCPI command set.

Sources: Model 2450 Reference Manual 2450-901-01 Rev. B (section 6; identification and error log printed
there), and the Model 2461's (2461-901-01), whose SCPI is the same, where the former could not be read. A
course is a trigger model of single blocks, which exist under these names in all revisions of the manual
that were seen (the ready-made `:TRIG:LOAD "SimpleLoop"` was `:TRIG:LOAD:LOOP:SIMP` in the first): a timer
started anew in each pass keeps the interval, a limit branch ends the course at its window or end current,
and its last block switches the output off whether or not the computer still lives. `:READ:BACK` has the
sourced quantity measured, so that a reading has both. Bits of the source status (SOURSTAT): 16 over
temperature, 32 limit, from the table of the TSP attribute `bufferVar.sourcestatuses`. Not verified on an
instrument: that SCPI tells that status as these bits, that a recalled configuration list leaves the output
on (as the manual's examples have it), and the shortest interval.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from ophyd.utils import LimitError

from devices.instrument import About, Identity
from devices.keithley import Course, Function, KeithleySmu, Sample, batched
from ssblab.links import LinkError, ProtocolError, Refusal
from ssblab.links.scpi import decode_number, decode_numbers, decode_text

__all__ = ["Keithley2450", "decode_samples", "decode_state"]

logger = logging.getLogger(__name__)

_BUFFER = '"defbuffer1"'
_LIST = '"VoltCustomSweepList"'
_ELEMENTS = "REL,SOUR,READ,SOURSTAT"
_OVER_TEMPERATURE, _LIMITED = 16, 32
_BATCH = 500  # readings in one question: 25 kB
_LONG_S = 0.5  # intervals from which on one power-line cycle is integrated
_MOST_READINGS = 1_000_000
_MOST_STEPS = 2500
_VALUES_A_COMMAND = 100
_PROTECTIONS_V = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)
_STATES = ("IDLE", "RUNNING", "WAITING", "EMPTY", "BUILDING", "FAILED", "ABORTING", "ABORTED")


def decode_state(reply: bytes) -> str:
    """State of the trigger model, from a reply such as b"IDLE;IDLE;9".

    Raises
    ------
    ProtocolError
        If it is none.
    """
    state = decode_text(reply).split(";")[0].strip().upper()
    if state not in _STATES:
        raise ProtocolError(f"{state!r} is no state of a trigger model")
    return state


def decode_samples(reply: bytes, count: int, source: Function) -> list[Sample]:
    """Readings of a buffer: relative time, source value, reading and source status each.

    Raises
    ------
    ProtocolError
        If these are not so many readings.
    Refusal
        If the instrument was too hot.
    """
    numbers = decode_numbers(reply, 4 * count)
    return [_sample(source, *fields) for fields in batched(numbers, 4)]


def _sample(source: Function, time_s: float, sourced: float, read: float, status: float) -> Sample:
    if not (time_s >= 0.0 and status >= 0.0 and status.is_integer()):
        raise ProtocolError("no time or no status")
    if int(status) & _OVER_TEMPERATURE:
        raise Refusal("reports that it is too hot")
    voltage_V, current_A = (sourced, read) if source == "VOLT" else (read, sourced)
    return Sample(time_s, voltage_V, current_A, bool(int(status) & _LIMITED))


def _one(reply: bytes) -> int:
    value = decode_number(reply)
    if not (value >= 0.0 and value.is_integer()):
        raise ProtocolError("not a count")
    return int(value)


class Keithley2450(KeithleySmu):
    """Keithley 2450, four-wire: HI and SENSE HI at the cell's positive, LO and SENSE LO at its negative.

    The instrument itself ends a `ConstantCurrent` at its window and a `ConstantPotential` at its end current;
    at the edge of the window that is also the voltage limit, where the source clamps, the driver ends it when
    it next looks.
    """

    model = "2450"
    models: ClassVar[tuple[str, ...]] = ("MODEL 2450",)
    off_state_questions: ClassVar[tuple[str, ...]] = (":OUTP:VOLT:SMOD?", ":OUTP:CURR:SMOD?")
    about: ClassVar[About] = About(
        maker="Keithley (Tektronix)",
        models="2450 SourceMeter",
        protocol="SCPI (command set SCPI)",
        transport="TCP 5025, raw; USB and GPIB through VISA",
        verified=(
            "replies that the maker prints",
            "pymeasure 0.16.0 and qcodes 0.58.0 drive our simulated instrument",
        ),
        unsupported=(
            "pulses, resistance, digital lines, TSP; more than 2500 steps in a cycle of a sweep. Not "
            "verified on an instrument: the bits of the source status in SCPI, the shortest interval (0.05 s)"
        ),
    )

    def __init__(self, **kwargs: Any) -> None:
        self._fetched = 0
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask who it is, and whether it listens to SCPI."""
        identity = super().identify()
        language = self.scpi.ask("*LANG?", decode_text).strip('"').upper()
        if language != "SCPI":
            raise self.wrong(
                f"{identity.model} with the command set {language}: set it to SCPI (MENU, System, Settings, "
                "Command Set), restart it"
            )
        return identity

    def protect(self) -> None:
        """Set the lowest overvoltage protection above what the station allows, and read it back."""
        level_V = next((level for level in _PROTECTIONS_V if level > self.open_limit_V), None)
        word = "NONE" if level_V is None else f"PROT{level_V}"
        self.scpi.order(f":SOUR:VOLT:PROT {word}")
        found = self.scpi.ask(":SOUR:VOLT:PROT?", decode_text).upper()
        if found != word:
            raise self.refused(f"its overvoltage protection is {found}, not {word}")

    def configure(self, course: Course) -> None:
        """Set functions, ranges, four-wire sensing and integration time, with the output off."""
        source, sensed = (course.source, "CURR" if course.source == "VOLT" else "VOLT")
        nplc = 1.0 if course.interval_s >= _LONG_S else 0.1
        self.scpi.order(
            f":SOUR:FUNC {source}",
            f":SOUR:{source} 0",
            f":SOUR:{source}:RANG:AUTO ON",
            f":SOUR:{source}:READ:BACK ON",
            f':SENS:FUNC "{sensed}"',
            f":SENS:{sensed}:RANG:AUTO ON",
            f":SENS:{sensed}:NPLC {nplc:g}",
            ":SENS:VOLT:RSEN ON",
            ":SENS:CURR:RSEN ON",
            ":SENS:COUN 1",
        )
        if not self.scpi.ask(f":SENS:{sensed}:RSEN?", decode_number):
            raise self.refused("it does not sense with four wires")

    def set_level(self, source: Function, level: float) -> None:
        """Set what is sourced."""
        self.scpi.order(f":SOUR:{source} {level:.9g}")

    def set_limit(self, source: Function, limit: float) -> float:
        """Set the source limit; give it as read back."""
        word = f":SOUR:{source}:{'ILIM' if source == 'VOLT' else 'VLIM'}"
        self.scpi.order(f"{word} {limit:.9g}")
        return self.scpi.ask(f"{word}?", decode_number)

    def check_course(self, course: Course) -> None:
        """Raise LimitError for a course that is too long for buffer or list."""
        if course.readings > _MOST_READINGS or len(course.steps) > _MOST_STEPS:
            raise LimitError(
                f"{self.name}: {course.readings} readings with {len(course.steps)} steps in a cycle are more "
                f"than {_MOST_READINGS} with {_MOST_STEPS}"
            )

    def start_course(self, course: Course) -> float:
        """Load the list of a sweep and the trigger model, and start it."""
        for i, values in enumerate(batched(course.steps, _VALUES_A_COMMAND)):
            words = ",".join(f"{value:.7g}" for value in values)
            self.scpi.order(f":SOUR:LIST:VOLT{':APP' if i else ''} {words}")
        self.scpi.order(
            f":TRAC:POIN {max(course.readings, 10)}, {_BUFFER}",
            ":TRIG:TIM1:STAT OFF",
            f":TRIG:TIM1:DEL {course.interval_s:.9g}",
            ":TRIG:TIM1:COUN 1",
            ":TRIG:TIM1:STAR:STIM NOT1",
            ":TRIG:TIM1:STAR:GEN OFF",
            ":TRIG:TIM1:STAT ON",
            ':TRIG:LOAD "Empty"',
        )
        self.scpi.order(*(_sweep_blocks(course) if course.steps else _blocks(course)))
        self._fetched = 0
        self.scpi.order(":INIT")
        first_s = course.interval_s if course.steps else 0.0  # relative times count from the first reading
        return self.clock.now() + first_s

    def fetch(self, course: Course) -> tuple[list[Sample], bool]:
        """Give the readings that are new, and whether the trigger model has ended."""
        state = self.scpi.ask(":TRIG:STAT?", decode_state)
        count = self.scpi.ask(f":TRAC:ACT? {_BUFFER}", _one)
        if count < self._fetched:
            raise self.refused(f"it has lost its readings {self.so_far()}")
        if state not in ("RUNNING", "WAITING", "IDLE"):
            raise self.refused(f"its trigger model is {state} {self.so_far()}")
        samples: list[Sample] = []
        while self._fetched < count:
            try:
                samples += self._batch(course, self._fetched + 1, min(count, self._fetched + _BATCH))
            except LinkError as error:
                if not samples:
                    raise
                logger.warning("%s", error)  # it comes again at the next look; what is here is taken first
                return samples, False
        return samples, state == "IDLE"

    def read_once(self) -> Sample:
        """Take one reading while a source of current is on."""
        (sample,) = self.scpi.ask(
            f":READ? {_BUFFER},{_ELEMENTS}", lambda reply: decode_samples(reply, 1, "CURR")
        )
        return sample

    def end_course(self) -> None:
        """Stop the trigger model."""
        self.scpi.order(":ABOR")

    def _batch(self, course: Course, first: int, last: int) -> list[Sample]:
        samples = self.scpi.ask(
            f":TRAC:DATA? {first},{last},{_BUFFER},{_ELEMENTS}",
            lambda reply: decode_samples(reply, last - first + 1, course.source),
        )
        self._fetched = last
        return samples


def _blocks(course: Course) -> list[str]:
    """Trigger model of a constant level: notify starts the timer, which is waited for after each reading."""
    blocks = [
        f":TRIG:BLOC:BUFF:CLE 1, {_BUFFER}",
        ":TRIG:BLOC:NOT 2, 1",
        f":TRIG:BLOC:MEAS 3, {_BUFFER}",
    ]
    end = 7 if course.window_V or course.end_current_A else 6
    if course.window_V:
        low_V, high_V = course.window_V
        blocks.append(f":TRIG:BLOC:BRAN:LIM:CONS 4, OUT, {low_V:.9g}, {high_V:.9g}, {end}, 3")
    elif course.end_current_A:
        end_A = course.end_current_A
        blocks.append(f":TRIG:BLOC:BRAN:LIM:CONS 4, IN, {-end_A:.9g}, {end_A:.9g}, {end}, 3")
    return [
        *blocks,
        f":TRIG:BLOC:WAIT {end - 2}, TIM1",
        f":TRIG:BLOC:BRAN:COUN {end - 1}, {course.readings}, 2",
        f":TRIG:BLOC:SOUR:STAT {end}, OFF",
    ]


def _sweep_blocks(course: Course) -> list[str]:
    """Trigger model of a sweep: each step is read at its end, and the timer runs from wait to wait."""
    return [
        f":TRIG:BLOC:BUFF:CLE 1, {_BUFFER}",
        ":TRIG:BLOC:NOT 2, 1",
        f":TRIG:BLOC:CONF:NEXT 3, {_LIST}",
        ":TRIG:BLOC:WAIT 4, TIM1",
        ":TRIG:BLOC:NOT 5, 1",
        f":TRIG:BLOC:MEAS 6, {_BUFFER}",
        f":TRIG:BLOC:BRAN:COUN 7, {course.readings}, 3",
        ":TRIG:BLOC:SOUR:STAT 8, OFF",
    ]
