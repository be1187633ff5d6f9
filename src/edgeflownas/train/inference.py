"""One subnet of a run, ready for pictures it has never seen: weights, arch, and the samples that calibrate it.

Needs the run's training data (batch norm is recalibrated on the frozen calibration samples) but not its evaluation
split, and reads only the files of those samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeflownas.config import Config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fingerprint import fingerprint
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.evalset import FrozenBatches, FrozenSplit, freeze_split, read_eval_set
from edgeflownas.models.batches import FlowBatch
from edgeflownas.models.stages import StagedNet
from edgeflownas.space import Arch, SearchSpace
from edgeflownas.train.eventlog import csv_rows, read_rows
from edgeflownas.train.importing import read_npz
from edgeflownas.train.opening import stored_fingerprints
from edgeflownas.train.reading import NETWORK, load_net, read_configs
from edgeflownas.train.rundir import RunDirectory

__all__ = ["ReadySubnet", "best_of_last_evaluation", "open_subnet"]

USED = (
    *("data.train_dir", "data.roots", "train.gpu_device", "train.channels_last", *NETWORK),
    *("runtime.num_threads", "runtime.deterministic"),
)
USED_IMPORTED = ("eval.bn_recal_batches", "eval.batch_size", "eval.selection", "data.crop_size", "data.on_bad_sample")
REMEDY = "batch norm is recalibrated on the run's training data: say where they are with --data.train_dir DIR"


@dataclass(frozen=True)
class ReadySubnet:
    """A run's network, the subnet that is meant and why, and its calibration batches."""

    name: str  # run and checkpoint, or the weights file
    source: str  # hash of the checkpoint or file
    net: StagedNet
    arch: Arch
    reason: str
    calibration: Sequence[FlowBatch]
    calibration_label: str  # empty: frozen batch norm needs no samples
    config: Config

    @property
    def flow_divisor(self) -> float:
        """What the flow was divided by in training."""
        return self.config.data.flow_divisor


def open_subnet(
    path: Path,
    arch: str | None,
    checkpoint: str,
    overrides: Sequence[str],
    note: Callable[[str], None],
    also_used: Sequence[str] = (),
) -> ReadySubnet:
    """Weights, arch and calibration samples of a run.

    Args:
        path: run directory.
        arch: code; None for the best of the run's last evaluation, or the bilinear baseline where there was none.
        checkpoint: ``best``, ``latest`` or a name; ``best`` is the latest where no evaluation has chosen one.
        overrides: ``--group.key value`` tokens, e.g. another place of the training data.
        note: told of every choice made here.
        also_used: keys that the caller reads beside those read here.

    Raises:
        ConfigError: an arch of another space; DataError: training data that are missing or not those of the run;
        StorageError: what cannot be read of the run.
    """
    if path.is_file():
        return _of_file(path, arch, checkpoint, overrides, note)
    run = RunDirectory.open(path)
    imported = "imported_from" in run.manifest
    used = (*USED, *also_used, *(USED_IMPORTED if imported else ()))
    _, config = read_configs(run, overrides, note, used, "this")
    if checkpoint == "best" and not (run.path / "best.json").exists():
        note("no evaluation of this run has chosen a best checkpoint: the latest is used")
        checkpoint = "latest"
    net, stored = load_net(run, config, checkpoint)
    chosen, reason = _choose(str(run.path), best_of_last_evaluation(run), net.space, arch)
    known = (f"{run.path} {stored.name}", stored.hash, net, chosen, reason)
    if not net.batchnorms:
        return ReadySubnet(*known, (), "", config)
    try:
        train = open_dataset(config.data.train_dir, "train", "data.train_dir", config.data.roots)
    except DataError as error:
        raise DataError(f"{error}\n{REMEDY}") from None
    split = _new_split(config, train, note) if imported else _frozen_split(run, train)
    first = next(net.parameters())
    calibration = FrozenBatches(split, train, None, first.device, first.dtype, net.input_form)
    return ReadySubnet(*known, calibration, split.label, config)


