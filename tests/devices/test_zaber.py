import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.status import NotReached
from devices.zaber import Zaber, checksum, decode_integer, decode_reply, decode_warnings, encode
from sim_devices.instruments.zaber import SimulatedZaber
from sim_devices.physics.press import PressFrame
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

MICROSTEP_MM = 0.047625e-3


@pytest.fixture
def frame(clock):
    return PressFrame(clock, np.random.default_rng(1), position_mm=5.0)


@pytest.fixture
def simulated(clock, frame):
    return SimulatedZaber(clock, frame)


@pytest.fixture
def make(clock, wires, simulated):
    made = []

    def make_(connect=True, **options):
        zaber = Zaber(
            name="ram", address=wires.listen(simulated), clock=clock, microstep_um=0.047625, **options
        )
        made.append(zaber)
        if connect:
            zaber.connect()
        return zaber

    yield make_
    for zaber in made:
        zaber.link.close()


@pytest.fixture
def ram(make):
    ram = make()
    ram.home().wait()
    return ram


def test_messages_sent_by_the_makers_client():
    assert encode(1, 0, 2, "get comm.packet.size.max") == b"/1 0 02 get comm.packet.size.max:CE\n"
    assert encode(0, 0, 1, "") == b"/0 0 01:FF\n"


def test_replies_of_the_makers_mock_port_with_a_message_number():
    reply = decode_reply(b"@01 0 00 OK IDLE -- 50419\r\n", 1, 0, 0, checked=False)
    assert (reply.busy, reply.warning, reply.data) == (False, "--", "50419")
    with pytest.raises(Refusal, match="rejected: BADCOMMAND"):
        decode_reply(b"@01 1 07 RJ IDLE WR BADCOMMAND\r\n", 1, 1, 7, checked=False)


def test_a_reply_counts_only_with_its_number_its_axis_and_its_checksum():
    body = "01 1 07 OK BUSY WR 2000"
    frame = f"@{body}:{checksum(body)}\r\n".encode()
    assert decode_reply(frame, 1, 1, 7).data == "2000"
    for address, axis, number in ((2, 1, 7), (1, 0, 7), (1, 1, 8)):
        with pytest.raises(ProtocolError, match="not the reply"):
            decode_reply(frame, address, axis, number)
    with pytest.raises(ProtocolError, match="checksum"):
        decode_reply(frame.replace(b"2000", b"2001"), 1, 1, 7)
    with pytest.raises(ProtocolError, match="no checksum"):
        decode_reply(f"@{body}\r\n".encode(), 1, 1, 7)


def test_the_list_of_warnings():
    assert decode_warnings("00") == ()
    assert decode_warnings("02 FS WR") == ("FS", "WR")
    for wrong in ("", "2 FS WR", "01 FS WR", "FS"):
        with pytest.raises(ProtocolError):
            decode_warnings(wrong)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_reply_or_a_protocol_error(data):
    try:
        decode_reply(data, 1, 1, 7)
    except ProtocolError:
        return
    raise AssertionError(f"{data!r} passes for a reply")


@given(st.integers(1, 99), st.integers(0, 9), st.integers(0, 99), st.integers(-(2**31), 2**31))
def test_replies_round_trip(address, axis, number, value):
    body = f"{address:02d} {axis} {number:02d} OK IDLE -- {value}"
    reply = decode_reply(f"@{body}:{checksum(body)}\r\n".encode(), address, axis, number)
    assert decode_integer(reply.data) == value


def test_connect_identifies_and_brings_the_limits_into_the_instrument(make):
    ram = make(limits={"target": (1.0, 12.0), "velocity": (0.0, 2.0)})
    assert str(ram.identity) == "Zaber device 50871 (serial 63017, firmware 7.38)"
    assert ram.target.limits == (1.0, 12.0)
    assert ram.velocity.limits == (0.0, 2.0)
    assert ram._integer("limit.min") * MICROSTEP_MM == pytest.approx(1.0, abs=MICROSTEP_MM)
    assert ram._integer("limit.max") * MICROSTEP_MM == pytest.approx(12.0, abs=MICROSTEP_MM)
    assert ram._integer("maxspeed") == pytest.approx(2.0 / MICROSTEP_MM * 1.6384, abs=1.0)


