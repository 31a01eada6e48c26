"""Statuses that time out on the laboratory's clock, and waiting until a quantity is where it shall be."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ophyd.status import StatusBase
from ophyd.utils import InvalidState

from ssblab.clock import Clock, Timer

__all__ = ["ActionTimeout", "Approach", "NotReached", "Status"]

logger = logging.getLogger(__name__)


class ActionTimeout(TimeoutError):
    """An action of a device was not done in the time that its physics allow."""


class NotReached(ActionTimeout):
    """A quantity did not come into its band, or did not stay there."""


class Status(StatusBase):
    """Tells when an action is done; always has a timeout, on the clock; no thread of its own.

    Parameters
    ----------
    what : str
        The action, as the error shall name it: "oven: read".
    timeout_s : float
        Laboratory seconds after which the action counts as failed.
    """

    def __init__(self, clock: Clock, what: str, timeout_s: float) -> None:
        super().__init__()
        self.what = what
        self._clock = clock
        self._watchers: list[Callable[..., None]] = []
        self._timeout_s = timeout_s
        self._timer: Timer = clock.call_later(timeout_s, self._expire)

    def __str__(self) -> str:
        """What the action failed with, in the device's words: a run's stop document quotes it."""
        error = self.exception(timeout=0) if self.done else None
        return self.what if error is None else str(error)

    def finish(self) -> None:
        """End well; later endings have no effect."""
        self._timer.cancel()
        try:
            self.set_finished()
        except InvalidState:
            pass

    def fail(self, error: Exception) -> None:
        """End with an error; later endings have no effect."""
        self._timer.cancel()
        try:
            self.set_exception(error)
        except InvalidState:
            pass

    def follow(self, future: Future[Any]) -> Status:
        """End as the work of a future ends."""

        def ended(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                self.finish()
            else:
                self.fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

        future.add_done_callback(ended)
        return self

    def end_with(self, other: Status) -> None:
        """End as another status ends, which then also has the timeout."""
        self._timer.cancel()

        def ended(status: Status) -> None:
            error = status.exception(timeout=0)
            if error is None:
                self.finish()
            else:
                self.fail(error)

        other.add_callback(ended)

    def watch(self, watcher: Callable[..., None]) -> None:
        """Subscribe to progress (the keywords of bluesky's progress bars)."""
        self._watchers.append(watcher)

    def progress(self, **facts: Any) -> None:
        """Tell the watchers: name, current, initial, target, unit, precision, fraction, time_elapsed.

        A watcher that fails is not told any more: a picture must not end what it shows.
        """
        for watcher in list(self._watchers):
            try:
                watcher(**facts)
            except Exception:
                logger.exception("%s: its progress can't be shown", self.what)
                self._watchers.remove(watcher)

    def wait(self, timeout: float | None = None) -> None:
        """Wait, letting laboratory time pass; raise what the action failed with."""
        self._clock.wait(self._event, self._timeout_s + 1.0 if timeout is None else timeout)
        super().wait(timeout=0)

    def _expire(self) -> None:
        self.fail(ActionTimeout(f"{self.what}: not done within {self._timeout_s:g} s"))


class Approach:
    """Waits until a quantity is in its band and has stayed there.

    Parameters
    ----------
    name, unit : str
        Of the quantity, for errors and progress.
    start : callable
        Tells the instrument where to go; runs on `worker`, first.
    read : callable
        Asks the instrument for the quantity; runs on `worker`. NaN is out of the band.
    target, tolerance : float
        The band is target +/- tolerance, in `unit`.
    settle_s : float
        How long it must have stayed in the band.
    timeout_s : float
        From physics: distance over rate, plus a margin.
    poll_s : float
        Period of reading.
    """

    def __init__(
        self,
        clock: Clock,
        worker: str,
        name: str,
        unit: str,
        *,
        start: Callable[[], None],
        read: Callable[[], float],
        target: float,
        tolerance: float,
        settle_s: float,
        timeout_s: float,
        poll_s: float,
    ) -> None:
        self._clock = clock
        self._name = name
        self._unit = unit
        self._read = read
        self._target = target
        self._tolerance = tolerance
        self._settle_s = settle_s
        self._timeout_s = timeout_s
        self._cancelled = False
        self._begin = clock.monotonic()
        self._in_band_since = math.inf
        self._initial = self._last = math.nan
        self.status = Status(clock, f"{name} to {target:g} {unit}", timeout_s + poll_s)
        self._timer = clock.every(poll_s, worker, self._look)
        self.status.add_callback(lambda _: self._timer.cancel())
        clock.submit(worker, self._starting(start))

    def _starting(self, start: Callable[[], None]) -> Callable[[], None]:
        def work() -> None:
            if self._cancelled:  # before the worker came to it
                return
            try:
                start()
            except Exception as error:
                self.status.fail(error)

        return work

    def cancel(self, reason: str) -> None:
        """Give up: the status fails with the reason."""
        self._cancelled = True
        self._timer.cancel()
        self.status.fail(NotReached(f"{self._name}: {reason} {self._so_far()}"))

    def give_way_to(self, other: Approach) -> None:
        """Give up for another approach: end as it ends if it has the same target, else fail.

        A plan that goes on after a pause sets things a second time.
        """
        if other._target != self._target:
            self.cancel("was set anew")
            return
        self._timer.cancel()
        self.status.end_with(other.status)

    def _look(self) -> None:
        try:
            current = self._read()
        except Exception as error:
            self.status.fail(error)
            return
        now = self._clock.monotonic()
        if not math.isnan(current):
            self._last = current
        if math.isnan(self._initial):
            self._initial = current
        if not abs(current - self._target) <= self._tolerance:
            self._in_band_since = math.inf
        elif self._in_band_since == math.inf:
            self._in_band_since = now
        self.status.progress(
            name=self._name,
            current=current,
            initial=self._initial,
            target=self._target,
            unit=self._unit,
            time_elapsed=now - self._begin,
        )
        if now - self._in_band_since >= self._settle_s:
            self.status.finish()
        elif now - self._begin >= self._timeout_s:
            self.status.fail(NotReached(f"{self._name}: not settled {self._so_far()}"))

    def _so_far(self) -> str:
        band = f"{self._target:g} +/- {self._tolerance:g} {self._unit}"
        waited_s = self._clock.monotonic() - self._begin
        return f"(target {band}, last reading {self._last:g} {self._unit}, waited {waited_s:.0f} s)"
