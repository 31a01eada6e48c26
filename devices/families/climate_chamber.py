"""The family of climate chambers: temperature, and in some relative humidity, of the air around the cells."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Text
from devices.status import NotReached, Status
from ssblab.links import LinkError

__all__ = ["CONSTANT", "OFF", "PROGRAM", "STANDBY", "ClimateChamber"]

#: What a chamber can be doing; drivers use these words. In the first two its machinery rests.
OFF, STANDBY, CONSTANT, PROGRAM = "off", "standby", "constant", "program"

_POLL_S = 10.0
_MARGIN = 1.5
_LAG_S = 900.0  # for an overshoot to die away, and for the compressor's own waiting times


class ClimateChamber(Instrument):
    """Holds temperature and humidity; control and alarm limits are in the chamber.

    Parameters
    ----------
    heating_K_min, cooling_K_min : float
        Slowest rates of the chamber with its load, K/min. They decide how long an approach may take.
    humidity_rate_percent_min : float
        The same for relative humidity, %/min.
    alarm_margin_K, alarm_margin_percent : float
        How far outside the set point's limits the chamber's own alarm limits are: an overshoot is no alarm.
    """

    family = "climate chamber"

    temperature = Cpt(Measured, unit="degC", precision=1, kind="hinted", doc="Temperature of the air")
    temperature_setpoint = Cpt(
        Setting, unit="degC", precision=1, kind="normal", doc="Temperature that the chamber goes to"
    )
    relative_humidity = Cpt(
        Measured, unit="%", precision=0, kind="hinted", doc="Relative humidity of the air, over water"
    )
    humidity_setpoint = Cpt(
        Setting,
        unit="%",
        precision=0,
        limits=(0.0, 100.0),
        kind="normal",
        doc="Relative humidity that the chamber goes to; NaN while humidity is not controlled",
    )
    state = Cpt(Text, kind="normal", doc="What the chamber does: off, standby, constant or program")
    alarms = Cpt(Text, kind="normal", doc="Latched alarms as the chamber tells them; empty if there are none")

    def __init__(
        self,
        *,
        heating_K_min: float = 1.0,
        cooling_K_min: float = 0.5,
        humidity_rate_percent_min: float = 1.0,
        alarm_margin_K: float = 5.0,
        alarm_margin_percent: float = 5.0,
        **kwargs: Any,
    ) -> None:
        self._heating_K_min = heating_K_min
        self._cooling_K_min = cooling_K_min
        self._humidity_rate_percent_min = humidity_rate_percent_min
        self.alarm_margin_K = alarm_margin_K
        self.alarm_margin_percent = alarm_margin_percent
        super().__init__(**kwargs)

    @property
    @abstractmethod
    def controls_humidity(self) -> bool:
        """Whether the chamber can control humidity; known once it is connected."""

    @property
    def tripped(self) -> str:
        """Why the chamber does not hold what it was told, by the last poll; empty while all is well.

        An alarm stays until somebody has acknowledged it at the chamber. A reading that is not good counts.
        """
        reasons = [f"chamber alarm {self.alarms.get()}"] if self.alarms.get() else []
        if self.quality.get() != "ok" and not reasons:
            reasons.append(f"the reading is {self.quality.get()}")
        return "; ".join(reasons)

    def set(
        self,
        temperature_C: float,
        *,
        humidity_percent: float | None = None,
        tolerance_K: float = 0.5,
        tolerance_percent: float = 3.0,
        settle_s: float = 60.0,
    ) -> Status:
        """Go to a climate; done when temperature, and humidity if asked for, stayed in band for `settle_s`.

        The time allowed is that of the slowest rates, from the last reading, plus a margin.

        Parameters
        ----------
        temperature_C : float
            Of the air, degC.
        humidity_percent : float, optional
            Relative humidity, %; without it humidity is not controlled.
        tolerance_K, tolerance_percent, settle_s : float
            How near both must stay (K, %), and how long (s).

        Raises
        ------
        LimitError
            If temperature or humidity are outside the limits; nothing was sent then.
        InstrumentError
            If humidity is asked of a chamber that can't control it, or nothing has been read yet. Through the
            status: if the chamber is, or gets, in alarm, or stops.
        """
        self.temperature_setpoint.check_value(temperature_C)
        if humidity_percent is not None:
            if not self.controls_humidity:
                raise self.refused(f"can't control humidity, {humidity_percent:g} % was asked for")
            self.humidity_setpoint.check_value(humidity_percent)
        approach_s = self._longest_approach_s(temperature_C, humidity_percent) + settle_s
        give_up_s = self.clock.monotonic() + approach_s

        def start() -> None:
            self._poll_untripped()
            self.write_climate(temperature_C, humidity_percent)

        def read() -> float:
            """Read the temperature; NaN, which is out of the band, while only humidity is missing."""
            self._poll_untripped()
            if self.state.get() != CONSTANT:
                raise self.refused(f"is no longer in constant operation but in {self.state.get()}")
            temperature_now_C = float(self.temperature.get())
            if humidity_percent is None or abs(temperature_now_C - temperature_C) > tolerance_K:
                return temperature_now_C
            humidity_now_percent = float(self.relative_humidity.get())
            if abs(humidity_now_percent - humidity_percent) <= tolerance_percent:
                return temperature_now_C
            if self.clock.monotonic() >= give_up_s:
                raise NotReached(
                    f"{self.name}: humidity: not settled (target {humidity_percent:g} +/- "
                    f"{tolerance_percent:g} %, last reading {humidity_now_percent:g} % at "
                    f"{temperature_now_C:g} degC, waited {approach_s:.0f} s)"
                )
            return math.nan

        return self.approach(
            "temperature",
            "degC",
            start=start,
            read=read,
            target=temperature_C,
            tolerance=tolerance_K,
            settle_s=settle_s,
            timeout_s=approach_s,
            poll_s=_POLL_S,
        )

    def poll(self) -> None:
        """Read the chamber; a reading that fails leaves nothing that could pass for good."""
        try:
            self.read_chamber()
        except LinkError:
            self.record(quality="invalid")
            raise

    @abstractmethod
    def read_chamber(self) -> None:
        """Read all signals; on the worker. An alarm of the chamber is a reading, not an error.

        While an alarm is latched the quality is "invalid": a broken sensor is one of the reasons for it.
        """

    @abstractmethod
    def write_climate(self, temperature_C: float, humidity_percent: float | None) -> None:
        """Write the set points, start, read all back, record it; on the worker. None: humidity control off.

        Raises
        ------
        InstrumentError
            If the chamber holds something else than it was told.
        """

    def wanted_alarm_limits(
        self, signal: Setting, margin: float, held: tuple[float, float]
    ) -> tuple[float, float]:
        """Where the chamber's alarm limits shall be: a margin outside the signal's, never wider than held."""
        low, high = signal.limits
        return max(held[0], low - margin), min(held[1], high + margin)

    def _poll_untripped(self) -> None:
        self.poll()
        if self.alarms.get():
            raise self.refused(f"is in alarm: {self.alarms.get()}; acknowledge it at the chamber")

    def _longest_approach_s(self, temperature_C: float, humidity_percent: float | None) -> float:
        now_C = float(self.temperature.get())
        if not math.isfinite(now_C):
            raise self.refused("its temperature has not been read yet")
        way_K = temperature_C - now_C
        minutes = way_K / self._heating_K_min if way_K > 0 else -way_K / self._cooling_K_min
        if humidity_percent is not None:
            way_percent = abs(humidity_percent - float(self.relative_humidity.get()))
            if math.isfinite(way_percent):  # what has not been read may be anything from 0 to 100 %
                minutes += way_percent / self._humidity_rate_percent_min
            else:
                minutes += 100.0 / self._humidity_rate_percent_min
        return _MARGIN * 60.0 * minutes + _LAG_S
