"""The bonding study at the bench: what is said of the three bond levels comes out of the instruments."""

import math

import pytest

from plans.bonding import bonding_campaign
from ssblab.quantities import BadInput
from ssblab.reports.pictures import drawings
from ssblab.results import MEMBER_KEY, figures_of_merit

LEVELS = ("a", "b", "c")
FAST = {
    "rate": "0.5C", "cycles": 1, "pulse_rates": "0.2C, 0.5C", "frequency_to": "1 Hz", "charge_rates": "6C",
    "watch": "20 min", "rest": "15 min", "log_every": "5 min",
}  # fmt: skip


def cells(session):
    return [session.samples[f"bond-{level}-01"] for level in LEVELS]


@pytest.fixture(scope="module")
def campaign(session):
    """The result of a campaign over all levels."""
    result = session.run(bonding_campaign(cells(session), **FAST))
    assert result.exit_status == "success", result.reason
    return result


def by_level(result, name):
    return [result.results[f"{name}_{level}"].value for level in LEVELS]


@pytest.mark.ground_truth("GT-07")
def test_slow_cycles_show_no_difference(campaign, record_property):
    """Bond levels (a), (b), (c) measured at the bench have the same capacity in slow cycles."""
    a, b, c = by_level(campaign, "discharge_capacity")
    record_property("gives", f"(a) {a:.3g} mAh, (b) {b / a:.1%}, (c) {c / a:.1%} of it")
    assert [b, c] == pytest.approx([a, a], rel=0.03)


@pytest.mark.ground_truth("GT-08")
def test_what_is_not_bonded_resists(campaign, record_property):
    """10 s pulses at the bench: (b) about 2 times, (c) about 1.3 times the resistance of (a)."""
    b, c = (campaign.results[f"dc_resistance_10s_{level}_over_a"].value for level in "bc")
    record_property("gives", f"(b) {b:.3g} times, (c) {c:.3g} times")
    assert 1.9 <= b <= 2.1
    assert 1.25 <= c <= 1.35


@pytest.mark.ground_truth("GT-09")
def test_between_particles_only_b_resists(campaign, record_property):
    """Of the spectra at the bench only that of (b) has a large arc between 100 kHz and 1 MHz."""
    a, b, c = by_level(campaign, "arc_resistance_100kHz_1MHz")
    record_property("gives", f"(a) {a:.1g} ohm, (b) {b:.3g} ohm, (c) {c:.1g} ohm")
    assert b > 10.0 * max(a, c)
    assert by_level(campaign, "flagged_spectra") == [0.0, 0.0, 0.0]


@pytest.mark.ground_truth("GT-10")
def test_charged_fast_b_loses_capacity_and_c_shorts_below_0_V(session, campaign, record_property):
    """Charged at 6C at the bench, (b) loses capacity; (c) alone shorts, its negative electrode below 0 V."""
    a, b = (campaign.results[f"relative_charge_capacity_6C_{level}"].value for level in "ab")
    assert b < 0.85 * a
    # What passed in a charge that made a short has charged nothing.
    assert not {"charge_capacity_6C_c", "relative_charge_capacity_6C_c"} & set(campaign.results)
    assert by_level(campaign, "short") == [0.0, 0.0, 1.0]
    lowest_V = by_level(campaign, "negative_potential_min_6C")
    record_property(
        "gives",
        f"6C charges (a) to {a:.1%}, (b) to {b:.1%}; negative electrode at the least "
        + ", ".join(f"({level}) {1e3 * V:.3g} mV" for level, V in zip(LEVELS, lowest_V, strict=True)),
    )
    assert lowest_V[2] <= 0.0 < min(lowest_V[:2])
    shorted = [session.laboratory._lasting[sample.name].shorted for sample in cells(session)]
    assert shorted == [False, False, True]  # the hidden truth


def test_each_cell_has_a_run_of_its_own(session, campaign):
    whole, *members = [session.run_data(uid) for uid in campaign.uids]
    assert whole.start["samples"] == [sample.name for sample in cells(session)]
    assert [run.start["sample"]["bond_level"] for run in members] == list(LEVELS)
    assert {run.start[MEMBER_KEY] for run in members} == {whole.start["uid"]}
    assert whole.streams["members"]["members_run"].values.tolist() == list(campaign.uids[1:])
    ends = [run.stop["time"] for run in members]
    begins = [run.start["time"] for run in members]
    assert all(begin >= end for begin, end in zip(begins[1:], ends[:-1], strict=True))


def test_the_levels_are_drawn_beside_each_other(session, campaign):
    whole = session.run_data(campaign.uids[0])
    (picture,) = drawings(whole, session.run_data, list(campaign.results.values()))
    assert (picture.name, bool(picture.svg)) == ("levels", True)
    assert "the fastest charge of each cell" in picture.caption


def test_results_are_the_same_from_stored_runs(session, campaign):
    related = session.run_data
    again = figures_of_merit(related(campaign.uids[0]), related)
    assert again.keys() == campaign.results.keys()
    for name, value in again.items():
        assert value.value == pytest.approx(campaign.results[name].value, nan_ok=True)
    alone = figures_of_merit(related(campaign.uids[2]))
    assert alone["dc_resistance_10s"].value == campaign.results["dc_resistance_10s_b"].value
    assert alone["constraint_over_bonding_pressure"].value == pytest.approx(0.02)
    with pytest.raises(ValueError, match="several runs"):
        figures_of_merit(related(campaign.uids[0]))
    assert not math.isnan(alone["discharge_capacity"].uncertainty)


@pytest.mark.parametrize(
    ("names", "how", "said"),
    [
        (
            ["bond-a-01", "std-3e-01"],
            {},
            "sample std-3e-01: add bond_level, bonding_pressure_MPa to its record",
        ),
        (["bond-a-01", "bond-a-01"], {}, "sample bond-a-01 is there twice"),
        (
            ["bond-a-01"],
            {"charge_rates": "6C, 2C"},
            "charge_rates=6C, 2C: write each once, the slowest first",
        ),
        (["bond-a-01"], {"charge_rates": "20C"}, "0.16 A is above current < 0.06 A of sample bond-a-01"),
    ],
)
def test_what_is_missing_or_too_much_is_refused_before_anything_moves(session, names, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(bonding_campaign([session.samples[name] for name in names], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_in_a_cell_ends_all_and_says_which_had_begun(session):
    def watch(name, doc):
        if name == "event" and doc["data"].get("steps_section"):
            session.RE.unsubscribe(token)
            session.end("the bench is needed")

    token = session.RE.subscribe(watch)
    result = session.run(bonding_campaign(cells(session)[:2], **FAST))
    assert (result.exit_status, result.reason) == ("abort", "the bench is needed")
    whole, *cells_ = [session.run_data(uid) for uid in result.uids]
    assert [run.start["sample"]["name"] for run in cells_] == ["bond-a-01"]
    assert [run.stop["exit_status"] for run in (whole, *cells_)] == ["abort", "abort"]
    assert whole.streams["members"]["members_exit_status"].values.tolist() == ["abort"]
    assert session.laboratory._lasting["bond-a-01"].current_A == 0.0
