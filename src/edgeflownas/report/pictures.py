"""One picture that shows a prediction beside its truth: image | predicted flow | true flow | end-point error."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.flow_color import flow_to_color

STRIP = 22  # px of the label strip above every panel
GAP = 4  # px of white between panels
MIN_PANEL_WIDTH = 256  # smaller crops are magnified by a whole factor, or no label would be readable
FONT = cv2.FONT_HERSHEY_SIMPLEX


class Drawing(NamedTuple):
    """A drawn row of panels (uint8 RGB, see :func:`comparison`) and the text above each of them."""

    picture: NDArray[np.uint8]
    labels: tuple[str, ...]


def comparison(
    image1: NDArray[np.uint8],
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    valid: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Labelled row of four panels for one image pair.

    Both flows use the same colour scale (the longest valid true vector), so that equal colours are equal motions;
    predicted vectors longer than that are drawn darker.  Invalid pixels are black in truth and error.

    Args:
        image1: first image, uint8 [H, W, 3], RGB.
        predicted: flow [H, W, 2], px.
        true: flow [H, W, 2], px.
        valid: bool [H, W], where the truth is known.

    Returns:
        uint8 RGB picture, rows of height 22 + H x zoom.
    """
    return draw(image1, predicted, true, valid).picture


def draw(
    image1: NDArray[np.uint8],
    predicted: NDArray[np.floating],
    true: NDArray[np.floating],
    valid: NDArray[np.bool_],
) -> Drawing:
    """As :func:`comparison`, with the labels as text."""
    height, width = image1.shape[:2]
    assert predicted.shape == true.shape == (height, width, 2) and valid.shape == (height, width)
    scale = _color_scale(predicted, true, valid)
    error_picture, error_label = _error_panel(predicted, true, valid)
    panels = (
        (image1, "image 1"),
        (flow_to_color(predicted, scale), f"predicted flow, full colour = {scale:.1f} px"),
        (flow_to_color(true, scale, valid), f"true flow, full colour = {scale:.1f} px"),
        (error_picture, error_label),
    )
    zoom = -(-MIN_PANEL_WIDTH // width)
    gap = np.full((STRIP + zoom * height, GAP, 3), 255, np.uint8)
    row = [gap]
    for picture, label in panels:
        row += [_labelled(picture.repeat(zoom, axis=0).repeat(zoom, axis=1), label), gap]
    return Drawing(np.concatenate(row[1:-1], axis=1), tuple(label for _, label in panels))


def _color_scale(predicted: NDArray[np.floating], true: NDArray[np.floating], valid: NDArray[np.bool_]) -> float:
    """Longest valid true vector in px; of a motionless truth the longest predicted one, 1 where that is zero too."""
    for norms in (np.hypot(*np.moveaxis(true, -1, 0))[valid], np.hypot(*np.moveaxis(predicted, -1, 0))):
        longest = float(norms[np.isfinite(norms)].max(initial=0.0))
        if longest > 0.0:
            return longest
    return 1.0


def _error_panel(
    predicted: NDArray[np.floating], true: NDArray[np.floating], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], str]:
    """Euclidean error per pixel from black (0) to pale yellow (the largest), with mean and scale in the label."""
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged network predicts inf; that must not end a run
        error = np.linalg.norm(predicted.astype(np.float64) - true, axis=-1)
    known = valid & np.isfinite(error)
    largest = float(error[known].max(initial=0.0))
    mean = float(error[valid].mean()) if valid.any() else float("nan")
    share = np.where(known, error, 0.0) / (largest if largest > 0.0 else 1.0)
    heat = cv2.applyColorMap(np.round(255.0 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture = np.where(known[..., None], cv2.cvtColor(heat, cv2.COLOR_BGR2RGB), 0).astype(np.uint8)
    return picture, f"EPE: mean {mean:.2f} px, yellow = {largest:.1f} px"


def _labelled(picture: NDArray[np.uint8], label: str) -> NDArray[np.uint8]:
    """The picture below a white strip with its label, in letters small enough to fit."""
    width = picture.shape[1]
    strip = np.full((STRIP, width, 3), 255, np.uint8)
    size = 0.45
    while size > 0.2 and cv2.getTextSize(label, FONT, size, 1)[0][0] > width - 4:
        size -= 0.025
    cv2.putText(strip, label, (2, STRIP - 7), FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])
