"""Readings a second that a potentiostat's driver takes from one stream, against a simulated one in a process
of its own, in real time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from devices.families.techniques import ConstantPotential
from devices.palmsens import PalmSens
from sim_devices.instruments.palmsens import SimulatedPalmSens
from sim_devices.wire import Wires
from ssblab.clock import WallClock

INTERVAL_S = 1e-3  # of the instrument
READINGS = 5000


def serve(wire: str, speed: float) -> None:
    """Serve a simulated instrument, `speed` times as fast as a real one, until nobody reads its input."""
    clock = WallClock(speed)
    cell = SimpleNamespace(
        potential_V=lambda: 2.0, impedance=lambda frequency_Hz: np.full(len(frequency_Hz), 1000.0 + 0.0j)
    )
    wires = Wires(clock)
    simulated = SimulatedPalmSens(clock, cell)
    print(wires.attach_pty(simulated) if wire == "pty" else wires.listen(simulated), flush=True)
    sys.stdin.read()
    wires.close()
    clock.close()


@contextmanager
def served(wire: str, speed: float) -> Iterator[str]:
    """Address of a simulated instrument in another process."""
    command = [sys.executable, "-m", "benchmarks.streaming", wire, str(speed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def streamed(wire: str, speed: float) -> tuple[int, float, float]:
    """Readings that arrived, seconds from the start to the end of the measurement, and of them on the CPU."""
    clock = WallClock()
    clock.start()
    task = ConstantPotential(3.0, READINGS * INTERVAL_S, INTERVAL_S, 0.01)
    with served(wire, speed) as address:
        pstat = PalmSens(name="pstat", address=address, clock=clock)
        pstat.connect()
        flyer = pstat.flyer(task)
        flyer.prepare(task).wait()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        flyer.kickoff().wait()
        flyer.complete().wait()
        count = len(flyer.take_rows())
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        pstat.link.close()
    clock.close()
    return count, took_s, cpu_s


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
