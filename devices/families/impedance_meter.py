"""The family of impedance meters: spectra of a cell, and its direct voltage."""

from __future__ import annotations

from typing import ClassVar

from devices.families.electrochemical import ElectrochemicalDevice, ImpedancePoint
from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep
from devices.instrument import Cpt
from devices.signals import Measured

__all__ = ["ImpedanceMeter"]


class ImpedanceMeter(ElectrochemicalDevice):
    """Takes spectra; its safe state is no alternating signal and no bias.

    `potential` is the direct voltage of the cell, NaN for a meter that does not tell it. A driver lists in
    `techniques` whether its instrument applies voltage, current, or both.
    """

    family = "impedance meter"
    techniques: ClassVar[tuple[type, ...]] = (ImpedanceSweep, GalvanostaticImpedanceSweep)

    z_real = Cpt(Measured, unit="ohm", precision=6, kind="normal", doc="Real part of the impedance read last")
    z_imag = Cpt(
        Measured, unit="ohm", precision=6, kind="normal", doc="Its imaginary part, negative if capacitive"
    )
    frequency = Cpt(Measured, unit="Hz", precision=3, kind="normal", doc="Its frequency")

    def add_point(self, point: ImpedancePoint) -> None:
        """Take over a point of the running spectrum."""
        super().add_point(point)
        for signal, value in (
            (self.z_real, point.z_real_ohm),
            (self.z_imag, point.z_imag_ohm),
            (self.frequency, point.frequency_Hz),
        ):
            signal.record(value, point.time)
