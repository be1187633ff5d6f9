"""How the time of a ranking grows, as a table and two pictures (``edgeflownas bench rank --growth``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.data.files import replace_file
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.report.paper_figures import DPI, HEIGHT, SETTINGS, WIDTH

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
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f'--growth {folder}: needs the package matplotlib ({error}): pip install "edgeflownas[figures]"'
        ) from error
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("kind", "samples", "codes", "seconds"), *rows])
    paths = [folder / "growth.csv"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(paths[0], [text.getvalue().encode()])
        with matplotlib.rc_context(SETTINGS):
            for kind, column, words in (("samples", 1, "images of each set"), ("codes", 2, "random codes")):
                points = [(row[column], row[3]) for row in rows if row[0] == kind]
                figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
                axes = figure.add_subplot()
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3.5, color="#0068a8", label="measured")
                x, seconds = points[0] if kind == "codes" else points[-1]
                ends = [points[0][0], points[-1][0]]
                axes.plot(
                    ends, [seconds * end / x for end in ends], linestyle="--", color="#c44e00", label="proportional"
                )
                if kind == "codes":
                    axes.set(xscale="log", yscale="log")
                axes.set(title=f"Time of a ranking against {words}", xlabel=words, ylabel="seconds")
                axes.legend(loc="best")
                paths.append(folder / f"growth_{kind}.png")
                figure.savefig(paths[-1], dpi=DPI, metadata={"Software": None})
    except OSError as error:
        raise StorageError(f"{folder}: the growth cannot be written: {error.strerror or error}") from error
    return paths
