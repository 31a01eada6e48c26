"""A plan's signature is its form: arguments with units, checked all at once before the first message."""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from bluesky import Msg

from devices.instrument import LabDevice
from ssblab.quantities import BadInput, format_quantity, parse
from ssblab.samples import CellSample, ElectrolyteSample
from ssblab.steps import Amount, parse_amount

__all__ = [
    "FROM_STATION",
    "AmountIn",
    "Argument",
    "PlanGenerator",
    "Quantity",
    "Text",
    "arguments_of",
    "describe_arguments",
    "plan",
    "problems_with",
    "written",
]

PlanGenerator = Generator[Msg, Any, Any]

#: Default of a device argument: the session gives the one that the sample is at, or the station's only one.
FROM_STATION: Any = None

_SAMPLES: dict[type, str] = {ElectrolyteSample: "an electrolyte", CellSample: "a cell"}
_BETWEEN = ","
_ALLOWED = ("choices", "lower", "upper")


def written(text: str) -> Any:
    """Write the default of a quantity as a user would; the plan gets it as a number."""
    return text


@dataclass(frozen=True)
class Quantity:
    """Says of an argument which unit it has inside the plan, and what is allowed.

    Attributes
    ----------
    unit : str
        A user writes any unit of the same kind: "2 h" for "s". "" is a plain number; of an argument that is
        annotated as int, a whole one.
    doc : str
        What it is.
    lower, upper : float, optional
        Both allowed, in `unit`.
    """

    unit: str
    doc: str
    lower: float | None = None
    upper: float | None = None

    def read(self, name: str, value: Any) -> float:
        """Read what a user wrote."""
        return parse(value, self.unit, name=name, lower=self.lower, upper=self.upper)

    def write(self, value: Any) -> str:
        """Write a value so that it is read as the same."""
        return format_quantity(value, self.unit)


@dataclass(frozen=True)
class AmountIn:
    """Says of an argument that it is an amount of the language of steps (docs/steps.md).

    Attributes
    ----------
    units : tuple of str
        Canonical units allowed: ("C", "A", "mA/cm2") for a rate.
    doc : str
        What it is.
    """

    units: tuple[str, ...]
    doc: str

    @property
    def unit(self) -> str:
        """The units, for people."""
        return " or ".join(self.units)

    def read(self, name: str, value: Any) -> Amount:
        """Read what a user wrote."""
        if isinstance(value, Amount):
            value = value.text()
        if not isinstance(value, str):
            raise BadInput(f"{name}={value!r} is no text with a unit of {self.unit}")
        return parse_amount(value, *self.units, name=name)

    def write(self, value: Amount) -> str:
        """Write a value so that it is read as the same."""
        return value.text()


@dataclass(frozen=True)
class Text:
    """Says of an argument that it is text.

    Attributes
    ----------
    doc : str
        What it is.
    choices : tuple of str
        What is allowed; empty for any text.
    """

    doc: str
    choices: tuple[str, ...] = ()
    unit = ""

    def read(self, name: str, value: Any) -> str:
        """Take what a user wrote."""
        if not isinstance(value, str) or not value.strip():
            raise BadInput(f"{name}={value!r} is no text")
        if self.choices and value not in self.choices:
            raise BadInput(f"{name}={value!r}: write {' or '.join(self.choices)}")
        return value

    def write(self, value: str) -> str:
        """Give the text."""
        return value


@dataclass(frozen=True)
class Argument:
    """One argument as a user sees it.

    Attributes
    ----------
    name, kind, unit, doc : str
    default : str or None
    required : bool
    several : bool
        Whether more than one may be given, with commas between.
    choices : tuple of str
        Of a text; empty for any.
    lower, upper : float or None
        Both allowed, in `unit`.
    """

    name: str
    kind: str
    unit: str
    default: str | None
    required: bool
    doc: str
    several: bool = False
    choices: tuple[str, ...] = ()
    lower: float | None = None
    upper: float | None = None


def plan(function: Callable[..., PlanGenerator]) -> Callable[..., PlanGenerator]:
    """Make a plan of a generator function with annotated keyword arguments.

    Arguments annotated `Annotated[float, Quantity(...)]` are written by users as text with a unit and
    come into the function as numbers in the unit of the annotation; `AmountIn` and `Text` likewise;
    `tuple[float, ...]` takes several, with commas between. Arguments annotated with a family of
    devices may be left out: the session then gives the one that the sample is at, or the station's only
    one; `Family | None` is None where there is none. All that is wrong is told in one BadInput, when the
    plan is called.
    """

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> PlanGenerator:
        arguments = _check(checked, args, kwargs)
        generator = _with_rig(function, arguments)
        generator.__name__ = function.__name__  # type: ignore[attr-defined] # bluesky names the plan by it
        return generator

    checked.is_plan = True  # type: ignore[attr-defined]
    return checked


