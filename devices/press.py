"""The press: an actuator, a load cell, a thickness gauge, and the loop that closes between them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from devices.families.actuator import LinearActuator
from devices.families.load_cell import LoadCell
from devices.families.thickness_gauge import ThicknessGauge
from devices.instrument import Cpt, LabDevice
from devices.signals import Measured, Setting, Text
from devices.status import Status
from ssblab.clock import Timer
from ssblab.links import LinkError

__all__ = ["HoldMode", "Press", "PressFault"]

logger = logging.getLogger(__name__)

_PERIOD_S = 0.25
_HOPS = 2.0  # a motion ends by itself after this many periods in which the loop does not renew it
_CLOSE_S = 2.0  # in which the loop means to take a difference of force away
_SLOWEST_MM_S = 0.001
_SETTLE_S = 10.0
_MARGIN_S = 60.0
_TOLERANCE = 0.02  # of the force
_LEAST_TOLERANCE_kN = 0.005
_DEAD_BAND = 0.25  # of the tolerance

HoldMode = Literal["constant force", "fixed gap"]


class PressFault(RuntimeError):
    """The press has stopped by itself; the message says why."""


class Press(LabDevice):
    """Presses a sample to a force or pressure, or to a displacement, and holds one of them.

    The loop runs four times a second on the press's own worker. It has the load cell read and the actuator
    moved on their workers, so that what else is asked of them does not come in between. It moves in short
    hops: if it does not come round again, the actuator stops by itself half a second later. Closing is slow,
    unless `contact_mm` tells that the platens are still away from the sample. Positions of the ram grow
    as the press closes.

    The actuator is stopped at once, and the press is at fault until it is told anew, when the force goes
    beyond the load cell's `force_limit` (of which 98 % can be asked for), when the load cell is beyond its
    range or tared, when the actuator has lost its reference, and when there was no reading for
    `longest_loss_s`.

    The safe state is the actuator standing still where it is: the pressure on a cell is held mechanically.

    Parameters
    ----------
    actuator : LinearActuator
        Moves the platens together, away from its reference.
    load_cell : LoadCell
        Between them. Its `force_limit` must be set: it is the press's.
    gauge : ThicknessGauge, optional
        Its head 0 measures the distance of the platens.
    area_mm2 : float, optional
        Of the sample; pressure is not a number while it is not told.
    stiffness_kN_mm : float
        Of frame and sample together, rather too large than too small: the loop goes the slower.
    approach_velocity_mm_s, contact_velocity_mm_s : float
        Largest speed away from contact, and near it or in it.
    contact_mm : float, optional
        Position of the ram at which the sample is met at the earliest; up to 0.5 mm before it the press
        closes fast.
    longest_loss_s : float
        Without a reading, after which the press is at fault.
    """

    family = "press"
    action_timeout_s = 60.0

    force = Cpt(Measured, unit="kN", precision=4, kind="hinted", doc="Force on the sample")
    pressure = Cpt(
        Measured,
        unit="MPa",
        precision=3,
        kind="hinted",
        doc="Force over the sample's area; NaN while not told",
    )
    force_setpoint = Cpt(
        Setting, unit="kN", precision=4, limits=(0.0, math.inf), kind="normal", doc="Force asked for"
    )
    ram_position = Cpt(Measured, unit="mm", precision=4, kind="normal", doc="Position of the actuator")
    thickness = Cpt(
        Measured, unit="mm", precision=4, kind="normal", doc="Displacement that the gauge measures"
    )
    mode = Cpt(
        Text,
        value="stopped",
        kind="normal",
        doc="stopped, moving, constant force, fixed gap, or the fault that stopped it",
    )
    sample_area = Cpt(Measured, unit="mm2", precision=2, kind="config", doc="Area that pressure refers to")

    def __init__(
        self,
        *,
        actuator: LinearActuator,
        load_cell: LoadCell,
        gauge: ThicknessGauge | None = None,
        area_mm2: float = math.nan,
        stiffness_kN_mm: float = 20.0,
        approach_velocity_mm_s: float = 0.5,
        contact_velocity_mm_s: float = 0.02,
        contact_mm: float = -math.inf,
        longest_loss_s: float = 2.0,
        limits: Mapping[str, tuple[float, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.force_limit_kN = load_cell.force_limit.limits[1]
        if not math.isfinite(self.force_limit_kN):
            raise ValueError(f"{self.name}: the load cell {load_cell.name} has no limit for force_limit")
        self._actuator = actuator
        self._load_cell = load_cell
        self._gauge = gauge
        self._stiffness_kN_mm = stiffness_kN_mm
        self._approach_mm_s = approach_velocity_mm_s
        self._contact_mm_s = contact_velocity_mm_s
        self._contact_mm = contact_mm
        self._longest_loss_s = longest_loss_s
        self._loop: Timer | None = None
        self._step: Callable[[], None] = lambda: None  # what the loop does about its readings
        self._opening = False  # whether the last hop took load off
        self._fault = ""
        self._in_control = False
        self._last_reading_s = -math.inf
        self._tolerance_kN = _LEAST_TOLERANCE_kN
        self._speed_mm_s = contact_velocity_mm_s
        self._target_mm = math.nan
        self.tell_area(area_mm2)
        self.force_setpoint.narrow(0.0, (1.0 - _TOLERANCE) * self.force_limit_kN)
        for signal, (low, high) in (limits or {}).items():
            getattr(self, signal).narrow(low, high)

    @property
    def tripped(self) -> str:
        """Why the press has stopped by itself, or must not go on; empty while all is well."""
        if self._fault:
            return self._fault
        force_kN = self.force.get()
        if force_kN > self.force_limit_kN:
            return f"the force ({force_kN:g} kN) is beyond the limit ({self.force_limit_kN:g} kN)"
        return ""

    def tell_area(self, area_mm2: float) -> None:
        """Tell the area of the sample; NaN if it is not known.

        Raises
        ------
        ValueError
            If it is not above 0.
        """
        if area_mm2 <= 0.0 or math.isinf(area_mm2):
            raise ValueError(f"{self.name}: the sample's area must be above 0 mm2, not {area_mm2!r}")
        self.sample_area.record(float(area_mm2), self.clock.now())

    def connect(self) -> None:
        """Read the parts once; they have their own connections."""
        self.poll()

    def poll(self) -> None:
        """Read force, position and thickness.

        Raises
        ------
        PressFault
            If the press has stopped by itself.
        LinkError
            If a part does not answer.
        """
        if self._fault:
            raise PressFault(f"{self.name}: {self._fault}")
        self._read_force()
        self._read_ram()
        if self._gauge is not None:
            self.have(self._gauge, self._gauge.poll)
            displacement = self._gauge.displacement_0
            self.thickness.record(displacement.get(), displacement.timestamp)

    def set_force(
        self,
        force_kN: float,
        *,
        rate_kN_s: float = math.inf,
        tolerance_kN: float | None = None,
        settle_s: float = _SETTLE_S,
    ) -> Status:
        """Bring the sample to a force and hold it; done when it has stayed within tolerance for `settle_s`.

        Control goes on afterwards, against creep, until the press is told something else.

        Parameters
        ----------
        rate_kN_s : float
            Largest rate, as far as the stiffness is known; the press's speeds limit it in any case.
        tolerance_kN : float, optional
            By default 2 % of the force, and 5 N at least.

        Raises
        ------
        LimitError
            If the force is outside the limits; nothing was sent then.
        """
        self.force_setpoint.check_value(force_kN)
        tolerance_kN = _tolerance_kN(force_kN) if tolerance_kN is None else tolerance_kN
        if not (rate_kN_s > 0.0 and tolerance_kN > 0.0):
            raise ValueError(f"{self.name}: rate and tolerance of a force must be above 0")
        speed_mm_s = min(self._contact_mm_s, rate_kN_s / self._stiffness_kN_mm)

        def start() -> None:
            self._begin("constant force", self._hold_force)
            self._aim(force_kN, tolerance_kN, speed_mm_s)

        way_mm = self._way_mm()
        slowest_s = way_mm / self._contact_mm_s + self.force_limit_kN / self._stiffness_kN_mm / speed_mm_s
        self._let_go("position")
        return self.approach(
            "force",
            "kN",
            start=start,
            read=self._force_controlled,
            target=force_kN,
            tolerance=tolerance_kN,
            settle_s=settle_s,
            timeout_s=slowest_s + settle_s + _MARGIN_S,
            poll_s=_PERIOD_S,
        )

    def set_pressure(self, pressure_MPa: float, *, area_mm2: float | None = None, **options: Any) -> Status:
        """Bring the sample to a pressure; as `set_force`, whose options it takes.

        Raises
        ------
        ValueError
            If the area is neither given nor told before.
        LimitError
            If the force that belongs to it is outside the limits.
        """
        if area_mm2 is not None:
            self.tell_area(area_mm2)
        area_mm2 = self.sample_area.get()
        if math.isnan(area_mm2):
            raise ValueError(f"{self.name}: tell the sample's area before a pressure")
        return self.set_force(pressure_MPa * area_mm2 / 1000.0, **options)

    set = set_pressure

    def set_displacement(self, position_mm: float, *, velocity_mm_s: float | None = None) -> Status:
        """Bring the ram to a position, never beyond the force limit, and hold the gap; done when it is there.

        Raises
        ------
        LimitError
            If position or speed is outside the actuator's limits; nothing was sent then.
        """
        speed_mm_s = self._approach_mm_s if velocity_mm_s is None else velocity_mm_s
        self._actuator.target.check_value(position_mm)
        self._actuator.velocity.check_value(speed_mm_s)
        if speed_mm_s <= 0.0:
            raise ValueError(f"{self.name}: the speed must be above 0 mm/s")

        def start() -> None:
            self._begin("moving", self._go_to_target)
            self._target_mm, self._speed_mm_s = position_mm, speed_mm_s

        slowest_s = 2.0 * self._way_mm() / min(speed_mm_s, self._contact_mm_s)
        self._let_go("force")
        return self.approach(
            "position",
            "mm",
            start=start,
            read=self._position_controlled,
            target=position_mm,
            tolerance=2.0 * self._actuator.tolerance_mm,
            settle_s=2.0 * _PERIOD_S,
            timeout_s=slowest_s + _MARGIN_S,
            poll_s=_PERIOD_S,
        )

    def hold(self, mode: HoldMode) -> Status:
        """Hold the force that there is now, or stand still; done when that has begun.

        The loop goes on in both: it corrects the force, or watches that it stays below the limit.
        """
        if mode not in get_args(HoldMode):
            raise ValueError(f"{self.name}: no mode {mode!r}; there are {', '.join(get_args(HoldMode))}")
        self.end_approaches("was told to hold")
        return self.do(f"hold {mode}", lambda: self._hold(mode))

    def make_safe(self) -> None:
        """End control and stop the actuator where it is, confirmed by it; the load stays on the sample."""
        self._stop()

    def _stop(self) -> None:
        self._step = lambda: None  # a round of the loop meanwhile must not move on
        try:
            self.have(self._actuator, self._actuator.make_safe)
        except LinkError as error:
            self._fault = f"not stopped: {error}"  # the loop, if it runs, tries again until it is
            self.mode.record(self._fault, self.clock.now())
            raise
        self._end_control()
        self.mode.record("stopped", self.clock.now())

    def _let_go(self, quantity: str) -> None:
        """Let the approach to another quantity fail: the press can follow only one."""
        if quantity in self._approaches:
            self._approaches.pop(quantity).cancel("was told to go elsewhere")

    def _way_mm(self) -> float:
        low_mm, high_mm = self._actuator.target.limits
        return high_mm - low_mm

    def _hold(self, mode: HoldMode) -> None:
        if mode == "fixed gap":
            self._begin(mode, lambda: None)
            self._opening = False
        else:
            self._begin(mode, self._hold_force)
            force_kN = max(0.0, self.force.get())
            self.force_setpoint.check_value(force_kN)
            self._aim(force_kN, _tolerance_kN(force_kN), self._contact_mm_s)

    def _aim(self, force_kN: float, tolerance_kN: float, speed_mm_s: float) -> None:
        self.force_setpoint.record(force_kN, self.clock.now())
        self._tolerance_kN, self._speed_mm_s = tolerance_kN, speed_mm_s

    def _begin(self, mode: str, step: Callable[[], None]) -> None:
        """Stop, see that all readings are sound, and start the loop."""
        self._stop()
        self._fault = ""
        self._read_force()
        self._read_ram()
        self._require_sound()
        self._last_reading_s = self.clock.monotonic()
        self._step, self._opening = step, self.force.get() > self.force_limit_kN
        self.mode.record(mode, self.clock.now())
        self._loop = self.clock.every(_PERIOD_S, self.name, self._control)

    def _end_control(self) -> None:
        self._in_control = False
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None

    def _control(self) -> None:
        """Read, and move on; what is amiss with a reading stops the press at once, or after a while."""
        if self._fault:
            self._secure()
            return
        self._in_control = False
        try:
            self._read_force()
            self._read_ram()
            self._require_sound()
            if self.force.get() > self.force_limit_kN and not self._opening:
                raise PressFault(self.tripped)
            self._last_reading_s = self.clock.monotonic()
            self._step()
            self._in_control = True
        except PressFault as error:
            self._trip(str(error))
        except LinkError as error:
            lost_s = self.clock.monotonic() - self._last_reading_s
            if lost_s >= self._longest_loss_s:
                self._trip(f"no control for {lost_s:.1f} s ({error})")
        except Exception as error:
            logger.exception("%s: its loop failed", self.name)
            self._trip(f"its loop failed: {error!r}")

    def _require_sound(self) -> None:
        """Raise PressFault for what no waiting mends, LinkError for what may be over in a moment."""
        quality = self._load_cell.quality.get()
        if quality == "saturated":
            raise PressFault("the load cell is beyond its range")
        if self._load_cell.tared.get():
            raise PressFault("the load cell is tared: its force is not the whole force")
        if not self._actuator.homed.get():
            raise PressFault("the actuator has no reference position; home it first")
        if quality != "ok":
            raise self.refused(f"the force is {quality}")

    def _trip(self, fault: str) -> None:
        """Go to fault and stop; the loop ends when the actuator has been seen to stand still."""
        self._fault = fault
        self.mode.record(fault, self.clock.now())
        self._secure()
        self.end_approaches(fault)

    def _secure(self) -> None:
        """Stop the actuator; while that fails, the loop tries again each period."""
        try:
            self.have(self._actuator, self._actuator.make_safe)
        except Exception as error:
            logger.warning("%s: not stopped yet: %s", self.name, error)
        else:
            self._end_control()

    def _read_force(self) -> None:
        self.have(self._load_cell, self._load_cell.poll)
        force = self._load_cell.force
        self.force.record(force.get(), force.timestamp)
        self.pressure.record(force.get() * 1000.0 / self.sample_area.get(), force.timestamp)

    def _read_ram(self) -> None:
        self.have(self._actuator, self._actuator.poll)
        position = self._actuator.axis_position
        self.ram_position.record(position.get(), position.timestamp)

    def _hold_force(self) -> None:
        """Move towards the force that is asked for, the slower the nearer."""
        missing_kN = self.force_setpoint.get() - self.force.get()
        if abs(missing_kN) <= _DEAD_BAND * self._tolerance_kN:
            self._stand()
            return
        wanted_mm_s = max(abs(missing_kN) / self._stiffness_kN_mm / _CLOSE_S, _SLOWEST_MM_S / 10.0)
        in_contact = self.force.get() > _LEAST_TOLERANCE_kN
        if not in_contact:
            wanted_mm_s = max(wanted_mm_s, _SLOWEST_MM_S)
        speed_mm_s = min(wanted_mm_s, self._speed_mm_s)
        if missing_kN > 0.0 and not in_contact and self._is_far():
            speed_mm_s = self._approach_mm_s
        self._hop(math.copysign(speed_mm_s, missing_kN))

    def _go_to_target(self) -> None:
        """Move towards the position that is asked for."""
        away_mm = self._target_mm - self.ram_position.get()
        highest_kN = self.force_setpoint.limits[1]
        is_at_limit = away_mm > 0.0 and self.force.get() >= highest_kN
        if is_at_limit or abs(away_mm) <= self._actuator.tolerance_mm:
            self._stand()
            self._step = lambda: None
            self.mode.record("fixed gap", self.clock.now())
            if is_at_limit:
                self.end_approaches(f"was not gone on with, for the force has met {highest_kN:g} kN")
            return
        fast = away_mm < 0.0 or self._is_far()
        speed_mm_s = min(self._speed_mm_s, self._approach_mm_s if fast else self._contact_mm_s)
        self._hop(math.copysign(speed_mm_s, away_mm), self._target_mm)

    def _is_far(self) -> bool:
        """Whether the platens are still away from the sample, by what the station says."""
        reach_mm = self._approach_mm_s * _HOPS * _PERIOD_S
        return bool(self.ram_position.get() + reach_mm < self._contact_mm - 0.5)

    def _hop(self, velocity_mm_s: float, end_mm: float | None = None) -> None:
        """Move for two periods at most, and never so far that the force could meet its limit."""
        here_mm = self.ram_position.get()
        way_mm = abs(velocity_mm_s) * _HOPS * _PERIOD_S
        self._opening = velocity_mm_s < 0.0
        if not self._opening:
            left_kN = (1.0 - 0.5 * _TOLERANCE) * self.force_limit_kN - self.force.get()
            way_mm = min(way_mm, max(0.0, left_kN) / self._stiffness_kN_mm)
        target_mm = here_mm + math.copysign(way_mm, velocity_mm_s)
        if end_mm is not None and abs(end_mm - here_mm) < way_mm:
            target_mm = end_mm
        low_mm, high_mm = self._actuator.target.limits
        target_mm = min(max(target_mm, low_mm), high_mm)
        fastest_mm_s = self._actuator.velocity.limits[1]
        speed_mm_s = min(abs(velocity_mm_s), fastest_mm_s)
        latest_s = self.clock.monotonic() + self.clock.patience(self._longest_loss_s)

        def move() -> None:
            if self.clock.monotonic() <= latest_s:  # else its worker was busy, and the force is another now
                self._actuator.write_move_to(target_mm, speed_mm_s)

        self.have(self._actuator, move)

    def _stand(self) -> None:
        self._opening = False
        if self._actuator.moving.get():
            self.have(self._actuator, self._actuator.write_stop)

    def _force_controlled(self) -> float:
        return self._controlled(self.force.get())

    def _position_controlled(self) -> float:
        return self._controlled(self.ram_position.get())

    def _controlled(self, value: float) -> float:
        """Value as the loop last read it; NaN, which is in no band, while the loop has lost it."""
        return float(value) if self._in_control else math.nan


def _tolerance_kN(force_kN: float) -> float:
    return max(_TOLERANCE * force_kN, _LEAST_TOLERANCE_kN)
