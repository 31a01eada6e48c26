import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.espec import (
    Espec,
    Loop,
    Monitor,
    check_acknowledgement,
    decode_alarms,
    decode_humidity,
    decode_mode,
    decode_monitor,
    decode_temperature,
    decode_type,
    encode_loop,
)
from devices.families.climate_chamber import CONSTANT, PROGRAM, STANDBY
from devices.status import NotReached
from sim_devices.instruments.espec import SimulatedEspec
from sim_devices.physics.climate_chamber import ClimateChamber
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument

LIMITS = {"temperature_setpoint": (-10.0, 85.0), "humidity_setpoint": (20.0, 80.0)}


@pytest.fixture
def chamber(clock):
    return ClimateChamber(clock, np.random.default_rng(1))


@pytest.fixture
def simulated(clock, chamber):
    return SimulatedEspec(clock, chamber)


def driver(clock, wires, simulated, **options):
    return Espec(name="chamber", address=wires.listen(simulated), clock=clock, limits=LIMITS, **options)


@pytest.fixture
def espec(clock, wires, simulated):
    espec = driver(clock, wires, simulated)
    espec.connect()
    yield espec
    espec.link.close()


@pytest.fixture
def dry(clock, wires, chamber):
    """A chamber that has no humidity."""
    simulated = SimulatedEspec(clock, chamber, humidity=False)
    espec = Espec(name="dry", address=wires.listen(simulated), clock=clock)
    espec.connect()
    yield espec
    espec.link.close()


def say(simulated, clock, command):
    """Say something to the simulated chamber, not too soon."""
    clock.sleep(1.0)
    return simulated.answer(command).decode()


# --- codec


def test_monitor_reply_that_the_maker_prints():
    assert decode_monitor(b"24.1,100,CONSTANT,0\r\n") == Monitor(24.1, 100.0, CONSTANT, 0)


def test_humidity_is_empty_where_there_is_none():
    monitor = decode_monitor(b"-12.3,,RUN,2\r\n")
    assert (monitor.temperature_C, monitor.mode, monitor.alarms) == (-12.3, PROGRAM, 2)
    assert math.isnan(monitor.humidity_percent)


def test_type_captured_from_an_instrument():
    assert decode_type(b"T,T,S2,160.0\r\n") == (True, "S2", 160.0)
    assert decode_type(b"T,S2,160.0\r\n") == (False, "S2", 160.0)


def test_loops():
    assert decode_temperature(b"23.4,25.0,100.0,-40.0\r\n") == Loop(23.4, 25.0, 100.0, -40.0)
    assert decode_humidity(b"45,50,98,10\r\n") == Loop(45, 50, 98, 10)
    assert math.isnan(decode_humidity(b"45,OFF,98,10\r\n").setpoint)


def test_commands_as_the_public_clients_send_them():
    assert encode_loop("TEMP", 1, S=40) == "TEMP, S40.0"
    assert encode_loop("TEMP", 1, S=40, H=90, L=5) == "TEMP, S40.0 H90.0 L5.0"
    assert encode_loop("HUMI", 0, S=50) == "HUMI, S50"


@pytest.mark.parametrize("reply", [b"OK:TEMP, S40.0\r\n", b"OK : TEMP, S40.0\r\n"])
def test_acknowledgements_with_and_without_the_blanks_of_the_printed_form(reply):
    check_acknowledgement(reply, "TEMP, S40.0")
    with pytest.raises(ProtocolError):
        check_acknowledgement(reply, "TEMP, S41.0")


@pytest.mark.parametrize("reply", [b"NA:DATA OUT OF RANGE\r\n", b"NA : DATA OUT OF RANGE\r\n"])
def test_a_refusal_is_no_garbage(reply):
    with pytest.raises(Refusal, match="DATA OUT OF RANGE"):
        decode_temperature(reply)


