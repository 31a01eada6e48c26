import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.eurotherm_bisynch import (
    BisynchStatus,
    EurothermBisynch,
    check_acknowledged,
    decode_number,
    decode_status,
    decode_word,
    encode_poll,
    encode_selection,
    frame_reply,
)
from devices.status import NotReached
from sim_devices.instruments.eurotherm import SimulatedEurotherm3216
from sim_devices.instruments.eurotherm_bisynch import SimulatedEurothermBisynch
from sim_devices.physics.oven import Oven
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument

TIME_CONSTANT_S = 1000.0


def make(clock, cls=SimulatedEurothermBisynch, **options):
    oven = Oven(clock, np.random.default_rng(1), loss_W_K=1.5, heat_capacity_J_K=1500.0)
    return oven, cls(clock, oven, **options)


@pytest.fixture
def oven_and_controller(clock):
    return make(clock)


@pytest.fixture
def oven(oven_and_controller):
    return oven_and_controller[0]


@pytest.fixture
def simulated(oven_and_controller):
    return oven_and_controller[1]


@pytest.fixture
def connect(clock, wires):
    furnaces = []

    def connect(simulated, **options):
        options = {"cooling_time_constant_s": TIME_CONSTANT_S} | options
        furnace = EurothermBisynch(name="oven", address=wires.listen(simulated), clock=clock, **options)
        furnaces.append(furnace)
        furnace.connect()
        return furnace

    yield connect
    for furnace in furnaces:
        furnace.link.close()


@pytest.fixture
def furnace(connect, simulated):
    return connect(simulated)


def say(simulated, message):
    """What the simulated controller answers to bytes."""
    return b"".join(simulated.receive(bytearray(message)))


# the codec: bytes that the ISIS emulator of a Eurotherm takes and gives


def test_a_poll_is_that_of_the_emulator():
    assert encode_poll(1, "PV") == b"\x040011PV\x05"
    assert encode_poll(12, "PV") == b"\x041122PV\x05"


def test_an_answer_of_the_emulator():
    assert frame_reply(b"\x02PV0.0\x03+") == 8
    assert decode_number(b"\x02PV0.0\x03+", "PV") == 0.0


def test_a_selection_is_that_of_the_emulator():
    assert encode_selection(1, "SL", "25.0") == b"\x040011\x02SL25.0\x03\x05"
    check_acknowledged(b"\x06")
    with pytest.raises(Refusal, match="not accepted"):
        check_acknowledged(b"\x15")


def test_the_simulated_controller_answers_like_the_emulator(clock):
    _, simulated = make(clock)
    simulated._furnace.furnace.sensor_C = 0.0
    assert say(simulated, b"\x040011PV\x05") == b"\x02PV0.0\x03+"


def test_status_bits():
    assert decode_status(0x0000) == BisynchStatus(manual=False, faults=())
    assert decode_status(0x0010) == BisynchStatus(manual=True, faults=())
    assert decode_status(0x0021) == BisynchStatus(manual=False, faults=("alarm 1", "sensor break"))
    assert decode_status(0x0200) == BisynchStatus(manual=False, faults=())  # programme complete
    assert decode_word(b"\x02SO>0020\x03" + bytes([0x53 ^ 0x4F ^ 0x3E ^ 0x32 ^ 0x30 ^ 3]), "SO") == 0x20


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (
        lambda reply: decode_number(reply, "PV"),
        lambda reply: decode_word(reply, "SO"),
        check_acknowledged,
        frame_reply,
    ):
        try:
            decode(data)
        except ProtocolError:
            pass


@given(st.floats(-999.9, 9999.9), st.integers(0, 99), st.sampled_from(["PV", "SL", "A1"]))
def test_numbers_round_trip(value, unit, mnemonic):
    text = f"{value:.1f}"
    message = encode_selection(unit, mnemonic, text)
    reply = message[5:]  # without the address, it is what a controller answers to a poll
    assert frame_reply(reply + b"rest") == len(reply)
    assert decode_number(reply, mnemonic) == float(text)


@given(st.integers(0, 7), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position, change):
    reply = bytearray(b"\x02PV0.0\x03+")
    reply[position] ^= change
    with pytest.raises(ProtocolError):
        decode_number(bytes(reply), "PV")


def test_an_answer_to_another_question_is_none():
    with pytest.raises(ProtocolError, match="not an answer to SP"):
        decode_number(b"\x02PV0.0\x03+", "SP")


# the simulated controller


