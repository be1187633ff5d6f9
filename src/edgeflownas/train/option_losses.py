"""Which options learn: the training loss of the paths that an option was in, against the other paths of those steps.

Every path of a step sees the same batch (unless train.path_batches is shifted), so the difference from the mean of the
step leaves out how hard the batch was.  An option's figure still holds the options it was drawn with: under strict
fairness these even out over many steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.space import SearchSpace
from edgeflownas.train.samplers import fair_cycle

__all__ = ["option_losses", "option_rows"]


def option_losses(space: SearchSpace, seed: int, steps: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Block -> ``count`` of paths, mean ``loss``, mean ``relative`` loss of each option, from accepted step events.

    ``relative`` is the path's loss minus the mean over the paths of its step.  An option that was in no path has None.
    Nothing for a single model.
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
    return {block: _figures(options) for block, options in seen.items()}


def _figures(options: Sequence[Sequence[tuple[float, float]]]) -> dict[str, list[Any]]:
    means = [np.mean(found, axis=0).tolist() if found else [None, None] for found in options]
    return {
        "count": [len(found) for found in options],
        "loss": [loss for loss, _ in means],
        "relative": [relative for _, relative in means],
    }


def option_rows(
    space: SearchSpace, epoch: int, losses: Mapping[str, Mapping[str, Sequence[Any]]]
) -> Iterator[dict[str, Any]]:
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
