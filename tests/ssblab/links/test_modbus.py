import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim_devices.modbus import ModbusException, ModbusInstrument, float_words
from ssblab.links import InstrumentError, Link, LinkClosed, LinkSettings, LinkTimeout, ProtocolError
from ssblab.links import modbus as codec

# Printed by Vaisala (HMP series M212022EN-F p. 110, HMP4 p. 55): read RH, write the gas pressure. The page of
# the write has the bytes of its two checksums swapped.
READ_RH = bytes.fromhex("F0 03 00 00 00 02 D1 2A")
RH_30_56 = bytes.fromhex("F0 03 04 7A E1 41 F4 62 05")
WRITE_981_72_hPa = bytes.fromhex("F0 10 03 00 00 02 04 6E 14 44 75 4E AB")
WRITTEN = bytes.fromhex("F0 10 03 00 00 02 54 AD")

registers = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125)
pdus = st.binary(max_size=253)


DECODERS = {
    "registers": lambda data: codec.decode_registers(data, 3, 2),
    "bits": lambda data: codec.decode_bits(data, 1, 9),
    "written": lambda data: codec.check_written(data, codec.encode_write_register(5, 7)),
    "identification": codec.decode_identification,
    "rtu": lambda data: codec.decode_rtu(data, 240),
    "tcp": lambda data: codec.decode_tcp(data, 7, 240),
    "frame rtu": codec.frame_rtu,
    "frame tcp": codec.frame_tcp,
}


def test_frames_printed_by_a_maker():
    assert codec.encode_rtu(0xF0, codec.encode_read(3, 0, 2)) == READ_RH
    reply = codec.decode_registers(codec.decode_rtu(RH_30_56, 0xF0), 3, 2)
    assert codec.float_from_registers(reply, "low first") == pytest.approx(30.56)
    request = codec.encode_write_registers(768, codec.registers_from_float(981.72, "low first"))
    assert codec.encode_rtu(0xF0, request) == WRITE_981_72_hPa
    codec.check_written(codec.decode_rtu(WRITTEN, 0xF0), request)


def test_frames_of_the_specification():
    assert codec.encode_tcp(0x1501, 0xFF, codec.encode_read(3, 4, 1)) == bytes.fromhex(
        "15 01 00 00 00 06 FF 03 00 04 00 01"
    )  # MODBUS Messaging on TCP/IP V1.0b, p. 8
    assert codec.decode_registers(bytes.fromhex("03 06 02 2B 00 00 00 64"), 3, 3) == (555, 0, 100)
    assert codec.decode_bits(bytes.fromhex("01 03 CD 6B 05"), 1, 19)[:8] == (1, 0, 1, 1, 0, 0, 1, 1)
    assert codec.encode_write_bit(172, True) == bytes.fromhex("05 00 AC FF 00")
    assert codec.encode_write_registers(1, [10, 0x102]) == bytes.fromhex("10 00 01 00 02 04 00 0A 01 02")


def test_an_exception_is_a_refusal_in_words():
    with pytest.raises(codec.Refusal, match=r"exception 2 \(illegal data address\)"):
        codec.decode_registers(b"\x83\x02", 3, 1)


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@given(data=pdus)
@example(data=b"")
@example(data=b"\x2b\x0e\x01\x83\x00\x00\x02\x00\x07Vaisala\x01")
def test_any_bytes_decode_or_are_a_protocol_error(decode, data):
    try:
        decode(data)
    except ProtocolError:
        pass


@given(st.integers(1, 247), registers)
def test_rtu_replies_round_trip_and_end_where_they_end(unit, values):
    pdu = bytes([3, 2 * len(values)]) + b"".join(v.to_bytes(2, "big") for v in values)
    frame = codec.encode_rtu(unit, pdu)
    assert codec.frame_rtu(frame + b"\x00\xff") == len(frame)
    assert all(codec.frame_rtu(frame[:cut]) is None for cut in range(len(frame)))
    assert codec.decode_registers(codec.decode_rtu(frame, unit), 3, len(values)) == tuple(values)


