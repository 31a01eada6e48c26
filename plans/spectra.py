"""Impedance spectra that are judged while the cell is still there: accepted, taken once more, or flagged.

Each attempt makes an event in the stream `spectra`: how many rows of the stream `impedance` are its, around
which potential it was taken, what drifted meanwhile, and the verdict with its reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bluesky import Msg
from ophyd.utils import LimitError

from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep, OpenCircuit
from devices.press import Press
from plans.arguments import PlanGenerator
from plans.marks import Marks
from plans.stubs import measure
from ssblab.quantities import BadInput
from ssblab.samples import CellSample
from ssblab.steps import Impedance

__all__ = ["cannot_sweep", "checked_spectrum", "sweep_of"]

_ATTEMPTS = 2
_OPEN_CIRCUIT_S = 10.0
_UNITS = {
    "attempt": "1", "rows": "1", "began": "s", "potential": "V", "drift": "V", "temperature": "degC",
    "pressure": "MPa", "residual": "1",
}  # fmt: skip
#: How far beyond the sample's voltages a spectrum may reach: a full cell rests at its end voltage.
_BEYOND_V = 0.02
_PEAK = 0.1  # share of the sample's voltages that the peak of an alternating voltage may take
_LEAST_POINTS = 6  # below, no test of a spectrum means anything


def sweep_of(sample: CellSample, step: Impedance) -> ImpedanceSweep | GalvanostaticImpedanceSweep:
    """Give the sweep of a step; the direct voltage, which is not known yet, is in the sample's middle."""
    frequencies = (step.first_Hz, step.last_Hz, float(step.points_per_decade))
    low_V, high_V = sample.voltage_min_V, sample.voltage_max_V
    amplitude = step.amplitude.value
    if step.amplitude.unit == "V":
        return ImpedanceSweep(*frequencies, amplitude_V=amplitude, bias_V=(low_V + high_V) / 2)
    return GalvanostaticImpedanceSweep(
        *frequencies, amplitude_A=amplitude, bias_A=0.0, potential_min_V=low_V, potential_max_V=high_V
    )


def cannot_sweep(channel: Potentiostat, sample: CellSample, step: Impedance) -> list[str]:
    """Say why a potentiostat can't take a spectrum of a sample; nothing if it can."""
    low_Hz, high_Hz = channel.sweep_frequency.limits
    beyond = [f"{Hz:g} Hz" for Hz in (step.first_Hz, step.last_Hz) if not low_Hz <= Hz <= high_Hz]
    if beyond:
        return [f"{' and '.join(beyond)}: {channel.name} goes from {low_Hz:g} to {high_Hz:g} Hz"]
    window_V, peak_V = sample.voltage_max_V - sample.voltage_min_V, math.sqrt(2) * step.amplitude.value
    if step.amplitude.unit == "V" and peak_V > _PEAK * window_V:
        return [
            f"its peak of {peak_V:.3g} V is more than {100 * _PEAK:g} % of the sample's {window_V:g} V: "
            "write a smaller amplitude"
        ]
    try:
        channel.check_task(sweep_of(sample, step))
    except (LimitError, ValueError) as error:
        return [str(error)]
    return []


def checked_spectrum(
    potentiostat: Potentiostat,
    sweep: ImpedanceSweep | GalvanostaticImpedanceSweep,
    *,
    sample: CellSample | None = None,
    chamber: ClimateChamber | None = None,
    press: Press | None = None,
    section: str = "",
) -> PlanGenerator:
    """Take a spectrum around open circuit; once more if the first does not pass, and then flagged if need be.

    The potential is read at rest before and after. Streams: open_circuit, impedance, spectra.

    Parameters
    ----------
    potentiostat : Potentiostat
    sweep : ImpedanceSweep or GalvanostaticImpedanceSweep
        Its direct voltage is replaced by the potential at rest.
    sample : CellSample, optional
        Whose voltages the alternating one may leave by 20 mV at most.
    chamber, press : optional
        Their temperature and pressure must stay as they are.
    section : str
        What this part of the experiment is called.

    Returns
    -------
    str
        Verdict on the last attempt: "accept" or "flag".

    Raises
    ------
    InstrumentError
        If no potential was read at rest: nothing is guessed.
    BadInput
        If the spectrum would lead the sample beyond its voltages.
    """
    marks = Marks("spectra", potentiostat.clock, _UNITS)
    verdict = ""
    for attempt in range(1, _ATTEMPTS + 1):
        before = yield from _surroundings(chamber, press)
        before_V = yield from _open_circuit_V(potentiostat)
        _check_room(sample, sweep, before_V)
        task = replace(sweep, bias_V=before_V) if isinstance(sweep, ImpedanceSweep) else sweep
        rows: list[dict[str, Any]] = []
        began = potentiostat.clock.now()
        yield from measure(potentiostat, task, "impedance", rows=rows)
        after_V = yield from _open_circuit_V(potentiostat)
        after = yield from _surroundings(chamber, press)
        name = potentiostat.name
        sound = [row for row in rows if row[f"{name}_status"] == "ok"]
        frequency_Hz = np.array([row[f"{name}_frequency"] for row in sound])
        z_ohm = np.array([row[f"{name}_z_real"] + 1j * row[f"{name}_z_imag"] for row in sound])
        judged = _judge(frequency_Hz, z_ohm, len(rows), task, after_V - before_V, before, after)
        verdict = judged["verdict"]
        if verdict == "repeat" and attempt == _ATTEMPTS:
            verdict = "flag"
        yield from marks.write(
            section=section,
            attempt=attempt,
            rows=len(rows),
            began=began,
            potential=before_V,
            drift=after_V - before_V,
            temperature=before[0],
            pressure=before[1],
            **{**judged, "verdict": verdict},
        )
        if verdict != "repeat":
            break
    return verdict


