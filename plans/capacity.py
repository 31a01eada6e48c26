"""Capacity of a cell: once, over many cycles, at several rates, and after it was made."""

from __future__ import annotations

from typing import Annotated, Any

from devices.families.climate_chamber import ClimateChamber
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, Text, plan, written
from plans.cell_runs import (
    RATE,
    Cycles,
    LogEvery,
    Rest,
    Temperature,
    VoltageLimit,
    cell_run,
    check_temperature,
    in_order,
)
from plans.programs import CellRig, Prepared, Source, prepare
from plans.texts import cycle_text, end_voltage, half_cycle
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount

__all__ = [
    "capacity_check",
    "conditioning",
    "conditioning_programs",
    "cycle",
    "micro_short_limits",
    "rate_capability",
]

Rate = Annotated[Amount, AmountIn(RATE, "current of charge and discharge")]
ChargeRate = Annotated[Amount | None, AmountIn(RATE, "current of charge, if it is another")]
CutOff = Annotated[Amount | None, AmountIn(RATE, "current at which the charge's hold ends; else no hold")]
Rates = Annotated[tuple[Amount, ...], AmountIn(RATE, "rates, in the order of measurement")]
CheckEvery = Annotated[int, Quantity("", "cycles between two check-ups", 1, 100_000)]
Vary = Annotated[str, Text("which of both is done at the rates", ("charge", "discharge"))]
StateOfCharge = Annotated[float, Quantity("%", "charge put in before the open circuit is watched", 1, 100)]
Decay = Annotated[float, Quantity("mV/h", "fall of the open circuit from which a cell is judged so", 0)]
Efficiency = Annotated[float, Quantity("%", "coulombic efficiency below which a cell is judged so", 0, 100)]
OpenCircuitRest = Annotated[float, Quantity("s", "in which the open circuit is watched", 600, 30 * 86400)]

_FIGURES = "plans.capacity_figures"


@plan
def capacity_check(
    sample: CellSample,
    *,
    rate: Rate = written("0.1C"),
    cut_off: CutOff = None,
    cycles: Cycles = written("1"),
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the capacity of a cell: charge, rest, discharge, rest.

    The first charge begins where the cell is. Streams: primary, steps. Figures of merit: discharge_capacity,
    charge_capacity, coulombic_efficiency, mean voltages, energy, of the last cycle.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.2: 0.1C at 25 degC (requirement D1, D5). Rests and
    voltage limits are not given there and are the sample's and ours.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    text = cycle_text(
        sample, charge_at=rate, discharge_at=rate, cut_off=cut_off, rest_s=rest, cycles=cycles,
        charge_to=charge_to, discharge_to=discharge_to,
    )  # fmt: skip
    program = prepare(rig, text, log_s=log_every)

    programs = {"capacity": program}
    figures = f"{_FIGURES}:capacity"
    body = in_order(rig, temperature, programs)
    return (
        yield from cell_run(capacity_check, rig, arguments, body, programs=programs, figures=figures, md=md)
    )


