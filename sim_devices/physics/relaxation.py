"""The one differential equation most of the laboratory obeys: dv/dt = gain - loss * v, solved exactly."""

from math import exp, expm1


def relax(value: float, *, loss_per_s: float, gain_per_s: float, dt_s: float) -> tuple[float, float]:
    """Advance ``dv/dt = gain - loss * v`` exactly over an interval of constant coefficients.

    Parameters
    ----------
    value : float
        Value at the start, in any unit.
    loss_per_s : float
        First-order loss coefficient, 1/s, >= 0.
    gain_per_s : float
        Constant gain, unit of value per s.
    dt_s : float
        Interval, s, >= 0.

    Returns
    -------
    end, mean : float
        Value at the end of the interval, and its time average over the interval.
    """
    if dt_s < 0.0:
        raise ValueError(f"dt_s must not be negative, got {dt_s}")
    if dt_s == 0.0:
        return value, value
    x = loss_per_s * dt_s
    net_gain = gain_per_s - loss_per_s * value
    if x < _SERIES_BELOW:
        # The closed form of the mean loses its digits to cancellation here.
        return (
            value + net_gain * dt_s * (1.0 - x / 2.0 + x * x / 6.0),
            value + net_gain * dt_s * (0.5 - x / 6.0 + x * x / 24.0),
        )
    end = value - net_gain / loss_per_s * expm1(-x)
    mean = value + net_gain / loss_per_s * (1.0 + expm1(-x) / x)
    return end, mean


_SERIES_BELOW = 1e-4


class LagCascade:
    """Two first-order lags in series: a body driven to a level, and a sensor that follows the body.

    Parameters
    ----------
    body_time_constant_s, sensor_time_constant_s : float
        Time constants, s; they must differ (equal ones have another closed form).
    """

    def __init__(self, body_time_constant_s: float, sensor_time_constant_s: float) -> None:
        if body_time_constant_s == sensor_time_constant_s:
            raise ValueError("the body and its sensor need different time constants")
        self._body_s = body_time_constant_s
        self._sensor_s = sensor_time_constant_s
        self._gain = body_time_constant_s / (body_time_constant_s - sensor_time_constant_s)

    def advance(self, body: float, sensor: float, level: float, dt_s: float) -> tuple[float, float]:
        """Body and sensor values after ``dt_s`` seconds at a constant driving level.

        Parameters
        ----------
        body, sensor, level : float
            Values at the start and the level the body tends to, all in one unit.
        dt_s : float
            Interval, s.

        Returns
        -------
        body, sensor : float
            Values at the end of the interval.
        """
        body_decay = exp(-dt_s / self._body_s)
        sensor_decay = exp(-dt_s / self._sensor_s)
        away = body - level
        slow_part = away * self._gain
        return (
            level + away * body_decay,
            level + slow_part * body_decay + (sensor - level - slow_part) * sensor_decay,
        )
