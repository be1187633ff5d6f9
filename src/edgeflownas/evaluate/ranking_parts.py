"""Figures of a ranking, unit by unit: what a finished unit leaves on disk, and the table all of them make.

A part keeps the errors of every sample of the first set, so that the table can say which subnets the best one is
really better than (paired differences), whatever of them the table itself keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.evaluate.metrics import epe
from edgeflownas.evaluate.noise import paired_change, standard_errors, student95
from edgeflownas.evaluate.ranking import Ranking, block_words, ranks
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.space import Arch, SearchSpace

TIED = "within_noise_of_best"
"""Fact of a table: how many of its subnets are not worse than the best beyond noise (95 %), the best included."""


@dataclass(frozen=True)
class Part:
    """What was measured of the subnets of one unit, in their order."""

    columns: dict[str, NDArray[Any]]
    """[A] float64 or int64 by name."""
    sample_epe: NDArray[np.float32]
    """[A, N] mean error of each sample of the first set, px; nan where it has no valid pixel."""

    def to_bytes(self, signature: str) -> bytes:
        """Content of the part's file; ``signature`` says of which ranking and unit."""
        arrays = {**self.columns, "sample_epe": self.sample_epe}
        return tensor_bytes(arrays, {"signature": signature, "columns": "|".join(self.columns), "sum": _sum(arrays)})


def read_part(path: Path, signature: str) -> Part:
    """Inverse of :meth:`Part.to_bytes`.  Raises ValueError, KeyError or OSError for anything but the very part."""
    arrays, words = read_tensors(path)
    if words["signature"] != signature:
        raise ValueError("it is of another ranking")
    names = words["columns"].split("|")
    part = Part({name: arrays[name] for name in names}, arrays["sample_epe"])
    if words["sum"] != _sum({**part.columns, "sample_epe": part.sample_epe}):
        raise ValueError("its content does not fit its checksum")
    return part


def _sum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def set_columns(name: str, first: bool) -> list[str]:
    """Columns of a set whose EPE is column ``name``, in their order; only the first set has them all."""
    return [name, f"{name}_standard_error", *((f"{name}_median", f"{name}_p90") if first else ())]


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # a subnet that diverged, a sample without pixels
def part_of(names: Sequence[str], sums: Sequence[torch.Tensor], pixels: Sequence[torch.Tensor]) -> Part:
    """Figures of one unit.

    Args:
        names: column of each set's EPE, ``epe`` first.
        sums: of each set: summed end-point error (float64 [A, N], px) of each subnet on each sample.
        pixels: of each set: valid pixels of each sample [N].

    Raises:
        DataError: a set without a valid pixel.
    """
    columns: dict[str, NDArray[Any]] = {}
    errors: list[NDArray[np.float32]] = []
    for name, total, counts in zip(names, sums, pixels, strict=True):
        total, counts = total.cpu(), counts.cpu()
        means = (total / counts).numpy()
        own = [np.array([epe(row, counts) for row in total]), standard_errors(means, counts.numpy())]
        first = name == names[0]
        if first:
            seen = means[:, counts.numpy() > 0]
            own += [np.median(seen, axis=1), np.percentile(seen, 90, axis=1)]
        columns |= dict(zip(set_columns(name, first), own, strict=True))
        if first:
            columns["samples"] = np.full(len(seen), seen.shape[1], dtype=np.int64)
        errors.append(means.astype(np.float32))
    return Part(columns, errors[0])


def assemble(
    space: SearchSpace,
    archs: Sequence[Arch],
    units: Sequence[Sequence[int]],
    part: Callable[[int], Part],
    pixels: NDArray[np.int64],
    facts: Mapping[str, str],
    keep: bool,
) -> Ranking:
    """The table of all parts, without costs; never more than one part in memory beside it.

    Args:
        space: search space of ``archs``.
        archs: rows, in their order.
        units: positions in ``archs`` of every unit's subnets.
        part: the part of a unit by its place in ``units``.
        pixels: valid pixels of the samples of the first set [N].
        facts: what was measured.
        keep: whether the table keeps the errors of the samples (float16).
    """
    columns: dict[str, NDArray[Any]] = {"rank": np.zeros(len(archs), dtype=np.int64)}
    errors = np.empty((len(archs), len(pixels)), dtype=np.float16) if keep else None
    for place, members in enumerate(units):
        own = part(place)
        for name, values in own.columns.items():
            columns.setdefault(name, np.zeros(len(archs), dtype=values.dtype))[list(members)] = values
        if errors is not None:
            with np.errstate(over="ignore"):
                errors[list(members)] = own.sample_epe
    columns["rank"] = ranks(columns["epe"])
    found = {**facts}
    if (pixels > 0).sum() > 1:
        found[TIED] = str(_tied(units, part, pixels, int(np.argmin(columns["rank"]))))
    return Ranking(
        space.name,
        tuple(map(str, archs)),
        columns,
        block_words(space, archs),
        found,
        errors,
        pixels if keep else None,
    )


def _tied(units: Sequence[Sequence[int]], part: Callable[[int], Part], pixels: NDArray[np.int64], best: int) -> int:
    """Subnets whose paired difference to ``best`` is within the 95 % interval of noise."""
    home = next(place for place, members in enumerate(units) if best in members)
    row = part(home).sample_epe[list(units[home]).index(best)][None]
    bound = student95(int((pixels > 0).sum()))
    count = 0
    for place in range(len(units)):
        worse, error = paired_change(row, part(place).sample_epe, pixels)
        count += int((worse <= bound * error).sum())
    return count
