"""A bath thermostat with its heater, its refrigerator and a cell in its loop.

The bath is one heat capacity with a linear loss to the room. Far from the set point the controller asks for
all the power there is; near it the bath approaches exponentially. So the bath always relaxes to some level
with some time constant, and every interval is solved exactly.
"""

from __future__ import annotations

import math

import numpy as np

from sim_devices.physics.constants import ROOM_TEMPERATURE_C
from sim_devices.physics.relaxation import LagCascade
from ssblab.clock import Clock

__all__ = ["Circulator"]


class Circulator:
    """A heating and refrigerating circulator.

    Whoever drives it tells so by `control`; the state follows when somebody looks.

    Parameters
    ----------
    clock : Clock
        Its time moves the bath.
    generator : numpy.random.Generator
        Of the sensors' noise.
    heat_capacity_J_K : float
        Of bath and fluid; placeholder, plausible 5000 to 40000 (1 to 10 L).
    loss_W_K : float
        To the room; placeholder, plausible 1 to 10.
    heating_W, cooling_W : float
        Largest powers; placeholders, plausible 1000 to 3000 and 100 to 1000.
    control_time_s : float
        With which the controller lets the bath approach the set point; placeholder, plausible 30 to 300.
    external_time_s : float
        Lag of the cell behind the bath; placeholder, plausible 30 to 1000.
    noise_K : float
        Standard deviation of a reading; placeholder, plausible 0.002 to 0.02.

    Attributes
    ----------
    low_level : bool
        Too little fluid in the bath, as a fault.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator,
        *,
        heat_capacity_J_K: float = 12_000.0,
        loss_W_K: float = 4.0,
        heating_W: float = 2000.0,
        cooling_W: float = 400.0,
        control_time_s: float = 60.0,
        external_time_s: float = 150.0,
        noise_K: float = 0.005,
    ) -> None:
        self._clock = clock
        self._generator = generator
        self._heat_capacity_J_K = heat_capacity_J_K
        self._loss_W_K = loss_W_K
        self._powers_W = (-cooling_W, heating_W)
        self._control_time_s = control_time_s
        self._external_time_s = external_time_s
        self._noise_K = noise_K
        self._now_s = clock.monotonic()
        self._bath_C = self._external_C = ROOM_TEMPERATURE_C
        self._target_C: float | None = None
        self.low_level = False

    def control(self, target_C: float | None) -> None:
        """Bring the bath to a temperature and hold it there; None: neither heat nor cool."""
        self._advance()
        self._target_C = target_C

    def bath_C(self) -> float:
        """Temperature at the working sensor."""
        self._advance()
        return self._bath_C + self._noise()

    def external_C(self) -> float:
        """Temperature at the sensor in the cell."""
        self._advance()
        return self._external_C + self._noise()

    def power_percent(self) -> float:
        """Heating power as a share of the largest; negative: cooling power."""
        self._advance()
        if self._target_C is None:
            return 0.0
        power_W = self._saturated_W(self._target_C)
        if power_W is None:
            power_W = self._approach_W(self._target_C)
        return 100.0 * power_W / (self._powers_W[1] if power_W >= 0 else -self._powers_W[0])

    def _noise(self) -> float:
        return float(self._generator.normal(0.0, self._noise_K)) if self._noise_K else 0.0

    def _advance(self) -> None:
        now_s = self._clock.monotonic()
        left_s, self._now_s = now_s - self._now_s, now_s
        while left_s > 0:
            level_C, time_s, longest_s = self._phase()
            step_s = min(left_s, longest_s)
            lags = LagCascade(time_s, self._external_time_s)
            self._bath_C, self._external_C = lags.advance(self._bath_C, self._external_C, level_C, step_s)
            left_s -= step_s

    def _phase(self) -> tuple[float, float, float]:
        """Level that the bath tends to now, with which time constant, and for how long that holds."""
        loose_s = self._heat_capacity_J_K / self._loss_W_K
        if self._target_C is None:
            return ROOM_TEMPERATURE_C, loose_s, math.inf
        power_W = self._saturated_W(self._target_C)
        if power_W is None:
            return self._target_C, self._control_time_s, math.inf
        level_C = self._level_C(power_W)
        edge_C = self._target_C - math.copysign(self._band_K(power_W, self._target_C), power_W)
        if (edge_C - self._bath_C) * (level_C - edge_C) <= 0:  # the set point is out of reach
            return level_C, loose_s, math.inf
        past_the_edge_s = 1e-6  # rounding must not leave the bath at the edge for ever
        to_edge_s = loose_s * math.log((level_C - self._bath_C) / (level_C - edge_C))
        return level_C, loose_s, to_edge_s + past_the_edge_s

    def _saturated_W(self, target_C: float) -> float | None:
        """All the power in the direction of the set point, or None near it."""
        away_K = target_C - self._bath_C
        power_W = self._powers_W[1] if away_K > 0 else self._powers_W[0]
        return power_W if abs(away_K) > self._band_K(power_W, target_C) else None

    def _approach_W(self, target_C: float) -> float:
        rate_K_s = (target_C - self._bath_C) / self._control_time_s
        power_W = self._heat_capacity_J_K * rate_K_s + self._loss_W_K * (self._bath_C - ROOM_TEMPERATURE_C)
        return min(max(power_W, self._powers_W[0]), self._powers_W[1])

    def _band_K(self, power_W: float, target_C: float) -> float:
        """Distance within which the power suffices for the exponential approach."""
        excess_W = power_W - self._loss_W_K * (target_C - ROOM_TEMPERATURE_C)
        return max(
            0.0, math.copysign(1.0, power_W) * excess_W * self._control_time_s / self._heat_capacity_J_K
        )

    def _level_C(self, power_W: float) -> float:
        return ROOM_TEMPERATURE_C + power_W / self._loss_W_K
