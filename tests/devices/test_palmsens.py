import contextlib
import importlib.util
import json
import logging
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import bluesky.plan_stubs as bps
import jinja2
import numpy as np
import pytest
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    GalvanostaticImpedanceSweep,
    ImpedanceSweep,
    LinearSweep,
    OpenCircuit,
)
from devices.flyer import MeasurementStopped
from devices.methodscript import (
    MODELS,
    Variable,
    cell_off_script,
    decode_firmware,
    decode_output,
    decode_package,
    decode_potential,
    decode_serial,
    decode_started,
    decode_value,
    encode_literal,
    encode_script,
    error_text,
    potential_script,
    technique_script,
)
from devices.palmsens import EmStat4LR, EmStatPico, Nexus, PalmSens
from plans.stubs import measure
from sim_devices.instruments.palmsens import SimulatedPalmSens, encode_value
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument
from tests.devices.collected import events_of

NOISE = 0.002
SWEEP = ImpedanceSweep(100e3, 0.1, 10, 0.01, 0.5)
SHORT = ImpedanceSweep(1000.0, 1.0, 5, 0.01, 0.5)
HOLD = ConstantPotential(3.05, 10.0, 0.1, 0.01)
RUN = {
    "OpenCircuit": OpenCircuit(10.0, 0.1),
    "ConstantPotential": HOLD,
    "ConstantCurrent": ConstantCurrent(1e-3, 10.0, 0.1, 0.0, 4.0),
    "LinearSweep": LinearSweep(2.0, 3.0, 0.01, 0.1, 0.01),
    "CyclicVoltammetry": CyclicVoltammetry(2.0, 2.5, 1.5, 0.01, 0.1, 3, 0.01),
}


class Cell:
    """A resistance in series with a resistance and a capacitance side by side."""

    series_ohm = 100.0
    parallel_ohm = 900.0
    capacitance_F = 1e-6
    rest_V = 2.15
    asked: list[float]

    def __init__(self, clock):
        self.clock = clock
        self.asked = []

    def potential_V(self):
        return self.rest_V

    def impedance(self, frequency_Hz):
        self.asked.append(self.clock.monotonic())
        omega = 2 * np.pi * frequency_Hz
        return self.series_ohm + self.parallel_ohm / (1 + 1j * omega * self.parallel_ohm * self.capacitance_F)


@pytest.fixture
def cell(clock):
    return Cell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedPalmSens(clock, cell, noise=NOISE, seed=1)


@pytest.fixture
def pstat(clock, wires, simulated):
    pstat = PalmSens(name="pstat", address=wires.listen(simulated), clock=clock)
    pstat.connect()
    yield pstat
    pstat.link.close()


def start(pstat, task=SHORT):
    """Have an instrument begin a technique, and give the flyer that does it."""
    flyer = pstat.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def pages_of(documents, descriptor):
    return [d for name, d in documents if name == "event_page" and d["descriptor"] == descriptor["uid"]]


def columns(pages, key):
    return np.concatenate([page["data"][f"pstat_{key}"] for page in pages])


def advance(clock, seconds):
    """Let time pass with the loop running, as under a plan."""
    clock.start()
    clock.sleep(seconds)


# --- codec ---


def test_package_from_the_makers_example_of_a_voltammogram():
    package = decode_package("Pda7F85F3Fu;ba48D503Dp,10,288")
    assert package == (Variable("da", -0.499905), Variable("ba", -57.847747e-6, 0, 0x88))


def test_package_from_the_makers_example_of_impedance():
    frequency, real, imaginary = decode_package("PdcDF5DFF4u;cc896D904m,10,287;cd82DB1A8u,10,287")
    assert frequency == Variable("dc", 99.999732)
    assert real == Variable("cc", 9885.956, 0, 0x87)
    assert imaginary.value == 2.994600


def test_values_from_the_manual():
    assert decode_value("800000Am") == 0.01
    assert decode_value("7FFFFF6m") == -0.01
    assert math.isnan(decode_value("     nan"))
    assert encode_value(-0.499905) == "7F85F3Fu"


@given(st.integers(0, (1 << 28) - 1), st.sampled_from("afpnum kMGTPE"))
def test_a_value_is_the_nearest_number_to_what_was_printed(digits, prefix):
    power = 3 * ("afpnum kMGTPE".index(prefix) - 6)
    assert decode_value(f"{digits:07X}{prefix}") == float(Decimal(digits - (1 << 27)).scaleb(power))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"M000D\n", "loop"),
        (b"*\n", "loop end"),
        (b"\n", "end"),
        (b"C0001\n", "scope"),
        (b"Thello\n", "text"),
    ],
)
def test_lines_of_output(data, kind):
    assert decode_output(data).kind == kind


def test_a_runtime_error_is_told_in_words():
    with pytest.raises(Refusal, match="error 0032 in line 14: critical overload of the cell"):
        decode_output(b"!0032: Line 14\n")


def test_a_parse_error_is_told_with_its_place():
    with pytest.raises(Refusal, match="error 4001 in line 3, column 5: unknown script command"):
        decode_started(b"e!4001: Line 3, Col 5\n")


def test_an_unknown_error_code_points_to_the_manual():
    assert "MethodSCRIPT manual" in error_text(0x4FFF)


@pytest.mark.parametrize(
    ("reply", "firmware"),
    [
        (b"tes4_hr1100#Jan 28 2022 11:04:43\nR*\n", ("es4_hr", "1.1.00")),
        (b"tespico1600#Sep 30 2025 12:00:00\nR*\n", ("espico", "1.6.00")),
        (b"tespico10#Apr      1 2019 15:48:13\nR*\n", ("espico", "1.0")),
        (b"tnexus11500#Mar 12 2026 14:28:01\nR*\n", ("nexus1", "1.5.00")),
    ],
)
def test_firmware(reply, firmware):
    assert decode_firmware(reply) == firmware


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (0.0, "0"),
        (0.01, "10m"),
        (-0.5, "-500m"),
        (200e3, "200k"),
        (0.1, "100m"),
        (6.309573444801933, "6309573u"),
        (1e-7, "100n"),
        (3.0, "3"),
    ],
)
def test_literals(value, literal):
    assert encode_literal(value) == literal


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e-30, 1e30])
def test_a_number_that_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match="number"):
        encode_literal(value)


@given(st.floats(1e-9, 1e9), st.booleans())
def test_literals_keep_seven_digits(value, negative):
    value = -value if negative else value
    literal = encode_literal(value)
    digits = literal.rstrip("EPTGMkmunpfa")
    assert abs(int(digits)) < 2**31
    factor = {
        "": 1,
        "m": 1e-3,
        "u": 1e-6,
        "n": 1e-9,
        "p": 1e-12,
        "f": 1e-15,
        "a": 1e-18,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
    }
    assert int(digits) * factor[literal[len(digits) :]] == pytest.approx(value, rel=1e-6)


@given(st.floats(-1e12, 1e12))
def test_values_round_trip_over_many_decades(value):
    assert decode_value(encode_value(value)) == pytest.approx(value, rel=1e-5, abs=1e-18)


