"""Path-resistance coefficient (apparent tortuosity) of a conductor with obstacles in it, by random walk.

Walkers start anywhere in the conductor of a periodic voxel structure and step to a neighbour voxel; a step
into an obstacle is not made, but takes its time. The coefficient is the mean square displacement of a free
walk over theirs at long times, and the effective conductivity is ``sigma * (1 - obstacles) / coefficient``
(S001 3.1.3(1)). The walk and its time step are those of NIST's "blind" walker (E. J. Garboczi, J. G. Berryman
and others, ciks.cbt.nist.gov/~garbocz/paper66). The displacement is taken between two late times, since the
first steps are still free ones.

The obstacles are spheres at random places that may overlap: voids in a pellet, or active material and voids
in an electrode. For these the coefficient cannot be below 1 - ln(1 - obstacles) / 2 (H. L. Weissberg,
J. Appl. Phys. 34 (1963) 2636).

`PATH_RESISTANCE` is computed once, and printed anew by ``python -m sim_devices.physics.random_walk``.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "OBSTACLE_FRACTIONS",
    "PATH_RESISTANCE",
    "effective_conductivity",
    "overlapping_spheres",
    "path_resistance",
    "path_resistance_of_spheres",
    "walk",
]

_EDGE_VOXELS = 64
_RADIUS_VOXELS = 10.0
_STRUCTURES = 4
_WALKERS = 8192
_STEPS = 4096
_RECORDS = 16  # positions kept of each walk
_PACKED_BITS = 20

OBSTACLE_FRACTIONS = (
    0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
    0.925, 0.94,
)  # fmt: skip
"""Fractions of the volume that `PATH_RESISTANCE` is given for."""

PATH_RESISTANCE = (
    1.0000, 1.0285, 1.0673, 1.1054, 1.1436, 1.1941, 1.2418, 1.3156, 1.3813, 1.4342, 1.5441, 1.6694,
    1.8521, 2.0367, 2.3008, 2.7039, 3.0736, 4.0763, 5.3974, 8.1703, 9.9344,
)  # fmt: skip
"""Coefficient at `OBSTACLE_FRACTIONS`; uncertain by about 1 % up to 0.5 and 5 to 10 % at 0.9. The voxels make
it 1 to 2 % too large: finer ones give less."""


def overlapping_spheres(
    obstacle_fraction: float,
    generator: np.random.Generator,
    *,
    edge_voxels: int = _EDGE_VOXELS,
    radius_voxels: float = _RADIUS_VOXELS,
) -> NDArray[np.bool_]:
    """Make a periodic cube of conductor with spherical obstacles.

    Parameters
    ----------
    obstacle_fraction : float
        0 to 1; met to one voxel: the last sphere is only filled as far as needed.
    generator : numpy.random.Generator
        Of the places.
    edge_voxels, radius_voxels : int, float
        Size of the cube and of the spheres.

    Returns
    -------
    ndarray of bool, shape (edge, edge, edge)
        True where it conducts.
    """
    if not 0.0 <= obstacle_fraction < 1.0:
        raise ValueError(f"the obstacle fraction must be from 0 to below 1, not {obstacle_fraction}")
    conducts = np.ones((edge_voxels,) * 3, dtype=np.bool_)
    left = round(obstacle_fraction * conducts.size)
    axis = np.arange(edge_voxels)
    while left > 0:
        distances2 = [
            ((axis - place + edge_voxels / 2.0) % edge_voxels - edge_voxels / 2.0) ** 2
            for place in generator.uniform(0.0, edge_voxels, 3)
        ]
        sphere = distances2[0][:, None, None] + distances2[1][:, None] + distances2[2] < radius_voxels**2
        filled = np.flatnonzero(sphere & conducts)[:left]
        conducts.flat[filled] = False
        left -= filled.size
    return conducts


def walk(
    conducts: NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    walkers: int = _WALKERS,
    steps: int = _STEPS,
) -> NDArray[np.float64]:
    """Let walkers walk, and compare how they spread with a free walk.

    Parameters
    ----------
    conducts : ndarray of bool, shape (n, n, n)
        Periodic structure; there must be a voxel that conducts.
    generator : numpy.random.Generator
        Of starts and steps.
    walkers, steps : int
        The standard deviation of the mean of the result is about ``2 / sqrt(walkers)``.

    Returns
    -------
    ndarray of float, shape (3,)
        Mean square displacement over that of a free walk, along each axis.
    """
    starts = np.flatnonzero(conducts)
    at = starts[generator.integers(0, len(starts), walkers)]
    # Where each of six moves leads from each voxel: nowhere if there is an obstacle.
    here = np.arange(conducts.size, dtype=np.int32).reshape(conducts.shape)
    leads, travels = [], []
    for move in range(6):
        axis, sign = move % 3, 1 if move < 3 else -1
        leads.append(np.where(np.roll(conducts, -sign, axis), np.roll(here, -sign, axis), here).ravel())
        travels.append(sign << (_PACKED_BITS * axis))
    lead, travel = np.concatenate(leads), np.array(travels, dtype=np.int64)
    packed = np.zeros(walkers, dtype=np.int64)  # the three displacements of each walker in one number
    kept = [_unpacked(packed)]
    for step in range(1, steps + 1):
        moves = generator.integers(0, 6, walkers)
        ahead = lead[moves * conducts.size + at]
        packed += travel[moves] * (ahead != at)
        at = ahead
        if step % (steps // _RECORDS) == 0:
            kept.append(_unpacked(packed))
    late, early = (_spread(kept, lag) for lag in (_RECORDS // 2, _RECORDS // 4))
    lag_steps = (_RECORDS // 2 - _RECORDS // 4) * (steps // _RECORDS)
    return np.asarray((late - early) / (lag_steps / 3.0), dtype=np.float64)


def _unpacked(packed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Displacements of shape (walkers, 3); each is less than half of its share of the bits."""
    half = 1 << (_PACKED_BITS - 1)
    columns = []
    for _ in range(3):
        column = (packed + half) % (1 << _PACKED_BITS) - half
        columns.append(column)
        packed = (packed - column) >> _PACKED_BITS
    return np.stack(columns, axis=1)


