"""Water in air: dew point, frost point, saturation vapour pressure, mole fraction.

Saturation pressures are those of D. M. Murphy and T. Koop, "Review of the vapour pressures of ice and
supercooled water for atmospheric applications", Q. J. R. Meteorol. Soc. 131 (2005) 1539-1565,
doi:10.1256/qj.04.94: eq. (7) for ice (110 K to the triple point), eq. (10) for liquid water (123 to 332 K).
The enhancement factor of moist air over pure vapour (below 0.5 % at 1 atm) is left out.

A plain "dew point" follows the convention of chilled mirrors in dry air: over ice below the triple point (a
frost point), over liquid above it. Meters that report over supercooled water use the ``_liquid`` functions.
"""

from collections.abc import Callable
from math import cosh, exp, log, tanh

from sim_devices.physics.constants import ZERO_CELSIUS_K, ATMOSPHERE_Pa

TRIPLE_POINT_C = 0.01


def _ln_ice_and_slope(temperature_K: float) -> tuple[float, float]:
    """Natural log of the pressure over ice (Pa), and its slope in temperature (1/K)."""
    value = 9.550426 - 5723.265 / temperature_K + 3.53068 * log(temperature_K) - 0.00728332 * temperature_K
    slope = 5723.265 / temperature_K**2 + 3.53068 / temperature_K - 0.00728332
    return value, slope


def _ln_liquid_and_slope(temperature_K: float) -> tuple[float, float]:
    """Natural log of the pressure over liquid water (Pa), and its slope in temperature (1/K)."""
    ln_temperature = log(temperature_K)
    switch = tanh(0.0415 * (temperature_K - 218.8))
    switch_slope = 0.0415 / cosh(0.0415 * (temperature_K - 218.8)) ** 2
    cold = 53.878 - 1331.22 / temperature_K - 9.44523 * ln_temperature + 0.014025 * temperature_K
    cold_slope = 1331.22 / temperature_K**2 - 9.44523 / temperature_K + 0.014025
    value = (
        54.842763
        - 6763.22 / temperature_K
        - 4.210 * ln_temperature
        + 0.000367 * temperature_K
        + switch * cold
    )
    slope = (
        6763.22 / temperature_K**2
        - 4.210 / temperature_K
        + 0.000367
        + switch_slope * cold
        + switch * cold_slope
    )
    return value, slope


def _temperature_at_pressure_C(
    ln_and_slope: Callable[[float], tuple[float, float]], pressure_Pa: float
) -> float:
    """Invert a saturation line by Newton's method on the log of the pressure."""
    if pressure_Pa <= 0.0:
        raise ValueError(f"a vapour pressure must be positive, got {pressure_Pa} Pa")
    ln_pressure = log(pressure_Pa)
    # Murphy and Koop eq. (8), the approximate frost point, is the starting guess.
    temperature_K = (1.814625 * ln_pressure + 6190.134) / (29.120 - ln_pressure)
    for _ in range(20):
        value, slope = ln_and_slope(temperature_K)
        step_K = (value - ln_pressure) / slope
        temperature_K -= step_K
        if abs(step_K) < 1e-10:
            break
    return temperature_K - ZERO_CELSIUS_K


def saturation_pressure_ice_Pa(temperature_C: float) -> float:
    """Vapour pressure (Pa) over ice at ``temperature_C`` (degC): Murphy and Koop 2005, eq. (7)."""
    return exp(_ln_ice_and_slope(temperature_C + ZERO_CELSIUS_K)[0])


def saturation_pressure_liquid_Pa(temperature_C: float) -> float:
    """Vapour pressure (Pa) over liquid, also supercooled, water (degC): Murphy and Koop 2005, eq. (10)."""
    return exp(_ln_liquid_and_slope(temperature_C + ZERO_CELSIUS_K)[0])


def saturation_pressure_Pa(dew_point_C: float) -> float:
    """Vapour pressure (Pa) at a dew point (degC) read over ice below the triple point, else over liquid."""
    if dew_point_C < TRIPLE_POINT_C:
        return saturation_pressure_ice_Pa(dew_point_C)
    return saturation_pressure_liquid_Pa(dew_point_C)


def frost_point_C(vapour_pressure_Pa: float) -> float:
    """Frost point (degC): the temperature at which ice has this vapour pressure (Pa)."""
    return _temperature_at_pressure_C(_ln_ice_and_slope, vapour_pressure_Pa)


def dew_point_liquid_C(vapour_pressure_Pa: float) -> float:
    """Dew point over liquid (degC): where liquid, also supercooled, water has this vapour pressure (Pa)."""
    return _temperature_at_pressure_C(_ln_liquid_and_slope, vapour_pressure_Pa)


def water_mole_fraction(dew_point_C: float, pressure_Pa: float = ATMOSPHERE_Pa) -> float:
    """Mole fraction of water in a gas of given dew point.

    Parameters
    ----------
    dew_point_C : float
        Dew point, degC, over ice below the triple point.
    pressure_Pa : float
        Total pressure, Pa.

    Returns
    -------
    float
        Mole of water per mole of moist gas (not per mole of dry gas).
    """
    return saturation_pressure_Pa(dew_point_C) / pressure_Pa


def dew_point_C(mole_fraction: float, pressure_Pa: float = ATMOSPHERE_Pa) -> float:
    """Dew point of a gas of given water mole fraction; inverse of `water_mole_fraction`.

    Parameters
    ----------
    mole_fraction : float
        Mole of water per mole of moist gas, > 0.
    pressure_Pa : float
        Total pressure, Pa.

    Returns
    -------
    float
        Dew point, degC, over ice below the triple point.
    """
    vapour_pressure_Pa = mole_fraction * pressure_Pa
    if vapour_pressure_Pa < saturation_pressure_liquid_Pa(TRIPLE_POINT_C):
        return frost_point_C(vapour_pressure_Pa)
    return dew_point_liquid_C(vapour_pressure_Pa)
