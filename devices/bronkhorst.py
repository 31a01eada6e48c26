"""Bronkhorst mass-flow controllers for gas, ProPar (FLOW-BUS on RS-232), enhanced binary framing.

Source: Bronkhorst 9.17.027 "RS232 interface with FLOW-BUS protocol": framings p. 12-13, commands p. 14,
status p. 16, chained parameters p. 17-25; 9.17.023 "Operational instructions for digital multibus
instruments": measure and fmeasure p. 16, units p. 21, identification p. 34; names, types and values of the
parameters also in the maker's bronkhorst-propar 1.3.0. Normal litres ("ln") are at 0 degC, standard litres
("ls") at 20 degC, both at 1013.25 hPa (Bronkhorst, "Volume flow versus mass flow"). That temperature and
pressure of the gas have units of degC and mbar could not be verified: they are left out.

ProPar has no checksum. What matters is therefore asked in two ways and must agree: flow and set point come as
a share of the capacity and as a number in its unit, in one answer; what is read once is read twice.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import Any, ClassVar, Literal

from devices.families.mass_flow_controller import MassFlowController
from devices.instrument import About, Identity
from ssblab.links import LinkSettings, ProtocolError, Refusal

__all__ = [
    "Bronkhorst",
    "Parameter",
    "decode_message",
    "decode_status",
    "decode_values",
    "encode_message",
    "encode_request",
    "encode_write",
    "frame_message",
    "mL_min_per_unit",
]

Value = int | float | str

_DLE, _STX, _ETX = 0x10, 0x02, 0x03
_STATUS, _WRITE, _VALUES, _REQUEST = 0, 1, 2, 4
_CHAINED = 0x80
_TYPES = {"char": 0x00, "int": 0x20, "float": 0x40, "string": 0x60}
_SIZES = {"char": 1, "int": 2, "float": 4}
_ERRORS = {3: "protocol error", 4: "protocol error", 5: "node address rejected", 9: "no answer in time"}
_STATUSES = {
    1: "process claimed",
    2: "command error",
    3: "no such process",
    4: "no such parameter",
    5: "parameter type",
    6: "parameter value",
    7: "network not active",
    11: "node number",
    13: "read only",
    17: "write only",
    34: "protocol error",
    35: "buffer overflow",
}

_FULL_SCALE, _LARGEST = 32000, 41942  # measure: 100 %, and where it ends (131.07 %)
_AGREE = 0.005  # of capacity; measure and fmeasure are one variable in two forms
_BUS_MODES = {0, 18}  # set point from the bus, from RS-232
_GAS_CONTROLLER = 3
_ALARMS = (
    "error",
    "warning",
    "minimum alarm",
    "maximum alarm",
    "batch counter at its limit",
    "response alarm",
    "no master signal",
    "hardware error",
)
_FAULTS = {"error", "hardware error"}
_LITRES_mL_min = {"ml": 1.0, "l": 1e3, "m3": 1e6}
_REFERENCES_K = {"n": 273.15, "s": 293.15}
_FAMILY_REFERENCE_K = 298.15


@dataclass(frozen=True)
class Parameter:
    """A parameter of a process; kind tells how its value is sent."""

    process: int
    number: int
    kind: Literal["char", "int", "float", "string"]


_MEASURE = Parameter(1, 0, "int")
_SETPOINT = Parameter(1, 1, "int")
_CONTROL_MODE = Parameter(1, 4, "char")
_CAPACITY = Parameter(1, 13, "float")
_SENSOR_TYPE = Parameter(1, 14, "char")
_FLUID = Parameter(1, 17, "string")
_ALARM = Parameter(1, 20, "char")
_UNIT = Parameter(1, 31, "string")
_FMEASURE = Parameter(33, 0, "float")
_FSETPOINT = Parameter(33, 3, "float")
_DEVICE, _MODEL, _SERIAL, _FIRMWARE = (Parameter(113, number, "string") for number in (1, 2, 3, 5))
_POLL = (_MEASURE, _SETPOINT, _CONTROL_MODE, _ALARM, _FMEASURE, _FSETPOINT)


def encode_message(sequence: int, node: int, data: bytes) -> bytes:
    """Frame a message for a node."""
    body = bytes([sequence, node, len(data)]) + data
    return bytes([_DLE, _STX]) + body.replace(b"\x10", b"\x10\x10") + bytes([_DLE, _ETX])


def frame_message(buffer: bytes) -> int | None:
    """Length of the first message."""
    if buffer[0] != _DLE or (len(buffer) > 1 and buffer[1] != _STX):
        raise ProtocolError("no start of a message")
    position = 2
    while position + 1 < len(buffer):
        if buffer[position] != _DLE:
            position += 1
        elif buffer[position + 1] == _ETX:
            return position + 2
        elif buffer[position + 1] == _DLE:
            position += 2
        else:
            raise ProtocolError(f"control sequence 10 {buffer[position + 1]:02X} within a message")
    return None


def decode_message(frame: bytes, sequence: int, node: int) -> bytes:
    """Return the data of the message that answers `sequence`; node 128 may answer by its own address."""
    if len(frame) < 4 or frame_message(frame) != len(frame):
        raise ProtocolError("not one message")
    body = frame[2:-2].replace(b"\x10\x10", b"\x10")
    if len(body) < 4:
        raise ProtocolError("message too short")
    if body[0] != sequence:
        raise ProtocolError(f"an answer to {body[0]}, not {sequence}")
    if node not in (body[1], 0x80):
        raise ProtocolError(f"an answer of node {body[1]}, not {node}")
    if body[2] == 0 and len(body) == 4:
        raise Refusal(f"error {body[3]} ({_ERRORS.get(body[3], 'general error')})")
    if body[2] != len(body) - 3:
        raise ProtocolError(f"{len(body) - 3} bytes of data, not {body[2]}")
    return body[3:]


def encode_request(parameters: Sequence[Parameter]) -> bytes:
    """Ask for parameters in one message; the index under which each comes back is its position."""
    data = bytearray([_REQUEST])
    for group, is_last_group in _groups(parameters):
        data.append(group[0][1].process | (0 if is_last_group else _CHAINED))
        for index, parameter in group:
            kind = _TYPES[parameter.kind]
            chain = 0 if index == group[-1][0] else _CHAINED
            data += bytes([chain | kind | index, parameter.process, kind | parameter.number])
            if parameter.kind == "string":
                data.append(0)  # of whatever length it has
    return bytes(data)


def decode_values(data: bytes, parameters: Sequence[Parameter]) -> list[Value]:
    """Return the values that answer a request, in its order."""
    if data[:1] == bytes([_STATUS]):
        decode_status(data)
    if data[:1] != bytes([_VALUES]):
        raise ProtocolError("not values")
    values: list[Value] = []
    position = 1
    for group, is_last_group in _groups(parameters):
        position = _expect(data, position, group[0][1].process | (0 if is_last_group else _CHAINED))
        for index, parameter in group:
            chain = 0 if index == group[-1][0] else _CHAINED
            position = _expect(data, position, chain | _TYPES[parameter.kind] | index)
            value, position = _value(data, position, parameter.kind)
            values.append(value)
    if position != len(data):
        raise ProtocolError(f"{len(data) - position} bytes too many")
    return values


def encode_write(writes: Sequence[tuple[Parameter, float]]) -> bytes:
    """Write parameters in one message, to be acknowledged by a status."""
    data = bytearray([_WRITE])
    values = [value for _, value in writes]
    for group, is_last_group in _groups([parameter for parameter, _ in writes]):
        data.append(group[0][1].process | (0 if is_last_group else _CHAINED))
        for index, parameter in group:
            chain = 0 if index == group[-1][0] else _CHAINED
            data.append(chain | _TYPES[parameter.kind] | parameter.number)
            form = {"char": ">B", "int": ">H", "float": ">f"}[parameter.kind]
            data += struct.pack(form, values[index] if parameter.kind == "float" else int(values[index]))
    return bytes(data)


def decode_status(data: bytes) -> None:
    """Check the status that answers a write.

    Raises
    ------
    Refusal
        If it is not "no error"; with the position in the message that it is about.
    """
    if len(data) != 3 or data[0] != _STATUS:
        raise ProtocolError("not a status")
    if data[1]:
        raise Refusal(f"status {data[1]} ({_STATUSES.get(data[1], 'see 9.17.027')}) at byte {data[2]}")


def mL_min_per_unit(unit: str) -> float:
    """Flow of the family, mL/min at 25 degC and 1 atm, in one of the instrument's unit, such as "mln/min"."""
    volume, _, time = unit.partition("/")
    litres, reference = volume[:-1], volume[-1:]
    if litres not in _LITRES_mL_min or reference not in _REFERENCES_K or time not in ("min", "h"):
        raise Refusal(f"its unit is {unit!r}, not one of normal (n) or standard (s) volume: set such a unit")
    minutes = 1.0 if time == "min" else 60.0
    return _LITRES_mL_min[litres] / minutes * _FAMILY_REFERENCE_K / _REFERENCES_K[reference]


