import math

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from ssblab.analysis.spectra import (
    arc_resistance,
    closure,
    low_frequency_resistance,
    ohmic_resistance,
    polarisation_resistance,
    relaxation_times,
)
from ssblab.quantities import BadInput

FREQUENCY_Hz = np.logspace(6, -2, 81)  # of the station: 1 MHz to 10 mHz, ten a decade
SERIES_OHM, INDUCTANCE_H = 5.0, 2e-7
DIFFUSION_OHM, DIFFUSION_S = 20.0, 300.0
PARTICLES, MIDDLE, LOW = (1e5, 1e6), (1e3, 1e5), (1.0, 1e3)

#: Arcs: ohm, Hz of the apex, exponent.
CIRCUITS = {
    "ideal capacitors": [(20, 400e3, 1), (10, 3e3, 1), (15, 30, 1)],
    "depressed arcs": [(20, 400e3, 0.95), (10, 3e3, 0.9), (15, 30, 0.85)],
    "flat arcs": [(20, 400e3, 0.9), (10, 3e3, 0.8), (15, 30, 0.8)],
    "a neighbour a decade below": [(20, 400e3, 0.95), (10, 40e3, 0.95), (15, 30, 0.85)],
    "sharp neighbours": [(20, 400e3, 1), (10, 40e3, 1), (15, 30, 0.85)],
    "a small arc of particles": [(0.5, 400e3, 0.95), (10, 3e3, 0.9), (15, 30, 0.85)],
    "no arc of particles": [(10, 3e3, 0.9), (15, 30, 0.85)],
    "an arc above what is measured": [(20, 3e6, 0.95), (10, 3e3, 0.9), (15, 30, 0.85)],
}


def impedance(arcs, frequency_Hz=FREQUENCY_Hz):
    """Arcs, leads, and diffusion into particles, which ends."""
    s = 2j * np.pi * frequency_Hz
    root = np.sqrt(s * DIFFUSION_S)
    total = SERIES_OHM + s * INDUCTANCE_H + DIFFUSION_OHM / root / np.tanh(root)
    for ohm, apex_Hz, exponent in arcs:
        total = total + ohm / (1 + (s / (2 * np.pi * apex_Hz)) ** exponent)
    return total


def noisy(z, relative=1e-3, seed=1):
    random = np.random.default_rng(seed)
    return z + relative * np.abs(z) * (random.normal(size=z.shape) + 1j * random.normal(size=z.shape))


def arc_between(ohm, apex_Hz, exponent, low_Hz, high_Hz):
    """Resistance of an arc that relaxes in a band: integral of its distribution (Fuoss and Kirkwood 1941)."""
    if exponent == 1:
        return ohm if low_Hz < apex_Hz < high_Hz else 0.0
    x = np.linspace(math.log(apex_Hz / high_Hz), math.log(apex_Hz / low_Hz), 20001)
    angle = (1 - exponent) * np.pi
    return float(np.trapezoid(ohm / (2 * np.pi) * np.sin(angle) / (np.cosh(exponent * x) - np.cos(angle)), x))


def diffusion_between(low_Hz, high_Hz):
    """coth(u) / u is 1 / u**2 and RC elements of 2 / (k pi)**2 with time constants of tau / (k pi)**2."""
    k_pi = np.pi * np.arange(1, 200001)
    apexes_Hz = k_pi**2 / (2 * np.pi * DIFFUSION_S)
    inside = (apexes_Hz > low_Hz) & (apexes_Hz < high_Hz)
    return float(np.sum(2 * DIFFUSION_OHM / k_pi[inside] ** 2))


def between(arcs, low_Hz, high_Hz):
    return diffusion_between(low_Hz, high_Hz) + sum(arc_between(*arc, low_Hz, high_Hz) for arc in arcs)


