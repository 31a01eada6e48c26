"""The family of displacement gauges with up to four heads."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Text
from ssblab.links import LinkError

__all__ = ["MOST_HEADS", "HeadReading", "ThicknessGauge"]

MOST_HEADS = 4


@dataclass(frozen=True)
class HeadReading:
    """One reading of one head.

    Attributes
    ----------
    displacement_mm : float
        NaN unless the quality is "ok".
    judgement : str
        Of the gauge's comparator: "go", "high", "low", "high and low" or "none".
    quality : str
        "ok", "saturated" (beyond the display's range) or "invalid".
    """

    displacement_mm: float
    judgement: str
    quality: str


def _head(number: int) -> Any:
    return Cpt(
        Measured,
        unit="mm",
        precision=4,
        kind="hinted" if number == 0 else "normal",
        doc=f"Displacement of head {number}, from the gauge's own zero",
    )


def _judgement(number: int) -> Any:
    return Cpt(Text, kind="normal", doc=f"What the gauge's comparator says of head {number}")


class ThicknessGauge(Instrument):
    """Measures displacements. It has no output; its safe state is to go on measuring.

    Parameters
    ----------
    heads : int
        How many heads it has, 1 to 4; the signals of the others are omitted.
    """

    family = "displacement gauge"

    displacement_0 = _head(0)
    displacement_1 = _head(1)
    displacement_2 = _head(2)
    displacement_3 = _head(3)
    judgement_0 = _judgement(0)
    judgement_1 = _judgement(1)
    judgement_2 = _judgement(2)
    judgement_3 = _judgement(3)

    def __init__(self, *, heads: int = 1, **kwargs: Any) -> None:
        if not 1 <= heads <= MOST_HEADS:
            raise ValueError(f"heads must be 1 to {MOST_HEADS}, not {heads!r}")
        super().__init__(**kwargs)
        self.heads = heads
        for number in range(heads, MOST_HEADS):
            getattr(self, f"displacement_{number}").kind = "omitted"
            getattr(self, f"judgement_{number}").kind = "omitted"

    def poll(self) -> None:
        """Read all heads; a reading that fails leaves nothing that could pass for good."""
        try:
            readings = self.read_heads()
        except LinkError:
            self.record(quality="invalid")
            raise
        for number, reading in enumerate(readings[: self.heads]):
            sound = reading.quality == "ok"
            values: dict[str, float | str] = {
                f"displacement_{number}": reading.displacement_mm if sound else math.nan,
                f"judgement_{number}": reading.judgement,
            }
            self.record(**values)
        faults = {reading.quality for reading in readings[: self.heads]} - {"ok"}
        self.record(quality="invalid" if "invalid" in faults else "saturated" if faults else "ok")

    def make_safe(self) -> None:
        """Do nothing: it has no output."""

    @abstractmethod
    def read_heads(self) -> list[HeadReading]:
        """Ask for all heads, at least as many as `heads`, in their order; on the worker."""
