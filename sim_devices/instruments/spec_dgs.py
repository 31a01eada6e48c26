"""SPEC Sensors DGS and DGS2 digital gas sensors, UART, 9600 baud 8N1.

Source: the maker's Arduino library SPEC-Sensors/DGS, public code for DGS2, and AirGradient's DGSx component
for the stream. Commands are single characters without a line end.

Serial number, calibration and range are in permanent memory. That a busy sensor is silent and that readings
end at the range are ours: the maker documents neither, nor any report of a fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from sim_devices.wire import Breakdown, SimulatedInstrument
from ssblab.clock import Clock

__all__ = ["GasAtSensor", "SimulatedSpecDgs"]

_STREAM_PERIOD_S = 1.0
_WARM_UP_ERROR_PPB = 500.0  # placeholder: the error just after power-up, plausible 100 to 2000 ppb
_WARM_UP_TIME_CONSTANT_S = 900.0  # placeholder: gone after the hour that the data sheet asks for


class GasAtSensor(Protocol):
    """What the sensing electrode makes of the gas around it, and that gas."""

    def concentration_ppb(self) -> float:
        """Concentration that the warm electrode would report now, without the end of its range."""

    def temperature_C(self) -> float:
        """Temperature of the gas."""

    def relative_humidity_percent(self) -> float:
        """Relative humidity of the gas."""


class SimulatedSpecDgs(SimulatedInstrument):
    """Answers a carriage return with a reading; `c` starts and stops a reading a second.

    Parameters
    ----------
    sensor : GasAtSensor
        The electrode in its gas.
    model : {"DGS", "DGS2"}
        Decides the fields of a line.
    serial : str
        Eight to twelve digits.
    range_ppb : float
        Readings end here.
    uptime_s : float
        For how long it has had power at the start.
    """

    latency_s = 0.1
    breakdowns: tuple[Breakdown, ...] = ("busy", "over_range")

    def __init__(
        self,
        clock: Clock,
        sensor: GasAtSensor,
        *,
        model: Literal["DGS", "DGS2"] = "DGS",
        serial: str = "041821030312",
        range_ppb: float = 10_000.0,
        uptime_s: float = 86_400.0,
    ) -> None:
        super().__init__(clock)
        self._sensor = sensor
        self._model = model
        self.serial = serial
        self.range_ppb = range_ppb
        self.power_on()
        self._power_on_s -= uptime_s

    def power_on(self) -> None:
        """Begin to warm up; no stream."""
        self._power_on_s = self.clock.monotonic()
        self._next_line_s: float | None = None

    def receive(self, buffer: bytearray) -> Iterator[bytes]:
        """Obey each character; those it does not know are met with silence."""
        if self.broken("busy"):
            buffer.clear()
        while buffer:
            command = buffer.pop(0)
            if command == ord("\r"):
                yield self._line()
            elif command in b"cC":
                streams = self._next_line_s is not None
                self._next_line_s = None if streams else self.clock.monotonic() + _STREAM_PERIOD_S

    def unsolicited(self) -> Iterable[bytes]:
        """Give the line of the stream that is due."""
        now_s = self.clock.monotonic()
        if self._next_line_s is None or now_s < self._next_line_s:
            return ()
        if self.broken("busy"):
            self._next_line_s = now_s + _STREAM_PERIOD_S
            return ()
        self._next_line_s = now_s + _STREAM_PERIOD_S
        return (self._line(),)

    def next_unsolicited(self) -> float | None:
        """Time of the next line of the stream."""
        return self._next_line_s

    def _line(self) -> bytes:
        temperature_C = self._sensor.temperature_C()
        humidity_percent = min(max(self._sensor.relative_humidity_percent(), 0.0), 100.0)
        ppb = self._reading_ppb()
        raw = [30_000 + ppb // 4, 26_000 + round(40 * temperature_C), 20_000 + round(300 * humidity_percent)]
        if self._model == "DGS":
            climate = [round(temperature_C), round(humidity_percent)]
            fields = [ppb, *climate, *raw]
            return self._join([self.serial, *map(str, fields), *self._uptime()])
        return self._join(
            [self.serial, *map(str, [ppb, round(100 * temperature_C), round(100 * humidity_percent), *raw])]
        )

    @staticmethod
    def _join(fields: list[str]) -> bytes:
        return (", ".join(fields) + "\r\n").encode("ascii")

    def _uptime_s(self) -> float:
        return self.clock.monotonic() - self._power_on_s

    def _uptime(self) -> list[str]:
        minutes, seconds = divmod(int(self._uptime_s()), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        return [f"{part:02d}" for part in (days, hours, minutes, seconds)]

    def _reading_ppb(self) -> int:
        if self.broken("over_range"):
            return round(self.range_ppb)
        error_ppb = _WARM_UP_ERROR_PPB * math.exp(-self._uptime_s() / _WARM_UP_TIME_CONSTANT_S)
        return round(min(self._sensor.concentration_ppb() + error_ppb, self.range_ppb))
