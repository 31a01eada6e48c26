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
