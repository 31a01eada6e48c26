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


# Diffusivity 1e-11 to 1e-9 cm2/s; charge transfer (coated, in a sulfide) 2 to 50 ohm cm2, 40 to 60 kJ/mol;
# double layer 0.1 to 10 mF/cm2. The layer changes by less than 2 % ("positive and electrolyte about 0",
# GT-24).
NMC = Electrode(
    "nmc", (2.7, 4.25), thickness_um=75.0, electrolyte_share=0.35, radius_um=2.5, diffusivity_cm2_s=1.25e-10,
    transfer_ohm_cm2=6.0, double_layer_mF_cm2=0.9, swelling=0.012, sites_mAh_g=275.0,
    contact=POSITIVE_CONTACT,
)  # fmt: skip
LICOO2 = replace(NMC, material="licoo2", window_V=(3.0, 4.2), diffusivity_cm2_s=2e-10, swelling=-0.015)
# Layered and rich in lithium: diffusivity 1e-13 to 1e-11 cm2/s.
LI_RICH = replace(
    NMC, material="li-rich", window_V=(2.2, 4.7), radius_um=0.5, diffusivity_cm2_s=2e-12, sites_mAh_g=350.0
)
# Li-V-S: more than 700 mAh/g (S001 L6320-6338).
LI_VS = replace(LI_RICH, material="li-v-s", window_V=(1.5, 3.0), sites_mAh_g=850.0)
# Diffusivity 1e-10 to 1e-8 cm2/s; charge transfer 1 to 20 ohm cm2, 40 to 60 kJ/mol.
GRAPHITE = Electrode(
    "graphite", (0.01, 1.0), thickness_um=60.0, electrolyte_share=0.45, radius_um=4.0,
    diffusivity_cm2_s=8e-10, diffusion_J_mol=35e3, transfer_ohm_cm2=2.2, double_layer_mF_cm2=0.1,
    swelling=0.08, sites_mAh_g=372.0,
)  # fmt: skip
# Diffusivity 1e-14 to 1e-10 cm2/s. Li3.75Si has 3579 mAh/g. A layer of Si grows to about twice (S001 L6364).
SI = Electrode(
    "si", (0.08, 0.9), thickness_um=15.0, electrolyte_share=0.4, radius_um=0.025, diffusivity_cm2_s=1e-13,
    diffusion_J_mol=40e3, transfer_ohm_cm2=8.0, double_layer_mF_cm2=0.3, swelling=1.1, sites_mAh_g=3579.0,
    cracking_per_cycle=0.002,
)  # fmt: skip
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
    concentration_ohm_cm2, concentration_s : float
        Concentration polarisation at rest of the current, its time constant; none where only lithium moves.
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
    concentration_ohm_cm2: float = 0.0
    concentration_s: float = 40.0
    freezing_C: float = -math.inf
    gassing_C: float = math.inf
    oxidation: float = 1.0
    critical_mA_cm2: float = 2.0


# Argyrodite: 1e-3 to 1e-2 S/cm, 25 to 40 kJ/mol; between bonded particles 0.2 to 5 ohm cm2; transference 1.
SULFIDE = Electrolyte(3e-3, 33e3, separator_um=30.0, separator_share=0.95, grain_ohm_cm2=1.0)
# 1 mol/L LiPF6 in carbonates: 8e-3 to 12e-3 S/cm, 10 to 18 kJ/mol; transference 0.25 to 0.4; oxidised above
# 4.5 V.
LIQUID = Electrolyte(
    1e-2, 14e3, separator_um=20.0, separator_share=0.45, concentration_ohm_cm2=8.0, freezing_C=-40.0,
    gassing_C=80.0, oxidation=3.0,
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
    gas_per_day : float
        Share of the sites cut off by gas at the temperature of gassing; e-fold per 10 K.
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
NCM_IN_LI = CellDesign(NMC, IN_LI)
SI_HALF_CELL = CellDesign(SI, IN_LI)

DESIGNS = MappingProxyType(
    {
        "standard-2.1": STANDARD,
        "standard-2.1-liquid": replace(STANDARD, electrolyte=LIQUID),
        "bond-b": replace(STANDARD, bond_level="b"),
        "bond-c": replace(STANDARD, bond_level="c"),
        "ncm-in-li": NCM_IN_LI,
        "ncm-li-liquid": replace(NCM_IN_LI, negative=LITHIUM, electrolyte=LIQUID),
    }
)
"""Kinds of cells by name."""
