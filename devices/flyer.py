"""What runs in the instrument: prepared, started, watched, and fetched with the instrument's own times.

A device that can do this is a `FlyingDevice`. It has one `Flyer` (a bluesky flyer) for each set of columns
that its measurements give: bluesky asks a flyer only once in a run what it collects, so a potentiostat has
one for spectra and another for courses in time.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from devices.instrument import LabDevice
from devices.status import Status
from ssblab.clock import Timer
from ssblab.links import LinkClosed, LinkTimeout

__all__ = ["Column", "Flyer", "FlyingDevice", "MeasurementStopped", "Row", "Task"]

logger = logging.getLogger(__name__)

_LOOKS = 200  # at a measurement that takes its longest time
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.5, 10.0
_SECURE_S = 5.0  # between two attempts to bring a device that can't be reached into its safe state


class MeasurementStopped(RuntimeError):
    """A measurement was ended before its end."""


class Task(Protocol):
    """What a device is told to measure; a frozen dataclass that checks its own numbers."""

    @property
    def points(self) -> int | None:
        """Number of rows that it gives, or None if its course decides that."""

    def longest_s(self) -> float:
        """Longest time that it can take, from physics, with a margin."""

    def silence_s(self, rows: int) -> float:
        """Longest time that may pass without a further row, after so many rows."""


@dataclass(frozen=True)
class Column:
    """One column of what a flyer collects; the unit is "" for words."""

    unit: str
    doc: str
    precision: int = 6


@dataclass(frozen=True)
class Row:
    """One line of a measurement: the time (s since 1970, from the instrument's time base) and its values."""

    time: float
    values: Mapping[str, float | str]


@dataclass
class _Run:
    """A measurement under way, or the last one."""

    task: Task
    begin: float
    heard: float  # when the last row came
    rows: deque[Row] = field(default_factory=deque)  # not collected yet
    count: int = 0  # of all rows
    done: Future[None] = field(default_factory=Future)
    lost: float | None = None  # since when the instrument has not answered
    status: Status | None = None
    timer: Timer | None = None


class Flyer:
    """One kind of measurement of a device, as bluesky flies it.

    `prepare` takes a task and checks it, `kickoff` starts it in the instrument, `complete` ends when it has
    ended, `collect_pages` gives one event a row. Data keys begin with the device's name.

    Parameters
    ----------
    device : FlyingDevice
        Whose it is; its configuration is that of the streams.
    kind : str
        "impedance", "course", "records": what the flyer is called in messages.
    columns : mapping
        What each row has.
    """

    parent = None

    def __init__(self, device: FlyingDevice, kind: str, columns: Mapping[str, Column]) -> None:
        self.device = device
        self.kind = kind
        self.columns = dict(columns)
        self.name = device.name  # a device has one flyer in a stream
        self.run: _Run | None = None
        self._prepared: Task | None = None
        self._start: Future[None] | None = None

    @property
    def flying(self) -> bool:
        """Whether a measurement is under way."""
        return self.run is not None and not self.run.done.done()

    @property
    def starting(self) -> bool:
        """Whether a start was told and is not over."""
        return self._start is not None and not self._start.done()

    def prepare(self, task: Task) -> Status:
        """Take a task for the next `kickoff`; outputs stay as they are.

        Raises
        ------
        LimitError
            If the task leaves the device's limits; nothing was sent then.
        RuntimeError
            If the device measures already.
        """
        self.device.check_idle()
        self.device.check_task(task)
        return self.device.do(f"prepare {self.kind}", lambda: self._take(task))

    def kickoff(self) -> Status:
        """Start the measurement; done when the instrument has accepted it.

        Raises
        ------
        RuntimeError
            If nothing was prepared, or the device measures already.
        """
        if self._prepared is None:
            raise RuntimeError(f"{self.name}: prepare a measurement ({self.kind}) before its kickoff")
        device, task = self.device, self._prepared
        device.check_idle()
        self._start = device.clock.submit(device.name, lambda: device.start_flight(self, task))
        longest_s = device.clock.patience(device.action_timeout_s)
        return Status(device.clock, f"{device.name}: start {self.kind}", longest_s).follow(self._start)

    def complete(self) -> Status:
        """Wait for the end of the measurement; its progress is told in rows.

        Raises
        ------
        RuntimeError
            If nothing was started.
        """
        run = self.run
        if run is None:
            raise RuntimeError(f"{self.name}: no measurement ({self.kind}) was started")
        clock = self.device.clock
        left_s = run.task.longest_s() - (clock.monotonic() - run.begin)
        look_s = self.device.look_period_s(run.task)
        timeout_s = max(left_s, 0.0) + 2 * look_s + self.device.action_timeout_s
        run.status = Status(clock, f"{self.device.name}: {self.kind}", timeout_s)
        return run.status.follow(run.done)

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Describe the events of `collect_pages`; the plan names their stream."""
        source = self.device.source
        described: dict[str, dict[str, Any]] = {}
        for name, column in self.columns.items():
            key = f"{self.device.name}_{name}"
            if column.unit:
                described[key] = {
                    "source": source,
                    "dtype": "number",
                    "shape": [],
                    "units": column.unit,
                    "precision": column.precision,
                }
            else:
                described[key] = {"source": source, "dtype": "string", "shape": []}
        return described

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Give the rows measured since the last call, one event each, as a page: single events cost more."""
        rows = self.take_rows()
        if not rows:
            return
        times = [row.time for row in rows]
        data = {f"{self.device.name}_{name}": [row.values[name] for row in rows] for name in self.columns}
        yield {"time": times, "data": data, "timestamps": dict.fromkeys(data, times)}

    def take_rows(self) -> list[Row]:
        """Take the rows measured since the last call out of the flyer."""
        waiting: deque[Row] = self.run.rows if self.run is not None else deque()
        return [waiting.popleft() for _ in range(len(waiting))]

    def read_configuration(self) -> dict[str, Any]:
        """Read the device's configuration."""
        return dict(self.device.read_configuration())

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the device's configuration."""
        return dict(self.device.describe_configuration())

    def _take(self, task: Task) -> None:
        self._prepared = task
        self.device.task_taken(task)


class FlyingDevice(LabDevice):
    """A device whose measurements run in the instrument, one at a time.

    A subclass fills `flyers` in its constructor and gives the hooks; all of them but `check_task` run on the
    worker.
    """

    #: How long a task goes on in an instrument that can't be reached; 0 where nobody would keep its data.
    longest_link_loss_s: ClassVar[float] = 0.0

    def __init__(self, **kwargs: Any) -> None:
        self.flyers: dict[str, Flyer] = {}
        self._flyer: Flyer | None = None  # of the last measurement
        self._securing: Timer | None = None
        super().__init__(**kwargs)

    @property
    def measuring(self) -> bool:
        """Whether a measurement is under way."""
        return self._flyer is not None and self._flyer.flying

    @property
    def source(self) -> str:
        """Whose numbers these are, for event descriptors."""
        return str(getattr(self, "identity", None) or getattr(self, "model", "") or self.family)

    @abstractmethod
    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that does a task.

        Raises
        ------
        TypeError
            If the device can't do such a task.
        """

    @abstractmethod
    def check_task(self, task: Any) -> None:
        """Raise LimitError if a task leaves the limits."""

    def task_taken(self, task: Any) -> None:
        """Record what belongs to the configuration of the streams to come."""

    @abstractmethod
    def begin(self, task: Any) -> None:
        """Start a task in the instrument, its limits first.

        Raises
        ------
        LinkError
            If the instrument did not accept it, or it is not known whether it did.
        """

    @abstractmethod
    def listen(self) -> bool:
        """Hand what has come from a running task to `add_rows`; say whether the task is over.

        Raises
        ------
        LinkError
            If the instrument reports a fault, or the link is lost.
        """

    @abstractmethod
    def switch_off(self) -> None:
        """End what runs in the instrument, switch its outputs off and read that back."""

    @abstractmethod
    def read_at_rest(self) -> None:
        """Read what can be read while nothing runs; raise InstrumentError if an output is on."""

    def read_running(self) -> None:
        """Read what can be read while a task runs, on request."""

    def poll(self) -> None:
        """Read the quantities.

        Raises
        ------
        InstrumentError
            If an output is on though nothing runs.
        """
        if self.measuring:
            self.read_running()
        else:
            self.read_at_rest()

    def make_safe(self) -> None:
        """End what runs, switch the outputs off, and have that confirmed; tried again later if it fails.

        Raises
        ------
        LinkError
            If an output may be on.
        """
        error = self._secure()
        self._end(MeasurementStopped(f"{self.name}: the measurement was stopped {self.so_far()}"))
        if error is not None:
            raise error

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Take over rows of the running measurement."""
        run = self._running()
        if run is None or not rows:
            return
        run.rows.extend(rows)
        run.count += len(rows)
        run.heard = self.clock.monotonic()

    def heard(self) -> None:
        """Note that the instrument is known to measure on, though it has no row to give yet."""
        if (run := self._running()) is not None:
            run.heard = self.clock.monotonic()

    def running_task(self) -> Any:
        """Task under way, or None."""
        run = self._running()
        return None if run is None else run.task

    def check_idle(self) -> None:
        """Raise RuntimeError if a measurement is under way."""
        if self.measuring:
            raise RuntimeError(f"{self.name}: a measurement is under way")

    def start_flight(self, flyer: Flyer, task: Any) -> None:
        """Start a task and look after it from then on; on the worker.

        Raises
        ------
        RuntimeError
            If another was started since the kickoff was told; that one goes on.
        """
        self.check_idle()
        now = self.clock.monotonic()
        previous = self._flyer, flyer.run
        run = _Run(task, begin=now, heard=now)
        self._flyer, flyer.run = flyer, run  # rows may come while it starts
        try:
            self.begin(task)
        except Exception:
            self._flyer, flyer.run = previous
            self._secure()
            raise
        self._stop_securing()
        run.timer = self.clock.every(self.look_period_s(task), self.name, self._look)

    def look_period_s(self, task: Any) -> float:
        """How often to listen to a running task: a fixed share of the longest time that it can take.

        An end, a fault or a lost link is noticed that much later at most, and what the task gives comes that
        often.
        """
        return min(max(task.longest_s() / _LOOKS, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)

    def so_far(self) -> str:
        """How far the last measurement has come, for messages."""
        run = self._flyer.run if self._flyer is not None else None
        if run is None:
            return ""
        return f"after {run.count}" + (f" of {run.task.points}" if run.task.points else "") + " points"

    def _running(self) -> _Run | None:
        run = self._flyer.run if self._flyer is not None else None
        return None if run is None or run.done.done() else run

    def _look(self) -> None:
        run = self._running()
        if run is None:
            return
        try:
            over = self._listen(run)
            run.lost = None
            if not over:
                self._check_progress(run)
                return
            if run.task.points is not None and run.count != run.task.points:
                raise self.refused(f"the measurement ended {self.so_far()}")
            self.read_at_rest()
        except (LinkTimeout, LinkClosed) as error:
            run.lost = self.clock.monotonic() if run.lost is None else run.lost
            lost_s = self.clock.monotonic() - run.lost
            if lost_s < self.longest_link_loss_s:
                logger.warning("%s: not reached, tried for %.0f s: %s", self.name, lost_s, error)
                return
            self._fail(error)
        except Exception as error:
            self._fail(error)
        else:
            self._end(None)

    def _fail(self, error: Exception) -> None:
        self._secure()
        self._end(error)

    def _listen(self, run: _Run) -> bool:
        before = run.count
        try:
            return self.listen()
        finally:
            if run.count > before and run.status is not None:
                run.status.progress(
                    name=f"{self.name}: measurement",
                    current=run.count,
                    initial=0,
                    target=run.task.points,
                    unit="points",
                    time_elapsed=self.clock.monotonic() - run.begin,
                )

    def _check_progress(self, run: _Run) -> None:
        now = self.clock.monotonic()
        silence_s = now - run.heard
        if silence_s > run.task.silence_s(run.count) or now - run.begin > run.task.longest_s():
            raise self.refused(f"no point for {silence_s:.0f} s, {self.so_far()}")

    def _end(self, error: Exception | None) -> None:
        run = self._running()
        if run is None:
            return
        if run.timer is not None:
            run.timer.cancel()
        if error is None:
            run.done.set_result(None)
        else:
            run.done.set_exception(error)

    def _secure(self) -> Exception | None:
        """Reach the safe state now; if that fails, try again until it is reached, and return the error."""
        self._stop_securing()
        try:
            self.switch_off()
        except Exception as error:  # of whatever kind: the output is on all the same
            logger.error("%s: an output may be on: %s", self.name, error)
            self._securing = self.clock.every(_SECURE_S, self.name, self._try_to_secure)
            return error
        return None

    def _try_to_secure(self) -> None:
        self.switch_off()
        self._stop_securing()
        logger.warning("%s: in its safe state again", self.name)

    def _stop_securing(self) -> None:
        if self._securing is not None:
            self._securing.cancel()
            self._securing = None
