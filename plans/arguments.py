"""A plan's signature is its form: arguments with units, checked all at once before the first message."""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from bluesky import Msg

from devices.instrument import LabDevice
from ssblab.quantities import BadInput, format_quantity, parse
from ssblab.samples import CellSample, ElectrolyteSample

__all__ = [
    "FROM_STATION",
    "Argument",
    "PlanGenerator",
    "Quantity",
    "arguments_of",
    "describe_arguments",
    "plan",
    "problems_with",
    "written",
]

PlanGenerator = Generator[Msg, Any, Any]

#: Default of a device argument: the session gives the station's only device of that family.
FROM_STATION: Any = None


_SAMPLES = {ElectrolyteSample: "an electrolyte", CellSample: "a cell"}


def written(text: str) -> Any:
    """Write the default of a quantity as a user would; the plan gets it as a number."""
    return text


@dataclass(frozen=True)
class Quantity:
    """Says of an argument which unit it has inside the plan, and what is allowed.

    Attributes
    ----------
    unit : str
        A user writes any unit of the same kind: "2 h" for "s".
    doc : str
        What it is.
    lower, upper : float, optional
        Both allowed, in `unit`.
    """

    unit: str
    doc: str
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Argument:
    """One argument as a user sees it."""

    name: str
    kind: str
    unit: str
    default: str | None
    required: bool
    doc: str


def plan(function: Callable[..., PlanGenerator]) -> Callable[..., PlanGenerator]:
    """Make a plan of a generator function with annotated keyword arguments.

    Arguments annotated `Annotated[float, Quantity(...)]` are written by users as text with a unit and
    come into the function as numbers in the unit of the annotation. Arguments annotated with a family of
    devices may be left out: the session then gives the station's only device of that family. All that is
    wrong is told in one BadInput, when the plan is called.
    """

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> PlanGenerator:
        arguments = _check(checked, args, kwargs)
        generator = _with_rig(function, arguments)
        generator.__name__ = function.__name__  # type: ignore[attr-defined] # bluesky names the plan by it
        return generator

    checked.is_plan = True  # type: ignore[attr-defined]
    return checked


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """List the arguments of a plan, those that a user gives."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        required = parameter.default is parameter.empty
        default = None if required or parameter.default is None else str(parameter.default)
        if quantity := _quantity(hint):
            found.append(Argument(name, "quantity", quantity.unit, default, required, quantity.doc))
        elif family := _family(hint):
            found.append(Argument(name, family.family, "", None, False, f"a {family.family} of the station"))
        elif hint in _SAMPLES:
            found.append(Argument(name, "sample", "", None, True, f"{_SAMPLES[hint]} of the station file"))
    return found


def _quantity(hint: Any) -> Quantity | None:
    if typing.get_origin(hint) is Annotated:
        return next((extra for extra in hint.__metadata__ if isinstance(extra, Quantity)), None)
    return next(filter(None, map(_quantity, typing.get_args(hint))), None)


def _may_be_left_out(hint: Any) -> bool:
    inner = hint.__origin__ if typing.get_origin(hint) is Annotated else hint
    return type(None) in typing.get_args(inner)


def _family(hint: Any) -> type[LabDevice] | None:
    candidates = [hint, *typing.get_args(hint)]
    return next((c for c in candidates if inspect.isclass(c) and issubclass(c, LabDevice)), None)


def problems_with(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Say what is wrong with a plan's arguments, by argument; empty if nothing is."""
    return _examine(function, given)[1]


def _check(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    values, problems = _examine(function, {**dict(zip(positional, args, strict=False)), **kwargs})
    texts = list(problems.values())
    if len(args) > len(positional):
        texts.insert(0, f"takes {len(positional)} argument(s) without a name, not {len(args)}")
    if texts:
        raise BadInput(f"plan {function.__name__}:\n" + "\n".join(f"  {text}" for text in texts))
    return values


def _examine(function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values as the plan gets them, and problems, both by argument."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for unknown in sorted(given.keys() - parameters.keys()):
        close = difflib.get_close_matches(unknown, parameters, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(parameters)}"
        problems[unknown] = f"has no argument {unknown!r}: {hint}"
    for key, parameter in parameters.items():
        if key not in given and parameter.default is parameter.empty:
            problems[key] = f"needs {key}"
            continue
        try:
            values[key] = _value(key, given.get(key, parameter.default), hints.get(key))
        except BadInput as error:
            problems[key] = str(error)
    return values, problems


def _value(name: str, value: Any, hint: Any) -> Any:
    quantity = _quantity(hint)
    if quantity is not None:
        if value is None and _may_be_left_out(hint):
            return None
        return parse(value, quantity.unit, name=name, lower=quantity.lower, upper=quantity.upper)
    family = _family(hint)
    if family is not None and value is not None and not isinstance(value, family):
        raise BadInput(f"{name} must be a {family.family} of the station, not {value!r}")
    if hint in _SAMPLES and not isinstance(value, hint):
        raise BadInput(
            f"{name} must be the record of {_SAMPLES[hint]} such as session.samples['...'], not {value!r}"
        )
    return value


def _with_rig(function: Callable[..., PlanGenerator], arguments: dict[str, Any]) -> PlanGenerator:
    """Ask the session for the devices that were not named, and for the sample to be mounted."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    families = {
        key: family
        for key, value in arguments.items()
        if value is None and (family := _family(hints.get(key)))
    }
    sample = next((value for value in arguments.values() if isinstance(value, tuple(_SAMPLES))), None)
    rig = yield Msg("rig", None, families=families, sample=sample)
    if rig is None and families:
        raise BadInput(
            f"plan {function.__name__}: name its devices ({', '.join(families)}), or run it in a session, "
            "which knows the station's"
        )
    return (yield from function(**{**arguments, **(rig or {})}))


def describe_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, str]:
    """Write the quantities among a plan's arguments as text with their units, for its start document."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    return {
        key: format_quantity(values[key], quantity.unit)
        for key, hint in hints.items()
        if key in values and values[key] is not None and (quantity := _quantity(hint))
    }
