import json
import math
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ophyd.utils import LimitError

from devices.families.cycler_program import CellLimits, Program, Step
from devices.maccor import (
    ChannelStatus,
    MaccorChannel,
    MaccorMacNet,
    Point,
    Procedure,
    check_outcome,
    decode_result,
    decode_specification,
    decode_status,
    encode_request,
    end_of_step,
    json_frame,
    time_to_end,
)
from sim_devices.instruments.maccor import SimulatedMacNet
from sim_devices.physics.battery_cell import BatteryCell
from sim_devices.physics.cell import Cell
from sim_devices.wire import FAULTS, Wires
from ssblab.clock import WallClock
from ssblab.links import InstrumentError, LinkError, LinkTimeout, ProtocolError, Refusal, WrongInstrument
from tests.devices.collected import events_of

LIMITS = CellLimits(voltage_min_V=2.9, voltage_max_V=4.2, charge_A=0.02, discharge_A=0.02)
CHARGE = Step("charge", 7200.0, 0.008, hold_V=4.1, end_current_A=0.0008)
REST = Step("rest", 600.0)
DISCHARGE = Step("discharge", 7200.0, 0.008, end_voltage_V=3.0)
AVAILABLE, ACTIVE, SUSPENDED, PROBLEM, POWER_FAIL = 0, 2, 3, 5, 9

#: The example of a status in the maker's text, as pymacnet 1.1.3 has it.
STATUS = (
    b'{"jsonrpc": "2.0", "result": {"FClass": 4, "FNum": 7, "Chan": 3, "RF1": 0, "RF2": 192, "Stat": 0, '
    b'"LastRecNum": 4225, "Cycle": 0, "Step": 5, "TestTime": 2.00, "StepTime": 1.00, "Capacity": 0, '
    b'"Energy": 0, "Current": 0, "Voltage": 3.85, "TesterTime": "2022-10-13T12:32:56"}, "id": 1987}\r\n'
)
ASKED = {"FClass": 4, "FNum": 7, "Chan": 3}


def program(*steps, cycles=1, limits=LIMITS, record_interval_s=60.0):
    return Program(tuple(steps), limits, record_interval_s, cycles)


@pytest.fixture
def pass_time(clock, pass_time):
    """Let time pass, and wait until a look that it brought is over: the cell is looked at from here, too."""

    def pass_(duration_s):
        pass_time(duration_s)
        for _ in range(5):
            idle = threading.Event()
            clock.loop.call_soon_threadsafe(idle.set)
            assert idle.wait(30.0)

    return pass_


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture
def simulated(clock, cell):
    return SimulatedMacNet(clock, cell, watchdog_s=30.0)


@pytest.fixture
def connect(clock, wires):
    """Connect a channel of a simulated machine."""
    made = []

    def connect_(simulated, channel=1, **options):
        machine = MaccorMacNet(name="maccor", address=wires.listen(simulated), clock=clock)
        made.append(machine)
        device = MaccorChannel(name="cell_1", cycler=machine, channel=channel, clock=clock, **options)
        machine.connect()
        device.connect()
        return device

    yield connect_
    for machine in made:
        machine.link.close()


@pytest.fixture
def channel(connect, simulated):
    return connect(simulated)


def start(channel, task):
    flyer = channel.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def run(channel, task):
    """Run a task to its end; give its rows with short names."""
    flyer = start(channel, task)
    flyer.complete().wait()
    return rows_of(flyer)


def rows_of(flyer):
    name = f"{flyer.name}_"
    return [
        {"time": event["time"]} | {key.removeprefix(name): value for key, value in event["data"].items()}
        for event in events_of(flyer)
    ]


def last_of_step(rows, step, cycle=1):
    return [row for row in rows if (row["step"], row["cycle"]) == (step, cycle)][-1]


class Passed:
    """Charge that passed through a cell between two of its open times, as the cell itself knows it."""

    def __init__(self, cell):
        self._cell = cell
        self.changes = []
        self._open = cell.open
        cell.open = self.open
        self._from_Ah = cell.charge_Ah

    def open(self, **at):
        self._open(**at)
        self.changes.append(self._cell.charge_Ah - self._from_Ah)
        self._from_Ah = self._cell.charge_Ah


# The codec


def test_a_request_is_the_makers_example():
    wanted = {
        "jsonrpc": "2.0",
        "method": "MacNet",
        "params": {"FClass": 4, "FNum": 7, "Chan": 3},
        "id": 1987,
    }
    request = encode_request(1987, 4, 7, {"Chan": 3})
    assert json.loads(request) == wanted
    assert not request.endswith(b"\n")


def test_the_makers_example_of_a_status():
    assert json_frame(STATUS) == len(STATUS)
    status = decode_status(decode_result(STATUS, 1987, ASKED))
    assert status == ChannelStatus(0, 0, 192, 0, 5, 2.0, 1.0, 0.0, 0.0, 0.0, 3.85)
    assert (status.word, status.reason) == ("Available", "suspended or paused")


