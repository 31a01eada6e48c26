"""The humidity box: a dew-point transmitter, relays, and the loop that closes between them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from devices.families.dew_point_transmitter import DewPointTransmitter
from devices.families.relay_io import RelayIO
from devices.instrument import Cpt, LabDevice
from devices.signals import Measured, Setting, Switch, Text
from devices.status import Status
from ssblab.clock import Timer
from ssblab.links import LinkError

__all__ = ["BoxFault", "HumidityBox"]

logger = logging.getLogger(__name__)

_RELAYS = ("dehumidifier_1", "dehumidifier_2", "bleed_valve")
_LONGEST_LOSS_S = 60.0  # without a reading, or with relays that do not follow
_POLL_S = 10.0
_SETTLE_S = 300.0
_SETTLE_TIMEOUT_S = 7200.0


class BoxFault(RuntimeError):
    """The box has gone to its safe state by itself; the message says why."""


class HumidityBox(LabDevice):
    """Holds a dew point with two dehumidifiers and a bleed of room air.

    The loop reads the transmitter and switches relays each 10 s, on the box's own worker. The first
    dehumidifier runs above the set point, the second well above it, the bleed opens well below it. When the
    transmitter has given no dew point, or the relays have not followed, for 60 s, the loop switches
    everything off, tries that until it is confirmed, and the box is at fault until it is set anew.

    Parameters
    ----------
    transmitter : DewPointTransmitter
        In the box's air.
    relays : RelayIO
        With the relays dehumidifier_1, dehumidifier_2 and bleed_valve.
    tolerance_K : float
        Half width of the band in which the dew point counts as held; the source asks for 2.
    """

    family = "humidity box"
    action_timeout_s = 60.0

    dew_point = Cpt(
        Measured, unit="degC", precision=2, kind="hinted", doc="Dew point in the box, over ice below 0 degC"
    )
    dew_point_setpoint = Cpt(
        Setting, unit="degC", precision=1, limits=(-50.0, -10.0), kind="normal", doc="Dew point asked for"
    )
    air_temperature = Cpt(Measured, unit="degC", precision=2, kind="normal", doc="Air temperature in the box")
    dehumidifier_1 = Cpt(Switch, kind="normal", doc="Whether the first dehumidifier runs")
    dehumidifier_2 = Cpt(Switch, kind="normal", doc="Whether the second dehumidifier runs")
    bleed_valve = Cpt(Switch, kind="normal", doc="Whether room air is let in")
    state = Cpt(Text, value="off", kind="normal", doc="off, controlling, or the fault that ended control")

    def __init__(
        self,
        *,
        transmitter: DewPointTransmitter,
        relays: RelayIO,
        tolerance_K: float = 2.0,
        limits: Mapping[str, tuple[float, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tolerance_K = tolerance_K
        self.accuracy_K = transmitter.accuracy_K
        self._transmitter = transmitter
        self._relays = relays
        self._loop: Timer | None = None
        self._fault = ""
        self._in_control = False  # whether the last look gave a reading and the relays followed
        self._last_control_s = -math.inf
        for signal, (low, high) in (limits or {}).items():
            getattr(self, signal).narrow(low, high)

    def connect(self) -> None:
        """Read the transmitter and the relays once; the parts have their own connections."""
        self.poll()
        self.have(self._relays, self._relays.poll)
        for name in _RELAYS:
            getattr(self, name).record(int(self._relays.is_on(name)), self.clock.now())

    def poll(self) -> None:
        """Read the dew point.

        Raises
        ------
        BoxFault
            If the box went to its safe state by itself.
        LinkError
            If the transmitter does not answer.
        """
        if self._fault:
            raise BoxFault(f"{self.name}: {self._fault}")
        self._read_air()

    def set(self, dew_point_C: float) -> Status:
        """Bring the air to a dew point and hold it; done when it has stayed in the band for 5 min.

        Control goes on afterwards, until `make_safe`. The approach to another dew point that is still under
        way fails.

        Raises
        ------
        LimitError
            If the dew point is outside the limits.
        """
        self.dew_point_setpoint.check_value(dew_point_C)
        return self.approach(
            "dew point",
            "degC",
            start=lambda: self._start_control(dew_point_C),
            read=self._dew_point_controlled,
            target=dew_point_C,
            tolerance=self.tolerance_K,
            settle_s=_SETTLE_S,
            timeout_s=_SETTLE_TIMEOUT_S,
            poll_s=_POLL_S,
        )

    def make_safe(self) -> None:
        """End control and switch both dehumidifiers and the bleed off, confirmed relay by relay.

        A relay that does not follow keeps no other from being switched off.
        """
        try:
            self._switch_off()
        except LinkError as error:
            self._fault = f"not all off: {error}"  # the loop, if it runs, tries again until they are
            self.state.record(self._fault, self.clock.now())
            raise
        self._end_control()
        self.state.record("off", self.clock.now())

    def _start_control(self, dew_point_C: float) -> None:
        self._end_control()
        self._fault = ""
        self.dew_point_setpoint.record(dew_point_C, self.clock.now())
        self.state.record("controlling", self.clock.now())
        self._last_control_s = self.clock.monotonic()
        self._loop = self.clock.every(_POLL_S, self.name, self._control)
        self._control()

    def _end_control(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None

    def _control(self) -> None:
        if self._fault:
            self._secure()
            return
        self._in_control = False
        try:
            self._read_air()
            if not math.isfinite(self.dew_point.get()):
                raise BoxFault("the reading is no number")
            self._switch(self._relays_for(self.dew_point.get(), self.dew_point_setpoint.get()))
            self._last_control_s = self.clock.monotonic()
            self._in_control = True
        except (LinkError, BoxFault) as error:
            lost_s = self.clock.monotonic() - self._last_control_s
            if lost_s >= _LONGEST_LOSS_S:
                self._give_up(f"no dew-point control for {lost_s:.0f} s ({error})")

    def _give_up(self, fault: str) -> None:
        """Go to fault; the loop ends when the relays have been read back as off."""
        self._fault = fault
        self.state.record(fault, self.clock.now())
        self._secure()
        self.end_approaches(fault)

    def _secure(self) -> None:
        """Switch everything off; while that fails, the loop tries again each period."""
        try:
            self._switch_off()
        except LinkError as error:
            logger.warning("%s: not off yet: %s", self.name, error)
        else:
            self._end_control()

    def _read_air(self) -> None:
        self.have(self._transmitter, self._transmitter.poll)
        self.dew_point.record(self._transmitter.dew_point.get(), self._transmitter.dew_point.timestamp)
        self.air_temperature.record(
            self._transmitter.temperature.get(), self._transmitter.temperature.timestamp
        )

    def _dew_point_controlled(self) -> float:
        """Dew point as the loop last read it; NaN, which is in no band, while the loop has lost it."""
        return float(self.dew_point.get()) if self._in_control else math.nan

    @staticmethod
    def _relays_for(dew_point_C: float, setpoint_C: float) -> tuple[bool, bool, bool]:
        """Which of dehumidifier 1, dehumidifier 2 and bleed shall be on."""
        excess_K = dew_point_C - setpoint_C
        second_K = 1.0 if setpoint_C < -45.0 else 3.0  # near the dry end one unit alone does not get there
        return excess_K > 0, excess_K > second_K, excess_K < -1.5

    def _switch_off(self) -> None:
        self._switch((False, False, False))

    def _switch(self, wanted: tuple[bool, bool, bool]) -> None:
        """Switch all relays, whatever becomes of one of them; raise its error after."""
        problem: LinkError | None = None
        for name, on in zip(_RELAYS, wanted, strict=True):
            try:
                self.have(self._relays, partial(self._relays.write, name, on))
                getattr(self, name).record(int(on), self.clock.now())
            except LinkError as error:
                problem = problem or error
        if problem is not None:
            raise problem
