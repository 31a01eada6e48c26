import logging
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.labjack import LabJackT7, decode_uint32, encode_uint32
from sim_devices.instruments.labjack import SimulatedLabJackT7
from sim_devices.instruments.moxa import SimulatedMoxaE1214
from sim_devices.physics.relay_panel import RelayPanel
from sim_devices.physics.steady import SteadyPlant
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, WrongInstrument
from ssblab.links.modbus import float_from_registers

RELAYS = {"pump": 0, "vent valve": 1, "heater": 4}
INPUTS = {"door": 0, "interlock": 3}
PUMP, VENT, HEATER, ALIVE = 8, 9, 12, 16  # lines


@pytest.fixture
def panel(clock):
    return RelayPanel(clock)


@pytest.fixture
def simulated(clock, panel):
    return SimulatedLabJackT7(clock, panel)


@pytest.fixture
def address(wires, simulated):
    return wires.listen(simulated)


@pytest.fixture
def make_io(clock, address):
    made = []

    def make(**kwargs):
        options = {"relays": RELAYS, "inverted": ["vent valve"], "inputs": INPUTS} | kwargs
        io = LabJackT7(name="io", address=address, clock=clock, **options)
        made.append(io)
        io.connect()
        return io

    yield make
    for io in made:
        io.link.close()


@pytest.fixture
def io(make_io):
    return make_io()


def switched(panel):
    return [(line, on) for _, line, on in panel.history if line != ALIVE]


def on_lines(panel):
    return {line for line in range(23) if panel.is_on(line)}


def word(simulated, address):
    return decode_uint32([simulated.read_holding_register(address + i) for i in range(2)])


# the codec: the test registers as the maker documents them


def test_test_values_of_the_makers_table():
    assert decode_uint32([0x0011, 0x2233]) == 0x00112233 == 1122867
    assert float_from_registers([0xC61C, 0x3C00], "high first") == -9999.0


@given(st.integers(0, 0xFFFFFFFF))
def test_numbers_round_trip(value):
    assert decode_uint32(encode_uint32(value)) == value


def test_the_simulated_t7_holds_the_test_values(simulated):
    assert word(simulated, 55100) == 0x00112233
    assert simulated.read_holding_register(55110) == 17
    words = [simulated.read_holding_register(55124 + i) for i in range(2)]
    assert float_from_registers(words, "high first") == -9999.0


# the simulated T7


def test_reading_a_line_makes_it_an_input_and_writing_it_an_output(simulated, panel):
    simulated.write_registers(2008, [1])
    assert (word(simulated, 2850), panel.is_on(8)) == (0x100, True)
    assert word(simulated, 2800) == 0x100
    assert simulated.read_holding_register(2008) == 0
    assert (word(simulated, 2850), panel.is_on(8)) == (0, False)


def test_the_watchdogs_settings_are_locked_while_it_is_on(simulated):
    simulated.write_registers(61604, [0, 30])
    simulated.write_registers(61600, [0, 1])
    with pytest.raises(Exception, match="Modbus exception 4"):
        simulated.write_registers(61604, [0, 60])
    assert word(simulated, 61604) == 30


def test_inhibited_lines_are_not_changed_by_state_and_direction(simulated):
    simulated.write_registers(2900, encode_list(0x7FFFFF & ~0x3))
    simulated.write_registers(2850, encode_list(0x7FFFFF))
    assert word(simulated, 2850) == 0x3


def encode_list(value):
    return list(encode_uint32(value))


# the driver


def test_connect_identifies_and_switches_no_relay(io, panel):
    assert str(io.identity) == "LabJack T7 (serial 470010000, firmware 1.0292)"
    assert io.quality.get() == "ok"
    assert switched(panel) == []
    assert panel.is_on(ALIVE)


def test_connect_arms_the_watchdog_for_its_own_lines(make_io, simulated):
    make_io(watchdog_s=20)
    ours = 0x3F00 | 1 << ALIVE
    settings = {61600: 1, 61602: 0, 61604: 20, 61610: 0, 61620: 0}
    settings |= {61630: 1, 61632: 0, 61634: ours, 61636: 0x7FFFFF & ~ours}
    assert {address: word(simulated, address) for address in settings} == settings


def test_the_watchdogs_memory_is_written_only_once(make_io, simulated):
    make_io()
    writes = simulated.flash_writes
    make_io()
    assert simulated.flash_writes == writes
    make_io(watchdog_s=20)
    assert simulated.flash_writes == writes + 3  # off, the time, on


