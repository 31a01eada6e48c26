import math

import numpy as np
import pytest

from sim_devices.physics.powder import ARGYRODITE, LI3PS4_GLASS, PowderSample

AREA_MM2 = 25.0 * math.pi  # die of 10 mm
FRAME_N_MM = 20000.0

# Miß and others, ACS Appl. Mater. Interfaces 18 (2026) 32830, Table S2: 80.2 mg of Li5.5PS4.5Cl1.5 in a die
# of 10 mm; pressure (MPa), thickness under it and after release to 0.11 MPa (mm).
MEASURED = (
    (10, 0.77875, 0.778125), (20, 0.736875, 0.744375), (30, 0.71625, 0.718125), (40, 0.701875, 0.7),
    (50, 0.680625, 0.6875), (70, 0.66375, 0.669375), (100, 0.6475, 0.66), (150, 0.620625, 0.634375),
    (200, 0.604375, 0.6175), (250, 0.5925, 0.603125), (300, 0.588, 0.5975), (350, 0.575625, 0.588125),
    (400, 0.566875, 0.5825),
)  # fmt: skip
# The same, conductivity under pressure, mS/cm, read off Figure 3b.
CONDUCTIVITIES = (
    (10, 0.58), (20, 1.03), (50, 1.86), (100, 3.14), (150, 3.47), (200, 3.55), (250, 3.74), (300, 3.85),
    (350, 3.90), (400, 3.89),
)  # fmt: skip


@pytest.fixture
def sample():
    return PowderSample(mass_mg=80.2, area_mm2=AREA_MM2)


@pytest.mark.parametrize(("pressure_MPa", "loaded_mm", "released_mm"), MEASURED)
def test_thickness_under_load_and_after_release_is_the_published_one(
    sample, pressure_MPa, loaded_mm, released_mm
):
    state = sample.held(sample.initial_state, pressure_MPa)
    assert sample.thickness_mm(state, pressure_MPa) == pytest.approx(loaded_mm, rel=0.02)
    assert sample.free_mm(state) == pytest.approx(released_mm, rel=0.025)


def test_springback_is_the_published_one(sample):
    """Published: 0.3 to 2.8 % of the thickness, more after more pressure."""
    springback = [
        sample.free_mm(state) / sample.thickness_mm(state, p) - 1.0
        for p in (10, 100, 200, 400)
        for state in [sample.held(sample.initial_state, p)]
    ]
    assert springback == sorted(springback)
    assert springback[0] >= 0.003
    assert springback[-1] == pytest.approx(0.0276, rel=0.2)


@pytest.mark.parametrize(("pressure_MPa", "measured_mS_cm"), CONDUCTIVITIES)
def test_conductivity_under_pressure_is_the_published_one(sample, pressure_MPa, measured_mS_cm):
    state = sample.held(sample.initial_state, pressure_MPa)
    assert 1e3 * sample.conductivity_S_cm(state, pressure_MPa) == pytest.approx(measured_mS_cm, rel=0.15)


def test_a_heckel_plot_of_released_thicknesses_gives_the_yield_pressure(sample):
    pressures_MPa = np.arange(100.0, 401.0, 50.0)
    densities = [
        80.2e-3 / (AREA_MM2 / 100.0 * sample.free_mm(sample.held(0.0, p)) / 10.0) / 1.87
        for p in pressures_MPa
    ]
    slope, intercept = np.polyfit(pressures_MPa, -np.log1p(-np.array(densities)), 1)
    assert 1.0 / slope == pytest.approx(ARGYRODITE.yield_pressure_MPa, rel=1e-3)
    assert intercept == pytest.approx(ARGYRODITE.intercept, rel=1e-3)


def test_a_heckel_plot_in_the_die_shows_a_lower_yield_pressure_as_published(sample):
    """The elasticity adds to it: 220 MPa of Miß and others from 50 to 400 MPa."""
    pressures_MPa = [p for p, _, _ in MEASURED if p >= 50]
    porosities = [sample.porosity(sample.held(0.0, p), p) for p in pressures_MPa]
    slope, _ = np.polyfit(pressures_MPa, -np.log(porosities), 1)
    assert 1.0 / slope == pytest.approx(220.0, rel=0.15)
    assert 1.0 / slope < ARGYRODITE.yield_pressure_MPa


def test_another_sulfide_has_its_published_density_and_conductivity():
    """Sakuda and others 2013: over 90 % above 350 MPa; 0.1 mS/cm at 70 MPa and 0.31 at 360 MPa."""
    sample = PowderSample(material=LI3PS4_GLASS.name)
    assert 1.0 - sample.porosity(sample.held(0.0, 351.0), 0.0) > 0.9
    for pressure_MPa, measured_mS_cm in ((70.0, 0.10), (360.0, 0.31)):
        state = sample.held(0.0, pressure_MPa)
        assert 1e3 * sample.conductivity_S_cm(state, pressure_MPa) == pytest.approx(measured_mS_cm, rel=0.15)


