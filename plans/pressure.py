"""What pressure does to cells and powders in a press, and what cells do to the press when they swell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

from bluesky import Msg
from bluesky.preprocessors import finalize_wrapper, run_wrapper
from ophyd.utils import LimitError

from devices.families.actuator import LinearActuator
from devices.families.climate_chamber import ClimateChamber
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import ImpedanceSweep
from devices.instrument import LabDevice
from devices.press import HoldMode, Press
from plans.arguments import (
    FROM_STATION,
    AmountIn,
    PlanGenerator,
    Quantity,
    Text,
    describe_arguments,
    plan,
    written,
)
from plans.cell_runs import (
    RATE,
    Cycles,
    LogEvery,
    Rest,
    Temperature,
    VoltageLimit,
    at_temperature,
    cell_run,
    check_temperature,
)
from plans.marks import Marks
from plans.programs import Beside, CellRig, Source, prepare, run
from plans.spectra import checked_spectrum
from plans.stubs import log_for, make_safe, move, plain_failures
from plans.texts import cycle_text, discharge_text, half_cycle, survey_text, with_spectra
from ssblab.analysis.impedance import FEWEST_POINTS
from ssblab.quantities import BadInput
from ssblab.results import FIGURES_KEY
from ssblab.samples import CellSample, ElectrolyteSample
from ssblab.steps import Amount

__all__ = [
    "NotOpen",
    "open_press",
    "pressure_sweep_conductivity",
    "pressure_sweep_cycling",
    "thickness_cycling",
]

RISING, BOTH = "rising", "rising and falling"
RELEASE, HOLD = "release", "hold"
_MODES: dict[str, HoldMode] = {"constant pressure": "constant force", "fixed gap": "fixed gap"}
PRESS_STREAM = "press"  # records of the press beside those of the cell

Pressures = Annotated[tuple[float, ...], Quantity("MPa", "pressures, from low to high", 0.01, 5000)]
Ways = Annotated[str, Text("whether the pressures are also gone through on the way down", (BOTH, RISING))]
Pressure = Annotated[float | None, Quantity("MPa", "on the cell; else the sample's own", 0.01, 5000)]
Dwell = Annotated[float, Quantity("s", "time at a pressure before it is measured", 1, 7 * 86400)]
Afterwards = Annotated[str, Text("what the press does in the end: open, or stand still", (RELEASE, HOLD))]
Rate = Annotated[Amount, AmountIn(RATE, "current of charge and discharge")]
CutOff = Annotated[Amount | None, AmountIn(RATE, "current at which the charge's hold ends; else no hold")]
Spectra = Annotated[
    str, Text("impedance of the charged cell; auto: if the channel is a potentiostat", ("auto", "yes", "no"))
]
Density = Annotated[
    float | None, Quantity("g/cm3", "true density of the solid, for the porosity; else none", 0.1, 25)
]
Highest = Annotated[float, Quantity("Hz", "first frequency of each spectrum", 1e3, 1e8)]
Lowest = Annotated[float, Quantity("Hz", "last frequency of each spectrum", 1e-3, 1e5)]
Mode = Annotated[str, Text("what the press holds while the cell swells", tuple(_MODES))]
Thickness = Annotated[
    float | None,
    Quantity(
        "um",
        "of the discharged cell; else as the gauge reads, whose zero then is the closed press",
        1,
        1e6,
    ),
]

_FIGURES = "plans.pressure_figures"
_TOLERANCE = 0.02  # of a pressure
_UNLOADED_kN = 0.02  # below this nothing is pressed, whatever the load cell's zero has drifted by
_LOWEST_Hz = 1.0  # of the spectra of cells
_READ_TIMEOUT_S = 600.0  # a device's own timeout comes first


class NotOpen(RuntimeError):
    """The press has no reference position, and cannot find it because it presses on something."""


@plan
def open_press(*, press: Press = FROM_STATION, ram: LinearActuator = FROM_STATION) -> PlanGenerator:
    """Open the press as far as it goes, so that a sample can be put in or taken out.

    A ram without a reference position, as after its controller was switched on, finds it: that is the same
    way. The run has the press before and after (stream baseline), and no figures of merit.

    Source: none; an operator's task.
    """
    metadata = {"plan_name": open_press.__name__, "devices": {"press": press.name, "ram": ram.name}}
    safe = finalize_wrapper(plain_failures(_open(press, ram)), lambda: make_safe([press]))
    return (yield from run_wrapper(safe, md=metadata))


@plan
def pressure_sweep_cycling(
    sample: CellSample,
    *,
    pressures: Pressures = written("5 MPa, 10 MPa, 20 MPa"),
    ways: Ways = BOTH,
    rate: Rate = written("0.5C"),
    cut_off: CutOff = None,
    spectra: Spectra = "auto",
    dwell: Dwell = written("10 min"),
    rest: Rest = written("30 min"),
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    afterwards: Afterwards = HOLD,
    channel: Source = FROM_STATION,
    press: Press = FROM_STATION,
    ram: LinearActuator = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Cycle a cell at several pressures, up and down again: its capacity and resistance against pressure.

    At each pressure, after it was held for `dwell`: charge, rest, spectrum if asked for, discharge, rest. The
    resistance is that of the charged cell, after 10 s of the discharge. If the press has no reference
    position it finds it first, provided that it presses on nothing.

    Streams: primary, steps, press (force, pressure, thickness beside the cycling), with the sections "5 MPa,
    rising", "20 MPa, rising", "5 MPa, falling"; with spectra open_circuit, impedance, spectra. Figures of
    merit: discharge_capacity_5MPa_rising, dc_resistance_10s_5MPa_rising and so on, both without ending at the
    highest pressure; with spectra ohmic_resistance and polarisation_resistance; discharge_capacity_hysteresis
    and dc_resistance_10s_hysteresis, falling less rising at the lowest pressure.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.3(1) (requirement G1, for cells). Pressures, rates
    and times are not given there.
    """
    rig = CellRig(sample, channel, chamber, press)
    check_temperature(rig, temperature)
    points = _points(pressures, ways)
    arguments = {**locals()}
    programs = {}
    for pressure_MPa, way in points:
        lines = [
            _hold_text(pressure_MPa, dwell),
            half_cycle(sample, "charge", rate, charge_to, cut_off),
            f"Rest for {rest!r} s",
            *([survey_text(channel, _LOWEST_Hz)] if with_spectra(spectra, channel) else []),
            discharge_text(sample, rate, discharge_to),
            f"Rest for {rest!r} s",
        ]
        programs[_section(pressure_MPa, way)] = prepare(rig, "\n".join(lines), log_s=log_every)

    def body() -> PlanGenerator:
        yield from _be_ready(press, ram)
        yield from at_temperature(rig, temperature)
        beside = Beside((press,), PRESS_STREAM, log_every)
        for section, program in programs.items():
            yield from run(program, section=section, beside=beside)
        yield from _end(afterwards, press, ram)

    md = {"pressures": _of_points(points), **(md or {})}
    figures = f"{_FIGURES}:cycling"
    return (
        yield from cell_run(
            pressure_sweep_cycling, rig, arguments, body(), programs=programs, figures=figures, md=md
        )
    )


