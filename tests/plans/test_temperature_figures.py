"""Figures of merit of cells hot and cold, of runs that are made up."""

import numpy as np
import pytest

from plans.temperature import AFTER, AGAIN, BEFORE
from plans.temperature_figures import activation, capacities
from tests.plans.made_up import made_up, spectrum, step


def discharged(section, duration_s, **how):
    return [step(section, "1", 60.0), step(section, "2", duration_s, -0.01, **how)]


def test_a_discharge_that_was_broken_off_gives_no_capacity(caplog):
    def found(ended_by):
        steps = [
            *discharged(f"25 degC, {BEFORE}", 3600.0),
            *discharged("0 degC", 1800.0, ended_by=ended_by),
            *discharged(f"25 degC, {AFTER}", 3600.0, ended_by=ended_by),
        ]
        values = capacities(made_up(steps, temperatures_C=[25.0, 0.0]))
        return {value.name: value.value for value in values}

    whole, broken_off = found(""), found("failed: no answer")
    assert whole["relative_discharge_capacity_0degC"] == pytest.approx(0.5)
    assert whole["capacity_return"] == pytest.approx(1.0)
    gone = {
        "discharge_capacity_0degC",
        "discharge_mean_voltage_0degC",
        "relative_discharge_capacity_0degC",
        "capacity_return",
    }
    assert set(whole) - set(broken_off) == gone
    assert broken_off["discharge_capacity"] == whole["discharge_capacity"]


FREQUENCY_Hz = np.geomspace(1e5, 1.0, 51)


def answered(section, ohmic_ohm, **judged):
    z_ohm = ohmic_ohm + 20.0 / (1 + 2j * np.pi * FREQUENCY_Hz * 1e-3)
    return spectrum(section, FREQUENCY_Hz, z_ohm, **judged)


def activated(spectra):
    values = activation(
        made_up(
            spectra=spectra,
            temperatures_C=[25.0, 45.0, 0.0],
            temperature_tolerance_K=0.5,
            arguments={"by": "impedance", "form": "R"},
        )
    )
    return {value.name: value for value in values}


def test_flagged_spectra_are_named_in_all_that_comes_of_them():
    spectra = [
        answered("25 degC", 10.0),
        answered("45 degC", 5.0),
        answered("0 degC", 30.0, verdict="flag", reasons="it drifted"),
        answered(f"25 degC, {AGAIN}", 10.0, verdict="flag", reasons="it was warm"),
    ]
    found = activated(spectra)
    assert "FLAGGED: it drifted" in found["ohmic_resistance_0degC"].definition
    assert "FLAGGED" not in found["ohmic_resistance_45degC"].definition
    assert "FLAGGED: 0 degC: it drifted" in found["activation_energy"].definition
    assert f"FLAGGED: 25 degC, {AGAIN}: it was warm" in found["resistance_return"].definition
    assert found["flagged_spectra"].value == 2.0


def test_without_a_common_resistance_above_zero_nothing_is_compared(caplog):
    caplog.set_level("INFO")
    nothing_ohmic = answered(f"25 degC, {AGAIN}", 0.0)
    found = activated([answered("25 degC", 10.0), nothing_ohmic])
    assert "ohmic_resistance_25degC" in found
    assert "flagged_spectra" in found
    assert "resistance_return" not in found
    assert "no resistance of one kind was above zero in both" in caplog.text
