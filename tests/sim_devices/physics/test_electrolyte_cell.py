"""A cell of electrolyte alone: where it decomposes, against its own constants and closed forms."""

import math

import numpy as np
import pytest

from sim_devices.physics.electrolyte_cell import IN_LI_V, ElectrolyteCell

PER_V = 0.3 * 96485.33212 / (8.314462618 * 298.15)  # of the Tafel laws


def swept(cell, clock, end_V, rate_V_s=1e-3, step_V=5e-3):
    """Potentials against Li/Li+ and current densities of a sweep from rest."""
    potentials_V = np.arange(cell.potential_V(), end_V - IN_LI_V, math.copysign(step_V, end_V - 1.86))
    currents_A = []
    for potential_V in potentials_V:
        cell.source_voltage(float(potential_V))
        clock.sleep(step_V / rate_V_s)
        currents_A.append(cell.read()[1])
    return potentials_V + IN_LI_V, np.array(currents_A) / cell.area_cm2


def test_it_rests_between_both_onsets(clock):
    cell = ElectrolyteCell(clock, oxidation_V=2.2, reduction_V=1.6)
    assert cell.read() == (pytest.approx(1.9 - IN_LI_V), 0.0)
    clock.sleep(86_400.0)
    assert cell.potential_V() == pytest.approx(1.9 - IN_LI_V, abs=1e-6)
    assert cell.positive_potential_V() - cell.negative_potential_V() == pytest.approx(cell.potential_V())


@pytest.mark.parametrize("contact_share", [1.0, 200.0])
def test_a_slow_sweep_finds_both_onsets(clock, contact_share):
    threshold_A_cm2 = 1e-6 * contact_share**0.5
    reduction_V, oxidation_V = ElectrolyteCell(clock, contact_share=contact_share).onset_V(threshold_A_cm2)
    for end_V, onset_V in ((3.0, oxidation_V), (0.7, reduction_V)):
        cell = ElectrolyteCell(clock, contact_share=contact_share)
        potentials_V, densities_A_cm2 = swept(cell, clock, end_V)
        found_V = potentials_V[np.argmax(np.abs(densities_A_cm2) >= threshold_A_cm2)]
        assert found_V == pytest.approx(onset_V, abs=0.03)  # reserve, charging current and ohmic drop


def test_more_contact_narrows_the_window(clock):
    (steel_low_V, steel_high_V), (low_V, high_V) = (
        ElectrolyteCell(clock, contact_share=share).onset_V(1e-5) for share in (1.0, 200.0)
    )
    assert steel_low_V < low_V < 1.71 < 2.01 < high_V < steel_high_V
    assert steel_high_V - high_V == pytest.approx(math.log(200.0) / PER_V)


def test_below_the_onset_only_the_double_layer_is_charged(clock):
    cell = ElectrolyteCell(clock, exchange_A_cm2=1e-30)
    cell.source_voltage(cell.potential_V() + 0.1)
    clock.sleep(2.0 * cell.double_layer_F * cell.ohmic_ohm)
    assert cell.read()[1] == pytest.approx(0.1 / cell.ohmic_ohm * math.exp(-2.0), rel=1e-3)
    clock.sleep(1.0)
    assert cell.read()[1] == pytest.approx(0.0, abs=1e-9)
    assert cell.charge_Ah * 3600.0 == pytest.approx(0.1 * cell.double_layer_F, rel=1e-6)
    assert cell.decomposed_C == pytest.approx((0.0, 0.0), abs=1e-15)


def test_a_hold_uses_up_what_the_electrode_touches(clock):
    cell = ElectrolyteCell(clock, area_cm2=1.0, reserve_C_cm2=1e-3, ohm_cm2=1e-3)
    cell.source_voltage(2.6 - IN_LI_V)
    rate_A = 1e-9 * math.exp(PER_V * (2.6 - 2.01))
    clock.sleep(1e-3 / rate_A)  # one time constant
    cell.read()
    oxidised_C, reduced_C = cell.decomposed_C
    assert oxidised_C == pytest.approx(1e-3 * (1.0 - math.exp(-1.0)), rel=0.02)
    assert reduced_C < 1e-3 * oxidised_C
    clock.sleep(20e-3 / rate_A)
    assert abs(cell.read()[1]) < 1e-4 * rate_A
    assert cell.decomposed_C[0] == pytest.approx(1e-3, rel=1e-3)
    assert cell.charge_Ah * 3600.0 == pytest.approx(1e-3 + cell.double_layer_F * (2.6 - 1.86), rel=0.01)


def test_a_source_of_current_stops_at_its_voltage(clock):
    cell = ElectrolyteCell(clock, exchange_A_cm2=1e-30)
    cell.source_current(1e-6, -0.5, 2.0)
    seconds = cell.double_layer_F * (2.0 - cell.potential_V() - 1e-6 * cell.ohmic_ohm) / 1e-6
    clock.sleep(0.5 * seconds)
    assert cell.read()[1] == 1e-6
    clock.sleep(seconds)
    assert cell.read() == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))


def test_a_source_of_voltage_stops_at_its_current(clock):
    cell = ElectrolyteCell(clock)
    cell.source_voltage(4.0, 1e-5)
    assert cell.read()[1] == 1e-5
    cell.source_voltage(-0.5, 1e-5)
    assert cell.read()[1] == -1e-5


def test_the_end_of_a_step_is_found(clock):
    cell = ElectrolyteCell(clock, exchange_A_cm2=1e-30)
    cell.source_current(1e-6)
    began_s, volts = clock.monotonic(), cell.voltage_V
    clock.sleep(100.0)
    reached_s = cell.advance(clock.monotonic(), lambda volts, amperes: volts >= 1.5)
    expected_s = cell.double_layer_F * (1.5 - volts) / 1e-6
    assert reached_s - began_s == pytest.approx(expected_s, abs=2e-3)


def test_its_impedance_is_that_of_what_it_shows(clock):
    cell = ElectrolyteCell(clock, contact_share=200.0)
    frequency_Hz = np.array([1e-3, 1.0, 1e6])
    at_rest_ohm = cell.impedance(frequency_Hz)
    assert at_rest_ohm[2].real == pytest.approx(cell.ohmic_ohm)
    assert at_rest_ohm[1].imag == pytest.approx(-1.0 / (2.0 * np.pi * cell.double_layer_F), rel=0.01)
    cell.source_voltage(2.5 - IN_LI_V)
    clock.sleep(10.0)
    (low_V, low_A), slope_ohm = cell.read(), cell.impedance(np.array([1e-9]))[0].real
    cell.source_voltage(2.5 - IN_LI_V + 1e-3)
    clock.sleep(10.0)
    high_V, high_A = cell.read()
    assert (high_V - low_V) / (high_A - low_A) == pytest.approx(slope_ohm, rel=0.05)


def test_it_is_made_of_a_record(clock):
    cell = ElectrolyteCell.of_sample(
        clock, np.random.default_rng(1), {"area_cm2": 0.785, "name": "se-01"}, oxidation_V=2.5
    )
    assert (cell.area_cm2, cell.oxidation_V) == (0.785, 2.5)
