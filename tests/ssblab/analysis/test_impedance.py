import math
import time

import numpy as np
import pytest

from ssblab.analysis.impedance import Limits, fit_circuit, lin_kk, spectrum_validity
from ssblab.quantities import BadInput

# Circuits with known elements.  "reaction" as a share of the bulk from 5 % to five times.
CIRCUITS = {
    "reaction 30 %": {
        "rb": 100,
        "tb": 3e-7,
        "ab": 0.95,
        "rr": 30,
        "tr": 1e-4,
        "ar": 0.85,
        "q": 1e-5,
        "ae": 0.9,
    },
    "reaction 5 %": {
        "rb": 100,
        "tb": 3e-7,
        "ab": 0.95,
        "rr": 5,
        "tr": 3e-5,
        "ar": 0.85,
        "q": 1e-5,
        "ae": 0.9,
    },
    "reaction 5x": {
        "rb": 100,
        "tb": 3e-7,
        "ab": 0.95,
        "rr": 500,
        "tr": 2e-4,
        "ar": 0.85,
        "q": 1e-5,
        "ae": 0.9,
    },
    "arcs close": {
        "rb": 100,
        "tb": 1e-6,
        "ab": 0.95,
        "rr": 500,
        "tr": 1e-5,
        "ar": 0.85,
        "q": 1e-5,
        "ae": 0.9,
    },
    "merged 5 %": {"rb": 100, "tb": 1e-6, "ab": 0.90, "rr": 5, "tr": 4e-6, "ar": 0.85, "q": 1e-5, "ae": 0.85},
    "no reaction": {
        "rb": 100,
        "tb": 1e-6,
        "ab": 0.90,
        "rr": 0,
        "tr": 1e-5,
        "ar": 0.85,
        "q": 1e-5,
        "ae": 0.85,
    },
    "bulk above 1 MHz": {
        "rb": 100,
        "tb": 2e-8,
        "ab": 0.95,
        "rr": 20,
        "tr": 1e-5,
        "ar": 0.85,
        "q": 2e-6,
        "ae": 0.85,
    },
    "ideal capacitors": {
        "rb": 1e4,
        "tb": 1e-6,
        "ab": 1.0,
        "rr": 3e3,
        "tr": 1e-4,
        "ar": 1.0,
        "q": 1e-7,
        "ae": 1.0,
    },
}


def frequencies(lowest_Hz):
    return np.logspace(6, np.log10(lowest_Hz), 1 + round(10 * (6 - np.log10(lowest_Hz))))


def spectrum(frequency_Hz, *, rb, tb, ab, rr, tr, ar, q, ae, inductance_H=1e-6):
    s = 2j * np.pi * frequency_Hz
    return s * inductance_H + rb / (1 + (s * tb) ** ab) + rr / (1 + (s * tr) ** ar) + 1 / (q * s**ae)


def noisy(impedance, relative, seed):
    random = np.random.default_rng(seed)
    shape = impedance.shape
    return impedance + relative * np.abs(impedance) * (
        random.normal(size=shape) + 1j * random.normal(size=shape)
    )


@pytest.mark.parametrize("lowest_Hz", [1, 0.1])
@pytest.mark.parametrize("noise", [0, 0.001, 0.003])
@pytest.mark.parametrize("name", CIRCUITS)
def test_total_resistance_is_recovered(name, noise, lowest_Hz):
    circuit = CIRCUITS[name]
    frequency = frequencies(lowest_Hz)
    fit = fit_circuit(frequency, noisy(spectrum(frequency, **circuit), noise, seed=7))
    true = circuit["rb"] + circuit["rr"]
    error = abs(fit.r_total.value - true)
    assert error < max(0.01 * true, 3 * fit.r_total.uncertainty)
    assert fit.r_total.uncertainty < 0.01 * true
    assert fit.rms_residual < 1e-3 + 1.7 * noise


