import dataclasses
import math

import numpy as np
import pytest

from ssblab.analysis.impedance import fit_circuit
from ssblab.analysis.moist_air import water_mole_fraction
from ssblab.analysis.moisture import (
    H2SMeasurement,
    MOLAR_VOLUME_L_mol,
    conductivity,
    conductivity_retention,
    dew_point_control,
    exposure_time_in_band,
    h2s_rate,
    h2s_rates,
    h2s_total,
    recovery_of_added_resistance,
    resistance_increase,
    water_dose,
)
from ssblab.quantities import BadInput, Value

HOUR = np.arange(0.0, 3601.0, 10.0)
SULFUR_mol_g = 4.4 / 266.234
EXACT = {
    "mass_uncertainty_g": 0.0,
    "zero_ppb": 0.0,
    "zero_uncertainty_ppb": 0.0,
    "calibration_relative_uncertainty": 0.0,
    "flow_relative_uncertainty": 0.0,
}


def measured(h2s_ppb, *, time_s=HOUR, **changes):
    given = {"time_s": time_s, "h2s_ppb": h2s_ppb, "flow_mL_min": 500.0, "mass_g": 0.2} | EXACT | changes
    return H2SMeasurement(**given)


def ohm(value, uncertainty=0.0):
    return Value("r_total", value, "ohm", uncertainty, "")


def dose(dew_point_C=-20.0, *, time_s=HOUR, **changes):
    dew_point = np.broadcast_to(np.asarray(dew_point_C, dtype=float), time_s.shape)
    given = {
        "flow_mL_min": 500.0,
        "pressure_Pa": 101325.0,
        "mass_g": 0.2,
        "dew_point_uncertainty_K": 0.0,
        "pressure_uncertainty_Pa": 0.0,
        "flow_relative_uncertainty": 0.0,
        "mass_uncertainty_g": 0.0,
    } | changes
    flow = given.pop("flow_mL_min")
    return water_dose(time_s, dew_point, flow, **given)


# H2S


def test_the_molar_volume_is_that_of_25_degc_and_one_atmosphere():
    assert pytest.approx(24.465, abs=5e-4) == MOLAR_VOLUME_L_mol


def test_the_rate_of_a_constant_concentration():
    # 1 ppm of 24.465 L/min is 1 umol/min, from one gram.
    rate = h2s_rate(measured(np.full(361, 1000.0), flow_mL_min=1000 * MOLAR_VOLUME_L_mol, mass_g=1.0))
    np.testing.assert_allclose(rate, 1e-6 / 60)


@pytest.mark.ground_truth
def test_gt_02_rate_follows_concentration_and_is_zero_at_the_zero_of_the_meter():
    h2s_ppb = np.linspace(0, 2000, 361)
    rate = h2s_rate(measured(h2s_ppb + 30, zero_ppb=30.0))
    np.testing.assert_allclose(rate, h2s_ppb * 1e-9 * 500 / 60 / 24465.4 / 0.2, rtol=1e-5)
    assert rate[0] == 0
    assert np.isnan(h2s_rate(measured(np.full(361, np.nan)))).all()


def test_the_volume_of_a_constant_concentration():
    # 1 ppm of 500 mL/min for an hour is 0.03 cm3, from 0.2 g.
    volume, share = h2s_total(measured(np.full(361, 1000.0)), sulfur_mol_per_g=SULFUR_mol_g)
    assert (volume.name, volume.unit) == ("h2s_volume", "cm3/g")
    assert volume.value == pytest.approx(0.15)
    assert volume.uncertainty == 0
    assert "V_m = 24.465" in volume.definition
    assert (share.name, share.unit) == ("h2s_of_sulfur", "%")
    assert share.value == pytest.approx(100 * 0.15e-3 / MOLAR_VOLUME_L_mol / SULFUR_mol_g)


