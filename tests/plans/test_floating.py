"""Floating on the station `cells`, through the real drivers, against the hidden truth."""

import numpy as np
import pytest

from plans.cell_figures import CellRun
from plans.floating import floating_test
from plans.floating_figures import hold_current
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit
from ssblab.session import open_session

COARSE = {"rate": "1C", "rest": "1 min", "log_every": "30 min"}
SAMPLE = "ncm-in-li-01"


@pytest.fixture
def session(cells_station, tmp_path):
    """A session with a new cell."""
    with open_session(cells_station, data=tmp_path) as session:
        yield session
        session._filing.catch_up = lambda: True  # takes seconds, and no test looks any more


def hidden(session, sample=SAMPLE):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


def floated(session, sample=SAMPLE, **how):
    """Result of a test that has to succeed."""
    result = session.run(floating_test(session.samples[sample], **{**COARSE, **how}))
    assert result.exit_status == "success", result.reason
    return result


@pytest.mark.parametrize(
    ("potential", "kept", "leakage_uA", "oxidised"),
    [
        pytest.param("4.25 V", (0.97, 1.01), (0.0, 0.1), False, id="GT-12 4.25 V"),
        pytest.param("4.55 V", (0.7, 0.9), (3.0, 8.0), True, id="GT-12 4.55 V"),
    ],
)
@pytest.mark.ground_truth
def test_five_days_cost_capacity_at_the_higher_potential_only(session, potential, kept, leakage_uA, oxidised):
    """Through the drivers too, 5 days cost nothing at 4.25 V, and much at 4.55 V, where a current leaks."""
    results = floated(session, potential=potential).results
    name = potential.replace(" ", "")
    low, high = kept
    assert low < results["capacity_retention"].value < high
    assert results["capacity_retention"].unit == "1"
    assert results[f"capacity_retention_{name}"].value == results["capacity_retention"].value
    low, high = leakage_uA
    assert low < results[f"leakage_current_{name}"].value < high

    cell = hidden(session)
    assert cell.oxidation_products == oxidised
    lost_share, _ = cell.lost_sites
    oxidised_mAh = lost_share * cell.design.rates.oxidation_electrons * cell.equations.positive.sites_C / 3.6
    assert results[f"leakage_charge_{name}"].value == pytest.approx(oxidised_mAh, rel=0.2)
    assert results[f"hold_charge_{name}"].value > results[f"leakage_charge_{name}"].value


def test_several_potentials_are_held_one_after_the_other(session):
    result = floated(session, potential="4.25 V, 4.55 V", hold="4 h", check_every="3 h", rate="2C")
    run = session.run_data(result.uids[0])
    assert list(dict.fromkeys(run.streams["steps"]["steps_section"].values.tolist())) == [
        "check-up 0", "hold 4.25 V, 1 of 2", "check-up 1", "hold 4.25 V, 2 of 2", "check-up 2",
        "hold 4.55 V, 1 of 2", "check-up 3", "hold 4.55 V, 2 of 2", "check-up 4",
    ]  # fmt: skip
    assert run.start["potential_reference"] == "vs Li/Li+"
    assert [held["terminal_V"] for held in run.start["held_potentials"]] == pytest.approx([3.63, 3.93])
    assert [held["check_ups"][0] for held in run.start["held_potentials"]] == ["check-up 0", "check-up 2"]
    values = {name: value.value for name, value in result.results.items()}
    assert values["leakage_current_4.55V"] > 1.0 > values["leakage_current_4.25V"]
    increase = result.results["leakage_increase_4.55V"]
    assert increase.value > 1.0 > increase.uncertainty
    assert values["capacity_retention_4.25V"] > values["capacity_retention_4.55V"]
    whole = values["capacity_retention_4.25V"] * values["capacity_retention_4.55V"]
    assert values["capacity_retention"] == pytest.approx(whole, rel=1e-6)
    stored = figures_of_merit(run_data(session.db[result.uids[0]]))
    assert {name: value.value for name, value in stored.items()} == pytest.approx(values)