@plan
def thickness_cycling(
    sample: CellSample,
    *,
    mode: Mode = "constant pressure",
    pressure: Pressure = None,
    cycles: Cycles = written("2"),
    rate: Rate = written("0.1C"),
    cut_off: CutOff = None,
    dwell: Dwell = written("30 min"),
    rest: Rest = written("30 min"),
    thickness: Thickness = None,
    charge_to: VoltageLimit = None,
    discharge_to: VoltageLimit = None,
    temperature: Temperature = None,
    log_every: LogEvery = written("60 s"),
    afterwards: Afterwards = HOLD,
    channel: Source = FROM_STATION,
    press: Press = FROM_STATION,
    ram: LinearActuator = FROM_STATION,
    chamber: ClimateChamber | None = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Cycle a cell in the press, and follow how it swells: its thickness, or what it presses with.

    With a constant pressure the press gives way and the thickness changes; with a fixed gap the ram stands
    still and the pressure changes, the less the softer the press. The gauge's change is that of the cell; for
    the thickness that it refers to, its zero must be that of the closed empty press, or `thickness` given.

    Streams: primary, steps, press (force, pressure, thickness beside the cycling), with the sections "cycle
    1", "cycle 2" and so on. Figures of merit: thickness_change (charged less discharged over discharged, last
    cycle), thickness_change_um, thickness_residual (discharged, last cycle less first, over the first), or
    pressure_change, relative_pressure_change, pressure_residual at a fixed gap; the capacity of the last
    cycle.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.3(2): actual cells change by about 2 %
    (requirement G3, GT-24). Pressures and rates are not given there.
    """
    rig = CellRig(sample, channel, chamber, press)
    check_temperature(rig, temperature)
    pressure_MPa = pressure if pressure is not None else sample.pressure_MPa
    if pressure_MPa is None:
        raise BadInput(
            f"sample {sample.name} has no pressure_MPa: add it to the sample in the station file, or give "
            "pressure='5 MPa'"
        )
    if log_every > rest:
        raise BadInput(
            f"log_every={log_every:g} s: the press must be read in the rests of {rest:g} s, where cells are "
            "compared; give a shorter interval, or a longer rest"
        )
    arguments = {**locals(), "pressure": pressure_MPa}
    text = cycle_text(
        sample, charge_at=rate, discharge_at=rate, rest_s=rest, cut_off=cut_off, charge_to=charge_to,
        discharge_to=discharge_to,
    )  # fmt: skip
    one_cycle = prepare(rig, text, log_s=log_every)
    pressing = prepare(rig, _hold_text(pressure_MPa, dwell))
    programs = {f"cycle {number}": one_cycle for number in range(1, cycles + 1)}

    def body() -> PlanGenerator:
        yield from _be_ready(press, ram)
        yield from at_temperature(rig, temperature)
        yield from run(pressing, section="pressing")
        yield from _tell(press, press.hold, _MODES[mode])
        beside = Beside((press,), PRESS_STREAM, log_every)
        for section, program in programs.items():
            yield from run(program, section=section, beside=beside)
        yield from _end(afterwards, press, ram)

    figures = f"{_FIGURES}:swelling"
    everything = {"pressing": pressing, **programs}
    md = {"swelling": {"mode": mode, "thickness_um": thickness}, **(md or {})}
    return (
        yield from cell_run(
            thickness_cycling, rig, arguments, body(), programs=everything, figures=figures, md=md
        )
    )


@plan
def pressure_sweep_conductivity(
    sample: ElectrolyteSample,
    *,
    pressures: Pressures = written("50 MPa, 100 MPa, 150 MPa, 200 MPa, 300 MPa"),
    ways: Ways = RISING,
    constraint_pressure: Annotated[
        float | None,
        Quantity("MPa", "at which each is measured after it was pressed; else as pressed", 0.01, 5000),
    ] = None,
    true_density: Density = None,
    dwell: Dwell = written("10 min"),
    highest_frequency: Highest = written("1 MHz"),
    lowest_frequency: Lowest = written("10 Hz"),
    log_every: LogEvery = written("10 s"),
    afterwards: Afterwards = RELEASE,
    potentiostat: Potentiostat = FROM_STATION,
    press: Press = FROM_STATION,
    ram: LinearActuator = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Press a powder step by step, and measure its thickness and its conductivity at each pressure.

    With `constraint_pressure`, each pressure presses, and thickness and spectrum are taken at that lower one.
    If the press has no reference position it finds it first, provided that it presses on nothing. The gauge's
    zero must be that of the closed empty press. In the end the press opens, unless it is to hold.

    Streams: press (force, pressure, thickness during each dwell), points (one event a pressure: section,
    pressure and thickness when it was measured), open_circuit, impedance, spectra, with sections as
    "100 MPa, rising". Figures of merit: conductivity (at the highest pressure; of the grains and of what
    is between them), conductivity_100MPa_rising and so on; with `true_density` porosity likewise,
    conductivity_exponent and conductivity_dense; falling too: conductivity_hysteresis at the lowest
    pressure.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.3(1): porosity 1 - m / (rho A h) and conductivity
    h / (R A) of argyrodite against moulding and constraint pressure (requirements G1, G2, C3, C7, GT-25).
    Pressures and times are not given there.
    """
    points = _points(pressures, ways)
    if constraint_pressure is not None and (ways == BOTH or constraint_pressure > min(pressures)):
        raise BadInput(
            f"constraint_pressure={constraint_pressure:g} MPa: measure at one not above "
            f"{min(pressures):g} MPa, the lowest of the pressures, and with ways={RISING!r}"
        )
    area_mm2 = 100.0 * sample.area_cm2
    highest_Hz = min(highest_frequency, potentiostat.sweep_frequency.limits[1])
    arguments = {**locals(), "highest_frequency": highest_Hz}
    if lowest_frequency >= highest_Hz:
        raise BadInput(f"lowest_frequency={lowest_frequency:g} Hz: it must be below {highest_Hz:g} Hz")
    sweep = ImpedanceSweep(highest_Hz, lowest_frequency, 10, amplitude_V=0.01, bias_V=0.0)
    if sweep.points < FEWEST_POINTS:
        raise BadInput(
            f"{highest_Hz:g} to {lowest_frequency:g} Hz are {sweep.points} points: a conductivity needs "
            f"{FEWEST_POINTS}; give a lower lowest_frequency"
        )
    _check_limits(press, potentiostat, pressures, area_mm2, sweep)
    marks = Marks("points", press.clock, {"asked": "MPa", "pressure": "MPa", "thickness": "mm"})

    def measured(section: str, pressure_MPa: float, way: str) -> PlanGenerator:
        yield from move(press, pressure_MPa, area_mm2=area_mm2)
        yield from log_for([press], PRESS_STREAM, log_every, dwell)
        if constraint_pressure is not None:
            yield from move(press, constraint_pressure, area_mm2=area_mm2)
        before = yield from _look(press)
        yield from checked_spectrum(potentiostat, sweep, press=press, section=section)
        after = yield from _look(press)
        pressure, thickness = (math.fsum(pair) / 2 for pair in zip(before, after, strict=True))
        yield from marks.write(
            section=section, way=way, asked=pressure_MPa, pressure=pressure, thickness=thickness
        )

    def body() -> PlanGenerator:
        yield from _be_ready(press, ram)
        for pressure_MPa, way in points:
            yield from measured(_section(pressure_MPa, way), pressure_MPa, way)
        yield from _end(afterwards, press, ram)

    metadata = {
        "plan_name": "pressure_sweep_conductivity",
        "sample": sample.metadata(),
        "arguments": describe_arguments(pressure_sweep_conductivity, arguments),
        "devices": {"channel": potentiostat.name, "press": press.name},
        "pressures": _of_points(points),
        "true_density_g_cm3": true_density,
        FIGURES_KEY: f"{_FIGURES}:compaction",
        **({"lot_id": sample.lot_id} if sample.lot_id else {}),
        **(md or {}),
    }
    safe = finalize_wrapper(plain_failures(body()), lambda: make_safe([potentiostat, press]))
    return (yield from run_wrapper(safe, md=metadata))


