"""A cell with a reference electrode: a stand-in for the potentiostat, a simulated scanner, one true cell."""

import math

import pytest

from devices.families.potentiostat import Potentiostat
from devices.families.scanner import Scan
from devices.keysight_daq import KeysightDaq
from devices.three_electrode_cell import ThreeElectrodeCell
from sim_devices.instruments.keysight_34970a import SimulatedKeysightDaq
from sim_devices.physics.terminals import WiredTerminals
from ssblab.links import InstrumentError, LinkTimeout

CHANNELS = {
    "positive": {"at": 101, "quantity": "voltage"},
    "negative": {"at": 102, "quantity": "voltage"},
    "wall": {"at": 103, "quantity": "temperature", "thermocouple": "K"},
}
POSITIVE_V, NEGATIVE_V, SOURCE_OHM = 3.9, 0.12, 100e3
CLOSED_V = 1e-3  # what two readings of a sound cell may differ by


class StandIn(Potentiostat):
    """A potentiostat that says what the cell's voltage is."""

    cell_V = POSITIVE_V - NEGATIVE_V
    error = None
    made_safe = 0

    def connect(self):
        self.poll()

    def begin(self, task):
        raise NotImplementedError

    def listen(self):
        return True

    def switch_off(self):
        self.made_safe += 1

    def read_at_rest(self):
        if self.error is not None:
            raise self.error
        self.record(potential=self.cell_V, quality="ok" if math.isfinite(self.cell_V) else "saturated")


@pytest.fixture
def terminals(clock):
    return WiredTerminals(
        clock,
        channels={
            101: {"voltage_V": POSITIVE_V, "source_ohm": SOURCE_OHM},
            102: {"voltage_V": NEGATIVE_V, "source_ohm": SOURCE_OHM},
            103: {"temperature_C": 60.0},
        },
        noise_V=20e-6,
    )


@pytest.fixture
def simulated(clock, terminals):
    return SimulatedKeysightDaq(clock, terminals)


@pytest.fixture
def scanner(clock, wires, simulated):
    scanner = KeysightDaq(name="daq", address=wires.listen(simulated), clock=clock, channels=CHANNELS)
    scanner.connect()
    yield scanner
    scanner.link.close()


@pytest.fixture
def potentiostat(clock):
    return StandIn(name="pstat", clock=clock)


@pytest.fixture
def cell(clock, potentiostat, scanner):
    cell = ThreeElectrodeCell(
        name="cell",
        clock=clock,
        potentiostat=potentiostat,
        scanner=scanner,
        positive="positive",
        negative="negative",
    )
    cell.connect()
    return cell


def test_a_sound_cell_closes(cell, clock):
    clock.sleep(10.0)
    cell.trigger().wait()
    assert cell.positive_potential.get() == pytest.approx(POSITIVE_V, abs=CLOSED_V)
    assert cell.negative_potential.get() == pytest.approx(NEGATIVE_V, abs=CLOSED_V)
    assert cell.cell_voltage.get() == pytest.approx(POSITIVE_V - NEGATIVE_V)
    assert abs(cell.closure.get()) < CLOSED_V
    assert cell.quality.get() == "ok"
    assert {reading["timestamp"] for reading in cell.read().values()} == {clock.now()}
    assert cell.describe()["cell_closure"]["units"] == "V"


def test_a_loose_clip_does_not_close(cell, terminals):
    terminals.wires[102].open = True
    cell.trigger().wait()
    assert abs(cell.closure.get()) > 100 * CLOSED_V
    terminals.wires[102].open = False
    cell.trigger().wait()
    assert abs(cell.closure.get()) < CLOSED_V


def test_electrodes_that_are_swapped_do_not_close(clock, potentiostat, scanner):
    cell = ThreeElectrodeCell(
        name="cell",
        clock=clock,
        potentiostat=potentiostat,
        scanner=scanner,
        positive="negative",
        negative="positive",
    )
    cell.connect()
    assert cell.closure.get() == pytest.approx(2 * (POSITIVE_V - NEGATIVE_V), abs=CLOSED_V)


def test_a_reading_beyond_its_range_is_no_potential(cell, terminals, potentiostat):
    terminals.wires[101].voltage_V = 50.0
    cell.trigger().wait()
    assert math.isnan(cell.positive_potential.get())
    assert math.isnan(cell.closure.get())
    assert cell.quality.get() == "saturated"
    terminals.wires[101].voltage_V = POSITIVE_V
    potentiostat.cell_V = math.nan
    cell.trigger().wait()
    assert cell.quality.get() == "invalid"
    assert math.isnan(cell.closure.get())


def test_another_channel_of_the_scanner_does_not_matter(cell, scanner, terminals):
    terminals.wires[103].open = True
    cell.trigger().wait()
    assert scanner.quality.get() == "invalid"
    assert cell.quality.get() == "ok"


def test_what_can_not_be_read_is_not_shown(cell, simulated, potentiostat):
    simulated.break_wire("silent", times=None)
    with pytest.raises(LinkTimeout, match="daq at TCPIP"):
        cell.trigger().wait(60.0)
    assert cell.quality.get() == "invalid"
    assert math.isnan(cell.closure.get())
    simulated.mend()
    potentiostat.error = InstrumentError("the cell is on though nothing runs", device="pstat")
    with pytest.raises(InstrumentError, match="pstat: the cell is on"):
        cell.trigger().wait()
    potentiostat.error = None
    cell.trigger().wait()
    assert cell.quality.get() == "ok"


def test_the_safe_state_is_that_of_the_potentiostat(cell, potentiostat):
    cell.make_safe()
    cell.make_safe()
    assert potentiostat.made_safe == 2


def test_a_scan_that_runs_gives_its_last_potentials(cell, scanner, terminals, pass_time):
    task = Scan(1.0, 20)
    flyer = scanner.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    terminals.wires[101].voltage_V = POSITIVE_V + 0.1
    pass_time(5.0)
    cell.trigger().wait()
    assert cell.positive_potential.get() == pytest.approx(POSITIVE_V + 0.1, abs=CLOSED_V)
    assert cell.closure.get() == pytest.approx(-0.1, abs=CLOSED_V)
    flyer.complete().wait()


@pytest.mark.parametrize("channel", ["wall", "reference"])
def test_an_electrode_needs_a_voltage_channel(clock, potentiostat, scanner, channel):
    with pytest.raises(ValueError, match=f"cell: daq has no voltage channel '{channel}'"):
        ThreeElectrodeCell(
            name="cell",
            clock=clock,
            potentiostat=potentiostat,
            scanner=scanner,
            positive=channel,
            negative="negative",
        )
