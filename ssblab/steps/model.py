"""Steps of an experiment on one cell, as plain data: channel, chamber and press in one program.

Steps know no device and no plan.  Each writes itself as text that `ssblab.steps.parse` reads back as the
same step.  Numbers stand in the units of `ssblab.steps.units.CANONICAL`; a current is without sign, because
the word charge or discharge says which way it flows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ssblab.quantities import ABSOLUTE_ZERO_C, BadInput
from ssblab.steps.units import CANONICAL, written

Comparison = Literal["<", ">"]
Direction = Literal["charge", "discharge"]

CURRENT_UNITS = ("A", "C", "mA/cm2")
CAPACITY_UNITS = ("mAh", "mAh/cm2", "% of capacity")

#: Quantities that conditions are about, and their units, first that of a resolved program.  A current and
#: "|dV/dt|" are magnitudes.  Capacity is the charge passed, and time that gone by, since the step began.
#: The potentials are those of the cell's electrodes against its reference electrode.
QUANTITIES: dict[str, tuple[str, ...]] = {
    "voltage": ("V",),
    "current": CURRENT_UNITS,
    "capacity": CAPACITY_UNITS,
    "time": ("s",),
    "dV/dt": ("V/s",),
    "|dV/dt|": ("V/s",),
    "temperature": ("degC",),
    "negative potential": ("V",),
    "positive potential": ("V",),
    "pressure": ("MPa",),
    "humidity": ("%RH",),
    "dew point": ("degC",),
    "H2S": ("ppm",),
    "H2O": ("ppm",),
    "O2": ("ppm",),
}

#: Electrodes of a cell that has a reference electrode.
ELECTRODE_POTENTIALS = ("negative potential", "positive potential")

#: What the surroundings can be set to, with the units of a tolerance.
SET_POINTS: dict[str, tuple[str, ...]] = {
    "temperature": ("K",),
    "pressure": ("%", "MPa"),
    "humidity": ("%RH",),
    "dew point": ("K",),
}

_POSSIBLE = {
    "degC": (ABSOLUTE_ZERO_C, math.inf),
    "MPa": (0, math.inf),
    "ppm": (0, 1e6),
    "%RH": (0, 100),
}


@dataclass(frozen=True)
class Amount:
    """A number with its unit, and for a potential the reference electrode.

    Attributes
    ----------
    value : float
        Finite.
    unit : str
        One of `ssblab.steps.units.CANONICAL`.
    vs : str or None
        The electrode against which a potential is given, "Li/Li+" or "In-Li"; None is a terminal voltage.
    """

    value: float
    unit: str
    vs: str | None = None

    def __post_init__(self) -> None:
        if self.unit not in CANONICAL:
            raise BadInput(f"unit={self.unit!r} is not one of {', '.join(CANONICAL)}")
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise BadInput(f"value={self.value!r} is not a number of {self.unit}")
        if not math.isfinite(self.value):
            raise BadInput(f"{self.value!r} {self.unit} is not finite: write a number")
        lowest, highest = _POSSIBLE.get(self.unit, (-math.inf, math.inf))
        if not lowest <= self.value <= highest:
            raise BadInput(f"{self.value:g} {self.unit} does not exist: it is from {lowest:g} to {highest:g}")
        if self.vs is not None and self.unit != "V":
            raise BadInput(f"only a potential in V is against an electrode, not {self.value:g} {self.unit}")

    def text(self) -> str:
        """Write the amount."""
        return written(self.value, self.unit) + (f" vs {self.vs}" if self.vs else "")


@dataclass(frozen=True)
class Condition:
    """A quantity on one side of a value: what ends a step, what must hold, what is waited for.

    Attributes
    ----------
    quantity : str
        One of `QUANTITIES`.
    comparison : {"<", ">"} or None
        None, for a voltage that ends a charge or discharge, means reached from where the current leads away.
    amount : Amount
    """

    quantity: str
    comparison: Comparison | None
    amount: Amount

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise BadInput(f"quantity={self.quantity!r} is not one of {', '.join(QUANTITIES)}")
        if self.amount.unit not in QUANTITIES[self.quantity]:
            raise BadInput(
                f"{self.quantity} {self.amount.text()}: write it in {' or '.join(QUANTITIES[self.quantity])}"
            )
        if self.comparison not in ("<", ">") and (self.comparison or self.quantity != "voltage"):
            raise BadInput(f"{self.quantity} {self.amount.text()}: say '<' or '>' before the number")
        if self.amount.vs is not None and self.quantity in ELECTRODE_POTENTIALS:
            raise BadInput(
                f"{self.quantity} {self.amount.text()}: it is against the reference electrode of the cell, "
                "leave out 'vs'"
            )
        if self.amount.value <= 0 and self.quantity in ("current", "capacity", "time", "|dV/dt|"):
            raise BadInput(f"{self.quantity} {self.amount.text()}: it has no sign, write a number above 0")

    def text(self, *, ending: bool = False) -> str:
        """Write the condition; one that is `ending` a step without the words that parsing adds."""
        usual = {"voltage": None, "current": "<", "capacity": ">"}
        if ending and self.quantity in usual and self.comparison == usual[self.quantity]:
            return self.amount.text()
        words = (self.quantity, self.comparison, self.amount.text())
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Log:
    """When a record is made: after a time, or a change of voltage or current, whatever comes first.

    Attributes
    ----------
    dt_s, dV_V, dI_A : float or None
        Above 0; at least one is given.
    """

    dt_s: float | None = None
    dV_V: float | None = None
    dI_A: float | None = None

    def __post_init__(self) -> None:
        if (self.dt_s, self.dV_V, self.dI_A) == (None, None, None):
            raise BadInput("a log needs an interval: give dt_s, dV_V or dI_A")
        for name in ("dt_s", "dV_V", "dI_A"):
            _above_zero(name, getattr(self, name))

    def text(self) -> str:
        """Write the interval in brackets."""
        if self.dt_s is not None and self.dV_V is None and self.dI_A is None:
            return f"({written(self.dt_s, 's')} period)"
        given = ((self.dt_s, "s"), (self.dV_V, "V"), (self.dI_A, "A"))
        return f"(every {', '.join(written(value, unit) for value, unit in given if value is not None)})"


@dataclass(frozen=True)
class Current:
    """A current that charges or discharges the cell; PyBaMM's power and load too.

    Attributes
    ----------
    direction : {"charge", "discharge"}
        As the laboratory says it; what it does to the electrode is a fact of the cell (`CellFacts`).
    at : Amount
        In A, C, mA/cm2, W or Ohm, above 0.
    to : Amount or None
        A voltage that is held from when it is reached (CCCV); the ends are then those of both parts together.
    until : tuple of Condition
        The first that comes true ends the step.
    for_s : float or None
        The step ends after this time at the latest.
    log : Log or None
        None leaves it to the instrument.
    pulse : bool
        A pulse is evaluated as one: it has a time, and records within it.
    """

    direction: Direction
    at: Amount
    to: Amount | None = None
    until: tuple[Condition, ...] = ()
    for_s: float | None = None
    log: Log | None = None
    pulse: bool = False

    def __post_init__(self) -> None:
        if self.direction not in ("charge", "discharge"):
            raise BadInput(f"direction={self.direction!r}: a current charges or discharges")
        _unit("a charge or discharge", self.at, *CURRENT_UNITS, "W", "Ohm")
        if self.at.value <= 0:
            raise BadInput(
                f"{self.direction} at {self.at.value:g} {self.at.unit}: a rate has no sign and is above 0, "
                "charge or discharge says which way it flows, and no current is a rest"
            )
        if self.to is not None:
            _unit("what is held at the end", self.to, "V")
        _ends(self)
        if self.pulse and (self.to is not None or self.for_s is None):
            raise BadInput(
                f"{self.text()}: a pulse has a time and holds no voltage, like 'pulse at 1C for 10 s'"
            )

    def text(self) -> str:
        """Write the step."""
        verb = self.direction.capitalize() + (" pulse" if self.pulse else "")
        hold = f" to {self.to.text()} and hold" if self.to else ""
        return f"{verb} at {self.at.text()}{hold}{_tail(self.until, self.for_s, self.log)}"


@dataclass(frozen=True)
class Hold:
    """A voltage that is held (CV).

    Attributes
    ----------
    at : Amount
        In V.
    until, for_s, log
        As for `Current`.
    """

    at: Amount
    until: tuple[Condition, ...] = ()
    for_s: float | None = None
    log: Log | None = None

    def __post_init__(self) -> None:
        _unit("what is held", self.at, "V")
        _ends(self)

    def text(self) -> str:
        """Write the step."""
        return f"Hold at {self.at.text()}{_tail(self.until, self.for_s, self.log)}"


@dataclass(frozen=True)
class Rest:
    """No current; the open-circuit voltage is logged.

    Attributes
    ----------
    until, for_s, log
        As for `Current`.
    """

    until: tuple[Condition, ...] = ()
    for_s: float | None = None
    log: Log | None = None

    def __post_init__(self) -> None:
        _ends(self)

    def text(self) -> str:
        """Write the step."""
        return f"Rest{_tail(self.until, self.for_s, self.log)}"


@dataclass(frozen=True)
class Sweep:
    """A voltage that moves at a constant rate.

    Attributes
    ----------
    start : Amount or None
        In V; None begins at the voltage that the cell has.
    stop : Amount
        In V.
    rate : Amount
        In V/s, above 0.
    log : Log or None
    """

    start: Amount | None
    stop: Amount
    rate: Amount
    log: Log | None = None

    def __post_init__(self) -> None:
        _unit("the end of a sweep", self.stop, "V")
        _unit("the rate of a sweep", self.rate, "V/s")
        _above_zero("rate", self.rate.value)
        if self.start is not None:
            _unit("the start of a sweep", self.start, "V")
            if self.start == self.stop:
                raise BadInput(f"{self.text()}: start and end are the same")

    def text(self) -> str:
        """Write the step."""
        start = f" from {self.start.text()}" if self.start else ""
        return f"Sweep{start} to {self.stop.text()} at {self.rate.text()}{_log(self.log)}"


@dataclass(frozen=True)
class Impedance:
    """A spectrum of the impedance around open circuit.

    Attributes
    ----------
    first_Hz, last_Hz : float
        Frequencies of the first and the last point.
    amplitude : Amount
        In V or A.
    points_per_decade : int
    """

    first_Hz: float
    last_Hz: float
    amplitude: Amount
    points_per_decade: int = 10

    def __post_init__(self) -> None:
        _above_zero("first_Hz", self.first_Hz)
        _above_zero("last_Hz", self.last_Hz)
        _unit("an amplitude", self.amplitude, "V", "A")
        _above_zero("amplitude", self.amplitude.value)
        if self.amplitude.vs is not None:
            raise BadInput(f"amplitude {self.amplitude.text()}: an amplitude is not against an electrode")
        _whole("points per decade", self.points_per_decade)

    def text(self) -> str:
        """Write the step."""
        first, last = written(self.first_Hz, "Hz"), written(self.last_Hz, "Hz")
        points = f"{self.points_per_decade} points per decade"
        return f"EIS from {first} to {last} at {self.amplitude.text()}, {points}"


@dataclass(frozen=True)
class SetPoint:
    """What the chamber or the press is to hold from now on.

    Attributes
    ----------
    quantity : str
        One of `SET_POINTS`.
    to : Amount
    within : Amount or None
        The step ends when the quantity is this near; None does not wait.
    for_s : float or None
        It ends only when the quantity has been that near for so long.
    at_most_s : float or None
        If that takes longer, the program is broken off.
    """

    quantity: str
    to: Amount
    within: Amount | None = None
    for_s: float | None = None
    at_most_s: float | None = None

    def __post_init__(self) -> None:
        if self.quantity not in SET_POINTS:
            raise BadInput(f"{self.quantity!r} cannot be set: name one of {', '.join(SET_POINTS)}")
        _unit(self.quantity, self.to, *QUANTITIES[self.quantity])
        if self.within is None:
            if self.for_s is not None or self.at_most_s is not None:
                raise BadInput(
                    f"{self.quantity} at {self.to.text()} for a time: say within what, like 'within 2 %'"
                )
            return
        _unit(f"a tolerance of {self.quantity}", self.within, *SET_POINTS[self.quantity])
        _above_zero("within", self.within.value)
        _wait_times(self.for_s, self.at_most_s)

    def text(self) -> str:
        """Write the step."""
        if self.within is None:
            return f"Set {self.quantity} to {self.to.text()}"
        within = f" within {self.within.text()}"
        return f"Hold {self.quantity} at {self.to.text()}{within}{_times(self.for_s, self.at_most_s)}"


@dataclass(frozen=True)
class Wait:
    """A barrier: the next step begins when all conditions hold; the channel rests.

    Attributes
    ----------
    conditions : tuple of Condition
        At least one.
    for_s : float or None
        They must have held for so long.
    at_most_s : float or None
        If that takes longer, the program is broken off.
    """

    conditions: tuple[Condition, ...]
    for_s: float | None = None
    at_most_s: float | None = None

    def __post_init__(self) -> None:
        _compared("a wait", self.conditions)
        _wait_times(self.for_s, self.at_most_s)

    def text(self) -> str:
        """Write the step."""
        return f"Wait until {_all_of(self.conditions)}{_times(self.for_s, self.at_most_s)}"


@dataclass(frozen=True)
class While:
    """Steps that go on only while all conditions hold.

    Attributes
    ----------
    conditions : tuple of Condition
        At least one.
    steps : tuple of Step
        At least one.
    otherwise : {"pause", "stop"}
        Pause: the current is off and the clock of the step stands until the conditions hold again.  Stop: the
        program is broken off.
    """

    conditions: tuple[Condition, ...]
    steps: tuple[Step, ...]
    otherwise: Literal["pause", "stop"] = "pause"

    def __post_init__(self) -> None:
        _compared("a while", self.conditions)
        _some_steps(self.steps)
        if self.otherwise not in ("pause", "stop"):
            raise BadInput(f"otherwise={self.otherwise!r}: write 'pause' or 'stop'")

    def text(self) -> str:
        """Write the conditions, and the steps below them."""
        return f"{self.heading()}\n{_indented(self.steps)}"

    def heading(self) -> str:
        """Write the line above the steps."""
        return f"While {_all_of(self.conditions)}, else {self.otherwise}:"


@dataclass(frozen=True)
class Loop:
    """Steps that are done several times.

    Attributes
    ----------
    cycles : int
        How often, from 1.
    steps : tuple of Step
        At least one.
    """

    cycles: int
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        _whole("cycles", self.cycles)
        _some_steps(self.steps)

    def text(self) -> str:
        """Write the number, and the steps below it."""
        return f"{self.heading()}\n{_indented(self.steps)}"

    def heading(self) -> str:
        """Write the line above the steps."""
        return f"Repeat {self.cycles} times:"


Step = Current | Hold | Rest | Sweep | Impedance | SetPoint | Wait | While | Loop


@dataclass(frozen=True)
class Program:
    """Steps in order, and what must hold throughout.

    Attributes
    ----------
    steps : tuple of Step
        At least one.
    limits : tuple of Condition
        If one does not hold, the program is broken off.  A limit of time or capacity is one of each step.
    """

    steps: tuple[Step, ...]
    limits: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        _some_steps(self.steps)
        if self.limits:
            _compared("limits", self.limits)

    def text(self) -> str:
        """Write the program, a line a step."""
        limits = f"Limits: {', '.join(limit.text() for limit in self.limits)}\n" if self.limits else ""
        return limits + "".join(f"{step.text()}\n" for step in self.steps)


def numbered(steps: tuple[Step, ...], prefix: str = "", times: int = 1) -> Iterator[tuple[str, Step, int]]:
    """Go through all steps, those in loops below their loop.

    Yields
    ------
    number : str
        "3", or "3.2" for the second in the loop that is the third step.
    step : Step
    times : int
        How often it is done.
    """
    for place, step in enumerate(steps, start=1):
        number = f"{prefix}{place}"
        yield number, step, times
        if isinstance(step, (Loop, While)):
            cycles = step.cycles if isinstance(step, Loop) else 1
            yield from numbered(step.steps, f"{number}.", times * cycles)


def _above_zero(name: str, value: float | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise BadInput(f"{name}={value!r}: write a number above 0")


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{name}={value!r}: write a whole number from 1")


def _unit(what: str, amount: Amount, *units: str) -> None:
    if amount.unit not in units:
        raise BadInput(f"{what} is in {' or '.join(units)}, not {amount.text()}")


def _ends(step: Current | Hold | Rest) -> None:
    _above_zero("for_s", step.for_s)
    if not step.until and step.for_s is None:
        raise BadInput(f"{step.text()}: it has no end, add 'for 1 h' or 'until 4.2 V'")
    if any(condition.quantity == "time" for condition in step.until):
        raise BadInput(f"{step.text()}: a time that ends a step is for_s, written 'for 1 h'")
    if len(set(step.until)) < len(step.until):
        raise BadInput(f"{step.text()}: the same end twice")


def _compared(what: str, conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise BadInput(f"{what} needs a condition, like 'dew point < -40 degC'")
    for condition in conditions:
        if condition.comparison is None:
            raise BadInput(f"{what}: say '<' or '>' before {condition.amount.text()}")


def _wait_times(for_s: float | None, at_most_s: float | None) -> None:
    _above_zero("for_s", for_s)
    _above_zero("at_most_s", at_most_s)
    if for_s is not None and at_most_s is not None and at_most_s < for_s:
        raise BadInput(
            f"for {written(for_s, 's')}, at most {written(at_most_s, 's')}: at most must be longer"
        )


def _some_steps(steps: tuple[Step, ...]) -> None:
    if not steps:
        raise BadInput("there is no step: write at least one, like 'Rest for 1 h'")


def _tail(until: tuple[Condition, ...], for_s: float | None, log: Log | None) -> str:
    ends = [] if for_s is None else [f"for {written(for_s, 's')}"]
    if until:
        ends.append("until " + " or ".join(condition.text(ending=True) for condition in until))
    return f" {' or '.join(ends)}{_log(log)}" if ends else ""


def _log(log: Log | None) -> str:
    return f" {log.text()}" if log else ""


def _times(for_s: float | None, at_most_s: float | None) -> str:
    held = f" for {written(for_s, 's')}" if for_s is not None else ""
    return held + (f", at most {written(at_most_s, 's')}" if at_most_s is not None else "")


def _all_of(conditions: tuple[Condition, ...]) -> str:
    return " and ".join(condition.text() for condition in conditions)


def _indented(steps: tuple[Step, ...]) -> str:
    lines = [line for step in steps for line in step.text().splitlines()]
    return "\n".join(f"    {line}" for line in lines)
