"""What hangs on the lines of an input/output board: contactors, and contacts that close with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ssblab.clock import Clock

__all__ = ["RelayPanel", "Switching"]


class Switching(NamedTuple):
    """A line that was driven otherwise than before, and when (laboratory time, s since 1970)."""

    time_s: float
    line: int
    on: bool


class RelayPanel:
    """Relays that follow the lines that drive them, and contacts that can be read.

    Parameters
    ----------
    clock : Clock
        Dates what switches.
    generator : numpy.random.Generator
        Not used: contacts have no noise.
    auxiliary : mapping, optional
        Input line -> line of the relay whose auxiliary contact is on it.

    Attributes
    ----------
    closed : set of int
        Input lines whose contact is closed (reads on) from outside, a door for example.
    history : list of Switching
        All changes of driven lines, in order.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        auxiliary: Mapping[int, int] | None = None,
    ) -> None:
        self._clock = clock
        self._auxiliary = dict(auxiliary or {})
        self._on: set[int] = set()
        self._look: Callable[[], None] | None = None
        self.closed: set[int] = set()
        self.history: list[Switching] = []

    def attach(self, look: Callable[[], None]) -> None:
        """Call `look` before somebody looks at a relay: a board may have dropped it since."""
        self._look = look

    def drive(self, line: int, on: bool) -> None:
        """Drive a line, or let it go (off)."""
        if on != (line in self._on):
            (self._on.add if on else self._on.discard)(line)
            self.history.append(Switching(self._clock.now(), line, on))

    def contact(self, line: int) -> bool:
        """Whether the contact on an input line is closed."""
        return line in self.closed or self._auxiliary.get(line) in self._on

    def is_on(self, line: int) -> bool:
        """Whether the relay on a line is on now."""
        if self._look is not None:
            self._look()
        return line in self._on
