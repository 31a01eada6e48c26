"""A furnace on its own: it moves itself to the present when its controller, or anybody, looks at it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sim_devices.physics.air_trace import AirTrace, straight_s
from sim_devices.physics.furnace import Furnace
from ssblab.clock import Clock

__all__ = ["Oven"]

_CONTROL_STEP_S = 1.0  # of a controller that acts


class Heater(Protocol):
    """The controller that drives the heater."""

    @property
    def acts(self) -> bool:
        """Whether the heater power may change by itself."""

    @property
    def output_fraction(self) -> float:
        """Heater power, 0 to 1."""

    def advance(self, dt_s: float, temperature_C: float) -> None:
        """Act once at the end of an interval."""


class Oven:
    """One furnace with one controller; what stands in it can follow later how its temperature went.

    Parameters
    ----------
    clock : Clock
        Its time moves the oven.
    generator : numpy.random.Generator
        Of the sensor's noise.
    noise_K : float
        Standard deviation of a look at the sensor; placeholder, plausible 0 to 0.1.
    heat_capacity_J_K, loss_W_K, heater_power_W : float
        As of `sim_devices.physics.furnace.Furnace`.

    Attributes
    ----------
    furnace : Furnace
        The hidden truth, as it was when somebody last looked.
    heater_works : bool
        False: the heater is burnt through.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator,
        *,
        noise_K: float = 0.0,
        heat_capacity_J_K: float = 1500.0,
        loss_W_K: float = 1.5,
        heater_power_W: float = 600.0,
    ) -> None:
        self._clock = clock
        self._generator = generator
        self._noise_K = noise_K
        self._now_s = clock.monotonic()
        self._heater: Heater | None = None
        self.heater_works = True
        self.furnace = Furnace(
            heat_capacity_J_K=heat_capacity_J_K, loss_W_K=loss_W_K, heater_power_W=heater_power_W
        )
        self._trace = AirTrace(self._now_s, self.furnace.temperature_C)

    @property
    def air_C(self) -> float:
        """True temperature of the sample zone, when it was moved last."""
        return self.furnace.temperature_C

    def attach(self, controller: Heater) -> None:
        """Let a controller drive the heater."""
        self._heater = controller

    def temperature_C(self) -> float:
        """Temperature at the sensor now, with its noise."""
        self.advance_to(self._clock.monotonic())
        return self._look()

    def advance_to(self, time_s: float) -> None:
        """Move the oven to a monotonic time of the clock, with its controller; never back."""
        while (left_s := time_s - self._now_s) > 0:
            acts = self._heater is not None and self._heater.acts
            step_s = min(left_s, _CONTROL_STEP_S) if acts else left_s
            self._step(step_s)

    def air_until(self, from_s: float, until_s: float) -> tuple[float, float]:
        """How the sample zone went on from a time; see `sim_devices.physics.cell.Surroundings`."""
        self.advance_to(until_s)
        return self._trace.piece(from_s, until_s)

    def _step(self, step_s: float) -> None:
        power = self._heater.output_fraction if self._heater and self.heater_works else 0.0
        left_s = step_s
        while left_s > 0.0:
            moved_s = min(left_s, straight_s(self.furnace.bend_K_s2(power_fraction=power)))
            self.furnace.advance(moved_s, power_fraction=power)
            left_s -= moved_s
            self._trace.note(self._now_s + step_s - left_s, self.furnace.temperature_C)
        self._now_s += step_s
        if self._heater:
            self._heater.advance(step_s, self._look())

    def _look(self) -> float:
        noise_K = self._generator.normal(0.0, self._noise_K) if self._noise_K else 0.0
        return self.furnace.sensor_C + float(noise_K)
