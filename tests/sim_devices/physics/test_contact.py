import math

import pytest
from scipy.integrate import solve_ivp

from sim_devices.physics.contact import (
    CONSTRAINT_SHARE,
    LITHIUM_CONTACT,
    NEGATIVE_CONTACT,
    POSITIVE_CONTACT,
    VOIDS,
    Contact,
    ContactLaw,
    VoidLaw,
    bonding_study_contacts,
)

CELL_OHM_CM2 = 22.4
BONDING_MPa = 350.0


@pytest.mark.parametrize(("pressure_MPa", "measured_ohm"), [(5, 110), (10, 50), (15, 40), (20, 35), (25, 32)])
def test_lithium_on_argyrodite_follows_the_measured_cell(pressure_MPa, measured_ohm):
    """Doux and others 2020: two contacts of 12.7 mm and 24 ohm of the rest."""
    area_cm2 = math.pi * 0.635**2
    ohm = 24.0 + 2.0 * Contact(LITHIUM_CONTACT).contact_resistance_ohm_cm2(pressure_MPa) / area_cm2
    assert ohm == pytest.approx(measured_ohm, rel=0.1)


def test_released_lithium_is_better_than_it_was():
    """Doux and others 2020: 110 ohm at 5 MPa, and 50 ohm at 5 MPa after 25 MPa."""
    contact = Contact(LITHIUM_CONTACT)
    area_cm2 = math.pi * 0.635**2
    contact.contact_resistance_ohm_cm2(5.0)
    contact.contact_resistance_ohm_cm2(25.0)
    released_ohm = 24.0 + 2.0 * contact.contact_resistance_ohm_cm2(5.0) / area_cm2
    assert released_ohm == pytest.approx(50.0, rel=0.1)
    assert contact.largest_MPa == 25.0


def test_the_way_back_up_is_the_way_down_until_the_largest_pressure():
    contact = Contact(LITHIUM_CONTACT)
    virgin = [contact.contact_resistance_ohm_cm2(p) for p in (1.0, 5.0, 20.0)]
    down = [contact.contact_resistance_ohm_cm2(p) for p in (5.0, 1.0)]
    up = [contact.contact_resistance_ohm_cm2(p) for p in (5.0, 20.0)]
    assert virgin[0] > virgin[1] > virgin[2]
    assert down[0] < virgin[1]
    assert down[1] < virgin[0]
    assert down[0] < down[1]
    assert up == pytest.approx([down[0], virgin[2]])
    assert contact.contact_resistance_ohm_cm2(40.0) == pytest.approx(
        Contact(LITHIUM_CONTACT).contact_resistance_ohm_cm2(40.0)
    )


def test_exponents_are_those_of_the_law():
    law = ContactLaw(10.0, loading_exponent=1.0, unloading_exponent=0.25)
    assert law.contact_resistance_ohm_cm2(4.0, 0.0) == pytest.approx(2.5)
    assert law.contact_resistance_ohm_cm2(1.0, 16.0) == pytest.approx(10.0 / 16.0 * 2.0)
    assert math.isfinite(law.contact_resistance_ohm_cm2(0.0, 0.0))
    with pytest.raises(ValueError, match="less on unloading"):
        ContactLaw(10.0, loading_exponent=0.5, unloading_exponent=0.5)


def bonded_ohm_cm2(level):
    """Contacts of a cell of the bonding study, under its constraint pressure."""
    contacts = bonding_study_contacts(level)
    return [contact.contact_resistance_ohm_cm2(BONDING_MPa * CONSTRAINT_SHARE) for contact in contacts]


@pytest.mark.ground_truth
def test_gt_11_the_constraint_pressure_is_a_fiftieth_of_the_bonding_pressure():
    assert CONSTRAINT_SHARE == 0.02


@pytest.mark.ground_truth
@pytest.mark.parametrize(("level", "ratio"), [("b", 2.0), ("c", 1.3)])
def test_gt_08_an_unbonded_contact_raises_the_resistance_of_the_cell(level, ratio):
    others_ohm_cm2 = CELL_OHM_CM2 - sum(bonded_ohm_cm2("a"))
    assert others_ohm_cm2 > 0.8 * CELL_OHM_CM2
    assert (others_ohm_cm2 + sum(bonded_ohm_cm2(level))) / CELL_OHM_CM2 == pytest.approx(ratio, rel=0.01)


@pytest.mark.ground_truth
def test_gt_09_the_unbonded_positive_adds_an_arc_between_100_kHz_and_1_MHz():
    positive, _ = bonding_study_contacts("b")
    resistance_ohm_cm2 = positive.contact_resistance_ohm_cm2(BONDING_MPa * CONSTRAINT_SHARE)
    apex_Hz = 1.0 / (2.0 * math.pi * resistance_ohm_cm2 * positive.law.capacitance_F_cm2)
    assert 1e5 < apex_Hz < 1e6
    assert resistance_ohm_cm2 > 10.0 * bonded_ohm_cm2("a")[0]


def test_a_bond_level_is_a_b_or_c():
    assert [contact.law for contact in bonding_study_contacts("a")] == [POSITIVE_CONTACT, NEGATIVE_CONTACT]
    with pytest.raises(ValueError, match="no bond level 'd'; there are a, b, c"):
        bonding_study_contacts("d")


def voids_after(hours, stripped_mA_cm2, *, start=0.0, pressure_MPa=5.0, temperature_C=25.0, law=VOIDS):
    """Share of the contact lost after a time."""
    rate = lambda _, y: law.rate_per_s(y[0], stripped_mA_cm2, pressure_MPa, temperature_C)  # noqa: E731
    solved = solve_ivp(rate, (0.0, 3600.0 * hours), [start], method="LSODA", rtol=1e-9, atol=1e-12)
    return float(solved.y[0, -1])


def test_voids_grow_towards_a_share_that_pressure_lowers():
    voids = [voids_after(300.0, 1.0, pressure_MPa=pressure_MPa) for pressure_MPa in (1.0, 5.0, 25.0)]
    assert 0.0 < voids[2] < voids[1] < voids[0] < 1.0
    undermining = 0.5 / 3600.0
    assert voids[0] == pytest.approx(undermining / (undermining + 1e-4), rel=1e-6)


def test_without_healing_the_contact_left_falls_with_the_charge():
    assert voids_after(0.5, 2.0, law=VoidLaw(healing_per_s=0.0)) == pytest.approx(1.0 - math.exp(-0.5))


def test_rest_heals_and_pressure_warmth_and_plating_do_so_faster():
    rest, pressure, warmth, plating = (
        voids_after(1 / 6, current, start=0.3, pressure_MPa=pressure_MPa, temperature_C=temperature_C) / 0.3
        for current, pressure_MPa, temperature_C in ((0, 1, 25), (0, 10, 25), (0, 1, 100), (-1, 1, 25))
    )
    assert rest == pytest.approx(math.exp(-600.0 * 1e-4), rel=1e-6)
    assert max(pressure, warmth, plating) < rest


def test_warm_lithium_keeps_its_contact():
    cold, warm = (voids_after(3.0, 3.0, pressure_MPa=0.5, temperature_C=celsius) for celsius in (25.0, 100.0))
    assert warm < 0.9 < cold
