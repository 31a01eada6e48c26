"""How long exchanges with an instrument take, and how far its clock is off."""

from __future__ import annotations

import math

from ssblab.clock import Clock

__all__ = ["InstrumentClock", "RoundTrip"]

_WEIGHT = 0.1  # of the newest exchange in the mean
_DRIFT = 15e-6  # of a clock between two looks at it: frequency tolerance PHI of RFC 5905 (NTP)


class RoundTrip:
    """Time from the first byte of a question to the last of its answer.

    Attributes
    ----------
    shortest_s : float
        The shortest so far: that of the wire. NaN before the first exchange.
    mean_s : float
        Mean in which an exchange counts for a tenth, and earlier ones ever less.
    """

    def __init__(self) -> None:
        self.shortest_s = self.mean_s = math.nan

    def note(self, seconds: float) -> None:
        """Take one exchange into account."""
        if math.isnan(self.mean_s):
            self.shortest_s = self.mean_s = seconds
        else:
            self.shortest_s = min(self.shortest_s, seconds)
            self.mean_s += _WEIGHT * (seconds - self.mean_s)


class InstrumentClock:
    """By how much an instrument's clock is ahead of the laboratory's, from moments that both have dated.

    Each moment bounds it from both sides, and all bounds hold together. Between moments they grow apart by
    what clocks drift. Where they contradict each other the clock was set, and the newest counts alone.

    Parameters
    ----------
    resolution_s : float
        The instrument tells its time cut to this.
    """

    def __init__(self, clock: Clock, resolution_s: float) -> None:
        self._clock = clock
        self._resolution_s = resolution_s
        self._low_s, self._high_s = -math.inf, math.inf
        self._seen_s = 0.0

    def compare(self, told: float, earliest: float, latest: float) -> None:
        """Take a moment into account.

        Parameters
        ----------
        told : float
            When it was, as the instrument says (s since 1970).
        earliest, latest : float
            Between which times of `Clock.now` it was: that of a question and of its answer, say.
        """
        low_s, high_s = told - latest, told + self._resolution_s - earliest
        if low_s > high_s:
            return  # the laboratory's own clock was set meanwhile: this tells nothing
        known_low_s, known_high_s = self._bounds()
        self._low_s, self._high_s = max(low_s, known_low_s), min(high_s, known_high_s)
        if self._low_s > self._high_s:
            self._low_s, self._high_s = low_s, high_s
        self._seen_s = self._clock.monotonic()

    def offset(self) -> tuple[float, float]:
        """By how much it is ahead, and how far that may be off in either direction (s); NaN if not known."""
        low_s, high_s = self._bounds()
        if math.isinf(low_s):
            return math.nan, math.nan
        return (low_s + high_s) / 2, (high_s - low_s) / 2

    def _bounds(self) -> tuple[float, float]:
        drift_s = _DRIFT * (self._clock.monotonic() - self._seen_s)
        return self._low_s - drift_s, self._high_s + drift_s
