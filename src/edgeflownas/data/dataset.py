"""A data set: which files make up each sample, how one is read, cached, and made into the arrays of a batch.

An image cache is one memory-mapped file for each data fingerprint, so that no epoch decodes a PNG twice:
``images-<fingerprint>.u8`` holds image 1 and image 2 of every sample, uint8 RGB, one after the other;
``images-<fingerprint>.json`` says where each begins and which files they were decoded from, and is renamed into place
last: without it the pixels do not count.  A cache whose sources have another size or time of modification than when
it was made is made again, also where the fingerprint (which sums only parts of large sets) is the same.

Every random choice (crop, flip, photometric jitter) is a function of (seed, epoch, draw position), never of a
generator's state, so a sample comes out the same whichever worker loads it.  Uniform numbers 0 and 1 of a draw place
the crop, 2 to 5 decide flips, brightness and contrast; all six are always drawn, so that switching one option on
leaves the others as they were.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, TypeVar, cast

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.data.augment import COLOURS, ERASER, SPATIAL, erase, saturate, scaled_crop
from edgeflownas.data.formats import image_size, is_kitti_flow, read_flow, read_image, read_kitti, read_mask
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import open_regular, replace_file
from edgeflownas.randomness import uniforms, words

Item = TypeVar("Item")
Result = TypeVar("Result")
Images = NDArray[np.uint8]
Flow = NDArray[np.float32]
Valid = NDArray[np.bool_]
Progress = Callable[[int, int], None]  # called with (done, total) now and then
Source = Literal["folder", "index", "generated"]
"""What says which samples there are: the names in a folder, a list file, or the generator that made them."""
ImagePair = tuple[Images, Images]  # image 1 and image 2 of a sample, [H,W,3] RGB
_CACHE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """The files of one sample; ``name`` is unique in its data set."""

    name: str
    image1: Path
    image2: Path
    flow: Path
    invalid: Path | None = None  # mask of pixels whose flow does not count (Sintel)
    occluded: Path | None = None  # mask of pixels of image 1 hidden in image 2, or KITTI's flow of those that are not

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files: the images, the flow, the masks."""
        masks = (path for path in (self.invalid, self.occluded) if path is not None)
        return self.image1, self.image2, self.flow, *masks


@dataclass(frozen=True, slots=True)
class FlowPair:
    """A decoded sample: images uint8 [H,W,3] RGB, flow float32 [H,W,2] (u right, v down, px), valid bool [H,W]."""

    image1: Images
    image2: Images
    flow: Flow
    valid: Valid
    occluded: Valid | None = None  # [H,W], where the pixel is not to be seen in image 2; None: the set does not tell


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
    parts: tuple[tuple[str, Path], ...] = ()  # of a mixture: what each set is called, and its folder

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sample names, in the order of the indices."""
        return tuple(sample.name for sample in self.samples)

    def read(self, index: int) -> FlowPair:
        """Decode one sample.  Raises BadSample: a file is of no use, or sizes differ; StorageError: the disk fails."""
        sample = self.samples[index]
        flow, valid = read_true_flow(sample)
        size = valid.shape
        if self.cache is None:
            images = read_image(sample.image1, size), read_image(sample.image2, size)
        elif (images := self.cache.read(index))[0].shape[:2] != size:
            raise BadSample(sample.flow, f"is {size[0]}x{size[1]}, its images are {images[0].shape[:2]}")
        return FlowPair(*images, flow, valid, _read_occluded(sample, valid))

    def with_cache(self, cache: ImageCache) -> FlowDataset:
        """The same samples with images from ``cache``."""
        return replace(self, cache=cache)

    def file_name(self, path: Path) -> str:
        """The name of one of its files, relative to the data set's folder: the same wherever that folder lies."""
        for label, folder in self.parts:
            if path.is_relative_to(folder):
                return f"{label}/{path.relative_to(folder).as_posix()}"
        return path.relative_to(self.directory).as_posix()


def read_true_flow(sample: Sample) -> tuple[Flow, Valid]:
    """Flow [H,W,2] and valid [H,W] of a sample, its mask of invalid pixels applied (0 there).  Raises BadSample."""
    flow, valid = read_flow(sample.flow)
    if sample.invalid is not None:
        valid &= ~read_mask(sample.invalid, valid.shape)
        flow[~valid] = 0.0
    return flow, valid


