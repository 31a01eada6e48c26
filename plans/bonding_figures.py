"""Figures of merit of the bonding study: of each cell, and of bond levels against the bonded one."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from plans.capacity_figures import cycle_figures, last_cycle
from plans.cell_figures import CellRun, gathered
from plans.member_figures import members_of
from plans.resistance_figures import resistances_of_spectrum, resistances_of_state, trust
from ssblab.analysis.cycling import StepRecord, charge_capacity, discharge_capacity
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value
from ssblab.results import Related

__all__ = ["campaign", "cell"]

logger = logging.getLogger(__name__)

_BONDED = "a"
_OVER_BONDED = (
    "discharge_capacity",
    "dc_resistance_10s",
    "arc_resistance",
    "charge_capacity_",
    "relative_charge",
)
_SHOWN = (*_OVER_BONDED, "negative_potential_min", "short", "flagged_spectra")


def cell(run: RunData) -> list[Value]:
    """Compute what the study of one cell gives, as far as it came."""
    return gathered(run, [_pressures, _capacity, _resistance, _spectrum, _charges, _short])


def campaign(run: RunData, related: Related) -> list[Value]:
    """Compare the bond levels: means of their cells, and these over that of the bonded level."""
    by_level: defaultdict[str, defaultdict[str, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for member in members_of(run, related):
        for value in member.results.values():
            if member.run is not None and value.name.startswith(_SHOWN):
                by_level[member.run.start["sample"]["bond_level"]][value.name].append(value)
    levels = {
        level: {name: _mean(values) for name, values in found.items()} for level, found in by_level.items()
    }
    found = [
        replace(value, name=f"{name}_{level}", definition=f"bond level {level}: {value.definition}")
        for level, values in sorted(levels.items())
        for name, value in values.items()
    ]
    bonded = levels.get(_BONDED, {})
    for level, values in sorted(levels.items()):
        if level != _BONDED:
            found += _over(level, values, bonded)
    return found


def _mean(values: Sequence[Value]) -> Value:
    """Mean of the cells of a level, with the standard error of the mean if there are several."""
    first = values[0]
    if len(values) == 1:
        return first
    numbers = np.array([value.value for value in values])
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    definition = f"mean of {len(numbers)} cells: {first.definition}"
    return Value(first.name, float(numbers.mean()), first.unit, error, definition)


def _over(level: str, values: Mapping[str, Value], bonded: Mapping[str, Value]) -> Iterable[Value]:
    for name, value in values.items():
        if name.startswith(_OVER_BONDED) and name in bonded and bonded[name].value:
            other = bonded[name]
            ratio = value.value / other.value
            shares = [(one.uncertainty or 0.0) / one.value for one in (value, other) if one.value]
            yield Value(
                f"{name}_{level}_over_{_BONDED}",
                ratio,
                "1",
                abs(ratio) * math.hypot(*shares),
                f"{name} of bond level {level} over that of level {_BONDED}, both uncertainties independent",
            )


def _pressures(run: CellRun) -> Iterable[Value]:
    sample = run.sample
    if sample.pressure_MPa is None or sample.bonding_pressure_MPa is None:
        raise BadInput("the record of the sample has no pressures")
    yield Value(
        "constraint_over_bonding_pressure",
        sample.pressure_MPa / sample.bonding_pressure_MPa,
        "1",
        None,
        "constraint pressure over bonding pressure, both of the sample's record (requirement C4)",
    )


def _last_cycle(run: CellRun) -> list[StepRecord]:
    cycles = run.sections("cycle ")
    if not cycles:
        raise BadInput("no cycle was recorded")
    return last_cycle(run, cycles[-1])


def _capacity(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, _last_cycle(run))


def _state(run: CellRun) -> str:
    """How the state of charge of the resistances is written."""
    return next(
        str(of["section"]).removeprefix("pulses at ")
        for of in run.start["programs"]
        if of["section"].startswith("pulses at ")
    )


def _resistance(run: CellRun) -> Iterable[Value]:
    state = _state(run)
    (capacity_mAh,) = run.run.streams["states"]["states_capacity"].values.tolist()
    said = f"at {state} of {capacity_mAh:.4g} mAh, the capacity of the last cycle, by charge counted"
    for value in resistances_of_state(run, f"pulses at {state}"):
        yield replace(value, definition=f"{value.definition}; {said}")


def _spectrum(run: CellRun) -> Iterable[Value]:
    yield from resistances_of_spectrum(run.spectrum(f"spectrum at {_state(run)}"))
    yield from trust(run)


def _charges(run: CellRun) -> Iterable[Value]:
    """Give the charge that each fast charge put in, and how low the negative electrode came.

    A charge that was broken off, or after which the cell was short, has no capacity: where the cell is short,
    current passes that charges nothing. The potential stays, it shows why.
    """
    slow = discharge_capacity(_last_cycle(run), current_relative_accuracy=run.accuracy)
    short = _short_by_section(run)
    for at, rate in run.start["charges"].items():
        section = f"charge at {at}"
        if section not in run.sections():
            return
        steps = run.section(section)
        is_short = short.get(f"rest after {at}")
        if not is_short and not any(step.broken_off for step in steps):
            value = charge_capacity(steps, current_relative_accuracy=run.accuracy)
            said = f"at {at}" + (
                "" if is_short is not None else "; whether the cell was short then is not known"
            )
            yield replace(value, name=f"charge_capacity_{rate:g}C", definition=f"{value.definition}; {said}")
            yield Value(
                f"relative_charge_capacity_{rate:g}C",
                value.value / slow.value,
                "1",
                math.hypot(value.uncertainty or 0.0, slow.uncertainty or 0.0) / slow.value,
                f"charge {said}; over the slow discharge of the last cycle, both uncertainties independent",
            )
        yield from _least_potential(run, steps, at, rate)


def _short_by_section(run: CellRun) -> dict[str, bool]:
    """Whether the cell was short in each rest after a fast charge that came to its end."""
    checks = run.run.streams.get("short_check")
    if checks is None:
        return {}
    found = (checks[f"short_check_{key}"].values.tolist() for key in ("section", "short"))
    return {str(section): bool(short) for section, short in zip(*found, strict=True)}


def _least_potential(run: CellRun, steps: Sequence[StepRecord], at: str, rate: float) -> Iterable[Value]:
    if "potentials" not in run.run.streams:
        return
    time_s = np.asarray(run.run.streams["potentials"]["time"])
    negative_V = run.column("potentials", "electrodes", "negative_potential").astype(float)
    meanwhile = (steps[0].time_s[0] <= time_s) & (time_s <= steps[-1].time_s[-1]) & np.isfinite(negative_V)
    if meanwhile.any():
        yield Value(
            f"negative_potential_min_{rate:g}C",
            float(negative_V[meanwhile].min()),
            "V",
            None,
            f"least potential of the negative against the reference electrode in the charge at {at}",
        )


def _short(run: CellRun) -> Iterable[Value]:
    checks: dict[str, list[Any]] = {
        key: run.run.streams["short_check"][f"short_check_{key}"].values.tolist()
        for key in ("rate", "fall", "limit", "short")
    }
    rests = list(zip(*checks.values(), strict=True))
    rate, fall_V, limit_V, short = rests[-1]
    said = (
        f"after {rate:g}C the voltage fell by {1e3 * fall_V:.3g} mV in the second half of the rest; "
        f"above {1e3 * limit_V:g} mV it is a short"
    )
    yield Value("short", float(short), "1", None, f"0 no, 1 yes: {said}")
    if short:
        yield Value(
            "short_rate", rate, "1/h", None, f"C-rate of the charge after which the cell was short: {said}"
        )
