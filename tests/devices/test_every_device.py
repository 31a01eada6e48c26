"""What holds for every device, found by itself: a new driver is covered the day it lands."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import devices as devices_package
import sim_devices
from devices.families.electrochemical import ElectrochemicalDevice
from devices.flyer import FlyingDevice
from devices.instrument import Instrument, LabDevice
from devices.signals import Measured
from sim_devices import instruments
from sim_devices.wire import BREAKDOWNS, SimulatedInstrument
from ssblab.station import load_station


def classes_in(package, base):
    """All classes of a package and its modules that derive from `base`."""
    found = set()
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, base) and cls.__module__ == module.name:
                found.add(cls)
    return sorted(found, key=lambda cls: cls.__qualname__)


FAMILIES_AND_DRIVERS = classes_in(devices_package, LabDevice)
DRIVERS = [cls for cls in FAMILIES_AND_DRIVERS if not inspect.isabstract(cls)]
SIMULATED = [cls for cls in classes_in(instruments, SimulatedInstrument) if not inspect.isabstract(cls)]

SIM, SHELF = load_station("sim"), load_station("shelf")

EPOCH_S = 1_700_000_000  # of the clock of the tests

#: What families stand on.
BASES = (LabDevice, Instrument, FlyingDevice, ElectrochemicalDevice)

each_driver = pytest.mark.parametrize("cls", DRIVERS, ids=lambda cls: cls.__name__)


@pytest.fixture
def built(request):
    """The device of a class in the station `sim`, else in `shelf`; a class that is in neither fails."""

    def find(cls):
        for station, build in ((SIM, from_sim), (SHELF, from_shelf)):
            for name, record in station.devices.items():
                if record.class_ == f"{cls.__module__}.{cls.__name__}":
                    return build(name)
        pytest.fail(f"{cls.__module__}.{cls.__name__} has no place in stations/sim.yml or stations/shelf.yml")

    def from_sim(name):
        return request.getfixturevalue("devices")[name]

    def from_shelf(name):
        return request.getfixturevalue("put_on_shelf")(name)[1][name]

    return find


def signals_of(device):
    return [
        (device.component_names[i], getattr(device, name)) for i, name in enumerate(device.component_names)
    ]


def test_there_is_something_to_sweep():
    assert len(DRIVERS) >= 10
    assert len(SIMULATED) >= 8


@pytest.mark.parametrize("cls", FAMILIES_AND_DRIVERS, ids=lambda cls: cls.__name__)
def test_every_class_says_what_it_is(cls):
    assert (cls.__doc__ or "").strip() != (cls.__mro__[1].__doc__ or "").strip()
    if cls not in BASES:
        assert cls.family
    if cls in DRIVERS and issubclass(cls, Instrument):
        assert cls.about.maker
        assert cls.about.protocol


@each_driver
def test_every_verb_is_there(built, cls):
    device = built(cls)
    for verb in ("connect", "poll", "make_safe", "trigger", "stop"):
        assert callable(getattr(device, verb))


@each_driver
def test_every_quantity_has_unit_kind_and_doc(built, cls):
    device = built(cls)
    signals = signals_of(device)
    assert signals
    for name, signal in signals:
        assert getattr(type(device), name).doc, f"{name} has no doc"
        (description,) = signal.describe().values()
        if isinstance(signal, Measured) or description["dtype"] in ("number", "integer", "array"):
            assert description.get("units"), f"{name} has no unit"


@each_driver
def test_hints_name_what_is_hinted(built, cls):
    device = built(cls)
    hinted = [signal.name for _, signal in signals_of(device) if signal.kind.name == "hinted"]
    fields = device.hints["fields"]
    assert set(hinted) == set(fields)
    assert set(fields) <= set(device.describe())


@each_driver
def test_every_reading_has_the_time_of_the_clock(built, cls, clock):
    device = built(cls)
    clock.sleep(3.0)
    before_s = clock.now()
    device.trigger().wait()
    readings = device.read()
    for name, reading in readings.items():
        assert EPOCH_S <= reading["timestamp"] <= clock.now(), f"{name}: {reading} is not of the clock"
    if readings:
        assert any(before_s <= reading["timestamp"] <= clock.now() for reading in readings.values())


@each_driver
def test_the_safe_state_is_idempotent(built, cls, lab):
    device = built(cls)
    device.make_safe()
    transitions = list(lab.instruments["relays"].transitions)
    device.make_safe()
    device.stop()
    assert lab.instruments["relays"].transitions == transitions


@pytest.mark.parametrize("cls", SIMULATED, ids=lambda cls: cls.__name__)
def test_every_simulated_instrument_stands_in_the_laboratory_or_on_the_shelf(cls, lab):
    on_the_shelf = [record.class_ for record in SHELF.simulated.instruments.values()]
    in_the_laboratory = any(type(instrument) is cls for instrument in lab.instruments.values())
    assert in_the_laboratory or f"{cls.__module__}.{cls.__name__}" in on_the_shelf


@pytest.mark.parametrize("cls", SIMULATED, ids=lambda cls: cls.__name__)
def test_every_simulated_instrument_shows_breakdowns_that_there_are(cls):
    assert set(cls.breakdowns) <= set(BREAKDOWNS)


def test_the_simulation_knows_no_driver_and_no_plan():
    for path in Path(next(iter(sim_devices.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in {"devices", "plans"}, f"{path} imports {name}"
                assert not name.startswith("ssblab") or name == "ssblab.clock", f"{path} imports {name}"
