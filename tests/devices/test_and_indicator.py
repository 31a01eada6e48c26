import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.and_indicator import AndIndicator, decode_echo, decode_load, encode
from sim_devices.instruments.and_indicator import SimulatedAndIndicator
from sim_devices.wire import FAULTS, SimulatedInstrument
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal

GRAVITY = 9.80665


class Load:
    """A force that is what it is set to."""

    newton = 0.0

    def force_N(self):
        return self.newton


@pytest.fixture
def load():
    return Load()


@pytest.fixture
def simulated(clock, load):
    return SimulatedAndIndicator(clock, load)


@pytest.fixture
def cell(clock, wires, simulated):
    cell = AndIndicator(
        name="cell", address=wires.listen(simulated), clock=clock, limits={"force_limit": (0.0, 10.0)}
    )
    cell.connect()
    yield cell
    cell.link.close()


@pytest.mark.parametrize(
    ("line", "kilogram", "stable", "tared"),
    [
        (b"ST,NT,+0012.34kg\r\n", 12.34, True, True),  # AD-4402, page 80
        (b"ST,GS,+0012.30kg\r\n", 12.3, True, False),  # AD-4406, page 46
        (b"US,GS,-0012.34kg\r\n", -12.34, False, False),
        (b"ST,GS,+00012.3 t\r\n", 12300.0, True, False),
        (b"ST,GS,+0012,34 g\r\n", 0.01234, True, False),  # decimal comma
    ],
)
def test_lines_of_data_in_the_form_that_the_maker_prints(line, kilogram, stable, tared):
    reading = decode_load(line)
    assert reading.force_kN == pytest.approx(kilogram * GRAVITY / 1000.0, rel=1e-12)
    assert (reading.stable, reading.tared, reading.quality) == (stable, tared, "ok")


@pytest.mark.parametrize(
    ("line", "quality"),
    [
        (b"OL,GS,+    .  kg\r\n", "saturated"),
        (b"LO,GS,     .  kg\r\n", "saturated"),  # as AD-4402, page 80 prints the header
        (b"US,GS,+    .  kg\r\n", "saturated"),
        (b"HD,GS,+0012.34kg\r\n", "invalid"),
        (b"ST,TR,+0012.34kg\r\n", "invalid"),
    ],
)
def test_what_is_out_of_range_held_or_the_tare_is_no_force(line, quality):
    reading = decode_load(line)
    assert math.isnan(reading.force_kN)
    assert reading.quality == quality


def test_replies_with_addresses_as_the_maker_prints_them():
    assert encode("MN", 23) == b"@23MN\r\n"
    assert decode_echo(b"@23MN\r\n", "MN", 23) == "MN"
    with pytest.raises(Refusal, match="does not know"):
        decode_echo(b"@23?\r\n", "MN", 23)
    with pytest.raises(Refusal, match="can't do that now"):
        decode_load(b"I\r\n")
    with pytest.raises(Refusal, match="memory is full"):
        decode_echo(b"M\r\n", "MZ")
    with pytest.raises(ProtocolError, match="not a line of unit 23"):
        decode_load(b"@24ST,GS,+0012.34kg\r\n", 23)


def test_a_unit_that_is_no_mass_is_refused():
    with pytest.raises(Refusal, match="it shows 'lb': set it to kg, g or t"):
        decode_load(b"ST,GS,+0012.34lb\r\n")


@given(st.binary(max_size=30) | st.from_regex(rb"(ST|US),GS,[+\-][ -~]{7}kg\r\n", fullmatch=True))
def test_any_bytes_are_a_reading_or_a_protocol_error(data):
    try:
        reading = decode_load(data)
    except ProtocolError:
        return
    assert math.isfinite(reading.force_kN) == (reading.quality == "ok")


@given(st.floats(-9999.0, 9999.0))
def test_lines_of_data_round_trip(kilogram):
    line = f"ST,GS,{'-' if kilogram < 0 else '+'}{abs(kilogram):07.2f}kg\r\n".encode()
    assert decode_load(line).force_kN == pytest.approx(kilogram * GRAVITY / 1000.0, abs=0.006 * GRAVITY / 1e3)


def test_connect_takes_the_stations_limit_over(cell):
    assert str(cell.identity) == "A&D AD-4401A or AD-4406A"
    assert cell.force_limit.get() == 10.0


def test_every_number_has_a_unit_and_a_time(cell, load, clock):
    load.newton = 1000.0
    clock.sleep(5.0)
    before_s = clock.now()
    cell.trigger().wait()
    readings = cell.read()
    for name in ("cell_force", "cell_stable", "cell_tared", "cell_quality"):
        assert before_s <= readings[name]["timestamp"] <= clock.now(), name
    assert cell.force.get() == pytest.approx(1.0, abs=0.0001)
    assert cell.describe()["cell_force"]["units"] == "kN"


