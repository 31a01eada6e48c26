"""Every instrument of the station `shelf` through every fault: never a wrong number, and well again after.

The wire's faults come once and lasting, then what the simulated instrument can show of breakdowns, then a
loss of power. Each case has a laboratory of its own with that device alone and what it is built of.
"""

import importlib
import math
import statistics

import pytest

from devices.families.cycler import Cycler, CyclerChannel
from devices.instrument import Instrument
from devices.signals import Measured, Setting
from devices.status import ActionTimeout
from sim_devices.wire import BREAKDOWNS, FAULTS
from ssblab.links import LinkError
from ssblab.station import load_station

SHELF = load_station("shelf")
SIMULATED = SHELF.simulated.instruments

HEALTHY_READINGS = 6
SIGMAS = 6.0
TIMES = ("s", "min", "h")  # units of quantities that run on by themselves
OLD_S = 6.0  # a Neware machine shows what was up to 5 s ago
LATE_S = 15.0  # by then a late reply has come
WARM_S = 7200.0  # by then every instrument that has lost its power has warmed up

#: Protocols without a checksum of their own: a byte changed on the way may give another number.
#: They rely on TCP's checksum, under which no byte changes.
UNCHECKED = ("Modbus TCP",)

#: Verbs by which an operator acknowledges what an instrument latches, or has it find its reference again.
ACKNOWLEDGING = ("reset", "clear_watchdog", "home")


def found(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def instrument_of(name):
    """Device with the link: a channel is asked through its cycler, and stands for it here."""
    return SHELF.devices[name].uses.get("cycler", name)


def breakdowns_of(name):
    """What the simulated instrument shows; none if there is no such instrument, which fails in the test."""
    try:
        return found(SIMULATED[instrument_of(name)].class_).breakdowns
    except (KeyError, ImportError, AttributeError):
        return ()


def cases():
    for name, record in SHELF.devices.items():
        cls = found(record.class_)
        if issubclass(cls, Cycler) or not issubclass(cls, Instrument | CyclerChannel):
            continue
        faults = [f"{fault}-{how}" for fault in FAULTS for how in ("once", "lasting")]
        for fault in [*faults, *breakdowns_of(name), "power_cycle"]:
            yield pytest.param(name, fault, id=f"{name}-{fault}")


class Case:
    """One device, connected to its simulated instrument, and what it reads in health."""

    def __init__(self, clock, simulated, device, instrument):
        self.clock = clock
        self.simulated = simulated
        self.device = device
        self.instrument = instrument
        self.signals = {
            name: signal
            for name in device.component_names
            if isinstance(signal := getattr(device, name), Measured) and signal.unit not in TIMES
        }
        if device.quality.get() != "ok":
            self.acknowledge()
        self.well, self.tolerance = self._healthy()
        self.quality = device.quality.get()

    def _healthy(self):
        rows = []
        for _ in range(HEALTHY_READINGS):
            self.clock.sleep(1.0)
            self.device.trigger().wait()
            rows.append({name: signal.get() for name, signal in self.signals.items()})
        well = {name: statistics.fmean(row[name] for row in rows) for name in self.signals}
        tolerance = {
            name: SIGMAS * statistics.stdev(row[name] for row in rows) + 10.0**-signal.precision
            for name, signal in self.signals.items()
            if math.isfinite(well[name])
        }
        return well, tolerance

    def wrong(self, *, settings=True):
        """Names and values of what differs from the readings in health without being called unsound."""
        unsound = self.device.quality.get() != "ok"
        return {
            name: (value, self.well[name], self.tolerance.get(name))
            for name, signal in self.signals.items()
            if (settings or not isinstance(signal, Setting))
            and not self._is_right(name, value := signal.get())
            and not (unsound and math.isnan(value))
        }

    def _is_right(self, name, value):
        if math.isnan(self.well[name]):
            return math.isnan(value)
        return abs(value - self.well[name]) <= self.tolerance[name]

    def trigger(self):
        """Read; say whether it succeeded. An error must be of the link and name the device."""
        return self._succeeds(lambda: self.device.trigger().wait())

    def make_safe(self):
        """Make safe, in bounded time; say whether it succeeded."""
        begin_s = self.clock.monotonic()
        succeeded = self._succeeds(self.device.make_safe)
        assert self.clock.monotonic() - begin_s <= self.device.action_timeout_s
        return succeeded

    def _succeeds(self, work):
        problem = None
        try:
            work()
        except (LinkError, ActionTimeout) as error:
            problem = str(error)
        assert problem is None or self.instrument.name in problem or self.device.name in problem
        return problem is None

    def acknowledge(self):
        for verb in ACKNOWLEDGING:
            if hasattr(self.device, verb):
                getattr(self.device, verb)().wait()

    def assert_well(self):
        """The next reading succeeds and is right, and so is the safe state."""
        self.device.trigger().wait()
        assert self.wrong() == {}
        assert self.device.quality.get() == self.quality
        self.device.make_safe()


@pytest.fixture
def case(clock, put_on_shelf, request):
    name = request.param
    lab, devices = put_on_shelf(name)
    with_link = instrument_of(name)
    return Case(clock, lab.instruments[with_link], devices[name], devices[with_link])


@pytest.mark.parametrize(("case", "fault"), list(cases()), indirect=["case"])
def test_no_fault_gives_a_wrong_number(case, fault):
    assert case.quality == "ok"
    if fault == "power_cycle":
        loses_its_power(case)
    elif fault in BREAKDOWNS:
        breaks_down(case, fault)
    else:
        has_a_fault_of_the_wire(case, *fault.split("-"))


def has_a_fault_of_the_wire(case, fault, how):
    checked = fault != "corrupt" or case.instrument.about.protocol not in UNCHECKED
    case.simulated.break_wire(fault, times=None if how == "lasting" else 1)
    if case.trigger() and checked:
        assert case.wrong() == {}
    if how == "lasting":
        case.make_safe()
        case.simulated.mend()
    case.clock.sleep(LATE_S)
    reads_nothing_old(case)
    case.assert_well()


def reads_nothing_old(case):
    """What is true now is read, not a reply that is left over from before: things at rest would hide it."""
    shown = [breakdown for breakdown in case.simulated.breakdowns if breakdown != "busy"]
    for breakdown in shown[-1:]:
        breaks_down(case, breakdown)


def breaks_down(case, breakdown):
    case.simulated.break_down(breakdown)
    case.clock.sleep(OLD_S)
    if case.trigger():
        assert case.device.quality.get() != "ok"
    case.make_safe()
    case.simulated.mend()
    case.clock.sleep(OLD_S)
    if not case.trigger() or case.device.quality.get() != case.quality:
        case.acknowledge()
    case.assert_well()


def loses_its_power(case):
    case.simulated.power_cycle()
    if case.trigger() and case.device.quality.get() == "ok":
        assert case.wrong(settings=False) == {}
    if not case.trigger():
        case.device.connect()
    if case.device.quality.get() != case.quality:
        case.acknowledge()
    case.clock.sleep(WARM_S)
    case.device.trigger().wait()
    assert case.wrong(settings=False) == {}
    assert case.device.quality.get() == case.quality
    case.device.make_safe()
