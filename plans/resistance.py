"""Resistance of a cell: by pulses of current, and by impedance; at states of charge, and at temperatures."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
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
    at_temperature,
    cell_run,
    check_once,
    check_temperature,
)
from plans.marks import Marks
from plans.programs import CellRig, Prepared, Source, prepare, run
from plans.texts import half_cycle, pulse_text, spectrum_text, state_text
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount

__all__ = [
    "Amplitude",
    "From",
    "PointsPerDecade",
    "PulseRates",
    "StateOfCharge",
    "To",
    "dc_resistance",
    "discharged_mAh",
    "impedance_at",
    "impedance_spectrum",
]

StateOfCharge = Annotated[float, Quantity("%", "state of charge", 1, 99)]
StatesOfCharge = Annotated[
    tuple[float, ...], Quantity("%", "states of charge, in the order of measurement", 1, 99)
]
CountedOf = Annotated[str, Text("the capacity of which states of charge are shares", ("measured", "nominal"))]
PulseRates = Annotated[
    tuple[Amount, ...], AmountIn(RATE, "currents of the pulses, in the order of measurement")
]
PulseTime = Annotated[float, Quantity("s", "how long each pulse lasts", 0.1, 3600)]
PulseLog = Annotated[float, Quantity("s", "interval of records in a pulse", 1e-3, 60)]
BetweenPulses = Annotated[
    float, Quantity("s", "rest after each pulse, and after its charge was put back", 60)
]
Rate = Annotated[Amount, AmountIn(RATE, "current between the states of charge")]
Temperatures = Annotated[
    tuple[float, ...] | None,
    Quantity("degC", "of the chamber, in the order of measurement at each state of charge", -80, 200),
]
From = Annotated[float, Quantity("Hz", "first frequency", 1e-5, 1e8)]
To = Annotated[float, Quantity("Hz", "last frequency", 1e-5, 1e8)]
PointsPerDecade = Annotated[int, Quantity("", "frequencies in a decade", 1, 100)]
Amplitude = Annotated[Amount, AmountIn(("V", "A"), "of the alternating voltage or current, root mean square")]

_FIGURES = "plans.resistance_figures"
_STATE_UNITS = {"state_of_charge": "%", "capacity": "mAh", "measured": "1"}


@plan
def dc_resistance(
    sample: CellSample,
    *,
    state_of_charge: StatesOfCharge = written("50 %"),
    counted_of: CountedOf = "measured",
    rates: PulseRates = written("0.1C, 0.2C, 0.5C"),
    pulse: PulseTime = written("10 s"),
    pulse_log: PulseLog = written("0.1 s"),
    between_pulses: BetweenPulses = written("10 min"),
    rate: Rate = written("0.1C"),
    rest: Rest = written("1 h"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the DC resistance of a cell by discharge pulses, at one or several states of charge.

    The cell is charged, and brought to each state of charge by the charge counted from there: a share of the
    capacity that a discharge in between has given, or of the nominal one. A pulse follows each rest, and its
    charge is put back with the same current.

    Streams: primary, steps, states (state of charge, and the capacity of which it is counted). Sections:
    "full charge", "capacity" and "full charge again" if it is measured, then "to 50 %" and "pulses at 50 %".
    Figures of merit: dc_resistance_10s (slope of the voltage after 10 s against the current),
    dc_resistance_1s and dc_resistance_0.1s where the records reach them, areal_dc_resistance_10s, and of each
    pulse dc_resistance_10s_0.5C; for several states of charge with "_50%" at the end.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.1(1)(i): 10 s at up to 0.5C at 50 % (requirement
    D8). Rests, and the rate between, are not given there.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    check_once("state_of_charge", [f"{share:g} %" for share in state_of_charge])
    check_once("rates", [each.text() for each in rates])
    programs = _to_full(rig, rate, rest, charge_to, discharge_to, log_every, counted_of)
    moves = _Moves(rig, rate, rest, charge_to, discharge_to, log_every)
    pulses = prepare(
        rig,
        pulse_text(sample, rates, pulse, pulse_log, between_pulses, charge_to, discharge_to),
        log_s=log_every,
    )
    for before, share in zip([100.0, *state_of_charge], state_of_charge, strict=False):
        programs[f"to {share:g} %"] = moves.prepared(before, share, sample.capacity_mAh)
        programs[f"pulses at {share:g} %"] = pulses

    def body() -> PlanGenerator:
        yield from at_temperature(rig, temperature)
        capacity_mAh = yield from _fill(rig, programs, counted_of)
        for before, share in zip([100.0, *state_of_charge], state_of_charge, strict=False):
            yield from moves.move(before, share, capacity_mAh, measured=counted_of == "measured")
            yield from run(pulses, section=f"pulses at {share:g} %")

    figures = f"{_FIGURES}:pulses"
    return (
        yield from cell_run(dc_resistance, rig, arguments, body(), programs=programs, figures=figures, md=md)
    )


@plan
def impedance_spectrum(
    sample: CellSample,
    *,
    frequency_from: From = written("1 MHz"),
    frequency_to: To = written("10 mHz"),
    points_per_decade: PointsPerDecade = written("10"),
    amplitude: Amplitude = written("10 mV"),
    rest: Rest = written("10 min"),
    temperature: Temperature = None,
    channel: Potentiostat = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the impedance of a cell as it is now, around its open circuit.

    The spectrum is judged at once: taken once more if the cell drifted or it fails the Kramers-Kronig test,
    and then flagged if need be. Streams: primary (the rest), steps, open_circuit, impedance, spectra. Figures
    of merit: ohmic_resistance, arc_resistance_100kHz_1MHz, polarisation_resistance, low_frequency_resistance,
    kramers_kronig_residual, flagged_spectra.

    Source: NEDO SOLiD-EV final report (2022), sections 3.1.1(1)(i) and 3.1.4(2) (requirement D9): between
    100 kHz and 1 MHz the resistance between particles of the electrolyte. Last frequency, amplitude and rest
    are not given there.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    text = spectrum_text(rest, frequency_from, frequency_to, points_per_decade, amplitude)
    program = prepare(rig, text)

    def body() -> PlanGenerator:
        if temperature is not None:  # as it is now: the chamber too, unless asked for
            yield from at_temperature(rig, temperature)
        yield from run(program, section="spectrum")

    figures = f"{_FIGURES}:spectra"
    return (
        yield from cell_run(
            impedance_spectrum,
            rig,
            arguments,
            body(),
            programs={"spectrum": program},
            figures=figures,
            md={"states": [{"section": "spectrum"}], **(md or {})},
        )
    )


@plan
def impedance_at(
    sample: CellSample,
    *,
    states_of_charge: StatesOfCharge = written("50 %"),
    temperatures: Temperatures = None,
    counted_of: CountedOf = "measured",
    frequency_from: From = written("1 MHz"),
    frequency_to: To = written("10 mHz"),
    points_per_decade: PointsPerDecade = written("10"),
    amplitude: Amplitude = written("10 mV"),
    rate: Rate = written("0.1C"),
    rest: Rest = written("1 h"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    channel: Potentiostat = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure the impedance of a cell at states of charge, and at each of them at temperatures.

    States of charge are reached as in `dc_resistance`, at `temperature`. Each spectrum is judged at once, as
    in `impedance_spectrum`. Streams: primary, steps, states, open_circuit, impedance, spectra. Sections: "to
    50 %" and "spectrum at 50 %", or "spectrum at 50 %, 0 degC". Figures of merit: those of
    `impedance_spectrum`, for more than one spectrum with "_50%" or "_50%_0degC" at the end.

    Source: NEDO SOLiD-EV final report (2022), sections 3.1.1(1)(i) and 3.1.4(2) (requirement D9): at 50 %.
    """
    rig = CellRig(sample, channel, chamber)
    for each in (temperature, *(temperatures or ())):
        check_temperature(rig, each)
    arguments = {**locals()}
    check_once("states_of_charge", [f"{share:g} %" for share in states_of_charge])
    check_once("temperatures", [f"{each:g} degC" for each in temperatures or ()])
    programs = _to_full(rig, rate, rest, charge_to, discharge_to, log_every, counted_of)
    moves = _Moves(rig, rate, rest, charge_to, discharge_to, log_every)
    text = spectrum_text(rest, frequency_from, frequency_to, points_per_decade, amplitude)
    spectrum = prepare(rig, text)
    states: list[dict[str, Any]] = []
    for before, share in zip([100.0, *states_of_charge], states_of_charge, strict=False):
        programs[f"to {share:g} %"] = moves.prepared(before, share, sample.capacity_mAh)
        for each in temperatures or (None,):
            section = f"spectrum at {share:g} %" + (f", {each:g} degC" if each is not None else "")
            states.append({"section": section, "state_of_charge": share, "temperature_C": each})
            programs[section] = spectrum

    def body() -> PlanGenerator:
        yield from at_temperature(rig, temperature)
        capacity_mAh = yield from _fill(rig, programs, counted_of)
        now, now_C = 100.0, temperature
        for state in states:
            share, each = state["state_of_charge"], state["temperature_C"]
            if share != now:
                if now_C != temperature:
                    now_C = temperature
                    yield from at_temperature(rig, temperature)
                yield from moves.move(now, share, capacity_mAh, measured=counted_of == "measured")
                now = share
            if each is not None and each != now_C:
                now_C = each
                yield from at_temperature(rig, each)
            yield from run(spectrum, section=state["section"])

    figures = f"{_FIGURES}:spectra"
    return (
        yield from cell_run(
            impedance_at,
            rig,
            arguments,
            body(),
            programs=programs,
            figures=figures,
            md={"states": states, **(md or {})},
        )
    )


