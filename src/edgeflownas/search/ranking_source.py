"""What a ranking reads: a supernet run's weights, its frozen calibration samples, and the sets to score."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from edgeflownas.config import Config
from edgeflownas.data.fingerprint import fingerprint
from edgeflownas.data.sets import is_named, open_dataset
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import EvalSet, FrozenBatches
from edgeflownas.evaluate.protocols import PROTOCOLS, make_protocol
from edgeflownas.evaluate.ranking_parts import set_columns
from edgeflownas.evaluate.ranking_sets import protocol_batches
from edgeflownas.models.batches import FlowBatch, InputForm
from edgeflownas.models.stages import StagedNet
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.machine import choose_device
from edgeflownas.train.machine import World
from edgeflownas.train.reading import read_configs, read_run, read_weights

__all__ = ["Source", "Wanted", "column_names", "open_source"]

Note = Callable[[str], None]
RENAME = "give a folder of another name (a link to it will do), or rank the sets one at a time"
SHARED = [name for name in PROTOCOLS if name != "deploy"]  # deploy resizes every prediction by itself


@dataclass(frozen=True)
class Wanted:
    """What the command line says of the run and the data."""

    run: Path
    checkpoint: str = "latest"
    weights: str = "model"
    data: tuple[str, ...] = ()
    protocol: str = "standard"
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A supernet on its device with the batches of a ranking."""

    net: StagedNet
    calibration: Sequence[FlowBatch]
    sets: dict[str, Sequence[FlowBatch]]
    """By column of the EPE: ``epe``, then ``epe_sintel_clean`` and the like."""
    size: tuple[int, int]
    """Rows and columns of the run's images, for which costs are counted."""
    flow_divisor: float
    facts: dict[str, str]
    """What decides every figure, in words; equal facts, equal figures."""
    order: Sequence[int] | None = None
    """Place in its data set of each sample of the first set, where frames of several sizes changed the order."""


def open_source(wanted: Wanted, world: World, note: Note) -> Source:
    """Open a run and the sets.

    Raises:
        ConfigError: a run of a single model, a set that does not fit; DataError, StorageError: what cannot be read.
    """
    if wanted.data and wanted.protocol not in SHARED:
        raise ConfigError(
            f"--protocol {wanted.protocol} is none under which subnets can be ranked together: {', '.join(SHARED)}"
        )
    run = RunDirectory(wanted.run)
    task = read_configs(run, wanted.overrides, lambda text: None)[1].train.task
    if task != "supernet":
        raise ConfigError(
            f"{wanted.run}: train.task is {task}: one model, nothing to rank; `edgeflownas evaluate {wanted.run}` "
            "scores it, and a supernet run can be ranked"
        )
    return (_on_data if wanted.data else _on_frozen)(wanted, world, note)


def _on_frozen(wanted: Wanted, world: World, note: Note) -> Source:
    """The run's own frozen evaluation set."""
    run = read_run(wanted.run, wanted.checkpoint, wanted.weights, overrides=wanted.overrides, note=note)
    frozen, place = run.eval_set, _place(run.net, run.config, world)
    calibration = FrozenBatches(frozen.calibration, run.train, frozen.flow_clip, *place)
    evaluation = FrozenBatches(frozen.evaluation, run.val, frozen.flow_clip, *place)
    facts = {
        **_facts(wanted, run.checkpoint.name, run.checkpoint.hash, run.config, run.net),
        "calibration": f"{frozen.calibration.label}, {len(frozen.calibration.names)} samples",
        "calibration_set": frozen.calibration_hash,
        "epe": f"training on {frozen.evaluation.label}, {len(frozen.evaluation.names)} samples",
        "eval_set": frozen.hash,
        "frozen": "the run's own sets" if run.frozen else "not the run's frozen sets",
        "flow_clip": str(frozen.flow_clip),
    }
    return _source(run.net, run.config, calibration, {"epe": evaluation}, facts)


