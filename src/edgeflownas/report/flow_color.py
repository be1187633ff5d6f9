"""Optical flow as colour: the Middlebury colour wheel.

Direction is hue, length is saturation: right red, down yellow, left cyan, up violet, no motion white.  Follows Baker,
Scharstein, Lewis, Roth, Black, Szeliski: "A Database and Evaluation Methodology for Optical Flow" (IJCV 2011) and the
wheel of their published colour code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: (length, channel that moves, whether it rises) of the six arcs RY, YG, GC, CB, BM, MR; the lengths are chosen by eye.
ARCS = ((15, 1, True), (6, 0, False), (4, 2, True), (11, 1, False), (13, 0, True), (6, 2, False))
UNKNOWN = 1e9  # Middlebury: a component beyond this means "flow unknown"


def color_wheel() -> NDArray[np.float64]:
    """The 55 colours of the wheel, float64 [55, 3], RGB in 0..255 (whole numbers)."""
    wheel = []
    color = np.array([255.0, 0.0, 0.0])  # every arc starts where the one before it would have ended
    for length, channel, rising in ARCS:
        ramp = np.floor(255.0 * np.arange(length) / length)
        arc = np.tile(color, (length, 1))
        arc[:, channel] = ramp if rising else 255.0 - ramp
        wheel.append(arc)
        color[channel] = 255.0 if rising else 0.0
    return np.concatenate(wheel)


def flow_to_color(
    flow: NDArray[np.floating], max_norm: float | None = None, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Picture of a flow field.

    Args:
        flow: [H, W, 2], u to the right and v down, px.
        max_norm: length in px drawn in full saturation; longer vectors are drawn darker.  None: the longest known
            vector.  Give the same value for two fields that are to be compared.
        valid: [H, W]; False is drawn black, as are non-finite components and those beyond 1e9.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    vectors = np.asarray(flow, dtype=np.float64)
    known: NDArray[np.bool_] = np.all(np.abs(vectors) <= UNKNOWN, axis=-1)  # False for NaN as well
    if valid is not None:
        known &= valid
    vectors = np.where(known[..., None], vectors, 0.0) + 0.0  # + 0.0 turns -0.0 into 0.0, whose angle is another
    norm = np.hypot(vectors[..., 0], vectors[..., 1])
    scale = float(norm.max(initial=0.0)) if max_norm is None else max_norm
    radius = (norm / (scale if scale > 0.0 else 1.0))[..., None]

    wheel = color_wheel() / 255.0
    angle = np.arctan2(-vectors[..., 1], -vectors[..., 0]) / np.pi  # -1 (right) .. 0 (left) .. 1
    place = (angle + 1.0) / 2.0 * (len(wheel) - 1)
    below = np.floor(place).astype(np.int64)
    fraction = (place - below)[..., None]
    hue = (1.0 - fraction) * wheel[below] + fraction * wheel[(below + 1) % len(wheel)]
    color = np.where(radius <= 1.0, 1.0 - radius * (1.0 - hue), 0.75 * hue)
    color[~known] = 0.0
    return np.floor(255.0 * color).astype(np.uint8)