def test_no_line_is_driven_before_the_watchdog_is_armed(make_io, simulated, panel, monkeypatch):
    armed = []
    drive = panel.drive
    monkeypatch.setattr(
        panel,
        "drive",
        lambda line, on: (armed.append(word(simulated, 61600)) if on else None, drive(line, on)),
    )
    make_io()
    assert set(armed) == {1}


def test_a_watchdog_that_does_not_hold_its_settings_is_refused(make_io, simulated, panel):
    simulated._registers[61604] = replace(simulated._registers[61604], write=lambda value: None)
    with pytest.raises(InstrumentError, match="its watchdog does not hold its timeout"):
        make_io()
    assert on_lines(panel) == set()


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"relay_lines": (0, 1, 2)}, "6 relay lines and 6 input lines"),
        ({"alive_line": 8}, "each used once"),
        ({"alive_line": 23}, "0 to 22"),
        ({"watchdog_s": 0}, "whole seconds above 0, not 0"),
        ({"watchdog_s": 1.5}, "whole seconds above 0, not 1.5"),
        ({"relays": {"pump": 6}}, "relay 'pump' must be 0 to 5"),
    ],
)
def test_a_wrong_wiring_list_is_refused(clock, kwargs, problem):
    options = {"relays": RELAYS} | kwargs
    with pytest.raises(ValueError, match=problem):
        LabJackT7(name="io", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, **options)


def test_every_number_has_a_unit_and_a_time(io, clock):
    io.trigger().wait()
    for name, reading in io.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    description = io.describe()
    assert {description[f"io_relay_{i}"]["units"] for i in range(6)} == {"1"}


def test_switching_by_name(io, panel):
    io.switch("pump", True).wait()
    assert on_lines(panel) == {PUMP, ALIVE}
    assert io.is_on("pump")
    io.switch("pump", False).wait()
    assert switched(panel) == [(PUMP, True), (PUMP, False)]


def test_other_lines_can_be_wired(make_io, panel):
    io = make_io(relay_lines=(0, 1, 2, 3, 4, 5), input_lines=(8, 9, 10, 11, 12, 13), alive_line=20)
    io.switch("heater", True).wait()
    panel.closed = {11}
    io.trigger().wait()
    assert on_lines(panel) == {4, 20}
    assert io.is_on("interlock")


def test_reading_never_makes_a_relay_line_an_input(io, simulated, panel):
    io.switch("pump", True).wait()
    for _ in range(3):
        io.trigger().wait()
    assert word(simulated, 2850) == 0x3F00 | 1 << ALIVE
    assert on_lines(panel) == {PUMP, ALIVE}


def test_a_normally_open_valve_is_open_while_its_relay_is_off(io, panel):
    assert io.is_on("vent valve")
    io.switch("vent valve", False).wait()
    assert panel.is_on(VENT)
    assert not io.is_on("vent valve")


def test_inputs_are_read_by_name(clock, wires):
    panel = RelayPanel(clock, auxiliary={3: HEATER})
    simulated = SimulatedLabJackT7(clock, panel)
    io = LabJackT7(name="io", address=wires.listen(simulated), clock=clock, relays=RELAYS, inputs=INPUTS)
    io.connect()
    assert not io.is_on("interlock")
    io.switch("heater", True).wait()
    panel.closed = {0}
    io.trigger().wait()
    assert (io.is_on("interlock"), io.is_on("door"), io.input_1.get()) == (True, True, 0)
    io.link.close()


def test_a_relay_that_does_not_follow_is_an_error(io, simulated):
    simulated.stuck = {HEATER: False}
    with pytest.raises(InstrumentError, match=r"io at TCPIP.*: told heater on, but relay 4 did not follow"):
        io.switch("heater", True).wait()
    assert not io.is_on("heater")


def test_safe_state_is_all_relays_off_also_inverted_ones(io, panel):
    io.write("pump", True)
    io.write("vent valve", False)
    io.make_safe()
    assert switched(panel)[2:] == [(PUMP, False), (VENT, False)]
    io.make_safe()
    assert len(switched(panel)) == 4


