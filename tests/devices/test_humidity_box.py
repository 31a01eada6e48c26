"""The humidity box on the simulated laboratory: driver, wire, relays and the air of the box together."""

import math

import pytest
from bluesky import Msg, RunEngine
from bluesky.preprocessors import finalize_wrapper
from ophyd.utils import LimitError

from devices.humidity_box import BoxFault
from devices.status import NotReached
from ssblab.links import InstrumentError, LinkError

BOX_RELAYS = {0, 1, 2}
SET_POINTS_C = [-10.0, -20.0, -35.0, -50.0]


@pytest.fixture
def box(devices):
    return devices["box"]


@pytest.fixture
def board(lab):
    return lab.instruments["relays"]


@pytest.fixture
def transmitter(lab):
    return lab.instruments["dew_point"]


def on_by_transitions(board):
    """Box relays that are on, by the transitions that the board has seen."""
    on = set()
    for change in board.transitions:
        (on.add if change.on else on.discard)(change.channel)
    return on & BOX_RELAYS


def true_dew_points(lab, clock, hold_s, step_s=30.0):
    """What the air truly does while the box holds."""
    found = []
    for _ in range(int(hold_s / step_s)):
        clock.call_later(step_s, lambda: None)
        pass_time(clock, step_s)
        found.append(lab.advance().box.dew_point_C)
    return found


def pass_time(clock, duration_s):
    """Let time pass with everything that is due in it."""
    over = clock_event(clock, duration_s)
    clock.wait(over, duration_s + 1.0)


def clock_event(clock, delay_s):
    import threading

    event = threading.Event()
    clock.call_later(delay_s, event.set)
    return event


@pytest.mark.ground_truth
@pytest.mark.parametrize("setpoint_C", SET_POINTS_C)
@pytest.mark.parametrize("from_C", [None, -55.0], ids=["GT-01 from room air", "GT-01 from the dry side"])
def test_gt01_a_set_point_is_reached_and_held(box, lab, clock, setpoint_C, from_C):
    if from_C is not None:
        lab.room.box.water_mole_fraction = type(lab.room.box)(initial_dew_point_C=from_C).water_mole_fraction
    box.set(setpoint_C).wait()
    held = true_dew_points(lab, clock, 3600.0)
    assert max(abs(true_C - setpoint_C) for true_C in held) <= 2.0
    box.trigger().wait()
    assert abs(box.dew_point.get() - setpoint_C) <= 2.0
