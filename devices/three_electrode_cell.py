"""A cell with a reference electrode: a potentiostat drives it, a scanner reads both electrodes against it."""

from __future__ import annotations

import math
from typing import Any

from devices.families.potentiostat import Potentiostat
from devices.families.scanner import Scanner, worst
from devices.instrument import Cpt, LabDevice
from devices.signals import Measured, Text

__all__ = ["ThreeElectrodeCell"]


class ThreeElectrodeCell(LabDevice):
    """Potentials of both electrodes against the reference, and whether they add up to the cell's.

    The closure, V - (E_pos - E_neg), tells that the reference electrode and all clips sit where they should:
    it is noise around 0 in a sound cell.

    Parameters
    ----------
    potentiostat : Potentiostat
        Between positive and negative electrode.
    scanner : Scanner
        With channels for both electrodes against the reference electrode.
    positive, negative : str
        Names of those channels.

    Raises
    ------
    ValueError
        If the scanner has no voltage channel of that name.
    """

    family = "three-electrode cell"
    action_timeout_s = 60.0

    cell_voltage = Cpt(
        Measured, unit="V", precision=5, kind="hinted", doc="Positive against negative electrode"
    )
    positive_potential = Cpt(Measured, unit="V", precision=5, kind="hinted", doc="Positive against reference")
    negative_potential = Cpt(Measured, unit="V", precision=5, kind="hinted", doc="Negative against reference")
    closure = Cpt(
        Measured,
        unit="V",
        precision=5,
        kind="normal",
        doc="Cell voltage less the difference of the potentials",
    )
    quality = Cpt(Text, value="invalid", kind="normal", doc="Whether the reading is ok, invalid or saturated")

    def __init__(
        self, *, potentiostat: Potentiostat, scanner: Scanner, positive: str, negative: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for channel in (positive, negative):
            if channel not in scanner.scanned or scanner.scanned[channel].quantity != "voltage":
                raise ValueError(f"{self.name}: {scanner.name} has no voltage channel {channel!r}")
        self._potentiostat = potentiostat
        self._scanner = scanner
        self._electrodes = (positive, negative)

    def connect(self) -> None:
        """Read once; the parts have their own connections."""
        self.poll()

    def poll(self) -> None:
        """Read potentiostat and scanner, one after the other; what runs in one of them gives its last point.

        Raises
        ------
        LinkError
            If one of them can't be read.
        """
        try:
            self.have(self._potentiostat, self._potentiostat.poll)
            self.have(self._scanner, self._scanner.poll)
        except Exception:
            signals = ("cell_voltage", "positive_potential", "negative_potential", "closure")
            self.record(quality="invalid", **dict.fromkeys(signals, math.nan))
            raise
        cell_V = float(self._potentiostat.potential.get())
        positive_V, negative_V = (float(self._scanner.channels[name].get()) for name in self._electrodes)
        self.record(
            cell_voltage=cell_V,
            positive_potential=positive_V,
            negative_potential=negative_V,
            closure=cell_V - (positive_V - negative_V),
            quality=self._quality(cell_V, positive_V, negative_V),
        )

    def _quality(self, cell_V: float, *potentials_V: float) -> str:
        """Worst of the three readings; other channels of the scanner do not matter."""
        qualities = [
            self._scanner.scanned[name].quality_of(value_V)
            for name, value_V in zip(self._electrodes, potentials_V, strict=True)
        ]
        qualities.append(str(self._potentiostat.quality.get()) if math.isfinite(cell_V) else "invalid")
        return worst(qualities)

    def make_safe(self) -> None:
        """Bring the potentiostat into its safe state; the scanner applies nothing.

        Raises
        ------
        LinkError
            If the potentiostat's safe state could not be confirmed.
        """
        self.have(self._potentiostat, self._potentiostat.make_safe)
