"""Figures of merit of experiments in a press, of runs that are made up."""

import numpy as np
import pytest

from plans.cell_figures import CellRun
from plans.pressure import PRESS_STREAM
from plans.pressure_figures import compaction, cycling, swelling
from plans.resistance_figures import resistance_of_discharge
from ssblab.samples import ElectrolyteSample
from tests.plans.made_up import made_up, spectrum, step, stream

PELLET = ElectrolyteSample(
    name="made-up", formula="Li3PS4", mass_g=0.1, thickness_mm=0.5, diameter_mm=10.0, pressure_MPa=50.0,
    thickness_uncertainty_mm=0.01, diameter_uncertainty_mm=0.1,
)  # fmt: skip
HIGHEST_Hz = 1e6


def pellet_spectrum(section, grains_ohm, between_ohm, points=51, **judged):
    """Grains that do not relax, what is between them with its apex at 100 kHz, blocking electrodes."""
    frequency_Hz = np.geomspace(HIGHEST_Hz, 10.0, points)
    s = 2j * np.pi * frequency_Hz
    arc = between_ohm / (1 + s / (2 * np.pi * 1e5))
    noise = 1 + 1e-3 * np.random.default_rng(1).standard_normal((points, 2)) @ [1, 1j]
    return spectrum(section, frequency_Hz, (grains_ohm + arc + 1 / (3e-6 * s**0.92)) * noise, **judged)


def pressed(points, asked=None, **how):
    """A run of `compaction`: (pressure, way, spectrum) of each point."""
    sections = [f"{pressure:g} MPa, {way}" for pressure, way, _ in points]
    marks = stream(
        np.arange(len(points)),
        points_section=sections,
        points_way=[way for _, way, _ in points],
        points_asked=[pressure for pressure, _, _ in points],
        points_pressure=[pressure for pressure, _, _ in points],
        points_thickness=np.full(len(points), 0.5),
    )
    pressures = asked or [(pressure, way) for pressure, way, _ in points]
    return made_up(
        spectra=[pellet_spectrum(section, *z) for section, (_, _, z) in zip(sections, points, strict=True)],
        streams={"points": marks},
        sample=PELLET.metadata(),
        pressures=[{"section": f"{p:g} MPa, {way}", "pressure_MPa": p, "way": way} for p, way in pressures],
        true_density_g_cm3=None,
        **how,
    )


def named(values):
    found = {value.name: value for value in values}
    assert len(found) == len(values)
    return found


def test_a_pellet_resists_with_its_grains_and_with_what_is_between_them():
    conducts = named(compaction(pressed([(5.0, "rising", (1e3, 9e3))])))["conductivity"]
    assert conducts.value == pytest.approx(0.05 / (1e4 * PELLET.area_cm2), rel=0.01)
    assert "fitted from 1e+06 to 10 Hz, rms residual 0.1" in conducts.definition


def test_a_spectrum_of_too_few_points_gives_no_conductivity():
    assert compaction(pressed([(5.0, "rising", (1e3, 9e3, 11))])) == []


def test_conductivity_is_that_of_the_highest_pressure_asked_for():
    asked = [(50.0, "rising"), (300.0, "rising")]
    found = named(compaction(pressed([(50.0, "rising", (1e3, 1e3))], asked)))
    assert list(found) == ["conductivity_50MPa_rising"]


def test_the_hysteresis_is_not_uncertain_by_what_its_points_have_in_common():
    points = [(50.0, "rising", (2e3, 2e3)), (300.0, "rising", (1e3, 1e2)), (50.0, "falling", (1e3, 5e2))]
    found = named(compaction(pressed(points)))
    rising, falling = found["conductivity_50MPa_rising"], found["conductivity_50MPa_falling"]
    hysteresis = found["conductivity_hysteresis"]
    assert hysteresis.value == pytest.approx(falling.value - rising.value)
    assert rising.uncertainty > 0.02 * rising.value  # area and thickness
    assert 0.0 < hysteresis.uncertainty < 5e-3 * rising.value


