"""The pictures of README and docs, and whether what they show has changed since they were made.

    python benchmarks/pictures.py [NAME ...] [--chromium PROGRAM]    # make them (all that need no long training)
    python benchmarks/pictures.py --check                            # those older than what draws them; exit code 65

docs/images/made.json keeps, for every picture, the command that made it and the digests of the files that draw it.  A
picture of long runs is made by the command that stands there; ``--seen NAME`` says that a change left it as it is.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _shared import options
from _shared import run as run_benchmark

from edgeflownas.data.synthetic.generate import generate_pair
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.files import replace_file
from edgeflownas.report.pictures import flow_to_color
from edgeflownas.report.plot import drawing
from edgeflownas.run.run import load

ROOT = Path(__file__).parents[1]
SHOWN = "flownet-v1-w16"
PAIR = 2026, 5_000_000  # seed and number of a generated pair that no weights were trained on
THEMES = {"": ("white", "#1f2933"), "_dark": ("#0d1117", "#e6edf3")}  # behind and in front
PAGE = "src/edgeflownas/report"


class Picture(NamedTuple):
    """``make`` draws it to a file (None: by ``command``), from ``sources``, patterns below the repository."""

    command: str
    sources: tuple[str, ...]
    make: Callable[[Path, Any], None] | None = None


def flow_picture(theme: str, file: Path, given: Any) -> None:
    """Both frames, the flow that shipped weights see, and the truth, of a generated pair; the legend of colours."""
    made = generate_pair(*PAIR, height=384, width=512)
    net = load(SHOWN)
    found = net.flow(made.image1, made.image2)
    epe, still = (float(np.linalg.norm(flow - made.flow, axis=-1).mean()) for flow in (found, np.zeros_like(found)))
    longest = float(np.quantile(np.linalg.norm(made.flow, axis=-1), 0.99))
    side = np.stack(np.meshgrid(np.linspace(-1, 1, 96), np.linspace(-1, 1, 96)), axis=-1)
    wheel = np.dstack([flow_to_color(side, 1.0), 255 * (np.linalg.norm(side, axis=-1) <= 1)]).astype(np.uint8)
    panels = {
        "frame 1": made.image1,
        "frame 2": made.image2,
        f"flow by {SHOWN}, error {epe:.2f} px": flow_to_color(found, longest),
        f"true flow (nothing moves: {still:.2f} px)": flow_to_color(made.flow, longest),
    }
    behind, front = THEMES[theme]
    with drawing("the picture of a flow") as Figure:
        figure = Figure(figsize=(12, 2.55), layout="constrained", facecolor=behind)
        for axes, (title, picture) in zip(figure.subplots(1, 4), panels.items(), strict=True):
            axes.imshow(picture)
            axes.set_title(title, color=front)
            axes.axis("off")
        legend = figure.axes[-1].inset_axes((0.83, 0.78, 0.16, 0.21))
        legend.imshow(wheel)
        legend.axis("off")
        figure.savefig(file, dpi=110, metadata={"Software": None})


def accuracy_picture(theme: str, file: Path, given: Any) -> None:
    """Error on FlyingChairs against time on the chip, a dot a file of weights; lines are methods without weights."""
    tables = sorted(ROOT.glob("results/accuracy_*.csv"))
    if not tables:
        raise ConfigError("results/ holds no accuracy_*.csv: run python benchmarks/accuracy.py first")
    rows = [row for row in csv.DictReader(tables[-1].read_text().splitlines()) if row["data"] == "Chairs"]
    rows = [row for row in rows if row["protocol"].startswith("deploy")]
    behind, front = THEMES[theme]
    with drawing("the picture of accuracy and cost") as Figure:
        figure = Figure(figsize=(6.4, 3.2), layout="constrained", facecolor=behind)
        axes = figure.add_subplot(facecolor=behind)
        dots = [row for row in rows if row["precision"] == "int8"]
        for row in dots:
            x, y = float(row["chip_ms"]), float(row["epe_per_image"])
            axes.plot([x], [y], "o", color="#2563eb")
            axes.annotate(row["model"], (x, y), (5, 4), textcoords="offset points", color=front)
        names = {"zero": "nothing moves", "farneback": "Farneback", "dis_fast": "DIS fast", "dis": "DIS medium"}
        lines = sorted((float(row["epe_per_image"]), names[row["model"]]) for row in rows if row["model"] in names)
        for number, (y, name) in enumerate(lines):  # names in turn to the left and right: two may be close
            axes.axhline(y, color="#9aa5b1", linewidth=0.8, linestyle="--")
            place, side = ((0.99, "right"), (0.01, "left"))[number % 2]
            axes.text(place, y, name, transform=axes.get_yaxis_transform(), color=front, ha=side, va="bottom")
        axes.set(xlabel="int8 on Grove Vision AI V2 by Vela, ms", ylabel="EPE on FlyingChairs, px", ylim=(0, None))
        axes.set_xlim(0, 1.4 * max([float(row["chip_ms"]) for row in dots], default=1.0))
        axes.tick_params(colors=front)
        axes.grid(color=front, alpha=0.12)
        axes.xaxis.label.set_color(front)
        axes.yaxis.label.set_color(front)
        figure.savefig(file, dpi=120, metadata={"Software": None})


def report_picture(file: Path, given: Any) -> None:
    """The top of the report of a small run, as Chromium shows it."""
    program = given.chromium or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise ConfigError("docs/images/report.png is a page as Chromium shows it: name the program with --chromium")
    with tempfile.TemporaryDirectory() as temporary:
        data = f"--data.train_dir={temporary}/data/train", f"--data.val_dir={temporary}/data/val"
        words = ("--train.width=4", "--train.num_epochs=20", "--data.crop_size=48x64", "--train.monitor_every=20")
        often = ("--eval.eval_every_epoch=1", "--eval.wide_every_epoch=5", f"--runtime.output_root={temporary}")
        synth = ("--kind=texture", "--train=480", "--val=24", "--seed=0", "--size=48x64", "--motion=3")
        for command in (
            ("data", "synth", f"--out={temporary}/data", *synth),
            ("train", "smoke", *data, *words, *often),
        ):
            subprocess.run([sys.executable, "-m", "edgeflownas", *command], check=True, capture_output=True)
        shown = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1120,2080"]
        page = Path(temporary, "smoke", "report.html").as_uri()
        subprocess.run([str(program), *shown, f"--screenshot={file}", page], check=True, capture_output=True)


PICTURES: dict[str, Picture] = {
    **{
        f"flow{theme}.png": Picture(
            "python benchmarks/pictures.py",
            (f"src/edgeflownas/weights/{SHOWN}.json", "src/edgeflownas/data/synthetic/*.py"),
            lambda file, given, theme=theme: flow_picture(theme, file, given),  # type: ignore[misc]
        )
        for theme in THEMES
    },
    **{
        f"accuracy{theme}.png": Picture(
            "python benchmarks/pictures.py",
            ("results/accuracy_*.csv",),
            lambda file, given, theme=theme: accuracy_picture(theme, file, given),  # type: ignore[misc]
        )
        for theme in THEMES
    },
    "report.png": Picture(
        "python benchmarks/pictures.py",
        (f"{PAGE}/page.py", f"{PAGE}/figures.py", f"{PAGE}/templates/*report*", f"{PAGE}/templates/page.css"),
        report_picture,
    ),
    "pareto_page.png": Picture("edgeflownas pareto RANKING --out DIR; Chromium", (f"{PAGE}/templates/space*",)),
    "controls.png": Picture("python examples/controls/figure.py RUNS FILE", ("examples/controls/figure.py",)),
    "trust.png": Picture("python experiments/trust/figure.py RESULTS FILE", ("experiments/trust/figure.py",)),
    "vela_sram.png": Picture("edgeflownas vela FILE --arena 900 --figures DIR", ("src/edgeflownas/hardware/vela.py",)),
    **{
        f"rank_growth_{by}.png": Picture("python benchmarks/rank.py --growth DIR", ("benchmarks/rank.py",))
        for by in ("codes", "samples")
    },
    "supernet.svg": Picture("drawn by hand", ("src/edgeflownas/space.py",)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(PICTURES)}")
    parser.add_argument("--check", action="store_true", help="say which are older than what draws them")
    parser.add_argument("--seen", nargs="+", default=[], metavar="NAME", help="looked at: these are still true")
    parser.add_argument("--chromium", help="program that shows pages; default: the one that is found")
    return run_benchmark(parser, work, argv)


def work(given: Any) -> dict[str, Any]:
    """Make or check."""
    for name in (*given.names, *given.seen):
        if name not in PICTURES:
            raise ConfigError(f"no picture {name}: {', '.join(PICTURES)}")
    folder = ROOT / "docs" / "images"
    register = folder / "made.json"
    known = json.loads(register.read_text()) if register.exists() else {}
    if given.check:
        old = [name for name in PICTURES if known.get(name, {}).get("sources") != sources(name)]
        if old:
            raise DataError(
                "\n".join(f"docs/images/{n} is older than what it shows: {PICTURES[n].command}" for n in old)
            )
        return {"pictures": len(PICTURES), "old": 0}
    written = []
    for name in given.seen or given.names or [name for name, picture in PICTURES.items() if picture.make]:
        make = PICTURES[name].make
        if name not in given.seen:
            if make is None:
                raise ConfigError(f"{name} is made by: {PICTURES[name].command}; then give --seen {name}")
            try:
                make(folder / name, given)
            except subprocess.CalledProcessError as error:
                raise StorageError(f"{name}: {error}: {error.stderr.decode(errors='replace')[-400:]}") from None
            written.append(name)
        known[name] = {"command": PICTURES[name].command, "sources": sources(name)}
    replace_file(register, [(json.dumps(known, indent=1, sort_keys=True) + "\n").encode()])
    return {"written": written}


def sources(name: str) -> dict[str, str]:
    """Digests of the files that decide what a picture shows."""
    files = [file for pattern in PICTURES[name].sources for file in sorted(ROOT.glob(pattern))]
    return {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


if __name__ == "__main__":
    sys.exit(main())
