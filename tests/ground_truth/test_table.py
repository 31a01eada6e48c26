"""The table of all relations: which ids a test names, and that rows survive being written."""

import types

import pytest

from tests import ground_truth_table
from tests.ground_truth_table import Table, ids_of


@pytest.mark.parametrize(
    ("test", "ids"),
    [
        ("test_x.py::test_gt02_no_h2s[argyrodite]", ["GT-02"]),
        ("test_x.py::test_gt_03_04_recovery", ["GT-03", "GT-04"]),
        ("test_x.py::test_recovery[GT-04 Li3PS4-LiI, 100 degC]", ["GT-04"]),
        ("test_x.py::test_gt_2_2_water_dose", []),
    ],
)
def test_ids_are_read_from_a_name_or_an_id(test, ids):
    assert ids_of(test) == ids


def report(gives, outcome="passed"):
    properties = [("ground_truth", [["GT-01"], "A | relation", "test_x.py::test_it"]), ("gives", gives)]
    return types.SimpleNamespace(
        when="call",
        user_properties=properties,
        **{each: each == outcome for each in ("passed", "failed", "skipped")},
    )


def test_a_page_that_was_written_is_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(ground_truth_table, "PAGE", tmp_path / "ground-truth.md")
    table = Table(types.SimpleNamespace(getoption=lambda name: True))
    table.pytest_runtest_logreport(report("1 V"))
    table.pytest_runtest_logreport(report("2 V"))
    table.pytest_sessionfinish(session=None)
    assert ground_truth_table.written_rows() == [["GT-01", "A | relation", "1 V; 2 V", "holds"]]
    table.compare()
    assert table.problem == ""
    table.pytest_runtest_logreport(report("3 V", "failed"))
    table.compare()
    assert "GT-01 | A | relation | does not hold" in table.problem
