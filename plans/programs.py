"""Programs of the language of steps (docs/steps.md), run on a cell: its channel, chamber and press together.

What a cycler can do by itself is uploaded to it, with its limits: all steps up to the next that the plan has
to do. A potentiostat does one step at a time. What neither can judge, such as a temperature, a slope of the
voltage or the potential of one electrode, the plan looks at while the step runs. Other devices can be
recorded meanwhile (`Beside`): the electrodes of a cell with a reference electrode, the press that a cell
swells in.

Each step, or group of steps that is uploaded together, makes an event in the stream `steps` when it is over:
which it was, how many rows of which stream are its, when it began and ended, and why the plan ended it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bluesky import Msg

from devices.families.climate_chamber import ClimateChamber
from devices.families.cycler import CyclerChannel
from devices.families.cycler_program import CellLimits
from devices.families.cycler_program import Program as ChannelProgram
from devices.families.cycler_program import Step as ChannelStep
from devices.families.dew_point_transmitter import DewPointTransmitter
from devices.families.gas_sensor import GasSensor
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    LinearSweep,
    OpenCircuit,
)
from devices.humidity_box import HumidityBox
from devices.instrument import LabDevice
from devices.press import Press
from devices.three_electrode_cell import ThreeElectrodeCell
from plans.arguments import PlanGenerator
from plans.marks import FAILED, PAUSED, Marks
from plans.spectra import cannot_sweep, checked_spectrum, sweep_of
from plans.stubs import measure, move
from ssblab.clock import Clock
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import (
    ELECTRODE_POTENTIALS,
    Amount,
    Bounds,
    Condition,
    Current,
    Hold,
    Impedance,
    Loop,
    Program,
    Report,
    Rest,
    SetPoint,
    Step,
    Sweep,
    Wait,
    While,
    check,
    numbered,
    parse,
)

__all__ = [
    "Beside",
    "CellRig",
    "ConditionsNotMet",
    "Judge",
    "LimitBroken",
    "Prepared",
    "Source",
    "prepare",
    "run",
]

#: What drives the current of a cell.
Source = CyclerChannel | Potentiostat

_LOOK_S = 10.0  # between two looks at what the instrument can't judge
_DAY_S = 86400.0
_SLOPE_S = 600.0  # over which a slope of the voltage is judged
_SLOPE_READINGS = 5
_PROTECTION_V = 0.02  # beyond the limits of the sample: the instrument compares with what it measures
_PROTECTION = 1.05  # times the largest current
_REST_LOG_S = 60.0
_OVERSHOOT = 0.005  # of the capacity: may pass between two records of a potentiostat, which judges by them
_EARLY = 0.1  # share of a period by which a look may be early and still record


class LimitBroken(RuntimeError):
    """What must hold throughout a program did not hold."""


class _Judged(Exception):
    """The plan has ended the program, for the reason that it says."""


class ConditionsNotMet(RuntimeError):
    """What a program waits for did not come in its time."""


@dataclass(frozen=True)
class CellRig:
    """Where a cell is measured.

    Attributes
    ----------
    sample : CellSample
    channel : CyclerChannel or Potentiostat
        What drives its current and measures its voltage.
    chamber : ClimateChamber or None
    press : Press or None
    sensors : tuple of LabDevice
        Further devices that conditions of a program may ask for: dew point, H2S.
    electrodes : ThreeElectrodeCell or None
        Reads both electrodes against the reference electrode, for a potentiostat that is the channel.
    """

    sample: CellSample
    channel: Source
    chamber: ClimateChamber | None = None
    press: Press | None = None
    sensors: tuple[LabDevice, ...] = ()
    electrodes: ThreeElectrodeCell | None = None

    def roles(self) -> dict[str, str]:
        """Names of the devices by role, for a start document."""
        found: dict[str, LabDevice | None] = {
            "channel": self.channel,
            "chamber": self.chamber,
            "press": self.press,
            "electrodes": self.electrodes,
        }
        roles = {role: device.name for role, device in found.items() if device is not None}
        return roles | {sensor.family.replace(" ", "_"): sensor.name for sensor in self.sensors}

    def in_safe_order(self) -> list[LabDevice]:
        """What acts on the cell first, what surrounds it after."""
        return [device for device in (self.channel, self.press, self.chamber) if device is not None]


#: Looks at the records of a program while it runs, and says why it ends now; "" lets it go on.
Judge = Callable[[Sequence[Mapping[str, Any]]], str]


@dataclass(frozen=True)
class Beside:
    """What is recorded into a stream of its own while the channel is at work, one event each period.

    Attributes
    ----------
    devices : tuple of LabDevice
        Triggered side by side.
    stream : str
    period_s : float
        On a schedule that begins with each step, or group of steps that is uploaded together.
    then : callable, optional
        Makes a short plan that follows each event, for what has to be noted at once.
    """

    devices: tuple[LabDevice, ...]
    stream: str
    period_s: float
    then: Callable[[], PlanGenerator] | None = None


@dataclass(frozen=True)
class Prepared:
    """A program that was checked against its rig; `run` runs it.

    Attributes
    ----------
    rig : CellRig
    text : str
        As it was written.
    report : Report
        Of the check, with the program in amperes and terminal voltages.
    log_s : float
        Interval of records for steps that do not say theirs.
    """

    rig: CellRig
    text: str
    report: Report
    log_s: float

    @property
    def program(self) -> Program:
        """Program in amperes and terminal voltages."""
        return self.report.resolved.program


def prepare(rig: CellRig, text: str, *, log_s: float = 60.0) -> Prepared:
    """Check a program against sample, instruments and station; nothing moves.

    Parameters
    ----------
    rig : CellRig
    text : str
        A program in the language of steps.
    log_s : float
        Interval of records for steps that do not say theirs.

    Raises
    ------
    BadInput
        With all that is wrong.
    """
    report = check(parse(text), rig.sample, *_bounds(rig))
    wrong = [str(finding) for finding in report.findings if finding.severity == "error"]
    wrong += _impossible(rig, report.resolved.program)
    if wrong:
        lines = "\n".join(f"  {text}" for text in dict.fromkeys(wrong))
        raise BadInput(f"the program can't be run with sample {rig.sample.name}:\n{lines}")
    return Prepared(rig, text, report, log_s)


def run(
    program: Prepared,
    *,
    stream: str = "primary",
    section: str = "",
    beside: Beside | None = None,
    rows: list[dict[str, Any]] | None = None,
    judge: Judge | None = None,
) -> PlanGenerator:
    """Run a program within the open run.

    Parameters
    ----------
    program : Prepared
    stream : str
        Of the records of the channel. Spectra go into the stream `impedance`.
    section : str
        What this part of the experiment is called in the stream `steps`.
    beside : Beside, optional
        What is recorded meanwhile.
    rows : list, optional
        Gets the channel's records and their `time`, for a plan that goes on by them.
    judge : callable, optional
        Given all records of the program so far, while a step runs and at its end; what it returns, if not
        "", is the reason for which the program ends now.

    Returns
    -------
    str
        The reason given by `judge`; "" if the program came to its own end.

    Raises
    ------
    LimitBroken, ConditionsNotMet
        If a limit of the program does not hold, or what is waited for does not come.
    """
    if judge is not None and rows is None:
        rows = []
    runner = _Runner(program, stream, section, beside, rows, judge)
    try:
        yield from runner.steps(program.program.steps, "", ())
    except _Judged as judged:
        return str(judged)
    return ""


def _bounds(rig: CellRig) -> list[Bounds]:
    """What sample and instruments allow."""
    sample, channel = rig.sample, rig.channel

    def side(quantity: str, comparison: Any, value: float, unit: str) -> Condition:
        return Condition(quantity, comparison, Amount(value, unit))

    bounds = [
        Bounds(
            f"sample {sample.name}",
            (
                side("voltage", ">", sample.voltage_min_V, "V"),
                side("voltage", "<", sample.voltage_max_V, "V"),
                side("current", "<", sample.current_max_mA / 1e3, "A"),
            ),
        )
    ]
    settings: list[tuple[LabDevice, str, str, tuple[float, float]]] = [
        (channel, "voltage", "V", getattr(channel, _APPLIED_V[_kind(channel)]).limits),
        (channel, "current", "A", channel.applied_current.limits),
    ]
    if rig.chamber is not None:
        settings += [
            (rig.chamber, "temperature", "degC", rig.chamber.temperature_setpoint.limits),
            (rig.chamber, "humidity", "%RH", rig.chamber.humidity_setpoint.limits),
        ]
    if rig.press is not None:
        low_kN, high_kN = rig.press.force_setpoint.limits
        limits_MPa = 10.0 * low_kN / sample.area_cm2, 10.0 * high_kN / sample.area_cm2
        settings.append((rig.press, "pressure", "MPa", limits_MPa))
    for device, quantity, unit, (low, high) in settings:
        sides = []
        if math.isfinite(low) and quantity != "current":
            sides.append(side(quantity, ">", low, unit))
        if math.isfinite(high):
            sides.append(side(quantity, "<", high, unit))
        bounds.append(Bounds(device.name, tuple(sides)))
    return bounds


_APPLIED_V = {"channel": "applied_voltage", "potentiostat": "applied_potential"}


def _kind(channel: Source) -> str:
    return "channel" if isinstance(channel, CyclerChannel) else "potentiostat"


def _impossible(rig: CellRig, program: Program) -> list[str]:
    """What the rig can't do, by step."""
    found = []
    for number, step, _ in numbered(program.steps):
        for problem in _cannot(rig, step):
            text = step.heading() if isinstance(step, (Loop, While)) else step.text()
            found.append(f"step {number} ({text}): {problem}")
    for limit in program.limits:
        found += [f"limit {limit.text()}: {problem}" for problem in _unknown(rig, (limit,))]
    return found


