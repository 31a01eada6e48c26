import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.cycler_program import CellLimits, Program, Step
from devices.flyer import MeasurementStopped
from devices.neware import (
    NewareBts,
    NewareChannel,
    Place,
    RecordTimes,
    Uploaded,
    decode_connected,
    decode_devices,
    decode_done,
    decode_readings,
    decode_records,
    decode_uploaded,
    encode_request,
    log_text,
)
from devices.neware_program import encode_program
from sim_devices.instruments.neware import SimulatedNeware
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.physics.cell import Cell
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument
from tests.devices.collected import events_of

EPOCH_S = 1_700_000_000  # of the clock of the tests
LIMITS = CellLimits(2.8, 4.3, 3e-3, 3e-3)
SHORT = Program((Step("charge", 30.0, current_A=2e-3), Step("rest", 20.0)), LIMITS, 5.0)
LONG = Program((Step("charge", 3600.0, current_A=2e-3),), LIMITS, 10.0)
GUID = UUID("0045b3d2-59aa-4cb0-9cb8-6a7d7895c0a3")
FIRST = Place("127.0.0.1", 27, 21, 1, 1)
SECOND = Place("127.0.0.1", 27, 21, 1, 2)


def reply(command, *lines):
    """Lay a reply out as BTS 8.0 does."""
    head = ['<?xml version="1.0" encoding="UTF-8"?>', '<bts version="1.0">', f"  <cmd>{command}</cmd>"]
    return "\r\n".join([*head, *lines]).encode() + b"\r\n</bts>\n\n#\r\n"


# What a BTS 8.0 machine sent, as published with aurora-neware.
CONNECTED = reply("connect_resp", "  <result>ok</result>")
DEVICES = reply(
    "getdevinfo_resp",
    '  <serverip count="1">',
    '    <server ip="127.0.0.1" port="3306" />',
    "  </serverip>",
    '  <middle count="16">',
    '    <channel ip="127.0.0.1" devtype="27" devid="21" subdevid="1" Channelid="1">true</channel>',
    '    <channel ip="127.0.0.1" devtype="27" devid="21" subdevid="1" Channelid="2">false</channel>',
    "</middle>",
)
INQUIRED = reply(
    "inquire_resp",
    '  <list count="1">',
    '    <inquire dev="27-21-1-1-0" cycle_id="1" step_type="--" workstatus="finish" barcode="gen17_01" '
    'current="0" voltage="3.8834" capacity="0" energy="0" totaltime="0" relativetime="0" open_or_close="0" '
    'log_code="0" />',
    '    <inquire dev="27-21-1-2-0" cycle_id="44" step_id="4" step_type="dc" workstatus="working" '
    'barcode="gen17_02" current="-0.0003" voltage="4.6947" capacity="0.001" energy="0.0047" '
    'totaltime="3189199.3" relativetime="12319" open_or_close="0" log_code="102000" />',
    "  </list>",
)
UPLOADED = reply(
    "inquiredf_resp",
    '  <list count="1">',
    '    <chl devtype="27" devid="21" subdevid="1" chlid="1" testid="143" count="219585">true</chl>',
    "  </list>",
)
DOWNLOADED = reply(
    "donwload_resp",
    '  <download devtype="27" devid="21" subdevid="1" chlid="1" testid="143" startpos="219576" count="1000" '
    'auxid="0" />',
    '  <list count="3">',
    '    <data seqid="219576" stepid="24" cycleid="29" steptype="dc" testtime="36070000" '
    'atime="2025-12-28 22:29:05" volt="3.6780698299408" curr="-0.000295051460852847" '
    'cap="0.00295628436449786" eng="0.0135611368830335" />',
    '    <data seqid="219577" stepid="24" cycleid="29" steptype="dc" testtime="36080000" '
    'atime="2025-12-28 22:29:15" volt="3.65799260139465" curr="-0.000295052188448608" '
    'cap="0.00295710395391022" eng="0.0135641349350401" />',
    '    <data seqid="219578" stepid="24" cycleid="29" steptype="dc" testtime="36080300" '
    'atime="2025-12-28 22:29:15" volt="3.65737199783325" curr="-0.000295052188448608" '
    'cap="0.00295712845399976" eng="0.0135642616078258" />',
    "  </list>",
)
STARTED = reply(
    "start_resp",
    '  <list count="1">',
    '    <start ip="127.0.0.1" devtype="27" devid="21" subdevid="1" chlid="1">ok</start>',
    "  </list>",
)


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedNeware(clock, cell, BatteryCell(clock, state_of_charge=0.9), units=2)


@pytest.fixture
def bts(clock, wires, simulated, tmp_path):
    bts = NewareBts(
        name="bts", address=wires.listen(simulated), clock=clock, step_folder=str(tmp_path / "steps")
    )
    bts.connect()
    yield bts
    bts.link.close()


@pytest.fixture
def channel(clock, bts):
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    return channel


def start(channel, program):
    flyer = channel.flyer(program)
    flyer.prepare(program).wait()
    flyer.kickoff().wait()
    return flyer


def fly(channel, program):
    flyer = start(channel, program)
    flyer.complete().wait()
    return events_of(flyer)


def ends(rows, name):
    """Last value of each step, by (cycle, step)."""
    data = [row["data"] for row in rows]
    return {(row["cell_1_cycle"], row["cell_1_step"]): row[f"cell_1_{name}"] for row in data}


# ----- the protocol


def test_requests_are_those_of_a_public_client():
    assert encode_request("getdevinfo") == (
        b'<?xml version="1.0" encoding="UTF-8" ?><bts version="1.0"><cmd>getdevinfo</cmd></bts>\n\n#\r\n'
    )


def test_channels_captured_from_a_machine():
    found = decode_devices(DEVICES)
    assert found.places == (FIRST, SECOND)
    assert found.version == ""


def test_the_version_is_told_by_newer_clients():
    new = DEVICES.replace(
        b"  <serverip", b'  <client version="BTS Client 2025.11.24(R3) (64)" />\r\n  <serverip'
    )
    assert decode_devices(new).version == "BTS Client 2025.11.24(R3) (64)"


def test_states_captured_from_a_machine():
    idle, running = decode_readings(INQUIRED, [FIRST, SECOND])
    assert (idle.voltage_V, idle.current_A, idle.step, idle.cycle) == (3.8834, 0.0, 0, 0)
    assert (idle.state, idle.running, idle.problem) == ("finish", False, "")
    assert (running.voltage_V, running.current_A, running.step, running.cycle) == (4.6947, -0.0003, 4, 44)
    assert (running.capacity_Ah, running.energy_Wh) == (0.001, 0.0047)
    assert running.running


def test_states_of_other_channels_are_no_answer():
    with pytest.raises(ProtocolError, match="about"):
        decode_readings(INQUIRED, [SECOND, FIRST])
    with pytest.raises(ProtocolError, match="2 entries, not 1"):
        decode_readings(INQUIRED, [FIRST])


