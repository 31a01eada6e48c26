import json
import math
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.scanner import Scan
from devices.flyer import MeasurementStopped
from devices.keithley_daq6510 import BufferedReading, KeithleyDaq6510, decode_buffer, decode_scan_state
from sim_devices.instruments.keithley_daq6510 import SimulatedKeithleyDaq6510
from sim_devices.physics.terminals import WiredTerminals
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, Refusal, WrongInstrument
from ssblab.links.scpi import decode_error_queue, decode_identification

REFERENCE_V, WALL_C = 2.345, 60.0
CHANNELS = {
    "wall": {"at": 201, "quantity": "temperature", "thermocouple": "K"},
    "reference": {"at": 101, "quantity": "voltage"},
    "shunt": {"at": 102, "quantity": "voltage", "range_V": 0.1},
}
WIRING = {
    0: {"voltage_V": -1.0},
    101: {"voltage_V": REFERENCE_V, "source_ohm": 1e6},
    102: {"voltage_V": 0.05},
    201: {"temperature_C": WALL_C},
}
RUN = Scan(1.0, 30)


@pytest.fixture
def terminals(clock):
    return WiredTerminals(clock, channels=WIRING)


@pytest.fixture
def simulated(clock, terminals):
    return SimulatedKeithleyDaq6510(clock, terminals, slots={1: "7700", 2: "7708"})