def _of_file(
    path: Path, arch: str | None, checkpoint: str, overrides: Sequence[str], note: Callable[[str], None]
) -> ReadySubnet:
    """The same of an npz file of TF1 weights, which has neither checkpoints nor a history."""
    if checkpoint != "best":
        raise ConfigError(f"--checkpoint {checkpoint} belongs to a run directory; {path} is one file: leave it out")
    read = read_npz(path, overrides, note)
    chosen, reason = _choose(str(path), None, read.net.space, arch)
    first = next(read.net.parameters())
    calibration: Sequence[FlowBatch] = ()
    label = ""
    if read.calibration is not None:
        split, train = read.calibration
        calibration = FrozenBatches(split, train, None, first.device, first.dtype, read.net.input_form)
        label = split.label
    return ReadySubnet(read.name, read.source, read.net, chosen, reason, calibration, label, read.config)


def _choose(where: str, found: tuple[str, str] | None, space: SearchSpace, arch: str | None) -> tuple[Arch, str]:
    """The arch that is meant and why; ``found`` is the best of a last evaluation, in the same form."""
    if arch is not None:
        return space.parse(arch), "--arch"
    if found is not None:
        code, reason = found
        return space.parse(code), reason
    if len(space) == 1:
        return space.arch([0] * len(space.choices)), "the only subnet"
    if space.baseline is None:
        raise ConfigError(
            f"{where} has not evaluated anything yet and space {space.name!r} has no baseline: give --arch CODE"
        )
    return space.parse(space.baseline), "the bilinear baseline: nothing was evaluated yet"


def best_of_last_evaluation(run: RunDirectory) -> tuple[str, str] | None:
    """(code, in words where it comes from) of the first in the ranking of the last evaluation; None without one."""
    rows = read_rows(run.path / "events.jsonl", b'"evaluation"')
    events = [row for row in rows if row.get("event") == "evaluation"]
    if not events:
        return None
    last = events[-1]
    ranking = next((str(last[name]) for name in last if name.startswith("arch_rank_")), "")
    parts = ranking.partition("|")[0].split(":")
    codes = {
        row.get("arch_index"): row.get("code")
        for row in csv_rows(run.path / "per_arch_epe.csv")
        if row.get("epoch") == str(last.get("epoch"))
    }
    code = codes.get(parts[1]) if len(parts) == 3 else None
    if code is None:
        return None
    tied = sum(entry.startswith("1:") for entry in ranking.split("|")) - 1
    others = f", within noise of {tied} other{'' if tied == 1 else 's'}" if tied else ""
    return code, f"rank 1 of {len(codes)} in the evaluation of epoch {last['epoch']}, EPE {parts[2]} px{others}"


def _frozen_split(run: RunDirectory, train: FlowDataset) -> FrozenSplit:
    """The run's own calibration samples, their files the same as when the run began."""
    stored = run.path / "eval_set.json"
    if not stored.exists():
        raise DataError(f"{stored}: missing; `edgeflownas train --resume {run.path}` writes it again")
    split = read_eval_set(stored).calibration
    wanted = set(split.names)
    chosen = replace(train, samples=tuple(sample for sample in train.samples if sample.name in wanted))
    missing = wanted - set(chosen.names)
    if missing:
        raise DataError(
            f"{train.directory}: {len(missing)} of {len(wanted)} calibration samples are missing, the first is "
            f"{min(missing)!r}\n{REMEDY}"
        )
    _require_same_files(run, chosen)
    return split


def _require_same_files(run: RunDirectory, chosen: FlowDataset) -> None:
    previous = stored_fingerprints(run.path)
    if previous is None:  # removed by hand; names and windows are checked all the same
        return
    recorded = {row.name: row for row in previous[0].table}
    limit = 2**62 if previous[0].crc_kind == "full" else -1  # sums of the same kind as those on record
    for row in fingerprint(chosen, previous[0], full_limit=limit).table:
        then = recorded.get(row.name)
        if then is None or (then.size, then.crc) != (row.size, row.crc):
            raise DataError(
                f"{chosen.directory / row.name}: not the file this run was calibrated with "
                f"({'unknown to it' if then is None else f'{then.size} bytes then, {row.size} now'})\n{REMEDY}"
            )


def _new_split(config: Config, train: FlowDataset, note: Callable[[str], None]) -> FrozenSplit:
    """Imported weights come without samples: the run's keys choose some of the given data."""
    settings = config.eval
    note(f"imported weights have no calibration samples of their own: {train.directory} gives them")
    return freeze_split(
        train,
        str(train.directory),
        config.data.crop_size,
        settings.batch_size,
        settings.bn_recal_batches,
        settings.selection,
        "eval.bn_recal_batches",
        note,
        skip_bad=config.data.on_bad_sample == "quarantine",
    )
