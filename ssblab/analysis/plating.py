"""Plating and stripping of lithium: half cycles, shorts, critical current density, thickness of the deposit.

A short makes the voltage at constant current fall at once, or holds it below what the electrolyte's
resistance alone would need. Short dips and single readings are none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import cumulative_trapezoid

from ssblab.analysis.common import (
    RECTANGULAR,
    COULOMB_PER_mAh,
    FARADAY_C_mol,
    Floats,
    above_zero,
    columns,
)
from ssblab.quantities import BadInput, Value

# IUPAC abridged standard atomic weight (2021), and CRC Handbook of Chemistry and Physics, at 20 degC.
LITHIUM_g_mol, LITHIUM_g_cm3 = 6.94, 0.534
LITHIUM_um_cm2_mAh = 1e4 * COULOMB_PER_mAh * LITHIUM_g_mol / (LITHIUM_g_cm3 * FARADAY_C_mol)
"""Thickness of dense lithium per charge and area: 4.85 um for 1 mAh/cm2."""

# Below this share of the largest current of the record the cell rests, or the current is not yet there.
RESTS = 0.02
# So many records after a fall have to be as low: a single reading is no short.
STAYS = 3


@dataclasses.dataclass(frozen=True)
class HalfCycle:
    """Time in which a current of one sign flows.

    Attributes
    ----------
    time_s, voltage_V, current_A : ndarray, shape (n,)
    """

    time_s: Floats
    voltage_V: Floats
    current_A: Floats

    @property
    def mean_current_A(self) -> float:
        """With sign."""
        return float(np.median(self.current_A))

    @property
    def charge_mAh(self) -> Floats:
        """Passed since its first record, without sign."""
        coulomb = cumulative_trapezoid(np.abs(self.current_A), self.time_s, initial=0)
        return np.asarray(coulomb / COULOMB_PER_mAh)


@dataclasses.dataclass(frozen=True)
class Short:
    """When a half cycle shorted.

    Attributes
    ----------
    time_s : float
        Of the first record that is shorted.
    charge_mAh : float
        Passed in the half cycle until then.
    reason : str
    """

    time_s: float
    charge_mAh: float
    reason: str


def half_cycles(time_s: ArrayLike, voltage_V: ArrayLike, current_A: ArrayLike) -> list[HalfCycle]:
    """Take a record apart where the current changes its sign or its size, or rests.

    Parameters
    ----------
    time_s, voltage_V, current_A : array_like, shape (n,)
        Rising in time; rows that are not finite are left out.

    Returns
    -------
    list of HalfCycle
        Of at least three records each. A change of the size by more than 10 % makes a new one.

    Raises
    ------
    BadInput
        Fewer than three rows, a time that does not rise, or no current.
    """
    rows = np.broadcast_arrays(*(np.asarray(one, dtype=float) for one in (time_s, voltage_V, current_A)))
    usable = np.all(np.isfinite(rows), axis=0)
    time, voltage, current = columns(
        time_s=rows[0][usable], voltage_V=rows[1][usable], current_A=rows[2][usable]
    )
    largest = float(np.abs(current).max())
    if largest == 0:
        raise BadInput("no current was recorded: nothing was plated")
    flows = np.abs(current) > RESTS * largest
    smaller, larger = np.sort(np.abs([current[1:], current[:-1]]), axis=0)
    same = flows[1:] & flows[:-1] & (current[1:] * current[:-1] > 0) & (smaller > 0.9 * larger)
    parts = np.split(np.arange(len(time)), np.flatnonzero(~same) + 1)
    return [
        HalfCycle(time[part], voltage[part], current[part])
        for part in parts
        if flows[part[0]] and len(part) >= 3
    ]


def find_short(
    half_cycle: HalfCycle,
    *,
    fall_fraction: float = 0.2,
    within_s: float = 60.0,
    settling_s: float = 10.0,
    floor_ohm: float | None = None,
    floor_fraction: float = 0.9,
) -> Short | None:
    """Find the first short in a half cycle.

    Parameters
    ----------
    half_cycle : HalfCycle
    fall_fraction : float
        Of abs(V) that has to be lost. Choose it above what nucleation does: its peak falls too, if slower.
        A soft short may take a tenth, a hard one takes nearly all.
    within_s : float
        Time in which it has to be lost.
    settling_s : float
        At the beginning, in which the voltage has no say, because it settles.
    floor_ohm : float, optional
        Resistance that the cell cannot go below: of its electrolyte, by impedance before. A voltage that
        is less than `floor_fraction` of what the current makes on it is a short too, even without a fall.
    floor_fraction : float
        Below 1 by what the resistance is uncertain.

    Returns
    -------
    Short or None

    Raises
    ------
    BadInput
        A fraction that is not between 0 and 1, or a time or resistance not above zero.
    """
    for name, fraction in (("fall_fraction", fall_fraction), ("floor_fraction", floor_fraction)):
        if not 0 < fraction < 1:
            raise BadInput(f"{name} is {fraction:g}: it must be between 0 and 1")
    above_zero(within_s=within_s, **({} if floor_ohm is None else {"floor_ohm": floor_ohm}))
    time, charge = half_cycle.time_s, half_cycle.charge_mAh
    height = np.abs(half_cycle.voltage_V)
    left = 1 - fall_fraction
    for row in range(1, len(time)):
        if time[row] - time[0] < settling_s:
            continue
        highest = float(np.median(height[row : row + STAYS]))
        if floor_ohm is not None:
            floor_V = floor_fraction * floor_ohm * abs(half_cycle.mean_current_A)
            if height[row] < floor_V and highest < floor_V:
                reason = (
                    f"{height[row]:.3g} V is below {floor_V:.3g} V, {floor_fraction:g} I R of the electrolyte"
                )
                return Short(float(time[row]), float(charge[row]), reason)
        begins = min(int(np.searchsorted(time, max(time[row] - within_s, time[0] + settling_s))), row - 1)
        before = float(height[begins:row].max())
        if height[row] < left * before and highest < left * before:
            reason = f"fell from {before:.3g} V to {height[row]:.3g} V within {within_s:g} s"
            return Short(float(time[row]), float(charge[row]), reason)
    return None


def critical_current_density(
    results: Iterable[tuple[float, bool]], *, current_relative_accuracy: float
) -> tuple[Value, Value]:
    """Largest current density that a cell survived for a whole half cycle, and the first at which it shorted.

    Parameters
    ----------
    results : iterable of (float, bool)
        Areal current of each half cycle in mA/cm2, of either sign, and whether it shorted; in the order in
        which they were made. What comes after the first short is left out: the cell is another one.
    current_relative_accuracy : float
        Rectangular.

    Returns
    -------
    critical_current_density : Value
        mA/cm2. NaN where the first half cycle shorted. Without a short it is a lower bound, and has no
        uncertainty (NaN).
    shorting_current_density : Value
        mA/cm2; NaN without a short.

    Raises
    ------
    BadInput
        No half cycles.

    References
    ----------
    Requirement D17.
    """
    made = [(abs(density), shorted) for density, shorted in results]
    if not made:
        raise BadInput("no half cycles: nothing was plated")
    shorted_at = next((number for number, (_, shorted) in enumerate(made) if shorted), None)
    survived = [density for density, _ in made[:shorted_at]]
    gain = current_relative_accuracy * RECTANGULAR
    name, unit = "critical_current_density", "mA/cm2"
    about = f"largest current density of {len(survived)} whole half cycles before the first short"
    shorting_about = "current density of the half cycle that shorted first"
    if shorted_at is None:
        largest = max(survived)
        return (
            Value(name, largest, unit, math.nan, f"{about}; a lower bound: no half cycle shorted"),
            Value("shorting_current_density", math.nan, unit, math.nan, f"{shorting_about}; none did"),
        )
    density = made[shorted_at][0]
    shorting = Value("shorting_current_density", density, unit, gain * density, shorting_about)
    if not survived:
        reason = f"not defined: the first half cycle shorted, at {density:.4g} {unit}"
        return Value(name, math.nan, unit, math.nan, f"{about}; {reason}"), shorting
    largest = max(survived)
    apart = abs(density - largest) * RECTANGULAR
    about += "; uncertain by the distance to the one that shorted, rectangular, and by the current"
    return Value(name, largest, unit, math.hypot(apart, gain * largest), about), shorting


def plated_thickness(
    charge_mAh: float, *, area_cm2: float, charge_uncertainty_mAh: float | None = None
) -> Value:
    """Thickness of the lithium that a charge deposits, d = Q M / (F rho A), in um.

    Dense and all over the area: a deposit with pores, or on part of it, is thicker.

    Parameters
    ----------
    charge_mAh : float
        Without sign.
    area_cm2 : float
    charge_uncertainty_mAh : float, optional

    Raises
    ------
    BadInput
        An area not above zero, or a charge below zero.

    References
    ----------
    M = 6.94 g/mol (IUPAC 2021), rho = 0.534 g/cm3 (CRC Handbook of Chemistry and Physics): 4.85 um for 1
    mAh/cm2.
    """
    above_zero(area_cm2=area_cm2)
    if not charge_mAh >= 0:
        raise BadInput(f"charge_mAh is {charge_mAh:g}: give it without sign")
    per_charge = LITHIUM_um_cm2_mAh / area_cm2
    own = math.nan if charge_uncertainty_mAh is None else charge_uncertainty_mAh * per_charge
    about = f"Q M / (F rho A), dense lithium, {LITHIUM_g_mol:g} g/mol and {LITHIUM_g_cm3:g} g/cm3"
    return Value("plated_thickness", charge_mAh * per_charge, "um", own, about)


def smallest_potential(
    negative_potential_V: ArrayLike, charge_mAh: ArrayLike, *, potential_accuracy_V: float
) -> tuple[Value, Value]:
    """How near a negative electrode came to the deposition of lithium, and at what charge it reached 0 V.

    Parameters
    ----------
    negative_potential_V : array_like, shape (n,)
        Against Li/Li+, of a three-electrode cell in a charge.
    charge_mAh : array_like, shape (n,)
        Passed in the charge, never falling.
    potential_accuracy_V : float
        Of instrument and reference; rectangular.

    Returns
    -------
    negative_potential_min : Value
        V against Li/Li+.
    charge_at_0_V : Value
        mAh, where it first fell to 0 V, straight between two records; NaN where it did not.

    Raises
    ------
    BadInput
        Fewer than two records, or columns of different lengths.

    References
    ----------
    Requirement D12; S001 L5924-5928: the negative potential reached 0 V at the short.
    """
    potential, charge = (np.asarray(one, dtype=float) for one in (negative_potential_V, charge_mAh))
    if potential.shape != charge.shape or potential.ndim != 1 or len(potential) < 2:
        raise BadInput("give at least two records, and one charge for each potential")
    own_V = potential_accuracy_V * RECTANGULAR
    least = Value(
        "negative_potential_min",
        float(potential.min()),
        "V",
        own_V,
        "smallest potential of the negative electrode against Li/Li+; below 0 V lithium can be deposited",
    )
    name, about = "charge_at_0_V", "charge at which the negative electrode first fell to 0 V against Li/Li+"
    below = np.flatnonzero(potential <= 0)
    if len(below) == 0:
        return least, Value(name, math.nan, "mAh", math.nan, f"{about}; it did not")
    after = int(below[0])
    if after == 0:
        return least, Value(
            name, float(charge[0]), "mAh", math.nan, f"{about}; it was there at the first record"
        )
    before = after - 1
    fell_V, passed_mAh = potential[before] - potential[after], charge[after] - charge[before]
    at_mAh = float(charge[before] + passed_mAh * potential[before] / fell_V)
    uncertainty = math.hypot(own_V * passed_mAh / fell_V, passed_mAh / math.sqrt(12))
    return least, Value(name, at_mAh, "mAh", float(uncertainty), about)
