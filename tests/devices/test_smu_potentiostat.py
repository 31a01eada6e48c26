import math

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import preprocessors as bpp
from ophyd.utils import LimitError

from devices.families.electrochemical import ImpedancePoint
from devices.families.impedance_meter import ImpedanceMeter
from devices.families.techniques import (
    ConstantCurrent,
    ConstantPotential,
    CyclicVoltammetry,
    GalvanostaticImpedanceSweep,
    ImpedanceSweep,
    LinearSweep,
    OpenCircuit,
)
from devices.flyer import MeasurementStopped
from devices.keithley_2400 import Keithley2400
from devices.keithley_2450 import Keithley2450
from devices.smu_potentiostat import SmuPotentiostat
from plans.stubs import measure, ocv_then_eis
from sim_devices.instruments.keithley_2400 import SimulatedKeithley2400
from sim_devices.instruments.keithley_2450 import SimulatedKeithley2450
from sim_devices.physics.battery_cell import BatteryCell
from ssblab.links import InstrumentError, LinkError

SPECTRUM = ImpedanceSweep(1000.0, 1.0, 5, 0.01, 3.8)
DIRECT = {
    "OpenCircuit": OpenCircuit(10.0, 0.5),
    "ConstantPotential": ConstantPotential(3.9, 10.0, 0.5, 20e-3),
    "ConstantCurrent": ConstantCurrent(1e-3, 10.0, 0.5, 2.5, 4.2),
    "LinearSweep": LinearSweep(3.75, 3.85, 0.01, 0.02, 50e-3),
    "CyclicVoltammetry": CyclicVoltammetry(3.8, 3.85, 3.75, 0.01, 0.02, 1, 50e-3),
}


class Meter(ImpedanceMeter):
    """An impedance meter that measures by itself, one frequency a second."""

    techniques = (ImpedanceSweep,)
    model = "a meter"

    def __init__(self, *, cell, **kwargs):
        super().__init__(**kwargs)
        self.behind = cell
        self.on = False
        self.broken = False
        self.unsafe = False
        self.safe_states = 0
        self.applied_potential.narrow(-5.0, 5.0)
        self.sweep_frequency.narrow(0.1, 1e5)
        self.sweep_amplitude.narrow(0.0, 0.1)

    def connect(self):
        self.poll()

    def begin(self, task):
        self.on = True
        self.began = self.clock.monotonic()
        self.left = task.frequencies_Hz()

    def listen(self):
        if self.broken:
            raise self.refused("reports that its terminals are open")
        while self.left and self.clock.monotonic() >= self.began + 1.0:
            self.began += 1.0
            frequency_Hz = self.left.pop(0)
            z = complex(self.behind.impedance(np.array([frequency_Hz]))[0])
            self.add_point(ImpedancePoint(self.clock.now(), frequency_Hz, z.real, z.imag, "ok"))
        if not self.left:
            self.on = False
        return not self.left

    def switch_off(self):
        if self.unsafe:
            raise self.refused("does not let go of the cell")
        self.on = False
        self.safe_states += 1

    def read_at_rest(self):
        if self.on:
            raise self.refused("its signal is on though nothing runs")


@pytest.fixture
def cell(clock):
    return BatteryCell(clock)


@pytest.fixture(params=[(Keithley2450, SimulatedKeithley2450), (Keithley2400, SimulatedKeithley2400)])
def simulated(request, clock, cell):
    return request.param[1](clock, cell)


@pytest.fixture
def pstat(clock, wires, simulated, cell):
    driver = Keithley2450 if isinstance(simulated, SimulatedKeithley2450) else Keithley2400
    smu = driver(
        name="smu",
        address=wires.listen(simulated),
        clock=clock,
        limits={"applied_potential": (0.0, 4.5), "applied_current": (-0.1, 0.1)},
    )
    meter = Meter(name="meter", clock=clock, cell=cell)
    pstat = SmuPotentiostat(name="pstat", clock=clock, smu=smu, impedance_meter=meter)
    for device in (smu, meter, pstat):
        device.connect()
    yield pstat
    smu.link.close()


