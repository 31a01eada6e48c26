import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.pfeiffer_tpg import (
    PfeifferTpg,
    decode_identity,
    decode_measurement,
    decode_unit,
    encode_question,
)
from sim_devices.instruments.pfeiffer_tpg import SimulatedPfeifferTpg
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

ACK, NAK = b"\x06\r\n", b"\x15\r\n"


class Vessel:
    """A vessel that is pumped down with a time constant, from `begin_s` on."""

    def __init__(self, clock):
        self.clock = clock
        self.start_Pa = 1e5
        self.end_Pa = 1.0
        self.time_constant_s = 20.0
        self.begin_s = math.inf

    def pressure_Pa(self):
        elapsed_s = max(0.0, self.clock.monotonic() - self.begin_s)
        return self.end_Pa + (self.start_Pa - self.end_Pa) * math.exp(-elapsed_s / self.time_constant_s)

    def hold(self, pressure_Pa):
        self.start_Pa = self.end_Pa = pressure_Pa


@pytest.fixture
def vessel(clock):
    return Vessel(clock)


@pytest.fixture
def simulated(clock, vessel):
    return SimulatedPfeifferTpg(clock, vessel)


@pytest.fixture
def gauge(clock, wires, simulated):
    gauge = PfeifferTpg(name="gauge", address=wires.listen(simulated), clock=clock)
    gauge.connect()
    yield gauge
    gauge.link.close()


def test_questions_and_answers_of_the_manual():
    assert encode_question("PR1") == b"PR1\r"
    assert decode_measurement(ACK + b"0,+8.3400E-03\r\n") == (0, 0.00834)
    assert decode_measurement(ACK + b"5,2.0000E-2\r\n") == (5, 0.02)
    assert decode_unit(ACK + b"0\r\n") == 100.0
    assert decode_unit(ACK + b"1\r\n") == pytest.approx(133.3224)


def test_identity_captured_from_an_instrument():
    reply = ACK + b"TPG362,PTG28290,44998061,010300,010100\r\n"
    assert decode_identity(reply) == ("TPG362", "PTG28290", "44998061", "010300", "010100")


def test_the_error_word_is_told_in_words():
    with pytest.raises(Refusal, match="refused: inadmissible parameter, syntax error"):
        decode_unit(NAK + b"0011\r\n")


def test_volt_is_no_pressure():
    with pytest.raises(Refusal, match="set a pressure unit"):
        decode_unit(ACK + b"5\r\n")


@pytest.mark.parametrize("decode", [decode_measurement, decode_unit, decode_identity])
@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda data: ACK + data + b"\r\n")),
)
def test_any_bytes_are_an_answer_or_a_protocol_error(decode, data):
    try:
        decode(data)
    except ProtocolError:
        pass


@given(st.integers(0, 6), st.floats(1e-9, 1e5))
def test_measurements_round_trip(status, value):
    decoded = decode_measurement(ACK + f"{status},{value:+.4E}\r\n".encode())
    assert decoded == (status, pytest.approx(value, rel=1e-4))


def test_connect_ends_the_measurements_of_power_up_and_identifies(clock, wires, simulated, vessel):
    vessel.hold(834.0)
    address = wires.listen(simulated)
    clock.sleep(100.0)
    gauge = PfeifferTpg(name="gauge", address=address, clock=clock)
    gauge.connect()
    assert str(gauge.identity) == "Pfeiffer Vacuum TPG 362 (serial 44998061, firmware 010300)"
    assert gauge.pressure.get() == pytest.approx(834.0)
    assert simulated.next_unsolicited() is None
    gauge.link.close()


