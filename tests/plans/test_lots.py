"""Lots of cells of the station `cells`, all at once on their channels, against the hidden truth."""

import dataclasses

import numpy as np
import pytest

from plans.lots import lot_qualification
from plans.member_figures import members_of
from ssblab.catalog import run_data
from ssblab.cli.arguments import Call
from ssblab.clock import make_clock
from ssblab.quantities import BadInput
from ssblab.reports import write_report
from ssblab.reports.pictures import drawings
from ssblab.results import MEMBER_KEY, figures_of_merit
from ssblab.session import Session, open_session
from ssblab.station import load_station

FAST = {"rate": "1C", "rest": "5 min", "watch": "3 h", "log_every": "10 min"}
# A short watch can't tell small decays.
SHORT = {**FAST, "watch": "1 h", "decay_suspect": "1 mV/h", "decay_reject": "2 mV/h"}


@pytest.fixture(scope="module")
def session(cells_station, tmp_path_factory):
    """A session whose runs are journalled and not filed, which takes as long again for so many."""
    folder = tmp_path_factory.mktemp("lots")
    with Session(cells_station, folder, make_clock("virtual"), filed=False) as session:
        session.connect()
        yield session


def cells(session, *names):
    return [session.samples[name] for name in names]


def lot(session, lot_id):
    return [sample for sample in session.samples.values() if sample.lot_id == lot_id]


def hidden(session, sample):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


def ends(run):
    """How the cells of a lot ended, by name."""
    stream = run.streams["members"]
    keys = ("sample", "exit_status", "reason")
    rows = zip(*(stream[f"members_{key}"].values.tolist() for key in keys), strict=True)
    return {name: (status, reason) for name, status, reason in rows}


def channels_on(session):
    return [name for name, device in session.devices.items() if name.startswith("ch_") and device.measuring]


@pytest.mark.ground_truth("GT-18")
def test_the_cells_of_a_lot_are_alike(session, record_property):
    """17 cells of a lot, all at once on their channels, are within 3 % (at 1C)."""
    samples = lot(session, "gen-1-2.1-a")
    result = session.run(lot_qualification(samples, **SHORT))
    assert (result.exit_status, result.reason) == ("success", "")
    found = result.results
    farthest = found["discharge_capacity_deviation_max"]
    record_property("gives", f"largest deviation {farthest.value:.2f} %")
    assert found["discharge_capacity_count"].value == 17
    assert 0.1 < farthest.value <= 3.0
    assert farthest.unit == "%"
    assert found["within_spread_limit"].value == 1.0
    assert found["micro_shorts"].value == 0.0
    assert found["cells_rejected"].value == found["cells_not_judged"].value == 0.0
    assert found["yield"].value == found["cells_passed"].value / 17 >= 0.9
    # What was measured tells the cells apart as they are.
    true_Ah = [hidden(session, sample.name).capacity_Ah for sample in samples]
    measured_mAh = [found[f"discharge_capacity_{sample.name}"].value for sample in samples]
    assert np.corrcoef(true_Ah, measured_mAh)[0, 1] > 0.95

    whole = session.run_data(result.uids[0])
    assert set(ends(whole).values()) == {("success", "")}
    assert set(ends(whole)) == {sample.name for sample in samples}
    assert set(whole.streams["members"]["members_run"].values) == set(result.uids[1:])
    assert whole.start["lot_id"] == "gen-1-2.1-a"
    assert {"environment", "baseline", "safe_state"} <= set(whole.streams)


def test_it_is_the_same_from_the_catalog_and_has_a_page(cells_station, tmp_path):
    with open_session(cells_station, data=tmp_path) as session:
        result = session.run(lot_qualification(cells(session, "std-01", "std-02"), **SHORT))
        assert result.exit_status == "success"

        def stored(uid):
            return run_data(session.db[uid])

        assert figures_of_merit(stored(result.uids[0]), stored) == result.results
        page = write_report(stored(result.uids[0]), tmp_path / "lot.html", stored).read_text()
        assert "grade_std-02" in page
        assert "samples=std-01,std-02" in page
        assert "Last discharge of the formation of 2 cells" in page


def test_an_outlier_and_a_micro_short_are_found(session):
    names = [f"std-b-{number:02}" for number in (1, 5, 9, 11, 14, 15)]
    result = session.run(lot_qualification(cells(session, *names), **FAST))
    found = result.results
    assert (found["outliers"].value, found["outliers"].definition.rpartition(": ")[2]) == (1.0, "std-b-05")
    assert (found["micro_shorts"].value, found["micro_shorts"].definition[-8:]) == (1.0, "std-b-11")
    assert found["within_spread_limit"].value == 0.0
    assert (found["cells_passed"].value, found["cells_rejected"].value) == (4.0, 2.0)
    assert found["yield"].value == pytest.approx(4 / 6)
    assert "from the lot's median: reject" in found["grade_std-b-05"].definition
    assert "open circuit decay" in found["grade_std-b-11"].definition
    for uid in result.uids[1:]:
        member = session.run_data(uid)
        assert member.start[MEMBER_KEY] == result.uids[0]
        assert member.stop["exit_status"] == "success"
        assert "chamber" not in member.start["devices"]
        assert figures_of_merit(member)["discharge_capacity"].unit == "mAh"


