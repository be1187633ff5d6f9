"""Device, arithmetic and the parts of a run, from its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from edgeflownas.config import Config, DataConfig
from edgeflownas.config.io import load_config
from edgeflownas.data.cache import ImageCache
from edgeflownas.data.check import check_dataset, refuse
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fingerprint import Fingerprint, fingerprint
from edgeflownas.data.loader import PREFETCH
from edgeflownas.data.registry import open_dataset
from edgeflownas.errors import ConfigError
from edgeflownas.models.batches import InputForm
from edgeflownas.models.deployed.rounded import RoundedNet
from edgeflownas.models.edgeflownet import SPACE as EDGEFLOWNET
from edgeflownas.models.edgeflownet import EdgeFlowNet
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.stages import StagedNet
from edgeflownas.space import Arch, SearchSpace, get_space
from edgeflownas.train.rundir import RunDirectory

FAST_PREFETCH = 8  # batches loaded ahead with train.fast_mode


def choose_device(gpu_device: int | str, local_rank: int = 0, ranks: int = 1) -> tuple[torch.device, str]:
    """The device and the line that says so, e.g. ``gpu_device=0 applied``.

    With several ranks on a machine, each takes the GPU after the one named.

    Raises:
        ConfigError: an index that does not exist; never a quiet fall back to CPU.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_device == "auto":
        gpu_device = 0 if available else -1
        note = f"gpu_device={gpu_device} applied (auto: {available} GPUs found)"
    else:
        note = f"gpu_device={gpu_device} applied"
    if gpu_device == -1:
        return torch.device("cpu"), note
    index = int(gpu_device) + local_rank
    if not 0 <= index < available:
        known = f"GPUs 0 to {available - 1}" if available else "no GPU"
        raise ConfigError(
            f"train.gpu_device {gpu_device}{f' + local rank {local_rank}' if ranks > 1 else ''} does not exist: this "
            f"machine has {known}; use -1 for the CPU or auto"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index), note


def set_arithmetic(config: Config) -> str:
    """Threads, determinism and TF32 as configured; returns the line that says so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if config.runtime.num_threads:
        torch.set_num_threads(config.runtime.num_threads)
    # The same switch as use_deterministic_algorithms, which imports a compiler first (seconds at every start).
    torch.set_deterministic_debug_mode("error" if config.runtime.deterministic else "default")
    # Deterministic mode would fill every new tensor first (4 to 15 % of a step); ours are written before they are read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not config.runtime.deterministic
    tf32 = config.train.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    return (
        f"precision={config.train.precision} channels_last={config.train.channels_last} "
        f"deterministic={config.runtime.deterministic} threads={torch.get_num_threads()}"
    )


REMEDY = (
    "lower train.micro_batch_size, train.batch_size, eval.batch_size or data.prefetch_batches "
    "(`edgeflownas train ... --dry-run` estimates what a run takes)"
)


@contextmanager
def memory_in_words(remedy: str = REMEDY) -> Iterator[None]:
    """Turn an exhausted memory, of the host or a GPU, into a ConfigError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not exhausted:
            raise
        detail = " ".join(str(error).split()).partition(". ")[0] or "no more memory"
        raise ConfigError(f"out of memory ({detail}): {remedy}") from error


def check_precision(config: Config, device: torch.device) -> None:
    """Raise ConfigError for a precision the device lacks."""
    if config.train.precision == "tf32" and device.type != "cuda":
        raise ConfigError("train.precision tf32 exists on GPUs only and this run is on the CPU: use fp32")


def run_space(config: Config) -> SearchSpace:
    """The space of the run's network: the configured one, or that of its one arch."""
    if config.train.task == "edgeflownet":
        return EDGEFLOWNET
    space = get_space(config.train.space)
    return space.restrict(space.parse(config.train.arch[0])) if config.train.arch else space


