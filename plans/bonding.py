"""The bonding study: cells whose layers were bonded or not, one after the other, each with its own run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bluesky import Msg
from bluesky.preprocessors import run_wrapper, set_run_key_wrapper

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from devices.three_electrode_cell import ThreeElectrodeCell
from plans.arguments import AmountIn, PlanGenerator, Quantity, describe_arguments, plan, written
from plans.cell_runs import (
    RATE,
    Cycles,
    LogEvery,
    Rest,
    Temperature,
    at_temperature,
    cell_run,
    check_once,
    check_temperature,
)
from plans.marks import Marks
from plans.members import member, noting_runs
from plans.programs import Beside, CellRig, Prepared, prepare, run
from plans.resistance import (
    Amplitude,
    From,
    PointsPerDecade,
    PulseRates,
    StateOfCharge,
    To,
    discharged_mAh,
)
from plans.stubs import plain_failures
from plans.texts import cycle_text, half_cycle, pulse_text, spectrum_text, state_text
from ssblab.quantities import BadInput
from ssblab.results import FIGURES_KEY, MEMBER_KEY
from ssblab.samples import CellSample
from ssblab.steps import Amount, Current

__all__ = ["bonding_campaign"]

logger = logging.getLogger(__name__)

Rate = Annotated[Amount, AmountIn(RATE, "current of the cycles, and between all other measurements")]
ChargeRates = Annotated[tuple[Amount, ...], AmountIn(RATE, "rates of charge at the end, rising")]
Fall = Annotated[
    float, Quantity("V", "fall of the voltage in the second half of the rest that is called a short", 1e-4, 1)
]
Watch = Annotated[
    float, Quantity("s", "rest after each fast charge, in which a short is looked for", 600, 86400)
]

_FIGURES = "plans.bonding_figures"
_PULSE_S, _PULSE_LOG_S, _BETWEEN_PULSES_S = 10.0, 0.1, 600.0  # requirement D8
_POTENTIALS_S = 10.0
_FAST_LOG_S, _WATCH_RECORDS = 5.0, 60
_CHECK_UNITS = {"rate": "1/h", "fall": "V", "limit": "V", "short": "1"}
_STATE_UNITS = {"state_of_charge": "%", "capacity": "mAh"}


@dataclass(frozen=True)
class _Cell:
    """What is done with one cell.

    Attributes
    ----------
    rig : CellRig
    programs : dict
        By section, in order.
    charges : dict
        Fast charges: as it is written -> rate, 1/h.
    """

    rig: CellRig
    programs: dict[str, Prepared]
    charges: dict[str, float]


@dataclass(frozen=True)
class _How:
    """Arguments of the campaign that are the same for all cells."""

    rate: Amount
    cycles: int
    state_of_charge: float
    pulse_rates: tuple[Amount, ...]
    frequency_from: float
    frequency_to: float
    points_per_decade: int
    amplitude: Amount
    charge_rates: tuple[Amount, ...]
    watch: float
    short_fall: float
    rest: float
    temperature: float | None
    log_every: float


@plan
def bonding_campaign(
    samples: tuple[CellSample, ...],
    *,
    rate: Rate = written("0.1C"),
    cycles: Cycles = written("3"),
    state_of_charge: StateOfCharge = written("50 %"),
    pulse_rates: PulseRates = written("0.1C, 0.2C, 0.5C"),
    frequency_from: From = written("1 MHz"),
    frequency_to: To = written("10 mHz"),
    points_per_decade: PointsPerDecade = written("10"),
    amplitude: Amplitude = written("10 mV"),
    charge_rates: ChargeRates = written("1C, 2C, 4C, 6C"),
    watch: Watch = written("30 min"),
    short_fall: Fall = written("10 mV"),
    rest: Rest = written("1 h"),
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Measure what bonding the layers of a cell is worth: capacity, resistance, spectrum, fast charge.

    Cells come one after the other; where they share a place, the next is mounted when its turn comes (at a
    real station the plan pauses for that). With each: slow cycles; at a state of charge, counted of the
    capacity of the last cycle, pulses of 10 s and a spectrum; then charges at rising rates, each followed by
    a rest that is watched and a slow discharge. A charge ends early where its voltage falls. A voltage that
    goes on falling in the second half of the rest is a short: the faster charges are then left out, and the
    cell stays at rest. Where a sample has a reference electrode, both potentials are recorded in the charges.

    The run that is opened first is about all cells; its stream `members` has an event per cell: sample, run,
    exit_status, reason. Each cell has a run of its own, whose start document has `member_of`. Its streams:
    primary, steps, states, open_circuit, impedance, spectra, short_check (rate, fall, short), potentials. If
    the measurement of one cell fails, the campaign ends: the next would meet the same instrument.

    Figures of merit by bond level ("dc_resistance_10s_b"), most also over those of level a
    ("dc_resistance_10s_b_over_a"): discharge_capacity, dc_resistance_10s, arc_resistance_100kHz_1MHz,
    charge_capacity_6C, relative_charge_capacity_6C (not of a charge after which the cell was short),
    negative_potential_min_6C, short.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.1(1)(i) (requirements D10, C4, D8, D9): 25 degC,
    0.1C, 3 cycles; 10 s at up to 0.5C at 50 %; 100 kHz to 1 MHz. Charge rates, rests and how a short is found
    are not given there.
    """
    given = {**locals()}
    how = _How(**{name: given[name] for name in _How.__dataclass_fields__})
    _check_records(samples)
    check_once("pulse_rates", [each.text() for each in pulse_rates])
    cells = []
    for sample in samples:
        rig = yield from _rig(sample)
        check_temperature(rig, temperature)
        cells.append(_prepared(rig, how))
    metadata = {
        "plan_name": bonding_campaign.__name__,
        "samples": [sample.name for sample in samples],
        "arguments": describe_arguments(bonding_campaign, given),
        FIGURES_KEY: f"{_FIGURES}:campaign",
        **(md or {}),
    }
    uids: list[str] = []
    whole = run_wrapper(plain_failures(_one_by_one(cells, how, given, uids)), md=metadata)
    return (yield from noting_runs(whole, uids))