def test_flow_and_molar_volume_of_the_meter_are_used():
    flow = np.linspace(400, 600, 361)
    volume, _ = h2s_total(measured(np.full(361, 1000.0), flow_mL_min=flow), sulfur_mol_per_g=SULFUR_mol_g)
    assert volume.value == pytest.approx(0.15)
    at_0_degc = measured(np.full(361, 1000.0), molar_volume_L_mol=22.414)
    volume, share = h2s_total(at_0_degc, sulfur_mol_per_g=SULFUR_mol_g)
    assert volume.value == pytest.approx(0.15)
    assert share.value == pytest.approx(100 * 0.15e-3 / 22.414 / SULFUR_mol_g)


@pytest.mark.ground_truth
def test_gt_02_all_sulfur_of_a_sample_is_a_hundred_percent_however_it_comes_out():
    # A vessel that mixes lets the H2S out late; none is lost as long as the purge is in the record.
    released_mol = 0.2 * SULFUR_mol_g
    time = np.linspace(0, 20_000, 20_001)
    tau_s = 600.0
    shape = time / tau_s**2 * np.exp(-time / tau_s)
    h2s_ppb = 1e9 * released_mol * shape / (500 / 60 / 1000 / MOLAR_VOLUME_L_mol)
    _, share = h2s_total(measured(h2s_ppb, time_s=time), sulfur_mol_per_g=SULFUR_mol_g)
    assert share.value == pytest.approx(100, rel=1e-6)
    assert "more than" not in share.definition
    _, too_much = h2s_total(measured(1.1 * h2s_ppb, time_s=time), sulfur_mol_per_g=SULFUR_mol_g)
    assert "more than the sample holds" in too_much.definition


def test_each_uncertainty_of_the_total():
    flat = np.full(361, 1000.0)

    def relative(**changes):
        volume, share = h2s_total(measured(flat, **changes), sulfur_mol_per_g=SULFUR_mol_g)
        assert share.uncertainty / share.value == pytest.approx(volume.uncertainty / volume.value)
        return volume.uncertainty / volume.value

    assert relative(mass_uncertainty_g=0.002) == pytest.approx(0.01)
    assert relative(calibration_relative_uncertainty=0.05) == pytest.approx(0.05)
    assert relative(flow_relative_uncertainty=0.02) == pytest.approx(0.02)
    assert relative(zero_uncertainty_ppb=30.0) == pytest.approx(0.03)
    together = relative(
        mass_uncertainty_g=0.002,
        calibration_relative_uncertainty=0.05,
        flow_relative_uncertainty=0.02,
        zero_uncertainty_ppb=30.0,
    )
    assert together == pytest.approx(math.hypot(0.01, 0.05, 0.02, 0.03))


def test_a_mass_uncertainty_that_is_not_given_is_told():
    volume, _ = h2s_total(measured(np.full(361, 1.0), mass_uncertainty_g=None), sulfur_mol_per_g=SULFUR_mol_g)
    assert "without the uncertainty of the mass" in volume.definition


def test_uncertainties_are_calibrated():
    random = np.random.default_rng(0)
    true_ppb = 400 + 800 * np.exp(-HOUR / 900)
    uncertain = {"zero_uncertainty_ppb": 5.0, "calibration_relative_uncertainty": 0.02}
    (truth, _), (initial, mean, _) = (
        h2s_total(measured(true_ppb), sulfur_mol_per_g=SULFUR_mol_g),
        h2s_rates(measured(true_ppb), **WHOLE),
    )
    pulls = []
    for _ in range(300):
        shown_ppb = true_ppb * random.normal(1, 0.02) + random.normal(0, 20, true_ppb.shape)
        record = measured(shown_ppb, zero_ppb=random.normal(0, 5), **uncertain)
        found, _ = h2s_total(record, sulfur_mol_per_g=SULFUR_mol_g)
        first, average, _ = h2s_rates(record, **WHOLE)
        pairs = ((found, truth), (first, initial), (average, mean))
        pulls.append([(a.value - b.value) / a.uncertainty for a, b in pairs])
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.2)
    assert np.all((np.std(pulls, axis=0) > 0.8) & (np.std(pulls, axis=0) < 1.2))


