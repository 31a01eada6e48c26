"""A session: RunEngine, devices, samples, catalog, interlocks and safe state of one station, as one object."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky import Msg, RunEngine
from bluesky.preprocessors import contingency_wrapper, plan_mutator
from bluesky.utils import IllegalMessageSequence, RunEngineInterrupted

from ssblab.catalog import data_folder, open_catalog, run_data
from ssblab.clock import Clock, VirtualClock, make_clock
from ssblab.documents import DocumentStream, Follower, Journal
from ssblab.documents.journal import JournalTail
from ssblab.links import Transcript
from ssblab.quantities import BadInput, Value, parse
from ssblab.results import figures_of_merit
from ssblab.safety import Interlock, SafeState, SafeStep, unconfirmed
from ssblab.samples import ElectrolyteSample
from ssblab.station import Station, StationError, build_devices, find_simulation, load_station

if TYPE_CHECKING:
    from databroker.v1 import Broker

__all__ = ["DeviceBook", "RunResult", "Session", "StartUpError", "open_session"]

logger = logging.getLogger(__name__)

_ACTIVE = frozenset({"running", "aborting", "stopping", "halting", "pausing", "suspending"})
_CONNECT_TIMEOUT_S = 60.0


class StartUpError(RuntimeError):
    """Some of a station's devices did not come up; the message says which and why."""


class DeviceBook(Mapping[str, Any]):
    """Devices by name, as items and as attributes; `of` finds the one of a family."""

    def __init__(self, devices: Mapping[str, Any]) -> None:
        self._devices = dict(devices)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._devices[name]
        except KeyError:
            raise BadInput(f"no device {name!r}; there are {', '.join(self._devices)}") from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._devices[name]
        except KeyError:
            raise AttributeError(f"no device {name!r}; there are {', '.join(self._devices)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._devices]

    def of(self, family: type) -> Any:
        """Give the only device of a family.

        Raises
        ------
        BadInput
            If the station has none of it, or several, so that one must be named.
        """
        found = [name for name, device in self._devices.items() if isinstance(device, family)]
        if len(found) != 1:
            kind = getattr(family, "family", family.__name__)
            several = f"several ({', '.join(found)}): name one" if found else "none: add one to the station file"
            raise BadInput(f"the plan needs a {kind}, and the station has {several}")
        return self._devices[found[0]]


@dataclass(frozen=True)
class RunResult:
    """How a plan ended.

    Attributes
    ----------
    plan : str
        Name of the plan.
    uids : tuple of str
        Runs that it opened.
    exit_status : str
        "success", "abort" or "fail".
    reason : str
        Why, where it is not a success.
    results : dict
        Figures of merit by name.
    interrupted : bool
        Whether a person or a signal ended it.
    """

    plan: str
    uids: tuple[str, ...]
    exit_status: str
    reason: str
    results: dict[str, Value] = field(default_factory=dict)
    interrupted: bool = False


class _SafetyRecord:
    """What the RunEngine reads into the stream `safe_state` before a run closes."""

    name = "safe_state"
    parent = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: list[SafeStep] = []

    def note(self, steps: list[SafeStep]) -> None:
        """Keep what became of the steps."""
        self._steps = steps

    def read(self) -> dict[str, Any]:
        """Read how many steps there were, how many are confirmed, and what is wrong with the rest."""
        confirmed = sum(not step.problem for step in self._steps)
        values = (len(self._steps), confirmed, unconfirmed(self._steps))
        stamp = self._clock.now()
        return {key: {"value": value, "timestamp": stamp} for key, value in zip(_SAFETY_KEYS, values, strict=True)}

    def describe(self) -> dict[str, Any]:
        """Describe the reading."""
        number = {"source": "ssblab", "dtype": "integer", "shape": [], "units": "1"}
        text = {"source": "ssblab", "dtype": "string", "shape": []}
        return dict(zip(_SAFETY_KEYS, (number, number, text), strict=True))

    def read_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}


_SAFETY_KEYS = ("safe_state_steps", "safe_state_confirmed", "safe_state_problem")


class _PatientWait:
    """Blocks the main thread while a plan runs, in slices, so that Ctrl-C is seen on every system."""

    def block(self, blocking_event: threading.Event) -> None:
        """Wait for the event."""
        while not blocking_event.wait(0.1):
            pass