@given(st.binary(max_size=120))
@pytest.mark.parametrize(
    "decode", [decode_output, decode_started, decode_potential, decode_firmware, decode_serial]
)
def test_any_bytes_are_understood_or_a_protocol_error(decode, data):
    try:
        decode(data)
    except ProtocolError:
        pass


@given(st.text(max_size=60))
def test_any_text_is_a_package_or_a_protocol_error(text):
    try:
        decode_package("P" + text)
    except ProtocolError:
        pass


def test_the_script_limits_the_potential_and_switches_the_cell_off():
    script = technique_script(SWEEP, MODELS["es4_hr"])
    assert "set_range_minmax da 500m 500m" in script
    assert "meas_loop_eis f r i 10m 100k 100m 61i 500m" in script
    assert script[-2:] == ["on_finished:", "cell_off"]
    assert script.index("set_e 500m") < script.index("cell_on")
    assert "cell_on" not in potential_script() + cell_off_script()


def test_a_script_has_no_empty_and_no_long_line():
    for text in ("", "x" * 256, "a\nb"):
        with pytest.raises(ValueError, match="no line of a script"):
            encode_script([text])


# --- sweeps, arguments ---


def test_a_sweep_counts_its_points():
    assert SWEEP.points == 61
    assert SWEEP.frequencies_Hz()[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequency_end_Hz": 0.0}, "frequency_end_Hz must be a number above 0"),
        ({"amplitude_V": -0.01}, "amplitude_V must be a number above 0"),
        ({"points_per_decade": math.nan}, "points_per_decade"),
        ({"bias_V": math.inf}, "bias_V must be a number"),
        ({"frequency_end_Hz": 100e3}, "from one frequency to another"),
    ],
)
def test_a_senseless_sweep_can_not_be_made(change, message):
    with pytest.raises(ValueError, match=message):
        ImpedanceSweep(**{**vars(SWEEP), **change})


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (ImpedanceSweep(1e6, 1.0, 5, 0.01, 0.0), "pstat_sweep_frequency: 1000000.0 Hz is not allowed"),
        (ImpedanceSweep(1e3, 1.0, 5, 0.95, 0.0), "pstat_sweep_amplitude: 0.95 V is not allowed"),
        (ImpedanceSweep(1e3, 1.0, 5, 0.01, 6.5), "pstat_applied_potential: 6.5 V is not allowed"),
        (ImpedanceSweep(1e3, 1.0, 5, 0.5, 5.5), r"pstat_applied_potential: 6\.2\d* V is not allowed"),
    ],
)
def test_a_sweep_outside_the_limits_is_refused_before_anything_is_sent(pstat, simulated, sweep, message):
    scripts = simulated.scripts
    flyer = pstat.flyer(sweep)
    with pytest.raises(LimitError, match=message):
        flyer.prepare(sweep)
    assert simulated.scripts == scripts
    with pytest.raises(RuntimeError, match=r"prepare a measurement \(impedance\) before"):
        flyer.kickoff()


def test_limits_of_the_station_are_kept(clock, wires, simulated):
    address = wires.listen(simulated)
    pstat = PalmSens(name="pstat", address=address, clock=clock, limits={"applied_potential": (2.0, 4.3)})
    with pytest.raises(LimitError, match=r"from 2 to 4\.3 V"):
        pstat.flyer(SWEEP).prepare(SWEEP)


# --- connecting and reading ---


def test_connect_identifies_and_reads_at_rest(pstat, simulated):
    assert str(pstat.identity) == "PalmSens EmStat4 HR (serial ES4HR20B0001, firmware 1.3.04)"
    assert pstat.potential.get() == pytest.approx(2.15, abs=1e-6)
    assert pstat.cell.get() == 0
    assert not simulated.cell_is_on


