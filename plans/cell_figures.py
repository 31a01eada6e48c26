"""A recorded experiment on a cell, seen by its steps and spectra instead of the keys of its devices."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from ssblab.analysis.common import COULOMB_PER_mAh
from ssblab.analysis.cycling import StepRecord, split_steps
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value
from ssblab.samples import CellSample
from ssblab.steps import Current, Hold, Program, Rest, numbered, parse, parse_step, resolve

__all__ = ["CellRun", "Spectrum", "gathered"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spectrum:
    """One attempt at a spectrum.

    Attributes
    ----------
    section : str
        Part of the experiment.
    verdict : {"accept", "repeat", "flag"}
    reasons : str
        Why it was not accepted.
    potential_V, temperature_C, pressure_MPa : float
        At the beginning; NaN where nothing measured it.
    residual : float
        Of its Kramers-Kronig test, relative; NaN where there was none.
    frequency_Hz, z_ohm : ndarray, shape (n,)
        The points that the instrument calls sound.
    """

    section: str
    verdict: str
    reasons: str
    potential_V: float
    temperature_C: float
    pressure_MPa: float
    residual: float
    frequency_Hz: NDArray[np.float64]
    z_ohm: NDArray[np.complex128]


class CellRun:
    """A run of an experiment on a cell.

    Parameters
    ----------
    run : RunData
        Of a plan made with `plans.cell_runs.cell_run`, whole or broken off.
    """

    def __init__(self, run: RunData) -> None:
        self.run = run
        self.start = run.start
        self.sample = CellSample.model_validate(run.start["sample"])
        self.accuracy: float = run.start["current_relative_accuracy"]
        self.voltage_accuracy_V: float = run.start["voltage_accuracy_V"]
        self._channel = run.start["devices"]["channel"]

    def column(self, stream: str, role: str, signal: str) -> NDArray[Any]:
        """Readings of a device's signal in a stream, by the device's role in the plan."""
        return np.asarray(self.run.streams[stream][f"{self.start['devices'][role]}_{signal}"])

    @cached_property
    def steps(self) -> list[StepRecord]:
        """All steps that were done, in order, with those of a broken-off section as far as they came."""
        return list(self._steps())

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

    @cached_property
    def spectra(self) -> list[Spectrum]:
        """All attempts at spectra, in order."""
        if "spectra" not in self.run.streams:
            return []
        marks, rows = (
            self.run.streams["spectra"],
            itertools.accumulate(np.asarray(self.run.streams["spectra"]["spectra_rows"]).tolist(), initial=0),
        )
        return [self._spectrum(marks, i, *pair) for i, pair in enumerate(itertools.pairwise(rows))]

    def spectrum(self, section: str) -> Spectrum:
        """The last spectrum of a section.

        Raises
        ------
        BadInput
            If there is none.
        """
        found = [spectrum for spectrum in self.spectra if spectrum.section == section]
        if not found:
            raise BadInput(f"there is no spectrum of {section}")
        return found[-1]

    def rate(self, text: str) -> float:
        """C-rate (1/h) of a current written in the language of steps."""
        step = parse_step(f"Charge at {text} for 1 s")
        current = resolve(Program((step,)), self.sample).program.steps[0]
        assert isinstance(current, Current)
        return 1e3 * current.at.value / self.sample.capacity_mAh

    def _spectrum(self, marks: Any, i: int, first: int, after: int) -> Spectrum:
        stream = self.run.streams["impedance"]
        rows = {
            signal: np.asarray(stream[f"{self._channel}_{signal}"])[first:after]
            for signal in ("frequency", "z_real", "z_imag", "status")
        }
        sound = rows["status"] == "ok"
        told = {key: marks[f"spectra_{key}"].values[i] for key in ("section", "verdict", "reasons")}
        numbers = {
            key: float(marks[f"spectra_{key}"].values[i])
            for key in ("potential", "temperature", "pressure", "residual")
        }
        return Spectrum(
            **{key: str(value) for key, value in told.items()},
            potential_V=numbers["potential"],
            temperature_C=numbers["temperature"],
            pressure_MPa=numbers["pressure"],
            residual=numbers["residual"],
            frequency_Hz=rows["frequency"][sound].astype(float),
            z_ohm=(rows["z_real"] + 1j * rows["z_imag"])[sound],
        )

    def _steps(self) -> Iterator[StepRecord]:
        marks = self.run.streams.get("steps")
        if marks is None:
            return
        taken: dict[str, int] = {}
        columns = {key: np.asarray(marks[f"steps_{key}"]) for key in ("section", "number", "stream", "rows")}
        for section, number, stream, count in zip(*columns.values(), strict=True):
            first = taken.get(str(stream), 0)
            taken[str(stream)] = first + int(count)
            if count:
                yield from self._split(str(section), str(number), str(stream), first, first + int(count))

    def _split(self, section: str, number: str, stream: str, first: int, after: int) -> Iterator[StepRecord]:
        """Take the rows of one upload, or of one technique, apart into steps."""
        data = self.run.streams[stream]
        rows = slice(first, after)
        cycler = f"{self._channel}_voltage" in data
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
            return
        for record in records:
            place = int(float(record.number)) or 1
            kind = self._kind_of(section, number, place) or record.kind
            yield replace(record, number=self._number(section, number, place), kind=kind)

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


def _passed_mAh(time_s: NDArray[np.float64], current_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Charge passed in a course of a potentiostat, whose first record is an interval after its beginning."""
    first_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    size_A: NDArray[np.float64] = np.abs(np.nan_to_num(current_A))
    passed_C: NDArray[np.float64] = cumulative_trapezoid(size_A, time_s, initial=0)
    return (size_A[0] * first_s + passed_C) / COULOMB_PER_mAh


def gathered(run: RunData, groups: Iterable[Callable[[CellRun], Iterable[Value]]]) -> list[Value]:
    """Compute groups of figures of merit; one whose data were not recorded is left out, and why is logged."""
    seen = CellRun(run)
    found: list[Value] = []
    for group in groups:
        try:
            found += group(seen)
        except (KeyError, BadInput) as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], group.__name__.strip("_"), error)
    return found
