"""What moist air does to a sulfide electrolyte: H2S given off, water offered, resistance lost and won back.

Flows are standard flows: a mL/min is the amount of gas that fills a mL at the reference conditions of the
flow meter.  Uncertainties are standard uncertainties (k = 1).  One that is given as None is not included, and
the definition of the result says so.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssblab.analysis.common import (
    Floats,
    GAS_CONSTANT_J_mol_K,
    above_zero,
    relative_uncertainty,
    uncertainty_of,
)
from ssblab.analysis.compaction import pellet_conductivity
from ssblab.analysis.impedance import CircuitFit
from ssblab.analysis.moist_air import relative_slope_per_K, water_mole_fraction
from ssblab.quantities import BadInput, Value

# Alicat's default standard conditions: 25 degC, 101.325 kPa; ideal gas.
MOLAR_VOLUME_L_mol = GAS_CONSTANT_J_mol_K * 298.15 / 101.325
# The documents' accuracy of the humidity box (S001 L6261-6263).
BAND_K = 2.0
# An interval this much longer than the usual one is a hole in the record.
GAP = 5.0
# A rise of the resistance below this many standard uncertainties is none.
SIGNIFICANT = 3.0


@dataclasses.dataclass(frozen=True)
class H2SMeasurement:
    """Record of an H2S meter behind a reaction vessel, exposure and purge.

    Attributes
    ----------
    time_s : ndarray, shape (n,)
        Rising.
    h2s_ppb : ndarray, shape (n,)
        Mole fraction as the meter gives it; NaN where it gave none.
    flow_mL_min : float or ndarray, shape (n,)
        Standard flow through the vessel.
    mass_g : float
        Mass of the sample.
    zero_ppb, zero_uncertainty_ppb : float
        Mean reading on the bypass, without sample, and its standard uncertainty.
    mass_uncertainty_g : float or None
    calibration_relative_uncertainty, flow_relative_uncertainty : float
        Standard uncertainties of the meters' sensitivities: 0.05 for 5 %.
    molar_volume_L_mol : float
        At the reference conditions of the flow meter.
    """

    time_s: ArrayLike
    h2s_ppb: ArrayLike
    flow_mL_min: ArrayLike
    mass_g: float
    zero_ppb: float
    zero_uncertainty_ppb: float
    mass_uncertainty_g: float | None
    calibration_relative_uncertainty: float
    flow_relative_uncertainty: float
    molar_volume_L_mol: float = MOLAR_VOLUME_L_mol


def h2s_rate(measurement: H2SMeasurement) -> Floats:
    """Rate at which the sample gives off H2S, r(t) = C_H2S(t) Q / (V_m m).

    The zero is subtracted.  The rate is that at the meter: it follows the sample with the delay of vessel,
    tubes and meter.

    Returns
    -------
    ndarray, shape (n,)
        mol s^-1 g^-1; NaN where the reading is.

    Raises
    ------
    BadInput
        Mass or molar volume not above zero, or shapes that do not go together.

    References
    ----------
    Requirement A2, after S001 L6246-6267.
    """
    return _flow_mol_s_g(measurement) * _clean_fraction(measurement)


def h2s_total(measurement: H2SMeasurement, *, sulfur_mol_per_g: float) -> tuple[Value, Value]:
    """H2S given off over the whole record, as volume and as share of the sample's sulfur.

    Parameters
    ----------
    measurement : H2SMeasurement
        From the start of exposure to the end of the purge: H2S in vessel and tubes comes out in the purge.
    sulfur_mol_per_g : float
        Sulfur in the sample.

    Returns
    -------
    h2s_volume : Value
        cm3/g at the reference conditions of the flow.
    h2s_of_sulfur : Value
        mol of H2S in 100 mol of sulfur, in %.

    Raises
    ------
    BadInput
        Fewer than three usable samples or times that do not rise.
    """
    record = _Record.of(measurement.time_s, h2s_rate(measurement), _flow_mol_s_g(measurement))
    total_mol_g = record.integral(0)
    sensitivity, note = _sensitivity(measurement)
    absolute = math.hypot(
        record.noise(0) * float(np.linalg.norm(record.weights)),
        record.gap_uncertainty(0),
        measurement.zero_uncertainty_ppb * 1e-9 * record.integral(1),
    )
    uncertainty = math.hypot(absolute, total_mol_g * sensitivity)
    volume = 1000 * measurement.molar_volume_L_mol
    about = f"trapezoidal integral of (C_H2S - zero) Q / m over exposure and purge; {record.note}{note}"
    conditions = f"V_m = {measurement.molar_volume_L_mol:.4f} L/mol"
    return (
        Value("h2s_volume", total_mol_g * volume, "cm3/g", uncertainty * volume, f"{about}; {conditions}"),
        _share_of_sulfur(total_mol_g, uncertainty, sulfur_mol_per_g, f"{about}; {conditions}"),
    )


def h2s_rates(
    measurement: H2SMeasurement,
    *,
    exposure_start_s: float,
    exposure_end_s: float,
    smoothing_s: float,
    delay_s: float,
) -> tuple[Value, Value, Value]:
    """Initial, mean and largest rate of H2S during exposure, in mol s^-1 g^-1.

    Parameters
    ----------
    measurement : H2SMeasurement
    exposure_start_s, exposure_end_s : float
        Times of `measurement` at which moist air began and ceased to flow through the vessel.
    smoothing_s : float
        Length of the line fitted for the initial rate, and of the running mean for the largest.
    delay_s : float
        After the start: time that vessel and meter need to follow; left out of the fitted line.

    Returns
    -------
    h2s_rate_initial : Value
        At the start, of a straight line through the `smoothing_s` after the delay.
    h2s_rate_mean : Value
        Over the exposure.
    h2s_rate_max : Value
        Largest running mean over `smoothing_s`; noise lifts it a little.

    Raises
    ------
    BadInput
        Fewer than three usable samples in the exposure or in the fitted line.
    """
    time = np.asarray(measurement.time_s, dtype=float)
    inside = (time >= exposure_start_s) & (time <= exposure_end_s)
    rate, flow = h2s_rate(measurement), _flow_mol_s_g(measurement)
    record = _Record.of(time[inside], rate[inside], flow[inside])
    sensitivity, note = _sensitivity(measurement)
    zero = measurement.zero_uncertainty_ppb * 1e-9 * record.integral(1) / record.duration_s
    noise = record.noise(0)

    def value(name: str, rate: float, own: float, definition: str) -> Value:
        uncertainty = math.hypot(own, zero, rate * sensitivity)
        return Value(
            name, rate, "mol/s/g", uncertainty, f"r = (C_H2S - zero) Q / (V_m m): {definition}{note}"
        )

    first = exposure_start_s + delay_s
    initial, initial_noise = _line_at(record, exposure_start_s, first, first + smoothing_s)
    mean_noise = noise * float(np.linalg.norm(record.weights)) / record.duration_s
    largest = _largest_mean(record, smoothing_s)
    largest_noise = noise * math.sqrt(min(1.0, float(np.median(np.diff(record.time_s))) / smoothing_s))
    return (
        value(
            "h2s_rate_initial",
            initial,
            initial_noise,
            f"straight line through {delay_s:g} s to {delay_s + smoothing_s:g} s, at the start of exposure",
        ),
        value(
            "h2s_rate_mean",
            record.integral(0) / record.duration_s,
            math.hypot(mean_noise, record.gap_uncertainty(0) / record.duration_s),
            f"time average over exposure; {record.note}",
        ),
        value("h2s_rate_max", largest, largest_noise, f"largest running mean over {smoothing_s:g} s"),
    )


def water_dose(
    time_s: ArrayLike,
    dew_point_C: ArrayLike,
    flow_mL_min: ArrayLike,
    *,
    pressure_Pa: ArrayLike,
    mass_g: float,
    dew_point_uncertainty_K: float,
    pressure_uncertainty_Pa: float,
    flow_relative_uncertainty: float,
    mass_uncertainty_g: float | None,
    molar_volume_L_mol: float = MOLAR_VOLUME_L_mol,
) -> tuple[Value, Value]:
    """Water that flowed through the vessel, D = integral of x_w Q / V_m dt, of the dew point as measured.

    Parameters
    ----------
    time_s : array_like, shape (n,)
        Times while air flows through the vessel, rising.
    dew_point_C : array_like, shape (n,)
        Measured: frost point below 0 degC; see `ssblab.analysis.moist_air`.
    flow_mL_min : float or array_like, shape (n,)
        Standard flow.
    pressure_Pa : float or array_like, shape (n,)
        Total pressure at the dew-point sensor.
    mass_g : float
        Mass of the sample.
    dew_point_uncertainty_K, pressure_uncertainty_Pa, flow_relative_uncertainty : float
        Standard uncertainties of the meters, the same for all samples of the record.
    mass_uncertainty_g : float or None
    molar_volume_L_mol : float
        At the reference conditions of the flow meter.

    Returns
    -------
    water_dose : Value
        mol.
    water_dose_per_g : Value
        mol in a gram of sample.

    Raises
    ------
    BadInput
        Fewer than three usable samples, times that do not rise, or a mass that is not above zero.

    References
    ----------
    Requirement A2.  Documents, 2.2: 2 K of dew point are a fifth of the water, so the set point will not do.
    """
    above_zero(mass_g=mass_g, molar_volume_L_mol=molar_volume_L_mol)
    time, dew_point, flow, pressure = _columns(
        time_s=time_s, dew_point_C=dew_point_C, flow_mL_min=flow_mL_min, pressure_Pa=pressure_Pa
    )
    water_mol_s = water_mole_fraction(dew_point, pressure_Pa=pressure) * _mol_s(flow, molar_volume_L_mol)
    record = _Record.of(
        time, water_mol_s, water_mol_s * relative_slope_per_K(dew_point), water_mol_s / pressure
    )
    dose = record.integral(0)
    uncertainty = math.hypot(
        record.integral(1) * dew_point_uncertainty_K,
        record.integral(2) * pressure_uncertainty_Pa,
        dose * flow_relative_uncertainty,
        record.gap_uncertainty(0),
    )
    relative_mass, note = relative_uncertainty(mass_uncertainty_g, mass_g, "mass")
    about = (
        "trapezoidal integral of x_w Q / V_m, x_w = p_sat(measured dew point) / p (Murphy and Koop 2005, ice "
        f"below 0 degC), V_m = {molar_volume_L_mol:.4f} L/mol; {record.note}"
    )
    return (
        Value("water_dose", dose, "mol", uncertainty, about),
        Value(
            "water_dose_per_g",
            dose / mass_g,
            "mol/g",
            math.hypot(uncertainty, dose * relative_mass) / mass_g,
            about + note,
        ),
    )


def exposure_time_in_band(
    time_s: ArrayLike,
    dew_point_C: ArrayLike,
    *,
    set_point_C: float,
    dew_point_uncertainty_K: float,
    half_width_K: float = BAND_K,
) -> Value:
    """Time during which the dew point was within the band about its set point: what counts as exposure.

    What is not known is out of the band: samples without a reading and holes in the record do not count.

    Parameters
    ----------
    time_s, dew_point_C : array_like, shape (n,)
        Times while air flows through the vessel, rising; measured dew point.
    set_point_C : float
    dew_point_uncertainty_K : float
        Standard uncertainty of the dew-point meter.
    half_width_K : float
        The band is set point +/- this.

    Returns
    -------
    Value
        Seconds; uncertain by what a band narrower and wider by the meter's uncertainty would give.

    Raises
    ------
    BadInput
        Fewer than three samples or times that do not rise.
    """
    time, dew_point = _columns(time_s=time_s, dew_point_C=dew_point_C)
    error = np.where(np.isfinite(dew_point), np.abs(dew_point - set_point_C), np.inf)
    weights = _weights(time)
    counted, narrow, wide = (
        float(weights @ (error <= half_width_K + change))
        for change in (0.0, -dew_point_uncertainty_K, dew_point_uncertainty_K)
    )
    unread = int(np.count_nonzero(~np.isfinite(dew_point)))
    definition = (
        f"time with abs(dew point - {set_point_C:g} degC) <= {half_width_K:g} K; {unread} of {len(time)} "
        f"samples without a reading and {_hole_s(time):g} s of holes in the record do not count"
    )
    return Value("exposure_time_in_band", counted, "s", (wide - narrow) / 2, definition)


def dew_point_control(
    time_s: ArrayLike,
    dew_point_C: ArrayLike,
    *,
    set_point_C: float,
    dew_point_uncertainty_K: float,
    half_width_K: float = BAND_K,
) -> tuple[Value, Value]:
    """How well the dew point was held: rms error and share of the time within the band, both time-weighted.

    Parameters
    ----------
    time_s, dew_point_C, set_point_C, dew_point_uncertainty_K, half_width_K
        As for `exposure_time_in_band`.

    Returns
    -------
    dew_point_rms_error : Value
        K, over the samples with a reading.
    dew_point_share_in_band : Value
        Between 0 and 1, of the time from the first sample to the last.

    Raises
    ------
    BadInput
        Fewer than three samples with a reading or times that do not rise.
    """
    time, dew_point = _columns(time_s=time_s, dew_point_C=dew_point_C)
    usable = np.isfinite(dew_point)
    _enough(int(np.count_nonzero(usable)), len(time))
    weights = _weights(time)[usable]
    error = dew_point[usable] - set_point_C
    mean = float(np.average(error, weights=weights))
    rms = math.sqrt(float(np.average(error**2, weights=weights)))
    # The rms error if the meter were wrong by its uncertainty, to the worse side.
    shifted = math.sqrt(rms**2 + 2 * abs(mean) * dew_point_uncertainty_K + dew_point_uncertainty_K**2)
    in_band = exposure_time_in_band(
        time,
        dew_point,
        set_point_C=set_point_C,
        dew_point_uncertainty_K=dew_point_uncertainty_K,
        half_width_K=half_width_K,
    )
    span_s = float(time[-1] - time[0])
    return (
        Value(
            "dew_point_rms_error",
            rms,
            "K",
            shifted - rms,
            f"time-weighted root mean square of (dew point - {set_point_C:g} degC) over {len(error)} of "
            f"{len(time)} samples",
        ),
        Value(
            "dew_point_share_in_band",
            in_band.value / span_s,
            "1",
            (in_band.uncertainty or 0.0) / span_s,
            in_band.definition,
        ),
    )


def conductivity(
    fit: CircuitFit,
    *,
    thickness_mm: float,
    area_cm2: float,
    thickness_uncertainty_mm: float | None,
    area_uncertainty_cm2: float | None,
) -> Value:
    """Ionic conductivity of a pellet, sigma = L / (R_total A), in S/cm.

    Parameters
    ----------
    fit : CircuitFit
    thickness_mm, area_cm2 : float
        Geometry of the pellet.
    thickness_uncertainty_mm, area_uncertainty_cm2 : float or None

    Raises
    ------
    BadInput
        A length or an area that is not above zero.
    """
    return pellet_conductivity(
        fit.r_total,
        thickness_mm=thickness_mm,
        area_cm2=area_cm2,
        thickness_uncertainty_mm=thickness_uncertainty_mm,
        area_uncertainty_cm2=area_uncertainty_cm2,
    )


def recovery_of_added_resistance(pristine: Value, exposed: Value, heated: Value) -> Value:
    """Share of the resistance added by exposure that heating takes away, (R1 - R2) / (R1 - R0).

    The resistances are those of one pellet, so that its geometry cancels; their uncertainties count as
    independent.

    Parameters
    ----------
    pristine, exposed, heated : Value
        The same resistance (total or of the reaction) as prepared (R0), after exposure (R1) and after vacuum
        heating (R2).

    Returns
    -------
    Value
        Dimensionless: 0 for nothing, 1 for all.  NaN where exposure did not raise the resistance by more than
        three standard uncertainties; the definition says so.

    Raises
    ------
    BadInput
        Resistances in different units.

    Notes
    -----
    The documents report a recovery (52 % and 80 %, S001 L6283-6307) and define no formula for it: the
    formula, and so its comparison with those figures, is ours.
    """
    r0, r1, r2 = _resistances(pristine, exposed, heated)
    definition = "(R1 - R2) / (R1 - R0); our calibration: the documents define no formula for recovery"
    rise, rise_uncertainty = r1 - r0, math.hypot(uncertainty_of(exposed), uncertainty_of(pristine))
    if not rise > SIGNIFICANT * rise_uncertainty:
        reason = (
            f"not defined: R1 - R0 = {rise:.4g} {pristine.unit} is not above {SIGNIFICANT:g} times its "
            f"standard uncertainty of {rise_uncertainty:.2g} {pristine.unit}"
        )
        return Value("recovery_of_added_resistance", math.nan, "1", math.nan, f"{definition}; {reason}")
    recovery = (r1 - r2) / rise
    uncertainty = math.hypot(
        recovery * uncertainty_of(pristine), (1 - recovery) * uncertainty_of(exposed), uncertainty_of(heated)
    )
    return Value("recovery_of_added_resistance", recovery, "1", uncertainty / rise, definition)


def conductivity_retention(pristine: Value, heated: Value) -> Value:
    """Conductivity after vacuum heating over that as prepared, R0 / R2.

    Parameters
    ----------
    pristine, heated : Value
        Total resistances of one pellet, R0 and R2.

    Notes
    -----
    The documents define no formula for recovery; this is the other reading of it.
    """
    definition = "R0 / R2; our calibration: the documents define no formula for recovery"
    return _ratio("conductivity_retention", pristine, heated, definition)


def resistance_increase(pristine: Value, exposed: Value) -> Value:
    """Resistance after exposure over that as prepared, R1 / R0.

    Parameters
    ----------
    pristine, exposed : Value
        The same resistance of one pellet, R0 and R1.
    """
    return _ratio("resistance_increase", exposed, pristine, "R1 / R0")


@dataclasses.dataclass(frozen=True)
class _Record:
    """Usable rows of a record."""

    time_s: Floats
    columns: tuple[Floats, ...]
    left_out: int

    @classmethod
    def of(cls, time_s: ArrayLike, *columns: ArrayLike) -> _Record:
        """Leave out the rows with something that is not finite."""
        rows = np.broadcast_arrays(*(np.asarray(column, dtype=float) for column in (time_s, *columns)))
        usable = np.all(np.isfinite(rows), axis=0)
        time, *rest = (row[usable] for row in rows)
        _enough(len(time), len(usable))
        return cls(time, tuple(rest), int(np.count_nonzero(~usable)))

    @property
    def duration_s(self) -> float:
        return float(self.time_s[-1] - self.time_s[0])

    @property
    def weights(self) -> Floats:
        """Share of the time of each sample, by the trapezoidal rule, in s."""
        steps = np.diff(self.time_s)
        return (np.append(steps, 0) + np.append(0, steps)) / 2

    @property
    def note(self) -> str:
        """What was left out."""
        return (
            f"{len(self.time_s)} samples, {self.left_out} without a reading left out; "
            f"{_hole_s(self.time_s):g} s of holes in the record bridged by straight lines"
        )

    def integral(self, column: int) -> float:
        return float(np.trapezoid(self.columns[column], self.time_s))

    def noise(self, column: int) -> float:
        """Standard deviation of independent noise on a smooth signal, from second differences."""
        return float(np.sqrt(np.mean(np.diff(self.columns[column], 2) ** 2) / 6))

    def gap_uncertainty(self, column: int) -> float:
        """Uncertainty of the integral where holes are bridged: any monotonic course is as likely."""
        steps = np.diff(self.time_s)
        missed = np.abs(np.diff(self.columns[column])) * steps * _is_hole(steps)
        return float(np.linalg.norm(missed) / (2 * math.sqrt(3)))


def _columns(**columns: ArrayLike) -> list[Floats]:
    """Columns of one length, of which the first is a rising time."""
    time, *rest = (np.asarray(column, dtype=float) for column in columns.values())
    if time.ndim != 1 or any(column.shape not in ((), time.shape) for column in rest):
        shapes = ", ".join(f"{name} {np.shape(column)}" for name, column in columns.items())
        raise BadInput(f"columns of different shapes: {shapes}; give one value for each time")
    _enough(len(time), len(time))
    if not np.all(np.diff(time) > 0):
        raise BadInput("time_s does not rise from sample to sample: give the rows in order, each time once")
    return [time, *(np.broadcast_to(column, time.shape) for column in rest)]


def _enough(usable: int, given: int) -> None:
    if usable < 3:
        raise BadInput(
            f"{usable} of {given} samples are usable: at least 3 are needed; was the instrument read during "
            "this part of the run?"
        )


def _weights(time_s: Floats) -> Floats:
    """Time of each sample, in s; holes in the record are nobody's."""
    steps = np.diff(time_s)
    steps = np.where(_is_hole(steps), 0, steps)
    return np.asarray((np.append(steps, 0) + np.append(0, steps)) / 2)


