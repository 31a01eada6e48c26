"""The family of relay and digital-input boards."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from devices.instrument import Cpt, Instrument
from devices.signals import Switch
from devices.status import Status
from ssblab.links import InstrumentError, LinkError

__all__ = ["CHANNELS", "RelayIO"]

logger = logging.getLogger(__name__)

#: Relays of a board, and inputs of a board, counted from 0.
CHANNELS = 6

_ATTEMPTS = 2


class RelayIO(Instrument):
    """Six relays and six digital inputs; the station file says what hangs on them.

    The safe state is all relays off, and the board goes there by itself when nobody polls it. So the wiring
    must be such that off is safe: a valve that must be shut in trouble is normally closed, one that must be
    open is normally open and `inverted`, a heater has its contactor on a relay that is on while it may heat.

    Parameters
    ----------
    relays : mapping
        Name of what a relay switches -> relay, 0 to 5.
    inverted : sequence of str
        Names of relays and inputs that count as on while their channel is off: a normally-open valve is
        open ("on") when its relay is off.
    inputs : mapping
        Name of what an input senses -> input, 0 to 5.

    Raises
    ------
    ValueError
        If a name or a channel is used twice, a channel does not exist, or `inverted` has an unknown name.
    """

    family = "relay I/O"

    relay_0 = Cpt(Switch, kind="hinted", doc="Relay 0: 1 energised, 0 at rest")
    relay_1 = Cpt(Switch, kind="hinted", doc="Relay 1: 1 energised, 0 at rest")
    relay_2 = Cpt(Switch, kind="hinted", doc="Relay 2: 1 energised, 0 at rest")
    relay_3 = Cpt(Switch, kind="hinted", doc="Relay 3: 1 energised, 0 at rest")
    relay_4 = Cpt(Switch, kind="hinted", doc="Relay 4: 1 energised, 0 at rest")
    relay_5 = Cpt(Switch, kind="hinted", doc="Relay 5: 1 energised, 0 at rest")
    input_0 = Cpt(Switch, kind="normal", doc="Digital input 0: 1 on, 0 off")
    input_1 = Cpt(Switch, kind="normal", doc="Digital input 1: 1 on, 0 off")
    input_2 = Cpt(Switch, kind="normal", doc="Digital input 2: 1 on, 0 off")
    input_3 = Cpt(Switch, kind="normal", doc="Digital input 3: 1 on, 0 off")
    input_4 = Cpt(Switch, kind="normal", doc="Digital input 4: 1 on, 0 off")
    input_5 = Cpt(Switch, kind="normal", doc="Digital input 5: 1 on, 0 off")

    def __init__(
        self,
        *,
        name: str,
        relays: Mapping[str, int],
        inverted: Sequence[str] = (),
        inputs: Mapping[str, int] = {},
        **kwargs: Any,
    ) -> None:
        _check_channels(name, "relay", relays)
        _check_channels(name, "input", inputs)
        if both := sorted(set(relays) & set(inputs)):
            raise ValueError(f"{name}: {', '.join(both)} names both a relay and an input")
        if unknown := sorted(set(inverted) - set(relays) - set(inputs)):
            raise ValueError(f"{name}: inverted has {', '.join(unknown)}, which names no relay and no input")
        self._relays = dict(relays)
        self._inputs = dict(inputs)
        self._inverted = frozenset(inverted)
        self._energised: set[int] = set()  # what this program relies on being energised
        super().__init__(name=name, **kwargs)

    def connect(self) -> None:
        """Open the link, identify and read once.

        A watchdog that tripped before is cleared with all relays off: the board was left alone between two
        sessions, and nothing of this session relied on its relays.
        """
        self.link.open()
        if self.has_tripped():
            logger.warning("%s: its watchdog had switched all relays off; cleared", self.name)
            self.clear_trip()
        self.poll()

    def switch(self, name: str, on: bool) -> Status:
        """Switch what a name stands for on or off; done when the board says that it followed.

        Raises
        ------
        ValueError
            If no relay has that name; nothing was sent then.
        """
        self.relay_of(name)
        return self.do(f"switch {name} {'on' if on else 'off'}", lambda: self.write(name, on))

    def clear_watchdog(self) -> Status:
        """Let the relays be switched again after the board's watchdog has tripped; all are off then."""
        return self.do("clear watchdog", self.clear_trip)

    def make_safe(self) -> None:
        """Switch all relays off, without regard to `inverted`, and read that back."""
        self._bring(dict.fromkeys(range(CHANNELS), False), "all relays off")

    def write(self, name: str, on: bool) -> None:
        """Switch what a name stands for, unless it is so already, and read it back; on the worker.

        Raises
        ------
        ValueError
            If no relay has that name.
        InstrumentError
            If the relay did not follow.
        """
        wanted = on != (name in self._inverted)
        self._bring({self.relay_of(name): wanted}, f"{name} {'on' if on else 'off'}")

    def is_on(self, name: str) -> bool:
        """Whether what a name of a relay or an input stands for was on when last read.

        Raises
        ------
        ValueError
            If no relay and no input has that name.
        InstrumentError
            If the board was not read yet.
        """
        if name in self._relays:
            signal = getattr(self, f"relay_{self._relays[name]}")
        elif name in self._inputs:
            signal = getattr(self, f"input_{self._inputs[name]}")
        else:
            raise ValueError(f"{self.name} has no {name!r}, only {_listed([*self._relays, *self._inputs])}")
        if signal.get() not in (0, 1):
            raise self.refused(f"{name} was not read yet")
        return bool(signal.get()) != (name in self._inverted)

    def relay_of(self, name: str) -> int:
        """Relay that a name stands for, 0 to 5.

        Raises
        ------
        ValueError
            If no relay has that name.
        """
        if name not in self._relays:
            raise ValueError(f"{self.name} has no relay {name!r}, only {_listed(self._relays)}")
        return self._relays[name]

    def trip_matters(self) -> bool:
        """Whether the board's watchdog has dropped a relay that this program relies on.

        A board that was left alone with all its relays off has lost nothing; its watchdog is cleared then.
        """
        if not self.has_tripped():
            return False
        if not self._energised:
            logger.info("%s: its watchdog had tripped with all relays off; cleared", self.name)
            self.clear_trip()
            return False
        return True

    def trip_error(self) -> InstrumentError:
        """Error for a board whose watchdog has dropped a relay that this program relies on."""
        self.record(quality="invalid")
        return InstrumentError(
            "its watchdog has switched all relays off, because nobody polled it for too long",
            device=self.name,
            address=self.link.address,
            advice="find out what stopped the polling, bring the plant into a known state, "
            "then call clear_watchdog()",
        )

    def clear_trip(self) -> None:
        """Clear the board's watchdog with all relays off; on the worker.

        Raises
        ------
        InstrumentError
            If it is not cleared afterwards.
        """
        self.make_safe()
        self.write_clear()
        if self.has_tripped():
            raise self.refused("its watchdog can't be cleared")
        self.make_safe()  # a board may bring back what its relays were before the trip
        self.poll()

    @abstractmethod
    def read_relays(self) -> Sequence[bool]:
        """Ask for the state of all relays."""

    @abstractmethod
    def write_relay(self, relay: int, on: bool) -> None:
        """Tell the board to switch one relay; the caller reads it back."""

    @abstractmethod
    def has_tripped(self) -> bool:
        """Ask whether the board has switched its relays off because nobody polled it."""

    @abstractmethod
    def write_clear(self) -> None:
        """Tell the board to obey again after its watchdog has tripped."""

    def record_board(self, relays: Sequence[bool], inputs: Sequence[bool]) -> None:
        """Record relays and inputs as read now, and see that what this program relies on is still so.

        Raises
        ------
        InstrumentError
            If the watchdog has tripped, or a relay has dropped without it: the board has lost its power, or
            somebody else has switched it. Switching it anew, or the safe state, ends that.
        """
        tripped = self.trip_matters()
        self.record_relays(relays)
        self.record_inputs(inputs)
        if tripped:
            raise self.trip_error()
        if dropped := sorted(relay for relay in self._energised if not relays[relay]):
            self.record(quality="invalid")
            raise self.refused(f"relay {_listed(dropped)} has dropped by itself: was its power lost?")
        self.record(quality="ok")

    def record_relays(self, states: Sequence[bool]) -> None:
        """Record the relays as read now."""
        self.record(**{f"relay_{i}": float(on) for i, on in enumerate(states)})

    def record_inputs(self, states: Sequence[bool]) -> None:
        """Record the inputs as read now."""
        self.record(**{f"input_{i}": float(on) for i, on in enumerate(states)})

    def _bring(self, wanted: Mapping[int, bool], what: str) -> None:
        """Switch the relays that are not as wanted; a relay told twice is as if told once."""
        self._energised -= {relay for relay, on in wanted.items() if not on}
        for _ in range(_ATTEMPTS):
            if not (wrong := self._differing(wanted)):
                self._energised |= {relay for relay, on in wanted.items() if on}
                return
            if any(wanted.values()):
                self.trip_matters()  # which clears what does not matter
            elif not self._energised and self.has_tripped():
                self.write_clear()  # a tripped board obeys nothing, and a relay has not dropped
            for relay in wrong:
                self._tell(relay, wanted[relay])
        if wrong := self._differing(wanted):
            if any(wanted.values()) and self.has_tripped():
                raise self.trip_error()
            raise self.refused(f"told {what}, but relay {_listed(wrong)} did not follow")
        self._energised |= {relay for relay, on in wanted.items() if on}

    def _differing(self, wanted: Mapping[int, bool]) -> list[int]:
        states = self.read_relays()
        self.record_relays(states)
        return [relay for relay, on in wanted.items() if states[relay] != on]

    def _tell(self, relay: int, on: bool) -> None:
        try:
            self.write_relay(relay, on)
        except LinkError as error:  # one relay's trouble must not keep the others on: reading back decides
            logger.warning("%s", error)


def _check_channels(device: str, kind: str, channels: Mapping[str, int]) -> None:
    for name, channel in channels.items():
        if channel not in range(CHANNELS):
            raise ValueError(f"{device}: {kind} {name!r} must be 0 to {CHANNELS - 1}, not {channel!r}")
    if len(set(channels.values())) < len(channels):
        raise ValueError(f"{device}: two names for one {kind} in {dict(channels)}")


def _listed(items: Sequence[object] | Mapping[str, int]) -> str:
    return ", ".join(str(item) for item in items) or "none"
