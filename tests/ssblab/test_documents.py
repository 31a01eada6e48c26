"""Journal, stream and follower: nothing acknowledged is lost, nothing is filed twice or made up."""

import json
import logging
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssblab
from ssblab import catalog
from ssblab.documents import (
    Damage,
    DocumentStream,
    Follower,
    Journal,
    JournalError,
    Report,
    read_journal,
    rebuild,
    stored_runs,
    verify,
)
from ssblab.documents import follower as follower_module
from ssblab.documents import journal as journal_module
from ssblab.documents.audit import compare

logger = logging.getLogger(__name__)
ROOT = Path(ssblab.__file__).parents[1]
Emit = Callable[[str, dict[str, Any]], None]


class Clock:
    """A lab clock that moves half a second at each look."""

    def __init__(self, start: float = 1.7e9) -> None:
        self.time = start

    def now(self) -> float:
        self.time += 0.5
        return self.time


def start_run(emit: Emit, uid: str, **metadata: Any) -> None:
    emit("start", {"uid": uid, "time": 0.0, "plan_name": "hold", **metadata})
    keys = {
        "cell_voltage": {"dtype": "number", "shape": [], "source": "sim", "units": "V"},
        "cycle": {"dtype": "integer", "shape": [], "source": "sim"},
        "step": {"dtype": "string", "shape": [], "source": "sim"},
    }
    emit(
        "descriptor",
        {
            "uid": f"d-{uid}",
            "run_start": uid,
            "name": "primary",
            "time": 0.0,
            "data_keys": keys,
            "configuration": {},
            "hints": {},
            "object_keys": {"cell": list(keys)},
        },
    )


