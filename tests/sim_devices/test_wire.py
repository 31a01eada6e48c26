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

    def answer(self, line):
        return REPLY


class Coils(ModbusInstrument):
    def __init__(self, clock):
        super().__init__(clock, unit=1, framing="tcp")
        self.coils = {}

    def write_coil(self, address, value):
        self.coils[address] = value


@pytest.fixture
def parrot(clock):
    return Parrot(clock)


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