def test_missing_samples_and_holes_are_bridged_counted_and_uncertain():
    ramp = np.linspace(0, 1000, 361)
    holed = ramp.copy()
    holed[[10, 11, 50]] = np.nan
    whole, _ = h2s_total(measured(ramp), sulfur_mol_per_g=SULFUR_mol_g)
    found, _ = h2s_total(measured(holed), sulfur_mol_per_g=SULFUR_mol_g)
    assert found.value == pytest.approx(whole.value)
    assert "3 without a reading left out" in found.definition
    assert "; 0 s of holes" in found.definition
    kept = (HOUR < 600) | (HOUR > 1800)
    gone, _ = h2s_total(measured(ramp[kept], time_s=HOUR[kept]), sulfur_mol_per_g=SULFUR_mol_g)
    assert gone.value == pytest.approx(whole.value)
    assert "1220 s of holes" in gone.definition
    missed_cm3_g = (ramp[181] - ramp[59]) * 1e-9 * 1220 * 500 / 60 / 0.2
    assert gone.uncertainty == pytest.approx(missed_cm3_g / math.sqrt(12), rel=1e-2)


def test_a_sample_without_sulfur_has_no_share():
    _, share = h2s_total(measured(np.zeros(361)), sulfur_mol_per_g=0.0)
    assert np.isnan(share.value)
    assert "no sulfur" in share.definition


WHOLE = {"exposure_start_s": 0.0, "exposure_end_s": 3600.0, "smoothing_s": 600.0, "delay_s": 60.0}
PER_PPB = 1e-9 * 500 / 60 / 1000 / MOLAR_VOLUME_L_mol / 0.2


def test_rates_of_a_straight_line():
    initial, mean, largest = h2s_rates(measured(1000 + 0.5 * HOUR), **WHOLE)
    assert initial.value == pytest.approx(1000 * PER_PPB)
    assert mean.value == pytest.approx(1900 * PER_PPB)
    assert largest.value == pytest.approx((2800 - 150) * PER_PPB)
    assert {value.unit for value in (initial, mean, largest)} == {"mol/s/g"}
    assert "600 s" in largest.definition


def test_rates_look_at_the_exposure_only():
    h2s_ppb = np.where((HOUR >= 600) & (HOUR <= 1200), 500.0, 9000.0)
    window = WHOLE | {"exposure_start_s": 600.0, "exposure_end_s": 1200.0, "smoothing_s": 60.0}
    for rate in h2s_rates(measured(h2s_ppb), **window):
        assert rate.value == pytest.approx(500 * PER_PPB)


def test_a_rate_knows_the_uncertainty_of_the_zero_and_of_the_meters():
    record = measured(np.full(361, 1000.0), zero_uncertainty_ppb=10.0, calibration_relative_uncertainty=0.03)
    for rate in h2s_rates(record, **WHOLE):
        assert rate.uncertainty == pytest.approx(rate.value * math.hypot(0.01, 0.03))


def test_a_mean_rate_is_the_total_over_the_time():
    h2s_ppb = 400 + 800 * np.exp(-HOUR / 900)
    _, mean, _ = h2s_rates(measured(h2s_ppb), **WHOLE)
    volume, _ = h2s_total(measured(h2s_ppb), sulfur_mol_per_g=SULFUR_mol_g)
    assert mean.value * 3600 * MOLAR_VOLUME_L_mol * 1000 == pytest.approx(volume.value)


# Water


@pytest.mark.ground_truth
def test_gt_2_2_water_dose_of_a_constant_dew_point():
    total, per_g = dose(-20.0)
    # 1019 ppm of 500 mL/min for an hour.
    assert total.value == pytest.approx(1019e-6 * 30 / 24.465, rel=1e-3)
    assert total.unit == "mol"
    assert per_g.value == pytest.approx(total.value / 0.2)
    assert per_g.unit == "mol/g"


