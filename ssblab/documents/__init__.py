"""Documents: journalled first, then filed in the catalog by a follower that may fail without harm."""

from ssblab.documents.audit import Report, RunReport, StreamDigest, rebuild, verify
from ssblab.documents.follower import Follower
from ssblab.documents.journal import Damage, Journal, JournalError, read_journal
from ssblab.documents.stored import StoredRun, stored_runs
from ssblab.documents.stream import DocumentStream

__all__ = [
    "Damage",
    "DocumentStream",
    "Follower",
    "Journal",
    "JournalError",
    "Report",
    "RunReport",
    "StoredRun",
    "StreamDigest",
    "read_journal",
    "rebuild",
    "stored_runs",
    "verify",
]
