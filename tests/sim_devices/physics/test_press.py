import itertools

import numpy as np
import pytest

from sim_devices.physics.cell import Cell
from sim_devices.physics.powder import PowderSample
from sim_devices.physics.press import PressFrame, Sample


@pytest.fixture
def frame(clock):
    return PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, displacement_noise_mm=0.0, windup_mm=0.0
    )


CONTACT_MM = 10.0  # gap of 11 mm, sample of 1 mm
FRAME_N_MM = 20000.0
SPRING_N_MM = 200000.0  # 2000 MPa * 100 mm2 / 1 mm
MAXWELL_N_MM = 0.15 * SPRING_N_MM


def series(*stiffnesses_N_mm):
    return 1.0 / sum(1.0 / k for k in stiffnesses_N_mm)


def test_the_ram_moves_at_its_speed_and_arrives(frame, clock):
    frame.drive(9.0, 0.5)
    assert frame.arrives_s() == pytest.approx(8.0)
    clock.sleep(4.0)
    assert frame.position_mm() == pytest.approx(7.0)
    clock.sleep(10.0)
    assert frame.position_mm() == 9.0
    assert frame.arrives_s() is None
    assert frame.true_force_N() == 0.0
    assert frame.true_distance_mm() == pytest.approx(2.0)


def test_halt_stands_still(frame, clock):
    frame.drive(9.0, 0.5)
    clock.sleep(1.0)
    frame.halt()
    clock.sleep(5.0)
    assert frame.position_mm() == pytest.approx(5.5)


def test_a_fast_step_meets_all_springs_and_relaxes_to_the_relaxed_ones(frame, clock):
    frame.drive(CONTACT_MM + 0.1, 100.0)
    clock.sleep(0.06)
    at_once_N = 0.1 * series(FRAME_N_MM, SPRING_N_MM + MAXWELL_N_MM)
    relaxed_N = 0.1 * series(FRAME_N_MM, SPRING_N_MM)
    assert frame.true_force_N() == pytest.approx(at_once_N, rel=1e-3)
    clock.sleep(5000.0)
    assert frame.true_force_N() == pytest.approx(relaxed_N, rel=1e-6)
    assert frame.true_distance_mm() == pytest.approx(1.0 - relaxed_N / SPRING_N_MM, rel=1e-6)


def test_looking_often_gives_the_same_as_looking_once(clock):
    often, once = (PressFrame(clock, np.random.default_rng(1)) for _ in range(2))
    for frame in (often, once):
        frame.drive(CONTACT_MM + 0.05, 0.5)
    for _ in range(1200):
        clock.sleep(0.013)
        often.true_force_N()
    assert often.true_force_N() > 100.0
    assert often.true_force_N() == pytest.approx(once.true_force_N(), rel=1e-9)


def test_retracting_frees_the_sample_which_swells_back(frame, clock):
    frame.drive(CONTACT_MM + 0.1, 1.0)
    clock.sleep(600.0)
    frame.drive(5.0, 1.0)
    clock.sleep(20.0)
    assert frame.true_force_N() == 0.0
    assert frame.true_distance_mm() == pytest.approx(6.0)
    clock.sleep(5000.0)
    frame.drive(CONTACT_MM + 0.001, 1.0)
    clock.sleep(10.0)
    assert frame.true_force_N() > 10.0


def test_friction_holds_the_ram_back_by_the_windup_each_way(clock):
    frame = PressFrame(clock, np.random.default_rng(1), force_noise_N=0.0, windup_mm=0.002)
    forces_N = []
    for target_mm in (CONTACT_MM + 0.1, CONTACT_MM + 0.05):
        frame.drive(target_mm, 1.0)
        clock.sleep(5000.0)
        forces_N.append(frame.true_force_N())
    relaxed_N_mm = series(FRAME_N_MM, SPRING_N_MM)
    assert forces_N[0] == pytest.approx((0.1 - 0.002) * relaxed_N_mm, rel=1e-6)
    assert forces_N[1] == pytest.approx((0.05 + 0.002) * relaxed_N_mm, rel=1e-6)


@pytest.mark.parametrize("target_mm", [-1.0, 30.0])
def test_the_ends_of_the_travel_stall(frame, clock, target_mm):
    frame.thrust_N = 1e9
    frame.drive(target_mm, 5.0)
    clock.sleep(60.0)
    assert frame.stalled()
    assert frame.position_mm() == (0.0 if target_mm < 0 else 25.0)
    frame.drive(5.0, 5.0)
    assert not frame.stalled()
    clock.sleep(10.0)
    assert frame.position_mm() == 5.0