@pytest.mark.parametrize("name", ["reaction 30 %", "reaction 5 %", "reaction 5x", "arcs close"])
def test_two_arcs_are_told_apart(name):
    circuit = CIRCUITS[name]
    frequency = frequencies(1)
    fit = fit_circuit(frequency, noisy(spectrum(frequency, **circuit), 0.001, seed=3))
    assert fit.arcs == 2
    assert abs(fit.r_bulk.value - circuit["rb"]) < 4 * fit.r_bulk.uncertainty
    assert abs(fit.r_reaction.value - circuit["rr"]) < 4 * fit.r_reaction.uncertainty
    assert fit.r_reaction.uncertainty < 0.3 * circuit["rr"]
    assert fit.elements["tau_reaction_s"] == pytest.approx(circuit["tr"], rel=0.2)
    assert fit.elements["alpha_electrode"] == pytest.approx(circuit["ae"], rel=0.02)
    assert fit.elements["electrode_q"] == pytest.approx(circuit["q"], rel=0.05)


def test_without_noise_all_elements_are_found():
    circuit = CIRCUITS["reaction 30 %"]
    frequency = frequencies(1)
    fit = fit_circuit(frequency, spectrum(frequency, **circuit))
    assert fit.elements == pytest.approx(
        {
            "inductance_H": 1e-6,
            "electrode_q": circuit["q"],
            "alpha_electrode": circuit["ae"],
            "tau_bulk_s": circuit["tb"],
            "alpha_bulk": circuit["ab"],
            "tau_reaction_s": circuit["tr"],
            "alpha_reaction": circuit["ar"],
        },
        rel=1e-3,
    )


def test_a_pristine_sample_has_its_total_and_says_that_it_has_one_arc():
    frequency = frequencies(1)
    fit = fit_circuit(frequency, noisy(spectrum(frequency, **CIRCUITS["no reaction"]), 0.002, seed=1))
    assert fit.arcs == 1
    assert fit.r_reaction.value == 0
    assert np.isnan(fit.r_reaction.uncertainty)
    assert fit.r_bulk.value == fit.r_total.value
    assert "do not tell two arcs apart" in fit.r_reaction.definition


@pytest.mark.parametrize("name", ["reaction 30 %", "reaction 5 %", "no reaction"])
def test_uncertainty_is_calibrated(name):
    circuit = CIRCUITS[name]
    frequency = frequencies(1)
    clean = spectrum(frequency, **circuit)
    fits = [fit_circuit(frequency, noisy(clean, 0.002, seed)) for seed in range(40)]
    pulls = np.array(
        [(fit.r_total.value - circuit["rb"] - circuit["rr"]) / fit.r_total.uncertainty for fit in fits]
    )
    assert 0.5 < np.std(pulls) < 2
    assert abs(np.mean(pulls)) < 0.5
    assert np.mean(np.abs(pulls) < 3) > 0.95


def test_scale_order_and_missing_points_do_not_matter():
    frequency = frequencies(1)
    impedance = noisy(spectrum(frequency, **CIRCUITS["reaction 30 %"]), 0.001, seed=2)
    fit = fit_circuit(frequency, impedance)
    assert fit_circuit(frequency[::-1], impedance[::-1]).r_total.value == pytest.approx(
        fit.r_total.value, rel=1e-6
    )
    assert fit_circuit(frequency, 1e4 * impedance).r_total.value == pytest.approx(
        1e4 * fit.r_total.value, rel=1e-4
    )
    holed = impedance.copy()
    holed[[5, 20]] = np.nan
    without = fit_circuit(frequency, holed)
    assert without.left_out == 2
    assert len(without.residuals) == len(frequency) - 2
    assert without.r_total.value == pytest.approx(fit.r_total.value, rel=5e-3)


def test_residuals_are_stored():
    frequency = frequencies(1)
    impedance = noisy(spectrum(frequency, **CIRCUITS["reaction 30 %"]), 0.001, seed=2)
    fit = fit_circuit(frequency, impedance)
    np.testing.assert_allclose(fit.residuals, (impedance - fit.fitted_ohm) / np.abs(impedance))
    assert fit.rms_residual == pytest.approx(0.001 * np.sqrt(2), rel=0.25)


