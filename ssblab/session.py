"""A session: RunEngine, devices, samples, catalog and safety of one station, as one object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bluesky import Msg, RunEngine
from bluesky.utils import RunEngineInterrupted

from ssblab.catalog import RunData, data_folder
from ssblab.clock import Clock, VirtualClock, make_clock
from ssblab.ending import INTERRUPTED, Ending, PatientWait
from ssblab.filing import Filing, StationLock, stamp
from ssblab.guard import Guard, in_words
from ssblab.links import LinkError, Transcript
from ssblab.packages import check_packages
from ssblab.quantities import BadInput, Value, parse
from ssblab.results import FIGURES_KEY, MEMBER_KEY, figures_of_merit
from ssblab.safety import Interlock, SafeState, outcome
from ssblab.samples import Sample
from ssblab.station import (
    SHORTEST_PERIOD_S,
    DeviceBook,
    Station,
    StationError,
    build_devices,
    build_laboratory,
    load_station,
)
from ssblab.surroundings import Surroundings

if TYPE_CHECKING:
    from databroker.v1 import Broker

__all__ = ["DeviceBook", "RunResult", "Session", "StartUpError", "open_session"]

logger = logging.getLogger(__name__)

_ACTIVE = frozenset({"running", "aborting", "stopping", "halting", "pausing", "suspending"})
_CONNECT_TIMEOUT_S = 60.0


class StartUpError(BadInput):
    """Some of a station's devices did not come up; the message says which and why."""


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
        "success", "abort" or "fail"; "paused" if the plan has paused and waits for `resume` or `RE.abort`.
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


