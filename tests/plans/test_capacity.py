"""Capacities of cells of the station `cells`, through the real drivers, against the hidden truth."""

import pytest

from plans.capacity import capacity_check, conditioning, cycle, rate_capability
from plans.cell_figures import CellRun
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit


def done(session, plan):
    """Results of a plan that has to succeed."""
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result


def hidden(session, sample):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


def test_the_capacity_is_the_hidden_one_and_the_same_from_the_catalog(session):
    result = done(session, capacity_check(session.samples["std-01"], rate="0.5C", log_every="5 min"))
    true_mAh = 1e3 * hidden(session, "std-01").capacity_Ah
    measured = result.results["discharge_capacity"]
    assert measured.unit == "mAh"
    assert measured.value == pytest.approx(true_mAh, rel=0.05)  # at C/2, from the first full charge
    stored = run_data(session.db[result.uids[0]])
    assert figures_of_merit(stored)["discharge_capacity"] == measured
    assert {"primary", "steps", "environment", "baseline"} <= set(stored.streams)
    assert stored.start["sample"]["name"] == "std-01"
    assert stored.start["lot_id"] == "gen-1-2.1-a"


def test_on_a_potentiostat_the_capacity_is_that_of_the_last_cycle_too(session):
    """Its cycles were added up once: two gave double the capacity."""
    how = {"rate": "1C", "rest": "5 min", "log_every": "5 min"}
    results = done(session, capacity_check(session.samples["std-3e-01"], cycles=2, **how)).results
    assert 0.7 < results["discharge_capacity"].value / (1e3 * hidden(session, "std-3e-01").capacity_Ah) < 1.01
    assert results["coulombic_efficiency"].value == pytest.approx(1.0, abs=0.01)
    cycled = cycle(session.samples["std-3e-01"], cycles=3, check_every=3, check_rate="1C", **how)
    results = done(session, cycled).results
    assert abs(results["fade_per_cycle"].value) < 0.01
    assert results["discharge_capacity_last_cycle"].value == pytest.approx(
        results["discharge_capacity_first_cycle"].value, rel=0.02
    )
    formed = done(session, conditioning(session.samples["std-3e-01"], cycles=2, watch="1 h", **how)).results
    assert formed["discharge_capacity"].value == pytest.approx(results["discharge_capacity"].value, rel=0.02)
    assert {"open_circuit_decay", "micro_short"} <= set(formed)


def test_it_remembers_what_was_done_to_the_cell(session):
    first = done(
        session, capacity_check(session.samples["std-02"], rate="1C", rest="1 min", log_every="10 min")
    )
    passed_Ah = hidden(session, "std-02").charge_Ah
    assert abs(passed_Ah) > 1e-4
    done(session, capacity_check(session.samples["std-02"], rate="1C", rest="1 min", log_every="10 min"))
    again = hidden(session, "std-02").charge_Ah
    assert again == pytest.approx(passed_Ah, abs=0.05 * first.results["discharge_capacity"].value / 1e3)


def test_six_c_charges_a_good_share(session):
    rates = rate_capability(
        session.samples["std-03"], rates="0.5C, 6C", slow_rate="1C", rest="10 min", log_every="20 s"
    )
    results = done(session, rates).results
    assert results["relative_charge_capacity_0.5C"].value == 1.0
    assert 0.5 < results["relative_charge_capacity_6C"].value < 0.95
    stored, charged = (results[name].value for name in ("stored_charge_capacity_6C", "charge_capacity_6C"))
    assert stored == pytest.approx(charged, rel=0.02)
    # The rate at which it is 80 % is between both, if it is less at the fast one.
    at_80_percent, share = results["rate_at_80_percent"], results["relative_charge_capacity_6C"].value
    assert (0.5 < at_80_percent.value < 6.0) == (share < 0.8)
    assert at_80_percent.unit == "1/h"


def test_cycling_is_checked_before_between_and_after(session):
    plan = cycle(
        session.samples["std-04"], rate="2C", cycles=4, check_every=2, check_rate="1C", rest="1 min",
        log_every="2 min",
    )  # fmt: skip
    result = done(session, plan)
    assert result.results["capacity_retention"].value == pytest.approx(1.0, abs=0.02)
    assert result.results["capacity_retention"].unit == "1"
    sections = session.run_data(result.uids[0]).streams["steps"]["steps_section"].values.tolist()
    assert sections == ["check-up 0", "cycling 1", "check-up 1", "cycling 2", "check-up 2"]