def test_a_load_that_changes_is_not_stable(cell, load, clock):
    for newton in (0.0, 500.0, 1000.0):
        load.newton = newton
        clock.sleep(0.5)
        cell.trigger().wait()
    assert cell.stable.get() == 0
    clock.sleep(1.0)
    cell.trigger().wait()
    assert cell.stable.get() == 1


def test_zero_and_tare(cell, load, clock):
    load.newton = 20.0
    cell.zero().wait()
    assert cell.force.get() == pytest.approx(0.0, abs=1e-4)
    load.newton = 1020.0
    clock.sleep(0.5)
    cell.trigger().wait()
    assert cell.force.get() == pytest.approx(1.0, abs=1e-4)
    clock.sleep(0.5)
    cell.tare().wait()
    assert (cell.tared.get(), cell.force.get()) == (1, pytest.approx(0.0, abs=1e-4))
    cell.clear_tare().wait()
    assert (cell.tared.get(), cell.force.get()) == (0, pytest.approx(1.0, abs=1e-4))


def test_a_zero_under_load_is_refused(cell, load):
    load.newton = 5000.0
    with pytest.raises(InstrumentError, match=r"cell at .*can't do that now.*b'MZ"):
        cell.zero().wait()
    cell.trigger().wait()
    assert cell.force.get() == pytest.approx(5.0, abs=1e-3)


def test_a_load_beyond_the_range_is_no_number(cell, load):
    load.newton = 16000.0
    cell.trigger().wait()
    assert math.isnan(cell.force.get())
    assert cell.quality.get() == "saturated"


def test_the_safe_state_sends_nothing(cell, simulated):
    simulated.break_wire("silent", times=None)
    cell.make_safe()
    cell.make_safe()


def test_addresses_on_one_line(clock, wires, load):
    simulated = SimulatedAndIndicator(clock, load, address=23)
    address = wires.listen(simulated)
    ours, other = (AndIndicator(name="cell", address=address, clock=clock, unit=unit) for unit in (23, 24))
    ours.connect()
    assert ours.quality.get() == "ok"
    with pytest.raises(LinkTimeout, match=r"cell at TCPIP.*no reply within 0.5 s, after b'@24RW"):
        other.connect()
    assert simulated.answer("@00MN") == b""
    assert simulated.answer("@23RW") == b"@23ST,NT,+0000.00kg\r\n"
    ours.link.close()


class Other(SimulatedInstrument):
    """Another instrument with the same line ends."""

    def power_on(self):
        pass

    def receive(self, buffer):
        buffer.clear()
        return [b"ES\r\n"]


def test_another_instrument_at_the_address_is_refused_with_what_it_said(clock, wires):
    cell = AndIndicator(name="cell", address=wires.listen(Other(clock)), clock=clock)
    with pytest.raises(LinkError, match=r"cell at TCPIP.*reply b'ES\\r\\n' makes no sense"):
        cell.connect()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(cell, simulated, load, fault):
    load.newton = 1234.5
    simulated.break_wire(fault)
    for _ in range(3):
        cell.trigger().wait()
        assert cell.force.get() == pytest.approx(1.2345, abs=1e-4)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(cell, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"cell at TCPIP.*; check"):
        cell.trigger().wait()
    assert cell.quality.get() == "invalid"


def test_busy_is_an_error_and_over_range_is_no_number(cell, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match="can't do that now"):
        cell.trigger().wait()
    assert cell.quality.get() == "invalid"
    simulated.mend()
    simulated.break_down("over_range")
    cell.trigger().wait()
    assert math.isnan(cell.force.get())
    assert cell.quality.get() == "saturated"
    simulated.mend()
    cell.trigger().wait()
    assert cell.quality.get() == "ok"


def test_a_power_cycle_is_survived_and_loses_the_tare(cell, simulated, load):
    load.newton = 1000.0
    cell.tare().wait()
    simulated.power_cycle()
    cell.trigger().wait()
    assert cell.tared.get() == 0
    assert cell.force.get() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "command", "reply"),
    [
        ("AD-4401A", "RW", "ST,GS,+0010.00kg"),
        ("AD-4401A", "RG", "?"),
        ("AD-4401A", "HB", "HB"),
        ("AD-4401A", "xyz", "?"),
        ("AD-4406A", "RG", "ST,GS,+0010.00kg"),
        ("AD-4406A", "RN", "ST,NT,+0010.00kg"),
        ("AD-4406A", "RT", "ST,TR,+0000.00kg"),
        ("AD-4406A", "RW,2", "ST,GS,+0010.00kg"),
        ("AD-4406A", "HB", "?"),
    ],
)
def test_the_simulated_indicator_answers_as_the_manuals_say(clock, load, model, command, reply):
    load.newton = 10.0 * GRAVITY
    assert SimulatedAndIndicator(clock, load, model=model).answer(command) == f"{reply}\r\n".encode()


def test_the_emergency_stop_ends_a_sequence(clock, load):
    simulated = SimulatedAndIndicator(clock, load)
    simulated.answer("BB")
    assert simulated.sequence == "weighing"
    assert simulated.answer("HB") == b"HB\r\n"
    assert simulated.sequence == ""
