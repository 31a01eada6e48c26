"""All commands of `ssblab`, and how they fail."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ssblab.cli import bench, experiments, records, rehearsals, shell
from ssblab.quantities import BadInput

__all__ = ["app"]

_OURS = frozenset({"ssblab", "devices", "plans", "sim_devices"})
_OF_THE_COMMAND_LINE = frozenset({"typer", "click"})
_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns errors into one message and an exit code: 2 for bad input, 1 for everything else."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            raise  # whoever reads has seen enough: `ssblab runs | head`
        except Exception as error:
            package = type(error).__module__.partition(".")[0]
            if package in _OF_THE_COMMAND_LINE or (package not in _OURS and ctx.params["debug"]):
                raise
            typer.echo(_message(error, package in _OURS), err=True)
            raise typer.Exit(2 if isinstance(error, BadInput) else 1) from None


def _message(error: Exception, ours: bool) -> str:
    if ours:
        return f"ssblab: {error}"
    text = " ".join(str(error).split())
    return f"ssblab: unexpected {type(error).__name__}: {text}; `ssblab --debug ...` shows where it came from"


class _LogLines(logging.Handler):
    """Log records on whatever standard error is when they come: warnings of ours, errors of all.

    Tracebacks only where they are asked for.
    """

    def __init__(self, tracebacks: bool) -> None:
        super().__init__(logging.WARNING)
        self._tracebacks = tracebacks
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in _OURS or record.levelno >= logging.ERROR

    def emit(self, record: logging.LogRecord) -> None:
        if not self._tracebacks:
            untraced = {"exc_info": None, "exc_text": None, "stack_info": None}
            record = logging.makeLogRecord({**vars(record), **untraced})
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except OSError:
            pass  # the terminal is gone, and a run must go on to its safe end


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("ssblab"))
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    help="Experiments of a solid-state-battery laboratory: run plans, look at their data, check the devices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LogLines)]:
        root.removeHandler(handler)
    root.addHandler(_LogLines(debug))


app.command("plans")(experiments.plans)
app.command("rehearse")(rehearsals.rehearse)
app.command("run")(experiments.run)
app.command("devices")(bench.devices)
app.command("instruments")(bench.instruments)
app.command("check")(bench.check)
app.command("sim")(bench.sim)
app.command("runs")(records.runs)
app.command("show", context_settings=records.NEGATIVE_INDEX)(records.show)
app.command("report", context_settings=records.NEGATIVE_INDEX)(records.report)
app.command("verify")(records.verify)
app.command("rebuild")(records.rebuild)
app.command("shell")(shell.shell)
