"""What cycling says of a cell: capacities, efficiencies, mean voltages, retention, rates.

Charge and discharge are the laboratory's words for the cell: a silicon half cell is charged when silicon
takes up lithium, and its voltage falls. Whoever makes the records says which is which (`StepRecord.kind`).

Three uncertainties are counted. The instrument's relative accuracy of current is taken as a rectangular
distribution (accuracy / sqrt(3)); it is common to all that one channel has measured and cancels in ratios.
And what passed between the last record and the end of a step is not known: at most the current then times
the spacing of the records, again rectangular, independent from step to step; so is what passes while the
voltage changes by what the instrument resolves, as that decides when a step is over. Energies and mean
voltages are uncertain too by what half the records less would make of their integrals.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import cumulative_trapezoid

from ssblab.analysis.common import (
    RECTANGULAR,
    COULOMB_PER_mAh,
    Floats,
    above_zero,
    finite_rows,
    relative_uncertainty,
    straight_line,
    uncertainty_of,
)
from ssblab.quantities import BadInput, Value

# The share of the slowest rate's capacity at which the rate is given (requirement D3).
RATE_SHARE = 0.8

GAIN = "the current's accuracy is common to both and cancels"
ENDS = "uncertain by when a step ended: since its last record, and within the resolution of the voltage"


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """What was recorded in one step of a program.

    Attributes
    ----------
    section : str
        Part of the experiment: "check-up 1", "hold".
    number : str
        Of the step in its program.
    cycle : int
    kind : {"charge", "discharge", "rest", "hold"}
        In the laboratory's words for this cell.
    time_s, voltage_V, current_A, charge_mAh : ndarray, shape (n,)
        Never falling; at the terminals; positive where it raises their voltage; passed in this step, without
        sign.
    unrecorded_s : float
        Longest time that the step may have gone on after the last record.
    voltage_resolution_V : float
        Of the instrument.
    broken_off : bool
        Whether it was ended before its own end: by a failure or from outside.
    """

    section: str
    number: str
    cycle: int
    kind: str
    time_s: Floats
    voltage_V: Floats
    current_A: Floats
    charge_mAh: Floats
    unrecorded_s: float = 0.0
    voltage_resolution_V: float = 0.0
    broken_off: bool = False

    def __post_init__(self) -> None:
        shapes = {np.shape(one) for one in (self.time_s, self.voltage_V, self.current_A, self.charge_mAh)}
        if len(shapes) > 1 or len(self.time_s) == 0:
            raise BadInput(f"step {self.number}: columns of the shapes {shapes}; give one value for each row")

    @property
    def duration_s(self) -> float:
        """From the first record to the last."""
        return float(self.time_s[-1] - self.time_s[0])

    @property
    def passed_mAh(self) -> float:
        """Charge passed up to the last record, without sign."""
        return float(self.charge_mAh[-1])

    @property
    def energy_mWh(self) -> float:
        """Integral of V dQ, without the sign of the current; what passed before the first record included."""
        before = float(self.charge_mAh[0] * self.voltage_V[0])
        return before + float(np.trapezoid(self.voltage_V, self.charge_mAh))

    @property
    def mean_voltage_V(self) -> float:
        """Integral of V dQ over Q; NaN where no charge has passed."""
        return self.energy_mWh / self.passed_mAh if self.passed_mAh else math.nan

    @property
    def last_voltage_V(self) -> float:
        """At the last record."""
        return float(self.voltage_V[-1])

    @property
    def unrecorded_mAh(self) -> float:
        """Largest charge that may have passed after the last record."""
        return abs(float(self.current_A[-1])) * self.unrecorded_s / COULOMB_PER_mAh

    @property
    def blurred_mAh(self) -> float:
        """Charge that passed between the last two records while the voltage changed by its resolution."""
        if len(self.time_s) < 2 or not self.voltage_resolution_V:
            return 0.0
        last_mAh = abs(float(self.charge_mAh[-1] - self.charge_mAh[-2]))
        last_V = abs(float(self.voltage_V[-1] - self.voltage_V[-2]))
        return last_mAh * self.voltage_resolution_V / max(last_V, self.voltage_resolution_V)


def split_steps(
    time_s: ArrayLike,
    voltage_V: ArrayLike,
    current_A: ArrayLike,
    *,
    step: Sequence[object] | NDArray[np.generic],
    cycle: ArrayLike | None = None,
    charge_mAh: ArrayLike | None = None,
    kind: Sequence[str] | NDArray[np.str_] | None = None,
    section: str = "",
    charge_raises_voltage: bool = True,
    voltage_resolution_V: float = 0.0,
) -> list[StepRecord]:
    """Take the rows of one stream apart into steps.

    Parameters
    ----------
    time_s, voltage_V, current_A : array_like, shape (n,)
        In the order in which they were recorded.
    step : sequence, shape (n,)
        Number of the step in its program, in any form; where it changes, a new step begins.
    cycle : array_like of int, shape (n,), optional
        Where it changes, a new step begins too. Default: 1 throughout.
    charge_mAh : array_like, shape (n,), optional
        The instrument's counter of the charge in the step. Default: trapezoidal integral of the current's
        magnitude from the first record of the step.
    kind : sequence of str, shape (n,), optional
        Kind of each row's step. Default: by the sign of the mean current of the step, and a rest where
        no current was read; a hold is never guessed.
    section : str
        Given to all steps.
    charge_raises_voltage : bool
        Whether a positive current is a charge in the laboratory's words; used where `kind` is not given.
    voltage_resolution_V : float
        Of the instrument; given to all steps.

    Returns
    -------
    list of StepRecord
        Rows whose time, voltage or current is not finite are left out.

    Raises
    ------
    BadInput
        Columns of different lengths, no usable row, or a time that falls.
    """
    time, voltage, current = (np.asarray(one, dtype=float) for one in (time_s, voltage_V, current_A))
    counter = None if charge_mAh is None else np.asarray(charge_mAh, dtype=float)
    labels = np.asarray(step)
    cycles = np.ones(len(time), dtype=int) if cycle is None else np.asarray(cycle)
    kinds = None if kind is None else np.asarray(kind)
    others = [one for one in (voltage, current, labels, cycles, counter, kinds) if one is not None]
    if any(len(one) != len(time) for one in others):
        raise BadInput("columns of different lengths; give one value for each row")
    rows = np.flatnonzero(np.isfinite(time) & np.isfinite(voltage) & np.isfinite(current))
    if len(rows) == 0:
        raise BadInput("no row has a finite time, voltage and current")
    if np.any(np.diff(time[rows]) < 0):
        raise BadInput("time_s falls from one row to the next: give the rows in order")
    changes = (labels[rows][1:] != labels[rows][:-1]) | (cycles[rows][1:] != cycles[rows][:-1])
    parts = np.split(rows, np.flatnonzero(changes) + 1)
    records = []
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        begins_s = math.inf if after is None else float(time[after[0]])
        records.append(
            StepRecord(
                section=section,
                number=str(labels[part[0]]),
                cycle=int(cycles[part[0]]),
                kind=_kind(current[part], charge_raises_voltage) if kinds is None else str(kinds[part[0]]),
                time_s=time[part],
                voltage_V=voltage[part],
                current_A=current[part],
                charge_mAh=_passed(time[part], current[part]) if counter is None else counter[part],
                unrecorded_s=_unrecorded_s(time[part], begins_s),
                voltage_resolution_V=voltage_resolution_V,
            )
        )
    return records


def group_cycles(records: Iterable[StepRecord]) -> dict[tuple[str, int], list[StepRecord]]:
    """Collect steps by section and cycle, in the order in which they came first."""
    cycles: dict[tuple[str, int], list[StepRecord]] = {}
    for record in records:
        cycles.setdefault((record.section, record.cycle), []).append(record)
    return cycles


def charge_capacity(records: Iterable[StepRecord], *, current_relative_accuracy: float) -> Value:
    """Charge that passed in the steps of charging, in mAh.

    Parameters
    ----------
    records : iterable of StepRecord
        Of one cycle; steps of other kinds, holds among them, are left out.
    current_relative_accuracy : float
        0.0005 for 0.05 %.

    Raises
    ------
    BadInput
        No step of charging.
    """
    return _capacity("charge", records, current_relative_accuracy)


def discharge_capacity(records: Iterable[StepRecord], *, current_relative_accuracy: float) -> Value:
    """Charge that passed in the steps of discharging, in mAh; as `charge_capacity`."""
    return _capacity("discharge", records, current_relative_accuracy)


def coulombic_efficiency(records: Sequence[StepRecord]) -> Value:
    """Discharge over charge capacity of one cycle.

    In the laboratory's words: where charging puts lithium into silicon, the efficiency is what comes out of
    it again. NaN where no charge passed.

    Raises
    ------
    BadInput
        A charge or a discharge is missing.
    """
    discharge, charge = _Total.of("discharge", records), _Total.of("charge", records)
    return _share(
        "coulombic_efficiency", discharge, charge, f"Q_discharge / Q_charge of one cycle; {GAIN}; {ENDS}"
    )


def relative_capacity(
    records: Iterable[StepRecord], reference: Iterable[StepRecord], *, name: str, definition: str
) -> Value:
    """Discharge capacity over that of a reference: another temperature, rate or time.

    Parameters
    ----------
    records, reference : iterable of StepRecord
        Of one cycle each, of one cell, measured by one channel.
    name, definition : str
        Of the result.

    Raises
    ------
    BadInput
        A discharge is missing.
    """
    above, below = _Total.of("discharge", records), _Total.of("discharge", reference)
    return _share(name, above, below, f"{definition}; one channel measured both: {GAIN}; {ENDS}")


def capacity_retention(first: Iterable[StepRecord], last: Iterable[StepRecord]) -> Value:
    """Discharge capacity of the last check-up over that of the first; as `relative_capacity`."""
    return relative_capacity(
        last,
        first,
        name="capacity_retention",
        definition="discharge capacity of the last check-up over that of the first",
    )


def mean_voltage(records: Iterable[StepRecord], *, kind: str, voltage_accuracy_V: float) -> Value:
    """Mean voltage of the charge or the discharge of one cycle, integral of V dQ over Q, in V.

    Parameters
    ----------
    records : iterable of StepRecord
    kind : {"charge", "discharge"}
    voltage_accuracy_V : float
        Of the instrument; rectangular.

    Raises
    ------
    BadInput
        No step of that kind, or no charge passed in it.
    """
    total = _Total.of(kind, records)
    above_zero(**{f"{kind}_capacity": total.charge_mAh})
    end_V = abs(total.steps[-1].last_voltage_V - total.mean_V) * total.ends_mAh / total.charge_mAh
    return Value(
        f"{kind}_mean_voltage",
        total.mean_V,
        "V",
        math.hypot(voltage_accuracy_V * RECTANGULAR, end_V, total.spacing_mWh / total.charge_mAh),
        f"integral of V dQ / Q of the {kind}, trapezoidal; {ENDS}",
    )


def discharge_energy(
    records: Iterable[StepRecord], *, current_relative_accuracy: float, voltage_accuracy_V: float
) -> Value:
    """Energy that the discharge of one cycle gave, integral of V dQ, in mWh.

    Raises
    ------
    BadInput
        No discharge.
    """
    total = _Total.of("discharge", records)
    uncertainty = math.hypot(
        total.energy_mWh * current_relative_accuracy * RECTANGULAR,
        total.charge_mAh * voltage_accuracy_V * RECTANGULAR,
        total.ends_mWh,
        total.spacing_mWh,
    )
    about = f"integral of V dQ of the discharge, trapezoidal; {ENDS}"
    return Value("discharge_energy", total.energy_mWh, "mWh", uncertainty, about)


def energy_efficiency(records: Sequence[StepRecord], *, voltage_accuracy_V: float) -> Value:
    """Energy of the discharge over that of the charge of one cycle.

    A half cell whose voltage is below zero in the charge has none: NaN.

    Raises
    ------
    BadInput
        A charge or a discharge is missing.
    """
    out, into = _Total.of("discharge", records), _Total.of("charge", records)
    about = f"E_discharge / E_charge of one cycle, E = integral of V dQ; {GAIN}; {ENDS}"
    if not (out.energy_mWh > 0 and into.energy_mWh > 0):
        reason = f"not defined: {out.energy_mWh:.4g} mWh out and {into.energy_mWh:.4g} mWh in"
        return Value("energy_efficiency", math.nan, "1", math.nan, f"{about}; {reason}")
    efficiency = out.energy_mWh / into.energy_mWh
    offset = voltage_accuracy_V * RECTANGULAR * abs(1 / out.mean_V - 1 / into.mean_V)
    unknown = [unknown / one.energy_mWh for one in (out, into) for unknown in (one.ends_mWh, one.spacing_mWh)]
    uncertainty = efficiency * math.hypot(*unknown, offset)
    return Value("energy_efficiency", efficiency, "1", uncertainty, about)


def fade_per_cycle(cycle: ArrayLike, capacity_mAh: ArrayLike) -> Value:
    """Loss of capacity in a cycle, as a share of that at the first one given.

    The line is straight; where the fade is not, it is the mean over the cycles given.

    Parameters
    ----------
    cycle, capacity_mAh : array_like, shape (n,)
        At least 3; NaN are left out.

    Raises
    ------
    BadInput
        Fewer than three cycles.
    """
    number, capacity = finite_rows(cycle, capacity_mAh, at_least=3, what="capacities of cycles")
    line = straight_line(number, capacity)
    first_mAh, first_uncertainty = line.at(float(number.min()))
    above_zero(first_capacity_mAh=first_mAh)
    fade = -line.slope / first_mAh
    uncertainty = math.hypot(line.slope_uncertainty / first_mAh, fade * first_uncertainty / first_mAh)
    about = (
        f"minus slope of a straight line through {len(number)} capacities from cycle {number.min():g} to "
        f"{number.max():g}, over the line's height at the first; uncertainty from the scatter around it"
    )
    return Value("fade_per_cycle", fade, "1", uncertainty, about)


def rate_capability(
    cycles: Mapping[float, Sequence[StepRecord]], kind: Literal["charge", "discharge"] = "discharge"
) -> tuple[dict[float, Value], Value]:
    """Capacity at several rates over that at the slowest, and the rate at which it is 80 %.

    Parameters
    ----------
    cycles : mapping of float to sequence of StepRecord
        Steps of one cycle, by rate (C-rate in 1/h).
    kind : {"charge", "discharge"}
        Which was done at the rates.

    Returns
    -------
    relative_capacity : dict of float to Value
        By rate, rising.
    rate_at_80_percent : Value
        In 1/h; NaN where the capacity does not fall to 80 % once.

    Raises
    ------
    BadInput
        Fewer than two rates, or one without a step of that kind.

    References
    ----------
    Requirement D3.
    """
    rates = sorted(cycles)
    if len(rates) < 2:
        raise BadInput(f"{len(rates)} rates: at least 2 are needed, the slowest is the reference")
    above_zero(slowest_rate=rates[0])
    totals = {rate: _Total.of(kind, cycles[rate]) for rate in rates}
    shares = {
        rate: _share(
            f"relative_{kind}_capacity_{rate:g}C",
            totals[rate],
            totals[rates[0]],
            f"{kind} capacity at {rate:g}C over that at {rates[0]:g}C; one channel measured both: {GAIN}; "
            f"{ENDS}",
        )
        for rate in rates
    }
    # The slowest is 100 % of itself, whatever it is.
    shares[rates[0]] = dataclasses.replace(shares[rates[0]], value=1.0, uncertainty=0.0)
    return shares, _rate_at(shares, kind)


def specific_capacity(capacity: Value, *, mass_mg: float, mass_uncertainty_mg: float | None) -> Value:
    """Capacity over the mass of active material, in mAh/g.

    Raises
    ------
    BadInput
        A capacity that is not in mAh, or a mass not above zero.
    """
    above_zero(mass_mg=mass_mg)
    return _per(capacity, "specific", "mAh", "mAh/g", mass_mg / 1e3, mass_uncertainty_mg, mass_mg, "mass")


def areal_capacity(capacity: Value, *, area_cm2: float, area_uncertainty_cm2: float | None) -> Value:
    """Capacity over the area of the electrodes, in mAh/cm2; errors as of `specific_capacity`."""
    above_zero(area_cm2=area_cm2)
    return _per(capacity, "areal", "mAh", "mAh/cm2", area_cm2, area_uncertainty_cm2, area_cm2, "area")


@dataclasses.dataclass(frozen=True)
class _Total:
    """Steps of one kind together; standard uncertainties of their ends and by the spacing of the records."""

    steps: list[StepRecord]
    charge_mAh: float
    energy_mWh: float
    ends_mAh: float
    ends_mWh: float
    spacing_mWh: float

    @classmethod
    def of(cls, kind: str, records: Iterable[StepRecord]) -> _Total:
        steps = [record for record in records if record.kind == kind]
        if not steps:
            raise BadInput(f"no step of the kind {kind!r}: was it recorded?")
        ends = [math.hypot(step.unrecorded_mAh, step.blurred_mAh) * RECTANGULAR for step in steps]
        return cls(
            steps,
            sum(step.passed_mAh for step in steps),
            sum(step.energy_mWh for step in steps),
            math.hypot(*ends),
            math.hypot(*(end * step.last_voltage_V for end, step in zip(ends, steps, strict=True))),
            math.hypot(*(_spacing_mWh(step) for step in steps)),
        )

    @property
    def mean_V(self) -> float:
        return self.energy_mWh / self.charge_mAh if self.charge_mAh else math.nan


def _kind(current_A: Floats, charge_raises_voltage: bool) -> str:
    if not np.any(current_A):
        return "rest"
    return "charge" if (float(np.mean(current_A)) > 0) == charge_raises_voltage else "discharge"


def _passed(time_s: Floats, current_A: Floats) -> Floats:
    coulomb = cumulative_trapezoid(np.abs(current_A), time_s, initial=0)
    return np.asarray(coulomb / COULOMB_PER_mAh)


def _unrecorded_s(time_s: Floats, next_s: float) -> float:
    """Time from the last record to the end: no longer than the spacing, nor than until the next step."""
    spacing_s = float(time_s[-1] - time_s[-2]) if len(time_s) > 1 else math.inf
    longest_s = min(spacing_s, next_s - float(time_s[-1]))
    return longest_s if math.isfinite(longest_s) else math.nan


def _spacing_mWh(step: StepRecord) -> float:
    """Error of the integral of V dQ, from that with every other record: a third of the difference."""
    rows = np.unique(np.append(np.arange(0, len(step.time_s), 2), len(step.time_s) - 1))
    coarse = float(np.trapezoid(step.voltage_V[rows], step.charge_mAh[rows]))
    return abs(float(np.trapezoid(step.voltage_V, step.charge_mAh)) - coarse) / 3


def _capacity(kind: str, records: Iterable[StepRecord], current_relative_accuracy: float) -> Value:
    total = _Total.of(kind, records)
    gain = total.charge_mAh * current_relative_accuracy * RECTANGULAR
    definition = f"charge passed in {len(total.steps)} steps of {kind}; {ENDS}"
    return Value(f"{kind}_capacity", total.charge_mAh, "mAh", math.hypot(gain, total.ends_mAh), definition)


def _share(name: str, above: _Total, below: _Total, definition: str) -> Value:
    if not below.charge_mAh > 0:
        return Value(name, math.nan, "1", math.nan, f"{definition}; not defined: no charge passed")
    share = above.charge_mAh / below.charge_mAh
    uncertainty = math.hypot(above.ends_mAh, share * below.ends_mAh) / below.charge_mAh
    return Value(name, share, "1", uncertainty, definition)


def _rate_at(shares: Mapping[float, Value], kind: str) -> Value:
    """Rate at which the capacity crosses 80 %; uncertain by how one draws the curve between two rates."""
    about = (
        f"rate at which the {kind} capacity is {RATE_SHARE:.0%} of that at the slowest, straight in the "
        "logarithm of the rate between the two next to it; uncertain by the difference from straight in "
        "the rate, and by the capacities"
    )
    name = "rate_at_80_percent"
    crossed = [
        pair for pair in pairwise(shares) if shares[pair[0]].value >= RATE_SHARE > shares[pair[1]].value
    ]
    if len(crossed) != 1:
        reason = "is crossed several times" if crossed else "is not crossed"
        about += f"; not defined: {RATE_SHARE:.0%} {reason} from {min(shares):g} to {max(shares):g}"
        return Value(name, math.nan, "1/h", math.nan, about)
    slow, fast = crossed[0]
    high, low = shares[slow], shares[fast]
    part = (high.value - RATE_SHARE) / (high.value - low.value)
    rate = slow * (fast / slow) ** part
    drawn = abs(rate - (slow + part * (fast - slow))) * RECTANGULAR
    shares_uncertainty = math.hypot((1 - part) * uncertainty_of(high), part * uncertainty_of(low))
    of_shares = rate * math.log(fast / slow) * shares_uncertainty / (high.value - low.value)
    return Value(name, rate, "1/h", math.hypot(drawn, of_shares), about)


def _per(
    value: Value,
    prefix: str,
    unit: str,
    result_unit: str,
    divisor: float,
    uncertainty: float | None,
    measured: float,
    what: str,
) -> Value:
    if value.unit != unit:
        raise BadInput(f"{value.name} is in {value.unit}, {unit} is needed")
    own, note = relative_uncertainty(uncertainty, measured, what)
    result = value.value / divisor
    return Value(
        f"{prefix}_{value.name}",
        result,
        result_unit,
        math.hypot(uncertainty_of(value) / divisor, result * own),
        f"{value.definition}; over the {what}{note}",
    )
