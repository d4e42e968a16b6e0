"""`report.html` of a run: one file, no address outside it, every word from elsewhere escaped."""

from edgevision.report.page import write_report

__all__ = ["write_report"]