def test_alarms_are_counted():
    assert decode_alarms(b"0\r\n") == ()
    assert decode_alarms(b"2,1,12\r\n") == (1, 12)
    with pytest.raises(ProtocolError, match="1 alarms where 2"):
        decode_alarms(b"2,1\r\n")


@given(
    st.one_of(st.binary(max_size=40), st.text("0123456789.,-+OFNAKRUT: \r\n", max_size=30).map(str.encode))
)
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (
        decode_temperature,
        decode_humidity,
        decode_monitor,
        decode_mode,
        decode_alarms,
        decode_type,
    ):
        try:
            decoded = decode(data)
        except ProtocolError:
            continue
        if isinstance(decoded, Loop):
            assert all(map(math.isfinite, (decoded.value, decoded.high, decoded.low)))


tenths = st.integers(-999, 1999).map(lambda number: number / 10)


@given(tenths, tenths, tenths, tenths)
def test_loops_round_trip(value, setpoint, high, low):
    reply = f"{value:.1f},{setpoint:.1f},{high:.1f},{low:.1f}\r\n".encode()
    assert decode_temperature(reply) == Loop(value, setpoint, high, low)


# --- driver


def test_connect_identifies(espec):
    assert str(espec.identity) == "ESPEC S2 up to 160 degC (firmware P300 Ver.1.00)"
    assert espec.controls_humidity
    assert espec.state.get() == STANDBY
    assert espec.quality.get() == "ok"
    assert espec.temperature.get() == pytest.approx(23.0, abs=0.2)
    assert math.isnan(espec.humidity_setpoint.get())


def test_alarm_limits_are_in_the_chamber_before_it_starts(espec, simulated, clock):
    assert say(simulated, clock, "TEMP?").split(",", 1)[1] == "23.0,90.0,-15.0\r\n"
    assert say(simulated, clock, "HUMI?").split(",", 1)[1] == "OFF,85,15\r\n"
    assert espec.temperature_setpoint.limits == (-10.0, 85.0)
    assert espec.humidity_setpoint.limits == (20.0, 80.0)


def test_a_set_point_outside_the_new_alarm_limits_is_brought_inside(clock, wires, simulated):
    simulated.answer("TEMP, S120.0")
    espec = driver(clock, wires, simulated)
    espec.connect()
    assert espec.temperature_setpoint.get() == 90.0


def test_limits_that_are_narrower_in_the_chamber_stay(clock, wires, simulated):
    simulated.answer("TEMP, H60.0 L5.0")
    espec = driver(clock, wires, simulated)
    espec.connect()
    assert espec.temperature_setpoint.limits == (5.0, 60.0)


def test_a_chamber_that_is_protected_can_not_take_limits(clock, wires, simulated):
    simulated.answer("KEYPROTECT,ON")
    with pytest.raises(InstrumentError, match=r"chamber at .*PROTECT ON.*TEMP, H90.0 L-15.0"):
        driver(clock, wires, simulated).connect()


def test_another_instrument_is_refused_with_what_was_found(clock, wires, simulated):
    simulated._monitors["TYPE?"] = lambda parameters: "KEITHLEY INSTRUMENTS INC.,MODEL 2450"
    with pytest.raises(WrongInstrument, match=r"found .*'KEITHLEY INSTRUMENTS INC.,MODEL 2450'"):
        driver(clock, wires, simulated).connect()


def test_a_controller_without_type_is_refused(clock, wires, simulated):
    del simulated._monitors["TYPE?"]
    with pytest.raises(WrongInstrument, match="does not know TYPE"):
        driver(clock, wires, simulated).connect()


def test_every_number_has_a_unit_and_a_time(espec, clock):
    espec.trigger().wait()
    for name, reading in espec.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=1.0), name
    units = {name: d.get("units") for name, d in espec.describe().items()}
    assert units["chamber_temperature"] == "degC"
    assert units["chamber_relative_humidity"] == "%"


