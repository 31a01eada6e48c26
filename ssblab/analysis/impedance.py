"""Is a spectrum valid; impedance of an electrolyte pellet: which resistances does it hold.

The circuit of a pellet is that of an ion conductor pressed between electrodes that let no (or little) ion
through::

    L - (R_bulk || CPE) - (R_reaction || CPE) - CPE_electrode
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares, nnls

from ssblab.quantities import BadInput, Value

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# Fewer points than this cannot determine the nine elements of the circuit.
FEWEST_POINTS = 12
# Below 0.4 an arc is no arc, above 1 a CPE is not passive.
EXPONENTS = (0.4, 1.0)
# The grid of starts.
GRID_POINTS, START_TAILS, START_ARC, STARTS = 14, (0.6, 0.75, 0.9), 0.9, 3

TOTAL = (
    "R_bulk + R_reaction of L - R_bulk||CPE - R_reaction||CPE - CPE_electrode, least squares weighted by "
    "1/abs(Z); uncertainty from the scatter around the fit"
)
BULK = "resistance of the arc with the smaller time constant"
REACTION = "resistance of the arc with the larger time constant"
MERGED = "the data do not tell two arcs apart, so one arc holds the total resistance"


@dataclasses.dataclass(frozen=True)
class CircuitFit:
    """Result of `fit_circuit`.

    Attributes
    ----------
    frequency_Hz : ndarray, shape (n,)
        The finite points, from high to low frequency.
    impedance_ohm, fitted_ohm : ndarray of complex, shape (n,)
        Measured and of the circuit.
    residuals : ndarray of complex, shape (n,)
        (measured - fitted) / abs(measured).
    r_bulk, r_reaction, r_total : Value
        Resistances in ohm with the standard uncertainty that the scatter around the fit gives.
    arcs : int
        2, or 1 where the data do not tell two arcs apart; then `r_reaction` is 0 with unknown (NaN)
        uncertainty, and `r_bulk` is the total.
    elements : dict of str to float
        The other elements: `inductance_H`, `tau_bulk_s`, `alpha_bulk`, `tau_reaction_s`, `alpha_reaction`,
        `electrode_q` (S s^alpha) and `alpha_electrode`.
    rms_residual : float
        Root mean square of abs(residuals).
    left_out : int
        Points that were not finite.
    """

    frequency_Hz: Floats
    impedance_ohm: Complexes
    fitted_ohm: Complexes
    residuals: Complexes
    r_bulk: Value
    r_reaction: Value
    r_total: Value
    arcs: int
    elements: dict[str, float]
    rms_residual: float
    left_out: int


@dataclasses.dataclass(frozen=True)
class KramersKronig:
    """Result of `lin_kk`.

    Attributes
    ----------
    residuals : ndarray of complex, shape (n,)
        (measured - fitted) / abs(measured), in the order of the input.
    max_residual, rms_residual : float
        Largest real or imaginary part, and root mean square of abs(residuals).
    mu : float
        1 - (sum of negative resistances) / (sum of positive ones): near 1 for too few elements, falling when
        noise is fitted.
    elements : int
        Number of RC elements.
    valid : bool
        Whether `rms_residual` is at most the limit that was given.
    """

    residuals: Complexes
    max_residual: float
    rms_residual: float
    mu: float
    elements: int
    valid: bool


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a good spectrum; of a pair, beyond the first it is flagged, beyond the second to be repeated.

    Attributes
    ----------
    residual_rms : float
        Of the Kramers-Kronig test, relative to abs(Z). Noise counts: it must be above the instrument's. At
        0.005 a resistance that drifts by 10 % during the sweep is about at the limit (`lin_kk`).
    residual_max : float
        Largest residual of one point, real or imaginary part. Beyond it the spectrum is flagged: one point
        was disturbed, as by the mains. 0.02, because with the rms within its limit the chain of the test, of
        few elements, may be off by somewhat more than 1 % at one point of a good spectrum.
    drift_of_amplitude : tuple of float
        Drift of the potential at rest over the rms amplitude. A ramp of a volts in a period of T seconds adds
        a T / pi to what is taken for the response. With four periods a point and ten points a decade a sweep
        lasts some twenty of its longest periods, so that half an amplitude of drift in the sweep makes 0.6 %
        at the lowest frequency, like the residual above. Beyond sqrt(2), the peak of the signal, the cell has
        left the potentials at which it was taken for linear.
    temperature_K : tuple of float
        With the activation energies of 0.3 to 0.6 eV of ion conduction and charge transfer a resistance
        changes by 4 to 8 % a kelvin at 25 degC: by some percent at 0.5 K, and at 2 K by the 10 % that the
        Kramers-Kronig test can see.
    pressure_relative : tuple of float
        The resistance of pressed contacts goes with the force to a power between -1/3 and -1 (Holm, Electric
        Contacts, 1967): by 5 % at most at 0.05, and 6 to 17 % at 0.2.
    """

    residual_rms: float = 0.005
    residual_max: float = 0.02
    drift_of_amplitude: tuple[float, float] = (0.5, math.sqrt(2))
    temperature_K: tuple[float, float] = (0.5, 2.0)
    pressure_relative: tuple[float, float] = (0.05, 0.2)


