"""Differential curves of a slow charge or discharge: dV/dQ, dQ/dV, and where their peaks are.

Both are of one smoothing spline of V(Q), which is as smooth as the noise of the voltage lets it be: the
smoothest whose distance from the records is that of the noise (C. H. Reinsch, Numer. Math. 10 (1967) 177).
dV/dQ is its slope. dQ/dV is not the reciprocal, which noise drives to infinity on every plateau, but the
charge that passes around a voltage, over the width of that neighbourhood (X. Feng et al., eTransportation 3
(2020) 100051), here with a Gaussian window.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from scipy.interpolate import BSpline, make_smoothing_spline
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq
from scipy.signal import find_peaks

from ssblab.analysis.common import Floats, finite_rows, noise
from ssblab.analysis.cycling import StepRecord
from ssblab.quantities import BadInput, Value

FEWEST = 20
# Records beyond which neighbours are averaged; points at which the curves are given, and peaks sought.
MOST, POINTS = 1000, 2001
# Standard deviation of the window of dQ/dV: in units of the noise, and at least a share of the voltages.
WINDOW_NOISE, WINDOW_SHARE = 3.0, 5e-3
FINE = 100_000  # points of the spline that are counted
# Smoothing in the spline's own unit, of charges from 0 to 1.
SMOOTHINGS = (1e-14, 1e2)
# Curves with new noise that say how uncertain peaks are.
REPEATS = 30


@dataclasses.dataclass(frozen=True)
class Differential:
    """Result of `differentiate`.

    Attributes
    ----------
    charge_mAh, voltage_V : ndarray, shape (m,)
        Evenly spaced charges; the smoothed voltage there.
    dV_dQ_V_mAh : ndarray, shape (m,)
        Slope there; negative in a discharge that lowers the voltage.
    level_V, dQ_dV_mAh_V : ndarray, shape (k,)
        Evenly spaced voltages; charge that passed around each, over the width, never below zero.
    noise_V : float
        To which was smoothed.
    """

    charge_mAh: Floats
    voltage_V: Floats
    dV_dQ_V_mAh: Floats
    level_V: Floats
    dQ_dV_mAh_V: Floats
    noise_V: float
    _records: tuple[Floats, Floats, float] = dataclasses.field(repr=False)


def differentiate(step: StepRecord, *, voltage_resolution_V: float) -> Differential:
    """Differentiate the voltage of one step with its charge.

    Parameters
    ----------
    step : StepRecord
        A charge or discharge at constant current, slow. Only rows whose charge rises count.
    voltage_resolution_V : float
        Of the instrument. Noise is taken as at least that of rounding (a step / sqrt(12)), because rounded
        readings that stay the same show none.

    Returns
    -------
    Differential

    Raises
    ------
    BadInput
        Fewer than 20 records whose charge rises.

    References
    ----------
    Requirement E3.
    """
    charge, voltage = finite_rows(
        step.charge_mAh, step.voltage_V, at_least=FEWEST, what="records of the step"
    )
    rises = np.diff(charge, prepend=-math.inf) > 0
    charge, voltage = charge[rises], voltage[rises]
    if len(charge) < FEWEST or np.any(np.diff(charge) <= 0):
        raise BadInput(f"{len(charge)} records whose charge rises: at least {FEWEST} are needed, in order")
    scatter_V = max(noise(voltage), voltage_resolution_V / math.sqrt(12))
    together = -(-len(charge) // MOST)
    whole = len(charge) // together * together
    charge, voltage = (one[:whole].reshape(-1, together).mean(axis=1) for one in (charge, voltage))
    scatter_V /= math.sqrt(together)
    smoothing = _smoothing(charge, voltage, scatter_V)
    return _curves(charge, voltage, scatter_V, smoothing)


def peaks(
    differential: Differential, *, of: Literal["dV/dQ", "dQ/dV"], prominence: float = 0.1
) -> list[Value]:
    """Positions of the peaks of the size of a differential curve.

    Parameters
    ----------
    differential : Differential
    of : {"dV/dQ", "dQ/dV"}
        Peaks of dV/dQ are charges (mAh), those of dQ/dV voltages (V).
    prominence : float
        By how much a peak has to stand out: of dV/dQ as share of the range between its 5th and 95th
        percentile, of dQ/dV as share of its largest.

    Returns
    -------
    list of Value
        By rising charge or voltage. Uncertain by noise (30 curves with new noise of the same size) and by
        smoothing (a curve ten times less smooth, with half the window).

    Raises
    ------
    BadInput
        A curve of another name.
    """
    if of not in ("dV/dQ", "dQ/dV"):
        raise BadInput(f"of={of!r}: give 'dV/dQ' or 'dQ/dV'")
    found = _peaks(differential, of, prominence)
    charge, voltage, smoothing = differential._records
    rougher = _peaks(_curves(charge, voltage, differential.noise_V / 2, smoothing / 10), of, prominence)
    clean = np.interp(charge, differential.charge_mAh, differential.voltage_V)
    generator, spread_V = np.random.default_rng(0), differential.noise_V
    repeats = [
        _peaks(_curves(charge, clean + spread_V * one, spread_V, smoothing), of, 0.0)
        for one in generator.standard_normal((REPEATS, len(charge)))
    ]
    name, unit = ("peak_charge", "mAh") if of == "dV/dQ" else ("peak_voltage", "V")
    about = (
        f"position of a peak of {of} of a smoothing spline of V(Q), as smooth as the noise of "
        f"{1e3 * differential.noise_V:.2g} mV lets it be (Reinsch 1967)"
    )
    values = []
    for number, place in enumerate(found, start=1):
        own = math.hypot(
            float(np.sqrt(np.mean([_nearest(repeat, place) ** 2 for repeat in repeats]))),
            _nearest(rougher, place),
        )
        values.append(Value(f"{name}_{number}", float(place), unit, own, about))
    return values


def _smoothing(charge: Floats, voltage: Floats, scatter_V: float) -> float:
    """Smoothing with which the spline is as far from the records as their noise; the least, if none is."""

    def too_far(exponent: float) -> float:
        spline = _spline(charge, voltage, 10**exponent)
        rms = math.sqrt(float(np.mean((voltage - spline(_unit(charge))) ** 2)))
        return rms - scatter_V

    low, high = (math.log10(one) for one in SMOOTHINGS)
    if too_far(low) >= 0:
        return SMOOTHINGS[0]
    return SMOOTHINGS[1] if too_far(high) <= 0 else float(10 ** brentq(too_far, low, high, xtol=0.01))


def _unit(charge: Floats) -> Floats:
    return np.asarray((charge - charge[0]) / (charge[-1] - charge[0]))


def _spline(charge: Floats, voltage: Floats, smoothing: float) -> BSpline:
    return make_smoothing_spline(_unit(charge), voltage, lam=smoothing * len(charge))


def _curves(charge: Floats, voltage: Floats, scatter_V: float, smoothing: float) -> Differential:
    spline = _spline(charge, voltage, smoothing)
    at = np.linspace(0, 1, POINTS)
    smooth = np.asarray(spline(at))
    slope = np.asarray(spline.derivative()(at)) / float(charge[-1] - charge[0])
    level, density = _density(
        np.asarray(spline(np.linspace(0, 1, FINE))), float(charge[-1] - charge[0]), scatter_V
    )
    return Differential(
        charge[0] + at * (charge[-1] - charge[0]),
        smooth,
        slope,
        level,
        density,
        scatter_V,
        (charge, voltage, smoothing),
    )


def _density(voltage: Floats, charge_mAh: float, scatter_V: float) -> tuple[Floats, Floats]:
    """Charge per voltage over voltages, with a Gaussian window; voltages are of evenly spaced charges."""
    span = float(np.ptp(voltage))
    window_V = max(WINDOW_NOISE * scatter_V, WINDOW_SHARE * span) or math.ulp(1.0)
    edges = np.arange(voltage.min() - 5 * window_V, voltage.max() + 5 * window_V, window_V / 4)
    counted = np.histogram(voltage, edges)[0] * charge_mAh / len(voltage) / (window_V / 4)
    return (edges[1:] + edges[:-1]) / 2, np.asarray(gaussian_filter1d(counted.astype(float), 4.0))


def _peaks(curve: Differential, of: str, prominence: float) -> Floats:
    """Positions, by a parabola through the largest point and its neighbours."""
    if of == "dV/dQ":
        # At the ends of a charge the slope grows without bound: its percentiles say what is high.
        along, size = curve.charge_mAh, np.abs(curve.dV_dQ_V_mAh)
        height = float(np.subtract(*np.percentile(size, [95, 5])))
    else:
        along, size = curve.level_V, curve.dQ_dV_mAh_V
        height = float(size.max())
    rows, _ = find_peaks(size, prominence=prominence * height)
    left, middle, right = size[rows - 1], size[rows], size[rows + 1]
    bend = left - 2 * middle + right
    offset = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1), 0.0)
    return np.asarray(np.interp(rows + offset, np.arange(len(along)), along))


def _nearest(places: Floats, place: float) -> float:
    return float(np.min(np.abs(places - place))) if len(places) else math.nan