def test_the_makers_examples_of_outcomes():
    started = (
        b'{"jsonrpc": "2.0", "result": {"FClass": 6, "FNum": 7, "Chan": 3, "Result": "OK"}, "id": 1987}\r\n'
    )
    check_outcome(decode_result(started, 1987, {"FClass": 6, "FNum": 7, "Chan": 3}))
    with pytest.raises(Refusal, match="every 100 ms"):
        check_outcome({"FClass": 6, "FNum": 8, "Result": 3})
    with pytest.raises(Refusal, match="no such procedure"):
        check_outcome({"FClass": 6, "FNum": 11, "Result": 2})
    with pytest.raises(Refusal, match="Test name already exists"):
        check_outcome({"FClass": 6, "FNum": 2, "Result": "Test name already exists"})
    with pytest.raises(ProtocolError):
        check_outcome({"FClass": 6, "FNum": 2})


def test_an_error_is_a_refusal_with_the_machines_words():
    reply = b'{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}\r\n'
    with pytest.raises(Refusal, match="Parse error"):
        decode_result(reply, 7, ASKED)


@pytest.mark.parametrize(("number", "asked"), [(1988, ASKED), (1987, ASKED | {"Chan": 2})])
def test_the_answer_to_something_else_is_none(number, asked):
    with pytest.raises(ProtocolError):
        decode_result(STATUS, number, asked)


@pytest.mark.parametrize("value", ["NaN", "1e999", "true", '"3.85"', "null"])
def test_what_is_no_number_is_never_one(value):
    reply = STATUS.replace(b"3.85", value.encode())
    with pytest.raises(ProtocolError):
        decode_status(decode_result(reply, 1987, ASKED))


def test_a_frame_ends_where_its_json_ends():
    reply = b'{"a": {"b": ["}", "\\"{", {}]}}\r\n'
    for length in range(1, len(reply)):
        assert json_frame(reply[:length]) is None
    assert json_frame(reply + b"{") == len(reply)
    for wrong in (b"[1]\r\n", b"\xfe{}\r\n", b"{}{}"):
        with pytest.raises(ProtocolError):
            json_frame(wrong)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: b"{" + data + b"}\r\n"))
def test_any_bytes_are_a_status_or_a_protocol_error(data):
    try:
        length = json_frame(data) if data else None
        status = decode_status(decode_result(data[:length], 1987, ASKED))
    except ProtocolError:
        return
    assert math.isfinite(status.voltage_V)


@given(st.integers(0, len(STATUS) - 3), st.integers(1, 255))
def test_a_changed_byte_never_gives_numbers_that_are_none(position, change):
    data = STATUS[:position] + bytes([STATUS[position] ^ change]) + STATUS[position + 1 :]
    try:
        if json_frame(data) is None:
            return
        status = decode_status(decode_result(data, 1987, ASKED))
    except ProtocolError:
        return
    assert math.isfinite(status.voltage_V + status.current_A + status.capacity_Ah)


@given(
    st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 10), st.integers(0, 16), st.integers(0, 31),
    st.integers(1, 10**6),
)  # fmt: skip
def test_statuses_round_trip(voltage_V, current_A, capacity_Ah, state, rf1, number):
    result = json.loads(STATUS)["result"] | {
        "Voltage": voltage_V, "Current": current_A, "Capacity": capacity_Ah, "Stat": state, "RF1": rf1,
    }  # fmt: skip
    reply = json.dumps({"jsonrpc": "2.0", "result": result, "id": number}, indent=4).encode() + b"\r\n"
    assert json_frame(reply) == len(reply)
    status = decode_status(decode_result(reply, number, ASKED))
    reading = status.reading(None)
    assert (status.voltage_V, status.capacity_Ah, status.state) == (voltage_V, capacity_Ah, state)
    assert abs(reading.current_A) == abs(current_A)
    if rf1 == 2:
        assert reading.current_A <= 0


# How a step ends


def test_a_held_voltage_ends_by_its_current_only_when_it_is_held():
    assert end_of_step(CHARGE, Point(1.0, 3.8, 0.0, 0.0)) == ""
    assert end_of_step(CHARGE, Point(900.0, 4.0999, 0.0009, 0.003)) == ""
    assert end_of_step(CHARGE, Point(900.0, 4.0999, 0.0008, 0.003)) == "current"


def test_a_voltage_that_the_machine_holds_a_little_below_has_been_reached():
    assert end_of_step(DISCHARGE, Point(900.0, 3.0004, 0.008, 0.003)) == ""
    assert end_of_step(DISCHARGE, Point(900.0, 3.0004, 0.0079, 0.003)) == "voltage"
    assert end_of_step(DISCHARGE, Point(900.0, 2.9999, 0.008, 0.003)) == "voltage"


def test_looks_get_denser_towards_an_end():
    before, now = Point(100.0, 3.3, 0.008, 0.001), Point(110.0, 3.2, 0.008, 0.00102)
    assert time_to_end(DISCHARGE, now, before) == pytest.approx(10.0)  # half of the way
    by_charge = Step("charge", 7200.0, 0.01, end_capacity_Ah=0.002)
    assert time_to_end(by_charge, Point(10.0, 3.8, 0.01, 0.0019), None) == pytest.approx(36.0)
    assert time_to_end(REST, Point(590.0, 3.8, 0.0, 0.0), None) == pytest.approx(10.0)


# The device


def test_connect_identifies_and_takes_the_channels_specification_as_limits(channel):
    assert str(channel.cycler.identity) == "Maccor MacNet (serial SIM4000, firmware 3.2.18)"
    assert channel.cycler.channel_count == 8
    assert channel.applied_voltage.limits == pytest.approx((-0.95, 4.95))
    assert channel.applied_current.limits == (0.0, 5.0)
    assert channel.voltage.get() == pytest.approx(3.797, abs=0.1)
    assert channel.state.get() == "Available"


