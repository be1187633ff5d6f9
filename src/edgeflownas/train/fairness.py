"""Which paths a training step runs (strict fairness as a pure function of seed and step), and which options learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.randomness import permutation
from edgeflownas.space import Arch, SearchSpace


def fair_cycle(space: SearchSpace, seed: int, step: int) -> list[Arch]:
    """The paths of one strict-fairness step (FairNAS, arXiv 1907.01845), a pure function of (seed, step).

    Every choice draws its options along a stream of consecutive seeded permutations, ``num_paths`` places a step.
    A choice with as many options as paths thus shows each option in exactly one path of every step; one with
    fewer repeats options, and its counts never differ by more than one.
    """
    paths = space.num_paths
    columns = []
    for choice in space.choices:
        n = len(choice.options)
        places = range(step * paths, (step + 1) * paths)
        columns.append([int(permutation(n, seed, f"fair.{choice.name}", place // n)[place % n]) for place in places])
    return [space.arch(digits) for digits in zip(*columns, strict=True)] if columns else [space.arch(())]


def option_counts(space: SearchSpace, seed: int, steps: int) -> dict[str, list[int]]:
    """How often each option was drawn in the first ``steps`` steps, in closed form."""
    counts = {}
    total = steps * space.num_paths
    for choice in space.choices:
        n = len(choice.options)
        count = [total // n] * n
        for digit in permutation(n, seed, f"fair.{choice.name}", total // n)[: total % n]:
            count[int(digit)] += 1
        counts[choice.name] = count
    return counts


def fairness_gap(counts: dict[str, list[int]]) -> int:
    """Largest difference between the counts of two options of one choice (0 under strict fairness)."""
    return max((max(count) - min(count) for count in counts.values()), default=0)


def assert_fair(space: SearchSpace, paths: Sequence[Arch], seed: int, step: int) -> None:
    """Fail unless each option is in one path, or (fewer options than paths) drawn as the closed-form counts grow."""
    assert len(paths) == space.num_paths, f"unfair step {step}: {len(paths)} paths, expected {space.num_paths}"
    before, after = option_counts(space, seed, step), option_counts(space, seed, step + 1)
    for position, choice in enumerate(space.choices):
        n = len(choice.options)
        drawn = [path[position] for path in paths]
        counts = [drawn.count(digit) for digit in range(n)]
        expected = [a - b for a, b in zip(after[choice.name], before[choice.name], strict=True)]
        assert counts == ([1] * n if n == len(paths) else expected), f"unfair step {step}: {choice.name} drew {drawn}"
        assert max(after[choice.name]) - min(after[choice.name]) <= 1, f"unfair counts of {choice.name} at step {step}"


def option_losses(space: SearchSpace, seed: int, steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Block -> ``count`` of paths, mean ``loss``, mean ``relative`` loss of each option, from accepted step events.

    ``relative`` is the path's loss minus the mean over the paths of its step: how hard the batch was is left out
    (unless train.path_batches is shifted), the options that this one was drawn with even out over many steps.  An
    option that was in no path has None; nothing for one model.
    """
    if space.num_paths == 1:
        return {}
    seen: dict[str, list[list[tuple[float, float]]]] = {c.name: [[] for _ in c.options] for c in space.choices}
    for row in steps:
        if not row["accepted"]:
            continue
        losses = [float(loss) for loss in row["path_losses"]]
        mean = float(np.mean(losses))
        for path, loss in zip(fair_cycle(space, seed, row["step"] - 1), losses, strict=True):
            for choice, digit in zip(space.choices, path, strict=True):
                seen[choice.name][digit].append((loss, loss - mean))
    figures: dict[str, dict[str, list[Any]]] = {}
    for block, options in seen.items():
        means = [np.mean(found, axis=0).tolist() if found else [None, None] for found in options]
        plain, relative = map(list, zip(*means, strict=True))
        figures[block] = {"count": [len(found) for found in options], "loss": plain, "relative": relative}
    return figures


def option_rows(space: SearchSpace, epoch: int, losses: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of per_option.csv."""
    for choice in space.choices if losses else ():
        own = losses[choice.name]
        for digit in range(len(choice.options)):
            yield {
                "epoch": epoch,
                "block": choice.name,
                "option": digit,
                "meaning": choice.meaning(digit),
                "count": own["count"][digit],
                "train_loss": own["loss"][digit],
                "train_loss_relative": own["relative"][digit],
            }