def _cannot(rig: CellRig, step: Step) -> list[str]:
    channel = rig.channel
    match step:
        case Current() | Hold() | Rest():
            problems = _unknown(rig, step.until)
            if isinstance(step, Current) and step.at.unit != "A":
                problems.append(f"{channel.name} does currents, no power and no load")
            by_change = step.log is not None and (step.log.dV_V or step.log.dI_A)
            if by_change and not getattr(channel, "records_changes", False):
                problems.append(f"{channel.name} makes records by time: write '(60 s period)'")
            return problems
        case Sweep() | Impedance() if isinstance(channel, CyclerChannel):
            return [f"{channel.name} is a {channel.family}: it needs a potentiostat"]
        case Impedance():
            return cannot_sweep(channel, rig.sample, step)
        case SetPoint(quantity="temperature" | "humidity") if rig.chamber is None:
            return ["the sample is in no chamber: add one to its devices, or give chamber=..."]
        case SetPoint(quantity="pressure") if rig.press is None:
            return ["the sample is in no press: add one to its devices, or give press=..."]
        case SetPoint(quantity="dew point"):
            return ["no device of a cell sets a dew point"]
        case Wait() | While():
            return _unknown(rig, step.conditions)
    return []


def _unknown(rig: CellRig, conditions: Sequence[Condition]) -> list[str]:
    return [
        f"nothing of the sample's devices measures {condition.quantity}"
        for condition in conditions
        if condition.quantity not in _CHANNEL_QUANTITIES and _sensor(rig, condition.quantity) is None
    ]


