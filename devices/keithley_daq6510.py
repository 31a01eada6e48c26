"""Keithley DAQ6510 with multiplexer modules 7700, 7702 or 7708, SCPI command set.

Sources: the maker's examples (tektronix/keithley), the clients pymeasure, keithley-tempcontrol and two
others (card identification of a 7700, `TRAC:DATA?` with CHAN, READ, REL, three words of `ROUT:SCAN:STAT?`),
reference manuals of the 2450, 2461 and DMM7510, of the same family (error queue, buffers, input
resistance). Lines end with LF.

The instrument must be at SCPI, its TERMINALS switch at REAR. Every use begins with reading back how all
channels are configured; what has been changed is configured anew, and must then be as it was told. A
voltage is measured with automatic input resistance, above 10 Gohm up to the 10 V range; an open
thermocouple is detected. Scans go into the instrument's own buffer and stay there until the next use: a
reply that gets lost is asked for again.

From memory, not verified: the words of `ROUT:SCAN:STAT?`, how settings are printed (both short and long
words are understood), what an empty slot answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ophyd.utils import LimitError

from devices.families.scanner import Scan, ScannedChannel, Scanner
from devices.instrument import About, Identity, Instrument
from ssblab.links import LinkSettings, ProtocolError
from ssblab.links.scpi import (
    ScpiClient,
    decode_error_queue,
    decode_identification,
    decode_number,
    decode_text,
)

__all__ = ["BufferedReading", "KeithleyDaq6510", "decode_buffer", "decode_scan_state"]

_MODEL = "MODEL DAQ6510"
_BUFFER = '"defbuffer1"'
#: Channels of the multiplexer modules that take voltages and thermocouples.
_MODULES = {"7700": 20, "7702": 40, "7708": 40}
_FUNCTIONS = {"voltage": "VOLT:DC", "temperature": "TEMP"}
_NPLC_LIMITS = (0.0005, 12.0)
_SWITCH_S = 0.03  # of a relay and its settling: an upper bound
_INTEGRATIONS = 4  # a reading with autozero: an upper bound
_FETCHED_AT_ONCE = 500
_SMALLEST_BUFFER, _LARGEST_BUFFER = 10, 1_000_000
_ABORTED_WITHIN_S = 5.0
_LOOK_S = 0.2
_RUNNING = ("RUNNING", "WAITING", "PAUSED", "ABORTING")
_OVER = ("IDLE", "EMPTY", "BUILDING", "SUCCESS", "ABORTED", "FAILED", "FAILED_INIT")
_STATE = re.compile(r"([A-Z_]+)(;.*)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(E[+-]?\d+)?")


@dataclass(frozen=True)
class BufferedReading:
    """One reading from a buffer; NaN where the instrument says overflow.

    Attributes
    ----------
    since_s : float
        Since the first reading in the buffer.
    """

    value: float
    since_s: float
    channel: int


def decode_scan_state(reply: bytes) -> str:
    """State of a scan, the first word of the reply."""
    match = _STATE.fullmatch(decode_text(reply).upper())
    if match is None or match[1] not in (*_RUNNING, *_OVER):
        raise ProtocolError(f"{reply!r} is no state of a scan")
    return match[1]


def decode_buffer(reply: bytes, channels: Sequence[int], count: int) -> list[BufferedReading]:
    """Read `count` readings of channels that follow each other, each as channel, reading and relative time.

    Parameters
    ----------
    channels : sequence of int
        Those of a scan, in their order; the readings begin with the first of them.
    """
    words = decode_text(reply).split(",")
    if len(words) != 3 * count:
        raise ProtocolError(f"{len(words)} words, not {3 * count}")
    readings = []
    for i in range(count):
        channel, value, since = words[3 * i : 3 * i + 3]
        told = channels[i % len(channels)]
        if channel.strip() != str(told):
            raise ProtocolError(f"channel {channel!r}, where channel {told} was expected")
        since_s = decode_number(since.encode("ascii"))
        if not since_s >= 0:
            raise ProtocolError(f"{since!r} is no relative time")
        readings.append(BufferedReading(decode_number(value.encode("ascii")), since_s, told))
    return readings


def _decode_count(reply: bytes) -> int:
    text = decode_text(reply)
    if not (text.isdigit() and len(text) < 10):
        raise ProtocolError(f"{reply!r} is no number of readings")
    return int(text)


def _decode_answers(reply: bytes, count: int) -> list[str]:
    found = decode_text(reply).split(";")
    if len(found) != count:
        raise ProtocolError(f"{len(found)} replies, not {count}")
    return found


def _same(found: str, told: str | float | bool) -> bool:
    """Whether an answer says what the instrument was told: words may be longer, switches words or digits."""
    word = found.strip().strip('"').upper()
    if isinstance(told, bool):
        return word in (("1", "ON") if told else ("0", "OFF"))
    if isinstance(told, str):
        return word == told or (len(told) >= 3 and word.startswith(told))
    return bool(_NUMBER.fullmatch(word)) and math.isclose(float(word), told, rel_tol=1e-5, abs_tol=1e-9)


class KeithleyDaq6510(Scanner, Instrument):
    """Keithley DAQ6510 data acquisition multimeter.

    Parameters
    ----------
    nplc : float
        Integration time of a reading, in cycles of the power line.
    line_Hz : float
        Frequency of the power line.

    Raises
    ------
    ValueError
        If the integration time is not from 0.0005 to 12 cycles.
    """

    model = "DAQ6510"
    longest_interval_s = 100e3
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=3.0, serial="115200 8N1")
    about = About(
        maker="Keithley (Tektronix)",
        models="DAQ6510 with multiplexer modules 7700, 7702, 7708",
        protocol="SCPI",
        transport="TCP 5025; USB, GPIB or RS-232 (KTTI-RS232) 115200 8N1",
        verified=("pymeasure 0.16.0 measures with the simulated instrument",),
        unsupported=(
            "other quantities than direct voltage and thermocouples, digital channels, the TSP command set. "
            "Not verified on an instrument: the words of ROUT:SCAN:STAT?, and how settings are printed"
        ),
    )

    def __init__(self, *, nplc: float = 1.0, line_Hz: float = 50.0, **kwargs: Any) -> None:
        if not _NPLC_LIMITS[0] <= nplc <= _NPLC_LIMITS[1]:
            raise ValueError(f"nplc must be from {_NPLC_LIMITS[0]:g} to {_NPLC_LIMITS[1]:g}, not {nplc!r}")
        self._nplc = nplc
        self._line_Hz = line_Hz
        self._began = math.nan
        self._fetched = 0
        super().__init__(**kwargs)
        self._scpi = ScpiClient(self.link)

    def shortest_scan_s(self) -> float:
        """Time that one scan takes."""
        reading_s = _SWITCH_S + _INTEGRATIONS * self._nplc / self._line_Hz
        return round(len(self.scanned) * reading_s, 3)

    def check_task(self, task: Any) -> None:
        """Raise LimitError if the instrument can't scan so, or has not the memory for it."""
        super().check_task(task)
        readings = task.count * len(self.scanned)
        if readings > _LARGEST_BUFFER:
            raise LimitError(
                f"{self.name}: {readings} readings are more than {_LARGEST_BUFFER}, the most that are kept"
            )

    def identify(self) -> Identity:
        """Ask for maker, model and command set."""
        maker, model, serial, firmware = self._scpi.ask("*IDN?", decode_identification)
        if not (maker.upper().startswith("KEITHLEY") and model.upper() == _MODEL):
            raise self.wrong(f"{maker} {model}")
        language = self._scpi.ask("*LANG?", decode_text)
        if language.upper() != "SCPI":
            raise self.refused(f"is set to the command set {language}, not SCPI")
        return Identity("Keithley", self.model, serial=serial, firmware=firmware)

    def upload_limits(self) -> None:
        """End any scan, see that the modules have the channels, and configure them.

        Raises
        ------
        InstrumentError
            If a channel is on no multiplexer module, the TERMINALS switch is at FRONT, or the instrument does
            not take the configuration.
        """
        self._check_modules()
        self._abort()
        self._scpi.order("*CLS", "FORM:DATA ASC", f"ROUT:SCAN:BUFF {_BUFFER}")
        self._keep_configured()

    def read_at_rest(self) -> None:
        """Scan once, and record.

        Raises
        ------
        InstrumentError
            If it scans though nobody here told it to, or reports a fault.
        """
        channels = list(self.in_order())
        question = (
            f"ABOR;:TRAC:CLE {_BUFFER};:ROUT:SCAN:COUN:SCAN 1;:ROUT:SCAN:INT 0;:INIT;*WAI;"
            f":TRAC:DATA? 1,{len(channels)},{_BUFFER},CHAN,READ,REL"
        )
        try:
            self._scpi.ask("SYST:ERR?", decode_error_queue)
            self._keep_configured()
            readings = self._scpi.ask(
                question,
                lambda reply: decode_buffer(reply, channels, len(channels)),
                timeout_s=self.settings.timeout_s + 2 * self.shortest_scan_s(),
            )
        except Exception:
            self.record_nothing()
            raise
        self.record_channels(self._values(readings), self.clock.now())

    def begin(self, task: Scan) -> None:
        """Have the instrument scan by its own timer, into a buffer that keeps all readings."""
        self._keep_configured()
        size = max(_SMALLEST_BUFFER, task.count * len(self.scanned))
        self._scpi.order(
            f"TRAC:POIN {size},{_BUFFER}",
            f"TRAC:FILL:MODE ONCE,{_BUFFER}",
            f"TRAC:CLE {_BUFFER}",
            f"ROUT:SCAN:COUN:SCAN {task.count}",
            f"ROUT:SCAN:INT {task.interval_s:.6g}",
        )
        for question, told in (
            (f"TRAC:POIN? {_BUFFER}", float(size)),
            ("ROUT:SCAN:COUN:SCAN?", float(task.count)),
            ("ROUT:SCAN:INT?", float(f"{task.interval_s:.6g}")),
        ):
            self._insist_on(question, told)
        self._fetched = 0
        self._began = self.clock.now()
        self._scpi.order("INIT")

    def listen(self) -> bool:
        """Fetch the whole scans that are in the buffer; their times are the instrument's own.

        Raises
        ------
        InstrumentError
            If the scan has failed, was stopped by somebody else, or its readings are gone.
        """
        state = self._scpi.ask("ROUT:SCAN:STAT?", decode_scan_state)
        kept = self._scpi.ask(f"TRAC:ACT? {_BUFFER}", _decode_count)
        if kept < self._fetched:
            raise self.refused(f"has lost its scan {self.so_far()}: it holds {kept} readings")
        channels = list(self.in_order())
        whole = kept - kept % len(channels)
        at_once = max(1, _FETCHED_AT_ONCE // len(channels)) * len(channels)
        while self._fetched < whole:
            self._fetch(min(at_once, whole - self._fetched), channels)
        if state not in (*_RUNNING, "SUCCESS"):
            raise self.refused(f"its scan is {state.lower()} {self.so_far()}")
        return state not in _RUNNING

    def switch_off(self) -> None:
        """End the scan that may be running, and see that none does."""
        self.insist(self._abort)

    def _fetch(self, count: int, channels: list[int]) -> None:
        first = self._fetched + 1
        readings = self._scpi.ask(
            f"TRAC:DATA? {first},{first + count - 1},{_BUFFER},CHAN,READ,REL",
            lambda reply: decode_buffer(reply, channels, count),
        )
        for i in range(0, count, len(channels)):
            scan = readings[i : i + len(channels)]
            self.add_scan(self._values(scan), self._began + scan[0].since_s)
        self._fetched += count

    def _values(self, readings: Sequence[BufferedReading]) -> dict[str, float]:
        names = self.in_order()
        return {names[reading.channel]: reading.value for reading in readings}

    def _abort(self) -> None:
        self.link.send(b"ABOR\n")  # its success is seen below, whatever the error queue says of other things
        deadline_s = self.clock.monotonic() + _ABORTED_WITHIN_S
        while self._scpi.ask("ROUT:SCAN:STAT?", decode_scan_state) in _RUNNING:
            if self.clock.monotonic() > deadline_s:
                raise self.refused("goes on scanning though told to stop")
            self.clock.sleep(_LOOK_S)

    def _check_modules(self) -> None:
        for slot in sorted({channel // 100 for channel in self.in_order()}):
            module = self._scpi.ask(f"SYST:CARD{slot}:IDN?", decode_text) if slot in (1, 2) else ""
            count = _MODULES.get(module.partition(",")[0].strip(), 0)
            beyond = [c for c in self.in_order() if c // 100 == slot and not 1 <= c % 100 <= count]
            if beyond:
                raise self.refused(
                    f"slot {slot} holds {module or 'nothing'}, without channel "
                    f"{', '.join(map(str, beyond))} for voltages and thermocouples"
                )

    def _configuration(self, channel: ScannedChannel) -> list[tuple[str, str | float | bool]]:
        """Commands of a channel without its list, and what each sets; its function comes before them."""
        if channel.quantity == "voltage":
            return [
                ("VOLT:RANG", channel.range_V),
                ("VOLT:RANG:AUTO", False),
                ("VOLT:NPLC", self._nplc),
                ("VOLT:INP", "AUTO"),
                ("VOLT:REL:STAT", False),
            ]
        return [
            ("TEMP:TRAN", "TC"),
            ("TEMP:TC:TYPE", channel.thermocouple),
            ("TEMP:TC:RJUN:RSEL", "INT"),
            ("TEMP:UNIT", "CELS"),
            ("TEMP:ODET", True),
            ("TEMP:NPLC", self._nplc),
            ("TEMP:REL:STAT", False),
        ]

    def _keep_configured(self) -> None:
        """See that the instrument is idle and measures what it shall; configure it if it does not."""
        if not self._differences():
            return
        for channel in self.scanned.values():
            orders = [f"{command} {_written(told)}" for command, told in self._configuration(channel)]
            function = f'FUNC "{_FUNCTIONS[channel.quantity]}"'
            self._scpi.order(*(f"{order},(@{channel.at})" for order in (function, *orders)))
        every = ",".join(map(str, self.in_order()))
        self._scpi.order(f"ROUT:SCAN:CRE (@{every})", f"ROUT:SCAN:BUFF {_BUFFER}", "FORM:DATA ASC")
        if differences := self._differences():
            raise self.refused(differences)

    def _differences(self) -> str:
        """What the instrument holds otherwise than it was told, in words.

        Raises
        ------
        InstrumentError
            If it scans, or measures at its front terminals.
        """
        if self._scpi.ask("ROUT:SCAN:STAT?", decode_scan_state) in _RUNNING:
            raise self.refused("scans though nobody here told it to")
        self._insist_on("ROUT:TERM?", "REAR")
        wrong = self._compare(
            [
                ("FORM:DATA?", "ASC"),
                ("ROUT:SCAN:BUFF?", _BUFFER.strip('"').upper()),
                ("ROUT:SCAN:COUN:STEP?", float(len(self.scanned))),
                *((f"FUNC? (@{c.at})", _FUNCTIONS[c.quantity]) for c in self.scanned.values()),
            ]
        )
        if wrong:  # a channel answers for the settings of its own function alone
            return "; ".join(wrong)
        for channel in self.scanned.values():
            wrong += self._compare(
                [(f"{command}? (@{channel.at})", told) for command, told in self._configuration(channel)]
            )
        if self._scpi.ask("ROUT:SCAN:CRE?", _decode_list) != list(self.in_order()):
            wrong.append("its scan list is another")
        return "; ".join(wrong)

    def _compare(self, held: list[tuple[str, str | float | bool]]) -> list[str]:
        questions = ";:".join(question for question, _ in held)
        found = self._scpi.ask(questions, lambda reply: _decode_answers(reply, len(held)))
        return [
            f"{question} says {answer}, told {told}"
            for (question, told), answer in zip(held, found, strict=True)
            if not _same(answer, told)
        ]

    def _insist_on(self, question: str, told: str | float) -> None:
        found = self._scpi.ask(question, decode_text)
        if not _same(found, told):
            raise self.refused(f"{question} says {found}, must be {told}")


def _written(told: str | float | bool) -> str:
    if isinstance(told, bool):
        return "ON" if told else "OFF"
    return told if isinstance(told, str) else f"{told:g}"


def _decode_list(reply: bytes) -> list[int]:
    text = decode_text(reply)
    if not re.fullmatch(r"\(@(\d{3}(:\d{3})?(,\d{3}(:\d{3})?)*)?\)", text):
        raise ProtocolError(f"{text!r} is no channel list")
    channels: list[int] = []
    for part in filter(None, text[2:-1].split(",")):
        first, _, last = part.partition(":")
        channels += range(int(first), int(last or first) + 1)
    return channels
