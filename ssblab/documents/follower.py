"""The follower: files what stands in the journals in the catalog, exactly once, whatever dies on the way."""

import json
import logging
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from filelock import FileLock, Timeout

from ssblab import catalog
from ssblab.documents.journal import (
    Document,
    JournalError,
    JournalTail,
    Record,
    RunFilter,
    close_torn_journal,
    journals_folder,
    start_marker,
    writer_lock,
)

logger = logging.getLogger(__name__)

CLOSED_BY_SSBLAB = "process ended without closing the run; closed by ssblab at next start"
"""Reason in the stop document of a run whose process died."""

POLL_S = 1.0
"""Time between two looks at the journals, seconds: the age at which events are filed."""

BATCH = 2000
"""Most events that are filed in one go."""

_RETRY_S = (1.0, 60.0)


class _OpenRun:
    """A run on its way from a journal to the catalog."""

    def __init__(self, path: Path, start: Record) -> None:
        self.path = path
        self.uid: str = start.doc["uid"]
        self.done = False
        self.failures = 0
        self.not_before = 0.0
        self.begin = start.offset
        self._provenance = {"journal": path.name, "offset": start.offset, "started": _iso(start.wall)}
        self._replacements: dict[tuple[str, int], Document] = {}
        self.rewind()

    def rewind(self) -> None:
        """Go back to the run's start document: what is in the catalog will be taken out and written again."""
        self._tail = JournalTail(self.path, self.begin)
        self._filter = RunFilter(self.uid)
        self._writer: catalog.RunWriter | None = None
        self._streams: dict[str, str] = {}
        self._waiting: dict[str, list[Document]] = defaultdict(list)
        self._latest: dict[str, int] = defaultdict(int)
        self._counts: dict[str, int] = defaultdict(int)
        self._repeated: dict[tuple[str, int], Document] = {}
        self._last_time = 0.0
        self._seen_damage = 0

    def advance(self, client: Any) -> None:
        """File everything that the journal holds of this run by now."""
        for record in self._tail.read():
            if self._filter.takes(record.name, record.doc):
                self._take(client, record.name, record.doc)
            if self.done:
                return
        self._flush()
        self._tell_damage()

    def _take(self, client: Any, name: str, doc: Document) -> None:
        if name != "event_page":
            self._last_time = doc.get("time", self._last_time)
        if name == "event":
            self._event(doc)
        elif name == "event_page":
            for event in _events_of(doc):
                self._event(event)
        elif name == "descriptor":
            self._flush()
            self._streams[doc["uid"]] = doc["name"]
            self._opened().descriptor(doc)
        elif name == "start":
            self._open(client, doc)
        elif name == "stop":
            self._close(client, doc)
        else:
            logger.warning("Run %s: a %s document stays in the journal alone.", self.uid, name)

    def _open(self, client: Any, start: Document) -> None:
        filed = catalog.find_run(client, self.uid)
        if filed is not None and filed.metadata.get("stop"):
            self.done = True
            return
        if filed is not None:
            catalog.delete_run(client, self.uid)
        self._writer = catalog.RunWriter(client, start, self._provenance)

    def _opened(self) -> catalog.RunWriter:
        if self._writer is None:
            raise JournalError(f"Run {self.uid}: a document stands before the start document.")
        return self._writer

    def _event(self, doc: Document) -> None:
        stream, number = self._streams[doc["descriptor"]], doc["seq_num"]
        self._last_time = doc["time"]
        if number <= self._latest[stream]:
            self._repeated[stream, number] = doc
            return
        self._latest[stream] = number
        self._counts[stream] += 1
        waiting = self._waiting[stream]
        waiting.append(self._replacements.get((stream, number), doc))
        if len(waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        for stream, events in self._waiting.items():
            if events:
                self._opened().events(stream, events)
                self._waiting[stream] = []

    def _close(self, client: Any, stop: Document) -> None:
        if self._repeated.keys() != self._replacements.keys():
            # A rewind: the last event of a number counts. Tables cannot be changed, so write the run again.
            self._replacements = self._repeated
            self.rewind()
            self.advance(client)
            return
        self._flush()
        self._tell_damage()
        notes = {"rewound_events": len(self._replacements)} if self._replacements else {}
        self._opened().stop(stop, **notes)
        self.done = True

    def _tell_damage(self) -> None:
        for damage in self._tail.damage[self._seen_damage :]:
            logger.error("Journal %s, byte %d: %s; left out.", self.path, damage.offset, damage.reason)
        self._seen_damage = len(self._tail.damage)

    def stop_document(self) -> Document:
        """Return the stop document that the run's dead process did not write."""
        return {
            "uid": str(uuid.uuid4()),
            "time": self._last_time,
            "run_start": self.uid,
            "exit_status": "fail",
            "reason": CLOSED_BY_SSBLAB,
            "num_events": dict(self._counts),
        }


def _iso(wall: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(wall, tz=UTC).isoformat(timespec="microseconds")


def _events_of(page: Document) -> Iterator[Document]:
    from event_model import unpack_event_page

    yield from unpack_event_page(page)  # type: ignore[arg-type]


class Follower:
    """Files every journal of a data folder in a catalog; one at a time for a data folder.

    Each event is filed once per run, stream and `seq_num` (of a rewound event the last one), within about
    a second. After any error, or its own death, a run is filed again from its start. No failure of the
    catalog touches a journal: it is logged and tried again.

    Parameters
    ----------
    data_dir
        The data folder.
    where
        The catalog: by default the one in the data folder, else the URI of a Tiled server.
    api_key_file
        For a server: see `ssblab.catalog.open_catalog`.
    folder
        Name of the embedded catalog's folder.
    client
        That catalog, if somebody has it open already (`ssblab.catalog.open_client`).

    Attributes
    ----------
    client
        The open catalog; None as long as there was nothing to file. `close` closes it.
    """

    def __init__(
        self,
        data_dir: str | Path,
        where: str | None = None,
        *,
        api_key_file: str | Path | None = None,
        folder: str = "catalog",
        client: Any = None,
    ) -> None:
        self._data_dir = Path(data_dir).absolute()
        self._where = where
        self._api_key_file = api_key_file
        self._folder = folder
        self._lock = FileLock(self._data_dir / "follower.lock", thread_local=False)
        self.client = client
        self._runs: list[_OpenRun] = []
        self._scanners: dict[Path, JournalTail] = {}
        # What is filed belongs to the catalog: if that is taken away, so is this note.
        note = f"follower-{crc32(where.encode()):08x}.json" if where else f"{folder}/follower.json"
        self._note = self._data_dir / note
        self._filed: dict[str, int] = {}

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def catch_up(self, wait_s: float = 10.0) -> bool:
        """File what the journals hold now, in this process.

        Parameters
        ----------
        wait_s
            Longest wait for another follower of the same folder to do it or to end, seconds.

        Returns
        -------
        bool
            True if everything is in the catalog; False if something is not (the log says what).
        """
        sizes = {path.name: path.stat().st_size for path in self._journals()}
        deadline = time.monotonic() + wait_s
        while True:
            try:
                with self._lock.acquire(timeout=0.2):
                    self._recall()
                    return self._step(impatient=True)
            except Timeout:
                filed = _read_note(self._note)
                if all(filed.get(name, 0) >= size for name, size in sizes.items()):
                    return True
                if time.monotonic() >= deadline:
                    logger.warning("Another follower still files the journals of %s.", self._data_dir)
                    return False

    def follow(self, stop: threading.Event, *, until_idle: bool = False) -> None:
        """File what the journals hold as it comes, until `stop` is set.

        Parameters
        ----------
        stop
            Ends the loop.
        until_idle
            End also when no journal has a living writer and everything is filed.
        """
        while not stop.is_set():
            try:
                with self._lock.acquire(timeout=0.2):
                    self._recall()
                    self._follow(stop, until_idle)
                    return
            except Timeout:
                stop.wait(POLL_S)

    def _follow(self, stop: threading.Event, until_idle: bool) -> None:
        while not stop.is_set():
            idle = until_idle and not any(_is_written(path) for path in self._journals())
            if self._step() and idle:
                return
            stop.wait(POLL_S)

    def close(self) -> None:
        """Close the catalog; the follower can be used again."""
        if self.client is not None:
            self.client.context.close()
        self.client = None
        self._runs = []
        self._scanners = {}

    def _journals(self) -> list[Path]:
        return sorted(journals_folder(self._data_dir).glob("*.jsonl"))

    def _recall(self) -> None:
        """Begin where the last follower ended, unless that was this one."""
        filed = _read_note(self._note)
        if filed != self._filed:
            self._runs, self._scanners, self._filed = [], {}, filed

    def _step(self, impatient: bool = False) -> bool:
        """Read on in every journal once; return whether all that is written has been filed."""
        self._scan()
        healthy = all([self._advance(run, impatient) for run in self._runs])
        for path in {run.path for run in self._runs if not run.done and not run.failures}:
            healthy = self._close_if_dead(path) and healthy
        self._runs = [run for run in self._runs if not run.done]
        self._save()
        return healthy

    def _scan(self) -> None:
        for path in self._journals():
            if path not in self._scanners:
                self._scanners[path] = JournalTail(path, self._filed.get(path.name, 0))
            scanner = self._scanners[path]
            if path.stat().st_size > scanner.offset:
                self._runs.extend(_OpenRun(path, record) for record in scanner.read(start_marker()))

    def _advance(self, run: _OpenRun, impatient: bool) -> bool:
        if time.monotonic() < run.not_before and not impatient:
            return False
        try:
            run.advance(self._opened())
        except Exception as error:
            run.rewind()
            run.not_before = time.monotonic() + min(_RETRY_S[1], _RETRY_S[0] * 2**run.failures)
            run.failures += 1
            logger.error(
                "Run %s is safe in %s but not in the catalog (attempt %d; %s: %s); it will be tried again.",
                run.uid, run.path, run.failures, type(error).__name__, error,
            )  # fmt: skip
            return False
        except BaseException:
            run.rewind()  # Ctrl-C may have come between taking an event and filing it
            raise
        run.failures = 0
        return True

    def _opened(self) -> Any:
        if self.client is None:
            self.client = catalog.open_client(
                self._where or self._data_dir, self._api_key_file, folder=self._folder
            )
        return self.client

    def _close_if_dead(self, path: Path) -> bool:
        """Close the open runs of a journal whose writer has died, in the journal and in the catalog."""
        lock = writer_lock(path)
        try:
            lock.acquire()
        except Timeout:
            return True
        try:
            runs = [run for run in self._runs if run.path == path and not run.done]
            if not all([self._advance(run, True) for run in runs]):
                return False
            dead = [run for run in runs if not run.done]
            close_torn_journal(path, [run.stop_document() for run in dead])
            for run in dead:
                logger.warning("Run %s was left open by its process; it is closed now.", run.uid)
            return all([self._advance(run, True) for run in dead])
        except JournalError as error:
            logger.error("%s", error)
            return False
        finally:
            lock.release()

    def _save(self) -> None:
        filed = {path.name: scanner.offset for path, scanner in self._scanners.items()}
        for run in self._runs:
            filed[run.path.name] = min(filed[run.path.name], run.begin)
        if filed == self._filed or not self._note.parent.is_dir():
            return
        try:
            _write_note(self._note, filed)
        except OSError as error:
            logger.warning("%s cannot be written (%s): the next start looks further back.", self._note, error)
        self._filed = filed


def _is_written(path: Path) -> bool:
    lock = writer_lock(path)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _read_note(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_note(path: Path, filed: dict[str, int]) -> None:
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(filed, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
