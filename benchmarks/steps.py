"""What it costs to read and check a hundred programs before anything moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from plans.capacity import capacity_check
from ssblab.rehearsal import check_all
from ssblab.station import load_station
from ssblab.steps import Bounds, CellFacts, check, parse, parse_conditions

PROGRAMS = 100
#: Twenty lines: conditioning, rates, pulses and impedance in dry air under pressure.
TEXT = """
Limits: voltage > 2.4 V, voltage < 4.3 V, temperature < 60 degC, pressure < 30 MPa, time < 2 d
Hold pressure at 20 MPa within 2 % for 10 min, at most 1 h
Hold temperature at 25 degC within 0.5 K for 30 min, at most 4 h
While dew point < -40 degC, else pause:
    Repeat 3 times:
        Charge at 0.1C to 4.2 V and hold until 0.01C or for 20 h (60 s period)
        Rest until |dV/dt| < 1 mV/h or for 2 h
        Discharge at 0.1C for 15 h or until 2.5 V (60 s period)
    Charge at {rate} mA/cm2 for 12 h or until 4.2 V
    Rest for 1 h (10 s period)
    Discharge at 1C until 2.5 V (every 10 s, 5 mV)
    Repeat 5 times:
        Discharge pulse at 0.5C for 10 s (0.1 s period)
        Rest for 40 s
        Charge at 0.5C for 10 s
    Discharge at 0.2C until 50 % of capacity or 2.5 V
    EIS from 1 MHz to 10 mHz at 10 mV, 10 points per decade
Hold at 4.1 V until C/100 or for 5 d
Wait until H2S < 1 ppm for 5 min, at most 2 h
Set pressure to 1 MPa
"""
CELL = CellFacts("bench", capacity_mAh=8.0, area_cm2=4.0, charge_means="delithiation")


def checked() -> tuple[float, float]:
    """Give the seconds that reading the programs takes, and checking them."""
    channel = Bounds("channel", parse_conditions("current < 20 mA, voltage < 5 V"))
    texts = [TEXT.format(rate=0.1 + 0.01 * i) for i in range(PROGRAMS)]
    begin = time.perf_counter()
    programs = [parse(text) for text in texts]
    read = time.perf_counter()
    for program in programs:
        check(program, CELL, channel)
    return read - begin, time.perf_counter() - read


def checked_as_plans() -> float:
    """Give the seconds that the static check of as many plans takes, their station's devices included."""
    station = load_station("cells")
    sample = station.samples["std-01"]

    def made(rate: float) -> Callable[[Any], Any]:
        return lambda devices: capacity_check(sample, rate=f"{rate:g}C")

    plans = [made(0.1 + 0.01 * i) for i in range(PROGRAMS)]
    begin = time.perf_counter()
    check_all(station, plans)
    return time.perf_counter() - begin


def program_checks(console: Console) -> None:
    read_s, check_s = checked()
    table = Table(f"{PROGRAMS} programs of 20 lines", "seconds", "1 s / all")
    table.add_row("read", f"{read_s:.3f}", "")
    table.add_row("checked", f"{check_s:.3f}", f"{1 / (read_s + check_s):.1f}")
    plans_s = checked_as_plans()
    table.add_row("checked as plans, ssblab rehearse --static", f"{plans_s:.3f}", f"{1 / plans_s:.1f}")
    console.print(table)


if __name__ == "__main__":
    program_checks(Console(width=110))
