import numpy as np
import pytest

from sim_devices.physics.gas_sensor import ElectrochemicalSensor


def sensor(seed: int = 1, **changes: float) -> ElectrochemicalSensor:
    return ElectrochemicalSensor(np.random.default_rng(seed), **changes)


def test_t90() -> None:
    meter = sensor(t90_s=30.0)
    meter.advance(30.0, h2s_mole_fraction=2e-6)
    assert meter.response_ppm == pytest.approx(0.9 * 2.0)


def test_semigroup() -> None:
    whole, parts = sensor(), sensor()
    whole.advance(50.0, h2s_mole_fraction=2e-6, water_mole_fraction=1e-3)
    parts.advance(13.0, h2s_mole_fraction=2e-6, water_mole_fraction=1e-3)
    parts.advance(37.0, h2s_mole_fraction=2e-6, water_mole_fraction=1e-3)
    assert parts.response_ppm == pytest.approx(whole.response_ppm, rel=1e-12)
    assert parts.zero_error_ppm == pytest.approx(whole.zero_error_ppm, rel=1e-12)


def test_the_seed_fixes_drift_and_readings() -> None:
    def readings(seed: int) -> list[float]:
        meter = sensor(seed)
        meter.advance(3600.0, h2s_mole_fraction=1e-6)
        return [meter.read_ppm() for _ in range(5)]

    assert readings(3) == readings(3)
    assert readings(3) != readings(4)


def test_noise_has_the_stated_spread() -> None:
    meter = sensor(noise_ppm=0.02, drift_sd_ppm_day=0.0)
    meter.advance(3600.0, h2s_mole_fraction=1e-6)
    readings_ppm = [meter.read_ppm() for _ in range(4000)]
    assert np.mean(readings_ppm) == pytest.approx(1.0, abs=0.002)
    assert np.std(readings_ppm) == pytest.approx(0.02, rel=0.05)


def test_zero_takes_away_drift_and_cross_sensitivity() -> None:
    meter = sensor(noise_ppm=0.0, drift_sd_ppm_day=0.5)
    meter.advance(10 * 86_400.0, h2s_mole_fraction=0.0, water_mole_fraction=1e-3)
    assert abs(meter.read_ppm()) > 0.02
    meter.zero()
    assert meter.read_ppm() == pytest.approx(0.0, abs=1e-12)


def test_range_is_limited() -> None:
    meter = sensor()
    meter.advance(3600.0, h2s_mole_fraction=50e-6)
    assert meter.read_ppm() == meter.full_scale_ppm


def test_water_reads_as_a_little_h2s() -> None:
    meter = sensor(noise_ppm=0.0, drift_sd_ppm_day=0.0)
    meter.advance(3600.0, h2s_mole_fraction=0.0, water_mole_fraction=1.019e-3)
    assert meter.read_ppm() == pytest.approx(0.02, abs=0.005)
