import math
import struct

import minimalmodbus
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.eurotherm import Condition, Eurotherm3216, decode_condition, decode_numbers
from devices.status import NotReached
from sim_devices.instruments.eurotherm import SimulatedEurotherm3216
from sim_devices.modbus import ModbusInstrument
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, WrongInstrument
from ssblab.links.modbus import decode_registers, decode_rtu

ROOM_C = 25.0
HEATER_K_S = 0.5  # rise at full power without loss
TIME_CONSTANT_S = 1000.0


class Oven:
    """One heat capacity and its controller, integrated as a laboratory would: no finer than it must be."""

    def __init__(self, clock):
        self.clock = clock
        self.now_s = clock.monotonic()
        self.true_C = ROOM_C
        self.steps = 0
        self.heater_works = True
        self.controller = None

    def temperature_C(self):
        to_s = self.clock.monotonic()
        while (left_s := to_s - self.now_s) > 0:
            step_s = min(left_s, 1.0) if self.controller.acts else left_s
            self._step(step_s)
            self.now_s += step_s
        return self.true_C

    def _step(self, step_s):
        power = self.controller.output_fraction if self.heater_works else 0.0
        final_C = ROOM_C + power * HEATER_K_S * TIME_CONSTANT_S
        self.true_C = final_C + (self.true_C - final_C) * math.exp(-step_s / TIME_CONSTANT_S)
        self.controller.advance(step_s, self.true_C)
        self.steps += 1


def make(clock, cls=SimulatedEurotherm3216, **options):
    oven = Oven(clock)
    oven.controller = cls(clock, oven, **options)
    return oven


@pytest.fixture
def oven(clock):
    return make(clock)


@pytest.fixture
def simulated(oven):
    return oven.controller


@pytest.fixture
def connect(clock, wires):
    furnaces = []

    def connect(simulated, *, address=None, **options):
        address = address or wires.listen(simulated)
        options = {"cooling_time_constant_s": TIME_CONSTANT_S} | options
        furnaces.append(Eurotherm3216(name="oven", address=address, clock=clock, **options))
        furnaces[-1].connect()
        return furnaces[-1]

    yield connect
    for furnace in furnaces:
        furnace.link.close()


@pytest.fixture
def furnace(connect, simulated):
    return connect(simulated)


def test_status_bits_of_the_handbook():
    assert decode_condition([0x0000, 0xFFFF]) == Condition(manual=False, faults=())
    assert decode_condition([0x0010, 0xFFEF]) == Condition(manual=True, faults=())
    assert decode_condition([0x0021, 0xFFDE]) == Condition(manual=False, faults=("alarm 1", "sensor break"))
    assert decode_condition([0xB200, 0x4DFF]) == Condition(manual=False, faults=())


def test_numbers_have_their_high_half_first():
    assert decode_numbers([0x432A, 0x8000, 0x0000, 0x0000]) == (170.5, 0.0)


@given(st.lists(st.integers(0, 0xFFFF), max_size=12))
def test_any_registers_are_decoded_or_a_protocol_error(registers):
    for decode in (decode_condition, decode_numbers):
        try:
            decode(registers)
        except ProtocolError:
            pass


@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_or_a_protocol_error(data):
    with pytest.raises(ProtocolError):
        decode_condition(decode_registers(decode_rtu(data, 1), 3, 2))


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=6))
def test_numbers_round_trip(numbers):
    registers = [word for number in numbers for word in struct.unpack(">HH", struct.pack(">f", number))]
    assert decode_numbers(registers) == tuple(numbers)


def test_connect_identifies_and_takes_the_limits_over(furnace):
    assert str(furnace.identity) == "Eurotherm 3200 series"
    assert furnace.temperature_setpoint.limits == (0.0, 1200.0)
    assert furnace.temperature.get() == pytest.approx(ROOM_C)
    assert furnace.quality.get() == "ok"


