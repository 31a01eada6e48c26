"""Spectrum of a cell: which resistance relaxes at which frequencies, and do two electrodes make the cell.

No circuit is assumed. The spectrum is followed by a chain::

    R_series - L - C - (R_1 || C_1) - ... - (R_n || C_n)

with fixed time constants, close to each other, and resistances that are not negative: its distribution of
relaxation times. A resistance "between two frequencies" is what of this distribution has its 1/(2 pi tau)
between them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from ssblab.analysis.impedance import Complexes, Floats, checked, stacked
from ssblab.quantities import BadInput, Value

# The chain: RC elements per decade, and how far it goes on beyond the frequencies that were measured.
PER_DECADE, BEYOND_DECADES = 15, 1.0
# Weights of the smoothness that are tried, of the distribution relative to abs(Z) at the same frequency.
WEIGHTS = 10.0 ** np.arange(-4.0, 2.01, 0.5)
# The smoothest chain is taken whose misfit is at most this above the least: half of the standard deviation
# that a sum of 2 n squares has, for the usual n of 80.
RISE = 0.05
# No instrument is better than this; without it a computed spectrum would be followed to its last digit.
LEAST_NOISE = 2e-4
REPLICATES, SEED = 16, 0

CHAIN = (
    "distribution of relaxation times by a non-negative regularised least-squares fit weighted by 1/abs(Z); "
    "uncertainty from the scatter around the fit and from the smoothness asked for"
)


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """Distribution of relaxation times of a spectrum.

    Attributes
    ----------
    frequency_Hz : ndarray, shape (n,)
        The finite points, from high to low frequency.
    impedance_ohm, fitted_ohm : ndarray of complex, shape (n,)
        Measured and of the chain.
    tau_s, resistance_ohm : ndarray, shape (m,)
        Time constants, evenly spaced in the logarithm, and the resistance at each.
    rms_residual : float
        Root mean square of abs(measured - fitted) / abs(measured).
    solutions : ndarray, shape (k, m + 3)
        The chain in three ways: first the one above, then the least smooth one, then those of spectra with
        new noise. Columns are the resistances, R_series, the reactance of L at the highest frequency and that
        of C at the lowest.
    """

    frequency_Hz: Floats
    impedance_ohm: Complexes
    fitted_ohm: Complexes
    tau_s: Floats
    resistance_ohm: Floats
    rms_residual: float
    solutions: Floats = dataclasses.field(repr=False)

    def value(self, name: str, shares: Floats, definition: str) -> Value:
        """Give a resistance (ohm) that is a sum of shares of the chain's elements, with its uncertainty."""
        chosen, rough, *others = (self.solutions @ shares).tolist()
        uncertainty = math.hypot(float(np.std(others)), chosen - rough)
        return Value(
            name,
            chosen,
            "ohm",
            uncertainty,
            f"{definition}; {CHAIN}; rms residual {self.rms_residual:.2g}",
        )