def event(uid: str, number: int, **data: Any) -> dict[str, Any]:
    values = {"cell_voltage": 3.0 + number / 1000, "cycle": number // 10, "step": "hold", **data}
    return {
        "uid": f"e-{uid}-{number}",
        "descriptor": f"d-{uid}",
        "seq_num": number,
        "time": 0.0,
        "data": values,
        "timestamps": dict.fromkeys(values, 1.0),
        "filled": {},
    }


def stop(uid: str, events: int) -> dict[str, Any]:
    return {
        "uid": f"s-{uid}",
        "run_start": uid,
        "time": 0.0,
        "exit_status": "success",
        "reason": "",
        "num_events": {"primary": events},
    }


def emit_run(emit: Emit, uid: str, events: int, *, close: bool = True) -> None:
    start_run(emit, uid)
    for number in range(1, events + 1):
        emit("event", event(uid, number))
    if close:
        emit("stop", stop(uid, events))


def seeded() -> random.Random:
    seed = random.randrange(2**32)
    logger.warning("seed %d", seed)
    return random.Random(seed)


def same(left: Any, right: Any) -> bool:
    """Compare documents, NaN being equal to NaN."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    client = catalog.open_client(tmp_path)
    yield client
    client.context.close()


@pytest.fixture
def follower(tmp_path: Path, client: Any) -> Follower:
    return Follower(tmp_path, client=client)


def filed_events(client: Any, uid: str) -> list[int]:
    return list(catalog.run_data(catalog.find_run(client, uid)).streams["primary"]["seq_num"].values)


@pytest.fixture
def short_journal(tmp_path: Path) -> Path:
    with Journal(tmp_path / "short", "short") as journal:
        emit_run(DocumentStream(Clock(), journal), "run-0", 3)
    return journal.path


# --------------------------------------------------------------------------------------------- the journal


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    doc = {
        "scalars": [
            np.float64(0.1),
            np.float32(1.5),
            np.int64(2**62),
            np.uint8(7),
            np.bool_(True),
            np.str_("µ"),
        ],
        "array": np.arange(6.0).reshape(2, 3),
        "empty": np.array([]),
        "exact": [0.1 + 0.2, 1e-323, -0.0, 1.7976931348623157e308, 2**70],
        "not finite": [math.nan, math.inf, -math.inf, np.float64("nan")],
        "text": "Schwefel \u2028 \udc80 \n \x00",
        "none": None,
        "nested": {"a": ({"b": np.int8(-1)},)},
    }
    with Journal(tmp_path, "one") as journal:
        journal.write("start", doc)
    ((name, back),) = read_journal(journal.path)
    assert name == "start"
    assert back["scalars"] == [0.1, 1.5, 2**62, 7, True, "µ"]
    assert back["array"] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert back["empty"] == []
    assert [repr(value) for value in back["exact"]] == [repr(value) for value in doc["exact"]]
    assert same(back["not finite"], [math.nan, math.inf, -math.inf, math.nan])
    assert back["text"] == doc["text"]
    assert back["nested"] == {"a": [{"b": -1}]}


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", {1, 2}, 1 + 2j, np.datetime64("now"), {(1, 2): 3}],
    ids=["object", "bytes", "set", "complex", "datetime", "key"],
)
def test_what_json_cannot_say_is_refused_and_leaves_no_trace(tmp_path: Path, value: Any) -> None:
    with Journal(tmp_path, "one") as journal:
        with pytest.raises(JournalError, match="start document"):
            journal.write("start", {"value": value})
        journal.write("start", {"uid": "after"})
    assert [doc for _, doc in read_journal(journal.path)] == [{"uid": "after"}]


def test_a_line_tells_both_times_and_the_first_one_the_process(tmp_path: Path) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run", 1)
    lines = [json.loads(line[9:]) for line in journal.path.read_bytes().splitlines()]
    assert lines[0]["pid"] == os.getpid()
    assert all(line["m"] <= time.monotonic() for line in lines)
    assert [line["w"] for line in lines] == sorted(line["w"] for line in lines)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 81, "nul\0"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JournalError, match="no name"):
        Journal(tmp_path, name)


def test_a_journal_has_one_writer_once(tmp_path: Path) -> None:
    with Journal(tmp_path, "one"), pytest.raises(JournalError, match="Another process"):
        Journal(tmp_path, "one")
    with pytest.raises(JournalError, match="exists already"):
        Journal(tmp_path, "one")
    with Journal(tmp_path, "two") as journal:
        pass
    with pytest.raises(JournalError, match="closed"):
        journal.write("event", {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("in the way")
    with pytest.raises(JournalError, match="journals"):
        Journal(tmp_path, "one")


def test_a_burst_before_a_silence_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    enough = threading.Event()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(time.monotonic())
        enough.set()

    with Journal(tmp_path, "one") as journal:
        monkeypatch.setattr(journal_module.os, "fsync", fsync)
        for number in range(50):
            journal.write("event", event("run", number))
        written = time.monotonic()
        assert enough.wait(5)
        assert synced[-1] - written < 1.0  # 0.2 s on an idle machine
        assert len(synced) <= 2
        for name in ("start", "descriptor", "stop"):
            before = len(synced)
            journal.write(name, {"uid": "x"})
            assert len(synced) == before + 1


def test_a_torn_tail_at_every_byte(short_journal: Path, tmp_path: Path) -> None:
    whole = short_journal.read_bytes()
    documents = list(read_journal(short_journal))
    torn = tmp_path / "torn.jsonl"
    for length in range(len(whole)):
        torn.write_bytes(whole[:length])
        damage: list[Damage] = []
        assert list(read_journal(torn, damage)) == documents[: whole[:length].count(b"\n")]
        assert damage == []


def test_a_flip_of_every_byte(short_journal: Path, tmp_path: Path) -> None:
    whole = short_journal.read_bytes()
    documents = list(read_journal(short_journal))
    flipped = tmp_path / "flipped.jsonl"
    chance = seeded()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= chance.randrange(1, 256)
        if position < 10:
            changed[position] = ord("\n")  # leaves a line that is too short to be one
        flipped.write_bytes(changed)
        damage: list[Damage] = []
        read = list(read_journal(flipped, damage))
        line = whole[:position].count(b"\n") + 1
        assert all(document in documents for document in read)
        # The flip of a line's end joins it to the next one; that of the last line's end leaves it torn.
        assert len(documents) - 2 <= len(read) < len(documents)
        assert position == len(whole) - 1 or damage[0].line == line


def test_a_full_disk_ends_the_plan_with_its_clean_up(tmp_path: Path) -> None:
    script = """
        import resource, sys
        import bluesky.plan_stubs as bps
        import bluesky.preprocessors as bpp
        from bluesky import RunEngine
        from ophyd.sim import det
        from ssblab.documents import DocumentStream, Journal, JournalError, read_journal

        class Clock:
            def now(self):
                return 1.7e9

        journal = Journal(sys.argv[1], "full")
        RE = RunEngine(context_managers=[])
        RE.subscribe(DocumentStream(Clock(), journal))
        cleaned = []

        @bpp.finalize_decorator(lambda: (yield from bps.null()) or cleaned.append(True))
        @bpp.run_decorator()
        def plan():
            for number in range(100):
                if number == 20:
                    size = journal.path.stat().st_size
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
                yield from bps.checkpoint()
                yield from bps.trigger_and_read([det])

        try:
            RE(plan())
        except JournalError as error:
            assert "full?" in str(error) or "cannot be written" in str(error), error
        else:
            raise SystemExit("the plan went on")
        assert cleaned and RE.state == "idle"
        damage = []
        names = [name for name, _ in read_journal(journal.path, damage)]
        assert names[:2] == ["start", "descriptor"] and 20 <= names.count("event") < 30, names
        assert not damage and journal.path.read_bytes().endswith(b"\\n")
    """
    pytest.importorskip("resource")
    with run_script(script, tmp_path) as child:
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors


def test_a_failing_write_leaves_a_sound_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run", 2, close=False)
        real = os.write
        with monkeypatch.context() as patch:
            patch.setattr(journal_module.os, "write", lambda fd, line: real(fd, line[: len(line) // 2]))
            with pytest.raises(JournalError, match="disk full"):
                journal.write("event", event("run", 3))
        journal.write("stop", stop("run", 2))
    damage: list[Damage] = []
    assert [name for name, _ in read_journal(journal.path, damage)][-2:] == ["event", "stop"]
    assert not damage


def test_a_failing_sync_is_told_at_the_next_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with Journal(tmp_path, "one") as journal:
        monkeypatch.setattr(journal_module.os, "fsync", fail)
        with pytest.raises(JournalError, match="brought to the disk"):
            journal.write("start", {"uid": "x"})
        monkeypatch.undo()
        with pytest.raises(JournalError, match="brought to the disk"):
            journal.write("event", {})


# ---------------------------------------------------------------------------------------------- the stream


def test_documents_are_stamped_with_the_labs_time_and_nobody_elses_changed(tmp_path: Path) -> None:
    given: list[tuple[str, dict[str, Any]]] = []
    with Journal(tmp_path, "one") as journal:
        stream = DocumentStream(Clock(100.0), journal)

        def emit(name: str, doc: dict[str, Any]) -> None:
            given.append((name, doc))
            stream(name, doc)

        emit_run(emit, "run", 2)
        page = {
            "descriptor": "d-run", "seq_num": [3, 4], "time": [1e9, 1e9], "data": {"step": [1, 2]},
            "timestamps": {"step": [7.0, 8.5], "voltage": [7.5, 8.0]},
        }  # fmt: skip
        emit("event_page", page)
    written = list(read_journal(journal.path))
    assert [doc["time"] for name, doc in written if name != "event_page"] == [100.5, 101, 101.5, 102, 102.5]
    assert written[-1] == ("event_page", {**page, "time": [7.5, 8.5]})  # when the instrument read them
    assert all(doc["time"] == 0.0 for name, doc in given if name != "event_page")
    assert all(doc["timestamps"]["step"] == 1.0 for name, doc in written if name == "event")


# -------------------------------------------------------------------------------------------- the follower


def run_script(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


WRITER = """
    import sys
    from ssblab.documents.journal import Journal
    journal = Journal(sys.argv[1], sys.argv[2])
    uid = sys.argv[2]
    keys = {"x": {"dtype": "number", "shape": [], "source": "sim"}}
    journal.write("start", {"uid": uid, "time": 1.0})
    journal.write("descriptor", {"uid": "d-" + uid, "run_start": uid, "name": "primary", "time": 1.0,
                                 "data_keys": keys, "configuration": {}, "object_keys": {}})
    for number in range(1, 1_000_000):
        event = {"uid": f"e{number}", "descriptor": "d-" + uid, "seq_num": number, "time": float(number)}
        journal.write("event", {**event, "data": {"x": number / 7}, "timestamps": {"x": 1.0}, "filled": {}})
        print(number, flush=True)
"""


@pytest.mark.parametrize("attempt", range(5))
def test_a_kill_in_mid_run_loses_nothing(
    tmp_path: Path, attempt: int, follower: Follower, client: Any
) -> None:
    chance = seeded()
    uid = f"killed-{attempt}"
    child = run_script(WRITER, tmp_path, uid)
    assert child.stdout is not None
    with child:
        told = [child.stdout.readline() for _ in range(chance.randrange(1, 3000))]
        child.kill()
        acknowledged = int([*told, *child.stdout][-1])
    if attempt == 0:  # and as if the process had died within a write
        with (tmp_path / "journals" / f"{uid}.jsonl").open("ab") as file:
            file.write(b'0123abcd {"n":"event","w":1')
    assert follower.catch_up()
    assert follower.catch_up()
    documents = list(read_journal(tmp_path / "journals" / f"{uid}.jsonl"))
    assert [name for name, _ in documents].count("stop") == 1
    ((_, end),) = documents[-1:]
    events = len(documents) - 3
    assert events >= acknowledged
    assert end["exit_status"] == "fail"
    assert end["reason"] == follower_module.CLOSED_BY_SSBLAB
    assert end["time"] == float(events)
    assert end["num_events"] == {"primary": events}
    assert filed_events(client, uid) == list(range(1, events + 1))
    assert compare(client, tmp_path).ok


FOLLOWER = """
    import sys
    from ssblab import catalog
    from ssblab.documents import Follower, follower
    follower.BATCH = 20
    file_events = catalog.RunWriter.events
    def tell(self, stream, events):
        file_events(self, stream, events)
        print(len(events), flush=True)
    catalog.RunWriter.events = tell
    Follower(sys.argv[1]).catch_up()
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_follower_killed_in_mid_run_files_nothing_twice(
    tmp_path: Path, attempt: int, follower: Follower, client: Any
) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 240)
        emit_run(journal.write, "run-b", 240)
    chance = seeded()
    with run_script(FOLLOWER, tmp_path) as child:
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 23)):
            assert child.stdout.readline().strip() == "20"
        child.kill()
    assert follower.catch_up()
    assert filed_events(client, "run-a") == list(range(1, 241))
    assert filed_events(client, "run-b") == list(range(1, 241))
    assert compare(client, tmp_path).ok


