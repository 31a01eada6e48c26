"""A station file: what stands in the laboratory, at which addresses, within which limits.

The file is YAML, read into strict models. All its mistakes are shown at once, each with its place.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from ophyd import Component, Device
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssblab.clock import Clock
from ssblab.quantities import BadInput, parse
from ssblab.samples import Sample, known_fields

__all__ = [
    "DeviceBook",
    "DeviceRecord",
    "Simulated",
    "Station",
    "StationError",
    "build_devices",
    "load_station",
    "stations",
]

_NAME = r"^[a-z][a-z0-9_]{0,40}$"
_ROOM = r"^devices\.[a-z0-9_.]+\.[A-Za-z0-9]+$"
_LABORATORY = "sim_devices.lab.laboratory.Laboratory"
_SIMULATION = r"^sim_devices\.[a-z0-9_.]+\.[A-Za-z0-9]+$"
_SIMULATED_ADDRESS = "sim"

#: Shortest period of an interlock, and of the environment.
SHORTEST_PERIOD_S = 0.1

Place = tuple[int | str, ...]


class StationError(BadInput):
    """A station file with mistakes; the message lists them all, each with its place in the file."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Limits(_Strict):
    """Lowest and highest value of a setting, as quantities with units."""

    low: str
    high: str


class DeviceRecord(_Strict):
    """One device: its class, its address if it has a link, the devices it is built on, its limits."""

    class_: str = Field(alias="class", pattern=_ROOM)
    address: str | None = None
    uses: dict[str, str] = {}
    limits: dict[str, Limits] = {}
    options: dict[str, Any] = {}


class Interlock(_Strict):
    """A device whose `tripped` reason ends a run and keeps the next from starting."""

    device: str
    period: str = "5 s"


class Environment(_Strict):
    """Devices that are recorded in every run, besides those of the interlocks, and how often."""

    devices: list[str] = []
    period: str = "60 s"


class Thing(_Strict):
    """Something of the simulated laboratory, what it is connected to by role, and what it is told."""

    class_: str = Field(alias="class", pattern=_SIMULATION)
    connected: dict[str, str] = {}
    options: dict[str, Any] = {}


class SimulatedInstrument(_Strict):
    """A simulated instrument, what it is connected to, and what it is told."""

    class_: str = Field(alias="class", pattern=_SIMULATION)
    connected: str | list[str] = []
    options: dict[str, Any] = {}


class SimulatedSample(_Strict):
    """What a sample really is, and where it is put."""

    class_: str = Field(alias="class", pattern=_SIMULATION)
    place: str
    options: dict[str, Any] = {}


class Simulated(_Strict):
    """The laboratory that is not there."""

    seed: int = 0
    things: dict[str, Thing] = {}
    instruments: dict[str, SimulatedInstrument] = {}
    samples: dict[str, SimulatedSample] = {}


class Data(_Strict):
    """Where data go: a folder, or the URI of a Tiled server whose key is in the environment or a file."""

    folder: Path | None = None
    tiled_uri: str | None = None
    tiled_key_file: Path | None = None
    transcript: bool = False


