import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.mks import Mks900, decode_answer, decode_pressure, decode_status, decode_unit, encode_question
from devices.pfeiffer_tpg import PfeifferTpg
from sim_devices.instruments.mks import SimulatedMks900
from sim_devices.instruments.pfeiffer_tpg import SimulatedPfeifferTpg
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument


class Vessel:
    held_Pa = 834.0

    def pressure_Pa(self):
        return self.held_Pa


@pytest.fixture
def vessel():
    return Vessel()


@pytest.fixture
def simulated(clock, vessel):
    return SimulatedMks900(clock, vessel)


@pytest.fixture
def gauge(clock, wires, simulated):
    gauge = Mks900(name="gauge", address=wires.listen(simulated), clock=clock)
    gauge.connect()
    yield gauge
    gauge.link.close()


def say(simulated, text):
    return b"".join(simulated.receive(bytearray(text.encode()))).decode()


def test_questions_and_answers_of_the_manuals():
    assert encode_question(253, "PR4") == b"@253PR4?;FF"
    assert decode_pressure(decode_answer(b"@253ACK1.23E-3;FF", 253)) == 0.00123
    assert decode_pressure(decode_answer(b"@253ACK1.234E-5;FF", 253)) == 1.234e-5
    assert decode_answer(b"@253ACK1125123456;FF", 253) == "1125123456"
    assert decode_unit("TORR") == pytest.approx(133.3224, rel=1e-6)
    with pytest.raises(Refusal, match=r"refused: message not recognised \(NAK160\)"):
        decode_answer(b"@253NAK160;FF", 253)


def test_an_answer_of_another_transducer_is_not_taken():
    with pytest.raises(ProtocolError, match="an answer of address 12, not 253"):
        decode_answer(b"@012ACK1.23E-3;FF", 253)


@pytest.mark.parametrize("decode", [decode_pressure, decode_unit, decode_status])
@given(st.one_of(st.binary(max_size=30), st.binary(max_size=12).map(lambda data: b"@253ACK" + data + b";FF")))
def test_any_bytes_are_an_answer_or_a_protocol_error(decode, data):
    try:
        decode(decode_answer(data, 253))
    except ProtocolError:
        pass


@given(st.floats(1e-9, 1e6))
def test_pressures_round_trip(value):
    mantissa, exponent = f"{value:.3E}".split("E")
    reply = f"@253ACK{mantissa}E{int(exponent):+d};FF".encode()
    assert decode_pressure(decode_answer(reply, 253)) == pytest.approx(value, rel=1e-3)


def test_connect_identifies_and_reads(gauge):
    assert str(gauge.identity) == "MKS 925 (serial 1125123456, firmware 1.12)"
    assert gauge.pressure.get() == pytest.approx(834.0, rel=1e-3)
    assert (gauge.quality.get(), gauge.state.get()) == ("ok", "")


def test_every_number_has_a_unit_and_a_time(gauge, clock):
    clock.sleep(10)
    gauge.trigger().wait()
    for name, reading in gauge.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.2), name
    assert gauge.describe()["gauge_pressure"]["units"] == "Pa"
    assert gauge.hints["fields"] == ["gauge_pressure"]


def test_both_makes_of_the_family_say_the_same_of_one_vessel(clock, wires, vessel, gauge):
    pfeiffer = PfeifferTpg(
        name="p", address=wires.listen(SimulatedPfeifferTpg(clock, vessel)), clock=clock, channel=1
    )
    pfeiffer.connect()
    for pressure_Pa in (0.02, 5.0, 4e4):
        vessel.held_Pa = pressure_Pa
        for device in (gauge, pfeiffer):
            device.trigger().wait()
            assert (device.quality.get(), device.state.get()) == ("ok", "")
        assert gauge.pressure.get() == pytest.approx(pfeiffer.pressure.get(), rel=0.01)
    pfeiffer.link.close()


