"""What a voltage that is held for five days, with a record each minute, costs on the CPU, in virtual time.

Each row of the table does what the row before does, and more: `python -m benchmarks.long_hold`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
from bluesky.preprocessors import run_wrapper
from rich.console import Console
from rich.table import Table

from devices.families.cycler_program import CellLimits, Program, Step
from devices.neware_program import encode_program
from plans.stubs import measure
from sim_devices.instruments.neware import SimulatedNeware
from sim_devices.physics.cell import Cell
from ssblab.clock import VirtualClock
from ssblab.session import open_session

CHANNEL, DESIGN = "ch_18", "ncm-in-li"
DAY_S = 86400.0
LIMITS = CellLimits(2.0, 3.8, 20e-3, 20e-3)
#: A record each minute, and the same hold with records that become sparser.
EVEN = Program((Step("charge", 5 * DAY_S, current_A=8e-3, hold_V=3.68),), LIMITS, 60.0)
SPARSER = Program(
    tuple(
        Step("charge", end_time_s, current_A=8e-3, hold_V=3.68, record_interval_s=interval_s)
        for end_time_s, interval_s in ((60.0, 1.0), (600.0, 10.0), (7200.0, 60.0), (5 * DAY_S, 300.0))
    ),
    LIMITS,
    60.0,
)


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes on the CPU."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def machine_alone(program: Program, folder: Path) -> float:
    """The simulated cycler runs the program on the simulated cell; nobody asks."""
    clock = VirtualClock()
    machine = SimulatedNeware(clock, Cell(clock, np.random.default_rng(1), design=DESIGN))
    file = folder / "program.xml"
    file.write_bytes(encode_program(program, remark="", date="", guid=uuid4()))
    order = (
        '<bts><cmd>start</cmd><list count="1"><start ip="127.0.0.1" devtype="27" devid="21" subdevid="1" '
        f'chlid="1">{file}</start></list></bts>\n\n#\r\n'
    )
    list(machine.receive(bytearray(order.encode())))
    clock.sleep(program.longest_s())
    taken_s = cpu_s(machine.channels[1, 1].catch_up)
    clock.close()
    return taken_s


def followed(program: Program, folder: Path) -> float:
    """The driver follows it over the wire."""
    with open_session("cells", data=folder) as session:
        flyer = session.devices[CHANNEL].flyer(program)

        def fly() -> None:
            flyer.prepare(program).wait()
            flyer.kickoff().wait()
            flyer.complete().wait()

        return cpu_s(fly)


def recorded(program: Program, folder: Path) -> tuple[int, float, float]:
    """A plan records it: records, seconds for that, and for filing them in the catalog."""
    with open_session("cells", data=folder) as session:
        channel = session.devices[CHANNEL]
        plan_s = cpu_s(lambda: session.RE(run_wrapper(measure(channel, program, "hold"))))
        rows = channel.flyers["records"].run.count
        return rows, plan_s, cpu_s(session.file_documents)


def long_holds(console: Console) -> None:
    """Print what the parts of the stack cost."""
    table = Table("CPU of a voltage held for 5 d", "records", "seconds", "more", "20 s / seconds")
    for name, program in (("a record a minute", EVEN), ("sparser and sparser", SPARSER)):
        with tempfile.TemporaryDirectory() as folder:
            alone_s = machine_alone(program, Path(folder))
            followed_s = followed(program, Path(folder) / "followed")
            rows, plan_s, filing_s = recorded(program, Path(folder) / "recorded")
        before_s = 0.0
        for part, total_s in (
            ("simulated cycler and cell", alone_s),
            ("+ wire and driver", followed_s),
            ("+ RunEngine and journal", plan_s),
            ("+ catalog, opened and filed", plan_s + filing_s),
        ):
            what = f"{name}: {part}"
            table.add_row(
                what, str(rows), f"{total_s:.1f}", f"{total_s - before_s:.1f}", f"{20 / total_s:.1f}"
            )
            before_s = total_s
    console.print(table)


if __name__ == "__main__":
    long_holds(Console(width=110))
