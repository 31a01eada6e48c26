"""Pictures of runs about many: the cells of a lot, and bond levels beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plans.capacity_figures import last_cycle
from plans.cell_figures import CellRun
from plans.member_figures import Member, members_of
from ssblab.catalog import RunData
from ssblab.quantities import Value
from ssblab.reports.drawing import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    WIDTH_IN,
    Drawing,
    drawing,
    largest_resistance_ohm,
    line,
    plain,
)
from ssblab.results import Related

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

__all__ = ["draw_lot", "member_drawings"]

_PASSED, _SUSPECT, _REJECTED, _MICRO_SHORT = (
    (GREY, ""),
    (GREEN, "suspect"),
    (VERMILLION, "rejected"),
    (BLUE, "rejected, micro-short"),
)
_LEVELS = {"a": BLUE, "b": VERMILLION, "c": GREEN}
_VIEW = 1.1  # width of a Nyquist plot, in largest resistances


def member_drawings(run: RunData, related: Related, results: Mapping[str, Value]) -> list[Drawing]:
    """Draw what a run about many has the data for; nothing for other runs.

    Parameters
    ----------
    run : RunData
    related : callable
        Reads the runs of its members.
    results : mapping
        Its figures of merit.
    """
    members = [member for member in members_of(run, related) if member.results]

    def draw(panel: FigureBase) -> str:
        return draw_lot(panel.subplots(), members, results)

    if members and run.start["plan_name"] == "lot_qualification":
        return [drawing("lot", "Cells of the lot", (WIDTH_IN, 3.6), draw)]
    if members and run.start["plan_name"] == "bonding_campaign":
        size_in = (WIDTH_IN, 3.4)
        return [drawing("levels", "Bond levels", size_in, lambda panel: _draw_levels(panel, members))]
    return []


def _run_of(member: Member) -> RunData:
    """Give the run of a member that has results."""
    assert member.run is not None
    return member.run


def draw_lot(axes: Axes, members: Sequence[Member], results: Mapping[str, Value]) -> str:
    """Draw the last discharge of each cell's formation, those that are not sound in colour."""
    for member in members:
        colour, said = _judgement(member, results)
        steps = last_cycle(CellRun(_run_of(member)), "formation")
        (step,) = (step for step in steps if step.kind == "discharge")
        label = plain(f"{member.name}: {said}") if said else None
        line(axes, step.charge_mAh, step.voltage_V, color=colour, label=label, zorder=2 if said else 1)
    axes.set(xlabel="charge / mAh", ylabel="voltage / V")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
    return f"Last discharge of the formation of {len(members)} cells; grey: those that passed."


def _judgement(member: Member, results: Mapping[str, Value]) -> tuple[str, str]:
    """Colour and words of what the figures of merit say of a cell."""
    grade = results.get(f"grade_{member.name}")
    if grade is None or grade.value == 0:
        return _PASSED
    if grade.value == 1:
        return _SUSPECT
    short = member.results.get("micro_short")
    return _MICRO_SHORT if short is not None and short.value == 2 else _REJECTED


def _draw_levels(panel: FigureBase, members: Sequence[Member]) -> str:
    nyquist, charge = panel.subplots(1, 2)
    view_ohm = 0.0
    for member in members:
        run = CellRun(_run_of(member))
        level = str(run.sample.bond_level)
        style = {"color": _LEVELS.get(level, GREY)}
        if run.spectra:
            z_ohm = run.spectra[-1].z_ohm
            nyquist.plot(z_ohm.real, -z_ohm.imag, "o-", markersize=3, fillstyle="none", **style)
            view_ohm = max(view_ohm, _VIEW * largest_resistance_ohm(z_ohm))
        # Rising; a cell that is short gets none any more.
        fastest = [at for at in run.start["charges"] if f"charge at {at}" in run.sections()][-1]
        (step,) = (one for one in run.section(f"charge at {fastest}") if one.kind == "charge")
        label = plain(f"({level}) {member.name}, {fastest}")
        line(charge, step.charge_mAh, step.voltage_V, label=label, **style)
    nyquist.set(xlabel="Z′ / Ω", ylabel="−Z″ / Ω", aspect="equal", xlim=(0, view_ohm))
    nyquist.set_ylim(-view_ohm / 8, view_ohm)
    charge.set(xlabel="charge / mAh", ylabel="voltage / V")
    charge.legend(fontsize="small")
    return "Left: the last spectrum of each cell, equal axes. Right: the fastest charge of each cell."
