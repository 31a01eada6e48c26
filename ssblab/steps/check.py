"""What can be said of a program before anything moves, without simulating it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ssblab.steps.model import (
    QUANTITIES,
    Condition,
    Current,
    Hold,
    Impedance,
    Log,
    Loop,
    Program,
    Rest,
    SetPoint,
    Step,
    Sweep,
    Wait,
    While,
    numbered,
)
from ssblab.steps.resolve import Cell, Resolved, resolve, resolve_conditions

# Rule of thumb for how long a spectrum takes; an instrument's own estimate replaces it.
_PERIODS_PER_POINT = 10.0
_SECONDS_PER_POINT = 1.0

# A resistance needs the voltage before the pulse, early and late in it.
_RECORDS_PER_PULSE = 10.0


@dataclass(frozen=True)
class Bounds:
    """What the sample, an instrument or the station allows.

    Attributes
    ----------
    source : str
        Whose bounds they are, for messages: "sample ncm-01", "channel 3".
    conditions : tuple of Condition
        What must hold throughout; `ssblab.steps.parse_conditions` reads them.
    """

    source: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Finding:
    """Something in a program that is wrong, or that its writer should know.

    Attributes
    ----------
    number : str
        Of the step: "3", or "3.2" in a loop; "" for the program.
    step : str
        Its text.
    severity : {"error", "warning"}
        A program with an error must not be started.
    message : str
    """

    number: str
    step: str
    severity: Literal["error", "warning"]
    message: str

    def __str__(self) -> str:
        where = f"step {self.number} ({self.step}): " if self.number else ""
        return f"{self.severity}: {where}{self.message}"


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Attributes
    ----------
    resolved : Resolved
        The program in amperes and terminal voltages.
    findings : tuple of Finding
        In the order of the steps.
    shortest_s : float
        The program takes no less: rests and other steps that only time ends, capacities at a fixed current,
        sweeps, one period of each spectrum's lowest frequency.
    longest_s : float or None
        The program takes no longer, pauses not counted; None if a step in `unbounded` has no bound of time.
    charge_at_most_mAh : float or None
        Charge passed by all steps together, in either direction; None where there is no bound.
    unbounded : tuple of str
        Numbers of the steps whose time has no bound.
    """

    resolved: Resolved
    findings: tuple[Finding, ...]
    shortest_s: float
    longest_s: float | None
    charge_at_most_mAh: float | None
    unbounded: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)


def check(program: Program, cell: Cell, *bounds: Bounds) -> Report:
    """Check a program against a cell and what is allowed, without simulating it.

    Parameters
    ----------
    program : Program
        Its own limits are bounds too.
    cell : Cell
    *bounds : Bounds
        Of sample, instruments and station.

    Raises
    ------
    BadInput
        If the cell's record lacks what the program or a bound needs; see `resolve`.
    """
    resolved = resolve(program, cell)
    allowed = _Allowed(
        [
            Bounds("the program's limits", resolved.program.limits),
            *(
                Bounds(bound.source, resolve_conditions(bound.conditions, cell, bound.source))
                for bound in bounds
            ),
        ]
    )
    findings = [Finding("", "", "error", message) for message in allowed.contradictions()]
    shortest_s, longest_s, charge_mAh = 0.0, 0.0, 0.0
    unbounded = []
    written = numbered(program.steps)
    for (number, step, times), (_, as_written, _) in zip(
        numbered(resolved.program.steps), written, strict=True
    ):
        findings += [Finding(number, _line(as_written), *wrong) for wrong in _wrong(step, resolved, allowed)]
        duration_s = _longest_s(step, allowed)
        if math.isinf(duration_s):
            unbounded.append(number)
        shortest_s += times * _shortest_s(step)
        longest_s += times * duration_s
        charge_mAh += times * _charge_mAh(step, duration_s, allowed)
    return Report(
        resolved, tuple(findings), shortest_s, _finite(longest_s), _finite(charge_mAh), tuple(unbounded)
    )


def _line(step: Step) -> str:
    return step.heading() if isinstance(step, (Loop, While)) else step.text()


class _Allowed:
    """The bounds of all sources together: the tightest on each side of each quantity, and whose it is."""

    def __init__(self, bounds: list[Bounds]) -> None:
        self._lowest: dict[str, tuple[float, str]] = {}
        self._highest: dict[str, tuple[float, str]] = {}
        for bound in bounds:
            for condition in bound.conditions:
                value, name = condition.amount.value, condition.quantity
                if condition.comparison == ">" and value > self.lowest(name):
                    self._lowest[name] = (value, bound.source)
                if condition.comparison == "<" and value < self.highest(name):
                    self._highest[name] = (value, bound.source)

    def lowest(self, quantity: str) -> float:
        return self._lowest.get(quantity, (-math.inf, ""))[0]

    def highest(self, quantity: str) -> float:
        return self._highest.get(quantity, (math.inf, ""))[0]

    def broken(self, quantity: str, value: float, unit: str) -> str | None:
        """Say which bound a value breaks."""
        if value < self.lowest(quantity):
            return f"{value:g} {unit} is below {self.side(quantity, highest=False)}"
        if value > self.highest(quantity):
            return f"{value:g} {unit} is above {self.side(quantity, highest=True)}"
        return None

    def side(self, quantity: str, *, highest: bool) -> str:
        """Say what the bound on one side is, and whose."""
        value, source = self._highest[quantity] if highest else self._lowest[quantity]
        return f"{quantity} {'<' if highest else '>'} {value:g} {QUANTITIES[quantity][0]} of {source}"

    def contradictions(self) -> Iterator[str]:
        for quantity in self._lowest.keys() & self._highest.keys():
            (lowest, one), (highest, other) = self._lowest[quantity], self._highest[quantity]
            if lowest >= highest:
                yield f"{quantity} > {lowest:g} of {one} and < {highest:g} of {other} cannot both hold"