@given(st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(min_size=1, max_size=253))
def test_tcp_frames_round_trip_and_end_where_they_end(transaction, unit, pdu):
    frame = codec.encode_tcp(transaction, unit, pdu)
    assert codec.frame_tcp(frame + frame) == len(frame)
    assert all(codec.frame_tcp(frame[:cut]) is None for cut in range(len(frame)))
    assert codec.decode_tcp(frame, transaction, unit) == pdu
    with pytest.raises(ProtocolError, match="answer to"):
        codec.decode_tcp(frame, (transaction + 1) & 0xFFFF, unit)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_bit_of_an_rtu_frame_is_seen(pdu, data):
    frame = bytearray(codec.encode_rtu(17, pdu))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError):
        codec.decode_rtu(bytes(frame), 17)


@given(st.floats(width=32), st.sampled_from(["low first", "high first"]))
def test_floats_round_trip_in_both_orders_and_as_the_simulation_sends_them(value, order):
    words = codec.registers_from_float(value, order)
    back = codec.float_from_registers(words, order)
    assert back == value or (math.isnan(back) and math.isnan(value))
    assert words == float_words(value, low_first=order == "low first")


class Unit(ModbusInstrument):
    """Sixteen registers that hold what is written, and a name plate."""

    def __init__(self, clock, framing):
        super().__init__(clock, unit=9, framing=framing)
        self.held = [100 + i for i in range(16)]

    def power_on(self):
        pass

    def read_holding_register(self, address):
        if address >= len(self.held):
            raise ModbusException(2)
        return self.held[address]

    def read_coil(self, address):
        return address % 3 == 0

    def write_registers(self, address, values):
        self.held[address : address + len(values)] = values

    def identification(self):
        return {0: b"Acme", 1: b"Box", 2: b"1.0", 4: b"The Box", 0x80: b"S123"}


@pytest.fixture(params=["rtu", "tcp"])
def framing(request):
    return request.param


@pytest.fixture
def unit(clock, framing):
    return Unit(clock, framing)


@pytest.fixture
def link(clock, wires, unit):
    link = Link("box", wires.listen(unit), clock, LinkSettings(timeout_s=1.0), lambda: None)
    yield link
    link.close()


@pytest.fixture
def client(link, framing):
    return codec.ModbusClient(link, 9, framing)


def test_client_and_unit_understand_each_other(client, unit):
    assert client.read_registers(14, 2) == (114, 115)
    assert client.read_bits(0, 10) == tuple(i % 3 == 0 for i in range(10))
    client.write_registers(3, [1, 0xFFFF])
    client.write_register(5, 7)
    assert unit.held[3:6] == [1, 0xFFFF, 7]


def test_name_plate_has_as_many_objects_as_its_level(client):
    assert client.identification() == {0: "Acme", 1: "Box", 2: "1.0"}
    assert client.identification(level=3)[0x80] == "S123"


def test_a_refusal_leaves_the_link_open(client, link):
    with pytest.raises(InstrumentError, match="exception 2"):
        client.read_registers(16, 1)
    assert link.is_open
    assert client.read_registers(0, 1) == (100,)


def test_another_units_silence_is_a_timeout(link, framing):
    with pytest.raises(LinkTimeout):
        codec.ModbusClient(link, 8, framing).read_registers(0, 1)


def test_a_reply_that_comes_twice_is_never_taken_for_the_next_answer(client, unit):
    unit.break_wire("duplicate", times=4)
    for address in (1, 2, 3, 4, 5, 6):
        assert client.read_registers(address, 1) == (100 + address,)


def test_a_late_reply_is_never_taken_for_the_next_answer(client, unit, clock):
    unit.break_wire("late")
    assert client.read_registers(1, 1) == (101,)
    clock.sleep(20)
    assert client.read_registers(2, 1) == (102,)


def test_an_order_is_not_repeated(client, unit):
    unit.break_wire("silent")
    with pytest.raises(LinkTimeout):
        client.write_register(0, 5)
    unit.break_wire("reset")
    with pytest.raises(LinkClosed):
        client.write_register(1, 5)
    assert client.read_registers(0, 2) == (5, 5)
