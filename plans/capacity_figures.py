"""Figures of merit of capacities: of one check, of cycling, of rates, of conditioning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from plans.cell_figures import CellRun, gathered
from ssblab.analysis.cycling import (
    StepRecord,
    areal_capacity,
    capacity_retention,
    charge_capacity,
    coulombic_efficiency,
    discharge_capacity,
    discharge_energy,
    energy_efficiency,
    fade_per_cycle,
    group_cycles,
    mean_voltage,
    rate_capability,
    specific_capacity,
)
from ssblab.analysis.lots import Limit, micro_short_verdict, open_circuit_decay
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value

__all__ = [
    "capacity",
    "conditioning",
    "cycle_figures",
    "cycling",
    "last_check",
    "last_cycle",
    "program",
    "rates",
    "retention",
]


def capacity(run: RunData) -> list[Value]:
    """Compute the capacity of the last whole cycle, its efficiencies, voltages and energy."""
    return gathered(run, [_capacity])


def cycling(run: RunData) -> list[Value]:
    """Compute what check-ups and cycles say of the fade."""
    return gathered(run, [last_check, retention, _cycles])


def conditioning(run: RunData) -> list[Value]:
    """Compute what formation and open circuit say of the cell, and whether it has a micro-short."""
    return gathered(run, [_formation, _micro_short])


def program(run: RunData) -> list[Value]:
    """Compute what the last whole cycle of a written program gives."""
    return gathered(run, [_program])


def rates(run: RunData) -> list[Value]:
    """Compute the capacity at each rate, its share of that at the slowest, and the rate where it is 80 %."""
    return gathered(run, [_rates])


def cycle_figures(run: CellRun, steps: list[StepRecord]) -> Iterable[Value]:
    """Compute what one cycle gives."""
    accuracy, accuracy_V = run.accuracy, run.voltage_accuracy_V
    discharged = discharge_capacity(steps, current_relative_accuracy=accuracy)
    yield discharged
    yield charge_capacity(steps, current_relative_accuracy=accuracy)
    yield coulombic_efficiency(steps)
    yield mean_voltage(steps, kind="charge", voltage_accuracy_V=accuracy_V)
    yield mean_voltage(steps, kind="discharge", voltage_accuracy_V=accuracy_V)
    yield discharge_energy(steps, current_relative_accuracy=accuracy, voltage_accuracy_V=accuracy_V)
    yield energy_efficiency(steps, voltage_accuracy_V=accuracy_V)
    yield areal_capacity(discharged, area_cm2=run.sample.area_cm2, area_uncertainty_cm2=None)
    if run.sample.active_mass_g is not None:
        mass_mg = 1e3 * run.sample.active_mass_g
        yield specific_capacity(discharged, mass_mg=mass_mg, mass_uncertainty_mg=None)


def last_cycle(run: CellRun, section: str) -> list[StepRecord]:
    """Steps of the last whole cycle of a section: one with a charge and a discharge, no step broken off.

    Raises
    ------
    BadInput
        If there is none.
    """
    whole = _whole_cycles(run, section)
    if not whole:
        raise BadInput(f"{section}: no whole cycle was recorded")
    return whole[-1]


def _whole_cycles(run: CellRun, section: str) -> list[list[StepRecord]]:
    return [
        steps
        for steps in group_cycles(run.section(section)).values()
        if {"charge", "discharge"} <= {step.kind for step in steps}
        and not any(step.broken_off for step in steps)
    ]


def retention(run: CellRun) -> Iterable[Value]:
    """Compute the last check-up's capacity over the first one's."""
    checks = [name for name in run.sections("check-up") if _whole_cycles(run, name)]
    if len(checks) < 2:
        raise BadInput(f"{len(checks)} whole check-ups: 2 are needed")
    first, last = last_cycle(run, checks[0]), last_cycle(run, checks[-1])
    yield capacity_retention(first, last)
    before = discharge_capacity(first, current_relative_accuracy=run.accuracy)
    yield replace(before, name="discharge_capacity_before", definition=f"{before.definition}; {checks[0]}")


def _capacity(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, "capacity"))


def _program(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, "program"))


def last_check(run: CellRun) -> Iterable[Value]:
    """Compute what the last whole check-up gives."""
    checks = [name for name in run.sections("check-up") if _whole_cycles(run, name)]
    if not checks:
        raise BadInput("no whole check-up was recorded")
    return cycle_figures(run, last_cycle(run, checks[-1]))


def _cycles(run: CellRun) -> Iterable[Value]:
    """Give first and last cycle, and the fade between."""
    cycles = [steps for section in run.sections("cycling") for steps in _whole_cycles(run, section)]
    if not cycles:
        raise BadInput("no whole cycle was recorded")
    for name, steps in (("first", cycles[0]), ("last", cycles[-1])):
        value = discharge_capacity(steps, current_relative_accuracy=run.accuracy)
        yield replace(value, name=f"discharge_capacity_{name}_cycle")
        yield replace(coulombic_efficiency(steps), name=f"coulombic_efficiency_{name}_cycle")
    if len(cycles) > 2:
        values = [discharge_capacity(steps, current_relative_accuracy=run.accuracy) for steps in cycles]
        yield fade_per_cycle(range(1, len(cycles) + 1), [value.value for value in values])


def _formation(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, "formation"))


def _micro_short(run: CellRun) -> Iterable[Value]:
    (rest,) = run.section("open circuit")
    decay = open_circuit_decay(
        rest.time_s,
        rest.voltage_V,
        after_s=rest.duration_s / 2,
        voltage_resolution_V=run.start["voltage_resolution_V"],
    )
    yield decay
    efficiency = coulombic_efficiency(last_cycle(run, "formation"))
    verdict = micro_short_verdict(
        open_circuit_decay=(decay, _limit(run, "open_circuit_decay_mV_h", "above")),
        coulombic_efficiency=(efficiency, _limit(run, "coulombic_efficiency", "below")),
    )
    yield Value(
        "micro_short",
        float(("pass", "suspect", "reject").index(verdict.grade)),
        "1",
        None,
        f"0 pass, 1 suspect, 2 reject: {verdict.grade}; " + "; ".join(verdict.reasons),
    )


def _limit(run: CellRun, name: str, bad: Literal["above", "below"]) -> Limit:
    suspect, reject = run.start["micro_short_limits"][name]
    return Limit(suspect, reject, bad)


def _rates(run: CellRun) -> Iterable[Value]:
    kind: Literal["charge", "discharge"] = run.start["arguments"]["vary"]
    capacity_of = charge_capacity if kind == "charge" else discharge_capacity
    found: dict[float, list[StepRecord]] = {}
    for section in run.sections(f"{kind} at "):
        text = section.removeprefix(f"{kind} at ")
        steps = run.section(section)
        if not _is_complete(steps, kind):
            continue
        rate = run.rate(text)
        found[rate] = steps
        value, name = capacity_of(steps, current_relative_accuracy=run.accuracy), f"{kind}_capacity_{rate:g}C"
        yield replace(value, name=name, definition=f"{value.definition}; at {text}")
        if kind == "charge" and _is_complete(steps, "discharge"):
            stored = discharge_capacity(steps, current_relative_accuracy=run.accuracy)
            yield replace(stored, name=f"stored_{name}", definition=f"{stored.definition}; after it, slow")
    shares, at_80_percent = rate_capability(found, kind)
    yield from shares.values()
    yield at_80_percent


def _is_complete(steps: Iterable[StepRecord], kind: str) -> bool:
    """Whether there are steps of a kind, and none was broken off."""
    those = [step.broken_off for step in steps if step.kind == kind]
    return bool(those) and not any(those)
