import contextlib
import json
import math
import subprocess
import sys
from itertools import pairwise

import pytest
from bluesky import RunEngine
from bluesky import preprocessors as bpp
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.scanner import Scan
from devices.flyer import MeasurementStopped
from devices.keysight_daq import (
    KeysightDaq,
    Reading,
    decode_channels,
    decode_readings,
    decode_settings,
    encode_channels,
)
from plans.stubs import measure
from sim_devices.instruments.keysight_34970a import SimulatedKeysightDaq
from sim_devices.physics.terminals import WiredTerminals
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, ProtocolError, WrongInstrument
from ssblab.links.scpi import decode_error_queue, decode_identification

REFERENCE_V, WALL_C = 2.345, 60.0
CHANNELS = {
    "wall": {"at": 201, "quantity": "temperature", "thermocouple": "K"},
    "reference": {"at": 101, "quantity": "voltage"},
    "shunt": {"at": 102, "quantity": "voltage", "range_V": 0.1},
}
WIRING = {
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
    return SimulatedKeysightDaq(clock, terminals, slots={100: "34901A", 200: "34902A"})


@pytest.fixture
def daq(clock, wires, simulated):
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    daq.connect()
    yield daq
    daq.link.close()


def say(simulated, text):
    """What the simulated instrument answers at once."""
    return b"".join(simulated.receive(bytearray(text.encode() + b"\n"))).decode().rstrip("\n")


def errors(simulated):
    found = []
    while not (entry := say(simulated, "SYST:ERR?")).startswith("+0,"):
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
    assert daq.wall.get() == pytest.approx(WALL_C, abs=1e-6)


# --- codec ---


def test_identifications_printed_by_the_maker():
    assert decode_identification(b"HEWLETT-PACKARD,34970A,0,13-2-2\n")[1] == "34970A"
    newer = b"Keysight Technologies,DAQ970A,MY12345678,A.02.04-00.16-11.29-00.02-02-01\n"
    assert decode_identification(newer)[1:3] == ("DAQ970A", "MY12345678")
    assert decode_identification(b"HEWLETT-PACKARD,34901A,0,2.3\n")[1] == "34901A"  # SYST:CTYP? 100


def test_scan_lists_printed_by_the_maker():
    assert decode_channels("#214(@101,102,103)") == [101, 102, 103]
    assert decode_channels("#13(@)") == []
    assert decode_channels("(@101:103,210)") == [101, 102, 103, 210]


def test_a_block_of_readings_in_the_makers_form():
    reply = b"#263+2.61950000E+01,0000000.017,101,+9.90000000E+37,0000000.054,103\n"
    first, second = decode_readings(reply, [101, 103])
    assert first == Reading(26.195, 0.017, 101)
    assert math.isnan(second.value)
    assert decode_readings(reply[4:], [101, 103])[0] == first  # a line has no head


def test_readings_of_other_channels_are_no_reply():
    reply = b"+1.00000000E+00,0000000.017,101,+2.00000000E+00,0000000.054,103\n"
    for channels in ([101, 102], [103, 101], [101, 103, 104]):
        with pytest.raises(ProtocolError):
            decode_readings(reply, channels)


def test_no_error_printed_by_the_maker():
    decode_error_queue(b'+0,"No error"\n')


@given(st.sets(st.integers(101, 320), min_size=1, max_size=30))
def test_channel_lists_round_trip(channels):
    assert decode_channels(encode_channels(channels)) == sorted(channels)


@given(st.lists(st.tuples(st.floats(-300, 300), st.floats(0, 1e6)), min_size=1, max_size=10))
def test_readings_round_trip(pairs):
    text = ",".join(f"{value:+.8E},{since_s:011.3f},101" for value, since_s in pairs).encode()
    for reply in (text + b"\n", b"#%d%d%s\n" % (len(str(len(text))), len(text), text)):
        readings = decode_readings(reply, [101])
        assert [r.value for r in readings] == pytest.approx(
            [value for value, _ in pairs], rel=1e-8, abs=1e-12
        )
        assert [r.since_s for r in readings] == pytest.approx([since_s for _, since_s in pairs], abs=1e-3)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_a_protocol_error(data):
    for decode in (
        lambda d: decode_readings(d, [101, 102]),
        lambda d: decode_settings(d, 3),
        lambda d: decode_channels(d.decode("latin-1")),
    ):
        try:
            decode(data)
        except ProtocolError:
            pass


# --- driver ---


def test_connect_identifies_and_configures_each_channel(daq, simulated):
    assert str(daq.identity) == "HEWLETT-PACKARD 34970A (firmware 13-2-2)"
    reads_right(daq)
    assert daq.quality.get() == "ok"
    assert say(simulated, "ROUT:SCAN?") == "#214(@101,102,201)"
    assert say(simulated, "INP:IMP:AUTO? (@101:102)") == "1,1"
    assert say(simulated, "VOLT:DC:RANG? (@101:102)") == "+1.00000000E+01,+1.00000000E-01"
    assert say(simulated, "TEMP:TRAN:TC:TYPE? (@201)") == "K"
    assert say(simulated, "TEMP:TRAN:TC:CHEC? (@201)") == "1"
    assert errors(simulated) == []


def test_every_number_has_a_unit_and_a_time(daq, clock):
    clock.sleep(100.0)
    daq.trigger().wait()
    for name, reading in daq.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    assert [daq.describe()[f"daq_{name}"]["units"] for name in CHANNELS] == ["degC", "V", "V"]


def test_a_reference_electrode_is_not_loaded(daq, simulated):
    assert daq.reference.get() == pytest.approx(REFERENCE_V, rel=2e-4)
    say(simulated, "INP:IMP:AUTO OFF,(@101)")  # with 10 Mohm it would read 9 % less
    assert float(say(simulated, "ROUT:MON (@101);:ROUT:MON:STAT ON;:ROUT:MON:DATA?")) < 0.95 * REFERENCE_V
    daq.trigger().wait()  # the driver sees it and sets it again
    assert daq.reference.get() == pytest.approx(REFERENCE_V, rel=2e-4)


@pytest.mark.parametrize(
    "tampering",
    [
        "CONF:VOLT:DC 10,(@101)",
        "TEMP:TRAN:TC:TYPE J,(@201)",
        "UNIT:TEMP F,(@201)",
        "CALC:SCAL:GAIN 2,(@101);STAT ON,(@101)",
        "TEMP:TRAN:TC:RJUN:TYPE FIX,(@201)",
        "FORM:READ:CHAN OFF",
        "FORM:READ:UNIT ON",
        "ROUT:SCAN (@101)",
        "VOLT:DC:NPLC 0.02,(@102)",
        "TRIG:SOUR TIM;COUN 5",
        "*RST",
    ],
)
def test_what_somebody_changed_at_the_front_panel_is_set_again(daq, simulated, tampering):
    say(simulated, tampering)
    assert errors(simulated) == []
    daq.trigger().wait()
    reads_right(daq)
    assert daq.quality.get() == "ok"


def test_an_open_thermocouple_is_no_temperature(daq, terminals, simulated):
    terminals.wires[201].open = True
    daq.trigger().wait()
    assert math.isnan(daq.wall.get())
    assert daq.quality.get() == "invalid"
    assert daq.reference.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    terminals.wires[201].open = False
    daq.trigger().wait()
    assert daq.quality.get() == "ok"


def test_without_its_check_the_instrument_takes_an_open_thermocouple_for_room_temperature(
    simulated, terminals
):
    terminals.wires[201].open = True
    say(simulated, "CONF:TEMP TC,K,(@201);:ROUT:MON (@201);:ROUT:MON:STAT ON")
    assert float(say(simulated, "ROUT:MON:DATA?")) == 25.0
    say(simulated, "TEMP:TRAN:TC:CHEC ON,(@201)")
    assert float(say(simulated, "ROUT:MON:DATA?")) == 9.9e37


def test_a_voltage_beyond_its_range_is_saturated(daq, terminals, simulated):
    terminals.wires[102].voltage_V = -0.2
    daq.trigger().wait()
    assert math.isnan(daq.shunt.get())
    assert daq.quality.get() == "saturated"
    assert int(say(simulated, "STAT:QUES:EVEN?")) & 1


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        ({"a": {"at": 121, "quantity": "voltage"}}, "slot 100 holds a 34901A, without channel 121"),
        ({"a": {"at": 217, "quantity": "voltage"}}, "slot 200 holds a 34902A, without channel 217"),
        ({"a": {"at": 301, "quantity": "voltage"}}, "slot 300 holds nothing, without channel 301"),
    ],
)
def test_a_channel_that_the_module_does_not_have_is_refused(clock, wires, simulated, channels, found):
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=channels)
    with pytest.raises(InstrumentError, match=f"daq at .*{found} for voltages"):
        daq.connect()


