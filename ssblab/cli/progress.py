"""Progress of a run on standard error: the plan notes what it does, a thread of the screen looks at it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssblab.cli.output import duration

if TYPE_CHECKING:
    from rich.console import Console

    from ssblab.session import Session

__all__ = ["Activity", "shown"]

_REFRESH_PER_S = 4
_SPARSE_S = 60.0  # between two log lines while the stage stays the same
_FEWEST_DONE = 0.02  # an estimate from less is noise
_MOST_SHOWN = 4
_FILING = "filing the data"


class _Step:
    """One status that the plan waits for, and what it told last."""

    def __init__(self, status: Any) -> None:
        self._what = str(getattr(status, "what", "") or type(status).__name__)
        self._facts: dict[str, Any] = {}
        if hasattr(status, "watch"):
            status.watch(self._note)

    def _note(self, **facts: Any) -> None:
        self._facts = facts

    def line(self, speed: float) -> str:
        """Say how far it is; `speed` is laboratory seconds in a real one."""
        facts = self._facts
        if not facts:
            return self._what
        done = _share_done(facts)
        parts = [str(facts.get("name", self._what)), _reading(facts)]
        elapsed_s = facts.get("time_elapsed")
        if done is not None and elapsed_s and _FEWEST_DONE < done < 1:
            left_s = elapsed_s * (1 - done) / done
            parts.append(f"{done:.0%}, about {duration(left_s)} left ({duration(left_s / speed)} to wait)")
        elif elapsed_s:
            parts.append(f"for {duration(elapsed_s)}")
        return "  ".join(filter(None, parts))


def _share_done(facts: dict[str, Any]) -> float | None:
    fraction = facts.get("fraction")
    if fraction is not None:
        return 1.0 - float(fraction)  # bluesky's `fraction` is what is left
    initial, current, target = (facts.get(key) for key in ("initial", "current", "target"))
    numbers = [n for n in (initial, current, target) if isinstance(n, int | float) and math.isfinite(n)]
    if len(numbers) != 3 or initial == target:
        return None
    return min(1.0, max(0.0, (numbers[1] - numbers[0]) / (numbers[2] - numbers[0])))


def _reading(facts: dict[str, Any]) -> str:
    current, target, unit = facts.get("current"), facts.get("target"), facts.get("unit", "")
    if not isinstance(current, int | float) or not isinstance(target, int | float):
        return ""
    return f"{current:.5g} → {target:.5g} {unit}".rstrip()


class Activity:
    """What a session is doing, noted by hooks of its RunEngine.

    Parameters
    ----------
    title : str
        Name of the plan.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._stage = "connecting"
        self._steps: Sequence[_Step] = ()
        self._session: Session | None = None
        self._lab_begin = 0.0
        self._wall_begin = time.monotonic()

    def watch(self, session: Session) -> None:
        """Begin with the session's plan."""
        self._lab_begin = session.clock.monotonic()
        self._wall_begin = time.monotonic()
        self._session = session
        self._stage = "starting"
        run_engine: Any = session.RE
        run_engine.msg_hook = self._message
        run_engine.waiting_hook = self._waiting

    def pause(self) -> None:
        """Note that the plan waits for somebody."""
        self._stage = "paused; Enter lets it go on, Ctrl-C ends it"
        self._steps = ()

    def finish(self) -> None:
        """Note that the plan is over; what follows is made of its data."""
        self._stage = _FILING
        self._steps = ()

    def _message(self, msg: Any) -> None:
        if msg.command in ("create", "declare_stream"):
            self._stage = msg.kwargs.get("name", self._stage)
        elif msg.command == "close_run":
            self._stage = _FILING

    def _waiting(self, statuses: Any) -> None:
        self._steps = [_Step(status) for status in statuses or ()]

    @property
    def stage(self) -> str:
        """Stream that is being measured, or what is done before and after the plan."""
        return self._stage

    def headline(self) -> str:
        """Say what is being done and for how long."""
        text = f"{self._title}: {self._stage}"
        if self._session is not None:
            text += f", {duration(self._lab_elapsed_s)} of laboratory time"
        return f"{text}, {duration(self._wall_elapsed_s)} waited"

    def lines(self) -> list[str]:
        """Say it all, one line for each step under way."""
        speed = max(self._lab_elapsed_s, 1e-9) / max(self._wall_elapsed_s, 1e-9)
        return [self.headline(), *(f"  {step.line(speed)}" for step in self._steps[:_MOST_SHOWN])]

    @property
    def _lab_elapsed_s(self) -> float:
        return self._session.clock.monotonic() - self._lab_begin if self._session is not None else 0.0

    @property
    def _wall_elapsed_s(self) -> float:
        return time.monotonic() - self._wall_begin


@contextmanager
def shown(activity: Activity, *, silent: bool) -> Iterator[None]:
    """Show an activity while the body runs: live on a terminal, else a line for each stage."""
    if silent:
        yield
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)
    with _live(activity, console) if console.is_terminal else _sparse(activity, console):
        yield


@contextmanager
def _live(activity: Activity, console: Console) -> Iterator[None]:
    from rich.live import Live
    from rich.text import Text

    live = Live(
        get_renderable=lambda: Text("\n".join(activity.lines())),
        console=console,
        refresh_per_second=_REFRESH_PER_S,
        transient=True,
        redirect_stdout=False,
    )
    live.start()
    try:
        yield
    finally:
        try:
            live.stop()
        except OSError:
            pass  # the terminal is gone; the run was ended for that


@contextmanager
def _sparse(activity: Activity, console: Console) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        stage, told_at = "", 0.0
        while not over.wait(1.0 / _REFRESH_PER_S):
            now = time.monotonic()
            if activity.stage != stage or now - told_at >= _SPARSE_S:
                stage, told_at = activity.stage, now
                try:
                    console.print(activity.headline(), soft_wrap=True)
                except OSError:
                    return

    thread = threading.Thread(target=work, daemon=True, name="ssblab-progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
