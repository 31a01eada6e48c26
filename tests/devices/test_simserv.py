import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.climate_chamber import CONSTANT, STANDBY
from devices.simserv import Simserv, decode, decode_count, decode_number, decode_reading, decode_text, encode
from devices.status import NotReached
from sim_devices.instruments.simserv import SimulatedSimserv
from sim_devices.physics.climate_chamber import ClimateChamber
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

LIMITS = {"temperature_setpoint": (-30.0, 80.0), "humidity_setpoint": (20.0, 90.0)}


@pytest.fixture
def chamber(clock):
    return ClimateChamber(clock, np.random.default_rng(1))


@pytest.fixture
def simulated(clock, chamber):
    return SimulatedSimserv(clock, chamber, humidity=True, alarm_limits_C=(-35.0, 85.0))


def driver(clock, wires, simulated, **options):
    options = {"humidity_output": 3, "limits": LIMITS, **options}
    return Simserv(name="chamber", address=wires.listen(simulated), clock=clock, **options)


@pytest.fixture
def simserv(clock, wires, simulated):
    simserv = driver(clock, wires, simulated)
    simserv.connect()
    yield simserv
    simserv.link.close()


def say(simulated, command):
    """Say something to the simulated chamber, written with paragraph signs as the maker does."""
    return simulated.answer(command).decode("latin-1").removesuffix("\r\n")


# --- codec


def test_commands_of_the_makers_example():
    assert encode(11001, 1, "56.7") == b"11001\xb61\xb61\xb656.7\r"
    assert encode(14001, 1, 1) == b"14001\xb61\xb61\xb61\r"
    assert encode(11004, 1) == b"11004\xb61\xb61\r"


def test_replies_as_clients_quote_them():
    assert decode_number(b"1\xb623.90\r\n") == 23.9
    assert decode(b"1\r\n") == []
    with pytest.raises(Refusal, match="return code -5: unknown command"):
        decode(b"-5\r\n")


def test_what_the_chamber_can_not_read_is_no_number():
    assert math.isnan(decode_reading(b"-8\r\n"))
    with pytest.raises(Refusal, match="data can't be read"):
        decode_number(b"-8\r\n")


@given(
    st.one_of(
        st.binary(max_size=30), st.text("01-5.\xb6\r\n", max_size=15).map(lambda t: t.encode("latin-1"))
    )
)
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decoded in (decode_text, decode_count, decode_number, decode_reading):
        try:
            value = decoded(data)
        except ProtocolError:
            continue
        if decoded is decode_number:
            assert math.isfinite(value)


@given(st.integers(-9999, 19999).map(lambda number: number / 100))
def test_numbers_round_trip(value):
    assert decode_number(f"1\xb6{value:.2f}\r\n".encode("latin-1")) == value


# --- driver


def test_connect_identifies(simserv):
    assert str(simserv.identity) == "Weiss LabEvent T/210/70/5 (serial 64636625, firmware 1.9.0)"
    assert simserv.state.get() == STANDBY
    assert simserv.temperature.get() == pytest.approx(23.0, abs=0.2)
    assert math.isnan(simserv.humidity_setpoint.get())
    assert simserv.quality.get() == "ok"


def test_limits_of_the_chamber_are_taken_over(simserv):
    assert simserv.temperature_setpoint.limits == (-30.0, 80.0)
    assert simserv.humidity_setpoint.limits == (20.0, 90.0)


def test_alarm_limits_that_are_too_wide_are_refused_with_what_to_set(clock, wires, chamber):
    simulated = SimulatedSimserv(clock, chamber, humidity=True)
    with pytest.raises(
        InstrumentError, match=r"alarm limits are -75 to 185 degC.*set them at the chamber to -35 to 85 degC"
    ):
        driver(clock, wires, simulated).connect()


def test_without_limits_of_the_station_those_of_the_chamber_hold(clock, wires, chamber):
    simulated = SimulatedSimserv(clock, chamber)
    simserv = driver(clock, wires, simulated, limits={}, humidity_output=None)
    simserv.connect()
    assert simserv.temperature_setpoint.limits == (-70.0, 180.0)
    assert math.isnan(simserv.relative_humidity.get())
    with pytest.raises(InstrumentError, match="can't control humidity"):
        simserv.set(30.0, humidity_percent=50.0)


def test_a_station_file_that_names_humidity_of_a_dry_chamber_is_refused(clock, wires, chamber):
    simulated = SimulatedSimserv(clock, chamber, alarm_limits_C=(-35.0, 85.0))
    with pytest.raises(InstrumentError, match="has no humidity, but the station file names"):
        driver(clock, wires, simulated).connect()


def test_another_instrument_is_refused_with_what_was_found(clock, wires, simulated):
    simulated._variables[0].unit = "bar"
    with pytest.raises(WrongInstrument, match=r"found .*LabEvent.* is in 'bar'"):
        driver(clock, wires, simulated).connect()


