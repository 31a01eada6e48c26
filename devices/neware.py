"""Neware battery cyclers, through the TCP API of their BTS Client (BTS 8).

Sources: replies captured from a BTS 8.0 machine, as published in the tests of the aurora-neware client
0.2.3, and that client's requests; a second public client, written after the maker's "BTSAPI" protocol 1.19
(words for states and steps, at most 1000 records a request, 30 s a request, one request outstanding, a state
that may be 5 s old). Not verified: what the log codes mean (but for start, end and "running", from the
captures), how a state is shown while a test is paused by the machine, and whether "--", which the machine
shows for the step of a channel at rest, also stands for a number that it has not.

Records are fetched as they come; while there are new ones the program runs, and nothing else is asked. The
state is asked for when a test is complete, to hear how it ended, and by whoever reads the channel.

The state of a channel is up to 5 s old. So a start counts only when the channel has a new test and is shown
working, and an end, a stop or a protection only when it is shown long enough after the test was complete or
the stop was sent. Records are found by the number of the test; their names of replies are misspelt, the
number of the unit in a reply may be a wrong 1, and the count in a list is not relied on: entries are taken in
the order in which they were asked for.
"""

from __future__ import annotations

import math
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

from devices.families.cycler import ChannelReading, Cycler, CyclerChannel
from devices.families.cycler_program import Program
from devices.flyer import Row
from devices.instrument import About, Identity
from devices.neware_program import encode_program
from ssblab.links import InstrumentClock, LinkSettings, ProtocolError, Refusal, line

__all__ = [
    "Device",
    "NewareBts",
    "NewareChannel",
    "Place",
    "Record",
    "RecordTimes",
    "Uploaded",
    "decode_connected",
    "decode_devices",
    "decode_done",
    "decode_readings",
    "decode_records",
    "decode_uploaded",
    "encode_request",
    "log_text",
]

T = TypeVar("T")

_END = b"\n\n#\r\n"
_REPLY = line(b"#\r\n")
_MODELS = {20 + i: f"BTS{78 + i}" for i in range(8)}
_MOST_RECORDS = 1000
_STALE_S = 6.0  # a state shown this long after something has happened knows of it
_EPS_S = 1e-3
_SHOWN_S = 30.0  # within which the channel must show that it was started or stopped
_LOOK_S = 1.0
_CLOCKS_S = 120.0  # by which the clocks of the BTS computer and of this one may differ

