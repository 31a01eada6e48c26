"""Plating and stripping of lithium in symmetric cells, at one current or at rising ones, until a short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from plans.arguments import FROM_STATION, AmountIn, PlanGenerator, Quantity, plan, written
from plans.cell_runs import Cycles, LogEvery, Temperature, at_temperature, cell_run, check_temperature
from plans.marks import Marks
from plans.programs import CellRig, Prepared, Source, prepare, run
from ssblab.analysis.plating import HalfCycle, find_short, half_cycles
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Amount, Current

__all__ = ["critical_current_density", "plating_stripping"]

PlatingCurrent = Annotated[Amount, AmountIn(("mA/cm2", "A"), "current of plating and of stripping")]
Currents = Annotated[tuple[Amount, ...], AmountIn(("mA/cm2", "A"), "currents, rising")]
Plated = Annotated[Amount, AmountIn(("mAh/cm2", "mAh"), "charge of each half cycle")]
HalfRest = Annotated[float, Quantity("s", "rest after each half cycle", 1, 86400)]
Fall = Annotated[float, Quantity("%", "of the voltage: lost within a minute, it is a short", 1, 99)]
FloorShare = Annotated[
    float, Quantity("%", "of the cell's resistance: a voltage that needs less is a short", 1, 99)
]
FloorResistance = Annotated[
    float | None,
    Quantity("ohm", "that the cell cannot go below; else that of its first half cycle", 1e-3, 1e9),
]
Frequency = Annotated[float | None, Quantity("Hz", "highest of spectra before and after; else none", 10, 1e7)]

_FIGURES = "plans.plating_figures"
_EVENT_UNITS = {
    "density": "mA/cm2", "after": "s", "half_cycle_charge": "mAh", "plated_charge": "mAh", "half_cycle": "1",
}  # fmt: skip
_LOWEST_Hz = 0.1
_AMPLITUDE_V = 0.01
_WITHIN_S = 60.0  # in which a sudden fall happens
_LEAST_RECORDS = 3
_SETTLING_S = 10.0  # after a current was switched on


@plan
def plating_stripping(
    sample: CellSample,
    *,
    current: PlatingCurrent = written("0.2 mA/cm2"),
    charge: Plated = written("0.2 mAh/cm2"),
    cycles: Cycles = written("10"),
    rest: HalfRest = written("5 min"),
    fall: Fall = written("20 %"),
    floor: FloorShare = written("90 %"),
    floor_resistance: FloorResistance = None,
    spectra_from: Frequency = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("10 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Plate and strip lithium to and fro in a symmetric cell, until it shorts or all cycles are done.

    While a current flows, a short is looked for: a voltage that falls by a share within a minute, or one that
    stays below what the cell's resistance needs. It ends the current, and the experiment, at once, and an
    event in the stream `events` says so.

    Streams: primary, steps, events, with spectra impedance, open_circuit, spectra. Sections: "half cycle 1"
    and so on, "spectrum before" and "spectrum after". Figures of merit: short_time, plated_thickness (in one
    half cycle), plated_thickness_total (in one direction until the short), resistance of the first and last
    half cycle, and with spectra resistance_before and resistance_after.

    Source: requirement D17 (S002 L22-45): voids and a short at 25 degC, suppressed at about 100 degC
    (temperature=...). Currents and charges are not given there and are ours.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    programs = _half_cycles(rig, [current] * cycles, charge, rest, log_every)
    detector = _Detector(rig, fall / 100, floor / 100, floor_resistance)
    spectrum = _spectrum(rig, spectra_from)
    body = _until_short(rig, temperature, programs, detector, spectrum)
    return (
        yield from cell_run(
            plating_stripping, rig, arguments, body, programs=programs | spectrum,
            figures=f"{_FIGURES}:plating", md=md,
        )
    )  # fmt: skip


@plan
def critical_current_density(
    sample: CellSample,
    *,
    currents: Currents = written(
        "0.1 mA/cm2, 0.2 mA/cm2, 0.3 mA/cm2, 0.4 mA/cm2, 0.6 mA/cm2, 0.8 mA/cm2, 1 mA/cm2"
    ),
    charge: Plated = written("0.1 mAh/cm2"),
    cycles: Cycles = written("1"),
    rest: HalfRest = written("5 min"),
    fall: Fall = written("20 %"),
    floor: FloorShare = written("90 %"),
    floor_resistance: FloorResistance = None,
    spectra_from: Frequency = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("10 s"),
    channel: Source = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Plate and strip lithium at rising currents, until a symmetric cell shorts: the current that it bears.

    Each current flows for `cycles` cycles to and fro, with the same charge in each half cycle. A short is
    found, and ends the experiment, as in `plating_stripping`.

    Streams and sections: as of `plating_stripping`. Figures of merit: critical_current_density (the largest
    that was borne for whole half cycles), shorting_current_density, and those of `plating_stripping`.

    Source: requirement D17 (S002 L22-45, S000 L371-390): operation at several times the current density of
    the project's start; the currents themselves are not given there and are ours.
    """
    rig = CellRig(sample, channel, chamber)
    check_temperature(rig, temperature)
    arguments = {**locals()}
    rising = [one for one in currents for _ in range(cycles)]
    programs = _half_cycles(rig, rising, charge, rest, log_every)
    sizes = [_current_A(program) for program in list(programs.values())[:: 2 * cycles]]
    if sizes != sorted(set(sizes)):
        raise BadInput(f"currents={', '.join(one.text() for one in currents)}: write each once, rising")
    detector = _Detector(rig, fall / 100, floor / 100, floor_resistance)
    spectrum = _spectrum(rig, spectra_from)
    body = _until_short(rig, temperature, programs, detector, spectrum)
    return (
        yield from cell_run(
            critical_current_density, rig, arguments, body, programs=programs | spectrum,
            figures=f"{_FIGURES}:critical", md=md,
        )
    )  # fmt: skip


