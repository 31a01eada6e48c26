import asyncio
import math
import select
import socket
import sys
import threading

import pytest

from ssblab.clock import VirtualClock, WallClock, make_clock, not_arrived


@pytest.fixture
def virtual():
    clock = VirtualClock(epoch=1_000_000.5)
    clock.start()
    yield clock
    clock.close()


def test_virtual_time_starts_on_a_whole_second_and_passes_without_waiting(virtual):
    assert virtual.now() == 1_000_000.0
    virtual.sleep(5 * 86400)
    assert virtual.monotonic() == pytest.approx(5 * 86400)
    assert virtual.now() == pytest.approx(1_000_000 + 5 * 86400)


def test_timers_fire_in_the_order_of_their_times(virtual):
    seen = []
    for delay_s in (3, 1, 2):
        virtual.call_later(delay_s, lambda d=delay_s: seen.append((d, virtual.monotonic())))
    virtual.sleep(10)
    assert [d for d, _ in seen] == [1, 2, 3]
    assert [t for _, t in seen] == pytest.approx([1, 2, 3])


def test_a_cancelled_timer_does_not_fire(virtual):
    seen = []
    virtual.call_later(1, lambda: seen.append(1)).cancel()
    virtual.sleep(2)
    assert seen == []


def test_periodic_work_keeps_its_period_and_survives_an_error(virtual, caplog):
    times = []

    def work():
        times.append(virtual.monotonic())
        if len(times) == 2:
            raise ValueError("once")

    timer = virtual.every(5, "box", work)
    virtual.sleep(21)
    timer.cancel()
    virtual.sleep(20)
    assert times == pytest.approx([5, 10, 15, 20])
    assert "periodic work on 'box' failed" in caplog.text


def test_time_stands_still_when_nobody_runs(virtual):
    virtual.every(1, "box", lambda: None)
    threading.Event().wait(0.05)
    assert virtual.monotonic() == 0.0


def test_the_loop_sleeps_in_virtual_time(virtual):
    async def nap():
        await asyncio.sleep(3600)
        return virtual.monotonic()

    future = asyncio.run_coroutine_threadsafe(nap(), virtual.loop)
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert virtual.wait(done, 4000)
    assert future.result() == pytest.approx(3600)


def test_a_wait_ends_at_its_timeout(virtual):
    assert virtual.wait(threading.Event(), 30) is False
    assert virtual.monotonic() == pytest.approx(30)


def test_a_deadlock_is_told_at_once(virtual, monkeypatch):
    monkeypatch.setattr("ssblab.clock._DEADLOCK_GRACE_S", 0.05)
    told = threading.Event()
    virtual.on_deadlock = lambda message: told.set() if "nothing is scheduled" in message else None
    virtual.every(1, "box", lambda: None)  # a control loop that would tick for ever must not hide it
    with virtual.running():
        assert told.wait(5)


class Slow:
    """A far end whose kernel delivers what was sent only after it was looked for many times."""

    def __init__(self, near, far, *, looks, sending):
        self.near, self.far, self.looks, self.sending = near, far, looks, sending
        self.heard = b""

    def pump(self, timeout_s):
        self.looks -= 1
        if self.looks > 0:
            return None
        if select.select([self.far], [], [], 0)[0]:
            self.heard += self.far.recv(100)
            self.far.sendall(b"answer")
        return None

    def under_way(self, client):
        assert client == self.near.getsockname()
        return self.sending and self.looks > 0


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far = server.accept()[0]
    yield near, far
    near.close()
    far.close()


ASKED = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system does not tell")


@ASKED
@pytest.mark.parametrize("sending", [False, True], ids=["question", "answer"])
def test_time_does_not_pass_over_bytes_that_are_on_their_way(virtual, monkeypatch, pair, sending):
    near, _ = pair
    far = Slow(*pair, looks=40, sending=sending)  # longer than any fixed grace would be
    virtual.serve(far)
    near.sendall(b"question")
    if not sending:
        monkeypatch.setattr("ssblab.clock.not_arrived", lambda sock: 8 if far.looks > 0 else 0)
    assert virtual.wait_readable(near.fileno(), 5.0)
    assert far.heard == b"question"
    assert virtual.monotonic() == 0.0


@ASKED
def test_where_nothing_is_on_its_way_no_real_time_is_spent(virtual, monkeypatch, pair):
    near, _ = pair
    far = Slow(*pair, looks=math.inf, sending=False)
    virtual.serve(far)
    waits = []
    real = select.select
    monkeypatch.setattr("ssblab.clock.select.select", lambda *how: waits.append(how[3]) or real(*how))
    for _ in range(3):
        assert not virtual.wait_readable(near.fileno(), 5.0)
    assert virtual.monotonic() == pytest.approx(15.0)
    assert set(waits) == {0.0}


@ASKED
def test_bytes_count_as_not_arrived_until_they_are_read_or_acknowledged(pair):
    near, far = pair
    assert not_arrived(near) == 0
    near.sendall(b"question")
    far.recv(100)
    not_arrived(far)  # which acknowledges
    assert not_arrived(near) == 0


def test_scaled_time_is_faster():
    clock = WallClock(speed=1000)
    clock.start()
    done = threading.Event()
    clock.call_later(10, done.set)
    assert clock.wait(done, 60)
    assert 10 <= clock.monotonic() < 60
    clock.close()


def test_a_step_of_the_computers_clock_moves_no_deadline(monkeypatch):
    clock = WallClock()
    before = clock.monotonic()
    monkeypatch.setattr("ssblab.clock.time.time", lambda: 0.0)
    assert clock.now() == 0.0
    assert clock.monotonic() - before < 5
    assert clock.wait(threading.Event(), 0.01) is False
    clock.close()


@pytest.mark.parametrize("text", ["", "x", "x0", "fast", "x-1", "x1e3"])
def test_a_clock_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"use virtual, wall, or a factor"):
        make_clock(text)
