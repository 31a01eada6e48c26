"""Cells hot and cold: capacity against temperature, and the activation energy of a resistance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, Text, plan, written
from plans.cell_runs import RATE, LogEvery, Rest, VoltageLimit, cell_run, check_once, check_temperature
from plans.programs import CellRig, Source, prepare, run
from plans.resistance import Amplitude, From, PointsPerDecade, PulseRates, To
from plans.stubs import move
from plans.texts import discharge_text, half_cycle, pulse_text, spectrum_text
from ssblab.analysis.arrhenius import FEWEST_TEMPERATURES, Form
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount

__all__ = ["activation_energy", "capacity_vs_temperature"]

AS_GIVEN, RANDOM = "as given", "random"
BEFORE, AFTER, AGAIN = "before", "after", "again"

Temperatures = Annotated[
    tuple[float, ...], Quantity("degC", "of the chamber, in the order of measurement", -80, 200)
]
ChargeAt = Annotated[float, Quantity("degC", "of all charges, and of the capacity they refer to", -80, 200)]
Order = Annotated[str, Text("of the temperatures; random: always the same for a sample", (AS_GIVEN, RANDOM))]
Rate = Annotated[Amount, AmountIn(RATE, "current of charge and discharge")]
DischargeRate = Annotated[Amount | None, AmountIn(RATE, "current of discharge, if it is another")]
CutOff = Annotated[Amount | None, AmountIn(RATE, "current at which the charge's hold ends; else no hold")]
Soak = Annotated[float, Quantity("s", "at a temperature before the cell is taken to have it", 60, 7 * 86400)]
By = Annotated[str, Text("auto: impedance if the channel is a potentiostat", ("auto", "impedance", "pulses"))]
FormOf = Annotated[
    str, Text("of which the logarithm is taken: R, or R/T as for hopping ions", get_args(Form)[2:])
]
BetweenPulses = Annotated[float, Quantity("s", "rest after each pulse, and after it was put back", 60)]

_FIGURES = "plans.temperature_figures"
_PULSE_S, _PULSE_LOG_S = 12.0, 1.0


@plan
def capacity_vs_temperature(
    sample: CellSample,
    *,
    temperatures: Temperatures = written("60 degC, 0 degC, -20 degC"),
    charge_at: ChargeAt = written("25 degC"),
    order: Order = AS_GIVEN,
    rate: Rate = written("0.1C"),
    discharge_rate: DischargeRate = None,
    cut_off: CutOff = None,
    soak: Soak = written("2 h"),
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure what a cell that was charged at 25 degC gives at other temperatures.

    First and last charge and discharge are at `charge_at`. For each temperature between: charge at
    `charge_at`, soak at the temperature, discharge there, back, and discharge of what is left. Each change of
    temperature is followed by `soak`.

    Streams: primary, steps, with the sections "25 degC, before", "charge for -20 degC", "-20 degC", "left by
    -20 degC" and "25 degC, after". Figures of merit: discharge_capacity (at `charge_at`, before),
    discharge_capacity_-20degC, relative_discharge_capacity_-20degC (over the one before),
    discharge_mean_voltage_-20degC, dc_resistance_10s_-20degC (of the charged cell, in the first 10 s) and so
    on; capacity_return (at `charge_at`, after over before).

    Source: NEDO SOLiD-EV final report (2022), sections 3.1.1(1) and 3.1.4(1), IEC order of charge at 25 degC
    and discharge at the temperature (requirement D13, GT-20, GT-21). Rates and soaks are not given there.
    """
    rig = CellRig(sample, channel, chamber)
    check_once("temperatures", [f"{each:g} degC" for each in temperatures])
    for each in (charge_at, *temperatures):
        check_temperature(rig, each)
    if charge_at in temperatures:
        raise BadInput(f"temperatures: {charge_at:g} degC is measured first and last anyway: leave it out")
    arguments = {**locals()}
    ordered = _ordered(sample, temperatures, order)
    discharge = discharge_rate or rate
    charge = f"{half_cycle(sample, 'charge', rate, charge_to, cut_off)}\nRest for {rest!r} s"
    given = f"{discharge_text(sample, discharge, discharge_to)}\nRest for {rest!r} s"
    left = f"{half_cycle(sample, 'discharge', discharge, discharge_to)}\nRest for {rest!r} s"
    parts = [(f"{charge_at:g} degC, {BEFORE}", charge_at, f"{charge}\n{given}")]
    for each in ordered:
        parts += [
            (f"charge for {each:g} degC", charge_at, charge),
            (f"{each:g} degC", each, given),
            (f"left by {each:g} degC", charge_at, left),
        ]
    parts.append((f"{charge_at:g} degC, {AFTER}", charge_at, f"{charge}\n{given}"))
    programs = {section: prepare(rig, text, log_s=log_every) for section, _, text in parts}

    def body() -> PlanGenerator:
        now_C = None
        for section, temperature_C, _ in parts:
            if temperature_C != now_C:
                yield from move(chamber, temperature_C, settle_s=soak)
                now_C = temperature_C
            yield from run(programs[section], section=section)

    md = {"temperatures_C": [charge_at, *ordered], **(md or {})}
    figures = f"{_FIGURES}:capacities"
    return (
        yield from cell_run(
            capacity_vs_temperature, rig, arguments, body(), programs=programs, figures=figures, md=md
        )
    )


