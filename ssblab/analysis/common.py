"""What the figures of merit share: checked numbers, uncertainties, ratios, straight lines."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssblab.quantities import BadInput, Value

Floats = NDArray[np.float64]

FARADAY_C_mol = 96485.33212  # CODATA 2018, exact
GAS_CONSTANT_J_mol_K = 8.314462618  # CODATA 2018, exact to these digits
ZERO_CELSIUS_K = 273.15
COULOMB_PER_mAh = 3.6
# Standard deviation of what lies anywhere within +/- 1 (GUM 4.3.7).
RECTANGULAR = 1 / math.sqrt(3)


def columns(**given: ArrayLike) -> list[Floats]:
    """Check that columns are of one length and that the first, a time, rises.

    Raises
    ------
    BadInput
        Shapes that do not go together, fewer than three rows, a time that does not rise.
    """
    name = next(iter(given))
    first, *rest = (np.asarray(column, dtype=float) for column in given.values())
    if first.ndim != 1 or any(column.shape not in ((), first.shape) for column in rest):
        shapes = ", ".join(f"{one} {np.shape(column)}" for one, column in given.items())
        raise BadInput(f"columns of different shapes: {shapes}; give one value for each row")
    if len(first) < 3:
        raise BadInput(f"{len(first)} rows: at least 3 are needed")
    if not np.all(np.diff(first) > 0):
        raise BadInput(f"{name} does not rise from row to row: give the rows in order, each once")
    return [first, *(np.broadcast_to(column, first.shape) for column in rest)]


def finite_rows(*given: ArrayLike, at_least: int, what: str) -> list[Floats]:
    """Give the rows in which all columns are finite.

    Raises
    ------
    BadInput
        Columns of different lengths, or fewer rows than needed.
    """
    rows = [np.atleast_1d(np.asarray(column, dtype=float)) for column in given]
    if len({column.shape for column in rows}) > 1 or rows[0].ndim != 1:
        raise BadInput(f"{what}: columns of different lengths; give one value for each row")
    usable = np.all(np.isfinite(rows), axis=0)
    if np.count_nonzero(usable) < at_least:
        raise BadInput(f"{what}: {np.count_nonzero(usable)} usable of {len(usable)}, {at_least} are needed")
    return [column[usable] for column in rows]


def above_zero(**numbers: float) -> None:
    """Refuse what is not a finite number above zero."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise BadInput(f"{name} is {number:g}: it must be above zero; give the measured one")


def uncertainty_of(value: Value) -> float:
    """Standard uncertainty, NaN where there is none."""
    return math.nan if value.uncertainty is None else value.uncertainty


def relative_uncertainty(uncertainty: float | None, value: float, name: str) -> tuple[float, str]:
    """Relative uncertainty, and a remark where it is not given."""
    if uncertainty is None:
        return 0.0, f"; without the uncertainty of the {name}, which is not given"
    return uncertainty / value, ""


def noise(values: Floats) -> float:
    """Standard deviation of independent noise on a smooth signal, from second differences."""
    if len(values) < 3:
        return math.nan
    return float(np.sqrt(np.mean(np.diff(values, 2) ** 2) / 6))


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight line through points.

    Attributes
    ----------
    slope : float
    middle, variances : tuple of float
        (x, y) of the centre of weight, where slope and height do not depend on each other; variances of
        slope and height.
    """

    slope: float
    middle: tuple[float, float]
    variances: tuple[float, float]

    def at(self, x: float) -> tuple[float, float]:
        """Height at a place, and its standard uncertainty."""
        step = x - self.middle[0]
        slope_variance, height_variance = self.variances
        return self.middle[1] + self.slope * step, math.sqrt(height_variance + slope_variance * step**2)

    @property
    def slope_uncertainty(self) -> float:
        """Standard uncertainty of the slope."""
        return math.sqrt(self.variances[0])


def straight_line(x: Floats, y: Floats, uncertainty: Floats | None = None) -> Line:
    """Fit a straight line by least squares.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        At least two different x; at least three points where no uncertainties are given.
    uncertainty : ndarray, shape (n,), optional
        Standard uncertainties of `y`, which weigh the points. The scatter widens the result where it is
        larger than they say, and never narrows it. Without them the scatter alone gives the result's.

    Raises
    ------
    BadInput
        Too few points to give a slope with its uncertainty.

    References
    ----------
    R. T. Birge, Phys. Rev. 40 (1932) 207, for the widening.
    """
    known = uncertainty is not None and bool(np.all(uncertainty > 0))
    if len(x) < (2 if known else 3) or np.ptp(x) == 0:
        raise BadInput(
            f"{len(x)} points at {len(np.unique(x))} places: they do not give a slope with an uncertainty"
        )
    weight = 1 / np.square(uncertainty) if known and uncertainty is not None else np.ones_like(x)
    middle = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
    apart = x - middle[0]
    spread = float(weight @ apart**2)
    slope = float(weight @ (apart * (y - middle[1]))) / spread
    free = len(x) - 2
    scatter = float(weight @ (y - middle[1] - slope * apart) ** 2) / free if free else 1.0
    scale = max(1.0, scatter) if known else scatter
    return Line(slope, middle, (scale / spread, scale / float(weight.sum())))