def test_the_thrust_stalls_the_drive(frame, clock):
    frame.drive(20.0, 1.0)
    clock.sleep(60.0)
    assert frame.stalled()
    assert frame.true_force_N() < frame.thrust_N
    assert CONTACT_MM + 0.5 < frame.position_mm() < CONTACT_MM + 0.8


def test_noise_comes_from_the_generator_alone(clock):
    readings = [
        [frame.force_N() for _ in range(3)] + [frame.distance_mm()]
        for frame in (PressFrame(clock, np.random.default_rng(7)) for _ in range(2))
    ]
    assert readings[0] == readings[1]
    assert len(set(readings[0])) == 4


# A powder between the platens: 150 mg of argyrodite in a die of 50 mm2.
POWDER = {"kind": "powder", "mass_mg": 150.0, "area_mm2": 50.0}
SOLID_MM = 150.0 / 1.87 / 50.0


@pytest.fixture
def die(clock):
    return powder_press(clock)


def powder_press(clock, **sample):
    return PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, displacement_noise_mm=0.0, windup_mm=0.0,
        thrust_N=20000.0, sample={**POWDER, **sample},
    )  # fmt: skip


def press_to(frame, clock, pressure_MPa, speed_mm_s=0.02):
    """Close until there is the pressure, then stand still."""
    frame.drive(frame.travel_mm, speed_mm_s)
    while frame.pressure_MPa() < pressure_MPa:
        clock.sleep(0.05)
    frame.halt()


def open_(frame, clock):
    frame.drive(2.0, 1.0)
    clock.sleep(30.0)


def test_loose_powder_is_met_at_its_filling_height(die, clock):
    free_mm = SOLID_MM / 0.45
    die.drive(die.gap_mm - free_mm - 0.01, 1.0)
    clock.sleep(20.0)
    assert die.true_force_N() == 0.0
    assert die.porosity() == pytest.approx(0.55)
    die.drive(die.gap_mm - free_mm + 0.1, 1.0)
    clock.sleep(1.0)
    assert die.true_force_N() > 0.0
    assert die.true_distance_mm() < free_mm


def test_powder_densifies_for_good_and_springs_back(die, clock):
    rests_mm = []
    for pressure_MPa in (50.0, 150.0, 300.0):
        press_to(die, clock, pressure_MPa)
        loaded_mm = die.true_distance_mm()
        open_(die, clock)
        rest_mm = die.sample.free_mm(die._state)
        assert die.true_force_N() == 0.0
        assert 1.003 < rest_mm / loaded_mm < 1.035
        rests_mm.append(rest_mm)
    assert rests_mm[0] > 1.03 * rests_mm[1] > 1.03**2 * rests_mm[2]
    assert (1.0 - die.porosity()) * rests_mm[2] == pytest.approx(SOLID_MM)


def test_the_frame_and_the_bed_share_the_way(die, clock):
    press_to(die, clock, 200.0)
    force_N = die.true_force_N()
    assert die.true_distance_mm() == pytest.approx(
        die.gap_mm - die.position_mm() + force_N / die.frame_N_mm, rel=1e-12
    )
    assert die.true_distance_mm() == pytest.approx(
        die.sample.thickness_mm(die._state, force_N / 50.0), rel=1e-9
    )


def test_pressing_fast_gives_the_heckel_density_of_the_pressure(die, clock):
    press_to(die, clock, 200.0, speed_mm_s=2.0)
    pressure_MPa = die.pressure_MPa()
    assert die._state == pytest.approx(die.sample.powder.heckel_density(pressure_MPa), rel=0.01)


def test_reloading_is_elastic_until_the_old_pressure(die, clock):
    press_to(die, clock, 200.0)
    clock.sleep(3600.0)
    die.halt()
    position_mm, force_N, state = die.position_mm(), die.true_force_N(), die._state
    for _ in range(3):
        open_(die, clock)
        die.drive(position_mm, 1.0)
        clock.sleep(30.0)
        assert die.true_force_N() == pytest.approx(force_N, rel=1e-3)
        assert die._state == pytest.approx(state, rel=1e-4)


def test_the_force_relaxes_at_a_fixed_gap_to_what_the_creep_leaves(die, clock):
    press_to(die, clock, 200.0)
    first_MPa = die.pressure_MPa()
    clock.sleep(1e5)
    last_MPa = die.pressure_MPa()
    assert first_MPa / 1.15 < last_MPa < 0.99 * first_MPa
    assert die._state == pytest.approx(die.sample.powder.heckel_density(1.15 * last_MPa), rel=1e-4)


