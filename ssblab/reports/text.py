"""Numbers, times and units as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

__all__ = ["duration", "moment", "number", "rounded", "unit_text"]

_FIGURES_OF_A_NUMBER = 5
_PLAIN_EXPONENTS = range(-4, 6)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = {"degC": "°C", "ohm": "Ω", "1": ""}


def rounded(value: float, uncertainty: float | None) -> str:
    """Write a value with its standard uncertainty, both to two significant digits of the uncertainty.

    Parameters
    ----------
    value, uncertainty : float
        In the same unit. Without an uncertainty that says something, five digits of the value are written.

    Returns
    -------
    str
        "0.5212 ± 0.0032", or "(5.31 ± 0.46) × 10⁻⁹" where plain numbers would be long.
    """
    if not math.isfinite(value):
        return "not determined"
    if uncertainty is None:
        return number(value)
    if not math.isfinite(uncertainty):
        return f"{number(value)} ± unknown"
    if uncertainty <= 0:
        return f"{number(value)} ± 0"
    # Two digits first, because 0.0996 becomes 0.10, and its last digit stands one place higher.
    spread = Decimal(f"{uncertainty:.1e}")
    last_digit = spread.adjusted() - 1
    exponent = max(Decimal(str(value)).adjusted() if value else last_digit, spread.adjusted())
    if exponent in _PLAIN_EXPONENTS and last_digit <= 0:
        return _fixed(value, spread, 0, -last_digit)
    return f"({_fixed(value, spread, exponent, exponent - last_digit)}) × {_power_of_ten(exponent)}"


def number(value: float) -> str:
    """Write a number with five significant digits."""
    mantissa, _, exponent = f"{value:.{_FIGURES_OF_A_NUMBER}g}".partition("e")
    shown = mantissa.replace("-", "−")
    return f"{shown} × {_power_of_ten(int(exponent))}" if exponent else shown


def _fixed(value: float, spread: Decimal, exponent: int, digits: int) -> str:
    mantissas = (Decimal(str(value)).scaleb(-exponent), spread.scaleb(-exponent))
    return " ± ".join(f"{mantissa:.{digits}f}" for mantissa in mantissas).replace("-", "−")


def _power_of_ten(exponent: int) -> str:
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def unit_text(unit: str) -> str:
    """Write a unit as on an axis: °C and Ω; nothing for a plain number."""
    return _UNITS.get(unit, unit)


def moment(stamp_s: float) -> str:
    """Write seconds since 1970 as UTC after ISO 8601."""
    return datetime.fromtimestamp(stamp_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def duration(seconds: float) -> str:
    """Write a time span; seconds alone where it is short."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
