"""A program of steps that a cycler channel runs by itself, with the limits that hold throughout.

Charge is positive in all results; the steps themselves have currents without sign, because their kind says
which way it flows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

__all__ = ["CellLimits", "Program", "Step"]

_MARGIN_S = 120.0  # for relays to switch, and a cycler to show what it did
_STEP_S = 2.0  # from the end of a step to the beginning of the next
_LOOKS = 200  # at a program that takes its longest time
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.5, 300.0
_DENSE_LOOK_S = 10.0  # records may come more often than it is worth to look
_RECORDS_A_LOOK = 5  # that are fetched at a time: each exchange costs as much as several records


@dataclass(frozen=True)
class Step:
    """One step: a current until something ends it, perhaps followed by a held voltage, or a rest.

    A voltage that is held from the beginning is the same: `current_A` is then the largest current that the
    cell is given, and flows until the voltage is reached, at once if the cell is there already. The kind
    says which way current may flow: a cell beyond the voltage that is held gets none until it has relaxed.
    Holds of the same kind and voltage that follow each other hold on without a gap, so that records become
    sparser in the course of a hold.

    Attributes
    ----------
    kind : {"charge", "discharge", "rest"}
        Which way the current flows.
    end_time_s : float
        The step ends after this time in any case.
    current_A : float
        Without sign; 0 for a rest.
    hold_V : float or None
        When the voltage has reached this, it is held (CCCV) until another end.
    end_voltage_V : float or None
        The step ends when the voltage has reached this; not together with `hold_V`.
    end_current_A : float or None
        A held voltage ends when the current has fallen to this, without sign.
    end_capacity_Ah : float or None
        The step ends when this charge has passed, without sign.
    record_interval_s : float or None
        A record at least this often in this step; None is the program's.
    record_change_V, record_change_A : float or None
        A record too when voltage or current have changed by so much since the last one.

    Raises
    ------
    ValueError
        If a number is missing, not finite, not above 0, or does not fit the kind.
    """

    kind: Literal["charge", "discharge", "rest"]
    end_time_s: float
    current_A: float = 0.0
    hold_V: float | None = None
    end_voltage_V: float | None = None
    end_current_A: float | None = None
    end_capacity_Ah: float | None = None
    record_interval_s: float | None = None
    record_change_V: float | None = None
    record_change_A: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("charge", "discharge", "rest"):
            raise ValueError(f"kind must be charge, discharge or rest, not {self.kind!r}")
        for name in (
            "end_time_s",
            "current_A",
            "hold_V",
            "end_voltage_V",
            "end_current_A",
            "end_capacity_Ah",
            "record_interval_s",
            "record_change_V",
            "record_change_A",
        ):
            _check_number(self, name, positive=name not in ("current_A", "hold_V", "end_voltage_V"))
        if self.kind == "rest":
            others = (self.hold_V, self.end_voltage_V, self.end_current_A, self.end_capacity_Ah)
            if self.current_A or any(other is not None for other in others):
                raise ValueError("a rest has no current and ends by its time")
            return
        if not self.current_A > 0:
            raise ValueError(f"current_A of a {self.kind} must be above 0, not {self.current_A!r}")
        if self.hold_V is not None and self.end_voltage_V is not None:
            raise ValueError("a step either holds a voltage or ends at one, not both")
        if self.end_current_A is not None and self.hold_V is None:
            raise ValueError("end_current_A is for a step that holds a voltage: give hold_V")


@dataclass(frozen=True)
class CellLimits:
    """What the cell may never leave; the instrument ends the program if it does.

    Attributes
    ----------
    voltage_min_V, voltage_max_V : float
        Voltages allowed.
    charge_A, discharge_A : float
        Largest currents, without sign.
    """

    voltage_min_V: float
    voltage_max_V: float
    charge_A: float
    discharge_A: float

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_number(self, item.name, positive=item.name.endswith("_A"))
        if not self.voltage_min_V < self.voltage_max_V:
            raise ValueError("voltage_max_V must be above voltage_min_V")


@dataclass(frozen=True)
class Program:
    """Steps, done in order, `cycles` times over.

    Attributes
    ----------
    steps : tuple of Step
        At least one.
    limits : CellLimits
        Hold throughout; steps that ask for more are refused.
    record_interval_s : float
        A record at least this often, in steps that do not say how often.
    cycles : int
        How often all steps are done.
    """

    steps: tuple[Step, ...]
    limits: CellLimits
    record_interval_s: float
    cycles: int = 1

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a program has at least one step")
        if not (isinstance(self.cycles, int) and self.cycles >= 1):
            raise ValueError(f"cycles must be a whole number from 1, not {self.cycles!r}")
        _check_number(self, "record_interval_s", positive=True)
        for number, step in enumerate(self.steps, start=1):
            self._check(number, step)

    @property
    def points(self) -> int | None:
        """None: the cell decides when a step ends."""
        return None

    def longest_s(self) -> float:
        """Longest time that the program can take."""
        return self.cycles * sum(1.01 * step.end_time_s + _STEP_S for step in self.steps) + _MARGIN_S

    def silence_s(self, rows: int) -> float:
        """Longest time between two records, as far as looks can tell."""
        return max(2.0 * max(map(self.interval_s, self.steps)), self.look_s()) + _MARGIN_S

    def interval_s(self, step: Step) -> float:
        """Longest time between two records of a step."""
        return self.record_interval_s if step.record_interval_s is None else step.record_interval_s

    def look_s(self) -> float:
        """How often to look whether it has given records, or has ended: what that is seen late.

        It is five times the mean time between its records, where each step counts as having one, but not
        shorter than 10 s, nor longer than 300 s or a 200th of its longest time: a program of many short steps
        is looked at each minute, a hold of days each five minutes, and a short one more often.
        """
        rows = sum(max(step.end_time_s / self.interval_s(step), 1.0) for step in self.steps)
        mean_s = sum(step.end_time_s for step in self.steps) / rows
        share_s = max(self.longest_s() / _LOOKS, _SHORTEST_LOOK_S)
        return min(max(_RECORDS_A_LOOK * mean_s, _DENSE_LOOK_S), _LONGEST_LOOK_S, share_s)

    def _check(self, number: int, step: Step) -> None:
        largest_A = {"charge": self.limits.charge_A, "discharge": self.limits.discharge_A, "rest": 0.0}[
            step.kind
        ]
        if step.current_A > largest_A:
            raise ValueError(
                f"step {number}: {step.current_A:g} A is more than the limit of {largest_A:g} A ({step.kind})"
            )
        for voltage_V in (step.hold_V, step.end_voltage_V):
            if voltage_V is not None and not (
                self.limits.voltage_min_V <= voltage_V <= self.limits.voltage_max_V
            ):
                raise ValueError(
                    f"step {number}: {voltage_V:g} V is outside the limits, "
                    f"{self.limits.voltage_min_V:g} to {self.limits.voltage_max_V:g} V"
                )


def _check_number(record: Any, name: str, *, positive: bool) -> None:
    value = getattr(record, name)
    if value is None:
        return
    if isinstance(value, bool) or not (isinstance(value, (int, float)) and math.isfinite(value)):
        raise ValueError(f"{name} must be a number, not {value!r}")
    if positive and not value > 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
