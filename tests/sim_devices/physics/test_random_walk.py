import numpy as np
import pytest

from sim_devices.physics import random_walk
from sim_devices.physics.random_walk import (
    OBSTACLE_FRACTIONS,
    PATH_RESISTANCE,
    effective_conductivity,
    overlapping_spheres,
    path_resistance,
    path_resistance_of_spheres,
    walk,
)


def solved(conducts, axis):
    """Flux along an axis of the conductor under a unit gradient, solved by conjugate gradients: the truth."""
    bonds = [(conducts & np.roll(conducts, -1, a)).astype(float) for a in range(3)]

    def divergence(potential):
        total = np.zeros_like(potential)
        for a in range(3):
            flux = bonds[a] * (np.roll(potential, -1, a) - potential)
            total += np.roll(flux, 1, a) - flux
        return total

    potential = np.zeros(conducts.shape)
    residual = bonds[axis] - np.roll(bonds[axis], 1, axis)
    search = residual.copy()
    square = first = np.sum(residual**2)
    while square > 1e-12 * first:
        image = divergence(search)
        length = square / np.sum(search * image)
        potential += length * search
        residual -= length * image
        square, before = np.sum(residual**2), square
        search = residual + square / before * search
    flux = bonds[axis] * (1.0 + np.roll(potential, -1, axis) - potential)
    return flux.mean() / conducts.mean()


def test_without_obstacles_the_walk_is_free():
    ratios = walk(np.ones((16, 16, 16), dtype=bool), np.random.default_rng(1), walkers=4000, steps=512)
    assert ratios == pytest.approx([1.0, 1.0, 1.0], abs=0.15)
    assert ratios.mean() == pytest.approx(1.0, abs=0.06)
    assert path_resistance(0.0) == 1.0
    assert effective_conductivity(2e-3, 0.0) == 2e-3


def test_layers_conduct_along_and_not_across():
    conducts = np.ones((12, 12, 12), dtype=bool)
    conducts[::4] = False
    across, *along = walk(conducts, np.random.default_rng(2), walkers=8000, steps=512)
    assert abs(across) < 0.01
    assert along == pytest.approx([1.0, 1.0], abs=0.1)


def test_straight_channels_conduct_in_their_direction_only():
    conducts = np.zeros((12, 12, 12), dtype=bool)
    conducts[:, ::3, ::3] = True
    ratios = walk(conducts, np.random.default_rng(3), walkers=8000, steps=512)
    assert ratios[0] == pytest.approx(1.0, abs=0.1)
    assert list(ratios[1:]) == [0.0, 0.0]


@pytest.mark.parametrize("obstacles", [0.3, 0.6])
def test_the_walk_agrees_with_the_solved_field(obstacles):
    conducts = overlapping_spheres(obstacles, np.random.default_rng(4), edge_voxels=32, radius_voxels=6.0)
    truth = np.mean([solved(conducts, axis) for axis in range(3)])
    ratios = walk(conducts, np.random.default_rng(5), walkers=16000, steps=2048)
    assert ratios.mean() == pytest.approx(truth, rel=0.05)


def test_spheres_fill_what_was_asked_for_and_a_seed_gives_the_same_again():
    first, again, other = (
        overlapping_spheres(0.25, np.random.default_rng(seed), edge_voxels=32) for seed in (7, 7, 8)
    )
    assert first.mean() == 0.75
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    ratios = [walk(first, np.random.default_rng(9), walkers=500, steps=64) for _ in range(2)]
    assert np.array_equal(*ratios)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        overlapping_spheres(1.0, np.random.default_rng(1))


def test_the_table_is_what_its_command_computes():
    # The seed gives the digits; 2 % leaves room for another stream of a later numpy.
    assert path_resistance_of_spheres(0.2) == pytest.approx(path_resistance(0.2), rel=0.02)


def test_the_command_prints_the_table(monkeypatch, capsys):
    monkeypatch.setattr(random_walk, "path_resistance_of_spheres", lambda fraction: 1.0 + fraction)
    random_walk._main()
    printed = [float(number) for number in capsys.readouterr().out.split(",")[:-1]]
    assert printed == pytest.approx([1.0 + fraction for fraction in OBSTACLE_FRACTIONS])


def test_the_table_keeps_the_bounds():
    obstacles = np.array(OBSTACLE_FRACTIONS)
    conducting = 1.0 - obstacles
    table = np.array(PATH_RESISTANCE)
    assert np.all(np.diff(table) > 0.0)
    assert np.all(table >= 1.0 - 0.5 * np.log(conducting) - 1e-9)  # Weissberg 1963, these spheres
    assert np.all(table >= (3.0 - conducting) / 2.0 - 1e-9)  # Maxwell, Hashin and Shtrikman
    # Bruggeman's medium of all sizes is close to it while the spheres are few.
    few = obstacles <= 0.3
    assert table[few] == pytest.approx(conducting[few] ** -0.5, rel=0.06)


def test_outside_the_table_is_refused():
    for obstacles in (-0.01, 0.95):
        with pytest.raises(ValueError, match=r"known for obstacle fractions of 0 to 0\.94, not for"):
            path_resistance(obstacles)


@pytest.mark.ground_truth
def test_gt_25_conductivity_falls_with_porosity_for_each_share_of_electrolyte():
    porosities = np.linspace(0.0, 0.3, 31)
    curves = np.array(
        [
            [effective_conductivity(1e-3, porosity, share) for porosity in porosities]
            for share in (0.54, 0.35, 0.21, 0.10)
        ]
    )
    assert np.all(np.diff(curves, axis=1) < 0.0)
    assert np.all(np.diff(curves, axis=0) < 0.0)


@pytest.mark.ground_truth
@pytest.mark.parametrize(
    ("porosity", "measured_mS_cm"),
    [
        (0.1567, 3.14), (0.1201, 3.47), (0.0965, 3.55), (0.0784, 3.74), (0.0713, 3.85), (0.0514, 3.90),
        (0.0367, 3.89),
    ],
)  # fmt: skip
def test_gt_25_the_random_walk_agrees_with_a_measured_pellet(porosity, measured_mS_cm):
    """Li5.5PS4.5Cl1.5 under 100 to 400 MPa, 4.1 mS/cm dense (Miß and others 2026, Figures 3 and 4)."""
    assert effective_conductivity(4.1, porosity) == pytest.approx(measured_mS_cm, rel=0.06)
