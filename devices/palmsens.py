"""PalmSens potentiostats that run MethodSCRIPT: EmStat4 HR and LR, EmStat Pico, Nexus.

The scripts, their output and the models' limits are in `devices.methodscript`. Serial settings: PalmSens's
own examples. TCP port of the Nexus: the maker's SDK (pypalmsens 2.2.0, `Instrument.from_ip`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

from ophyd.utils import LimitError

from devices.families.electrochemical import CoursePoint, ImpedancePoint
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import ConstantCurrent, GalvanostaticImpedanceSweep, Technique
from devices.instrument import About, Identity, Instrument
from devices.methodscript import (
    MODELS,
    Variable,
    abort_acknowledged,
    cell_off_script,
    decode_finished,
    decode_firmware,
    decode_output,
    decode_potential,
    decode_serial,
    decode_started,
    encode_script,
    potential_script,
    script_ended,
    script_output,
    technique_script,
)
from ssblab.links import InstrumentError, LinkSettings, ProtocolError, Refusal, line

__all__ = ["EmStat4LR", "EmStatPico", "Nexus", "PalmSens"]

T = TypeVar("T")

_DEAF_S = 0.15  # after an error the instrument ignores its input for up to 0.1 s
_ABORT_S = 10.0  # an abort takes effect after the sample that is being taken
_READINGS_A_LOOK = 60  # 4 kB: what a serial port surely holds
_SHORTEST_LOOK_S = 0.05
_TIMING, _OVERLOAD, _UNDERLOAD = 1, 2, 4

_VERIFIED = (
    "packages, status bits and scripts that the maker prints",
    "every script by the maker's own grammar (pypalmsens 2.2.0)",
    "the maker's battery_cycling script (pypalmsens 2.2.0) runs on our simulated instrument",
    "the client labmcp-palmsens 0.1.3 runs a voltammogram on our simulated instrument",
)
_UNSUPPORTED = (
    "pulsed and fast techniques, bipotentiostat, multiplexers, files on the instrument; not verified "
    "on an instrument: shortest interval, limits tested by scripts, range of the galvanostat"
)


class PalmSens(Potentiostat, Instrument):
    """EmStat4 HR.

    On opening, and after each loss of the link, whatever script runs is aborted and the cell switched off:
    nobody would get its data. There is no command that tells whether the cell is on; the proof that it is off
    is an open-circuit reading, which the instrument refuses (error 0014) while the cell is on.

    A potential window (`ConstantCurrent`) and an end current (`ConstantPotential`) end a technique. A current
    limit, or the window of a galvanostatic spectrum, that is reached switches the cell off and is an error.
    """

    model = "EmStat4 HR"
    device_type: ClassVar[str] = "es4_hr"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0, serial="921600 8N1", wake=b"\nZ\n")
    about: ClassVar[About] = About(
        maker="PalmSens",
        models="EmStat4 HR (EmStat4S, EmStat4X, EmStat4M)",
        protocol="MethodSCRIPT 1.8",
        transport="USB or UART, 921600 8N1; TCP through a serial server",
        verified=_VERIFIED,
        unsupported=_UNSUPPORTED,
    )

    def __init__(self, **kwargs: Any) -> None:
        self._limits = MODELS[self.device_type]
        self._began = math.nan
        self._last_s = -math.inf
        self._readings = 0
        self._reached = ""
        super().__init__(**kwargs)
        largest_A = self._limits.current_A[1]
        self.applied_potential.narrow(*self._limits.potential_V)
        self.applied_current.narrow(-largest_A, largest_A)
        self.sweep_frequency.narrow(*self._limits.frequency_Hz)
        self.sweep_amplitude.narrow(0.0, self._limits.amplitude_V)
        self.sweep_current_amplitude.narrow(0.0, largest_A / math.sqrt(2))

    def check_task(self, task: Technique) -> None:
        """Raise LimitError if a technique leaves the limits, or its readings come faster than the line."""
        super().check_task(task)
        interval_s = getattr(task, "interval_s", math.inf)
        shortest_s = self._limits.shortest_interval_s
        if interval_s < shortest_s:
            raise LimitError(
                f"{self.name}: {interval_s:g} s between readings is shorter than {shortest_s:g} s, "
                "the shortest that the line can carry"
            )
        try:
            technique_script(task, self._limits)
        except ValueError as error:
            raise LimitError(f"{self.name}: {error}") from error

    def look_period_s(self, task: Technique) -> float:
        """How often to listen: before a serial port is full."""
        full_s = _READINGS_A_LOOK * getattr(task, "interval_s", math.inf)
        return min(super().look_period_s(task), max(full_s, _SHORTEST_LOOK_S))

    def identify(self) -> Identity:
        """Ask for type, firmware and serial number."""
        kind, version = self.link.ask(b"t\n", script_output(b"*\n"), decode_firmware)
        if kind != self.device_type:
            raise self.wrong(MODELS[kind].name if kind in MODELS else kind)
        serial = self.link.ask(b"i\n", script_output(b"\n"), decode_serial)
        return Identity("PalmSens", self._limits.name, serial=serial, firmware=version)

    def read_at_rest(self) -> None:
        """Read the potential at open circuit.

        Raises
        ------
        InstrumentError
            If the cell is on, or the instrument reports a fault.
        """
        command = encode_script(potential_script())
        potential = self._exchange(lambda: self.link.ask(command, script_output(b"\n\n"), decode_potential))
        if potential is None:
            self.clock.sleep(_DEAF_S)
            self.record(cell=1.0, potential=math.nan, current=math.nan, quality="invalid")
            raise self.refused("the cell is on though nothing runs")
        quality, potential_V = "ok", potential.value
        if potential.saturated:
            quality, potential_V = "saturated", math.nan
        elif not math.isfinite(potential_V):
            quality = "invalid"
        self.record(cell=0.0, potential=potential_V, current=0.0, quality=quality)

    def begin(self, task: Technique) -> None:
        """Load the technique's script and run it."""
        command = encode_script(technique_script(task, self._limits))
        self._exchange(lambda: self.link.order(command, script_output(b"\n"), decode_started))
        self._began = self.clock.now()
        self._last_s, self._readings, self._reached = -math.inf, 0, ""
        self.record(cell=1.0, potential=math.nan, current=math.nan)

    def listen(self) -> bool:
        """Take over the lines that have come; the script's timer, begun with the script, gives the times."""
        readings: list[tuple[CoursePoint, Variable]] = []
        try:
            return self._listen_to(self.link.receive_waiting(line(b"\n")), readings)
        finally:
            if readings:
                self.add_course([point for point, _ in readings], self._range(readings[-1][1]))

    def switch_off(self) -> None:
        """Abort what runs, switch the cell off with a script of its own, and prove it by a reading."""
        self._abort()
        self._cell_off()
        self.read_at_rest()

    def _resynchronise(self) -> None:
        self._abort()
        super()._resynchronise()
        self._cell_off()

    def _abort(self) -> None:
        """Abort the script that runs, if any, and wait for its end."""
        # No order of the link: that one takes the lines of a running script for stale replies.
        self.link.send(b"Z\n")
        if self.link.receive(abort_acknowledged, command=b"Z\n").endswith(b"Z\n"):
            self.link.receive(script_ended, timeout_s=_ABORT_S, command=b"Z\n")
        else:
            self.clock.sleep(_DEAF_S)

    def _cell_off(self) -> None:
        command = encode_script(cell_off_script())
        self._exchange(lambda: self.link.order(command, script_output(b"\n\n"), decode_finished))

    def _exchange(self, exchange: Callable[[], T]) -> T:
        """Do an exchange; after a refusal wait until the instrument listens again."""
        try:
            return exchange()
        except InstrumentError:
            self.clock.sleep(_DEAF_S)
            raise

    def _listen_to(self, lines: list[bytes], readings: list[tuple[CoursePoint, Variable]]) -> bool:
        """Understand lines of a script's output; say whether it is over."""
        for data in lines:
            try:
                output = decode_output(data)
                if output.kind == "package":
                    self._take_package({variable.type: variable for variable in output.variables}, readings)
            except Refusal as error:
                self.clock.sleep(_DEAF_S)
                raise self.refused(str(error)) from error
            except ProtocolError as error:
                raise self.link.failed(f"{data!r} makes no sense ({error})") from error
            if output.kind == "text":
                self._reached = output.text
            elif output.kind == "end":
                if self._reached:
                    raise self.refused(f"reached its {self._reached} {self.so_far()}")
                return True
        return False

    def _take_package(self, found: dict[str, Variable], readings: list[tuple[CoursePoint, Variable]]) -> None:
        if found.keys() == {"eb", "dc", "cc", "cd"}:
            self._take_impedance(found)
        else:
            readings.append(self._reading(found))

    def _take_impedance(self, found: dict[str, Variable]) -> None:
        if not found["eb"].value > self._last_s:
            raise ProtocolError("a point came twice")
        self._last_s = found["eb"].value
        status = _status(found["cc"].status | found["cd"].status)
        point = ImpedancePoint(
            self._began + found["eb"].value, found["dc"].value, found["cc"].value, found["cd"].value, status
        )
        self.add_point(point, self._range(found["cc"]))

    def _reading(self, found: dict[str, Variable]) -> tuple[CoursePoint, Variable]:
        """One reading of a course, and the variable whose range counts."""
        count, time_s = found.get("ja"), found.get("eb")
        potential = found.get("ab", found.get("da"))
        current = found.get("ba", found.get("db", _NO_CURRENT if len(found) == 3 else None))
        if count is None or time_s is None or potential is None or current is None:
            raise ProtocolError("not a package of the technique")
        if count.value != self._readings + 1:
            raise ProtocolError(f"reading {self._readings + 1} was expected")
        if not time_s.value >= self._last_s:
            raise ProtocolError("the time goes back")
        self._readings, self._last_s = self._readings + 1, time_s.value
        status = _status(potential.status | current.status)
        point = CoursePoint(self._began + time_s.value, potential.value, current.value, status)
        return point, current

    def _range(self, variable: Variable) -> str:
        return "" if variable.range is None else self._limits.current_ranges.get(variable.range, "")


