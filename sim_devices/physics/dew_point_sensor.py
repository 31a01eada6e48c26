"""A polymer or mirror dew-point sensor: it follows slowly, is a little off, and is a little noisy."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["DewPointSensor"]


class DewPointSensor:
    """First-order lag in dew point, with a fixed calibration error and noise of each reading.

    Parameters
    ----------
    generator : numpy.random.Generator
        Draws the calibration error once and the noise at each reading.
    dew_point_C : float
        Where it starts.
    time_constant_s : float
        Placeholder, plausible 5 (wet side) to 60 (dry side).
    calibration_sd_K : float
        Spread of the calibration error over a lot of transmitters; placeholder, plausible 0.1 to 1 (makers
        state accuracies of 2 K).
    noise_K : float
        Standard deviation of one reading; placeholder, plausible 0.02 to 0.1.
    """

    def __init__(
        self,
        generator: np.random.Generator,
        dew_point_C: float,
        *,
        time_constant_s: float = 15.0,
        calibration_sd_K: float = 0.2,
        noise_K: float = 0.03,
    ) -> None:
        self._generator = generator
        self._time_constant_s = time_constant_s
        self._noise_K = noise_K
        self.calibration_error_K = calibration_sd_K * float(generator.standard_normal())
        self.followed_C = dew_point_C

    def advance(self, dt_s: float, *, dew_point_C: float) -> None:
        """Advance over an interval; `dew_point_C` is the true dew point at its end."""
        self.followed_C += (dew_point_C - self.followed_C) * -math.expm1(-dt_s / self._time_constant_s)

    def read_C(self) -> float:
        """One reading, degC."""
        noise_K = self._noise_K * float(self._generator.standard_normal())
        return self.followed_C + self.calibration_error_K + noise_K
