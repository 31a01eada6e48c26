"""Short plans that the experiments are made of. Loops yield messages directly: each `bluesky.plan_stubs`
call formats a stack trace, which makes a loop three times as slow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bluesky import Msg
from bluesky.preprocessors import finalize_wrapper
from bluesky.utils import FailedStatus
from ophyd.status import StatusBase

from devices.families.potentiostat import Potentiostat
from devices.families.techniques import ImpedanceSweep, OpenCircuit
from devices.flyer import FlyingDevice
from devices.instrument import LabDevice
from plans.arguments import PlanGenerator

__all__ = ["log", "log_for", "make_safe", "measure", "move", "move_and_log", "ocv_then_eis", "plain_failures"]

_groups = itertools.count()
# A device's own timeout comes first; these only keep a lost status from being waited for without end.
_READ_TIMEOUT_S = 3600.0
_LONGEST_MOVE_S = 7 * 86400.0
_SHORTEST_COLLECT_S, _LONGEST_COLLECT_S = 0.5, 10.0  # between two looks for what a measurement has given
_LONGEST_FETCH_S = 300.0  # what an instrument keeps safe is fetched this often at least


def move(device: LabDevice, target: Any, **how: Any) -> PlanGenerator:
    """Bring a device to a target and wait until it is there; `how` are further arguments of its `set`."""
    group = f"move-{next(_groups)}"
    yield Msg("set", device, target, group=group, **how)
    yield Msg("wait", None, group=group, timeout=_LONGEST_MOVE_S)
    yield Msg("checkpoint")


def move_and_log(
    device: LabDevice,
    target: Any,
    logged: Sequence[LabDevice],
    stream: str,
    period_s: float,
    on_event: Callable[[], None] = lambda: None,
    **how: Any,
) -> PlanGenerator:
    """Bring a device to a target, and record devices each period until it is there."""
    group = f"move-{next(_groups)}"
    status = yield Msg("set", device, target, group=group, **how)
    yield from log(logged, stream, period_s, lambda: not status.done, on_event)
    yield Msg("wait", None, group=group, timeout=_LONGEST_MOVE_S)
    yield Msg("checkpoint")


def log(
    devices: Sequence[LabDevice],
    stream: str,
    period_s: float,
    go_on: Callable[[], bool],
    on_event: Callable[[], None] = lambda: None,
) -> PlanGenerator:
    """Record devices each period, on a monotonic schedule, for as long as `go_on()`.

    Parameters
    ----------
    devices : sequence
        Triggered side by side, then read into one event.
    stream : str
        Name of the event stream.
    period_s : float
        Schedule; a period that a slow reading has used up is left out, none is made up for.
    go_on, on_event : callable
        Asked before and after each event; called after each.
    """
    clock = devices[0].clock
    begin = clock.monotonic()
    group = f"log-{next(_groups)}"
    number = 0
    while go_on():
        yield Msg("checkpoint")
        for device in devices:
            yield Msg("trigger", device, group=group)
        yield Msg("wait", None, group=group, timeout=_READ_TIMEOUT_S)
        yield Msg("create", None, name=stream)
        for device in devices:
            yield Msg("read", device)
        yield Msg("save")
        on_event()
        if not go_on():
            break
        number = max(number + 1, int((clock.monotonic() - begin) // period_s) + 1)
        yield Msg("sleep", None, max(0.0, begin + number * period_s - clock.monotonic()))
    yield Msg("checkpoint")  # a later pause must not record the last event once more


def log_for(
    devices: Sequence[LabDevice],
    stream: str,
    period_s: float,
    duration_s: float,
    on_event: Callable[[], None] = lambda: None,
) -> PlanGenerator:
    """Record devices each period for a time."""
    clock = devices[0].clock
    end = clock.monotonic() + duration_s
    yield from log(devices, stream, period_s, lambda: clock.monotonic() < end, on_event)


def measure(
    device: FlyingDevice,
    task: Any,
    stream: str,
    look: Callable[[], PlanGenerator] | None = None,
    look_s: float = _LONGEST_COLLECT_S,
    rows: list[dict[str, Any]] | None = None,
) -> PlanGenerator:
    """Have a device do a task in the instrument, into a stream of its own, one event a row.

    A pause holds the plan, not the instrument: nothing is started twice then, and no row is lost. If the plan
    ends before the measurement, the device is stopped, and what it has given until then is collected.

    Parameters
    ----------
    device : FlyingDevice
    task : Task
    stream : str
        Name of the event stream.
    look : callable, optional
        Makes a short plan, done every `look_s` while the task runs; what it returns, if not "", is the reason
        for which the task ends now.
    look_s : float
    rows : list, optional
        Gets the data of all rows, and their `time`, for a plan that judges them.

    Returns
    -------
    str
        The reason given by `look`; "" if the task came to its own end.
    """
    group = f"measure-{next(_groups)}"
    flyer = device.flyer(task)

    def collect() -> PlanGenerator:
        message = Msg("collect", flyer, name=stream, return_payload=rows is not None)
        given = yield from _never_again(message)
        if rows is not None:
            rows.extend(_rows(given))

    yield Msg("checkpoint")
    yield Msg("prepare", flyer, task, group=group)
    yield Msg("wait", None, group=group, timeout=_READ_TIMEOUT_S)
    yield Msg("checkpoint")
    yield Msg("declare_stream", None, flyer, name=stream, collect=True)  # once more does no harm
    yield Msg("checkpoint")
    reason = ""
    try:
        started = yield from _never_again(Msg("kickoff", flyer, group=group))
        yield Msg("wait", None, group=group, timeout=_READ_TIMEOUT_S)
        while not started.done:  # a pause has ended the wait
            yield Msg("sleep", None, _SHORTEST_COLLECT_S)
        status = yield from _never_again(Msg("complete", flyer, group=group))
        period_s = min(_LONGEST_COLLECT_S, max(_SHORTEST_COLLECT_S, task.longest_s() / 100))
        # Nothing is new between two looks of the device, and what lasts for days need not be fetched at once.
        period_s = max(period_s, device.look_period_s(task), min(task.longest_s() / 1000, _LONGEST_FETCH_S))
        if look is not None:
            period_s = min(period_s, look_s)
        while not status.done and not reason:
            yield Msg("sleep", None, period_s)
            yield from collect()
            if look is not None and not status.done:
                reason = yield from look()
        if reason:
            yield from _break_off(device, group)
        else:
            yield Msg("wait", None, group=group, timeout=_READ_TIMEOUT_S)
    except Exception:
        if device.measuring or flyer.starting:
            yield from _break_off(device, group)
        yield from collect()
        raise
    yield from collect()
    return reason


def _rows(pages: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Data and time of each row of events or event pages."""
    for page in pages:
        named = {"time": page["time"], **page["data"]}
        columns = [values if isinstance(values, list) else [values] for values in named.values()]
        for values in zip(*columns, strict=True):
            yield dict(zip(named, values, strict=True))