def test_a_hold_is_one_upload_with_records_that_become_sparser(session):
    result = floated(session, potential="3.63 V vs In-Li", hold="12 h", log_every="10 min")
    run = CellRun(session.run_data(result.uids[0]))
    assert run.start["potential_reference"] == "vs In-Li"
    assert [held["terminal_V"] for held in run.start["held_potentials"]] == [3.63]
    marks = run.run.streams["steps"]["steps_section"].values.tolist()
    assert marks == ["check-up 0", "hold 3.63 V", "check-up 1"]
    time_s, current_A = hold_current(run, "hold 3.63 V")
    for begin_s, end_s, interval_s in ((0, 60, 1), (60, 600, 10), (600, 7200, 60), (7200, 43200, 600)):
        during = time_s[(time_s >= begin_s) & (time_s <= end_s)]
        assert np.median(np.diff(during)) == pytest.approx(interval_s, rel=0.01)
    assert (current_A > 0.0).all()
    assert (np.diff(current_A) < 1e-6).all()  # of 8 mA: no transient where the interval changes
    voltage_V = np.concatenate([step.voltage_V for step in run.section("hold 3.63 V") if step.kind == "hold"])
    assert np.abs(voltage_V[1:] - 3.63).max() < 1e-3


def test_a_full_cell_is_held_at_its_voltage_with_spectra_before_and_after(session):
    result = floated(
        session, "std-3e-01", potential="4.1 V", hold="30 min", rate="2C", rest="5 min", log_every="60 s"
    )
    run = CellRun(session.run_data(result.uids[0]))
    assert run.start["potential_reference"] == "between the terminals"
    assert [spectrum.section for spectrum in run.spectra if spectrum.verdict != "repeat"] == [
        "check-up 0",
        "check-up 1",
    ]
    change, after = (result.results[name] for name in ("resistance_change_4.1V", "reaction_resistance_4.1V"))
    assert change.unit == after.unit == "ohm"
    assert abs(change.value) < 0.1 * after.value  # nothing happens to it in half an hour
    assert 0.99 < result.results["capacity_retention"].value < 1.01
    held = [step for step in run.section("hold 4.1 V") if step.kind == "hold"]
    assert len(held) == 1  # a potentiostat's cell would be off between two
    assert held[0].voltage_V == pytest.approx(4.1, abs=2e-3)


def test_a_negative_electrode_is_held_at_its_lower_end(session):
    result = floated(
        session,
        "si-50nm-01",
        potential="0.05 V",
        discharge_to="1 V",
        hold="30 min",
        rate="2C",
        log_every="60 s",
    )
    run = CellRun(session.run_data(result.uids[0]))
    assert [held["terminal_V"] for held in run.start["held_potentials"]] == pytest.approx([-0.57])
    time_s, current_A = hold_current(run, "hold 0.05 V")
    assert (current_A < 0.0).all()  # lithium goes on going in
    assert time_s[-1] == pytest.approx(1800, abs=2)


@pytest.mark.parametrize(
    ("sample", "how", "said"),
    [
        (SAMPLE, {"potential": "4.7 V"}, "is above voltage < 4 V of sample ncm-in-li-01"),
        (SAMPLE, {"potential": "4.25 V, 4.25 V"}, "potential: 4.25 V is there twice"),
        (SAMPLE, {"potential": "4.25 V, 3.9 V vs In-Li"}, "4.25 V vs Li/Li+ and 3.9 V vs In-Li: write all"),
        (
            SAMPLE,
            {"potential": "4.25 V", "spectra": "yes"},
            "ch_18 is a cycler channel: it needs a potentiostat",
        ),
        (SAMPLE, {"potential": "4.25 V", "hold": "5 min"}, "hold"),
        ("std-01", {"potential": "4.1 V vs Li/Li+"}, "add 'reference: ...' to the sample's record"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_moves(session, sample, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(floating_test(session.samples[sample], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_in_the_middle_of_a_hold_leaves_what_came_until_then(session):
    def watch(name, doc):
        if name == "event_page" and np.size(doc["data"].get("ch_18_step", [])) and held_so_far():
            session.RE.unsubscribe(token)
            session.end("the building is closed")

    def held_so_far():
        channel = session.devices["ch_18"]
        return (
            len(channel.running_task().steps) > 4 and channel.step.get() == 4 if channel.measuring else False
        )

    token = session.RE.subscribe(watch)
    plan = floating_test(session.samples[SAMPLE], **{**COARSE, "potential": "4.55 V", "hold": "1 d"})
    result = session.run(plan)
    assert (result.exit_status, result.reason) == ("abort", "the building is closed")
    assert not session.devices["ch_18"].read_now(fresh=True).running
    assert hidden(session).current_A == 0.0
    assert "discharge_capacity" in result.results  # of check-up 0
    assert "capacity_retention" not in result.results
    # A hold that was broken off still settles: its current is no leakage yet.
    assert not {"leakage_current_4.55V", "hold_charge_4.55V"} & set(result.results)