def test_another_model_is_refused(clock, wires, simulated):
    pico = EmStatPico(name="pico", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'EmStat4 HR', not EmStat Pico"):
        pico.connect()


def test_connect_ends_what_runs_and_switches_the_cell_off(pstat, clock, wires, simulated):
    start(pstat, SWEEP)
    pstat.link.close()
    assert simulated.cell_is_on
    other = PalmSens(name="other", address=wires.listen(simulated), clock=clock)
    other.connect()
    assert not simulated.cell_is_on
    other.link.close()


def test_every_number_has_a_unit_and_a_time(pstat, clock):
    pstat.trigger().wait()
    for name, reading in pstat.read().items():
        if name != "pstat_current_range":  # told with impedance only
            assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    assert {key["units"] for key in pstat.describe().values() if key["dtype"] == "number"} == {"V", "A", "1"}


def test_a_cell_that_is_on_by_itself_is_an_error(pstat, simulated):
    simulated.cell_is_on = True
    with pytest.raises(InstrumentError, match="the cell is on though nothing runs"):
        pstat.trigger().wait()
    assert pstat.cell.get() == 1
    pstat.make_safe()
    assert pstat.cell.get() == 0
    assert not simulated.cell_is_on


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(pstat, simulated, cell, fault):
    cell.rest_V = 3.21
    simulated.break_wire(fault)
    for _ in range(3):
        pstat.trigger().wait()
        assert pstat.potential.get() == pytest.approx(3.21, abs=1e-6)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_an_error_with_what_to_try(pstat, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"pstat at TCPIP.*; check"):
        pstat.trigger().wait()


# --- sweeps ---


def test_a_plan_takes_spectra_into_streams_of_its_choice(RE, pstat, simulated, cell, clock):
    documents = []

    @bpp.run_decorator()
    def plan():
        yield from measure(pstat, SWEEP, "impedance_before")
        cell.parallel_ohm = 1800.0
        yield from measure(pstat, SWEEP, "impedance_after")

    before = clock.now()
    RE(plan(), lambda name, document: documents.append((name, document)))
    assert not simulated.cell_is_on
    descriptors = {d["name"]: d for name, d in documents if name == "descriptor"}
    assert set(descriptors) == {"impedance_before", "impedance_after"}
    for descriptor in descriptors.values():
        units = {key: info.get("units") for key, info in descriptor["data_keys"].items()}
        assert units == {
            "pstat_frequency": "Hz",
            "pstat_z_real": "ohm",
            "pstat_z_imag": "ohm",
            "pstat_status": None,
        }
        assert descriptor["configuration"]["pstat"]["data"]["pstat_applied_potential"] == 0.5
    for stream, parallel_ohm in (("impedance_before", 900.0), ("impedance_after", 1800.0)):
        pages = pages_of(documents, descriptors[stream])
        assert len(pages) > 1  # they come while it runs
        data = {key: columns(pages, key) for key in ("frequency", "z_real", "z_imag", "status")}
        assert len(data["frequency"]) == 61
        assert data["frequency"] == pytest.approx(np.geomspace(100e3, 0.1, 61), rel=1e-5)  # 28 bits
        cell.parallel_ohm = parallel_ohm
        expected = cell.impedance(data["frequency"])
        assert abs((data["z_real"] + 1j * data["z_imag"]) / expected - 1).max() < 6 * NOISE
        assert data["z_imag"][10:40].max() < 0  # the raw imaginary part of a capacitive cell
        assert set(data["status"]) == {"ok"}
        times = np.concatenate([page["timestamps"]["pstat_z_real"] for page in pages])
        assert (np.diff(times) > 0).all()
        assert before < times[0]
        assert times[-1] <= clock.now()
        before = times[-1]


def test_each_point_is_measured_at_the_time_it_bears(pstat, cell, clock):
    flyer = start(pstat)
    flyer.complete().wait()
    times = [event["time"] - 1_700_000_000 for event in events_of(flyer)]
    assert times == pytest.approx(cell.asked, abs=0.02)


def test_progress_is_told_in_points(pstat):
    facts = []
    flyer = start(pstat)
    status = flyer.complete()
    status.watch(lambda **update: facts.append((update["current"], update["target"], update["unit"])))
    status.wait()
    assert facts[-1] == (16, 16, "points")
    assert len(facts) > 3


def test_points_are_collected_once(pstat):
    flyer = start(pstat)
    flyer.complete().wait()
    assert len(events_of(flyer)) == 16
    assert events_of(flyer) == []


def test_a_sweep_is_over_before_anybody_asks(pstat, clock):
    flyer = start(pstat)
    advance(clock, 100)
    flyer.complete().wait(timeout=1)
    assert len(events_of(flyer)) == 16


def test_polling_during_a_sweep_does_not_disturb_it(pstat, clock):
    flyer = start(pstat)
    advance(clock, 2)
    pstat.trigger().wait()
    assert pstat.cell.get() == 1
    flyer.complete().wait()
    assert pstat.potential.get() == pytest.approx(2.15, abs=1e-6)
    assert len(events_of(flyer)) == 16


def test_a_second_kickoff_is_refused_while_a_sweep_runs(pstat):
    flyer = start(pstat)
    with pytest.raises(RuntimeError, match="a measurement is under way"):
        flyer.kickoff()
    with pytest.raises(RuntimeError, match="a measurement is under way"):
        flyer.prepare(SWEEP)


def test_an_overload_is_returned_with_its_status(pstat, cell):
    cell.series_ohm, cell.parallel_ohm = 0.01, 1e-9
    flyer = start(pstat)
    flyer.complete().wait()
    events = events_of(flyer)
    assert {event["data"]["pstat_status"] for event in events} == {"overload"}
    assert events[0]["data"]["pstat_z_real"] > 0.1  # the current was clipped: more than the true 0.01 ohm


def test_an_underload_is_returned_with_its_status(pstat, cell):
    cell.series_ohm = 1e12
    flyer = start(pstat)
    flyer.complete().wait()
    assert {event["data"]["pstat_status"] for event in events_of(flyer)} == {"underload"}


def test_the_pico_measures_too(clock, wires, cell):
    simulated = SimulatedPalmSens(clock, cell, device_type="espico")
    pico = EmStatPico(name="pico", address=wires.listen(simulated), clock=clock)
    pico.connect()
    assert pico.applied_potential.limits == (-1.7, 2.0)
    flyer = start(pico)
    flyer.complete().wait()
    assert len(events_of(flyer)) == 16
    assert pico.current_range.get() == "25 uA"
    pico.link.close()


# --- ends other than good ones ---


def test_a_stop_ends_the_sweep_and_switches_the_cell_off(pstat, simulated, clock):
    flyer = start(pstat)
    status = flyer.complete()
    advance(clock, 2)
    assert simulated.cell_is_on
    pstat.stop()
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0
    with pytest.raises(MeasurementStopped, match=r"pstat: the measurement was stopped after \d of 16 points"):
        status.wait()
    assert 0 < len(events_of(flyer)) < 16
    pstat.make_safe()


def test_a_plan_that_is_aborted_leaves_the_cell_off(RE, pstat, simulated, clock):
    def stopped():
        yield from bps.stop(pstat)

    @bpp.run_decorator()
    def plan():
        flyer = pstat.flyer(SWEEP)
        yield from bps.prepare(flyer, SWEEP, wait=True)
        yield from bps.declare_stream(flyer, name="impedance", collect=True)
        yield from bps.kickoff(flyer, wait=True)
        yield from bps.sleep(3)
        raise ValueError("something else went wrong")

    with pytest.raises(ValueError, match="something else"):
        RE(bpp.finalize_wrapper(plan(), stopped))
    assert not simulated.cell_is_on


def test_a_runtime_error_fails_the_sweep_and_switches_the_cell_off(RE, pstat, simulated):
    simulated.fail_next_loop = 0x0032

    @bpp.run_decorator()
    def plan():
        yield from measure(pstat, SHORT, "impedance")

    with pytest.raises(FailedStatus) as caught:
        RE(plan())
    error = caught.value.args[0].exception()
    assert isinstance(error, InstrumentError)
    assert "reports error 0032 in line 16: critical overload" in str(error)
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0


def test_a_script_that_the_instrument_refuses_is_told(pstat, simulated, monkeypatch):
    monkeypatch.setattr("devices.palmsens.technique_script", lambda *_: ["var a", "  nonsense 1"])
    flyer = pstat.flyer(SHORT)
    flyer.prepare(SHORT).wait()
    with pytest.raises(InstrumentError, match="error 4001 in line 2, column 3: unknown script command"):
        flyer.kickoff().wait()
    assert not pstat.measuring


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_stream_fails_the_sweep_and_switches_the_cell_off(pstat, simulated, clock, fault):
    flyer = start(pstat)
    status = flyer.complete()
    advance(clock, 1.3)
    simulated.break_wire(fault)
    with pytest.raises(LinkError, match="pstat at TCPIP"):
        status.wait()
    assert not simulated.cell_is_on
    pstat.trigger().wait()
    assert pstat.potential.get() == pytest.approx(2.15, abs=1e-6)


def test_silence_is_noticed(pstat, simulated, clock):
    flyer = start(pstat)
    status = flyer.complete()
    advance(clock, 1.3)
    simulated.break_wire("silent", times=None)
    clock.call_later(5.0, simulated.mend_wire)
    with pytest.raises(
        LinkError, match=r"no point for \d+ s, after \d+ of 16 points|the measurement ended after"
    ):
        status.wait()
    assert not simulated.cell_is_on


def test_the_cell_is_switched_off_as_soon_as_the_link_is_back(pstat, simulated, clock, caplog):
    simulated.fail_next_loop = 0x0032  # leaves the cell on, and the news of it never comes
    flyer = start(pstat)
    simulated.break_wire("silent", times=None)
    with caplog.at_level(logging.ERROR), pytest.raises(LinkError, match="no point for"):
        flyer.complete().wait()
    assert "pstat: an output may be on" in caplog.text
    assert simulated.cell_is_on
    simulated.mend_wire()
    advance(clock, 30)
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0


def test_a_new_sweep_is_not_ended_by_the_trouble_of_the_one_before(pstat, simulated, clock):
    simulated.fail_next_loop = 0x0032
    flyer = start(pstat)
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkError):
        flyer.complete().wait()
    simulated.mend_wire()
    flyer = start(pstat)
    flyer.complete().wait()
    assert len(events_of(flyer)) == 16


