import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    LinearSweep,
    OpenCircuit,
)
from devices.flyer import MeasurementStopped
from devices.keithley import Sample
from devices.keithley_2400 import Keithley2400, decode_samples
from sim_devices.instruments.keithley_2400 import SimulatedKeithley2400
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, WrongInstrument

REST = OpenCircuit(20.0, 0.5)
CHARGE = ConstantCurrent(1e-3, 20.0, 0.5, 2.5, 4.2)
SWEEP = LinearSweep(3.7, 3.9, 0.01, 0.02, 50e-3)
CYCLES = CyclicVoltammetry(3.8, 3.9, 3.7, 0.01, 0.02, 2, 50e-3)

# captured from an instrument (github.com/SiLab-Bonn/basil, issue 121): -2 V sourced, 15 nA measured
CAPTURED = b"-2.000000E+00,-1.470096E-08,+9.910000E+37,+6.860023E+03,+2.151000E+04\r"


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedKeithley2400(clock, cell)


@pytest.fixture
def smu(clock, wires, simulated):
    smu = Keithley2400(name="smu", address=wires.listen(simulated), clock=clock)
    smu.connect()
    yield smu
    smu.link.close()


def start(smu, task):
    flyer = smu.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def run(smu, task):
    """Have a technique done, and give its rows as columns."""
    flyer = start(smu, task)
    flyer.complete().wait()
    return columns(flyer)


def columns(flyer):
    rows = flyer.take_rows()
    found = {
        name: np.array([row.values[name] for row in rows]) for name in ("potential", "current", "status")
    }
    return {**found, "time": np.array([row.time for row in rows])}


def say(simulated, text):
    return b"".join(simulated.receive(bytearray(text.encode() + b"\n"))).decode().strip()


# --- codec ---


def test_a_reply_captured_from_an_instrument():
    voltage, current, _, stamp, status = CAPTURED.removesuffix(b"\r").split(b",")
    (sample,) = decode_samples(b",".join([voltage, current, stamp, status]) + b"\r", 1)
    assert (sample.voltage_V, sample.current_A, sample.limited) == (-2.0, -1.470096e-08, False)
    assert sample.time_s == pytest.approx(6860.023 * 1000 / 1024)


@pytest.mark.parametrize("bit", [3, 4, 16])
def test_compliance_and_protection_are_limits(bit):
    reply = f"+3.8E+00,+1.0E-03,+1.0E+00,{float(1 << bit):+.6E}\n".encode()
    assert decode_samples(reply, 1)[0].limited


def test_an_overflow_is_no_number():
    (sample,) = decode_samples(b"+9.900000E+37,+1.0E-03,+1.0E+00,+2.151000E+04\n", 1)
    assert math.isnan(sample.voltage_V)


@given(st.binary(max_size=80), st.integers(1, 3))
def test_any_bytes_are_readings_or_a_protocol_error(data, count):
    try:
        samples = decode_samples(data, count)
    except ProtocolError:
        return
    assert len(samples) == count


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(-1, 1), st.floats(0, 9e4)), min_size=1, max_size=5))
def test_readings_round_trip(readings):
    reply = ",".join(f"{v:+.6E},{i:+.6E},{t:+.6E},+2.151000E+04" for v, i, t in readings).encode() + b"\n"
    for sample, (voltage_V, current_A, _) in zip(decode_samples(reply, len(readings)), readings, strict=True):
        assert sample.voltage_V == pytest.approx(voltage_V, rel=1e-6)
        assert sample.current_A == pytest.approx(current_A, rel=1e-6)


# --- connecting ---


def test_connect_identifies_and_reads_the_potential_at_no_current(smu, simulated, cell):
    assert str(smu.identity).startswith("Keithley 2400 (serial 1234567, firmware C30   Mar 17 2006")
    assert smu.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert (smu.quality.get(), smu.output.get()) == ("ok", 0.0)
    assert not simulated.stage.output


def test_connect_brings_off_state_protection_and_four_wires_into_the_instrument(smu, simulated):
    assert say(simulated, ":OUTP:SMOD?") == "HIMP"
    assert float(say(simulated, ":SOUR:VOLT:PROT?")) == 20.0
    assert say(simulated, ":SYST:RSEN?") == "1"


