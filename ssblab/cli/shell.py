"""An interactive session."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ssblab.cli.options import DataOption, StationOption, TimeOption

__all__ = ["shell"]

_HINT = """\
s is the session of station {station}; devices by name: {devices}.
Try: s.run({plan}(sample=s.samples[{sample!r}])), db[-1].table(), RE(...); `{plan}?` explains a plan."""


def shell(
    station: StationOption = "sim",
    data: DataOption = None,
    time: TimeOption = None,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="Keep all bytes to and from the instruments.")
    ] = False,
) -> None:
    """Open IPython with the session, its devices and all plans by name."""
    import IPython
    from traitlets.config import Config

    from plans.catalogue import find_plans
    from ssblab.session import open_session

    found = find_plans()
    with open_session(station, data=data, time=time, transcript=transcript) as session:
        names: dict[str, Any] = {**found, **session.devices, "s": session, "RE": session.RE, "db": session.db}
        config = Config()
        config.TerminalInteractiveShell.banner1 = (
            _HINT.format(
                station=session.station.name,
                devices=", ".join(session.devices),
                plan=next(iter(found), "plan"),
                sample=next(iter(session.samples), ""),
            )
            + "\n"
        )
        IPython.start_ipython(argv=[], user_ns=names, config=config)
