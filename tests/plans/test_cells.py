"""The cells of the station `cells`, measured by the real drivers: the hidden truth comes out."""

import bluesky.preprocessors as bpp
import numpy as np
import pytest

from devices.families.cycler_program import CellLimits, Program, Step
from plans.stubs import measure, ocv_then_eis
from ssblab.session import open_session

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with open_session("cells", data=tmp_path_factory.mktemp("cells")) as session:
        yield session


def mounted(session, name):
    """Put a sample into its place; the hidden truth of it."""
    session.laboratory.mount(session.samples[name].model_dump())
    return session.laboratory.things[session.station.simulated.samples[name].place].cell


def run(session, plan):
    """Run a plan; the columns of its last stream."""
    columns = {}

    def gather(name, document):
        if name == "event_page":
            for key, values in document["data"].items():
                columns.setdefault(key, []).extend(values)

    token = session.RE.subscribe(gather)
    result = session.run(plan)
    session.RE.unsubscribe(token)
    assert result.exit_status == "success", result.reason
    return {key: np.array(values) for key, values in columns.items()}


@bpp.run_decorator()
def capacity(channel):
    limits = CellLimits(voltage_min_V=2.3, voltage_max_V=4.3, charge_A=0.05, discharge_A=0.05)
    charge = Step("charge", end_time_s=4 * HOUR_S, current_A=0.004, hold_V=4.2, end_current_A=0.0004)
    discharge = Step("discharge", end_time_s=4 * HOUR_S, current_A=0.004, end_voltage_V=2.5)
    program = Program(steps=(charge, discharge), limits=limits, record_interval_s=60.0)
    yield from measure(channel, program, "records")


@bpp.run_decorator()
def spectrum(potentiostat):
    yield from ocv_then_eis(
        potentiostat,
        rest_s=5.0,
        interval_s=1.0,
        frequency_start_Hz=200e3,
        frequency_end_Hz=1.0,
        points_per_decade=3,
        amplitude_V=0.005,
    )


def test_a_cell_on_the_cycler_gives_its_capacity(session):
    cell, channel = mounted(session, "std-03"), session.devices["ch_3"]
    at_rest_mAh = 1e3 * cell.capacity_Ah
    records = run(session, capacity(channel))
    discharged_mAh = 1e3 * records["ch_3_capacity"][records["ch_3_step"] == 2].max()
    assert discharged_mAh == pytest.approx(at_rest_mAh, rel=0.03)
    assert cell.temperature_C() == pytest.approx(25.0, abs=0.5)


def test_a_spectrum_at_the_bench_is_that_of_the_cell(session):
    spread = []
    for level in "abc":
        cell = mounted(session, f"bond-{level}-01")
        seen = run(session, spectrum(session.devices["potentiostat"]))
        z_ohm = seen["potentiostat_z_real"] + 1j * seen["potentiostat_z_imag"]
        true_ohm = cell.impedance(seen["potentiostat_frequency"])
        assert abs(z_ohm / true_ohm - 1.0).max() < 0.02
        spread.append(z_ohm[-1].real)
    assert spread[1] > spread[2] > spread[0]


def test_the_potentials_against_the_reference_electrode_close(session):
    cell, device = mounted(session, "std-3e-01"), session.devices["cell_3e"]
    cell.source_current(0.004)
    session.clock.sleep(60.0)
    cell.open()
    device.trigger().wait()
    assert device.closure.get() == pytest.approx(0.0, abs=5e-3)  # 100 kohm against 10 Mohm, at two inputs
    assert device.negative_potential.get() == pytest.approx(cell.negative_potential_V(), abs=5e-3)


def test_a_cell_in_the_press_is_held_by_it(session):
    cell, press = mounted(session, "std-press-01"), session.devices["press"]
    loose_ohm = cell.impedance(np.array([1e3]))[0].real
    session.devices["press_ram"].home().wait()
    press.set_pressure(20.0).wait()
    assert cell.equations.pressure_MPa == pytest.approx(20.0, rel=0.03)
    pressed_ohm = cell.impedance(np.array([1e3]))[0].real
    assert pressed_ohm < loose_ohm
    press.set_pressure(5.0).wait()
    released_ohm = cell.impedance(np.array([1e3]))[0].real
    assert pressed_ohm < released_ohm
    press.make_safe()
