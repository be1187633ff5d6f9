"""Draws are functions of their place; motions, outlines and the pixels they cover are what they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import winding
from numeric import FLOAT32, relative_difference
from numpy.typing import NDArray

from edgeflownas.data.synthetic import geometry
from edgeflownas.data.synthetic.geometry import Draws

Array = NDArray[np.float64]
HEIGHT, WIDTH = 24, 31


@given(st.lists(st.integers(1, 256), min_size=1, max_size=6))
def test_values_do_not_depend_on_how_many_are_taken_at_once(counts):
    one, parts = Draws(3, 5, 7), Draws(3, 5, 7)
    together = np.concatenate([one.uniforms(1) for _ in range(sum(counts))])
    np.testing.assert_array_equal(np.concatenate([parts.uniforms(count) for count in counts]), together)


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
def test_flow_is_where_the_matrix_sends_each_centre(seed):
    draws = Draws(seed, 0, 0)
    matrix = geometry.background_motion(draws, 2.0, 384, 512) @ geometry.object_motion(draws, 2.0, (100.0, 60.0), 512)
    flow = geometry.flow_of(matrix, 5, 11, 4, 6)
    assert flow.dtype == np.float32
    points = np.array([[x, y] for y in range(5, 9) for x in range(11, 17)], dtype=float)
    assert relative_difference(flow.reshape(-1, 2), geometry.apply(matrix, points) - points) <= FLOAT32


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


def whole(patch):
    alpha, inside = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.bool_)
    if patch is not None:
        alpha[patch.window], inside[patch.window] = patch.alpha, patch.inside
    return alpha, inside


def star(corners, seed, x, y, radius):
    angle = 2 * math.pi * np.arange(corners) / corners + 0.1
    reach = radius * np.random.default_rng(seed).uniform(0.3, 1.0, corners)
    return np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)


def test_square_covers_exact_shares():
    # from x 1.75 to 4.25 and y 0.5 to 2.5: pixel (x, y) reaches half a pixel around its centre
    corners = np.array([[1.75, 0.5], [4.25, 0.5], [4.25, 2.5], [1.75, 2.5]])
    alpha, inside = whole(geometry.fill([corners], HEIGHT, WIDTH))
    assert relative_difference(alpha[1, :7], [0, 0, 0.75, 1, 0.75, 0, 0]) <= 8 * FLOAT32
    assert relative_difference(alpha[:4, 3], [0, 1, 1, 0]) <= 8 * FLOAT32
    assert inside.sum() == 6 and inside[1:3, 2:5].all()


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 9), st.integers(0, 999), st.floats(-5, 36), st.floats(-5, 30), st.floats(1, 25))
def test_centres_and_area_agree_with_other_methods(corners, seed, x, y, radius):
    outer = star(corners, seed, x, y, radius)
    rings = [outer, (np.array([x, y]) + 0.4 * (outer - [x, y]))[::-1]]
    assert geometry.area(outer) > 0 > geometry.area(rings[1])
    alpha, inside = whole(geometry.fill(rings, HEIGHT, WIDTH))
    expected = np.array([[winding(rings, c, r) > 0.5 for c in range(WIDTH)] for r in range(HEIGHT)])
    np.testing.assert_array_equal(inside, expected)
    assert alpha.min() >= 0 and alpha.max() <= 1
    if outer.min() > 0 and (outer.max(axis=0) < [WIDTH - 1, HEIGHT - 1]).all():
        # five scan lines a pixel: each edge errs by less than a hundredth of its length
        assert abs(alpha.sum() - geometry.area(outer) - geometry.area(rings[1])) < 0.02 * corners * radius


def test_overlapping_rings_unite():
    square = np.array([[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]])
    alpha, inside = whole(geometry.fill([square, square + 4.0], HEIGHT, WIDTH))
    assert alpha[8, 8] == 1.0 and inside[8, 8] and inside[4, 4] and inside[15, 15] and not inside[4, 15]


@pytest.mark.parametrize("shift", [(100.0, 0.0), (-100.0, 0.0), (0.0, 100.0), (0.0, -100.0)])
def test_nothing_outside_the_frame(shift):
    assert geometry.fill([star(5, 1, 10 + shift[0], 10 + shift[1], 8)], HEIGHT, WIDTH) is None


def test_what_leaves_the_frame_changes_nothing_within():
    ring = star(7, 4, 20.0, 12.0, 30.0)
    large = geometry.fill([ring + 40.0], 120, 120)
    assert large is not None
    field = np.zeros((120, 120), np.float32)
    field[large.window] = large.alpha
    alpha, _ = whole(geometry.fill([ring], HEIGHT, WIDTH))
    assert relative_difference(alpha, field[40 : 40 + HEIGHT, 40 : 40 + WIDTH]) <= 16 * FLOAT32
