"""What every device of the laboratory has: a name, a clock, a safe state; and every instrument: a link."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ophyd import Component as Cpt
from ophyd import Device

from devices.signals import Text
from devices.status import Status
from ssblab.clock import Clock
from ssblab.links import InstrumentError, Link, LinkSettings, Transcript, WrongInstrument

__all__ = ["Cpt", "Identity", "Instrument", "LabDevice", "quality_of"]


@dataclass(frozen=True)
class Identity:
    """Who an instrument says it is.

    Attributes
    ----------
    maker, model, serial, firmware : str
        Empty where the instrument's protocol does not tell.
    """

    maker: str
    model: str
    serial: str = ""
    firmware: str = ""

    def __str__(self) -> str:
        extra = [f"serial {self.serial}"] if self.serial else []
        extra += [f"firmware {self.firmware}"] if self.firmware else []
        return " ".join([self.maker, self.model, *(["(" + ", ".join(extra) + ")"] if extra else [])])


class LabDevice(Device, ABC):
    """A device of a family: plans know it by its family's signals and verbs alone.

    Parameters
    ----------
    name : str
        Its name in the station file.
    clock : Clock
        All its waiting and all its times.
    """

    family: ClassVar[str] = ""
    action_timeout_s: ClassVar[float] = 30.0

    def __init__(self, *, name: str, clock: Clock, **kwargs: Any) -> None:
        super().__init__("", name=name, **kwargs)
        self.clock = clock
        for component in self.component_names:  # until they are read; ophyd would say the computer's time
            signal = getattr(self, component)
            signal.record(signal.get(), clock.now())

    @abstractmethod
    def connect(self) -> None:
        """Find the device and bring its limits into it.

        Raises
        ------
        LinkError
            If it is not there, or not what the station file says.
        """

    @abstractmethod
    def poll(self) -> None:
        """Read all measured quantities into the signals; on the device's worker."""

    @abstractmethod
    def make_safe(self) -> None:
        """Bring the device into its safe state and read that back; idempotent, bounded in time.

        Raises
        ------
        LinkError
            If the safe state could not be reached or not be confirmed.
        """

    def trigger(self) -> Status:
        """Read all quantities anew; done when they have been read."""
        return self.do("read", self.poll)

    def do(self, what: str, work: Callable[[], Any], *, timeout_s: float | None = None) -> Status:
        """Do something on the device's worker; the status ends as the work ends."""
        longest_s = self.clock.patience(timeout_s or self.action_timeout_s)
        status = Status(self.clock, f"{self.name}: {what}", longest_s)
        return status.follow(self.clock.submit(self.name, work))

    def stop(self, *, success: bool = False) -> None:
        """Go to the safe state (bluesky calls this when a plan ends badly); on the worker, waited for."""
        self.clock.submit(self.name, self.make_safe).result(self.action_timeout_s)


class Instrument(LabDevice):
    """A device with a link of its own.

    Parameters
    ----------
    address : str
        VISA resource name.
    limits : mapping, optional
        Signal name -> (low, high): makes that setting's limits narrower.
    transcript : Transcript, optional
        Where to note the bytes both ways.
    """

    model: ClassVar[str] = ""
    settings: ClassVar[LinkSettings] = LinkSettings()

    quality = Cpt(Text, value="invalid", kind="normal", doc="Whether the reading is ok, invalid or saturated")

    def __init__(
        self,
        *,
        name: str,
        address: str,
        clock: Clock,
        limits: Mapping[str, tuple[float, float]] | None = None,
        transcript: Transcript | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, clock=clock, **kwargs)
        self.identity: Identity | None = None
        self.link = Link(name, address, clock, self.settings, self._resynchronise, transcript)
        for signal, (low, high) in (limits or {}).items():
            getattr(self, signal).narrow(low, high)

    @abstractmethod
    def identify(self) -> Identity:
        """Ask the instrument who it is; call `wrong` if it is another model."""

    def upload_limits(self) -> None:
        """Bring the limits into the instrument, where it can hold them, and read them back."""

    def connect(self) -> None:
        """Open the link, identify, upload limits, read once."""
        self.link.open()
        self.upload_limits()
        self.poll()

    def wrong(self, found: str) -> WrongInstrument:
        """Error for an instrument that is not the model that this driver speaks to."""
        return WrongInstrument(
            f"found {found!r}, not {self.model}", device=self.name, address=self.link.address
        )

    def refused(self, problem: str) -> InstrumentError:
        """Error for an instrument that says no, or whose state is not what it was told."""
        return InstrumentError(problem, device=self.name, address=self.link.address)

    def record(self, **values: float | str) -> None:
        """Record readings of signals, all measured now."""
        timestamp = self.clock.now()
        for signal, value in values.items():
            getattr(self, signal).record(value, timestamp)

    def _resynchronise(self) -> None:
        self.identity = self.identify()


def quality_of(value: float) -> str:
    """Quality of a reading: "ok" for a finite number, else "invalid"."""
    return "ok" if math.isfinite(value) else "invalid"
