"""The colour wheel against the published one."""

import numpy as np
import pytest

from edgeflownas.report.flow_color import color_wheel, flow_to_color


def color_of(u: float, v: float, **options: float) -> tuple[int, ...]:
    return tuple(int(c) for c in flow_to_color(np.array([[[u, v]]], np.float32), **options)[0, 0])


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
    for place, color in corners.items():
        assert tuple(wheel[place]) == color
    assert tuple(wheel[14]) == (255, 238, 0)  # floor(255 x 14 / 15)
    assert tuple(wheel[54]) == (255, 0, 43)  # 255 - floor(255 x 5 / 6)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ((1, 0), (255, 0, 0)),  # right: the first place of the wheel
        ((0, 1), (255, 229, 0)),  # down: place 13.5, between G = 221 and 238
        ((-1, 0), (0, 209, 255)),  # left: place 27, G = 255 - floor(255 x 2 / 11)
        ((0, -1), (88, 0, 255)),  # up: place 40.5, between R = 78 and 98
    ],
)
def test_pure_directions_at_full_length(direction, expected):
    assert color_of(*direction, max_norm=1.0) == expected


def test_no_motion_is_white_and_negative_zero_is_zero():
    assert color_of(0.0, 0.0) == (255, 255, 255)
    assert color_of(0.0, 0.0, max_norm=3.0) == (255, 255, 255)
    assert color_of(3.0, -0.0, max_norm=3.0) == color_of(3.0, 0.0, max_norm=3.0) == (255, 0, 0)


def test_half_length_is_half_saturated_and_too_long_is_darker():
    assert color_of(1.0, 0.0, max_norm=2.0) == (255, 127, 127)
    assert color_of(4.0, 0.0, max_norm=2.0) == (191, 0, 0)  # three quarters


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
