"""The humidity box on the simulated laboratory: driver, wire, relays and the air of the box together."""

import pytest
from bluesky import Msg, RunEngine
from bluesky.preprocessors import finalize_wrapper
from bluesky.utils import FailedStatus
from ophyd.utils import LimitError

from devices.humidity_box import BoxFault
from devices.status import NotReached
from plans.stubs import make_safe
from sim_devices.physics.humidity_box import HumidityBox
from ssblab.links import InstrumentError, LinkError

BOX_RELAYS = {0, 1, 2}


@pytest.fixture
def box(devices):
    return devices["box"]


@pytest.fixture
def board(lab):
    return lab.instruments["relays"]


@pytest.fixture
def transmitter(lab):
    return lab.instruments["dew_point"]


def relays_on(board):
    """Relays of the box that are on, by the transitions that the board has seen."""
    on = set()
    for change in board.transitions:
        (on.add if change.on else on.discard)(change.channel)
    return on & BOX_RELAYS


@pytest.mark.ground_truth
@pytest.mark.parametrize("from_C", [10.0, -55.0], ids=["GT-01 from room air", "GT-01 from the dry side"])
@pytest.mark.parametrize("setpoint_C", [-10.0, -20.0, -35.0, -50.0])
def test_gt01_a_set_point_is_reached_and_held(box, lab, pass_time, setpoint_C, from_C):
    lab.things["room"].box = HumidityBox(initial_dew_point_C=from_C)
    box.set(setpoint_C).wait()
    for _ in range(20):
        pass_time(90.0)
        assert lab.things["room"].advance().box.dew_point_C == pytest.approx(setpoint_C, abs=2.0)
    box.trigger().wait()
    assert box.dew_point.get() == pytest.approx(setpoint_C, abs=2.0)
    assert box.state.get() == "controlling"


@pytest.mark.ground_truth
@pytest.mark.parametrize("setpoint_C", [-50.1, -9.9, 5.0, float("nan")])
def test_gt01_a_set_point_outside_the_range_is_refused_before_anything_is_sent(box, board, setpoint_C):
    with pytest.raises(LimitError, match=r"box_dew_point_setpoint: .* from -50 to -10 degC"):
        box.set(setpoint_C)
    assert board.transitions == []
    assert box.state.get() == "off"


@pytest.mark.ground_truth
def test_gt01_one_dehumidifier_alone_does_not_reach_the_dry_end(box, lab):
    lab.things["room"].box.dehumidifier_mol_s *= 0.5  # both run; together they dry no more than one
    with pytest.raises(NotReached, match=r"box: dew point: not settled \(target -50 .* last reading -4\d"):
        box.set(-50.0).wait()


def test_a_relay_that_does_not_follow_ends_control_and_names_relay_and_last_reading(box, board, clock):
    board.stuck = {1}
    began_s = clock.monotonic()
    with pytest.raises(NotReached, match=r"relay 1 did not follow.*target -50 \+/- 2 degC, last reading"):
        box.set(-50.0).wait()
    assert clock.monotonic() - began_s < 120.0
    assert relays_on(board) == set()


@pytest.mark.parametrize("trouble", ["silent wire", "no number"])
def test_a_lost_transmitter_switches_everything_off_within_two_minutes(
    box, board, transmitter, clock, pass_time, trouble
):
    status = box.set(-35.0)
    pass_time(60.0)
    assert relays_on(board) == {0, 1}
    if trouble == "silent wire":
        transmitter.break_wire("silent", times=None)
    else:
        transmitter.sensor_failed = True
    lost_s = clock.now()
    pass_time(121.0)
    assert relays_on(board) == set()
    assert board.transitions[-1].time_s - lost_s <= 120.0
    assert box.state.get().startswith("no dew-point control for ")
    with pytest.raises(NotReached, match=r"box: dew point: no dew-point control for \d+ s .*target -35"):
        status.wait()
    with pytest.raises(BoxFault, match="box: no dew-point control"):
        box.trigger().wait()

    transmitter.mend_wire()
    transmitter.sensor_failed = False
    box.set(-20.0).wait()
    box.trigger().wait()
    assert box.state.get() == "controlling"


def test_a_short_silence_is_ridden_out_and_does_not_count_as_in_band(box, transmitter, clock, pass_time):
    status = box.set(-10.0)
    pass_time(30.0)
    transmitter.break_wire("silent", times=None)
    pass_time(35.0)
    transmitter.mend_wire()
    status.wait()
    assert box.state.get() == "controlling"
    assert clock.monotonic() > 65.0 + 300.0


def test_relays_that_do_not_answer_either_are_switched_off_as_soon_as_they_do(
    box, board, transmitter, pass_time, caplog
):
    box.set(-35.0)
    pass_time(60.0)
    board.stuck = {0, 1}  # on, and staying on
    transmitter.break_wire("silent", times=None)
    pass_time(180.0)
    assert relays_on(board) == {0, 1}
    assert "told dehumidifier_1 off, but relay 0 did not follow" in caplog.text
    board.stuck = set()
    pass_time(15.0)
    assert relays_on(board) == set()
    with pytest.raises(BoxFault):
        box.trigger().wait()


def test_safe_state_is_all_off_and_idempotent(box, board, pass_time):
    box.set(-35.0)
    pass_time(60.0)
    for _ in range(3):
        box.make_safe()
        assert relays_on(board) == set()
        assert box.state.get() == "off"
    changes = len(board.transitions)
    pass_time(60.0)
    assert len(board.transitions) == changes


def test_one_stuck_relay_keeps_no_other_from_being_switched_off(box, board, pass_time):
    box.set(-35.0)
    pass_time(60.0)
    board.stuck = {0}
    with pytest.raises(InstrumentError, match="relay 0 did not follow"):
        box.make_safe()
    assert relays_on(board) == {0}


def test_an_approach_ends_when_control_is_ended_or_the_box_is_set_anew(box, pass_time):
    first = box.set(-35.0)
    second = box.set(-20.0)
    with pytest.raises(NotReached, match="was set anew"):
        first.wait()
    pass_time(30.0)
    box.make_safe()
    with pytest.raises(NotReached, match="was brought into its safe state"):
        second.wait()


def test_a_plan_that_fails_on_the_way_leaves_the_whole_clean_up_done(clock, devices, board):
    engine = RunEngine(context_managers=[], loop=clock.loop)
    box, mfc, vessel = devices["box"], devices["mfc"], devices["vessel"]

    def plan():
        yield Msg("set", mfc, 500.0, group="flow")
        yield Msg("set", vessel, "exposed", group="flow")
        yield Msg("wait", None, group="flow")
        yield Msg("set", box, -35.0, group="box")
        yield Msg("sleep", None, 60.0)
        raise RuntimeError("something else")

    def clean_up():
        yield from make_safe([box])
        yield Msg("sleep", None, 30.0)  # in which the approach notices
        yield from make_safe([vessel, mfc])

    with clock.running(), pytest.raises((RuntimeError, FailedStatus)):
        engine(finalize_wrapper(plan(), clean_up))
    assert relays_on(board) == set()
    assert vessel.mode.get() == "purged"
    assert mfc.flow_setpoint.get() == 0.0


def test_a_transmitter_that_is_not_there_is_told_on_connect(devices, transmitter):
    transmitter.break_wire("silent", times=None)
    with pytest.raises(LinkError, match="dew_point at TCPIP"):
        devices["box"].connect()
