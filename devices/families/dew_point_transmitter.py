"""The family of dew-point transmitters."""

from __future__ import annotations

from devices.instrument import Cpt, Instrument
from devices.signals import Measured

__all__ = ["DewPointTransmitter"]


class DewPointTransmitter(Instrument):
    """Measures how dry a gas is.

    Dew point follows the makers' "Td/f": below 0 degC it is the frost point, over ice; above, the dew point
    over liquid water. Quality tells of dew point and water fraction; temperature is NaN on models that do not
    report it.

    Attributes
    ----------
    accuracy_K : float
        The maker's accuracy of the dew point, as a limit of error.
    """

    family = "dew-point transmitter"
    accuracy_K: float

    dew_point = Cpt(
        Measured, unit="degC", precision=2, kind="hinted", doc="Dew point; frost point below 0 degC (Td/f)"
    )
    temperature = Cpt(Measured, unit="degC", precision=2, kind="normal", doc="Temperature of the gas")
    water_fraction = Cpt(
        Measured, unit="ppm", precision=2, kind="normal", doc="Water by volume, relative to the dry gas"
    )

    def make_safe(self) -> None:
        """Do nothing: a sensor has no output that could do harm."""