def test_unknown_parameters_and_bad_values_are_told_by_ee(simulated):
    assert say(simulated, encode_poll(1, "ZZ")) == b"\x04"
    assert decode_word(say(simulated, encode_poll(1, "EE")), "EE") == 1
    assert decode_word(say(simulated, encode_poll(1, "EE")), "EE") == 0
    for mnemonic, data, error in [
        ("ZZ", "1.0", 1),
        ("PV", "1.0", 2),
        ("SL", "x", 7),
        ("SL", "1300.0", 8),
    ]:
        assert say(simulated, encode_selection(1, mnemonic, data)) == b"\x15"
        assert decode_word(say(simulated, encode_poll(1, "EE")), "EE") == error
    damaged = encode_selection(1, "SL", "50.0")[:-1] + b"?"
    assert say(simulated, damaged) == b"\x15"
    assert decode_number(say(simulated, encode_poll(1, "SL")), "SL") == 0.0


def test_a_channel_digit_comes_back(simulated):
    assert say(simulated, b"\x0400111PV\x05").startswith(b"\x021PV25.0\x03")


def test_another_unit_and_noise_are_met_with_silence(simulated):
    assert say(simulated, encode_poll(2, "PV")) == b""
    assert say(simulated, b"noise\x0400" + encode_poll(1, "PV"))[:3] == b"\x02PV"


def test_the_output_is_read_only_in_automatic(simulated):
    assert say(simulated, encode_selection(1, "OP", "10.0")) == b"\x06"
    assert say(simulated, encode_selection(1, "mA", "0")) == b"\x06"
    assert say(simulated, encode_selection(1, "OP", "10.0")) == b"\x15"


def test_a_message_in_pieces_is_answered_once(simulated):
    buffer = bytearray()
    answers = []
    for byte in encode_selection(1, "SL", "25.0"):
        buffer.append(byte)
        answers += [answer for answer in simulated.receive(buffer) if answer]
    assert answers == [b"\x06"]


# the driver


def test_connect_identifies_and_takes_the_limits_over(furnace):
    assert str(furnace.identity) == "Eurotherm EI-Bisynch controller"
    assert furnace.temperature_setpoint.limits == (0.0, 1200.0)
    assert furnace.temperature.get() == pytest.approx(25.0)
    assert furnace.quality.get() == "ok"


def test_limits_of_the_station_are_brought_into_the_instrument(connect, simulated):
    furnace = connect(simulated, limits={"temperature_setpoint": (10.0, 300.0)})
    assert furnace.temperature_setpoint.limits == (10.0, 300.0)
    assert say(simulated, encode_poll(1, "HS"))[3:8] == b"300.0"
    assert say(simulated, encode_poll(1, "LS"))[3:7] == b"10.0"


def test_narrower_limits_of_the_instrument_stay(connect, simulated):
    say(simulated, encode_selection(1, "HS", "200.0"))
    furnace = connect(simulated, limits={"temperature_setpoint": (0.0, 300.0)})
    assert furnace.temperature_setpoint.limits == (0.0, 200.0)


def test_limits_that_the_instrument_does_not_hold_are_refused(connect, clock):
    class Deaf(SimulatedEurothermBisynch):
        def _write_high_limit(self, value_C):
            pass

    with pytest.raises(InstrumentError, match=r"high set-point limit: holds 1200, told 300\.0"):
        connect(make(clock, Deaf)[1], limits={"temperature_setpoint": (0.0, 300.0)})


def test_an_impossible_address_is_refused(clock):
    with pytest.raises(ValueError, match="0 to 99, not 100"):
        EurothermBisynch(name="oven", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, unit=100)


def test_every_number_has_a_unit_and_a_time(furnace, clock):
    furnace.trigger().wait()
    for name, reading in furnace.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
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
    assert furnace.working_setpoint.get() == pytest.approx(50.0, abs=0.5)
    assert 0 < furnace.output.get() < 100
    status.wait()
    assert 900.0 < clock.monotonic() - before_s < 2000.0
    assert oven.temperature_C() == pytest.approx(100.0, abs=2.0)
    assert furnace.temperature_setpoint.get() == 100.0


def test_a_set_point_is_written_once_and_with_the_displays_decimals(connect, clock):
    written = []

    class Counting(SimulatedEurothermBisynch):
        def _write(self, mnemonic, data):
            written.append((mnemonic, data))
            return super()._write(mnemonic, data)

    furnace = connect(make(clock, Counting, decimals=0)[1], decimals=0)
    furnace.set(40.0, ramp_K_min=10.0).wait()
    furnace.set(40.0).wait()
    assert written == [(b"RR", b"10.0"), (b"SL", b"40"), (b"mA", b"0")]


def test_a_display_with_fewer_decimals_than_told_is_noticed(connect, clock):
    furnace = connect(make(clock, decimals=0)[1])
    with pytest.raises(InstrumentError, match=r"set point: holds 40, told 40\.4"):
        furnace.set(40.4, ramp_K_min=5.0).wait()


