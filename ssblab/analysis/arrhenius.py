"""Activation energies: how a conductivity or a resistance goes with the temperature.

Two conventions are in use. Hopping of ions gives ``sigma T = A exp(-Ea / (R T))``, so that ``ln(sigma T)``
against 1/T is straight; many papers plot ``ln(sigma)``, whose activation energy is smaller by about R T (2.5
kJ/mol at room temperature). The two must not be compared, so which is meant is always said.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ssblab.analysis.common import (
    ZERO_CELSIUS_K,
    FARADAY_C_mol,
    Floats,
    GAS_CONSTANT_J_mol_K,
    finite_rows,
    straight_line,
)
from ssblab.quantities import BadInput, Value

Form = Literal["sigma*T", "sigma", "R/T", "R"]
FEWEST_TEMPERATURES = 3


def activation_energy(
    temperature_C: ArrayLike,
    quantity: ArrayLike,
    *,
    form: Form,
    uncertainty: ArrayLike | None,
    temperature_uncertainty_K: float,
) -> tuple[Value, Value]:
    """Activation energy of a conductivity or a resistance, from a straight line against 1/T.

    Parameters
    ----------
    temperature_C : array_like, shape (n,)
    quantity : array_like, shape (n,)
        Conductivity, or resistance, in any unit; a factor does not matter.
    form : {"sigma*T", "sigma", "R/T", "R"}
        What is taken the logarithm of: the conductivity times the absolute temperature or as it is, the
        resistance over it or as it is. "R/T" belongs to "sigma*T", "R" to "sigma".
    uncertainty : array_like, shape (n,), or None
        Standard uncertainties of `quantity`, which weigh the points. None: only the scatter around the line
        counts.
    temperature_uncertainty_K : float
        Standard uncertainty of each temperature, independent of the others.

    Returns
    -------
    activation_energy : Value
        kJ/mol.
    activation_energy_eV : Value
        eV.

    Raises
    ------
    BadInput
        Fewer than 3 different temperatures, a quantity not above zero, or a form that is none.
    """
    if form not in get_args(Form):
        raise BadInput(f"form={form!r}: give one of {', '.join(get_args(Form))}")
    given = np.full(np.shape(quantity), 0.0) if uncertainty is None else uncertainty
    celsius, measured, own = finite_rows(
        temperature_C, quantity, given, at_least=FEWEST_TEMPERATURES, what="temperatures"
    )
    kelvin = celsius + ZERO_CELSIUS_K
    if len(np.unique(celsius)) < FEWEST_TEMPERATURES:
        raise BadInput(
            f"{len(np.unique(celsius))} different temperatures: {FEWEST_TEMPERATURES} are needed to see "
            "whether a line is straight"
        )
    if np.any(measured <= 0) or np.any(kelvin <= 0):
        raise BadInput("a conductivity or resistance, or an absolute temperature, is not above zero")
    inverse = 1 / (GAS_CONSTANT_J_mol_K * kelvin)
    logarithm = _logarithm(form, measured, kelvin)
    slope = straight_line(inverse, logarithm).slope
    of_temperature = abs(slope) * inverse / kelvin * temperature_uncertainty_K
    line = straight_line(
        inverse, logarithm, None if uncertainty is None else np.hypot(own / measured, of_temperature)
    )
    sign = 1.0 if form.startswith("R") else -1.0
    scatter = math.sqrt(
        float(np.mean((logarithm - line.middle[1] - line.slope * (inverse - line.middle[0])) ** 2))
    )
    joule = sign * line.slope
    # Where the scatter gives the uncertainty, errors of the temperatures are in it.
    about = (
        f"slope of ln({form}) against 1/(R T), T in K, {len(kelvin)} points from {celsius.min():g} degC to "
        f"{celsius.max():g} degC, rms distance from the line {100 * scatter:.2g} %; "
        + ("uncertainty from the scatter" if uncertainty is None else "weighted by the uncertainties")
    )
    return (
        Value("activation_energy", joule / 1e3, "kJ/mol", line.slope_uncertainty / 1e3, about),
        Value(
            "activation_energy_eV",
            joule / FARADAY_C_mol,
            "eV",
            line.slope_uncertainty / FARADAY_C_mol,
            f"{about}; of one particle, 1 eV = 96.485 kJ/mol",
        ),
    )


def _logarithm(form: Form, measured: Floats, kelvin: Floats) -> Floats:
    factor = {"sigma*T": kelvin, "R/T": 1 / kelvin}.get(form, np.ones_like(kelvin))
    return np.asarray(np.log(measured * factor))
