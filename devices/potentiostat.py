"""The family of potentiostats that measure impedance spectra by themselves."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from ophyd.utils import LimitError

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Switch, Text
from devices.status import Status
from ssblab.clock import Timer
from ssblab.links import LinkError

__all__ = ["ImpedancePoint", "ImpedanceSweep", "Potentiostat", "SweepStopped"]

logger = logging.getLogger(__name__)

_CYCLES = 10.0  # settling and averaging of one point, in periods of its frequency: an upper bound
_POINT_S = 3.0  # ranging and computing of one point: an upper bound
_MARGIN_S = 30.0
_LOOKS_PER_SWEEP = 200
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.5, 10.0
_SECURE_S = 5.0  # between two attempts to bring a potentiostat that can't be reached into its safe state


class SweepStopped(RuntimeError):
    """A sweep was ended before its last frequency."""


@dataclass(frozen=True)
class ImpedanceSweep:
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
        for name in ("frequency_start_Hz", "frequency_end_Hz", "points_per_decade", "amplitude_V"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a number above 0, not {value!r}")
        if not math.isfinite(self.bias_V):
            raise ValueError(f"bias_V must be a number, not {self.bias_V!r}")
        if self.frequency_start_Hz == self.frequency_end_Hz:
            raise ValueError("a sweep goes from one frequency to another")

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
        """Longest time that the sweep can take: cycles per frequency, ranging, and a margin."""
        return sum(map(_longest_point_s, self.frequencies_Hz())) + _MARGIN_S


@dataclass(frozen=True)
class ImpedancePoint:
    """One frequency of a spectrum.

    Attributes
    ----------
    time : float
        When the point was complete, s since 1970, from the instrument's own timer.
    frequency_Hz : float
        Frequency applied.
    z_real_ohm, z_imag_ohm : float
        Impedance. The imaginary part is the raw one, Z'': negative for a capacitive cell.
    status : {"ok", "overload", "underload", "timing"}
        Whether the current fitted the range. An overloaded point is kept, but is no impedance.
    """

    time: float
    frequency_Hz: float
    z_real_ohm: float
    z_imag_ohm: float
    status: Literal["ok", "overload", "underload", "timing"]


@dataclass
class _Run:
    """A sweep under way, or the last one."""

    sweep: ImpedanceSweep
    begin: float
    heard: float
    points: list[ImpedancePoint] = field(default_factory=list)
    collected: int = 0
    done: Future[None] = field(default_factory=Future)
    status: Status | None = None
    timer: Timer | None = None


class Potentiostat(Instrument):
    """Measures the potential of a cell at rest and impedance spectra (bluesky flyer).

    The sweep runs in the instrument. `prepare` takes an ImpedanceSweep and checks it, `kickoff` starts it,
    `complete` ends when it has ended, `collect` gives one event a frequency.
    """

    family = "potentiostat"

    potential = Cpt(
        Measured, unit="V", precision=5, kind="hinted", doc="Working against reference electrode, cell off"
    )
    current = Cpt(Measured, unit="A", precision=9, kind="normal", doc="Through the cell; 0 while it is off")
    cell = Cpt(Switch, kind="normal", doc="Cell connected to the potentiostat (1) or not (0)")
    current_range = Cpt(Text, kind="normal", doc="Current range of the last impedance point")
    sweep_amplitude = Cpt(
        Setting, unit="V", precision=4, limits=(0.0, 1.0), kind="config", doc="Alternating voltage, rms"
    )
    sweep_bias = Cpt(
        Setting, unit="V", precision=4, limits=(-10.0, 10.0), kind="config", doc="Direct voltage"
    )
    sweep_frequency = Cpt(
        Setting, unit="Hz", precision=3, limits=(1e-6, 1e7), kind="omitted", doc="Frequency applied last"
    )

    def __init__(self, **kwargs: Any) -> None:
        self._prepared: ImpedanceSweep | None = None
        self._run: _Run | None = None
        self._securing: Timer | None = None
        super().__init__(**kwargs)

    @property
    def sweeping(self) -> bool:
        """Whether a sweep is under way."""
        return self._run is not None and not self._run.done.done()

    def prepare(self, sweep: ImpedanceSweep) -> Status:
        """Take a sweep for the next `kickoff`; the cell stays as it is.

        Its amplitude and bias are configuration of the streams that are declared after this.

        Raises
        ------
        LimitError
            If a frequency, the amplitude or the potential is outside the limits; nothing was sent then.
        RuntimeError
            If a sweep is under way.
        """
        self._check_idle()
        self.sweep_frequency.check_value(sweep.frequency_start_Hz)
        self.sweep_frequency.check_value(sweep.frequency_end_Hz)
        self.sweep_amplitude.check_value(sweep.amplitude_V)
        self.sweep_bias.check_value(sweep.bias_V)
        self._check_peaks(sweep)
        return self.do("prepare the impedance sweep", lambda: self._take(sweep))

    def kickoff(self) -> Status:
        """Start the sweep; done when the instrument has accepted it.

        Raises
        ------
        RuntimeError
            If no sweep was prepared, or one is under way.
        """
        if self._prepared is None:
            raise RuntimeError(f"{self.name}: prepare a sweep before its kickoff")
        self._check_idle()
        sweep = self._prepared
        return self.do("start the impedance sweep", lambda: self._start(sweep))

    def complete(self) -> Status:
        """Wait for the end of the sweep; its progress is told in points.

        Raises
        ------
        RuntimeError
            If no sweep was started.
        """
        run = self._run
        if run is None:
            raise RuntimeError(f"{self.name}: no sweep was started")
        left_s = run.sweep.longest_s() - (self.clock.monotonic() - run.begin)
        timeout_s = max(left_s, 0.0) + 2 * _LONGEST_LOOK_S + self.action_timeout_s
        run.status = Status(self.clock, f"{self.name}: impedance sweep", timeout_s)
        return run.status.follow(run.done)

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Describe the events of `collect`; the plan names their stream."""
        source = str(self.identity or self.model)
        number = {"source": source, "dtype": "number", "shape": [], "precision": 6}
        return {
            f"{self.name}_frequency": {**number, "units": "Hz"},
            f"{self.name}_z_real": {**number, "units": "ohm"},
            f"{self.name}_z_imag": {**number, "units": "ohm"},
            f"{self.name}_status": {"source": source, "dtype": "string", "shape": []},
        }

    def collect(self) -> Iterator[dict[str, Any]]:
        """Give the points measured since the last call, one event each."""
        if self._run is None:
            return
        first, self._run.collected = self._run.collected, len(self._run.points)
        for point in self._run.points[first : self._run.collected]:
            data = {
                f"{self.name}_frequency": point.frequency_Hz,
                f"{self.name}_z_real": point.z_real_ohm,
                f"{self.name}_z_imag": point.z_imag_ohm,
                f"{self.name}_status": point.status,
            }
            yield {"time": point.time, "data": data, "timestamps": dict.fromkeys(data, point.time)}

    def make_safe(self) -> None:
        """End what runs, switch the cell off, and have that confirmed; tried again later if it fails.

        Raises
        ------
        LinkError
            If the cell may be on.
        """
        error = self._secure()
        self._end(SweepStopped(f"{self.name}: the sweep was stopped {self._so_far()}"))
        if error is not None:
            raise error

    @abstractmethod
    def begin_sweep(self, sweep: ImpedanceSweep) -> None:
        """Start a sweep in the instrument; on the worker.

        Raises
        ------
        LinkError
            If the instrument did not accept it, or it is not known whether it did.
        """

    @abstractmethod
    def listen(self) -> bool:
        """Hand what has come from a running sweep to `add_point`; say whether the sweep is over.

        Raises
        ------
        LinkError
            If the instrument reports a fault, or the link is lost.
        """

    @abstractmethod
    def switch_off(self) -> None:
        """End what runs in the instrument, switch the cell off and read that back."""

    @abstractmethod
    def read_at_rest(self) -> None:
        """Read the potential and record that the cell is off; raise InstrumentError if it is on."""

    def add_point(self, point: ImpedancePoint, current_range: str) -> None:
        """Take over a point of the running sweep."""
        assert self._run is not None
        self._run.points.append(point)
        self._run.heard = self.clock.monotonic()
        self.sweep_frequency.record(point.frequency_Hz, point.time)
        self.current_range.record(current_range, point.time)
        self.quality.record(_quality(point), point.time)

    def _check_idle(self) -> None:
        if self.sweeping:
            raise RuntimeError(f"{self.name}: a sweep is under way")

    def _check_peaks(self, sweep: ImpedanceSweep) -> None:
        low, high = self.sweep_bias.limits
        peak_V = math.sqrt(2) * sweep.amplitude_V
        if not (low <= sweep.bias_V - peak_V and sweep.bias_V + peak_V <= high):
            raise LimitError(
                f"{self.name}: {sweep.bias_V:g} V +/- {peak_V:g} V leaves the potentials allowed, "
                f"from {low:g} to {high:g} V"
            )

    def _take(self, sweep: ImpedanceSweep) -> None:
        self._prepared = sweep
        self.record(sweep_amplitude=sweep.amplitude_V, sweep_bias=sweep.bias_V)

    def _start(self, sweep: ImpedanceSweep) -> None:
        try:
            self.begin_sweep(sweep)
        except Exception:
            self._secure()
            raise
        self._stop_securing()
        self.record(cell=1.0, potential=math.nan, current=math.nan)
        now = self.clock.monotonic()
        self._run = _Run(sweep, begin=now, heard=now)
        period_s = min(max(sweep.longest_s() / _LOOKS_PER_SWEEP, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)
        self._run.timer = self.clock.every(period_s, self.name, self._look)

    def _look(self) -> None:
        run = self._run
        if run is None or run.done.done():
            return
        try:
            if not self._listen(run):
                self._check_progress(run)
                return
            self._check_whole(run)
            self.read_at_rest()
        except Exception as error:
            self._secure()
            self._end(error)
        else:
            self._end(None)

    def _listen(self, run: _Run) -> bool:
        before = len(run.points)
        try:
            return self.listen()
        finally:
            if len(run.points) > before:
                self._tell(run)

    def poll(self) -> None:
        """Read the potential at rest; while a sweep runs, which tells no potential, read nothing.

        Raises
        ------
        InstrumentError
            If the cell is on though nothing runs.
        """
        if not self.sweeping:
            self.read_at_rest()

    def _check_whole(self, run: _Run) -> None:
        if len(run.points) != run.sweep.points:
            raise self.refused(f"the sweep ended {self._so_far()}")

    def _check_progress(self, run: _Run) -> None:
        frequencies = run.sweep.frequencies_Hz()
        next_Hz = frequencies[min(len(run.points), len(frequencies) - 1)]
        now = self.clock.monotonic()
        silence_s = now - run.heard
        if silence_s > _longest_point_s(next_Hz) + _MARGIN_S or now - run.begin > run.sweep.longest_s():
            raise self.link.failed(f"no point for {silence_s:.0f} s, {self._so_far()}")

    def _tell(self, run: _Run) -> None:
        if run.status is not None:
            run.status.progress(
                name=f"{self.name}: impedance sweep",
                current=len(run.points),
                initial=0,
                target=run.sweep.points,
                unit="points",
                time_elapsed=self.clock.monotonic() - run.begin,
            )

    def _end(self, error: Exception | None) -> None:
        run = self._run
        if run is None or run.done.done():
            return
        if run.timer is not None:
            run.timer.cancel()
        if error is None:
            run.done.set_result(None)
        else:
            run.done.set_exception(error)

    def _so_far(self) -> str:
        if self._run is None:
            return ""
        return f"after {len(self._run.points)} of {self._run.sweep.points} points"

    def _secure(self) -> LinkError | None:
        """Reach the safe state now; if that fails, try again until it is reached, and return the error."""
        self._stop_securing()
        try:
            self.switch_off()
        except LinkError as error:
            logger.error("%s: the cell may be on: %s", self.name, error)
            self._securing = self.clock.every(_SECURE_S, self.name, self._try_to_secure)
            return error
        return None

    def _try_to_secure(self) -> None:
        self.switch_off()
        self._stop_securing()
        logger.warning("%s: the cell is off again", self.name)

    def _stop_securing(self) -> None:
        if self._securing is not None:
            self._securing.cancel()
            self._securing = None


def _longest_point_s(frequency_Hz: float) -> float:
    return _CYCLES / frequency_Hz + _POINT_S


def _quality(point: ImpedancePoint) -> str:
    if not (math.isfinite(point.z_real_ohm) and math.isfinite(point.z_imag_ohm)):
        return "invalid"
    return "saturated" if point.status == "overload" else "ok"