def test_the_dose_integrates_what_was_measured():
    dew_point = np.where(HOUR < 1800, -22.0, -18.0)
    total, _ = dose(dew_point)
    x = water_mole_fraction([-22, -18], pressure_Pa=101325.0)
    assert total.value == pytest.approx(x.mean() * 30 / 24.465, rel=2e-3)
    half, _ = dose(-20.0, pressure_Pa=2 * 101325.0)
    assert half.value == pytest.approx(dose(-20.0)[0].value / 2)


def test_each_uncertainty_of_the_dose():
    total, _ = dose()
    warmer = dose(-19.9)[0].value
    assert dose(dew_point_uncertainty_K=0.1)[0].uncertainty == pytest.approx(warmer - total.value, rel=1e-2)
    assert dose(pressure_uncertainty_Pa=1013.25)[0].uncertainty == pytest.approx(0.01 * total.value)
    assert dose(flow_relative_uncertainty=0.02)[0].uncertainty == pytest.approx(0.02 * total.value)
    total, per_g = dose(mass_uncertainty_g=0.002)
    assert total.uncertainty == 0
    assert per_g.uncertainty == pytest.approx(0.01 * per_g.value)
    assert "without the uncertainty of the mass" in dose(mass_uncertainty_g=None)[1].definition


def test_a_dose_with_missing_samples():
    dew_point = np.full(361, -20.0)
    dew_point[[3, 4]] = np.nan
    total, _ = dose(dew_point)
    assert total.value == pytest.approx(dose()[0].value)
    assert "359 samples, 2 without a reading left out" in total.definition


# Control of the dew point


def control(dew_point_C, *, time_s=HOUR, uncertainty_K=0.0):
    given = {"set_point_C": -20.0, "dew_point_uncertainty_K": uncertainty_K}
    return (
        exposure_time_in_band(time_s, dew_point_C, **given),
        *dew_point_control(time_s, dew_point_C, **given),
    )


def test_a_dew_point_at_its_set_point():
    in_band, rms, share = control(np.full(361, -20.0))
    assert (in_band.value, in_band.unit) == (3600, "s")
    assert (rms.value, rms.unit) == (0, "K")
    assert (share.value, share.unit) == (1, "1")


@pytest.mark.ground_truth
def test_gt_01_the_band_is_two_kelvin_and_includes_its_ends():
    assert control(np.full(361, -18.0))[0].value == 3600
    assert control(np.full(361, -22.0))[0].value == 3600
    assert control(np.full(361, -17.9))[0].value == 0
    assert control(np.full(361, -22.1))[0].value == 0


def test_time_out_of_the_band_does_not_count():
    # The quarter of an hour from 1805 s to 2705 s is out of the band.
    dew_point = np.where((HOUR > 1800) & (HOUR <= 2700), -15.0, -20.0)
    in_band, rms, share = control(dew_point)
    assert in_band.value == pytest.approx(2700)
    assert share.value == pytest.approx(0.75)
    assert rms.value == pytest.approx(5 * math.sqrt(0.25))


def test_weights_are_times_not_counts():
    time = np.concatenate([np.arange(0, 1000, 10.0), np.arange(1000, 1100, 1.0)])
    dew_point = np.where(time < 1000, -20.0, -15.0)
    in_band, rms, share = control(dew_point, time_s=time)
    assert share.value == pytest.approx(995 / 1099, rel=1e-3)
    assert in_band.value == pytest.approx(995)
    assert rms.value == pytest.approx(5 * math.sqrt(104 / 1099), rel=1e-3)


