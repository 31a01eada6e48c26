"""Frames of the MODBUS specifications, as bytes, at simulated instruments."""

import pytest

from sim_devices.instruments.eurotherm import SimulatedEurotherm3216
from sim_devices.instruments.michell import SimulatedOptidew
from sim_devices.instruments.moxa import SimulatedMoxaE1214
from sim_devices.instruments.vaisala import SimulatedVaisala
from sim_devices.physics.steady import SteadyGas, SteadyPlant


class Chamber:
    def temperature_C(self):
        return 25.0


def crc(body):
    remainder = 0xFFFF
    for byte in body:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xA001 if remainder & 1 else 0)
    return body + remainder.to_bytes(2, "little")


def rtu(instrument, *chunks):
    """What the instrument answers to bytes that come in chunks, without checksums."""
    buffer, answers = bytearray(), []
    for chunk in chunks:
        buffer += chunk
        answers += [answer for answer in instrument.receive(buffer) if answer]
    for answer in answers:
        assert crc(answer[:-2]) == answer
    return [answer[:-2] for answer in answers]


def tcp(instrument, pdu, unit=1):
    buffer = bytearray(b"\x12\x34\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu)
    (answer,) = instrument.receive(buffer)
    assert answer[:4] == b"\x12\x34\0\0"
    assert int.from_bytes(answer[4:6], "big") == len(answer) - 6
    return answer[7:]


@pytest.fixture
def oven(clock):
    return SimulatedEurotherm3216(clock, Chamber())


@pytest.fixture
def probe(clock):
    return SimulatedVaisala(clock, SteadyGas(clock, None))


@pytest.fixture
def relays(clock):
    return SimulatedMoxaE1214(clock, SteadyPlant(clock, None))


READ_TARGET = bytes.fromhex("01 03 0002 0001")


def target(oven):
    (answer,) = rtu(oven, crc(READ_TARGET))
    return int.from_bytes(answer[3:], "big")


@pytest.mark.parametrize("order", ["00 06 0002 00fa", "00 10 0002 0001 02 00fa"])
def test_a_broadcast_is_obeyed_and_not_answered(oven, order):
    assert rtu(oven, crc(bytes.fromhex(order))) == []
    assert target(oven) == 250


def test_a_broadcast_that_reads_or_makes_no_sense_is_ignored(oven):
    assert rtu(oven, crc(bytes.fromhex("00 03 0002 0001")), crc(bytes.fromhex("00 06 7000 00fa"))) == []
    assert target(oven) == 0


@pytest.mark.parametrize(
    "request_hex",
    [
        "01 07",
        "01 08 0000 a537",
        "01 0b",
        "01 11",
        "01 14 07 06 0004 0001 0002",
        "01 16 0004 00f2 0025",
        "01 17 0003 0006 000e 0001 02 00ff",
        "01 18 04de",
    ],
)
def test_an_unknown_function_is_refused_even_in_pieces_and_followed_by_another_request(oven, request_hex):
    frame = crc(bytes.fromhex(request_hex))
    refusal, value = rtu(oven, frame[:3], frame[3:] + crc(READ_TARGET))
    assert refusal == bytes([1, frame[1] | 0x80, 1])
    assert value == bytes.fromhex("01 03 02 0000")


def test_many_registers_are_written_all_or_none(oven):
    (refusal,) = rtu(oven, crc(bytes.fromhex("01 10 0002 0008 10" + "0064" * 8)))
    assert refusal == bytes.fromhex("01 90 02")  # 8 is in no table
    assert target(oven) == 0


@pytest.mark.parametrize(
    "pdu", ["01 0000 0000", "01 0000 07d1", "02 0000 ffff", "0f 0000 0000 00", "05 0000 0001", "01 0000"]
)
def test_numbers_that_the_specification_forbids_are_refused_with_exception_3(relays, pdu):
    function = int(pdu[:2], 16)
    assert tcp(relays, bytes.fromhex(pdu)) == bytes([function | 0x80, 3])


@pytest.mark.parametrize(
    "pdu", ["03 0000 0000", "03 0000 007e", "10 0000 0000 00", "10 0000 0001 04 00000000"]
)
def test_numbers_of_registers_that_the_specification_forbids_are_refused(clock, pdu):
    probe = SimulatedVaisala(clock, SteadyGas(clock, None), framing="tcp")
    assert tcp(probe, bytes.fromhex(pdu), unit=240) == bytes([int(pdu[:2], 16) | 0x80, 3])


def test_coils_of_which_one_does_not_exist_are_all_left_alone(relays):
    assert tcp(relays, bytes.fromhex("0f 0004 0004 01 0f")) == b"\x8f\x02"
    assert tcp(relays, bytes.fromhex("01 0000 0006")) == b"\x01\x01\x00"
    assert tcp(relays, bytes.fromhex("0f 0004 0002 01 03")) == bytes.fromhex("0f 0004 0002")
    assert tcp(relays, bytes.fromhex("01 0000 0006")) == b"\x01\x01\x30"


def test_one_object_of_the_identification_is_read(probe):
    (answer,) = rtu(probe, crc(bytes.fromhex("f0 2b 0e 04 01")))
    assert answer == bytes.fromhex("f0 2b 0e 04 83 00 00 01 01 06") + b"DMT143"


def test_an_object_that_is_not_there_is_an_address_that_is_not_there(probe):
    assert rtu(probe, crc(bytes.fromhex("f0 2b 0e 04 7f"))) == [bytes.fromhex("f0 ab 02")]


def test_a_stream_from_an_object_that_is_not_there_begins_anew(probe):
    (answer,) = rtu(probe, crc(bytes.fromhex("f0 2b 0e 01 55")))
    assert answer[3:9] == bytes.fromhex("01 83 00 00 03 00")


def test_a_long_identification_comes_in_parts(probe, monkeypatch):
    texts = {number: bytes([65 + number]) * 90 for number in range(4)}
    monkeypatch.setattr(probe, "identification", lambda: texts)
    (first,) = rtu(probe, crc(bytes.fromhex("f0 2b 0e 03 00")))
    (second,) = rtu(probe, crc(bytes.fromhex("f0 2b 0e 03 02")))
    assert first[5:8] == bytes.fromhex("ff 02 02")
    assert second[5:8] == bytes.fromhex("00 00 02")
    assert len(first) <= 254
    assert texts[3] in second


@pytest.mark.parametrize(("asked", "code"), [("2b 0d 00 00", 1), ("2b 0e 05 00", 3)])
def test_another_kind_of_identification_is_refused(probe, asked, code):
    assert rtu(probe, crc(bytes.fromhex(f"f0 {asked}"))) == [bytes([0xF0, 0xAB, code])]


def test_an_instrument_without_identification_refuses_the_function(clock):
    mirror = SimulatedOptidew(clock, SteadyGas(clock, None))
    assert rtu(mirror, crc(bytes.fromhex("01 2b 0e 04 00"))) == [bytes.fromhex("01 ab 01")]
