"""Cells with a reference electrode: both electrodes while the cell is charged at rising rates."""

from __future__ import annotations

from typing import Annotated, Any

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from devices.three_electrode_cell import ThreeElectrodeCell
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, Text, plan, written
from plans.cell_runs import (
    RATE,
    LogEvery,
    Rest,
    Temperature,
    VoltageLimit,
    at_temperature,
    cell_run,
    check_temperature,
)
from plans.marks import Marks
from plans.programs import Beside, CellRig, Prepared, prepare, run
from plans.texts import half_cycle
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount, Current

__all__ = ["three_electrode_cycle"]

Rates = Annotated[tuple[Amount, ...], AmountIn(RATE, "rates of charge, rising")]
SlowRate = Annotated[Amount, AmountIn(RATE, "current of the discharges")]
Guard = Annotated[
    float, Quantity("V", "potential of the negative electrode against Li/Li+ that a charge may reach", 0, 0.5)
]
Policy = Annotated[
    str, Text("at the guard: end this charge and leave out faster ones, or go on", ("stop", "continue"))
]
ReferencePotential = Annotated[
    float, Quantity("V", "of the reference electrode against Li/Li+, as it was checked", -1, 5)
]

_FIGURES = "plans.three_electrode_figures:three_electrode"
_DISCHARGE_RECORDS = 360
_EVENT_UNITS = {"rate": "1/h", "state_of_charge": "1", "negative_potential": "V", "guard": "V", "margin": "V"}


@plan
def three_electrode_cycle(
    sample: CellSample,
    *,
    rates: Rates = written("0.5C, 1C, 2C, 4C, 6C"),
    slow_rate: SlowRate = written("0.1C"),
    guard: Guard = written("5 mV"),
    policy: Policy = "stop",
    reference_potential: ReferencePotential = written("0 V"),
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("5 s"),
    channel: Potentiostat = FROM_STATION,
    electrodes: ThreeElectrodeCell = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Charge a cell at rising rates and discharge it slowly, with the potentials of both electrodes.

    Where the negative electrode comes down to the guard in a charge, lithium may soon be deposited: an event
    in the stream `events` says so at once. By the policy, the charge then ends, and faster ones are left out;
    or all goes on. The state of charge is that since the slow discharge before, over the nominal capacity.

    Streams: primary, steps, potentials (both electrodes against the reference, each `log_every`), events
    (li_plating_risk). Sections: "beginning", then "charge at <rate>" and "discharge after <rate>". Figures of
    merit: closure_rms and closure_max (V less the difference of the potentials), which electrode ends the
    discharge, and for each rate charge_capacity, negative_potential_min and state_of_charge_at_guard; and
    rate_at_guard.

    The potentiostat takes spectra between the terminals of the cell alone, none of one electrode: there are
    none here.

    Source: NEDO SOLiD-EV final report (2022), sections 3.1.4(4) and 3.1.1(1)(i) (requirements D11, D12): the
    negative potential reached 0 V at the short. Rates, guard and rests are ours.
    """
    rig = CellRig(sample, channel, chamber, electrodes=electrodes)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    guarded = f" or negative potential < {guard - reference_potential!r} V" if policy == "stop" else ""
    slow = half_cycle(sample, "discharge", slow_rate, discharge_to)
    discharge = prepare(rig, f"{slow}\nRest for {rest!r} s", log_s=_discharge_log_s(rig, slow, log_every))
    programs = {"beginning": discharge}
    charges: dict[str, float] = {}
    for rate in rates:
        section = f"charge at {rate.text()}"
        text = half_cycle(sample, "charge", rate, charge_to) + guarded
        programs[section] = prepare(rig, text, log_s=log_every)
        charges[section] = _current_A(programs[section])
        programs[f"discharge after {rate.text()}"] = prepare(
            rig, f"Rest for {rest!r} s\n{discharge.text}", log_s=discharge.log_s
        )
    currents = list(charges.values())
    if currents != sorted(set(currents)) or len(charges) < len(rates):
        raise BadInput(
            f"rates={', '.join(rate.text() for rate in rates)}: write each once, the slowest first"
        )
    body = _rising(rig, temperature, programs, charges, guard, reference_potential, policy, log_every)
    return (
        yield from cell_run(
            three_electrode_cycle, rig, arguments, body, programs=programs, figures=_FIGURES, md=md
        )
    )


class _Watch:
    """Says once in each charge that the negative electrode has come to the guard."""

    def __init__(self, rig: CellRig, guard_V: float, reference_V: float) -> None:
        assert rig.electrodes is not None
        self._rig, self._electrodes = rig, rig.electrodes
        self._guard_V, self._reference_V = guard_V, reference_V
        self._marks = Marks("events", rig.channel.clock, _EVENT_UNITS)
        self._current_A, self._began_s = 0.0, 0.0
        self.tripped = True  # in no charge yet

    def begin(self, current_A: float) -> None:
        """A charge begins."""
        self._current_A, self._began_s = current_A, self._rig.channel.clock.monotonic()
        self.tripped = False

    def look(self) -> PlanGenerator:
        potential_V = float(self._electrodes.negative_potential.get()) + self._reference_V
        if self.tripped or not potential_V < self._guard_V:
            return
        self.tripped = True
        capacity_mAh = self._rig.sample.capacity_mAh
        passed_mAh = self._current_A * (self._rig.channel.clock.monotonic() - self._began_s) / 3.6
        yield from self._marks.write(
            event="li_plating_risk",
            rate=1e3 * self._current_A / capacity_mAh,
            state_of_charge=passed_mAh / capacity_mAh,
            negative_potential=potential_V,
            guard=self._guard_V,
            margin=potential_V,  # what is left to 0 V against Li/Li+
        )


def _rising(
    rig: CellRig,
    temperature_C: float | None,
    programs: dict[str, Prepared],
    charges: dict[str, float],
    guard_V: float,
    reference_V: float,
    policy: str,
    log_s: float,
) -> PlanGenerator:
    assert rig.electrodes is not None
    watch = _Watch(rig, guard_V, reference_V)
    yield from at_temperature(rig, temperature_C)
    over = False
    for section, program in programs.items():
        then = None
        if section in charges:
            if over:
                return
            watch.begin(charges[section])
            then = watch.look
        beside = Beside((rig.electrodes,), "potentials", max(log_s, program.log_s), then)
        yield from run(program, section=section, beside=beside)
        yield from watch.look()  # the reading that ended the charge may be none that was recorded
        over = over or (policy == "stop" and section in charges and watch.tripped)


def _current_A(program: Prepared) -> float:
    step = program.program.steps[0]
    assert isinstance(step, Current)
    return step.at.value


def _discharge_log_s(rig: CellRig, text: str, log_s: float) -> float:
    """Interval of records that makes some hundred of a slow discharge."""
    current_A = _current_A(prepare(rig, text))
    return max(log_s, 3.6 * rig.sample.capacity_mAh / current_A / _DISCHARGE_RECORDS)
