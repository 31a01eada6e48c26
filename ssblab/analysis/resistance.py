"""DC resistance from current pulses: how far the voltage has gone after a time, per current.

What the open circuit does by itself meanwhile is a straight line through the end of the rest, and taken off.
What remains holds all that answers within that time: ohmic drop, charge transfer, the beginning of diffusion,
and the small change of the state of charge that the pulse makes (0.14 % for 10 s at 0.5C, requirement D8).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ssblab.analysis.common import (
    RECTANGULAR,
    COULOMB_PER_mAh,
    above_zero,
    noise,
    relative_uncertainty,
    straight_line,
    uncertainty_of,
)
from ssblab.analysis.cycling import StepRecord
from ssblab.quantities import BadInput, Value

# Currents are two where they lie apart by so many accuracies of the instrument, or so much of the larger.
APART, APART_LEAST = 5.0, 0.01
# Rest before the pulse through which the line goes: longer than the pulse, short against the relaxation.
DRIFT_s = 60.0
FORMULA = "V is taken less the open circuit, a straight line through the end of the rest"


@dataclasses.dataclass(frozen=True)
class Pulse:
    """A pulse of constant current and the rest before it.

    Attributes
    ----------
    rest, pulse : StepRecord
    start_s : float, optional
        When the current began, on the clock of the records. Default: from the charge that the instrument had
        counted at the first record of the pulse, which is 0 where there is no counter.
    """

    rest: StepRecord
    pulse: StepRecord
    start_s: float | None = None

    @property
    def current_A(self) -> float:
        """Median of the records, positive where it raises the voltage."""
        return float(np.median(self.pulse.current_A))

    @property
    def began_s(self) -> float:
        """When the current began."""
        if self.start_s is not None:
            return self.start_s
        if not self.current_A:
            raise BadInput(f"step {self.pulse.number}: no current was recorded, so it is no pulse")
        counted_s = COULOMB_PER_mAh * float(self.pulse.charge_mAh[0]) / abs(self.current_A)
        return max(float(self.pulse.time_s[0]) - counted_s, float(self.rest.time_s[-1]))


def pulse_resistance(
    pulse: Pulse,
    *,
    after_s: Sequence[float] = (0.1, 1.0, 10.0),
    voltage_resolution_V: float,
    current_relative_accuracy: float,
) -> dict[float, Value]:
    """DC resistance of one pulse at several times, R = (V(t) - V0(t)) / I.

    Parameters
    ----------
    pulse : Pulse
    after_s : sequence of float
        Times since the current began. What the records do not reach, or begin after, is left out.
    voltage_resolution_V, current_relative_accuracy : float
        Of the instrument; both rectangular: +/- half a step of the resolution, +/- the accuracy.

    Returns
    -------
    dict of float to Value
        ohm, by time; `dc_resistance_10s` for 10 s.

    Raises
    ------
    BadInput
        No current in the pulse.

    References
    ----------
    Requirement D8.
    """
    found = {}
    for time_s in after_s:
        change = _change(pulse, time_s, voltage_resolution_V)
        if change is None:
            continue
        change_V, own_V, note = change
        value = change_V / pulse.current_A
        uncertainty = math.hypot(own_V / pulse.current_A, value * current_relative_accuracy * RECTANGULAR)
        definition = f"(V - V0) / I at {time_s:g} s of a pulse of {pulse.current_A:.4g} A; {FORMULA}; {note}"
        found[time_s] = Value(_name(time_s), value, "ohm", uncertainty, definition)
    return found


def dc_resistance(
    pulses: Sequence[Pulse],
    *,
    after_s: float = 10.0,
    voltage_resolution_V: float,
    current_relative_accuracy: float,
) -> Value:
    """DC resistance as the slope of V(t) against I over pulses of several currents; t is 10 s by default.

    The line need not go through the origin: what all pulses have in common drops out.

    Parameters
    ----------
    pulses : sequence of Pulse
        Of at least two currents (`current_groups`), at one state of charge.
    after_s, voltage_resolution_V, current_relative_accuracy
        As for `pulse_resistance`.

    Returns
    -------
    Value
        `dc_resistance_10s`, in ohm. Its uncertainty is the larger of what the scatter around the line and
        what the uncertainties of the single voltages give, with the accuracy of the current.

    Raises
    ------
    BadInput
        Pulses of fewer than two currents that reach `after_s`.
    """
    changes = [(pulse.current_A, _change(pulse, after_s, voltage_resolution_V)) for pulse in pulses]
    reached = [(current_A, change) for current_A, change in changes if change is not None]
    groups = current_groups(
        [current_A for current_A, _ in reached], current_relative_accuracy=current_relative_accuracy
    )
    if len(groups) < 2:
        raise BadInput(
            f"{len(reached)} of {len(pulses)} pulses reach {after_s:g} s; at least two currents are needed"
        )
    current_A, change_V, own_V = (
        np.array(column)
        for column in zip(*((amperes, *change[:2]) for amperes, change in reached), strict=True)
    )
    line = straight_line(current_A, change_V, own_V)
    gain = line.slope * current_relative_accuracy * RECTANGULAR
    offset_V, offset_uncertainty_V = line.at(0.0)
    definition = (
        f"slope of V({after_s:g} s) against I over {len(reached)} pulses from {current_A.min():.4g} A to "
        f"{current_A.max():.4g} A; {FORMULA}; the line is at ({offset_V:.2g} +/- {offset_uncertainty_V:.1g}) "
        "V without current"
    )
    return Value(_name(after_s), line.slope, "ohm", math.hypot(line.slope_uncertainty, gain), definition)


def current_groups(current_A: Sequence[float], *, current_relative_accuracy: float) -> list[list[int]]:
    """Sort currents into those that are one current, given by their places, from the least to the largest.

    Two measured currents always differ; what tells them apart is more than five times the accuracy of the
    instrument, and more than 1 %. A line through others would give their noise for a slope.

    Parameters
    ----------
    current_A : sequence of float
    current_relative_accuracy : float
        Of the instrument.
    """
    share = max(APART * current_relative_accuracy, APART_LEAST)
    groups: list[list[int]] = []
    for place in sorted(range(len(current_A)), key=lambda place: current_A[place]):
        if groups:
            first_A, this_A = current_A[groups[-1][0]], current_A[place]
            if this_A - first_A <= share * max(abs(first_A), abs(this_A)):
                groups[-1].append(place)
                continue
        groups.append([place])
    return groups


def mean_resistance(resistances: Sequence[Value]) -> Value:
    """Mean of the resistances that several pulses of one current gave.

    Its uncertainty is the larger of what the scatter gives and of the mean of the single uncertainties, most
    of which is common to all.

    Raises
    ------
    BadInput
        If there is none.
    """
    if not resistances:
        raise BadInput("no resistance to take the mean of")
    first, count = resistances[0], len(resistances)
    if count == 1:
        return first
    numbers = np.array([value.value for value in resistances])
    common = float(np.mean([uncertainty_of(value) for value in resistances]))
    scatter = float(numbers.std(ddof=1)) / math.sqrt(count)
    definition = f"mean of {count} pulses: {first.definition}"
    return Value(first.name, float(numbers.mean()), first.unit, max(common, scatter), definition)


def areal_resistance(resistance: Value, *, area_cm2: float, area_uncertainty_cm2: float | None) -> Value:
    """Resistance times the area of the electrodes, in ohm cm2.

    Raises
    ------
    BadInput
        A resistance that is not in ohm, or an area not above zero.
    """
    above_zero(area_cm2=area_cm2)
    if resistance.unit != "ohm":
        raise BadInput(f"{resistance.name} is in {resistance.unit}, ohm is needed")
    own, note = relative_uncertainty(area_uncertainty_cm2, area_cm2, "area")
    value = resistance.value * area_cm2
    uncertainty = math.hypot(uncertainty_of(resistance) * area_cm2, value * own)
    definition = f"{resistance.definition}; times the area{note}"
    return Value(f"areal_{resistance.name}", value, "ohm cm2", uncertainty, definition)


def _name(after_s: float) -> str:
    return f"dc_resistance_{after_s:g}s"


def _change(pulse: Pulse, after_s: float, voltage_resolution_V: float) -> tuple[float, float, str] | None:
    """Change of voltage at a time by the pulse, its standard uncertainty, and what is to be said of it."""
    at_s = pulse.began_s + after_s
    time, voltage = pulse.pulse.time_s, pulse.pulse.voltage_V
    if not pulse.current_A:
        raise BadInput(f"step {pulse.pulse.number}: no current was recorded, so it is no pulse")
    # Times of records have their own resolution: a millisecond too early is in time.
    if not time[0] - 1e-3 <= at_s <= time[-1] + 1e-3:
        return None
    voltage_V = float(np.interp(at_s, time, voltage))
    before_V, before_uncertainty_V, note = _open_circuit(pulse, at_s)
    # The second half is smooth: the jump at the beginning is no noise.
    scatter_V = noise(voltage[len(voltage) // 2 :])
    uncertainty_V = math.hypot(
        before_uncertainty_V,
        _between(pulse, at_s),
        voltage_resolution_V / math.sqrt(12),
        scatter_V if math.isfinite(scatter_V) else 0.0,
    )
    return voltage_V - before_V, uncertainty_V, note


def _between(pulse: Pulse, at_s: float) -> float:
    """Uncertainty of reading between two records: any course that only rises or falls is as likely."""
    time, voltage = pulse.pulse.time_s, pulse.pulse.voltage_V
    after = int(np.clip(np.searchsorted(time, at_s), 1, len(time) - 1)) if len(time) > 1 else 0
    if after == 0 or time[after] == time[after - 1]:
        return 0.0
    part = (at_s - time[after - 1]) / (time[after] - time[after - 1])
    nearer = float(np.clip(min(part, 1 - part), 0, 0.5))
    return nearer * abs(float(voltage[after] - voltage[after - 1])) * RECTANGULAR


def _open_circuit(pulse: Pulse, at_s: float) -> tuple[float, float, str]:
    """Voltage without the pulse at a time, its standard uncertainty, and what was taken off."""
    rest = pulse.rest
    # What a cycler writes at the moment of the change may already be of the pulse.
    near = (rest.time_s >= pulse.began_s - DRIFT_s) & (rest.time_s <= pulse.began_s)
    time, voltage = rest.time_s[near] - pulse.began_s, rest.voltage_V[near]
    if len(np.unique(time)) < 3:
        return (
            rest.last_voltage_V,
            0.0,
            f"V0 is the last voltage of the rest: fewer than 3 records in its last {DRIFT_s:g} s",
        )
    line = straight_line(time, voltage)
    value_V, uncertainty_V = line.at(at_s - pulse.began_s)
    return value_V, uncertainty_V, f"it drifted by {1e3 * line.slope:.2g} mV/s"
