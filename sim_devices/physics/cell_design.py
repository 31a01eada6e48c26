"""What a battery cell is made of: electrodes, electrolyte, how fast they age; the cells of the laboratory.

Almost no number of this kind is in the documents. Numbers are placeholders unless a source stands beside
them; the range that literature supports stands with each. What the documents do give, ratios and orderings,
is reached by their choice (see docs/ground-truth.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sim_devices.physics.contact import (
    LITHIUM_CONTACT,
    NEGATIVE_CONTACT,
    POSITIVE_CONTACT,
    BondLevel,
    ContactLaw,
)
from sim_devices.physics.open_circuit import OpenCircuit, open_circuit

__all__ = ["DESIGNS", "AgeingRates", "CellDesign", "Electrode", "Electrolyte"]

LOADING_mAh_cm2 = 2.0
"""Capacity per area of the standard cell 2.1: 8 mAh on 4 cm2 (ground truth, sizing table)."""


@dataclass(frozen=True)
class Electrode:
    """One electrode at a loading of 2 mAh/cm2.

    Thickness, charge-transfer area and double layer grow with the loading.

    Parameters
    ----------
    material : str
        Of `sim_devices.physics.open_circuit`.
    window_V : tuple of float
        Potentials against Li/Li+ between which it is used in a half cell.
    thickness_um : float
        Of the layer, without its lithium.
    electrolyte_share : float
        Of the layer's volume. Its ionic conductivity is that of the electrolyte times this to the power 1.5.
    radius_um, diffusivity_cm2_s, diffusion_J_mol : float
        Of the particles; of lithium in them at 25 degC; its activation energy.
    transfer_ohm_cm2, transfer_J_mol : float
        Charge transfer at half content and 25 degC, per area of the cell; its activation energy.
    double_layer_mF_cm2 : float
        Per area of the cell.
    swelling : float
        Share by which the layer grows from no lithium to all its lithium.
    cracking_per_cycle : float
        Share of the sites cut off in one full charge and discharge.
    sites_mAh_g : float
        Charge of all its sites per mass of active material.
    contact : ContactLaw
        Of its face on the electrolyte.
    """

    material: str
    window_V: tuple[float, float]
    thickness_um: float = 0.0
    electrolyte_share: float = 1.0
    radius_um: float = 1.0
    diffusivity_cm2_s: float = 1e-9
    diffusion_J_mol: float = 30e3
    transfer_ohm_cm2: float = 5.0
    transfer_J_mol: float = 50e3
    double_layer_mF_cm2: float = 0.1
    swelling: float = 0.0
    cracking_per_cycle: float = 0.0
    sites_mAh_g: float = math.nan
    contact: ContactLaw = NEGATIVE_CONTACT

    @property
    def open_circuit(self) -> OpenCircuit:
        """Open-circuit potential of the material."""
        return open_circuit(self.material)

    @property
    def is_metal(self) -> bool:
        """Whether its potential does not depend on what it holds."""
        return self.open_circuit.flat


# Diffusivity 1e-11 to 1e-9 cm2/s, 30 to 60 kJ/mol; charge transfer (coated, in a sulfide) 2 to 50 ohm cm2,
# 40 to 60 kJ/mol; double layer 0.1 to 10 mF/cm2. The layer changes by less than 2 % ("positive and
# electrolyte about 0", GT-24).
NMC = Electrode(
    "nmc", (2.7, 4.25), thickness_um=75.0, electrolyte_share=0.35, radius_um=2.5, diffusivity_cm2_s=1.25e-10,
    diffusion_J_mol=40e3, transfer_ohm_cm2=6.0, double_layer_mF_cm2=0.9, swelling=0.012, sites_mAh_g=275.0,
    contact=POSITIVE_CONTACT,
)  # fmt: skip
# A liquid enters the cracks of the secondary particles, a solid does not: lithium has a shorter way in a
# liquid (R. Ruess et al., J. Electrochem. Soc. 167 (2020) 100532). Placeholder, plausible 0.3 to 2 um.
NMC_IN_LIQUID = replace(NMC, radius_um=1.0)
LICOO2 = replace(NMC, material="licoo2", window_V=(3.0, 4.2), diffusivity_cm2_s=2e-10, swelling=-0.015)
# Layered and rich in lithium: diffusivity 1e-13 to 1e-11 cm2/s. 230 to 280 mAh/g of all 377 come back.
LI_RICH = replace(
    NMC, material="li-rich", window_V=(2.2, 4.7), radius_um=0.5, diffusivity_cm2_s=2e-12, sites_mAh_g=285.0
)
# Li-V-S: more than 700 mAh/g (S001 L6320-6338).
LI_VS = replace(LI_RICH, material="li-v-s", window_V=(1.5, 3.0), sites_mAh_g=850.0)
# Diffusivity 1e-10 to 1e-8 cm2/s; charge transfer 1 to 20 ohm cm2, 40 to 60 kJ/mol.
GRAPHITE = Electrode(
    "graphite", (0.01, 1.0), thickness_um=60.0, electrolyte_share=0.45, radius_um=4.0,
    diffusivity_cm2_s=8e-10, diffusion_J_mol=35e3, transfer_ohm_cm2=2.2, double_layer_mF_cm2=0.1,
    swelling=0.08, sites_mAh_g=372.0,
)  # fmt: skip
# Better shaped graphite: the ion-transport resistance of the layer is less by 20 % (S001 L5746), said with
# the share that conducts. Coated with pitch: half the reaction resistance or less (S001 L5803).
GRAPHITE_SHAPED = replace(GRAPHITE, electrolyte_share=0.45 * 0.8 ** (-1.0 / 1.5), transfer_ohm_cm2=1.0)
# Silicon of 50 nm in a composite with electrolyte. Diffusivity 1e-14 to 1e-10 cm2/s. Li3.75Si has 3579
# mAh/g, less what is not connected: 2900 to 3579. It is used from 0 to 1 V, taken as against Li/Li+ (the
# documents name no scale), which is about 0.08 to 0.9 V on the mean of its hysteresis. A layer grows to
# about twice (S001 L6364). In a cycle 0.0005 to 0.02 of the sites crack off, from film to 2 um to 50 nm the
# fewer (S001 L6138-6241).
SI = Electrode(
    "si", (0.08, 0.9), thickness_um=15.0, electrolyte_share=0.4, radius_um=0.025, diffusivity_cm2_s=2e-12,
    diffusion_J_mol=40e3, transfer_ohm_cm2=8.0, double_layer_mF_cm2=0.3, swelling=1.1, sites_mAh_g=3150.0,
    cracking_per_cycle=0.002,
)  # fmt: skip
# The same silicon, of 2 um: less surface for the charge transfer.
SI_2UM = replace(SI, radius_um=1.0, transfer_ohm_cm2=15.0, cracking_per_cycle=0.006)
# Sprayed film, dense: no electrolyte in it, so that pieces that crack off have no path left. It reacts at
# its face only; lithium moves through islands between cracks, about as wide as the film is thick.
SI_FILM = replace(
    SI_2UM,
    thickness_um=3.0,
    electrolyte_share=1.0,
    radius_um=2.0,
    transfer_ohm_cm2=30.0,
    cracking_per_cycle=0.015,
)
IN_LI = Electrode("in-li", (0.62, 0.62), transfer_ohm_cm2=5.0, transfer_J_mol=45e3, double_layer_mF_cm2=0.05)
LITHIUM = Electrode(
    "li", (0.0, 0.0), transfer_ohm_cm2=5.0, double_layer_mF_cm2=0.05, contact=LITHIUM_CONTACT
)  # fmt: skip


@dataclass(frozen=True)
class Electrolyte:
    """The electrolyte, as separator layer and in the electrode layers.

    Parameters
    ----------
    conductivity_S_cm, activation_J_mol : float
        At 25 degC; activation energy of conduction.
    separator_um, separator_share : float
        Thickness of the layer; share of electrolyte in it.
    grain_ohm_cm2 : float
        Resistance between its particles, in series with the separator.
    transference : float
        Of lithium. Where other ions move too, the concentration settles such that a small lasting current
        meets the ionic resistance over this (P. G. Bruce, C. A. Vincent, J. Electroanal. Chem. 225 (1987) 1).
    concentration_s : float
        Time constant of that.
    freezing_C, gassing_C : float
        Below the one its conductivity is lost, at the other it makes gas fast.
    oxidation : float
        Oxidation at the positive electrode in multiples of that of a sulfide.
    critical_mA_cm2 : float
        Local current density at 25 degC above which lithium metal grows through it.
    """

    conductivity_S_cm: float
    activation_J_mol: float
    separator_um: float
    separator_share: float
    grain_ohm_cm2: float = 0.0
    transference: float = 1.0
    concentration_s: float = 40.0
    freezing_C: float = -math.inf
    gassing_C: float = math.inf
    oxidation: float = 1.0
    critical_mA_cm2: float = 2.0

    @property
    def is_liquid(self) -> bool:
        """Whether it wets what it touches: lithium in it gets no voids."""
        return math.isfinite(self.freezing_C)


# Argyrodite: 1e-3 to 1e-2 S/cm, 25 to 40 kJ/mol; between bonded particles 0.2 to 5 ohm cm2; transference 1.
SULFIDE = Electrolyte(3e-3, 33e3, separator_um=30.0, separator_share=0.95, grain_ohm_cm2=1.0)
# Powder pressed into a holder: the separator layer is thick, so that it does not short; later it could be
# made thinner (S001 L6166-6184).
POWDER = replace(SULFIDE, separator_um=550.0)
THIN_POWDER = replace(SULFIDE, separator_um=165.0)
# 1 mol/L LiPF6 in carbonates: 8e-3 to 12e-3 S/cm, 10 to 18 kJ/mol; transference 0.25 to 0.4 (at most 0.5,
# S001 L3112); oxidised above 4.5 V. Lithium metal in it is wetted: neither voids nor growth are modelled.
LIQUID = Electrolyte(
    1e-2, 14e3, separator_um=20.0, separator_share=0.45, transference=0.3, freezing_C=-40.0, gassing_C=80.0,
    oxidation=3.0, critical_mA_cm2=math.inf,
)  # fmt: skip
# Garnet (LLZ): 1e-4 to 1e-3 S/cm, 30 to 40 kJ/mol; critical current 0.1 to 1 mA/cm2 at 25 degC.
GARNET = Electrolyte(
    4e-4, 35e3, separator_um=500.0, separator_share=1.0, grain_ohm_cm2=50.0, critical_mA_cm2=0.5
)  # fmt: skip


@dataclass(frozen=True)
class AgeingRates:
    """How fast a cell ages.

    Parameters
    ----------
    oxidation_per_day : float
        Share of the positive sites that oxidation cuts off at 4.55 V and 25 degC (literature on bare to
        coated positive electrodes: 0.005 to 0.1). Nearly none at 4.25 V (S001 L6114-6129) follows from the
        Tafel law.
    oxidation_transfer, oxidation_J_mol : float
        Transfer coefficient of that law; activation energy (40 to 80 kJ/mol).
    oxidation_electrons : float
        Charge of the oxidation per charge of the sites lost: what leaks during a hold.
    film_per_day, film_J_mol : float
        Share of the negative electrode's sites that a film takes as lithium at 25 degC (1e-5 to 1e-3).
    growth_per_loss : float
        Relative growth of a charge-transfer resistance per share of sites lost, or lithium in the film.
    plating_mA_cm2 : float
        Exchange current of lithium deposition on an insertion electrode (0.1 to 10).
    dead_share : float
        Of deposited lithium that does not come back (0.01 to 0.2).
    dissolution_mAh_cm2 : float
        Deposit below which its dissolution slows down.
    short_S_per_mAh : float
        Growth of a short's conductance per deposited charge.
    gas_per_day, gas_J_mol : float
        Share of the sites cut off by gas at the temperature of gassing (0.01 to 0.2); activation energy of
        the decomposition of a carbonate electrolyte (100 to 150 kJ/mol).
    """

    oxidation_per_day: float = 0.035
    oxidation_transfer: float = 0.5
    oxidation_J_mol: float = 50e3
    oxidation_electrons: float = 0.3
    film_per_day: float = 1e-4
    film_J_mol: float = 50e3
    growth_per_loss: float = 8.0
    plating_mA_cm2: float = 2.5
    dead_share: float = 0.05
    dissolution_mAh_cm2: float = 0.01
    short_S_per_mAh: float = 0.5
    gas_per_day: float = 0.05
    gas_J_mol: float = 130e3


NO_AGEING = AgeingRates(
    oxidation_per_day=0.0, film_per_day=0.0, plating_mA_cm2=0.0, short_S_per_mAh=0.0, gas_per_day=0.0
)


@dataclass(frozen=True)
class CellDesign:
    """A kind of cell.

    A half cell has its insertion material as `positive`, whatever it is: charging takes lithium out of it.

    Parameters
    ----------
    positive, negative : Electrode
        Its electrodes.
    electrolyte : Electrolyte
        Between and in them.
    loading_mAh_cm2 : float
        Capacity per area.
    window_V : tuple of float, optional
        Voltages between which it is cycled; default: the positive electrode's window against the metal.
    negative_full : float
        Lithium content of an insertion negative when the cell is full: how much larger it is than needed.
    bond_level : {"a", "b", "c"}
        All layers bonded; the positive electrode not bonded; the negative electrode not bonded.
    constraint_MPa : float
        Pressure that holds it together, if no press does.
    rates : AgeingRates
        How it ages.
    """

    positive: Electrode
    negative: Electrode
    electrolyte: Electrolyte = SULFIDE
    loading_mAh_cm2: float = LOADING_mAh_cm2
    window_V: tuple[float, float] | None = None
    negative_full: float = 0.85
    bond_level: BondLevel = "a"
    constraint_MPa: float = 7.0
    rates: AgeingRates = field(default_factory=AgeingRates)

    def __post_init__(self) -> None:
        if self.positive.is_metal and not self.negative.is_metal:
            raise ValueError("a half cell has its insertion material as the positive electrode")

    @property
    def voltages_V(self) -> tuple[float, float]:
        """Voltages between which it is empty and full at rest."""
        if self.window_V:
            return self.window_V
        low_V, high_V = self.positive.window_V
        metal_V = self.negative.open_circuit.potential_V(0.5)
        return low_V - metal_V, high_V - metal_V


STANDARD = CellDesign(NMC, GRAPHITE, window_V=(2.5, 4.2))
NCM_IN_LI = CellDesign(NMC, IN_LI, electrolyte=THIN_POWDER)
SI_HALF_CELL = CellDesign(SI, IN_LI, electrolyte=POWDER)
GRAPHITE_HALF_CELL = CellDesign(GRAPHITE, IN_LI, electrolyte=POWDER)
# Lithium in a liquid has no contact to bond, only its film: 0.1 to 10 ohm cm2. It is there in excess.
WETTED_LITHIUM = replace(LITHIUM, contact=ContactLaw(20.0))
NCM_LI_LIQUID = CellDesign(NMC_IN_LIQUID, WETTED_LITHIUM, electrolyte=LIQUID)
# With the thinner separator came a better counter electrode and pressing (S001 L6166-6184). That the
# separator alone does not explain the rates (GT-14) says that both were much worse before: 5 to 300 ohm
# cm2.
SI_SEPARATOR_165 = replace(SI_HALF_CELL, electrolyte=THIN_POWDER)
SI_SEPARATOR_550 = replace(
    SI_HALF_CELL,
    negative=replace(IN_LI, transfer_ohm_cm2=200.0),
    electrolyte=replace(POWDER, grain_ohm_cm2=100.0),
)
# Coated well: the least oxidation of the range; in a liquid bare, and the solvent takes most of the charge.
LI_RICH_IN_LI = CellDesign(
    LI_RICH, IN_LI, electrolyte=POWDER, rates=AgeingRates(oxidation_per_day=0.005)
)  # fmt: skip
LI_RICH_LIQUID = CellDesign(
    LI_RICH, WETTED_LITHIUM, electrolyte=LIQUID, rates=AgeingRates(oxidation_electrons=1.0)
)  # fmt: skip
# Two lithium electrodes; capacity and window are only those of the instruments. On garnet lithium is molten
# on, so that it holds with little pressure (0.1 to 3 MPa) and a contact of 1 to 100 ohm cm2.
MOLTEN_LITHIUM = replace(LITHIUM, contact=ContactLaw(20.0))
LI_LLZ_LI = CellDesign(
    MOLTEN_LITHIUM, MOLTEN_LITHIUM, electrolyte=GARNET, window_V=(-1.0, 1.0), constraint_MPa=0.5
)
# Its liquid stands in thick glass fibre, so that it resists more than the films do.
LI_LIQUID_LI = CellDesign(
    WETTED_LITHIUM,
    WETTED_LITHIUM,
    electrolyte=replace(LIQUID, separator_um=500.0, separator_share=0.9),
    window_V=(-1.0, 1.0),
)
# Laminate with lithium metal in a highly concentrated liquid: 95 % are left after 200 cycles (S000 L1384),
# a loss of 0.0256 % in a cycle, here of the positive electrode; lithium is there in excess.
LI_LAMINATE = replace(NCM_LI_LIQUID, positive=replace(NMC_IN_LIQUID, cracking_per_cycle=2.56e-4))
# Silicon negative electrode in a sheet cell: lithiated to 0.9 when full.
SI_SHEET = CellDesign(NMC, SI, window_V=(2.5, 4.1), negative_full=0.9)

DESIGNS = MappingProxyType(
    {
        "standard-2.1": STANDARD,
        "standard-2.1-liquid": replace(STANDARD, positive=NMC_IN_LIQUID, electrolyte=LIQUID),
        "bond-b": replace(STANDARD, bond_level="b"),
        "bond-c": replace(STANDARD, bond_level="c"),
        "si-sheet": SI_SHEET,
        "ncm-in-li": NCM_IN_LI,
        "ncm-li-liquid": NCM_LI_LIQUID,
        "li-laminate-liquid": LI_LAMINATE,
        "li-rich": LI_RICH_IN_LI,
        "li-rich-liquid": LI_RICH_LIQUID,
        "li-v-s": CellDesign(LI_VS, IN_LI, electrolyte=POWDER),
        "graphite-half-cell": GRAPHITE_HALF_CELL,
        "graphite-half-cell-coated": replace(GRAPHITE_HALF_CELL, positive=GRAPHITE_SHAPED),
        "si-powder-50nm": SI_HALF_CELL,
        "si-powder-2um": replace(SI_HALF_CELL, positive=SI_2UM),
        "si-film": replace(SI_HALF_CELL, positive=SI_FILM),
        "si-separator-550um": SI_SEPARATOR_550,
        "si-separator-165um": SI_SEPARATOR_165,
        "li-llz-li": LI_LLZ_LI,
        "li-sulfide-li": CellDesign(LITHIUM, LITHIUM, electrolyte=POWDER, window_V=(-1.0, 1.0)),
        "li-liquid-li": LI_LIQUID_LI,
    }
)
"""Kinds of cells by name."""
