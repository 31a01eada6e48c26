"""What surrounds every run: environment while it is open, baseline before and after, and whose clock is off.

Three streams are in each run of a session, whatever its plan:

- `environment`: one event each period, of the devices that the station file names and of all interlocks.
- `baseline`: one event at the beginning and one at the end, of these and of the devices that the plan uses.
- `timing`: as often, of each instrument: how long it takes to answer, and how far its clock is off.

A device that can't be read keeps nothing from going on, for that is what interlocks are for: its last values
are recorded, with the times at which they were measured, and with the quality "invalid".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from bluesky import Msg, RunEngine
from bluesky.utils import IllegalMessageSequence

from ssblab.clock import Clock, Timer
from ssblab.safety import outcome

__all__ = ["LastKnown", "Look", "Surroundings", "insist", "record"]

logger = logging.getLogger(__name__)

_LONGEST_LOOK_S = 30.0
_WORKER = "look around"  # no device can have this name
_CALLED = "environment"

Plan = Generator[Msg, Any, Any]
Reading = dict[str, dict[str, Any]]
Readings = Callable[[Reading], None]


class Readable(Protocol):
    """A device whose quantities are signals, read anew by `poll`."""

    name: str

    def poll(self) -> None:
        """Read all quantities into the signals."""

    def read(self) -> Reading:
        """Give what was read last."""

    def describe(self) -> Reading:
        """Describe the reading."""

    def read_configuration(self) -> Reading:
        """Give the configuration."""

    def describe_configuration(self) -> Reading:
        """Describe the configuration."""


class Look:
    """Has devices polled, each on its own worker, and knows whom the last attempt did not reach."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._polls: dict[str, Future[Any]] = {}
        self.failed: set[str] = set()

    def at(self, devices: Iterable[Readable], longest_s: float) -> None:
        """Poll devices side by side, for at most `longest_s`; never raises.

        A poll that is not done by then goes on, and no other is begun before its end.
        """
        polls = {device.name: self._poll(device) for device in devices}
        begin_s = self._clock.monotonic()
        for name, poll in polls.items():
            passed_s = (self._clock.monotonic() - begin_s) / self._clock.patience(1.0)
            try:
                outcome(self._clock, poll, max(0.0, longest_s - passed_s))
            except Exception as error:
                if name not in self.failed:
                    logger.warning("%s can't be read, its last values are recorded: %s", name, error)
                self.failed.add(name)
            else:
                self.failed.discard(name)

    def _poll(self, device: Readable) -> Future[Any]:
        poll = self._polls.get(device.name)
        if poll is None or poll.done():
            poll = self._polls[device.name] = self._clock.submit(device.name, device.poll)
        return poll


class LastKnown:
    """A device as it was read last, with a quality in any case; what bluesky reads of it never fails."""

    parent = None

    def __init__(self, clock: Clock, device: Readable, look: Look) -> None:
        self.name = device.name
        self.device = device
        self._clock = clock
        self._look = look
        self._quality = f"{device.name}_quality"

    def read(self) -> Reading:
        """Give what was read last; the quality is "invalid" if the last attempt did not succeed."""
        reading = dict(self.device.read())
        if self.name in self._look.failed:
            reading[self._quality] = {"value": "invalid", "timestamp": self._clock.now()}
        elif self._quality not in reading:
            reading[self._quality] = {"value": "ok", "timestamp": self._clock.now()}
        return reading

    def describe(self) -> Reading:
        """Describe the reading."""
        quality = {"source": "ssblab: whether it could be read", "dtype": "string", "shape": []}
        return {self._quality: quality, **self.device.describe()}

    def read_configuration(self) -> Reading:
        """Give the device's configuration."""
        return self.device.read_configuration()

    def describe_configuration(self) -> Reading:
        """Describe the device's configuration."""
        return self.device.describe_configuration()