def test_a_range_that_the_instrument_does_not_have_is_refused(clock, wires, simulated):
    channels = {"a": {"at": 101, "quantity": "voltage", "range_V": 5.0}}
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=channels)
    with pytest.raises(InstrumentError, match=r"VOLT:DC:RANG\? \(@101\) says \+1.00000000E\+01, told 5.0"):
        daq.connect()


def test_another_instrument_at_the_address_is_refused(clock, wires, terminals):
    other = SimulatedKeysightDaq(clock, terminals)
    other.identification = "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04591126,1.7.12b"
    daq = KeysightDaq(name="daq", address=wires.listen(other), clock=clock, channels=CHANNELS)
    with pytest.raises(WrongInstrument, match=r"found 'KEITHLEY INSTRUMENTS MODEL DAQ6510', not 34970A"):
        daq.connect()


@pytest.mark.parametrize(
    ("model", "modules"),
    [("34972A", {100: "34901A", 200: "34908A"}), ("DAQ970A", {100: "DAQM901A", 200: "DAQM902A"})],
)
def test_the_newer_models_scan_too(clock, wires, terminals, model, modules):
    simulated = SimulatedKeysightDaq(clock, terminals, model=model, slots=modules)
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    daq.connect()
    reads_right(daq)
    assert daq.identity.model == model
    flyer = start(daq, Scan(1.0, 3))
    flyer.complete().wait()
    assert len(flyer.take_rows()) == 3
    daq.link.close()


