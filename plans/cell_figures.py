"""A recorded experiment on a cell, seen by its steps and spectra instead of the keys of its devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from plans.marks import FAILED, PAUSED
from plans.recorded import RecordedRun
from ssblab.analysis.common import COULOMB_PER_mAh
from ssblab.analysis.cycling import StepRecord, split_steps
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value
from ssblab.samples import CellSample
from ssblab.steps import Current, Hold, Program, Rest, numbered, parse, parse_step, resolve

__all__ = ["CellRun", "gathered"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Mark:
    """Event of the stream `steps`; whether it is of a step that the event before began, and of its hold."""

    section: str
    number: str
    stream: str
    rows: int
    ended_by: str
    is_hold: bool = False
    goes_on: bool = False

    @property
    def place(self) -> tuple[str, str]:
        return self.section, self.number


class CellRun(RecordedRun):
    """A run of an experiment on a cell.

    Parameters
    ----------
    run : RunData
        Of a plan made with `plans.cell_runs.cell_run`, whole or broken off.
    """

    def __init__(self, run: RunData) -> None:
        super().__init__(run)
        self.sample = CellSample.model_validate(run.start["sample"])
        self.accuracy: float = run.start["current_relative_accuracy"]
        self.voltage_accuracy_V: float = run.start["voltage_accuracy_V"]

    @cached_property
    def steps(self) -> list[StepRecord]:
        """All steps that were done, in order, with those of a broken-off section as far as they came."""
        return self._steps()

    def section(self, *names: str) -> list[StepRecord]:
        """Steps of some sections.

        Raises
        ------
        BadInput
            If there is none: the run ended before.
        """
        found = [step for step in self.steps if step.section in names]
        if not found:
            raise BadInput(f"nothing was recorded of {' or '.join(names)}")
        return found

    def sections(self, prefix: str = "") -> list[str]:
        """Names of the sections that begin so, in the order in which they were done."""
        return list(dict.fromkeys(step.section for step in self.steps if step.section.startswith(prefix)))

    def rate(self, text: str) -> float:
        """C-rate (1/h) of a current written in the language of steps."""
        step = parse_step(f"Charge at {text} for 1 s")
        current = resolve(Program((step,)), self.sample).program.steps[0]
        assert isinstance(current, Current)
        return 1e3 * current.at.value / self.sample.capacity_mAh

    def _steps(self) -> list[StepRecord]:
        """Take the rows of all streams apart; what the plan itself did again is a cycle more."""
        found: list[StepRecord] = []
        taken: dict[str, int] = {}
        done: dict[tuple[str, str], int] = {}  # cycles, by section and number of the step
        before, paused = 0, False
        for mark in self._marks():
            first = taken.get(mark.stream, 0)
            taken[mark.stream] = first + mark.rows
            if not mark.goes_on:
                before = done.get(mark.place, 0)
            records = self._split(mark, first) if mark.rows else []
            done[mark.place] = before + max((record.cycle for record in records), default=1)
            found += [replace(record, cycle=before + record.cycle) for record in records]
            if mark.ended_by.startswith(FAILED) and (records or mark.goes_on):
                _break_off(found)
            paused = mark.ended_by == PAUSED
        # What was paused goes on, unless the run ended meanwhile.
        if found and paused and self.run.stop.get("exit_status") != "success":
            _break_off(found)
        return found

    def _marks(self) -> Iterator[_Mark]:
        """What the stream `steps` says, in order."""
        stream = self.run.streams.get("steps")
        if stream is None:
            return
        keys = ("section", "number", "stream", "rows", "ended_by")
        before: _Mark | None = None
        for row in zip(*(stream[f"steps_{key}"].values.tolist() for key in keys), strict=True):
            mark = _Mark(*row)
            if before is not None and before.place == mark.place:
                # A potentiostat holds the voltage of a step in a technique of its own.
                is_hold = not before.ended_by and not before.is_hold and self._has_hold(mark)
                mark = replace(mark, is_hold=is_hold, goes_on=is_hold or before.ended_by == PAUSED)
            yield mark
            before = mark

    def _has_hold(self, mark: _Mark) -> bool:
        step = self._written(mark.section).get(mark.number)
        return not self._is_cycler(mark.stream) and isinstance(step, Current) and step.to is not None

    def _is_cycler(self, stream: str) -> bool:
        return f"{self._channel}_voltage" in self.run.streams.get(stream, ())

    def _split(self, mark: _Mark, first: int) -> list[StepRecord]:
        """Take the rows of one upload, or of one technique, apart into steps."""
        section, number, after = mark.section, mark.number, first + mark.rows
        data = self.run.streams[mark.stream]
        rows = slice(first, after)
        cycler = self._is_cycler(mark.stream)
        signals = ("voltage", "current") if cycler else ("potential", "current")
        voltage, current = (np.asarray(data[f"{self._channel}_{signal}"])[rows] for signal in signals)
        time = np.asarray(data["time"])[rows]
        how: dict[str, Any] = {"step": np.zeros(after - first), "charge_mAh": _passed_mAh(time, current)}
        if cycler:
            how = {
                "step": np.asarray(data[f"{self._channel}_step"])[rows],
                "cycle": np.asarray(data[f"{self._channel}_cycle"])[rows],
                "charge_mAh": 1e3 * np.asarray(data[f"{self._channel}_capacity"])[rows],
            }
        try:
            records = split_steps(
                time,
                voltage,
                current,
                section=section,
                charge_raises_voltage=self.sample.charge_means == "delithiation",
                voltage_resolution_V=self.start["voltage_resolution_V"],
                **how,
            )
        except BadInput as error:
            logger.info("run %s: %s %s left out: %s", self.start["uid"], section, number, error)
            return []
        for i, record in enumerate(records):
            place = int(float(record.number)) or 1
            kind = self._kind_of(section, number, place) or record.kind
            records[i] = replace(record, number=self._number(section, number, place), kind=kind)
        return records

    def _written(self, section: str) -> dict[str, Any]:
        """Steps of a section's program, by number."""
        text = next((of["text"] for of in self.start["programs"] if of["section"] == section), None)
        return {} if text is None else {number: step for number, step, _ in numbered(parse(text).steps)}

    def _number(self, section: str, number: str, place: int) -> str:
        """Number in its program of the step at a place of an upload that begins with a number."""
        if f"{number}.1" in self._written(section):
            return f"{number}.{place}"
        head, _, last = number.rpartition(".")
        return f"{head}.{int(last) + place - 1}" if head else str(int(last) + place - 1)

    def _kind_of(self, section: str, number: str, place: int) -> str:
        """What the program calls a step; "" if it does not say."""
        step = self._written(section).get(self._number(section, number, place))
        if isinstance(step, Current):
            return step.direction
        return {Hold: "hold", Rest: "rest"}.get(type(step), "")


def _break_off(steps: list[StepRecord]) -> None:
    steps[-1] = replace(steps[-1], broken_off=True)


def _passed_mAh(time_s: NDArray[np.float64], current_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Charge passed in a course of a potentiostat, whose first record is an interval after its beginning."""
    first_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    size_A: NDArray[np.float64] = np.abs(np.nan_to_num(current_A))
    passed_C: NDArray[np.float64] = cumulative_trapezoid(size_A, time_s, initial=0)
    return (size_A[0] * first_s + passed_C) / COULOMB_PER_mAh


def gathered(run: RunData, groups: Iterable[Callable[[CellRun], Iterable[Value]]]) -> list[Value]:
    """Compute groups of figures of merit; one that can't be computed is left out, and why is logged."""
    seen = CellRun(run)
    found: list[Value] = []
    for group in groups:
        try:
            found += group(seen)  # what it gave before it stumbled stays
        except (KeyError, BadInput) as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], group.__name__.strip("_"), error)
        except Exception as error:  # what one group stumbles over must not take the others along
            name, kind = group.__name__.strip("_"), type(error).__name__
            logger.warning("run %s: %s left out: %s: %s", run.start["uid"], name, kind, error)
    return found
