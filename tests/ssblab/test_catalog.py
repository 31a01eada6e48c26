"""The catalog, as databroker's users meet it: in the process, by name, and on a server."""

import json
import math
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssblab
from ssblab import catalog
from ssblab.documents import DocumentStream, Follower, Journal, read_journal, stored_runs

ROOT = Path(ssblab.__file__).parents[1]
EARLY, LATE = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
KEYS = {
    "cell_voltage": {"dtype": "number", "shape": [], "source": "sim", "units": "V"},
    "cycle": {"dtype": "integer", "shape": [], "source": "sim"},
    "step": {"dtype": "string", "shape": [], "source": "sim"},
    "relay": {"dtype": "boolean", "shape": [], "source": "sim"},
    "spectrum": {"dtype": "array", "shape": [8], "source": "sim", "units": "ohm"},
}


class Clock:
    """A lab clock that moves half a second at each look."""

    def __init__(self, start: float) -> None:
        self.time = start

    def now(self) -> float:
        self.time += 0.5
        return self.time


def emit_run(emit: Any, uid: str, rows: dict[str, list[dict[str, Any]]], **metadata: Any) -> None:
    """Emit a run: for each stream the data of its events."""
    emit("start", {"uid": uid, "time": 0.0, **metadata})
    for name, events in rows.items():
        keys = {key: KEYS[key] for key in events[0]}
        descriptor = {"uid": f"{name}-{uid}", "run_start": uid, "name": name, "time": 0.0, "data_keys": keys}
        cell = {"data": {"area": 1.3}, "timestamps": {"area": 1.0}}
        cell["data_keys"] = {"area": {"dtype": "number", "shape": [], "source": "sim", "units": "cm^2"}}
        configured = {"configuration": {"cell": cell}, "hints": {"cell": {"fields": ["cell_voltage"]}}}
        emit("descriptor", {**descriptor, **configured, "object_keys": {"cell": list(keys)}})
    for name, events in rows.items():
        for number, data in enumerate(events, 1):
            doc = {"uid": f"{uid}-{number}", "descriptor": f"{name}-{uid}", "seq_num": number, "time": 0.0}
            emit("event", {**doc, "data": data, "timestamps": dict.fromkeys(data, 1.0), "filled": {}})
    counts = {name: len(events) for name, events in rows.items()}
    end = {"exit_status": "success", "reason": "", "num_events": counts}
    emit("stop", {"uid": f"s{uid[1:]}", "run_start": uid, "time": 0.0, **end})


