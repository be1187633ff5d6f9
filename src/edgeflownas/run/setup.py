"""What a configuration decides before there is a run: network, search space, pool, data, frozen sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from edgeflownas.config import Config, DataConfig
from edgeflownas.config.load import dump_config, load_config, parse_overrides
from edgeflownas.data.check import Fingerprint, check_dataset, fingerprint, refuse
from edgeflownas.data.dataset import FlowDataset, ImageCache
from edgeflownas.data.loader import PREFETCH
from edgeflownas.data.sets import open_dataset, without
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate.frozen import RANDOM_CROP, TRAIN, WIDE, EvalSet, freeze, hashed_settings, read_eval_set
from edgeflownas.files import FINGERPRINTS_CAP, canonical_json, read_json
from edgeflownas.models.blocks import InputForm, StagedNet
from edgeflownas.models.flownet import SPACE as EDGEFLOWNET
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.run.directory import GROUP, create_folder
from edgeflownas.run.manifest import check_precision
from edgeflownas.space import Arch, SearchSpace, get_space

Note = Callable[[str], None]
Prints = tuple[Fingerprint, Fingerprint]  # of train and val
FINGERPRINTS = "data_fingerprints.json"
OWN = {"train.arch", "train.arch_name", "train.task", "runtime.output_root", "runtime.experiment_name"}
OTHER_SET = "the eval_set.json of a run on the same data, or leave eval.set out"
FAST_PREFETCH = 8  # batches loaded ahead with train.fast_mode


def silent(text: str) -> None:
    """For whoever wants no notes."""


def run_space(config: Config) -> SearchSpace:
    """The space of the run's network: the configured one, or that of its one arch."""
    if config.train.task == "edgeflownet":
        return EDGEFLOWNET
    space = get_space(config.train.space)
    return space.restrict(space.parse(config.train.arch[0])) if config.train.arch else space


def run_pool(config: Config) -> list[Arch]:
    """The archs a run evaluates.  Raises ConfigError where the space holds too few."""
    space = run_space(config)
    if config.train.task != "supernet":
        return list(space)
    return space.pool(config.eval.eval_pool_size, config.runtime.seed)


def new_net(config: Config, seed: int | None) -> StagedNet:
    """The configured network on the CPU, with initial values of ``seed`` (None: whoever asks fills it)."""
    train, form = config.train, InputForm.of(config)
    norm, last = train.batch_norm, train.channels_last
    if train.task == "edgeflownet":
        return EdgeFlowNet(train.width, norm, seed, channels_last=last, input_form=form)
    return FlowNet(run_space(config), train.width, seed, batch_norm=norm, channels_last=last, input_form=form)


def build_net(config: Config, device: torch.device) -> StagedNet:
    """The network with its initial values on the device.  Raises ConfigError for a precision that this one lacks."""
    check_precision(config, device)
    net = new_net(config, config.runtime.seed)
    return net.to(device=device, dtype=torch.float64 if config.train.precision == "fp64" else torch.float32)


def open_split(config: Config, split: str) -> FlowDataset:
    """The ``train`` or ``val`` split of a configuration.  Raises ConfigError or DataError as open_dataset."""
    key = f"{split}_dir"
    dataset = open_dataset(getattr(config.data, key), split, f"data.{key}", config.data.roots)
    return without(dataset, config.data.exclude, f"data.{key}") if config.data.exclude else dataset


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


def open_splits(config: Config, say: Note, warn: Note, previous: Prints | None, make_cache: bool) -> Splits:
    """Scan, check and fingerprint both splits.

    ``previous`` fingerprints (of the run that is resumed) spare reading files whose size and time are unchanged.
    Without ``make_cache`` data.cache_dir is left alone.  Raises DataError for a missing folder, an empty split, or
    (data.on_bad_sample stop) a file with a bad header or length.
    """
    found = []
    for split, known in zip(("train", "val"), previous or (None, None), strict=True):
        dataset = open_split(config, split)
        problems = check_dataset(dataset)
        if config.data.on_bad_sample == "stop" or split == "val":
            refuse(dataset, problems)
        for problem in problems:
            warn(f"{problem} (data.on_bad_sample quarantine: it will be replaced)")
        mark, key = fingerprint(dataset, known), f"data.{split}_dir"
        say(f"{key} {dataset.directory}: {len(dataset)} samples, {mark.label}, crc32 of {mark.crc_kind} content")
        if dataset.note:
            say(f"{key}: {dataset.note}")
        if config.data.cache_dir is not None and not problems and make_cache:
            dataset = dataset.with_cache(ImageCache.open_or_create(dataset, mark.hash, config.data.cache_dir, say))
        found.append((dataset, mark))
    (train, train_print), (val, val_print) = found
    return Splits(train, val, train_print, val_print)


def freeze_eval_set(config: Config, splits: Splits, note: Note) -> EvalSet:
    """The frozen sets, the pool and its option coverage of this configuration and data."""
    if config.eval.set is not None:
        return _given_eval_set(config, splits, note)
    space, pool = run_space(config), run_pool(config)
    coverage = space.coverage(pool)
    uncovered = [name for name, counts in coverage.items() if 0 in counts]
    if uncovered:
        note(
            f"eval.eval_pool_size {len(pool)}: not every option of {', '.join(uncovered)} is in the pool; use at least "
            f"{space.num_paths}"
        )
    eval_set = freeze(config, splits.train, splits.val, splits.labels, note)
    settings = hashed_settings(config.eval.model_copy(update={"batch_size": config.eval_batch_size}))
    eval_set = eval_set.with_pool([str(arch) for arch in pool], coverage, settings)
    note(f"evaluation set {eval_set.hash}, calibration ids {eval_set.calibration_hash}")
    return eval_set


