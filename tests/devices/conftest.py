from __future__ import annotations

import pytest

from devices.instrument import Instrument
from ssblab.station import build_devices, find_simulation, load_station


@pytest.fixture
def put_on_shelf(clock):
    """Connect a device of the station `shelf` in a laboratory with that device alone and what it is built of.

    Gives the laboratory and the devices by name.
    """
    station = load_station("shelf")
    opened = []

    def with_parts(name):
        return {name}.union(*(with_parts(part) for part in station.devices[name].uses.values()))

    def put(name):
        names = with_parts(name)
        options = station.simulated.options
        instruments = {part: record for part, record in options["instruments"].items() if part in names}
        used = set()
        for record in instruments.values():
            connected = record.get("connected", [])
            used.update([connected] if isinstance(connected, str) else connected)
        things = {thing: record for thing, record in options["things"].items() if thing in used}
        lab = find_simulation(station.simulated)(
            clock, seed=station.simulated.seed, things=things, instruments=instruments
        )
        opened.append(lab.close)
        records = {part: record for part, record in station.devices.items() if part in names}
        part_of_station = station.model_copy(update={"devices": records})
        devices = build_devices(part_of_station, {"clock": clock}, {}, lab.addresses)
        opened.extend(device.link.close for device in devices.values() if isinstance(device, Instrument))
        for part in [*(part for part in devices if part != name), name]:
            devices[part].connect()
        return lab, devices

    yield put
    for close in reversed(opened):
        close()
