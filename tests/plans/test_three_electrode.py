"""Cells with a reference electrode against the hidden potentials of both electrodes."""

import math

import numpy as np
import pytest

from plans.three_electrode import three_electrode_cycle
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.reports.electrode_pictures import electrode_drawings
from ssblab.results import figures_of_merit
from tests.ground_truth.test_cells import Bench


def done(session, name, **how):
    """Result of a plan that has to succeed, and the cell itself."""
    plan = three_electrode_cycle(session.samples[name], rest="2 min", **how)
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result, session.laboratory.things["bench"].cell


@pytest.fixture(scope="module")
def sound(session):
    """A sound cell charged and discharged at 2C, and the slopes of its electrodes in its last 20 s."""
    result, cell = done(session, "std-3e-01", rates="2C", slow_rate="2C", log_every="10 s")
    twin = Bench("standard-2.1", state_of_charge=0.9)
    twin.cell.source_current(-2 * twin.capacity_Ah)
    course = []
    while twin.cell.read()[0] > 2.5:
        twin.run(2.0)
        course.append([twin.cell.positive_potential_V(), twin.cell.negative_potential_V()])
    slopes_V_mAh = np.abs(np.subtract(course[-1], course[-11])) / (2e3 * twin.capacity_Ah * 20.0 / 3600.0)
    return result, cell, slopes_V_mAh


@pytest.mark.ground_truth("GT-33")
def test_the_potentials_of_the_electrodes_make_up_the_voltage(sound):
    """Both potentials, recorded while a potentiostat drives the cell, differ by its voltage."""
    results = sound[0].results
    assert results["closure_rms"].value < 1e-3
    assert results["closure_max"].value < 5e-3
    assert results["closure_rms"].value < 2 * results["closure_rms"].uncertainty


def test_the_catalog_gives_the_same(session, sound):
    result = sound[0]
    stored = run_data(session.db[result.uids[0]])
    assert {"primary", "steps", "potentials", "baseline"} <= set(stored.streams)
    assert figures_of_merit(stored)["closure_rms"] == result.results["closure_rms"]
    assert stored.start["devices"]["electrodes"] == "cell_3e"


def test_both_electrodes_are_drawn(session, sound):
    (picture,) = electrode_drawings(session.run_data(sound[0].uids[0]))
    assert picture.name == "electrodes"
    assert "<svg" in picture.svg
    assert "charge at 2C" in picture.caption


def test_what_ended_the_discharge_is_the_electrode_that_fell_or_rose_faster(sound):
    result, _, (positive, negative) = sound
    measured = {side: result.results[f"{side}_slope_at_discharge_end"] for side in ("positive", "negative")}
    assert measured["positive"].value == pytest.approx(positive, rel=0.25)
    assert measured["negative"].value == pytest.approx(negative, rel=0.25)
    assert result.results["discharge_ended_by"].value == float(negative > positive)
    assert "negative, with" in result.results["discharge_ended_by"].definition


def test_a_sound_cell_keeps_its_margin_and_no_event_is_written(session, sound):
    result, cell, _ = sound
    run = session.run_data(result.uids[0])
    assert "events" not in run.streams
    assert result.results["negative_potential_min_2C"].value > 0.05
    assert math.isnan(result.results["state_of_charge_at_guard_2C"].value)
    assert math.isnan(result.results["rate_at_guard"].value)
    assert not cell.shorted


@pytest.mark.ground_truth("GT-10")
def test_the_guard_ends_the_charge_before_the_short(session):
    """The charge of cell (c) that would short it is ended by its negative electrode's potential before."""
    result, cell = done(session, "bond-c-01", rates="6C, 7C", slow_rate="4C", log_every="5 s")
    event = session.run_data(result.uids[0]).streams["events"]
    assert event["events_event"].values.tolist() == ["li_plating_risk"]
    assert event["events_rate"].values[0] == pytest.approx(6.0)
    assert 0.0 < event["events_margin"].values[0] < 5e-3
    soc = float(event["events_state_of_charge"].values[0])
    results = result.results
    assert results["state_of_charge_at_guard_6C"].value == pytest.approx(soc, abs=0.02)
    assert 0.0 < results["negative_potential_min_6C"].value < 5e-3
    assert results["rate_at_guard"].value == pytest.approx(6.0)
    assert not cell.shorted
    sections = set(session.run_data(result.uids[0]).streams["steps"]["steps_section"].values)
    assert {"charge at 6C", "discharge after 6C"} <= sections
    assert "charge at 7C" not in sections


@pytest.mark.ground_truth("GT-10")
def test_going_on_past_the_guard_shorts_the_cell(session):
    """Cell (c) charged on at 6C shorts, with its negative electrode at 0 V or below."""
    result, cell = done(session, "bond-c-01", rates="6C", slow_rate="4C", policy="continue", log_every="5 s")
    least_V = result.results["negative_potential_min_6C"].value
    assert cell.shorted
    assert least_V <= 0.0
    soc = [result.results[f"state_of_charge_at_{where}_6C"].value for where in ("guard", "0_V")]
    assert 0.2 < soc[0] < soc[1] < 0.5
    assert session.run_data(result.uids[0]).streams["events"]["time"].size == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"rates": "2C, 1C"}, "rates=2C, 1C: write each once, the slowest first"),
        ({"rates": "2C, 100C"}, "0.8 A is above current < 0.05 A of sample std-3e-01"),
        ({"policy": "hope"}, "policy='hope': write stop or continue"),
        ({"guard": "1 V"}, "guard"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(session, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(three_electrode_cycle(session.samples["std-3e-01"], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_from_outside_leaves_the_cell_off(session):
    session.clock.call_later(900.0, lambda: session.end("enough"))
    result = session.run(three_electrode_cycle(session.samples["std-3e-01"], rates="1C", slow_rate="1C"))
    assert (result.exit_status, result.reason) == ("abort", "enough")
    assert session.laboratory.things["bench"].cell.current_A == 0.0
