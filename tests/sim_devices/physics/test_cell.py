"""The battery cell: its terminals, its parameters in time and frequency, against others; what ages it."""

import json
import math
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_devices.physics.cell import Cell
from sim_devices.physics.cell_design import DESIGNS, NO_AGEING, STANDARD, Electrolyte
from sim_devices.physics.cell_equations import MODE_RATES, MODE_SHARES, State
from sim_devices.physics.constants import FARADAY_C_mol
from ssblab.clock import VirtualClock

Q_Ah = 0.008
HOUR_S = 3600.0
IDEAL = replace(STANDARD, rates=NO_AGEING, electrolyte=Electrolyte(1e9, 0.0, 30.0, 1.0, grain_ohm_cm2=1e-6))


@pytest.fixture
def make(clock):
    return lambda **options: Cell(clock, **options)


def go(cell, duration_s, ended=None):
    return cell.advance(cell._now_s + duration_s, ended)


def state(cell, place):
    return float(cell._state[place])


# Terminals


def test_a_standard_cell_is_empty_at_2_5_V_and_full_at_4_2_V(make):
    empty, full = make(state_of_charge=0.0), make(state_of_charge=1.0)
    assert empty.read() == (pytest.approx(2.5, abs=1e-6), 0.0)
    assert full.potential_V() == pytest.approx(4.2, abs=1e-6)
    assert empty.capacity_Ah == pytest.approx(Q_Ah)
    assert full.capacity_Ah == pytest.approx(Q_Ah)
    assert full.equations.area_cm2 == pytest.approx(4.0)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_rests_at_its_window(make, design):
    if DESIGNS[design].positive.is_metal:
        assert make(design=design).voltage_V == pytest.approx(0.0, abs=1e-9)
        return
    for soc, volts in zip((0.0, 1.0), DESIGNS[design].voltages_V, strict=True):
        assert make(design=design, state_of_charge=soc).voltage_V == pytest.approx(volts, abs=1e-6)


def test_a_positive_electrode_of_metal_needs_a_metal():
    with pytest.raises(ValueError, match="insertion material as the positive electrode"):
        replace(STANDARD, positive=DESIGNS["li-llz-li"].positive)


def test_charge_and_energy_are_what_passed_the_terminals(make):
    cell = make(state_of_charge=0.2)
    cell.source_current(0.004)
    go(cell, HOUR_S)
    assert cell.charge_Ah == pytest.approx(0.004, rel=1e-6)
    assert 0.004 * 3.5 < cell.energy_Wh < 0.004 * 4.0
    before_Ah = cell.charge_Ah
    cell.source_voltage(4.0, 0.008)
    passed_Ah = 0.0
    for _ in range(1000):
        amperes = cell.current_A
        go(cell, 4.0)
        passed_Ah += 4.0 * 0.5 * (amperes + cell.current_A) / 3600.0
    assert cell.charge_Ah - before_Ah == pytest.approx(passed_Ah, rel=5e-3)


def test_a_source_of_current_holds_the_voltage_at_its_limit(make):
    cell = make(state_of_charge=0.7)
    cell.source_current(0.016, 2.5, 4.1)
    assert cell.current_A == 0.016
    reached_s = go(cell, 4 * HOUR_S, lambda volts, amperes: amperes < 0.0159)
    assert cell.voltage_V == pytest.approx(4.1, abs=1e-4)
    assert reached_s < 4 * HOUR_S
    go(cell, 4 * HOUR_S)
    assert cell.voltage_V == pytest.approx(4.1, abs=1e-9)
    assert 0.0 < cell.current_A < 1e-4
    cell.source_current(-0.016, 3.9)
    go(cell, 4 * HOUR_S)
    assert cell.voltage_V == pytest.approx(3.9, abs=1e-9)


def test_a_source_of_voltage_gives_no_more_than_its_current(make):
    cell = make(state_of_charge=0.5)
    cell.source_voltage(4.1, 0.008)
    assert cell.current_A == pytest.approx(0.008)
    assert cell.voltage_V < 4.1
    go(cell, 3 * HOUR_S)
    assert cell.voltage_V == pytest.approx(4.1)
    assert cell.current_A < 0.001
    cell.source_voltage(3.0, 0.008)
    assert cell.current_A == pytest.approx(-0.008)


