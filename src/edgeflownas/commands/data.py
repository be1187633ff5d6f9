"""``edgeflownas data``: check, measure or generate a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset
    from edgeflownas.data.parallel import Progress
    from edgeflownas.errors import BadSample

app = App(name="data", help="Check, measure or generate a data set.")


@app.command
def check(
    *,
    train_dir: Path | None = None,
    val_dir: Path | None = None,
    config: str | None = None,
    full: bool = False,
    json: bool = False,
) -> int:
    """Find unusable files: names, headers, exact lengths and sizes in seconds, every pixel with --full.

    Ends with exit code 65 if there is one; every start of a training run makes the quick check too.

    Args:
        train_dir: folder of the training pairs.
        val_dir: folder of the evaluation pairs.
        config: recipe whose data.train_dir and data.val_dir are checked where no folder is given.
        full: decode every file.
        json: counts and one row for each bad file as JSON.
    """
    from json import dumps

    from edgeflownas.errors import ConfigError, DataError

    if config is not None:
        from edgeflownas.config.io import load_config

        data = load_config(config).data
        train_dir, val_dir = train_dir or Path(data.train_dir), val_dir or Path(data.val_dir)
    folders = [(split, folder) for split, folder in (("train", train_dir), ("val", val_dir)) if folder is not None]
    if not folders:
        raise ConfigError("data check: nothing to check; give --train-dir, --val-dir or --config RECIPE")
    checked = [_check(folder, split, full) for split, folder in folders]
    bad = [row for result in checked for row in result.rows]
    if json:
        print(dumps({"ok": not bad, "full": full, **_report(checked)}, indent=2))
    else:
        for result in checked:
            print(result.line(full), *result.rows, sep="\n  ")
    if bad:
        raise DataError(
            f"{len(bad)} bad files, the first is {bad[0]}\nReplace these files, or remove all files of these samples."
        )
    return 0


@app.command
def synth(
    *,
    out: Path,
    train: int,
    val: int,
    seed: int,
    height: int = 384,
    width: int = 512,
    backward: bool = False,
    occlusion: bool = False,
    workers: int = 1,
    json: bool = False,
) -> int:
    """Generate image pairs with exact flow in FlyingChairs2 layout: OUT/train, OUT/val and OUT/dataset.json.

    A sample depends on the seed and its number only, not on how many are made or by how many workers.

    Args:
        out: folder to make the set in.
        train: training pairs.
        val: evaluation pairs.
        seed: seed of every pair.
        height: pixels.
        width: pixels.
        backward: also write the flow from image 2 to image 1.
        occlusion: also write the masks of pixels that are hidden in the other image.
        workers: processes.
        json: what was made, as JSON.
    """
    import time
    from dataclasses import asdict
    from json import dumps

    from edgeflownas.data.synthetic import generate_dataset

    started = time.monotonic()
    made = generate_dataset(
        out,
        train,
        val,
        seed,
        height=height,
        width=width,
        backward=backward,
        occlusion=occlusion,
        workers=workers,
        progress=_progress("generating"),
    )
    seconds = time.monotonic() - started
    if json:
        print(dumps({"out": str(out), "train": train, "val": val, "seconds": seconds, **asdict(made)}, indent=2))
        return 0
    print(f"{train} training and {val} evaluation pairs in {out}, {(train + val) / max(seconds, 1e-9):.1f} a second")
    return stats(out)


@app.command
def stats(directory: Path, /, *, json: bool = False) -> int:
    """Measure the flow of a data set: mean, median, percentiles, share beyond the default clip.

    Args:
        directory: the folder of one split, or one that holds train/ and val/.
        json: one JSON object for each split.
    """
    from dataclasses import asdict
    from json import dumps

    from edgeflownas.data.fc2 import scan_fc2
    from edgeflownas.data.statistics import flow_statistics

    splits = {split: directory / split for split in ("train", "val") if (directory / split).is_dir()}
    folders = splits or {"folder": directory}
    sets = {split: scan_fc2(folder, split, "directory") for split, folder in folders.items()}
    found = {split: flow_statistics(dataset, _progress(f"measuring {split}")) for split, dataset in sets.items()}
    if json:
        rows = {split: {"source": sets[split].source, **asdict(row)} for split, row in found.items()}
        print(dumps(rows, indent=2))
        return 0
    for split, row in found.items():
        print(f"{split}: {row.samples} samples ({sets[split].source}), {row.invalid_share:.2%} of the pixels invalid")
        print(
            f"  flow magnitude in px: mean {row.mean:.2f}, median {row.median:.2f}, p90 {row.p90:.2f}, "
            f"p99 {row.p99:.2f}, max {row.maximum:.2f}; {row.share_beyond_50:.2%} with a component beyond 50"
        )
    return 0


@dataclass(frozen=True)
class _Checked:
    """What the check of one folder found."""

    dataset: FlowDataset
    rows: list[BadSample]
    seconds: float

    def line(self, full: bool) -> str:
        """The verdict in one line."""
        looked_at = "every file decoded" if full else "names, headers, lengths, sizes"
        verdict = f"{len(self.rows)} bad files" if self.rows else "all good"
        where = f"{len(self.dataset)} samples in {self.dataset.directory} ({self.dataset.source})"
        return f"{self.dataset.split}: {where}: {verdict} ({looked_at}, {self.seconds:.1f} s)"


def _check(folder: Path, split: str, full: bool) -> _Checked:
    import time

    from edgeflownas.data.check import check_dataset
    from edgeflownas.data.dataset import FlowDataset
    from edgeflownas.data.fc2 import find_samples, scan_fc2
    from edgeflownas.errors import DataError

    started = time.monotonic()
    rows: list[BadSample] = []
    try:
        dataset = scan_fc2(folder, split, f"data.{split}_dir")
    except DataError:
        samples, rows = find_samples(folder, f"data.{split}_dir")
        if not rows:
            raise
        dataset = FlowDataset(folder, split, "folder", samples)  # the complete ones: one look shall tell everything
    rows = rows + check_dataset(dataset, full, _progress(f"checking {split}"))
    return _Checked(dataset, rows, time.monotonic() - started)


def _report(checked: list[_Checked]) -> dict[str, object]:
    sets = [
        {
            "split": result.dataset.split,
            "directory": str(result.dataset.directory),
            "source": result.dataset.source,
            "samples": len(result.dataset),
            "bad_files": len(result.rows),
            "seconds": round(result.seconds, 3),
        }
        for result in checked
    ]
    rows = [
        {"split": result.dataset.split, "file": row.path, "problem": row.problem}
        for result in checked
        for row in result.rows
    ]
    return {"sets": sets, "rows": rows}


def _progress(what: str) -> Progress | None:
    """A line on the terminal that counts, at most ten times a second; none where stderr is not a terminal."""
    import time

    if not sys.stderr.isatty():
        return None
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last > 0.1:
            last = now
            print(f"\r{what}: {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
