"""Where a reply ends: pure functions from the bytes so far to the length of the first whole frame."""

from __future__ import annotations

from collections.abc import Callable

from ssblab.links.errors import ProtocolError

__all__ = ["MAX_FRAME_BYTES", "Framing", "exactly", "line"]

#: Length of the first complete frame in the buffer, or None while it is incomplete.
#: Raises ProtocolError where no frame can begin with these bytes.
Framing = Callable[[bytes], int | None]

MAX_FRAME_BYTES = 1 << 20


def line(terminator: bytes) -> Framing:
    """Frame lines that end with `terminator`, which is part of the frame."""

    def length(buffer: bytes) -> int | None:
        end = buffer.find(terminator)
        if end < 0 and len(buffer) > MAX_FRAME_BYTES:
            raise ProtocolError(f"no line end within {MAX_FRAME_BYTES} bytes")
        return None if end < 0 else end + len(terminator)

    return length


def exactly(count: int) -> Framing:
    """Frame `count` bytes."""
    return lambda buffer: count if len(buffer) >= count else None
