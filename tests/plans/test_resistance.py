"""Resistances of cells of the station `cells`, by pulses and by impedance, against the hidden truth."""

import numpy as np
import pytest

from plans.programs import CellRig
from plans.resistance import dc_resistance, discharged_mAh, impedance_at, impedance_spectrum
from ssblab.catalog import run_data
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit


def done(session, plan):
    """Results of a plan that has to succeed."""
    result = session.run(plan)
    assert result.exit_status == "success", result.reason
    return result


def hidden(session, sample):
    """The cell itself."""
    return session.laboratory.things[session.station.simulated.samples[sample].place].cell


def pulsed_ohm(session, cell, current_A=-0.004, after_s=10.0):
    """What the cell itself answers to a pulse, from where it rests now."""
    cell.open()
    before_V = cell.potential_V()
    cell.source_current(current_A)
    session.clock.sleep(after_s)
    after_V = cell.potential_V()
    cell.source_current(-current_A)
    session.clock.sleep(after_s)
    cell.open()
    return (after_V - before_V) / current_A


FAST = {"rate": "1C", "rest": "20 min", "between_pulses": "5 min", "log_every": "2 min"}


@pytest.mark.parametrize("name", ["std-08", "std-3e-01"])
def test_pulses_give_the_resistance_of_the_cell_on_a_cycler_and_a_potentiostat(session, name):
    result = done(session, dc_resistance(session.samples[name], counted_of="nominal", **FAST))
    resistance = result.results["dc_resistance_10s"]
    assert resistance.unit == "ohm"
    assert resistance.value == pytest.approx(pulsed_ohm(session, hidden(session, name)), rel=0.01)
    one_s = result.results["dc_resistance_1s"].value
    assert result.results["dc_resistance_0.1s"].value < one_s < resistance.value
    areal = result.results["areal_dc_resistance_10s"]
    assert areal.value == pytest.approx(resistance.value * session.samples[name].area_cm2)
    assert result.results["dc_resistance_10s_0.5C"].value == pytest.approx(resistance.value, rel=0.02)


def test_states_of_charge_are_counted_of_the_measured_capacity(session):
    sample = session.samples["std-09"]
    plan = dc_resistance(sample, state_of_charge="80 %, 20 %", rates="0.2C, 0.5C", **FAST)
    result = done(session, plan)
    stored = run_data(session.db[result.uids[0]])
    states = stored.streams["states"]
    (capacity_mAh,) = set(states["states_capacity"].values.tolist())
    true_mAh = 1e3 * hidden(session, "std-09").capacity_Ah
    assert capacity_mAh == pytest.approx(true_mAh, rel=0.06)  # at 1C
    steps = stored.streams["steps"]
    texts = dict(
        zip(steps["steps_section"].values.tolist(), steps["steps_step"].values.tolist(), strict=True)
    )
    assert f"{round(0.6 * capacity_mAh, 3)}"[:4] in texts["to 20 %"]
    high, low = (result.results[f"dc_resistance_10s_{share}%"].value for share in (80, 20))
    assert low > high  # nearly empty, the electrodes resist more
    assert low == pytest.approx(pulsed_ohm(session, hidden(session, "std-09")), rel=0.01)
    assert figures_of_merit(stored) == result.results


def test_a_spectrum_of_a_cell_as_it_is(session):
    result = done(session, impedance_spectrum(session.samples["bond-a-01"], frequency_to="1 Hz"))
    results = result.results
    cell = hidden(session, "bond-a-01")
    assert results["low_frequency_resistance"].value == pytest.approx(
        cell.impedance(np.array([1.0]))[0].real, rel=0.01
    )
    whole = results["ohmic_resistance"].value + results["polarisation_resistance"].value
    assert whole == pytest.approx(results["low_frequency_resistance"].value, rel=0.05)
    assert results["arc_resistance_100kHz_1MHz"].value < 0.1
    assert results["flagged_spectra"].value == 0
    assert results["kramers_kronig_residual"].value < 0.01


