"""Stopping: on the RunEngine's loop it must hold up nothing, elsewhere it is done on return."""

import asyncio
import threading

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine

from devices.instrument import LabDevice
from devices.status import ActionTimeout
from ssblab.clock import VirtualClock, WallClock
from ssblab.links import InstrumentError


class Valve(LabDevice):
    """Takes as long to close as it is let."""

    family = "valve"
    action_timeout_s = 0.2

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.may_close = threading.Event()
        self.closed = 0
        self.problem = None

    def connect(self):
        pass

    def poll(self):
        pass

    def make_safe(self):
        assert self.may_close.wait(60.0)
        if self.problem is not None:
            raise self.problem
        self.closed += 1


@pytest.fixture
def wall_clock():
    clock = WallClock()
    yield clock
    clock.close()


@pytest.fixture
def valve(wall_clock):
    valve = Valve(name="valve", clock=wall_clock)
    yield valve
    valve.may_close.set()


@pytest.fixture
def run_engine(wall_clock):
    return RunEngine({}, loop=wall_clock.loop, context_managers=[])


def test_the_loop_goes_on_while_a_device_is_being_stopped(run_engine, valve):
    valve.action_timeout_s = 60.0

    def plan():
        run_engine.loop.call_later(0.05, valve.may_close.set)  # never, if the loop were blocked
        yield from bps.stop(valve)

    run_engine(plan())
    assert valve.closed == 1


def test_the_run_engine_awaits_the_stop_of_what_a_plan_has_moved(run_engine, valve):
    valve.action_timeout_s = 60.0
    run_engine.loop.call_soon_threadsafe(run_engine.loop.call_later, 0.2, valve.may_close.set)

    def plan():
        run_engine._movable_objs_touched.add(valve)
        yield from bps.null()

    run_engine(plan())
    assert valve.closed == 1


@pytest.fixture(params=["on the loop", "elsewhere"])
def stop(run_engine, valve, request):
    return (lambda: run_engine(bps.stop(valve))) if request.param == "on the loop" else valve.stop


def test_a_stop_that_takes_too_long_names_the_device(stop):
    with pytest.raises(ActionTimeout, match=r"valve: safe state not confirmed within 0\.2 s"):
        stop()


def test_what_keeps_a_device_from_stopping_is_told(stop, valve):
    valve.action_timeout_s = 60.0
    valve.problem = InstrumentError("is stuck", device="valve")
    valve.may_close.set()
    with pytest.raises(InstrumentError, match="valve: is stuck"):
        stop()


def test_in_virtual_time_a_stop_is_over_at_once(clock):
    valve = Valve(name="valve", clock=clock)
    valve.may_close.set()

    async def on_the_loop():
        return valve.stop(), valve.closed

    clock.start()
    stopped = asyncio.run_coroutine_threadsafe(on_the_loop(), clock.loop).result(60.0)
    assert isinstance(clock, VirtualClock)
    assert stopped == (None, 1)
