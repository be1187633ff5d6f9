"""Per-option losses by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeflownas.space import Choice, SearchSpace, get_space
from edgeflownas.train.fairness import fair_cycle, option_losses, option_rows

V1 = get_space("v1")
UNEVEN = SearchSpace("uneven", (Choice("EB0", "depth", (1, 2)), Choice("H1", "kernel", (3, 5, 7))))


def steps(space: SearchSpace, count: int, dropped: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found = []
    for step in range(count):
        losses = (rng.normal(10, 1) + rng.normal(0, 0.1, space.num_paths)).tolist()
        bad = step in dropped
        found.append({"step": step + 1, "accepted": not bad, "path_losses": ["nan"] * 3 if bad else losses})
    return found


@pytest.mark.parametrize("space", [V1, UNEVEN], ids=["v1", "uneven"])
def test_against_brute_force(space: SearchSpace) -> None:
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


def test_the_option_that_is_worse_is_seen_through_the_noise_of_the_batches() -> None:
    """Batches differ by 10, the option by 0.05: only the difference within the step shows it."""
    rng = np.random.default_rng(1)
    rows = []
    for step in range(30):
        level = rng.normal(0, 10)
        losses = [level + 0.05 * (path[0] == 2) for path in fair_cycle(V1, 0, step)]
        rows.append({"step": step + 1, "accepted": True, "path_losses": losses})
    relative = option_losses(V1, 0, rows)["EB0"]["relative"]
    assert relative == pytest.approx([-0.05 / 3, -0.05 / 3, 0.1 / 3], abs=1e-9)


def test_rows_say_what_an_option_is() -> None:
    rows = list(option_rows(V1, 4, option_losses(V1, 0, steps(V1, 2))))
    assert len(rows) == 27
    assert [rows[1][key] for key in ("epoch", "block", "option", "meaning", "count")] == [4, "EB0", 1, "depth 2", 2]
    assert rows[-1]["block"] == "H2Out" and rows[-1]["meaning"] == "kernel 7"


def test_options_that_were_in_no_path_have_no_figure() -> None:
    none = option_losses(V1, 0, steps(V1, 1, dropped=(0,)))
    assert none["EB0"] == {"count": [0, 0, 0], "loss": [None] * 3, "relative": [None] * 3}


def test_nothing_for_a_single_model() -> None:
    single = V1.restrict(V1.parse("000021222"))
    assert option_losses(single, 0, [{"step": 1, "accepted": True, "path_losses": [1.0]}]) == {}
    assert list(option_rows(single, 1, {})) == []


def test_rows_name_chains_of_convolutions() -> None:
    space = get_space("v3")
    found = list(option_rows(space, 1, option_losses(space, 0, steps(space, 2))))
    assert [row["meaning"] for row in found if row["block"] == "E1"] == ["3x3", "5x5", "3x3 + dilated 3x3"]
    assert len(found) == 6 * 3 + 5 * 2
