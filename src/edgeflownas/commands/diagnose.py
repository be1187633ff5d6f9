"""``edgeflownas diagnose``: what a history shows, with evidence, and what to try."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, emit, text_width
from edgeflownas.errors import ConfigError


def diagnose(
    *histories: Path,
    csv: Csv | None = None,
    json: bool = False,
    num_epochs: int | None = None,
    against: Path | None = None,
) -> None:
    """Say what limits a run.

    Example: edgeflownas diagnose RUN|eval_history.csv|console.log [...]

    Reads a finished or running history: a run directory, its eval_history.csv, or of the TF1 tool a run folder, its
    table or its log alone, of supernets and of single models. Prints what it is of, then findings, most important
    first, each with its numbers, why it matters and what to try; docs/diagnosis.md says how each is judged. Writes
    nothing.

    Args:
        histories: run directories or files.
        json: one JSON document: of the history, or {"histories": [...]} of several.
        num_epochs: epochs of the plan, where the history does not say.
        against: the run this one was continued from: adds the go / stop rule (two of three). A forked run's parent is
            taken by itself where it can be read.
    """
    if not histories:
        raise ConfigError("give a run directory, an eval_history.csv or a console log: edgeflownas diagnose RUN")
    from edgeflownas.report.console import Console
    from edgeflownas.report.diagnosis import diagnose_continued
    from edgeflownas.report.history import read_histories, read_history
    from edgeflownas.report.run_views import diagnosis_document, diagnosis_view

    read = [history.planned(num_epochs) for path in histories for history in read_histories(path)]
    parent = None if against is None else read_history(against)
    judged = [diagnose_continued(history, parent) for history in read]
    documents = [diagnosis_document(*pair) for pair in judged]
    whole = documents[0] if len(documents) == 1 else {"histories": documents}
    Console().wrote(emit(whole, lambda _: diagnosis_view(judged, text_width(120)), json, csv))