_CHANNEL_QUANTITIES = frozenset({"voltage", "current", "capacity", "time", "dV/dt", "|dV/dt|"})


def _sensor(rig: CellRig, quantity: str) -> tuple[LabDevice, str, float] | None:
    """Device, signal, and factor to the unit of conditions, of what surrounds the cell."""
    if quantity in ("temperature", "humidity") and rig.chamber is not None:
        return rig.chamber, "temperature" if quantity == "temperature" else "relative_humidity", 1.0
    if quantity == "pressure" and rig.press is not None:
        return rig.press, "pressure", 1.0
    if quantity in ELECTRODE_POTENTIALS and rig.electrodes is not None:
        return rig.electrodes, quantity.replace(" ", "_"), 1.0
    for sensor in rig.sensors:
        if quantity == "dew point" and isinstance(sensor, DewPointTransmitter | HumidityBox):
            return sensor, "dew_point", 1.0
        if quantity == "H2S" and isinstance(sensor, GasSensor):
            return sensor, "concentration", 1e-3
    return None


class _Conditions:
    """Looks at conditions: of the channel by what it told last, of what surrounds the cell by reading it."""

    def __init__(self, rig: CellRig, conditions: Sequence[Condition]) -> None:
        self._rig = rig
        self.conditions = tuple(conditions)
        self._course: deque[tuple[float, float]] = deque()
        sensors = (_sensor(rig, condition.quantity) for condition in conditions)
        self._devices = list(dict.fromkeys(found[0] for found in sensors if found is not None))
        if any(condition.quantity in ("dV/dt", "|dV/dt|") for condition in conditions):
            self._devices.append(rig.channel)

    def read(self, fresh: Collection[LabDevice] = ()) -> PlanGenerator:
        """Have the devices read that are not fresh; the channel itself is read by its measurement."""
        for device in self._devices:
            if device not in fresh:
                yield from _read(device)
        if self._rig.channel in self._devices:
            self._course.append((self._rig.channel.clock.monotonic(), _voltage_V(self._rig.channel)))
            while self._course[-1][0] - self._course[0][0] > _SLOPE_S:
                self._course.popleft()

    def holding(self) -> list[Condition]:
        """Conditions that hold now; what is not known does not hold."""
        return [condition for condition in self.conditions if self._holds(condition)]

    def broken(self) -> list[Condition]:
        """Conditions that do not hold now."""
        return [condition for condition in self.conditions if not self._holds(condition)]

    def now(self, condition: Condition) -> float:
        """Value of what a condition is about; NaN if it is not known."""
        quantity = condition.quantity
        if (found := _sensor(self._rig, quantity)) is not None:
            device, signal, factor = found
            # The quality of the electrodes is that of the cell voltage too, which may not be read yet.
            quality = None if quantity in ELECTRODE_POTENTIALS else getattr(device, "quality", None)
            sound = quality is None or quality.get() == "ok"
            return factor * float(getattr(device, signal).get()) if sound else math.nan
        if quantity == "voltage":
            return _voltage_V(self._rig.channel)
        if quantity == "current":
            return abs(float(self._rig.channel.current.get()))
        slope = self._slope_V_s()
        return abs(slope) if quantity == "|dV/dt|" else slope

    def _holds(self, condition: Condition) -> bool:
        value, limit = self.now(condition), condition.amount.value
        return value < limit if condition.comparison == "<" else value > limit

    def _slope_V_s(self) -> float:
        """Least-squares slope of the voltage over the last readings; NaN while there are too few."""
        if len(self._course) < _SLOPE_READINGS or self._course[-1][0] - self._course[0][0] < _SLOPE_S / 2:
            return math.nan
        times, voltages = zip(*self._course, strict=True)
        mean_s, mean_V = math.fsum(times) / len(times), math.fsum(voltages) / len(voltages)
        above = math.fsum((t - mean_s) * (v - mean_V) for t, v in self._course)
        return above / math.fsum((t - mean_s) ** 2 for t in times)


