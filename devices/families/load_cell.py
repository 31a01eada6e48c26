"""The family of load cells with their indicators.

Indicators that are calibrated in mass are converted with the standard acceleration of free fall, 9.80665 m/s2
(3rd CGPM, 1901): the force is that which this mass would have there.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Switch
from devices.status import Status
from ssblab.links import LinkError, Refusal

__all__ = ["LoadCell", "LoadReading", "force_kN"]

_STANDARD_GRAVITY_M_S2 = 9.80665
_KG = {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "t": 1e3}
_SETTLE_S = 1.0


def force_kN(mass: float, unit: str) -> float:
    """Force of a mass at standard gravity, kN.

    Raises
    ------
    Refusal
        If the indicator shows another unit than mg, g, kg or t.
    """
    if unit not in _KG:
        raise Refusal(f"it shows {unit!r}: set it to kg, g or t")
    return mass * _KG[unit] * _STANDARD_GRAVITY_M_S2 / 1000.0


@dataclass(frozen=True)
class LoadReading:
    """One reading.

    Attributes
    ----------
    force_kN : float
        Compression positive; NaN unless the quality is "ok".
    stable, tared : bool
        Whether it stands still by the indicator's own judgement, and whether a tare is taken off.
    quality : str
        "ok", "saturated" (beyond the range, either way) or "invalid".
    """

    force_kN: float
    stable: bool
    tared: bool
    quality: str


class LoadCell(Instrument):
    """Measures a force. It has no output; its safe state is to go on measuring."""

    family = "load cell"

    force = Cpt(Measured, unit="kN", precision=4, kind="hinted", doc="Force, compression positive")
    stable = Cpt(Switch, kind="normal", doc="1 when the indicator calls the reading stable")
    tared = Cpt(Switch, kind="normal", doc="1 when a tare is taken off, so that it is not the whole force")
    force_limit = Cpt(
        Setting,
        unit="kN",
        precision=3,
        limits=(0.0, math.inf),
        kind="config",
        doc="Largest force that the station allows on the cell",
    )

    #: How near to nothing the force must be after a zero, kN.
    zero_tolerance_kN = 0.01

    def upload_limits(self) -> None:
        """Take the station's limit over; no command is known that tells it to one of these indicators."""
        high_kN = self.force_limit.limits[1]
        self.record(force_limit=high_kN if math.isfinite(high_kN) else math.nan)

    def zero(self) -> Status:
        """Call the load now nothing; fails if the indicator refuses or shows a force afterwards."""
        return self.do("zero", self._zero)

    def tare(self) -> Status:
        """Take the load now off all readings, until `clear_tare`."""
        return self.do("tare", lambda: self._tare(True))

    def clear_tare(self) -> Status:
        """Show the whole force again."""
        return self.do("clear the tare", lambda: self._tare(False))

    def poll(self) -> None:
        """Read the force; a reading that fails leaves nothing that could pass for good."""
        try:
            reading = self.read_load()
        except LinkError:
            self.record(quality="invalid")
            raise
        self.record(
            force=reading.force_kN if reading.quality == "ok" else math.nan,
            stable=int(reading.stable),
            tared=int(reading.tared),
            quality=reading.quality,
        )

    def make_safe(self) -> None:
        """Do nothing: it has no output."""

    @abstractmethod
    def read_load(self) -> LoadReading:
        """Ask for the load; on the worker."""

    @abstractmethod
    def write_zero(self) -> None:
        """Tell the indicator to call the load now nothing; on the worker."""

    @abstractmethod
    def write_tare(self, on: bool) -> None:
        """Tell the indicator to take the load now off, or to take nothing off; on the worker."""

    def _zero(self) -> None:
        self.write_zero()
        self.clock.sleep(_SETTLE_S)
        self.poll()
        if not abs(self.force.get()) <= self.zero_tolerance_kN:
            raise self.refused(f"shows {self.force.get():g} kN after it was zeroed")

    def _tare(self, on: bool) -> None:
        self.write_tare(on)
        self.clock.sleep(_SETTLE_S)
        self.poll()
        if bool(self.tared.get()) != on:
            raise self.refused(f"has {'no' if on else 'still a'} tare")