class Session:
    """An open station. Use `open_session`.

    Attributes
    ----------
    RE : bluesky.RunEngine
        Runs plans; each run that it makes ends in the station's safe state.
    devices : DeviceBook
    samples : dict
        Sample records by name.
    station : Station
    clock : Clock
    data_dir : Path
    laboratory
        The simulated laboratory; None at a real station.
    """

    def __init__(
        self,
        station: Station,
        data_dir: Path,
        clock: Clock,
        *,
        transcript: bool = False,
        filed: bool = True,
    ) -> None:
        self.station = station
        self.samples: dict[str, Sample] = dict(station.samples)
        self.data_dir = data_dir
        self.clock = clock
        self.laboratory: Any = None
        with ExitStack() as opened:
            opened.callback(clock.close)
            self._build(opened, transcript or station.data.transcript, filed)
            self._opened = opened.pop_all()

    def _build(self, opened: ExitStack, transcript: bool, filed: bool) -> None:
        """Make all parts; each is closed when a later one can't be made, or with the session."""
        station, clock = self.station, self.clock
        addresses: Mapping[str, str] = {}
        if station.simulated is not None and station.is_simulated:
            self.laboratory = build_laboratory(station.simulated, clock)
            opened.callback(self.laboratory.close)
            addresses = self.laboratory.addresses
        linked: dict[str, Any] = {"transcript": None}
        if transcript:
            linked["transcript"] = Transcript(self.data_dir / "transcripts" / f"{stamp()}.jsonl", clock)
            opened.callback(linked["transcript"].close)
        self._lock = StationLock(self.data_dir, station.name)
        opened.callback(self._lock.release)
        self.devices = DeviceBook(build_devices(station, {"clock": clock}, linked, addresses))
        opened.callback(self._close_links)
        self._filing = Filing(self.data_dir, clock, station.data, filed=filed)
        opened.callback(self._filing.close)
        watched_s = {lock.device: _period_s(lock.period) for lock in station.interlocks}
        self.RE = self._make_run_engine()
        self._ending = Ending(self.RE, clock)
        self._guard = Guard(
            self.RE,
            clock,
            SafeState(clock, [self.devices[name] for name in station.safe_state]),
            [
                Interlock(clock, self.devices[lock.device], _period_s(lock.period))
                for lock in station.interlocks
            ],
            self.end,
            lambda: self._ending.reason,
            Surroundings(
                self.RE,
                clock,
                self.devices,
                station.environment.devices,
                _period_s(station.environment.period),
                watched_s,
                self.end,
            ),
        )
        opened.callback(self._guard.leave)
        opened.callback(self._ending.come_to_rest, "the session was closed")

    def _make_run_engine(self) -> RunEngine:
        run_engine: Any = RunEngine(
            {"station": self.station.name, "versions": _versions(), "time_kind": type(self.clock).__name__},
            loop=self.clock.loop,
            context_managers=[],
            during_task=cast(Any, PatientWait()),
            scan_id_source=self._filing.next_scan_id,
        )
        run_engine.subscribe(self._filing.write)
        run_engine.state_hook = self._state_changed
        run_engine.register_command("rig", self._rig)
        run_engine.register_command("mount", self._mount)
        return run_engine

    # ------------------------------------------------------------------------------------------ starting

    def connect(self) -> None:
        """Connect all devices.

        Raises
        ------
        StartUpError
            Naming every device that did not come up, with its address and the reason.
        StationInUse
            If another process works with this real station.
        """
        if problems := {name: problem for name, problem in self.connections().items() if problem}:
            lines = [f"  {_naming(name, problem)}" for name, problem in problems.items()]
            raise StartUpError(
                f"{len(problems)} of {len(self.devices)} devices of station {self.station.name} did not "
                "come up (the others did):\n" + "\n".join(lines)
            )

    def connections(self) -> dict[str, str]:
        """Connect each device; give "" or the problem, by name.

        Raises
        ------
        StationInUse
            If another process works with this real station.
        """
        if not self.station.is_simulated:
            self._lock.acquire()
        futures = {name: self.clock.submit(name, device.connect) for name, device in self.devices.items()}
        errors: dict[str, Exception] = {}
        for name, future in futures.items():
            try:
                outcome(self.clock, future, _CONNECT_TIMEOUT_S)
            except Exception as error:
                errors[name] = error
        return {name: _problem(name, errors) for name in futures}

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
            If the plan found its input bad before it opened a run.
        """
        self._plan = getattr(plan, "__name__", type(plan).__name__), self._filing.position()
        return self._outcome(lambda: self.RE(plan, **metadata))

    def resume(self) -> RunResult:
        """Let a paused plan go on to its end, and give what came out of all of it."""
        return self._outcome(self.RE.resume)

    def abandon(self, reason: str) -> RunResult:
        """End a paused plan cleanly, and give what came out."""
        return self._outcome(lambda: self._ending.come_to_rest(reason))

    def _outcome(self, go: Callable[[], Any]) -> RunResult:
        name, before = self._plan
        error: Exception | None = None
        try:
            go()
        except BadInput as found:
            if self._filing.position() == before:
                raise
            error = found
        except Exception as found:
            error = found
            logger.debug("plan %s failed", name, exc_info=True)
        starts, stops = self._filing.written_since(before)
        status, reason = self._how_it_ended(error, _of_the_plan(starts, stops))
        uids = tuple(start["uid"] for start in starts)
        return RunResult(
            starts[0].get("plan_name", name) if starts else name,
            uids,
            status,
            reason,
            self._results(starts),
            interrupted=reason.startswith(INTERRUPTED),
        )

    def _how_it_ended(self, error: Exception | None, stops: list[dict[str, Any]]) -> tuple[str, str]:
        if self.RE.state == "paused":
            return "paused", "the plan has paused: s.resume() or RE.abort()"
        interrupted = isinstance(error, RunEngineInterrupted)
        words = "" if error is None else self._ending.reason or "halted" if interrupted else in_words(error)
        failed = next((stop for stop in stops if stop["exit_status"] != "success"), None)
        if failed is not None:
            reason = failed.get("reason") or words
            return failed["exit_status"], words if error is not None and reason == str(error) else reason
        if self._guard.problem:
            return "fail", "; ".join(filter(None, [words, self._guard.problem]))
        if error is None:
            return "success", ""
        return ("abort" if interrupted else "fail"), words

    def _results(self, starts: list[dict[str, Any]]) -> dict[str, Value]:
        own = [start for start in starts if FIGURES_KEY in start and MEMBER_KEY not in start]
        if not own:
            return {}
        try:
            return figures_of_merit(self.run_data(own[0]["uid"]), self.run_data)
        except Exception as error:
            logger.warning("no figures of merit: %s", error)
            return {}

    @property
    def db(self) -> Broker:
        """The catalog, with everything in it that has been measured so far."""
        return self._filing.catalog

    catalog = db

    def run_data(self, uid: str) -> RunData:
        """Read a run of this session into memory, filed or not.

        Raises
        ------
        KeyError
            If the session has not made it.
        """
        return self._filing.run_data(uid)

    def file_documents(self) -> bool:
        """Bring the catalog up to date with the journals; say whether it is."""
        return self._filing.catch_up()

    def end(self, reason: str) -> None:
        """End the running plan cleanly, from any thread: its clean-up and the safe state run."""
        self._ending.end(reason)

    # ------------------------------------------------------------------------------------------- closing

    def close(self) -> None:
        """Close links, journal and clock; what was measured is in the catalog then.

        What a plan without a run has left on (a `mv` at the prompt) is brought to the safe state first.
        """
        self._opened.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_links(self) -> None:
        for device in self.devices.values():
            link = getattr(device, "link", None)
            if link is not None:
                link.close()

    # ----------------------------------------------------------------------------- inside the RunEngine

    def _state_changed(self, new: str, old: str) -> None:
        if isinstance(self.clock, VirtualClock):
            if new in _ACTIVE and old not in _ACTIVE:
                self.clock.resume()
            elif old in _ACTIVE and new not in _ACTIVE:
                self.clock.hold()
        self._ending.state_changed(new)
        self._guard.state_changed(new)

    async def _rig(self, msg: Msg) -> dict[str, Any]:
        """Give the plan its devices; let the simulated operator mount the sample, unless `mount` is False."""
        sample = msg.kwargs.get("sample")
        rig = self.devices.rig(msg.kwargs["families"], msg.kwargs.get("optional", {}), sample)
        if sample is not None and msg.kwargs.get("mount", True):
            await self._mount(msg)
        return rig

    async def _mount(self, msg: Msg) -> bool:
        """Let the simulated operator mount the sample; say whether there is one, who has done it."""
        if self.laboratory is not None:
            self.laboratory.mount(msg.kwargs["sample"].model_dump())
        return self.laboratory is not None


def _of_the_plan(starts: list[dict[str, Any]], stops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stop documents by which a plan is judged: the members of a run have outcomes of their own."""
    opened = {start["uid"] for start in starts}
    members = {start["uid"] for start in starts if start.get(MEMBER_KEY) in opened}
    return [stop for stop in stops if stop["run_start"] not in members]


def _problem(name: str, errors: Mapping[str, Exception]) -> str:
    """Why a device did not come up, "" if it did; what is wrong with its parts is not said again."""
    error = errors.get(name)
    if error is None:
        return ""
    if isinstance(error, LinkError) and error.device != name and error.device in errors:
        return f"it is built on {error.device}, which did not come up"
    return str(error) or type(error).__name__


def _naming(name: str, problem: str) -> str:
    return problem if problem.startswith(f"{name} ") else f"{name}: {problem}"


def _period_s(text: str) -> float:
    return parse(text, "s", name="period", lower=SHORTEST_PERIOD_S)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("ssblab", "bluesky", "ophyd", "databroker")}


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
    StationInUse
        If another process works with this real station.
    """
    check_packages()
    record = station if isinstance(station, Station) else load_station(station)
    kind = time or record.time
    if kind != "wall" and not record.is_simulated:
        raise StationError(f"station {record.name} is real: its time is wall time, not {kind!r}")
    session = Session(
        record, data_folder(data or record.data.folder), make_clock(kind), transcript=transcript
    )
    try:
        session.connect()
        session._filing.recover()
    except BaseException:
        session.close()
        raise
    return session