def test_a_running_run_is_in_the_catalog_before_it_ends(
    tmp_path: Path, follower: Follower, client: Any
) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 5, close=False)
        assert follower.catch_up()
        assert filed_events(client, "run-a") == [1, 2, 3, 4, 5]
        journal.write("event", event("run-a", 6))
        journal.write("stop", stop("run-a", 6))
        assert follower.catch_up()
    assert filed_events(client, "run-a") == [1, 2, 3, 4, 5, 6]
    assert compare(client, tmp_path).ok


def test_runs_within_each_other_are_kept_apart(tmp_path: Path, follower: Follower, client: Any) -> None:
    with Journal(tmp_path, "one") as journal:
        start_run(journal.write, "outer")
        journal.write("event", event("outer", 1))
        emit_run(journal.write, "inner", 4)
        journal.write("event", event("outer", 2))
        assert follower.catch_up()
        emit_run(journal.write, "other", 1)
        journal.write("stop", stop("outer", 2))
    assert follower.catch_up()
    assert filed_events(client, "outer") == [1, 2]
    assert filed_events(client, "inner") == [1, 2, 3, 4]
    assert filed_events(client, "other") == [1]
    assert compare(client, tmp_path).ok


def test_of_a_rewound_event_the_last_one_counts(tmp_path: Path, follower: Follower, client: Any) -> None:
    with Journal(tmp_path, "one") as journal:
        start_run(journal.write, "run-a")
        for number, voltage in [(1, 1.0), (2, 2.0), (3, 3.0), (2, 20.0), (3, 30.0), (2, 200.0), (4, 4.0)]:
            journal.write("event", event("run-a", number, cell_voltage=voltage))
            follower.catch_up()
        journal.write("stop", stop("run-a", 4))
    assert follower.catch_up()
    run = catalog.find_run(client, "run-a")
    data = catalog.run_data(run).streams["primary"]
    assert list(data["cell_voltage"].values) == [1.0, 200.0, 30.0, 4.0]
    assert list(data["seq_num"].values) == [1, 2, 3, 4]
    assert stored_runs(tmp_path)[0].data().streams["primary"].identical(data)
    assert run.metadata["ssblab"]["rewound_events"] == 2
    assert compare(client, tmp_path).ok


