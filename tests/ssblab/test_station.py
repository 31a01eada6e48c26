from __future__ import annotations

import pytest
import yaml

from ssblab.clock import VirtualClock
from ssblab.station import StationError, build_devices, build_laboratory, load_station, stations

GOOD = """\
name: bench
devices:
  dew_point:
    class: devices.vaisala.VaisalaDewPoint
    address: TCPIP::192.168.1.20::502::SOCKET
  relays:
    class: devices.moxa.MoxaE1214
    address: TCPIP::192.168.1.21::502::SOCKET
    options:
      relays: {dehumidifier_1: 0, dehumidifier_2: 1, bleed_valve: 2}
  box:
    class: devices.humidity_box.HumidityBox
    uses: {transmitter: dew_point, relays: relays}
    limits:
      dew_point_setpoint: {low: -40 degC, high: -15 degC}
samples:
  pellet-1:
    formula: Li6PS5Cl
    mass_g: 0.2
    thickness_mm: 1.0
    diameter_mm: 11.3
    pressure_MPa: 50
safe_state: [box]
interlocks:
  - {device: dew_point, period: 5 s}
"""


@pytest.fixture
def load(tmp_path):
    def load_(text, encoding="utf-8"):
        path = tmp_path / "bench.yml"
        path.write_bytes(text.encode(encoding))
        return load_station(path)

    return load_


@pytest.fixture
def mistakes(load):
    """Lines of the message about a text that is wrong, without the first, which names the file."""

    def mistakes_(text):
        with pytest.raises(StationError) as caught:
            load(text)
        first, *lines = str(caught.value).splitlines()
        assert "bench.yml" in first
        assert f"{len(lines)} mistake" in first
        return [line.strip() for line in lines]

    return mistakes_


def line_of(text, part):
    return 1 + text[: text.index(part)].count("\n")


@pytest.mark.parametrize("name", stations())
def test_every_packaged_station_loads_and_builds(name):
    station = load_station(name)
    clock = VirtualClock()
    laboratory = None
    addresses = {}
    if station.simulated is not None:
        laboratory = build_laboratory(station.simulated, clock)
        addresses = laboratory.addresses
    devices = build_devices(station, {"clock": clock}, {"transcript": None}, addresses)
    assert list(devices) == list(station.devices)
    assert set(station.safe_state) <= set(devices)
    if laboratory is not None:
        laboratory.close()
    clock.close()


def test_a_good_file_becomes_devices_within_its_limits(load, clock):
    station = load(GOOD)
    assert station.time == "wall"
    assert station.samples["pellet-1"].name == "pellet-1"
    devices = build_devices(station, {"clock": clock}, {"transcript": None}, {})
    assert devices["box"].dew_point_setpoint.limits == (-40, -15)
    assert devices["dew_point"].link.address == "TCPIP::192.168.1.20::502::SOCKET"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(load, encoding):
    assert load(GOOD.replace("\n", "\r\n"), encoding).name == "bench"


