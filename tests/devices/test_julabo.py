import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.julabo import (
    Julabo,
    JulaboStatus,
    decode_number,
    decode_status,
    decode_switch,
    decode_version,
    encode_order,
)
from devices.status import NotReached
from sim_devices.instruments.julabo import SimulatedJulabo
from sim_devices.physics.circulator import Circulator as Bath
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, WrongInstrument


def make_bath(clock, **options):
    return Bath(clock, np.random.default_rng(1), **{"noise_K": 0.0} | options)


@pytest.fixture
def bath(clock):
    return make_bath(clock)


@pytest.fixture
def simulated(clock, bath):
    return SimulatedJulabo(clock, bath)


@pytest.fixture
def connect(clock, wires):
    circulators = []

    def connect(simulated, **options):
        circulator = Julabo(name="bath", address=wires.listen(simulated), clock=clock, **options)
        circulators.append(circulator)
        circulator.connect()
        return circulator

    yield connect
    for circulator in circulators:
        circulator.link.close()


@pytest.fixture
def circulator(connect, simulated):
    return connect(simulated)


class Orders(SimulatedJulabo):
    """Notes the orders that it is given."""

    def __init__(self, *args, **kwargs):
        self.orders = []
        super().__init__(*args, **kwargs)

    def _order(self, command, argument):
        self.orders.append(f"{command} {argument}")
        return super()._order(command, argument)


# the codec: lines that the maker prints


def test_lines_of_the_manuals():
    assert encode_order("out_sp_00", 55.5) == b"out_sp_00 55.50\r"
    assert encode_order("out_mode_05", 1) == b"out_mode_05 1\r"
    assert decode_number(b"55.5\n") == 55.5
    assert decode_status(b"03 REMOTE START\r\n") == JulaboStatus(3, "03 REMOTE START")
    assert decode_status(b"00 MANUAL STOP\r\n").manual
    failed = decode_status(b"-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE\r\n")
    assert (failed.command_failed, failed.alarm) == (True, "")
    assert decode_status(b"-01 LOW LEVEL ALARM\r\n").alarm == "-01 LOW LEVEL ALARM"
    assert decode_version(b"JULABO CRYOCOMPACT CF31 VERSION 5.0\r\n") == ("CRYOCOMPACT CF31", "5.0")


def test_a_sensor_that_is_not_there_is_no_number():
    assert math.isnan(decode_number(b"---.--\r\n"))


@given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode)))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (decode_number, decode_switch, decode_status, decode_version):
        try:
            decode(data)
        except ProtocolError:
            pass


@given(st.decimals(-90, 400, places=2))
def test_temperatures_round_trip(value):
    command, text = encode_order("out_sp_00", float(value)).split()
    assert command == b"out_sp_00"
    assert decode_number(text + b"\r\n") == pytest.approx(float(value), abs=1e-9)


# the simulated circulator


def say(simulated, clock, line):
    """One command, in peace."""
    clock.sleep(1.0)
    return simulated.answer(line)


def test_orders_are_silent_and_the_next_status_tells_what_was_wrong(simulated, clock):
    for order, error in [
        ("out_sp_00 abc", b"-08 INVALID COMMAND\r\n"),
        ("out_sp_99 1", b"-08 INVALID COMMAND\r\n"),
        ("in_pv_77", b"-08 INVALID COMMAND\r\n"),
        ("out_sp_00 -80", b"-10 VALUE TOO SMALL\r\n"),
        ("out_sp_00 900", b"-11 VALUE TOO LARGE\r\n"),
        ("out_sp_00 40.00", b"02 REMOTE STOP\r\n"),
    ]:
        assert say(simulated, clock, order) == b""
        assert say(simulated, clock, "status") == error
    assert say(simulated, clock, "status") == b"02 REMOTE STOP\r\n"
    assert say(simulated, clock, "out_sp_03 30") == b""
    assert say(simulated, clock, "out_sp_00 40") == b""
    assert say(simulated, clock, "status") == b"-13 VALUE EXCEEDS TEMPERATURE LIMITS\r\n"
    simulated.remote = False
    say(simulated, clock, "out_mode_05 1")
    assert say(simulated, clock, "status") == b"-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE\r\n"
    assert say(simulated, clock, "in_mode_05") == b"0\r\n"