_Wrong = tuple[Literal["error", "warning"], str]


def _wrong(step: Step, resolved: Resolved, allowed: _Allowed) -> Iterator[_Wrong]:
    """Say what is wrong with one step, apart from the steps in it."""
    for quantity, value, unit in _commanded(step):
        broken = allowed.broken(quantity, value, unit)
        if broken:
            yield "error", broken
    if isinstance(step, (Current, Hold, Rest)):
        yield from _wrong_ends(step, resolved, allowed)
    if isinstance(step, Current):
        yield from _wrong_pulse(step)
        away = _moves_away(step, resolved)
        if away:
            yield "error", away
    if isinstance(step, (Wait, SetPoint)) and math.isinf(_longest_s(step, allowed)):
        yield "warning", "it may wait for ever: add ', at most 2 h'"
    if isinstance(step, (Wait, While)):
        yield from _wrong_conditions(step, allowed)


def _commanded(step: Step) -> Iterator[tuple[str, float, str]]:
    """Give what a step orders instruments to do."""
    if isinstance(step, (Current, Hold, Rest)) and step.for_s is not None:
        yield "time", step.for_s, "s"
    match step:
        case Current():
            if step.at.unit == "A":
                yield "current", step.at.value, "A"
            if step.to is not None:
                yield "voltage", step.to.value, "V"
        case Hold():
            yield "voltage", step.at.value, "V"
        case Sweep():
            for end in (step.start, step.stop):
                if end is not None:
                    yield "voltage", end.value, "V"
        case Impedance() if step.amplitude.unit == "A":
            yield "current", math.sqrt(2) * step.amplitude.value, "A"
        case SetPoint():
            yield step.quantity, step.to.value, step.to.unit


def _wrong_ends(step: Current | Hold | Rest, resolved: Resolved, allowed: _Allowed) -> Iterator[_Wrong]:
    """Ends that never come, or that come at once."""
    reachable = step.for_s is not None
    for condition in step.until:
        never = _never(condition, step, resolved, allowed)
        at_once = _at_once(condition, step, allowed)
        reachable = reachable or not never
        if never:
            yield "error", f"it never ends at {condition.text(ending=True)}: {never}"
        if at_once:
            yield "error", f"it ends at once, at {condition.text(ending=True)}: {at_once}"
    for one in step.until:
        for other in step.until:
            if (
                one.quantity == other.quantity
                and (one.comparison, other.comparison) == ("<", ">")
                and one.amount.value > other.amount.value
            ):
                yield "error", f"it ends at once: {one.text()} or {other.text()} holds always"
    if not reachable:
        yield "error", "it has no end that can come: add 'for 24 h'"


def _never(
    condition: Condition, step: Current | Hold | Rest, resolved: Resolved, allowed: _Allowed
) -> str | None:
    """Say why a condition does not come true in a step."""
    value, quantity = condition.amount.value, condition.quantity
    if condition.comparison is None:
        return "a voltage that ends a rest or a hold needs '<' or '>'"
    broken = allowed.broken(quantity, value, condition.amount.unit)
    outside = broken is not None and (value < allowed.lowest(quantity)) == (condition.comparison == "<")
    if outside:
        return f"{broken}, which breaks the program off before"
    if isinstance(step, Rest) and quantity in ("current", "capacity"):
        return "a rest passes no current"
    if isinstance(step, Hold) and quantity in ("voltage", "dV/dt", "|dV/dt|"):
        return "the voltage is held"
    if isinstance(step, Current) and step.at.unit == "A":
        if quantity == "current" and condition.comparison == ">" and value >= step.at.value:
            return f"the current is {step.at.text()}"
        if (
            quantity == "current"
            and condition.comparison == "<"
            and step.to is None
            and value < step.at.value
        ):
            return f"the current stays {step.at.text()}; 'to 4.2 V and hold' lets it fall"
    if isinstance(step, Current) and step.to is not None and quantity == "voltage":
        upwards = resolved.raises_voltage(step.direction)
        if (condition.comparison == ">") == upwards and (value >= step.to.value) == upwards:
            return f"the voltage is held at {step.to.text()}"
    return None