def test_a_server_without_name_plate_is_refused(clock, wires, simulated):
    del simulated._commands[99997]
    with pytest.raises(WrongInstrument, match=r"return code -5.*not Weiss Technik"):
        driver(clock, wires, simulated).connect()


def test_every_number_has_a_unit_and_a_time(simserv, clock):
    simserv.trigger().wait()
    for name, reading in simserv.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=1.0), name
    assert simserv.describe()["chamber_temperature"]["units"] == "degC"


def test_set_goes_there_and_settles(simserv, chamber, clock):
    before_s = clock.monotonic()
    simserv.set(60.0, settle_s=120.0).wait()
    assert chamber.temperature_C() == pytest.approx(60.0, abs=0.6)
    assert simserv.state.get() == CONSTANT
    assert simserv.temperature_setpoint.get() == 60.0
    assert 60.0 * 37.0 / 3.0 + 120.0 <= clock.monotonic() - before_s < 1800.0


def test_both_quantities_must_settle(simserv):
    simserv.set(24.0, humidity_percent=75.0).wait()
    assert simserv.relative_humidity.get() == pytest.approx(75.0, abs=3.0)
    assert simserv.humidity_setpoint.get() == 75.0
    simserv.set(24.0).wait()
    assert math.isnan(simserv.humidity_setpoint.get())


@pytest.mark.parametrize(
    "climate", [{"temperature_C": 90.0}, {"temperature_C": 30.0, "humidity_percent": 95.0}]
)
def test_limits_are_checked_before_anything_is_sent(simserv, climate):
    sent = []
    simserv.link.send = lambda command: sent.append(command)
    with pytest.raises(LimitError, match="is not allowed"):
        simserv.set(**climate)
    assert not sent


def test_a_set_point_that_is_not_taken_is_an_error(simserv, simulated):
    simulated._commands[11001] = lambda arguments: []
    with pytest.raises(
        InstrumentError, match=r"temperature_setpoint \(degC\): holds 23.0, told 60, after 5 s"
    ):
        simserv.set(60.0).wait()
    assert say(simulated, "14003¶1¶1") == "1¶0"


def test_a_chamber_that_does_not_heat_is_told(simserv, chamber):
    chamber.heating_K_min = 0.0
    with pytest.raises(NotReached, match=r"chamber: temperature: not settled \(target 60 .*last reading 2\d"):
        simserv.set(60.0).wait()


def test_safe_state_is_at_rest_and_idempotent(simserv, simulated):
    simserv.set(30.0).wait()
    simserv.make_safe()
    assert simserv.state.get() == STANDBY
    assert say(simulated, "10012¶1") == "1¶1"
    simserv.make_safe()


def test_safe_state_after_a_fault_of_the_link(simserv, simulated):
    simserv.set(30.0).wait()
    simulated.break_wire("silent")
    simserv.make_safe()
    assert say(simulated, "10012¶1") == "1¶1"


def test_safe_state_that_does_not_come_is_an_error(simserv, simulated):
    simserv.set(30.0).wait()
    simulated._commands[14001] = lambda arguments: []
    with pytest.raises(InstrumentError, match="digital output 1: holds 1, told 0, after 5 s"):
        simserv.make_safe()


def test_a_program_of_the_chamber_is_stopped_first(simserv, simulated):
    simulated._outputs[0] = True
    running = [True]
    simulated._commands[19210] = lambda arguments: [int(running[0])]
    simulated._commands[19015] = lambda arguments: running.clear() or running.append(False) or []
    simserv.trigger().wait()
    assert simserv.state.get() == "program"
    simserv.make_safe()
    assert running == [False]
    assert simserv.state.get() == STANDBY


def test_an_alarm_stops_the_chamber_and_stays(simserv, simulated, chamber):
    simserv.set(80.0).wait()
    chamber.air_C = 90.0
    simserv.trigger().wait()
    assert simserv.tripped == "chamber alarm Temperature alarm limit exceeded"
    assert simserv.quality.get() == "invalid"
    assert simserv.state.get() == STANDBY
    chamber.air_C = 40.0
    with pytest.raises(InstrumentError, match="is in alarm: Temperature alarm limit exceeded"):
        simserv.set(30.0).wait()
    say(simulated, "17012¶1")
    simserv.set(30.0).wait()
    assert simserv.tripped == ""


def test_a_fault_of_the_machinery_ends_an_approach(simserv, simulated, pass_time):
    status = simserv.set(80.0)
    pass_time(60.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="is in alarm: Refrigeration: high pressure"):
        status.wait()
    simulated.mend()
    simserv.set(30.0).wait()


def test_a_sensor_that_can_not_be_read_is_no_number(simserv, simulated):
    simulated.break_down("over_range")
    simserv.trigger().wait()
    assert math.isnan(simserv.temperature.get())
    assert simserv.quality.get() == "invalid"
    simulated.mend()
    simserv.trigger().wait()
    assert simserv.quality.get() == "ok"


