import math
import struct
import threading

import minimalmodbus
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from devices.michell import (
    MichellOptidew,
    celsius,
    decode_readings,
    decode_state,
    vapour_pressure_Pa,
)
from devices.vaisala import VaisalaDewPoint
from sim_devices.instruments.michell import SimulatedOptidew
from sim_devices.instruments.vaisala import SimulatedVaisala
from sim_devices.modbus import ModbusInstrument, float_words
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, WrongInstrument
from ssblab.links.modbus import decode_registers, decode_rtu, encode_rtu

ICE_AT_MINUS_40_C_Pa = 12.84  # Murphy and Koop 2005, table C1
PPM_AT_1_ATM = 1e6 * ICE_AT_MINUS_40_C_Pa / (101325 - ICE_AT_MINUS_40_C_Pa)


class Gas:
    """Gas of a dry room."""

    frost_point_C = -40.0

    def dew_point_C(self):
        return self.frost_point_C

    def temperature_C(self):
        return 23.5


@pytest.fixture
def gas():
    return Gas()


@pytest.fixture(params=["rtu", "tcp"])
def framing(request):
    return request.param


@pytest.fixture
def simulated(clock, gas, framing):
    return SimulatedOptidew(clock, gas, framing=framing, dcc_s=0)


@pytest.fixture
def address(wires, simulated):
    return wires.listen(simulated)


@pytest.fixture
def meter(clock, address, framing):
    meter = MichellOptidew(name="dew", address=address, clock=clock, framing=framing)
    meter.connect()
    yield meter
    meter.link.close()


def state(mode=8, control=1, first=0, second=0):
    return decode_state([mode, 0, 0, 0, control, first, second])


def test_numbers_come_high_word_first():
    words = [0] * 20
    words[0:2] = 0xC2F6, 0xE666
    assert decode_readings(words).dew_point == pytest.approx(-123.45)


def test_fahrenheit_is_converted_and_another_unit_refused():
    assert celsius(-40.0, 1) == pytest.approx(-40.0)
    assert celsius(212.0, 1) == pytest.approx(100.0)
    with pytest.raises(ProtocolError, match="temperature unit 2"):
        celsius(0.0, 2)


@pytest.mark.parametrize(
    ("facts", "quality"),
    [
        ({}, "ok"),
        ({"mode": 6, "control": 2}, "invalid"),
        ({"mode": 7}, "invalid"),
        ({"mode": 9, "control": 0}, "invalid"),
        ({"mode": 10}, "invalid"),
        ({"control": 3}, "invalid"),
        ({"control": 3, "first": 256}, "saturated"),
        ({"control": 2, "first": 128}, "saturated"),
        ({"first": 256 | 16}, "invalid"),
        ({"second": 512}, "invalid"),
    ],
)
def test_only_a_controlled_mirror_has_a_reading(facts, quality):
    assert state(**facts).quality == quality


def test_faults_are_named():
    assert state(first=1 | 32, second=512 | 1 << 15).faults == (
        "optics search fail",
        "mirror overheat",
        "contaminated",
        "fault 32768",
    )


@pytest.mark.parametrize(
    ("dew_point_C", "pressure_Pa"), [(-60.0, 1.0813), (-40.0, 12.84), (0.0, 611.2), (20.0, 2339.0)]
)
def test_vapour_pressure_of_the_tables(dew_point_C, pressure_Pa):
    """Murphy and Koop 2005, table C1; steam tables at 20 degC."""
    assert vapour_pressure_Pa(dew_point_C) == pytest.approx(pressure_Pa, rel=0.01)


@given(st.binary(max_size=60))
def test_any_bytes_are_readings_or_a_protocol_error(data):
    for count, decode in ((20, decode_readings), (7, decode_state)):
        try:
            decode(decode_registers(data, 3, count))
        except ProtocolError:
            pass


