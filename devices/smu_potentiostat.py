"""A potentiostat made of a source-measure unit and an impedance meter that are connected to one cell."""

from __future__ import annotations

import math
from typing import Any

from devices.families.electrochemical import ElectrochemicalDevice
from devices.families.impedance_meter import ImpedanceMeter
from devices.families.potentiostat import Potentiostat
from devices.families.smu import SourceMeasureUnit
from devices.flyer import Flyer

__all__ = ["SmuPotentiostat"]

_SETTINGS = (
    "applied_potential",
    "applied_current",
    "sweep_amplitude",
    "sweep_current_amplitude",
    "sweep_frequency",
)


class SmuPotentiostat(Potentiostat):
    """Direct techniques by the source-measure unit, spectra by the impedance meter, one at a time.

    While one measures the other is in its safe state: the unit off at high impedance, the meter without
    signal. What is recorded comes from the one that measures, with its times. Each does all of its work on
    its own worker, so that its own looking after a measurement does not come in between.

    Parameters
    ----------
    smu : SourceMeasureUnit
        Four-wire on the cell.
    impedance_meter : ImpedanceMeter
        Four-terminal on the same cell.
    """

    action_timeout_s = 75.0  # both parts, one after the other

    def __init__(self, *, smu: SourceMeasureUnit, impedance_meter: ImpedanceMeter, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smu = smu
        self.impedance_meter = impedance_meter
        self._part: Flyer | None = None  # which measures, or measured last

    @property
    def source(self) -> str:
        """Whose numbers these are."""
        return f"{self.smu.source}; {self.impedance_meter.source}"

    def connect(self) -> None:
        """Take over the limits of the two, which are connected by themselves, and read once.

        A setting that both can apply has the wider limits here: the part that does a task checks its own.
        """
        for name in _SETTINGS:
            lows, highs = zip(*(getattr(part, name).limits for part in self._limiting(name)), strict=True)
            getattr(self, name).narrow(min(lows), max(highs))
        self.poll()

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that does a technique, if the part that is to do it can."""
        own = super().flyer(task)
        self._doer(task).flyer(task)
        return own

    def check_task(self, task: Any) -> None:
        """Raise LimitError if what the technique applies is outside the limits of the part that does it."""
        super().check_task(task)
        self._doer(task).check_task(task)

    def check_idle(self) -> None:
        """Raise RuntimeError if a measurement is under way, here or at one of the parts by itself."""
        super().check_idle()
        self.smu.check_idle()
        self.impedance_meter.check_idle()

    def look_period_s(self, task: Any) -> float:
        """How often to take over what the part has: as often as it looks at its instrument."""
        return self._doer(task).look_period_s(task)

    def begin(self, task: Any) -> None:
        """Bring the other part into its safe state, then have the one that can do the task start it."""
        doer = self._doer(task)
        other = self.smu if doer is self.impedance_meter else self.impedance_meter
        self.have(other, other.make_safe)
        self._part = doer.flyer(task)
        self.have(doer, lambda: self._start(doer, task))
        self.record(cell=1.0, potential=math.nan, current=math.nan)

    def listen(self) -> bool:
        """Take over what the measuring part has; it looks after its instrument by itself."""
        part = self._part
        if part is None or part.run is None:
            raise self.refused("nothing measures")
        done = part.run.done
        over = done.done()  # asked before the rows are taken, so that none is left
        if not over:
            self.heard()  # the part knows how long its instrument may be silent
        rows = part.take_rows()
        if rows:
            self.add_rows(rows)
            self._follow(part.device)
        if over and (error := done.exception()) is not None:
            raise error
        return over

    def switch_off(self) -> None:
        """Bring both parts into their safe states."""
        try:
            self.have(self.smu, self.smu.make_safe)
        finally:
            self.have(self.impedance_meter, self.impedance_meter.make_safe)
        self._follow(self.smu)
        self.cell.record(self.smu.output.get(), self.smu.output.timestamp)

    def read_at_rest(self) -> None:
        """Read the potential of the cell with the source-measure unit."""
        try:
            self.have(self.smu, self.smu.poll)
        finally:
            self._follow(self.smu)
            self.cell.record(self.smu.output.get(), self.smu.output.timestamp)

    def _start(self, doer: ElectrochemicalDevice, task: Any) -> None:
        doer.task_taken(task)
        doer.start_flight(doer.flyer(task), task)

    def _follow(self, part: Any) -> None:
        """Record what a part has read last, with its times."""
        for name in ("potential", "current", "sweep_frequency", "quality"):
            if hasattr(part, name):
                signal = getattr(part, name)
                getattr(self, name).record(signal.get(), signal.timestamp)

    def _doer(self, task: Any) -> ElectrochemicalDevice:
        is_spectrum = super().flyer(task) is self.flyers["impedance"]
        return self.impedance_meter if is_spectrum else self.smu

    def _limiting(self, name: str) -> list[ElectrochemicalDevice]:
        if name in ("applied_potential", "applied_current"):
            return [self.smu, self.impedance_meter]
        return [self.impedance_meter]
