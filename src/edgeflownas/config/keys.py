"""Every configuration key, once: its type, default and manifest kind, its help (the text beneath it), its checks.

The manifest kind decides what a resume may change (docs/concepts.md). Unknown keys are refused.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgeflownas.config.values import (
    SHARE,
    SIZE,
    AlsoEntry,
    Count,
    Exponent,
    Fraction,
    NonNegativeFloat,
    PlainName,
    Positive,
    PositiveFloat,
    Roots,
    ShareText,
    SizeText,
    also_name,
    in_words,
    is_text,
)
from edgeflownas.errors import ConfigError
from edgeflownas.space import get_space


def _key(kind: str, default: Any) -> Any:
    return Field(default=default, json_schema_extra={"kind": kind})


identity = functools.partial(_key, "identity")  # what the run is: a resume that changes it is refused
dynamics = functools.partial(_key, "dynamics")  # how it evolves: a resume that changes it needs a fork
observation = functools.partial(_key, "observation")  # how it is watched, stored or executed: free at resume


class Group(BaseModel):
    """Base of the groups: frozen, no unknown keys, help from the attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class RuntimeConfig(Group):
    """Where the run lives and how it is executed."""

    output_root: str = observation("runs")
    """Folder that holds the run directories; the run directory is output_root/experiment_name."""
    experiment_name: PlainName = observation("supernet")
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


_SUBNETS = ("standalone", "distil")  # tasks that train the subnets of train.arch
_TASKS_OF_KEY = {  # a key that means nothing for the task is refused where it is set
    "arch": _SUBNETS,
    "arch_name": _SUBNETS,
    "space": ("supernet", *_SUBNETS),
    "teacher": ("distil",),
    "teacher_arch": ("distil",),
    "distil_lambda": ("distil",),
    "distil_weights": ("distil",),
    "path_batches": ("supernet",),
}


