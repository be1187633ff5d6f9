"""``edgeflownas report``: everything a history says on one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.histories import History

__all__ = ["report", "write_report"]


def report(*runs: Path, out: Path | None = None, figures: Path | None = None, json: bool = False) -> int:
    """Write one HTML page (no network needed) about a run, or about several beside each other.

    Example: edgeflownas report RUN ... [--out PAGE.html]

    It is also refreshed at each evaluation of a training (runtime.report). Reads what `edgeflownas diagnose` reads:
    run directories, also of a training that goes on, and histories in CSV or as a console log.

    Args:
        runs: run directories, a folder that holds some, or history files.
        out: the page. Default: RUN/report.html of a single run directory, else ./report.html.
        figures: also write every figure as PNG and SVG into this folder, for papers (needs matplotlib).
        json: what was written and found, as JSON on stdout.
    """
    if not runs:
        raise ConfigError("give at least one run directory or history: edgeflownas report RUN ...")
    from edgeflownas.report.console import Console

    paths = list(_paths(runs))
    if out is None:
        out = paths[0] / "report.html" if len(paths) == 1 and paths[0].is_dir() else Path("report.html")
    facts = write_report(paths, out, figures)
    if json:
        import json as encoder

        print(encoder.dumps(facts, indent=2, allow_nan=False))
        return 0
    console = Console()
    for note in facts["left_out"]:
        console.warn(note)
    for run in facts["runs"]:
        print(f"{run['run']}: {run['verdict']}" + (f", {_count(run['findings'])}" if run["findings"] else ""))
    console.wrote({"report": out} | ({"figures": figures} if figures is not None else {}))
    return 0


def _count(findings: Sequence[dict[str, Any]]) -> str:
    loud = sum(finding["severity"] in ("stop", "warning") for finding in findings)
    return f"{loud} to look at, {len(findings) - loud} more"


def _paths(given: Sequence[Path]) -> Iterator[Path]:
    """What was named; a folder that is neither a run nor holds a history stands for the runs right below it."""
    seen: set[Path] = set()
    for path in given:
        found = [path]
        if path.is_dir() and not any((path / name).exists() for name in ("run_manifest.json", "eval_history.csv")):
            found = sorted(file.parent for file in path.glob("*/run_manifest.json") if file.parent.name[0] != ".")
            if not found:
                raise StorageError(
                    f"{path}: neither a run directory (no run_manifest.json), nor a folder with an eval_history.csv, "
                    "nor a folder of runs"
                )
        for one in found:
            if one.resolve() in seen:
                raise ConfigError(f"{one} is given twice: name each run once")
            seen.add(one.resolve())
            yield one


def write_report(paths: Sequence[Path], out: Path, figures: Path | None = None) -> dict[str, Any]:
    """Write the page of ``paths`` to ``out``, replacing it as a whole; returns what was found, as plain data.

    Raises:
        StorageError: something cannot be read or written.
        DataError: a history that cannot be understood.
        ConfigError: figures are wanted of runs without an evaluation, or without matplotlib.
    """
    import time
    from dataclasses import replace

    from edgeflownas.files import replace_file
    from edgeflownas.report.diagnosis import diagnose
    from edgeflownas.report.histories import read_history
    from edgeflownas.report.html import render, waiting_page

    waiting = [path for path in paths if _waits(path)]
    left_out = [f"{path}: no evaluation yet, so it is not on the page" for path in waiting]
    names = dict(zip(paths, _names(paths), strict=True))
    histories = [replace(read_history(path), name=names[path]) for path in paths if path not in waiting]
    diagnoses = [diagnose(history) for history in histories]
    written = time.strftime("%Y-%m-%d %H:%M")
    if histories:
        details = [_details(history) for history in histories]
        page = render(histories, diagnoses, details=details, notes=left_out, written=written)
    else:
        reason = "The page fills after the first evaluated epoch (eval.eval_every_epoch); until then see train.log."
        page = waiting_page(", ".join(names.values()), reason, written)
        left_out = []
    replace_file(out, [page.encode()])
    if figures is not None:
        from edgeflownas.report.paper_figures import write_figures

        if not histories:
            raise ConfigError(f"--figures {figures}: none of these runs has an evaluation to draw yet")
        write_figures(histories, diagnoses, figures)
    return {
        "report": str(out),
        "figures": None if figures is None else str(figures),
        "left_out": left_out,
        "runs": [_document(h, d) for h, d in zip(histories, diagnoses, strict=True)]
        + [{"run": names[path], "path": str(path), "verdict": "no evaluation yet", "findings": []} for path in waiting],
    }


def _waits(path: Path) -> bool:
    """Whether this is a run directory whose first evaluation is still to come."""
    history = path / "eval_history.csv"
    if not (path / "run_manifest.json").exists():
        return False
    if not history.exists():
        return not (path / "events.jsonl").exists() or b'"evaluation"' not in (path / "events.jsonl").read_bytes()
    with history.open("rb") as file:
        return len(file.readlines(1 << 16)) < 2


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names (of a bare eval_history.csv, its folder's); paths as given where two have the same."""
    short = [
        path.resolve().name
        if path.is_dir()
        else path.resolve().parent.name
        if path.stem == "eval_history"
        else path.stem
        for path in paths
    ]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _details(history: History) -> dict[str, str]:
    """How the run trains, in words; nothing for a history without its run directory."""
    if history.run is None:
        return {}
    from edgeflownas.report.details import Progress, training_details

    last = history.rows[-1]

    def number(name: str) -> Any:
        value = last.get(name)
        return None if isinstance(value, str) else value

    progress = Progress(
        updates=number("global_step"),
        seen=number("seen_samples"),
        coverage_share=number("coverage_share"),
        eval_samples=number("eval_samples_per_arch"),
        pool_size=history.pool_size,
    )
    return training_details(history.run.config, history.run.manifest, progress)


def _document(history: History, diagnosis: Diagnosis) -> dict[str, Any]:
    return {"run": history.name, "path": str(history.source), **diagnosis.to_json()}