def test_a_path_that_does_not_exist_names_the_stations_there_are(tmp_path):
    with pytest.raises(StationError, match=r"no station '.*nowhere.yml': give one of .*sim"):
        load_station(tmp_path / "nowhere.yml")
    with pytest.raises(StationError, match="no station"):
        load_station(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "a mapping with devices", id="empty"),
        pytest.param("- a\n- b\n", "a mapping with devices", id="list"),
        pytest.param("name: [a\n", "not readable as YAML", id="open bracket"),
        pytest.param("name: bench\n\tdevices: {}\n", "not readable as YAML", id="tab"),
        pytest.param("name: !!python/name:os.system\n", "not readable as YAML", id="python"),
        pytest.param(GOOD + "safe_state: []\n", "'safe_state' is there twice", id="key twice"),
        pytest.param(
            GOOD.replace("  relays:\n", "  dew_point:\n"), "'dew_point' is there twice", id="device twice"
        ),
        pytest.param("{[a]: b}: c\n", "not readable as YAML", id="odd keys"),
    ],
)
def test_what_is_no_station_is_refused(load, text, told):
    with pytest.raises(StationError, match=r"bench\.yml") as caught:
        load(text)
    assert told in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "bench.yml"
    path.write_bytes(b"name: \xff\xfe\x00")
    with pytest.raises(StationError, match="not readable as YAML"):
        load_station(path)


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("safe_state: [box]", "safe_state: [box]\nsafestate: [box]", "safestate", "Extra inputs"),
        ("    uses:", "    use: {}\n    uses:", "devices.box.use", "Extra inputs"),
        ("high: -15 degC}", "high: -15 degC, hihg: 1}", "devices.box.limits.dew_point_setpoint.hihg", ""),
        ("low: -40 degC", "low: -40 mL/min", "devices.box.limits.dew_point_setpoint", "low='-40 mL/min'"),
        ("low: -40 degC", "low: -40", "devices.box.limits.dew_point_setpoint.low", "string"),
        ("low: -40 degC", "low: -10 degC", "devices.box.limits.dew_point_setpoint", "high must be above low"),
        ("dew_point_setpoint:", "setpoint:", "devices.box.limits.setpoint", "has no setting 'setpoint'"),
        ("dew_point_setpoint:", "dew_point:", "devices.box.limits.dew_point", "has no setting 'dew_point'"),
        ("humidity_box.HumidityBox", "humidity_box.Box", "devices.box.class", "no such class"),
        ("humidity_box.HumidityBox", "humiditybox.HumidityBox", "devices.box.class", "no such class"),
        ("humidity_box.HumidityBox", "humidity_box.Relay", "devices.box.class", "no such class"),
        ("humidity_box.HumidityBox", "humidity_box.LinkError", "devices.box.class", "is no device"),
        ("humidity_box.HumidityBox", "families.relay_io.RelayIO", "devices.box.class", "is a family"),
        ("devices.humidity_box.HumidityBox", "os.system", "devices.box.class", "should match pattern"),
        ("devices.humidity_box.HumidityBox", "devices..x.Y", "devices.box.class", ""),
        ("transmitter: dew_point", "transmitter: dewpoint", "devices.box.uses.transmitter", "'dewpoint'"),
        ("safe_state: [box]", "safe_state: [box, oven]", "safe_state.1", "no device 'oven'"),
        ("safe_state: [box]", "safe_state: box", "safe_state", "list"),
        ("safe_state: [box]", "safe_state: [[box], {a: b}]", "safe_state.0", "string"),
        ("relays: relays}", "relays: [relays]}", "devices.box.uses.relays", "string"),
        ("{device: dew_point, period", "{device: [dew_point], period", "interlocks.0.device", "string"),
        ("    class: devices.humidity_box.HumidityBox\n", "", "devices.box.class", "Field required"),
        ("safe_state: [box]", "", "safe_state", "Field required"),
        ("{device: dew_point, period", "{device: gas, period", "interlocks.0.device", "no device 'gas'"),
        ("{device: dew_point, period: 5 s}", "dew_point", "interlocks.0", "Interlock"),
        ("period: 5 s", "period: 5 mL", "interlocks.0.period", "period='5 mL'"),
        ("period: 5 s", "period: 0.01 s", "interlocks.0.period", "not allowed"),
        ("name: bench", "name: bench\nenvironment: {devices: [gas]}", "environment.devices.0", "no device"),
        ("name: bench", "name: bench\nenvironment: {period: 1 mL}", "environment.period", "period='1 mL'"),
        ("name: bench", "name: bench\nenvironment: {period: 10 ms}", "environment.period", "not allowed"),
        ("name: bench", "name: bench\nenvironment: {device: box}", "environment.device", "Extra inputs"),
        ("name: bench", "name: bench\nenvironment: [box]", "environment", ""),
        ("  box:\n", "  Box:\n", "devices.Box", "lower-case letters"),
        ("name: bench", "name: a/b", "name", "should match pattern"),
        ("name: bench", "name: bench\ntime: soon", "time", "should match pattern"),
        ("name: bench", "name: bench\ntime: x0", "time", ""),
        ("    mass_g: 0.2\n", "", "samples.pellet-1.mass_g", "measured, never assumed"),
        ("mass_g: 0.2", "mass_g: -1", "samples.pellet-1.mass_g", "greater than 0"),
        ("mass_g: 0.2", "mass: 0.2", "samples.pellet-1.mass", "not a field of a sample"),
        ("Li6PS5Cl", "Lithium", "samples.pellet-1.formula", "write element symbols"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_line_and_place(mistakes, old, new, place, told):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = [line for line in mistakes(text) if f": {place}: " in line]
    assert len(found) >= 1
    assert told in found[0]


def test_lines_are_those_of_the_file_and_all_mistakes_come_at_once(mistakes):
    text = GOOD.replace("address: TCPIP::192.168.1.20::502::SOCKET", "addres: nowhere", 1)
    text = text.replace("low: -40 degC", "low: -40 K")
    text = text.replace("mass_g: 0.2", "mass_g: much").replace("[box]", "[bix]")
    found = mistakes(text)
    places = {line.split(": ")[1]: line.split(":")[0] for line in found}
    assert places == {
        "devices.dew_point.addres": f"line {line_of(text, 'addres:')}",
        "devices.box.limits.dew_point_setpoint": f"line {line_of(text, 'dew_point_setpoint')}",
        "samples.pellet-1.mass_g": f"line {line_of(text, 'mass_g')}",
        "safe_state.0": f"line {line_of(text, 'bix')}",
    }


PRESS = """\
  press:
    class: devices.press.Press
    uses: {actuator: ram, load_cell: cell}
  ram:
    class: devices.zaber.Zaber
    address: TCPIP::192.168.1.30::55550::SOCKET
  cell:
    class: devices.and_indicator.AndIndicator
    address: TCPIP::192.168.1.31::4001::SOCKET
samples:
"""


def test_an_output_that_no_step_of_the_safe_state_ends_is_refused(load, mistakes):
    text = GOOD.replace("samples:\n", PRESS)
    (found,) = [line for line in mistakes(text) if "devices.press" in line]
    assert found.startswith(f"line {line_of(text, '  press:')}: devices.press: ")
    assert found.endswith("add press to safe_state")
    assert [line.split(": ")[1] for line in mistakes(text)] == ["devices.press", "devices.ram"]
    load(text.replace("[box]", "[press, box]"))  # the ram is a part of it, and a load cell has no output
    places = [line.split(": ")[1] for line in mistakes(GOOD.replace("[box]", "[]"))]
    assert places == ["devices.relays", "devices.box"]  # and no transmitter


def test_a_device_that_could_act_on_one_that_is_safe_already_is_refused(load, mistakes):
    text = GOOD.replace("samples:\n", PRESS)
    (found,) = mistakes(text.replace("[box]", "[box, ram, press]"))
    assert "safe_state.1: press acts on ram, and could do so again: put press before it" in found
    load(text.replace("[box]", "[box, press, ram]"))


def test_devices_built_on_each_other_are_told(mistakes):
    text = GOOD.replace("    options:\n", "    uses: {back: box}\n    options:\n", 1)
    (found,) = mistakes(text)
    assert "in a circle" in found
    assert "relays" in found
    assert "box" in found


def test_a_device_that_cannot_be_made_of_its_record_is_told(load, clock):
    text = GOOD.replace("bleed_valve: 2", "bleed_valve: 9").replace(
        "    address: TCPIP::192.168.1.20::502::SOCKET\n", ""
    )
    with pytest.raises(StationError) as caught:
        build_devices(load(text), {"clock": clock}, {"transcript": None}, {})
    text = str(caught.value)
    assert "devices.dew_point: devices.vaisala.VaisalaDewPoint: " in text
    assert "address" in text
    assert "relay 'bleed_valve' must be 0 to 5, not 9" in text
    assert "devices.box" not in text  # its parts are told already


def test_a_simulated_address_without_a_simulated_instrument_is_told(load, clock):
    text = GOOD.replace("TCPIP::192.168.1.20::502::SOCKET", "sim")
    with pytest.raises(StationError, match=r"devices\.dew_point: .*no simulated instrument"):
        build_devices(load(text), {"clock": clock}, {"transcript": None}, {"other": "somewhere"})


def test_the_simulated_station_is_as_any_other_but_for_its_addresses():
    content = yaml.safe_load(stations()["sim"].read_text(encoding="utf-8"))
    assert {device.get("address", "sim") for device in content["devices"].values()} == {"sim"}
