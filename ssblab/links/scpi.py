"""SCPI over a link: pure functions for its replies, and a client that has each order confirmed.

Sources: IEEE 488.2-1992 (common commands, definite-length blocks); SCPI-1999 volume 1 (error queue, 9.9E37
for infinity and 9.91E37 for "not a number").
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

from ssblab.links.errors import InstrumentError, ProtocolError, Refusal
from ssblab.links.framing import MAX_FRAME_BYTES, line
from ssblab.links.link import Link

__all__ = [
    "ScpiClient",
    "block_or_line",
    "decode_block",
    "decode_error_queue",
    "decode_identification",
    "decode_number",
    "decode_numbers",
    "decode_text",
]

T = TypeVar("T")

_BEYOND_ANY_RANGE = 9.8e37
_ERROR = re.compile(r'([+-]?\d+)\s*,\s*"(.*)"', re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def decode_text(reply: bytes) -> str:
    """Text of a reply, without its line end.

    Raises
    ------
    ProtocolError
        If it is not printable ASCII.
    """
    text = reply.removesuffix(b"\n").removesuffix(b"\r")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise ProtocolError(f"{reply!r} is no line of text")
    return text.decode("ascii").strip()


def decode_number(reply: bytes) -> float:
    """One number; NaN where the instrument says overflow, infinity or not a number."""
    (number,) = decode_numbers(reply, 1)
    return number


def decode_numbers(reply: bytes, count: int | None = None) -> list[float]:
    """Numbers parted by commas; NaN where the instrument says overflow, infinity or not a number.

    Parameters
    ----------
    count : int, optional
        How many there must be.
    """
    numbers = [_number(word.strip()) for word in decode_text(reply).split(",")]
    if count is not None and len(numbers) != count:
        raise ProtocolError(f"{len(numbers)} numbers, not {count}")
    return numbers


def _number(word: str) -> float:
    if not _NUMBER.fullmatch(word):
        raise ProtocolError(f"{word!r} is no number")
    value = float(word)
    return math.nan if abs(value) > _BEYOND_ANY_RANGE else value


def decode_identification(reply: bytes) -> tuple[str, str, str, str]:
    """Maker, model, serial number and firmware of a reply to `*IDN?`."""
    fields = [field.strip() for field in decode_text(reply).split(",", 3)]
    if len(fields) != 4 or not all(fields[:2]):
        raise ProtocolError("not an identification of IEEE 488.2")
    maker, model, serial, firmware = fields
    return maker, model, serial, firmware


def decode_error_queue(reply: bytes) -> None:
    """Check that the error queue is empty.

    Raises
    ------
    Refusal
        With the instrument's own words, if it is not.
    """
    match = _ERROR.fullmatch(decode_text(reply))
    if match is None:
        raise ProtocolError("not an entry of an error queue")
    if int(match[1]) != 0:
        raise Refusal(f"reports error {int(match[1])}: {match[2]}")


def decode_block(reply: bytes) -> bytes:
    """Content of a definite-length block, #<digits><length><content>, and a line end."""
    head = _block_head(reply)
    if head is None:
        raise ProtocolError("not a definite-length block")
    start, size = head
    if len(reply) < start + size or reply[start + size :] not in (b"", b"\n", b"\r\n"):
        raise ProtocolError("not one whole block")
    return reply[start : start + size]


def block_or_line(buffer: bytes) -> int | None:
    """Frame a definite-length block with its line end, or a line."""
    if not buffer.startswith(b"#"):
        return line(b"\n")(buffer)
    head = _block_head(buffer)
    if head is None:
        return None
    end = buffer.find(b"\n", sum(head))
    return None if end < 0 else end + 1


def _block_head(buffer: bytes) -> tuple[int, int] | None:
    """Where the content begins and how long it is, or None while that is not known yet."""
    match = re.match(rb"#([1-9])(\d*)", buffer)
    if match is None:
        if buffer == b"#":
            return None
        raise ProtocolError("not a definite-length block")
    digits = int(match[1])
    if len(match[2]) < digits:
        if len(buffer) >= 2 + digits:
            raise ProtocolError("not a definite-length block")
        return None
    size = int(match[2][:digits])
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(f"a block of {size} bytes")
    return 2 + digits, size


class ScpiClient:
    """Asks questions, and gives orders that the instrument's error queue confirms.

    Parameters
    ----------
    link : Link
        To the instrument.
    confirm : str
        The question that tells whether the orders before it were taken.
    decode_confirmation : callable
        Raises Refusal if its answer says that they were not.
    """

    def __init__(
        self,
        link: Link,
        *,
        confirm: str = ":SYST:ERR?",
        decode_confirmation: Callable[[bytes], None] = decode_error_queue,
        line_end: bytes = b"\n",
    ) -> None:
        self._link = link
        self._confirm = confirm
        self._decode_confirmation = decode_confirmation
        self._line_end = line_end

    def ask(self, question: str, decode: Callable[[bytes], T], *, timeout_s: float | None = None) -> T:
        """Ask a question; asked again after a recovery."""
        return self._link.ask(self._encoded(question), block_or_line, decode, timeout_s=timeout_s)

    def order(self, *commands: str, timeout_s: float | None = None) -> None:
        """Give orders, once, and have them confirmed.

        Raises
        ------
        InstrumentError
            If the instrument has put an error into its queue; the queue is empty afterwards.
        """
        whole = self._encoded(*commands, self._confirm)
        try:
            self._link.order(whole, block_or_line, self._decode_confirmation, timeout_s=timeout_s)
        except InstrumentError:
            self._link.send(self._encoded("*CLS"))
            raise

    def ask_once(self, question: str, decode: Callable[[bytes], T], *, timeout_s: float | None = None) -> T:
        """Ask what changes the instrument, as a reading that erases does; never asked again."""
        return self._link.order(self._encoded(question), block_or_line, decode, timeout_s=timeout_s)

    def _encoded(self, *messages: str) -> bytes:
        return b"".join(message.encode("ascii") + self._line_end for message in messages)
