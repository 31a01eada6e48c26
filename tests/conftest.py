from __future__ import annotations

import threading

import pytest

from devices.instrument import Instrument
from sim_devices.lab.moisture import MoistureLab
from sim_devices.wire import Wires
from ssblab.clock import VirtualClock
from ssblab.station import build_devices, load_station


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
    lab = MoistureLab(clock, seed=1, materials={"argyrodite-01": "argyrodite", "lps-lii-01": "li3ps4-lii"})
    yield lab
    lab.close()


@pytest.fixture
def devices(clock, lab):
    """All devices of the station `sim` on the simulated laboratory, connected; by name."""
    devices = build_devices(load_station("sim"), {"clock": clock}, {}, lab.addresses)
    for device in devices.values():
        device.connect()
    yield devices
    for device in devices.values():
        if isinstance(device, Instrument):
            device.link.close()
