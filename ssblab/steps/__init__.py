"""The language of steps: one program for the channel, the chamber and the press.

`parse` reads text into steps, `resolve` turns C-rates, areal currents and potentials into what a cell's
record makes of them, `check` says before anything moves what cannot be right, `to_pybamm` and `to_unicycler`
hand the program to others.  docs/steps.md shows the language.
"""

from ssblab.steps.check import Bounds, Finding, Report, check
from ssblab.steps.export import to_pybamm, to_unicycler
from ssblab.steps.grammar import parse, parse_amount, parse_conditions, parse_step
from ssblab.steps.model import (
    ELECTRODE_POTENTIALS,
    Amount,
    Condition,
    Current,
    Hold,
    Impedance,
    Log,
    Loop,
    Program,
    Rest,
    SetPoint,
    Step,
    Sweep,
    Wait,
    While,
    numbered,
)
from ssblab.steps.resolve import CellFacts, Resolved, resolve

__all__ = [
    "ELECTRODE_POTENTIALS",
    "Amount",
    "Bounds",
    "CellFacts",
    "Condition",
    "Current",
    "Finding",
    "Hold",
    "Impedance",
    "Log",
    "Loop",
    "Program",
    "Report",
    "Resolved",
    "Rest",
    "SetPoint",
    "Step",
    "Sweep",
    "Wait",
    "While",
    "check",
    "numbered",
    "parse",
    "parse_amount",
    "parse_conditions",
    "parse_step",
    "resolve",
    "to_pybamm",
    "to_unicycler",
]