def test_a_wrong_unit_1_in_the_reply_is_known():
    readings = decode_readings(INQUIRED, [replace(FIRST, subdevid=5), SECOND])
    assert readings[0].voltage_V == 3.8834
    with pytest.raises(ProtocolError):
        decode_readings(INQUIRED.replace(b"27-21-1-1", b"27-21-2-1"), [FIRST, SECOND])


def test_a_number_that_is_not_there_is_no_number():
    reading, _ = decode_readings(INQUIRED.replace(b'"3.8834"', b'"--"'), [FIRST, SECOND])
    assert math.isnan(reading.voltage_V)


def test_a_protection_is_a_problem_with_its_log_code():
    protected = INQUIRED.replace(b'"finish"', b'"protect"').replace(b'log_code="0"', b'log_code="4711"')
    reading, _ = decode_readings(protected, [FIRST, SECOND])
    assert reading.problem == ("stopped by a protection (log code 4711, see the channel's log in the client)")
    assert log_text(100001) == "log code 100001, test ended"


def test_records_captured_from_a_machine_under_the_misspelt_name():
    records = decode_records(DOWNLOADED, FIRST, 143, 219576)
    assert [record.number for record in records] == [219576, 219577, 219578]
    assert records[0].date == datetime(2025, 12, 28, 22, 29, 5)
    assert (records[0].step, records[0].cycle, records[0].kind) == (24, 29, "discharge")
    assert records[2].step_time_s == 36080.3
    assert records[0].current_A == -0.000295051460852847
    assert decode_records(DOWNLOADED.replace(b"donwload", b"download"), FIRST, 143, 219576) == records


@pytest.mark.parametrize("asked", [(FIRST, 144, 219576), (FIRST, 143, 1), (SECOND, 143, 219576)])
def test_records_of_something_else_are_no_answer(asked):
    with pytest.raises(ProtocolError):
        decode_records(DOWNLOADED, *asked)


def test_a_missing_record_is_noticed():
    lines = DOWNLOADED.split(b"\r\n")
    with pytest.raises(ProtocolError, match="missing"):
        decode_records(b"\r\n".join(line for line in lines if b"219577" not in line), FIRST, 143, 219576)


def test_other_replies_captured_from_a_machine():
    decode_connected(CONNECTED)
    assert decode_uploaded(UPLOADED, [FIRST]) == [Uploaded(143, 219585, True)]
    assert not decode_uploaded(UPLOADED.replace(b"true", b"false"), [FIRST])[0].complete
    assert decode_done(STARTED, "start", FIRST)
    assert not decode_done(STARTED.replace(b"ok", b"false"), "start", FIRST)
    with pytest.raises(Refusal, match="user name or password"):
        decode_connected(CONNECTED.replace(b"ok", b"false"))


DECODERS = (
    decode_connected,
    decode_devices,
    lambda data: decode_readings(data, [FIRST, SECOND]),
    lambda data: decode_uploaded(data, [FIRST]),
    lambda data: decode_records(data, FIRST, 143, 219576),
    lambda data: decode_done(data, "start", FIRST),
)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\n\n#\r\n"]), st.sampled_from(DECODERS))
def test_any_bytes_are_a_protocol_error(data, end, decode):
    with pytest.raises(ProtocolError):
        decode(data + end)


@given(
    st.sampled_from(
        list(zip([CONNECTED, DEVICES, INQUIRED, UPLOADED, DOWNLOADED, STARTED], DECODERS, strict=True))
    ),
    st.data(),
)
def test_a_changed_byte_gives_a_value_or_a_protocol_error(case, data):
    captured, decode = case
    place = data.draw(st.integers(0, len(captured) - 1))
    byte = data.draw(st.integers(0, 255))
    try:
        decode(captured[:place] + bytes([byte]) + captured[place + 1 :])
    except ProtocolError:
        pass


@given(st.floats(-5, 5), st.floats(-1, 1), st.integers(1, 10**6), st.integers(0, 10**9))
def test_numbers_come_back(voltage, current, number, time_ms):
    row = (
        f'<data seqid="{number}" stepid="3" cycleid="2" steptype="sim" testtime="{time_ms}" '
        f'atime="2025-12-28 22:29:05" volt="{voltage!r}" curr="{current!r}" cap="1.5E-05" eng="0" />'
    )
    sent = reply(
        "download_resp",
        f'<download devtype="27" devid="21" subdevid="1" chlid="1" testid="7" startpos="{number}" />',
        f'<list count="1">{row}</list>',
    )
    (record,) = decode_records(sent, FIRST, 7, number)
    assert (record.voltage_V, record.current_A, record.capacity_Ah) == (voltage, current, 1.5e-5)
    assert record.step_time_s == time_ms / 1000
    assert record.kind == ("charge" if current > 0 else "discharge" if current < 0 else "rest")


# ----- times


def times_of(records, zone="UTC"):
    times = RecordTimes(ZoneInfo(zone))
    return [times.place(record) for record in records]


def test_times_are_within_the_second_that_the_machine_names_and_keep_its_tenths():
    records = decode_records(DOWNLOADED, FIRST, 143, 219576)
    times = times_of(records)
    assert times[0] == datetime.fromisoformat("2025-12-28T22:29:05+00:00").timestamp()
    assert [round(time - times[0], 6) for time in times] == [0.0, 10.0, 10.3]


def test_the_zone_of_the_bts_computer_counts():
    records = decode_records(DOWNLOADED, FIRST, 143, 219576)
    assert times_of(records, "Asia/Tokyo")[0] == times_of(records)[0] - 9 * 3600


def test_the_hour_that_comes_twice_in_autumn_passes_twice():
    (record, *_) = decode_records(DOWNLOADED, FIRST, 143, 219576)
    before = datetime(2025, 10, 26, 1, 30)  # 01:30, 02:30, 02:30, 03:30 of Zurich's clock
    dates = [before, before.replace(hour=2), before.replace(hour=2), before.replace(hour=3)]
    records = [replace(record, date=date, step_time_s=3600.0 * i) for i, date in enumerate(dates)]
    times = times_of(records, "Europe/Zurich")
    assert [time - times[0] for time in times] == [0.0, 3600.0, 7200.0, 10800.0]


def test_a_step_follows_the_one_before_unless_the_date_says_otherwise():
    (record, *_) = decode_records(DOWNLOADED, FIRST, 143, 219576)
    first = replace(record, step=1, step_time_s=10.4, date=datetime(2025, 1, 1, 12, 0, 10))
    second = replace(record, step=2, step_time_s=0.0, date=datetime(2025, 1, 1, 12, 0, 10))
    paused = replace(record, step=3, step_time_s=0.0, date=datetime(2025, 1, 1, 13, 0, 0))
    times = times_of([replace(first, step_time_s=0.0, date=datetime(2025, 1, 1, 12)), first, second, paused])
    assert [round(time - times[0], 3) for time in times] == [0.0, 10.4, 10.4, 3600.0]


# ----- step files


