from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import ssblab.session
from plans.catalogue import find_plans
from ssblab.cli.app import app
from ssblab.cli.arguments import Call
from ssblab.cli.experiments import _go_on
from ssblab.cli.options import read_pairs
from ssblab.cli.output import duration
from ssblab.cli.progress import Activity
from ssblab.documents import Journal
from ssblab.documents.follower import CLOSED_BY_SSBLAB
from ssblab.quantities import BadInput, Value
from ssblab.session import RunResult, StartUpError
from ssblab.station import load_station

ROOT = Path(__file__).parents[2]
HEAVY = ("bluesky", "tiled", "databroker", "ophyd", "pint", "matplotlib", "numpy", "IPython", "pydantic")
PLAN = ("moisture_exposure", "sample=argyrodite-01")


class FakeSession:
    """A session whose plan ends as the test says; notes whether it was opened, and prints as bluesky does."""

    def __init__(self, data: Path, result: RunResult | Exception) -> None:
        self.data_dir = data
        self.devices: dict[str, Any] = {}
        self.RE = SimpleNamespace(msg_hook=None, waiting_hook=None)
        self.clock = SimpleNamespace(monotonic=lambda: 0.0)
        self.opened_with: dict[str, Any] | None = None
        self._result = result

    def open(self, *_: Any, **options: Any) -> FakeSession:
        self.opened_with = options
        return self

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, plan: Any) -> RunResult:
        print("Aborting: running cleanup and marking exit_status as 'abort'...")  # noqa: T201 - so does bluesky
        plan.close()
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def abandon(self, reason: str) -> RunResult:
        return dataclasses.replace(self._result, exit_status="abort", reason=reason)

    def resume(self) -> RunResult:
        return dataclasses.replace(self._result, exit_status="success", reason="")


