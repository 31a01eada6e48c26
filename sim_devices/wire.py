"""The near side of simulated instruments: loopback TCP and pseudo-terminals, delays, faults of a wire.

An instrument is given bytes and gives bytes back; everything about sockets, latency and what can go wrong
with a cable is here, once. What can go wrong in the instrument itself is switched here too, and shown by the
instrument in its own way.
"""

from __future__ import annotations

import heapq
import os
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, Literal

from ssblab.clock import Clock, not_arrived

__all__ = ["BREAKDOWNS", "FAULTS", "Breakdown", "Fault", "SimulatedInstrument", "Wires"]

Fault = Literal["late", "half", "silent", "duplicate", "garbage", "corrupt", "reset"]
#: late: the reply comes after any reasonable timeout. half: half of it, then silence. silent: accepts, never
#: answers. duplicate: twice. garbage: a stray byte before it. corrupt: one byte of it changed. reset: the
#: connection is torn down instead of an answer.
FAULTS: tuple[Fault, ...] = ("late", "half", "silent", "duplicate", "garbage", "corrupt", "reset")

Breakdown = Literal["busy", "error", "over_range"]
#: busy: it can't answer now, or says so. error: it reports a fault in its status or its error queue.
#: over_range: what it measures is beyond its range.
BREAKDOWNS: tuple[Breakdown, ...] = ("busy", "error", "over_range")

_LATE_S = 10.0
_READ_BYTES = 65536


class SimulatedInstrument(ABC):
    """An instrument at the end of a wire: bytes in, bytes out.

    Attributes
    ----------
    latency_s : float
        Time from a whole request to its reply, as the maker states or as clients measure it.
    single_client : bool
        Whether the instrument closes an older connection when a new one comes.
    """

    latency_s: float = 0.02
    single_client: bool = False

    #: What of `BREAKDOWNS` the instrument's protocol can tell.
    breakdowns: tuple[Breakdown, ...] = ()

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.power_losses = 0
        self._faults: list[Fault] = []
        self._lasting_fault: Fault | None = None
        self._breakdowns: set[Breakdown] = set()

    @abstractmethod
    def power_on(self) -> None:
        """Bring all volatile state to what it is after power-up; outputs off, as the maker says.

        An instrument's own constructor calls it, and `power_cycle`.
        """

    def power_cycle(self) -> None:
        """Lose power and get it back: volatile state is gone, and so are all connections."""
        self.power_losses += 1
        self.power_on()

    def break_down(self, what: Breakdown) -> None:
        """Begin a breakdown, until `mend`.

        Raises
        ------
        ValueError
            If the instrument has no way to show it.
        """
        if what not in self.breakdowns:
            raise ValueError(f"{type(self).__name__} shows {', '.join(self.breakdowns)}, not {what!r}")
        self._breakdowns.add(what)

    def mend(self) -> None:
        """End all breakdowns, and all faults of the wire."""
        self._breakdowns.clear()
        self.mend_wire()

    def broken(self, what: Breakdown) -> bool:
        """Whether a breakdown is to be shown now."""
        return what in self._breakdowns

    @abstractmethod
    def receive(self, buffer: bytearray) -> Iterable[bytes]:
        """Take the whole requests out of `buffer` and give a reply to each (b"" for none)."""

    def unsolicited(self) -> Iterable[bytes]:
        """Give what the instrument sends by itself and that is due now."""
        return ()

    def next_unsolicited(self) -> float | None:
        """Monotonic time at which `unsolicited` next has something, or None."""
        return None

    def opened(self) -> None:  # noqa: B027 - most instruments do not care
        """A client has connected."""

    def break_wire(self, fault: Fault, *, times: int | None = 1) -> None:
        """Spoil the next `times` replies, or all until `mend_wire` if None."""
        if times is None:
            self._lasting_fault = fault
        else:
            self._faults.extend([fault] * times)

    def mend_wire(self) -> None:
        """End all faults of the wire."""
        self._faults.clear()
        self._lasting_fault = None

    def next_fault(self) -> Fault | None:
        """Take the fault that the next reply meets."""
        return self._faults.pop(0) if self._faults else self._lasting_fault


