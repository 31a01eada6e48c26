"""Pellets against closed forms, and against porosity and conductivity hidden in a simulated powder."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.physics.powder import PowderSample
from sim_devices.physics.random_walk import effective_conductivity
from ssblab.analysis.compaction import conductivity_exponent, hysteresis, pellet_conductivity, porosity
from ssblab.analysis.impedance import fit_circuit
from ssblab.quantities import BadInput, Value

EXACT_SIZE = {
    "mass_uncertainty_g": 0.0,
    "thickness_uncertainty_mm": 0.0,
    "area_uncertainty_cm2": 0.0,
    "density_uncertainty_g_cm3": 0.0,
}
PORES = np.array([0.05, 0.1, 0.2, 0.3])


def ohm(value, uncertainty=0.0):
    return Value("r_total", value, "ohm", uncertainty, "R_bulk + R_reaction")


def test_conductivity_of_a_pellet():
    value = pellet_conductivity(
        ohm(50.0, 0.5),
        thickness_mm=1.0,
        area_cm2=0.5,
        thickness_uncertainty_mm=0.02,
        area_uncertainty_cm2=None,
    )
    assert (value.value, value.unit) == (pytest.approx(4e-3), "S/cm")
    assert value.uncertainty == pytest.approx(4e-3 * math.hypot(0.01, 0.02))
    assert "without the uncertainty of the area" in value.definition
    size = {"thickness_uncertainty_mm": None, "area_uncertainty_cm2": None}
    with pytest.raises(BadInput, match="r_total is 0"):
        pellet_conductivity(ohm(0.0), thickness_mm=1.0, area_cm2=0.5, **size)
    with pytest.raises(BadInput, match="ohm is needed"):
        pellet_conductivity(Value("r", 1, "S", 0, ""), thickness_mm=1.0, area_cm2=0.5, **size)


def test_porosity_of_a_pellet():
    # 0.1 cm3 that weigh 0.15 g, of 2 g/cm3.
    size = {"mass_g": 0.15, "thickness_mm": 1.0, "area_cm2": 1.0, "density_g_cm3": 2.0}
    value = porosity(**size, **EXACT_SIZE)
    assert (value.value, value.unit, value.uncertainty) == (pytest.approx(0.25), "1", 0)
    assert porosity(**size, **EXACT_SIZE | {"thickness_uncertainty_mm": 0.02}).uncertainty == pytest.approx(
        0.015
    )
    assert "check thickness" in porosity(**size | {"mass_g": 0.3}, **EXACT_SIZE).definition
    with pytest.raises(BadInput, match="density_g_cm3"):
        porosity(**size | {"density_g_cm3": 0.0}, **EXACT_SIZE)


@given(st.floats(1.0, 4.0), st.floats(1e-5, 1e-2))
def test_a_power_law_gives_its_exponent_and_the_dense_conductivity(exponent, dense):
    power, extrapolated = conductivity_exponent(
        PORES, dense * (1 - PORES) ** exponent, conductivity_relative_uncertainty=None
    )
    assert (power.value, power.unit) == (pytest.approx(exponent), "1")
    assert (extrapolated.value, extrapolated.unit) == (pytest.approx(dense), "S/cm")
    assert power.uncertainty < 1e-6


def test_uncertainties_of_the_exponent_are_as_large_as_its_errors():
    generator, apart = np.random.default_rng(2), []
    for _ in range(300):
        measured = 3e-3 * (1 - PORES) ** 1.5 * (1 + 0.02 * generator.standard_normal(4))
        power, _ = conductivity_exponent(PORES, measured, conductivity_relative_uncertainty=0.02)
        apart.append((power.value - 1.5) / power.uncertainty)
    assert 0.6 < np.mean(np.abs(apart) < 1) < 0.85
    assert abs(np.mean(apart)) < 0.2


def test_bad_porosities_are_refused():
    with pytest.raises(BadInput, match="not below 1"):
        conductivity_exponent([0.1, 0.2, 1.0], [1, 1, 1], conductivity_relative_uncertainty=None)
    with pytest.raises(BadInput, match="2 different porosities"):
        conductivity_exponent([0.1, 0.1, 0.2], [1, 1, 1], conductivity_relative_uncertainty=None)


def loop(pressures, rising, falling):
    up = np.array(pressures, dtype=float)
    down = up[::-1][1:]
    return np.append(up, down), np.append(rising(up), falling(down))


def test_hysteresis_of_a_loop_of_known_area():
    # A parabola above a straight line from (0, 0) to (100, 1): its area is 100 / 6, and 0.25 at half.
    points = loop(np.linspace(0, 100, 201), lambda p: p / 100, lambda p: p / 100 + (p / 100) * (1 - p / 100))
    apart, area = hysteresis(*points, at_MPa=50.0, name="sigma", unit="mS/cm", uncertainty=0.01)
    assert (apart.name, apart.unit) == ("sigma_hysteresis", "mS/cm")
    assert apart.value == pytest.approx(0.25)
    assert apart.uncertainty == pytest.approx(0.01 * math.sqrt(2))
    assert (area.value, area.unit) == (pytest.approx(100 / 6, rel=1e-3), "mS/cm MPa")


def test_uncertainty_of_the_area_is_as_large_as_its_error():
    generator, found = np.random.default_rng(4), []
    up = np.linspace(0, 100, 11)
    pressure = np.append(up, up[::-1][1:])
    for _ in range(400):
        noisy = generator.normal(0, 0.01, len(pressure))
        found.append(hysteresis(pressure, noisy, at_MPa=50.0, name="q", unit="1", uncertainty=0.01)[1])
    assert np.std([one.value for one in found]) == pytest.approx(found[0].uncertainty, rel=0.15)


def test_a_quantity_without_memory_has_no_hysteresis():
    points = loop([0, 10, 50, 100], np.sqrt, np.sqrt)
    assert [one.value for one in hysteresis(*points, at_MPa=30.0, name="q", unit="1", uncertainty=0)] == [
        0,
        0,
    ]


def test_what_is_no_loop_is_refused():
    with pytest.raises(BadInput, match="falling branch has fewer"):
        hysteresis([0, 1, 2], [0, 1, 2], at_MPa=1.0, name="q", unit="1", uncertainty=0)
    with pytest.raises(BadInput, match="rising branch turns"):
        hysteresis([0, 2, 1, 3, 0], [0, 1, 2, 3, 4], at_MPa=1.0, name="q", unit="1", uncertainty=0)
    with pytest.raises(BadInput, match="both branches reach"):
        hysteresis([0, 2, 1], [0, 1, 2], at_MPa=0.5, name="q", unit="1", uncertainty=0)


def pressed(pressures, sample):
    """State of a bed pressed step by step, and what it is under each pressure."""
    state = sample.initial_state
    for pressure in pressures:
        state = sample.held(state, pressure)
        yield state, pressure


def test_a_simulated_pellet_has_the_porosity_and_the_conductivity_that_are_hidden_in_it():
    sample = PowderSample()
    for state, pressure in pressed([50.0, 200.0, 400.0], sample):
        length_mm, area_cm2 = sample.thickness_mm(state, pressure), sample.area_mm2 / 100
        value = porosity(
            mass_g=sample.mass_mg / 1e3,
            thickness_mm=length_mm,
            area_cm2=area_cm2,
            density_g_cm3=sample.powder.density_g_cm3,
            **EXACT_SIZE,
        )
        assert value.value == pytest.approx(sample.porosity(state, pressure), abs=1e-9)


def test_the_exponent_of_voids_alone_is_near_that_of_bruggeman():
    # The random walk around spheres that overlap: 1.5 for few voids, somewhat more for many.
    measured = [effective_conductivity(3e-3, one) for one in PORES]
    power, dense = conductivity_exponent(PORES, measured, conductivity_relative_uncertainty=None)
    assert power.value == pytest.approx(1.5, abs=0.2)
    assert dense.value == pytest.approx(3e-3, rel=0.05)


def test_a_simulated_bed_keeps_some_of_its_conductivity_when_it_is_released():
    sample = PowderSample()
    pressures = [50.0, 100.0, 200.0, 400.0, 200.0, 100.0, 50.0]
    states = list(pressed(pressures, sample))
    measured = [1e3 * sample.conductivity_S_cm(*one) for one in states]
    apart, area = hysteresis(
        pressures, measured, at_MPa=100.0, name="conductivity", unit="mS/cm", uncertainty=0
    )
    hidden = 1e3 * (
        sample.conductivity_S_cm(states[5][0], 100.0) - sample.conductivity_S_cm(states[1][0], 100.0)
    )
    assert apart.value == pytest.approx(hidden)
    assert apart.value > 0
    assert area.value > 0


@pytest.mark.parametrize("material", ["li3ps4-glass", "li5.5ps4.5cl1.5"])
def test_the_circuit_of_a_pellet_holds_all_that_a_simulated_pellet_resists_with(material):
    """At low pressure most is between the particles, and relaxes among the frequencies measured."""
    sample, noise = PowderSample(material=material), np.random.default_rng(0)
    frequency_Hz = np.geomspace(1e6, 10.0, 51)
    for state, pressure in pressed([5.0, 10.0, 50.0, 300.0], sample):
        length_mm, stiff_N_mm = sample.thickness_mm(state, pressure), 1e9
        z_ohm = sample.impedance(frequency_Hz, length_mm, state, stiff_N_mm)
        z_ohm *= 1 + 1e-3 * noise.standard_normal((51, 2)) @ [1, 1j]
        value = pellet_conductivity(
            fit_circuit(frequency_Hz, z_ohm).r_total,
            thickness_mm=length_mm,
            area_cm2=sample.area_mm2 / 100,
            thickness_uncertainty_mm=0.0,
            area_uncertainty_cm2=0.0,
        )
        # The contact of the electrodes is in series, and not told apart.
        assert value.value == pytest.approx(sample.conductivity_S_cm(state, pressure), rel=0.04)
