"""What a floating test of five days, with a record each minute, costs on the CPU, in virtual time.

`python -m benchmarks.floating`. What its hold alone costs, part by part, is in `benchmarks.long_hold`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.long_hold import cpu_s
from plans.floating import floating_test
from ssblab.results import figures_of_merit
from ssblab.session import open_session
from ssblab.station import Station, load_station

SAMPLE = "ncm-in-li-01"
#: The check-ups are quick, so that the hold is what is seen.
HOW = {"potential": "4.25 V", "hold": "5 d", "rate": "2C", "rest": "1 min"}
NEVER = "100 h"


def floated(station: Station, log_every: str, folder: Path) -> tuple[dict[str, int], dict[str, float]]:
    """Events by stream, and seconds by part."""
    parts: dict[str, float] = {}
    opened = []
    parts["session opened"] = cpu_s(lambda: opened.append(open_session(station, data=folder)))
    with opened[0] as session:
        parts["catalog opened, once in a session"] = cpu_s(lambda: session.db)
        uids: list[str] = []
        session.RE.subscribe(lambda _, start: uids.append(start["uid"]), "start")
        plan = floating_test(session.samples[SAMPLE], **HOW, log_every=log_every)
        parts["run: cell, wire, driver, RunEngine, journal"] = cpu_s(lambda: session.RE(plan))
        parts["filed in the catalog"] = cpu_s(session.file_documents)
        runs = []
        parts["read back"] = cpu_s(lambda: runs.append(session.run_data(uids[0])))
        parts["figures of merit"] = cpu_s(lambda: figures_of_merit(runs[0]))
        return {name: stream.sizes["time"] for name, stream in runs[0].streams.items()}, parts


def floating_costs(console: Console) -> None:
    """Print what the parts cost."""
    station = load_station("cells")
    seldom = station.environment.model_copy(update={"period": NEVER})
    bare = station.model_copy(update={"environment": seldom})
    for name, of, log_every in (
        ("a record a minute, the environment too", station, "60 s"),
        ("a record a minute, no environment", bare, "60 s"),
        ("sparser and sparser, no environment", bare, "1 h"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            events, parts = floated(of, log_every, Path(folder))
        table = Table("part", "seconds of CPU", title=name)
        for part, seconds in (*parts.items(), ("together", sum(parts.values()))):
            table.add_row(part, f"{seconds:.1f}")
        console.print(table)
        console.print(", ".join(f"{count} events of {stream}" for stream, count in events.items()))


if __name__ == "__main__":
    floating_costs(Console(width=110))
