import pytest

from sim_devices.physics.furnace import Furnace


def test_constant_power_settles_at_power_over_loss() -> None:
    furnace = Furnace()
    furnace.advance(1e6, power_fraction=0.25)
    assert furnace.temperature_C == pytest.approx(25.0 + 0.25 * 600.0 / 1.5)
    assert furnace.sensor_C == pytest.approx(furnace.temperature_C)


def test_the_sensor_lags_the_sample() -> None:
    furnace = Furnace()
    furnace.advance(120.0, power_fraction=1.0)
    rate_C_s = (600.0 - 1.5 * (furnace.temperature_C - 25.0)) / 1500.0
    assert furnace.temperature_C - furnace.sensor_C == pytest.approx(8.0 * rate_C_s, rel=0.03)


def test_energy_balance() -> None:
    furnace = Furnace()
    lost_J = 0.0
    for _ in range(1000):
        before_C = furnace.temperature_C
        furnace.advance(1.0, power_fraction=0.5)
        lost_J += 1.5 * ((before_C + furnace.temperature_C) / 2.0 - 25.0)
    assert 1500.0 * (furnace.temperature_C - 25.0) + lost_J == pytest.approx(300.0 * 1000.0, rel=1e-6)


def test_semigroup() -> None:
    whole, parts = Furnace(), Furnace()
    whole.advance(100.0, power_fraction=0.7)
    parts.advance(1.5, power_fraction=0.7)
    parts.advance(98.5, power_fraction=0.7)
    assert parts.temperature_C == pytest.approx(whole.temperature_C, rel=1e-12)
    assert parts.sensor_C == pytest.approx(whole.sensor_C, rel=1e-12)


def test_power_is_limited() -> None:
    furnace, full = Furnace(), Furnace()
    furnace.advance(100.0, power_fraction=7.0)
    full.advance(100.0, power_fraction=1.0)
    assert furnace.temperature_C == full.temperature_C
