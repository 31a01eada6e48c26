"""What runs in the instrument, where the worker, the loop and the link do not go hand in hand."""

import threading

import pytest

from devices.families.cycler import ChannelReading, Cycler
from devices.flyer import Column, Flyer, FlyingDevice
from devices.press import Press, PressFault
from devices.status import Status
from ssblab.clock import WallClock
from ssblab.links import LinkTimeout


class Endless:
    points = None

    def longest_s(self):
        return 1000.0

    def silence_s(self, rows):
        return 1000.0


class Heater(FlyingDevice):
    """Two kinds of measurement that use one output."""

    family = "heater"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        columns = {"number": Column("1", "Number")}
        self.flyers = {kind: Flyer(self, kind, columns) for kind in ("one", "two")}
        self.starts = []
        self.on = False
        self.defect = None
        self.may_start = threading.Event()
        self.may_start.set()

    def connect(self):
        pass

    def flyer(self, task):
        return self.flyers["one"]

    def check_task(self, task):
        pass

    def begin(self, task):
        self.may_start.wait(30.0)
        self.starts.append(task)
        self.on = True

    def listen(self):
        return False

    def switch_off(self):
        if self.defect is not None:
            raise self.defect
        self.on = False

    def read_at_rest(self):
        pass


@pytest.fixture
def heater(clock):
    return Heater(name="heater", clock=clock)


@pytest.fixture
def wall():
    clock = WallClock()
    clock.start()
    yield clock
    clock.close()


def fly(heater, kind="one", task=None):
    flyer = heater.flyers[kind]
    flyer.prepare(task or Endless()).wait()
    flyer.kickoff().wait()
    return flyer


def test_an_output_that_any_error_leaves_on_is_switched_off_later(heater, pass_time):
    flyer = fly(heater)
    heater.defect = ValueError("could not convert string to float: 'off'")
    with pytest.raises(ValueError, match="could not convert"):
        heater.make_safe()
    assert heater.on
    assert not flyer.flying
    heater.defect = None
    pass_time(10.0)
    assert not heater.on


def test_two_kinds_told_to_start_at_once_do_not_both_start(wall):
    heater = Heater(name="heater", clock=wall)
    one, two = heater.flyers.values()
    first, second = Endless(), Endless()
    one.prepare(first).wait()
    two.prepare(second).wait()
    free = threading.Event()
    wall.submit("heater", lambda: free.wait(30.0))  # the worker is busy with something else
    started = one.kickoff(), two.kickoff()
    free.set()
    started[0].wait()
    with pytest.raises(RuntimeError, match="heater: a measurement is under way"):
        started[1].wait()
    assert heater.starts == [first]
    assert heater.measuring
    heater.stop()


def test_a_stop_told_while_it_starts_leaves_the_output_off(wall):
    heater = Heater(name="heater", clock=wall)
    flyer = heater.flyers["one"]
    flyer.prepare(Endless()).wait()
    heater.may_start.clear()
    flyer.kickoff()
    assert flyer.starting
    stopping = threading.Thread(target=heater.stop)
    stopping.start()
    heater.may_start.set()
    stopping.join(30.0)
    assert heater.starts
    assert not flyer.starting
    assert not heater.on
    assert not heater.measuring


def test_a_picture_that_fails_does_not_end_what_it_shows(clock):
    shown = []
    status = Status(clock, "heater: one", 10.0)
    status.watch(lambda **facts: 1 / 0)
    status.watch(lambda **facts: shown.append(facts["current"]))
    status.progress(current=1)
    status.progress(current=2)
    assert shown == [1, 2]
    status.finish()


class DeadCycler(Cycler):
    """A cycler whose wire takes a while to tell that nobody is there."""

    model = "dead"

    def identify(self):
        raise NotImplementedError

    def read_channels(self, channels):
        self.asked.append(channels)
        self.asking.set()
        assert self.go_on.wait(30.0)
        if self.dead:
            raise LinkTimeout("no reply", device=self.name)
        return {channel: ChannelReading(3.7, 0.0, 0.0, 0.0, 0, 0, "rest", False) for channel in channels}


def test_channels_that_wait_for_a_dead_cycler_do_not_wait_one_after_the_other(wall):
    cycler = DeadCycler(name="cycler", address="TCPIP::127.0.0.1::1::SOCKET", clock=wall)
    cycler.asked, cycler.asking, cycler.go_on = [], threading.Event(), threading.Event()
    cycler.dead = True
    for channel in range(1, 9):
        cycler.add_channel(channel)
    entered = threading.Barrier(8)

    def read(channel):
        if channel == 1:
            return cycler.reading(channel)
        assert cycler.asking.wait(30.0)
        entered.wait(30.0)
        return cycler.reading(channel)

    futures = [wall.submit(f"cycler_ch{i}", lambda i=i: read(i)) for i in range(1, 9)]
    entered.wait(30.0)
    wall.sleep(0.5)  # until they all stand before the lock
    cycler.go_on.set()
    for future in futures:
        with pytest.raises(LinkTimeout, match="cycler: no reply"):
            future.result(30.0)
    assert len(cycler.asked) == 1
    cycler.dead = False
    assert cycler.reading(3).voltage_V == 3.7


def test_a_press_whose_loop_fails_stops_and_says_so(put_on_shelf, pass_time, monkeypatch):
    _, devices = put_on_shelf("press")
    press: Press = devices["press"]
    devices["press_ram"].home().wait()
    press.set_force(0.5).wait()
    pass_time(1.0)
    monkeypatch.setattr(type(press), "_hold_force", lambda self: 1 / 0)
    press._step = press._hold_force
    pass_time(1.0)
    assert "its loop failed" in press.tripped
    assert press.mode.get() == press.tripped
    with pytest.raises(PressFault, match="its loop failed"):
        press.trigger().wait()