def test_a_cell_without_figures_of_merit_does_not_take_the_others_along(session, caplog):
    samples = cells(session, "std-01", "std-02", "std-03")
    # That they are bonded does not make the lot a bonding study.
    samples = [sample.model_copy(update={"bond_level": "a"}) for sample in samples]
    result = session.run(lot_qualification(samples, **SHORT))
    broken = session.run_data(result.uids[2])

    def related(uid):
        run = session.run_data(uid)
        start = {key: value for key, value in run.start.items() if key != "voltage_accuracy_V"}
        return dataclasses.replace(run, start=start) if uid == broken.start["uid"] else run

    found = figures_of_merit(session.run_data(result.uids[0]), related)
    name = broken.start["sample"]["name"]
    assert found["discharge_capacity_count"].value == 2
    assert "no figures of merit: KeyError: 'voltage_accuracy_V'" in found["cells_not_judged"].definition
    assert f"of {name}: no figures of merit" in caplog.text
    (picture,) = drawings(session.run_data(result.uids[0]), session.run_data, list(result.results.values()))
    assert (picture.name, bool(picture.svg)) == ("lot", True)


def test_a_channel_that_fails_does_not_stop_the_rest(session):
    cycler = session.laboratory.instruments["cycler"]
    session.clock.call_later(3 * 3600.0, lambda: cycler.channels[1, 2].stop())
    result = session.run(lot_qualification(cells(session, "std-01", "std-02", "std-03"), **SHORT))
    assert result.exit_status == "success"
    whole = session.run_data(result.uids[0])
    told = ends(whole)
    assert told["std-01"] == told["std-03"] == ("success", "")
    status, reason = told["std-02"]
    assert status == "fail"
    assert "ended at the cycler" in reason
    members = {cell.name: cell.run for cell in members_of(whole, session.run_data)}
    assert members["std-02"].stop["exit_status"] == "fail"
    assert "ended at the cycler" in members["std-02"].stop["reason"]
    assert len(members["std-02"].streams["primary"]["time"]) > 0
    assert result.results["cells_not_judged"].value == 1.0
    assert "std-02" in result.results["cells_not_judged"].definition
    assert "grade_std-02" not in result.results
    assert result.results["discharge_capacity_count"].value == 2
    assert not channels_on(session)


def test_a_lot_of_which_no_cell_comes_to_its_end_has_failed(session):
    cycler = session.laboratory.instruments["cycler"]
    for number in (4, 5):
        session.clock.call_later(3 * 3600.0, lambda number=number: cycler.channels[1, number].stop())
    result = session.run(lot_qualification(cells(session, "std-04", "std-05"), **FAST))
    assert result.exit_status == "fail"
    assert result.reason.startswith("no cell of the lot came to its end: std-04: ")


def test_an_end_from_outside_ends_all_cells(session):
    session.clock.call_later(3 * 3600.0, lambda: session.end("the fire alarm rings"))
    result = session.run(lot_qualification(cells(session, "std-06", "std-07"), **FAST))
    assert (result.exit_status, result.reason) == ("abort", "the fire alarm rings")
    for uid in result.uids:
        stop = session.run_data(uid).stop
        assert (stop["exit_status"], stop["reason"]) == ("abort", "the fire alarm rings")
    assert {status for status, _ in ends(session.run_data(result.uids[0])).values()} == {"abort"}
    assert not channels_on(session)
    assert hidden(session, "std-06").current_A == hidden(session, "std-07").current_A == 0.0


@pytest.mark.parametrize(
    ("names", "how", "said"),
    [
        (("std-01",), {}, ["samples=std-01: a lot has two cells at least"]),
        (("std-01", "std-01"), {}, ["sample std-01 is there twice"]),
        (
            ("std-01", "std-b-02"),
            {},
            ["samples are of several lots (std-01 of gen-1-2.1-a, std-b-02 of gen-1-2.1-b)"],
        ),
        (
            ("std-01", "std-02"),
            {"rate": "100C"},
            [f"sample std-0{n}: the program can't be run" for n in (1, 2)],
        ),
        (("std-01", "std-02"), {"temperature": "140 degC"}, ["temperature=140 degC: chamber goes from"]),
        (("std-01", "std-02"), {"cycles": "1"}, ["cycles"]),
        (
            ("std-01", "std-02"),
            {"decay_reject": "0.05 mV/h"},
            ["decay_suspect=0.1 mV/h is above decay_reject"],
        ),
    ],
)
def test_what_is_no_lot_is_refused_before_anything_moves(session, names, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(lot_qualification(cells(session, *names), **how))
    assert all(text in str(raised.value) for text in said)
    assert session._filing.position() == before


def test_two_cells_at_one_channel_are_refused(session):
    one, other = cells(session, "std-01", "std-02")
    with pytest.raises(BadInput, match="samples std-01 and std-02 are at one channel, ch_1"):
        session.run(lot_qualification([one, other.model_copy(update={"devices": one.devices})]))


def test_cells_in_a_chamber_and_in_none_are_refused(session):
    one, other = cells(session, "std-01", "std-02")
    with pytest.raises(BadInput, match="the samples are in chamber and no chamber"):
        session.run(lot_qualification([one, other.model_copy(update={"devices": ("ch_2",)})]))


def test_on_the_command_line_a_lot_stands_for_its_samples():
    station = load_station("cells")
    Call("lot_qualification", ["samples=gen-1-2.1-a"], station)
    with pytest.raises(BadInput, match=r"no sample 'gen-1-2\.1-x'"):
        Call("lot_qualification", ["samples=gen-1-2.1-x"], station)
    with pytest.raises(BadInput, match=r"no sample 'gen-1-2\.1-a'"):
        Call("conditioning", ["sample=gen-1-2.1-a"], station)
