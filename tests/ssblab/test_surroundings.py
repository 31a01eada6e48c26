"""What is recorded around every run, whatever its plan and whatever fails."""

from __future__ import annotations

import asyncio
import logging
import threading
from itertools import pairwise

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import Msg
from bluesky.preprocessors import run_wrapper, set_run_key_wrapper

from devices.families.mass_flow_controller import MassFlowController
from ssblab.clock import WallClock
from ssblab.documents import read_journal
from ssblab.documents.journal import Journal, JournalError
from ssblab.filing import Filing
from ssblab.session import open_session
from ssblab.station import stations
from ssblab.surroundings import LastKnown, Look

STATION = """
name: small
time: virtual
devices:
  mfc: {class: devices.alicat.Alicat, address: sim}
  dew_point: {class: devices.vaisala.VaisalaDewPoint, address: sim}
  room_h2s: {class: devices.midas.HoneywellMidas, address: sim}
  relays:
    class: devices.moxa.MoxaE1214
    address: sim
    options: {relays: {vessel_valve: 3, purge_valve: 4, vacuum_pump: 5}, inverted: [purge_valve]}
  vessel:
    class: devices.reaction_vessel.ReactionVessel
    uses: {relays: relays}
    options: {purge_flow_mL_min: 500}
safe_state: [vessel, mfc]
"""
INTERLOCK = "interlocks: [{device: room_h2s, period: 5 s}]\n"
DEW_POINT = "environment: {devices: [dew_point, vessel], period: 60 s}\n"
SIMULATED = stations()["sim"].read_text(encoding="utf-8").partition("\nsimulated:")[2]


@pytest.fixture
def opened(tmp_path):
    """Opens sessions and closes them."""
    sessions = []

    def open_(sections=INTERLOCK + DEW_POINT, time=None):
        path = tmp_path / "small.yml"
        path.write_text(f"{STATION}{sections}simulated:{SIMULATED}")
        sessions.append(open_session(path, data=tmp_path / "data", time=time))
        return sessions[-1]

    yield open_
    for session in sessions:
        session._filing.catch_up = lambda: True
        session.close()


@pytest.fixture
def session(opened):
    return opened()


def documents(session):
    (path,) = (session.data_dir / "journals").glob("*.jsonl")
    return list(read_journal(path))


def events(session, stream, run=0):
    """Events of a stream of a run, in their order."""
    journal = documents(session)
    uid = [doc["uid"] for name, doc in journal if name == "start"][run]
    descriptors = {
        doc["uid"]
        for name, doc in journal
        if name == "descriptor" and doc["name"] == stream and doc["run_start"] == uid
    }
    assert len(descriptors) <= 1
    return [doc for name, doc in journal if name == "event" and doc["descriptor"] in descriptors]


def streams_in_order(session):
    """Streams of all events of the only run, and its ends, as they were journalled."""
    names, order = {}, []
    for name, doc in documents(session):
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
        else:
            order.append(names[doc["descriptor"]] if name == "event" else name)
    return order


def column(found, key):
    return [event["data"][key] for event in found]


def counted(device):
    """Count how often a device is polled."""
    polls, poll = [], device.poll

    def counting():
        polls.append(device.clock.monotonic())
        poll()

    device.poll = counting
    return polls


def waiting(seconds):
    def body():
        for _ in range(int(seconds / 10)):
            yield Msg("checkpoint")
            yield Msg("sleep", None, 10.0)

    return run_wrapper(body())


# ------------------------------------------------------------------------------------------- environment