def test_limits_of_the_station_are_narrower(connect, simulated):
    channel = connect(simulated, limits={"applied_voltage": (2.5, 4.3), "applied_current": (0.0, 0.05)})
    assert channel.applied_voltage.limits == (2.5, 4.3)
    with pytest.raises(LimitError, match=r"applied_current: 0.1 A is not allowed"):
        channel.flyers["records"].prepare(program(REST, limits=CellLimits(2.9, 4.2, 0.1, 0.02)))


def test_another_type_of_system_is_refused(connect, clock):
    with pytest.raises(WrongInstrument, match="found 'MacNet system of type 3', not MacNet system of type 0"):
        connect(SimulatedMacNet(clock, system_type=3))


def test_a_channel_that_the_machine_does_not_have_is_refused(connect, simulated):
    with pytest.raises(InstrumentError, match="has channels 1 to 8, not 9"):
        connect(simulated, channel=9)


def test_every_number_has_a_unit_and_a_time(channel, clock):
    channel.trigger().wait()
    for name, reading in channel.read().items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    described = channel.describe()
    units = {name: described[f"cell_1_{name}"]["units"] for name in ("voltage", "current", "capacity")}
    assert units == {"voltage": "V", "current": "A", "capacity": "Ah"}


@pytest.mark.parametrize(("counters_restart", "signed_current"), [(True, False), (False, True)])
def test_capacities_are_the_charge_that_passed_through_the_cell(
    clock, cell, connect, counters_restart, signed_current
):
    simulated = SimulatedMacNet(clock, cell, counters_restart=counters_restart, signed_current=signed_current)
    channel = connect(simulated)
    passed = Passed(cell)
    rows = run(channel, program(CHARGE, REST, DISCHARGE))
    charged, discharged = last_of_step(rows, 1), last_of_step(rows, 3)
    assert len(passed.changes) == 2
    assert charged["capacity"] == pytest.approx(passed.changes[0], rel=0.002)
    assert -discharged["capacity"] == pytest.approx(passed.changes[1], rel=0.002)
    assert discharged["capacity"] > 0.007
    assert (charged["kind"], discharged["kind"]) == ("charge", "discharge")
    assert charged["voltage"] == pytest.approx(4.1, abs=0.001)
    assert charged["current"] == pytest.approx(0.0008, rel=0.01)
    assert discharged["voltage"] == pytest.approx(3.0, abs=0.005)
    assert all(row["current"] < 0 for row in rows if row["kind"] == "discharge")
    assert all(row["current"] == 0 for row in rows if row["kind"] == "rest")
    assert charged["energy"] == pytest.approx(charged["capacity"] * 4.05, rel=0.03)


@pytest.mark.parametrize("counters_restart", [True, False])
def test_steps_without_a_rest_between_them_count_for_themselves(clock, cell, connect, counters_restart):
    channel = connect(SimulatedMacNet(clock, cell, counters_restart=counters_restart))
    by_charge = Step("charge", 3600.0, 0.004, end_capacity_Ah=0.001)
    by_time = Step("discharge", 900.0, 0.002)
    again = Step("discharge", 360.0, 0.004)
    rows = run(channel, program(by_charge, by_time, again, cycles=2))
    for cycle in (1, 2):
        ends = [last_of_step(rows, step, cycle) for step in (1, 2, 3)]
        assert [row["capacity"] for row in ends] == pytest.approx([0.001, 0.0005, 0.0004], rel=0.001)
        assert ends[1]["time"] - ends[0]["time"] == pytest.approx(900.0, abs=0.5)
    assert cell.charge_Ah == pytest.approx(2 * (0.001 - 0.0009), abs=2e-6)


def test_records_come_at_least_as_often_as_asked_with_the_machines_times(channel, clock):
    begin = clock.now()
    rows = run(channel, program(Step("charge", 300.0, 0.002), REST, record_interval_s=30.0))
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert all(later - earlier < 33.0 for earlier, later in pairwise(times))
    assert times[0] == pytest.approx(begin + 1.0, abs=1.0)
    assert last_of_step(rows, 1)["time"] - times[0] == pytest.approx(300.0, abs=0.6)
    assert channel.flyers["records"].describe_collect()["cell_1_capacity"]["units"] == "Ah"


def holding(hold_V, *times_and_intervals, kind="charge"):
    """Steps that hold a voltage on and on, each with its time and its interval of records."""
    return tuple(
        Step(kind, time_s, 0.003, hold_V=hold_V, record_interval_s=interval_s)
        for time_s, interval_s in times_and_intervals
    )


def test_records_become_sparser_in_a_hold_that_is_never_interrupted(channel, cell, monkeypatch):
    changes = []
    for name in ("open", "source_current", "source_voltage"):
        change = getattr(cell, name)

        def noted(*args, change=change, name=name, **kwargs):
            changes.append(name)
            change(*args, **kwargs)

        monkeypatch.setattr(cell, name, noted)
    rows = run(channel, program(*holding(3.85, (60.0, 2.0), (300.0, 10.0), (1800.0, 60.0))))
    assert changes == ["source_current", "open", "source_current"]  # open is a current of zero
    for step, interval_s in ((1, 2.0), (2, 10.0), (3, 60.0)):
        times = [row["time"] for row in rows if row["step"] == step]
        gaps_s = [b - a for a, b in pairwise(times)]
        assert max(gaps_s) < 1.1 * interval_s + 0.5
        assert sum(gaps_s) / len(gaps_s) > 0.7 * interval_s
    before, after = last_of_step(rows, 2), next(row for row in rows if row["step"] == 3)
    assert after["time"] - before["time"] < 1.0
    assert after["current"] == pytest.approx(before["current"], rel=0.02, abs=1e-6)
    held_V = [row["voltage"] for row in rows if row["step"] == 3]
    assert held_V == pytest.approx([3.85] * len(held_V), abs=1e-3)


