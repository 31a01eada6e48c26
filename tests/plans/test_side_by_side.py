"""Several plans in one RunEngine: independent starts, ends, failures; pause, abort and halt of all."""

import asyncio
from collections import defaultdict

import bluesky.preprocessors as bpp
import event_model
import pytest
from bluesky import Msg
from bluesky.run_engine import WaitForTimeoutError
from bluesky.utils import FailedStatus, RunEngineInterrupted

from devices.families.cycler_program import CellLimits, Program, Step
from devices.instrument import Cpt, LabDevice
from devices.signals import Measured
from devices.status import Status
from plans.side_by_side import side_by_side
from plans.stubs import log_for, make_safe, measure, move
from ssblab.quantities import BadInput
from ssblab.session import open_session
from tests.plans.counter import Counter, Counting

# ------------------------------------------------------------------------------------------------- devices


class Chamber(LabDevice):
    """Takes its time to go anywhere; counts what it was told."""

    family = "test chamber"
    temperature = Cpt(Measured, unit="degC", doc="Temperature", kind="hinted")
    move_s = 60.0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.told = []
        self.stops = 0
        self.hinder = lambda: None  # done at each trigger

    def connect(self):
        pass

    def poll(self):
        self.hinder()
        self.record(temperature=25.0)

    def make_safe(self):
        self.stops += 1

    def set(self, target):
        self.told.append(target)
        status = Status(self.clock, f"{self.name} to {target}", 1000.0)
        self.clock.call_later(self.move_s, status.finish)
        return status


class SlowToStop(Chamber):
    """Stops after a while, as on a wire, without blocking the loop."""

    stopped = 0

    async def _stop(self):
        await asyncio.sleep(5.0)
        self.stopped += 1

    def stop(self, *, success=False):
        return self._stop()


class Recorded:
    """Valid documents, by the plan name in their start document."""

    def __init__(self):
        self.starts, self.stops, self.rows, self.numbers = {}, {}, defaultdict(list), defaultdict(list)
        self._names, self._streams = {}, {}

    def __call__(self, name, document):
        event_model.schema_validators[event_model.DocumentNames[name]].validate(document)
        if name == "start":
            self._names[document["uid"]] = document["plan_name"]
            self.starts[document["plan_name"]] = document
        elif name == "descriptor":
            self._streams[document["uid"]] = self._names[document["run_start"]], document["name"]
        elif name == "stop":
            assert self._names[document["run_start"]] not in self.stops
            self.stops[self._names[document["run_start"]]] = document
        else:
            page = event_model.pack_event_page(document) if name == "event" else document
            stream = self._streams[page["descriptor"]]
            self.numbers[stream] += page["seq_num"]
            self.rows[stream] += next(iter(page["data"].values()))


def a_run(name, plan):
    return bpp.run_wrapper(plan, md={"plan_name": name})


def counting(counter, points=10):
    yield from a_run(counter.name, measure(counter, Counting(points), "counts"))
    return counter.clock.monotonic()


def moving(chamber):
    """Goes somewhere, logs there, and leaves the chamber off."""

    def body():
        yield from move(chamber, 60.0)
        yield from log_for([chamber], "log", 1.0, 2.0)

    return bpp.finalize_wrapper(a_run(chamber.name, body()), lambda: make_safe([chamber]))


@pytest.fixture
def new(clock):
    return lambda kind, name: kind(name=name, clock=clock)


def run(RE, plans, recorded=None):
    """Run plans side by side; their outcomes."""
    outcomes = {}

    def plan():
        outcomes.update((yield from side_by_side(plans)))

    RE(plan(), recorded or Recorded())
    return outcomes


def at_message(RE, number, do):
    """Do something on the loop as soon as the RunEngine has begun with its message of that number, from 0."""
    seen, tasks = iter(range(100000)), []

    def hook(_):
        if next(seen) == number:
            tasks.append(asyncio.ensure_future(do(), loop=RE.loop))

    RE.msg_hook = hook


