"""The family of gas alarms: fixed detectors that watch the room, and latch."""

from __future__ import annotations

from abc import abstractmethod

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Switch, Text
from devices.status import Status
from ssblab.links import LinkError

__all__ = ["MONITORING", "GasAlarm"]

#: The only state in which a detector watches and would raise its alarm; drivers use this word.
MONITORING = "monitoring"

_SETTLE_S = 2.0  # a detector takes a measuring cycle to show what a reset left


class GasAlarm(Instrument):
    """Watches the room by itself; its alarm stays until it is reset."""

    family = "gas alarm"

    concentration = Cpt(Measured, unit="ppm", precision=2, kind="hinted", doc="Gas in the room, by volume")
    alarm = Cpt(Switch, kind="normal", doc="1: the low or the high alarm is active, or latched")
    fault = Cpt(Switch, kind="normal", doc="1: the detector reports a fault")
    state = Cpt(Text, kind="normal", doc="What the detector does: monitoring, warm-up, alarms inhibited, ...")
    fault_code = Cpt(Text, kind="omitted", doc="Most important fault as the detector's display shows it")
    low_threshold = Cpt(Measured, unit="ppm", precision=2, kind="config", doc="Where the low alarm comes")
    high_threshold = Cpt(Measured, unit="ppm", precision=2, kind="config", doc="Where the high alarm comes")

    @property
    def tripped(self) -> str:
        """Why the room does not count as safe, by the last poll; empty while all is well.

        A detector that is in fault, inhibited or warming up, or whose reading is not good, counts as tripped.
        """
        reasons = []
        if self.alarm.get() == 1:
            reasons.append(f"gas alarm (last reading {self.concentration.get():g} ppm)")
        if self.fault.get() == 1:
            reasons.append(f"detector fault {self.fault_code.get()}".rstrip())
        if self.quality.get() != "ok":
            reasons.append(f"the reading is {self.quality.get()}")
        if self.state.get() != MONITORING:
            reasons.append(f"not monitoring: {self.state.get() or 'not read yet'}")
        return "; ".join(reasons)

    def poll(self) -> None:
        """Read the detector; a reading that fails leaves nothing that could pass for good."""
        try:
            self.read_detector()
        except LinkError:
            self.record(quality="invalid")
            raise

    def reset(self) -> Status:
        """Reset latched alarms and faults; fails if the detector raises them again.

        Raises
        ------
        InstrumentError
            Through the status: if alarm or fault is still there after the reset.
        """
        return self.do("reset", self._reset)

    def make_safe(self) -> None:
        """Do nothing: the safe state of a detector is to go on watching, latched alarms included."""

    @abstractmethod
    def read_detector(self) -> None:
        """Read all signals; on the worker. A fault or alarm of the detector is a reading, not an error."""

    @abstractmethod
    def write_reset(self) -> None:
        """Tell the detector to reset latched alarms and faults; on the worker."""

    def _reset(self) -> None:
        self.write_reset()
        self.clock.sleep(_SETTLE_S)
        self.poll()
        if self.alarm.get() == 1 or self.fault.get() == 1:
            raise self.refused(f"still {self.tripped} after a reset")
