"""Physical constants and reference states shared by the simulated laboratory."""

import math

GAS_CONSTANT_J_mol_K = 8.314462618
"""Molar gas constant (CODATA 2018, exact)."""

FARADAY_C_mol = 96485.33212
"""Faraday constant (CODATA 2018, exact)."""

ZERO_CELSIUS_K = 273.15

ATMOSPHERE_Pa = 101_325.0
"""Standard atmosphere (exact); also the laboratory's barometric pressure."""

ROOM_TEMPERATURE_C = 25.0
"""Placeholder; plausible 20 to 27 degC."""

STANDARD_MOLAR_VOLUME_L_mol = 24.465
"""Ideal gas at 25 degC and 101.325 kPa (14.696 psia): Alicat's reference state of a "standard" mL/min."""


def arrhenius(
    activation_J_mol: float, temperature_C: float, reference_C: float = ROOM_TEMPERATURE_C
) -> float:
    """Factor by which a thermally activated rate at a temperature exceeds that at a reference temperature."""
    inverse = 1.0 / (reference_C + ZERO_CELSIUS_K) - 1.0 / (temperature_C + ZERO_CELSIUS_K)
    return math.exp(activation_J_mol / GAS_CONSTANT_J_mol_K * inverse)


def gas_amount_mol(volume_m3: float, temperature_C: float, pressure_Pa: float) -> float:
    """Amount of ideal gas in a volume.

    Parameters
    ----------
    volume_m3, temperature_C, pressure_Pa : float
        State of the gas, in m3, degC and Pa.

    Returns
    -------
    float
        Amount in mol.
    """
    return pressure_Pa * volume_m3 / (GAS_CONSTANT_J_mol_K * (temperature_C + ZERO_CELSIUS_K))


def flow_mol_s_from_mL_min(flow_mL_min: float) -> float:
    """Molar flow (mol/s) of a standard volume flow in mL/min (25 degC, 101.325 kPa)."""
    return flow_mL_min / 60_000.0 / STANDARD_MOLAR_VOLUME_L_mol


def flow_mL_min_from_mol_s(flow_mol_s: float) -> float:
    """Standard volume flow (mL/min at 25 degC, 101.325 kPa) of a molar flow in mol/s."""
    return flow_mol_s * 60_000.0 * STANDARD_MOLAR_VOLUME_L_mol