# ------------------------------------------------------------------------------------- one by one, each alone


def test_each_ends_when_it_would_alone_and_has_its_own_run(RE, clock, new):
    recorded = Recorded()
    alone = {}
    for name, points in {"a": 10, "b": 35, "c": 3}.items():
        begin_s = clock.monotonic()
        RE(counting(new(Counter, name), points))
        alone[name] = clock.monotonic() - begin_s
    begin_s = clock.monotonic()
    plans = {
        name: counting(new(Counter, name), points) for name, points in {"a": 10, "b": 35, "c": 3}.items()
    }
    outcomes = run(RE, plans, recorded)
    for name, points in {"a": 10, "b": 35, "c": 3}.items():
        assert outcomes[name].error is None
        assert outcomes[name].result - begin_s == pytest.approx(alone[name], abs=0.01)
        assert recorded.rows[name, "counts"] == list(range(1, points + 1))
        assert recorded.stops[name]["exit_status"] == "success"
    assert RE.rewindable


def test_one_that_fails_ends_alone(RE, new):
    bad, good, worse = (new(Counter, name) for name in ("bad", "good", "worse"))
    bad.fails_at, worse.fails_at = 4, 4  # at the same time
    recorded = Recorded()
    outcomes = run(RE, {device.name: counting(device) for device in (bad, good, worse)}, recorded)
    for name in ("bad", "worse"):
        assert isinstance(outcomes[name].error, FailedStatus)
        assert recorded.rows[name, "counts"] == [1, 2, 3, 4]
        assert recorded.stops[name]["exit_status"] == "fail"
        assert f"{name}: is out of order" in recorded.stops[name]["reason"]
    assert outcomes["good"].error is None
    assert recorded.rows["good", "counts"] == list(range(1, 11))


def test_one_that_raises_before_its_first_message_ends_alone(RE, new):
    def raising():
        raise ValueError("no")
        yield

    outcomes = run(RE, {"bad": raising(), "good": counting(new(Counter, "good"))})
    assert str(outcomes["bad"].error) == "no"
    assert outcomes["good"].error is None


def test_a_message_that_fails_ends_its_plan_alone(RE, new):
    def refused():
        yield Msg("no such command")

    outcomes = run(RE, {"bad": refused(), "good": counting(new(Counter, "good"))})
    assert isinstance(outcomes["bad"].error, KeyError)
    assert outcomes["good"].error is None


@pytest.mark.parametrize("command", ["trigger", "read", "open_run"])
def test_a_status_that_fails_costs_no_other_plan_its_response(RE, clock, new, command):
    """It fails while a message of the other plan is under way, whose response bluesky would throw away."""
    doomed, shared = new(Counter, "doomed"), new(Chamber, "shared")

    def asking():
        yield Msg("sleep", None, 3.0)
        shared.hinder = lambda: doomed._fail(doomed.refused("broke"))
        if command == "open_run":
            clock.call_later(0.0, shared.hinder)
        elif command == "read":
            plain = shared.read
            shared.read = lambda: (shared.hinder(), plain())[1]
        return (yield Msg(command, None if command == "open_run" else shared))

    outcomes = run(RE, {"doomed": counting(doomed), "asking": asking()})
    assert isinstance(outcomes["doomed"].error, FailedStatus)
    assert outcomes["asking"].error is None
    kind = {"trigger": Status, "read": dict, "open_run": str}[command]
    assert isinstance(outcomes["asking"].result, kind)


def test_a_status_from_before_ends_all(RE, clock, new):
    """What the plan around them has begun is its own: its failure goes to it, past them all."""
    chamber, counter = new(Chamber, "chamber"), new(Counter, "counter")
    recorded = Recorded()

    def around():
        status = yield Msg("set", chamber, 60.0, group="around")
        clock.call_later(3.0, lambda: status.fail(RuntimeError("a fuse is blown")))
        yield from side_by_side({"counter": counting(counter)})

    with pytest.raises(FailedStatus, match="a fuse is blown"):
        RE(around(), recorded)
    assert not counter.on
    assert recorded.stops["counter"]["exit_status"] == "fail"