@pytest.mark.parametrize("band", [PARTICLES, MIDDLE, LOW], ids=lambda band: f"{band[0]:g} Hz")
@pytest.mark.parametrize("name", CIRCUITS)
def test_the_resistance_of_a_band_is_that_of_the_known_elements(name, band):
    z = noisy(impedance(CIRCUITS[name]))
    arc = arc_resistance(FREQUENCY_Hz, z, from_Hz=band[0], to_Hz=band[1])
    true = between(CIRCUITS[name], *band)
    assert arc.unit == "ohm"
    assert abs(arc.value - true) < 4 * arc.uncertainty + 0.01
    assert abs(arc.value - true) < 0.07 * true + 0.4
    assert arc.uncertainty < 0.1 * true + 0.4


@pytest.mark.parametrize("name", ["depressed arcs", "a neighbour a decade below"])
def test_the_uncertainty_of_a_band_is_calibrated(name):
    clean, true = impedance(CIRCUITS[name]), between(CIRCUITS[name], *PARTICLES)
    arcs = [
        arc_resistance(FREQUENCY_Hz, noisy(clean, seed=seed), from_Hz=1e5, to_Hz=1e6) for seed in range(8)
    ]
    errors = np.array([arc.value - true for arc in arcs])
    pulls = errors / [arc.uncertainty for arc in arcs]
    assert 0.2 < np.sqrt(np.mean(pulls**2)) < 1.6
    assert np.abs(errors).max() < 0.04 * true


@pytest.mark.parametrize("noise", [0.0, 3e-3])
def test_more_and_less_noise(noise):
    arcs = CIRCUITS["depressed arcs"]
    arc = arc_resistance(FREQUENCY_Hz, noisy(impedance(arcs), noise), from_Hz=1e5, to_Hz=1e6)
    error = abs(arc.value - between(arcs, *PARTICLES))
    assert error < 4 * arc.uncertainty
    assert error < (0.04 if noise else 0.02) * arc.value


def test_an_arc_at_the_edge_is_not_sure():
    inside, edge = (
        arc_resistance(FREQUENCY_Hz, noisy(impedance([(20, apex_Hz, 0.95)])), from_Hz=1e5, to_Hz=1e6)
        for apex_Hz in (300e3, 700e3)
    )
    assert edge.uncertainty > 2 * inside.uncertainty
    assert abs(edge.value - between([(20, 700e3, 0.95)], *PARTICLES)) < 4 * edge.uncertainty


def test_ohmic_polarisation_and_low_frequency_resistance_are_parts_of_a_whole():
    arcs = CIRCUITS["depressed arcs"]
    z = noisy(impedance(arcs))
    ohmic = ohmic_resistance(FREQUENCY_Hz, z)
    above = SERIES_OHM + between(arcs, 1e6, 1e12)
    assert abs(ohmic.value - above) < 4 * ohmic.uncertainty
    assert ohmic.value == pytest.approx(above, abs=0.6)  # 3 % of the arc beside it
    assert ohmic.value < z[0].real - 2  # of the real part at 1 MHz a part is the arc
    polarisation = polarisation_resistance(FREQUENCY_Hz, z)
    true = between(arcs, 1e-2, 1e6)
    assert abs(polarisation.value - true) < 4 * polarisation.uncertainty
    assert polarisation.value == pytest.approx(true, rel=0.02)
    low = low_frequency_resistance(FREQUENCY_Hz, z)
    assert low.value == pytest.approx(impedance(arcs, np.array([1e-2]))[0].real, rel=0.005)
    assert low.uncertainty < 0.005 * low.value
    between_points = low_frequency_resistance(FREQUENCY_Hz, z, at_Hz=0.0159)
    assert between_points.value == pytest.approx(impedance(arcs, np.array([0.0159]))[0].real, rel=0.005)