def test_one_stuck_relay_does_not_keep_the_others_from_the_safe_state(io, simulated, panel):
    for name in ("pump", "heater"):
        io.write(name, True)
    simulated.stuck = {PUMP: True}
    with pytest.raises(InstrumentError, match="told all relays off, but relay 0 did not follow"):
        io.make_safe()
    assert not panel.is_on(HEATER)


def test_polling_keeps_the_watchdog_content(io, clock, panel):
    io.write("heater", True)
    for _ in range(10):
        clock.sleep(50.0)
        io.trigger().wait()
    assert on_lines(panel) == {HEATER, ALIVE}


def test_a_board_that_nobody_polls_drops_its_relays_at_the_watchdogs_time(io, clock, panel):
    io.write("heater", True)
    clock.sleep(59.0)
    assert on_lines(panel) == {HEATER, ALIVE}
    clock.sleep(2.0)
    assert on_lines(panel) == set()


def test_a_tripped_watchdog_is_told_and_holds_until_it_is_cleared(io, clock, panel):
    io.write("heater", True)
    clock.sleep(61.0)
    with pytest.raises(InstrumentError, match=r"watchdog has switched all relays off.*clear_watchdog"):
        io.trigger().wait()
    assert io.quality.get() == "invalid"
    assert not io.is_on("heater")
    with pytest.raises(InstrumentError, match="watchdog has switched all relays off"):
        io.switch("heater", True).wait()
    assert on_lines(panel) == set()
    io.make_safe()
    io.clear_watchdog().wait()
    assert io.quality.get() == "ok"
    assert on_lines(panel) == {ALIVE}
    io.switch("heater", True).wait()
    assert on_lines(panel) == {HEATER, ALIVE}


def test_a_trip_with_all_relays_off_is_cleared_by_the_next_reading(io, clock, caplog):
    io.make_safe()
    clock.sleep(120.0)
    with caplog.at_level(logging.INFO):
        io.trigger().wait()
    assert io.quality.get() == "ok"
    assert "its watchdog had tripped with all relays off; cleared" in caplog.text
    io.switch("pump", True).wait()
    assert io.is_on("pump")


def test_a_new_session_clears_what_tripped_before_it(make_io, clock, panel, caplog):
    first = make_io()
    first.write("pump", True)
    first.link.close()
    clock.sleep(3600.0)
    with caplog.at_level(logging.WARNING):
        second = make_io()
    assert "io: its watchdog had switched all relays off; cleared" in caplog.text
    second.write("pump", True)
    assert on_lines(panel) == {PUMP, ALIVE}


def test_a_watchdog_that_somebody_switched_off_is_told_and_armed_again(io, simulated):
    simulated.write_registers(61600, [0, 0])
    with pytest.raises(InstrumentError, match="its watchdog has been switched off"):
        io.trigger().wait()
    assert io.quality.get() == "invalid"
    io.clear_watchdog().wait()
    assert (word(simulated, 61600), io.quality.get()) == (1, "ok")


def test_an_alive_line_that_does_not_rise_is_an_error(io, clock, simulated):
    simulated.stuck = {ALIVE: False}
    with pytest.raises(InstrumentError, match="its watchdog can't be cleared"):
        io.clear_watchdog().wait()


def test_a_power_cut_with_a_relay_on_is_told_and_holds_until_it_is_cleared(io, simulated, panel):
    io.write("heater", True)
    simulated.power_cycle()
    assert on_lines(panel) == set()
    with pytest.raises(InstrumentError, match="all relays off"):
        io.trigger().wait()
    with pytest.raises(InstrumentError, match="all relays off"):
        io.switch("pump", True).wait()
    io.clear_watchdog().wait()
    io.switch("heater", True).wait()
    assert on_lines(panel) == {HEATER, ALIVE}


def test_a_power_cut_with_all_relays_off_is_survived(io, simulated, panel):
    simulated.power_cycle()
    io.trigger().wait()
    assert io.quality.get() == "ok"
    assert on_lines(panel) == {ALIVE}


def test_the_watchdog_stays_armed_without_power(io, simulated, clock, panel):
    simulated.power_cycle()
    simulated.write_registers(2000 + HEATER, [1])  # somebody else's order
    clock.sleep(61.0)
    assert on_lines(panel) == set()


def test_two_clients_share_the_board(make_io):
    one, other = make_io(), make_io()
    one.write("pump", True)
    other.trigger().wait()
    assert other.is_on("pump")


