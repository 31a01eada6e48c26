from __future__ import annotations

import functools
import os
import threading

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads of two workers slow each other

import pytest
from bluesky import RunEngine

from devices.instrument import Instrument
from sim_devices.wire import Wires
from ssblab.clock import VirtualClock
from ssblab.station import build_devices, build_laboratory, load_station

pytest_plugins = ["tests.ground_truth_table"]


station = functools.cache(load_station)  # a tenth of a second for the shelf, once for each of its devices


@pytest.fixture
def clock():
    clock = VirtualClock(epoch=1_700_000_000)
    yield clock
    clock.close()


@pytest.fixture
def pass_time(clock):
    """Let laboratory time pass, with everything that is due in it."""

    def pass_(duration_s):
        over = threading.Event()
        clock.call_later(duration_s, over.set)
        assert clock.wait(over, duration_s + 1.0)

    return pass_


@pytest.fixture
def wires(clock):
    """Loopback wires for simulated instruments on the virtual clock."""
    wires = Wires(clock)
    yield wires
    wires.close()


@pytest.fixture
def lab(clock):
    """The simulated laboratory of the station `sim`, with a seed of its own."""
    lab = build_laboratory(station("sim").simulated, clock)
    yield lab
    lab.close()


@pytest.fixture
def devices(clock, lab):
    """All devices of the station `sim` on the simulated laboratory, connected; by name."""
    devices = build_devices(station("sim"), {"clock": clock}, {}, lab.addresses)
    for device in devices.values():
        device.connect()
    yield devices
    for device in devices.values():
        if isinstance(device, Instrument):
            device.link.close()


@pytest.fixture
def put_on_shelf(clock):
    """Connect a device of the station `shelf` in a laboratory with that device alone and what it is built of.

    Gives the laboratory and the devices by name.
    """
    shelf = station("shelf")
    opened = []

    def with_parts(name):
        return {name}.union(*(with_parts(part) for part in shelf.devices[name].uses.values()))

    def put(name):
        names = with_parts(name)
        whole = shelf.simulated
        instruments = {part: record for part, record in whole.instruments.items() if part in names}
        used = set()
        for record in instruments.values():
            used.update([record.connected] if isinstance(record.connected, str) else record.connected)
        things = {thing: record for thing, record in whole.things.items() if thing in used}
        lab = build_laboratory(
            whole.model_copy(update={"things": things, "instruments": instruments, "samples": {}}), clock
        )
        opened.append(lab.close)
        records = {part: record for part, record in shelf.devices.items() if part in names}
        part_of_station = shelf.model_copy(update={"devices": records})
        devices = build_devices(part_of_station, {"clock": clock}, {}, lab.addresses)
        opened.extend(device.link.close for device in devices.values() if isinstance(device, Instrument))
        for part in [*(part for part in devices if part != name), name]:
            devices[part].connect()
        return lab, devices

    yield put
    for close in reversed(opened):
        close()


@pytest.fixture
def RE(clock):
    """A RunEngine on the virtual clock, with nothing else."""
    RE = RunEngine(loop=clock.loop, context_managers=[])

    def follow(new, old):
        if new == "running":
            clock.resume()
        elif old == "running":
            clock.hold()

    RE.state_hook = follow
    return RE
