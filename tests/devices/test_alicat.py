import math
import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.alicat import Alicat, Frame, decode_frame, decode_setpoint, encode_setpoint
from devices.status import NotReached
from sim_devices.instruments.alicat import SimulatedAlicat
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError


class Line:
    """A gas line that follows its set point at once."""

    setpoint_mL_min = 0.0
    supply = True

    def flow_mL_min(self):
        return self.setpoint_mL_min if self.supply else 0.0

    def temperature_C(self):
        return 21.89

    def pressure_kPa(self):
        return 101.325


@pytest.fixture
def gas_line():
    return Line()


@pytest.fixture
def simulated(clock, gas_line):
    return SimulatedAlicat(clock, gas_line, full_scale_mL_min=500.0)


@pytest.fixture
def mfc(clock, wires, simulated):
    mfc = Alicat(name="mfc", address=wires.listen(simulated), clock=clock)
    mfc.connect()
    yield mfc
    mfc.link.close()


def test_frame_captured_from_an_instrument():
    frame = decode_frame(b"A +014.62 +021.89 +000.00 +000.00 +078.95     N2\r", "A")
    assert frame == Frame(14.62, 21.89, 0.0, 0.0, 78.95, "N2", ())


def test_status_codes_are_not_the_gas():
    assert decode_frame(b"A +014.62 +021.89 +000.00 +000.00 +078.95     N2 HLD\r", "A").codes == ("HLD",)


def test_set_point_reply_captured_from_an_instrument():
    assert decode_setpoint(b"A +000.00 +100.00 12 SCCM\r", "A") == 100.0
    assert encode_setpoint("A", 100) == b"ALS 100.00\r"


@given(st.binary(max_size=80))
def test_any_bytes_are_a_frame_or_a_protocol_error(data):
    try:
        frame = decode_frame(data, "A")
    except ProtocolError:
        return
    assert all(math.isfinite(x) for x in (frame.mass_flow_mL_min, frame.setpoint_mL_min))


@given(st.floats(0, 500), st.floats(0, 500), st.text(string.ascii_letters, min_size=1, max_size=6))
def test_frames_round_trip(flow, setpoint, gas):
    reply = f"A +014.62 +021.89 +000.00 {flow:+07.2f} {setpoint:+07.2f} {gas:>6}\r".encode()
    frame = decode_frame(reply, "A")
    assert frame.mass_flow_mL_min == pytest.approx(flow, abs=0.006)
    assert frame.gas == gas


def test_connect_identifies_and_takes_the_full_scale_as_limit(mfc):
    assert str(mfc.identity) == "Alicat MC (firmware 10v20.0-R24)"
    assert mfc.flow_setpoint.limits == (0.0, 500.0)


def test_every_number_has_a_unit_and_a_time(mfc, clock):
    mfc.trigger().wait()
    for name, reading in mfc.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    assert mfc.describe()["mfc_flow"]["units"] == "mL/min"


def test_set_goes_there_and_settles(mfc, clock):
    before = clock.monotonic()
    mfc.set(250.0).wait()
    assert mfc.flow.get() == pytest.approx(250.0)
    assert 5.0 <= clock.monotonic() - before < 10.0


def test_a_flow_outside_the_limits_is_refused_before_anything_is_sent(mfc, gas_line):
    with pytest.raises(LimitError, match=r"mfc_flow_setpoint: 600 mL/min is not allowed.*0 to 500"):
        mfc.set(600)
    assert gas_line.setpoint_mL_min == 0


def test_no_gas_is_told_with_target_and_last_reading(mfc, gas_line):
    gas_line.supply = False
    with pytest.raises(
        NotReached, match=r"mfc: flow: not settled \(target 250 .* last reading 0 mL/min, waited 6"
    ):
        mfc.set(250).wait()


def test_a_fault_of_the_instrument_is_an_error(mfc, simulated):
    simulated.extra_status = "TMF"
    with pytest.raises(InstrumentError, match="reports TMF"):
        mfc.trigger().wait()
    assert mfc.quality.get() == "invalid"


def test_safe_state_stops_the_flow(mfc, gas_line):
    mfc.set(250).wait()
    mfc.make_safe()
    assert gas_line.setpoint_mL_min == 0


@pytest.mark.parametrize("hold", ["AHP", "AHC"])
def test_safe_state_lets_go_of_a_valve_that_is_held_from_the_front_panel(mfc, simulated, gas_line, hold):
    mfc.set(250).wait()
    simulated.answer(hold)
    mfc.trigger().wait()
    assert (mfc.state.get(), mfc.quality.get()) == ("HLD", "ok")
    mfc.make_safe()
    assert gas_line.flow_mL_min() == 0
    assert (mfc.state.get(), mfc.flow.get()) == ("", 0)
    mfc.set(100).wait()
    assert gas_line.flow_mL_min() == 100


def test_a_hold_that_can_not_be_ended_is_told(mfc, simulated, monkeypatch):
    simulated.answer("AHP")
    monkeypatch.setattr(simulated, "_hold_valve", lambda hold: simulated._frame())
    with pytest.raises(InstrumentError, match=r"mfc at .* keeps its valve held"):
        mfc.make_safe()