def run_network(path: Path) -> tuple[SearchSpace, int, tuple[int, int]]:
    """Space, width and image size (px) of the run at ``path``.

    Raises:
        StorageError: no run is there; ConfigError: its network is no FlowNet.
    """
    config = load_config(RunDirectory.open(path).path / "config.yaml")
    if config.train.task == "edgeflownet":
        raise ConfigError(f"{path} trains EdgeFlowNet, whose layers are not FlowNet's: it cannot be profiled")
    return run_space(config), config.train.width, config.data.crop_size


def run_pool(config: Config) -> list[Arch]:
    """The archs a run evaluates.  Raises ConfigError where the space holds too few."""
    space = run_space(config)
    if config.train.task != "supernet":
        return list(space)
    return space.pool(config.eval.eval_pool_size, config.runtime.seed)


def new_net(config: Config, seed: int | None) -> StagedNet:
    """The network of the configured task on the CPU, with initial values of ``seed`` (None: whoever asks fills it).

    Raises ConfigError for an unknown space.
    """
    train, form = config.train, InputForm.of(config)
    if train.task == "edgeflownet":
        return EdgeFlowNet(train.width, train.batch_norm, seed, channels_last=train.channels_last, input_form=form)
    kind = RoundedNet if train.task == "qat" else FlowNet
    return kind(run_space(config), train.width, seed, channels_last=train.channels_last, input_form=form)


def build_net(config: Config, device: torch.device) -> StagedNet:
    """The network with its initial values, on the device, in the configured memory format.

    Raises ConfigError for an unknown space or precision the device lacks.
    """
    check_precision(config, device)
    net = new_net(config, config.runtime.seed)
    return net.to(device=device, dtype=torch.float64 if config.train.precision == "fp64" else torch.float32)


def loading(config: Config, say: Callable[[str], None] = lambda text: None) -> DataConfig:
    """The data keys as the loader takes them: data.prefetch_batches decided, and said where train.fast_mode is on."""
    given = config.data.prefetch_batches
    batches = given or (FAST_PREFETCH if config.train.fast_mode else PREFETCH)
    if config.train.fast_mode:
        why = "data.prefetch_batches is set" if given else f"raised from {PREFETCH}"
        say(f"train.fast_mode: {batches} batches loaded ahead ({why})")
    return config.data.model_copy(update={"prefetch_batches": batches})


@dataclass(frozen=True)
class Splits:
    """The two splits of a run with their fingerprints."""

    train: FlowDataset
    val: FlowDataset
    train_print: Fingerprint
    val_print: Fingerprint

    @property
    def labels(self) -> tuple[str, str]:
        """Data labels of train and val, e.g. ``fc2/folder:val/640/9f3a``."""
        return self.train_print.label, self.val_print.label


def open_splits(
    config: Config,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    previous: tuple[Fingerprint, Fingerprint] | None = None,
    *,
    make_cache: bool = True,
) -> Splits:
    """Scan, check and fingerprint both splits.

    ``previous`` fingerprints (of the run that is resumed) spare reading files whose size and time are unchanged.
    Without ``make_cache`` data.cache_dir is left alone.

    Raises:
        DataError: a missing folder, an empty split, or (data.on_bad_sample stop) a file with a bad header or length.
    """
    found = []
    for place, key in enumerate(("train_dir", "val_dir")):
        spec, split = getattr(config.data, key), key.removesuffix("_dir")
        dataset = open_dataset(spec, split, f"data.{key}", config.data.roots)
        problems = check_dataset(dataset)
        if config.data.on_bad_sample == "stop" or place == 1:
            refuse(dataset, problems)
        for problem in problems:
            warn(f"{problem} (data.on_bad_sample quarantine: it will be replaced)")
        mark = fingerprint(dataset, previous[place] if previous else None)
        say(f"data.{key} {dataset.directory}: {len(dataset)} samples, {mark.label}, crc32 of {mark.crc_kind} content")
        if dataset.note:
            say(f"data.{key}: {dataset.note}")
        if config.data.cache_dir is not None and not problems and make_cache:
            dataset = dataset.with_cache(ImageCache.open_or_create(dataset, mark.hash, config.data.cache_dir, say))
        found.append((dataset, mark))
    return Splits(found[0][0], found[1][0], found[0][1], found[1][1])