def test_looking_at_powder_often_gives_the_same_as_looking_once(clock):
    often, once = powder_press(clock), powder_press(clock)
    for frame in (often, once):
        frame.drive(frame.gap_mm - SOLID_MM * 1.15, 0.05)
    for _ in range(2500):
        clock.sleep(0.1)
        often.true_force_N()
    assert often.pressure_MPa() > 50.0
    assert often.pressure_MPa() == pytest.approx(once.pressure_MPa(), rel=2e-3)
    assert often.porosity() == pytest.approx(once.porosity(), rel=2e-3)


def test_powder_stalls_the_drive_at_its_thrust(die, clock):
    die.thrust_N = 5000.0
    die.drive(20.0, 0.5)
    clock.sleep(60.0)
    assert die.stalled()
    assert 4000.0 < die.true_force_N() <= 5000.0


def test_a_pellet_pressed_before_is_where_it_was_left(die, clock):
    press_to(die, clock, 200.0, speed_mm_s=2.0)
    pressed = powder_press(clock, pressed_MPa=die.pressure_MPa())
    open_(die, clock)
    assert pressed.porosity() == pytest.approx(die.porosity(), rel=0.02)


def test_the_impedance_follows_porosity_and_pressure(die, clock):
    frequency_Hz = np.array([1e5])

    def resistance_ohm():
        return die.impedance(frequency_Hz)[0].real

    assert die.potential_V() == 0.0
    assert abs(die.impedance(frequency_Hz)[0]) > 1e6  # open
    resistances = []
    for pressure_MPa in (20.0, 100.0, 300.0):
        press_to(die, clock, pressure_MPa)
        resistances.append(resistance_ohm())
        pellet_ohm = die.true_distance_mm() / 10.0 / 0.5 / die.conductivity_S_cm()
        assert pellet_ohm < resistances[-1] < pellet_ohm + 10.0
    assert resistances[0] > 2.0 * resistances[1] > 2.0 * resistances[2]
    die.drive(die.position_mm() - 0.72, 1.0)
    clock.sleep(1.0)
    assert 5.0 < die.pressure_MPa() < 60.0
    assert resistances[2] < resistance_ohm() < resistances[1]  # less contact, but not all of it is lost


def test_an_elastic_sample_neither_conducts_nor_has_pores(frame, clock):
    frame.drive(CONTACT_MM + 0.1, 1.0)
    clock.sleep(20.0)
    assert abs(frame.impedance(np.array([1e3]))[0]) > 1e7
    with pytest.raises(TypeError, match="no porosity"):
        frame.porosity()
    with pytest.raises(TypeError, match="no conductivity"):
        frame.conductivity_S_cm()


def test_an_unknown_kind_of_sample_is_refused(clock):
    with pytest.raises(ValueError, match="no kind of sample 'liquid'; there are elastic, powder"):
        PressFrame(clock, np.random.default_rng(1), sample={"kind": "liquid"})


# --- what the load cell and friction do


def test_the_load_cell_drifts_with_time_and_may_be_off(clock):
    drifts_N = []
    for seed in range(200):
        frame = PressFrame(clock, np.random.default_rng(seed), force_noise_N=0.0, drift_sd_N_day=3.0)
        clock.sleep(86_400.0)
        drifts_N.append(frame.force_N())
        assert frame.true_force_N() == 0.0
    assert np.std(drifts_N) == pytest.approx(3.0, rel=0.2)
    again = PressFrame(clock, np.random.default_rng(0), force_noise_N=0.0, drift_sd_N_day=3.0)
    clock.sleep(86_400.0)
    assert again.force_N() == pytest.approx(drifts_N[0])
    again.zero_error_N = 50.0
    assert again.force_N() == pytest.approx(drifts_N[0] + 50.0)


def test_a_ram_at_rest_sticks_and_then_slips(clock):
    frame = PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, windup_mm=0.001, slip_mm=0.002, drift_sd_N_day=0.0
    )
    frame.drive(CONTACT_MM + 0.1, 0.1)
    clock.sleep(5000.0)
    held_N = frame.force_N()
    assert held_N == pytest.approx((0.1 - 0.001) * series(FRAME_N_MM, SPRING_N_MM), rel=1e-6)
    frame.drive(CONTACT_MM + 0.1 + 0.0015, 0.001)
    clock.sleep(5000.0)
    assert frame.force_N() == pytest.approx(held_N, rel=1e-6)  # less than the slip
    frame.drive(CONTACT_MM + 0.1 + 0.003, 0.001)
    clock.sleep(0.4)
    assert frame.force_N() == pytest.approx(held_N, rel=1e-6)
    clock.sleep(5000.0)
    assert frame.force_N() == pytest.approx((0.103 - 0.001) * series(FRAME_N_MM, SPRING_N_MM), rel=1e-6)


