"""A bed of electrolyte powder in a die: how it densifies, springs back, creeps and conducts.

State of the bed is its Heckel density ``H = ln(1 / porosity)`` when no force is on it. It never falls:

- The first loading follows Heckel, ``H = A + P / yield pressure`` (R. W. Heckel, Trans. AIME 221 (1961) 671
  and 1001), less what the particles have not rearranged yet at low pressure, ``(A - A0) exp(-P / P0)``, with
  A0 of the filled die (the usual extension; without it a bed without load would be too dense).
- Under load and on release the bed is elastic, with a modulus that falls exponentially with the porosity
  (R. M. Spriggs, J. Am. Ceram. Soc. 44 (1961) 628). The difference is the springback.
- Under a pressure it creeps on towards the density that a somewhat larger pressure gives at once, with one
  time constant.

It conducts as the dense electrolyte does, less the voids and the detours round them (`random_walk`), and in
series with the contacts of its particles (`contact`), which remember the pressure through H.

`ARGYRODITE` is fitted to Table S2 and Figure 3 of V. Miß and others, ACS Appl. Mater. Interfaces 18 (2026)
32830: thickness under load and after release, and conductivity, of Li5.5PS4.5Cl1.5 from 10 to 400 MPa. The
other anchors are A. Sakuda and others, Sci. Rep. 3 (2013) 2261 (`LI3PS4_GLASS`), C. Schneider and others,
Adv. Energy Mater. 13 (2023) 2203873 (t-Li7SiPS8, yield pressures of 950 and 1650 MPa up to 1.7 GPa) and
J.-M. Doux and others, Adv. Energy Mater. 10 (2020) 1903253 (Li6PS5Cl, 82.1 % dense at 370 MPa). All their
numbers were taken from public summaries that quote them, not from the papers themselves.

Friction at the wall of the die, the further springback of an ejected pellet (3.6 % of Miß and others), and
the fall of the conductivity by compression of the lattice (from about 0.5 GPa on) are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, log
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sim_devices.physics.contact import BLOCKING_CONTACT, ContactLaw
from sim_devices.physics.random_walk import effective_conductivity
from ssblab.clock import Clock

__all__ = [
    "ARGYRODITE",
    "LI3PS4_GLASS",
    "POWDERS",
    "PowderMaterial",
    "PowderSample",
    "air_gap_impedance",
]

_VACUUM_PERMITTIVITY_F_m = 8.8541878128e-12  # CODATA 2018
_SMALLEST = 1e-10  # of the Heckel density: when a solution is found
_CREEP_STEP = 0.01  # of the Heckel density
_CLOSING_STEP = 0.002  # of the thickness


@dataclass(frozen=True)
class PowderMaterial:
    """An electrolyte as powder.

    Parameters
    ----------
    name : str
        For records.
    density_g_cm3 : float
        Of the dense solid.
    yield_pressure_MPa, intercept : float
        Heckel's 1/K and A of the released bed; published for sulfides: 200 to 1650 MPa, A 0.7 to 1.5.
    filling_density : float
        Relative density of the powder filled into the die; placeholder, plausible 0.25 to 0.5.
    rearrangement_MPa : float
        Pressure at which the particles have found their places.
    modulus_MPa, modulus_decay : float
        Elastic modulus of the dense solid in the die, and how fast it falls, exp(-decay * porosity).
    creep_share : float
        Creep ends at the density that this much more pressure gives at once; placeholder, plausible 0 to 0.3.
    creep_s : float
        Its time constant; placeholder, plausible 10 to 1000.
    conductivity_S_cm : float
        Of the dense electrolyte at room temperature.
    grain_um : float
        Distance of the contacts between particles; placeholder, plausible 0.7 to 10.
    grain_contact : ContactLaw
        Of these contacts.
    relative_permittivity : float
        Placeholder, plausible 5 to 30.
    """

    name: str
    density_g_cm3: float
    yield_pressure_MPa: float
    intercept: float
    filling_density: float
    rearrangement_MPa: float
    modulus_MPa: float
    modulus_decay: float
    conductivity_S_cm: float
    grain_contact: ContactLaw
    grain_um: float = 5.0
    creep_share: float = 0.15
    creep_s: float = 120.0
    relative_permittivity: float = 15.0

    def heckel_density(self, pressure_MPa: float) -> float:
        """``ln(1 / porosity)`` of the released bed after a first loading to a pressure."""
        filled = -log(1.0 - self.filling_density)
        not_rearranged = (self.intercept - filled) * exp(-pressure_MPa / self.rearrangement_MPa)
        return self.intercept + pressure_MPa / self.yield_pressure_MPa - not_rearranged

    def largest_pressure_MPa(self, heckel_density: float) -> float:
        """Pressure of a first loading that gives a density: what a bed remembers."""
        low_MPa = 0.0
        high_MPa = max(0.0, heckel_density * self.yield_pressure_MPa)
        while high_MPa - low_MPa > 1e-6 * high_MPa:
            middle_MPa = 0.5 * (low_MPa + high_MPa)
            if self.heckel_density(middle_MPa) < heckel_density:
                low_MPa = middle_MPa
            else:
                high_MPa = middle_MPa
        return high_MPa

    def modulus_at_MPa(self, heckel_density: float) -> float:
        """Elastic modulus of a bed in its die."""
        return self.modulus_MPa * exp(-self.modulus_decay * exp(-heckel_density))


ARGYRODITE = PowderMaterial(
    name="li5.5ps4.5cl1.5",
    density_g_cm3=1.87,
    yield_pressure_MPa=260.0,
    intercept=1.365,
    filling_density=0.45,
    rearrangement_MPa=7.9,
    modulus_MPa=25_000.0,
    modulus_decay=7.0,
    conductivity_S_cm=4.75e-3,
    grain_contact=ContactLaw(11.1, loading_exponent=1.2, unloading_exponent=0.5, capacitance_F_cm2=1e-8),
)
"""Fitted to Miß and others 2026; the exponent on unloading to Schneider and others 2023, another sulfide."""

LI3PS4_GLASS = PowderMaterial(
    name="li3ps4-glass",
    density_g_cm3=1.88,
    yield_pressure_MPa=215.0,
    intercept=0.69,
    filling_density=0.3,
    rearrangement_MPa=32.0,
    modulus_MPa=24_000.0,
    modulus_decay=7.0,
    conductivity_S_cm=3.4e-4,
    grain_contact=ContactLaw(1000.0, loading_exponent=1.5, unloading_exponent=0.5, capacitance_F_cm2=1e-8),
)
"""75 Li2S 25 P2S5 glass, Sakuda and others 2013: over 90 % dense above 350 MPa, 24 GPa, 0.34 mS/cm dense.
Heckel's constants from readings of its Figure 2a (50, 80, 87, 95 % at 30, 200, 300, 450 MPa, each uncertain
by a few per cent), the decay of the modulus as of `ARGYRODITE`, the contacts from 0.1 mS/cm at 70 MPa."""

POWDERS = MappingProxyType({material.name: material for material in (ARGYRODITE, LI3PS4_GLASS)})
"""Materials by name."""

_INDUCTANCE_H = 2e-7  # leads; placeholder, as of `electrolyte.CellElements`, like the two below
_BLOCKING_Q_cm2 = 2e-5
_BLOCKING_N = 0.92


@dataclass(frozen=True)
class PowderSample:
    """A weighed powder in a die, between the platens of a press.

    Its methods take the state (Heckel density without load) and give what follows from it: the press keeps
    the state, and its frame gives way as a spring in series.

    Parameters
    ----------
    mass_mg : float
        Weighed mass.
    area_mm2 : float
        Of the die.
    material : str
        A name in `POWDERS`.
    pressed_MPa : float
        Pressure at which it was pressed before; 0 is loose powder.
    """

    mass_mg: float = 150.0
    area_mm2: float = 100.0
    material: str = ARGYRODITE.name
    pressed_MPa: float = 0.0
    powder: PowderMaterial = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.material not in POWDERS:
            raise ValueError(f"there is no powder {self.material!r}; there are {', '.join(POWDERS)}")
        object.__setattr__(self, "powder", POWDERS[self.material])

    @classmethod
    def of_sample(
        cls,
        clock: Clock,
        generator: np.random.Generator,
        sample: Mapping[str, Any],
        *,
        material: str = ARGYRODITE.name,
        pressed_MPa: float = 0.0,
    ) -> Self:
        """Make the powder of a sample record; clock and generator are not used: it is moved by its press."""
        area_mm2 = np.pi * (sample["diameter_mm"] / 2.0) ** 2
        return cls(1e3 * sample["mass_g"], area_mm2, material, pressed_MPa)

    @property
    def solid_mm(self) -> float:
        """Thickness if there were no pores."""
        return self.mass_mg / (self.powder.density_g_cm3 * self.area_mm2)

    @property
    def initial_state(self) -> float:
        """Heckel density at the beginning."""
        return self.powder.heckel_density(self.pressed_MPa)

    def present_state(self, state: float) -> float:
        """Nothing but the press changes it."""
        return state

    def bear(self, pressure_MPa: float) -> None:
        """It remembers by its state."""

    def taken_out(self, state: float) -> Self:
        """Pellet that remembers how it was pressed."""
        return replace(self, pressed_MPa=self.powder.largest_pressure_MPa(state))

    def free_mm(self, state: float) -> float:
        """Thickness without load."""
        return self.solid_mm / (1.0 - exp(-state))

    def thickness_mm(self, state: float, pressure_MPa: float) -> float:
        """Thickness under a pressure that the bed has seen before."""
        return self.free_mm(state) * (1.0 - pressure_MPa / self.powder.modulus_at_MPa(state))

    def porosity(self, state: float, pressure_MPa: float) -> float:
        """Share of voids under a pressure; 0 where only the solid itself is compressed further."""
        return max(0.0, 1.0 - self.solid_mm / self.thickness_mm(state, pressure_MPa))

    def held(self, state: float, pressure_MPa: float, hold_s: float = 0.0) -> float:
        """State after a time under a constant pressure."""
        state = max(state, self.powder.heckel_density(pressure_MPa))
        end = self.powder.heckel_density(pressure_MPa * (1.0 + self.powder.creep_share))
        return state + max(0.0, end - state) * (1.0 - exp(-hold_s / self.powder.creep_s))

    def touches(self, opening_mm: float, state: float) -> bool:
        """Whether platens at a distance touch the bed."""
        return opening_mm < self.free_mm(state)

    def force_N(self, opening_mm: float, state: float, frame_N_mm: float) -> float:
        """Force between platens that would be at a distance if the frame did not give."""
        free_mm = self.free_mm(state)
        give_mm_N = 1.0 / frame_N_mm + free_mm / (self.powder.modulus_at_MPa(state) * self.area_mm2)
        return max(0.0, (free_mm - opening_mm) / give_mm_N)

    def longest_step_s(
        self, opening_mm: float, closing_mm_s: float, state: float, frame_N_mm: float
    ) -> float:
        """How far `after` may go in one step: little of the creep, and of the thickness."""
        if not self.touches(opening_mm, state):
            return float("inf")
        longest_s = float("inf")
        if closing_mm_s > 0.0:
            longest_s = _CLOSING_STEP * self.free_mm(state) / closing_mm_s
        rate_per_s = self._creep_per_s(opening_mm, state, frame_N_mm)
        return min(longest_s, _CREEP_STEP / rate_per_s) if rate_per_s > 0.0 else longest_s

    def after(
        self, step_s: float, opening_mm: float, closing_mm_s: float, state: float, frame_N_mm: float
    ) -> float:
        """State after a step at constant speed: at once what the pressure demands, then creep.

        The creep is solved exactly for a rate that is linear in the state, as it nearly is over a short step.
        """
        opening_mm -= closing_mm_s * step_s
        state = self._yielded(opening_mm, state, frame_N_mm)
        rate_per_s = self._creep_per_s(opening_mm, state, frame_N_mm)
        if rate_per_s <= 0.0:
            return state
        apart = 1e-6
        loss_per_s = (rate_per_s - self._creep_per_s(opening_mm, state + apart, frame_N_mm)) / apart
        return state + rate_per_s / loss_per_s * (1.0 - exp(-loss_per_s * step_s))

    def conductivity_S_cm(self, state: float, pressure_MPa: float) -> float:
        """Of the bed under a pressure: voids and detours, and the contacts of the particles in series."""
        grains = 1.0 / self._grains_S_cm(state, pressure_MPa)
        return 1.0 / (grains + self._contacts_ohm_cm(state, pressure_MPa))

    def impedance(
        self, frequency_Hz: NDArray[np.float64], opening_mm: float, state: float, frame_N_mm: float
    ) -> NDArray[np.complex128]:
        """Impedance between the platens, ohm: blocking electrodes, or an air gap where they do not touch."""
        s = 2j * np.pi * np.asarray(frequency_Hz, dtype=np.float64)
        force_N = self.force_N(opening_mm, state, frame_N_mm)
        if force_N <= 0.0:
            return air_gap_impedance(frequency_Hz, self.area_mm2, opening_mm)
        pressure_MPa = force_N / self.area_mm2
        area_cm2 = self.area_mm2 / 100.0
        length_cm = self.thickness_mm(state, pressure_MPa) / 10.0
        grains_ohm = length_cm / area_cm2 / self._grains_S_cm(state, pressure_MPa)
        grains_F = _VACUUM_PERMITTIVITY_F_m / 100.0 * self.powder.relative_permittivity * area_cm2 / length_cm
        contacts_ohm = length_cm / area_cm2 * self._contacts_ohm_cm(state, pressure_MPa)
        contacts_F = (
            self.powder.grain_contact.capacitance_F_cm2 * self.powder.grain_um * 1e-4 * area_cm2 / length_cm
        )
        largest_MPa = self.powder.largest_pressure_MPa(state)
        electrode_ohm = BLOCKING_CONTACT.contact_resistance_ohm_cm2(pressure_MPa, largest_MPa) / area_cm2
        return np.asarray(
            s * _INDUCTANCE_H
            + grains_ohm / (1.0 + s * grains_ohm * grains_F)
            + contacts_ohm / (1.0 + s * contacts_ohm * contacts_F)
            + 2.0 * (electrode_ohm + 1.0 / (_BLOCKING_Q_cm2 * area_cm2 * s**_BLOCKING_N))
        )

    def _grains_S_cm(self, state: float, pressure_MPa: float) -> float:
        return effective_conductivity(self.powder.conductivity_S_cm, self.porosity(state, pressure_MPa))

    def _contacts_ohm_cm(self, state: float, pressure_MPa: float) -> float:
        contact_ohm_cm2 = self.powder.grain_contact.contact_resistance_ohm_cm2(
            pressure_MPa, self.powder.largest_pressure_MPa(state)
        )
        return contact_ohm_cm2 / (self.powder.grain_um * 1e-4)

    def _creep_per_s(self, opening_mm: float, state: float, frame_N_mm: float) -> float:
        pressure_MPa = self.force_N(opening_mm, state, frame_N_mm) / self.area_mm2
        end = self.powder.heckel_density(pressure_MPa * (1.0 + self.powder.creep_share))
        return (end - state) / self.powder.creep_s

    def _yielded(self, opening_mm: float, state: float, frame_N_mm: float) -> float:
        """Least state at which the bed bears the pressure that there then is."""

        def demanded(at: float) -> float:
            pressure_MPa = self.force_N(opening_mm, at, frame_N_mm) / self.area_mm2
            return self.powder.heckel_density(pressure_MPa)

        low, high = state, demanded(state)  # the denser, the thinner, the less pressure
        while high - low > _SMALLEST:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if demanded(middle) > middle else (low, middle)
        return max(state, high)


def air_gap_impedance(
    frequency_Hz: NDArray[np.float64], area_mm2: float, gap_mm: float
) -> NDArray[np.complex128]:
    """Impedance of two platens with nothing that conducts between them, ohm."""
    omega = 2j * np.pi * np.asarray(frequency_Hz, dtype=np.float64)
    return np.asarray(1.0 / (omega * _VACUUM_PERMITTIVITY_F_m * 1e-3 * area_mm2 / gap_mm))
