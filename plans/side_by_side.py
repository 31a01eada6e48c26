"""Many plans in one RunEngine, each with a run of its own: they begin, end and fail without one another.

Why this needs a scheduler, and why nothing is rewound under it: docs/decisions/0012.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Generator, Hashable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bluesky import Msg
from bluesky.preprocessors import finalize_wrapper
from bluesky.protocols import Status
from bluesky.utils import FailedPause, FailedStatus, RunEngineControlException

from plans.arguments import PlanGenerator
from ssblab.quantities import BadInput

__all__ = ["Outcome", "side_by_side"]

_WITH_STATUS = frozenset({"set", "trigger", "prepare", "kickoff", "complete", "stage", "unstage"})
_CLAIMS = frozenset({"set", "prepare", "kickoff"})
_EPS_S = 1e-6  # of a time that was computed in two ways
#: A pause may cut these short, so they are done once more after it; an event begins anew with its `create`.
#: All others are over in one go, and are not done twice.
_DONE_AGAIN = frozenset({"stop", "wait_for", "input", "locate", "declare_stream", "create"})


@dataclass(frozen=True)
class Outcome:
    """How one of several plans ended.

    Attributes
    ----------
    error : Exception or None
        What it raised; its own clean-up has run and its run is closed then.
    result : object
        What it returned, if it raised nothing.
    """

    error: Exception | None
    result: Any = None


def side_by_side(plans: Mapping[str, PlanGenerator]) -> PlanGenerator:
    """Run several plans at the same time, each as if it were alone.

    While one waits for its devices or sleeps, the others go on. A plan that raises ends alone; abort, stop
    and halt reach all. In a pause each stands where it is, and goes on from there: nothing is done again.

    Parameters
    ----------
    plans : mapping
        Name -> plan. The name is the key of the runs that the plan opens; what it records without a run of
        its own goes into the run around all of them. Plans may trigger and read the same device; a plan that
        sets, prepares or starts one has it for itself until it ends. None may be `side_by_side` itself.

    Returns
    -------
    dict
        Name -> `Outcome`, when all have ended. A plan that moves or stops a device which another has for
        itself gets a BadInput instead; nothing was sent to the device then.
    """
    table = _Table([_Plan(name, plan) for name, plan in plans.items()])
    before = yield Msg("rewindable", None, None)

    def restore() -> PlanGenerator:
        yield Msg("rewindable", None, before)

    yield from finalize_wrapper(table.run(), restore)
    return {plan.name: plan.outcome for plan in table.plans}


@dataclass(frozen=True)
class _Wait:
    """What a plan waits for: a time of the loop, or statuses, until that time at the latest."""

    until_s: float
    message: Msg | None = None  # that is sent when it is over
    statuses: frozenset[Status] = frozenset()
    watched: frozenset[Status] = frozenset()  # a failure among these ends it too


@dataclass(eq=False)
class _Plan:
    """One of the plans: where it stands, and what belongs to it."""

    name: str
    generator: PlanGenerator
    outcome: Outcome | None = None
    response: Any = None  # to the message that it gave last
    error: Exception | None = None  # thrown into it instead
    wait: _Wait | None = None
    groups: dict[Hashable, set[Status]] = field(default_factory=dict)
    under_way: set[Status] = field(default_factory=set)
    failures: list[Status] = field(default_factory=list)  # not thrown into it yet
    runs: set[Hashable] = field(default_factory=set)  # keys of those that it has opened
    in_event: bool = False
    rewindable: bool = True

    def can_go_on(self, now_s: float) -> bool:
        wait = self.wait
        if wait is None or self.error is not None or now_s >= wait.until_s - _EPS_S:
            return True
        if wait.message is None:
            return False
        return self.under_way.isdisjoint(wait.statuses) or not wait.watched.isdisjoint(self.failures)

    def next_message(self) -> Msg | None:
        """Let it go on to its next message; None if it has ended instead."""
        response, self.response = self.response, None
        error, self.error = self.error, None
        if error is None and self.failures:
            status = self.failures[0]
            self.failures.clear()  # one is thrown of those that have failed together
            error = FailedStatus(status)
            error.__cause__ = status.exception(timeout=0)
        try:
            return self.generator.send(response) if error is None else self.generator.throw(error)
        except StopIteration as end:
            self.outcome = Outcome(None, end.value)
        except Exception as raised:
            self.outcome = Outcome(raised)
        return None

    def addressed(self, message: Msg) -> Msg:
        """Give a message as it is sent, with the run and the group of this plan."""
        kwargs = message.kwargs
        if message.command in _WITH_STATUS:
            kwargs = {**kwargs, "group": self.group(kwargs.get("group"))}
        own: Hashable = self.name if message.run is None else (self.name, message.run)
        key = own if message.command in ("open_run", "rig") or own in self.runs else message.run
        return message._replace(run=key, kwargs=kwargs)

    def group(self, group: Hashable) -> str:
        return f"{self.name}: {group}"

    def follow(
        self, status: Status, group: Hashable, pardon: asyncio.Event, ring: Callable[[], None]
    ) -> None:
        """Note when a status has ended, and how; `ring` then."""
        self.groups.setdefault(group, set()).add(status)
        self.under_way.add(status)

        def ended(status: Status) -> None:
            if not status.success and not pardon.is_set():
                self.failures.append(status)
            self.under_way.discard(status)  # last: who sees it over shall see its failure too
            ring()

        status.add_callback(ended)


class _Table:
    """Gives the plans their turns, one message each."""

    def __init__(self, plans: list[_Plan]) -> None:
        self.plans = plans
        self._engine: Any = None
        self._end: Exception | None = None  # what ends all plans
        self._owners: dict[Any, _Plan] = {}
        self._checkpoint_is_due = False
        self._bell: Future[None] = Future()

    def run(self) -> PlanGenerator:
        """Run all plans to their ends.

        Raises
        ------
        RunEngineControlException
            If the RunEngine was told to abort or to stop, when all plans have made their ends.
        """
        with ExitStack() as closing:
            for plan in self.plans:
                closing.callback(plan.generator.close)  # after a halt, which lets nothing be sent any more
            self._engine = yield from _engine()
            yield Msg("rewindable", None, False)
            while living := [plan for plan in self.plans if plan.outcome is None]:
                yield from self._round(living)
        if self._end is not None:
            raise self._end

    def _round(self, living: list[_Plan]) -> PlanGenerator:
        going = yield from self._await_any(living)
        for plan in going:
            yield from self._turn(plan)
            while plan.in_event and plan.outcome is None:  # no other plan may come between
                yield from self._await_any([plan])
                yield from self._turn(plan)
            if plan.outcome is not None:
                yield from self._clear_up(plan)
        if self._checkpoint_is_due:  # where a deferred pause begins; of several plans, once
            self._checkpoint_is_due = False
            yield from self._send(None, Msg("checkpoint"))

    def _await_any(self, plans: list[_Plan]) -> Generator[Msg, Any, list[_Plan]]:
        """Wait until one of some plans can go on; give all that can."""
        while True:
            if self._bell.done():
                self._bell = Future()  # before the look: what ends after it rings the new one
            now_s = self._now_s()
            if going := [plan for plan in plans if plan.can_go_on(now_s)]:
                return going
            wake_s = min(plan.wait.until_s for plan in plans if plan.wait is not None)
            timeout_s = None if wake_s == math.inf else wake_s - now_s
            yield from self._send(None, Msg("wait_for", None, [partial(_rung, self._bell, timeout_s)]))
            self._ring()  # a pause leaves it waiting

    def _turn(self, plan: _Plan) -> PlanGenerator:
        """Let a plan go on by one message."""
        wait, plan.wait = plan.wait, None
        if wait is not None and wait.message is not None and plan.error is None and not plan.failures:
            yield from self._finish_wait(plan, wait.message, wait.statuses)
            return
        message = plan.next_message()
        if message is None:
            return
        command = message.command
        if command == "sleep":
            plan.wait = _Wait(self._now_s() + message.args[0])
        elif command == "wait":
            self._begin_wait(plan, message)
        elif command == "rewindable":
            if message.args[0] is not None:
                plan.rewindable = message.args[0]
            plan.response = plan.rewindable
        elif command == "checkpoint":
            self._checkpoint_is_due = True
        elif problem := self._not_its_own(plan, message):
            plan.error = BadInput(problem)
        else:
            yield from self._send_on(plan, plan.addressed(message))

    def _send_on(self, plan: _Plan, message: Msg) -> PlanGenerator:
        command = message.command
        if command in _WITH_STATUS:
            yield from self._send_for_status(plan, message)
            return
        again = command in _DONE_AGAIN
        if again:
            yield from self._send(None, Msg("rewindable", None, True))
        elif plan.in_event and command in ("save", "drop", "close_run"):
            yield from self._end_event(plan)
        plan.in_event = (
            plan.in_event or command == "create"
        )  # also if an abort takes the place of its response
        done = yield from self._send(plan, message)
        if again and not plan.in_event:
            yield from self._send(None, Msg("rewindable", None, False))
        if command == "open_run" and done:
            plan.runs.add(message.run)
        elif command == "close_run":
            plan.runs.discard(message.run)

    def _end_event(self, plan: _Plan) -> PlanGenerator:
        plan.in_event = False
        yield from self._send(None, Msg("rewindable", None, False))

    def _send_for_status(self, plan: _Plan, message: Msg) -> PlanGenerator:
        """Send what gives a status, so that its failure is told to this plan alone.

        The RunEngine would throw it at whatever message is under way then, whose response is lost thereby.
        """
        engine, pardon = self._engine, self._engine._pardon_failures
        engine._pardon_failures = _pardoned()
        try:
            done = yield from self._send(plan, message)
        finally:
            engine._pardon_failures = pardon
        if done and isinstance(plan.response, Status):
            plan.follow(plan.response, message.kwargs["group"], pardon, self._ring)

    def _begin_wait(self, plan: _Plan, message: Msg) -> None:
        how = dict(message.kwargs)
        how["group"] = plan.group(message.args[0] if message.args else how.get("group"))
        statuses = frozenset(plan.groups.pop(how["group"], ()))
        watch = [plan.groups.get(plan.group(watched), ()) for watched in how.pop("watch", ())]
        timeout_s = how.pop("timeout", None)
        until_s = math.inf if timeout_s is None else self._now_s() + timeout_s
        plan.wait = _Wait(
            until_s, Msg("wait", None, timeout=timeout_s, **how), statuses, statuses.union(*watch)
        )

    def _finish_wait(self, plan: _Plan, message: Msg, statuses: frozenset[Status]) -> PlanGenerator:
        """Send the wait itself, which is over at once, or runs out of time at once."""
        how = {key: value for key, value in message.kwargs.items() if key != "timeout"}
        done = plan.under_way.isdisjoint(statuses)
        if not done:
            plan.groups[how["group"]] = set(statuses)  # as bluesky does: it may be waited for once more
        yield from self._send(plan, Msg("wait", None, timeout=None if done else 0.0, **how))
        plan.response = done

    def _send(self, plan: _Plan | None, message: Msg) -> Generator[Msg, Any, bool]:
        """Have the RunEngine do a message, for a plan or for all; say whether it was done.

        What ends all plans is noted for each of them; it is thrown into each in its turn.
        """
        try:
            response = yield message
        except (RunEngineControlException, FailedPause, FailedStatus) as error:
            self._end_all(error)
            return False
        except Exception as error:
            if plan is None:
                self._end_all(error)
            else:
                plan.error = error
            return False
        if plan is not None:
            plan.response = response
        return True

    def _end_all(self, error: Exception) -> None:
        self._end = self._end or error
        for plan in self.plans:
            if plan.outcome is None:
                plan.error = copy.copy(error)  # each has a trace of its own

    def _clear_up(self, plan: _Plan) -> PlanGenerator:
        """Give free what an ended plan had for itself."""
        self._owners = {device: owner for device, owner in self._owners.items() if owner is not plan}
        if plan.in_event:  # in the run around all of them, where others want to record
            yield from self._end_event(plan)
            yield from self._send(plan, plan.addressed(Msg("drop")))

    def _not_its_own(self, plan: _Plan, message: Msg) -> str:
        """Say which plan has the device for itself; "" if none has, and this one has it from now on."""
        if message.command not in _CLAIMS and message.command != "stop":
            return ""
        device = getattr(message.obj, "device", message.obj)  # a flyer's
        device = getattr(device, "root", device)
        owner = self._owners.get(device)
        if owner is None and message.command in _CLAIMS:
            self._owners[device] = plan
        if owner is None or owner is plan:
            return ""
        return (
            f"plan {plan.name} may not {message.command} {device.name}: plan {owner.name}, which runs at the "
            "same time, has it for itself"
        )

    def _ring(self) -> None:
        """Have the waiting plans looked at; from any thread."""
        try:
            self._bell.set_result(None)
        except InvalidStateError:
            pass  # it was rung already

    def _now_s(self) -> float:
        return float(self._engine.loop.time())


async def _rung(bell: Future[None], timeout_s: float | None) -> None:
    await asyncio.wait([asyncio.wrap_future(bell)], timeout=timeout_s)


def _pardoned() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class _Handle:
    """Takes the RunEngine over: a suspender is the one thing of a plan that is given it."""

    def __init__(self) -> None:
        self.run_engine: Any = None

    def install(self, run_engine: Any, **_: Any) -> None:
        self.run_engine = run_engine

    def remove(self) -> None:
        """Nothing: it suspends nothing."""


def _engine() -> Generator[Msg, Any, Any]:
    handle = _Handle()
    yield Msg("install_suspender", None, handle)
    yield Msg("remove_suspender", None, handle)
    return handle.run_engine
