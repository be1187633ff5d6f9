"""``edgeflownas compare``: how runs differ, and their results, never of two labels in one ranked column."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, emit, named_runs, text_width
from edgeflownas.errors import ConfigError


def compare(
    *runs: Path,
    side_by_side: bool = False,
    protocol: str | None = None,
    split: str | None = None,
    csv: Csv | None = None,
    figure: Path | None = None,
    json: bool = False,
) -> None:
    """Compare runs.

    Example: edgeflownas compare RUN RUN ... [--side-by-side]

    Shows what differs in how the runs train, and their results: the run's own evaluations (last and best) and the
    rows of its evaluations.jsonl. Results of different protocols, splits or samples are refused (exit 64) unless
    they are asked for side by side. Histories and logs of the TF1 tool stand beside runs, with what they say of their
    training. Writes nothing but --csv and --figure.

    Args:
        runs: run directories, run folders or files of the TF1 tool, or a folder that holds some.
        side_by_side: a column for each label, ranked on its own.
        protocol: only results of this protocol, e.g. standard.
        split: only results of this split label, e.g. fc2/folder:val/640/9f3a.
        csv: write the results with all training details.
        figure: write a picture (png): EPE over samples seen, a panel for each label (needs matplotlib).
        json: everything as JSON on stdout.
    """
    if not runs:
        raise ConfigError("give at least one run directory: edgeflownas compare RUN RUN ...")
    if figure is not None and figure.suffix.lower() != ".png":
        raise ConfigError(f"--figure {figure}: the picture is a PNG; give a name that ends with .png")

    from edgeflownas.report import compare as comparison
    from edgeflownas.report.console import Console
    from edgeflownas.report.plot import write_comparison
    from edgeflownas.report.run_facts import read_any_facts

    console = Console()
    named = named_runs(runs, histories=True)
    facts = [fact for name, path in named.items() for fact in read_any_facts(path, name)]
    results = [result for run in facts for result in run.results]
    columns = comparison.label_columns(comparison.select(results, protocol, split))
    warnings = comparison.split_warnings([column.label.split for column in columns])
    for warning in warnings:
        console.warn(warning)
    if not side_by_side:
        comparison.require_one_label(columns)
    document = comparison.document(facts, columns, warnings)
    if figure is not None:  # first: where it cannot be drawn, nothing else is written
        write_comparison(facts, columns, figure)
    emit(document, lambda _: comparison.comparison_view(facts, columns, side_by_side, text_width(160)), json, csv)
    console.wrote({name: path for name, path in (("table", csv), ("figure", figure)) if path is not None})
