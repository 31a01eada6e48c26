from dataclasses import replace

import pytest

from devices.families.cycler_program import CellLimits, Program, Step

LIMITS = CellLimits(2.5, 4.3, 0.02, 0.02)
DAY_S = 86400.0


def hold(end_time_s, record_interval_s=None):
    return Step("charge", end_time_s, 0.01, hold_V=4.2, record_interval_s=record_interval_s)


def program(*steps, interval_s=60.0, cycles=1):
    return Program(steps, LIMITS, interval_s, cycles)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan"), float("inf"), True])
def test_an_interval_of_records_is_a_number_above_0(interval_s):
    with pytest.raises(ValueError, match="record_interval_s must be"):
        hold(60.0, interval_s)


def test_a_rest_may_have_records_of_its_own():
    assert program(Step("rest", 60.0, record_interval_s=1.0)).silence_s(0) == 2.0 + 120.0


def test_a_step_that_says_nothing_has_the_programs_interval():
    both = program(hold(60.0), hold(60.0, 5.0))
    assert [both.interval_s(step) for step in both.steps] == [60.0, 5.0]


def test_silence_follows_the_longest_interval():
    assert program(hold(60.0, 1.0), hold(DAY_S, 300.0), interval_s=10.0).silence_s(3) == 720.0
    assert program(hold(60.0, 1.0), hold(60.0, 2.0), interval_s=300.0).silence_s(3) == 124.0


@pytest.mark.parametrize(
    ("task", "look_s"),
    [
        pytest.param(program(hold(5 * DAY_S)), 300.0, id="a hold of days, a record a minute"),
        pytest.param(program(hold(5 * DAY_S), interval_s=1.0), 10.0, id="of days, a record a second"),
        pytest.param(
            program(hold(60.0, 1.0), hold(600.0, 10.0), hold(5 * DAY_S, 300.0)),
            300.0,
            id="sparser and sparser",
        ),
        pytest.param(
            program(Step("charge", 10.0, 0.01), Step("rest", 40.0, record_interval_s=10.0), cycles=3000),
            50.0,
            id="many short steps",
        ),
    ],
)
def test_a_program_is_looked_at_as_often_as_it_gives_something(task, look_s):
    assert task.look_s() == look_s


def test_a_short_program_is_looked_at_often_whatever_its_records():
    short = program(Step("rest", 30.0))
    assert short.look_s() == pytest.approx(short.longest_s() / 200)
    assert short.look_s() < 1.0
    long = replace(short, steps=(Step("rest", 3600.0),))
    assert long.look_s() == pytest.approx(long.longest_s() / 200)
    assert 10.0 < long.look_s() < 20.0
