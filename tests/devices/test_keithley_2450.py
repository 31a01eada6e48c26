import math
import subprocess
import sys

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import preprocessors as bpp
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    ImpedanceSweep,
    LinearSweep,
    OpenCircuit,
)
from devices.flyer import MeasurementStopped
from devices.keithley import course_of, decode_off_state, decode_output
from devices.keithley_2450 import Keithley2450, decode_samples, decode_state
from plans.stubs import measure
from sim_devices.instruments.keithley_2450 import SimulatedKeithley2450
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument

REST = OpenCircuit(10.0, 0.5)
CHARGE = ConstantCurrent(1e-3, 20.0, 0.5, 2.5, 4.2)
HOLD = ConstantPotential(3.9, 20.0, 0.5, 20e-3)
SWEEP = LinearSweep(3.7, 3.9, 0.01, 0.02, 50e-3)
CYCLES = CyclicVoltammetry(3.8, 3.9, 3.7, 0.01, 0.02, 2, 50e-3)


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedKeithley2450(clock, cell)


@pytest.fixture
def smu(clock, wires, simulated):
    smu = Keithley2450(name="smu", address=wires.listen(simulated), clock=clock)
    smu.connect()
    yield smu
    smu.link.close()


@pytest.fixture
def RE(clock):
    RE = RunEngine(loop=clock.loop, context_managers=[])

    def follow(new, old):
        if new == "running":
            clock.resume()
        elif old == "running":
            clock.hold()

    RE.state_hook = follow
    return RE


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
    names = ("potential", "current")
    found = {name: np.array([row.values[name] for row in rows]) for name in names}
    found["status"] = [row.values["status"] for row in rows]
    found["time"] = np.array([row.time for row in rows])
    return found


def say(simulated, text):
    return b"".join(simulated.receive(bytearray(text.encode() + b"\n"))).decode().strip()


# --- codec ---


def test_readings_in_the_order_of_what_is_sourced():
    reply = b"0.000000,3.800000E+00,1.000000E-03,192,0.500000,3.900000E+00,2.000000E-03,224\n"
    first, second = decode_samples(reply, 2, "VOLT")
    assert (first.time_s, first.voltage_V, first.current_A, first.limited) == (0.0, 3.8, 1e-3, False)
    assert second.limited
    assert decode_samples(reply, 2, "CURR")[0].voltage_V == 1e-3


def test_an_overflow_is_no_number():
    (sample,) = decode_samples(b"0.0,1.0E-03,9.9E+37,192\n", 1, "CURR")
    assert math.isnan(sample.voltage_V)


def test_too_hot_is_told():
    with pytest.raises(Refusal, match="too hot"):
        decode_samples(b"0.0,1.0E-03,3.8,208\n", 1, "CURR")


def test_state_printed_by_the_maker():
    assert decode_state(b"IDLE;IDLE;9\n") == "IDLE"
    with pytest.raises(ProtocolError):
        decode_state(b"SLEEPING;SLEEPING;1\n")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (
        lambda reply: decode_samples(reply, 1, "VOLT"), decode_state, decode_off_state, decode_output
    ):  # fmt: skip
        try:
            decode(data)
        except ProtocolError:
            pass


@given(st.floats(0, 1e5), st.floats(-20, 20), st.floats(-1, 1), st.booleans())
def test_readings_round_trip(time_s, voltage_V, current_A, limited):
    reply = f"{time_s:.6f},{voltage_V:.6E},{current_A:.6E},{224 if limited else 192}\n".encode()
    (sample,) = decode_samples(reply, 1, "VOLT")
    assert sample.voltage_V == pytest.approx(voltage_V, rel=1e-6)
    assert sample.current_A == pytest.approx(current_A, rel=1e-6)
    assert sample.limited is limited


def test_a_cycle_comes_back_to_its_start():
    course = course_of(CYCLES, 10.0)
    assert len(course.steps) == 40
    assert (max(course.steps), min(course.steps), course.steps[-1]) == pytest.approx((3.9, 3.7, 3.8))
    assert course.readings == 80
    assert np.abs(np.diff((course.start, *course.steps))) == pytest.approx(0.01)