def _is_hole(steps_s: Floats) -> NDArray[np.bool_]:
    return np.asarray(steps_s > GAP * np.median(steps_s))


def _hole_s(time_s: Floats) -> float:
    steps = np.diff(time_s)
    return float(steps[_is_hole(steps)].sum())


def _mol_s(flow_mL_min: ArrayLike, molar_volume_L_mol: float) -> Floats:
    return np.asarray(flow_mL_min, dtype=float) / 60 / (1000 * molar_volume_L_mol)


def _flow_mol_s_g(measurement: H2SMeasurement) -> Floats:
    """Flow of gas over mass of sample at each time."""
    above_zero(mass_g=measurement.mass_g, molar_volume_L_mol=measurement.molar_volume_L_mol)
    _, flow = _columns(time_s=measurement.time_s, flow_mL_min=measurement.flow_mL_min)
    return _mol_s(flow, measurement.molar_volume_L_mol) / measurement.mass_g


def _clean_fraction(measurement: H2SMeasurement) -> Floats:
    """Mole fraction of H2S without the zero."""
    _, h2s_ppb = _columns(time_s=measurement.time_s, h2s_ppb=measurement.h2s_ppb)
    return (h2s_ppb - measurement.zero_ppb) * 1e-9


def _sensitivity(measurement: H2SMeasurement) -> tuple[float, str]:
    """Relative uncertainty that all samples of the record share, and what is missing in it."""
    relative_mass, note = relative_uncertainty(measurement.mass_uncertainty_g, measurement.mass_g, "mass")
    relative = math.hypot(
        measurement.calibration_relative_uncertainty, measurement.flow_relative_uncertainty, relative_mass
    )
    return relative, note


