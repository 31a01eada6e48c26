"""What the battery cells of the simulated laboratory cost: a long hold, cycling, a spectrum, rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
from rich.console import Console
from rich.table import Table

from sim_devices.physics.cell import Cell
from ssblab.clock import VirtualClock

_CAPACITY_Ah = 0.008
_DAY_S = 86_400.0
_CYCLING = 4  # cells of 64 that are measured


def cell_costs(console: Console) -> None:
    """Print the table."""
    table = Table("cells of the simulated laboratory", "CPU", "target")
    for row in _measured():
        table.add_row(*row)
    console.print(table)


def _measured() -> list[tuple[str, str, str]]:
    with closing(VirtualClock(epoch=0)) as clock:
        hold_s = _cpu_s(lambda: _hold(clock))
        at_rest = Cell(clock)
        rest_s = _cpu_s(lambda: at_rest.advance(clock.monotonic() + 5 * _DAY_S))
        cycling_s = [_cpu_s(lambda rate=rate: _cycle_cells(clock, rate)) for rate in (1 / 3, 1.0)]
        frequency_Hz = np.logspace(6, -3, 61)
        spectra_s = _cpu_s(lambda: [at_rest.impedance(frequency_Hz) for _ in range(200)])
    share = 64 / _CYCLING
    scaled = f"64 cells ({_CYCLING} measured, times {share:g})"
    return [
        ("hold at 4.2 V for 5 days, 7200 readings", f"{hold_s:.2f} s", "< 1 s"),
        ("rest for 5 days", f"{1e3 * rest_s:.0f} ms", ""),
        (f"{scaled}, a day at C/3", f"{share * cycling_s[0]:.0f} s", "< 60 s"),
        (f"{scaled}, a day at 1C", f"{share * cycling_s[1]:.0f} s", "< 60 s"),
        ("spectrum of 61 points, 1 MHz to 1 mHz", f"{1e3 * spectra_s / 200:.2f} ms", "< 2 ms"),
    ]


def _cpu_s(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def _hold(clock: VirtualClock) -> None:
    cell = Cell(clock, state_of_charge=0.9)
    cell.source_voltage(4.2, _CAPACITY_Ah)
    began_s = clock.monotonic()
    for reading in range(1, 7201):
        cell.advance(began_s + reading * 60.0)


def _cycle_cells(clock: VirtualClock, rate: float) -> None:
    for _ in range(_CYCLING):
        cell = Cell(clock, state_of_charge=0.0)
        began_s = reached_s = clock.monotonic()
        charging = True
        while reached_s < began_s + _DAY_S:
            cell.source_current(rate * _CAPACITY_Ah * (1.0 if charging else -1.0))
            reached_s = cell.advance(
                began_s + _DAY_S,
                lambda volts, amperes, up=charging: volts >= 4.2 if up else volts <= 2.5,
            )
            charging = not charging
