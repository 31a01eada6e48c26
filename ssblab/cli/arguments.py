"""Arguments of a plan as they are written on the command line: all checked before a device is touched."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from plans.arguments import Argument, PlanGenerator, arguments_of, problems_with
from plans.catalogue import find_plans
from ssblab.cli.options import read_pairs
from ssblab.quantities import BadInput
from ssblab.station import Station

__all__ = ["Call", "device_class", "plan_named"]


def plan_named(name: str) -> Callable[..., PlanGenerator]:
    """Find a plan.

    Raises
    ------
    BadInput
        If there is none of the name; lists those that there are.
    """
    found = find_plans()
    if name not in found:
        close = difflib.get_close_matches(name, found, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(found)}"
        raise BadInput(f"no plan {name!r}: {hint}")
    return found[name]


def device_class(dotted: str) -> Any:
    """Find the class that a station file names."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


class Call:
    """A plan with the arguments of a command line, checked against the station file.

    Raises
    ------
    BadInput
        With what is wrong with the plan's name or its arguments.
    """

    def __init__(self, name: str, words: Sequence[str], station: Station) -> None:
        self._function = plan_named(name)
        pairs = read_pairs(words)
        wanted = {argument.name: argument for argument in arguments_of(self._function)}
        problems = dict(_problems(self._function, pairs, wanted, station))
        kinds = {key: wanted[key].kind if key in wanted else "" for key in pairs}
        self._devices = {
            key: pairs[key] for key, kind in kinds.items() if kind not in ("quantity", "text", "sample", "")
        }
        self._values = {
            key: _records(value, wanted[key], station) if kinds[key] == "sample" else value
            for key, value in pairs.items()
            if key not in self._devices
        }
        problems = {**problems_with(self._function, self._values), **problems}
        if problems:
            raise BadInput(f"plan {name}:\n" + "\n".join(f"  {problem}" for problem in problems.values()))

    def plan(self, devices: Mapping[str, Any]) -> PlanGenerator:
        """Make the plan, with the devices that were named."""
        named = {key: devices[name] for key, name in self._devices.items()}
        return self._function(**self._values, **named)


def _problems(
    function: Callable[..., Any], pairs: Mapping[str, str], wanted: Mapping[str, Argument], station: Station
) -> Iterator[tuple[str, str]]:
    """What the plan itself can't see, by argument: names of samples and devices, what is no text."""
    parameters = inspect.signature(function).parameters
    for key, value in pairs.items():
        argument = wanted.get(key)
        if argument is None:
            if key in parameters:
                yield key, f"{key} can't be given on the command line"
        elif argument.kind == "sample":
            for name in _names(value, argument, station):
                if name not in station.samples:
                    yield key, f"{key}={value}: {_unknown('sample', name, station.samples)}"
        elif argument.kind not in ("quantity", "text"):
            yield from ((key, text) for text in _wrong_device(argument, value, station))


def _names(value: str, argument: Argument, station: Station) -> list[str]:
    """Names of samples; of several, the name of a lot stands for all of it."""
    if not argument.several:
        return [value]
    lots: dict[str, list[str]] = {}
    for name, record in station.samples.items():
        if record.lot_id is not None:
            lots.setdefault(record.lot_id, []).append(name)
    words = [word.strip() for word in value.split(",")]
    return [
        name for word in words for name in ([word] if word in station.samples else lots.get(word, [word]))
    ]


def _records(value: str, argument: Argument, station: Station) -> Any:
    """Sample records that are named; None stands for one that there is not, which is told elsewhere."""
    records = [station.samples.get(name) for name in _names(value, argument, station)]
    return records if argument.several else records[0]


def _wrong_device(argument: Argument, name: str, station: Station) -> Iterator[str]:
    if name not in station.devices:
        yield f"{argument.name}={name}: {_unknown('device', name, station.devices)}"
        return
    family = device_class(station.devices[name].class_).family
    if family not in argument.kind.split(" or "):
        yield f"{argument.name}={name}: {name} is a {family}, and a {argument.kind} is wanted"


def _unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
    there_are = f"there are {', '.join(known)}" if known else f"it has no {what}s at all, add them"
    return f"the station file has no {what} {name!r}: {there_are}"