def _on_data(wanted: Wanted, world: World, note: Note) -> Source:
    """Data sets by name; their training-set calibration stays that of the run."""
    weights = read_weights(wanted.run, wanted.checkpoint, wanted.weights, wanted.overrides, note)
    config, net = weights.config, weights.net
    place = _place(net, config, world)
    assert weights.calibration is not None, "a supernet has batch norms to recalibrate"
    split, train = weights.calibration
    checkpoint = weights.name.rpartition("/")[2].partition(":")[0]
    facts = {
        **_facts(wanted, checkpoint, weights.source, config, net),
        "calibration": f"{split.label}, {len(split.names)} samples",
        "calibration_set": EvalSet(split, split, None).calibration_hash,
        "batch_size": str(config.eval.batch_size),
    }
    sets: dict[str, Sequence[FlowBatch]] = {}
    orders = []
    for spec, name in zip(wanted.data, column_names(wanted.data), strict=True):
        sets[name], facts[name], order = _open_set(spec, wanted.protocol, config, place)
        orders.append(order)
    return _source(net, config, FrozenBatches(split, train, None, *place), sets, facts, orders[0])


def _open_set(
    spec: str, protocol: str, config: Config, place: tuple[torch.device, torch.dtype, InputForm]
) -> tuple[list[FlowBatch], str, list[int]]:
    """Batches of a data set, what its figures are called, and the places of the samples."""
    dataset = open_dataset(spec, "val", "--data", config.data.roots)
    height, width = dataset.read(0).flow.shape[:2]
    made = make_protocol(protocol, (height, width), None, (config.data.crop_size, config.data.flow_clip))
    batches, frames, order = protocol_batches(dataset, made, config.eval.batch_size, *place)
    mark = fingerprint(dataset)
    sizes = " ".join(f"{rows}x{columns}" for rows, columns in frames)
    label = f"{made.label} on {mark.label}, {len(dataset)} samples of {sizes}, content {mark.hash[:16]}"
    return batches, label, order


def column_names(specs: Sequence[str]) -> list[str]:
    """``epe`` for the first set, ``epe_sintel_clean`` for ``sintel:clean@/data`` behind it.

    Raises ConfigError for sets that would share a column, also one that is made of a set's (``epe_median``), and for
    a folder without an ASCII letter or digit in its name.
    """
    names = ["epe"]
    for spec in specs[1:]:
        plain = spec.partition("@")[0] if is_named(spec) else Path(spec).name
        names.append("epe_" + "_".join(re.findall(r"[a-z0-9]+", plain.lower())))
    owner: dict[str, str] = {}
    for spec, name in zip(specs, names, strict=True):
        if name == "epe_":
            raise ConfigError(f"--data {spec}: no ASCII letter or digit to name its column by; {RENAME}")
        for column in set_columns(name, first=name == "epe"):
            if column in owner:
                raise ConfigError(f"--data {owner[column]} and {spec} would share the column {column}; {RENAME}")
            owner[column] = spec
    return names


def _place(net: StagedNet, config: Config, world: World) -> tuple[torch.device, torch.dtype, InputForm]:
    """The net on this rank's device; where its batches go, and how."""
    if world.size > 1:
        net.to(choose_device(config.train.gpu_device, world.local_rank, world.size)[0])
    first = next(net.parameters())
    return first.device, first.dtype, net.input_form


def _facts(wanted: Wanted, checkpoint: str, checkpoint_hash: str, config: Config, net: StagedNet) -> dict[str, str]:
    height, width = config.data.crop_size
    return {
        "run": wanted.run.resolve().name,
        "checkpoint": checkpoint,
        "checkpoint_hash": checkpoint_hash,
        "weights": wanted.weights,
        "space": net.space.name,
        "width": str(config.train.width),
        "size": f"{height}x{width}",
        "flow_divisor": f"{config.data.flow_divisor:g}",
        "device": next(net.parameters()).device.type,
        "channels_last": str(config.train.channels_last).lower(),
        "precision": config.train.precision if config.train.precision == "fp64" else "fp32",
        "version": version("edgeflownas"),
        "torch": torch.__version__,
    }


def _source(
    net: StagedNet,
    config: Config,
    calibration: Sequence[FlowBatch],
    sets: dict[str, Sequence[FlowBatch]],
    facts: dict[str, str],
    order: Sequence[int] | None = None,
) -> Source:
    # Lists: the evaluator keeps all tensors, and whatever else holds the decoded samples may go.
    held: dict[str, Sequence[FlowBatch]] = {name: list(batches) for name, batches in sets.items()}
    return Source(net, list(calibration), held, config.data.crop_size, config.data.flow_divisor, facts, order)
