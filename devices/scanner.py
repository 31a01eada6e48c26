"""The family of scanners: multimeters that switch through channels of voltages and thermocouples."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devices.flyer import Column, Flyer, FlyingDevice
from devices.instrument import Cpt
from devices.signals import Measured, Text

__all__ = ["Scan", "ScannedChannel", "Scanner"]

_MARGIN_S = 60.0
_UNITS = {"voltage": "V", "temperature": "degC"}


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
        if not (isinstance(self.count, int) and self.count >= 1):
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

    Each channel is a signal under its own name: `scanner.channels["wall"]`, data key `<scanner>_wall`.
    It applies nothing to anything; its safe state is no scan running.

    Parameters
    ----------
    channels : mapping
        Name -> arguments of a `ScannedChannel`.

    Raises
    ------
    ValueError
        If there is no channel, two have one number, or one is not possible.
    """

    family = "scanner"

    quality = Cpt(Text, value="invalid", kind="normal", doc="Worst of the channels: ok, invalid or saturated")

    def __init__(self, *, channels: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scanned = {name: ScannedChannel(**record) for name, record in channels.items()}
        numbers = [channel.at for channel in self.scanned.values()]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{self.name}: channels must be there, each with its own number, not {numbers}")
        self.channels = {
            name: Measured(
                name=f"{self.name}_{name}", parent=self, unit=channel.unit, precision=6, kind="hinted"
            )
            for name, channel in self.scanned.items()
        }
        for signal in self.channels.values():
            signal.record(math.nan, self.clock.now())
        columns = {
            name: Column(channel.unit, f"Channel {channel.at}") for name, channel in self.scanned.items()
        }
        self.flyers = {"scan": Flyer(self, "scan", columns)}

    def read(self) -> OrderedDict[str, Any]:
        """Read the quality and all channels."""
        readings = super().read()
        for signal in self.channels.values():
            readings.update(signal.read())
        return readings

    def describe(self) -> OrderedDict[str, Any]:
        """Describe the quality and all channels."""
        description = super().describe()
        for signal in self.channels.values():
            description.update(signal.describe())
        return description

    @property
    def hints(self) -> dict[str, Any]:
        """All channels."""
        return {"fields": [signal.name for signal in self.channels.values()]}

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that scans."""
        if not isinstance(task, Scan):
            raise TypeError(f"{self.name}: a scanner does a Scan, not {task!r}")
        return self.flyers["scan"]

    def check_task(self, task: Any) -> None:
        """Raise ValueError if the channels can't be scanned in the interval."""
        shortest_s = self.shortest_scan_s()
        if task.interval_s < shortest_s:
            raise ValueError(
                f"{self.name}: a scan of {len(self.scanned)} channels takes {shortest_s:g} s, "
                f"longer than the interval of {task.interval_s:g} s"
            )

    def record_channels(self, values: Mapping[str, float], timestamp: float, quality: str) -> None:
        """Take over one reading of each channel, and the worst quality among them."""
        for name, value in values.items():
            self.channels[name].record(value, timestamp)
        self.quality.record(quality, timestamp)

    @abstractmethod
    def shortest_scan_s(self) -> float:
        """Time that one scan of all channels takes, from integration time and switching."""