def test_another_model_is_refused(clock, wires, simulated):
    simulated.identification = "KEITHLEY INSTRUMENTS INC.,MODEL 2410,1234567,C30"
    smu = Keithley2400(name="smu", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="MODEL 2410', not 2400"):
        smu.connect()


# --- techniques ---


def test_open_circuit_keeps_its_schedule_by_a_clock_that_is_fast(smu, cell, clock):
    flyer = start(smu, REST)
    begin = clock.now()
    flyer.complete().wait()
    found = columns(flyer)
    assert len(found["time"]) == 40
    assert found["time"][-1] - begin == pytest.approx(20.0, abs=0.3)
    between_groups_s, *within = sorted(np.diff(found["time"]), reverse=True)
    assert between_groups_s < 0.7
    assert np.array(within) == pytest.approx(0.5, abs=0.02)
    assert found["potential"] == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert abs(cell.charge_Ah) < 1e-9


def test_constant_current_charges_with_a_positive_sign(smu, cell):
    found = run(smu, CHARGE)
    assert len(found["time"]) == 40
    assert found["current"] == pytest.approx(1e-3, rel=1e-3)
    assert cell.charge_Ah == pytest.approx(1e-3 * 20.0 / 3600, rel=0.05)


def test_a_long_course_is_in_time(smu, clock):
    begin = clock.now()
    found = run(smu, ConstantCurrent(1e-4, 1200.0, 1.0, 2.5, 4.2))
    assert len(found["time"]) == 1200
    assert found["time"][-1] - begin == pytest.approx(1200.0, abs=1.0)
    assert np.all(np.diff(found["time"]) > 0)


def test_discharge_ends_at_the_lower_edge_of_the_window(smu, simulated):
    found = run(smu, ConstantCurrent(-8e-3, 36000.0, 10.0, 3.5, 4.2))
    assert found["potential"][-1] < 3.5 < found["potential"][-2]
    assert not simulated.stage.output


def test_charge_is_clamped_at_the_upper_edge_of_the_window_and_ends(smu):
    found = run(smu, ConstantCurrent(8e-3, 36000.0, 10.0, 2.5, 4.0))
    assert found["potential"].max() == pytest.approx(4.0, abs=1e-3)
    assert set(found["status"]) == {"ok"}
    assert np.count_nonzero(found["current"] < 7.99e-3) <= 1


def test_a_cell_outside_the_window_is_not_clamped_into_it(smu, simulated, cell):
    with pytest.raises(InstrumentError, match=r"outside the window of 2 to 3 V"):
        start(smu, ConstantCurrent(1e-3, 20.0, 0.5, 2.0, 3.0))
    assert not simulated.stage.output
    assert abs(cell.charge_Ah) < 1e-9


def test_constant_potential_with_an_end_current(smu):
    found = run(smu, ConstantPotential(3.9, 3600.0, 0.5, 20e-3, 4e-3))
    assert found["current"][-1] < 4e-3 < found["current"][-2]


def test_a_compliance_that_is_reached_is_an_overload(smu):
    found = run(smu, ConstantPotential(4.2, 5.0, 0.5, 1e-3))
    assert set(found["status"]) == {"overload"}


@pytest.mark.parametrize("task", [SWEEP, CYCLES], ids=["sweep", "cycles"])
def test_sweeps(smu, task):
    found = run(smu, task)
    legs = (3.7, 3.9) if task is SWEEP else (3.8, 3.9, 3.7, 3.9, 3.7, 3.8)
    wanted = [legs[0]] if task is SWEEP else []
    for a, b in itertools.pairwise(legs):
        wanted += list(np.linspace(a, b, round(abs(b - a) / 0.01) + 1)[1:])
    assert found["potential"] == pytest.approx(wanted, abs=1e-3)
    assert found["time"][-1] - found["time"][0] == pytest.approx(0.5 * (len(wanted) - 1), abs=0.6)


