"""Print what ssblab costs, side by side in one run. Ratios count: the seconds are those of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bluesky import Msg, RunEngine
from rich.console import Console
from rich.table import Table

from benchmarks.cell_physics import cell_costs
from benchmarks.cyclers import cycler_polls
from benchmarks.floating import floating_costs
from benchmarks.long_hold import long_holds
from benchmarks.side_by_side import side_by_side_costs
from benchmarks.steps import program_checks
from benchmarks.streaming import INTERVAL_S, READINGS, streamed
from plans.moisture import moisture_exposure
from ssblab.catalog import open_client
from ssblab.clock import VirtualClock
from ssblab.documents import DocumentStream, Follower, Journal
from ssblab.session import open_session

EVENTS = 3000
CHANNELS = 8
#: Wire and speed of the simulated potentiostat; Windows has no pseudo-terminals.
STREAMS = [("tcp", 1.0), ("tcp", 8.0), *([("pty", 1.0)] if hasattr(os, "openpty") else [])]


class Soft:
    """Eight numbers that cost nothing to read."""

    name = "soft"
    parent = None

    def __init__(self) -> None:
        keys = [f"channel_{i}" for i in range(CHANNELS)]
        self._reading = {key: {"value": 1.5, "timestamp": 0.0} for key in keys}
        self._description = {
            key: {"source": "bench", "dtype": "number", "shape": [], "units": "V"} for key in keys
        }

    def read(self):
        return self._reading

    def describe(self):
        return self._description

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


def counting(device: Soft):
    yield Msg("open_run")
    for _ in range(EVENTS):
        yield Msg("checkpoint")
        yield Msg("create", None, name="primary")
        yield Msg("read", device)
        yield Msg("save")
    yield Msg("close_run")


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def bare_engine() -> float:
    engine = RunEngine({}, context_managers=[])
    return seconds(lambda: engine(counting(Soft())))


def journalled_engine(folder: Path) -> float:
    clock = VirtualClock()
    engine = RunEngine({}, loop=clock.loop, context_managers=[])
    with Journal(folder, "bench") as journal:
        engine.subscribe(DocumentStream(clock, journal))
        return seconds(lambda: engine(counting(Soft())))


def filing(folder: Path) -> float:
    open_client(folder).context.close()  # the first opening imports and makes the databases
    with Follower(folder) as follower:
        return seconds(follower.catch_up)


def start_up(*command: str) -> float:
    return min(
        seconds(lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True))
        for _ in range(3)
    )


def demo(folder: Path) -> tuple[float, float]:
    with open_session("sim", data=folder) as session:
        wall_s = seconds(lambda: session.RE(moisture_exposure(session.samples["argyrodite-01"])))
        return wall_s, session.clock.monotonic()


def main() -> None:
    table = Table("what", "seconds", "rate", "beside")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = bare_engine()
        table.add_row(
            f"bare RunEngine, {EVENTS} events of {CHANNELS} channels", f"{bare:.2f}", _rate(bare), "1"
        )
        journalled = journalled_engine(folder)
        table.add_row(
            "same, with clock and journal", f"{journalled:.2f}", _rate(journalled), f"{journalled / bare:.2f}"
        )
        filed = filing(folder)
        table.add_row("filing them in the catalog", f"{filed:.2f}", _rate(filed), f"{filed / bare:.2f}")
        python = start_up("-c", "pass")
        table.add_row("python, nothing", f"{python:.2f}", "", "1")
        helped = start_up("-m", "ssblab.cli", "--help")
        table.add_row("ssblab --help", f"{helped:.2f}", "", f"{helped / python:.1f}")
        opened = start_up(
            "-c",
            "import tempfile; from ssblab import open_session\n"
            "with tempfile.TemporaryDirectory() as data: open_session('sim', data=data).close()",
        )
        table.add_row("open the simulated station", f"{opened:.2f}", "", f"{opened / python:.1f}")
        wall_s, lab_s = demo(folder / "demo")
        table.add_row(
            "moisture exposure, virtual time",
            f"{wall_s:.2f}",
            f"{lab_s / 3600:.2f} lab hours",
            f"{lab_s / wall_s:.0f} x real time",
        )
    for wire, speed in STREAMS:
        count, took_s, cpu_s = streamed(wire, speed)
        table.add_row(
            f"stream of a potentiostat, {wire}, {speed / INTERVAL_S:.0f} readings/s: {count} of {READINGS}",
            f"{took_s:.2f}",
            f"{count / cpu_s:.0f} readings/s of CPU",
            f"{count / cpu_s / 1000.0:.0f} x 1000/s",
        )
    console = Console(width=110)
    console.print(table)
    cycler_polls(console)
    program_checks(console)
    cell_costs(console)
    long_holds(console)
    floating_costs(console)
    side_by_side_costs(console)


def _rate(duration_s: float) -> str:
    return f"{EVENTS / duration_s:.0f} events/s"


if __name__ == "__main__":
    main()
