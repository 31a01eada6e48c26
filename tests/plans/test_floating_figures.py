"""Figures of merit of floating, of runs that are made up."""

import numpy as np
import pytest

from plans.cell_figures import CellRun
from plans.floating_figures import fit_of_hold, floating
from ssblab.analysis.common import RECTANGULAR
from tests.plans.made_up import made_up, spectrum, step

LEAK_A = 2e-6


def current(leak_A):
    """What settles, of 10 mA at first, and what leaks."""
    return lambda time_s: leak_A + 0.01 * np.exp(-time_s / 60.0)


def held_at(potential, parts, checks):
    sections = [f"hold {potential}, {part} of {parts}" for part in range(1, parts + 1)]
    return {"name": potential, "terminal_V": 4.2, "sections": sections, "check_ups": checks}


def held(section, hours, ended_by="", leak_A=LEAK_A):
    text = f"Charge at 1C until 4.2 V\nHold at 4.2 V for {hours} h"
    return {"section": section, "text": text}, [
        step(section, "1", 600.0, 0.01, ended_by="" if hours else "failed: no answer", every_s=10.0),
        *(
            [step(section, "2", 3600.0 * hours, current(leak_A), 4.2, ended_by=ended_by, every_s=10.0)]
            if hours
            else []
        ),
    ]


def floated(*holds, zero_A=1e-7, potentials=None, **how):
    programs, steps = zip(*holds, strict=True)
    return made_up(
        [each for several in steps for each in several],
        programs=[dict(program, text=program["text"].replace("for 0 h", "for 1 h")) for program in programs],
        current_accuracy_A=zero_A,
        potential_reference="between the terminals",
        held_potentials=potentials or [held_at("4.2 V", 2, ["check-up 0", "check-up 1"])],
        **how,
    )


def named(run):
    return {value.name: value for value in floating(run)}


def test_leakage_is_that_of_whole_holds():
    first, second = "hold 4.2 V, 1 of 2", "hold 4.2 V, 2 of 2"
    whole = named(floated(held(first, 2), held(second, 2)))
    assert whole["leakage_current_4.2V"].value == pytest.approx(1e6 * LEAK_A, rel=0.1)
    assert "4 h of whole holds" in whole["leakage_charge_4.2V"].definition
    assert "4 h of whole holds" in whole["hold_charge_4.2V"].definition
    alone = named(floated(held(first, 2)))
    for ended in (held(second, 1, "failed: no answer"), held(second, 0)):
        broken_off = named(floated(held(first, 2), ended, exit_status="fail"))
        assert broken_off == alone
    assert not {name for name in named(floated(held(first, 1, "failed: no answer"))) if "4.2V" in name}


def test_the_zero_of_a_cycler_drops_out_over_the_first_potential():
    def run(zero_A):
        return floated(
            held("hold 4.2 V, 1 of 1", 2),
            held("hold 4.3 V, 1 of 1", 2, leak_A=5e-6),
            zero_A=zero_A,
            potentials=[held_at("4.2 V", 1, ["check-up 0"]), held_at("4.3 V", 1, ["check-up 1"])],
        )

    increase = named(run(1e-4))["leakage_increase_4.3V"]
    assert increase.value == pytest.approx(3.0, rel=0.1)
    assert increase.uncertainty < 1.0 < named(run(1e-4))["leakage_current_4.3V"].uncertainty
    assert "less that at 4.2 V, the baseline" in increase.definition
    assert "leakage_increase_4.2V" not in named(run(1e-4))


def test_the_zero_of_a_potentiostat_is_that_of_the_range_in_which_it_is_read():
    section = "hold 4.2 V, 1 of 2"
    fit = fit_of_hold(CellRun(floated(held(section, 2), zero_A=None)), section)
    assert 1e6 * np.abs(fit.current_A).max() < 3.0  # of the 10 mA with which the hold began
    # 0.1 % of that, not of these.
    assert 1e-3 * 2.0 * RECTANGULAR < fit.leakage_current.uncertainty < 0.1


def test_flagged_spectra_are_named():
    frequency_Hz = np.geomspace(1e5, 0.1, 61)
    z_ohm = 5.0 + 3.0 / (1 + 2j * np.pi * frequency_Hz * 1e-3)
    spectra = [
        spectrum("check-up 0", frequency_Hz, z_ohm, verdict="flag", reasons="it drifted"),
        spectrum("check-up 1", frequency_Hz, z_ohm, verdict="flag", reasons="it was warm"),
    ]
    found = named(floated(held("hold 4.2 V, 1 of 2", 1), spectra=spectra))
    assert "FLAGGED: it was warm" in found["reaction_resistance_4.2V"].definition
    assert "before: check-up 0; FLAGGED: it drifted" in found["resistance_change_4.2V"].definition
    assert found["flagged_spectra"].value == 2.0
