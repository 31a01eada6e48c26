import math
import threading

import minimalmodbus
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.vaisala import Readings, VaisalaDewPoint, decode_error_bits, decode_readings
from sim_devices.instruments.vaisala import SimulatedVaisala
from sim_devices.modbus import ModbusInstrument, float_words
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, WrongInstrument
from ssblab.links.modbus import decode_registers

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
    return SimulatedVaisala(clock, gas, framing=framing)


@pytest.fixture
def address(wires, simulated):
    return wires.listen(simulated)


@pytest.fixture
def meter(clock, address, framing):
    meter = VaisalaDewPoint(name="dew", address=address, clock=clock, framing=framing)
    meter.connect()
    yield meter
    meter.link.close()


def ask(simulated, request):
    return b"".join(simulated.receive(bytearray.fromhex(request)))


def test_the_simulation_answers_as_the_maker_prints(clock, gas):
    simulated = SimulatedVaisala(clock, gas)
    simulated._measure = lambda: {1: 30.56}
    assert ask(simulated, "F0 03 00 00 00 02 D1 2A").hex(" ") == "f0 03 04 7a e1 41 f4 62 05"
    assert ask(simulated, "F0 10 03 00 00 02 04 6E 14 44 75 4E AB").hex(" ") == "f0 10 03 00 00 02 54 ad"


def test_readings_are_decoded_low_word_first():
    words = [0x7AE1, 0x41F4, 0, 0, 0, 0, 0xE666, 0xC2F6, *[0] * 10, 0, 0x42FE]
    readings = decode_readings(words)
    assert readings == Readings(pytest.approx(30.56), pytest.approx(-123.45), 127.0)


def test_error_bits_of_both_words():
    assert decode_error_bits((0x4001, 0x8000)) == [0, 14, 31]


@given(st.binary(max_size=60))
def test_any_bytes_are_readings_or_a_protocol_error(data):
    try:
        readings = decode_readings(decode_registers(data, 3, 20))
    except ProtocolError:
        return
    assert isinstance(readings, Readings)


@given(st.floats(-80, 60), st.floats(-40, 100), st.floats(0, 1e5))
def test_readings_round_trip(dew_point, temperature, water):
    words = [0] * 20
    for position, value in ((0, temperature), (6, dew_point), (18, water)):
        words[position : position + 2] = float_words(value, low_first=True)
    readings = decode_readings(words)
    assert readings.temperature_C == pytest.approx(temperature, rel=1e-6, abs=1e-30)
    assert readings.dew_point_C == pytest.approx(dew_point, rel=1e-6, abs=1e-30)
    assert readings.water_ppm == pytest.approx(water, rel=1e-6, abs=1e-30)


def test_connect_identifies_and_reads(meter):
    assert str(meter.identity) == "Vaisala DMT143 (serial J1140501, firmware 1.4.2)"
    assert meter.dew_point.get() == pytest.approx(-40.0)
    assert meter.temperature.get() == pytest.approx(23.5)
    assert meter.water_fraction.get() == pytest.approx(PPM_AT_1_ATM, rel=2e-3)
    assert meter.quality.get() == "ok"


def test_every_number_has_a_unit_and_a_time(meter, clock):
    clock.sleep(100)
    meter.trigger().wait()
    for name, reading in meter.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
    described = meter.describe() | meter.describe_configuration()
    assert {n.removeprefix("dew_"): d["units"] for n, d in described.items() if "units" in d} == {
        "dew_point": "degC",
        "temperature": "degC",
        "water_fraction": "ppm",
        "pressure_setting": "kPa",
    }
    assert meter.hints == {"fields": ["dew_dew_point"]}


def test_a_failed_sensor_is_recorded_as_invalid(meter, simulated):
    simulated.sensor_failed = True
    meter.trigger().wait()
    assert math.isnan(meter.dew_point.get())
    assert meter.quality.get() == "invalid"
    simulated.sensor_failed = False
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_errors_of_the_instrument_are_told(meter, simulated):
    simulated.errors = 1 << 17 | 1 << 2
    with pytest.raises(InstrumentError, match="reports errors 2, 17"):
        meter.trigger().wait()
    assert meter.quality.get() == "invalid"


def test_gas_pressure_is_written_once_and_read_back(clock, address, framing, gas):
    for _ in range(2):
        meter = VaisalaDewPoint(
            name="dew", address=address, clock=clock, framing=framing, gas_pressure_kPa=202.65
        )
        meter.connect()
        meter.link.close()
        assert meter.pressure_setting.get() == pytest.approx(202.65)
        assert meter.water_fraction.get() == pytest.approx(PPM_AT_1_ATM / 2, rel=2e-3)


def test_a_pressure_that_the_instrument_ignores_is_told(clock, address, framing):
    meter = VaisalaDewPoint(name="dew", address=address, clock=clock, framing=framing, gas_pressure_kPa=2000)
    with pytest.raises(InstrumentError, match=r"holds a gas pressure of 101\.325 kPa, told 2000 kPa"):
        meter.connect()
    meter.link.close()


