"""The files of a search: fronts and curve as CSV, everything as JSON, the curve as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError
from edgeflownas.files import replace_file
from edgeflownas.report.table import Table
from edgeflownas.report.views import curve_table


def write_search(folder: Path, document: Mapping[str, Any], warn: Callable[[str], None] = print) -> dict[str, Path]:
    """Write search.json, front.csv and, with a curve, curve.csv and (with matplotlib) curve.png; returns them by name.

    ``warn`` is told where the picture is left out.

    Raises:
        StorageError: the folder cannot be written.
    """
    replace_file(folder / "search.json", [(json.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    rows = [
        {"strategy": one["strategy"], "seed": one["seed"], **row}
        for one in document["searches"]
        for row in one["front"]
    ]
    written = {"result": folder / "search.json", "front": folder / "front.csv"}
    front = Table.of(list(rows[0]) if rows else ["code"], rows)
    replace_file(written["front"], [front.csv()])
    if document["curve"] is not None:
        written["curve"] = folder / "curve.csv"
        replace_file(written["curve"], [curve_table(document["curve"], document["curve"]["evaluations"]).csv()])
        from edgeflownas.report.plot import search_figure

        try:
            replace_file(folder / "curve.png", [search_figure(document)])
            written["picture"] = folder / "curve.png"
        except ConfigError as error:  # a missing picture must not cost the rest
            warn(f"{folder / 'curve.png'} is not written: {error}")
    return written
