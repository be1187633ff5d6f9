"""What a strategy may propose: codes of the space that fit the conditions and were never proposed before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeflownas.randomness import words
from edgeflownas.space import Arch, SearchSpace

BLOCK = 256  # random codes drawn at a time
EMPTY_BLOCKS = 400  # so many draws (times BLOCK) without one new code, and the rest of the space counts as used up


class Candidates:
    """Hands out each code of a space at most once.

    Args:
        space: where codes come from.
        fits: which of some archs may be evaluated at all, bool [A] (``--where``; costs are known beforehand).
        seed: of :meth:`random`; all strategies with one seed begin with the same codes.
    """

    def __init__(
        self, space: SearchSpace, fits: Callable[[Sequence[Arch]], NDArray[np.bool_]] | None = None, seed: int = 0
    ) -> None:
        self.space = space
        self._fits = fits
        self._seed = seed
        self._blocks = 0
        self._taken: set[tuple[int, ...]] = set()

    def take(self, codes: Iterable[Sequence[int]], count: int) -> list[Arch]:
        """The first ``count`` of ``codes`` that are new and fit; from here on they are not new."""
        new = [self.space.arch(code) for code in dict.fromkeys(map(tuple, codes)) if code not in self._taken]
        if new and self._fits is not None:
            new = [arch for arch, fits in zip(new, self._fits(new), strict=True) if fits]
        self._taken.update(new[:count])
        return new[:count]

    def random(self, count: int) -> list[Arch]:
        """``count`` new uniform codes; fewer where no more were found in a hundred thousand draws."""
        options = np.array([len(choice.options) for choice in self.space.choices], np.uint64)
        found: list[Arch] = []
        empty = 0
        while len(found) < count and empty < EMPTY_BLOCKS and len(self._taken) < len(self.space):
            drawn = words(self._seed, "search.random", self._blocks, count=BLOCK * len(options))
            self._blocks += 1
            taken = self.take((drawn.reshape(BLOCK, -1) % options).astype(int).tolist(), count - len(found))
            empty = 0 if taken else empty + 1
            found += taken
        return found
