from __future__ import annotations

import pytest

from sim_devices.wire import Wires
from ssblab.clock import VirtualClock


@pytest.fixture
def clock():
    clock = VirtualClock(epoch=1_700_000_000)
    yield clock
    clock.close()


@pytest.fixture
def wires(clock):
    """Loopback wires for simulated instruments on the virtual clock."""
    wires = Wires(clock)
    yield wires
    wires.close()