def relaxation_times(frequency_Hz: ArrayLike, z_ohm: ArrayLike) -> Relaxation:
    """Find the distribution of relaxation times of a spectrum.

    Of all chains that follow the spectrum about as well as the best one, the smoothest is taken. Arcs of one
    RC come out as narrow peaks, arcs with a constant-phase element as broad ones.

    Parameters
    ----------
    frequency_Hz : array_like, shape (n,)
        In any order; at least 12 finite points, about ten a decade.
    z_ohm : array_like of complex, shape (n,)
        Negative imaginary part for a capacitor.

    Raises
    ------
    BadInput
        Too few finite points or frequencies that are not above zero.

    References
    ----------
    Schichlein et al., J. Appl. Electrochem. 32 (2002) 875 (distribution); Saccoccio et al., Electrochim. Acta
    147 (2014) 470 (regularisation); Provencher, Comput. Phys. Commun. 27 (1982) 213 (smoothest of the good).
    """
    frequency, impedance = checked(frequency_Hz, z_ohm)
    order = np.argsort(frequency)[::-1]
    frequency, impedance = frequency[order], impedance[order]
    omega, weight = 2 * np.pi * frequency, 1 / np.abs(impedance)
    tau = _time_constants(omega)
    model = _chain(omega, tau)
    matrix, target = stacked(model * weight[:, None]), stacked(impedance * weight)
    roughness = _roughness(tau, omega, np.abs(impedance))
    rough = chosen = _solve(matrix, target, WEIGHTS[0] * roughness)
    smoothness = WEIGHTS[0]
    floor = len(target) * LEAST_NOISE**2
    allowed = (1 + RISE) * max(_misfit(matrix, target, rough), floor)
    for tried in WEIGHTS[1:]:
        solution = _solve(matrix, target, tried * roughness)
        if _misfit(matrix, target, solution) > allowed:
            break
        smoothness, chosen = tried, solution
    misfit = max(_misfit(matrix, target, chosen), floor)
    scatter = math.sqrt(misfit / max(1, len(target) - int(np.count_nonzero(chosen))))
    noise = scatter * np.random.default_rng(SEED).standard_normal((REPLICATES, len(target)))
    others = [_solve(matrix, matrix @ chosen + one, smoothness * roughness) for one in noise]
    return Relaxation(
        frequency_Hz=frequency,
        impedance_ohm=impedance,
        fitted_ohm=model @ chosen,
        tau_s=tau,
        resistance_ohm=chosen[: len(tau)],
        rms_residual=math.sqrt(_misfit(matrix, target, chosen) / len(frequency)),
        solutions=np.array([chosen, rough, *others]),
    )


def arc_resistance(frequency_Hz: ArrayLike, z_ohm: ArrayLike, *, from_Hz: float, to_Hz: float) -> Value:
    """Resistance that relaxes between two frequencies.

    From 100 kHz to 1 MHz that is the resistance between the particles of a sulfide electrolyte. What counts
    is the apex 1/(2 pi tau) of each part of the distribution: of an arc with a constant-phase element with
    its apex in the band a part relaxes outside, 5 % of one of exponent 0.95 at 400 kHz. Where arcs overlap
    over the edge of a band, or an arc has its apex at the end of the frequencies measured, the uncertainty is
    large.

    Parameters
    ----------
    frequency_Hz, z_ohm : array_like, shape (n,)
        As for `relaxation_times`.
    from_Hz, to_Hz : float
        Within the frequencies measured.

    Returns
    -------
    Value
        In ohm.

    Raises
    ------
    BadInput
        As `relaxation_times`, or a band that is not within the frequencies measured.
    """
    relaxation = relaxation_times(frequency_Hz, z_ohm)
    lowest_Hz, highest_Hz = relaxation.frequency_Hz[-1], relaxation.frequency_Hz[0]
    if not from_Hz < to_Hz:
        raise BadInput(f"from_Hz={from_Hz:g} and to_Hz={to_Hz:g}: give the lower frequency first")
    if from_Hz < 0.99 * lowest_Hz or to_Hz > 1.01 * highest_Hz:
        raise BadInput(
            f"from_Hz={from_Hz:g} to to_Hz={to_Hz:g} leaves what was measured, {lowest_Hz:g} to "
            f"{highest_Hz:g} Hz: measure further, or ask for less"
        )
    shares = _band(relaxation, from_Hz, to_Hz)
    return relaxation.value(
        "arc_resistance", shares, f"resistance that relaxes between {from_Hz:g} and {to_Hz:g} Hz"
    )


def ohmic_resistance(frequency_Hz: ArrayLike, z_ohm: ArrayLike) -> Value:
    """Resistance that has not relaxed at the highest frequency measured, without the inductance of the leads.

    Arguments, result and errors as of `arc_resistance`. With `polarisation_resistance` it makes all of the
    resistance down to the lowest frequency.
    """
    relaxation = relaxation_times(frequency_Hz, z_ohm)
    highest_Hz = float(relaxation.frequency_Hz[0])
    shares = _band(relaxation, highest_Hz, math.inf)
    shares[len(relaxation.tau_s)] = 1.0
    return relaxation.value(
        "ohmic_resistance", shares, f"series resistance and all that relaxes above {highest_Hz:g} Hz"
    )