def test_set_goes_there_and_settles(espec, chamber, clock):
    before_s = clock.monotonic()
    espec.set(60.0, settle_s=120.0).wait()
    assert chamber.temperature_C() == pytest.approx(60.0, abs=0.6)
    assert espec.state.get() == CONSTANT
    assert math.isnan(espec.humidity_setpoint.get())
    assert 60.0 * 37.0 / 3.0 + 120.0 <= clock.monotonic() - before_s < 1800.0


def test_cold(espec):
    espec.set(-10.0).wait()
    assert espec.temperature.get() == pytest.approx(-10.0, abs=0.5)


def test_both_quantities_must_settle(espec, chamber):
    espec.set(24.0, humidity_percent=75.0).wait()
    assert espec.relative_humidity.get() == pytest.approx(75.0, abs=3.0)
    assert espec.humidity_setpoint.get() == 75.0
    assert espec.temperature.get() == pytest.approx(24.0, abs=0.5)
    espec.set(24.0).wait()
    assert math.isnan(espec.humidity_setpoint.get())


@pytest.mark.parametrize(
    "climate", [{"temperature_C": 90.0}, {"temperature_C": 30.0, "humidity_percent": 95.0}]
)
def test_limits_are_checked_before_anything_is_sent(espec, climate):
    sent = []
    espec.link.send = lambda command: sent.append(command)
    with pytest.raises(LimitError, match="is not allowed"):
        espec.set(**climate)
    assert not sent


def test_humidity_of_a_dry_chamber_is_a_clear_error(dry):
    with pytest.raises(InstrumentError, match=r"dry at .*can't control humidity, 50 % was asked for"):
        dry.set(30.0, humidity_percent=50.0)
    dry.set(30.0).wait()
    assert math.isnan(dry.relative_humidity.get())
    assert dry.quality.get() == "ok"


def test_without_limits_of_the_station_those_of_the_chamber_hold(dry):
    assert dry.temperature_setpoint.limits == (-40.0, 160.0)


def test_a_chamber_that_does_not_heat_is_told(espec, chamber):
    chamber.heating_K_min = 0.0
    with pytest.raises(
        NotReached, match=r"chamber: temperature: not settled \(target 60 .*last reading 2\d.* degC, waited"
    ):
        espec.set(60.0).wait()


def test_humidity_that_does_not_come_is_told(espec, chamber):
    espec.set(24.0, humidity_percent=50.0).wait()
    chamber.humidity_lag_s = 1e9
    with pytest.raises(
        NotReached, match=r"chamber: humidity: not settled \(target 75 .*last reading [45]\d % at 2\d"
    ):
        espec.set(24.0, humidity_percent=75.0).wait()


def test_limits_changed_at_the_chamber_are_noticed_before_it_starts(espec, simulated, clock):
    say(simulated, clock, "TEMP, H150.0")
    with pytest.raises(InstrumentError, match="alarm limits are -15 to 150 degC now"):
        espec.set(60.0).wait()
    assert say(simulated, clock, "MODE?") == "STANDBY\r\n"


def test_a_program_gives_way_to_constant(espec, simulated, clock):
    say(simulated, clock, "RUN PRGM, TEMP25.0 TIME5:00 GOTEMP40.0")
    espec.trigger().wait()
    assert espec.state.get() == PROGRAM
    espec.set(30.0).wait()
    assert espec.state.get() == CONSTANT


def test_safe_state_is_standby_and_idempotent(espec, simulated, clock, chamber):
    espec.set(30.0).wait()
    espec.make_safe()
    assert espec.state.get() == STANDBY
    espec.make_safe()
    assert chamber.heater_percent() == 0.0
    say(simulated, clock, "MODE,OFF")
    espec.make_safe()
    assert say(simulated, clock, "MODE?") == "OFF\r\n"


def test_safe_state_after_a_fault_of_the_link(espec, simulated, clock):
    espec.set(30.0).wait()
    simulated.break_wire("silent")
    espec.make_safe()
    assert say(simulated, clock, "MODE?") == "STANDBY\r\n"


