"""The command that rehearses a plan, and what is shown of a plan before a real run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssblab.cli.options import JsonOption, StationOption
from ssblab.cli.output import Output, duration, moment, table
from ssblab.cli.progress import Activity, shown
from ssblab.quantities import BadInput

if TYPE_CHECKING:
    from ssblab.cli.arguments import Call
    from ssblab.rehearsal import Checked, Rehearsal
    from ssblab.station import Station

__all__ = ["foretell", "rehearse"]

logger = logging.getLogger(__name__)

_INTERRUPTED = 130


def rehearse(
    plan: Annotated[str, typer.Argument(help="A plan; `ssblab plans` lists them.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value ...", help="Its arguments, as for `ssblab run`."),
    ] = None,
    station: StationOption = "sim",
    static: Annotated[
        bool, typer.Option("--static", help="Check arguments, limits and programs; simulate nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a plan in virtual time in the station's simulated laboratory, and say what is to be expected.

    No instrument is touched and no data are kept. Exit code: 0 go, or look at the remarks first; 1 no: the
    plan fails, breaks a limit or waits for an end that does not come; 2 bad input; 130 interrupted.
    """
    output = Output()
    with output.reserved():
        from ssblab.cli.arguments import Call
        from ssblab.rehearsal import check
        from ssblab.station import StationError, load_station

        record = load_station(station)
        call = Call(plan, arguments or [], record)
        checked = check(record, call.plan)
        if not static:
            if record.simulated is None and not as_json:
                _show_checked(output, plan, checked)
            try:
                rehearsal = _rehearsed(record, call, plan, silent=as_json)
            except StationError as error:
                raise BadInput(f"{error}; or give --static") from None
    if static:
        _tell_checked(output, plan, checked, as_json)
        return
    if as_json:
        output.json(_as_json(rehearsal))
    else:
        _show(output, rehearsal)
    if rehearsal.interrupted:
        raise typer.Exit(_INTERRUPTED)
    raise typer.Exit(1 if rehearsal.verdict == "no" else 0)


def foretell(output: Output, station: Station, call: Call, plan: str) -> None:
    """Show what is to be expected of a plan before it runs on a real station.

    Whatever comes out, the run may follow: it refuses bad input itself, with what the instruments say.
    """
    from ssblab.rehearsal import check

    try:
        if station.simulated is None:
            _show_checked(output, plan, check(station, call.plan))
            return
        rehearsal = _rehearsed(station, call, plan, silent=False)
        _show(output, rehearsal)
    except Exception as error:
        logger.warning("what is to be expected of the run is not known: %s", error)
        return
    if rehearsal.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _rehearsed(station: Station, call: Call, plan: str, *, silent: bool) -> Rehearsal:
    from ssblab.rehearsal import rehearse as rehearse_it

    activity = Activity(f"rehearsal of {plan}")
    with shown(activity, silent=silent):
        return rehearse_it(station, call.plan, opened=activity.watch)


# ------------------------------------------------------------------------------------------- what was checked


def _tell_checked(output: Output, plan: str, checked: Checked, as_json: bool) -> None:
    if not as_json:
        _show_checked(output, plan, checked)
        return
    output.json(
        {
            **dataclasses.asdict(checked),
            "plan": checked.plan or plan,
            "shortest_s": checked.shortest_s,
            "longest_s": checked.longest_s,
            "warnings": checked.warnings,
        }
    )


def _show_checked(output: Output, plan: str, checked: Checked) -> None:
    lines = [f"{plan}: arguments, limits and programs are right for station {checked.station}"]
    if checked.forecasts:
        least, most = _time(checked.shortest_s), _time(checked.longest_s)
        lines.append(f"time    its programs take at least {least}, at most {most}")
    if checked.devices:
        devices = ", ".join(f"{role} {device}" for role, device in checked.devices.items())
        lines.append(f"devices {devices}")
    output.show("\n".join([*lines, *(f"look    {warning}" for warning in checked.warnings)]))
    if checked.forecasts:
        rows = (
            (one.section, "; ".join(one.text.splitlines()), _time(one.shortest_s), _time(one.longest_s))
            for one in checked.forecasts
        )
        output.show(table(("section", "program", "at least", "at most"), rows))


