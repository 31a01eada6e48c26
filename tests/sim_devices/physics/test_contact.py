import math

import numpy as np
import pytest

from sim_devices.physics.contact import (
    CONSTRAINT_SHARE,
    LITHIUM,
    NEGATIVE,
    POSITIVE,
    Contact,
    ContactLaw,
    StrippedContact,
    bonding_study_contacts,
)

CELL_OHM_CM2 = 96.0
BONDING_MPa = 350.0


@pytest.mark.parametrize(("pressure_MPa", "measured_ohm"), [(5, 110), (10, 50), (15, 40), (20, 35), (25, 32)])
def test_lithium_on_argyrodite_follows_the_measured_cell(pressure_MPa, measured_ohm):
    """Doux and others 2020: two contacts of 12.7 mm and 24 ohm of the rest."""
    area_cm2 = math.pi * 0.635**2
    ohm = 24.0 + 2.0 * Contact(LITHIUM).contact_resistance_ohm_cm2(pressure_MPa) / area_cm2
    assert ohm == pytest.approx(measured_ohm, rel=0.1)


def test_released_lithium_is_better_than_it_was():
    """Doux and others 2020: 110 ohm at 5 MPa, and 50 ohm at 5 MPa after 25 MPa."""
    contact = Contact(LITHIUM)
    area_cm2 = math.pi * 0.635**2
    contact.contact_resistance_ohm_cm2(5.0)
    contact.contact_resistance_ohm_cm2(25.0)
    released_ohm = 24.0 + 2.0 * contact.contact_resistance_ohm_cm2(5.0) / area_cm2
    assert released_ohm == pytest.approx(50.0, rel=0.1)
    assert contact.largest_MPa == 25.0


def test_the_way_back_up_is_the_way_down_until_the_largest_pressure():
    contact = Contact(LITHIUM)
    virgin = [contact.contact_resistance_ohm_cm2(p) for p in (1.0, 5.0, 20.0)]
    down = [contact.contact_resistance_ohm_cm2(p) for p in (5.0, 1.0)]
    up = [contact.contact_resistance_ohm_cm2(p) for p in (5.0, 20.0)]
    assert virgin[0] > virgin[1] > virgin[2]
    assert down[0] < virgin[1]
    assert down[1] < virgin[0]
    assert down[0] < down[1]
    assert up == pytest.approx([down[0], virgin[2]])
    assert contact.contact_resistance_ohm_cm2(40.0) == pytest.approx(
        Contact(LITHIUM).contact_resistance_ohm_cm2(40.0)
    )


def test_exponents_are_those_of_the_law():
    law = ContactLaw(10.0, loading_exponent=1.0, unloading_exponent=0.25)
    assert law.contact_resistance_ohm_cm2(4.0, 0.0) == pytest.approx(2.5)
    assert law.contact_resistance_ohm_cm2(1.0, 16.0) == pytest.approx(10.0 / 16.0 * 2.0)
    assert math.isfinite(law.contact_resistance_ohm_cm2(0.0, 0.0))
    with pytest.raises(ValueError, match="less on unloading"):
        ContactLaw(10.0, loading_exponent=0.5, unloading_exponent=0.5)


def test_the_impedance_is_the_resistance_below_its_corner_and_shorted_above():
    law = ContactLaw(100.0, capacitance_F_cm2=5e-9)
    corner_Hz = 1.0 / (2.0 * math.pi * 100.0 * 5e-9)
    low, corner, high = Contact(law).impedance_ohm_cm2(np.array([1.0, corner_Hz, 1e9]), 1.0)
    assert low == pytest.approx(100.0, rel=1e-4)
    assert corner == pytest.approx(50.0 - 50.0j)
    assert abs(high) < 0.1


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
    frequency_Hz = np.logspace(3, 8, 501)
    arc = positive.impedance_ohm_cm2(frequency_Hz, BONDING_MPa * CONSTRAINT_SHARE)
    assert 1e5 < frequency_Hz[np.argmin(arc.imag)] < 1e6
    bonded, _ = bonding_study_contacts("a")
    assert arc[0].real > 10.0 * bonded.impedance_ohm_cm2(frequency_Hz, BONDING_MPa * CONSTRAINT_SHARE)[0].real


def test_a_bond_level_is_a_b_or_c():
    assert [contact.law for contact in bonding_study_contacts("a")] == [POSITIVE, NEGATIVE]
    with pytest.raises(ValueError, match="no bond level 'd'; there are a, b, c"):
        bonding_study_contacts("d")


def stripped(clock, **options):
    return StrippedContact(clock, np.random.default_rng(1), **options)


def test_voids_grow_towards_a_share_that_pressure_lowers(clock):
    voids = []
    for pressure_MPa in (1.0, 5.0, 25.0):
        contact = stripped(clock, pressure_MPa=pressure_MPa)
        before = contact.contact_resistance_ohm_cm2()
        contact.strip(1.0)
        clock.sleep(1e6)
        voids.append(contact.void_fraction())
        assert contact.contact_resistance_ohm_cm2() == pytest.approx(before / (1.0 - voids[-1]))
    assert 0.0 < voids[2] < voids[1] < voids[0] < 1.0
    undermining = 0.5 / 3600.0
    assert voids[0] == pytest.approx(undermining / (undermining + 1e-4))


def test_without_healing_the_contact_left_falls_with_the_charge(clock):
    contact = stripped(clock, healing_per_s=0.0)
    contact.strip(2.0)
    clock.sleep(1800.0)
    assert contact.void_fraction() == pytest.approx(1.0 - math.exp(-0.5))


def test_rest_heals_and_pressure_warmth_and_plating_do_so_faster(clock):
    left = {}
    for name in ("rest", "pressure", "warmth", "plating"):
        contact = stripped(clock, pressure_MPa=1.0)
        contact.strip(1.0)
        clock.sleep(3600.0)
        start = contact.void_fraction()
        contact.strip(-1.0 if name == "plating" else 0.0)
        if name == "pressure":
            contact.press(10.0)
        if name == "warmth":
            contact.heat(100.0)
        clock.sleep(600.0)
        left[name] = contact.void_fraction() / start
    assert left["rest"] == pytest.approx(math.exp(-600.0 * 1e-4))
    assert max(left["pressure"], left["warmth"], left["plating"]) < left["rest"]


@pytest.mark.ground_truth
def test_gt_37_warm_lithium_loses_its_contact_later(clock):
    """Time until nine tenths of the contact are lost."""
    lost_s = []
    for temperature_C in (25.0, 100.0):
        contact = stripped(clock, pressure_MPa=0.5, temperature_C=temperature_C)
        contact.strip(3.0)
        waited_s = 0.0
        while contact.void_fraction() < 0.9 and waited_s < 1e5:
            clock.sleep(100.0)
            waited_s += 100.0
        lost_s.append(waited_s)
    assert lost_s[0] < 1e4 < lost_s[1]


def test_looking_often_gives_the_same_as_looking_once(clock):
    often, once = stripped(clock), stripped(clock)
    for contact in (often, once):
        contact.strip(1.0)
    for _ in range(500):
        clock.sleep(7.0)
        often.contact_resistance_ohm_cm2()
    assert often.void_fraction() == pytest.approx(once.void_fraction(), rel=1e-9)
