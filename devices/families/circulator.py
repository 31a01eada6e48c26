"""The family of heating and refrigerating circulators: bath thermostats that temper a cell or a jacket."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Switch, Text
from devices.status import Status
from ssblab.links import LinkError

__all__ = ["Circulator"]

_POLL_S = 5.0
_MARGIN = 1.5
_LAG_S = 900.0  # for the approach at the end, when the power is no longer at its largest


class Circulator(Instrument):
    """Tempers a fluid and pumps it; control runs in the instrument.

    Parameters
    ----------
    slowest_rate_K_min : float
        Of heating and of cooling, with the station's fluid and what hangs on the bath; decides how long
        reaching a temperature may take.
    """

    family = "circulator"

    temperature = Cpt(Measured, unit="degC", precision=2, kind="hinted", doc="Temperature of the bath")
    external_temperature = Cpt(
        Measured,
        unit="degC",
        precision=2,
        kind="normal",
        doc="Temperature at the external sensor; NaN without one",
    )
    temperature_setpoint = Cpt(
        Setting, unit="degC", precision=2, kind="normal", doc="Temperature that the bath is brought to"
    )
    output = Cpt(
        Measured, unit="%", precision=0, kind="normal", doc="Heating power, as a share; negative: cooling"
    )
    running = Cpt(Switch, kind="normal", doc="1: tempers and pumps; 0: stands by")
    alarm = Cpt(
        Text, kind="normal", doc="Alarm or warning in the instrument's words; empty while there is none"
    )

    def __init__(self, *, slowest_rate_K_min: float = 0.2, **kwargs: Any) -> None:
        self._slowest_rate_K_min = slowest_rate_K_min
        super().__init__(**kwargs)

    @property
    def tripped(self) -> str:
        """Why the circulator does not count as sound, by the last poll; empty while all is well."""
        if self.alarm.get():
            return f"reports {self.alarm.get()}"
        if self.quality.get() != "ok":
            return f"the reading is {self.quality.get()}"
        return ""

    def poll(self) -> None:
        """Read the circulator; a reading that fails leaves nothing that could pass for good."""
        try:
            self.read_bath()
        except LinkError:
            self.record(quality="invalid")
            raise

    def set(self, temperature_C: float, *, tolerance_K: float = 0.2, settle_s: float = 60.0) -> Status:
        """Bring the bath to a temperature; done when it has stayed within tolerance for `settle_s`.

        Circulation is started if it stands. An alarm of the instrument fails the status, and so does a stop
        at its keys. The approach to another temperature that is still under way fails.

        Parameters
        ----------
        temperature_C : float
            Of the bath, degC.
        tolerance_K, settle_s : float
            How near the temperature must stay (K), and how long (s).

        Raises
        ------
        LimitError
            If the temperature is outside the limits; nothing was sent then.
        InstrumentError
            If the temperature has never been read.
        """
        self.temperature_setpoint.check_value(temperature_C)
        now_C = float(self.temperature.get())
        if not math.isfinite(now_C):
            raise self.refused("its temperature has not been read yet")
        longest_s = _MARGIN * 60.0 * abs(temperature_C - now_C) / self._slowest_rate_K_min + _LAG_S
        return self.approach(
            "temperature",
            "degC",
            start=lambda: self._start(temperature_C),
            read=self._read_temperature,
            target=temperature_C,
            tolerance=tolerance_K,
            settle_s=settle_s,
            timeout_s=longest_s + settle_s,
            poll_s=_POLL_S,
        )

    def halt(self) -> Status:
        """Stop tempering and pumping; done when the instrument says that it stands."""
        return self.do("halt", self.make_safe)

    @abstractmethod
    def read_bath(self) -> None:
        """Read all signals; on the worker. An alarm of the instrument is a reading, not an error."""

    @abstractmethod
    def write_setpoint(self, temperature_C: float) -> None:
        """Tell the instrument the temperature, read it back, record it; on the worker.

        Raises
        ------
        InstrumentError
            If it holds something else than it was told.
        """

    @abstractmethod
    def write_running(self, on: bool) -> None:
        """Start or stop tempering and pumping, read that back, record it; on the worker.

        Raises
        ------
        InstrumentError
            If it did not start or stop.
        """

    def _start(self, temperature_C: float) -> None:
        self._poll_untripped()
        self.write_setpoint(temperature_C)
        self.write_running(True)

    def _read_temperature(self) -> float:
        self._poll_untripped()
        if self.running.get() != 1:
            raise self.refused("has stopped by itself")
        return float(self.temperature.get())

    def _poll_untripped(self) -> None:
        self.poll()
        if self.tripped:
            raise self.refused(self.tripped)