@pytest.fixture
def daq(clock, wires, simulated):
    daq = KeithleyDaq6510(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    daq.connect()
    yield daq
    daq.link.close()


def say(simulated, text):
    """What the simulated instrument answers at once."""
    return b"".join(simulated.receive(bytearray(text.encode() + b"\n"))).decode().rstrip("\n")


def errors(simulated):
    found = []
    while not (entry := say(simulated, "SYST:ERR?")).startswith("0,"):
        found.append(int(entry.partition(",")[0]))
    return found


def start(daq, task=RUN):
    flyer = daq.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def reads_right(daq):
    assert daq.reference.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    assert daq.shunt.get() == pytest.approx(0.05, abs=1e-6)
    assert daq.wall.get() == pytest.approx(WALL_C, abs=1e-4)


# --- codec ---


def test_an_identification_captured_from_an_instrument():
    reply = b"KEITHLEY INSTRUMENTS,MODEL DAQ6510,04591126,1.7.12b\n"
    assert decode_identification(reply)[1:] == ("MODEL DAQ6510", "04591126", "1.7.12b")


def test_error_entries_printed_by_the_maker():
    decode_error_queue(b'0,"No error;0;0 0"\n')
    with pytest.raises(Refusal, match="reports error -113: Undefined header;1;2018/05/06"):
        decode_error_queue(b'-113,"Undefined header;1;2018/05/06 12:57:04.484"\n')


def test_states_of_a_scan():
    assert decode_scan_state(b"RUNNING;2;4\n") == "RUNNING"
    assert decode_scan_state(b"SUCCESS;10;0\n") == "SUCCESS"
    assert decode_scan_state(b"IDLE;IDLE;9\n") == "IDLE"  # printed by the maker, of the trigger model
    for reply in (b"RUNNINg7;1\n", b"1\n", b"\n", b"PERHAPS;1;2\n"):
        with pytest.raises(ProtocolError):
            decode_scan_state(reply)


def test_readings_with_channel_value_and_relative_time():
    first, second = decode_buffer(b"101,2.345000E+00,0.000000,102,9.900000E+37,0.071000\n", [101, 102], 2)
    assert first == BufferedReading(2.345, 0.0, 101)
    assert math.isnan(second.value)
    for channels, count in (([102, 101], 2), ([101], 2), ([101, 102], 1)):
        with pytest.raises(ProtocolError):
            decode_buffer(b"101,2.345000E+00,0.000000,102,9.900000E+37,0.071000\n", channels, count)
    with pytest.raises(ProtocolError, match="'Rear'"):  # as an instrument says that no channel was closed
        decode_buffer(b"Rear,2.345000E+00,0.000000\n", [101], 1)


@given(st.lists(st.tuples(st.floats(-300, 300), st.floats(0, 1e6)), min_size=1, max_size=10))
def test_readings_round_trip(pairs):
    text = ",".join(f"101,{value:.6E},{since_s:.6f}" for value, since_s in pairs)
    readings = decode_buffer(f"{text}\n".encode(), [101], len(pairs))
    assert [r.value for r in readings] == pytest.approx([value for value, _ in pairs], rel=1e-6, abs=1e-12)
    assert [r.since_s for r in readings] == pytest.approx([since_s for _, since_s in pairs], abs=1e-5)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (decode_scan_state, lambda d: decode_buffer(d, [101, 102], 2)):
        try:
            decode(data)
        except ProtocolError:
            pass


# --- driver ---


def test_connect_identifies_and_configures_each_channel(daq, simulated):
    assert str(daq.identity) == "Keithley DAQ6510 (serial 04591126, firmware 1.7.12b)"
    reads_right(daq)
    assert daq.quality.get() == "ok"
    assert say(simulated, "ROUT:SCAN:CRE?") == "(@101:102,201)"
    assert say(simulated, "VOLT:INP? (@101:102)") == "AUTO;AUTO"
    assert say(simulated, "TEMP:TC:RJUN:RSEL? (@201)") == "INT"
    assert say(simulated, "TEMP:ODET? (@201)") == "1"
    assert errors(simulated) == []


def test_every_number_has_a_unit_and_a_time(daq, clock):
    clock.sleep(100.0)
    daq.trigger().wait()
    for name, reading in daq.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    assert [daq.describe()[f"daq_{name}"]["units"] for name in CHANNELS] == ["degC", "V", "V"]


def test_a_reference_electrode_is_not_loaded(daq, simulated):
    assert daq.reference.get() == pytest.approx(REFERENCE_V, rel=2e-4)
    say(simulated, "VOLT:INP MOHM10,(@101)")
    daq.trigger().wait()  # the driver sees it and sets it again
    assert daq.reference.get() == pytest.approx(REFERENCE_V, rel=2e-4)


@pytest.mark.parametrize(
    "tampering",
    [
        'FUNC "RES",(@101)',
        'FUNC "VOLT:DC",(@201)',
        "TEMP:TC:TYPE J,(@201)",
        "TEMP:UNIT FAHR,(@201)",
        "TEMP:TC:RJUN:RSEL SIM,(@201)",
        "VOLT:REL 1,(@101);:VOLT:REL:STAT ON,(@101)",
        "VOLT:RANG:AUTO ON,(@102)",
        "ROUT:SCAN:CRE (@101)",
        "ROUT:SCAN:COUN:SCAN 5;:ROUT:SCAN:INT 10",
        'TRAC:MAKE "mine",100;:ROUT:SCAN:BUFF "mine"',
        "*RST",
    ],
)
def test_what_somebody_changed_at_the_front_panel_is_set_again(daq, simulated, tampering):
    say(simulated, tampering)
    assert errors(simulated) == []
    daq.trigger().wait()
    reads_right(daq)
    assert daq.quality.get() == "ok"


def test_an_open_thermocouple_is_no_temperature(daq, terminals):
    terminals.wires[201].open = True
    daq.trigger().wait()
    assert math.isnan(daq.wall.get())
    assert daq.quality.get() == "invalid"
    assert daq.reference.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    terminals.wires[201].open = False
    daq.trigger().wait()
    assert daq.quality.get() == "ok"


def test_a_voltage_beyond_its_range_is_saturated(daq, terminals):
    terminals.wires[102].voltage_V = -0.2
    daq.trigger().wait()
    assert math.isnan(daq.shunt.get())
    assert daq.quality.get() == "saturated"


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        (
            {"a": {"at": 121, "quantity": "voltage"}},
            "slot 1 holds 7700,20Ch Mux w/CJC.*, without channel 121",
        ),
        ({"a": {"at": 241, "quantity": "voltage"}}, "slot 2 holds 7708.*, without channel 241"),
        ({"a": {"at": 301, "quantity": "voltage"}}, "slot 3 holds nothing, without channel 301"),
    ],
)
def test_a_channel_that_the_module_does_not_have_is_refused(clock, wires, simulated, channels, found):
    daq = KeithleyDaq6510(name="daq", address=wires.listen(simulated), clock=clock, channels=channels)
    with pytest.raises(InstrumentError, match=f"daq at .*{found} for voltages"):
        daq.connect()