def test_safe_state_that_does_not_come_is_an_error(espec, simulated):
    espec.set(30.0).wait()
    simulated._settings["MODE"] = lambda parameters: None
    with pytest.raises(InstrumentError, match="is in mode 'constant', told 'standby'"):
        espec.make_safe()


def test_a_limit_alarm_stops_the_chamber_and_stays(espec, simulated, chamber):
    espec.set(80.0).wait()
    chamber.air_C = 95.0
    espec.trigger().wait()
    assert espec.tripped == "chamber alarm 1"
    assert espec.quality.get() == "invalid"
    assert espec.state.get() == STANDBY
    chamber.air_C = 40.0
    espec.trigger().wait()
    assert espec.tripped == "chamber alarm 1"
    with pytest.raises(InstrumentError, match="is in alarm: 1; acknowledge it at the chamber"):
        espec.set(30.0).wait()
    simulated.acknowledge()
    espec.set(30.0).wait()
    assert espec.tripped == ""


def test_an_alarm_ends_an_approach(espec, simulated, pass_time):
    status = espec.set(80.0)
    pass_time(60.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="is in alarm: 12"):
        status.wait()


def test_a_busy_chamber_is_an_error_until_it_is_mended(espec, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"chamber at .*CHB NOT READY"):
        espec.trigger().wait()
    assert espec.quality.get() == "invalid"
    assert espec.tripped == "the reading is invalid"
    simulated.mend()
    espec.trigger().wait()
    assert espec.quality.get() == "ok"


def test_a_busy_chamber_is_not_taken_for_another_model(clock, wires, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match="CHB NOT READY"):
        driver(clock, wires, simulated).connect()


def test_power_is_lost_in_the_middle(espec, simulated, pass_time):
    status = espec.set(60.0)
    pass_time(120.0)
    simulated.power_cycle()
    espec.trigger().wait()
    assert espec.state.get() == STANDBY
    with pytest.raises(InstrumentError, match="is no longer in constant operation but in standby"):
        status.wait()
    espec.set(30.0).wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(espec, simulated, chamber, fault):
    for after in range(4):
        espec.trigger().wait()
        simulated.break_wire(fault)
        for _ in range(after):
            espec._ask("TEMP?", decode_temperature)
        espec.trigger().wait()
        assert espec.temperature.get() == pytest.approx(chamber.temperature_C(), abs=0.3)
        assert espec.relative_humidity.get() == pytest.approx(chamber.humidity_percent(), abs=1.5)
        assert espec.quality.get() == "ok"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(espec, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"chamber at TCPIP.*; c"):
        espec.trigger().wait()
    assert espec.quality.get() == "invalid"


def test_the_chamber_is_given_the_time_that_the_makers_clients_give_it(espec, simulated):
    espec.set(30.0, humidity_percent=50.0).wait()
    espec.make_safe()
    assert simulated.early_commands == 0


def test_an_address_for_rs_485(clock, wires, chamber):
    simulated = SimulatedEspec(clock, chamber, unit=3)
    espec = driver(clock, wires, simulated, unit=3)
    espec.connect()
    espec.set(30.0).wait()
    with pytest.raises(LinkTimeout, match="no reply"):
        driver(clock, wires, simulated, unit=4).connect()
    with pytest.raises(InstrumentError, match="ADDR ERR"):
        driver(clock, wires, SimulatedEspec(clock, chamber), unit=3).connect()


