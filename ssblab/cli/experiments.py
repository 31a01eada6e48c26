"""Commands on plans: what there is, and running one."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssblab.cli.options import DataOption, JsonOption, StationOption, TimeOption
from ssblab.cli.output import Output, results_table, table
from ssblab.cli.progress import Activity, shown
from ssblab.cli.rehearsals import foretell

if TYPE_CHECKING:
    from ssblab.session import RunResult, Session

__all__ = ["plans", "run"]

logger = logging.getLogger(__name__)

_INTERRUPTED = 130


def plans(
    name: Annotated[str | None, typer.Argument(help="One plan, in full.")] = None, as_json: JsonOption = False
) -> None:
    """List the plans, or show one with its arguments."""
    from plans.catalogue import find_plans
    from ssblab.cli.arguments import plan_named

    output = Output()
    found = find_plans() if name is None else {name: plan_named(name)}
    if as_json:
        output.json([_described(plan, function) for plan, function in found.items()])
    elif name is None:
        rows = ((plan, (inspect.getdoc(made) or "").partition("\n")[0]) for plan, made in found.items())
        output.show(table(("plan", "what it does"), rows))
    else:
        _show_plan(output, _described(name, found[name]))


def _described(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    from plans.arguments import arguments_of

    arguments = [dataclasses.asdict(argument) for argument in arguments_of(function)]
    return {"name": name, "doc": inspect.getdoc(function) or "", "arguments": arguments}


def _show_plan(output: Output, plan: dict[str, Any]) -> None:
    rows = (
        (
            a["name"],
            a["kind"] + (", several" if a["several"] else ""),
            a["unit"],
            "(needed)" if a["required"] else a["default"] or "",
            _allowed(a),
            a["doc"],
        )
        for a in plan["arguments"]
    )
    output.show(plan["doc"], table(("argument", "kind", "unit", "default", "allowed", "what it is"), rows))
    required = " ".join(f"{a['name']}=..." for a in plan["arguments"] if a["required"])
    output.show(f"Run it: ssblab run {plan['name']} {required}")


def _allowed(argument: dict[str, Any]) -> str:
    if argument["choices"]:
        return " or ".join(argument["choices"])
    edges = (("from", argument["lower"]), ("to", argument["upper"]))
    return " ".join(f"{word} {edge:g}" for word, edge in edges if edge is not None)


def run(
    plan: Annotated[str, typer.Argument(help="A plan; `ssblab plans` lists them.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value ...", help="Its arguments: dew_point=-20degC exposure='2 h'"),
    ] = None,
    station: StationOption = "sim",
    data: DataOption = None,
    time: TimeOption = None,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="Keep all bytes to and from the instruments.")
    ] = False,
    as_json: JsonOption = False,
    report: Annotated[bool, typer.Option(help="Write a page with pictures of the run.")] = True,
    rehearse: Annotated[
        bool, typer.Option(help="Say first what is to be expected of a run on a real station.")
    ] = True,
) -> None:
    """Run a plan on a station and print its figures of merit.

    On a real station a summary comes first, of a rehearsal if the station file has a simulated laboratory;
    the run follows whatever it says, and nothing is asked. A plan that pauses, for somebody to change a
    sample, goes on with Enter.

    Exit code: 0 done, 1 the run failed, 2 bad input (nothing has moved), 130 interrupted.
    """
    output = Output()
    with output.reserved():
        from ssblab.cli.arguments import Call
        from ssblab.session import open_session
        from ssblab.station import load_station

        record = load_station(station)
        call = Call(plan, arguments or [], record)
        if rehearse and record.is_real and not as_json:
            foretell(output, record, call, plan)
        activity = Activity(plan)
        with (
            shown(activity, silent=as_json),
            open_session(record, data=data, time=time, transcript=transcript) as session,
        ):
            activity.watch(session)
            result = session.run(call.plan(session.devices))
            while result.exit_status == "paused":
                activity.pause()
                result = _go_on(session)
            activity.finish()
            page = _write_page(session, result) if report else None
            folder = session.data_dir
    if as_json:
        output.json(_as_json(result, page))
    else:
        _show(output, result, page, folder)
    raise typer.Exit(_exit_code(result))


def _go_on(session: Session) -> RunResult:
    """Wait until somebody lets a paused plan go on, or ends it."""
    from ssblab.ending import INTERRUPTED

    if not sys.stdin.isatty():
        return session.abandon("the plan has paused, and there is no terminal at which to let it go on")
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        return session.abandon(f"{INTERRUPTED} SIGINT")
    return session.resume()


def _write_page(session: Session, result: RunResult) -> Path | None:
    """Write the report of the first run, which is about the others if there are more.

    That it can't be written is no reason to call a run failed.
    """
    if not result.uids:
        return None
    from ssblab.cli.records import page_path

    try:
        from ssblab.reports import write_report

        uid = result.uids[0]
        return write_report(session.run_data(uid), page_path(session.data_dir, uid), session.run_data)
    except Exception as error:
        logger.warning("no report was written: %s", error)
        return None


def _as_json(result: RunResult, page: Path | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "plan": result.plan,
        "uids": list(result.uids),
        "exit_status": result.exit_status,
        "reason": result.reason,
        "results": {name: value.as_json() for name, value in result.results.items()},
    }
    return content if page is None else {**content, "report": str(page)}


def _show(output: Output, result: RunResult, page: Path | None, folder: Path) -> None:
    if result.results:
        output.show(results_table(result.results))
    lines = [f"{result.plan}: {result.exit_status}" + (f": {result.reason}" if result.reason else "")]
    lines += [f"run     {uid}" for uid in result.uids]
    lines += [f"data    {folder}", *([f"report  {page}"] if page is not None else [])]
    output.show("\n".join(lines))


def _exit_code(result: RunResult) -> int:
    if result.interrupted or result.reason.startswith("interrupted by"):
        return _INTERRUPTED
    return 0 if result.exit_status == "success" else 1
