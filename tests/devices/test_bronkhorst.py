import math
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.alicat import Alicat
from devices.bronkhorst import (
    Bronkhorst,
    Parameter,
    decode_message,
    decode_status,
    decode_values,
    encode_message,
    encode_request,
    encode_write,
    frame_message,
    mL_min_per_unit,
)
from devices.status import NotReached
from sim_devices.instruments.alicat import SimulatedAlicat
from sim_devices.instruments.bronkhorst import SimulatedBronkhorst
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

PER_NORMAL = 298.15 / 273.15  # mL/min of the family in one mln/min
MEASURE, SETPOINT = Parameter(1, 0, "int"), Parameter(1, 1, "int")
FLUID, FMEASURE = Parameter(1, 17, "string"), Parameter(33, 0, "float")


class Line:
    """A gas line that follows its set point at once."""

    setpoint_mL_min = 99.0
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
    return SimulatedBronkhorst(clock, gas_line, capacity=500.0)


@pytest.fixture
def mfc(clock, wires, simulated):
    mfc = Bronkhorst(name="mfc", address=wires.listen(simulated), clock=clock)
    mfc.connect()
    yield mfc
    mfc.link.close()


def say(simulated, request):
    """Say a message of the manual; ASCII as text, binary as hexadecimal bytes."""
    data = request.encode() if request.startswith(":") else bytes.fromhex(request)
    return b"".join(simulated.receive(bytearray(data)))


# Messages, in both directions, of 9.17.027 p. 22-26 and of the maker's client


def test_request_of_one_parameter_as_the_manual_prints_it():
    assert encode_request([MEASURE]) == bytes.fromhex("04 01 20 01 20")  # its index there is 1; ours counts
    assert (
        encode_message(1, 3, bytes.fromhex("04 01 20 01 20")).hex(" ")
        == "10 02 01 03 05 04 01 20 01 20 10 03"
    )


def test_answer_captured_by_the_makers_client():
    data = decode_message(bytes.fromhex("10 02 01 03 05 02 01 20 0C 80 10 03"), 1, 3)
    assert decode_values(data, [MEASURE]) == [3200]


def test_chained_request_and_answer():
    parameters = [Parameter(113, 3, "string"), MEASURE, Parameter(1, 13, "float"), FLUID, FMEASURE]
    assert encode_request(parameters).hex(" ") == (
        "04 f1 60 71 63 00 81 a1 01 20 c2 01 4d 63 01 71 00 21 44 21 40"
    )
    answer = bytes.fromhex(
        "02 f1 60 00 4d3100 81 a1 1cd8 c2 3f800000 63 0a 4e322020202020202020 21 44 3e99999a"
    )
    assert decode_values(answer, parameters) == ["M1", 7384, 1.0, "N2", pytest.approx(0.3)]


def test_write_and_its_status():
    assert encode_write([(SETPOINT, 16000)]) == bytes.fromhex("01 01 21 3E 80")
    decode_status(bytes([0, 0, 5]))
    with pytest.raises(Refusal, match=r"status 6 \(parameter value\) at byte 5"):
        decode_status(bytes([0, 6, 5]))


def test_a_data_byte_of_16_is_doubled():
    message = encode_message(0x10, 0x10, b"\x10\x03\x10")
    assert message.hex(" ") == "10 02 10 10 10 10 03 10 10 03 10 10 10 03"
    assert frame_message(message + b"more") == len(message)
    assert decode_message(message, 0x10, 0x10) == b"\x10\x03\x10"


def test_an_error_of_the_interface_is_told():
    with pytest.raises(Refusal, match=r"error 5 \(node address rejected\)"):
        decode_message(bytes.fromhex("10 02 01 04 00 05 10 03"), 1, 4)


@pytest.mark.parametrize(("sequence", "node", "problem"), [(2, 3, "an answer to 1, not 2"), (1, 4, "node 3")])
def test_an_answer_to_somebody_else_is_not_taken(sequence, node, problem):
    with pytest.raises(ProtocolError, match=problem):
        decode_message(encode_message(1, 3, b"\0\0\0"), sequence, node)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("mln/min", 298.15 / 273.15),
        ("ln/min", 1000 * 298.15 / 273.15),
        ("mls/min", 298.15 / 293.15),
        ("ls/h", 1000 / 60 * 298.15 / 293.15),
        ("m3n/h", 1e6 / 60 * 298.15 / 273.15),
    ],
)
def test_units_are_of_normal_or_standard_volume(unit, factor):
    assert mL_min_per_unit(unit) == pytest.approx(factor)