def _groups(parameters: Sequence[Parameter]) -> list[tuple[list[tuple[int, Parameter]], bool]]:
    """Neighbours of one process, each with its position; and whether the group is the last."""
    groups = [list(group) for _, group in groupby(enumerate(parameters), key=lambda item: item[1].process)]
    return [(group, group is groups[-1]) for group in groups]


def _expect(data: bytes, position: int, byte: int) -> int:
    if data[position : position + 1] != bytes([byte]):
        raise ProtocolError(f"not what was asked for at byte {position}")
    return position + 1


def _value(data: bytes, position: int, kind: str) -> tuple[Value, int]:
    if kind == "string":
        return _string(data, position)
    end = position + _SIZES[kind]
    if end > len(data):
        raise ProtocolError("values cut short")
    raw = data[position:end]
    return (struct.unpack(">f", raw)[0] if kind == "float" else int.from_bytes(raw, "big")), end


def _string(data: bytes, position: int) -> tuple[str, int]:
    if position >= len(data):
        raise ProtocolError("values cut short")
    length, begin = data[position], position + 1
    end = begin + length if length else data.find(b"\0", begin)
    if end < begin or end > len(data):
        raise ProtocolError("values cut short")
    text = data[begin:end].decode("latin-1").strip(" \0")
    if not text.isprintable():
        raise ProtocolError(f"{text!r} is no text")
    return text, end if length else end + 1