def polarisation_resistance(frequency_Hz: ArrayLike, z_ohm: ArrayLike) -> Value:
    """Resistance of all that relaxes within the frequencies measured, diffusion with it.

    Arguments, result and errors as of `arc_resistance`.
    """
    relaxation = relaxation_times(frequency_Hz, z_ohm)
    lowest_Hz, highest_Hz = float(relaxation.frequency_Hz[-1]), float(relaxation.frequency_Hz[0])
    return relaxation.value(
        "polarisation_resistance",
        _band(relaxation, lowest_Hz, highest_Hz),
        f"resistance of all that relaxes between {lowest_Hz:g} and {highest_Hz:g} Hz",
    )


def low_frequency_resistance(
    frequency_Hz: ArrayLike, z_ohm: ArrayLike, *, at_Hz: float | None = None
) -> Value:
    """Real part at a low frequency, off the smoothed spectrum.

    Parameters
    ----------
    frequency_Hz, z_ohm : array_like, shape (n,)
        As for `relaxation_times`.
    at_Hz : float, optional
        Within the frequencies measured; by default the lowest. 1/(2 pi 10 s), 16 mHz, goes with the
        resistance of a pulse of 10 s.

    Raises
    ------
    BadInput
        As `relaxation_times`, or a frequency that is not within those measured.
    """
    relaxation = relaxation_times(frequency_Hz, z_ohm)
    lowest_Hz, highest_Hz = float(relaxation.frequency_Hz[-1]), float(relaxation.frequency_Hz[0])
    at_Hz = lowest_Hz if at_Hz is None else at_Hz
    if not 0.99 * lowest_Hz <= at_Hz <= 1.01 * highest_Hz:
        raise BadInput(f"at_Hz={at_Hz:g} is not within what was measured, {lowest_Hz:g} to {highest_Hz:g} Hz")
    shares = np.zeros(len(relaxation.tau_s) + 3)
    shares[:-3] = 1 / (1 + (2 * np.pi * at_Hz * relaxation.tau_s) ** 2)
    shares[-3] = 1.0
    return relaxation.value("low_frequency_resistance", shares, f"real part of the impedance at {at_Hz:g} Hz")


@dataclasses.dataclass(frozen=True)
class Closure:
    """Result of `closure`.

    Attributes
    ----------
    frequency_Hz : ndarray, shape (n,)
        The points that are finite in all three spectra, from low to high frequency.
    residual : ndarray of complex, shape (n,)
        (cell - positive - negative) / abs(cell).
    closed_to_Hz : Value
        Highest frequency up to which, from the lowest on, the residual is within the tolerance; NaN where it
        is beyond at the lowest already.
    closure_error : Value
        Largest residual up to there; of all frequencies where there is none.
    """

    frequency_Hz: Floats
    residual: Complexes
    closed_to_Hz: Value
    closure_error: Value


def closure(
    frequency_Hz: ArrayLike,
    z_cell_ohm: ArrayLike,
    z_positive_ohm: ArrayLike,
    z_negative_ohm: ArrayLike,
    *,
    tolerance: float = 0.02,
) -> Closure:
    """Compare the impedance of a cell with the sum of those of its electrodes against the reference.

    Where they differ, the potential of the reference electrode does not follow what is between the
    electrodes (its own impedance, stray capacitance), or the cell changed between the spectra. What a
    misplaced reference takes from one electrode and gives to the other is not seen.

    Parameters
    ----------
    frequency_Hz : array_like, shape (n,)
        Of all three spectra, in any order.
    z_cell_ohm, z_positive_ohm, z_negative_ohm : array_like of complex, shape (n,)
        Each with a positive real part for a resistance.
    tolerance : float
        Of abs(residual). 0.02 is twice the 1 % that three spectra of 0.5 % each make.

    Raises
    ------
    BadInput
        Shapes that differ, no point that is finite in all, frequencies that are not above zero.
    """
    frequency = np.asarray(frequency_Hz, dtype=float)
    spectra = [np.asarray(z, dtype=complex) for z in (z_cell_ohm, z_positive_ohm, z_negative_ohm)]
    if frequency.ndim != 1 or any(z.shape != frequency.shape for z in spectra):
        raise BadInput(
            "spectra of different lengths: measure cell, positive and negative at the same frequencies"
        )
    usable = np.isfinite([frequency, *spectra]).all(axis=0) & (spectra[0] != 0)
    if not usable.any() or frequency[usable].min() <= 0:
        raise BadInput("no frequency above zero at which all three impedances are finite")
    order = np.flatnonzero(usable)[np.argsort(frequency[usable])]
    frequency = frequency[order]
    cell, positive, negative = (z[order] for z in spectra)
    residual = (cell - positive - negative) / np.abs(cell)
    beyond = np.flatnonzero(np.abs(residual) > tolerance)
    count = int(beyond[0]) if len(beyond) else len(frequency)
    error = np.abs(residual[: count or None]).max()
    definition = "abs(Z_cell - Z_positive - Z_negative) / abs(Z_cell)"
    return Closure(
        frequency,
        residual,
        _closed_to(frequency, count, f"{definition} <= {tolerance:g}"),
        Value("closure_error", float(error), "1", math.nan, f"largest {definition} up to closed_to_Hz"),
    )