def _check_records(samples: Sequence[CellSample]) -> None:
    """Ask for what the records lack: that is never guessed."""
    problems = []
    for sample in samples:
        wanted = ("bond_level", "bonding_pressure_MPa", "pressure_MPa")
        missing = [name for name in wanted if getattr(sample, name) is None]
        if missing:
            problems.append(
                f"sample {sample.name}: add {', '.join(missing)} to its record in the station file"
            )
        if sample.charge_means != "delithiation":
            problems.append(f"sample {sample.name}: the study is about full cells, charged by delithiation")
    names = [sample.name for sample in samples]
    problems += [f"sample {name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise BadInput("plan bonding_campaign:\n" + "\n".join(f"  {problem}" for problem in problems))


def _rig(sample: CellSample) -> PlanGenerator:
    """Ask the session for the devices of a sample; it is mounted later."""
    found = yield Msg(
        "rig",
        None,
        run=sample.name,
        families={"channel": (Potentiostat,)},
        optional={"chamber": (ClimateChamber,), "electrodes": (ThreeElectrodeCell,)},
        sample=sample,
        mount=False,
    )
    if found is None:
        raise BadInput("plan bonding_campaign: run it in a session, which knows the devices of each sample")
    return CellRig(sample, **found)


def _prepared(rig: CellRig, how: _How) -> _Cell:
    """Check all that will be done with a cell."""
    sample, rest = rig.sample, f"Rest for {how.rest!r} s"
    charge, discharge = (half_cycle(sample, "charge", how.rate), half_cycle(sample, "discharge", how.rate))
    cycle = cycle_text(sample, charge_at=how.rate, discharge_at=how.rate, rest_s=how.rest)
    state = f"{how.state_of_charge:g} %"
    texts = {f"cycle {number}": cycle for number in range(1, how.cycles + 1)}
    texts |= {
        "full charge": f"{charge}\n{rest}",
        f"to {state}": _to_state(rig, how, sample.capacity_mAh),
        f"pulses at {state}": pulse_text(sample, how.pulse_rates, _PULSE_S, _PULSE_LOG_S, _BETWEEN_PULSES_S),
        f"spectrum at {state}": spectrum_text(
            how.rest, how.frequency_from, how.frequency_to, how.points_per_decade, how.amplitude
        ),
        "empty": f"{discharge}\n{rest}",
    }
    programs = {section: prepare(rig, text, log_s=how.log_every) for section, text in texts.items()}
    charges = {}
    for rate in how.charge_rates:
        at, fast = rate.text(), half_cycle(sample, "charge", rate)
        charge_program = prepare(rig, f"{fast} or dV/dt < 0 V/s", log_s=min(_FAST_LOG_S, how.log_every))
        watched = f"Rest for {how.watch!r} s ({how.watch / _WATCH_RECORDS!r} s period)"
        programs[f"charge at {at}"] = charge_program
        programs[f"rest after {at}"] = prepare(rig, watched)
        programs[f"discharge after {at}"] = programs["empty"]
        charges[at] = _rate(charge_program)
    if list(charges.values()) != sorted(set(charges.values())) or len(charges) < len(how.charge_rates):
        said = ", ".join(rate.text() for rate in how.charge_rates)
        raise BadInput(f"charge_rates={said}: write each once, the slowest first")
    return _Cell(rig, programs, charges)


def _to_state(rig: CellRig, how: _How, capacity_mAh: float) -> str:
    """Write the way from full charge to the state of charge, counted of a capacity."""
    return state_text(rig.sample, (how.state_of_charge / 100 - 1) * capacity_mAh, how.rate, how.rest)


def _rate(program: Prepared) -> float:
    """Rate (1/h) of a program's first step."""
    step = program.program.steps[0]
    assert isinstance(step, Current)
    return 1e3 * step.at.value / program.rig.sample.capacity_mAh


def _one_by_one(
    cells: Sequence[_Cell], how: _How, arguments: Mapping[str, Any], uids: list[str]
) -> PlanGenerator:
    """Give each cell its run, and note how it ended; `uids` has this run's own uid first."""
    places: set[str] = set()
    for cell in cells:
        sample, channel = cell.rig.sample, cell.rig.channel
        yield from _mount(sample, channel.name, is_shared=channel.name in places)
        places.add(channel.name)
        study = cell_run(
            bonding_campaign,
            cell.rig,
            arguments,
            _study(cell, how),
            programs=cell.programs,
            figures=f"{_FIGURES}:cell",
            md={MEMBER_KEY: uids[0], "charges": cell.charges},
        )
        yield from member(set_run_key_wrapper(study, sample.name), sample.name, channel.clock)


def _mount(sample: CellSample, place: str, *, is_shared: bool) -> PlanGenerator:
    """Have a sample mounted; without a simulated operator, somebody has to do it where another one was."""
    mounted = yield Msg("mount", None, sample=sample)
    if not mounted and is_shared:
        logger.warning(
            "mount sample %s at %s, then let the plan go on (at a prompt: s.resume())", sample.name, place
        )
        yield Msg("checkpoint")
        yield Msg("pause")


def _study(cell: _Cell, how: _How) -> PlanGenerator:
    """Do all with one cell."""
    rig, programs = cell.rig, cell.programs
    state = f"{how.state_of_charge:g} %"
    yield from at_temperature(rig, how.temperature)
    rows: list[dict[str, Any]] = []
    for number in range(1, how.cycles + 1):
        rows.clear()
        yield from run(programs[f"cycle {number}"], section=f"cycle {number}", rows=rows)
    capacity_mAh = discharged_mAh(rig, rows)
    yield from run(programs["full charge"], section="full charge")
    way = prepare(rig, _to_state(rig, how, capacity_mAh), log_s=how.log_every)
    yield from run(way, section=f"to {state}")
    states = Marks("states", rig.channel.clock, _STATE_UNITS)
    yield from states.write(section=f"to {state}", state_of_charge=how.state_of_charge, capacity=capacity_mAh)
    for section in (f"pulses at {state}", f"spectrum at {state}", "empty"):
        yield from run(programs[section], section=section)
    checks = Marks("short_check", rig.channel.clock, _CHECK_UNITS)
    electrodes = rig.electrodes
    beside = None if electrodes is None else Beside((electrodes,), "potentials", _POTENTIALS_S)
    for at, rate in cell.charges.items():
        yield from run(programs[f"charge at {at}"], section=f"charge at {at}", beside=beside)
        rows.clear()
        yield from run(programs[f"rest after {at}"], section=f"rest after {at}", rows=rows)
        fall_V = _fall_V(rig, rows)
        is_short = fall_V > how.short_fall
        yield from checks.write(
            section=f"rest after {at}", rate=rate, fall=fall_V, limit=how.short_fall, short=int(is_short)
        )
        if is_short:
            logger.warning("sample %s is short after its charge at %s", rig.sample.name, at)
            return
        yield from run(programs[f"discharge after {at}"], section=f"discharge after {at}")


def _fall_V(rig: CellRig, rows: Sequence[Mapping[str, Any]]) -> float:
    """How far the voltage fell in the second half of a rest."""
    quantity, half = f"{rig.channel.name}_potential", len(rows) // 2
    if half < 2:
        raise BadInput(f"{rig.sample.name}: {len(rows)} records of the rest are too few to look for a short")
    return float(rows[half][quantity] - rows[-1][quantity])
