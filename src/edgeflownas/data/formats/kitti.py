"""KITTI's flow: a 16-bit RGB PNG with u = (R - 2^15) / 64, v = (G - 2^15) / 64, and B not 0 where the flow is known.

Steps of 1/64 px, from -512 to 511.98 px.  KITTI 2012 and 2015 and HD1K use it.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_flow
from edgeflownas.data.formats.png import RGB16, decode_png, png_header
from edgeflownas.files import PathLike, open_regular, replace_file

__all__ = ["is_kitti_flow", "kitti_size", "read_kitti", "write_kitti"]

_ZERO = 2**15
_STEPS = np.float32(64.0)  # a pixel
_KIND = "16-bit RGB (a KITTI flow)"


def kitti_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of a KITTI flow from its header; its pixels are not decoded.

    Raises:
        BadSample: another kind of file, absurd dimensions, or a file that is cut off or has bytes to spare.
    """
    with open_regular(path) as (descriptor, status):
        return png_header(path, descriptor, status.st_size, (RGB16,), _KIND)[:2]


def is_kitti_flow(path: PathLike) -> bool:
    """Whether a file says that it is a 16-bit RGB PNG.  Raises BadSample where it cannot be opened."""
    with open_regular(path) as (descriptor, _):
        return tuple(os.pread(descriptor, 26, 0)[24:26]) == RGB16


def read_kitti(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown) and valid bool [H,W].

    Raises:
        BadSample: as :func:`kitti_size`, a damaged chunk, or pixels that do not decode.
    """
    with open_regular(path) as (descriptor, status):
        header = png_header(path, descriptor, status.st_size, (RGB16,), _KIND)
        pixels = decode_png(path, descriptor, status.st_size, header)
    valid: NDArray[np.bool_] = pixels[..., 2] != 0
    flow = (pixels[..., :2].astype(np.float32) - np.float32(_ZERO)) / _STEPS
    flow[~valid] = 0.0
    return flow, valid


def write_kitti(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2], rounded to 1/64 px; pixels where ``valid`` is False are all zero, as in KITTI's own files.

    Raises:
        ValueError: shapes that do not fit, or a valid flow outside -512 to 511.98 px.
        StorageError: the file cannot be written.
    """
    import cv2

    valid = check_flow(path, flow, valid)
    steps = np.rint(np.where(valid[..., None], flow, 0).astype(np.float64) * 64.0) + _ZERO
    if steps.min() < 0 or steps.max() > 65535:
        raise ValueError(f"{path}: a valid flow is outside -512 to 511.98 px, which a KITTI .png cannot hold")
    stored = np.zeros((*valid.shape, 3), np.uint16)  # OpenCV's order: valid, v, u
    stored[..., 0] = valid
    stored[..., 1] = np.where(valid, steps[..., 1], 0)
    stored[..., 2] = np.where(valid, steps[..., 0], 0)
    done, content = cv2.imencode(".png", stored)
    assert done, "OpenCV cannot encode PNG"
    replace_file(path, [content.tobytes()])
