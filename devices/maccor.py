"""Maccor battery cyclers over MacNet, the JSON port (TCP 57570).

Sources: notes taken from Maccor's help text on MacNet (functions, fields, result codes, error messages), its
examples as pymacnet 1.1.3 reproduces them, and the meanings of RF1 and RF2 in a second public client
(C. Perera's MacNet.py). JSON-RPC 2.0; a request has no terminator, a reply ends with CR LF; channels are
counted from 0 on the wire and from 1 here.

A program runs in direct mode: the machine drives set points of current and voltage that limit each other, and
this driver ends the steps. It looks the more often the nearer an end is, so that a step ends some 0.1 s after
its condition. Capacity, energy and times are the machine's (TestTime; rests have the laboratory's clock), the
records are the statuses that were read: no function for stored records is known to us. A procedure that the
machine has in its folder is started by name, and the machine ends its steps.

What protects the cell if this driver dies in a program:

- The voltage set point is the one at which the step ends or holds, so that the machine stops there by itself.
- The machine's safety limits (6, 10) are the program's limits, 5 mV and 2 % wider, uploaded and compared
  before each start; a step without a voltage of its own runs into them and is ended by the machine.
- Set points are sent again every 5 s. Set `MacNetDirectModeWD` to 30 (s) in the section Misc_Options of the
  machine's System.ini: it then suspends the channel. MacNet can neither set this nor tell it.

A rest: direct mode over JSON can't be set to rest, and the clients of the binary port disagree on how it
counts channels. A rest therefore ends the test (6, 5): the channel is idle, nothing drives it, and no current
flows. The step after it starts a new test, so that a program with rests is several files on the machine.

Not verified, because no machine and no text said it: whether Current has a sign (both are read right),
where Capacity begins to count in direct mode (both ways are read right), that an idle channel still measures
its voltage (the published example of a status shows it), the parameters of (6, 11).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar, TypeVar

from devices.families.cycler import ChannelReading, Cycler, CyclerChannel
from devices.families.cycler_program import CellLimits, Program, Step
from devices.flyer import Flyer, Row
from devices.instrument import About, Identity
from ssblab.clock import Timer
from ssblab.links import LinkClosed, LinkError, LinkSettings, LinkTimeout, ProtocolError, Refusal
from ssblab.links.framing import MAX_FRAME_BYTES

__all__ = [
    "ChannelStatus",
    "MaccorChannel",
    "MaccorMacNet",
    "Point",
    "Procedure",
    "Specification",
    "check_outcome",
    "decode_result",
    "decode_specification",
    "decode_status",
    "encode_request",
    "end_of_step",
    "json_frame",
    "safety_limits",
    "set_points",
    "time_to_end",
]

T = TypeVar("T")

_AVAILABLE, _SELECTED, _ACTIVE, _SUSPENDED, _COMPLETED, _PROBLEM, _RESET, _START, _POWER_FAIL = (
    0, 1, 2, 3, 4, 5, 7, 8, 9,
)  # fmt: skip
_STARTING = 12
_STATES = {
    _AVAILABLE: "Available", _SELECTED: "Selected", _ACTIVE: "Active", _SUSPENDED: "Suspended",
    _COMPLETED: "Completed", _PROBLEM: "Problem", 6: "Not/Avl", _RESET: "Reset", _START: "Start",
    _POWER_FAIL: "PWR Fail", 10: "No Cntllr", 11: "ShutDown", _STARTING: "Starting", 13: "Blocked",
    14: "Waiting", 15: "FRA", 16: "Rem Maint",
}  # fmt: skip
_FREE = (_AVAILABLE, _SELECTED)
_COMING = (_SELECTED, _RESET, _START, _STARTING)  # on the way to Active, after a start
_OCCUPIED = (_ACTIVE, _SUSPENDED, _START, _STARTING, 13, 14, 15)
_MAY_DRIVE = (_ACTIVE, _START, _STARTING, 13, 14, 15)
_FAULTS = {
    _PROBLEM: "reports a problem",
    6: "is not available",
    _POWER_FAIL: "lost its power during a test",
    10: "has no controller",
    11: "is shut down",
    16: "is under remote maintenance",
}
_KINDS = {1: "charge", 2: "discharge"}  # RF1; all others are a rest for the records
_REASONS = {
    129: "step time", 132: "current", 133: "voltage", 136: "capacity", 189: "safety limit of capacity",
    190: "safety limit of voltage", 191: "safety limit of overcharge", 192: "suspended or paused",
    193: "normal end", 194: "timeout fault", 195: "timeout fault", 196: "safety limit of overcharge",
    197: "safety limit of voltage", 198: "slave error", 199: "step ended by the operator",
    252: "slave lost current control", 253: "absolute safety limit", 254: "lost current control",
    255: "buffer full",
}  # fmt: skip
_OUTCOMES = {
    (6, 8): {
        1: "direct mode is not for this type of system",
        2: "the channel is not active",
        3: "set points came faster than every 100 ms",
        4: "direct mode is not active",
        5: "direct mode is not ready yet",
    },
    (6, 11): {
        1: "the channel is not available",
        2: "there is no such procedure",
        4: "there is a test of this name already",
        7: "the procedure can't be compiled",
    },
}
_GOOD = ("OK", "PASSED")
_SAFETY = ("VSafeMax", "VSafeMin", "ISafeChg", "ISafeDis", "PBatSafeChg", "PBatSafeDis")
_IGNORED = 65536.0  # out of any range: a set point that is not used

_SAFETY_V, _SAFETY_SHARE = 0.005, 0.02  # the machine's safety limits beyond the program's
_BEYOND_V = 0.05  # a set point that the safety limit comes before
_HOLD_V = 0.005  # a voltage this near to one that is held is held
_TAPERED = 0.99  # of the current: less, near the voltage of a step, says that the voltage is held
_OUT_OF_RANGE = 0.01  # of the voltage range, beyond its ends: no measurement

_PACE_S = 0.12  # between two updates; the machine wants 0.1 s
_REFRESH_S = 5.0
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.1, 5.0
_FIRST_LOOK_S = 0.2
_START_S = 60.0
_STOP_S = 5.0
_MARGIN_S = 120.0
_LONGEST_NAME, _LONGEST_COMMENT = 250, 80


@dataclass(frozen=True)
class Procedure:
    """A test procedure that the machine has in its folder, started there by name.

    Attributes
    ----------
    name : str
        Of the procedure, without its ending.
    limits : CellLimits
        Uploaded to the machine's safety limits before the start.
    end_time_s : float
        It is stopped after this time in any case.
    record_interval_s : float
        A record at least this often.
    test_name : str
        Of the data file, one that the machine does not have yet; "Random" has it make one up.
    comment : str
        For the data file.
    rated_Ah : float
        What the procedure's C-rates refer to.

    Raises
    ------
    ValueError
        If a text is empty or too long, or a number not finite or not above 0.
    """

    name: str
    limits: CellLimits
    end_time_s: float
    record_interval_s: float
    test_name: str = "Random"
    comment: str = ""
    rated_Ah: float = 1.0

    def __post_init__(self) -> None:
        for item in ("end_time_s", "record_interval_s", "rated_Ah"):
            value = getattr(self, item)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{item} must be a number above 0, not {value!r}")
        for item, longest in (("name", _LONGEST_NAME), ("test_name", _LONGEST_NAME)):
            text = getattr(self, item)
            if not text.strip() or len(text) > longest or not text.isascii():
                raise ValueError(f"{item} must be 1 to {longest} ASCII characters, not {text!r}")
        if len(self.comment) > _LONGEST_COMMENT or not self.comment.isascii():
            raise ValueError(f"comment must be at most {_LONGEST_COMMENT} ASCII characters")

    @property
    def points(self) -> int | None:
        """None: the procedure decides."""
        return None

    def longest_s(self) -> float:
        """Longest time that it can take."""
        return self.end_time_s * 1.01 + _MARGIN_S

    def silence_s(self, rows: int) -> float:
        """Longest time between two records."""
        return 2.0 * self.record_interval_s + _MARGIN_S


@dataclass(frozen=True)
class ChannelStatus:
    """Status and readings of a channel, function (4, 7), as they came.

    Attributes
    ----------
    state, rf1, rf2 : int
        State of the channel, kind of step, and why the last step or the test ended.
    cycle, step : int
        Of the test; cycles are counted from 0.
    test_s, step_s : float
        Time of the test and of the step, s.
    capacity_Ah, energy_Wh : float
        Without sign.
    current_A, voltage_V : float
        The current with or without sign.
    """

    state: int
    rf1: int
    rf2: int
    cycle: int
    step: int
    test_s: float
    step_s: float
    capacity_Ah: float
    energy_Wh: float
    current_A: float
    voltage_V: float

    @property
    def word(self) -> str:
        """State in the machine's own word."""
        return _STATES.get(self.state, f"state {self.state}")

    @property
    def reason(self) -> str:
        """Why the step or the test ended."""
        return _REASONS.get(self.rf2, f"code {self.rf2}")

    def reading(self, specification: Specification | None) -> ChannelReading:
        """Say it in the family's terms; a voltage beyond the range is no number."""
        voltage_V, current_A = self.voltage_V, self.current_A
        if specification is not None and not specification.measures(voltage_V):
            voltage_V = math.nan
        kind = _KINDS.get(self.rf1)
        if kind is not None:
            current_A = abs(current_A) if kind == "charge" else -abs(current_A)
        running = self.state in _OCCUPIED
        fault = _FAULTS.get(self.state, "")
        return ChannelReading(
            voltage_V=voltage_V,
            current_A=current_A,
            capacity_Ah=self.capacity_Ah,
            energy_Wh=self.energy_Wh,
            step=self.step if running else 0,
            cycle=self.cycle + 1 if running else 0,
            state=self.word,
            running=running,
            problem=f"{fault} ({self.reason})" if fault else "",
        )