def test_one_fit_of_61_points_is_fast():
    frequency = frequencies(1)
    impedance = noisy(spectrum(frequency, **CIRCUITS["reaction 30 %"]), 0.002, seed=0)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        fit_circuit(frequency, impedance)
        seconds.append(time.process_time() - start)
    assert len(frequency) == 61
    assert min(seconds) < 0.5


@pytest.mark.parametrize("lowest_Hz", [1, 0.1])
@pytest.mark.parametrize("noise", [0, 0.001, 0.003])
@pytest.mark.parametrize("name", CIRCUITS)
def test_a_clean_spectrum_passes_kramers_kronig(name, noise, lowest_Hz):
    frequency = frequencies(lowest_Hz)
    result = lin_kk(frequency, noisy(spectrum(frequency, **CIRCUITS[name]), noise, seed=5))
    assert result.valid
    assert result.rms_residual < 0.005
    assert result.max_residual < 0.02


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_drifting_sample_fails_kramers_kronig(name):
    circuit = CIRCUITS[name]
    frequency = frequencies(1)
    grown = circuit | {"rb": 1.3 * circuit["rb"], "rr": 1.3 * circuit["rr"]}
    share = np.linspace(0, 1, len(frequency))
    drifting = (1 - share) * spectrum(frequency, **circuit) + share * spectrum(frequency, **grown)
    assert not lin_kk(frequency, drifting).valid


@pytest.mark.parametrize("first", [20, 40])
def test_a_range_switch_with_a_wrong_gain_fails_kramers_kronig(first):
    frequency = frequencies(1)
    impedance = spectrum(frequency, **CIRCUITS["reaction 30 %"])
    impedance[first:] *= 1.1
    assert not lin_kk(frequency, impedance).valid


def test_the_mu_criterion_alone_does_not_stop_the_elements():
    frequency = frequencies(1)
    # One sharp arc: negative resistances, and so a low mu, come long before the fit is good.
    impedance = 100 / (1 + 2j * np.pi * frequency * 1e-4)
    result = lin_kk(frequency, impedance)
    assert result.valid
    assert result.elements > 6


@pytest.mark.parametrize("kind", ["resistor", "open circuit", "short circuit", "noise", "wrong sign"])
def test_spectra_of_anything_else_give_a_bad_fit_but_no_failure(kind):
    frequency = frequencies(1)
    s = 2j * np.pi * frequency
    random = np.random.default_rng(0)
    impedance = {
        "resistor": np.full(61, 50 + 0j),
        "open circuit": 1 / (1e-12 * s),
        "short circuit": 0.1 + 1e-6 * s,
        "noise": random.normal(size=61) + 1j * random.normal(size=61),
        "wrong sign": np.full(61, -50 + 0j),
    }[kind]
    fit = fit_circuit(frequency, impedance)
    assert np.isfinite(fit.r_total.value)
    assert (fit.rms_residual < 0.01) == (kind not in ("noise", "wrong sign"))
    assert lin_kk(frequency, impedance).valid == (kind != "noise")


def test_what_is_not_a_spectrum_is_refused():
    with pytest.raises(BadInput, match="at least 12"):
        fit_circuit(np.logspace(5, 1, 8), np.ones(8, complex))
    with pytest.raises(BadInput, match="one impedance for each"):
        fit_circuit(np.logspace(5, 1, 20), np.ones(19, complex))
    with pytest.raises(BadInput, match="above zero"):
        lin_kk(np.linspace(-1, 1, 30), np.ones(30, complex))


# --- may a spectrum be believed ---

STEADY = {"potential_drift_V": 1e-4, "amplitude_V": 0.01}


@pytest.fixture(scope="module")
def good():
    frequency = np.logspace(6, -2, 81)
    s = 2j * np.pi * frequency
    z = 5 + 2e-7 * s + 20 / (1 + s / 2.5e6) + 15 / (1 + (s / 200) ** 0.85) + 0.5 / np.sqrt(s)
    return frequency, noisy(z, 0.001, seed=4)


