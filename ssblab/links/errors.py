"""The one family of errors of a link and of the instrument at its end."""

from __future__ import annotations

__all__ = [
    "InstrumentError",
    "LinkClosed",
    "LinkError",
    "LinkTimeout",
    "ProtocolError",
    "Refusal",
    "WrongInstrument",
]


class ProtocolError(Exception):
    """Bytes that are not what the protocol says; the only error that a codec raises."""


class Refusal(ProtocolError):
    """A well-formed reply in which the instrument says no; the link is as clean as before."""


class LinkError(Exception):
    """An exchange with an instrument failed.

    Parameters
    ----------
    problem : str
        What was seen.
    device, address : str
        Which device of the station, and where it was looked for.
    command : bytes
        What had been sent, empty if nothing was.
    advice : str
        What to try.
    """

    default_advice = "check cable, power and address"

    def __init__(
        self, problem: str, *, device: str = "", address: str = "", command: bytes = b"", advice: str = ""
    ) -> None:
        self.problem = problem
        self.device = device
        self.address = address
        self.command = command
        self.advice = advice or self.default_advice
        sent = f", after {command!r}" if command else ""
        place = f" at {address}" if address else ""  # a device built of others has no address
        super().__init__(f"{device}{place}: {problem}{sent}; {self.advice}")


class LinkClosed(LinkError):
    """The link could not be opened, or the other end closed it."""

    default_advice = "check that the instrument is on and that no other program holds its port"


class LinkTimeout(LinkError):
    """No complete reply came in time."""

    default_advice = "check that the instrument is on and not busy, then try `ssblab check`"


class InstrumentError(LinkError):
    """The instrument understood, and refused or reported a fault."""

    default_advice = "see the instrument's own display and manual"


class WrongInstrument(LinkError):
    """Something else answers at the address."""

    default_advice = "correct the address or the class in the station file"
