"""Spring's .flo5: an HDF5 file with one data set ``flow`` at twice the size of the images; NaN marks unknown flow.

Values are pixels of the images, so every second one of each axis is the flow on the image's grid.  Needs h5py
(``pip install "edgeflownas[spring]"``), which nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_size, known_flow
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import PathLike, open_regular

__all__ = ["flo5_size", "read_flo5"]


def flo5_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of the images that a .flo5 file belongs to, from its header.

    Raises:
        BadSample: no HDF5 file, or none with a plausible flow.  DataError: h5py is not installed.
    """
    with _opened(path) as stored:
        return (int(stored.shape[0]) + 1) // 2, (int(stored.shape[1]) + 1) // 2


def read_flo5(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow [H,W,2] on the grid of the images, and valid [H,W].

    Raises:
        BadSample: as :func:`flo5_size`, or an infinite value.  DataError: h5py is not installed.
    """
    with _opened(path) as stored:
        whole = np.asarray(stored[...], dtype=np.float32)
    flow = np.ascontiguousarray(whole[::2, ::2])
    unknown = np.isnan(flow).any(axis=2)
    flow[unknown] = 0.0
    return flow, known_flow(path, flow) & ~unknown


@contextmanager
def _opened(path: PathLike) -> Iterator[Any]:
    """The data set ``flow``, its kind, size and stored length checked."""
    try:
        import h5py
    except ImportError:
        raise DataError(
            f"{path}: reading .flo5 (Spring) needs h5py, which is not installed: pip install 'edgeflownas[spring]'"
        ) from None
    with open_regular(path) as (_, status):
        length = status.st_size
    try:
        with h5py.File(path, "r") as file:
            stored = file.get("flow")
            _check(path, stored, length)
            yield stored
    except OSError as error:
        if error.errno:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        raise BadSample(path, f"cannot be read as HDF5: {error}") from None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BadSample(path, f"cannot be read as HDF5: {error}") from None


def _check(path: PathLike, stored: Any, length: int) -> None:
    shape = getattr(stored, "shape", None)
    if shape is None or len(shape) != 3 or shape[2] != 2 or stored.dtype.kind != "f":
        raise BadSample(path, "holds no data set 'flow' of shape [2H,2W,2] and floating-point values")
    check_size(path, int(shape[0]), int(shape[1]))
    if shape[0] * shape[1] * 8 > 1100 * length:  # deflate packs at most 1032 to 1
        raise BadSample(path, f"is {length} bytes long, which no {shape[0]}x{shape[1]} flow can be")