@pytest.fixture
def ssb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call the command in this process."""
    monkeypatch.setenv("SSBLAB_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words))


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSession]:
    """Let each session end as the test says."""

    def end(result: RunResult | Exception) -> FakeSession:
        session = FakeSession(tmp_path, result)
        monkeypatch.setattr(ssblab.session, "open_session", session.open)
        return session

    return end


def result(exit_status: str = "success", reason: str = "", **more: Any) -> RunResult:
    values = {
        "retention": Value("retention", 0.87654, "1", 0.0123, "R0 / R2"),
        "rate": Value("rate", float("nan"), "mol/s/g", None, "no data: " + "very long " * 30),
    }
    return RunResult("moisture_exposure", (), exit_status, reason, values, **more)


def command(*words: str, data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ssblab.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SSBLAB_DATA": str(data)},
    )


# ---------------------------------------------------------------------------------------------------- pauses


def at_terminal(readline: Callable[[], str]) -> SimpleNamespace:
    return SimpleNamespace(isatty=lambda: True, readline=readline)


def test_a_paused_plan_goes_on_with_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", at_terminal(lambda: "\n"))
    assert _go_on(FakeSession(tmp_path, result("paused"))).exit_status == "success"  # type: ignore[arg-type]


def test_a_paused_plan_is_ended_with_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", at_terminal(interrupted))
    ended = _go_on(FakeSession(tmp_path, result("paused")))  # type: ignore[arg-type]
    assert (ended.exit_status, ended.reason) == ("abort", "interrupted by SIGINT")


def test_where_nobody_can_let_it_go_on_a_paused_plan_is_ended(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession]
) -> None:
    ending(result("paused"))
    done = ssb("run", *PLAN)
    assert done.exit_code == 1
    assert "there is no terminal at which to let it go on" in done.output


# ---------------------------------------------------------------------------------------------------- speed


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, ssblab.cli, ssblab.cli.app\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(ssblab.cli.app.app, ['--help']).exit_code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_names_all_commands(ssb: Callable[..., Any]) -> None:
    text = ssb("--help").stdout
    for name in (
        "rehearse",
        "run",
        "plans",
        "devices",
        "check",
        "runs",
        "show",
        "report",
        "verify",
        "rebuild",
        "sim",
        "shell",
    ):
        assert f" {name} " in text
        assert ssb(name, "--help").exit_code == 0


# ---------------------------------------------------------------------------------------------------- plans


def test_plans_are_listed(ssb: Callable[..., Any]) -> None:
    done = ssb("plans")
    assert done.exit_code == 0
    for name in find_plans():
        assert name in done.stdout


def test_a_plan_is_described_in_json(ssb: Callable[..., Any]) -> None:
    (plan,) = json.loads(ssb("plans", "moisture_exposure", "--json").stdout)
    assert set(plan) == {"name", "doc", "arguments"}
    arguments = {argument["name"]: argument for argument in plan["arguments"]}
    assert set(arguments["dew_point"]) == {
        *("name", "kind", "unit", "default", "required", "doc"),
        *("several", "choices", "lower", "upper"),
    }
    assert arguments["dew_point"]["unit"] == "degC"
    assert arguments["sample"]["required"]
    assert "md" not in arguments


def test_an_unknown_plan(ssb: Callable[..., Any]) -> None:
    done = ssb("plans", "moisture_exposur")
    assert done.exit_code == 2
    assert "did you mean moisture_exposure?" in done.stderr


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["nothing"], "no plan 'nothing'", id="plan"),
        pytest.param([*PLAN, "flew=3 mL/min"], "did you mean flow?", id="argument"),
        pytest.param([*PLAN, "flow=3"], "it has no unit", id="no unit"),
        pytest.param([*PLAN, "flow=3 degC"], "not a unit of the quantity wanted", id="wrong unit"),
        pytest.param([*PLAN, "exposure=-2 h"], "-7200 s, which is not allowed", id="out of range"),
        pytest.param([*PLAN, "md=x"], "md can't be given on the command line", id="no text"),
        pytest.param([*PLAN, "flow"], "not of the form key=value", id="no value"),
        pytest.param([*PLAN, "sample=lps-lii-01"], "sample is given twice", id="twice"),
        pytest.param(["moisture_exposure"], "needs sample", id="no sample"),
        pytest.param(["moisture_exposure", "sample=x"], "there are argyrodite-01, lps-lii-01", id="sample"),
        pytest.param([*PLAN, "mfc=x"], "no device 'x': there are dew_point, h2s", id="device"),
        pytest.param([*PLAN, "mfc=h2s"], "a mass-flow controller is wanted", id="wrong device"),
        pytest.param([*PLAN, "--station", "x"], "no station 'x'", id="station"),
        pytest.param([*PLAN, "--time", "fast"], "is not virtual, wall or a factor", id="time"),
        pytest.param([*PLAN, "--time", "x0"], "is not virtual, wall or a factor", id="stopped time"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_bad_input_touches_nothing(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession], words: list[str], message: str, options: Any
) -> None:
    session = ending(result())
    done = ssb("run", *words, *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert session.opened_with is None


def test_mistakes_of_a_station_file(ssb: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("name: bad\ndevices: {a: {class: devices.nothing.Nothing}}\nsafe_state: [b]\n")
    for words in (["run", *PLAN], ["devices"], ["check", "--json"], ["sim"]):
        done = ssb(*words, "--station", str(path))
        assert done.exit_code == 2
        assert "no device 'b'" in done.stderr
        assert done.stdout == ""


def test_bad_input_that_only_the_running_plan_can_see(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession]
) -> None:
    ending(BadInput("the sample has no vacuum_heating_C"))
    done = ssb("run", *PLAN, "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "Aborting: running cleanup and marking exit_status as 'abort'...\n"
        "ssblab: the sample has no vacuum_heating_C\n"
    )


# ------------------------------------------------------------------------------------------------------ run


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (result(), 0),
        (result("fail", "the furnace is cold"), 1),
        (result("abort", "interlock room_h2s: alarm"), 1),
        (result("abort", "interrupted by SIGTERM"), 130),
        (result("abort", "halted", interrupted=True), 130),
        (StartUpError("1 of 10 devices did not come up"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=["done", "failed", "tripped", "terminated", "interrupted", "start-up", "early Ctrl-C"],
)
def test_exit_codes(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession], ended: Any, code: int
) -> None:
    session = ending(result())
    if isinstance(ended, BaseException):
        session.run = lambda _: (_ for _ in ()).throw(ended)  # type: ignore[method-assign]
    else:
        session._result = ended
    done = ssb("run", *PLAN, "dew_point=-35degC")
    assert done.exit_code == code
    assert "Traceback" not in done.stderr
    if isinstance(ended, RunResult):
        assert f"{ended.exit_status}" in done.stdout
        assert ended.reason in done.stdout


def test_json_is_all_that_standard_output_gets(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession]
) -> None:
    session = ending(result())
    done = ssb("run", *PLAN, "dew_point=-35degC", "--json", "--time", "x10", "--transcript")
    content = json.loads(done.stdout)
    assert list(content) == ["plan", "uids", "exit_status", "reason", "results"]
    assert content["results"]["retention"] == {
        "value": 0.87654,
        "unit": "1",
        "uncertainty": 0.0123,
        "definition": "R0 / R2",
    }
    assert content["results"]["rate"]["value"] is None
    assert done.stderr == "Aborting: running cleanup and marking exit_status as 'abort'...\n"  # no progress
    assert session.opened_with is not None
    assert session.opened_with["time"] == "x10"
    assert session.opened_with["transcript"] is True


def test_results_as_text(ssb: Callable[..., Any], ending: Callable[..., FakeSession], tmp_path: Path) -> None:
    ending(result())
    done = ssb("run", *PLAN)
    assert "0.877 ± 0.012" in done.stdout
    assert "not determined" in done.stdout
    assert str(tmp_path) in done.stdout
    assert "Aborting" not in done.stdout


def test_unexpected_errors_show_where_they_came_from_on_demand_only(
    ssb: Callable[..., Any], ending: Callable[..., FakeSession]
) -> None:
    ending(ZeroDivisionError("of all things"))
    done = ssb("run", *PLAN)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "ssblab: unexpected ZeroDivisionError: of all things; `ssblab --debug ...` shows where it came from"
    )
    assert isinstance(ssb("--debug", "run", *PLAN).exception, ZeroDivisionError)


def test_devices_are_given_to_the_plan_by_name() -> None:
    call = Call("moisture_exposure", ["sample=argyrodite-01", "mfc=mfc"], load_station("sim"))
    with pytest.raises(BadInput, match="mfc must be a mass-flow controller"):
        call.plan({"mfc": "what the session has"})


def test_a_value_may_hold_an_equals_sign() -> None:
    assert read_pairs(["note=a=b", "dew_point=-20degC"]) == {"note": "a=b", "dew_point": "-20degC"}


# ------------------------------------------------------------------------------------------------- progress


class Watched:
    what = "furnace: read"

    def watch(self, watcher: Callable[..., None]) -> None:
        self.tell = watcher


def test_progress_tells_stage_step_and_time_left() -> None:
    now = [100.0]
    run_engine = SimpleNamespace(msg_hook=lambda _: None, waiting_hook=lambda _: None)
    activity = Activity("plan")
    activity.watch(SimpleNamespace(RE=run_engine, clock=SimpleNamespace(monotonic=lambda: now[0])))  # type: ignore[arg-type]
    status = Watched()
    run_engine.msg_hook(SimpleNamespace(command="create", kwargs={"name": "exposure"}))
    run_engine.waiting_hook([status])
    assert activity.lines()[1] == "  furnace: read"
    now[0] += 3600
    status.tell(name="furnace", initial=20, current=40, target=100, unit="degC", time_elapsed=600)
    headline, step = activity.lines()
    assert headline.startswith("plan: exposure, 1 h of laboratory time, ")
    assert step.startswith("  furnace  40 → 100 degC  25%, about 30 min left (")
    status.tell(name="furnace", initial=20, current=float("nan"), target=100, unit="degC", time_elapsed=60)
    assert activity.lines()[1].endswith("for 1 min")
    run_engine.waiting_hook(None)
    assert len(activity.lines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min"), (3725, "1 h 2 min"), (90000, "1 d 1 h"), (-1, "0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# ------------------------------------------------------------------------- with the simulated laboratory


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run of the simulated station, by the command alone."""
    data = tmp_path_factory.mktemp("data")
    process = command("run", *PLAN, "exposure=10 min", "soak=10min", "--json", data=data)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return data, json.loads(out)