class Environment:
    """The devices that are recorded in every run, as one thing that bluesky can monitor.

    They are polled each period for as long as somebody subscribes: while a run is open that is not paused.

    Parameters
    ----------
    devices : sequence of LastKnown
    polled_elsewhere : set of str
        Names of those that are polled often enough by others, as long as that succeeds.
    period_s : float
    failed : callable
        Told in words if an event could not be recorded.

    Attributes
    ----------
    subscribed : list
        Who is called back, one for each run that has the environment recorded.
    """

    name = _CALLED
    parent = None

    def __init__(
        self,
        run_engine: RunEngine,
        clock: Clock,
        look: Look,
        devices: Sequence[LastKnown],
        polled_elsewhere: set[str],
        period_s: float,
        failed: Callable[[str], None],
    ) -> None:
        self.devices = devices
        self._run_engine: Any = run_engine
        self._clock = clock
        self._look = look
        self._polled_elsewhere = polled_elsewhere
        self._period_s = period_s
        self._failed = failed
        self.subscribed: list[Readings] = []
        self._timer: Timer | None = None

    def read(self) -> Reading:
        """Give what was read last of all devices."""
        return _together(device.read() for device in self.devices)

    def describe(self) -> Reading:
        """Describe the reading."""
        return _together(device.describe() for device in self.devices)

    def read_configuration(self) -> Reading:
        """Give the configuration of all devices."""
        return _together(device.read_configuration() for device in self.devices)

    def describe_configuration(self) -> Reading:
        """Describe the configuration of all devices."""
        return _together(device.describe_configuration() for device in self.devices)

    def subscribe(self, callback: Readings) -> None:
        """Call back with the reading each period, at once for the first time; on the loop's thread."""
        if callback in self.subscribed:  # bluesky restores after a suspension what it has not taken away
            return
        self.subscribed.append(callback)
        if self._timer is None:
            self._timer = self._clock.every(self._period_s, _WORKER, self._look_around)
        callback(self.read())
        self._keep_numbers()

    def clear_sub(self, callback: Readings) -> None:
        """Do not call back any more."""
        if callback in self.subscribed:
            self.subscribed.remove(callback)
        if not self.subscribed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_around(self) -> None:
        polled = [
            device.device
            for device in self.devices
            if device.name not in self._polled_elsewhere or device.name in self._look.failed
        ]
        self._look.at(polled, min(self._period_s / 2, _LONGEST_LOOK_S))
        if self._clock.on_loop():
            self._tell()
        else:
            self._clock.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        try:
            reading = self.read()
            for callback in list(self.subscribed):
                callback(reading)
        except Exception as error:  # no plan waits for this, so that nobody else would be told
            logger.exception("the environment can't be recorded")
            self._failed(f"the environment can't be recorded: {error}")
        self._keep_numbers()

    def _keep_numbers(self) -> None:
        """Let the events keep their numbers, which bluesky gives anew when a plan goes on after a pause."""
        for run in self._run_engine._run_bundlers.values():
            if self.name in run._sequence_counters:
                run._sequence_counters_copy[self.name] = run._sequence_counters[self.name]


class Timing:
    """How long instruments take to answer, and how far the clocks of their readings are off.

    Data keys, in s: `<device>_latency` is the mean of the last exchanges, `<device>_latency_min` the shortest
    of all; `<device>_clock_offset` is by how much the times of its readings are ahead of the laboratory's
    clock, and `<device>_clock_offset_uncertainty` how far that may be off. The offset is 0 where readings are
    dated here as they arrive; they were measured up to a latency before, half of it on average. What is not
    known yet is NaN.
    """

    name = "timing"
    parent = None

    def __init__(self, clock: Clock, instruments: Sequence[Any]) -> None:
        self.instruments = instruments
        self._clock = clock

    def read(self) -> Reading:
        """Give what is known now."""
        now = self._clock.now()
        reading: Reading = {}
        for device in self.instruments:
            offset_s, uncertainty_s = device.clock_offset()
            values = {
                "latency": device.link.round_trip.mean_s,
                "latency_min": device.link.round_trip.shortest_s,
                "clock_offset": offset_s,
                "clock_offset_uncertainty": uncertainty_s,
            }
            reading |= {
                f"{device.name}_{key}": {"value": value, "timestamp": now} for key, value in values.items()
            }
        return reading

    def describe(self) -> Reading:
        """Describe the reading."""
        sources = {
            "latency": "ssblab: mean time from question to answer",
            "latency_min": "ssblab: shortest time from question to answer",
            "clock_offset": "ssblab: times of the readings less the laboratory's clock",
            "clock_offset_uncertainty": "ssblab: bound of the offset's error",
        }
        number = {"dtype": "number", "shape": [], "units": "s", "precision": 4}
        return {
            f"{device.name}_{key}": {"source": source, **number}
            for device in self.instruments
            for key, source in sources.items()
        }

    def read_configuration(self) -> Reading:
        """Nothing."""
        return {}

    def describe_configuration(self) -> Reading:
        """Nothing."""
        return {}


