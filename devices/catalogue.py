"""The instruments that there are: every driver in a module of this package, and the page that lists them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from itertools import groupby

import devices
from devices.instrument import Instrument

__all__ = ["find_drivers", "instruments_page"]

_HEAD = """# Instruments

Written by `ssblab instruments --markdown` from the drivers; do not edit. Each is tried against a simulated
instrument that answers the maker's bytes with its delays, errors and limits, and through every fault of
`tests/devices/test_faults.py`. No line here says that a real instrument was connected.
"""
_TABLE = """
## {family}

| instrument | driver | protocol, transport | verified by | not supported, not verified |
|---|---|---|---|---|
"""


def find_drivers() -> list[type[Instrument]]:
    """Find all drivers, sorted by family, then by maker."""
    found: set[type[Instrument]] = set()
    for module in pkgutil.walk_packages(devices.__path__, f"{devices.__name__}."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            here = cls.__module__ == module.name
            if here and issubclass(cls, Instrument) and not inspect.isabstract(cls):
                found.add(cls)
    return sorted(found, key=lambda cls: (cls.family, cls.about.maker, cls.about.models))


def instruments_page() -> str:
    """Write docs/instruments.md."""
    page = _HEAD
    for family, drivers in groupby(find_drivers(), key=lambda cls: cls.family):
        page += _TABLE.format(family=family[0].upper() + family[1:]) + "".join(map(_row, drivers))
    return page


def _row(cls: type[Instrument]) -> str:
    about = cls.about
    cells = (
        f"{about.maker} {about.models}",
        f"`{cls.__module__}.{cls.__name__}`",
        f"{about.protocol}; {about.transport}",
        "; ".join(about.verified),
        about.unsupported,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