def test_the_end_is_found_to_a_millisecond(make):
    cell = make(state_of_charge=0.9)
    began_s = cell._now_s
    cell.source_current(0.008)
    reached_s = go(cell, 2 * HOUR_S, lambda volts, amperes: volts >= 4.2)
    assert 4.2 <= cell.voltage_V < 4.2 + 1e-6
    twin = make(state_of_charge=0.9)
    twin.source_current(0.008)
    twin.advance(reached_s - 5e-3)
    assert twin.voltage_V < 4.2
    assert cell.charge_Ah == pytest.approx(0.008 * (reached_s - began_s) / 3600.0)
    assert cell.advance(reached_s - 10.0) == reached_s  # what is past is past


def test_reading_often_gives_the_same_as_reading_once(make):
    often, once = make(), make()
    for cell in (often, once):
        cell.source_current(0.004)
    for _ in range(360):
        go(often, 10.0)
    go(once, HOUR_S)
    assert often.voltage_V == pytest.approx(once.voltage_V, abs=1e-6)


def test_whoever_drives_it_is_brought_up_to_now_before_it_is_read(make, clock):
    cell, calls = make(), []
    cell.attach(lambda: calls.append(clock.monotonic()))
    clock.sleep(5.0)
    cell.read()
    cell.impedance(np.array([1.0]))
    assert calls == [5.0, 5.0]


def test_potentials_are_against_lithium_and_differ_by_the_voltage(make):
    cell = make()
    cell.source_current(0.01)
    go(cell, 60.0)
    difference_V = cell.positive_potential_V() - cell.negative_potential_V()
    assert difference_V == pytest.approx(cell.voltage_V, abs=1e-12)
    assert 0.05 < cell.negative_potential_V() < 0.2


@settings(max_examples=15, deadline=None)
@given(
    drives=st.lists(
        st.tuples(
            st.sampled_from(["current", "voltage", "limited", "open"]),
            st.floats(-1.0, 1.0),
            st.sampled_from([0.01, 1.0, 300.0, 86400.0]),
        ),
        max_size=5,
    ),
    design=st.sampled_from(["standard-2.1", "ncm-li-liquid", "si-film", "li-llz-li"]),
    temperature_C=st.sampled_from([-40.0, 25.0, 100.0]),
)
def test_it_survives_any_source_and_keeps_its_lithium(drives, design, temperature_C):
    design = replace(DESIGNS[design], rates=NO_AGEING)
    with closing(VirtualClock(epoch=0)) as clock:
        _drive_it(Cell(clock, design=design, temperature_C=temperature_C), drives)


def _drive_it(cell, drives):
    halves = [half for half in cell.equations.halves if not half.is_metal]
    lithium_C = sum(half.sites_C * state(cell, half.at + 1) for half in halves)
    for kind, share, duration_s in drives:
        if kind == "current":
            cell.source_current(0.1 * share, -5.0, 5.0)
        elif kind == "limited":
            cell.source_current(0.1 * share, 2.5, 4.2)
        elif kind == "voltage":
            cell.source_voltage(2.5 + 2.5 * share, 0.5)
        else:
            cell.open()
        go(cell, duration_s)
        assert math.isfinite(cell.voltage_V)
    if len(halves) == 2 and not any(half.design.cracking_per_cycle for half in halves):
        now_C = sum(half.sites_C * state(cell, half.at + 1) for half in halves)
        double_layers_C = sum(half.double_layer_F for half in halves) * 5.0
        assert now_C == pytest.approx(lithium_C, abs=double_layers_C + 1e-3 * lithium_C)


# One set of parameters, in time and in frequency


def test_the_modes_are_those_of_a_sphere():
    """Content at the surface of a sphere, T. Jacobsen and K. West 1995, over seven decades."""
    s = 2j * np.pi * np.logspace(-3, 4, 60)
    root = np.sqrt(s)
    exact = np.tanh(root) / (3.0 * (root - np.tanh(root)))
    modes = 1.0 / s + (MODE_SHARES / (s[:, None] + MODE_RATES)).sum(axis=1)
    assert np.abs(modes / exact - 1.0).max() < 2e-3
    assert (MODE_SHARES / MODE_RATES).sum() == pytest.approx(
        1.0 / 15.0
    )  # behind the mean at constant current


