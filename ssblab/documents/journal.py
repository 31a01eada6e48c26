"""The journal: every document of a run, one checked line each, before anything else sees it."""

import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from filelock import FileLock, Timeout

Document = dict[str, Any]

GROUP_SYNC_S = 0.15
"""Time that a written event may wait for the disk, seconds; the sync itself comes on top (promise: 0.2 s)."""

_SYNC_AT_ONCE = frozenset({"start", "descriptor", "stop"})
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_CRC_LENGTH = 8
_READ_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16  # more than any stop document


class JournalError(RuntimeError):
    """The journal cannot take a document. The plan must end: what happens next would be unrecorded."""


@dataclass(frozen=True)
class Damage:
    """A line of a journal that is not what was written.

    Attributes
    ----------
    line
        Number of the line, from 1.
    offset
        Byte offset of the line's start.
    reason
        What is wrong with it.
    """

    line: int
    offset: int
    reason: str


class Record(NamedTuple):
    """One sound line of a journal: a document, its times (seconds since the epoch; monotonic) and place."""

    name: str
    doc: Document
    wall: float
    monotonic: float
    offset: int
    end: int


def journals_folder(data_dir: str | Path) -> Path:
    """Return the folder of the journals below the data folder `data_dir`."""
    return Path(data_dir) / "journals"


def writer_lock(path: Path) -> FileLock:
    """Return the lock that the writer of the journal at `path` holds for as long as it lives."""
    return FileLock(f"{path}.lock", timeout=0, thread_local=False)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no place in a document")


_encode_json = json.JSONEncoder(default=_plain, separators=(",", ":"), check_circular=True).encode


def encode_line(name: str, doc: Document, wall: float, monotonic: float, **extra: object) -> bytes:
    """Return the line of a journal for one document.

    Raises
    ------
    JournalError
        If the document holds something that JSON and numpy scalars and arrays cannot express.
    """
    try:
        text = _encode_json({"n": name, "w": wall, "m": monotonic, **extra, "d": doc}).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"The {name} document cannot be written to the journal: {error}.") from error
    return b"%08x %b\n" % (crc32(text), text)


def _decode_line(line: bytes, offset: int) -> Record:
    text = line[_CRC_LENGTH + 1 : -1]
    if line[: _CRC_LENGTH + 1] != b"%08x " % crc32(text):
        raise ValueError("the checksum does not match")
    content = json.loads(text)
    end = offset + len(line)
    return Record(content["n"], content["d"], content["w"], content["m"], offset, end)


class JournalTail:
    """Reads a journal from a byte offset on, as far as it has been written, again and again.

    A line that has no end yet is left for the next reading. A line whose checksum does not match is noted in
    `damage` and passed over: nothing is ever made up from it.

    Parameters
    ----------
    path
        The journal.
    offset
        Byte offset of the line to begin with.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = Path(path)
        self.offset = offset
        self.damage: list[Damage] = []
        self._lines_read = 0

    def read(self, starting: bytes | tuple[bytes, ...] = b"") -> Iterator[Record]:
        """Yield the records that have been completed since the last reading.

        Parameters
        ----------
        starting
            Pass over, unread, the lines whose JSON does not begin so, or in one of these ways.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start, self.offset = self.offset, self.offset + len(line)
                self._lines_read += 1
                if starting and not line.startswith(starting, _CRC_LENGTH + 1):
                    continue  # asked with b"", a line too short to be one would be passed over as well
                try:
                    yield _decode_line(line, start)
                except (ValueError, KeyError, TypeError) as error:
                    self.damage.append(Damage(self._lines_read, start, str(error)))


def read_journal(path: str | Path, damage: list[Damage] | None = None) -> Iterator[tuple[str, Document]]:
    """Yield the documents of a journal in the order in which they were written.

    A torn last line (its writer died) is no document and is left out silently.

    Parameters
    ----------
    path
        The journal.
    damage
        A list that takes what is wrong with damaged lines; the others are readable.
    """
    tail = JournalTail(Path(path))
    for record in tail.read():
        yield record.name, record.doc
    if damage is not None:
        damage.extend(tail.damage)


def start_marker() -> bytes:
    """Return what the JSON of a start document's line begins with."""
    return b'{"n":"start",'


def stop_marker() -> bytes:
    """Return what the JSON of a stop document's line begins with."""
    return b'{"n":"stop",'


def journals_left_open(data_dir: str | Path) -> list[Path]:
    """Return the journals that end within a run and that nobody writes any more."""
    return [path for path in sorted(journals_folder(data_dir).glob("*.jsonl")) if _is_left(path)]


