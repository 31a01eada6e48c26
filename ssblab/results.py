"""Figures of merit of a stored run: found through the run's own start document."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, cast

from ssblab.catalog import RunData
from ssblab.quantities import Value

__all__ = ["FIGURES_KEY", "MEMBER_KEY", "Related", "figures_of_merit"]

#: Key of the start document that names the function: "plans.module:function".
FIGURES_KEY = "figures_of_merit"

#: Key of the start document of one run of many, such as that of one cell of a lot: the uid of the run that is
#: about all of them, and was opened first.
MEMBER_KEY = "member_of"

#: Reads another run by its uid, from where a run was read.
Related = Callable[[str], RunData]

_ROOM = "plans."


def figures_of_merit(run: RunData, related: Related | None = None) -> dict[str, Value]:
    """Compute what a run was made for.

    A function of one parameter gets the run; one of two gets `related` too, for a run that is about others.

    Parameters
    ----------
    run : RunData
    related : callable, optional

    Returns
    -------
    dict
        By name; empty for a plan that has no figures of merit.

    Raises
    ------
    ValueError
        If the run names a function outside the room of the plans, or lacks data that the function needs, or
        is about other runs and `related` is not given.
    """
    named = run.start.get(FIGURES_KEY)
    if named is None:
        return {}
    module, _, function = str(named).partition(":")
    if not module.startswith(_ROOM):
        raise ValueError(f"run {run.start['uid']}: {named!r} is no function of the plans")
    compute = cast(Callable[..., list[Value]], getattr(importlib.import_module(module), function))
    given: tuple[Any, ...] = (run,)
    if len(inspect.signature(compute).parameters) > 1:
        if related is None:
            raise ValueError(
                f"run {run.start['uid']} is about several runs: say how to read them, related=..."
            )
        given = (run, related)
    return {value.name: value for value in compute(*given)}
