"""The control loop inside a Eurotherm controller: ramp, proportional and integral action, limits, alarms.

The same in the models, whatever protocol their port speaks. Assumed, for want of the handbooks' other pages:
a broken sensor reads as the top of the input range and takes the heater power to 0; the working set point
starts at the temperature when the loop is closed; changes between manual and automatic are bumpless; alarm 1
is a high alarm; after a power cut the loop comes back in manual with the heater off, set points, rate and
limits are kept.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

__all__ = ["EurothermLoop", "HeatedChamber", "NotInThisMode", "OutOfLimits"]

_OVER_RANGE = 0.05  # share of the span above the range at which the status word tells it


class OutOfLimits(Exception):
    """A value outside what the parameter may be; it stays as it was."""


class NotInThisMode(Exception):
    """A parameter that can't be written in the mode that the loop is in."""


class HeatedChamber(Protocol):
    """The furnace with the controller's sensor in it."""

    def temperature_C(self) -> float:
        """Temperature at the sensor now; whoever integrates the furnace brings it up to now before."""


@runtime_checkable
class SelfMovingChamber(Protocol):
    """A chamber that integrates itself, and must know for that who heats it."""

    def attach(self, controller: EurothermLoop) -> None:
        """Take `controller.output_fraction` as heater power, and call its `advance`."""


class EurothermLoop:
    """Ramps its working set point to the target and drives a heater by proportional and integral action.

    Whoever integrates the furnace calls `advance`: in steps of about a second while `acts` is true, in one
    step of any length while it is not, because the heater power is constant then.

    Attributes
    ----------
    sensor_broken : bool
        A fault of the sensor.
    working_setpoint_C : float
        On the ramp.
    output_fraction : float
        Heater power, 0 to 1.
    alarm_C : float
        Alarm 1 is active above it.
    """

    def start_loop(
        self,
        furnace: HeatedChamber,
        *,
        proportional_band_K: float,
        integral_time_s: float,
        range_C: tuple[float, float],
    ) -> None:
        """Begin in manual mode with the heater off.

        Parameters
        ----------
        furnace : HeatedChamber
            What it controls.
        proportional_band_K : float
            Error that alone gives full power.
        integral_time_s : float
            Time in which a constant error gives as much again by integral action.
        range_C : tuple of float
            Lowest and highest temperature of the sensor input; set-point limits start there.
        """
        self._furnace = furnace
        self._proportional_band_K = proportional_band_K
        self._integral_time_s = integral_time_s
        self._range_low_C, self._range_high_C = range_C
        self._low_limit_C, self._high_limit_C = range_C
        self.alarm_C = self._range_high_C
        self.sensor_broken = False
        self._target_C = self._range_low_C
        self.working_setpoint_C = self._range_low_C
        self._rate_K_min = 0.0
        self.power_on()
        if isinstance(furnace, SelfMovingChamber):
            furnace.attach(self)

    def power_on(self) -> None:
        """Be in manual mode with the heater off."""
        self._manual = True
        self._manual_fraction = self._control_fraction = self._integral_fraction = 0.0

    @property
    def acts(self) -> bool:
        """Whether the heater power may change by itself."""
        return not (self._manual or self.sensor_broken)

    @property
    def output_fraction(self) -> float:
        """Heater power, 0 to 1."""
        if self._manual:
            return self._manual_fraction
        return 0.0 if self.sensor_broken else self._control_fraction

    def advance(self, dt_s: float, temperature_C: float) -> None:
        """Act once at the end of an interval.

        Parameters
        ----------
        dt_s : float
            Since the last action.
        temperature_C : float
            At the sensor now.
        """
        if self._manual:
            self.working_setpoint_C = temperature_C
        elif not self.sensor_broken:
            self._move_setpoint(dt_s)
            self._control(dt_s, self.working_setpoint_C - temperature_C)

    def _move_setpoint(self, dt_s: float) -> None:
        distance_K = self._target_C - self.working_setpoint_C
        step_K = self._rate_K_min / 60.0 * dt_s if self._rate_K_min > 0 else math.inf
        self.working_setpoint_C += min(max(distance_K, -step_K), step_K)

    def _control(self, dt_s: float, error_K: float) -> None:
        proportional = error_K / self._proportional_band_K
        integral = self._integral_fraction + proportional * dt_s / self._integral_time_s
        wanted = proportional + integral
        self._control_fraction = min(max(wanted, 0.0), 1.0)
        if wanted == self._control_fraction:  # a heater at its end would wind the integral up
            self._integral_fraction = integral

    def _read_temperature(self) -> float:
        return self._range_high_C if self.sensor_broken else self._furnace.temperature_C()

    def _read_output(self) -> float:
        return 100.0 * self.output_fraction

    def _status_bits(self) -> dict[int, bool]:
        """Bits of the summary output status word that the loop knows of."""
        temperature_C = self._read_temperature()
        span_C = self._range_high_C - self._range_low_C
        return {
            0: temperature_C > self.alarm_C,
            4: self._manual,
            5: self.sensor_broken,
            10: temperature_C > self._range_high_C + _OVER_RANGE * span_C,
        }

    def _write_target(self, value_C: float) -> None:
        self._target_C = _within(value_C, self._low_limit_C, self._high_limit_C)

    def _write_output(self, percent: float) -> None:
        if not self._manual:
            raise NotInThisMode
        self._manual_fraction = _within(percent, 0.0, 100.0) / 100.0

    def _write_alarm(self, value_C: float) -> None:
        self.alarm_C = _within(value_C, self._range_low_C, self._range_high_C)

    def _write_rate(self, rate_K_min: float) -> None:
        self._rate_K_min = _within(rate_K_min, 0.0, 3000.0)

    def _write_high_limit(self, value_C: float) -> None:
        self._high_limit_C = _within(value_C, self._low_limit_C, self._range_high_C)
        self._target_C = min(self._target_C, self._high_limit_C)

    def _write_low_limit(self, value_C: float) -> None:
        self._low_limit_C = _within(value_C, self._range_low_C, self._high_limit_C)
        self._target_C = max(self._target_C, self._low_limit_C)

    def _write_mode(self, value: float) -> None:
        manual = bool(_within(value, 0, 1))
        if manual and not self._manual:
            self._manual_fraction = self.output_fraction
        elif self._manual and not manual:
            self.working_setpoint_C = self._furnace.temperature_C()
            self._control_fraction = self._integral_fraction = self._manual_fraction
        self._manual = manual


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise OutOfLimits
    return value
