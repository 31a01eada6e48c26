"""Bytes both ways, with their times, for whoever must find out what really happened on the wire."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from ssblab.clock import Clock

__all__ = ["Transcript"]


class Transcript:
    """Appends one JSON line a transfer: time (s since 1970), device, direction and bytes (latin-1 text)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._clock = clock
        self._lock = threading.Lock()

    def record(self, device: str, direction: str, data: bytes) -> None:
        """Write one transfer; `direction` is "sent", "received" or a remark such as "open"."""
        entry = {
            "time": self._clock.now(),
            "device": device,
            "what": direction,
            "bytes": data.decode("latin-1"),
        }
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
