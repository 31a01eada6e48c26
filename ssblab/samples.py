"""Records of samples: what a plan must know of a sample before it may measure it.

Nothing is guessed: a record without its mass or its geometry is refused, with what to add and where.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic

from ssblab.quantities import BadInput

# g/mol.  Abridged standard atomic weights, conventional value where IUPAC gives an interval:
# Prohaska et al., Standard atomic weights of the elements 2021, Pure Appl. Chem. 94 (2022) 573.
ATOMIC_WEIGHTS = {
    "H": 1.008, "Li": 6.94, "B": 10.81, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998,
    "Na": 22.990, "Mg": 24.305, "Al": 26.982, "Si": 28.085, "P": 30.974, "S": 32.06, "Cl": 35.45,
    "K": 39.098, "Ca": 40.078, "Sc": 44.956, "Ti": 47.867, "V": 50.942, "Mn": 54.938, "Fe": 55.845,
    "Co": 58.933, "Ni": 58.693, "Cu": 63.546, "Zn": 65.38, "Ga": 69.723, "Ge": 72.630, "As": 74.922,
    "Se": 78.971, "Br": 79.904, "Sr": 87.62, "Y": 88.906, "Zr": 91.224, "Nb": 92.906, "In": 114.82,
    "Sn": 118.71, "Sb": 121.76, "Te": 127.60, "I": 126.90, "Ba": 137.33, "La": 138.91, "Er": 167.26,
    "Hf": 178.49, "Ta": 180.95, "W": 183.84, "Bi": 208.98,
}  # fmt: skip

_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?)?"
_ATOM = re.compile(rf"([A-Z][a-z]?)({_NUMBER})")
_GROUP = re.compile(rf"\(((?:[A-Z][a-z]?{_NUMBER})+)\)({_NUMBER})")

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_.-]{1,80}\z")]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False, strict=True)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False, strict=True)]


def parse_formula(formula: str) -> dict[str, float]:
    """Count the atoms of a formula unit.

    Parameters
    ----------
    formula : str
        Element symbols, numbers and one level of brackets: "Li5.4PS4.4Cl1.6", "(Li3PS4)0.7(LiI)0.3".

    Returns
    -------
    dict of str to float
        Atoms of each element in one formula unit.

    Raises
    ------
    BadInput
        Not a formula, an element without an atomic weight here, or an amount of zero.
    """
    atoms: defaultdict[str, float] = defaultdict(float)
    position = 0
    while position < len(formula):
        part = _GROUP.match(formula, position) or _ATOM.match(formula, position)
        if part is None:
            raise BadInput(
                f"formula {formula!r}: cannot read {formula[position:]!r}; write element symbols and "
                "numbers, like 'Li5.4PS4.4Cl1.6' or '(Li3PS4)0.7(LiI)0.3'"
            )
        times = float(part[2] or 1)
        inside = _ATOM.findall(part[1]) if part[0].startswith("(") else [(part[1], "1")]
        for element, count in inside:
            if element not in ATOMIC_WEIGHTS:
                raise BadInput(
                    f"formula {formula!r}: no element {element!r} among {', '.join(ATOMIC_WEIGHTS)}"
                )
            atoms[element] += float(count or 1) * times
        position = part.end()
    if not atoms or not all(0 < count < math.inf for count in atoms.values()):
        raise BadInput(f"formula {formula!r}: every element needs an amount above zero, like 'Li6PS5Cl'")
    return dict(atoms)


class ElectrolyteSample(pydantic.BaseModel):
    """A weighed and pressed pellet of solid electrolyte.

    Attributes
    ----------
    kind : "electrolyte"
        May be left out.
    name : str
        Names the sample in every run: letters, digits, and ``_ . -``, at most 80.
    formula : str
        Nominal composition; see `parse_formula`.
    mass_g : float
        Mass of the pellet as weighed.
    thickness_mm, diameter_mm : float
        Geometry of the pellet under `pressure_MPa`.
    pressure_MPa : float
        Constraint pressure during impedance measurements.
    mass_uncertainty_g, thickness_uncertainty_mm, diameter_uncertainty_mm : float, optional
        Standard uncertainties (k = 1).
    vacuum_heating_C : float, optional
        Temperature at which this electrolyte is heated in vacuum after exposure.
    lot_id : str, optional
        Lot of the electrolyte powder.
    devices : tuple of str, optional
        Devices of the station that it is at, such as its die's press: a plan takes these of several.
    note : str, optional
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["electrolyte"] = "electrolyte"
    name: Name
    formula: str
    mass_g: Positive
    thickness_mm: Positive
    diameter_mm: Positive
    pressure_MPa: Positive
    mass_uncertainty_g: Positive | None = None
    thickness_uncertainty_mm: Positive | None = None
    diameter_uncertainty_mm: Positive | None = None
    vacuum_heating_C: Positive | None = None
    lot_id: str | None = None
    devices: tuple[str, ...] = ()
    note: str | None = None

    @pydantic.field_validator("formula")
    @classmethod
    def _formula_is_readable(cls, formula: str) -> str:
        parse_formula(formula)
        return formula

    @property
    def area_cm2(self) -> float:
        """Area of one face of the pellet."""
        return math.pi / 4 * (self.diameter_mm / 10) ** 2

    @property
    def area_uncertainty_cm2(self) -> float | None:
        """Standard uncertainty of the area; None where that of the diameter is not given."""
        if self.diameter_uncertainty_mm is None:
            return None
        return 2 * self.diameter_uncertainty_mm / self.diameter_mm * self.area_cm2

    @property
    def molar_mass_g_mol(self) -> float:
        """Molar mass of a formula unit."""
        return sum(ATOMIC_WEIGHTS[element] * count for element, count in parse_formula(self.formula).items())

    @property
    def sulfur_mol_per_g(self) -> float:
        """Sulfur in a gram of electrolyte: the most H2S that it can give."""
        return parse_formula(self.formula).get("S", 0.0) / self.molar_mass_g_mol

    def metadata(self) -> dict[str, Any]:
        """Give the record for a start document: ``md={"sample": sample.metadata()}``."""
        return self.model_dump(exclude_none=True, exclude={"devices"}) | {
            "area_cm2": self.area_cm2,
            "molar_mass_g_mol": self.molar_mass_g_mol,
            "sulfur_mol_per_g": self.sulfur_mol_per_g,
        }


