"""What a program means on one cell: amperes, terminal voltages, and which way a charge moves the voltage.

Nothing is guessed: what the record of the sample does not say is refused, with what to add.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ssblab.quantities import BadInput
from ssblab.steps.model import (
    Amount,
    Condition,
    Current,
    Direction,
    Hold,
    Loop,
    Program,
    Rest,
    Step,
    Sweep,
    While,
)

_LITHIUM = "Li/Li+"
_SAME_ELECTRODE = {
    **dict.fromkeys(("Li", "Li+/Li", "Li/Li+"), _LITHIUM),
    **dict.fromkeys(("InLi", "LiIn", "Li-In", "In-Li"), "In-Li"),
}


class Cell(Protocol):
    """What a program needs to know of a cell; a `ssblab.samples.CellSample` says it all."""

    @property
    def name(self) -> str:
        """Sample name."""

    @property
    def capacity_mAh(self) -> float | None:
        """Nominal capacity, mAh: what 1C is of."""

    @property
    def area_cm2(self) -> float | None:
        """Electrode area, cm2: what mA/cm2 are of."""

    @property
    def charge_means(self) -> Literal["delithiation", "lithiation"] | None:
        """What "charge" does to the working electrode."""

    @property
    def reference(self) -> str | None:
        """Electrode that potentials are against; None of a full cell."""

    @property
    def reference_V_vs_Li(self) -> float | None:
        """Potential of the reference, V against Li/Li+."""


@dataclass(frozen=True)
class CellFacts:
    """What is known of a cell that has no sample record; None is not known.

    Attributes
    ----------
    name : str
        Of the sample, for messages.
    capacity_mAh : float or None
        1C discharges it in one hour.
    area_cm2 : float or None
        Area of the electrode, for areal currents and capacities.
    charge_means : {"delithiation", "lithiation"} or None
        What a charge does to the working electrode, which is at the positive terminal: delithiation in a
        full cell and in a half cell of a positive electrode, lithiation in a half cell of silicon where that
        is called charge.
    reference : str or None
        The electrode against which the instrument measures the working electrode: the counter electrode of
        a half cell, or a third electrode.  None in a full cell, whose terminal voltage is no electrode's
        potential.
    reference_V_vs_Li : float or None
        Potential of that electrode against Li/Li+.
    """

    name: str
    capacity_mAh: float | None = None
    area_cm2: float | None = None
    charge_means: Literal["delithiation", "lithiation"] | None = None
    reference: str | None = None
    reference_V_vs_Li: float | None = None

    def __post_init__(self) -> None:
        for field in ("capacity_mAh", "area_cm2"):
            value = getattr(self, field)
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"sample {self.name!r}: {field}={value!r}, write a number above 0")
        if self.reference_V_vs_Li is not None and not math.isfinite(self.reference_V_vs_Li):
            raise BadInput(
                f"sample {self.name!r}: reference_V_vs_Li={self.reference_V_vs_Li!r} is not a number"
            )
        if self.charge_means not in (None, "delithiation", "lithiation"):
            raise BadInput(
                f"sample {self.name!r}: charge_means={self.charge_means!r}, "
                "write 'delithiation' or 'lithiation'"
            )


@dataclass(frozen=True)
class Resolved:
    """A program with all currents in A, charges in mAh and voltages between the terminals.

    Attributes
    ----------
    program : Program
        Voltages that end a charge or discharge have a comparison.
    cell : Cell
    """

    program: Program
    cell: Cell

    def raises_voltage(self, direction: Direction) -> bool:
        """Say whether a charge or discharge takes lithium out of the working electrode.

        That is a positive current at its terminal, and raises the terminal voltage.
        """
        return (direction == "charge") == (self.cell.charge_means == "delithiation")


def resolve(program: Program, cell: Cell) -> Resolved:
    """Say what a program means on a cell.

    Raises
    ------
    BadInput
        With a line for each fact that the program needs and the record does not have.
    """
    resolver = _Resolver(cell)
    steps = resolver.steps(program.steps, "")
    limits = resolver.conditions(program.limits, "limits")
    if resolver.missing:
        lines = "\n".join(f"  {line}" for line in resolver.missing)
        raise BadInput(f"the program cannot be used with sample {cell.name!r}:\n{lines}")
    return Resolved(Program(steps, limits), cell)


def resolve_conditions(conditions: tuple[Condition, ...], cell: Cell, what: str) -> tuple[Condition, ...]:
    """Say what limits mean on a cell; errors as in `resolve`."""
    resolver = _Resolver(cell)
    resolved = resolver.conditions(conditions, what)
    if resolver.missing:
        lines = "\n".join(f"  {line}" for line in resolver.missing)
        raise BadInput(f"{what} cannot be used with sample {cell.name!r}:\n{lines}")
    return resolved


class _Resolver:
    """Goes through a program and collects what the record does not say."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.missing: dict[str, None] = {}  # in order, each once

    def steps(self, steps: tuple[Step, ...], prefix: str) -> tuple[Step, ...]:
        return tuple(self.step(step, f"{prefix}{place}") for place, step in enumerate(steps, start=1))

    def step(self, step: Step, number: str) -> Step:
        where = f"step {number}"

        def terminal(amount: Amount) -> Amount:
            return self.amount(amount, where)

        match step:
            case Current():
                return self.current(step, where, terminal)
            case Hold():
                return replace(step, at=terminal(step.at), until=self.conditions(step.until, where))
            case Rest():
                return replace(step, until=self.conditions(step.until, where))
            case Sweep():
                start = terminal(step.start) if step.start else None
                return replace(step, start=start, stop=terminal(step.stop))
            case Loop():
                return replace(step, steps=self.steps(step.steps, f"{number}."))
            case While():
                conditions = self.conditions(step.conditions, where)
                return replace(step, conditions=conditions, steps=self.steps(step.steps, f"{number}."))
        return step

    def current(self, step: Current, where: str, terminal: Callable[[Amount], Amount]) -> Current:
        if self.cell.charge_means is None:
            self.lacks(
                "charge_means: delithiation", "or lithiation: what a charge does to the working electrode"
            )
        upwards = Resolved(Program((step,)), self.cell).raises_voltage(step.direction)
        until = tuple(
            replace(condition, comparison=condition.comparison or (">" if upwards else "<"))
            for condition in self.conditions(step.until, where)
        )
        return replace(step, at=terminal(step.at), to=terminal(step.to) if step.to else None, until=until)

    def conditions(self, conditions: tuple[Condition, ...], where: str) -> tuple[Condition, ...]:
        return tuple(
            replace(condition, amount=self.amount(condition.amount, where)) for condition in conditions
        )

    def amount(self, amount: Amount, where: str) -> Amount:
        """Give an amount in the unit that needs no record."""
        value, capacity, area = amount.value, self.cell.capacity_mAh, self.cell.area_cm2
        if amount.unit in ("C", "% of capacity"):
            if capacity is None:
                self.lacks("capacity_mAh: ...", f"{where} has {amount.text()}")
                return amount
            if amount.unit == "C":
                return Amount(value * capacity / 1e3, "A")
            return Amount(value / 100 * capacity, "mAh")
        if amount.unit in ("mA/cm2", "mAh/cm2"):
            if area is None:
                self.lacks("area_cm2: ...", f"{where} has {amount.text()}")
                return amount
            return Amount(value * area / 1e3, "A") if amount.unit == "mA/cm2" else Amount(value * area, "mAh")
        return self.terminal(amount, where) if amount.vs is not None else amount

    def terminal(self, amount: Amount, where: str) -> Amount:
        """Give a potential against an electrode as a voltage between the terminals."""
        said = f"{where} has {amount.text()}"
        wanted, measured = _electrode(amount.vs), _electrode(self.cell.reference)
        if measured is None:
            self.lacks(
                "reference: ...",
                f"{said}: the counter electrode of a half cell, or the third electrode; a full cell has none "
                "and its program names terminal voltages like '4.2 V'",
            )
        elif wanted == measured:
            return Amount(amount.value, "V")
        elif wanted != _LITHIUM:
            self.missing[
                f"{said}, and the working electrode is measured against {self.cell.reference}: write the "
                f"potential against {self.cell.reference} or {_LITHIUM}"
            ] = None
        elif self.cell.reference_V_vs_Li is None:
            self.lacks("reference_V_vs_Li: ...", f"{said}, and it is measured against {self.cell.reference}")
        else:
            return Amount(amount.value - self.cell.reference_V_vs_Li, "V")
        return amount

    def lacks(self, field: str, why: str) -> None:
        self.missing[f"add '{field}' to the sample's record: {why}"] = None


def _electrode(name: str | None) -> str | None:
    return _SAME_ELECTRODE.get(name, name) if name else None
