import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.moxa import MoxaE1214, decode_firmware, decode_text
from sim_devices.instruments.moxa import SimulatedMoxaE1214
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, LinkTimeout, WrongInstrument

RELAYS = {"pump": 0, "vent valve": 1, "heater": 4}
INPUTS = {"door": 0, "interlock": 3}
WORDS = st.lists(st.integers(0, 0xFFFF), max_size=20)


class Plant:
    """What hangs on the relays and inputs."""

    def __init__(self):
        self.relays = {}
        self.inputs = set()

    def switch(self, channel, on):
        self.relays[channel] = on

    def input(self, channel):
        return channel in self.inputs


@pytest.fixture
def plant():
    return Plant()


@pytest.fixture
def simulated(clock, plant):
    return SimulatedMoxaE1214(clock, plant)


@pytest.fixture
def address(wires, simulated):
    return wires.listen(simulated)


@pytest.fixture
def make_io(clock, address):
    made = []

    def make(**kwargs):
        io = MoxaE1214(
            name="io",
            address=address,
            clock=clock,
            relays=RELAYS,
            inverted=["vent valve"],
            inputs=INPUTS,
            **kwargs,
        )
        made.append(io)
        io.connect()
        return io

    yield make
    for io in made:
        io.link.close()


@pytest.fixture
def io(make_io):
    return make_io()


def changes(simulated):
    return [(channel, on) for _, channel, on in simulated.transitions]


def test_model_name_captured_from_an_instrument():
    assert decode_text([0x4531, 0x3231, 0x3200, 0, 0, 0, 0, 0, 0, 0]) == "E1212"
    assert decode_firmware([0x0301, 0x0000]) == "3.1.0"


@given(WORDS)
def test_any_registers_are_a_text(words):
    assert decode_text(words).isascii()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_texts_round_trip(text):
    data = text.encode().ljust(20, b"\0")
    assert decode_text([int.from_bytes(data[i : i + 2], "big") for i in range(0, 20, 2)]) == text


def test_connect_identifies_and_switches_nothing(io, simulated):
    assert str(io.identity) == "Moxa ioLogik E1214 (firmware 3.1.0)"
    assert io.quality.get() == "ok"
    assert simulated.transitions == []


def test_the_bytes_of_a_switch_are_those_of_function_5(make_io):
    sent = []

    class Bytes:
        def record(self, device, what, data):
            if what == "sent":
                sent.append(data[6:])

    make_io(transcript=Bytes()).switch("heater", True).wait()
    assert bytes.fromhex("01 05 0004 FF00") in sent


def test_every_number_has_a_unit_and_a_time(io, clock):
    io.trigger().wait()
    for name, reading in io.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    description = io.describe()
    assert {description[f"io_relay_{i}"]["units"] for i in range(6)} == {"1"}
    assert io.hints["fields"] == [f"io_relay_{i}" for i in range(6)]


def test_switching_by_name(io, plant, simulated):
    io.switch("pump", True).wait()
    assert plant.relays == {0: True}
    assert io.is_on("pump")
    assert io.relay_0.get() == 1
    io.switch("pump", False).wait()
    assert changes(simulated) == [(0, True), (0, False)]


def test_what_is_so_already_is_not_switched_again(io, plant, simulated, monkeypatch):
    io.write("pump", True)
    monkeypatch.setattr(simulated, "write_coils", lambda *_: pytest.fail("was told again"))
    io.write("pump", True)


def test_a_normally_open_valve_is_open_while_its_relay_is_off(io, plant):
    assert io.is_on("vent valve")
    io.switch("vent valve", False).wait()
    assert plant.relays == {1: True}
    assert not io.is_on("vent valve")


def test_inputs_are_read_by_name(io, plant):
    plant.inputs = {3}
    io.trigger().wait()
    assert io.is_on("interlock")
    assert not io.is_on("door")
    assert io.input_3.get() == 1