@given(*[st.floats(-100, 1e5, width=32)] * 4)
def test_readings_round_trip(dew_point, temperature, water, vapour):
    words = [0] * 20
    for position, value in ((0, dew_point), (2, temperature), (8, water), (18, vapour)):
        words[position : position + 2] = float_words(value, low_first=False)
    readings = decode_readings(words)
    assert (readings.dew_point, readings.temperature) == (dew_point, temperature)
    assert (readings.water_ppm, readings.vapour_Pa) == (water, vapour)


def test_connect_identifies_and_reads(meter):
    assert str(meter.identity) == "Michell Optidew (serial 144321, firmware 105)"
    assert meter.dew_point.get() == pytest.approx(-40.0)
    assert meter.temperature.get() == pytest.approx(23.5)
    assert meter.water_fraction.get() == pytest.approx(PPM_AT_1_ATM, rel=2e-3)
    assert (meter.quality.get(), meter.operating_mode.get()) == ("ok", "measure, in control")


def test_both_makes_of_the_family_say_the_same_of_one_gas(clock, wires, gas, meter):
    vaisala = VaisalaDewPoint(name="v", address=wires.listen(SimulatedVaisala(clock, gas)), clock=clock)
    vaisala.connect()
    gas.frost_point_C = -33.25
    for quantity in ("dew_point", "temperature", "water_fraction"):
        for device in (vaisala, meter):
            device.trigger().wait()
        assert getattr(meter, quantity).get() == pytest.approx(getattr(vaisala, quantity).get(), rel=1e-4)
    vaisala.link.close()


def test_every_number_has_a_unit_and_a_time(meter, clock):
    clock.sleep(100)
    meter.trigger().wait()
    for name, reading in meter.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
    assert meter.describe()["dew_dew_point"]["units"] == "degC"
    assert meter.hints == {"fields": ["dew_dew_point"]}


def test_an_instrument_that_shows_fahrenheit_is_read_in_celsius(meter, simulated):
    simulated.write_registers(100, [1])
    meter.trigger().wait()
    assert meter.dew_point.get() == pytest.approx(-40.0)
    assert meter.temperature.get() == pytest.approx(23.5)


def test_the_cleaning_cycle_after_power_up_gives_no_reading(clock, wires, gas, framing):
    simulated = SimulatedOptidew(clock, gas, framing=framing, dcc_s=100)
    meter = MichellOptidew(name="dew", address=wires.listen(simulated), clock=clock, framing=framing)
    meter.connect()
    assert (meter.quality.get(), meter.operating_mode.get()) == ("invalid", "DCC, heating")
    assert math.isnan(meter.dew_point.get())
    clock.sleep(100)
    meter.trigger().wait()
    assert (meter.quality.get(), meter.dew_point.get()) == ("ok", pytest.approx(-40.0))
    meter.link.close()


def test_power_is_lost_and_comes_back(clock, meter, simulated):
    simulated._dcc_s = 50.0
    simulated.power_cycle()
    meter.trigger().wait()
    assert (meter.quality.get(), math.isnan(meter.dew_point.get())) == ("invalid", True)
    clock.sleep(50.0)
    meter.trigger().wait()
    assert meter.dew_point.get() == pytest.approx(-40.0)


def test_a_busy_instrument_is_told_and_works_again(meter, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"dew at TCPIP.*exception 6 \(device busy\)"):
        meter.trigger().wait()
    simulated.mend()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_a_fault_is_told_by_its_name(meter, simulated):
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"dew at TCPIP.*reports optics search fail"):
        meter.trigger().wait()
    assert (meter.quality.get(), math.isnan(meter.dew_point.get())) == ("invalid", True)
    simulated.mend()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


@pytest.mark.parametrize("dew_point_C", [-70.0, 95.0])
def test_a_dew_point_beyond_the_range_is_saturated(meter, simulated, gas, dew_point_C):
    gas.frost_point_C = dew_point_C
    meter.trigger().wait()
    assert (meter.quality.get(), math.isnan(meter.dew_point.get())) == ("saturated", True)
    assert math.isnan(meter.water_fraction.get())
    gas.frost_point_C = -40.0
    simulated.break_down("over_range")
    meter.trigger().wait()
    assert meter.quality.get() == "saturated"
    simulated.mend()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_without_its_ambient_sensor_there_is_no_temperature(meter, simulated):
    simulated.fault_2 = 1
    with pytest.raises(InstrumentError, match="reports ambient Pt100 open"):
        meter.trigger().wait()
    assert math.isnan(meter.temperature.get())


