"""What instruments that speak in lines of text have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from sim_devices.wire import SimulatedInstrument

__all__ = ["LineInstrument"]


class LineInstrument(SimulatedInstrument):
    """Takes lines that end with `terminator` and gives an answer to each."""

    terminator: bytes = b"\r"

    @abstractmethod
    def answer(self, line: str) -> bytes:
        """Give the reply to a line, with its own line ends; b"" for silence."""

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer."""
        while (end := buffer.find(self.terminator)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + len(self.terminator)]
            yield self.answer(line.decode("latin-1"))
