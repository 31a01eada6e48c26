"""Cells of the station `cells`, hot and cold, through the real drivers, against the hidden truth."""

import math

import numpy as np
import pytest

from plans.temperature import activation_energy, capacity_vs_temperature
from sim_devices.physics.cell import Cell
from ssblab.catalog import run_data
from ssblab.clock import VirtualClock
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit

GARNET_kJ_mol = 35.0  # of conduction in the electrolyte of li-llz-li
COARSE = {"soak": "30 min", "rest": "10 min", "log_every": "1 h"}


def done(session, plan):
    """Result of a plan that has to succeed."""
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result


def hidden(session, sample):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


def relative(session, sample, temperatures, **how):
    """Discharge capacities over that at 25 degC, by temperature, and all results."""
    given = ", ".join(f"{each} degC" for each in temperatures)
    plan = capacity_vs_temperature(
        session.samples[sample], temperatures=given, rate="0.5C", cut_off="0.05C", **COARSE, **how
    )
    results = done(session, plan).results
    shares = {each: results[f"relative_discharge_capacity_{each}degC"].value for each in temperatures}
    return shares, results


@pytest.mark.ground_truth("GT-20")
def test_half_cells_hot_and_cold(session, record_property):
    """A plan in the chamber finds the order of solid and liquid half cells at -60, -30 and 100 degC."""
    how = {"discharge_rate": "0.1C", "charge_to": "4.25 V vs Li/Li+"}
    temperatures = (-30, -60, 100)
    solid, kept = relative(session, "ncm-in-li-01", temperatures, **how)
    liquid, lost = relative(session, "ncm-li-liquid-01", temperatures, **how)
    told = ", ".join(
        f"{each} degC {100 * solid[each]:.0f}/{100 * liquid[each]:.0f} %" for each in temperatures
    )
    record_property("gives", f"solid / liquid {told} of that at 25 degC")
    assert solid[100] > liquid[100] + 0.01
    assert liquid[-30] > solid[-30] + 0.01
    assert solid[-60] > 0.1 > liquid[-60]
    assert "discharge_mean_voltage_-60degC" not in lost  # it gave nothing
    cold, room = (kept[f"discharge_mean_voltage{ending}"].value for ending in ("_-30degC", ""))
    assert cold < room - 0.05
    assert kept["dc_resistance_10s_100degC"].value < kept["dc_resistance_10s"].value
    assert kept["capacity_return"].value > lost["capacity_return"].value


@pytest.mark.ground_truth("GT-21")
def test_standard_cells_hot_and_cold(session, record_property):
    """A plan in the chamber: the standard cell works from -40 to 100 degC, the liquid one makes gas there."""
    solid, results = relative(session, "std-06", (-40, 100), discharge_rate="0.2C")
    record_property(
        "gives", ", ".join(f"{each} degC {100 * share:.0f} %" for each, share in solid.items()) + " at 0.2C"
    )
    assert min(solid.values()) > 0.5
    assert results["capacity_return"].value == pytest.approx(1.0, abs=0.02)
    relative(session, "std-liquid-01", (90,))
    assert [hidden(session, name).gassed for name in ("std-06", "std-liquid-01")] == [False, True]


def test_conduction_in_the_electrolyte_has_the_hidden_activation_energy(session):
    plan = activation_energy(
        session.samples["li-llz-li-02"], temperatures="25 degC, 45 degC, 10 degC", rest="1 min",
        soak="20 min", frequency_to="1 Hz",
    )  # fmt: skip
    result = done(session, plan)
    energy = result.results["activation_energy"]
    assert energy.unit == "kJ/mol"
    assert energy.value == pytest.approx(GARNET_kJ_mol, rel=0.03)
    assert abs(energy.value - GARNET_kJ_mol) < 3 * energy.uncertainty
    assert "of ohmic_resistance: slope of ln(R)" in energy.definition
    assert result.results["resistance_return"].value == pytest.approx(1.0, abs=0.02)
    stored = run_data(session.db[result.uids[0]])
    assert figures_of_merit(stored)["activation_energy"] == energy


def test_pulses_on_a_cycler_give_the_activation_energy_of_what_answers_in_10_s(session):
    how = {"temperatures": "25 degC, 45 degC, 5 degC", "rest": "1 min", "soak": "20 min"}
    results = done(session, activation_energy(session.samples["std-07"], **how)).results
    ohm = {}
    for celsius in (5.0, 45.0):
        clock = VirtualClock(epoch=0)
        clock.close()
        cell = Cell(clock, design="standard-2.1", capacity_Ah=0.008, temperature_C=celsius)
        ohm[celsius] = cell.impedance(np.array([1 / (2 * math.pi * 10.0)]))[0].real
    true_J = 8.314462618 * math.log(ohm[5.0] / ohm[45.0]) / (1 / 278.15 - 1 / 318.15)
    assert results["activation_energy"].value == pytest.approx(true_J / 1e3, rel=0.1)
    assert results["dc_resistance_10s_5degC"].value > 3 * results["dc_resistance_10s_45degC"].value


@pytest.mark.parametrize(
    ("plan", "how", "said"),
    [
        (capacity_vs_temperature, {"temperatures": "0 degC, 120 degC"}, "chamber goes from -60 to 100 degC"),
        (capacity_vs_temperature, {"temperatures": "0 degC, 25 degC"}, "measured first and last anyway"),
        (capacity_vs_temperature, {"temperatures": "0 degC, 0 degC"}, "is there twice"),
        (activation_energy, {"temperatures": "0 degC, 25 degC"}, "give at least 3"),
        (activation_energy, {"by": "impedance"}, "ch_8 is a cycler channel: it needs a potentiostat"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_moves(session, plan, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(plan(session.samples["std-08"], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_the_random_order_of_a_sample_is_always_the_same(session):
    def note(_, doc):
        found.append(doc["temperatures_C"])
        session.end("enough")

    def order():
        token = session.RE.subscribe(note, "start")
        session.run(
            capacity_vs_temperature(
                session.samples["std-08"], temperatures="0 degC, 10 degC, 20 degC, 30 degC", order="random"
            )
        )
        session.RE.unsubscribe(token)

    found = []
    order()
    order()
    assert found[0] == found[1]
    assert found[0] != sorted(found[0])
    assert sorted(found[0]) == [0.0, 10.0, 20.0, 25.0, 30.0]


def test_an_end_in_the_cold_leaves_the_channel_off(session):
    def watch(name, doc):
        if "charge" in str(doc["data"].get("ch_9_kind")):
            session.RE.unsubscribe(token)
            session.end("liquid nitrogen is out")

    token = session.RE.subscribe(watch, "event_page")
    result = session.run(
        capacity_vs_temperature(session.samples["std-09"], temperatures="-20 degC", **COARSE)
    )
    assert (result.exit_status, result.reason) == ("abort", "liquid nitrogen is out")
    assert not session.devices["ch_9"].read_now(fresh=True).running
    assert hidden(session, "std-09").current_A == 0.0
