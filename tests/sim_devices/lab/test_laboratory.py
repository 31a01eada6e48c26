"""A laboratory made of what a station file says."""

import numpy as np
import pytest

from sim_devices.lab.laboratory import Laboratory

HOLDER = "sim_devices.physics.holder.CellHolder"
CELL = "sim_devices.physics.cell.Cell"
CHAMBER = "sim_devices.physics.climate_chamber.ClimateChamber"
PALMSENS = "sim_devices.instruments.palmsens.SimulatedPalmSens"
THINGS = {
    "air": {"class": CHAMBER, "options": {"temperature_C": 25.0, "room_C": 25.0}},
    "holder": {"class": HOLDER, "connected": {"surroundings": "air"}},
}
INSTRUMENTS = {"potentiostat": {"class": PALMSENS, "connected": "holder"}}
SAMPLES = {
    "cell-01": {"place": "holder", "class": CELL, "options": {"design": "standard-2.1"}},
    "cell-02": {"place": "holder", "class": CELL, "options": {"design": "standard-2.1"}},
}
RECORD = {"name": "cell-01", "capacity_mAh": 8.0, "area_cm2": 4.0}


@pytest.fixture
def make(clock):
    made = []

    def make(seed=1, **changes):
        parts = {"things": THINGS, "instruments": INSTRUMENTS, "samples": SAMPLES} | changes
        made.append(Laboratory(clock, seed=seed, **parts))
        return made[-1]

    yield make
    for laboratory in made:
        laboratory.close()


def capacity_Ah(laboratory, name):
    laboratory.mount({**RECORD, "name": name})
    return laboratory.things["holder"].cell.capacity_Ah


def test_a_sample_is_put_into_its_place_and_stands_in_what_is_around_it(make):
    laboratory = make()
    assert laboratory.things["holder"].cell is None
    laboratory.mount(RECORD)
    cell = laboratory.things["holder"].cell
    assert cell.equations.area_cm2 == 4.0
    assert cell.capacity_Ah == pytest.approx(0.008, rel=0.03)
    assert laboratory.things["holder"].potential_V() == cell.voltage_V


def test_the_same_seed_gives_the_same_cells_and_another_does_not(make):
    first = [capacity_Ah(make(), name) for name in SAMPLES]
    assert [capacity_Ah(make(), name) for name in SAMPLES] == first
    assert first[0] != first[1]
    others = np.array([capacity_Ah(make(seed), "cell-01") for seed in range(2, 60)])
    assert np.std(others) / 0.008 == pytest.approx(0.01, rel=0.3)
    assert np.abs(others / 0.008 - 1.0).max() < 0.03


def test_a_cell_is_the_same_cell_when_it_is_put_in_again(make):
    laboratory = make()
    laboratory.mount(RECORD)
    cell = laboratory.things["holder"].cell
    laboratory.mount(RECORD)
    assert laboratory.things["holder"].cell is cell
    laboratory.mount({**RECORD, "name": "cell-02"})
    assert laboratory.things["holder"].cell is not cell
    laboratory.mount(RECORD)
    assert laboratory.things["holder"].cell is cell


def test_an_unknown_sample_is_refused_with_those_there_are(make):
    with pytest.raises(ValueError, match=r"no sample 'other': it has cell-01, cell-02; add it to `samples`"):
        make().mount({**RECORD, "name": "other"})


def test_what_is_connected_must_have_been_named_before(make):
    backwards = dict(reversed(THINGS.items()))
    with pytest.raises(ValueError, match="nothing is called 'air' before what is connected to it"):
        make(things=backwards)


def test_a_class_that_is_not_there_is_told(make):
    with pytest.raises(AttributeError):
        make(things={"air": {"class": CHAMBER + "s"}})


def test_it_describes_itself(make):
    rows = list(make().describe())
    assert rows == [
        ("thing", "air", "ClimateChamber", "", "temperature_C: 25.0, room_C: 25.0"),
        ("thing", "holder", "CellHolder", "surroundings: air", ""),
        ("sample", "cell-01", "Cell", "holder", "design: standard-2.1"),
        ("sample", "cell-02", "Cell", "holder", "design: standard-2.1"),
        ("instrument", "potentiostat", "SimulatedPalmSens", "holder", ""),
    ]
