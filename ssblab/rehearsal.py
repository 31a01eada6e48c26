"""What a plan would do: checked without simulating it, or rehearsed in its station's simulated laboratory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from plans.arguments import PlanGenerator
from plans.cell_figures import CellRun
from plans.forecast import Forecast, Unreached, forecasts, unreached
from ssblab.catalog import RunData
from ssblab.clock import make_clock
from ssblab.documents.journal import JournalTail, journals_folder
from ssblab.documents.stored import stored_runs
from ssblab.samples import CellSample
from ssblab.session import DeviceBook, RunResult, Session
from ssblab.station import Station, build_devices

__all__ = [
    "Charge",
    "Checked",
    "Extreme",
    "Rehearsal",
    "RehearsedRun",
    "Touched",
    "check",
    "check_all",
    "rehearse",
]

MakePlan = Callable[[Mapping[str, Any]], PlanGenerator]
Verdict = Literal["go", "look", "no"]

_DESCRIPTORS = b'{"n":"descriptor",'
_NEAR = 0.01  # of the span between two limits: nearer than that, a limit is touched; as far beyond, broken
#: What plan and session write themselves, and the baseline: it is read before the plan has begun.
_NOT_MEASURED = frozenset({"steps", "spectra", "safe_state", "timing", "baseline"})
_MAY_BE_NEGATIVE = frozenset({"V", "degC"})  # a limit of 0 of anything else is only where it begins
_COULOMB_PER_mAh = 3.6


# -------------------------------------------------------------------------------------- without simulating


@dataclass(frozen=True)
class Checked:
    """What can be said of a plan without simulating it; that nothing is wrong is said by there being one.

    Attributes
    ----------
    plan, station : str
    devices : dict
        Role -> device, of the first run that the plan opens.
    forecasts : tuple of Forecast
        Of the programs of that run.
    """

    plan: str
    station: str
    devices: dict[str, str]
    forecasts: tuple[Forecast, ...]

    @property
    def shortest_s(self) -> float | None:
        """Of all programs together, without what goes before and between them; None for no programs."""
        return math.fsum(one.shortest_s for one in self.forecasts) if self.forecasts else None

    @property
    def longest_s(self) -> float | None:
        """Of all programs together; None where something has no bound."""
        return _sum(one.longest_s for one in self.forecasts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all programs, each once."""
        return tuple(dict.fromkeys(warning for one in self.forecasts for warning in one.warnings))


def check(station: Station, make_plan: MakePlan) -> Checked:
    """Check arguments, limits and programs of a plan; nothing is simulated and no instrument is asked.

    Limits are those of the station file and the drivers: what an instrument tells of itself is not known.

    Parameters
    ----------
    station : Station
    make_plan : callable
        Makes the plan, given the station's devices by name.

    Raises
    ------
    BadInput
        With all that is wrong.
    """
    return check_all(station, [make_plan])[0]


def check_all(station: Station, make_plans: Iterable[MakePlan]) -> list[Checked]:
    """Check several plans as `check` does; the station's devices are made once.

    Raises
    ------
    BadInput
        With all that is wrong with the first plan that is.
    """
    clock = make_clock("virtual")
    try:
        addresses = dict.fromkeys(station.devices, "TCPIP::127.0.0.1::1::SOCKET")  # nobody calls there
        devices = DeviceBook(build_devices(station, {"clock": clock}, {"transcript": None}, addresses))
        return [_checked(station, make_plan(devices), devices) for make_plan in make_plans]
    finally:
        clock.close()


def _checked(station: Station, plan: PlanGenerator, devices: DeviceBook) -> Checked:
    start = _start_document(plan, devices)
    return Checked(
        start.get("plan_name", ""), station.name, dict(start.get("devices", {})), tuple(forecasts(start))
    )


def _start_document(plan: PlanGenerator, devices: DeviceBook) -> dict[str, Any]:
    """Take a plan to the first run that it opens: what it checks, it checks before."""
    answer = None
    try:
        while True:
            message = plan.send(answer)
            if message.command == "open_run":
                return dict(message.kwargs)
            if message.command != "rig":
                return {}
            how = message.kwargs
            answer = devices.rig(how["families"], how.get("optional", {}), how.get("sample"))
    except StopIteration:
        return {}
    finally:
        plan.close()


# ------------------------------------------------------------------------------------------------ rehearsed


