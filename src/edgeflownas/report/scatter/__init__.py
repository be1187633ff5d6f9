"""The whole space as one interactive HTML page: what each subnet costs, how well it does, and the exact front."""

from edgeflownas.report.scatter.page import render

__all__ = ["render"]