# --- connecting ---


def test_connect_identifies_and_reads_the_potential_at_no_current(smu, simulated, cell):
    assert str(smu.identity) == "Keithley 2450 (serial 04096331, firmware 1.6.7c)"
    assert smu.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert (smu.quality.get(), smu.output.get(), smu.current.get()) == ("ok", 0.0, 0.0)
    assert abs(cell.charge_Ah) < 1e-9
    assert not simulated.stage.output


def test_connect_brings_off_state_protection_and_four_wires_into_the_instrument(smu, simulated):
    assert simulated.stage.off_state == {"VOLT": "HIMP", "CURR": "HIMP"}
    assert say(simulated, ":SOUR:VOLT:PROT?") == "PROT20"
    assert say(simulated, ":SENS:VOLT:RSEN?") == say(simulated, ":SENS:CURR:RSEN?") == "1"


def test_the_limits_of_the_station_choose_the_protection(clock, wires, simulated):
    smu = Keithley2450(
        name="smu",
        address=wires.listen(simulated),
        clock=clock,
        limits={"applied_potential": (0.0, 4.5), "applied_current": (-0.02, 0.02)},
    )
    smu.connect()
    assert say(simulated, ":SOUR:VOLT:PROT?") == "PROT5"
    with pytest.raises(LimitError, match=r"smu_applied_current: 0\.03 A"):
        smu.flyer(CHARGE).prepare(ConstantCurrent(0.03, 20.0, 0.5, 2.5, 4.2))
    smu.link.close()


