from __future__ import annotations

import threading

import pytest

from ssblab.clock import WallClock
from ssblab.safety import Interlock, InterlockTripped, SafeState, outcome, unconfirmed


class Device:
    """Goes to its safe state, or raises what it is told to; and an alarm that is read so."""

    action_timeout_s = 2.0

    def __init__(self, name="device", error=None):
        self.name = name
        self.error = error
        self.tripped = ""
        self.calls = 0

    def make_safe(self):
        self.calls += 1
        if self.error is not None:
            raise self.error

    poll = make_safe


def test_every_step_is_taken_in_order_whatever_becomes_of_the_others(clock):
    devices = [Device("a"), Device("b", OSError("no cable")), Device("c", RuntimeError()), Device("d")]
    steps = SafeState(clock, devices).reach()
    assert [(step.device, step.problem) for step in steps] == [
        ("a", ""),
        ("b", "no cable"),
        ("c", "RuntimeError"),
        ("d", ""),
    ]
    assert unconfirmed(steps) == "b: no cable; c: RuntimeError"
    assert [device.calls for device in devices] == [1, 1, 1, 1]


def test_a_step_that_hangs_does_not_keep_the_next_from_being_taken():
    clock = WallClock(20)
    release = threading.Event()
    stuck, free = Device("stuck"), Device("free")
    stuck.make_safe = release.wait
    steps = SafeState(clock, [stuck, free]).reach()
    release.set()
    clock.close()
    assert unconfirmed(steps) == "stuck: not done within 2 s"
    assert free.calls == 1


def test_outcome_is_result_or_error(clock):
    assert outcome(clock, clock.submit("worker", lambda: 7), 1.0) == 7
    with pytest.raises(ZeroDivisionError):
        outcome(clock, clock.submit("worker", lambda: 1 / 0), 1.0)


def test_an_alarm_that_is_tripped_or_cannot_be_read_refuses(clock):
    alarm = Device("gas")
    interlock = Interlock(clock, alarm, 5.0)
    interlock.check()
    alarm.tripped = "50 ppm"
    with pytest.raises(InterlockTripped, match="interlock gas: 50 ppm"):
        interlock.check()
    alarm.error = OSError("no cable")
    with pytest.raises(InterlockTripped, match="interlock gas: can't be read: no cable"):
        interlock.check()


@pytest.fixture
def running(clock):
    clock.start()
    return clock


def test_a_watched_alarm_trips_once(running):
    alarm, trips = Device("gas"), []
    interlock = Interlock(running, alarm, 5.0)
    interlock.watch(trips.append)
    running.sleep(12)
    assert (alarm.calls, trips) == (2, [])
    alarm.tripped = "50 ppm"
    running.sleep(100)
    assert trips == ["interlock gas: 50 ppm"]
    assert alarm.calls == 3


def test_a_released_alarm_is_not_read_any_more(running):
    alarm, trips = Device("gas", OSError("no cable")), []
    interlock = Interlock(running, alarm, 5.0)
    interlock.watch(trips.append)
    interlock.release()
    running.sleep(100)
    assert (alarm.calls, trips) == (0, [])


def test_an_alarm_whose_reading_hangs_trips_too():
    clock = WallClock(50)
    clock.start()
    release, tripped, trips = threading.Event(), threading.Event(), []
    alarm = Device("gas")
    alarm.poll = release.wait
    interlock = Interlock(clock, alarm, 5.0)
    interlock.watch(lambda reason: (trips.append(reason), tripped.set()))
    assert tripped.wait(10)
    release.set()
    interlock.release()
    clock.close()
    assert len(trips) == 1
    assert trips[0].startswith("interlock gas: can't be read: no reading for ")


def test_a_check_whose_reading_hangs_is_refused():
    clock = WallClock(50)
    release = threading.Event()
    alarm = Device("gas")
    alarm.poll = release.wait
    with pytest.raises(InterlockTripped, match="interlock gas: can't be read: not done within 2 s"):
        Interlock(clock, alarm, 5.0).check()
    release.set()
    clock.close()