def test_a_kickoff_whose_acknowledgement_is_lost_leaves_the_cell_off(pstat, simulated):
    flyer = pstat.flyer(SWEEP)
    flyer.prepare(SWEEP).wait()
    simulated.break_wire("reset")
    with pytest.raises(LinkError):
        flyer.kickoff().wait()
    assert not simulated.cell_is_on
    assert not pstat.measuring


def test_a_sweep_that_ends_early_is_an_error(pstat, simulated, clock):
    flyer = start(pstat)
    advance(clock, 1.3)
    simulated.receive(bytearray(b"Y\n")).__next__()  # as from the instrument's own panel
    with pytest.raises(LinkError, match=r"the measurement ended after \d of 16 points"):
        flyer.complete().wait()
    assert not simulated.cell_is_on


def test_a_serial_line_serves_as_well(clock, wires, simulated):
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError as error:
        pytest.skip(str(error))
    pstat = PalmSens(name="pstat", address=address, clock=clock)
    pstat.connect()
    flyer = start(pstat)
    flyer.complete().wait()
    assert len(events_of(flyer)) == 16
    assert not simulated.cell_is_on
    pstat.link.close()


# --- courses ---


def course(flyer):
    """Time, potential, current and status of the rows that a flyer has, as arrays."""
    events = events_of(flyer)
    data = {key: np.array([event["data"][f"pstat_{key}"] for event in events]) for key in CELL_KEYS}
    return np.array([event["time"] for event in events]), *(data[key] for key in CELL_KEYS)


CELL_KEYS = ("potential", "current", "status")


def flown(pstat, task):
    """What a task gives that is let run to its end."""
    flyer = start(pstat, task)
    flyer.complete().wait()
    return course(flyer)


def test_the_potential_at_rest_is_recorded_with_the_cell_off(pstat, cell, simulated, clock):
    flyer = start(pstat, RUN["OpenCircuit"])
    advance(clock, 5.0)
    assert not simulated.cell_is_on
    cell.rest_V = 3.3
    flyer.complete().wait()
    time, potential, current, status = course(flyer)
    assert len(time) == 100
    assert np.diff(time) == pytest.approx(0.1, abs=1e-4)
    assert set(potential[:45]) == {2.15}
    assert set(potential[-45:]) == {3.3}
    assert set(current) == {0.0}
    assert set(status) == {"ok"}


def test_a_potential_is_held(pstat, simulated):
    time, potential, current, status = flown(pstat, HOLD)
    assert len(time) == 100
    assert potential == pytest.approx(3.05)
    assert current == pytest.approx(0.9e-3, rel=1e-3)  # 0.9 V above the rest, 1 kOhm: it charges
    assert set(status) == {"ok"}
    assert pstat.current_range.get() == "1 mA"
    assert pstat.current.get() == 0.0
    assert not simulated.cell_is_on


def test_a_potential_below_the_rest_discharges(pstat):
    _, _, current, _ = flown(pstat, ConstantPotential(1.15, 1.0, 0.1, 0.01))
    assert current == pytest.approx(-1e-3, rel=1e-3)


def test_a_current_is_held(pstat, simulated):
    time, potential, current, status = flown(pstat, RUN["ConstantCurrent"])
    assert len(time) == 100
    assert current == pytest.approx(1e-3)
    assert potential == pytest.approx(3.15, rel=1e-3)
    assert set(status) == {"ok"}
    assert not simulated.cell_is_on


def test_a_potential_is_swept(pstat):
    time, potential, current, _ = flown(pstat, RUN["LinearSweep"])
    assert potential == pytest.approx(np.linspace(2.0, 3.0, 101), abs=1e-6)
    assert current == pytest.approx((potential - 2.15) / 1000.0, abs=1e-7)
    assert np.diff(time) == pytest.approx(0.1, abs=1e-4)


def test_a_potential_is_cycled(pstat):
    _, potential, _, _ = flown(pstat, RUN["CyclicVoltammetry"])
    scan = [*np.linspace(2.0, 2.5, 51), *np.linspace(2.5, 1.5, 101)[1:], *np.linspace(1.5, 2.0, 51)[1:]]
    assert potential == pytest.approx(np.array(scan * 3), abs=1e-6)


@pytest.fixture
def battery(clock):
    return BatteryCell(clock, state_of_charge=0.5)


@pytest.fixture
def on_battery(clock, wires, battery):
    pstat = PalmSens(name="pstat", address=wires.listen(SimulatedPalmSens(clock, battery)), clock=clock)
    pstat.connect()
    yield pstat
    pstat.link.close()


def test_a_galvanostatic_spectrum(on_battery, battery):
    flyer = start(on_battery, GalvanostaticImpedanceSweep(1000.0, 1.0, 5, 1e-3, 0.0, 3.0, 4.2))
    flyer.complete().wait()
    events = events_of(flyer)
    frequency, real, imaginary = (
        np.array([event["data"][f"pstat_{key}"] for event in events])
        for key in ("frequency", "z_real", "z_imag")
    )
    assert frequency == pytest.approx(np.geomspace(1000.0, 1.0, 16), rel=1e-5)
    assert abs((real + 1j * imaginary) / battery.impedance(frequency) - 1).max() < 6 * NOISE


def test_a_spectrum_under_a_current_that_leaves_the_window_ends_with_the_cell_off(on_battery, battery):
    flyer = start(on_battery, GalvanostaticImpedanceSweep(1000.0, 1.0, 5, 1e-3, 20e-3, 3.0, 4.1))
    with pytest.raises(InstrumentError, match=r"reached its potential limit after \d+ of 16 points"):
        flyer.complete().wait()
    assert on_battery.cell.get() == 0
    assert battery.read()[1] == 0.0


def test_a_constant_current_ends_where_the_potential_leaves_its_window(on_battery, battery):
    time, potential, current, _ = flown(on_battery, ConstantCurrent(8e-3, 3600.0, 1.0, 3.0, 4.1))
    assert potential[-1] > 4.1
    assert (potential[:-1] <= 4.1).all()
    assert (current == 8e-3).all()
    assert battery.charge_Ah * 3600.0 == pytest.approx(8e-3 * len(time), rel=1e-3)  # charged it
    assert battery.read()[1] == 0.0


def test_a_discharge_ends_at_the_lower_potential(on_battery, battery):
    _, potential, _, _ = flown(on_battery, ConstantCurrent(-8e-3, 7200.0, 1.0, 3.4, 4.5))
    assert potential[-1] < 3.4
    assert (potential[:-1] >= 3.4).all()
    assert battery.charge_Ah < 0


def test_a_hold_ends_where_the_current_falls_below_its_end(on_battery):
    _, _, current, _ = flown(on_battery, ConstantPotential(4.0, 36000.0, 10.0, 0.1, end_current_A=1e-3))
    assert 0 < current[-1] < 1e-3
    assert (current[:-1] >= 1e-3).all()


