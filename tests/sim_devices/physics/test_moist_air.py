import pytest

from sim_devices.physics.moist_air import (
    dew_point_C,
    dew_point_liquid_C,
    frost_point_C,
    saturation_pressure_ice_Pa,
    saturation_pressure_liquid_Pa,
    water_mole_fraction,
)


@pytest.mark.parametrize(
    ("frost_point", "ppmv"), [(-10, 2565), (-20, 1019), (-40, 127), (-50, 38.9), (-80, 0.54), (-90, 0.10)]
)
def test_water_content_of_the_requirements_table(frost_point: float, ppmv: float) -> None:
    # requirements/ground-truth.md 2.2, rounded there to the digits shown: within half of the last one.
    half_digit = 0.5 if ppmv > 100 else {38.9: 0.05, 0.54: 0.005, 0.10: 0.005}[ppmv]
    assert water_mole_fraction(frost_point) * 1e6 == pytest.approx(ppmv, abs=half_digit)


@pytest.mark.parametrize(
    ("temperature_K", "ice_Pa", "liquid_Pa"),
    [
        # Murphy and Koop 2005, table C1.
        (150.0, 6.106e-6, 1.562e-5),
        (180.0, 5.3975e-3, 1.1239e-2),
        (210.0, 0.70202, 1.2335),
        (240.0, 27.272, 37.667),
        (273.15, 611.154, 611.213),
        (273.16, 611.657, 611.657),
    ],
)
def test_saturation_pressures_of_murphy_and_koop(
    temperature_K: float, ice_Pa: float, liquid_Pa: float
) -> None:
    assert saturation_pressure_ice_Pa(temperature_K - 273.15) == pytest.approx(ice_Pa, rel=2e-4)
    assert saturation_pressure_liquid_Pa(temperature_K - 273.15) == pytest.approx(liquid_Pa, rel=2e-4)


def test_liquid_at_27_degC() -> None:
    # Murphy and Koop 2005, table C1: 300 K.
    assert saturation_pressure_liquid_Pa(26.85) == pytest.approx(3536.8, rel=2e-4)


@pytest.mark.parametrize("temperature_C", [-120.0, -90.0, -50.0, -20.0, -1.0, 0.0])
def test_frost_point_inverts_the_ice_line(temperature_C: float) -> None:
    assert frost_point_C(saturation_pressure_ice_Pa(temperature_C)) == pytest.approx(temperature_C, abs=1e-9)


@pytest.mark.parametrize("temperature_C", [-90.0, -50.0, -20.0, 0.0, 10.0, 40.0])
def test_dew_point_inverts_the_liquid_line(temperature_C: float) -> None:
    pressure_Pa = saturation_pressure_liquid_Pa(temperature_C)
    assert dew_point_liquid_C(pressure_Pa) == pytest.approx(temperature_C, abs=1e-9)


@pytest.mark.parametrize("dew_point", [-80.0, -20.0, 0.0, 0.01, 0.02, 10.0])
@pytest.mark.parametrize("pressure_Pa", [101_325.0, 500.0])
def test_mole_fraction_and_dew_point_are_inverse(dew_point: float, pressure_Pa: float) -> None:
    assert dew_point_C(water_mole_fraction(dew_point, pressure_Pa), pressure_Pa) == pytest.approx(
        dew_point, abs=2e-5
    )


def test_the_liquid_convention_differs_by_a_fifth_at_minus_20() -> None:
    ratio = saturation_pressure_liquid_Pa(-20.0) / saturation_pressure_ice_Pa(-20.0)
    assert ratio == pytest.approx(1.22, abs=0.01)


def test_a_gas_without_water_has_no_dew_point() -> None:
    with pytest.raises(ValueError, match="positive"):
        dew_point_C(0.0)
