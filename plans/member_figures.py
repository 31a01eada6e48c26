"""Members of a run that is about many: how each ended, its run, and its figures of merit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from plans.members import STREAM
from ssblab.catalog import RunData
from ssblab.quantities import Value
from ssblab.results import Related, figures_of_merit

__all__ = ["Member", "members_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One sample of many.

    Attributes
    ----------
    name : str
        Of the sample.
    run : RunData or None
        None if it never opened a run.
    exit_status, reason : str
        How its run ended, or why it has no figures of merit.
    results : dict
        Its figures of merit; empty if it did not come to its end, or they can't be computed.
    """

    name: str
    run: RunData | None
    exit_status: str
    reason: str
    results: Mapping[str, Value]


def members_of(run: RunData, related: Related) -> list[Member]:
    """Read the members of a run, those that are done, by name."""
    stream = run.streams.get(STREAM)
    if stream is None:
        return []
    keys = ("sample", "run", "exit_status", "reason")
    columns = [stream[f"{STREAM}_{key}"].values.tolist() for key in keys]
    found = [_member(related, *row) for row in zip(*columns, strict=True)]
    return sorted(found, key=lambda member: member.name)


def _member(related: Related, name: str, uid: str, exit_status: str, reason: str) -> Member:
    run = related(uid) if uid else None
    results: Mapping[str, Value] = {}
    if run is not None and exit_status == "success":
        try:
            results = figures_of_merit(run)
        except Exception as error:  # what one member stumbles over must not take the others along
            reason = f"no figures of merit: {type(error).__name__}: {error}"
            logger.warning("run %s of %s: %s", uid, name, reason)
    return Member(name, run, exit_status, reason, results)
