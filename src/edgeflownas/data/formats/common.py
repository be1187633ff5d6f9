"""What all formats share: the largest size that is believed, and what a flow's values may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike

__all__ = ["MAX_PIXELS", "MAX_SIDE", "UNKNOWN_ABOVE", "check_flow", "check_length", "check_size", "known_flow"]

MAX_SIDE = 16384
MAX_PIXELS = 2**27
UNKNOWN_ABOVE = 1e9
"""A flow component beyond this means that the flow is not known (Middlebury's convention)."""


def check_size(path: PathLike, height: int, width: int) -> None:
    """Raise BadSample for dimensions that no sample has."""
    if not _plausible(height, width):
        raise BadSample(
            path, f"claims {height}x{width} pixels, expected 1 to {MAX_SIDE} a side and at most 2^27 in all"
        )


def check_length(path: PathLike, length: int, expected: int, what: str) -> None:
    """Raise BadSample where a file is not exactly as long as its header says."""
    if length != expected:
        fault = "cut off" if length < expected else "too long"
        raise BadSample(path, f"is {fault}: {length} bytes, {what} takes exactly {expected}")


def known_flow(path: PathLike, flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a flow [H,W,2] just read is known; it is set to 0 elsewhere.

    Raises:
        BadSample: NaN or infinity, which are no way of saying unknown.
    """
    valid: NDArray[np.bool_] = np.ones(flow.shape[:2], dtype=np.bool_)
    largest = max(float(flow.max()), -float(flow.min()))  # NaN stays NaN in both
    if not np.isfinite(largest):
        row, column, _ = np.argwhere(~np.isfinite(flow))[0]
        raise BadSample(path, f"holds a flow that is not finite, first at row {row}, column {column}")
    if largest > UNKNOWN_ABOVE:
        valid = np.all(np.abs(flow) <= UNKNOWN_ABOVE, axis=-1)
        flow[~valid] = 0.0
    return valid


def check_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The validity of a flow that is to be written (None: every pixel is valid).

    Raises:
        ValueError: shapes that do not fit, or a valid flow that is not finite or is beyond +-1e9 px.
    """
    if flow.ndim != 3 or flow.shape[2] != 2 or not _plausible(flow.shape[0], flow.shape[1]):
        raise ValueError(f"{path}: flow must have shape [H,W,2] within {MAX_SIDE} a side, got {flow.shape}")
    if valid is None:
        valid = np.ones(flow.shape[:2], dtype=np.bool_)
    if valid.shape != flow.shape[:2] or valid.dtype != np.bool_:
        raise ValueError(f"{path}: valid must be bool {list(flow.shape[:2])}, got {valid.dtype} {list(valid.shape)}")
    if not (np.abs(flow[valid]) <= UNKNOWN_ABOVE).all():
        raise ValueError(f"{path}: a valid flow is not finite or is beyond +-1e9 px; mark such pixels invalid")
    return valid


def _plausible(height: int, width: int) -> bool:
    return 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS
