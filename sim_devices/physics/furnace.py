"""The sample oven: heater, heat loss, and a sensor that lags."""

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
        self.temperature_C, self.sensor_C = self._lags.advance(
            self.temperature_C, self.sensor_C, self._level_C(power_fraction), dt_s
        )

    def bend_K_s2(self, *, power_fraction: float) -> float:
        """Second derivative of the temperature now, at a heater power as in `advance`; it gets smaller."""
        time_constant_s = self.heat_capacity_J_K / self.loss_W_K
        return (self.temperature_C - self._level_C(power_fraction)) / time_constant_s**2

    def _level_C(self, power_fraction: float) -> float:
        """Temperature at which heating and loss are equal."""
        power_W = min(max(power_fraction, 0.0), 1.0) * self.heater_power_W
        return self.ambient_C + power_W / self.loss_W_K