class Station(_Strict):
    """A whole station."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,80}$")
    description: str = ""
    time: str = Field(default="wall", pattern=r"^(wall|virtual|x0*[1-9]\d*(\.\d+)?|x0*\.0*[1-9]\d*)$")
    devices: dict[str, DeviceRecord]
    samples: dict[str, Sample] = {}
    safe_state: list[str]
    interlocks: list[Interlock] = []
    environment: Environment = Environment()
    data: Data = Data()
    simulated: Simulated | None = None

    @property
    def is_real(self) -> bool:
        """Whether an instrument is at an address of its own."""
        return any(record.address not in (None, _SIMULATED_ADDRESS) for record in self.devices.values())

    @property
    def is_simulated(self) -> bool:
        """Whether it works with its simulated laboratory; a real one may have one for rehearsals alone."""
        used = any(record.address == _SIMULATED_ADDRESS for record in self.devices.values())
        return self.simulated is not None and (used or not self.is_real)

    def in_simulation(self) -> Station:
        """Give the same station with all instruments in its simulated laboratory, in virtual time.

        Its data go to no server and to no folder of their own.

        Raises
        ------
        StationError
            If it has no simulated laboratory.
        """
        if self.simulated is None:
            raise StationError(
                f"station {self.name} has no simulated laboratory to rehearse in: add a section `simulated` "
                "with an instrument of the same name for each device that has an address, and its samples "
                "(stations/cells.yml shows how)"
            )
        devices = {
            name: record.model_copy(update={"address": record.address and _SIMULATED_ADDRESS})
            for name, record in self.devices.items()
        }
        return self.model_copy(update={"devices": devices, "time": "virtual", "data": Data()})


def stations() -> dict[str, Path]:
    """Station files that come with ssblab, by name."""
    packaged = Path(str(files("ssblab"))) / "stations"
    folder = packaged if packaged.is_dir() else packaged.parent.parent / "stations"
    return {path.stem: path for path in sorted(folder.glob("*.yml"))}


def load_station(name_or_path: str | Path) -> Station:
    """Read and check a station file.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a station that comes with ssblab ("sim"), or a file.

    Raises
    ------
    StationError
        With every mistake of the file, each with its place.
    """
    path = stations().get(str(name_or_path)) or Path(name_or_path)
    if not path.is_file():
        known = ", ".join(stations())
        raise StationError(
            f"no station {str(name_or_path)!r}: give one of {known}, or the path of a station file"
        )
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StationError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise StationError(f"{path}: a station file is a mapping with devices, samples, safe_state")
    mistakes: list[tuple[Place, str]] = []
    station = None
    try:
        station = Station.model_validate(_with_names(content))
    except ValidationError as error:
        mistakes += [(_place(e["loc"]), _told(e, content)) for e in error.errors(include_url=False)]
    mistakes += [*_references(content), *_wrong_devices(content), *_wrong_periods(content)]
    if station is not None and not mistakes:
        mistakes += _left_on(station)
    if mistakes:
        lines = [f"  line {_line(node, loc)}: {'.'.join(map(str, loc))}: {text}" for loc, text in mistakes]
        raise StationError(f"{path} has {len(mistakes)} mistake(s):\n" + "\n".join(lines))
    assert station is not None
    return station


_MERGE = "tag:yaml.org,2002:merge"  # `<<: *other`, which takes over what is not said


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is written twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != _MERGE]
        keys = [self.construct_object(key, deep=deep) for key in own]
        for key, key_node in zip(keys, own, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is there twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


def _with_names(content: dict[str, Any]) -> dict[str, Any]:
    """Give each sample record its key as its name."""
    samples = content.get("samples")
    if isinstance(samples, dict):
        named = {
            key: {"name": key, **value} if isinstance(value, dict) else value
            for key, value in samples.items()
        }
        content = {**content, "samples": named}
    return content


def _place(location: Place) -> Place:
    """Place of a mistake in the file: pydantic names the kind of a sample besides, after its name."""
    return location[:2] + location[3:] if location[0] == "samples" else location


def _told(error: Any, content: dict[str, Any]) -> str:
    """Say what pydantic found, and of a sample what to do about it."""
    if error["loc"][0] == "samples":
        field = error["loc"][-1]
        if error["type"] == "missing":
            return f"is missing: add '{field}: ...' to the sample; it is measured, never assumed"
        if error["type"] == "extra_forbidden":
            known = known_fields(content["samples"][error["loc"][1]])
            return f"is not a field of a sample: take it out, or name one of {known}"
    value = error.get("input")
    return error["msg"] + (f" (is {value!r})" if isinstance(value, (str, int, float, bool)) else "")


def _references(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Names that stand for devices must be devices; device names must be usable as names."""
    devices = content.get("devices")
    if not isinstance(devices, dict):
        return
    for name, record in devices.items():
        if not re.fullmatch(_NAME, str(name)):
            yield ("devices", name), "a device's name is lower-case letters, digits and _"
        for role, other in _parts(record).items():
            if other not in devices:
                yield ("devices", name, "uses", role), f"no device {other!r}"
    try:
        _building_order({name: _parts(record) for name, record in devices.items()})
    except StationError as error:
        yield ("devices",), str(error)
    for i, name in enumerate(_listed(content, "safe_state")):
        if isinstance(name, str) and name not in devices:
            yield ("safe_state", i), f"no device {name!r}"
    for i, name in enumerate(_listed(_mapping(content, "environment"), "devices")):
        if isinstance(name, str) and name not in devices:
            yield ("environment", "devices", i), f"no device {name!r}"
    for sample, record in _mapping(content, "samples").items():
        for i, name in enumerate(_listed(record, "devices") if isinstance(record, dict) else ()):
            if isinstance(name, str) and name not in devices:
                yield ("samples", sample, "devices", i), f"no device {name!r}"
    for i, interlock in enumerate(_listed(content, "interlocks")):
        name = interlock.get("device") if isinstance(interlock, dict) else None
        if isinstance(name, str) and name not in devices:
            yield ("interlocks", i, "device"), f"no device {name!r}"


def _parts(record: Any) -> dict[str, str]:
    return {role: other for role, other in _mapping(record, "uses").items() if isinstance(other, str)}