def test_another_model_is_refused(clock, wires, simulated):
    simulated.identification = "KEITHLEY INSTRUMENTS,MODEL 2460,04096331,1.6.7c"
    smu = Keithley2450(name="smu", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'KEITHLEY INSTRUMENTS MODEL 2460', not 2450"):
        smu.connect()


def test_another_command_set_is_refused_with_what_to_do(clock, wires, cell):
    simulated = SimulatedKeithley2450(clock, cell, language="SCPI2400")
    smu = Keithley2450(name="smu", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="command set SCPI2400: set it to SCPI"):
        smu.connect()


def test_the_normal_off_state_discharges_a_cell_and_high_impedance_does_not(clock, simulated, cell):
    for text in ("SOUR:FUNC CURR", "SOUR:CURR 0.01", "SOUR:CURR:VLIM 4.5", "OUTP ON", "OUTP OFF"):
        say(simulated, text)
    charge_Ah = cell.charge_Ah
    clock.sleep(3600.0)
    cell.read()
    assert cell.charge_Ah - charge_Ah == pytest.approx(-1e-3, rel=0.01)  # a tenth of the 10 mA range
    say(simulated, "OUTP:SMOD HIMP")
    charge_Ah = cell.charge_Ah
    clock.sleep(3600.0)
    cell.read()
    assert cell.charge_Ah == charge_Ah


def test_an_off_state_that_does_not_stay_is_an_error(smu, simulated, monkeypatch):
    monkeypatch.setattr(simulated, "_set_off_state", lambda *_: None)
    simulated.commands[":OUTPut[1]:SMODe"] = lambda word: None
    simulated._table = []
    simulated.power_cycle()
    with pytest.raises(InstrumentError, match="output-off state is NORM, not high impedance"):
        smu.make_safe()


# --- techniques ---


def test_open_circuit(smu, cell):
    found = run(smu, REST)
    assert len(found["time"]) == 20
    assert np.diff(found["time"]) == pytest.approx(0.5, abs=1e-6)
    assert found["potential"] == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert found["current"] == pytest.approx(0.0, abs=1e-12)
    assert set(found["status"]) == {"ok"}
    assert abs(cell.charge_Ah) < 1e-9


def test_constant_current_charges_with_a_positive_sign(smu, cell):
    found = run(smu, CHARGE)
    assert len(found["time"]) == 40
    assert found["current"] == pytest.approx(1e-3, rel=1e-3)
    assert cell.charge_Ah == pytest.approx(1e-3 * 20.0 / 3600, rel=0.02)
    assert found["potential"][-1] > cell.open_circuit_V() > 3.8
    assert smu.potential.get() == pytest.approx(cell.potential_V(), abs=1e-3)  # at rest again


def test_discharge_ends_in_the_instrument_at_the_lower_edge_of_the_window(smu, simulated, cell):
    found = run(smu, ConstantCurrent(-8e-3, 36000.0, 10.0, 3.5, 4.2))
    assert found["potential"][-1] < 3.5 < found["potential"][-2]
    assert found["current"] == pytest.approx(-8e-3, rel=1e-3)
    assert set(found["status"]) == {"ok"}
    assert not simulated.stage.output


def test_charge_is_clamped_at_the_upper_edge_of_the_window_and_ends(smu, cell):
    found = run(smu, ConstantCurrent(8e-3, 36000.0, 10.0, 2.5, 4.0))
    assert found["potential"].max() == pytest.approx(4.0, abs=1e-3)
    assert found["time"][-1] - found["time"][0] < 18000.0
    assert np.count_nonzero(found["current"] < 7.99e-3) <= 1


def test_a_cell_outside_the_window_is_not_clamped_into_it(smu, simulated, cell):
    with pytest.raises(InstrumentError, match=r"the cell is at 3\.80.* V, outside the window of 2 to 3 V"):
        start(smu, ConstantCurrent(1e-3, 20.0, 0.5, 2.0, 3.0))
    assert not simulated.stage.output
    assert abs(cell.charge_Ah) < 1e-9


def test_constant_potential_with_an_end_current(smu, simulated, cell):
    found = run(smu, ConstantPotential(3.9, 3600.0, 0.5, 20e-3, 4e-3))
    assert found["current"][-1] < 4e-3 < found["current"][-2]
    assert found["potential"] == pytest.approx(3.9, abs=1e-3)
    assert not simulated.stage.output


def test_a_compliance_that_is_reached_is_an_overload(smu):
    found = run(smu, ConstantPotential(4.2, 5.0, 0.5, 1e-3))
    assert set(found["status"]) == {"overload"}
    assert found["current"] == pytest.approx(1e-3, rel=1e-3)


def test_linear_sweep(smu):
    found = run(smu, SWEEP)
    assert found["potential"] == pytest.approx(np.linspace(3.7, 3.9, 21), abs=1e-3)
    assert np.diff(found["time"]) == pytest.approx(0.5, abs=1e-6)
    assert found["current"][0] < 0 < found["current"][-1]


def test_cyclic_voltammetry(smu):
    found = run(smu, CYCLES)
    assert found["potential"] == pytest.approx(course_of(CYCLES, 10.0).steps * 2, abs=1e-3)


def test_a_long_list_is_uploaded_in_parts(smu, simulated):
    found = run(smu, LinearSweep(3.7, 3.9, 0.0005, 0.01, 50e-3))
    assert found["potential"] == pytest.approx(np.linspace(3.7, 3.9, 401), abs=1e-3)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (OpenCircuit(10.0, 0.01), "0.01 s between readings is not allowed"),
        (ConstantPotential(11.0, 10.0, 0.5, 0.01), "smu_applied_potential: 11.0 V"),
        (ConstantPotential(3.0, 10.0, 0.5, 2.0), "smu_applied_current: 2.0 A"),
        (ConstantPotential(3.0, 10.0, 0.5, 1e-10), "a limit of 1e-10 A is below the smallest"),
        (LinearSweep(0.0, 5.0, 0.001, 0.01, 0.01), "5001 readings with 5001 steps"),
    ],
)
def test_what_the_unit_can_not_do_is_refused_before_anything_is_sent(smu, simulated, task, message):
    with pytest.raises(LimitError, match=message):
        smu.flyer(task).prepare(task)
    with pytest.raises(TypeError, match=r"\(source-measure unit\) does OpenCircuit"):
        smu.flyer(ImpedanceSweep(1e3, 1.0, 5, 0.01, 3.8))