def test_a_busy_chamber_is_an_error_until_it_is_mended(simserv, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"chamber at .*return code -9: error while executing"):
        simserv.trigger().wait()
    assert simserv.tripped == "the reading is invalid"
    simulated.mend()
    simserv.trigger().wait()
    assert simserv.tripped == ""


def test_power_is_lost_in_the_middle(simserv, simulated, pass_time):
    status = simserv.set(60.0)
    pass_time(120.0)
    simulated.power_cycle()
    simserv.trigger().wait()
    assert simserv.state.get() == STANDBY
    with pytest.raises(InstrumentError, match="is no longer in constant operation but in standby"):
        status.wait()
    simserv.set(30.0).wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(simserv, simulated, chamber, fault):
    for after in range(6):
        simserv.trigger().wait()
        for skipped in range(after):
            simserv._ask(decode_reading, 11004, 1 + skipped % 2)
        simulated.break_wire(fault)
        simserv.trigger().wait()
        assert simserv.temperature.get() == pytest.approx(chamber.temperature_C(), abs=0.3)
        assert simserv.relative_humidity.get() == pytest.approx(chamber.humidity_percent(), abs=1.5)
        assert simserv.quality.get() == "ok"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(simserv, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"chamber at TCPIP.*; check"):
        simserv.trigger().wait()
    assert simserv.quality.get() == "invalid"


# --- simulated chamber, beyond what the driver uses


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("", "-1"),
        ("11004", "-2"),
        ("11004¶x¶1", "-3"),
        ("12345¶1¶1", "-5"),
        ("11001¶1¶1", "-6"),
        ("11001¶1¶1¶nan", "-6"),
        ("11001¶1¶1¶500", "-6"),
        ("11001¶1¶1¶56.7", "1"),
        ("11004¶1¶7", "-8"),
        ("10012¶1", "1¶1"),
        ("10012¶1¶1", "1¶1"),
        ("11018¶1", "1¶2"),
        ("11026¶1¶1", "1¶Temperature"),
        ("11023¶1¶1", "1¶\xb0C"),
        ("11015¶1¶1", "1¶85.00"),
        ("14010¶1¶5", "1¶Air dryer"),
        ("14001¶1¶6¶1", "1"),
        ("14003¶1¶6", "1¶0"),
        ("17002¶1", "1¶4"),
        ("17009¶1¶3", "1¶0"),
        ("13005¶1¶1", "1¶100.00"),
        ("19210¶1", "1¶0"),
        ("19014¶1¶1¶1", "-10"),
    ],
)
def test_answers(simulated, command, answer):
    assert say(simulated, command) == answer


def test_a_set_point_is_acknowledged_before_it_is_shown(simulated, clock):
    say(simulated, "11001¶1¶1¶56.7")
    assert say(simulated, "11002¶1¶1") == "1¶23.00"
    clock.sleep(1.0)
    assert say(simulated, "11002¶1¶1") == "1¶56.70"


def test_a_gradient_slows_the_chamber(simulated, clock, chamber):
    for command in ("11068¶1¶1¶1.0", "11001¶1¶1¶60", "14001¶1¶1¶1"):
        assert say(simulated, command) == "1"
    assert say(simulated, "11066¶1¶1") == "1¶1.00"
    clock.sleep(600.0)
    assert chamber.temperature_C() == pytest.approx(33.0, abs=0.2)


def test_a_public_client_works_on_the_simulated_chamber():
    """The client is weiss_labevent of basil-daq 3.3.0."""
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedSimserv(clock, ClimateChamber(clock, np.random.default_rng(1)))
    _, host, port, _ = wires.listen(simulated)[5:].split("::")
    client = f"""
from basil.HL.weiss_labevent import weissLabEvent
from basil.TL.Socket import Socket
wire = Socket(
    {{"name": "wire", "type": "Socket", "init": {{
        "address": "{host}", "port": {port}, "encoding": "latin-1",
        "write_termination": "\\\\r", "read_termination": "\\\\r\\\\n",
    }}}}
)
wire.init()
chamber = weissLabEvent(wire, {{"name": "chamber", "type": "weiss_labevent", "interface": "wire"}})
chamber.init()
chamber.set_temperature(45.5)
import time
time.sleep(0.5)
print(chamber.get_temperature_setpoint(), chamber.get_status())
chamber.start_manual_mode()
print(chamber.get_status(), 20 < chamber.get_temperature() < 30)
chamber.set_air_dryer(True)
print(chamber.get_air_dryer(), chamber.get_compressed_air())
chamber.stop_manual_mode()
print(chamber.get_status())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [
        "45.5 1: Test not running (Idle)",
        "3: Test running True",
        "True False",
        "1: Test not running (Idle)",
    ]
