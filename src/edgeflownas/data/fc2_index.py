"""The index form of FlyingChairs2: FC2_dirnames.txt lists first images, FC2_{train,val,test}.txt hold line INDICES.

Index 0 is the first line.  The paths are those of the machine the lists were made on, so a prefix of them is replaced
by the folder the data is in here.  A list is untrusted: a path that leaves that folder is never opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.data.lists import read_lines
from edgeflownas.errors import DataError

__all__ = ["Disk", "IndexLists", "open_index", "read_index"]

SPLITS = ("train", "val", "test")
_NAMES = "FC2_dirnames.txt"
_FIRST = ("-img_0.png", "-img_0.ppm")
_SET = "FlyingChairs2"


@dataclass(frozen=True)
class IndexLists:
    """The lists as they stand."""

    folder: Path
    prefix: str
    """What is cut off the front of every entry; the rest is relative to the data's folder."""
    entries: tuple[str, ...]
    splits: Mapping[str, tuple[int, ...]]

    def stem(self, index: int) -> str:
        """Entry ``index`` relative to the data's folder, without ``-img_0.png``: ``train/0002112``.

        Raises:
            ValueError: the entry is no first image, is absolute after the prefix was cut off, or leaves the folder.
        """
        entry = self.entries[index]
        inside = entry == self.prefix or entry.startswith(self.prefix.rstrip("/") + "/")
        relative = entry[len(self.prefix.rstrip("/")) + 1 :] if self.prefix and inside else entry
        if relative.startswith(("/", "~")):
            raise ValueError(f"is absolute: it does not begin with the prefix {self.prefix!r}")
        if ".." in relative.split("/"):
            raise ValueError("leaves the root ('..')")
        if not relative.isprintable() or not relative.endswith(_FIRST) or relative.rpartition("/")[2] in _FIRST:
            raise ValueError(f"is no first image (expected ...{_FIRST[0]})")
        return relative[: -len(_FIRST[0])]

    def suffix(self, index: int) -> str:
        """``.png`` or ``.ppm``."""
        return self.entries[index][-4:]

    def out_of_range(self, split: str) -> list[int]:
        """Indices of a split that no line belongs to."""
        return [index for index in self.splits[split] if not 0 <= index < len(self.entries)]

    def duplicates(self, split: str) -> list[int]:
        """Indices that a split holds more than once."""
        return sorted(index for index, count in Counter(self.splits[split]).items() if count > 1)

    def overlap(self, one: str, two: str) -> list[int]:
        """Indices that two splits share."""
        return sorted(set(self.splits[one]) & set(self.splits[two]))

    def unused(self) -> list[int]:
        """Lines in no split."""
        used = {index for split in SPLITS for index in self.splits[split]}
        return [index for index in range(len(self.entries)) if index not in used]

    def same_entries(self) -> list[str]:
        """Entries that are there more than once."""
        return sorted(entry for entry, count in Counter(self.entries).items() if count > 1)


def read_index(folder: Path, prefix: str | None = None) -> IndexLists:
    """Read the four lists of a folder.

    Args:
        folder: where FC2_dirnames.txt and FC2_{train,val,test}.txt are.
        prefix: what to cut off every entry; None: of the first entry the part up to and with ``FlyingChairs2``, or the
            folder above its own.

    Raises:
        DataError: a list is missing, FC2_dirnames.txt is empty, or a line of a split is no index.
    """
    entries = read_lines(folder / _NAMES, "the list of first images, one a line")
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
    return IndexLists(folder, _prefix_of(entries[0]) if prefix is None else prefix, tuple(entries), splits)


def _prefix_of(entry: str) -> str:
    parts = entry.split("/")
    if _SET in parts[:-1]:
        return "/".join(parts[: parts.index(_SET) + 1])
    return "/".join(parts[:-2]) if entry.startswith("/") else ""


