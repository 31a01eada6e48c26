import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.keyence_gt2 import KeyenceGt2, decode_datum, decode_heads, encode_read, error_words
from sim_devices.instruments.keyence_gt2 import SimulatedGt2
from sim_devices.wire import FAULTS, SimulatedInstrument
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument


class Gap:
    """A distance that is what it is set to."""

    mm = 1.0

    def distance_mm(self):
        return self.mm


@pytest.fixture
def gap():
    return Gap()


@pytest.fixture
def simulated(clock, gap):
    return SimulatedGt2(clock, gap, offsets_mm=[0.0, 2.5])


@pytest.fixture
def gauge(clock, wires, simulated):
    gauge = KeyenceGt2(name="gauge", address=wires.listen(simulated), clock=clock, heads=2)
    gauge.connect()
    yield gauge
    gauge.link.close()


def test_frames_printed_in_the_manual():
    assert encode_read(6, 101) == bytes.fromhex("53522C30362C3130310D0A")  # page 8
    with pytest.raises(Refusal, match=r"error 65 \(no amplifier of this ID\)"):
        decode_datum(bytes.fromhex("45522C53522C36350D0A"), 6, 101)  # page 8
    assert decode_datum(b"SR,06,101,2\r\n", 6, 101) == "2"
    assert error_words(33) == "overcurrent, number of units error"  # page 12: "00033"


def test_outputs_and_values_of_all_amplifiers():
    readings = decode_heads(b"MS,4,+001.2345,1,-000.5000\r\n")
    assert [reading.displacement_mm for reading in readings] == [1.2345, -0.5]
    assert [reading.judgement for reading in readings] == ["go", "high"]


@pytest.mark.parametrize(
    ("value", "quality"),
    [
        ("+199.9999", "saturated"),
        ("-199.9998", "saturated"),
        ("+EEE.EEEE", "invalid"),
        ("-FFF.FFFF", "invalid"),
    ],
)
def test_what_is_beyond_the_range_or_no_digits_is_no_number(value, quality):
    (reading,) = decode_heads(f"MS,0,{value}\r\n".encode())
    assert math.isnan(reading.displacement_mm)
    assert reading.quality == quality


@given(st.binary(max_size=40) | st.from_regex(rb"MS(,[0-5],[+\-][ -~]{8}){1,2}\r\n", fullmatch=True))
def test_any_bytes_are_readings_or_a_protocol_error(data):
    try:
        readings = decode_heads(data)
    except ProtocolError:
        return
    for reading in readings:
        assert math.isfinite(reading.displacement_mm) == (reading.quality == "ok")


@given(st.lists(st.floats(-199.0, 199.0), min_size=1, max_size=15))
def test_values_round_trip(values_mm):
    line = ",".join(["MS", *(f"4,{value + 0.0:+09.4f}" for value in values_mm)]) + "\r\n"
    found_mm = [reading.displacement_mm for reading in decode_heads(line.encode())]
    assert found_mm == pytest.approx(values_mm, abs=0.00006)


def test_connect_counts_the_amplifiers(gauge):
    assert str(gauge.identity) == "Keyence GT2 with DL-RS1A, 2 amplifiers"


def test_too_few_amplifiers_are_refused_with_what_was_found(clock, wires, simulated):
    gauge = KeyenceGt2(name="gauge", address=wires.listen(simulated), clock=clock, heads=3)
    with pytest.raises(WrongInstrument, match=r"found '2 amplifiers for 3 heads', not Keyence GT2"):
        gauge.connect()


def test_heads_that_are_not_there_are_omitted(gauge):
    assert set(gauge.describe()) == {
        "gauge_quality", "gauge_displacement_0", "gauge_displacement_1", "gauge_judgement_0",
        "gauge_judgement_1",
    }  # fmt: skip
    with pytest.raises(ValueError, match="heads must be 1 to 4"):
        KeyenceGt2(name="gauge", address="", clock=gauge.clock, heads=5)