def test_a_good_spectrum_is_accepted(good):
    judged = spectrum_validity(*good, **STEADY, temperature_drift_K=0.1, pressure_drift_relative=-0.01)
    assert judged.verdict == "accept"
    assert judged.reasons == ()
    named = {figure.name: figure for figure in judged.figures}
    assert set(named) == {
        "kramers_kronig_residual", "potential_drift", "temperature_drift", "pressure_drift"
    }  # fmt: skip
    assert named["potential_drift"].value == pytest.approx(0.01)
    assert named["pressure_drift"].value == pytest.approx(0.01)
    assert judged.residual == judged.kramers_kronig.rms_residual < 0.005


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"potential_drift_V": -4e-3}, "accept", ""),
        ({"potential_drift_V": -6e-3}, "flag", "drifted by 0.6 amplitudes, more than 0.5"),
        ({"potential_drift_V": 0.02}, "repeat", "drifted by 2 amplitudes, more than 1.4: let the cell rest"),
        ({"temperature_drift_K": -0.7}, "flag", "temperature changed by 0.7 K"),
        ({"temperature_drift_K": 2.5}, "repeat", "more than 2 K"),
        ({"pressure_drift_relative": 0.1}, "flag", "pressure changed by 0.1 of its mean"),
        ({"pressure_drift_relative": -0.3}, "repeat", "more than 0.2"),
    ],
)
def test_drift_is_judged(good, change, verdict, reason):
    judged = spectrum_validity(*good, **{**STEADY, **change})
    assert judged.verdict == verdict
    assert reason in "; ".join(judged.reasons)
    assert bool(judged.reasons) == (verdict != "accept")


def test_limits_are_arguments(good):
    strict = Limits(temperature_K=(0.05, 0.1), residual_rms=0.002)
    judged = spectrum_validity(*good, **STEADY, temperature_drift_K=0.07, limits=strict)
    assert judged.verdict == "flag"
    noise = spectrum_validity(*good, **STEADY, limits=Limits(residual_rms=1e-4))
    assert noise.verdict == "repeat"


def test_a_spectrum_of_a_cell_that_changed_is_to_be_repeated(good):
    frequency, z = good
    changing = z * np.linspace(1.0, 1.3, len(z))
    judged = spectrum_validity(frequency, changing, **STEADY, temperature_drift_K=0.6)
    assert judged.verdict == "repeat"
    assert "does not obey the Kramers-Kronig relations: rms residual" in judged.reasons[0]
    assert "temperature" in judged.reasons[1]


def test_one_disturbed_point_is_named(good):
    frequency, z = good
    hum = z.copy()
    point = int(np.argmin(np.abs(frequency - 50)))
    hum[point] *= 1.03
    judged = spectrum_validity(frequency, hum, **STEADY)
    assert judged.verdict == "flag"
    assert "the point at 50.1 Hz is" in judged.reasons[0]


def test_points_that_are_missing_are_told(good):
    frequency, z = good
    holed = z.copy()
    holed[[0, 1, 7]] = np.nan
    judged = spectrum_validity(frequency, holed, **STEADY)
    assert (judged.verdict, judged.reasons) == ("flag", ("3 of 81 points could not be measured",))
    holed[5:] = np.nan
    judged = spectrum_validity(frequency, holed, **STEADY)
    assert (judged.verdict, judged.kramers_kronig) == ("repeat", None)
    assert "3 of 81 points could be measured: 12 are needed" in judged.reasons[0]
    assert np.isnan(judged.residual)


def test_what_can_not_be_judged_is_refused(good):
    frequency, z = good
    with pytest.raises(BadInput, match="amplitude_V=0"):
        spectrum_validity(frequency, z, potential_drift_V=0.0, amplitude_V=0.0)
    with pytest.raises(BadInput, match="temperature_drift is nan"):
        spectrum_validity(frequency, z, **STEADY, temperature_drift_K=math.nan)
    with pytest.raises(BadInput, match="one impedance for each"):
        spectrum_validity(frequency, z[:-1], **STEADY)
