"""A press: a ram that is driven, a frame that gives, and a body between the platens.

The body is elastic, a powder or a battery cell. An elastic one is a standard linear solid: a spring in
parallel with a Maxwell element, so that its force relaxes at a fixed gap and it creeps under a constant
force. A cell is a spring whose thickness follows its charge; its contacts feel the pressure. The frame is a
spring in series with the body. Friction holds the ram back until the drive has wound up by a small
distance; at rest it holds more, so that the ram begins with a slip. All of it is linear between two events,
and solved exactly. A powder (`sim_devices.physics.powder`) densifies for good; its law is not linear, so it
goes in short steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_devices.physics.cell import Cell
from sim_devices.physics.powder import PowderSample, air_gap_impedance
from sim_devices.physics.pressed_body import PressedBody
from ssblab.clock import Clock

__all__ = ["CellStack", "PressFrame", "Sample"]

_BISECTIONS = 40
_AT_END_MM = 1e-9
_DAY_S = 86_400.0
_FELT = 0.005  # relative change of the pressure that a cell is told: it must solve its equations anew
_FELT_FROM_MPa = 1e-3


@dataclass
class Sample:
    """A powder compact between the platens.

    Parameters
    ----------
    thickness_mm, area_mm2 : float
        Without load.
    modulus_MPa : float
        Relaxed, in compression; placeholder, plausible 500 to 20000 for a cold-pressed compact in its die.
    relaxing_share : float
        Force of the Maxwell element over that of the spring, at once after a step; placeholder.
    relaxation_s : float
        Time constant of the Maxwell element; placeholder.
    """

    thickness_mm: float = 1.0
    area_mm2: float = 100.0
    modulus_MPa: float = 2000.0
    relaxing_share: float = 0.15
    relaxation_s: float = 120.0

    @property
    def stiffness_N_mm(self) -> float:
        """Of the relaxed sample, N/mm."""
        return self.modulus_MPa * self.area_mm2 / self.thickness_mm

    @property
    def initial_state(self) -> float:
        """Flow of the Maxwell element's dashpot at the beginning, mm: the state of the sample."""
        return 0.0

    def present_state(self, state: float) -> float:
        """Nothing but the press changes it."""
        return state

    def bear(self, pressure_MPa: float) -> None:
        """It remembers by its state."""

    def taken_out(self, state: float) -> Sample:
        """It swells back."""
        return self

    def touches(self, opening_mm: float, flow_mm: float) -> bool:
        """Whether the platens reach the sample, which has not yet swollen back from its last compression."""
        reach_mm = self.thickness_mm - opening_mm
        return reach_mm > flow_mm * self.relaxing_share / (1.0 + self.relaxing_share) and reach_mm > 0.0

    def force_N(self, opening_mm: float, flow_mm: float, frame_N_mm: float) -> float:
        """Force between platens that would be at a distance if the frame did not give."""
        if not self.touches(opening_mm, flow_mm):
            return 0.0
        maxwell = self.stiffness_N_mm * self.relaxing_share
        reach_mm = self.thickness_mm - opening_mm
        compression_mm = (frame_N_mm * reach_mm + maxwell * flow_mm) / (
            frame_N_mm + self.stiffness_N_mm + maxwell
        )
        return max(0.0, frame_N_mm * (reach_mm - compression_mm))

    def longest_step_s(
        self, opening_mm: float, closing_mm_s: float, flow_mm: float, frame_N_mm: float
    ) -> float:
        """How far `after` may go in one step: any time."""
        return inf

    def after(
        self, step_s: float, opening_mm: float, closing_mm_s: float, flow_mm: float, frame_N_mm: float
    ) -> float:
        """Flow of the dashpot after a time at constant speed; the exact solution of the linear law."""
        spring = self.stiffness_N_mm
        maxwell = spring * self.relaxing_share
        if not self.touches(opening_mm, flow_mm):  # the free sample swells back
            return flow_mm * exp(-step_s * spring / (spring + maxwell) / self.relaxation_s)
        total = frame_N_mm + spring + maxwell
        loss_per_s = (1.0 - maxwell / total) / self.relaxation_s
        share = frame_N_mm / total / self.relaxation_s / loss_per_s

        def follows(reach_mm: float) -> float:
            return share * (reach_mm - closing_mm_s / loss_per_s)

        reach_mm = self.thickness_mm - opening_mm
        away_mm = flow_mm - follows(reach_mm)
        return follows(reach_mm + closing_mm_s * step_s) + away_mm * exp(-step_s * loss_per_s)

    def impedance(
        self, frequency_Hz: NDArray[np.float64], opening_mm: float, flow_mm: float, frame_N_mm: float
    ) -> NDArray[np.complex128]:
        """Impedance between the platens, ohm: it does not conduct."""
        give_mm = self.force_N(opening_mm, flow_mm, frame_N_mm) / frame_N_mm
        return air_gap_impedance(frequency_Hz, self.area_mm2, opening_mm + give_mm)