def test_an_empty_slot_is_refused(clock, wires, terminals):
    simulated = SimulatedKeithleyDaq6510(clock, terminals, slots={1: "7700"})
    daq = KeithleyDaq6510(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    with pytest.raises(InstrumentError, match="slot 2 holds Empty Slot, without channel 201"):
        daq.connect()


def test_terminals_at_the_front_are_refused_since_no_channel_would_be_read(daq, simulated):
    simulated.front = True
    with pytest.raises(InstrumentError, match=r"ROUT:TERM\? says FRON, must be REAR"):
        daq.trigger().wait()
    assert daq.quality.get() == "invalid"
    simulated.front = False
    daq.trigger().wait()
    reads_right(daq)


def test_a_range_that_the_instrument_does_not_have_is_refused(clock, wires, simulated):
    channels = {"a": {"at": 101, "quantity": "voltage", "range_V": 5.0}}
    daq = KeithleyDaq6510(name="daq", address=wires.listen(simulated), clock=clock, channels=channels)
    with pytest.raises(InstrumentError, match=r"VOLT:RANG\? \(@101\) says 1.000000E\+01, told 5.0"):
        daq.connect()


@pytest.mark.parametrize(
    ("identification", "found"),
    [
        ("KEITHLEY INSTRUMENTS,MODEL DMM6500,04591126,1.7.12b", "KEITHLEY INSTRUMENTS MODEL DMM6500"),
        ("HEWLETT-PACKARD,34970A,0,13-2-2", "HEWLETT-PACKARD 34970A"),
    ],
)
def test_another_instrument_at_the_address_is_refused(clock, wires, terminals, identification, found):
    other = SimulatedKeithleyDaq6510(clock, terminals)
    other.identification = identification
    daq = KeithleyDaq6510(name="daq", address=wires.listen(other), clock=clock, channels=CHANNELS)
    with pytest.raises(WrongInstrument, match=f"found '{found}', not DAQ6510"):
        daq.connect()


def test_another_command_set_is_refused(clock, wires, simulated):
    simulated.commands["*LANG?"] = lambda: "TSP"
    daq = KeithleyDaq6510(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    with pytest.raises(InstrumentError, match="is set to the command set TSP, not SCPI"):
        daq.connect()


@pytest.mark.parametrize("nplc", [0.0, 15.0])
def test_an_integration_time_that_the_instrument_does_not_have_is_refused(clock, nplc):
    with pytest.raises(ValueError, match=r"nplc must be from 0\.0005 to 12"):
        KeithleyDaq6510(name="daq", address="", clock=clock, channels=CHANNELS, nplc=nplc)


# --- scans in the instrument ---


def test_a_scan_runs_in_the_instrument_with_its_own_times(daq, clock, terminals):
    began = clock.now()
    terminals.wires[101].voltage_V = lambda: 1e-3 * (clock.now() - began)  # a ramp: a reading knows its time
    flyer = start(daq)
    flyer.complete().wait()
    rows = flyer.take_rows()
    assert len(rows) == 30
    assert clock.now() - began < 60.0
    assert [b.time - a.time for a, b in pairwise(rows)] == pytest.approx([1.0] * 29, abs=2e-3)
    for row in rows:
        assert row.values["reference"] == pytest.approx(1e-3 * (row.time - began), abs=5e-4)
        assert row.values["wall"] == pytest.approx(WALL_C, abs=1e-4)
        assert row.values["quality"] == "ok"


def test_readings_come_while_the_scan_runs(daq, pass_time):
    flyer = start(daq, Scan(1.0, 100))
    pass_time(20.0)
    assert 15 <= len(flyer.take_rows()) <= 20
    daq.poll()  # what runs is not disturbed
    assert daq.reference.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    flyer.complete().wait()
    assert 80 <= len(flyer.take_rows()) <= 85


def test_a_long_scan_with_many_readings_is_fetched_in_pieces(daq):
    flyer = start(daq, Scan(0.5, 3000))
    flyer.complete().wait()
    rows = flyer.take_rows()
    assert len(rows) == 3000
    assert rows[-1].time - rows[0].time == pytest.approx(2999 * 0.5, abs=0.01)


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (Scan(0.2, 10), "a scan of 3 channels takes 0.33 s, longer than the interval"),
        (Scan(1.0, 400_000), "1200000 readings are more than 1000000"),
        (Scan(100_001.0, 2), r"longer than 100000 s"),
    ],
)
def test_a_scan_that_the_instrument_can_not_do_is_refused(daq, simulated, task, problem):
    with pytest.raises(LimitError, match=problem):
        daq.flyer(task).prepare(task)
    assert say(simulated, "ROUT:SCAN:STAT?").startswith("SUCCESS")