def _spread(positions: list[NDArray[np.int64]], lag: int) -> NDArray[np.float64]:
    """Mean square displacement along each axis over a number of records, from every start there is."""
    squares = [
        np.mean((after - before).astype(np.float64) ** 2, axis=0)
        for before, after in zip(positions, positions[lag:], strict=False)
    ]
    return np.asarray(np.mean(squares, axis=0), dtype=np.float64)


def path_resistance_of_spheres(obstacle_fraction: float) -> float:
    """Compute one entry of `PATH_RESISTANCE`: a mean over structures and axes, always the same."""
    ratios = []
    for seed in range(_STRUCTURES):
        generator = np.random.default_rng([seed, round(1000 * obstacle_fraction)])
        ratios.append(walk(overlapping_spheres(obstacle_fraction, generator), generator))
    return float(1.0 / np.mean(ratios))


def path_resistance(obstacle_fraction: float) -> float:
    """Path-resistance coefficient between the entries of `PATH_RESISTANCE`.

    Parameters
    ----------
    obstacle_fraction : float
        Fraction of the volume that does not conduct.

    Returns
    -------
    float
        1 without obstacles, and more with them.

    Raises
    ------
    ValueError
        Outside the table: below 0, or so many obstacles that the conductor hardly hangs together.
    """
    if not 0.0 <= obstacle_fraction <= OBSTACLE_FRACTIONS[-1]:
        raise ValueError(
            f"the path resistance is known for obstacle fractions of 0 to {OBSTACLE_FRACTIONS[-1]},"
            f" not for {obstacle_fraction:.4g}"
        )
    return float(np.exp(np.interp(obstacle_fraction, OBSTACLE_FRACTIONS, np.log(PATH_RESISTANCE))))


def effective_conductivity(
    conductivity_S_cm: float, porosity: float, electrolyte_fraction: float = 1.0
) -> float:
    """Conductivity of a porous layer in which only the electrolyte conducts.

    Parameters
    ----------
    conductivity_S_cm : float
        Of the dense electrolyte.
    porosity : float
        Voids in the layer.
    electrolyte_fraction : float
        Electrolyte in the solid, by volume; the rest (active material) is an obstacle as the voids are.

    Returns
    -------
    float
        S/cm.
    """
    conducting = electrolyte_fraction * (1.0 - porosity)
    return conductivity_S_cm * conducting / path_resistance(1.0 - conducting)


def _main() -> None:
    for fraction in OBSTACLE_FRACTIONS:
        sys.stdout.write(f"{path_resistance_of_spheres(fraction) if fraction else 1.0:.4f}, ")
        sys.stdout.flush()
    sys.stdout.write("\n")


if __name__ == "__main__":
    _main()