@pytest.mark.parametrize("nplc", [0.0, 3.0, 500.0])
def test_an_integration_time_that_the_instrument_does_not_have_is_refused(clock, nplc):
    with pytest.raises(ValueError, match=r"nplc must be one of 0\.02"):
        KeysightDaq(name="daq", address="", clock=clock, channels=CHANNELS, nplc=nplc)


# --- scans in the instrument ---


def test_a_scan_runs_in_the_instrument_with_its_own_times(daq, clock, terminals):
    began = clock.now()
    terminals.wires[101].voltage_V = lambda: 1e-3 * (clock.now() - began)  # a ramp: a reading knows its time
    flyer = start(daq)
    flyer.complete().wait()
    rows = flyer.take_rows()
    assert len(rows) == 30
    assert clock.now() - began < 60.0
    steps = [b.time - a.time for a, b in pairwise(rows)]
    assert steps == pytest.approx([1.0] * 29, abs=2e-3)
    for row in rows:
        assert row.values["reference"] == pytest.approx(1e-3 * (row.time - began), abs=5e-4)
        assert row.values["wall"] == pytest.approx(WALL_C)
        assert row.values["quality"] == "ok"


def test_readings_come_while_the_scan_runs(daq, pass_time):
    flyer = start(daq, Scan(1.0, 100))
    pass_time(20.0)
    assert 15 <= len(flyer.take_rows()) <= 20
    daq.poll()  # what runs is not disturbed
    assert daq.reference.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    flyer.complete().wait()
    assert 80 <= len(flyer.take_rows()) <= 85


def test_a_long_scan_with_many_readings_is_fetched_in_pieces(daq, simulated):
    flyer = start(daq, Scan(0.5, 3000))
    flyer.complete().wait()
    assert len(flyer.take_rows()) == 3000
    assert say(simulated, "DATA:POIN?") == "+0"


def test_a_plan_files_a_scan_as_one_stream(daq, clock):
    RE = RunEngine(loop=clock.loop, context_managers=[])
    RE.state_hook = lambda new, old: clock.resume() if new == "running" else clock.hold()
    documents = []
    RE(bpp.run_wrapper(measure(daq, RUN, "scan")), lambda name, doc: documents.append((name, doc)))
    (descriptor,) = (doc for name, doc in documents if name == "descriptor")
    assert descriptor["name"] == "scan"
    assert {k: v["units"] for k, v in descriptor["data_keys"].items() if "units" in v} == {
        "daq_wall": "degC",
        "daq_reference": "V",
        "daq_shunt": "V",
    }
    pages = [doc for name, doc in documents if name == "event_page"]
    assert sum(len(page["seq_num"]) for page in pages) == 30


