import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.mt_sics import MtSics, decode_accepted, decode_tare, decode_text, decode_weight
from sim_devices.instruments.and_indicator import SimulatedAndIndicator
from sim_devices.instruments.mt_sics import SimulatedMtSics
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal

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
    return SimulatedMtSics(clock, load)


@pytest.fixture
def cell(clock, wires, simulated):
    cell = MtSics(
        name="cell", address=wires.listen(simulated), clock=clock, limits={"force_limit": (0.0, 10.0)}
    )
    cell.connect()
    yield cell
    cell.link.close()


def test_replies_printed_in_the_manuals():
    reading = decode_weight(b"S S     100.00 g\r\n", tare=False)
    assert reading.force_kN == pytest.approx(0.1 * GRAVITY / 1000.0)
    assert (reading.stable, reading.quality) == (True, "ok")
    assert not decode_weight(b"S D     129.07 g\r\n", tare=False).stable
    assert decode_weight(b"S D      -1.50 kg\r\n", tare=True).force_kN == pytest.approx(-1.5e-3 * GRAVITY)
    assert decode_text(b'I4 A "B021002593"\r\n', "I4") == "B021002593"
    assert decode_tare(b"TA A     100.00 g\r\n") is True
    assert decode_tare(b"TA A       0.00 g\r\n") is False
    assert decode_accepted(b"Z A\r\n", "Z") == "A"


@pytest.mark.parametrize("reply", [b"S +\r\n", b"S -\r\n"])
def test_beyond_the_range_there_is_no_number(reply):
    reading = decode_weight(reply, tare=False)
    assert math.isnan(reading.force_kN)
    assert reading.quality == "saturated"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"S I\r\n", "can't do that now"),
        (b"S L\r\n", "parameter is wrong"),
        (b"ES\r\n", "does not know the command"),
        (b"EL\r\n", "can't do that"),
        (b"S S Error 10b\r\n", "weighing module reports Error 10b"),
        (b"S S     100.00 lb\r\n", "set it to kg, g or t"),
    ],
)
def test_a_refusal_says_why(reply, told):
    with pytest.raises(Refusal, match=told):
        decode_weight(reply, tare=False)


@given(st.binary(max_size=30) | st.from_regex(rb"S [SD+\-I]( [ -~]{10} k?g)?\r\n", fullmatch=True))
def test_any_bytes_are_a_reading_or_a_protocol_error(data):
    try:
        reading = decode_weight(data, tare=False)
    except ProtocolError:
        return
    assert math.isfinite(reading.force_kN) == (reading.quality == "ok")


@given(st.floats(-9999.0, 99999.0), st.sampled_from("SD"))
def test_weights_round_trip(kilogram, status):
    reading = decode_weight(f"S {status} {kilogram:>10.2f} kg\r\n".encode(), tare=False)
    assert reading.force_kN == pytest.approx(kilogram * GRAVITY / 1000.0, abs=0.006 * GRAVITY / 1000.0)


def test_connect_identifies(cell):
    assert str(cell.identity) == "Mettler-Toledo IND570 Standard 1500.00 kg (serial 1126493049)"
    assert cell.force_limit.get() == 10.0


def test_every_number_has_a_unit_and_a_time(cell, load, clock):
    load.newton = 2000.0
    clock.sleep(5.0)
    before_s = clock.now()
    cell.trigger().wait()
    for name in ("cell_force", "cell_stable", "cell_tared", "cell_quality"):
        assert before_s <= cell.read()[name]["timestamp"] <= clock.now(), name
    assert cell.force.get() == pytest.approx(2.0, abs=1e-4)


def test_zero_and_tare(cell, load, clock):
    load.newton = 20.0
    cell.zero().wait()
    assert cell.force.get() == pytest.approx(0.0, abs=1e-4)
    load.newton = 1020.0
    clock.sleep(0.5)
    cell.trigger().wait()
    clock.sleep(0.5)
    cell.tare().wait()
    assert (cell.tared.get(), cell.force.get()) == (1, pytest.approx(0.0, abs=1e-4))
    cell.clear_tare().wait()
    assert (cell.tared.get(), cell.force.get()) == (0, pytest.approx(1.0, abs=1e-4))