class CellSample(pydantic.BaseModel):
    """A battery cell, full or half.

    Attributes
    ----------
    kind : "cell"
        Says that it is none of electrolyte alone.
    name : str
        Names the sample in every run: letters, digits, and ``_ . -``, at most 80.
    capacity_mAh : float
        Nominal; 1C charges or discharges it in one hour.
    area_cm2 : float
        Of the electrodes, for areal currents.
    voltage_min_V, voltage_max_V : float
        Between the terminals; no plan may lead it beyond.
    current_max_mA : float
        Largest current of either sign.
    charge_means : {"delithiation", "lithiation"}
        What a charge does to the working electrode, which is at the positive terminal: delithiation in a full
        cell and in a half cell of a positive electrode, lithiation in a half cell of silicon where that is
        called charge.
    reference : str, optional
        Electrode against which the working electrode of a half cell is measured, such as "In-Li".
    reference_V_vs_Li : float, optional
        Potential of that electrode against Li/Li+.
    pressure_MPa : float, optional
        Constraint pressure.
    active_mass_g : float, optional
        Active material of the working electrode, for specific capacities.
    lot_id : str, optional
        Lot of the cell.
    bond_level : {"a", "b", "c"}, optional
        Which layers of the cell were bonded by pressing: all; all but the positive electrode; all but the
        negative electrode.
    bonding_pressure_MPa : float, optional
        Pressure of that.
    devices : tuple of str, optional
        Devices of the station that it is at: its channel, its chamber, its press. A plan takes these of
        several.
    note : str, optional
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cell"]
    name: Name
    capacity_mAh: Positive
    area_cm2: Positive
    voltage_min_V: Finite
    voltage_max_V: Finite
    current_max_mA: Positive
    charge_means: Literal["delithiation", "lithiation"]
    reference: str | None = None
    reference_V_vs_Li: Finite | None = None
    pressure_MPa: Positive | None = None
    active_mass_g: Positive | None = None
    lot_id: str | None = None
    bond_level: Literal["a", "b", "c"] | None = None
    bonding_pressure_MPa: Positive | None = None
    devices: tuple[str, ...] = ()
    note: str | None = None

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.voltage_min_V < self.voltage_max_V:
            raise ValueError(
                f"voltage_max_V = {self.voltage_max_V:g} must be above voltage_min_V = {self.voltage_min_V:g}"
            )
        if (self.reference is None) != (self.reference_V_vs_Li is None):
            raise ValueError(
                "reference and reference_V_vs_Li go together: name the electrode, and its potential vs Li/Li+"
            )
        return self

    def metadata(self) -> dict[str, Any]:
        """Give the record for a start document: ``md={"sample": sample.metadata()}``."""
        return self.model_dump(exclude_none=True, exclude={"devices"})


def _kind_of(record: Any) -> str:
    kind = record.get("kind") if isinstance(record, Mapping) else getattr(record, "kind", None)
    return "cell" if kind == "cell" else "electrolyte"


Sample = Annotated[
    Annotated[ElectrolyteSample, pydantic.Tag("electrolyte")] | Annotated[CellSample, pydantic.Tag("cell")],
    pydantic.Discriminator(_kind_of),
]
"""A record of either kind; one that does not name its kind is of an electrolyte."""


def known_fields(record: Any) -> str:
    """Name the fields that a record of its kind may have."""
    return ", ".join((CellSample if _kind_of(record) == "cell" else ElectrolyteSample).model_fields)