def test_a_failing_catalog_is_logged_and_tried_again(
    tmp_path: Path,
    follower: Follower,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 30)
        emit_run(journal.write, "run-b", 30)
    before = journal.path.read_bytes()
    monkeypatch.setattr(follower_module, "BATCH", 10)
    real = catalog.RunWriter.events
    calls = iter([None, None, OSError("no space")])

    def fail_once(writer: catalog.RunWriter, stream: str, events: list[dict[str, Any]]) -> None:
        if trouble := next(calls, None):
            raise trouble
        real(writer, stream, events)

    monkeypatch.setattr(catalog.RunWriter, "events", fail_once)
    assert not follower.catch_up()
    assert "run-a" in caplog.text
    assert "no space" in caplog.text
    assert filed_events(client, "run-b") == list(range(1, 31))
    assert follower.catch_up()
    assert filed_events(client, "run-a") == list(range(1, 31))
    assert journal.path.read_bytes() == before
    assert compare(client, tmp_path).ok


def test_a_damaged_line_is_left_out_and_named(
    tmp_path: Path, follower: Follower, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 9)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b"hold", b"hole")
    journal.path.write_bytes(b"".join(lines))
    assert follower.catch_up()
    assert "checksum" in caplog.text
    assert filed_events(client, "run-a") == [1, 2, 3, 5, 6, 7, 8, 9]
    report = compare(client, tmp_path)
    assert [d.line for d in report.damage["one.jsonl"]] == [6]
    assert not report.ok
    assert not report.runs[0].problems


