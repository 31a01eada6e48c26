"""The reaction vessel: the valves and the pump that decide what the sample meets."""

from __future__ import annotations

from typing import Any, Literal, get_args

from devices.families.relay_io import RelayIO
from devices.instrument import Cpt, LabDevice
from devices.signals import Measured, Switch, Text
from devices.status import Status
from ssblab.clock import Timer
from ssblab.links import LinkError

__all__ = ["ReactionVessel"]

_FEED_S = 20.0  # a third of the time after which a relay board drops its relays

Mode = Literal["purged", "exposed", "evacuated"]

#: What is on in each mode, in the order of switching that never opens the pump to a gas line.
_SWITCHING: dict[str, tuple[tuple[str, bool], ...]] = {
    "purged": (("vacuum_pump", False), ("vessel_valve", False), ("purge_valve", True)),
    "exposed": (("vacuum_pump", False), ("purge_valve", False), ("vessel_valve", True)),
    "evacuated": (("vessel_valve", False), ("purge_valve", False), ("vacuum_pump", True)),
}


class ReactionVessel(LabDevice):
    """Bypassed and purged with dry gas, exposed to the conditioned air, or evacuated.

    Parameters
    ----------
    relays : RelayIO
        With the relays vessel_valve (conditioned air through the vessel, else past it), purge_valve (dry
        gas into the vessel; normally open, so that it is open without power) and vacuum_pump.
    purge_flow_mL_min : float
        Standard flow of dry gas that the fixed restrictor lets in, as calibrated.
    """

    family = "reaction vessel"

    mode = Cpt(Text, value="", kind="normal", doc="purged (and bypassed), exposed or evacuated")
    vessel_valve = Cpt(Switch, kind="normal", doc="Whether the conditioned air flows through the vessel")
    purge_valve = Cpt(Switch, kind="normal", doc="Whether dry gas flows through the vessel")
    vacuum_pump = Cpt(Switch, kind="normal", doc="Whether the pump runs")
    purge_flow = Cpt(
        Measured,
        unit="mL/min",
        kind="config",
        doc="Standard flow (25 degC, 101.325 kPa) of dry gas while purged, as calibrated",
    )

    def __init__(self, *, relays: RelayIO, purge_flow_mL_min: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._relays = relays
        self._purge_flow_mL_min = purge_flow_mL_min
        self._feeding: Timer | None = None

    def connect(self) -> None:
        """Read the positions."""
        self.purge_flow.record(self._purge_flow_mL_min, self.clock.now())
        self.poll()

    def poll(self) -> None:
        """Read the positions of valves and pump."""
        self.have(self._relays, self._relays.poll)
        self._record_positions()

    def _record_positions(self) -> None:
        now = self.clock.now()
        positions = {name: self._relays.is_on(name) for name, _ in _SWITCHING["purged"]}
        for name, on in positions.items():
            getattr(self, name).record(int(on), now)
        fitting = [mode for mode, steps in _SWITCHING.items() if all(positions[n] == on for n, on in steps)]
        self.mode.record(fitting[0] if fitting else "between", now)

    def set(self, mode: Mode) -> Status:
        """Go to a mode; done when every relay has been read back in its position."""
        if mode not in _SWITCHING:
            raise ValueError(f"{self.name}: no mode {mode!r}; there are {', '.join(get_args(Mode))}")
        return self.do(f"go to {mode}", lambda: self._go(mode))

    def _feed(self, mode: str) -> None:
        """Keep the relay board's watchdog content while relays must stay on, also in a pause of a plan.

        The timer is on the RunEngine's loop: if that hangs or dies, so does the feeding.
        """
        if self._feeding is not None:
            self._feeding.cancel()
        purged = mode == "purged"
        self._feeding = None if purged else self.clock.every(_FEED_S, self._relays.name, self._relays.poll)

    def make_safe(self) -> None:
        """Bypass the vessel, stop the pump and purge with dry gas, confirmed relay by relay.

        Pump and conditioned air are shut off each on its own; dry gas is let in only when the pump is off.
        """
        self._feed("purged")
        problem: LinkError | None = None
        for name in ("vacuum_pump", "vessel_valve"):
            try:
                self._write(name, False)
            except LinkError as error:
                problem = problem or error
        if not self._relays.is_on("vacuum_pump"):
            self._write("purge_valve", True)
        self._record_positions()
        if problem is not None:
            raise problem

    def _write(self, name: str, on: bool) -> None:
        """Switch a relay, which is read back."""
        self.have(self._relays, lambda: self._relays.write(name, on))

    def _go(self, mode: str) -> None:
        for name, on in _SWITCHING[mode]:
            self._write(name, on)
        self._feed(mode)
        self._record_positions()
