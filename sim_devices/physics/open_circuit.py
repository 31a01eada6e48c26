"""Open-circuit potentials of electrode materials against Li/Li+, at 25 degC, by lithium content.

The lithium content x is the share of the lithium sites that are filled; published fits are used in the range
that they were fitted in:

==========  ==================  =====================================================================
material    fitted in x         source
==========  ==================  =====================================================================
nmc         0.2661 to 0.9084    C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534: the NMC811 of an
                                LG M50 cell. Used from 0.02 on, where the formula goes on smoothly.
graphite    0.0279 to 0.9014    the same paper: the graphite with some SiOx of that cell. Used up to 0.98.
licoo2      0.5 to 0.99         P. Ramadass et al., J. Electrochem. Soc. 151 (2004) A196, of the content
                                itself (as P. Northrop et al., J. Electrochem. Soc. 158 (2011) A1461)
li-rich     none                placeholder: straight from 4.65 to 3.0 V, on average 3.6 to 3.8 V as published
                                discharges of Li1.2Mn0.54Ni0.13Co0.13O2; the plateau of the first charge at
                                4.5 V, which never comes back, is not modelled
li-v-s      none                placeholder: from 3.0 to 1.5 V, about 2.2 V in the middle, as sulfides of
                                lithium and vanadium have
si          0.05 to 0.95        M. Verbrugge, D. Baker, X. Xiao, J. Electrochem. Soc. 163 (2016) A262: mean of
                                the fits for lithiation and delithiation; their hysteresis, about 0.2 V, is
                                not modelled. x = 1 is Li3.75Si.
in-li       none                0.62 V: In with LiIn, the usual counter electrode of sulfide cells
                                (A. L. Santhosha et al., Batteries & Supercaps 2 (2019) 524), as long as
                                it has both phases: between 0 and 50 % lithium
li          none                0 V by definition
==========  ==================  =====================================================================

Outside that range the potential goes on with its last slope, and ends generically: it rises by half a volt
where the last lithium leaves, falls as much where the last site fills, and exponentially beyond. So no source
can take lithium out that is not there. A fall of 5 mV over the whole range is added everywhere: a potential
that falls strictly makes the content a unique function of the potential, and a cell stable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

__all__ = ["MATERIALS", "OpenCircuit", "open_circuit"]

_Array = NDArray[np.float64]

_FALL_V = 0.005  # over the whole range, everywhere
_END_V = 0.5  # generic end at x = 0 and x = 1
_END_WIDTH = 0.006
_LOWEST, _HIGHEST, _INTERVALS = -0.03, 1.03, 4240  # of the table; beyond it straight on


def _nmc(x: _Array) -> _Array:
    """Chen et al. 2020, equation for the positive electrode."""
    return np.asarray(
        4.4875
        - 0.8090 * x
        - 0.0428 * np.tanh(18.5138 * (x - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (x - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (x - 0.3120))
    )


def _graphite(x: _Array) -> _Array:
    """Chen et al. 2020, equation for the negative electrode."""
    return np.asarray(
        0.2482
        + 1.9793 * np.exp(-39.3631 * x)
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )


def _licoo2(x: _Array) -> _Array:
    """Ramadass et al. 2004, a ratio of two polynomials of the square of the content."""
    above = np.polynomial.Polynomial([-4.656, 88.669, -401.119, 342.909, -462.471, 433.434])
    below = np.polynomial.Polynomial([-1.0, 18.933, -79.532, 37.311, -73.083, 95.96])
    return np.asarray(above(x**2) / below(x**2))


def _li_rich(x: _Array) -> _Array:
    """Placeholder for a layered oxide rich in lithium."""
    return np.asarray(4.75 - 2.0 * x - 0.7 * x**14)


def _li_v_s(x: _Array) -> _Array:
    """Placeholder for a sulfide of lithium and vanadium."""
    return np.asarray(2.5 - 0.5 * x + 0.9 * np.exp(-12.0 * x) - 0.6 * x**10)


def _si(x: _Array) -> _Array:
    """Verbrugge et al. 2016, mean of lithiation and delithiation."""
    lithiation = np.polynomial.Polynomial(
        [0.8633, -9.286, 62.99, -232.8, 489.9, -587.6, 372.6, -96.63]
    )  # fmt: skip
    delithiation = np.polynomial.Polynomial(
        [0.9937, -3.792, 16.87, -58.76, 140.2, -205.7, 161.3, -51.02]
    )  # fmt: skip
    return np.asarray(0.5 * (lithiation(x) + delithiation(x)))


class OpenCircuit:
    """Potential of one material against Li/Li+ as a smooth, strictly falling function of its lithium content.

    Parameters
    ----------
    name : str
        Of the material.
    fit : callable
        Potential (V) of an array of contents.
    lowest, highest : float
        Contents between which the fit is used.
    """

    flat = False

    def __init__(self, name: str, fit: Callable[[_Array], _Array], lowest: float, highest: float) -> None:
        self.name = name
        self.lowest, self.highest = lowest, highest
        x = np.linspace(_LOWEST, _HIGHEST, _INTERVALS + 1)
        inside = np.clip(x, lowest, highest)
        near = np.array([lowest, lowest + 1e-4, highest - 1e-4, highest])
        rise = fit(near)
        slope_V = np.where(x < lowest, rise[1] - rise[0], rise[3] - rise[2]) / 1e-4
        potential_V = np.minimum.accumulate(fit(inside) + slope_V * (x - inside))
        potential_V = potential_V - _FALL_V * (x - 0.5)
        potential_V += _END_V * (np.exp(-x / _END_WIDTH) - np.exp((x - 1.0) / _END_WIDTH))
        spline = CubicSpline(x, potential_V, bc_type="natural")
        self._start, self._per_interval = _LOWEST, _INTERVALS / (_HIGHEST - _LOWEST)
        # Coefficients in units of an interval, as lists: one value of them is quicker than numpy's.
        scale = self._per_interval ** -np.arange(3, -1, -1.0)
        self._pieces: list[list[float]] = (spline.c * scale[:, None]).T.tolist()

    def at(self, x: float) -> tuple[float, float]:
        """Potential (V) and its slope (V per unit of content) at a content, which may lie beyond 0 and 1."""
        place = (x - self._start) * self._per_interval
        i = min(max(int(place), 0), _INTERVALS - 1)
        c3, c2, c1, c0 = self._pieces[i]
        t = place - i
        beyond = 0.0 if 0.0 <= t <= 1.0 else t - min(max(t, 0.0), 1.0)  # of the table
        t -= beyond
        slope = (3.0 * c3 * t + 2.0 * c2) * t + c1
        return ((c3 * t + c2) * t + c1) * t + c0 + slope * beyond, slope * self._per_interval

    def potential_V(self, x: float) -> float:
        """Potential against Li/Li+, V."""
        return self.at(x)[0]

    def curve_V(self, x: _Array) -> _Array:
        """Potentials (V) of an array of contents, of its shape."""
        return np.array([self.at(float(each))[0] for each in np.ravel(x)]).reshape(np.shape(x))

    def content(self, potential_V: float) -> float:
        """Lithium content at which the material has a potential (V) against Li/Li+."""
        low, high = _LOWEST, _HIGHEST
        if not self.potential_V(high) < potential_V < self.potential_V(low):
            raise ValueError(f"{self.name} never has {potential_V} V against Li/Li+")
        return float(brentq(lambda x: self.potential_V(x) - potential_V, low, high, xtol=1e-13))


class _Flat(OpenCircuit):
    """A metal or a two-phase mixture: the same potential whatever it holds."""

    flat = True

    def __init__(self, name: str, potential_V: float) -> None:
        self.name = name
        self._potential_V = potential_V

    def at(self, x: float) -> tuple[float, float]:
        return self._potential_V, 0.0

    def content(self, potential_V: float) -> float:
        return math.nan


MATERIALS = ("nmc", "graphite", "licoo2", "li-rich", "li-v-s", "si", "in-li", "li")


@cache
def open_circuit(material: str) -> OpenCircuit:
    """The open-circuit potential of a material of `MATERIALS`."""
    match material:
        case "nmc":
            return OpenCircuit("nmc", _nmc, 0.02, 0.95)
        case "graphite":
            return OpenCircuit("graphite", _graphite, 0.0, 0.98)
        case "licoo2":
            return OpenCircuit("licoo2", _licoo2, 0.5, 0.99)
        case "li-rich":
            return OpenCircuit("li-rich", _li_rich, 0.0, 1.0)
        case "li-v-s":
            return OpenCircuit("li-v-s", _li_v_s, 0.0, 1.0)
        case "si":
            return OpenCircuit("si", _si, 0.05, 0.95)
        case "in-li":
            return _Flat("in-li", 0.62)
        case "li":
            return _Flat("li", 0.0)
    raise ValueError(f"no open-circuit potential of {material!r}; there are {', '.join(MATERIALS)}")
