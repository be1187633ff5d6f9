"""``edgeflownas data``: list, check, measure or generate data sets."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from edgeflownas.commands._shared import Size, emit, print_json
from edgeflownas.errors import BadSample, ConfigError, DataError
from edgeflownas.files import clean

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset, Progress

app = App(name="data", help="List, check, measure or generate data sets.")


@app.command(name="list")
def list_sets(*, config: str | None = None, json: bool = False) -> None:
    """Show every data set: found or not, samples of each variant, where, and what named the folder.

    A folder is named by data.roots in a recipe, by EDGEFLOWNAS_DATA_NAME, or by a line in
    ~/.config/edgeflownas/datasets.yaml, in this order.

    Args:
        config: recipe whose data.roots is used.
        json: one object for each data set.
    """
    from edgeflownas.config.load import load_config
    from edgeflownas.data.sets import list_datasets

    sets = list_datasets(load_config(config).data.roots)
    emit({"sets": sets}, lambda _: [line for row in sets for line in _listed(row)], json)


def _listed(row: dict[str, Any]) -> list[str]:
    if row["root"] is None:
        return [f"{row['name']:16} no folder is known; it would hold {row['layout']}"]
    state = "found" if row["found"] else "NOT FOUND"
    lines = [f"{row['name']:16} {state} in {row['root']} (named by {row['named_by']})"]
    for each in row["variants"]:
        what = f"- {each['problem']}" if each["samples"] is None else f"{each['samples']:,} samples"
        lines.append(f"    {each['variant']:14} {what}")
    return lines


@app.command
def check(
    *,
    train_dir: str | None = None,
    val_dir: str | None = None,
    data: tuple[str, ...] = (),
    config: str | None = None,
    index: Path | None = None,
    root: Path | None = None,
    prefix: str | None = None,
    full: bool = False,
    against: Path | None = None,
    json: bool = False,
) -> None:
    """Find unusable files: names, headers, exact lengths and sizes in seconds, every pixel with --full.

    With --index: what the index lists of FlyingChairs2 hold, what they leave out, and which files are there.
    Ends with exit code 65 if anything is unusable; every start of a training run makes the quick check too.

    Args:
        train_dir: the training pairs, a folder or a data set by name.
        val_dir: the evaluation pairs.
        data: any data set, such as flying_things3d:clean-train@FOLDER; may be given several times.
        config: recipe whose data.roots is used, and whose splits are checked where none is given.
        index: folder of FC2_dirnames.txt and FC2_{train,val,test}.txt.
        root: with --index: the folder that stands for the lists' prefix; its files are looked up.
        prefix: with --index: what to cut off the lists' entries instead of the part up to FlyingChairs2.
        full: decode every file.
        against: run directory; with --full: read every byte of its data again and name each file that is not what the
            run was trained on. Its own data are looked at where no other are given.
        json: counts and one row for each bad file as JSON.
    """
    from edgeflownas.config.load import load_config

    if index is not None:
        if train_dir or val_dir or data or config or full or against:
            raise ConfigError("data check: --index is checked alone (with --root, --prefix and --json)")
        _check_index(index, root, prefix, json)
        return
    if root is not None or prefix is not None:
        raise ConfigError("data check: --root and --prefix belong to --index DIR")
    if against is not None:
        if not full or data or config:
            raise ConfigError("data check: --against RUN needs --full, and takes no --data or --config: it has its own")
        config = str(against / "config.yaml")
    settings = load_config(config).data
    if config is not None and not data:
        train_dir, val_dir = train_dir or settings.train_dir, val_dir or settings.val_dir
    splits = {"train": train_dir, "val": val_dir}
    wanted = [(spec, split, f"data.{split}_dir") for split, spec in splits.items() if spec is not None]
    wanted += [(spec, "val", "--data") for spec in data]
    if not wanted:
        raise ConfigError(
            "data check: nothing to check; give --train-dir, --val-dir, --data NAME[:VARIANT][@ROOT], --index DIR or "
            "--config RECIPE"
        )
    checked = [_check_set(*each, settings.roots, full, against) for each in wanted]
    bad = [(row["split"], problem) for row, problems, _ in checked for problem in problems]
    rows = [{"split": split, "file": problem.path, "problem": problem.problem} for split, problem in bad]
    document = {"ok": not bad, "full": full, "sets": [row for row, _, _ in checked], "rows": rows}
    emit(document, lambda _: ["\n  ".join([line, *map(str, problems)]) for _, problems, line in checked], json)
    if bad:
        remedy = "Replace these files, or remove all files of these samples."
        raise DataError(f"{len(bad)} bad files, the first is {bad[0][1]}\n{remedy}")


def _check_set(
    spec: str, split: str, key: str, roots: dict[str, str], full: bool, against: Path | None
) -> tuple[dict[str, Any], list[BadSample], str]:
    """A data set with its counts, its unusable files, and the verdict in one line."""
    from edgeflownas.data.check import look_through
    from edgeflownas.data.sets import open_complete

    started = time.monotonic()
    dataset, problems = open_complete(spec, split, key, roots)
    checked = look_through(dataset, full, _progress(f"checking {split}"))
    problems += checked.problems
    if against is not None:
        problems += _changed_since(dataset, split, against)
    seconds = time.monotonic() - started
    where = {"split": dataset.split, "directory": str(dataset.directory), "source": dataset.source}
    counts: dict[str, Any] = {"samples": len(dataset), "bad_files": len(problems), "seconds": round(seconds, 3)}
    counts |= {"converted_images": dict(checked.converted), "unknown_flow_pixels": checked.unknown if full else None}
    verdict = f"{len(problems)} bad files" if problems else "all good"
    looked_at = "every file decoded" if full else "names, headers, lengths, sizes"
    note = "".join(f"; {words}" for words in (dataset.note, *checked.notes) if words)
    line = f"{dataset.split}: {len(dataset)} samples in {dataset.directory} ({dataset.source}): {verdict}"
    row = {"spec": spec, "name": dataset.name, **where, **counts}
    return row, problems, f"{line} ({looked_at}, {seconds:.1f} s{note})"


def _changed_since(dataset: FlowDataset, split: str, run: Path) -> list[BadSample]:
    """A problem for each file whose bytes are not those of the run's fingerprint; all are read again."""
    from edgeflownas.data.check import fingerprint
    from edgeflownas.run.setup import FINGERPRINTS, stored_fingerprints

    if (stored := stored_fingerprints(run)) is None:
        raise DataError(f"{run / FINGERPRINTS}: missing, so what the run was trained on cannot be told")
    before = stored[split == "val"]
    limit = 2**62 if before.crc_kind == "full" else -1  # sums of the same kind
    now = fingerprint(dataset, None, _progress(f"reading {split}"), limit)
    then, today = ({row.name: (row.size, row.crc) for row in mark.table} for mark in (before, now))
    told = dict.fromkeys(then.keys() - today.keys(), "is gone since the run was trained")
    told |= dict.fromkeys(today.keys() - then.keys(), "is new since the run was trained")
    for name in then.keys() & today.keys():
        if then[name] != today[name]:
            told[name] = "is not what the run was trained on"
    return [BadSample(dataset.directory / name, told[name]) for name in sorted(told)]