def test_the_shortest_interval_that_is_allowed_can_be_kept(daq):
    flyer = start(daq, Scan(daq.shortest_scan_s(), 20))
    flyer.complete().wait()
    rows = flyer.take_rows()
    assert rows[-1].time - rows[0].time == pytest.approx(19 * daq.shortest_scan_s(), abs=0.01)


def test_the_safe_state_ends_the_scan(daq, simulated, pass_time):
    flyer = start(daq)
    pass_time(5.0)
    status = flyer.complete()
    daq.make_safe()
    assert say(simulated, "ROUT:SCAN:STAT?").startswith("ABORTED")
    with pytest.raises(MeasurementStopped, match=r"daq: the measurement was stopped after \d+ of 30 points"):
        status.wait()
    daq.make_safe()
    daq.trigger().wait()
    reads_right(daq)


def test_a_safe_state_that_is_not_reached_is_told(daq, simulated, clock):
    start(daq)
    simulated.break_down("busy")
    begin_s = clock.monotonic()
    with pytest.raises(InstrumentError, match="goes on scanning though told to stop"):
        daq.make_safe()
    assert clock.monotonic() - begin_s < daq.action_timeout_s
    simulated.mend()
    daq.make_safe()


def test_somebody_who_stops_the_scan_is_noticed(daq, simulated, pass_time):
    flyer = start(daq)
    status = flyer.complete()
    pass_time(5.0)
    say(simulated, "ABOR")
    with pytest.raises(InstrumentError, match=r"its scan is aborted after \d of 30 points"):
        status.wait()
    assert 4 <= len(flyer.take_rows()) <= 6  # what was measured is kept


def test_a_loss_of_power_ends_the_scan_and_is_noticed(daq, simulated, pass_time):
    flyer = start(daq)
    status = flyer.complete()
    pass_time(5.0)
    simulated.power_cycle()
    with pytest.raises(
        InstrumentError, match=r"has lost its scan after \d of 30 points: it holds 0 readings"
    ):
        status.wait()
    daq.trigger().wait()
    reads_right(daq)


def test_a_scan_that_somebody_started_is_an_error(daq, simulated):
    say(simulated, "ROUT:SCAN:COUN:SCAN 0;:INIT")
    with pytest.raises(InstrumentError, match="scans though nobody here told it to"):
        daq.trigger().wait()
    assert math.isnan(daq.reference.get())
    daq.make_safe()
    daq.trigger().wait()
    reads_right(daq)


# --- faults ---


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(daq, simulated, fault):
    simulated.break_wire(fault)
    for _ in range(3):
        daq.trigger().wait()
        reads_right(daq)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(daq, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match="daq at TCPIP"):
        daq.trigger().wait(60.0)
    assert daq.quality.get() == "invalid"
    simulated.mend()
    daq.trigger().wait()
    reads_right(daq)


