"""Activation energies of known Arrhenius laws, in both conventions, and of a simulated electrolyte."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.physics.electrolyte import ARGYRODITE
from sim_devices.physics.electrolyte import Electrolyte as Sample
from ssblab.analysis.arrhenius import activation_energy
from ssblab.quantities import BadInput

R = 8.314462618
CELSIUS = np.array([-20.0, 0.0, 25.0, 60.0, 100.0])
KELVIN = CELSIUS + 273.15
EXACT = {"uncertainty": None, "temperature_uncertainty_K": 0.0}
LAWS = {
    "sigma*T": 3e3 / KELVIN * np.exp(-33e3 / (R * KELVIN)),
    "sigma": 3e3 * np.exp(-33e3 / (R * KELVIN)),
    "R/T": 1e-3 * KELVIN * np.exp(33e3 / (R * KELVIN)),
    "R": 1e-3 * np.exp(33e3 / (R * KELVIN)),
}


@pytest.mark.parametrize("form", LAWS)
def test_a_known_law_in_its_own_convention(form):
    kilojoule, electronvolt = activation_energy(CELSIUS, LAWS[form], form=form, **EXACT)
    assert (kilojoule.name, kilojoule.unit) == ("activation_energy", "kJ/mol")
    assert kilojoule.value == pytest.approx(33.0)
    assert (electronvolt.unit, electronvolt.value) == ("eV", pytest.approx(33.0 / 96.48533))
    assert kilojoule.uncertainty < 1e-9
    assert f"ln({form})" in kilojoule.definition


def test_the_conventions_differ_by_about_r_t():
    hopping, plain = (
        activation_energy(CELSIUS, LAWS["sigma*T"], form=form, **EXACT)[0].value
        for form in ("sigma*T", "sigma")
    )
    assert hopping - plain == pytest.approx(R * 300e-3, rel=0.1)


@given(st.floats(1e-6, 1e6))
def test_the_unit_of_the_conductivity_does_not_matter(factor):
    energy, _ = activation_energy(CELSIUS, factor * LAWS["sigma"], form="sigma", **EXACT)
    assert energy.value == pytest.approx(33.0)


@pytest.mark.parametrize("known", [True, False])
def test_uncertainties_are_as_large_as_errors(known):
    generator, apart = np.random.default_rng(5), []
    own = 0.02 * LAWS["sigma*T"]
    for _ in range(300):
        measured = LAWS["sigma*T"] * (1 + 0.02 * generator.standard_normal(5))
        energy, _ = activation_energy(
            CELSIUS,
            measured,
            form="sigma*T",
            uncertainty=own if known else None,
            temperature_uncertainty_K=0.0,
        )
        apart.append((energy.value - 33.0) / energy.uncertainty)
    # Of Student's distribution with three degrees of freedom, 68 % are within 1.2.
    assert 0.6 < np.mean(np.abs(apart) < (1.0 if known else 1.2)) < 0.8


def test_a_point_that_is_known_badly_weighs_little():
    measured = LAWS["R"].copy()
    measured[0] *= 2
    own = 0.01 * measured
    own[0] = measured[0]
    energy, _ = activation_energy(CELSIUS, measured, form="R", uncertainty=own, temperature_uncertainty_K=0.0)
    assert energy.value == pytest.approx(33.0, abs=0.1)


def test_uncertain_temperatures_count():
    given = {"form": "R", "uncertainty": 0.0 * KELVIN, "temperature_uncertainty_K": 1.0}
    energy, _ = activation_energy(CELSIUS, LAWS["R"], **given)
    # Propagated by hand: each ln R is uncertain by Ea / (R T^2).
    spread = 33e3 / (R * KELVIN**2)
    x = 1 / (R * KELVIN)
    weight = 1 / spread**2
    slope = math.sqrt(1 / np.sum(weight * (x - np.average(x, weights=weight)) ** 2))
    assert energy.uncertainty == pytest.approx(slope / 1e3, rel=1e-6)


def test_fewer_than_three_temperatures_are_refused():
    with pytest.raises(BadInput, match="3 are needed"):
        activation_energy(CELSIUS[:2], LAWS["R"][:2], form="R", **EXACT)
    with pytest.raises(BadInput, match="2 different temperatures"):
        activation_energy([0.0, 0.0, 25.0], [1.0, 1.0, 2.0], form="R", **EXACT)
    with pytest.raises(BadInput, match="not above zero"):
        activation_energy(CELSIUS, -LAWS["R"], form="R", **EXACT)
    with pytest.raises(BadInput, match="give one of"):
        activation_energy(CELSIUS, LAWS["R"], form="rho", **EXACT)


def test_the_bulk_of_a_simulated_pellet_has_its_own_activation_energy():
    sample = Sample(ARGYRODITE)
    measured = [sample.bulk_resistance_ohm(celsius) for celsius in CELSIUS]
    energy, _ = activation_energy(CELSIUS, measured, form="R/T", **EXACT)
    assert energy.value == pytest.approx(ARGYRODITE.bulk_activation_J_mol / 1e3, rel=1e-4)