def test_the_ends_of_the_limits_can_be_reached(make, frame):
    ram = make(limits={"target": (1.0, 12.0), "velocity": (0.0, 2.0)})
    ram.home().wait()
    frame.gap_mm = 100.0
    for target_mm in (12.0, 1.0):
        ram.move_to(target_mm, velocity_mm_s=2.0).wait()
        assert frame.position_mm() == pytest.approx(target_mm, abs=MICROSTEP_MM)


def test_an_upload_that_does_not_hold_is_an_error(make, simulated, monkeypatch):
    monkeypatch.setattr(simulated, "_set", lambda name, text: "0")
    simulated._settings["comm.checksum"] = 1
    with pytest.raises(InstrumentError, match=r"holds limit.max 524934, told \d+"):
        make(limits={"target": (0.0, 12.0)})


def test_wider_limits_leave_those_of_the_instrument(make):
    ram = make(limits={"target": (-5.0, 500.0), "velocity": (0.0, 100.0)})
    assert ram.target.limits == pytest.approx((0.0, 25.0), abs=MICROSTEP_MM)
    assert ram.velocity.limits[1] == pytest.approx(5.0, abs=1e-4)


def test_an_older_firmware_is_refused(make, simulated, monkeypatch):
    get = simulated._get
    monkeypatch.setattr(simulated, "_get", lambda name: "6.28" if name == "version" else get(name))
    with pytest.raises(WrongInstrument, match=r"found 'device 50871 with firmware 6.28', not Zaber"):
        make()


def test_without_reference_there_is_no_position_and_no_motion_but_home(make, frame, clock):
    ram = make()
    assert np.isnan(ram.axis_position.get())
    assert ram.homed.get() == 0
    assert ram.warnings.get() == "WR"
    assert ram.quality.get() == "invalid"
    with pytest.raises(InstrumentError, match="has no reference position; home it first"):
        ram.move_to(3.0).wait()
    with pytest.raises(InstrumentError, match="home it first"):
        ram.move_at(0.5).wait()
    assert frame.position_mm() == 5.0
    ram.home().wait()
    assert (ram.homed.get(), ram.quality.get(), ram.axis_position.get()) == (1, "ok", 0.0)
    assert frame.position_mm() == 0.0


def test_every_number_has_a_unit_and_a_time(ram, clock):
    clock.sleep(5.0)
    before_s = clock.now()
    ram.trigger().wait()
    readings = ram.read()
    for name in ("ram_axis_position", "ram_moving", "ram_homed", "ram_warnings", "ram_quality"):
        assert before_s <= readings[name]["timestamp"] <= clock.now(), name
    assert ram.describe()["ram_axis_position"]["units"] == "mm"
    assert ram.describe()["ram_velocity"]["units"] == "mm/s"


def test_move_to_goes_there_at_the_speed_it_is_told(ram, frame, clock):
    before_s = clock.monotonic()
    ram.move_to(4.0, velocity_mm_s=0.5).wait()
    assert frame.position_mm() == pytest.approx(4.0, abs=MICROSTEP_MM)
    assert ram.axis_position.get() == pytest.approx(4.0, abs=MICROSTEP_MM)
    assert 8.0 <= clock.monotonic() - before_s < 9.0
    assert ram.velocity.get() == pytest.approx(0.5, abs=1e-4)


def test_move_at_goes_on_until_it_is_stopped_or_at_its_limit(ram, frame, clock, pass_time):
    ram.move_at(0.5).wait()
    pass_time(4.0)
    ram.make_safe()
    assert ram.moving.get() == 0
    stopped_mm = frame.position_mm()
    assert 2.0 < stopped_mm < 2.2
    pass_time(4.0)
    assert frame.position_mm() == stopped_mm
    ram.move_at(-4.0).wait()
    pass_time(4.0)
    assert frame.position_mm() == 0.0