@pytest.mark.parametrize("unit", ["g/h", "l/min", "bar", "", "n/min", "mln/s"])
def test_other_units_are_refused(unit):
    with pytest.raises(Refusal, match="set such a unit"):
        mL_min_per_unit(unit)


@given(
    st.one_of(
        st.binary(min_size=1, max_size=60), st.binary(max_size=60).map(lambda b: encode_message(1, 3, b))
    )
)
def test_any_bytes_are_values_or_a_protocol_error(data):
    try:
        if frame_message(data) is None:
            return
        values = decode_values(decode_message(data, 1, 3), [MEASURE, FLUID])
    except ProtocolError:
        return
    assert isinstance(values[0], int)


@given(
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.floats(width=32, allow_nan=False),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=20),
)
def test_values_round_trip(sequence, integer, number, text):
    data = b"\x02\x81\xa0" + integer.to_bytes(2, "big") + b"\x61\x00" + text.encode() + b"\0"
    data += b"\x21\x42" + struct.pack(">f", number)
    message = encode_message(sequence, 3, data)
    assert frame_message(message + b"\x10\x02") == len(message)
    values = decode_values(decode_message(message, sequence, 3), [MEASURE, FLUID, FMEASURE])
    assert values == [integer, text.strip(), number]


# The driver


def test_connect_identifies_and_takes_the_capacity_as_limit(mfc):
    assert str(mfc.identity) == "Bronkhorst F-201CV-1K0-AAD-22-V (serial M6212345A, firmware V1.10b)"
    assert mfc.flow_setpoint.limits == (0.0, pytest.approx(500.0 * PER_NORMAL))
    assert (mfc.gas.get(), mfc.quality.get(), mfc.state.get()) == ("N2", "ok", "")


def test_every_number_has_a_unit_and_a_time(mfc, clock):
    before = clock.now()
    mfc.trigger().wait()
    readings = mfc.read()
    for name in ("mfc_flow", "mfc_flow_setpoint", "mfc_quality"):
        assert readings[name]["timestamp"] == pytest.approx(before, abs=0.2), name
    assert mfc.describe()["mfc_flow"]["units"] == "mL/min"


@pytest.mark.parametrize("unit", ["mln/min", "ls/min", "m3n/h"])
def test_a_flow_is_one_flow_in_all_units(clock, wires, gas_line, unit):
    simulated = SimulatedBronkhorst(clock, gas_line, unit=unit, capacity=1.5)
    mfc = Bronkhorst(name="mfc", address=wires.listen(simulated), clock=clock)
    mfc.connect()
    told = 0.5 * mfc.flow_setpoint.limits[1]
    mfc.set(told).wait()
    assert gas_line.setpoint_mL_min == pytest.approx(told)
    assert mfc.flow.get() == pytest.approx(told)
    mfc.link.close()


def test_both_makes_of_the_family_hold_the_same_flow(clock, wires, gas_line, mfc):
    alicat = Alicat(name="a", address=wires.listen(SimulatedAlicat(clock, gas_line)), clock=clock)
    alicat.connect()
    mfc.set(123.4).wait()
    alicat.trigger().wait()
    assert alicat.flow.get() == pytest.approx(mfc.flow.get(), abs=0.01)
    alicat.link.close()


def test_set_goes_there_and_settles(mfc, clock):
    before = clock.monotonic()
    mfc.set(250.0).wait()
    assert mfc.flow.get() == pytest.approx(250.0)
    assert mfc.flow_setpoint.get() == pytest.approx(250.0)
    assert 5.0 <= clock.monotonic() - before < 10.0


def test_the_largest_flow_can_be_set(mfc, gas_line):
    mfc.set(mfc.flow_setpoint.limits[1]).wait()
    assert gas_line.setpoint_mL_min == pytest.approx(500.0 * PER_NORMAL)


def test_a_flow_outside_the_limits_is_refused_before_anything_is_sent(mfc, gas_line):
    with pytest.raises(LimitError, match=r"mfc_flow_setpoint: 600 mL/min is not allowed.*0 to 545.76"):
        mfc.set(600)
    assert gas_line.setpoint_mL_min == 0