def read_given_set(place: str) -> tuple[Path, EvalSet]:
    """The file that ``eval.set`` means and its content.  Raises DataError."""
    file = Path(place, "eval_set.json") if Path(place).is_dir() else Path(place)
    try:
        return file, read_eval_set(file)
    except DataError as error:
        raise DataError(f"eval.set: {error}; give {OTHER_SET}") from None


def _given_eval_set(config: Config, splits: Splits, note: Note) -> EvalSet:
    """The frozen sets of ``eval.set``; the pool too, unless one model is its own.

    Raises ConfigError for codes of another space, DataError where it is of other data or cannot be read.
    """
    assert config.eval.set is not None
    file, given = read_given_set(config.eval.set)
    remedy = f"give {OTHER_SET}"
    parts = {"train": given.calibration, "val": given.evaluation}
    for (split, part), label in zip(parts.items(), splits.labels, strict=True):
        if part.label != label:
            raise DataError(f"eval.set {file}: made of {part.label}, data.{split}_dir is {label}: {remedy}")
    space, settings = run_space(config), config.eval
    if config.train.task == "supernet":
        try:
            pool = [str(space.parse(code)) for code in given.pool]
        except ConfigError as error:
            raise ConfigError(f"eval.set {file}: its pool is of another space: {error}") from None
        own = given
    else:
        pool = [str(arch) for arch in run_pool(config)]
        own = given.with_pool(pool, space.coverage(run_pool(config)), given.settings)
    if settings.wide_every_epoch is not None and WIDE not in given.monitors:
        raise ConfigError(f"eval.set {file}: holds no wide samples: set eval.wide_every_epoch to null, or {remedy}")
    kept = {WIDE} if settings.wide_every_epoch is not None else set()
    kept |= {TRAIN, RANDOM_CROP} if settings.train_batches else set()
    monitors = {name: split for name, split in given.monitors.items() if name in kept}
    note(f"evaluation set {own.hash} of {file}: {len(pool)} subnets, {len(given.evaluation.names)} samples")
    return replace(own, monitors=monitors)


def stored_fingerprints(path: Path) -> Prints | None:
    """Data tables of a run's last session (unchanged files need not be read again); None where there are none."""
    file = path / FINGERPRINTS
    if not file.exists():
        return None
    content = read_json(file, FINGERPRINTS_CAP)
    try:
        return Fingerprint.from_json(content["train"], str(file)), Fingerprint.from_json(content["val"], str(file))
    except (KeyError, TypeError) as error:
        raise StorageError(f"{file}: altered ({error}); remove it: it only spares reading the data again") from error


def group_runs(path: Path) -> list[Path]:
    """The runs of a folder of several models, in their order; any other path by itself."""
    if not (path / GROUP).is_file():
        return [path]
    return [path / name for name in load_config(path / "config.yaml").train.arch_name]


def loading(config: Config, say: Note = silent) -> DataConfig:
    """The data keys as the loader takes them: data.prefetch_batches decided, and said where train.fast_mode is on."""
    given = config.data.prefetch_batches
    batches = given or (FAST_PREFETCH if config.train.fast_mode else PREFETCH)
    if config.train.fast_mode:
        why = "data.prefetch_batches is set" if given else f"raised from {PREFETCH}"
        say(f"train.fast_mode: {batches} batches loaded ahead ({why})")
    return config.data.model_copy(update={"prefetch_batches": batches})


def member_configs(config: Config) -> dict[str, Config]:
    """Configuration of every model by name; the configuration itself, under no name, where there is one model."""
    names = config.train.arch_name
    if not names:
        return {"": config}
    folder, found = Path(config.runtime.output_root, config.runtime.experiment_name), {}
    for name, code in zip(names, config.train.arch, strict=True):
        runtime = config.runtime.model_copy(update={"output_root": str(folder), "experiment_name": name})
        train = config.train.model_copy(update={"arch": (code,), "arch_name": ()})
        found[name] = config.model_copy(update={"runtime": runtime, "train": train})
    return found


def create_group(config: Config) -> None:
    """Make the group's folder with its configuration.  Raises StorageError where it exists."""
    models = dict(zip(config.train.arch_name, config.train.arch, strict=True))
    files = {"config.yaml": dump_config(config).encode(), GROUP: canonical_json({"format": 1, "models": models})}
    create_folder(Path(config.runtime.output_root, config.runtime.experiment_name), files)


def group_config(path: Path, overrides: list[str], fork: str | None) -> Config:
    """The configuration of a group where it now lies, with overrides.  Raises ConfigError for what it cannot have."""
    if fork is not None:
        names = ", ".join(str(path / name) for name in read_json(path / GROUP)["models"])
        raise ConfigError(f"--fork takes one model, {path} holds several: give one of {names}")
    for key, _ in parse_overrides(overrides)[0]:
        if key in OWN:
            raise ConfigError(f"--{key} cannot change in {path}, which holds models of its own: begin a new run")
    here = path.absolute()
    place = [f"--runtime.output_root={here.parent}", f"--runtime.experiment_name={here.name}"]
    return load_config(path / "config.yaml", [*overrides, *place])
