"""Sessions on small simulated stations; time is virtual unless a test is about real time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import Msg
from bluesky.preprocessors import finalize_wrapper, run_wrapper

from plans.stubs import log, log_for, make_safe, plain_failures
from ssblab import packages
from ssblab.documents import read_journal
from ssblab.documents.journal import Journal, JournalError
from ssblab.filing import Filing, StationInUse
from ssblab.quantities import BadInput
from ssblab.session import StartUpError, open_session
from ssblab.station import stations

RELAYS = """
  relays:
    class: devices.moxa.MoxaE1214
    address: {relays}
    options:
      relays: {{vessel_valve: 3, purge_valve: 4, vacuum_pump: 5}}
      inverted: [purge_valve]
  vessel:
    class: devices.reaction_vessel.ReactionVessel
    uses: {{relays: relays}}
    options: {{purge_flow_mL_min: 500}}
"""
STATION = """
name: small
time: virtual
devices:
  mfc:
    class: devices.alicat.Alicat
    address: {mfc}
  room_h2s:
    class: devices.midas.HoneywellMidas
    address: {room_h2s}
{more}
safe_state: [{safe_state}]
interlocks: [{{device: room_h2s, period: 5 s}}]
"""
SIMULATED = stations()["sim"].read_text(encoding="utf-8").partition("\nsimulated:")[2]
DEAD = "TCPIP::127.0.0.1::1::SOCKET"


def write_station(folder, *, vessel=False, mfc="sim", room_h2s="sim", relays="sim"):
    path = folder / "small.yml"
    more = RELAYS.format(relays=relays) if vessel else ""
    safe_state = "vessel, mfc" if vessel else "mfc"
    station = STATION.format(mfc=mfc, room_h2s=room_h2s, more=more, safe_state=safe_state)
    path.write_text(f"{station}simulated:{SIMULATED}")
    return path


@pytest.fixture
def opened(tmp_path):
    """Opens sessions and closes them, whatever a test has done to them."""
    sessions = []

    def open_(*, time=None, **options):
        sessions.append(open_session(write_station(tmp_path, **options), data=tmp_path / "data", time=time))
        return sessions[-1]

    yield open_
    for session in sessions:
        session._filing.catch_up = lambda: True  # takes a second or two, and no test looks any more
        session.close()


@pytest.fixture
def session(opened):
    return opened()


def documents(session, name="stop"):
    paths = sorted((session.data_dir / "journals").glob("*.jsonl"))
    return [doc for path in paths for kind, doc in read_journal(path) if kind == name]


def safe_states(session):
    """What the runs have in their streams `safe_state`: steps, confirmed, problem."""
    descriptors = {d["uid"] for d in documents(session, "descriptor") if d["name"] == "safe_state"}
    return [
        tuple(event["data"][f"safe_state_{key}"] for key in ("steps", "confirmed", "problem"))
        for event in documents(session, "event")
        if event["descriptor"] in descriptors
    ]


def flow_told(session):
    return session.laboratory.things["room"].flow_setpoint_mL_min


def long_run(session, seconds=7200.0):
    """Sets a flow and logs it for long."""

    def body():
        yield from bps.mv(session.devices.mfc, 300)
        yield from log_for([session.devices.mfc], "primary", 10.0, seconds)

    return run_wrapper(body(), md={"plan_name": "long_run"})


def failing_run(session, error):
    def body():
        yield from bps.mv(session.devices.mfc, 300)
        raise error

    return run_wrapper(body())


# ---------------------------------------------------------------------------------------------- start-up


def test_devices_are_found_by_name_attribute_and_family(session):
    from devices.families.furnace import Furnace
    from devices.families.mass_flow_controller import MassFlowController

    devices = session.devices
    assert list(devices) == ["mfc", "room_h2s"]
    assert devices["mfc"] is devices.mfc is devices.of(MassFlowController)
    assert "mfc" in dir(devices)
    assert devices.mfc.identity.maker == "Alicat"
    with pytest.raises(BadInput, match="no device 'oven'; there are mfc, room_h2s"):
        devices["oven"]
    with pytest.raises(AttributeError, match="no device 'oven'"):
        devices.oven  # noqa: B018
    with pytest.raises(BadInput, match="needs a furnace, and the station has none"):
        devices.of(Furnace)


def test_one_dead_address_is_named_and_nothing_else(opened):
    with pytest.raises(StartUpError) as caught:
        opened(mfc=DEAD)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("1 of 2 devices of station small did not come up")
    assert len(lines) == 2
    assert lines[1].startswith(f"  mfc at {DEAD}: can't be opened")
    assert "check that the instrument is on" in lines[1]


def test_what_is_built_on_a_dead_device_points_at_it(opened):
    with pytest.raises(StartUpError) as caught:
        opened(vessel=True, relays=DEAD)
    relays, vessel = str(caught.value).splitlines()[1:]
    assert relays.startswith(f"  relays at {DEAD}")
    assert vessel == "  vessel: it is built on relays, which did not come up"


def test_a_station_that_cannot_be_built_leaves_nothing_open(tmp_path):
    path = write_station(tmp_path)
    path.write_text(
        path.read_text().replace("devices.alicat.Alicat", "devices.reaction_vessel.ReactionVessel")
    )
    with pytest.raises(BadInput, match=r"devices\.mfc"):
        open_session(path, data=tmp_path / "data")


def test_a_real_station_has_wall_time_only(tmp_path):
    path = write_station(tmp_path, mfc=DEAD)
    text = path.read_text()
    path.write_text(
        text[: text.index("simulated:")].replace("time: virtual", "").replace(": sim", f": {DEAD}")
    )
    with pytest.raises(BadInput, match="its time is wall time"):
        open_session(path, data=tmp_path / "data", time="virtual")


def test_a_real_station_is_used_by_one_session_at_a_time(tmp_path):
    path = write_station(tmp_path, mfc=DEAD, room_h2s=DEAD)
    text = path.read_text()
    path.write_text(text[: text.index("simulated:")].replace("time: virtual", ""))
    from ssblab.clock import make_clock
    from ssblab.session import Session
    from ssblab.station import load_station

    station = load_station(path)
    with (
        Session(station, tmp_path, make_clock("wall")) as first,
        Session(station, tmp_path, make_clock("wall")) as second,
    ):
        assert all(first.connections().values())
        with pytest.raises(StationInUse, match=f"station small is in use by process {os.getpid()} on "):
            second.connect()
        first.close()
        assert all(second.connections().values())


def test_a_file_that_shadows_a_package_is_named(tmp_path, monkeypatch):
    packages.check_packages()
    (tmp_path / "plans.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plans")
    with pytest.raises(packages.ShadowedPackage, match=str(tmp_path / "plans.py")):
        packages.check_packages()


# --------------------------------------------------------------------------------------- how plans end


def test_a_plain_plan_ends_in_the_safe_state(session):
    result = session.run(bp.count([session.devices.mfc], num=3), operator="me")
    assert (result.plan, result.exit_status, result.reason, result.interrupted) == (
        "count",
        "success",
        "",
        False,
    )
    assert safe_states(session) == [(1, 1, "")]
    header = session.db[-1]
    assert header.start["uid"] == result.uids[0]
    assert header.start["operator"] == "me"
    assert header.start["station"] == "small"
    assert len(header.table()) == 3
    surroundings = {"baseline": 2, "timing": 2, "environment": 2}
    assert header.stop["num_events"] == {"primary": 3, "safe_state": 1, **surroundings}


def test_what_a_mv_has_left_on_is_off_when_the_session_closes(session):
    session.run(bps.mv(session.devices.mfc, 300))
    assert session.laboratory.things["room"].flow_setpoint_mL_min == 300
    session.close()
    assert session.laboratory.things["room"].flow_setpoint_mL_min == 0


def test_moving_by_hand_is_left_alone_unless_it_fails(session):
    assert session.run(bps.mv(session.devices.mfc, 300)).exit_status == "success"
    assert flow_told(session) == 300

    def failing():
        yield from bps.mv(session.devices.mfc, 400)
        raise OSError("the disk is gone")

    result = session.run(failing())
    assert (result.exit_status, result.reason, result.uids) == ("fail", "the disk is gone", ())
    assert flow_told(session) == 0


def test_a_failing_run_says_why_and_is_safe(session):
    result = session.run(failing_run(session, RuntimeError("no pellet")))
    assert (result.exit_status, result.reason) == ("fail", "no pellet")
    assert documents(session)[-1]["reason"] == "no pellet"
    assert safe_states(session) == [(1, 1, "")]
    assert flow_told(session) == 0


@pytest.mark.parametrize("cleans_up", [True, False])
def test_a_move_that_the_safe_state_ends_does_not_hide_why_the_run_failed(session, cleans_up):
    session.laboratory.things["room"].mass_flow.full_scale_mol_s = 0.0  # no gas: the flow is never reached
    mfc = session.devices.mfc

    def body():
        yield Msg("set", mfc, 300, group="flow")
        yield from log_for([mfc], "primary", 1.0, 10.0)
        raise RuntimeError("no pellet")

    plan = finalize_wrapper(body(), lambda: make_safe([mfc])) if cleans_up else body()
    result = session.run(run_wrapper(plan))
    assert (result.exit_status, result.reason) == ("fail", "no pellet")
    assert safe_states(session) == [(1, 1, "")]
    assert flow_told(session) == 0


def test_a_move_that_ends_in_failure_after_the_safe_state_of_a_run_leaves_the_next_run_alone(session):
    session.laboratory.things["room"].mass_flow.full_scale_mol_s = 0.0
    mfc = session.devices.mfc

    def two_runs():
        yield from run_wrapper(bps.abs_set(mfc, 300))
        yield from run_wrapper(log_for([mfc], "primary", 1.0, 100.0))

    result = session.run(two_runs())
    assert result.exit_status == "success"
    assert safe_states(session) == [(1, 1, "")] * 2


def test_a_run_that_its_plan_leaves_open_is_closed(session):
    def sloppy():
        yield Msg("open_run")
        yield Msg("open_run", run="inner")
        yield from bps.mv(session.devices.mfc, 300)
        yield Msg("create", name="primary")
        raise ValueError("half an event")

    result = session.run(sloppy())
    assert (result.exit_status, result.reason) == ("fail", "half an event")
    assert [stop["reason"] for stop in documents(session)] == ["half an event"] * 2
    assert safe_states(session) == [(1, 1, "")]


def test_a_failing_device_is_quoted_in_plain_words(session):
    session.laboratory.instruments["mfc"].break_wire("silent", times=None)
    result = session.run(bps.mv(session.devices.mfc, 300))
    assert result.exit_status == "fail"
    assert "mfc at TCPIP::127.0.0.1::" in result.reason
    assert "no reply within 1 s" in result.reason


def test_an_unconfirmed_safe_state_makes_a_failed_run(opened):
    session = opened(vessel=True)

    def body():
        yield from bps.mv(session.devices.vessel, "exposed")
        session.laboratory.instruments["relays"].stuck.add(3)

    result = session.run(run_wrapper(body()))
    assert result.exit_status == "fail"
    assert "safe state not confirmed: vessel: relays at TCPIP" in result.reason
    assert "relay 3 did not follow" in result.reason
    assert documents(session)[-1]["reason"] == result.reason
    ((steps, confirmed, problem),) = safe_states(session)
    assert (steps, confirmed) == (2, 1)
    assert problem.startswith("vessel: ")


def test_an_unconfirmed_safe_state_is_told_without_a_run_too(session):
    def failing():
        yield from bps.mv(session.devices.mfc, 300)
        session.laboratory.instruments["mfc"].break_wire("silent", times=None)
        raise OSError("the disk is gone")

    result = session.run(failing())
    assert result.exit_status == "fail"
    assert result.reason.startswith("the disk is gone; safe state not confirmed: mfc: mfc at ")


def test_bad_input_reaches_the_caller_and_nothing_has_moved(session):
    told = session.laboratory.instruments["mfc"].receive
    commands = []
    session.laboratory.instruments["mfc"].receive = lambda buffer: (
        commands.append(bytes(buffer)),
        told(buffer),
    )[1]

    def plan():
        yield Msg("checkpoint")
        raise BadInput("dose: give a unit")

    with pytest.raises(BadInput, match=r"^dose: give a unit$"):
        session.run(plan())
    assert commands == []
    assert session.RE.state == "idle"


def test_bad_input_within_a_run_is_a_failed_run(session):
    result = session.run(failing_run(session, BadInput("too late")))
    assert (result.exit_status, result.reason) == ("fail", "too late")
    assert flow_told(session) == 0


def test_the_run_engine_itself_does_the_same(session):
    session.run(long_run(session, 60))
    (uid,) = session.RE(long_run(session, 60))
    first, second = documents(session, "start")
    assert second["uid"] == uid
    assert (first["scan_id"], second["scan_id"]) == (1, 2)
    one, two = documents(session)
    assert (one["exit_status"], one["num_events"]) == (two["exit_status"], two["num_events"])
    assert len(safe_states(session)) == 2


def test_a_journal_that_takes_no_more_ends_the_plan_safely(session, monkeypatch):
    write = Journal.write

    def full(journal, name, doc):
        if name == "event" and doc["seq_num"] == 3:
            raise JournalError("the disk is full")
        write(journal, name, doc)

    monkeypatch.setattr(Journal, "write", full)
    result = session.run(long_run(session))
    assert result.exit_status == "fail"
    assert "the disk is full" in result.reason
    assert flow_told(session) == 0


def test_figures_of_merit_that_fail_do_not_fail_the_run(session, caplog, monkeypatch):
    monkeypatch.setattr(Filing, "catalog", {})
    md = {"figures_of_merit": "plans.moisture_figures:figures_of_merit"}
    result = session.run(bp.count([session.devices.mfc], md=md))
    assert (result.exit_status, result.results) == ("success", {})
    assert "no figures of merit" in caplog.text


def test_a_paused_plan_is_told_as_such_and_made_safe_when_the_session_closes(session):
    def plan():
        yield from bps.checkpoint()
        yield from bps.mv(session.devices.mfc, 300)
        yield from bps.pause()

    result = session.run(run_wrapper(plan()))
    assert result.exit_status == "paused"
    session._filing.catch_up = lambda: True
    session.close()
    assert documents(session)[-1]["reason"] == "the session was closed"
    assert flow_told(session) == 0


def test_a_paused_plan_goes_on_or_is_abandoned(session):
    def plan():
        yield from bps.checkpoint()
        yield from bps.mv(session.devices.mfc, 300)
        yield from bps.pause()
        yield from bps.checkpoint()
        yield from bps.pause()

    paused = session.run(run_wrapper(plan()))
    again = session.resume()
    assert (paused.exit_status, again.exit_status, again.uids) == ("paused", "paused", paused.uids)
    assert session.resume().exit_status == "success"

    session.run(run_wrapper(plan()))
    given_up = session.abandon("the sample broke")
    assert (given_up.exit_status, given_up.reason) == ("abort", "the sample broke")
    assert documents(session)[-1]["reason"] == "the sample broke"
    assert flow_told(session) == 0


# ------------------------------------------------------------------------------------------- interlocks


def test_a_tripped_interlock_keeps_a_run_from_opening(session):
    session.laboratory.things["room"].room_h2s_ppm = 50
    result = session.run(long_run(session))
    assert result.exit_status == "fail"
    assert result.reason.startswith("interlock room_h2s: gas alarm (last reading 50 ppm)")
    assert result.uids == ()
    assert documents(session, "start") == []
    assert not result.interrupted


def test_gas_in_mid_run_ends_it_within_the_period_of_the_interlock(session):
    session.clock.call_later(600, lambda: setattr(session.laboratory.things["room"], "room_h2s_ppm", 50))
    result = session.run(long_run(session))
    assert result.exit_status == "abort"
    assert result.reason.startswith("interlock room_h2s: gas alarm")
    assert not result.interrupted
    stop, start = documents(session)[-1], documents(session, "start")[-1]
    assert stop["reason"] == result.reason
    assert stop["time"] - start["time"] < 600 + 5 + 1
    assert safe_states(session) == [(1, 1, "")]
    assert flow_told(session) == 0


def test_a_silent_alarm_counts_as_tripped(session):
    alarm = session.laboratory.instruments["room_h2s"]
    session.clock.call_later(600, lambda: alarm.break_wire("silent", times=None))
    result = session.run(long_run(session))
    assert result.exit_status == "abort"
    assert "interlock room_h2s: can't be read" in result.reason
    assert documents(session)[-1]["time"] - documents(session, "start")[-1]["time"] < 640
    result = session.run(long_run(session))
    assert "can't be read" in result.reason
    assert result.uids == ()


# ------------------------------------------------------------------------------------ ended from outside


def when_logging(session, action):
    """Do something on another thread in the middle of a run's log."""
    seen = []

    def look(name, doc):
        if name == "event" and not seen:
            seen.append(doc)
            threading.Thread(target=action).start()

    session.RE.subscribe(look)


