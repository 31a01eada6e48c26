"""Ending a plan from outside: by a signal, a thread, an interlock, or because virtual time stands still.

bluesky's own handling leaves outputs on after SIGTERM and SIGHUP, and loses an end that it can't print.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from bluesky import RunEngine

from ssblab.clock import Clock, VirtualClock

__all__ = ["INTERRUPTED", "Ending", "PatientWait", "ToldToEnd"]

logger = logging.getLogger(__name__)

#: What the reason begins with where a person or the system ended a plan by a signal.
INTERRUPTED = "interrupted by"

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_RETRY_S = 0.02


class ToldToEnd(RuntimeError):
    """The process was told to end by SIGTERM or SIGHUP: no further plan is started."""


class PatientWait:
    """Blocks the main thread while a plan runs, in slices, so that Ctrl-C is seen on every system."""

    def block(self, blocking_event: threading.Event) -> None:
        """Wait for the event."""
        while not blocking_event.wait(0.1):
            pass


class Ending:
    """Ends the plan of a RunEngine so that its clean-up and the safe state run.

    Attributes
    ----------
    reason : str
        Why the last plan was ended, "" if nobody did.
    """

    def __init__(self, run_engine: RunEngine, clock: Clock) -> None:
        self.reason = ""
        self._run_engine: Any = run_engine
        self._clock = clock
        self._underway = False
        self._told_to_end = ""
        run_engine.context_managers = [self._while_underway]
        if isinstance(clock, VirtualClock):
            clock.on_deadlock = self._stuck

    def end(self, reason: str) -> None:
        """End the plan under way, from any thread; of several reasons the first counts."""
        if not self._underway and self._run_engine.state != "paused":
            self._thaw()
            return
        self.reason = self.reason or reason
        self._freeze()
        threading.Thread(target=self._abort, daemon=True, name="ssblab-end").start()

    def come_to_rest(self, reason: str) -> None:
        """End the plan under way or paused, if there is one, and wait until its clean-up is over."""
        if self._run_engine.state == "paused":
            self.reason = reason
            self._run_engine.abort(reason)  # which runs the clean-up here
            return
        self.end(reason)
        while self._underway:
            threading.Event().wait(_RETRY_S)

    def state_changed(self, new: str) -> None:
        """Let virtual time pass again once the RunEngine has taken the end up."""
        if new in ("aborting", "halting"):
            self._thaw()

    def _abort(self) -> None:
        try:
            while self._run_engine.state in ("idle", "running", "pausing", "suspending", "paused"):
                if self._run_engine.state in ("running", "paused") and self._aborted():
                    return
                if self._run_engine.state == "idle" and not self._underway:
                    return
                threading.Event().wait(_RETRY_S)
        finally:
            self._thaw()

    def _aborted(self) -> bool:
        try:
            self._run_engine.abort(self.reason)
        except Exception:  # the state may have changed meanwhile: look again
            logger.debug("the plan could not be ended; trying again", exc_info=True)
            return False
        return True

    def _stuck(self, message: str) -> None:
        """Break a deadlock; comes on the loop's own thread."""
        if self._run_engine.state in ("aborting", "stopping"):
            # It is in the plan's own clean-up, and bluesky ends a plan only once: end this wait of it.
            logger.error("a step of the clean-up is given up: %s", message)
            self._run_engine._task.cancel()
            self._thaw()
        else:
            self.end(message)

    def _freeze(self) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.freeze()

    def _thaw(self) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.thaw()

    @contextmanager
    def _while_underway(self, _: RunEngine) -> Iterator[None]:
        if self._told_to_end:
            raise ToldToEnd(f"no plan is started any more: the process got {self._told_to_end}")
        if self._run_engine.state == "idle":  # else a paused plan goes on
            self.reason = ""
        self._underway = True
        try:
            with _forgiving_output(), _handlers(self._received):
                yield
        finally:
            self._underway = False

    def _received(self, number: int, _: Any) -> None:
        name = signal.Signals(number).name
        if name != "SIGINT":
            self._told_to_end = name
        if name == "SIGHUP":  # the terminal is gone, also for what prints after the plan
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
        self.end(f"{INTERRUPTED} {name}")


@contextmanager
def _handlers(received: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, received) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Forgiving:
    """Standard output that may break: bluesky prints and flushes where an error would leave a run open."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass


@contextmanager
def _forgiving_output() -> Iterator[None]:
    before = sys.stdout
    ours = cast(TextIO, _Forgiving(before or io.StringIO()))  # None where the process has no output
    sys.stdout = ours
    try:
        yield
    finally:
        if sys.stdout is ours:
            sys.stdout = before
