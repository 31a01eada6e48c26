"""Reports of stored runs: one page a run, complete in itself, and pictures."""

from ssblab.reports.page import write_report
from ssblab.reports.pictures import write_picture

__all__ = ["write_picture", "write_report"]