# ------------------------------------------------------------------------------------------------ pressures


def _points(pressures: Sequence[float], ways: str) -> list[tuple[float, str]]:
    """Pressures in the order of measurement, each with its way.

    Raises
    ------
    BadInput
        If they do not rise, or there are too few to come back to.
    """
    if any(after <= before for before, after in itertools.pairwise(pressures)):
        told = ", ".join(f"{pressure:g}" for pressure in pressures)
        raise BadInput(f"pressures={told} MPa: give each once, from low to high")
    if ways == BOTH and len(pressures) < 2:
        raise BadInput(f"pressures: {ways} needs at least two of them; or give ways={RISING!r}")
    points = [(pressure, "rising") for pressure in pressures]
    return points + ([(pressure, "falling") for pressure in pressures[-2::-1]] if ways == BOTH else [])


def _section(pressure_MPa: float, way: str) -> str:
    return f"{pressure_MPa:g} MPa, {way}"


def _of_points(points: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    return [
        {"section": _section(pressure, way), "pressure_MPa": pressure, "way": way} for pressure, way in points
    ]


def _hold_text(pressure_MPa: float, dwell_s: float) -> str:
    return f"Hold pressure at {pressure_MPa!r} MPa within {100 * _TOLERANCE:g} % for {dwell_s!r} s"


def _check_limits(
    press: Press,
    potentiostat: Potentiostat,
    pressures: Sequence[float],
    area_mm2: float,
    sweep: ImpedanceSweep,
) -> None:
    """Refuse what press or potentiostat do not do, all at once, before anything is sent."""

    def problems() -> Iterator[str]:
        for pressure_MPa in pressures:
            try:
                press.force_setpoint.check_value(pressure_MPa * area_mm2 / 1e3)
            except LimitError as error:
                yield f"pressures={pressure_MPa:g} MPa on {area_mm2:.4g} mm2: {error}"
        try:
            potentiostat.check_task(sweep)
        except LimitError as error:
            yield str(error)

    if found := list(problems()):
        raise BadInput("\n".join(found))


# ---------------------------------------------------------------------------------------------- the press


class _Verb:
    """A verb of a device other than its `set`, for bluesky something that is set."""

    parent = None

    def __init__(self, device: LabDevice, verb: Callable[..., Any]) -> None:
        self.device = device  # whose it is, for those who ask which plan has it
        self.name = device.name
        self.set = verb


def _tell(device: LabDevice, verb: Callable[..., Any], target: Any) -> PlanGenerator:
    """Have a device do what its `set` does not, and wait until it is done."""
    told: Any = _Verb(device, verb)
    yield from move(told, target)


def _be_ready(press: Press, ram: LinearActuator) -> PlanGenerator:
    """Have the ram find its reference position, if it has none and the press presses on nothing.

    Finding it opens the press, which is no harm then; a pressed cell would lose its pressure.

    Raises
    ------
    NotOpen
        If it presses.
    """
    yield from _read(ram)
    if ram.homed.get():
        return
    yield from _read(press)
    if not abs(press.force.get()) < _UNLOADED_kN:
        raise NotOpen(
            f"{ram.name} has no reference position, and {press.name} presses with "
            f"{press.force.get():.3g} kN: finding it takes the load off the sample; if that may be, run "
            "open_press"
        )
    yield from _tell(ram, _home(ram), 0.0)


def _open(press: Press, ram: LinearActuator) -> PlanGenerator:
    """Open the press as far as it goes."""
    yield from _read(ram)
    if ram.homed.get():
        yield from _tell(press, press.set_displacement, ram.target.limits[0])
    else:
        yield from _tell(ram, _home(ram), 0.0)


def _home(ram: LinearActuator) -> Callable[[float], Any]:
    return lambda position_mm: ram.home()  # its reference is position 0


def _end(afterwards: str, press: Press, ram: LinearActuator) -> PlanGenerator:
    """Open the press if asked for; else it stands still where it is, with its load, when it is made safe."""
    if afterwards == RELEASE:
        yield from _open(press, ram)


def _look(press: Press) -> PlanGenerator:
    """Pressure (MPa) and thickness (mm) now."""
    yield from _read(press)
    return float(press.pressure.get()), float(press.thickness.get())


def _read(device: LabDevice) -> PlanGenerator:
    yield Msg("checkpoint")
    yield Msg("trigger", device, group=f"read-{device.name}")
    yield Msg("wait", None, group=f"read-{device.name}", timeout=_READ_TIMEOUT_S)