class Bronkhorst(MassFlowController):
    """Bronkhorst controller for gas (EL-FLOW and its relatives), in whatever volume unit it shows.

    Every order takes the set point over from wherever the instrument had it from: an analogue input, the
    display or a purge. It returns to its default at power-up.

    Parameters
    ----------
    node : int
        Its node address, 1-120; 128 means the instrument at the end of the cable, whatever its address.
    """

    model = "Bronkhorst gas-flow controller"
    #: EL-FLOW data sheet, 0.5 % of reading and 0.1 % of full scale: down to a sixth of the full scale.
    relative_accuracy = 0.011
    settings: ClassVar[LinkSettings] = LinkSettings(timeout_s=1.0, serial="38400 8N1")
    about = About(
        maker="Bronkhorst",
        models="EL-FLOW and other digital controllers for gas",
        protocol="ProPar (FLOW-BUS), enhanced binary",
        transport="RS-232, 38400 8N1",
        verified=(
            "messages printed in 9.17.027",
            "bronkhorst-propar 1.3.0 (the maker's) against the simulated instrument",
        ),
        unsupported="mass and liquid units, pressure controllers, several channels or nodes, counters, ramp; "
        "temperature and pressure of the gas (units not verified)",
    )

    def __init__(self, *, node: int = 0x80, **kwargs: Any) -> None:
        self._node = node
        self._sequences = cycle(range(256))
        self._capacity = math.nan
        self._mL_min = math.nan  # of one of the instrument's unit
        super().__init__(**kwargs)

    def identify(self) -> Identity:
        """Ask for model, serial number and firmware; refuse what controls no gas flow."""
        device, model, serial, firmware = map(str, self._read(_DEVICE, _MODEL, _SERIAL, _FIRMWARE))
        (sensor,) = self._read(_SENSOR_TYPE)
        if sensor != _GAS_CONTROLLER:
            raise self.wrong(f"{device} {model} with sensor type {sensor}")
        return Identity("Bronkhorst", model, serial, firmware)

    def upload_limits(self) -> None:
        """Take the instrument's capacity over as upper limit; it accepts no set point beyond it.

        Raises
        ------
        InstrumentError
            If its unit is no volume at normal or standard conditions.
        """
        first, second = ([*self._read(_CAPACITY, _UNIT, _FLUID)] for _ in range(2))
        capacity, unit, fluid = first
        if first != second or not isinstance(capacity, float) or not (0 < capacity < 1e9):
            raise self.link.failed(f"two answers about its range differ: {first} and {second}")
        try:
            self._mL_min = mL_min_per_unit(str(unit))
        except Refusal as error:
            raise self.refused(str(error)) from error
        self._capacity = capacity
        self.flow_setpoint.narrow(0.0, capacity * self._mL_min)
        self.record(gas=str(fluid))

    def poll(self) -> None:
        """Read flow, set point, source of the set point and alarms.

        Raises
        ------
        InstrumentError
            If the instrument reports an error of its own or of its hardware.
        """
        if faults := self._read_all():
            raise self.refused(f"reports {', '.join(faults)}")

    def flow_despite_faults(self) -> float:
        """Read the flow now; NaN if the instrument reports a fault or more flow than it can measure."""
        self._read_all()
        return float(self.flow.get())

    def _read_all(self) -> list[str]:
        """Read and record all quantities; return the faults that the instrument reports."""
        measure, _, mode, alarm, flow, setpoint = self._ask(encode_request(_POLL), self._decode_poll)
        alarms = [name for bit, name in enumerate(_ALARMS) if alarm >> bit & 1]
        faults = [name for name in alarms if name in _FAULTS]
        foreign = [] if mode in _BUS_MODES else [f"control mode {mode}"]
        is_beyond = measure == _LARGEST
        self.record(
            flow=math.nan if is_beyond or faults else flow * self._mL_min,
            flow_setpoint=setpoint * self._mL_min,
            state=", ".join(alarms + foreign),
            quality="invalid" if faults else "saturated" if is_beyond else "ok",
        )
        return faults

    def write_setpoint(self, flow_mL_min: float) -> None:
        """Tell the instrument the flow, take control of it, and check that it holds both."""
        told = min(flow_mL_min / self._mL_min, self._capacity)
        data = encode_write([(_FSETPOINT, told), (_CONTROL_MODE, 0)])
        sequence = next(self._sequences)
        self.link.order(
            encode_message(sequence, self._node, data),
            frame_message,
            lambda reply: decode_status(decode_message(reply, sequence, self._node)),
        )
        _, _, mode, _, _, held = self._ask(encode_request(_POLL), self._decode_poll)
        held_mL_min = held * self._mL_min
        self.record(flow_setpoint=held_mL_min)
        if mode not in _BUS_MODES:
            raise self.refused(f"takes its set point from control mode {mode}, told 0 (bus)")
        if not math.isclose(held_mL_min, flow_mL_min, rel_tol=1e-5, abs_tol=1e-5 * self._mL_min):
            raise self.refused(f"holds {held_mL_min:g} mL/min, told {flow_mL_min:g} mL/min")

    def _decode_poll(self, data: bytes) -> list[Any]:
        """Values of a poll, in which shares of the capacity and numbers in its unit must agree."""
        values: list[Any] = decode_values(data, _POLL)
        measure, share, _, _, flow, setpoint = values
        pairs = [(share, setpoint)] if measure == _LARGEST else [(share, setpoint), (measure, flow)]
        for part, number in pairs:
            signed = part if part <= _LARGEST else part - 0x10000
            if not abs(signed / _FULL_SCALE * self._capacity - number) <= _AGREE * self._capacity:
                raise ProtocolError(f"{signed} of 32000 is not {number:g} of {self._capacity:g}")
        return values

    def _read(self, *parameters: Parameter) -> list[Value]:
        return self._ask(encode_request(parameters), lambda data: decode_values(data, parameters))

    def _ask(self, data: bytes, decode: Any) -> Any:
        sequence = next(self._sequences)
        return self.link.ask(
            encode_message(sequence, self._node, data),
            frame_message,
            lambda reply: decode(decode_message(reply, sequence, self._node)),
        )
