"""Bytes to and from an instrument: framing, one lock, deadlines, recovery, transcript."""

from ssblab.links.errors import (
    InstrumentError,
    LinkClosed,
    LinkError,
    LinkTimeout,
    ProtocolError,
    Refusal,
    WrongInstrument,
)
from ssblab.links.framing import Framing, exactly, line
from ssblab.links.link import Link, LinkSettings
from ssblab.links.timing import InstrumentClock, RoundTrip
from ssblab.links.transcript import Transcript

__all__ = [
    "Framing",
    "InstrumentClock",
    "InstrumentError",
    "Link",
    "LinkClosed",
    "LinkError",
    "LinkSettings",
    "LinkTimeout",
    "ProtocolError",
    "Refusal",
    "RoundTrip",
    "Transcript",
    "WrongInstrument",
    "exactly",
    "line",
]
