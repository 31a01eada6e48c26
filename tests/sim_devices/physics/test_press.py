import numpy as np
import pytest

from sim_devices.physics.press import PressFrame


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
