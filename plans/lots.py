"""Qualification of a lot: all its cells at once, each on a channel and with a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bluesky import Msg
from bluesky.preprocessors import finalize_wrapper, run_wrapper

from devices.families.climate_chamber import ClimateChamber
from devices.families.cycler import CyclerChannel
from devices.families.potentiostat import Potentiostat
from plans.arguments import FROM_STATION, PlanGenerator, Quantity, describe_arguments, plan, written
from plans.capacity import (
    Decay,
    Efficiency,
    OpenCircuitRest,
    Rate,
    StateOfCharge,
    conditioning_programs,
    micro_short_limits,
)
from plans.cell_runs import LogEvery, Rest, Temperature, at_temperature, cell_run, check_temperature, in_order
from plans.members import member, noting_runs
from plans.programs import CellRig, Prepared
from plans.side_by_side import Outcome, side_by_side
from plans.stubs import make_safe, plain_failures
from ssblab.quantities import BadInput
from ssblab.results import FIGURES_KEY, MEMBER_KEY
from ssblab.samples import CellSample
from ssblab.steps import Amount

__all__ = ["lot_qualification"]

FormationCycles = Annotated[
    int,
    Quantity("", "cycles; the capacity is that of the last, as the first begins where a cell is", 2, 1000),
]
SpreadLimit = Annotated[
    float, Quantity("%", "deviation of a capacity that is still allowed within a lot", 0.01, 100)
]


@dataclass(frozen=True)
class _Conditioning:
    """What is done with each cell; the names are those of the plan's arguments."""

    rate: Amount
    cycles: int
    rest: float
    state_of_charge: float
    watch: float
    log_every: float

    def prepare(self, rig: CellRig) -> dict[str, Prepared]:
        return conditioning_programs(
            rig, self.rate, self.cycles, self.rest, self.state_of_charge, self.watch, self.log_every
        )


@dataclass(frozen=True)
class _Cell:
    """One cell with its channel, and what is done with it; the chamber is not its own."""

    rig: CellRig
    programs: dict[str, Prepared]

    @property
    def name(self) -> str:
        return self.rig.sample.name