def test_a_step_file_in_use_would_look_like_ours():
    program = Program(
        (
            Step("rest", 180.0),
            Step("charge", 9000.0, current_A=1e-3, hold_V=4.2, end_current_A=2e-5),
            Step("discharge", 7200.0, current_A=1e-3, end_voltage_V=3.0, end_capacity_Ah=1.54e-3),
            Step("discharge", 60.0, current_A=1e-3, hold_V=2.9),
        ),
        CellLimits(2.5, 4.3, 2e-3, 3e-3),
        30.0,
        cycles=3,
    )
    root = ET.fromstring(encode_program(program, remark="a <cell>", date="20250913110432", guid=GUID))
    assert root.find("config").attrib["type"] == "Step File"
    steps = root.findall("config/Step_Info/*")
    assert [step.get("Step_Type") for step in steps] == ["4", "7", "2", "20", "5", "6"]
    assert [step.get("Step_ID") for step in steps] == ["1", "2", "3", "4", "5", "6"]
    assert root.find("config/Step_Info").get("Num") == "6"
    values = [{item.tag: float(item.get("Value")) for item in step.findall("Limit/*/*")} for step in steps]
    assert values == [
        {"Time": 180000},
        {"Curr": 1, "Volt": 42000, "Time": 9000000, "Stop_Curr": 0.02},
        {"Curr": 1, "Time": 7200000, "Stop_Volt": 30000, "Cap": 5544},  # 1.54 mAh, as in a file in use
        {"Curr": 1, "Volt": 29000, "Time": 60000},
        {"Start_Step": 1, "Cycle_Count": 3},
        {},
    ]
    protect = root.find("config/Whole_Prt/Protect/Main")
    assert {f"{a.tag} {b.tag}": float(b.get("Value")) for a in protect for b in a} == {
        "Volt Upper": 43000,
        "Volt Lower": 25000,
        "Curr Upper": 2,
        "Curr Lower": -3,
    }
    assert float(root.find("config/Whole_Prt/Record/Main/Time").get("Value")) == 30000


def test_a_step_may_have_records_of_its_own():
    dense = Step("charge", 60.0, current_A=1e-3, hold_V=4.2, record_interval_s=0.5)
    program = Program((dense, replace(dense, record_interval_s=None)), LIMITS, 30.0)
    root = ET.fromstring(encode_program(program, remark="", date="", guid=GUID))
    first, second, _ = root.findall("config/Step_Info/*")
    assert [part.tag for part in first] == ["Record", "Limit"]  # in the order of files in use
    assert float(first.find("Record/Main/Time").get("Value")) == 500
    assert [part.tag for part in second] == ["Limit"]
    assert float(root.find("config/Whole_Prt/Record/Main/Time").get("Value")) == 30000


def test_a_step_may_have_records_by_change():
    step = Step("charge", 60.0, current_A=1e-3, hold_V=4.2, record_change_V=5e-3, record_change_A=1e-4)
    root = ET.fromstring(encode_program(Program((step,), LIMITS, 30.0), remark="", date="", guid=GUID))
    record = root.find("config/Step_Info/Step1/Record/Main")
    found = {part.tag: float(part.get("Value")) for part in record}
    assert found == {"Time": 30000, "Volt": 50, "Curr": 0.1}


def test_voltages_below_zero_keep_their_sign_in_the_file():
    program = Program(
        (
            Step("discharge", 60.0, current_A=1e-3, hold_V=-0.55),
            Step("charge", 60.0, 1e-3, end_voltage_V=0.0),
        ),
        CellLimits(-0.62, 1.0, 2e-3, 2e-3),
        1.0,
    )
    root = ET.fromstring(encode_program(program, remark="", date="", guid=GUID))
    assert float(root.find("config/Step_Info/Step1/Limit/Main/Volt").get("Value")) == -5500
    assert float(root.find("config/Step_Info/Step2/Limit/Main/Stop_Volt").get("Value")) == 0
    assert float(root.find("config/Whole_Prt/Protect/Main/Volt/Lower").get("Value")) == -6200


def test_a_single_cycle_needs_no_loop():
    root = ET.fromstring(encode_program(SHORT, remark="", date="", guid=GUID))
    assert [step.get("Step_Type") for step in root.findall("config/Step_Info/*")] == ["1", "4", "6"]


def test_a_current_too_small_for_the_file_is_refused():
    program = Program((Step("charge", 10.0, current_A=1e-10),), LIMITS, 1.0)
    with pytest.raises(ValueError, match="Curr = 1e-10 is too small"):
        encode_program(program, remark="", date="", guid=GUID)


# ----- connecting


def test_connect_finds_machine_and_channels(bts, channel):
    assert str(bts.identity) == "Neware BTS85 no. 21"
    assert channel.source == "Neware BTS85 no. 21, channel 1"
    assert bts.place(1) == FIRST
    assert bts.place(9) == Place("127.0.0.1", 27, 21, 2, 1)


def test_another_machine_is_refused(clock, wires, simulated):
    bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, devid=22)
    with pytest.raises(WrongInstrument, match="found 'machines 21', not Neware BTS 8"):
        bts.connect()


def test_a_wrong_password_is_told(clock, wires, simulated):
    bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, password="wrong")
    with pytest.raises(InstrumentError, match="refuses the user name or password"):
        bts.connect()


def test_units_of_another_size_are_refused(clock, wires, simulated):
    bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, channels_per_unit=4)
    with pytest.raises(WrongInstrument, match="channels_per_unit"):
        bts.connect()


def test_a_channel_that_is_not_there_is_refused(clock, bts):
    with pytest.raises(InstrumentError, match="there is no channel 17; there are 16"):
        NewareChannel(name="cell_17", cycler=bts, channel=17, clock=clock).connect()


def test_a_channel_that_is_not_there_does_not_keep_the_others_from_being_read(clock, bts, channel):
    missing = NewareChannel(name="cell_17", cycler=bts, channel=17, clock=clock)
    clock.sleep(1.0)
    channel.trigger().wait()
    assert channel.quality.get() == "ok"
    with pytest.raises(InstrumentError, match=r"bts at .*tells nothing of channel 17"):
        missing.trigger().wait()


def test_a_channel_is_used_once(clock, bts, channel):
    with pytest.raises(ValueError, match="used twice"):
        NewareChannel(name="again", cycler=bts, channel=1, clock=clock)


def test_a_program_of_somebody_else_is_refused_at_connect(clock, bts, channel, simulated):
    start(channel, LONG)
    other = NewareBts(name="other", address=bts.link.address, clock=clock)
    with pytest.raises(InstrumentError, match="runs a program that this station did not start"):
        NewareChannel(name="mine", cycler=other, channel=1, clock=clock).connect()
    other.link.close()
    channel.make_safe()


# ----- reading


def test_one_exchange_reads_all_channels(clock, bts, channel, pass_time, simulated):
    others = [NewareChannel(name=f"cell_{i}", cycler=bts, channel=i, clock=clock) for i in (2, 9)]
    asked = []
    answer = simulated._do_inquire
    simulated._do_inquire = lambda root: asked.append(root) or answer(root)
    pass_time(1.0)
    for device in (channel, *others):
        device.trigger().wait()
    assert len(asked) == 1
    assert others[0].voltage.get() > channel.voltage.get() > 3.5
    assert others[1].voltage.get() == 0.0  # nothing is connected