def test_what_is_not_known_does_not_count():
    dew_point = np.full(361, -20.0)
    dew_point[100:110] = np.nan
    in_band, rms, _ = control(dew_point)
    assert in_band.value == pytest.approx(3500)
    assert "10 of 361 samples without a reading" in in_band.definition
    assert "351 of 361" in rms.definition
    kept = (HOUR < 600) | (HOUR > 1800)
    in_band, _, share = control(np.full(361, -20.0)[kept], time_s=HOUR[kept])
    assert in_band.value == pytest.approx(3600 - 1220)
    assert share.value == pytest.approx(1 - 1220 / 3600)
    assert "1220 s of holes" in in_band.definition


def test_the_meters_uncertainty_makes_the_control_uncertain():
    ramp = np.linspace(-24, -16, 361)
    in_band, rms, share = control(ramp, uncertainty_K=0.2)
    assert in_band.value == pytest.approx(1800, abs=10)
    assert in_band.uncertainty == pytest.approx(3600 * 0.2 / 4, abs=10)
    assert share.uncertainty == pytest.approx(0.05, abs=0.003)
    _, biased, _ = control(np.full(361, -19.0), uncertainty_K=0.2)
    assert biased.value == pytest.approx(1)
    assert biased.uncertainty == pytest.approx(0.2)
    assert rms.uncertainty == pytest.approx(0.2**2 / 2 / rms.value, rel=0.01)


# Records that cannot be used

UNUSABLE = {
    "single sample": (np.array([0.0]), np.array([1.0])),
    "two samples": (np.array([0.0, 1.0]), np.array([1.0, 1.0])),
    "none": (np.array([]), np.array([])),
}


@pytest.mark.parametrize("time_and_values", UNUSABLE.values(), ids=UNUSABLE)
def test_too_short_records_are_refused_clearly(time_and_values):
    time, values = time_and_values
    for call in (
        lambda: h2s_total(measured(values, time_s=time), sulfur_mol_per_g=SULFUR_mol_g),
        lambda: h2s_rates(measured(values, time_s=time), **WHOLE),
        lambda: dose(values, time_s=time),
        lambda: control(values, time_s=time),
        lambda: dew_point_control(time, values, set_point_C=-20, dew_point_uncertainty_K=0),
    ):
        with pytest.raises(BadInput, match="at least 3 are needed"):
            call()


def test_records_without_readings_are_refused_clearly():
    nothing = np.full(361, np.nan)
    with pytest.raises(BadInput, match="0 of 361 samples are usable"):
        h2s_total(measured(nothing), sulfur_mol_per_g=SULFUR_mol_g)
    with pytest.raises(BadInput, match="0 of 361 samples are usable"):
        dose(nothing)
    with pytest.raises(BadInput, match="0 of 361 samples are usable"):
        dew_point_control(HOUR, nothing, set_point_C=-20, dew_point_uncertainty_K=0)


def test_bad_records_are_refused():
    with pytest.raises(BadInput, match="does not rise"):
        h2s_rate(measured(np.ones(361), time_s=HOUR[::-1]))
    with pytest.raises(BadInput, match="does not rise"):
        control(np.ones(361), time_s=np.where(HOUR == 100, np.nan, HOUR))
    with pytest.raises(BadInput, match="different shapes"):
        h2s_rate(measured(np.ones(360)))
    with pytest.raises(BadInput, match="mass_g is 0"):
        h2s_rate(measured(np.ones(361), mass_g=0.0))
    with pytest.raises(BadInput, match="mass_g is nan"):
        dose(mass_g=math.nan)
    with pytest.raises(BadInput, match="lengthen smoothing_s"):
        h2s_rates(measured(np.ones(361)), **(WHOLE | {"smoothing_s": 5.0}))


# Resistance


@pytest.fixture(scope="module")
def fit():
    frequency = np.logspace(6, 0, 61)
    s = 2j * np.pi * frequency
    impedance = 100 / (1 + s * 3e-7) + 60 / (1 + (s * 1e-4) ** 0.85) + 1 / (1e-5 * s**0.9)
    return fit_circuit(frequency, impedance)