@dataclass(frozen=True)
class Specification:
    """What a channel can do, function (3, 1).

    Attributes
    ----------
    voltage_min_V, voltage_max_V : float
        Range of the voltage.
    safety : dict
        Widest safety limits, by the names that (6, 10) has for them.
    charge_A, discharge_A : tuple of float
        Full scales of the current ranges 1 to 4.
    """

    voltage_min_V: float
    voltage_max_V: float
    safety: Mapping[str, float]
    charge_A: tuple[float, ...]
    discharge_A: tuple[float, ...]

    def measures(self, voltage_V: float) -> bool:
        """Whether a voltage is one that the channel can measure."""
        margin_V = _OUT_OF_RANGE * (self.voltage_max_V - self.voltage_min_V)
        return self.voltage_min_V - margin_V <= voltage_V <= self.voltage_max_V + margin_V

    def current_range(self, step: Step) -> int:
        """Smallest range, from 1, that has a step's current.

        Raises
        ------
        ValueError
            If no range has it.
        """
        scales_A = self.charge_A if step.kind == "charge" else self.discharge_A
        needed_A = step.current_A * (
            1 - 1e-6
        )  # a full scale in four bytes can be a little less than its name
        fitting = [(scale_A, i) for i, scale_A in enumerate(scales_A, 1) if scale_A >= needed_A]
        if not fitting:
            raise ValueError(f"no current range has {step.current_A:g} A")
        return min(fitting)[1]


