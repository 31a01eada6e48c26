"""What simulated scanners have in common: sweeps through a list of channels, and input that waits for them.

SCPI's channel lists: "(@101:105,210)". A command that waits until a scan has ended (`READ?`, `*WAI`, `*OPC?`)
holds all input behind it, as IEEE 488.2 has it; only a new connection clears what is held.
"""

from __future__ import annotations

import math
import re
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from sim_devices.scpi import ScpiError, ScpiInstrument, split
from ssblab.clock import Clock, Timer

__all__ = ["HeldUntilScanned", "ScanningInstrument", "Sweeps", "Terminals", "spans"]

_LIST = re.compile(r"\(@([\d:,\s]*)\)")
_INVALID_EXPRESSION = -171
_RESOLUTION_S = 1e-6  # of times: what is due within it is due
_SHORTEST_WAIT_S = 1e-3


class Terminals(Protocol):
    """What is wired to the channels; channel 0 is the pair of terminals at the front."""

    def voltage_V(self, channel: int, input_ohm: float) -> float:
        """Voltage that an input with a resistance sees at a channel."""

    def temperature_C(self, channel: int, thermocouple: str) -> float:
        """Temperature that the voltage of a channel stands for at a thermocouple of that type."""

    def is_open(self, channel: int) -> bool:
        """Whether a test current finds no connection."""


class HeldUntilScanned(Exception):
    """Raised by a handler whose reply comes when the scan has ended; `reply` gives it then."""

    def __init__(self, reply: Callable[[], str | None]) -> None:
        super().__init__()
        self.reply = reply


def spans(word: str) -> list[tuple[int, int]]:
    """First and last channel of each part of a channel list; raises ScpiError if it is none."""
    match = _LIST.fullmatch(word.strip())
    if match is None:
        raise ScpiError(_INVALID_EXPRESSION, "Invalid expression")
    parts = [part.strip() for part in match[1].split(",") if part.strip()]
    found = []
    for part in parts:
        ends = part.split(":")
        if len(ends) > 2 or not all(end.strip().isdigit() for end in ends):
            raise ScpiError(_INVALID_EXPRESSION, "Invalid expression")
        first, last = int(ends[0]), int(ends[-1])
        found.append((min(first, last), max(first, last)))
    return found


class Sweeps:
    """Sweeps through channels, whose readings are taken as their time comes.

    Parameters
    ----------
    channels : sequence of (int, float)
        Each channel and how long its reading takes, in seconds.
    take : callable
        Told the channel and the monotonic time of each reading.
    interval_s : float
        From the start of a sweep to that of the next; as fast as possible if it is shorter than a sweep.
    count : float
        Number of sweeps; infinity goes on until it is ended.
    triggered : bool
        Whether each sweep waits for `trigger`.
    """

    def __init__(
        self,
        clock: Clock,
        channels: Sequence[tuple[int, float]],
        take: Callable[[int, float], None],
        *,
        interval_s: float = 0.0,
        count: float = 1,
        triggered: bool = False,
    ) -> None:
        self._clock = clock
        self._channels = list(channels)
        self._take = take
        self._interval_s = interval_s
        self._count = count
        self._triggered = triggered
        self.began_s = clock.monotonic()
        self.began_at = clock.now()
        self.done = 0  # sweeps
        self.position = 0  # readings of the present sweep
        self._due_s = math.inf
        self._begin(math.inf if triggered else self.began_s)

    @property
    def over(self) -> bool:
        """Whether all sweeps were done, or they were ended."""
        return self.done >= self._count

    @property
    def waiting(self) -> bool:
        """Whether the next sweep has not begun yet."""
        return not self.over and self._sweep_s > self._clock.monotonic()

    def sweep_ends_s(self) -> float:
        """Monotonic time at which the present sweep will be over."""
        return self._sweep_s + sum(duration_s for _, duration_s in self._channels)

    def end(self) -> None:
        """End, whatever is missing."""
        self._count = self.done

    def trigger(self) -> None:
        """Begin the sweep that waits for it."""
        if self._triggered and not self.over and self._sweep_s == math.inf:
            self._begin(self._clock.monotonic())

    def sweep_again(self) -> None:
        """Begin the present sweep anew."""
        self.position = 0
        self._begin(self._clock.monotonic())

    def advance(self) -> None:
        """Take the readings that are due."""
        while not self.over and self._due_s <= self._clock.monotonic() + _RESOLUTION_S:
            channel, _ = self._channels[self.position]
            self._take(channel, self._due_s)
            self.position += 1
            if self.position < len(self._channels):
                self._due_s += self._channels[self.position][1]
                continue
            self.done += 1
            self.position = 0
            ended_s = self._due_s
            self._begin(math.inf if self._triggered else max(self._sweep_s + self._interval_s, ended_s))

    def _begin(self, at_s: float) -> None:
        self._sweep_s = at_s
        self._due_s = at_s + self._channels[0][1]