def test_waits_end_with_their_time(RE, new):
    chamber, clock_of = new(Chamber, "chamber"), {}

    def impatient():
        yield Msg("set", chamber, 60.0, group="go")
        clock_of["begin"] = chamber.clock.monotonic()
        clock_of["first"] = yield Msg("wait", None, group="go", timeout=10.0, error_on_timeout=False)
        clock_of["after"] = chamber.clock.monotonic()
        try:
            yield Msg("wait", None, group="go", timeout=10.0)
        except WaitForTimeoutError as error:
            clock_of["error"] = error
        clock_of["last"] = yield Msg("wait", None, "go")
        clock_of["end"] = chamber.clock.monotonic()

    assert run(RE, {"impatient": impatient()})["impatient"].error is None
    assert clock_of["first"] is False
    assert clock_of["after"] - clock_of["begin"] == pytest.approx(10.0, abs=0.01)
    assert "error" in clock_of
    assert clock_of["last"] is True
    assert clock_of["end"] - clock_of["begin"] == pytest.approx(60.0, abs=0.01)


def test_a_watched_group_that_fails_ends_a_wait(RE, clock, new):
    chamber, watched = new(Chamber, "chamber"), new(Chamber, "watched")

    def watching():
        yield Msg("set", chamber, 60.0, group="go")
        status = yield Msg("set", watched, 60.0, group="see")
        clock.call_later(5.0, lambda: status.fail(RuntimeError("it leaks")))
        yield Msg("wait", None, group="go", watch=["see"])

    begin_s = clock.monotonic()
    outcome = run(RE, {"watching": watching()})["watching"]
    assert isinstance(outcome.error, FailedStatus)
    assert clock.monotonic() - begin_s == pytest.approx(5.0, abs=0.1)


# ------------------------------------------------------------------------------------------- what they share


def test_an_event_is_not_interleaved_and_a_device_may_be_read_by_all(RE, new):
    shared, messages = new(Chamber, "shared"), []
    RE.msg_hook = messages.append
    recorded = Recorded()
    plans = {name: a_run(name, log_for([shared], "log", 1.0, 5.0)) for name in ("a", "b", "c")}
    run(RE, plans, recorded)
    commands = [(message.command, message.run) for message in messages]
    for at, (command, of) in enumerate(commands):
        if command == "create":
            event = [("create", of), ("read", of), ("rewindable", None), ("save", of)]
            assert commands[at : at + 4] == event
    for name in plans:
        assert recorded.numbers[name, "log"] == [1, 2, 3, 4, 5]


def test_one_that_has_no_run_records_in_the_run_around(RE, new):
    shared, counter, recorded = new(Chamber, "shared"), new(Counter, "counter"), Recorded()
    plans = {"log": log_for([shared], "log", 1.0, 5.0), "counter": counting(counter)}
    RE(a_run("around", side_by_side(plans)), recorded)
    assert recorded.numbers["around", "log"] == [1, 2, 3, 4, 5]
    assert recorded.rows["counter", "counts"] == list(range(1, 11))


def test_the_devices_that_a_plan_asks_for_are_noted_for_its_own_run(RE, new):
    runs = []

    async def rig(message):
        runs.append(message.run)

    RE.register_command("rig", rig)

    def asking(name):
        yield Msg("rig")
        yield from counting(new(Counter, name))

    run(RE, {name: asking(name) for name in ("a", "b")})
    assert runs == ["a", "b"]


def test_an_event_that_fails_leaves_the_run_around_open_for_the_others(RE, new):
    shared, recorded = new(Chamber, "shared"), Recorded()

    def half():
        yield Msg("create", None, name="half")
        raise RuntimeError("no")

    plans = {"half": half(), "log": log_for([shared], "log", 1.0, 5.0)}
    RE(a_run("around", side_by_side(plans)), recorded)
    assert recorded.numbers["around", "log"] == [1, 2, 3, 4, 5]