def test_the_cold_resists_at_each_state_of_charge(session):
    plan = impedance_at(
        session.samples["bond-c-01"], states_of_charge="70 %, 40 %", temperatures="0 degC, 25 degC",
        counted_of="nominal", frequency_to="1 Hz", points_per_decade=6, rate="1C", rest="20 min",
        log_every="2 min",
    )  # fmt: skip
    result = done(session, plan)
    low = {
        state: result.results[f"low_frequency_resistance_{state}"].value
        for state in ("70%_0degC", "70%_25degC", "40%_0degC", "40%_25degC")
    }
    assert low["70%_0degC"] > 2.0 * low["70%_25degC"]
    cell = hidden(session, "bond-c-01")
    assert low["40%_25degC"] == pytest.approx(cell.impedance(np.array([1.0]))[0].real, rel=0.02)
    run = session.run_data(result.uids[0])
    temperatures_C = run.streams["spectra"]["spectra_temperature"].values
    assert temperatures_C == pytest.approx([0.0, 25.0, 0.0, 25.0], abs=0.5)


def test_spectra_are_taken_at_the_temperature_of_the_whole(session):
    how = {"counted_of": "nominal", "frequency_to": "1 kHz", "rate": "5C", "rest": "5 min"}
    result = done(session, impedance_at(session.samples["bond-a-01"], temperature="45 degC", **how))
    spectra = session.run_data(result.uids[0]).streams["spectra"]
    assert spectra["spectra_temperature"].values == pytest.approx([45.0], abs=0.5)


def test_the_charge_of_a_discharge_is_the_instruments_own(session):
    """Whatever its clock says against that of the laboratory."""
    on_cycler = CellRig(session.samples["std-01"], session.devices["ch_1"])
    steps = [(1, 0.008, 0.008), (2, -0.008, 0.004), (3, -0.001, 0.0005)]
    rows = [
        {"ch_1_cycle": 1, "ch_1_step": step, "ch_1_current": current_A, "ch_1_capacity": share * passed_Ah}
        for step, current_A, passed_Ah in steps
        for share in (0.0, 0.5, 1.0)
    ]
    assert discharged_mAh(on_cycler, rows) == pytest.approx(4.5)
    potentiostat = session.devices["potentiostat"]
    on_bench = CellRig(session.samples["std-3e-01"], potentiostat)
    rows = [{"time": 1e9 + 10.0 * i, "potentiostat_current": -0.0036} for i in range(1, 101)]
    assert discharged_mAh(on_bench, rows) == pytest.approx(1.0)
    with pytest.raises(BadInput, match="no discharge was recorded"):
        discharged_mAh(on_bench, [])


@pytest.mark.parametrize(
    ("plan", "name", "how", "said"),
    [
        (dc_resistance, "std-10", {"state_of_charge": "120 %"}, "120"),
        (dc_resistance, "std-10", {"state_of_charge": "50 %, 50 %"}, "state_of_charge: 50 % is there twice"),
        (dc_resistance, "std-10", {"rates": "100C"}, "0.8 A is above current < 0.05 A of sample std-10"),
        (impedance_spectrum, "bond-a-01", {"frequency_from": "5 MHz"}, "5e+06 Hz: potentiostat goes from"),
        (
            impedance_at,
            "bond-a-01",
            {"temperatures": "25 degC, 140 degC"},
            "temperature=140 degC: chamber goes",
        ),
        (impedance_at, "std-press-01", {"temperatures": "0 degC"}, "sample std-press-01 is in no chamber"),
        (impedance_spectrum, "bond-a-01", {"amplitude": "500 mV"}, "more than 10 % of the sample's 1.7 V"),
        (impedance_spectrum, "bond-a-01", {"amplitude": "50 mA"}, "0.0707107 A is above current < 0.06 A"),
        (
            impedance_spectrum,
            "bond-a-01",
            {"frequency_from": "1 kHz", "frequency_to": "1 kHz"},
            "step 2 (EIS",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_moves(session, plan, name, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(plan(session.samples[name], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before


def test_an_end_in_a_pulse_leaves_the_cell_off_and_keeps_what_was_recorded(session):
    sections = []

    def watch(name, doc):
        if name == "event" and "steps_section" in doc["data"]:
            sections.append(doc["data"]["steps_section"])
            if sections[-1] == "pulses at 50 %":
                session.RE.unsubscribe(token)
                session.end("the night is over")

    token = session.RE.subscribe(watch)
    result = session.run(dc_resistance(session.samples["std-3e-01"], counted_of="nominal", **FAST))
    assert (result.exit_status, result.reason) == ("abort", "the night is over")
    assert hidden(session, "std-3e-01").current_A == 0.0
    assert sections[:2] == ["full charge", "full charge"]
    assert "dc_resistance_10s" not in result.results
