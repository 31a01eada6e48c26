"""The family of vacuum gauges."""

from __future__ import annotations

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Text

__all__ = ["OVER_RANGE", "VacuumGauge"]

#: State of a gauge whose reading is above its range; drivers use this word.
OVER_RANGE = "over-range"


class VacuumGauge(Instrument):
    """Measures the pressure in a vessel.

    Quality is "ok" for a measured value alone. Under-range and over-range are "saturated": the pressure is
    beyond the end of the range that `pressure` shows, by how much is not known; and a cold cathode whose
    discharge has failed reports under-range too. Without a reading, quality is "invalid".
    """

    family = "vacuum gauge"

    pressure = Cpt(Measured, unit="Pa", precision=4, kind="hinted", doc="Absolute pressure")
    state = Cpt(Text, kind="omitted", doc="Status of the gauge in words; empty when the reading is good")

    def make_safe(self) -> None:
        """Do nothing: a gauge has no state that could harm."""