def test_a_pressure_outside_the_limits_is_refused_before_anything_is_written(clock, address, framing):
    meter = VaisalaDewPoint(name="dew", address=address, clock=clock, framing=framing, gas_pressure_kPa=6000)
    with pytest.raises(LimitError, match="dew_pressure_setting: 6000 kPa is not allowed"):
        meter.connect()
    meter.link.close()


class NoPlate(ModbusInstrument):
    """A Modbus unit of another kind."""

    def power_on(self):
        pass


class OtherMaker(ModbusInstrument):
    def power_on(self):
        pass

    def identification(self):
        return {0: b"Acme", 1: b"Box", 2: b"1"}


@pytest.mark.parametrize(("kind", "found"), [(NoPlate, "without name plate"), (OtherMaker, "Acme Box")])
def test_another_instrument_at_the_address_is_refused(clock, wires, kind, found):
    address = wires.listen(kind(clock, unit=240, framing="rtu"))
    meter = VaisalaDewPoint(name="dew", address=address, clock=clock)
    with pytest.raises(WrongInstrument, match=f"{found}.*not Vaisala DRYCAP.*station file"):
        meter.connect()


def test_another_unit_does_not_answer(clock, wires, gas):
    meter = VaisalaDewPoint(
        name="dew", address=wires.listen(SimulatedVaisala(clock, gas, unit=1)), clock=clock
    )
    with pytest.raises(LinkTimeout, match=r"dew at TCPIP.*no reply"):
        meter.connect()


def test_words_in_another_order_are_found_out_on_connect(clock, wires, gas, monkeypatch):
    monkeypatch.setattr(
        "sim_devices.instruments.vaisala.float_words",
        lambda value, low_first: float_words(value, low_first=False),
    )
    meter = VaisalaDewPoint(name="dew", address=wires.listen(SimulatedVaisala(clock, gas)), clock=clock)
    with pytest.raises(WrongInstrument, match="self-test register C2F6 E666, not E666 C2F6"):
        meter.connect()
    meter.link.close()


# Modbus TCP has no checksum of its own and relies on that of TCP.
VISIBLE_FAULTS = [("rtu", fault) for fault in FAULTS] + [
    ("tcp", fault) for fault in FAULTS if fault != "corrupt"
]


@pytest.mark.parametrize(("framing", "fault"), VISIBLE_FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(meter, simulated, gas, fault):
    gas.frost_point_C = -61.25
    for _ in range(4):
        simulated.break_wire(fault)
        meter.trigger().wait()
        assert meter.dew_point.get() == pytest.approx(-61.25)


@pytest.mark.parametrize(("framing", "fault"), VISIBLE_FAULTS)
def test_a_fault_while_connecting_is_survived_or_told(clock, address, simulated, framing, fault):
    meter = VaisalaDewPoint(name="dew", address=address, clock=clock, framing=framing)
    simulated.break_wire(fault)
    try:
        meter.connect()
    except LinkError:
        meter.connect()
    assert meter.dew_point.get() == pytest.approx(-40.0)
    meter.link.close()


@pytest.mark.parametrize(("framing", "fault"), [pair for pair in VISIBLE_FAULTS if pair[1] != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(meter, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"dew at TCPIP.*; check"):
        meter.trigger().wait()


def test_safe_state_changes_nothing(meter):
    meter.make_safe()
    assert meter.dew_point.get() == pytest.approx(-40.0)


@pytest.fixture
def wall_address(gas):
    """The simulated instrument on a wall clock, for clients that know nothing of ours."""
    clock = WallClock(speed=20.0)
    wires = Wires(clock)
    yield wires.listen(SimulatedVaisala(clock, gas))
    clock.close()
    for thread in threading.enumerate():
        if thread.name == "ssblab-simulated-wires":
            thread.join(5)
    wires.close()


@pytest.fixture
def client(wall_address):
    with serial.serial_for_url(f"socket://127.0.0.1:{wall_address.split('::')[2]}", timeout=2) as port:
        yield minimalmodbus.Instrument(port, 240)


def test_a_public_client_reads_the_simulated_instrument(client):
    def number(address):
        return client.read_float(address, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP)

    assert number(7937) == pytest.approx(-123.45)
    assert number(8) == pytest.approx(-40.0)
    assert number(2) == pytest.approx(23.5)
    assert number(20) == pytest.approx(PPM_AT_1_ATM, rel=2e-3)
    assert math.isnan(number(22))
    assert client.read_register(7936, signed=True) == -12345
    assert client.read_register(260, 2, signed=True) == -40.0
    assert client.read_string(7939, 4) == "-123.45\0"
    client.write_float(768, 2026.5, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP)
    client.write_float(768, 20000.0, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP)
    assert number(768) == 2026.5
    assert number(20) == pytest.approx(PPM_AT_1_ATM / 2, rel=2e-3)
    with pytest.raises(minimalmodbus.IllegalRequestError):
        number(4000)
