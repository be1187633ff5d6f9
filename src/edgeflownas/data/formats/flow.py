"""Flow files of any format, chosen by suffix."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.flo import flo_size, read_flo, write_flo
from edgeflownas.data.formats.flo5 import flo5_size, read_flo5
from edgeflownas.data.formats.kitti import kitti_size, read_kitti, write_kitti
from edgeflownas.data.formats.pfm import pfm_size, read_pfm_flow, write_pfm_flow
from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike

__all__ = ["FLOW_SUFFIXES", "flow_size", "read_flow", "write_flow"]

_SIZES = {".flo": flo_size, ".pfm": pfm_size, ".png": kitti_size, ".flo5": flo5_size}
_READERS = {".flo": read_flo, ".pfm": read_pfm_flow, ".png": read_kitti, ".flo5": read_flo5}
_WRITERS = {".flo": write_flo, ".pfm": write_pfm_flow, ".png": write_kitti}
FLOW_SUFFIXES = tuple(_READERS)


def flow_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of the images a flow belongs to, from its header, its length checked.

    Raises:
        BadSample: a suffix that is no flow's, or a faulty file.  DataError: .flo5 without h5py.
    """
    return _SIZES[_suffix(path)](path)


def read_flow(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown) and valid bool [H,W].

    Raises:
        BadSample: a suffix that is no flow's, or a faulty file.  DataError: .flo5 without h5py.
    """
    return _READERS[_suffix(path)](path)


def write_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write a flow as .flo, .pfm or KITTI .png.

    Raises:
        ValueError: another suffix, shapes that do not fit, or values the format cannot hold.
        StorageError: the file cannot be written.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in _WRITERS:
        raise ValueError(f"{path}: flow is written as {', '.join(_WRITERS)}, not {suffix or 'without a suffix'}")
    _WRITERS[suffix](path, flow, valid)


def _suffix(path: PathLike) -> str:
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in _READERS:
        raise BadSample(path, f"is no flow file by its suffix {suffix!r}, expected {', '.join(_READERS)}")
    return suffix
