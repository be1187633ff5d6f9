"""The ``train`` group: the model, the plan and the optimiser."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from edgeflownas.config.fields import (
    Fraction,
    Group,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    dynamics,
    identity,
    observation,
    plain_name,
)
from edgeflownas.errors import ConfigError
from edgeflownas.space import get_space

__all__ = ["GONE_KEYS", "TrainConfig"]

GONE_KEYS = {"train.qat_calibrate": "minmax"}
"""Keys that earlier versions wrote into every config.yaml and manifest, with the value that did nothing."""


class TrainConfig(Group):
    """The model, the plan and the optimiser."""

    task: Literal["supernet", "edgeflownet", "standalone", "distil"] = identity("supernet")
    """supernet: every subnet of train.space at once; edgeflownet: the published single model; standalone: the subnets
    of train.arch, each for itself, on the same batches; distil: the same, also taught by train.teacher's features."""
    space: str = identity("v1")
    """Search space by name (every task but edgeflownet)."""
    arch: tuple[str, ...] = identity(())
    """Arch codes that task standalone or distil trains; on the command line give the option once for each."""
    arch_name: tuple[str, ...] = observation(())
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
    """Run directory whose weights (not optimiser, not position) a new run starts from; RUN@best, RUN@step-00001234."""
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
    batches as the split holds (floor(N / batch)); by_samples: train_samples_per_epoch draws."""
    steps_per_epoch: Positive | None = dynamics(None)
    """Steps of an epoch; with epoch_mode fixed_steps, and only then."""
    train_samples_per_epoch: Positive | PositiveFloat | None = dynamics(None)
    """Draws of an epoch: a count (integer) or a fraction of the split (0.5); with epoch_mode by_samples only."""
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
    monitor_every: Positive | None = observation(200)
    """Steps between two gradient readings (monitor.csv); one takes 1.1 to 1.6 times as long as a step. null: none."""
    fast_mode: bool = observation(False)
    """Raises data.prefetch_batches to 8 where it is null. Single models only: a supernet step is slower than a disk."""

    @model_validator(mode="before")
    @classmethod
    def _without_gone(cls, values: Any) -> Any:
        """What an earlier version wrote, without GONE_KEYS."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if (f"train.{key}", value) not in GONE_KEYS.items()}

    @field_validator("task", mode="before")
    @classmethod
    def _not_gone(cls, value: Any) -> Any:
        if value == "qat":
            raise ValueError(
                "qat is gone, since training in integers gained nothing over frozen batch-norm statistics: use "
                "standalone with train.batch_norm frozen, as recipe finetune_frozen_bn does"
            )
        return value

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

    @field_validator("arch_name")
    @classmethod
    def _plain_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(plain_name(name) for name in value)

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
        if self.micro_batch_size is not None and self.micro_batch_size > self.batch_size:
            raise ValueError(
                f"train.micro_batch_size {self.micro_batch_size} is larger than train.batch_size {self.batch_size}: "
                "lower it or set it to null"
            )
        check_task(self)
        if self.precision == "tf32" and self.gpu_device == -1:
            raise ValueError("train.precision tf32 exists on GPUs only, train.gpu_device is -1: use fp32 or a GPU")
        return self

    @property
    def evaluated_in(self) -> str:
        """Arithmetic of every EPE of the run, in words."""
        return "fp64" if self.precision == "fp64" else "fp32"


def check_task(train: TrainConfig) -> None:
    """Keys that mean nothing for the task are refused where they are set.  Raises ValueError naming both keys."""
    if train.batch_norm == "frozen" and train.task == "supernet":
        raise ValueError(
            "train.batch_norm frozen is for single models (subnets need statistics of their own): use trained, or "
            "train.task standalone, distil or edgeflownet"
        )
    if train.batch_norm == "frozen" and train.task != "edgeflownet" and train.init_from is None:
        raise ValueError(
            f"train.batch_norm frozen with train.task {train.task} needs train.init_from: statistics that never move "
            "must be those of a trained network, a fresh one has 0 and 1; give the run that trained it, or use trained"
        )
    if train.fast_mode and train.task == "supernet":
        raise ValueError(
            "train.fast_mode is for single models (a supernet step takes longer than loading its batch): set "
            "data.prefetch_batches instead, or train.fast_mode to false"
        )
    unused: dict[str, bool] = {}
    if train.task in ("supernet", "edgeflownet"):
        unused |= {"arch": bool(train.arch), "arch_name": bool(train.arch_name)}
    if train.task == "edgeflownet":
        unused["space"] = train.space != type(train).model_fields["space"].default
    if train.task != "distil":
        for key in ("teacher", "teacher_arch", "distil_lambda", "distil_weights"):
            unused[key] = getattr(train, key) != type(train).model_fields[key].default
    elif train.teacher is None:
        raise ValueError("train.task distil needs train.teacher: the run that teaches, or train.task standalone")
    elif sum(train.distil_weights) == 0:
        raise ValueError("train.distil_weights are all zero, so train.task distil learns nothing from train.teacher")
    if train.task != "supernet":
        unused |= {"path_batches": train.path_batches != "same", "distributed": train.distributed == "path"}
    for key in [key for key, given in unused.items() if given]:
        value = getattr(train, key)
        shown = f" {value}" if isinstance(value, str) else ""
        raise ValueError(
            f"train.{key}{shown} has no effect with train.task {train.task}: remove it, or set another train.task"
        )
    if train.task in ("standalone", "distil"):
        _check_archs(train)


def _check_archs(train: TrainConfig) -> None:
    if not train.arch:
        raise ValueError(f"train.task {train.task} needs train.arch: the code of the subnet to train")
    try:
        space = get_space(train.space)
        codes = [space.parse(code) for code in train.arch]
    except ConfigError as error:
        raise ValueError(f"train.arch: {error}") from None
    if len(train.arch) > 1 and len(set(codes)) < len(codes):
        raise ValueError("train.arch names one code twice: equal models on equal batches end in equal bits")
    if train.arch_name and len(train.arch_name) != len(train.arch):
        raise ValueError(
            f"train.arch_name has {len(train.arch_name)} names, train.arch {len(train.arch)} codes: give one for each "
            '(a single model needs none: --train.arch_name "[]")'
        )
    if len({name.lower() for name in train.arch_name}) < len(train.arch_name):
        raise ValueError(
            f"train.arch_name {', '.join(train.arch_name)}: every name must be another, also in lower case"
        )
    taken = [name for name in train.arch_name if name.lower() in ("config.yaml", "group.json", "comparison.csv")]
    if taken:
        raise ValueError(f"train.arch_name {taken[0]} is the name of a file beside the models: choose another")
    if len(train.arch) > 1 and not train.arch_name:
        raise ValueError("train.arch with several codes needs train.arch_name: a directory name for each")
