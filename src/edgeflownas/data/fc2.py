"""FlyingChairs2 layout: one folder a split, three files a sample.

``NNNNNNN-img_0.png``, ``NNNNNNN-img_1.png`` (or both ``.ppm``) and ``NNNNNNN-flow_01.flo``; other files
(``-flow_10.flo``, occlusions, ...) are left alone.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import read_flo, read_image
from edgeflownas.errors import BadSample, DataError, StorageError

if TYPE_CHECKING:
    from edgeflownas.data.cache import ImageCache

__all__ = ["FlowDataset", "FlowPair", "Sample", "find_samples", "scan_fc2"]

PATTERN = "NNNNNNN-img_0.png, NNNNNNN-img_1.png (or .ppm), NNNNNNN-flow_01.flo"

_FILE = re.compile(r"([^.\n].*)-(img_0|img_1|flow_01)\.(png|ppm|flo)")
_METADATA = "dataset.json"
_METADATA_LIMIT = 2**20  # bytes; a description of a data set, not its content


@dataclass(frozen=True, slots=True)
class Sample:
    """The three files of one sample; ``name`` is what their names start with."""

    name: str
    image1: Path
    image2: Path
    flow: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The three files, images first."""
        return self.image1, self.image2, self.flow


@dataclass(frozen=True, slots=True)
class FlowPair:
    """A decoded sample: images uint8 [H,W,3] RGB, flow float32 [H,W,2] (u right, v down, px), valid bool [H,W]."""

    image1: NDArray[np.uint8]
    image2: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class FlowDataset:
    """The samples of one split, sorted by name."""

    directory: Path
    split: str
    source: Literal["folder", "generated"]
    samples: tuple[Sample, ...]
    cache: ImageCache | None = None
    """Where decoded images come from instead of their files."""

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sample names, in the order of the indices."""
        return tuple(sample.name for sample in self.samples)

    def read(self, index: int) -> FlowPair:
        """Decode one sample.

        Raises:
            BadSample: one of its files cannot be used, or the three sizes differ.
            StorageError: a fault of the machine rather than of the file.
        """
        sample = self.samples[index]
        flow, valid = read_flo(sample.flow)
        size = (flow.shape[0], flow.shape[1])
        if self.cache is None:
            image1, image2 = read_image(sample.image1, size), read_image(sample.image2, size)
        else:
            image1, image2 = self.cache.read(index)
            if image1.shape[:2] != size:
                raise BadSample(sample.flow, f"is {size[0]}x{size[1]}, its images are {image1.shape[:2]}")
        return FlowPair(image1, image2, flow, valid)

    def with_cache(self, cache: ImageCache) -> FlowDataset:
        """The same samples with images from ``cache``."""
        return replace(self, cache=cache)


def scan_fc2(directory: str | Path, split: str, key: str = "data.train_dir") -> FlowDataset:
    """The samples in a folder; file names only, nothing is opened.

    Args:
        directory: the folder of one split.
        split: ``train`` or ``val``.
        key: the configuration key that named the folder, for messages.

    Raises:
        DataError: no such folder, no sample in it, or a sample that lacks a file.
    """
    folder = Path(directory)
    samples, problems = find_samples(folder, key)
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:5])
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(
            f"{key}: {len(problems)} incomplete samples in {folder} (expected {PATTERN}):{shown}{more}\n"
            "Copy the missing files, or remove the other files of these samples."
        )
    if not samples:
        raise DataError(
            f"{key}: no samples in {folder}: expected files {PATTERN}; found {_first_names(folder)}. "
            f"Set {key} to the folder that holds them, or make a set with `edgeflownas data synth`."
        )
    return FlowDataset(folder, split, _source(folder), samples)


def find_samples(folder: Path, key: str) -> tuple[tuple[Sample, ...], list[BadSample]]:
    """(complete samples sorted by name, one problem for each file that is missing or there twice).

    Raises:
        DataError: the folder is missing or is not a folder.
        StorageError: it cannot be listed.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
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
    for name in sorted(groups):
        found = [groups[name][part] for part in ("img_0", "img_1", "flow_01")]
        if all(len(files) == 1 for files in found):
            samples.append(Sample(name, *(folder / files[0] for files in found)))
            continue
        for part, files in zip(("img_0.png", "img_1.png", "flow_01.flo"), found, strict=True):
            if not files:
                problems.append(BadSample(folder / f"{name}-{part}", "is missing, other files of the sample are there"))
            if len(files) > 1:
                problems.append(BadSample(folder / f"{name}-{part}", f"is there twice: {', '.join(sorted(files))}"))
    return tuple(samples), problems


def _first_names(folder: Path) -> str:
    names = sorted(os.listdir(folder))
    if not names:
        return "an empty folder"
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _source(folder: Path) -> Literal["folder", "generated"]:
    """``generated`` where the set's own metadata, in the folder or the one above it, says so."""
    for path in (folder / _METADATA, folder.resolve().parent / _METADATA):
        try:
            with open(path, encoding="utf-8") as file:
                content = json.loads(file.read(_METADATA_LIMIT))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read ({error}); mend it, or remove it if it is none of ours") from None
        if isinstance(content, dict) and content.get("generated") is True:
            return "generated"
    return "folder"
