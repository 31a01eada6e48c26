"""Wires of simulated instruments, seen from plain sockets: bytes, delays and faults, on the clock."""

import os
import socket

import pytest

from sim_devices.line import LineInstrument
from sim_devices.modbus import ModbusInstrument
from sim_devices.wire import FAULTS

REPLY = b"hello\r"


class Parrot(LineInstrument):
    """Says the same whatever it is asked."""

    latency_s = 0.25

    def power_on(self):
        pass

    def answer(self, line):
        return REPLY


class Echo(LineInstrument):
    """Says what it is asked, a word of its own now and then, and counts who came."""

    breakdowns = ("busy",)

    def __init__(self, clock):
        super().__init__(clock)
        self.callers = 0
        self.words_due_s = []
        self.power_on()

    def power_on(self):
        self.setting = "default"

    def answer(self, line):
        if line.startswith("set "):
            self.setting = line.removeprefix("set ")
        return b"busy\r" if self.broken("busy") else f"{line} {self.setting}\r".encode()

    def opened(self):
        self.callers += 1

    def unsolicited(self):
        due = [t for t in self.words_due_s if t <= self.clock.monotonic()]
        self.words_due_s = [t for t in self.words_due_s if t not in due]
        return [b"word\r" for _ in due]

    def next_unsolicited(self):
        return min(self.words_due_s, default=None)


class Coils(ModbusInstrument):
    breakdowns = ("busy",)

    def __init__(self, clock):
        super().__init__(clock, unit=1, framing="tcp")
        self.coils = {}

    def power_on(self):
        self.coils.clear()

    def write_coils(self, address, values):
        self.coils |= {address + place: value for place, value in enumerate(values)}


@pytest.fixture
def parrot(clock):
    return Parrot(clock)


@pytest.fixture
def echo(clock):
    return Echo(clock)


@pytest.fixture
def dial(wires):
    opened = []

    def connect(instrument):
        address = wires.listen(instrument)
        sockets = []

        def again():
            sock = socket.create_connection(("127.0.0.1", int(address.split("::")[2])))
            opened.append(sock)
            sockets.append(sock)
            return sock

        return again

    yield connect
    for sock in opened:
        sock.close()


def heard(clock, sock, timeout_s):
    """All that comes within a time."""
    data, end_s = b"", clock.monotonic() + timeout_s
    while (left_s := end_s - clock.monotonic()) > 1e-9 and clock.wait_readable(sock.fileno(), left_s):
        part = sock.recv(4096)
        if not part:
            break
        data += part
    return data


def test_latency_passes_on_the_clock(clock, dial, parrot):
    sock = dial(parrot)()
    sock.sendall(b"?\r")
    assert clock.wait_readable(sock.fileno(), 5.0)
    assert clock.monotonic() == pytest.approx(0.25)
    assert sock.recv(100) == REPLY


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("half", b"hel"),
        ("silent", b""),
        ("duplicate", REPLY * 2),
        ("garbage", b"\xfe" + REPLY),
        ("corrupt", b"hel" + bytes([ord("l") ^ 0x40]) + b"o\r"),
        ("late", b""),
    ],
)
def test_what_a_fault_makes_of_a_reply(clock, dial, parrot, fault, expected):
    sock = dial(parrot)()
    parrot.break_wire(fault)
    sock.sendall(b"?\r")
    assert heard(clock, sock, 5.0) == expected
    if fault == "late":
        assert heard(clock, sock, 10.0) == REPLY
    sock.sendall(b"?\r")
    assert heard(clock, sock, 1.0) == REPLY


