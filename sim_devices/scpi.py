"""What instruments that speak SCPI have in common: headers in short and long form, error queue, status.

Sources: IEEE 488.2-1992 and SCPI-1999. A command error discards the rest of its line; replies of one line are
joined by semicolons. Written apart from the drivers' SCPI, so that neither can hide the other's mistakes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import ClassVar

from sim_devices.wire import SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["ScpiError", "ScpiInstrument", "number", "split"]

_TEXTS = {
    -100: "Command error",
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -240: "Hardware error",
    -350: "Queue overflow",
    -410: "Query INTERRUPTED",
}
_OPERATION_COMPLETE, _QUERY, _DEVICE, _EXECUTION, _COMMAND, _POWER_ON = 0x01, 0x04, 0x08, 0x10, 0x20, 0x80
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")

Handler = Callable[..., str | None]


class ScpiError(Exception):
    """Goes into the error queue; the rest of the line is discarded if it is a command error."""

    def __init__(self, code: int, text: str = "") -> None:
        self.code = code
        self.text = text or _TEXTS.get(code, "Error")
        super().__init__(f"{code} {self.text}")


def number(word: str, low: float = float("-inf"), high: float = float("inf"), **names: float) -> float:
    """Value of a numeric parameter; `names` are words that stand for numbers (MIN=..., MAX=...)."""
    if word.upper() in names:
        return names[word.upper()]
    if not _NUMBER.fullmatch(word):
        raise ScpiError(-104)
    value = float(word)
    if not low <= value <= high:
        raise ScpiError(-222)
    return value


def _pattern(header: str) -> re.Pattern[str]:
    """Expression for a header such as ":SOURce[1]:VOLTage[:LEVel]?" in short, long and optional forms."""
    text = header.removesuffix("?").replace("*", r"\*")
    text = re.sub(r"([A-Z]+)([a-z]+)", lambda match: f"{match[1]}(?:{match[2].upper()})?", text)
    text = text.replace("[", "(?:").replace("]", ")?")
    return re.compile(text + (r"\?" if header.endswith("?") else ""))


class ScpiInstrument(SimulatedInstrument):
    """Finds the handler of each command of a line.

    A subclass fills `commands` in its constructor: header in the manual's spelling (capitals are the short
    form, brackets are optional, "?" ends a query) -> handler. The handler gets the parameters as words, gives
    the reply of a query, and raises `ScpiError` for what the instrument refuses.

    Attributes
    ----------
    identification : str
        Answer to `*IDN?`.
    queue_length : int
        Entries that the error queue holds.
    """

    identification: str = ""
    queue_length: int = 20
    line_end: ClassVar[bytes] = b"\n"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._reply_s = self.latency_s
        self._errors: deque[tuple[int, str]] = deque()
        self._events = _POWER_ON
        self._event_enable = 0
        self._request_enable = 0
        self.commands: dict[str, Handler] = {}
        self._table: list[tuple[re.Pattern[str], Handler]] = []

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole lines in the buffer."""
        while (end := buffer.find(b"\n")) >= 0:
            text = bytes(buffer[:end]).decode("latin-1").strip()
            del buffer[: end + 1]
            self.latency_s = self._reply_s
            if text and (reply := self._line(text)) is not None:
                yield reply + self.line_end

    def takes(self, duration_s: float) -> None:
        """Have the reply to the present line come later by the time of a measurement."""
        self.latency_s += duration_s

    def put_error(self, code: int, text: str = "") -> None:
        """Put an error into the queue, and its class into the event register."""
        if len(self._errors) >= self.queue_length:
            self._errors[-1] = (-350, _TEXTS[-350])
        else:
            self._errors.append((code, text or _TEXTS.get(code, "Error")))
        classes = {1: _COMMAND, 2: _EXECUTION, 3: _DEVICE, 4: _QUERY}
        self._events |= classes.get(-code // 100, _DEVICE) if code < 0 else _DEVICE

    def error_entry(self, code: int, text: str) -> str:
        """Write an entry of the error queue, or that it is empty (code 0)."""
        return f'{code},"{text}"'

    def reset(self) -> None:
        """Do what `*RST` does; by default what power-up does."""
        self.power_on()

    def _line(self, text: str) -> bytes | None:
        replies: list[str] = []
        path = ""
        for message in split(text, ";"):
            try:
                path, reply = self._message(message, path)
            except ScpiError as error:
                self.put_error(error.code, error.text)
                if -200 < error.code <= -100:
                    break
                continue
            if reply is not None:
                replies.append(reply)
        return ";".join(replies).encode("latin-1") if replies else None

    def _message(self, message: str, path: str) -> tuple[str, str | None]:
        header, _, rest = message.partition(" ")
        header = header.upper()
        if header.startswith("*"):
            full = header
        else:
            full = header if header.startswith(":") else f"{path}:{header}"
            path = full.rpartition(":")[0]
        handler = self._handler(full)
        words = [word.strip() for word in split(rest, ",")] if rest.strip() else []
        try:
            return path, handler(*words)
        except TypeError as error:
            if "positional argument" not in str(error):
                raise
            raise ScpiError(-109 if "missing" in str(error) else -108) from None

    def _handler(self, header: str) -> Handler:
        if not self._table:
            merged = {**self._common(), **self.commands}
            self._table = [(_pattern(name), handler) for name, handler in merged.items()]
        for pattern, handler in self._table:
            if pattern.fullmatch(header):
                return handler
        raise ScpiError(-113)

    def _common(self) -> dict[str, Handler]:
        return {
            "*IDN?": lambda: self.identification,
            "*RST": self.reset,
            "*CLS": self._clear,
            "*OPC": self._operation_complete,
            "*OPC?": lambda: "1",
            "*WAI": lambda: None,
            "*TST?": lambda: "0",
            "*ESR?": self._read_events,
            "*ESE": self._set_event_enable,
            "*ESE?": lambda: str(self._event_enable),
            "*SRE": self._set_request_enable,
            "*SRE?": lambda: str(self._request_enable),
            "*STB?": self._status_byte,
            ":SYSTem:ERRor[:NEXT]?": self._next_error,
            ":SYSTem:ERRor:COUNt?": lambda: str(len(self._errors)),
            ":SYSTem:CLEar": self._errors.clear,
            ":SYSTem:VERSion?": lambda: "1999.0",
        }

    def _clear(self) -> None:
        self._errors.clear()
        self._events = 0

    def _operation_complete(self) -> None:
        self._events |= _OPERATION_COMPLETE

    def _read_events(self) -> str:
        events, self._events = self._events, 0
        return str(events)

    def _set_event_enable(self, word: str) -> None:
        self._event_enable = int(number(word, 0, 255))

    def _set_request_enable(self, word: str) -> None:
        self._request_enable = int(number(word, 0, 255))

    def _status_byte(self) -> str:
        byte = (0x04 if self._errors else 0) | (0x20 if self._events & self._event_enable else 0)
        return str(byte | (0x40 if byte & self._request_enable else 0))

    def _next_error(self) -> str:
        code, text = self._errors.popleft() if self._errors else (0, "No error")
        return self.error_entry(code, text)


def split(text: str, separator: str) -> list[str]:
    """Parts between separators that stand outside quotes and brackets."""
    parts, depth, quote, part = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "(":
            depth += 1
        elif character in ")":
            depth -= 1
        if character == separator and not quote and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    parts.append(part.strip())
    return [part for part in parts if part or separator == ","]