def test_limits_of_the_station_are_brought_into_the_instrument(connect, simulated):
    furnace = connect(simulated, limits={"temperature_setpoint": (10.0, 300.0)})
    assert furnace.temperature_setpoint.limits == (10.0, 300.0)
    assert (simulated.read_holding_register(111), simulated.read_holding_register(112)) == (3000, 100)


def test_narrower_limits_of_the_instrument_stay(connect, simulated):
    simulated.write_registers(111, [2000])
    furnace = connect(simulated, limits={"temperature_setpoint": (0.0, 300.0)})
    assert furnace.temperature_setpoint.limits == (0.0, 200.0)


def test_limits_that_the_instrument_does_not_hold_are_refused(connect, clock):
    class Deaf(SimulatedEurotherm3216):
        def _write_high_limit(self, value_C):
            pass

    with pytest.raises(InstrumentError, match="high set-point limit: holds 1200, told 300"):
        connect(make(clock, Deaf).controller, limits={"temperature_setpoint": (0.0, 300.0)})


def test_another_ramp_unit_is_refused(connect, simulated):
    simulated.write_registers(531, [1])
    with pytest.raises(InstrumentError, match="ramp unit is not the minute"):
        connect(simulated)


def test_every_number_has_a_unit_and_a_time(furnace, clock):
    furnace.trigger().wait()
    for name, reading in furnace.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.2), name
    units = {name: description.get("units") for name, description in furnace.describe().items()}
    assert units == {
        "oven_quality": None,
        "oven_temperature": "degC",
        "oven_temperature_setpoint": "degC",
        "oven_working_setpoint": "degC",
        "oven_ramp_rate": "K/min",
        "oven_output": "%",
    }


def test_ramp_goes_there_at_its_rate_and_settles(furnace, clock, oven):
    before_s = clock.monotonic()
    status = furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(300.0)
    furnace.trigger().wait()
    assert furnace.working_setpoint.get() == pytest.approx(ROOM_C + 25.0, abs=0.5)
    assert furnace.temperature.get() == pytest.approx(furnace.working_setpoint.get(), abs=10.0)
    assert 0 < furnace.output.get() < 100
    status.wait()
    assert 900.0 < clock.monotonic() - before_s < 1800.0
    assert oven.temperature_C() == pytest.approx(100.0, abs=2.0)
    assert furnace.temperature_setpoint.get() == 100.0


def test_set_ramps_at_the_rate_that_the_instrument_has(furnace):
    furnace.set(40.0, ramp_K_min=10.0).wait()
    furnace.set(50.0).wait()
    assert furnace.ramp_rate.get() == 10.0
    assert furnace.temperature.get() == pytest.approx(50.0, abs=2.0)


def test_set_without_a_rate_is_refused(furnace):
    with pytest.raises(
        LimitError, match=r"oven_ramp_rate: 0.0 K/min is not allowed, it must be from 0.1 to 100"
    ):
        furnace.set(50.0)


def test_cooling_may_take_as_long_as_the_furnace_needs(furnace, clock):
    furnace.set(150.0, ramp_K_min=20.0).wait()
    before_s = clock.monotonic()
    furnace.set(40.0, ramp_K_min=50.0).wait()
    assert clock.monotonic() - before_s > TIME_CONSTANT_S  # the ramp alone would take two minutes
    assert furnace.temperature.get() == pytest.approx(40.0, abs=2.0)


def test_a_temperature_outside_the_limits_is_refused_before_anything_is_sent(connect, simulated):
    furnace = connect(simulated, limits={"temperature_setpoint": (0.0, 300.0)})
    with pytest.raises(LimitError, match=r"oven_temperature_setpoint: 301 degC is not allowed.*0 to 300"):
        furnace.set(301, ramp_K_min=5.0)
    assert simulated.read_holding_register(2) == 0


def test_a_dead_heater_is_told_with_target_and_last_reading(furnace, oven):
    oven.heater_works = False
    with pytest.raises(
        NotReached, match=r"oven: temperature: not settled \(target 60 .* last reading 25 degC"
    ):
        furnace.set(60.0, ramp_K_min=10.0).wait()


