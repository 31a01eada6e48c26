"""Water in air from its dew point.

Dew-point meters with a "Td/f" output (Vaisala's name) give the frost point, over ice, below 0 degC and the
dew point, over liquid water, above.  So does this module: at -20 degC water over liquid would be 22 % more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssblab.quantities import BadInput

Floats = NDArray[np.float64]

ICE_POINT_K = 273.15
# Ice: Murphy and Koop's range, 110 K up; liquid: theirs, up to 332 K.
LOWEST_C, HIGHEST_C = -163.15, 58.85


def saturation_pressure_Pa(dew_point_C: ArrayLike) -> Floats:
    """Vapour pressure of water at its frost point (below 0 degC) or dew point (0 degC and above).

    Parameters
    ----------
    dew_point_C : array_like
        Any shape; NaN gives NaN.

    Returns
    -------
    ndarray
        Pressure in Pa, same shape.

    Raises
    ------
    BadInput
        Outside the range of the formulas, -163.15 to 58.85 degC.

    References
    ----------
    Murphy and Koop, Q. J. R. Meteorol. Soc. 131 (2005) 1539, equation 7 (ice) and 10 (liquid).
    """
    celsius = np.asarray(dew_point_C, dtype=float)
    if np.any((celsius < LOWEST_C) | (celsius > HIGHEST_C)):
        raise BadInput(
            f"dew_point_C from {np.nanmin(celsius):g} to {np.nanmax(celsius):g} degC: vapour pressure is "
            f"known from {LOWEST_C} to {HIGHEST_C} degC; leave out readings that cannot be true"
        )
    kelvin = celsius + ICE_POINT_K
    log_t = np.log(kelvin)
    ice = 9.550426 - 5723.265 / kelvin + 3.53068 * log_t - 0.00728332 * kelvin
    liquid = (
        54.842763
        - 6763.22 / kelvin
        - 4.210 * log_t
        + 0.000367 * kelvin
        + np.tanh(0.0415 * (kelvin - 218.8))
        * (53.878 - 1331.22 / kelvin - 9.44523 * log_t + 0.014025 * kelvin)
    )
    return np.asarray(np.exp(np.where(celsius < 0, ice, liquid)))


def water_mole_fraction(dew_point_C: ArrayLike, *, pressure_Pa: ArrayLike) -> Floats:
    """Mole fraction of water in moist air, x = p_sat(dew point) / p.

    The enhancement of the vapour pressure by air (0.4 to 0.6 % at 101.325 kPa) is left out.

    Parameters
    ----------
    dew_point_C : array_like
        Frost point below 0 degC, dew point above; shape (n,) or a number.
    pressure_Pa : array_like
        Total pressure where the dew point is measured; broadcasts with `dew_point_C`.

    Returns
    -------
    ndarray
        mol of water in a mol of moist air (1e-6 = 1 ppmv of moist air).

    Raises
    ------
    BadInput
        Pressure not above the vapour pressure, or dew point out of range.
    """
    vapour_Pa, total_Pa = np.broadcast_arrays(
        saturation_pressure_Pa(dew_point_C), np.asarray(pressure_Pa, dtype=float)
    )
    if np.any(total_Pa <= vapour_Pa):
        raise BadInput(
            f"pressure_Pa of {np.nanmin(total_Pa):g} Pa is not above the vapour pressure of water; give the "
            "total pressure at the dew-point sensor in Pa (air at sea level: 101325 Pa)"
        )
    return np.asarray(vapour_Pa / total_Pa)


def water_mole_fraction_uncertainty(
    dew_point_C: ArrayLike,
    *,
    pressure_Pa: ArrayLike,
    dew_point_uncertainty_K: ArrayLike,
    pressure_uncertainty_Pa: ArrayLike,
) -> Floats:
    """Standard uncertainty (k = 1) of `water_mole_fraction`.

    First order: u(x)^2 = (x u(T) dln p_sat/dT)^2 + (x u(p)/p)^2.  The vapour pressure formula
    (below 0.5 %) and the enhancement left out are not included.

    Parameters
    ----------
    dew_point_C, pressure_Pa : array_like
        As for `water_mole_fraction`.
    dew_point_uncertainty_K, pressure_uncertainty_Pa : array_like
        Standard uncertainties of the readings.

    Returns
    -------
    ndarray
        mol/mol.
    """
    fraction = water_mole_fraction(dew_point_C, pressure_Pa=pressure_Pa)
    from_dew_point = relative_slope_per_K(dew_point_C) * np.asarray(dew_point_uncertainty_K)
    from_pressure = np.asarray(pressure_uncertainty_Pa) / np.asarray(pressure_Pa)
    return np.asarray(fraction * np.hypot(from_dew_point, from_pressure))


def relative_slope_per_K(dew_point_C: ArrayLike) -> Floats:
    """Relative change of the vapour pressure per kelvin of dew point, dln p_sat/dT, in 1/K."""
    celsius = np.asarray(dew_point_C, dtype=float)
    # A small step towards the inside of the formula's branch: the slope has a step at 0 degC.
    step_K = np.where(celsius < 0, -1e-3, 1e-3)
    ratio = saturation_pressure_Pa(celsius + step_K) / saturation_pressure_Pa(celsius)
    return np.asarray(np.log(ratio) / step_K)