@pytest.mark.parametrize("unit", ["TORR", "MBAR", "PASCAL"])
def test_the_pressure_is_in_pascal_whatever_the_transducer_shows(gauge, simulated, unit):
    assert say(simulated, f"@253U!{unit};FF") == f"@253ACK{unit};FF"
    gauge.trigger().wait()
    assert gauge.pressure.get() == pytest.approx(834.0, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "pressure_Pa", "state"),
    [
        ("925", 1e-4, "under-range"),
        ("925", 1.1e5, "over-range"),
        ("972B", 1e-4, ""),
        ("972B", 1e-7, "under-range"),
        ("972B", 1.1e5, "over-range"),
        ("974B", 1e-7, "under-range"),
        ("974B", 3e5, "over-range"),
        ("974B", 1e-4, ""),
        ("974B", 1.1e5, ""),
    ],
)
@pytest.mark.parametrize("unit", ["TORR", "PASCAL"])
def test_beyond_the_range_of_the_model_is_saturated(clock, wires, vessel, model, pressure_Pa, state, unit):
    simulated = SimulatedMks900(clock, vessel, model=model)
    say(simulated, f"@253U!{unit};FF")
    vessel.held_Pa = pressure_Pa
    gauge = Mks900(name="gauge", address=wires.listen(simulated), clock=clock)
    gauge.connect()
    assert (gauge.quality.get(), gauge.state.get()) == ("saturated" if state else "ok", state)
    gauge.link.close()


def test_over_range_as_a_breakdown(gauge, simulated):
    simulated.break_down("over_range")
    gauge.trigger().wait()
    assert (gauge.quality.get(), gauge.state.get()) == ("saturated", "over-range")
    simulated.mend()
    gauge.trigger().wait()
    assert gauge.quality.get() == "ok"


def test_a_broken_sensor_is_an_error_and_leaves_no_number(gauge, simulated):
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"gauge at TCPIP.*reports MicroPirani failure"):
        gauge.trigger().wait()
    assert (gauge.quality.get(), math.isnan(gauge.pressure.get())) == ("invalid", True)
    simulated.mend()
    gauge.trigger().wait()
    assert gauge.quality.get() == "ok"


def test_a_status_that_no_manual_names_is_an_error(gauge, simulated, monkeypatch):
    monkeypatch.setattr(simulated, "_status", lambda: "W")
    with pytest.raises(InstrumentError, match="reports status W"):
        gauge.trigger().wait()
    assert gauge.quality.get() == "invalid"


def test_power_is_lost_and_comes_back(gauge, simulated, vessel):
    simulated.power_cycle()
    vessel.held_Pa = 12.0
    gauge.trigger().wait()
    assert gauge.pressure.get() == pytest.approx(12.0, rel=1e-3)


def test_another_model_is_refused(clock, wires, simulated):
    simulated._model = "902B"
    gauge = Mks900(name="gauge", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'MKS 902B', not MKS 925, 972B or 974B"):
        gauge.connect()


def test_another_address_does_not_answer(clock, wires, simulated):
    gauge = Mks900(name="gauge", address=wires.listen(simulated), clock=clock, unit_address=12)
    with pytest.raises(LinkTimeout, match=r"no reply within 1 s, after b'@012MF\?;FF'"):
        gauge.connect()


@pytest.mark.parametrize("unit_address", [0, 254])
def test_an_address_that_no_transducer_has_is_refused(clock, unit_address):
    with pytest.raises(ValueError, match="unit_address must be 1 to 253"):
        Mks900(name="g", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, unit_address=unit_address)


@pytest.mark.parametrize("reply", range(3))
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(
    gauge, simulated, fault, reply, monkeypatch
):
    faults = iter([None] * reply + [fault])  # replies of a poll: status, unit, pressure
    monkeypatch.setattr(simulated, "next_fault", lambda: next(faults, None))
    for _ in range(3):
        gauge.trigger().wait()
        assert gauge.pressure.get() == pytest.approx(834.0, rel=1e-3)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(gauge, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"gauge at TCPIP.*; check"):
        gauge.trigger().wait()
    simulated.mend()
    gauge.trigger().wait()
    assert gauge.quality.get() == "ok"


def test_safe_state_needs_nothing(gauge):
    gauge.make_safe()
    gauge.make_safe()
    assert gauge.pressure.get() == pytest.approx(834.0, rel=1e-3)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("@253PR1?;FF", "@253ACK6.26E+0;FF"),
        ("@253pr4?;FF", "@253ACK6.256E+0;FF"),
        ("@254PR1?;FF", "@253ACK6.26E+0;FF"),
        ("@255U!PASCAL;FF@253PR4?;FF", "@253ACK8.340E+2;FF"),
        ("@012PR1?;FF", ""),
        ("@253BR?;FF", "@253ACK9600;FF"),
        ("@253BR!19200;FF@253BR?;FF", "@253ACK19200;FF@253ACK19200;FF"),
        ("@253AD!123;FF@123AD?;FF@253AD?;FF", "@253ACK123;FF@123ACK123;FF"),
        ("@253SN?;FF@253MF?;FF@253DT?;FF", "@253ACK1125123456;FF@253ACKMKS;FF@253ACKMicroPirani;FF"),
        ("@253T?;FF@253TEM?;FF", "@253ACKO;FF@253ACK2.50E+1;FF"),
        ("@253SW!OFF;FF@253SW?;FF", "@253ACK;FF@253ACKOFF;FF"),
        ("@253TST!ON;FF@253TST?;FF", "@253ACK;FF@253ACKON;FF"),
        ("@253FD!UNLOCK;FF", "@253ACK;FF"),
        ("@253XYZ?;FF", "@253NAK160;FF"),
        ("@253PR5?;FF", "@253NAK160;FF"),
        ("@253PR1;FF", "@253NAK175;FF"),
        ("@253U!PSI;FF", "@253NAK169;FF"),
        ("@253AD!254;FF", "@253NAK172;FF"),
        ("@253SP1!1E9;FF", "@253NAK172;FF"),
        ("@253SP1!LOW;FF", "@253NAK169;FF"),
        ("noise@253AD?;FF", "@253ACK253;FF"),
    ],
)
def test_the_transducers_side_of_the_protocol(simulated, said, heard):
    assert say(simulated, said) == heard


