"""The family of scanners: multimeters that switch through channels of voltages and thermocouples."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ophyd.device import create_device_from_components
from ophyd.utils import LimitError

from devices.flyer import Column, Flyer, FlyingDevice, Row
from devices.instrument import Cpt
from devices.signals import Measured, Text
from devices.status import Status

__all__ = ["Scan", "ScannedChannel", "Scanner", "worst"]

_MARGIN_S = 60.0
_RANKING = ("ok", "saturated", "invalid")  # of qualities, the worst last
_UNITS = {"voltage": "V", "temperature": "degC"}


def worst(qualities: Iterable[str]) -> str:
    """Worst of some qualities: ok, saturated or invalid."""
    return max(qualities, key=_RANKING.index)


@dataclass(frozen=True)
class ScannedChannel:
    """One channel of a scanner.

    Attributes
    ----------
    at : int
        Its number on the instrument: slot and channel, as 101.
    quantity : {"voltage", "temperature"}
        What it measures. A voltage is measured with the highest input impedance that the instrument has,
        because a reference electrode bears no current.
    thermocouple : str
        Type of the thermocouple ("K") of a temperature; its cold junction is the instrument's own.
    range_V : float
        Range of a voltage.

    Raises
    ------
    ValueError
        If the quantity is unknown, or the thermocouple does not fit it.
    """

    at: int
    quantity: Literal["voltage", "temperature"]
    thermocouple: str = ""
    range_V: float = 10.0

    def __post_init__(self) -> None:
        if self.quantity not in _UNITS:
            raise ValueError(f"quantity must be one of {', '.join(_UNITS)}, not {self.quantity!r}")
        if (self.quantity == "temperature") != bool(self.thermocouple):
            raise ValueError("a temperature needs the type of its thermocouple, and only a temperature does")
        if self.thermocouple and self.thermocouple not in "BEJKNRST":
            raise ValueError(f"thermocouple must be one of B E J K N R S T, not {self.thermocouple!r}")

    @property
    def unit(self) -> str:
        """Unit of its readings."""
        return _UNITS[self.quantity]

    def quality_of(self, value: float) -> str:
        """Quality of a reading, NaN where the instrument has none.

        A voltage without reading is beyond its range ("saturated"), a temperature has an open thermocouple
        or one that is no thermocouple ("invalid").
        """
        if math.isfinite(value):
            return "ok"
        return "saturated" if self.quantity == "voltage" else "invalid"


@dataclass(frozen=True)
class Scan:
    """Scans of all channels that the instrument takes by itself.

    Attributes
    ----------
    interval_s : float
        From the start of a scan to that of the next.
    count : int
        How many scans.
    """

    interval_s: float
    count: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.interval_s) and self.interval_s > 0):
            raise ValueError(f"interval_s must be a number above 0, not {self.interval_s!r}")
        if isinstance(self.count, bool) or not (isinstance(self.count, int) and self.count >= 1):
            raise ValueError(f"count must be a whole number from 1, not {self.count!r}")

    @property
    def points(self) -> int | None:
        """One row a scan."""
        return self.count

    def longest_s(self) -> float:
        """Longest time that all scans can take."""
        return self.count * self.interval_s + _MARGIN_S

    def silence_s(self, rows: int) -> float:
        """Longest time between two scans."""
        return self.interval_s + _MARGIN_S


class Scanner(FlyingDevice):
    """Reads its channels, one by one on request (`trigger`) or in scans of its own (flyer `scan`).

    Each channel is a signal of its own, `scanner.wall` or `scanner.channels["wall"]`, with the data key
    `<scanner>_wall`. A scanner applies nothing to anything; its safe state is no scan running.

    Parameters
    ----------
    channels : mapping
        Name -> arguments of a `ScannedChannel`.

    Raises
    ------
    ValueError
        If there is no channel, two have one number, one is not possible, or its name is taken.
    """

    family = "scanner"
    longest_interval_s: ClassVar[float] = math.inf
    most_scans: ClassVar[float] = math.inf

    quality = Cpt(Text, value="invalid", kind="normal", doc="Worst of the channels: ok, invalid or saturated")

    def __new__(cls, *, channels: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> Scanner:
        """Make a scanner whose class has a component for each channel, as a device with fixed ones has."""
        scanned = {name: ScannedChannel(**record) for name, record in channels.items()}
        if taken := sorted(name for name in scanned if hasattr(cls, name) or not name.isidentifier()):
            raise ValueError(f"{', '.join(taken)}: no name for a channel")
        components = {
            name: Cpt(Measured, unit=channel.unit, precision=6, kind="hinted", doc=f"Channel {channel.at}")
            for name, channel in scanned.items()
        }
        return super().__new__(
            create_device_from_components(
                cls.__name__, docstring=cls.__doc__ or "", base_class=cls, **components
            )
        )

    def __init__(self, *, channels: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scanned = {name: ScannedChannel(**record) for name, record in channels.items()}
        numbers = [channel.at for channel in self.scanned.values()]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{self.name}: channels must be there, each with its own number, not {numbers}")
        self.channels: dict[str, Measured] = {name: getattr(self, name) for name in self.scanned}
        columns = {
            name: Column(channel.unit, f"Channel {channel.at}") for name, channel in self.scanned.items()
        }
        columns["quality"] = Column("", "Worst of the channels: ok, invalid or saturated")
        self.flyers = {"scan": Flyer(self, "scan", columns)}

    def trigger(self) -> Status:
        """Read all channels anew; done when they have been read."""
        return self.do("read", self.poll, timeout_s=self.action_timeout_s + 2 * self.shortest_scan_s())

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that scans."""
        if not isinstance(task, Scan):
            raise TypeError(f"{self.name}: a scanner does a Scan, not {task!r}")
        return self.flyers["scan"]

    def check_task(self, task: Any) -> None:
        """Raise LimitError if the instrument can't scan its channels in the interval, or not so often."""
        shortest_s = self.shortest_scan_s()
        if task.interval_s < shortest_s:
            raise LimitError(
                f"{self.name}: a scan of {len(self.scanned)} channels takes {shortest_s:g} s, "
                f"longer than the interval of {task.interval_s:g} s"
            )
        if task.interval_s > self.longest_interval_s:
            raise LimitError(
                f"{self.name}: an interval of {task.interval_s:g} s is longer than "
                f"{self.longest_interval_s:g} s, the longest that the instrument has"
            )
        if task.count > self.most_scans:
            raise LimitError(
                f"{self.name}: {task.count} scans are more than {self.most_scans:g}, the most that the "
                "instrument does"
            )

    def in_order(self) -> dict[int, str]:
        """Names of the channels by their number, in the order in which they are scanned."""
        return {
            channel.at: name for name, channel in sorted(self.scanned.items(), key=lambda item: item[1].at)
        }

    def record_channels(self, values: Mapping[str, float], timestamp: float) -> None:
        """Take over one reading of each channel, and the worst quality among them."""
        for name, value in values.items():
            self.channels[name].record(value, timestamp)
        self.quality.record(self._worst(values), timestamp)

    def record_nothing(self) -> None:
        """Say that no channel could be read."""
        self.record(quality="invalid", **dict.fromkeys(self.scanned, math.nan))

    def add_scan(self, values: Mapping[str, float], timestamp: float) -> None:
        """Take over a scan of the running task."""
        self.add_rows([Row(timestamp, {**values, "quality": self._worst(values)})])
        self.record_channels(values, timestamp)

    def _worst(self, values: Mapping[str, float]) -> str:
        return worst(self.scanned[name].quality_of(value) for name, value in values.items())

    @abstractmethod
    def shortest_scan_s(self) -> float:
        """Time that one scan of all channels takes, from integration time and switching."""
