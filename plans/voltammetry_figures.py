"""Figures of merit of voltammetry: onsets of oxidation and reduction, and the window between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from plans.cell_figures import CellRun, gathered
from ssblab.analysis.cycling import StepRecord
from ssblab.analysis.voltammetry import Sweep, onset_potential, stability_window, sweep_charges
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value, parse
from ssblab.steps import parse_amount

__all__ = ["window"]


def window(run: RunData) -> list[Value]:
    """Compute onsets, window and the charges of the sweeps."""
    return gathered(run, [_window, _charges])


def _window(run: CellRun) -> Iterable[Value]:
    onsets = []
    for side, direction in (("oxidation", "anodic"), ("reduction", "cathodic")):
        onset = onset_potential(
            _sweeps(run, side),
            direction="anodic" if direction == "anodic" else "cathodic",
            threshold_uA_cm2=1e3
            * parse_amount(run.start["arguments"]["threshold"], "mA/cm2", name="threshold").value,
            area_cm2=run.sample.area_cm2,
            inert_V=_inert_V(run),
            potential_accuracy_V=run.voltage_accuracy_V,
        )
        onsets.append(_against_lithium(run, onset))
    yield from onsets
    yield stability_window(*onsets)


def _charges(run: CellRun) -> Iterable[Value]:
    return sweep_charges(
        [*_sweeps(run, "oxidation"), *_sweeps(run, "reduction")],
        area_cm2=run.sample.area_cm2,
        inert_V=_inert_V(run),
        current_relative_accuracy=run.accuracy,
    )


def _sweeps(run: CellRun, side: str) -> list[Sweep]:
    """Sweeps of one side, in order."""
    steps = [step for name in run.sections(f"{side} ") for step in run.section(name) if len(step.time_s) > 2]
    if not steps:
        raise BadInput(f"no sweep of the {side} was recorded")
    return [_sweep(step) for step in steps]


def _sweep(step: StepRecord) -> Sweep:
    return Sweep(step.time_s, step.voltage_V, step.current_A)


def _inert_V(run: CellRun) -> tuple[float, float]:
    middle_V: float = run.start["middle_V"]
    away_V = parse(run.start["arguments"]["inert"], "V", name="inert")
    return middle_V - away_V, middle_V + away_V


def _against_lithium(run: CellRun, onset: Value) -> Value:
    reference_V = run.sample.reference_V_vs_Li
    if reference_V is None:
        return replace(onset, definition=f"{onset.definition}; between the terminals")
    return replace(
        onset,
        value=onset.value + reference_V,
        definition=f"{onset.definition}; plus {reference_V:g} V of {run.sample.reference}: against Li/Li+",
    )
