"""A place for a cell: what its leads show with a cell, without one, and when it is changed."""

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from sim_devices.physics.electrolyte_cell import ElectrolyteCell
from sim_devices.physics.holder import CellHolder
from sim_devices.physics.powder import PowderSample
from sim_devices.physics.press import PressFrame


class Room:
    air_C = 60.0

    def advance_to(self, time_s):
        pass

    def air_until(self, from_s, until_s):
        return until_s, self.air_C


@pytest.fixture
def holder(clock):
    return CellHolder(clock)


def test_an_empty_holder_lets_no_current_through(holder, clock):
    assert holder.read() == (0.0, 0.0)
    holder.source_current(1e-3, -5.0, 5.0)
    clock.sleep(10.0)
    assert holder.read() == (5.0, 0.0)
    holder.source_voltage(4.2, 0.1)
    assert holder.advance(clock.monotonic() + 1.0) == clock.monotonic() + 1.0
    assert (holder.voltage_V, holder.current_A, holder.charge_Ah, holder.energy_Wh) == (4.2, 0.0, 0.0, 0.0)
    holder.open()
    assert holder.potential_V() == 0.0
    assert holder.positive_potential_V() == holder.negative_potential_V() == 0.0
    impedance = holder.impedance(np.array([1e3]))
    assert abs(impedance[0]) > 1e6
    assert np.degrees(np.angle(impedance[0])) == pytest.approx(-90.0)


def test_a_cell_is_met_at_the_leads(holder, clock):
    cell = Cell(clock, state_of_charge=0.5)
    holder.mount(cell)
    assert holder.potential_V() == cell.voltage_V
    holder.source_current(0.008)
    clock.sleep(360.0)
    volts, amperes = holder.read()
    assert amperes == 0.008
    assert volts == cell.voltage_V > cell.open_circuit_V
    assert holder.charge_Ah == pytest.approx(0.0008)
    assert holder.positive_potential_V() - holder.negative_potential_V() == pytest.approx(volts)
    reached_s = holder.advance(clock.monotonic() + 3600.0, lambda volts, amperes: volts > 4.1)
    assert reached_s < clock.monotonic() + 3600.0
    assert (holder.impedance(np.array([1.0])) == cell.impedance(np.array([1.0]))).all()


def test_an_instrument_stays_connected_when_the_cell_is_changed(holder, clock):
    calls = []
    holder.attach(lambda: calls.append(clock.monotonic()))
    holder.mount(Cell(clock))
    holder.read()
    assert len(calls) == 1
    holder.mount(Cell(clock, state_of_charge=1.0))
    assert holder.potential_V() == pytest.approx(4.2, abs=1e-6)
    assert len(calls) == 2


def test_a_cell_takes_the_temperature_of_what_it_stands_in(clock):
    holder = CellHolder(clock, surroundings=Room())
    assert holder.temperature_C() == 25.0
    holder.mount(Cell(clock))
    assert holder.temperature_C() == pytest.approx(25.0)
    clock.sleep(3600.0)
    assert holder.temperature_C() == pytest.approx(60.0, abs=0.01)


def test_a_press_takes_the_cell_that_is_put_in(clock):
    class Press:
        def mount(self, body):
            self.body = body

    press, cell = Press(), Cell(clock)
    CellHolder(clock, press=press).mount(cell)
    assert press.body is cell


@pytest.fixture
def frame(clock):
    return PressFrame(clock, np.random.default_rng(1), position_mm=5.0)


def test_a_powder_is_measured_between_the_platens_of_its_press(frame, clock):
    holder = CellHolder(clock, press=frame)
    holder.mount(PowderSample(mass_mg=25.0, area_mm2=28.3))
    loose_ohm = abs(holder.impedance(np.array([1e4]))[0])
    frame.drive(frame.travel_mm, 0.1)
    while frame.pressure_MPa() < 100.0:
        clock.sleep(0.5)
    frame.halt()
    pressed_ohm = holder.impedance(np.array([1e4]))[0]
    assert loose_ohm > 1e6 > 1e3 > pressed_ohm.real
    assert pressed_ohm == frame.impedance(np.array([1e4]))[0]
    holder.source_voltage(0.1, 1e-3)
    assert holder.read() == (0.1, 0.0)  # platens block direct current


def test_a_cell_replaces_the_powder_in_an_open_press_only(frame, clock):
    holder = CellHolder(clock, press=frame)
    powder, cell = PowderSample(mass_mg=25.0, area_mm2=28.3), Cell(clock)
    holder.mount(powder)
    frame.drive(frame.travel_mm, 0.1)
    clock.sleep(60.0)
    with pytest.raises(ValueError, match="open the press first"):
        holder.mount(cell)
    assert holder.cell is None
    frame.drive(0.0, 0.5)
    clock.sleep(60.0)
    holder.mount(cell)
    assert holder.cell is cell
    assert holder.potential_V() == cell.voltage_V


def test_a_powder_needs_a_press(holder):
    with pytest.raises(ValueError, match="a powder is measured in a press"):
        holder.mount(PowderSample())


def test_a_cell_of_electrolyte_is_met_at_the_leads(clock):
    holder = CellHolder(clock, surroundings=Room())
    cell = ElectrolyteCell(clock)
    holder.mount(cell)
    holder.source_voltage(2.0)
    clock.sleep(10.0)
    assert holder.read() == cell.read()
    assert holder.potential_V() == pytest.approx(2.0)
    assert holder.charge_Ah > 0.0
    assert holder.positive_potential_V() - holder.negative_potential_V() == pytest.approx(2.0)
