import math

import numpy as np
import pytest

from sim_devices.physics.air_trace import AirTrace, straight_s


def pieces(trace, from_s, until_s):
    """Corners of the trace."""
    found = []
    while from_s < until_s:
        from_s, air_C = trace.piece(from_s, until_s)
        found.append((from_s, air_C))
    return found


def test_what_was_noted_is_found_again_within_a_hundredth_of_a_kelvin():
    trace = AirTrace(0.0, 20.0)
    times_s = np.arange(1.0, 4000.0)
    truth_C = 20.0 + 30.0 * (1.0 - np.exp(-times_s / 300.0)) * np.cos(times_s / 200.0)
    for time_s, air_C in zip(times_s, truth_C, strict=True):
        trace.note(time_s, air_C)
    corners = [(0.0, 20.0), *pieces(trace, 0.0, times_s[-1])]
    assert np.interp(times_s, *np.transpose(corners)) == pytest.approx(truth_C, abs=0.011)
    assert len(corners) < 500


def test_air_at_rest_and_a_ramp_are_one_piece_each():
    trace = AirTrace(0.0, 25.0)
    for time_s in range(1, 1000):
        trace.note(time_s, 25.0)
    for time_s in range(1, 1000):
        trace.note(999.0 + time_s, 25.0 + 0.05 * time_s)
    corners = pieces(trace, 0.0, 1998.0)
    assert len(corners) == 2
    assert corners[0] == pytest.approx((999.0, 25.0), abs=0.2)
    assert corners[1] == pytest.approx((1998.0, 25.0 + 0.05 * 999.0))


def test_a_piece_ends_where_it_is_asked_for():
    trace = AirTrace(0.0, 20.0)
    trace.note(100.0, 30.0)
    assert trace.piece(10.0, 50.0) == (50.0, pytest.approx(25.0))
    assert trace.piece(10.0, 100.0) == (100.0, 30.0)
    assert trace.piece(100.0, 100.0) == (100.0, 30.0)


def test_a_long_memory_ends():
    trace = AirTrace(0.0, 0.0)
    for time_s in range(1, 30_000):
        trace.note(time_s, float(time_s % 2))
    end_s, _ = trace.piece(0.0, 29_999.0)
    assert 10_000.0 < end_s < 29_000.0
    assert len(pieces(trace, 0.0, 29_999.0)) <= 10_000


def test_a_curve_is_straight_as_long_as_its_chord_stays_near():
    length_s = straight_s(1e-4)
    assert 1e-4 * length_s**2 / 8.0 == pytest.approx(0.005)
    assert straight_s(0.0) == math.inf
