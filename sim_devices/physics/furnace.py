"""The sample oven: heater, heat loss, a sensor that lags, and the temperature controller that drives it."""

from dataclasses import dataclass

from sim_devices.physics.constants import ROOM_TEMPERATURE_C
from sim_devices.physics.relaxation import LagCascade


@dataclass
class Furnace:
    """One heat capacity with a linear loss to the room; exact for constant heater power.

    Parameters
    ----------
    heat_capacity_J_K : float
        Placeholder, plausible 500 to 5000 (small oven with sample holder).
    loss_W_K : float
        Heat loss per kelvin above the room; placeholder, plausible 0.5 to 5. Radiation is taken into it, as
        the oven is used below about 300 degC.
    heater_power_W : float
        Power at a fraction of 1; placeholder, plausible 200 to 2000.
    sensor_time_constant_s : float
        Lag of the control thermocouple; placeholder, plausible 2 to 30.
    ambient_C : float
        Room temperature.
    temperature_C, sensor_C : float
        True state: temperature of the sample zone, and the sensor's lagged one (an instrument adds its own
        error).
    """

    heat_capacity_J_K: float = 1500.0
    loss_W_K: float = 1.5
    heater_power_W: float = 600.0
    sensor_time_constant_s: float = 8.0
    ambient_C: float = ROOM_TEMPERATURE_C
    temperature_C: float = ROOM_TEMPERATURE_C
    sensor_C: float = ROOM_TEMPERATURE_C

    def __post_init__(self) -> None:
        self._lags = LagCascade(self.heat_capacity_J_K / self.loss_W_K, self.sensor_time_constant_s)

    def advance(self, dt_s: float, *, power_fraction: float) -> None:
        """Advance exactly over an interval of constant heater power.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        power_fraction : float
            Heater power, 0 to 1 of ``heater_power_W``; values outside are held to the range.
        """
        power_W = min(max(power_fraction, 0.0), 1.0) * self.heater_power_W
        self.temperature_C, self.sensor_C = self._lags.advance(
            self.temperature_C, self.sensor_C, self.ambient_C + power_W / self.loss_W_K, dt_s
        )


class ControlledFurnace:
    """A furnace under a sampled PI controller that ramps its working setpoint to the target.

    The controller acts at multiples of its period whatever the intervals asked for, so one long `advance` and
    many short ones give the same history. One hour costs a few milliseconds.

    Parameters
    ----------
    furnace : Furnace
        The furnace driven.
    proportional_per_K : float
        Power fraction per kelvin of error; placeholder, plausible 0.01 to 0.2.
    integral_time_s : float
        Reset time, s; placeholder, plausible 50 to 500.
    period_s : float
        Control period, s; placeholder, plausible 0.1 to 2.
    """

    def __init__(
        self,
        furnace: Furnace,
        *,
        proportional_per_K: float = 0.1,
        integral_time_s: float = 200.0,
        period_s: float = 1.0,
    ) -> None:
        self.furnace = furnace
        self.proportional_per_K = proportional_per_K
        self.integral_time_s = integral_time_s
        self.period_s = period_s
        self.working_setpoint_C = furnace.sensor_C
        self.power_fraction = 0.0
        self._integral_fraction = 0.0
        self._until_update_s = 0.0

    def advance(self, dt_s: float, *, target_C: float, ramp_C_s: float, heater_enabled: bool = True) -> None:
        """Advance furnace and controller over an interval of constant target and ramp.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        target_C : float
            Setpoint the ramp ends at, degC; a target below the present temperature cools by loss alone.
        ramp_C_s : float
            Ramp rate of the working setpoint, degC/s, up or down.
        heater_enabled : bool
            False cuts the power and lets the working setpoint follow the sensor.
        """
        remaining_s = dt_s
        while remaining_s > 0.0:
            if self._until_update_s <= _ROUNDING_S:
                self._update(target_C, ramp_C_s * self.period_s, heater_enabled)
                self._until_update_s += self.period_s
            step_s = min(self._until_update_s, remaining_s)
            self.furnace.advance(step_s, power_fraction=self.power_fraction)
            self._until_update_s -= step_s
            remaining_s -= step_s

    def _update(self, target_C: float, ramp_step_C: float, heater_enabled: bool) -> None:
        """One controller action at the start of a period."""
        if not heater_enabled:
            self.working_setpoint_C = self.furnace.sensor_C
            self.power_fraction = self._integral_fraction = 0.0
            return
        distance_C = target_C - self.working_setpoint_C
        self.working_setpoint_C += min(max(distance_C, -ramp_step_C), ramp_step_C)
        error_K = self.working_setpoint_C - self.furnace.sensor_C
        integral = self._integral_fraction + (
            self.proportional_per_K * error_K * self.period_s / self.integral_time_s
        )
        wanted = self.proportional_per_K * error_K + integral
        self.power_fraction = min(max(wanted, 0.0), 1.0)
        # Integrate only while the heater can follow: otherwise a long ramp would wind the integral up.
        if wanted == self.power_fraction:
            self._integral_fraction = integral


_ROUNDING_S = 1e-9
"""Time steps add up to a control period only within rounding."""
