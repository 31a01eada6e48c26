import math
from concurrent.futures import Future

import pytest

from devices.status import ActionTimeout, Approach, NotReached, Status


class Quantity:
    """Goes to its target at a rate."""

    def __init__(self, clock, rate=1.0):
        self.clock, self.rate = clock, rate
        self.value, self.target, self.since = 0.0, 0.0, 0.0
        self.started = 0

    def start(self, target):
        self.target, self.since = target, self.clock.monotonic()
        self.started += 1

    def read(self):
        return min(self.target, self.rate * (self.clock.monotonic() - self.since))


@pytest.fixture
def quantity(clock):
    return Quantity(clock)


@pytest.fixture
def approach(clock, quantity):
    def make(target=20.0, read=None, start=None, **kwargs):
        options = {"tolerance": 1.0, "settle_s": 5.0, "timeout_s": 60.0, "poll_s": 1.0, **kwargs}
        return Approach(
            clock,
            "oven",
            "oven: temperature",
            "degC",
            start=start or (lambda: quantity.start(target)),
            read=read or quantity.read,
            target=target,
            **options,
        )

    return make


def test_a_status_times_out_on_the_clock(clock):
    status = Status(clock, "oven: read", 3600.0)
    with pytest.raises(ActionTimeout, match="oven: read: not done within 3600 s"):
        status.wait()
    assert clock.monotonic() == pytest.approx(3600.0)


def test_a_status_ends_once(clock):
    status = Status(clock, "oven: read", 10.0)
    status.finish()
    status.fail(ValueError("too late"))
    status.finish()
    status.wait()
    assert status.success


def test_a_status_follows_a_future(clock):
    good, bad = Future(), Future()
    good.set_result(None)
    bad.set_exception(ValueError("no"))
    Status(clock, "x", 10.0).follow(good).wait()
    with pytest.raises(ValueError, match="no"):
        Status(clock, "x", 10.0).follow(bad).wait()


def test_an_ended_status_leaves_no_timer(clock):
    status = Status(clock, "x", 10.0)
    status.finish()
    status.wait()
    clock.sleep(20.0)
    assert status.success


def test_an_approach_ends_after_it_has_settled_in_the_band(approach, clock, quantity):
    approach().status.wait()
    assert quantity.started == 1
    assert clock.monotonic() == pytest.approx(19.0 + 5.0, abs=1.0)


def test_an_approach_that_leaves_the_band_settles_anew(approach, clock):
    readings = iter([20.0, 20.0, 20.0, 25.0] + 100 * [20.0])
    approach(read=lambda: next(readings)).status.wait()
    assert clock.monotonic() == pytest.approx(10.0, abs=0.1)


def test_a_reading_without_number_is_out_of_the_band_and_not_the_last_reading(approach, clock):
    readings = iter([20.0, 20.0, 20.5] + 100 * [math.nan])
    with pytest.raises(NotReached) as caught:
        approach(read=lambda: next(readings)).status.wait()
    expected = "oven: temperature: not settled (target 20 +/- 1 degC, last reading 20.5 degC, waited 60 s)"
    assert str(caught.value) == expected


def test_an_approach_that_is_too_slow_names_target_last_reading_and_time(approach, quantity):
    quantity.rate = 0.1
    expected = r"not settled \(target 20 \+/- 1 degC, last reading 6 degC, waited 60 s\)"
    with pytest.raises(NotReached, match=expected):
        approach().status.wait()


def test_an_error_of_start_or_read_ends_the_approach(approach):
    def broken():
        raise ValueError("broken")

    for part in ("start", "read"):
        with pytest.raises(ValueError, match="broken"):
            approach(**{part: broken}).status.wait()


def test_a_cancelled_approach_fails_with_the_reason_and_reads_no_more(approach, clock, quantity, pass_time):
    reads = []
    running = approach(read=lambda: reads.append(1) or 0.0)
    pass_time(3.5)
    running.cancel("stopped")
    running.cancel("again")
    with pytest.raises(NotReached, match=r"oven: temperature: stopped \(target 20"):
        running.status.wait()
    count = len(reads)
    pass_time(10.0)
    assert len(reads) == count


def test_progress_is_told_with_unit(approach):
    seen = []
    running = approach()
    running.status.watch(lambda **facts: seen.append(facts))
    running.status.wait()
    assert {fact["unit"] for fact in seen} == {"degC"}
    assert [fact["current"] for fact in seen][:3] == pytest.approx([1.0, 2.0, 3.0])
    assert seen[-1]["target"] == 20.0


def test_an_approach_that_gives_way_to_another_target_fails(approach):
    first, second = approach(20.0), approach(30.0)
    first.give_way_to(second)
    with pytest.raises(NotReached, match=r"oven: temperature: was set anew \(target 20"):
        first.status.wait()
    second.status.wait()


@pytest.mark.parametrize("reached", [True, False])
def test_an_approach_that_gives_way_to_the_same_target_ends_with_it(approach, clock, pass_time, reached):
    first = approach()
    pass_time(10.0)
    second = approach(read=None if reached else lambda: 0.0)
    first.give_way_to(second)
    if reached:
        first.status.wait(100.0)
    else:
        with pytest.raises(NotReached, match=r"last reading 0 degC, waited 60 s"):
            first.status.wait(100.0)
        assert clock.monotonic() == pytest.approx(70.0)
