"""The family of gas sensors."""

from __future__ import annotations

from devices.instrument import Cpt, Instrument
from devices.signals import Measured

__all__ = ["GasSensor"]


class GasSensor(Instrument):
    """Measures how much of one gas there is; `quality` is "saturated" where the sensor's range ends.

    Attributes
    ----------
    range_ppb : float
        Concentration at which the sensor's range ends.
    relative_accuracy : float
        The maker's accuracy as a share of the reading.
    """

    family = "gas sensor"
    range_ppb: float
    relative_accuracy: float

    concentration = Cpt(
        Measured,
        unit="ppb",
        precision=0,
        kind="hinted",
        doc="Concentration of the gas by volume; noise and other gases can make it negative",
    )
    temperature = Cpt(
        Measured, unit="degC", precision=1, kind="normal", doc="Temperature of the gas at the sensor"
    )
    relative_humidity = Cpt(
        Measured, unit="%", precision=1, kind="normal", doc="Relative humidity of the gas at the sensor"
    )

    def make_safe(self) -> None:
        """Do nothing: a sensor acts on nothing."""
