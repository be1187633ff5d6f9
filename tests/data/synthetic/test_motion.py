import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference

from edgeflownas.data.synthetic import motion
from edgeflownas.data.synthetic.geometry import Draws


@given(st.integers(0, 10_000))
def test_flow_is_where_the_matrix_sends_each_centre(seed: int) -> None:
    draws = Draws(seed, 0, 0)
    matrix = motion.background_motion(draws, 2.0, 384, 512) @ motion.object_motion(draws, 2.0, (100.0, 60.0), 512)
    flow = motion.flow_of(matrix, 5, 11, 4, 6)
    assert flow.dtype == np.float32
    points = np.array([[x, y] for y in range(5, 9) for x in range(11, 17)], dtype=float)
    assert relative_difference(flow.reshape(-1, 2), motion.apply(matrix, points) - points) <= FLOAT32


def test_affine_keeps_its_centre_and_then_moves_it() -> None:
    matrix = motion.affine((10.0, 20.0), (3.0, -4.0), math.pi / 2, 2.0, 1.0, 0.0)
    moved = motion.apply(matrix, np.array([[10.0, 20.0], [11.0, 20.0]]))
    np.testing.assert_allclose(moved, [[13.0, 16.0], [13.0, 18.0]], atol=1e-12)  # a quarter turn, twice as long


def test_displacements_scale_with_the_image_and_go_everywhere() -> None:
    def moves(width: int) -> np.ndarray:
        return np.array([motion.object_motion(Draws(1, i, 0), 1.0, (0.0, 0.0), width)[:2, 2] for i in range(400)])

    np.testing.assert_allclose(moves(256), moves(512) / 2, rtol=1e-12)
    length = np.hypot(*moves(512).T)
    assert length.max() <= 100 and np.percentile(length, 10) < 3 and np.percentile(length, 95) > 20
    assert np.abs(moves(512).mean(axis=0)).max() < 3  # no direction is preferred


def test_some_cameras_stand_still() -> None:
    still = sum(np.array_equal(motion.background_motion(Draws(2, i, 0), 1.0, 96, 128), np.eye(3)) for i in range(400))
    assert 5 <= still <= 45
