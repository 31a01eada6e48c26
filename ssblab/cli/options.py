"""Options and arguments that several commands have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ssblab.quantities import BadInput

__all__ = ["DataOption", "JsonOption", "StationOption", "TimeOption", "read_pairs"]


def _clock_name(text: str | None) -> str | None:
    if text is not None and text not in ("virtual", "wall"):
        factor = re.fullmatch(r"x(\d+(?:\.\d+)?)", text)
        if factor is None or float(factor[1]) == 0:
            raise typer.BadParameter(f"{text!r} is not virtual, wall or a factor such as x10")
    return text


StationOption = Annotated[
    str, typer.Option("--station", metavar="STATION", help="A station of ssblab, or a station file.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder; default: the station's, or $SSBLAB_DATA."),
]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="virtual|wall|xN",
        callback=_clock_name,
        help="Laboratory time; xN is N times as fast. Default: the station's. A real one has wall time.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


def read_pairs(words: Sequence[str]) -> dict[str, str]:
    """Split words of the form key=value.

    Raises
    ------
    BadInput
        If a word has no =, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise BadInput(f"{word!r} is not of the form key=value, like exposure='2 h'")
        if key in pairs:
            raise BadInput(f"{key} is given twice: {pairs[key]!r} and {value!r}")
        pairs[key] = value
    return pairs
