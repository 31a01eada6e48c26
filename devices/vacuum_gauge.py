"""The family of vacuum gauges."""

from __future__ import annotations

import math

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Text
from devices.status import Descent, Status

__all__ = ["OVER_RANGE", "VacuumGauge"]

#: State of a gauge whose reading is above its range; drivers use this word.
OVER_RANGE = "over-range"

_SETTLE_S = 10.0  # a valve that opens or a gauge that changes its measuring circuit gives a short dip
_POLL_S = 1.0


class VacuumGauge(Instrument):
    """Measures the pressure in a vessel.

    Quality is "ok" for a measured value alone. Under-range and over-range are "saturated": the pressure is
    beyond the end of the range that `pressure` shows, by how much is not known; and a cold cathode whose
    discharge has failed reports under-range too. Without a reading, quality is "invalid".
    """

    family = "vacuum gauge"

    pressure = Cpt(Measured, unit="Pa", precision=4, kind="hinted", doc="Absolute pressure")
    state = Cpt(Text, kind="omitted", doc="Status of the gauge in words; empty when the reading is good")

    def wait_below(self, pressure_Pa: float, timeout_s: float) -> Status:
        """Wait until the pressure is at or below a value; done when it has stayed there for 10 s.

        An over-range reading never counts as below; an under-range reading counts with the end of the
        range that the gauge shows.

        Parameters
        ----------
        pressure_Pa : float
            Absolute pressure.
        timeout_s : float
            From the pump's speed and the vessel's volume, plus a margin.

        Raises
        ------
        ValueError
            If pressure or time is no number above 0.
        """
        for what, value in (("pressure_Pa", pressure_Pa), ("timeout_s", timeout_s)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{self.name}: {what} must be a number above 0, not {value!r}")
        return Descent(
            self.clock,
            self.name,
            f"{self.name}: pressure",
            "Pa",
            start=lambda: None,
            read=self._read_pressure,
            target=pressure_Pa,
            tolerance=0.0,
            settle_s=_SETTLE_S,
            timeout_s=timeout_s,
            poll_s=_POLL_S,
        ).status

    def make_safe(self) -> None:
        """Do nothing: a gauge has no state that could harm."""

    def _read_pressure(self) -> float:
        self.poll()
        return math.inf if self.state.get() == OVER_RANGE else float(self.pressure.get())