# --- what is put in and taken out


def test_an_empty_press_meets_its_other_platen(frame, clock):
    frame.remove()
    frame.drive(frame.gap_mm - 0.05, 1.0)
    clock.sleep(20.0)
    assert frame.true_force_N() == 0.0
    frame.drive(frame.gap_mm + 0.1, 1.0)
    clock.sleep(20.0)
    assert frame.true_force_N() == pytest.approx(0.1 * FRAME_N_MM, rel=0.02)


def test_a_powder_remembers_outside_how_it_was_pressed(die, clock):
    press_to(die, clock, 200.0)
    open_(die, clock)
    free_mm, porosity = die.sample.free_mm(die._state), die.porosity()
    pellet = die.remove()
    assert pellet.pressed_MPa == pytest.approx(200.0, rel=0.05)
    other = PressFrame(clock, np.random.default_rng(2))
    other.mount(pellet)
    assert other.porosity() == pytest.approx(porosity, rel=1e-5)
    assert other.sample.free_mm(other._state) == pytest.approx(free_mm, rel=1e-6)


def test_mounting_takes_out_what_was_there(die):
    die.mount(PowderSample(mass_mg=75.0, area_mm2=50.0))
    assert die.sample.mass_mg == 75.0
    assert die.porosity() == pytest.approx(0.55)


def test_nothing_is_changed_under_load_or_without_room(frame, clock):
    frame.drive(CONTACT_MM + 0.05, 1.0)
    clock.sleep(20.0)
    for change in (frame.remove, lambda: frame.mount(PowderSample())):
        with pytest.raises(
            ValueError, match=r"the platens press on what is between them; open the press first"
        ):
            change()
    assert isinstance(frame.sample, Sample)
    frame.drive(CONTACT_MM - 0.05, 1.0)
    clock.sleep(5.0)
    with pytest.raises(ValueError, match=r"the platens are too close for it; open the press first"):
        frame.mount(PowderSample(mass_mg=1000.0))


# --- a battery cell between the platens


@pytest.fixture
def cell(clock):
    return Cell(clock, state_of_charge=0.0)


@pytest.fixture
def jig(clock, cell):
    return PressFrame(
        clock, np.random.default_rng(1), force_noise_N=0.0, displacement_noise_mm=0.0, windup_mm=0.0,
        slip_mm=0.0, gap_mm=5.0, frame_N_mm=50_000.0, position_mm=0.0, cell=cell,
    )  # fmt: skip


def hold_pressure(jig, clock, pressure_MPa):
    """Move the ram until the cell has a pressure."""
    for _ in range(20):
        missing_N = pressure_MPa * jig.sample.area_mm2 - jig.true_force_N()
        if jig.true_force_N() == 0.0:
            jig.drive(jig.gap_mm - jig._state + 0.01, 1.0)
        else:
            jig.drive(jig.position_mm() + missing_N / jig.frame_N_mm, 1.0)
        clock.sleep(10.0)
        if abs(missing_N) < 1.0:
            break
    assert jig.pressure_MPa() == pytest.approx(pressure_MPa, rel=1e-3)


def test_frame_and_cell_share_the_way(jig, clock, cell):
    jig.drive(jig.gap_mm - 0.1, 1.0)
    clock.sleep(20.0)
    free_mm = 1e-3 * cell.thickness_um()
    cell_N_mm = 1000.0 * 400.0 / free_mm
    assert jig.true_force_N() == pytest.approx((free_mm - 0.1) * series(50_000.0, cell_N_mm))
    assert jig.true_distance_mm() == pytest.approx(free_mm - jig.true_force_N() / cell_N_mm)


def charge(cell, clock):
    cell.source_current(0.004, voltage_max_V=4.2)
    clock.sleep(2.2 * 3600.0)


