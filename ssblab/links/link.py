"""A link: one instrument's wire, with one lock, deadlines on the clock, and recovery."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ssblab.clock import Clock
from ssblab.links.errors import InstrumentError, LinkClosed, LinkError, LinkTimeout, ProtocolError, Refusal
from ssblab.links.framing import Framing
from ssblab.links.timing import RoundTrip
from ssblab.links.transcript import Transcript
from ssblab.links.transport import SerialSettings, Transport

__all__ = ["Link", "LinkSettings"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_PIECE_BYTES = 4096
_DRAIN_LIMIT_S = 3.0  # a device that talks without pause longer than this is not drained but told so


@dataclass(frozen=True)
class LinkSettings:
    """How a kind of instrument wants to be talked to.

    Attributes
    ----------
    timeout_s : float
        Longest wait for a whole reply.
    quiet_s : float
        Silence after which a link that went wrong counts as drained.
    retries : int
        How often a question (never an order) is asked again after a recovery.
    backoff_s : float
        Wait before the first re-opening; doubled each time.
    serial : str
        Framing of a serial port, as in "9600 8N1"; of no meaning for TCP.
    wake : bytes
        Sent first after opening: ends whatever the instrument may be sending by itself.
    """

    timeout_s: float = 2.0
    quiet_s: float = 0.2
    retries: int = 2
    backoff_s: float = 0.5
    serial: str = "9600 8N1"
    wake: bytes = b""


class Link:
    """Sends orders and asks questions; a reply is only ever taken for the question that it answers.

    After any error the link is dirty: before its next use it is closed, opened anew, drained until it is
    silent, and handed to `resynchronise`, which asks for the identity. Only then is a late or half reply
    surely out of the way.

    Parameters
    ----------
    device, address : str
        Name in the station and VISA resource name.
    settings : LinkSettings
        Of the kind of instrument.
    resynchronise : callable
        Called with the link after each opening; asks for something whose answer is known and raises if
        it is not that.

    Attributes
    ----------
    round_trip : RoundTrip
        Of all exchanges that succeeded.
    """

    def __init__(
        self,
        device: str,
        address: str,
        clock: Clock,
        settings: LinkSettings,
        resynchronise: Callable[[], None],
        transcript: Transcript | None = None,
    ) -> None:
        self.device = device
        self.address = address
        self.settings = settings
        self.transcript = transcript
        self.round_trip = RoundTrip()
        self._clock = clock
        self._resynchronise = resynchronise
        self._lock = threading.RLock()
        self._transport: Transport | None = None
        self._buffer = b""
        self._recovering = False

    @property
    def is_open(self) -> bool:
        """Whether the link is open and clean."""
        return self._transport is not None

    def open(self) -> None:
        """Open, drain and resynchronise, if it is not open yet.

        Raises
        ------
        LinkError
            If nobody is there, or somebody else is.
        """
        with self._lock:
            if self._transport is not None:
                return
            self._recovering = True
            try:
                try:
                    self._transport = Transport(
                        self.address, self._clock, SerialSettings(self.settings.serial)
                    )
                except LinkClosed as error:
                    raise self._told(error) from error
                self._note("open", b"")
                if self.settings.wake:
                    self.send(self.settings.wake)
                self._drain()
                self._resynchronise()
            except BaseException:
                self.close()
                raise
            finally:
                self._recovering = False

    def close(self) -> None:
        """Close the link; the next use opens it again."""
        with self._lock:
            if self._transport is not None:
                self._note("close", b"")
                self._transport.close()
            self._transport = None
            self._buffer = b""

    def ask(
        self,
        command: bytes,
        framing: Framing,
        decode: Callable[[bytes], T],
        *,
        enquiry: bytes = b"",
        timeout_s: float | None = None,
    ) -> T:
        """Send a question, read its reply and decode it; asked again after a recovery.

        Parameters
        ----------
        command : bytes
            A question: asking it twice changes nothing in the instrument.
        framing, decode : callable
            Where the reply ends, and what it says. `decode` raises ProtocolError for bytes that do not
            answer the question.
        enquiry : bytes
            For instruments that only acknowledge the command: sent after the acknowledgement, it fetches
            the answer. `decode` is then given both frames together.

        Raises
        ------
        LinkError
            Naming device, address, command and what to try.
        """
        attempts = 1 if self._recovering else 1 + self.settings.retries
        for attempt in range(attempts):
            try:
                return self.order(command, framing, decode, enquiry=enquiry, timeout_s=timeout_s)
            except (LinkTimeout, LinkClosed) as error:
                if attempt == attempts - 1:
                    raise
                logger.info("%s: %s; asking again", self.device, error.problem)
                self._clock.sleep(self.settings.backoff_s * 2**attempt)
        raise AssertionError("unreachable")

    def order(
        self,
        command: bytes,
        framing: Framing,
        decode: Callable[[bytes], T],
        *,
        enquiry: bytes = b"",
        timeout_s: float | None = None,
    ) -> T:
        """Send an order once and decode its acknowledgement. Never repeated: read back, then decide."""
        with self._lock:
            self._clear_stale()
            self.open()
            asked_s = self._clock.monotonic()
            self.send(command)
            reply = self.receive(framing, timeout_s=timeout_s, command=command)
            if enquiry:
                self.send(enquiry)
                reply += self.receive(framing, timeout_s=timeout_s, command=command)
            self.round_trip.note(self._clock.monotonic() - asked_s)
            return self._decoded(decode, reply, command)

    def send(self, command: bytes) -> None:
        """Send bytes to which nothing answers, or whose answer `receive` will read."""
        with self._lock:
            self.open()
            transport = self._open_transport()
            self._note("sent", command)
            try:
                transport.write(command)
            except LinkClosed as error:
                self.close()
                raise self._told(error, command) from error

    def receive(self, framing: Framing, *, timeout_s: float | None = None, command: bytes = b"") -> bytes:
        """Read one whole frame.

        Raises
        ------
        LinkTimeout
            If it is not whole in time; the link is dirty then.
        """
        with self._lock:
            transport = self._open_transport()
            timeout_s = self.settings.timeout_s if timeout_s is None else timeout_s
            deadline = self._clock.monotonic() + self._clock.patience(timeout_s)
            while (length := self._framed(framing, command)) is None:
                left_s = deadline - self._clock.monotonic()
                data = self._read(transport, left_s, command) if left_s > 0 else b""
                if not data:
                    seen = f"only {self._buffer!r} came" if self._buffer else "no reply"
                    self.close()
                    raise self._told(LinkTimeout(f"{seen} within {timeout_s:g} s"), command)
            if self._clock.monotonic() > deadline:  # bytes that came too late are no answer
                self.close()
                raise self._told(LinkTimeout(f"the reply came later than {timeout_s:g} s"), command)
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            return frame

    def receive_waiting(self, framing: Framing) -> list[bytes]:
        """Read the whole frames that are there already, without waiting; a part frame stays for later."""
        with self._lock:
            transport = self._open_transport()
            while self._read(transport, 0.0, b""):
                pass
            frames: list[bytes] = []
            begin = 0
            while (length := self._framed(framing, b"", begin)) is not None:
                frames.append(self._buffer[begin : begin + length])
                begin += length
            self._buffer = self._buffer[begin:]
            return frames

    def failed(self, problem: str, command: bytes = b"", advice: str = "") -> LinkError:
        """Close the link and return the error to raise, for a reply that makes no sense to the driver."""
        self.close()
        return LinkError(problem, device=self.device, address=self.address, command=command, advice=advice)

    def _clear_stale(self) -> None:
        """Start anew if bytes wait that nobody asked for: they would be taken for the next answer."""
        try:
            unasked = self._transport is not None and (self._buffer or self._read(self._transport, 0.0, b""))
        except LinkClosed:
            return  # closed while it was idle, by a serial server perhaps: nothing was sent, sending reopens
        if unasked:
            logger.info("%s: %r came unasked; the link is opened anew", self.device, self._buffer)
            stale = self._buffer
            self.close()
            if self._recovering:  # opening it again from within the opening would have no end
                raise self._told(LinkClosed(f"{stale!r} came unasked"))

    def _open_transport(self) -> Transport:
        if self._transport is None:
            raise self._told(LinkClosed("the link is closed"))
        return self._transport

    def _read(self, transport: Transport, timeout_s: float, command: bytes) -> bytes:
        try:
            data = transport.read(timeout_s)
        except LinkClosed as error:
            self.close()
            raise self._told(error, command) from error
        if data:
            self._note("received", data)
            self._buffer += data
        return data

    def _framed(self, framing: Framing, command: bytes, begin: int = 0) -> int | None:
        """Length of the first whole frame from `begin` on; many small ones are found in a piece each."""
        piece = self._buffer[begin : begin + _PIECE_BYTES]
        try:
            length = framing(piece) if piece else None
            if length is None and begin + len(piece) < len(self._buffer):
                length = framing(self._buffer[begin:])
            return length
        except ProtocolError as error:
            self.close()
            raise self._told(LinkClosed(f"not a reply of this protocol ({error})"), command) from error

    def _decoded(self, decode: Callable[[bytes], T], reply: bytes, command: bytes) -> T:
        try:
            return decode(reply)
        except Refusal as error:
            raise self._told(InstrumentError(str(error)), command) from error
        except ProtocolError as error:
            self.close()
            raise self._told(LinkClosed(f"the reply {reply!r} makes no sense ({error})"), command) from error

    def _drain(self) -> None:
        transport = self._open_transport()
        deadline = self._clock.monotonic() + self._clock.patience(_DRAIN_LIMIT_S)
        try:
            while data := transport.read(self._clock.patience(self.settings.quiet_s)):
                self._note("drained", data)
                if self._clock.monotonic() > deadline:
                    break
        except LinkClosed as error:
            raise self._told(error) from error
        self._buffer = b""

    def _note(self, what: str, data: bytes) -> None:
        if self.transcript is not None:
            self.transcript.record(self.device, what, data)

    def _told(self, error: LinkError, command: bytes = b"") -> LinkError:
        """Return the error with device, address and command in it."""
        return type(error)(error.problem, device=self.device, address=self.address, command=command)
