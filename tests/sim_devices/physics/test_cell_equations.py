"""The equations of a cell: against others' solutions, and where they are hard to solve."""

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
from scipy.optimize import brentq

from sim_devices.physics.cell import Cell
from sim_devices.physics.cell_design import DESIGNS, NO_AGEING, SI_SHEET, STANDARD, Electrolyte
from sim_devices.physics.cell_equations import Rule, Source, State
from ssblab.clock import VirtualClock

IDEAL = replace(STANDARD, rates=NO_AGEING, electrolyte=Electrolyte(1e9, 0.0, 30.0, 1.0, grain_ohm_cm2=1e-6))
DAY_S = 86_400.0


@pytest.fixture
def make(clock):
    return lambda **options: Cell(clock, **options)


def go(cell, duration_s):
    cell.advance(cell._now_s + duration_s)
    return cell


@pytest.mark.parametrize("share_of_diffusion", [0.003, 0.03, 0.3, 1.0])
def test_the_surface_is_that_of_a_sphere_with_a_constant_flux(make, share_of_diffusion):
    """J. Crank, The Mathematics of Diffusion (1975), equation 6.45: a series over the roots of tan a = a."""
    cell = make(design=IDEAL, state_of_charge=0.2)
    half = cell.equations.positive
    start = float(cell._state[State.POSITIVE + 1])
    cell.source_current(0.002)
    go(cell, share_of_diffusion * half.diffusion_s)
    surface = half.surface(cell._state.tolist())
    roots = np.array([
        brentq(lambda a: math.sin(a) - a * math.cos(a), n * math.pi, (n + 0.5) * math.pi)
        for n in range(1, 200)
    ])  # fmt: skip
    series = 0.2 - 2.0 * (np.exp(-(roots**2) * share_of_diffusion) / roots**2).sum()
    flux = -0.002 / half.sites_C * half.diffusion_s / 3.0
    assert surface - start == pytest.approx(flux * (3.0 * share_of_diffusion + series), rel=5e-3)


_PYBAMM = """
import json, sys
import numpy as np
import pybamm
job = json.load(sys.stdin)
area_m2, share, radius_m, layer_m = 4e-4, 0.5, 5e-6, 50e-6
surface_m2 = 3 * share / radius_m * layer_m * area_m2
values = {
    "Electrode height [m]": area_m2**0.5, "Electrode width [m]": area_m2**0.5,
    "Number of electrodes connected in parallel to make a cell": 1.0, "Contact resistance [Ohm]": 0.0,
    "Ambient temperature [K]": 298.15, "Initial temperature [K]": 298.15,
}
for side, half in job["halves"].items():
    most = half["sites_C"] / (96485.33212 * share * layer_m * area_m2)
    values |= {
        f"{side} electrode thickness [m]": layer_m,
        f"{side} electrode active material volume fraction": share,
        f"{side} particle radius [m]": radius_m,
        f"{side} particle diffusivity [m2.s-1]": radius_m**2 / half["diffusion_s"],
        f"Maximum concentration in {side.lower()} electrode [mol.m-3]": most,
        f"Initial concentration in {side.lower()} electrode [mol.m-3]": half["content"] * most,
        f"{side} electrode OCP [V]": lambda x, half=half: half["V"] + half["slope_V"] * (x - half["content"]),
        f"{side} electrode exchange-current density [A.m-2]":
            lambda c_e, c, most, T, half=half: 2 * half["exchange_A"] / surface_m2
            * (c / most) ** 0.5 * (1 - c / most) ** 0.5,
        f"{side} electrode OCP entropic change [V.K-1]": 0.0,
        f"{side} electrode double-layer capacity [F.m-2]": half["double_layer_F"] / surface_m2,
    }
parameters = pybamm.ParameterValues("Chen2020")
parameters.update(values, check_already_exists=False)
simulation = pybamm.EISSimulation(
    pybamm.lithium_ion.SPM({"surface form": "differential"}), parameter_values=parameters,
    var_pts={"x_n": 3, "x_s": 3, "x_p": 3, "r_n": 500, "r_p": 500},
)
ohm = np.array(simulation.solve(job["frequency_Hz"]).impedance)
print(json.dumps([ohm.real.tolist(), ohm.imag.tolist()]))
"""


