"""Contacts between solids under pressure: what they resist, what they remember, and the voids in them.

A contact that is pressed for the first time conducts better with a power of the pressure, since more of the
surfaces touch. What has touched under a higher pressure stays in touch: below the highest pressure so far its
resistance rises again, but with a smaller power. The exponent follows from the share of real contact: 1/2 for
few wide spots, 1 for many (arXiv:2501.00600, on Li6PS5Cl: 0.5 for the pressure, 1 for the area); lithium that
creeps into place comes to 1.5.

`LITHIUM_CONTACT` is fitted to J.-M. Doux and others, Adv. Energy Mater. 10 (2020) 1903253 (a lithium |
Li6PS5Cl | lithium cell of 12.7 mm: 110, 50, 40, 35, 32 ohm at 5, 10, 15, 20, 25 MPa, and 50 ohm when released
to 5 MPa; numbers taken from a public summary of the paper, not from the paper itself). The other laws are
placeholders in its range.

Whether two layers of a cell were bonded is the same memory: a bonded contact has seen the bonding pressure,
and a contact that was not bonded only the constraint pressure, about 1/50 of it (S001 3.1.1(1)(i), GT-11).

Voids grow in a lithium contact while lithium is stripped faster than creep replaces it; pressure heals them.
The rate law is a placeholder of that form, first order in the share of the contact that is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sim_devices.physics.constants import arrhenius

__all__ = [
    "BLOCKING_CONTACT",
    "LITHIUM_CONTACT",
    "NEGATIVE_CONTACT",
    "POSITIVE_CONTACT",
    "VOIDS",
    "BondLevel",
    "Contact",
    "ContactLaw",
    "VoidLaw",
    "bonding_study_contacts",
]

CONSTRAINT_SHARE = 1.0 / 50.0
"""Constraint pressure over bonding pressure in the bonding study (GT-11)."""

_NO_PRESSURE_MPa = 1e-3  # below it a contact is as bad as at it; placeholder


@dataclass(frozen=True)
class ContactLaw:
    """How a contact's resistance follows the pressure.

    Parameters
    ----------
    resistance_ohm_cm2 : float
        When first pressed with 1 MPa.
    loading_exponent : float
        Power of the pressure with which it falls at the highest pressure so far.
    unloading_exponent : float
        Power with which it rises again below that; less than the other.
    capacitance_F_cm2 : float
        Across the contact; placeholder, plausible 1e-9 to 1e-7 (the gap beside the spots).
    """

    resistance_ohm_cm2: float
    loading_exponent: float = 1.5
    unloading_exponent: float = 0.76
    capacitance_F_cm2: float = 1.5e-8

    def __post_init__(self) -> None:
        if not 0.0 <= self.unloading_exponent < self.loading_exponent:
            raise ValueError("a contact must lose less on unloading than it gained on loading")

    def contact_resistance_ohm_cm2(self, pressure_MPa: float, largest_MPa: float) -> float:
        """Resistance at a pressure, after the largest pressure there has been; ohm cm2."""
        pressure_MPa = max(pressure_MPa, _NO_PRESSURE_MPa)
        largest_MPa = max(largest_MPa, pressure_MPa)
        at_largest = self.resistance_ohm_cm2 * largest_MPa**-self.loading_exponent
        return float(at_largest * (largest_MPa / pressure_MPa) ** self.unloading_exponent)


LITHIUM_CONTACT = ContactLaw(610.0, loading_exponent=1.5, unloading_exponent=0.76)
"""Lithium on Li6PS5Cl, one side; Doux and others 2020 (see above), less a constant 24 ohm of the cell."""

BLOCKING_CONTACT = ContactLaw(5.0, loading_exponent=0.5, unloading_exponent=0.1)
"""A steel platen on a pellet: placeholder, plausible 0.1 to 50 ohm cm2."""

_CELL_ohm_cm2 = 22.4  # of the bonded standard cell in 10 s at half charge (`cell_design`)
_UNBONDED_POSITIVE = 2.0  # of the bonded cell's resistance (GT-08)
_UNBONDED_NEGATIVE = 1.3
_BONDING_MPa = 350.0  # placeholder; no pressure is given, plausible 200 to 500


def _electrode(unbonded_ratio: float) -> ContactLaw:
    """Law of an electrode's contact without whose bonding a cell has a multiple of its resistance."""
    law = ContactLaw(1.0)
    constraint_MPa = _BONDING_MPa * CONSTRAINT_SHARE
    gain = law.contact_resistance_ohm_cm2(constraint_MPa, 0.0) - law.contact_resistance_ohm_cm2(
        constraint_MPa, _BONDING_MPa
    )
    return replace(law, resistance_ohm_cm2=(unbonded_ratio - 1.0) * _CELL_ohm_cm2 / gain)