@dataclass(frozen=True)
class Extreme:
    """Least and largest value of a quantity, and when they were measured.

    Attributes
    ----------
    quantity : str
        Data key: device and signal.
    unit : str
    lowest, highest : float
    lowest_at_s, highest_at_s : float
        Since the plan began.
    """

    quantity: str
    unit: str
    lowest: float
    highest: float
    lowest_at_s: float
    highest_at_s: float

    def with_(self, other: Extreme) -> Extreme:
        """Give the extremes of both."""
        low, high = min(self, other, key=lambda e: e.lowest), max(self, other, key=lambda e: e.highest)
        return replace(low, highest=high.highest, lowest_at_s=low.lowest_at_s, highest_at_s=high.highest_at_s)


@dataclass(frozen=True)
class Touched:
    """A limit that was come near, or gone beyond.

    Attributes
    ----------
    quantity, unit : str
    source : str
        Whose limit it is: "sample ncm-01", "ch_1".
    limit, value : float
        The limit and what came nearest to it, or went beyond.
    at_s : float
        Since the plan began.
    broken : bool
        Whether it went beyond, by more than a hundredth of the span between the limits.
    """

    quantity: str
    unit: str
    source: str
    limit: float
    value: float
    at_s: float
    broken: bool

    def __str__(self) -> str:
        what = "beyond" if self.broken else "at"
        return f"{self.quantity} is {what} {self.limit:.6g} {self.unit} of {self.source}: {self.value:.6g}"


@dataclass(frozen=True)
class Charge:
    """Charge that a device has passed in a run.

    Attributes
    ----------
    sample, device : str
    positive_mAh, negative_mAh : float
        In either direction, both without sign; positive raises the voltage between the terminals.
    """

    sample: str
    device: str
    positive_mAh: float
    negative_mAh: float