@pytest.mark.parametrize(
    ("task", "error", "problem"),
    [
        (Scan(0.2, 10), LimitError, "a scan of 3 channels takes 0.27 s, longer than the interval"),
        (Scan(1.0, 50_001), LimitError, "50001 scans are more than 50000"),
        (Scan(360_000.0, 2), LimitError, "longer than 359999 s"),
        (Scan(1.0005, 2), ValueError, "whole milliseconds"),
    ],
)
def test_a_scan_that_the_instrument_can_not_do_is_refused(daq, simulated, task, error, problem):
    with pytest.raises(error, match=problem):
        daq.flyer(task).prepare(task)
    assert say(simulated, "STAT:OPER:COND?") == "+0"


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
    assert say(simulated, "STAT:OPER:COND?") == "+0"
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
    with pytest.raises(InstrumentError, match=r"the measurement ended after \d of 30 points"):
        status.wait()


def test_a_loss_of_power_ends_the_scan_and_is_noticed(daq, simulated, pass_time):
    flyer = start(daq)
    status = flyer.complete()
    pass_time(5.0)
    simulated.power_cycle()
    with pytest.raises(InstrumentError, match=r"the measurement ended after \d of 30 points"):
        status.wait()
    daq.trigger().wait()
    reads_right(daq)


def test_a_memory_that_overflows_is_an_error_not_a_gap(daq, simulated, pass_time):
    simulated._capacity = 6
    flyer = start(daq, Scan(1.0, 1000))
    with pytest.raises(InstrumentError, match="its memory has overflowed after 0 of 1000 points"):
        flyer.complete().wait()


def test_a_scan_that_runs_at_connecting_is_ended(clock, wires, simulated):
    say(simulated, "CONF:VOLT:DC 10,(@101);:TRIG:SOUR TIM;COUN INF;:INIT")
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    daq.connect()
    reads_right(daq)
    daq.link.close()


def test_a_scan_that_somebody_started_is_an_error(daq, simulated):
    say(simulated, "TRIG:SOUR TIM;COUN INF;:INIT")
    with pytest.raises(InstrumentError, match="scans though nobody here told it to"):
        daq.trigger().wait()
    assert daq.quality.get() == "invalid"
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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_scan_loses_no_row_silently(daq, simulated, pass_time, fault):
    flyer = start(daq)
    status = flyer.complete()
    pass_time(7.2)
    simulated.break_wire(fault)
    with contextlib.suppress(LinkError):
        status.wait()
    assert say(simulated, "STAT:OPER:COND?") == "+0"
    if not status.success:
        assert "daq" in str(status.exception())
        return
    rows = flyer.take_rows()
    assert len(rows) == 30
    assert [b.time - a.time for a, b in pairwise(rows)] == pytest.approx([1.0] * 29, abs=2e-3)


def test_a_block_that_is_lost_on_the_way_ends_the_scan(daq, simulated, pass_time, monkeypatch):
    flyer = start(daq)
    status = flyer.complete()
    erase = simulated._read_and_erase

    def lost(word):
        simulated.break_wire("silent")
        return erase(word)

    simulated.commands[":R?"] = lost
    simulated._table = []
    with pytest.raises(LinkError, match=r"daq at .*no reply within 20 s, after b'R\?"):
        status.wait()
    assert flyer.take_rows() == []
    assert say(simulated, "STAT:OPER:COND?") == "+0"


@pytest.mark.parametrize(
    ("breakdown", "problem"),
    [("busy", "scans though nobody here told it to"), ("error", r"reports error 501: I/O processor")],
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


def test_a_slow_scan_of_many_channels_is_waited_for(clock, wires, simulated):
    channels = {f"v{n}": {"at": 100 + n, "quantity": "voltage"} for n in range(1, 21)}
    daq = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=channels, nplc=100.0)
    daq.connect()
    begin_s = clock.monotonic()
    daq.trigger().wait()
    assert 80.0 < clock.monotonic() - begin_s < daq.shortest_scan_s() + 1.0
    assert daq.v1.get() == pytest.approx(REFERENCE_V, abs=1e-3)
    daq.link.close()