def test_the_spectrum_is_that_of_pybamm(make, tmp_path):
    """Double layers, charge transfer, and spheres that PyBaMM cuts into shells; none of our circuit."""
    cell = make(design=IDEAL, state_of_charge=0.2)
    frequency_Hz = np.logspace(4, -3, 22)
    job = {"frequency_Hz": frequency_Hz.tolist(), "halves": {}}
    for side, half in zip(("Positive", "Negative"), cell.equations.halves, strict=True):
        content = float(cell._state[half.at + 1])
        volts, slope_V = half.potential.at(content)
        job["halves"][side] = {
            "sites_C": half.sites_C, "diffusion_s": half.diffusion_s, "exchange_A": half.exchange_A,
            "double_layer_F": half.double_layer_F, "content": content, "V": volts, "slope_V": slope_V,
        }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _PYBAMM],
        input=json.dumps(job), capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, "PYBAMM_DISABLE_TELEMETRY": "true", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    real, imaginary = np.array(json.loads(done.stdout.splitlines()[-1]))
    warmth = cell.equations._at(25.0)  # contacts and collectors, which it does not have, are resistors here
    expected = real + 1j * imaginary + warmth.ohm + warmth.hf_ohm
    assert np.abs(cell.impedance(frequency_Hz) / expected - 1.0).max() < 0.002


def deposits(make):
    cell = make(design="bond-c", state_of_charge=0.5)
    cell.source_current(0.048)
    return go(cell, 200.0)


def dissolves(make):
    cell = deposits(make)
    cell.open()
    return go(cell, 1.0)


def strips(make):
    cell = make(design="li-llz-li")
    cell.source_current(1e-3)
    return go(cell, 600.0)


def oxidises(make):
    cell = make(design="ncm-in-li", state_of_charge=1.0, micro_short_S=1e-3)
    cell.source_current(0.001)
    return go(cell, 3600.0)


@pytest.mark.parametrize("situation", [deposits, dissolves, strips, oxidises])
def test_the_jacobian_is_that_of_the_equations_where_a_cell_ages(make, situation):
    """Of each slope that is given."""
    cell = situation(make)
    given = cell.equations.jacobian(0.0, cell._state)
    for column in np.flatnonzero(given.any(axis=0)):
        step = 1e-5 if column == State.PLATED_C else 1e-7
        above, below = cell._state.copy(), cell._state.copy()
        above[column] += step
        below[column] -= step
        rates = [np.asarray(cell.equations.derivative(0.0, y)) for y in (above, below)]
        numeric = (rates[0] - rates[1]) / (2.0 * step)
        rows = np.flatnonzero(given[:, column])
        close = 0.2 if column == State.SHORT_S else 2e-3  # a short moves the deposition a little
        assert given[rows, column] == pytest.approx(numeric[rows], rel=close, abs=1e-5), column
    situations = {deposits: State.PLATED_C, dissolves: State.PLATED_C, strips: State.POSITIVE_VOIDS}
    assert cell._state[situations.get(situation, State.POSITIVE)] > 0.0


def test_a_held_voltage_is_left_a_little_late():
    source, ohm = Source(current_A=0.01, high_V=4.2), 2.0
    flows, holds = Rule(current_A=0.01), Rule(voltage_V=4.2)
    for short_of_V, now, expected in (
        (-1e-6, flows, holds),
        (1e-6, flows, flows),
        (1e-5, holds, holds),
        (1e-4, holds, flows),
    ):
        assert source.rule(4.2 - 0.01 * ohm - short_of_V, ohm, 0.0, now) == expected


@pytest.mark.parametrize("rule", [Rule(current_A=0.01), Rule(voltage_V=4.0)])
@pytest.mark.parametrize("short_S", [0.0, 0.1])
def test_currents_through_cell_and_short_add_up(rule, short_S):
    rest_V, ohm = 3.8, 2.0
    inner_A = rule.inner_current_A(rest_V, ohm, short_S)
    voltage_V = rest_V + inner_A * ohm
    if rule.voltage_V is not None:
        assert voltage_V == pytest.approx(rule.voltage_V)
    else:
        assert inner_A + short_S * voltage_V == pytest.approx(rule.current_A)
    slope_S = (rule.inner_current_A(rest_V + 1e-3, ohm, short_S) - inner_A) / 1e-3
    assert rule.slope_S(ohm, short_S) == pytest.approx(slope_S)


