"""Bronkhorst mass-flow controller for gas (EL-FLOW), ProPar on RS-232, 38400 8N1: both framings.

Source: Bronkhorst 9.17.027 "RS232 interface with FLOW-BUS protocol": framings and error messages p. 12-14,
commands p. 14, status p. 16, chained parameters p. 17-26, whose printed messages are answered byte by byte;
9.17.023 "Operational instructions for digital multibus instruments": measure p. 16, units p. 21,
identification p. 34; EL-FLOW Base 9.17.061: a secured parameter needs init reset 64 (p. 29), the default
control mode is bit 6 of IOStatus (p. 34); EL-FLOW Prestige 9.17.084 p. 28: set point 0 to 32000. Names, types
and values of parameters: tables of the maker's bronkhorst-propar 1.3.0.

Not in the sources, and placeholders here: latency; the first three characters of the identification string;
status 6 for a set point out of range, 13 for a secured parameter; error 8 while its message buffers are full;
that the set point after power-up is 0. Not simulated: claiming and stopping of processes (status 2), ramps,
batches, alarms other than on absolute limits; other nodes of the bus are rejected (error 5).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sim_devices.instruments.alicat import FlowPath
from sim_devices.wire import SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["SimulatedBronkhorst"]

_DLE, _STX, _ETX = 0x10, 0x02, 0x03
_CHAR, _INT, _FLOAT, _STRING = 0x00, 0x20, 0x40, 0x60
_FORMS = {_CHAR: ">B", _INT: ">H", _FLOAT: ">f"}
_ANY_NODE = 0x80
_PROTOCOL_ERROR, _NODE_REJECTED, _GENERAL_ERROR = 4, 5, 8
_BAD_COMMAND, _BAD_PROCESS, _BAD_PARAMETER, _BAD_TYPE, _BAD_VALUE = 2, 3, 4, 5, 6
_READ_ONLY, _WRITE_ONLY, _BAD_MESSAGE = 13, 17, 34

_FULL_SCALE, _LARGEST = 32000, 41942
_UNLOCKED = 64
_BUS, _ANALOG, _FULL, _PURGE, _RS232 = 0, 1, 7, 8, 18  # control modes; all others close the valve
_ANALOG_JUMPER = 0x40
_ERROR_BIT, _MINIMUM_BIT, _MAXIMUM_BIT, _HARDWARE_BIT = 0x01, 0x04, 0x08, 0x80
_REFERENCE_K = {"n": 273.15, "s": 293.15}
_PATH_K = 298.15  # reference of the flow path's mL/min
_UNITS = ("ln/min", "mln/h", "mln/min", "ln/h", "m3n/h", "mls/min", "mls/h", "ls/min", "ls/h", "m3s/h")
_VOLUME_mL = {"ml": 1.0, "l": 1e3, "m3": 1e6}


class _Status(Exception):
    """The message is answered with this status."""


@dataclass
class _Parameter:
    """A parameter: type, how it is read (None: write only) and written (None: read only)."""

    kind: int
    read: Callable[[], float | str] | None
    write: Callable[[float | str], None] | None = None
    is_secured: bool = False


class SimulatedBronkhorst(SimulatedInstrument):
    """Answers messages to its node address and to 128, in the framing they come in.

    Parameters
    ----------
    path : FlowPath
        The line that it controls.
    capacity : float
        Its 100 %, in `unit`.
    unit : str
        Such as "mln/min": normal (0 degC) or standard (20 degC) volume.
    node : int
        Its address.
    fluid : str
        Gas that it is calibrated for.
    sensor_type : int
        3 is a controller for gas volume; 0 one for pressure.

    Attributes
    ----------
    alarm_info : int
        More bits of the alarm byte, as faults.
    """

    latency_s = 0.01
    breakdowns = ("busy", "error", "over_range")

    def __init__(
        self,
        clock: Clock,
        path: FlowPath,
        *,
        capacity: float = 1000.0,
        unit: str = "mln/min",
        node: int = 3,
        fluid: str = "N2",
        serial: str = "M6212345A",
        sensor_type: int = 3,
    ) -> None:
        super().__init__(clock)
        self._path = path
        self._unit = unit
        self._texts = {"serial": serial, "tag": "USERTAG", "fluid": fluid, "customer": ""}
        self._kept = {"capacity": capacity, "sensor": sensor_type, "io_status": 0, "node": node}
        self._kept |= {"alarm_mode": 0, "alarm_maximum": _FULL_SCALE, "alarm_minimum": 0, "slope": 0}
        self._polynomial = [0.0, 1.0, 0.0, 0.0]
        self.alarm_info = 0
        self._parameters = self._table()
        self.power_on()

    def power_on(self) -> None:
        """Close the valve, lock the secured parameters, return to the default control mode."""
        self._setpoint = 0.0  # share of the capacity
        self._share = 0.0
        self._init_reset = 82
        self._counted = 0.0
        self._counted_until = self.clock.monotonic()
        self._control_mode = _ANALOG if int(self._kept["io_status"]) & _ANALOG_JUMPER else _BUS
        self._drive()

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole messages in the buffer; what is no message is skipped."""
        while buffer:
            if buffer[0] == ord(":"):
                if (end := buffer.find(b"\r")) < 0:
                    return
                line = bytes(buffer[1:end])
                del buffer[: end + 1]
                yield self._answer_ascii(line)
            elif buffer[0] == _DLE:
                length = _binary_length(buffer)
                if length is None:
                    return
                frame = bytes(buffer[:length])
                del buffer[:length]
                yield self._answer_binary(frame)
            else:
                del buffer[0]

    def _answer_ascii(self, line: bytes) -> bytes:
        try:
            message = bytes.fromhex(line.decode("ascii"))
        except ValueError:
            message = b""
        if len(message) < 3 or message[0] != len(message) - 1:
            return f":01{_PROTOCOL_ERROR:02X}\r\n".encode()
        error, data = self._answer(message[1], message[2:])
        if error:
            return f":01{error:02X}\r\n".encode()
        if not data:
            return b""
        return f":{len(data) + 1:02X}{int(self._kept['node']):02X}{data.hex().upper()}\r\n".encode()

    def _answer_binary(self, frame: bytes) -> bytes:
        body = frame[2:-2].replace(b"\x10\x10", b"\x10")
        if frame[-1] != _ETX or len(body) < 4 or body[2] != len(body) - 3:
            return b""  # the maker: such messages are ignored
        error, data = self._answer(body[1], body[3:])
        if not error and not data:
            return b""
        node = body[1] if error else int(self._kept["node"])
        reply = bytes([body[0], node]) + (bytes([0, error]) if error else bytes([len(data)]) + data)
        return b"\x10\x02" + reply.replace(b"\x10", b"\x10\x10") + b"\x10\x03"

    def _answer(self, node: int, data: bytes) -> tuple[int, bytes]:
        """Error of the interface or 0, and the data of the answer."""
        if self.broken("busy"):
            return _GENERAL_ERROR, b""
        if node not in (_ANY_NODE, self._kept["node"]):
            return _NODE_REJECTED, b""
        self._share = self._measured_share()  # once, so that all values of an answer are of one time
        self._count()
        reader = _Reader(data)
        command = reader.byte()
        try:
            if command == 4:
                return 0, self._values(reader)
            if command in (1, 2):
                self._write(reader)
                return 0, bytes([0, 0, len(data)]) if command == 1 else b""
            raise _Status(_BAD_COMMAND)
        except _Status as status:
            return 0, b"" if command == 2 else bytes([0, status.args[0], reader.position])

    def _values(self, reader: _Reader) -> bytes:
        reply = bytearray([2])
        is_process_chained = True
        while is_process_chained:
            process = reader.byte()
            reply.append(process)
            is_process_chained = bool(process & 0x80)
            is_chained = True
            while is_chained:
                index = reader.byte()
                is_chained = bool(index & 0x80)
                source, number = reader.byte(), reader.byte()
                reply.append(index)
                parameter = self._find(source & 0x7F, number)
                length = reader.byte() if parameter.kind == _STRING else 0
                if parameter.read is None:
                    raise _Status(_WRITE_ONLY)
                reply += _encoded(parameter.kind, parameter.read(), length)
        reader.end()
        return bytes(reply)

    def _write(self, reader: _Reader) -> None:
        is_process_chained = True
        while is_process_chained:
            process = reader.byte()
            is_process_chained = bool(process & 0x80)
            is_chained = True
            while is_chained:
                number = reader.byte()
                is_chained = bool(number & 0x80)
                parameter = self._find(process & 0x7F, number)
                value = reader.value(parameter.kind)
                is_locked = parameter.is_secured and self._init_reset != _UNLOCKED
                if parameter.write is None or is_locked:
                    raise _Status(_READ_ONLY)
                parameter.write(value)
        reader.end()

    def _find(self, process: int, typed_number: int) -> _Parameter:
        if not any(known == process for known, _ in self._parameters):
            raise _Status(_BAD_PROCESS)
        parameter = self._parameters.get((process, typed_number & 0x1F))
        if parameter is None:
            raise _Status(_BAD_PARAMETER)
        if parameter.kind != typed_number & 0x60:
            raise _Status(_BAD_TYPE)
        return parameter

    def _table(self) -> dict[tuple[int, int], _Parameter]:
        return {
            (0, 0): _Parameter(_STRING, lambda: "\x07SN" + self._texts["serial"]),
            (0, 1): self._number(_CHAR, "node", 1, 120, is_secured=True),
            (0, 3): _Parameter(_CHAR, lambda: 0),  # next node: none
            (0, 4): _Parameter(_CHAR, lambda: 32),
            (0, 10): _Parameter(_CHAR, lambda: self._init_reset, self._write_init_reset),
            (0, 18): _Parameter(_CHAR, lambda: 1),
            (1, 0): _Parameter(_INT, self._measure),
            (1, 1): _Parameter(_INT, lambda: round(self._setpoint * _FULL_SCALE), self._write_setpoint),
            (1, 2): self._number(_INT, "slope", 0, 30000),
            (1, 4): _Parameter(_CHAR, lambda: self._control_mode, self._write_control_mode),
            **{(1, 5 + i): self._coefficient(i) for i in range(4)},
            (1, 13): self._number(_FLOAT, "capacity", 1e-9, 1e9, is_secured=True),
            (1, 14): _Parameter(_CHAR, lambda: self._kept["sensor"]),
            (1, 15): _Parameter(
                _CHAR, lambda: _UNITS.index(self._unit), self._write_unit_index, is_secured=True
            ),
            (1, 16): _Parameter(_CHAR, lambda: 0),
            (1, 17): self._text("fluid"),
            (1, 20): _Parameter(_CHAR, self._alarm),
            (1, 31): _Parameter(_STRING, lambda: f"{self._unit:<7}"),
            (33, 0): _Parameter(_FLOAT, self._fmeasure),
            (33, 3): _Parameter(
                _FLOAT, lambda: self._setpoint * self._kept["capacity"], self._write_fsetpoint
            ),
            (33, 22): _Parameter(_FLOAT, lambda: 0.0),
            (97, 1): self._number(_INT, "alarm_maximum", 0, _FULL_SCALE),
            (97, 2): self._number(_INT, "alarm_minimum", 0, _FULL_SCALE),
            (97, 3): self._number(_CHAR, "alarm_mode", 0, 3),
            (104, 1): _Parameter(_FLOAT, lambda: self._counted, self._write_counter),
            (104, 7): _Parameter(_STRING, lambda: self._unit.partition("/")[0].ljust(4)),
            (113, 1): _Parameter(_STRING, lambda: "DMFC"),
            (113, 2): _Parameter(_STRING, lambda: "F-201CV-1K0-AAD-22-V"),
            (113, 3): self._text("serial"),
            (113, 4): self._text("customer"),
            (113, 5): _Parameter(_STRING, lambda: "V1.10b"),
            (113, 6): self._text("tag", is_secured=False),
            (113, 12): _Parameter(_CHAR, lambda: 7),
            (114, 11): self._number(_CHAR, "io_status", 0, 255),
            (115, 8): _Parameter(_CHAR, None, self._write_reset),
        }

    def _number(
        self, kind: int, name: str, low: float, high: float, *, is_secured: bool = False
    ) -> _Parameter:
        def write(value: float | str) -> None:
            self._kept[name] = _checked(value, low, high)

        return _Parameter(kind, lambda: self._kept[name], write, is_secured)

    def _text(self, name: str, *, is_secured: bool = True) -> _Parameter:
        def write(value: float | str) -> None:
            self._texts[name] = str(value)

        return _Parameter(_STRING, lambda: self._texts[name], write, is_secured)

    def _coefficient(self, index: int) -> _Parameter:
        def write(value: float | str) -> None:
            self._polynomial[index] = float(value)

        return _Parameter(_FLOAT, lambda: self._polynomial[index], write, is_secured=True)

    def _measured_share(self) -> float:
        if self.broken("over_range"):
            return _LARGEST / _FULL_SCALE
        share = self._path.flow_mL_min() / self._path_mL_min(1.0)
        return min(max(share, 0.0), _LARGEST / _FULL_SCALE)

    def _measure(self) -> int:
        return round(self._share * _FULL_SCALE)

    def _fmeasure(self) -> float:
        return self._share * self._kept["capacity"]

    def _path_mL_min(self, share: float) -> float:
        """Flow of the path (25 degC) that is a share of the capacity."""
        volume, _, time = self._unit.partition("/")
        per_minute = _VOLUME_mL[volume[:-1]] / (1.0 if time == "min" else 60.0)
        return share * self._kept["capacity"] * per_minute * _PATH_K / _REFERENCE_K[volume[-1]]

    def _drive(self) -> None:
        share = {
            _BUS: self._setpoint,
            _RS232: self._setpoint,
            _FULL: 1.0,
            _PURGE: _LARGEST / _FULL_SCALE,
        }.get(self._control_mode, 0.0)
        self._path.setpoint_mL_min = self._path_mL_min(share)

    def _count(self) -> None:
        """Add what has flowed since the last message, at the flow of now."""
        now = self.clock.monotonic()
        per_s = 60.0 if self._unit.endswith("/min") else 3600.0
        self._counted += self._fmeasure() * (now - self._counted_until) / per_s
        self._counted_until = now

    def _alarm(self) -> int:
        bits = self.alarm_info | (_ERROR_BIT | _HARDWARE_BIT if self.broken("error") else 0)
        if self._kept["alarm_mode"] == 1:
            measure = self._measure()
            bits |= _MINIMUM_BIT if measure < self._kept["alarm_minimum"] else 0
            bits |= _MAXIMUM_BIT if measure > self._kept["alarm_maximum"] else 0
        return bits

    def _write_init_reset(self, value: float | str) -> None:
        if value not in (_UNLOCKED, 82):
            raise _Status(_BAD_VALUE)
        self._init_reset = int(value)

    def _write_setpoint(self, value: float | str) -> None:
        self._setpoint = _checked(value, 0, _FULL_SCALE) / _FULL_SCALE
        self._drive()

    def _write_fsetpoint(self, value: float | str) -> None:
        self._setpoint = _checked(value, 0.0, self._kept["capacity"] * (1 + 1e-6)) / self._kept["capacity"]
        self._drive()

    def _write_control_mode(self, value: float | str) -> None:
        self._control_mode = int(_checked(value, 0, 24))
        self._drive()

    def _write_unit_index(self, value: float | str) -> None:
        self._unit = _UNITS[int(_checked(value, 0, len(_UNITS) - 1))]
        self._drive()

    def _write_counter(self, value: float | str) -> None:
        self._counted = float(value)

    def _write_reset(self, value: float | str) -> None:
        """Reset the counter (1, 4), an alarm (2), or the whole module (5)."""
        reset = _checked(value, 0, 5)
        if reset in (1, 4):
            self._counted = 0.0
        elif reset == 2:
            self.alarm_info = 0
        elif reset == 5:
            self.power_on()