def test_a_plan_that_knows_nothing_of_it_has_its_environment_recorded(session):
    begin = session.clock.now()
    assert session.RE(bp.count([session.devices.mfc], num=31, delay=10.0))
    found = events(session, "environment")
    assert [event["seq_num"] for event in found] == list(range(1, len(found) + 1))
    times = [event["time"] - begin for event in found]
    assert times[0] < 2.0
    assert times[1:-1] == pytest.approx([60.0, 120.0, 180.0, 240.0, 300.0], abs=2.0)
    assert set(found[0]["data"]) >= {"room_h2s_alarm", "dew_point_dew_point", "vessel_mode"}
    assert {value for key in ("room_h2s_quality", "dew_point_quality", "vessel_quality")
            for value in column(found, key)} == {"ok"}  # fmt: skip
    stamps = [event["timestamps"]["dew_point_dew_point"] for event in found]
    assert all(0 <= event["time"] - stamp < 2.0 for event, stamp in zip(found, stamps, strict=True))
    order = streams_in_order(session)
    assert order[:4] == ["start", "baseline", "timing", "environment"]
    assert order[-5:] == ["safe_state", "baseline", "timing", "environment", "stop"]
    (descriptor,) = (doc for name, doc in documents(session) if doc.get("name") == "environment")
    assert descriptor["data_keys"]["dew_point_dew_point"]["units"] == "degC"


def test_interlocks_alone_are_an_environment(opened):
    session = opened(INTERLOCK)
    session.run(waiting(200))
    found = events(session, "environment")
    assert len(found) == 5
    assert {key.split("_")[0] for key in found[0]["data"]} == {"room"}


def test_without_interlocks_and_names_there_is_none(opened):
    session = opened("")
    result = session.run(waiting(200))
    assert result.exit_status == "success"
    assert set(streams_in_order(session)) == {"start", "timing", "safe_state", "stop"}


def test_nobody_is_polled_twice_as_often_and_nobody_without_a_run(session):
    alarm, transmitter = counted(session.devices.room_h2s), counted(session.devices.dew_point)
    session.run(bps.sleep(1000.0))
    assert (alarm, transmitter) == ([], [])
    session.run(waiting(600))
    assert len(transmitter) == pytest.approx(12, abs=1)
    assert len(alarm) == pytest.approx(120 + 3, abs=2)
    polled = len(alarm) + len(transmitter)
    session.run(bps.sleep(1000.0))
    assert len(alarm) + len(transmitter) == polled


def test_an_alarm_that_its_interlock_reads_less_often_is_polled(opened):
    session = opened(INTERLOCK.replace("5 s", "10 min"))
    alarm = counted(session.devices.room_h2s)
    session.run(waiting(600))
    assert len(alarm) == pytest.approx(13, abs=1)
    stamps = [event["timestamps"]["room_h2s_alarm"] for event in events(session, "environment")]
    assert sorted(set(stamps)) == stamps


def test_a_device_that_does_not_answer_is_recorded_as_such_and_ends_nothing(session, caplog):
    transmitter = session.laboratory.instruments["dew_point"]
    session.clock.call_later(90.0, lambda: transmitter.break_wire("silent", times=None))
    session.clock.call_later(390.0, transmitter.mend_wire)
    with caplog.at_level(logging.WARNING, "ssblab.surroundings"):
        result = session.run(waiting(600))
    assert result.exit_status == "success"
    found = events(session, "environment")
    qualities = column(found, "dew_point_quality")
    first = qualities.index("invalid")
    last = len(qualities) - qualities[::-1].index("invalid")
    assert 2 <= first <= 3
    assert set(qualities[first:last]) == {"invalid"}
    assert len(found) - last >= 3
    frozen = {event["timestamps"]["dew_point_dew_point"] for event in found[first - 1 : last]}
    assert len(frozen) == 1  # the last value, with its own time
    assert set(column(found, "room_h2s_quality")) == {"ok"}
    assert len([r for r in caplog.records if "dew_point can't be read" in r.getMessage()]) == 1


def test_runs_side_by_side_each_have_it(session):
    def two():
        for key in "ab":
            yield from set_run_key_wrapper(bps.open_run(md={"key": key}), key)
            yield from bps.sleep(100.0)
        for key in "ab":
            yield from bps.sleep(100.0)
            yield from set_run_key_wrapper(bps.close_run(), key)

    assert session.run(two()).exit_status == "success"
    for run in (0, 1):
        found = events(session, "environment", run)
        assert [event["seq_num"] for event in found] == list(range(1, len(found) + 1))
        assert len(found) in (6, 7)
        assert len(events(session, "baseline", run)) == 2
        assert len(events(session, "timing", run)) == 2