def calm_after_pressing(cell):
    go(cell, DAY_S)
    cell.press(17.6)
    go(cell, DAY_S)
    cell.press(9.5)
    go(cell, DAY_S)


def current_near_its_limit(cell):
    cell.source_voltage(4.2977, 0.08)
    go(cell, DAY_S)


def warming_at_the_lower_limit(cell):
    cell.source_current(-0.0005081, 2.5, 4.2)
    go(cell, 3600.0)
    cell.press(14.9)
    go(cell, DAY_S)


def discharged_by_its_own_short(cell):
    cell.source_current(0.011, -10.0, 10.0)
    go(cell, 3600.0)
    cell.open()
    go(cell, DAY_S)


def beyond_a_sharp_bend(cell):
    cell.source_voltage(4.16, 0.008)
    go(cell, 3600.0)
    cell.press(5.0)
    cell.source_current(-0.0031776, -10.0, 10.0)
    go(cell, DAY_S)


def burned_by_a_source_without_limit(cell):
    cell.source_voltage(4.99)
    go(cell, 3600.0)


def warmed_by_a_current_through_ice(cell):
    cell.heat(-45.8)
    go(cell, DAY_S)
    cell.source_current(-0.02875, -10.0, 10.0)
    go(cell, 3600.0)


@pytest.mark.parametrize(
    ("happens", "options"),
    [
        (calm_after_pressing, {"state_of_charge": 0.9, "temperature_C": 0.0}),
        (current_near_its_limit, {"design": "bond-c", "temperature_C": 100.0}),
        (warming_at_the_lower_limit, {"design": "bond-c", "temperature_C": 60.0, "micro_short_S": 1e-5}),
        (discharged_by_its_own_short, {"design": "bond-c", "state_of_charge": 0.0}),
        (beyond_a_sharp_bend, {"design": SI_SHEET, "state_of_charge": 1.0}),
        (warmed_by_a_current_through_ice, {"design": "li-liquid-li"}),
        (burned_by_a_source_without_limit, {"state_of_charge": 1.0, "temperature_C": -40.0}),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_is_hard_to_solve_takes_few_steps(make, happens, options):
    cell, calls = make(**options), [0]
    derivative = cell.equations.derivative

    def counted(*arguments):
        calls[0] += 1
        return derivative(*arguments)

    cell.equations.derivative = counted
    happens(cell)
    assert np.isfinite(cell._state).all()
    assert calls[0] < 10_000


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["current", "limited", "voltage", "open", "heat", "press"]),
            st.floats(-1.0, 1.0),
            st.sampled_from([1e-5, 1e-3, 0.01, 0.1]),
            st.sampled_from([0.001, 1.0, 300.0, 3600.0, DAY_S]),
        ),
        max_size=6,
    ),
    design=st.sampled_from(sorted(DESIGNS)),
    state_of_charge=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_cell_survives_whatever_happens_to_it(events, design, state_of_charge):
    with closing(VirtualClock(epoch=0)) as clock:
        cell = Cell(clock, design=design, state_of_charge=state_of_charge)
        for kind, share, most_A, duration_s in events:
            if kind == "current":
                cell.source_current(share * most_A, -10.0, 10.0)
            elif kind == "limited":
                cell.source_current(share * most_A, 2.5, 4.2)
            elif kind == "voltage":
                cell.source_voltage(3.5 + 1.5 * share, most_A)
            elif kind == "heat":
                cell.heat(30.0 + 70.0 * share)
            elif kind == "press":
                cell.press(20.0 * abs(share))
            else:
                cell.open()
            go(cell, duration_s)
            assert np.isfinite(cell._state).all()
            assert np.isfinite(cell.impedance(np.array([1e-3, 1e3]))).all()
            assert abs(cell.voltage_V) < 60.0
