"""The family of furnaces and ovens with a temperature controller."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting
from devices.status import Status

__all__ = ["Furnace"]

_POLL_S = 10.0
_MARGIN = 1.5
_LAG_S = 900.0  # for the furnace to catch up with its working set point, and an overshoot to die away
_ROOM_TEMPERATURE_C = 25.0
_LEAST_COOLING_K = 1.0  # passive cooling all the way to the room's temperature would never end


class Furnace(Instrument):
    """Ramps to a temperature and holds it; ramp and control run in the instrument.

    Parameters
    ----------
    cooling_time_constant_s : float
        Of the slowest passive cooling: the time in which the distance to room temperature falls to 1/e with
        the heater off. Decides how long a ramp downwards may take.
    """

    family = "furnace"

    temperature = Cpt(
        Measured, unit="degC", precision=1, kind="hinted", doc="Temperature at the controller's sensor"
    )
    temperature_setpoint = Cpt(
        Setting, unit="degC", precision=1, kind="normal", doc="Temperature at which the ramp ends"
    )
    working_setpoint = Cpt(
        Measured, unit="degC", precision=1, kind="normal", doc="Temperature asked for now, on the ramp"
    )
    ramp_rate = Cpt(
        Setting,
        unit="K/min",
        precision=1,
        limits=(0.1, 100.0),
        kind="normal",
        doc="Rate at which the working set point moves, up and down; 0 if it jumps",
    )
    output = Cpt(Measured, unit="%", precision=1, kind="normal", doc="Heater power as a share of the largest")

    def __init__(self, *, cooling_time_constant_s: float = 3600.0, **kwargs: Any) -> None:
        self._cooling_time_constant_s = cooling_time_constant_s
        super().__init__(**kwargs)

    def set(
        self,
        temperature_C: float,
        *,
        ramp_K_min: float | None = None,
        tolerance_K: float = 2.0,
        settle_s: float = 60.0,
    ) -> Status:
        """Go to a temperature on a ramp; done when it has stayed within tolerance for `settle_s`.

        The time allowed is that of the ramp, or of passive cooling if that is slower, from the temperature
        last read, plus a margin. The approach to another temperature that is still under way fails.

        Parameters
        ----------
        temperature_C : float
            Where the ramp ends, degC.
        ramp_K_min : float, optional
            Rate of the ramp, up or down, K/min; by default the one that the instrument has now.
        tolerance_K, settle_s : float
            How near the temperature must stay (K), and how long (s).

        Raises
        ------
        LimitError
            If temperature or rate are outside the limits; nothing was sent then.
        InstrumentError
            If the temperature has never been read.
        """
        rate_K_min = float(self.ramp_rate.get()) if ramp_K_min is None else ramp_K_min
        self.temperature_setpoint.check_value(temperature_C)
        self.ramp_rate.check_value(rate_K_min)
        longest_s = self._longest_approach_s(temperature_C, rate_K_min, tolerance_K)
        return self.approach(
            "temperature",
            "degC",
            start=lambda: self.write_ramp(temperature_C, rate_K_min),
            read=self._read_temperature,
            target=temperature_C,
            tolerance=tolerance_K,
            settle_s=settle_s,
            timeout_s=longest_s + settle_s,
            poll_s=_POLL_S,
        )

    @abstractmethod
    def write_ramp(self, temperature_C: float, ramp_K_min: float) -> None:
        """Start the ramp in the instrument, read it back, record it; on the worker.

        Raises
        ------
        InstrumentError
            If it holds something else than it was told.
        """

    def _read_temperature(self) -> float:
        self.poll()
        return float(self.temperature.get())

    def _longest_approach_s(self, temperature_C: float, ramp_K_min: float, tolerance_K: float) -> float:
        now_C = float(self.temperature.get())
        if not math.isfinite(now_C):
            raise self.refused("its temperature has not been read yet")
        starts_C = [now_C, float(self.working_setpoint.get())]
        ramp_s = 60.0 * max(abs(temperature_C - start_C) for start_C in starts_C) / ramp_K_min
        return _MARGIN * max(ramp_s, self._passive_cooling_s(now_C, temperature_C + tolerance_K)) + _LAG_S

    def _passive_cooling_s(self, from_C: float, to_C: float) -> float:
        above_room_K = max(from_C - _ROOM_TEMPERATURE_C, _LEAST_COOLING_K)
        left_K = max(to_C - _ROOM_TEMPERATURE_C, _LEAST_COOLING_K)
        return self._cooling_time_constant_s * math.log(above_room_K / left_K)