def test_a_current_limit_switches_the_cell_off_and_is_an_error(on_battery, battery):
    flyer = start(on_battery, LinearSweep(3.8, 4.8, 0.01, 0.05, 5e-3))
    with pytest.raises(InstrumentError, match=r"pstat at .*reached its current limit after \d+ points"):
        flyer.complete().wait()
    _, potential, current, _ = course(flyer)
    assert potential[-1] < 4.2
    assert (np.abs(current[:-1]) < 5e-3).all()
    assert on_battery.cell.get() == 0
    assert battery.read()[1] == 0.0


def test_a_thousand_readings_a_second_arrive_in_order(pstat, cell, clock):
    begin = clock.monotonic()
    cell.potential_V = lambda: 2.0 + 1e-3 * (clock.monotonic() - begin)  # so that no two readings are alike
    cell.series_ohm, cell.parallel_ohm = 1000.0, 0.0
    flyer = start(pstat, ConstantPotential(3.0, 12.0, 1e-3, 0.01))
    status = flyer.complete()
    portions = []
    while not status.done:
        advance(clock, 0.5)
        portions.append(events_of(flyer))
    status.wait()
    events = [event for portion in portions for event in portion]
    assert len(events) == 12_000
    assert events_of(flyer) == []
    assert max(map(len, portions)) <= 700  # they can be handed on while it runs
    times = np.array([event["time"] for event in events])
    current = np.array([event["data"]["pstat_current"] for event in events])
    assert np.diff(times) == pytest.approx(1e-3, abs=2e-6)
    rest_V = 2.0 + 1e-3 * (times - 1_700_000_000 - begin)
    assert current == pytest.approx((3.0 - rest_V) / 1000.0, abs=1e-7)
    assert (np.diff(current) < 0).all()
    assert {event["data"]["pstat_status"] for event in events} == {"ok"}


def test_a_lost_reading_is_an_error(pstat, simulated, clock):
    flyer = start(pstat, HOLD)
    status = flyer.complete()
    advance(clock, 2.0)
    simulated.break_wire("silent")
    with pytest.raises(LinkError, match=r"reading \d+ was expected"):
        status.wait()
    assert not simulated.cell_is_on


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("fault", ["half", "duplicate", "garbage", "corrupt", "reset"])
def test_a_fault_in_a_course_fails_it_and_switches_the_cell_off(pstat, simulated, clock, fault, name):
    flyer = start(pstat, RUN[name])
    status = flyer.complete()
    advance(clock, 1.3)
    simulated.break_wire(fault)
    with pytest.raises(LinkError, match="pstat at TCPIP"):
        status.wait()
    assert not simulated.cell_is_on


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (ConstantCurrent(0.2, 1.0, 0.1, 0.0, 4.0), r"pstat_applied_current: 0\.2 A is not allowed"),
        (ConstantCurrent(0.001, 1.0, 0.1, 0.0, 7.0), r"pstat_applied_potential: 7\.0 V is not allowed"),
        (ConstantPotential(3.0, 1.0, 1e-4, 1e-3), r"0\.0001 s between readings is shorter than 0\.001 s"),
        (LinearSweep(0.0, 1.0, 1e-3, 2.0, 1e-3), r"0\.0005 s between readings"),
        (
            GalvanostaticImpedanceSweep(1e3, 1.0, 5, 0.05, 0.05, 0.0, 4.0),
            r"pstat_applied_current: 0\.1207\d* A is not allowed",
        ),
    ],
)
def test_a_technique_outside_the_limits_is_refused_before_anything_is_sent(pstat, simulated, task, message):
    scripts = simulated.scripts
    with pytest.raises(LimitError, match=message):
        pstat.flyer(task).prepare(task)
    assert simulated.scripts == scripts


def test_a_senseless_course_can_not_be_made():
    with pytest.raises(ValueError, match="end_current_A must be a number above 0"):
        ConstantPotential(3.0, 1.0, 0.1, 1e-3, end_current_A=-1e-3)
    with pytest.raises(ValueError, match="cycles must be a whole number"):
        CyclicVoltammetry(0.0, 1.0, -1.0, 0.01, 0.1, 2.5, 1e-3)


# --- other models ---


@pytest.fixture
def pico(clock, wires, cell):
    simulated = SimulatedPalmSens(clock, cell, device_type="espico")
    pico = EmStatPico(name="pstat", address=wires.listen(simulated), clock=clock)
    pico.connect()
    yield pico
    pico.link.close()


def test_the_pico_is_no_galvanostat(pico):
    with pytest.raises(TypeError, match="does OpenCircuit, ConstantPotential, LinearSweep"):
        pico.flyer(RUN["ConstantCurrent"])


def test_the_pico_takes_the_mode_that_the_potentials_need(pico, cell):
    cell.rest_V = 0.5
    for low_V, high_V, mode in ((0.0, 1.0, 3), (-1.0, 1.0, 2), (-1.5, 1.0, 4)):
        task = LinearSweep(low_V, high_V, 0.01, 0.1, 3e-3)
        assert f"set_pgstat_mode {mode}" in technique_script(task, MODELS["espico"])
        _, potential, _, _ = flown(pico, task)
        assert potential[[0, -1]] == pytest.approx([low_V, high_V], abs=1e-6)
        assert pico.current_range.get() == "1 mA"
    wide = LinearSweep(-1.7, 2.0, 0.01, 0.1, 3e-3)
    with pytest.raises(LimitError, match=r"the EmStat Pico can't apply -1\.7 to 2 V"):
        pico.flyer(wide).prepare(wide)


def test_the_lr_measures_small_currents(clock, wires, cell):
    cell.series_ohm = 1e9
    simulated = SimulatedPalmSens(clock, cell, device_type="es4_lr")
    pstat = EmStat4LR(name="pstat", address=wires.listen(simulated), clock=clock)
    pstat.connect()
    _, _, current, status = flown(pstat, ConstantPotential(2.65, 1.0, 0.1, 1e-6))
    assert current == pytest.approx(0.5e-9, rel=1e-3)
    assert set(status) == {"ok"}
    assert pstat.current_range.get() == "1 nA"
    pstat.link.close()


@pytest.fixture
def nexus(clock, wires, cell):
    simulated = SimulatedPalmSens(clock, cell, device_type="nexus1", serial="NEXUS24C0029", noise=0.0)
    nexus = Nexus(name="pstat", address=wires.listen(simulated), clock=clock)
    nexus.connect()
    yield nexus
    nexus.link.close()


def test_the_nexus_says_who_it_is(nexus, clock, wires, simulated):
    assert str(nexus.identity) == "PalmSens Nexus (serial NEXUS24C0029, firmware 1.3.04)"
    other = Nexus(name="other", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="found 'EmStat4 HR', not Nexus"):
        other.connect()


