"""Figures of the losses, in training and in evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeflownas.report.html.charts import Chart, Panel
from edgeflownas.report.html.scope import Scope

DASHED, DOTTED = {"style": "dashed"}, {"style": "dotted"}
_LOSSES = (("total", "train_loss"), ("optical", "train_loss_optical"), ("uncertainty", "train_loss_uncertainty"))


def loss_charts(scope: Scope) -> Iterator[Chart]:
    """Terms of the training loss, and of the loss in evaluation run by run."""
    about = (
        "Mean of the epoch's accepted steps. Total is the weighted sum over scales of optical (px) and uncertainty; "
        "the uncertainty term may go on falling, also below zero, while the flow stays as it is."
    )
    if scope.many:
        panels = tuple(Panel(name, lines) for name, column in _LOSSES if (lines := scope.each(column)))
        if panels:
            yield Chart("loss", "loss", "Training loss", about, "loss (weighted px)", "multiples", panels=panels)
    else:
        looks: list[dict[str, Any]] = [{"colour": "c0"}, {"colour": "c1", **DASHED}, {"colour": "c2", **DOTTED}]
        wanted = [(name, column, look) for (name, column), look in zip(_LOSSES, looks, strict=True)]
        if lines := scope.lines(0, *wanted):
            yield Chart("loss", "loss", "Training loss", about, "loss (weighted px)", series=lines)
    for run, history in enumerate(scope.histories):
        wanted = [
            (f"{where}, {term}", f"{column}_{term}", {"colour": f"c{place}", **style})
            for where, column, style in (
                ("evaluation set", "eval_loss", {}),
                ("training samples", "train_eval_loss", DASHED),
            )
            for place, term in enumerate(("total", "optical", "uncertainty"))
        ]  # fmt: skip
        if lines := scope.lines(run, *wanted):
            yield Chart(
                scope.id("eval-loss", run), "loss",
                "Loss in evaluation" + (f" of {history.name}" if scope.many else ""),
                "Mean of the pool with recalibrated batch norm, on frozen samples: what the training loss means there.",
                "loss (weighted px)", series=lines, runs=(run,),
            )  # fmt: skip
