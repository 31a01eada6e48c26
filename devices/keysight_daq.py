"""Keysight 34970A, 34972A, DAQ970A and DAQ973A with multiplexer modules.

Sources: user's guides of the 34970A and 34972A (configuration, scanning, scan memory, status registers,
power failure), programming guide of the DAQ970A (`*IDN?`, `R?`), command reference of the 34980A, of the
same family (input resistance, reference junction); replies of `SYST:CTYP?` captured by public clients.
Lines end with LF.

Every use begins with reading back how all channels are configured; what has been changed, at the front
panel or by a loss of power, is configured anew, and must then be as it was told. A voltage is measured with
automatic input resistance, above 10 Gohm up to the 10 V range. A thermocouple is checked for being open,
which the instrument does not do by itself. The instrument is told to forget its state when it loses power:
by default it would go on with a scan, whose times would be wrong by as long as the power was off.

From memory, not verified: `TEMP:TRAN:TC:CHEC`, and that the DAQ970A knows `INP:IMP:AUTO`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.families.scanner import Scan, Scanner
from devices.instrument import About, Identity, Instrument
from ssblab.links import LinkSettings, ProtocolError
from ssblab.links.scpi import (
    ScpiClient,
    decode_block,
    decode_error_queue,
    decode_identification,
    decode_number,
    decode_numbers,
    decode_text,
)

__all__ = [
    "KeysightDaq",
    "Reading",
    "decode_channels",
    "decode_readings",
    "decode_settings",
    "encode_channels",
]

_MODELS = ("34970A", "34972A", "DAQ970A", "DAQ973A")
#: Channels of the multiplexer modules that take voltages and thermocouples.
_MODULES = {
    "34901A": 20,
    "34902A": 16,
    "34908A": 40,
    "DAQM900A": 20,
    "DAQM901A": 20,
    "DAQM902A": 16,
    "DAQM908A": 40,
}
_NPLC = (0.02, 0.2, 1.0, 2.0, 10.0, 20.0, 100.0, 200.0)
_SCANNING, _MEMORY_FULL = 16, 4096
_SWITCH_S = 0.03  # of a relay and its settling: an upper bound
_THERMOCOUPLE_S = 0.06  # for the check and the reference junction: an upper bound
_BLOCK_READINGS = 200  # 7 kB: 8 s at 9600 baud
_BLOCK_S = 20.0
_ABORTED_WITHIN_S = 5.0  # after the reading that is being taken
_LOOK_S = 0.2
_INTERVAL_STEP_S = 1e-3
_CHANNELS = re.compile(r"(?:#\d\d+)?\(@(.*)\)")


@dataclass(frozen=True)
class Reading:
    """One reading as the instrument sends it, with time and channel; NaN where it says overload."""

    value: float
    since_s: float
    channel: int


def encode_channels(channels: Iterable[int]) -> str:
    """Write a channel list, ranges together: "(@101:103,201)"."""
    parts: list[list[int]] = []
    for channel in sorted(channels):
        if parts and channel == parts[-1][-1] + 1:
            parts[-1].append(channel)
        else:
            parts.append([channel])
    return "(@" + ",".join(f"{p[0]}:{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) + ")"


def decode_channels(text: str) -> list[int]:
    """Read a channel list, with or without the head of a block."""
    match = _CHANNELS.fullmatch(text.strip())
    if match is None:
        raise ProtocolError(f"{text!r} is no channel list")
    channels: list[int] = []
    for part in filter(None, match[1].split(",")):
        first, _, last = part.partition(":")
        if not (_digits(first) and (_digits(last) or not last)):
            raise ProtocolError(f"{text!r} is no channel list")
        channels += range(int(first), int(last or first) + 1)
    return channels


def decode_settings(reply: bytes, count: int) -> list[str]:
    """Read the replies to several questions that were sent in one line."""
    found = decode_text(reply).split(";")
    if len(found) != count:
        raise ProtocolError(f"{len(found)} replies, not {count}")
    return found


def decode_readings(reply: bytes, channels: Sequence[int]) -> list[Reading]:
    """Read whole scans, each reading with its time since the start and its channel.

    Parameters
    ----------
    reply : bytes
        A line, or a block.
    channels : sequence of int
        Those of a scan, in their order.
    """
    text = decode_block(reply) if reply.startswith(b"#") else reply
    numbers = decode_numbers(text)
    if len(numbers) % (3 * len(channels)):
        raise ProtocolError(f"{len(numbers)} numbers are no whole scans of {len(channels)} channels")
    readings = []
    for i, channel in enumerate(list(channels) * (len(numbers) // (3 * len(channels)))):
        value, since_s, found = numbers[3 * i : 3 * i + 3]
        if found != channel or not since_s >= 0:
            raise ProtocolError(f"channel {found:g} at {since_s:g} s, where channel {channel} was expected")
        readings.append(Reading(value, since_s, channel))
    return readings


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _same(found: str, told: str | float) -> bool:
    """Whether each of the values that the instrument holds is what it was told."""
    if isinstance(told, str):
        return all(word.strip().strip('"').upper() == told for word in found.split(","))
    values = decode_numbers(found.encode("ascii"))
    return all(math.isclose(value, told, rel_tol=1e-6, abs_tol=1e-9) for value in values)


class KeysightDaq(Scanner, Instrument):
    """Keysight (Agilent, HP) data acquisition unit with its multimeter and multiplexer modules.

    Parameters
    ----------
    nplc : float
        Integration time of a reading, in cycles of the power line.
    line_Hz : float
        Frequency of the power line.

    Raises
    ------
    ValueError
        If the instrument does not have the integration time.
    """

    model = "34970A, 34972A, DAQ970A or DAQ973A"
    longest_interval_s = 359_999.0
    most_scans = 50_000
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=4.0, serial="9600 8N1")
    about = About(
        maker="Keysight (Agilent, HP)",
        models="34970A, 34972A, DAQ970A, DAQ973A with multiplexer modules",
        protocol="SCPI",
        transport="TCP 5025; the 34970A RS-232, 9600 8N1, or GPIB",
        verified=(
            "replies printed in the maker's guides",
            "daqmon 0.1.1 configures, scans and reads back the simulated instrument",
        ),
        unsupported=(
            "other quantities than direct voltage and thermocouples, actuators, digital modules, alarms. Not "
            "verified on an instrument: the thermocouple check, and INP:IMP:AUTO on the DAQ970A"
        ),
    )

    def __init__(self, *, nplc: float = 1.0, line_Hz: float = 50.0, **kwargs: Any) -> None:
        if nplc not in _NPLC:
            raise ValueError(f"nplc must be one of {', '.join(f'{n:g}' for n in _NPLC)}, not {nplc!r}")
        self._nplc = nplc
        self._line_Hz = line_Hz
        self._began = math.nan
        super().__init__(**kwargs)
        self._scpi = ScpiClient(self.link)

    def shortest_scan_s(self) -> float:
        """Time that one scan takes: each reading has a zero reading with it."""
        couples = sum(channel.quantity == "temperature" for channel in self.scanned.values())
        reading_s = _SWITCH_S + 2 * self._nplc / self._line_Hz
        return round(len(self.scanned) * reading_s + couples * _THERMOCOUPLE_S, 3)

    def check_task(self, task: Any) -> None:
        """Raise LimitError if the instrument can't scan so; its timer counts milliseconds."""
        super().check_task(task)
        steps = task.interval_s / _INTERVAL_STEP_S
        if not math.isclose(steps, round(steps), rel_tol=1e-9):
            raise ValueError(
                f"{self.name}: the interval must be whole milliseconds, not {task.interval_s!r} s"
            )

    def identify(self) -> Identity:
        """Ask for maker and model."""
        maker, model, serial, firmware = self._scpi.ask("*IDN?", decode_identification)
        if model not in _MODELS:
            raise self.wrong(f"{maker} {model}")
        return Identity(maker, model, serial="" if serial == "0" else serial, firmware=firmware)

    def upload_limits(self) -> None:
        """End any scan, see that the modules have the channels, and configure them.

        Raises
        ------
        InstrumentError
            If a channel is on no multiplexer module, or the instrument does not take the configuration.
        """
        self._check_modules()
        self._abort()
        self._scpi.order("*CLS", "MEM:STAT:REC:AUTO OFF")
        if self._scpi.ask("MEM:STAT:REC:AUTO?", decode_number) != 0:
            raise self.refused("would go on with a scan by itself after a loss of power")
        self._keep_configured()

    def read_at_rest(self) -> None:
        """Scan once, and record.

        Raises
        ------
        InstrumentError
            If it scans though nobody here told it to, or reports a fault.
        """
        try:
            self._scpi.ask("SYST:ERR?", decode_error_queue)
            self._keep_configured()
            readings = self._scpi.ask(
                "TRIG:SOUR IMM;:TRIG:COUN 1;:READ?",
                lambda reply: decode_readings(reply, list(self.in_order())),
                timeout_s=self.settings.timeout_s + 2 * self.shortest_scan_s(),
            )
        except Exception:
            self.record_nothing()
            raise
        self.record_channels(self._values(readings), self.clock.now())

    def begin(self, task: Scan) -> None:
        """Have the instrument scan by its own timer."""
        self._keep_configured()
        self._scpi.order("TRIG:SOUR TIM", f"TRIG:TIM {task.interval_s:.3f}", f"TRIG:COUN {task.count}")
        self._insist_on("TRIG:SOUR?", "TIM")
        self._insist_on("TRIG:TIM?", round(task.interval_s, 3))
        self._insist_on("TRIG:COUN?", float(task.count))
        self._began = self.clock.now()
        self._scpi.order("INIT")

    def listen(self) -> bool:
        """Take the whole scans out of the instrument's memory; their times are its own.

        Raises
        ------
        InstrumentError
            If its memory has overflowed. A reply that gets lost on the way has taken its readings with it:
            then the scan ends with an error, never with a gap.
        """
        scanning, memory_full, points = self._scpi.ask(
            "STAT:OPER:COND?;:STAT:QUES:COND?;:DATA:POIN?", _decode_progress
        )
        if memory_full:
            raise self.refused(f"its memory has overflowed {self.so_far()}")
        channels = list(self.in_order())
        scans_a_block = max(1, _BLOCK_READINGS // len(channels))
        scans = points // len(channels)
        while scans:
            count = min(scans, scans_a_block)
            self._take_scans(count * len(channels), channels)
            scans -= count
        return not scanning

    def switch_off(self) -> None:
        """End the scan that may be running, and see that none does."""
        self.insist(self._abort)

    def _take_scans(self, count: int, channels: list[int]) -> None:
        readings = self._scpi.ask_once(
            f"R? {count}", lambda reply: decode_readings(reply, channels), timeout_s=_BLOCK_S
        )
        if len(readings) != count:
            raise self.link.failed(f"{len(readings)} readings came, not {count}")
        for i in range(0, count, len(channels)):
            scan = readings[i : i + len(channels)]
            self.add_scan(self._values(scan), self._began + scan[0].since_s)

    def _values(self, readings: Sequence[Reading]) -> dict[str, float]:
        names = self.in_order()
        return {names[reading.channel]: reading.value for reading in readings}

    def _abort(self) -> None:
        self.link.send(b"ABOR\n")  # its success is seen below, whatever the error queue says of other things
        deadline_s = self.clock.monotonic() + _ABORTED_WITHIN_S
        while self._scpi.ask("STAT:OPER:COND?", _decode_scanning):
            if self.clock.monotonic() > deadline_s:
                raise self.refused("goes on scanning though told to stop")
            self.clock.sleep(_LOOK_S)

    def _check_modules(self) -> None:
        for slot in sorted({100 * (channel // 100) for channel in self.in_order()}):
            _, module, _, _ = self._scpi.ask(f"SYST:CTYP? {slot}", decode_identification)
            beyond = [
                c
                for c in self.in_order()
                if 0 <= c - slot < 100 and not 1 <= c - slot <= _MODULES.get(module, 0)
            ]
            if beyond:
                found = f"a {module}" if module != "0" else "nothing"
                raise self.refused(
                    f"slot {slot} holds {found}, without channel {', '.join(map(str, beyond))} for voltages "
                    "and thermocouples"
                )

    def _configuration(self) -> list[tuple[str, str | float]]:
        """Questions, and what the answers must be."""
        every = encode_channels(self.in_order())
        held: list[tuple[str, str | float]] = [
            ("FORM:READ:TIME?", 1.0),
            ("FORM:READ:TIME:TYPE?", "REL"),
            ("FORM:READ:CHAN?", 1.0),
            ("FORM:READ:UNIT?", 0.0),
            ("FORM:READ:ALAR?", 0.0),
            (f"CALC:SCAL:STAT? {every}", 0.0),
        ]
        for channels, range_V in self._voltages():
            held += [
                (f"FUNC? {channels}", "VOLT"),
                (f"VOLT:DC:RANG? {channels}", range_V),
                (f"VOLT:DC:RANG:AUTO? {channels}", 0.0),
                (f"VOLT:DC:NPLC? {channels}", self._nplc),
                (f"INP:IMP:AUTO? {channels}", 1.0),
            ]
        for channels, couple in self._thermocouples():
            held += [
                (f"FUNC? {channels}", "TEMP"),
                (f"TEMP:TRAN:TYPE? {channels}", "TC"),
                (f"TEMP:TRAN:TC:TYPE? {channels}", couple),
                (f"TEMP:TRAN:TC:RJUN:TYPE? {channels}", "INT"),
                (f"TEMP:TRAN:TC:CHEC? {channels}", 1.0),
                (f"TEMP:NPLC? {channels}", self._nplc),
                (f"UNIT:TEMP? {channels}", "C"),
            ]
        return held

    def _voltages(self) -> list[tuple[str, float]]:
        """Channel list and range of the voltages."""
        found: dict[float, list[int]] = {}
        for channel in self.scanned.values():
            if channel.quantity == "voltage":
                found.setdefault(channel.range_V, []).append(channel.at)
        return [(encode_channels(channels), range_V) for range_V, channels in found.items()]

    def _thermocouples(self) -> list[tuple[str, str]]:
        """Channel list and type of the thermocouples."""
        found: dict[str, list[int]] = {}
        for channel in self.scanned.values():
            if channel.quantity == "temperature":
                found.setdefault(channel.thermocouple, []).append(channel.at)
        return [(encode_channels(channels), couple) for couple, channels in found.items()]

    def _keep_configured(self) -> None:
        """See that the instrument is idle and measures what it shall; configure it if it does not."""
        if not self._differences():
            return
        for channels, range_V in self._voltages():
            self._scpi.order(
                f"CONF:VOLT:DC {range_V:g},{channels}",
                f"VOLT:DC:NPLC {self._nplc:g},{channels}",
                f"INP:IMP:AUTO ON,{channels}",
            )
        for channels, couple in self._thermocouples():
            self._scpi.order(
                f"CONF:TEMP TC,{couple},{channels}",
                f"TEMP:TRAN:TC:RJUN:TYPE INT,{channels}",
                f"TEMP:TRAN:TC:CHEC ON,{channels}",
                f"TEMP:NPLC {self._nplc:g},{channels}",
                f"UNIT:TEMP C,{channels}",
            )
        every = encode_channels(self.in_order())  # CONF overwrites the scan list, and takes the format back
        self._scpi.order(
            f"CALC:SCAL:STAT OFF,{every}",
            f"ROUT:SCAN {every}",
            "FORM:READ:TIME ON;:FORM:READ:TIME:TYPE REL;:FORM:READ:CHAN ON",
            "FORM:READ:UNIT OFF;:FORM:READ:ALAR OFF",
        )
        if differences := self._differences():
            raise self.refused(differences)

    def _differences(self) -> str:
        """What the instrument holds otherwise than it was told, in words.

        Raises
        ------
        InstrumentError
            If it scans.
        """
        held = self._configuration()
        questions = ["STAT:OPER:COND?", *(question for question, _ in held), "ROUT:SCAN?"]
        condition, *found, scanned = self._scpi.ask(
            ";:".join(questions), lambda reply: _decode_configuration(reply, [told for _, told in held])
        )
        if _decode_scanning(condition.encode()):
            raise self.refused("scans though nobody here told it to")
        wrong = [
            f"{question} says {answer}, told {told}"
            for (question, told), answer in zip(held, found, strict=True)
            if not _same(answer, told)
        ]
        if decode_channels(scanned) != list(self.in_order()):
            wrong.append(f"its scan list is {scanned}")
        return "; ".join(wrong)

    def _insist_on(self, question: str, told: str | float) -> None:
        found = self._scpi.ask(question, decode_text)
        if not _same(found, told):
            raise self.refused(f"{question} says {found}, told {told}")


def _decode_scanning(reply: bytes) -> bool:
    value = decode_number(reply)
    if not value >= 0 or value != int(value):
        raise ProtocolError(f"{reply!r} is no status register")
    return bool(int(value) & _SCANNING)


def _decode_progress(reply: bytes) -> tuple[bool, bool, int]:
    """Whether it scans, whether its memory has overflowed, and how many readings it holds."""
    operation, questionable, points = (decode_number(word.encode()) for word in decode_settings(reply, 3))
    if not all(value >= 0 and value == int(value) for value in (operation, questionable, points)):
        raise ProtocolError(f"{reply!r} are no status registers")
    return bool(int(operation) & _SCANNING), bool(int(questionable) & _MEMORY_FULL), int(points)


def _decode_configuration(reply: bytes, told: Sequence[str | float]) -> list[str]:
    """State of scanning, answers to the questions about settings, and scan list, all well-formed."""
    found = decode_settings(reply, len(told) + 2)
    _decode_scanning(found[0].encode())
    decode_channels(found[-1])
    for answer, value in zip(found[1:-1], told, strict=True):
        _same(answer, value)
    return found