@dataclass
class Disk:
    """What of the lists is on disk below a folder; each folder is listed once."""

    root: Path
    lists: IndexLists
    _folders: dict[str, dict[str, bool]] = field(default_factory=dict)
    _real: str = ""

    def sample(self, index: int) -> tuple[Sample, list[Path]]:
        """The sample of an index, and those of its files that are not there.

        Raises:
            ValueError: as :meth:`IndexLists.stem`, or a link leads out of the folder.
        """
        stem, suffix = self.lists.stem(index), self.lists.suffix(index)
        folder, _, name = stem.rpartition("/")
        known = self._listed(folder)
        paths = []
        missing = []
        for part in (f"img_0{suffix}", f"img_1{suffix}", "flow_01.flo"):
            file = f"{name}-{part}"
            paths.append(self.root / folder / file)
            if file not in known:
                missing.append(paths[-1])
            elif known[file] and not self._inside(os.path.realpath(paths[-1])):
                raise ValueError(f"is a link out of {self.root}: {file} leads to {os.path.realpath(paths[-1])}")
        return Sample(stem, *paths), missing

    def _listed(self, folder: str) -> dict[str, bool]:
        """File name -> whether it is a link, of a folder below the root."""
        if folder not in self._folders:
            place = self.root / folder
            found: dict[str, bool] = {}
            if place.is_dir():
                if not self._inside(os.path.realpath(place)):
                    raise ValueError(f"is a link out of {self.root}: {place} leads to {os.path.realpath(place)}")
                with os.scandir(place) as entries:
                    found = {entry.name: entry.is_symlink() for entry in entries}
            self._folders[folder] = found
        return self._folders[folder]

    def _inside(self, real: str) -> bool:
        self._real = self._real or os.path.realpath(self.root)
        return real == self._real or real.startswith(self._real.rstrip("/") + "/")


def open_index(folder: Path, root: Path, split: str, key: str, prefix: str | None = None) -> FlowDataset:
    """The samples that a list names, below ``root``, sorted by name.

    Raises:
        DataError: an empty split, an index that is out of range or there twice, an entry that leaves the root, or
            files that are not there.
    """
    lists = read_index(folder, prefix)
    path = folder / f"FC2_{split}.txt"
    if not lists.splits[split]:
        raise DataError(f"{key}: {path} is empty: the index form has no {split} split; the official one is fc2:val")
    if beyond := lists.out_of_range(split):
        raise DataError(f"{key}: {path}: index {beyond[0]} is beyond the {len(lists.entries)} lines of {_NAMES}")
    if twice := lists.duplicates(split):
        raise DataError(f"{key}: {path}: {len(twice)} indices are there more than once, the first is {twice[0]}")
    disk = Disk(root, lists)
    samples: list[Sample] = []
    missing: list[Path] = []
    for index in lists.splits[split]:
        try:
            sample, lacking = disk.sample(index)
        except ValueError as error:
            raise DataError(f"{key}: {folder / _NAMES}:{index + 1}: {lists.entries[index]!r} {error}") from None
        samples.append(sample)
        missing += lacking
    _refuse_missing(missing, root, path, lists, key)
    if len({sample.name for sample in samples}) < len(samples):
        raise DataError(f"{key}: {folder / _NAMES}: names a sample of {path.name} twice; see `data check --index`")
    ordered = tuple(sorted(samples, key=lambda sample: sample.name))
    return FlowDataset(root, split, "index", ordered, name="fc2", note=f"by {path}")


def _refuse_missing(missing: Sequence[Path], root: Path, path: Path, lists: IndexLists, key: str) -> None:
    if missing:
        shown = "".join(f"\n  {file}" for file in missing[:5])
        more = f"\n  and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{key}: {len(missing)} files of {path} are not below {root} (the prefix {lists.prefix!r} is cut off its "
            f"entries):{shown}{more}\n`edgeflownas data check --index {path.parent} --root {root}` tells what is there"
        )
