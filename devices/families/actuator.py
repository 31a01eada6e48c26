"""The family of linear actuators."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Switch, Text
from devices.status import Status

__all__ = ["LinearActuator", "Motion"]

_POLL_S = 0.2
_MARGIN_S = 10.0
_LONGEST_STOP_S = 3.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Motion:
    """What an actuator says of itself.

    Attributes
    ----------
    counter_mm : float
        Where its counter or encoder is, which is the position once there is a reference.
    moving, referenced : bool
        Whether it moves, and whether its counter counts from a known place.
    warnings : tuple of str
        As the instrument prints them.
    fault : str
        Those of them that stop it, in words; empty if there are none.
    """

    counter_mm: float
    moving: bool
    referenced: bool
    warnings: tuple[str, ...] = ()
    fault: str = ""


class LinearActuator(Instrument):
    """Moves along a line. Its safe state is to stand still where it is.

    The limits of `target` (mm) and of `velocity` (mm/s) are brought into the instrument, which holds them by
    itself. Without a reference there is no position: it is not a number, and only `home` moves.
    """

    family = "linear actuator"

    axis_position = Cpt(Measured, unit="mm", precision=4, kind="hinted", doc="Position, from the reference")
    target = Cpt(Setting, unit="mm", precision=4, kind="normal", doc="Position it was last told to go to")
    velocity = Cpt(
        Setting, unit="mm/s", precision=4, limits=(0.0, math.inf), kind="normal", doc="Speed it was last told"
    )
    moving = Cpt(Switch, kind="normal", doc="1 while it moves")
    homed = Cpt(Switch, kind="normal", doc="1 when it has a reference position")
    warnings = Cpt(Text, kind="normal", doc="Warnings as the instrument prints them; empty if all is well")

    #: How near the target counts as there, mm: two of the counter's steps.
    tolerance_mm = 0.001

    def move_to(self, position_mm: float, *, velocity_mm_s: float | None = None) -> Status:
        """Go to a position; done when it stands there.

        Parameters
        ----------
        velocity_mm_s : float, optional
            Speed; the fastest allowed by default.

        Raises
        ------
        LimitError
            If position or speed is outside the limits; nothing was sent then.
        """
        speed_mm_s = self.velocity.limits[1] if velocity_mm_s is None else velocity_mm_s
        self.target.check_value(position_mm)
        self.velocity.check_value(speed_mm_s)
        low_mm, high_mm = self.target.limits
        here_mm = self.axis_position.get()
        way_mm = abs(position_mm - here_mm) if math.isfinite(here_mm) else high_mm - low_mm
        return self._go(
            position_mm,
            lambda: self._start_to(position_mm, speed_mm_s),
            way_mm / speed_mm_s if speed_mm_s > 0 else math.inf,
        )

    set = move_to

    def move_at(self, velocity_mm_s: float) -> Status:
        """Move at a speed, away from 0 if positive, until stopped or at a limit; done when it has begun."""
        self.velocity.check_value(abs(velocity_mm_s))
        return self.do(f"move at {velocity_mm_s:g} mm/s", lambda: self._start_at(velocity_mm_s))

    def home(self) -> Status:
        """Find the reference, which is position 0; done when it stands there."""
        low_mm, high_mm = self.target.limits
        return self._go(0.0, self.write_home, (high_mm - low_mm) / self.velocity.limits[1] * 2.0)

    def poll(self) -> None:
        """Read position, motion and warnings.

        Raises
        ------
        InstrumentError
            If the instrument reports a fault of its own.
        """
        motion = self.read_motion()
        self._record(motion)
        if motion.fault:
            raise self.refused(f"reports {motion.fault}")

    def make_safe(self) -> None:
        """Stop, and see that it says so and that its counter stands still.

        Raises
        ------
        InstrumentError
            If it still moves 3 s later.
        """
        self.write_stop()
        deadline = self.clock.monotonic() + self.clock.patience(_LONGEST_STOP_S)
        before = self.read_motion()
        while True:
            self.clock.sleep(_LOOK_S)
            motion = self.read_motion()
            self._record(motion)
            if not motion.moving and motion.counter_mm == before.counter_mm:
                return
            if self.clock.monotonic() > deadline:
                raise self.refused(f"was told to stop, but moves at {motion.counter_mm:g} mm")
            before = motion

    @abstractmethod
    def read_motion(self) -> Motion:
        """Ask for position, motion and warnings; on the worker."""

    @abstractmethod
    def write_move_to(self, position_mm: float, speed_mm_s: float) -> None:
        """Tell it where to go and how fast, and record both; a motion under way is given up; on the worker.

        Raises
        ------
        InstrumentError
            If it refuses, or has no reference.
        """

    @abstractmethod
    def write_move_at(self, velocity_mm_s: float) -> None:
        """Tell it to move at a signed speed; on the worker."""

    @abstractmethod
    def write_home(self) -> None:
        """Tell it to find its reference; on the worker."""

    @abstractmethod
    def write_stop(self) -> None:
        """Tell it to stop, as often as it takes; on the worker."""

    def _start_at(self, velocity_mm_s: float) -> None:
        self.require_reference()
        self.write_move_at(velocity_mm_s)

    def require_reference(self) -> None:
        """Raise InstrumentError unless the instrument says that it has a reference; on the worker."""
        self.poll()
        if not self.homed.get():
            raise self.refused("has no reference position; home it first")

    def _record(self, motion: Motion) -> None:
        sound = motion.referenced and not motion.fault
        self.record(
            axis_position=motion.counter_mm if motion.referenced else math.nan,
            moving=int(motion.moving),
            homed=int(motion.referenced),
            warnings=" ".join(motion.warnings),
            quality="ok" if sound else "invalid",
        )

    def _start_to(self, position_mm: float, speed_mm_s: float) -> None:
        self.require_reference()
        self.write_move_to(position_mm, speed_mm_s)

    def _go(self, target_mm: float, start: Callable[[], None], duration_s: float) -> Status:
        return self.approach(
            "position",
            "mm",
            start=start,
            read=self._read_position,
            target=target_mm,
            tolerance=self.tolerance_mm,
            settle_s=_POLL_S,
            timeout_s=duration_s + _MARGIN_S,
            poll_s=_POLL_S,
        )

    def _read_position(self) -> float:
        self.poll()
        return float(self.axis_position.get())
