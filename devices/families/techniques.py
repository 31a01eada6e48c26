"""Techniques of a potentiostat: what it is told to measure, with numbers that are checked at once.

Currents are positive where they charge the cell: into the working electrode, which is the cell's positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

__all__ = [
    "ConstantCurrent",
    "ConstantPotential",
    "CyclicVoltammetry",
    "GalvanostaticImpedanceSweep",
    "ImpedanceSweep",
    "LinearSweep",
    "OpenCircuit",
    "Technique",
]

#: A setting of the instrument, and a value that it must allow.
Applied = tuple[str, float]

_CYCLES = 10.0  # settling and averaging of one point, in periods of its frequency: an upper bound
_POINT_S = 3.0  # ranging and computing of one point: an upper bound
_MARGIN_S = 30.0


def _check(technique: Any, *positive: str) -> None:
    """Raise ValueError unless all numbers are finite, and those named above 0."""
    for item in fields(technique):
        value = getattr(technique, item.name)
        if value is None and item.default is None:
            continue
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            raise ValueError(f"{item.name} must be a number, not {value!r}")
    for name in positive:
        if not getattr(technique, name) > 0:
            raise ValueError(f"{name} must be a number above 0, not {getattr(technique, name)!r}")


class _Spectrum:
    """What both kinds of impedance spectra have in common."""

    frequency_start_Hz: float
    frequency_end_Hz: float
    points_per_decade: float

    @property
    def points(self) -> int:
        """Number of frequencies, first and last among them."""
        decades = abs(math.log10(self.frequency_start_Hz / self.frequency_end_Hz))
        return max(2, round(decades * self.points_per_decade) + 1)

    def frequencies_Hz(self) -> list[float]:
        """Frequencies in the order of measurement."""
        step = (self.frequency_end_Hz / self.frequency_start_Hz) ** (1 / (self.points - 1))
        return [self.frequency_start_Hz * step**i for i in range(self.points)]

    def longest_s(self) -> float:
        """Longest time that the spectrum can take: cycles per frequency, ranging, and a margin."""
        return sum(map(_longest_point_s, self.frequencies_Hz())) + _MARGIN_S

    def silence_s(self, rows: int) -> float:
        """Longest time that the next frequency can take."""
        return _longest_point_s(self.frequencies_Hz()[min(rows, self.points - 1)]) + _MARGIN_S

    def _check_frequencies(self) -> None:
        if self.frequency_start_Hz == self.frequency_end_Hz:
            raise ValueError("a spectrum goes from one frequency to another")


@dataclass(frozen=True)
class ImpedanceSweep(_Spectrum):
    """A potentiostatic impedance spectrum.

    Attributes
    ----------
    frequency_start_Hz, frequency_end_Hz : float
        First and last frequency; the steps between are equal on a logarithmic scale.
    points_per_decade : float
        Frequencies in a decade.
    amplitude_V : float
        Root mean square of the alternating voltage, as PalmSens and most makers count it.
    bias_V : float
        Direct voltage of the working against the reference electrode.

    Raises
    ------
    ValueError
        If a frequency, the number of points or the amplitude is not above 0, or the bias no number.
    """

    frequency_start_Hz: float
    frequency_end_Hz: float
    points_per_decade: float
    amplitude_V: float
    bias_V: float

    def __post_init__(self) -> None:
        _check(self, "frequency_start_Hz", "frequency_end_Hz", "points_per_decade", "amplitude_V")
        self._check_frequencies()

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        peak_V = math.sqrt(2) * self.amplitude_V
        return [
            ("sweep_frequency", self.frequency_start_Hz),
            ("sweep_frequency", self.frequency_end_Hz),
            ("sweep_amplitude", self.amplitude_V),
            ("applied_potential", self.bias_V),
            ("applied_potential", self.bias_V - peak_V),
            ("applied_potential", self.bias_V + peak_V),
        ]

    def configuration(self) -> dict[str, float]:
        """What its stream says of it."""
        return {"applied_potential": self.bias_V, "sweep_amplitude": self.amplitude_V}


@dataclass(frozen=True)
class GalvanostaticImpedanceSweep(_Spectrum):
    """A galvanostatic impedance spectrum.

    Attributes
    ----------
    frequency_start_Hz, frequency_end_Hz, points_per_decade : float
        As of an `ImpedanceSweep`.
    amplitude_A : float
        Root mean square of the alternating current.
    bias_A : float
        Direct current.
    potential_min_V, potential_max_V : float
        Window that the cell's potential may not leave.
    """

    frequency_start_Hz: float
    frequency_end_Hz: float
    points_per_decade: float
    amplitude_A: float
    bias_A: float
    potential_min_V: float
    potential_max_V: float

    def __post_init__(self) -> None:
        _check(self, "frequency_start_Hz", "frequency_end_Hz", "points_per_decade", "amplitude_A")
        self._check_frequencies()
        _check_window(self.potential_min_V, self.potential_max_V)

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        peak_A = math.sqrt(2) * self.amplitude_A
        return [
            ("sweep_frequency", self.frequency_start_Hz),
            ("sweep_frequency", self.frequency_end_Hz),
            ("sweep_current_amplitude", self.amplitude_A),
            ("applied_current", self.bias_A),
            ("applied_current", self.bias_A - peak_A),
            ("applied_current", self.bias_A + peak_A),
            ("applied_potential", self.potential_min_V),
            ("applied_potential", self.potential_max_V),
        ]

    def configuration(self) -> dict[str, float]:
        """What its stream says of it."""
        return {"applied_current": self.bias_A, "sweep_current_amplitude": self.amplitude_A}


class _Course:
    """What techniques that record a course in time have in common."""

    interval_s: float

    @property
    def points(self) -> int | None:
        """None: limits may end the course before its time."""
        return None

    def duration(self) -> float:
        """Time that the course takes if no limit ends it, s."""
        raise NotImplementedError

    def longest_s(self) -> float:
        """Longest time that the course can take."""
        return 1.02 * self.duration() + _MARGIN_S

    def silence_s(self, rows: int) -> float:
        """Longest time between two rows."""
        return 2.0 * self.interval_s + _MARGIN_S

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        return []

    def configuration(self) -> dict[str, float]:
        """What its stream says of it."""
        return {}


@dataclass(frozen=True)
class OpenCircuit(_Course):
    """The potential at rest, cell off.

    Attributes
    ----------
    duration_s, interval_s : float
        How long, and one reading each.
    """

    duration_s: float
    interval_s: float

    def __post_init__(self) -> None:
        _check(self, "duration_s", "interval_s")

    def duration(self) -> float:
        """Time that the course takes, s."""
        return self.duration_s


@dataclass(frozen=True)
class ConstantPotential(_Course):
    """A potential held (chronoamperometry).

    Attributes
    ----------
    potential_V : float
        Working against reference electrode.
    duration_s, interval_s : float
        How long, and one reading each.
    current_limit_A : float
        Largest current, of either sign, for ranging and compliance.
    end_current_A : float or None
        The hold ends when the current's magnitude falls below this.
    """

    potential_V: float
    duration_s: float
    interval_s: float
    current_limit_A: float
    end_current_A: float | None = None

    def __post_init__(self) -> None:
        ends = () if self.end_current_A is None else ("end_current_A",)
        _check(self, "duration_s", "interval_s", "current_limit_A", *ends)

    def duration(self) -> float:
        """Time that the course takes if no limit ends it, s."""
        return self.duration_s

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        return [("applied_potential", self.potential_V), ("applied_current", self.current_limit_A)]

    def configuration(self) -> dict[str, float]:
        """What its stream says of it."""
        return {"applied_potential": self.potential_V}


@dataclass(frozen=True)
class ConstantCurrent(_Course):
    """A current held (chronopotentiometry), until the potential leaves its window.

    Attributes
    ----------
    current_A : float
        Positive charges the cell.
    duration_s, interval_s : float
        How long, and one reading each.
    potential_min_V, potential_max_V : float
        The technique ends when the potential leaves this window.
    """

    current_A: float
    duration_s: float
    interval_s: float
    potential_min_V: float
    potential_max_V: float

    def __post_init__(self) -> None:
        _check(self, "duration_s", "interval_s")
        _check_window(self.potential_min_V, self.potential_max_V)

    def duration(self) -> float:
        """Time that the course takes if no limit ends it, s."""
        return self.duration_s

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        return [
            ("applied_current", self.current_A),
            ("applied_potential", self.potential_min_V),
            ("applied_potential", self.potential_max_V),
        ]

    def configuration(self) -> dict[str, float]:
        """What its stream says of it."""
        return {"applied_current": self.current_A}


@dataclass(frozen=True)
class LinearSweep(_Course):
    """A potential swept once (linear sweep voltammetry).

    Attributes
    ----------
    start_V, end_V : float
        Potentials, working against reference electrode.
    step_V, rate_V_s : float
        Height of a step, and the rate of the sweep; one reading a step.
    current_limit_A : float
        Largest current, of either sign, for ranging and compliance.
    """

    start_V: float
    end_V: float
    step_V: float
    rate_V_s: float
    current_limit_A: float

    def __post_init__(self) -> None:
        _check(self, "step_V", "rate_V_s", "current_limit_A")
        if self.start_V == self.end_V:
            raise ValueError("a sweep goes from one potential to another")

    @property
    def interval_s(self) -> float:  # type: ignore[override]
        """Time of a step."""
        return self.step_V / self.rate_V_s

    def duration(self) -> float:
        """Time that the sweep takes, s."""
        return abs(self.end_V - self.start_V) / self.rate_V_s

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        return [
            ("applied_potential", self.start_V),
            ("applied_potential", self.end_V),
            ("applied_current", self.current_limit_A),
        ]


@dataclass(frozen=True)
class CyclicVoltammetry(_Course):
    """A potential swept to and fro between two vertices.

    Attributes
    ----------
    start_V, vertex_1_V, vertex_2_V : float
        The sweep goes from the start to vertex 1, to vertex 2, and back to the start.
    step_V, rate_V_s : float
        Height of a step, and the rate of the sweep; one reading a step.
    cycles : int
        How often.
    current_limit_A : float
        Largest current, of either sign, for ranging and compliance.
    """

    start_V: float
    vertex_1_V: float
    vertex_2_V: float
    step_V: float
    rate_V_s: float
    cycles: int
    current_limit_A: float

    def __post_init__(self) -> None:
        _check(self, "step_V", "rate_V_s", "cycles", "current_limit_A")
        if self.cycles != int(self.cycles):
            raise ValueError(f"cycles must be a whole number, not {self.cycles!r}")
        if self.vertex_1_V == self.vertex_2_V:
            raise ValueError("the two vertices must differ")

    @property
    def interval_s(self) -> float:  # type: ignore[override]
        """Time of a step."""
        return self.step_V / self.rate_V_s

    def duration(self) -> float:
        """Time that all cycles take, s."""
        way_V = (
            abs(self.vertex_1_V - self.start_V)
            + abs(self.vertex_2_V - self.vertex_1_V)
            + abs(self.start_V - self.vertex_2_V)
        )
        return self.cycles * way_V / self.rate_V_s

    def applies(self) -> list[Applied]:
        """What it applies to the cell."""
        return [
            ("applied_potential", self.start_V),
            ("applied_potential", self.vertex_1_V),
            ("applied_potential", self.vertex_2_V),
            ("applied_current", self.current_limit_A),
        ]


Technique = (
    OpenCircuit
    | ConstantPotential
    | ConstantCurrent
    | LinearSweep
    | CyclicVoltammetry
    | ImpedanceSweep
    | GalvanostaticImpedanceSweep
)


def _check_window(low_V: float, high_V: float) -> None:
    if not low_V < high_V:
        raise ValueError(f"potential_max_V must be above potential_min_V, not {low_V!r} to {high_V!r}")


def _longest_point_s(frequency_Hz: float) -> float:
    return _CYCLES / frequency_Hz + _POINT_S
