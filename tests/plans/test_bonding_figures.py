"""Figures of merit of the bonding study of one cell, of runs that are made up."""

import pytest

from plans.bonding_figures import cell
from tests.plans.made_up import made_up, step, stream

CHARGES = {"1C": 1.0, "6C": 6.0}


def studied(short, ended_by="", checked=2):
    """A slow cycle, two fast charges, and whether the cell was short in the rest after each."""
    steps = [
        step("cycle 1", "1", 3600.0, 0.01),
        step("cycle 1", "2", 3600.0, -0.01),
        step("charge at 1C", "1", 3500.0, 0.01),
        step("charge at 6C", "1", 900.0, 0.06, ended_by=ended_by),
    ]
    checks = stream(
        range(checked),
        short_check_section=[f"rest after {at}" for at in CHARGES][:checked],
        short_check_rate=list(CHARGES.values())[:checked],
        short_check_fall=[0.0, 0.1 * short][:checked],
        short_check_limit=[0.01] * checked,
        short_check_short=[0, int(short)][:checked],
    )
    potentials = stream([7300.0, 10800.0], electrodes_negative_potential=[0.1, -0.02])
    run = made_up(
        steps,
        streams={"short_check": checks, "potentials": potentials},
        devices={"channel": "ch", "electrodes": "electrodes"},
        charges=CHARGES,
        programs=[],
    )
    return {value.name: value for value in cell(run)}


def test_a_sound_cell_takes_its_charges():
    found = studied(short=False)
    assert found["charge_capacity_6C"].value == pytest.approx(15.0, rel=0.01)
    assert found["relative_charge_capacity_1C"].value == pytest.approx(3500 / 3600, rel=0.01)
    assert "not known" not in found["charge_capacity_6C"].definition


@pytest.mark.parametrize("how", [{"short": True}, {"short": False, "ended_by": "failed: no answer"}])
def test_a_charge_that_made_a_short_or_was_broken_off_has_no_capacity(how):
    found = studied(**how)
    assert not {"charge_capacity_6C", "relative_charge_capacity_6C"} & set(found)
    assert {"charge_capacity_1C", "relative_charge_capacity_1C", "negative_potential_min_6C"} <= set(found)
    assert found["negative_potential_min_6C"].value == pytest.approx(-0.02)


def test_what_was_not_looked_at_after_a_charge_is_said():
    found = studied(short=False, checked=1)
    assert "whether the cell was short then is not known" in found["charge_capacity_6C"].definition