def test_two_may_not_have_the_same_device(RE, new):
    """The one that comes later is told so, and its clean-up does not stop what the first does."""
    counter, chamber, recorded = new(Counter, "counter"), new(Chamber, "chamber"), Recorded()

    def second():
        return bpp.finalize_wrapper(a_run("second", measure(counter, Counting(), "x")), make_safe([counter]))

    def third():
        yield Msg("sleep", None, 5.0)
        yield Msg("set", chamber, 20.0)

    plans = {"first": counting(counter), "second": second(), "warm": moving(chamber), "third": third()}
    outcomes = run(RE, plans, recorded)
    assert recorded.rows["counter", "counts"] == list(range(1, 11))
    assert counter.starts == 1
    assert outcomes["first"].error is None
    assert isinstance(outcomes["second"].error, BadInput)
    assert all(name in str(outcomes["second"].error) for name in ("first", "second", "counter"))
    assert recorded.stops["second"]["exit_status"] == "fail"
    assert isinstance(outcomes["third"].error, BadInput)
    assert outcomes["warm"].error is None
    assert chamber.told == [60.0]


def test_a_device_is_free_when_its_plan_has_ended(RE, new):
    counter, recorded = new(Counter, "counter"), Recorded()

    def later():
        yield Msg("sleep", None, 30.0)
        yield from measure(counter, Counting(3), "later")

    outcomes = run(RE, {"first": counting(counter), "later": a_run("later", later())}, recorded)
    assert outcomes["later"].error is None
    assert recorded.rows["later", "later"] == [1, 2, 3]


# ------------------------------------------------------------------------------------------------- bad ends


def three(new):
    """Two measurements of different length beside a chamber that is moved and logged, and what is theirs."""
    a, b, chamber = new(Counter, "a"), new(Counter, "b"), new(Chamber, "chamber")
    chamber.move_s = 1.5
    return (a, b, chamber), {"a": counting(a, 2), "b": counting(b, 5), "chamber": moving(chamber)}


def count_messages(RE, new):
    messages = []
    RE.msg_hook = messages.append
    RE(side_by_side(three(new)[1]))
    return messages


def test_a_pause_at_any_message_does_nothing_twice_and_loses_nothing(RE, new, pass_time):
    messages = count_messages(RE, new)
    for number in range(len(messages)):
        (a, b, chamber), plans = three(new)
        recorded, outcomes = Recorded(), {}

        def plan(plans=plans, outcomes=outcomes):
            outcomes.update((yield from side_by_side(plans)))

        at_message(RE, number, RE._request_pause_coro)
        try:
            RE(plan(), recorded)
        except RunEngineInterrupted:
            pass_time(100.0 * (number % 2))
            RE.resume()
        told = f"pause at message {number}, {messages[number]}"
        assert [outcome.error for outcome in outcomes.values()] == [None] * 3, told
        assert (a.starts, b.starts, chamber.told) == (1, 1, [60.0]), told
        assert recorded.rows["a", "counts"] == [1, 2], told
        assert recorded.rows["b", "counts"] == list(range(1, 6)), told
        for numbers in recorded.numbers.values():
            assert numbers == list(range(1, len(numbers) + 1)), told
        assert [stop["exit_status"] for stop in recorded.stops.values()] == ["success"] * 3, told
        assert RE.rewindable


