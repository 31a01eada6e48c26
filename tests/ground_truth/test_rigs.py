"""Relations of the rigs: humidity box, electrolyte in moist air, press."""

import itertools

import numpy as np
import pytest
from scipy.optimize import least_squares

from sim_devices.physics.cell import Cell
from sim_devices.physics.constants import ATMOSPHERE_Pa, flow_mol_s_from_mL_min
from sim_devices.physics.contact import bonding_study_contacts
from sim_devices.physics.dew_point_sensor import DewPointSensor
from sim_devices.physics.electrolyte import ARGYRODITE, LI3PS4_LII, Electrolyte
from sim_devices.physics.humidity_box import HumidityBox
from sim_devices.physics.moist_air import water_mole_fraction
from sim_devices.physics.press import PressFrame
from sim_devices.physics.random_walk import effective_conductivity, overlapping_spheres, walk

DRAW_mol_s = flow_mol_s_from_mL_min(500.0)
PERIOD_s = 10.0


def errors_K(box, setpoint_C, *, dehumidifiers, hours=3.0):
    """True error of the dew point under a two-stage thermostat behind a meter, from half an hour on."""
    meter = DewPointSensor(np.random.default_rng(1), box.dew_point_C)
    first = bleed = False
    errors = []
    for _ in range(int(hours * 3600.0 / PERIOD_s)):
        error_K = meter.read_C() - setpoint_C
        bleed = error_K < (-0.3 if bleed else -1.5)
        first = not bleed and error_K > (-0.3 if first else 0.3)
        second = dehumidifiers == 2 and error_K > (1.0 if setpoint_C < -45.0 else 3.0)
        box.advance(PERIOD_s, dehumidifiers_on=(first, second), draw_mol_s=DRAW_mol_s, bleed_open=bleed)
        meter.advance(PERIOD_s, dew_point_C=box.dew_point_C)
        errors.append(box.dew_point_C - setpoint_C)
    return np.array(errors[180:])


@pytest.mark.ground_truth("GT-01")
def test_two_dehumidifiers_hold_the_dew_point(truth):
    """Two linked dehumidifiers hold dew points of -10 to -50 degC within 2 K; one may miss the dry end."""
    setpoints_C = (-10.0, -20.0, -30.0, -40.0, -50.0)
    two_K = [errors_K(HumidityBox(), setpoint_C, dehumidifiers=2) for setpoint_C in setpoints_C]
    largest_K = max(np.abs(errors).max() for errors in two_K)
    one_K = errors_K(HumidityBox(), -50.0, dehumidifiers=1).min()
    truth.gives(
        f"largest error with two at {len(two_K)} set points {largest_K:.2f} K; "
        f"one stays {one_K:.1f} K above -50 degC"
    )
    assert largest_K < 2.0
    assert one_K > 2.0


def exposed(material, hours=2.0):
    """A pellet after an exposure at a dew point of -20 degC."""
    pellet = Electrolyte(material)
    pellet.advance(
        hours * 3600.0,
        flow_mol_s=DRAW_mol_s,
        water_mole_fraction=water_mole_fraction(-20.0),
        temperature_C=25.0,
        pressure_Pa=ATMOSPHERE_Pa,
    )
    return pellet


def heated(pellet):
    """The pellet after an hour and a half in the vacuum oven."""
    pellet.advance(
        5400.0,
        flow_mol_s=0.0,
        water_mole_fraction=0.0,
        temperature_C=pellet.material.removal_temperature_C,
        pressure_Pa=5.0,
    )
    return pellet


def arcs_ohm(pellet):
    """Resistances of the arcs at high and at low frequency, fitted to a spectrum."""
    frequency_Hz = np.logspace(7, 1, 61)
    s = 2j * np.pi * frequency_Hz
    measured = pellet.impedance(frequency_Hz)

    def residuals(logs):
        inductance, r_high, q_high, n_high, r_low, q_low, n_low, q_block, n_block = np.exp(logs)
        model = s * inductance + 1.0 / (1.0 / r_high + q_high * s**n_high)
        model = model + 1.0 / (1.0 / r_low + q_low * s**n_low) + 1.0 / (q_block * s**n_block)
        off = (model - measured) / np.abs(measured)
        return np.concatenate([off.real, off.imag])

    starts = [
        np.log([2e-7, 60.0, 1e-9, 0.95, low_ohm, 3e-7, 0.85, 1e-5, 0.9]) for low_ohm in (20.0, 100.0, 400.0)
    ]
    fits = [least_squares(residuals, start, bounds=(start - 2.5, start + 2.5)) for start in starts]
    best = np.exp(min(fits, key=lambda fit: fit.cost).x)
    return best[1], best[4]


@pytest.mark.ground_truth("GT-05")
def test_moist_air_changes_the_reaction_arc_and_not_the_structure(truth):
    """Moist air grows the reaction arc; the bulk arc stays, and so do the positions in the diffractogram."""
    told = []
    for material in (ARGYRODITE, LI3PS4_LII):
        pellet = exposed(material)
        bulk, reaction = np.array(arcs_ohm(pellet)) / arcs_ohm(Electrolyte(material))
        told.append((bulk, reaction, pellet.consumed_fraction))
    truth.gives(
        "; ".join(
            f"{name}: bulk arc x {bulk:.2f}, reaction arc x {reaction:.1f}, {100 * consumed:.2f} % of the"
            " structure gone"
            for name, (bulk, reaction, consumed) in zip(("argyrodite", "Li3PS4-LiI"), told, strict=True)
        )
    )
    for bulk, reaction, consumed in told:
        assert bulk == pytest.approx(1.0, abs=0.02)
        assert reaction > 1.5
        assert consumed < 0.01  # less than diffraction sees; the rest has its structure


