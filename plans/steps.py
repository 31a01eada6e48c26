"""A program that somebody wrote, run on a cell."""

from __future__ import annotations

from typing import Annotated, Any

from devices.families.climate_chamber import ClimateChamber
from devices.families.dew_point_transmitter import DewPointTransmitter
from devices.families.gas_sensor import GasSensor
from devices.humidity_box import HumidityBox
from devices.press import Press
from plans.arguments import FROM_STATION, PlanGenerator, Text, plan, written
from plans.cell_runs import LogEvery, cell_run
from plans.programs import CellRig, Source, prepare, run
from ssblab.samples import CellSample

__all__ = ["run_steps"]

Steps = Annotated[str, Text("program in the language of steps (docs/steps.md); ';' between steps of a line")]


@plan
def run_steps(
    sample: CellSample,
    *,
    steps: Steps,
    log_every: LogEvery = written("60 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    press: Press | None = FROM_STATION,
    dew_point: DewPointTransmitter | HumidityBox | None = FROM_STATION,
    gas: GasSensor | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Run a program of steps on a cell: its channel, its chamber and its press together.

    The program says everything, temperature and pressure among it; what it does not set stays as it is.
    Streams: primary, steps; impedance and spectra where it takes spectra. Figures of merit: those of the last
    whole cycle, if there is one.

    Source: docs/steps.md.
    """
    sensors = tuple(device for device in (dew_point, gas) if device is not None)
    rig = CellRig(sample, channel, chamber, press, sensors)
    arguments = {**locals()}
    program = prepare(rig, steps, log_s=log_every)
    return (
        yield from cell_run(
            run_steps,
            rig,
            arguments,
            run(program, section="program"),
            programs={"program": program},
            figures="plans.capacity_figures:program",
            md=md,
        )
    )