class OtherMap(ModbusInstrument):
    def power_on(self):
        pass

    def read_holding_register(self, address):
        return 99


class NoMap(ModbusInstrument):
    def power_on(self):
        pass


@pytest.mark.parametrize(
    ("kind", "found"), [(NoMap, "another register map: exception 1"), (OtherMap, "operating mode 99")]
)
def test_another_instrument_at_the_address_is_refused(clock, wires, kind, found):
    address = wires.listen(kind(clock, unit=1, framing="rtu"))
    meter = MichellOptidew(name="dew", address=address, clock=clock)
    with pytest.raises(WrongInstrument, match=rf"{found}.*not Michell Optidew.*station file"):
        meter.connect()


def test_an_address_register_that_says_otherwise_is_refused(clock, wires, gas):
    simulated = SimulatedOptidew(clock, gas, dcc_s=0)
    measure = simulated._measure
    simulated._measure = lambda: measure() | {0: 7}
    meter = MichellOptidew(name="dew", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="register 0 holds 7, not its address 1"):
        meter.connect()


def test_another_unit_does_not_answer(clock, wires, gas):
    simulated = SimulatedOptidew(clock, gas, unit=2)
    meter = MichellOptidew(name="dew", address=wires.listen(simulated), clock=clock)
    with pytest.raises(LinkTimeout, match=r"dew at TCPIP.*no reply"):
        meter.connect()


def test_words_in_another_order_are_found_out_on_connect(clock, wires, gas, monkeypatch):
    monkeypatch.setattr(
        "sim_devices.instruments.michell.float_words",
        lambda value, low_first: float_words(value, low_first=True),
    )
    simulated = SimulatedOptidew(clock, gas, dcc_s=0)
    meter = MichellOptidew(name="dew", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match=r"an instrument with dew point .* Pa of water"):
        meter.connect()
    assert meter.quality.get() == "invalid"
    meter.link.close()


# Modbus TCP has no checksum of its own and relies on that of TCP.
VISIBLE_FAULTS = [("rtu", fault) for fault in FAULTS] + [
    ("tcp", fault) for fault in FAULTS if fault != "corrupt"
]


