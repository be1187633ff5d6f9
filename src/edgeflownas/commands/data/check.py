"""``edgeflownas data check``: unusable files, and what the index lists of FlyingChairs2 hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset
    from edgeflownas.errors import BadSample


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
    json: bool = False,
) -> int:
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
        json: counts and one row for each bad file as JSON.
    """
    from json import dumps

    from edgeflownas.errors import ConfigError, DataError

    if index is not None:
        if train_dir or val_dir or data or config or full:
            raise ConfigError("data check: --index is checked alone (with --root, --prefix and --json)")
        return _check_index(index, root, prefix, json)
    if root is not None or prefix is not None:
        raise ConfigError("data check: --root and --prefix belong to --index DIR")
    checked = [_check(*wanted, full) for wanted in _wanted(train_dir, val_dir, data, config)]
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


def _wanted(
    train_dir: str | None, val_dir: str | None, data: tuple[str, ...], config: str | None
) -> Sequence[tuple[str, str, str, Mapping[str, str]]]:
    """(specification, split, key, roots) of everything that is to be checked."""
    from edgeflownas.config.load import load_config
    from edgeflownas.errors import ConfigError

    settings = load_config(config).data
    if config is not None and not data:
        train_dir, val_dir = train_dir or settings.train_dir, val_dir or settings.val_dir
    splits = [("train", train_dir), ("val", val_dir)]
    wanted = [(spec, split, f"data.{split}_dir", settings.roots) for split, spec in splits if spec is not None]
    wanted += [(spec, "val", "--data", settings.roots) for spec in data]
    if not wanted:
        raise ConfigError(
            "data check: nothing to check; give --train-dir, --val-dir, --data NAME[:VARIANT][@ROOT], --index DIR or "
            "--config RECIPE"
        )
    return wanted


def _check_index(folder: Path, root: Path | None, prefix: str | None, json: bool) -> int:
    from json import dumps

    from edgeflownas.data.fc2 import index_lines, index_problems, index_report, read_index
    from edgeflownas.errors import DataError

    if root is not None and not root.is_dir():
        raise DataError(f"--root: no folder {root} (from {Path.cwd()}); give the one that holds the lists' files")
    report = index_report(read_index(folder, prefix), root)
    problems = index_problems(report)
    print(dumps({"ok": not problems, **report}, indent=2) if json else "\n".join(index_lines(report)))
    if problems:
        raise DataError(f"{folder}: {'; '.join(problems)}")
    return 0


@dataclass(frozen=True)
class _Checked:
    """What the check of one data set found."""

    spec: str
    dataset: FlowDataset
    rows: list[BadSample]
    seconds: float

    def line(self, full: bool) -> str:
        """The verdict in one line."""
        looked_at = "every file decoded" if full else "names, headers, lengths, sizes"
        verdict = f"{len(self.rows)} bad files" if self.rows else "all good"
        where = f"{len(self.dataset)} samples in {self.dataset.directory} ({self.dataset.source})"
        note = f"; {self.dataset.note}" if self.dataset.note else ""
        return f"{self.dataset.split}: {where}: {verdict} ({looked_at}, {self.seconds:.1f} s{note})"


def _check(spec: str, split: str, key: str, roots: Mapping[str, str], full: bool) -> _Checked:
    import time

    from edgeflownas.commands.data.progress import progress
    from edgeflownas.data.check import check_dataset
    from edgeflownas.data.dataset import FlowDataset
    from edgeflownas.data.fc2 import find_samples
    from edgeflownas.data.sets import is_named, open_dataset
    from edgeflownas.errors import DataError

    started = time.monotonic()
    rows: list[BadSample] = []
    try:
        dataset = open_dataset(spec, split, key, roots)
    except DataError:
        if is_named(spec) or not Path(spec).is_dir():
            raise
        samples, rows = find_samples(Path(spec), key)
        if not rows:
            raise
        dataset = FlowDataset(Path(spec), split, "folder", samples)  # the complete ones: one look shall tell everything
    rows = rows + check_dataset(dataset, full, progress(f"checking {split}"))
    return _Checked(spec, dataset, rows, time.monotonic() - started)


def _report(checked: list[_Checked]) -> dict[str, object]:
    sets = [
        {
            "spec": result.spec,
            "name": result.dataset.name,
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