def _time(seconds: float | None) -> str:
    return "not bounded" if seconds is None else duration(seconds)


# ----------------------------------------------------------------------------------------- what was rehearsed


def _ends(rehearsal: Rehearsal) -> float:
    """When the plan would end if it were begun now."""
    return (datetime.now().astimezone() + timedelta(seconds=rehearsal.duration_s)).timestamp()


def _as_json(rehearsal: Rehearsal) -> dict[str, Any]:
    def plain(records: Any) -> list[dict[str, Any]]:
        return [dataclasses.asdict(record) for record in records]

    return {
        "plan": rehearsal.plan,
        "station": rehearsal.station,
        "verdict": rehearsal.verdict,
        "problems": rehearsal.problems,
        "remarks": rehearsal.remarks,
        "exit_status": rehearsal.exit_status,
        "reason": rehearsal.reason,
        "duration_s": {
            "least": rehearsal.least_s,
            "expected": rehearsal.duration_s,
            "most": rehearsal.most_s,
        },
        "ends": _ends(rehearsal),
        "events": rehearsal.events,
        "readings": rehearsal.readings,
        "megabytes": rehearsal.megabytes,
        "charges": plain(rehearsal.charges),
        "extremes": plain(rehearsal.extremes),
        "limits_touched": plain(rehearsal.touched),
        "unreached": plain(rehearsal.unreached),
        "runs": plain(rehearsal.runs),
    }


def _show(output: Output, rehearsal: Rehearsal) -> None:
    output.show("\n".join(_headlines(rehearsal)))
    runs = (
        (
            run.sample or run.plan,
            _known(run.least_s),
            duration(run.duration_s),
            _time(run.most_s),
            ", ".join(f"{stream} {count}" for stream, count in run.events.items()),
            run.exit_status,
        )
        for run in rehearsal.runs
    )
    output.show(table(("run", "at least", "expected", "at most", "events", "ends as"), runs))
    charges = (
        (one.sample, one.device, f"{one.positive_mAh:.4g} mAh", f"{one.negative_mAh:.4g} mAh")
        for one in rehearsal.charges
    )
    if rehearsal.charges:
        output.show(table(("sample", "device", "passed, positive", "passed, negative"), charges))
    extremes = (
        (
            one.quantity,
            f"{one.lowest:.6g}",
            f"after {duration(one.lowest_at_s)}",
            f"{one.highest:.6g}",
            f"after {duration(one.highest_at_s)}",
            one.unit,
        )
        for one in rehearsal.extremes
    )
    output.show(table(("quantity", "least", "", "greatest", "", "unit"), extremes))


def _headlines(rehearsal: Rehearsal) -> Iterator[str]:
    yield f"{rehearsal.plan} on station {rehearsal.station}, rehearsed: {rehearsal.verdict}"
    yield (
        f"takes    {duration(rehearsal.duration_s)} (at least {_known(rehearsal.least_s)}, at most "
        f"{_time(rehearsal.most_s)}); begun now it ends at {moment(_ends(rehearsal))}"
    )
    yield f"records  {rehearsal.readings} readings in {rehearsal.events} events, {rehearsal.megabytes:.2f} MB"
    for title, lines in (
        ("no", rehearsal.problems),
        ("look", rehearsal.remarks),
        ("touched", [str(one) for one in rehearsal.touched if not one.broken]),
    ):
        yield from (
            f"{title:8} {line}" for line in lines if title != "touched" or line not in rehearsal.remarks
        )


def _known(seconds: float | None) -> str:
    return "not known" if seconds is None else duration(seconds)
