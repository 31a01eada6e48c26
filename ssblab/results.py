"""Figures of merit of a stored run: found through the run's own start document."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from ssblab.catalog import RunData
from ssblab.quantities import Value

__all__ = ["FIGURES_KEY", "figures_of_merit"]

#: Key of the start document that names the function: "plans.module:function".
FIGURES_KEY = "figures_of_merit"

_ROOM = "plans."


def figures_of_merit(run: RunData) -> dict[str, Value]:
    """Compute what a run was made for.

    Returns
    -------
    dict
        By name; empty for a plan that has no figures of merit.

    Raises
    ------
    ValueError
        If the run names a function outside the room of the plans, or lacks data that the function needs.
    """
    named = run.start.get(FIGURES_KEY)
    if named is None:
        return {}
    module, _, function = str(named).partition(":")
    if not module.startswith(_ROOM):
        raise ValueError(f"run {run.start['uid']}: {named!r} is no function of the plans")
    compute = cast(Callable[[RunData], list[Value]], getattr(importlib.import_module(module), function))
    return {value.name: value for value in compute(run)}