def test_an_approach_fails_when_the_furnace_is_set_anew_or_made_safe(furnace, pass_time):
    first = furnace.set(300.0, ramp_K_min=10.0)
    pass_time(30.0)
    second = furnace.set(200.0, ramp_K_min=10.0)
    with pytest.raises(NotReached, match=r"oven: temperature: was set anew \(target 300"):
        first.wait()
    pass_time(30.0)
    furnace.make_safe()
    with pytest.raises(NotReached, match=r"was brought into its safe state \(target 200"):
        second.wait()
    pass_time(60.0)
    assert furnace.output.get() == 0


def test_a_loss_of_power_leaves_the_heater_off_and_the_next_poll_says_so(furnace, simulated):
    furnace.set(100.0, ramp_K_min=10.0).wait()
    assert furnace.output.get() > 0
    simulated.power_cycle()
    furnace.trigger().wait()
    assert (furnace.output.get(), furnace.temperature_setpoint.get()) == (0.0, 100.0)
    assert furnace.temperature.get() == pytest.approx(100.0, abs=3.0)


@pytest.mark.parametrize(("breakdown", "words"), [("error", "loop break"), ("over_range", "over range")])
def test_a_breakdown_is_an_error_until_it_is_mended(furnace, simulated, breakdown, words):
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=f"oven at .* reports {words}"):
        furnace.trigger().wait()
    assert furnace.quality.get() == "invalid"
    furnace.make_safe()
    simulated.mend()
    furnace.trigger().wait()
    assert furnace.quality.get() == "ok"


def test_a_set_point_that_is_not_held_is_told(connect, clock):
    class Clipping(SimulatedEurotherm3216):
        def _write_target(self, value_C):
            super()._write_target(min(value_C, 80.0))

    furnace = connect(make(clock, Clipping).controller)
    with pytest.raises(InstrumentError, match="set point: holds 80, told 90"):
        furnace.set(90.0, ramp_K_min=5.0).wait()


def test_the_set_point_memory_is_written_once_a_ramp(connect, clock):
    written = []

    class Counting(SimulatedEurotherm3216):
        def write_registers(self, address, values):
            written.append(address)
            super().write_registers(address, values)

    furnace = connect(make(clock, Counting).controller)
    furnace.set(40.0, ramp_K_min=10.0).wait()
    furnace.set(40.0).wait()
    assert written == [0x8000 + 2 * 35, 0x8000 + 2 * 2, 273]


def test_a_broken_sensor_is_an_error_and_ends_a_ramp(furnace, simulated, clock):
    status = furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(60.0)
    simulated.sensor_broken = True
    with pytest.raises(InstrumentError, match="reports sensor break"):
        status.wait()
    assert furnace.quality.get() == "invalid"
    assert simulated.output_fraction == 0.0


def test_an_alarm_is_an_error(furnace, simulated):
    simulated.write_registers(13, [200])
    with pytest.raises(InstrumentError, match="reports alarm 1"):
        furnace.trigger().wait()
    assert furnace.quality.get() == "invalid"


def test_safe_state_switches_the_heater_off_and_reads_it_back(furnace, simulated, clock):
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    furnace.trigger().wait()
    assert furnace.output.get() > 0
    furnace.make_safe()
    assert (simulated.output_fraction, simulated.acts, furnace.output.get()) == (0.0, False, 0.0)
    furnace.make_safe()


def test_safe_state_is_reached_with_a_broken_sensor(furnace, simulated, clock):
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    simulated.sensor_broken = True
    furnace.make_safe()
    simulated.sensor_broken = False
    clock.sleep(60.0)
    assert simulated.output_fraction == 0.0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", range(4))
