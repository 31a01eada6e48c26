"""Draw the figures of the simulated laboratory: `python docs/make_figures.py` writes docs/figures/*.png.

Lines are what the models give; points are what others have published, as the tests check it. Those of an
experiment are drawn from a run of it. With names, only those are drawn: `python docs/make_figures.py rates`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plans.cell_figures import CellRun
from plans.floating import floating_test
from plans.floating_figures import hold_current
from plans.lots import lot_qualification
from plans.member_figures import members_of
from plans.pressure import pressure_sweep_conductivity, thickness_cycling
from plans.pressure_figures import pellet_points
from sim_devices.physics.cell import Cell
from sim_devices.physics.contact import LITHIUM_CONTACT, Contact
from sim_devices.physics.electrolyte import MATERIALS, Electrolyte
from sim_devices.physics.moist_air import water_mole_fraction
from sim_devices.physics.open_circuit import open_circuit
from sim_devices.physics.powder import PowderSample
from sim_devices.physics.random_walk import OBSTACLE_FRACTIONS, effective_conductivity
from ssblab.clock import VirtualClock
from ssblab.reports.drawing import BLUE, TimeAxis
from ssblab.reports.member_pictures import draw_lot
from ssblab.reports.pressure_pictures import draw_compaction, draw_course
from ssblab.results import figures_of_merit
from ssblab.session import open_session

FOLDER = Path(__file__).parent / "figures"
CAPACITY_Ah = 0.008
HOUR_S = 3600.0


def discharge(cell: Cell, rate: float) -> tuple[list[float], list[float]]:
    """Charge (mAh) and voltage on the way to empty."""
    cell.source_current(-rate * CAPACITY_Ah)
    charge_mAh, voltage_V = [], []
    for _ in range(400):
        before_s = cell.advance()
        empty = cell.design.voltages_V[0]
        cell._clock.sleep(HOUR_S / rate / 300)
        if cell.advance(None, lambda volts, amperes, low=empty: volts <= low) == before_s:
            break
        charge_mAh.append(-1e3 * cell.charge_Ah)
        voltage_V.append(cell.voltage_V)
        if cell.voltage_V <= empty:
            break
    return charge_mAh, voltage_V


def open_circuit_potentials(axes: Axes) -> None:
    """Potentials of the materials."""
    x = np.linspace(0.0, 1.0, 400)
    for material in ("nmc", "licoo2", "graphite", "si"):
        axes.plot(x, open_circuit(material).curve_V(x), label=material)
    axes.axhline(0.62, color="grey", lw=0.8, ls="--", label="in-li")
    axes.set(xlabel="lithium content", ylabel="potential / V vs Li/Li$^+$", ylim=(-0.1, 4.8))
    axes.legend()


def rates(axes: Axes) -> None:
    """Discharge of the standard cell."""
    for rate in (0.1, 1.0, 3.0, 6.0):
        cell = Cell(VirtualClock(epoch=0), state_of_charge=1.0)
        axes.plot(*discharge(cell, rate), label=f"{rate:g}C")
    axes.set(xlabel="charge / mAh", ylabel="voltage / V")
    axes.legend()


def spectra(axes: Axes) -> None:
    """Impedance of the three bond levels, 1 MHz to 1 mHz."""
    frequency_Hz = np.logspace(6, -3, 91)
    for name, label in (("standard-2.1", "(a)"), ("bond-b", "(b)"), ("bond-c", "(c)")):
        cell = Cell(VirtualClock(epoch=0), design=name)
        ohm_cm2 = cell.impedance(frequency_Hz) * cell.equations.area_cm2
        axes.plot(ohm_cm2.real, -ohm_cm2.imag, ".-", ms=3, label=f"bond level {label}")
    axes.set(xlabel="Z' / ohm cm$^2$", ylabel="-Z'' / ohm cm$^2$", xlim=(0, 60), ylim=(0, 30))
    axes.set_aspect("equal")
    axes.legend()


def floating(axes: Axes) -> None:
    """Capacity left while a potential is held."""
    for potential_V in (4.25, 4.55):
        clock = VirtualClock(epoch=0)
        cell = Cell(clock, design="ncm-in-li", state_of_charge=1.0)
        cell.source_voltage(potential_V - 0.62, 0.2 * CAPACITY_Ah)
        days, kept = [], []
        for day in np.linspace(0.0, 5.0, 51):
            clock.sleep(max(0.0, 86400.0 * day - clock.monotonic()))
            cell.advance()
            days.append(day)
            kept.append(cell.capacity_Ah / CAPACITY_Ah)
        axes.plot(days, kept, label=f"{potential_V} V vs Li/Li$^+$")
    axes.set(xlabel="time / d", ylabel="capacity / capacity as designed", ylim=(0.8, 1.02))
    axes.legend()


def temperatures(axes: Axes) -> None:
    """Capacity of half cells against temperature."""
    celsius = (-60, -50, -40, -20, 0, 25, 60, 80, 100)
    for name, label in (("ncm-in-li", "sulfide"), ("ncm-li-liquid", "liquid")):
        capacities = []
        for temperature_C in celsius:
            cell = Cell(VirtualClock(epoch=0), design=name, state_of_charge=1.0)
            cell.heat(temperature_C)
            capacities.append(max(discharge(cell, 0.1)[0], default=0.0))
        axes.plot(celsius, capacities, "o-", label=label)
    axes.set(xlabel="temperature / degC", ylabel="capacity at 0.1C / mAh")
    axes.legend()


def contacts(axes: Axes) -> None:
    """Lithium on argyrodite, pressed and released, and the cell of Doux and others (2020)."""
    contact, area_cm2 = Contact(LITHIUM_CONTACT), math.pi * 0.635**2
    way_MPa = np.concatenate([np.linspace(3.0, 25.0, 60), np.linspace(25.0, 3.0, 60)])
    cell_ohm = [24.0 + 2.0 * contact.contact_resistance_ohm_cm2(p) / area_cm2 for p in way_MPa]
    axes.plot(way_MPa, cell_ohm, label="model, pressed and released")
    axes.plot((5, 10, 15, 20, 25), (110, 50, 40, 35, 32), "o", label="pressed (Doux 2020)")
    axes.plot((5,), (50,), "s", label="released (Doux 2020)")
    axes.set(xlabel="pressure / MPa", ylabel="resistance / ohm", ylim=(0, 200))
    axes.legend()


def powders(axes: Axes) -> None:
    """Conductivity of argyrodite under pressure, and that of Miß and others (2026)."""
    sample = PowderSample(mass_mg=80.2, area_mm2=25.0 * math.pi)
    pressures_MPa = np.linspace(5.0, 400.0, 80)
    axes.plot(
        pressures_MPa,
        [1e3 * sample.conductivity_S_cm(sample.held(0.0, p), p) for p in pressures_MPa],
        label="model",
    )
    measured = (
        (10, 0.58), (20, 1.03), (50, 1.86), (100, 3.14), (150, 3.47), (200, 3.55), (250, 3.74), (300, 3.85),
        (350, 3.90), (400, 3.89),
    )  # fmt: skip
    axes.plot(*zip(*measured, strict=True), "o", label="Miß 2026")
    axes.set(xlabel="pressure / MPa", ylabel="conductivity / mS cm$^{-1}$")
    axes.legend()


def walks(axes: Axes) -> None:
    """Effective conductivity by random walk, with the bound of Weissberg (1963) and the law of Bruggeman."""
    obstacles = np.array(OBSTACLE_FRACTIONS)
    walked = [effective_conductivity(1.0, fraction) for fraction in obstacles]
    axes.plot(1.0 - obstacles, walked, "o", label="random walk")
    share = np.linspace(0.06, 1.0, 100)
    axes.plot(share, share / (1.0 - 0.5 * np.log(share)), label="Weissberg, upper bound")
    axes.plot(share, share**1.5, "--", label="Bruggeman, share$^{1.5}$")
    axes.set(xlabel="share of electrolyte", ylabel="effective / bulk conductivity")
    axes.legend()


def moist_air(axes: Axes) -> None:
    """Water in air against dew point, over ice, and the table of Murphy and Koop's formula."""
    celsius = np.linspace(-90.0, 0.0, 100)
    axes.semilogy(celsius, [1e6 * water_mole_fraction(t) for t in celsius], label="model")
    axes.plot((-10, -20, -40, -50, -80, -90), (2565, 1019, 127, 38.9, 0.54, 0.10), "o", label="table")
    axes.set(xlabel="dew point / degC", ylabel="water / ppm by volume")
    axes.legend()


