"""Powders and cells in the press of the station `cells`, through the real drivers, against the hidden truth.

The press's loop costs more than all else: pressed times are short and currents large here.
"""

import numpy as np
import pytest

from plans.pressure import (
    open_press,
    pressure_sweep_conductivity,
    pressure_sweep_cycling,
    thickness_cycling,
)
from sim_devices.physics.random_walk import effective_conductivity
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.reports.pressure_pictures import pressure_drawings
from ssblab.results import figures_of_merit

FAST = {"rate": "5C", "rest": "30 s", "dwell": "10 s", "log_every": "10 s"}
DENSE_S_cm = 4.75e-3  # of li5.5ps4.5cl1.5


@pytest.fixture(autouse=True)
def opened(session):
    """The press is open after each test, for the next sample."""
    yield
    done(session, open_press())


def done(session, plan):
    """Result of a plan that has to succeed."""
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result


def frame(session):
    """The press itself."""
    return session.laboratory.things["frame"]


@pytest.mark.ground_truth("GT-25")
def test_a_powder_in_the_press(session, record_property):
    """A plan in the press finds porosity and conductivity of a powder, and what the walk gives for them."""
    plan = pressure_sweep_conductivity(
        session.samples["argyrodite-powder-01"], pressures="50 MPa, 150 MPa, 330 MPa",
        ways="rising and falling", dwell="30 s", true_density="1.87 g/cm3",
    )  # fmt: skip
    after_top = []
    token = session.RE.subscribe(
        lambda name, doc: (
            after_top.append((frame(session).porosity(), frame(session).conductivity_S_cm()))
            if "points_section" in doc.get("data", {})
            else None
        ),
        "event",
    )
    result = done(session, plan)
    session.RE.unsubscribe(token)
    values = {name: value.value for name, value in result.results.items()}
    rising, falling = ([f"{p}MPa_rising" for p in (50, 150, 330)], ["150MPa_falling", "50MPa_falling"])
    endings = rising + falling
    for ending, (porosity, conductivity) in zip(endings, after_top, strict=True):
        assert values[f"porosity_{ending}"] == pytest.approx(porosity, abs=0.01)
        # The platens' own contact is in series, and no spectrum tells it apart.
        assert values[f"conductivity_{ending}"] == pytest.approx(conductivity, rel=0.07)
    found = [values[f"conductivity_{ending}"] for ending in rising]
    walked = [effective_conductivity(DENSE_S_cm, values[f"porosity_{ending}"]) for ending in rising]
    off = np.array(found) / walked
    record_property(
        "gives",
        ", ".join(
            f"{p} MPa: {100 * values[f'porosity_{p}MPa_rising']:.1f} % and "
            f"{1e3 * values[f'conductivity_{p}MPa_rising']:.2f} mS/cm"
            for p in (50, 150, 330)
        )
        + f"; {off[0]:.2f} to {off[-1]:.2f} of the walk",
    )
    assert found == sorted(found)
    assert np.all(off < 1.0)  # contacts of the particles come on top of the path
    assert off[-1] > 0.85
    assert values["conductivity"] == found[-1]
    assert values["conductivity_dense"] == pytest.approx(DENSE_S_cm, rel=0.1)
    assert values["conductivity_exponent"] > 1.5
    assert values["conductivity_hysteresis"] > 0.5 * found[0]  # it stays dense
    own = result.results["conductivity_50MPa_rising"].uncertainty
    assert 0.0 < result.results["conductivity_hysteresis"].uncertainty < 4.0 * own
    assert result.results["conductivity"].unit == "S/cm"

    stored = run_data(session.db[result.uids[0]])
    assert [(one.name, bool(one.svg)) for one in pressure_drawings(stored)] == [("compaction", True)]
    assert figures_of_merit(stored)["conductivity"] == result.results["conductivity"]
    assert {"press", "points", "impedance", "spectra", "environment"} <= set(stored.streams)
    assert frame(session).true_force_N() == 0.0  # and released


