"""A measurement in the instrument, through pauses and bad ends of its plan."""

import asyncio
from concurrent.futures import Future

import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted

from devices.families.techniques import ConstantCurrent
from plans.stubs import measure, ocv_then_eis
from tests.plans.counter import Counter, Counting

CHARGE = ConstantCurrent(1e-3, 30.0, 0.5, 2.5, 4.2)


@pytest.fixture
def counter(clock):
    return Counter(name="counter", clock=clock)


@bpp.run_decorator()
def count(counter):
    yield from measure(counter, Counting(), "counts")


class Recorded:
    """Documents of a run: rows with their numbers, and the stop document."""

    def __init__(self):
        self.documents = []

    def __call__(self, name, document):
        self.documents.append((name, document))

    def column(self, key):
        pages = [page for name, page in self.documents if name == "event_page"]
        return [value for page in pages for value in page["data"][key]]

    @property
    def seq_nums(self):
        return [number for name, page in self.documents if name == "event_page" for number in page["seq_num"]]

    @property
    def descriptors_with_rows(self):
        return {page["descriptor"] for name, page in self.documents if name == "event_page"}

    @property
    def stop(self):
        return self.documents[-1][1]


def at_message(RE, number, do):
    """Do something on the loop as soon as the RunEngine has begun with its message of that number, from 0."""
    seen, tasks = iter(range(1000)), []

    def hook(_):
        if next(seen) == number:
            tasks.append(asyncio.ensure_future(do(), loop=RE.loop))

    RE.msg_hook = hook


@pytest.mark.parametrize("pause_s", [0.0, 3.0, 30.0])
def test_a_pause_at_any_message_starts_nothing_twice_and_loses_no_row(RE, clock, pass_time, pause_s):
    messages = []
    RE.msg_hook = messages.append
    RE(count(Counter(name="counter", clock=clock)))
    for number in range(len(messages)):
        counter, recorded = Counter(name="counter", clock=clock), Recorded()
        at_message(RE, number, RE._request_pause_coro)
        try:
            RE(count(counter), recorded)
        except RunEngineInterrupted:
            assert counter.on or not counter.starts or counter.given == 10
            pass_time(pause_s)
            RE.resume()
        told = f"pause at message {number}, {messages[number].command}"
        assert counter.starts == 1, told
        assert recorded.column("counter_number") == list(range(1, 11)), told
        assert recorded.seq_nums == list(range(1, 11)), told
        assert recorded.stop["exit_status"] == "success", told
        assert len(recorded.descriptors_with_rows) == 1, told
        assert RE.rewindable


def test_an_end_at_any_message_leaves_the_output_off_and_keeps_the_rows(RE, clock):
    messages = []
    RE.msg_hook = messages.append
    RE(count(Counter(name="counter", clock=clock)))
    for number in range(3, len(messages) - 1):
        counter, recorded = Counter(name="counter", clock=clock), Recorded()
        at_message(RE, number, lambda: RE._abort_coro("told to"))
        with pytest.raises(RunEngineInterrupted):
            RE(count(counter), recorded)
        told = f"end at message {number}, {messages[number].command}"
        assert not counter.on, told
        assert not counter.measuring, told
        given = counter.given if counter.starts else 0
        assert recorded.column("counter_number") == list(range(1, given + 1)), told
        assert recorded.stop["exit_status"] == "abort", told
        assert RE.rewindable


def test_an_end_in_a_pause_leaves_the_output_off(RE, counter, pass_time):
    recorded = Recorded()
    at_message(RE, 20, RE._request_pause_coro)
    with pytest.raises(RunEngineInterrupted):
        RE(count(counter), recorded)
    assert counter.on
    pass_time(3.0)
    RE.abort()
    assert not counter.on
    assert recorded.column("counter_number") == list(range(1, counter.given + 1))


def test_what_a_measurement_that_fails_has_given_is_kept(RE, counter):
    counter.fails_at = 4
    recorded = Recorded()
    with pytest.raises(FailedStatus, match="is out of order"):
        RE(count(counter), recorded)
    assert not counter.on
    assert recorded.column("counter_number") == [1, 2, 3, 4]


@bpp.run_decorator()
def charge(device):
    yield from measure(device, CHARGE, "course")


@pytest.mark.parametrize("name", ["smu_2450", "smu_2400", "smu_potentiostat"])
def test_pause_and_end_on_a_source(RE, clock, put_on_shelf, pass_time, name):
    lab, devices = put_on_shelf(name)
    simulated = lab.instruments["smu_2450" if name == "smu_potentiostat" else name]
    recorded = Recorded()
    clock.call_later(12.0, lambda: asyncio.ensure_future(RE._request_pause_coro(), loop=RE.loop))
    with pytest.raises(RunEngineInterrupted):
        RE(charge(devices[name]), recorded)
    assert simulated.stage.output
    pass_time(5.0)
    RE.resume()
    assert len(recorded.column(f"{name}_potential")) == 60
    assert np.diff(recorded.seq_nums).tolist() == [1] * 59
    assert not simulated.stage.output

    recorded = Recorded()
    clock.call_later(12.0, lambda: asyncio.ensure_future(RE._abort_coro("told to"), loop=RE.loop))
    with pytest.raises(RunEngineInterrupted):
        RE(charge(devices[name]), recorded)
    assert not simulated.stage.output
    assert 5 < len(recorded.column(f"{name}_potential")) < 30
    assert recorded.stop["exit_status"] == "abort"


def test_a_spectrum_that_is_none_is_refused_before_the_rest(RE, clock, put_on_shelf):
    _, devices = put_on_shelf("potentiostat")
    begin_s = clock.monotonic()
    bad = {"frequency_start_Hz": 1e4, "frequency_end_Hz": 1.0, "points_per_decade": 5, "amplitude_V": -0.01}
    with pytest.raises(ValueError, match="amplitude_V"):
        RE(bpp.run_wrapper(ocv_then_eis(devices["potentiostat"], rest_s=3600.0, interval_s=10.0, **bad)))
    assert clock.monotonic() - begin_s < 60.0


def test_a_pause_while_it_starts_waits_for_the_start(RE, clock, pass_time, monkeypatch):
    """A worker that is slow, as in wall time."""
    counter, recorded, pending = Counter(name="counter", clock=clock), Recorded(), []
    at_once = clock.submit

    def later(worker, work):
        if counter.starts or len(pending) or worker != "counter" or counter.flyers["count"]._prepared is None:
            return at_once(worker, work)
        pending.append(Future())
        clock.call_later(20.0, lambda: pending[0].set_result(work()))
        return pending[0]

    monkeypatch.setattr(clock, "submit", later)
    pausing = []
    clock.call_later(
        5.0, lambda: pausing.append(asyncio.ensure_future(RE._request_pause_coro(), loop=RE.loop))
    )
    with pytest.raises(RunEngineInterrupted):
        RE(count(counter), recorded)
    assert not counter.starts
    pass_time(2.0)
    RE.resume()
    assert counter.starts == 1
    assert recorded.column("counter_number") == list(range(1, 11))
