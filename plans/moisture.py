"""Exposure of a sulfide electrolyte to conditioned moist air, and what vacuum heating brings back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from bluesky.preprocessors import finalize_wrapper, run_wrapper
from ophyd.utils import LimitError

from devices.families.furnace import Furnace
from devices.families.gas_sensor import GasSensor
from devices.families.mass_flow_controller import MassFlowController
from devices.families.potentiostat import Potentiostat
from devices.families.techniques import ImpedanceSweep
from devices.families.vacuum_gauge import VacuumGauge
from devices.humidity_box import HumidityBox
from devices.instrument import LabDevice
from devices.reaction_vessel import ReactionVessel
from plans.arguments import FROM_STATION, PlanGenerator, Quantity, describe_arguments, plan, written
from plans.stubs import log, log_for, make_safe, measure, move, move_and_log, plain_failures
from ssblab.analysis.moist_air import water_mole_fraction
from ssblab.quantities import BadInput
from ssblab.results import FIGURES_KEY
from ssblab.samples import ElectrolyteSample

__all__ = ["ConditionsNotHeld", "SensorNotReady", "VacuumLost", "moisture_exposure"]

_DAY_S = 86400.0
_ZERO_PERIOD_S = 10.0
_ZERO_S = 300.0  # of dry purge gas at the sensor: what it reads then is its zero
_LONGEST_EXPOSURE = 3.0  # times what was asked for; a box that needs longer is out of band most of the time
_GENTLE_RAMP_K_min = 5.0
_MEASURE_TOLERANCE_K = 0.15  # the conductivity of a sulfide changes by about 4 % a kelvin
_MEASURE_SETTLE_S = 600.0
_PUMP_DOWN_S = 3600.0
_PUMP_DOWN_PERIOD_S = 5.0
_HEATING_PERIOD_S = 30.0
_VACUUM_MARGIN = 10.0  # outgassing may raise the pressure on heating; ten times the limit is a leak
_MOLAR_VOLUME_cm3_mol = 24465.4  # ideal gas at 25 degC, 101.325 kPa: the standard conditions of the flow
_BOX_PRESSURE_Pa = (
    101325.0  # the box is open to the room through its relief; the weather is in the uncertainty
)
_HIGHEST_Hz = 1e6  # separates the bulk of a sulfide pellet best; many potentiostats end at 200 kHz
_LOWEST_Hz = 1.0


class ConditionsNotHeld(RuntimeError):
    """Dew point or flow were out of their bands for so long that the exposure was given up."""


class SensorNotReady(RuntimeError):
    """The H2S sensor gives no sound reading, so that the sample was not exposed."""


class VacuumLost(RuntimeError):
    """The pressure was not reached, or did not stay low, so that heating was given up."""


DewPoint = Annotated[float, Quantity("degC", "dew point of the air, over ice", -50, -10)]
Exposure = Annotated[float, Quantity("s", "time within the band of the dew point", 60, 30 * _DAY_S)]
Flow = Annotated[float, Quantity("mL/min", "standard flow through the vessel", 10, 1e5)]
WaterDose = Annotated[float | None, Quantity("mmol", "end sooner at this water dose", 0)]
H2STotal = Annotated[float | None, Quantity("cm3/g", "end sooner at this H2S total", 0)]
Purge = Annotated[float, Quantity("s", "dry purge after exposure", 60, _DAY_S)]
Heating = Annotated[float | None, Quantity("degC", "of vacuum heating; else the sample's own", 30, 600)]
Soak = Annotated[float, Quantity("s", "time at the heating temperature", 60, 7 * _DAY_S)]
Ramp = Annotated[float, Quantity("K/min", "heating rate", 0.1, 50)]
Vacuum = Annotated[float, Quantity("Pa", "pressure below which heating may start", 1e-4, 1e4)]
MeasureAt = Annotated[float, Quantity("degC", "temperature of all impedance spectra", 25, 100)]
LogEvery = Annotated[float, Quantity("s", "period of logging during exposure", 1, 3600)]


@plan
def moisture_exposure(
    sample: ElectrolyteSample,
    *,
    dew_point: DewPoint = written("-20 degC"),
    exposure: Exposure = written("2 h"),
    flow: Flow = written("500 mL/min"),
    stop_at_water_dose: WaterDose = None,
    stop_at_h2s_total: H2STotal = None,
    purge: Purge = written("10 min"),
    heating: Heating = None,
    soak: Soak = written("1 h"),
    ramp: Ramp = written("5 K/min"),
    vacuum: Vacuum = written("20 Pa"),
    measure_at: MeasureAt = written("30 degC"),
    log_every: LogEvery = written("10 s"),
    box: HumidityBox = FROM_STATION,
    vessel: ReactionVessel = FROM_STATION,
    mfc: MassFlowController = FROM_STATION,
    h2s: GasSensor = FROM_STATION,
    furnace: Furnace = FROM_STATION,
    gauge: VacuumGauge = FROM_STATION,
    potentiostat: Potentiostat = FROM_STATION,
    md: dict[str, Any] | None = None,
) -> PlanGenerator:
    """Expose a pellet to moist air, and measure what it costs and what vacuum heating brings back.

    Impedance before; the box brought to its dew point with the vessel bypassed, and the H2S sensor's zero
    taken; conditioned air through the vessel while H2S, dew point, flow and temperature are logged (time
    out of the band does not count); bypass and dry purge; impedance after; vacuum heating (pressure limit
    first, ramp, soak, cool under vacuum); impedance after heating. All spectra at one temperature. Whatever
    way it ends: vessel bypassed and purged, pump and heater off, flow stopped, cell off.

    Streams: impedance_before, conditioning, zero, exposure, purge, impedance_after, heating,
    impedance_heated. Figures of merit: `plans.moisture_figures`.

    Source: NEDO SOLiD-EV final report (2022), section 3.1.1(2)(e): dew points -10 to -50 degC held within
    2 degC, exposure at -20 degC, vacuum heating at 170 degC (argyrodite) and 100 degC (Li3PS4-LiI). Times,
    flow and pressure are not given there and are ours.
    """
    heating_C = heating if heating is not None else sample.vacuum_heating_C
    if heating_C is None:
        raise BadInput(
            f"sample {sample.name} has no vacuum_heating_C: add it to the sample in the station file, "
            "or give heating='170 degC'"
        )
    if log_every > exposure / 10:
        raise BadInput(f"log_every={log_every:g} s: give at most a tenth of the exposure of {exposure:g} s")
    values = {**locals(), "heating": heating_C}
    rig = _Rig(box, vessel, mfc, h2s, furnace, gauge, potentiostat)
    sweep = ImpedanceSweep(
        frequency_start_Hz=min(_HIGHEST_Hz, potentiostat.sweep_frequency.limits[1]),
        frequency_end_Hz=_LOWEST_Hz,
        points_per_decade=10,
        amplitude_V=0.01,
        bias_V=0.0,
    )
    _check_limits(rig, dew_point, flow, (heating_C, measure_at), ramp, sweep)
    metadata = {
        "plan_name": "moisture_exposure",
        "sample": sample.metadata(),
        "arguments": describe_arguments(moisture_exposure, values),
        "devices": {role: device.name for role, device in vars(rig).items()},
        FIGURES_KEY: "plans.moisture_figures:figures_of_merit",
        "h2s_relative_accuracy": h2s.relative_accuracy,
        "flow_relative_accuracy": mfc.relative_accuracy,
        "dew_point_accuracy_K": box.accuracy_K,
        "dew_point_tolerance_K": box.tolerance_K,
        "purge_flow_mL_min": vessel.purge_flow.get(),
        **(md or {}),
    }

    def body() -> PlanGenerator:
        yield from move(vessel, "purged")
        yield from _spectrum_at(rig, measure_at, sweep, "impedance_before")
        zero_ppb = yield from _condition(rig, dew_point, flow, log_every)
        yield from move(vessel, "exposed")
        limits = (exposure, stop_at_water_dose, stop_at_h2s_total)
        counted = _Exposure(rig, dew_point, flow, zero_ppb, limits, sample.mass_g)
        yield from log([h2s, box, mfc, vessel, furnace], "exposure", log_every, counted.goes_on, counted.add)
        yield from move(vessel, "purged")
        yield from log_for([h2s, vessel, box, mfc], "purge", log_every, purge)
        yield from make_safe([box, mfc])
        yield from _spectrum_at(rig, measure_at, sweep, "impedance_after")
        yield from _heat(rig, heating_C, ramp, soak, vacuum, measure_at)
        yield from move(vessel, "purged")
        yield from _spectrum_at(rig, measure_at, sweep, "impedance_heated")

    safe = finalize_wrapper(plain_failures(body()), lambda: make_safe(rig.in_safe_order()))
    return (yield from run_wrapper(safe, md=metadata))


@dataclass(frozen=True)
class _Rig:
    """The devices of one exposure."""

    box: HumidityBox
    vessel: ReactionVessel
    mfc: MassFlowController
    h2s: GasSensor
    furnace: Furnace
    gauge: VacuumGauge
    potentiostat: Potentiostat

    def in_safe_order(self) -> tuple[LabDevice, ...]:
        """What acts on the sample first, what prepares for it after."""
        return (self.furnace, self.vessel, self.mfc, self.box, self.potentiostat)


def _check_limits(
    rig: _Rig,
    dew_point_C: float,
    flow_mL_min: float,
    temperatures_C: tuple[float, ...],
    ramp_K_min: float,
    sweep: ImpedanceSweep,
) -> None:
    """Check every set point against its device before anything moves."""
    checks = [
        (rig.box.dew_point_setpoint, dew_point_C),
        (rig.mfc.flow_setpoint, flow_mL_min),
        *[(rig.furnace.temperature_setpoint, temperature_C) for temperature_C in temperatures_C],
        *[(rig.furnace.ramp_rate, rate_K_min) for rate_K_min in (ramp_K_min, _GENTLE_RAMP_K_min)],
        (rig.potentiostat.sweep_frequency, sweep.frequency_start_Hz),
        (rig.potentiostat.sweep_frequency, sweep.frequency_end_Hz),
        (rig.potentiostat.sweep_amplitude, sweep.amplitude_V),
    ]
    problems = []
    for setting, value in checks:
        try:
            setting.check_value(value)
        except LimitError as error:
            problems.append(f"  {error}")
    if problems:
        raise BadInput("outside the limits of the station's devices:\n" + "\n".join(problems))


def _spectrum_at(rig: _Rig, temperature_C: float, sweep: ImpedanceSweep, stream: str) -> PlanGenerator:
    """Bring the pellet to the temperature of measurement and take a spectrum there."""
    yield from move(
        rig.furnace,
        temperature_C,
        ramp_K_min=_GENTLE_RAMP_K_min,
        tolerance_K=_MEASURE_TOLERANCE_K,
        settle_s=_MEASURE_SETTLE_S,
    )
    yield from measure(rig.potentiostat, sweep, stream)


def _condition(rig: _Rig, dew_point_C: float, flow_mL_min: float, period_s: float) -> PlanGenerator:
    """Bring the air to its dew point past the vessel, then take the sensor's zero in dry purge gas.

    Returns
    -------
    float
        Mean of the sound zero readings, ppb.
    """
    zeros: list[float] = []

    def note_zero() -> None:
        if rig.h2s.quality.get() == "ok":
            zeros.append(float(rig.h2s.concentration.get()))

    yield from move(rig.mfc, flow_mL_min)
    logged = [rig.box, rig.mfc, rig.h2s]
    yield from move_and_log(rig.box, dew_point_C, logged, "conditioning", period_s)
    yield from log_for([rig.h2s, rig.box], "zero", _ZERO_PERIOD_S, _ZERO_S, note_zero)
    if rig.h2s.quality.get() != "ok" or not zeros:
        raise SensorNotReady(
            f"{rig.h2s.name}: its reading is {rig.h2s.quality.get()}; a sensor that was just switched on "
            "needs its warm-up. The sample was not exposed"
        )
    return sum(zeros) / len(zeros)


class _Exposure:
    """Counts what an exposure has done so far, from readings, to end it in time."""

    def __init__(
        self,
        rig: _Rig,
        dew_point_C: float,
        flow_mL_min: float,
        zero_ppb: float,
        limits: tuple[float, float | None, float | None],
        mass_g: float,
    ) -> None:
        self._rig = rig
        self._dew_point_C = dew_point_C
        self._flow_mL_min = flow_mL_min
        self._zero_ppb = zero_ppb
        self._wanted_s, self._wanted_mmol, self._wanted_cm3_g = limits
        self._mass_g = mass_g
        self._begin = self._last = rig.box.clock.monotonic()
        self.in_band_s = self.water_dose_mmol = self.h2s_total_cm3_g = 0.0

    def add(self) -> None:
        """Count the time since the last reading with the readings of now; a missing one adds nothing."""
        now = self._rig.box.clock.monotonic()
        step_s, self._last = now - self._last, now
        dew_point_C = self._rig.box.dew_point.get()
        flow_error = abs(self._rig.mfc.flow.get() - self._flow_mL_min)
        held = abs(dew_point_C - self._dew_point_C) <= self._rig.box.tolerance_K
        if held and flow_error <= self._rig.mfc.tolerance_mL_min(self._flow_mL_min):
            self.in_band_s += step_s
        flow_mol = self._rig.mfc.flow.get() / 60.0 / _MOLAR_VOLUME_cm3_mol * step_s
        water_mol = flow_mol * float(water_mole_fraction(dew_point_C, pressure_Pa=_BOX_PRESSURE_Pa))
        h2s_mol = flow_mol * 1e-9 * (self._rig.h2s.concentration.get() - self._zero_ppb)
        if math.isfinite(water_mol):
            self.water_dose_mmol += 1000.0 * water_mol
        if math.isfinite(h2s_mol):
            self.h2s_total_cm3_g += h2s_mol * _MOLAR_VOLUME_cm3_mol / self._mass_g

    def goes_on(self) -> bool:
        """Whether neither time nor a dose has been reached.

        Raises
        ------
        ConditionsNotHeld
            If the time in the band stays far behind the time that passes.
        """
        reached = (
            self.in_band_s >= self._wanted_s
            or (self._wanted_mmol is not None and self.water_dose_mmol >= self._wanted_mmol)
            or (self._wanted_cm3_g is not None and self.h2s_total_cm3_g >= self._wanted_cm3_g)
        )
        passed_s = self._rig.box.clock.monotonic() - self._begin
        if not reached and passed_s > _LONGEST_EXPOSURE * self._wanted_s:
            raise ConditionsNotHeld(
                f"{self._rig.box.name}, {self._rig.mfc.name}: dew point within "
                f"{self._rig.box.tolerance_K:g} K of {self._dew_point_C:g} degC and flow at "
                f"{self._flow_mL_min:g} mL/min for "
                f"{self.in_band_s:.0f} s of {passed_s:.0f} s"
            )
        return not reached


def _heat(
    rig: _Rig, heating_C: float, ramp_K_min: float, soak_s: float, vacuum_Pa: float, cool_to_C: float
) -> PlanGenerator:
    """Evacuate, and only then heat, soak, and cool with the pump running."""
    logged = [rig.furnace, rig.gauge, rig.vessel]
    clock = rig.furnace.clock
    yield from move(rig.vessel, "evacuated")
    begin = clock.monotonic()
    pumping_since = clock.now()

    def above_limit() -> bool:
        if clock.monotonic() - begin > _PUMP_DOWN_S:
            raise VacuumLost(
                f"{rig.gauge.name}: {rig.gauge.pressure.get():.3g} Pa after {_PUMP_DOWN_S / 60:.0f} min "
                f"of pumping, not below {vacuum_Pa:g} Pa; heating was not started"
            )
        # A reading from before pumping, of the last run perhaps, says nothing about this vacuum.
        return rig.gauge.pressure.timestamp <= pumping_since or not _is_below(rig.gauge, vacuum_Pa)

    def check_vacuum() -> None:
        if not _is_below(rig.gauge, _VACUUM_MARGIN * vacuum_Pa):
            raise VacuumLost(
                f"{rig.gauge.name}: {rig.gauge.pressure.get():.3g} Pa ({rig.gauge.quality.get()}) while "
                f"heating, more than {_VACUUM_MARGIN:g} times {vacuum_Pa:g} Pa"
            )

    yield from log(logged, "heating", _PUMP_DOWN_PERIOD_S, above_limit)
    yield from move_and_log(
        rig.furnace, heating_C, logged, "heating", _HEATING_PERIOD_S, check_vacuum, ramp_K_min=ramp_K_min
    )
    yield from log_for(logged, "heating", _HEATING_PERIOD_S, soak_s, check_vacuum)
    yield from move_and_log(
        rig.furnace, cool_to_C, logged, "heating", _HEATING_PERIOD_S, check_vacuum, ramp_K_min=ramp_K_min
    )


def _is_below(gauge: VacuumGauge, pressure_Pa: float) -> bool:
    """Whether the pressure is surely low; a reading that is not sound, under-range among them, is not."""
    return gauge.quality.get() == "ok" and gauge.pressure.get() <= pressure_Pa