def test_a_plan_is_ended_from_a_thread(session):
    when_logging(session, lambda: session.end("seen enough"))
    result = session.run(long_run(session, 1e6))
    assert (result.exit_status, result.reason, result.interrupted) == ("abort", "seen enough", False)
    assert documents(session)[-1]["reason"] == "seen enough"
    assert safe_states(session) == [(1, 1, "")]
    assert session.run(long_run(session, 60)).exit_status == "success"


def test_a_session_that_is_closed_in_mid_run_ends_the_run_first(session):
    running = threading.Event()
    when_logging(session, running.set)
    results = []
    thread = threading.Thread(target=lambda: results.append(session.run(long_run(session, 1e9))))
    thread.start()
    assert running.wait(60)
    session._filing.catch_up = lambda: True
    session.close()
    thread.join()
    assert (results[0].exit_status, results[0].reason) == ("abort", "the session was closed")
    assert flow_told(session) == 0


def test_ending_nothing_has_no_effect_on_what_comes(session):
    session.end("too early")
    assert session.run(long_run(session, 60)).exit_status == "success"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_a_halt_the_safe_state_is_reached_without_the_plans_help(session):
    when_logging(session, session.RE.halt)
    result = session.run(long_run(session, 1e6))
    assert (result.exit_status, result.reason) == ("abort", "halted")
    assert flow_told(session) == 0
    assert session.run(long_run(session, 60)).exit_status == "success"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_a_halt_within_what_is_not_repeated_the_next_plan_repeats_as_ever(session):
    def halted():
        yield Msg("rewindable", None, False)
        yield from long_run(session, 1e6)

    when_logging(session, session.RE.halt)
    assert session.run(halted()).reason == "halted"
    found = []

    def next_one():
        found.append((yield Msg("rewindable", None, None)))

    assert session.run(next_one()).exit_status == "success"
    assert found == [True]


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr("ssblab.clock._DEADLOCK_GRACE_S", 0.05)


