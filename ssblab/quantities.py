"""Quantities at the edge of the program: text with a unit outside, plain numbers with named units inside.

pint is used here and nowhere else, and is imported when the first quantity is read.  It sees unit names only,
never an expression: the number is read by `float`, because pint's own reader evaluates arithmetic.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pint

ABSOLUTE_ZERO_C = -273.15

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FACTOR = re.compile(
    r"\s*(?P<operator>[/*·]?)\s*(?P<name>[^\W\d]+|%|°[CF])(?:\^|\*\*)?(?P<power>-?[1-9])?(?!\w)"
)
_SCALES = ("degree_Celsius", "degree_Fahrenheit")

# Standard flow is a flow of substance; the volume is the one at the meter's own reference conditions.
_DEFINITIONS = (
    "sccm = milliliter / minute = _ = SCCM",
    "slpm = liter / minute = _ = SLPM = slm = SLM",
    "ppb = 1e-9",
)


class BadInput(ValueError):
    """Something that a user gave is missing, impossible or out of range; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A result with its unit, its uncertainty and what it means.

    Attributes
    ----------
    name : str
        Name of the figure of merit.
    value : float
        NaN where the data do not give it; the reason is in `definition`.
    unit : str
    uncertainty : float or None
        Standard uncertainty (k = 1) in `unit`; None only where it has no meaning.
    definition : str
        Formula, source and what was left out.
    """

    name: str
    value: float
    unit: str
    uncertainty: float | None
    definition: str

    def as_json(self) -> dict[str, Any]:
        """Give value, unit, uncertainty and definition; NaN becomes None, because JSON has no NaN."""
        uncertainty = self.uncertainty
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "unit": self.unit,
            "uncertainty": uncertainty if uncertainty is not None and math.isfinite(uncertainty) else None,
            "definition": self.definition,
        }


def parse(
    text: str | float, unit: str, *, name: str, lower: float | None = None, upper: float | None = None
) -> float:
    """Read a quantity that a user wrote.

    Parameters
    ----------
    text : str or float
        A number and its unit: "-20 degC", "2 h", "500 mL/min", "3 mA/cm2".  A bare number only where `unit`
        is "" (dimensionless).
    unit : str
        The unit of the answer.  "degC" asks for a temperature ("253.15 K" is one too).  "K" asks for a
        difference of temperatures: "5 K", and "5 degC" is refused because it is a temperature; absolute
        temperatures are asked for in "degC".  In a compound unit both mean a difference ("3 degC/min").
        sccm and SLPM read as mL/min and L/min of standard flow, at the reference conditions of the
        instrument (Alicat's default: 25 degC, 101.325 kPa).
    name : str
        The argument's name, for the message.
    lower, upper : float, optional
        Smallest and largest value allowed, in `unit`, both included.

    Returns
    -------
    float
        The finite number in `unit`.

    Raises
    ------
    BadInput
        Not a number with a unit, wrong kind of quantity, not finite or out of bounds.
    """
    where = f"{name}={_shown(text)}"
    advice = f"write a {_wanted(unit, lower, upper)}"
    if isinstance(text, numbers.Real) and not isinstance(text, bool):
        if unit not in ("", "dimensionless"):
            raise BadInput(f"{where} has no unit: {advice}")
        value = _finite(text)
    elif isinstance(text, str):
        try:
            value = _convert(text, unit)
        except BadInput as error:
            raise BadInput(f"{where}: {error}; {advice}") from None
    else:
        raise BadInput(f"{where} is a {type(text).__name__}, not a quantity: {advice}")
    if not math.isfinite(value):
        raise BadInput(f"{where} is not a finite number: {advice}")
    if unit == "degC" and value < ABSOLUTE_ZERO_C:
        raise BadInput(f"{where} is below absolute zero: {advice}")
    if (lower is not None and value < lower) or (upper is not None and value > upper):
        raise BadInput(f"{where} is {format_quantity(value, unit)}, which is not allowed: {advice}")
    return value


def format_quantity(value: float, unit: str) -> str:
    """Write a number and its unit so that `parse` reads the same number back."""
    return f"{float(value)!r}".removesuffix(".0") + (f" {unit}" if unit else "")


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _wanted(unit: str, lower: float | None, upper: float | None) -> str:
    """Say in words what `parse` would take."""
    example = format_quantity(lower if lower is not None else upper if upper is not None else 1, unit)
    kind = "plain number" if unit in ("", "dimensionless") else f"number with its unit, like {example!r}"
    bounds = []
    if lower is not None:
        bounds.append(f"at least {format_quantity(lower, unit)}")
    if upper is not None:
        bounds.append(f"at most {format_quantity(upper, unit)}")
    return f"{kind} ({', '.join(bounds)})" if bounds else kind


def _finite(number: numbers.Real) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _convert(text: str, unit: str) -> float:
    """Split a text into number and unit and convert the number."""
    # Full-width digits, the one-character degree Celsius and the typographic minus are what Japanese input
    # methods and word processors write.
    plain = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").strip()
    number = _NUMBER.match(plain)
    if number is None:
        raise BadInput("it does not begin with a number")
    unit_text = plain[number.end() :].strip()
    if not unit_text and unit not in ("", "dimensionless"):
        raise BadInput("it has no unit")
    given, wanted = _read_unit(unit_text), _read_unit(unit)
    if str(wanted) == "kelvin" and str(given) in _SCALES:
        raise BadInput("a difference of temperatures is wanted and this is a temperature")
    if given.dimensionality != wanted.dimensionality:
        raise BadInput(f"{unit_text!r} is not a unit of the quantity wanted")
    try:
        return float(_registry().Quantity(float(number.group()), given).to(wanted).magnitude)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise BadInput(f"it cannot be converted to {unit!r}") from error


def _read_unit(text: str) -> pint.Unit:
    """Read a product of powers of units; nothing else is a unit here."""
    factors = []
    position = 0
    while position < len(text.rstrip()):
        factor = _FACTOR.match(text, position)
        if factor is None or (position == 0 and factor["operator"]):
            raise BadInput(f"{text!r} is not a unit")
        power = int(factor["power"] or 1)
        factors.append((factor["name"], -power if factor["operator"] == "/" else power))
        position = factor.end()
    if len(factors) == 1 and factors[0][1] == 1:
        return _read_unit_name(factors[0][0])
    unit = _registry().Unit("")
    for name, power in factors:
        one = _read_unit_name(name)
        unit *= (_registry().Unit(f"delta_{one}") if str(one) in _SCALES else one) ** power
    return unit


def _read_unit_name(name: str) -> pint.Unit:
    """Look up one unit; refuse the two that pint reads differently from a battery laboratory."""
    import pint

    try:
        unit = _registry().Unit(name)
    except (pint.PintError, AttributeError, ValueError, TypeError, SyntaxError):
        raise BadInput(f"there is no unit {name!r}") from None
    if "coulomb" in str(unit) and "coulomb" not in name:
        raise BadInput(
            f"{name!r} would be a charge in coulomb: a temperature is in degC, a charge in mAh or coulomb, "
            "and a C-rate is not a quantity but a rate such as '0.1C'"
        )
    if str(unit).endswith("turn"):
        raise BadInput(f"{name!r} would be an angle: a number of cycles is a plain number")
    return unit


@functools.cache
def _registry() -> pint.UnitRegistry:
    import pint

    registry: pint.UnitRegistry = pint.UnitRegistry()
    for definition in _DEFINITIONS:
        registry.define(definition)
    return registry
