"""The guard at every message of a plan: pauses, suspensions and ends in the middle of what it adds."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import defaultdict

import bluesky.plan_stubs as bps
import pytest
from bluesky import Msg
from bluesky.preprocessors import run_wrapper

from plans.side_by_side import side_by_side
from ssblab.guard import in_place
from ssblab.session import open_session
from ssblab.station import stations

STATION = """
name: small
time: virtual
devices:
  mfc: {class: devices.alicat.Alicat, address: sim}
  dew_point: {class: devices.vaisala.VaisalaDewPoint, address: sim}
  room_h2s: {class: devices.midas.HoneywellMidas, address: sim}
safe_state: [mfc]
interlocks: [{device: room_h2s, period: 5 s}]
environment: {devices: [dew_point], period: 60 s}
"""
SIMULATED = stations()["sim"].read_text(encoding="utf-8").partition("\nsimulated:")[2]
ADDED = {"baseline": 2, "timing": 2, "safe_state": 1}  # events of the guard in each run, and the environment


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    (folder / "small.yml").write_text(f"{STATION}simulated:{SIMULATED}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # of hundreds of runs
        session = open_session(folder / "small.yml", data=folder / "data")
        yield session
        session._filing.catch_up = lambda: True
        session.close()


class Recorded:
    """Documents of one plan; bluesky validates each as it makes it."""

    def __init__(self):
        self.starts, self.stops, self.numbers, self.keys = [], [], defaultdict(list), {}
        self._streams = {}

    def __call__(self, name, document):
        assert not self.stops, "nothing comes after the end"
        if name == "start":
            self.starts.append(document)
        elif name == "descriptor":
            assert document["name"] not in self.keys
            self._streams[document["uid"]] = document["name"]
            self.keys[document["name"]] = set(document["data_keys"])
        elif name == "event":
            self.numbers[self._streams[document["descriptor"]]].append(document["seq_num"])
        else:
            self.stops.append(document)


@pytest.fixture
def recorded(session):
    """Documents since it was asked last."""
    tokens = []

    def anew():
        for token in tokens:
            session.RE.unsubscribe(token)
        recorded = Recorded()
        tokens[:] = [session.RE.subscribe(recorded)]
        return recorded

    yield anew
    session.RE.msg_hook = None
    session.RE.unsubscribe(tokens[0])


def flow_told(session):
    return session.laboratory.things["room"].flow_setpoint_mL_min


def plain(session):
    """Sets a flow and reads it once; knows nothing of pauses, but has its checkpoints."""
    mfc = session.devices.mfc

    def body():
        yield Msg("checkpoint")
        yield Msg("set", mfc, 300, group="go")
        yield Msg("wait", None, group="go")
        yield Msg("checkpoint")
        yield Msg("create", None, name="primary")
        yield Msg("read", mfc)
        yield Msg("save")
        yield Msg("checkpoint")

    return run_wrapper(body())


def messages_of(session, plan):
    messages = []
    session.RE.msg_hook = messages.append
    session.run(plan)
    return messages


def at_message(session, number, turns, do):
    """Do something some turns of the loop after the RunEngine has begun with its message of that number.

    Gives the list in which the commands will be.
    """
    sent, tasks = [], []

    async def later():
        for _ in range(turns):
            await asyncio.sleep(0)
        await do()

    def hook(message):
        if len(sent) == number:
            tasks.append(asyncio.ensure_future(later(), loop=session.RE.loop))
        sent.append(message.command)

    session.RE.msg_hook = hook
    return sent


async def suspended(session):
    session.RE.request_suspend(lambda: asyncio.sleep(10.0))


# ------------------------------------------------------------------------------------------------- pauses


@pytest.mark.parametrize(("how", "turns"), [("pause", 0), ("suspend", 1)])
def test_at_any_message_a_pause_loses_nothing_and_has_nothing_recorded_twice(session, recorded, how, turns):
    undisturbed = recorded()
    messages = messages_of(session, plain(session))
    for number, message in enumerate(messages):
        found = recorded()
        do = session.RE._request_pause_coro if how == "pause" else lambda: suspended(session)
        at_message(session, number, turns, do)
        result = session.run(plain(session))
        if result.exit_status == "paused":
            session.RE.resume()
        told = f"{how} at message {number}, {message}"
        assert [stop["exit_status"] for stop in found.stops] == ["success"], told
        assert found.keys == undisturbed.keys, told
        # bluesky itself records an event again that was saved after the last checkpoint, with its number
        assert set(found.numbers.pop("primary")) == {1}, told
        environment = found.numbers.pop("environment")
        assert environment == list(range(1, len(environment) + 1)), told
        assert found.numbers == {name: list(range(1, n + 1)) for name, n in ADDED.items()}, told
        assert flow_told(session) == 0, told
        assert session.RE.rewindable, told


def test_a_pause_in_its_end_does_nothing_of_a_plan_without_checkpoints_again(session, recorded):
    def careless():
        yield Msg("open_run")
        yield from bps.mv(session.devices.mfc, 300)
        yield Msg("close_run")

    recorded()
    commands = [message.command for message in messages_of(session, careless())]
    for number in range(commands.index("safe_state"), len(commands)):
        found = recorded()
        sent = at_message(session, number, 0, session.RE._request_pause_coro)
        if session.run(careless()).exit_status == "paused":
            session.RE.resume()
        assert sent.count("set") == 1
        assert [stop["exit_status"] for stop in found.stops] == ["success"]
        assert flow_told(session) == 0


def test_a_suspension_holds_what_was_set(session, recorded):
    """bluesky alone stops it, and does not set it again."""
    flows = []

    async def suspended():
        flows.append(flow_told(session))
        await asyncio.sleep(10.0)
        flows.append(flow_told(session))

    def plan():
        yield Msg("open_run")
        yield from bps.mv(session.devices.mfc, 300)
        yield Msg("checkpoint")
        session.RE.request_suspend(suspended)
        yield Msg("sleep", None, 60.0)
        flows.append(flow_told(session))
        yield Msg("close_run")

    found = recorded()
    session.run(plan())
    assert flows == [300, 300, 300]
    assert [stop["exit_status"] for stop in found.stops] == ["success"]
    assert flow_told(session) == 0


def test_a_plan_that_is_not_rewindable_stays_so(session, recorded):
    found, after = recorded(), []

    def plan():
        yield Msg("rewindable", None, False)
        yield Msg("open_run")
        after.append((yield Msg("rewindable", None, None)))
        yield Msg("close_run")
        after.append((yield Msg("rewindable", None, None)))

    session.run(plan())
    assert after == [False, False]
    assert len(found.stops) == 1


# --------------------------------------------------------------------------------------------------- ends


def test_an_abort_at_any_message_ends_in_the_safe_state_and_records_it(session, recorded):
    recorded()
    messages = messages_of(session, plain(session))
    begin = [message.command for message in messages].index("open_run")
    for number, message in enumerate(messages):
        found = recorded()
        at_message(session, number, 0, lambda: session.RE._abort_coro("told to"))
        session.run(plain(session))
        told = f"abort at message {number}, {message}"
        assert len(found.stops) == len(found.starts) == (number >= begin), told
        assert flow_told(session) == 0, told
        assert session.RE.rewindable, told
        if found.stops:
            assert found.numbers["safe_state"], told
            expected = "success" if number == len(messages) - 1 else "abort"  # it has closed by then
            assert found.stops[0]["exit_status"] == expected, told


@pytest.mark.parametrize("later", range(4))
def test_an_abort_in_a_pause_while_the_run_is_ended(session, recorded, later):
    recorded()
    commands = [message.command for message in messages_of(session, plain(session))]
    found = recorded()
    at_message(session, commands.index("safe_state") + later, 0, session.RE._request_pause_coro)
    assert session.run(plain(session)).exit_status == "paused"
    session.RE.abort("told to")
    assert [stop["exit_status"] for stop in found.stops] == ["abort"]
    assert found.numbers["safe_state"]
    assert flow_told(session) == 0


def test_an_abort_while_a_failed_plan_is_ended_does_not_hide_why(session, recorded):
    def plan():
        yield Msg("open_run")
        yield from bps.mv(session.devices.mfc, 300)
        raise RuntimeError("no pellet")

    recorded()
    commands = [message.command for message in messages_of(session, plan())]
    for number in range(commands.index("safe_state"), len(commands)):
        found = recorded()
        at_message(session, number, 0, lambda: session.RE._abort_coro("told to"))
        session.run(plan())
        told = f"abort at message {number}, {commands[number]}"
        assert [(stop["exit_status"], stop["reason"]) for stop in found.stops] == [("fail", "no pellet")], (
            told
        )
        assert found.numbers["safe_state"], told
        assert flow_told(session) == 0, told


def test_plans_side_by_side_that_only_read_leave_things_as_they_are(session, recorded):
    recorded()
    session.run(bps.mv(session.devices.mfc, 300))

    def reading():
        yield Msg("sleep", None, 1.0)
        yield Msg("read", session.devices.mfc)

    def plan():
        yield from side_by_side({"a": reading(), "b": reading()})
        raise RuntimeError("seen enough")

    assert session.run(plan()).exit_status == "fail"
    assert flow_told(session) == 300


# ------------------------------------------------------------------------------- one plan in place of another


def driven(plan, *responses):
    """Answer a plan's messages in turn, an exception by throwing it; its commands and what it returns."""
    commands, result = [], None
    try:
        message = next(plan)
        for response in responses:
            commands.append(message.command)
            thrown = isinstance(response, BaseException)
            message = plan.throw(response) if thrown else plan.send(response)
        commands.append(message.command)
    except StopIteration as end:
        result = end.value
    return commands, result


