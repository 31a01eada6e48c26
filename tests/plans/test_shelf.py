"""The same lines of a plan on instruments of different makers, of the station `shelf`."""

import bluesky.preprocessors as bpp
import numpy as np
import pytest

from devices.cycler_program import CellLimits, Program, Step
from plans.stubs import measure

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