def test_an_unknown_name_is_refused_with_the_names_there_are(io, simulated):
    with pytest.raises(ValueError, match="io has no relay 'pumpe', only pump, vent valve, heater"):
        io.switch("pumpe", True)
    with pytest.raises(ValueError, match="io has no relay 'door'"):
        io.write("door", True)
    with pytest.raises(ValueError, match="io has no 'x', only pump, vent valve, heater, door, interlock"):
        io.is_on("x")
    assert simulated.transitions == []


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"relays": {"pump": 6}}, "io: relay 'pump' must be 0 to 5, not 6"),
        ({"relays": {"pump": 1, "valve": 1}}, "two names for one relay"),
        ({"relays": {}, "inputs": {"door": -1}}, "input 'door' must be 0 to 5"),
        ({"relays": {"door": 1}, "inputs": {"door": 1}}, "door names both a relay and an input"),
        ({"relays": {"pump": 1}, "inverted": ["valve"]}, "inverted has valve"),
    ],
)
def test_a_wrong_wiring_list_is_refused(clock, kwargs, problem):
    with pytest.raises(ValueError, match=problem):
        MoxaE1214(name="io", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, **kwargs)


def test_nothing_is_on_or_off_before_it_was_read(clock, address):
    io = MoxaE1214(name="io", address=address, clock=clock, relays=RELAYS)
    with pytest.raises(InstrumentError, match="pump was not read yet"):
        io.is_on("pump")


def test_a_relay_that_does_not_follow_is_an_error(io, simulated):
    simulated.stuck = {4}
    with pytest.raises(InstrumentError, match=r"io at TCPIP.*: told heater on, but relay 4 did not follow"):
        io.switch("heater", True).wait()
    assert not io.is_on("heater")


def test_safe_state_is_all_relays_off_also_inverted_ones(io, simulated, plant):
    io.write("pump", True)
    io.write("vent valve", False)
    io.make_safe()
    assert changes(simulated)[2:] == [(0, False), (1, False)]
    io.make_safe()
    assert len(simulated.transitions) == 4


def test_one_stuck_relay_does_not_keep_the_others_from_the_safe_state(io, simulated, plant):
    for name in ("pump", "heater"):
        io.write(name, True)
    simulated.stuck = {0}
    with pytest.raises(InstrumentError, match="told all relays off, but relay 0 did not follow"):
        io.make_safe()
    assert plant.relays[4] is False


def test_polling_keeps_the_watchdog_content(io, clock, plant):
    io.write("heater", True)
    for _ in range(10):
        clock.sleep(50.0)
        io.trigger().wait()
    assert plant.relays == {4: True}


def test_a_board_that_nobody_polls_drops_its_relays_at_the_watchdogs_time(io, clock, simulated, plant):
    io.write("heater", True)
    began_s = clock.now()
    clock.sleep(59.0)
    simulated.drop_if_abandoned()
    assert plant.relays == {4: True}
    clock.sleep(30.0)
    simulated.drop_if_abandoned()
    assert plant.relays == {4: False}
    assert simulated.transitions[-1].time_s == pytest.approx(began_s + 60.0, abs=0.1)


def test_a_tripped_watchdog_is_told_and_holds_until_it_is_cleared(io, clock, plant):
    io.write("heater", True)
    clock.sleep(61.0)
    with pytest.raises(InstrumentError, match=r"watchdog has switched all relays off.*clear_watchdog"):
        io.trigger().wait()
    assert io.quality.get() == "invalid"
    assert not io.is_on("heater")
    with pytest.raises(InstrumentError, match="watchdog has switched all relays off"):
        io.switch("heater", True).wait()
    io.make_safe()
    io.clear_watchdog().wait()
    assert io.quality.get() == "ok"
    assert plant.relays == {4: False}
    io.switch("heater", True).wait()
    assert plant.relays == {4: True}