def _wrong_devices(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Classes must be drivers; limits must name settings of the class and have their unit."""
    for name, record in _mapping(content, "devices").items():
        dotted = record.get("class") if isinstance(record, dict) else None
        if not isinstance(dotted, str) or not re.fullmatch(_ROOM, dotted):
            continue  # told already
        try:
            cls = _find(dotted)
        except (ImportError, AttributeError) as error:
            yield ("devices", name, "class"), f"no such class ({error})"
            continue
        if problem := _no_driver(cls):
            yield ("devices", name, "class"), f"{dotted} {problem}"
            continue
        for signal, limits in _mapping(record, "limits").items():
            if problem := _wrong_limits(cls, signal, limits):
                yield ("devices", name, "limits", signal), problem


def _no_driver(cls: Any) -> str:
    if not (isinstance(cls, type) and issubclass(cls, Device)):
        return "is no device"
    abstract = [name for name in dir(cls) if getattr(getattr(cls, name), "__isabstractmethod__", False)]
    return "is a family, not an instrument: name the class of a driver" if abstract else ""


def _wrong_limits(cls: type, signal: Any, limits: Any) -> str:
    unit = _unit_of_setting(cls, str(signal))
    if unit is None:
        return f"{cls.__name__} has no setting {signal!r}"
    edges = _mapping({"limits": limits}, "limits")
    if not all(isinstance(edges.get(edge), str) for edge in ("low", "high")):
        return ""  # told already
    try:
        low, high = (parse(edges[edge], unit, name=edge) for edge in ("low", "high"))
    except BadInput as error:
        return str(error)
    return "high must be above low" if high <= low else ""


def _wrong_periods(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    periodic: list[tuple[Place, Any]] = [(("environment",), content.get("environment"))]
    periodic += [(("interlocks", i), lock) for i, lock in enumerate(_listed(content, "interlocks"))]
    for place, record in periodic:
        if isinstance(period := record.get("period") if isinstance(record, dict) else None, str):
            try:
                parse(period, "s", name="period", lower=SHORTEST_PERIOD_S)
            except BadInput as error:
                yield (*place, "period"), str(error)


def _left_on(station: Station) -> Iterator[tuple[Place, str]]:
    """What has an output must have a step of the safe state; what acts on others must come before them."""
    parts = {name: _all_parts(name, station) for name in station.devices}
    covered = set(station.safe_state).union(*(parts[name] for name in station.safe_state))
    for name, record in station.devices.items():
        if name not in covered and _has_output(_find(record.class_)):
            yield (
                ("devices", name),
                f"its output or task is ended by no step of the safe state: add {name} to safe_state",
            )
    for i, name in enumerate(station.safe_state):
        for later in station.safe_state[i + 1 :]:
            if name in parts[later]:
                yield (
                    ("safe_state", i),
                    f"{later} acts on {name}, and could do so again: put {later} before it",
                )


def _all_parts(name: str, station: Station) -> set[str]:
    """Devices that a device is built on, and what those are built on."""
    own = set(station.devices[name].uses.values())
    return own.union(*(_all_parts(part, station) for part in own))


def _has_output(cls: type) -> bool:
    """Whether the safe state of a device is any work: a function that names nothing does nothing."""
    make_safe = getattr(cls, "make_safe", None)
    return make_safe is not None and bool(inspect.unwrap(make_safe).__code__.co_names)


def _mapping(record: Any, key: str) -> dict[str, Any]:
    """What stands under a key if it is a mapping; that it is none is told by the models."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, dict) else {}


def _listed(content: dict[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    return value if isinstance(value, list) else []


def _unit_of_setting(cls: type, signal: str) -> str | None:
    component: Any = getattr(cls, signal, None)
    is_setting = isinstance(component, Component) and hasattr(component.cls, "narrow")
    return component.kwargs.get("unit") if is_setting else None


def _line(node: yaml.Node | None, place: Place) -> int:
    """Line of the deepest part of a place that is in the file."""
    line = 1
    for step in place:
        children: list[tuple[Any, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(key.value, key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(i, value, value) for i, value in enumerate(node.value)]
        found = [
            (key, value) for name, key, value in children if name == step or name == f"{step}".rstrip("_")
        ]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def _find(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def build_laboratory(record: Simulated, clock: Clock, *, base_port: int = 0) -> Any:
    """Make the simulated laboratory of a station; the product knows it by name only.

    Parameters
    ----------
    record : Simulated
        The section `simulated` of a station file.
    clock : Clock
        Its time moves the laboratory.
    base_port : int
        First TCP port of its instruments; 0 takes free ones.

    Raises
    ------
    StationError
        If it can't be made of what the file says.
    """
    try:
        return _find(_LABORATORY)(clock, **record.model_dump(by_alias=True), base_port=base_port)
    except (TypeError, ValueError, KeyError, AttributeError, ModuleNotFoundError) as error:
        raise StationError(f"the simulated laboratory can't be built: {error}") from error


def build_devices(
    station: Station, common: Mapping[str, Any], linked: Mapping[str, Any], addresses: Mapping[str, str]
) -> dict[str, Any]:
    """Make the devices of a station, those that others are built on first; nothing is connected yet.

    Parameters
    ----------
    common : mapping
        Arguments that every device gets (the clock).
    linked : mapping
        Further arguments of devices with a link (the transcript).
    addresses : mapping
        Where the simulated instruments listen, by device name.

    Raises
    ------
    StationError
        If a device can't be made of what the file says.
    """
    devices: dict[str, Any] = {}
    mistakes = []
    for name in _building_order({name: record.uses for name, record in station.devices.items()}):
        record = station.devices[name]
        if not devices.keys() >= set(record.uses.values()):
            continue  # what is wrong with its parts is told
        try:
            devices[name] = _build(name, record, devices, common, linked, addresses)
        except (TypeError, ValueError, KeyError) as error:
            mistakes.append(f"  devices.{name}: {record.class_}: {error}")
    if mistakes:
        raise StationError(f"station {station.name} can't be built:\n" + "\n".join(mistakes))
    return {name: devices[name] for name in station.devices}


def _building_order(uses: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Sort devices so that each comes after its parts."""
    try:
        return list(
            TopologicalSorter({name: set(parts.values()) for name, parts in uses.items()}).static_order()
        )
    except CycleError as error:
        raise StationError(f"built on each other in a circle: {' -> '.join(error.args[1])}") from None


def _build(
    name: str,
    record: DeviceRecord,
    devices: Mapping[str, Any],
    common: Mapping[str, Any],
    linked: Mapping[str, Any],
    addresses: Mapping[str, str],
) -> Any:
    cls = _find(record.class_)
    arguments = {**common, **record.options, **{role: devices[other] for role, other in record.uses.items()}}
    if record.address is not None:
        address = record.address
        if address == _SIMULATED_ADDRESS:
            if name not in addresses:
                raise ValueError(f"no simulated instrument of this name; there are {', '.join(addresses)}")
            address = addresses[name]
        arguments |= {"address": address, **linked}
    if record.limits:
        arguments["limits"] = {
            signal: tuple(
                parse(edge, str(_unit_of_setting(cls, signal)), name=f"{name}.{signal}")
                for edge in (limits.low, limits.high)
            )
            for signal, limits in record.limits.items()
        }
    return cls(name=name, **arguments)


class DeviceBook(Mapping[str, Any]):
    """Devices by name, as items and as attributes; `of` finds the one of a family."""

    def __init__(self, devices: Mapping[str, Any]) -> None:
        self._devices = dict(devices)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._devices[name]
        except KeyError:
            raise BadInput(f"no device {name!r}; there are {', '.join(self._devices)}") from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._devices[name]
        except KeyError:
            raise AttributeError(f"no device {name!r}; there are {', '.join(self._devices)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._devices]

    def of(self, *families: type, among: Collection[str] = ()) -> Any:
        """Give the device of a family: the only one `among` some, or of the station if none are named.

        Raises
        ------
        BadInput
            If there is none of it, or several, so that one must be named.
        """
        found = self._of(families, among or self._devices)
        if len(found) == 1:
            return self._devices[found[0]]
        kind = " or ".join(getattr(family, "family", family.__name__) for family in families)
        if found:
            has = f"the station has several ({', '.join(found)}): name one, or add it to the sample's devices"
        elif among:
            # What it is not at must not be moved: another sample may be there.
            has = f"the sample is at {', '.join(among)} only: add one to its devices, or name one"
        else:
            has = "the station has none: add one to the station file"
        raise BadInput(f"the plan needs a {kind}, and {has}")

    def perhaps_of(self, *families: type, among: Collection[str]) -> Any:
        """Give the only device of a family `among` some; None if there is none.

        Raises
        ------
        BadInput
            If there are several.
        """
        return self.of(*families, among=among) if self._of(families, among) else None

    def rig(
        self, families: Mapping[str, tuple[type, ...]], optional: Mapping[str, tuple[type, ...]], sample: Any
    ) -> dict[str, Any]:
        """Give a plan its devices by role: those that it must have, and those that its sample may be at.

        Raises
        ------
        BadInput
            If one can't be told.
        """
        among = sample.devices if sample is not None else ()
        found = {role: self.of(*kinds, among=among) for role, kinds in families.items()}
        return found | {role: self.perhaps_of(*kinds, among=among) for role, kinds in optional.items()}

    def _of(self, families: tuple[type, ...], among: Collection[str]) -> list[str]:
        return [name for name in among if isinstance(self._devices[name], families)]