def discharged_mAh(rig: CellRig, rows: Sequence[Mapping[str, Any]]) -> float:
    """Count the charge that discharges have passed, from the records of a program.

    A cycler counts it itself, step by step. What a potentiostat records is current times the time between
    records, the first as long as the second.

    Raises
    ------
    BadInput
        If there is no record of a discharge.
    """
    name = rig.channel.name
    sign = -1.0 if rig.sample.charge_means == "delithiation" else 1.0
    passed_C = 0.0
    if f"{name}_capacity" in (rows[0] if rows else ()):
        for _, step in groupby(rows, lambda row: (row[f"{name}_cycle"], row[f"{name}_step"])):
            records = list(step)
            if math.fsum(sign * row[f"{name}_current"] for row in records) > 0:
                passed_C += 3600.0 * records[-1][f"{name}_capacity"]
    elif len(rows) > 1:
        times_s = [row["time"] for row in rows]
        intervals_s = [times_s[1] - times_s[0], *(after - before for before, after in pairwise(times_s))]
        discharging_A = [max(0.0, sign * row[f"{name}_current"]) for row in rows]
        passed_C = math.fsum(map(operator.mul, discharging_A, intervals_s))
    if not passed_C:
        raise BadInput(f"{rig.sample.name}: no discharge was recorded, so its capacity is not known")
    return passed_C / 3.6