def test_time_stamps_that_begin_again_go_on(smu):
    smu._stamp_s = 97_655.0
    stamps_s = [97_656.0, 0.5, 1.0]  # the stamp begins again at 99 999.999 seconds of 1000 ticks
    found = smu._unwrapped([Sample(stamp_s, 3.8, 0.0, False) for stamp_s in stamps_s])
    assert [sample.time_s for sample in found] == pytest.approx([97_656.0, 97_656.75, 97_657.25], abs=0.01)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (OpenCircuit(10.0, 0.05), "0.05 s between readings is not allowed"),
        (OpenCircuit(10_000.0, 1000.0), "1000 s between readings is not allowed"),
        (ConstantPotential(11.0, 10.0, 0.5, 0.01), "smu_applied_potential: 11.0 V"),
    ],
)
def test_what_the_unit_can_not_do_is_refused(smu, task, message):
    with pytest.raises(LimitError, match=message):
        smu.flyer(task).prepare(task)


# --- safe state and faults ---


def test_safe_state_in_the_middle_of_a_group(smu, simulated, cell, clock, pass_time):
    flyer = start(smu, CHARGE)
    pass_time(5.1)
    assert simulated.stage.output
    begin = clock.monotonic()
    smu.make_safe()
    assert clock.monotonic() - begin < smu.action_timeout_s
    assert not simulated.stage.output
    assert say(simulated, ":OUTP:SMOD?") == "HIMP"
    with pytest.raises(MeasurementStopped):
        flyer.complete().wait()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(smu, simulated, cell, fault):
    simulated.break_wire(fault)
    for _ in range(3):
        smu.trigger().wait()
        assert smu.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
        assert not simulated.stage.output


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_course_ends_it_with_the_output_off(smu, simulated, pass_time, fault):
    flyer = start(smu, CHARGE)
    pass_time(3.0)
    simulated.break_wire(fault)
    try:
        flyer.complete().wait()
    except LinkError:
        pass
    else:
        assert len(flyer.run.rows) == 40
    pass_time(10.0)
    assert columns(flyer)["current"] == pytest.approx(1e-3, rel=1e-3)
    assert not simulated.stage.output


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(smu, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"smu at TCPIP.*; check"):
        smu.trigger().wait()


def test_a_busy_unit_does_not_answer(smu, simulated):
    simulated.break_down("busy")
    with pytest.raises(LinkError, match=r"smu at .*no reply"):
        smu.trigger().wait()
    simulated.mend()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_too_hot_is_told_in_the_words_of_the_manual(smu, simulated):
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="reports error 810: OUTPUT blocked by Over Temp"):
        smu.trigger().wait()
    simulated.mend()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_a_voltage_beyond_the_range_is_no_number(smu, simulated):
    simulated.break_down("over_range")
    smu.trigger().wait()
    assert math.isnan(smu.potential.get())
    assert smu.quality.get() != "ok"
    simulated.mend()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_a_power_cycle_in_a_course_is_an_error_and_the_cell_is_disconnected_again(smu, simulated, pass_time):
    flyer = start(smu, CHARGE)
    pass_time(5.0)
    simulated.power_cycle()
    assert simulated.stage.off_state["CURR"] == "NORM"
    with pytest.raises(LinkError):
        flyer.complete().wait()
    assert simulated.stage.off_state["CURR"] == "HIMP"
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


# --- the simulated instrument ---


def test_a_reading_with_the_output_off_is_an_error_and_no_answer(simulated):
    assert say(simulated, ":READ?") == ""
    assert say(simulated, ":SYST:ERR?") == '+803,"Not permitted with OUTPUT off"'
    assert say(simulated, ":SYST:ERR?") == '+0,"No error"'


def test_commands_wait_while_readings_are_taken_and_an_abort_does_not(simulated, clock):
    for text in (":SYST:RSEN ON", ":OUTP ON", ":TRIG:COUN 100"):
        say(simulated, text)
    assert say(simulated, ":READ?") == ""
    assert say(simulated, ":OUTP?") == ""
    clock.sleep(3.0)
    first, second = (reply.decode().strip() for reply in simulated.unsolicited())
    assert len(first.split(",")) == 500
    assert second == "1"
    say(simulated, ":READ?")
    say(simulated, ":ABOR")
    assert say(simulated, ":OUTP?") == "1"


def test_the_interlock_blocks_the_output(simulated):
    say(simulated, ":OUTP:INT:STAT ON")
    say(simulated, ":OUTP ON")
    assert say(simulated, ":SYST:ERR?") == '+802,"OUTPUT blocked by interlock"'
    assert say(simulated, ":OUTP?") == "0"