_groups = itertools.count()


def _read(device: LabDevice) -> PlanGenerator:
    group = f"condition-{next(_groups)}"
    yield Msg("trigger", device, group=group)
    yield Msg("wait", None, group=group, timeout=_DAY_S)


def _voltage_V(channel: Source) -> float:
    signal = channel.voltage if isinstance(channel, CyclerChannel) else channel.potential
    return float(signal.get())


class _Recorder:
    """Records what stands beside the channel, when that is due."""

    def __init__(self, beside: Beside, clock: Clock) -> None:
        self._beside, self._clock = beside, clock
        self._due_s = clock.monotonic()

    def record(self) -> PlanGenerator:
        """Make an event if it is time; give the devices that were read for it."""
        devices, period_s, now_s = self._beside.devices, self._beside.period_s, self._clock.monotonic()
        if now_s < self._due_s - _EARLY * period_s:
            return ()
        self._due_s += period_s * max(1, math.ceil((now_s - self._due_s) / period_s))
        group = f"beside-{next(_groups)}"
        yield Msg("checkpoint")
        for device in devices:
            yield Msg("trigger", device, group=group)
        yield Msg("wait", None, group=group, timeout=_DAY_S)
        yield Msg("create", None, name=self._beside.stream)
        for device in devices:
            yield Msg("read", device)
        yield Msg("save")
        yield Msg("checkpoint")  # a later pause must not record the event once more
        if self._beside.then is not None:
            yield from self._beside.then()
        return devices


