"""Small spaces with values that are cheap to compute, and a ranking made of them."""

import numpy as np

from edgeflownas.search.candidates import Problem, parse_where
from edgeflownas.search.ranking import Ranking, block_words, option_words, ranks, write_ranking
from edgeflownas.space import Choice, SearchSpace, get_space

UNEVEN = SearchSpace(
    "uneven",
    (
        Choice("A", "depth", (1, 2, 3)),
        Choice("B", "kernel", (3, 5)),
        Choice("C", "kernel", (3,)),
        Choice("D", "depth", (1, 2, 3, 4)),
        Choice("E", "kernel", (3, 5)),
    ),
)  # 48 codes, one block without a choice


def costs(archs):
    """Heavier options cost more, each block by its own weight."""
    digits = np.array(archs, dtype=np.float64)
    weight = 1.0 + 0.37 * np.arange(digits.shape[1]) ** 1.3
    return {"macs": digits @ weight + 0.3 * digits[:, 0] * digits[:, -1], "sram_kib": digits.max(axis=1)}


def measured(archs):
    """Heavier options help, each block less and less, with some interaction."""
    digits = np.array(archs, dtype=np.float64)
    gain = 1.0 / (1.0 + 0.5 * np.arange(digits.shape[1])[::-1])
    return {"epe": 8.0 - np.sqrt(digits) @ gain + 0.25 * np.cos(digits @ np.linspace(0.5, 3.0, digits.shape[1]))}


def problem(space, where=""):
    conditions = tuple(parse_where(where, ["macs", "sram_kib"], option_words(space)))
    return Problem(space, ("epe", "macs"), conditions, costs, measured)


def written_ranking(folder):
    """A ranking of all of v1."""
    space = get_space("v1")
    archs = list(space)
    found = measured(archs) | costs(archs)
    found = {"rank": ranks(found["epe"]), **found}
    folder.mkdir(parents=True, exist_ok=True)
    write_ranking(folder, Ranking("v1", tuple(map(str, archs)), found, block_words(space, archs), {}))
    return folder