# --- simulated chamber, beyond what the driver uses


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("TENMP?", "NA:CMD ERR"),
        ("TEMP, S120.0 H90.0 L5.0", "NA:DATA OUT OF RANGE"),
        ("TEMP, SOFF", "NA:PARA ERR"),
        ("temp,S25", "OK:temp,S25"),
        ("TEMP,  S 25.0", "OK:TEMP,  S 25.0"),
        ("PRGM MON?", "NA:CONT NOT READY-2"),
        ("PRGM,PAUSE", "NA:CONT NOT READY-2"),
        ("MODE,RUN7", "NA:DATA NOT READY"),
        ("PRGM DATA?,RAM:1", "NA:DATA NOT READY"),
        ("PRGM DATA WRITE,PGM1,STEP1,TEMP25.0", "NA:PRGM WRITE ERR-2"),
        ("RELAY,ON,13", "NA:CONT NOT READY-5"),
        ("TEMP PTC?", "NA:CONT NOT READY-1"),
        ("CONSTANT SET?,PTC", "NA:CONT NOT READY-1"),
        ("CONSTANT SET?,TEMP", "23.0,ON"),
        ("CONSTANT SET?,HUMI", "50,OFF"),
        ("CONSTANT SET?,REF", "AUTO"),
        ("SET?", "REF9"),
        ("REF?", "2,OFF1,OFF2"),
        ("RELAY?", "0"),
        ("%?", "2,0.0,0.0"),
        ("SRQ?", "00000000"),
        ("DATE?", "23.11/14"),
        ("KEYPROTECT?", "OFF"),
        ("ALARM?", "0"),
        ("TYPE?", "T,T,S2,160.0"),
    ],
)
def test_answers(simulated, clock, command, answer):
    assert say(simulated, clock, command) == f"{answer}\r\n"


def test_keys_can_not_be_locked_while_power_is_off(simulated, clock):
    say(simulated, clock, "POWER,off")
    assert say(simulated, clock, "KEYPROTECT,ON") == "NA:CONT NOT READY-4\r\n"


def test_a_dry_chamber_refuses_humidity(clock, chamber):
    simulated = SimulatedEspec(clock, chamber, humidity=False)
    assert simulated.answer("HUMI?") == b"NA:CONT NOT READY-1\r\n"
    assert simulated.answer("TYPE?") == b"T,S2,160.0\r\n"
    assert simulated.answer("MON?").split(b",")[1] == b""


def test_a_remote_ramp_runs_and_holds(simulated, clock, chamber):
    assert say(simulated, clock, "RUN PRGM, TEMP25.0 TIME1:00 GOTEMP55.0 HUMI50 GOHUMI60").startswith("OK:")
    clock.sleep(1800.0)
    assert float(say(simulated, clock, "TEMP?").split(",")[1]) == pytest.approx(40.0, abs=0.1)
    assert chamber.temperature_C() == pytest.approx(40.0, abs=1.0)
    assert say(simulated, clock, "RUN PRGM MON?").startswith("1,40.")
    assert say(simulated, clock, "RUN PRGM?") == "TEMP25.0 GOTEMP55.0 HUMI50 GOHUMI60 TIME1:00 REF9\r\n"
    assert say(simulated, clock, "MODE?,DETAIL") == "RMT RUN\r\n"
    clock.sleep(3600.0)
    assert say(simulated, clock, "MODE?,DETAIL") == "RMT RUN END HOLD\r\n"
    assert chamber.temperature_C() == pytest.approx(55.0, abs=0.5)


