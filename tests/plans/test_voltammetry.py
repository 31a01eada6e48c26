"""Windows of an electrolyte on steel and with carbon, against the hidden onsets of its reactions."""

import math

import pytest

from plans.voltammetry import stability_window
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.reports.electrode_pictures import electrode_drawings
from ssblab.results import figures_of_merit

COARSE = {"resolution": "10 mV", "widen_by": "0.3 V", "rest": "1 min"}


def done(session, name, **how):
    """Result of a plan that has to succeed, and the cell itself."""
    result = session.run(stability_window(session.samples[name], **COARSE, **how))
    assert result.exit_status == "success", result.reason
    return result, session.laboratory.things["bench"].cell


@pytest.fixture(scope="module")
def composite(session):
    return done(session, "se-composite-01")


def test_onsets_are_the_hidden_ones(composite):
    result, cell = composite
    reduction_V, oxidation_V = cell.onset_V(10e-6)
    results = result.results
    assert results["onset_oxidation"].value == pytest.approx(oxidation_V, abs=0.01)
    assert results["onset_reduction"].value == pytest.approx(reduction_V, abs=0.01)
    window = results["stability_window"]
    assert window.value == pytest.approx(oxidation_V - reduction_V, abs=0.02)
    assert (window.unit, 0 < window.uncertainty < 0.01) == ("V", True)
    assert "against Li/Li+" in results["onset_oxidation"].definition


def test_the_catalog_gives_the_same(session, composite):
    stored = run_data(session.db[composite[0].uids[0]])
    assert figures_of_merit(stored)["stability_window"] == composite[0].results["stability_window"]


def test_its_voltammogram_is_drawn(session, composite):
    (picture,) = electrode_drawings(session.run_data(composite[0].uids[0]))
    assert picture.name == "voltammogram"
    assert "<svg" in picture.svg
    assert "8 sweeps" in picture.caption


def test_it_goes_no_further_than_it_has_to(session, composite):
    sections = session.run_data(composite[0].uids[0]).streams["steps"]["steps_section"].values
    assert set(sections) == {
        "rest",
        *(f"{side} {n}" for side in ("oxidation", "reduction") for n in (1, 2)),
    }
    assert all(used_C < 0.1 * composite[1]._reserve_C for used_C in composite[1].decomposed_C)


def test_a_higher_threshold_shows_a_wider_window(session, composite):
    result, cell = done(session, "se-composite-01", threshold="30 uA/cm2")
    assert result.results["stability_window"].value > composite[0].results["stability_window"].value + 0.1
    assert result.results["onset_oxidation"].value == pytest.approx(cell.onset_V(30e-6)[1], abs=0.02)


def test_steel_shows_a_wider_window_and_depends_on_the_scan_rate(session, composite):
    """On steel little electrolyte is touched: slow sweeps use it up, and find the edge later."""
    result, cell = done(session, "se-steel-01", scan_rate="5 mV/s")
    reduction_V, oxidation_V = cell.onset_V(10e-6)
    assert result.results["onset_oxidation"].value == pytest.approx(oxidation_V, abs=0.05)
    assert result.results["onset_reduction"].value == pytest.approx(reduction_V, abs=0.05)
    assert result.results["stability_window"].value > composite[0].results["stability_window"].value + 0.5
    assert result.results["charge_of_sweep_1"].unit == "mAh/cm2"


def test_an_edge_that_is_not_reached_is_not_invented(session):
    result, _ = done(session, "se-steel-01", oxidation_to="2.3 V vs Li/Li+", reduction_to="1.5 V vs Li/Li+")
    assert math.isnan(result.results["onset_oxidation"].value)
    assert "not exceeded up to" in result.results["onset_oxidation"].definition
    assert math.isnan(result.results["stability_window"].value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"begin": "3.5 V vs Li/Li+"}, "begin=3.5 V vs Li/Li+ and inert=0.08 V are not between"),
        ({"oxidation_to": "6 V vs Li/Li+"}, "V is above voltage < 4.4 V of sample se-steel-01"),
        ({"scan_rate": "1 V"}, "scan_rate"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(session, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(stability_window(session.samples["se-steel-01"], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_from_outside_leaves_the_cell_off(session):
    session.clock.call_later(1000.0, lambda: session.end("enough"))
    result = session.run(stability_window(session.samples["se-steel-01"]))
    assert (result.exit_status, result.reason) == ("abort", "enough")
    assert session.laboratory.things["bench"].cell.current_A == 0.0