def test_a_command_right_after_an_order_is_lost(simulated, clock):
    clock.sleep(1.0)
    simulated.answer("out_sp_00 40")
    clock.sleep(0.2)
    assert simulated.answer("in_sp_00") == b""
    assert simulated.lost == ["in_sp_00"]
    clock.sleep(0.05)
    assert simulated.answer("IN_SP_00") == b"40.00\r\n"


def test_commands_may_come_with_flow_control_characters(simulated):
    assert b"".join(simulated.receive(bytearray(b"\x11version\x13\r"))).startswith(b"JULABO MAGIO")


# the driver


def test_connect_identifies_and_takes_the_limits_over(circulator):
    assert str(circulator.identity) == "Julabo MAGIO MS-1000F (firmware 1.1.2)"
    assert circulator.temperature_setpoint.limits == (-50.0, 180.0)  # the protection is set to 180 degC
    assert circulator.temperature.get() == pytest.approx(25.0)
    assert (circulator.quality.get(), circulator.tripped) == ("ok", "")


def test_connecting_tells_the_instrument_nothing_it_need_not_know(connect, clock, bath):
    simulated = Orders(clock, bath)
    connect(simulated)
    assert simulated.orders == []


def test_limits_of_the_station_are_brought_into_the_instrument(connect, clock, simulated):
    circulator = connect(simulated, limits={"temperature_setpoint": (-10.0, 90.0)})
    assert circulator.temperature_setpoint.limits == (-10.0, 90.0)
    assert say(simulated, clock, "in_sp_03") == b"90.00\r\n"
    assert say(simulated, clock, "in_sp_04") == b"-10.00\r\n"


def test_limits_that_the_instrument_does_not_hold_are_refused(connect, clock, bath):
    class Deaf(SimulatedJulabo):
        def _obey(self, command, value):
            return 0

    with pytest.raises(InstrumentError, match="high temperature limit: holds 200, told 90"):
        connect(Deaf(clock, bath), limits={"temperature_setpoint": (-10.0, 90.0)})


def test_a_model_without_limits_is_bounded_by_its_protection_alone(connect, clock, bath):
    class CorioCD(SimulatedJulabo):
        def _ask(self, command):
            return None if command in ("in_sp_03", "in_sp_04", "in_pv_02") else super()._ask(command)

    simulated = CorioCD(clock, bath, protection_C=120.0, version="JULABO CORIO CD-200F VERSION 1.0")
    circulator = connect(
        simulated,
        warning_limits=False,
        external_sensor=False,
        limits={"temperature_setpoint": (10.0, 150.0)},
    )
    assert circulator.temperature_setpoint.limits == (10.0, 120.0)
    assert math.isnan(circulator.external_temperature.get())
    assert circulator.quality.get() == "ok"


def test_in_manual_mode_it_can_be_read_but_not_told(connect, clock, bath):
    circulator = connect(SimulatedJulabo(clock, bath, remote=False))
    assert circulator.temperature.get() == pytest.approx(25.0)
    with pytest.raises(InstrumentError, match=r"bath at TCPIP.*manual mode: switch remote control on"):
        circulator.set(40.0).wait()


def test_every_number_has_a_unit_and_a_time(circulator, clock):
    circulator.trigger().wait()
    for name, reading in circulator.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
    units = {name: description.get("units") for name, description in circulator.describe().items()}
    assert units == {
        "bath_quality": None,
        "bath_temperature": "degC",
        "bath_external_temperature": "degC",
        "bath_temperature_setpoint": "degC",
        "bath_output": "%",
        "bath_running": "1",
        "bath_alarm": None,
    }


@pytest.mark.parametrize("temperature_C", [60.0, 5.0])
def test_it_goes_there_and_settles(circulator, bath, temperature_C):
    circulator.set(temperature_C, tolerance_K=0.1, settle_s=120.0).wait()
    assert bath.bath_C() == pytest.approx(temperature_C, abs=0.1)
    assert circulator.temperature.get() == pytest.approx(bath.bath_C(), abs=0.02)
    assert circulator.external_temperature.get() == pytest.approx(bath.external_C(), abs=0.5)
    assert (circulator.running.get(), circulator.temperature_setpoint.get()) == (1, temperature_C)
    assert math.copysign(1, circulator.output.get()) == math.copysign(1, temperature_C - 25.0)


def test_the_instruments_times_are_kept(circulator, simulated):
    circulator.set(30.0).wait()
    circulator.make_safe()
    assert simulated.lost == []