@pytest.mark.parametrize(("framing", "fault"), VISIBLE_FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(meter, simulated, gas, fault):
    gas.frost_point_C = -51.25
    for _ in range(4):
        simulated.break_wire(fault)
        meter.trigger().wait()
        assert meter.dew_point.get() == pytest.approx(-51.25)


@pytest.mark.parametrize(("framing", "fault"), [pair for pair in VISIBLE_FAULTS if pair[1] != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(meter, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"dew at TCPIP.*; check"):
        meter.trigger().wait()


def test_safe_state_changes_nothing(meter):
    meter.make_safe()
    meter.make_safe()
    assert meter.dew_point.get() == pytest.approx(-40.0)


@pytest.fixture
def client(gas):
    """A public Modbus client before the simulated instrument on a wall clock."""
    clock = WallClock(speed=20.0)
    wires = Wires(clock)
    port = wires.listen(SimulatedOptidew(clock, gas, dcc_s=0)).split("::")[2]
    with serial.serial_for_url(f"socket://127.0.0.1:{port}", timeout=5) as line:
        yield minimalmodbus.Instrument(line, 1)
    clock.close()
    for thread in threading.enumerate():
        if thread.name == "ssblab-simulated-wires":
            thread.join(5)
    wires.close()


def test_a_public_client_reads_the_whole_map(client):
    numbers = struct.unpack(">10f", struct.pack(">20H", *client.read_registers(6, 20)))
    assert numbers[:3] == pytest.approx((-40.0, 23.5, 101.325))
    assert numbers[4] == pytest.approx(PPM_AT_1_ATM, rel=2e-3)
    assert numbers[5] == pytest.approx(PPM_AT_1_ATM * 18.015 / 28.964, rel=2e-3)
    assert numbers[6] == pytest.approx(1000 * 12.84 / (461.5 * 296.65), rel=2e-3)
    assert numbers[7] == pytest.approx(1e-3 * PPM_AT_1_ATM * 0.622, rel=2e-3)
    assert 5.0 < numbers[8] < 9.0  # psychrometric chart: 23.5 degC and nearly dry
    assert numbers[9] == pytest.approx(ICE_AT_MINUS_40_C_Pa, rel=2e-3)
    assert client.read_float(6) == pytest.approx(-40.0)
    assert client.read_long(2) == 144321
    assert client.read_registers(33, 8) == [8, 0, 0, 0, 1, 0, 0, 0]
    client.write_register(100, 1, functioncode=6)
    client.write_registers(101, [1])
    assert client.read_float(8) == pytest.approx(32 + 1.8 * 23.5)
    assert client.read_float(10) == pytest.approx(14.696, rel=1e-3)
    assert client.read_registers(30, 2) == [1, 1]


def test_a_public_client_is_told_by_exceptions(client):
    client.serial.timeout = 2.0  # it waits as long for the rest of what it takes for a short reply
    with pytest.raises(minimalmodbus.IllegalRequestError):
        client.read_register(1)
    with pytest.raises(minimalmodbus.ModbusException):
        client.write_register(100, 2, functioncode=6)


@pytest.mark.parametrize(
    ("request_pdu", "exception"),
    [
        ("03 0001 0001", 2),
        ("03 0019 0002", 2),  # 25 is the last of the block
        ("03 0020 0001", 2),
        ("03 0029 0001", 2),
        ("03 012C 0001", 2),
        ("04 0006 0002", 1),
        ("01 0000 0001", 1),
        ("06 0021 0008", 2),
        ("06 0064 0002", 3),
        ("06 0000 00F8", 3),
        ("10 0064 0002 04 0001 0001", 2),
        ("2B 0E 01 00", 1),
    ],
)
def test_what_the_instrument_does_not_do_is_an_exception(clock, gas, request_pdu, exception):
    simulated = SimulatedOptidew(clock, gas)
    pdu = bytes.fromhex(request_pdu)
    (reply,) = simulated.receive(bytearray(encode_rtu(1, pdu)))
    assert decode_rtu(reply, 1) == bytes([pdu[0] | 0x80, exception])


def test_a_new_modbus_address_holds_from_then_on(clock, gas):
    simulated = SimulatedOptidew(clock, gas)
    list(simulated.receive(bytearray(encode_rtu(1, bytes.fromhex("06 0000 0005")))))
    assert list(simulated.receive(bytearray(encode_rtu(1, bytes.fromhex("03 0000 0001"))))) == [b""]
    (reply,) = simulated.receive(bytearray(encode_rtu(5, bytes.fromhex("03 0000 0001"))))
    assert decode_rtu(reply, 5).hex() == "03020005"


@pytest.mark.parametrize(
    ("register", "value", "problem"), [(33, 11, "operating mode 11"), (30, 2, "temperature unit 2")]
)
def test_a_state_or_unit_that_the_manual_does_not_know_is_an_error(
    meter, simulated, register, value, problem
):
    measure = simulated._measure
    simulated._measure = lambda: measure() | {register: value}
    with pytest.raises(InstrumentError, match=rf"dew at TCPIP.*{problem}"):
        meter.trigger().wait()
    assert meter.quality.get() == "invalid"


def test_a_busy_instrument_is_not_taken_for_another_one(clock, wires, gas):
    simulated = SimulatedOptidew(clock, gas)
    simulated.break_down("busy")
    meter = MichellOptidew(name="dew", address=wires.listen(simulated), clock=clock)
    with pytest.raises(InstrumentError, match="device busy"):
        meter.connect()
