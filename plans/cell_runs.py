"""What all experiments on a cell have in common: their arguments, their run, and its start document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from bluesky.preprocessors import finalize_wrapper, run_wrapper

from plans.arguments import AmountIn, PlanGenerator, Quantity, describe_arguments
from plans.programs import CellRig, Prepared, run
from plans.stubs import make_safe, move, plain_failures
from ssblab.quantities import BadInput
from ssblab.results import FIGURES_KEY
from ssblab.steps import Amount

__all__ = [
    "RATE",
    "Cycles",
    "LogEvery",
    "Rest",
    "Temperature",
    "VoltageLimit",
    "at_temperature",
    "cell_run",
    "check_once",
    "check_temperature",
    "in_order",
]

RATE = ("C", "A", "mA/cm2")
_ROOM_C = 25.0
_SOAK_S = 1800.0  # from when the air is there; a cell of a few grams has followed by then

Cycles = Annotated[int, Quantity("", "number of cycles", 1, 100_000)]
Rest = Annotated[float, Quantity("s", "rest after each charge and discharge", 1, 30 * 86400)]
LogEvery = Annotated[float, Quantity("s", "interval of records", 0.1, 3600)]
Temperature = Annotated[
    float | None, Quantity("degC", "of the chamber; 25 degC if the sample is in one", -80, 200)
]
VoltageLimit = Annotated[
    Amount | None, AmountIn(("V",), "end of the charge or discharge; else that of the sample")
]


def cell_run(
    function: Callable[..., Any],
    rig: CellRig,
    arguments: Mapping[str, Any],
    body: PlanGenerator,
    *,
    programs: Mapping[str, Prepared],
    figures: str,
    md: Mapping[str, Any] | None = None,
) -> PlanGenerator:
    """Make the run of an experiment on a cell; whatever way it ends, its devices are in their safe states.

    Parameters
    ----------
    function : callable
        The plan.
    rig : CellRig
    arguments : mapping
        As the plan got them.
    body : generator
        What is done while the run is open.
    programs : mapping
        Programs of the sections, as they were checked; their text goes into the start document.
    figures : str
        "plans.module:function" that computes the figures of merit.
    md : mapping, optional
        Further metadata.
    """
    longest = [program.report.longest_s for program in programs.values()]
    metadata = {
        "plan_name": function.__name__,
        "sample": rig.sample.metadata(),
        "arguments": describe_arguments(function, arguments),
        "devices": rig.roles(),
        "programs": [{"section": section, "text": program.text} for section, program in programs.items()],
        FIGURES_KEY: figures,
        "current_relative_accuracy": rig.channel.current_relative_accuracy,
        "voltage_accuracy_V": rig.channel.voltage_accuracy_V,
        "voltage_resolution_V": rig.channel.voltage_resolution_V,
        **({"lot_id": rig.sample.lot_id} if rig.sample.lot_id else {}),
        **(md or {}),
    }
    if None not in longest:
        metadata["programs_longest_s"] = sum(longest)
    safe = finalize_wrapper(plain_failures(body), lambda: make_safe(rig.in_safe_order()))
    return (yield from run_wrapper(safe, md=metadata))


def at_temperature(rig: CellRig, temperature_C: float | None) -> PlanGenerator:
    """Bring the chamber to a temperature and let the cell come to it, if the cell is in one."""
    if rig.chamber is not None:
        yield from move(rig.chamber, _ROOM_C if temperature_C is None else temperature_C, settle_s=_SOAK_S)


def in_order(rig: CellRig, temperature_C: float | None, programs: Mapping[str, Prepared]) -> PlanGenerator:
    """Bring the cell to a temperature, then run the programs, each as the section of its name."""
    yield from at_temperature(rig, temperature_C)
    for section, program in programs.items():
        yield from run(program, section=section)


def check_temperature(rig: CellRig, temperature_C: float | None) -> None:
    """Refuse a temperature that the chamber does not do, or that nothing can set."""
    if temperature_C is None:
        return
    if rig.chamber is None:
        raise BadInput(
            f"temperature={temperature_C:g} degC: sample {rig.sample.name} is in no chamber; add one to its "
            "devices in the station file, or give chamber=..., or leave the temperature out"
        )
    low_C, high_C = rig.chamber.temperature_setpoint.limits
    if not low_C <= temperature_C <= high_C:
        raise BadInput(
            f"temperature={temperature_C:g} degC: {rig.chamber.name} goes from {low_C:g} to {high_C:g} degC"
        )


def check_once(name: str, written: Sequence[str]) -> None:
    """Refuse an argument of several in which one is there twice."""
    if twice := [text for text in written if written.count(text) > 1]:
        raise BadInput(f"{name}: {twice[0]} is there twice; give each once")