@pytest.mark.parametrize("frequency_Hz", [1e4, 30.0, 0.1, 1e-3])
def test_a_sine_in_time_gives_the_impedance(make, frequency_Hz):
    """The response of voltage to a small step of the current, transformed, is the impedance over i omega."""
    cell = make(state_of_charge=0.6)
    tight = cell.equations.tolerances() * 1e-4
    cell.equations.tolerances = lambda: tight
    step_A, rest_V = 1e-6, cell.voltage_V
    omega = 2.0 * np.pi * frequency_Hz
    z_ohm = cell.impedance(np.array([frequency_Hz]))[0]
    cell.source_current(step_A)
    times_s = np.concatenate([[0.0], np.geomspace(1e-9 / frequency_Hz, 2e4, 3000)])
    volts = [cell.voltage_V - rest_V]
    for time_s in times_s[1:]:
        cell.advance(time_s)
        volts.append(cell.voltage_V - rest_V)
    # Fourier integral of a piecewise straight curve from the slopes of its pieces; the last piece goes on.
    slopes = np.diff(volts) / np.diff(times_s)
    waves = np.exp(-1j * omega * times_s)
    transformed = volts[0] + ((waves[:-1] - waves[1:]) * slopes / (1j * omega)).sum()
    transformed += slopes[-1] * waves[-1] / (1j * omega)
    assert abs(transformed / step_A / z_ohm - 1.0) < 0.01


def test_the_impedance_is_that_of_the_circuit_written_by_hand(make):
    """Resistances, a capacitor beside the contacts; for each electrode a Randles circuit with a sphere."""
    cell = make(state_of_charge=0.6)
    equations, frequency_Hz = cell.equations, np.logspace(6, -3, 40)
    warmth = equations._at(25.0)
    s = 2j * np.pi * frequency_Hz
    expected = warmth.ohm + 1.0 / (1.0 / warmth.hf_ohm + s * 1.5e-8 * 4.0)
    for half in equations.halves:
        content = state(cell, half.at + 1)
        kelvin = 298.15
        exchange_A = half.exchange_A * 2.0 * math.sqrt(content * (1.0 - content))
        transfer_ohm = 8.314462618 * kelvin / FARADAY_C_mol / exchange_A
        root = np.sqrt(s * half.diffusion_s)
        sphere = half.diffusion_s * np.tanh(root) / (3.0 * (root - np.tanh(root)))
        slope_V = -half.potential.at(content)[1]
        faradaic_ohm = transfer_ohm + slope_V * sphere / half.sites_C
        expected = expected + 1.0 / (s * half.double_layer_F + 1.0 / faradaic_ohm)
    assert np.abs(cell.impedance(frequency_Hz) / expected - 1.0).max() < 2e-3


def test_the_parts_of_the_impedance_add_up(make):
    cell, frequency_Hz = make(), np.logspace(6, -3, 10)
    parts = cell.impedance(frequency_Hz, "positive") + cell.impedance(frequency_Hz, "negative")
    assert parts == pytest.approx(cell.impedance(frequency_Hz))


def test_the_jacobian_is_that_of_the_equations(make):
    cell = make(state_of_charge=0.4)
    cell.source_voltage(4.1, 0.016)
    go(cell, 30.0)
    fast = slice(0, State.POSITIVE_LOST)
    numeric = np.zeros((State.SIZE, State.SIZE))
    for k in range(State.SIZE):
        above, below = cell._state.copy(), cell._state.copy()
        above[k] += 1e-7
        below[k] -= 1e-7
        rates = [np.asarray(cell.equations.derivative(0.0, y)) for y in (above, below)]
        numeric[:, k] = (rates[0] - rates[1]) / 2e-7
    given = cell.equations.jacobian(0.0, cell._state)[fast, fast]
    assert given == pytest.approx(numeric[fast, fast], rel=1e-4, abs=1e-4)