class Surroundings:
    """Gives the messages that record what surrounds a run; the guard puts them into every plan.

    Parameters
    ----------
    devices : mapping
        Of the station, by name.
    environment : iterable of str
        Names of the devices to record in every run, besides those of the interlocks.
    period_s : float
        How often.
    interlocks : mapping
        Name of an interlock's device -> how often it is polled while a run is open (s).
    failed : callable
        Ends the plan under way, for a reason.
    """

    def __init__(
        self,
        run_engine: RunEngine,
        clock: Clock,
        devices: Mapping[str, Any],
        environment: Iterable[str],
        period_s: float,
        interlocks: Mapping[str, float],
        failed: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._look = Look(clock)
        self._environment = Environment(
            run_engine,
            clock,
            self._look,
            [
                LastKnown(clock, devices[name], self._look)
                for name in dict.fromkeys([*interlocks, *environment])
            ],
            {name for name, each_s in interlocks.items() if each_s <= period_s},
            period_s,
            failed,
        )
        self._timing = Timing(clock, [device for device in devices.values() if hasattr(device, "link")])
        self._used: dict[Any, list[Readable]] = {}
        self._baselines: dict[Any, list[LastKnown]] = {}
        run_engine.register_command("look_around", self._look_around)

    def forget(self) -> None:
        """Begin anew, for another plan."""
        self._used.clear()
        self._baselines.clear()

    def use(self, run: Any, devices: Iterable[Readable | None]) -> None:
        """Note which devices a plan uses; the key of its run is None if it does not name one."""
        self._used[run] = [device for device in devices if device is not None]

    def opening(self, run: Any) -> Plan:
        """Record the first baseline of a run that has just opened, and the environment from now on."""
        used = self._used.get(run) or self._used.get(None, [])
        devices = {device.name: LastKnown(self._clock, device, self._look) for device in used}
        devices |= {device.name: device for device in self._environment.devices}
        self._baselines[run] = list(devices.values())
        yield from self._compare(run)
        if self._environment.devices:
            others = len(self._environment.subscribed)
            while len(self._environment.subscribed) == others:  # as long as a pause cuts it short
                yield Msg("monitor", self._environment, name=_CALLED, run=run)

    def closing(self, run: Any) -> Plan:
        """Record the last baseline of a run, its last environment, and the clocks.

        bluesky ends the monitoring when it closes the run.
        """
        yield from self._compare(run)
        if self._environment.devices:
            yield from record(run, _CALLED, [self._environment])
        self._baselines.pop(run, None)

    def _compare(self, run: Any) -> Plan:
        baseline = self._baselines.get(run, [])
        yield from insist(Msg("look_around", None, [device.device for device in baseline]))
        yield from record(run, "baseline", baseline)
        if self._timing.instruments:
            yield from record(run, self._timing.name, [self._timing])

    async def _look_around(self, msg: Msg) -> bool:
        (devices,) = msg.args
        looking = self._clock.submit(_WORKER, lambda: self._look.at(devices, _LONGEST_LOOK_S))
        await asyncio.wrap_future(looking)
        return True


def insist(msg: Msg) -> Plan:
    """Send a message that answers True until it does: a pause that cuts it short takes its answer away."""
    while not (yield msg):
        pass


def record(run: Any, stream: str, objects: Sequence[Any]) -> Plan:
    """Record one event of a stream, whatever half-made event a plan has left behind.

    To be done where nothing is repeated after a pause. A reading that a pause cuts short (bluesky has the
    device described at the first one, and waits) lacks in the event, which is begun anew then.
    """
    whole = False
    while not whole:
        try:
            yield Msg("drop", run=run)
        except IllegalMessageSequence:
            pass
        yield Msg("create", None, name=stream, run=run)
        whole = True
        for readable in objects:
            whole = whole and (yield Msg("read", readable, run=run)) is not None
    yield Msg("save", run=run)


def _together(parts: Iterable[Reading]) -> Reading:
    return {key: value for part in parts for key, value in part.items()}