def test_a_relay_that_dropped_with_the_boards_power_is_told_until_it_is_switched_anew(io, simulated, plant):
    io.write("heater", True)
    simulated.power_cycle()
    with pytest.raises(InstrumentError, match=r"relay 4 has dropped by itself: was its power lost\?"):
        io.trigger().wait()
    assert io.quality.get() == "invalid"
    io.switch("heater", True).wait()
    io.trigger().wait()
    assert io.quality.get() == "ok"
    assert plant.relays[4]


def test_a_watchdog_that_does_not_clear_is_an_error(io, clock, simulated, monkeypatch):
    clock.sleep(61.0)
    monkeypatch.setattr(simulated, "write_coils", lambda *_: None)
    with pytest.raises(InstrumentError, match="its watchdog can't be cleared"):
        io.clear_watchdog().wait()


def test_a_new_session_clears_what_tripped_before_it(make_io, clock, plant, caplog):
    first = make_io()
    first.write("pump", True)
    first.link.close()
    clock.sleep(3600.0)
    with caplog.at_level(logging.WARNING):
        second = make_io()
    assert "io: its watchdog had switched all relays off; cleared" in caplog.text
    assert plant.relays == {0: False}
    second.write("pump", True)
    assert plant.relays == {0: True}


def test_two_clients_share_the_board(make_io):
    one, other = make_io(), make_io()
    one.write("pump", True)
    other.trigger().wait()
    assert other.is_on("pump")
    one.trigger().wait()


def test_another_model_is_refused(clock, address, simulated):
    simulated.model_name = "E1212"
    io = MoxaE1214(name="io", address=address, clock=clock, relays=RELAYS)
    with pytest.raises(WrongInstrument, match=r"io at TCPIP.*found 'E1212', not Moxa ioLogik E1214"):
        io.connect()


def test_another_modbus_unit_is_refused(clock, address, simulated, monkeypatch):
    monkeypatch.delattr(SimulatedMoxaE1214, "read_input_register")
    io = MoxaE1214(name="io", address=address, clock=clock, relays=RELAYS)
    with pytest.raises(WrongInstrument, match="without ioLogik model name"):
        io.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_state(io, simulated, plant, fault):
    io.write("heater", True)
    plant.inputs = {3}
    simulated.break_wire(fault)
    for _ in range(3):
        io.trigger().wait()
        assert {name for name in (*RELAYS, *INPUTS) if io.is_on(name)} == {
            "heater",
            "vent valve",
            "interlock",
        }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_acknowledgement_of_the_safe_state_is_read_back(io, simulated, plant, fault, monkeypatch):
    io.write("heater", True)
    faults = iter([None, fault])  # the second reply acknowledges the order
    monkeypatch.setattr(simulated, "next_fault", lambda: next(faults, None))
    io.make_safe()
    assert plant.relays == {4: False}
    assert not io.is_on("heater")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(io, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"io at TCPIP.*; (check|correct)"):
        io.trigger().wait()


def test_a_dead_board_does_not_hold_the_safe_state_up(io, simulated, clock):
    simulated.break_wire("silent", times=None)
    began_s = clock.monotonic()
    with pytest.raises(LinkTimeout):
        io.make_safe()
    assert clock.monotonic() - began_s < io.action_timeout_s


def test_a_tripped_board_with_a_relay_welded_on_is_an_error_and_not_endless(make_io, clock, simulated):
    io = make_io()
    io.write("pump", True)
    simulated.stuck = {0}
    for attempt in (io.make_safe, io.make_safe, io.connect):
        clock.sleep(120.0)
        with pytest.raises(InstrumentError, match="told all relays off, but relay 0 did not follow"):
            attempt()
    simulated.stuck = set()
    io.make_safe()
    assert not io.is_on("pump")


def test_a_trip_with_all_relays_off_is_cleared_by_the_next_reading(io, clock, simulated, caplog):
    io.make_safe()
    clock.sleep(120.0)
    with caplog.at_level(logging.INFO):
        io.trigger().wait()
    assert io.quality.get() == "ok"
    assert "its watchdog had tripped with all relays off; cleared" in caplog.text
    io.switch("pump", True).wait()
    assert io.is_on("pump")