def _is_left(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    if not tail or (last.startswith(stop_marker(), _CRC_LENGTH + 1) and last.endswith(b"\n")):
        return False
    lock = writer_lock(path)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True


class RunFilter:
    """Tells which documents of a journal belong to one run.

    Parameters
    ----------
    uid
        The run's uid.
    """

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._parents: set[str] = set()

    def takes(self, name: str, doc: Document) -> bool:
        """Tell whether a document belongs to the run; to be asked about each document in its order."""
        if name == "start":
            return doc["uid"] == self._uid
        if "run_start" in doc:
            if doc["run_start"] != self._uid:
                return False
            self._parents.add(doc["uid"])
            return True
        parent = doc.get("descriptor") or doc.get("resource") or doc.get("stream_resource")
        return parent in self._parents


def run_documents(path: Path, uid: str, offset: int = 0) -> Iterator[tuple[str, Document]]:
    """Yield the documents of one run from a journal, the run beginning at or after a byte offset."""
    belongs = RunFilter(uid)
    for record in JournalTail(path, offset).read():
        if belongs.takes(record.name, record.doc):
            yield record.name, record.doc
            if record.name == "stop":
                return


def close_torn_journal(path: Path, documents: list[Document]) -> None:
    """Append stop documents to a journal whose writer is dead; the caller holds the journal's lock.

    The torn line that the dying writer may have left is cut off first: it was never acknowledged.

    Raises
    ------
    JournalError
        If the journal cannot be written.
    """
    try:
        with path.open("r+b") as file:
            _cut_torn_line(file.fileno(), os.fstat(file.fileno()).st_size)
            file.seek(0, os.SEEK_END)
            for doc in documents:
                file.write(encode_line("stop", doc, _wall(), time.monotonic(), by="ssblab"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be closed: {error}.") from error


def _cut_torn_line(descriptor: int, size: int) -> None:
    sound = size
    while sound > 0:
        begin = max(0, sound - _READ_BYTES)
        os.lseek(descriptor, begin, os.SEEK_SET)
        newline = os.read(descriptor, sound - begin).rfind(b"\n")
        if newline >= 0:
            sound = begin + newline + 1
            break
        sound = begin
    if sound < size:
        os.ftruncate(descriptor, sound)


def _wall() -> float:
    return datetime.now(tz=UTC).timestamp()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; NTFS journals the entry itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Journal:
    """The file that takes the documents of one session; a document is safe once `write` has returned.

    The file is `<folder>/journals/<name>.jsonl`. A lock file beside it is held while its writer lives.
    After the death of the process nothing acknowledged is lost; after a power cut at most the events of the
    last 0.2 s are (start, descriptor and stop documents are on the disk before `write` returns).

    Parameters
    ----------
    folder
        The data folder.
    name
        Name of the journal: letters, digits, `_`, `.`, `-`, at most 80. Each journal is written once.

    Raises
    ------
    JournalError
        If the name is unusable, if such a journal exists, or if the folder cannot be written.
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise JournalError(f"{name!r} is no name for a journal: use 1 to 80 of A-Z a-z 0-9 _ . -")
        self.path = journals_folder(folder) / f"{name}.jsonl"
        self._lock = writer_lock(self.path)
        self._size = 0
        self._trouble = ""
        self._first = True
        self._unsynced = threading.Event()
        self._closing = threading.Event()
        self._descriptor = self._create()
        self._syncer = threading.Thread(target=self._sync_in_groups, name=f"journal {name}", daemon=True)
        self._syncer.start()

    def _create(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire()
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path, flags, 0o600)
            _sync_folder(self.path.parent)
        except Timeout as error:
            raise JournalError(f"Another process writes the journal {self.path}.") from error
        except FileExistsError as error:
            self._lock.release()
            raise JournalError(f"The journal {self.path} exists already: choose another name.") from error
        except OSError as error:
            self._lock.release()
            raise JournalError(f"The journal {self.path} cannot be created: {error}.") from error
        return descriptor

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, name: str, doc: Document) -> None:
        """Append one document.

        Parameters
        ----------
        name
            Kind of document: "start", "descriptor", "event", "stop", ...
        doc
            The document; numpy scalars and arrays become numbers and lists, NaN and infinity survive.

        Raises
        ------
        JournalError
            If the document was not written; it is then not in the journal, not even in part.
        """
        if self._trouble:
            raise JournalError(self._trouble)
        extra: dict[str, object] = {}
        if self._first:
            extra = {"boot": _boot_id(), "pid": os.getpid(), "host": platform.node()}
        line = encode_line(name, doc, _wall(), time.monotonic(), **extra)
        self._append(line)
        self._first = False
        if name in _SYNC_AT_ONCE:
            self._sync()
        elif not self._unsynced.is_set():
            self._unsynced.set()
        if self._trouble:
            raise JournalError(self._trouble)

    def _append(self, line: bytes) -> None:
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise JournalError(f"The journal {self.path} cannot be written: {error}.") from error
        if written != len(line):
            self._cut_short_write()
            raise JournalError(
                f"The journal {self.path} took {written} of {len(line)} bytes: is the disk full?"
            )
        self._size += written

    def _cut_short_write(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            self._trouble = f"The journal {self.path} ends in a torn line: {error}."

    def _sync(self) -> None:
        self._unsynced.clear()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            # What the system has dropped by now cannot be known: nothing more is promised for this file.
            self._trouble = f"The journal {self.path} cannot be brought to the disk: {error}."

    def _sync_in_groups(self) -> None:
        while not self._closing.is_set():
            self._unsynced.wait()
            self._closing.wait(GROUP_SYNC_S)
            self._sync()

    def close(self) -> None:
        """Bring everything to the disk and give up the file and its lock."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._unsynced.set()
        self._syncer.join()
        os.close(self._descriptor)
        self._lock.release()
        self._trouble = f"The journal {self.path} is closed."
