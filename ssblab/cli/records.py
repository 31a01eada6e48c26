"""Commands on stored runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssblab.cli.options import DataOption, JsonOption, read_pairs
from ssblab.cli.output import Output, moment, results_table, table
from ssblab.quantities import BadInput

if TYPE_CHECKING:
    from ssblab.catalog import RunData
    from ssblab.documents import Report, StoredRun

__all__ = ["NEGATIVE_INDEX", "page_path", "rebuild", "report", "runs", "show", "verify"]

#: Lets -1, the last run, be no option.
NEGATIVE_INDEX = {"ignore_unknown_options": True}

_LIMIT = 20
_SHORT_UID = 8
_KEYS = {"plan": "plan_name", "sample": "sample.name"}
_JANUARY_FIRST = "0001-01-01"

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Its uid or the beginning of it, its number, or -1 for the last.")
]


def page_path(folder: Path, uid: str) -> Path:
    """Where the report of a run is written if nobody says otherwise."""
    path = folder / "reports" / f"{uid}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def runs(
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value ...", help="plan=... sample=... since=2026-05 until=..."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List stored runs, the latest last; 20 at most if no query is given."""
    output = Output()
    with output.reserved():
        fits = _search(query or [])
        stored = [run for run in _stored(data) if fits(run)]
        found = [_summary(run) for run in (stored if query else stored[-_LIMIT:])]
    if as_json:
        output.json(found)
        return
    rows = (
        (moment(r["time"]), r["plan"], r["sample"], r["exit_status"], r["uid"][:_SHORT_UID]) for r in found
    )
    output.show(table(("when", "plan", "sample", "ended", "run"), rows) if found else "no runs")


def _search(words: list[str]) -> Callable[[StoredRun], bool]:
    """Whether a run has all that is asked for."""
    pairs = read_pairs(words)
    since = _moment("since", pairs.pop("since")) if "since" in pairs else -math.inf
    until = _moment("until", pairs.pop("until")) if "until" in pairs else math.inf

    def fits(run: StoredRun) -> bool:
        in_time = since <= run.start["time"] < until
        return in_time and all(_at(run.start, _KEYS.get(key, key)) == text for key, text in pairs.items())

    return fits


def _at(document: Any, path: str) -> str:
    """What stands at a path such as "sample.name", as text."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return "" if document is None else str(document)


def _moment(key: str, text: str) -> float:
    """Seconds since 1970 of a local date or time, of which the end may be left out."""
    try:
        return datetime.fromisoformat(text + _JANUARY_FIRST[len(text) :]).timestamp()
    except ValueError:
        raise BadInput(f"{key}={text!r}: give a time such as 2026, 2026-05 or 2026-05-31 14:30") from None


def _summary(run: StoredRun) -> dict[str, Any]:
    start, stop = run.start, run.stop
    sample = start.get("sample")
    return {
        "uid": start["uid"],
        "scan_id": start.get("scan_id"),
        "time": start["time"],
        "plan": start.get("plan_name", ""),
        "sample": sample.get("name", "") if isinstance(sample, dict) else sample or "",
        "exit_status": stop.get("exit_status", "open"),
        "reason": stop.get("reason", ""),
    }


def show(run: RunArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show a run: metadata, streams, figures of merit."""
    from ssblab.results import figures_of_merit

    output = Output()
    with output.reserved():
        stored = _read(run, data)
        results = figures_of_merit(stored, lambda uid: _read(uid, data))
    counts = {name: dataset.sizes["time"] for name, dataset in stored.streams.items()}
    if as_json:
        figures = {name: value.as_json() for name, value in results.items()}
        output.json({"start": stored.start, "stop": stored.stop, "streams": counts, "results": figures})
        return
    output.show(table(("of the run", ""), _facts(stored)), table(("stream", "events"), counts.items()))
    if results:
        output.show(results_table(results))


def _facts(stored: RunData) -> Iterator[tuple[str, str]]:
    yield "started", moment(stored.start["time"])
    if stored.stop:
        yield "ended", moment(stored.stop["time"])
        yield "exit status", " ".join([stored.stop["exit_status"], stored.stop.get("reason", "")])
    for key, value in stored.start.items():
        if key != "time":
            parts = value.items() if isinstance(value, dict) else ()
            yield key, ", ".join(f"{name}={part}" for name, part in parts) or str(value)


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write it.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page with pictures of a run."""
    from ssblab.catalog import data_folder
    from ssblab.reports import write_report

    output = Output()
    with output.reserved():
        stored = _read(run, data)
        path = write_report(
            stored,
            out or page_path(data_folder(data), stored.start["uid"]),
            lambda uid: _read(uid, data),
        )
    if as_json:
        output.json({"report": str(path)})
    else:
        output.show(str(path))


def verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Compare the catalog with the journals, event by event; exit code 1 if they differ."""
    from ssblab.catalog import data_folder
    from ssblab.documents import verify

    _tell(lambda: verify(data_folder(data)), as_json)


def rebuild(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Make the catalog anew from the journals."""
    from ssblab.catalog import data_folder
    from ssblab.documents import rebuild

    _tell(lambda: rebuild(data_folder(data)), as_json)


def _tell(audit: Any, as_json: bool) -> None:
    output = Output()
    with output.reserved():
        found: Report = audit()
    if as_json:
        output.json(_audit_json(found))
    else:
        output.show(str(found) or "no runs in the journals")
    raise typer.Exit(0 if found.ok else 1)


def _audit_json(found: Report) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "runs": [
            {
                "uid": run.uid,
                "journal": run.journal,
                "streams": {name: digest.count for name, digest in run.journalled.items()},
                "problems": list(run.problems),
            }
            for run in found.runs
        ],
        "damage": {
            name: [{"line": damage.line, "reason": damage.reason} for damage in lines]
            for name, lines in found.damage.items()
        },
    }


def _stored(data: Path | None) -> list[StoredRun]:
    """All runs of a data folder; those that a dead process has left open are closed before."""
    from ssblab.catalog import data_folder
    from ssblab.documents import Follower, stored_runs
    from ssblab.documents.journal import journals_left_open

    folder = data_folder(data)
    if journals_left_open(folder):
        with Follower(folder) as follower:
            follower.catch_up()
    return stored_runs(folder)


def _read(name: str, data: Path | None) -> RunData:
    found = _named(name, _stored(data))
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs begin with"
        raise BadInput(f"{which} {name!r}: `ssblab runs` lists them")
    return found[0].data()


def _named(name: str, stored: list[StoredRun]) -> list[StoredRun]:
    """The run of a scan number, the last of them; the last but so many; or those whose uid begins so."""
    if not name.removeprefix("-").isdecimal() or len(name) >= _SHORT_UID:
        return [run for run in stored if run.start["uid"].startswith(name)]
    number = int(name)
    if number > 0:
        return [run for run in stored if run.start.get("scan_id") == number][-1:]
    return stored[number:][:1] if -len(stored) <= number < 0 else []
