"""Pressed pellets: conductivity, porosity, how the one goes with the other, hysteresis with the pressure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ssblab.analysis.common import (
    Floats,
    above_zero,
    finite_rows,
    relative_uncertainty,
    straight_line,
    uncertainty_of,
)
from ssblab.quantities import BadInput, Value


def pellet_conductivity(
    resistance: Value,
    *,
    thickness_mm: float,
    area_cm2: float,
    thickness_uncertainty_mm: float | None,
    area_uncertainty_cm2: float | None,
) -> Value:
    """Conductivity of a pellet, sigma = L / (R A), in S/cm.

    Parameters
    ----------
    resistance : Value
        Of the pellet without electrodes, in ohm.
    thickness_mm, area_cm2 : float
        Geometry of the pellet, when the resistance was measured.
    thickness_uncertainty_mm, area_uncertainty_cm2 : float or None

    Raises
    ------
    BadInput
        A resistance that is not in ohm, or a resistance, length or area that is not above zero.
    """
    if resistance.unit != "ohm":
        raise BadInput(f"{resistance.name} is in {resistance.unit}, ohm is needed")
    above_zero(thickness_mm=thickness_mm, area_cm2=area_cm2, **{resistance.name: resistance.value})
    relative_thickness, thickness_note = relative_uncertainty(
        thickness_uncertainty_mm, thickness_mm, "thickness"
    )
    relative_area, area_note = relative_uncertainty(area_uncertainty_cm2, area_cm2, "area")
    value = thickness_mm / 10 / (resistance.value * area_cm2)
    own = math.hypot(uncertainty_of(resistance) / resistance.value, relative_thickness, relative_area)
    definition = f"thickness / (R area), R: {resistance.definition}{thickness_note}{area_note}"
    return Value("conductivity", value, "S/cm", value * own, definition)


def porosity(
    *,
    mass_g: float,
    thickness_mm: float,
    area_cm2: float,
    density_g_cm3: float,
    mass_uncertainty_g: float | None,
    thickness_uncertainty_mm: float | None,
    area_uncertainty_cm2: float | None,
    density_uncertainty_g_cm3: float | None,
) -> Value:
    """Share of voids in a pellet, 1 - m / (rho A h), between 0 and 1.

    Parameters
    ----------
    mass_g, thickness_mm, area_cm2 : float
        Of the pellet; the thickness under the pressure of interest.
    density_g_cm3 : float
        True density of what it is pressed of, by pycnometer or of the crystal.
    mass_uncertainty_g, thickness_uncertainty_mm, area_uncertainty_cm2 : float or None
    density_uncertainty_g_cm3 : float or None

    Raises
    ------
    BadInput
        A mass, length, area or density that is not above zero.

    References
    ----------
    Requirement G1.
    """
    above_zero(mass_g=mass_g, thickness_mm=thickness_mm, area_cm2=area_cm2, density_g_cm3=density_g_cm3)
    solid = mass_g / (density_g_cm3 * area_cm2 * thickness_mm / 10)
    parts = [
        relative_uncertainty(mass_uncertainty_g, mass_g, "mass"),
        relative_uncertainty(thickness_uncertainty_mm, thickness_mm, "thickness"),
        relative_uncertainty(area_uncertainty_cm2, area_cm2, "area"),
        relative_uncertainty(density_uncertainty_g_cm3, density_g_cm3, "density"),
    ]
    own = solid * math.hypot(*(part for part, _ in parts))
    definition = "1 - mass / (true density area thickness)" + "".join(note for _, note in parts)
    if solid > 1:
        definition += "; below 0: denser than the solid, check thickness, mass and density"
    return Value("porosity", 1 - solid, "1", own, definition)


def conductivity_exponent(
    porosity: ArrayLike, conductivity_S_cm: ArrayLike, *, conductivity_relative_uncertainty: ArrayLike | None
) -> tuple[Value, Value]:
    """Power law of the conductivity against the share of solid, sigma = sigma_0 (1 - porosity)^n.

    Parameters
    ----------
    porosity : array_like, shape (n,)
        Below 1.
    conductivity_S_cm : array_like, shape (n,)
    conductivity_relative_uncertainty : array_like or float, or None
        Of each conductivity, standard, independent of the others; what is common (the area) belongs to
        `conductivity_dense` alone. None: the scatter around the line gives the uncertainty.

    Returns
    -------
    conductivity_exponent : Value
        1.5 for Bruggeman's spheres; more, where contacts of particles improve with the density too.
    conductivity_dense : Value
        sigma_0 in S/cm, extrapolated to no pores.

    Raises
    ------
    BadInput
        Fewer than three different porosities, one not below 1, or a conductivity not above zero.

    References
    ----------
    D. A. G. Bruggeman, Ann. Phys. 416 (1935) 636; G. E. Archie, Trans. AIME 146 (1942) 54.
    """
    pores, conducts = finite_rows(porosity, conductivity_S_cm, at_least=3, what="porosities")
    if np.any(pores >= 1) or np.any(conducts <= 0):
        raise BadInput("a porosity is not below 1, or a conductivity not above zero")
    solid = np.log1p(-pores)
    if len(np.unique(solid)) < 3:
        raise BadInput(f"{len(np.unique(solid))} different porosities: at least 3 are needed")
    own = None
    if conductivity_relative_uncertainty is not None:
        own = np.broadcast_to(np.asarray(conductivity_relative_uncertainty, dtype=float), np.shape(porosity))
        own = own[np.isfinite(porosity) & np.isfinite(conductivity_S_cm)]
    line = straight_line(solid, np.log(conducts), own)
    dense_log, dense_uncertainty = line.at(0.0)
    dense = math.exp(dense_log)
    about = (
        f"ln(sigma) against ln(1 - porosity), straight line through {len(pores)} points with porosities from "
        f"{pores.min():.3g} to {pores.max():.3g}"
    )
    return (
        Value("conductivity_exponent", line.slope, "1", line.slope_uncertainty, f"slope of {about}"),
        Value(
            "conductivity_dense",
            dense,
            "S/cm",
            dense * dense_uncertainty,
            f"without pores, extrapolated: {about}",
        ),
    )


def hysteresis(
    pressure_MPa: ArrayLike,
    quantity: ArrayLike,
    *,
    at_MPa: float,
    name: str,
    unit: str,
    uncertainty: float,
) -> tuple[Value, Value]:
    """Difference between falling and rising pressure: at one pressure, and the area of the loop.

    Parameters
    ----------
    pressure_MPa, quantity : array_like, shape (n,)
        In the order in which they were measured: the pressure rises to its largest and falls again.
    at_MPa : float
        Pressure of the first result; both branches must reach it.
    name, unit : str
        Of the quantity.
    uncertainty : float
        Standard uncertainty of a single quantity, independent from point to point; what is common cancels.

    Returns
    -------
    difference : Value
        `<name>_hysteresis`: falling less rising at `at_MPa`, in `unit`, straight between two points.
    area : Value
        `<name>_hysteresis_area`: integral of falling less rising over the pressures that both branches
        reach, in `unit` MPa. Positive where the quantity stays larger on the way down.

    Raises
    ------
    BadInput
        A branch of fewer than two pressures, or `at_MPa` beyond one of them.
    """
    pressure, measured = finite_rows(pressure_MPa, quantity, at_least=3, what="points of the loop")
    top = int(np.argmax(pressure))
    rising = _branch(pressure[: top + 1], measured[: top + 1], "rising")
    falling = _branch(pressure[top:][::-1], measured[top:][::-1], "falling")
    low, high = max(rising[0][0], falling[0][0]), float(pressure[top])
    if not low <= at_MPa <= high:
        raise BadInput(f"at_MPa={at_MPa:g}: both branches reach {low:.4g} MPa to {high:.4g} MPa")
    places = np.unique(np.concatenate([rising[0], falling[0]]))
    places = places[(places >= low) & (places <= high)]
    apart = np.interp(places, *falling) - np.interp(places, *rising)
    difference = float(np.interp(at_MPa, *falling) - np.interp(at_MPa, *rising))
    area = float(np.trapezoid(apart, places))
    own = uncertainty * math.hypot(_gain(*rising, at_MPa), _gain(*falling, at_MPa))
    # Of each point, the share of the pressure that it stands for, but for the one that both branches have.
    widths = [np.gradient(branch)[:-1] for branch, _ in (rising, falling)]
    own_area = uncertainty * math.hypot(*(float(np.linalg.norm(width)) for width in widths))
    about = f"from {low:.4g} MPa to {high:.4g} MPa"
    return (
        Value(f"{name}_hysteresis", difference, unit, own, f"falling less rising at {at_MPa:g} MPa"),
        Value(
            f"{name}_hysteresis_area",
            area,
            f"{unit} MPa",
            own_area,
            f"integral of falling less rising over the pressure {about}, trapezoidal",
        ),
    )


def _branch(pressure: Floats, measured: Floats, which: str) -> tuple[Floats, Floats]:
    """Points of a branch by rising pressure; those of one pressure, as after a hold, become the last."""
    if np.any(np.diff(pressure) < 0):
        raise BadInput(f"the {which} branch turns: give one loop, in the order in which it was measured")
    last = np.append(np.diff(pressure) > 0, True)
    if np.count_nonzero(last) < 2:
        raise BadInput(f"the {which} branch has fewer than two pressures")
    return pressure[last], measured[last]


def _gain(pressure: Floats, measured: Floats, at_MPa: float) -> float:
    """By how much the uncertainty of a point enters a value between two of them."""
    after = int(np.clip(np.searchsorted(pressure, at_MPa), 1, len(pressure) - 1))
    part = float((at_MPa - pressure[after - 1]) / (pressure[after] - pressure[after - 1]))
    return math.hypot(part, 1 - part)
