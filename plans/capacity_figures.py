"""Figures of merit of capacities: of one check, of cycling, of rates, of conditioning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

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
    """Compute the capacity at each rate, and its share of that at the slowest."""
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
    """Steps of the last whole cycle of a section: one with a charge and a discharge.

    Raises
    ------
    BadInput
        If there is none.
    """
    whole = [
        steps
        for steps in group_cycles(run.section(section)).values()
        if {"charge", "discharge"} <= {step.kind for step in steps}
    ]
    if not whole:
        raise BadInput(f"{section}: no whole cycle was recorded")
    return whole[-1]


def retention(run: CellRun) -> Iterable[Value]:
    """Compute the last check-up's capacity over the first one's."""
    checks = [name for name in run.sections("check-up") if _is_whole(run, name)]
    if len(checks) < 2:
        raise BadInput(f"{len(checks)} whole check-ups: 2 are needed")
    first, last = last_cycle(run, checks[0]), last_cycle(run, checks[-1])
    yield capacity_retention(first, last)
    before = discharge_capacity(first, current_relative_accuracy=run.accuracy)
    yield replace(before, name="discharge_capacity_before", definition=f"{before.definition}; {checks[0]}")


def _is_whole(run: CellRun, section: str) -> bool:
    try:
        return bool(last_cycle(run, section))
    except BadInput:
        return False


def _capacity(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, "capacity"))


def _program(run: CellRun) -> Iterable[Value]:
    return cycle_figures(run, last_cycle(run, "program"))


def last_check(run: CellRun) -> Iterable[Value]:
    """Compute what the last whole check-up gives."""
    checks = [name for name in run.sections("check-up") if _is_whole(run, name)]
    if not checks:
        raise BadInput("no whole check-up was recorded")
    return cycle_figures(run, last_cycle(run, checks[-1]))


def _cycles(run: CellRun) -> Iterable[Value]:
    """Give first and last cycle, and the fade between."""
    cycles = [
        steps
        for section in run.sections("cycling")
        for steps in group_cycles(run.section(section)).values()
        if {"charge", "discharge"} <= {step.kind for step in steps}
    ]
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
    limits = {key: Limit(*pair) for key, pair in run.start["micro_short_limits"].items()}
    efficiency = coulombic_efficiency(last_cycle(run, "formation"))
    verdict = micro_short_verdict(
        open_circuit_decay=(decay, limits["open_circuit_decay_mV_h"]),
        coulombic_efficiency=(efficiency, limits["coulombic_efficiency"]),
    )
    yield Value(
        "micro_short",
        float(("pass", "suspect", "reject").index(verdict.grade)),
        "1",
        None,
        f"0 pass, 1 suspect, 2 reject: {verdict.grade}; " + "; ".join(verdict.reasons),
    )


def _rates(run: CellRun) -> Iterable[Value]:
    kind = run.start["arguments"]["vary"]
    capacity_of = charge_capacity if kind == "charge" else discharge_capacity
    found: dict[float, tuple[str, Value, list[StepRecord]]] = {}
    for section in run.sections(f"{kind} at "):
        text = section.removeprefix(f"{kind} at ")
        steps = run.section(section)
        value = capacity_of(steps, current_relative_accuracy=run.accuracy)
        found[run.rate(text)] = (text, value, steps)
    if not found:
        raise BadInput("no rate was recorded")
    _, slowest, _ = found[min(found)]
    for text, value, steps in found.values():
        name = f"{kind}_capacity_{run.rate(text):g}C"
        yield replace(value, name=name, definition=f"{value.definition}; at {text}")
        if kind == "charge":
            stored = discharge_capacity(steps, current_relative_accuracy=run.accuracy)
            yield replace(stored, name=f"stored_{name}", definition=f"{stored.definition}; after it, slow")
        yield Value(
            f"relative_{name}",
            value.value / slowest.value,
            "1",
            math.hypot(value.uncertainty or 0.0, slowest.uncertainty or 0.0) / slowest.value,
            f"{kind} capacity at {text} over that at the slowest rate, both uncertainties independent",
        )