def _check_index(folder: Path, root: Path | None, prefix: str | None, json: bool) -> None:
    from edgeflownas.data.fc2 import index_lines, index_problems, index_report, read_index

    if root is not None and not root.is_dir():
        raise DataError(f"--root: no folder {root} (from {Path.cwd()}); give the one that holds the lists' files")
    report = index_report(read_index(folder, prefix), root)
    problems = index_problems(report)
    emit({"ok": not problems, **report}, lambda _: index_lines(report), json)
    if problems:
        raise DataError(f"{folder}: {'; '.join(problems)}")


@app.command
def stats(*specs: str, config: str | None = None, json: bool = False) -> None:
    """Measure the flow of data sets: mean, median, percentiles, share beyond the default clip, each under its label.

    Warns where the official validation set of FlyingChairs2 and the hold-out of its training folder are both given.

    Args:
        specs: the folder of one split, one that holds train/ and val/, or a data set by name (sintel:final@FOLDER).
        config: recipe whose data.roots is used.
        json: one JSON object for each split.
    """
    from dataclasses import asdict

    from edgeflownas.config.load import load_config
    from edgeflownas.data.check import fingerprint, flow_statistics, mixed_validation

    if not specs:
        raise ConfigError(
            "data stats: nothing to measure; give folders or data sets, such as sintel:final@/data/sintel"
        )
    roots = load_config(config).data.roots
    sets = [found for spec in specs for found in _splits_of(spec, roots)]
    rows, marks = [], []
    for each in sets:
        measured, mark = flow_statistics(each, _progress(f"measuring {each.split}")), fingerprint(each)
        facts = {"label": mark.label, "name": each.name, "split": each.split, "source": each.source}
        rows.append(facts | asdict(measured))
        marks.append(mark)
    warnings = [warning] if (warning := mixed_validation(marks)) else []
    told = (
        "{label}: {samples} samples, {invalid_share:.2%} of the pixels invalid\n"
        "  flow magnitude in px: mean {mean:.2f}, median {median:.2f}, p90 {p90:.2f}, p99 {p99:.2f}, "
        "max {maximum:.2f}; {share_beyond_50:.2%} with a component beyond 50"
    )
    emit({"sets": rows, "warnings": warnings}, lambda _: [told.format(**row) for row in rows], json)
    if warnings and not json:
        print(clean(f"warning: {warnings[0]}"), file=sys.stderr)


