from __future__ import annotations

import json
import socket
import threading

import pytest

from sim_devices.wire import SimulatedInstrument, Wires
from ssblab.clock import WallClock
from ssblab.links import (
    InstrumentError,
    Link,
    LinkClosed,
    LinkSettings,
    LinkTimeout,
    ProtocolError,
    Refusal,
    Transcript,
    WrongInstrument,
    line,
)

LINE = line(b"\n")
FAST = LinkSettings(timeout_s=1.0, quiet_s=0.2, retries=2, backoff_s=0.5)


class Echo(SimulatedInstrument):
    """Answers `?word` with `=word`, obeys `!word`, refuses `-word`, and notes all that it was sent."""

    def __init__(self, clock):
        super().__init__(clock)
        self.heard = []
        self.connections = 0
        self.name = "echo"

    def power_on(self):
        pass

    def opened(self):
        self.connections += 1

    def receive(self, buffer):
        while (end := buffer.find(b"\n")) >= 0:
            command = bytes(buffer[:end]).decode()
            del buffer[: end + 1]
            self.heard.append(command)
            yield self.answer(command)

    def answer(self, command):
        if command == "?id":
            return f"={self.name}\n".encode()
        return f"{'no' if command[0] == '-' else '='}{command[1:]}\n".encode()


def decode(word):
    def decoded(reply):
        if reply.startswith(b"no"):
            raise Refusal("it said no")
        if reply != f"={word}\n".encode():
            raise ProtocolError(f"not the answer to {word}")
        return word

    return decoded


@pytest.fixture
def echo(clock):
    return Echo(clock)


@pytest.fixture
def make_link(clock):
    links = []

    def make(address, transcript=None, clock=clock, settings=FAST):
        link = Link("echo", address, clock, settings, lambda: ask(link, "id", "echo"), transcript)
        links.append(link)
        return link

    yield make
    for link in links:
        link.close()


@pytest.fixture
def link(make_link, wires, echo):
    return make_link(wires.listen(echo))


def ask(link, word, answer=None):
    return link.ask(f"?{word}\n".encode(), LINE, decode(answer or word))


def order(link, word):
    return link.order(f"!{word}\n".encode(), LINE, decode(word))


def test_identity_is_asked_before_anything_else(link, echo):
    assert not link.is_open
    assert ask(link, "a") == "a"
    assert link.is_open
    assert echo.heard == ["?id", "?a"]
    link.close()
    order(link, "b")
    assert echo.heard == ["?id", "?a", "?id", "!b"]


@pytest.mark.parametrize("fault", ["late", "half", "silent", "garbage", "corrupt", "reset"])
def test_a_question_is_asked_again_on_a_fresh_link(link, echo, fault):
    ask(link, "a")
    echo.break_wire(fault)
    assert ask(link, "b") == "b"
    assert echo.heard == ["?id", "?a", "?b", "?id", "?b"]
    assert echo.connections == 2


@pytest.mark.parametrize("fault", ["late", "half", "silent", "garbage", "corrupt", "reset"])
def test_an_order_is_never_repeated_by_itself(link, echo, fault):
    ask(link, "a")
    echo.break_wire(fault)
    with pytest.raises((LinkTimeout, LinkClosed)):
        order(link, "b")
    assert not link.is_open
    assert order(link, "c") == "c"
    assert echo.heard == ["?id", "?a", "!b", "?id", "!c"]


def test_a_late_reply_is_never_taken_for_an_answer(link, echo, clock):
    ask(link, "a")
    echo.break_wire("late")
    told = r"echo at TCPIP::127.0.0.1::\d+::SOCKET: no reply within 1 s, after b'!b"
    with pytest.raises(LinkTimeout, match=told):
        order(link, "b")
    clock.sleep(20)  # now the late reply is there
    assert [ask(link, word) for word in "cde"] == ["c", "d", "e"]


def test_a_late_reply_on_a_line_that_does_not_close_is_drained(make_link, wires, echo, clock):
    link = make_link(wires.attach_pty(echo))
    ask(link, "a")
    echo.break_wire("late")
    assert ask(link, "b") == "b"
    clock.sleep(20)
    assert [ask(link, word) for word in "cde"] == ["c", "d", "e"]


def test_a_doubled_reply_is_seen_before_the_next_question(link, echo):
    ask(link, "a")
    echo.break_wire("duplicate")
    assert [ask(link, word) for word in "bcd"] == ["b", "c", "d"]
    assert echo.connections == 2


