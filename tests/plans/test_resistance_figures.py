"""Figures of merit of pulses and spectra, of runs that are made up."""

import numpy as np
import pytest

from plans.cell_figures import CellRun
from plans.resistance_figures import resistances_of_spectrum, resistances_of_state, trust
from tests.plans.made_up import made_up, spectrum, step

SECTION = "pulses at 50 %"


def pulsed(currents_A, resistance_ohm=10.0):
    """Pulses of 10 s after rests of 60 s, with noise of a microvolt, and of a microampere."""
    noise = np.random.default_rng(0)
    steps = []
    for i, current_A in enumerate(currents_A):
        for number, duration_s, applied_A in ((2 * i + 1, 60.0, 0.0), (2 * i + 2, 11.0, current_A)):
            steps.append(
                step(
                    SECTION,
                    str(number),
                    duration_s,
                    lambda time_s, at=applied_A: (
                        at + (1e-6 * noise.standard_normal(len(time_s)) if at else 0.0 * time_s)
                    ),
                    lambda time_s, at=applied_A: (
                        3.7 + resistance_ohm * at + 1e-6 * noise.standard_normal(len(time_s))
                    ),
                )
            )
    return {value.name: value for value in resistances_of_state(CellRun(made_up(steps)), SECTION)}


def test_two_pulses_of_one_current_give_their_mean():
    found = pulsed([-0.005, -0.005])
    assert found["dc_resistance_10s"].value == pytest.approx(10.0, rel=1e-3)
    assert found["dc_resistance_10s"].uncertainty < 0.1
    assert "mean of 2 pulses" in found["dc_resistance_10s"].definition
    assert found["dc_resistance_10s_0.5C"].value == found["dc_resistance_10s"].value


def test_pulses_of_several_currents_give_a_slope_also_if_one_is_there_twice():
    found = pulsed([-0.005, -0.002, -0.005])
    assert found["dc_resistance_10s"].value == pytest.approx(10.0, rel=1e-3)
    assert "slope" in found["dc_resistance_10s"].definition
    assert {"dc_resistance_10s_0.5C", "dc_resistance_10s_0.2C"} <= set(found)


@pytest.mark.parametrize("verdict", ["flag", "repeat"])
def test_what_comes_of_a_spectrum_that_did_not_pass_says_so(verdict):
    frequency_Hz = np.geomspace(1e5, 1.0, 51)
    z_ohm = 5.0 + 3.0 / (1 + 2j * np.pi * frequency_Hz * 1e-3)
    run = CellRun(
        made_up(spectra=[spectrum("as it is", frequency_Hz, z_ohm, verdict=verdict, reasons="it drifted")])
    )
    values = list(resistances_of_spectrum(run.spectrum("as it is")))
    assert values
    assert all("; FLAGGED: it drifted" in value.definition for value in values)
    flagged = {value.name: value for value in trust(run)}["flagged_spectra"]
    assert flagged.value == 1.0
