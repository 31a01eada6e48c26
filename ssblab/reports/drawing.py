"""What all pictures share: colours, figures that fit a page, lines that are not heavier than can be seen."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssblab.reports.text import unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = [
    "BLUE", "GREEN", "GREY", "SKY", "VERMILLION", "WIDTH_IN", "Drawing", "Floats", "TimeAxis", "drawing",
    "figure_of", "label", "largest_resistance_ohm", "line", "plain",
]  # fmt: skip

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind readers, and on white and black.
BLUE, GREEN, VERMILLION, SKY, GREY = "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#808080"
WIDTH_IN = 7.2
_LINE_WIDTH = 1.3
_MOST_POINTS = 4000  # of one line: more are not seen, and make the page heavy
_TEXT_COLOUR = "#012345"  # stands for the colour of the page's text, which depends on the reader's settings


@dataclass(frozen=True)
class Drawing:
    """A picture for a page.

    Attributes
    ----------
    name : str
        Unique on the page; fit for an id.
    title, caption : str
    svg : str
        Empty if it could not be drawn; the caption then says why.
    """

    name: str
    title: str
    caption: str
    svg: str


@contextmanager
def figure_of(size_in: tuple[float, float], text_colour: str = "black", name: str = "") -> Iterator[Figure]:
    """Give a figure in the style of all pictures; what is drawn within has that style too."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "legend.frameon": False,
        "lines.linewidth": _LINE_WIDTH,
    }
    coloured = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with matplotlib.rc_context(style | dict.fromkeys(coloured, text_colour)):
        yield Figure(figsize=size_in, layout="constrained", facecolor="none")


def drawing(
    name: str, title: str, size_in: tuple[float, float], draw: Callable[[FigureBase], str]
) -> Drawing:
    """Draw a picture for a page; `draw` returns its caption. One that fails says why instead."""
    try:
        with figure_of(size_in, _TEXT_COLOUR, name) as figure:
            caption = draw(figure)
            for axes in figure.axes:
                axes.set_facecolor("none")
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    except Exception as error:
        logger.warning("picture %s: %s", name, error)
        return Drawing(name, title, f"This picture could not be drawn: {error}.", "")
    return Drawing(name, title, caption, _for_page(file.getvalue(), name))


def _for_page(svg: str, name: str) -> str:
    """Make a part of a page of a SVG file: no namespaces, ids of its own, colours of the page."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", element)
    element = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    labelled = f'<svg role="img" aria-labelledby="{name}-title {name}-caption"'
    element = element.replace("<svg", labelled, 1)
    return element.replace(_TEXT_COLOUR, "currentColor").replace(BLUE.lower(), "var(--blue)")


def plain(text: str) -> str:
    """Keep matplotlib from reading a name that the laboratory gave as mathematics."""
    return text.replace("$", r"\$")


def label(quantity: str, unit: str) -> str:
    """Write what an axis shows."""
    shown = unit_text(unit)
    return plain(f"{quantity} / {shown}" if shown else quantity)


def line(axes: Axes, time: Floats, values: Floats, **style: Any) -> None:
    """Draw a line, or points where there are too few for one."""
    if np.count_nonzero(np.isfinite(values)) <= 2:
        style = {"marker": "o", "markersize": 4, **style}
    shown = _thinned(values)
    axes.plot(time[shown], values[shown], **style)


def _thinned(values: Floats) -> NDArray[np.intp]:
    """Choose rows that show what can be seen of a long record: smallest and largest of each part."""
    if len(values) <= _MOST_POINTS:
        return np.arange(len(values))
    low, high = np.nan_to_num(values, nan=np.inf), np.nan_to_num(values, nan=-np.inf)
    parts = np.array_split(np.arange(len(values)), _MOST_POINTS // 2)
    return np.unique([row for part in parts for row in (part[low[part].argmin()], part[high[part].argmax()])])


class TimeAxis:
    """Time since a moment, in the unit that fits the span."""

    def __init__(self, begin_s: float, end_s: float) -> None:
        self._begin_s = begin_s
        span_s = end_s - begin_s
        units = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
        self._unit_s, self.unit = next((u for u in units if span_s >= 4 * u[0]), (1.0, "s"))

    def __call__(self, time_s: Any) -> Any:
        """Give times (s since 1970) on the axis."""
        return (time_s - self._begin_s) / self._unit_s


def largest_resistance_ohm(impedance_ohm: NDArray[np.complex128]) -> float:
    """Largest real part of what is more resistor than capacitor: the arcs, without the electrodes' tail."""
    resistive = impedance_ohm.real >= np.abs(impedance_ohm.imag)
    return float(np.max(impedance_ohm.real[resistive] if resistive.any() else np.abs(impedance_ohm)))