@dataclasses.dataclass(frozen=True)
class Validity:
    """Judgement of a spectrum.

    Attributes
    ----------
    verdict : {"accept", "repeat", "flag"}
        "repeat" where the cell was not steady or the measurement not good: a longer rest may help. "flag"
        where the spectrum may be used with what the reasons say in mind.
    reasons : tuple of str
        In words; none where it is accepted.
    figures : tuple of Value
        What was judged. A figure of what was not watched is missing.
    kramers_kronig : KramersKronig or None
        None where there were too few points for the test.
    """

    verdict: Literal["accept", "repeat", "flag"]
    reasons: tuple[str, ...]
    figures: tuple[Value, ...]
    kramers_kronig: KramersKronig | None

    @property
    def residual(self) -> float:
        """Rms residual of the test, relative to abs(Z); NaN where there was none."""
        return math.nan if self.kramers_kronig is None else self.kramers_kronig.rms_residual


def lin_kk(
    frequency_Hz: ArrayLike, impedance_ohm: ArrayLike, *, limit: float = 0.005, mu_limit: float = 0.85
) -> KramersKronig:
    """Test whether a spectrum obeys the Kramers-Kronig relations, as that of a steady linear system does.

    A chain of RC elements with fixed time constants obeys them; what it cannot follow is drift, non-linearity
    or a wrong measurement.  Elements are added until `mu` falls below `mu_limit` and the residuals are within
    `limit`; `mu` alone stops too early on spectra with one sharp arc.  An inductance and a capacitance stand
    in series, for the leads and for blocking electrodes.

    Parameters
    ----------
    frequency_Hz : array_like, shape (n,)
    impedance_ohm : array_like of complex, shape (n,)
    limit : float
        Largest rms residual of a valid spectrum, relative to abs(Z).  Noise counts: the limit must be
        above the instrument's.  With 0.005, a resistance that drifts by 10 % during the sweep is about at the
        limit.
    mu_limit : float
        Criterion of the source.

    Raises
    ------
    BadInput
        Fewer than 12 finite points, or frequencies that are not above zero.

    References
    ----------
    Schönleber, Klotz and Ivers-Tiffée, Electrochim. Acta 131 (2014) 20; Boukamp, J. Electrochem. Soc. 142
    (1995) 1885.
    """
    frequency, impedance = checked(frequency_Hz, impedance_ohm)
    omega = 2 * np.pi * frequency
    weight = 1 / np.abs(impedance)
    target = stacked(impedance * weight)
    decades = math.log10(omega.max() / omega.min())
    most = max(3, min(len(omega) * 2 // 3, round(7 * decades)))
    for count in range(3, most + 1):
        # A factor of two beyond the ends lets the chain follow arcs and tails that go on there.
        tau = np.geomspace(0.5 / omega.max(), 2 / omega.min(), count)
        columns = [1 / (1 + 1j * omega * one) for one in tau]
        columns += [np.ones_like(omega), 1j * omega / omega.max(), -1j * omega.min() / omega]
        matrix = stacked(np.transpose(columns) * weight[:, None])
        solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
        parts = target - matrix @ solution
        residuals = parts[: len(omega)] + 1j * parts[len(omega) :]
        rms = float(np.sqrt(np.mean(np.abs(residuals) ** 2)))
        resistances = solution[:count]
        positive, negative = np.maximum(resistances, 0).sum(), np.maximum(-resistances, 0).sum()
        mu = 1 - float(negative / positive) if positive > 0 else -math.inf
        if mu < mu_limit and rms <= limit:
            break
    return KramersKronig(residuals, float(np.abs(parts).max()), rms, mu, count, rms <= limit)


def spectrum_validity(
    frequency_Hz: ArrayLike,
    z_ohm: ArrayLike,
    *,
    potential_drift_V: float,
    amplitude_V: float,
    temperature_drift_K: float | None = None,
    pressure_drift_relative: float | None = None,
    limits: Limits | None = None,
) -> Validity:
    """Judge a spectrum right after it was taken: accept it, flag it, or have it repeated.

    Parameters
    ----------
    frequency_Hz : array_like, shape (n,)
    z_ohm : array_like of complex, shape (n,)
        Points that could not be measured are NaN.
    potential_drift_V : float
        Potential at rest after the spectrum minus that before it.
    amplitude_V : float
        Rms of the signal; of a galvanostatic spectrum, of the answer at the lowest frequency.
    temperature_drift_K : float, optional
        Largest difference while it was taken. None: not watched, not judged.
    pressure_drift_relative : float, optional
        Largest difference of pressure or force, over its mean.
    limits : Limits, optional
        With the source or the reasoning of each.

    Raises
    ------
    BadInput
        Shapes that differ, frequencies that are not above zero, drifts that are not finite, an amplitude that
        is not above zero.

    References
    ----------
    Schönleber, Klotz and Ivers-Tiffée, Electrochim. Acta 131 (2014) 20.
    """
    limits = limits or Limits()
    if not amplitude_V > 0:
        raise BadInput(f"amplitude_V={amplitude_V!r}: give the rms of the signal, above zero")
    drifts = {
        "potential_drift": (potential_drift_V / amplitude_V, "1", limits.drift_of_amplitude),
        "temperature_drift": (temperature_drift_K, "K", limits.temperature_K),
        "pressure_drift": (pressure_drift_relative, "1", limits.pressure_relative),
    }
    result, repeats, flags, figures = _judge_points(frequency_Hz, z_ohm, limits)
    for name, (drift, unit, (first, second)) in drifts.items():
        if drift is None:
            continue
        if not math.isfinite(drift):
            raise BadInput(f"{name} is {drift!r}: give a finite number, or None for what was not watched")
        figures.append(Value(name, abs(drift), unit, math.nan, _DRIFTS[name][1]))
        if abs(drift) > first:
            limit = second if abs(drift) > second else first
            reason = _DRIFTS[name][0].format(drift=abs(drift), limit=limit)
            (repeats if abs(drift) > second else flags).append(reason)
    verdict: Literal["accept", "repeat", "flag"] = "repeat" if repeats else "flag" if flags else "accept"
    return Validity(verdict, (*repeats, *flags), tuple(figures), result)


_DRIFTS = {
    "potential_drift": (
        "the potential at rest drifted by {drift:.2g} amplitudes, more than {limit:.2g}: let the cell rest "
        "longer",
        "magnitude of the change of the potential at rest during the spectrum, over the rms amplitude",
    ),
    "temperature_drift": (
        "the temperature changed by {drift:.2g} K while it was taken, more than {limit:.2g} K",
        "magnitude of the largest difference of temperature during the spectrum",
    ),
    "pressure_drift": (
        "the pressure changed by {drift:.2g} of its mean while it was taken, more than {limit:.2g}",
        "magnitude of the largest difference of pressure during the spectrum, over its mean",
    ),
}


def _judge_points(
    frequency_Hz: ArrayLike, z_ohm: ArrayLike, limits: Limits
) -> tuple[KramersKronig | None, list[str], list[str], list[Value]]:
    """Judge the spectrum by itself: result, reasons to repeat, reasons to flag, figures."""
    given, sound = np.size(frequency_Hz), int(np.count_nonzero(np.isfinite(z_ohm)))
    if sound < FEWEST_POINTS:
        told = f"{sound} of {given} points could be measured: {FEWEST_POINTS} are needed"
        return None, [told], [], []
    frequency, _ = checked(frequency_Hz, z_ohm)
    result = lin_kk(frequency_Hz, z_ohm, limit=limits.residual_rms)
    repeats, flags = [], []
    if not result.valid:
        repeats.append(
            "it does not obey the Kramers-Kronig relations: rms residual "
            f"{100 * result.rms_residual:.2g} %, more than {100 * limits.residual_rms:.2g} %"
        )
    elif result.max_residual > limits.residual_max:
        parts = np.maximum(np.abs(result.residuals.real), np.abs(result.residuals.imag))
        flags.append(
            f"the point at {frequency[np.argmax(parts)]:.3g} Hz is {100 * result.max_residual:.2g} % off the "
            f"Kramers-Kronig relations, more than {100 * limits.residual_max:.2g} %"
        )
    if len(frequency) < given:
        flags.append(f"{given - len(frequency)} of {given} points could not be measured")
    rms = Value(
        "kramers_kronig_residual",
        result.rms_residual,
        "1",
        result.rms_residual / math.sqrt(4 * len(frequency)),
        "rms of (measured - fitted) / abs(measured) of a chain of RC elements, which obeys the "
        "Kramers-Kronig relations (Schönleber et al. 2014); uncertainty as of the standard deviation of 2 n "
        "numbers",
    )
    return result, repeats, flags, [rms]


def fit_circuit(frequency_Hz: ArrayLike, impedance_ohm: ArrayLike) -> CircuitFit:
    """Fit L - R_bulk||CPE - R_reaction||CPE - CPE_electrode to a spectrum.

    Least squares of the residuals relative to abs(Z), from several starts that a non-negative linear fit on a
    grid of time constants finds.  A second arc is kept only where the Bayesian information criterion prefers
    it: in a pristine sample the reaction arc is small or hidden, and the total resistance is what counts.

    Parameters
    ----------
    frequency_Hz : array_like, shape (n,)
        In any order; at least 12 finite points.  About ten a decade, up to where the bulk arc is seen and
        down to the tail of the electrodes.
    impedance_ohm : array_like of complex, shape (n,)
        Negative imaginary part for a capacitor.

    Returns
    -------
    CircuitFit
        With standard uncertainties from the covariance of the fit, scaled to the scatter of the residuals.

    Raises
    ------
    BadInput
        Too few finite points or frequencies that are not above zero.

    Notes
    -----
    An arc is R/(1 + (j w tau)^alpha), the parallel R and CPE with Q = tau^alpha / R.  The arc with the
    smaller tau is the bulk's.
    """
    frequency, impedance = checked(frequency_Hz, impedance_ohm)
    left_out = np.size(frequency_Hz) - len(frequency)
    order = np.argsort(frequency)[::-1]
    frequency, impedance = frequency[order], impedance[order]
    problem = _Problem(2 * np.pi * frequency, impedance)
    one = problem.best_fit(problem.grid_starts(arcs=1))
    two = problem.best_fit(problem.grid_starts(arcs=2) + _split(one))
    chosen = two if problem.information(two) < problem.information(one) else one
    fitted = problem.model(chosen)[0]
    residuals = (impedance - fitted) / np.abs(impedance)
    bulk, reaction, total = problem.resistances(chosen)
    return CircuitFit(
        frequency_Hz=frequency,
        impedance_ohm=impedance,
        fitted_ohm=fitted,
        residuals=residuals,
        r_bulk=bulk,
        r_reaction=reaction,
        r_total=total,
        arcs=len(chosen) // 3 - 1,
        elements=problem.elements(chosen),
        rms_residual=float(np.sqrt(np.mean(np.abs(residuals) ** 2))),
        left_out=left_out,
    )


class _Problem:
    """The fit of one spectrum.

    Parameters of the circuit, in a vector: reactance of L at the highest frequency (ohm), log of abs(Z) of
    the electrode at the lowest, its exponent; then for each arc log R, log tau and exponent, tau rising.
    """

    def __init__(self, omega: Floats, impedance: Complexes) -> None:
        self.omega, self.impedance = omega, impedance
        self.weight = 1 / np.abs(impedance)
        self.log_jomega = np.log(omega) + 0.5j * np.pi
        self.inductor = 1j * omega / omega.max()
        self.log_tau_bounds = -math.log(10 * omega.max()), -math.log(omega.min())

    def model(self, parameters: Floats) -> tuple[Complexes, Complexes]:
        """Impedance (n,) and its derivatives by the parameters (n, parameters)."""
        reactance, log_tail, alpha_tail = parameters[:3]
        log_tail_s = self.log_jomega - math.log(self.omega.min())
        tail = np.exp(log_tail - alpha_tail * log_tail_s)
        total = reactance * self.inductor + tail
        slopes = [self.inductor, tail, -tail * log_tail_s]
        for log_r, log_tau, alpha in parameters[3:].reshape(-1, 3):
            power = np.exp(alpha * (self.log_jomega + log_tau))
            arc = math.exp(log_r) / (1 + power)
            by_power = -arc / (1 + power) * power
            total = total + arc
            slopes += [arc, by_power * alpha, by_power * (self.log_jomega + log_tau)]
        return total, np.transpose(slopes)

    def residuals(self, parameters: Floats) -> Floats:
        return stacked((self.model(parameters)[0] - self.impedance) * self.weight)

    def jacobian(self, parameters: Floats) -> Floats:
        return stacked(self.model(parameters)[1] * self.weight[:, None])

    def grid_starts(self, arcs: int) -> list[Floats]:
        """Find the best time constants on a grid, by a non-negative linear fit of what is linear."""
        target = stacked(self.impedance * self.weight)
        log_taus = np.linspace(*self.log_tau_bounds, GRID_POINTS)
        # Of one ohm each: the derivative by log R is the element itself.
        unit_arcs = np.array([0.0, 0.0, 1.0, *(x for tau in log_taus for x in (0.0, tau, START_ARC))])
        columns = self.jacobian(unit_arcs)[:, [0, *range(3, len(unit_arcs), 3)]].T
        least = 1e-6 * np.abs(self.impedance).max()
        tails = {alpha: self.jacobian(np.array([0.0, 0.0, alpha]))[:, 1] for alpha in START_TAILS}
        found = []
        for chosen, alpha in itertools.product(itertools.combinations(range(GRID_POINTS), arcs), START_TAILS):
            fixed = [columns[0], tails[alpha], *(columns[1 + index] for index in chosen)]
            amounts, misfit = nnls(np.transpose(fixed), target)
            found.append((misfit, chosen, alpha, amounts))
        best_tails: dict[tuple[int, ...], Floats] = {}
        for _, chosen, alpha, amounts in sorted(found, key=lambda one: float(one[0])):
            log_tail, *log_rs = np.log(np.maximum(amounts[1:], max(1e-3 * amounts[1:].max(), least)))
            shapes = [
                (log_r, log_taus[index], START_ARC) for log_r, index in zip(log_rs, chosen, strict=True)
            ]
            best_tails.setdefault(chosen, np.array([amounts[0], log_tail, alpha, *np.ravel(shapes)]))
        return list(best_tails.values())[:STARTS]

    def best_fit(self, starts: list[Floats]) -> Floats:
        """Go a few steps from each start, then to the end from the best place."""
        best = min((self.descend(start, steps=20) for start in starts), key=self.misfit)
        best = self.descend(best, steps=100)
        return np.concatenate([best[:3], *sorted(best[3:].reshape(-1, 3), key=lambda one: float(one[1]))])

    def descend(self, start: Floats, steps: int) -> Floats:
        """Least squares within bounds."""
        log_r = math.log(np.abs(self.impedance).max())
        arcs = [(log_r - 15, log_r + 3), self.log_tau_bounds, EXPONENTS] * (len(start) // 3 - 1)
        low, high = np.transpose([(-np.inf, np.inf), (log_r - 15, log_r + 3), EXPONENTS, *arcs])
        fit = least_squares(
            self.residuals,
            np.clip(start, low + 1e-6, high - 1e-6),
            self.jacobian,
            bounds=(low, high),
            x_scale="jac",
            ftol=1e-6,
            max_nfev=steps,
        )
        return np.asarray(fit.x)

    def misfit(self, parameters: Floats) -> float:
        """Sum of the squared residuals."""
        residuals = self.residuals(parameters)
        return float(residuals @ residuals)

    def information(self, parameters: Floats) -> float:
        """Bayesian information criterion of a fit."""
        count = 2 * len(self.omega)
        # A spectrum that was computed can be fitted exactly.
        misfit = max(self.misfit(parameters), np.finfo(float).tiny)
        return count * math.log(misfit) + len(parameters) * math.log(count)

    def covariance(self, parameters: Floats) -> Floats:
        """Covariance of the parameters, scaled to the scatter; a parameter without effect has none."""
        residuals, jacobian = self.residuals(parameters), self.jacobian(parameters)
        scale = np.maximum(np.linalg.norm(jacobian, axis=0), np.finfo(float).tiny)
        variance = float(residuals @ residuals) / (len(residuals) - len(parameters))
        normal = (jacobian / scale).T @ (jacobian / scale)
        return np.asarray(
            variance * np.linalg.pinv(normal, rcond=1e-12, hermitian=True) / np.outer(scale, scale)
        )

    def resistances(self, parameters: Floats) -> tuple[Value, Value, Value]:
        """Bulk, reaction and total resistance."""
        rows = range(3, len(parameters), 3)
        r = np.exp(parameters[rows])
        covariance = self.covariance(parameters)[np.ix_(rows, rows)] * np.outer(r, r)
        u = np.sqrt(np.diag(covariance))
        total = Value("r_total", float(r.sum()), "ohm", float(math.sqrt(covariance.sum())), TOTAL)
        if len(r) == 1:
            return (
                dataclasses.replace(total, name="r_bulk", definition=f"{BULK}; {MERGED}"),
                Value("r_reaction", 0.0, "ohm", math.nan, f"{REACTION}; {MERGED}"),
                total,
            )
        return (
            Value("r_bulk", float(r[0]), "ohm", float(u[0]), BULK),
            Value("r_reaction", float(r[1]), "ohm", float(u[1]), REACTION),
            total,
        )

    def elements(self, parameters: Floats) -> dict[str, float]:
        """Name the other elements of the circuit."""
        reactance, log_tail, alpha_tail = parameters[:3]
        named = {
            "inductance_H": reactance / self.omega.max(),
            "electrode_q": math.exp(-log_tail) * self.omega.min() ** -alpha_tail,
            "alpha_electrode": alpha_tail,
        }
        for name, (_, log_tau, alpha) in zip(
            ("bulk", "reaction"), parameters[3:].reshape(-1, 3), strict=False
        ):
            named |= {f"tau_{name}_s": math.exp(log_tau), f"alpha_{name}": alpha}
        return {name: float(number) for name, number in named.items()}


def _split(one: Floats) -> list[Floats]:
    """Split the arc of a fit in two: starts for arcs that lie too close for the grid."""
    log_r, log_tau, alpha = one[3:]
    return [
        np.array(
            [
                *one[:3],
                *(log_r + math.log(share), log_tau - shift * (1 - share), alpha),
                *(log_r + math.log(1 - share), log_tau + shift * share, alpha),
            ]
        )
        for share, shift in ((0.9, 1.5), (0.5, 1.5))
    ]


def checked(frequency_Hz: ArrayLike, impedance_ohm: ArrayLike) -> tuple[Floats, Complexes]:
    """Give frequencies and impedances of the finite points.

    Raises
    ------
    BadInput
        Shapes that differ, fewer than 12 finite points, or frequencies that are not above zero.
    """
    frequency = np.asarray(frequency_Hz, dtype=float)
    impedance = np.asarray(impedance_ohm, dtype=complex)
    if frequency.ndim != 1 or frequency.shape != impedance.shape:
        raise BadInput(
            f"frequency_Hz of shape {frequency.shape} and impedance_ohm of shape {impedance.shape}: give one "
            "impedance for each frequency"
        )
    usable = np.isfinite(frequency) & np.isfinite(impedance) & (impedance != 0)
    frequency, impedance = frequency[usable], impedance[usable]
    if len(np.unique(frequency)) < FEWEST_POINTS:
        raise BadInput(
            f"frequency_Hz has {len(np.unique(frequency))} frequencies with a finite impedance: at least "
            f"{FEWEST_POINTS} are needed; measure more points per decade"
        )
    if frequency.min() <= 0:
        raise BadInput(f"frequency_Hz goes down to {frequency.min():g} Hz: frequencies are above zero")
    return frequency, impedance


def stacked(values: NDArray[np.complexfloating | np.floating]) -> Floats:
    """Put real parts above imaginary parts, as linear least squares want them."""
    return np.concatenate([values.real, values.imag])
