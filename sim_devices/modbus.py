"""What instruments that speak Modbus have in common: frames, checksums, exceptions.

Source: MODBUS Application Protocol Specification V1.1b3; MODBUS over Serial Line V1.02; MODBUS Messaging
on TCP/IP V1.0b. Written apart from the drivers' Modbus, so that neither can hide the other's mistakes.
"""

from __future__ import annotations

import struct
from abc import ABC
from collections.abc import Iterator
from typing import Literal

from sim_devices.wire import SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["ModbusException", "ModbusInstrument", "float_words"]

_MAX_READ_BITS, _MAX_READ_REGISTERS = 2000, 125
_MAX_WRITTEN_BITS, _MAX_WRITTEN_REGISTERS = 1968, 123
_WRITING = (5, 6, 15, 16)
# Length of a request on a serial line, for functions that no instrument here need have.
_RTU_LENGTHS = {7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
_RTU_COUNTED = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}  # where the number of bytes that follow it stands
_OBJECTS_BYTES = 245  # of an identification, so that the whole fits into a frame
_LAST_OBJECTS = {1: 0x02, 2: 0x7F, 3: 0xFF}  # of the basic, regular and extended identification


class ModbusException(Exception):
    """The instrument answers with an exception code (1 function, 2 address, 3 value, 4 failure, 6 busy)."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Modbus exception {code}")


def float_words(value: float, *, low_first: bool) -> tuple[int, int]:
    """Two registers of an IEEE 754 single, in the order that they are sent."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return (low, high) if low_first else (high, low)


def _checksum(data: bytes) -> int:
    remainder = 0xFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            odd = remainder & 1
            remainder >>= 1
            if odd:
                remainder ^= 0xA001
    return remainder


