import contextlib
import math

import numpy as np
import pytest
from ophyd.utils import LimitError

from devices.families.techniques import GalvanostaticImpedanceSweep, ImpedanceSweep
from devices.flyer import MeasurementStopped
from devices.hioki import HiokiIM3590, decode_values
from sim_devices.instruments.hioki_im3590 import SimulatedIM3590
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, WrongInstrument

SWEEP = ImpedanceSweep(100e3, 0.01, 10, 0.01, 3.7)
SHORT = ImpedanceSweep(10e3, 10.0, 5, 0.01, 3.7)
CURRENT = GalvanostaticImpedanceSweep(10e3, 10.0, 5, 1e-3, 0.0, 2.5, 4.2)


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedIM3590(clock, cell)


@pytest.fixture
def meter(clock, wires, simulated):
    meter = HiokiIM3590(name="meter", address=wires.listen(simulated), clock=clock)
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


def is_safe(simulated):
    level_V = simulated.number_of(":LEVel:VOLTage") if simulated.settings[":LEVel"] == "V" else math.inf
    return (simulated.signal_V, simulated.bias_V, level_V) == (0.0, 0.0, 0.005)


def test_marks_of_an_overflow_are_no_numbers():
    values = decode_values(b"1.00000E+03, 9.99999E+28, 9.99999E+09, *********,-12.345\r\n", 9.9e9)
    assert values[0] == 1000.0
    assert all(math.isnan(value) for value in values[1:4])
    assert values[4] == -12.345


# --- identity, limits, rest ---


def test_connecting_identifies_and_takes_the_signal_away(meter, simulated, cell):
    assert str(meter.identity) == "Hioki IM3590 (serial 120500001, firmware V2.04)"
    assert is_safe(simulated)
    assert meter.potential.get() == pytest.approx(cell.potential_V(), abs=1e-4)
    assert meter.quality.get() == "ok"


def test_before_that_it_measures_by_itself(simulated):
    assert simulated.signal_V == 1.0


