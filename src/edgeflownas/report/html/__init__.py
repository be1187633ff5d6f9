"""The report of runs as one self-contained HTML page."""

from edgeflownas.report.html.page import render, waiting_page, write_report

__all__ = ["render", "waiting_page", "write_report"]