def test_a_reset_tears_the_connection_down_and_a_new_one_serves(clock, dial, parrot):
    connect = dial(parrot)
    sock = connect()
    parrot.break_wire("reset")
    sock.sendall(b"?\r")
    clock.wait_readable(sock.fileno(), 1.0)
    with pytest.raises(ConnectionResetError):
        sock.recv(100)
    again = connect()
    again.sendall(b"?\r")
    assert heard(clock, again, 1.0) == REPLY


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "reset"])
def test_a_lasting_fault_lasts_until_it_is_mended(clock, dial, parrot, fault):
    sock = dial(parrot)()
    parrot.break_wire(fault, times=None)
    for _ in range(3):
        sock.sendall(b"?\r")
        assert heard(clock, sock, 1.0) != REPLY
    heard(clock, sock, 20.0)
    parrot.mend_wire()
    sock.sendall(b"?\r")
    assert heard(clock, sock, 1.0) == REPLY


@pytest.mark.parametrize("single", [True, False])
def test_a_single_client_instrument_drops_the_older_connection(clock, dial, parrot, single):
    parrot.single_client = single
    connect = dial(parrot)
    old, new = connect(), connect()
    new.sendall(b"?\r")
    assert heard(clock, new, 1.0) == REPLY
    if single:
        assert clock.wait_readable(old.fileno(), 1.0)
        assert old.recv(100) == b""
    else:
        old.sendall(b"?\r")
        assert heard(clock, old, 1.0) == REPLY


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_pseudo_terminal_passes_all_bytes_and_does_not_echo(clock, wires, parrot):
    path = wires.attach_pty(parrot).removeprefix("ASRL").removesuffix("::INSTR")
    far = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(far, b"\x03\x04\n?\r")  # bytes that a terminal would act on
        assert clock.wait_readable(far, 5.0)
        assert os.read(far, 100) == REPLY
        assert not clock.wait_readable(far, 1.0)
    finally:
        os.close(far)


@pytest.mark.parametrize(
    "body",
    [b"\x00\x00\x00\x09\x02\xff", b"\x00\x00\x00\x09\x01\xff", b"\x00\x00\x00\x09\x02", b"\x00"],
    ids=["one byte missing", "count of bytes wrong", "no data", "cut off"],
)
def test_a_truncated_write_of_coils_is_answered_with_an_exception(clock, dial, body):
    coils = Coils(clock)
    sock = dial(coils)()
    pdu = b"\x0f" + body
    sock.sendall(b"\x00\x01\x00\x00" + (len(pdu) + 1).to_bytes(2, "big") + b"\x01" + pdu)
    assert heard(clock, sock, 1.0) == b"\x00\x01\x00\x00\x00\x03\x01\x8f\x03"
    assert coils.coils == {}


def test_a_busy_modbus_unit_says_so_and_does_nothing(clock, dial):
    coils = Coils(clock)
    sock = dial(coils)()
    write = b"\x00\x01\x00\x00\x00\x06\x01\x05\x00\x02\xff\x00"
    coils.break_down("busy")
    sock.sendall(write)
    assert heard(clock, sock, 1.0) == b"\x00\x01\x00\x00\x00\x03\x01\x85\x06"
    assert coils.coils == {}
    coils.mend()
    sock.sendall(write)
    assert heard(clock, sock, 1.0) == write
    assert coils.coils == {2: True}


def test_a_breakdown_lasts_until_it_is_mended_and_must_be_one_that_shows(clock, dial, echo):
    sock = dial(echo)()
    echo.break_down("busy")
    echo.break_wire("silent", times=None)
    sock.sendall(b"a\r")
    assert heard(clock, sock, 1.0) == b""
    echo.mend_wire()
    sock.sendall(b"b\r")
    assert heard(clock, sock, 1.0) == b"busy\r"
    echo.mend()
    sock.sendall(b"c\r")
    assert heard(clock, sock, 1.0) == b"c default\r"
    with pytest.raises(ValueError, match="Echo shows busy, not 'over_range'"):
        echo.break_down("over_range")


