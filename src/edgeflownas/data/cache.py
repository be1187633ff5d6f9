"""Decoded images on disk: one memory-mapped file for each data fingerprint, so that no epoch decodes a PNG twice.

``images-<fingerprint>.u8`` holds image 1 and image 2 of every sample, uint8 RGB, one after the other;
``images-<fingerprint>.json`` says where each begins and which files they were decoded from, and is renamed into place
last: without it the pixels do not count.  A cache whose sources have another size or time of modification than when
it was made is made again, also where the fingerprint (which sums only parts of large sets) is the same.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.data.images import image_size, read_image
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import BadSample, StorageError
from edgeflownas.files import open_regular, replace_file

_VERSION = 1


class ImageCache:
    """Images of a data set, by sample index."""

    def __init__(self, path: Path, directory: Path, sidecar: dict[str, Any]) -> None:
        self.path = path
        self._directory = directory
        self._samples: list[list[Any]] = sidecar["samples"]
        self._problems: dict[str, list[str]] = sidecar["problems"]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(image 1, image 2) of a sample as read-only slices [H,W,3] of the file.

        Raises:
            BadSample: an image could not be decoded when the cache was made; the same as without a cache.
            StorageError: the file is gone or cannot be mapped.
        """
        name, offset, height, width = self._samples[index][:4]
        if name in self._problems:
            file, problem = self._problems[name]
            raise BadSample(self._directory / file, problem)
        both = self._pixels[offset : offset + 6 * height * width].reshape(2, height, width, 3)
        return both[0], both[1]

    @functools.cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path}: the image cache cannot be opened: {error}") from error

    @classmethod
    def open_or_create(
        cls,
        dataset: FlowDataset,
        fingerprint_hash: str,
        cache_dir: str | Path,
        announce: Callable[[str], None],
        progress: Progress | None = None,
    ) -> ImageCache:
        """The cache of a data set, made first where there is none that fits; its size is announced before.

        A sample that cannot be decoded is announced and kept as bad: :meth:`read` refuses it as its file would be.
        A second process that wants the same cache waits for the first and then opens it.

        Raises:
            StorageError: the folder cannot be written or has too little space (``data.cache_dir``).
        """
        folder = Path(cache_dir)
        stem = f"images-{fingerprint_hash[:16]}"
        pixels = folder / f"{stem}.u8"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{stem}.lock"):
                wanted = _describe(dataset, fingerprint_hash)
                stored = _stored(folder / f"{stem}.json")
                fits = stored is not None and {**stored, "problems": {}} == wanted
                if not fits or not pixels.is_file() or pixels.stat().st_size != wanted["bytes"]:
                    if stored is not None:
                        announce(f"image cache {pixels}: its images changed or it is damaged; it is made again")
                    stored = _make(dataset, wanted, folder, stem, announce, progress)
        except OSError as error:
            raise StorageError(f"data.cache_dir: {folder} cannot be used: {error.strerror or error}") from error
        assert stored is not None
        return cls(pixels, dataset.directory, stored)


def _describe(dataset: FlowDataset, fingerprint_hash: str) -> dict[str, Any]:
    """The sidecar that belongs to a data set as it is now, as far as headers tell."""
    rows: list[list[Any]] = []
    offset = 0
    for sample in dataset.samples:
        height = width = 0
        state: list[Any] = []
        try:
            for path in (sample.image1, sample.image2):
                with open_regular(path) as (_, status):
                    state += [status.st_size, status.st_mtime_ns]
            height, width = image_size(sample.image1)
        except BadSample:
            pass  # a sample without pixels: what is wrong with it is found out, and kept, when it is decoded
        rows.append([sample.name, offset, height, width, *state])
        offset += 6 * height * width
    return {"version": _VERSION, "fingerprint": fingerprint_hash, "bytes": offset, "samples": rows, "problems": {}}


def _stored(path: Path) -> dict[str, Any] | None:
    """The sidecar on disk; None where there is none, empty where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return {}
    problems = content.get("problems") if isinstance(content, dict) else None
    sound = isinstance(problems, dict) and all(isinstance(p, list) and len(p) == 2 for p in problems.values())
    return content if sound else {}


def _make(
    dataset: FlowDataset,
    sidecar: dict[str, Any],
    folder: Path,
    stem: str,
    announce: Callable[[str], None],
    progress: Progress | None,
) -> dict[str, Any]:
    """Decode all images into the folder; gives the sidecar as stored."""
    for stale in [folder / f"{stem}.json", *folder.glob(f".{stem}.*.tmp")]:  # we hold the lock: nobody writes these
        stale.unlink(missing_ok=True)
    needed, free = sidecar["bytes"] / 2**20, shutil.disk_usage(folder).free / 2**20
    if free < needed:
        raise StorageError(
            f"data.cache_dir: {folder} has {free:.1f} MiB free, the image cache takes {needed:.1f} MiB; "
            "free some space, name another folder or set data.cache_dir to null"
        )
    announce(f"image cache {folder / stem}.u8: {needed:.1f} MiB for {len(dataset)} samples is being made")
    problems: dict[str, list[str]] = {}
    temporary = folder / f".{stem}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            decoded = in_order(_decode, dataset.samples, default_workers())
            for done, (row, result) in enumerate(zip(sidecar["samples"], decoded, strict=True), start=1):
                if isinstance(result, BadSample):
                    problems[row[0]] = [dataset.file_name(Path(result.path)), result.problem]
                    announce(f"image cache: {result}")
                    file.write(bytes(6 * row[2] * row[3]))
                else:
                    file.writelines(image.data for image in result)
                if progress is not None:
                    progress(done, len(dataset))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{stem}.u8")
    finally:
        temporary.unlink(missing_ok=True)
    if _describe(dataset, sidecar["fingerprint"]) != sidecar:
        raise StorageError(f"{dataset.directory}: its images changed while the image cache was made; start again")
    made = {**sidecar, "problems": problems}
    replace_file(folder / f"{stem}.json", [json.dumps(made).encode()], durable=True)
    return made


def _decode(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | BadSample:
    try:
        image1 = read_image(sample.image1)
        return image1, read_image(sample.image2, (image1.shape[0], image1.shape[1]))
    except BadSample as problem:
        return problem
