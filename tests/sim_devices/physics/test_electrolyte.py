from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from sim_devices.physics.constants import ATMOSPHERE_Pa, flow_mol_s_from_mL_min
from sim_devices.physics.electrolyte import (
    ARGYRODITE,
    LI3PS4_LII,
    MATERIALS,
    CellElements,
    Electrolyte,
    GasExchange,
    PelletGeometry,
    SulfideMaterial,
    atoms_per_formula,
    molar_mass_g_mol,
)
from sim_devices.physics.moist_air import water_mole_fraction

BOTH_MATERIALS = pytest.mark.parametrize("material", MATERIALS.values(), ids=MATERIALS.keys())
SEED_RECOVERY = {"argyrodite": 0.52, "li3ps4-lii": 0.80}


def expose(
    sample: Electrolyte, hours: float, *, dew_point_C: float = -20.0, flow_mL_min: float = 500.0
) -> GasExchange:
    return sample.advance(
        hours * 3600.0,
        flow_mol_s=flow_mol_s_from_mL_min(flow_mL_min),
        water_mole_fraction=water_mole_fraction(dew_point_C),
        temperature_C=25.0,
        pressure_Pa=ATMOSPHERE_Pa,
    )


def heat(sample: Electrolyte, hours: float, temperature_C: float, pressure_Pa: float = 5.0) -> GasExchange:
    return sample.advance(
        hours * 3600.0,
        flow_mol_s=0.0,
        water_mole_fraction=0.0,
        temperature_C=temperature_C,
        pressure_Pa=pressure_Pa,
    )


def true_recovery(
    material: SulfideMaterial,
    *,
    exposure_h: float = 2.0,
    flow_mL_min: float = 500.0,
    soak_h: float = 1.5,
    temperature_C: float | None = None,
    pressure_Pa: float = 5.0,
) -> float:
    sample = Electrolyte(material)
    r0 = sample.total_resistance_ohm()
    expose(sample, exposure_h, flow_mL_min=flow_mL_min)
    r1 = sample.total_resistance_ohm()
    heat(
        sample,
        soak_h,
        material.removal_temperature_C if temperature_C is None else temperature_C,
        pressure_Pa,
    )
    r2 = sample.total_resistance_ohm()
    assert r0 < r1
    assert r0 <= r2 <= r1
    return (r1 - r2) / (r1 - r0)