@pytest.mark.parametrize(("kind", "hold_V"), [("charge", 3.94), ("discharge", 3.74)])
def test_a_hold_20_mV_inside_the_limits_does_not_trip_them(channel, kind, hold_V):
    limits = CellLimits(3.72, 3.96, 3e-3, 3e-3)
    rows = run(channel, program(*holding(hold_V, (2 * 3600.0, 60.0), kind=kind), limits=limits))
    assert rows[-1]["voltage"] == pytest.approx(hold_V, abs=1e-3)


def test_a_half_cell_goes_below_zero(clock, connect):
    cell = Cell(clock, np.random.default_rng(1), design="si-powder-50nm")
    channel = connect(SimulatedMacNet(clock, cell, watchdog_s=30.0))
    rows = run(
        channel,
        program(
            Step("charge", 3600.0, 0.002, end_voltage_V=-0.2),
            Step("discharge", 3600.0, 0.002, hold_V=-0.3, end_current_A=1e-3),
            limits=CellLimits(-0.62, 0.9, 3e-3, 3e-3),
        ),
    )
    assert last_of_step(rows, 1)["voltage"] == pytest.approx(-0.2, abs=5e-3)
    assert last_of_step(rows, 2)["voltage"] == pytest.approx(-0.3, abs=1e-3)
    assert last_of_step(rows, 2)["current"] == pytest.approx(-1e-3, rel=0.03)


def test_nothing_drives_the_cell_in_a_rest(channel, simulated, cell, pass_time):
    flyer = start(channel, program(Step("charge", 60.0, 0.008), REST, Step("charge", 60.0, 0.008)))
    pass_time(30.0)
    assert simulated.channels[0].stat == ACTIVE
    assert cell.read()[1] == pytest.approx(0.008)
    pass_time(60.0)
    assert simulated.channels[0].stat == AVAILABLE  # not a current of zero: no test at all
    assert simulated.channels[0].test is None
    before_Ah = cell.charge_Ah
    pass_time(500.0)
    cell.read()
    assert cell.charge_Ah == before_Ah
    channel.trigger().wait()
    assert (channel.step.get(), channel.state.get()) == (2, "Available")
    flyer.complete().wait()
    assert cell.charge_Ah == pytest.approx(2 * 60 * 0.008 / 3600, rel=0.02)


def test_safety_limits_are_in_the_machine_before_it_starts(channel, simulated):
    start(channel, program(CHARGE))
    held = simulated.channels[0].safety
    assert held.VSafeMax == pytest.approx(4.205)
    assert held.VSafeMin == pytest.approx(2.895)
    assert held.ISafeChg == pytest.approx(0.0204)
    assert held.ISafeDis == pytest.approx(0.0204)


def test_a_safety_limit_that_the_machine_does_not_take_prevents_the_start(channel, simulated, monkeypatch):
    own = simulated._set_safety
    monkeypatch.setattr(simulated, "_set_safety", lambda *args: own(*args) | {"ISafeChg": 0.0209})
    with pytest.raises(InstrumentError, match=r"ISafeChg was set to 0.0204, the machine holds 0.0209"):
        start(channel, program(CHARGE))
    assert simulated.channels[0].test is None


def test_a_step_that_runs_into_the_limits_is_ended_by_the_machine(channel, simulated, cell):
    flyer = start(channel, program(Step("charge", 7200.0, 0.008, end_capacity_Ah=0.02)))
    with pytest.raises(InstrumentError, match=r"reports a problem \(safety limit of voltage\)"):
        flyer.complete().wait()
    assert cell.read()[0] < 4.21
    assert cell.read()[1] == 0.0
    assert simulated.channels[0].stat == AVAILABLE
    channel.trigger().wait()  # and can be used again


def kill_driver(channel):
    channel._look = lambda: None
    channel._stop_looking()
    channel.flyers["records"].run.timer.cancel()
    channel.cycler.link.close()


def test_without_its_driver_the_machine_suspends_the_channel(channel, simulated, cell, pass_time):
    start(channel, program(CHARGE))
    pass_time(100.0)
    kill_driver(channel)
    pass_time(31.0)
    assert cell.read()[1] == 0.0
    assert simulated.channels[0].stat == SUSPENDED


def test_without_driver_and_watchdog_the_machine_stays_at_the_end_of_the_step(
    clock, cell, connect, pass_time
):
    channel = connect(SimulatedMacNet(clock, cell, watchdog_s=0.0))
    start(channel, program(DISCHARGE))
    pass_time(100.0)
    kill_driver(channel)
    pass_time(20_000.0)
    voltage_V, current_A = cell.read()
    assert voltage_V == pytest.approx(3.0, abs=1e-6)
    assert -0.001 < current_A <= 0.0