def test_blocking_electrodes_do_not_hide_the_arcs():
    s = 2j * np.pi * FREQUENCY_Hz
    z = 3 + 1e-7 * s + 100 / (1 + (s / (2 * np.pi * 3e5)) ** 0.95) + 1 / (1e-5 * s**0.9)
    assert abs(z[-1]) > 1e5
    arc = arc_resistance(FREQUENCY_Hz, noisy(z), from_Hz=1e5, to_Hz=1e6)
    assert arc.value == pytest.approx(arc_between(100, 3e5, 0.95, 1e5, 1e6), rel=0.05)


def test_order_scale_and_missing_points_do_not_matter():
    z = noisy(impedance(CIRCUITS["depressed arcs"]))
    band = {"from_Hz": 1e5, "to_Hz": 1e6}
    arc = arc_resistance(FREQUENCY_Hz, z, **band)
    turned = arc_resistance(FREQUENCY_Hz[::-1], z[::-1], **band)
    assert turned.value == pytest.approx(arc.value, rel=1e-6)
    larger = arc_resistance(FREQUENCY_Hz, 1e3 * z, **band)
    assert larger.value == pytest.approx(1e3 * arc.value, rel=1e-3)
    holed = z.copy()
    holed[[10, 40]] = np.nan
    assert abs(arc_resistance(FREQUENCY_Hz, holed, **band).value - arc.value) < 4 * arc.uncertainty


def test_the_distribution_has_its_peaks_where_the_arcs_are():
    relaxation = relaxation_times(FREQUENCY_Hz, noisy(impedance(CIRCUITS["depressed arcs"])))
    apex_Hz, r = 1 / (2 * np.pi * relaxation.tau_s), relaxation.resistance_ohm
    assert np.all(r >= 0)
    for true_Hz in (400e3, 3e3, 30):
        near = np.abs(np.log(apex_Hz / true_Hz)) < math.log(3)
        centre_Hz = np.exp(np.average(np.log(apex_Hz[near]), weights=r[near]))
        assert centre_Hz == pytest.approx(true_Hz, rel=0.3)
    assert relaxation.rms_residual == pytest.approx(1e-3 * math.sqrt(2), rel=0.25)
    np.testing.assert_allclose(relaxation.fitted_ohm, relaxation.impedance_ohm, rtol=0.01)


@pytest.mark.parametrize("kind", ["resistor", "open circuit", "short circuit", "noise", "wrong sign"])
def test_what_is_no_cell_gives_a_number_and_says_how_badly_it_fits(kind):
    s = 2j * np.pi * FREQUENCY_Hz
    random = np.random.default_rng(0)
    z = {
        "resistor": np.full(81, 50 + 0j),
        "open circuit": 1 / (1e-12 * s),
        "short circuit": 0.1 + 1e-6 * s,
        "noise": random.normal(size=81) + 1j * random.normal(size=81),
        "wrong sign": np.full(81, -50 + 0j),
    }[kind]
    arc = arc_resistance(FREQUENCY_Hz, z, from_Hz=1e5, to_Hz=1e6)
    assert arc.value >= 0
    assert math.isfinite(arc.uncertainty)
    misfit = relaxation_times(FREQUENCY_Hz, z).rms_residual
    assert (misfit < 0.01) == (kind not in ("noise", "wrong sign"))
    assert f"rms residual {misfit:.2g}" in arc.definition


@pytest.mark.parametrize(
    ("band", "message"),
    [
        ((1e6, 1e5), "lower frequency first"),
        ((1e5, 3e6), "leaves what was measured, 0.01 to 1e\\+06 Hz"),
        ((1e-3, 1.0), "leaves what was measured"),
        ((math.nan, 1.0), "lower frequency first"),
    ],
)
def test_a_band_that_was_not_measured_is_refused(band, message):
    z = impedance(CIRCUITS["depressed arcs"])
    with pytest.raises(BadInput, match=message):
        arc_resistance(FREQUENCY_Hz, z, from_Hz=band[0], to_Hz=band[1])
    with pytest.raises(BadInput, match="not within what was measured"):
        low_frequency_resistance(FREQUENCY_Hz, z, at_Hz=1e-4)