def test_a_check_up_that_was_ended_from_outside_does_not_count(session):
    """What had come out of the cell until then was once the last capacity, and the retention."""
    discharges = 0

    def watch(name, doc):
        nonlocal discharges
        for kind in doc["data"].get("ch_8_kind", ()) if name == "event_page" else ():
            if kind != watch.before:
                watch.before = kind
                discharges += "discharge" in str(kind)
                if discharges == 4:  # of check-up 0, cycling 1 (2 cycles), check-up 1
                    session.clock.call_later(600.0, lambda: session.end("enough"))

    watch.before = None
    token = session.RE.subscribe(watch)
    plan = cycle(
        session.samples["std-08"], rate="2C", cycles=2, check_every=2, check_rate="1C", rest="1 min",
        log_every="1 min",
    )  # fmt: skip
    result = session.run(plan)
    session.RE.unsubscribe(token)
    assert (result.exit_status, discharges) == ("abort", 4)
    found = figures_of_merit(session.run_data(result.uids[0]))
    assert "capacity_retention" not in found
    true_mAh = 1e3 * hidden(session, "std-08").capacity_Ah
    assert found["discharge_capacity"].value == pytest.approx(true_mAh, rel=0.15)
    assert "discharge_capacity_last_cycle" in found


def test_a_silicon_half_cell_is_charged_by_lithiation(session):
    sample = session.samples["si-50nm-01"]
    plan = capacity_check(
        sample, rate="0.2C", cut_off="0.05C", charge_to="0 V vs Li/Li+", discharge_to="1 V vs Li/Li+",
        log_every="10 min", rest="10 min",
    )  # fmt: skip
    result = done(session, plan)
    specific = result.results["specific_discharge_capacity"]
    assert specific.unit == "mAh/g"
    assert 2000.0 < specific.value < 3600.0
    run = session.run_data(result.uids[0])
    channel = run.start["devices"]["channel"]
    voltage = run.streams["primary"][f"{channel}_voltage"].values
    assert voltage.min() == pytest.approx(-0.62, abs=0.01)


def test_conditioning_finds_a_micro_short(session):
    how = {"rate": "1C", "cycles": 1, "watch": "6 h", "log_every": "5 min"}
    sound = done(session, conditioning(session.samples["std-05"], **how)).results
    assert sound["micro_short"].value == 0
    shorted = next(
        name
        for name, record in session.station.simulated.samples.items()
        if record.options.get("micro_short_S") and session.samples[name].lot_id == "gen-1-2.1-b"
    )
    bad = done(session, conditioning(session.samples[shorted], **how)).results
    assert bad["micro_short"].value == 2
    assert bad["open_circuit_decay"].value > 5 * abs(sound["open_circuit_decay"].value)


def test_a_cell_that_holds_less_than_it_is_charged_to_stays_within_its_limits(session):
    """It once went on until the protection of the cycler ended the program as failed."""
    how = {"rate": "3C", "cycles": 1, "rest": "1 min", "watch": "1 h", "log_every": "1 min"}
    result = done(session, conditioning(session.samples["std-09"], state_of_charge="100 %", **how))
    charge, _ = CellRun(session.run_data(result.uids[0])).section("state of charge")
    assert charge.passed_mAh < 7.9
    assert charge.last_voltage_V == pytest.approx(4.2, abs=0.005)
    assert "micro_short" in result.results


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"decay_reject": "0.05 mV/h"},
            ["decay_suspect=0.1 mV/h is above decay_reject=0.05 mV/h"],
        ),
        (
            {"efficiency_suspect": "95 %", "decay_suspect": "0.6 mV/h"},
            ["decay_suspect=0.6 mV/h", "efficiency_suspect=95 % is below efficiency_reject=98 %"],
        ),
    ],
)
def test_limits_that_turn_round_are_refused_before_anything_moves(session, how, said):
    """They once turned round which side is bad: 5 mV/h passed."""
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(conditioning(session.samples["std-06"], **how))
    assert all(text in str(raised.value) for text in said)
    assert session._filing.position() == before


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"rate": "100C"}, "0.8 A is above current < 0.05 A of sample std-06"),
        ({"charge_to": "4.6 V"}, "4.6 V is above voltage < 4.2 V of sample std-06"),
        ({"temperature": "140 degC"}, "temperature=140 degC: chamber goes from"),
    ],
)
def test_what_the_sample_does_not_allow_is_refused_before_anything_moves(session, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(capacity_check(session.samples["std-06"], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_from_outside_leaves_the_channel_off_and_says_why(session):
    def watch(name, doc):
        if name == "event_page" and doc["data"].get("ch_7_kind"):
            session.RE.unsubscribe(token)
            session.end("the night is over")

    token = session.RE.subscribe(watch)
    result = session.run(capacity_check(session.samples["std-07"], rate="0.5C"))
    assert (result.exit_status, result.reason) == ("abort", "the night is over")
    assert not session.devices["ch_7"].read_now(fresh=True).running
    assert hidden(session, "std-07").current_A == 0.0
