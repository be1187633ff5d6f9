"""``edgeflownas report``: everything a history says on one page that needs no network."""

from pathlib import Path

from edgeflownas.commands._shared import named_runs, print_json
from edgeflownas.errors import ConfigError
from edgeflownas.files import clean


def report(*runs: Path, out: Path | None = None, figures: Path | None = None, json: bool = False) -> None:
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
    from edgeflownas.report.page import write_report

    named = named_runs(runs, histories=True)
    if out is None:
        only = next(iter(named.values()))
        out = only / "report.html" if len(named) == 1 and only.is_dir() else Path("report.html")
    found = write_report(named, out, figures)
    if json:
        print_json(found)
        return
    console = Console()
    for note in found["left_out"]:
        console.warn(note)
    for run in found["runs"]:
        loud = sum(finding["severity"] in ("stop", "warning") for finding in run["findings"])
        told = f", {loud} to look at, {len(run['findings']) - loud} more" if run["findings"] else ""
        print(clean(f"{run['run']}: {run['verdict']}{told}"))
    console.wrote({"report": out} | ({"figures": figures} if figures is not None else {}))
