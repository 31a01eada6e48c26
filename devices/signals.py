"""Signals whose every value has a unit and the time at which it was measured."""

from __future__ import annotations

import math
from typing import Any

from ophyd import Signal
from ophyd.utils import LimitError, ReadOnlyError

__all__ = ["Measured", "Setting", "Switch", "Text"]


class Measured(Signal):
    """A quantity that an instrument measures.

    Parameters
    ----------
    unit : str
        As pint writes it in short form: "degC", "mL/min", "ppb".
    precision : int
        Decimals that are worth printing.
    """

    def __init__(
        self, *, name: str, unit: str, precision: int = 3, value: float = math.nan, **kwargs: Any
    ) -> None:
        super().__init__(name=name, value=value, **kwargs)
        self.unit = unit
        self.precision = precision

    def describe(self) -> dict[str, Any]:
        """Describe the signal for an event descriptor, with its unit."""
        description = super().describe()
        description[self.name].update(units=self.unit, precision=self.precision)
        return description

    def record(self, value: float, timestamp: float) -> None:
        """Take over a reading and the time (s since 1970) at which it was measured."""
        super().put(value, timestamp=timestamp, force=True)

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: what is measured can't be set."""
        raise ReadOnlyError(f"{self.name} is measured and can't be set")

    def set(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: what is measured can't be set."""
        raise ReadOnlyError(f"{self.name} is measured and can't be set")


class Setting(Measured):
    """A quantity that an instrument has been told, as read back from it, with the limits that hold for it.

    It is changed through its device's verbs, which check the limits by `check_value` first.
    """

    def __init__(
        self, *, name: str, unit: str, limits: tuple[float, float] = (-math.inf, math.inf), **kwargs: Any
    ) -> None:
        super().__init__(name=name, unit=unit, **kwargs)
        self._limits = limits

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value allowed, in the signal's unit."""
        return self._limits

    def narrow(self, low: float, high: float) -> None:
        """Make the limits narrower; they never get wider."""
        self._limits = (max(self._limits[0], low), min(self._limits[1], high))

    def check_value(self, value: float, **kwargs: Any) -> None:
        """Raise LimitError unless the value is a number within the limits."""
        low, high = self._limits
        if not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high):
            raise LimitError(
                f"{self.name}: {value!r} {self.unit} is not allowed, "
                f"it must be from {low:g} to {high:g} {self.unit}"
            )

    def describe(self) -> dict[str, Any]:
        """Describe the signal for an event descriptor, with unit and finite limits."""
        description = super().describe()
        low, high = self._limits
        if math.isfinite(low):
            description[self.name]["lower_ctrl_limit"] = low
        if math.isfinite(high):
            description[self.name]["upper_ctrl_limit"] = high
        return description


class Switch(Measured):
    """Something that is on (1) or off (0)."""

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, unit="1", precision=0, **kwargs)


class Text(Signal):
    """A word that an instrument says about itself: its state, or the quality of its reading."""

    def __init__(self, *, name: str, value: str = "", **kwargs: Any) -> None:
        super().__init__(name=name, value=value, **kwargs)

    def record(self, value: str, timestamp: float) -> None:
        """Take over a word and the time (s since 1970) at which it was read."""
        super().put(value, timestamp=timestamp, force=True)

    def put(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: a state is read, not set."""
        raise ReadOnlyError(f"{self.name} is read from the instrument and can't be set")

    def set(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a state is read, not set."""
        raise ReadOnlyError(f"{self.name} is read from the instrument and can't be set")