def test_gas_that_flows_on_is_told_in_bounded_time(mfc, gas_line, clock, monkeypatch):
    mfc.set(250).wait()
    monkeypatch.setattr(gas_line, "flow_mL_min", lambda: 250.0)
    begin = clock.monotonic()
    with pytest.raises(InstrumentError, match="still 250 mL/min 15 s after it was told 0 mL/min"):
        mfc.make_safe()
    assert clock.monotonic() - begin < mfc.action_timeout_s


def test_a_fault_of_the_totalizer_does_not_make_the_stopped_flow_doubtful(mfc, simulated):
    simulated.extra_status = "OVR"
    mfc.make_safe()
    simulated.extra_status = "ADC"
    with pytest.raises(InstrumentError, match="still nan mL/min"):
        mfc.make_safe()


def test_the_safe_state_is_tried_again_after_a_fault_of_the_link(mfc, simulated, gas_line):
    mfc.set(250).wait()
    simulated.break_wire("silent")
    mfc.make_safe()
    assert gas_line.flow_mL_min() == 0


@pytest.mark.parametrize("breakdown", SimulatedAlicat.breakdowns)
def test_a_breakdown_is_an_error_until_it_is_mended(mfc, simulated, breakdown):
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=r"mfc at .* reports (ADC|MOV)"):
        mfc.trigger().wait()
    assert mfc.quality.get() == "invalid"
    simulated.mend()
    mfc.trigger().wait()
    assert mfc.quality.get() == "ok"


def test_a_power_cycle_stops_the_flow_and_the_next_poll_says_so(mfc, simulated, gas_line):
    mfc.set(250).wait()
    simulated.power_cycle()
    mfc.trigger().wait()
    assert (mfc.flow.get(), mfc.flow_setpoint.get()) == (0, 0)


def test_an_approach_fails_when_the_flow_is_set_anew_or_made_safe(mfc, gas_line):
    gas_line.supply = False
    first = mfc.set(250)
    second = mfc.set(100)
    with pytest.raises(NotReached, match=r"mfc: flow: was set anew \(target 250"):
        first.wait()
    mfc.make_safe()
    with pytest.raises(NotReached, match=r"mfc: flow: was brought into its safe state \(target 100"):
        second.wait()


def test_the_same_flow_set_twice_is_one_approach(mfc):
    first, second = mfc.set(250), mfc.set(250)
    first.wait()
    assert second.done


def test_another_instrument_at_the_address_is_refused(clock, wires, gas_line):
    other = SimulatedAlicat(clock, gas_line, unit="B")
    mfc = Alicat(name="mfc", address=wires.listen(other), clock=clock)
    with pytest.raises(LinkTimeout, match=r"mfc at TCPIP.*no reply within 1 s, after b'AVE\\r'"):
        mfc.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(mfc, simulated, gas_line, fault):
    gas_line.setpoint_mL_min = 123.45
    simulated.break_wire(fault)
    for _ in range(3):
        mfc.trigger().wait()
        assert mfc.flow.get() == pytest.approx(123.45)


def test_the_double_of_a_reply_is_not_taken_for_the_next_answer(mfc, simulated):
    simulated.break_wire("duplicate")
    mfc.trigger().wait()
    mfc.set(250).wait()  # its acknowledgement has another form than the reply that came twice
    assert mfc.flow_setpoint.get() == 250


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(mfc, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"mfc at TCPIP.*; check"):
        mfc.trigger().wait()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("AGS 8", b"A 8 N2 Nitrogen\r"),
        ("AGS 8 0", b"A 8 N2 Nitrogen\r"),
        ("A$$W46=8", b"A   046 = 8\r"),
        ("AG8", b"     N2\r"),
    ],
)
def test_the_gas_of_the_simulated_controller_is_set(simulated, command, reply):
    assert simulated.answer("AGS") == b"A 0 Air Air\r"
    assert simulated.answer(command).endswith(reply)
    assert simulated.answer("A").endswith(b"     N2\r")
    assert simulated.answer("A$$R46") == b"A   046 = 8\r"
    assert b"A G08       N2\r" in simulated.answer("A??G*")


@pytest.mark.parametrize("command", ["AGS 12", "AGS x", "AGS ", "AG", "A$$W46=", "AGX"])
def test_a_gas_that_the_simulated_controller_does_not_know_is_refused(simulated, command):
    assert simulated.answer(command) == b"?\r"
    assert simulated.answer("A").endswith(b"    Air\r")


@pytest.mark.parametrize("command", ["AV", "AP", "A$$PC"])
def test_a_tare_is_acknowledged_with_a_reading(simulated, command):
    assert simulated.answer(command) == simulated.answer("A")


def test_a_public_client_reads_and_sets_the_simulated_controller(gas_line):
    """The client is GPL: it runs in a process of its own."""
    clock = WallClock()
    wires = Wires(clock)
    _, host, port, _ = wires.listen(SimulatedAlicat(clock, gas_line, full_scale_mL_min=500.0))[5:].split("::")
    client = f"""
import asyncio
from alicat import FlowController
async def main():
    async with FlowController("{host}:{port}") as controller:
        await controller.set_flow_rate(123.0)
        print((await controller.get())["mass_flow"], await controller.get_firmware())
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=60, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("123.0")
    assert gas_line.setpoint_mL_min == 123.0
