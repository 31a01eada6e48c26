"""Plans in the simulated laboratory of their station, before anybody commits a night to them."""

from pathlib import Path

import pytest

from plans.capacity import capacity_check
from plans.moisture import moisture_exposure
from ssblab.cli.arguments import Call
from ssblab.clock import VirtualClock
from ssblab.quantities import BadInput
from ssblab.rehearsal import check, check_all, rehearse
from ssblab.session import Session
from ssblab.station import Limits, StationError, load_station

FAST = {"rest": "1 min", "log_every": "2 min"}


@pytest.fixture(scope="module")
def cells():
    return load_station("cells")


def changed(station, **sections):
    return station.model_copy(update=sections)


def capacity(station, **arguments):
    """Maker of a plan that measures the capacity of std-01."""
    return lambda devices: capacity_check(station.samples["std-01"], **{"rate": "2C", **FAST, **arguments})


def shorted(station, siemens):
    """The station with a short in std-01."""
    simulated = station.simulated
    sample = simulated.samples["std-01"]
    sample = changed(sample, options={**sample.options, "micro_short_S": siemens})
    return changed(station, simulated=changed(simulated, samples={**simulated.samples, "std-01": sample}))


def at_addresses(station):
    """The station as a real one, with a simulated laboratory to rehearse in."""
    return changed(
        station,
        time="wall",
        devices={
            name: changed(record, address=record.address and "TCPIP::192.0.2.1::5025::SOCKET")
            for name, record in station.devices.items()
        },
    )