def test_the_nexus_sees_an_arc_between_100_kHz_and_1_MHz(nexus, cell):
    cell.series_ohm, cell.parallel_ohm, cell.capacitance_F = 5.0, 20.0, 2e-8  # at 400 kHz
    task = ImpedanceSweep(1e6, 0.1, 10, 0.01, 2.15)
    script = technique_script(task, MODELS["nexus1"])
    assert "set_max_bandwidth 1M" in script  # as in the maker's script, which applies to the Nexus
    assert "set_pgstat_mode 3" in script
    assert "meas_loop_eis f r i 10m 1M 100m 71i 2150m" in script
    flyer = start(nexus, task)
    flyer.complete().wait()
    data = [event["data"] for event in events_of(flyer)]
    frequency = np.array([row["pstat_frequency"] for row in data])
    measured = np.array([row["pstat_z_real"] + 1j * row["pstat_z_imag"] for row in data])
    assert len(data) == 71
    assert frequency[0] == pytest.approx(1e6)
    assert measured == pytest.approx(cell.impedance(frequency), rel=1e-5)
    assert nexus.current_range.get() == "1 mA"


def test_only_the_nexus_reaches_1_MHz(nexus, pstat):
    too_high = ImpedanceSweep(1.1e6, 1.0, 5, 0.01, 2.15)
    with pytest.raises(LimitError, match=r"pstat_sweep_frequency: 1100000\.0 Hz is not allowed"):
        nexus.flyer(too_high).prepare(too_high)
    highest = ImpedanceSweep(1e6, 1.0, 5, 0.01, 2.15)
    nexus.flyer(highest).prepare(highest).wait()
    with pytest.raises(LimitError, match=r"pstat_sweep_frequency: 1000000\.0 Hz is not allowed"):
        pstat.flyer(highest).prepare(highest)


@pytest.mark.parametrize(
    ("ohm", "told"),
    [(1.0, "1 A"), (20.0, "100 mA"), (2e3, "1 mA"), (2e4, "100 uA"), (2e9, "1 nA"), (2e10, "100 pA")],
)
def test_the_nexus_has_ranges_from_1_A_to_100_pA(nexus, cell, ohm, told):
    cell.series_ohm, cell.parallel_ohm = ohm, 0.0
    _, _, current, status = flown(nexus, ConstantPotential(2.65, 1.0, 0.1, 1.0))
    assert current == pytest.approx(0.5 / ohm, rel=1e-3)
    assert set(status) == {"ok"}
    assert nexus.current_range.get() == told


def test_the_nexus_applies_10_V_and_1_A(nexus, cell):
    cell.rest_V, cell.series_ohm, cell.parallel_ohm = 0.0, 9.9, 0.0
    sweep = LinearSweep(-9.5, 9.5, 0.1, 1.0, 1.0)
    _, potential, current, _ = flown(nexus, sweep)
    assert potential[[0, -1]] == pytest.approx([-9.5, 9.5])
    assert current[[0, -1]] == pytest.approx([-9.5 / 9.9, 9.5 / 9.9], rel=1e-3)
    _, potential, _, _ = flown(nexus, ConstantCurrent(0.9, 1.0, 0.1, -10.0, 10.0))
    assert potential == pytest.approx(0.9 * 9.9, rel=1e-5)
    for task in (ConstantPotential(10.5, 1.0, 0.1, 1.0), ConstantCurrent(1.5, 1.0, 0.1, 0.0, 5.0)):
        with pytest.raises(LimitError):
            nexus.flyer(task).prepare(task)


def test_the_nexus_tells_ranges_of_its_galvanostat(nexus, cell):
    flyer = start(nexus, GalvanostaticImpedanceSweep(1e6, 10.0, 5, 1e-4, 0.0, 0.0, 5.0))
    flyer.complete().wait()
    rows = [event["data"] for event in events_of(flyer)]
    frequency = np.array([row["pstat_frequency"] for row in rows])
    measured = np.array([row["pstat_z_real"] + 1j * row["pstat_z_imag"] for row in rows])
    assert measured == pytest.approx(cell.impedance(frequency), rel=1e-5)
    assert nexus.current_range.get() == "1 mA"


def test_a_package_of_the_nexus_has_a_range_of_current_and_one_of_potential(nexus, cell, clock):
    simulated = SimulatedPalmSens(clock, cell, device_type="nexus1", noise=0.0)
    script = technique_script(ImpedanceSweep(1e6, 1e5, 1, 0.01, 2.15), MODELS["nexus1"])
    output = run(simulated, clock, "e", *script, "", seconds=10.0)
    first = decode_package(next(row for row in output.splitlines() if row.startswith("P")))
    ranges = {variable.type: variable.range for variable in first}
    assert (ranges["cc"], ranges["cd"]) == (8, 0)  # 1 mA and 1 V in the maker's tables


# --- what can go wrong in the instrument ---


def test_an_instrument_that_is_busy_says_so(pstat, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"pstat at .*error 0006: not possible now"):
        pstat.trigger().wait()
    simulated.mend()
    pstat.trigger().wait()
    assert pstat.potential.get() == pytest.approx(2.15)


@pytest.mark.parametrize("task", [*RUN.values(), SHORT], ids=lambda task: type(task).__name__)
def test_an_error_of_the_instrument_ends_a_technique(pstat, simulated, clock, task):
    flyer = start(pstat, task)
    advance(clock, 1.3)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="error 0032"):
        flyer.complete().wait()
    with pytest.raises(InstrumentError, match=r"pstat at .*error 0032"):
        pstat.trigger().wait()
    assert not simulated.cell_is_on
    simulated.mend()
    pstat.trigger().wait()
    assert pstat.quality.get() == "ok"


def test_a_potential_beyond_the_range_is_no_number(pstat, simulated):
    simulated.break_down("over_range")
    pstat.trigger().wait()
    assert math.isnan(pstat.potential.get())
    assert pstat.quality.get() == "saturated"
    simulated.mend()
    pstat.trigger().wait()
    assert pstat.potential.get() == pytest.approx(2.15)
    assert pstat.quality.get() == "ok"


@pytest.mark.parametrize("task", [*RUN.values(), SHORT], ids=lambda task: type(task).__name__)
def test_readings_beyond_the_range_are_marked(pstat, simulated, task):
    flyer = start(pstat, task)
    simulated.break_down("over_range")
    with contextlib.suppress(InstrumentError):  # where the current has a limit, it is reached
        flyer.complete().wait()
    statuses = {event["data"]["pstat_status"] for event in events_of(flyer)}
    assert statuses <= {"overload", "ok"}
    assert "overload" in statuses


@pytest.mark.parametrize("task", [*RUN.values(), SHORT], ids=lambda task: type(task).__name__)
def test_a_loss_of_power_fails_the_measurement_and_leaves_the_cell_off(pstat, simulated, clock, task):
    flyer = start(pstat, task)
    status = flyer.complete()
    advance(clock, 1.3)
    simulated.power_cycle()
    with pytest.raises(LinkError, match="pstat at TCPIP"):
        status.wait()
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0
    pstat.trigger().wait()
    assert pstat.quality.get() == "ok"


def test_a_loss_of_power_on_a_serial_line_is_noticed(clock, wires, simulated):
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError as error:
        pytest.skip(str(error))
    pstat = PalmSens(name="pstat", address=address, clock=clock)
    pstat.connect()
    flyer = start(pstat, HOLD)
    status = flyer.complete()
    advance(clock, 1.3)
    simulated.power_cycle()
    with pytest.raises(LinkError, match=r"no point for \d+ s"):
        status.wait()
    assert pstat.cell.get() == 0
    pstat.link.close()