def test_the_controller_measures_by_itself_until_it_is_talked_to(clock, simulated, vessel):
    vessel.hold(834.0)
    assert list(simulated.unsolicited()) == []
    clock.sleep(3.5)
    assert list(simulated.unsolicited()) == [b"0,+8.3400E+00,5,+0.0000E+00\r\n"]
    assert simulated.next_unsolicited() == pytest.approx(4.0)
    list(simulated.receive(bytearray(b"P")))
    assert simulated.next_unsolicited() is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"PR1\r\x05", ACK + b"0,+8.3400E+00\r\n"),
        (b"PR1\r\x05\x05", ACK + 2 * b"0,+8.3400E+00\r\n"),
        (b"PR2\r\x05", ACK + b"5,+0.0000E+00\r\n"),
        (b"PRX\r\n\x05", ACK + b"0,+8.3400E+00,5,+0.0000E+00\r\n"),
        (b"UNI, 2\r\x05PR1\r\x05", ACK + b"2\r\n" + ACK + b"0,+8.3400E+02\r\n"),
        (b"TID\r\x05", ACK + b"PKR,noSEn\r\n"),
        (b"XYZ\x03PR1\r", ACK),
        (b"XYZ\r\x05ERR\r\x05", NAK + b"0001\r\n" + ACK + b"0000\r\n"),
        (b"UNI,9\rERR\r\x05", NAK + ACK + b"0010\r\n"),
        (b"\x05", b"0000\r\n"),
    ],
)
def test_the_controllers_side_of_the_protocol(simulated, vessel, said, heard):
    vessel.hold(834.0)
    assert b"".join(simulated.receive(bytearray(said))) == heard


def test_through_a_serial_port(clock, wires, simulated, vessel):
    vessel.hold(834.0)
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError:
        pytest.skip("no pseudo-terminals here")
    clock.sleep(2.5)
    gauge = PfeifferTpg(name="gauge", address=address, clock=clock)
    gauge.connect()
    assert gauge.pressure.get() == pytest.approx(834.0)
    gauge.link.close()


def test_every_number_has_a_unit_and_a_time(gauge, clock):
    gauge.trigger().wait()
    for name, reading in gauge.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.2), name
    assert gauge.describe()["gauge_pressure"]["units"] == "Pa"
    assert gauge.hints["fields"] == ["gauge_pressure"]


@pytest.mark.parametrize("unit", range(5))
def test_the_pressure_is_in_pascal_whatever_the_controller_shows(gauge, simulated, vessel, unit):
    vessel.hold(834.0)
    simulated.unit = unit
    gauge.trigger().wait()
    assert gauge.pressure.get() == pytest.approx(834.0, rel=0.005)


def test_a_controller_that_shows_volt_is_an_error(gauge, simulated):
    simulated.unit = 5
    with pytest.raises(InstrumentError, match=r"gauge at TCPIP.*set a pressure unit at the controller"):
        gauge.trigger().wait()


@pytest.mark.parametrize(
    ("pressure_Pa", "shown_Pa", "state"), [(1e-8, 5e-7, "under-range"), (1.2e5, 1e5, "over-range")]
)
def test_beyond_the_range_is_saturated(gauge, vessel, pressure_Pa, shown_Pa, state):
    vessel.hold(pressure_Pa)
    gauge.trigger().wait()
    assert (gauge.quality.get(), gauge.state.get()) == ("saturated", state)
    assert gauge.pressure.get() == pytest.approx(shown_Pa)


def test_a_broken_gauge_is_an_error_and_leaves_no_number(gauge, simulated):
    simulated.sensor_error = True
    with pytest.raises(InstrumentError, match="reports sensor error of gauge 1"):
        gauge.trigger().wait()
    assert gauge.quality.get() == "invalid"
    assert math.isnan(gauge.pressure.get())
    simulated.sensor_error = False
    gauge.trigger().wait()
    assert gauge.quality.get() == "ok"


def test_a_channel_without_gauge_is_an_error(clock, wires, simulated):
    gauge = PfeifferTpg(name="gauge", address=wires.listen(simulated), clock=clock, channel=2)
    with pytest.raises(InstrumentError, match="reports no sensor of gauge 2"):
        gauge.connect()
    gauge.link.close()