def test_a_part_of_a_line_is_quoted(link, echo):
    ask(link, "a")
    echo.break_wire("half", times=None)
    with pytest.raises(LinkTimeout, match="only b'=' came within 1 s"):
        order(link, "b")


def test_a_refusal_leaves_the_link_as_clean_as_it_was(link, echo):
    ask(link, "a")
    with pytest.raises(InstrumentError, match="it said no, after b'-b"):
        link.order(b"-b\n", LINE, decode("b"))
    assert link.is_open
    assert echo.connections == 1


def test_a_wrong_instrument_is_not_used(make_link, wires, echo):
    echo.name = "another"
    link = make_link(wires.listen(echo))
    with pytest.raises(LinkClosed, match="not the answer to echo"):
        order(link, "heat")
    assert not link.is_open
    assert set(echo.heard) == {"?id"}


def test_what_resynchronise_raises_is_what_the_caller_sees(clock, wires, echo):
    def resynchronise():
        raise WrongInstrument("found a kettle", device="echo", address="here")

    link = Link("echo", wires.listen(echo), clock, FAST, resynchronise)
    with pytest.raises(WrongInstrument, match="echo at here: found a kettle; correct the address"):
        ask(link, "a")
    assert not link.is_open


def test_a_refused_connection_is_told_with_its_address(make_link):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    link = make_link(f"TCPIP::127.0.0.1::{port}::SOCKET")
    with pytest.raises(LinkClosed) as caught:
        ask(link, "a")
    text = str(caught.value)
    assert text.startswith(f"echo at TCPIP::127.0.0.1::{port}::SOCKET: can't be opened")
    assert "check that the instrument is on and that no other program holds its port" in text


@pytest.mark.parametrize("address", ["COM99", "TCPIP::127.0.0.1::SOCKET", "nonsense", ""])
def test_an_address_that_is_none_is_told(make_link, address):
    with pytest.raises(LinkClosed, match="can't be opened"):
        make_link(address).open()


def test_a_device_that_never_stops_talking_is_not_drained_for_ever(make_link, wires, clock):
    class Chatter(Echo):
        due = 0.0

        def unsolicited(self):
            while self.due <= clock.monotonic():
                self.due += 0.01
                yield b"blah\n"

        def next_unsolicited(self):
            return self.due

    link = make_link(wires.listen(Chatter(clock)))
    with pytest.raises((LinkClosed, LinkTimeout)):
        ask(link, "a")
    assert clock.monotonic() < 30


def test_the_transcript_holds_every_byte_both_ways(make_link, wires, echo, clock, tmp_path):
    path = tmp_path / "below" / "transcript.jsonl"
    transcript = Transcript(path, clock)
    link = make_link(wires.listen(echo), transcript)
    ask(link, "a")
    echo.break_wire("silent")
    with pytest.raises(LinkTimeout):
        order(link, "b\xe9"[:1])
    link.close()
    transcript.close()
    entries = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    assert [(entry["what"], entry["bytes"]) for entry in entries] == [
        ("open", ""),
        ("sent", "?id\n"),
        ("received", "=echo\n"),
        ("sent", "?a\n"),
        ("received", "=a\n"),
        ("sent", "!b\n"),
        ("close", ""),
    ]
    assert {entry["device"] for entry in entries} == {"echo"}
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_threads_on_one_link_each_get_their_own_answer(make_link):
    clock = WallClock()
    wires = Wires(clock)
    echo = Echo(clock)
    echo.latency_s = 0.0
    link = make_link(wires.listen(echo), clock=clock, settings=LinkSettings(timeout_s=10.0, quiet_s=0.01))
    wrong = []

    def work(thread):
        for i in range(200):
            word = f"{thread}-{i}"
            try:
                if ask(link, word) != word:
                    wrong.append(word)
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    link.close()
    clock.close()
    wires.close()
    assert wrong == []
    assert len(echo.heard) == 1 + 8 * 200


@pytest.mark.parametrize("latency_s", [0.05, 0.3])
def test_exchanges_are_timed_without_the_opening_and_the_recovery(link, echo, latency_s):
    echo.latency_s = latency_s
    order(link, "a")
    assert link.round_trip.shortest_s == pytest.approx(latency_s)
    echo.break_wire("silent")
    ask(link, "b")
    assert len(echo.heard) == 5
    assert link.round_trip.shortest_s == pytest.approx(latency_s)
    assert link.round_trip.mean_s == pytest.approx(latency_s)