def _at_once(condition: Condition, step: Current | Hold | Rest, allowed: _Allowed) -> str | None:
    """Say why a condition is true from the beginning."""
    value, quantity, below = condition.amount.value, condition.quantity, condition.comparison == "<"
    if isinstance(step, Current) and quantity == "current" and step.at.unit == "A":
        return f"the current is {step.at.text()}" if (value >= step.at.value) == below else None
    if quantity == "capacity" and below:
        return "no charge has passed at the beginning"
    always = value >= allowed.highest(quantity) if below else value <= allowed.lowest(quantity)
    if always and condition.comparison is not None:
        return f"{allowed.side(quantity, highest=below)} makes it true always"
    return None


def _moves_away(step: Current, resolved: Resolved) -> str | None:
    """Say why a step has no end but one that the current leads away from; as one of several it is a guard."""
    upwards = resolved.raises_voltage(step.direction)
    for condition in step.until:
        if condition.quantity != "voltage" or (condition.comparison == ">") == upwards:
            return None
    if step.for_s is not None:
        return None
    return (
        f"a {step.direction} of this cell {'raises' if upwards else 'lowers'} the voltage, away from "
        f"{step.until[0].amount.text()}: add another end"
    )


def _wrong_pulse(step: Current) -> Iterator[_Wrong]:
    if not step.pulse or step.for_s is None:
        return
    if step.log is None or step.log.dt_s is None or step.log.dt_s > step.for_s / _RECORDS_PER_PULSE:
        fast = Log(dt_s=step.for_s / _RECORDS_PER_PULSE).text()
        yield "warning", f"it may log fewer than {_RECORDS_PER_PULSE:.0f} records in the pulse: add '{fast}'"


def _wrong_conditions(step: Wait | While, allowed: _Allowed) -> Iterator[_Wrong]:
    """Conditions that cannot hold while the limits do."""
    for condition in step.conditions:
        value, quantity = condition.amount.value, condition.quantity
        impossible = (
            value >= allowed.highest(quantity)
            if condition.comparison == ">"
            else value <= allowed.lowest(quantity)
        )
        if impossible:
            yield (
                "error",
                f"{condition.text()} cannot hold within the limits of {quantity}",
            )


def _longest_s(step: Step, allowed: _Allowed) -> float:
    """Give the longest time a step can take, apart from the steps in it; inf where nothing bounds it."""
    match step:
        case Loop() | While():
            return 0.0
        case SetPoint():
            return 0.0 if step.within is None else step.at_most_s or math.inf
        case Wait():
            return step.at_most_s or math.inf
        case Impedance():
            return _spectrum_s(step)
        case Sweep():
            edges = (allowed.lowest("voltage"), allowed.highest("voltage"))
            starts_V = (step.start.value,) if step.start else edges
            return max(abs(step.stop.value - start_V) for start_V in starts_V) / step.rate.value
    longest_s = min(step.for_s or math.inf, allowed.highest("time"))
    if isinstance(step, Current) and step.at.unit == "A" and step.to is None:
        longest_s = min(longest_s, _capacity_mAh(step, allowed) / 1e3 / step.at.value * 3600)
    return longest_s


def _shortest_s(step: Step) -> float:
    """Give the time that a step takes at least, apart from the steps in it."""
    match step:
        case Current() | Hold() | Rest():
            ends_s = [step.for_s] if step.for_s is not None else []
            return min([*ends_s, *(_soonest_s(step, condition) for condition in step.until)])
        case Sweep() if step.start is not None:
            return abs(step.stop.value - step.start.value) / step.rate.value
        case Impedance():
            return 1 / min(step.first_Hz, step.last_Hz)
        case SetPoint() | Wait():
            return step.for_s or 0.0
    return 0.0


def _soonest_s(step: Current | Hold | Rest, condition: Condition) -> float:
    """Give the time before which an end of a step cannot come; only of a capacity it is known."""
    if isinstance(step, Current) and step.at.unit == "A" and condition.quantity == "capacity":
        return condition.amount.value / 1e3 / step.at.value * 3600
    return 0.0


def _charge_mAh(step: Step, duration_s: float, allowed: _Allowed) -> float:
    """Give the most charge that a step can pass."""
    if not isinstance(step, (Current, Hold, Sweep)):
        return 0.0
    highest_A = allowed.highest("current")
    if isinstance(step, Current) and step.at.unit == "A":
        highest_A = step.at.value
    by_current = 1e3 * highest_A * duration_s / 3600
    return by_current if isinstance(step, Sweep) else min(_capacity_mAh(step, allowed), by_current)


def _capacity_mAh(step: Current | Hold, allowed: _Allowed) -> float:
    ends = [
        condition.amount.value
        for condition in step.until
        if (condition.quantity, condition.comparison) == ("capacity", ">")
    ]
    return min([*ends, allowed.highest("capacity")])


def _spectrum_s(step: Impedance) -> float:
    decades = abs(math.log10(step.first_Hz / step.last_Hz))
    points = math.ceil(decades * step.points_per_decade) + 1
    lowest_Hz = min(step.first_Hz, step.last_Hz)
    ratio = 10 ** (-1 / step.points_per_decade)
    periods_s = sum(ratio**point / lowest_Hz for point in range(points))
    return _PERIODS_PER_POINT * periods_s + _SECONDS_PER_POINT * points


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
