"""Rankings made up from planted effects, as `edgeflownas rank` writes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeflownas.search.ranking import Ranking, block_words, ranks
from edgeflownas.space import get_space

GAIN = np.array([0.05, 0.04, 0.02, 0.01, 0.03, 0.06, 0.03, 0.04, 0.02])  # px gained by one step of each block
COST = np.array([200, 150, 20, 300, 100, 200, 250, 130, 140]) * 1e6  # multiply-adds of one step


def factorial_codes(varied: Sequence[int], options: int = 3) -> list[tuple[int, ...]]:
    """Codes of v1 with every combination of the blocks ``varied``, the others at 0."""
    rows = []
    for digits in itertools.product(range(options), repeat=len(varied)):
        code = [0] * 9
        for place, digit in zip(varied, digits, strict=True):
            code[place] = digit
        rows.append(tuple(code))
    return rows


def made_ranking(
    codes: Sequence[Sequence[int]] | None = None,
    *,
    own: float = 0.02,
    samples: int = 16,
    keep: bool = True,
    facts: dict[str, str] | None = None,
    zero: float | None = None,
) -> Ranking:
    """Additive EPE and costs; ``own`` is the spread of each subnet's sample errors beside the samples' difficulty.

    Without ``codes`` the whole of v1; ``keep`` keeps the errors of every sample; ``zero`` is the zero-flow EPE, px.
    """
    space = get_space("v1")
    archs = [space.arch(digits) for digits in codes] if codes else list(space)
    digits, rng = np.array(archs), np.random.default_rng(0)
    difficulty = rng.gamma(2.0, 2.0, samples)
    errors = difficulty - difficulty.mean() + 8.0 - (digits @ GAIN)[:, None]
    errors = (errors + own * rng.standard_normal((len(archs), samples))).astype(np.float16)
    epe = errors.astype(np.float64).mean(axis=1)
    spread = errors.astype(np.float64).std(axis=1, ddof=1) if samples > 1 else np.full(len(archs), np.nan)
    columns = {
        "rank": ranks(epe),
        "epe": epe,
        "epe_standard_error": spread / samples**0.5,
        "epe_median": epe - 1.0,
        "samples": np.full(len(archs), samples),
        "parameters": 2_671_904 + (digits @ COST / 600).astype(np.int64),
        "macs": (1.65e9 + digits @ COST).astype(np.int64),
        "sram_kib": 600.0 + digits[:, 0] * 100.0 + digits[:, 4],
    }
    columns |= {} if zero is None else {"zero_flow_epe": np.full(len(archs), zero)}
    kept = (errors, np.full(samples, 43200)) if keep else (None, None)
    known = {"run": "runs/none", "width": "8", "size": "96x128"} if facts is None else facts
    return Ranking("v1", tuple(map(str, archs)), columns, block_words(space, archs), known, *kept)