_PYBAMM = """
import json, sys
import numpy as np
import pybamm
job = json.load(sys.stdin)
area_m2, share, radius_m, layer_m = 4e-4, 0.5, 5e-6, 50e-6
values = {
    "Electrode height [m]": area_m2**0.5, "Electrode width [m]": area_m2**0.5,
    "Number of electrodes connected in parallel to make a cell": 1.0,
    "Nominal cell capacity [A.h]": 0.008, "Contact resistance [Ohm]": 0.0,
    "Lower voltage cut-off [V]": 1.0, "Upper voltage cut-off [V]": 5.0,
    "Ambient temperature [K]": 298.15, "Initial temperature [K]": 298.15,
}
for side in ("Positive", "Negative"):
    half, most = job[side], job[side]["sites_C"] / (96485.33212 * share * layer_m * area_m2)
    def potential(x, half=half, name=side + "_potential"):
        contents, volts = np.array(half["x"]), np.array(half["V"])
        return pybamm.Interpolant(contents, volts, x, name=name, interpolator="cubic")
    def exchange(c_e, c, c_max, T, scale=half["exchange_A"] / (3 * share / radius_m * layer_m * area_m2)):
        return 2 * scale * (c / c_max) ** 0.5 * (1 - c / c_max) ** 0.5
    values |= {
        f"{side} electrode thickness [m]": layer_m,
        f"{side} electrode active material volume fraction": share,
        f"{side} particle radius [m]": radius_m,
        f"{side} particle diffusivity [m2.s-1]": radius_m**2 / half["diffusion_s"],
        f"Maximum concentration in {side.lower()} electrode [mol.m-3]": most,
        f"{side} electrode OCP [V]": potential,
        f"{side} electrode exchange-current density [A.m-2]": exchange,
        f"{side} electrode OCP entropic change [V.K-1]": 0.0,
    }
volts = []
for run in job["runs"]:
    parameters = pybamm.ParameterValues("Chen2020")
    for side, content in run["contents"].items():
        most = values[f"Maximum concentration in {side.lower()} electrode [mol.m-3]"]
        values[f"Initial concentration in {side.lower()} electrode [mol.m-3]"] = content * most
    ends_s, amperes = np.array(run["ends_s"]), -np.array(run["amperes"])
    values["Current function [A]"] = pybamm.Interpolant(ends_s, amperes, pybamm.t, interpolator="linear")
    parameters.update(values, check_already_exists=False)
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.SPM(), parameter_values=parameters,
        var_pts={"x_n": 5, "x_s": 5, "x_p": 5, "r_n": 120, "r_p": 120},
        solver=pybamm.IDAKLUSolver(rtol=1e-8, atol=1e-8),
    )
    times_s = np.array(run["times_s"])
    solution = simulation.solve(t_eval=np.unique(np.concatenate([ends_s, times_s])))
    volts.append(solution["Terminal voltage [V]"](times_s).tolist())
print(json.dumps(volts))
"""


