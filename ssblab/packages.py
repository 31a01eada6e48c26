"""Are `devices` and `plans` really ours? Their names are common, and a file in the way would be imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import ssblab

__all__ = ["ShadowedPackage", "check_packages"]

PACKAGES = ("ssblab", "devices", "plans", "sim_devices")


class ShadowedPackage(ImportError):
    """Another package stands where one of ssblab's should; the message says which file."""


def check_packages() -> None:
    """Check that the four packages of the distribution lie side by side.

    Raises
    ------
    ShadowedPackage
        Naming each package that is imported from somewhere else, or not there.
    """
    home = Path(ssblab.__file__).resolve().parent.parent
    problems = [f"  {name}: {found}" for name in PACKAGES if (found := _elsewhere(name, home))]
    if problems:
        raise ShadowedPackage(
            f"these packages are not those of ssblab in {home}; rename what shadows them, or start from "
            "another folder:\n" + "\n".join(problems)
        )


def _elsewhere(name: str, home: Path) -> str:
    """Where a package would come from if not from `home`, "" if from there."""
    spec = find_spec(name)
    if spec is None:
        return "not there"
    if spec.origin is None:
        return f"a folder without __init__.py in {', '.join(spec.submodule_search_locations or [])}"
    return "" if Path(spec.origin).resolve().parent.parent == home else spec.origin