class Session:
    """An open station. Use `open_session`.

    Attributes
    ----------
    RE : bluesky.RunEngine
        Runs plans; each run that it makes ends in the station's safe state.
    devices : DeviceBook
    samples : dict of ElectrolyteSample
    station : Station
    clock : Clock
    data_dir : Path
    """

    def __init__(self, station: Station, data_dir: Path, clock: Clock, *, transcript: bool = False) -> None:
        self.station = station
        self.samples: dict[str, ElectrolyteSample] = dict(station.samples)
        self.data_dir = data_dir
        self.clock = clock
        self._ended_by = ""
        self._open_runs = 0
        self._catalog: Broker | None = None
        self._closed = False
        self.laboratory: Any = None
        addresses: Mapping[str, str] = {}
        if station.simulated is not None:
            self.laboratory = find_simulation(station.simulated)(
                clock, seed=station.simulated.seed, **station.simulated.options
            )
            addresses = self.laboratory.addresses
        self._transcript = self._make_transcript() if transcript or station.data.transcript else None
        self.devices = DeviceBook(
            build_devices(station, {"clock": clock}, {"transcript": self._transcript}, addresses)
        )
        self.RE = self._make_run_engine()
        self._journal: Journal | None = None
        self._safe_state = SafeState(clock, [self.devices[name] for name in station.safe_state])
        self._safety_record = _SafetyRecord(clock)
        self._interlocks = [
            Interlock(clock, self.devices[lock.device], parse(lock.period, "s", name="period", lower=0.1))
            for lock in station.interlocks
        ]

    # ------------------------------------------------------------------------------------------ starting

    def _make_run_engine(self) -> RunEngine:
        run_engine = RunEngine(
            {"station": self.station.name, "versions": _versions(), "time_kind": type(self.clock).__name__},
            loop=self.clock.loop,
            context_managers=[lambda _: _EndSignals(self)],
            during_task=_PatientWait(),
            scan_id_source=self._next_scan_id,
        )
        run_engine.subscribe(self._record)
        run_engine.preprocessors.append(self._guarded)
        run_engine.state_hook = self._state_changed
        run_engine.register_command("rig", self._rig)
        run_engine.register_command("check_interlocks", self._check_interlocks)
        run_engine.register_command("safe_state", self._reach_safe_state)
        if isinstance(self.clock, VirtualClock):
            self.clock.on_deadlock = lambda message: self.end(message)
        return run_engine

    def _make_transcript(self) -> Transcript:
        return Transcript(self.data_dir / "transcripts" / f"{_stamp()}.jsonl", self.clock)

    def connect(self) -> None:
        """Connect all devices.

        Raises
        ------
        StartUpError
            Naming every device that did not come up, with its address and the reason.
        """
        if problems := {name: problem for name, problem in self.connections().items() if problem}:
            lines = [f"  {problem}" for problem in problems.values()]
            raise StartUpError(
                f"{len(problems)} of {len(self.devices)} devices of station {self.station.name} did not "
                "come up (the others did):\n" + "\n".join(lines)
            )

    def connections(self) -> dict[str, str]:
        """Connect each device; give "" or the problem, by name."""
        futures = {name: self.clock.submit(name, device.connect) for name, device in self.devices.items()}
        problems = {}
        for name, future in futures.items():
            try:
                future.result(_CONNECT_TIMEOUT_S)
                problems[name] = ""
            except Exception as error:
                problems[name] = str(error) or type(error).__name__
        return problems

    # ------------------------------------------------------------------------------------------- running

    def run(self, plan: Generator[Msg, Any, Any], **metadata: Any) -> RunResult:
        """Run a plan to its end and give what came out.

        Parameters
        ----------
        plan : generator
            As made by a function of `plans`, or any bluesky plan.
        **metadata
            Goes into the start document.

        Raises
        ------
        BadInput
            If the plan found its input bad; nothing has moved then.
        """
        name = getattr(plan, "__name__", type(plan).__name__)
        before = self._journal_size()
        self._ended_by = ""
        problem = ""
        interrupted = False
        try:
            self.RE(plan, **metadata)
        except BadInput:
            if self._journal_size() == before:
                raise
            raise
        except RunEngineInterrupted:
            interrupted = True
        except Exception as error:
            problem = str(error) or type(error).__name__
            logger.debug("plan %s failed", name, exc_info=True)
        starts, stops = self._written_since(before)
        failed = [stop for stop in stops if stop["exit_status"] != "success"]
        if failed:
            status, reason = failed[0]["exit_status"], failed[0].get("reason") or problem
        elif problem or interrupted:
            status, reason = ("abort" if interrupted else "fail"), self._ended_by or problem
        else:
            status, reason = "success", ""
        uids = tuple(start["uid"] for start in starts)
        plan_name = starts[0].get("plan_name", name) if starts else name
        return RunResult(plan_name, uids, status, reason, self._results(uids), interrupted)

    def _results(self, uids: tuple[str, ...]) -> dict[str, Value]:
        if not uids:
            return {}
        try:
            return figures_of_merit(run_data(self.db[uids[-1]]))
        except Exception as error:
            logger.warning("no figures of merit: %s", error)
            return {}

    @property
    def db(self) -> Broker:
        """The catalog, with everything in it that has been measured so far."""
        self.file_documents()
        if self._catalog is None:
            self._catalog = open_catalog(self._catalog_address, api_key_file=self.station.data.tiled_key_file)
        return self._catalog

    catalog = db

    @property
    def _catalog_address(self) -> str | Path:
        return self.station.data.tiled_uri or self.data_dir

    def file_documents(self) -> bool:
        """Bring the catalog up to date with the journals; say whether it is."""
        with Follower(
            self.data_dir, self.station.data.tiled_uri, api_key_file=self.station.data.tiled_key_file
        ) as follower:
            return follower.catch_up()

    def end(self, reason: str) -> None:
        """End the running plan cleanly, from any thread: its clean-up and the safe state run."""
        if isinstance(self.clock, VirtualClock):
            self.clock.freeze()
        self._ended_by = self._ended_by or reason
        threading.Thread(target=self._abort, args=(self._ended_by,), daemon=True, name="ssblab-end").start()

    def _abort(self, reason: str) -> None:
        for _ in range(100):
            if self.RE.state in ("running", "paused"):
                try:
                    with redirect_stdout(io.StringIO()):  # abort prints first, and fails where nobody reads
                        self.RE.abort(reason)
                    return
                except Exception:
                    logger.exception("the plan could not be ended; trying again")
            threading.Event().wait(0.02)

    def close(self) -> None:
        """Close links, journal and clock; what was measured is in the catalog then."""
        if self._closed:
            return
        self._closed = True
        for interlock in self._interlocks:
            interlock.release()
        for device in self.devices.values():
            link = getattr(device, "link", None)
            if link is not None:
                link.close()
        if self._journal is not None:
            self._journal.close()
            self.file_documents()
        if self.laboratory is not None:
            self.laboratory.close()
        if self._transcript is not None:
            self._transcript.close()
        self.clock.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----------------------------------------------------------------------------- inside the RunEngine

    def _record(self, name: str, doc: dict[str, Any]) -> None:
        self._stream(name, doc)

    @property
    def _stream(self) -> DocumentStream:
        if self._journal is None:
            self._journal = Journal(self.data_dir, f"{_stamp()}-{os.getpid()}")
            self._documents = DocumentStream(self.clock, self._journal)
        return self._documents

    def _journal_size(self) -> int:
        return self._journal.path.stat().st_size if self._journal is not None else 0

    def _written_since(self, offset: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if self._journal is None:
            return [], []
        starts = [r.doc for r in JournalTail(self._journal.path, offset).read(b'{"n":"start"')]
        stops = [r.doc for r in JournalTail(self._journal.path, offset).read(b'{"n":"stop"')]
        return starts, stops

    def _next_scan_id(self, _: Any) -> int:
        path = self.data_dir / "scan_id"
        number = int(path.read_text()) + 1 if path.exists() else 1
        path.write_text(str(number))
        return number

    def _state_changed(self, new: str, old: str) -> None:
        if isinstance(self.clock, VirtualClock):
            if new in _ACTIVE and old not in _ACTIVE:
                self.clock.resume()
            elif old in _ACTIVE and new not in _ACTIVE:
                self.clock.hold()
            if new == "aborting":
                self.clock.thaw()
        if str(new) == "idle" and self._open_runs:  # a halt: no clean-up of the plan has run
            self._open_runs = 0
            self._unwatch()
            self._safety_record.note(self._safe_state.reach())

    def _guarded(self, plan: Generator[Msg, Any, Any]) -> Generator[Msg, Any, Any]:
        """Check interlocks before a run opens; reach the safe state before it closes, or if there is none."""

        def around(msg: Msg) -> tuple[Any, Any]:
            if msg.command == "open_run":
                return self._opening(msg), None
            if msg.command == "close_run":
                return self._closing(msg), None
            return None, None

        def failed(_: Exception) -> Generator[Msg, Any, Any]:
            yield Msg("safe_state")

        return (yield from contingency_wrapper(plan_mutator(plan, around), except_plan=failed, auto_raise=True))

    def _opening(self, msg: Msg) -> Generator[Msg, Any, Any]:
        yield Msg("check_interlocks")
        uid = yield msg
        self._open_runs += 1
        for interlock in self._interlocks:
            interlock.watch(self.end)
        return uid

    def _closing(self, msg: Msg) -> Generator[Msg, Any, Any]:
        if self._open_runs == 1:
            yield Msg("safe_state")
            problem = unconfirmed(self._safety_record._steps)
            yield from self._note_safe_state(msg.run)
            if problem:
                reason = "; ".join(filter(None, [msg.kwargs.get("reason"), f"safe state not confirmed: {problem}"]))
                msg = msg._replace(kwargs={**msg.kwargs, "exit_status": "fail", "reason": reason})
            self._unwatch()
        if msg.kwargs.get("exit_status") == "abort" and not msg.kwargs.get("reason"):
            msg = msg._replace(kwargs={**msg.kwargs, "reason": self._ended_by})
        self._open_runs = max(0, self._open_runs - 1)
        return (yield msg)

    def _unwatch(self) -> None:
        for interlock in self._interlocks:
            interlock.release()

    def _note_safe_state(self, run: Any) -> Generator[Msg, Any, None]:
        try:
            yield Msg("drop", run=run)
        except IllegalMessageSequence:
            pass  # no half-made event was left behind
        yield Msg("create", None, name="safe_state", run=run)
        yield Msg("read", self._safety_record, run=run)
        yield Msg("save", run=run)

    async def _rig(self, msg: Msg) -> dict[str, Any]:
        """Give the plan its devices, and let the simulated operator mount the sample."""
        rig = {role: self.devices.of(family) for role, family in msg.kwargs["families"].items()}
        if self.laboratory is not None and msg.kwargs.get("sample") is not None:
            self.laboratory.mount(msg.kwargs["sample"].model_dump())
        return rig

    async def _check_interlocks(self, _: Msg) -> None:
        for interlock in self._interlocks:
            await self._off_loop(interlock.check)

    async def _reach_safe_state(self, _: Msg) -> None:
        self._safety_record.note(await self._off_loop(self._safe_state.reach))

    async def _off_loop(self, work: Callable[[], Any]) -> Any:
        if isinstance(self.clock, VirtualClock):
            return work()
        return await asyncio.get_running_loop().run_in_executor(None, work)


class _EndSignals:
    """While a plan runs, SIGINT, SIGTERM and SIGHUP end it cleanly; bluesky's own handling does not."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._received)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _received(self, number: int, _: Any) -> None:
        name = signal.Signals(number).name
        if name == "SIGHUP":  # the terminal is gone: whatever prints would raise
            null = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - stays open to the end
            sys.stdout = sys.stderr = null
        self._session.end(f"interrupted by {name}")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("ssblab", "bluesky", "ophyd", "databroker")}


def _stamp() -> str:
    return datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")


def open_session(
    station: str | Path | Station = "sim",
    *,
    data: str | Path | None = None,
    time: str | None = None,
    transcript: bool = False,
) -> Session:
    """Open a station: build its devices, connect them, and be ready to run plans.

    Parameters
    ----------
    station : str, Path or Station
        Name of a station that comes with ssblab, or a station file.
    data : str or Path, optional
        Data folder; else the station's, else `$SSBLAB_DATA`, else the platform's user data folder.
    time : str, optional
        "virtual", "wall" or "x10" (ten times as fast); default: the station's.
    transcript : bool
        Note all bytes to and from the instruments, below the data folder.

    Raises
    ------
    StationError
        With all mistakes of the station file.
    StartUpError
        With all devices that did not come up.
    """
    record = station if isinstance(station, Station) else load_station(station)
    kind = time or record.time
    if kind != "wall" and record.simulated is None:
        raise StationError(f"station {record.name} is real: its time is wall time, not {kind!r}")
    folder = data_folder(data or record.data.folder)
    session = Session(record, folder, make_clock(kind), transcript=transcript)
    try:
        session.connect()
    except BaseException:
        session.close()
        raise
    return session
