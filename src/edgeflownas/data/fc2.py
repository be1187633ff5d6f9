"""FlyingChairs2 layout: one folder a split, three files a sample.

``NNNNNNN-img_0.png``, ``NNNNNNN-img_1.png`` (or both ``.ppm``) and ``NNNNNNN-flow_01.flo``; other files
(``-flow_10.flo``, occlusions, ...) are left alone.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Literal

from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.errors import BadSample, DataError, StorageError

__all__ = ["find_samples", "scan_fc2"]

PATTERN = "NNNNNNN-img_0.png, NNNNNNN-img_1.png (or .ppm), NNNNNNN-flow_01.flo"

_FILE = re.compile(r"([^.\n].*)-(img_0|img_1|flow_01)\.(png|ppm|flo)")
_METADATA = "dataset.json"
_METADATA_LIMIT = 2**20  # bytes; a description of a data set, not its content


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