def _splits_of(spec: str, roots: dict[str, str]) -> list[FlowDataset]:
    """One data set, or the two splits of a folder that holds both."""
    from edgeflownas.data.sets import is_named, open_dataset

    folder = Path(spec)
    if is_named(spec) or not folder.is_dir():
        return [open_dataset(spec, "val", "data stats", roots)]
    splits = [split for split in ("train", "val") if (folder / split).is_dir()]
    if splits:
        return [open_dataset(str(folder / split), split, "data stats", roots) for split in splits]
    name = folder.resolve().name
    return [open_dataset(spec, name if name in ("train", "val", "test") else "folder", "data stats", roots)]


@app.command
def synth(
    *,
    out: Path,
    train: int,
    val: int,
    seed: int,
    size: Size | None = None,
    height: int | None = None,
    width: int | None = None,
    kind: Literal["scenes", "texture"] = "scenes",
    motion: float | None = None,
    backward: bool = False,
    occlusion: bool = False,
    workers: int = 1,
    json: bool = False,
) -> None:
    """Generate image pairs with exact flow in FlyingChairs2 layout: OUT/train, OUT/val and OUT/dataset.json.

    A sample depends on the seed and its number only, not on how many are made or by how many workers.

    Example: edgeflownas data synth --out data --train 2000 --val 128 --seed 1 --size 192x256

    Args:
        out: folder to make the set in.
        train: training pairs.
        val: evaluation pairs.
        seed: seed of every pair.
        size: pixels; 384x512 where nothing is given.
        height: rows alone, instead of --size.
        width: columns alone, instead of --size.
        kind: scenes are textured objects in front of a background, each with its own motion; a texture moves as one,
            and a small network learns it in a few hundred steps.
        motion: of --kind texture: how far it moves at most, px in x and in y (default 3); corners a quarter more.
        backward: also write the flow from image 2 to image 1.
        occlusion: also write the masks of pixels that are hidden in the other image.
        workers: processes.
        json: what was made, as JSON.
    """
    from dataclasses import asdict

    from edgeflownas.data.synthetic.generate import generate_dataset

    if size is not None and (height is not None or width is not None):
        raise ConfigError("data synth: --size and --height or --width say the same; give --size alone")
    if kind == "scenes" and motion is not None:
        raise ConfigError("data synth: --motion belongs to --kind texture; scenes have motions of many sizes")
    rows, columns = size or (384 if height is None else height, 512 if width is None else width)
    motion = 3.0 if kind == "texture" and motion is None else motion
    started = time.monotonic()
    progress = _progress("generating")
    made = generate_dataset(out, train, val, seed, rows, columns, motion, backward, occlusion, workers, progress)
    seconds = time.monotonic() - started
    if json:
        print_json({"out": str(out), "train": train, "val": val, "seconds": seconds, **asdict(made)})
        return
    print(f"{train} training and {val} evaluation pairs in {out}, {(train + val) / max(seconds, 1e-9):.1f} a second")
    stats(str(out))


def _progress(what: str) -> Progress | None:
    """A line on the terminal that counts, at most ten times a second; none where stderr is not a terminal."""
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
