import logging
import math

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.palmsens import (
    EmStatPico,
    PalmSens,
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
    impedance_script,
    potential_script,
)
from devices.potentiostat import ImpedanceSweep, SweepStopped
from sim_devices.instruments.palmsens import SimulatedPalmSens, encode_value
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument

NOISE = 0.002
SWEEP = ImpedanceSweep(100e3, 0.1, 10, 0.01, 0.5)
SHORT = ImpedanceSweep(1000.0, 1.0, 5, 0.01, 0.5)


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


def start(pstat, sweep=SHORT):
    pstat.prepare(sweep).wait()
    pstat.kickoff().wait()


def advance(clock, seconds):
    """Let time pass with the loop running, as under a plan."""
    clock.start()
    clock.sleep(seconds)


def spectrum(pstat, sweep, stream):
    yield from bps.prepare(pstat, sweep, wait=True)
    yield from bps.declare_stream(pstat, name=stream, collect=True)
    yield from bps.kickoff(pstat, wait=True)
    yield from bps.complete(pstat, wait=True)
    yield from bps.collect(pstat, name=stream)


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
    script = impedance_script(SWEEP, 200e3, (1e-7, 0.1))
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
        (ImpedanceSweep(1e3, 1.0, 5, 0.01, 6.5), "pstat_sweep_bias: 6.5 V is not allowed"),
        (ImpedanceSweep(1e3, 1.0, 5, 0.5, 5.5), "5.5 V .* leaves the potentials allowed, from -6 to 6 V"),
    ],
)
def test_a_sweep_outside_the_limits_is_refused_before_anything_is_sent(pstat, simulated, sweep, message):
    scripts = simulated.scripts
    with pytest.raises(LimitError, match=message):
        pstat.prepare(sweep)
    assert simulated.scripts == scripts
    with pytest.raises(RuntimeError, match="prepare a sweep before"):
        pstat.kickoff()


def test_limits_of_the_station_are_kept(clock, wires, simulated):
    address = wires.listen(simulated)
    pstat = PalmSens(name="pstat", address=address, clock=clock, limits={"sweep_bias": (2.0, 4.3)})
    with pytest.raises(LimitError, match=r"from 2 to 4\.3 V"):
        pstat.prepare(SWEEP)


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
        yield from spectrum(pstat, SWEEP, "impedance_before")
        cell.parallel_ohm = 1800.0
        yield from spectrum(pstat, SWEEP, "impedance_after")

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
        assert descriptor["configuration"]["pstat"]["data"]["pstat_sweep_bias"] == 0.5
    pages = {d["descriptor"]: d for name, d in documents if name == "event_page"}
    for stream, parallel_ohm in (("impedance_before", 900.0), ("impedance_after", 1800.0)):
        page = pages[descriptors[stream]["uid"]]
        data = {key.removeprefix("pstat_"): np.array(column) for key, column in page["data"].items()}
        assert len(data["frequency"]) == 61
        assert data["frequency"] == pytest.approx(np.geomspace(100e3, 0.1, 61), rel=1e-5)  # 28 bits
        cell.parallel_ohm = parallel_ohm
        expected = cell.impedance(data["frequency"])
        assert abs((data["z_real"] + 1j * data["z_imag"]) / expected - 1).max() < 6 * NOISE
        assert data["z_imag"][10:40].max() < 0  # the raw imaginary part of a capacitive cell
        assert set(data["status"]) == {"ok"}
        times = np.array(page["timestamps"]["pstat_z_real"])
        assert (np.diff(times) > 0).all()
        assert before < times[0]
        assert times[-1] <= clock.now()
        before = times[-1]


def test_each_point_is_measured_at_the_time_it_bears(pstat, cell, clock):
    start(pstat)
    pstat.complete().wait()
    times = [event["time"] - 1_700_000_000 for event in pstat.collect()]
    assert times == pytest.approx(cell.asked, abs=0.02)


def test_progress_is_told_in_points(pstat):
    facts = []
    start(pstat)
    status = pstat.complete()
    status.watch(lambda **update: facts.append((update["current"], update["target"], update["unit"])))
    status.wait()
    assert facts[-1] == (16, 16, "points")
    assert len(facts) > 3


def test_points_are_collected_once(pstat):
    start(pstat)
    pstat.complete().wait()
    assert len(list(pstat.collect())) == 16
    assert list(pstat.collect()) == []


def test_a_sweep_is_over_before_anybody_asks(pstat, clock):
    start(pstat)
    advance(clock, 100)
    pstat.complete().wait(timeout=1)
    assert len(list(pstat.collect())) == 16


def test_polling_during_a_sweep_does_not_disturb_it(pstat, clock):
    start(pstat)
    advance(clock, 2)
    pstat.trigger().wait()
    assert pstat.cell.get() == 1
    pstat.complete().wait()
    assert pstat.potential.get() == pytest.approx(2.15, abs=1e-6)
    assert len(list(pstat.collect())) == 16


def test_a_second_kickoff_is_refused_while_a_sweep_runs(pstat):
    start(pstat)
    with pytest.raises(RuntimeError, match="a sweep is under way"):
        pstat.kickoff()
    with pytest.raises(RuntimeError, match="a sweep is under way"):
        pstat.prepare(SWEEP)


def test_an_overload_is_returned_with_its_status(pstat, cell):
    cell.series_ohm, cell.parallel_ohm = 0.01, 1e-9
    start(pstat)
    pstat.complete().wait()
    events = list(pstat.collect())
    assert {event["data"]["pstat_status"] for event in events} == {"overload"}
    assert events[0]["data"]["pstat_z_real"] > 0.1  # the current was clipped: more than the true 0.01 ohm


