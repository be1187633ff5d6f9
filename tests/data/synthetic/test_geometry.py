"""Draws are functions of their place; motions, outlines and the pixels they cover are what they say."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference
from numpy.typing import NDArray

from edgeflownas.data.synthetic import geometry
from edgeflownas.data.synthetic.geometry import Draws

Array = NDArray[np.float64]
HEIGHT, WIDTH = 24, 31


def test_values_are_a_function_of_place_and_order():
    one, two = Draws(3, 5, 7), Draws(3, 5, 7)
    for draws in (one, two):
        values = [draws.uniform() for _ in range(300)]
        assert len(set(values)) == 300
    np.testing.assert_array_equal(one.uniforms(50), two.uniforms(50))
    np.testing.assert_array_equal(one.bytes(7, 3), two.bytes(7, 3))
    others = {Draws(*place).uniform() for place in ((3, 5, 7), (4, 5, 7), (3, 6, 7), (3, 5, 8))}
    assert len(others) == 4


def test_distributions():
    values = Draws(3, 5, 7).uniforms(5000, -2.0, 3.0)  # more than a block
    assert np.unique(values).size == 5000 and -2.0 <= values.min() < -1.98 and 2.98 < values.max() < 3.0
    draws = Draws(0, 0, 0)
    normal = np.array([draws.normal() for _ in range(4000)])
    assert abs(normal.mean()) < 0.06 and abs(normal.std() - 1) < 0.05
    assert {draws.integer(2, 4) for _ in range(100)} == {2, 3, 4}
    logs = np.log2([draws.log_uniform(1.0, 16.0) for _ in range(4000)])
    assert abs(logs.mean() - 2.0) < 0.1 and logs.min() >= 0 and logs.max() < 4
    picks = [draws.pick([(3.0, "often"), (1.0, "seldom"), (0.0, "never")]) for _ in range(2000)]
    assert 0.2 < picks.count("seldom") / 2000 < 0.3 and "never" not in picks
    assert abs(sum(draws.chance(0.1) for _ in range(2000)) / 2000 - 0.1) < 0.03
    first, second = draws.bytes(101, 33), draws.bytes(101, 33)
    assert first.dtype == np.uint8 and first.shape == (101, 33)
    assert abs(float(first.mean()) - 127.5) < 5 and np.unique(first).size == 256
    assert (first != second).mean() > 0.98


@given(st.integers(0, 10_000))
def test_flow_is_where_the_owners_motion_sends_each_centre(seed):
    draws = Draws(seed, 0, 0)
    camera = geometry.background_motion(draws, 2.0, 384, 512)
    motions = [camera, camera @ geometry.object_motion(draws, 2.0, (100.0, 60.0), 512)]
    owner = draws.bytes(4, 6) % np.uint8(2)
    flow = geometry.flow_of(motions, owner)
    assert flow.dtype == np.float32
    points = np.array([[x, y] for y in range(4) for x in range(6)], dtype=float)
    moved = np.where(owner.reshape(-1, 1) == 0, *(geometry.apply(motion, points) for motion in motions))
    assert relative_difference(flow.reshape(-1, 2), moved - points) <= FLOAT32


def test_a_plane_at_an_angle_keeps_its_lines_straight():
    tilt = np.array([[1.0, 0.1, 3.0], [0.0, 1.0, 2.0], [0.002, -0.001, 1.0]])
    a, b, c = geometry.apply(tilt, np.array([[0.0, 0.0], [50.0, 20.0], [100.0, 40.0]]))
    assert abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) < 1e-9 and np.hypot(*(b - a)) > 1.05 * np.hypot(
        *(c - b)
    )


def test_affine_keeps_its_centre_and_then_moves_it():
    matrix = geometry.affine((10.0, 20.0), (3.0, -4.0), math.pi / 2, 2.0, 1.0, 0.0)
    moved = geometry.apply(matrix, np.array([[10.0, 20.0], [11.0, 20.0]]))
    np.testing.assert_allclose(moved, [[13.0, 16.0], [13.0, 18.0]], atol=1e-12)  # a quarter turn, twice as long


def test_displacements_scale_with_the_image_and_go_everywhere():
    def moves(width):
        return np.array([geometry.object_motion(Draws(1, i, 0), 1.0, (0.0, 0.0), width)[:2, 2] for i in range(400)])

    np.testing.assert_allclose(moves(256), moves(512) / 2, rtol=1e-12)
    length = np.hypot(*moves(512).T)
    assert length.max() <= 100 and np.percentile(length, 10) < 3 and np.percentile(length, 95) > 20
    assert np.abs(moves(512).mean(axis=0)).max() < 3  # no direction is preferred


def test_some_cameras_stand_still():
    still = sum(np.array_equal(geometry.background_motion(Draws(2, i, 0), 1.0, 96, 128), np.eye(3)) for i in range(400))
    assert 5 <= still <= 45


def test_objects_are_of_the_size_asked_for_and_of_several_kinds():
    made = [geometry.draw_object(Draws(5, index, 1), 50.0) for index in range(200)]
    reach = [max(float(np.abs(ring).max()) for outline in parts for ring in outline) for parts in made]
    assert min(reach) > 15 and max(reach) < 130 and {len(parts) for parts in made} == {1, 2, 3}
    assert any(len(parts) == 1 and len(parts[0]) > 2 for parts in made)  # with holes