def test_every_number_has_a_unit_and_a_time(channel, clock):
    channel.trigger().wait()
    for name, reading in channel.read().items():
        assert reading["timestamp"] <= clock.now(), name
    assert channel.describe()["cell_1_voltage"]["units"] == "V"
    assert channel.describe()["cell_1_current"]["units"] == "A"
    assert channel.quality.get() == "ok"


def test_a_wrong_unit_in_every_reply_is_survived(clock, bts, simulated):
    simulated.wrong_subdevid = True
    channel = NewareChannel(name="cell_10", cycler=bts, channel=10, clock=clock)
    channel.connect()
    assert channel.state.get() == "finish"


# ----- programs


def test_a_program_runs_and_its_records_have_the_machines_times(channel, clock, cell):
    before = clock.now()
    rows = fly(channel, SHORT)
    assert [row["data"]["cell_1_step"] for row in rows] == [1.0] * 7 + [2.0] * 5
    assert [row["data"]["cell_1_kind"] for row in rows] == ["charge"] * 7 + ["rest"] * 5
    offsets = [row["time"] - rows[0]["time"] for row in rows]
    assert offsets == pytest.approx([0, 5, 10, 15, 20, 25, 30, 30, 35, 40, 45, 50], abs=1e-6)
    assert abs(rows[0]["time"] - before) < 1.5
    assert rows[6]["data"]["cell_1_current"] == pytest.approx(2e-3, rel=1e-6)
    assert rows[6]["data"]["cell_1_capacity"] == pytest.approx(2e-3 * 30 / 3600, rel=1e-3)
    assert rows[-1]["data"]["cell_1_current"] == 0.0
    assert channel.applied_voltage.get() == 4.3
    assert channel.applied_current.get() == 3e-3


def test_capacities_are_the_charge_of_the_cell(channel, clock, cell):
    program = Program(
        (
            Step("charge", 36000.0, current_A=4e-3, hold_V=4.1, end_current_A=0.4e-3),
            Step("rest", 300.0),
            Step("discharge", 36000.0, current_A=4e-3, end_voltage_V=3.0),
        ),
        CellLimits(2.8, 4.2, 5e-3, 5e-3),
        60.0,
    )
    twin = BatteryCell(clock)  # the same program, done on another cell by hand
    twin.source_current(4e-3, voltage_max_V=4.1)
    rows = fly(channel, program)
    end_s = twin.advance(ended=lambda voltage, current: current <= 0.4e-3)
    charged_Ah = twin.charge_Ah
    twin.open(at_s=end_s)
    end_s = twin.advance(end_s + 300.0)
    twin.source_current(-4e-3, at_s=end_s)
    twin.advance(ended=lambda voltage, current: voltage <= 3.0)
    capacity = ends(rows, "capacity")
    assert capacity[1.0, 1.0] == pytest.approx(charged_Ah, rel=1e-3)
    assert capacity[1.0, 3.0] == pytest.approx(charged_Ah - twin.charge_Ah, rel=1e-3)
    assert capacity[1.0, 1.0] - capacity[1.0, 3.0] == pytest.approx(cell.charge_Ah, rel=1e-3)
    energy = ends(rows, "energy")
    assert energy[1.0, 1.0] - energy[1.0, 3.0] == pytest.approx(cell.energy_Wh, rel=1e-3)
    assert ends(rows, "voltage")[1.0, 1.0] == pytest.approx(4.1, abs=1e-3)


def test_cycles_steps_and_capacity_limits(channel):
    program = Program(
        (
            Step("charge", 600.0, current_A=2e-3, end_capacity_Ah=1e-5),
            Step("discharge", 6000.0, current_A=2e-3, hold_V=3.75, end_current_A=1e-3),
        ),
        LIMITS,
        5.0,
        cycles=3,
    )
    rows = fly(channel, program)
    capacity = ends(rows, "capacity")
    assert sorted(capacity) == [(cycle, step) for cycle in (1.0, 2.0, 3.0) for step in (1.0, 2.0)]
    for cycle in (1.0, 2.0, 3.0):
        assert capacity[cycle, 1.0] == pytest.approx(1e-5, rel=0.01)
    assert ends(rows, "voltage")[3.0, 2.0] == pytest.approx(3.75, abs=1e-3)
    assert ends(rows, "current")[3.0, 2.0] == pytest.approx(-1e-3, rel=0.02)


def test_many_records_come_in_portions(channel):
    rows = fly(channel, Program((Step("rest", 1500.0),), LIMITS, 1.0))
    assert len(rows) == 1501
    assert channel.flyers["records"].run.count == 1501


def holding(hold_V, *times_and_intervals, kind="charge", current_A=3e-3):
    """Steps that hold a voltage on and on, each with its time and its interval of records."""
    return tuple(
        Step(kind, time_s, current_A=current_A, hold_V=hold_V, record_interval_s=interval_s)
        for time_s, interval_s in times_and_intervals
    )


def test_records_become_sparser_in_a_hold_that_is_never_interrupted(channel, cell, monkeypatch):
    opened = []
    monkeypatch.setattr(cell, "open", lambda **_: opened.append(cell.voltage_V))
    steps = holding(3.85, (60.0, 1.0), (600.0, 10.0), (7200.0, 60.0))
    rows = fly(channel, Program(steps, LIMITS, 3600.0))
    assert len(opened) == 1  # at the end
    data = [row["data"] for row in rows]
    assert [sum(row["cell_1_step"] == step for row in data) for step in (1, 2, 3)] == [61, 61, 121]
    for step, interval_s in ((1, 1.0), (2, 10.0), (3, 60.0)):
        times = [row["time"] for row in rows if row["data"]["cell_1_step"] == step]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([interval_s] * (len(times) - 1))
    for a, b in itertools.pairwise(data):
        if a["cell_1_step"] != b["cell_1_step"]:
            assert a["cell_1_current"] == pytest.approx(b["cell_1_current"], rel=1e-4)
            assert a["cell_1_voltage"] == pytest.approx(3.85, abs=1e-6)
            assert b["cell_1_voltage"] == pytest.approx(3.85, abs=1e-6)


@pytest.mark.parametrize(("kind", "sign"), [("charge", 1), ("discharge", -1)])
def test_a_cell_that_is_at_its_voltage_is_held_there_at_once(channel, cell, kind, sign):
    hold_V = round(cell.voltage_V, 4) + sign * 1e-3
    rows = fly(channel, Program(holding(hold_V, (120.0, 1.0), kind=kind), LIMITS, 60.0))
    currents_A = [sign * row["data"]["cell_1_current"] for row in rows]
    assert 0.0 < currents_A[-1] < currents_A[0] < 0.2e-3  # of the 3 mA that are allowed
    assert {row["data"]["cell_1_kind"] for row in rows} == {kind}
    voltages_V = [row["data"]["cell_1_voltage"] for row in rows]
    assert voltages_V == pytest.approx([hold_V] * len(rows), abs=1e-6)


