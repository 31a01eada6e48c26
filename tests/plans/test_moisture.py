"""The moisture exposure on the simulated laboratory: results against the hidden truth, and every bad end."""

import re
import threading

import pytest
from event_model import unpack_event_page

from plans.moisture import moisture_exposure
from ssblab.documents import read_journal
from ssblab.quantities import BadInput
from ssblab.session import open_session

SHORT = {"exposure": "10 min", "purge": "2 min", "soak": "5 min", "ramp": "20 K/min"}
MIDDLE_OF = {  # a stream that is being recorded -> seconds after its first event
    "conditioning": 120,
    "exposure": 200,
    "heating": 400,
}


@pytest.fixture
def session(tmp_path):
    with open_session("sim", data=tmp_path) as session:
        yield session
        session._filing.catch_up = lambda: True  # takes seconds, and no test looks any more


def room_of(session):
    """The hidden truth."""
    return session.laboratory.things["room"]


def assert_safe(session):
    """The simulated instruments themselves are in the safe state."""
    room, instruments = room_of(session).advance(), session.laboratory.instruments
    assert room.relays == [False] * 6  # dehumidifiers, bleed, vessel valve, pump off; the purge valve is open
    assert instruments["furnace"].output_fraction == 0
    assert room.flow_setpoint_mL_min == 0
    assert not instruments["potentiostat"].cell_is_on


def during(session, stream, act):
    """Do something to the laboratory while a stream is being recorded."""

    def watch(name, doc):
        if name == "descriptor" and doc["name"] == stream:
            session.clock.call_later(MIDDLE_OF[stream], act)

    session.RE.subscribe(watch)


@pytest.mark.parametrize(
    ("name", "recovery"),
    [
        pytest.param("argyrodite-01", 0.52, id="GT-03 argyrodite, 170 degC"),
        pytest.param("lps-lii-01", 0.80, id="GT-04 Li3PS4-LiI, 100 degC"),
    ],
)
@pytest.mark.ground_truth
def test_recovery_and_what_was_measured_on_the_way(session, name, recovery):
    result = session.run(moisture_exposure(session.samples[name]))
    assert (result.exit_status, result.reason) == ("success", "")
    values = {key: value.value for key, value in result.results.items()}
    sigma = {key: value.uncertainty for key, value in result.results.items()}
    assert values["recovery_of_added_resistance"] == pytest.approx(recovery, abs=0.03)

    truth = room_of(session).electrolyte
    sample = session.samples[name]
    conductivity = sample.thickness_mm / 10 / (truth.total_resistance_ohm(30.0) * sample.area_cm2)
    assert values["conductivity_heated"] == pytest.approx(conductivity, rel=0.02)
    assert values["conductivity_before"] > values["conductivity_heated"] > values["conductivity_after"]
    released_cm3_g = truth.h2s_released_mol * 24465.4 / sample.mass_g
    assert abs(values["h2s_total"] - released_cm3_g) < 3 * sigma["h2s_total"]
    assert values["h2s_total"] == pytest.approx(released_cm3_g, rel=0.05)
    of_sulfur = 100 * truth.h2s_released_mol / truth.sulfur_mol
    assert values["h2s_total_of_sulfur"] == pytest.approx(of_sulfur, rel=0.05)
    assert truth.water_taken_mol < values["water_dose"]
    assert values["exposure_time_in_band"] == pytest.approx(7200, abs=20)
    assert values["dew_point_share_in_band"] > 0.99
    assert values["dew_point_rms_error"] < 2
    for value in result.results.values():
        assert value.unit
        assert value.definition
    assert_safe(session)
    assert session.run_data(result.uids[0]).stop["exit_status"] == "success"


def test_two_runs_are_identical_to_the_last_bit(tmp_path):
    def recorded(folder):
        with open_session("sim", data=folder) as session:
            session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
            session._filing.catch_up = lambda: True
        (journal,) = (folder / "journals").glob("*.jsonl")
        documents = list(read_journal(journal))
        begin = documents[0][1]["time"]
        events = [doc for name, doc in documents if name == "event"]
        relative = [{k: t - begin for k, t in doc["timestamps"].items()} for doc in events]
        return [(repr(doc["data"]), doc["time"] - begin) for doc in events], relative

    assert recorded(tmp_path / "first") == recorded(tmp_path / "second")