def test_the_solid_keeps_its_volume(sample):
    for pressure_MPa in (0.0, 1.0, 30.0, 300.0):
        state = sample.held(sample.initial_state, pressure_MPa)
        for load_MPa in (0.0, pressure_MPa):
            solid_mm = sample.thickness_mm(state, load_MPa) * (1.0 - sample.porosity(state, load_MPa))
            assert solid_mm * AREA_MM2 * 1.87 == pytest.approx(80.2)


def test_limits(sample):
    assert sample.porosity(sample.initial_state, 0.0) == pytest.approx(1.0 - ARGYRODITE.filling_density)
    dense = sample.held(0.0, 5000.0)
    assert sample.free_mm(dense) == pytest.approx(sample.solid_mm, rel=1e-6)
    assert sample.porosity(dense, 5000.0) == 0.0
    assert sample.conductivity_S_cm(dense, 5000.0) == pytest.approx(ARGYRODITE.conductivity_S_cm, rel=0.01)


def test_density_never_falls(sample):
    state = sample.held(sample.initial_state, 200.0)
    for pressure_MPa in (150.0, 10.0, 0.0, 199.0):
        assert sample.held(state, pressure_MPa) == state
    assert sample.held(state, 210.0) > state
    assert PowderSample(pressed_MPa=200.0).initial_state == state


def test_what_the_bed_remembers_is_the_pressure_it_has_seen():
    for pressure_MPa in (0.0, 0.5, 20.0, 370.0):
        state = ARGYRODITE.heckel_density(pressure_MPa)
        assert ARGYRODITE.largest_pressure_MPa(state) == pytest.approx(pressure_MPa, rel=1e-4, abs=1e-6)


def test_creep_goes_on_with_time_and_ends(sample):
    states = [sample.held(0.0, 100.0, hold_s) for hold_s in (0.0, 60.0, 600.0, 1e6)]
    assert states[0] < states[1] < states[2] < states[3]
    assert states[3] == pytest.approx(ARGYRODITE.heckel_density(115.0))
    assert (states[1] - states[0]) / (states[3] - states[0]) == pytest.approx(1.0 - math.exp(-0.5))
    in_two = sample.held(sample.held(0.0, 100.0, 200.0), 100.0, 400.0)
    assert in_two == pytest.approx(states[2], rel=1e-9)


def test_a_released_bed_conducts_better_than_before_and_less_than_under_load(sample):
    """Signs of Schneider and others 2023 (t-Li7SiPS8): 0.3 before and 4.4 mS/cm after, at 10 MPa."""
    before = sample.conductivity_S_cm(sample.held(sample.initial_state, 10.0), 10.0)
    pressed = sample.held(sample.initial_state, 400.0)
    after = sample.conductivity_S_cm(pressed, 10.0)
    assert 4.0 * before < after < sample.conductivity_S_cm(pressed, 400.0)


def test_the_impedance_is_that_of_the_pellet_at_high_frequency_and_blocks_at_low(sample):
    state = sample.held(sample.initial_state, 300.0)
    opening_mm = sample.free_mm(state) - 0.5
    pressure_MPa = sample.force_N(opening_mm, state, FRAME_N_MM) / AREA_MM2
    assert 50.0 < pressure_MPa < 300.0
    low, high = sample.impedance(np.array([0.1, 1e5]), opening_mm, state, FRAME_N_MM)
    pellet_ohm = sample.thickness_mm(state, pressure_MPa) / 10.0 / (AREA_MM2 / 100.0)
    pellet_ohm /= sample.conductivity_S_cm(state, pressure_MPa)
    assert high.real == pytest.approx(pellet_ohm, rel=0.15)
    assert high.real > pellet_ohm
    assert np.angle(low, deg=True) == pytest.approx(-0.92 * 90.0, abs=0.1)  # the blocking electrodes
    assert abs(low) > 1e5


def test_an_open_press_is_a_small_capacitor(sample):
    z = sample.impedance(np.array([1e3, 1e4]), 5.0, sample.initial_state, FRAME_N_MM)
    assert z.real == pytest.approx([0.0, 0.0])
    assert abs(z[0]) == pytest.approx(10.0 * abs(z[1]))
    assert abs(z[0]) > 1e8


def test_a_powder_of_a_sample_record(clock):
    record = {"name": "a", "mass_g": 0.0802, "diameter_mm": 10.0}
    made = PowderSample.of_sample(clock, np.random.default_rng(1), record, material=LI3PS4_GLASS.name)
    assert made.mass_mg == pytest.approx(80.2)
    assert made.area_mm2 == pytest.approx(AREA_MM2)
    assert made.powder is LI3PS4_GLASS
    assert made.pressed_MPa == 0.0


def test_an_unknown_powder_is_refused():
    with pytest.raises(ValueError, match=r"no powder 'sand'; there are li5\.5ps4\.5cl1\.5, li3ps4-glass"):
        PowderSample(material="sand")
