"""A place for a cell: what its leads show with a cell, without one, and when it is changed."""

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from sim_devices.physics.holder import CellHolder


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