@pytest.mark.ground_truth
@pytest.mark.parametrize("soak_h", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("flow_mL_min", [200.0, 1000.0])
@pytest.mark.parametrize("exposure_h", [0.25, 2.0, 6.0])
def test_gt03_argyrodite_recovers_52_percent(exposure_h: float, flow_mL_min: float, soak_h: float) -> None:
    recovery = true_recovery(ARGYRODITE, exposure_h=exposure_h, flow_mL_min=flow_mL_min, soak_h=soak_h)
    assert recovery == pytest.approx(0.52, abs=0.005)


@pytest.mark.ground_truth
@pytest.mark.parametrize("soak_h", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("flow_mL_min", [200.0, 1000.0])
@pytest.mark.parametrize("exposure_h", [0.25, 2.0, 6.0])
def test_gt04_li3ps4_lii_recovers_80_percent(exposure_h: float, flow_mL_min: float, soak_h: float) -> None:
    recovery = true_recovery(LI3PS4_LII, exposure_h=exposure_h, flow_mL_min=flow_mL_min, soak_h=soak_h)
    assert recovery == pytest.approx(0.80, abs=0.005)
    assert recovery > true_recovery(ARGYRODITE, exposure_h=exposure_h, soak_h=soak_h)


@pytest.mark.ground_truth
@BOTH_MATERIALS
def test_gt03_gt04_colder_or_without_vacuum_recovers_less(material: SulfideMaterial) -> None:
    full = SEED_RECOVERY[material.name]
    hot_C = material.removal_temperature_C
    assert true_recovery(material, temperature_C=hot_C - 60.0) < 0.5 * full
    assert true_recovery(material, temperature_C=25.0) < 0.01
    assert true_recovery(material, pressure_Pa=1000.0) < 0.3 * full
    assert true_recovery(material, pressure_Pa=ATMOSPHERE_Pa) < 0.001
    by_temperature = [true_recovery(material, temperature_C=hot_C - down) for down in (80, 60, 40, 20, 0)]
    assert by_temperature == sorted(by_temperature)


@pytest.mark.ground_truth
@BOTH_MATERIALS
def test_gt05_reaction_arc_grows_and_bulk_does_not(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    bulk_ohm, reaction_ohm = sample.bulk_resistance_ohm(), sample.reaction_resistance_ohm()
    total_ohm = sample.total_resistance_ohm()
    expose(sample, 2.0)
    assert sample.bulk_resistance_ohm() == bulk_ohm
    assert sample.reaction_resistance_ohm() > 2.0 * reaction_ohm
    assert 1.5 < sample.total_resistance_ohm() / total_ohm < 4.0


@pytest.mark.ground_truth
@BOTH_MATERIALS
def test_gt02_no_h2s_in_dry_gas_or_bypass(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    flow_mol_s = flow_mol_s_from_mL_min(500.0)
    humid = sample.h2s_rate_mol_s(flow_mol_s=flow_mol_s, water_mole_fraction=water_mole_fraction(-20.0))
    dry = sample.h2s_rate_mol_s(flow_mol_s=flow_mol_s, water_mole_fraction=water_mole_fraction(-80.0))
    assert 0.0 < dry < 1e-3 * humid
    assert sample.h2s_rate_mol_s(flow_mol_s=flow_mol_s, water_mole_fraction=0.0) == 0.0
    assert sample.h2s_rate_mol_s(flow_mol_s=0.0, water_mole_fraction=1e-3) == 0.0
    assert expose(sample, 5.0, flow_mL_min=0.0) == GasExchange(0.0, 0.0, 0.0)


@pytest.mark.ground_truth
@BOTH_MATERIALS
def test_gt02_h2s_is_in_range_decays_and_is_bounded_by_sulfur(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    flow_mol_s = flow_mol_s_from_mL_min(500.0)
    ppm = []
    for _ in range(13):
        rate_mol_s = sample.h2s_rate_mol_s(
            flow_mol_s=flow_mol_s, water_mole_fraction=water_mole_fraction(-20.0)
        )
        ppm.append(1e6 * rate_mol_s / flow_mol_s)
        expose(sample, 1.0 / 6.0)
    assert 1.0 < ppm[0] < 5.0
    assert ppm[-1] > 0.2
    assert all(later < earlier for earlier, later in pairwise(ppm))
    expose(sample, 1e7, dew_point_C=10.0)
    assert sample.h2s_released_mol <= sample.sulfur_mol
    assert sample.h2s_released_mol == pytest.approx(sample.sulfur_mol, rel=1e-3)


@BOTH_MATERIALS
def test_uptake_is_bounded_by_supply(material: SulfideMaterial) -> None:
    sample = Electrolyte(material, mass_g=1e4)
    exchange = expose(sample, 1.0, flow_mL_min=10.0)
    supplied_mol = 3600.0 * flow_mol_s_from_mL_min(10.0) * water_mole_fraction(-20.0)
    assert 0.95 * supplied_mol < exchange.water_uptake_mol < supplied_mol


@BOTH_MATERIALS
def test_uptake_matches_numerical_integration(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    expose(sample, 0.5)
    heat(sample, 0.2, material.removal_temperature_C)
    held_mol, reacted_mol = sample.reversible_mol + sample.irreversible_mol, sample.irreversible_mol
    flow_mol_s, fraction = flow_mol_s_from_mL_min(50.0), water_mole_fraction(5.0)

    def rate(_: float, uptake_mol: NDArray[np.float64]) -> NDArray[np.float64]:
        left = 1.0 - (reacted_mol + material.irreversible_fraction * uptake_mol) / sample.sulfur_mol
        passivation = 1.0 + (held_mol + uptake_mol) / (material.passivation_mol_g * sample.mass_g)
        surface_mol_s = material.uptake_mol_s_g * sample.mass_g * left / passivation
        return fraction / (1.0 / flow_mol_s + 1.0 / surface_mol_s)

    reference = solve_ivp(rate, (0.0, 86_400.0), [0.0], rtol=1e-11, atol=1e-18).y[0, -1]
    uptake_mol = expose(sample, 24.0, dew_point_C=5.0, flow_mL_min=50.0).water_uptake_mol
    assert uptake_mol == pytest.approx(reference, rel=1e-8)


@BOTH_MATERIALS
def test_water_and_sulfur_balances(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    exchanges = [
        expose(sample, 1.0),
        heat(sample, 0.1, material.removal_temperature_C),
        expose(sample, 3.0, dew_point_C=-10.0),
        heat(sample, 2.0, material.removal_temperature_C - 40.0),
    ]
    taken_mol = sum(exchange.water_uptake_mol for exchange in exchanges)
    given_mol = sum(exchange.water_release_mol for exchange in exchanges)
    assert sample.water_taken_mol == pytest.approx(taken_mol, rel=1e-12)
    assert sample.reversible_mol + sample.irreversible_mol + given_mol == pytest.approx(taken_mol, rel=1e-12)
    h2s_mol = sum(exchange.h2s_release_mol for exchange in exchanges)
    assert sample.h2s_released_mol == pytest.approx(h2s_mol, rel=1e-12)
    assert h2s_mol == pytest.approx(material.irreversible_fraction * taken_mol, rel=1e-12)


@BOTH_MATERIALS
def test_semigroup(material: SulfideMaterial) -> None:
    whole, parts = Electrolyte(material), Electrolyte(material)
    expose(whole, 2.0)
    for _ in range(720):
        expose(parts, 2.0 / 720.0)
    assert parts.water_taken_mol == pytest.approx(whole.water_taken_mol, rel=1e-11)
    heat(whole, 0.3, material.removal_temperature_C)
    heat(parts, 0.1, material.removal_temperature_C)
    heat(parts, 0.2, material.removal_temperature_C)
    # Uptake and the (at 1 atm all but stopped) removal are solved one after the other.
    assert parts.reversible_mol == pytest.approx(whole.reversible_mol, rel=1e-8)
    assert parts.total_resistance_ohm() == pytest.approx(whole.total_resistance_ohm(), rel=1e-8)


@BOTH_MATERIALS
def test_damage_grows_with_time_water_and_mass(material: SulfideMaterial) -> None:
    def after(hours: float, dew_point_C: float, mass_g: float = 0.2) -> Electrolyte:
        sample = Electrolyte(material, mass_g=mass_g)
        expose(sample, hours, dew_point_C=dew_point_C)
        return sample

    by_time = [after(hours, -20.0).total_resistance_ohm() for hours in (0.0, 0.5, 1.0, 4.0)]
    by_dew_point = [after(1.0, dew_point).total_resistance_ohm() for dew_point in (-80, -50, -20, -10)]
    by_mass = [after(1.0, -20.0, mass).h2s_released_mol for mass in (0.05, 0.2, 1.0)]
    for series in (by_time, by_dew_point, by_mass):
        assert all(later > earlier for earlier, later in pairwise(series))


@BOTH_MATERIALS
def test_recovery_does_not_depend_on_the_measuring_temperature(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    resistances = [[sample.total_resistance_ohm(t) for t in (0.0, 25.0, 60.0)]]
    expose(sample, 2.0)
    resistances.append([sample.total_resistance_ohm(t) for t in (0.0, 25.0, 60.0)])
    heat(sample, 1.5, material.removal_temperature_C)
    resistances.append([sample.total_resistance_ohm(t) for t in (0.0, 25.0, 60.0)])
    r0, r1, r2 = np.array(resistances)
    np.testing.assert_allclose((r1 - r2) / (r1 - r0), SEED_RECOVERY[material.name], atol=0.005)


@BOTH_MATERIALS
def test_products_are_as_much_as_was_hydrolysed_and_stay_in_vacuum(material: SulfideMaterial) -> None:
    sample = Electrolyte(material)
    assert sample.surface_products() == {}
    assert sample.consumed_fraction == 0.0
    expose(sample, 2.0)
    found = sample.surface_products()
    assert sum(found.values()) < sample.irreversible_mol
    heat(sample, 2.0, material.removal_temperature_C)
    assert sample.surface_products() == found
    assert sample.consumed_fraction == pytest.approx(sample.h2s_released_mol / sample.sulfur_mol)


def test_chloride_of_the_consumed_argyrodite_is_found_as_lithium_chloride() -> None:
    sample = Electrolyte(ARGYRODITE)
    expose(sample, 2.0)
    consumed_mol = sample.consumed_fraction * sample.mass_g / molar_mass_g_mol(ARGYRODITE.formula)
    assert sample.surface_products()["LiCl"] == pytest.approx(1.6 * consumed_mol)


def test_formulas() -> None:
    assert atoms_per_formula("Li5.4PS4.4Cl1.6") == {"Li": 5.4, "P": 1.0, "S": 4.4, "Cl": 1.6}
    # By hand from IUPAC weights: 5.4*6.94 + 30.974 + 4.4*32.06 + 1.6*35.45.
    assert molar_mass_g_mol("Li5.4PS4.4Cl1.6") == pytest.approx(266.234)
    assert molar_mass_g_mol("Li7P2S8I") == pytest.approx(493.91, abs=0.01)


def test_bulk_conductivity_and_geometry() -> None:
    thick = Electrolyte(ARGYRODITE, geometry=PelletGeometry(thickness_cm=0.2, area_cm2=0.5))
    assert Electrolyte(ARGYRODITE).bulk_resistance_ohm() == pytest.approx(0.1 / 3e-3)
    assert thick.bulk_resistance_ohm() == pytest.approx(0.4 / 3e-3)
    assert thick.total_resistance_ohm() == pytest.approx(4.0 * Electrolyte(ARGYRODITE).total_resistance_ohm())


def test_conductivity_rises_with_temperature_as_arrhenius() -> None:
    sample = Electrolyte(ARGYRODITE)
    kelvin = np.array([273.15, 298.15, 333.15])
    conductivity = 0.1 / np.array([sample.bulk_resistance_ohm(t - 273.15) for t in kelvin])
    slopes = np.diff(np.log(conductivity * kelvin)) / np.diff(1.0 / kelvin)
    np.testing.assert_allclose(-slopes * 8.314462618, 33e3, rtol=1e-9)


def test_impedance_limits() -> None:
    inert = CellElements(inductance_H=0.0, blocking_Q_cm2=1e9)
    sample = Electrolyte(ARGYRODITE, cell=inert)
    low, high = sample.impedance(np.array([1e-3, 1e15]))
    assert low == pytest.approx(sample.total_resistance_ohm(), rel=1e-4)
    assert abs(high) < 1e-2
    blocked = Electrolyte(ARGYRODITE).impedance(np.array([1.0]))[0]
    assert blocked.imag < -5000.0


@pytest.mark.parametrize("exposure_h", [0.0, 2.0, 6.0])
@BOTH_MATERIALS
def test_gt05_both_arcs_are_found_by_a_fit_of_the_spectrum(
    material: SulfideMaterial, exposure_h: float
) -> None:
    sample = Electrolyte(material)
    expose(sample, exposure_h)
    frequency_Hz = np.logspace(6, 0, 61)
    generator = np.random.default_rng(7)
    noise = generator.standard_normal((2, 61)) * 1e-3
    measured = sample.impedance(frequency_Hz)
    measured = measured + np.abs(measured) * (noise[0] + 1j * noise[1])
    s = 2j * np.pi * frequency_Hz

    def model(log_parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        inductance, r_bulk, q_bulk, r_reaction, q_reaction, n_reaction, q_block, n_block = np.exp(
            log_parameters
        )
        return (
            s * inductance
            + 1.0 / (1.0 / r_bulk + q_bulk * s**sample.cell.bulk_n)
            + 1.0 / (1.0 / r_reaction + q_reaction * s**n_reaction)
            + 1.0 / (q_block * s**n_block)
        )

    def residuals(log_parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = (model(log_parameters) - measured) / np.abs(measured)
        return np.concatenate([difference.real, difference.imag])

    # One arc may be taken for the other from a far start, so the best of several starts is the fit.
    starts = [np.log([2e-7, 60.0, 1e-9, guess, 3e-7, 0.85, 1e-5, 0.9]) for guess in (20.0, 100.0, 400.0)]
    fits = [least_squares(residuals, start, bounds=(start - 2.5, start + 2.5)) for start in starts]
    _, r_bulk, _, r_reaction, *_ = np.exp(min(fits, key=lambda fit: fit.cost).x)
    assert r_bulk + r_reaction == pytest.approx(sample.total_resistance_ohm(), rel=0.01)
    assert r_bulk == pytest.approx(sample.bulk_resistance_ohm(), rel=0.05)
