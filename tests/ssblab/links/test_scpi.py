import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_devices.scpi import ScpiError, ScpiInstrument, number
from ssblab.links import InstrumentError, Link, LinkSettings, ProtocolError, Refusal
from ssblab.links.scpi import (
    ScpiClient,
    block_or_line,
    decode_block,
    decode_error_queue,
    decode_identification,
    decode_number,
    decode_numbers,
    decode_text,
)


class Source(ScpiInstrument):
    """A source with one level."""

    identification = "ACME,MODEL 1,0042,1.0"

    def __init__(self, clock):
        super().__init__(clock)
        self.commands = {
            ":SOURce[1]:VOLTage[:LEVel]": self.set_level,
            ":SOURce[1]:VOLTage[:LEVel]?": lambda: f"{self.level:.6E}",
        }
        self.power_on()

    def power_on(self):
        self.level = 0.0

    def set_level(self, word):
        self.level = number(word, -10, 10, MAX=10.0)

    def answer(self, text):
        return b"".join(self.receive(bytearray(text.encode() + b"\n")))


@pytest.fixture
def source(clock):
    return Source(clock)


@pytest.fixture
def client(clock, wires, source):
    link = Link("source", wires.listen(source), clock, LinkSettings(), lambda: None)
    yield ScpiClient(link)
    link.close()


def test_orders_are_confirmed_and_questions_answered(client, source):
    client.order(":SOUR:VOLT 3.7")
    assert source.level == 3.7
    assert client.ask(":SOUR:VOLT?", decode_number) == 3.7


def test_a_refused_order_is_an_error_in_the_instruments_words_and_the_queue_is_empty_after_it(client, source):
    with pytest.raises(InstrumentError, match=r"reports error -222: Parameter data out of range"):
        client.order(":SOUR:VOLT 11", ":FOO 1")
    assert source.level == 0
    client.order(":SOUR:VOLT 1")
    assert source.level == 1


def test_headers_in_all_their_spellings(source):
    for text in (":SOUR:VOLT 1", "SOURCE1:VOLTAGE:LEVEL 2", ":sour:volt:lev 3", "SOUR:VOLT 4;VOLT MAX"):
        source.answer(text)
        assert source.answer("SYST:ERR?") == b'0,"No error"\n', text
    assert source.answer("SOUR:VOLT?;*IDN?") == b"1.000000E+01;ACME,MODEL 1,0042,1.0\n"


def test_errors_queue_up_and_overflow(source):
    source.answer(":FOO?;:SOUR:VOLT 5")
    assert source.level == 0  # a command error discards the rest of its line
    for text, entry in ((":SOUR:VOLT", -109), (":SOUR:VOLT 1,2", -108), (":SOUR:VOLT x", -104)):
        source.answer("*CLS")
        source.answer(text)
        assert source.answer("SYST:ERR?").startswith(f"{entry},".encode())
    for _ in range(30):
        source.put_error(-222)
    entries = [source.answer("SYST:ERR?") for _ in range(21)]
    assert entries[-2:] == [b'-350,"Queue overflow"\n', b'0,"No error"\n']
    assert source.answer("*ESR?") == b"48\n"  # command and execution errors; power-on was cleared
    assert source.answer("*ESR?") == b"0\n"


def test_an_error_of_a_handler_is_not_a_missing_parameter(source):
    def broken():
        raise TypeError("a real mistake")

    source.commands[":BROKEN"] = broken
    with pytest.raises(TypeError, match="real mistake"):
        source.answer(":BROKEN")


def test_sentinels_are_no_numbers():
    assert decode_numbers(b"+3.7E+00,9.9E37,-9.900000E+37,+9.91E+37\n")[0] == 3.7
    assert all(map(math.isnan, decode_numbers(b"9.9E37,-9.900000E+37,+9.91E+37\n")))


def test_identification_printed_by_the_maker():
    assert decode_identification(b"KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.6.7c\n") == (
        "KEITHLEY INSTRUMENTS", "MODEL 2450", "04096331", "1.6.7c",
    )  # fmt: skip


def test_error_queue_entries_printed_by_makers():
    decode_error_queue(b'0,"No error;0;0 0"\n')
    decode_error_queue(b'+0,"No error"\n')
    with pytest.raises(Refusal, match="reports error -113: Undefined header;1;2015/05/06 12:57:04"):
        decode_error_queue(b'-113,"Undefined header;1;2015/05/06 12:57:04.484"\n')


def test_a_block_printed_by_the_maker():
    reply = b"#231+2.61400000E+01,+2.62400000E+01\n"
    assert block_or_line(reply) == len(reply)
    assert block_or_line(reply[:-3]) is None
    assert decode_numbers(decode_block(reply)) == [26.14, 26.24]


@given(st.binary(max_size=60))
def test_blocks_round_trip_whatever_is_in_them(content):
    size = str(len(content)).encode()
    reply = b"#" + str(len(size)).encode() + size + content + b"\n"
    assert block_or_line(reply + b"next") in (len(reply), None) or b"\n" in content
    assert decode_block(reply) == content


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (
        decode_text, decode_number, decode_numbers, decode_identification, decode_error_queue, decode_block,
        block_or_line,
    ):  # fmt: skip
        try:
            decode(data)
        except ProtocolError:
            pass


def test_scpi_errors_have_the_standard_words():
    assert ScpiError(-222).text == "Parameter data out of range"