def _read_occluded(sample: Sample, valid: Valid) -> Valid | None:
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

    def read(self, index: int) -> ImagePair:
        """The images of a sample as read-only slices of the file.

        Raises BadSample: one could not be decoded (as without a cache).  StorageError: the file cannot be mapped.
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
        cls, dataset: FlowDataset, fingerprint_hash: str, cache_dir: str | Path, announce: Callable[[str], None]
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
                    stored = _make(dataset, wanted, folder, stem, announce)
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
        with contextlib.suppress(BadSample):  # no pixels: what is wrong is found out, and kept, when it is decoded
            for path in (sample.image1, sample.image2):
                with open_regular(path) as (_, status):
                    state += [status.st_size, status.st_mtime_ns]
            height, width = image_size(sample.image1)
        rows.append([sample.name, offset, height, width, *state])
        offset += 6 * height * width
    whole = {"version": _CACHE_VERSION, "fingerprint": fingerprint_hash, "bytes": offset}
    return {**whole, "samples": rows, "problems": {}}


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
    dataset: FlowDataset, sidecar: dict[str, Any], folder: Path, stem: str, announce: Callable[[str], None]
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
            for row, result in zip(sidecar["samples"], decoded, strict=True):
                if isinstance(result, BadSample):
                    problems[row[0]] = [dataset.file_name(Path(result.path)), result.problem]
                    announce(f"image cache: {result}")
                    file.write(bytes(6 * row[2] * row[3]))
                else:
                    file.writelines(image.data for image in result)
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


def _decode(sample: Sample) -> ImagePair | BadSample:
    try:
        image1 = read_image(sample.image1)
        return image1, read_image(sample.image2, image1.shape[:2])
    except BadSample as problem:
        return problem


# --- crops and augmentation ---


@dataclass(frozen=True)
class Window:
    """A crop, in pixels of the full image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class LoadedSample:
    """One sample as it enters a batch."""

    images: Images  # [H, W, 6]: image 1 RGB, then image 2 RGB
    flow: Flow  # [H, W, 2], pixels, u to the right and v down; a training sample's divided by data.flow_divisor
    valid: Valid  # [H, W]
    clipped_share: float  # share of the valid pixels with a component that data.flow_clip changed