@dataclass(frozen=True)
class _Slot:
    """What a parameter of a plan takes.

    Attributes
    ----------
    form : Quantity or AmountIn or Text or None
        How its text is read.
    families : tuple of type
        Of a device.
    sample : type or None
        Of a sample.
    several, whole, optional : bool
        Whether it is a tuple; a whole number; may be None.
    """

    form: Quantity | AmountIn | Text | None = None
    families: tuple[type[LabDevice], ...] = ()
    sample: type | None = None
    several: bool = False
    whole: bool = False
    optional: bool = False

    @property
    def kind(self) -> str:
        if self.form is not None:
            return "text" if isinstance(self.form, Text) else "quantity"
        if self.sample is not None:
            return "sample"
        return " or ".join(family.family for family in self.families)

    @property
    def doc(self) -> str:
        if self.form is not None:
            return self.form.doc
        if self.sample is not None:
            return f"{_SAMPLES[self.sample]} of the station file"
        return f"a {self.kind} of the station" + (", if there is one" if self.optional else "")

    def read(self, name: str, value: Any) -> Any:
        if value is None and (self.optional or self.families):
            return None
        if not self.several:
            return self._one(name, value)
        items = value.split(_BETWEEN) if isinstance(value, str) else value
        if not isinstance(items, Iterable) or not (items := list(items)):
            raise BadInput(f"{name}={value!r}: give one or several, with commas between")
        return tuple(self._one(name, item) for item in items)

    def _one(self, name: str, value: Any) -> Any:
        if self.form is not None:
            found = self.form.read(name, value)
            if self.whole and found != int(found):  # type: ignore[arg-type] # whole numbers are quantities
                raise BadInput(f"{name}={value!r} is no whole number")
            return int(found) if self.whole else found  # type: ignore[arg-type]
        if self.families and not isinstance(value, self.families):
            raise BadInput(f"{name} must be a {self.kind} of the station, not {value!r}")
        if self.sample is not None and not isinstance(value, self.sample):
            raise BadInput(
                f"{name} must be the record of {_SAMPLES[self.sample]} such as session.samples['...'], "
                f"not {value!r}"
            )
        return value

    def write(self, value: Any) -> str:
        assert self.form is not None
        if self.several:
            return f"{_BETWEEN} ".join(self.form.write(item) for item in value)
        return self.form.write(value)


def _slots(function: Callable[..., Any]) -> dict[str, _Slot | None]:
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    return {name: _slot(hints.get(name)) for name in inspect.signature(function).parameters}


def _slot(hint: Any) -> _Slot | None:
    extras: tuple[Any, ...] = ()
    while typing.get_origin(hint) is Annotated:
        extras, hint = (*extras, *hint.__metadata__), hint.__origin__
    form = next((extra for extra in extras if isinstance(extra, (Quantity, AmountIn, Text))), None)
    parts = typing.get_args(hint) or (hint,)
    optional = type(None) in parts
    several = any(typing.get_origin(part) is tuple for part in (hint, *parts))
    kinds = [part for part in parts if inspect.isclass(part) and part is not type(None)]
    if form is not None:
        return _Slot(form, several=several, whole=int in kinds, optional=optional)
    if families := tuple(kind for kind in kinds if issubclass(kind, LabDevice)):
        return _Slot(families=families, optional=optional)
    if sample := next((kind for kind in kinds if kind in _SAMPLES), None):
        return _Slot(sample=sample, several=several)
    return None


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """List the arguments of a plan, those that a user gives."""
    found = []
    slots = _slots(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if (slot := slots[name]) is None:
            continue
        required = parameter.default is parameter.empty
        default = None if required or parameter.default is None else str(parameter.default)
        unit = slot.form.unit if slot.form is not None else ""
        allowed = {key: getattr(slot.form, key) for key in _ALLOWED if hasattr(slot.form, key)}
        found.append(Argument(name, slot.kind, unit, default, required, slot.doc, slot.several, **allowed))
    return found


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
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for unknown in sorted(given.keys() - parameters.keys()):
        close = difflib.get_close_matches(unknown, parameters, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(parameters)}"
        problems[unknown] = f"has no argument {unknown!r}: {hint}"
    slots = _slots(function)
    for key, parameter in parameters.items():
        if key not in given and parameter.default is parameter.empty:
            problems[key] = f"needs {key}"
            continue
        value, slot = given.get(key, parameter.default), slots[key]
        try:
            values[key] = value if slot is None else slot.read(key, value)
        except BadInput as error:
            problems[key] = str(error)
    return values, problems


def _with_rig(function: Callable[..., PlanGenerator], arguments: dict[str, Any]) -> PlanGenerator:
    """Ask the session for the devices that were not named, and for the sample to be mounted."""
    missing = {
        key: slot
        for key, slot in _slots(function).items()
        if slot and slot.families and arguments[key] is None
    }
    sample = next((value for value in arguments.values() if isinstance(value, tuple(_SAMPLES))), None)
    rig = yield Msg(
        "rig",
        None,
        families={key: slot.families for key, slot in missing.items() if not slot.optional},
        optional={key: slot.families for key, slot in missing.items() if slot.optional},
        sample=sample,
    )
    if rig is None and missing:
        raise BadInput(
            f"plan {function.__name__}: name its devices ({', '.join(missing)}), or run it in a session, "
            "which knows the station's"
        )
    return (yield from function(**{**arguments, **(rig or {})}))


def describe_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, str]:
    """Write what a user gave to a plan as text with units, for its start document."""
    return {
        key: slot.write(values[key])
        for key, slot in _slots(function).items()
        if slot is not None and slot.form is not None and values.get(key) is not None
    }