POSITIVE_CONTACT = _electrode(_UNBONDED_POSITIVE)
"""Positive electrode on the electrolyte: exponents as `LITHIUM_CONTACT` (placeholders); size such that a cell
of 22.4 ohm cm2 has twice its resistance where this contact was not bonded (GT-08)."""

NEGATIVE_CONTACT = _electrode(_UNBONDED_NEGATIVE)
"""Negative electrode on the electrolyte: likewise, 1.3 times."""

BondLevel = Literal["a", "b", "c"]


class Contact:
    """A contact that remembers the largest pressure it has seen.

    Parameters
    ----------
    law : ContactLaw
        What it follows.
    largest_MPa : float
        Largest pressure before now: of bonding.

    Attributes
    ----------
    largest_MPa : float
        Largest pressure so far.
    """

    def __init__(self, law: ContactLaw, *, largest_MPa: float = 0.0) -> None:
        self.law = law
        self.largest_MPa = largest_MPa

    def contact_resistance_ohm_cm2(self, pressure_MPa: float) -> float:
        """Resistance under a pressure from now on, ohm cm2; the pressure is remembered."""
        self.largest_MPa = max(self.largest_MPa, pressure_MPa)
        return self.law.contact_resistance_ohm_cm2(pressure_MPa, self.largest_MPa)


def bonding_study_contacts(level: BondLevel, *, bonding_MPa: float = _BONDING_MPa) -> tuple[Contact, Contact]:
    """Contacts of the positive and of the negative electrode in the bonding study.

    Parameters
    ----------
    level : {"a", "b", "c"}
        Both bonded; positive not bonded; negative not bonded.
    bonding_MPa : float
        Pressure of bonding; they are then to be held at `CONSTRAINT_SHARE` of it.

    Returns
    -------
    positive, negative : Contact
        The law's sizes hold for the default pressure.
    """
    if level not in ("a", "b", "c"):
        raise ValueError(f"there is no bond level {level!r}; there are a, b, c")
    return (
        Contact(POSITIVE_CONTACT, largest_MPa=0.0 if level == "b" else bonding_MPa),
        Contact(NEGATIVE_CONTACT, largest_MPa=0.0 if level == "c" else bonding_MPa),
    )


@dataclass(frozen=True)
class VoidLaw:
    """How stripping leaves voids in a lithium contact, and creep under pressure closes them.

    Parameters
    ----------
    void_cm2_mAh : float
        Share of the contact lost per charge stripped, where there is no healing; placeholder, plausible 0.1
        to 3: about 1 mAh/cm2 of lithium without creep undermines a contact.
    healing_per_s : float
        Rate of healing at 1 MPa and 25 degC; placeholder, chosen so that 5 MPa holds 1 mA/cm2, plausible
        1e-6 to 1e-3.
    healing_exponent : float
        Power of the pressure in it; placeholder, 1 for Newtonian flow, up to 6.6 for the power-law creep of
        lithium (W. S. LePage and others, J. Electrochem. Soc. 166 (2019) A89).
    healing_activation_J_mol : float
        Placeholder: 37e3, of the creep of lithium (same source), plausible 30e3 to 60e3.
    """

    void_cm2_mAh: float = 0.5
    healing_per_s: float = 1e-4
    healing_exponent: float = 1.5
    healing_activation_J_mol: float = 37e3

    def rate_per_s(
        self, voids: float, stripped_mA_cm2: float, pressure_MPa: float, temperature_C: float
    ) -> float:
        """Growth of the share of the contact that is lost to voids, 1/s.

        Parameters
        ----------
        voids : float
            That share now, 0 to 1.
        stripped_mA_cm2 : float
            Current that takes lithium away; a negative one plates, and fills voids.
        pressure_MPa, temperature_C : float
            Of the contact.
        """
        undermining_per_s = self.void_cm2_mAh * abs(stripped_mA_cm2) / 3600.0
        healing_per_s = self.healing_per_s * max(pressure_MPa, 0.0) ** self.healing_exponent
        healing_per_s *= arrhenius(self.healing_activation_J_mol, temperature_C)
        gained_per_s = undermining_per_s if stripped_mA_cm2 > 0.0 else 0.0
        return gained_per_s - (undermining_per_s + healing_per_s) * voids


VOIDS = VoidLaw()
"""Of lithium on a solid electrolyte."""
