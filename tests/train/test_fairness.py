"""Per-option losses by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.space import Arch, Choice, SearchSpace, get_space
from edgeflownas.train.fairness import assert_fair, fair_cycle, fairness_gap, option_counts, option_losses, option_rows

V1, V3 = get_space("v1"), get_space("v3")
IRREGULAR = SearchSpace(
    "irregular",
    (
        Choice("EB0", "depth", (1, 2, 3, 4)),
        Choice("EB1", "depth", (1, 2, 3)),
        Choice("H1", "kernel", (3, 5)),
        Choice("DB0", "depth", (1,)),
    ),
)


def spaces():
    """Any numbers of options a choice."""
    sizes = st.lists(st.integers(1, 5), min_size=1, max_size=6)
    return sizes.map(
        lambda counts: SearchSpace(
            "any", tuple(Choice(f"C{i}", "depth", tuple(range(1, n + 1))) for i, n in enumerate(counts))
        )
    )


@given(spaces(), st.integers(0, 2**31), st.integers(0, 10**6), st.integers(1, 12))
def test_any_space_is_balanced_from_any_step_on(space, seed, first, count):
    """Counts are a function of (seed, step): those of a stretch are the difference of the closed forms."""
    steps = [fair_cycle(space, seed, step) for step in range(first, first + count)]
    assert {len(paths) for paths in steps} == {space.num_paths}
    before, after = option_counts(space, seed, first), option_counts(space, seed, first + count)
    drawn = space.coverage([path for paths in steps for path in paths])
    assert drawn == {name: [a - b for a, b in zip(after[name], before[name], strict=True)] for name in after}
    assert fairness_gap(before) <= 1 and fairness_gap(after) <= 1
    for step, paths in enumerate(steps, first):
        assert_fair(space, paths, seed, step)


def test_the_heads_of_v3_do_not_move_together():
    """Each choice has its own stream, else the tree of heads would be seen along a diagonal only."""
    seen = {tuple(path[6:]) for step in range(200) for path in fair_cycle(V3, 0, step)}
    assert len(seen) == 2**5


def test_fairness_gap_of_v1_is_zero_and_a_cycle_depends_on_seed_and_step():
    assert fair_cycle(V1, 0, 7) != fair_cycle(V1, 1, 7)
    assert len({tuple(fair_cycle(V1, 0, step)) for step in range(50)}) == 50
    assert fairness_gap(option_counts(V1, 3, 1234)) == 0
    assert fairness_gap({"EB0": [4, 5, 9]}) == 5


def test_an_unfair_step_is_caught():
    paths = fair_cycle(V1, 0, 0)
    twice = [paths[0], paths[0], paths[2]]
    with pytest.raises(AssertionError, match="unfair step 0"):
        assert_fair(V1, twice, 0, 0)
    with pytest.raises(AssertionError, match="unfair step 0"):
        assert_fair(V1, paths[:2], 0, 0)
    other = [Arch([*path[:2], 0, *path[3:]], "irregular") for path in fair_cycle(IRREGULAR, 0, 0)]
    with pytest.raises(AssertionError, match="H1 drew"):
        assert_fair(IRREGULAR, other, 0, 0)


UNEVEN = SearchSpace("uneven", (Choice("EB0", "depth", (1, 2)), Choice("H1", "kernel", (3, 5, 7))))


def steps(space, count, dropped=()):
    rng = np.random.default_rng(0)
    found = []
    for step in range(count):
        losses = (rng.normal(10, 1) + rng.normal(0, 0.1, space.num_paths)).tolist()
        bad = step in dropped
        found.append({"step": step + 1, "accepted": not bad, "path_losses": ["nan"] * 3 if bad else losses})
    return found


@pytest.mark.parametrize("space", [V1, UNEVEN], ids=["v1", "uneven"])
def test_against_brute_force(space):
    rows = steps(space, 7, dropped=(2,))
    found = option_losses(space, 5, rows)
    assert list(found) == [choice.name for choice in space.choices]
    for position, choice in enumerate(space.choices):
        for digit in range(len(choice.options)):
            own, relative = [], []
            for row in rows[:2] + rows[3:]:
                for path, loss in zip(fair_cycle(space, 5, row["step"] - 1), row["path_losses"], strict=True):
                    if path[position] == digit:
                        own.append(loss)
                        relative.append(loss - sum(row["path_losses"]) / 3)
            figures = {key: values[digit] for key, values in found[choice.name].items()}
            assert figures["count"] == len(own)
            assert figures["loss"] == pytest.approx(np.mean(own), rel=1e-12)
            assert figures["relative"] == pytest.approx(np.mean(relative), rel=1e-9, abs=1e-12)
    assert sum(found["H1"]["count"]) == 6 * 3 and set(found["H1"]["count"]) == {6}


def test_the_option_that_is_worse_is_seen_through_the_noise_of_the_batches():
    """Batches differ by 10, the option by 0.05: only the difference within the step shows it."""
    rng = np.random.default_rng(1)
    rows = []
    for step in range(30):
        level = rng.normal(0, 10)
        losses = [level + 0.05 * (path[0] == 2) for path in fair_cycle(V1, 0, step)]
        rows.append({"step": step + 1, "accepted": True, "path_losses": losses})
    relative = option_losses(V1, 0, rows)["EB0"]["relative"]
    assert relative == pytest.approx([-0.05 / 3, -0.05 / 3, 0.1 / 3], abs=1e-9)


def test_rows_say_what_an_option_is():
    rows = list(option_rows(V1, 4, option_losses(V1, 0, steps(V1, 2))))
    assert len(rows) == 27
    assert [rows[1][key] for key in ("epoch", "block", "option", "meaning", "count")] == [4, "EB0", 1, "depth 2", 2]
    assert rows[-1]["block"] == "H2Out" and rows[-1]["meaning"] == "kernel 7"
    found = list(option_rows(V3, 1, option_losses(V3, 0, steps(V3, 2))))
    assert [row["meaning"] for row in found if row["block"] == "E1"] == ["3x3", "5x5", "3x3 + dilated 3x3"]
    assert len(found) == 6 * 3 + 5 * 2


def test_what_was_in_no_path_and_what_has_no_options_has_no_figure():
    none = option_losses(V1, 0, steps(V1, 1, dropped=(0,)))
    assert none["EB0"] == {"count": [0, 0, 0], "loss": [None] * 3, "relative": [None] * 3}
    single = V1.restrict(V1.parse("000021222"))
    assert option_losses(single, 0, [{"step": 1, "accepted": True, "path_losses": [1.0]}]) == {}
    assert list(option_rows(single, 1, {})) == []