@plan
def cycle(
    sample: CellSample,
    *,
    rate: Rate = written("1C"),
    charge_rate: ChargeRate = None,
    cut_off: CutOff = None,
    cycles: Cycles = written("50"),
    check_every: CheckEvery = written("25"),
    check_rate: Rate = written("0.1C"),
    rest: Rest = written("10 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Cycle a cell, and check its capacity at a low rate before, between and after.

    Streams: primary, steps, with the sections "check-up 0", "cycling 1", "check-up 1" and so on. Figures of
    merit: capacity_retention (last check-up over first), fade_per_cycle, discharge_capacity of the last
    check-up, discharge capacity and coulombic efficiency of the first and last cycle.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.1(2)(d): Si half cells, CCCV 0.1C to 0 V ending at
    0.01C, CC 0.1C to 1 V, 50 cycles (requirements D5, D6).
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    limits: dict[str, Any] = {"rest_s": rest, "charge_to": charge_to, "discharge_to": discharge_to}
    check = prepare(
        rig,
        cycle_text(sample, charge_at=check_rate, discharge_at=check_rate, cut_off=cut_off, **limits),
        log_s=log_every,
    )
    blocks = [min(check_every, cycles - done) for done in range(0, cycles, check_every)]
    programs = {"check-up 0": check}
    for number, count in enumerate(blocks, start=1):
        text = cycle_text(
            sample, charge_at=charge_rate or rate, discharge_at=rate, cut_off=cut_off, cycles=count, **limits
        )
        programs[f"cycling {number}"] = prepare(rig, text, log_s=log_every)
        programs[f"check-up {number}"] = check
    figures = f"{_FIGURES}:cycling"
    body = in_order(rig, temperature, programs)
    return (yield from cell_run(cycle, rig, arguments, body, programs=programs, figures=figures, md=md))


@plan
def rate_capability(
    sample: CellSample,
    *,
    rates: Rates = written("0.1C, 0.5C, 1C, 2C, 4C, 6C"),
    vary: Vary = "charge",
    slow_rate: Rate = written("0.1C"),
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("10 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the capacity at several rates of charge, or of discharge; the way back is slow.

    Each rate begins from the end of a slow discharge (or charge). Streams: primary, steps, with a section for
    each rate. Figures of merit: charge_capacity_<rate> (or discharge_capacity_<rate>), its share of that at
    the slowest rate, and the rate at which it is 80 %.

    Source: NEDO SOLiD-EV final report (2022), sections 3.1.1(1)(b), (h), (i), 6C charge of the 11 mAh cell
    (requirements D3, D4). By what a charge is judged is not given there.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    limits: dict[str, Any] = {"rest_s": rest, "charge_to": charge_to, "discharge_to": discharge_to}
    charge, discharge = (
        half_cycle(sample, "charge", slow_rate, charge_to),
        half_cycle(sample, "discharge", slow_rate, discharge_to),
    )
    begin = discharge if vary == "charge" else charge
    programs = {"beginning": prepare(rig, f"{begin}\nRest for {rest!r} s", log_s=log_every)}
    for rate in rates:
        charge_at, discharge_at = (rate, slow_rate) if vary == "charge" else (slow_rate, rate)
        text = cycle_text(
            sample,
            charge_at=charge_at,
            discharge_at=discharge_at,
            first="charge" if vary == "charge" else "discharge",
            **limits,
        )
        programs[f"{vary} at {rate.text()}"] = prepare(rig, text, log_s=log_every)
    figures = f"{_FIGURES}:rates"
    body = in_order(rig, temperature, programs)
    return (
        yield from cell_run(rate_capability, rig, arguments, body, programs=programs, figures=figures, md=md)
    )


@plan
def conditioning(
    sample: CellSample,
    *,
    rate: Rate = written("0.1C"),
    cycles: Cycles = written("2"),
    rest: Rest = written("30 min"),
    state_of_charge: StateOfCharge = written("30 %"),
    watch: OpenCircuitRest = written("12 h"),
    decay_suspect: Decay = written("0.1 mV/h"),
    decay_reject: Decay = written("0.5 mV/h"),
    efficiency_suspect: Efficiency = written("99.5 %"),
    efficiency_reject: Efficiency = written("98 %"),
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Form a new cell by slow cycles, watch its open circuit, and say whether it has a micro-short.

    Streams: primary, steps, with the sections "formation", "state of charge" and "open circuit". Figures of
    merit: discharge_capacity, coulombic_efficiency, open_circuit_decay, micro_short (0 pass, 1 suspect, 2
    reject, with the reasons in its definition).

    Source: NEDO SOLiD-EV final report (2022), section 3.1.2 (requirement C11): conditioning and removal of
    cells with micro-shorts; how, and by which limits, is not given there: all limits are arguments.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    limits = micro_short_limits(decay_suspect, decay_reject, efficiency_suspect, efficiency_reject)
    programs = conditioning_programs(rig, rate, cycles, rest, state_of_charge, watch, log_every)
    figures = f"{_FIGURES}:conditioning"
    md = {"micro_short_limits": limits, **(md or {})}
    body = in_order(rig, temperature, programs)
    return (
        yield from cell_run(conditioning, rig, arguments, body, programs=programs, figures=figures, md=md)
    )


def conditioning_programs(
    rig: CellRig,
    rate: Amount,
    cycles: int,
    rest_s: float,
    state_of_charge: float,
    watch_s: float,
    log_s: float,
) -> dict[str, Prepared]:
    """Check what is done with a new cell, by section; the state of charge is in %."""
    sample = rig.sample
    charge_mAh = state_of_charge / 100 * sample.capacity_mAh
    formation = cycle_text(sample, charge_at=rate, discharge_at=rate, rest_s=rest_s, cycles=cycles)
    end = end_voltage(sample, "charge").text()
    charge = f"Charge at {rate.text()} until {charge_mAh!r} mAh or {end}\nRest for 2 h"
    return {
        "formation": prepare(rig, formation, log_s=log_s),
        "state of charge": prepare(rig, charge, log_s=log_s),
        "open circuit": prepare(rig, f"Rest for {watch_s!r} s", log_s=max(log_s, watch_s / 720)),
    }


def micro_short_limits(
    decay_suspect: float, decay_reject: float, efficiency_suspect: float, efficiency_reject: float
) -> dict[str, list[float]]:
    """Write by what a micro-short is judged into a start document; decays in mV/h, efficiencies in %.

    Raises
    ------
    BadInput
        If a cell would be rejected that is not even suspect.
    """
    problems = []
    if decay_suspect > decay_reject:
        problems.append(f"decay_suspect={decay_suspect:g} mV/h is above decay_reject={decay_reject:g} mV/h")
    if efficiency_suspect < efficiency_reject:
        problems.append(
            f"efficiency_suspect={efficiency_suspect:g} % is below efficiency_reject={efficiency_reject:g} %"
        )
    if problems:
        raise BadInput(f"{' and '.join(problems)}: what is rejected has to be suspect too")
    return {
        "open_circuit_decay_mV_h": [decay_suspect, decay_reject],
        "coulombic_efficiency": [efficiency_suspect / 100, efficiency_reject / 100],
    }