def test_a_run_from_end_to_end(filed: tuple[Path, dict[str, Any]]) -> None:
    _, content = filed
    assert content["exit_status"] == "success"
    assert len(content["uids"]) == 1
    assert content["results"]["conductivity_before"]["unit"] == "S/cm"


def ask(data: Path, *words: str) -> Any:
    process = command(*words, "--json", data=data)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    return json.loads(out)


def test_stored_runs_can_be_found_and_shown(
    filed: tuple[Path, dict[str, Any]], ssb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, content = filed
    monkeypatch.setenv("SSBLAB_DATA", str(data))

    def here(*words: str) -> Any:
        done = ssb(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    (uid,) = content["uids"]
    (found,) = ask(data, "runs", "sample=argyrodite-01", "plan=moisture_exposure", "since=2026")
    assert (found["uid"], found["exit_status"]) == (uid, "success")
    assert here("runs") == [found]
    assert here("runs", "scan_id=1", "arguments.soak=600 s") == [found]
    for query in ("sample=another", "sample.mass_g.x=1", "since=9000-01", "until=2026-01-01 12:30"):
        assert here("runs", query) == []
    shown = ask(data, "show", "-1")
    assert shown == here("show", uid[:8]) == here("show", "1")
    assert shown["start"]["uid"] == uid
    assert shown["streams"]["exposure"] > 50
    assert shown["results"] == content["results"]
    assert ask(data, "verify") == here("rebuild")


def test_an_unknown_run(tmp_path: Path, ssb: Callable[..., Any]) -> None:
    with Journal(tmp_path, "one") as journal:
        for uid in ("ffff0000", "ffff1111"):
            journal.write("start", {"uid": uid, "time": 1.0})
            journal.write(
                "stop", {"uid": f"s-{uid}", "run_start": uid, "time": 2.0, "exit_status": "success"}
            )
    for name in ("eeeeeeee", "-3", "7"):
        done = ssb("show", name)
        assert (done.exit_code, done.stderr) == (2, f"ssblab: no run {name!r}: `ssblab runs` lists them\n")
    assert "2 runs begin with 'ffff'" in ssb("show", "ffff").stderr
    assert "'yesterday': give a time such as 2026" in ssb("runs", "since=yesterday").stderr


def test_runs_are_listed_without_a_catalog_unless_a_dead_process_left_one_open(
    tmp_path: Path, ssb: Callable[..., Any]
) -> None:
    with Journal(tmp_path, "one") as journal:
        journal.write("start", {"uid": "aaaaaaaa", "time": 1.0})
        (living,) = json.loads(ssb("runs", "--json").stdout)
    assert living["exit_status"] == "open"
    assert not (tmp_path / "catalog").exists()
    (left,) = json.loads(ssb("runs", "--json").stdout)
    assert (left["exit_status"], left["reason"]) == ("fail", CLOSED_BY_SSBLAB)


@pytest.mark.parametrize("station", ["sim", "shelf"])
def test_check(ssb: Callable[..., Any], station: str) -> None:
    content = json.loads(ssb("check", "--station", station, "--json").stdout)
    assert list(content) == ["devices"]
    assert [device["name"] for device in content["devices"]] == list(load_station(station).devices)
    for device in content["devices"]:
        assert list(device) == ["name", "family", "model", "identity", "ok", "message", "round_trip_s"]
        assert device["ok"]
        assert device["round_trip_s"] >= 0  # a channel may be served by what its cycler has just read


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    process = command("run", *PLAN, "exposure=30 d", "--no-report", data=tmp_path)
    assert process.stderr is not None
    while not (line := process.stderr.readline()) or "connecting" in line or "starting" in line:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "abort: interrupted by SIGINT" in out


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """Station file of a simulated laboratory in a process of its own."""
    path = tmp_path / "served.yml"
    process = command("sim", "--write-station", str(path), data=tmp_path)
    assert process.stdout is not None
    while "Serving" not in process.stdout.readline():
        assert process.poll() is None
    yield path
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_another_process_finds_the_served_laboratory(served: Path, tmp_path: Path) -> None:
    station = yaml.safe_load(served.read_text())
    assert "simulated" not in station
    assert station["devices"]["mfc"]["address"].startswith("TCPIP::127.0.0.1::")
    content = ask(tmp_path, "check", "--station", str(served), "--time", "wall")
    assert all(device["ok"] for device in content["devices"])


def test_check_of_a_station_that_is_off(tmp_path: Path) -> None:
    path = tmp_path / "dark.yml"
    path.write_text(
        "name: dark\nsafe_state: [mfc]\n"
        "devices: {mfc: {class: devices.alicat.Alicat, address: 'TCPIP::127.0.0.1::1::SOCKET'}}\n"
    )
    process = command("check", "--station", str(path), "--json", data=tmp_path)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    (device,) = json.loads(out)["devices"]
    assert not device["ok"]
    assert "check that the instrument is on" in device["message"]
    assert device["round_trip_s"] is None