class ModbusInstrument(SimulatedInstrument, ABC):
    """One unit on a Modbus line or port.

    A subclass gives meaning to addresses by overriding the `read_*`, `write_*` and `identification`
    methods it has; those it leaves alone answer "illegal function". Addresses count from 0. While it is
    `broken("busy")` it answers everything with exception 6.

    Parameters
    ----------
    unit : int
        Its address; requests to others are met with silence (serial) or ignored (TCP).
    framing : {"rtu", "tcp"}
        Serial frames, or Modbus TCP.
    """

    def __init__(self, clock: Clock, *, unit: int, framing: Literal["rtu", "tcp"]) -> None:
        super().__init__(clock)
        self.unit = unit
        self.framing = framing

    def read_coil(self, address: int) -> bool:
        """Coil at an address (function 1)."""
        raise ModbusException(1)

    def read_discrete_input(self, address: int) -> bool:
        """Discrete input at an address (function 2)."""
        raise ModbusException(1)

    def read_holding_register(self, address: int) -> int:
        """Holding register at an address (function 3), 0-65535."""
        raise ModbusException(1)

    def read_input_register(self, address: int) -> int:
        """Input register at an address (function 4), 0-65535."""
        raise ModbusException(1)

    def write_coils(self, address: int, values: list[bool]) -> None:
        """Write coils (functions 5 and 15); all of a request or, with an exception, none."""
        raise ModbusException(1)

    def write_registers(self, address: int, values: list[int]) -> None:
        """Write registers (functions 6 and 16); all of a request come together."""
        raise ModbusException(1)

    def identification(self) -> dict[int, bytes]:
        """Objects of the device identification (function 43, MEI 14)."""
        raise ModbusException(1)

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Answer the whole frames in the buffer."""
        take = self._take_rtu if self.framing == "rtu" else self._take_tcp
        while (reply := take(buffer)) is not None:
            yield reply

    def _take_tcp(self, buffer: bytearray) -> bytes | None:
        if len(buffer) < 6:
            return None
        transaction, protocol, length = struct.unpack_from(">HHH", buffer)
        if protocol != 0 or not 2 <= length <= 254:
            buffer.clear()
            return b""
        if len(buffer) < 6 + length:
            return None
        unit, pdu = buffer[6], bytes(buffer[7 : 6 + length])
        del buffer[: 6 + length]
        if unit not in (self.unit, 0, 255):
            return b""
        answer = self._answer(pdu)
        return struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer

    def _take_rtu(self, buffer: bytearray) -> bytes | None:
        length = _rtu_request_length(buffer)
        if length is None:
            return None
        frame = bytes(buffer[:length])
        del buffer[:length]
        if len(frame) < 4 or _checksum(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
            buffer.clear()  # a unit that heard garbage waits for the next silence
            return b""
        if frame[0] == 0 and frame[1] in _WRITING:  # to all units: nobody answers
            self._answer(frame[1:-2])
        if frame[0] != self.unit:
            return b""
        body = frame[:1] + self._answer(frame[1:-2])
        return body + _checksum(body).to_bytes(2, "little")

    def _answer(self, pdu: bytes) -> bytes:
        try:
            if self.broken("busy"):
                raise ModbusException(6)
            return self._execute(pdu)
        except ModbusException as refusal:
            return bytes([pdu[0] | 0x80, refusal.code])
        except struct.error:
            return bytes([pdu[0] | 0x80, 3])

    def _execute(self, pdu: bytes) -> bytes:
        function = pdu[0]
        if function in (1, 2):
            return self._execute_read_bits(pdu)
        if function in (3, 4):
            return self._execute_read_registers(pdu)
        if function == 5:
            address, value = struct.unpack(">HH", pdu[1:])
            if value not in (0, 0xFF00):
                raise ModbusException(3)
            self.write_coils(address, [value == 0xFF00])
            return pdu
        if function == 6:
            address, value = struct.unpack(">HH", pdu[1:])
            self.write_registers(address, [value])
            return pdu
        if function == 15:
            address, number, size = struct.unpack_from(">HHB", pdu, 1)
            if not 1 <= number <= _MAX_WRITTEN_BITS or size != (number + 7) // 8 or len(pdu) != 6 + size:
                raise ModbusException(3)
            self.write_coils(address, [bool(pdu[6 + i // 8] >> (i % 8) & 1) for i in range(number)])
            return pdu[:5]
        if function == 16:
            address, number, size = struct.unpack_from(">HHB", pdu, 1)
            if not 1 <= number <= _MAX_WRITTEN_REGISTERS or size != 2 * number:
                raise ModbusException(3)
            self.write_registers(address, list(struct.unpack(f">{number}H", pdu[6:])))
            return pdu[:5]
        if function == 43:
            return self._execute_identification(pdu)
        raise ModbusException(1)

    def _execute_read_bits(self, pdu: bytes) -> bytes:
        address, number = struct.unpack(">HH", pdu[1:])
        if not 1 <= number <= _MAX_READ_BITS:
            raise ModbusException(3)
        read = self.read_coil if pdu[0] == 1 else self.read_discrete_input
        packed = bytearray((number + 7) // 8)
        for i in range(number):
            packed[i // 8] |= read(address + i) << (i % 8)
        return bytes([pdu[0], len(packed)]) + bytes(packed)

    def _execute_read_registers(self, pdu: bytes) -> bytes:
        address, number = struct.unpack(">HH", pdu[1:])
        if not 1 <= number <= _MAX_READ_REGISTERS:
            raise ModbusException(3)
        read = self.read_holding_register if pdu[0] == 3 else self.read_input_register
        values = [read(address + i) for i in range(number)]
        return struct.pack(f">BB{number}H", pdu[0], 2 * number, *values)

    def _execute_identification(self, pdu: bytes) -> bytes:
        everything = self.identification()
        if len(pdu) < 2 or pdu[1] != 14:
            raise ModbusException(1)
        if len(pdu) != 4 or pdu[2] not in (1, 2, 3, 4):
            raise ModbusException(3)
        code, first = pdu[2:]
        if code == 4:
            if first not in everything:
                raise ModbusException(2)
            asked = {first: everything[first]}
        else:
            known = {number: text for number, text in everything.items() if number <= _LAST_OBJECTS[code]}
            if first not in known:
                first = 0  # a stream begins anew
            asked = {number: text for number, text in known.items() if number >= first}
        return bytes([43, 14, code, 0x83]) + _stream(asked)


def _stream(objects: dict[int, bytes]) -> bytes:
    """As many objects as one answer holds, after what tells whether there are more."""
    body, count = b"", 0
    for number, text in objects.items():
        if len(body) + 2 + len(text) > _OBJECTS_BYTES:
            return bytes([0xFF, number, count]) + body
        body, count = body + bytes([number, len(text)]) + text, count + 1
    return bytes([0, 0, count]) + body


def _rtu_request_length(buffer: bytearray) -> int | None:
    """Length of the request at the start of the buffer; a unit really tells it by the silence after it."""
    if len(buffer) < 2:
        return None
    function = buffer[1]
    if function in _RTU_COUNTED:
        place = _RTU_COUNTED[function]
        length = place + 3 + buffer[place] if len(buffer) > place else None
    elif 1 <= function <= 6:
        length = 8
    else:
        length = _RTU_LENGTHS.get(function, len(buffer))
    return length if length is not None and len(buffer) >= length else None
