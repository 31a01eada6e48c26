"""Options that several commands have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataOption", "JsonOption", "StationOption", "TimeOption"]


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