def row(number: int) -> dict[str, Any]:
    voltage = math.nan if number == 2 else math.inf if number == 3 else 3.0 + number / 7
    spectrum = np.arange(8) * number / 3
    return {
        "cell_voltage": voltage,
        "cycle": number,
        "step": "hold",
        "relay": number % 2 == 0,
        "spectrum": spectrum,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a run of hours ahead, then one of now."""
    folder = tmp_path_factory.mktemp("data")
    with Journal(folder, "one") as journal:
        exposure = [{"cell_voltage": 1.0}, {"cell_voltage": 2.0}]
        emit_run(
            DocumentStream(Clock(1.9e9), journal), EARLY, {"primary": [row(1)]}, plan_name="rest", scan_id=1
        )
        rows = {"primary": [row(number) for number in range(1, 6)], "exposure": exposure}
        sample = {"cell": "SSB-7", "mass_mg": 12.5}
        emit_run(
            DocumentStream(Clock(1.7e9), journal), LATE, rows, plan_name="hold", scan_id=2, sample=sample
        )
    with Follower(folder) as follower:
        assert follower.catch_up()
    return folder


@pytest.fixture(scope="module")
def db(data: Path) -> Iterator[Any]:
    db = catalog.open_catalog(data)
    yield db
    catalog.close_catalog(db)


def same(left: Any, right: Any) -> bool:
    """Compare documents, NaN being equal to NaN."""
    return json.dumps(left) == json.dumps(right)


def run_python(script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )


# ------------------------------------------------------------------------------------------------- reading


def test_the_last_run_is_the_one_started_last_whatever_time_it_carries(db: Any) -> None:
    assert db[-1].start["uid"] == LATE
    assert db[-2].start["uid"] == EARLY
    assert db[-2].start["time"] > db[-1].start["time"]
    assert [header.start["uid"] for header in db()] == [EARLY, LATE]


def test_table(db: Any) -> None:
    table = db[-1].table()
    assert list(table.index) == [1, 2, 3, 4, 5]
    assert list(table["cycle"]) == [1, 2, 3, 4, 5]
    assert math.isnan(table["cell_voltage"][2])
    assert table["cell_voltage"][3] == math.inf
    assert table["cell_voltage"][5] == 3.0 + 5 / 7
    assert list(table["step"]) == ["hold"] * 5
    assert list(table["relay"]) == [False, True, False, True, False]
    np.testing.assert_array_equal(table["spectrum"][4], np.arange(8) * 4 / 3)
    assert list(db[-1].table("exposure")["cell_voltage"]) == [1.0, 2.0]


def test_documents_are_those_of_the_plan(db: Any, data: Path) -> None:
    journalled = [(name, doc) for name, doc in read_journal(data / "journals" / "one.jsonl")]
    assert same([*db[EARLY].documents(), *db[LATE].documents()], journalled)
    assert {name for name, _ in journalled} == {"start", "descriptor", "event", "stop"}


def test_a_header_gives_its_documents(db: Any) -> None:
    header = db[-1]
    assert header.start["sample"] == {"cell": "SSB-7", "mass_mg": 12.5}
    assert header.stop["num_events"] == {"primary": 5, "exposure": 2}
    assert {doc["name"] for doc in header.descriptors} == {"primary", "exposure"}
    assert sorted(header.stream_names) == ["exposure", "primary"]
    assert len(list(header.events())) == 5


def test_search(db: Any) -> None:
    def found(**query: Any) -> list[str]:
        return [header.start["uid"] for header in db(**query)]

    assert found(plan_name="hold") == [LATE]
    assert found(plan_name="nothing") == []
    assert found(since=1.8e9) == [EARLY]
    assert found(until=1.8e9) == [LATE]
    assert found(since="2023-11-14", until="2023-11-16") == [LATE]
    assert db["aaaaaa"].start["uid"] == EARLY
    assert db[2].start["uid"] == LATE
    with pytest.raises(KeyError):
        db["cccccc"]


def test_xarray(db: Any) -> None:
    dataset = db.v2[-1]["primary"].read()
    np.testing.assert_array_equal(dataset["cycle"], [1, 2, 3, 4, 5])
    assert dataset["spectrum"].shape == (5, 8)


def test_run_data(db: Any) -> None:
    run = catalog.run_data(db[-1])
    assert type(run.start["sample"]) is dict
    assert run.stop["exit_status"] == "success"
    primary = run.streams["primary"]
    assert primary["cell_voltage"].dims == ("time",)
    assert primary["cell_voltage"].attrs["units"] == "V"
    assert primary["spectrum"].attrs["units"] == "ohm"
    assert primary["cycle"].attrs["units"] == ""
    assert primary["time"].attrs["units"] == "s"
    assert primary["spectrum"].shape == (5, 8)
    assert list(primary["step"].values) == ["hold"] * 5
    assert list(primary["seq_num"].values) == [1, 2, 3, 4, 5]
    assert list(np.diff(primary["time"].values)) == [0.5] * 4
    assert catalog.run_data(db.v2[LATE]).streams["exposure"].sizes == {"time": 2}


def test_a_run_read_from_its_journal_is_the_one_in_the_catalog(data: Path, db: Any) -> None:
    early, late = sorted(stored_runs(data), key=lambda run: run.start["uid"])
    assert [run.start["uid"] for run in stored_runs(data)] == [EARLY, LATE]  # in the order of their starts
    for run in (early, late):
        journalled, filed = run.data(), catalog.run_data(db[run.start["uid"]])
        assert (journalled.start, journalled.stop) == (filed.start, filed.stop) == (run.start, run.stop)
        assert list(journalled.streams) == list(filed.streams)
        for name, stream in journalled.streams.items():
            assert stream.identical(filed.streams[name])
            assert dict(stream.dtypes) == dict(filed.streams[name].dtypes)


def test_documents_without_the_journal_come_from_the_catalog(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "catalog", tmp_path / "moved" / "catalog")
    db = catalog.open_catalog(tmp_path / "moved")
    documents = list(db[-1].documents())
    names = [name for name, _ in documents]
    assert (names.count("event"), names[0], names[-1]) == (7, "start", "stop")
    np.testing.assert_array_equal(db[-1].table()["spectrum"][4], np.arange(8) * 4 / 3)
    catalog.close_catalog(db)


# --------------------------------------------------------------------------------- what a lab may throw at it


def test_awkward_streams_are_filed_and_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uid = "cccccccc-0000-4000-8000-000000000003"
    kinds = {
        "V": "number",
        "v": "number",
        "time": "number",
        "R(ohm)": "number",
        "µ": "string",
        "9": "integer",
    }
    keys = {key: {"dtype": kind, "shape": [], "source": "sim"} for key, kind in kinds.items()}
    keys |= {"x" * 90: keys["V"], "ragged": {"dtype": "array", "shape": [None], "source": "sim"}}
    odd = {
        "V": "overload",
        "v": None,
        "time": 5,
        "R(ohm)": 2**60,
        "µ": 7,
        "9": 1.5,
        "x" * 90: 1.0,
        "ragged": [1],
    }
    late = {**dict.fromkeys(keys, math.nan), "ragged": []}
    with Journal(tmp_path, "one") as journal:
        journal.write(
            "start", {"uid": uid, "time": 1.0, "big": 2**70, "nan": math.nan, "deep": [[[{"a": [1]}]]]}
        )
        descriptor = {"uid": "d", "run_start": uid, "name": "primary", "time": 1.0, "data_keys": keys}
        journal.write("descriptor", {**descriptor, "configuration": {}, "hints": {}, "object_keys": {}})
        for number in range(1, 2502):
            values = odd if number == 1 else late if number < 2500 else {**late, "v": 0.5, "V": 1.5}
            doc = {"uid": f"e{number}", "descriptor": "d", "seq_num": number, "time": float(number)}
            journal.write(
                "event", {**doc, "data": values, "timestamps": dict.fromkeys(values, 1.0), "filled": {}}
            )
        journal.write("stop", {"uid": "s", "run_start": uid, "time": 9.0, "exit_status": "success"})
    with Follower(tmp_path) as follower:
        assert follower.catch_up(), caplog.text
    db = catalog.open_catalog(tmp_path)
    primary = catalog.run_data(db[-1]).streams["primary"]
    assert primary.sizes["time"] == 2501
    journalled = stored_runs(tmp_path)[0].data().streams["primary"]
    assert not any(isinstance(text, str) for text in journalled["x_"].values)  # missing, as in the catalog
    assert journalled.drop_vars("x_").identical(primary.drop_vars("x_"))
    assert list(primary["V"].values[-2:]) == [1.5, 1.5]
    assert list(primary["v_1"].values[-2:]) == [0.5, 0.5]
    assert list(primary["time_1"].values[:1]) == [5.0]
    assert db.v2[-1].metadata["ssblab"]["unfit_values"] >= 3
    assert len(list(db[-1].documents())) == 2504
    assert "R_ohm_" in caplog.text
    catalog.close_catalog(db)


def test_a_stream_without_events_has_an_empty_table(tmp_path: Path) -> None:
    with Journal(tmp_path, "one") as journal:

        def without_events(name: str, doc: dict[str, Any]) -> None:
            if name != "event":
                journal.write(name, doc)

        emit_run(without_events, EARLY, {"primary": [{"cell_voltage": 1.0}]})
    with Follower(tmp_path) as follower:
        assert follower.catch_up()
    db = catalog.open_catalog(tmp_path)
    assert len(db[-1].table()) == 0
    empty = catalog.run_data(db[-1]).streams["primary"]
    assert empty.sizes["time"] == 0
    assert stored_runs(tmp_path)[0].data().streams["primary"].identical(empty)
    catalog.close_catalog(db)


def test_two_processes_read_while_one_writes(tmp_path: Path) -> None:
    reader = """
        import os, threading
        from ssblab import catalog
        db = catalog.open_catalog()
        seen, stopped = -1, False
        while not stopped:
            header = db[-1]
            stopped = bool(header.stop)
            rows = len(header.table())
            assert rows >= seen, (rows, seen)
            seen = rows
            threading.Event().wait(0.2)
        print(seen)
    """
    with Journal(tmp_path, "one") as journal, Follower(tmp_path) as follower:
        writing = WritingRun(journal)
        writing.events(10)
        assert follower.catch_up()
        readers = [run_python(reader, SSBLAB_DATA=str(tmp_path)) for _ in range(2)]
        deadline = time.monotonic() + 8.0
        while time.monotonic() < deadline:
            writing.events(20)
            assert follower.catch_up()
        writing.stop()
        assert follower.catch_up()
    for process in readers:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert int(output) == writing.number


class WritingRun:
    """A run that grows."""

    def __init__(self, journal: Journal) -> None:
        self.number = 0
        self._journal = journal
        self._kept: list[tuple[str, dict[str, Any]]] = []
        emit_run(lambda name, doc: self._kept.append((name, doc)), LATE, {"primary": [{"cell_voltage": 1.0}]})
        for name, doc in self._kept[:2]:
            journal.write(name, doc)

    def events(self, count: int) -> None:
        name, doc = self._kept[2]
        for _ in range(count):
            self.number += 1
            self._journal.write(name, {**doc, "seq_num": self.number})

    def stop(self) -> None:
        self._journal.write(*self._kept[3])


# ------------------------------------------------------------------------------------- folders, names, keys


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_data_is_its_owners_alone(tmp_path: Path) -> None:
    folder = catalog.data_folder(tmp_path / "new" / "data")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with Journal(folder, "one") as journal:
        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    catalog.open_client(folder).context.close()
    for name in ("catalog.db", "storage.db"):
        assert stat.S_IMODE((folder / "catalog" / name).stat().st_mode) == 0o600


def test_the_data_folder_is_the_given_one_or_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBLAB_DATA", str(tmp_path / "named"))
    assert catalog.data_folder() == tmp_path / "named"
    assert catalog.data_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("SSBLAB_DATA")
    monkeypatch.setattr(catalog.platformdirs, "user_data_dir", lambda name: str(tmp_path / "user" / name))
    assert catalog.data_folder() == tmp_path / "user" / "ssblab"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(catalog.CatalogError, match="SSBLAB_DATA"):
        catalog.data_folder(tmp_path / "file" / "data")


def test_the_databases_write_ahead(data: Path, db: Any) -> None:
    for name in ("catalog.db", "storage.db"):
        assert (data / "catalog" / name).read_bytes()[18:20] == b"\x02\x02"
        connection = sqlite3.connect(data / "catalog" / name)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_databroker_finds_the_catalog_by_its_name(data: Path, tmp_path: Path) -> None:
    script = """
        import warnings
        warnings.simplefilter("error")
        from ssblab.catalog import register_profile
        print(register_profile())
        import databroker
        from databroker import Broker
        print(databroker.catalog["ssblab"][-1].metadata["start"]["uid"])
        db = Broker.named("ssblab")
        print(db[-1].start["uid"], len(db[-1].table()), len(list(db[-1].documents())))
    """
    variables = {"TILED_PROFILES": str(tmp_path / "profiles"), "SSBLAB_DATA": str(data)}
    with run_python(script, **variables) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.split() == [str(tmp_path / "profiles" / "ssblab.yml"), LATE, LATE, "5", "11"]


def test_a_folder_that_is_no_catalog_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog.db").write_text("no database")
    (tmp_path / "catalog" / "storage.db").write_text("no database")
    with pytest.raises(catalog.CatalogError, match=r"rebuild"):
        catalog.open_catalog(tmp_path)


# ------------------------------------------------------------------------------------------------- a server


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """A Tiled server on the loopback: its address, its data folder, its key."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "data").mkdir()
    config = catalog.profile(folder / "data")["direct"]
    (folder / "config.yml").write_text(json.dumps(config))
    port, key = free_port(), "0123456789abcdef" * 4
    log = (folder / "log").open("w")
    command = [sys.executable, "-m", "tiled", "serve", "config", str(folder / "config.yml")]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=log,
        stderr=log,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TILED_SINGLE_USER_API_KEY": key},
    )
    deadline = time.monotonic() + 60
    while not _listens(port):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)
    yield f"http://127.0.0.1:{port}", folder / "data", key
    process.terminate()
    process.wait(30)
    log.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_serves_as_a_folder_does(server: tuple[str, Path, str], tmp_path: Path, data: Path) -> None:
    uri, _, key = server
    key_file = tmp_path / "key"
    key_file.write_text(key + "\n")
    key_file.chmod(0o600)
    shutil.copytree(data / "journals", tmp_path / "journals")
    with Follower(tmp_path, uri, api_key_file=key_file) as follower:
        assert follower.catch_up()
        assert follower.catch_up()
    db = catalog.open_catalog(uri, api_key_file=key_file)
    assert db[-1].start["uid"] == LATE
    assert list(db[-1].table()["cycle"]) == [1, 2, 3, 4, 5]
    assert [header.start["uid"] for header in db(plan_name="rest")] == [EARLY]
    assert len(list(db[-1].documents())) == 11
    assert catalog.run_data(db[-1]).streams["exposure"]["cell_voltage"].attrs["units"] == "V"
    catalog.close_catalog(db)


def test_the_key_comes_from_the_environment_too(
    server: tuple[str, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _, key = server
    monkeypatch.setenv("SSBLAB_TILED_API_KEY", key)
    catalog.open_client(uri).context.close()
    monkeypatch.setenv("SSBLAB_TILED_API_KEY", "0" * 64)
    with pytest.raises(catalog.CatalogError, match="SSBLAB_TILED_API_KEY"):
        catalog.open_client(uri)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("secret")
    key_file.chmod(0o640)
    with pytest.raises(catalog.CatalogError, match="chmod 600") as failure:
        catalog.open_catalog("http://127.0.0.1:9", api_key_file=key_file)
    assert "secret" not in str(failure.value)
    with pytest.raises(catalog.CatalogError, match="cannot be read"):
        catalog.open_catalog("http://127.0.0.1:9", api_key_file=tmp_path / "none")


@pytest.mark.parametrize("mute", [False, True], ids=["refuses", "mute"])
def test_a_dead_server_is_told_within_seconds(mute: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if mute:
            listener.listen()
        begin = time.monotonic()
        with pytest.raises(catalog.CatalogError, match="is it running"):
            catalog.open_catalog(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - begin < 15
