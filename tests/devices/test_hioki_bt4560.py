import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep
from devices.flyer import MeasurementStopped
from devices.hioki import (
    HiokiBT4560,
    confirm_events,
    decode_choice,
    decode_events,
    decode_number,
    decode_values,
    decode_word,
)
from sim_devices.instruments.hioki_bt4560 import SimulatedBT4560
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

SWEEP = GalvanostaticImpedanceSweep(1000.0, 0.1, 5, 0.05, 0.0, 3.0, 4.2)
SHORT = GalvanostaticImpedanceSweep(1000.0, 100.0, 5, 0.05, 0.0, 3.0, 4.2)
SLOW = GalvanostaticImpedanceSweep(0.2, 0.1, 5, 0.05, 0.0, 3.0, 4.2)

#: Readings that TBMEIS shows, of a module at 1 kHz and at 0.1 Hz.
CAPTURED = {
    b"0.0065671,0.00282787,7.37814\r\n": [0.0065671, 0.00282787, 7.37814],
    b"0.0107295,-0.00461955,7.37794\r\n": [0.0107295, -0.00461955, 7.37794],
    b"0.00618469,-7.45E-06,7.37815\r\n": [0.00618469, -7.45e-6, 7.37815],
}


@pytest.fixture
def cell(clock):
    return BatteryCell(
        clock, capacity_Ah=5.0, ohmic_ohm=0.012, transfer_ohm=0.008, diffusion_ohm=0.006, diffusion_s=10.0
    )


@pytest.fixture
def simulated(clock, cell):
    return SimulatedBT4560(clock, cell)


@pytest.fixture
def meter(clock, wires, simulated):
    meter = HiokiBT4560(name="meter", address=wires.listen(simulated), clock=clock)
    meter.connect()
    yield meter
    meter.link.close()


def start(meter, task=SWEEP):
    flyer = meter.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def rows_of(meter, task=SWEEP):
    flyer = start(meter, task)
    flyer.complete().wait()
    return flyer.take_rows()


# --- the codec ---


@pytest.mark.parametrize("reply", CAPTURED)
def test_readings_of_a_public_client(reply):
    assert decode_values(reply, 1e8) == CAPTURED[reply]


def test_an_answer_that_the_maker_prints():
    assert decode_number(b"+1.06571E-03\r\n") == 1.06571e-3


def test_headers_are_taken_off():
    assert decode_word(b":FUNCTION RV\r\n") == decode_word(b"RV\r\n") == "RV"
    assert decode_number(b":FREQUENCY 0.1\r\n") == 0.1
    assert decode_events(b"*ESR 1\r\n")


@pytest.mark.parametrize(
    "word", ["+1.0000E+08", "-1.00000E+09", "+10.0000E+8", " 100.000E+8", "+1.0E+10", "****"]
)
def test_marks_of_an_overflow_are_no_numbers(word):
    (value,) = decode_values(word.encode() + b"\r\n", 1e8)
    assert math.isnan(value)


def test_words_come_in_short_or_long_form():
    for reply in (b"EXT\r\n", b"EXTERNAL\r\n", b":TRIGGER:SOURCE EXTERNAL\r\n"):
        assert decode_choice(reply, ("IMMediate", "EXTernal")) == "EXT"
    with pytest.raises(ProtocolError, match="none of"):
        decode_choice(b"EXTM\n", ("IMMediate", "EXTernal"))


def test_events_tell_that_all_is_over_or_what_went_wrong():
    assert decode_events(b"1\r\n")
    assert not decode_events(b"0\r\n")
    for bit, words in {4: "query", 8: "device", 16: "execution", 32: "command", 128: "power"}.items():
        with pytest.raises(Refusal, match=words):
            decode_events(f"{bit}\r\n".encode())
    confirm_events(b"1\r\n")
    for reply in (b"256\r\n", b"-1\r\n", b"OFF\r\n", b"\r\n", b"1,0\r\n"):
        with pytest.raises(ProtocolError):
            decode_events(reply)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (lambda d: decode_values(d, 1e8), decode_number, decode_events, decode_word):
        try:
            found = decode(data)
        except ProtocolError:
            continue
        if isinstance(found, list):
            assert all(math.isnan(x) or abs(x) < 1e8 for x in found)


@given(st.lists(st.floats(-9e7, 9e7), min_size=1, max_size=4))
def test_readings_round_trip(values):
    reply = ",".join(f"{value:+.5E}" for value in values).encode() + b"\r\n"
    assert decode_values(reply, 1e8) == pytest.approx(values, rel=1e-5)


