"""The one subscriber of the RunEngine: it puts the lab's time on documents and journals them."""

from typing import Protocol

from ssblab.documents.journal import Document, Journal

_STAMPED = frozenset({"start", "descriptor", "event", "stop"})


class HasNow(Protocol):
    """A clock: anything that tells the time of the lab."""

    def now(self) -> float:
        """Return the time of the lab, seconds since the epoch."""
        ...


class DocumentStream:
    """Callback for `RunEngine.subscribe` that restamps documents from the clock and writes the journal.

    The RunEngine stamps with the wall clock whatever clock the lab runs on. What was collected from an
    instrument has the times of its readings, from the instrument's own time base. A `JournalError` goes to
    the RunEngine and ends the plan.

    Parameters
    ----------
    clock
        The lab's clock; `clock.now()` gives seconds since the epoch.
    journal
        The journal of the session.
    """

    def __init__(self, clock: HasNow, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal

    def __call__(self, name: str, doc: Document) -> None:
        """Restamp a copy of `doc` and journal it."""
        if name in _STAMPED:
            doc = {**doc, "time": self._clock.now()}
        elif name == "event_page":
            doc = {**doc, "time": [max(row) for row in zip(*doc["timestamps"].values(), strict=True)]}
        self._journal.write(name, doc)
