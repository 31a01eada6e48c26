"""Figures of merit of a run that is about others."""

import pytest

from plans import bonding_figures
from ssblab.catalog import RunData
from ssblab.quantities import Value
from ssblab.reports.repeat import command_line, ipython_lines
from ssblab.results import MEMBER_KEY, figures_of_merit

START = {
    "uid": "whole",
    "plan_name": "bonding_campaign",
    "figures_of_merit": "plans.bonding_figures:campaign",
    "station": "cells",
    "samples": ["bond-a-01", "bond-b-01"],
    "arguments": {"rate": "0.1 C"},
}


@pytest.fixture
def of_all(monkeypatch):
    """Stands for a function of figures that reads a related run."""
    monkeypatch.setattr(
        bonding_figures,
        "campaign",
        lambda run, related: [Value("total", related(run.start["uid"] + "-1").start["count"], "1", None, "")],
    )


def test_it_reads_the_related_runs(of_all):
    found = figures_of_merit(RunData(START, {}), lambda uid: RunData({"uid": uid, "count": 2.0}, {}))
    assert found["total"].value == 2.0


def test_it_says_that_it_needs_them(of_all):
    with pytest.raises(ValueError, match="run whole is about several runs"):
        figures_of_merit(RunData(START, {}))


def test_a_run_about_several_samples_can_be_repeated_and_one_of_its_members_not_alone():
    said = command_line(START)
    assert said == ("ssblab run bonding_campaign samples=bond-a-01,bond-b-01 rate='0.1 C' --station cells")
    assert "samples=[s.samples['bond-a-01'], s.samples['bond-b-01']]," in ipython_lines(START)
    assert command_line({**START, MEMBER_KEY: "whole"}) is None
    assert command_line({**START, "samples": "bond-a-01; rm"}) is None