class _Reader:
    """Takes the bytes of a message one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def byte(self) -> int:
        return self._take(1)[0]

    def value(self, kind: int) -> float | str:
        if kind == _STRING:
            length = self.byte()
            if length:
                return self._take(length).decode("latin-1").rstrip(" \0")
            end = self._data.find(b"\0", self.position)
            text = self._take((end if end >= 0 else len(self._data)) - self.position)
            if end >= 0:
                self._take(1)
            return text.decode("latin-1")
        form = _FORMS[kind]
        return float(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def end(self) -> None:
        if self.position != len(self._data):
            raise _Status(_BAD_MESSAGE)

    def _take(self, count: int) -> bytes:
        if self.position + count > len(self._data):
            raise _Status(_BAD_MESSAGE)
        self.position += count
        return self._data[self.position - count : self.position]


def _binary_length(buffer: bytearray) -> int | None:
    """Length of the message, or of what has to be skipped, at a DLE; None while it is not whole."""
    if len(buffer) < 2:
        return None
    if buffer[1] != _STX:
        return 1
    position = 2
    while position + 1 < len(buffer):
        if buffer[position] != _DLE:
            position += 1
        elif buffer[position + 1] == _DLE:
            position += 2
        elif buffer[position + 1] == _STX:
            return position  # a message that began anew
        else:
            return position + 2
    return None


def _encoded(kind: int, value: float | str, length: int) -> bytes:
    if kind == _STRING:
        text = str(value).encode("latin-1")
        return bytes([length]) + (text[:length].ljust(length) if length else text.rstrip() + b"\0")
    return struct.pack(_FORMS[kind], value if kind == _FLOAT else int(value))


def _checked(value: float | str, low: float, high: float) -> float:
    if not (isinstance(value, float) and math.isfinite(value) and low <= value <= high):
        raise _Status(_BAD_VALUE)
    return value
