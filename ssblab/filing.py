"""The data folder of a session: its journal, the catalog made of journals, scan numbers, and locks."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ssblab.catalog import RunData, as_broker, open_client
from ssblab.clock import Clock, VirtualClock
from ssblab.documents import DocumentStream, Follower, Journal
from ssblab.documents.journal import JournalTail, journals_left_open, start_marker, stop_marker
from ssblab.documents.stored import journalled_runs
from ssblab.station import Data

if TYPE_CHECKING:
    from databroker.v1 import Broker

__all__ = ["Filing", "StationInUse", "StationLock", "stamp"]

logger = logging.getLogger(__name__)

_SCAN_LOCK_S = 10.0


class StationInUse(RuntimeError):
    """Another process works with the station; the message says which."""


def stamp() -> str:
    """Name files by the time: sortable, and the same on every system."""
    return datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")


class Filing:
    """Journals a session's documents and has them filed in the catalog.

    In virtual time they are filed when somebody asks for the catalog. By the wall clock a process of its own
    files them within seconds, so that others can look at a run while it goes on.

    Parameters
    ----------
    folder : Path
        The data folder.
    data : Data
        The station's settings.
    filed : bool
        Without, documents are journalled alone.
    """

    def __init__(self, folder: Path, clock: Clock, data: Data, *, filed: bool = True) -> None:
        self._folder = folder
        self._clock = clock
        self._data = data
        self._filed = filed
        self._journal: Journal | None = None
        self._stream: DocumentStream | None = None
        self._client: Any = None
        self._catalog: Broker | None = None

    def write(self, name: str, doc: dict[str, Any]) -> None:
        """Journal one document; the first begins the session's journal."""
        if self._stream is None:
            self._journal = Journal(self._folder, f"{stamp()}-{os.getpid()}")
            self._stream = DocumentStream(self._clock, self._journal)
            self._follow()
        self._stream(name, doc)

    def position(self) -> int:
        """Where the journal ends now."""
        return self._journal.path.stat().st_size if self._journal is not None else 0

    def written_since(self, position: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Start and stop documents behind a position."""
        if self._journal is None:
            return [], []
        path = self._journal.path
        starts = [record.doc for record in JournalTail(path, position).read(start_marker())]
        stops = [record.doc for record in JournalTail(path, position).read(stop_marker())]
        return starts, stops

    def next_scan_id(self, _: Any = None) -> int:
        """Count the runs of a data folder, whichever process makes them."""
        path = self._folder / "scan_id"
        with FileLock(self._folder / "scan_id.lock", timeout=_SCAN_LOCK_S):
            try:
                number = 1 + (int(path.read_text()) if path.exists() else 0)
            except ValueError:
                raise RuntimeError(
                    f"{path} holds no number: write the last scan_id into it, or delete it"
                ) from None
            new = path.with_suffix(".new")
            new.write_text(str(number))
            new.replace(path)
        return number

    @property
    def catalog(self) -> Broker:
        """The catalog, with everything in it that has been measured so far."""
        self.catch_up()
        if self._catalog is None:
            if self._client is None:
                where = self._data.tiled_uri or self._folder
                self._client = open_client(where, self._data.tiled_key_file)
            self._catalog = as_broker(self._client)
        return self._catalog

    def run_data(self, uid: str) -> RunData:
        """Read a run of this session from its journal, filed or not.

        Raises
        ------
        KeyError
            If the session has not made it.
        """
        runs = journalled_runs(self._journal.path) if self._journal is not None else ()
        for run in runs:
            if run.start["uid"] == uid:
                return run.data()
        raise KeyError(uid)

    def catch_up(self) -> bool:
        """Bring the catalog up to date with the journals; say whether it is."""
        where, key_file = self._data.tiled_uri, self._data.tiled_key_file
        follower = Follower(self._folder, where, api_key_file=key_file, client=self._client)
        done = follower.catch_up()
        self._client = follower.client  # to open it takes a second
        return done

    def recover(self) -> None:
        """File the runs that a dead process has left open, if there are any, closed with that reason."""
        if left := [path.name for path in journals_left_open(self._folder)]:
            logger.warning("a process died in the middle of a run; its data are filed (%s)", ", ".join(left))
            if isinstance(self._clock, VirtualClock):
                self.catch_up()
            else:
                self._follow()

    def close(self) -> None:
        """Close the journal and file what it holds."""
        if self._journal is not None:
            self._journal.close()
            if self._filed:
                self.catch_up()
        if self._client is not None and self._catalog is None:  # else somebody may still look into it
            self._client.context.close()
            self._client = None

    def _follow(self) -> None:
        if self._filed and not isinstance(self._clock, VirtualClock):
            threading.Thread(target=self._run_follower, daemon=True, name="ssblab-follower").start()

    def _run_follower(self) -> None:
        """Run a follower, which outlives this process and ends by itself; its trouble is none of a plan's."""
        command = [sys.executable, "-P", "-m", "ssblab.documents", str(self._folder)]
        if self._data.tiled_uri is not None:
            command += ["--catalog", self._data.tiled_uri]
        if self._data.tiled_key_file is not None:
            command += ["--api-key-file", str(self._data.tiled_key_file)]
        try:
            with (self._folder / "follower.log").open("ab") as log:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                    start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
        except OSError as error:
            logger.error("runs are journalled but not filed while they go on: %s", error)


class StationLock:
    """Held by the one process that works with a real station; the system frees it when the process dies."""

    def __init__(self, folder: Path, station: str) -> None:
        self._station = station
        self._owner = folder / f"station-{station}.json"
        self._lock = FileLock(folder / f"station-{station}.lock", timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Take the station, if it is not taken already.

        Raises
        ------
        StationInUse
            If another session has it.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except Timeout:
            raise StationInUse(
                f"station {self._station} is in use by {self._told()}: two programs on one instrument spoil "
                "each other's replies; end that one first"
            ) from None
        owner = {"pid": os.getpid(), "host": platform.node(), "since": stamp()}
        self._owner.write_text(json.dumps(owner), encoding="utf-8")

    def release(self) -> None:
        """Give the station back."""
        self._lock.release()

    def _told(self) -> str:
        try:
            owner = json.loads(self._owner.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']}, since {owner['since']} UTC"
        except (OSError, ValueError, KeyError):
            return "another process"