def test_what_is_outside_the_limits_is_refused_before_anything_is_sent(ram, frame):
    with pytest.raises(LimitError, match=r"ram_target: 30 mm is not allowed.*from 0 to 25 mm"):
        ram.move_to(30)
    with pytest.raises(LimitError, match=r"ram_velocity: 9 mm/s is not allowed"):
        ram.move_to(3, velocity_mm_s=9)
    with pytest.raises(LimitError):
        ram.move_at(-9.0)
    assert frame.position_mm() == 0.0


def test_a_stopped_motion_is_told_with_target_and_last_reading(ram, pass_time):
    status = ram.move_to(10.0, velocity_mm_s=1.0)
    pass_time(2.0)
    ram.stop()
    with pytest.raises(NotReached, match=r"ram: position: .*safe state \(target 10 .* last reading [12]"):
        status.wait()


def test_a_stall_fails_the_motion_and_lasts_until_it_is_cleared(ram, frame):
    frame.thrust_N = 100.0  # the sample begins at 10 mm
    with pytest.raises(InstrumentError, match=r"reports FS \(stalled and stopped\)"):
        ram.move_to(12.0).wait()
    with pytest.raises(InstrumentError, match="stalled"):
        ram.trigger().wait()
    assert ram.quality.get() == "invalid"
    ram.make_safe()
    ram.clear_warnings()
    assert ram.quality.get() == "ok"
    ram.move_to(5.0).wait()


def test_the_safe_state_is_standing_still_and_is_confirmed(ram, simulated, frame, monkeypatch):
    ram.move_at(1.0).wait()
    ram.make_safe()
    here_mm = frame.position_mm()
    ram.make_safe()
    assert frame.position_mm() == here_mm
    ram.move_at(0.5).wait()
    monkeypatch.setattr(simulated, "_stop", lambda: None)
    with pytest.raises(InstrumentError, match="was told to stop, but moves at"):
        ram.make_safe()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(ram, simulated, fault):
    ram.move_to(3.0).wait()
    simulated.break_wire(fault)
    for _ in range(3):
        ram.trigger().wait()
        assert ram.axis_position.get() == pytest.approx(3.0, abs=MICROSTEP_MM)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(ram, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"ram at TCPIP.*; check"):
        ram.trigger().wait()
    simulated.mend()
    ram.trigger().wait()


def test_a_stop_is_told_again_when_its_reply_is_lost(ram, simulated, frame):
    ram.move_at(1.0).wait()
    simulated.break_wire("silent")
    ram.make_safe()
    assert frame.arrives_s() is None


@pytest.mark.parametrize(("breakdown", "told"), [("busy", "rejected: AGAIN"), ("error", "FF.*critical")])
def test_a_breakdown_is_an_error_and_over_when_it_is_mended(ram, simulated, breakdown, told):
    ram.move_to(3.0).wait()
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=told):
        ram.trigger().wait()
    simulated.mend()
    ram.trigger().wait()
    assert ram.quality.get() == "ok"


def test_a_power_cycle_loses_the_reference_and_gives_no_wrong_position(ram, simulated, frame):
    ram.move_to(4.0).wait()
    simulated.power_cycle()
    ram.trigger().wait()
    assert np.isnan(ram.axis_position.get())
    assert ram.homed.get() == 0
    with pytest.raises(InstrumentError, match="home it first"):
        ram.move_to(5.0).wait()
    ram.home().wait()
    ram.move_to(5.0).wait()
    assert frame.position_mm() == pytest.approx(5.0, abs=MICROSTEP_MM)


