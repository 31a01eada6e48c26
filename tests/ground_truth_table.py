"""docs/ground-truth.md, written from the tests of what the source documents say.

`pytest -m ground_truth --write-ground-truth` writes it anew. Every full run compares: a relation that is
missing there, is told otherwise or has another verdict fails the run. The numbers are not compared.
"""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "ground-truth.md"
HEAD = """# Ground truth

Written by `pytest -m ground_truth --write-ground-truth` from the tests; do not edit. Each row is a relation
of the project's source documents, measured on the simulated laboratory as it would be on real cells and rigs.
Where the documents give an order and no number, only the order is asserted, and the numbers here come from
placeholders (see `sim_devices/physics`). "As stated": a test asserts it and reports no number. The table says
that the documents do not contradict the simulation; it says nothing about real cells.

| id | relation | what the simulated laboratory gives | verdict |
|---|---|---|---|
"""


def pytest_addoption(parser):
    parser.addoption(
        "--write-ground-truth", action="store_true", help="write docs/ground-truth.md from the tests that ran"
    )


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # workers report, their controller writes
        config.pluginmanager.register(Table(config), "ground-truth-table")


def pytest_collection_modifyitems(items):
    for item in items:
        marker = item.get_closest_marker("ground_truth")
        if marker:
            ids = list(marker.args) or ids_of(item.nodeid)
            item.user_properties.append(("ground_truth", [ids, relation(item), item.nodeid.split("[")[0]]))


def ids_of(nodeid):
    """Ids in a test's name or id, for tests whose marker names none: GT-03, gt03, gt_03_04."""
    found = re.findall(r"gt[-_]?(\d\d)(?:_(\d\d))?(?!\d)", nodeid, re.IGNORECASE)
    return sorted({f"GT-{number}" for pair in found for number in pair if number})


def relation(item):
    """First sentence of a test's docstring, or its name in words."""
    lines = (item.function.__doc__ or "").strip().splitlines()
    if lines:
        return lines[0].rstrip(".")
    words = re.sub(r"^test_(gt_?\d\d_|\d\d_)*", "", item.originalname).replace("_", " ")
    return words[:1].upper() + words[1:]


class Table:
    """Takes down what the tests report, and writes or compares the page at the end."""

    def __init__(self, config):
        self.config = config
        self.found = {}  # by test: ids, relation, what it gives, whether it holds
        self.problem = ""

    def pytest_runtest_logreport(self, report):
        properties = {}
        for name, value in report.user_properties:
            properties.setdefault(name, []).append(value)
        if report.skipped or not (report.when == "call" or report.failed):
            return
        for ids, relation, test in properties.get("ground_truth", []):
            row = self.found.setdefault(
                test, {"ids": set(), "relation": relation, "gives": [], "holds": True}
            )
            row["ids"].update(ids)
            row["gives"] += [what for what in properties.get("gives", []) if what not in row["gives"]]
            row["holds"] = row["holds"] and report.passed

    def rows(self):
        return sorted(
            [
                ", ".join(sorted(row["ids"])),
                row["relation"],
                "; ".join(row["gives"]) or "as stated",
                "holds" if row["holds"] else "does not hold",
            ]
            for row in self.found.values()
            if row["ids"]
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.config.getoption("write_ground_truth"):
            lines = [
                "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows()
            ]
            PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
        elif self.is_full_run() and session.exitstatus == pytest.ExitCode.OK:
            self.compare()
            if self.problem:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def is_full_run(self):
        option = self.config.option
        named = self.config.args_source is pytest.Config.ArgsSource.ARGS
        chosen = option.keyword or option.markexpr or option.deselect or option.ignore or option.collectonly
        return not (named or chosen or getattr(option, "lf", False))

    def compare(self):
        written = {tuple(row[i] for i in (0, 1, 3)) for row in written_rows()}
        found = {tuple(row[i] for i in (0, 1, 3)) for row in self.rows()}
        if written != found:
            differing = sorted(" | ".join(row) for row in written ^ found)
            self.problem = (
                "docs/ground-truth.md is not what the tests found; write it anew with "
                "pytest -m ground_truth --write-ground-truth:\n" + "\n".join(differing)
            )

    def pytest_terminal_summary(self, terminalreporter):
        if self.problem:
            terminalreporter.section("ground truth", red=True)
            terminalreporter.line(self.problem)


def written_rows():
    """Rows of the page, cells as text."""
    if not PAGE.exists():
        return []
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| GT-")]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]