def test_at_a_fixed_gap_the_force_breathes_with_the_charge(jig, clock, cell):
    hold_pressure(jig, clock, 7.0)
    thickness_um, force_N = cell.thickness_um(), jig.true_force_N()
    charge(cell, clock)
    grown_um = cell.thickness_um() - thickness_um
    assert 0.01 < grown_um / thickness_um < 0.03
    stiffness_N_mm = series(50_000.0, 1000.0 * 400.0 / 0.188)
    assert jig.true_force_N() - force_N == pytest.approx(1e-3 * grown_um * stiffness_N_mm, rel=0.03)
    cell.source_current(-0.004, voltage_min_V=2.5)
    clock.sleep(2.2 * 3600.0)
    assert jig.true_force_N() < force_N + 0.2e-3 * grown_um * stiffness_N_mm


def test_under_a_constant_force_the_ram_gives_way(jig, clock, cell):
    hold_pressure(jig, clock, 7.0)
    thickness_um, distance_mm, position_mm = cell.thickness_um(), jig.true_distance_mm(), jig.position_mm()
    cell.source_current(0.004, voltage_max_V=4.2)
    for _ in range(22):
        clock.sleep(360.0)
        hold_pressure(jig, clock, 7.0)
    grown_mm = 1e-3 * (cell.thickness_um() - thickness_um)
    assert grown_mm > 0.002
    assert jig.true_distance_mm() - distance_mm == pytest.approx(grown_mm, rel=0.02)
    assert position_mm - jig.position_mm() == pytest.approx(grown_mm, rel=0.02)


def test_the_contacts_of_the_cell_feel_the_press_and_remember(clock):
    """Up, down and up again: the way down is better than the first way up, and the same as the second."""
    cell = Cell(clock, design="bond-b", state_of_charge=0.5)
    jig = PressFrame(
        clock, np.random.default_rng(1), windup_mm=0.0, slip_mm=0.0, gap_mm=5.0, position_mm=0.0,
        thrust_N=1e5, cell=cell,
    )  # fmt: skip
    high_Hz = np.array([1e3])

    def resistance_ohm(pressure_MPa):
        hold_pressure(jig, clock, pressure_MPa)
        assert cell.equations.pressure_MPa == pytest.approx(pressure_MPa, rel=0.006)
        return cell.impedance(high_Hz)[0].real

    up, down, again = ([resistance_ohm(p) for p in way] for way in ((10, 50), (10,), (10, 50)))
    assert up[0] > 1.2 * up[1]
    assert up[1] < down[0] < 0.9 * up[0]
    assert again == pytest.approx([down[0], up[1]], rel=0.02)


def test_a_cell_is_told_only_pressures_that_differ(jig, clock, cell, monkeypatch):
    hold_pressure(jig, clock, 7.0)
    told = [cell.equations.pressure_MPa]
    monkeypatch.setattr(cell, "press", told.append)
    cell.source_current(0.004, voltage_max_V=4.2)
    for _ in range(400):
        clock.sleep(20.0)
        cell.read()  # which brings the press up to now
    assert 3 <= len(told) <= 13
    assert all(abs(b / a - 1.0) > 0.005 for a, b in itertools.pairwise(told))
    assert told[-1] == pytest.approx(jig.pressure_MPa(), rel=0.005)


def test_a_cell_without_load_has_bad_contacts_and_back_in_its_clamp_good_ones(jig, clock, cell):
    clamped_ohm = cell.ohmic_ohm
    clock.sleep(1.0)
    cell.read()
    assert cell.equations.pressure_MPa == 0.0
    assert cell.ohmic_ohm > 2.0 * clamped_ohm
    assert jig.remove() is cell
    assert cell.equations.pressure_MPa == cell.design.constraint_MPa
    assert cell.ohmic_ohm == pytest.approx(clamped_ohm)
    jig.drive(jig.gap_mm, 1.0)
    clock.sleep(20.0)
    cell.read()
    assert cell.equations.pressure_MPa == cell.design.constraint_MPa


def test_a_cell_is_put_into_a_press_and_its_platens_are_insulated(frame, clock, cell):
    frame.mount(cell)
    assert abs(frame.impedance(np.array([1e3]))[0]) > 1e7
    with pytest.raises(TypeError, match="no porosity"):
        frame.porosity()


def test_weeks_at_rest_are_a_few_steps(jig, die, frame, clock, cell):
    hold_pressure(jig, clock, 7.0)
    press_to(die, clock, 100.0)
    frame.drive(CONTACT_MM + 0.05, 1.0)
    clock.sleep(42 * 86_400.0)
    for rig, most in ((jig, 2), (frame, 8), (die, 40)):
        steps, step = [], rig._step
        rig._step = lambda longest_s, step=step, steps=steps: steps.append(longest_s) or step(longest_s)
        rig.true_force_N()
        assert len(steps) <= most