def test_a_status_that_never_finishes_ends_the_plan(session, short_grace):
    def plan():
        yield from bps.mv(session.devices.mfc, 300)
        yield Msg("wait_for", None, [lambda: asyncio.Event().wait()])

    result = session.run(run_wrapper(plan()))
    assert result.exit_status == "abort"
    assert result.reason.startswith("virtual time can't go on")
    assert flow_told(session) == 0


def test_a_clean_up_that_never_finishes_is_given_up(session, short_grace):
    def forever():
        yield Msg("wait_for", None, [lambda: asyncio.Event().wait()])

    result = session.run(run_wrapper(finalize_wrapper(forever(), forever())))
    assert result.exit_status == "abort"
    assert safe_states(session) == [(1, 1, "")]


def test_sessions_follow_each_other_in_one_process(opened, tmp_path):
    for number in (1, 2):
        with opened() as session:
            session._filing.catch_up = lambda: True
            session.run(bp.count([session.devices.mfc]))
            assert documents(session, "start")[-1]["scan_id"] == number
    (tmp_path / "data" / "scan_id").write_text("many")
    result = opened().run(bp.count([]))
    assert "scan_id holds no number" in result.reason


# ---------------------------------------------------------------------------- signals, and sudden death

CHILD = """
import sys
from pathlib import Path

import bluesky.plan_stubs as bps
from bluesky.preprocessors import run_wrapper

from plans.stubs import log_for
from ssblab.session import open_session

station, data, time = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def body(session):
    yield from bps.mv(session.devices.mfc, 300)
    yield from log_for([session.devices.mfc], "primary", 10.0, 1e9)


def tell(name, doc):
    print(name)
    if name == "event" and doc["seq_num"] == 5:
        (data / "running").touch()


with open_session(station, data=data, time=time) as session:
    session.RE.subscribe(tell)
    result = session.run(run_wrapper(body(session)))
    flow = session.laboratory.things["room"].flow_setpoint_mL_min
    again = session.run(bps.null())
    text = repr((result.exit_status, result.reason, result.interrupted, flow, again.exit_status))
    (data / "result.new").write_text(text)
    (data / "result.new").rename(data / "result")
"""