@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_scan_loses_no_row(daq, simulated, pass_time, fault, which):
    """The buffer keeps what was fetched, and all questions of a scan may be asked again."""
    flyer = start(daq)
    status = flyer.complete()
    pass_time(7.2)
    simulated._faults = [None] * (which - 1) + [fault]
    status.wait()
    rows = flyer.take_rows()
    assert len(rows) == 30
    assert [b.time - a.time for a, b in pairwise(rows)] == pytest.approx([1.0] * 29, abs=2e-3)


@pytest.mark.parametrize(
    ("breakdown", "problem"),
    [("busy", "scans though nobody here told it to"), ("error", "reports error -240: Hardware error")],
)
def test_a_breakdown_is_an_error_until_it_is_mended(daq, simulated, breakdown, problem):
    simulated.break_down(breakdown)
    with pytest.raises(InstrumentError, match=f"daq at .*{problem}"):
        daq.trigger().wait()
    assert daq.quality.get() == "invalid"
    if breakdown == "error":
        daq.make_safe()  # which it is, whatever else is wrong
    simulated.mend()
    daq.trigger().wait()
    reads_right(daq)
    assert daq.quality.get() == "ok"


def test_what_is_beyond_all_ranges_is_no_number(daq, simulated):
    simulated.break_down("over_range")
    daq.trigger().wait()
    assert all(math.isnan(signal.get()) for signal in daq.channels.values())
    assert daq.quality.get() == "invalid"
    simulated.mend()
    daq.trigger().wait()
    reads_right(daq)


def test_after_a_loss_of_power_all_is_configured_anew(daq, simulated):
    simulated.power_cycle()
    assert say(simulated, "ROUT:SCAN:CRE?") == "(@)"
    daq.trigger().wait()
    reads_right(daq)
    assert daq.quality.get() == "ok"


# --- the simulated instrument ---


def test_buffers_and_their_elements(simulated, clock):
    say(simulated, 'TRAC:MAKE "test1",1000;:FUNC "TEMP",(@201);:TEMP:TRAN TC,(@201);:TEMP:TC:TYPE K,(@201)')
    say(simulated, 'ROUT:SCAN:BUFF "test1";:ROUT:SCAN:CRE (@101,201);:ROUT:SCAN:COUN:SCAN 2;:ROUT:SCAN:INT 5')
    say(simulated, "INIT")
    assert say(simulated, "ROUT:SCAN:STAT?") == "RUNNING;0;0"
    clock.sleep(2.0)
    assert say(simulated, "ROUT:SCAN:STAT?") == "RUNNING;1;0"
    assert say(simulated, "TRIG:STAT?") == "WAITING;WAITING;6"
    assert say(simulated, '*WAI;:TRAC:ACT? "test1"') == ""  # held
    clock.sleep(10.0)
    assert list(simulated.unsolicited()) == [b"4\n"]
    assert say(simulated, "ROUT:SCAN:STAT?") == "SUCCESS;2;0"
    assert say(simulated, 'TRAC:DATA? 2,3,"test1",CHAN,READ,REL,UNIT') == (
        "201,6.000000E+01,0.070000,Celsius,101,2.131818E+00,5.000000,Volt DC"
    )
    assert say(simulated, "TRAC:DATA? 1,1,'test1',TST") == "11/14/2023 22:13:20.070000000"
    assert say(simulated, 'TRAC:ACT:END? "test1";:TRAC:POIN? "test1"') == "4;1000"
    assert errors(simulated) == []
    for text, code in (
        ('TRAC:MAKE "test1",10', 1115),
        ('TRAC:DATA? 1,9,"test1",READ', -222),
        ('TRAC:ACT? "other"', -224),
        ('TRAC:DATA? 1,1,"test1",COLOUR', -224),
        ("VOLT:NPLC 1,(@201)", -221),
        ("VOLT:RANG 2000,(@101)", -222),
        ("ROUT:CLOS (@121)", -222),
        ("FOO", -113),
    ):
        say(simulated, text)
        assert errors(simulated) == [code], text