# --- the simulated instrument, as any client sees it ---


def run(simulated, clock, *lines, seconds=60.0):
    """Give lines to the instrument and return all that it sends."""
    sent = b"".join(simulated.receive(bytearray("".join(f"{text}\n" for text in lines).encode())))
    deadline = clock.monotonic() + seconds
    while (due := simulated.next_unsolicited()) is not None and due <= deadline:
        clock.sleep(max(0.0, due - clock.monotonic()))
        sent += b"".join(simulated.unsolicited())
    return sent.decode()


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["var a", "var b", "    nonsense"], "e!4001: Line 3, Col 5\n"),
        (["set_e x"], "e!420B: Line 1, Col 7\n"),
        (["set_e 1.5"], "e!4039: Line 1, Col 7\n"),
        (["var a", "var a"], "e!4026: Line 2, Col 5\n"),
        (["var p", "meas_loop_ocp p 100m 1"], "e!4018: Line 2, Col 1\n"),
        (["var p", "pck_add p"], "e!401B: Line 2, Col 1\n"),
        (["set_pgstat_mode 2", "set_e 7"], "e\n!000F: Line 2\n\n"),
        (["set_pgstat_mode 0", "cell_on"], "e\n!0023: Line 2\n\n"),
        (["var p", "set_pgstat_mode 2", "cell_on", "meas_loop_ocp p 1 1", "endloop"], "e\n!0014: Line 4\n\n"),
        (["var p", "var c", "meas_loop_ca p c 1 1 1", "endloop"], "e\n!4027: Line 3\n\n"),
        (["cell_off"], "e\n\n"),
        (['send_string "hello # you"'], "e\nThello # you\n\n"),
    ],
)
def test_the_simulated_instrument_tells_errors_of_a_script(simulated, clock, lines, reply):
    assert run(simulated, clock, "e", *lines, "") == reply


def test_the_simulated_instrument_loads_and_runs_apart(simulated, clock):
    assert run(simulated, clock, "l", "cell_off", "") == "l\n"
    assert run(simulated, clock, "r") == "r\n\n"


def test_the_simulated_instrument_is_deaf_after_an_error(simulated, clock):
    assert run(simulated, clock, "c", "t") == "c!0003\n"
    clock.sleep(0.2)
    assert run(simulated, clock, "t").startswith("tes4_hr")
    assert run(simulated, clock, "Z") == "Z!0006\n"


def test_the_simulated_instrument_measures_current(simulated, clock):
    script = [
        "var p",
        "var c",
        "set_pgstat_mode 2",
        "set_e 3150m",
        "cell_on",
        "meas_loop_ca p c 3150m 1 2",
        "pck_start",
        "pck_add p",
        "pck_add c",
        "pck_end",
        "endloop",
        "on_finished:",
        "cell_off",
    ]
    lines = run(simulated, clock, "e", *script, "").splitlines()
    assert lines[:2] == ["e", "M0007"]
    potential, current = decode_package(lines[2])
    assert potential.value == pytest.approx(3.15)
    assert current.value == pytest.approx(1e-3, rel=1e-3)
    assert len(lines) == 6
    assert not simulated.cell_is_on


PYPALMSENS = importlib.util.find_spec("pypalmsens")  # its import would need .NET

VALIDATE = """
import json, sys, types
package = types.ModuleType("pypalmsens")
package.__path__ = [sys.argv[1]]
sys.modules["pypalmsens"] = package
from pypalmsens._methodscript import validate
for script in json.load(sys.stdin):
    try:
        validate(script)
    except SyntaxError as error:
        print(error, script, sep="\\n")
"""


def invalid(scripts):
    """What the maker's grammar has to say against scripts."""
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE, *PYPALMSENS.submodule_search_locations],
        input=json.dumps(["\n".join(script) + "\n" for script in scripts]),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def many_tasks(random):
    """One of each technique, with numbers from all over their ranges."""

    def spread(low, high):
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    volts = [float(value) for value in random.uniform(-6.0, 6.0, 3)]
    low_V, high_V = sorted(volts[:2])
    step_V, limit_A = spread(1e-4, 0.1), spread(1e-6, 0.1)
    first_Hz, last_Hz = spread(1.0, 2e5), spread(1e-3, 0.9)
    current_A = float(random.choice([-1.0, 1.0])) * spread(1e-8, 0.05)
    return [
        OpenCircuit(spread(1.0, 1e5), spread(1e-3, 100.0)),
        ConstantPotential(volts[0], spread(1.0, 1e6), spread(1e-3, 100.0), limit_A),
        ConstantPotential(volts[0], spread(1.0, 1e6), spread(1e-3, 100.0), limit_A, 0.01 * limit_A),
        ConstantCurrent(current_A, spread(1.0, 1e6), spread(1e-3, 100.0), low_V, high_V),
        LinearSweep(*volts[:2], step_V, step_V / spread(1e-3, 100.0), limit_A),
        CyclicVoltammetry(*volts, step_V, step_V / spread(1e-3, 10.0), int(random.integers(1, 100)), limit_A),
        ImpedanceSweep(first_Hz, last_Hz, spread(1.0, 50.0), spread(1e-4, 0.9), volts[0]),
        GalvanostaticImpedanceSweep(first_Hz, last_Hz, 7, spread(1e-9, 0.05), current_A, low_V, high_V),
    ]


def test_every_script_is_valid_by_the_makers_grammar():
    random = np.random.default_rng(1)
    tasks = [task for _ in range(20) for task in many_tasks(random)]
    scripts = [technique_script(task, MODELS["es4_hr"]) for task in tasks]
    assert invalid([*scripts, potential_script(), cell_off_script()]) == ""
    assert "extraneous input" in invalid([["var p", "if p > 1 p", "endif"]])  # it can say no


@pytest.mark.parametrize("device_type", MODELS)
def test_every_script_of_a_model_is_valid_by_the_makers_grammar(device_type):
    tasks = [
        LinearSweep(-1.5, 1.0, 0.01, 0.1, 1e-3),
        ImpedanceSweep(1e5, 0.1, 5, 0.01, 0.5),
        OpenCircuit(1, 1),
    ]
    assert invalid([technique_script(task, MODELS[device_type]) for task in tasks]) == ""


CYCLING = {
    "potential_max": 4.1,
    "potential_min": 3.6,
    "current_charge": 10.0,
    "current_discharge": -10.0,
    "current_min": 2.0,
    "cycles": 2,
    "interval": 1.0,
    "max_time": 3600.0,
    "delta_v": 1.0,
    "delta_i": 10.0,
    "delta_t": 60.0,
    "cell_on_ocp": False,
    "mains_frequency": 50,
}  # V, mA, mA, mA, -, s, s, mV, uA, s