class TrainConfig(Group):
    """The model, the plan and the optimiser."""

    task: Literal["supernet", "edgeflownet", "standalone", "distil"] = identity("supernet")
    """supernet: every subnet of train.space at once; edgeflownet: the published single model; standalone: the subnets
    of train.arch, each for itself, on the same batches; distil: the same, also taught by train.teacher's features."""
    space: str = identity("v1")
    """Search space by name (every task but edgeflownet)."""
    arch: tuple[str, ...] = identity(())
    """Arch codes that task standalone or distil trains; on the command line give the option once for each."""
    arch_name: tuple[PlainName, ...] = observation(())
    """Names of the directories of several archs inside the run directory, as a list or separated by commas."""
    teacher: str | None = observation(None)
    """Run that teaches task distil, a supernet or a single model: RUN, RUN@best or RUN@step-00001234. A resume takes
    the checkpoint it began with; its content is identity, the place free."""
    teacher_arch: str | None = identity(None)
    """Which subnet teaches, where train.teacher is a supernet."""
    distil_lambda: PositiveFloat = dynamics(1.0)
    """Task distil: weight of the feature loss beside the flow loss."""
    distil_weights: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = dynamics((1.0, 1.0, 1.0))
    """Task distil: weights of the decoder scales 1/4, 1/2 and 1/1 in the feature loss."""
    width: Positive = identity(32)
    """Channels of the first convolution (c); the whole network scales with it. Even."""
    batch_norm: Literal["trained", "frozen"] = identity("trained")
    """trained: batch statistics; frozen (single models): statistics that never move, scale and shift are learned. They
    are those of train.init_from, recalibrated; without it (task edgeflownet only, as published) 0 and 1."""
    input_normalisation: Literal["minus1_1", "raw_0_255"] = identity("minus1_1")
    """Pixel values the network sees: x / 127.5 - 1, or the bytes 0 to 255 as they are (published EdgeFlowNet)."""
    init_from: str | None = dynamics(None)
    """Run directory whose weights (not optimiser, not position) a new run starts from; RUN@best, RUN@step-00001234; or
    weights:NAME, weights of the package. A width that divides train.width is widened: the flow stays the same."""
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
    epoch_mode: Literal["fixed_steps", "full_pass", "near_full", "by_samples"] = dynamics("full_pass")
    """fixed_steps: steps_per_epoch steps; full_pass: every sample, the last batch filled up; near_full: as many whole
    batches as the split holds (floor(N / batch)), each epoch in a new order; by_samples: train_samples_per_epoch draws.
    """
    steps_per_epoch: Positive | None = dynamics(None)
    """Steps of an epoch; with epoch_mode fixed_steps, and only then."""
    train_samples_per_epoch: Positive | PositiveFloat | None = dynamics(None)
    """Draws of an epoch: a count, or a share of the split (0.5, 0.5N, 50%); with epoch_mode by_samples only."""
    epoch_divisor: Positive = dynamics(1)
    """Shortens the epoch: its steps (by_samples: its draws) divided by this, rounded down, at least 1 (DivTrain)."""
    train_sampling_mode: Literal["random_with_replacement", "shuffle_no_replacement", "sequential"] = dynamics(
        "shuffle_no_replacement"
    )
    """Order of the draws."""
    batch_size: Positive = dynamics(32)
    """Samples every path of a step sees."""
    micro_batch_size: Positive | None = dynamics(None)
    """Samples of one forward pass (memory; batch-norm statistics belong to it). null: batch_size."""
    path_batches: Literal["same", "shifted", "staggered"] = dynamics("same")
    """same: all paths of a step see one batch; staggered: one batch, path p begins at micro-batch p + step and goes
    round; shifted: a step draws paths x batch, path p takes slice p + step (a third of the updates with 3 paths)."""
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
    monitor_every: Positive | None = observation(200)
    """Steps between two gradient readings (monitor.csv); one takes 1.1 to 1.6 times as long as a step. null: none."""
    fast_mode: bool = observation(False)
    """Raises data.prefetch_batches to 8 where it is null. Single models only: a supernet step is slower than a disk."""

    @field_validator("width")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even (the last head has width / 2 channels)")
        return value

    @field_validator("arch", "arch_name", mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        """One text stands for a list; names may be separated by commas, which arch codes hold themselves."""
        texts = [value] if isinstance(value, str) else value
        if info.field_name == "arch_name" and isinstance(texts, list | tuple):
            return [part for text in texts for part in (text.split(",") if isinstance(text, str) else [text])]
        return texts

    @field_validator(
        "train_samples_per_epoch", mode="before", json_schema_input_type=Positive | PositiveFloat | ShareText | None
    )
    @classmethod
    def _share(cls, value: Any) -> Any:
        if not isinstance(value, str) or not (match := re.match(SHARE, value)):
            return value
        share = float(match[1]) / (100.0 if match[2] == "%" else 1.0)
        if share > 1.0:
            raise ValueError("is more than the whole split: give a share up to 1.0N or 100%, or a number of samples")
        return share

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
    def _check_plan(self) -> TrainConfig:
        for mode, key in {"fixed_steps": "steps_per_epoch", "by_samples": "train_samples_per_epoch"}.items():
            given = getattr(self, key) is not None
            if self.epoch_mode == mode and not given:
                raise ValueError(f"train.epoch_mode {mode} needs train.{key}: set it")
            if self.epoch_mode != mode and given:
                idle = f"train.{key} has no effect with train.epoch_mode {self.epoch_mode}"
                raise ValueError(f"{idle}: remove it, or set train.epoch_mode to {mode}")
        if self.epoch_mode == "full_pass" and self.epoch_divisor > 1:
            raise ValueError(
                f"train.epoch_divisor {self.epoch_divisor} contradicts train.epoch_mode full_pass (every sample): use "
                "near_full, fixed_steps or by_samples, or train.epoch_divisor 1"
            )
        if self.epoch_mode == "full_pass" and self.train_sampling_mode == "random_with_replacement":
            raise ValueError(
                "train.epoch_mode full_pass cannot use train.train_sampling_mode random_with_replacement (it would "
                "miss samples): use shuffle_no_replacement or sequential, or another train.epoch_mode such as near_full"
            )
        if self.path_batches == "shifted" and self.train_sampling_mode == "random_with_replacement":
            raise ValueError(
                "train.path_batches shifted draws distinct samples, train.train_sampling_mode random_with_replacement "
                "does not: use shuffle_no_replacement or sequential, or train.path_batches same"
            )
        if self.path_batches == "staggered" and (self.micro_batch_size or self.batch_size) >= self.batch_size:
            raise ValueError(
                "train.path_batches staggered has no effect with one micro-batch a path: set train.micro_batch_size "
                f"below train.batch_size {self.batch_size}, or train.path_batches to same"
            )
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"train.micro_batch_size {self.micro_batch_size} is larger than train.batch_size {self.batch_size}: "
                "lower it or set it to null"
            )
        return self

    @field_validator("task", mode="before")
    @classmethod
    def _not_gone(cls, value: Any) -> Any:
        if value == "qat":
            raise ValueError(
                "qat is gone, since training in integers gained nothing over frozen batch-norm statistics: use "
                "standalone with train.batch_norm frozen, as recipe finetune_frozen_bn does"
            )
        return value

    @model_validator(mode="after")
    def _check_task(self) -> TrainConfig:
        task = self.task
        if self.batch_norm == "frozen" and task == "supernet":
            raise ValueError(
                "train.batch_norm frozen is for single models (subnets need statistics of their own): use trained, or "
                "train.task standalone, distil or edgeflownet"
            )
        if self.batch_norm == "frozen" and task != "edgeflownet" and self.init_from is None:
            raise ValueError(
                f"train.batch_norm frozen with train.task {task} needs train.init_from: statistics that never move "
                "must be those of a trained network, a fresh one has 0 and 1; give the run that trained it, or use "
                "trained"
            )
        if self.fast_mode and task == "supernet":
            raise ValueError(
                "train.fast_mode is for single models (a supernet step takes longer than loading its batch): set "
                "data.prefetch_batches instead, or train.fast_mode to false"
            )
        if task == "distil" and self.teacher is None:
            raise ValueError("train.task distil needs train.teacher: the run that teaches, or train.task standalone")
        if task == "distil" and sum(self.distil_weights) == 0:
            raise ValueError(
                "train.distil_weights are all zero, so train.task distil learns nothing from train.teacher"
            )
        for key, tasks in _TASKS_OF_KEY.items():
            value = getattr(self, key)
            if task not in tasks and value != type(self).model_fields[key].default:
                shown = f" {value}" if isinstance(value, str) else ""
                raise ValueError(
                    f"train.{key}{shown} has no effect with train.task {task}: remove it, or set another train.task"
                )
        if task != "supernet" and self.distributed == "path":  # data and both deal the micro-batches of one path too
            raise ValueError(
                f"train.distributed path has no effect with train.task {task}: remove it, or set another train.task"
            )
        if self.precision == "tf32" and self.gpu_device == -1:
            raise ValueError("train.precision tf32 exists on GPUs only, train.gpu_device is -1: use fp32 or a GPU")
        return self

    @model_validator(mode="after")
    def _check_archs(self) -> TrainConfig:
        if self.task not in _SUBNETS:
            return self
        if not self.arch:
            raise ValueError(f"train.task {self.task} needs train.arch: the code of the subnet to train")
        try:
            codes = [get_space(self.space).parse(code) for code in self.arch]
        except ConfigError as error:
            raise ValueError(f"train.arch: {error}") from None
        names, given = [name.lower() for name in self.arch_name], ", ".join(self.arch_name)
        if len(set(codes)) < len(codes):
            raise ValueError("train.arch names one code twice: equal models on equal batches end in equal bits")
        if names and len(names) != len(codes):
            raise ValueError(
                f"train.arch_name has {len(names)} names, train.arch {len(codes)} codes: give one for each "
                '(a single model needs none: --train.arch_name "[]")'
            )
        if len(set(names)) < len(names):
            raise ValueError(f"train.arch_name {given}: every name must be another, also in lower case")
        if taken := [
            name for name in self.arch_name if name.lower() in ("config.yaml", "group.json", "comparison.csv")
        ]:
            raise ValueError(f"train.arch_name {taken[0]} is the name of a file beside the models: choose another")
        if len(codes) > 1 and not names:
            raise ValueError("train.arch with several codes needs train.arch_name: a directory name for each")
        return self

    @property
    def evaluated_in(self) -> str:
        """Arithmetic of every EPE of the run, in words."""
        return "fp64" if self.precision == "fp64" else "fp32"


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
    scale_probability: Fraction = dynamics(0.0)
    """Probability of resizing a sample by 2^u before its crop, u even between scale_min and scale_max; flow and
    validity with it (RAFT's augmentation; never below data.crop_size)."""
    scale_min: Exponent = dynamics(-0.4)
    """Lowest exponent of the scale."""
    scale_max: Exponent = dynamics(0.8)
    """Highest exponent of the scale."""
    stretch_probability: Fraction = dynamics(0.8)
    """Probability that a resized sample is also stretched, each side by 2^u of its own."""
    stretch: Annotated[float, Field(ge=0.0, le=2.0, strict=True)] = dynamics(0.2)
    """Largest exponent of the stretch, either way."""
    saturation: Fraction = dynamics(0.0)
    """Largest relative change of saturation."""
    asymmetric_colour: Fraction = dynamics(0.0)
    """Probability that the two images change their colours apart: saturation, and brightness and contrast of image 2
    once more."""
    eraser: Fraction = dynamics(0.0)
    """Probability that one or two rectangles of image 2 take its mean colour, as if something hid them."""
    eraser_min: Positive = dynamics(50)
    """Shortest side of such a rectangle, px of the whole image."""
    eraser_max: Positive = dynamics(100)
    """Longest side of such a rectangle, px."""
    exclude: tuple[str, ...] = observation(())
    """Flow files to leave out of both splits: ends of their paths (A/0004/into_future/left/OpticalFlow...0012_L.pfm),
    or a text file of such, one a line. What is left is identity."""
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

    @model_validator(mode="after")
    def _check_ranges(self) -> DataConfig:
        for name in ("scale", "eraser"):
            low, high = (getattr(self, f"{name}_{end}") for end in ("min", "max"))
            if low > high:
                raise ValueError(f"data.{name}_min {low} is above data.{name}_max {high}: exchange them")
        return self

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

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
    batch_size: Positive | None = observation(None)
    """Samples of an evaluation or calibration batch; null: train.batch_size."""
    set: str | None = observation(None)
    """eval_set.json of a run (or the run): its pool, its calibration, evaluation and wide samples, so that several runs
    are scored alike; the keys above and eval.selection then choose nothing. null: chosen by them."""
    selection: Literal["spread", "prefix"] = observation("spread")
    """Which samples: evenly spaced over the sorted names, or the first ones (historical)."""
    wide_every_epoch: Positive | None = observation(None)
    """Also score the wide set, with the same calibration, at the first evaluation after every this many epochs, and
    after the last; null: never. It is decoded each time, not held in memory."""
    wide_batches_per_arch: Positive | None = observation(None)
    """Batches of the wide set; null: the whole validation split."""
    also: tuple[AlsoEntry, ...] = observation(())
    """Further data sets, each evaluated after every every_epoch epochs and after the last, under a labelled protocol
    (docs/protocols.md), on at most max_samples pairs: also_history.csv, and best-NAME.json for its best checkpoint."""
    train_batches: Count = observation(2)
    """Batches of training samples scored at each evaluation, in the centre crop and in a fixed random one; 0: none."""
    keep_sample_errors: bool = observation(True)
    """Keep the error of every sample and subnet of each evaluation (sample_epe/): what `edgeflownas noise` reads."""
    best_by: Literal["mean", "median", "p90", "mix", "wide_mean", "wide_median", "wide_p90"] = observation("mean")
    """Statistic of the pool's EPE that chooses the best checkpoint and stops early; wide_: of the wide evaluation, at
    the epochs that have one."""
    best_mix: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = observation((0.5, 0.25, 0.25))
    """Weights of mean, median and p90 for best_by mix."""
    early_stop_patience: Positive | None = observation(None)
    """Evaluations (wide ones, with best_by wide_*) without improvement after which training ends (exit 0); null:
    never."""
    early_stop_min_delta: NonNegativeFloat = observation(0.0)
    """Improvement in px below this does not count for early stopping."""
    pictures: Count = observation(2)
    """Fixed pairs drawn at each evaluation, for TensorBoard and the report: image, prediction, truth, error."""

    @model_validator(mode="after")
    def _check(self) -> EvalConfig:
        names = [also_name(entry) for entry in self.also]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"eval.also holds two sets called {twice[0]}: give each another variant or folder")
        if sum(self.best_mix) <= 0:
            raise ValueError("eval.best_mix weights must not all be zero (eval.best_by mix divides by their sum)")
        if self.best_by.startswith("wide_") and self.wide_every_epoch is None:
            raise ValueError(
                f"eval.best_by {self.best_by} needs a wide evaluation: set eval.wide_every_epoch, or eval.best_by "
                f"{self.best_by.removeprefix('wide_')}"
            )
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

    @property
    def eval_batch_size(self) -> int:
        """Samples of an evaluation or calibration batch."""
        return self.eval.batch_size or self.train.batch_size

    @model_validator(mode="after")
    def _check(self) -> Config:
        default = EvalConfig.model_fields["eval_pool_size"].default
        if self.train.task != "supernet" and self.eval.eval_pool_size not in (1, default):
            raise ValueError(
                f"eval.eval_pool_size {self.eval.eval_pool_size}: with train.task {self.train.task} every model is a "
                "pool of one: remove the key"
            )
        return self


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a misspelt ``name`` most likely means, or None."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


@dataclass(frozen=True)
class Key:
    """One configuration key."""

    group: str
    name: str
    kind: str  # identity, dynamics or observation: what a resume may change
    values: str  # the accepted values, in words
    default: Any
    help: str
    takes_text: bool  # a command-line value is taken as it stands, not read as YAML (names and paths)
    repeats: bool  # a list of texts: on the command line every occurrence of the option adds one


def groups() -> dict[str, type[Group]]:
    """The model of every group by name."""
    return {name: field.annotation for name, field in Config.model_fields.items()}  # type: ignore[misc]


@functools.cache
def keys() -> dict[str, Key]:
    """Every key by its full name ``group.name``, in the order of declaration."""
    found = {}
    definitions = Config.model_json_schema()["$defs"]
    for group, model in groups().items():
        for name, schema in definitions[model.__name__]["properties"].items():
            facts = schema["kind"], in_words(schema), schema["default"], schema["description"]
            text = any(is_text(option) for option in schema.get("anyOf", [schema]))
            repeats = "items" in schema and is_text(schema["items"])
            found[f"{group}.{name}"] = Key(group, name, *facts, takes_text=text, repeats=repeats)
    return found
