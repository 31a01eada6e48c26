"""A climate chamber: its air is driven to a temperature and a humidity, as fast as its machinery can.

Far from its target the air moves at the rate that heater or compressor allow; near it, as a damped second-
order loop, so that it overshoots. What stands in it can follow later how the air went. Relative humidity is
that over liquid water, as humidity sensors are calibrated; the controller moves it with one lag. Without
control the air goes to the room's temperature and vapour pressure. Each of these is solved exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sim_devices.physics.air_trace import AirTrace, straight_s
from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa
from sim_devices.physics.relaxation import relax
from ssblab.clock import Clock

__all__ = ["ClimateChamber"]


class ClimateChamber:
    """The air of a chamber, with the targets that its controller was told.

    Parameters
    ----------
    clock : Clock
        Its time moves the air.
    generator : numpy.random.Generator
        Of the noise of both readings.
    temperature_C, humidity_percent : float
        Of the air at the start.
    heating_K_min, cooling_K_min : float
        Largest rates of the air; placeholders, plausible 1 to 5 (catalogues of 200 to 800 L chambers).
    response_s : float
        1 / natural frequency of the temperature loop near its target; placeholder, plausible 30 to 120. It
        stands for the thermal mass of heater, evaporator and walls.
    damping : float
        Of that loop, below 1; placeholder.
    passive_s : float
        Time constant towards the room's temperature, everything off; placeholder, plausible 1800 to 10000.
    humidity_lag_s : float
        Time constant of controlled humidity; placeholder, plausible 100 to 600.
    leak_s : float
        Time constant of uncontrolled vapour towards the room's; placeholder, plausible 3600 to 50000.
    room_C, room_humidity_percent : float
        Of the room.
    temperature_noise_K, humidity_noise_percent : float
        Standard deviations of single readings.

    Attributes
    ----------
    air_C : float
        True temperature of the air, when it was moved last.
    rate_limits_K_min : tuple of float
        Slower rates up and down that a controller was told.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator,
        *,
        temperature_C: float = 23.0,
        humidity_percent: float = 45.0,
        heating_K_min: float = 3.0,
        cooling_K_min: float = 1.5,
        response_s: float = 60.0,
        damping: float = 0.6,
        passive_s: float = 3600.0,
        humidity_lag_s: float = 240.0,
        leak_s: float = 10_000.0,
        room_C: float = 23.0,
        room_humidity_percent: float = 45.0,
        temperature_noise_K: float = 0.02,
        humidity_noise_percent: float = 0.1,
    ) -> None:
        self._clock = clock
        self._generator = generator
        self.heating_K_min = heating_K_min
        self.cooling_K_min = cooling_K_min
        self.rate_limits_K_min = (math.inf, math.inf)
        self._damping = damping
        self._frequency_per_s = 1.0 / response_s
        self._passive_s = passive_s
        self.humidity_lag_s = humidity_lag_s
        self._leak_s = leak_s
        self._room_C = room_C
        self._room_vapour_Pa = room_humidity_percent / 100.0 * saturation_pressure_liquid_Pa(room_C)
        self._noise = (temperature_noise_K, humidity_noise_percent)
        self._now_s = clock.monotonic()
        self.air_C = temperature_C
        self._rate_K_s = 0.0
        self._vapour_Pa = humidity_percent / 100.0 * saturation_pressure_liquid_Pa(temperature_C)
        self._target_C: float | None = None
        self._target_percent: float | None = None
        self._near = False  # whether the loop has taken over from the full rate
        self._trace = AirTrace(self._now_s, temperature_C)
        self._controllers: list[Callable[[], None]] = []

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have a controller that runs a program brought up to now before a cell follows the air."""
        self._controllers.append(catch_up)

    def control(self, temperature_C: float | None, humidity_percent: float | None) -> None:
        """Drive the air to a temperature and a humidity; None leaves the one or the other alone.

        It holds from the time to which the air was moved last: see `advance_to`.
        """
        if temperature_C != self._target_C:
            self._near = False
        self._target_C = temperature_C
        self._target_percent = humidity_percent

    def temperature_C(self) -> float:
        """Temperature of the air as its sensor reads it, degC."""
        self.advance_to(self._clock.monotonic())
        return self.air_C + self._noise[0] * float(self._generator.standard_normal())

    def humidity_percent(self) -> float:
        """Relative humidity of the air as its sensor reads it, %."""
        self.advance_to(self._clock.monotonic())
        read = self._true_percent() + self._noise[1] * float(self._generator.standard_normal())
        return min(max(read, 0.0), 100.0)

    def heater_percent(self) -> float:
        """Share of the heater's power that moves the air as it moves, and makes up for losses to the room."""
        if self._target_C is None or self.heating_K_min <= 0.0:
            return 0.0
        lost_K_s = (self.air_C - self._room_C) / self._passive_s
        return min(max(100.0 * (self._rate_K_s + lost_K_s) * 60.0 / self.heating_K_min, 0.0), 100.0)

    def humidifier_percent(self) -> float:
        """Share of the humidifier's power; placeholder: proportional to what is missing."""
        if self._target_percent is None:
            return 0.0
        return min(max(10.0 + 5.0 * (self._target_percent - self._true_percent()), 0.0), 100.0)

    def advance_to(self, time_s: float) -> None:
        """Move the air to a monotonic time of the clock; never back.

        A controller that runs a program calls it for each time at which it changed the targets.
        """
        dt_s = time_s - self._now_s
        if dt_s <= 0.0:
            return
        before_percent = self._true_percent()
        while self._now_s < time_s:
            left_s = time_s - self._now_s
            moved_s = min(left_s, self._move_straight(left_s))
            self._now_s = time_s if moved_s == left_s else self._now_s + moved_s
            self._trace.note(self._now_s, self.air_C)
        if self._target_percent is None:
            self._vapour_Pa, _ = relax(
                self._vapour_Pa,
                loss_per_s=1.0 / self._leak_s,
                gain_per_s=self._room_vapour_Pa / self._leak_s,
                dt_s=dt_s,
            )
            saturated_Pa = saturation_pressure_liquid_Pa(self.air_C)  # the rest condenses
            self._vapour_Pa = min(self._vapour_Pa, saturated_Pa)
        else:
            left = math.exp(-dt_s / self.humidity_lag_s)
            percent = self._target_percent + (before_percent - self._target_percent) * left
            self._vapour_Pa = percent / 100.0 * saturation_pressure_liquid_Pa(self.air_C)

    def air_until(self, from_s: float, until_s: float) -> tuple[float, float]:
        """How the air went on from a time; see `sim_devices.physics.cell.Surroundings`."""
        for catch_up in self._controllers:
            catch_up()
        self.advance_to(until_s)
        return self._trace.piece(from_s, until_s)

    def _true_percent(self) -> float:
        return 100.0 * self._vapour_Pa / saturation_pressure_liquid_Pa(self.air_C)

    def _move_straight(self, longest_s: float) -> float:
        """Move the air as far as it goes nearly straight; for how long."""
        if self._target_C is None:
            return self._relax_to_the_room(longest_s)
        return self._approach(self._target_C, longest_s)

    def _relax_to_the_room(self, longest_s: float) -> float:
        away_K = self.air_C - self._room_C
        dt_s = min(longest_s, straight_s(away_K / self._passive_s**2))
        self.air_C = self._room_C + away_K * math.exp(-dt_s / self._passive_s)
        self._rate_K_s = (self._room_C - self.air_C) / self._passive_s
        return dt_s

    def _approach(self, target_C: float, longest_s: float) -> float:
        """Go at full rate, then let the loop take over where its own acceleration begins at zero."""
        away_K = self.air_C - target_C
        up, down = self.rate_limits_K_min
        rate_K_min = min(self.heating_K_min, up) if away_K < 0 else min(self.cooling_K_min, down)
        rate_K_s = rate_K_min / 60.0
        if not self._near:
            taken_over_K = 2.0 * self._damping * rate_K_s / self._frequency_per_s
            ahead_K = abs(away_K) - taken_over_K
            if ahead_K > 0.0:
                ramp_s = ahead_K / rate_K_s if rate_K_s > 0.0 else math.inf
                self._near = ramp_s < longest_s
                self._rate_K_s = -math.copysign(rate_K_s, away_K)
                self.air_C += self._rate_K_s * min(longest_s, ramp_s)
                return min(longest_s, ramp_s)
            self._near = True
        dt_s = min(longest_s, straight_s(self._largest_bend_K_s2(away_K)))
        away_K, self._rate_K_s = self._damped(away_K, self._rate_K_s, dt_s)
        self.air_C = target_C + away_K
        return dt_s

    def _largest_bend_K_s2(self, away_K: float) -> float:
        """Second derivative that the loop may have from now on: its swing only gets smaller."""
        braking_per_s = 2.0 * self._damping * self._frequency_per_s
        return self._frequency_per_s**2 * abs(away_K) + braking_per_s * abs(self._rate_K_s)

    def _damped(self, away_K: float, rate_K_s: float, dt_s: float) -> tuple[float, float]:
        """Solve x'' + 2 d w x' + w^2 x = 0 over an interval, for d below 1."""
        decay_per_s = self._damping * self._frequency_per_s
        swing_per_s = self._frequency_per_s * math.sqrt(1.0 - self._damping**2)
        cosine, sine = math.cos(swing_per_s * dt_s), math.sin(swing_per_s * dt_s)
        other_K = (rate_K_s + decay_per_s * away_K) / swing_per_s
        left = math.exp(-decay_per_s * dt_s)
        x_K = left * (away_K * cosine + other_K * sine)
        swing_K_s = left * swing_per_s * (other_K * cosine - away_K * sine)
        return x_K, swing_K_s - decay_per_s * x_K
