"""What a plan itself has to record: an event that says what it did, beside what devices read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky import Msg

from plans.arguments import PlanGenerator
from ssblab.clock import Clock

__all__ = ["FAILED", "PAUSED", "Marks"]

#: What the stream `steps` says of the end of a step that was paused, and how it begins if one was broken off.
PAUSED, FAILED = "pause", "failed: "


class Marks:
    """A stream of events that the plan writes; for bluesky a device that is read.

    Parameters
    ----------
    name : str
        Of the stream; keys begin with it.
    clock : Clock
    units : mapping
        Unit of each value that is a number; what is not named is text. Integers stay integers.
    """

    parent = None

    def __eq__(self, other: object) -> bool:
        """Two of one name write one stream: bluesky wants the same device in each event of a stream."""
        return isinstance(other, Marks) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Marks, self.name))

    def __init__(self, name: str, clock: Clock, units: Mapping[str, str]) -> None:
        self.name = name
        self._clock = clock
        self._units = units
        self._values: dict[str, Any] = {}

    def write(self, **values: str | float) -> PlanGenerator:
        """Write one event; always the same values."""
        self._values = values
        yield Msg("checkpoint")
        yield Msg("create", None, name=self.name)
        yield Msg("read", self)
        yield Msg("save")
        yield Msg("checkpoint")

    def read(self) -> dict[str, Any]:
        """Give what is to be written."""
        stamp = self._clock.now()
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": stamp} for key, value in self._values.items()
        }

    def describe(self) -> dict[str, Any]:
        """Describe the reading."""
        return {f"{self.name}_{key}": self._described(key, value) for key, value in self._values.items()}

    def _described(self, key: str, value: str | float) -> dict[str, Any]:
        if isinstance(value, str):
            return {"source": "ssblab", "dtype": "string", "shape": []}
        kind = "integer" if isinstance(value, int) else "number"
        return {"source": "ssblab", "dtype": kind, "shape": [], "units": self._units[key]}

    def read_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}
