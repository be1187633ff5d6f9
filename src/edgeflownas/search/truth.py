"""Subnets trained alone beside a supernet that ranks them: opened, checked, and scored on one and the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import Config
from edgeflownas.config.load import load_config
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.evalset import FrozenBatches, freeze_calibration
from edgeflownas.evaluate.noise import PoolNoise, pool_noise
from edgeflownas.evaluate.pool import PoolEvaluation, score_pool
from edgeflownas.evaluate.trust import used_runs
from edgeflownas.models.stages import StagedNet
from edgeflownas.run.checkpoint import Checkpoint
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.manifest import compare, refused
from edgeflownas.space import Arch
from edgeflownas.train.group import is_group, member_configs
from edgeflownas.train.reading import ReadRun, load_net

__all__ = ["Judge", "TrainedAlone", "TruthTable", "open_like", "read_alone", "truth_table"]

# What two networks must share so that their errors on the same pixels can be compared.
SHARED = (
    *("train.space", "train.width", "train.input_normalisation", "data.channel_order", "data.flow_divisor"),
    *("data.crop_size", "data.flow_clip", "data.train fingerprint"),
)


@dataclass(frozen=True)
class TrainedAlone:
    """A run of one subnet: its code in the whole space and the seed it was trained with."""

    run: RunDirectory
    config: Config
    arch: Arch
    seed: int


def open_like(base: ReadRun, path: Path, option: str, tasks: Collection[str]) -> tuple[RunDirectory, Config]:
    """A run whose network reads what that of ``base`` reads.

    Raises:
        ConfigError: another task, or a key that makes the two not comparable; StorageError: not a run directory.
    """
    run = RunDirectory(path)
    config = load_config(run.path / "config.yaml")
    if config.train.task not in tasks:
        raise ConfigError(
            f"{option}: {path} is a run of train.task {config.train.task}, wanted is {' or '.join(tasks)}"
        )
    for difference in compare(base.directory.manifest, run.manifest):
        if difference.key in SHARED:
            raise ConfigError(
                f"{option}: {path} differs from {base.directory.path} in {difference.key} ({difference.now_value} and "
                f"{difference.run_value}), so their errors cannot be compared: give runs of the same space, width and "
                "data"
            )
    return run, config


def read_alone(base: ReadRun, paths: Sequence[Path]) -> list[TrainedAlone]:
    """The runs of single subnets, folders of several expanded, in the order given.

    Raises:
        ConfigError: a run that cannot be compared, differences between them beside subnet and seed, one subnet twice
            with one seed, or fewer than three subnets.
    """
    members = [path / name for path in paths for name in (_names(path) if is_group(path) else [""])]
    runs = []
    for path in members:
        run, config = open_like(base, path, "--truth", ("standalone", "distil"))
        runs.append(TrainedAlone(run, config, base.net.space.parse(config.train.arch[0]), config.runtime.seed))
    for one in runs[1:]:
        _require_same_training(runs[0], one)
    seen: dict[tuple[Arch, int], Path] = {}
    for one in runs:
        first = seen.setdefault((one.arch, one.seed), one.run.path)
        if first != one.run.path or members.count(one.run.path) > 1:
            raise ConfigError(
                f"--truth: {first} and {one.run.path} are both subnet {one.arch} with runtime.seed {one.seed}: a "
                "second run of a subnet needs another seed"
            )
    if len({one.arch for one in runs}) < 3:
        raise ConfigError(f"--truth: {len({one.arch for one in runs})} subnets; an order of fewer than 3 says nothing")
    return runs


def _names(group: Path) -> list[str]:
    return list(member_configs(load_config(group / "config.yaml")))


def _require_same_training(first: TrainedAlone, other: TrainedAlone) -> None:
    free = {"train.arch", "runtime.seed", "space declaration"}
    for difference in refused(compare(first.run.manifest, other.run.manifest, allow=free)):
        raise ConfigError(
            f"--truth: {first.run.path} and {other.run.path} differ in {difference.key} ({difference.run_value} and "
            f"{difference.now_value}): subnets are compared after equal training; give runs that differ in train.arch "
            "and runtime.seed only"
        )


@dataclass(frozen=True)
class TruthTable:
    """Errors of S seeds and A subnets."""

    archs: list[Arch]
    seeds: list[int]
    errors: NDArray[np.float64]
    """[S, A] EPE, px; nan where there is no run."""
    used: NDArray[np.bool_]
    """[S, A] runs that make up the truth (evaluate.trust.used_runs)."""
    truth: NDArray[np.float64]
    """[A], px."""
    noise: PoolNoise
    """What the evaluation samples leave open of the truth."""


def truth_table(runs: Sequence[TrainedAlone], results: Sequence[PoolEvaluation]) -> TruthTable:
    """Runs and their scores, subnets in the order of their first run.  Raises DataError for one that diverged."""
    archs, seeds = list(dict.fromkeys(one.arch for one in runs)), sorted({one.seed for one in runs})
    errors = np.full((len(seeds), len(archs)), np.nan)
    samples = np.zeros((*errors.shape, results[0].samples))
    for one, result in zip(runs, results, strict=True):
        if not np.isfinite(result.epes[0]):
            raise DataError(f"--truth: {one.run.path} has an EPE of {result.epes[0]}: it diverged, leave it out")
        place = seeds.index(one.seed), archs.index(one.arch)
        errors[place], samples[place] = result.epes[0], result.scores[0].sample_epe.numpy()
    used = used_runs(errors)
    count = used.sum(axis=0)
    truth = np.where(used, errors, 0.0).sum(axis=0) / count
    mean = np.where(used[..., None], samples, 0.0).sum(axis=0) / count[:, None]
    return TruthTable(archs, seeds, errors, used, truth, pool_noise(mean, results[0].valid_pixels))


class Judge:
    """Scores networks on the frozen sets of one supernet run; ``advance`` is called before every batch."""

    def __init__(self, base: ReadRun, advance: Callable[[], None] = lambda: None) -> None:
        self.base, self.advance = base, advance
        first, frozen = next(base.net.parameters()), base.eval_set
        self._place = (frozen.flow_clip, first.device, first.dtype, base.net.input_form)
        self._calibration = FrozenBatches(frozen.calibration, base.train, *self._place)
        self._evaluation = FrozenBatches(frozen.evaluation, base.val, *self._place)

    @property
    def batches(self) -> int:
        """Batches read for one network."""
        return len(self._calibration) + len(self._evaluation)

    def score(self, net: StagedNet, archs: Sequence[Arch], calibration: FrozenBatches | None = None) -> PoolEvaluation:
        """Subnets of a network, each recalibrated on the frozen calibration samples or on others."""
        sets = calibration or self._calibration, self._evaluation
        return score_pool(net, archs, *sets, self.advance, self.base.config.data.flow_divisor)

    def calibration(self, batches: int, note: Callable[[str], None]) -> FrozenBatches:
        """So many calibration batches of the run's training data, chosen as the run would have."""
        config, frozen = self.base.config, self.base.eval_set
        settings = config.eval.model_copy(update={"bn_recal_batches": batches})
        config = config.model_copy(update={"eval": settings})
        split = freeze_calibration(config, self.base.train, frozen.calibration.label, note)
        return FrozenBatches(split, self.base.train, *self._place, hold=False)

    def load(self, run: RunDirectory, config: Config, checkpoint: str = "latest") -> tuple[StagedNet, Checkpoint]:
        """The network of another run, on the device of the first and computed alike."""
        own = self.base.config
        place = {name: getattr(own.train, name) for name in ("gpu_device", "channels_last")}
        train = config.train.model_copy(update=place)
        return load_net(run, config.model_copy(update={"train": train, "runtime": own.runtime}), checkpoint)

    def alone(self, runs: Sequence[TrainedAlone]) -> list[PoolEvaluation]:
        """Each subnet with its own weights.  Raises ConfigError where they were not trained for as many steps."""
        found, steps = [], 0
        for one in runs:
            net, stored = self.load(one.run, one.config)
            steps = steps or stored.position.step
            if stored.position.step != steps:
                raise ConfigError(
                    f"--truth: {one.run.path} stands at step {stored.position.step}, {runs[0].run.path} at {steps}: go "
                    f"on with edgeflownas train --resume until all are finished"
                )
            found.append(self.score(net, [net.space.parse(str(one.arch))]))
        return found