@pytest.fixture
def RE(clock):
    RE = RunEngine(loop=clock.loop, context_managers=[])

    def follow(new, old):
        if new == "running":
            clock.resume()
        elif old == "running":
            clock.hold()

    RE.state_hook = follow
    return RE


def start(pstat, task):
    flyer = pstat.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


def column(documents, stream, key):
    (descriptor,) = [d for name, d in documents if name == "descriptor" and d["name"] == stream]
    pages = [d for name, d in documents if name == "event_page" and d["descriptor"] == descriptor["uid"]]
    return np.concatenate([page["data"][f"pstat_{key}"] for page in pages])


def test_limits_are_those_of_the_parts(pstat):
    assert pstat.applied_potential.limits == (-5.0, 5.0)
    assert pstat.sweep_frequency.limits == (0.1, 1e5)
    with pytest.raises(LimitError, match=r"smu_applied_potential: 4\.6 V"):
        pstat.flyer(DIRECT["ConstantPotential"]).prepare(ConstantPotential(4.6, 10.0, 0.5, 20e-3))
    with pytest.raises(LimitError, match="pstat_sweep_frequency"):
        pstat.flyer(SPECTRUM).prepare(ImpedanceSweep(1e6, 1.0, 5, 0.01, 3.8))


def test_a_technique_that_no_part_can_do_is_refused(pstat):
    with pytest.raises(TypeError, match=r"meter \(impedance meter\) does ImpedanceSweep"):
        pstat.flyer(GalvanostaticImpedanceSweep(1e3, 1.0, 5, 1e-3, 0.0, 2.5, 4.2))


def test_connect_reads_the_potential(pstat, cell):
    assert pstat.potential.get() == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert (pstat.quality.get(), pstat.cell.get(), pstat.current.get()) == ("ok", 0.0, 0.0)


def test_open_circuit_and_a_spectrum_by_the_plan_of_any_potentiostat(pstat, RE, cell, simulated):
    documents = []
    plan = ocv_then_eis(
        pstat,
        rest_s=10.0,
        interval_s=0.5,
        frequency_start_Hz=1000.0,
        frequency_end_Hz=1.0,
        points_per_decade=5,
        amplitude_V=0.01,
    )
    RE(bpp.run_wrapper(plan), lambda name, doc: documents.append((name, doc)))
    assert column(documents, "open_circuit", "potential") == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    frequency_Hz = column(documents, "impedance", "frequency")
    truth = cell.impedance(frequency_Hz)
    assert len(frequency_Hz) == 16
    assert column(documents, "impedance", "z_real") == pytest.approx(truth.real, rel=1e-3)
    assert column(documents, "impedance", "z_imag") == pytest.approx(truth.imag, rel=1e-3)
    (configuration,) = [
        d["configuration"]["pstat"]["data"]
        for name, d in documents
        if name == "descriptor" and d["name"] == "impedance"
    ]
    assert configuration["pstat_applied_potential"] == pytest.approx(cell.open_circuit_V(), abs=1e-3)
    assert not simulated.stage.output


@pytest.mark.parametrize("name", DIRECT)
def test_direct_techniques_are_done_by_the_source_measure_unit(pstat, RE, name, simulated):
    documents = []
    RE(bpp.run_wrapper(measure(pstat, DIRECT[name], "course")), lambda *document: documents.append(document))
    currents = column(documents, "course", "current")
    assert len(currents) >= 10
    if name == "ConstantCurrent":
        assert currents == pytest.approx(1e-3, rel=1e-3)
    assert pstat.impedance_meter.safe_states >= 1
    assert not simulated.stage.output
    assert (pstat.cell.get(), pstat.quality.get()) == (0.0, "ok")


def test_what_is_recorded_while_a_part_measures_is_its(pstat, pass_time, clock):
    flyer = start(pstat, ConstantCurrent(1e-3, 60.0, 0.5, 2.5, 4.2))
    assert pstat.cell.get() == 1.0
    pass_time(12.0)
    assert pstat.current.get() == pytest.approx(1e-3, rel=1e-3)
    assert pstat.potential.get() == pstat.smu.potential.get() > 3.81
    assert pstat.potential.timestamp == pstat.smu.potential.timestamp
    flyer.complete().wait()