def test_no_gas_is_told_with_target_and_last_reading(mfc, gas_line):
    gas_line.supply = False
    with pytest.raises(NotReached, match=r"mfc: flow: not settled \(target 250 .* last reading 0 mL/min"):
        mfc.set(250).wait()


def test_a_set_point_that_is_not_held_is_told(mfc, simulated):
    simulated._parameters[33, 3].write = lambda value: None
    with pytest.raises(InstrumentError, match="holds 0 mL/min, told 250 mL/min"):
        mfc.write_setpoint(250.0)


def test_a_refused_set_point_is_told_with_its_reason(mfc, simulated):
    simulated._parameters[33, 3].write = None
    with pytest.raises(InstrumentError, match=r"status 13 \(read only\)"):
        mfc.write_setpoint(250.0)
    assert mfc.link.is_open


@pytest.mark.parametrize("mode", [1, 7, 8])
def test_safe_state_stops_the_flow_whatever_controls_it(mfc, gas_line, simulated, mode):
    mfc.set(250).wait()
    say(simulated, f":0503010104{mode:02X}\r\n")
    mfc.trigger().wait()
    assert mfc.state.get() == f"control mode {mode}"
    for _ in range(2):
        mfc.make_safe()
        assert gas_line.setpoint_mL_min == 0
        assert mfc.flow_setpoint.get() == 0
    mfc.trigger().wait()
    assert mfc.state.get() == ""


def test_the_safe_state_is_tried_again_after_a_fault_of_the_link(mfc, simulated, gas_line):
    mfc.set(250).wait()
    simulated.break_wire("silent")
    mfc.make_safe()
    assert gas_line.setpoint_mL_min == 0


def test_gas_that_flows_on_is_told_in_bounded_time(mfc, gas_line, clock, monkeypatch):
    mfc.set(250).wait()
    monkeypatch.setattr(gas_line, "flow_mL_min", lambda: 250.0)
    begin = clock.monotonic()
    with pytest.raises(InstrumentError, match="still 250 mL/min 15 s after it was told 0 mL/min"):
        mfc.make_safe()
    assert clock.monotonic() - begin < mfc.action_timeout_s


@pytest.mark.parametrize("breakdown", ["error", "over_range"])
def test_a_flow_that_can_not_be_told_is_not_taken_for_stopped(mfc, simulated, gas_line, breakdown):
    mfc.set(250).wait()
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match="still nan mL/min"):
        mfc.make_safe()
    assert gas_line.setpoint_mL_min == 0


def test_a_control_mode_that_stays_is_told(mfc, simulated):
    simulated._parameters[1, 4].write = lambda value: None
    simulated._control_mode = 8
    with pytest.raises(InstrumentError, match="takes its set point from control mode 8"):
        mfc.make_safe()


def test_a_fault_of_the_instrument_is_an_error(mfc, simulated):
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"mfc at .*reports error, hardware error"):
        mfc.trigger().wait()
    assert (mfc.quality.get(), math.isnan(mfc.flow.get())) == ("invalid", True)
    simulated.mend()
    mfc.trigger().wait()
    assert mfc.quality.get() == "ok"


def test_warnings_and_alarms_are_told_but_end_nothing(mfc, simulated):
    simulated.alarm_info = 0x02 | 0x20
    mfc.trigger().wait()
    assert (mfc.state.get(), mfc.quality.get()) == ("warning, response alarm", "ok")


def test_a_busy_instrument_is_told_and_works_again(mfc, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"mfc at .*error 8 \(general error\)"):
        mfc.trigger().wait()
    simulated.mend()
    mfc.trigger().wait()


def test_more_flow_than_it_can_measure_is_saturated(mfc, simulated):
    simulated.break_down("over_range")
    mfc.trigger().wait()
    assert (mfc.quality.get(), math.isnan(mfc.flow.get())) == ("saturated", True)
    simulated.mend()
    mfc.trigger().wait()
    assert (mfc.quality.get(), mfc.flow.get()) == ("ok", 0.0)


def test_power_is_lost_in_the_middle(mfc, simulated, gas_line):
    mfc.set(250.0).wait()
    simulated.power_cycle()
    mfc.trigger().wait()
    assert (mfc.flow.get(), mfc.flow_setpoint.get(), gas_line.setpoint_mL_min) == (0, 0, 0)


