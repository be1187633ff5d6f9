"""A data set in memory: which files make up each sample, and how one is read; its decoded images on disk.

An image cache is one memory-mapped file for each data fingerprint, so that no epoch decodes a PNG twice:
``images-<fingerprint>.u8`` holds image 1 and image 2 of every sample, uint8 RGB, one after the other;
``images-<fingerprint>.json`` says where each begins and which files they were decoded from, and is renamed into place
last: without it the pixels do not count.  A cache whose sources have another size or time of modification than when
it was made is made again, also where the fingerprint (which sums only parts of large sets) is the same.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from edgeflownas.data.formats import is_kitti_flow, read_flow, read_kitti
from edgeflownas.data.images import image_size, read_image, read_mask
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import BadSample, StorageError
from edgeflownas.files import open_regular, replace_file

Source = Literal["folder", "index", "generated"]
"""What says which samples there are: the names in a folder, a list file, or the generator that made them."""
Images = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # image 1 and image 2 of a sample, [H,W,3] RGB
_CACHE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The files of one sample; ``name`` is unique in its data set."""

    name: str
    image1: Path
    image2: Path
    flow: Path
    invalid: Path | None = None  # mask of pixels whose flow does not count (Sintel)
    occluded: Path | None = None
    """Mask of pixels of image 1 that are hidden in image 2, or KITTI's flow of the pixels that are not."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files: the images, the flow, the masks."""
        masks = (path for path in (self.invalid, self.occluded) if path is not None)
        return self.image1, self.image2, self.flow, *masks


@dataclass(frozen=True, slots=True)
class FlowPair:
    """A decoded sample: images uint8 [H,W,3] RGB, flow float32 [H,W,2] (u right, v down, px), valid bool [H,W]."""

    image1: NDArray[np.uint8]
    image2: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    occluded: NDArray[np.bool_] | None = None
    """[H,W], True where the pixel of image 1 is not to be seen in image 2; None where the set does not tell."""


@dataclass(frozen=True)
class FlowDataset:
    """The samples of one split, sorted by name."""

    directory: Path  # the folder that the names of its files are relative to
    split: str
    source: Source
    samples: tuple[Sample, ...]
    cache: ImageCache | None = None  # where decoded images come from instead of their files
    name: str = "fc2"  # the data set (data/sets.py); a folder given by its path has the layout, and the name, fc2
    note: str = ""  # what the user should know of how the samples were chosen, e.g. by an exclusion list

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sample names, in the order of the indices."""
        return tuple(sample.name for sample in self.samples)

    def read(self, index: int) -> FlowPair:
        """Decode one sample.

        Raises BadSample: one of its files cannot be used, or their sizes differ.
        Raises StorageError: a fault of the machine rather than of the file.
        """
        sample = self.samples[index]
        flow, valid = read_true_flow(sample)
        size = (flow.shape[0], flow.shape[1])
        if self.cache is None:
            image1, image2 = read_image(sample.image1, size), read_image(sample.image2, size)
        else:
            image1, image2 = self.cache.read(index)
            if image1.shape[:2] != size:
                raise BadSample(sample.flow, f"is {size[0]}x{size[1]}, its images are {image1.shape[:2]}")
        return FlowPair(image1, image2, flow, valid, _read_occluded(sample, valid))

    def with_cache(self, cache: ImageCache) -> FlowDataset:
        """The same samples with images from ``cache``."""
        return replace(self, cache=cache)

    def file_name(self, path: Path) -> str:
        """The name of one of its files, relative to the data set's folder: the same wherever that folder lies."""
        return path.relative_to(self.directory).as_posix()


def read_true_flow(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow [H,W,2] and valid [H,W] of a sample, its mask of invalid pixels applied (the flow is 0 there).

    Raises BadSample: the flow or the mask cannot be used.
    """
    flow, valid = read_flow(sample.flow)
    if sample.invalid is not None:
        valid &= ~read_mask(sample.invalid, valid.shape)
        flow[~valid] = 0.0
    return flow, valid


def _read_occluded(sample: Sample, valid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The mask of hidden pixels [H,W], or None where the sample has none.

    KITTI has no mask but two flows: of all pixels (``flow_occ``) and of those that stay in sight (``flow_noc``); a
    pixel known in the first alone is hidden.
    """
    if sample.occluded is None:
        return None
    if not is_kitti_flow(sample.occluded):
        return read_mask(sample.occluded, valid.shape)
    _, in_sight = read_kitti(sample.occluded)
    if in_sight.shape != valid.shape:
        raise BadSample(sample.occluded, f"is {in_sight.shape}, the flow is {valid.shape} (height x width)")
    return valid & ~in_sight


# --- decoded images on disk ---


class ImageCache:
    """Images of a data set, by sample index."""

    def __init__(self, path: Path, directory: Path, sidecar: dict[str, Any]) -> None:
        self.path = path
        self._directory = directory
        self._samples: list[list[Any]] = sidecar["samples"]
        self._problems: dict[str, list[str]] = sidecar["problems"]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Images:
        """The images of a sample as read-only slices of the file.

        Raises BadSample: an image could not be decoded when the cache was made; the same as without a cache.
        Raises StorageError: the file is gone or cannot be mapped.
        """
        name, offset, height, width = self._samples[index][:4]
        if name in self._problems:
            file, problem = self._problems[name]
            raise BadSample(self._directory / file, problem)
        both = self._pixels[offset : offset + 6 * height * width].reshape(2, height, width, 3)
        return both[0], both[1]

    @cached_property
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

        Raises StorageError: the folder cannot be written or has too little space (``data.cache_dir``).
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
        except StorageError:  # said already
            raise
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
    content = {"fingerprint": fingerprint_hash, "bytes": offset, "samples": rows, "problems": {}}
    return {"version": _CACHE_VERSION, **content}


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


def _decode(sample: Sample) -> Images | BadSample:
    try:
        image1 = read_image(sample.image1)
        return image1, read_image(sample.image2, (image1.shape[0], image1.shape[1]))
    except BadSample as problem:
        return problem