def test_what_little_pressure_leaves_between_the_particles_is_not_left_out(session):
    """Most of the resistance is between the particles then, and relaxes among the frequencies measured."""
    truth_S_cm = []
    token = session.RE.subscribe(
        lambda _, doc: (
            truth_S_cm.append(frame(session).conductivity_S_cm())
            if "points_section" in doc.get("data", {})
            else None
        ),
        "event",
    )
    plan = pressure_sweep_conductivity(
        session.samples["li3ps4-powder-01"], pressures="5 MPa, 10 MPa", ways="rising", dwell="20 s"
    )
    results = done(session, plan).results
    session.RE.unsubscribe(token)
    found = [results[f"conductivity_{pressure}MPa_rising"] for pressure in (5, 10)]
    assert [value.value for value in found] == pytest.approx(truth_S_cm, rel=0.03)
    assert "R_bulk + R_reaction" in found[0].definition
    assert "fitted from 1e+06 to 10 Hz" in found[0].definition
    assert 0.0 < found[0].uncertainty < 0.01 * found[0].value


def test_a_powder_is_measured_at_a_constraint_after_it_was_pressed(session):
    how = {"pressures": "100 MPa, 300 MPa", "constraint_pressure": "20 MPa", "dwell": "20 s"}
    plan = pressure_sweep_conductivity(session.samples["li3ps4-powder-01"], afterwards="hold", **how)
    results = done(session, plan).results
    assert frame(session).pressure_MPa() == pytest.approx(20.0, rel=0.03)
    true_S_cm = frame(session).conductivity_S_cm()
    assert results["conductivity_300MPa_rising"].value == pytest.approx(true_S_cm, rel=0.08)
    assert results["conductivity_300MPa_rising"].value > 1.5 * results["conductivity_100MPa_rising"].value
    assert "porosity" not in results  # no true density was given


def test_pressure_lowers_the_resistance_of_a_cell_and_comes_back(session):
    how = {**FAST, "charge_to": "4 V", "discharge_to": "3.45 V"}
    plan = pressure_sweep_cycling(
        session.samples["std-press-01"], pressures="3 MPa, 15 MPa", spectra="no", **how
    )
    result = done(session, plan)
    ohm = {ending: result.results[f"dc_resistance_10s_{ending}"] for ending in
           ("3MPa_rising", "15MPa_rising", "3MPa_falling")}  # fmt: skip
    assert ohm["15MPa_rising"].value < 0.97 * min(ohm["3MPa_rising"].value, ohm["3MPa_falling"].value)
    assert result.results["dc_resistance_10s"].value == ohm["15MPa_rising"].value
    assert "at 15.0" in ohm["15MPa_rising"].definition or "at 14.9" in ohm["15MPa_rising"].definition
    hysteresis = result.results["dc_resistance_10s_hysteresis"].value
    assert hysteresis == pytest.approx(ohm["3MPa_falling"].value - ohm["3MPa_rising"].value)
    assert result.results["discharge_capacity_3MPa_falling"].value > 0.1
    assert frame(session).pressure_MPa() == pytest.approx(3.0, rel=0.03)  # it stands still with its load


def test_the_spectrum_at_a_pressure_is_that_of_the_cell(session):
    how = {**FAST, "charge_to": "3.75 V", "discharge_to": "3.7 V", "ways": "rising"}
    plan = pressure_sweep_cycling(session.samples["std-press-01"], pressures="8 MPa", spectra="yes", **how)
    results = done(session, plan).results
    cell = session.laboratory.things["pressed"].cell
    true_ohm = cell.impedance(np.array([1e6]))[0].real
    assert results["ohmic_resistance_8MPa_rising"].value == pytest.approx(true_ohm, rel=0.05)
    assert results["polarisation_resistance"].value > 0.0


@pytest.mark.ground_truth("GT-24")
def test_a_cell_swells_by_about_2_percent_in_the_press(session, record_property):
    """A plan in the press sees a cell become about 2 % thicker when it is charged."""
    plan = thickness_cycling(session.samples["std-press-01"], pressure="5 MPa", cycles=1, **FAST)
    result = done(session, plan)
    share = result.results["thickness_change"]
    of_nominal = result.results["discharge_capacity"].value / session.samples["std-press-01"].capacity_mAh
    record_property(
        "gives", f"{100 * share.value:.2g} % at 5C for {100 * of_nominal:.0f} % of the nominal charge"
    )
    assert share.value / of_nominal == pytest.approx(0.02, abs=0.005)
    assert 0.0 < share.uncertainty < 0.1 * share.value
    um = result.results["thickness_change_um"].value
    cell = session.laboratory.things["pressed"].cell
    assert um / share.value == pytest.approx(cell.thickness_um(), rel=0.02)
    run = session.run_data(result.uids[0])
    assert [(one.name, bool(one.svg)) for one in pressure_drawings(run)] == [("press", True)]
    press = run.streams["press"]
    assert press["press_pressure"].values == pytest.approx(5.0, rel=0.03)  # it was constant


