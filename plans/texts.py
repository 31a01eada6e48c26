"""What several plans write in the language of steps: halves of cycles, pulses, holds, spectra."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from devices.families.potentiostat import Potentiostat
from plans.programs import Source
from ssblab.samples import CellSample
from ssblab.steps import Amount

__all__ = [
    "cycle_text",
    "discharge_text",
    "end_voltage",
    "half_cycle",
    "hold_text",
    "pulse_text",
    "spectrum_text",
    "state_text",
    "survey_text",
    "with_spectra",
]

# Records before a pulse, through which its open circuit is drawn (ssblab.analysis.resistance.DRIFT_s).
_BEFORE_S, _BEFORE_LOG_S = 60.0, 5.0
# Beginning of a discharge, for its resistance after 10 s.
_BEGINNING_S, _BEGINNING_LOG_S = 12.0, 1.0
#: Until when after the beginning of a hold there is a record how often, s: some hundred in each decade.
_SPACING = ((60.0, 1.0), (600.0, 10.0), (7200.0, 60.0), (72000.0, 600.0), (math.inf, 3600.0))
_HIGHEST_Hz = 1e6


def half_cycle(
    sample: CellSample,
    direction: Literal["charge", "discharge"],
    at: Amount,
    to: Amount | None = None,
    cut_off: Amount | None = None,
) -> str:
    """Write a charge or discharge to its end, which is held if a current is given at which that ends."""
    voltage = end_voltage(sample, direction, to).text()
    if cut_off is None:
        return f"{direction.capitalize()} at {at.text()} until {voltage}"
    return f"{direction.capitalize()} at {at.text()} to {voltage} and hold until {cut_off.text()}"


def end_voltage(
    sample: CellSample, direction: Literal["charge", "discharge"], to: Amount | None = None
) -> Amount:
    """Give the voltage where a charge or discharge ends: as given, or the sample's own limit on that side."""
    if to is not None:
        return to
    upwards = (direction == "charge") == (sample.charge_means == "delithiation")
    return Amount(sample.voltage_max_V if upwards else sample.voltage_min_V, "V")


def cycle_text(
    sample: CellSample,
    *,
    charge_at: Amount,
    discharge_at: Amount,
    rest_s: float,
    cut_off: Amount | None = None,
    cycles: int = 1,
    charge_to: Amount | None = None,
    discharge_to: Amount | None = None,
    first: Literal["charge", "discharge"] = "charge",
) -> str:
    """Write cycles of charge, rest, discharge, rest as a program; a held voltage is that of the charge."""
    halves = [
        half_cycle(sample, "charge", charge_at, charge_to, cut_off),
        half_cycle(sample, "discharge", discharge_at, discharge_to),
    ]
    if first == "discharge":
        halves.reverse()
    lines = [line for half in halves for line in (half, f"Rest for {rest_s!r} s")]
    if cycles == 1:
        return "\n".join(lines)
    return f"Repeat {cycles} times:\n" + "\n".join(f"    {line}" for line in lines)


def discharge_text(sample: CellSample, at: Amount, to: Amount | None = None) -> str:
    """Write a discharge whose resistance after 10 s can be told: from a rest, with close records at first."""
    end = end_voltage(sample, "discharge", to).text()
    return (
        f"Rest for {_BEFORE_S!r} s ({_BEFORE_LOG_S!r} s period)\n"
        f"Discharge at {at.text()} for {_BEGINNING_S!r} s or until {end} ({_BEGINNING_LOG_S!r} s period)\n"
        f"{half_cycle(sample, 'discharge', at, to)}"
    )


def state_text(
    sample: CellSample,
    move_mAh: float,
    rate: Amount,
    rest_s: float,
    charge_to: Amount | None = None,
    discharge_to: Amount | None = None,
) -> str:
    """Write how a cell gets (above 0) or loses a charge, not beyond its end voltage, and then rests."""
    direction, to = ("charge", charge_to) if move_mAh > 0 else ("discharge", discharge_to)
    end = end_voltage(sample, direction, to)  # type: ignore[arg-type] # one of the two words
    amount = f"{abs(move_mAh)!r} mAh or {end.text()}"
    return f"{direction.capitalize()} at {rate.text()} until {amount}\nRest for {rest_s!r} s"


def pulse_text(
    sample: CellSample,
    rates: Sequence[Amount],
    pulse_s: float,
    pulse_log_s: float,
    rest_s: float,
    charge_to: Amount | None = None,
    discharge_to: Amount | None = None,
) -> str:
    """Write discharge pulses, each from a rest with close records, each put back, as a program."""
    full, empty = (
        end_voltage(sample, "charge", charge_to).text(),
        end_voltage(sample, "discharge", discharge_to).text(),
    )
    lines = []
    for rate in rates:
        at, time = rate.text(), f"{pulse_s!r} s"
        lines += [
            f"Rest for {_BEFORE_S!r} s ({_BEFORE_LOG_S!r} s period)",
            f"Discharge pulse at {at} for {time} or until {empty} ({min(pulse_log_s, pulse_s)!r} s period)",
            f"Rest for {rest_s!r} s",
            f"Charge at {at} for {time} or until {full}",
            f"Rest for {rest_s!r} s",
        ]
    return "\n".join(lines)


def hold_text(potential: Amount, hold_s: float, log_every_s: float, *, even: bool = False) -> str:
    """Write a hold as steps that follow each other, with records that become less frequent.

    Parameters
    ----------
    potential : Amount
    hold_s : float
        All steps together.
    log_every_s : float
        Longest interval of records.
    even : bool
        One step with `log_every_s` throughout.
    """
    spacing = ((math.inf, log_every_s),) if even else _SPACING
    ends_s = [min(end_s, hold_s) for end_s, _ in spacing]
    steps = [
        (end_s - begin_s, min(interval_s, log_every_s))
        for begin_s, end_s, (_, interval_s) in zip([0.0, *ends_s], ends_s, spacing, strict=False)
        if end_s > begin_s
    ]
    lines = []
    for interval_s, alike in itertools.groupby(steps, key=lambda step: step[1]):
        duration_s = math.fsum(duration_s for duration_s, _ in alike)
        lines.append(f"Hold at {potential.text()} for {duration_s!r} s ({interval_s!r} s period)")
    return "\n".join(lines)


def spectrum_text(rest_s: float, from_Hz: float, to_Hz: float, points: int, amplitude: Amount) -> str:
    """Write a rest and a spectrum as a program."""
    return (
        f"Rest for {rest_s!r} s\n"
        f"EIS from {from_Hz!r} Hz to {to_Hz!r} Hz at {amplitude.text()}, {points} points per decade"
    )


def survey_text(channel: Source, to_Hz: float) -> str:
    """Write a spectrum at 10 mV, from 1 MHz or the highest frequency that a potentiostat does."""
    from_Hz = _HIGHEST_Hz
    if isinstance(channel, Potentiostat):
        from_Hz = min(from_Hz, channel.sweep_frequency.limits[1])
    return f"EIS from {from_Hz!r} Hz to {to_Hz!r} Hz at 10 mV, 10 points per decade"


def with_spectra(spectra: str, channel: Source) -> bool:
    """Whether spectra are to be taken: "yes", "no", or "auto", which is where the channel can."""
    return spectra == "yes" or (spectra == "auto" and isinstance(channel, Potentiostat))