def test_an_abort_at_any_message_ends_each_with_its_own_clean_up(RE, new):
    messages = count_messages(RE, new)
    opened = [number for number, message in enumerate(messages) if message.command == "open_run"]
    closed = [number for number, message in enumerate(messages) if message.command == "close_run"]
    for number in range(opened[-1] + 1, closed[-1]):
        (a, b, chamber), plans = three(new)
        recorded = Recorded()
        at_message(RE, number, lambda: RE._abort_coro("told to"))
        with pytest.raises(RunEngineInterrupted):
            RE(side_by_side(plans), recorded)
        told = f"abort at message {number}, {messages[number]}"
        assert not any(counter.on or counter.measuring for counter in (a, b)), told
        assert chamber.stops, told
        for counter in (a, b):
            given = counter.given if counter.starts else 0
            assert recorded.rows[counter.name, "counts"] == list(range(1, given + 1)), told
        assert set(recorded.stops) == {"a", "b", "chamber"}, told
        statuses = [stop["exit_status"] for stop in recorded.stops.values()]
        assert statuses.count("abort") == 3 if number < closed[0] else "abort" in statuses, told
        assert RE.rewindable, told


def test_an_abort_in_a_pause_ends_all(RE, new, pass_time):
    (a, b, chamber), plans = three(new)
    recorded = Recorded()
    at_message(RE, 40, RE._request_pause_coro)
    with pytest.raises(RunEngineInterrupted):
        RE(side_by_side(plans), recorded)
    assert a.on
    pass_time(1.0)
    RE.abort()
    assert not any(counter.on for counter in (a, b))
    assert chamber.stops
    assert {stop["exit_status"] for stop in recorded.stops.values()} == {"abort"}


def test_a_stop_ends_all_well(RE, new):
    _, plans = three(new)
    recorded = Recorded()
    at_message(RE, 40, RE._stop_coro)
    with pytest.raises(RunEngineInterrupted):
        RE(side_by_side(plans), recorded)
    assert {stop["exit_status"] for stop in recorded.stops.values()} == {"success"}


def test_a_halt_closes_all_without_clean_up(RE, new):
    (a, b, _), plans = three(new)
    recorded = Recorded()
    at_message(RE, 40, RE._halt_coro)
    with pytest.raises(RunEngineInterrupted):
        RE(side_by_side(plans), recorded)
    assert a.on
    assert b.on
    assert {stop["exit_status"] for stop in recorded.stops.values()} == {"abort"}
    assert all(plan.gi_frame is None for plan in plans.values())


def test_a_deferred_pause_comes_at_the_next_checkpoint(RE, new):
    _, plans = three(new)
    recorded = Recorded()
    at_message(RE, 40, lambda: RE._request_pause_coro(defer=True))
    with pytest.raises(RunEngineInterrupted):
        RE(side_by_side(plans), recorded)
    RE.resume()
    assert {stop["exit_status"] for stop in recorded.stops.values()} == {"success"}


def test_a_stop_that_a_pause_cuts_short_is_done_again(RE, clock, new):
    slow, counter = new(SlowToStop, "slow"), new(Counter, "counter")
    clock.call_later(2.0, lambda: asyncio.ensure_future(RE._request_pause_coro(), loop=RE.loop))
    plans = {"slow": make_safe([slow]), "counter": counting(counter)}
    with pytest.raises(RunEngineInterrupted):
        RE(side_by_side(plans))
    assert not slow.stopped
    RE.resume()
    assert slow.stopped == 1
    assert counter.starts == 1


# --------------------------------------------------------------------------------------- cells in a session

LIMITS = CellLimits(voltage_min_V=2.3, voltage_max_V=4.3, charge_A=0.05, discharge_A=0.05)
OPEN_LIMITS = CellLimits(voltage_min_V=2.3, voltage_max_V=4.3, charge_A=1.0, discharge_A=1.0)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with open_session("cells", data=tmp_path_factory.mktemp("side_by_side")) as session:
        for number in range(1, 5):
            session.laboratory.mount(session.samples[f"std-0{number}"].model_dump())
        yield session
        session._filing.catch_up = lambda: True  # takes seconds, and no test looks any more


@pytest.fixture
def recorded(session):
    """Documents of the session's runs in a test."""
    recorded = Recorded()
    token = session.RE.subscribe(recorded)
    yield recorded
    session.RE.unsubscribe(token)