def wait_for(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.fixture
def child(tmp_path, request):
    """A process in the middle of a run; nobody reads what it prints."""
    station, script, data = write_station(tmp_path), tmp_path / "child.py", tmp_path / "data"
    script.write_text(CHILD)
    with (
        (tmp_path / "stderr").open("wb") as log,
        subprocess.Popen(
            [sys.executable, script, station, data, getattr(request, "param", "virtual")],
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        process.stdout.close()
        wait_for(lambda: (data / "running").exists() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "stderr").read_text()
        yield process
        process.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize(
    ("name", "child"),
    [("SIGINT", "virtual"), ("SIGTERM", "virtual"), ("SIGHUP", "virtual"), ("SIGTERM", "x10")],
    indirect=["child"],
)
def test_a_signal_ends_the_run_cleanly_and_the_process_goes_on_to_its_end(child, tmp_path, name):
    data = tmp_path / "data"
    begin = time.monotonic()
    child.send_signal(getattr(signal, name))
    wait_for(lambda: (data / "result").exists() or child.poll() is not None, 10.0)
    assert time.monotonic() - begin < 10
    next_plan = "success" if name == "SIGINT" else "fail"
    told = eval((data / "result").read_text())  # noqa: S307 - our own child's
    assert told == ("abort", f"interrupted by {name}", True, 0.0, next_plan)
    (journal,) = (data / "journals").glob("*.jsonl")
    kinds, docs = zip(*read_journal(journal), strict=True)
    assert kinds[-1] == "stop"
    assert (docs[-1]["exit_status"], docs[-1]["reason"]) == ("abort", f"interrupted by {name}")
    assert [
        doc["data"]["safe_state_confirmed"] for doc in docs if "safe_state_steps" in doc.get("data", {})
    ] == [1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_whose_process_was_killed_is_filed_at_the_next_start(child, tmp_path, opened, caplog):
    child.kill()
    child.wait()
    (journal,) = (tmp_path / "data" / "journals").glob("*.jsonl")
    docs = list(read_journal(journal))
    (primary,) = (doc["uid"] for kind, doc in docs if kind == "descriptor" and doc["name"] == "primary")
    events = sum(kind == "event" and doc["descriptor"] == primary for kind, doc in docs)
    assert events >= 5
    with opened() as session:
        assert f"died in the middle of a run; its data are filed ({journal.name})" in caplog.text
        header = session.db[-1]
        assert len(header.table()) == events
        assert header.stop["exit_status"] == "fail"
        assert "process ended without closing the run" in header.stop["reason"]
    caplog.clear()
    opened()
    assert "died" not in caplog.text


# ------------------------------------------------------------------------------------------- real time


def test_by_the_wall_clock_runs_are_filed_live_by_a_process_of_its_own(opened, tmp_path):
    session = opened(time="x10")
    filed = tmp_path / "data" / "catalog" / "follower.json"
    limit_s = session.clock.monotonic() + 600

    def body():
        yield from bps.mv(session.devices.mfc, 300)
        going_on = lambda: not filed.exists() and session.clock.monotonic() < limit_s  # noqa: E731
        yield from log([session.devices.mfc, session.devices.room_h2s], "primary", 10.0, going_on)

    result = session.run(run_wrapper(body()))
    assert (result.exit_status, result.reason) == ("success", "")
    assert filed.exists()
    assert safe_states(session) == [(1, 1, "")]
    assert flow_told(session) == 0
    header = session.db[-1]
    assert header.stop["num_events"]["primary"] == len(header.table())
    session.close()
    followers = [thread for thread in threading.enumerate() if thread.name == "ssblab-follower"]
    assert followers
    for follower in followers:
        follower.join(60)
        assert not follower.is_alive()
    assert (tmp_path / "data" / "follower.log").read_text() == ""


@pytest.fixture
def unfollowed(monkeypatch):
    """Tests of something else start no process."""
    monkeypatch.setattr(Filing, "_follow", lambda filing: None)


def test_by_the_wall_clock_a_silent_instrument_ends_the_run_in_bounded_time(opened, unfollowed):
    session = opened(time="x10")
    mfc = session.laboratory.instruments["mfc"]
    when_logging(session, lambda: mfc.break_wire("silent", times=None))
    begin = time.monotonic()
    result = session.run(run_wrapper(plain_failures(log_for([session.devices.mfc], "primary", 1.0, 1e6))))
    assert result.exit_status == "fail"
    assert result.reason.startswith("mfc at TCPIP")
    assert "safe state not confirmed: mfc: mfc at TCPIP" in result.reason
    assert time.monotonic() - begin < 10


def test_by_the_wall_clock_a_silent_instrument_does_not_hold_up_an_end(opened, unfollowed):
    session = opened(time="x10", vessel=True)
    relays = session.laboratory.instruments["relays"]
    mfc, vessel = session.devices.mfc, session.devices.vessel

    def end():
        relays.break_wire("silent", times=None)
        vessel.trigger()
        session.end("interrupted by hand")

    when_logging(session, end)
    begin = time.monotonic()
    result = session.run(run_wrapper(log_for([mfc], "primary", 1.0, 1e6)))
    assert result.interrupted
    assert result.reason.startswith("interrupted by hand; safe state not confirmed: vessel: relays at")
    assert flow_told(session) == 0
    assert time.monotonic() - begin < 15


def test_by_the_wall_clock_gas_ends_the_run(opened, unfollowed):
    session = opened(time="x10")
    when_logging(session, lambda: setattr(session.laboratory.things["room"], "room_h2s_ppm", 50))
    result = session.run(long_run(session, 1e6))
    assert (result.exit_status, result.interrupted) == ("abort", False)
    assert result.reason.startswith("interlock room_h2s: gas alarm")
    assert safe_states(session) == [(1, 1, "")]