def test_another_capacity_than_at_connect_is_an_error(mfc, simulated):
    mfc.set(250.0).wait()
    simulated._kept["capacity"] = 800.0
    with pytest.raises(LinkError, match="of 32000 is not"):
        mfc.trigger().wait()


def test_a_pressure_controller_is_refused(clock, wires, gas_line):
    simulated = SimulatedBronkhorst(clock, gas_line, sensor_type=0)
    mfc = Bronkhorst(name="mfc", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match=r"F-201CV.* with sensor type 0.*not Bronkhorst gas-flow"):
        mfc.connect()


def test_a_unit_of_mass_is_refused(clock, wires, gas_line):
    simulated = SimulatedBronkhorst(clock, gas_line)
    mfc = Bronkhorst(name="mfc", address=wires.listen(simulated), clock=clock)
    simulated._parameters[1, 31].read = lambda: "g/h    "
    with pytest.raises(InstrumentError, match="its unit is 'g/h'"):
        mfc.connect()
    mfc.link.close()


def test_another_node_is_an_error(clock, wires, simulated):
    mfc = Bronkhorst(name="mfc", address=wires.listen(simulated), clock=clock, node=7)
    with pytest.raises(InstrumentError, match=r"error 5 \(node address rejected\)"):
        mfc.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(mfc, simulated, gas_line, fault):
    gas_line.setpoint_mL_min = 123.45
    simulated._setpoint = 123.45 / PER_NORMAL / 500.0
    simulated.break_wire(fault)
    for _ in range(3):
        mfc.trigger().wait()
        assert mfc.flow.get() == pytest.approx(123.45)
        assert mfc.flow_setpoint.get() == pytest.approx(123.45)


def test_no_flipped_bit_of_a_poll_gives_a_wrong_flow(mfc, simulated, gas_line):
    """ProPar has no checksum; half a percent of the capacity is what may be missed."""
    gas_line.setpoint_mL_min = 123.45
    simulated._setpoint = 123.45 / PER_NORMAL / 500.0
    data = simulated._answer(
        3,
        encode_request(
            [
                *map(
                    Parameter,
                    (1, 1, 1, 1, 33, 33),
                    (0, 1, 4, 20, 0, 3),
                    ("int", "int", "char", "char", "float", "float"),
                )
            ]
        ),
    )[1]
    good = mfc._decode_poll(data)
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        try:
            values = mfc._decode_poll(bytes(spoilt))
        except ProtocolError:
            continue
        assert values[4] == pytest.approx(good[4], abs=2 * 0.005 * 500)
        assert values[5] == pytest.approx(good[5], abs=2 * 0.005 * 500)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(mfc, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"mfc at TCPIP.*; check"):
        mfc.trigger().wait()