def heating(axes: Axes) -> None:
    """Resistance that came by moisture and is left, while a pellet is heated in vacuum."""
    for material, celsius in (("argyrodite", 170.0), ("li3ps4-lii", 100.0)):
        pellet = Electrolyte(MATERIALS[material])
        pristine_ohm = pellet.total_resistance_ohm()
        air = {"water_mole_fraction": water_mole_fraction(-20.0), "pressure_Pa": 101_325.0}
        for _ in range(360):
            pellet.advance(10.0, flow_mol_s=3.4e-4, temperature_C=25.0, **air)
        added_ohm = pellet.total_resistance_ohm() - pristine_ohm
        hours, left = [0.0], [1.0]
        for _ in range(180):
            pellet.advance(
                60.0, flow_mol_s=0.0, water_mole_fraction=0.0, temperature_C=celsius, pressure_Pa=1.0
            )
            hours.append(hours[-1] + 1.0 / 60.0)
            left.append((pellet.total_resistance_ohm() - pristine_ohm) / added_ohm)
        axes.plot(hours, left, label=f"{material}, {celsius:g} degC")
    axes.set(xlabel="time / h", ylabel="added resistance that is left", ylim=(0.0, 1.05))
    axes.legend()


def floating_run(axes: Axes) -> None:
    """Current of a floating test, as the cycler recorded it, at two potentials."""
    with TemporaryDirectory() as folder, open_session("cells", data=folder) as session:
        plan = floating_test(
            session.samples["ncm-in-li-01"], potential="4.25 V, 4.55 V", hold="5 d", rate="0.5C",
            log_every="10 min",
        )  # fmt: skip
        (uid,) = session.run(plan).uids
        run = session.run_data(uid)
    values = figures_of_merit(run)
    for held in run.start["held_potentials"]:
        name = held["name"].replace(" ", "")
        time_s, current_A = hold_current(CellRun(run), held["sections"][0])
        kept = 100 * values[f"capacity_retention_{name}"].value
        label = f"{held['name']} vs Li/Li$^+$: {kept:.1f} % of the capacity kept"
        (line,) = axes.loglog(time_s[1:] / HOUR_S, 1e6 * current_A[1:], label=label)
        axes.axhline(values[f"leakage_current_{name}"].value, color=line.get_color(), lw=0.8, ls="--")
    axes.set(xlabel="time of the hold / h", ylabel="current / uA", ylim=(3e-3, 3e5))
    axes.legend()


