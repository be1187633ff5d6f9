import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference
from numpy.typing import NDArray

from edgeflownas.data.synthetic.geometry import Patch, area
from edgeflownas.files import fill

Array = NDArray[np.float64]
HEIGHT, WIDTH = 24, 31


def winding(rings: list[Array], x: float, y: float) -> float:
    """Winding number by summed angles: another method than the one under test."""
    total = 0.0
    for ring in rings:
        angle = np.arctan2(ring[:, 1] - y, ring[:, 0] - x)
        turn = np.roll(angle, -1) - angle
        total += float(((turn + math.pi) % (2 * math.pi) - math.pi).sum())
    return total / (2 * math.pi)


def whole(patch: Patch | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    alpha, inside = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.bool_)
    if patch is not None:
        alpha[patch.window], inside[patch.window] = patch.alpha, patch.inside
    return alpha, inside


def star(corners: int, seed: int, x: float, y: float, radius: float) -> Array:
    angle = 2 * math.pi * np.arange(corners) / corners + 0.1
    reach = radius * np.random.default_rng(seed).uniform(0.3, 1.0, corners)
    return np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)


def test_square_covers_exact_shares() -> None:
    # from x 1.75 to 4.25 and y 0.5 to 2.5: pixel (x, y) reaches half a pixel around its centre
    alpha, inside = whole(fill([np.array([[1.75, 0.5], [4.25, 0.5], [4.25, 2.5], [1.75, 2.5]])], HEIGHT, WIDTH))
    assert relative_difference(alpha[1, :7], [0, 0, 0.75, 1, 0.75, 0, 0]) <= 8 * FLOAT32
    assert relative_difference(alpha[:4, 3], [0, 1, 1, 0]) <= 8 * FLOAT32
    assert inside.sum() == 6 and inside[1:3, 2:5].all()


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 9), st.integers(0, 999), st.floats(-5, 36), st.floats(-5, 30), st.floats(1, 25))
def test_centres_and_area_agree_with_other_methods(corners: int, seed: int, x: float, y: float, radius: float) -> None:
    outer = star(corners, seed, x, y, radius)
    rings = [outer, (np.array([x, y]) + 0.4 * (outer - [x, y]))[::-1]]
    assert area(outer) > 0 > area(rings[1])
    alpha, inside = whole(fill(rings, HEIGHT, WIDTH))
    expected = np.array([[winding(rings, c, r) > 0.5 for c in range(WIDTH)] for r in range(HEIGHT)])
    np.testing.assert_array_equal(inside, expected)
    assert alpha.min() >= 0 and alpha.max() <= 1
    if outer.min() > 0 and (outer.max(axis=0) < [WIDTH - 1, HEIGHT - 1]).all():
        # five scan lines a pixel: each edge errs by less than a hundredth of its length
        assert abs(alpha.sum() - area(outer) - area(rings[1])) < 0.02 * corners * radius


def test_overlapping_rings_unite() -> None:
    square = np.array([[2.0, 2.0], [12.0, 2.0], [12.0, 12.0], [2.0, 12.0]])
    alpha, inside = whole(fill([square, square + 4.0], HEIGHT, WIDTH))
    assert alpha[8, 8] == 1.0 and inside[8, 8] and inside[4, 4] and inside[15, 15] and not inside[4, 15]


@pytest.mark.parametrize("shift", [(100.0, 0.0), (-100.0, 0.0), (0.0, 100.0), (0.0, -100.0)])
def test_nothing_outside_the_frame(shift: tuple[float, float]) -> None:
    assert fill([star(5, 1, 10 + shift[0], 10 + shift[1], 8)], HEIGHT, WIDTH) is None


def test_what_leaves_the_frame_changes_nothing_within() -> None:
    ring = star(7, 4, 20.0, 12.0, 30.0)
    large = fill([ring + 40.0], 120, 120)
    assert large is not None
    field = np.zeros((120, 120), np.float32)
    field[large.window] = large.alpha
    alpha, _ = whole(fill([ring], HEIGHT, WIDTH))
    assert relative_difference(alpha, field[40 : 40 + HEIGHT, 40 : 40 + WIDTH]) <= 16 * FLOAT32
