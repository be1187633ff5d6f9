"""The configuration: frozen models, one field per key, help text beneath each field.

Every field carries its manifest kind, which decides what a resume may change (docs/concepts.md):
``identity`` (what the run is: differs, refuse), ``dynamics`` (how it evolves: differs, refuse unless forked),
``observation`` (how it is watched, stored or executed: free).  Unknown keys are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["CheckpointConfig", "Config", "DataConfig", "EvalConfig", "RuntimeConfig", "TrainConfig"]

# Strict: without it pydantic reads true as 1 and "8" as 8.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0.0, strict=True)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, strict=True)]
SIZE = "^[0-9]+x[0-9]+$"
SizeText = Annotated[str, Field(pattern=SIZE, examples=["180x240"])]


def _kind(kind: str, default: Any) -> Any:
    return Field(default=default, json_schema_extra={"kind": kind})


def identity(default: Any) -> Any:
    """A key that says what the run is; a resume that changes it is refused."""
    return _kind("identity", default)


def dynamics(default: Any) -> Any:
    """A key that says how the run evolves; a resume that changes it needs a fork."""
    return _kind("dynamics", default)


def observation(default: Any) -> Any:
    """A key that changes no weight; free at resume."""
    return _kind("observation", default)


class Group(BaseModel):
    """Base of the groups: frozen, no unknown keys, help from the attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


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

    @field_validator("experiment_name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        allowed = all(c.isalnum() or c in "._-" for c in value)
        if not value or not allowed or value[0] in ".-" or len(value.encode()) > 200:
            raise ValueError("must be 1 to 200 letters, digits, '.', '-', '_', not starting with '.' or '-'")
        return value


class TrainConfig(Group):
    """The model, the plan and the optimiser."""

    space: str = identity("v1")
    """Search space by name."""
    width: Positive = identity(32)
    """Channels of the first convolution (c); the whole network scales with it. Even."""
    gpu_device: Annotated[int, Field(ge=-1, strict=True)] | Literal["auto"] = observation("auto")
    """-1 CPU, n that GPU (an error where it does not exist), auto: GPU 0 where there is one, else CPU."""
    precision: Literal["fp32", "bf16", "tf32", "fp64"] = dynamics("fp32")
    """Arithmetic of the training step; bf16 by autocast with fp32 weights, tf32 on GPU only, fp64 for verification."""
    channels_last: bool = dynamics(True)
    """Memory format NHWC (faster here) rather than NCHW."""
    distributed: Literal["data", "path", "both"] = observation("data")
    """What torchrun ranks take: micro-batches of every path, whole paths, or any (path, micro-batch) unit."""
    num_epochs: Positive = dynamics(200)
    """Epochs of the plan; the learning-rate plan ends with them."""
    epoch_mode: Literal["fixed_steps", "full_pass", "by_samples"] = dynamics("full_pass")
    """fixed_steps: steps_per_epoch steps; full_pass: every sample; by_samples: train_samples_per_epoch draws."""
    steps_per_epoch: Positive | None = dynamics(None)
    """Steps of an epoch; with epoch_mode fixed_steps, and only then."""
    train_samples_per_epoch: Positive | PositiveFloat | None = dynamics(None)
    """Draws of an epoch: a count (integer) or a fraction of the split (0.5); with epoch_mode by_samples only."""
    train_sampling_mode: Literal["random_with_replacement", "shuffle_no_replacement", "sequential"] = dynamics(
        "shuffle_no_replacement"
    )
    """Order of the draws."""
    batch_size: Positive = dynamics(32)
    """Samples every path of a step sees."""
    micro_batch_size: Positive | None = dynamics(None)
    """Samples of one forward pass (memory; batch-norm statistics belong to it). null: batch_size."""
    path_batches: Literal["same", "shifted"] = dynamics("same")
    """same: all paths of a step see one batch; shifted: a step draws paths x batch, path p takes slice (p + step)."""
    lr: PositiveFloat = dynamics(1e-4)
    """Base learning rate of Adam."""
    lr_schedule: Literal["cosine", "constant", "step_decay", "one_cycle", "fast_anneal"] = dynamics("cosine")
    """Learning rate as a function of seen over planned samples."""
    lr_final_ratio: Fraction = dynamics(0.0)
    """Floor of cosine, one_cycle and fast_anneal as a share of lr."""
    lr_milestones: tuple[Fraction, ...] = dynamics((0.5, 0.75))
    """step_decay: shares of the plan at which the rate is multiplied by lr_decay."""
    lr_decay: Fraction = dynamics(0.1)
    """step_decay: the factor at each milestone."""
    lr_anneal_share: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = dynamics(0.5)
    """fast_anneal: share of the plan at which the floor is reached."""
    lr_peak_share: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] = dynamics(0.3)
    """one_cycle: share of the plan at which the rate peaks at lr (it starts at lr / 25)."""
    lr_warmup_share: Fraction = dynamics(0.0)
    """Linear warm-up from 0 over this share of the plan, multiplied onto any schedule."""
    lr_plan: Literal["keep", "restretch"] | None = observation(None)
    """A resume with another num_epochs: keep (the old plan, then its floor) or restretch (same seen, new planned)."""
    adam_beta1: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] = dynamics(0.9)
    """Decay of Adam's first moment."""
    adam_beta2: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] = dynamics(0.999)
    """Decay of Adam's second moment."""
    adam_epsilon: PositiveFloat = dynamics(1e-8)
    """Adam's epsilon."""
    weight_decay: NonNegativeFloat = dynamics(4e-5)
    """Coupled L2 on convolution kernels: lambda x w joins the gradient once a step, inside the clipped norm."""
    grad_clip_global_norm: PositiveFloat | None = dynamics(200.0)
    """Threshold of the global gradient norm; null: no clipping."""
    grad_clip_position: Literal["step", "micro_step"] = dynamics("step")
    """step: the summed gradient is clipped once; micro_step: each (path, micro-batch) gradient, before the sum."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0, strict=True)] | None = dynamics(None)
    """Decay of an exponential moving average of the weights, evaluated beside them. null: none."""
    max_nonfinite_steps: Positive = dynamics(5)
    """Dropped (non-finite) steps in a row after which the run stops with exit 70."""

    @field_validator("width")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even (the last head has width / 2 channels)")
        return value

    @field_validator("train_samples_per_epoch")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if isinstance(value, float) and value > 1.0:
            if value != int(value):
                raise ValueError("must be a whole number of samples, or a fraction of the split up to 1.0")
            return int(value)
        return value

    @field_validator("lr_milestones")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(value):
            raise ValueError("must be in ascending order")
        return value

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        modes = {"fixed_steps": "steps_per_epoch", "by_samples": "train_samples_per_epoch"}
        for mode, key in modes.items():
            given = getattr(self, key) is not None
            if self.epoch_mode == mode and not given:
                raise ValueError(f"train.epoch_mode {mode} needs train.{key}: set it")
            if self.epoch_mode != mode and given:
                raise ValueError(
                    f"train.{key} has no effect with train.epoch_mode {self.epoch_mode}: "
                    f"remove it, or set train.epoch_mode to {mode}"
                )
        if self.epoch_mode == "full_pass" and self.train_sampling_mode == "random_with_replacement":
            raise ValueError(
                "train.epoch_mode full_pass cannot use train.train_sampling_mode random_with_replacement (it would "
                "miss samples): use shuffle_no_replacement or sequential, or another train.epoch_mode"
            )
        if self.path_batches == "shifted" and self.train_sampling_mode == "random_with_replacement":
            raise ValueError(
                "train.path_batches shifted draws distinct samples, train.train_sampling_mode random_with_replacement "
                "does not: use shuffle_no_replacement or sequential, or train.path_batches same"
            )
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"train.micro_batch_size {self.micro_batch_size} is larger than train.batch_size {self.batch_size}: "
                "lower it or set it to null"
            )
        if self.precision == "tf32" and self.gpu_device == -1:
            raise ValueError("train.precision tf32 exists on GPUs only, train.gpu_device is -1: use fp32 or a GPU")
        return self


class DataConfig(Group):
    """The samples and what is done to them."""

    train_dir: str = observation("data/FlyingChairs2/train")
    """Folder of NNNNNNN-img_0.png, -img_1.png (or .ppm) and -flow_01.flo. The content is identity, the place free."""
    val_dir: str = observation("data/FlyingChairs2/val")
    """Folder of the evaluation pairs, same layout."""
    crop_size: tuple[Positive, Positive] = identity((180, 240))
    """Height and width of the crop (random in training, centre in evaluation), e.g. 180x240."""
    flow_clip: PositiveFloat | None = identity(50.0)
    """Flow components beyond +-this are clipped and stay valid; null: off. Applies to training and pool evaluation."""
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
    """Loader workers; 0 loads in the training thread. Never changes a bit of the result."""
    worker_kind: Literal["thread", "process"] = observation("thread")
    """Worker threads (decoding releases the interpreter lock) or processes."""
    prefetch_batches: Positive = observation(4)
    """Batches loaded ahead; bounds the memory."""
    worker_timeout: PositiveFloat = observation(60.0)
    """Seconds to wait for one batch before a stuck or dead worker is an error."""
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
    """Subnets in the evaluation pool."""
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
    best_by: Literal["mean", "median", "p90", "mix"] = observation("mean")
    """Statistic of the pool's EPE that chooses the best checkpoint."""
    best_mix: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = observation((0.5, 0.25, 0.25))
    """Weights of mean, median and p90 for best_by mix."""
    early_stop_patience: Positive | None = observation(None)
    """Evaluations without improvement after which training ends (exit 0); null: never."""
    early_stop_min_delta: NonNegativeFloat = observation(0.0)
    """Improvement in px below this does not count for early stopping."""
    pictures: Count = observation(2)
    """Fixed pairs drawn into TensorBoard at each evaluation: image, prediction, truth, error."""

    @model_validator(mode="after")
    def _check(self) -> EvalConfig:
        if sum(self.best_mix) <= 0:
            raise ValueError("eval.best_mix weights must not all be zero (eval.best_by mix divides by their sum)")
        return self


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
