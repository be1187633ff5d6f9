"""FlyingChairs2: a folder for each split, or the published lists that say which samples a split has.

A folder holds three files a sample: ``NNNNNNN-img_0.png``, ``NNNNNNN-img_1.png`` (or both ``.ppm``) and
``NNNNNNN-flow_01.flo``; other files (``-flow_10.flo``, occlusions, ...) are left alone.

Of the lists FC2_dirnames.txt names first images, and FC2_{train,val,test}.txt hold INDICES of its lines, the first
being 0.  The paths are those of the machine the lists were made on, so a prefix of them is replaced by the folder the
data is in here.  A list is untrusted: a path that leaves that folder is never opened.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from edgeflownas import limits
from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import first_of, read_json, read_lines

PATTERN = "NNNNNNN-img_0.png, NNNNNNN-img_1.png (or .ppm), NNNNNNN-flow_01.flo"
SPLITS = ("train", "val", "test")

_FILE = re.compile(r"([^.\n].*)-(img_0|img_1|flow_01)\.(png|ppm|pgm|flo)")
_DRIVE = re.compile("[A-Za-z]:/")
_METADATA = "dataset.json"
_NAMES = "FC2_dirnames.txt"
_FIRST = ("-img_0.png", "-img_0.ppm")
_SET = "FlyingChairs2"
_SHOWN = 20  # entries of a list in the report; the counts are of all


# --- folders ---


def scan_fc2(directory: str | Path, split: str, key: str = "data.train_dir") -> FlowDataset:
    """The samples in the folder of one split, by names only; ``key`` named it, for messages.  Raises DataError."""
    folder = Path(directory)
    samples, problems = find_samples(folder, key)
    if problems:
        raise DataError(
            f"{key}: {len(problems)} incomplete samples in {folder} (expected {PATTERN}):{first_of(problems)}\n"
            "Copy the missing files, or remove the other files of these samples."
        )
    if not samples:
        names = sorted(os.listdir(folder))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        found = ", ".join(map(repr, names[:3])) + more if names else "an empty folder"
        raise DataError(
            f"{key}: no samples in {folder}: expected files {PATTERN}; found {found}. "
            f"Set {key} to the folder that holds them, or make a set with `edgeflownas data synth`."
        )
    return FlowDataset(folder, split, _source(folder), samples)


def find_samples(folder: Path, key: str) -> tuple[tuple[Sample, ...], list[BadSample]]:
    """Complete samples by name, a problem for each file missing or there twice.  Raises DataError, StorageError."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # by name, then by part
    try:
        for file in os.listdir(folder):
            match = _FILE.fullmatch(file)
            if match and (match[3] == "flo") == (match[2] == "flow_01"):
                groups[match[1]][match[2]].append(file)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{key}: no folder {folder} (from {Path.cwd()}). Set {key} to the folder with {PATTERN}, "
            "or make a set with `edgeflownas data synth`."
        ) from None
    except OSError as error:
        raise StorageError(f"{key}: {folder} cannot be listed: {error.strerror}") from error
    samples = []
    problems = []
    for name, parts in sorted(groups.items()):
        found = {f"{name}-{part}": parts[part.partition(".")[0]] for part in ("img_0.png", "img_1.png", "flow_01.flo")}
        if all(len(files) == 1 for files in found.values()):
            samples.append(Sample(name, *(folder / files[0] for files in found.values())))
        for file, files in found.items():
            if len(files) != 1:
                twice = f"is there twice: {', '.join(sorted(files))}"
                missing = "is missing, other files of the sample are there"
                problems.append(BadSample(folder / file, twice if files else missing))
    return tuple(samples), problems


def _source(folder: Path) -> Literal["folder", "generated"]:
    """``generated`` where the set's own metadata, in the folder or the one above it, says so."""
    for path in (folder / _METADATA, folder.resolve().parent / _METADATA):
        if not path.exists():
            continue
        content = read_json(path, limits.MANIFEST, lambda said: DataError(f"{said}; mend it, or remove it"))
        if isinstance(content, dict) and content.get("generated") is True:
            return "generated"
    return "folder"


# --- index lists ---


