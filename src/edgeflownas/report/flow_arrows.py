"""Flow as arrows on the first image: where things go, readable without a colour wheel."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.flow_color import UNKNOWN, flow_to_color

ACROSS = 24  # arrows along the longer side
CLOSEST = 16  # px between arrows; closer ones could not be told apart
SMALLEST_PICTURE = 480  # px of the longer side; smaller images are magnified by a whole factor
STILL = 1.0  # px on the picture; shorter arrows are drawn as a dot
TIP = 0.3  # of an arrow's length
FONT = cv2.FONT_HERSHEY_SIMPLEX


def arrow_spacing(height: int, width: int) -> int:
    """Pixels between arrows on a picture of this size."""
    return max(CLOSEST, round(max(height, width) / ACROSS))


def arrow_scale(lengths: NDArray[np.floating], spacing: float) -> float:
    """How many times longer than the motion arrows are drawn: 1, 2 or 5 times a power of ten.

    The largest that keeps the longer arrows (95th percentile) within 1.2 spacings; 1 where nothing moves.
    """
    long = float(np.percentile(lengths, 95)) if lengths.size else 0.0
    if long < 1e-6:
        return 1.0
    wanted = 1.2 * spacing / long
    power = 10.0 ** math.floor(math.log10(wanted))
    return max(factor * power for factor in (1.0, 2.0, 5.0) if factor * power <= wanted * (1 + 1e-9))


def flow_arrows(
    image1: NDArray[np.uint8],
    flow: NDArray[np.floating],
    valid: NDArray[np.bool_] | None = None,
    scale: float | None = None,
) -> NDArray[np.uint8]:
    """Image 1, dimmed and gray, under arrows in the colours of their directions; a line says how long they are drawn.

    Args:
        image1: uint8 [H, W, 3], RGB.
        flow: [H, W, 2], u to the right and v down, px.
        valid: [H, W]; no arrow starts where it is False or the flow is not finite.
        scale: arrow length over motion on the picture; None chooses by :func:`arrow_scale`.

    Returns:
        uint8 RGB picture of the size of the image, or a whole multiple of it.
    """
    height, width = image1.shape[:2]
    assert flow.shape == (height, width, 2)
    zoom = max(1, -(-SMALLEST_PICTURE // max(height, width)))
    spacing = arrow_spacing(height * zoom, width * zoom)
    known: NDArray[np.bool_] = (np.abs(flow) < UNKNOWN).all(-1)  # False for NaN as well
    if valid is not None:
        known &= valid
    lengths = np.where(known, np.hypot(flow[..., 0], flow[..., 1]), 0.0)
    rows, columns = _starts(height, spacing / zoom), _starts(width, spacing / zoom)
    grid = np.ix_(rows.astype(np.int64), columns.astype(np.int64))
    times = arrow_scale(lengths[grid][known[grid]] * zoom, spacing) if scale is None else scale
    gray = cv2.cvtColor(image1.repeat(zoom, axis=0).repeat(zoom, axis=1), cv2.COLOR_RGB2GRAY)
    dimmed = cv2.cvtColor(cv2.convertScaleAbs(gray, alpha=0.5, beta=70), cv2.COLOR_GRAY2RGB)
    picture: NDArray[np.uint8] = np.ascontiguousarray(dimmed, dtype=np.uint8)
    for row, column in np.argwhere(known[grid]):
        start = (columns[column] * zoom, rows[row] * zoom)
        _arrow(picture, start, np.asarray(flow[grid][row, column], np.float64) * zoom * times)
    _label(picture, f"arrows {times:g} x motion, longest motion {lengths.max():.1f} px")
    return picture


def _starts(size: int, spacing: float) -> NDArray[np.float64]:
    """Evenly spaced places with equal margins; at least one."""
    count = max(1, int(size / spacing))
    return (np.arange(count) + 0.5) * size / count


def _arrow(picture: NDArray[np.uint8], start: tuple[float, float], vector: NDArray[np.float64]) -> None:
    """A coloured arrow with a dark rim, cut off where it would leave far beyond the picture; sixteenths of a pixel."""
    length = float(np.hypot(*vector))
    shift, reach = 16, 4.0 * max(picture.shape)
    if length > reach:
        vector, length = vector * (reach / length), reach
    begin = tuple(round(value * shift) for value in start)
    end = tuple(round((value + step) * shift) for value, step in zip(start, vector.tolist(), strict=True))
    thickness = max(1, max(picture.shape) // 800)
    if length < STILL:
        for radius, colour in ((thickness + 1, (0, 0, 0)), (thickness, (255, 255, 255))):
            cv2.circle(picture, begin, radius * shift, colour, -1, cv2.LINE_AA, 4)
        return
    direction = (vector / length).astype(np.float32)[None, None]
    red, green, blue = map(int, flow_to_color(direction, 1.0)[0, 0])
    for width, colour in ((thickness + 2, (0, 0, 0)), (thickness, (red, green, blue))):
        cv2.arrowedLine(picture, begin, end, colour, width, cv2.LINE_AA, 4, TIP)


def _label(picture: NDArray[np.uint8], text: str) -> None:
    size = 0.45 * max(1.0, max(picture.shape) / 1000)
    while size > 0.25 and cv2.getTextSize(text, FONT, size, 1)[0][0] > picture.shape[1] - 8:
        size -= 0.025
    (width, height), below = cv2.getTextSize(text, FONT, size, 1)
    picture[: height + below + 6, : width + 8] = picture[: height + below + 6, : width + 8] // 4
    cv2.putText(picture, text, (4, height + 4), FONT, size, (255, 255, 255), 1, cv2.LINE_AA)