def test_another_product_is_refused(clock, wires, panel):
    t4 = SimulatedLabJackT7(clock, panel, product=4.0)
    io = LabJackT7(name="io", address=wires.listen(t4), clock=clock, relays=RELAYS)
    with pytest.raises(WrongInstrument, match=r"io at TCPIP.*found 'LabJack product 4', not LabJack T7"):
        io.connect()
    assert on_lines(panel) == set()


def test_words_in_another_order_are_refused(clock, address, simulated, monkeypatch):
    read = simulated.read_holding_register
    monkeypatch.setattr(simulated, "read_holding_register", lambda number: read(number ^ 1))
    io = LabJackT7(name="io", address=address, clock=clock, relays=RELAYS)
    with pytest.raises(WrongInstrument, match="test register holds 0x22330011"):
        io.connect()


def test_another_modbus_unit_is_refused(clock, wires):
    moxa = SimulatedMoxaE1214(clock, SteadyPlant(clock))
    io = LabJackT7(name="io", address=wires.listen(moxa), clock=clock, relays=RELAYS)
    with pytest.raises(WrongInstrument, match="without the test register of a LabJack"):
        io.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_state(io, simulated, panel, fault):
    io.write("heater", True)
    panel.closed = {3}
    simulated.break_wire(fault)
    for _ in range(3):
        io.trigger().wait()
        on = {name for name in (*RELAYS, *INPUTS) if io.is_on(name)}
        assert on == {"heater", "vent valve", "interlock"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_acknowledgement_of_the_safe_state_is_read_back(io, simulated, panel, fault, monkeypatch):
    io.write("heater", True)
    faults = iter([None, fault])  # the second reply acknowledges the order
    monkeypatch.setattr(simulated, "next_fault", lambda: next(faults, None))
    io.make_safe()
    assert on_lines(panel) == {ALIVE}
    assert not io.is_on("heater")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(io, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"io at TCPIP.*; (check|correct)"):
        io.trigger().wait()


@pytest.mark.parametrize(
    ("breakdown", "problem"), [("busy", "device busy"), ("error", "device failure")], ids=["busy", "error"]
)
def test_a_breakdown_is_told_and_over_after_it_is_mended(io, simulated, breakdown, problem):
    io.write("pump", True)
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=rf"io at TCPIP.*{problem}"):
        io.trigger().wait()
    simulated.mend()
    io.trigger().wait()
    assert (io.is_on("pump"), io.quality.get()) == (True, "ok")


def test_a_dead_board_does_not_hold_the_safe_state_up(io, simulated, clock):
    simulated.break_wire("silent", times=None)
    began_s = clock.monotonic()
    with pytest.raises(LinkTimeout):
        io.make_safe()
    assert clock.monotonic() - began_s < io.action_timeout_s


def test_a_public_client_reads_and_switches_the_simulated_t7():
    """A general Modbus client with the maker's addresses, in a process of its own."""
    clock = WallClock()
    wires = Wires(clock)
    panel = RelayPanel(clock)
    port = wires.listen(SimulatedLabJackT7(clock, panel)).split("::")[2]
    client = f"""
from pymodbus.client import ModbusTcpClient
t7 = ModbusTcpClient("127.0.0.1", port={port}, timeout=20)
assert t7.connect()
def read(address, kind):
    words = t7.read_holding_registers(address, count=2, device_id=1).registers
    return t7.convert_from_registers(words, getattr(t7.DATATYPE, kind))
def write(address, kind, value):
    words = t7.convert_to_registers(value, getattr(t7.DATATYPE, kind))
    return t7.write_registers(address, words, device_id=1)
print(read(55100, "UINT32"), read(55122 + 2, "FLOAT32"), read(60000, "FLOAT32"), read(60028, "UINT32"))
write(1000, "FLOAT32", 2.5)
print(read(1000, "FLOAT32"))
write(61604, "UINT32", 60)
write(61600, "UINT32", 1)
print(write(61604, "UINT32", 10).isError(), read(61604, "UINT32"))
t7.write_register(2012, 1, device_id=1)
print(read(2800, "UINT32"), read(2850, "UINT32"))
print(t7.read_holding_registers(30000, count=2, device_id=1).exception_code)
t7.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    on = on_lines(panel)
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1122867 -9999.0 7.0 470010000",
        "2.5",
        "True 60",
        "4096 4096",
        "2",
    ]
    assert on == {HEATER}
