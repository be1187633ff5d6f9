"""Two pictures of a model on an Arm Ethos-U: the time of every operator, and the SRAM over time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.errors import StorageError
from edgeflownas.report.paper_figures import COLOURS, DPI, HEIGHT, WIDTH, drawing
from edgeflownas.report.vela_text import facts_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.155  # inches a bar takes
USES = {
    "tensor": ("c0", "tensor"),
    "stripes": ("c2", "stripes of a tensor (cascade)"),
    "weights": ("c1", "weights fetched ahead"),
}
LETTER = 0.045  # inches a letter of a name takes
LINE, LINE_SMALL = 80, 135  # letters of a title that fit into the picture
ROOM = 1.12  # height of the picture, of the peak: the legend is above


def write_vela_figures(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write NAME_latency.png and NAME_sram.png of one model (docs/vela.md) into ``folder`` (made if missing).

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    paths = [folder / f"{document['name']}_{kind}.png" for kind in ("latency", "sram")]
    try:
        with drawing(f"--figures {folder}:") as Figure:
            folder.mkdir(parents=True, exist_ok=True)
            for path, draw in zip(paths, (_latency, _sram), strict=True):
                draw(document, Figure).savefig(path, dpi=DPI, metadata={"Software": None})
    except OSError as error:
        raise StorageError(f"{folder}: the pictures cannot be written: {error.strerror or error}") from error
    return paths


def _latency(document: Mapping[str, Any], new: type[Figure]) -> Figure:
    """A bar for each operator, first at the top, its colour by kind."""
    layers = document["layers"]
    figure = new(figsize=(WIDTH, 0.9 + ROW * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    unit = document["milliseconds"] / document["cycles"]
    for number, kind in enumerate(dict.fromkeys(layer["kind"] for layer in layers)):
        rows = [row for row, layer in enumerate(layers) if layer["kind"] == kind]
        times = [layers[row]["cycles"] * unit for row in rows]
        bars = axes.barh(rows, times, color=COLOURS[f"c{number % 8}"], label=kind, height=0.75)
        axes.bar_label(bars, [f"{time:.1f}" for time in times], padding=2, fontsize=6)
    axes.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=6)
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlabel="ms (Vela's estimate)")
    _titles(figure, document, f"{document['milliseconds']:.1f} ms")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.legend(loc="best")
    return figure


def _sram(document: Mapping[str, Any], new: type[Figure]) -> Figure:
    """Every range of the arena as a rectangle: when across, where upwards; the moment of the peak is marked."""
    from matplotlib.patches import Rectangle

    figure = new(figsize=(WIDTH, 1.5 * HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    top, last = document["sram_kib"], _last(document)
    for one in document["placed"]:
        corner, height = (one["start"], one["address"] / 1024), one["bytes"] / 1024
        wide = one["end"] + 1 - one["start"]
        colour, word = USES[one["use"]]
        axes.add_patch(Rectangle(corner, wide, height, color=COLOURS[colour], alpha=0.35, lw=0, label=word))
        axes.add_patch(Rectangle(corner, wide, height, fill=False, ec=COLOURS[colour], lw=0.5))
        across, upwards = wide / last * 0.9 * WIDTH, height / (ROOM * top) * HEIGHT  # inches, a little less
        _label(axes, one["names"][-1], (corner[0] + wide / 2, corner[1] + height / 2), across, upwards)
    peak = document["peak"]
    axes.axvspan(peak["time"], peak["time"] + 1, color=COLOURS["muted"], alpha=0.25, lw=0)
    where = textwrap.shorten(", ".join(peak["operators"]), 80, placeholder=" …")
    _titles(figure, document, f"SRAM {top:,.1f} KiB, most in use at {where}")
    _axes(axes, document)
    return figure


def _axes(axes: Axes, document: Mapping[str, Any]) -> None:
    """Ticks at the operators, and one entry of the legend for each use."""
    names: dict[int, str] = {}
    for layer in document["layers"]:
        names[layer["time"]] = f"{names[layer['time']]}, …" if layer["time"] in names else layer["name"]
    axes.set_xticks([time + 0.5 for time in names], list(names.values()), rotation=90, fontsize=5)
    axes.set(xlim=(0, _last(document)), ylim=(0, ROOM * document["sram_kib"]), ylabel="KiB of the arena")
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(list(entries.values()), list(entries), loc="upper left", ncols=3)


def _label(axes: Axes, name: str, middle: tuple[float, float], across: float, upwards: float) -> None:
    """The name inside a rectangle of that size (inches), upright where it fits only so; nothing where it does not."""
    length = len(name) * LETTER
    if max(across, upwards) < length or min(across, upwards) < LETTER:
        return
    turn = 0 if across >= length and upwards >= LETTER else 90
    axes.text(*middle, name, ha="center", va="center", fontsize=5, color=COLOURS["ink"], rotation=turn)


def _last(document: Mapping[str, Any]) -> int:
    """The time after the last range."""
    return max(int(one["end"]) + 1 for one in document["placed"])


def _titles(figure: Figure, document: Mapping[str, Any], result: str) -> None:
    """What is shown above, and what decides the figures below, in small letters; neither is cut off."""
    facts = document["facts"]
    figure.suptitle(textwrap.fill(f"{document['name']} on {facts['target']}: {result}", LINE), fontsize=9)
    said = facts_text(facts) + ("" if document["arena_kept"] else "; the limit of the arena is not kept")
    figure.supxlabel(textwrap.fill(said, LINE_SMALL), fontsize=6, color=COLOURS["muted"])