class _Runner:
    """Runs the steps of one program."""

    def __init__(
        self,
        program: Prepared,
        stream: str,
        section: str,
        beside: Beside | None,
        rows: list[dict[str, Any]] | None,
        judge: Judge | None,
    ) -> None:
        self.rig, self.log_s = program.rig, program.log_s
        self.stream, self.section, self.beside, self.rows = stream, section, beside, rows
        self.judge, self.judgement = judge, ""
        self.resolved = program.report.resolved
        self.clock = self.rig.channel.clock
        self.limits = [
            limit for limit in self.resolved.program.limits if limit.quantity not in ("capacity", "time")
        ]
        self.marks = Marks("steps", self.clock, {"rows": "1", "began": "s", "ended": "s"})

    # Order of steps

    def steps(self, steps: tuple[Step, ...], prefix: str, whiles: tuple[While, ...]) -> PlanGenerator:
        place = 0
        while place < len(steps):
            group = 0 if whiles else self._group(steps[place:])
            if group:
                yield from self._upload(steps[place : place + group], f"{prefix}{place + 1}")
            else:
                yield from self._step(steps[place], f"{prefix}{place + 1}", whiles)
            place += max(group, 1)

    def _group(self, steps: tuple[Step, ...]) -> int:
        """How many of the next steps the channel can do by itself, together."""
        if not isinstance(self.rig.channel, CyclerChannel):
            return 0
        if isinstance(steps[0], Loop):
            return int(all(map(self._is_own, steps[0].steps)))
        return sum(1 for _ in itertools.takewhile(self._is_own, steps))

    def _is_own(self, step: Step) -> bool:
        """Whether a cycler can do a step, and judge its ends, by itself."""
        return isinstance(step, (Current, Hold, Rest)) and not self._watched(step)

    def _watched(self, step: Current | Hold | Rest) -> list[Condition]:
        """Ends of a step that a cycler can't judge by itself."""
        return [condition for condition in step.until if not self._judges(step, condition)]

    def _judges(self, step: Current | Hold | Rest, condition: Condition) -> bool:
        """Whether a cycler ends a step at a condition by itself."""
        if isinstance(step, Rest):
            return False
        held = isinstance(step, Hold) or step.to is not None
        match condition.quantity:
            case "voltage":
                return not held and (condition.comparison == ">") == self._raises(step)
            case "current":
                return held and condition.comparison == "<"
            case "capacity":
                return condition.comparison == ">"
        return False

    def _raises(self, step: Current | Hold) -> bool:
        return isinstance(step, Current) and self.resolved.raises_voltage(step.direction)

    def _step(self, step: Step, number: str, whiles: tuple[While, ...]) -> PlanGenerator:
        match step:
            case Loop():
                for _ in range(step.cycles):
                    yield from self.steps(step.steps, f"{number}.", whiles)
            case While():
                yield from self.steps(step.steps, f"{number}.", (*whiles, step))
            case SetPoint():
                yield from self._set(step)
            case Wait():
                yield from self._wait(step.conditions, step.for_s, step.at_most_s)
            case Impedance():
                yield from self._spectrum(step)
            case _:
                yield from self._while(step, number, whiles)

    # What the channel does

    def _upload(self, steps: tuple[Step, ...], number: str) -> PlanGenerator:
        """Have the channel do steps by itself."""
        cycles = 1
        text = "; ".join(step.text() for step in steps)
        if isinstance(steps[0], Loop):
            cycles, steps = steps[0].cycles, steps[0].steps
        program = ChannelProgram(self._channel_steps(steps), self._cell_limits(), self.log_s, cycles)
        yield from self._measure(program, number, text, ())

    def _while(self, step: Any, number: str, whiles: tuple[While, ...]) -> PlanGenerator:
        """Do one step; while a condition above it does not hold, it pauses, and its own clock stands."""
        conditions = [condition for outer in whiles for condition in outer.conditions]
        left: Any = step
        while left is not None:
            if conditions:
                yield from self._hold_on(whiles)
            began = self.clock.monotonic()
            reason = yield from self._once(left, number, whiles)
            if reason != PAUSED:
                return
            left = _rest_of(left, self.clock.monotonic() - began, self.rig.channel)

    def _hold_on(self, whiles: tuple[While, ...]) -> PlanGenerator:
        for outer in whiles:
            if outer.otherwise == "pause":
                yield from self._wait(outer.conditions, None, None)

    def _once(self, step: Any, number: str, whiles: tuple[While, ...]) -> PlanGenerator:
        if isinstance(self.rig.channel, CyclerChannel):
            program = ChannelProgram(self._channel_steps((step,)), self._cell_limits(), self.log_s)
            return (yield from self._measure(program, number, step.text(), whiles, self._watched(step)))
        reason = ""
        for technique in self._techniques(step):
            reason = yield from self._measure(technique, number, step.text(), whiles, _ends(step))
            if reason:
                break
        return reason

    def _measure(
        self,
        task: Any,
        number: str,
        text: str,
        whiles: tuple[While, ...],
        ends: Sequence[Condition] = (),
    ) -> PlanGenerator:
        """Have the channel do a task while the plan looks at what the channel can't judge."""
        look = self._look(ends, whiles)
        device = self.rig.channel
        began = self.clock.now()

        def mark(ended_by: str) -> PlanGenerator:
            flown = device.flyer(task).run
            return self.marks.write(
                section=self.section,
                number=number,
                step=text,
                stream=self.stream,
                rows=0 if flown is None or flown.task is not task else flown.count,
                began=began,
                ended=self.clock.now(),
                ended_by=ended_by,
            )

        try:
            look_s = _LOOK_S if self.beside is None else min(_LOOK_S, self.beside.period_s)
            ended_by = yield from measure(device, task, self.stream, look, look_s, self.rows)
        except Exception as error:
            yield from mark(f"{FAILED}{error}")
            raise
        judged = self._judged()
        yield from mark(judged or ended_by)
        if judged:
            raise _Judged(judged)
        return ended_by

    def _judged(self) -> str:
        """Reason for which the plan ends the program; asked for no more once it was given."""
        if self.judge is not None and self.rows and not self.judgement:
            self.judgement = self.judge(self.rows)
        return self.judgement

    def _look(
        self, ends: Sequence[Condition], whiles: tuple[While, ...]
    ) -> Callable[[], PlanGenerator] | None:
        limits = _Conditions(self.rig, self.limits)
        stops = _Conditions(self.rig, ends)
        outer = [(while_, _Conditions(self.rig, while_.conditions)) for while_ in whiles]
        watched = [limits, stops, *(conditions for _, conditions in outer)]
        idle = self.beside is None and self.judge is None
        if idle and not any(group.conditions for group in watched):
            return None
        beside = None if self.beside is None else _Recorder(self.beside, self.clock)

        def look() -> PlanGenerator:
            fresh: Collection[LabDevice] = () if beside is None else (yield from beside.record())
            for group in watched:
                yield from group.read(fresh)
            if broken := limits.broken():
                raise LimitBroken(_said("limit", broken[0], limits))
            if reason := self._judged():
                return reason
            if met := stops.holding():
                return met[0].text()
            for while_, conditions in outer:
                if broken := conditions.broken():
                    if while_.otherwise == "stop":
                        raise LimitBroken(_said("while", broken[0], conditions))
                    return PAUSED
            return ""

        return look

    # What the cycler is told

    def _cell_limits(self) -> CellLimits:
        """What the instrument itself keeps: the narrower of sample and program, and room for its accuracy."""
        sample, limits = self.rig.sample, self.resolved.program.limits
        low_V = max([sample.voltage_min_V, *_sides(limits, "voltage", ">")])
        high_V = min([sample.voltage_max_V, *_sides(limits, "voltage", "<")])
        most_A = min([sample.current_max_mA / 1e3, *_sides(limits, "current", "<")])
        setting = getattr(self.rig.channel, _APPLIED_V[_kind(self.rig.channel)])
        return CellLimits(
            voltage_min_V=max(low_V - _PROTECTION_V, setting.limits[0]),
            voltage_max_V=min(high_V + _PROTECTION_V, setting.limits[1]),
            charge_A=min(_PROTECTION * most_A, self.rig.channel.applied_current.limits[1]),
            discharge_A=min(_PROTECTION * most_A, self.rig.channel.applied_current.limits[1]),
        )

    def _channel_steps(self, steps: Sequence[Any]) -> tuple[ChannelStep, ...]:
        made: list[ChannelStep] = []
        before_V = _voltage_V(self.rig.channel)
        for step in steps:
            made.append(self._channel_step(step, before_V, made))
            reached_V = (made[-1].hold_V, made[-1].end_voltage_V, before_V)
            before_V = next(voltage_V for voltage_V in reached_V if voltage_V is not None)
        return tuple(made)

    def _channel_step(self, step: Any, before_V: float, made: Sequence[ChannelStep]) -> ChannelStep:
        records: dict[str, Any] = {}
        if step.log is not None:
            records = {
                "record_interval_s": step.log.dt_s,
                "record_change_V": step.log.dV_V,
                "record_change_A": step.log.dI_A,
            }
        if isinstance(step, Rest):
            return ChannelStep("rest", longest_s(step, self.rig.sample), **records)
        ends: dict[str, float] = {}
        for condition in step.until:
            value = condition.amount.value
            if not self._judges(step, condition):
                continue
            if condition.quantity == "voltage":
                ends["end_voltage_V"] = value
            elif condition.quantity == "current":
                ends["end_current_A"] = value
            else:
                ends["end_capacity_Ah"] = value / 1e3
        if isinstance(step, Hold):
            # The channel charges or discharges to the voltage first, as a rule for no time at all.
            # Where the voltage is there already, the current goes on as it came.
            came_down = bool(made) and made[-1].kind == "discharge"
            upwards = step.at.value > before_V or (step.at.value == before_V and not came_down)
            current_A = self.rig.sample.current_max_mA / 1e3
            ends["hold_V"] = step.at.value
        else:
            upwards, current_A = self.resolved.raises_voltage(step.direction), step.at.value
            if step.to is not None:
                ends["hold_V"] = step.to.value
        return ChannelStep(
            "charge" if upwards else "discharge",
            longest_s(step, self.rig.sample),
            current_A=current_A,
            **records,
            **ends,
        )

    # What the potentiostat is told

    def _techniques(self, step: Any) -> list[Any]:
        sample = self.rig.sample
        most_A = sample.current_max_mA / 1e3
        interval_s = step.log.dt_s if step.log is not None else self.log_s
        match step:
            case Rest():
                return [OpenCircuit(longest_s(step, sample), min(interval_s, _REST_LOG_S))]
            case Sweep():
                start_V = step.start.value if step.start else _voltage_V(self.rig.channel)
                step_V = max(step.rate.value * interval_s, 1e-4)
                return [LinearSweep(start_V, step.stop.value, step_V, step.rate.value, most_A)]
            case Hold():
                return [self._held(step.at.value, step, longest_s(step, sample), interval_s, most_A)]
        upwards = self.resolved.raises_voltage(step.direction)
        low_V, high_V = sample.voltage_min_V, sample.voltage_max_V
        for condition in step.until:
            if condition.quantity == "voltage":
                low_V, high_V = (
                    (low_V, condition.amount.value)
                    if condition.comparison == ">"
                    else (condition.amount.value, high_V)
                )
        if step.to is not None:
            low_V, high_V = (low_V, step.to.value) if upwards else (step.to.value, high_V)
        most_s = longest_s(step, sample)
        for condition in step.until:
            if condition.quantity == "capacity":
                most_s = min(most_s, 3.6 * condition.amount.value / step.at.value)
        interval_s = min(interval_s, _OVERSHOOT * 3.6 * sample.capacity_mAh / step.at.value)
        current_A = step.at.value if upwards else -step.at.value
        made: list[Any] = [ConstantCurrent(current_A, most_s, min(interval_s, most_s), low_V, high_V)]
        if step.to is not None:
            made.append(self._held(step.to.value, step, most_s, interval_s, max(most_A, step.at.value)))
        return made

    def _held(
        self, potential_V: float, step: Any, most_s: float, interval_s: float, most_A: float
    ) -> ConstantPotential:
        ends = [c.amount.value for c in step.until if (c.quantity, c.comparison) == ("current", "<")]
        return ConstantPotential(potential_V, most_s, interval_s, most_A, max(ends) if ends else None)

    def _spectrum(self, step: Impedance) -> PlanGenerator:
        assert isinstance(self.rig.channel, Potentiostat)  # _cannot has refused others
        yield from checked_spectrum(
            self.rig.channel,
            sweep_of(self.rig.sample, step),
            sample=self.rig.sample,
            chamber=self.rig.chamber,
            press=self.rig.press,
            section=self.section,
        )

    # What surrounds the cell

    def _set(self, step: SetPoint) -> PlanGenerator:
        if step.quantity == "pressure":
            device: Any = self.rig.press
            area_mm2 = 100 * self.rig.sample.area_cm2
            how: dict[str, Any] = {"area_mm2": area_mm2}
            if step.within is not None:
                tolerance = (
                    step.within.value / 100 if step.within.unit == "%" else step.within.value / step.to.value
                )
                how["tolerance_kN"] = tolerance * step.to.value * area_mm2 / 1e3
            if step.for_s is not None:
                how["settle_s"] = step.for_s
        else:
            device = self.rig.chamber
            how = {}
            if step.within is not None and step.within.unit == "K":
                how["tolerance_K"] = step.within.value
            if step.for_s is not None:
                how["settle_s"] = step.for_s
        if step.within is None:
            yield Msg("set", device, step.to.value, group=f"set-{next(_groups)}", **how)
            yield Msg("checkpoint")
            return
        yield from move(device, step.to.value, **how)

    def _wait(
        self, wanted: Sequence[Condition], for_s: float | None, at_most_s: float | None
    ) -> PlanGenerator:
        """Wait until all conditions hold, for so long."""
        conditions, limits = _Conditions(self.rig, wanted), _Conditions(self.rig, self.limits)
        began = self.clock.monotonic()
        since: float | None = None
        while True:
            yield Msg("checkpoint")
            yield from conditions.read()
            yield from limits.read()
            if broken := limits.broken():
                raise LimitBroken(_said("limit", broken[0], limits))
            now = self.clock.monotonic()
            broken = conditions.broken()
            since = None if broken else since if since is not None else now
            if since is not None and now - since >= (for_s or 0.0):
                return
            if at_most_s is not None and now - began > at_most_s:
                said = _said("wait", broken[0] if broken else wanted[0], conditions)
                raise ConditionsNotMet(f"{said}, after {now - began:.0f} s")
            yield Msg("sleep", None, _LOOK_S)


