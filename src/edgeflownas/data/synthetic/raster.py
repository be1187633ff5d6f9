"""Filling outlines: exact cover of pixel centres, and area coverage for anti-aliased edges.

Pixel (x, y) has its centre at the integer point (x, y) and covers half a pixel to each side, the same grid the flow
is given on.  Outlines are filled by non-zero winding: outer rings run one way, holes the other.  Crossings of the
edges with scan lines are accumulated as signed differences and summed along the row, as font rasterisers do
(five scan lines a pixel, exact in x); the middle scan line passes through the pixel centres and decides ownership.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patch", "area", "fill"]

Contour = NDArray[np.float64]
_LINES = 5
_MIDDLE = 2


@dataclass(frozen=True)
class Patch:
    """The part of an outline inside the frame.

    ``alpha`` float32 [h,w] is the covered share of each pixel, ``inside`` bool [h,w] whether its centre is covered;
    ``top`` and ``left`` place both in the image.
    """

    top: int
    left: int
    alpha: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the patch lies on."""
        height, width = self.inside.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def area(contour: Contour) -> float:
    """Signed area of a ring [V,2]; the sign is its direction of travel."""
    x, y = contour[:, 0], contour[:, 1]
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def fill(contours: list[Contour], height: int, width: int) -> Patch | None:
    """Fill closed rings [V,2] of (x, y) points on a height x width frame; None where nothing of them is in it."""
    points = np.concatenate(contours)
    left, top = np.maximum(np.floor(points.min(axis=0) + 0.5).astype(int), 0)
    right, bottom = np.minimum(np.floor(points.max(axis=0) + 0.5).astype(int) + 1, (width, height))
    if left >= right or top >= bottom:
        return None
    rows, columns = int(bottom - top), int(right - left)
    line, x, sign = _crossings(contours, float(top), rows)
    x = np.clip(x - (left - 0.5), 0.0, float(columns))  # pixel c of the patch now covers [c, c + 1)
    shape, stride = (rows, columns + 2), columns + 2
    cell = x.astype(np.int64)
    start = line // _LINES * stride + cell
    share = sign * (x - cell)
    size = rows * stride
    steps = np.bincount(start, sign - share, size) + np.bincount(start + 1, share, size)
    alpha = np.cumsum(steps.reshape(shape), axis=1)[:, :columns] * (1.0 / _LINES)
    middle = line % _LINES == _MIDDLE
    first = np.ceil(x[middle] - 0.5).astype(np.int64)
    centre = np.bincount(line[middle] // _LINES * stride + first, sign[middle], size).reshape(shape)
    inside = np.cumsum(centre, axis=1)[:, :columns] > 0.5
    return Patch(int(top), int(left), np.clip(alpha, 0.0, 1.0).astype(np.float32), inside)


def _crossings(
    contours: list[Contour], top: float, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Scan line number, x and winding sign of every crossing of an edge with a scan line of the patch."""
    begin = np.concatenate(contours)
    end = np.concatenate([np.roll(contour, -1, axis=0) for contour in contours])
    origin = top - _MIDDLE / _LINES
    down = end[:, 1] > begin[:, 1]
    low_y = np.minimum(begin[:, 1], end[:, 1])
    high_y = np.maximum(begin[:, 1], end[:, 1])
    # Half-open in y, so that two edges meeting on a scan line count once and horizontal edges not at all.
    low = np.clip(np.ceil((low_y - origin) * _LINES), 0, rows * _LINES).astype(np.int64)
    high = np.clip(np.ceil((high_y - origin) * _LINES), 0, rows * _LINES).astype(np.int64)
    count = high - low
    edge = np.repeat(np.arange(len(begin)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - low, count)
    rise = np.where(high_y > low_y, end[:, 1] - begin[:, 1], 1.0)
    slope = (end[:, 0] - begin[:, 0]) / rise
    y = origin + line / _LINES
    x = begin[edge, 0] + (y - begin[edge, 1]) * slope[edge]
    sign = np.where(down[edge], -1.0, 1.0)
    return line, x, sign