def test_the_simulated_cell_that_is_not_bonded_has_its_resistance_between_particles(clock):
    """Level (b) has an RC of known resistance there, which is small and above 1 MHz in (a) and (c)."""
    arcs = {}
    for design in ("standard-2.1", "bond-b", "bond-c"):
        cell = Cell(clock, design=design)
        arcs[design] = arc_resistance(
            FREQUENCY_Hz, noisy(cell.impedance(FREQUENCY_Hz)), from_Hz=1e5, to_Hz=1e6
        )
    ends = Cell(clock, design="bond-b").impedance(np.array([1e4, 1e9])).real
    assert arcs["bond-b"].value == pytest.approx(ends[0] - ends[1], rel=0.03)
    assert arcs["bond-b"].value > 10 * arcs["standard-2.1"].value
    assert arcs["bond-b"].value > 10 * arcs["bond-c"].value


# --- three electrodes ---


@pytest.fixture
def electrodes(clock):
    """Cell, positive and negative, as a good reference shows them."""
    cell = Cell(clock)
    return [cell.impedance(FREQUENCY_Hz, side) for side in ("cell", "positive", "negative")]


def test_the_electrodes_make_the_cell(electrodes):
    result = closure(FREQUENCY_Hz, *(noisy(z, seed=i) for i, z in enumerate(electrodes)))
    assert result.closed_to_Hz.value == pytest.approx(1e6)
    assert result.closed_to_Hz.uncertainty is None
    assert "all that were measured" in result.closed_to_Hz.definition
    assert result.closure_error.value < 0.008
    assert result.frequency_Hz[0] == pytest.approx(0.01)
    assert len(result.residual) == 81


def test_a_reference_with_a_stray_capacitance_closes_up_to_a_frequency(electrodes):
    """What the reference shows of the positive falls off at 100 kHz: 2 % of it is missing at 14 kHz."""
    cell, positive, negative = electrodes
    seen = positive / (1 + 1j * FREQUENCY_Hz / 1e5)
    result = closure(FREQUENCY_Hz, cell, seen, negative)
    missing = np.abs(positive - seen) / np.abs(cell)
    crossing_Hz = FREQUENCY_Hz[missing <= 0.02].max()
    assert result.closed_to_Hz.value == pytest.approx(crossing_Hz)
    assert 1e3 < crossing_Hz < 1e5
    assert result.closure_error.value == pytest.approx(missing[missing <= 0.02].max())
    assert 0 < result.closed_to_Hz.uncertainty < 0.2 * crossing_Hz
    wider = closure(FREQUENCY_Hz, cell, seen, negative, tolerance=0.1)
    assert wider.closed_to_Hz.value > result.closed_to_Hz.value


def test_an_electrode_of_another_cell_does_not_close_at_all(electrodes):
    cell, positive, negative = electrodes
    result = closure(FREQUENCY_Hz, cell, 1.2 * positive, negative)
    assert math.isnan(result.closed_to_Hz.value)
    assert "not even at the lowest frequency, 0.01 Hz" in result.closed_to_Hz.definition
    assert result.closure_error.value > 0.02


def test_points_that_are_missing_in_one_spectrum_are_left_out(electrodes):
    cell, positive, negative = (z.copy() for z in electrodes)
    positive[3], negative[5] = np.nan, np.nan
    result = closure(FREQUENCY_Hz[::-1], cell[::-1], positive[::-1], negative[::-1])
    assert len(result.residual) == 79
    assert result.closure_error.value < 1e-9


def test_what_can_not_be_compared_is_refused(electrodes):
    cell, positive, negative = electrodes
    with pytest.raises(BadInput, match="the same frequencies"):
        closure(FREQUENCY_Hz, cell, positive[:-1], negative)
    with pytest.raises(BadInput, match="no frequency above zero"):
        closure(FREQUENCY_Hz, np.full(81, np.nan), positive, negative)
