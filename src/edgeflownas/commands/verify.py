"""``edgeflownas verify``: a deploy folder held against its own report, and against the run it was made from."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, OtherKeys, WholeNumber, emit
from edgeflownas.errors import ConfigError, DataError


def verify(
    folder: Path,
    run: Path | None = None,
    /,
    *,
    data: str | None = None,
    pairs: WholeNumber | None = None,
    csv: Csv | None = None,
    json: Json = False,
    overrides: OtherKeys = (),
) -> int:
    """Check an exported folder again.

    Example: edgeflownas verify DIR [RUN]

    Without a run: the files have the hashes of report.json, and LiteRT gives exactly the stored test vectors. With it:
    also the same pairs through the trained network and every file, as export does. Exits with 65 where anything fails.
    docs/verify.md.

    Args:
        folder: folder, as export made it.
        run: run, weights:NAME or npz file that it was made from.
        data: pairs to compare on: a data set or folder, or synth; default: the run's validation data.
        pairs: how many of them (16).
    """
    if run is None and (given := [*(["--data"] * bool(data)), *(["--pairs"] * bool(pairs)), *overrides]):
        raise ConfigError(f"{given[0]} belongs to a comparison with the run: edgeflownas verify DIR RUN")

    from edgeflownas.export.folder import verify_folder
    from edgeflownas.report.chip_views import folder_view
    from edgeflownas.report.console import Console

    console = Console()
    document = verify_folder(folder, run, overrides, data, pairs or 16, console.info, console.task)
    console.wrote(emit(document, folder_view, json, csv))
    return 0 if document["verdict"] == "passed" else DataError.exit_code
