"""What programs say of their time, and which of their ends did not come."""

import pytest

from plans.forecast import forecasts
from ssblab.station import load_station

SAMPLE = load_station("cells").samples["std-01"].metadata()
DAY_S = 86400.0


def foreseen(text):
    (one,) = forecasts({"sample": SAMPLE, "programs": [{"section": "all", "text": text}]})
    return one


@pytest.mark.parametrize(
    ("text", "shortest_s", "longest_s"),
    [
        ("Rest for 1 h", 3600.0, 3600.0),
        ("Charge at 0.5C until 4.2 V", 0.0, 4 * 3600.0),  # twice the time of its rate
        ("Charge at 0.5C for 1 h or until 4.2 V", 0.0, 3600.0),
        ("Charge at 1C to 4.2 V and hold until 0.05C", 0.0, 2 * 3600.0 + DAY_S),
        ("Repeat 3 times: Rest for 10 min; Discharge at 1C until 2.5 V", 1800.0, 3 * 7800.0),
        ("Rest until |dV/dt| < 1 mV/h", 0.0, DAY_S),
        ("Wait until temperature < 30 degC", 0.0, None),
    ],
)
def test_times(text, shortest_s, longest_s):
    one = foreseen(text)
    assert one.shortest_s == pytest.approx(shortest_s)
    assert one.longest_s == (None if longest_s is None else pytest.approx(longest_s))


def test_a_wait_without_an_end_is_a_warning():
    assert "it may wait for ever" in foreseen("Wait until temperature < 30 degC").warnings[0]


def test_a_run_without_programs_has_no_forecast():
    assert forecasts({"plan_name": "moisture_exposure", "sample": {"name": "argyrodite-01"}}) == []