def test_a_temperature_outside_the_limits_is_refused_before_anything_is_sent(connect, clock, bath):
    simulated = Orders(clock, bath)
    circulator = connect(simulated, limits={"temperature_setpoint": (0.0, 90.0)})
    before = list(simulated.orders)
    with pytest.raises(LimitError, match=r"bath_temperature_setpoint: 91 degC is not allowed.*0 to 90"):
        circulator.set(91)
    assert simulated.orders == before


def test_what_the_instrument_does_not_accept_is_told_in_its_words(circulator, clock, simulated):
    say(simulated, clock, "out_sp_03 50")  # at its keys, since
    with pytest.raises(InstrumentError, match=r"out_sp_00 60\.00: -13 VALUE EXCEEDS TEMPERATURE LIMITS"):
        circulator.set(60.0).wait()
    assert circulator.running.get() == 0


def test_a_set_point_that_is_not_held_is_told(connect, clock, bath):
    class Clipping(SimulatedJulabo):
        def _obey(self, command, value):
            return super()._obey(command, min(value, 50.0))

    circulator = connect(Clipping(clock, bath))
    with pytest.raises(InstrumentError, match="set point: holds 50, told 60"):
        circulator.set(60.0).wait()


def test_a_circulator_that_does_not_start_is_told(connect, clock, bath):
    class Standing(SimulatedJulabo):
        def _run(self, on):
            super()._run(False)

    with pytest.raises(InstrumentError, match="does not start"):
        connect(Standing(clock, bath)).set(30.0).wait()


def test_a_temperature_out_of_reach_is_told_with_target_and_last_reading(connect, clock):
    simulated = SimulatedJulabo(clock, make_bath(clock, cooling_W=50.0))
    circulator = connect(simulated, slowest_rate_K_min=1.0)
    with pytest.raises(NotReached, match=r"bath: temperature: not settled \(target -20 .* last reading 1"):
        circulator.set(-20.0).wait()


def test_another_clients_old_error_is_let_go(circulator, clock, simulated):
    say(simulated, clock, "out_sp_00 900")
    clock.sleep(1.0)
    circulator.trigger().wait()
    assert circulator.tripped == ""


def test_an_alarm_ends_a_set_and_trips(circulator, bath, clock):
    status = circulator.set(60.0)
    clock.sleep(30.0)
    bath.low_level = True
    with pytest.raises(InstrumentError, match=r"bath at TCPIP.*reports -01 LOW LEVEL ALARM"):
        status.wait()
    assert circulator.tripped == "reports -01 LOW LEVEL ALARM"
    assert (circulator.quality.get(), circulator.running.get()) == ("invalid", 0)


def test_an_alarm_lasts_until_it_is_acknowledged(circulator, bath, simulated):
    bath.low_level = True
    circulator.trigger().wait()
    bath.low_level = False
    circulator.trigger().wait()
    assert circulator.tripped
    with pytest.raises(InstrumentError, match="reports -01 LOW LEVEL ALARM"):
        circulator.set(30.0).wait()
    simulated.acknowledge()
    circulator.set(26.0).wait()
    assert circulator.tripped == ""


def test_a_stop_at_the_instrument_ends_a_set(circulator, clock, simulated):
    status = circulator.set(60.0)
    clock.sleep(30.0)
    say(simulated, clock, "out_mode_05 0")
    with pytest.raises(InstrumentError, match="has stopped by itself"):
        status.wait()


def test_a_reading_that_fails_does_not_pass_for_good(circulator, simulated):
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkTimeout):
        circulator.trigger().wait()
    assert circulator.tripped == "the reading is invalid"


def test_a_set_point_gives_way_to_the_next_and_to_the_safe_state(circulator, clock):
    first = circulator.set(60.0)
    clock.sleep(10.0)
    second = circulator.set(30.0)
    assert first.done
    assert not first.success
    circulator.make_safe()
    assert second.done
    assert not second.success


def test_safe_state_stands_still_and_reads_it_back(circulator, bath):
    circulator.set(30.0).wait()
    circulator.halt().wait()
    assert (circulator.running.get(), bath.power_percent()) == (0, 0.0)
    circulator.make_safe()


def test_a_circulator_that_does_not_stop_is_told(connect, clock, bath):
    class Running(SimulatedJulabo):
        def _obey(self, command, value):
            return 0 if command == "out_mode_05" and not value else super()._obey(command, value)

    circulator = connect(Running(clock, bath))
    circulator.set(30.0).wait()
    with pytest.raises(InstrumentError, match="does not stop"):
        circulator.make_safe()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", range(4))
