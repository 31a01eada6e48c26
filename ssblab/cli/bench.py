"""Commands on the devices of a station, real or simulated."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssblab.cli.options import DataOption, JsonOption, StationOption, TimeOption
from ssblab.cli.output import Output, table
from ssblab.quantities import BadInput

if TYPE_CHECKING:
    from ssblab.session import Session
    from ssblab.station import Simulated, Station

__all__ = ["check", "devices", "instruments", "sim"]

_DEFAULT_SPEED = "x1"


def devices(station: StationOption = "sim") -> None:
    """List the devices of a station file; connects nothing."""
    from ssblab.cli.arguments import device_class
    from ssblab.station import load_station

    rows = (
        (name, device_class(record.class_).family, record.class_, record.address or _parts(record.uses))
        for name, record in load_station(station).devices.items()
    )
    Output().show(table(("device", "family", "class", "address"), rows))


def instruments(
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the page docs/instruments.md.")] = False,
) -> None:
    """List the instruments that there are drivers for."""
    from devices.catalogue import find_drivers, instruments_page

    if markdown:
        typer.echo(instruments_page(), nl=False)
        return
    rows = (
        (cls.family, f"{cls.about.maker} {cls.about.models}", f"{cls.__module__}.{cls.__name__}")
        for cls in find_drivers()
    )
    Output().show(table(("family", "instrument", "class"), rows))


def _parts(uses: Mapping[str, str]) -> str:
    return f"(on {', '.join(dict.fromkeys(uses.values()))})" if uses else ""


# --------------------------------------------------------------------------------------------------- check


def check(
    station: StationOption = "sim",
    data: DataOption = None,
    time: TimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Connect each device of a station and read it once; exit code 1 if one does not come up."""
    output = Output()
    with output.reserved(), _unconnected(station, data, time) as session:
        problems = session.connections()
        found = [_checked(session, name, problems[name]) for name in session.devices]
        details = [_details(session.devices[name]) for name in session.devices]
    if as_json:
        output.json({"devices": found})
    else:
        rows = (
            (d["name"], d["family"], d["identity"] or d["model"], _outcome(d), *detail)
            for d, detail in zip(found, details, strict=True)
        )
        output.show(table(("device", "family", "identity", "answers", "state", "limits"), rows))
    raise typer.Exit(0 if all(d["ok"] for d in found) else 1)


def _unconnected(station: str, data: Path | None, time: str | None) -> Session:
    """Make a session whose devices are not connected yet, so that each can be asked for itself."""
    from ssblab.catalog import data_folder
    from ssblab.clock import make_clock
    from ssblab.session import Session
    from ssblab.station import StationError, load_station

    record = load_station(station)
    kind = time or record.time
    if kind != "wall" and not record.is_simulated:
        raise StationError(f"station {record.name} is real: its time is wall time, not {kind!r}")
    return Session(record, data_folder(data or record.data.folder), make_clock(kind))


def _checked(session: Session, name: str, problem: str) -> dict[str, Any]:
    device = session.devices[name]
    round_trip_s = None
    if not problem:
        begin = session.clock.monotonic()
        try:
            session.clock.submit(name, device.poll).result(device.action_timeout_s)
            round_trip_s = session.clock.monotonic() - begin
        except Exception as error:
            problem = str(error) or type(error).__name__
    identity = getattr(device, "identity", None)
    return {
        "name": name,
        "family": device.family,
        "model": getattr(device, "model", ""),
        "identity": str(identity) if identity is not None else "",
        "ok": not problem,
        "message": problem,
        "round_trip_s": round_trip_s,
    }


def _outcome(found: Mapping[str, Any]) -> str:
    return f"ok, {1000 * found['round_trip_s']:.0f} ms" if found["ok"] else found["message"]


def _details(device: Any) -> tuple[str, str]:
    return "; ".join(_state(device)), "; ".join(_limits(device))


def _state(device: Any) -> Iterator[str]:
    for name in ("state", "quality"):
        if name in device.component_names and (word := getattr(device, name).get()):
            yield f"{name} {word}"
    if tripped := getattr(device, "tripped", ""):
        yield f"tripped: {tripped}"


def _limits(device: Any) -> Iterator[str]:
    from devices.signals import Setting

    for name in device.component_names:
        component = getattr(device, name)
        if isinstance(component, Setting) and any(math.isfinite(limit) for limit in component.limits):
            low, high = component.limits
            yield f"{name} {low:g} to {high:g} {component.unit}"


# ----------------------------------------------------------------------------------------------------- sim


def sim(
    station: StationOption = "sim",
    time: TimeOption = _DEFAULT_SPEED,
    port: Annotated[int, typer.Option("--port", metavar="BASE", help="First TCP port; 0: free ones.")] = 0,
    sample: Annotated[
        str | None, typer.Option("--sample", help="The sample to mount; default: the first of the station.")
    ] = None,
    write_station: Annotated[
        Path | None, typer.Option("--write-station", metavar="FILE", help="A station file to write.")
    ] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Show things, samples and connections instead.")
    ] = False,
) -> None:
    """Serve a simulated laboratory on loopback ports until Ctrl-C."""
    from ssblab.clock import make_clock
    from ssblab.station import build_laboratory, load_station

    record = load_station(station)
    if record.simulated is None:
        raise BadInput(f"station {record.name} has no section `simulated`: there is nothing to serve")
    if describe:
        _describe(record.simulated)
        return
    if time == "virtual":
        raise BadInput("a served laboratory runs in wall time: give --time wall or a factor such as x10")
    mounted = _sample(record, sample)
    ended = _end_signals()
    clock = make_clock(time or _DEFAULT_SPEED)
    clock.start()
    try:
        laboratory = build_laboratory(record.simulated, clock, base_port=port)
        if mounted is not None:
            laboratory.mount(mounted)
        if write_station is not None:
            write_station.write_text(_served_station(record, laboratory.addresses), encoding="utf-8")
        _show_addresses(record, laboratory.addresses)
        while not ended.wait(0.2):  # in slices, so that Ctrl-C is seen on every system
            pass
        laboratory.close()
    finally:
        clock.close()


def _describe(record: Simulated) -> None:
    from ssblab.clock import VirtualClock
    from ssblab.station import build_laboratory

    clock = VirtualClock()
    try:
        laboratory = build_laboratory(record, clock)
        headings = ("kind", "name", "class", "connected to", "options")
        Output().show(table(headings, laboratory.describe()), f"Seed {record.seed}.")
        laboratory.close()
    finally:
        clock.close()


def _sample(record: Station, name: str | None) -> dict[str, Any] | None:
    if name is not None and name not in record.samples:
        raise BadInput(f"no sample {name!r}: station {record.name} has {', '.join(record.samples)}")
    chosen = name or next(iter(record.samples), None)
    return record.samples[chosen].model_dump() if chosen is not None else None


def _end_signals() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


def _show_addresses(record: Station, addresses: Mapping[str, str]) -> None:
    from ssblab.cli.arguments import device_class

    rows = (
        (name, device_class(record.devices[name].class_).model, address)
        for name, address in addresses.items()
        if name in record.devices
    )
    Output().show(table(("device", "model", "address"), rows), "Serving until Ctrl-C.")


def _served_station(record: Station, addresses: Mapping[str, str]) -> str:
    """Write the station as another process sees it: real addresses, wall time, nothing simulated."""
    import yaml

    content = record.model_dump(mode="json", by_alias=True, exclude_unset=True)
    del content["simulated"]
    content["time"] = "wall"
    for name, address in addresses.items():
        if name in content["devices"]:
            content["devices"][name]["address"] = address
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