@dataclass
class IndexLists:
    """The lists as they stand, and what of them is on disk; each folder is listed once."""

    folder: Path
    prefix: str  # what is cut off the front of every entry; the rest is relative to the data's folder
    entries: tuple[str, ...]
    splits: Mapping[str, tuple[int, ...]]
    _links: dict[Path, dict[str, bool]] = field(default_factory=dict, init=False)
    """Of each folder looked at so far: the names in it, and whether they are links."""

    def stem(self, index: int) -> str:
        """Entry ``index`` relative to the data's folder, without ``-img_0.png``: ``train/0002112``.

        Raises ValueError: the entry is no first image, is absolute after the prefix was cut off, or leaves the folder.
        """
        entry = self.entries[index]
        inside = entry == self.prefix or entry.startswith(self.prefix.rstrip("/") + "/")
        relative = entry[len(self.prefix.rstrip("/")) + 1 :] if self.prefix and inside else entry
        if relative.startswith(("/", "~")) or _DRIVE.match(relative):
            raise ValueError(f"is absolute: it does not begin with the prefix {self.prefix!r}")
        if ".." in relative.split("/"):
            raise ValueError("leaves the root ('..')")
        if not relative.isprintable() or not relative.endswith(_FIRST) or relative.rpartition("/")[2] in _FIRST:
            raise ValueError(f"is no first image (expected ...{_FIRST[0]})")
        return relative[: -len(_FIRST[0])]

    def sample(self, index: int, root: Path) -> tuple[Sample, list[Path]]:
        """The sample of an index below ``root``, its missing files.  Raises ValueError (:meth:`stem`; a link out)."""
        stem, suffix = self.stem(index), self.entries[index][-4:]
        place, _, name = stem.rpartition("/")
        folder = root / place
        if folder not in self._links:
            found: dict[str, bool] = {}
            if folder.is_dir():
                _refuse_outside(folder, root, str(folder))
                with os.scandir(folder) as entries:
                    found = {entry.name: entry.is_symlink() for entry in entries}
            self._links[folder] = found
        paths = [folder / f"{name}-{part}" for part in (f"img_0{suffix}", f"img_1{suffix}", "flow_01.flo")]
        for path in paths:
            if self._links[folder].get(path.name):
                _refuse_outside(path, root, path.name)
        return Sample(stem, *paths), [path for path in paths if path.name not in self._links[folder]]

    def faults(self, split: str) -> dict[str, list[int]]:
        """Indices that a split holds more than once (``duplicates``), and those of no line (``out_of_range``)."""
        indices = self.splits[split]
        twice = sorted(index for index, count in Counter(indices).items() if count > 1)
        return {"duplicates": twice, "out_of_range": [i for i in indices if not 0 <= i < len(self.entries)]}


def _refuse_outside(path: Path, root: Path, shown: str) -> None:
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise ValueError(f"is a link out of {root}: {shown} leads to {real}")


def read_index(folder: Path, prefix: str | None = None) -> IndexLists:
    """Read FC2_dirnames.txt and FC2_{train,val,test}.txt of a folder.

    ``prefix`` is cut off every entry; None: of the first entry the part up to and with ``FlyingChairs2``, or the folder
    above its own.  Raises DataError: a list is missing, FC2_dirnames.txt is empty, or a line of a split is no index.
    """
    listed = read_lines(folder / _NAMES, "the list of first images, one a line")
    entries = [entry.replace("\\", "/") for entry in listed]  # of a list made on Windows
    if not entries:
        raise DataError(f"{folder / _NAMES}: is empty, expected the paths of first images, one a line")
    splits = {}
    for split in SPLITS:
        path = folder / f"FC2_{split}.txt"
        lines = read_lines(path, f"the {split} split: indices of lines of {_NAMES}, one a line")
        for number, line in enumerate(lines, start=1):
            if not (line.isascii() and line.isdecimal() and len(line) < 10):
                raise DataError(f"{path}:{number}: {line[:20]!r} is no index of a line of {_NAMES} (0 is its first)")
        splits[split] = tuple(int(line) for line in lines)
    if prefix is None:
        parts = entries[0].split("/")
        if _SET in parts[:-1]:
            prefix = "/".join(parts[: parts.index(_SET) + 1])
        else:
            absolute = entries[0].startswith("/") or _DRIVE.match(entries[0])
            prefix = "/".join(parts[:-2]) if absolute else ""
    prefix = prefix.replace("\\", "/")
    return IndexLists(folder, prefix, tuple(entries), splits)


def open_index(folder: Path, root: Path, split: str, key: str) -> FlowDataset:
    """The samples that a list names below ``root``, by name.  Raises DataError: an unusable list, missing files."""
    lists = read_index(folder)
    path = folder / f"FC2_{split}.txt"
    if not lists.splits[split]:
        raise DataError(f"{key}: {path} is empty: the index form has no {split} split; the official one is fc2:val")
    twice, beyond = lists.faults(split).values()
    if beyond:
        raise DataError(f"{key}: {path}: index {beyond[0]} is beyond the {len(lists.entries)} lines of {_NAMES}")
    if twice:
        raise DataError(f"{key}: {path}: {len(twice)} indices are there more than once, the first is {twice[0]}")
    samples: list[Sample] = []
    missing: list[Path] = []
    for index in lists.splits[split]:
        try:
            sample, lacking = lists.sample(index, root)
        except ValueError as error:
            raise DataError(f"{key}: {folder / _NAMES}:{index + 1}: {lists.entries[index]!r} {error}") from None
        samples.append(sample)
        missing += lacking
    if missing:
        raise DataError(
            f"{key}: {len(missing)} files of {path} are not below {root} (the prefix {lists.prefix!r} is cut off its "
            f"entries):{first_of(missing)}\n`edgeflownas data check --index {folder} --root {root}` tells what is there"
        )
    if len({sample.name for sample in samples}) < len(samples):
        raise DataError(f"{key}: {folder / _NAMES}: names a sample of {path.name} twice; see `data check --index`")
    ordered = tuple(sorted(samples, key=lambda sample: sample.name))
    return FlowDataset(root, split, "index", ordered, name="fc2", note=f"by {path}")