def test_another_follower_is_waited_for(tmp_path: Path, follower: Follower, client: Any) -> None:
    stopping = threading.Event()
    with Journal(tmp_path, "one") as journal:
        thread = threading.Thread(target=follower.follow, args=(stopping,))
        thread.start()
        try:
            emit_run(journal.write, "run-a", 3)
            with Follower(tmp_path) as second:
                assert second.catch_up(wait_s=30)
        finally:
            stopping.set()
            thread.join()
        with follower._lock, Follower(tmp_path) as second:  # which files nothing meanwhile
            start_run(journal.write, "run-b")
            assert not second.catch_up(wait_s=0.5)
    assert filed_events(client, "run-a") == [1, 2, 3]


def test_the_followers_process_ends_when_all_is_filed(tmp_path: Path, client: Any) -> None:
    with Journal(tmp_path, "one") as journal:
        start_run(journal.write, "run-a")
        child = subprocess.Popen(
            [sys.executable, "-m", "ssblab.documents", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(1, 41):
            journal.write("event", event("run-a", number))
            threading.Event().wait(0.1)
        assert child.poll() is None
        journal.write("stop", stop("run-a", 40))
    assert child.wait(60) == 0
    assert compare(client, tmp_path).ok


def test_a_catalog_taken_away_is_made_again(tmp_path: Path) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 3)
    with Follower(tmp_path) as first:
        assert first.catch_up()
    shutil.rmtree(tmp_path / "catalog")
    with Follower(tmp_path) as second:
        assert second.catch_up()
    assert verify(tmp_path).ok


# ---------------------------------------------------------------------------------------------- the audit


def test_rebuild_gives_the_same_catalog(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Journal(tmp_path, name) as journal:
            emit_run(journal.write, f"run-{name}", 20)
            emit_run(journal.write, f"open-{name}", 5, close=False)
    with Follower(tmp_path) as follower:
        assert follower.catch_up()
    first, metadata = look(tmp_path)
    assert first.ok
    assert rebuild(tmp_path) == first
    assert look(tmp_path) == (first, metadata)
    assert not list(tmp_path.glob("catalog.*"))


def look(data: Path) -> tuple[Report, dict[str, Any]]:
    client = catalog.open_client(data)
    try:
        return compare(client, data), {uid: dict(run.metadata) for uid, run in client.items()}
    finally:
        client.context.close()


def test_verify_sees_a_deleted_row_and_a_changed_value(
    tmp_path: Path, follower: Follower, client: Any
) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 9)
        emit_run(journal.write, "run-b", 9)
    assert follower.catch_up()
    report = compare(client, tmp_path)
    assert report.ok, str(report)
    assert report.runs[0].filed["primary"].count == 9
    assert report.runs[0].filed["primary"].seq_nums == (1, 9)
    connection = sqlite3.connect(tmp_path / "catalog" / "storage.db")
    with connection:
        connection.execute("DELETE FROM run_runa_0 WHERE seq_num = 4")
        connection.execute("UPDATE run_runb_0 SET cell_voltage = 99.0 WHERE seq_num = 9")
    connection.close()
    report = compare(client, tmp_path)
    assert not report.ok
    assert [len(run.problems) for run in report.runs] == [1, 1]
    assert "count=8" in str(report)


def test_verify_sees_a_run_that_is_not_filed(tmp_path: Path, client: Any) -> None:
    with Journal(tmp_path, "one") as journal:
        emit_run(journal.write, "run-a", 2)
    report = compare(client, tmp_path)
    assert report.runs[0].problems == ("absent in the catalog",)


def test_the_journal_is_fast_enough(tmp_path: Path) -> None:
    """60 us an event is the aim; the bound here is loose for busy machines."""
    values = {f"channel_{n}": np.float64(n / 7) for n in range(8)}
    stamps = dict.fromkeys(values, 1.0)
    doc = {
        "uid": "0" * 36,
        "descriptor": "1" * 36,
        "seq_num": 1,
        "data": values,
        "timestamps": stamps,
        "time": 0.0,
    }
    with Journal(tmp_path, "one") as journal:
        stream = DocumentStream(Clock(), journal)
        best = math.inf
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(1000):
                stream("event", doc)
            best = min(best, time.perf_counter() - begin)
    logger.warning("%.1f us an event", best * 1e3)
    assert best * 1e3 < 300


def test_the_journal_does_without_posix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal_module.os, "name", "nt")
    journal_module._sync_folder(tmp_path / "no such folder")
    assert not {"fcntl", "resource", "pwd"} & set(vars(journal_module))