def at_pressures(current_A=-0.01):
    """A cell at 5, 20 and 5 MPa again: discharges of 60 s after rests, 10 ohm."""
    points = [(5.0, "rising"), (20.0, "rising"), (5.0, "falling")]
    sections = [f"{pressure:g} MPa, {way}" for pressure, way in points]
    steps = [
        each
        for section in sections
        for each in (
            step(section, "1", 60.0),
            step(section, "2", 60.0, current_A, 3.7 + 10.0 * current_A),
            step(section, "3", 60.0),
        )
    ]
    press = stream(np.arange(0.0, 540.0, 10.0), press_pressure=np.full(54, 5.0))
    return made_up(
        steps,
        streams={PRESS_STREAM: press},
        pressures=[
            {"section": section, "pressure_MPa": pressure, "way": way}
            for section, (pressure, way) in zip(sections, points, strict=True)
        ],
    )


def test_hystereses_of_a_cell_are_not_uncertain_by_the_gain_of_its_channel():
    run = at_pressures()
    found = named(cycling(run))
    gain = found["dc_resistance_10s"].value * 0.001 / np.sqrt(3)
    assert found["dc_resistance_10s"].uncertainty == pytest.approx(gain, rel=0.01)
    assert found["dc_resistance_10s_hysteresis"].uncertainty < 0.1 * gain
    seen = CellRun(run)
    (own,) = resistance_of_discharge(seen, "5 MPa, rising", current_relative_accuracy=0.0)
    assert own.uncertainty < 0.1 * gain


def test_a_discharge_that_was_broken_off_gives_no_capacity_at_its_pressure():
    steps = [
        step("5 MPa, rising", "1", 60.0),
        step("5 MPa, rising", "2", 60.0, -0.01, ended_by="failed: no answer"),
        step("5 MPa, rising", "3", 60.0),
    ]
    press = stream([30.0], press_pressure=[5.0])
    pressures = [{"section": "5 MPa, rising", "pressure_MPa": 5.0, "way": "rising"}]
    found = named(cycling(made_up(steps, streams={PRESS_STREAM: press}, pressures=pressures)))
    assert "discharge_capacity" not in found
    assert "dc_resistance_10s" in found


CYCLE = ((1, 600.0, 0.01), (2, 300.0, 0.0), (3, 600.0, -0.01), (4, 300.0, 0.0))


def swollen(read_s, readings, *, mode="constant pressure", ended_by="", thickness_um=None):
    """One cycle with rests from 600 s to 900 s and from 1500 s to 1800 s."""
    steps = [step("cycle 1", str(number), *how, every_s=10.0) for number, *how in CYCLE]
    steps[-1] = (*steps[-1][:-1], ended_by)
    signal = "press_thickness" if mode == "constant pressure" else "press_pressure"
    return made_up(
        steps,
        streams={PRESS_STREAM: stream(read_s, **{signal: readings})},
        swelling={"mode": mode, "thickness_um": thickness_um},
    )


def test_thickness_is_read_in_the_rests_alone():
    every_10_s = np.arange(0.0, 1801.0, 10.0)
    charged = (every_10_s > 300.0) & (every_10_s <= 1200.0)
    found = named(swelling(swollen(every_10_s, np.where(charged, 0.51, 0.5))))
    assert found["thickness_change"].value == pytest.approx(0.02)
    # One reading in each rest, but not in its end, is of the rest all the same.
    assert named(swelling(swollen([650.0, 1550.0], [0.51, 0.5])))["thickness_change"].value == pytest.approx(
        0.02
    )
    # What was read last before the end of a rest may be of the charge.
    assert "thickness_change" not in named(swelling(swollen([300.0, 1550.0], [0.51, 0.5])))
    broken_off = swollen(every_10_s, np.where(charged, 0.51, 0.5), ended_by="failed: no answer")
    assert "thickness_change" not in named(swelling(broken_off))


def test_a_gauge_that_was_zeroed_on_the_cell_gives_no_share(caplog):
    caplog.set_level("INFO")
    for zero_mm in (0.0, -0.001, 0.002):
        found = named(swelling(swollen([800.0, 1700.0], [0.01 + zero_mm, zero_mm])))
        assert found["thickness_change_um"].value == pytest.approx(10.0)
        assert "thickness_change" not in found
    assert "was the gauge zeroed on the cell?" in caplog.text
    given = named(swelling(swollen([800.0, 1700.0], [0.01, 0.0], thickness_um=500.0)))
    assert given["thickness_change"].value == pytest.approx(0.02)
    fixed = named(swelling(swollen([800.0, 1700.0], [1.0, 0.0], mode="fixed gap")))
    assert fixed["pressure_change"].value == pytest.approx(1.0)
    assert "relative_pressure_change" not in fixed
