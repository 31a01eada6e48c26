import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.midas import HoneywellMidas, MidasReport, decode_report, fault_name
from sim_devices.instruments.midas import SimulatedMidas
from sim_devices.modbus import ModbusInstrument, float_words
from sim_devices.wire import FAULTS
from ssblab.links import InstrumentError, LinkError, ProtocolError, WrongInstrument
from ssblab.links.modbus import decode_registers

CALM = [0x0001, 0x0B21, *(0, 0), 0, 0, 0x0102, 25, 12960, 77, 500, 0, *(0, 0x40A0), *(0, 0x4120)]
BLIND_TO_CORRUPT = "corrupt"  # Modbus TCP has no checksum of its own and relies on that of TCP


class Room:
    """Gas in the room."""

    h2s_ppm = 0.0

    def concentration_ppm(self):
        return self.h2s_ppm


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def simulated(clock, room):
    return SimulatedMidas(clock, room)


@pytest.fixture
def midas(clock, wires, simulated):
    midas = HoneywellMidas(name="h2s", address=wires.listen(simulated), clock=clock)
    midas.connect()
    yield midas
    midas.link.close()


def poll(midas):
    midas.trigger().wait()
    return midas.tripped


def test_report_as_the_manual_lays_it_out():
    registers = [0x0001 | 2 << 4 | 1 << 6 | 1 << 11, *CALM[1:]]
    registers[2:4] = 0x0000, 0x40E0
    registers[5] = 81
    report = decode_report(registers)
    assert (report.state, report.low_alarm, report.high_alarm) == ("monitoring", True, False)
    assert (report.maintenance_fault, report.instrument_fault, report.fault_code) == (False, True, "F81")
    assert (report.concentration, report.low_threshold, report.high_threshold) == (7.0, 5.0, 10.0)
    assert (report.unit, report.gas_id, report.cartridge_id, report.seconds) == ("ppm", 0x21, 0x0B, 77)


@pytest.mark.parametrize(("number", "name"), [(0, ""), (12, "m12"), (29, "m29"), (30, "F30"), (81, "F81")])
def test_faults_are_named_as_on_the_display(number, name):
    assert fault_name(number) == name


@pytest.mark.parametrize(
    ("position", "value", "problem"),
    [(0, 0x0009, "state 9"), (6, 0x0300, "unit 3"), (6, 0x0107, "7 decimals"), (13, 0x7FC0, "thresholds")],
)
def test_registers_of_no_midas_are_a_protocol_error(position, value, problem):
    registers = list(CALM)
    registers[position] = value
    with pytest.raises(ProtocolError, match=problem):
        decode_report(registers)


@given(st.lists(st.integers(0, 0xFFFF), min_size=16, max_size=16))
def test_any_registers_are_a_report_or_a_protocol_error(registers):
    try:
        report = decode_report(registers)
    except ProtocolError:
        return
    assert report.quality in ("ok", "invalid", "saturated")
    assert report.quality != "ok" or math.isfinite(report.concentration)


@given(st.binary(max_size=40) | st.binary(min_size=32, max_size=32).map(lambda data: b"\x03\x20" + data))
def test_any_bytes_are_a_report_or_a_protocol_error(data):
    try:
        report = decode_report(decode_registers(data, 3, 16))
    except ProtocolError:
        return
    assert isinstance(report, MidasReport)


@given(st.floats(0, 100, width=32), st.floats(0.125, 50, width=32), st.sampled_from(["ppm", "ppb"]))
def test_reports_round_trip_in_ppm_whatever_the_display_shows(concentration, threshold, display):
    registers = list(CALM)
    registers[2:4] = float_words(concentration, low_first=True)
    registers[12:14] = float_words(threshold, low_first=True)
    registers[6] = {"ppm": 0x0102, "ppb": 0x0200}[display]
    report = decode_report(registers)
    assert (report.concentration, report.low_threshold, report.quality) == (concentration, threshold, "ok")


def test_connect_identifies_and_reads(midas):
    assert str(midas.identity) == "Honeywell Midas, gas 33, cartridge 11"
    assert midas.tripped == ""
    assert (midas.low_threshold.get(), midas.high_threshold.get()) == (5.0, 10.0)


def test_before_the_first_reading_it_counts_as_tripped(clock):
    midas = HoneywellMidas(name="h2s", address="TCPIP::127.0.0.1::1::SOCKET", clock=clock)
    assert midas.tripped == "the reading is invalid; not monitoring: not read yet"


def test_every_number_has_a_unit_and_a_time(midas, clock):
    clock.sleep(100)
    midas.trigger().wait()
    for name, reading in (midas.read() | midas.read_configuration()).items():
        assert reading["timestamp"] == pytest.approx(clock.now(), abs=0.1), name
    described = midas.describe() | midas.describe_configuration()
    assert {n.removeprefix("h2s_"): d["units"] for n, d in described.items() if "units" in d} == {
        "concentration": "ppm",
        "alarm": "1",
        "fault": "1",
        "low_threshold": "ppm",
        "high_threshold": "ppm",
    }
    assert midas.hints == {"fields": ["h2s_concentration"]}


def test_an_alarm_stays_until_it_is_reset(midas, room):
    room.h2s_ppm = 7.0
    assert poll(midas) == "gas alarm (last reading 7 ppm)"
    room.h2s_ppm = 0.0
    assert poll(midas) == "gas alarm (last reading 0 ppm)"
    midas.reset().wait()
    assert midas.tripped == ""
    assert midas.alarm.get() == 0


