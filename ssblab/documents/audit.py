"""Does the catalog hold what the journals hold? And: make it anew from the journals alone."""

import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from ssblab import catalog
from ssblab.documents.follower import Follower
from ssblab.documents.journal import Damage, JournalTail, RunFilter, journals_folder, start_marker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamDigest:
    """What a stream holds: number of events, first and last `seq_num`, checksum of times and values."""

    count: int
    seq_nums: tuple[int, int]
    checksum: int


@dataclass(frozen=True)
class RunReport:
    """One run as the journal and as the catalog have it, stream by stream.

    Attributes
    ----------
    uid
        The run.
    journal
        Name of the journal's file.
    journalled, filed
        Digest of each stream, in the journal and in the catalog.
    problems
        What differs; empty if all is well.
    """

    uid: str
    journal: str
    journalled: dict[str, StreamDigest]
    filed: dict[str, StreamDigest]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Comparison of all journals of a data folder with its catalog.

    Attributes
    ----------
    runs
        One entry a run in the journals.
    damage
        Damaged lines of each journal that has any.
    """

    runs: tuple[RunReport, ...]
    damage: dict[str, tuple[Damage, ...]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the journals are sound and the catalog agrees with them."""
        return not self.damage and not any(run.problems for run in self.runs)

    def __str__(self) -> str:
        lines = [f"{run.uid}: {'; '.join(run.problems) or 'ok'}" for run in self.runs]
        lines += [f"{name}, line {d.line}: {d.reason}" for name, found in self.damage.items() for d in found]
        return "\n".join(lines)


def verify(
    data_dir: str | Path, where: str | None = None, *, api_key_file: str | Path | None = None
) -> Report:
    """Compare the journals of a data folder with the catalog, event by event.

    Parameters
    ----------
    data_dir
        The data folder.
    where, api_key_file
        The catalog, as for `Follower`.

    Raises
    ------
    ssblab.catalog.CatalogError
        If the catalog cannot be opened.
    """
    if not any(journals_folder(data_dir).glob("*.jsonl")):
        return Report(())  # without the seconds that it takes to open a catalog
    client = catalog.open_client(where or data_dir, api_key_file)
    try:
        return compare(client, data_dir)
    finally:
        client.context.close()


def compare(client: Any, data_dir: str | Path) -> Report:
    """Compare the journals of a data folder with an open catalog (`ssblab.catalog.open_client`)."""
    runs: list[RunReport] = []
    damage: dict[str, tuple[Damage, ...]] = {}
    for path in sorted(journals_folder(data_dir).glob("*.jsonl")):
        runs.extend(_compare(client, path, uid, offset) for uid, offset in _runs_of(path))
        tail = JournalTail(path)
        for _ in tail.read():
            pass
        if tail.damage:
            damage[path.name] = tuple(tail.damage)
    return Report(tuple(runs), damage)


def _runs_of(path: Path) -> list[tuple[str, int]]:
    return [(record.doc["uid"], record.offset) for record in JournalTail(path).read(start_marker())]


def _compare(client: Any, path: Path, uid: str, offset: int) -> RunReport:
    journalled, stopped = _digest_journal(path, uid, offset)
    run = catalog.find_run(client, uid)
    if run is None:
        return RunReport(uid, path.name, journalled, {}, ("absent in the catalog",))
    filed = _digest_catalog(run)
    problems = [
        f"stream {name}: journal {journalled.get(name)}, catalog {filed.get(name)}"
        for name in sorted(journalled.keys() | filed.keys())
        if journalled.get(name) != filed.get(name)
    ]
    if stopped and not run.metadata.get("stop"):
        problems.append("not complete in the catalog")
    return RunReport(uid, path.name, journalled, filed, tuple(problems))


def _digest_journal(path: Path, uid: str, offset: int) -> tuple[dict[str, StreamDigest], bool]:
    from event_model import unpack_event_page

    belongs = RunFilter(uid)
    streams: dict[str, tuple[str, dict[str, str]]] = {}
    sums: dict[str, dict[int, int]] = defaultdict(dict)
    for record in JournalTail(path, offset).read():
        name, doc = record.name, record.doc
        if not belongs.takes(name, doc):
            continue
        if name == "descriptor":
            keys = [key for key, described in doc["data_keys"].items() if "external" not in described]
            streams[doc["uid"]] = doc["name"], catalog.column_names(keys)
            sums[doc["name"]].update({})
        elif name in ("event", "event_page"):
            stream, columns = streams[doc["descriptor"]]
            for event in [doc] if name == "event" else unpack_event_page(doc):  # type: ignore[arg-type]
                values = {columns[key]: value for key, value in event["data"].items() if key in columns}
                sums[stream][event["seq_num"]] = _event_sum(event["seq_num"], event["time"], values)
        elif name == "stop":
            return _digests(sums), True
    return _digests(sums), False


def _digest_catalog(run: Any) -> dict[str, StreamDigest]:
    digests = {}
    for name, node in catalog.stream_nodes(run):
        columns = catalog.stream_columns(node)
        numbers, times = columns.pop("seq_num").tolist(), columns.pop("time").tolist()
        rows: Iterable[tuple[Any, ...]] = zip(*(c.tolist() for c in columns.values()), strict=True)
        rows = rows if columns else [()] * len(numbers)
        sums = [
            _event_sum(number, at, dict(zip(columns, row, strict=True)))
            for number, at, row in zip(numbers, times, rows, strict=True)
        ]
        digests[name] = _digest(sorted(zip(numbers, sums, strict=True)))
    return digests


def _digests(sums: dict[str, dict[int, int]]) -> dict[str, StreamDigest]:
    return {name: _digest(sorted(events.items())) for name, events in sums.items()}


def _digest(events: list[tuple[int, int]]) -> StreamDigest:
    ends = (events[0][0], events[-1][0]) if events else (0, 0)
    return StreamDigest(len(events), ends, crc32(repr(events).encode()))


def _event_sum(number: int, at: float, values: dict[str, Any]) -> int:
    parts = (f"{key}={_canonical(values[key])}" for key in sorted(values))
    return crc32("\n".join((str(number), repr(float(at)), *parts)).encode())


def _canonical(value: Any) -> str:
    """Write a value so that it reads alike before and after a SQL table, which has NULL for NaN."""
    if isinstance(value, list):
        return "[" + ",".join(_canonical(item) for item in value) + "]"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "nan"
    return value if isinstance(value, str) else repr(float(value))


def rebuild(data_dir: str | Path) -> Report:
    """Make the embedded catalog of a data folder anew from its journals, and put it in the old one's place.

    Nobody may have the catalog open meanwhile.

    Returns
    -------
    Report
        Comparison of the new catalog with the journals.

    Raises
    ------
    ssblab.catalog.CatalogError
        If not every run could be filed; the old catalog is then still in place.
    """
    data_dir = Path(data_dir).absolute()
    current, new, old = (data_dir / name for name in ("catalog", "catalog.new", "catalog.old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    with Follower(data_dir, folder=new.name) as follower:
        if not follower.catch_up():
            raise catalog.CatalogError(
                f"Not every run of {data_dir} could be filed anew (see the log): the old catalog stays."
            )
    if not new.exists():
        raise catalog.CatalogError(f"{data_dir} holds no journals: there is nothing to make a catalog of.")
    try:
        if current.exists():
            current.replace(old)
        new.replace(current)
    except OSError as error:
        raise catalog.CatalogError(
            f"The new catalog {new} cannot take the place of {current} ({error}): close whatever has it open."
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    return verify(data_dir)