@pytest.mark.parametrize(("kind", "sign"), [("charge", 1), ("discharge", -1)])
def test_a_cell_beyond_its_voltage_is_left_open_until_it_has_relaxed(channel, cell, kind, sign):
    begin_V = cell.voltage_V
    steps = (
        Step(kind, 300.0, current_A=3e-3),
        *holding(begin_V + sign * 0.012, (900.0, 1.0), kind=kind),
    )
    rows = [row["data"] for row in fly(channel, Program(steps, LIMITS, 60.0))]
    held = [row for row in rows if row["cell_1_step"] == 2]
    assert sign * (rows[0]["cell_1_voltage"] - begin_V) > 0.012
    assert held[0]["cell_1_current"] == 0.0
    assert sign * (held[0]["cell_1_voltage"] - begin_V) > 0.012
    assert min(sign * row["cell_1_current"] for row in held) >= 0.0
    assert sign * held[-1]["cell_1_current"] > 0.0
    assert held[-1]["cell_1_voltage"] == pytest.approx(begin_V + sign * 0.012, abs=2e-4)


@pytest.mark.parametrize(("kind", "hold_V"), [("charge", 3.94), ("discharge", 3.74)])
def test_a_hold_20_mV_inside_the_limits_does_not_trip_them(channel, kind, hold_V):
    limits = CellLimits(3.72, 3.96, 3e-3, 3e-3)
    rows = fly(channel, Program(holding(hold_V, (4 * 3600.0, 60.0), kind=kind), limits, 60.0))
    assert channel.state.get() == "finish"
    assert abs(rows[0]["data"]["cell_1_current"]) == pytest.approx(3e-3, rel=1e-6)
    assert rows[-1]["data"]["cell_1_voltage"] == pytest.approx(hold_V, abs=1e-6)


BELOW_ZERO = Program(
    (
        Step("discharge", 36000.0, current_A=2e-3, hold_V=-0.55, end_current_A=1e-3),
        Step("rest", 60.0),
        Step("charge", 7200.0, current_A=1e-3, end_voltage_V=-0.42),
    ),
    CellLimits(-0.62, 0.9, 3e-3, 3e-3),
    60.0,
)


@pytest.fixture
def half_cell(clock, wires, tmp_path):
    """A half cell of silicon against indium-lithium, on a machine of some range."""
    made = []

    def half_cell_(**options):
        cell = Cell(clock, np.random.default_rng(1), design="si-powder-50nm")
        simulated = SimulatedNeware(clock, cell, **options)
        bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, step_folder=str(tmp_path))
        made.append(bts)
        bts.connect()
        channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
        channel.connect()
        return channel

    yield half_cell_
    for bts in made:
        bts.link.close()


def test_a_half_cell_goes_below_zero(half_cell):
    rows = fly(half_cell(), BELOW_ZERO)
    voltages_V = ends(rows, "voltage")
    assert voltages_V[1.0, 1.0] == pytest.approx(-0.55, abs=1e-4)
    assert -0.55 < voltages_V[1.0, 2.0] < -0.42
    assert voltages_V[1.0, 3.0] == pytest.approx(-0.42, abs=5e-3)
    assert ends(rows, "current")[1.0, 1.0] == pytest.approx(-1e-3, rel=0.02)


def test_a_channel_that_ends_above_zero_refuses_to_go_below(half_cell):
    channel = half_cell(voltage_min_V=0.025)
    flyer = channel.flyer(BELOW_ZERO)
    flyer.prepare(BELOW_ZERO).wait()
    with pytest.raises(InstrumentError, match="refuses to start"):
        flyer.kickoff().wait()


def test_a_long_hold_costs_one_exchange_a_record(channel, simulated):
    asked = []
    receive = simulated.receive

    def count(buffer):
        asked.append(bytes(buffer))
        return receive(buffer)

    simulated.receive = count
    rows = fly(channel, Program(holding(3.9, (86400.0, 60.0)), LIMITS, 60.0))
    assert len(rows) == 1441
    assert len(asked) < 1441 + 30


def test_the_end_of_a_long_program_is_seen_within_two_looks(channel, clock):
    program = Program(holding(3.9, (86400.0, 60.0)), LIMITS, 60.0)
    rows = fly(channel, program)
    assert clock.now() - rows[-1]["time"] < 2 * program.look_s() + 10.0


def test_a_protection_in_a_long_program_is_seen_within_two_looks(channel, clock):
    program = Program((Step("charge", 86400.0, current_A=0.3e-3),), CellLimits(2.8, 3.9, 3e-3, 3e-3), 60.0)
    flyer = start(channel, program)
    with pytest.raises(InstrumentError, match="stopped by a protection"):
        flyer.complete().wait()
    assert clock.now() - events_of(flyer)[-1]["time"] < 2 * program.look_s() + 10.0


def test_a_lost_link_in_a_long_program_is_a_failure_in_time(channel, simulated, clock, pass_time):
    program = Program(holding(3.9, (86400.0, 60.0)), LIMITS, 60.0)
    flyer = start(channel, program)
    pass_time(3600.0)
    done = flyer.complete()
    lost_s = clock.monotonic()
    simulated.break_down("busy")
    with pytest.raises(LinkError):
        done.wait()
    assert 600.0 <= clock.monotonic() - lost_s < 1400.0


def test_readings_follow_the_records_while_a_program_runs(channel, clock, pass_time):
    start(channel, LONG)
    pass_time(600.0)
    assert channel.step.get() == 1.0
    assert channel.current.get() == pytest.approx(2e-3, rel=1e-6)
    assert clock.now() - channel.voltage.timestamp < 30.0
    channel.make_safe()


def test_a_protection_ends_the_program_with_its_reason(channel, cell):
    program = Program((Step("charge", 7200.0, current_A=3e-3),), CellLimits(2.8, 3.9, 3e-3, 3e-3), 10.0)
    flyer = start(channel, program)
    with pytest.raises(InstrumentError, match=r"cell_1: stopped by a protection \(log code 190001"):
        flyer.complete().wait()
    rows = events_of(flyer)
    assert rows[-1]["data"]["cell_1_voltage"] == pytest.approx(3.9, abs=1e-2)
    assert cell.read()[1] == 0.0
    channel.trigger().wait()
    assert (channel.state.get(), channel.quality.get()) == ("protect", "invalid")
    assert len(fly(channel, SHORT)) == 12  # a protected channel can be started again
    channel.trigger().wait()
    assert channel.quality.get() == "ok"


def test_a_channel_with_nothing_connected_is_stopped_by_the_machine(clock, bts):
    empty = NewareChannel(name="empty", cycler=bts, channel=16, clock=clock)
    empty.connect()
    flyer = start(empty, SHORT)
    with pytest.raises(InstrumentError, match="empty: stopped by a protection"):
        flyer.complete().wait()


def test_limits_of_the_station_hold_before_anything_is_sent(clock, bts, simulated):
    channel = NewareChannel(
        name="cell_2", cycler=bts, channel=2, clock=clock, limits={"applied_current": (0.0, 1e-3)}
    )
    channel.connect()
    with pytest.raises(LimitError, match=r"0\.003 A is not allowed"):
        channel.flyer(SHORT).prepare(SHORT)
    assert simulated.channels[1, 2].test is None


