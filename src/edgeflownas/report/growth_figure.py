"""How the time of a ranking grows, as a table and two pictures (``edgeflownas bench rank --growth``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.errors import StorageError
from edgeflownas.files import replace_file
from edgeflownas.report.paper_figures import COLOURS, DPI, HEIGHT, WIDTH, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_growth"]


def write_growth(rows: Sequence[tuple[str, int, int, float]], folder: Path) -> list[Path]:
    """Write growth.csv, growth_samples.png and growth_codes.png into ``folder`` (made if missing).

    Args:
        rows: kind (``samples`` or ``codes``: what varies), samples of each set, codes, seconds.
        folder: where to.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("kind", "samples", "codes", "seconds"), *rows])
    paths = [folder / "growth.csv"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(paths[0], [text.getvalue().encode()])
        with drawing(f"--growth {folder}:") as Figure:
            for kind, words in (("samples", "images of each set"), ("codes", "random codes")):
                points = [(row[1] if kind == "samples" else row[2], row[3]) for row in rows if row[0] == kind]
                paths.append(folder / f"growth_{kind}.png")
                _figure(points, words, logarithmic=kind == "codes", new=Figure).savefig(
                    paths[-1], dpi=DPI, metadata={"Software": None}
                )
    except OSError as error:
        raise StorageError(f"{folder}: the growth cannot be written: {error.strerror or error}") from error
    return paths


def _figure(points: Sequence[tuple[int, float]], words: str, logarithmic: bool, new: type[Figure]) -> Figure:
    """Measured times beside those proportional to the first (logarithmic axes) or the last of them."""
    figure = new(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    places = [place for place, _ in points]
    base, seconds = points[0 if logarithmic else -1]
    axes.plot(places, [time for _, time in points], marker="o", markersize=3.5, color=COLOURS["c0"], label="measured")
    line = [seconds * place / base for place in places]
    axes.plot(places, line, linestyle="--", color=COLOURS["c1"], label="proportional")
    if logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(title=f"Time of a ranking against {words}", xlabel=words, ylabel="seconds")
    axes.legend(loc="best")
    return figure
