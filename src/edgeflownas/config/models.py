"""The configuration: frozen models, one field per key, help text beneath each field."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edgeflownas.config.fields import (
    SIZE,
    Count,
    Fraction,
    Group,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Roots,
    SizeText,
    dynamics,
    identity,
    observation,
    plain_name,
)
from edgeflownas.config.train import TrainConfig

__all__ = ["CheckpointConfig", "Config", "DataConfig", "EvalConfig", "RuntimeConfig", "TrainConfig"]


class RuntimeConfig(Group):
    """Where the run lives and how it is executed."""

    output_root: str = observation("runs")
    """Folder that holds the run directories; the run directory is output_root/experiment_name."""
    experiment_name: str = observation("supernet")
    """Name of the run directory (letters, digits, dot, dash, underscore)."""
    seed: Count = dynamics(0)
    """Seed of everything random: initial values, sample order, augmentation, fair cycles."""
    deterministic: bool = dynamics(True)
    """Deterministic kernels only (an operation without one is an error) and no autotuning."""
    num_threads: Count = observation(0)
    """CPU threads of one process; 0 takes all cores. Sums round differently with another count, so it is recorded."""
    max_seconds: PositiveFloat | None = observation(None)
    """Stop after this many seconds as if by a signal: commit, exit 75, resume later. null: no limit."""
    tensorboard: bool = observation(True)
    """Write TensorBoard event files beside events.jsonl."""
    report: bool = observation(True)
    """Refresh report.html in the run directory at each evaluation (and write pictures/ for it, see eval.pictures)."""
    summary_every: Positive = observation(1)
    """Steps between two points of the training curves in TensorBoard; events.jsonl holds every step."""
    summary_flush_every: Positive = observation(100)
    """Steps between two flushes of the TensorBoard files to disk (and at the end)."""

    @field_validator("experiment_name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return plain_name(value)


class DataConfig(Group):
    """The samples and what is done to them."""

    train_dir: str = observation("data/FlyingChairs2/train")
    """A folder in FlyingChairs2 layout, or a data set by name, NAME[:VARIANT][@ROOT] (docs/data.md).
    The content is identity, the place free."""
    val_dir: str = observation("data/FlyingChairs2/val")
    """The evaluation pairs: a folder or a data set by name."""
    roots: Roots = observation({})
    """Data set name to folder, before EDGEFLOWNAS_DATA_NAME and ~/.config/edgeflownas/datasets.yaml."""
    crop_size: tuple[Positive, Positive] = identity((180, 240))
    """Height and width of the crop (random in training, centre in evaluation), e.g. 180x240."""
    channel_order: Literal["rgb", "bgr"] = identity("rgb")
    """Order of the channels the network sees (published EdgeFlowNet: bgr). Files and cache are RGB either way."""
    flow_clip: PositiveFloat | None = identity(50.0)
    """Flow components beyond +-this are clipped and stay valid; null: off. Applies to training and pool evaluation."""
    flow_divisor: PositiveFloat = identity(1.0)
    """The network learns flow (clipped) divided by this; evaluation multiplies back, so every EPE is in pixels."""
    horizontal_flip: Fraction = dynamics(0.0)
    """Probability of mirroring left-right (u changes sign)."""
    vertical_flip: Fraction = dynamics(0.0)
    """Probability of mirroring top-bottom (v changes sign)."""
    brightness: NonNegativeFloat = dynamics(0.0)
    """Largest change of brightness, in units of the 0..1 range, same for both images."""
    contrast: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] = dynamics(0.0)
    """Largest relative change of contrast about the mean, same for both images."""
    noise_std: NonNegativeFloat = dynamics(0.0)
    """Standard deviation of Gaussian pixel noise, in units of the 0..1 range, drawn for each image."""
    num_workers: Count = observation(2)
    """Loader threads; 0 loads in the training thread. Never changes a bit of the result."""
    prefetch_batches: Positive | None = observation(None)
    """Batches loaded ahead; bounds the memory. null: 4, or 8 with train.fast_mode."""
    worker_timeout: PositiveFloat = observation(60.0)
    """Seconds to wait for one batch before a stuck worker is an error."""
    on_bad_sample: Literal["stop", "quarantine"] = dynamics("stop")
    """A file that turns out unreadable: stop with exit 65, or replace it by the next in name order and log it."""
    quarantine_cap: Fraction = observation(0.001)
    """Share of the training samples (at least one sample) that may be quarantined before the run stops with exit 65."""
    cache_dir: str | None = observation(None)
    """Folder for decoded uint8 images, one memory-mapped file per data fingerprint; null: decode each time."""

    @field_validator("crop_size", mode="before", json_schema_input_type=tuple[Positive, Positive] | SizeText)
    @classmethod
    def _size(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(SIZE, value):
            return [int(part) for part in value.split("x")]
        return value


class EvalConfig(Group):
    """The pool evaluation, best checkpoint and early stop."""

    eval_pool_size: Positive = observation(12)
    """Subnets in the evaluation pool. A single model is a pool of one by itself: leave the default there."""
    eval_every_epoch: Positive = observation(1)
    """Evaluate after every this many epochs, and after the last."""
    eval_batches_per_arch: Positive = observation(16)
    """Evaluation batches; every subnet sees the same ones."""
    bn_recal_batches: Positive = observation(32)
    """Calibration batches (training samples, centre crop) of the batch-norm recalibration of every subnet."""
    batch_size: Positive = observation(8)
    """Samples of an evaluation or calibration batch."""
    selection: Literal["spread", "prefix"] = observation("spread")
    """Which samples: evenly spaced over the sorted names, or the first ones (historical)."""
    wide_every_epoch: Positive | None = observation(None)
    """Also score the wide set, with the same calibration, at the first evaluation after every this many epochs, and
    after the last; null: never. It is decoded each time, not held in memory."""
    wide_batches_per_arch: Positive | None = observation(None)
    """Batches of the wide set; null: the whole validation split."""
    train_batches: Count = observation(2)
    """Batches of training samples scored at each evaluation, in the centre crop and in a fixed random one; 0: none."""
    keep_sample_errors: bool = observation(True)
    """Keep the error of every sample and subnet of each evaluation (sample_epe/): what `edgeflownas noise` reads."""
    best_by: Literal["mean", "median", "p90", "mix"] = observation("mean")
    """Statistic of the pool's EPE that chooses the best checkpoint."""
    best_mix: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = observation((0.5, 0.25, 0.25))
    """Weights of mean, median and p90 for best_by mix."""
    early_stop_patience: Positive | None = observation(None)
    """Evaluations without improvement after which training ends (exit 0); null: never."""
    early_stop_min_delta: NonNegativeFloat = observation(0.0)
    """Improvement in px below this does not count for early stopping."""
    pictures: Count = observation(2)
    """Fixed pairs drawn at each evaluation, for TensorBoard and the report: image, prediction, truth, error."""

    @model_validator(mode="after")
    def _check(self) -> EvalConfig:
        if sum(self.best_mix) <= 0:
            raise ValueError("eval.best_mix weights must not all be zero (eval.best_by mix divides by their sum)")
        if self.wide_batches_per_arch is not None and self.wide_every_epoch is None:
            raise ValueError(
                f"eval.wide_batches_per_arch {self.wide_batches_per_arch} has no effect without a wide evaluation: "
                "set eval.wide_every_epoch"
            )
        return self

    def wide_is_due(self, epoch: int) -> bool:
        """Whether a multiple of wide_every_epoch lies between the evaluation before and the one after ``epoch``."""
        every = self.wide_every_epoch
        return every is not None and epoch // every > (epoch - self.eval_every_epoch) // every


class CheckpointConfig(Group):
    """When the run is committed to disk."""

    every_steps: Positive | None = observation(None)
    """Also commit after every this many steps; null: at the end of each epoch and before each evaluation only."""
    keep: Annotated[int, Field(ge=2, strict=True)] = observation(2)
    """Verified checkpoints kept, beside the best."""


class Config(Group):
    """A whole run."""

    runtime: RuntimeConfig = RuntimeConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        default = EvalConfig.model_fields["eval_pool_size"].default
        if self.train.task != "supernet" and self.eval.eval_pool_size not in (1, default):
            raise ValueError(
                f"eval.eval_pool_size {self.eval.eval_pool_size}: with train.task {self.train.task} every model is a "
                "pool of one: remove the key"
            )
        return self
