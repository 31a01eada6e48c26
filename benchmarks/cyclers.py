"""What it costs to follow 64 channels of a cycler, each second, from one process, in real time.

The simulated machine runs in a process of its own: `python -m benchmarks.cyclers`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from devices.families.cycler_program import CellLimits, Program, Step
from devices.neware import NewareBts, NewareChannel
from ssblab.clock import WallClock

CHANNELS = 64
SECONDS = 30
PROGRAM = Program((Step("charge", 36000.0, current_A=1e-3),), CellLimits(2.5, 4.3, 2e-3, 2e-3), 1.0)

_SERVER = f"""
import threading
from sim_devices.instruments.neware import SimulatedNeware
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import Wires
from ssblab.clock import WallClock
clock = WallClock()
cells = [BatteryCell(clock, state_of_charge=0.3) for _ in range({CHANNELS})]
print(Wires(clock).listen(SimulatedNeware(clock, *cells, units={CHANNELS // 8})), flush=True)
threading.Event().wait()
"""


@contextmanager
def machine() -> Iterator[str]:
    """A simulated machine in another process; gives its address."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def polls(clock: WallClock, bts: NewareBts, channels: list[NewareChannel]) -> tuple[list[float], float]:
    """Seconds of each poll of all channels, one a second, and the share of one core of this process."""
    taken = []
    begin, cpu = time.perf_counter(), time.process_time()
    for second in range(SECONDS):
        clock.sleep(max(0.0, begin + second - time.perf_counter()))
        start = time.perf_counter()
        bts.poll()
        for channel in channels:
            channel.poll()  # from the same exchange
        taken.append(time.perf_counter() - start)
    clock.sleep(max(0.0, begin + SECONDS - time.perf_counter()))
    return taken, (time.process_time() - cpu) / (time.perf_counter() - begin)


def cycler_polls(console: Console) -> None:
    """Print what following the channels costs at rest, and while all run and hand their records over."""
    clock = WallClock()
    clock.start()
    table = Table(
        "64 channels of a Neware machine, once a second", "ms a poll", "worst", "1 s / worst", "CPU"
    )
    with tempfile.TemporaryDirectory() as folder, machine() as address:
        bts = NewareBts(name="bts", address=address, clock=clock, step_folder=folder)
        channels = [
            NewareChannel(name=f"cell_{i}", cycler=bts, channel=i, clock=clock)
            for i in range(1, CHANNELS + 1)
        ]
        bts.connect()
        for channel in channels:
            channel.connect()
        _add(table, "at rest", *polls(clock, bts, channels))
        flyers = [channel.flyer(PROGRAM) for channel in channels]
        for flyer in flyers:
            flyer.prepare(PROGRAM).wait()
        began = time.perf_counter()
        for status in [flyer.kickoff() for flyer in flyers]:
            status.wait()
        started_s = time.perf_counter() - began
        _add(table, "all run, a record a second; fetched every 10 s", *polls(clock, bts, channels))
        rows = sum(len(flyer.take_rows()) for flyer in flyers)
        began = time.perf_counter()
        with ThreadPoolExecutor(CHANNELS) as pool:
            list(pool.map(lambda channel: channel.stop(), channels))
        table.caption = (
            f"all seen to run after {started_s:.1f} s; {rows} records; "
            f"all seen to be stopped after {time.perf_counter() - began:.1f} s"
        )
        bts.link.close()
    clock.close()
    console.print(table)


def _add(table: Table, what: str, taken: list[float], cpu: float) -> None:
    mean_ms = 1000 * sum(taken) / len(taken)
    table.add_row(what, f"{mean_ms:.1f}", f"{1000 * max(taken):.1f}", f"{1 / max(taken):.1f}", f"{cpu:.1%}")


if __name__ == "__main__":
    cycler_polls(Console(width=110))