def test_limits_are_read_back_before_the_output_goes_on(smu, simulated, monkeypatch):
    ons = []
    monkeypatch.setattr(simulated.stage, "set_output", lambda on, at_s=None: ons.append(on))
    simulated.commands[":SOURce[1]:VOLTage:ILIMit[:LEVel]"] = lambda word: None
    simulated._table = []
    with pytest.raises(InstrumentError, match=r"its limit is 0\.000105, not 0\.02"):
        start(smu, HOLD)
    assert True not in ons


def test_the_stream_of_a_plan(smu, RE):
    documents = []
    RE(bpp.run_wrapper(measure(smu, CHARGE, "charge")), lambda name, doc: documents.append((name, doc)))
    (descriptor,) = [d for name, d in documents if name == "descriptor"]
    assert descriptor["data_keys"]["smu_current"]["units"] == "A"
    assert descriptor["configuration"]["smu"]["data"]["smu_applied_current"] == 1e-3
    pages = [d for name, d in documents if name == "event_page"]
    assert sum(len(page["seq_num"]) for page in pages) == 40


# --- safe state and faults ---


def test_every_number_has_a_unit_and_a_time(smu, clock):
    clock.sleep(100.0)
    smu.trigger().wait()
    for name, reading in smu.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.5), name
    assert smu.describe()["smu_potential"]["units"] == "V"


def test_safe_state_in_the_middle_of_a_course(smu, simulated, cell, clock, pass_time):
    flyer = start(smu, CHARGE)
    pass_time(5.0)
    assert simulated.stage.output
    smu.make_safe()
    assert not simulated.stage.output
    assert simulated.stage.off_state["CURR"] == "HIMP"
    with pytest.raises(MeasurementStopped):
        flyer.complete().wait()
    charge_Ah = cell.charge_Ah
    clock.sleep(3600.0)
    cell.read()
    assert cell.charge_Ah == charge_Ah
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_the_output_goes_off_in_the_instrument_when_the_computer_is_gone(smu, simulated, clock):
    flyer = start(smu, CHARGE)
    flyer.run.timer.cancel()
    smu.link.close()
    clock.sleep(25.0)
    simulated.catch_up()
    assert not simulated.stage.output


def test_an_output_that_is_on_though_nothing_runs_is_told(smu, simulated):
    say(simulated, "OUTP ON")
    with pytest.raises(InstrumentError, match="its output is on though nothing runs"):
        smu.trigger().wait()
    assert (smu.output.get(), smu.quality.get()) == (1.0, "invalid")
    smu.make_safe()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_an_output_that_stays_on_is_told(smu, simulated, monkeypatch):
    start(smu, CHARGE)
    simulated.commands[":OUTPut[1][:STATe]?"] = lambda: "1"
    simulated._table = []
    with pytest.raises(InstrumentError, match="its output stays on"):
        smu.make_safe()
    assert smu.output.get() == 1.0


def test_a_cell_above_the_limit_of_the_station_is_saturated(clock, wires, simulated):
    smu = Keithley2450(
        name="smu",
        address=wires.listen(simulated),
        clock=clock,
        limits={"applied_potential": (0.0, 3.0)},
    )
    smu.connect()
    assert smu.quality.get() == "saturated"
    assert math.isnan(smu.potential.get())
    smu.link.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(smu, simulated, cell, fault):
    simulated.break_wire(fault)
    for _ in range(3):
        smu.trigger().wait()
        assert smu.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
        assert not simulated.stage.output