def test_a_set_point_relay_as_the_manual_sets_it_up(simulated, vessel):
    assert say(simulated, "@253SP1!5.00E+1;FF") == "@253ACK5.00E+1;FF"
    assert say(simulated, "@253SD1!BELOW;FF") == "@253ACKBELOW;FF"
    assert say(simulated, "@253SH1?;FF") == "@253ACK5.50E+1;FF"
    assert say(simulated, "@253SH1!6.00E+1;FF") == "@253ACK6.00E+1;FF"
    assert say(simulated, "@253SS1?;FF") == "@253ACKCLEAR;FF"
    assert say(simulated, "@253EN1!ON;FF") == "@253ACKON;FF"
    for pressure_Torr, state in ((55, "CLEAR"), (49, "SET"), (59, "SET"), (61, "CLEAR"), (55, "CLEAR")):
        vessel.held_Pa = pressure_Torr * 133.3224
        assert say(simulated, "@253SS1?;FF") == f"@253ACK{state};FF"
    assert say(simulated, "@253U!PASCAL;FF@253SP1?;FF") == "@253ACKPASCAL;FF@253ACK6.67E+3;FF"


def test_a_special_transducer_is_locked_after_each_power_up(clock, vessel):
    simulated = SimulatedMks900(clock, vessel, locked=True)
    assert say(simulated, "@253U!MBAR;FF") == "@253NAK180;FF"
    say(simulated, "@253FD!UNLOCK;FF")
    assert say(simulated, "@253U!MBAR;FF") == "@253ACKMBAR;FF"
    simulated.power_cycle()
    assert say(simulated, "@253U!TORR;FF@253U?;FF") == "@253NAK180;FF@253ACKMBAR;FF"


def test_a_public_client_reads_and_sets_the_simulated_transducer(vessel):
    """The client runs in a process of its own, for its warnings."""
    clock = WallClock()
    wires = Wires(clock)
    vessel.held_Pa = 1.5e-3
    address = wires.listen(SimulatedMks900(clock, vessel, model="974B"))
    client = f"""
from pymeasure.instruments.mksinst.mks974b import MKS974B, Unit
gauge = MKS974B("{address}", visa_library="@py", timeout=20000)
gauge.unit = Unit.Pa
gauge.relay_2.setpoint = 0.01
gauge.relay_2.enabled = "cold cathode"
print(gauge.id(), gauge.unit, gauge.status, gauge.pressure, gauge.coldcathode_pressure)
print(gauge.relay_2.setpoint, gauge.relay_2.resetpoint, gauge.relay_2.direction, gauge.relay_2.status)
gauge.user_tag = "VESSEL"
gauge.switch_enabled = False
print(gauge.user_tag, gauge.switch_enabled, gauge.operation_hours, gauge.temperature, gauge.piezo_pressure)
try:
    gauge.relay_1.setpoint = 1e9
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    clock.close()
    wires.close()
    assert done.returncode == 0, done.stderr
    first, second, third, refusal = done.stdout.splitlines()
    assert first == "MKS974B QuadMag (1125123456) PASCAL Cold Cathode On 0.0015 0.0015"
    assert second == "0.01 0.011 BELOW SET"
    assert third == "VESSEL False 0 25.0 13.3"
    assert "@253NAK172" in refusal
