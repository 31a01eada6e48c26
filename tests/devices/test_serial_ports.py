"""Every serial instrument of the station, through a pseudo-terminal instead of TCP."""

import os

import pytest

from devices.instrument import Instrument
from ssblab.station import build_devices, load_station

SERIAL = ("dew_point", "h2s", "mfc", "furnace", "gauge", "potentiostat")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="the system has no pseudo-terminals")
@pytest.mark.parametrize("name", SERIAL)
def test_a_serial_instrument_answers_on_a_pty(clock, lab, wires, name):
    address = wires.attach_pty(lab.instruments[name])
    assert address.startswith("ASRL")
    devices = build_devices(load_station("sim"), {"clock": clock}, {}, {**lab.addresses, name: address})
    device = devices[name]
    assert isinstance(device, Instrument)
    device.connect()
    device.trigger().wait()
    assert device.quality.get() in ("ok", "saturated")
    device.link.close()
