"""Which subnets a ranking evaluates: a whole space, those of a file, those that fulfil conditions, a sample."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.where import Condition, holds, parse_where
from edgeflownas.randomness import words
from edgeflownas.space import Arch, SearchSpace

MOST_SUBNETS = 1_000_000
"""More than that are not enumerated."""


Costs = Callable[[Sequence[Arch]], Mapping[str, NDArray[Any]]]


def choose_archs(
    space: SearchSpace,
    codes: Sequence[Arch] | None = None,
    where: str = "",
    sample: int | None = None,
    seed: int = 0,
    costs: Mapping[str, Costs] = {},
) -> list[Arch]:
    """The chosen archs in the order of the space, each once.

    Args:
        space: search space of the codes.
        codes: to choose among; None for the whole space.
        where: conditions on the digits of blocks and on ``costs``, such as ``EB0=1,H2<=1,macs<2e9``.
        sample: how many to draw of those, uniformly without repeats; None for all.
        seed: the same seed draws the same.
        costs: by column, what gives it (and perhaps others) for some archs; asked only where a condition needs it.

    Raises:
        ConfigError: a condition that is none, nothing left to evaluate, or a space too large to enumerate.
    """
    conditions = parse_where(where, [*(choice.name for choice in space.choices), *costs])
    digits = [condition for condition in conditions if condition.name not in costs]
    count, at = _listed(space, codes, digits) if codes is not None else _allowed(space, digits)
    if len(digits) < len(conditions) and 0 < count <= MOST_SUBNETS:
        archs = [at(position) for position in range(count)]
        for condition in conditions:
            if condition.name in costs and archs:
                fits = holds([condition], costs[condition.name](archs))
                archs = [archs[place] for place in np.flatnonzero(fits)]
        count, at = len(archs), archs.__getitem__
    if count == 0:
        among = f"space {space.name!r}" if codes is None else f"the {len(codes):,} given"
        raise ConfigError(f"--where {where!r} leaves no subnet of {among}")
    if sample is None and count > MOST_SUBNETS:
        raise ConfigError(
            f"{count:,} subnets are too many to evaluate one and all (limit {MOST_SUBNETS:,}): let `edgeflownas "
            "search` look for the good ones, rank a part with --where, or draw with --sample 1000"
        )
    if sample is not None and not 0 < sample <= min(count, MOST_SUBNETS):
        raise ConfigError(f"--sample {sample} must be 1 to {min(count, MOST_SUBNETS)}, the subnets to choose among")
    chosen = range(count) if sample is None else _drawn(count, sample, seed)
    return sorted(at(position) for position in chosen)


def read_codes(path: Path, space: SearchSpace) -> tuple[list[Arch], int]:
    """Archs of a text file with a code a line, or of a CSV with a column ``code``; and how many were there again.

    Empty lines, and what follows a ``#`` in a text file, are left out.

    Raises:
        DataError: a file that cannot be read or names no arch; ConfigError: a code of another space (with its line).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--archs {path}: cannot be read ({error}); give a text file with a code a line") from error
    found: list[Arch] = []
    try:
        for number, cell in _cells(lines):
            try:
                found.append(space.parse(cell))
            except ConfigError as error:
                raise ConfigError(f"--archs {path}, line {number}: {error}") from None
    except ConfigError:  # said already
        raise
    except (csv.Error, ValueError) as error:
        raise DataError(f"--archs {path}: no sound CSV: {error}") from error
    if not found:
        raise DataError(
            f"--archs {path}: no arch code in it; give a text file with a code a line, or a CSV with `code`"
        )
    unique = list(dict.fromkeys(found))
    return unique, len(found) - len(unique)


def _cells(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Codes of a file with the numbers of their lines.  Raises csv.Error, and ValueError for a row without a code."""
    header = next(csv.reader(lines[:1]), [])
    if "code" not in header:
        for number, line in enumerate(lines, start=1):
            if code := line.partition("#")[0].strip().strip('"'):
                yield number, code
        return
    rows = csv.reader(lines[1:])
    for row in rows:
        if row and len(row) != len(header):
            raise ValueError(f"line {rows.line_num + 1} has {len(row)} cells of {len(header)}; is the file cut off?")
        if row and not row[header.index("code")]:
            raise ValueError(f"line {rows.line_num + 1} has no code")
        if row:
            yield rows.line_num + 1, row[header.index("code")]


def _listed(
    space: SearchSpace, codes: Sequence[Arch], conditions: Sequence[Condition]
) -> tuple[int, Callable[[int], Arch]]:
    names = [choice.name for choice in space.choices]
    digits = np.array(codes, dtype=np.int64).reshape(len(codes), len(names))
    kept = np.flatnonzero(holds(conditions, dict(zip(names, digits.T, strict=True))))
    return len(kept), lambda position: codes[int(kept[position])]


def _allowed(space: SearchSpace, conditions: Sequence[Condition]) -> tuple[int, Callable[[int], Arch]]:
    """Each condition is on one block, so the allowed archs are a product, of any size, that is never written out."""
    options = []
    for choice in space.choices:
        own = [condition for condition in conditions if condition.name == choice.name]
        digits = np.arange(len(choice.options))
        options.append(digits[holds(own, {choice.name: digits})].tolist())
    sizes = [len(allowed) for allowed in options]
    steps = list(itertools.accumulate([1, *sizes[:0:-1]], int.__mul__))[::-1]  # of each block, the last one 1

    def at(position: int) -> Arch:
        return space.arch(
            [allowed[position // step % len(allowed)] for allowed, step in zip(options, steps, strict=True)]
        )

    return math.prod(sizes), at


def _drawn(count: int, sample: int, seed: int) -> list[int]:
    """``sample`` different numbers below ``count``, uniform, a function of the seed."""
    drawn: dict[int, None] = {}
    for attempt in itertools.count():
        if len(drawn) >= sample:
            return list(drawn)[:sample]
        drawn |= dict.fromkeys((words(seed, "ranking.sample", attempt, count=sample) % np.uint64(count)).tolist())
    raise AssertionError("unreachable")
