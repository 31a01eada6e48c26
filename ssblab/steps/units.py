"""The units of the language of steps, and how a number with its unit is written.

A closed list, not pint: "C" is a rate and never a coulomb, "m" is a minute as in PyBaMM, and a hundred
programs are read in the time that pint takes to be imported.
"""

from __future__ import annotations

#: Name of a unit -> unit in which the number is kept, and what the number is multiplied and divided by, as
#: PyBaMM does, so that both get the same float.  Of several names for one unit the first is written.
UNITS: dict[str, tuple[str, float, float]] = {
    "A": ("A", 1, 1),
    "mA": ("A", 1, 1e3),
    "uA": ("A", 1, 1e6),
    "nA": ("A", 1, 1e9),
    "C": ("C", 1, 1),
    "mC": ("C", 1, 1e3),  # a thousandth of a C-rate, as in PyBaMM
    "mA/cm2": ("mA/cm2", 1, 1),
    "uA/cm2": ("mA/cm2", 1, 1e3),
    "A/cm2": ("mA/cm2", 1e3, 1),
    "V": ("V", 1, 1),
    "mV": ("V", 1, 1e3),
    "uV": ("V", 1, 1e6),
    "W": ("W", 1, 1),
    "mW": ("W", 1, 1e3),
    "Ohm": ("Ohm", 1, 1),
    "mOhm": ("Ohm", 1, 1e3),
    "kOhm": ("Ohm", 1e3, 1),
    "s": ("s", 1, 1),
    "min": ("s", 60, 1),
    "h": ("s", 3600, 1),
    "d": ("s", 86400, 1),
    "ms": ("s", 1, 1e3),
    **dict.fromkeys(("sec", "second", "seconds"), ("s", 1, 1)),
    **dict.fromkeys(("m", "minute", "minutes"), ("s", 60, 1)),
    **dict.fromkeys(("hr", "hour", "hours"), ("s", 3600, 1)),
    **dict.fromkeys(("day", "days"), ("s", 86400, 1)),
    "mAh": ("mAh", 1, 1),
    "uAh": ("mAh", 1, 1e3),
    "Ah": ("mAh", 1e3, 1),
    "mAh/cm2": ("mAh/cm2", 1, 1),
    "uAh/cm2": ("mAh/cm2", 1, 1e3),
    "% of capacity": ("% of capacity", 1, 1),
    "% capacity": ("% of capacity", 1, 1),
    "MPa": ("MPa", 1, 1),
    "kPa": ("MPa", 1, 1e3),
    "GPa": ("MPa", 1e3, 1),
    "bar": ("MPa", 1, 10),
    "degC": ("degC", 1, 1),
    "°C": ("degC", 1, 1),
    "oC": ("degC", 1, 1),
    "K": ("K", 1, 1),
    "%": ("%", 1, 1),
    "%RH": ("%RH", 1, 1),
    "% RH": ("%RH", 1, 1),
    "ppm": ("ppm", 1, 1),
    "ppb": ("ppm", 1, 1e3),
    "V/s": ("V/s", 1, 1),
    "mV/s": ("V/s", 1, 1e3),
    "uV/s": ("V/s", 1, 1e6),
    "mV/min": ("V/s", 1, 6e4),
    "mV/h": ("V/s", 1, 3.6e6),
    "V/h": ("V/s", 1, 3.6e3),
    "Hz": ("Hz", 1, 1),
    "mHz": ("Hz", 1, 1e3),
    "kHz": ("Hz", 1e3, 1),
    "MHz": ("Hz", 1e6, 1),
}

#: The units in which numbers are kept.
CANONICAL = tuple(dict.fromkeys(canonical for canonical, _, _ in UNITS.values()))


def converted(number: float, unit: str) -> float:
    """Give the number in the unit in which it is kept."""
    _, times, divided_by = UNITS[unit]
    return number * times / divided_by


def names_of(*canonical: str) -> list[str]:
    """List the units that are kept in one of these, each by the name that is written."""
    first = {unit: name for name, unit in reversed(UNITS.items()) if unit[0] in canonical}
    return [name for name, unit in UNITS.items() if first.get(unit) == name and name != "mC"]


def written(value: float, canonical: str) -> str:
    """Write a number that is kept in a unit: the shortest text that is read back as the same number."""
    texts = []
    for name in names_of(canonical):
        _, times, divided_by = UNITS[name]
        number = value * divided_by / times
        for digits in (15, 17):
            text = f"{number:.{digits}g}"
            if converted(float(text), name) == value:
                texts.append(text + ("" if name == "C" else " ") + name)
                break
    if canonical == "C" and 1e-9 < value < 1 and 1 / round(1 / value) == value:
        texts.append(f"C/{round(1 / value)}")
    return min(texts, key=len)