def test_another_model_is_refused(clock, wires, simulated):
    simulated.identification = "HIOKI,IM3570,120500001,V2.04"
    meter = HiokiIM3590(name="meter", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'HIOKI IM3570', not Hioki IM3590"):
        meter.connect()


def test_headers_left_on_do_no_harm(clock, wires, simulated):
    simulated._headers = True
    meter = HiokiIM3590(name="meter", address=wires.listen(simulated), clock=clock)
    meter.connect()
    assert not simulated._headers
    meter.link.close()


def test_a_bias_that_is_on_though_nothing_runs_is_an_error(meter, simulated):
    simulated.settings[":DCBias"] = "ON"
    with pytest.raises(InstrumentError, match="it may apply a signal"):
        meter.trigger().wait()
    assert meter.quality.get() == "invalid"
    meter.stop()
    assert is_safe(simulated)
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (ImpedanceSweep(300e3, 1, 5, 0.01, 0.0), "200000 Hz"),
        (ImpedanceSweep(100e3, 1e-4, 5, 0.01, 0.0), "0.001 to"),
        (ImpedanceSweep(100e3, 1, 5, 0.004, 0.0), "0.005 to 5 V"),
        (ImpedanceSweep(100e3, 1, 5, 0.01, 5.5), "bias of 5.5 V"),
        (ImpedanceSweep(100e3, 0.001, 101, 0.01, 0.0), "points are more than 801"),
        (GalvanostaticImpedanceSweep(100e3, 1, 5, 0.06, 0.0, 2, 4), "0.05 A"),
        (GalvanostaticImpedanceSweep(100e3, 1, 5, 0.01, 0.001, 2, 4), "bias of 0.001 A"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_sent(meter, task, words):
    with pytest.raises(LimitError, match=words):
        meter.flyer(task).prepare(task)


# --- spectra ---


@pytest.mark.parametrize("task", [SWEEP, CURRENT])
def test_a_spectrum_is_that_of_the_cell(meter, simulated, cell, task):
    rows = rows_of(meter, task)
    assert len(rows) == task.points
    found = np.array([row.values["z_real"] + 1j * row.values["z_imag"] for row in rows])
    frequencies_Hz = np.array([row.values["frequency"] for row in rows])
    truth = cell.impedance(frequencies_Hz)
    assert np.abs(found) == pytest.approx(np.abs(truth), rel=5e-4)  # the maker: 0.05 % of reading
    assert np.angle(found, deg=True) == pytest.approx(np.angle(truth, deg=True), abs=0.03)
    assert np.all(found.imag < 0)
    assert frequencies_Hz == pytest.approx(task.frequencies_Hz(), rel=0.01)
    assert {row.values["status"] for row in rows} == {"ok"}
    assert meter.z_imag.get() == rows[-1].values["z_imag"]
    assert is_safe(simulated)


def test_times_are_shared_out_by_the_periods(meter, simulated, clock):
    begin = clock.now()
    rows = rows_of(meter, SWEEP)
    times = np.array([row.time for row in rows])
    assert np.all(np.diff(times) > 0)
    assert begin < times[0] < times[-1] <= clock.now()
    waves_s = np.cumsum([2.0 / f for f in SWEEP.frequencies_Hz()])
    assert times - begin == pytest.approx(waves_s, abs=0.04 * waves_s[-1])


def test_limits_level_and_bias_are_in_the_meter_before_the_sweep(clock, wires, simulated):
    meter = HiokiIM3590(
        name="meter",
        address=wires.listen(simulated),
        clock=clock,
        limits={"applied_current": (-0.02, 0.02), "sweep_amplitude": (0.0, 0.1)},
    )
    meter.connect()
    start(meter, SHORT)
    assert simulated.number_of(":LIMiter:CURRent") == 0.02
    assert simulated.is_on(":LIMiter")
    assert simulated.settings[":LEVel"] == "CV"
    assert simulated.number_of(":LEVel:CVOLTage") == 0.01
    assert simulated.bias_V == 3.7
    assert not simulated.is_on(":BATTery")
    meter.make_safe()
    start(meter, CURRENT)
    assert simulated.number_of(":LIMiter:VOLTage") == 0.1
    assert simulated.settings[":LEVel"] == "CC"
    assert simulated.number_of(":LEVel:CCURRent") == 0.001
    assert simulated.bias_V == 0.0
    assert simulated.is_on(":BATTery")
    meter.make_safe()
    meter.link.close()


def test_a_level_that_was_limited_spoils_the_spectrum(clock, wires, simulated):
    meter = HiokiIM3590(
        name="meter", address=wires.listen(simulated), clock=clock, limits={"applied_current": (-1e-4, 1e-4)}
    )
    meter.connect()
    rows = rows_of(meter, SHORT)
    assert {row.values["status"] for row in rows} == {"overload"}
    assert meter.quality.get() == "ok"  # of the voltage at rest, after the sweep
    meter.link.close()


def test_a_level_that_it_cannot_hold_spoils_the_spectrum(meter):
    rows = rows_of(meter, ImpedanceSweep(10e3, 10.0, 5, 2.0, 3.7))
    assert {row.values["status"] for row in rows} == {"overload"}


def test_an_impedance_beyond_range_is_no_number(meter, simulated):
    flyer = start(meter, SHORT)
    simulated.break_down("over_range")
    status = flyer.complete()
    with contextlib.suppress(LinkError):
        status.wait()
    rows = flyer.take_rows()
    assert len(rows) == SHORT.points
    assert {row.values["status"] for row in rows} == {"overload"}
    assert all(math.isnan(row.values["z_real"]) for row in rows)


def test_a_cell_outside_the_window_gets_no_signal(meter, simulated):
    task = GalvanostaticImpedanceSweep(10e3, 10.0, 5, 1e-3, 0.0, 3.9, 4.2)
    with pytest.raises(InstrumentError, match=r"outside the window from 3\.9 to 4\.2 V"):
        start(meter, task)
    assert is_safe(simulated)


def test_a_sweep_may_last_for_hours(meter, clock):
    task = ImpedanceSweep(1.0, 0.001, 5, 0.01, 3.7)
    begin = clock.now()
    rows = rows_of(meter, task)
    assert len(rows) == task.points
    assert clock.now() - begin > 3600.0


def test_a_sweep_can_be_stopped(meter, simulated, clock, pass_time):
    status = start(meter).complete()
    pass_time(20.0)
    assert simulated.signal_V > 0
    before = clock.now()
    meter.stop()
    assert clock.now() - before < 5.0
    assert is_safe(simulated)
    with pytest.raises(MeasurementStopped):
        status.wait()
    meter.make_safe()
    assert len(rows_of(meter, SHORT)) == SHORT.points


def test_an_answer_of_another_setting_is_refused(meter, simulated):
    flyer = start(meter, SHORT)
    simulated.settings[":PARameter3"] = "OFF"
    with pytest.raises(LinkError, match="numbers, not 48"):
        flyer.complete().wait()
    assert flyer.take_rows() == []


def test_points_of_other_frequencies_are_refused(meter, simulated):
    flyer = start(meter, SHORT)
    simulated._list = (1e3, 1.0, SHORT.points, "LOG")
    with pytest.raises(InstrumentError, match="point 1 is of 1000 Hz, not 10000 Hz"):
        flyer.complete().wait()
    assert flyer.take_rows() == []
    assert is_safe(simulated)


# --- what goes wrong ---


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_survived_and_never_a_wrong_number(meter, simulated, cell, fault):
    simulated.break_wire(fault)
    for _ in range(3):
        meter.trigger().wait()
        assert meter.potential.get() == pytest.approx(cell.potential_V(), abs=1e-3)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_an_error_with_what_to_try(meter, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"meter at TCPIP.*; check"):
        meter.trigger().wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_it_sweeps_is_survived(meter, simulated, cell, pass_time, fault):
    flyer = start(meter)
    status = flyer.complete()
    pass_time(30.0)
    simulated.break_wire(fault)
    status.wait()
    rows = flyer.take_rows()
    assert len(rows) == SWEEP.points
    for row in rows:
        truth = cell.impedance(np.array([row.values["frequency"]]))[0]
        assert complex(row.values["z_real"], row.values["z_imag"]) == pytest.approx(truth, rel=1e-3)


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


def test_a_fault_of_the_meter_ends_a_sweep(meter, simulated, pass_time):
    status = start(meter).complete()
    pass_time(30.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="device error"):
        status.wait()
    simulated.mend()
    pass_time(10.0)
    assert is_safe(simulated)


def test_lost_power_at_rest_is_told_until_it_is_safe_again(meter, simulated):
    simulated.power_cycle()
    with pytest.raises(LinkError, match="meter at"):
        meter.trigger().wait()
    meter.make_safe()
    assert is_safe(simulated)
    meter.trigger().wait()
    assert meter.quality.get() == "ok"


def test_lost_power_ends_a_sweep_without_numbers(meter, simulated, pass_time):
    flyer = start(meter)
    status = flyer.complete()
    pass_time(30.0)
    simulated.power_cycle()
    with pytest.raises(LinkError, match="lost its power"):
        status.wait()
    assert flyer.take_rows() == []
    pass_time(10.0)
    assert is_safe(simulated)


# --- the simulated instrument, in the words of others ---


def talk(simulated, text):
    return [reply.decode() for reply in simulated.receive(bytearray(text.encode()))]


def test_the_makers_sample_program(simulated, cell):
    """Sweep in the analyzer mode; the answer is read in groups of frequency, Z and phase."""
    commands = (
        "*RST", ":MODE ANALyzer", ":SWEep:TRIGger SEQuential", ":LIST:STARt:STOP 100,120000,101,LOG",
        ":PARameter1 Z", ":PARameter2 OFF", ":PARameter3 Phase", ":PARameter4 OFF", "*TRG",
    )  # fmt: skip
    assert talk(simulated, "".join(f"{command}\r\n\n" for command in commands)) == []
    (reply,) = talk(simulated, ":MEASure?\r\n\n")
    assert talk(simulated, "*ESR?\r\n") == ["128\r\n"]  # nothing but that it was switched on
    values = [float(word) for word in reply.strip().split(",")]
    assert len(values) == 303
    assert values[0] == 100.0
    assert values[-3] == 120000.0
    z = cell.impedance(np.array(values[::3]))
    assert values[1::3] == pytest.approx(np.abs(z), rel=1e-4)
    assert values[2::3] == pytest.approx(np.angle(z, deg=True), abs=1e-3)


def test_a_client_that_asks_in_lcr_mode(simulated, cell):
    """Commands of a public client of the same family: items 7 and 18 are Z, Y, phase, Rs and X."""
    lines = (
        ":TRIG EXT", ":RANG:AUTO ON", ":AVER OFF", ":MEAS:ITEM 7,18", ":LEV V", ":LEV:VOLT 0.100",
        ":FREQUENCY 1000.000",
    )  # fmt: skip
    assert talk(simulated, "*CLS\r" + "".join(f"\n{line}\r" for line in lines) + "\n*TRG\r\n") == []
    simulated.clock.sleep(1.0)
    assert talk(simulated, ":ESR0?\r\n") == ["6\r\n"]
    modulus, admittance, phase, real, imag = map(float, talk(simulated, ":MEAS?\r\n")[0].split(","))
    z = complex(cell.impedance(np.array([1000.0]))[0])
    assert modulus == pytest.approx(abs(z), rel=1e-4)
    assert admittance == pytest.approx(1 / abs(z), rel=1e-4)
    assert phase == pytest.approx(math.degrees(math.atan2(z.imag, z.real)), abs=1e-3)
    assert complex(real, imag) == pytest.approx(z, rel=1e-4)


def test_answers_end_as_was_chosen(simulated):
    assert talk(simulated, ":TRAN:TERM 0\r\n:MODE?\r\n") == ["LCR\n"]
    assert talk(simulated, ":HEAD ON\r\n:TRAN:TERM 1\r\n:MODE?\r\n") == [":MODE LCR\r\n"]


def test_errors_are_in_the_register_and_not_in_answers(simulated):
    talk(simulated, "*CLS\r\n")
    for line, bit in ((":NONSENSE", 32), (":FREQ 300E3", 16), (":MODE FAST", 16), (":LEV:CCURR 60", 16)):
        assert talk(simulated, f"{line}\r\n") == []
        assert talk(simulated, "*ESR?\r\n") == [f"{bit}\r\n"]


def test_a_new_setting_ends_a_sweep_without_result(simulated, pass_time):
    talk(simulated, "*CLS\r\n:MODE ANAL\r\n:LIST:STAR:STOP 1,0.01,5,LOG\r\n*TRG\r\n*OPC\r\n")
    assert talk(simulated, "*ESR?\r\n") == ["0\r\n"]
    pass_time(5.0)
    talk(simulated, ":SPEE FAST\r\n")
    assert talk(simulated, "*ESR?\r\n") == ["1\r\n"]
    assert talk(simulated, ":MEAS:POIN? 1\r\n")[0].split(",")[1] == "9.99999E+29"