def test_error_entries_have_type_and_time(simulated):
    assert say(simulated, "SYST:ERR?") == '0,"No error;0;0 0"'
    say(simulated, "FOO")
    assert say(simulated, "SYST:ERR?") == '-113,"Undefined header;1;2023/11/14 22:13:20.000"'


def test_a_buffer_that_fills_once_keeps_the_first_and_the_others_the_last(simulated, clock):
    say(simulated, "TRAC:POIN 10;:ROUT:SCAN:CRE (@101);:ROUT:SCAN:COUN:SCAN 15;:ROUT:SCAN:INT 1;:INIT")
    clock.sleep(20.0)
    assert say(simulated, "TRAC:ACT?") == "10"
    first = say(simulated, 'TRAC:DATA? 1,1,"defbuffer1",SEC')
    say(simulated, "TRAC:FILL:MODE ONCE;:TRAC:CLE;:INIT")
    began = clock.now()
    clock.sleep(20.0)
    assert say(simulated, "TRAC:ACT?") == "10"
    assert int(first) == 1_700_000_005
    assert float(say(simulated, 'TRAC:DATA? 1,1,"defbuffer1",SEC')) == pytest.approx(began, abs=1.0)


def test_a_reading_is_taken_at_the_channel_that_is_closed(simulated, clock):
    def read():
        assert say(simulated, 'READ? "defbuffer1",CHAN,READ') == ""
        clock.sleep(1.0)
        return b"".join(simulated.unsolicited()).decode().strip()

    assert read() == "Rear,-1.000000E+00"
    say(simulated, "ROUT:CLOS (@102)")
    assert read() == "102,5.000000E-02"
    say(simulated, "ROUT:OPEN (@102)")
    simulated.front = True
    assert read() == "Front,-1.000000E+00"


# --- a client of others ---


def test_a_public_client_measures_with_the_simulated_instrument():
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedKeithleyDaq6510(clock, WiredTerminals(clock, channels=WIRING), slots={1: "7708"})
    address = wires.listen(simulated)
    client = f"""
import json
from pymeasure.instruments.keithley import KeithleyDAQ6510
ends = {{"read_termination": "\\n", "write_termination": "\\n"}}
daq = KeithleyDAQ6510({address!r}, visa_library="@py", timeout=20000, **ends)
found = {{"id": daq.id}}
daq.measure_voltage(nplc=2, voltage=10, auto_range=False)
found["range"], found["nplc"] = daq.voltage_range, daq.voltage_nplc
found["open"] = daq.voltage
daq.close_channel(101)
found["channel"] = daq.voltage
daq.open_channels([101, 102])
daq.measure_resistance()
daq.offset_compensated = "ON"
daq.beep(1000, 0.1)
found["errors"] = daq.check_errors()
daq.write(":FOO")
found["after"] = [str(error[0]) for error in daq.check_errors()]
daq.reset()
found["complete"] = daq.complete
print(json.dumps(found))
daq.adapter.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["id"] == "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04591126,1.7.12b"
    assert (found["range"], found["nplc"]) == (10, 2)
    assert found["open"] == -1.0
    assert found["channel"] == pytest.approx(REFERENCE_V * 10 / 11, rel=1e-5)  # 10 Mohm, its default
    assert found["errors"] == []
    assert found["after"] == ["-113.0"]
    assert found["complete"] == "1"


@pytest.mark.parametrize("function", ["VOLT", "CURR", "RES", "FRES"])
def test_the_automatic_range_is_one_that_the_model_has(simulated, function):
    (reply,) = simulated.receive(bytearray(f":SENS:FUNC '{function}'\n:SENS:{function}:RANG?\n".encode()))
    assert float(reply) <= {"VOLT": 1000.0, "CURR": 3.0}.get(function, 100e6)