@pytest.mark.parametrize("reply", range(2, 24, 3))
@pytest.mark.parametrize("fault", ["silent", "corrupt", "reset"])
def test_a_fault_anywhere_in_a_reading_leaves_the_output_off(smu, simulated, cell, fault, reply):
    faults = iter([None] * reply + [fault])
    simulated.next_fault = lambda: next(faults, None)
    smu.trigger().wait()
    assert smu.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert not simulated.stage.output


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_in_a_course_is_survived(smu, simulated, pass_time, fault):
    flyer = start(smu, CHARGE)
    pass_time(5.0)
    simulated.break_wire(fault)
    flyer.complete().wait()
    found = columns(flyer)
    assert len(found["time"]) == 40
    assert found["current"] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(smu, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"smu at TCPIP.*; check"):
        smu.trigger().wait()


def test_the_safe_state_is_reached_when_the_link_is_back(smu, simulated, pass_time):
    flyer = start(smu, ConstantCurrent(1e-3, 3600.0, 1.0, 2.5, 4.2))
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkError):
        flyer.complete().wait()
    assert simulated.stage.output
    simulated.mend_wire()
    pass_time(20.0)
    assert not simulated.stage.output


def test_readings_are_not_lost_when_later_ones_can_not_be_fetched(smu, pass_time, monkeypatch):
    monkeypatch.setattr("devices.keithley_2450._BATCH", 5)
    start(smu, CHARGE)
    smu._flyer.run.timer.cancel()
    pass_time(5.6)
    real, fetched = smu._batch, []

    def failing(course, first, last):
        fetched.append(first)
        if len(fetched) == 2:
            raise smu.link.failed("no reply")
        return real(course, first, last)

    monkeypatch.setattr(smu, "_batch", failing)
    course = course_of(CHARGE, smu.open_limit_V)
    samples, over = smu.fetch(course)
    assert (len(samples), over) == (5, False)
    later, _ = smu.fetch(course)
    times = [sample.time_s for sample in samples + later]
    assert times == pytest.approx([0.5 * i for i in range(len(times))], abs=0.05)
    assert len(times) > 9


def test_a_reading_that_came_at_the_second_try_is_left_alone(smu, pass_time, monkeypatch):
    for name in ("read_once", "switch_off"):
        real, tries = getattr(smu, name), []

        def failing(real=real, tries=tries):
            tries.append(1)
            if len(tries) == 1:
                raise LinkTimeout("no reply")
            return real()

        monkeypatch.setattr(smu, name, failing)
    smu.trigger().wait()
    pass_time(60.0)
    assert smu.quality.get() == "ok"
    assert math.isfinite(smu.potential.get())


def test_too_hot_switches_the_output_off_and_ends_the_course(smu, simulated, pass_time):
    flyer = start(smu, CHARGE)
    pass_time(5.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"smu at .*: its trigger model is ABORTED"):
        flyer.complete().wait()
    with pytest.raises(InstrumentError, match="over temperature"):
        smu.trigger().wait()
    simulated.mend()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_a_voltage_beyond_the_range_is_no_number(smu, simulated):
    simulated.break_down("over_range")
    smu.trigger().wait()
    assert math.isnan(smu.potential.get())
    assert smu.quality.get() == "invalid"
    simulated.mend()
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


def test_a_power_cycle_in_a_course_is_an_error_and_the_cell_is_disconnected_again(
    smu, simulated, cell, clock, pass_time
):
    flyer = start(smu, CHARGE)
    pass_time(5.0)
    simulated.power_cycle()
    assert simulated.stage.off_state["CURR"] == "NORM"
    with pytest.raises(InstrumentError, match="lost its readings"):
        flyer.complete().wait()
    assert simulated.stage.off_state["CURR"] == "HIMP"
    smu.trigger().wait()
    assert smu.quality.get() == "ok"


# --- the simulated instrument ---


def test_errors_have_the_form_that_the_maker_prints(simulated):
    say(simulated, ":FOO 1")
    entry = say(simulated, ":SYST:ERR?")
    assert entry.startswith('-113,"Undefined header;1;20')
    assert say(simulated, ":SYST:ERR?") == '0,"No error;0;0 0"'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SOUR:VOLT 211", "-222"),
        ("SOUR:CURR 1.06", "-222"),
        ("SOUR:VOLT:PROT PROT7", "-224"),
        ("SOUR:CURR:VLIM 0.01", "-222"),
        ("OUTP:SMOD OPEN", "-224"),
        ("SOUR:VOLT 30;:OUTP ON", "-221"),
        ("TRAC:DATA? 1,5", "-222"),
        ("INIT", "-221"),
    ],
)
def test_what_the_simulated_instrument_refuses(simulated, text, code):
    say(simulated, "*CLS")
    say(simulated, text)
    assert say(simulated, "SYST:ERR?").startswith(code)