def test_the_driver_keeps_the_watchdog_content_in_a_long_step(clock, cell, connect):
    channel = connect(SimulatedMacNet(clock, cell, watchdog_s=15.0))
    rows = run(channel, program(Step("charge", 3000.0, 0.001), record_interval_s=600.0))
    assert rows[-1]["capacity"] == pytest.approx(0.001 * 3000 / 3600, rel=0.001)


def test_what_leaves_the_limits_is_refused_before_anything_is_sent(channel, simulated):
    for limits in (CellLimits(2.9, 4.96, 0.01, 0.01), CellLimits(-1.0, 4.2, 0.01, 0.01)):
        with pytest.raises(LimitError, match="applied_voltage"):
            channel.flyers["records"].prepare(program(REST, limits=limits))
    with pytest.raises(TypeError, match="no program of a cycler"):
        channel.flyer(object())
    assert simulated.channels[0].test is None


def test_the_current_range_is_the_smallest_that_fits(channel, simulated):
    for current_A, largest_A in ((0.0001, 150e-6), (0.005, 5e-3), (0.0051, 0.15)):
        start(channel, program(Step("charge", 60.0, current_A)))
        assert simulated.channels[0].test.output.largest_A == largest_A
        channel.make_safe()


def test_safe_state_ends_the_test_and_is_idempotent(channel, simulated, cell, pass_time):
    flyer = start(channel, program(CHARGE))
    pass_time(30.0)
    assert cell.read()[1] > 0
    for _ in range(2):
        channel.make_safe()
        assert cell.read()[1] == 0.0
        assert simulated.channels[0].stat == AVAILABLE
    with pytest.raises(RuntimeError, match="was stopped"):
        flyer.complete().wait()
    assert channel.state.get() == "Available"
    pass_time(100.0)
    assert cell.read()[1] == 0.0


def foreign(machine, channel=2, name="somebody"):
    machine.order(6, 2, channel, TestName=name, ProcName="capacity_check", Comment="", Crate=1, ChamberNum=0)


def test_a_test_of_somebody_else_is_not_taken_over(channel, clock, simulated):
    foreign(channel.cycler)
    other = MaccorChannel(name="cell_2", cycler=channel.cycler, channel=2, clock=clock)
    with pytest.raises(InstrumentError, match="channel 2 runs a program that this station did not start"):
        other.connect()


def test_a_test_of_somebody_else_is_suspended_by_the_safe_state(channel, simulated, cell, pass_time):
    foreign(channel.cycler, channel=1)
    pass_time(10.0)
    with pytest.raises(InstrumentError, match="a program runs that was not started here"):
        channel.trigger().wait()
    channel.make_safe()
    assert simulated.channels[0].stat == SUSPENDED
    assert cell.read()[1] == 0.0
    with pytest.raises(InstrumentError, match="can't start: channel 1 is Suspended"):
        start(channel, program(CHARGE))


def test_a_procedure_runs_in_the_machine(channel, simulated, cell):
    passed = Passed(cell)
    rows = run(channel, Procedure("capacity_check", LIMITS, 30_000.0, 60.0, test_name="cell 1"))
    assert rows[0]["kind"] == "charge"
    assert {row["step"] for row in rows} == {1, 2, 3}
    assert {row["cycle"] for row in rows} == {1}
    discharged = rows[-1]
    assert discharged["capacity"] == pytest.approx(-passed.changes[-1], rel=1e-4)
    assert simulated.channels[0].stat == AVAILABLE  # reset, so that the next test can start
    run(channel, program(Step("rest", 10.0)))


def test_procedures_that_can_not_start_are_refused(channel, simulated):
    with pytest.raises(InstrumentError, match="there is no such procedure"):
        start(channel, Procedure("nonsense", LIMITS, 100.0, 10.0))
    foreign(channel.cycler, channel=2, name="taken")
    with pytest.raises(InstrumentError, match="there is a test of this name already"):
        start(channel, Procedure("rest_1h", LIMITS, 4000.0, 10.0, test_name="taken"))
    for wrong in ({"name": ""}, {"end_time_s": 0.0}, {"comment": "x" * 81}, {"rated_Ah": math.nan}):
        with pytest.raises(ValueError, match="must be"):
            Procedure(
                **({"name": "x", "limits": LIMITS, "end_time_s": 1.0, "record_interval_s": 1.0} | wrong)
            )


def test_a_procedure_that_takes_too_long_is_stopped(channel, simulated):
    flyer = start(channel, Procedure("rest_1h", LIMITS, 600.0, 60.0))
    with pytest.raises(InstrumentError, match="the procedure has not ended within 600 s"):
        flyer.complete().wait()
    assert simulated.channels[0].stat == AVAILABLE


# Faults


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(channel, simulated, fault, cell):
    simulated.break_wire(fault)
    for _ in range(3):
        channel.trigger().wait()
        assert channel.voltage.get() == pytest.approx(cell.potential_V(), abs=0.001)
        assert channel.quality.get() == "ok"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "duplicate"])
def test_a_lasting_fault_is_an_error_with_what_to_try(channel, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"maccor at TCPIP.*; check"):
        channel.trigger().wait()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("replies", [3, 6])
