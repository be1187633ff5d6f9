"""Pictures of flow: the colour wheel against the published one, arrows, and the four panels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.report.pictures import (
    ACROSS,
    GAP,
    SMALLEST_PICTURE,
    STRIP,
    arrow_scale,
    color_wheel,
    draw,
    flow_arrows,
    flow_to_color,
)

H, W = 40, 300


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The pictures of the six panels, label strips cut off."""
    assert picture.dtype == np.uint8 and picture.shape == (STRIP + H, 6 * W + 5 * GAP, 3)
    return [picture[STRIP:, start : start + W] for start in range(0, 6 * (W + GAP), W + GAP)]


def example() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    true = np.zeros((H, W, 2), np.float32)
    true[:, W // 2 :, 0] = 8.0
    return (image, 255 - image), true.copy(), true, np.ones((H, W), bool)


def test_prediction_and_truth_share_one_scale_and_a_perfect_prediction_has_no_error():
    images, predicted, true, valid = example()
    drawn = draw(images, predicted, true, valid)
    first, second, prediction, truth, error, wheel = panels(drawn.picture)
    assert (first == images[0]).all() and (second == images[1]).all() and (prediction == truth).all()
    assert tuple(wheel[H // 2, W // 2 + H // 2 - 2])[0] == 255 and (wheel[0] == 255).all()  # red to the right
    assert drawn.labels[4] == "EPE: mean 0.00 px (zero flow 4.00), yellow = 0.0 px"
    assert tuple(truth[0, -1]) == (255, 0, 0) and tuple(truth[0, 0]) == (255, 255, 255)
    assert (error == error[0, 0]).all() and error.max() < 10  # the dark end of the scale
    prediction, truth = panels(draw(images, 0.5 * predicted, true, valid).picture)[2:4]
    assert tuple(prediction[0, -1]) == (255, 127, 127) and tuple(truth[0, -1]) == (255, 0, 0)


def test_invalid_and_non_finite_pixels_are_black():
    images, predicted, true, valid = example()
    valid[:, 0] = False
    true[:, 0] = 1e10
    predicted[:, 1:3] = [[np.nan], [np.inf]]
    prediction, truth, error = panels(draw(images, predicted, true, valid).picture)[2:5]
    assert not truth[:, 0].any() and not error[:, :3].any() and not prediction[:, 1:3].any()
    assert tuple(truth[0, -1]) == (255, 0, 0)  # the sentinel does not set the scale


def test_the_largest_error_is_the_bright_end():
    images, predicted, true, valid = example()
    predicted[5, 7, 1] += 3.0
    predicted[5, 9, 1] += 1.0
    error = panels(draw(images, predicted, true, valid).picture)[4].astype(int).sum(-1)
    assert error[5, 7] == error.max() > error[5, 9] > error[0, 0]


def test_labels_are_drawn_small_crops_are_magnified_and_nothing_known_is_still_a_picture():
    images, predicted, true, valid = example()
    for picture in (draw(images, predicted, true, valid), draw(images, predicted * np.nan, 0 * true, ~valid)):
        strips = [picture.picture[:STRIP, start : start + W] for start in range(0, 6 * (W + GAP), W + GAP)]
        assert all((strip < 128).any() for strip in strips) and len(picture.labels) == 6
    parts = (predicted[:, :32], true[:, :32], valid[:, :32])
    small = draw((images[0][:, :32], images[1][:, :32]), *parts).picture
    assert small.shape == (STRIP + 8 * H, 6 * 256 + 5 * GAP, 3)


# -- the colour wheel --


def test_wheel_has_the_published_corners():
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    corners = {
        0: (255, 0, 0),
        15: (255, 255, 0),
        21: (0, 255, 0),
        25: (0, 255, 255),
        36: (0, 0, 255),
        49: (255, 0, 255),
    }
    steps = {14: (255, 238, 0), 54: (255, 0, 43)}  # floor(255 x 14 / 15), 255 - floor(255 x 5 / 6)
    assert {place: tuple(wheel[place]) for place in corners | steps} == corners | steps


@pytest.mark.parametrize(
    ("u", "v", "longest", "expected"),
    [
        (1, 0, 1.0, (255, 0, 0)),  # right: the first place of the wheel
        (0, 1, 1.0, (255, 229, 0)),  # down: place 13.5, between G = 221 and 238
        (-1, 0, 1.0, (0, 209, 255)),  # left: place 27, G = 255 - floor(255 x 2 / 11)
        (0, -1, 1.0, (88, 0, 255)),  # up: place 40.5, between R = 78 and 98
        (0, 0, None, (255, 255, 255)),  # no motion
        (0, 0, 3.0, (255, 255, 255)),
        (3, -0.0, 3.0, (255, 0, 0)),  # a negative zero is zero
        (1, 0, 2.0, (255, 127, 127)),  # half as long, half saturated
        (4, 0, 2.0, (191, 0, 0)),  # too long: darker, three quarters
    ],
)
def test_direction_is_hue_and_length_is_saturation(u, v, longest, expected):
    assert tuple(flow_to_color(np.array([[[u, v]]], np.float32), longest)[0, 0]) == expected


def test_unknown_pixels_are_black_and_do_not_set_the_scale():
    flow = np.zeros((1, 5, 2), np.float32)
    flow[0, :, 0] = (1.0, 1.6666666752e9, np.nan, np.inf, 40.0)
    colors = flow_to_color(flow, valid=np.array([[True, True, True, True, False]]))
    assert tuple(colors[0, 0]) == (255, 0, 0)  # 1 px is the longest known vector
    assert not colors[0, 1:].any()


def test_without_a_scale_the_longest_vector_is_saturated():
    flow = np.array([[[0.0, 7.0], [0.0, 3.5]]])
    assert flow_to_color(flow).tolist() == [[[255, 229, 0], [255, 242, 127]]]
    assert flow_to_color(np.zeros((0, 4, 2))).shape == (0, 4, 3)


# -- arrows --


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


@pytest.mark.parametrize(("motion", "axis", "sign"), [((90, 0), 1, 1), ((-90, 0), 1, -1), ((0, 90), 0, 1)], ids=str)
def test_an_arrow_points_to_where_things_go(motion: tuple[int, int], axis: int, sign: int) -> None:
    flow, valid = constant(480, 480, 0, 0), np.zeros((480, 480), np.bool_)
    place = round(480 / ACROSS * 10.5)
    valid[place, place], flow[place, place] = True, motion
    picture = flow_arrows(np.zeros((480, 480, 3), np.uint8), flow, valid, scale=1.0)
    along = sign * (np.array(np.nonzero(coloured(picture)))[axis] - place)
    assert along.max() == pytest.approx(90, abs=4) and along.min() >= -4
    red, _, blue = picture[coloured(picture)].mean(axis=0)
    assert axis == 0 or (red > 2 * blue) == (sign > 0), "red to the right, cyan to the left"


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