def test_the_list_sweep_of_the_manual(simulated, clock):
    for text in (
        "*RST", 'SENS:FUNC "CURR"', "SENS:CURR:RANG:AUTO ON", "SENS:CURR:RSEN OFF", "SOUR:FUNC VOLT",
        "SOUR:VOLT:RANG 20", "SOUR:VOLT:ILIM 1", "SOUR:LIST:VOLT 1, 5, 1, 5, 1, 5",
        "SOUR:SWE:VOLT:LIST 1, 0.2", "INIT", "*WAI",
    ):  # fmt: skip
        say(simulated, text)
    assert say(simulated, 'TRAC:DATA? 1, 6, "defbuffer1", SOUR, READ') == ""
    clock.sleep(2.0)
    (reply,) = simulated.unsolicited()
    found = reply.decode().split(",")
    assert [float(value) for value in found[::2]] == pytest.approx([1, 5, 1, 5, 1, 5], abs=1e-3)
    assert say(simulated, "TRIG:STAT?") == "IDLE;IDLE;8"
    assert say(simulated, "OUTP?") == "0"
    assert say(simulated, "SYST:ERR?").startswith("0,")


def test_a_public_client_drives_the_simulated_instrument():
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedKeithley2450(clock, BatteryCell(clock))
    address = wires.listen(simulated)
    client = f"""
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments.keithley import Keithley2450
adapter = VISAAdapter("{address}", visa_library="@py", read_termination="\\n", write_termination="\\n",
                      timeout=20000)
smu = Keithley2450(adapter)
smu.reset()
smu.current_output_off_state = "HIMP"
smu.wires = 4
smu.apply_current(compliance_voltage=4.5)
smu.source_current = 1e-3
smu.measure_voltage()
smu.enable_source()
print(smu.id, smu.current_output_off_state, smu.wires, smu.compliance_voltage, smu.source_enabled)
print(round(smu.voltage, 2), smu.check_errors())
smu.write(":FOO")
print(smu.check_errors())
smu.shutdown()
print(smu.source_enabled)
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.6.7c HIMP 4 4.5 True"
    assert lines[1] == "3.82 []"
    assert "Undefined header" in lines[2]
    assert not simulated.stage.output


def said(simulated, line):
    return b"".join(simulated.receive(bytearray(line.encode() + b"\n"))).decode().strip()


@pytest.mark.parametrize(
    ("function", "asked", "full_scale"),
    [("VOLT", 3.3, 20), ("VOLT", -20.5, 20), ("CURR", 2e-3, 0.01), ("CURR", 1e-3, 1e-3), ("RES", 4700, 20e3)],
)
def test_a_fixed_measuring_range_is_the_smallest_that_holds_the_value(simulated, function, asked, full_scale):
    said(simulated, f":SENS:{function}:RANG {asked}")
    assert float(said(simulated, f":SENS:{function}:RANG?")) == pytest.approx(full_scale)
    assert said(simulated, f":SENS:{function}:RANG:AUTO?") == "0"
    said(simulated, f":SENS:{function}:RANG:AUTO ON")
    assert said(simulated, f":SENS:{function}:RANG:AUTO?") == "1"


def test_the_automatic_measuring_range_is_one_that_the_model_has(simulated):
    assert float(said(simulated, ":SENS:VOLT:RANG?")) == pytest.approx(20)
    assert float(said(simulated, ":SENS:CURR:RANG?")) in (
        pytest.approx(full) for full in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
    )
    said(simulated, "*RST")
    assert said(simulated, ":SENS:VOLT:RANG:AUTO?") == "1"
