"""``edgeflownas diagnose``: what a history shows, with evidence, and what to try."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.errors import ConfigError, UserError

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.histories import History

__all__ = ["diagnose"]

PLAIN_WIDTH = 120  # columns where stdout is no terminal


def diagnose(
    *histories: Path,
    json: bool = False,
    num_epochs: int | None = None,
    against: Path | None = None,
) -> int:
    """Say what limits a run.

    Example: edgeflownas diagnose RUN|eval_history.csv|console.log [...]

    Reads a finished or running history: a run directory, its eval_history.csv, the TF1 tool's eval_epe_history.csv or
    its console log. Prints findings, most important first, each with its numbers, why it matters and what to try;
    docs/diagnosis.md says how each is judged. Writes nothing.

    Args:
        histories: run directories or files.
        json: one JSON document: of the history, or {"histories": [...]} of several.
        num_epochs: epochs of the plan, where the history does not say.
        against: the run this one was continued from: adds the go / stop rule (two of three). A forked run's parent is
            taken by itself where it can be read.
    """
    if not histories:
        raise ConfigError("give a run directory, an eval_history.csv or a console log: edgeflownas diagnose RUN")
    from edgeflownas.report.diagnosis_text import diagnosis_document, diagnosis_text
    from edgeflownas.report.histories import read_history

    read = [read_history(path).planned(num_epochs) for path in histories]
    parent = None if against is None else read_history(against)
    judged = [_judged(history, parent) for history in read]
    if json:
        import json as encoder

        documents = [diagnosis_document(*pair) for pair in judged]
        document: Any = documents[0] if len(documents) == 1 else {"histories": documents}
        print(encoder.dumps(document, indent=2, allow_nan=False))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
        print("\n\n".join(diagnosis_text(*pair, width) for pair in judged))
    return 0


def _judged(history: History, parent: History | None) -> tuple[History, Diagnosis]:
    """The history (with a note where its own parent cannot be read) and its diagnosis."""
    from edgeflownas.report.diagnosis import diagnose as judge
    from edgeflownas.report.diagnosis.continuation import continuation
    from edgeflownas.report.histories import read_history

    diagnosis = judge(history)
    fork = history.run.manifest.get("forked_from") if history.run is not None else None
    if parent is None and isinstance(fork, dict):
        try:
            parent = read_history(Path(str(fork.get("run"))))
        except UserError as error:
            history = replace(history, notes=(*history.notes, f"its parent is not compared: {error}"))
    if parent is None:
        return history, diagnosis
    return history, replace(diagnosis, continuation=continuation(history, parent))