def test_a_cell_presses_more_when_it_is_charged_at_a_fixed_gap(session):
    plan = thickness_cycling(
        session.samples["std-press-01"], mode="fixed gap", pressure="5 MPa", cycles=1, charge_to="4 V", **FAST
    )
    result = done(session, plan)
    assert 0.02 < result.results["pressure_change"].value < 0.3
    press = session.run_data(result.uids[0]).streams["press"]
    assert np.ptp(press["press_ram_position"].values) < 0.001
    assert "thickness_change" not in result.results


@pytest.mark.parametrize(
    ("plan", "sample", "how", "said"),
    [
        (
            pressure_sweep_cycling,
            "std-press-01",
            {"pressures": "5 MPa, 30 MPa"},
            "30 MPa is above pressure <",
        ),
        (pressure_sweep_cycling, "std-press-01", {"pressures": "5 MPa, 3 MPa"}, "from low to high"),
        (pressure_sweep_cycling, "std-press-01", {"pressures": "5 MPa"}, "needs at least two"),
        (thickness_cycling, "std-press-01", {}, "has no pressure_MPa"),
        (
            pressure_sweep_conductivity,
            "li3ps4-powder-01",
            {"pressures": "100 MPa, 500 MPa", "lowest_frequency": "1 mHz"},
            "pressures=500 MPa on 28.27 mm2",
        ),
        (
            pressure_sweep_conductivity,
            "li3ps4-powder-01",
            {"pressures": "100 MPa", "constraint_pressure": "200 MPa"},
            "not above 100 MPa",
        ),
    ],
)
def test_what_the_press_does_not_do_is_refused_before_anything_moves(session, plan, sample, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(plan(session.samples[sample], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_from_outside_leaves_the_load_on_and_the_ram_at_rest(session):
    def watch(name, doc):
        if name == "event" and "press_force" in doc["data"]:
            session.RE.unsubscribe(token)
            session.end("somebody comes in")

    token = session.RE.subscribe(watch)
    plan = pressure_sweep_conductivity(session.samples["li3ps4-powder-01"], pressures="50 MPa", dwell="1 min")
    result = session.run(plan)
    assert (result.exit_status, result.reason) == ("abort", "somebody comes in")
    assert session.devices["press"].mode.get() == "stopped"
    assert frame(session).arrives_s() is None
    assert frame(session).true_force_N() >= 0.0


def test_a_press_that_is_closed_and_has_lost_its_reference_is_not_opened_by_a_plan(session):
    cell, press = session.samples["std-press-01"], session.devices["press"]
    session.laboratory.mount(cell.model_dump())
    done(session, open_press())
    press.set_pressure(5.0, area_mm2=400.0).wait()
    press.make_safe()
    session.laboratory.instruments["press_ram"].power_cycle()
    result = session.run(thickness_cycling(cell, pressure="5 MPa", cycles=1, **FAST))
    assert result.exit_status == "fail"
    assert "press_ram has no reference position, and press presses with" in result.reason
    assert frame(session).pressure_MPa() == pytest.approx(5.0, rel=0.03)
    done(session, open_press())  # an operator decides
    assert session.devices["press_ram"].homed.get()
    assert frame(session).true_force_N() == 0.0


def test_a_ram_without_a_reference_finds_it_while_nothing_is_pressed(session):
    session.laboratory.instruments["press_ram"].power_cycle()
    how = {
        "pressures": "20 MPa",
        "dwell": "5 s",
        "lowest_frequency": "100 Hz",
        "highest_frequency": "100 kHz",
    }
    result = done(session, pressure_sweep_conductivity(session.samples["argyrodite-powder-01"], **how))
    assert "conductivity" in result.results
