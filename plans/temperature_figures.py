"""Figures of merit of cells hot and cold: capacities by temperature, activation energies of resistances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from plans.cell_figures import CellRun, gathered
from plans.resistance_figures import (
    resistance_of_discharge,
    resistances_of_spectrum,
    resistances_of_state,
    trust,
)
from plans.temperature import AFTER, AGAIN, BEFORE
from ssblab.analysis.arrhenius import activation_energy
from ssblab.analysis.common import RECTANGULAR, uncertainty_of
from ssblab.analysis.cycling import StepRecord, discharge_capacity, mean_voltage, relative_capacity
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value

__all__ = ["activation", "capacities"]

_OHMIC, _DIRECT = "ohmic_resistance", "dc_resistance_10s"
_LEAST = 1e-3  # of the nominal capacity: below, a discharge has given nothing, and has no mean voltage


def capacities(run: RunData) -> list[Value]:
    """Compute capacity, mean voltage and resistance by temperature, and whether the capacity came back."""
    return gathered(run, [_reference, _each_capacity, _return])


def activation(run: RunData) -> list[Value]:
    """Compute the resistances by temperature, their activation energies, and whether the first came back."""
    judged = [trust] if "spectra" in run.streams else []
    return gathered(run, [_each_resistance, _energies, _resistance_return, *judged])


# ------------------------------------------------------------------------------------------------ capacities


def _before(run: CellRun) -> list[StepRecord]:
    return run.section(f"{run.start['temperatures_C'][0]:g} degC, {BEFORE}")


def _reference(run: CellRun) -> Iterable[Value]:
    return list(_given(run, f"{run.start['temperatures_C'][0]:g} degC, {BEFORE}"))


def _each_capacity(run: CellRun) -> Iterable[Value]:
    reference, *others = run.start["temperatures_C"]
    done = run.sections()
    for temperature_C in others:
        section = f"{temperature_C:g} degC"
        if section not in done:
            continue
        for value in _given(run, section):
            yield replace(value, name=f"{value.name}_{temperature_C:g}degC")
        if _is_discharged(run.section(section)):
            yield relative_capacity(
                run.section(section),
                _before(run),
                name=f"relative_discharge_capacity_{temperature_C:g}degC",
                definition=f"discharge capacity at {temperature_C:g} degC over that at {reference:g} degC "
                f"before, charged at {reference:g} degC",
            )


def _given(run: CellRun, section: str) -> Iterator[Value]:
    """Compute what a discharge gave; one that was broken off gave its resistance alone."""
    steps = run.section(section)
    if _is_discharged(steps):
        discharged = discharge_capacity(steps, current_relative_accuracy=run.accuracy)
        yield replace(discharged, definition=f"{discharged.definition}; {section}")
        if discharged.value > _LEAST * run.sample.capacity_mAh:
            yield mean_voltage(steps, kind="discharge", voltage_accuracy_V=run.voltage_accuracy_V)
    for value in resistance_of_discharge(run, section):
        yield replace(value, definition=f"{value.definition}; of the charged cell, {section}")


def _is_discharged(steps: Iterable[StepRecord]) -> bool:
    """Whether there is a discharge, and none was broken off."""
    broken_off = [step.broken_off for step in steps if step.kind == "discharge"]
    return bool(broken_off) and not any(broken_off)


def _return(run: CellRun) -> Iterable[Value]:
    reference = run.start["temperatures_C"][0]
    after = run.section(f"{reference:g} degC, {AFTER}")
    if not _is_discharged(after):
        raise BadInput("the last discharge was not recorded to its end")
    yield relative_capacity(
        after,
        _before(run),
        name="capacity_return",
        definition=f"discharge capacity at {reference:g} degC after all other temperatures over that before",
    )


# ------------------------------------------------------------------------------------------------ activation


def _resistances(run: CellRun, section: str) -> dict[str, Value]:
    """Resistances of a section by name, those that are above zero."""
    with_spectra = run.start["arguments"]["by"] == "impedance"
    found = (
        resistances_of_spectrum(run.spectrum(section))
        if with_spectra
        else [value for value in resistances_of_state(run, section) if value.name == _DIRECT]
    )
    values = {value.name: value for value in found if value.value > 0}
    if not values:
        raise BadInput(f"{section}: no resistance was measured")
    return values


def _flags(run: CellRun, sections: Iterable[str]) -> str:
    """What is added to the definition of what comes of several spectra."""
    spectra = [one for one in run.spectra if one.section in sections]
    last = {one.section: one for one in spectra}.values()
    reasons = [f"{one.section}: {one.reasons}" for one in last if one.verdict != "accept"]
    return f"; FLAGGED: {'; '.join(reasons)}" if reasons else ""


def _by_temperature(run: CellRun) -> dict[float, dict[str, Value]]:
    """Resistances by temperature, of those temperatures that were measured."""
    found = {}
    for temperature_C in run.start["temperatures_C"]:
        try:
            found[temperature_C] = _resistances(run, f"{temperature_C:g} degC")
        except BadInput:
            continue
    return found


def _each_resistance(run: CellRun) -> Iterable[Value]:
    for temperature_C, values in _by_temperature(run).items():
        for value in values.values():
            yield replace(value, name=f"{value.name}_{temperature_C:g}degC")


def _energies(run: CellRun) -> Iterable[Value]:
    found = _by_temperature(run)
    # What relaxes in a band of frequencies is not one resistance: it moves through the band.
    names = dict.fromkeys(
        name for values in found.values() for name in values if not name.startswith("arc_resistance")
    )
    # The chamber is as near to its set point as it was told to come.
    own_K = run.start["temperature_tolerance_K"] * RECTANGULAR
    for name in names:
        having = {at_C: values[name] for at_C, values in found.items() if name in values}
        uncertainties = [uncertainty_of(value) for value in having.values()]
        known = all(math.isfinite(own) and own > 0 for own in uncertainties)
        try:
            energies = activation_energy(
                list(having),
                [value.value for value in having.values()],
                form=run.start["arguments"]["form"],
                uncertainty=uncertainties if known else None,
                temperature_uncertainty_K=own_K,
            )
        except BadInput:
            continue
        flags = _flags(run, [f"{at_C:g} degC" for at_C in having])
        told = [replace(energy, definition=f"of {name}: {energy.definition}{flags}") for energy in energies]
        if name in (_OHMIC, _DIRECT):
            yield from told
        else:
            yield replace(told[0], name=f"{told[0].name}_{name}")


def _resistance_return(run: CellRun) -> Iterable[Value]:
    first_C = run.start["temperatures_C"][0]
    sections = [f"{first_C:g} degC", f"{first_C:g} degC, {AGAIN}"]
    before, after = (_resistances(run, section) for section in sections)
    name = next((name for name in (_OHMIC, _DIRECT) if name in before and name in after), None)
    if name is None:
        raise BadInput(f"{' and '.join(sections)}: no resistance of one kind was above zero in both")
    ratio = after[name].value / before[name].value
    own = math.hypot(*(uncertainty_of(of[name]) / of[name].value for of in (before, after)))
    yield Value(
        "resistance_return",
        ratio,
        "1",
        ratio * own,
        f"{name} at {first_C:g} degC after all other temperatures over the first; both uncertainties "
        f"independent{_flags(run, sections)}",
    )
