"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(
    path for room in ("ssblab", "devices", "plans", "sim_devices") for path in (ROOT / room).rglob("*.py")
)


def calls(path):
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def name_of(call):
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_wait_without_an_end_and_no_unsafe_reading(path):
    for call in calls(path):
        keywords = {keyword.arg for keyword in call.keywords}
        if name_of(call) == "Msg" and call.args and getattr(call.args[0], "value", "") == "wait":
            assert "timeout" in keywords, f"{path}:{call.lineno}: a wait without timeout"
        if name_of(call) in ("StatusBase", "DeviceStatus", "MoveStatus"):
            pytest.fail(f"{path}:{call.lineno}: use devices.status.Status, which has a timeout on the clock")
        assert name_of(call) not in ("eval", "exec"), f"{path}:{call.lineno}"


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_and_no_plan_stubs_in_loops(path):
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } | {
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & {"pickle", "dill", "joblib", "marshal"}
    if path.is_relative_to(ROOT / "plans"):
        assert "bluesky.plan_stubs" not in imported
        assert "plan_stubs" not in imported


#: What families stand on, beside each other.
BELOW_FAMILIES = {"devices.instrument", "devices.signals", "devices.status", "devices.flyer"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "devices" / "families").glob("*.py")), ids=lambda path: path.stem
)
def test_a_family_knows_no_instrument(path):
    for node in ast.walk(ast.parse(path.read_text())):
        module = node.module if isinstance(node, ast.ImportFrom) else ""
        if (module or "").startswith("devices"):
            assert module in BELOW_FAMILIES or module.startswith("devices.families.")
