"""The same lines of a plan on instruments of different makers, of the station `shelf`."""

import bluesky.preprocessors as bpp
import numpy as np
import pytest

from devices.families.cycler_program import CellLimits, Program, Step
from plans.stubs import measure, ocv_then_eis

CAPACITY_AH = 0.008
PROGRAM = Program(
    steps=(
        Step(
            "charge",
            current_A=CAPACITY_AH / 2,
            hold_V=4.1,
            end_current_A=CAPACITY_AH / 20,
            end_time_s=4 * 3600,
        ),
        Step("rest", end_time_s=600),
        Step("discharge", current_A=CAPACITY_AH / 2, end_voltage_V=3.2, end_time_s=4 * 3600),
        Step("rest", end_time_s=600),
    ),
    limits=CellLimits(voltage_min_V=3.0, voltage_max_V=4.3, charge_A=0.01, discharge_A=0.01),
    record_interval_s=30.0,
)


def events_of(RE, plan):
    """Run a plan; give the columns of each stream, without the device's name."""
    documents = []
    RE(plan, lambda name, document: documents.append((name, document)))
    streams = {d["uid"]: d["name"] for name, d in documents if name == "descriptor"}
    table = {}
    for name, document in documents:
        if name == "event_page":
            columns = table.setdefault(streams[document["descriptor"]], {})
            for key, values in document["data"].items():
                columns.setdefault(key, []).extend(values)
    return {stream: {key: np.array(v) for key, v in columns.items()} for stream, columns in table.items()}


@bpp.run_decorator()
def cycle(channel):
    yield from measure(channel, PROGRAM, "records")


@pytest.fixture
def capacities(RE, put_on_shelf):
    def run(name, cell):
        lab, devices = put_on_shelf(name)
        channel = devices[name]
        records = events_of(RE, cycle(channel))["records"]
        step, capacity_Ah = records[f"{name}_step"], records[f"{name}_capacity"]
        passed_Ah = abs(lab.things[cell].charge_Ah)
        return {number: capacity_Ah[step == number].max() for number in (1, 3)}, passed_Ah

    return run


def test_the_same_program_gives_equal_capacities_on_both_cyclers(capacities):
    neware_Ah, _ = capacities("cycler_1_ch1", "cell_1")
    maccor_Ah, net_Ah = capacities("cycler_2_ch1", "cell_2")
    for step in (1, 3):
        assert neware_Ah[step] > 0.3 * CAPACITY_AH
        assert maccor_Ah[step] == pytest.approx(neware_Ah[step], rel=0.002)
    assert abs(maccor_Ah[1] - maccor_Ah[3]) == pytest.approx(net_Ah, abs=0.002 * CAPACITY_AH)


@bpp.run_decorator()
def rest_and_spectrum(potentiostat):
    yield from ocv_then_eis(
        potentiostat,
        rest_s=30.0,
        interval_s=1.0,
        frequency_start_Hz=10e3,
        frequency_end_Hz=0.1,
        points_per_decade=5,
        amplitude_V=0.01,
    )


@pytest.mark.parametrize(("name", "cell"), [("potentiostat", "full_cell"), ("smu_potentiostat", "cell_3")])
def test_ocv_then_eis_is_the_same_on_two_different_potentiostats(RE, put_on_shelf, name, cell):
    lab, devices = put_on_shelf(name)
    truth = lab.things[cell]
    potential_V = truth.potential_V()
    streams = events_of(RE, rest_and_spectrum(devices[name]))
    assert streams["open_circuit"][f"{name}_potential"] == pytest.approx(potential_V, abs=2e-3)
    assert len(streams["open_circuit"][f"{name}_potential"]) in (30, 31)
    frequency_Hz = streams["impedance"][f"{name}_frequency"]
    assert frequency_Hz == pytest.approx(np.geomspace(10e3, 0.1, 26), rel=1e-3)
    z_ohm = streams["impedance"][f"{name}_z_real"] + 1j * streams["impedance"][f"{name}_z_imag"]
    assert abs(z_ohm / truth.impedance(frequency_Hz) - 1.0).max() < 0.03
    assert devices[name].cell.get() == 0