def _share_of_sulfur(
    total_mol_g: float, uncertainty_mol_g: float, sulfur_mol_per_g: float, about: str
) -> Value:
    if not sulfur_mol_per_g > 0:
        return Value(
            "h2s_of_sulfur", math.nan, "%", math.nan, f"{about}; not defined: the sample has no sulfur"
        )
    value, uncertainty = 100 * total_mol_g / sulfur_mol_per_g, 100 * uncertainty_mol_g / sulfur_mol_per_g
    if value - SIGNIFICANT * uncertainty > 100:
        about += "; more than the sample holds: check zero, flow, mass and formula"
    return Value(
        "h2s_of_sulfur", value, "%", uncertainty, f"{about}; over the sulfur of the nominal composition"
    )


def _line_at(record: _Record, at_s: float, first_s: float, last_s: float) -> tuple[float, float]:
    """Value at a time of the straight line through a part of the record, and its standard uncertainty."""
    part = (record.time_s >= first_s) & (record.time_s <= last_s)
    if np.count_nonzero(part) < 3:
        raise BadInput(
            f"{np.count_nonzero(part)} usable samples between {first_s:g} s and {last_s:g} s: at least 3 are "
            "needed for the initial rate; lengthen smoothing_s"
        )
    elapsed, rate = record.time_s[part] - at_s, record.columns[0][part]
    matrix = np.column_stack([np.ones_like(elapsed), elapsed])
    solution = np.linalg.lstsq(matrix, rate, rcond=None)[0]
    scatter = float(np.sum((rate - matrix @ solution) ** 2)) / (len(rate) - 2)
    return float(solution[0]), math.sqrt(scatter * float(np.linalg.inv(matrix.T @ matrix)[0, 0]))


def _largest_mean(record: _Record, window_s: float) -> float:
    """Largest mean over a window of time that slides over the record."""
    time, rate = record.time_s, record.columns[0]
    window = min(window_s, record.duration_s)
    passed = np.append(0, np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(time)))
    begins = time[time <= time[-1] - window]
    means = (np.interp(begins + window, time, passed) - np.interp(begins, time, passed)) / window
    return float(means.max())


def _ratio(name: str, numerator: Value, denominator: Value, definition: str) -> Value:
    above, below = _resistances(numerator, denominator)
    if not below > 0:
        reason = f"not defined: {denominator.name} is {below:g} {denominator.unit}"
        return Value(name, math.nan, "1", math.nan, f"{definition}; {reason}")
    ratio = above / below
    uncertainty = math.hypot(uncertainty_of(numerator), ratio * uncertainty_of(denominator)) / below
    return Value(name, ratio, "1", uncertainty, definition)


def _resistances(*values: Value) -> tuple[float, ...]:
    units = {value.unit for value in values}
    if len(units) > 1:
        raise BadInput(f"resistances in {', '.join(sorted(units))}: give all of them in one unit")
    return tuple(value.value for value in values)