def _ends(step: Any) -> list[Condition]:
    """Ends of a step that the plan judges, because no instrument does."""
    around = ("temperature", "pressure", "humidity", "dew point", "H2S", "H2O", "O2")
    quantities = ("dV/dt", "|dV/dt|", *ELECTRODE_POTENTIALS, *around)
    return [c for c in getattr(step, "until", ()) if c.quantity in quantities or isinstance(step, Rest)]


def longest_s(step: Any, sample: CellSample) -> float:
    """When a step ends in any case: twice the time of its current for the capacity, a day more for a hold.

    A rest ends after a day.
    """
    if step.for_s is not None:
        return float(step.for_s)
    most_s = 0.0
    if isinstance(step, Current):
        most_s = 2 * 3.6 * sample.capacity_mAh / step.at.value
    if isinstance(step, (Hold, Rest)) or step.to is not None:
        most_s += _DAY_S
    return most_s


def _rest_of(step: Any, passed_s: float, channel: Source) -> Any:
    """What is left of a step that was paused; None if nothing is."""
    if step.for_s is not None:
        if step.for_s - passed_s <= 1.0:
            return None
        step = replace(step, for_s=step.for_s - passed_s)
    ends = []
    for condition in getattr(step, "until", ()):
        if condition.quantity == "capacity":
            passed_mAh = (
                1e3 * float(channel.capacity.get())
                if isinstance(channel, CyclerChannel)
                else step.at.value * passed_s / 3.6
            )
            if condition.amount.value - passed_mAh <= 0:
                return None
            condition = replace(condition, amount=Amount(condition.amount.value - passed_mAh, "mAh"))
        ends.append(condition)
    return replace(step, until=tuple(ends)) if ends else step


def _sides(conditions: Sequence[Condition], quantity: str, comparison: str) -> list[float]:
    return [c.amount.value for c in conditions if (c.quantity, c.comparison) == (quantity, comparison)]


def _said(what: str, condition: Condition, seen: _Conditions) -> str:
    return f"{what} {condition.text()} does not hold: it is {seen.now(condition):g} {condition.amount.unit}"