def test_safe_state_is_reached_in_spite_of_one_fault_of_the_wire(furnace, simulated, clock, fault, after):
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    simulated._faults = [None] * after + [fault]
    furnace.make_safe()
    assert simulated.output_fraction == 0.0


def test_a_heater_that_stays_on_is_told_in_bounded_time(connect, clock):
    class Stuck(SimulatedEurotherm3216):
        def _write_output(self, percent):
            pass

    oven = make(clock, Stuck)
    furnace = connect(oven.controller)
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    before_s = clock.monotonic()
    with pytest.raises(InstrumentError, match=r"heater still at .* % after 5 s"):
        furnace.make_safe()
    assert clock.monotonic() - before_s < 15.0


def test_a_furnace_that_is_off_costs_one_step_a_look(oven, simulated, clock):
    clock.sleep(86_400.0)
    oven.temperature_C()
    assert oven.steps == 1


def test_another_instrument_at_the_address_is_refused(connect, clock):
    class Zeros(ModbusInstrument):
        def power_on(self):
            pass

        def read_holding_register(self, address):
            return 0

    with pytest.raises(WrongInstrument, match="no status word with its inverse"):
        connect(Zeros(clock, unit=1, framing="rtu"))


def test_an_instrument_without_the_registers_is_refused(connect, clock):
    class Nothing(ModbusInstrument):
        def power_on(self):
            pass

    with pytest.raises(WrongInstrument, match=r"has no status word \(exception 1"):
        connect(Nothing(clock, unit=1, framing="rtu"))


def test_another_unit_does_not_answer(connect, clock):
    with pytest.raises(LinkTimeout, match="no reply within 1 s"):
        connect(make(clock, unit=2).controller)


def test_behind_a_gateway(connect, clock):
    furnace = connect(make(clock, framing="tcp", unit=7).controller, framing="tcp", unit=7)
    assert furnace.temperature.get() == pytest.approx(ROOM_C)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(furnace, simulated, oven, fault):
    oven.true_C = 123.5
    simulated.break_wire(fault)
    for _ in range(3):
        furnace.trigger().wait()
        assert furnace.temperature.get() == pytest.approx(oven.true_C, abs=0.01)
        assert furnace.output.get() == 0.0


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(furnace, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"oven at TCPIP.*; check"):
        furnace.trigger().wait()


def test_through_a_pseudo_terminal(connect, wires, simulated):
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError as error:
        pytest.skip(str(error))
    furnace = connect(simulated, address=address)
    furnace.set(40.0, ramp_K_min=10.0).wait()
    assert furnace.temperature.get() == pytest.approx(40.0, abs=2.0)


@pytest.fixture
def public_client():
    """The public client minimalmodbus at a simulated instrument in real time."""
    clock = WallClock()
    wires = Wires(clock)
    address = wires.listen(make(clock).controller)
    port = serial.serial_for_url(f"socket://127.0.0.1:{address.split('::')[2]}", timeout=2.0)
    yield minimalmodbus.Instrument(port, 1)
    port.close()
    clock.close()
    wires.close()


def test_a_public_client_reads_and_writes(public_client):
    assert public_client.read_register(1, 1) == 25.0
    public_client.write_register(35, 10.0, 1)
    public_client.write_register(2, 60.5, 1, functioncode=6)
    public_client.write_register(273, 0)
    assert public_client.read_registers(1, 2) == [250, 605]
    assert public_client.read_float(0x8000 + 2 * 2) == 60.5
    public_client.write_float(0x8000 + 2 * 2, 70.25)
    assert public_client.read_float(0x8000 + 2 * 2) == 70.25
    assert public_client.read_register(75) ^ public_client.read_register(76) == 0xFFFF


def test_a_public_client_is_told_of_unknown_registers_and_values(public_client):
    with pytest.raises(minimalmodbus.IllegalRequestError, match="illegal data address"):
        public_client.read_register(999)
    with pytest.raises(minimalmodbus.IllegalRequestError, match="illegal data value"):
        public_client.write_register(2, 1300.0, 1)
