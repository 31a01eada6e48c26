"""The reaction vessel on the simulated laboratory: order of switching, and what it does to the gas."""

import pytest

from ssblab.links import InstrumentError, LinkError

VESSEL_VALVE, PURGE_SHUT, PUMP = 3, 4, 5
MODES = ["purged", "exposed", "evacuated"]


@pytest.fixture
def vessel(devices):
    return devices["vessel"]


@pytest.fixture
def board(lab):
    return lab.instruments["relays"]


def changes(board):
    return [(change.channel, change.on) for change in board.transitions]


@pytest.mark.parametrize("first", MODES)
@pytest.mark.parametrize("then", MODES)
def test_the_pump_never_runs_against_a_gas_line(vessel, board, first, then):
    vessel.set(first).wait()
    vessel.set(then).wait()
    on = set()
    for channel, is_on in changes(board):
        (on.add if is_on else on.discard)(channel)
        if PUMP in on:
            assert PURGE_SHUT in on, "the pump draws on the purge line"
            assert VESSEL_VALVE not in on, "the pump draws on the air line"
    vessel.trigger().wait()
    assert vessel.mode.get() == then


def test_order_of_switching(vessel, board):
    vessel.set("evacuated").wait()
    assert changes(board) == [(PURGE_SHUT, True), (PUMP, True)]
    vessel.set("purged").wait()
    assert changes(board)[2:] == [(PUMP, False), (PURGE_SHUT, False)]
    vessel.set("exposed").wait()
    assert changes(board)[4:] == [(PURGE_SHUT, True), (VESSEL_VALVE, True)]


def test_evacuated_lowers_the_pressure_and_purged_brings_it_back(vessel, lab, pass_time):
    vessel.set("evacuated").wait()
    pass_time(600.0)
    assert lab.things["room"].advance().vacuum.pressure_Pa < 10.0
    vessel.set("purged").wait()
    pass_time(300.0)
    assert lab.things["room"].advance().vacuum.pressure_Pa == pytest.approx(101325.0, rel=0.01)


def test_exposed_lets_the_air_through_and_purged_dries_the_vessel(vessel, devices, lab, pass_time):
    devices["mfc"].set(500.0).wait()
    vessel.set("exposed").wait()
    pass_time(300.0)
    room = lab.things["room"].advance()
    assert room.vessel.water_mole_fraction == pytest.approx(room.box.water_mole_fraction, rel=0.1)
    vessel.set("purged").wait()
    pass_time(300.0)
    assert lab.things["room"].advance().vessel.water_mole_fraction < 0.01 * room.box.water_mole_fraction


def test_an_unknown_mode_is_refused_before_anything_is_switched(vessel, board):
    with pytest.raises(ValueError, match="vessel: no mode 'open'; there are purged, exposed, evacuated"):
        vessel.set("open")
    assert board.transitions == []


def test_a_valve_that_does_not_shut_keeps_the_pump_off(vessel, board):
    vessel.set("exposed").wait()
    board.stuck = {VESSEL_VALVE}
    with pytest.raises(InstrumentError, match="told vessel_valve off, but relay 3 did not follow"):
        vessel.set("evacuated").wait()
    assert (PUMP, True) not in changes(board)
    vessel.poll()
    assert vessel.mode.get() != "evacuated"


@pytest.mark.parametrize("mode", MODES)
def test_safe_state_is_purged_and_idempotent(vessel, board, mode):
    vessel.set(mode).wait()
    vessel.make_safe()
    count = len(board.transitions)
    vessel.make_safe()
    assert len(board.transitions) == count
    assert vessel.mode.get() == "purged"


def test_a_stuck_air_valve_does_not_keep_the_safe_state_from_purging(vessel, board):
    vessel.set("exposed").wait()
    board.stuck = {VESSEL_VALVE}
    with pytest.raises(InstrumentError, match="relay 3 did not follow"):
        vessel.make_safe()
    assert changes(board)[-1] == (PURGE_SHUT, False)
    assert vessel.mode.get() == "between"


def test_a_pump_that_does_not_stop_is_not_opened_to_the_purge_gas(vessel, board):
    vessel.set("evacuated").wait()
    board.stuck = {PUMP}
    with pytest.raises(InstrumentError, match="relay 5 did not follow"):
        vessel.make_safe()
    assert changes(board)[-1] == (PUMP, True)


def test_a_board_left_alone_with_all_relays_off_does_not_disturb_the_next_switching(vessel, pass_time):
    vessel.make_safe()
    pass_time(300.0)  # the board's watchdog trips after 60 s
    vessel.set("exposed").wait()
    assert vessel.mode.get() == "exposed"
    vessel.trigger().wait()


def test_a_vessel_that_is_not_purged_keeps_the_watchdog_content(vessel, pass_time):
    vessel.set("evacuated").wait()
    pass_time(300.0)  # as in a pause of a plan
    vessel.trigger().wait()
    assert vessel.mode.get() == "evacuated"


@pytest.fixture
def unfed(monkeypatch):
    monkeypatch.setattr("devices.reaction_vessel._FEED_S", 1e9)


def test_a_board_left_alone_with_a_relay_on_is_told(unfed, vessel, devices, pass_time):
    vessel.set("evacuated").wait()
    pass_time(300.0)
    with pytest.raises(InstrumentError, match=r"watchdog has switched all relays off"):
        vessel.trigger().wait()
    with pytest.raises(InstrumentError, match=r"watchdog has switched all relays off"):
        vessel.set("evacuated").wait()
    assert devices["relays"].quality.get() == "invalid"
    vessel.make_safe()  # which is what the watchdog did; nothing relies on the relays then
    vessel.set("exposed").wait()


def test_power_lost_and_back_leaves_the_vessel_purged(unfed, vessel, lab, pass_time):
    vessel.set("evacuated").wait()
    pass_time(300.0)
    lab.instruments["relays"].drop_if_abandoned()
    assert lab.things["room"].relays == [False] * 6
    pass_time(120.0)
    assert lab.things["room"].advance().vacuum.pressure_Pa == pytest.approx(101325.0, rel=0.01)


def test_a_board_that_does_not_answer_is_an_error_with_what_to_try(vessel, board):
    board.break_wire("silent", times=None)
    with pytest.raises(LinkError, match=r"relays at TCPIP.*; check"):
        vessel.make_safe()