@pytest.fixture(scope="module")
def charged_and_discharged(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSBLAB_DATA", str(folder))
        rehearsal = rehearse(at_addresses(cells), capacity(cells))
    assert list(folder.iterdir()) == []  # nothing is kept
    return rehearsal


def test_a_good_plan_may_go(charged_and_discharged):
    rehearsal = charged_and_discharged
    assert (rehearsal.verdict, rehearsal.problems, rehearsal.remarks) == ("go", (), ())
    assert (rehearsal.plan, rehearsal.station, rehearsal.exit_status) == (
        "capacity_check",
        "cells",
        "success",
    )


def test_time_is_between_its_bounds(charged_and_discharged):
    rehearsal = charged_and_discharged
    (run,) = rehearsal.runs
    assert rehearsal.least_s == 2 * 60.0  # two rests
    assert rehearsal.least_s < run.duration_s < rehearsal.most_s
    assert run.duration_s == pytest.approx(rehearsal.duration_s, abs=1.0)
    # Each half has an hour at 2C; the chamber and the soak are as they were simulated.
    assert rehearsal.most_s == pytest.approx(2 * 3600.0 + 2 * 60.0 + 1800.0, rel=0.1)


def test_data_are_counted(charged_and_discharged):
    (run,) = charged_and_discharged.runs
    assert run.events["primary"] > 10
    assert charged_and_discharged.events == sum(run.events.values())
    assert charged_and_discharged.readings > 5 * charged_and_discharged.events
    assert 0.01 < charged_and_discharged.megabytes < 10


def test_charge_is_counted_in_either_direction(charged_and_discharged):
    (charge,) = charged_and_discharged.charges
    capacity = next(e for e in charged_and_discharged.extremes if e.quantity == "ch_1_capacity")
    assert (charge.sample, charge.device) == ("std-01", "ch_1")
    assert charge.negative_mAh == pytest.approx(1e3 * capacity.highest)  # the discharge is the longer one
    assert 0 < charge.positive_mAh < charge.negative_mAh


def test_extremes_say_when(charged_and_discharged):
    voltage = next(e for e in charged_and_discharged.extremes if e.quantity == "ch_1_voltage")
    assert voltage.unit == "V"
    assert (voltage.lowest, voltage.highest) == pytest.approx((2.5, 4.2), abs=0.01)
    assert 0 < voltage.highest_at_s < voltage.lowest_at_s < charged_and_discharged.duration_s


def test_limits_of_the_sample_are_touched_by_intention(charged_and_discharged):
    touched = {(one.quantity, one.limit): one for one in charged_and_discharged.touched}
    assert set(touched) == {("ch_1_voltage", 2.5), ("ch_1_voltage", 4.2)}
    assert all(one.source == "sample std-01" and not one.broken for one in touched.values())


def test_an_end_that_never_comes(cells):
    rehearsal = rehearse(
        shorted(cells, 4.4e-4), capacity(cells, rate="0.2C", discharge_to="2.9 V", log_every="10 min")
    )
    assert rehearsal.exit_status == "success"  # which is the trouble: it would take all night
    assert rehearsal.verdict == "no"
    (lost,) = rehearsal.unreached
    assert (lost.number, lost.wanted, lost.has_time) == ("1", "4.2 V", False)
    assert 2.5 < float(lost.found.removesuffix(" V")) < 4.1
    assert "Charge at C/5 until 4.2 V) does not reach 4.2 V" in rehearsal.problems[0]


def test_a_plan_that_breaks_down(cells):
    rehearsal = rehearse(shorted(cells, 6e-3), capacity(cells))  # takes more than the charge gives
    assert rehearsal.exit_status == "fail"
    assert rehearsal.verdict == "no"
    assert "protection" in rehearsal.problems[0]
    (broken,) = (one for one in rehearsal.touched if one.broken)
    assert (broken.quantity, broken.limit) == ("ch_1_voltage", 2.5)
    assert broken.value < 2.49


def test_a_limit_of_the_station_is_worth_a_look(cells):
    chamber = cells.devices["chamber"]
    limits = {**chamber.limits, "temperature_setpoint": Limits(low="-60 degC", high="25 degC")}
    near = changed(cells, devices={**cells.devices, "chamber": changed(chamber, limits=limits)})
    rehearsal = rehearse(near, capacity(cells, rate="6C"))
    assert rehearsal.verdict == "look"
    assert any("25 degC of chamber" in remark for remark in rehearsal.remarks)


def test_an_interlock_ends_it():
    station = load_station("sim")
    exposure = lambda devices: moisture_exposure(station.samples["argyrodite-01"])  # noqa: E731
    alarm = "interlock room_h2s: alarm"
    rehearsal = rehearse(
        station, exposure, opened=lambda session: session.clock.call_later(900.0, lambda: session.end(alarm))
    )
    assert rehearsal.problems == (f"it ends as abort: {alarm}",)


def test_an_exposure_is_no_program():
    station = load_station("sim")
    pellet = station.samples["argyrodite-01"]
    rehearsal = rehearse(
        station, lambda devices: moisture_exposure(pellet, exposure="10 min", soak="1 min", purge="1 min")
    )
    assert rehearsal.verdict == "go"
    assert (rehearsal.least_s, rehearsal.most_s) == (None, None)
    assert rehearsal.events > 100
    # Room air is no breach of what the box may be set to, -10 degC at most.
    dew_point = next(e for e in rehearsal.extremes if e.quantity == "box_dew_point")
    assert dew_point.highest > 0


def test_bad_input_is_told_as_by_a_run(cells):
    with pytest.raises(BadInput, match=r"4\.25 V is above voltage < 4\.2 V of sample std-01"):
        rehearse(cells, capacity(cells, charge_to="4.25 V"))


def test_a_station_without_a_simulated_laboratory_says_what_to_add():
    station = load_station("example")
    call = Call("moisture_exposure", ["sample=pellet-2026-031"], station)
    with pytest.raises(StationError, match="add a section `simulated` with an instrument of the same name"):
        rehearse(station, call.plan)
    assert check(station, call.plan).devices["furnace"] == "furnace"  # nobody is asked


def test_a_check_simulates_nothing(cells):
    checked = check(at_addresses(cells), capacity(cells, cycles="3"))
    assert (checked.plan, checked.devices) == ("capacity_check", {"channel": "ch_1", "chamber": "chamber"})
    assert (checked.shortest_s, checked.longest_s) == (3 * 120.0, 3 * (2 * 3600.0 + 120.0))
    assert checked.warnings == ()
    with pytest.raises(BadInput, match=r"above voltage < 4\.2 V"):
        check(cells, capacity(cells, charge_to="4.25 V"))


def test_several_are_checked_at_once(cells):
    checked = check_all(cells, [capacity(cells, cycles=str(count)) for count in (1, 2)])
    assert [one.shortest_s for one in checked] == [120.0, 240.0]
    with pytest.raises(BadInput):
        check_all(cells, [capacity(cells), capacity(cells, rate="20C")])


def test_the_simulated_laboratory_of_a_real_station_is_for_rehearsals_alone(cells, tmp_path):
    real = at_addresses(cells)
    assert (cells.is_real, cells.is_simulated) == (False, True)
    assert (real.is_real, real.is_simulated) == (True, False)
    with Session(real, Path(tmp_path), VirtualClock()) as session:
        assert session.laboratory is None
        assert session.devices["chamber"].link.address == "TCPIP::192.0.2.1::5025::SOCKET"
