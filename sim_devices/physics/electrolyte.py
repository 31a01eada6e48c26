"""A sulfide solid electrolyte in moist gas: water uptake, H2S, a resistive surface, and partial recovery.

The model is the smallest that has the behaviour of the source (S001 3.1.1(2)(e)): water reacts at the surface
only. A fixed part of it hydrolyses the sulfide (H2S leaves, the product stays), the rest is held reversibly
and leaves again when the sample is heated in vacuum. Both add to the reaction resistance alike, so full
removal of the reversible part recovers a fixed part of the added resistance, whatever the exposure was: 0.52
for argyrodite and 0.80 for Li3PS4-LiI. The bulk is not touched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, log1p
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sim_devices.physics.constants import ROOM_TEMPERATURE_C, ZERO_CELSIUS_K, arrhenius
from ssblab.clock import Clock

STANDARD_ATOMIC_WEIGHT_g_mol = MappingProxyType(
    {"Li": 6.94, "P": 30.974, "S": 32.06, "Cl": 35.45, "I": 126.90447}
)
"""IUPAC abridged standard atomic weights (2021) of the elements used here."""


def atoms_per_formula(formula: str) -> dict[str, float]:
    """Count the atoms in a formula without brackets, such as ``Li5.4PS4.4Cl1.6``.

    Parameters
    ----------
    formula : str
        Element symbols, each followed by its count where that is not 1.

    Returns
    -------
    dict of str to float
        Atoms per formula unit by element.
    """
    return {
        element: float(count) if count else 1.0
        for element, count in re.findall(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?", formula)
    }


def molar_mass_g_mol(formula: str) -> float:
    """Molar mass (g/mol) of a formula unit."""
    return sum(STANDARD_ATOMIC_WEIGHT_g_mol[el] * count for el, count in atoms_per_formula(formula).items())


@dataclass(frozen=True)
class SulfideMaterial:
    """What a sulfide electrolyte is made of, how it conducts, and how it meets water.

    Only ``irreversible_fraction`` and the heating temperature at which the removal is fast are calibrated to
    the source; the other numbers are placeholders, since the source gives no resistance and no H2S value.

    Parameters
    ----------
    name : str
        Name used in records.
    formula : str
        Formula unit, for molar mass and sulfur count.
    irreversible_fraction : float
        Part of the water taken up that hydrolyses the sulfide, one H2S for one H2O (PS4 to PO4). Calibrated:
        1 minus the recovery of the added resistance (GT-03, GT-04).
    conductivity_S_cm : float
        Bulk conductivity at 25 degC; placeholder, plausible 1e-3 to 1e-2 (argyrodite), 5e-4 to 2e-3
        (Li3PS4-LiI).
    bulk_activation_J_mol : float
        Activation energy of conductivity times temperature; placeholder, plausible 25e3 to 40e3.
    reaction_resistivity_ohm_cm : float
        Reaction (surface and contact) part of the pristine resistivity at 25 degC; placeholder, plausible
        0.1 to 1 of the bulk's.
    reaction_activation_J_mol : float
        Activation energy of the reaction resistance; placeholder, plausible 30e3 to 60e3.
    product_resistivity_ohm_cm_per_mol_g : float
        Growth of the reaction resistivity per mol of water held by or reacted with 1 g; placeholder chosen
        for R1/R0 of 1.5 to 4 after 2 h at a dew point of -20 degC.
    uptake_mol_s_g : float
        Water uptake of 1 g of fresh sample per unit of water mole fraction; placeholder chosen for a few ppm
        of H2S in 500 mL/min at a dew point of -20 degC, plausible 1e-6 to 1e-3.
    passivation_mol_g : float
        Water held per gram at which the surface has slowed to half its rate; placeholder, plausible 1e-6 to
        1e-4.
    removal_per_s : float
        Rate constant of the removal of reversible products in vacuum at ``removal_temperature_C``;
        placeholder, plausible 1e-3 to 1e-2 (heating time n.g.; an hour has to suffice).
    removal_temperature_C : float
        Heating temperature of the source.
    removal_activation_J_mol : float
        Activation energy of the removal; placeholder, plausible 60e3 to 120e3 (dehydration).
    products_per_water : mapping
        Species that stay on the surface, in mol per mol of water that has hydrolysed the sulfide. For
        argyrodite the source names the three (GT-06), without amounts: LiCl is all chloride of the sulfide
        consumed, Li2CO3 the lithium that neither chloride nor phosphate binds, Li2SO4 a placeholder,
        plausible 0.01 to 0.2. For Li3PS4-LiI it names none: placeholders.
    """

    name: str
    formula: str
    irreversible_fraction: float
    conductivity_S_cm: float
    bulk_activation_J_mol: float
    reaction_resistivity_ohm_cm: float
    reaction_activation_J_mol: float
    product_resistivity_ohm_cm_per_mol_g: float
    uptake_mol_s_g: float
    passivation_mol_g: float
    removal_per_s: float
    removal_temperature_C: float
    removal_activation_J_mol: float
    products_per_water: Mapping[str, float]

    @property
    def sulfur_mol_g(self) -> float:
        """Sulfur content, mol per gram."""
        return atoms_per_formula(self.formula)["S"] / molar_mass_g_mol(self.formula)


ARGYRODITE = SulfideMaterial(
    name="argyrodite",
    formula="Li5.4PS4.4Cl1.6",
    irreversible_fraction=0.48,
    conductivity_S_cm=3.0e-3,
    bulk_activation_J_mol=33e3,
    reaction_resistivity_ohm_cm=150.0,
    reaction_activation_J_mol=40e3,
    product_resistivity_ohm_cm_per_mol_g=1.8e7,
    uptake_mol_s_g=1.3e-5,
    passivation_mol_g=7.5e-6,
    removal_per_s=2.5e-3,
    removal_temperature_C=170.0,
    removal_activation_J_mol=80e3,
    products_per_water=MappingProxyType({"Li2CO3": 0.4 / 4.4, "Li2SO4": 0.05, "LiCl": 1.6 / 4.4}),
)
"""Li(7-x)PS(6-x)Clx at x = 1.6, the usual superionic composition; x itself is not given in the source."""

LI3PS4_LII = SulfideMaterial(
    name="li3ps4-lii",
    formula="Li7P2S8I",
    irreversible_fraction=0.20,
    conductivity_S_cm=1.0e-3,
    bulk_activation_J_mol=29e3,
    reaction_resistivity_ohm_cm=400.0,
    reaction_activation_J_mol=40e3,
    product_resistivity_ohm_cm_per_mol_g=5.5e7,
    uptake_mol_s_g=1.3e-5,
    passivation_mol_g=7.5e-6,
    removal_per_s=2.5e-3,
    removal_temperature_C=100.0,
    removal_activation_J_mol=100e3,
    products_per_water=MappingProxyType({"Li2CO3": 0.05, "Li2SO4": 0.05}),
)
"""Glass-ceramic Li3PS4-LiI taken as 2 Li3PS4 . LiI; the ratio is not given in the source."""

MATERIALS = MappingProxyType({material.name: material for material in (ARGYRODITE, LI3PS4_LII)})
"""Materials by name."""


@dataclass(frozen=True)
class PelletGeometry:
    """Shape of the pressed pellet.

    Parameters
    ----------
    thickness_cm, area_cm2 : float
        Placeholders: 1 mm and 1 cm2, plausible 0.3 to 2 mm and 0.5 to 2 cm2.
    """

    thickness_cm: float = 0.1
    area_cm2: float = 1.0

    @property
    def cell_constant_per_cm(self) -> float:
        """Thickness over area, 1/cm."""
        return self.thickness_cm / self.area_cm2


@dataclass(frozen=True)
class CellElements:
    """Elements of the measuring cell's circuit besides the two resistances.

    Constant-phase elements have the admittance ``Q (j omega)^n``. The values are placeholders that put the
    bulk's apex at 1 to 6 MHz (so only its low-frequency side is seen at 1 MHz), the reaction arc's at 2 to
    200 kHz, and the blocking electrodes below about 1 kHz; capacitances lie in the classes of J. T. S.
    Irvine, D. C. Sinclair and A. R. West, Adv. Mater. 2 (1990) 132 (grain boundary 1e-11 to 1e-8 F, surface
    layer 1e-9 to 1e-7 F, electrode interface 1e-7 to 1e-5 F).

    Parameters
    ----------
    inductance_H : float
        Leads; plausible 5e-8 to 1e-6.
    bulk_Q, bulk_n : float
        S s^n for a cell constant of 0.1 per cm, and exponent; plausible n 0.9 to 1.
    reaction_Q, reaction_n : float
        Likewise; plausible n 0.7 to 0.95.
    blocking_Q_cm2, blocking_n : float
        S s^n per cm2 of electrode; plausible 1e-6 to 1e-4, n 0.8 to 0.98.
    """

    inductance_H: float = 2.0e-7
    bulk_Q: float = 2.0e-9
    bulk_n: float = 0.96
    reaction_Q: float = 3.0e-7
    reaction_n: float = 0.88
    blocking_Q_cm2: float = 2.0e-5
    blocking_n: float = 0.92


@dataclass(frozen=True)
class GasExchange:
    """What the sample took from and gave to the gas during one interval.

    Parameters
    ----------
    water_uptake_mol : float
        Water taken from the gas, mol.
    h2s_release_mol : float
        H2S given to the gas, mol.
    water_release_mol : float
        Water given off by removal of reversible products, mol.
    """

    water_uptake_mol: float
    h2s_release_mol: float
    water_release_mol: float


class Electrolyte:
    """A weighed sample of one sulfide electrolyte, in gas, in vacuum, and in the impedance cell.

    Parameters
    ----------
    material : SulfideMaterial
        What it is.
    mass_g : float
        Weighed mass, g.
    geometry : PelletGeometry
        Shape when measured.
    cell : CellElements
        Circuit elements of the impedance cell.

    Attributes
    ----------
    water_taken_mol, water_released_mol, h2s_released_mol : float
        True totals since the pristine state, mol.
    reversible_mol, irreversible_mol : float
        True water held reversibly and water that has hydrolysed the sulfide, mol. The balance is
        ``water_taken = reversible + irreversible + water_released``, and ``h2s_released = irreversible``.
    """

    REMOVAL_HALF_PRESSURE_Pa = 100.0
    """Pressure at which removal has half its vacuum rate; placeholder, plausible 10 to 1000 Pa."""

    def __init__(
        self,
        material: SulfideMaterial,
        *,
        mass_g: float = 0.2,
        geometry: PelletGeometry | None = None,
        cell: CellElements | None = None,
    ) -> None:
        self.material = material
        self.mass_g = mass_g
        self.geometry = geometry if geometry is not None else PelletGeometry()
        self.cell = cell if cell is not None else CellElements()
        self.sulfur_mol = material.sulfur_mol_g * mass_g
        self.water_taken_mol = 0.0
        self.water_released_mol = 0.0
        self.reversible_mol = 0.0
        self.irreversible_mol = 0.0

    @classmethod
    def of_sample(
        cls, clock: Clock, generator: np.random.Generator, sample: Mapping[str, Any], *, material: str
    ) -> Self:
        """Make the pellet of a sample record; clock and generator are not used: it is moved by its vessel."""
        area_cm2 = np.pi * (sample["diameter_mm"] / 20.0) ** 2
        geometry = PelletGeometry(thickness_cm=sample["thickness_mm"] / 10.0, area_cm2=area_cm2)
        return cls(MATERIALS[material], mass_g=sample["mass_g"], geometry=geometry)

    @property
    def h2s_released_mol(self) -> float:
        """H2S given off since the pristine state, mol: one for each water that hydrolysed the sulfide."""
        return self.irreversible_mol

    @property
    def consumed_fraction(self) -> float:
        """Share of the sulfide that has been hydrolysed; the rest has the structure it had."""
        return self.irreversible_mol / self.sulfur_mol

    def surface_products(self) -> dict[str, float]:
        """True products of the hydrolysis, mol by formula, which an analysis of the surface would find.

        They stay when the sample is heated in vacuum. A pristine sample has none: the mapping is empty.
        """
        if not self.irreversible_mol:
            return {}
        per_water = self.material.products_per_water
        return {species: per_mol * self.irreversible_mol for species, per_mol in per_water.items()}

    def uptake_rate_mol_s(self, *, flow_mol_s: float, water_mole_fraction: float) -> float:
        """Momentary water uptake.

        Supply by the gas and reaction at the surface act in series, as conductances per unit of mole
        fraction; the surface slows with the products on it and with the sulfur consumed.

        Parameters
        ----------
        flow_mol_s : float
            Gas flow over the sample, mol/s.
        water_mole_fraction : float
            Water mole fraction of the arriving gas.

        Returns
        -------
        float
            mol/s, at most ``flow_mol_s * water_mole_fraction``.
        """
        held_mol = self.reversible_mol + self.irreversible_mol
        surface_mol_s = (
            self.material.uptake_mol_s_g
            * self.mass_g
            * (1.0 - self.consumed_fraction)
            / (1.0 + held_mol / (self.material.passivation_mol_g * self.mass_g))
        )
        if flow_mol_s == 0.0 or surface_mol_s <= 0.0:
            return 0.0
        return water_mole_fraction / (1.0 / flow_mol_s + 1.0 / surface_mol_s)

    def h2s_rate_mol_s(self, *, flow_mol_s: float, water_mole_fraction: float) -> float:
        """Momentary H2S release, mol/s; parameters as `uptake_rate_mol_s`."""
        return self.material.irreversible_fraction * self.uptake_rate_mol_s(
            flow_mol_s=flow_mol_s, water_mole_fraction=water_mole_fraction
        )

    def removal_rate_per_s(self, *, temperature_C: float, pressure_Pa: float) -> float:
        """First-order rate constant of the removal of reversible products.

        Parameters
        ----------
        temperature_C : float
            Sample temperature, degC.
        pressure_Pa : float
            Pressure over the sample, Pa.

        Returns
        -------
        float
            1/s.
        """
        reference_C = self.material.removal_temperature_C
        return (
            self.material.removal_per_s
            * arrhenius(self.material.removal_activation_J_mol, temperature_C, reference_C)
            / (1.0 + (pressure_Pa / self.REMOVAL_HALF_PRESSURE_Pa) ** 2)
        )

    def advance(
        self,
        dt_s: float,
        *,
        flow_mol_s: float,
        water_mole_fraction: float,
        temperature_C: float,
        pressure_Pa: float,
    ) -> GasExchange:
        """Advance the sample over an interval of constant surroundings.

        Uptake and removal are each solved exactly, one after the other: where water is supplied (1 atm)
        removal is a million times slower than in vacuum, and in vacuum nothing is supplied. Splitting an
        interval therefore changes the totals by less than 1e-8 of them.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        flow_mol_s : float
            Gas flow over the sample, mol/s; 0 when bypassed or in the oven.
        water_mole_fraction : float
            Water mole fraction of the arriving gas.
        temperature_C, pressure_Pa : float
            Sample temperature, degC, and pressure over it, Pa. Step through ramps of temperature in
            intervals of 30 s or less: the removal is exponential in temperature.

        Returns
        -------
        GasExchange
            Amounts exchanged in the interval.
        """
        if dt_s < 0.0:
            raise ValueError(f"dt_s must not be negative, got {dt_s}")
        uptake_mol = self._uptake_mol(dt_s, flow_mol_s, water_mole_fraction)
        h2s_mol = self.material.irreversible_fraction * uptake_mol
        self.water_taken_mol += uptake_mol
        self.irreversible_mol += h2s_mol
        self.reversible_mol += uptake_mol - h2s_mol
        removal_per_s = self.removal_rate_per_s(temperature_C=temperature_C, pressure_Pa=pressure_Pa)
        released_mol = -self.reversible_mol * expm1(-removal_per_s * dt_s)
        self.reversible_mol -= released_mol
        self.water_released_mol += released_mol
        return GasExchange(uptake_mol, h2s_mol, released_mol)

    def _uptake_mol(self, dt_s: float, flow_mol_s: float, water_mole_fraction: float) -> float:
        """Water taken up in ``dt_s``: the inverse of the time (closed form) an uptake takes.

        With s the uptake in the interval, ds/dt = x / (1/F + (1 + (w + s)/c) / (g (1 - (i + f s)/N))).
        Let m = (N - i)/f, the uptake that would consume all sulfur, and v = s/m; integrated,
        t = s/(F x) + N/(f g x) ((1 + w/c) L + (m/c) (L - v)), with L = -ln(1 - v).
        """
        start_mol_s = self.uptake_rate_mol_s(flow_mol_s=flow_mol_s, water_mole_fraction=water_mole_fraction)
        if start_mol_s == 0.0 or dt_s == 0.0:
            return 0.0
        passivation_mol = self.material.passivation_mol_g * self.mass_g
        held = (self.reversible_mol + self.irreversible_mol) / passivation_mol
        limit_mol = (self.sulfur_mol - self.irreversible_mol) / self.material.irreversible_fraction
        supply_mol_s = flow_mol_s * water_mole_fraction
        surface_s = self.sulfur_mol / (
            self.material.irreversible_fraction
            * self.material.uptake_mol_s_g
            * self.mass_g
            * water_mole_fraction
        )

        def excess_s(uptake_mol: float) -> float:
            used = uptake_mol / limit_mol
            surface = -(1.0 + held) * log1p(-used) + limit_mol / passivation_mol * _log_excess(used)
            return uptake_mol / supply_mol_s + surface_s * surface - dt_s

        # The rate only falls, so the starting rate bounds the uptake from above.
        upper_mol = min(start_mol_s * dt_s, limit_mol * (1.0 - 1e-12))
        if excess_s(upper_mol) <= 0.0:
            return upper_mol
        return float(brentq(excess_s, 0.0, upper_mol, xtol=1e-14 * upper_mol, rtol=1e-14))

    def bulk_resistance_ohm(self, temperature_C: float = ROOM_TEMPERATURE_C) -> float:
        """True bulk resistance (ohm) of the pellet at a temperature (degC); exposure does not change it."""
        kelvin_ratio = (temperature_C + ZERO_CELSIUS_K) / (ROOM_TEMPERATURE_C + ZERO_CELSIUS_K)
        conductivity_S_cm = (
            self.material.conductivity_S_cm
            * arrhenius(self.material.bulk_activation_J_mol, temperature_C)
            / kelvin_ratio
        )
        return self.geometry.cell_constant_per_cm / conductivity_S_cm

    def reaction_resistance_ohm(self, temperature_C: float = ROOM_TEMPERATURE_C) -> float:
        """True reaction resistance (ohm) at a temperature (degC): the arc that exposure grows."""
        held_mol_g = (self.reversible_mol + self.irreversible_mol) / self.mass_g
        resistivity_ohm_cm = (
            self.material.reaction_resistivity_ohm_cm
            + self.material.product_resistivity_ohm_cm_per_mol_g * held_mol_g
        )
        slowing = arrhenius(self.material.reaction_activation_J_mol, temperature_C)
        return self.geometry.cell_constant_per_cm * resistivity_ohm_cm / slowing

    def total_resistance_ohm(self, temperature_C: float = ROOM_TEMPERATURE_C) -> float:
        """True bulk plus reaction resistance (ohm) at a temperature (degC): the R of the recovery."""
        return self.bulk_resistance_ohm(temperature_C) + self.reaction_resistance_ohm(temperature_C)

    def impedance(
        self, frequency_Hz: NDArray[np.float64], temperature_C: float = ROOM_TEMPERATURE_C
    ) -> NDArray[np.complex128]:
        """True impedance of the pellet between blocking electrodes.

        ``L + (R_bulk || CPE) + (R_reaction || CPE) + CPE_blocking``, in series.

        Parameters
        ----------
        frequency_Hz : ndarray, shape (n,)
            Frequencies, Hz, > 0.
        temperature_C : float
            Cell temperature, degC.

        Returns
        -------
        ndarray of complex, shape (n,)
            Impedance, ohm.
        """
        s = 2j * np.pi * np.asarray(frequency_Hz, dtype=np.float64)
        # The placeholder capacitances are given for this cell constant; they scale as area over thickness.
        scale = 0.1 / self.geometry.cell_constant_per_cm
        cell = self.cell
        bulk_ohm = self.bulk_resistance_ohm(temperature_C)
        reaction_ohm = self.reaction_resistance_ohm(temperature_C)
        return (
            s * cell.inductance_H
            + 1.0 / (1.0 / bulk_ohm + cell.bulk_Q * scale * s**cell.bulk_n)
            + 1.0 / (1.0 / reaction_ohm + cell.reaction_Q * scale * s**cell.reaction_n)
            + 1.0 / (cell.blocking_Q_cm2 * self.geometry.area_cm2 * s**cell.blocking_n)
        )


def _log_excess(used: float) -> float:
    """``-ln(1 - used) - used``, by its series where the difference would lose digits."""
    if used > 1e-3:
        return -log1p(-used) - used
    return used**2 * (1.0 / 2.0 + used * (1.0 / 3.0 + used * (1.0 / 4.0 + used * (1.0 / 5.0 + used / 6.0))))