class _Moves:
    """Brings a cell from one state of charge to another, by charge counted."""

    def __init__(
        self,
        rig: CellRig,
        rate: Amount,
        rest_s: float,
        charge_to: Amount | None,
        discharge_to: Amount | None,
        log_s: float,
    ) -> None:
        self._rig, self._log_s = rig, log_s
        self._how = {"rate": rate, "rest_s": rest_s, "charge_to": charge_to, "discharge_to": discharge_to}
        self._marks = Marks("states", rig.channel.clock, _STATE_UNITS)

    def prepared(self, before: float, share: float, capacity_mAh: float) -> Prepared:
        """Check the way from a state of charge (%) to another, of a capacity."""
        how: dict[str, Any] = self._how
        text = state_text(self._rig.sample, (share - before) / 100 * capacity_mAh, **how)
        return prepare(self._rig, text, log_s=self._log_s)

    def move(self, before: float, share: float, capacity_mAh: float, *, measured: bool) -> PlanGenerator:
        """Go it, and say in the stream `states` what it is counted of."""
        section = f"to {share:g} %"
        yield from run(self.prepared(before, share, capacity_mAh), section=section)
        yield from self._marks.write(
            section=section, state_of_charge=share, capacity=capacity_mAh, measured=int(measured)
        )


def _to_full(
    rig: CellRig,
    rate: Amount,
    rest_s: float,
    charge_to: Amount | None,
    discharge_to: Amount | None,
    log_s: float,
    counted_of: str,
) -> dict[str, Prepared]:
    """Programs that bring a cell to its full charge, and measure its capacity before if it is asked for."""
    charge = half_cycle(rig.sample, "charge", rate, charge_to)
    discharge = half_cycle(rig.sample, "discharge", rate, discharge_to)
    rest = f"Rest for {rest_s!r} s"
    programs = {"full charge": prepare(rig, f"{charge}\n{rest}", log_s=log_s)}
    if counted_of == "measured":
        programs["capacity"] = prepare(rig, discharge, log_s=log_s)
        programs["full charge again"] = prepare(rig, f"{rest}\n{charge}\n{rest}", log_s=log_s)
    return programs


def _fill(rig: CellRig, programs: Mapping[str, Prepared], counted_of: str) -> PlanGenerator:
    """Bring the cell to its full charge; the capacity that counts, mAh."""
    yield from run(programs["full charge"], section="full charge")
    if counted_of == "nominal":
        return rig.sample.capacity_mAh
    rows: list[dict[str, Any]] = []
    yield from run(programs["capacity"], section="capacity", rows=rows)
    yield from run(programs["full charge again"], section="full charge again")
    return discharged_mAh(rig, rows)
