"""How the temperature of some air went, as straight pieces: what stands in the air may follow it later.

The pieces are found by the "swinging door" of process historians: a piece goes on as long as one straight
line stays near all that was noted since it began. Air at rest is one piece, however long.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np

__all__ = ["AirTrace", "straight_s"]

_TOLERANCE_K = 0.005
_KEPT = 10_000  # pieces; who has not looked for longer goes straight to the first of them


def straight_s(bend_K_s2: float) -> float:
    """How long a curve is straight whose second derivative is at most this, s."""
    return math.sqrt(8.0 * _TOLERANCE_K / abs(bend_K_s2)) if bend_K_s2 else math.inf


class AirTrace:
    """Temperatures that were noted.

    Parameters
    ----------
    time_s, air_C : float
        When it begins, and with what.
    """

    def __init__(self, time_s: float, air_C: float) -> None:
        self._times_s, self._temperatures_C = [time_s, time_s], [air_C, air_C]
        self._slopes_K_s = (-math.inf, math.inf)  # that keep the last piece near all that it stands for

    def note(self, time_s: float, air_C: float) -> None:
        """Note a temperature; since the last time, it went straight."""
        if time_s <= self._times_s[-1]:
            return
        if not self._slopes_K_s[0] <= self._slope_K_s(time_s, air_C) <= self._slopes_K_s[1]:
            self._times_s.append(time_s)
            self._temperatures_C.append(air_C)
            self._slopes_K_s = (-math.inf, math.inf)
        self._times_s[-1], self._temperatures_C[-1] = time_s, air_C
        slope_K_s = self._slope_K_s(time_s, air_C)
        leeway_K_s = _TOLERANCE_K / (time_s - self._times_s[-2])
        low_K_s, high_K_s = self._slopes_K_s
        self._slopes_K_s = max(low_K_s, slope_K_s - leeway_K_s), min(high_K_s, slope_K_s + leeway_K_s)
        if len(self._times_s) > _KEPT:
            del self._times_s[: _KEPT // 2], self._temperatures_C[: _KEPT // 2]

    def piece(self, from_s: float, until_s: float) -> tuple[float, float]:
        """End of the straight piece that goes on at a time, and the temperature there.

        Parameters
        ----------
        from_s, until_s : float
            Times; the piece ends at the second at the latest, which must have been noted.

        Returns
        -------
        end_s, air_C : float
            Later than `from_s` where `until_s` is.
        """
        after = min(max(bisect_right(self._times_s, from_s), 1), len(self._times_s) - 1)
        end_s = min(self._times_s[after], until_s)
        line = slice(after - 1, after + 1)
        return end_s, float(np.interp(end_s, self._times_s[line], self._temperatures_C[line]))

    def _slope_K_s(self, time_s: float, air_C: float) -> float:
        """Of a line to a temperature from where the last piece began."""
        return (air_C - self._temperatures_C[-2]) / (time_s - self._times_s[-2])
