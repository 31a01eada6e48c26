"""The cells of the station `cells`, measured by the real drivers: the hidden truth comes out."""

from pathlib import Path

import bluesky.preprocessors as bpp
import numpy as np
import pytest

from devices.families.cycler import CyclerChannel
from devices.families.cycler_program import CellLimits, Program, Step
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import LinearSweep
from plans.stubs import measure, ocv_then_eis

HOUR_S = 3600.0


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


def test_each_sample_is_in_the_documents(session):
    page = (Path(__file__).parents[2] / "docs" / "simulated-laboratory.md").read_text(encoding="utf-8")
    of_lots = {f"std{lot}-{n:02d}" for lot in ("", "-b") for n in range(2, 17)}  # "`std-01` to `std-17`"
    assert [name for name in session.samples if f"`{name}`" not in page and name not in of_lots] == []


def test_each_sample_is_met_by_the_devices_that_it_names(session):
    for name, sample in session.samples.items():
        if sample.kind != "cell":
            continue  # a powder has no voltage
        cell = mounted(session, name)
        measures = next(
            device
            for device in map(session.devices.__getitem__, sample.devices)
            if isinstance(device, (CyclerChannel, Potentiostat))
        )
        session.clock.sleep(10.0)  # a cycler hears of its channels every few seconds
        measures.trigger().wait()
        voltage = measures.voltage if isinstance(measures, CyclerChannel) else measures.potential
        assert voltage.get() == pytest.approx(cell.voltage_V, abs=2e-4), name
        assert sample.voltage_min_V - 0.05 <= cell.voltage_V <= sample.voltage_max_V + 0.05, name
        for limit_V in (sample.voltage_min_V, sample.voltage_max_V):
            applied = (
                measures.applied_voltage
                if isinstance(measures, CyclerChannel)
                else measures.applied_potential
            )
            applied.check_value(limit_V)


def test_a_half_cell_of_silicon_is_lithiated_below_0_V_and_back(session):
    cell, sample, channel = (
        mounted(session, "si-50nm-01"),
        session.samples["si-50nm-01"],
        session.devices["ch_21"],
    )
    limits = CellLimits(voltage_min_V=-0.64, voltage_max_V=0.4, charge_A=0.02, discharge_A=0.02)
    steps = (
        Step("discharge", end_time_s=4 * HOUR_S, current_A=0.004, hold_V=-0.62, end_current_A=0.0004),
        Step("charge", end_time_s=4 * HOUR_S, current_A=0.004, end_voltage_V=0.38),
    )
    program = Program(steps=steps, limits=limits, record_interval_s=300.0)
    records = run(session, bpp.run_wrapper(measure(channel, program, "records")))
    assert records["ch_21_voltage"].min() == pytest.approx(-0.62, abs=1e-3)
    assert cell.voltage_V == pytest.approx(0.38, abs=0.1)
    delithiated_Ah = records["ch_21_capacity"][records["ch_21_step"] == 2].max()
    assert delithiated_Ah / sample.active_mass_g == pytest.approx(3.0, rel=0.06)  # GT-13


def test_carbon_shows_that_an_electrolyte_is_oxidised_sooner_than_steel_does(session):
    potentiostat = session.devices["potentiostat"]
    largest_A_cm2 = []
    for name in ("se-steel-01", "se-composite-01"):
        cell, sample = mounted(session, name), session.samples[name]
        sweep = LinearSweep(
            start_V=cell.potential_V(), end_V=1.8, step_V=0.005, rate_V_s=0.001, current_limit_A=0.005
        )
        seen = run(session, bpp.run_wrapper(measure(potentiostat, sweep, "sweep")))
        density_A_cm2 = seen["potentiostat_current"] / sample.area_cm2
        largest_A_cm2.append(density_A_cm2.max())
        if name == "se-composite-01":
            found_V = seen["potentiostat_potential"][np.argmax(density_A_cm2 >= 1e-5)]
            _, onset_V = cell.onset_V(1e-5)
            assert found_V + sample.reference_V_vs_Li == pytest.approx(onset_V, abs=0.02)
    assert largest_A_cm2[0] < 1e-6 < 1e-5 < largest_A_cm2[1]