def test_a_program_beyond_the_range_is_refused_by_the_machine(channel):
    program = Program((Step("charge", 60.0, current_A=0.2),), CellLimits(2.8, 4.3, 0.2, 0.2), 1.0)
    flyer = channel.flyer(program)
    flyer.prepare(program).wait()
    with pytest.raises(InstrumentError, match=r"bts at TCPIP.*refuses to start .*\.xml"):
        flyer.kickoff().wait()
    assert not channel.measuring


def test_a_folder_that_the_bts_computer_does_not_see_is_told(clock, wires, simulated, tmp_path):
    bts = NewareBts(
        name="bts",
        address=wires.listen(simulated),
        clock=clock,
        step_folder=str(tmp_path),
        step_folder_on_bts=r"\\lab-pc\steps",
    )
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    channel.flyer(SHORT).prepare(SHORT).wait()
    with pytest.raises(InstrumentError, match=r"refuses to start \\\\lab-pc\\steps\\cell_1-2023\S+\.xml"):
        channel.flyer(SHORT).kickoff().wait()
    assert len(list(tmp_path.glob("*.xml"))) == 1
    bts.link.close()


def test_a_folder_that_cannot_be_written_is_told(clock, wires, simulated, tmp_path):
    (tmp_path / "file").write_text("")
    bts = NewareBts(
        name="bts", address=wires.listen(simulated), clock=clock, step_folder=str(tmp_path / "file")
    )
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    channel.flyer(SHORT).prepare(SHORT).wait()
    with pytest.raises(InstrumentError, match="the step file can't be written"):
        channel.flyer(SHORT).kickoff().wait()
    bts.link.close()


def test_a_clock_that_is_off_is_told_at_the_start(clock, wires, cell, tmp_path):
    simulated = SimulatedNeware(clock, cell, timezone="Asia/Tokyo")
    bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, step_folder=str(tmp_path))
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    flyer = start(channel, LONG)
    with pytest.raises(InstrumentError, match=r"clock of the BTS computer is off by 324\d\d s.*timezone"):
        flyer.complete().wait()
    assert cell.read()[1] == 0.0
    bts.link.close()


def test_the_option_timezone_puts_the_times_right(clock, wires, cell, tmp_path):
    simulated = SimulatedNeware(clock, cell, timezone="Asia/Tokyo")
    bts = NewareBts(
        name="bts",
        address=wires.listen(simulated),
        clock=clock,
        step_folder=str(tmp_path),
        timezone="Asia/Tokyo",
    )
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    assert abs(fly(channel, SHORT)[0]["time"] - EPOCH_S) < 2.0
    bts.link.close()


@pytest.mark.parametrize("offset_s", [-43.2, 0.0, 7.5])
def test_how_far_the_clock_of_the_bts_computer_is_off_is_known_from_the_records(
    clock, wires, cell, tmp_path, offset_s
):
    simulated = SimulatedNeware(clock, cell, clock_offset_s=offset_s)
    bts = NewareBts(name="bts", address=wires.listen(simulated), clock=clock, step_folder=str(tmp_path))
    channel = NewareChannel(name="cell_1", cycler=bts, channel=1, clock=clock)
    channel.connect()
    assert math.isnan(bts.clock_offset()[0])
    fly(channel, SHORT)
    found_s, uncertainty_s = bts.clock_offset()
    assert abs(found_s - offset_s) <= uncertainty_s < 3.0
    bts.link.close()


def test_a_machine_that_accepts_and_does_not_start_is_told(channel, simulated):
    simulated._start = lambda item, channel: True
    channel.flyer(SHORT).prepare(SHORT).wait()
    with pytest.raises(InstrumentError, match="accepted the program and did not show it within 30 s"):
        channel.flyer(SHORT).kickoff().wait()


def test_a_program_that_is_over_before_the_machine_shows_it_is_complete(channel):
    assert len(fly(channel, Program((Step("rest", 1.0),), LIMITS, 0.5))) == 3


def test_a_program_that_somebody_ends_at_the_machine_is_told(channel, simulated, pass_time):
    flyer = start(channel, LONG)
    pass_time(60.0)
    simulated.channels[1, 1].catch_up()
    simulated.channels[1, 1].stop()
    with pytest.raises(InstrumentError, match=r"ended at the cycler \(state 'stop'\) after \d+ points"):
        flyer.complete().wait()


# ----- the safe state


def test_safe_state_stops_the_program_and_is_seen(channel, simulated, pass_time, cell):
    flyer = start(channel, LONG)
    pass_time(60.0)
    done = flyer.complete()
    channel.make_safe()
    assert simulated.channels[1, 1].state == "stop"
    assert cell.read()[1] == 0.0
    with pytest.raises(MeasurementStopped):
        done.wait()
    before = channel.clock.monotonic()
    channel.make_safe()
    channel.stop()
    assert channel.clock.monotonic() - before < 1.0


def test_safe_state_right_after_a_start_does_not_believe_an_old_state(channel, simulated, clock):
    channel.trigger().wait()
    channel._told_s = clock.monotonic()
    place = channel.cycler.place(1)
    channel.cycler.start(place, "cell_1", LONG)  # the machine still shows the channel at rest
    assert not channel.read_now(fresh=True).running
    channel.make_safe()
    assert simulated.channels[1, 1].state == "stop"


def test_a_channel_that_does_not_stop_is_told(channel, simulated, pass_time):
    start(channel, LONG)
    simulated._stop = lambda item, channel: True
    with pytest.raises(InstrumentError, match="told to stop 30 s ago and is still in state 'working'"):
        channel.make_safe()
    del simulated._stop
    pass_time(60.0)  # tried again meanwhile
    assert simulated.channels[1, 1].state == "stop"


# ----- faults, breakdowns, loss of power


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(channel, simulated, cell, fault):
    expected = pytest.approx(cell.voltage_V, abs=5e-5)
    simulated.break_wire(fault)
    for _ in range(3):
        channel.clock.sleep(1.0)
        channel.trigger().wait()
        assert channel.voltage.get() == expected
        assert channel.state.get() == "finish"


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_in_a_program_costs_no_record(channel, simulated, pass_time, fault):
    flyer = start(channel, Program((Step("rest", 120.0),), LIMITS, 5.0))
    pass_time(30.0)
    simulated.break_wire(fault)
    flyer.complete().wait()
    assert len(events_of(flyer)) == 25


def test_a_machine_out_of_reach_for_minutes_goes_on_with_its_program(channel, simulated, pass_time):
    flyer = start(channel, Program((Step("rest", 1200.0),), LIMITS, 10.0))
    simulated.break_wire("reset", times=None)
    pass_time(300.0)
    simulated.mend()
    flyer.complete().wait()
    assert len(events_of(flyer)) == 121


def test_a_machine_out_of_reach_for_long_is_a_failure(channel, simulated, pass_time):
    flyer = start(channel, Program((Step("rest", 3600.0),), LIMITS, 10.0))
    simulated.break_wire("reset", times=None)
    done = flyer.complete()
    pass_time(1200.0)
    with pytest.raises(LinkError, match="bts at TCPIP"):
        done.wait()
    simulated.mend()
    pass_time(60.0)
    assert simulated.channels[1, 1].state == "stop"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("duplicate", "late")])
