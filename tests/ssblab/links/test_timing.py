from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssblab.clock import VirtualClock
from ssblab.links import InstrumentClock, RoundTrip


def test_round_trips_have_a_shortest_and_a_mean_that_forgets():
    trips = RoundTrip()
    assert math.isnan(trips.shortest_s)
    assert math.isnan(trips.mean_s)
    for _ in range(5):
        trips.note(0.1)
    assert (trips.shortest_s, trips.mean_s) == (pytest.approx(0.1), pytest.approx(0.1))
    trips.note(1.1)
    assert (trips.shortest_s, trips.mean_s) == (pytest.approx(0.1), pytest.approx(0.2))
    for _ in range(100):
        trips.note(0.5)
    assert (trips.shortest_s, trips.mean_s) == (pytest.approx(0.1), pytest.approx(0.5, abs=1e-4))


def test_nothing_is_known_of_a_clock_that_nobody_has_looked_at(clock):
    assert all(map(math.isnan, InstrumentClock(clock, 0.0).offset()))


def test_a_clock_that_is_asked_is_known_to_half_a_round_trip(clock):
    instrument = InstrumentClock(clock, 0.0)
    instrument.compare(107.1, earliest=100.0, latest=100.2)
    assert instrument.offset() == (pytest.approx(7.0), pytest.approx(0.1))


@given(
    offset_s=st.floats(-1e5, 1e5),
    moments=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=20),
    resolution_s=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_the_true_offset_is_within_the_uncertainty_and_each_moment_makes_it_no_worse(
    offset_s, moments, resolution_s
):
    clock = VirtualClock(epoch=1_700_000_000)
    instrument, uncertainty_s = InstrumentClock(clock, resolution_s), math.inf
    for before_s, after_s in moments:
        now = clock.now()
        told = now + offset_s
        if resolution_s:
            told = math.floor(told / resolution_s) * resolution_s
        instrument.compare(told, now - before_s, now + after_s)
        found_s, sure_s = instrument.offset()
        assert abs(found_s - offset_s) <= sure_s + 1e-6
        assert sure_s <= uncertainty_s + 1e-6
        uncertainty_s = sure_s
    clock.close()


def test_a_clock_that_was_set_is_known_anew(clock):
    instrument = InstrumentClock(clock, 0.0)
    instrument.compare(107.0, 100.0, 100.0)
    instrument.compare(205.1, 200.0, 200.2)
    assert instrument.offset() == (pytest.approx(5.0), pytest.approx(0.1))


def test_clocks_drift_apart_while_nobody_looks(clock):
    instrument = InstrumentClock(clock, 0.0)
    instrument.compare(100.0, 99.9, 100.1)
    clock.sleep(86400.0)
    assert instrument.offset() == (pytest.approx(0.0, abs=1e-6), pytest.approx(0.1 + 1.296))


def test_a_moment_that_ends_before_it_begins_tells_nothing(clock):
    instrument = InstrumentClock(clock, 0.0)
    instrument.compare(100.0, earliest=100.1, latest=99.9)
    assert math.isnan(instrument.offset()[0])