@dataclass(frozen=True)
class Point:
    """Where a step is: time since its beginning, voltage, current and charge passed, both without sign."""

    elapsed_s: float
    voltage_V: float
    current_A: float
    capacity_Ah: float


def encode_request(number: int, fclass: int, fnum: int, members: Mapping[str, Any]) -> bytes:
    """Write a request; its end is where its JSON ends."""
    params = {"FClass": fclass, "FNum": fnum, **members}
    request = {"jsonrpc": "2.0", "method": "MacNet", "params": params, "id": number}
    return json.dumps(request, allow_nan=False).encode("ascii")


def json_frame(buffer: bytes) -> int | None:
    """Frame a reply: one JSON object and the CR LF behind it."""
    if not buffer.startswith(b"{"):
        raise ProtocolError("not the beginning of a JSON object")
    if len(buffer) > MAX_FRAME_BYTES:
        raise ProtocolError(f"no end within {MAX_FRAME_BYTES} bytes")
    depth, quoted, escaped = 0, False, False
    for position, byte in enumerate(buffer):
        if quoted:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # backslash
                escaped = True
            elif byte == 0x22:  # quotation mark
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
            if depth == 0:
                return _with_line_end(buffer, position + 1)
    return None


def _with_line_end(buffer: bytes, length: int) -> int | None:
    behind = buffer[length : length + 2]
    if not b"\r\n".startswith(behind):
        raise ProtocolError("no line end behind the JSON object")
    return length + 2 if len(behind) == 2 else None