class ScanningInstrument(ScpiInstrument):
    """Keeps a scan going, and holds its input where a command waits for it."""

    def __init__(self, clock: Clock, terminals: Terminals) -> None:
        super().__init__(clock)
        self._terminals = terminals
        self._lock = threading.RLock()  # the scan goes on on the clock's thread
        self._scan: Sweeps | None = None
        self._timer: Timer | None = None
        self._forget_input()

    @property
    def scanning(self) -> bool:
        """Whether a scan is under way."""
        return self._scan is not None and not self._scan.over

    @abstractmethod
    def scan_ended(self) -> None:
        """Do what belongs to the end of a scan."""

    def begin_scan(self, scan: Sweeps) -> None:
        """Let a scan go on from now."""
        self._scan = scan
        self._await_sweep()

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer, as far as nothing holds them."""
        with self._lock:
            while (end := buffer.find(b"\n")) >= 0:
                self._lines.append(bytes(buffer[:end]).decode("latin-1").strip())
                del buffer[: end + 1]
            return iter(self._work())

    def unsolicited(self) -> Iterable[bytes]:
        """Give the replies that were held, once the scan has ended."""
        with self._lock:
            return self._work() if self._held is not None else []

    def next_unsolicited(self) -> float | None:
        """Monotonic time at which the present sweep ends, if replies are held."""
        with self._lock:
            if self._held is None or self._scan is None:
                return None
            end_s = self._scan.sweep_ends_s()
            return end_s if math.isfinite(end_s) else None

    def opened(self) -> None:
        """Forget what an earlier connection had left behind."""
        with self._lock:
            self._forget_input()

    def catch_up(self) -> None:
        """Take the readings that are due."""
        if self._scan is None or self._scan.over:
            return
        self._scan.advance()
        if self._scan.over:
            self.scan_ended()

    def wait_command(self) -> None:
        """Do what `*WAI` does."""
        if self.scanning:
            raise HeldUntilScanned(lambda: None)

    def complete_question(self) -> str:
        """Answer `*OPC?`: 1, once all is done."""
        if self.scanning:
            raise HeldUntilScanned(lambda: "1")
        return "1"

    def _forget_input(self) -> None:
        self._lines: deque[str] = deque()
        self._messages: deque[str] | None = None  # of the line at work
        self._replies: list[str] = []
        self._path = ""
        self._held: Callable[[], str | None] | None = None

    def _work(self) -> list[bytes]:
        self.catch_up()
        answers: list[bytes] = []
        while True:
            if self._held is not None:
                if self.scanning:
                    return answers
                reply, self._held = self._held, None
                self._reply(reply)
            elif self._messages:
                self._obey(self._messages.popleft())
            elif self._messages is not None:
                self._messages = None
                if self._replies:
                    answers.append(";".join(self._replies).encode("latin-1") + self.line_end)
            elif self._lines:
                self._messages = deque(split(self._lines.popleft(), ";"))
                self._replies, self._path = [], ""
            else:
                return answers

    def _obey(self, message: str) -> None:
        def work() -> str | None:
            self._path, reply = self._message(message, self._path)
            return reply

        try:
            self._reply(work)
        except HeldUntilScanned as hold:
            self._held = hold.reply

    def _reply(self, work: Callable[[], str | None]) -> None:
        try:
            reply = work()
        except ScpiError as error:
            self.put_error(error.code, error.text)
            if -200 < error.code <= -100 and self._messages is not None:
                self._messages.clear()
            return
        if reply is not None:
            self._replies.append(reply)

    def _await_sweep(self) -> None:
        """Look at the end of the sweep, so that what is wired is read at its time, or near it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._scan is None or self._scan.over:
            return
        end_s = self._scan.sweep_ends_s()
        if math.isfinite(end_s):
            delay_s = max(_SHORTEST_WAIT_S, end_s - self.clock.monotonic())
            self._timer = self.clock.call_later(delay_s, self._sweep_ends)

    def _sweep_ends(self) -> None:
        with self._lock:
            self.catch_up()
            self._await_sweep()