def test_after_a_loss_of_power_all_is_configured_anew(daq, simulated):
    simulated.power_cycle()
    assert say(simulated, "ROUT:SCAN?") == "#13(@)"
    daq.trigger().wait()
    reads_right(daq)
    assert daq.quality.get() == "ok"


# --- the simulated instrument, by the manual ---


def test_the_simulated_instrument_resumes_its_scan_after_a_loss_of_power_unless_told_not_to(simulated, clock):
    say(simulated, "CONF:VOLT:DC 10,(@101:102);:TRIG:SOUR TIM;TIM 10;COUN 3;:INIT")
    clock.sleep(10.1)
    assert say(simulated, "DATA:POIN?") == "+3"
    simulated.power_cycle()
    assert say(simulated, "DATA:POIN?") == "+2"  # the sweep that was under way is done again
    clock.sleep(30.0)
    assert say(simulated, "DATA:POIN?") == "+6"
    say(simulated, "INIT;:MEM:STAT:REC:AUTO OFF")
    simulated.power_cycle()
    assert (say(simulated, "DATA:POIN?"), say(simulated, "ROUT:SCAN:SIZE?")) == ("+0", "+0")


def test_conf_overwrites_the_scan_list_and_skips_illegal_channels_inside_a_range(simulated):
    say(simulated, "CONF:VOLT:DC 10,(@101:105,210)")
    assert say(simulated, "ROUT:SCAN:SIZE?") == "+6"
    say(simulated, "CONF:TEMP TC,K,(@103)")
    assert say(simulated, "ROUT:SCAN?") == "#16(@103)"
    say(simulated, "CONF:VOLT:DC (@101:216)")  # 121 and 122 are for currents
    assert say(simulated, "ROUT:SCAN:SIZE?") == "+36"
    assert errors(simulated) == []
    for text in ("CONF:VOLT:DC (@101,121)", "CONF:VOLT:DC (@101:122)", "CONF:VOLT:DC (@217)"):
        say(simulated, text)
        assert errors(simulated) == [112], text
    say(simulated, "CONF:VOLT:DC (@301)")
    assert errors(simulated) == [111]
    assert say(simulated, "ROUT:SCAN:SIZE?") == "+36"


def test_readings_in_all_their_forms(simulated, clock):
    say(simulated, "CONF:TEMP TC,K,(@201)")
    say(simulated, "CALC:LIM:UPP 50,(@201);UPP:STAT ON,(@201);:INIT")
    clock.sleep(1.0)
    assert say(simulated, "FETC?") == "+6.00000000E+01"
    say(simulated, "FORM:READ:ALAR ON;CHAN ON;TIME ON;UNIT ON")
    assert say(simulated, "FETC?") == "+6.00000000E+01 C,0000000.054,201,2"
    say(simulated, "FORM:READ:TIME:TYPE ABS")
    assert say(simulated, "DATA:REM? 1") == "+6.00000000E+01 C,2023,11,14,22,13,20.054,201,2"
    assert say(simulated, "SYST:ALAR?").endswith(",201,2,1")
    assert say(simulated, "R?") == "#10"
    assert say(simulated, "FETC?") == ""
    assert errors(simulated) == [-230]


def test_the_oldest_reading_is_lost_when_the_memory_is_full(clock, terminals):
    simulated = SimulatedKeysightDaq(clock, terminals)
    simulated._capacity = 5
    say(simulated, "CONF:VOLT:DC 10,(@101);:FORM:READ:TIME ON;:TRIG:SOUR TIM;TIM 1;COUN 8;:INIT")
    clock.sleep(20.0)
    assert say(simulated, "DATA:POIN?") == "+5"
    assert int(say(simulated, "STAT:QUES:COND?")) & 4096
    assert say(simulated, "R? 1").endswith(",0000003.054")
    assert say(simulated, "DATA:POIN?") == "+4"
    assert not int(say(simulated, "STAT:QUES:COND?")) & 4096


