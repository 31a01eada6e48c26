"""Runs read from the journals alone: at once and as they were measured, with or without a catalog."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssblab.catalog import RunData, StreamLayout, dataset
from ssblab.documents.journal import (
    Document,
    JournalTail,
    journals_folder,
    run_documents,
    start_marker,
    stop_marker,
)


@dataclass(frozen=True)
class StoredRun:
    """A run in a journal.

    Attributes
    ----------
    start, stop
        Its documents; `stop` is empty while the run is open.
    started
        Wall time of its start, seconds since the epoch, whatever time it carries.
    """

    start: Document
    stop: Document
    started: float
    _path: Path = field(repr=False)
    _offset: int = field(repr=False)

    def data(self) -> RunData:
        """Read the run into memory, as `ssblab.catalog.run_data` does once it is filed.

        Only what marks a missing text or truth value may be another.
        """
        return _run_data(run_documents(self._path, self.start["uid"], self._offset))


def stored_runs(data_dir: str | Path) -> list[StoredRun]:
    """Return the runs in the journals of a data folder, in the order in which they were started."""
    paths = sorted(journals_folder(data_dir).glob("*.jsonl"))
    return sorted((run for path in paths for run in journalled_runs(path)), key=lambda run: run.started)


def journalled_runs(path: Path) -> Iterator[StoredRun]:
    """Yield the runs of one journal."""
    starts, stops = [], {}
    for record in JournalTail(path).read((start_marker(), stop_marker())):
        if record.name == "start":
            starts.append(record)
        else:
            stops[record.doc["run_start"]] = record.doc
    for record in starts:
        stop = stops.get(record.doc["uid"], {})
        yield StoredRun(record.doc, stop, record.wall, path, record.offset)


def _run_data(documents: Iterable[tuple[str, Document]]) -> RunData:
    from event_model import unpack_event_page

    start: Document = {}
    stop: Document = {}
    names: dict[str, str] = {}
    descriptors: dict[str, Document] = {}
    events: dict[str, dict[int, Document]] = {}
    for name, doc in documents:
        if name == "start":
            start = doc
        elif name == "stop":
            stop = doc
        elif name == "descriptor":
            names[doc["uid"]] = doc["name"]
            descriptors.setdefault(doc["name"], doc)
            events.setdefault(doc["name"], {})
        elif name in ("event", "event_page"):
            page: Any = doc
            for event in [doc] if name == "event" else unpack_event_page(page):
                events[names[doc["descriptor"]]][event["seq_num"]] = dict(event)  # a rewound one: the last
    streams = {
        name: _dataset(descriptor, list(events[name].values())) for name, descriptor in descriptors.items()
    }
    return RunData(start, stop, streams)


def _dataset(descriptor: Document, events: list[Document]) -> Any:
    layout = StreamLayout(descriptor)
    units = {key: described.get("units") or "" for key, described in layout.keys.items()}
    return dataset(layout.columns(events), units)
