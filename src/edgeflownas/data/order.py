"""Which samples a step sees, as a pure function of (seed, epoch, step).

Nothing here has state: a batch can be asked for in any order, by any process, and a run that is resumed in the
middle of an epoch asks for the next one.  Words: a *draw* is one sample taken for training; a *pass* is one
permutation of the whole split; with epoch_mode fixed_steps and by_samples all draws of the run form one stream through
consecutive passes, with full_pass and near_full every epoch starts a pass of its own (near_full: where the draws are
shuffled and no train.epoch_divisor makes the epoch a part of a pass).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import TrainConfig
from edgeflownas.errors import DataError
from edgeflownas.randomness import permutation, words

Indices = NDArray[np.int64]

# Draws with replacement are made in blocks, because starting a Philox generator costs more than its words.
# The size is part of the definition of the order: changing it changes every run.
DRAW_BLOCK = 4096


@dataclass(frozen=True)
class Coverage:
    """How much of the split an epoch draws."""

    drawn: int  # draws, repetitions counted
    unique: int  # different samples among them
    share: float  # unique / samples of the split
    expected_unique: float  # what as many draws with replacement would reach on average, see :func:`expected_unique`
    cumulative_passes: float  # draws since the start of the run / samples of the split


@dataclass(frozen=True)
class BatchPlan:
    """The order of the training samples; build it with :meth:`from_config`, which checks the combination."""

    num_samples: int
    batch_size: int
    num_paths_drawn: int  # slices of a step with samples of their own: all paths for path_batches shifted, else 1
    epoch_mode: Literal["fixed_steps", "full_pass", "near_full", "by_samples"]
    sampling: Literal["random_with_replacement", "shuffle_no_replacement", "sequential"]
    steps_per_epoch_key: int | None
    samples_per_epoch_key: int | float | None
    seed: int
    divisor: int = 1  # train.epoch_divisor: an epoch is this many times shorter

    @classmethod
    def from_config(cls, train: TrainConfig, num_samples: int, num_paths: int, seed: int) -> BatchPlan:
        """The plan for so many training samples and paths a step.  Raises DataError: too few for what is promised."""
        if num_samples < 1:
            raise DataError("the training split has no samples (data.train_dir): point it to a folder with some")
        shifted = train.path_batches == "shifted"
        plan = cls(
            num_samples=num_samples,
            batch_size=train.batch_size,
            num_paths_drawn=num_paths if shifted else 1,
            epoch_mode=train.epoch_mode,
            sampling=train.train_sampling_mode,
            steps_per_epoch_key=train.steps_per_epoch,
            samples_per_epoch_key=train.train_samples_per_epoch,
            seed=seed,
            divisor=train.epoch_divisor,
        )
        needed = min(plan.draws_per_step, plan.draws_per_epoch)
        if shifted and num_samples < needed:
            most = num_samples // num_paths
            remedy = f"lower train.batch_size to {most} or less, or" if most else "add samples, or"
            raise DataError(
                f"train.path_batches shifted needs {needed} different samples a step ({num_paths} paths, "
                f"train.batch_size {train.batch_size}), the training split has {num_samples}: {remedy} set "
                "train.path_batches to same"
            )
        return plan

    @property
    def draws_per_step(self) -> int:
        """Draws of a full step: batch_size, or paths x batch_size for path_batches shifted."""
        return self.batch_size * self.num_paths_drawn

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; full_pass: ceil(N / draws of a step); near_full: floor of it, at least 1."""
        if self.epoch_mode == "fixed_steps":
            assert self.steps_per_epoch_key is not None
            return max(1, self.steps_per_epoch_key // self.divisor)
        if self.epoch_mode == "near_full":
            return max(1, self.num_samples // self.draws_per_step // self.divisor)
        draws = self.num_samples if self.epoch_mode == "full_pass" else self.draws_per_epoch
        return math.ceil(draws / self.draws_per_step)

    @property
    def draws_per_epoch(self) -> int:
        """Draws of an epoch; times num_epochs this is the planned total of the learning-rate schedule."""
        if self.epoch_mode != "by_samples":
            return self.steps_per_epoch * self.draws_per_step
        key = self.samples_per_epoch_key
        assert key is not None
        draws = max(1, round(key * self.num_samples)) if isinstance(key, float) else key
        return math.ceil(max(1, draws // self.divisor) / self.num_paths_drawn) * self.num_paths_drawn

    @property
    def reshuffles(self) -> bool:
        """Whether every epoch starts a pass of its own."""
        whole = self.epoch_mode == "near_full" and self.divisor == 1 and self.sampling == "shuffle_no_replacement"
        return self.epoch_mode == "full_pass" or whole

    def draws(self, epoch: int, step: int) -> Indices:
        """Draw positions of a step (shape [b]): in an epoch that reshuffles, else in the stream of the whole run."""
        if epoch < 0 or not 0 <= step < self.steps_per_epoch:
            raise IndexError(f"no step {step} in epoch {epoch}: an epoch has steps 0..{self.steps_per_epoch - 1}")
        start = step * self.draws_per_step
        stop = min(start + self.draws_per_step, self.draws_per_epoch)
        return np.arange(start, stop, dtype=np.int64) + self._epoch_start(epoch)

    def indices(self, epoch: int, step: int) -> Indices:
        """Sample indices of a step (shape [b]; smaller only for the last step of by_samples)."""
        return self._samples(epoch, self.draws(epoch, step))

    def coverage(self, epoch: int) -> Coverage:
        """Measured coverage of an epoch."""
        n, drawn = self.num_samples, self.draws_per_epoch
        unique = len(np.unique(self._samples(epoch, np.arange(drawn, dtype=np.int64) + self._epoch_start(epoch))))
        return Coverage(drawn, unique, unique / n, expected_unique(n, drawn), (epoch + 1) * drawn / n)

    def _epoch_start(self, epoch: int) -> int:
        return 0 if self.reshuffles else epoch * self.draws_per_epoch

    def _samples(self, epoch: int, positions: Indices) -> Indices:
        """Sample at each draw position."""
        if self.sampling == "sequential":
            return positions % self.num_samples
        if self.sampling == "random_with_replacement":
            return _gather(positions, DRAW_BLOCK, lambda block: _drawn_block(self.num_samples, self.seed, block))
        if self.reshuffles:
            # A last batch that is not whole is filled from the start of the same order, around as often as it takes.
            return _permutation(self.num_samples, self.seed, epoch)[positions % self.num_samples]
        return _gather(positions, self.num_samples, lambda number: _pass_order(self, number))

    def _across(self, number: int) -> tuple[int, int]:
        """Draws before and after the start of pass ``number`` within the step that crosses it (0, n: none does)."""
        boundary = number * self.num_samples
        epoch, within = divmod(boundary, self.draws_per_epoch)
        before = within % self.draws_per_step
        step_draws = min(self.draws_per_step, self.draws_per_epoch - (within - before))
        return before, step_draws - before


def expected_unique(n: int, drawn: int) -> float:
    """Different samples that ``drawn`` draws with replacement from ``n`` reach on average: n (1 - (1 - 1/n)^drawn)."""
    if n == 1:
        return float(drawn > 0)
    return -n * math.expm1(drawn * math.log1p(-1.0 / n))


def spread(n: int, count: int) -> Indices:
    """``count`` evenly spaced indices of 0..n-1, ascending: the middles of equal parts (all if count >= n)."""
    if count >= n:
        return np.arange(n, dtype=np.int64)
    return (2 * np.arange(count, dtype=np.int64) + 1) * n // (2 * count)


def prefix(n: int, count: int) -> Indices:
    """The first ``count`` indices of 0..n-1 (all if count >= n)."""
    return np.arange(min(n, count), dtype=np.int64)


def _gather(positions: Indices, size: int, part: Callable[[int], Indices]) -> Indices:
    """``part(k)[r]`` for each position k * size + r, with one call for each part touched."""
    numbers, offsets = np.divmod(positions, size)
    found = np.empty_like(positions)
    for number in np.unique(numbers):
        here = numbers == number
        found[here] = part(int(number))[offsets[here]]
    return found


@functools.lru_cache(maxsize=8)
def _permutation(n: int, seed: int, number: int) -> Indices:
    order = permutation(n, seed, "order", number)
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=8)
def _drawn_block(n: int, seed: int, number: int) -> Indices:
    # The modulo favours small indices by less than n / 2^64.
    return (words(seed, "draw", number, count=DRAW_BLOCK) % np.uint64(n)).astype(np.int64)


@functools.lru_cache(maxsize=8)
def _pass_order(plan: BatchPlan, number: int) -> Indices:
    """Order of pass ``number`` of the stream.

    A plain permutation, except for path_batches shifted: where a step lies across the border of two passes, samples
    it has drawn from the old one are put off until after it, so that the paths of a step never share a sample.
    """

    def plain(index: int) -> Indices:
        return _permutation(plan.num_samples, plan.seed, index)

    if plan.num_paths_drawn == 1:
        return plain(number)
    # Putting off moves nothing beyond the first draws_per_step positions, so the end of the pass before is plain
    # unless the split is tiny; then go back to a border that no step crosses.
    first = number
    while plan._across(first)[0]:
        first -= 1
        if plan.num_samples >= 2 * plan.draws_per_step:
            break
    order = plain(first)
    for index in range(first + 1, number + 1):
        before, after = plan._across(index)
        seen, order = order[plan.num_samples - before :], plain(index)
        front = np.flatnonzero(~np.isin(order, seen))[:after]
        order = np.concatenate([order[front], np.delete(order, front)])
    return order