def test_the_makers_own_script_cycles_a_simulated_battery(clock):
    """The templates of pypalmsens are read as text: nothing of the package is imported."""
    template = Path(PYPALMSENS.submodule_search_locations[0], "templates", "battery_cycling.mscr")
    environment = jinja2.Environment(autoescape=False)
    environment.filters["ms_val"] = lambda value, exponent: encode_literal(value * 10.0**exponent)
    text = environment.from_string(template.read_text()).render(model=CYCLING)
    script = [text_line for text_line in text.splitlines() if text_line.strip()]
    assert invalid([script]) == ""
    battery = BatteryCell(clock, state_of_charge=0.6)
    simulated = SimulatedPalmSens(clock, battery)
    output = run(simulated, clock, "e", *script, "", seconds=6 * 3600.0)
    assert "!" not in output
    assert output.endswith("\n\n")
    assert [row for row in output.splitlines() if row.startswith("M")] == ["M000A", "M0007", "M000A"] * 2
    packages = [decode_package(row) for row in output.splitlines() if row.startswith("P")]
    cycles = [[v.value for v in package] for package in packages if package[0].type == "at"]
    assert [number for number, _, _ in cycles] == [1, 2]
    charge_mAh, discharge_mAh = (np.array(column) for column in list(zip(*cycles, strict=True))[1:])
    assert discharge_mAh[1] == pytest.approx(charge_mAh[1], rel=0.05)  # between the same two states
    assert charge_mAh.sum() - discharge_mAh.sum() == pytest.approx(1000.0 * battery.charge_Ah, rel=0.05)
    courses = [{v.type: v.value for v in package} for package in packages if package[0].type == "eb"]
    assert max(values.get("ab", 0.0) for values in courses) == pytest.approx(4.1, abs=0.01)
    assert not simulated.cell_is_on


@pytest.mark.parametrize(
    ("lines", "output"),
    [
        (
            [
                "var i", "store_var i 0i ja", "loop i < 2i", "pck_start", "pck_add i", "pck_end",
                "add_var i 1i", "endloop",
            ],
            "L\nPja8000000i\nPja8000001i\n+\n",
        ),
        (
            [
                "var a", "store_var a 3 ab", "if a < 1", 'send_string "less"', "elseif a == 3",
                'send_string "three"', "else", 'send_string "more"', "endif",
            ],
            "Tthree\n",
        ),
        (["var a", "loop a == 0", "breakloop", "endloop", 'send_string "on"'], "L\n+\nTon\n"),
        (
            [
                "var a", "var b", "store_var a 6m ab", "copy_var a b", "sub_var b 2m", "mul_var b -3",
                "div_var b 2", "pck_start", "pck_add b", "pck_end",
            ],
            f"Pab{encode_value(-6e-3)}\n",
        ),
        (["var a", "div_var a 0"], "!0028: Line 2\n\n"),
        (["array a 2i", "var i", "store_var i 2i ja", "store_var a[i] 1 ab"], "!400F: Line 4\n\n"),
        (["set_script_output 0", 'send_string "nothing"'], ""),
        (["var a", "store_var a 2 ab", 'send_string f"a is {a}"'], "Ta is 2\n"),
        (["abort", 'send_string "never"', "on_finished:", 'send_string "after"'], "Tafter\n"),
        (["set_pgstat_mode 7"], "!0021: Line 1\n\n"),
        (["var p", "var c", "set_pgstat_mode 6", "cell_on", "meas_loop_ca p c 1 1 1", "endloop"],
            "!0023: Line 5\n\n"),
        (["var p", "var c", "set_pgstat_mode 3", "cell_on", "meas_loop_ca p c 1 100u 1", "endloop"],
            "!005A: Line 5\n\n"),
        (["var p", "var c", "set_pgstat_mode 3", "cell_on", "meas_loop_lsv p c 1 1 1m 1", "endloop"],
            "!4029: Line 5\n\n"),
        (["var p", "var c", "set_pgstat_mode 3", "cell_on", "meas_loop_ca p c 1 1 2", "set_e 2", "endloop"],
            "M0007\n!4032: Line 6\n\n"),
        (["set_pgstat_mode 6", "set_i 1"], "!4205: Line 2\n\n"),
    ],
)  # fmt: skip
def test_the_simulated_instrument_runs_the_language(simulated, clock, lines, output):
    end = "" if output.endswith("\n\n") else "\n"
    assert run(simulated, clock, "e", *lines, "") == "e\n" + output + end


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["endloop"], "e!400E: Line 1, Col 1\n"),
        (["breakloop"], "e!400E: Line 1, Col 1\n"),
        (["var a", "if a < 1", "endloop"], "e!400E: Line 3, Col 1\n"),
        (["var a", "if a ~ 1", "endif"], "e!4004: Line 2, Col 6\n"),
        (["var p", "meas_loop_ocp p 1 1 nscans(2)"], "e!4008: Line 2, Col 21\n"),
        (["var p", "meas_loop_ocp p 1 1", "meas_loop_ocp p 1 1"], "e!400B: Line 3, Col 1\n"),
    ],
)
def test_the_simulated_instrument_tells_what_is_no_script(simulated, clock, lines, reply):
    assert run(simulated, clock, "e", *lines, "") == reply


CYCLES = ["var p", "var c", "set_pgstat_mode 3", "cell_on", "meas_loop_cv p c 2 2100m 1900m 100m 1 nscans(2)"]


def test_the_simulated_instrument_marks_scans(simulated, clock):
    script = [*CYCLES, "pck_start", "pck_add p", "pck_end", "endloop", "cell_off"]
    lines = run(simulated, clock, "e", *script, "").splitlines()
    assert [row for row in lines if not row.startswith("P")] == [
        "e",
        "M0005",
        "C0000",
        "-",
        "C0001",
        "-",
        "*",
        "",
    ]
    levels_V = [decode_package(row)[0].value for row in lines if row.startswith("P")]
    assert levels_V == pytest.approx([2.0, 2.1, 2.0, 1.9, 2.0] * 2)


def test_a_scan_that_is_broken_off_is_ended_before_its_loop(simulated, clock):
    script = [*CYCLES, "if p > 2050m", "breakloop", "endif", "endloop", 'send_string "on"', "cell_off"]
    assert run(simulated, clock, "e", *script, "") == "e\nM0005\nC0000\n-\n*\nTon\n\n"


HOURS = [
    "var p",
    "set_pgstat_mode 3",
    "meas_loop_ocp p 1 3600",
    "pck_start",
    "pck_add p",
    "pck_end",
    "endloop",
]


def test_the_simulated_instrument_ends_a_loop_and_goes_on_when_told(simulated, clock):
    run(simulated, clock, "e", *HOURS, 'send_string "on"', "", seconds=2.5)
    assert run(simulated, clock, "Y") == "Y\n*\nTon\n\n"
    clock.sleep(0.2)
    assert run(simulated, clock, "Y") == "Y!0006\n"


def test_the_simulated_instrument_halts_and_goes_on_when_told(simulated, clock):
    assert run(simulated, clock, "e", *HOURS, "", seconds=2.5).count("Pab") == 2
    assert run(simulated, clock, "h", seconds=100.0) == "h\n"
    clock.sleep(100.0)
    assert run(simulated, clock, "H", seconds=2.2).count("Pab") == 2