def decode_result(reply: bytes, number: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Take the result out of a reply.

    Parameters
    ----------
    number : int
        The request's id.
    asked : mapping
        FClass, FNum and, if the request had them, Chan and Len: the result has the same.

    Raises
    ------
    Refusal
        With the machine's error message.
    """
    answer = _parsed(reply)
    if answer.get("jsonrpc") != "2.0":
        raise ProtocolError("not JSON-RPC 2.0")
    if isinstance(error := answer.get("error"), dict):
        # An error in reading the request has no id.
        if answer.get("id") not in (number, None):
            raise ProtocolError("the answer to another request")
        raise Refusal(f"answers {error.get('message', error)!s}")
    if answer.get("id") != number:
        raise ProtocolError("the answer to another request")
    result = answer.get("result")
    if not isinstance(result, dict) or any(result.get(name) != value for name, value in asked.items()):
        raise ProtocolError("the result of another function or channel")
    return result


def check_outcome(result: Mapping[str, Any]) -> None:
    """Raise Refusal if the `Result` of an order is not OK."""
    outcome = result.get("Result")
    if isinstance(outcome, bool) or not isinstance(outcome, (int, str)):
        raise ProtocolError("no Result")
    if outcome in _GOOD or outcome == 0:
        return
    texts = _OUTCOMES.get((result.get("FClass", 0), result.get("FNum", 0)), {})
    told = texts.get(outcome, f"result {outcome}") if isinstance(outcome, int) else outcome
    raise Refusal(f"answers {told}")


def decode_status(result: Mapping[str, Any]) -> ChannelStatus:
    """Decode the result of (4, 7)."""
    return ChannelStatus(
        state=_whole(result, "Stat"),
        rf1=_whole(result, "RF1"),
        rf2=_whole(result, "RF2"),
        cycle=_whole(result, "Cycle"),
        step=_whole(result, "Step"),
        test_s=_number(result, "TestTime"),
        step_s=_number(result, "StepTime"),
        capacity_Ah=abs(_number(result, "Capacity")),
        energy_Wh=abs(_number(result, "Energy")),
        current_A=_number(result, "Current"),
        voltage_V=_number(result, "Voltage"),
    )


def decode_specification(result: Mapping[str, Any]) -> Specification:
    """Decode the result of (3, 1)."""
    return Specification(
        voltage_min_V=_number(result, "Vmin"),
        voltage_max_V=_number(result, "Vmax"),
        safety={name: _number(result, name) for name in _SAFETY},
        charge_A=tuple(_number(result, f"IR{i}Chg") for i in range(1, 5)),
        discharge_A=tuple(_number(result, f"IR{i}Dis") for i in range(1, 5)),
    )


def safety_limits(limits: CellLimits, specification: Specification) -> dict[str, float]:
    """Members of (6, 10) for a program's limits: a little wider, so that a limit can be held."""
    highest_V = max(abs(limits.voltage_max_V), abs(limits.voltage_min_V))
    wanted = {
        "VSafeMax": limits.voltage_max_V + _SAFETY_V,
        "ISafeChg": limits.charge_A * (1 + _SAFETY_SHARE),
        "ISafeDis": limits.discharge_A * (1 + _SAFETY_SHARE),
        "PBatSafeChg": limits.charge_A * highest_V * (1 + 2 * _SAFETY_SHARE),
        "PBatSafeDis": limits.discharge_A * highest_V * (1 + 2 * _SAFETY_SHARE),
    }
    members = {name: min(value, specification.safety[name]) for name, value in wanted.items()}
    members["VSafeMin"] = max(limits.voltage_min_V - _SAFETY_V, specification.safety["VSafeMin"])
    return {name: _float32(members[name]) for name in _SAFETY}


def set_points(step: Step, limits: CellLimits, specification: Specification) -> dict[str, Any]:
    """Members of (6, 7) and (6, 8) for a step with current.

    A step without a voltage of its own gets a voltage set point beyond the safety limit: the machine ends it
    there, instead of holding a voltage that nobody asked for.
    """
    voltage_V = step.hold_V if step.hold_V is not None else step.end_voltage_V
    if voltage_V is None:
        charges = step.kind == "charge"
        voltage_V = limits.voltage_max_V + _BEYOND_V if charges else limits.voltage_min_V - _BEYOND_V
    return {
        "Current": step.current_A,
        "Voltage": voltage_V,
        "Power": _IGNORED,
        "Resistance": 0,
        "CurrentRange": specification.current_range(step),
        "ChMode": "C" if step.kind == "charge" else "D",
    }


def end_of_step(step: Step, now: Point) -> str:
    """What ends a step now: "time", "capacity", "voltage" or "current"; empty if nothing does."""
    if now.elapsed_s >= step.end_time_s:
        return "time"
    if step.end_capacity_Ah is not None and now.capacity_Ah >= step.end_capacity_Ah:
        return "capacity"
    if step.end_voltage_V is not None:
        short_V = _short_of(step, step.end_voltage_V, now)
        # The machine holds the voltage there, so that noise could keep a reading below it for ever.
        if short_V <= 0 or (short_V <= _HOLD_V and now.current_A < _TAPERED * step.current_A):
            return "voltage"
    if (
        step.hold_V is not None
        and step.end_current_A is not None
        and _short_of(step, step.hold_V, now) <= _HOLD_V
        and now.current_A <= step.end_current_A
    ):
        return "current"
    return ""


def time_to_end(step: Step, now: Point, before: Point | None) -> float:
    """Estimate when, in s from now, to look again: half the way to an end that has to be guessed."""
    left_s = [step.end_time_s - now.elapsed_s]
    if step.end_capacity_Ah is not None and now.current_A > 0:
        left_s.append((step.end_capacity_Ah - now.capacity_Ah) * 3600.0 / now.current_A)
    since_s = now.elapsed_s - before.elapsed_s if before is not None else 0.0
    if before is None or since_s <= 0:
        return min(left_s)
    target_V = step.hold_V if step.hold_V is not None else step.end_voltage_V
    if target_V is None:
        return min(left_s)
    short_V = _short_of(step, target_V, now)
    nearer_V = _short_of(step, target_V, before) - short_V
    if short_V > 0 and nearer_V > 0:
        left_s.append(0.5 * short_V / nearer_V * since_s)
    if step.end_current_A is not None and short_V <= _HOLD_V and 0 < now.current_A < before.current_A:
        ratio = math.log(now.current_A / step.end_current_A) / math.log(before.current_A / now.current_A)
        left_s.append(0.5 * ratio * since_s)
    return min(left_s)


def _short_of(step: Step, target_V: float, now: Point) -> float:
    """How much voltage is missing to a target, in the direction in which the step goes."""
    return (target_V - now.voltage_V) * (1.0 if step.kind == "charge" else -1.0)


def _parsed(reply: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(reply.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(answer, dict):
        raise ProtocolError("not a JSON object")
    return answer


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _number(result: Mapping[str, Any], name: str) -> float:
    value = result.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e38:
        raise ProtocolError(f"{name} is no number")
    return float(value)


def _whole(result: Mapping[str, Any], name: str) -> int:
    value = _number(result, name)
    if value != int(value):
        raise ProtocolError(f"{name} is no whole number")
    return int(value)


def _float32(value: float) -> float:
    """What is left of a number in the machine's four bytes."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


class MaccorMacNet(Cycler):
    """A Maccor machine whose MacNet server is switched on."""

    model = "MacNet system of type 0"
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=2.0)
    about = About(
        maker="Maccor",
        models="Series 4000 and other systems of type 0 with MacNet",
        protocol="MacNet, JSON-RPC 2.0",
        transport="TCP 57570",
        verified=(
            "the maker's examples, as pymacnet has them",
            "pymacnet 1.1.3 against the simulated instrument",
        ),
        unsupported="binary ports, rest inside a test, auxiliary inputs, FRA, chambers, upload of "
        "procedures, stored records; what could not be verified is listed in the driver's module",
    )

    def __init__(self, **kwargs: Any) -> None:
        self._numbers = count(1)
        self._specifications: dict[int, Specification] = {}
        self.channel_count = 0
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for versions and system; direct mode is for systems of type 0 only."""
        versions = self.ask(1, 1, _decode_version)
        name, kind, self.channel_count = self.ask(1, 2, _decode_system)
        if kind != 0:
            raise self.wrong(f"MacNet system of type {kind}")
        return Identity("Maccor", "MacNet", serial=name, firmware=versions)

    def read_channels(self, channels: Sequence[int]) -> dict[int, ChannelReading]:
        """Ask for the status of each channel: the functions for many channels give no capacity."""
        there = [channel for channel in channels if channel <= self.channel_count]
        return {channel: self.status(channel).reading(self._specifications.get(channel)) for channel in there}

    def status(self, channel: int) -> ChannelStatus:
        """Ask for status and readings of one channel, counted from 1."""
        return self.in_turn(lambda: self.ask(4, 7, decode_status, channel))

    def specification(self, channel: int) -> Specification:
        """Ask what a channel can do.

        Raises
        ------
        InstrumentError
            If there is no such channel.
        """
        if not 1 <= channel <= self.channel_count:
            raise self.refused(f"has channels 1 to {self.channel_count}, not {channel}")
        self._specifications[channel] = self.ask(3, 1, decode_specification, channel)
        return self._specifications[channel]

    def specification_of(self, channel: int) -> Specification:
        """What a channel can do, as it was told last."""
        return self._specifications.get(channel) or self.specification(channel)

    def ask(
        self,
        fclass: int,
        fnum: int,
        decode: Callable[[dict[str, Any]], T],
        channel: int | None = None,
        **members: Any,
    ) -> T:
        """Ask something, or set something that may be set twice; asked again after a recovery."""
        command, decode_reply = self._request(fclass, fnum, decode, channel, members)
        return self.link.ask(command, json_frame, decode_reply)

    def order(self, fclass: int, fnum: int, channel: int, **members: Any) -> None:
        """Give an order once.

        Raises
        ------
        InstrumentError
            If the machine says no.
        """
        command, decode_reply = self._request(fclass, fnum, check_outcome, channel, members)
        self.in_turn(lambda: self.link.order(command, json_frame, decode_reply))

    def _request(
        self,
        fclass: int,
        fnum: int,
        decode: Callable[[dict[str, Any]], T],
        channel: int | None,
        members: Mapping[str, Any],
    ) -> tuple[bytes, Callable[[bytes], T]]:
        number = next(self._numbers)
        place = {} if channel is None else {"Chan": channel - 1}
        asked = {"FClass": fclass, "FNum": fnum, **place}
        command = encode_request(number, fclass, fnum, {**place, **members})
        return command, lambda reply: decode(decode_result(reply, number, asked))


def _decode_version(result: Mapping[str, Any]) -> str:
    parts = ("Major", "Minor", "Build")
    return ".".join(str(_whole(result, f"MacTest32EXEversion{part}")) for part in parts)


def _decode_system(result: Mapping[str, Any]) -> tuple[str, int, int]:
    return str(result.get("SystemID", "")), _whole(result, "SystemType"), _whole(result, "TestChannels")


@dataclass
class _Course:
    """A program, or a procedure, under way.

    `driving` is whether a test runs on the machine; `new` is whether the present step has not been seen yet.
    """

    task: Program | Procedure
    position: int = 0
    driving: bool = False
    new: bool = True
    ordered_s: float = -math.inf  # when the last start or set points were sent
    epoch: float = math.nan  # laboratory time at which the machine's test began
    began_s: float = 0.0  # of the step: TestTime, or the clock's time in a rest
    begun_Ah: float = 0.0  # what the machine had counted before the step
    begun_Wh: float = 0.0
    counted_Ah: float = 0.0  # when it was last looked at
    before: Point | None = None
    recorded_s: float = -math.inf
    place: tuple[int, int] = (0, 0)  # of a procedure: cycle and step of the last record

    @property
    def program(self) -> Program:
        assert isinstance(self.task, Program)
        return self.task

    @property
    def step(self) -> Step:
        return self.program.steps[self.position % len(self.program.steps)]

    @property
    def interval_s(self) -> float:
        """Longest time between two records, here and now."""
        if isinstance(self.task, Procedure):
            return self.task.record_interval_s
        return self.task.interval_s(self.step)

    @property
    def over(self) -> bool:
        return self.position == len(self.program.steps) * self.program.cycles


class MaccorChannel(CyclerChannel):
    """One channel of a Maccor machine: it does a `Program` in direct mode, and a `Procedure` by its name.

    See the module for what protects the cell. Ending a test that was started here resets the channel; one
    that somebody else started is suspended, so that it can be resumed there.
    """

    cycler: MaccorMacNet

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._course: _Course | None = None
        self._started_here = False
        self._next_look: Timer | None = None

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that runs a program or a procedure."""
        return self.flyers["records"] if isinstance(task, Procedure) else super().flyer(task)

    def read_channel_limits(self) -> None:
        """Ask for the channel's specification and take it as limits."""
        specification = self.cycler.specification(self.channel)
        self.applied_voltage.narrow(
            specification.voltage_min_V + _BEYOND_V, specification.voltage_max_V - _BEYOND_V
        )
        self.applied_current.narrow(0.0, min(max(specification.charge_A), max(specification.discharge_A)))

    def begin(self, task: Program | Procedure) -> None:
        """Set the machine's safety limits, then start the first step, or the procedure."""
        self._stop_looking()
        status = self.cycler.status(self.channel)
        if status.state == _COMPLETED:
            self._reset()
        elif status.state not in _FREE:
            raise self.refused(f"can't start: channel {self.channel} is {status.word} ({status.reason})")
        self._course = _Course(task)
        if isinstance(task, Procedure):
            self._start_procedure(task)
        else:
            self._enter_step(self._course)
        self._look_in(_FIRST_LOOK_S)

    def listen(self) -> bool:
        """Look at the channel, record it, and end the step if its end has come."""
        course = self._course
        if course is None:
            raise self.refused("no test runs here any more")
        status = self.cycler.status(self.channel)
        reading = self._show(self._reading(status))
        if reading.problem:
            raise self.refused(reading.problem)
        if not math.isfinite(reading.voltage_V):
            raise self.refused(f"shows a voltage beyond the range of channel {self.channel}")
        if isinstance(course.task, Procedure):
            over = self._follow_procedure(course, course.task, status)
        else:
            over = self._follow_program(course, status)
        if over:
            self._stop_looking()
            self._course = None
            self.read_now()
        return over

    def switch_off(self) -> None:
        """End the test that was started here, suspend one that was not, and read back that nothing drives."""
        self._stop_looking()
        self._course = None
        if self._started_here:
            self._reset()
        elif self.cycler.status(self.channel).state in _MAY_DRIVE:
            self._suspend()
        self.read_now()

    def read_at_rest(self) -> None:
        """Read the channel; raise InstrumentError if it has a problem, or a program runs."""
        reading = self.read_now()
        if reading.problem:
            raise self.refused(reading.problem)
        if reading.running and not self.measuring:
            raise self.refused("a program runs that was not started here")

    def read_now(self, *, fresh: bool = True) -> ChannelReading:
        """Read the channel and record what it tells, in the terms of the program that runs.

        It is always asked anew, and alone: MacNet has one exchange for each channel in any case.
        """
        return self._show(self._reading(self.cycler.status(self.channel)))

    def _reading(self, status: ChannelStatus) -> ChannelReading:
        return status.reading(self.cycler.specification_of(self.channel))

    def _show(self, reading: ChannelReading) -> ChannelReading:
        course = self._course
        if course is not None and isinstance(course.task, Program):
            reading = _of_program(reading, course)
        self.show(reading, self.clock.now())
        return reading

    def _follow_program(self, course: _Course, status: ChannelStatus) -> bool:
        """Record and, at the end of the step, go on to the next; say whether the program is over."""
        if course.driving and self._still_coming(course, status):
            return False
        if not course.driving and status.state not in _FREE:
            raise self.refused(f"a test was started on channel {self.channel} during a rest of the program")
        first = course.new
        self._count(course, status)
        reading = _of_program(status.reading(None), course)
        clock_s = status.test_s if course.driving else self.clock.monotonic()
        now = Point(clock_s - course.began_s, reading.voltage_V, abs(reading.current_A), reading.capacity_Ah)
        ended = end_of_step(course.step, now)
        if first or ended or self._record_is_due(course):
            self._add_row(course, reading, status, course.step.kind)
        if not ended:
            self._refresh(course)
            self._look_in(self._pause_s(course, now))
            course.before = now
            return False
        course.position += 1
        if course.over:
            self._end_test(course)
            return True
        self._enter_step(course)
        self._look_in(_SHORTEST_LOOK_S)
        return False

    def _count(self, course: _Course, status: ChannelStatus) -> None:
        """Note where step, time and counters begin, as far as this look is the first that can tell."""
        first, course.new = course.new, False
        if first:
            course.before = None
        if not course.driving:
            return  # a rest has begun as the test before was ended
        if math.isnan(course.epoch):  # the test has begun with this step, all counters at zero
            course.epoch = self.clock.now() - status.test_s
        elif first:
            course.began_s = status.test_s
            course.begun_Ah, course.begun_Wh = status.capacity_Ah, status.energy_Wh
        if status.capacity_Ah < 0.5 * course.counted_Ah:  # the machine counts anew, with the direction
            course.begun_Ah = course.begun_Wh = 0.0
        course.counted_Ah = status.capacity_Ah

    def _enter_step(self, course: _Course) -> None:
        course.new = True
        if course.step.kind == "rest":
            if course.driving:
                self._end_test(course)
            course.began_s = self.clock.monotonic()
        elif course.driving:
            self._update(course)
        else:
            self._start(course)

    def _start(self, course: _Course) -> None:
        """Start direct mode with the set points of the step."""
        self._set_safety(course.program.limits)
        members = self._set_points(course) | {
            "TestName": "Random",
            "DataTime": course.interval_s,
            "DataV": 0,
            "DataI": 0,
        }
        self._order_start(7, members)
        course.driving, course.ordered_s = True, self.clock.monotonic()
        course.epoch = math.nan
        course.began_s = course.begun_Ah = course.begun_Wh = course.counted_Ah = 0.0

    def _start_procedure(self, task: Procedure) -> None:
        self._set_safety(task.limits)
        names = {"TestName": task.test_name, "ProcName": task.name}
        self.cycler.ask(6, 11, check_outcome, self.channel, **names)
        members = {
            **names, "Comment": task.comment, "Crate": task.rated_Ah, "ChamberNum": 0, "StartCycle": 0,
            "TotCycles": 0, "Mass": 1, "VGain": 0, "AbsTRepAlign": 0, "ParallelR": 0, "VDivHiR": 0,
            "VDivLoR": 0, "CANpos": -1, "CANprof": "", "RegimeName": "",
        }  # fmt: skip
        self._order_start(2, members)
        if self._course is not None:
            self._course.driving, self._course.ordered_s = True, self.clock.monotonic()

    def _order_start(self, fnum: int, members: Mapping[str, Any]) -> None:
        """Start a test; if the answer is lost, the channel's state tells whether it was started."""
        self._started_here = True
        try:
            self.cycler.order(6, fnum, self.channel, **members)
        except (LinkTimeout, LinkClosed):
            if self.cycler.status(self.channel).state not in (*_COMING, _ACTIVE):
                raise

    def _follow_procedure(self, course: _Course, task: Procedure, status: ChannelStatus) -> bool:
        if status.state == _COMPLETED:
            self._add_row(course, status.reading(None), status, "rest")
            self._end_test(course)
            return True
        if self._still_coming(course, status):
            return False
        if math.isnan(course.epoch):
            course.epoch = self.clock.now() - status.test_s
        if status.test_s > task.end_time_s:
            raise self.refused(f"the procedure has not ended within {task.end_time_s:g} s")
        place = (status.cycle, status.step)
        if place != course.place or self._record_is_due(course):
            course.place = place
            self._add_row(course, status.reading(None), status, _KINDS.get(status.rf1, "rest"))
        due_s = course.recorded_s + task.record_interval_s - self.clock.monotonic()
        self._look_in(min(max(due_s, _SHORTEST_LOOK_S), _LONGEST_LOOK_S))
        return False

    def _still_coming(self, course: _Course, status: ChannelStatus) -> bool:
        """Whether a start is still under way; InstrumentError if the test is not active and will not be."""
        if status.state == _ACTIVE:
            return False
        waited_s = self.clock.monotonic() - course.ordered_s
        if not math.isnan(course.epoch) or status.state not in _COMING or waited_s > _START_S:
            raise self.refused(
                f"the test does not run: channel {self.channel} is {status.word} ({status.reason})"
            )
        self._look_in(_FIRST_LOOK_S)
        return True

    def _record_is_due(self, course: _Course) -> bool:
        return self.clock.monotonic() - course.recorded_s >= course.interval_s - 0.01

    def _add_row(self, course: _Course, reading: ChannelReading, status: ChannelStatus, kind: str) -> None:
        course.recorded_s = self.clock.monotonic()
        values: dict[str, float | str] = {
            "voltage": reading.voltage_V,
            "current": reading.current_A,
            "capacity": reading.capacity_Ah,
            "energy": reading.energy_Wh,
            "step": reading.step or status.step,
            "cycle": reading.cycle or status.cycle + 1,
            "kind": kind,
        }
        time = course.epoch + status.test_s if course.driving else self.clock.now()
        self.add_rows([Row(time, values)])

    def _pause_s(self, course: _Course, now: Point) -> float:
        """How long to wait until the next look."""
        due_s = course.recorded_s + course.interval_s - self.clock.monotonic()
        left_s = time_to_end(course.step, now, course.before)
        if course.driving:  # denser while the cell settles, and often enough for the watchdog
            left_s = min(left_s, _FIRST_LOOK_S + 0.25 * now.elapsed_s, _LONGEST_LOOK_S)
        return max(min(due_s, left_s), _SHORTEST_LOOK_S)

    def _refresh(self, course: _Course) -> None:
        if course.driving and self.clock.monotonic() - course.ordered_s >= _REFRESH_S:
            self._update(course)

    def _update(self, course: _Course) -> None:
        """Send the set points of the step."""
        members = self._set_points(course)
        self.clock.sleep(max(course.ordered_s + _PACE_S - self.clock.monotonic(), 0.0))
        try:
            self.cycler.order(6, 8, self.channel, **members)
        except (LinkTimeout, LinkClosed):
            # Set points are absolute: whether these were taken or not, the same ones again are right.
            self.clock.sleep(_PACE_S)
            self.cycler.order(6, 8, self.channel, **members)
        course.ordered_s = self.clock.monotonic()

    def _set_points(self, course: _Course) -> dict[str, Any]:
        specification = self.cycler.specification_of(self.channel)
        try:
            return set_points(course.step, course.program.limits, specification)
        except ValueError as error:
            raise self.refused(str(error)) from error

    def _set_safety(self, limits: CellLimits) -> None:
        """Upload the safety limits and compare what the machine holds now, to the last of its four bytes."""
        wanted = safety_limits(limits, self.cycler.specification_of(self.channel))
        held = self.cycler.ask(
            6, 10, lambda result: {name: _number(result, name) for name in _SAFETY}, self.channel, **wanted
        )
        for name, value in wanted.items():
            if not math.isclose(held[name], value, rel_tol=1e-6, abs_tol=1e-12):
                raise self.refused(
                    f"the safety limit {name} was set to {value:g}, the machine holds {held[name]:g}"
                )

    def _end_test(self, course: _Course) -> None:
        self._reset()
        course.driving = False

    def _reset(self) -> None:
        """End the test and read back that the channel is free."""
        self._until(5, lambda status: status.state in _FREE)
        self._started_here = False

    def _suspend(self) -> None:
        """Suspend a test and read back that it does not drive any more."""
        self._until(3, lambda status: status.state not in _MAY_DRIVE)

    def _until(self, fnum: int, reached: Callable[[ChannelStatus], bool]) -> None:
        """Give an order, which may be given twice, until the channel's state confirms it."""
        deadline = self.clock.monotonic() + self.clock.patience(_STOP_S)
        while True:
            refusal: LinkError | None = None
            try:
                self.cycler.order(6, fnum, self.channel)
            except LinkError as error:
                refusal = error
            status = self.cycler.status(self.channel)
            if reached(status):
                return
            if self.clock.monotonic() > deadline:
                raise refusal or self.refused(f"channel {self.channel} stays {status.word} ({status.reason})")
            self.clock.sleep(0.2)

    def _look_in(self, delay_s: float) -> None:
        """Look at the channel earlier than the flyer does."""
        self._stop_looking()
        self._next_look = self.clock.call_later(delay_s, self._submit_look)

    def _submit_look(self) -> None:
        self.clock.submit(self.name, self._look)

    def _stop_looking(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None


def _of_program(reading: ChannelReading, course: _Course) -> ChannelReading:
    """Say a reading in the terms of the program: its steps and cycles, and what passed in this step."""
    step, steps = course.step, len(course.program.steps)
    current_A = reading.current_A
    if step.kind != "rest":
        current_A = abs(current_A) if step.kind == "charge" else -abs(current_A)
    counts = course.driving and not course.new
    return replace(
        reading,
        current_A=current_A,
        capacity_Ah=max(reading.capacity_Ah - course.begun_Ah, 0.0) if counts else 0.0,
        energy_Wh=max(reading.energy_Wh - course.begun_Wh, 0.0) if counts else 0.0,
        step=course.position % steps + 1,
        cycle=course.position // steps + 1,
    )