def test_a_power_cycle_drops_connections_and_what_was_not_said_yet(clock, dial, echo):
    connect = dial(echo)
    sock = connect()
    sock.sendall(b"set hot\r")
    assert heard(clock, sock, 1.0) == b"set hot hot\r"
    echo.latency_s = 5.0
    sock.sendall(b"unanswered\r")
    assert heard(clock, sock, 1.0) == b""
    echo.power_cycle()
    assert clock.wait_readable(sock.fileno(), 1.0)
    with pytest.raises(ConnectionResetError):
        sock.recv(100)
    again = connect()
    again.sendall(b"now\r")
    assert heard(clock, again, 20.0) == b"now default\r"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_power_cycle_clears_a_serial_line_and_leaves_it_open(clock, wires, echo):
    path = wires.attach_pty(echo).removeprefix("ASRL").removesuffix("::INSTR")
    far = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(far, b"set hot\rhalf a comm")
        assert clock.wait_readable(far, 5.0)
        assert os.read(far, 100) == b"set hot hot\r"
        echo.latency_s = 5.0
        os.write(far, b"and\rhalf a comm")
        assert not clock.wait_readable(far, 1.0)
        echo.power_cycle()
        assert not clock.wait_readable(far, 20.0)  # neither the answer under way nor half a command is left
        echo.latency_s = 0.1
        os.write(far, b"now\r")
        assert clock.wait_readable(far, 5.0)
        assert os.read(far, 100) == b"now default\r"
        assert echo.callers == 2
    finally:
        os.close(far)


def test_a_quick_answer_does_not_overtake_a_slow_one(clock, dial, echo):
    sock = dial(echo)()
    echo.latency_s = 2.0
    sock.sendall(b"slow\r")
    assert heard(clock, sock, 0.5) == b""
    echo.latency_s = 0.0
    sock.sendall(b"quick\r")
    assert heard(clock, sock, 1.0) == b""
    assert heard(clock, sock, 1.0) == b"slow default\rquick default\r"


def test_what_an_instrument_says_by_itself_stays_behind_an_answer_under_way(clock, dial, echo):
    sock = dial(echo)()
    echo.latency_s = 3.0
    echo.words_due_s = [clock.monotonic() + 1.0]
    sock.sendall(b"question\r")
    assert heard(clock, sock, 2.0) == b""
    assert heard(clock, sock, 2.0) == b"question default\rword\r"


def test_a_late_answer_does_not_hold_up_the_next(clock, dial, echo):
    sock = dial(echo)()
    echo.break_wire("late")
    sock.sendall(b"lost\rfound\r")
    assert heard(clock, sock, 5.0) == b"found default\r"
    assert heard(clock, sock, 10.0) == b"lost default\r"


class Talker(LineInstrument):
    """Answers with far more than a wire holds."""

    ANSWER = bytes(range(32, 127)) * 100_000 + b"\r"

    def power_on(self):
        pass

    def answer(self, line):
        return self.ANSWER


def test_a_client_that_does_not_read_holds_up_nobody_and_loses_nothing(clock, dial, parrot):
    talker = Talker(clock)
    deaf = dial(talker)()
    other = dial(parrot)()
    deaf.sendall(b"?\r")
    clock.sleep(1.0)
    other.sendall(b"?\r")
    assert heard(clock, other, 1.0) == REPLY  # virtual time goes on
    data = bytearray()
    while len(data) < len(talker.ANSWER):
        assert clock.wait_readable(deaf.fileno(), 1.0)
        data += deaf.recv(1 << 20)
    assert data == talker.ANSWER


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_long_answer_is_whole_also_on_a_pseudo_terminal(clock, wires):
    talker = Talker(clock)
    talker.ANSWER = bytes(range(32, 127)) * 1000 + b"\r"
    path = wires.attach_pty(talker).removeprefix("ASRL").removesuffix("::INSTR")
    far = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(far, b"?\r")
        data = bytearray()
        while len(data) < len(talker.ANSWER):
            assert clock.wait_readable(far, 5.0)
            data += os.read(far, 1 << 16)
        assert data == talker.ANSWER
    finally:
        os.close(far)