def _never_again(message: Msg) -> PlanGenerator:
    """A message that is not repeated when a plan goes on after a pause, nor anything before it.

    Of events that are recorded again bluesky counts the last ones: rows collected once would get lost.
    """
    rewindable = yield Msg("rewindable", None, None)

    def once() -> PlanGenerator:
        yield Msg("rewindable", None, False)
        return (yield message)

    def restore() -> PlanGenerator:
        yield Msg("rewindable", None, rewindable)

    given = yield from finalize_wrapper(once(), restore)
    yield Msg("checkpoint")
    return given


def _break_off(device: FlyingDevice, group: str) -> PlanGenerator:
    """Stop a device in mid-measurement; that its measurement fails thereby is no problem."""
    for message in (Msg("stop", device), Msg("wait", None, group=group, timeout=_READ_TIMEOUT_S)):
        try:
            yield message
        except FailedStatus:
            continue


def ocv_then_eis(
    potentiostat: Potentiostat,
    *,
    rest_s: float,
    interval_s: float,
    frequency_start_Hz: float,
    frequency_end_Hz: float,
    points_per_decade: float,
    amplitude_V: float,
    streams: tuple[str, str] = ("open_circuit", "impedance"),
) -> PlanGenerator:
    """Record the potential at rest, then take a spectrum around the potential read last.

    Parameters
    ----------
    potentiostat : Potentiostat
        Any.
    rest_s, interval_s : float
        How long the cell rests, and one reading each.
    frequency_start_Hz, frequency_end_Hz, points_per_decade, amplitude_V : float
        As of an `ImpedanceSweep`.
    streams : tuple of str
        Names of the two event streams.

    Raises
    ------
    ValueError, TypeError
        Before the rest, if the spectrum is none or the potentiostat takes none.
    InstrumentError
        If no potential was read: nothing is guessed.
    """
    sweep = ImpedanceSweep(
        frequency_start_Hz, frequency_end_Hz, points_per_decade, amplitude_V=amplitude_V, bias_V=0.0
    )
    potentiostat.flyer(sweep)
    yield from measure(potentiostat, OpenCircuit(rest_s, interval_s), streams[0])
    potential_V = float(potentiostat.potential.get())
    if not (math.isfinite(potential_V) and potentiostat.quality.get() == "ok"):
        raise potentiostat.refused(
            "its potential at rest is not known, so no spectrum can be taken around it"
        )
    yield from measure(potentiostat, replace(sweep, bias_V=potential_V), streams[1])


def make_safe(devices: Iterable[LabDevice]) -> PlanGenerator:
    """Send devices to their safe states in turn; the first problem is raised after the last step.

    A move that is under way fails thereby, which is no problem.
    """
    problem: Exception | None = None
    for device in devices:
        try:
            yield Msg("stop", device)
        except FailedStatus:
            continue
        except Exception as error:
            problem = problem or error
    if problem is not None:
        raise problem


def plain_failures(plan: PlanGenerator) -> PlanGenerator:
    """Let what a status failed with be the error, so that the stop document says it in plain words."""
    try:
        return (yield from plan)
    except FailedStatus as error:
        status: Any = error.args[0] if error.args else None
        cause = status.exception(timeout=0) if isinstance(status, StatusBase) else None
        if cause is None:
            raise
        raise cause from error
