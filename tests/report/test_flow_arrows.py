"""Arrows: where they start, how long and in what colour they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.report.flow_arrows import SMALLEST_PICTURE, arrow_scale, arrow_spacing, flow_arrows


def constant(height: int, width: int, u: float, v: float) -> np.ndarray:
    return np.broadcast_to(np.array([u, v], np.float32), (height, width, 2)).copy()


def coloured(picture: np.ndarray) -> np.ndarray:
    """Pixels that are not gray: arrows."""
    return np.ptp(picture.astype(int), axis=-1) > 60


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(4.0, 200.0))
def test_the_scale_is_the_largest_round_one_that_fits(length: float, spacing: float) -> None:
    scale = arrow_scale(np.full(50, length), spacing)
    mantissa = scale / 10.0 ** np.floor(np.log10(scale) + 1e-9)
    assert min(abs(mantissa - wanted) for wanted in (1.0, 2.0, 5.0)) < 1e-6
    assert scale * length <= 1.2 * spacing * (1 + 1e-6) < 2.5 * (1 + 1e-6) * scale * length


def test_nothing_moves() -> None:
    assert arrow_scale(np.zeros(4), 20.0) == 1.0 == arrow_scale(np.zeros(0), 20.0)
    picture = flow_arrows(np.zeros((500, 600, 3), np.uint8), np.zeros((500, 600, 2)))
    assert not coloured(picture).any() and (picture == 255).any()  # dots


def test_an_arrow_points_to_where_things_go() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    spacing = arrow_spacing(480, 480)
    one = constant(480, 480, 0, 0)
    valid = np.zeros((480, 480), np.bool_)
    row = column = round(spacing * 10.5)
    valid[row, column] = True
    one[row, column] = (90.0, 0.0)
    right = coloured(flow_arrows(image, one, valid, scale=1.0))
    rows, columns = np.nonzero(right)
    assert columns.min() >= column - 4 and columns.max() == pytest.approx(column + 90, abs=4)
    assert rows.mean() == pytest.approx(row, abs=2)
    one[row, column] = (0.0, 90.0)
    rows, _ = np.nonzero(coloured(flow_arrows(image, one, valid, scale=1.0)))
    assert rows.max() == pytest.approx(row + 90, abs=4) and rows.min() >= row - 4


def test_opposite_motions_have_different_colours() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    pictures = [flow_arrows(image, constant(480, 480, u, 0.0)) for u in (5.0, -5.0)]
    colours = [picture[coloured(picture)].mean(axis=0) for picture in pictures]
    assert colours[0][0] > 2 * colours[0][2] and colours[1][2] > 2 * colours[1][0]  # red to the right, cyan to the left


def test_small_images_are_magnified_by_a_whole_factor_and_large_ones_left() -> None:
    for height, width in ((40, 56), (1, 1), (480, 640)):
        picture = flow_arrows(np.zeros((height, width, 3), np.uint8), constant(height, width, 1, 1))
        zoom = picture.shape[0] // height
        assert picture.shape == (height * zoom, width * zoom, 3) and max(picture.shape) >= SMALLEST_PICTURE


def test_unknown_and_absurd_vectors_draw_nothing_and_break_nothing() -> None:
    flow = constant(480, 480, 5, 0)
    flow[:240] = np.nan
    flow[240:300] = 1.7e9
    picture = flow_arrows(np.zeros((480, 480, 3), np.uint8), flow)
    assert not coloured(picture)[40:295].any() and coloured(picture)[305:].any()
    flow_arrows(np.zeros((480, 480, 3), np.uint8), constant(480, 480, 9e8, -9e8), scale=1.0)
