"""What an electrochemical H2S meter makes of its gas: lag, drift, cross-sensitivity, noise, range."""

from math import log

import numpy as np

from sim_devices.physics.relaxation import relax


class ElectrochemicalSensor:
    """Electrochemical H2S sensor with a first-order response.

    The drift rate is drawn once from the generator at construction, so that a sensor's history is fixed by
    its seed and not by how often it is advanced; noise is drawn at each reading.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of the drift rate and of the reading noise.
    full_scale_ppm : float
        Readings end here. Placeholder, plausible 10 to 100.
    t90_s : float
        Time to 90 % of a step, s. Placeholder, plausible 20 to 60 (data sheets of electrochemical H2S cells).
    noise_ppm : float
        Standard deviation of one reading, ppm. Placeholder, plausible 0.005 to 0.05.
    drift_sd_ppm_day : float
        Standard deviation of the drift rate over a lot of sensors, ppm/day. Placeholder, plausible 0.01 to
        0.1.
    water_ppm_per_ppm : float
        False H2S reading per water content, ppm/ppm. Placeholder, plausible 0 to 1e-4.

    Attributes
    ----------
    response_ppm : float
        Lagged true concentration the sensing electrode sees, ppm.
    zero_error_ppm : float
        Drift accumulated since construction or the last `zero`, ppm.
    """

    UNDER_RANGE_FRACTION = 0.05
    """A reading may fall this part of full scale below zero, so that noise does not shift a zero."""

    def __init__(
        self,
        generator: np.random.Generator,
        *,
        full_scale_ppm: float = 10.0,
        t90_s: float = 30.0,
        noise_ppm: float = 0.01,
        drift_sd_ppm_day: float = 0.03,
        water_ppm_per_ppm: float = 2.0e-5,
    ) -> None:
        self._generator = generator
        self._rate_per_s = log(10.0) / t90_s
        self.full_scale_ppm = full_scale_ppm
        self.noise_ppm = noise_ppm
        self.water_ppm_per_ppm = water_ppm_per_ppm
        self.drift_ppm_s = drift_sd_ppm_day * float(generator.standard_normal()) / 86_400.0
        self.response_ppm = 0.0
        self.zero_error_ppm = 0.0

    def advance(self, dt_s: float, *, h2s_mole_fraction: float, water_mole_fraction: float = 0.0) -> None:
        """Advance exactly over an interval of constant gas composition.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        h2s_mole_fraction, water_mole_fraction : float
            Composition at the sensor (means over the interval when they vary).
        """
        level_ppm = 1e6 * (h2s_mole_fraction + self.water_ppm_per_ppm * water_mole_fraction)
        self.response_ppm, _ = relax(
            self.response_ppm,
            loss_per_s=self._rate_per_s,
            gain_per_s=self._rate_per_s * level_ppm,
            dt_s=dt_s,
        )
        self.zero_error_ppm += self.drift_ppm_s * dt_s

    def zero(self) -> None:
        """Take the present response as zero, as an operator does in clean gas."""
        self.zero_error_ppm = -self.response_ppm

    def read_ppm(self) -> float:
        """One reading, ppm: lagged, drifted, noisy, held within the range."""
        noise_ppm = self.noise_ppm * float(self._generator.standard_normal())
        raw_ppm = self.response_ppm + self.zero_error_ppm + noise_ppm
        return min(max(raw_ppm, -self.UNDER_RANGE_FRACTION * self.full_scale_ppm), self.full_scale_ppm)
