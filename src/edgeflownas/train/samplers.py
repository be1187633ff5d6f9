"""Which paths a training step runs: strict fairness as a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence

from edgeflownas.randomness import permutation
from edgeflownas.space import Arch, SearchSpace

__all__ = ["assert_fair", "fair_cycle", "fairness_gap", "option_counts"]


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
    """Fail unless the paths of a step are fair.

    A choice with as many options as paths shows each option in exactly one path.  For the others the draws of this
    step must be the growth of the closed-form counts, which never differ by more than one over the run.
    """
    assert len(paths) == space.num_paths, f"unfair step {step}: {len(paths)} paths, expected {space.num_paths}"
    before, after = option_counts(space, seed, step), option_counts(space, seed, step + 1)
    for position, choice in enumerate(space.choices):
        n = len(choice.options)
        drawn = [path[position] for path in paths]
        counts = [drawn.count(digit) for digit in range(n)]
        expected = [a - b for a, b in zip(after[choice.name], before[choice.name], strict=True)]
        assert counts == ([1] * n if n == len(paths) else expected), f"unfair step {step}: {choice.name} drew {drawn}"
        assert max(after[choice.name]) - min(after[choice.name]) <= 1, f"unfair counts of {choice.name} at step {step}"