_NOTHING = Sample(thickness_mm=1e-3, modulus_MPa=2e5, relaxing_share=0.0)  # steel meets steel


class CellStack:
    """A battery cell between insulated platens; its state is its thickness (mm) without load.

    Parameters
    ----------
    cell : Cell
        What is pressed.
    modulus_MPa : float
        Of the stack in compression, as a linear spring; placeholder, plausible 100 to 3000 (a laminate with
        its foils; a dense sulfide has more, an elastic pad in the jig less).
    """

    def __init__(self, cell: Cell, *, modulus_MPa: float = 1000.0) -> None:
        self.cell = cell
        self.modulus_MPa = modulus_MPa
        self._felt_MPa = cell.design.constraint_MPa

    @property
    def area_mm2(self) -> float:
        """Of the electrodes."""
        return 100.0 * self.cell.equations.area_cm2

    @property
    def initial_state(self) -> float:
        """Thickness now."""
        return self.present_state(0.0)

    def present_state(self, state: float) -> float:
        """Thickness now: it follows the charge."""
        return 1e-3 * self.cell.thickness_um()

    def touches(self, opening_mm: float, free_mm: float) -> bool:
        """Whether the platens touch the cell."""
        return opening_mm < free_mm

    def force_N(self, opening_mm: float, free_mm: float, frame_N_mm: float) -> float:
        """Force of two springs in series."""
        give_mm_N = 1.0 / frame_N_mm + free_mm / (self.modulus_MPa * self.area_mm2)
        return max(0.0, (free_mm - opening_mm) / give_mm_N)

    def longest_step_s(
        self, opening_mm: float, closing_mm_s: float, free_mm: float, frame_N_mm: float
    ) -> float:
        """How far `after` may go in one step: any time."""
        return inf

    def after(
        self, step_s: float, opening_mm: float, closing_mm_s: float, free_mm: float, frame_N_mm: float
    ) -> float:
        """The press does not change it."""
        return free_mm

    def bear(self, pressure_MPa: float) -> None:
        """Let the contacts of the cell feel a pressure that is not the same as before."""
        change_MPa = abs(pressure_MPa - self._felt_MPa)
        if change_MPa > _FELT * max(self._felt_MPa, _FELT_FROM_MPa):
            self._felt_MPa = pressure_MPa
            self.cell.press(pressure_MPa)

    def impedance(
        self, frequency_Hz: NDArray[np.float64], opening_mm: float, free_mm: float, frame_N_mm: float
    ) -> NDArray[np.complex128]:
        """Impedance between the platens, ohm: instruments meet the cell at its terminals, not here."""
        return air_gap_impedance(frequency_Hz, self.area_mm2, max(opening_mm, free_mm))

    def taken_out(self, free_mm: float) -> Cell:
        """The cell, back in the clamp of its design."""
        self.bear(self.cell.design.constraint_MPa)
        return self.cell