def lot(axes: Axes) -> None:
    """Discharge of the cells of a lot, all at once on their channels: one is small, one has a micro-short."""
    with TemporaryDirectory() as folder, open_session("cells", data=folder) as session:
        samples = [sample for sample in session.samples.values() if sample.lot_id == "gen-1-2.1-b"]
        how = {"rate": "0.5C", "rest": "5 min", "watch": "3 h", "log_every": "5 min"}
        result = session.run(lot_qualification(samples, **how))
        members = members_of(session.run_data(result.uids[0]), session.run_data)
    draw_lot(axes, members, result.results)


def pressure_sweep(axes: Axes) -> None:
    """Conductivity and porosity of a powder under pressure, as the plan measures them."""
    with TemporaryDirectory() as folder, open_session("cells", data=folder) as session:
        plan = pressure_sweep_conductivity(
            session.samples["argyrodite-powder-01"], pressures="20 MPa, 50 MPa, 100 MPa, 200 MPa, 330 MPa",
            ways="rising and falling", dwell="1 min", true_density="1.87 g/cm3",
        )  # fmt: skip
        (uid,) = session.run(plan).uids
        draw_compaction(axes, pellet_points(session.run_data(uid)))


def thickness(axes: Axes) -> None:
    """Thickness and voltage of a cell in the press, as the plan measures them."""
    how = {"rate": "5C", "cut_off": "1C", "rest": "1 min", "dwell": "30 s", "log_every": "10 s"}
    with TemporaryDirectory() as folder, open_session("cells", data=folder) as session:
        plan = thickness_cycling(session.samples["std-press-01"], pressure="5 MPa", cycles=1, **how)
        (uid,) = session.run(plan).uids
        run = CellRun(session.run_data(uid))
    time = TimeAxis(float(run.steps[0].time_s[0]), float(run.steps[-1].time_s[-1]))
    draw_course(axes, run, "thickness", time)
    axes.set(xlabel=f"time / {time.unit}")
    other = axes.twinx()
    for step in run.steps:
        other.plot(time(step.time_s), step.voltage_V, color=BLUE)
    other.set_ylabel("voltage / V", color=BLUE)


FIGURES: dict[str, Callable[[Axes], None]] = {
    "open-circuit": open_circuit_potentials,
    "rates": rates,
    "bond-levels": spectra,
    "floating": floating,
    "floating-test": floating_run,
    "temperature": temperatures,
    "lithium-contact": contacts,
    "powder": powders,
    "random-walk": walks,
    "moist-air": moist_air,
    "vacuum-heating": heating,
    "pressure-sweep": pressure_sweep,
    "thickness": thickness,
    "lot": lot,
}


def main() -> None:
    """Write all figures, or those that are named."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or FIGURES:
        figure = Figure(figsize=(5.0, 3.4), layout="constrained")
        FIGURES[name](figure.subplots())
        figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