class _Connection:
    """One client's wire to one instrument."""

    def __init__(
        self,
        instrument: SimulatedInstrument,
        fileno: int,
        sock: socket.socket | None = None,
        client: tuple[str, int] | None = None,
    ) -> None:
        self.instrument = instrument
        self.power_losses = instrument.power_losses
        self.fileno = fileno
        self.sock = sock
        self.buffer = bytearray()
        self.outbox: list[tuple[float, int, bytes | None]] = []  # None tears the connection down
        self.said_until_s = 0.0
        self.blocked = False  # whether the client has not read enough for more to be sent
        self.client = client

    def read(self) -> bytes:
        return self.sock.recv(_READ_BYTES) if self.sock else os.read(self.fileno, _READ_BYTES)

    def write(self, data: bytes) -> int:
        """Send what can be sent now; give its length."""
        try:
            return self.sock.send(data) if self.sock else os.write(self.fileno, data)
        except BlockingIOError:
            return 0

    def is_sending(self) -> bool:
        try:
            return self.blocked or bool(self.sock and not_arrived(self.sock))
        except OSError:  # the client is gone
            return False


class Wires:
    """Serves simulated instruments on the loopback interface; answers when it is pumped.

    Parameters
    ----------
    clock : Clock
        Delays are laboratory time. The clock pumps: on a thread for wall time, where somebody waits in
        virtual time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._connections: list[_Connection] = []
        self._instruments: list[SimulatedInstrument] = []
        self._numbers = count()
        self._lock = threading.RLock()
        self._open_files: list[Any] = []
        self._closed = False
        clock.serve(self)

    def listen(self, instrument: SimulatedInstrument, port: int = 0) -> str:
        """Serve an instrument on a TCP port of the loopback interface (0: any free one).

        Returns
        -------
        str
            Its VISA resource name.
        """
        listener = socket.create_server(("127.0.0.1", port))
        listener.setblocking(False)
        with self._lock:
            self._open_files.append(listener)
            self._instruments.append(instrument)
            self._selector.register(listener, selectors.EVENT_READ, instrument)
        return f"TCPIP::127.0.0.1::{listener.getsockname()[1]}::SOCKET"

    def attach_pty(self, instrument: SimulatedInstrument) -> str:
        """Serve a serial instrument on a pseudo-terminal, where the system has them.

        Returns
        -------
        str
            Its VISA resource name.

        Raises
        ------
        NotImplementedError
            On a system without pseudo-terminals.
        """
        if not hasattr(os, "openpty"):
            raise NotImplementedError("this system has no pseudo-terminals: serve the instrument on TCP")
        import tty

        near, far = os.openpty()
        tty.setraw(near)
        tty.setraw(far)
        os.set_blocking(near, False)
        connection = _Connection(instrument, near)
        with self._lock:
            # The far end stays open here: without any opener the near end would read as an error.
            self._open_files += [os.fdopen(near, "rb", 0), os.fdopen(far, "rb", 0)]
            self._instruments.append(instrument)
            self._connections.append(connection)
            self._selector.register(near, selectors.EVENT_READ, connection)
        instrument.opened()
        return f"ASRL{os.ttyname(far)}::INSTR"

    def pump(self, timeout_s: float) -> float | None:
        """Serve what is ready; say when the next output is due (see `ssblab.clock.Responder`)."""
        try:
            ready = self._selector.select(timeout_s)
        except (OSError, ValueError):
            if self._closed:  # by another thread, in the middle of the wait
                return None
            raise
        with self._lock:
            if self._closed:
                return None
            self._drop_unpowered()
            while ready:
                for key, _ in ready:
                    if isinstance(key.data, _Connection):
                        if key.data in self._connections:  # else a newer client has just taken its place
                            self._receive(key.data)
                    else:
                        self._accept(key.fileobj, key.data)
                ready = self._selector.select(0)
            self._collect_unsolicited()
            for connection in list(self._connections):
                self._flush(connection)
            return self._next_due()

    def under_way(self, client: Any) -> bool:
        """Whether bytes may not have arrived at the client of an address (see `ssblab.clock.Responder`)."""
        with self._lock:
            return any([c.is_sending() for c in self._connections if c.client == client])

    def held(self) -> AbstractContextManager[Any]:
        """Keep all instruments from answering while something behind them is exchanged."""
        return self._lock

    def close(self) -> None:
        """Close all ports."""
        with self._lock:
            self._closed = True
            for connection in list(self._connections):
                self._drop(connection)
            for file in self._open_files:
                file.close()
            self._open_files.clear()
            self._selector.close()

    def _accept(self, listener: Any, instrument: SimulatedInstrument) -> None:
        sock, client = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if instrument.single_client:
            for other in [c for c in self._connections if c.instrument is instrument]:
                self._drop(other)
        connection = _Connection(instrument, sock.fileno(), sock, client)
        self._connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        instrument.opened()

    def _drop_unpowered(self) -> None:
        """Close the connections of instruments that have lost power since."""
        for connection in list(self._connections):
            if connection.power_losses != connection.instrument.power_losses:
                connection.power_losses = connection.instrument.power_losses
                self._drop(connection, reset=True)
                if connection.sock is None:  # a serial line has no connection to lose
                    connection.buffer.clear()
                    connection.instrument.opened()

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.read()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.buffer += data
        for reply in connection.instrument.receive(connection.buffer):
            if reply:
                self._post(connection, reply)

    def _post(self, connection: _Connection, reply: bytes) -> None:
        self._queue(connection, reply, self._clock.monotonic() + connection.instrument.latency_s)

    def _collect_unsolicited(self) -> None:
        for connection in self._connections:
            for sent in connection.instrument.unsolicited():
                self._queue(connection, sent, self._clock.monotonic())

    def _queue(self, connection: _Connection, data: bytes, due: float) -> None:
        """Put bytes into the outbox, behind all that was said before, but for what a fault holds back."""
        connection.said_until_s = due = max(due, connection.said_until_s)
        for delay_s, part in _spoil(data, connection.instrument.next_fault()):
            heapq.heappush(connection.outbox, (due + delay_s, next(self._numbers), part))

    def _flush(self, connection: _Connection) -> None:
        """Send what is due; what the client leaves no room for stays first in the outbox."""
        connection.blocked = False
        while connection.outbox and connection.outbox[0][0] <= self._clock.monotonic():
            due, number, data = connection.outbox[0]
            try:
                if data is None:
                    self._drop(connection, reset=True)
                    return
                rest = data[connection.write(data) :]
            except OSError:
                self._drop(connection)
                return
            if rest:
                connection.outbox[0] = (due, number, rest)
                connection.blocked = True
                return
            heapq.heappop(connection.outbox)

    def _next_due(self) -> float | None:
        # What a client leaves no room for has no time: it goes out at a pump after the client has read.
        dues = [c.outbox[0][0] for c in self._connections if c.outbox and not c.blocked]
        served = {id(connection.instrument): connection.instrument for connection in self._connections}
        dues += [due for instrument in served.values() if (due := instrument.next_unsolicited()) is not None]
        return min(dues, default=None)

    def _drop(self, connection: _Connection, *, reset: bool = False) -> None:
        if connection.sock is None:
            connection.outbox.clear()
            connection.said_until_s = 0.0
            connection.blocked = False
            return
        self._selector.unregister(connection.sock)
        if reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00" if os.name != "nt" else b"\x01\x00\x00\x00"
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sock.close()
        self._connections.remove(connection)


def _spoil(reply: bytes, fault: Fault | None) -> list[tuple[float, bytes | None]]:
    """Pairs of extra delay and bytes (None for a reset) that a fault makes of a reply."""
    match fault:
        case None:
            return [(0.0, reply)]
        case "late":
            return [(_LATE_S, reply)]
        case "half":
            return [(0.0, reply[: len(reply) // 2])]
        case "silent":
            return []
        case "duplicate":
            return [(0.0, reply), (0.0, reply)]
        case "garbage":
            return [(0.0, b"\xfe" + reply)]
        case "corrupt":
            middle = len(reply) // 2
            return [(0.0, reply[:middle] + bytes([reply[middle] ^ 0x40]) + reply[middle + 1 :])]
        case "reset":
            return [(0.0, None)]
