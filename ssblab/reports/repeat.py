"""How to run a plan again, from the start document of a run alone."""

from __future__ import annotations

import keyword
import shlex
from typing import Any

from ssblab.results import MEMBER_KEY

__all__ = ["command_line", "ipython_lines"]


def command_line(start: dict[str, Any]) -> str | None:
    """Give the command that repeats a run; None if its start document does not hold the arguments."""
    if not _is_repeatable(start):
        return None
    samples = {key: ",".join(names) for key, names in _samples(start).items()}
    pairs = {**samples, **start["arguments"], **start.get("devices", {})}
    words = [f"{key}={shlex.quote(str(value))}" for key, value in pairs.items()]
    return " ".join(["ssblab run", start["plan_name"], *words, "--station", shlex.quote(start["station"])])


def ipython_lines(start: dict[str, Any]) -> str | None:
    """Give what to type to repeat a run from a prompt; None as for `command_line`."""
    if not _is_repeatable(start):
        return None
    records = {key: [f"s.samples[{name!r}]" for name in names] for key, names in _samples(start).items()}
    arguments = {
        key: found[0] if key == "sample" else f"[{', '.join(found)}]" for key, found in records.items()
    }
    arguments |= {key: repr(value) for key, value in start["arguments"].items()}
    arguments |= {key: f"s.devices[{name!r}]" for key, name in start.get("devices", {}).items()}
    lines = [f"    {key}={value}," for key, value in arguments.items()]
    call = "\n".join([f"s.run({start['plan_name']}(", *lines, "))"])
    return f"ssblab shell --station {shlex.quote(start['station'])}\n\n{call}"


def _samples(start: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the sample, or of the samples."""
    if "samples" in start:
        return {"samples": start["samples"]}
    return {"sample": [start["sample"]["name"]]} if "sample" in start else {}


def _is_repeatable(start: dict[str, Any]) -> bool:
    """Whether it looks like the start document of a plan of ours: nothing else is put on a command line."""
    samples = start.get("samples", [])
    if MEMBER_KEY in start or not (isinstance(samples, list) and all(isinstance(s, str) for s in samples)):
        return False
    parts = [start.get("arguments"), start.get("devices", {}), start.get("sample", {"name": ""})]
    if not isinstance(start.get("station"), str) or not all(isinstance(part, dict) for part in parts):
        return False
    arguments, devices, sample = parts
    return "name" in sample and all(map(_is_name, [start.get("plan_name"), *arguments, *devices]))


def _is_name(text: object) -> bool:
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)