def test_no_event_is_lost_or_counted_twice_over_a_pause(session):
    def plan():
        yield Msg("checkpoint")
        yield from bps.sleep(200.0)
        yield from bps.pause()
        yield from bps.sleep(100.0)

    assert session.run(run_wrapper(plan())).exit_status == "paused"
    before = len(events(session, "environment"))
    assert before == 4
    polls = counted(session.devices.dew_point)
    over = threading.Event()
    session.clock.call_later(1000.0, over.set)
    session.clock.wait(over, 1001.0)
    assert polls == []
    assert len(events(session, "environment")) == before
    session.RE.resume()
    found = events(session, "environment")
    assert [event["seq_num"] for event in found] == list(range(1, len(found) + 1))
    assert len(found) == before + 1 + 5 + 1  # on going on, in 200 s that are repeated and 100 s, at the end


def test_a_suspension_records_nothing_twice(session):
    session.clock.call_later(100.0, lambda: session.RE.request_suspend(lambda: asyncio.sleep(120.0)))
    assert session.run(waiting(300)).exit_status == "success"
    found = events(session, "environment")
    assert [event["seq_num"] for event in found] == list(range(1, len(found) + 1))
    gaps = [b["time"] - a["time"] for a, b in pairwise(found[:-1])]
    assert gaps == pytest.approx([60.0] * len(gaps), abs=3.0)


def test_an_environment_that_cannot_be_recorded_ends_the_plan(session, monkeypatch):
    write, failed = Journal.write, []

    def full(journal, name, doc):
        if name == "event" and "dew_point_dew_point" in doc["data"] and doc["seq_num"] == 3:
            failed.append(doc)
            raise JournalError("the disk is full")
        write(journal, name, doc)

    monkeypatch.setattr(Journal, "write", full)
    result = session.run(waiting(1e6))
    assert result.exit_status == "abort"
    assert result.reason == "the environment can't be recorded: the disk is full"
    assert len(failed) == 1


# ---------------------------------------------------------------------------------------------- baseline


def rigged(devices):
    yield Msg("rig", None, devices=devices, families={}, sample=None)
    yield from waiting(20)


def test_the_baseline_has_the_devices_of_the_plan_before_and_after(session):
    devices = session.devices

    def plan():
        yield Msg("rig", None, devices=[devices.relays], families={"mfc": (MassFlowController,)}, sample=None)
        yield Msg("open_run")
        yield from bps.mv(devices.mfc, 300)
        yield Msg("close_run")

    assert session.run(plan()).exit_status == "success"
    before, after = events(session, "baseline")
    used = {"mfc", "relays", "room_h2s", "dew_point", "vessel"}
    (descriptor,) = (doc for name, doc in documents(session) if doc.get("name") == "baseline")
    assert set(descriptor["object_keys"]) == used
    assert set(descriptor["configuration"]) == used
    assert before["timestamps"]["mfc_flow"] < after["timestamps"]["mfc_flow"]
    session.run(waiting(10))
    assert "mfc_flow" not in events(session, "baseline", run=1)[0]["data"]


def test_devices_belong_to_the_run_with_the_key_of_their_rig(session):
    def side_by_side():
        one, two = session.devices.mfc, session.devices.relays
        plans = [set_run_key_wrapper(rigged([device]), key) for key, device in (("one", one), ("two", two))]
        for plan in plans:  # the rig of each
            yield next(plan)
        for plan in plans:
            yield from plan

    assert session.run(side_by_side()).exit_status == "success"
    one, two = (set(events(session, "baseline", run)[0]["data"]) for run in (0, 1))
    assert "mfc_flow" in one - two
    assert any(key.startswith("relays_") for key in two - one)