def test_a_temperature_outside_the_limits_is_refused_before_anything_is_sent(connect, simulated):
    furnace = connect(simulated, limits={"temperature_setpoint": (0.0, 300.0)})
    with pytest.raises(LimitError, match=r"oven_temperature_setpoint: 301 degC is not allowed.*0 to 300"):
        furnace.set(301, ramp_K_min=5.0)
    assert say(simulated, encode_poll(1, "SL"))[3:6] == b"0.0"


def test_what_the_instrument_does_not_accept_is_told_with_its_reason(furnace, simulated):
    say(simulated, encode_selection(1, "HS", "80.0"))  # at its keys, since
    with pytest.raises(
        InstrumentError, match=r"SL 90\.0 not accepted: the value is outside the limits \(EE 8\)"
    ):
        furnace.set(90.0, ramp_K_min=5.0).wait()


def test_a_dead_heater_is_told_with_target_and_last_reading(furnace, oven):
    oven.heater_works = False
    with pytest.raises(
        NotReached, match=r"oven: temperature: not settled \(target 60 .* last reading 25 degC"
    ):
        furnace.set(60.0, ramp_K_min=10.0).wait()


def test_a_broken_sensor_is_an_error_and_ends_a_ramp(furnace, simulated, clock):
    status = furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(60.0)
    simulated.sensor_broken = True
    with pytest.raises(InstrumentError, match="reports sensor break"):
        status.wait()
    assert furnace.quality.get() == "invalid"
    assert math.isnan(furnace.temperature.get())
    assert simulated.output_fraction == 0.0


def test_an_alarm_is_an_error(furnace, simulated):
    say(simulated, encode_selection(1, "A1", "20.0"))
    with pytest.raises(InstrumentError, match="reports alarm 1"):
        furnace.trigger().wait()
    assert furnace.quality.get() == "invalid"
    assert furnace.temperature.get() == pytest.approx(25.0)


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
@pytest.mark.parametrize("after", range(5))
def test_safe_state_is_reached_in_spite_of_one_fault_of_the_wire(furnace, simulated, clock, fault, after):
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    simulated._faults = [None] * after + [fault]
    furnace.make_safe()
    assert simulated.output_fraction == 0.0


def test_a_heater_that_stays_on_is_told_in_bounded_time(connect, clock):
    class Stuck(SimulatedEurothermBisynch):
        def _write_output(self, percent):
            pass

    furnace = connect(make(clock, Stuck)[1])
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    before_s = clock.monotonic()
    with pytest.raises(InstrumentError, match=r"heater still at .* % after 5 s"):
        furnace.make_safe()
    assert clock.monotonic() - before_s < 15.0


def test_a_controller_without_a_status_word_is_refused(connect, clock):
    _, simulated = make(clock)
    del simulated._parameters[b"SO"]
    with pytest.raises(WrongInstrument, match="does not know the parameter SO"):
        connect(simulated)


def test_a_controller_set_to_modbus_does_not_answer(connect, clock):
    with pytest.raises(LinkError, match=r"oven at TCPIP.*(no reply|not a reply)"):
        connect(make(clock, SimulatedEurotherm3216)[1])


def test_another_unit_does_not_answer(connect, clock):
    with pytest.raises(LinkTimeout, match="no reply within 1 s"):
        connect(make(clock, unit=2)[1])


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(furnace, simulated, oven, fault):
    oven.temperature_C = lambda: 123.5
    simulated.break_wire(fault)
    for _ in range(3):
        furnace.trigger().wait()
        assert furnace.temperature.get() == 123.5
        assert furnace.output.get() == 0.0


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(furnace, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"oven at TCPIP.*; (check|correct)"):
        furnace.trigger().wait()


@pytest.mark.parametrize(
    ("breakdown", "problem"),
    [
        ("busy", "oven at TCPIP.*no reply"),
        ("error", "oven at TCPIP.*reports loop break"),
        ("over_range", "oven at TCPIP.*reports temperature out of range"),
    ],
)
def test_a_breakdown_is_told_and_over_after_it_is_mended(furnace, simulated, breakdown, problem):
    simulated.break_down(breakdown)
    with pytest.raises(LinkError, match=problem):
        furnace.trigger().wait()
    if breakdown == "over_range":
        assert math.isnan(furnace.temperature.get())
    simulated.mend()
    furnace.trigger().wait()
    assert (furnace.quality.get(), furnace.temperature.get()) == ("ok", pytest.approx(25.0))


def test_after_a_power_cut_the_heater_is_off_and_reading_goes_on(furnace, simulated, clock):
    furnace.set(100.0, ramp_K_min=5.0)
    clock.sleep(200.0)
    simulated.power_cycle()
    furnace.trigger().wait()
    assert furnace.output.get() == 0.0
    assert furnace.temperature_setpoint.get() == 100.0