def test_a_program_survives_faults_of_the_wire(channel, simulated, cell, pass_time, fault, replies):
    passed = Passed(cell)
    flyer = start(channel, program(Step("charge", 100.0, 0.008), Step("discharge", 100.0, 0.004)))
    for _ in range(replies):
        pass_time(35.0 if replies == 3 else 17.3)
        simulated.break_wire(fault)
    flyer.complete().wait()
    rows = rows_of(flyer)
    counted = last_of_step(rows, 1)["capacity"] - last_of_step(rows, 2)["capacity"]
    assert counted == pytest.approx(sum(passed.changes), abs=2e-6)
    assert cell.read()[1] == 0.0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_start_whose_answer_is_lost_runs(channel, simulated, cell, fault):
    own = simulated._start_direct

    def spoilt(*args):
        simulated.break_wire(fault)
        return own(*args)

    simulated._start_direct = spoilt
    rows = run(channel, program(Step("charge", 60.0, 0.008)))
    assert rows[-1]["capacity"] == pytest.approx(cell.charge_Ah, abs=2e-6)
    assert cell.charge_Ah == pytest.approx(60 * 0.008 / 3600, rel=0.02)


def test_a_start_that_was_lost_is_an_error(channel, simulated, cell):
    def lost(*args):
        simulated.break_wire("silent")
        return {"Result": "OK"}

    simulated._start_direct = lost
    with pytest.raises(LinkError, match="no reply within 2 s"):
        start(channel, program(Step("charge", 60.0, 0.008)))
    assert not channel.measuring
    assert cell.charge_Ah == 0.0


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_set_points_whose_answer_is_lost_are_sent_again(channel, simulated, cell, fault, arrives):
    own = simulated._update_direct
    spoilt = []

    def spoil(*args):
        if spoilt or args[0].test.output.mode == args[1].mode():
            return own(*args)
        spoilt.append(fault)
        simulated.break_wire(fault)
        return own(*args) if arrives or fault in ("duplicate", "garbage", "corrupt") else {"Result": "OK"}

    simulated._update_direct = spoil
    passed = Passed(cell)
    rows = run(channel, program(Step("charge", 60.0, 0.008), Step("discharge", 60.0, 0.004)))
    assert spoilt
    charged, discharged = (last_of_step(rows, step)["capacity"] for step in (1, 2))
    assert discharged == pytest.approx(60 * 0.004 / 3600, rel=0.05)  # longer by the time of the wait
    assert charged == pytest.approx(60 * 0.008 / 3600, rel=0.01)
    # While the answer was waited for, the machine did what it had been told last.
    assert charged - discharged == pytest.approx(sum(passed.changes), abs=0.008 * 5.0 / 3600)


def test_a_machine_that_counts_anew_a_little_late_is_read_right(channel, simulated, clock):
    own = simulated._status
    shown = {"mode": 0, "since_s": 0.0, "before": 0.0}

    def late(machine_channel, params):
        answer = own(machine_channel, params)
        if answer["RF1"] != shown["mode"]:
            shown.update(mode=answer["RF1"], since_s=clock.monotonic())
        if answer["RF1"] == 2 and clock.monotonic() - shown["since_s"] < 1.0:
            answer["Capacity"] = shown["before"]
        else:
            shown["before"] = answer["Capacity"]
        return answer

    simulated._status = late
    rows = run(channel, program(Step("charge", 300.0, 0.008), Step("discharge", 300.0, 0.002)))
    assert last_of_step(rows, 2)["capacity"] == pytest.approx(300 * 0.002 / 3600, rel=0.005)


def test_a_link_that_is_lost_in_a_program_ends_it_and_the_channel_is_stopped_when_it_is_back(
    channel, simulated, cell, pass_time
):
    flyer = start(channel, program(CHARGE))
    pass_time(50.0)
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkError, match=r"maccor at TCPIP"):
        flyer.complete().wait()
    simulated.mend_wire()
    pass_time(30.0)
    assert simulated.channels[0].stat == AVAILABLE
    assert cell.read()[1] == 0.0