_RUNNING = {"working", "pause", "synCtrl", "waitTimeOut", "waitStart"}
_AT_REST = {"finish", "stop", "ligth", "protect"}
_STARTS_FROM = {"finish", "stop", "protect"}
_CHARGES = {"cc", "cv", "cccv", "pcccv", "cp", "cr"}
_DISCHARGES = {"dc", "dv", "cccd", "dp", "dr"}
_RESTS = {"rest", "pause", "control", "end"}
_EITHER = {"sim", "pulse"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_WHOLE = re.compile(r"\d+")
_LOG = {100000: "test started", 100001: "test ended", 102000: "running"}


@dataclass(frozen=True)
class Place:
    """Where a channel is: computer, kind of machine, machine, unit, and channel of the unit."""

    ip: str
    devtype: int
    devid: int
    subdevid: int
    chlid: int

    def attributes(self) -> str:
        """How a request names it."""
        return (
            f'ip={quoteattr(self.ip)} devtype="{self.devtype}" devid="{self.devid}" '
            f'subdevid="{self.subdevid}" chlid="{self.chlid}"'
        )


@dataclass(frozen=True)
class Device:
    """What `getdevinfo` tells: the channels, and the client's version where it is told."""

    places: tuple[Place, ...]
    version: str


@dataclass(frozen=True)
class Uploaded:
    """How much of a test the data base has: its number, records, and whether these are all."""

    testid: int
    count: int
    complete: bool


@dataclass(frozen=True)
class Record:
    """One record; `step_time_s` counts from the beginning of the step, `date` has no zone."""

    number: int
    step: int
    cycle: int
    kind: str
    step_time_s: float
    date: datetime
    voltage_V: float
    current_A: float
    capacity_Ah: float
    energy_Wh: float


def encode_request(command: str, content: str = "") -> bytes:
    """Request with its terminator."""
    text = f'<?xml version="1.0" encoding="UTF-8" ?><bts version="1.0"><cmd>{command}</cmd>{content}</bts>'
    return text.encode() + _END


def _encode_list(items: Sequence[str]) -> str:
    return f'<list count = "{len(items)}">{"".join(items)}</list>'


def decode_connected(reply: bytes) -> None:
    """Decode the reply to `connect`."""
    result = (_parse(reply, "connect").findtext("result") or "").strip()
    if result == "false":
        raise Refusal("the BTS Client refuses the user name or password")
    if result != "ok":
        raise ProtocolError(f"{result!r} is neither ok nor false")


def decode_devices(reply: bytes) -> Device:
    """Decode the reply to `getdevinfo`."""
    root = _parse(reply, "getdevinfo")
    middle = root.find("middle")
    if middle is None:
        raise ProtocolError("no list of channels")
    places = tuple(
        Place(
            _attribute(element, "ip"),
            _whole(element, "devtype"),
            _whole(element, "devid"),
            _whole(element, "subdevid"),
            _whole(element, "Channelid" if "Channelid" in element.attrib else "chlid"),
        )
        for element in middle
    )
    client = root.find("client")
    return Device(places, "" if client is None else client.get("version", ""))


def decode_readings(reply: bytes, asked: Sequence[Place]) -> list[ChannelReading]:
    """Decode the reply to `inquire`, one reading for each place asked for."""
    return [_reading(element) for element in _entries(reply, "inquire", asked, _dev)]


def decode_uploaded(reply: bytes, asked: Sequence[Place]) -> list[Uploaded]:
    """Decode the reply to `inquiredf`, one answer for each place asked for."""
    return [_uploaded(element) for element in _entries(reply, "inquiredf", asked, _attributes)]


def decode_records(reply: bytes, asked: Place, testid: int, first: int) -> list[Record]:
    """Decode the reply to `download`: records from number `first` on, without a gap."""
    root = _parse(reply, "download", "donwload_resp")
    head, rows = root.find("download"), root.find("list")
    if head is None or rows is None:
        raise ProtocolError("no records")
    _check_place(_attributes(head), asked)
    if (_whole(head, "testid"), _whole(head, "startpos")) != (testid, first):
        raise ProtocolError("records of another test or place")
    records = [_record(element) for element in rows]
    if [record.number for record in records] != list(range(first, first + len(records))):
        raise ProtocolError("records are missing")
    return records


def decode_done(reply: bytes, command: str, asked: Place) -> bool:
    """Decode the reply to an order for one channel: whether it was accepted."""
    (element,) = _entries(reply, command, [asked], _attributes)
    text = (element.text or "").strip()
    if text not in ("ok", "false"):
        raise ProtocolError(f"{text!r} is neither ok nor false")
    return text == "ok"


def log_text(code: int) -> str:
    """What a log code means, as far as it is known."""
    return f"log code {code}" + (
        f", {_LOG[code]}" if code in _LOG else ", see the channel's log in the client"
    )


def _parse(reply: bytes, command: str, misspelt: str = "") -> ET.Element:
    if not reply.endswith(b"#\r\n"):
        raise ProtocolError("not a whole reply")
    try:
        root = ET.fromstring(reply.removesuffix(b"#\r\n"))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ProtocolError(f"no XML ({error})") from None
    found = (root.findtext("cmd") or "").strip()
    if root.tag != "bts" or found not in (f"{command}_resp", misspelt or f"{command}_resp"):
        raise ProtocolError(f"{found!r} does not answer {command}")
    return root


def _entries(
    reply: bytes, command: str, asked: Sequence[Place], place_of: Callable[[ET.Element], list[int]]
) -> list[ET.Element]:
    """Entries of a list, checked to be about the channels asked for, in their order."""
    found = _parse(reply, command).find("list")
    entries = [] if found is None else list(found)
    if len(entries) != len(asked):
        raise ProtocolError(f"{len(entries)} entries, not {len(asked)}")
    for entry, place in zip(entries, asked, strict=True):
        _check_place(place_of(entry), place)
    return entries


def _check_place(found: list[int], asked: Place) -> None:
    devtype, devid, subdevid, chlid = found
    same = (devtype, devid, chlid) == (asked.devtype, asked.devid, asked.chlid)
    if not (same and subdevid in (asked.subdevid, 1)):  # some versions name unit 1 in all replies
        raise ProtocolError(f"about {found}, not {asked}")


def _attributes(element: ET.Element) -> list[int]:
    return [_whole(element, name) for name in ("devtype", "devid", "subdevid", "chlid")]


def _dev(element: ET.Element) -> list[int]:
    parts = _attribute(element, "dev").split("-")
    if len(parts) < 4 or not all(_WHOLE.fullmatch(part) for part in parts):
        raise ProtocolError(f"{element.get('dev')!r} names no channel")
    return [int(part) for part in parts[:4]]


def _reading(element: ET.Element) -> ChannelReading:
    state = _attribute(element, "workstatus")
    if state not in _RUNNING | _AT_REST:
        raise ProtocolError(f"unknown state {state!r}")
    running = state in _RUNNING
    reading = ChannelReading(
        voltage_V=_number(element, "voltage"),
        current_A=_number(element, "current"),
        capacity_Ah=_number(element, "capacity"),
        energy_Wh=_number(element, "energy"),
        step=_whole(element, "step_id") if "step_id" in element.attrib else 0,
        cycle=_whole(element, "cycle_id") if running else 0,
        state=state,
        running=running,
    )
    if state != "protect":
        return reading
    return replace(reading, problem=f"stopped by a protection ({log_text(_whole(element, 'log_code'))})")


def _uploaded(element: ET.Element) -> Uploaded:
    text = (element.text or "").strip()
    if text not in ("true", "false"):
        raise ProtocolError(f"{text!r} is neither true nor false")
    return Uploaded(_whole(element, "testid"), _whole(element, "count"), text == "true")


def _record(element: ET.Element) -> Record:
    current_A = _number(element, "curr")
    try:
        date = datetime.strptime(_attribute(element, "atime"), "%Y-%m-%d %H:%M:%S")
    except ValueError as error:
        raise ProtocolError(str(error)) from None
    return Record(
        number=_whole(element, "seqid"),
        step=_whole(element, "stepid"),
        cycle=_whole(element, "cycleid"),
        kind=_kind(_attribute(element, "steptype"), current_A),
        step_time_s=_whole(element, "testtime") / 1000.0,
        date=date,
        voltage_V=_number(element, "volt"),
        current_A=current_A,
        capacity_Ah=_number(element, "cap"),
        energy_Wh=_number(element, "eng"),
    )


def _kind(steptype: str, current_A: float) -> str:
    for kind, types in (("charge", _CHARGES), ("discharge", _DISCHARGES), ("rest", _RESTS)):
        if steptype in types:
            return kind
    if steptype not in _EITHER:
        raise ProtocolError(f"unknown step {steptype!r}")
    return "charge" if current_A > 0 else "discharge" if current_A < 0 else "rest"


def _attribute(element: ET.Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise ProtocolError(f"no {name}")
    return value


def _whole(element: ET.Element, name: str) -> int:
    text = _attribute(element, name)
    if not (text.isascii() and _WHOLE.fullmatch(text) and len(text) < 16):
        raise ProtocolError(f"{name} {text!r} is no whole number")
    return int(text)


def _number(element: ET.Element, name: str) -> float:
    text = _attribute(element, name)
    if text == "--":
        return math.nan
    if not (text.isascii() and _NUMBER.fullmatch(text) and math.isfinite(value := float(text))):
        raise ProtocolError(f"{name} {text!r} is no number")
    return value


class RecordTimes:
    """Times of records, from the dates (whole seconds, no zone) and the times in their steps (0.1 s).

    Steps follow each other without a gap, and each record must lie in the second that its date names; where
    it does not, as after a pause, the step is moved until it does. Where the clock is put back in autumn, the
    hour is taken that fits better.

    Parameters
    ----------
    zone : ZoneInfo
        Of the BTS computer.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._began: float | None = None  # of the step
        self._last = 0.0
        self._place = (0, 0)

    def place(self, record: Record) -> float:
        """Time of the next record, s since 1970."""
        if self._began is None:
            self._began = self._second(record.date, None) - record.step_time_s
        elif (record.cycle, record.step) != self._place or self._began + record.step_time_s < self._last:
            self._began = self._last - record.step_time_s if record.step_time_s else self._last
        self._place = record.cycle, record.step
        time = self._began + record.step_time_s
        second = self._second(record.date, time)
        fitting = min(max(time, second), second + 0.999)
        self._began += fitting - time
        self._last = fitting
        return fitting

    def _second(self, date: datetime, near: float | None) -> float:
        seconds = [date.replace(tzinfo=self._zone, fold=fold).timestamp() for fold in (0, 1)]
        return seconds[0] if near is None else min(seconds, key=lambda second: abs(second - near))


class NewareBts(Cycler):
    r"""Neware machine with BTS 8; channels count through its units: with eight a unit, channel 9 is 2-1.

    The state that it tells is up to 5 s old, with four decimals (0.1 mA, 0.1 mAh); records have all.

    Parameters
    ----------
    devid : int, optional
        Number of the machine, where the BTS Client has several.
    channels_per_unit : int
        Of each middle machine.
    step_folder : str, optional
        Where this computer writes step files; by default in its folder for temporary files.
    step_folder_on_bts : str, optional
        The same folder as the BTS computer names it, such as "\\lab-pc\steps"; by default the same.
    timezone : str
        Of the BTS computer's clock, such as "Asia/Tokyo".
    username, password : str
        Of the BTS Client.
    """

    model = "Neware BTS 8"
    about = About(
        maker="Neware",
        models="machines of BTS 8 (device types 20 to 27), BTS Client of 2023-03-17 or later with its API on",
        protocol="BTSAPI, XML",
        transport="TCP 502",
        verified=(
            "replies captured from BTS 8.0",
            "aurora-neware 0.2.3",
            "aurora-unicycler 0.4.6 (step files)",
        ),
        unsupported="auxiliary and parallel channels, pauses, delays of protections; the channels' ranges, "
        "which the protocol does not tell (give limits); what log codes mean",
    )
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=30.0, retries=1)
    action_timeout_s: ClassVar[float] = 150.0

    def __init__(
        self,
        *,
        devid: int | None = None,
        channels_per_unit: int = 8,
        step_folder: str | None = None,
        step_folder_on_bts: str | None = None,
        timezone: str = "UTC",
        username: str = "admin",
        password: str = "neware",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.own_clock: InstrumentClock = InstrumentClock(self.clock, resolution_s=1.0)
        self._devid = devid
        self._per_unit = channels_per_unit
        self._folder = Path(step_folder or Path(tempfile.gettempdir()) / "ssblab-neware")
        self._folder_on_bts = step_folder_on_bts or str(self._folder)
        self.zone = ZoneInfo(timezone)
        self._login = username, password
        self._places: dict[int, Place] = {}

    def identify(self) -> Identity:
        """Log in, and find the machine among those that the BTS Client has."""
        user, password = map(escape, self._login)
        self._ask(
            "connect",
            f"<username>{user}</username><password>{password}</password><type>bfgs</type>",
            decode_connected,
        )
        found = self._ask("getdevinfo", "", decode_devices)
        machines = sorted({(place.devtype, place.devid) for place in found.places})
        matching = [machine for machine in machines if self._devid in (None, machine[1])]
        if len(matching) != 1:
            raise self.wrong(
                "machines " + ", ".join(str(devid) for _, devid in machines) if machines else "no machine"
            )
        devtype, devid = matching[0]
        places = [place for place in found.places if (place.devtype, place.devid) == (devtype, devid)]
        if any(place.chlid > self._per_unit for place in places):
            raise self.wrong(f"a unit with more than {self._per_unit} channels: see channels_per_unit")
        self._places = {(place.subdevid - 1) * self._per_unit + place.chlid: place for place in places}
        name = _MODELS.get(devtype, f"device type {devtype}")
        return Identity("Neware", f"{name} no. {devid}", firmware=found.version)

    def place(self, channel: int) -> Place:
        """Where a channel is.

        Raises
        ------
        InstrumentError
            If the machine does not have it now.
        """
        self.link.open()
        if channel not in self._places:
            raise self.refused(f"there is no channel {channel}; there are {len(self._places)}")
        return self._places[channel]

    def read_channels(self, channels: Sequence[int]) -> dict[int, ChannelReading]:
        """Ask for the state of channels, in one exchange."""
        asked = self._present(channels)
        if not asked:
            return {}
        places = list(asked.values())
        items = [f'<inquire {place.attributes()} aux="0" barcode="1">true</inquire>' for place in places]
        readings = self._ask("inquire", _encode_list(items), lambda reply: decode_readings(reply, places))
        return dict(zip(asked, readings, strict=True))

    def uploaded(self, place: Place) -> Uploaded:
        """Ask how much of a channel's last test the data base has."""
        items = [f'<chl {place.attributes()} testid="0" />']
        return self.in_turn(
            lambda: self._ask("inquiredf", _encode_list(items), lambda reply: decode_uploaded(reply, [place]))
        )[0]

    def _present(self, channels: Sequence[int]) -> dict[int, Place]:
        self.link.open()
        return {channel: self._places[channel] for channel in channels if channel in self._places}

    def read_records(self, place: Place, testid: int, first: int) -> list[Record]:
        """Ask for records of a test from a number on; at most 1000 come."""
        item = (
            f'<download {place.attributes()} auxid="0" testid="{testid}" startpos="{first}" '
            f'count="{_MOST_RECORDS}"/>'
        )
        return self.in_turn(
            lambda: self._ask("download", item, lambda reply: decode_records(reply, place, testid, first))
        )

    def start(self, place: Place, name: str, program: Program) -> None:
        """Write a program's step file and start it.

        Raises
        ------
        InstrumentError
            If the file can't be written, or the machine refuses it; it does not say why.
        """
        guid, now = uuid4(), datetime.fromtimestamp(self.clock.now(), UTC)
        file = f"{name}-{now:%Y%m%dT%H%M%S}-{guid.hex[:8]}.xml"
        try:
            content = encode_program(program, remark=name, date=f"{now:%Y%m%d%H%M%S}", guid=guid)
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / file).write_bytes(content)
        except (OSError, ValueError) as error:
            raise self.refused(f"the step file can't be written ({error})") from error
        path = f"{self._folder_on_bts}{_separator(self._folder_on_bts)}{file}"
        barcode = quoteattr(f"{name}-{now:%Y%m%dT%H%M%S}")
        item = f"<start {place.attributes()} barcode={barcode}>{escape(path)}</start>"
        if not self._order("start", place, item):
            raise self.refused(
                f"refuses to start {path}: that file must be readable there, and fit the channel's ranges"
            )

    def stop_channel(self, place: Place) -> None:
        """Tell a channel to stop; one that does not run refuses, so that the state has to be looked at."""

        def stop() -> None:
            self._order("stop", place, f"<stop {place.attributes()}>true</stop>")

        self.insist(stop)

    def _order(self, command: str, place: Place, item: str) -> bool:
        request = encode_request(command, _encode_list([item]))
        return self.in_turn(
            lambda: self.link.order(request, _REPLY, lambda reply: decode_done(reply, command, place))
        )

    def _ask(self, command: str, content: str, decode: Callable[[bytes], T]) -> T:
        return self.link.ask(encode_request(command, content), _REPLY, decode)


def _separator(folder: str) -> str:
    if folder.endswith(("\\", "/")):
        return ""
    return "\\" if "\\" in folder else "/"


class NewareChannel(CyclerChannel):
    """One channel. A program that was accepted counts as started when the channel shows it, within 30 s.

    Each test's records are fetched by its number, as they come, with the BTS computer's own times.
    """

    action_timeout_s: ClassVar[float] = 150.0
    records_changes: ClassVar[bool] = True
    cycler: NewareBts

    def __init__(self, *, cycler: NewareBts, **kwargs: Any) -> None:
        super().__init__(cycler=cycler, **kwargs)
        self._testid = 0
        self._count = 0  # of the records fetched
        self._flowing = False  # whether the last look found records
        self._times = RecordTimes(cycler.zone)
        self._told_s = -math.inf  # when it was told to start
        self._began = math.nan
        self._complete_s: float | None = None  # when all records were there

    def read_channel_limits(self) -> None:
        """See that the channel is there; the protocol does not tell its ranges."""
        self.cycler.place(self.channel)

    def read_now(self, *, fresh: bool = False) -> ChannelReading:
        """Read the channel; the quality is "invalid" after a protection, until the next start."""
        reading = super().read_now(fresh=fresh)
        if reading.problem:
            self.record(quality="invalid")
        return reading

    def begin(self, task: Program) -> None:
        """Start a program, and see that the channel runs it."""
        place = self.cycler.place(self.channel)
        state = self.read_now(fresh=True).state
        if state not in _STARTS_FROM:
            raise self.refused(f"can't start: the channel is in state {state!r}")
        before = self.cycler.uploaded(place).testid
        self._told_s, self._began = self.clock.monotonic(), self.clock.now()
        self.cycler.start(place, self.name, task)
        self._testid = self._await_test(place, before)
        self._count, self._flowing, self._complete_s = 0, False, None
        self._times = RecordTimes(self.cycler.zone)

    def look_period_s(self, task: Program) -> float:
        """How often to listen to a running program: as its records come (`Program.look_s`)."""
        return task.look_s()

    def listen(self) -> bool:
        """Fetch the new records; the program is over when they are complete and the state knows of it.

        Where the look before found records, this one fetches before it asks whether there are any: so the
        end may be seen one look late. One more look, soon after that, hears from the state how it ended.
        """
        if self._flowing and self._fetch():
            return False
        uploaded = self.cycler.uploaded(self.cycler.place(self.channel))
        if uploaded.testid != self._testid:
            raise self.refused(f"test {self._testid} is gone, there is test {uploaded.testid}")
        self._flowing = uploaded.count > self._count
        if self._flowing and not self._fetch():
            raise self.refused(f"holds back records {self._count + 1} to {uploaded.count}")
        if not uploaded.complete or self._count < uploaded.count:
            self._complete_s = None
            return False
        reading = self.read_now()
        now = self.clock.monotonic()
        if self._complete_s is None:
            self._complete_s = now
            self.clock.call_later(_STALE_S + _EPS_S, self._submit_look)
        if reading.running or now - self._complete_s < _STALE_S:
            return False
        if reading.problem:
            raise self.refused(f"{reading.problem}, {self.so_far()}")
        if reading.state != "finish":
            raise self.refused(
                f"the program was ended at the cycler (state {reading.state!r}) {self.so_far()}"
            )
        return True

    def switch_off(self) -> None:
        """Stop the channel if it runs or may run, and see that it shows so, within 30 s.

        Raises
        ------
        InstrumentError
            If it still runs.
        """
        reading = self.read_now(fresh=True)
        if not reading.running and self.clock.monotonic() - self._told_s >= _STALE_S:
            return
        self.cycler.stop_channel(self.cycler.place(self.channel))
        told_s = self.clock.monotonic()
        while reading.running or self.clock.monotonic() - told_s < _STALE_S:
            if self.clock.monotonic() - told_s > _SHOWN_S:
                raise self.refused(
                    f"was told to stop {_SHOWN_S:g} s ago and is still in state {reading.state!r}"
                )
            self.clock.sleep(_LOOK_S)
            reading = self.read_now()

    def _await_test(self, place: Place, before: int) -> int:
        """Wait until the channel shows a new test that runs, or ran; give its number."""
        while self.clock.monotonic() - self._told_s < _SHOWN_S:
            self.clock.sleep(_LOOK_S)
            reading, uploaded = self.read_now(), self.cycler.uploaded(place)
            if uploaded.testid != before and (reading.running or uploaded.complete):
                return uploaded.testid
        raise self.refused(f"accepted the program and did not show it within {_SHOWN_S:g} s")

    def _submit_look(self) -> None:
        self.clock.submit(self.name, self._look)

    def _fetch(self) -> bool:
        """Fetch the records that have come since the last time; say whether there were any."""
        place = self.cycler.place(self.channel)
        before = self._count
        while True:
            records = self.cycler.read_records(place, self._testid, self._count + 1)
            rows = [self._row(record) for record in records]
            for row in rows[:1] + rows[-1:]:  # made since the test was told to start, and before they came
                self.cycler.own_clock.compare(row.time, self._began, self.clock.now())
            self.add_rows(rows)
            self._count += len(rows)
            if rows:
                self.show_row(rows[-1])
            if len(rows) < _MOST_RECORDS:
                return self._count > before

    def _row(self, record: Record) -> Row:
        time = self._times.place(record)
        if record.number == 1 and abs(time - self._began) > _CLOCKS_S:
            raise self.refused(
                f"the clock of the BTS computer is off by {time - self._began:.0f} s: set it, or the option "
                "timezone"
            )
        return Row(
            time,
            {
                "voltage": record.voltage_V,
                "current": record.current_A,
                "capacity": record.capacity_Ah,
                "energy": record.energy_Wh,
                "step": float(record.step),
                "cycle": float(record.cycle),
                "kind": record.kind,
            },
        )