def center_window(height: int, width: int, crop_height: int, crop_width: int, name: str = "image") -> Window:
    """The middle window (rounded up and to the left). DataError where the crop is larger than the image."""
    rows, columns = _spare(height, width, crop_height, crop_width, name)
    return Window(rows // 2, columns // 2, crop_height, crop_width)


def random_window(
    height: int, width: int, crop_height: int, crop_width: int, uniform: tuple[float, float], name: str = "image"
) -> Window:
    """The window chosen by two numbers in [0, 1), every place equally likely. DataError where it does not fit."""
    rows, columns = _spare(height, width, crop_height, crop_width, name)
    return Window(int(uniform[0] * (rows + 1)), int(uniform[1] * (columns + 1)), crop_height, crop_width)


def _spare(height: int, width: int, crop_height: int, crop_width: int, name: str) -> tuple[int, int]:
    """Rows and columns that a crop leaves out."""
    if crop_height > height or crop_width > width:
        raise DataError(
            f"{name}: data.crop_size {crop_height}x{crop_width} is larger than the images, {height}x{width} "
            "(height x width): choose a smaller data.crop_size"
        )
    return height - crop_height, width - crop_width


def crop(pair: FlowPair, window: Window) -> tuple[Images, Flow, Valid]:
    """The window of a pair: images [h, w, 6] (a copy), flow [h, w, 2] and valid [h, w] (views)."""
    at = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    images = cv2.merge([pair.image1[at], pair.image2[at]])  # five times faster than concatenate
    return cast(Images, images), pair.flow[at], pair.valid[at]


def clip_flow(flow: Flow, limit: float | None, valid: Valid | None = None) -> tuple[Flow, float]:
    """Flow with components limited to +-``limit`` px (None: as it is), and the share of valid pixels it changed."""
    if limit is None:
        return flow, 0.0
    outside = np.abs(flow) > limit
    beyond = outside[..., 0] | outside[..., 1]  # any(axis=2) of so short an axis takes twenty times as long
    if valid is not None:
        beyond &= valid
    total = beyond.size if valid is None else int(np.count_nonzero(valid))
    share = int(np.count_nonzero(beyond)) / total if total else 0.0
    return np.clip(flow, -limit, limit), share


def augment(
    images: Images,
    flow: Flow,
    valid: Valid,
    uniform: NDArray[np.float64],
    noise_words: NDArray[np.uint64] | None,
    data: DataConfig,
) -> tuple[Images, Flow, Valid]:
    """Flips and photometric jitter of a crop: contrast about the mean of both images, then brightness, then noise.

    Args:
        images: uint8 [h, w, 6], rounded back to it at the end.
        flow: [h, w, 2]; a flip mirrors the field and changes the sign of the component along it.
        valid: [h, w].
        uniform: four numbers in [0, 1): horizontal flip, vertical flip, brightness, contrast.
        noise_words: random words for data.noise_std, four pixels' values from each; None for no noise.
        data: probabilities and amplitudes.
    """
    if uniform[0] < data.horizontal_flip:
        images, flow, valid = images[:, ::-1], flow[:, ::-1] * np.array([-1, 1], np.float32), valid[:, ::-1]
    if uniform[1] < data.vertical_flip:
        images, flow, valid = images[::-1], flow[::-1] * np.array([1, -1], np.float32), valid[::-1]
    if not (data.brightness or data.contrast or data.noise_std):
        return images, flow, valid
    mean = images.sum(dtype=np.int64) / images.size
    offset = (2.0 * uniform[2] - 1.0) * data.brightness * 255.0
    factor = 1.0 + (2.0 * uniform[3] - 1.0) * data.contrast
    table = (np.arange(256) - mean) * factor + mean + offset  # one entry per grey level
    if noise_words is None:
        return np.take(_to_uint8(table), images), flow, valid
    numbers = noise_words.astype("<u8").view("<u2")[: images.size].reshape(images.shape)
    scaled = _normal_quantiles() * np.float32(data.noise_std * 255.0)
    noisy = np.take(table.astype(np.float32), images) + np.take(scaled, numbers)
    return _to_uint8(noisy), flow, valid


def load_training_sample(
    dataset: FlowDataset, index: int, epoch: int, position: int, data: DataConfig, seed: int
) -> LoadedSample:
    """Sample ``index`` as draw ``position`` of ``epoch`` sees it: random crop, augmentation, flow clip and divisor.

    Raises BadSample: a file cannot be used.  DataError: data.crop_size is larger than the images.
    """
    pair = dataset.read(index)
    uniform = uniforms(seed, "augment", epoch, position, count=6)
    place = (float(uniform[0]), float(uniform[1]))
    height, width = pair.valid.shape
    if data.eraser:
        erased = erase(pair.image2, uniforms(seed, "augment eraser", epoch, position, count=ERASER), data)
        pair = replace(pair, image2=erased)
    if data.scale_probability:
        images, flow, valid = scaled_crop(
            pair, place, uniforms(seed, "augment scale", epoch, position, count=SPATIAL), data
        )
    else:
        images, flow, valid = crop(pair, random_window(height, width, *data.crop_size, place, dataset.names[index]))
    if data.saturation or data.asymmetric_colour:
        images = saturate(images, uniforms(seed, "augment colours", epoch, position, count=COLOURS), data)
    noise = words(seed, "noise", epoch, position, count=-(-images.size // 4)) if data.noise_std else None
    images, flow, valid = augment(images, flow, valid, uniform[2:], noise, data)
    return _finish(images, flow, valid, data.flow_clip, data.flow_divisor)


def load_eval_sample(dataset: FlowDataset, index: int, window: Window, flow_clip: float | None) -> LoadedSample:
    """Sample ``index`` cut to a fixed window, nothing random, flow in pixels.  Raises BadSample; DataError (window)."""
    pair = dataset.read(index)
    height, width = pair.flow.shape[:2]
    if window.top + window.height > height or window.left + window.width > width:
        raise DataError(
            f"{dataset.names[index]}: window of {window.height}x{window.width} at row {window.top}, column "
            f"{window.left} lies outside the {height}x{width} images: the data is not what the window was made for"
        )
    return _finish(*crop(pair, window), flow_clip)


def _finish(images: Images, flow: Flow, valid: Valid, limit: float | None, divisor: float = 1.0) -> LoadedSample:
    flow, share = clip_flow(flow, limit, valid)
    if divisor != 1.0:
        flow = flow / np.float32(divisor)
    # Copies: a view would keep (or send to another process) the whole decoded image.
    return LoadedSample(np.ascontiguousarray(images), np.array(flow, order="C"), np.array(valid, order="C"), share)


def _to_uint8(values: NDArray[np.floating]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Standard normal quantiles of the middles of 65,536 equal parts, up to 4.3 sigma."""
    # A look-up is exact and the same everywhere, which sines and logarithms of a vector library are not.
    upper = np.array([NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)])
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)


# --- work in order by threads ---


def default_workers() -> int:
    """One thread per core this process may use, at most 8: decoding and checksums release the interpreter lock."""
    return min(8, len(os.sched_getaffinity(0)))


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    chunk: int = 1,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Results of ``function`` in the order of ``items``, which go to the threads ``chunk`` at a time.

    At most ``2 * workers`` chunks wait in memory.  The first exception is raised in its place, and what has not begun
    by then never does.  ``progress`` is called after each chunk.
    """
    results = map(function, items) if workers <= 1 else _by_threads(function, items, workers, chunk)
    for done, result in enumerate(results, start=1):
        yield result
        if progress is not None and (done % chunk == 0 or done == len(items)):
            progress(done, len(items))


def _by_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, chunk: int
) -> Iterator[Result]:
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="data") as pool:
        try:
            for start in range(0, len(items), chunk):
                waiting.append(pool.submit(lambda part: list(map(function, part)), items[start : start + chunk]))
                if len(waiting) >= 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
