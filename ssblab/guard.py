"""What surrounds every plan of a session: interlocks before and while it runs, the safe state at its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bluesky import Msg, RunEngine
from bluesky.preprocessors import contingency_wrapper
from bluesky.utils import FailedPause, FailedStatus, RequestAbort, RequestStop

from ssblab.clock import Clock
from ssblab.safety import Interlock, SafeState, SafeStep, unconfirmed
from ssblab.surroundings import Surroundings, insist, record

__all__ = ["Guard", "in_place", "in_words"]

logger = logging.getLogger(__name__)

#: Messages after which the laboratory is still as it was.
_STILL = frozenset(
    {"rig", "mount", "check_interlocks", "safe_state", "null", "sleep", "wait"}
    | {"checkpoint", "clear_checkpoint", "rewindable", "wait_for", "install_suspender", "remove_suspender"}
    | {"open_run", "close_run", "create", "read", "save", "drop", "look_around", "monitor", "unmonitor"}
)
_KEYS = ("safe_state_steps", "safe_state_confirmed", "safe_state_problem")
_WORKER = "guard"
#: What the RunEngine may throw at a message that was done.
_IN_PLACE_OF_A_RESPONSE = (RequestAbort, RequestStop, FailedPause, FailedStatus)

Plan = Generator[Msg, Any, Any]


class Guard:
    """Keeps the runs of a RunEngine safe.

    Interlocks are checked before a run opens and watched while one is open. In a pause the instruments hold
    what they were told. The safe state is reached before the last open run closes, and recorded in its stream
    `safe_state`; a step that can't be confirmed makes the run a failed one. A plan that fails, is ended or
    halted reaches it also without a run. After the safe state, and when a run opens, its surroundings are
    recorded. A pause in the middle of all that loses nothing of it, and has nothing recorded twice.

    Parameters
    ----------
    safe_state : SafeState
        Of the station.
    interlocks : sequence of Interlock
    end : callable
        Ends the plan under way, for a reason.
    why_ended : callable
        Gives the reason for which the plan was ended.
    surroundings : Surroundings
        Of the station.
    """

    def __init__(
        self,
        run_engine: RunEngine,
        clock: Clock,
        safe_state: SafeState,
        interlocks: Sequence[Interlock],
        end: Callable[[str], None],
        why_ended: Callable[[], str],
        surroundings: Surroundings,
    ) -> None:
        self._run_engine: Any = run_engine
        self._clock = clock
        self._safe_state = safe_state
        self._interlocks = interlocks
        self._end = end
        self._why_ended = why_ended
        self._surroundings = surroundings
        self._record = _SafetyRecord(clock)
        self._open: list[Any] = []
        self._touched = False
        self._left_on = False
        self._held: set[Any] = set()
        self.problem = ""
        run_engine.preprocessors.append(self._guarded)
        run_engine.register_command("check_interlocks", self._check_interlocks)
        run_engine.register_command("safe_state", self._reach_safe_state)
        run_engine.register_command("_start_suspender", self._suspend)

    def state_changed(self, new: str) -> None:
        """Hold everything as it is in a pause; reach the safe state after a halt, which runs no clean-up."""
        moved = self._run_engine._movable_objs_touched
        if new == "pausing":
            # The RunEngine would stop what was set, and resuming would not set it again: an exposure would
            # go on with its vessel purged.
            self._held |= moved
            moved.clear()
        elif new in ("running", "aborting", "stopping", "halting"):
            moved |= self._held
            self._held.clear()
        if new == "idle":
            self.release()
            if self._touched or self._open:
                self._note(self._safe_state.reach())
            self._open.clear()

    def leave(self) -> None:
        """Reach the safe state, for the last time, if a `mv` by hand has left something on."""
        self.release()
        if self._left_on:
            self._note(self._safe_state.reach())
            if self.problem:
                logger.error("%s", self.problem)

    def release(self) -> None:
        """Stop watching the interlocks."""
        for interlock in self._interlocks:
            interlock.release()

    def _guarded(self, plan: Plan) -> Plan:
        self._open.clear()
        self._surroundings.forget()
        self._touched = False
        self.problem = ""
        # A plan that was halted where nothing may be repeated did not come to give that back.
        self._run_engine.rewindable = True
        result = yield from contingency_wrapper(in_place(plan, self._around), except_plan=self._failed)
        self._left_on = self._left_on or self._touched
        self._touched = False
        # The RunEngine would now stop whatever was set, and so undo a `mv` that has just succeeded.
        self._run_engine._movable_objs_touched.clear()
        return result

    def _around(self, msg: Msg) -> Plan:
        if msg.command not in _STILL:
            self._touched = True
        if msg.command == "rig":
            return self._rigging(msg)
        if msg.command == "open_run":
            return self._opening(msg)
        if msg.command == "close_run" and msg.run in self._open:
            exit_status = msg.kwargs.get("exit_status") or "success"
            return self._closing(msg.run, exit_status, msg.kwargs.get("reason") or "")
        return _alone(msg)

    def _rigging(self, msg: Msg) -> Plan:
        found = yield msg
        named = msg.kwargs.get("devices", ())
        self._surroundings.use(msg.run, [*named, *(found or {}).values()])
        return found

    def _opening(self, msg: Msg) -> Plan:
        with self._nothing_twice():
            yield from insist(Msg("check_interlocks"))
            try:
                uid = yield msg
            except _IN_PLACE_OF_A_RESPONSE:
                self._open.append(msg.run)
                raise
            self._open.append(msg.run)
            if len(self._open) == 1:
                for interlock in self._interlocks:
                    interlock.watch(self._end)
            yield from self._surroundings.opening(msg.run)
        return uid

    def _closing(self, run: Any, exit_status: str, reason: str) -> Plan:
        if exit_status == "abort":
            reason = reason or self._why_ended()
        with self._nothing_twice():
            if len(self._open) == 1:
                self.release()
                yield from insist(Msg("safe_state"))
                if self.problem:
                    exit_status, reason = "fail", "; ".join(filter(None, [reason, self.problem]))
                yield from record(run, "safe_state", [self._record])
            yield from self._surroundings.closing(run)
            self._open.remove(run)
            return (yield Msg("close_run", None, run=run, exit_status=exit_status, reason=reason))

    def _failed(self, error: Exception) -> Plan:
        """Reach the safe state, unless nothing was touched yet, and close what the plan has left open."""
        exit_status, reason = "fail", in_words(error)
        if isinstance(error, RequestAbort | RequestStop):
            exit_status, reason = error.exit_status, ""
        for run in reversed(self._open[:]):
            try:
                yield from self._closing(run, exit_status, reason)
            except (RequestAbort, RequestStop):  # told to end when it was ending already
                if run in self._open:
                    yield from self._closing(run, exit_status, reason)
        if self._touched:
            with self._nothing_twice():
                yield from insist(Msg("safe_state"))

    @contextmanager
    def _nothing_twice(self) -> Iterator[None]:
        """Have a pause repeat none of the messages in here, nor any before them.

        bluesky goes back to the last checkpoint: to what a plan did before it was made safe, or to a run
        that has closed. What a pause cuts short is sent once more by who has sent it.
        """
        before = self._run_engine.rewindable
        self._run_engine.rewindable = False
        try:
            yield
        finally:
            self._run_engine.rewindable = before

    async def _check_interlocks(self, _: Msg) -> bool:
        for interlock in self._interlocks:
            await self._off_loop(interlock.check)
        return True

    async def _reach_safe_state(self, _: Msg) -> bool:
        # What was told before is over: moves that fail because their devices are made safe must not be thrown
        # into the plan while it makes its end.
        self._run_engine._pardon_failures.set()
        self._run_engine._pardon_failures = asyncio.Event()
        self._note(await self._off_loop(self._safe_state.reach))
        return True

    async def _suspend(self, msg: Msg) -> None:
        """Hold everything as it is in a suspension too, at whose beginning the RunEngine would stop it."""
        moved = self._run_engine._movable_objs_touched
        held = set(moved)
        moved.clear()
        try:
            await self._run_engine._start_suspender(msg)
        finally:
            moved |= held

    async def _off_loop(self, work: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._clock.submit(_WORKER, work))

    def _note(self, steps: list[SafeStep]) -> None:
        self._touched = self._left_on = False
        self._record.steps = steps
        # What is confirmed need not be stopped again by the RunEngine, in no order and blocking its loop.
        confirmed = {step.device for step in steps if not step.problem}
        moved = self._run_engine._movable_objs_touched
        moved -= {device for device in moved if device.name in confirmed}
        self.problem = f"safe state not confirmed: {wrong}" if (wrong := unconfirmed(steps)) else ""


def in_place(plan: Plan, around: Callable[[Msg], Plan]) -> Plan:
    """Do the plan `around(msg)` in place of each message of a plan.

    What it returns is the response to the message, what it raises is raised there. bluesky's `plan_mutator`
    does so too, but keeps every message until the end: in a plan of weeks, gigabytes.
    """
    response: Any = None
    error: BaseException | None = None
    while True:
        try:
            msg = plan.send(response) if error is None else plan.throw(error)
        except StopIteration as end:
            return end.value
        response = error = None
        try:
            response = yield from around(msg)
        except GeneratorExit:
            plan.close()
            raise
        except BaseException as raised:
            error = raised


def _alone(msg: Msg) -> Plan:
    return (yield msg)


class _SafetyRecord:
    """What the RunEngine reads into the stream `safe_state` before a run closes."""

    name = "safe_state"
    parent = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.steps: list[SafeStep] = []

    def read(self) -> dict[str, Any]:
        """Read how many steps there were, how many are confirmed, and what is wrong with the rest."""
        confirmed = sum(not step.problem for step in self.steps)
        values = (len(self.steps), confirmed, unconfirmed(self.steps))
        stamp = self._clock.now()
        return {key: {"value": value, "timestamp": stamp} for key, value in zip(_KEYS, values, strict=True)}

    def describe(self) -> dict[str, Any]:
        """Describe the reading."""
        number = {"source": "ssblab", "dtype": "integer", "shape": [], "units": "1"}
        text = {"source": "ssblab", "dtype": "string", "shape": []}
        return dict(zip(_KEYS, (number, number, text), strict=True))

    def read_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def in_words(error: BaseException) -> str:
    """Say what went wrong; of a failed status, what the device said."""
    if isinstance(error, FailedStatus) and error.args and hasattr(error.args[0], "exception"):
        error = error.args[0].exception(timeout=0) or error
    return str(error) or type(error).__name__