def around(message):
    if message.command != "open_run":
        return (yield message)
    yield Msg("before")
    uid = yield message
    yield Msg("after")
    return uid


def test_what_is_put_around_a_message_answers_for_it():
    def plan():
        return (yield Msg("first")), (yield Msg("open_run")), (yield Msg("last"))

    commands, result = driven(in_place(plan(), around), 1, "of before", "uid", "of after", 3)
    assert commands == ["first", "before", "open_run", "after", "last"]
    assert result == (1, "uid", 3)


@pytest.mark.parametrize("number", range(4))
def test_an_exception_reaches_the_plan_wherever_it_is_thrown_in(number):
    caught = []

    def plan():
        try:
            yield Msg("first")
            yield Msg("open_run")
        except ValueError as error:
            caught.append(error)
            return (yield Msg("clean_up"))

    error = ValueError()
    commands, result = driven(in_place(plan(), around), *range(number), error, "cleaned")
    assert commands[:-1] == ["first", "before", "open_run", "after"][: number + 1]
    assert commands[-1] == "clean_up"
    assert (caught, result) == ([error], "cleaned")


def test_what_the_plan_does_not_catch_comes_out():
    def plan():
        yield Msg("first")

    error = ValueError("it is out of order")
    with pytest.raises(ValueError, match="out of order") as raised:
        driven(in_place(plan(), around), error)
    assert raised.value is error


def test_what_is_put_around_may_catch_an_exception_or_raise_one():
    def kind(message):
        try:
            yield message
        except ValueError:
            return "in spite of it"
        raise KeyError

    def plan():
        first = yield Msg("first")
        try:
            yield Msg("second")
        except KeyError:
            return first

    assert driven(in_place(plan(), kind), ValueError(), None) == (["first", "second"], "in spite of it")


def test_closing_closes_the_plan():
    closed = []

    def plan():
        try:
            yield Msg("open_run")
        finally:
            closed.append(True)

    guarded = in_place(plan(), around)
    next(guarded)
    guarded.close()
    assert closed == [True]


def test_no_message_is_kept():
    class Thing:
        name = "thing"

    def plan():
        for _ in range(3):
            yield Msg("read", Thing())

    kept = []
    guarded = in_place(plan(), around)
    for message in guarded:
        assert all(thing() is None for thing in kept)
        kept.append(weakref.ref(message.obj))
        del message
    assert len(kept) == 3
