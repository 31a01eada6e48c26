"""Figures of merit of a moisture exposure, from what was recorded and nothing else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssblab.analysis.impedance import CircuitFit, fit_circuit, lin_kk
from ssblab.analysis.moisture import (
    H2SMeasurement,
    conductivity,
    conductivity_retention,
    dew_point_control,
    exposure_time_in_band,
    h2s_rates,
    h2s_total,
    recovery_of_added_resistance,
    resistance_increase,
    water_dose,
)
from ssblab.catalog import RunData
from ssblab.quantities import BadInput, Value, parse

__all__ = ["MoistureRun", "figures_of_merit"]

logger = logging.getLogger(__name__)

_FLOW_ACCURACY_BEFORE = 0.006  # of runs whose start document does not say it: all had an Alicat MC
_PRESSURE_Pa = 101325.0
_PRESSURE_UNCERTAINTY_Pa = 1500.0  # of the weather at sea level; the box's pressure is not measured
_SMOOTHING_S = 300.0
_DELAY_S = 90.0  # three times the T90 of the sensor: vessel, tubes and sensor have followed by then
_STATES = ("before", "after", "heated")
_VALIDITY_RESIDUAL = 0.01


class MoistureRun:
    """A recorded exposure, seen with the names of the plan instead of those of the station's devices."""

    def __init__(self, run: RunData) -> None:
        self.run = run
        self.sample: dict[str, Any] = run.start["sample"]

    def column(self, stream: str, role: str, signal: str) -> NDArray[Any]:
        """Readings of a device's signal in a stream, by the device's role in the plan."""
        return np.asarray(self.run.streams[stream][f"{self.run.start['devices'][role]}_{signal}"])

    def time_s(self, stream: str) -> NDArray[np.float64]:
        """Event times of a stream, s since 1970."""
        return np.asarray(self.run.streams[stream]["time"], dtype=float)

    @property
    def dew_point_setpoint_C(self) -> float:
        """What the dew point was asked to be."""
        return parse(self.run.start["arguments"]["dew_point"], "degC", name="dew_point")

    def spectrum(self, state: str) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Frequencies (Hz) and impedances (ohm) of the points that the potentiostat calls sound."""
        stream = f"impedance_{state}"
        sound = self.column(stream, "potentiostat", "status") == "ok"
        impedance = self.column(stream, "potentiostat", "z_real") + 1j * self.column(
            stream, "potentiostat", "z_imag"
        )
        return self.column(stream, "potentiostat", "frequency")[sound], impedance[sound]

    @cached_property
    def fits(self) -> dict[str, CircuitFit]:
        """Circuits fitted to the whole spectra that there are, by state: before, after, heated."""
        fits = {}
        for state in _STATES:
            if f"impedance_{state}" in self.run.streams:
                try:
                    fits[state] = fit_circuit(*self.spectrum(state))
                except BadInput as error:
                    logger.info("run %s: spectrum %s left out: %s", self.run.start["uid"], state, error)
        return fits

    @cached_property
    def h2s(self) -> H2SMeasurement:
        """The H2S record of exposure and purge, with its zero."""
        zero = _sound(self.column("zero", "h2s", "concentration"), self.column("zero", "h2s", "quality"))
        if len(zero) < 3:
            raise BadInput(f"{len(zero)} sound readings of the H2S zero: at least 3 are needed")
        parts = [stream for stream in ("exposure", "purge") if stream in self.run.streams]
        flows = {
            "exposure": lambda: self.column("exposure", "mfc", "flow"),
            "purge": lambda: np.full(len(self.time_s("purge")), self.run.start["purge_flow_mL_min"]),
        }
        readings = [
            np.where(
                self.column(part, "h2s", "quality") == "ok",
                self.column(part, "h2s", "concentration"),
                math.nan,
            )
            for part in parts
        ]
        return H2SMeasurement(
            time_s=np.concatenate([self.time_s(part) for part in parts]),
            h2s_ppb=np.concatenate(readings),
            flow_mL_min=np.concatenate([flows[part]() for part in parts]),
            mass_g=self.sample["mass_g"],
            zero_ppb=float(np.mean(zero)),
            zero_uncertainty_ppb=float(np.std(zero, ddof=1) / math.sqrt(len(zero))),
            mass_uncertainty_g=self.sample.get("mass_uncertainty_g"),
            calibration_relative_uncertainty=self.run.start["h2s_relative_accuracy"] / math.sqrt(3),
            flow_relative_uncertainty=self.flow_relative_uncertainty,
        )

    @property
    def flow_relative_uncertainty(self) -> float:
        """Relative standard uncertainty of the flow: the accuracy is taken as a rectangular distribution."""
        accuracy: float = self.run.start.get("flow_relative_accuracy", _FLOW_ACCURACY_BEFORE)
        return accuracy / math.sqrt(3)


def _sound(values: NDArray[Any], quality: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values[(quality == "ok") & np.isfinite(values)], dtype=float)


def figures_of_merit(run: RunData) -> list[Value]:
    """Compute all figures of merit that the recorded part of a run allows.

    Parameters
    ----------
    run : RunData
        Of the plan `moisture_exposure`, whole or broken off.

    Returns
    -------
    list of Value
        H2S rates and totals, water dose, dew-point control, conductivities, recoveries. A group whose
        streams were not recorded is left out; why is logged.
    """
    seen = MoistureRun(run)
    found: list[Value] = []
    groups: tuple[Callable[[MoistureRun], Iterable[Value]], ...] = (
        _recoveries,
        _conductivities,
        _gas,
        _air,
        _validity,
    )
    for group in groups:
        try:
            found += group(seen)
        except (KeyError, BadInput) as error:
            logger.info("run %s: %s left out: %s", run.start["uid"], group.__name__.strip("_"), error)
    return found


def _recoveries(run: MoistureRun) -> Iterable[Value]:
    before, after = (run.fits[state].r_total for state in ("before", "after"))
    increase = resistance_increase(before, after)
    if "heated" not in run.fits:
        return [increase]
    heated = run.fits["heated"].r_total
    return [
        recovery_of_added_resistance(before, after, heated),
        conductivity_retention(before, heated),
        increase,
    ]


def _conductivities(run: MoistureRun) -> Iterable[Value]:
    area_cm2, diameter_mm = run.sample["area_cm2"], run.sample["diameter_mm"]
    diameter_uncertainty = run.sample.get("diameter_uncertainty_mm")
    area_uncertainty = (
        None if diameter_uncertainty is None else 2 * area_cm2 * diameter_uncertainty / diameter_mm
    )
    at = run.run.start["arguments"]["measure_at"]
    for state, fit in run.fits.items():
        value = conductivity(
            fit,
            thickness_mm=run.sample["thickness_mm"],
            area_cm2=area_cm2,
            thickness_uncertainty_mm=run.sample.get("thickness_uncertainty_mm"),
            area_uncertainty_cm2=area_uncertainty,
        )
        yield replace(value, name=f"conductivity_{state}", definition=f"{value.definition}; at {at}")


def _gas(run: MoistureRun) -> Iterable[Value]:
    exposed = run.time_s("exposure")
    volume, share = h2s_total(run.h2s, sulfur_mol_per_g=run.sample["sulfur_mol_per_g"])
    rates = h2s_rates(
        run.h2s,
        exposure_start_s=float(exposed[0]),
        exposure_end_s=float(exposed[-1]),
        smoothing_s=min(_SMOOTHING_S, (exposed[-1] - exposed[0]) / 4),
        delay_s=min(_DELAY_S, (exposed[-1] - exposed[0]) / 4),
    )
    return [*rates, replace(volume, name="h2s_total"), replace(share, name="h2s_total_of_sulfur")]


def _air(run: MoistureRun) -> Iterable[Value]:
    time_s, dew_point_C = run.time_s("exposure"), run.column("exposure", "box", "dew_point")
    uncertainty_K = run.run.start["dew_point_accuracy_K"] / math.sqrt(3)
    dose, dose_per_g = water_dose(
        time_s,
        dew_point_C,
        run.column("exposure", "mfc", "flow"),
        pressure_Pa=_PRESSURE_Pa,
        mass_g=run.sample["mass_g"],
        dew_point_uncertainty_K=uncertainty_K,
        pressure_uncertainty_Pa=_PRESSURE_UNCERTAINTY_Pa,
        flow_relative_uncertainty=run.flow_relative_uncertainty,
        mass_uncertainty_g=run.sample.get("mass_uncertainty_g"),
    )
    band: dict[str, Any] = {
        "set_point_C": run.dew_point_setpoint_C,
        "dew_point_uncertainty_K": uncertainty_K,
        "half_width_K": run.run.start["dew_point_tolerance_K"],
    }
    in_band = exposure_time_in_band(time_s, dew_point_C, **band)
    return [dose, dose_per_g, in_band, *dew_point_control(time_s, dew_point_C, **band)]


def _validity(run: MoistureRun) -> Iterable[Value]:
    for state in run.fits:
        result = lin_kk(*run.spectrum(state))
        yield Value(
            f"kramers_kronig_residual_{state}",
            result.rms_residual,
            "1",
            None,
            "root mean square of the relative residuals of a linear Kramers-Kronig test (Schoenleber et al. "
            f"2014); below {_VALIDITY_RESIDUAL:g} the cell was linear and at rest",
        )