def charging(session, number, minutes, *, current_A=0.002, limits=LIMITS):
    """Charge one cell for a time, in a run of its own."""
    channel = session.devices[f"ch_{number}"]
    step = Step("charge", end_time_s=60.0 * minutes, current_A=current_A, end_voltage_V=4.2)
    program = Program(steps=(step,), limits=limits, record_interval_s=10.0)
    body = bpp.finalize_wrapper(measure(channel, program, "records"), lambda: make_safe([channel]))
    return a_run(f"cell {number}", body)


def channels_on(session):
    return [name for name, device in session.devices.items() if name.startswith("ch_") and device.measuring]


def test_cells_of_a_lot_begin_end_and_fail_without_one_another(session, recorded):
    """One is refused for its current, one is stopped at the machine by somebody."""
    outcomes = {}
    cycler = session.laboratory.instruments["cycler"]
    plans = {
        "cell 1": charging(session, 1, 5),
        "cell 2": charging(session, 2, 20),
        "cell 3": charging(session, 3, 10, current_A=0.5, limits=OPEN_LIMITS),
        "cell 4": charging(session, 4, 20),
    }

    def lot():
        outcomes.update((yield from side_by_side(plans)))

    session.clock.call_later(400.0, lambda: cycler.channels[1, 4].stop())
    begin_s = session.clock.monotonic()
    result = session.run(lot())
    assert len(result.uids) == 4
    assert session.clock.monotonic() - begin_s == pytest.approx(1200.0, abs=120.0)
    assert outcomes["cell 1"].error is outcomes["cell 2"].error is None
    assert "1.0 A is not allowed" in recorded.stops["cell 3"]["reason"]
    assert "ended at the cycler" in recorded.stops["cell 4"]["reason"]
    status = {name: stop["exit_status"] for name, stop in recorded.stops.items()}
    assert status == {"cell 1": "success", "cell 2": "success", "cell 3": "fail", "cell 4": "fail"}
    assert len(recorded.rows["cell 1", "records"]) == pytest.approx(30, abs=3)
    assert len(recorded.rows["cell 2", "records"]) == pytest.approx(120, abs=3)
    assert len(recorded.rows["cell 4", "records"]) == pytest.approx(40, abs=3)
    for numbers in recorded.numbers.values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert not channels_on(session)
    safe = [name for name, stream in recorded.numbers if stream == "safe_state"]
    assert safe == ["cell 2"]  # the last run that was open; the others ended while their neighbours ran


def test_an_end_in_the_middle_closes_each_run_with_the_reason(session, recorded):
    session.clock.call_later(300.0, lambda: session.end("the fire alarm rings"))
    session.run(side_by_side({f"cell {n}": charging(session, n, 5 * n - 3) for n in range(1, 4)}))
    assert recorded.stops["cell 1"]["exit_status"] == "success"
    for name in ("cell 2", "cell 3"):
        assert recorded.stops[name]["exit_status"] == "abort"
        assert recorded.stops[name]["reason"] == "the fire alarm rings"
    assert not channels_on(session)


def test_a_pause_holds_the_plans_and_the_cycler_goes_on(session, recorded):
    session.clock.call_later(
        150.0, lambda: asyncio.ensure_future(session.RE._request_pause_coro(), loop=session.RE.loop)
    )
    plans = {f"cell {n}": charging(session, n, 5 * n) for n in range(1, 4)}
    assert session.run(side_by_side(plans)).exit_status == "paused"
    assert channels_on(session) == ["ch_1", "ch_2", "ch_3"]
    session.clock.sleep(30.0)
    session.RE.resume()
    for n in range(1, 4):
        numbers = recorded.numbers[f"cell {n}", "records"]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) == pytest.approx(30 * n, abs=3)
        assert recorded.stops[f"cell {n}"]["exit_status"] == "success"