# --- identity, limits, rest ---


def test_connecting_identifies_and_takes_the_current_away(meter, simulated):
    assert str(meter.identity) == "Hioki BT4560 (serial 141100001, firmware V1.05)"
    assert not simulated.signal_is_on
    assert simulated.settings[":FUNCtion"] == "V"
    assert meter.quality.get() == "ok"


def test_before_that_it_measures_by_itself(simulated):
    assert simulated.signal_is_on


def test_another_model_is_refused(clock, wires, simulated):
    simulated.identification = "HIOKI,BT3562,0,V1.00"
    meter = HiokiBT4560(name="meter", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'HIOKI BT3562', not Hioki BT4560"):
        meter.connect()


def test_the_voltage_at_rest_is_read_without_current(meter, simulated, cell):
    simulated.currents_applied_A.clear()
    meter.trigger().wait()
    assert meter.potential.get() == pytest.approx(cell.potential_V(), abs=1e-5)
    assert not simulated.currents_applied_A


def test_a_meter_that_measures_unasked_is_an_error(meter, simulated):
    simulated.settings[":FUNCtion"] = "RV"
    with pytest.raises(InstrumentError, match=r"meter at .*it may apply its current"):
        meter.trigger().wait()
    assert math.isnan(meter.potential.get())
    meter.stop()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (GalvanostaticImpedanceSweep(1000, 1, 5, 0.1, 0.0, 2, 4), "each range has its own, 1.5 A"),
        (GalvanostaticImpedanceSweep(1000, 1, 5, 0.056, 0.0, 2, 4), "within 10%"),
        (GalvanostaticImpedanceSweep(1000, 1, 5, 0.05, 0.01, 2, 4), "bias"),
        (GalvanostaticImpedanceSweep(2000, 1, 5, 0.05, 0.0, 2, 4), "0.1 to 1050 Hz"),
        (GalvanostaticImpedanceSweep(1000, 0.05, 5, 0.05, 0.0, 2, 4), "0.1 to 1050 Hz"),
        (GalvanostaticImpedanceSweep(1000, 0.1, 40, 0.05, 0.0, 2, 4), "closer than"),
        (GalvanostaticImpedanceSweep(1000, 0.1, 5, 0.05, 0.0, 2, 6), "5.1 V"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_sent(meter, task, words):
    with pytest.raises(LimitError, match=words):
        meter.flyer(task).prepare(task)


def test_it_does_not_apply_voltages(meter):
    with pytest.raises(TypeError, match="does GalvanostaticImpedanceSweep"):
        meter.flyer(ImpedanceSweep(1000, 1, 5, 0.01, 0.0))


def test_limits_of_the_station_hold(clock, wires, simulated):
    meter = HiokiBT4560(
        name="meter",
        address=wires.listen(simulated),
        clock=clock,
        limits={"sweep_current_amplitude": (0.0, 0.06)},
    )
    with pytest.raises(LimitError, match="amplitude"):
        meter.check_task(GalvanostaticImpedanceSweep(1000, 1, 5, 0.5, 0.0, 2, 4))


# --- spectra ---


def test_a_spectrum_is_that_of_the_cell(meter, simulated, cell):
    rows = rows_of(meter)
    assert len(rows) == SWEEP.points
    found = np.array([row.values["z_real"] + 1j * row.values["z_imag"] for row in rows])
    frequencies_Hz = np.array([row.values["frequency"] for row in rows])
    truth = cell.impedance(frequencies_Hz)
    assert np.all(
        np.abs(found - truth) <= 0.004 * np.abs(truth) + 8e-7
    )  # the maker: 0.4 % of reading, 8 digits
    assert np.all(found.imag < 0)
    assert frequencies_Hz == pytest.approx(SWEEP.frequencies_Hz(), rel=0.05)
    assert {row.values["status"] for row in rows} == {"ok"}
    assert meter.z_real.get() == rows[-1].values["z_real"]
    assert meter.frequency.get() == 0.1
    assert not simulated.signal_is_on


def test_times_are_those_at_which_points_became_complete(meter, clock):
    begin = clock.now()
    rows = rows_of(meter, SLOW)
    gaps_s = np.diff([begin, *(row.time for row in rows)])
    waves = np.array([2.5 / row.values["frequency"] for row in rows])
    assert np.all(gaps_s >= waves)
    assert np.all(gaps_s <= waves + 4.0)


@pytest.mark.parametrize(("amplitude_A", "applied_A"), [(0.05, 0.05), (0.046, 0.05), (0.52, 0.5), (1.5, 1.5)])
def test_the_amplitude_chooses_the_range(meter, simulated, amplitude_A, applied_A):
    simulated.currents_applied_A.clear()
    rows_of(meter, GalvanostaticImpedanceSweep(1000.0, 100.0, 2, amplitude_A, 0.0, 2.5, 4.2))
    assert simulated.currents_applied_A == {applied_A}


def test_it_stops_at_zero_crossings_and_limits_the_voltage(meter, simulated):
    start(meter, SHORT)
    assert simulated.is_on(":ZERO:CROSs")
    assert simulated.is_on(":LIMiter")


def test_an_impedance_beyond_the_range_is_no_number(meter, cell):
    cell.ohmic_ohm = 10.0
    rows = rows_of(meter, SHORT)
    assert {row.values["status"] for row in rows} == {"overload"}
    assert all(math.isnan(row.values["z_real"]) and math.isnan(row.values["z_imag"]) for row in rows)


def test_the_meters_voltage_limiter_gives_no_numbers(clock, wires, cell):
    simulated = SimulatedBT4560(clock, cell, limiter_V=3.5)
    meter = HiokiBT4560(name="meter", address=wires.listen(simulated), clock=clock)
    meter.connect()
    rows = rows_of(meter, SHORT)
    assert {row.values["status"] for row in rows} == {"overload"}
    meter.link.close()


def test_a_cell_outside_the_window_gets_no_current(meter, simulated):
    task = GalvanostaticImpedanceSweep(1000.0, 100.0, 5, 0.05, 0.0, 3.9, 4.2)
    simulated.currents_applied_A.clear()
    with pytest.raises(InstrumentError, match=r"outside the window from 3\.9 to 4.2 V"):
        start(meter, task)
    assert not simulated.currents_applied_A


def test_a_cell_that_leaves_the_window_ends_the_spectrum(meter, simulated, cell, pass_time):
    status = start(meter).complete()
    pass_time(5.0)
    cell.state_of_charge = 0.001
    with pytest.raises(InstrumentError, match="outside the window"):
        status.wait()
    assert not simulated.signal_is_on


def test_a_point_that_lasts_long_can_be_stopped_in_between(meter, simulated, clock, pass_time):
    status = start(meter, SLOW).complete()
    pass_time(3.0)
    assert simulated.signal_is_on
    before = clock.now()
    meter.stop()
    assert clock.now() - before < 5.0
    assert not simulated.signal_is_on
    with pytest.raises(MeasurementStopped):
        status.wait()
    meter.make_safe()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_the_worker_is_free_while_a_point_lasts(meter, clock, pass_time):
    start(meter, SLOW)
    pass_time(3.0)
    before = clock.now()
    meter.do("look", lambda: None).wait()
    assert clock.now() - before < 1.0
    meter.make_safe()


# --- what goes wrong ---


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_survived_and_never_a_wrong_number(meter, simulated, cell, fault):
    simulated.break_wire(fault)
    for _ in range(3):
        meter.trigger().wait()
        assert meter.potential.get() == pytest.approx(cell.potential_V(), abs=1e-4)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_an_error_with_what_to_try(meter, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"meter at TCPIP.*; check"):
        meter.trigger().wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_spectrum_never_gives_a_wrong_number(meter, simulated, cell, pass_time, fault):
    flyer = start(meter, SHORT)
    status = flyer.complete()
    simulated.break_wire(fault)
    with contextlib.suppress(LinkError):
        status.wait()
    for row in flyer.take_rows():
        truth = cell.impedance(np.array([row.values["frequency"]]))[0]
        assert complex(row.values["z_real"], row.values["z_imag"]) == pytest.approx(truth, rel=1e-3)
    pass_time(30.0)
    assert not simulated.signal_is_on


@pytest.mark.parametrize("breakdown", ["busy", "error"])
def test_a_breakdown_is_an_error_naming_the_device(meter, simulated, breakdown):
    simulated.break_down(breakdown)
    with pytest.raises(LinkError, match="meter at TCPIP"):
        meter.trigger().wait()
    simulated.mend()
    meter.make_safe()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_a_voltage_beyond_range_is_no_number(meter, simulated):
    simulated.break_down("over_range")
    meter.trigger().wait()
    assert math.isnan(meter.potential.get())
    assert meter.quality.get() == "saturated"
    simulated.mend()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_a_fault_of_the_meter_ends_a_spectrum(meter, simulated, pass_time):
    status = start(meter).complete()
    pass_time(5.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="device error"):
        status.wait()
    simulated.mend()
    pass_time(10.0)
    assert not simulated.signal_is_on


def test_lost_power_at_rest_is_told_until_it_is_safe_again(meter, simulated):
    simulated.power_cycle()
    with pytest.raises(LinkError, match="meter at"):
        meter.trigger().wait()
    meter.make_safe()
    meter.trigger().wait()
    assert meter.quality.get() == "ok"
    assert not simulated.signal_is_on


def test_lost_power_ends_a_spectrum(meter, simulated, pass_time):
    status = start(meter, SLOW).complete()
    pass_time(3.0)
    simulated.power_cycle()
    with pytest.raises(LinkError, match="lost its power"):
        status.wait()
    pass_time(10.0)
    assert not simulated.signal_is_on


# --- the simulated instrument, in the words of others ---


def talk(simulated, clock, text):
    """Send a text, and give what it answers with the time that it takes."""
    buffer = bytearray(text.encode())
    return [(reply.decode().strip(), simulated.latency_s) for reply in simulated.receive(buffer)]


def test_what_a_public_client_sends(simulated, clock, cell):
    """TBMEIS: initialisation, and one frequency."""
    initialisation = (
        "*RST", "SYSTEM:BEEPER OFF", "FUNCTION RV", "RANGE 30.0E-3", "SAMPLE:RATE V,MED", "SAMPLE:RATE Z,MED",
        "SAMPLE:DELAY:MODE WAVE", "SAMP:DELAY:WAVE 0.5", "LIMITER OFF", "ZERO:CROSS ON",
        "CALCULATE:AVERAGE 1", "ADJUST:SLOPE ON", "TRIGGER:SOURCE EXT", "INITIATE:CONTINUOUS ON", "FREQ 0.1",
    )  # fmt: skip
    assert talk(simulated, clock, "".join(f"{command}\r\n" for command in initialisation)) == []
    assert talk(simulated, clock, "*ESR?\r\n")[0][0] == "128"  # nothing but that it was switched on
    assert not simulated.signal_is_on
    ((reply, wait_s),) = talk(simulated, clock, "*TRG;*WAI;FETCH?\r\n")
    real, imag, volts = map(float, reply.split(","))
    assert complex(real, imag) == pytest.approx(cell.impedance(np.array([0.1]))[0], rel=1e-4)
    assert volts == pytest.approx(cell.potential_V(), abs=1e-4)
    assert 20.0 < wait_s < 50.0  # the client waits 50 s


def test_what_another_public_client_sends(simulated, clock):
    lines = (
        "*CLS", ":FUNC  RV", ":FREQ 1000", ":MEAS:VAL 1", ":TRIG:SOUR IMM", ":AUT OFF", "RANG 1E-3",
        ":INIT:CONT ON", "SAMP:RATE Z, SLOW", "SAMP:RATE V, FAST",
    )  # fmt: skip
    assert talk(simulated, clock, "".join(f"{line}\r\n" for line in lines)) == []
    assert talk(simulated, clock, "*ESR?\r\n")[0][0] == "0"
    assert talk(simulated, clock, ":RANG?\r\n")[0][0] == "3.00000E-03"
    assert len(talk(simulated, clock, ":FETC?\r\n")[0][0].split(",")) == 3


def test_errors_are_in_the_register_and_not_in_answers(simulated, clock):
    talk(simulated, clock, "*CLS\r\n")
    for line, bit in ((":NONSENSE 1", "32"), (":FREQ 5000", "16"), ("*TRG", "16"), (":SYST:ERR?", "32")):
        assert talk(simulated, clock, f"{line}\r\n") == []
        assert talk(simulated, clock, "*ESR?\r\n*ESR?\r\n") == [(bit, 0.004), ("0", 0.004)]


def test_headers_go_before_answers_when_they_are_on(simulated, clock):
    assert talk(simulated, clock, ":SYST:HEAD ON\r\n:FUNC?\r\n*IDN?\r\n")[0][0] == ":FUNCTION RV"


def test_completion_is_told_when_a_measurement_is_over(simulated, clock, pass_time):
    talk(simulated, clock, "*CLS\r\n:INIT:CONT OFF\r\n:FREQ 0.1\r\n:INIT\r\n*OPC\r\n")
    assert talk(simulated, clock, "*ESR?\r\n")[0][0] == "0"
    pass_time(15.0)
    assert talk(simulated, clock, "*ESR?\r\n:ESR0?\r\n")[0][0] == "0"
    pass_time(10.0)
    assert [reply for reply, _ in talk(simulated, clock, "*ESR?\r\n:ESR0?\r\n:ESR0?\r\n")] == ["1", "3", "0"]