def test_a_measurement_of_one_function_sets_its_limit_back(simulated, clock):
    """As reported in github.com/SiLab-Bonn/basil, issue 121."""
    say(simulated, ":SENS:CURR:PROT 1E-6")
    say(simulated, ":MEAS:CURR?")
    clock.sleep(1.0)
    assert list(simulated.unsolicited())
    assert say(simulated, ":SENS:CURR:PROT?") == "1.050000E-04"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SOUR:VOLT 211", "-222"),
        ("TRIG:COUN 2501", "-222"),
        ("ARM:COUN 2500;:TRIG:COUN 2", "-221"),
        ("OUTP:SMOD OPEN", "-140"),
        ("FOO", "-113"),
        ("TRAC:DATA?", "-230"),
    ],
)
def test_what_the_simulated_instrument_refuses(simulated, text, code):
    say(simulated, "*CLS")
    say(simulated, text)
    assert say(simulated, "SYST:ERR?").startswith(code)


def test_a_public_client_drives_the_simulated_instrument():
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedKeithley2400(clock, BatteryCell(clock))
    address = wires.listen(simulated)
    client = f"""
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments.keithley import Keithley2400
adapter = VISAAdapter("{address}", visa_library="@py", read_termination="\\n", write_termination="\\n",
                      timeout=20000)
smu = Keithley2400(adapter)
smu.output_off_state = "disconnected"
smu.wires = 4
smu.source_mode = "current"
smu.compliance_voltage = 4.5
smu.source_current = 1e-3
smu.source_enabled = True
print(smu.output_off_state, smu.wires, smu.compliance_voltage, smu.source_enabled)
reading = smu.measure_all()
print(round(reading["voltage"], 2), round(reading["current"], 5), smu.check_errors())
smu.config_buffer(5)
smu.start_buffer()
smu.wait_for_buffer()
print(len(smu.buffer_data), smu.check_errors())
smu.write(":FOO")
print(smu.check_errors())
smu.shutdown()
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "disconnected 4 4.5 True"
    assert lines[1] == "3.82 0.001 []"
    assert lines[2] == "25 []"
    assert "Undefined header" in lines[3]
    assert not simulated.stage.output


def said(simulated, line):
    return b"".join(simulated.receive(bytearray(line.encode() + b"\n"))).decode().strip()


@pytest.mark.parametrize(
    ("function", "asked", "full_scale"),
    [("VOLT", 3.3, 20), ("VOLT", -20.5, 20), ("CURR", 2e-3, 0.01), ("CURR", 1e-3, 1e-3), ("RES", 4700, 20e3)],
)
def test_a_fixed_measuring_range_is_the_smallest_that_holds_the_value(simulated, function, asked, full_scale):
    said(simulated, f":SENS:{function}:RANG {asked}")
    assert float(said(simulated, f":SENS:{function}:RANG?")) == pytest.approx(1.05 * full_scale)
    assert said(simulated, f":SENS:{function}:RANG:AUTO?") == "0"
    said(simulated, f":SENS:{function}:RANG:AUTO ON")
    assert said(simulated, f":SENS:{function}:RANG:AUTO?") == "1"


def test_the_automatic_measuring_range_is_one_that_the_model_has(simulated):
    assert float(said(simulated, ":SENS:VOLT:RANG?")) == pytest.approx(1.05 * 20)
    assert float(said(simulated, ":SENS:CURR:RANG?")) in (
        pytest.approx(1.05 * full) for full in (1e-6, 1e-5, 1e-4)
    )
    said(simulated, "*RST")
    assert said(simulated, ":SENS:VOLT:RANG:AUTO?") == "1"


def test_the_lowest_source_ranges_are_those_of_the_model(simulated):
    said(simulated, ":SOUR:VOLT:RANG 0.001")
    said(simulated, ":SOUR:CURR:RANG 1e-9")
    assert float(said(simulated, ":SOUR:VOLT:RANG?")) == pytest.approx(0.21)
    assert float(said(simulated, ":SOUR:CURR:RANG?")) == pytest.approx(1.05e-6)
