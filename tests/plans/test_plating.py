"""Plating and stripping of lithium on garnet, against the hidden cell, which knows when it shorted."""

import math

import numpy as np
import pytest

from plans.plating import critical_current_density, plating_stripping
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit

RISING = {
    "currents": "0.3 mA/cm2, 0.6 mA/cm2, 1 mA/cm2",
    "charge": "0.05 mAh/cm2",
    "rest": "30 s",
    "log_every": "10 s",
}


def done(session, plan):
    """Result of a plan that has to succeed."""
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result


def hidden(session, sample):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


@pytest.fixture(scope="module")
def at_25(session):
    """A run at 25 degC; whether the cell shorted, and how long after the first current."""
    result = done(session, critical_current_density(session.samples["li-llz-li-01"], **RISING))
    cell = hidden(session, "li-llz-li-01")
    first = float(session.run_data(result.uids[0]).streams["steps"]["steps_began"].values[0])
    return result, cell.shorted, cell.shorted_at_s - (first - session.clock.now() + session.clock.monotonic())


def test_the_short_is_found_soon_and_ends_the_current(session, at_25):
    result, shorted, true_s = at_25
    assert shorted
    assert true_s <= result.results["short_time"].value <= true_s + 60.0
    assert result.results["critical_current_density"].value == pytest.approx(0.3, rel=1e-3)
    assert result.results["shorting_current_density"].value == pytest.approx(0.6, rel=1e-3)
    streams = session.run_data(result.uids[0]).streams
    event = streams["events"]
    assert event["events_event"].values.tolist() == ["short"]
    assert event["events_density"].values[0] == pytest.approx(0.6)
    assert event["events_half_cycle"].values[0] == 3
    assert streams["steps"]["steps_ended_by"].values[-1].startswith("short: ")
    assert hidden(session, "li-llz-li-01").current_A == pytest.approx(0.0, abs=1e-15)
    assert not session.devices["ch_26"].read_now(fresh=True).running


def test_thickness_is_that_of_the_charge(at_25):
    results = at_25[0].results
    assert results["plated_thickness"].unit == "um"
    assert results["plated_thickness"].value == pytest.approx(4.85 * 0.05, rel=0.03)
    assert results["plated_thickness_total"].value > results["plated_thickness"].value


def test_the_catalog_gives_the_same(session, at_25):
    stored = run_data(session.db[at_25[0].uids[0]])
    for name in ("critical_current_density", "short_time", "plated_thickness"):
        assert figures_of_merit(stored)[name] == at_25[0].results[name]
    assert {"primary", "steps", "events", "baseline"} <= set(stored.streams)


@pytest.mark.ground_truth("GT-37")
def test_heat_puts_the_short_off(session, at_25):
    """Lithium on garnet plated at rising currents shorts at 25 degC, and later or not at all at 100 degC."""
    plan = critical_current_density(session.samples["li-llz-li-01"], **RISING, temperature="100 degC")
    results = done(session, plan).results
    cold = at_25[0].results
    assert math.isnan(results["short_time"].value) or results["short_time"].value > cold["short_time"].value
    assert results["critical_current_density"].value > cold["critical_current_density"].value
    assert results["resistance_first_half_cycle"].value < 0.2 * cold["resistance_first_half_cycle"].value


def test_below_its_critical_current_a_cell_goes_on_and_its_spectrum_stays(session):
    plan = plating_stripping(
        session.samples["li-llz-li-02"], current="0.2 mA/cm2", charge="0.02 mAh/cm2", cycles=2, rest="30 s",
        log_every="10 s", spectra_from="10 kHz",
    )  # fmt: skip
    result = done(session, plan)
    assert not hidden(session, "li-llz-li-02").shorted
    assert math.isnan(result.results["short_time"].value)
    before, after = (result.results[f"resistance_{when}"].value for when in ("before", "after"))
    true_ohm = float(hidden(session, "li-llz-li-02").impedance(np.array([0.1])).real[0])
    assert after == pytest.approx(true_ohm, rel=0.03)
    assert before == pytest.approx(after, rel=0.1)
    assert result.results["resistance_first_half_cycle"].value == pytest.approx(before, rel=0.15)
    streams = session.run_data(result.uids[0]).streams
    assert "events" not in streams
    assert len(set(streams["steps"]["steps_section"].values)) == 4


def test_a_resistance_that_is_known_finds_a_short_in_the_first_half_cycle(session):
    plan = plating_stripping(
        session.samples["li-llz-li-01"], current="0.8 mA/cm2", charge="0.1 mAh/cm2", cycles=2,
        floor_resistance="260 ohm",
    )  # fmt: skip
    result = done(session, plan)
    assert hidden(session, "li-llz-li-01").shorted
    assert result.results["short_time"].value < 450.0
    event = session.run_data(result.uids[0]).streams["events"]
    assert event["events_half_cycle"].values.tolist() == [1]
    assert "of the electrolyte" in event["events_reason"].values[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"currents": "0.2 mA/cm2, 0.1 mA/cm2"}, "currents=0.2 mA/cm2, 0.1 mA/cm2: write each once, rising"),
        ({"currents": "20 mA/cm2"}, "0.02 A is above current < 0.01 A of sample li-llz-li-01"),
        ({"spectra_from": "100 kHz"}, "ch_26 takes no spectra"),
        ({"charge": "5 um"}, "charge"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(session, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(critical_current_density(session.samples["li-llz-li-01"], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_from_outside_leaves_the_channel_off(session):
    def watch(name, doc):
        if name == "event_page" and doc["data"].get("ch_26_kind"):
            session.RE.unsubscribe(token)
            session.end("that will do")

    token = session.RE.subscribe(watch)
    result = session.run(plating_stripping(session.samples["li-llz-li-01"]))
    assert (result.exit_status, result.reason) == ("abort", "that will do")
    assert not session.devices["ch_26"].read_now(fresh=True).running
