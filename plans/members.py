"""One run about many: each member has a run of its own, and the run around notes how it ended."""

from __future__ import annotations

from bluesky import Msg
from bluesky.utils import RunEngineControlException

from plans.arguments import PlanGenerator
from plans.marks import Marks
from ssblab.clock import Clock
from ssblab.guard import in_place

__all__ = ["STREAM", "member", "noting_runs"]

STREAM = "members"


def noting_runs(plan: PlanGenerator, uids: list[str]) -> PlanGenerator:
    """Note the uids of the runs that a plan opens, as it opens them."""

    def note(message: Msg) -> PlanGenerator:
        response = yield message
        if message.command == "open_run":
            uids.append(response)
        return response

    return (yield from in_place(plan, note))


def member(plan: PlanGenerator, sample: str, clock: Clock) -> PlanGenerator:
    """Run the plan of one sample, and note in the run around it which run it was and how it ended.

    The event in the stream `members` has `sample`, `run` (its uid; "" if none was opened), `exit_status` and
    `reason`. What the plan raises is raised after that.
    """
    uids: list[str] = []
    marks = Marks(STREAM, clock, {})  # of its own: others may write theirs at the same time

    def note(exit_status: str, reason: str) -> PlanGenerator:
        uid = uids[0] if uids else ""
        return marks.write(sample=sample, run=uid, exit_status=exit_status, reason=reason)

    try:
        yield from noting_runs(plan, uids)
    except RunEngineControlException:
        # Whatever it was, the member did not come to its end. The session knows why, and says so in the
        # stop documents.
        yield from note("abort", "")
        raise
    except Exception as error:
        yield from note("fail", str(error) or type(error).__name__)
        raise
    yield from note("success", "")