def test_an_underload_is_returned_with_its_status(pstat, cell):
    cell.series_ohm = 1e12
    start(pstat)
    pstat.complete().wait()
    assert {event["data"]["pstat_status"] for event in pstat.collect()} == {"underload"}


def test_the_pico_measures_too(clock, wires, cell):
    simulated = SimulatedPalmSens(clock, cell, device_type="espico")
    pico = EmStatPico(name="pico", address=wires.listen(simulated), clock=clock)
    pico.connect()
    assert pico.sweep_bias.limits == (-1.7, 2.0)
    start(pico)
    pico.complete().wait()
    assert len(list(pico.collect())) == 16
    assert pico.current_range.get() == "25 uA"
    pico.link.close()


# --- ends other than good ones ---


def test_a_stop_ends_the_sweep_and_switches_the_cell_off(pstat, simulated, clock):
    start(pstat)
    status = pstat.complete()
    advance(clock, 2)
    assert simulated.cell_is_on
    pstat.stop()
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0
    with pytest.raises(SweepStopped, match=r"pstat: the sweep was stopped after \d of 16 points"):
        status.wait()
    assert 0 < len(list(pstat.collect())) < 16
    pstat.make_safe()


def test_a_plan_that_is_aborted_leaves_the_cell_off(RE, pstat, simulated, clock):
    def stopped():
        yield from bps.stop(pstat)

    @bpp.run_decorator()
    def plan():
        yield from bps.prepare(pstat, SWEEP, wait=True)
        yield from bps.declare_stream(pstat, name="impedance", collect=True)
        yield from bps.kickoff(pstat, wait=True)
        yield from bps.sleep(3)
        raise ValueError("something else went wrong")

    with pytest.raises(ValueError, match="something else"):
        RE(bpp.finalize_wrapper(plan(), stopped))
    assert not simulated.cell_is_on


def test_a_runtime_error_fails_the_sweep_and_switches_the_cell_off(RE, pstat, simulated):
    simulated.fail_next_loop = 0x0032

    @bpp.run_decorator()
    def plan():
        yield from spectrum(pstat, SHORT, "impedance")

    with pytest.raises(FailedStatus) as caught:
        RE(plan())
    error = caught.value.args[0].exception()
    assert isinstance(error, InstrumentError)
    assert "reports error 0032 in line 16: critical overload" in str(error)
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0


def test_a_script_that_the_instrument_refuses_is_told(pstat, simulated, monkeypatch):
    monkeypatch.setattr("devices.palmsens.impedance_script", lambda *_: ["var a", "  nonsense 1"])
    pstat.prepare(SHORT).wait()
    with pytest.raises(InstrumentError, match="error 4001 in line 2, column 3: unknown script command"):
        pstat.kickoff().wait()
    assert not pstat.sweeping


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_stream_fails_the_sweep_and_switches_the_cell_off(pstat, simulated, clock, fault):
    start(pstat)
    status = pstat.complete()
    advance(clock, 1.3)
    simulated.break_wire(fault)
    with pytest.raises(LinkError, match="pstat at TCPIP"):
        status.wait()
    assert not simulated.cell_is_on
    pstat.trigger().wait()
    assert pstat.potential.get() == pytest.approx(2.15, abs=1e-6)


def test_silence_is_noticed(pstat, simulated, clock):
    start(pstat)
    status = pstat.complete()
    advance(clock, 1.3)
    simulated.break_wire("silent", times=None)
    clock.call_later(5.0, simulated.mend_wire)
    with pytest.raises(LinkError, match=r"no point for \d+ s, after \d+ of 16 points|the sweep ended after"):
        status.wait()
    assert not simulated.cell_is_on


def test_the_cell_is_switched_off_as_soon_as_the_link_is_back(pstat, simulated, clock, caplog):
    simulated.fail_next_loop = 0x0032  # leaves the cell on, and the news of it never comes
    start(pstat)
    simulated.break_wire("silent", times=None)
    with caplog.at_level(logging.ERROR), pytest.raises(LinkError, match="no point for"):
        pstat.complete().wait()
    assert "pstat: the cell may be on" in caplog.text
    assert simulated.cell_is_on
    simulated.mend_wire()
    advance(clock, 30)
    assert not simulated.cell_is_on
    assert pstat.cell.get() == 0


def test_a_new_sweep_is_not_ended_by_the_trouble_of_the_one_before(pstat, simulated, clock):
    simulated.fail_next_loop = 0x0032
    start(pstat)
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkError):
        pstat.complete().wait()
    simulated.mend_wire()
    start(pstat)
    pstat.complete().wait()
    assert len(list(pstat.collect())) == 16


def test_a_kickoff_whose_acknowledgement_is_lost_leaves_the_cell_off(pstat, simulated):
    pstat.prepare(SWEEP).wait()
    simulated.break_wire("reset")
    with pytest.raises(LinkError):
        pstat.kickoff().wait()
    assert not simulated.cell_is_on
    assert not pstat.sweeping


def test_a_sweep_that_ends_early_is_an_error(pstat, simulated, clock):
    start(pstat)
    advance(clock, 1.3)
    simulated.receive(bytearray(b"Y\n")).__next__()  # as from the instrument's own panel
    with pytest.raises(LinkError, match=r"the sweep ended after \d of 16 points"):
        pstat.complete().wait()
    assert not simulated.cell_is_on


def test_a_serial_line_serves_as_well(clock, wires, simulated):
    try:
        address = wires.attach_pty(simulated)
    except NotImplementedError as error:
        pytest.skip(str(error))
    pstat = PalmSens(name="pstat", address=address, clock=clock)
    pstat.connect()
    start(pstat)
    pstat.complete().wait()
    assert len(list(pstat.collect())) == 16
    assert not simulated.cell_is_on
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
