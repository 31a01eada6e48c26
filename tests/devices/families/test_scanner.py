"""The family of scanners, with an instrument that is nothing but the family."""

import math

import pytest
from ophyd.utils import LimitError

from devices.families.scanner import Scan, ScannedChannel, Scanner, worst
from devices.keysight_daq import KeysightDaq
from tests.devices.collected import events_of

WALL = {"at": 102, "quantity": "temperature", "thermocouple": "K"}
POSITIVE = {"at": 101, "quantity": "voltage"}


class Bare(Scanner):
    """Reads what it is given."""

    most_scans = 1000
    longest_interval_s = 3600.0

    def connect(self):
        self.values = {"positive": 3.7, "wall": 60.0}

    def begin(self, task):
        self.scans = task.count

    def listen(self):
        for _ in range(self.scans):
            self.add_scan(self.values, self.clock.now())
        return True

    def switch_off(self):
        pass

    def read_at_rest(self):
        self.record_channels(self.values, self.clock.now())

    def shortest_scan_s(self):
        return 0.5


@pytest.fixture
def scanner(clock):
    scanner = Bare(name="daq", clock=clock, channels={"wall": WALL, "positive": POSITIVE})
    scanner.connect()
    return scanner


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"at": 101, "quantity": "resistance"}, "one of voltage, temperature, not 'resistance'"),
        ({"at": 101, "quantity": "temperature"}, "needs the type of its thermocouple"),
        ({"at": 101, "quantity": "voltage", "thermocouple": "K"}, "only a temperature does"),
        ({"at": 101, "quantity": "temperature", "thermocouple": "X"}, "B E J K N R S T, not 'X'"),
    ],
)
def test_a_channel_that_can_not_be_is_refused(record, problem):
    with pytest.raises(ValueError, match=problem):
        ScannedChannel(**record)


@pytest.mark.parametrize(
    ("interval_s", "count", "problem"),
    [
        (0.0, 1, "interval_s"),
        (math.nan, 1, "interval_s"),
        (1.0, 0, "count"),
        (1.0, 2.5, "count"),
        (1.0, True, "count"),
    ],
)
def test_a_scan_that_can_not_be_is_refused(interval_s, count, problem):
    with pytest.raises(ValueError, match=f"{problem} must be"):
        Scan(interval_s, count)


def test_a_scan_knows_how_long_it_takes():
    scan = Scan(10.0, 6)
    assert scan.points == 6
    assert 60.0 < scan.longest_s() <= 180.0
    assert 10.0 < scan.silence_s(3) <= 120.0


@pytest.mark.parametrize(
    ("channels", "problem"),
    [
        ({}, "channels must be there"),
        ({"a": POSITIVE, "b": POSITIVE}, r"each with its own number, not \[101, 101\]"),
        ({"quality": POSITIVE}, "quality: no name for a channel"),
        ({"trigger": POSITIVE}, "trigger: no name for a channel"),
        ({"my wall": POSITIVE}, "my wall: no name for a channel"),
    ],
)
def test_channels_that_can_not_be_are_refused(clock, channels, problem):
    with pytest.raises(ValueError, match=problem):
        Bare(name="daq", clock=clock, channels=channels)


def test_each_channel_is_a_signal_with_unit_doc_and_time(scanner, clock):
    clock.sleep(5.0)
    scanner.trigger().wait()
    assert scanner.wall.get() == 60.0
    assert scanner.channels["positive"] is scanner.positive
    assert scanner.read()["daq_positive"] == {"value": 3.7, "timestamp": clock.now()}
    assert scanner.describe()["daq_wall"]["units"] == "degC"
    assert scanner.describe()["daq_positive"]["units"] == "V"
    assert sorted(scanner.hints["fields"]) == ["daq_positive", "daq_wall"]
    assert set(scanner.component_names) == {"quality", "wall", "positive"}
    assert type(scanner).wall.doc == "Channel 102"


def test_two_scanners_of_one_class_have_their_own_channels(scanner, clock):
    other = Bare(name="other", clock=clock, channels={"gas": {**WALL, "at": 103}})
    assert isinstance(other, Bare)
    assert set(other.component_names) == {"quality", "gas"}
    assert not hasattr(other, "wall")
    assert type(other).__name__ == "Bare"
    assert scanner.wall.name == "daq_wall"


def test_channels_come_in_the_order_of_their_numbers(scanner):
    assert list(scanner.in_order().items()) == [(101, "positive"), (102, "wall")]


def test_the_worst_channel_is_the_quality(scanner):
    scanner.values["positive"] = math.nan
    scanner.trigger().wait()
    assert scanner.quality.get() == "saturated"
    scanner.values["wall"] = math.nan
    scanner.trigger().wait()
    assert scanner.quality.get() == "invalid"
    assert worst(["ok", "saturated", "ok"]) == "saturated"
    scanner.values.update(positive=3.7, wall=60.0)
    scanner.trigger().wait()
    assert scanner.quality.get() == "ok"
    scanner.record_nothing()
    assert math.isnan(scanner.wall.get())
    assert scanner.quality.get() == "invalid"


def test_a_scan_that_the_instrument_can_not_do_is_refused_before_anything_is_sent(scanner):
    with pytest.raises(
        LimitError, match=r"a scan of 2 channels takes 0.5 s, longer than the interval of 0.4 s"
    ):
        scanner.flyer(Scan(0.4, 10)).prepare(Scan(0.4, 10))
    with pytest.raises(LimitError, match=r"3601 s is longer than 3600 s"):
        scanner.check_task(Scan(3601.0, 10))
    with pytest.raises(LimitError, match=r"1001 scans are more than 1000"):
        scanner.check_task(Scan(1.0, 1001))
    with pytest.raises(TypeError, match="a scanner does a Scan"):
        scanner.flyer("scan")


def test_a_scan_gives_one_row_each_with_all_channels_and_their_quality(scanner):
    scanner.values["wall"] = math.nan
    task = Scan(1.0, 3)
    flyer = scanner.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    flyer.complete().wait()
    events = events_of(flyer)
    assert len(events) == 3
    assert events[0]["data"]["daq_positive"] == 3.7
    assert math.isnan(events[0]["data"]["daq_wall"])
    assert events[0]["data"]["daq_quality"] == "invalid"
    described = flyer.describe_collect()
    assert described["daq_wall"]["units"] == "degC"
    assert described["daq_quality"]["dtype"] == "string"


def test_a_driver_is_built_like_any_other_class(clock):
    daq = KeysightDaq(name="daq", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock, channels={"wall": WALL})
    assert isinstance(daq, KeysightDaq)
    assert daq.wall.name == "daq_wall"