def _sample(options: Mapping[str, Any]) -> PressedBody:
    options = dict(options)
    kind = options.pop("kind", "elastic")
    if kind == "powder":
        return PowderSample(**options)
    if kind == "elastic":
        return Sample(**options)
    raise ValueError(f"there is no kind of sample {kind!r}; there are elastic, powder")


class PressFrame:
    """A ram over its travel, 0 being open; it moves at a constant speed until it arrives, halts or stalls.

    Parameters
    ----------
    clock : Clock
        Its time moves the press.
    generator : numpy.random.Generator
        Of the noise of force and displacement.
    gap_mm : float
        Distance of the platens when the ram is at 0.
    travel_mm : float
        Of the ram; it stalls at both ends.
    frame_N_mm : float
        Stiffness of frame and load cell; placeholder, plausible 5000 to 200000.
    thrust_N : float
        At which the drive stalls; placeholder.
    windup_mm : float
        How far the drive must turn before friction lets the ram follow; placeholder, plausible 0 to 0.01.
    slip_mm : float
        How much further it must turn before a ram at rest breaks loose, which then slips by as much;
        placeholder, plausible 0 to the windup.
    force_noise_N, displacement_noise_mm : float
        Standard deviation of a reading; placeholders.
    drift_sd_N_day : float
        Standard deviation of the drift rate over a lot of load cells; placeholder, plausible 0.5 to 20
        (0.005 to 0.2 % of 10 kN in a day).
    position_mm : float
        Where the ram stands at the beginning.
    sample : mapping
        "kind": "elastic" (or no kind) and options of `Sample`, or "powder" and options of `PowderSample`.
    cell : Cell, optional
        What is between the platens at the beginning, in place of a sample.

    Attributes
    ----------
    sample : PressedBody
        What is between the platens.
    zero_error_N : float
        What the load cell reads too much without the drift; a change of it is a fault.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator,
        *,
        gap_mm: float = 11.0,
        travel_mm: float = 25.0,
        frame_N_mm: float = 20000.0,
        thrust_N: float = 12000.0,
        windup_mm: float = 0.0005,
        slip_mm: float = 0.0001,
        force_noise_N: float = 0.5,
        displacement_noise_mm: float = 0.00005,
        drift_sd_N_day: float = 2.0,
        position_mm: float = 5.0,
        sample: Mapping[str, Any] | None = None,
        cell: Cell | None = None,
    ) -> None:
        self._clock = clock
        self._generator = generator
        self.gap_mm = gap_mm
        self.travel_mm = travel_mm
        self.frame_N_mm = frame_N_mm
        self.thrust_N = thrust_N
        self.windup_mm = windup_mm
        self.slip_mm = slip_mm
        self.force_noise_N = force_noise_N
        self.displacement_noise_mm = displacement_noise_mm
        self.zero_error_N = 0.0
        of_lot = generator.spawn(1)[0]
        self._drift_N_s = drift_sd_N_day * float(of_lot.standard_normal()) / _DAY_S
        self._began_s = self._now_s = clock.monotonic()
        self._advancing = False
        self._stalled = False
        self._drive_mm = self._ram_mm = position_mm
        self._target_mm = position_mm
        self._speed_mm_s = 0.0
        self._slides = False  # the ram has broken loose since the drive started
        self._hold(CellStack(cell) if cell else _sample(sample or {}))

    def mount(self, body: PressedBody | Cell) -> None:
        """Put a body between the platens, as an operator does; what was there is taken out.

        Raises
        ------
        ValueError
            If the platens press on what is there, or are too close for the body.
        """
        if isinstance(body, Cell):
            body = CellStack(body)
        self.remove()
        if body.touches(self.gap_mm - self._ram_mm, body.initial_state):
            raise ValueError("the platens are too close for it; open the press first")
        self._hold(body)

    def remove(self) -> Any:
        """Take out what is between the platens: the cell, or the sample as it was pressed.

        Raises
        ------
        ValueError
            If the platens press on it.
        """
        if self.true_force_N() > 0.0:
            raise ValueError("the platens press on what is between them; open the press first")
        body, state = self.sample, self._state
        self._hold(_NOTHING)
        return body.taken_out(state)

    def _hold(self, body: PressedBody) -> None:
        if isinstance(body, CellStack):
            body.cell.attach(lambda: self.advance() if self.sample is body else None)
        self.sample: PressedBody = body
        self._state = body.initial_state

    def drive(self, target_mm: float, speed_mm_s: float) -> None:
        """Go to a position at a speed (> 0), from now on; whatever went on before is given up."""
        self.advance()
        self._stalled = False
        self._slides = False
        self._target_mm, self._speed_mm_s = target_mm, abs(speed_mm_s)

    def halt(self) -> None:
        """Stand still from now on."""
        self.advance()
        self._target_mm, self._speed_mm_s = self._drive_mm, 0.0

    def stalled(self) -> bool:
        """Whether the last motion ended in a stall."""
        self.advance()
        return self._stalled

    def position_mm(self) -> float:
        """Where the drive is, as its step counter or encoder sees it."""
        self.advance()
        return self._drive_mm

    def arrives_s(self) -> float | None:
        """Monotonic time at which the motion ends if nothing stops it, or None while it stands still."""
        self.advance()
        left_mm = abs(self._target_mm - self._drive_mm)
        return self._now_s + left_mm / self._speed_mm_s if left_mm and self._speed_mm_s else None

    def force_N(self) -> float:
        """Force as the load cell reads it, compression positive: it drifts, and is noisy."""
        noise_N = self.force_noise_N * float(self._generator.standard_normal())
        drift_N = self._drift_N_s * (self._clock.monotonic() - self._began_s)
        return self.true_force_N() + self.zero_error_N + drift_N + noise_N

    def true_force_N(self) -> float:
        """Force on the load cell without noise."""
        self.advance()
        return self._force_N(self._ram_mm, self._state)

    def distance_mm(self) -> float:
        """Distance of the platens, with noise: the sample's thickness where they touch it."""
        return self.true_distance_mm() + self.displacement_noise_mm * float(self._generator.standard_normal())

    def true_distance_mm(self) -> float:
        """Distance of the platens without noise."""
        self.advance()
        return self.gap_mm - self._ram_mm + self._force_N(self._ram_mm, self._state) / self.frame_N_mm

    def pressure_MPa(self) -> float:
        """Pressure on the sample without noise."""
        return self.true_force_N() / self.sample.area_mm2

    def porosity(self) -> float:
        """Voids in a powder, by volume, under the pressure there is.

        Raises
        ------
        TypeError
            If the sample is not a powder.
        """
        if not isinstance(self.sample, PowderSample):
            raise TypeError("what is not a powder has no porosity")
        pressure_MPa = self.pressure_MPa()
        return self.sample.porosity(self._state, pressure_MPa)

    def conductivity_S_cm(self) -> float:
        """True conductivity of a powder under the pressure there is.

        Raises
        ------
        TypeError
            If the sample is not a powder.
        """
        if not isinstance(self.sample, PowderSample):
            raise TypeError("what is not a powder has no conductivity")
        pressure_MPa = self.pressure_MPa()
        return self.sample.conductivity_S_cm(self._state, pressure_MPa)

    def potential_V(self) -> float:
        """Voltage between the platens: none."""
        return 0.0

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """True impedance of what is between the platens, ohm; frequencies > 0 in Hz."""
        self.advance()
        opening_mm = self.gap_mm - self._ram_mm
        return self.sample.impedance(frequency_Hz, opening_mm, self._state, self.frame_N_mm)

    def advance(self) -> None:
        """Bring the press up to the time of the clock."""
        if self._advancing:  # a cell brings its press up to now before it tells its thickness
            return
        left_s = self._clock.monotonic() - self._now_s
        if left_s <= 0.0:
            return
        self._advancing = True
        try:
            self._state = self.sample.present_state(self._state)
            self._now_s += left_s
            while left_s > 0.0:
                left_s -= self._step(left_s)
            self.sample.bear(self._force_N(self._ram_mm, self._state) / self.sample.area_mm2)
        finally:
            self._advancing = False

    def _step(self, longest_s: float) -> float:
        """Go on until the first of: end of the interval, arrival, friction overcome, contact, stall."""
        ahead_mm = self._target_mm - self._drive_mm
        direction = (ahead_mm > 0.0) - (ahead_mm < 0.0) if self._speed_mm_s > 0.0 else 0
        end_mm = self.travel_mm if direction > 0 else 0.0
        if direction and (end_mm - self._drive_mm) * direction <= _AT_END_MM:
            self._stall()
            direction = 0
        if not direction:
            self._speed_mm_s = 0.0
            step_s, _ = self._until_event(min(longest_s, self._longest_step_s(0.0)), 0.0)
            self._ram_mm, self._state = self._state_after(step_s, 0.0)
            return step_s
        goal_mm = min(self._target_mm, end_mm) if direction > 0 else max(self._target_mm, end_mm)
        speed_mm_s = direction * self._speed_mm_s
        step_s = min(longest_s, (goal_mm - self._drive_mm) / speed_mm_s)
        held_mm = self.windup_mm + (0.0 if self._slides else self.slip_mm)
        slack_mm = (self._ram_mm - self._drive_mm) * direction + held_mm
        stuck = slack_mm > _AT_END_MM
        if not stuck and not self._slides:
            self._slides = True
            self._ram_mm += direction * self.slip_mm
            self._ram_mm, self._state = self._state_after(0.0, 0.0)
        if stuck:
            step_s = min(step_s, slack_mm / self._speed_mm_s)
        ram_mm_s = 0.0 if stuck else speed_mm_s
        step_s, stalls = self._until_event(min(step_s, self._longest_step_s(ram_mm_s)), ram_mm_s)
        self._ram_mm, self._state = self._state_after(step_s, ram_mm_s)
        self._drive_mm += speed_mm_s * step_s
        if abs(goal_mm - self._drive_mm) < _AT_END_MM:
            self._drive_mm = goal_mm
        if stalls:
            self._stall()
        return step_s

    def _stall(self) -> None:
        self._stalled = True
        self._target_mm, self._speed_mm_s = self._drive_mm, 0.0

    def _until_event(self, step_s: float, ram_mm_s: float) -> tuple[float, bool]:
        """Time to the first contact, loss of contact or stall within a step; whether it is a stall."""
        touches = self._touches(self._ram_mm, self._state)

        def changes(after_s: float) -> bool:
            return self._touches(*self._state_after(after_s, ram_mm_s)) != touches

        def stalls(after_s: float) -> bool:
            return ram_mm_s > 0.0 and self._force_N(*self._state_after(after_s, ram_mm_s)) > self.thrust_N

        for happens, is_stall in ((changes, False), (stalls, True)):
            if happens(step_s):
                low_s, high_s = 0.0, step_s
                for _ in range(_BISECTIONS):
                    middle_s = 0.5 * (low_s + high_s)
                    low_s, high_s = (low_s, middle_s) if happens(middle_s) else (middle_s, high_s)
                return high_s, is_stall
        return step_s, False

    def _touches(self, ram_mm: float, state: float) -> bool:
        return self.sample.touches(self.gap_mm - ram_mm, state)

    def _force_N(self, ram_mm: float, state: float) -> float:
        return self.sample.force_N(self.gap_mm - ram_mm, state, self.frame_N_mm)

    def _longest_step_s(self, ram_mm_s: float) -> float:
        opening_mm = self.gap_mm - self._ram_mm
        return self.sample.longest_step_s(opening_mm, ram_mm_s, self._state, self.frame_N_mm)

    def _state_after(self, step_s: float, ram_mm_s: float) -> tuple[float, float]:
        """Ram and state of the sample after a time at constant speed of the ram."""
        opening_mm = self.gap_mm - self._ram_mm
        state = self.sample.after(step_s, opening_mm, ram_mm_s, self._state, self.frame_N_mm)
        return self._ram_mm + ram_mm_s * step_s, state
