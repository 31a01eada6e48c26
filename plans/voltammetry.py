"""Voltammetry of electrolytes: between which potentials they do not react."""

from __future__ import annotations

import math
from typing import Annotated, Any

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, plan, written
from plans.cell_runs import Temperature, at_temperature, cell_run, check_temperature
from plans.programs import CellRig, Prepared, prepare, run
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount, Program, Sweep, parse_step, resolve

__all__ = ["stability_window"]

Potential = Annotated[Amount, AmountIn(("V",), "potential between the terminals, or 'vs Li/Li+'")]
Height = Annotated[float, Quantity("V", "by how much the window is widened each time", 0.01, 2)]
Resolution = Annotated[float, Quantity("V", "between two records", 1e-4, 0.02)]
ScanRate = Annotated[float, Quantity("V/s", "rate of all sweeps", 1e-6, 1)]
Threshold = Annotated[
    Amount,
    AmountIn(("mA/cm2",), "current above the line of the inert region that makes an edge of the window"),
]
Inert = Annotated[float, Quantity("V", "from the beginning, to either side: nothing reacts", 0.01, 1)]
BeginRest = Annotated[float, Quantity("s", "open circuit before", 1, 30 * 86400)]

_FIGURES = "plans.voltammetry_figures:window"
_ABOVE = 1.5  # times the threshold: a side is widened until its edge is surely within


@plan
def stability_window(
    sample: CellSample,
    *,
    begin: Potential = written("1.85 V vs Li/Li+"),
    oxidation_to: Potential = written("3.4 V vs Li/Li+"),
    reduction_to: Potential = written("0.3 V vs Li/Li+"),
    widen_by: Height = written("0.2 V"),
    inert: Inert = written("0.08 V"),
    threshold: Threshold = written("10 uA/cm2"),
    scan_rate: ScanRate = written("1 mV/s"),
    resolution: Resolution = written("2 mV"),
    rest: BeginRest = written("10 min"),
    temperature: Temperature = None,
    channel: Potentiostat = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Find the potentials at which an electrolyte is oxidised and reduced, by ever wider voltammograms.

    From where nothing reacts, the potential goes up and back, down and back, further each time, until the
    side's current is 1.5 times the threshold or its limit is reached. Sweeps that go too far would find
    products instead of the electrolyte. For another scan rate take a fresh sample.

    Streams: primary, steps, with the sections "rest", "oxidation 1", "reduction 1" and so on. Figures of
    merit: onset_oxidation and onset_reduction (against Li/Li+ where the sample's record gives its reference),
    stability_window, and the charge of each sweep.

    Source: requirement D16 (S002 L47-57), without numbers: threshold, rate and steps are ours. The window is
    one of these, of the area that touches, and wider than the thermodynamic one.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    middle_V, *limits_V = (
        round(_terminal_V(sample, amount), 6) for amount in (begin, oxidation_to, reduction_to)
    )
    if not limits_V[1] < middle_V - inert < middle_V + inert < limits_V[0]:
        raise BadInput(
            f"begin={begin.text()} and inert={inert:g} V are not between reduction_to={reduction_to.text()} "
            f"and oxidation_to={oxidation_to.text()}"
        )
    log_s = resolution / scan_rate
    programs = {"rest": prepare(rig, f"Rest for {rest!r} s", log_s=min(60.0, rest))}
    furthest_V = max(abs(limit_V - middle_V) for limit_V in limits_V)
    for number in range(1, math.ceil((furthest_V - inert) / widen_by) + 1):
        away_V = inert + number * widen_by
        for side, limit_V, sign in (("oxidation", limits_V[0], 1.0), ("reduction", limits_V[1], -1.0)):
            reach_V = abs(limit_V - middle_V)
            if number > 1 and reach_V <= away_V - widen_by:
                continue  # the sweeps before have come to the limit
            vertex_V = round(middle_V + sign * min(away_V, reach_V), 6)
            there = f"Sweep from {middle_V!r} V to {vertex_V!r} V at {scan_rate!r} V/s"
            back = f"Sweep from {vertex_V!r} V to {middle_V!r} V at {scan_rate!r} V/s"
            programs[f"{side} {number}"] = prepare(rig, f"{there}\n{back}", log_s=log_s)
    enough_A = 1e-3 * _ABOVE * threshold.value * sample.area_cm2
    body = _widened(rig, temperature, programs, enough_A)
    md = {"middle_V": middle_V, **(md or {})}
    return (
        yield from cell_run(
            stability_window, rig, arguments, body, programs=programs, figures=_FIGURES, md=md
        )
    )


class _Largest:
    """Keeps the largest current of the rows that it is shown, and ends nothing."""

    def __init__(self, channel: Potentiostat) -> None:
        self._key = f"{channel.name}_current"
        self.current_A = 0.0

    def __call__(self, rows: Any) -> str:
        self.current_A = max([self.current_A, *(abs(float(row[self._key])) for row in rows)])
        return ""


def _widened(
    rig: CellRig, temperature_C: float | None, programs: dict[str, Prepared], enough_A: float
) -> PlanGenerator:
    assert isinstance(rig.channel, Potentiostat)
    yield from at_temperature(rig, temperature_C)
    found: set[str] = set()
    for section, program in programs.items():
        side = section.split()[0]
        if side in found:
            continue
        largest = _Largest(rig.channel)
        yield from run(program, section=section, judge=None if side == "rest" else largest)
        if largest.current_A > enough_A:
            found.add(side)


def _terminal_V(sample: CellSample, amount: Amount) -> float:
    """Voltage between the terminals at a potential."""
    step = resolve(Program((parse_step(f"Sweep to {amount.text()} at 1 mV/s"),)), sample).program.steps[0]
    assert isinstance(step, Sweep)
    return step.stop.value