def test_the_second_gauge(clock, wires, vessel):
    other = Vessel(clock)
    other.hold(50.0)
    controller = SimulatedPfeifferTpg(clock, vessel, other)
    gauge = PfeifferTpg(name="gauge", address=wires.listen(controller), clock=clock, channel=2)
    gauge.connect()
    assert gauge.pressure.get() == pytest.approx(50.0)
    gauge.link.close()


@pytest.mark.parametrize(
    ("kind", "channel", "found"),
    [("TPG366", 1, "found 'TPG366', not Pfeiffer"), ("TPG361", 2, "TPG361, which has no channel 2")],
)
def test_another_model_is_refused(clock, wires, simulated, kind, channel, found):
    simulated.kind = kind
    gauge = PfeifferTpg(name="gauge", address=wires.listen(simulated), clock=clock, channel=channel)
    with pytest.raises(WrongInstrument, match=found):
        gauge.connect()


def test_a_channel_that_no_model_has_is_refused(clock):
    with pytest.raises(ValueError, match="channel must be 1 or 2, not 3"):
        PfeifferTpg(name="gauge", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, channel=3)


def test_a_question_that_the_controller_does_not_know_is_told_with_its_reason(gauge, simulated, monkeypatch):
    monkeypatch.setattr(simulated, "_accept", lambda *_: "0001")
    with pytest.raises(InstrumentError, match="refused: syntax error, after b'UNI"):
        gauge.trigger().wait()
    assert gauge.link.is_open


@pytest.mark.parametrize("reply", range(4))
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(
    gauge, simulated, vessel, fault, reply, monkeypatch
):
    vessel.hold(834.0)
    faults = iter([None] * reply + [fault])  # replies of a poll: ACK and unit, ACK and pressure
    monkeypatch.setattr(simulated, "next_fault", lambda: next(faults, None))
    for _ in range(3):
        gauge.trigger().wait()
        assert gauge.pressure.get() == pytest.approx(834.0)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(gauge, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"gauge at TCPIP.*; check"):
        gauge.trigger().wait()


def test_safe_state_needs_nothing(gauge):
    gauge.make_safe()


def ask_tpg(simulated, message):
    """Its acknowledgement, and what it says to the enquiry after it."""
    buffer = bytearray(message.encode() + b"\r\x05")
    acknowledgement, reply = simulated.receive(buffer)
    return acknowledgement, reply.decode().removesuffix("\r\n")


def test_a_gauge_is_switched_off_and_on(clock, vessel):
    vessel.hold(5.0)
    simulated = SimulatedPfeifferTpg(clock, vessel)
    assert ask_tpg(simulated, "SEN") == (ACK, "2,0")
    assert ask_tpg(simulated, "SEN,1,2") == (ACK, "1,0")  # no gauge is there to switch on
    assert ask_tpg(simulated, "PR1") == (ACK, "4,+0.0000E+00")
    assert ask_tpg(simulated, "SEN,0,0") == (ACK, "1,0")
    assert ask_tpg(simulated, "SEN,2,0") == (ACK, "2,0")
    assert ask_tpg(simulated, "PR1") == (ACK, "0,+5.0000E-02")


@pytest.mark.parametrize("message", ["SEN,1", "SEN,3,0", "SEN,1,0,0", "SEN,a,0"])
def test_a_switch_that_makes_no_sense_is_refused(simulated, message):
    assert ask_tpg(simulated, message) == (NAK, "0010")
    assert ask_tpg(simulated, "SEN") == (ACK, "2,0")


def test_the_version_is_told_alone_too(simulated):
    assert ask_tpg(simulated, "PNR") == (ACK, "010300")


def test_a_gauge_that_is_off_gives_no_pressure(gauge, simulated):
    ask_tpg(simulated, "SEN,1,0")
    with pytest.raises(InstrumentError, match="sensor off"):
        gauge.trigger().wait()
    assert math.isnan(gauge.pressure.get())