def say(simulated, text):
    return simulated.answer(text).decode().strip()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("/1 1 03 nonsense", "@01 1 03 RJ IDLE WR BADCOMMAND"),
        ("/1 9 03 get pos", "@01 9 03 RJ IDLE WR BADAXIS"),
        ("/1 1 03 move abs -1", "@01 1 03 RJ IDLE WR BADDATA"),
        ("/1 1 03 move abs x", "@01 1 03 RJ IDLE WR BADDATA"),
        ("/1 1 03 set system.serial 5", "@01 1 03 RJ IDLE WR BADCOMMAND"),
        ("/1 1 03 get pos:00", ""),  # a wrong checksum: ignored
        ("/2 1 03 get pos", ""),
        ("/1 1 -- get pos", ""),
        ("/get version", "@01 0 OK IDLE WR 7.38"),
        ("/1 warnings", "@01 0 OK IDLE WR 01 WR"),
        ("/1 1 03 tools parking park", "@01 1 03 OK IDLE WR 0"),
        ("/1 1 03 driver disable", "@01 1 03 OK IDLE FO 0"),
    ],
)
def test_the_simulated_actuator_answers_as_the_protocol_says(simulated, command, reply):
    assert say(simulated, command) == reply


def test_the_simulated_actuator_moves_parks_and_alerts(simulated, frame, clock):
    assert say(simulated, "/1 1 home") == "@01 1 OK BUSY WR 0"
    clock.sleep(2.0)
    assert say(simulated, "/1 1") == "@01 1 OK IDLE -- 0"
    say(simulated, "/1 1 tools parking park")
    assert say(simulated, "/1 1 move abs 100") == "@01 1 RJ IDLE -- PARKED"
    simulated.power_cycle()
    assert say(simulated, "/1 1") == "@01 1 OK IDLE -- 0"  # parked: the reference is kept
    say(simulated, "/1 1 tools parking unpark")
    say(simulated, "/1 0 set comm.alert 1")
    assert say(simulated, "/1 1 move rel 1000") == "@01 1 OK BUSY -- 0"
    assert simulated.next_unsolicited() > clock.monotonic()
    clock.sleep(1.0)
    assert list(simulated.unsolicited()) == [b"!01 1 IDLE --\r\n"]
    assert say(simulated, "/1 1 get pos") == "@01 1 OK IDLE -- 1000"


def test_the_makers_client_drives_the_simulated_actuator(tmp_path):
    """Strict about numbers, checksums and alerts; in a process of its own, for it brings a native library."""
    clock = WallClock()
    wires = Wires(clock)
    frame = PressFrame(clock, np.random.default_rng(1), position_mm=0.5)
    _, host, port, _ = wires.listen(SimulatedZaber(clock, frame))[5:].split("::")
    client = f"""
from zaber_motion import MotionLibException
from zaber_motion.ascii import Connection
with Connection.open_tcp("{host}", {port}) as connection:
    device = connection.detect_devices(identify_devices=False)[0]
    axis = device.get_axis(1)
    print(axis.is_homed(), sorted(axis.warnings.get_flags()))
    axis.home()
    connection.enable_alerts()
    axis.move_absolute(10000)
    axis.move_relative(-4000)
    print(axis.is_homed(), axis.get_position())
    axis.settings.set("limit.max", 20000)
    try:
        axis.move_absolute(20001)
    except MotionLibException as error:
        print(type(error).__name__)
    axis.move_velocity(20000)
    axis.stop()
    print(axis.is_busy(), axis.settings.get("limit.max"))
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == [
        "False ['WR']",
        "True 6000.0",
        "BadDataException",
        "False 20000.0",
    ]


def test_the_simulated_actuator_tells_that_it_is_parked(simulated):
    assert simulated.answer("/1 1 get parking.state") == b"@01 1 OK IDLE WR 0\r\n"
    simulated.answer("/1 1 tools parking park")
    assert simulated.answer("/1 1 get parking.state").endswith(b" 1\r\n")
    assert b" RJ " in simulated.answer("/1 1 set parking.state 0")


def test_the_simulated_actuator_takes_another_number(simulated):
    assert simulated.answer("/1 0 renumber 100") == b"@01 0 RJ IDLE WR BADDATA\r\n"
    assert b" OK " in simulated.answer("/1 0 renumber 7")
    assert simulated.answer("/1 0 get deviceid") == b""
    assert simulated.answer("/7 0 get deviceid") == b"@07 0 OK IDLE WR 50871\r\n"
