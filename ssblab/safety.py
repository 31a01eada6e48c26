"""The ordered safe state of a station, and interlocks: what must be so whatever way a plan ends.

ssblab is not the safety layer. It configures and checks what the instruments and the hard-wired
interlocks do, and brings the station to its safe state on every end that it lives to see.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from ssblab.clock import Clock, Timer

__all__ = ["Interlock", "InterlockTripped", "SafeState", "SafeStep", "outcome", "unconfirmed"]

logger = logging.getLogger(__name__)


class Safeable(Protocol):
    """A device that has a safe state."""

    name: str
    action_timeout_s: float

    def make_safe(self) -> None:
        """Go to the safe state and confirm it; raise if it can't be confirmed."""


class Alarm(Protocol):
    """A device whose alarm ends a run."""

    name: str
    action_timeout_s: float

    def poll(self) -> None:
        """Read the alarm."""

    @property
    def tripped(self) -> str:
        """Why it is tripped, or "" if all is well."""


class InterlockTripped(RuntimeError):
    """An interlock is tripped; the message says which and why."""


@dataclass(frozen=True)
class SafeStep:
    """What became of one step of the safe state: the device, and "" or why it is not confirmed."""

    device: str
    problem: str


def outcome(clock: Clock, future: Future[Any], timeout_s: float) -> Any:
    """Wait for work on a worker, at most `timeout_s` (`Clock.patience`); give its result or raise its error.

    Raises
    ------
    TimeoutError
        If it is not done by then; it goes on.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.is_set() and not clock.wait(done, clock.patience(timeout_s)):
        raise TimeoutError(f"not done within {timeout_s:g} s")
    return future.result(0)


class SafeState:
    """Brings devices to their safe states, one after another in the station's order.

    A step that fails does not keep the next from being taken. Steps are bounded in time by their
    device's `action_timeout_s` and may be repeated at any time.
    """

    def __init__(self, clock: Clock, devices: Sequence[Safeable]) -> None:
        self._clock = clock
        self._devices = devices

    def reach(self) -> list[SafeStep]:
        """Take all steps; never raises."""
        return [SafeStep(device.name, self._step(device)) for device in self._devices]

    def _step(self, device: Safeable) -> str:
        try:
            outcome(self._clock, self._clock.submit(device.name, device.make_safe), device.action_timeout_s)
        except Exception as error:
            logger.exception("safe state of %s is not confirmed", device.name)
            return str(error) or type(error).__name__
        return ""


class Interlock:
    """Watches one alarm while a run is open; trips for good once it is not well.

    Parameters
    ----------
    alarm : Alarm
        A reading that fails, or is not ok, counts as tripped.
    period_s : float
        How often it is looked at.
    """

    def __init__(self, clock: Clock, alarm: Alarm, period_s: float) -> None:
        self._clock = clock
        self._alarm = alarm
        self._period_s = period_s
        self._timers: list[Timer] = []
        self._looked_at_s = 0.0

    def check(self) -> None:
        """Read the alarm now.

        Raises
        ------
        InterlockTripped
            If it is tripped or can't be read.
        """
        reading = self._clock.submit(self._alarm.name, self._reason)
        try:
            reason = outcome(self._clock, reading, self._alarm.action_timeout_s)
        except TimeoutError as error:
            reason = f"can't be read: {error}"
        if reason:
            raise InterlockTripped(f"interlock {self._alarm.name}: {reason}")

    def watch(self, trip: Callable[[str], None]) -> None:
        """Look each period; call `trip` once with the reason when it is not well any more."""
        self.release()
        self._looked_at_s = self._clock.monotonic()

        def trip_once(reason: str) -> None:
            if self._timers:
                self.release()
                trip(f"interlock {self._alarm.name}: {reason}")

        def look() -> None:
            reason = self._reason()
            self._looked_at_s = self._clock.monotonic()
            if reason:
                trip_once(reason)

        def look_at_the_looking() -> None:
            silent_s = self._clock.monotonic() - self._looked_at_s
            if silent_s > self._period_s + self._alarm.action_timeout_s:
                trip_once(f"can't be read: no reading for {silent_s:.0f} s")

        self._timers = [
            self._clock.every(self._period_s, self._alarm.name, look),
            self._clock.every(self._period_s, f"interlock {self._alarm.name}", look_at_the_looking),
        ]

    def release(self) -> None:
        """Stop watching."""
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()

    def _reason(self) -> str:
        try:
            self._alarm.poll()
            return self._alarm.tripped
        except Exception as error:
            return f"can't be read: {error}"


def unconfirmed(steps: Iterable[SafeStep]) -> str:
    """One line on the steps that are not confirmed, "" if all are."""
    return "; ".join(f"{step.device}: {step.problem}" for step in steps if step.problem)
