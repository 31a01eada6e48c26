import pytest

from sim_devices.physics.relaxation import LagCascade, relax


def test_no_loss_is_a_straight_line() -> None:
    assert relax(1.0, loss_per_s=0.0, gain_per_s=0.5, dt_s=10.0) == pytest.approx((6.0, 3.5))


def test_no_time_changes_nothing() -> None:
    assert relax(1.0, loss_per_s=3.0, gain_per_s=0.5, dt_s=0.0) == (1.0, 1.0)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="negative"):
        relax(1.0, loss_per_s=3.0, gain_per_s=0.5, dt_s=-1.0)


@pytest.mark.parametrize("loss_per_s", [0.0, 1e-9, 0.99e-5, 1.01e-5, 1e-2, 5.0])
def test_balance_and_semigroup(loss_per_s: float) -> None:
    end, mean = relax(2.0, loss_per_s=loss_per_s, gain_per_s=0.3, dt_s=10.0)
    # What is gained less what is lost is what has been added.
    assert end - 2.0 == pytest.approx((0.3 - loss_per_s * mean) * 10.0, rel=1e-9)
    half, first_mean = relax(2.0, loss_per_s=loss_per_s, gain_per_s=0.3, dt_s=3.0)
    in_two, second_mean = relax(half, loss_per_s=loss_per_s, gain_per_s=0.3, dt_s=7.0)
    assert in_two == pytest.approx(end, rel=1e-11)
    assert 0.3 * first_mean + 0.7 * second_mean == pytest.approx(mean, rel=1e-11)


def test_lag_cascade_solves_its_equations() -> None:
    lags = LagCascade(100.0, 7.0)
    body, sensor = lags.advance(20.0, 15.0, 200.0, 30.0)
    small_s = 1e-3
    after_body, after_sensor = lags.advance(body, sensor, 200.0, small_s)
    assert (after_body - body) / small_s == pytest.approx((200.0 - body) / 100.0, rel=1e-4)
    assert (after_sensor - sensor) / small_s == pytest.approx((body - sensor) / 7.0, rel=1e-3)
    assert lags.advance(20.0, 15.0, 200.0, 1e6) == pytest.approx((200.0, 200.0))


def test_lag_cascade_refuses_equal_lags() -> None:
    with pytest.raises(ValueError, match="different"):
        LagCascade(5.0, 5.0)
