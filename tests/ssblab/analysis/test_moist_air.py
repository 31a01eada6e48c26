import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssblab.analysis.moist_air import (
    relative_slope_per_K,
    saturation_pressure_Pa,
    water_mole_fraction,
    water_mole_fraction_uncertainty,
)
from ssblab.quantities import BadInput

ATMOSPHERE_PA = 101325.0


def iapws_sublimation_pressure_Pa(kelvin):
    """IAPWS R14-08(2011), equation 6: an independent equation of state behind it."""
    theta = kelvin / 273.16
    a = np.array([-0.212144006e2, 0.273203819e2, -0.610598130e1])
    b = np.array([0.333333333e-2, 0.120666667e1, 0.170333333e1])
    return 611.657 * np.exp(np.sum(a * theta**b) / theta)


@pytest.mark.ground_truth
@pytest.mark.parametrize(
    ("dew_point_C", "ppmv", "rounding"),
    [
        (-10, 2565, 2e-4),
        (-20, 1019, 5e-4),
        (-40, 127, 4e-3),
        (-50, 38.9, 2e-3),
        (-80, 0.54, 1e-2),
        (-90, 0.10, 5e-2),
    ],
)
def test_gt_2_2_water_at_the_dew_points_of_the_documents(dew_point_C, ppmv, rounding):
    x = water_mole_fraction(dew_point_C, pressure_Pa=ATMOSPHERE_PA)
    assert x * 1e6 == pytest.approx(ppmv, rel=rounding)


@pytest.mark.ground_truth
def test_gt_2_2_two_kelvin_of_dew_point_change_the_water_as_the_documents_say():
    x = water_mole_fraction([-22, -20, -18, -52, -50, -48], pressure_Pa=ATMOSPHERE_PA)
    assert x[0] / x[1] - 1 == pytest.approx(-0.18, abs=5e-3)
    assert x[2] / x[1] - 1 == pytest.approx(0.21, abs=5e-3)
    assert x[3] / x[4] - 1 == pytest.approx(-0.22, abs=5e-3)
    assert x[5] / x[4] - 1 == pytest.approx(0.28, abs=5e-3)


def test_iapws_check_value():
    assert iapws_sublimation_pressure_Pa(230.0) == pytest.approx(8.94735, rel=1e-6)


@pytest.mark.parametrize("dew_point_C", [-100, -80, -50, -40, -30, -20, -10, -1])
def test_ice_agrees_with_the_iapws_sublimation_equation(dew_point_C):
    published = iapws_sublimation_pressure_Pa(dew_point_C + 273.15)
    assert saturation_pressure_Pa(dew_point_C) == pytest.approx(published, rel=2.5e-3)


@pytest.mark.parametrize(
    ("dew_point_C", "mmHg"),
    # GE/Panametrics hygrometer manual 900-901D1, table A-1, over ice.
    [(-20, 0.776), (-10, 1.950), (-5, 3.013), (-0.2, 4.504)],
)
def test_ice_agrees_with_a_hygrometer_makers_table(dew_point_C, mmHg):
    assert saturation_pressure_Pa(dew_point_C) == pytest.approx(mmHg * 133.322, rel=2e-3)


@pytest.mark.parametrize(
    ("dew_point_C", "hPa"),
    # Steam tables (IAPWS-95): 0.01, 10, 25, 50 degC.
    [(0.01, 6.11657), (10, 12.282), (25, 31.699), (50, 123.52)],
)
def test_liquid_water_agrees_with_steam_tables(dew_point_C, hPa):
    assert saturation_pressure_Pa(dew_point_C) == pytest.approx(hPa * 100, rel=1e-3)


def test_frost_point_below_zero_and_no_step_at_zero():
    below, above = saturation_pressure_Pa([-1e-9, 0.0])
    assert below == pytest.approx(above, rel=2e-4)


def test_pressure_divides_and_nan_stays():
    x = water_mole_fraction([-20, np.nan], pressure_Pa=[ATMOSPHERE_PA / 2, ATMOSPHERE_PA])
    assert x[0] == pytest.approx(2 * water_mole_fraction(-20, pressure_Pa=ATMOSPHERE_PA))
    assert np.isnan(x[1])


@given(st.floats(-160, 58))
def test_slope_is_that_of_the_formula(dew_point_C):
    if abs(dew_point_C) > 0.1:
        low, high = saturation_pressure_Pa([dew_point_C - 0.05, dew_point_C + 0.05])
        assert relative_slope_per_K(dew_point_C) == pytest.approx(np.log(high / low) / 0.1, rel=1e-3)


def test_uncertainty_adds_dew_point_and_pressure():
    x = water_mole_fraction(-20, pressure_Pa=ATMOSPHERE_PA)

    def uncertainty(dew_point_K, pressure_Pa):
        return water_mole_fraction_uncertainty(
            -20,
            pressure_Pa=ATMOSPHERE_PA,
            dew_point_uncertainty_K=dew_point_K,
            pressure_uncertainty_Pa=pressure_Pa,
        )

    assert uncertainty(0, 1013.25) == pytest.approx(0.01 * x)
    shifted = water_mole_fraction([-20.1, -19.9], pressure_Pa=ATMOSPHERE_PA)
    assert uncertainty(0.1, 0) == pytest.approx(np.diff(shifted)[0] / 2, rel=1e-3)
    assert uncertainty(0.1, 1013.25) == pytest.approx(np.hypot(uncertainty(0.1, 0), uncertainty(0, 1013.25)))


def test_a_monte_carlo_gives_the_same_uncertainty():
    random = np.random.default_rng(1)
    dew_point_C = random.normal(-20, 0.2, 200_000)
    pressure_Pa = random.normal(ATMOSPHERE_PA, 200, 200_000)
    simulated = np.std(water_mole_fraction(dew_point_C, pressure_Pa=pressure_Pa))
    stated = water_mole_fraction_uncertainty(
        -20, pressure_Pa=ATMOSPHERE_PA, dew_point_uncertainty_K=0.2, pressure_uncertainty_Pa=200
    )
    assert stated == pytest.approx(simulated, rel=0.01)


@pytest.mark.parametrize("dew_point_C", [-200, 60, np.inf])
def test_dew_points_out_of_range_are_refused(dew_point_C):
    with pytest.raises(BadInput, match="degC"):
        saturation_pressure_Pa(dew_point_C)


@pytest.mark.parametrize("pressure_Pa", [0, -1, 101.325])
def test_a_pressure_in_the_wrong_unit_is_refused(pressure_Pa):
    with pytest.raises(BadInput, match="Pa"):
        water_mole_fraction(-20, pressure_Pa=pressure_Pa)