def test_a_reset_into_the_gas_fails(midas, room):
    room.h2s_ppm = 12.0
    poll(midas)
    with pytest.raises(InstrumentError, match=r"still gas alarm \(last reading 12 ppm\) after a reset"):
        midas.reset().wait()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(2, "alarms inhibited"), (3, "alarms and faults inhibited"), (4, "fully inhibited"), (6, "bump test")],
)
def test_a_detector_that_does_not_watch_counts_as_tripped(midas, simulated, room, mode, reason):
    simulated.mode = mode
    room.h2s_ppm = 50.0
    assert poll(midas) == f"not monitoring: {reason}"
    assert midas.alarm.get() == 0


def test_warming_up_counts_as_tripped(clock, wires, room):
    simulated = SimulatedMidas(clock, room, warm_up_s=60)
    midas = HoneywellMidas(name="h2s", address=wires.listen(simulated), clock=clock)
    midas.connect()
    assert midas.tripped == "not monitoring: warm-up"
    clock.sleep(60)
    assert poll(midas) == ""
    midas.link.close()


def test_an_instrument_fault_counts_as_tripped_until_mended_and_reset(midas, simulated):
    simulated.fault_number = 81
    assert poll(midas) == "detector fault F81; the reading is invalid"
    with pytest.raises(InstrumentError, match="still detector fault F81"):
        midas.reset().wait()
    simulated.fault_number = 0
    midas.reset().wait()
    assert midas.tripped == ""


def test_a_maintenance_fault_counts_as_tripped_with_a_good_reading(midas, simulated):
    simulated.fault_number = 12
    assert poll(midas) == "detector fault m12"
    assert midas.quality.get() == "ok"


def test_over_range_is_saturated(midas, simulated):
    simulated.fault_number = 10
    assert poll(midas) == "detector fault m10; the reading is saturated"


def test_no_number_is_invalid():
    registers = list(CALM)
    registers[2:4] = float_words(math.nan, low_first=True)
    assert decode_report(registers).quality == "invalid"


def test_a_detector_that_answers_but_stands_still_is_stale(midas, simulated, clock):
    simulated.frozen = True
    clock.sleep(4)
    assert poll(midas) == ""
    clock.sleep(4)
    assert poll(midas) == "the reading is stale"
    simulated.frozen = False
    assert poll(midas) == ""


def test_heartbeat_toggles_every_two_seconds(simulated, clock):
    def beat():
        request = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 1)
        return b"".join(simulated.receive(bytearray(request)))[-2] >> 3 & 1

    beats = []
    for _ in range(8):
        beats.append(beat())
        clock.sleep(1)
    assert beats == [0, 0, 1, 1, 0, 0, 1, 1]


def test_commands_need_their_key_and_can_come_in_two_writes(midas, simulated, room):
    room.h2s_ppm = 7.0
    poll(midas)
    room.h2s_ppm = 0.0
    simulated.write_registers(20, [0x015E, 0x0000])
    assert poll(midas).startswith("gas alarm")
    simulated.write_registers(20, [0x015E])
    simulated.write_registers(21, [0x3626])
    assert poll(midas) == ""
    simulated.write_registers(20, [0x035E, 0x3626])
    assert poll(midas) == "not monitoring: alarms and faults inhibited"
    simulated.write_registers(20, [0x055E, 0x3626])
    assert poll(midas) == ""


class Zeros(ModbusInstrument):
    """A Modbus instrument of another kind."""

    def power_on(self):
        pass

    def read_holding_register(self, address):
        return 0


def test_another_instrument_at_the_address_is_refused(clock, wires):
    address = wires.listen(Zeros(clock, unit=1, framing="tcp"))
    midas = HoneywellMidas(name="h2s", address=address, clock=clock)
    with pytest.raises(WrongInstrument, match=r"whose unit 0 .*not Honeywell Midas.*station file"):
        midas.connect()


def test_a_cartridge_that_does_not_measure_in_ppm_is_refused(clock, wires, room):
    simulated = SimulatedMidas(clock, room, display="% LEL")
    midas = HoneywellMidas(name="h2s", address=wires.listen(simulated), clock=clock)
    with pytest.raises(WrongInstrument, match="measures in % LEL"):
        midas.connect()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != BLIND_TO_CORRUPT])
def test_one_fault_of_the_wire_is_survived_and_never_gives_a_wrong_number(midas, simulated, room, fault):
    for ppm in (1.25, 2.5, 3.75):
        room.h2s_ppm = ppm
        simulated.break_wire(fault)
        assert poll(midas) == ""
        assert midas.concentration.get() == ppm


def test_replies_that_come_twice_do_no_harm(midas, simulated, room):
    room.h2s_ppm = 12.0
    poll(midas)
    room.h2s_ppm = 0.0
    simulated.break_wire("duplicate", times=3)
    midas.reset().wait()
    for ppm in (1.0, 2.0, 3.0, 4.0):
        room.h2s_ppm = ppm
        assert poll(midas) == ""
        assert midas.concentration.get() == ppm


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("duplicate", BLIND_TO_CORRUPT)])
def test_a_lasting_fault_is_an_error_and_counts_as_tripped(midas, simulated, fault):
    simulated.break_wire(fault, times=None)
    with pytest.raises(LinkError, match=r"h2s at TCPIP.*; check"):
        midas.trigger().wait()
    assert midas.tripped == "the reading is invalid"
    simulated.mend_wire()
    assert poll(midas) == ""


def test_safe_state_leaves_a_latched_alarm(midas, room):
    room.h2s_ppm = 7.0
    poll(midas)
    midas.make_safe()
    assert poll(midas).startswith("gas alarm")