def test_a_lasting_fault_is_an_error_with_what_to_try(channel, simulated, fault):
    channel.clock.sleep(1.0)
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"bts at TCPIP.*; check"):
        channel.trigger().wait()


def test_a_reply_may_take_its_time(channel, simulated, cell):
    channel.clock.sleep(1.0)
    simulated.break_wire("late", times=None)  # 10 s; the maker allows 30 s
    channel.trigger().wait()
    assert channel.voltage.get() == pytest.approx(cell.voltage_V, abs=5e-5)


def test_a_busy_client_does_not_answer(channel, simulated):
    channel.clock.sleep(1.0)
    simulated.break_down("busy")
    with pytest.raises(LinkTimeout, match=r"bts at TCPIP.*no reply within 30 s"):
        channel.trigger().wait()
    simulated.mend()
    channel.trigger().wait()
    assert channel.quality.get() == "ok"


def test_an_alarm_ends_the_program_and_is_shown(channel, simulated, pass_time, cell):
    flyer = start(channel, LONG)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"stopped by a protection \(log code 190005"):
        flyer.complete().wait()
    assert cell.read()[1] == 0.0
    with pytest.raises(InstrumentError, match="refuses to start"):
        channel.flyer(SHORT).kickoff().wait()
    simulated.mend()
    assert len(fly(channel, SHORT)) == 12


@pytest.mark.parametrize("what", ["error", "over_range"])
def test_a_breakdown_at_rest_is_never_a_good_reading(channel, simulated, what):
    channel.clock.sleep(1.0)
    simulated.break_down(what)
    channel.trigger().wait()
    assert channel.quality.get() == "invalid"
    assert math.isnan(channel.voltage.get()) == (what == "over_range")
    simulated.mend()
    channel.clock.sleep(1.0)
    channel.trigger().wait()
    assert channel.quality.get() == "ok"


def test_a_loss_of_power_in_a_program_ends_it_with_an_error(channel, simulated, pass_time, cell):
    flyer = start(channel, LONG)
    pass_time(30.0)
    simulated.power_cycle()
    with pytest.raises(InstrumentError, match="ended at the cycler"):
        flyer.complete().wait()
    assert cell.read()[1] == 0.0
    channel.trigger().wait()
    assert channel.voltage.get() == pytest.approx(cell.read()[0], abs=1e-3)
    assert len(fly(channel, SHORT)) == 12


# ----- the simulated machine against the documents


class Client:
    """A client of few words: it sends and gives back bytes."""

    def __init__(self, simulated):
        self._simulated = simulated

    def say(self, command, content="", end="\n\n#\r\n"):
        head = '<?xml version="1.0" encoding="UTF-8" ?>\n<bts version="1.0">\n'
        request = f"{head}<cmd>{command}</cmd>{content}</bts>"
        return b"".join(self._simulated.receive(bytearray((request + end).encode())))

    def order(self, command, facts="", text="true"):
        where = f'ip="127.0.0.1" devtype="27" devid="21" subdevid="1" chlid="1"{facts}'
        told = self.say(command, f'<list count="1"><{command} {where}>{text}</{command}></list>')
        return told.decode().split("<list")[1].split(">")[2].split("<")[0]


@pytest.fixture
def client(simulated):
    return Client(simulated)


@pytest.fixture
def write(tmp_path):
    def write_(program):
        path = tmp_path / "program.xml"
        path.write_bytes(encode_program(program, remark="", date="", guid=GUID))
        return str(path)

    return write_


def test_replies_have_the_captured_bytes(client):
    assert client.say("connect", "<username>admin</username><password>neware</password>") == CONNECTED
    assert client.say("getdevinfo", end="#\r\n").startswith(DEVICES.split(b"\r\n    <channel")[0])
    item = '<list count = "1"><chl devtype="27" devid="21" subdevid="1" chlid="1" testid="0" /></list>'
    never = UPLOADED.replace(b"143", b"0").replace(b"219585", b"0").replace(b"true", b"false")
    assert client.say("inquiredf", item) == never
    where = 'devtype="27" devid="21" subdevid="1" chlid="1"'
    empty = f'<download {where} auxid="0" testid="0" startpos="0" count="0"/>'
    assert client.say("download", empty) == reply(
        "donwload_resp",
        f'  <download {where} testid="0" startpos="0" count="0" auxid="0" />',
        '  <list count="0" />',
    )


@pytest.mark.parametrize("text", ["<bts", "", "<bts><cmd>dance</cmd></bts>", "<x><cmd>getdevinfo</cmd></x>"])
def test_what_is_no_request_is_not_answered(simulated, text):
    assert not b"".join(simulated.receive(bytearray(text.encode() + b"#\r\n")))


def test_one_request_at_a_time(simulated):
    request = encode_request("getdevinfo")
    assert b"".join(simulated.receive(bytearray(request * 2))).count(b"getdevinfo_resp") == 1


def test_pauses_jumps_and_resets(client, simulated, clock, write):
    program = Program((Step("charge", 100.0, current_A=1e-3), Step("rest", 50.0)), LIMITS, 10.0)
    machine = simulated.channels[1, 1]
    assert client.order("continue") == "false"
    assert client.order("start", text=write(program)) == "ok"
    assert client.order("start", text=write(program)) == "false"  # it runs
    assert client.order("light") == "false"
    assert client.order("setpause", ' cycleid="-1" stepid="1" timeout=""') == "ok"
    assert (
        'stepid="1"'
        in client.say(
            "getpause", '<list><getpause ip="" devtype="27" devid="21" subdevid="1" chlid="1"/></list>'
        ).decode()
    )
    clock.sleep(120.0)
    machine.catch_up()
    assert machine.state == "pause"
    assert client.order("cancelpause") == "false"
    assert client.order("continue") == "ok"
    assert client.order("goto", ' step="1"') == "ok"
    assert client.order("goto", ' step="9"') == "false"
    clock.sleep(50.0)
    longer = Program((Step("charge", 100.0, current_A=1e-3), Step("rest", 500.0)), LIMITS, 10.0)
    assert client.say(
        "reset", f'<reset devtype="27" devid="21" subdevid="1" chlid="1">{write(longer)}</reset>'
    ).count(b">ok<")
    clock.sleep(150.0)
    machine.catch_up()
    assert machine.state == "working"
    assert client.order("stop") == "ok"
    assert client.order("stop") == "false"
    assert client.order("light") == "ok"
    assert machine.shown().state == "ligth"
    assert client.order("light", text="false") == "ok"
    layers = client.say(
        "downloadStepLayer", '<downloadStepLayer devtype="27" devid="21" subdevid="1" chlid="1" />'
    ).decode()
    assert [part.split('"')[0] for part in layers.split('steptype="')[1:]] == ["cc", "rest", "cc", "rest"]
    log = client.say("downloadlog", '<download devtype="27" devid="21" subdevid="1" chlid="1" testid="0"/>')
    assert b"<cmd>donwloadlog_resp</cmd>" in log
    assert b'log_code="100000"' in log


