"""``edgeflownas noise``: which differences of a run's figures mean something."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, Paths, emit
from edgeflownas.errors import ConfigError


def noise(
    run: Path,
    *,
    seeds: Paths | None = None,
    epoch: int | None = None,
    wide: bool = False,
    resolution: float | None = None,
    csv: Csv | None = None,
    json: Json = False,
) -> None:
    """What an evaluation can tell apart.

    Example: edgeflownas noise RUN [--seeds RUN RUN ...]

    Reads the errors of every sample that the run kept; needs neither data nor weights. A difference smaller than the
    noise of the evaluation set, or than the spread between training seeds, is no difference.

    Args:
        run: run directory.
        seeds: at least two more runs that differ from it in runtime.seed only.
        epoch: the evaluation after this epoch; default: the last.
        wide: the wide evaluation instead of the frequent one.
        resolution: difference in px that should be told apart; default: the median step between neighbouring ranks.
    """
    if resolution is not None and not 0.0 < resolution < float("inf"):
        raise ConfigError(f"--resolution {resolution}: must be a positive number of px")

    from edgeflownas.report.console import Console
    from edgeflownas.report.run_facts import noise_document
    from edgeflownas.report.views import noise_view

    console, document = Console(), noise_document([run, *(seeds or ())], epoch, wide, resolution)
    console.wrote(emit(document, noise_view, json, csv, console.tell))
