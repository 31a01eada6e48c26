import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.spec_dgs import Reading, SpecDgs, decode_reading
from sim_devices.instruments.spec_dgs import SimulatedSpecDgs
from sim_devices.line import LineInstrument
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkClosed, LinkError, LinkTimeout, ProtocolError, WrongInstrument

DGS_LINE = b"041821030312, 1234, 25, 41, 30308, 27000, 32300, 01, 02, 03, 04\r\n"
DGS2_LINE = b"041821030312, -12, 2534, 4127, 30308, 27000, 32300\r\n"


class Gas:
    """A gas that the test decides on."""

    ppb = 120.0

    def concentration_ppb(self):
        return self.ppb

    def temperature_C(self):
        return 24.6

    def relative_humidity_percent(self):
        return 40.3


@pytest.fixture
def gas():
    return Gas()


@pytest.fixture
def simulated(clock, gas):
    return SimulatedSpecDgs(clock, gas)


@pytest.fixture
def connect(clock, wires):
    sensors = []

    def connect(simulated, *, address=None, **options):
        sensor = SpecDgs(name="h2s", address=address or wires.listen(simulated), clock=clock, **options)
        sensors.append(sensor)
        sensor.connect()
        return sensor

    yield connect
    for sensor in sensors:
        sensor.link.close()


@pytest.fixture
def sensor(connect, simulated):
    return connect(simulated)


def test_eleven_fields_are_a_dgs():
    assert decode_reading(DGS_LINE) == Reading("DGS", "041821030312", 1234, 25, 41, 93784.0)


def test_seven_fields_are_a_dgs2_in_hundredths():
    reading = decode_reading(DGS2_LINE)
    assert (reading.model, reading.concentration_ppb) == ("DGS2", -12)
    assert (reading.temperature_C, reading.relative_humidity_percent) == (25.34, 41.27)
    assert math.isnan(reading.uptime_s)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"A +014.62 +021.89\r\n", "1 fields: neither"),
        (DGS_LINE.replace(b"041821030312", b"0418"), "'0418' is no serial number"),
        (DGS_LINE.replace(b"1234", b"12p4"), "'12p4' is no whole number"),
        (DGS_LINE.replace(b" 41,", b" 141,"), "141 % can't be"),
        (DGS_LINE.replace(b"02, 03", b"24, 03"), "24 h 3 min 4 s is no time"),
        (b"\xff" + DGS_LINE, "not ASCII"),
    ],
)
def test_anything_else_is_refused(reply, problem):
    with pytest.raises(ProtocolError, match=problem):
        decode_reading(reply)


@given(st.one_of(st.binary(max_size=90), st.text(",- 0123456789\r\n", max_size=60).map(str.encode)))
def test_any_bytes_are_a_reading_or_a_protocol_error(data):
    try:
        reading = decode_reading(data)
    except ProtocolError:
        return
    assert math.isfinite(reading.concentration_ppb)


