"""The one place where anything waits or reads time: wall, scaled and virtual laboratory clocks.

Two times are kept apart. `Clock.now` is the laboratory's calendar (seconds since 1970-01-01 UTC) and
stamps data. `Clock.monotonic` never goes back and never jumps: schedules and deadlines use it, so that
a step of the computer's clock makes neither a hole in the data nor a false timeout.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import select
import selectors
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

if sys.platform.startswith("linux"):
    import fcntl
    import termios

__all__ = [
    "Clock",
    "Responder",
    "Timer",
    "VirtualClock",
    "WallClock",
    "make_clock",
    "not_arrived",
]

logger = logging.getLogger(__name__)

_SERVE_SLICE_S = 0.05  # how long a served responder waits before it looks whether it was closed
_WAIT_SLICE_S = 0.1  # Ctrl-C is seen between two slices of a wait, also on Windows
_WAKE_S = 0.001
_DEADLOCK_GRACE_S = 10.0  # real time in which another thread may still give the loop work
# Real time in which bytes that were sent may still come out at the other end, before virtual time passes over
# them: where the system tells that some are on their way, where it can't tell, and on a pty, which hands them
# over on a kernel thread.
_UNDER_WAY_GRACE_S = 10.0
_UNKNOWN_GRACE_S = 0.02
_PTY_GRACE_S = 1.0
_DELIVERY_SLICE_S = 0.002


class Responder(Protocol):
    """The far end of simulated wires: it answers when it is pumped."""

    def pump(self, timeout_s: float) -> float | None:
        """Serve what is ready now, waiting at most `timeout_s` real seconds for something to come.

        Returns the monotonic clock time of the next output it has scheduled, or None.
        """

    def under_way(self, client: Any) -> bool:
        """Whether bytes may not have arrived at the client of an address; acknowledge what came from it."""


class Timer:
    """A call scheduled on a clock; `cancel` is idempotent and may come from any thread."""

    def __init__(self) -> None:
        self.cancelled = False
        self._handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Make sure that the call is not made (again)."""
        self.cancelled = True


class _Selector(selectors.BaseSelector):
    """The operating system's selector, waiting as long as the clock says."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._clock._select(self._real, timeout)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is the clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._clock.monotonic()

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self._clock._note_deadline(when)
        return super().call_at(when, callback, *args, context=context)


class Clock(ABC):
    """Reads time, waits, and runs work at its time.

    The RunEngine of a session runs on `loop`, so that its sleeps and timeouts are this clock's too.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = _Loop(self)
        self._closed = threading.Event()

    @abstractmethod
    def now(self) -> float:
        """Laboratory time in seconds since 1970-01-01 UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Laboratory seconds since an arbitrary start; never goes back."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of laboratory time."""

    @abstractmethod
    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set, at most `timeout_s`; say whether it is. Not from the loop's thread."""

    @abstractmethod
    def wait_readable(self, fileno: int, timeout_s: float) -> bool:
        """Wait until a descriptor has something to read, at most `timeout_s`; say whether it has."""

    def patience(self, seconds: float) -> float:
        """Laboratory seconds to wait for something that takes real time, such as bytes on a wire."""
        return seconds

    @abstractmethod
    def submit(self, worker: str, work: Callable[[], Any]) -> Future[Any]:
        """Do `work` on the named worker, one thing after another; errors come through the future."""

    @abstractmethod
    def serve(self, responder: Responder) -> None:
        """Keep a responder answering until `close`."""

    @abstractmethod
    def _select(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]: ...

    def _note_deadline(self, when: float) -> None:  # noqa: B027 - only virtual time needs it
        """Learn that the loop has something to do at `when`."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a plan or a wait is under way. Only virtual time makes a difference between that and idle."""
        yield

    def start(self) -> None:
        """Run the loop on a thread of its own, for use without a RunEngine (which does it by itself)."""
        if not self.loop.is_running():
            threading.Thread(target=self.loop.run_forever, daemon=True, name="ssblab-clock").start()
            while not self.loop.is_running():
                time.sleep(0.001)  # noqa: TID251 - the clock is where waiting is done

    def close(self) -> None:
        """Stop the loop and the workers; the clock can't be used afterwards."""
        self._closed.set()
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(self.loop.stop)
        for _ in range(500):  # a RunEngine's loop runs on a thread that only bluesky knows
            if not self.loop.is_running():
                self.loop.close()
                break
            time.sleep(0.01)  # noqa: TID251 - the clock is where waiting is done

    def on_loop(self) -> bool:
        """Say whether the caller runs on the loop's own thread."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once after `delay_s`, on the loop's thread."""
        timer = Timer()

        def fire() -> None:
            if not timer.cancelled:
                call()

        when = self.monotonic() + delay_s
        self._note_deadline(when)
        self._schedule(when, fire)
        return timer

    def every(self, period_s: float, worker: str, work: Callable[[], None]) -> Timer:
        """Do `work` on a worker each `period_s`, first after one period, until cancelled.

        Deadlines are kept on the monotonic clock, so that periods do not add up their delays. A period in
        which the work before is still under way is left out. An error is logged and the next period comes.
        """
        timer = Timer()
        begin = self.monotonic()
        pending: list[Future[Any]] = []
        count = 0

        def tick() -> None:
            if timer.cancelled or self._closed.is_set():
                return
            if not (pending and not pending[0].done()):
                pending[:] = [self.submit(worker, guarded)]
            schedule()

        def guarded() -> None:
            if timer.cancelled:
                return
            try:
                work()
            except Exception:
                logger.exception("periodic work on %r failed", worker)

        def schedule() -> None:
            nonlocal count
            count = max(count + 1, math.ceil((self.monotonic() - begin) / period_s + 1e-9))
            self._schedule(begin + count * period_s, tick, background=True)

        schedule()
        return timer

    def _schedule(self, when: float, call: Callable[[], None], *, background: bool = False) -> None:
        at = (
            super(_Loop, self.loop).call_at
            if background and isinstance(self.loop, _Loop)
            else self.loop.call_at
        )
        if self.on_loop():
            at(when, call)
        else:
            self.loop.call_soon_threadsafe(at, when, call)