@pytest.mark.ground_truth("GT-06")
def test_products_on_argyrodite(truth):
    """Argyrodite has Li2CO3, Li2SO4 and LiCl on it after moist air and heating in vacuum; pristine, none."""
    pristine = Electrolyte(ARGYRODITE).surface_products()
    found = heated(exposed(ARGYRODITE)).surface_products()
    amounts = ", ".join(
        f"{species} {1e6 * found_mol:.2f} umol" for species, found_mol in sorted(found.items())
    )
    truth.gives(f"pristine: {', '.join(pristine) or 'none'}; after 2 h at -20 degC and 170 degC: {amounts}")
    assert not pristine
    assert {species for species, found_mol in found.items() if found_mol > 0.0} == {
        "Li2CO3",
        "Li2SO4",
        "LiCl",
    }


@pytest.mark.ground_truth("GT-11")
def test_the_constraint_is_a_fiftieth_of_the_bonding_pressure(truth, clock):
    """The external pressure on a cell is about 1/50 of the pressure that bonded it."""
    cell = Cell(clock)
    held_MPa = cell.equations.pressure_MPa
    frame = PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, gap_mm=5.0, position_mm=0.0, windup_mm=0.0,
        cell=cell,
    )  # fmt: skip
    frame.drive(frame.travel_mm, 0.01)
    while frame.force_N() < held_MPa * 400.0:
        clock.sleep(0.5)
    frame.halt()
    external_MPa = frame.force_N() / 400.0
    bonding_MPa = bonding_study_contacts("a")[0].largest_MPa
    truth.gives(f"{external_MPa:.2f} MPa of {bonding_MPa:.0f} MPa: 1/{bonding_MPa / external_MPa:.1f}")
    assert external_MPa / bonding_MPa == pytest.approx(0.02, rel=0.05)
    assert cell.equations.pressure_MPa == pytest.approx(external_MPa, rel=0.006)


# Li5.5PS4.5Cl1.5 under 10 to 400 MPa: porosity and conductivity (mS/cm) under pressure, of a dense one with
# 4.1 mS/cm. V. Miss and others, ACS Appl. Mater. Interfaces 18 (2026) 32830, Figures 3 and 4, Table S2.
PRESSURES_MPa = (100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 400.0)
MEASURED = (
    (0.1567, 3.14), (0.1201, 3.47), (0.0965, 3.55), (0.0784, 3.74), (0.0713, 3.85), (0.0514, 3.90),
    (0.0367, 3.89),
)  # fmt: skip


def pressed(clock):
    """Porosity and conductivity of a powder, from its thickness and impedance in the press."""
    area_mm2, mass_mg, density_g_cm3 = 78.54, 80.2, 1.87
    die = PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, displacement_noise_mm=0.0, thrust_N=5e4,
        sample={"kind": "powder", "mass_mg": mass_mg, "area_mm2": area_mm2},
    )  # fmt: skip
    found = []
    for pressure_MPa in PRESSURES_MPa:
        die.drive(die.travel_mm, 0.05)
        while die.force_N() < pressure_MPa * area_mm2:
            clock.sleep(0.1)
        die.halt()
        thickness_mm = die.distance_mm()
        ohm = die.impedance(np.array([1e5]))[0].real
        found.append(
            (1.0 - mass_mg / (density_g_cm3 * area_mm2 * thickness_mm), 1e4 * thickness_mm / (ohm * area_mm2))
        )
    return np.array(found)


@pytest.mark.ground_truth("GT-25")
def test_conductivity_falls_with_porosity_as_measured_and_as_walked(truth, clock):
    """Conductivity falls with porosity at electrolyte shares of 54 to 10 %; walk and measurement agree."""
    porosities = (0.05, 0.15, 0.25)
    shares = (1.0, 0.54, 0.35, 0.21, 0.10)
    table = np.array([[effective_conductivity(1.0, p, share) for p in porosities] for share in shares])
    generator = np.random.default_rng(2)
    walked = []
    for share, porosity in ((1.0, 0.15), (0.54, 0.15), (0.35, 0.15)):
        obstacles = 1.0 - share * (1.0 - porosity)
        conducts = overlapping_spheres(obstacles, generator, edge_voxels=48, radius_voxels=7.5)
        spread = walk(conducts, generator, walkers=4096, steps=2048).mean()
        walked.append(share * (1.0 - porosity) * spread / effective_conductivity(1.0, porosity, share))
    published = np.array([effective_conductivity(4.1, porosity) / sigma for porosity, sigma in MEASURED])
    in_press = pressed(clock)
    press_off = in_press[:, 1] / [sigma for _, sigma in MEASURED]
    path_off = in_press[:, 1] / [effective_conductivity(4.75, porosity) for porosity in in_press[:, 0]]
    falls_to = ", ".join(f"{row[2] / row[0]:.2f}" for row in table[1:])
    truth.gives(
        f"from 5 to 25 % porosity it falls to {falls_to} of what it was; walk over published pellet"
        f" {published.min():.2f} to {published.max():.2f}; pellet in the simulated press over published"
        f" {press_off.min():.2f} to {press_off.max():.2f}"
    )
    assert np.all(np.diff(table, axis=1) < 0.0)
    assert np.all(np.diff(table, axis=0) < 0.0)
    assert walked == pytest.approx([1.0, 1.0, 1.0], abs=0.15)
    assert published == pytest.approx(1.0, abs=0.06)
    assert all(b < a for a, b in itertools.pairwise(in_press[:, 0]))
    assert all(b > a for a, b in itertools.pairwise(in_press[:, 1]))
    assert press_off == pytest.approx(1.0, abs=0.2)
    assert np.all(path_off < 1.0)  # contacts of the particles come on top of the path
    assert path_off[-1] > 0.85
