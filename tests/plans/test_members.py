"""Members of a run that is about many: how each is noted, whatever way it ends."""

import bluesky.preprocessors as bpp
import pytest
from bluesky import Msg
from bluesky.utils import RunEngineInterrupted

from plans.members import member


def noted(RE, clock, plan):
    """Notes of members, and a run of one with a plan."""
    rows = []
    RE.subscribe(lambda name, doc: rows.append(doc["data"]) if name == "event" else None)
    whole = bpp.run_wrapper(member(plan, "std-01", clock))
    return rows, whole


@pytest.mark.parametrize("end", ["stop", "abort"])
def test_a_member_that_was_ended_from_outside_is_no_success(RE, clock, end):
    def waits():
        yield Msg("pause")

    rows, whole = noted(RE, clock, waits())
    with pytest.raises(RunEngineInterrupted):
        RE(whole)
    getattr(RE, end)()
    assert [(row["members_sample"], row["members_exit_status"]) for row in rows] == [("std-01", "abort")]


def test_a_member_that_comes_to_its_end_or_fails_says_so(RE, clock):
    def works():
        yield Msg("null")

    def fails():
        yield Msg("null")
        raise RuntimeError("no answer")

    rows, whole = noted(RE, clock, works())
    RE(whole)
    _, whole = noted(RE, clock, fails())
    with pytest.raises(RuntimeError, match="no answer"):
        RE(whole)
    told = {(row["members_exit_status"], row["members_reason"]) for row in rows}
    assert told == {("success", ""), ("fail", "no answer")}
