"""Differential curves of voltages whose derivative is a closed form, and of simulated graphite."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.physics.cell import Cell
from ssblab.analysis.differential import differentiate, peaks
from ssblab.quantities import BadInput
from tests.ssblab.analysis.recorded import Channel, step

PLATEAUS_V, WIDTH_V = (3.5, 3.8), 0.02


def charge_at_mAh(voltage_V):
    """Two plateaus of 4 mAh each, and a slope of 2 mAh/V."""
    return 2 * (voltage_V - 3) + sum(4 / (1 + np.exp(-(voltage_V - one) / WIDTH_V)) for one in PLATEAUS_V)


def density_mAh_V(voltage_V):
    return 2 + sum(4 / (4 * WIDTH_V * np.cosh((voltage_V - one) / 2 / WIDTH_V) ** 2) for one in PLATEAUS_V)


def course(*, noise_V=0.0, count=3000, seed=0):
    fine_V = np.linspace(3.0, 4.2, 20_001)
    charge = np.linspace(0, float(charge_at_mAh(4.2)), count)
    voltage = np.interp(charge, charge_at_mAh(fine_V), fine_V)
    voltage = voltage + np.random.default_rng(seed).normal(0, noise_V, count)
    return step(3600 * charge, voltage, 1e-3, kind="charge", charge_mAh=charge)


@pytest.mark.parametrize("noise_V", [0.0, 1e-4, 1e-3])
def test_curves_are_the_derivatives_of_the_known_course(noise_V):
    curve = differentiate(course(noise_V=noise_V), voltage_resolution_V=1e-6)
    inner = slice(100, -100)
    known = 1 / density_mAh_V(curve.voltage_V)
    np.testing.assert_allclose(curve.dV_dQ_V_mAh[inner], known[inner], atol=0.05 * known.max())
    inside = (curve.level_V > 3.1) & (curve.level_V < 4.1)
    expected = density_mAh_V(curve.level_V)
    np.testing.assert_allclose(curve.dQ_dV_mAh_V[inside], expected[inside], atol=0.08 * expected.max())
    # All charge is under the curve.
    passed = np.trapezoid(curve.dQ_dV_mAh_V, curve.level_V)
    assert passed == pytest.approx(float(charge_at_mAh(4.2)), rel=1e-3)


def test_the_noise_is_found_from_the_records():
    for noise_V in (1e-4, 1e-3):
        found = differentiate(course(noise_V=noise_V, count=800), voltage_resolution_V=1e-6).noise_V
        assert found == pytest.approx(noise_V, rel=0.1)


@pytest.mark.parametrize("noise_V", [1e-5, 1e-4, 1e-3])
def test_peaks_are_where_the_plateaus_are(noise_V):
    curve = differentiate(course(noise_V=noise_V), voltage_resolution_V=1e-6)
    found = peaks(curve, of="dQ/dV")
    assert [one.unit for one in found] == ["V", "V"]
    for one, truth in zip(found, PLATEAUS_V, strict=True):
        assert one.value == pytest.approx(truth, abs=3 * one.uncertainty + 1e-4)
        assert one.uncertainty < 0.01
    # Half way between the plateaus the voltage rises most steeply, but for the ends.
    between = min(peaks(curve, of="dV/dQ"), key=lambda one: abs(one.value - charge_at_mAh(3.65)))
    assert between.unit == "mAh"
    assert between.value == pytest.approx(float(charge_at_mAh(3.65)), abs=3 * between.uncertainty + 1e-3)


def test_a_discharge_has_the_same_peaks_as_a_charge():
    up = course(noise_V=1e-4)
    down = replace(up, voltage_V=up.voltage_V[::-1], current_A=-up.current_A, kind="discharge")
    curve = differentiate(down, voltage_resolution_V=1e-6)
    assert np.median(curve.dV_dQ_V_mAh) < 0
    for one, truth in zip(peaks(curve, of="dQ/dV"), PLATEAUS_V, strict=True):
        assert one.value == pytest.approx(truth, abs=3 * one.uncertainty + 1e-4)


def test_rounded_readings_have_no_peaks_of_their_own():
    rounded = course()
    rounded = replace(rounded, voltage_V=np.round(rounded.voltage_V, 3))
    assert len(peaks(differentiate(rounded, voltage_resolution_V=1e-3), of="dQ/dV")) == 2


@settings(max_examples=3, deadline=None)
@given(st.integers(400, 4000))
def test_peaks_do_not_depend_on_how_often_one_records(count):
    found = peaks(differentiate(course(noise_V=1e-4, count=count), voltage_resolution_V=1e-6), of="dQ/dV")
    for one, truth in zip(found, PLATEAUS_V, strict=True):
        assert one.value == pytest.approx(truth, abs=3 * one.uncertainty + 2e-4)


def test_bad_steps_are_refused():
    with pytest.raises(BadInput, match="20 are needed"):
        differentiate(course(count=10), voltage_resolution_V=1e-3)
    with pytest.raises(BadInput, match="records whose charge rises"):
        differentiate(step(np.arange(100.0), 3.7, 0.0, kind="rest"), voltage_resolution_V=1e-3)
    with pytest.raises(BadInput, match="dV/dQ"):
        peaks(differentiate(course(), voltage_resolution_V=1e-3), of="d2V")


def test_the_stage_of_a_simulated_graphite_is_where_its_open_circuit_has_it(clock):
    cell = Cell(clock, design="graphite-half-cell", state_of_charge=1.0)
    channel = Channel(cell)
    positive = cell.equations.positive
    content = [float(cell._state[positive.at + 1])]
    record = channel.current("discharge", -0.0001, limit_V=-0.6, every_s=120.0)
    content.append(float(cell._state[positive.at + 1]))
    # The peak of the open circuit between the plateaus, in charge of this discharge.
    inside = np.linspace(*content, 20_001)[2000:-2000]
    potential = positive.design.open_circuit.curve_V(inside)
    slope = np.abs(np.gradient(potential, inside))
    peak = inside[4000 + int(np.argmax(slope[4000:-4000]))]
    truth_mAh = record.passed_mAh * (peak - content[0]) / (content[1] - content[0])
    (found,) = peaks(differentiate(record, voltage_resolution_V=1e-5), of="dV/dQ")
    assert found.value == pytest.approx(truth_mAh, abs=0.15)
