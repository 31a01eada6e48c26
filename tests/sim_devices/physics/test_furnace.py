import pytest

from sim_devices.physics.furnace import ControlledFurnace, Furnace

RAMP_C_s = 5.0 / 60.0


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


@pytest.mark.parametrize("target_C", [100.0, 170.0])
def test_ramp_soak_cool(target_C: float) -> None:
    oven = ControlledFurnace(Furnace())
    peak_C = 25.0
    for _ in range(360):
        oven.advance(10.0, target_C=target_C, ramp_C_s=RAMP_C_s)
        peak_C = max(peak_C, oven.furnace.temperature_C)
    assert peak_C < target_C + 2.0
    assert oven.furnace.temperature_C == pytest.approx(target_C, abs=0.2)
    oven.advance(3 * 3600.0, target_C=25.0, ramp_C_s=RAMP_C_s)
    assert oven.furnace.temperature_C == pytest.approx(25.0, abs=0.5)


def test_ramp_rate_is_followed() -> None:
    oven = ControlledFurnace(Furnace())
    oven.advance(900.0, target_C=170.0, ramp_C_s=RAMP_C_s)
    start_C = oven.furnace.temperature_C
    oven.advance(300.0, target_C=170.0, ramp_C_s=RAMP_C_s)
    assert (oven.furnace.temperature_C - start_C) / 300.0 == pytest.approx(RAMP_C_s, rel=0.02)


def test_controlled_history_does_not_depend_on_the_intervals() -> None:
    whole, parts = ControlledFurnace(Furnace()), ControlledFurnace(Furnace())
    whole.advance(1000.0, target_C=170.0, ramp_C_s=RAMP_C_s)
    for dt_s in [0.3, 0.9, 500.0, 0.05, 498.75]:
        parts.advance(dt_s, target_C=170.0, ramp_C_s=RAMP_C_s)
    assert parts.furnace.temperature_C == pytest.approx(whole.furnace.temperature_C, abs=1e-7)


def test_disabled_heater_lets_it_cool() -> None:
    oven = ControlledFurnace(Furnace(temperature_C=170.0, sensor_C=170.0))
    oven.advance(1000.0, target_C=170.0, ramp_C_s=RAMP_C_s, heater_enabled=False)
    assert oven.power_fraction == 0.0
    assert oven.furnace.temperature_C == pytest.approx(25.0 + 145.0 * 0.36788, rel=1e-3)
