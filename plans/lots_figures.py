"""Figures of merit of a lot: how its cells scatter, which stand out, which have a micro-short, the yield."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from plans.member_figures import Member, members_of
from ssblab.analysis.lots import OUTLIER, lot_statistics, modified_z_scores
from ssblab.catalog import RunData
from ssblab.quantities import Value
from ssblab.results import Related

__all__ = ["lot"]

_CAPACITIES = ("discharge_capacity", "charge_capacity")
_GRADES = ("pass", "suspect", "reject")
_FEWEST = 3  # of which one can stand out


@dataclass(frozen=True)
class _Judged:
    """What is thought of a cell: 0 pass, 1 suspect, 2 reject; of each kind of reason, whether it is one."""

    grade: int
    reasons: tuple[str, ...]
    is_outlier: bool
    has_micro_short: bool


def lot(run: RunData, related: Related) -> list[Value]:
    """Compute the figures of merit of a lot from the runs of its cells."""
    cells = members_of(run, related)
    limit: float = run.start["spread_limit"]
    judged = _judge(cells, limit)
    found: list[Value] = []
    for name in _CAPACITIES:
        measured = [cell.results[name] for cell in cells if name in cell.results]
        if len(measured) > 1:
            values = [value.value for value in measured]
            found += lot_statistics(values, name=name, unit=measured[0].unit, design=_design(cells))
    found += _within(found, limit)
    found += _counts(cells, judged)
    found += [value for cell in cells for value in _of_cell(cell, judged.get(cell.name))]
    return found


def _design(cells: Sequence[Member]) -> float | None:
    """Nominal capacity (mAh) of the cells, if it is the same of all."""
    nominal = {cell.run.start["sample"]["capacity_mAh"] for cell in cells if cell.run is not None}
    return nominal.pop() if len(nominal) == 1 else None


def _judge(cells: Sequence[Member], limit: float) -> dict[str, _Judged]:
    """Grade the cells whose runs came to their end."""
    whole = [cell for cell in cells if cell.results]
    scores = {name: _scores([cell.results.get(name) for cell in whole]) for name in _CAPACITIES}
    return {
        cell.name: _judged(cell, limit, {name: scores[name][i] for name in _CAPACITIES})
        for i, cell in enumerate(whole)
    }


def _scores(values: Sequence[Value | None]) -> list[tuple[float, float]]:
    """Of each cell, relative deviation from the median of all, and its modified z-score."""
    numbers = np.array([math.nan if value is None else value.value for value in values])
    if np.isfinite(numbers).sum() < _FEWEST:
        return [(math.nan, math.nan)] * len(numbers)
    deviations = numbers / np.nanmedian(numbers) - 1
    return list(zip(deviations.tolist(), modified_z_scores(numbers).tolist(), strict=True))


def _judged(cell: Member, limit: float, scores: Mapping[str, tuple[float, float]]) -> _Judged:
    grades, reasons, is_outlier = [0], [], False
    for name, (deviation, z) in scores.items():
        if name not in cell.results:
            grades.append(1)
            reasons.append(f"{name} was not determined")
        elif not math.isfinite(z):
            reasons.append(f"{name}: too few cells to compare with")
        else:
            beyond, apart = abs(deviation) > limit, abs(z) > OUTLIER
            grades.append(2 if beyond else 1 if apart else 0)
            is_outlier = is_outlier or apart
            reasons.append(
                f"{name} {100 * deviation:+.3g} % from the lot's median: {_GRADES[grades[-1]]} (rejected "
                f"beyond {100 * limit:.3g} %; modified z-score {z:.3g}, stands out beyond {OUTLIER:g})"
            )
    short = cell.results.get("micro_short")
    grades.append(1 if short is None else int(short.value))
    reasons.append("micro-short was not looked for" if short is None else short.definition.partition(": ")[2])
    return _Judged(max(grades), tuple(reasons), is_outlier, short is not None and short.value == 2)


def _within(statistics: Iterable[Value], limit: float) -> Iterator[Value]:
    found = {value.name.removesuffix("_deviation_max"): value for value in statistics}
    farthest = [found[name] for name in _CAPACITIES if name in found]
    if len(farthest) == len(_CAPACITIES):
        said = " and ".join(f"{value.name} {value.value:.3g} %" for value in farthest)
        is_within = all(value.value <= 100 * limit for value in farthest)
        yield Value(
            "within_spread_limit",
            float(is_within),
            "1",
            None,
            f"1 yes, 0 no: {said}, allowed {100 * limit:.3g} %",
        )


def _counts(cells: Sequence[Member], judged: Mapping[str, _Judged]) -> Iterator[Value]:
    def count(name: str, names: Sequence[str], what: str) -> Value:
        who = f": {', '.join(names)}" if names else ""
        return Value(name, float(len(names)), "1", None, f"{what}{who}")

    def graded(grade: int) -> list[str]:
        return [name for name, one in judged.items() if one.grade == grade]

    yield count(
        "outliers",
        [name for name, one in judged.items() if one.is_outlier],
        f"cells with a capacity whose modified z-score is beyond {OUTLIER:g}",
    )
    yield count(
        "micro_shorts",
        [name for name, one in judged.items() if one.has_micro_short],
        "cells rejected for a micro-short",
    )
    yield count("cells_passed", graded(0), "cells without a fault")
    yield count("cells_suspect", graded(1), "cells to be looked at again")
    yield count("cells_rejected", graded(2), "cells rejected")
    unjudged = [
        f"{cell.name} ({cell.reason or cell.exit_status})" for cell in cells if cell.name not in judged
    ]
    yield count("cells_not_judged", unjudged, "cells whose measurement did not come to its end")
    if judged:
        passed, n = len(graded(0)), len(judged)
        between = binomtest(passed, n).proportion_ci()
        yield Value(
            "yield",
            passed / n,
            "1",
            None,
            f"{passed} of {n} judged cells passed; 95 % confidence {between.low:.3g} to {between.high:.3g} "
            "(Clopper and Pearson)",
        )


def _of_cell(cell: Member, judged: _Judged | None) -> Iterator[Value]:
    if judged is None:
        return
    if (capacity := cell.results.get("discharge_capacity")) is not None:
        yield replace(capacity, name=f"discharge_capacity_{cell.name}")
    yield Value(
        f"grade_{cell.name}",
        float(judged.grade),
        "1",
        None,
        f"0 pass, 1 suspect, 2 reject: {_GRADES[judged.grade]}; " + "; ".join(judged.reasons),
    )