def _closed_to(frequency: Floats, count: int, definition: str) -> Value:
    if count == 0:
        told = f"not even at the lowest frequency, {frequency[0]:g} Hz, {definition}"
        return Value("closed_to_Hz", math.nan, "Hz", math.nan, told)
    told = f"highest frequency up to which {definition}"
    highest_Hz = float(frequency[count - 1])
    if count == len(frequency):
        return Value("closed_to_Hz", highest_Hz, "Hz", None, f"{told}: all that were measured")
    # The end lies anywhere up to the next point (GUM 4.3.7).
    uncertainty_Hz = float(frequency[count] - highest_Hz) / math.sqrt(3)
    return Value("closed_to_Hz", highest_Hz, "Hz", uncertainty_Hz, told)


def _time_constants(omega: Floats) -> Floats:
    beyond = 10.0**BEYOND_DECADES
    shortest, longest = 1 / (beyond * float(omega.max())), beyond / float(omega.min())
    return np.geomspace(shortest, longest, 1 + round(PER_DECADE * math.log10(longest / shortest)))


def _chain(omega: Floats, tau: Floats) -> Complexes:
    """Impedance of each element for one ohm, shape (frequencies, elements)."""
    elements = 1 / (1 + 1j * np.outer(omega, tau))
    rest = [np.ones_like(omega), 1j * omega / omega.max(), -1j * omega.min() / omega]
    return np.hstack([elements, np.transpose(rest)])


def _roughness(tau: Floats, omega: Floats, magnitude: Floats) -> Floats:
    """Matrix of second differences of the distribution, relative to abs(Z) at the same frequency.

    Relative, because the points have their weights relative: the small arc of a cell above 100 kHz is not to
    be smoothed away beside its large impedance at 10 mHz.
    """
    count = len(tau)
    ends = np.zeros((1, count))
    local = np.interp(np.log(1 / tau), np.log(omega[::-1]), magnitude[::-1])
    differences = np.diff(np.vstack([ends, np.eye(count), ends]), n=2, axis=0) / local
    return np.hstack([differences, np.zeros((len(differences), 3))])


def _solve(matrix: Floats, target: Floats, penalty: Floats) -> Floats:
    stack = np.vstack([matrix, penalty])
    return np.asarray(
        nnls(stack, np.concatenate([target, np.zeros(len(penalty))]), maxiter=50 * stack.shape[1])[0]
    )


def _misfit(matrix: Floats, target: Floats, solution: Floats) -> float:
    residuals = matrix @ solution - target
    return float(residuals @ residuals)


def _band(relaxation: Relaxation, from_Hz: float, to_Hz: float) -> Floats:
    """Share of each element of the chain that lies between two frequencies; edges divide an element."""
    log_tau = np.log(relaxation.tau_s)
    half = 0.5 * (log_tau[1] - log_tau[0])
    low = -math.log(2 * math.pi * to_Hz) if math.isfinite(to_Hz) else -math.inf
    high = -math.log(2 * math.pi * from_Hz)
    inside = np.clip(log_tau + half, low, high) - np.clip(log_tau - half, low, high)
    return np.concatenate([inside / (2 * half), np.zeros(3)])