class EmStat4LR(PalmSens):
    """EmStat4 LR: less potential, and current ranges down to 1 nA."""

    model = "EmStat4 LR"
    device_type = "es4_lr"
    about: ClassVar[About] = About(
        maker="PalmSens",
        models="EmStat4 LR (EmStat4S, EmStat4X, EmStat4M)",
        protocol="MethodSCRIPT 1.8",
        transport="USB or UART, 921600 8N1; TCP through a serial server",
        verified=_VERIFIED,
        unsupported=_UNSUPPORTED,
    )


class EmStatPico(PalmSens):
    """EmStat Pico: a smaller range of potential and current, no galvanostat, and a slower serial line."""

    model = "EmStat Pico"
    device_type = "espico"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0, serial="230400 8N1", wake=b"\nZ\n")
    techniques: ClassVar[tuple[type, ...]] = tuple(
        technique
        for technique in Potentiostat.techniques
        if technique not in (ConstantCurrent, GalvanostaticImpedanceSweep)
    )
    about: ClassVar[About] = About(
        maker="PalmSens",
        models="EmStat Pico",
        protocol="MethodSCRIPT 1.8",
        transport="UART or USB, 230400 8N1; TCP through a serial server",
        verified=_VERIFIED,
        unsupported=_UNSUPPORTED,
    )


class Nexus(PalmSens):
    """Nexus: 10 V, 1 A, and spectra up to 1 MHz; it stands in the network."""

    model = "Nexus"
    device_type = "nexus1"
    about: ClassVar[About] = About(
        maker="PalmSens",
        models="Nexus",
        protocol="MethodSCRIPT 1.8",
        transport="TCP 49152, raw; USB, 921600 8N1",
        verified=(
            "identifier, current ranges and scripts that the maker prints for it",
            "every script by the maker's own grammar (pypalmsens 2.2.0)",
        ),
        unsupported=(
            f"{_UNSUPPORTED}, largest amplitude (taken from the EmStat4), MethodSCRIPT over TCP as over USB; "
            "cell_on at the potential just measured, second sense electrode, ranges of potential"
        ),
    )


_NO_CURRENT = Variable("ba", 0.0)  # of an open circuit


def _status(bits: int) -> Literal["ok", "overload", "underload", "timing"]:
    if bits & _OVERLOAD:
        return "overload"
    if bits & _UNDERLOAD:
        return "underload"
    return "timing" if bits & _TIMING else "ok"
