"""A data set in memory: which files make up each sample, and how one is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import is_kitti_flow, read_flow, read_kitti
from edgeflownas.data.images import read_image, read_mask
from edgeflownas.errors import BadSample

Source = Literal["folder", "index", "generated"]
"""What says which samples there are: the names in a folder, a list file, or the generator that made them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The files of one sample; ``name`` is unique in its data set."""

    name: str
    image1: Path
    image2: Path
    flow: Path
    invalid: Path | None = None
    """Mask of pixels whose flow does not count (Sintel)."""
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


class Images(Protocol):
    """Where decoded images come from instead of their files (data/cache.py)."""

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...  # noqa: D102


@dataclass(frozen=True)
class FlowDataset:
    """The samples of one split, sorted by name."""

    directory: Path
    """The folder that the names of its files are relative to."""
    split: str
    source: Source
    samples: tuple[Sample, ...]
    cache: Images | None = None
    """Where decoded images come from instead of their files."""
    name: str = "fc2"
    """The data set (data/sets.py); a folder given by its path has the layout, and the name, fc2."""
    note: str = ""
    """What the user should know of how the samples were chosen, e.g. by an exclusion list."""

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sample names, in the order of the indices."""
        return tuple(sample.name for sample in self.samples)

    def read(self, index: int) -> FlowPair:
        """Decode one sample.

        Raises:
            BadSample: one of its files cannot be used, or their sizes differ.
            StorageError: a fault of the machine rather than of the file.
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

    def with_cache(self, cache: Images) -> FlowDataset:
        """The same samples with images from ``cache``."""
        return replace(self, cache=cache)

    def file_name(self, path: Path) -> str:
        """The name of one of its files, relative to the data set's folder: the same wherever that folder lies."""
        return path.relative_to(self.directory).as_posix()


def read_true_flow(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow [H,W,2] and valid [H,W] of a sample, its mask of invalid pixels applied (the flow is 0 there).

    Raises:
        BadSample: the flow or the mask cannot be used.
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
