"""Things that stay as they are: what an instrument at them should read is known at any time."""

from __future__ import annotations

import numpy as np

from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa, saturation_pressure_Pa
from ssblab.clock import Clock

__all__ = ["SteadyFlowPath", "SteadyGas", "SteadyPlant", "SteadyVessel"]


class SteadyGas:
    """Moist gas with a trace of another, at rest.

    Parameters
    ----------
    clock, generator
        Not used: nothing changes, and there is no noise.
    dew_point_C : float
        At its own pressure, over ice below 0 degC.
    temperature_C : float
        Of the gas.
    trace_ppm : float
        Of the other gas, by volume.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        dew_point_C: float = -40.0,
        temperature_C: float = 25.0,
        trace_ppm: float = 1.5,
    ) -> None:
        self._dew_point_C = dew_point_C
        self._temperature_C = temperature_C
        self.trace_ppm = trace_ppm

    def dew_point_C(self) -> float:
        """Dew point, over ice below 0 degC."""
        return self._dew_point_C

    def temperature_C(self) -> float:
        """Temperature."""
        return self._temperature_C

    def relative_humidity_percent(self) -> float:
        """Relative humidity over liquid water."""
        vapour_Pa = saturation_pressure_Pa(self._dew_point_C)
        return 100.0 * vapour_Pa / saturation_pressure_liquid_Pa(self._temperature_C)

    def concentration_ppm(self) -> float:
        """Concentration of the trace."""
        return self.trace_ppm

    def concentration_ppb(self) -> float:
        """Concentration of the trace."""
        return 1000.0 * self.trace_ppm


class SteadyFlowPath:
    """A gas line with plenty of gas, whose flow follows the set point at once."""

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        temperature_C: float = 25.0,
        pressure_kPa: float = 150.0,
    ) -> None:
        self._temperature_C = temperature_C
        self._pressure_kPa = pressure_kPa
        self.setpoint_mL_min = 0.0

    def flow_mL_min(self) -> float:
        """Mass flow, at 25 degC and 101.325 kPa."""
        return self.setpoint_mL_min

    def temperature_C(self) -> float:
        """Gas temperature."""
        return self._temperature_C

    def pressure_kPa(self) -> float:
        """Absolute pressure in the controller."""
        return self._pressure_kPa


class SteadyVessel:
    """A vessel that holds its vacuum."""

    def __init__(
        self, clock: Clock, generator: np.random.Generator | None = None, *, pressure_Pa: float = 5.0
    ) -> None:
        self._pressure_Pa = pressure_Pa

    def pressure_Pa(self) -> float:
        """Absolute pressure."""
        return self._pressure_Pa


class SteadyPlant:
    """Loads on relays, and contacts that are open.

    Attributes
    ----------
    loads : dict
        Whether each load that was ever switched is on, by channel.
    """

    def __init__(self, clock: Clock, generator: np.random.Generator | None = None) -> None:
        self.loads: dict[int, bool] = {}

    def switch(self, channel: int, on: bool) -> None:
        """Switch a load."""
        self.loads[channel] = on

    def input(self, channel: int) -> bool:
        """State of a contact."""
        return False