@given(st.integers(-5000, 999_999), st.integers(-99, 99), st.integers(0, 99), st.integers(0, 86400 * 99 - 1))
def test_readings_round_trip(ppb, temperature, humidity, uptime):
    minutes, seconds = divmod(uptime, 60)
    clock = [minutes // 1440, minutes // 60 % 24, minutes % 60, seconds]
    fields = ["12345678", ppb, temperature, humidity, 1, 2, 3, *clock]
    reading = decode_reading((", ".join(map(str, fields)) + "\r\n").encode())
    assert reading == Reading("DGS", "12345678", ppb, temperature, humidity, uptime)


def test_connect_identifies_by_the_serial_number(sensor):
    assert str(sensor.identity) == "SPEC Sensors DGS (serial 041821030312)"
    assert (sensor.range_ppb, sensor.relative_accuracy) == (10_000, 0.15)


def test_every_number_has_a_unit_and_a_time(sensor, clock):
    sensor.trigger().wait()
    for name, reading in sensor.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
    description = sensor.describe()
    assert description["h2s_concentration"]["units"] == "ppb"
    assert description["h2s_temperature"]["units"] == "degC"
    assert description["h2s_relative_humidity"]["units"] == "%"
    assert "h2s_concentration" in sensor.hints["fields"]


def test_readings_are_whole_numbers_for_a_dgs_and_may_be_negative(sensor, gas):
    gas.ppb = -31.0
    sensor.trigger().wait()
    assert [signal.get() for signal in (sensor.concentration, sensor.temperature)] == [-31, 25]
    assert sensor.relative_humidity.get() == 40
    assert sensor.quality.get() == "ok"


def test_a_dgs2_has_hundredths(connect, clock, gas):
    sensor = connect(SimulatedSpecDgs(clock, gas, model="DGS2"), warm_up_s=0.0)
    assert sensor.identity.model == "DGS2"
    assert (sensor.temperature.get(), sensor.relative_humidity.get()) == (24.6, 40.3)
    assert sensor.quality.get() == "ok"


def test_the_end_of_the_range_is_saturated(sensor, gas):
    gas.ppb = 25_000.0
    sensor.trigger().wait()
    assert (sensor.concentration.get(), sensor.quality.get()) == (10_000, "saturated")


def test_readings_are_invalid_until_the_sensor_is_warm(connect, clock, gas):
    sensor = connect(SimulatedSpecDgs(clock, gas, uptime_s=0.0))
    assert sensor.quality.get() == "invalid"
    assert sensor.concentration.get() > gas.ppb + 100
    clock.sleep(3600.0)
    sensor.trigger().wait()
    assert sensor.quality.get() == "ok"
    assert sensor.concentration.get() == pytest.approx(gas.ppb, abs=10)


def test_a_dgs2_counts_as_warm_an_hour_after_the_first_contact(connect, clock, gas):
    sensor = connect(SimulatedSpecDgs(clock, gas, model="DGS2"))
    assert sensor.quality.get() == "invalid"
    clock.sleep(3600.0)
    sensor.link.close()
    sensor.trigger().wait()
    assert sensor.quality.get() == "ok"


def test_a_stream_that_somebody_left_running_is_ended(connect, simulated, gas, clock):
    list(simulated.receive(bytearray(b"c")))
    sensor = connect(simulated)
    assert simulated.next_unsolicited() is None
    gas.ppb = 777.0
    sensor.trigger().wait()
    assert sensor.concentration.get() == 777


def test_a_stream_that_starts_later_never_gives_an_old_reading(sensor, simulated, gas, clock):
    list(simulated.receive(bytearray(b"c")))
    clock.sleep(5.0)
    gas.ppb = 55.0
    sensor.trigger().wait()
    assert sensor.concentration.get() == 55
    assert simulated.next_unsolicited() is None


def test_a_stream_that_does_not_end_is_told(clock, gas, connect):
    class Stubborn(SimulatedSpecDgs):
        def receive(self, buffer):
            buffer[:] = buffer.replace(b"c", b"")
            return super().receive(buffer)

    simulated = Stubborn(clock, gas)
    list(SimulatedSpecDgs.receive(simulated, bytearray(b"c")))
    with pytest.raises(InstrumentError, match="sends readings by itself and does not stop"):
        connect(simulated)


def test_the_safe_state_needs_nothing(sensor):
    sensor.make_safe()


def test_another_instrument_at_the_address_is_refused(clock, connect):
    class Balance(LineInstrument):
        def power_on(self):
            pass

        def answer(self, line):
            return b"ES\r\n"

    with pytest.raises(LinkClosed, match=r"h2s at TCPIP.*makes no sense \(1 fields: neither a DGS"):
        connect(Balance(clock))


def test_a_silent_instrument_is_refused(clock, connect):
    class Silent(LineInstrument):
        def power_on(self):
            pass

        def answer(self, line):
            return b""

    with pytest.raises(LinkTimeout, match=r"no reply within 3 s, after b'\\r'"):
        connect(Silent(clock))


def test_another_sensor_on_the_same_port_is_refused(sensor, simulated):
    simulated.serial = "99999999"
    with pytest.raises(WrongInstrument, match=r"serial 99999999.*it was .*serial 041821030312"):
        sensor.trigger().wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(sensor, simulated, gas, fault):
    gas.ppb = 1357.0
    simulated.break_wire(fault)
    for _ in range(3):
        sensor.trigger().wait()
        assert sensor.concentration.get() == 1357


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(sensor, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"h2s at TCPIP.*; check"):
        sensor.trigger().wait()


def test_through_a_pseudo_terminal(connect, wires, simulated, gas):
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError as error:
        pytest.skip(str(error))
    list(simulated.receive(bytearray(b"c")))
    sensor = connect(simulated, address=address)
    gas.ppb = 4321.0
    sensor.trigger().wait()
    assert sensor.concentration.get() == 4321
