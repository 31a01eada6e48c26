"""Floating: a cell held at a voltage for days, and what that costs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, Text, plan, written
from plans.cell_runs import (
    RATE,
    LogEvery,
    Rest,
    Temperature,
    VoltageLimit,
    cell_run,
    check_temperature,
    in_order,
)
from plans.programs import CellRig, Prepared, Source, prepare
from plans.texts import cycle_text, half_cycle, hold_text, survey_text, with_spectra
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount, Hold

__all__ = ["floating_test"]

Potentials = Annotated[
    tuple[Amount, ...],
    AmountIn(("V",), "held one after the other; of a half cell against Li/Li+, of a full cell its voltage"),
]
HoldTime = Annotated[float, Quantity("s", "how long each potential is held", 600, 366 * 86400)]
CheckEvery = Annotated[
    float | None, Quantity("s", "longest held time between two check-ups; else before and after alone", 600)
]
Rate = Annotated[Amount, AmountIn(RATE, "current of the check-ups and up to the potential")]
CutOff = Annotated[
    Amount | None, AmountIn(RATE, "current at which the hold of a check-up's charge ends; else no hold")
]
Spectra = Annotated[
    str, Text("impedance in each check-up; auto: if the channel is a potentiostat", ("auto", "yes", "no"))
]

_LITHIUM = "Li/Li+"
_TERMINALS = "between the terminals"

_LOWEST_Hz = 0.1


@plan
def floating_test(
    sample: CellSample,
    *,
    potential: Potentials,
    hold: HoldTime = written("5 d"),
    check_every: CheckEvery = None,
    rate: Rate = written("0.1C"),
    cut_off: CutOff = None,
    spectra: Spectra = "auto",
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Hold a cell at one or several potentials, and check its capacity before, between and after.

    A potential of a half cell, one whose record has a reference, is against Li/Li+, as the literature gives
    it: 4.25 V of a cell against In-Li at 0.62 V is 3.63 V between its terminals. "3.63 V vs In-Li" says the
    same. Of a full cell it is the voltage between the terminals. `charge_to` and `discharge_to`, the ends of
    the check-ups, are read in the same way; without them a check-up goes from the sample's own limit to the
    mildest of the potentials, so that it does no harm that the hold did not. The start document has
    `potential_reference`, and by potential the voltage between the terminals.

    Each hold is: charge at `rate` to the potential, hold, rest, discharge, rest. Records of a hold come each
    second at first and then less often, up to `log_every`; on a cycler in one upload, without a gap. A
    potentiostat does one thing at a time, with its cell off for a moment between: its records come each
    `log_every` throughout. In a check-up the spectrum is taken after the charge and rest.

    Streams: primary, steps, with the sections "check-up 0", "hold 4.25 V", "check-up 1" and so on; with
    spectra open_circuit, impedance, spectra. Figures of merit: capacity_retention (last check-up over first),
    discharge_capacity of the last, and of each potential capacity_retention_4.25V, leakage_current_4.25V,
    leakage_charge_4.25V and hold_charge_4.25V, of whole holds: one that was broken off still settles; of all
    potentials but the first leakage_increase_4.55V, over the first as a baseline; with spectra
    reaction_resistance_4.25V, resistance_change_4.25V, kramers_kronig_residual, flagged_spectra.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.1(2)(c): NCM against In-Li held at 4.25 V and
    4.55 V, 5 days (requirement D7, GT-12). The scale of these potentials, rates and rests are not given
    there.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    potentials = _on_scale(sample, potential)
    mildest = (min if sample.charge_means == "delithiation" else max)(potentials, key=lambda one: one.value)
    top = mildest if charge_to is None else _against(sample, charge_to)
    bottom = None if discharge_to is None else _against(sample, discharge_to)
    halves: dict[str, Any] = {"rest_s": rest, "charge_to": top, "discharge_to": bottom}
    check_text = cycle_text(sample, charge_at=rate, discharge_at=rate, cut_off=cut_off, **halves)
    if with_spectra(spectra, channel):
        charge, rested, *others = check_text.splitlines()
        check_text = "\n".join([charge, rested, survey_text(channel, _LOWEST_Hz), *others])
    holds = {}
    for one in potentials:
        texts = [
            "\n".join(
                [
                    half_cycle(sample, "charge", rate, one),
                    hold_text(one, part_s, log_every, even=isinstance(channel, Potentiostat)),
                    f"Rest for {rest!r} s",
                    half_cycle(sample, "discharge", rate, bottom),
                    f"Rest for {rest!r} s",
                ]
            )
            for part_s in _parts_s(hold, check_every)
        ]
        holds[f"{one.value:g} V"] = [prepare(rig, text, log_s=log_every) for text in texts]
    programs, held = _schedule(prepare(rig, check_text, log_s=log_every), holds)
    metadata = {
        "potential_reference": f"vs {potentials[0].vs}" if potentials[0].vs else _TERMINALS,
        "held_potentials": held,
        "current_accuracy_A": _current_accuracy_A(channel),
        **(md or {}),
    }
    figures = "plans.floating_figures:floating"
    body = in_order(rig, temperature, programs)
    return (
        yield from cell_run(
            floating_test, rig, arguments, body, programs=programs, figures=figures, md=metadata
        )
    )


def _schedule(
    check: Prepared, holds: Mapping[str, Sequence[Prepared]]
) -> tuple[dict[str, Prepared], list[dict[str, Any]]]:
    """Put check-ups around the parts of holds; also say of each potential which sections are its."""
    programs, held = {"check-up 0": check}, []
    for name, parts in holds.items():
        sections, checks = [], [f"check-up {len(programs) // 2}"]
        for number, program in enumerate(parts, start=1):
            sections.append(f"hold {name}" + (f", {number} of {len(parts)}" if len(parts) > 1 else ""))
            programs[sections[-1]] = program
            checks.append(f"check-up {len(programs) // 2}")
            programs[checks[-1]] = check
        terminal_V = next(step.at.value for step in parts[0].program.steps if isinstance(step, Hold))
        held.append({"name": name, "terminal_V": terminal_V, "sections": sections, "check_ups": checks})
    return programs, held


def _against(sample: CellSample, potential: Amount) -> Amount:
    """Say against what a potential is: that of a half cell which does not say it is against Li/Li+."""
    return potential if sample.reference is None else replace(potential, vs=potential.vs or _LITHIUM)


def _on_scale(sample: CellSample, potentials: Sequence[Amount]) -> list[Amount]:
    """Say against what the potentials are.

    Raises
    ------
    BadInput
        If one is there twice, or they are against different electrodes.
    """
    found = [_against(sample, one) for one in potentials]
    scales = {one.vs: one.text() for one in found}
    if len(scales) > 1:
        raise BadInput(f"potential: {' and '.join(scales.values())}: write all against one electrode")
    values = [one.value for one in found]
    if twice := [value for value in values if values.count(value) > 1]:
        raise BadInput(f"potential: {twice[0]:g} V is there twice; give each once, and a longer hold")
    return found


def _parts_s(hold_s: float, check_every_s: float | None) -> list[float]:
    """Held time up to each check-up, in equal parts."""
    parts = 1 if check_every_s is None else math.ceil(hold_s / check_every_s)
    return [hold_s / parts] * parts


def _current_accuracy_A(channel: Source) -> float | None:
    """Accuracy at zero of a cycler: a share of its range, which is the most that the station lets it do.

    A potentiostat changes its range with the current: None.
    """
    if isinstance(channel, Potentiostat):
        return None
    return float(channel.current_relative_accuracy * channel.applied_current.limits[1])
