"""``edgeflownas compare``: how runs differ, and their results, never of two labels in one ranked column."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from edgeflownas.report.comparison import LabelColumn
    from edgeflownas.report.console import Console
    from edgeflownas.report.run_facts import RunFacts

__all__ = ["compare"]

PLAIN_WIDTH = 160  # columns where stdout is no terminal


def compare(
    *runs: Path,
    side_by_side: bool = False,
    protocol: str | None = None,
    split: str | None = None,
    csv: Path | None = None,
    figure: Path | None = None,
    json: bool = False,
) -> int:
    """Compare runs.

    Example: edgeflownas compare RUN RUN ... [--side-by-side]

    Shows what differs in how the runs train, and their results: the run's own evaluations (last and best) and the
    rows of its evaluations.jsonl. Results of different protocols, splits or samples are refused (exit 64) unless
    they are asked for side by side. Writes nothing but --csv and --figure.

    Args:
        runs: run directories, or a folder that holds some.
        side_by_side: a column for each label, ranked on its own.
        protocol: only results of this protocol, e.g. standard.
        split: only results of this split label, e.g. fc2/folder:val/640/9f3a.
        csv: write the results with all training details.
        figure: write a picture (png): EPE over samples seen, a panel for each label.
        json: everything as JSON on stdout.
    """
    if not runs:
        raise ConfigError("give at least one run directory: edgeflownas compare RUN RUN ...")
    if figure is not None and figure.suffix.lower() != ".png":
        raise ConfigError(f"--figure {figure}: the picture is a PNG; give a name that ends with .png")

    from edgeflownas.report import comparison
    from edgeflownas.report.console import Console
    from edgeflownas.report.run_facts import read_facts

    console = Console()
    paths = list(_run_paths(runs))
    facts = [read_facts(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    every = [result for run in facts for result in run.results]
    columns = comparison.label_columns(comparison.select(every, protocol, split))
    warnings = comparison.split_warnings([column.label.split for column in columns])
    for warning in warnings:
        console.warn(warning)
    if not side_by_side:
        comparison.require_one_label(columns)
    details = {run.name: run.details for run in facts}
    if json:
        import json as encoder

        document = comparison.document(details, {run.name: run.path for run in facts}, columns, warnings)
        print(encoder.dumps(document, indent=2, allow_nan=False))
    else:
        from edgeflownas.report.comparison_text import details_text, results_text

        print(details_text(details, _width()), results_text(columns, side_by_side), sep="\n\n")
    _write(csv, figure, facts, columns, console)
    return 0


def _run_paths(given: Sequence[Path]) -> Iterator[Path]:
    """The runs named, in order; a folder that is none stands for those right below it.

    Raises:
        ConfigError: one named twice; StorageError: neither a run nor a folder of runs.
    """
    seen: set[Path] = set()
    for path in given:
        found = [path]
        if path.is_dir() and not (path / "run_manifest.json").exists():
            found = sorted(file.parent for file in path.glob("*/run_manifest.json") if file.parent.name[0] != ".")
            if not found:
                raise StorageError(f"{path}: neither a run directory (no run_manifest.json) nor a folder of some")
        for run in found:
            if run.resolve() in seen:
                raise ConfigError(f"{run} is given twice: name each run once")
            seen.add(run.resolve())
            yield run


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names; paths as given where two runs have the same."""
    short = [path.resolve().name for path in paths]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH


def _write(
    csv: Path | None, figure: Path | None, facts: Sequence[RunFacts], columns: list[LabelColumn], console: Console
) -> None:
    from edgeflownas.files import replace_file

    if csv is not None:
        from edgeflownas.evaluate.columns import csv_line
        from edgeflownas.report.comparison import csv_table

        lines = csv_table({run.name: run.details for run in facts}, columns)
        replace_file(csv, [("\n".join(map(csv_line, lines)) + "\n").encode()])
        console.wrote({"table": csv})
    if figure is not None and not columns:
        raise ConfigError(f"--figure {figure}: none of these runs has a result to draw yet")
    if figure is not None:
        import cv2

        from edgeflownas.report.comparison_figure import Series, comparison_figure

        curves = {
            column.label: [Series(run.name, run.curves[column.label]) for run in facts if column.label in run.curves]
            for column in columns
        }
        picture = comparison_figure(columns, curves)
        data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
        replace_file(figure, [data.data])
        console.wrote({"figure": figure})
