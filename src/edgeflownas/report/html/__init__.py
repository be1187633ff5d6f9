"""The report of runs as one self-contained HTML page."""

from edgeflownas.report.html.page import render, waiting_page

__all__ = ["render", "waiting_page"]
