"""What it costs to run 64 plans side by side in one RunEngine: `python -m benchmarks.side_by_side`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bluesky import Msg, RunEngine
from bluesky.preprocessors import run_wrapper
from rich.console import Console
from rich.table import Table

from plans.arguments import PlanGenerator
from plans.side_by_side import side_by_side
from ssblab.clock import VirtualClock

PLANS = 64
ROUNDS = 50
PERIOD_S = 10.0


class Rows:
    """A flyer with a row at each collection."""

    parent = None

    def __init__(self, name: str) -> None:
        self.name = name

    def kickoff(self) -> None: ...

    def complete(self) -> None: ...

    def describe_collect(self) -> dict[str, Any]:
        return {f"{self.name}_voltage": {"source": "bench", "dtype": "number", "shape": [], "units": "V"}}

    def collect(self) -> Iterator[dict[str, Any]]:
        key = f"{self.name}_voltage"
        yield {"time": 0.0, "data": {key: 3.7}, "timestamps": {key: 0.0}}


def following(rows: Rows) -> PlanGenerator:
    """Do what `plans.stubs.measure` does while a cell is measured: sleep, collect, and again."""
    yield Msg("declare_stream", None, rows, name="records", collect=True)
    for _ in range(ROUNDS):
        yield Msg("sleep", None, PERIOD_S)
        before = yield Msg("rewindable", None, None)
        yield Msg("rewindable", None, False)
        yield Msg("collect", rows, name="records", return_payload=False)
        yield Msg("rewindable", None, before)
        yield Msg("checkpoint")


def alone() -> PlanGenerator:
    for number in range(PLANS):
        yield from run_wrapper(following(Rows(f"cell_{number}")))


def together() -> PlanGenerator:
    return side_by_side({f"cell {n}": run_wrapper(following(Rows(f"cell_{n}"))) for n in range(PLANS)})


def measured(plan: PlanGenerator) -> tuple[float, int, float]:
    """CPU seconds, messages that the RunEngine did, laboratory seconds."""
    clock = VirtualClock()
    engine = RunEngine({}, loop=clock.loop, context_managers=[])
    engine.state_hook = lambda new, _: clock.resume() if new == "running" else clock.hold()
    count = 0

    def hook(_: Msg) -> None:
        nonlocal count
        count += 1

    engine.msg_hook = hook
    begin_s, cpu = clock.monotonic(), time.process_time()
    engine(plan)
    cpu_s, lab_s = time.process_time() - cpu, clock.monotonic() - begin_s
    clock.close()
    return cpu_s, count, lab_s


def side_by_side_costs(console: Console) -> None:
    """Print the costs of the same plans one after another, and side by side."""
    table = Table(
        f"{PLANS} plans, {ROUNDS} collections each", "CPU s", "messages", "messages/CPU s", "ms a collection"
    )
    collections = PLANS * ROUNDS
    for what, plan in {"one after another": alone(), "side by side": together()}.items():
        cpu_s, count, lab_s = measured(plan)
        table.add_row(
            f"{what}, {lab_s:.0f} s of the laboratory",
            f"{cpu_s:.2f}",
            str(count),
            f"{count / cpu_s:.0f}",
            f"{1000 * cpu_s / collections:.2f}",
        )
    table.caption = (
        f"a collection each {PERIOD_S:g} s of {PLANS} plans is {PLANS / PERIOD_S:.1f} a second of real time"
    )
    console.print(table)


if __name__ == "__main__":
    side_by_side_costs(Console(width=110))
