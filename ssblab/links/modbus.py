"""Modbus over a link, as RTU or TCP: pure functions for the frames, and a client that uses them.

Source: MODBUS Application Protocol Specification V1.1b3; MODBUS over Serial Line V1.02; MODBUS Messaging
on TCP/IP V1.0b. Addresses here are those of the protocol data unit, which count from 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Literal, TypeVar

from ssblab.links.errors import ProtocolError, Refusal
from ssblab.links.link import Link

__all__ = ["ModbusClient", "crc16", "float_from_registers", "registers_from_float"]

T = TypeVar("T")
WordOrder = Literal["low first", "high first"]

_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still working",
    6: "device busy",
}
_READ_BITS = (1, 2)
_READ_REGISTERS = (3, 4)
_WRITES = (5, 6, 15, 16)
_IDENTIFICATION = 43


def crc16(data: bytes) -> bytes:
    """Checksum of an RTU frame, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


def float_from_registers(registers: Sequence[int], order: WordOrder) -> float:
    """IEEE 754 number of two 16-bit registers; the register that holds the low half comes first or last."""
    low, high = registers if order == "low first" else reversed(registers)
    return float(struct.unpack(">f", struct.pack(">HH", high, low))[0])


def registers_from_float(value: float, order: WordOrder) -> tuple[int, int]:
    """Two 16-bit registers of an IEEE 754 single."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return (low, high) if order == "low first" else (high, low)


def encode_rtu(unit: int, pdu: bytes) -> bytes:
    """Frame a protocol data unit for a serial line."""
    body = bytes([unit]) + pdu
    return body + crc16(body)


def decode_rtu(frame: bytes, unit: int) -> bytes:
    """Return the protocol data unit of a serial frame from `unit`."""
    if len(frame) < 4 or crc16(frame[:-2]) != frame[-2:]:
        raise ProtocolError("wrong checksum")
    if frame[0] != unit:
        raise ProtocolError(f"unit {frame[0]} answered, not {unit}")
    return frame[1:-2]


def encode_tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Frame a protocol data unit for TCP."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def decode_tcp(frame: bytes, transaction: int, unit: int) -> bytes:
    """Return the protocol data unit of a TCP frame that answers `transaction`."""
    if len(frame) < 8:
        raise ProtocolError("frame too short")
    got_transaction, protocol, length, got_unit = struct.unpack(">HHHB", frame[:7])
    if protocol != 0 or length != len(frame) - 6:
        raise ProtocolError("not a Modbus TCP header")
    if (got_transaction, got_unit) != (transaction, unit):
        raise ProtocolError(f"answer to {got_transaction} of unit {got_unit}, not {transaction} of {unit}")
    return frame[7:]


def frame_tcp(buffer: bytes) -> int | None:
    """Length of the first TCP frame."""
    if len(buffer) < 6:
        return None
    protocol, length = struct.unpack(">HH", buffer[2:6])
    if protocol != 0 or not 2 <= length <= 254:
        raise ProtocolError("not a Modbus TCP header")
    return 6 + length if len(buffer) >= 6 + length else None


def frame_rtu(buffer: bytes) -> int | None:
    """Length of the first RTU reply, from its function code and counts."""
    if len(buffer) < 5:
        return None
    function = buffer[1]
    if function & 0x80:
        length = 5
    elif function in _READ_BITS + _READ_REGISTERS:
        length = 5 + buffer[2]
    elif function in _WRITES:
        length = 8
    elif function == _IDENTIFICATION:
        body = _identification_length(buffer[1:])
        if body is None:
            return None
        length = 3 + body
    else:
        raise ProtocolError(f"function {function} was not asked for")
    return length if len(buffer) >= length else None


def _identification_length(pdu: bytes) -> int | None:
    if len(pdu) < 7:
        return None
    position = 7
    for _ in range(pdu[6]):
        if len(pdu) < position + 2:
            return None
        position += 2 + pdu[position + 1]
    return position


def encode_read(function: int, address: int, number: int) -> bytes:
    """Ask for `number` bits or registers."""
    return struct.pack(">BHH", function, address, number)


def decode_registers(pdu: bytes, function: int, number: int) -> tuple[int, ...]:
    """Return the registers of a reply to function 3 or 4."""
    _check(pdu, function)
    if len(pdu) != 2 + 2 * number or pdu[1] != 2 * number:
        raise ProtocolError(f"{len(pdu) - 2} bytes for {number} registers")
    return struct.unpack(f">{number}H", pdu[2:])


def decode_bits(pdu: bytes, function: int, number: int) -> tuple[bool, ...]:
    """Return the bits of a reply to function 1 or 2."""
    _check(pdu, function)
    if len(pdu) != 2 + (number + 7) // 8 or pdu[1] != (number + 7) // 8:
        raise ProtocolError(f"{len(pdu) - 2} bytes for {number} bits")
    return tuple(bool(pdu[2 + i // 8] >> (i % 8) & 1) for i in range(number))


def encode_write_registers(address: int, registers: Sequence[int]) -> bytes:
    """Write registers with function 16."""
    number = len(registers)
    return struct.pack(f">BHHB{number}H", 16, address, number, 2 * number, *registers)


def encode_write_register(address: int, value: int) -> bytes:
    """Write one register with function 6."""
    return struct.pack(">BHH", 6, address, value)


def encode_write_bit(address: int, value: bool) -> bytes:
    """Write one coil with function 5."""
    return struct.pack(">BHH", 5, address, 0xFF00 if value else 0)


def check_written(pdu: bytes, request: bytes) -> None:
    """Check that a reply acknowledges the write that was asked for."""
    _check(pdu, request[0])
    if pdu[:5] != request[:5]:
        raise ProtocolError("another write was acknowledged")


def decode_identification(pdu: bytes) -> dict[int, str]:
    """Return the objects of a device identification (function 43, MEI 14): 0 maker, 1 model, 2 version."""
    _check(pdu, _IDENTIFICATION)
    if len(pdu) < 7 or pdu[1] != 14 or _identification_length(pdu) != len(pdu):
        raise ProtocolError("not a device identification")
    objects, position = {}, 7
    for _ in range(pdu[6]):
        number, length = pdu[position], pdu[position + 1]
        objects[number] = pdu[position + 2 : position + 2 + length].decode("latin-1")
        position += 2 + length
    return objects


def _check(pdu: bytes, function: int) -> None:
    if len(pdu) == 2 and pdu[0] == function | 0x80:
        raise Refusal(f"exception {pdu[1]} ({_EXCEPTIONS.get(pdu[1], 'unknown')})")
    if not pdu or pdu[0] != function:
        raise ProtocolError(f"not an answer to function {function}")


class ModbusClient:
    """Reads and writes one unit behind a link.

    Parameters
    ----------
    link : Link
        Opened and recovered by itself as needed.
    unit : int
        Address of the unit, 1-247.
    framing : {"rtu", "tcp"}
        Serial frames (also through a serial-to-network server) or Modbus TCP.
    """

    def __init__(self, link: Link, unit: int, framing: Literal["rtu", "tcp"]) -> None:
        self._link = link
        self._unit = unit
        self._rtu = framing == "rtu"
        self._transactions = cycle(range(1, 0x10000))

    def read_registers(self, address: int, number: int, *, function: Literal[3, 4] = 3) -> tuple[int, ...]:
        """Read holding (3) or input (4) registers."""
        request = encode_read(function, address, number)
        return self._exchange(self._link.ask, request, lambda pdu: decode_registers(pdu, function, number))

    def read_bits(self, address: int, number: int, *, function: Literal[1, 2] = 1) -> tuple[bool, ...]:
        """Read coils (1) or discrete inputs (2)."""
        request = encode_read(function, address, number)
        return self._exchange(self._link.ask, request, lambda pdu: decode_bits(pdu, function, number))

    def identification(self, level: Literal[1, 2, 3] = 1) -> dict[int, str]:
        """Read the unit's name plate: object 0 maker, 1 product code, 2 version; more at levels 2 and 3."""
        return self._exchange(self._link.ask, bytes([_IDENTIFICATION, 14, level, 0]), decode_identification)

    def write_registers(self, address: int, registers: Sequence[int]) -> None:
        """Write registers with function 16."""
        self._write(encode_write_registers(address, registers))

    def write_register(self, address: int, value: int) -> None:
        """Write one register with function 6."""
        self._write(encode_write_register(address, value))

    def write_bit(self, address: int, value: bool) -> None:
        """Write one coil with function 5."""
        self._write(encode_write_bit(address, value))

    def _write(self, request: bytes) -> None:
        self._exchange(self._link.order, request, lambda pdu: check_written(pdu, request))

    def _exchange(self, exchange: Callable[..., T], pdu: bytes, decode: Callable[[bytes], T]) -> T:
        if self._rtu:
            request = encode_rtu(self._unit, pdu)
            return exchange(request, frame_rtu, lambda reply: decode(decode_rtu(reply, self._unit)))
        transaction = next(self._transactions)
        request = encode_tcp(transaction, self._unit, pdu)
        return exchange(request, frame_tcp, lambda reply: decode(decode_tcp(reply, transaction, self._unit)))
