"""Figures of merit of resistances: of current pulses, and of impedance spectra."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Iterable
from dataclasses import replace

from plans.cell_figures import CellRun, gathered
from plans.recorded import Spectrum
from ssblab.analysis.resistance import (
    Pulse,
    areal_resistance,
    current_groups,
    dc_resistance,
    mean_resistance,
    pulse_resistance,
)
from ssblab.analysis.spectra import (
    arc_resistance,
    low_frequency_resistance,
    ohmic_resistance,
    polarisation_resistance,
)
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value

__all__ = [
    "flag",
    "pulses",
    "pulses_of",
    "resistance_of_discharge",
    "resistances_of_spectrum",
    "resistances_of_state",
    "spectra",
    "trust",
]

_SECTION = "pulses at "
_AFTER_S = (10.0, 1.0, 0.1)
_PARTICLES_Hz = (1e5, 1e6)  # what relaxes between the particles of a sulfide electrolyte (requirement D9)


def pulses(run: RunData) -> list[Value]:
    """Compute the DC resistances of each state of charge."""
    return gathered(run, [_resistances])


def spectra(run: RunData) -> list[Value]:
    """Compute the resistances of each spectrum, and how far the spectra can be trusted."""
    states = run.start["states"]
    groups = [functools.partial(_spectrum, state=state, alone=len(states) == 1) for state in states]
    for group, state in zip(groups, states, strict=True):
        group.__name__ = state["section"]  # type: ignore[attr-defined] # as a function has it
    return gathered(run, [*groups, trust])


def pulses_of(run: CellRun, section: str) -> list[Pulse]:
    """Find the pulses of a section, each with the rest before it."""
    return [
        Pulse(before, step)
        for before, step in itertools.pairwise(run.section(section))
        if (before.kind, step.kind) == ("rest", "discharge")
    ]


def resistances_of_state(run: CellRun, section: str) -> Iterable[Value]:
    """Compute the DC resistance of a section with pulses: of all together, with areal values, and by rate.

    The resistance of all is the slope over several currents; of pulses of one current it is their mean.
    """
    found = pulses_of(run, section)
    if not found:
        raise BadInput(f"{section}: no pulse was recorded")
    how = {
        "voltage_resolution_V": run.start["voltage_resolution_V"],
        "current_relative_accuracy": run.accuracy,
    }
    each = [pulse_resistance(pulse, after_s=_AFTER_S, **how) for pulse in found]
    for after_s in _AFTER_S:
        reached = [
            (pulse, values[after_s]) for pulse, values in zip(found, each, strict=True) if after_s in values
        ]
        if not reached:
            continue
        currents_A = [pulse.current_A for pulse, _ in reached]
        groups = current_groups(currents_A, current_relative_accuracy=run.accuracy)
        of_each = [mean_resistance([reached[place][1] for place in group]) for group in groups]
        value = dc_resistance(found, after_s=after_s, **how) if len(groups) > 1 else of_each[0]
        yield value
        if after_s == _AFTER_S[0]:
            yield areal_resistance(value, area_cm2=run.sample.area_cm2, area_uncertainty_cm2=None)
            for group, one in zip(groups, of_each, strict=True):
                rate = 1e3 * abs(statistics.fmean(currents_A[place] for place in group))
                yield replace(one, name=f"{one.name}_{rate / run.sample.capacity_mAh:.3g}C")


def resistance_of_discharge(
    run: CellRun, section: str, *, current_relative_accuracy: float | None = None
) -> Iterable[Value]:
    """Compute the resistance after 10 s of a section's first discharge, if a rest was recorded before it.

    The accuracy of the current is that of the run; 0 where it is common to what is compared.
    """
    accuracy = run.accuracy if current_relative_accuracy is None else current_relative_accuracy
    for pulse in pulses_of(run, section)[:1]:
        found = pulse_resistance(
            pulse,
            after_s=_AFTER_S[:1],
            voltage_resolution_V=run.start["voltage_resolution_V"],
            current_relative_accuracy=accuracy,
        )
        yield from found.values()


def flag(spectrum: Spectrum) -> str:
    """What is added to the definition of all that comes of a spectrum; nothing if it was accepted."""
    return "" if spectrum.verdict == "accept" else f"; FLAGGED: {spectrum.reasons}"


def resistances_of_spectrum(spectrum: Spectrum) -> Iterable[Value]:
    """Compute the resistances of a spectrum, as far as its frequencies reach; flagged if it is."""
    for value in _of_spectrum(spectrum):
        yield replace(value, definition=f"{value.definition}{flag(spectrum)}")


def _of_spectrum(spectrum: Spectrum) -> Iterable[Value]:
    points = (spectrum.frequency_Hz, spectrum.z_ohm)
    if len(points[0]) == 0:
        raise BadInput(f"{spectrum.section}: the spectrum has no sound point")
    yield ohmic_resistance(*points)
    low_Hz, high_Hz = _PARTICLES_Hz
    if points[0].max() > 0.99 * high_Hz and points[0].min() < 1.01 * low_Hz:
        arc = arc_resistance(*points, from_Hz=low_Hz, to_Hz=high_Hz)
        yield replace(arc, name="arc_resistance_100kHz_1MHz")
    yield polarisation_resistance(*points)
    yield low_frequency_resistance(*points)


def _resistances(run: CellRun) -> Iterable[Value]:
    sections = run.sections(_SECTION)
    if not sections:
        raise BadInput("no pulse was recorded")
    counted = run.run.streams["states"]
    of = dict(
        zip(
            counted["states_section"].values.tolist(), counted["states_capacity"].values.tolist(), strict=True
        )
    )
    how = run.start["arguments"].get("counted_of", "measured")
    for section in sections:
        state = section.removeprefix(_SECTION)
        ending = "" if _only(run, section) else f"_{state.replace(' ', '')}"
        said = f"at {state} of {of[f'to {state}']:.4g} mAh, the {how} capacity, by charge counted"
        for value in resistances_of_state(run, section):
            yield replace(value, name=f"{value.name}{ending}", definition=f"{value.definition}; {said}")


def _only(run: CellRun, section: str) -> bool:
    """Whether a section of pulses is the only one that was asked for."""
    asked = [of["section"] for of in run.start["programs"] if of["section"].startswith(_SECTION)]
    return asked == [section]


def _spectrum(run: CellRun, *, state: dict[str, object], alone: bool) -> Iterable[Value]:
    section = str(state["section"])
    spectrum = run.spectrum(section)
    ending = ""
    if not alone:
        ending = f"_{state['state_of_charge']:g}%"
        if state["temperature_C"] is not None:
            ending += f"_{state['temperature_C']:g}degC"
    for value in resistances_of_spectrum(spectrum):
        said = f"{value.definition}; {section}, at {spectrum.potential_V:.4f} V"
        yield replace(value, name=f"{value.name}{ending}", definition=said)


def trust(run: CellRun) -> Iterable[Value]:
    """Compute how far the spectra of a run can be trusted."""
    sections = dict.fromkeys(spectrum.section for spectrum in run.spectra)
    last = [run.spectrum(section) for section in sections]
    if not last:
        raise BadInput("no spectrum was recorded")
    yield Value(
        "kramers_kronig_residual",
        max(spectrum.residual for spectrum in last),
        "1",
        None,
        "largest relative residual of the linear Kramers-Kronig test, of the spectra that count: the last of "
        "each state",
    )
    flagged = [spectrum for spectrum in last if spectrum.verdict != "accept"]
    reasons = "; ".join(f"{spectrum.section}: {spectrum.reasons}" for spectrum in flagged)
    yield Value(
        "flagged_spectra",
        float(len(flagged)),
        "1",
        None,
        f"spectra that did not pass, also not when they were repeated; {reasons or 'none'}",
    )
