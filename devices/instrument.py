"""What every device of the laboratory has: a name, a clock, a safe state; and every instrument: a link."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

from ophyd import Component as Cpt
from ophyd import Device

from devices.signals import Text
from devices.status import ActionTimeout, Approach, Status
from ssblab.clock import Clock
from ssblab.links import (
    InstrumentClock,
    InstrumentError,
    Link,
    LinkClosed,
    LinkSettings,
    LinkTimeout,
    Transcript,
    WrongInstrument,
)
from ssblab.safety import outcome

__all__ = ["About", "Cpt", "Identity", "Instrument", "LabDevice", "quality_of"]


@dataclass(frozen=True)
class About:
    """What docs/instruments.md says of a driver.

    Attributes
    ----------
    maker, models : str
        As on the name plates.
    protocol, transport : str
        "SCPI"; "TCP 5025, raw" or "RS-232, 9600 8N1".
    verified : tuple of str
        How, beside our own simulated instrument: public clients with their version, frames that the maker
        prints, captures from instruments.
    unsupported : str
        What the instrument can do and the driver does not, and what could not be verified.
    """

    maker: str
    models: str
    protocol: str
    transport: str
    verified: tuple[str, ...] = ()
    unsupported: str = ""


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


def _ending_approaches(make_safe: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(make_safe)
    def work(device: LabDevice) -> None:
        device.end_approaches("was brought into its safe state")
        make_safe(device)

    return work


class LabDevice(Device, ABC):
    """A device of a family: plans know it by its family's signals and verbs alone.

    Whatever a `make_safe` does, the approaches that are under way end first, as failed.

    Parameters
    ----------
    name : str
        Its name in the station file.
    clock : Clock
        All its waiting and all its times.
    """

    family: ClassVar[str] = ""
    action_timeout_s: ClassVar[float] = 30.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "make_safe" in vars(cls):
            cls.make_safe = _ending_approaches(cls.make_safe)  # type: ignore[assignment, method-assign]

    def __init__(self, *, name: str, clock: Clock, **kwargs: Any) -> None:
        super().__init__("", name=name, **kwargs)
        self.clock = clock
        self._approaches: dict[str, Approach] = {}
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

    def have(self, part: LabDevice, work: Callable[[], Any]) -> None:
        """Have work done on the worker of a part, which alone talks on its link, and wait for it.

        Raises
        ------
        InstrumentError
            If the part's worker does not come to it in the time of its longest action.
        """
        done = self.clock.submit(part.name, work)
        try:
            outcome(self.clock, done, part.action_timeout_s)
        except TimeoutError as error:
            if done.done():
                raise
            raise self.refused(f"{part.name} does not answer: {error}") from error

    def approach(self, quantity: str, unit: str, **how: Any) -> Status:
        """Wait until a quantity of the device is in its band; what was waiting for it before gives way.

        Parameters
        ----------
        quantity, unit : str
            What errors and progress shall name.
        how
            The further keyword arguments of `Approach`.
        """
        earlier = self._approaches.get(quantity)
        approach = Approach(self.clock, self.name, f"{self.name}: {quantity}", unit, **how)
        self._approaches[quantity] = approach
        if earlier is not None:
            earlier.give_way_to(approach)
        return approach.status

    def end_approaches(self, reason: str) -> None:
        """Let the approaches that are under way fail."""
        approaches, self._approaches = self._approaches, {}
        for approach in approaches.values():
            approach.cancel(reason)

    def record(self, **values: float | str) -> None:
        """Record readings of signals, all measured now."""
        timestamp = self.clock.now()
        for signal, value in values.items():
            getattr(self, signal).record(value, timestamp)

    def refused(self, problem: str) -> InstrumentError:
        """Error for a device that says no, or whose state is not what it was told."""
        return InstrumentError(problem, device=self.name)

    def stop(self, *, success: bool = False) -> Awaitable[None] | None:
        """Go to the safe state on the worker; bluesky calls this when a plan ends badly.

        Returns
        -------
        awaitable or None
            On the loop's thread, where a wait would stop everything else: what ends when it is reached. The
            RunEngine awaits it. Elsewhere it has been reached on return.

        Raises
        ------
        LinkError
            If the safe state could not be reached or not be confirmed; also from the awaitable.
        ActionTimeout
            If that took too long; also from the awaitable.
        """
        work = self.clock.submit(self.name, self.make_safe)
        if self.clock.on_loop() and not work.done():
            return self._until_stopped(work)
        try:
            outcome(self.clock, work, self.action_timeout_s)
        except TimeoutError as error:
            raise (error if work.done() else self._not_stopped()) from None
        return None

    async def _until_stopped(self, work: Future[None]) -> None:
        longest_s = self.clock.patience(self.action_timeout_s)
        done = asyncio.wrap_future(work)
        await asyncio.wait([done], timeout=longest_s)  # which cancels nothing: the worker goes on
        if not work.done():
            done.add_done_callback(asyncio.Future.exception)
            raise self._not_stopped()
        await done

    def _not_stopped(self) -> ActionTimeout:
        return ActionTimeout(f"{self.name}: safe state not confirmed within {self.action_timeout_s:g} s")


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

    Attributes
    ----------
    own_clock : InstrumentClock or None
        Of an instrument whose own times its readings have.
    """

    model: ClassVar[str] = ""
    about: ClassVar[About]
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
        self.own_clock: InstrumentClock | None = None
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

    def clock_offset(self) -> tuple[float, float]:
        """By how much the clock of its readings is ahead of the laboratory's, and how sure that is.

        Readings that have no time of the instrument are dated here when they arrive, by the laboratory's
        clock: that is 0. The quantity was measured up to a round trip before, half of one on average.

        Returns
        -------
        offset_s, uncertainty_s : float
            The second is a bound in either direction; NaN for what is not known yet.
        """
        if self.own_clock is not None:
            return self.own_clock.offset()
        return 0.0, self.link.round_trip.mean_s / 2

    def wrong(self, found: str) -> WrongInstrument:
        """Error for an instrument that is not the model that this driver speaks to."""
        return WrongInstrument(
            f"found {found!r}, not {self.model}", device=self.name, address=self.link.address
        )

    def refused(self, problem: str) -> InstrumentError:
        """Error for an instrument that says no, or whose state is not what it was told."""
        return InstrumentError(problem, device=self.name, address=self.link.address)

    def insist(self, work: Callable[[], None]) -> None:
        """Do what may be done twice, and once more after a fault of the link; on the worker."""
        try:
            work()
        except (LinkTimeout, LinkClosed):
            work()

    def _resynchronise(self) -> None:
        self.identity = self.identify()


def quality_of(value: float) -> str:
    """Quality of a reading: "ok" for a finite number, else "invalid"."""
    return "ok" if math.isfinite(value) else "invalid"