def test_a_zero_under_load_is_refused(cell, load):
    load.newton = 5000.0
    with pytest.raises(InstrumentError, match="beyond its range, too much"):
        cell.zero().wait()


def test_a_load_that_moves_is_not_stable_and_can_not_be_tared(cell, load, clock):
    for newton in (0.0, 800.0, 1600.0):
        load.newton = newton
        clock.sleep(0.3)
        cell.trigger().wait()
    assert cell.stable.get() == 0
    load.newton = 2600.0
    clock.sleep(0.3)
    with pytest.raises(InstrumentError, match="not stable in time"):
        cell.tare().wait()


def test_another_instrument_at_the_address_is_refused_with_what_it_said(clock, wires, load):
    address = wires.listen(SimulatedAndIndicator(clock, load))
    cell = MtSics(name="cell", address=address, clock=clock)
    with pytest.raises(LinkError, match=r"cell at TCPIP.*reply b'\?\\r\\n' makes no sense"):
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


@pytest.mark.parametrize(
    ("breakdown", "told"), [("busy", "can't do that now"), ("error", "reports Error 10b")]
)
def test_a_breakdown_is_an_error_and_over_when_it_is_mended(cell, simulated, breakdown, told):
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=told):
        cell.trigger().wait()
    assert cell.quality.get() == "invalid"
    simulated.mend()
    cell.trigger().wait()
    assert cell.quality.get() == "ok"


def test_over_range_is_no_number(cell, simulated):
    simulated.break_down("over_range")
    cell.trigger().wait()
    assert math.isnan(cell.force.get())
    assert cell.quality.get() == "saturated"


def test_a_power_cycle_is_survived_and_loses_the_tare(cell, simulated, load):
    load.newton = 1000.0
    cell.tare().wait()
    simulated.power_cycle()
    cell.trigger().wait()
    assert (cell.tared.get(), cell.force.get()) == (0, pytest.approx(1.0, abs=1e-4))


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("S", "S S      10.00 kg"),
        ("TA 2.5 kg", "TA A       2.50 kg"),
        ("TA x kg", "TA L"),
        ("D", "D L"),
        ('D "press"', "D A"),
        ("@", 'I4 A "1126493049"'),
        ("nonsense", "ES"),
        ("Z 1", "ES"),
    ],
)
def test_the_simulated_terminal_answers_as_the_manuals_say(simulated, load, command, reply):
    load.newton = 10.0 * GRAVITY
    assert simulated.answer(command) == f"{reply}\r\n".encode()


def test_repeated_weights_end_with_the_next_command(simulated, load, clock):
    simulated.answer("SIR")
    clock.sleep(0.25)
    assert len(list(simulated.unsolicited())) == 2
    simulated.answer("SI")
    clock.sleep(1.0)
    assert list(simulated.unsolicited()) == []
    assert simulated.next_unsolicited() is None


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="the client knows serial ports only")
def test_a_public_client_reads_and_zeroes_the_simulated_terminal(load):
    clock = WallClock()
    wires = Wires(clock)
    load.newton = 12.5 * GRAVITY
    port = wires.attach_pty(SimulatedMtSics(clock, load)).removeprefix("ASRL").removesuffix("::INSTR")
    client = f"""
from mettler_toledo_device import MettlerToledoDevice
scale = MettlerToledoDevice(port="{port}")
print(scale.get_serial_number(), scale.get_balance_data())
print(scale.get_weight(), scale.get_weight_stable())
print(scale.zero_stable(), scale.get_weight_stable())
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == [
        "1126493049 ['IND570', 'Standard', '1500.00', 'kg']",
        "[12.5, 'kg', 'S'] [12.5, 'kg']",
        "True [0.0, 'kg']",
    ]
