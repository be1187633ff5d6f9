"""``Run``: the one opened run, for everything that only looks at it: no lock, no write.

Weights, search space, pool, frozen samples and history of a run directory; or of a file of TF1 weights, or weights of
the package (``weights:NAME``), which have neither checkpoints nor frozen samples of their own.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.config import Config
from edgeflownas.config.load import load_config, parse_overrides
from edgeflownas.data.check import Fingerprint, check_dataset, difference, fingerprint, refuse
from edgeflownas.data.dataset import FlowDataset, FlowPair
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate import frozen
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.frozen import EvalSet, FrozenBatches, FrozenSplit
from edgeflownas.evaluate.noise import rank_order
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.predictors import SubnetPredictor, check_finite
from edgeflownas.evaluate.protocols import Protocol, Size, make_protocol
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.tf1 import load_tf1_weights, tf1_model, tf1_space, tf1_width
from edgeflownas.run import setup
from edgeflownas.run.checkpoint import Checkpoint, Position, TrainState
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.history import Evaluation, evaluations
from edgeflownas.run.manifest import (
    choose_device,
    code_version,
    config_kinds,
    environment,
    set_arithmetic,
)
from edgeflownas.run.setup import Note, Splits, new_net, open_split, run_space, silent, stored_fingerprints
from edgeflownas.run.weights import PREFIX, TRAINING, Shipped, find_weights, is_weights, read_weights
from edgeflownas.space import Arch, SearchSpace

# What decides the pool and its samples: with another value the set is chosen anew, as a run with it would.
CHOOSING = (
    *("eval.eval_pool_size", "eval.eval_batches_per_arch", "eval.bn_recal_batches", "eval.batch_size"),
    *("eval.selection", "eval.set", "data.crop_size", "runtime.seed"),
)
# What the weights are, and the images they were made for: no reader may change it.
NETWORK = (
    *("train.task", "train.space", "train.arch", "train.width", "train.batch_norm", "train.input_normalisation"),
    *("data.channel_order", "data.flow_divisor"),
)
_MACHINE = ("train.gpu_device", "train.channels_last", "runtime.num_threads", "runtime.deterministic")
# Keys that an evaluation reads.
EVALUATED = (
    *CHOOSING,
    *("data.train_dir", "data.val_dir", "data.roots", "data.flow_clip", "data.on_bad_sample", *NETWORK, *_MACHINE),
)
# Keys that one subnet for new pictures reads; imported weights add those that choose samples.
SHOWN = ("data.train_dir", "data.roots", *NETWORK, *_MACHINE)
_SAMPLES = ("eval.bn_recal_batches", "eval.batch_size", "eval.selection", "data.crop_size", "data.on_bad_sample")
TRAINING_DATA = "batch norm is recalibrated on the run's training data: say where they are with --data.train_dir DIR"
# What the published EdgeFlowNet was trained with.
PUBLISHED = {
    "train.batch_norm": "frozen",
    "train.input_normalisation": "raw_0_255",
    "data.channel_order": "bgr",
    "data.crop_size": "352x480",
}


class Run:
    """A run opened to be read; ``directory`` is None for a file of weights, ``shipped`` for all but the package's own.

    ``own`` is the configuration it was trained with, ``config`` the same with the overrides of whoever opened it.
    """

    def __init__(
        self,
        path: Path,
        directory: RunDirectory | None,
        own: Config,
        config: Config,
        note: Note,
        given: Sequence[str],
        shipped: Shipped | None = None,
    ) -> None:
        self.path, self.directory, self.own, self.config, self.note = path, directory, own, config, note
        self.given, self.shipped = given, shipped
        self.manifest: dict[str, Any] = {} if directory is None else directory.manifest

    @classmethod
    def open(
        cls,
        path: Path,
        overrides: Sequence[str] = (),
        note: Note = silent,
        *,
        used: Sequence[str] = EVALUATED,
        what: str = "an evaluation",
        warn: Note | None = None,
    ) -> Run:
        """Open a run directory, ``weights:NAME`` or TF1 weights (npz), with ``--group.key value`` over its settings.

        ``note`` is told of every choice made here, and of keys given that ``what`` (who asks, in words) does not read:
        that reads ``used``.  ``warn`` (None: stderr) is told of damaged checkpoints that are passed over.  Raises
        ConfigError for a key that would change the network, StorageError or DataError for what is no run or file.
        """
        given = [key for key, _ in parse_overrides(list(overrides))[0]]
        shipped = read_weights(path) if is_weights(path) else None
        directory = None if shipped or path.is_file() else RunDirectory(path, warn)
        if shipped is not None:
            own, config, used = shipped.config(), shipped.config(overrides), (*used, *_SAMPLES)
        elif directory is None:
            own = config = weights_config(path, overrides)
        else:
            own = load_config(path / "config.yaml")
            alike = [f"--eval.batch_size={own.eval_batch_size}"]  # whatever train.batch_size an override says
            own, config = (load_config(path / "config.yaml", [*alike, *words]) for words in ((), overrides))
            if "imported_from" in directory.manifest:
                used = (*used, *_SAMPLES)
        for key in given:
            if key not in used:
                note(f"--{key} has no effect on {what}")
        for key in NETWORK:  # of a file of weights both are one
            if attrgetter(key)(config) != (value := attrgetter(key)(own)):
                raise ConfigError(f"--{key} differs from the run's {value}: its weights do not fit")
        return cls(path, directory, own, config, note, given, shipped)

    @property
    def id(self) -> str:
        """What tells the run from others, wherever it lies."""
        return self.directory.id if self.directory is not None else self.path.name

    @property
    def deployed_size(self) -> Size | None:
        """Rows and columns (px) at which frames are estimated unless asked otherwise; None: those of the frames."""
        return self.shipped.size if self.shipped is not None else None

    @property
    def recalibrates(self) -> bool:
        """Whether these are weights of the package that need calibration pairs: those of a supernet."""
        return self.shipped is not None and not self.shipped.statistics

    @property
    def imported(self) -> bool:
        """Whether the weights were made elsewhere: no frozen samples, no plan."""
        return self.directory is None or "imported_from" in self.manifest

    @property
    def anew(self) -> bool:
        """Whether pool and samples are chosen anew: imported weights, or a key that chooses them was given."""
        return self.imported or attrgetter(*CHOOSING)(self.own) != attrgetter(*CHOOSING)(self.config)

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the run's network."""
        return run_space(self.config)

    @cached_property
    def stored_eval_set(self) -> EvalSet:
        """The frozen set on disk.  Raises DataError where it is missing or damaged."""
        stored = self.path / "eval_set.json"
        if not stored.exists():
            raise DataError(f"{stored}: missing; `edgeflownas train --resume {self.path}` writes it again")
        return frozen.read_eval_set(stored)

    @property
    def pool(self) -> tuple[str, ...]:
        """Codes of the evaluation pool."""
        own = () if self.anew else self.stored_eval_set.pool
        if self.anew and self.config.eval.set is not None and len(self.space) > 1:
            own = setup.read_given_set(self.config.eval.set)[1].pool
        return own or tuple(map(str, setup.run_pool(self.config)))

    def history(self) -> list[Evaluation]:
        """The run's own evaluations, oldest first.  Raises StorageError."""
        return evaluations(self.path)

    # ---- weights ----

    def checkpoint(self, which: str = "latest", weights: str = "model") -> Checkpoint:
        """A verified checkpoint (``latest``, ``best`` or a name) with the tensors ``weights`` (``model`` or ``ema``).

        Raises ConfigError for weights that the run does not keep, StorageError where there is no such checkpoint.
        """
        if weights not in ("model", "ema"):
            raise ConfigError(f"--weights {weights!r} is unknown: model or ema")
        if self.directory is None and which not in ("best", "latest"):
            raise ConfigError(f"--checkpoint {which} belongs to a run directory; {self.path} is one file: leave it out")
        if self.shipped is not None:
            model = {name: torch.from_numpy(array) for name, array in self.shipped.groups["model"].items()}
            stored = _outside_runs(self.path.name, model, self.shipped.hash)
        elif self.directory is None:
            net = new_net(self.config, None)
            load_tf1_weights(net, self.path)
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
            stored = _outside_runs(self.path.name, dict(net.state_dict()), digest)
        else:
            stored = self.directory.load(which, ["model", weights])
        if weights not in stored.tensors:
            why = "" if self.directory is None else " (train.ema_decay is null)"
            raise ConfigError(f"--weights ema: {self.path} keeps no moving average{why}; use model")
        return stored

    def net(self, stored: Checkpoint, weights: str = "model") -> StagedNet:
        """The network on its device in fp32 arithmetic, with the weights of a checkpoint of this run."""
        config = self.config
        device, _ = choose_device(config.train.gpu_device)
        set_arithmetic(config.model_copy(update={"train": config.train.model_copy(update={"precision": "fp32"})}))
        net = setup.build_net(config, device)
        # The moving average holds weights only; frozen batch-norm statistics are those of the model.
        values = stored.tensors["model"] | stored.tensors[weights]
        for name, tensor in net.state_dict().items():
            tensor.data.copy_(values[name])
        return net

    def label(self, stored: Checkpoint, weights: str = "model") -> str:
        """Run and checkpoint, for result rows."""
        if self.directory is None:
            return self.path.name
        return f"{self.path.name}/{stored.name}" + ("" if weights == "model" else f":{weights}")

    def choose(self, arch: str | None) -> tuple[Arch, str]:
        """The arch that is meant, and why: given, best of the last evaluation, or baseline; ConfigError without any."""
        if arch is not None:
            return self.space.parse(arch), "--arch"
        history = self.history() if self.directory is not None else []
        if history and (last := history[-1]).codes[first := rank_order(last.epes)[0]]:
            tied = last.ranks.count(1) - 1
            others = f", within noise of {tied} other{'' if tied == 1 else 's'}" if tied else ""
            where = f"rank 1 of {last.pool_size} in the evaluation of epoch {last.epoch}"
            return self.space.parse(last.codes[first]), f"{where}, EPE {last.epes[first]:.4f} px{others}"
        if len(self.space) == 1:
            return self.space.arch([0] * len(self.space.choices)), "the only subnet"
        if self.space.baseline is None:
            what = f"{self.path} has not evaluated anything yet and space {self.space.name!r} has no baseline"
            raise ConfigError(f"{what}: give --arch CODE")
        return self.space.parse(self.space.baseline), "the bilinear baseline: nothing was evaluated yet"

    def carried(self, net: StagedNet, protocol: str) -> dict[str, Any]:
        """Give ``net`` the batch-norm statistics that the weights carry for a protocol.

        Returns where they come from (``from``, ``samples``, ``protocol``); empty, and nothing done, where they have to
        be recalibrated: weights of a run or of a supernet, or the user said on which training pairs.
        """
        if self.shipped is None or self.recalibrates or "data.train_dir" in self.given:
            return {}
        known = self.shipped.statistics
        label = protocol if protocol in known else TRAINING
        if label != protocol and protocol.startswith("deploy"):
            self.note(f"{self.path} carries batch-norm statistics for {', '.join(known)}: those of {label} are taken")
        buffers = net.state_dict()
        for name, array in self.shipped.groups["model" if label == TRAINING else label].items():
            buffers[name].data.copy_(torch.from_numpy(array))
        return {**known[label], "protocol": label}

    def subnet(
        self, arch: str | None = None, which: str = "best", weights: str = "model", size: Size | None = None
    ) -> Subnet:
        """One subnet (``arch`` as in :meth:`choose`) with its calibration batches: all that is read of the data.

        ``which`` names the checkpoint; ``best`` is the latest (and a note) where no evaluation has chosen one; ``size``
        (rows and columns, px) is what :meth:`Subnet.flow` brings frames to.  Raises ConfigError for an arch of another
        space, DataError for training data that are missing or not those of the run.
        """
        if self.directory is None and which != "best":
            raise ConfigError(f"--checkpoint {which} belongs to a run directory; {self.path} is one file: leave it out")
        if self.directory is not None and which == "best" and not (self.path / "best.json").exists():
            self.note("no evaluation of this run has chosen a best checkpoint: the latest is used")
            which = "latest"
        stored = self.checkpoint(which, weights)
        net = self.net(stored, weights)
        chosen, reason = self.choose(arch)
        protocol = "standard" if size is None else "deploy"
        carried = self.carried(net, make_protocol(protocol, (0, 0), size).label)
        calibrated = net.batchnorms and not carried
        batches = FrozenBatches.of(net, *self.own_calibration(), None) if calibrated else None
        return Subnet(self, stored, net, chosen, reason, batches, carried, size)

    # ---- samples ----

    @cached_property
    def train(self) -> FlowDataset:
        """The training split, checked; pairs made again for weights of the package.  Raises ConfigError, DataError."""
        if self.shipped is not None and "data.train_dir" not in self.given:
            return self._generated("train")
        if self.directory is None and "data.train_dir" not in self.given:
            raise ConfigError(
                f"{self.path}: batch norm is recalibrated on training pairs: say where they are with --data.train_dir "
                "DIR"
            )
        dataset = open_split(self.config, "train")
        if self.directory is not None and self.config.data.on_bad_sample == "stop":
            refuse(dataset, check_dataset(dataset))
        return dataset

    @cached_property
    def val(self) -> FlowDataset:
        """The validation split, checked; pairs made again for weights of the package.  Raises DataError."""
        if self.shipped is not None and "data.val_dir" not in self.given:
            return self._generated("val")
        dataset = open_split(self.config, "val")
        refuse(dataset, check_dataset(dataset))
        return dataset

    def _generated(self, split: str) -> FlowDataset:
        """Pairs of the package's weights, in a folder that goes with this object."""
        assert self.shipped is not None
        folder = tempfile.mkdtemp(prefix="edgeflownas-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return self.shipped.make_pairs(split, Path(folder, "pairs"), self.note)

    @cached_property
    def train_print(self) -> Fingerprint:
        """Fingerprint of the training split.  Raises DataError where it is not the run's."""
        previous = stored_fingerprints(self.path) if self.directory is not None else None
        mark = fingerprint(self.train, previous and previous[0])
        if not self.imported and mark.hash != self.manifest["data"]["train"]["fingerprint"]:
            lines = difference(previous[0], mark, limit=5) if previous else []
            then = self.manifest["data"]["train"]["label"]
            raise DataError(
                f"data.train_dir: the data differ from those of the run ({then} then, {mark.label} now), so the "
                "calibration samples of the run are not there:"
                + "".join(f"\n  {line}" for line in lines)
                + "\nset --data.train_dir to the run's data"
            )
        return mark

    def calibration(self) -> tuple[FrozenSplit, FlowDataset]:
        """The run's frozen calibration samples, or others (and a note), with their data set.  Raises as ``train``."""
        mark = self.train_print
        if not self.anew:
            return self.stored_eval_set.calibration, self.train
        split = frozen.freeze_calibration(self.config, self.train, mark.label, self.note)
        if self.directory is None:
            self.note(f"calibrated on {len(split.names)} samples of {split.label}")
        else:
            self.note(f"not the run's frozen calibration samples: {len(split.names)} of {mark.label}")
        return split, self.train

    def own_calibration(self) -> tuple[FrozenSplit, FlowDataset]:
        """As :meth:`calibration`, reading only the files of the samples themselves: for whoever evaluates nothing."""
        if self.directory is None:
            return self.calibration()
        try:
            train = open_split(self.config, "train")
        except DataError as error:
            raise DataError(f"{error}\n{TRAINING_DATA}") from None
        if self.imported:
            self.note(f"imported weights have no calibration samples of their own: {train.directory} gives them")
            return frozen.freeze_calibration(self.config, train, str(train.directory), self.note), train
        split = self.stored_eval_set.calibration
        wanted = set(split.names)
        chosen = replace(train, samples=tuple(sample for sample in train.samples if sample.name in wanted))
        if missing := wanted - set(chosen.names):
            raise DataError(
                f"{train.directory}: {len(missing)} of {len(wanted)} calibration samples are missing, the first is "
                f"{min(missing)!r}\n{TRAINING_DATA}"
            )
        previous = stored_fingerprints(self.path)
        if previous is not None:  # else removed by hand; names and windows are checked all the same
            recorded = {row.name: row for row in previous[0].table}
            limit = 2**62 if previous[0].crc_kind == "full" else -1  # sums of the same kind as those on record
            for row in fingerprint(chosen, previous[0], full_limit=limit).table:
                then = recorded.get(row.name)
                if then is None or (then.size, then.crc) != (row.size, row.crc):
                    raise DataError(
                        f"{chosen.directory / row.name}: not the file this run was calibrated with "
                        f"({'unknown to it' if then is None else f'{then.size} bytes then, {row.size} now'})"
                        f"\n{TRAINING_DATA}"
                    )
        return split, train

    def evaluation(self, split: str = "val", batches: str | None = None) -> tuple[EvalSet, bool]:
        """The frozen set of the run, one chosen anew for other keys, or other evaluation samples (and a note).

        Samples come from ``split`` (``val`` or ``train``); ``batches`` is None for the frozen set, a number of them, or
        ``all``.  Also returns whether the set is the run's own, so that figures are those of its history.
        """
        if split not in ("train", "val"):
            raise ConfigError(f"--split {split!r} is unknown: train or val")
        train, val, config = self.train, self.val, self.config
        if self.imported:
            kind = "imported weights" if self.shipped is None else "weights of the package"
            self.note(f"this run has no frozen evaluation set ({kind}): one is made of the given data")
        stored = None if self.imported else self.stored_eval_set  # what is damaged is said before data are read
        previous = stored_fingerprints(self.path)
        splits = Splits(train, val, self.train_print, fingerprint(val, previous and previous[1]))
        dataset, mark = (val, splits.val_print) if split == "val" else (train, splits.train_print)
        if stored is None or self.anew:
            eval_set, same = setup.freeze_eval_set(config, splits, self.note), False
        else:
            eval_set, same = stored, self.own.data.flow_clip == config.data.flow_clip
            same = same and splits.val_print.hash == self.manifest["data"]["val"]["fingerprint"]
        if split == "train" or batches is not None or not (same or self.anew):
            if batches is None or batches == "all":
                wanted = None if batches else config.eval.eval_batches_per_arch
            elif not batches.isdecimal() or len(batches) > 12 or int(batches) == 0:
                raise ConfigError(f"--batches {batches!r} must be a positive number, or all")
            else:
                wanted = int(batches)
            place = (config.data.crop_size, config.eval_batch_size, wanted, config.eval.selection)
            chosen = frozen.freeze_split(dataset, mark.label, *place, "--batches", self.note)
            eval_set, same = replace(eval_set, evaluation=chosen, flow_clip=config.data.flow_clip), False
        if not same:
            self.note(f"not the run's frozen evaluation set: {len(eval_set.evaluation.names)} samples of {mark.label}")
        return eval_set, same

    def batches(self, net: StagedNet, eval_set: EvalSet, split: str = "val") -> tuple[FrozenBatches, FrozenBatches]:
        """Calibration and evaluation batches of a set for ``net``; ``split`` is that of the evaluation samples."""
        clip, evaluated = eval_set.flow_clip, self.val if split == "val" else self.train
        calibration = FrozenBatches.of(net, eval_set.calibration, self.train, clip)
        return calibration, FrozenBatches.of(net, eval_set.evaluation, evaluated, clip)


def run_network(path: Path) -> tuple[SearchSpace, int, tuple[int, int]]:
    """Space, width and image size (px) of the run at ``path``.  Raises ConfigError where its network is no FlowNet."""
    run = Run.open(path)
    if run.config.train.task == "edgeflownet":
        raise ConfigError(f"{path} trains EdgeFlowNet, whose layers are not FlowNet's: it cannot be profiled")
    return run.space, run.config.train.width, run.shipped.size if run.shipped else run.config.data.crop_size


@dataclass(frozen=True)
class Subnet:
    """One subnet of a run, ready for pictures it has never seen."""

    run: Run
    checkpoint: Checkpoint
    net: StagedNet  # the run's; after ``extracted`` of export/source.py the subnet alone
    arch: Arch
    reason: str  # why this arch
    calibration: FrozenBatches | None  # None where batch norm needs no samples: frozen, or carried
    carried: dict[str, Any] = field(default_factory=dict)  # of Run.carried
    size: Size | None = None  # rows and columns (px) at which ``flow`` estimates, None: those of the frames
    _made: dict[str, SubnetPredictor] = field(init=False, default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Run and checkpoint, or the weights file."""
        return self.checkpoint.name if self.run.directory is None else f"{self.run.path} {self.checkpoint.name}"

    @property
    def short_name(self) -> str:
        """The same without the folders above."""
        folder = "" if self.run.directory is None else f"{self.run.path.resolve().name}/"
        return folder + self.checkpoint.name

    @property
    def code(self) -> str:
        """Arch code without commas, or the network's name where there is no choice."""
        return str(self.arch).replace(",", "")

    @property
    def space(self) -> str:
        """Name of the search space."""
        train = self.run.config.train
        return "edgeflownet" if train.task == "edgeflownet" else train.space

    @property
    def calibrated_on(self) -> str:
        """Label of the data that batch norm is recalibrated on, empty where it is not."""
        return self.carried.get("from", "") if self.calibration is None else self.calibration.split.label

    @property
    def calibration_samples(self) -> int:
        """Number of samples that batch norm is recalibrated on."""
        return self.carried.get("samples", 0) if self.calibration is None else len(self.calibration.split.names)

    @property
    def flow_divisor(self) -> float:
        """The network's flow times this is in pixels."""
        return self.run.config.data.flow_divisor

    def predictor(self, advance: Callable[[], None] = lambda: None) -> SubnetPredictor:
        """What estimates flow, made once; ``advance`` is called before each batch of a recalibration."""
        if (made := self._made.get("predictor")) is None:
            statistics = None
            if self.calibration is not None:
                with full_precision():
                    statistics = recalibrate(self.net, [self.arch], self.calibration, advance)
            who = (self.name, self.checkpoint.hash, self.flow_divisor)
            made = self._made["predictor"] = SubnetPredictor(self.net, [self.arch], statistics, *who)
        return made

    def flow(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow [H,W,2] from ``image1`` to ``image2``, px: u to the right, v down.

        The images are uint8 RGB [H,W,3] of one size, any; they are brought to ``size`` and the flow back to their own
        pixels, as on a device (protocol deploy).  Raises DataError for other arrays, NonFiniteError for a network that
        diverged.
        """
        image1, image2 = np.asarray(image1), np.asarray(image2)
        for number, image in ((1, image1), (2, image2)):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise DataError(f"image{number}: {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3], RGB")
        if image1.shape != image2.shape:
            sizes = " and ".join(f"{image.shape[0]}x{image.shape[1]}" for image in (image1, image2))
            raise DataError(f"image1 and image2 are {sizes} (height x width): frames of one pair must have one size")
        unknown = np.broadcast_to(np.float32(0.0), (*image1.shape[:2], 2))
        protocol = Protocol("standard" if self.size is None else "deploy", self.size)
        prepared = protocol.prepare(FlowPair(image1, image2, unknown, np.broadcast_to(True, image1.shape[:2])))
        (flow,) = self.predictor().predict(prepared.images)
        check_finite(flow)
        return protocol.restore(flow, prepared)


def load(name: str | Path, arch: str | None = None, size: Size | None | Literal["deployed"] = "deployed") -> Subnet:
    """A network for pictures: weights of the package by name, or one subnet of a run directory.

    ``arch`` is as in :meth:`Run.choose`; ``size`` (rows and columns, px) is what frames are brought to, None leaves
    them as they are: the size that weights of the package are deployed at, and None for a run, unless given.  Raises
    ConfigError, DataError, StorageError.
    """
    place = Path(name)
    if not (is_weights(place) or place.exists()):
        place = Path(PREFIX + find_weights(name))
    run = Run.open(place, used=SHOWN, what="this")
    return run.subnet(arch, size=run.deployed_size if size == "deployed" else size)


# ---- weights made elsewhere ----


def _outside_runs(name: str, tensors: dict[str, torch.Tensor], digest: str) -> Checkpoint:
    """A checkpoint of weights alone."""
    return Checkpoint(name, Position(0, 0, 0), {}, {"model": tensors}, {}, None, True, digest, {})


def weights_config(file: Path, overrides: Sequence[str]) -> Config:
    """Configuration of the TF1 weights in ``file``, which decides task and width; EdgeFlowNet's as it was published.

    Raises ConfigError for an override that contradicts the file, DataError for a file that is none.
    """
    task, width = tf1_model(file), tf1_width(file)
    for key, what in (("task", f"the weights of task {task}"), ("width", f"a network of width {width}")):
        if any(token.partition("=")[0] == f"--train.{key}" for token in overrides):
            raise ConfigError(f"--train.{key} cannot be set here: {file} holds {what}")
    published = [f"--{key}={value}" for key, value in PUBLISHED.items()] if task == "edgeflownet" else []
    own = [f"--train.space={tf1_space(file)}"] if task == "supernet" else []
    config = load_config(None, [*published, *own, *overrides, f"--train.task={task}", f"--train.width={width}"])
    if own and own != [f"--train.space={config.train.space}"]:
        raise ConfigError(
            f"--train.space {config.train.space}: {file} holds a TF1 supernet, whose space is {own[0][14:]}: leave "
            "--train.space out"
        )
    return config


def import_weights(file: Path, out: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Make the run ``out`` from TF1 weights (npz, see models/tf1.py) of the supernet or of EdgeFlowNet.

    Raises ConfigError for an override that contradicts the file, DataError for a file that is none or does not fit,
    StorageError where ``out`` exists or cannot be written.
    """
    place = ["--runtime.output_root", str(out.parent), "--runtime.experiment_name", out.name]
    config = weights_config(file, [*overrides, *place])
    net = new_net(config, None)
    load_tf1_weights(net, file)
    space, tensors = net.space, dict(net.state_dict())
    source = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    manifest = {
        "keys": config_kinds(config),
        "data": {},
        "space": space.declaration(),
        "imported_from": source,
        "code": code_version(),
        "environment": environment(),
    }
    directory = RunDirectory.create(out, config.model_dump(mode="json"), manifest)
    with directory.locked():
        directory.resume()
        state = TrainState(planned=0, num_epochs=0).to_json()
        directory.commit(Position(0, 0, 0), state, {"model": tensors}, finished=True)
    return {"run": str(out), "space": space.name, "width": net.width, "tensors": len(tensors), **source}