def test_conductivity_of_a_known_pellet(fit):
    exact = {
        "thickness_mm": 0.8,
        "area_cm2": 0.5,
        "thickness_uncertainty_mm": 0.0,
        "area_uncertainty_cm2": 0.0,
    }
    sigma = conductivity(fit, **exact)
    assert sigma.unit == "S/cm"
    assert sigma.value == pytest.approx(0.08 / (160 * 0.5), rel=1e-4)
    thick = conductivity(fit, **(exact | {"thickness_uncertainty_mm": 0.008, "area_uncertainty_cm2": 0.01}))
    assert thick.uncertainty / thick.value == pytest.approx(math.hypot(0.01, 0.02), rel=1e-3)
    noisy = dataclasses.replace(fit, r_total=ohm(160.0, 8.0))
    assert conductivity(noisy, **exact).uncertainty == pytest.approx(0.05 * sigma.value, rel=1e-3)
    unknown = conductivity(fit, **(exact | {"thickness_uncertainty_mm": None, "area_uncertainty_cm2": None}))
    assert "without the uncertainty of the thickness" in unknown.definition
    assert "without the uncertainty of the area" in unknown.definition
    with pytest.raises(BadInput, match="area_cm2"):
        conductivity(fit, **(exact | {"area_cm2": 0.0}))


@pytest.mark.ground_truth
@pytest.mark.parametrize(("heated", "recovery"), [(148.0, 0.52), (120.0, 0.80)], ids=["GT-03", "GT-04"])
def test_gt_03_04_recovery_of_added_resistance(heated, recovery):
    found = recovery_of_added_resistance(ohm(100.0), ohm(200.0), ohm(heated))
    assert found.value == pytest.approx(recovery)
    assert found.unit == "1"
    assert "the documents define no formula for recovery" in found.definition


def test_recovery_is_calibrated():
    random = np.random.default_rng(3)
    true, uncertainty = np.array([100.0, 180.0, 130.0]), np.array([1.0, 2.0, 1.5])
    pulls = []
    for _ in range(3000):
        found = recovery_of_added_resistance(*map(ohm, random.normal(true, uncertainty), uncertainty))
        pulls.append((found.value - 50 / 80) / found.uncertainty)
    assert np.std(pulls) == pytest.approx(1, abs=0.05)


def test_no_recovery_without_a_rise():
    found = recovery_of_added_resistance(ohm(100.0, 1.0), ohm(104.0, 1.0), ohm(101.0, 1.0))
    assert np.isnan(found.value)
    assert np.isnan(found.uncertainty)
    assert "R1 - R0 = 4 ohm is not above 3 times its standard uncertainty of 1.4 ohm" in found.definition
    assert np.isnan(recovery_of_added_resistance(ohm(100.0), ohm(90.0), ohm(95.0)).value)
    unresolved = recovery_of_added_resistance(ohm(0.0, math.nan), ohm(50.0, 1.0), ohm(20.0, 1.0))
    assert np.isnan(unresolved.value)


def test_retention_and_increase():
    retention = conductivity_retention(ohm(100.0, 1.0), ohm(125.0, 2.5))
    assert retention.value == pytest.approx(0.8)
    assert retention.uncertainty == pytest.approx(0.8 * math.hypot(0.01, 0.02))
    assert "the documents define no formula" in retention.definition
    increase = resistance_increase(ohm(100.0, 1.0), ohm(150.0, 3.0))
    assert increase.value == pytest.approx(1.5)
    assert increase.uncertainty == pytest.approx(1.5 * math.hypot(0.01, 0.02))
    assert np.isnan(resistance_increase(ohm(0.0), ohm(50.0)).value)


def test_resistances_in_different_units_are_refused():
    with pytest.raises(BadInput, match="one unit"):
        conductivity_retention(ohm(1.0), Value("r_total", 1.0, "ohm cm2", 0.0, ""))
