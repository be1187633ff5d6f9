"""``edgeflownas data``: check, measure or generate a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

if TYPE_CHECKING:
    from edgeflownas.data.fc2 import FlowDataset
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
    import time
    from json import dumps

    from edgeflownas.data.check import check_dataset, refuse
    from edgeflownas.data.fc2 import FlowDataset, find_samples, scan_fc2
    from edgeflownas.errors import ConfigError

    if config is not None:
        from edgeflownas.config_io import load_config

        data = load_config(config).data
        train_dir, val_dir = train_dir or Path(data.train_dir), val_dir or Path(data.val_dir)
    folders = {"train": train_dir, "val": val_dir}
    if train_dir is None and val_dir is None:
        raise ConfigError("data check: nothing to check; give --train-dir, --val-dir or --config RECIPE")
    checked: list[tuple[FlowDataset, list[BadSample], float]] = []
    for split, folder in folders.items():
        if folder is None:
            continue
        started = time.monotonic()
        samples, problems = find_samples(folder, f"data.{split}_dir")
        if not problems:
            dataset = scan_fc2(folder, split, f"data.{split}_dir")  # also says what is wrong with an empty folder
        else:
            dataset = FlowDataset(folder, split, "folder", samples)
        problems = problems + check_dataset(dataset, full, _progress(f"checking {split}"))
        checked.append((dataset, problems, time.monotonic() - started))
    if json:
        print(dumps({"ok": not any(rows for _, rows, _ in checked), "full": full, **_report(checked)}, indent=2))
    for dataset, rows, seconds in checked:
        if not json:
            verdict = f"{len(rows)} bad files" if rows else "all good"
            kind = "every file decoded" if full else "names, headers, lengths, sizes"
            print(f"{dataset.split}: {len(dataset)} samples in {dataset.directory} ({dataset.source}): {verdict}")
            print(f"  {kind}, {seconds:.1f} s")
            for row in rows:
                print(f"  {row}")
    for dataset, rows, _ in checked:
        refuse(dataset, rows)
    return 0


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


def _report(checked: list[tuple[FlowDataset, list[BadSample], float]]) -> dict[str, object]:
    sets = [
        {
            "split": dataset.split,
            "directory": str(dataset.directory),
            "source": dataset.source,
            "samples": len(dataset),
            "bad_files": len(rows),
            "seconds": round(seconds, 3),
        }
        for dataset, rows, seconds in checked
    ]
    rows = [
        {"split": dataset.split, "file": row.path, "problem": row.problem}
        for dataset, rows, _ in checked
        for row in rows
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