@dataclass(frozen=True)
class RehearsedRun:
    """One run of a rehearsal.

    Attributes
    ----------
    plan, sample : str
        As its start document names them.
    begin_s, duration_s : float
        Since the plan began; until the stop document, with the safe state.
    least_s, most_s : float or None
        What its programs take at least, and what it takes at most: its programs to their longest times, and
        what else it did as it was simulated. None where nothing is known, or something has no bound.
    exit_status, reason : str
        As in its stop document.
    events : dict
        Stream -> number of events, or rows.
    readings : int
        Values in them, of all quantities.
    charges : tuple of Charge
    extremes : tuple of Extreme
    touched : tuple of Touched
    unreached : tuple of Unreached
    warnings : tuple of str
        Of its programs.
    """

    plan: str
    sample: str
    begin_s: float
    duration_s: float
    least_s: float | None
    most_s: float | None
    exit_status: str
    reason: str
    events: dict[str, int]
    readings: int
    charges: tuple[Charge, ...]
    extremes: tuple[Extreme, ...]
    touched: tuple[Touched, ...]
    unreached: tuple[Unreached, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Rehearsal:
    """What came out of a plan in the simulated laboratory of its station.

    Attributes
    ----------
    plan, station : str
    exit_status, reason : str
        How it ended.
    interrupted : bool
        Whether a person or a signal ended the rehearsal.
    duration_s : float
        From the first message to the safe state.
    megabytes : float
        Of the journal, as it would be kept.
    runs : tuple of RehearsedRun
    """

    plan: str
    station: str
    exit_status: str
    reason: str
    interrupted: bool
    duration_s: float
    megabytes: float
    runs: tuple[RehearsedRun, ...] = field(default=())

    @property
    def least_s(self) -> float | None:
        """Time that the plan takes at least; None if nothing is known of it."""
        return self._together([run.least_s for run in self.runs])

    @property
    def most_s(self) -> float | None:
        """Time that the plan takes at most; None if it has no bound."""
        longer = [None if run.most_s is None else run.most_s - run.duration_s for run in self.runs]
        more_s = self._together(longer)
        return None if more_s is None else self.duration_s + more_s

    def _together(self, times_s: list[float | None]) -> float | None:
        """Add times of the runs; of runs that go on at the same time the longest counts."""
        begun = sorted(self.runs, key=lambda run: run.begin_s)
        at_once = any(one.begin_s + one.duration_s > other.begin_s for one, other in pairwise(begun))
        if not at_once:
            return _sum(times_s)
        known = [time_s for time_s in times_s if time_s is not None]
        return max(known) if known and len(known) == len(times_s) else None

    @property
    def events(self) -> int:
        """Number of events, or rows, of all streams."""
        return sum(sum(run.events.values()) for run in self.runs)

    @property
    def readings(self) -> int:
        """Number of values in them."""
        return sum(run.readings for run in self.runs)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Charge of each sample at each device."""
        return tuple(charge for run in self.runs for charge in run.charges)

    @property
    def extremes(self) -> tuple[Extreme, ...]:
        """Extremes of each quantity, of all runs."""
        return _merged(extreme for run in self.runs for extreme in run.extremes)

    @property
    def touched(self) -> tuple[Touched, ...]:
        """All limits that were touched or broken; of several times the farthest."""
        found: dict[tuple[str, str, float], Touched] = {}
        for one in (one for run in self.runs for one in run.touched):
            place = (one.quantity, one.source, one.limit)
            if place not in found or (one.broken and not found[place].broken):
                found[place] = one
        return tuple(found.values())

    @property
    def unreached(self) -> tuple[Unreached, ...]:
        """All ends of steps that did not come."""
        return tuple(one for run in self.runs for one in run.unreached)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the plan should not be run so: it fails, breaks a limit, waits for an end that never comes."""
        found = []
        if self.exit_status != "success":
            found.append(f"it ends as {self.exit_status}: {self.reason}")
        found += [str(one) for one in self.touched if one.broken]
        return (*found, *(_said(one) for one in self.unreached if not one.has_time))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What should be looked at first. A cell goes to its own limits by intention."""
        found = [str(one) for one in self.touched if not one.broken and not one.source.startswith(_OF_SAMPLE)]
        found += [_said(one) for one in self.unreached if one.has_time]
        return (*found, *dict.fromkeys(warning for run in self.runs for warning in run.warnings))

    @property
    def verdict(self) -> Verdict:
        """No with problems, look with remarks, else go."""
        return "no" if self.problems else "look" if self.remarks else "go"


_OF_SAMPLE = "sample "


def _said(one: Unreached) -> str:
    often = f", {one.times} times" if one.times > 1 else ""
    where = f"{one.section}, step {one.number} ({one.step})"
    return f"{where} does not reach {one.wanted}{often}: it ends by its time at {one.found}"


def rehearse(
    station: Station, make_plan: MakePlan, *, opened: Callable[[Session], None] = lambda _: None
) -> Rehearsal:
    """Run a plan in virtual time in the simulated laboratory of its station; nothing else is touched.

    Cells are as the simulated laboratory describes them, not as those on the shelf have become.

    Parameters
    ----------
    station : Station
        A real one needs a section `simulated`: all its addresses are replaced.
    make_plan : callable
        Makes the plan, given the station's devices by name.
    opened : callable
        Told the session before the plan begins.

    Raises
    ------
    BadInput
        If the plan finds its input bad, or the station has no simulated laboratory.
    """
    copy = station.in_simulation()
    with tempfile.TemporaryDirectory(prefix="ssblab-rehearsal-", ignore_cleanup_errors=True) as folder:
        with Session(copy, Path(folder), make_clock("virtual"), filed=False) as session:
            session.connect()
            opened(session)
            plan = make_plan(session.devices)
            begin, begin_s = session.clock.now(), session.clock.monotonic()
            result = session.run(plan)
            duration_s = session.clock.monotonic() - begin_s
        return _gathered(result, station, Path(folder), begin, duration_s)


def _gathered(
    result: RunResult, station: Station, folder: Path, begin: float, duration_s: float
) -> Rehearsal:
    limits = _limits(folder, station.devices)
    return Rehearsal(
        result.plan,
        station.name,
        result.exit_status,
        result.reason,
        result.interrupted,
        duration_s,
        sum(path.stat().st_size for path in journals_folder(folder).glob("*.jsonl")) / 1e6,
        tuple(_rehearsed(run.data(), limits, begin) for run in stored_runs(folder)),
    )


def _rehearsed(run: RunData, limits: list[_Limit], begin: float) -> RehearsedRun:
    start, stop = run.start, run.stop
    extremes = _merged(_extremes(run, begin))
    foreseen = forecasts(start)
    duration_s = stop.get("time", start["time"]) - start["time"]
    sample = start.get("sample")
    return RehearsedRun(
        plan=start.get("plan_name", ""),
        sample=sample.get("name", "") if isinstance(sample, Mapping) else "",
        begin_s=start["time"] - begin,
        duration_s=duration_s,
        least_s=math.fsum(one.shortest_s for one in foreseen) if foreseen else None,
        most_s=_most_s(run, foreseen, duration_s),
        exit_status=stop.get("exit_status", ""),
        reason=stop.get("reason", ""),
        events={name: data.sizes["time"] for name, data in run.streams.items()},
        readings=sum(data.sizes["time"] * len(_keys(data)) for data in run.streams.values()),
        charges=tuple(_charges(run)),
        extremes=extremes,
        touched=tuple(_touched(extremes, [*_limits_that_hold(limits, run), *_limits_of_sample(run)])),
        unreached=tuple(unreached(run)),
        warnings=tuple(dict.fromkeys(warning for one in foreseen for warning in one.warnings)),
    )


def _most_s(run: RunData, foreseen: list[Forecast], duration_s: float) -> float | None:
    """Give the longest time of the programs, and what the run took beside their steps."""
    longest_s = _sum(one.longest_s for one in foreseen)
    if longest_s is None or "steps" not in run.streams:
        return None
    steps = run.streams["steps"]
    in_steps_s = float(np.sum(np.asarray(steps["steps_ended"]) - np.asarray(steps["steps_began"])))
    most_s = longest_s + duration_s - in_steps_s
    return most_s if most_s >= duration_s else None  # it did more than its programs say


def _keys(data: Any) -> list[str]:
    """Data keys of a stream, without their times."""
    return [str(key) for key in data.data_vars if not str(key).startswith("ts_") and key != "seq_num"]


def _measured(run: RunData) -> Iterator[tuple[str, str, Any, Any]]:
    """Give name, unit, times and sound values of each quantity with a unit, stream by stream."""
    for name, data in run.streams.items():
        if name in _NOT_MEASURED:
            continue
        times = np.asarray(data["time"])
        for key in _keys(data):
            unit, values = data[key].attrs.get("units") or "1", np.asarray(data[key])
            if unit == "1" or values.ndim != 1 or values.dtype.kind not in "fiu":
                continue
            sound = np.isfinite(values)
            if sound.any():
                yield key, unit, times[sound], values[sound]


def _extremes(run: RunData, begin: float) -> Iterator[Extreme]:
    for key, unit, times, values in _measured(run):
        low, high = int(np.argmin(values)), int(np.argmax(values))
        at_s = float(times[low]) - begin, float(times[high]) - begin
        yield Extreme(key, unit, float(values[low]), float(values[high]), *at_s)


def _first(run: RunData) -> dict[str, float]:
    """Give the first value of each quantity."""
    found: dict[str, tuple[float, float]] = {}
    for key, _, times, values in _measured(run):
        found[key] = min(found.get(key, (math.inf, math.nan)), (float(times[0]), float(values[0])))
    return {key: value for key, (_, value) in found.items()}


def _merged(extremes: Iterable[Extreme]) -> tuple[Extreme, ...]:
    found: dict[str, Extreme] = {}
    for one in extremes:
        found[one.quantity] = found[one.quantity].with_(one) if one.quantity in found else one
    return tuple(found[quantity] for quantity in sorted(found))


def _charges(run: RunData) -> Iterator[Charge]:
    """Give the charge passed by each device that measures a current."""
    sample = run.start.get("sample")
    name = sample.get("name", "") if isinstance(sample, Mapping) else ""
    if run.start.get("programs"):
        steps = [_of_counter(step.charge_mAh, step.current_A) for step in CellRun(run).steps]
        if steps:
            yield Charge(name, run.start["devices"]["channel"], *map(math.fsum, zip(*steps, strict=True)))
        return
    found: dict[str, list[tuple[float, float]]] = {}
    for stream, data in run.streams.items():
        if stream in _NOT_MEASURED or stream == "environment":
            continue
        for key in _keys(data):
            if data[key].attrs.get("units") == "A" and key.endswith("_current"):
                current_A = np.nan_to_num(np.asarray(data[key], dtype=float))
                found.setdefault(key.removesuffix("_current"), []).append(
                    _integrated(np.asarray(data["time"]), current_A)
                )
    for device, passed in found.items():
        yield Charge(name, device, *map(math.fsum, zip(*passed, strict=True)))


def _of_counter(charge_mAh: Any, current_A: Any) -> tuple[float, float]:
    """Share out what a counter of one step says, by the sign of the current."""
    passed_mAh = np.diff(charge_mAh, prepend=0.0)
    return float(passed_mAh[current_A > 0].sum()), float(passed_mAh[current_A < 0].sum())


def _integrated(time_s: Any, current_A: Any) -> tuple[float, float]:
    positive, negative = (np.clip(sign * current_A, 0.0, None) for sign in (1.0, -1.0))
    return (
        float(np.trapezoid(positive, time_s)) / _COULOMB_PER_mAh,
        float(np.trapezoid(negative, time_s)) / _COULOMB_PER_mAh,
    )


# --------------------------------------------------------------------------------------------------- limits


@dataclass(frozen=True)
class _Limit:
    """Limits of a quantity, and whose they are; of a `magnitude`, whatever its sign."""

    quantity: str
    source: str
    low: float
    high: float
    magnitude: bool = False


def _limits(folder: Path, devices: Collection[str]) -> list[_Limit]:
    """Find the limits that descriptors tell of settings, as limits of what they set."""
    found: dict[str, _Limit] = {}
    for path in journals_folder(folder).glob("*.jsonl"):
        for record in JournalTail(path).read(_DESCRIPTORS):
            configured = record.doc.get("configuration", {}).values()
            for keys in (record.doc["data_keys"], *(of.get("data_keys", {}) for of in configured)):
                found |= {key: _limit(key, described, devices) for key, described in keys.items()}
    return [limit for limit in found.values() if math.isfinite(limit.low) or math.isfinite(limit.high)]


def _limit(key: str, described: Mapping[str, Any], devices: Collection[str]) -> _Limit:
    device = max((name for name in devices if key.startswith(f"{name}_")), key=len, default="")
    measured = key.removesuffix("_setpoint").replace(f"{device}_applied_", f"{device}_")
    low, high = described.get("lower_ctrl_limit", -math.inf), described.get("upper_ctrl_limit", math.inf)
    # What a source may be told begins at 0 where it is without sign; what it does has one.
    return _Limit(measured, device, low, high, magnitude=low == 0 and "_applied_" in key)


def _limits_that_hold(limits: Iterable[_Limit], run: RunData) -> Iterator[_Limit]:
    """Leave out limits of what is outside from the beginning: they are of what may be set, not of the air."""
    first = _first(run)
    for limit in limits:
        value = first.get(limit.quantity, math.nan)
        if limit.low <= (abs(value) if limit.magnitude else value) <= limit.high:
            yield limit


def _limits_of_sample(run: RunData) -> Iterator[_Limit]:
    if not run.start.get("programs"):
        return
    sample = CellSample.model_validate(run.start["sample"])
    channel, source = run.start["devices"]["channel"], f"{_OF_SAMPLE}{sample.name}"
    for signal in ("voltage", "potential"):
        yield _Limit(f"{channel}_{signal}", source, sample.voltage_min_V, sample.voltage_max_V)
    yield _Limit(f"{channel}_current", source, 0.0, sample.current_max_mA / 1e3, magnitude=True)


def _touched(extremes: Iterable[Extreme], limits: Iterable[_Limit]) -> Iterator[Touched]:
    known = {extreme.quantity: extreme for extreme in extremes}
    for limit in limits:
        if (extreme := known.get(limit.quantity)) is not None:
            yield from _compared(extreme, limit)


def _compared(extreme: Extreme, limit: _Limit) -> Iterator[Touched]:
    sides = [
        (limit.low, extreme.lowest, extreme.lowest_at_s, -1.0),
        (limit.high, extreme.highest, extreme.highest_at_s, 1.0),
    ]
    if limit.magnitude and extreme.unit not in ("V", "degC"):
        value, at_s = max(
            (abs(extreme.lowest), extreme.lowest_at_s), (abs(extreme.highest), extreme.highest_at_s)
        )
        sides = [(limit.high, value, at_s, 1.0)]
    span = limit.high - limit.low
    for edge, value, at_s, outwards in sides:
        if math.isinf(edge) or (edge == 0 and extreme.unit not in _MAY_BE_NEGATIVE):
            continue
        near = _NEAR * (span if math.isfinite(span) else abs(edge))
        beyond = outwards * (value - edge)
        if beyond >= -near:
            yield Touched(
                extreme.quantity, extreme.unit, limit.source, edge, value, at_s, broken=beyond > near
            )


def _sum(times_s: Iterable[float | None]) -> float | None:
    """Add times; None if there are none, or one is not known."""
    known = list(times_s)
    return None if not known or None in known else math.fsum(time_s for time_s in known if time_s is not None)