def test_it_agrees_with_the_single_particle_model_of_pybamm(make, clean_environment):
    """Discharge at 1C and 3C, charge at 2C, and a pulse of ten minutes with its relaxation."""
    runs = [
        (1.0, [(3300.0, -0.008)]),
        (1.0, [(1000.0, -0.024)]),
        (0.0, [(1300.0, 0.016)]),
        (0.5, [(600.0, -0.008), (4000.0, 0.0)]),
    ]
    job, found = {"runs": []}, []
    for soc, drive in runs:
        cell = make(state_of_charge=soc, design=IDEAL)
        warmth = cell.equations._at(25.0)
        halves = {"Positive": cell.equations.positive, "Negative": cell.equations.negative}
        x = np.linspace(-0.02, 1.02, 4161)
        for side, half in halves.items():
            job[side] = {
                "sites_C": half.sites_C, "exchange_A": half.exchange_A, "diffusion_s": half.diffusion_s,
                "x": x.tolist(), "V": half.potential.curve_V(x).tolist(),
            }  # fmt: skip
        contents = {side: state(cell, half.at + 1) for side, half in halves.items()}
        began_s, past_s, volts, times, ends, amperes = cell._now_s, 0.0, [], [], [], []
        for end_s, current_A in drive:
            ends += [past_s + 1e-3 * bool(ends), end_s]
            amperes += [current_A, current_A]
            cell.source_current(current_A)
            for time_s in np.linspace(past_s, end_s, 51)[1:]:
                cell.advance(began_s + time_s)
                times.append(time_s)
                volts.append(
                    cell.voltage_V - current_A * (warmth.ohm + warmth.hf_ohm)
                )  # it has no resistance
            past_s = end_s
        found.append(volts)
        job["runs"].append({"contents": contents, "ends_s": ends, "amperes": amperes, "times_s": times})
    done = subprocess.run(
        [sys.executable, "-c", _PYBAMM],
        input=json.dumps(job), capture_output=True, text=True, timeout=250, check=False,
        env=clean_environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(found, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert np.abs(np.array(ours) - np.array(theirs)).max() < 2e-3


@pytest.fixture
def clean_environment(tmp_path):
    """Of a process that shall not tell anybody that it runs, nor find anybody's settings."""
    return {**os.environ, "PYBAMM_DISABLE_TELEMETRY": "true", "HOME": str(tmp_path)}


# Warmth, and what ages a cell


def test_resistances_follow_arrhenius(make):
    cold, warm = make(), make()
    cold.heat(0.0)
    inverse = 1.0 / 273.15 - 1.0 / 298.15
    dense = [cell.equations._at(state(cell, State.TEMPERATURE_C)) for cell in (cold, warm)]
    assert dense[0].separator_ohm / dense[1].separator_ohm == pytest.approx(
        math.exp(STANDARD.electrolyte.activation_J_mol / 8.314462618 * inverse)
    )
    assert dense[1].exchange_A[0] / dense[0].exchange_A[0] == pytest.approx(
        math.exp(STANDARD.positive.transfer_J_mol / 8.314462618 * inverse)
    )


def test_a_current_warms_it_by_what_it_loses(make):
    """At rest of all but heat, the rise is the power lost over the heat loss of 5 mW/K per cm2."""
    cell = make(state_of_charge=0.2, design=replace(STANDARD, rates=NO_AGEING))
    cell.source_current(0.016)
    go(cell, 900.0)
    lost_W = cell.current_A * (cell.voltage_V - cell.open_circuit_V)
    assert cell.temperature_C() - 25.0 == pytest.approx(lost_W / (5e-3 * 4.0), rel=0.1)


def test_the_stack_swells_with_its_lithium(make):
    empty, full = make(state_of_charge=0.0), make(state_of_charge=1.0)
    assert full.thickness_um() / empty.thickness_um() - 1.0 == pytest.approx(0.02, abs=0.01)


def test_lithium_is_deposited_and_shorts_only_where_the_negative_electrode_is_not_bonded(make):
    for level, shorted in (("a", False), ("c", True)):
        cell = make(design=replace(STANDARD, bond_level=level), state_of_charge=0.0)
        cell.source_current(0.048)
        go(cell, HOUR_S, lambda volts, amperes: volts >= 4.2)
        assert cell.shorted is shorted
        assert (state(cell, State.PLATED_C) > 0.0) is shorted
        assert math.isfinite(cell.shorted_at_s) is shorted


def test_a_short_discharges_the_cell(make):
    cell, sound = make(micro_short_S=1e-4), make()
    go(cell, 10 * HOUR_S)
    go(sound, 10 * HOUR_S)
    leaked_Ah = 1e-4 * 0.5 * (cell.voltage_V + sound.voltage_V) * 10.0
    assert not cell.shorted  # it has been there from the beginning
    assert cell.voltage_V < sound.voltage_V - 0.05
    passed_Ah = cell.equations.positive.sites_C / 3600.0
    passed_Ah *= state(cell, State.POSITIVE + 1) - state(sound, State.POSITIVE + 1)
    assert passed_Ah == pytest.approx(leaked_Ah, rel=0.1)


def test_a_high_potential_oxidises_and_a_low_one_does_not(make):
    kept = []
    for potential_V in (4.25, 4.55):
        cell = make(design="ncm-in-li", state_of_charge=1.0)
        cell.source_voltage(potential_V - 0.62, 0.2 * Q_Ah)
        go(cell, 5 * 86400.0)
        kept.append(cell.capacity_Ah / Q_Ah)
        assert cell.oxidation_products is (potential_V == 4.55)
    assert kept[0] > 0.97
    assert kept[1] < 0.9


def test_a_film_takes_lithium(make):
    rates = replace(NO_AGEING, film_per_day=0.01)
    cell = make(design=replace(STANDARD, rates=rates), state_of_charge=0.5)
    before = cell.capacity_Ah
    go(cell, 5 * 86400.0)
    film_Ah = state(cell, State.FILM_C) / 3600.0
    assert film_Ah == pytest.approx(0.05 * cell.equations.negative.sites_C / 3600.0, rel=0.01)
    assert 0.5 * film_Ah < before - cell.capacity_Ah < 1.1 * film_Ah


def test_an_outlier_has_less_on_the_same_area(make):
    sound, outlier = make(), make(capacity_share=0.92, area_cm2=make().equations.area_cm2)
    assert outlier.capacity_Ah == pytest.approx(0.92 * sound.capacity_Ah, rel=1e-6)
    assert outlier.equations.area_cm2 == sound.equations.area_cm2


def test_a_lot_scatters_as_told(clock):
    deviations = np.array([
        Cell(clock, np.random.default_rng(seed)).capacity_Ah / Q_Ah - 1.0 for seed in range(120)
    ])  # fmt: skip
    assert np.abs(deviations).max() < 0.03
    assert deviations.std() == pytest.approx(0.01, rel=0.2)
    assert Cell(clock, np.random.default_rng(7)).capacity_Ah == Q_Ah * (1.0 + deviations[7])


class Ramp:
    """Air that warms by 1 K/min."""

    def __init__(self):
        self.air_C = 25.0

    def advance_to(self, time_s):
        self.air_C = 25.0 + time_s / 60.0

    def air_until(self, from_s, until_s):
        self.advance_to(until_s)
        return until_s, self.air_C


def test_it_follows_what_it_stands_in_with_its_lag(make):
    cell = make(surroundings=Ramp())
    for _ in range(60):
        go(cell, 60.0)
    lag_s = 0.75 / 5e-3
    assert state(cell, State.TEMPERATURE_C) == pytest.approx(25.0 + 60.0 - lag_s / 60.0, abs=0.05)