def test_a_program_is_written_run_and_read_back(simulated, clock, chamber):
    for command in (
        "PRGM DATA WRITE,PGM2,EDIT START",
        "PRGM DATA WRITE,PGM2,STEP1,TEMP40.0,TRAMPOFF,HUMI60,HRAMPOFF,TIME1:00,GRANTY OFF,PAUSE OFF,REF9",
        "PRGM DATA WRITE,PGM2,STEP2,TEMP0.0,TRAMPON,HUMIOFF,TIME2:00,RELAY ON1.5",
        "PRGM DATA WRITE,PGM2,COUNT,A(1.2.1)",
        "PRGM DATA WRITE,PGM2,NAME,CYCLE",
        "PRGM DATA WRITE,PGM2,END,STANDBY",
        "PRGM DATA WRITE,PGM2,EDIT END",
    ):
        assert say(simulated, clock, command) == f"OK:{command}\r\n"
    assert say(simulated, clock, "PRGM USE?,RAM") == "1,2\r\n"
    assert say(simulated, clock, "PRGM USE?,RAM:2") == "CYCLE,23.11/14\r\n"
    assert say(simulated, clock, "PRGM DATA?,RAM:2") == "2,<CYCLE>,COUNT,A(1.2.1),B(0.0.0),END(STANDBY)\r\n"
    assert say(simulated, clock, "PRGM DATA?,RAM:2,STEP2") == (
        "2,TEMP0.0,TEMP RAMP ON,HUMI OFF,TIME2:00,GRANTY OFF,REF9,RELAY ON1.5,PAUSE OFF\r\n"
    )
    assert say(simulated, clock, "PRGM DATA?,RAM:2,DETAIL") == "160.0,-40.0,98,10,TEMPOFF,HUMIOFF\r\n"
    say(simulated, clock, "PRGM,RUN,RAM:2,STEP1")
    clock.sleep(3000.0)
    assert say(simulated, clock, "PRGM MON?") == "1,40.0,60,0:09,1,0\r\n"
    assert chamber.temperature_C() == pytest.approx(40.0, abs=0.3)
    clock.sleep(600.0 + 3600.0)
    assert say(simulated, clock, "PRGM MON?").startswith("2,20.")
    assert say(simulated, clock, "RELAY?") == "2,1,5\r\n"
    say(simulated, clock, "PRGM,PAUSE")
    clock.sleep(9999.0)
    assert say(simulated, clock, "MODE?,DETAIL") == "RUN PAUSE\r\n"
    say(simulated, clock, "PRGM,CONTINUE")
    clock.sleep(3600.0)
    assert say(simulated, clock, "PRGM MON?").startswith("1,40.0")  # once more, by counter A
    clock.sleep(3.0 * 3600.0)
    assert say(simulated, clock, "MODE?") == "STANDBY\r\n"
    assert say(simulated, clock, "PRGM ERASE,RAM:2").startswith("OK")


def test_protected_settings_can_not_be_changed_but_the_chamber_stopped(simulated, clock):
    say(simulated, clock, "KEYPROTECT,ON")
    assert say(simulated, clock, "TEMP, S30.0") == "NA:PROTECT ON\r\n"
    assert say(simulated, clock, "MODE,STANDBY").startswith("OK")


def test_a_public_client_works_on_the_simulated_chamber():
    """The client is espec-pr3j 0.5.0; its patterns know no negative temperature."""
    clock = WallClock()
    wires = Wires(clock)
    chamber = ClimateChamber(clock, np.random.default_rng(1))
    simulated = SimulatedEspec(clock, chamber, temperature_range_C=(0.0, 160.0))
    _, host, port, _ = wires.listen(simulated)[5:].split("::")
    client = f"""
import pyvisa
from espec_pr3j import EspecPr3j, OperationMode, SettingError
chamber = EspecPr3j(
    resource_path="TCPIP0::{host}::{port}::SOCKET", resource_manager=pyvisa.ResourceManager("@py")
)
chamber.set_temperature_limits(100.0, 5.0)
chamber.set_humidity_limits(90, 20)
chamber.set_target_temperature(24.5)
chamber.set_target_humidity(50)
status = chamber.get_temperature_status()
print(status.target_temperature, status.upper_limit, status.lower_limit)
print(chamber.get_humidity_status().target_humidity)
chamber.set_mode(OperationMode.CONSTANT)
print(chamber.get_mode(), chamber.get_test_area_state().number_of_alarms)
print(chamber.get_heater_percentage().humidity_heater > 0)
chamber.set_target_humidity(None)
print(chamber.get_humidity_status().target_humidity)
try:
    chamber.set_target_temperature(130.0)
except SettingError:
    print("refused")
chamber.set_mode(OperationMode.STANDBY)
print(chamber.get_mode())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [
        "24.5 100.0 5.0",
        "50.0",
        "CONSTANT 0",
        "True",
        "None",
        "refused",
        "STANDBY",
    ]
