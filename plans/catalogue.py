"""The plans that there are: every function marked as a plan in a module of this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import plans

__all__ = ["find_plans"]


def find_plans() -> dict[str, Callable[..., Any]]:
    """Find all plans, by name, in alphabetical order."""
    found = {}
    for module in pkgutil.walk_packages(plans.__path__, f"{plans.__name__}."):
        functions = inspect.getmembers(importlib.import_module(module.name), inspect.isfunction)
        found.update(
            {
                name: function
                for name, function in functions
                if getattr(function, "is_plan", False) and function.__module__ == module.name
            }
        )
    return dict(sorted(found.items()))