def test_the_chamber_goes_to_60_degC_below_zero_and_its_cells_with_it(session):
    cell, chamber = mounted(session, "ncm-in-li-01"), session.devices["chamber"]
    chamber.set(-60.0).wait()
    session.clock.sleep(HOUR_S)
    assert cell.temperature_C() == pytest.approx(-60.0, abs=0.5)
    chamber.set(25.0).wait()
    session.clock.sleep(HOUR_S)


def kept_V(session, name):
    """What a full cell of a lot loses in 12 h at rest; its capacity."""
    cell = mounted(session, name)
    cell.source_voltage(4.2, 0.001)
    session.clock.sleep(8 * HOUR_S)
    cell.open()
    session.clock.sleep(HOUR_S)
    full_V = cell.potential_V()
    session.clock.sleep(11 * HOUR_S)
    return full_V - cell.potential_V(), cell.capacity_Ah


def test_one_cell_of_a_lot_has_less_and_one_loses_what_it_has(session):
    kept = {f"std-b-{n:02d}": kept_V(session, f"std-b-{n:02d}") for n in range(1, 18)}
    capacities_Ah = {name: capacity_Ah for name, (_, capacity_Ah) in kept.items()}
    median_Ah = np.median(list(capacities_Ah.values()))
    away = {name: abs(capacity_Ah / median_Ah - 1.0) for name, capacity_Ah in capacities_Ah.items()}
    assert [name for name, share in away.items() if share > 0.04] == ["std-b-05"]
    assert [name for name, (lost_V, _) in kept.items() if lost_V > 5e-3] == ["std-b-11"]
    assert away["std-b-11"] < 0.03


def test_a_powder_is_densified_and_measured_in_the_press(session):
    press, potentiostat = session.devices["press"], session.devices["press_potentiostat"]
    frame, sample = session.laboratory.things["frame"], session.samples["argyrodite-powder-01"]
    session.devices["press_ram"].home().wait()
    press.set_displacement(5.0).wait()
    session.laboratory.mount(sample.model_dump())
    area_mm2 = 100.0 * sample.area_cm2
    found = []
    for pressure_MPa in (20.0, 300.0):
        press.set_pressure(pressure_MPa, area_mm2=area_mm2).wait()
        press.trigger().wait()
        seen = run(session, spectrum(potentiostat))
        ohm = seen["press_potentiostat_z_real"][0]
        assert press.thickness.get() == pytest.approx(frame.true_distance_mm(), abs=1e-3)
        conductivity_S_cm = 0.1 * press.thickness.get() / (ohm * sample.area_cm2)
        assert conductivity_S_cm == pytest.approx(frame.conductivity_S_cm(), rel=0.08)  # with its contacts
        found.append((frame.porosity(), conductivity_S_cm))
    (loose, low), (dense, high) = found
    assert loose > 0.2 > 0.06 > dense
    assert high > 3.0 * low
    press.set_displacement(5.0).wait()
    press.tell_area(400.0)


def test_the_press_sees_a_cell_swell(session):
    cell, press = mounted(session, "std-press-01"), session.devices["press"]
    seen = []
    for voltage_V in (2.5, 4.2):
        cell.source_voltage(voltage_V, 0.004)
        press.set_pressure(5.0).wait()
        press.make_safe()  # stands still, at a fixed gap
        session.clock.sleep(4 * HOUR_S)
        press.trigger().wait()
        gap_MPa = press.pressure.get()
        press.set_pressure(5.0).wait()
        press.trigger().wait()
        seen.append((gap_MPa, press.thickness.get()))
    (empty_MPa, empty_mm), (full_MPa, full_mm) = seen
    assert full_mm - empty_mm == pytest.approx(0.02e-3 * cell.thickness_um(), rel=0.25)  # GT-24
    assert full_MPa - 0.05 > 5.0 > empty_MPa + 0.02
    press.set_displacement(5.0).wait()
    press.make_safe()
