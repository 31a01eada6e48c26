"""What is seen of a recorded run on a cell: cycles, steps that were broken off, and groups of figures."""

import logging

import numpy as np
import pytest
import xarray

from plans.capacity_figures import cycling, last_cycle, rates
from plans.cell_figures import CellRun, gathered
from ssblab.catalog import RunData
from ssblab.quantities import Value

CYCLE = "Repeat 3 times:\n    Charge at 1C until 4.2 V\n    Rest for 60 s\n    Discharge at 1C until 2.5 V"
HELD = "Repeat 2 times:\n    Charge at 1C to 4.2 V and hold until 0.1C\n    Discharge at 1C until 2.5 V"
SAMPLE = {
    "kind": "cell",
    "name": "made-up",
    "capacity_mAh": 1.0,
    "area_cm2": 1.0,
    "voltage_min_V": 2.5,
    "voltage_max_V": 4.2,
    "current_max_mA": 10.0,
    "charge_means": "delithiation",
}


def recorded(
    marks, courses, *, potentiostat=False, exit_status="success", texts=(("section", CYCLE),), **start
):
    """A run of given events `steps` (section, number, rows, ended_by) and rows (step, cycle, current)."""
    count = len(courses)
    step, cycle, current = (np.asarray(column, dtype=float) for column in zip(*courses, strict=True))
    # Each step has its records after 1, 2, ... minutes.
    begins = np.diff(step, prepend=np.nan) != 0
    place = np.arange(count) - np.maximum.accumulate(np.where(begins, np.arange(count), 0)) + 1
    columns = {"ch_current": current}
    if potentiostat:
        columns["ch_potential"] = np.full(count, 3.7)
    else:
        columns |= {
            "ch_voltage": np.full(count, 3.7),
            "ch_step": step,
            "ch_cycle": cycle,
            "ch_capacity": np.abs(current) * place / 60,
        }
    names = ("section", "number", "rows", "ended_by")
    steps = dict(zip(names, (list(column) for column in zip(*marks, strict=True)), strict=True))
    streams = {
        "primary": stream({**columns, "time": 60.0 * np.arange(count)}),
        "steps": stream(
            {f"steps_{name}": np.array(column) for name, column in steps.items()}
            | {"steps_stream": np.array(["primary"] * len(marks)), "time": np.arange(float(len(marks)))}
        ),
    }
    begin = {
        "uid": "0",
        "sample": SAMPLE,
        "current_relative_accuracy": 0.0,
        "voltage_accuracy_V": 0.0,
        "voltage_resolution_V": 0.0,
        "devices": {"channel": "ch"},
        "programs": [{"section": section, "text": text} for section, text in texts],
        **start,
    }
    return RunData(begin, {"exit_status": exit_status}, streams)


def stream(columns):
    time = columns.pop("time")
    return xarray.Dataset({key: ("time", column) for key, column in columns.items()}, {"time": time})


def seen(run):
    return [(step.number, step.cycle, step.kind, step.broken_off) for step in CellRun(run).steps]


def upload(*lengths, cycle=1):
    """Rows of charge, rest and discharge of a cycle, of given lengths."""
    of_steps = zip((1, 2, 3), (1e-3, 0.0, -1e-3), lengths, strict=False)
    return [(number, cycle, current) for number, current, length in of_steps for _ in range(length)]


def test_of_an_upload_that_failed_the_last_step_was_broken_off():
    rows = upload(4, 2, 4) + upload(4, 2, 1, cycle=2)
    run = recorded([("section", "1", len(rows), "failed: the door was opened")], rows, exit_status="fail")
    whole = [("1.1", 1, "charge", False), ("1.2", 1, "rest", False), ("1.3", 1, "discharge", False)]
    second = [("1.1", 2, "charge", False), ("1.2", 2, "rest", False), ("1.3", 2, "discharge", True)]
    assert seen(run) == whole + second
    assert {step.cycle for step in last_cycle(CellRun(run), "section")} == {1}


@pytest.mark.parametrize("ended_by", ["", "|dV/dt| < 2 mV/h", "short: the voltage fell"])
def test_what_the_plan_ended_for_a_condition_came_to_its_own_end(ended_by):
    run = recorded([("section", "1", 3, ended_by)], upload(3))
    assert seen(run) == [("1.1", 1, "charge", False)]


def test_on_a_potentiostat_each_pass_of_a_loop_is_a_cycle():
    rows = [row for _ in range(3) for row in upload(4, 2, 3)]
    numbers = [("1.1", 4), ("1.2", 2), ("1.3", 3)] * 3
    run = recorded([("section", *number, "") for number in numbers], rows, potentiostat=True)
    assert [(number, cycle) for number, cycle, _, _ in seen(run)] == [
        (number, cycle) for cycle in (1, 2, 3) for number in ("1.1", "1.2", "1.3")
    ]
    assert sum(step.passed_mAh for step in last_cycle(CellRun(run), "section")) == pytest.approx(7 / 60)