def test_what_waits_for_the_scan_holds_all_that_comes_after(simulated, clock):
    say(simulated, "CONF:VOLT:DC 10,(@101);:VOLT:DC:NPLC 200,(@101)")
    assert say(simulated, "READ?") == ""
    assert say(simulated, "*IDN?") == ""
    clock.sleep(10.0)
    first, second = simulated.unsolicited()
    assert first.startswith(b"+2.1") or first.startswith(b"+2.3")
    assert second.startswith(b"HEWLETT-PACKARD")
    say(simulated, "TRIG:SOUR TIM;COUN INF;:INIT")
    assert say(simulated, "*OPC?") == ""
    simulated.opened()  # a new connection is a device clear
    assert say(simulated, "ABOR;*OPC?") == "1"
    assert errors(simulated) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FOO", -113),
        ("INIT", 113),
        ("CONF:VOLT:DC 400,(@101)", -222),
        ("CONF:VOLT:DC 10", -171),
        ("VOLT:DC:NPLC 500,(@101)", -222),
        ("TEMP:TRAN:TC:TYPE X,(@101)", -224),
        ("TRIG:COUN 50001", -222),
        ("DATA:REM? 1", -222),
        ("*TRG", -211),
        ("SYST:CTYP? 400", -222),
    ],
)
def test_errors_of_the_simulated_instrument(simulated, text, code):
    say(simulated, text)
    assert errors(simulated) == [code]


def test_a_bus_trigger_starts_each_sweep(simulated, clock):
    say(simulated, "CONF:VOLT:DC 10,(@101);:TRIG:SOUR BUS;COUN 2;:INIT")
    clock.sleep(5.0)
    assert say(simulated, "DATA:POIN?") == "+0"
    for count in ("+1", "+2"):
        say(simulated, "*TRG")
        clock.sleep(1.0)
        assert say(simulated, "DATA:POIN?") == count
    assert say(simulated, "STAT:OPER:COND?") == "+0"


# --- a client of others ---


def test_a_public_client_scans_with_the_simulated_instrument(tmp_path):
    """daqmon speaks to a 34970A at a serial port; what it does not know is that nobody is behind it."""
    clock = WallClock()
    wires = Wires(clock)
    simulated = SimulatedKeysightDaq(
        clock, WiredTerminals(clock, channels=WIRING), slots={100: "34901A", 200: "34902A"}
    )
    port = wires.attach_pty(simulated)[4:].removesuffix("::INSTR")
    backup = tmp_path / "backup.json"
    client = f"""
import json, sys
from unittest.mock import MagicMock
sys.modules.update(dict.fromkeys(("influxdb_client", "influxdb_client.client.write_api"), MagicMock()))
from daqmon.backup import download_config
from daqmon.config import ChannelConfig, ScanConfig
from daqmon.instrument import HP34970A
from daqmon.scanner import run_scan

channels = [
    ChannelConfig(101, "reference", "dc_voltage", range="10"),
    ChannelConfig(201, "wall", "temperature", tc_type="K", unit="C"),
]
class Sink:
    rows = []
    def write_readings(self, readings):
        self.rows.append({{r["name"]: r["value"] for r in readings}})
instrument = HP34970A(port={port!r}, timeout=20.0)
instrument.open()
assert instrument.idn().startswith("HEWLETT-PACKARD,34970A"), instrument.idn()
sink = Sink()
run_scan(instrument, ScanConfig(channels, scan_interval=0.5, scan_count=2), sink, poll_interval=0.1)
download_config(instrument, output_path={str(backup)!r})
error = instrument.query("SYST:ERR?")
instrument.close()
print(json.dumps([sink.rows, error]))
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    rows, error = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) == 2
    for row in rows:
        assert row["reference"] == pytest.approx(REFERENCE_V * 10 / 11, rel=1e-4)  # it leaves 10 Mohm on
        assert row["wall"] == pytest.approx(WALL_C)
    assert error == '+0,"No error"'
    kept = {channel["channel"]: channel for channel in json.loads(backup.read_text())["channels"]}
    assert (kept[101]["function"], kept[101]["range"]) == ("dc_voltage", "10")
    assert (kept[201]["function"], kept[201]["tc_type"]) == ("temperature", "K")