# --- what the lists hold, what they leave out, and what of it is on disk ---


def index_report(lists: IndexLists, root: Path | None = None) -> dict[str, Any]:
    """Counts, duplicates, overlaps, lines in no split, refused entries and (with ``root``) the files there, as JSON."""

    def some(items: Sequence[Any]) -> dict[str, Any]:
        return {"count": len(items), "first": list(items[:_SHOWN])}

    refused: list[dict[str, Any]] = []
    here = [False] * len(lists.entries)
    names = list(lists.entries)
    for index, entry in enumerate(lists.entries):
        try:
            names[index] = lists.stem(index)
            here[index] = root is None or not lists.sample(index, root)[1]
        except ValueError as error:
            refused.append({"line": index + 1, "entry": entry, "problem": str(error)})

    splits: dict[str, dict[str, Any]] = {}
    for split, indices in lists.splits.items():
        splits[split] = {"count": len(indices)} | {what: some(those) for what, those in lists.faults(split).items()}
        if root is not None:
            complete = sum(here[index] for index in indices if 0 <= index < len(here))
            splits[split] |= {"complete": complete, "incomplete": len(indices) - complete}

    total, sets = len(lists.entries), {split: set(indices) for split, indices in lists.splits.items()}
    train = len(sets["train"] & set(range(total)))
    unused = sorted(set(range(total)).difference(*sets.values()))
    twice = sorted(entry for entry, count in Counter(lists.entries).items() if count > 1)
    disk = {"root": str(root), "complete": sum(here), "incomplete": total - sum(here) - len(refused)}
    return {
        "directory": str(lists.folder),
        "prefix": lists.prefix,
        "lines": total,
        "splits": splits,
        "overlaps": {f"{a}/{b}": some(sorted(sets[a] & sets[b])) for a, b in combinations(SPLITS, 2)},
        "duplicate_entries": some(twice),
        "in_no_split": some([{"index": index, "sample": names[index]} for index in unused]),
        "not_in_train": {"count": total - train, "arithmetic": f"{total - train:,} = {total:,} - {train:,}"},
        "refused": some(refused),
        "on_disk": None if root is None else disk,
    }


def index_problems(report: dict[str, Any]) -> list[str]:
    """What makes the lists unusable, in words; lines in no split and an empty list are facts, not faults."""
    found: list[tuple[int, str]] = []
    for split, facts in report["splits"].items():
        for what in ("duplicates", "out_of_range"):
            found.append((facts[what]["count"], f"{split}: {{}} indices {what.replace('_', ' ')}"))
        found.append((facts.get("incomplete", 0), f"{split}: {{}} samples are not complete on disk"))
    found += [(shared["count"], f"{pair} share {{}} indices") for pair, shared in report["overlaps"].items()]
    found.append((report["duplicate_entries"]["count"], "{} entries are there twice"))
    found.append((report["refused"]["count"], "{} entries are refused"))
    return [words.format(count) for count, words in found if count]


def index_lines(report: dict[str, Any]) -> list[str]:
    """The report in words."""

    def first(items: dict[str, Any]) -> str:
        return f", first {items['first'][0]}" if items["count"] else ""

    splits, unused, disk = report["splits"], report["in_no_split"], report["on_disk"]
    counts = " / ".join(f"{facts['count']:,}" for facts in splits.values())
    lines = [
        f"{report['directory']}: {report['lines']:,} lines; {' / '.join(splits)}: {counts}",
        f"  prefix cut off: {report['prefix'] or '(none)'}",
    ]
    for split, facts in splits.items():
        counted = {what.replace("_", " "): facts[what] for what in ("duplicates", "out_of_range")}
        lines += [f"  {split}: {items['count']} {what}{first(items)}" for what, items in counted.items()]
    lines += [f"  in both {pair}: {shared['count']}{first(shared)}" for pair, shared in report["overlaps"].items()]
    lines.append(f"  entries that are there twice: {report['duplicate_entries']['count']}")
    shown = ", ".join(f"index {row['index']} ({row['sample']})" for row in unused["first"][:3])
    lines.append(f"  in no split: {unused['count']}{': ' + shown if shown else ''}")
    lines.append(f"  not in train: {report['not_in_train']['arithmetic']} (test and what is in no split together)")
    lines += [f"  refused: line {row['line']}: {row['entry']!r} {row['problem']}" for row in report["refused"]["first"]]
    if disk is None:
        return [*lines, "  files on disk: not looked at (give --root)"]
    lines.append(f"  on disk below {disk['root']}: {disk['complete']:,} complete, {disk['incomplete']:,} not")
    return lines + [f"    {split}: {facts['complete']:,} of {facts['count']:,}" for split, facts in splits.items()]