@pytest.mark.parametrize(
    ("limit", "figure", "factor"),
    [
        pytest.param({"stop_at_water_dose": "0.1 mmol"}, "water_dose", 1e3, id="water dose"),
        pytest.param({"stop_at_h2s_total": "0.02 cm3/g"}, "h2s_total", 1.0, id="H2S total"),
    ],
)
def test_exposure_ends_at_a_dose(session, limit, figure, factor):
    result = session.run(
        moisture_exposure(session.samples["argyrodite-01"], **{**SHORT, "exposure": "2 h"}, **limit)
    )
    wanted = float(next(iter(limit.values())).split()[0])
    assert result.exit_status == "success"
    assert factor * result.results[figure].value == pytest.approx(wanted, rel=0.25)
    assert result.results["exposure_time_in_band"].value < 1800


def test_the_runengine_itself_runs_it(session):
    (uid,) = session.RE(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    run = session.db[uid]
    assert run.stop["exit_status"] == "success"
    assert set(run.stream_names) == {
        "impedance_before", "conditioning", "zero", "exposure", "purge", "impedance_after", "heating",
        "impedance_heated", "safe_state", "environment", "baseline", "timing",
    }  # fmt: skip
    table = run.table("exposure")
    assert len(table) >= 60
    start = run.start
    assert start["sample"]["name"] == "argyrodite-01"
    assert start["arguments"]["dew_point"] == "-20 degC"
    assert start["arguments"]["heating"] == "170 degC"
    (journal,) = (session.data_dir / "journals").glob("*.jsonl")
    assert [dict(doc) for _, doc in run.documents()] == list(unpacked(read_journal(journal)))


def unpacked(documents):
    """Documents with each event by itself, as databroker's users get them."""
    for name, doc in documents:
        yield from unpack_event_page(doc) if name == "event_page" else [doc]


def alarm(session):
    room_of(session).room_h2s_ppm = 50.0


def silent_transmitter(session):
    session.laboratory.instruments["dew_point"].break_wire("silent", times=None)


def broken_flow_controller(session):
    session.laboratory.instruments["mfc"].extra_status = "TMF"


def lost_vacuum(session):
    room_of(session).vacuum.leak_conductance_m3_s = 1.0


def broken_thermocouple(session):
    session.laboratory.instruments["furnace"].sensor_broken = True


def ctrl_c(session):
    session.end("interrupted by SIGINT")


@pytest.mark.parametrize(
    ("fault", "stream", "status", "reason"),
    [
        pytest.param(alarm, "exposure", "abort", "interlock room_h2s", id="room alarm in exposure"),
        pytest.param(alarm, "heating", "abort", "interlock room_h2s", id="room alarm in heating"),
        pytest.param(
            silent_transmitter, "conditioning", "fail", "dew_point at TCPIP", id="transmitter, conditioning"
        ),
        pytest.param(
            silent_transmitter, "exposure", "fail", "dew_point at TCPIP", id="transmitter, exposure"
        ),
        pytest.param(
            broken_flow_controller, "exposure", "fail", "mfc at .*reports TMF", id="flow controller"
        ),
        pytest.param(lost_vacuum, "heating", "fail", "gauge: .* while heating", id="vacuum lost"),
        pytest.param(broken_thermocouple, "heating", "fail", "furnace", id="thermocouple"),
        pytest.param(ctrl_c, "conditioning", "abort", "interrupted by SIGINT", id="Ctrl-C in conditioning"),
        pytest.param(ctrl_c, "exposure", "abort", "interrupted by SIGINT", id="Ctrl-C in exposure"),
        pytest.param(ctrl_c, "heating", "abort", "interrupted by SIGINT", id="Ctrl-C in heating"),
    ],
)
def test_every_bad_end_is_safe_and_recorded(session, fault, stream, status, reason):
    during(session, stream, lambda: fault(session))
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == status
    assert_safe(session)
    run = session.run_data(result.uids[0])
    assert run.stop["exit_status"] == status
    assert re.search(reason, run.stop["reason"])
    assert 0 < run.streams[stream].sizes["time"] == run.stop["num_events"][stream]
    state = run.streams["safe_state"].isel(time=-1)
    assert state["safe_state_confirmed"] == state["safe_state_steps"]
    assert result.interrupted == (fault is ctrl_c)


def test_an_oven_that_does_not_reach_its_vacuum_is_not_heated(session):
    lost_vacuum(session)
    hottest = []
    during(session, "heating", lambda: hottest.append(room_of(session).furnace.temperature_C))
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == "fail"
    assert "heating was not started" in result.reason
    assert max(hottest) < 40
    assert "conductivity_after" in result.results
    assert "recovery_of_added_resistance" not in result.results
    assert_safe(session)


@pytest.mark.parametrize("stream", ["conditioning", "exposure", "heating"])
def test_a_run_that_was_paused_goes_on(session, stream):
    def pause():
        threading.Thread(target=session.RE.request_pause).start()  # which waits for the loop

    during(session, stream, pause)
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == "paused"
    (uid,) = session.RE.resume()
    run = session.run_data(uid)
    assert run.stop["exit_status"] == "success"
    exposure = run.streams["exposure"]
    assert list(exposure["seq_num"]) == list(range(1, exposure.sizes["time"] + 1))
    assert set(exposure["vessel_mode"].values) == {"exposed"}
    assert set(run.streams["heating"]["vessel_mode"].values) == {"evacuated"}
    assert_safe(session)


def test_a_paused_run_that_is_given_up_is_safe(session):
    during(session, "heating", threading.Thread(target=session.RE.request_pause).start)
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert session.laboratory.instruments["furnace"].output_fraction > 0  # a pause holds what was told
    session.RE.abort("given up")
    assert session.run_data(result.uids[0]).stop["exit_status"] == "abort"
    assert_safe(session)


def test_a_second_run_does_not_take_the_first_ones_readings_for_its_own(session):
    for _ in range(2):
        result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
        assert result.exit_status == "success"
        heating = session.run_data(result.uids[0]).streams["heating"]
        pressure, cold = heating["gauge_pressure"].values, heating["furnace_temperature"].values < 35
        assert pressure[~cold].max() < 200
        assert pressure[0] > 1000  # pumping was recorded, and waited for


def test_an_under_range_gauge_does_not_count_as_vacuum(session):
    def discharge_fails():
        room_of(session).vacuum.pressure_Pa = 1e-7
        room_of(session).vacuum.ultimate_pressure_Pa = 1e-8
        room_of(session).vacuum.outgassing_Pa_m3_s = 0.0
        room_of(session).vacuum.leak_conductance_m3_s = 0.0

    during(session, "heating", discharge_fails)
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == "fail"
    assert "saturated" in result.reason
    assert_safe(session)


def test_time_without_flow_does_not_count_as_exposure(session):
    during(
        session,
        "exposure",
        lambda: setattr(room_of(session).mass_flow, "full_scale_mol_s", 0.0),
    )
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == "fail"
    assert "flow at 500 mL/min for" in result.reason
    assert_safe(session)


def test_a_sensor_that_is_not_ready_keeps_the_sample_from_being_exposed(session):
    session.devices.h2s._warm_up_s = 1e9
    result = session.run(moisture_exposure(session.samples["argyrodite-01"], **SHORT))
    assert result.exit_status == "fail"
    assert "The sample was not exposed" in result.reason
    assert room_of(session).electrolyte.h2s_released_mol < 1e-7  # the purge gas is not quite dry


def test_a_ramp_outside_the_furnaces_limits_is_told_before_anything_moves(session):
    session.devices.furnace.ramp_rate.narrow(0.1, 8.0)
    with pytest.raises(BadInput, match=r"furnace_ramp_rate: 20.* K/min is not allowed"):
        session.run(moisture_exposure(session.samples["argyrodite-01"], ramp="20 K/min"))


def test_nothing_starts_while_the_room_alarm_is_on(session):
    alarm(session)
    result = session.run(moisture_exposure(session.samples["argyrodite-01"]))
    assert result.exit_status == "fail"
    assert "interlock room_h2s" in result.reason
    assert result.uids == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dew_point": "-60 degC"}, r"dew_point='-60 degC'.*at least -50 degC"),
        ({"dew_point": "-5 degC"}, r"at most -10 degC"),
        ({"dew_point": -20}, "has no unit"),
        ({"dew_point": "-20 mL"}, "not a unit of the quantity"),
        ({"exposure": "-2 h"}, "at least 60 s"),
        ({"exposure": "nan h"}, "exposure"),
        ({"expose": "2 h"}, "has no argument 'expose': did you mean exposure"),
        ({"flow": "5 L"}, "flow='5 L'"),
        (
            {"flow": "5 L", "dew_point": "-60 degC", "colour": "red"},
            r"(?s)colour.*dew_point.*flow|colour.*flow",
        ),
    ],
)
def test_bad_arguments_are_told_at_once(session, arguments, message):
    with pytest.raises(BadInput, match=message):
        moisture_exposure(session.samples["argyrodite-01"], **arguments)


def test_a_setting_outside_the_stations_limits_is_told_before_anything_moves(session):
    with pytest.raises(BadInput, match=r"mfc_flow_setpoint: 5000.* mL/min is not allowed"):
        session.run(moisture_exposure(session.samples["argyrodite-01"], flow="5 L/min"))
    assert session.laboratory.instruments["relays"].transitions == []


def test_a_sample_without_heating_temperature_is_refused(session):
    sample = session.samples["argyrodite-01"].model_copy(update={"vacuum_heating_C": None})
    with pytest.raises(BadInput, match="add it to the sample in the station file"):
        session.run(moisture_exposure(sample))
