"""`ssblab rehearse`, and what `ssblab run` says before a run on a real station."""

import json

import pytest
import yaml
from typer.testing import CliRunner

import ssblab.session
from ssblab.cli.app import app
from ssblab.station import stations
from tests.ssblab.test_cli import FakeSession, result

CAPACITY = ("capacity_check", "sample=std-01", "rate=4C", "rest=1 min", "log_every=2 min")
PELLET = ("moisture_exposure", "sample=pellet-2026-031")


@pytest.fixture
def ssb(tmp_path, monkeypatch):
    monkeypatch.setenv("SSBLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words))


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Let each session end well; says whether one was opened."""
    session = FakeSession(tmp_path, result())
    monkeypatch.setattr(ssblab.session, "open_session", session.open)
    return session


@pytest.fixture
def real(tmp_path):
    """File of the station `cells` at addresses of its own, with its simulated laboratory."""
    station = yaml.safe_load(stations()["cells"].read_text())
    station["time"] = "wall"
    for device in station["devices"].values():
        if "address" in device:
            device["address"] = "TCPIP::192.0.2.1::5025::SOCKET"
    path = tmp_path / "real.yml"
    path.write_text(yaml.safe_dump(station, sort_keys=False))
    return str(path)


def test_a_rehearsal_as_text(ssb, tmp_path):
    done = ssb("rehearse", *CAPACITY, "--station", "cells")
    assert done.exit_code == 0, done.stderr
    assert "capacity_check on station cells, rehearsed: go" in done.stdout
    for words in (
        "begun now it ends at 20",
        "readings in",
        " MB",
        "touched  ch_1_voltage is at 4.2 V",
        "mAh",
        "at most",
    ):
        assert words in done.stdout
    assert not (tmp_path / "data").exists()


def test_a_rehearsal_as_json(ssb):
    done = ssb("rehearse", *CAPACITY, "--station", "cells", "--json")
    told = json.loads(done.stdout)
    assert (told["verdict"], told["problems"], told["exit_status"]) == ("go", [], "success")
    assert told["duration_s"]["least"] < told["duration_s"]["expected"] < told["duration_s"]["most"]
    assert told["charges"][0]["positive_mAh"] > 0
    assert {one["source"] for one in told["limits_touched"]} == {"sample std-01"}
    assert told["runs"][0]["events"]["primary"] > 5
    assert done.stderr == ""


def test_a_bad_end_is_exit_code_1(ssb, tmp_path):
    station = yaml.safe_load(stations()["cells"].read_text())
    station["simulated"]["samples"]["std-01"]["options"]["micro_short_S"] = 6e-3
    path = tmp_path / "short.yml"
    path.write_text(yaml.safe_dump(station, sort_keys=False))
    done = ssb("rehearse", *CAPACITY[:2], "rate=2C", "--station", str(path))
    assert done.exit_code == 1
    assert "rehearsed: no" in done.stdout
    assert "protection" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--static",), ("--json",)], ids=["rehearsed", "static", "json"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("charge_to=4.25 V",), "4.25 V is above voltage < 4.2 V of sample std-01"),
        (("temperature=150 degC",), "chamber goes from -60 to 100 degC"),
        (("rat=1C",), "did you mean rate?"),
    ],
    ids=["program", "limit", "argument"],
)
def test_bad_input(ssb, options, words, message):
    done = ssb("rehearse", "capacity_check", "sample=std-01", *words, "--station", "cells", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_static_check(ssb):
    done = ssb("rehearse", *CAPACITY, "--station", "cells", "--static", "--json")
    told = json.loads(done.stdout)
    assert told["devices"] == {"channel": "ch_1", "chamber": "chamber"}
    assert (told["shortest_s"], told["longest_s"]) == (120.0, 3720.0)
    text = ssb("rehearse", *CAPACITY, "--station", "cells", "--static").stdout
    assert "its programs take at least 2 min, at most 1 h 2 min" in text


def test_a_station_without_a_simulated_laboratory(ssb):
    done = ssb("rehearse", *PELLET, "--station", "example")
    assert done.exit_code == 2
    assert "add a section `simulated`" in done.stderr
    assert "--static" in done.stderr
    assert "arguments, limits and programs are right" in done.stdout
    assert ssb("rehearse", *PELLET, "--station", "example", "--static").exit_code == 0


def test_a_real_run_is_rehearsed_first(ssb, running, real):
    done = ssb("run", *CAPACITY, "--station", real)
    assert done.exit_code == 0
    assert done.stdout.index("rehearsed: go") < done.stdout.index("moisture_exposure: success")
    assert running.opened_with is not None


def test_a_real_run_without_a_simulated_laboratory_is_checked_first(ssb, running):
    done = ssb("run", *PELLET, "--station", "example")
    assert done.exit_code == 0
    assert "arguments, limits and programs are right for station moisture-rig" in done.stdout
    assert "success" in done.stdout


@pytest.mark.parametrize("option", ["--no-rehearse", "--json"])
def test_a_real_run_without_a_summary(ssb, running, option):
    done = ssb("run", *PELLET, "--station", "example", option)
    assert done.exit_code == 0
    assert "are right" not in done.stdout


def test_a_simulated_run_is_not_rehearsed(ssb, running):
    assert "rehearsed" not in ssb("run", "moisture_exposure", "sample=argyrodite-01").stdout


def test_a_plan_says_what_its_arguments_may_be(ssb):
    text = ssb("plans", "rate_capability").stdout
    assert "quantity, several" in text
    assert "charge or discharge" in text
    assert "from 0.1 to 3600" in text