def test_only_one_measures_at_a_time(pstat):
    flyer = start(pstat, SPECTRUM)
    with pytest.raises(RuntimeError, match="pstat: a measurement is under way"):
        pstat.flyer(DIRECT["OpenCircuit"]).prepare(DIRECT["OpenCircuit"])
    flyer.complete().wait()
    start(pstat.smu, DIRECT["OpenCircuit"])
    with pytest.raises(RuntimeError, match="smu: a measurement is under way"):
        pstat.flyer(SPECTRUM).prepare(SPECTRUM)


@pytest.mark.parametrize("task", [SPECTRUM, DIRECT["ConstantCurrent"]], ids=["spectrum", "course"])
def test_safe_state_in_the_middle(pstat, simulated, pass_time, task):
    flyer = start(pstat, task)
    pass_time(3.0)
    pstat.make_safe()
    assert not simulated.stage.output
    assert not pstat.impedance_meter.on
    assert pstat.cell.get() == 0.0
    with pytest.raises(MeasurementStopped, match="pstat: the measurement was stopped"):
        flyer.complete().wait()
    assert not pstat.smu.measuring
    assert not pstat.impedance_meter.measuring
    pstat.stop()
    pstat.trigger().wait()
    assert pstat.quality.get() == "ok"


def test_an_error_of_the_meter_ends_the_measurement_with_both_parts_safe(pstat, simulated, pass_time):
    flyer = start(pstat, SPECTRUM)
    pass_time(3.0)
    pstat.impedance_meter.broken = True
    with pytest.raises(InstrumentError, match="meter: reports that its terminals are open"):
        flyer.complete().wait()
    assert not pstat.impedance_meter.on
    assert not simulated.stage.output
    pstat.impedance_meter.broken = False
    start(pstat, DIRECT["OpenCircuit"]).complete().wait()


def test_an_error_of_the_unit_ends_the_measurement_with_both_parts_safe(pstat, simulated, pass_time):
    flyer = start(pstat, DIRECT["ConstantCurrent"])
    pass_time(3.0)
    simulated.power_cycle()
    with pytest.raises(LinkError, match="smu at"):
        flyer.complete().wait()
    assert not simulated.stage.output
    assert simulated.stage.off_state["CURR"] == "HIMP"
    start(pstat, SPECTRUM).complete().wait()


def test_a_part_that_does_not_become_safe_keeps_the_other_from_starting(pstat, simulated, pass_time):
    pstat.impedance_meter.unsafe = True
    flyer = pstat.flyer(DIRECT["ConstantCurrent"])
    flyer.prepare(DIRECT["ConstantCurrent"]).wait()
    with pytest.raises(InstrumentError, match="meter: does not let go of the cell"):
        flyer.kickoff().wait()
    assert not simulated.stage.output
    with pytest.raises(InstrumentError, match="does not let go"):
        pstat.make_safe()
    pstat.impedance_meter.unsafe = False
    pass_time(10.0)
    pstat.make_safe()
    start(pstat, DIRECT["ConstantCurrent"]).complete().wait()


def test_an_output_that_is_on_though_nothing_runs_is_told(pstat, simulated):
    b"".join(simulated.receive(bytearray(b":OUTP ON\n")))
    with pytest.raises(InstrumentError, match=r"smu at .*: its output is on though nothing runs"):
        pstat.trigger().wait()
    assert pstat.cell.get() == 1.0
    assert math.isnan(pstat.potential.get())
    pstat.make_safe()
    assert not simulated.stage.output


def test_every_number_has_a_unit_and_a_time(pstat, clock):
    clock.sleep(100.0)
    pstat.trigger().wait()
    assert pstat.read()["pstat_potential"]["timestamp"] == pytest.approx(clock.now(), abs=0.5)
    assert pstat.describe()["pstat_current"]["units"] == "A"
    assert pstat.flyers["impedance"].describe_collect()["pstat_z_real"]["source"].startswith("Keithley 24")