def test_alarms_are_acknowledged(client, simulated, clock, write):
    client.order(
        "start",
        text=write(Program((Step("charge", 600.0, current_A=3e-3),), CellLimits(3, 3.82, 3e-3, 1), 1)),
    )
    clock.sleep(60.0)
    machine = simulated.channels[1, 1]
    machine.catch_up()
    assert machine.state == "protect"
    assert client.order("clearflag") == "ok"
    assert client.order("resetalarm") == "false"
    assert machine.state == "stop"


def test_records_by_change_of_voltage_and_current(client, simulated, clock, tmp_path):
    program = Program((Step("charge", 300.0, current_A=2e-3, hold_V=3.84),), LIMITS, 100.0)
    text = encode_program(program, remark="", date="", guid=GUID).decode()
    path = tmp_path / "program.xml"
    path.write_text(text.replace('<Time Value="100000.000000" />', '<Volt Value="50" /><Curr Value="0.1" />'))
    assert client.order("start", text=str(path)) == "ok"
    clock.sleep(301.0)
    machine = simulated.channels[1, 1]
    machine.catch_up()
    rows = [ET.fromstring(row) for row in machine.test.data]
    steps_V = [abs(float(b.get("volt")) - float(a.get("volt"))) for a, b in itertools.pairwise(rows)]
    steps_A = [abs(float(b.get("curr")) - float(a.get("curr"))) for a, b in itertools.pairwise(rows)]
    assert len(rows) > 5
    for volts, amperes in list(zip(steps_V, steps_A, strict=True))[:-1]:  # the last is made at the end
        assert volts >= 0.00499 or amperes >= 0.99e-4


def test_no_more_than_1000_records_at_once(client, clock, write):
    client.order("start", text=write(Program((Step("rest", 1500.0),), LIMITS, 1.0)))
    clock.sleep(1501.0)
    where = 'devtype="27" devid="21" subdevid="1" chlid="1"'
    told = client.say("download", f'<download {where} auxid="0" testid="0" startpos="2" count="5000"/>')
    assert told.count(b"<data") == 1000
    assert b'seqid="2"' in told


# ----- public clients


def test_a_public_client_reads_starts_and_stops_the_simulated_machine(tmp_path):
    path = tmp_path / "program.xml"
    path.write_bytes(encode_program(LONG, remark="", date="", guid=GUID))
    clock = WallClock(20.0)
    wires = Wires(clock)
    simulated = SimulatedNeware(clock, BatteryCell(clock), units=2)
    _, host, port, _ = wires.listen(simulated)[5:].split("::")
    client = f"""
import time
from aurora_neware import NewareAPI
with NewareAPI("{host}", {port}) as api:
    assert len(api.channel_map) == 16, api.channel_map
    assert api.getchlstatus("21-1-1")["21-1-1"]["status"] == "finish"
    assert api.start("21-1-1", "sample 1", r"{path}", r"{tmp_path}")[0]["start"] == "ok"
    for _ in range(200):
        state = api.inquire("21-1-1")["21-1-1"]
        if state["workstatus"] == "working" and state["current"] == 0.002:
            break
        time.sleep(0.1)
    assert state["barcode"] == "sample 1" and state["step_type"] == "cc", state
    assert len(api.inquire()) == len(api.getchlstatus()) == len(api.inquiredf()) == 16
    time.sleep(2)
    data = api.download("21-1-1", 5)
    assert len(data["seqid"]) >= 1 and abs(data["curr"][-1] - 0.002) < 1e-6, data
    assert api.get_testid("21-1-1")["21-1-1"]["test_id"] == api.inquiredf("21-1-1")["21-1-1"]["testid"]
    assert api.light("21-2-8")[0]["light"] == "ok"
    assert api.stop("21-1-1")[0]["stop"] == "ok"
    assert api.stop("21-1-1")[0]["stop"] == "false"
    assert api.clearflag("21-1-1")[0]["clearflag"] == "false"
    (step,) = api.get_steps("21-1-1")
    assert step["steptype"] == "cc" and step["endseqid"] == len(api.download("21-1-1", 0)["seqid"]), step
    assert [row["log_code"] for row in api.downloadlog("21-1-1")][0] == 100000
    print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
    assert simulated.channels[1, 1].state == "stop"


UNICYCLER = """
from aurora_unicycler import (
    ConstantCurrent, ConstantVoltage, CyclingProtocol, Loop, OpenCircuitVoltage, RecordParams, SafetyParams
)
protocol = CyclingProtocol(
    record=RecordParams(time_s=10),
    safety=SafetyParams(max_voltage_V=4.3, min_voltage_V=2.8, max_current_mA=3, min_current_mA=-3),
    method=[
        ConstantCurrent(current_mA=2, until_voltage_V=3.85, until_time_s=600),
        OpenCircuitVoltage(until_time_s=60),
        ConstantCurrent(current_mA=-2, until_voltage_V=3.75, until_time_s=600),
        MORE
        Loop(loop_to=1, cycle_count=2),
    ],
)
print(protocol.to_neware_xml(sample_name="test"))
"""


def unicycler(more=""):
    done = subprocess.run(
        [sys.executable, "-c", UNICYCLER.replace("MORE", more)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_public_writer_writes_the_same_step_file():
    program = Program(
        (
            Step("charge", 600.0, current_A=2e-3, end_voltage_V=3.85),
            Step("rest", 60.0),
            Step("discharge", 600.0, current_A=2e-3, end_voltage_V=3.75),
        ),
        LIMITS,
        10.0,
        cycles=2,
    )
    ours = ET.fromstring(encode_program(program, remark="test", date="", guid=GUID))
    theirs = ET.fromstring(unicycler())

    def facts(root):
        whole, steps = root.find("config/Whole_Prt"), root.find("config/Step_Info")
        found = {}
        for part in (whole, steps):
            for parent in part.iter():
                for child in parent.iter():
                    if child.get("Value") is not None:
                        found[parent.tag, child.tag] = float(child.get("Value"))
        return found, [(step.tag, step.get("Step_ID"), step.get("Step_Type")) for step in steps]

    # the public writer leaves room for a limit of the capacity, which has no number here
    assert facts(ours) == facts(theirs)


def test_the_simulated_machine_runs_files_of_a_public_writer(client, simulated, clock, tmp_path):
    path = tmp_path / "program.xml"
    path.write_text(unicycler("ConstantVoltage(voltage_V=3.75, until_current_mA=-1, until_time_s=3000),"))
    assert client.order("start", text=str(path)) == "ok"
    clock.sleep(20000.0)
    machine = simulated.channels[1, 1]
    machine.catch_up()
    assert machine.state == "finish"
    rows = [ET.fromstring(row) for row in machine.test.layers]
    assert [row.get("steptype") for row in rows] == ["cc", "rest", "dc", "dv"] * 2
    assert float(rows[0].get("endvolt")) == pytest.approx(3.85, abs=1e-3)
    assert float(rows[3].get("endcurr")) == pytest.approx(-1e-3, rel=0.02)