@pytest.mark.parametrize("broken", ["mfc", "dew_point"])
def test_what_fails_in_the_last_baseline_keeps_no_run_from_closing_safely(session, broken):
    instrument = session.laboratory.instruments[broken]

    def plan():
        yield Msg("rig", None, devices=[session.devices.mfc], families={}, sample=None)
        yield Msg("open_run")
        yield from bps.mv(session.devices.mfc, 300)
        instrument.break_wire("silent", times=None)
        yield Msg("close_run")

    result = session.run(plan())
    if broken == "mfc":  # it is also the one that can't be made safe
        assert "safe state not confirmed: mfc" in result.reason
    else:
        assert result.exit_status == "success"
        assert session.laboratory.things["room"].flow_setpoint_mL_min == 0
    assert streams_in_order(session)[-5:] == ["safe_state", "baseline", "timing", "environment", "stop"]
    before, after = events(session, "baseline")
    key = {"mfc": "mfc_flow", "dew_point": "dew_point_dew_point"}[broken]
    assert (before["data"][f"{broken}_quality"], after["data"][f"{broken}_quality"]) == ("ok", "invalid")
    assert after["timestamps"][key] < after["timestamps"][f"{broken}_quality"] - 1.0


def test_a_plan_that_fails_in_mid_event_has_its_last_baseline(session):
    def plan():
        yield Msg("open_run")
        yield Msg("create", None, name="primary")
        yield Msg("read", session.devices.mfc)
        raise RuntimeError("no pellet")

    result = session.run(plan())
    assert (result.exit_status, result.reason) == ("fail", "no pellet")
    assert streams_in_order(session)[-5:] == ["safe_state", "baseline", "timing", "environment", "stop"]
    assert len(events(session, "baseline")) == 2


# ------------------------------------------------------------------------------------------------ timing


def test_latencies_are_those_of_the_instruments(session):
    session.laboratory.instruments["dew_point"].latency_s = 0.25
    session.run(waiting(6000))
    before, after = events(session, "timing")
    assert before["data"]["dew_point_latency_min"] == pytest.approx(0.05)
    assert after["data"]["dew_point_latency"] == pytest.approx(0.25, rel=0.01)
    assert after["data"]["dew_point_latency_min"] == pytest.approx(0.05)
    assert after["data"]["dew_point_clock_offset"] == 0.0
    assert after["data"]["dew_point_clock_offset_uncertainty"] == pytest.approx(0.125, rel=0.01)
    named = {key.removesuffix("_latency") for key in after["data"] if key.endswith("_latency")}
    assert named == {"mfc", "dew_point", "room_h2s", "relays"}  # each with a wire of its own


# ------------------------------------------------------------------------------------------- real time


class Slow:
    """Takes as long to be read as it is let."""

    name = "slow"

    def __init__(self):
        self.may_end = threading.Event()
        self.polls = 0

    def poll(self):
        self.polls += 1
        assert self.may_end.wait(60.0)

    def read(self):
        return {"slow_level": {"value": 1.0, "timestamp": 5.0}}


def test_a_device_that_hangs_is_not_waited_for_nor_asked_again():
    clock = WallClock(20)
    device, look = Slow(), Look(clock)
    known = LastKnown(clock, device, look)
    assert known.read()["slow_quality"]["value"] == "ok"
    for _ in range(2):
        look.at([device], 1.0)
        assert known.read()["slow_quality"]["value"] == "invalid"
        assert known.read()["slow_level"] == {"value": 1.0, "timestamp": 5.0}
    assert device.polls == 1
    device.may_end.set()
    look.at([device], 1000.0)
    assert known.read()["slow_quality"]["value"] == "ok"
    clock.close()


def test_by_the_wall_clock_events_come_on_the_loops_thread(opened, monkeypatch):
    monkeypatch.setattr(Filing, "_follow", lambda filing: None)
    session = opened(INTERLOCK + DEW_POINT.replace("60 s", "10 s"), time="x10")
    threads = set()

    def watch(name, doc):
        if name == "event":
            threads.add(threading.current_thread().name)

    session.RE.subscribe(watch)
    assert session.run(waiting(50)).exit_status == "success"
    assert len(threads) == 1
    found = events(session, "environment")
    assert len(found) >= 3
    assert [event["seq_num"] for event in found] == list(range(1, len(found) + 1))