def _half_cycles(
    rig: CellRig, currents: Sequence[Amount], charge: Amount, rest_s: float, log_s: float
) -> dict[str, Prepared]:
    """Programs of all half cycles, there and back in turn, by section."""
    sample = rig.sample
    # The cell is symmetric: what its record calls a charge raises or lowers the voltage.
    limits_V = (sample.voltage_max_V, sample.voltage_min_V)
    directions = ("charge", "discharge") if sample.charge_means == "delithiation" else ("discharge", "charge")
    programs: dict[str, Prepared] = {}
    for current in currents:
        for direction, limit_V in zip(directions, limits_V, strict=True):
            text = (
                f"{direction.capitalize()} at {current.text()} until {charge.text()} or {limit_V!r} V\n"
                f"Rest for {rest_s!r} s"
            )
            programs[f"half cycle {len(programs) + 1}"] = prepare(rig, text, log_s=log_s)
    return programs


def _spectrum(rig: CellRig, highest_Hz: float | None) -> dict[str, Prepared]:
    if highest_Hz is None:
        return {}
    if not isinstance(rig.channel, Potentiostat):
        raise BadInput(
            f"spectra_from={highest_Hz:g} Hz: {rig.channel.name} takes no spectra; leave it out, or put the "
            "sample at a potentiostat"
        )
    text = f"EIS from {highest_Hz!r} Hz to {_LOWEST_Hz!r} Hz at {_AMPLITUDE_V!r} V, 5 points per decade"
    return dict.fromkeys(("spectrum before", "spectrum after"), prepare(rig, text))


def _current_A(program: Prepared) -> float:
    step = program.program.steps[0]
    assert isinstance(step, Current)
    return step.at.value


class _Detector:
    """Looks for a short in the records of a half cycle while it runs.

    Parameters
    ----------
    rig : CellRig
    fall, floor : float
        Shares.
    floor_ohm : float or None
        Resistance that the cell can't go below; else that of the first half cycle that was whole.
    """

    def __init__(self, rig: CellRig, fall: float, floor: float, floor_ohm: float | None) -> None:
        name = rig.channel.name
        voltage = "potential" if isinstance(rig.channel, Potentiostat) else "voltage"
        self._keys = ("time", f"{name}_{voltage}", f"{name}_current")
        self._fall, self._floor, self._floor_ohm = fall, floor, floor_ohm
        self._seen = 0
        self.charge_mAh = 0.0

    def begin(self) -> None:
        """A half cycle begins."""
        self._seen = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Say why the half cycle is shorted; "" if it is not."""
        if len(rows) == self._seen:
            return ""
        self._seen = len(rows)
        half = self._half_cycle(rows)
        if half is None:
            return ""  # too few records yet
        self.charge_mAh = float(half.charge_mAh[-1])
        began_s, first = half.time_s[0], int(np.searchsorted(half.time_s, half.time_s[-1] - 3 * _WITHIN_S))
        latest = HalfCycle(*(column[first:] for column in (half.time_s, half.voltage_V, half.current_A)))
        short = find_short(
            latest,
            fall_fraction=self._fall,
            within_s=_WITHIN_S,
            settling_s=max(_SETTLING_S - float(latest.time_s[0] - began_s), 0.0),
            floor_ohm=self._floor_ohm,
            floor_fraction=self._floor,
        )
        return "" if short is None else f"short: {short.reason}"

    def _half_cycle(self, rows: Sequence[Mapping[str, Any]]) -> HalfCycle | None:
        """Records with current; a cycler ends one step and begins the next with records of one time."""
        time_s, voltage_V, current_A = (np.array([float(row[key]) for row in rows]) for key in self._keys)
        later = np.flatnonzero(np.diff(time_s, prepend=-np.inf) > 0)
        if len(later) < _LEAST_RECORDS or not np.any(current_A[later]):
            return None
        parts = half_cycles(time_s[later], voltage_V[later], current_A[later])
        return parts[0] if parts else None

    def whole(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A half cycle was whole: the first one gives the resistance of the cell."""
        half = self._half_cycle(rows)
        if self._floor_ohm is None and half is not None:
            self._floor_ohm = float(np.median(np.abs(half.voltage_V / half.current_A)))


def _until_short(
    rig: CellRig,
    temperature_C: float | None,
    programs: Mapping[str, Prepared],
    detector: _Detector,
    spectrum: Mapping[str, Prepared],
) -> PlanGenerator:
    marks = Marks("events", rig.channel.clock, _EVENT_UNITS)
    yield from at_temperature(rig, temperature_C)
    if spectrum:
        yield from run(spectrum["spectrum before"], section="spectrum before")
    began_s, plated_mAh = rig.channel.clock.monotonic(), 0.0
    for number, (section, program) in enumerate(programs.items(), start=1):
        rows: list[dict[str, Any]] = []
        detector.begin()
        reason = yield from run(program, section=section, rows=rows, judge=detector)
        plated_mAh += detector.charge_mAh if number % 2 else 0.0
        if reason:
            yield from marks.write(
                event="short",
                reason=reason,
                density=1e3 * _current_A(program) / rig.sample.area_cm2,
                after=rig.channel.clock.monotonic() - began_s,
                half_cycle=number,
                half_cycle_charge=detector.charge_mAh,
                plated_charge=plated_mAh,
            )
            break
        detector.whole(rows)
    if spectrum:
        yield from run(spectrum["spectrum after"], section="spectrum after")
