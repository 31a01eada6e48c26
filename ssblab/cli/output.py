"""What commands write: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ssblab.quantities import Value

__all__ = ["Output", "duration", "moment", "results_table", "shortened", "table"]

_DEFINITION_LENGTH = 70
_FILE_WIDTH = 160


class Output:
    """Standard output as it was when the command began.

    bluesky prints, and redirects standard output from a thread of its own when a run is ended: only the
    stream taken at the beginning is surely the user's.
    """

    def __init__(self) -> None:
        self._file = sys.stdout

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Send to standard error what others print meanwhile."""
        with redirect_stdout(sys.stderr):
            yield

    def json(self, content: Any) -> None:
        """Write one JSON value."""
        typer.echo(json.dumps(content, ensure_ascii=False, indent=2, default=str), file=self._file)

    def show(self, *renderables: Any) -> None:
        """Write text and tables."""
        from rich.console import Console

        width = None if self._file.isatty() else _FILE_WIDTH
        console = Console(file=self._file, width=width, highlight=False, markup=False)
        for renderable in renderables:
            console.print(renderable, soft_wrap=isinstance(renderable, str))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, whole: int = 1) -> Any:
    """Make a plain table, whose first `whole` columns are never broken into lines."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=i < whole)
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def results_table(results: Mapping[str, Value]) -> Any:
    """Make the table of figures of merit."""
    from ssblab.reports.text import rounded

    return table(
        ("result", "value", "unit", "definition"),
        (
            (value.name, rounded(value.value, value.uncertainty), value.unit, shortened(value.definition))
            for value in results.values()
        ),
        whole=3,
    )


def shortened(text: str) -> str:
    """Give the beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _DEFINITION_LENGTH else line[: _DEFINITION_LENGTH - 1].rstrip() + "…"


def duration(seconds: float) -> str:
    """Write a time span in its two largest units."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def moment(stamp: float) -> str:
    """Write seconds since 1970 as local time."""
    return datetime.fromtimestamp(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")
