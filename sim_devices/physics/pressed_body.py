"""What the platens of a press can hold."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["PressedBody"]


class PressedBody(Protocol):
    """A body between two platens, whose state is one number; the press keeps it.

    The frame of the press gives way as a spring (`frame_N_mm`) in series. `opening_mm` is the distance at
    which the platens would be if it did not, and `closing_mm_s` the speed at which that falls.
    """

    @property
    def area_mm2(self) -> float:
        """On which the platens press."""

    @property
    def initial_state(self) -> float:
        """State when it is put in."""

    def present_state(self, state: float) -> float:
        """State now, where something else than the press has changed it."""

    def touches(self, opening_mm: float, state: float) -> bool:
        """Whether the platens touch it."""

    def force_N(self, opening_mm: float, state: float, frame_N_mm: float) -> float:
        """Force between the platens."""

    def longest_step_s(
        self, opening_mm: float, closing_mm_s: float, state: float, frame_N_mm: float
    ) -> float:
        """How far `after` may go in one step."""

    def after(
        self, step_s: float, opening_mm: float, closing_mm_s: float, state: float, frame_N_mm: float
    ) -> float:
        """State after a step at constant speed."""

    def bear(self, pressure_MPa: float) -> None:
        """Be under a pressure from now on."""

    def impedance(
        self, frequency_Hz: NDArray[np.float64], opening_mm: float, state: float, frame_N_mm: float
    ) -> NDArray[np.complex128]:
        """Impedance between the platens, ohm."""

    def taken_out(self, state: float) -> Any:
        """What leaves the press, as the press has made it."""
