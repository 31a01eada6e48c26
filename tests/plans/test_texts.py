"""What plans write in the language of steps."""

import pytest

from plans.texts import cycle_text, discharge_text, end_voltage, hold_text, pulse_text, state_text
from ssblab.station import load_station
from ssblab.steps import Amount, Current, Hold, Loop, Rest, parse

ONE_C = Amount(1.0, "C")


@pytest.fixture(scope="module")
def samples():
    return load_station("cells").samples


def test_the_intervals_of_a_hold():
    def holds(*how, **more):
        steps = parse(hold_text(Amount(4.25, "V", "Li/Li+"), *how, **more)).steps
        assert all(isinstance(step, Hold) and step.at.text() == "4.25 V vs Li/Li+" for step in steps)
        return [(step.for_s, step.log.dt_s) for step in steps]

    assert holds(86400.0, 600.0) == [(60.0, 1.0), (540.0, 10.0), (6600.0, 60.0), (79200.0, 600.0)]
    assert holds(900.0, 60.0) == [(60.0, 1.0), (540.0, 10.0), (300.0, 60.0)]
    assert holds(86400.0, 0.5) == [(86400.0, 0.5)]
    assert holds(86400.0, 60.0, even=True) == [(86400.0, 60.0)]
    assert sum(for_s for for_s, _ in holds(1e6, 3600.0)) == 1e6


def test_a_charge_ends_at_the_limit_on_its_side(samples):
    full, silicon = samples["std-01"], samples["si-50nm-01"]
    assert (end_voltage(full, "charge").value, end_voltage(full, "discharge").value) == (4.2, 2.5)
    assert end_voltage(silicon, "charge").value < end_voltage(silicon, "discharge").value
    assert end_voltage(full, "charge", Amount(4.0, "V")).value == 4.0


def test_a_cycle_may_begin_with_either_half(samples):
    how = {"charge_at": ONE_C, "discharge_at": ONE_C, "rest_s": 60.0}
    halves = [
        [step.direction for step in parse(cycle_text(samples["std-01"], **how, first=first)).steps[::2]]
        for first in ("charge", "discharge")
    ]
    assert halves == [["charge", "discharge"], ["discharge", "charge"]]
    (loop,) = parse(cycle_text(samples["std-01"], **how, cycles=3)).steps
    assert isinstance(loop, Loop)
    assert loop.cycles == 3


def test_a_discharge_begins_from_a_rest_with_close_records(samples):
    rest, beginning, rest_of_it = parse(discharge_text(samples["std-01"], ONE_C)).steps
    assert isinstance(rest, Rest)
    assert isinstance(beginning, Current)
    assert beginning.log.dt_s < rest.log.dt_s
    assert rest_of_it.direction == "discharge"


def test_a_state_of_charge_is_not_gone_to_beyond_the_end_voltage(samples):
    down = parse(state_text(samples["std-01"], -4.0, ONE_C, 60.0)).steps[0]
    up = parse(state_text(samples["std-01"], 4.0, ONE_C, 60.0)).steps[0]
    assert (down.direction, up.direction) == ("discharge", "charge")
    assert "2.5 V" in state_text(samples["std-01"], -4.0, ONE_C, 60.0)


def test_the_charge_of_a_pulse_is_put_back(samples):
    steps = parse(pulse_text(samples["std-01"], [ONE_C], 10.0, 0.1, 300.0)).steps
    directions = [step.direction for step in steps if isinstance(step, Current)]
    assert directions == ["discharge", "charge"]