@pytest.mark.parametrize("last", ["a question", "an order"])
def test_a_link_that_is_lost_while_others_wait_is_lost_for_them_too(channel, clock, monkeypatch, last):
    """As by the wall clock, where each channel has a thread."""
    machine = channel.cycler
    tried, asked, lost = [], threading.Semaphore(0), threading.Event()
    monotonic = clock.monotonic

    def noted():
        time_s = monotonic()
        asked.release()
        return time_s

    def dead(*_):
        tried.append(1)
        if len(tried) == 1:
            assert lost.wait(30.0)
            clock.sleep(6.0)
        raise LinkTimeout("no reply")

    monkeypatch.setattr(machine.link, "ask", dead)
    monkeypatch.setattr(machine.link, "order", dead)
    monkeypatch.setattr(clock, "monotonic", noted)
    errors = []

    def attempt(work):
        with pytest.raises(LinkTimeout) as caught:
            work()
        errors.append(caught.value)

    works = [lambda: machine.status(1)] * 3
    if last == "an order":
        works[-1] = lambda: machine.order(6, 5, 1)
    threads = [threading.Thread(target=attempt, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
        assert asked.acquire(timeout=30.0)
    lost.set()
    for thread in threads:
        thread.join(30.0)
    assert len(errors) == 3
    assert tried == [1]
    monkeypatch.undo()
    assert machine.status(1).state == AVAILABLE  # and it is asked again


def test_busy_is_an_error_until_it_ends(channel, simulated):
    simulated.break_down("busy")
    with pytest.raises(InstrumentError, match=r"maccor at TCPIP.*answers MacNet error"):
        channel.trigger().wait()
    simulated.mend()
    channel.trigger().wait()


def test_a_problem_of_a_channel_is_an_error(channel, simulated, cell, pass_time):
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match=r"cell_1.*reports a problem \(lost current control\)"):
        channel.trigger().wait()
    simulated.mend()
    pass_time(1.0)
    channel.trigger().wait()
    flyer = start(channel, program(CHARGE))
    pass_time(20.0)
    simulated.break_down("error")
    with pytest.raises(InstrumentError, match="reports a problem"):
        flyer.complete().wait()
    simulated.mend()
    pass_time(20.0)
    assert simulated.channels[0].stat == AVAILABLE
    assert cell.read()[1] == 0.0


def test_a_voltage_beyond_the_range_is_no_number(channel, simulated, pass_time):
    simulated.break_down("over_range")
    channel.trigger().wait()
    assert math.isnan(channel.voltage.get())
    assert channel.quality.get() == "invalid"
    flyer = start(channel, program(CHARGE))
    with pytest.raises(InstrumentError, match="beyond the range"):
        flyer.complete().wait()
    assert all(math.isfinite(row["voltage"]) for row in rows_of(flyer))
    simulated.mend()
    pass_time(1.0)
    channel.trigger().wait()
    assert channel.quality.get() == "ok"


def test_a_loss_of_power_ends_a_program(channel, simulated, cell, pass_time):
    flyer = start(channel, program(CHARGE))
    pass_time(50.0)
    simulated.power_cycle()
    assert simulated.channels[0].stat == POWER_FAIL
    assert cell.read()[1] == 0.0
    with pytest.raises(InstrumentError, match="lost its power during a test"):
        flyer.complete().wait()
    assert simulated.channels[0].stat == AVAILABLE
    channel.trigger().wait()
    assert channel.voltage.get() == pytest.approx(cell.potential_V(), abs=0.001)


# The simulated machine, by what the maker's text says of it


def exchange(simulated, **members):
    request = {"jsonrpc": "2.0", "method": "MacNet", "params": members, "id": 5}
    replies = list(simulated.receive(bytearray(json.dumps(request, indent=4).encode())))
    assert len(replies) == 1
    assert replies[0].endswith(b"\r\n")
    return json.loads(replies[0])


def message(reply):
    return reply["error"]["message"]


def test_the_machines_errors(simulated):
    assert message(exchange(simulated, FClass=99, FNum=1)) == "Invalid FClass"
    assert message(exchange(simulated, FClass=4, FNum=99)) == "Invalid FNum"
    assert message(exchange(simulated, FNum=99)) == "Invalid params"
    assert message(exchange(simulated, FClass=4, FNum=7)) == "Missing object"
    assert message(exchange(simulated, FClass=4, FNum=7, Chan=8)) == "Illegal value"
    for bad, told in (
        (b"hello", "Parse error"),
        (b'{"a": }', "Parse error"),
        (b'{"jsonrpc": "2.0", "method": "macnet", "params": {}, "id": 1}', "Method MacNet"),
    ):
        assert message(json.loads(next(iter(simulated.receive(bytearray(bad)))))).startswith(told)


def test_a_request_is_answered_when_its_json_is_complete(simulated):
    request = encode_request(5, 4, 7, {"Chan": 0})
    buffer = bytearray(request[:30])
    assert list(simulated.receive(buffer)) == []
    buffer += request[30:] + request + b"  "
    assert len(list(simulated.receive(buffer))) == 2
    assert not buffer


DIRECT = {
    "Chan": 0, "TestName": "Random", "Current": 0.0, "Voltage": 4.0, "Power": 65536, "Resistance": 0,
    "CurrentRange": 3, "ChMode": "C", "DataTime": 1.0, "DataV": 0, "DataI": 0,
}  # fmt: skip


def result(simulated, fclass, fnum, **members):
    reply = exchange(simulated, FClass=fclass, FNum=fnum, **members)
    return reply["result"] if "result" in reply else message(reply)


def test_direct_mode_is_the_makers(simulated, cell, pass_time):
    update = DIRECT | {"Current": 0.01}
    assert result(simulated, 6, 8, **update)["Result"] == "The channel is not active"
    assert result(simulated, 6, 7, **DIRECT)["Result"] == "OK"
    assert result(simulated, 6, 7, **DIRECT)["Result"] == "Channel not available"
    assert result(simulated, 6, 8, **update)["Result"] == "Direct mode is not ready yet"
    pass_time(2.0)
    assert result(simulated, 6, 8, **update)["Result"] == "OK"
    assert result(simulated, 6, 8, **update)["Result"] == "Command sent too fast"
    assert cell.read()[1] == pytest.approx(0.01)
    pass_time(1.0)
    assert result(simulated, 6, 8, **update | {"ChMode": "R"}) == "Illegal value"  # no rest over JSON
    assert result(simulated, 6, 8, **update | {"ChMode": "D", "Voltage": 3.0})["Result"] == "OK"
    assert cell.read()[1] == pytest.approx(-0.01)
    status = result(simulated, 4, 7, Chan=0)
    assert (status["Stat"], status["RF1"]) == (ACTIVE, 2)
    assert result(simulated, 6, 3, Chan=0)["Result"] == "OK"
    assert cell.read()[1] == 0.0
    assert result(simulated, 6, 4, Chan=0)["Result"] == "OK"
    assert cell.read()[1] == pytest.approx(-0.01)
    assert result(simulated, 6, 5, Chan=0)["Result"] == "OK"
    assert cell.read()[1] == 0.0


def test_a_set_point_that_was_out_of_range_at_the_start_stays_ignored(simulated, cell, pass_time):
    result(simulated, 6, 7, **DIRECT | {"Current": 0.005, "Voltage": 65536})
    pass_time(2.0)
    result(simulated, 6, 8, **DIRECT | {"Current": 0.005, "Voltage": 3.0})
    pass_time(1.0)
    assert cell.read()[1] == pytest.approx(0.005)


def test_an_empty_channel_loses_control_of_its_current(simulated, pass_time):
    result(simulated, 6, 7, **DIRECT | {"Chan": 4, "Current": 0.005})
    pass_time(2.0)
    status = result(simulated, 4, 7, Chan=4)
    assert (status["Stat"], status["RF2"]) == (PROBLEM, 254)


def test_the_other_functions(simulated, channel):
    assert result(simulated, 1, 2)["TestChannels"] == 8
    assert len(result(simulated, 4, 1, Chan=0, Len=8)["Status"]) == 8
    assert result(simulated, 4, 2, Chan=0, Len=2)["Voltage"][0] == pytest.approx(3.797, abs=0.1)
    assert result(simulated, 4, 3, Chan=0, Len=2)["Current"] == [0.0, 0.0]
    assert result(simulated, 6, 9, Chan=0, VarNum=2, Value=0.5)["Result"] == "OK"
    assert result(simulated, 4, 8, Chan=0)["VARs"][1] == 0.5
    assert result(simulated, 8, 1)["Result"] == "PASSED"
    assert result(simulated, 4, 1, Chan=0, Len=129) == "Illegal value"
    assert result(simulated, 6, 6, Chan=0)["Result"] == "The test is not completed"
    assert decode_specification(result(simulated, 3, 1, Chan=0)).charge_A[2] == pytest.approx(0.15)


def test_a_step_of_a_procedure_can_be_ended_by_hand(simulated, pass_time):
    start_it = {"Chan": 0, "TestName": "x", "ProcName": "capacity_check", "Comment": "", "Crate": 1}
    assert result(simulated, 6, 11, **start_it)["Result"] == 0
    assert result(simulated, 6, 2, **start_it)["Result"] == "OK"
    pass_time(60.0)
    assert result(simulated, 6, 8, **DIRECT)["Result"] == "Direct mode is not active"
    assert result(simulated, 4, 7, Chan=0)["Step"] == 1
    assert result(simulated, 4, 10, Chan=0)["Result"] == "OK"
    status = result(simulated, 4, 7, Chan=0)
    assert (status["Step"], status["RF1"], status["RF2"]) == (2, 4, 199)


def test_a_public_client_drives_the_simulated_machine():
    clock = WallClock()
    wires = Wires(clock)
    cell = BatteryCell(clock)
    simulated = SimulatedMacNet(clock, cell, start_s=0.1, watchdog_s=60.0)
    port = int(wires.listen(simulated)[5:].split("::")[2])
    client = f"""
import time
import pymacnet
config = dict(
    server_ip="127.0.0.1", json_msg_port={port}, bin_msg_port={port}, msg_buffer_size_bytes=4096, channel=1,
    test_name="", test_procedure="capacity_check", c_rate_ah=0.008, v_max_safety_limit_v=4.3,
    v_min_safety_limit_v=2.5, i_max_safety_limit_a=0.1, i_min_safety_limit_a=0.1,
    power_safety_limit_chg_w=1.0, power_safety_limit_dsg_w=1.0, v_max_v=4.2, v_min_v=3.0,
    data_record_time_s=1.0, data_record_voltage_delta_vbys=0.0, data_record_current_delta_abys=0.0,
)
def active():
    for _ in range(200):
        if channel.read_channel_status()["Stat"] == 2:
            return True
        time.sleep(0.05)
cycler = pymacnet.CyclerInterface(config)
assert cycler.get_num_channels() == 8
assert cycler.read_system_info()["MacTest32EXEversionMajor"] == 3
assert cycler.read_channel_status(channel=2)["Stat"] == 0
channel = pymacnet.ChannelInterface(config)
assert abs(channel.read_channel_status()["Voltage"] - 3.8) < 0.1
assert channel.read_aux() == [24.75]
assert channel.set_channel_variable(var_num=1, var_value=25)
assert channel.start_test_with_direct_control()
assert not channel.start_test_with_procedure()  # it is in use
assert active()
time.sleep(0.5)
assert channel.set_direct_mode_output(current_a=0.004, voltage_v=4.2)
time.sleep(0.2)
charging = channel.read_channel_status()
assert charging["RF1"] == 1 and abs(charging["Current"] - 0.004) < 1e-5, charging
assert channel.set_direct_mode_output(current_a=-0.004)
time.sleep(0.2)
assert channel.read_channel_status()["RF1"] == 2
assert channel.reset_channel()
assert channel.read_channel_status()["Stat"] == 0
assert channel.start_test_with_procedure()
assert active()
assert channel.reset_channel()
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, timeout=100, check=False
    )
    wires.close()
    clock.close()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