class WallClock(Clock):
    """The computer's time, or that time made `speed` times faster for demonstrations.

    Parameters
    ----------
    speed : float
        Laboratory seconds that pass in one real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"a clock's speed is a number above 0, not {speed!r}")
        self.speed = speed
        self._epoch = time.time()  # noqa: TID251 - the clock is where time is read
        self._origin = time.monotonic()
        self._workers: dict[str, ThreadPoolExecutor] = {}
        self._workers_lock = threading.Lock()
        super().__init__()

    def now(self) -> float:
        """Laboratory time in seconds since 1970-01-01 UTC."""
        if self.speed == 1.0:
            return time.time()  # noqa: TID251 - follow the computer's corrections
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        """Laboratory seconds since this clock was made."""
        return (time.monotonic() - self._origin) * self.speed

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of laboratory time."""
        if self.on_loop():
            raise RuntimeError(
                "a wait on the RunEngine's thread would stop everything: use bps.sleep or a worker"
            )
        time.sleep(max(0.0, seconds) / self.speed)  # noqa: TID251 - the clock is where waiting is done

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set, at most `timeout_s`; say whether it is."""
        deadline = self.monotonic() + timeout_s
        while not event.is_set():
            left_s = (deadline - self.monotonic()) / self.speed
            if left_s <= 0:
                return False
            event.wait(min(left_s, _WAIT_SLICE_S))
        return True

    def wait_readable(self, fileno: int, timeout_s: float) -> bool:
        """Wait until a descriptor has something to read, at most `timeout_s`; say whether it has."""
        return bool(select.select([fileno], [], [], max(0.0, timeout_s) / self.speed)[0])

    def patience(self, seconds: float) -> float:
        """Laboratory seconds in which `seconds` of real time pass: wires and threads do not get faster."""
        return seconds * max(1.0, self.speed)

    def submit(self, worker: str, work: Callable[[], Any]) -> Future[Any]:
        """Do `work` on the named worker's thread."""
        with self._workers_lock:
            if worker not in self._workers:
                self._workers[worker] = ThreadPoolExecutor(1, thread_name_prefix=f"ssblab-{worker}")
            return self._workers[worker].submit(work)

    def serve(self, responder: Responder) -> None:
        """Keep a responder answering on a thread of its own until `close`."""

        def work() -> None:
            while not self._closed.is_set():
                due = responder.pump(_SERVE_SLICE_S)
                if due is not None and (left_s := (due - self.monotonic()) / self.speed) > 0:
                    responder.pump(min(left_s, _SERVE_SLICE_S))

        threading.Thread(target=work, daemon=True, name="ssblab-simulated-wires").start()

    def close(self) -> None:
        """Stop the loop and the workers; the clock can't be used afterwards."""
        super().close()
        for pool in self._workers.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _select(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        return selector.select(None if timeout is None else timeout / self.speed)


class VirtualClock(Clock):
    """Discrete-event time: it jumps to the next thing that is to happen, and stands still when idle.

    Work submitted to a worker is done at once by the caller, and simulated instruments answer when they are
    waited for, so that the order of all things, and with it the data, is the same each time.

    Parameters
    ----------
    epoch : float, optional
        Laboratory time at the start, seconds since 1970-01-01 UTC, cut to whole seconds (so that times
        relative to the start come out bit for bit the same in each run). Default: the computer's time.
    """

    def __init__(self, epoch: float | None = None) -> None:
        self._epoch = float(math.floor(time.time() if epoch is None else epoch))  # noqa: TID251
        self._elapsed = 0.0
        self._runners = 0
        self._halted = False
        self._foreground_until = 0.0
        self._lock = threading.RLock()
        self._responders: list[Responder] = []
        self._awaited: list[threading.Event] = []
        self.on_deadlock: Callable[[str], None] = _raise_deadlock
        super().__init__()

    def now(self) -> float:
        """Laboratory time in seconds since 1970-01-01 UTC."""
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        """Laboratory seconds since this clock was made."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; what is due meanwhile happens, unless the loop itself is the caller."""
        if self.on_loop() or not self.loop.is_running():
            self._advance(self._elapsed + max(0.0, seconds))
        else:
            done = threading.Event()
            self.call_later(max(0.0, seconds), done.set)
            self.wait(done, seconds + 1.0)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Let time pass until `event` is set, at most `timeout_s`; say whether it is."""
        if self.on_loop():
            raise RuntimeError("a wait on the loop's own thread would never end")
        if not self.loop.is_running():
            self.start()
        over = threading.Event()
        timer = self.call_later(timeout_s, over.set)
        self._awaited.append(event)
        self._awaited.append(over)
        with self.running():
            while not event.wait(_WAIT_SLICE_S) and not over.is_set():
                pass
        self._awaited.remove(event)
        self._awaited.remove(over)
        timer.cancel()
        return event.is_set()

    def wait_readable(self, fileno: int, timeout_s: float) -> bool:
        """Let simulated instruments answer until the descriptor has something to read, or time is up."""
        deadline = self._elapsed + max(0.0, timeout_s)
        while True:
            due = self._pump()
            if _readable(fileno, 0.0):
                return True
            if due is not None and due <= deadline:
                self._advance(due)
            elif timeout_s <= 0:
                return False
            elif not self._comes_late(fileno, deadline):
                self._advance(deadline)
                self._pump()
                return _readable(fileno, 0.0)

    def submit(self, worker: str, work: Callable[[], Any]) -> Future[Any]:
        """Do `work` here and now."""
        future: Future[Any] = Future()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        return future

    def serve(self, responder: Responder) -> None:
        """Pump the responder whenever somebody waits for it."""
        self._responders.append(responder)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let time pass while a plan or a wait is under way; outside, it stands still."""
        self.resume()
        try:
            yield
        finally:
            self.hold()

    def resume(self) -> None:
        """Let time pass (counted: as many `hold` calls stop it)."""
        with self._lock:
            self._runners += 1
        self.loop.call_soon_threadsafe(lambda: None)

    def hold(self) -> None:
        """Take one `resume` back."""
        with self._lock:
            self._runners -= 1

    def freeze(self) -> None:
        """Stand still until `thaw`, whoever is running: while another thread makes an end."""
        self._halted = True

    def thaw(self) -> None:
        """End a `freeze`, and the standstill of a deadlock."""
        self._halted = False
        self.loop.call_soon_threadsafe(lambda: None)

    def _note_deadline(self, when: float) -> None:
        self._foreground_until = max(self._foreground_until, when)

    def _advance(self, to: float) -> None:
        with self._lock:
            self._elapsed = max(self._elapsed, to)

    def _pump(self) -> float | None:
        with self._lock:
            dues = [due for responder in self._responders if (due := responder.pump(0.0)) is not None]
        return min(dues, default=None)

    def _comes_late(self, fileno: int, deadline: float) -> bool:
        """Give bytes that are on their way real time to arrive, in either direction; say whether any have.

        The kernel delivers on the loopback interface at once, but for a starved machine, where it leaves
        packets to a thread of its own. Slices are counted, not time: that thread may have stood as long.
        """
        slices = 0
        while True:
            grace_s = self._delivery_grace_s(fileno)  # asked before the look: what arrives between is seen
            due = self._pump()
            if _readable(fileno, 0.0) or (due is not None and due <= deadline):
                return True
            if slices * _DELIVERY_SLICE_S >= grace_s:
                return False
            if _readable(fileno, _DELIVERY_SLICE_S):
                return True
            slices += 1

    def _delivery_grace_s(self, fileno: int) -> float:
        if os.isatty(fileno):
            return _PTY_GRACE_S
        try:
            with socket.fromfd(fileno, socket.AF_INET, socket.SOCK_STREAM) as sock:
                with self._lock:
                    client = sock.getsockname()
                    sending = [responder.under_way(client) for responder in self._responders]
                unacknowledged = not_arrived(sock)
        except OSError:
            return _UNKNOWN_GRACE_S
        if unacknowledged is None:
            return _UNKNOWN_GRACE_S
        return _UNDER_WAY_GRACE_S if unacknowledged or any(sending) else 0.0

    def _select(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        events = selector.select(0)
        if events or timeout == 0:
            return events
        if not self._runners or self._halted:
            return selector.select(None)
        if any(event.is_set() for event in self._awaited):
            return selector.select(_WAKE_S)  # time stands still until the waiting thread has woken
        if timeout is None or self._elapsed + timeout > self._foreground_until + 1e-6:
            # Another thread may be about to hand over work; only after a grace is it a deadlock.
            events = selector.select(_DEADLOCK_GRACE_S)
            if not events and self._runners and not self._halted:
                self._halted = True
                self.on_deadlock(
                    "virtual time can't go on: something waits, and nothing is scheduled that could end it "
                    "(a Status without a timeout, or a wait on something outside the laboratory's clock)"
                )
            return events
        if events := selector.select(0):  # handed over since the first look: it comes before time goes on
            return events
        self._advance(self._elapsed + timeout)
        return []


def not_arrived(sock: socket.socket) -> int | None:
    """Count the bytes that a socket has sent and that have not surely arrived; acknowledge what came to it.

    Returns
    -------
    int or None
        None where the system does not tell.

    Raises
    ------
    OSError
        If it is no TCP socket, or a closed one.
    """
    if not sys.platform.startswith("linux"):
        return None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # else the other end knows 40 ms later
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _readable(fileno: int, timeout_s: float) -> bool:
    return bool(select.select([fileno], [], [], timeout_s)[0])


def _raise_deadlock(message: str) -> None:
    raise RuntimeError(message)


def make_clock(text: str, *, epoch: float | None = None) -> Clock:
    """Make the clock that `text` names.

    Parameters
    ----------
    text : str
        "wall", "virtual", or "x10" for a wall clock ten times as fast.
    epoch : float, optional
        Where virtual time starts, seconds since 1970-01-01 UTC.

    Raises
    ------
    ValueError
        If the text names no clock.
    """
    if text == "wall":
        return WallClock()
    if text == "virtual":
        return VirtualClock(epoch)
    if (match := re.fullmatch(r"x(\d+(?:\.\d+)?)", text)) and float(match[1]) > 0:
        return WallClock(float(match[1]))
    raise ValueError(f"no clock {text!r}: use virtual, wall, or a factor such as x10")