# The simulated instrument, by the manual's messages


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (":06030401210120\r\n", b":06030201213E80\r\n"),  # p. 25, measure
        (":06030401210121\r\n", b":06030201213E80\r\n"),  # p. 22, set point
        (":06800401210121\r\n", b":06030201213E80\r\n"),
        (":06030101211F40\r\n:06030401210121\r\n", b":0403000005\r\n:06030201211F40\r\n"),
        (":06030201211F40\r\n:06030401210121\r\n", b":06030201211F40\r\n"),  # without status
        (
            ":1D0301800A4081C500000000C63F800000C7000000004800000000000A52\r\n",  # p. 21
            b":040300001C\r\n",
        ),
        (
            ":1A0304F1EC7163006D71660001AE0120CF014DF0017F077101710A\r\n",  # p. 24
            b":370302F1EC004D3632313233343541006D00555345525441470001AE3E80CF43FA0000F0076D6C6E2F6D696E"
            b"710A4E322020202020202020\r\n",
        ),
        ("10 02 01 03 05 04 01 20 01 20 10 03", b"\x10\x02\x01\x03\x05\x02\x01\x20\x3e\x80\x10\x03"),
        ("10 02 10 10 03 05 04 01 20 01 20 10 03", b"\x10\x02\x10\x10\x03\x05\x02\x01\x20\x3e\x80\x10\x03"),
        ("10 02 03 03 05 01 01 21 3E 80 10 03", b"\x10\x02\x03\x03\x03\x00\x00\x05\x10\x03"),
        (":06040401210120\r\n", b":0105\r\n"),  # another node
        ("10 02 01 04 05 04 01 20 01 20 10 03", b"\x10\x02\x01\x04\x00\x05\x10\x03"),
        (":07030401210120\r\n", b":0104\r\n"),  # wrong length
        (":0G\r\n", b":0104\r\n"),
        ("10 02 01 03 06 04 01 20 01 20 10 03", b""),  # wrong length
        (
            "10 02 01 10 04 10 02 01 03 05 04 01 20 01 20 10 03",
            b"\x10\x02\x01\x03\x05\x02\x01\x20\x3e\x80\x10\x03",
        ),
        (":020308\r\n", b":0403000201\r\n"),  # claiming is not simulated
        (":06030402210220\r\n", b":0403000305\r\n"),  # no such process
        (":0603040121013E\r\n", b":0403000405\r\n"),  # no such parameter
        (":06030401010100\r\n", b":0403000505\r\n"),  # measure is no char
        (":06030101217D01\r\n", b":0403000605\r\n"),  # 32001
        (":0603010120 3E80\r\n", b":0403000D05\r\n"),  # measure can't be written
        (":060304010173 08\r\n", b":0403001105\r\n"),
        (":0803014D7F00000000\r\n", b":0403000303\r\n"),
    ],
)
def test_the_instruments_side_of_the_protocol(simulated, said, heard):
    say(simulated, ":06030101213E80\r\n")
    assert say(simulated, said.replace(" ", "") if said.startswith(":") else said) == heard


def test_the_counter_as_the_manual_prints_it(clock, simulated):
    simulated._counted = 5023.96
    assert say(simulated, ":06030468416841\r\n") == b":0803026841459CFFAE\r\n"


def test_the_counter_counts_what_flows(clock, simulated):
    say(simulated, ":06030101217D00\r\n")
    clock.sleep(60.0)
    answer = say(simulated, ":06030468416841\r\n")
    assert struct.unpack(">f", bytes.fromhex(answer[11:19].decode()))[0] == pytest.approx(500.0, rel=1e-3)


def test_secured_parameters_need_init_reset(simulated):
    write_capacity = ":080301014D447A0000\r\n"
    assert say(simulated, write_capacity) == b":0403000D07\r\n"
    assert say(simulated, ":050301000A40\r\n") == b":0403000004\r\n"
    assert say(simulated, write_capacity) == b":0403000007\r\n"
    simulated.power_cycle()
    assert say(simulated, write_capacity) == b":0403000D07\r\n"


def test_the_makers_own_client_reads_and_sets_the_simulated_controller(gas_line):
    """In a process of its own: it has threads that never end."""
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedBronkhorst(clock, gas_line, capacity=500.0)
    _, host, port, _ = wires.listen(simulated)[5:].split("::")
    client = f"""
import propar, serial
line = lambda port, baud, **kwargs: serial.serial_for_url(port, baud, timeout=kwargs["timeout"])
device = propar.instrument("socket://{host}:{port}", serial_class=line)
device.master.response_timeout = 10.0
device.setpoint = 16000
print(device.measure, device.setpoint, device.readParameter(205), device.writeParameter(206, 125.0))
print(device.readParameter(129), device.readParameter(25), device.readParameter(21), device.readParameter(12))
print([p["data"] for p in device.read_parameters(device.db.get_parameters([91, 92, 105, 8, 206]))])
print(device.writeParameter(21, 900.0), device.writeParameter(115, "VESSEL"), device.readParameter(115))
print(device.read_parameters(device.db.get_parameters([142]))[0]["status"], device.readParameter(175))
print(device.master.get_nodes())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    clock.close()
    wires.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "16000 16000 250.0 True",
        "mln/min N2 500.0 0",
        "['F-201CV-1K0-AAD-22-V', 'M6212345A', 'V1.10b', 8000, 125.0]",
        "False True VESSEL",
        "4 7",
        "[{'address': 3, 'type': 'DMFC', 'serial': 'M6212345A', 'id': '\\x07SNM6212345A', 'channels': 1}]",
    ]
    assert gas_line.setpoint_mL_min == pytest.approx(125.0 * PER_NORMAL)