@plan
def activation_energy(
    sample: CellSample,
    *,
    temperatures: Temperatures = written("25 degC, 45 degC, 60 degC, 10 degC, 0 degC"),
    by: By = "auto",
    form: FormOf = "R",
    rates: PulseRates = written("0.2C, 0.5C"),
    between_pulses: BetweenPulses = written("10 min"),
    frequency_from: From = written("1 MHz"),
    frequency_to: To = written("0.1 Hz"),
    points_per_decade: PointsPerDecade = written("10"),
    amplitude: Amplitude = written("10 mV"),
    soak: Soak = written("2 h"),
    rest: Rest = written("10 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the resistance of a cell at several temperatures, and its activation energy.

    The cell stays as it is charged. At each temperature, after `soak`: a spectrum, or discharge pulses that
    are put back. In the end the first temperature once more, to see whether the cell is still the same.

    Streams: primary, steps; with spectra open_circuit, impedance, spectra. Sections: "25 degC", "0 degC", "25
    degC, again". Figures of merit: activation_energy, of the ohmic resistance or of the DC resistance after
    10 s; also activation_energy_eV; with spectra activation_energy_polarisation_resistance and
    activation_energy_low_frequency_resistance; the resistances by temperature; resistance_return (again over
    first); with spectra kramers_kronig_residual and flagged_spectra.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.4 (requirement D13, Arrhenius of R_10s).
    Temperatures and soaks are not given there. `form` says what is meant by an activation energy
    (ssblab.analysis.arrhenius): "R" and "R/T" differ by about 2.5 kJ/mol.
    """
    rig = CellRig(sample, channel, chamber)
    check_once("temperatures", [f"{each:g} degC" for each in temperatures])
    for each in temperatures:
        check_temperature(rig, each)
    check_once("rates", [each.text() for each in rates])
    if len(temperatures) < FEWEST_TEMPERATURES:
        raise BadInput(
            f"temperatures: {len(temperatures)} of them do not show whether a line is straight; give at "
            f"least {FEWEST_TEMPERATURES}"
        )
    with_spectra = by == "impedance" or (by == "auto" and isinstance(channel, Potentiostat))
    arguments = {**locals(), "by": "impedance" if with_spectra else "pulses"}
    if with_spectra:
        text = spectrum_text(rest, frequency_from, frequency_to, points_per_decade, amplitude)
    else:
        pulses = pulse_text(sample, rates, _PULSE_S, _PULSE_LOG_S, between_pulses, charge_to, discharge_to)
        text = f"Rest for {rest!r} s\n{pulses}"
    program = prepare(rig, text, log_s=log_every)
    sections = {f"{each:g} degC": each for each in temperatures}
    sections[f"{temperatures[0]:g} degC, {AGAIN}"] = temperatures[0]

    def body() -> PlanGenerator:
        for section, temperature_C in sections.items():
            yield from move(chamber, temperature_C, settle_s=soak)
            yield from run(program, section=section)

    md = {
        "temperatures_C": [*temperatures],
        "temperature_tolerance_K": _TOLERANCE_K,
        **(md or {}),
    }
    figures = f"{_FIGURES}:activation"
    programs = dict.fromkeys(sections, program)
    return (
        yield from cell_run(
            activation_energy, rig, arguments, body(), programs=programs, figures=figures, md=md
        )
    )


_TOLERANCE_K = 0.5  # of the chamber when it is there (`ClimateChamber.set`)


def _ordered(sample: CellSample, temperatures_C: Sequence[float], order: str) -> list[float]:
    """Temperatures in the order of measurement."""
    ordered = [*temperatures_C]
    if order == RANDOM:
        random.Random(sample.name).shuffle(ordered)
    return ordered