def test_the_hold_of_a_potentiostat_is_of_the_cycle_of_its_charge():
    one = [("1.1", 3), ("1.1", 2), ("1.2", 3)]
    rows = [(number, 1, current) for number, current in ((1, 1e-3), (2, 1e-4), (3, -1e-3)) for _ in range(3)]
    rows = [row for i, row in enumerate(rows) if i != 3] * 2
    marks = [("section", *each, "") for each in one * 2]
    run = recorded(marks, rows, potentiostat=True, texts=[("section", HELD)])
    assert [(number, cycle) for number, cycle, _, _ in seen(run)] == [
        (number, cycle) for cycle in (1, 2) for number in ("1.1", "1.1", "1.2")
    ]
    # If the hold fails before its first record, the charge did not come to its end either.
    marks = [("section", "1.1", 3, ""), ("section", "1.1", 0, "failed: no answer")]
    run = recorded(marks, rows[:3], potentiostat=True, texts=[("section", HELD)], exit_status="fail")
    assert seen(run) == [("1.1", 1, "charge", True)]


@pytest.mark.parametrize("potentiostat", [False, True])
def test_a_step_that_was_paused_goes_on_in_its_cycle(potentiostat):
    inner = "    Charge at 1C until 4.2 V\n    Discharge at 1C until 2.5 V"
    text = f"While temperature < 30 degC, else pause:\n{inner}"
    numbers = [("1.1", 2, "pause"), ("1.1", 3, ""), ("1.2", 4, "")]
    rows = upload(5, 0, 4)
    kept = {"potentiostat": potentiostat, "texts": [("section", text)]}
    run = recorded([("section", *number) for number in numbers], rows, **kept)
    assert [(cycle, broken) for _, cycle, _, broken in seen(run)] == [(1, False)] * 3
    assert len(last_cycle(CellRun(run), "section")) == 3
    ended = recorded([("section", "1.1", 2, "pause")], rows[:2], exit_status="abort", **kept)
    assert [broken for _, _, _, broken in seen(ended)] == [True]


def test_what_a_plan_repeats_with_a_cycler_is_a_cycle_more():
    """A cycler counts the cycles of one upload; a loop with an end that the plan judges is many."""
    marks = [("section", number, 2, "") for number in ("1.1", "1.2") * 2]
    rows = [(1, 1, current) for current in (1e-3, 1e-3, -1e-3, -1e-3) * 2]
    text = "Repeat 2 times:\n    Charge at 1C until dV/dt < 0 V/s\n    Discharge at 1C until dV/dt > 0 V/s"
    assert [cycle for _, cycle, _, _ in seen(recorded(marks, rows, texts=[("section", text)]))] == [
        1,
        1,
        2,
        2,
    ]


def test_a_check_up_that_was_broken_off_does_not_count():
    """The last one has a discharge of a quarter, and its capacity once was the retention."""
    checks = [("check-up 0", 8), ("check-up 1", 8), ("check-up 2", 7)]
    marks = [(section, "1", 8 + length + 2, "") for section, length in checks[:2]]
    marks.append(("check-up 2", "1", 8 + 2 + 2, "failed: "))
    rows = upload(8, 2, 8) + upload(8, 2, 8) + upload(8, 2, 2)
    run = recorded(marks, rows, exit_status="abort", texts=[(section, CYCLE) for section, _ in checks])
    results = {value.name: value for value in cycling(run)}
    assert results["capacity_retention"].value == 1.0
    assert results["discharge_capacity"].value == pytest.approx(8 / 60)


def test_a_rate_that_was_broken_off_does_not_count():
    sections = ["charge at 0.5C", "charge at 1C", "charge at 2C"]
    rows = upload(8, 2, 8) + upload(6, 2, 3) + upload(4)
    marks = [
        (sections[0], "1", 18, ""),
        (sections[1], "1", 11, "failed: "),
        (sections[2], "1", 4, "failed: "),
    ]
    texts = [(section, CYCLE) for section in sections]
    run = recorded(marks, rows, exit_status="abort", texts=texts, arguments={"vary": "charge"})
    results = {value.name: value.value for value in rates(run)}
    assert results["relative_charge_capacity_1C"] == pytest.approx(0.75)
    assert "stored_charge_capacity_0.5C" in results
    assert "stored_charge_capacity_1C" not in results  # the slow way back was broken off
    assert "charge_capacity_2C" not in results
    assert 0.5 < results["rate_at_80_percent"] < 1.0


def test_a_group_of_figures_that_fails_does_not_take_the_others_along(caplog):
    def divides(run):
        return [Value("never", 1 / 0, "1", None, "")]

    def lacks(run):
        return [Value("never", run.start["what is not there"], "1", None, "")]

    def works(run):
        return [Value("found", 1.0, "1", None, "")]

    run = recorded([("section", "1", 3, "")], upload(3))
    with caplog.at_level(logging.INFO):
        assert [value.name for value in gathered(run, [divides, lacks, works])] == ["found"]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ("WARNING", "run 0: divides left out: ZeroDivisionError: division by zero"),
        ("INFO", "run 0: lacks left out: 'what is not there'"),
    ]