def _check_room(
    sample: CellSample | None, sweep: ImpedanceSweep | GalvanostaticImpedanceSweep, potential_V: float
) -> None:
    """Refuse to lead a sample beyond its voltages; with currents the instrument itself sees to that."""
    if sample is None or isinstance(sweep, GalvanostaticImpedanceSweep):
        return
    peak_V = math.sqrt(2) * sweep.amplitude_V
    low_V, high_V = sample.voltage_min_V - _BEYOND_V, sample.voltage_max_V + _BEYOND_V
    if not low_V <= potential_V - peak_V < potential_V + peak_V <= high_V:
        raise BadInput(
            f"a spectrum with a peak of {peak_V:.3g} V around {potential_V:.4g} V leaves the voltages of "
            f"sample {sample.name}, {sample.voltage_min_V:g} to {sample.voltage_max_V:g} V, by more than "
            f"{_BEYOND_V:g} V: write a smaller amplitude"
        )


def _judge(
    frequency_Hz: Any,
    z_ohm: Any,
    points: int,
    task: ImpedanceSweep | GalvanostaticImpedanceSweep,
    drift_V: float,
    before: tuple[float, float],
    after: tuple[float, float],
) -> dict[str, Any]:
    if len(frequency_Hz) < max(_LEAST_POINTS, points / 2):
        reason = f"{points - len(frequency_Hz)} of {points} points are not sound"
        return {"verdict": "repeat", "reasons": reason, "residual": math.nan}
    from ssblab.analysis.impedance import spectrum_validity

    amplitude_V = (
        task.amplitude_V
        if isinstance(task, ImpedanceSweep)
        else task.amplitude_A * float(np.max(np.abs(z_ohm)))
    )
    drift_K = after[0] - before[0]
    drift_relative = after[1] / before[1] - 1.0 if before[1] else math.nan
    try:
        validity = spectrum_validity(
            frequency_Hz,
            z_ohm,
            potential_drift_V=drift_V,
            amplitude_V=amplitude_V,
            temperature_drift_K=None if math.isnan(drift_K) else drift_K,
            pressure_drift_relative=None if math.isnan(drift_relative) else drift_relative,
        )
    except BadInput as error:
        return {"verdict": "flag", "reasons": str(error), "residual": math.nan}
    return {
        "verdict": validity.verdict,
        "reasons": "; ".join(validity.reasons),
        "residual": float(validity.residual),
    }


def _open_circuit_V(potentiostat: Potentiostat) -> PlanGenerator:
    yield from measure(potentiostat, OpenCircuit(_OPEN_CIRCUIT_S, 1.0), "open_circuit")
    potential_V = float(potentiostat.potential.get())
    if not (math.isfinite(potential_V) and potentiostat.quality.get() == "ok"):
        raise potentiostat.refused(
            "its potential at rest is not known, so no spectrum can be taken around it"
        )
    return potential_V


def _surroundings(chamber: ClimateChamber | None, press: Press | None) -> PlanGenerator:
    """Temperature (degC) and pressure (MPa) now; NaN where nothing measures it."""
    devices: Sequence[Any] = [device for device in (chamber, press) if device is not None]
    for device in devices:
        yield Msg("trigger", device, group="surroundings")
    yield Msg("wait", None, group="surroundings", timeout=3600.0)
    return (
        math.nan if chamber is None else float(chamber.temperature.get()),
        math.nan if press is None else float(press.pressure.get()),
    )