def test_every_number_has_a_unit_and_a_time(gauge, gap, clock):
    gap.mm = 3.14159
    clock.sleep(5.0)
    before_s = clock.now()
    gauge.trigger().wait()
    for name, reading in gauge.read().items():
        assert before_s <= reading["timestamp"] <= clock.now(), name
    assert gauge.displacement_0.get() == 3.1416
    assert gauge.displacement_1.get() == 5.6416
    assert (gauge.judgement_0.get(), gauge.judgement_1.get()) == ("go", "high")
    assert gauge.describe()["gauge_displacement_0"]["units"] == "mm"


class Other(SimulatedInstrument):
    """Another instrument with the same line ends."""

    def power_on(self):
        pass

    def receive(self, buffer):
        buffer.clear()
        return [b"?\r\n"]


def test_another_instrument_at_the_address_is_refused_with_what_it_said(clock, wires):
    gauge = KeyenceGt2(name="gauge", address=wires.listen(Other(clock)), clock=clock)
    with pytest.raises(LinkError, match=r"gauge at TCPIP.*reply b'\?\\r\\n' makes no sense"):
        gauge.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(gauge, simulated, gap, fault):
    gap.mm = 1.2345
    simulated.break_wire(fault)
    for _ in range(3):
        gauge.trigger().wait()
        assert gauge.displacement_0.get() == 1.2345


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(gauge, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"gauge at TCPIP.*; check"):
        gauge.trigger().wait()
    assert gauge.quality.get() == "invalid"


@pytest.mark.parametrize(
    ("breakdown", "told"), [("busy", "error 02"), ("error", "head 0 reports head error")]
)
def test_a_breakdown_is_an_error_and_over_when_it_is_mended(gauge, simulated, breakdown, told):
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=told):
        gauge.trigger().wait()
    assert gauge.quality.get() == "invalid"
    simulated.mend()
    gauge.trigger().wait()
    assert gauge.quality.get() == "ok"


def test_over_range_is_no_number(gauge, simulated, gap):
    simulated.break_down("over_range")
    gauge.trigger().wait()
    assert math.isnan(gauge.displacement_0.get())
    assert gauge.quality.get() == "saturated"
    simulated.mend()
    gap.mm = 250.0
    gauge.trigger().wait()
    assert math.isnan(gauge.displacement_0.get())


def test_a_power_cycle_and_the_safe_state(gauge, simulated, gap):
    gauge.make_safe()
    simulated.power_cycle()
    gap.mm = 2.0
    gauge.trigger().wait()
    assert gauge.displacement_0.get() == 2.0


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("M0", "M0,+001.0000,+003.5000"),
        ("MS", "MS,2,+001.0000,4,+003.5000"),
        ("SR,01,103", "SR,01,103,3"),
        ("SR,06,101", "ER,SR,65"),
        ("SR,01,999", "ER,SR,22"),
        ("SR,01", "ER,SR,21"),
        ("SW,00,103,5", "SW,00,103"),
        ("SW,00,103,9", "ER,SW,22"),
        ("SW,00,000,+001.0000", "ER,SW,22"),
        ("AW,114,+000.0100", "AW,114"),
        ("XX", "ER,XX,00"),
    ],
)
def test_the_simulated_amplifiers_answer_as_the_manual_says(simulated, command, reply):
    assert simulated.reply(command) == reply


def test_presets_and_the_initial_reset_of_the_simulated_amplifiers(simulated):
    for line in ("SW,00,050,0", "SW,00,072,+010.0000", "SW,00,050,1"):
        assert not simulated.reply(line).startswith("ER")
    assert simulated.reply("SR,00,000") == "SR,00,000,+010.0000"
    assert simulated.reply("SR,00,002") == "SR,00,002,+001.0000"
    simulated.reply("SW,00,060,0")
    simulated.reply("SW,00,060,1")
    assert simulated.reply("SR,00,000") == "SR,00,000,+001.0000"


def test_lines_may_end_with_cr_alone(simulated):
    assert list(simulated.receive(bytearray(b"M0\rSR,00,101\r\nM0"))) == [
        b"M0,+001.0000,+003.5000\r\n",
        b"SR,00,101,0\r\n",
    ]
