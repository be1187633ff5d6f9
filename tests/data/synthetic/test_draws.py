import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.data.synthetic.geometry import Draws


@given(st.lists(st.integers(1, 256), min_size=1, max_size=6))
def test_values_do_not_depend_on_how_many_are_taken_at_once(counts: list[int]) -> None:
    one, parts = Draws(3, 5, 7), Draws(3, 5, 7)
    together = np.concatenate([one.uniforms(1) for _ in range(sum(counts))])
    np.testing.assert_array_equal(np.concatenate([parts.uniforms(count) for count in counts]), together)


def test_more_than_a_block_and_the_range_asked_for() -> None:
    values = Draws(3, 5, 7).uniforms(5000, -2.0, 3.0)
    assert values.shape == (5000,) and np.unique(values).size == 5000
    assert -2.0 <= values.min() < -1.98 and 2.98 < values.max() < 3.0


@pytest.mark.parametrize("other", [(4, 5, 7), (3, 6, 7), (3, 5, 8)])
def test_seed_pair_and_layer_each_have_their_own_values(other: tuple[int, int, int]) -> None:
    np.testing.assert_array_equal(Draws(3, 5, 7).uniforms(50), Draws(3, 5, 7).uniforms(50))
    assert not np.isin(Draws(*other).uniforms(50), Draws(3, 5, 7).uniforms(50)).any()


def test_distributions() -> None:
    draws = Draws(0, 0, 0)
    normal = np.array([draws.normal() for _ in range(4000)])
    assert abs(normal.mean()) < 0.06 and abs(normal.std() - 1) < 0.05
    assert {draws.integer(2, 4) for _ in range(100)} == {2, 3, 4}
    logs = np.log2([draws.log_uniform(1.0, 16.0) for _ in range(4000)])
    assert abs(logs.mean() - 2.0) < 0.1 and logs.min() >= 0 and logs.max() < 4
    picks = [draws.pick([(3.0, "often"), (1.0, "seldom"), (0.0, "never")]) for _ in range(2000)]
    assert 0.2 < picks.count("seldom") / 2000 < 0.3 and "never" not in picks
    assert abs(sum(draws.chance(0.1) for _ in range(2000)) / 2000 - 0.1) < 0.03


def test_bytes_are_uniform_and_fresh_each_time() -> None:
    draws = Draws(1, 2, 3)
    first, second = draws.bytes(101, 33), draws.bytes(101, 33)
    assert first.dtype == np.uint8 and first.shape == (101, 33)
    assert abs(float(first.mean()) - 127.5) < 5 and np.unique(first).size == 256
    assert (first != second).mean() > 0.98