@plan
def lot_qualification(
    samples: tuple[CellSample, ...],
    *,
    rate: Rate = written("0.1C"),
    cycles: FormationCycles = written("2"),
    rest: Rest = written("30 min"),
    spread_limit: SpreadLimit = written("3 %"),
    state_of_charge: StateOfCharge = written("30 %"),
    watch: OpenCircuitRest = written("12 h"),
    decay_suspect: Decay = written("0.1 mV/h"),
    decay_reject: Decay = written("0.5 mV/h"),
    efficiency_suspect: Efficiency = written("99.5 %"),
    efficiency_reject: Efficiency = written("98 %"),
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Condition all cells of a lot at once, and say how much they scatter and which are to be rejected.

    Each cell gets what the plan `conditioning` does, on its own channel and in a run of its own, so that one
    which fails does not stop the rest. They share one chamber, which is brought to the temperature once. On
    the command line the name of a lot stands for all its samples: samples=gen-1-2.1-a.

    The run that is opened first is about the lot; its stream `members` has an event per cell when it is done:
    sample, run, exit_status, reason. It is a success if any cell has come to its end. The start document of a
    cell's run has `member_of`, the lot's run; its streams are primary and steps, as of `conditioning`.

    Figures of merit of the lot: of discharge_capacity and charge_capacity their count, mean, standard
    deviation, coefficient of variation, range, largest deviation from the mean, and the same against the
    design (nominal) capacity; within_spread_limit, outliers, micro_shorts, cells_passed, cells_suspect,
    cells_rejected, cells_not_judged, yield; of each cell discharge_capacity_<name> and grade_<name> (0 pass,
    1 suspect, 2 reject, with the reasons). A cell is rejected for a micro-short, or a capacity farther from
    the lot's median than the spread limit; one that stands out from a lot that scatters less is suspect.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.2: 17 cells of one lot within +/-3 % at 25 degC and
    0.1C, yield about 90 % (requirements D2, C10, C11, J5, GT-18). Of what the +/-3 % are, and how
    micro-shorts are found, is not given there.
    """
    given = {**locals()}
    _check_lot(samples)
    limits = {
        "micro_short_limits": micro_short_limits(
            decay_suspect, decay_reject, efficiency_suspect, efficiency_reject
        )
    }
    how = _Conditioning(**{name: given[name] for name in _Conditioning.__dataclass_fields__})
    cells, chamber = yield from _cells(samples, chamber, how)
    around = CellRig(samples[0], cells[0].rig.channel, chamber)
    check_temperature(around, temperature)
    # Of the whole lot: the chamber's first and last readings belong into its run too.
    yield Msg("rig", None, families={}, sample=None, devices=() if chamber is None else (chamber,))
    for sample in samples:
        yield Msg("mount", None, sample=sample)

    lots = {sample.lot_id for sample in samples if sample.lot_id}
    metadata = {
        "plan_name": lot_qualification.__name__,
        "samples": [sample.name for sample in samples],
        "arguments": describe_arguments(lot_qualification, given),
        "devices": {} if chamber is None else {"chamber": chamber.name},
        "channels": {cell.name: cell.rig.channel.name for cell in cells},
        FIGURES_KEY: "plans.lots_figures:lot",
        "spread_limit": spread_limit / 100,
        **({"lot_id": lot} if (lot := next(iter(lots), None)) else {}),
        **limits,
        **(md or {}),
    }
    uids: list[str] = []

    def body() -> PlanGenerator:
        yield from at_temperature(around, temperature)
        yield from _all_at_once(cells, given, {MEMBER_KEY: uids[0], **limits, **(md or {})})

    safe = finalize_wrapper(plain_failures(body()), lambda: make_safe([chamber] if chamber else []))
    return (yield from noting_runs(run_wrapper(safe, md=metadata), uids))


def _check_lot(samples: Sequence[CellSample]) -> None:
    """Refuse what is no lot."""
    names = [sample.name for sample in samples]
    problems = [f"sample {name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if len(samples) < 2:
        problems.append(f"samples={names[0]}: a lot has two cells at least; conditioning is for one")
    lots = {str(sample.lot_id): sample.name for sample in samples}
    if len(lots) > 1:
        several = ", ".join(f"{name} of {lot}" for lot, name in lots.items())
        problems.append(f"samples are of several lots ({several}): one lot at a time, by the lot_id")
    _refuse(problems)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise BadInput("plan lot_qualification:\n" + "\n".join(f"  {problem}" for problem in problems))


def _cells(
    samples: Sequence[CellSample], chamber: ClimateChamber | None, how: _Conditioning
) -> PlanGenerator:
    """Find the channel of each cell and the chamber of all, and check all programs; nothing moves."""
    cells: list[_Cell] = []
    chambers: dict[str, ClimateChamber | None] = {}
    users: dict[str, str] = {}
    problems: list[str] = []
    for sample in samples:
        try:
            found = yield from _rig(sample, chamber)
            rig = CellRig(sample, found["channel"])
            cells.append(_Cell(rig, how.prepare(rig)))
        except BadInput as problem:
            problems.append(f"sample {sample.name}: {problem}")
            continue
        own = found.get("chamber", chamber)
        chambers["no chamber" if own is None else own.name] = own
        other = users.setdefault(rig.channel.name, sample.name)
        if other != sample.name:
            problems.append(f"samples {other} and {sample.name} are at one channel, {rig.channel.name}")
    if len(chambers) > 1:
        problems.append(f"the samples are in {' and '.join(chambers)}: a lot is measured in one, or in none")
    _refuse(problems)
    return cells, next(iter(chambers.values()))


def _rig(sample: CellSample, chamber: ClimateChamber | None) -> PlanGenerator:
    """Ask the session for the devices of a sample, and have them noted for its run; it is mounted later."""
    found = yield Msg(
        "rig",
        None,
        run=sample.name,
        families={"channel": (CyclerChannel, Potentiostat)},
        optional={} if chamber is not None else {"chamber": (ClimateChamber,)},
        sample=sample,
        mount=False,
        devices=(chamber,),
    )
    if found is None:
        raise BadInput("run it in a session, which knows the devices of each sample")
    return found


def _all_at_once(
    cells: Sequence[_Cell], arguments: Mapping[str, Any], md: Mapping[str, Any]
) -> PlanGenerator:
    """Measure all cells side by side, each from its beginning to its own end."""
    clock = cells[0].rig.channel.clock
    plans = {cell.name: member(_one(cell, arguments, md), cell.name, clock) for cell in cells}
    outcomes: dict[str, Outcome] = yield from side_by_side(plans)
    errors = {name: outcome.error for name, outcome in outcomes.items() if outcome.error is not None}
    if len(errors) == len(cells):
        told = "; ".join(f"{name}: {error}" for name, error in errors.items())
        raise RuntimeError(f"no cell of the lot came to its end: {told}")


def _one(cell: _Cell, arguments: Mapping[str, Any], md: Mapping[str, Any]) -> PlanGenerator:
    body = in_order(cell.rig, None, cell.programs)
    figures = "plans.capacity_figures:conditioning"
    return cell_run(
        lot_qualification, cell.rig, arguments, body, programs=cell.programs, figures=figures, md=md
    )
