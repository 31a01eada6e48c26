"""Records of samples: what a plan must know of a sample before it may measure it.

Nothing is guessed: a record without its mass or its geometry is refused, with what to add and where.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any

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
    note : str, optional
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_.-]{1,80}\z")]
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
        return self.model_dump(exclude_none=True) | {
            "area_cm2": self.area_cm2,
            "molar_mass_g_mol": self.molar_mass_g_mol,
            "sulfur_mol_per_g": self.sulfur_mol_per_g,
        }


def read_sample(record: Mapping[str, Any], *, where: str) -> ElectrolyteSample:
    """Check a record and say all that is wrong with it at once.

    Parameters
    ----------
    record : mapping
        Fields of `ElectrolyteSample`.
    where : str
        Where the record stands (a file, an argument), for the message.

    Raises
    ------
    BadInput
        With one line for each field to add, to correct or to take out.
    """
    try:
        return ElectrolyteSample.model_validate(dict(record))
    except pydantic.ValidationError as error:
        lines = [_advice(detail, where) for detail in error.errors()]
    raise BadInput(f"sample {record.get('name', 'without a name')!r} cannot be used:\n" + "\n".join(lines))


def _advice(detail: Any, where: str) -> str:
    field = detail["loc"][0]
    if detail["type"] == "missing":
        return f"  {field} is missing: add '{field}: ...' to {where}; it is measured, never assumed"
    if detail["type"] == "extra_forbidden":
        known = ", ".join(ElectrolyteSample.model_fields)
        return f"  {field} is not a field of a sample: take it out of {where}, or name one of {known}"
    return f"  {field} = {detail['input']!r}: {detail['msg']}; correct it in {where}"
