"""Pictures of runs about many: which is drawn, and what it says."""

import re

import numpy as np

from ssblab.catalog import RunData
from ssblab.reports.member_pictures import member_drawings
from tests.plans.test_cell_figures import SAMPLE, recorded, stream, upload

LEVELS = {"bonded": ("a", ("2C", "6C")), "apart": ("b", ("2C",))}


def cell(name, level, done):
    """A cell of a bonding study, that was charged at some of the rates."""
    charge = "Charge at {} until 4.2 V"
    run = recorded(
        [(f"charge at {at}", "1", 4, "") for at in done],
        [row for place, _ in enumerate(done) for row in upload(4, cycle=place + 1)],
        texts=[(f"charge at {at}", charge.format(at)) for at in ("2C", "6C")],
        charges={"2C": 2.0, "6C": 6.0},
        figures_of_merit="plans.bonding_figures:cell",
    )
    run.start["sample"] = SAMPLE | {
        "name": name, "bond_level": level, "pressure_MPa": 7.0, "bonding_pressure_MPa": 350.0
    }  # fmt: skip
    points = {
        "frequency": np.array([1e3, 1e2, 1e1]),
        "z_real": np.array([1.0, 2.0, 3.0]),
        "z_imag": np.array([0.0, -1.0, 0.0]),
        "status": np.array(["ok"] * 3),
    }
    words = {"section": "spectrum", "verdict": "accept", "reasons": ""}
    numbers = {"rows": 3, "potential": 3.7, "temperature": 25.0, "pressure": 7.0, "residual": 0.0}
    marks = {f"spectra_{key}": np.array([value]) for key, value in (words | numbers).items()}
    run.streams["impedance"] = stream(
        {f"ch_{key}": column for key, column in points.items()} | {"time": range(3)}
    )
    run.streams["spectra"] = stream(marks | {"time": [0.0]})
    return run


def around(plan_name):
    columns = {
        "sample": list(LEVELS),
        "run": list(LEVELS),
        "exit_status": ["success"] * 2,
        "reason": [""] * 2,
    }
    marks = {f"members_{key}": np.array(column) for key, column in columns.items()}
    return RunData(
        {"uid": "0", "plan_name": plan_name}, {}, {"members": stream(marks | {"time": [0.0, 1.0]})}
    )


def test_each_cell_is_drawn_with_the_rate_of_its_own_fastest_charge():
    """The caption once gave the rate of the cell drawn last to all."""
    cells = {name: cell(name, *how) for name, how in LEVELS.items()}
    (picture,) = member_drawings(around("bonding_campaign"), cells.__getitem__, {})
    assert picture.name == "levels"
    assert "C" not in re.sub("Cell", "", picture.caption)
    for label in ("(a) bonded, 6C", "(b) apart, 2C"):
        assert label in picture.svg


def test_a_run_about_many_of_another_plan_has_no_picture_of_bond_levels():
    cells = {name: cell(name, *how) for name, how in LEVELS.items()}
    assert member_drawings(around("something_else"), cells.__getitem__, {}) == []