def test_safe_state_is_reached_in_spite_of_one_fault_of_the_wire(circulator, simulated, bath, fault, after):
    circulator.set(30.0).wait()
    simulated._faults = [None] * after + [fault]
    circulator.make_safe()
    assert bath.power_percent() == 0.0


def test_a_dead_circulator_does_not_hold_the_safe_state_up(circulator, simulated, clock):
    simulated.break_wire("silent", times=None)
    began_s = clock.monotonic()
    with pytest.raises(LinkTimeout):
        circulator.make_safe()
    assert clock.monotonic() - began_s < circulator.action_timeout_s


@pytest.mark.parametrize(
    "version", ["V 3.12", "LAUDA ECO 1.0", "HUBER UNISTAT VERSION 1"], ids=lambda version: version.split()[0]
)
def test_another_instrument_at_the_address_is_refused(connect, clock, bath, version):
    with pytest.raises(WrongInstrument, match=f"found '{version}', not Julabo circulator"):
        connect(SimulatedJulabo(clock, bath, version=version))


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(circulator, simulated, bath, fault):
    bath.bath_C = lambda: 123.45
    simulated.break_wire(fault)
    for _ in range(3):
        circulator.trigger().wait()
        assert circulator.temperature.get() == 123.45
        assert (circulator.temperature_setpoint.get(), circulator.running.get()) == (25.0, 0)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(circulator, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"bath at TCPIP.*; (check|correct)"):
        circulator.trigger().wait()


def test_busy_is_an_error_and_over_after_it_is_mended(circulator, simulated):
    simulated.break_down("busy")
    with pytest.raises(LinkTimeout, match=r"bath at TCPIP.*no reply within 1 s"):
        circulator.trigger().wait()
    simulated.mend()
    circulator.trigger().wait()
    assert circulator.quality.get() == "ok"


@pytest.mark.parametrize(
    ("breakdown", "alarm"),
    [("error", "-01 LOW LEVEL ALARM"), ("over_range", "-05 WORKING SENSOR ALARM")],
)
def test_a_breakdown_trips_and_is_over_after_it_is_acknowledged(circulator, simulated, breakdown, alarm):
    simulated.break_down(breakdown)
    circulator.trigger().wait()
    assert circulator.tripped == f"reports {alarm}"
    assert circulator.quality.get() == "invalid"
    assert math.isnan(circulator.temperature.get()) == (breakdown == "over_range")
    simulated.mend()
    circulator.trigger().wait()
    assert (circulator.tripped, circulator.temperature.get()) == ("", pytest.approx(25.0))


def test_after_a_power_cut_it_stands_and_reading_goes_on(circulator, simulated, clock):
    status = circulator.set(60.0)
    clock.sleep(60.0)
    simulated.power_cycle()
    with pytest.raises(InstrumentError, match="has stopped by itself"):
        status.wait()
    circulator.trigger().wait()
    assert (circulator.running.get(), circulator.quality.get()) == (0, "ok")


def test_a_public_client_reads_and_drives_the_simulated_circulator():
    """The client is LGPL: it runs in a process of its own."""
    clock = WallClock()
    wires = Wires(clock)
    bath = make_bath(clock)
    simulated = SimulatedJulabo(
        clock, bath, gap_s=0.1
    )  # its clock and the client's are read in two processes
    port = wires.listen(simulated).split("::")[2]
    client = f"""
from julabo import JulaboCF, connection_for_url
connection = connection_for_url("tcp://127.0.0.1:{port}", concurrency="syncio")
connection.open()
julabo = JulaboCF(connection)
print(julabo.identification())
print(julabo.status())
julabo.set_point_1(42.5)
print(julabo.set_point_1())
julabo.start()
print(julabo.is_started(), julabo.status())
print(julabo.bath_temperature(), julabo.external_temperature(), julabo.heating_power())
julabo.set_point_1(999)
print(julabo.status())
julabo.stop()
print(julabo.is_started())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:4] == [
        "JULABO MAGIO MS-1000F VERSION 1.1.2",
        "02 REMOTE STOP",
        "42.5",
        "True 03 REMOTE START",
    ]
    bath_C, external_C, power_percent = map(float, said[4].split())
    assert 25.0 <= external_C <= bath_C < 43.0
    assert power_percent == 100.0
    assert said[5:] == ["-11 VALUE TOO LARGE", "False"]
