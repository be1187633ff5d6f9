"""What one training step computes.  The loop knows no model; a task knows nothing of epochs or files.

The unit of work is (path, micro-batch): its batch-norm statistics and its gradient belong to it.  Forward never
writes a training buffer; an accepted step updates weights, Adam and batch norm together, a dropped or abandoned one
changes nothing.

Every ``parameter.grad`` is a view into one flat vector, so that zeroing, the norm and the sum over ranks are one
operation each.  Views have the strides of their parameter (channels_last kernels included): the fused Adam kernel walks
parameter, gradient and moments in memory order.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from edgeflownas.config import Config, TrainConfig
from edgeflownas.data.loader import Batch
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.evaluate.frozen import FrozenBatches, freeze_split
from edgeflownas.evaluate.losses import feature_loss, multiscale_loss
from edgeflownas.files import crash_point
from edgeflownas.models.batchnorm import record_moments
from edgeflownas.models.blocks import FlowBatch, InputForm, StagedNet, to_flow_batch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.checkpoint import Checkpoint, require_like
from edgeflownas.run.run import Run
from edgeflownas.run.setup import Splits, new_net, silent
from edgeflownas.space import Arch
from edgeflownas.train.fairness import assert_fair, fair_cycle
from edgeflownas.train.machine import StopRequested, World
from edgeflownas.train.plan import clip_checks


class FlatGradient:
    """The gradients of named parameters as views of ``vector`` (shape [number of weights])."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], extra: int = 0) -> None:
        """``extra`` further elements at the end of ``buffer`` travel with the gradient in the sum over ranks."""
        tensors = list(parameters.values())
        size = sum(p.numel() for p in tensors)
        self.buffer = torch.zeros(size + extra, dtype=tensors[0].dtype, device=tensors[0].device)
        self.vector = self.buffer[:size]
        self.extra = self.buffer[size:]
        offset = 0
        for p in tensors:
            piece = self.vector[offset : offset + p.numel()]
            p.grad = piece.as_strided(p.shape, p.stride(), piece.storage_offset())
            offset += p.numel()

    def norm(self) -> float:
        """Global L2 norm."""
        return float(torch.linalg.vector_norm(self.vector))


def clip_factor(norm: float, threshold: float | None) -> float:
    """Factor that brings a gradient of this norm to the threshold; 1 where it is below (or there is none)."""
    return threshold / norm if threshold is not None and norm > threshold else 1.0


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) with coupled L2 on convolution kernels; state stored by parameter name.

    torch's own fused kernel, called as torch.optim.Adam does; that class imports a compiler first, 1.4 s of a start.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], config: TrainConfig) -> None:
        self.parameters, self.config = dict(parameters), config
        self.kernels = [p for p in self.parameters.values() if p.dim() > 2]  # of 1-D (ECA) and 2-D ones
        self.state = {
            name: {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }
            for name, p in self.parameters.items()
        }

    def decay(self) -> None:
        """Add lambda x w to the gradient of every convolution kernel, once a step, before the norm is taken."""
        if self.config.weight_decay > 0:
            gradients = [p.grad for p in self.kernels if p.grad is not None]
            torch._foreach_add_(gradients, [p.detach() for p in self.kernels], alpha=self.config.weight_decay)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every weight from its gradient."""
        config = self.config
        weights: list[torch.Tensor] = list(self.parameters.values())
        steps, means, squares = ([own[key] for own in self.state.values()] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            weights,
            [p.grad for p in weights if p.grad is not None],
            means,
            squares,
            [],
            steps,
            lr=rate,
            beta1=config.adam_beta1,
            beta2=config.adam_beta2,
            weight_decay=0.0,
            eps=config.adam_epsilon,
            amsgrad=False,
            maximize=False,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Moments and step counts by name, for a checkpoint."""
        return {f"{name}/{key}": value for name, own in self.state.items() for key, value in own.items()}


class MovingAverage:
    """Exponential moving average of the weights, held by a network of its own so that it can be evaluated as it is.

    Its batch-norm buffers stay unused where every evaluation recalibrates; elsewhere they are those of the weights.
    """

    def __init__(self, net: StagedNet, decay: float) -> None:
        self.decay = decay
        self.source = dict(net.named_parameters())
        self.net = copy.deepcopy(net)
        self.average = dict(self.net.named_parameters())

    def take_buffers(self, net: StagedNet) -> None:
        """Statistics, where they are frozen, belong to the weights: take those of ``net``."""
        self.net.load_state_dict(dict(net.named_buffers()), strict=False)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights by 1 - decay; once per accepted step."""
        torch._foreach_lerp_(
            [p.detach() for p in self.average.values()], [p.detach() for p in self.source.values()], 1.0 - self.decay
        )


MOMENTUM = 0.1  # of the training batch-norm buffers, DESIGN "One supernet step"


class UnitMoments:
    """Weighted sums of batch-norm moments over the units of a step, kept in the tail of the flat gradient buffer."""

    precise = False

    def __init__(self, net: StagedNet, tail: torch.Tensor) -> None:
        self.net = net
        self.weight = 0.0
        self.parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        offset = 0
        for bn in net.batchnorms:
            channels = bn.running_mean.numel()
            piece = tail[offset : offset + 1 + 2 * channels]
            self.parts.append((piece[:1], piece[1 : 1 + channels], piece[1 + channels :]))
            offset += len(piece)

    def add(self, slot: int, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        """File one unit's moments under the weight of the unit being computed."""
        total, sum_mean, sum_var = self.parts[slot]
        total += self.weight
        sum_mean.add_(mean.detach(), alpha=self.weight)
        sum_var.add_(var.detach(), alpha=self.weight)

    @torch.no_grad()
    def update_buffers(self) -> None:
        """Move each used batch norm once towards the weighted mean over its units."""
        for bn, (total, mean, var) in zip(self.net.batchnorms, self.parts, strict=True):
            weight = float(total)
            if weight > 0:
                bn.running_mean.lerp_(mean / weight, MOMENTUM)
                bn.running_var.lerp_(var / weight, MOMENTUM)


@dataclass(frozen=True)
class StepOutput:
    """Facts of one step, measured before clipping; ``accepted`` is False for a dropped (non-finite) step."""

    paths: list[Arch]
    loss: float
    loss_optical: float
    loss_uncertainty: float
    loss_feature: float | None  # of a teacher, part of the loss; None without one
    path_losses: list[float]
    grad_norms: list[float]  # one per clip check
    clip_count: int
    accepted: bool


@dataclass(frozen=True)
class Unit:
    """One path on one micro-batch; ``weight`` is its share of the step's mean gradient."""

    index: int
    path: int
    micro: int
    weight: float


def batch_slices(batch_size: int, micro_batch_size: int | None) -> list[slice]:
    """Micro-batches of a path's batch; they do not depend on the number of ranks."""
    size = micro_batch_size or batch_size
    return [slice(start, min(start + size, batch_size)) for start in range(0, batch_size, size)]


class SupernetTask:
    """Strict-fairness steps on a network of stages; where its space holds one arch, plain steps of a single model."""

    def __init__(self, net: StagedNet, config: TrainConfig, seed: int, world: World, device: torch.device) -> None:
        self.net, self.config, self.seed, self.world, self.device = net, config, seed, world, device
        self.parameters = dict(net.named_parameters())
        self.dtype = next(net.parameters()).dtype
        self.adam = Adam(self.parameters, config)
        self.teacher: Teacher | None = None
        self.average = MovingAverage(net, config.ema_decay) if config.ema_decay else None
        max_units = net.space.num_paths * len(batch_slices(config.batch_size, config.micro_batch_size))
        moments = sum(1 + 2 * bn.running_mean.numel() for bn in net.batchnorms)
        self.gradient = FlatGradient(self.parameters, extra=moments + 6 * max_units + 1)
        self.moments = UnitMoments(net, self.gradient.extra[:moments])
        # Per unit: total, optical, uncertainty, feature loss; norm of its gradient; whether it was clipped.
        self.facts = self.gradient.extra[moments:-1].view(6, max_units)
        self.stop = self.gradient.extra[-1:]
        self.sum = torch.zeros_like(self.gradient.vector) if config.grad_clip_position == "micro_step" else None

    def expected_clip_checks(self, draws: int) -> int:
        """Clip checks an accepted step of ``draws`` draws has to make, from the configuration alone."""
        return clip_checks(self.config, self.net.space.num_paths, self._path_size(draws))

    def step(self, batch: Batch, step: int, rate: float, check_stop: Callable[[], None]) -> StepOutput:
        """One strict-fairness step.

        Raises StopRequested where this or another rank was asked to stop: nothing has changed then.
        """
        paths = fair_cycle(self.net.space, self.seed, step)
        assert_fair(self.net.space, paths, self.seed, step)
        self.gradient.buffer.zero_()
        if self.sum is not None:
            self.sum.zero_()
        data = to_flow_batch(batch.images, batch.flow, batch.valid, self.device, self.dtype, self.net.input_form)
        units = self._units(len(data.images))
        try:
            with record_moments(self.net, self.moments):
                self._run(data, paths, units, step, check_stop)
        except StopRequested:
            self.stop.fill_(1.0)
        crash_point("step.accumulated")
        if self.sum is not None:
            self.gradient.vector.copy_(self.sum)
        self._join()
        return self._finish(paths, units, rate)

    def read_gradients(self, batch: Batch, step: int, check_stop: Callable[[], None]) -> dict[str, Any]:
        """Which path and which block pulls how hard on the batch and fair cycle of a step, and whether paths agree.

        One gradient-only pass, 1.1 to 1.6 times as long as the step.  Micro-batches weigh as in the step, ranks share
        the units as there; weight decay and clipping are left out.  No weight, buffer, moment or random number changes,
        only the gradient buffer, which every step zeroes before it is used: a run's bits are the same with it.

        Returns:
            ``paths``: their codes; ``norms``: block (a stage of the network) -> L2 norms of the gradient of each path's
            mean loss; ``all``: the global norms; ``path_cosine``: mean over pairs of paths of the cosine between their
            gradients on the fixed stages, whose weights all share, None where there is one path or no such stage.

        Raises:
            StopRequested: this or another rank was asked to stop.
        """
        stages = self.net.stages
        paths = fair_cycle(self.net.space, self.seed, step)
        data = to_flow_batch(batch.images, batch.flow, batch.valid, self.device, self.dtype, self.net.input_form)
        units = [unit for unit in self._units(len(data.images)) if self._mine(unit)]
        blocks = {stage.name: list(self.net.get_submodule(stage.name).parameters()) for stage in stages}
        fixed = [p for stage in stages if stage.choice is None for p in blocks[stage.name]]
        norms: dict[str, list[float]] = {name: [] for name in blocks}
        total, shared = [], []
        self.net.train()
        for index, path in enumerate(paths):
            self.gradient.buffer.zero_()
            try:
                for unit in units:
                    if unit.path == index:
                        loss = self._loss(unit, path, self._slice(data, unit, step), None, check_stop)
                        torch.autograd.backward(loss * (unit.weight * len(paths)))
            except StopRequested:
                self.stop.fill_(1.0)
            self._join()
            total.append(self.gradient.norm())
            for name, parameters in blocks.items():
                each = torch._foreach_norm([p.grad for p in parameters if p.grad is not None])
                norms[name].append(float(torch.linalg.vector_norm(torch.stack(each).double())) if each else 0.0)
            if fixed:
                shared.append(torch.cat([p.grad.flatten() for p in fixed if p.grad is not None]))
        cosine = None
        if len(shared) > 1:  # NaN where one is zero or not finite
            directions = torch.stack(shared).double()
            directions = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True)
            pairs = [(i, j) for j in range(len(directions)) for i in range(j)]
            cosine = float(torch.stack([directions[i] @ directions[j] for i, j in pairs]).mean())
        return {"paths": [str(path) for path in paths], "norms": norms, "all": total, "path_cosine": cosine}

    def _join(self) -> None:
        """Add up the ranks' gradients.  Raises StopRequested on all of them where one was asked to stop."""
        self.world.sum(self.gradient.buffer)
        if float(self.stop) > 0:
            raise StopRequested

    def abandon(self) -> NoReturn:
        """Take part in the sum of a step without having a batch, so that no rank waits for this one in vain."""
        self.gradient.buffer.zero_()
        self.stop.fill_(1.0)
        self.world.sum(self.gradient.buffer)
        raise StopRequested

    def _path_size(self, draws: int) -> int:
        return draws // self.net.space.num_paths if self.config.path_batches == "shifted" else draws

    def _units(self, draws: int) -> list[Unit]:
        size, paths = self._path_size(draws), self.net.space.num_paths
        slices = batch_slices(size, self.config.micro_batch_size)
        shares = [(piece.stop - piece.start) / size / paths for piece in slices]
        pairs = itertools.product(range(paths), range(len(slices)))
        return [Unit(i, path, micro, shares[micro]) for i, (path, micro) in enumerate(pairs)]

    def _mine(self, unit: Unit) -> bool:
        turn = {"data": unit.micro, "path": unit.path, "both": unit.index}[self.config.distributed]
        return turn % self.world.size == self.world.rank

    def _run(
        self, data: FlowBatch, paths: Sequence[Arch], units: list[Unit], step: int, check_stop: Callable[[], None]
    ) -> None:
        """Forward and backward of this rank's units, micro-batch by micro-batch (staggered: each path at another)."""
        self.net.train()
        check_stop()
        mine = [unit for unit in units if self._mine(unit)]
        share_stem = self.config.path_batches == "same" and self.sum is None and self.net.shared_stages > 0
        slices = len(units) // len(paths)

        def turn(unit: Unit) -> int:
            staggered = self.config.path_batches == "staggered"
            return (unit.micro - unit.path - step) % slices if staggered else unit.micro

        for now in range(slices):
            group = [unit for unit in mine if turn(unit) == now]
            stem, features = None, None
            if share_stem and group:  # computed once; the paths run on a copy that collects their gradients
                self.moments.weight = group[0].weight  # of every unit on this micro-batch
                with self._autocast():
                    stem = self.net.prepare(self._slice(data, group[0], step).images)
                    for index in range(self.net.shared_stages):
                        stem = self.net.run_stage(index, stem, 0)
                features = stem.detach().requires_grad_()
            for unit in group:
                self.moments.weight = unit.weight
                piece = self._slice(data, unit, step)
                loss = self._loss(unit, paths[unit.path], piece, features, check_stop)
                if self.sum is None:
                    torch.autograd.backward(loss * unit.weight)
                    continue
                # micro_step: the gradient of this unit's own loss is clipped, then joins the sum with its weight.
                self.gradient.vector.zero_()
                torch.autograd.backward(loss)
                norm = self.gradient.norm()
                factor = clip_factor(norm, self.config.grad_clip_global_norm)
                self.facts[4, unit.index] = norm
                self.facts[5, unit.index] = float(factor < 1.0)
                self.sum.add_(self.gradient.vector, alpha=factor * unit.weight)
            if stem is not None and features is not None:
                torch.autograd.backward(stem, features.grad)

    def _slice(self, data: FlowBatch, unit: Unit, step: int) -> FlowBatch:
        """The samples of a unit: of the common batch, or of slice (path + step) mod paths of the step's draws."""
        size = self._path_size(len(data.images))
        start = (unit.path + step) % self.net.space.num_paths * size if self.config.path_batches == "shifted" else 0
        piece = batch_slices(size, self.config.micro_batch_size)[unit.micro]
        rows = slice(start + piece.start, start + piece.stop)
        return FlowBatch(*(tensor[rows] for tensor in data))

    def _autocast(self) -> AbstractContextManager[None]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _loss(
        self, unit: Unit, arch: Arch, piece: FlowBatch, features: torch.Tensor | None, check_stop: Callable[[], None]
    ) -> torch.Tensor:
        """Loss of a unit (0-d), its terms filed; ``features`` are those after the shared stem, if that has run."""
        check_stop()
        decoder: list[torch.Tensor] | None = None if self.teacher is None else []
        with self._autocast():
            start = 0 if features is None else self.net.shared_stages
            inputs = self.net.prepare(piece.images) if features is None else features
            predictions = self.net.run_from(start, inputs, arch, decoder, as_computed=True)
        terms = multiscale_loss(predictions, piece.flow, piece.valid)
        total = terms.total
        if self.teacher is not None and decoder is not None:
            taught = self.teacher.loss(piece.images, decoder)
            total = total + taught
            self.facts[3, unit.index] = taught.detach()
        self.facts[:3, unit.index] = torch.stack([total, terms.optical, terms.uncertainty]).detach()
        return total

    def _finish(self, paths: list[Arch], units: list[Unit], rate: float) -> StepOutput:
        """Decay, norm, clip, update; or drop the step whole where anything is not finite."""
        self.adam.decay()
        norm = self.gradient.norm()
        facts = self.facts[:, : len(units)].double().cpu()
        weights = torch.tensor([unit.weight for unit in units], dtype=torch.float64)
        total, optical, uncertainty, feature = (facts[:4] * weights).sum(1).tolist()
        by_path = [0.0] * len(paths)
        for unit in units:
            by_path[unit.path] += float(facts[0, unit.index]) * unit.weight * len(paths)
        # Moments, losses and norms: a variance can overflow where loss and gradient stay finite.
        accepted = bool(torch.isfinite(self.gradient.extra).all()) and norm < float("inf")
        if self.sum is None:
            factor = clip_factor(norm, self.config.grad_clip_global_norm) if accepted else 1.0
            norms, clipped = [norm], int(factor < 1.0)
            if factor < 1.0:
                self.gradient.vector.mul_(factor)
        else:
            norms, clipped = facts[4].tolist(), int(facts[5].sum())
        if accepted:
            self.adam.step(rate)
            self.moments.update_buffers()
            if self.average is not None:
                self.average.update()
        taught = feature if self.teacher else None
        return StepOutput(paths, total, optical, uncertainty, taught, by_path, norms, clipped, accepted)

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Everything a checkpoint holds, by file and name."""
        files = {"model": dict(self.net.state_dict()), "optimizer": self.adam.tensors()}
        if self.average is not None:
            files["ema"] = dict(self.average.average)
        return files

    def load(self, files: dict[str, dict[str, torch.Tensor]], with_optimizer: bool = True) -> None:
        """Overwrite weights, buffers, Adam and moving average in place (memory formats kept)."""
        own = self.tensors()
        for file, tensors in own.items():
            if file == "optimizer" and not with_optimizer:
                continue
            source = files.get(file) or (files.get("model", {}) if file == "ema" else {})
            require_like(source, tensors, f"{file}.safetensors of the checkpoint")
            for name, tensor in tensors.items():
                tensor.data.copy_(source[name])
        if self.average is not None:
            self.average.take_buffers(self.net)


CALIBRATION = (8, 32)  # samples of a batch, batches


@dataclass(frozen=True)
class Teacher:
    """A verified checkpoint and the arch that teaches; its network once :meth:`ready` has made it."""

    config: Config  # of the student
    run: Run
    checkpoint: Checkpoint
    arch: Arch
    facts: dict[str, Any]  # for run_manifest.json; a resume must find the same
    net: StagedNet | None = None

    @classmethod
    def find(
        cls, config: Config, warn: Callable[[str], None] = silent, begun_with: str | None = None
    ) -> Teacher | None:
        """The teacher of a configuration, None for other tasks than distil.

        ``begun_with`` is the checkpoint that a run to be resumed learnt from: the teacher may have trained on since.

        Raises:
            ConfigError: train.teacher_arch is missing for a supernet, or given for a single model.
            StorageError: train.teacher is no run, or has no such checkpoint that verifies.
        """
        if config.train.task != "distil":
            return None
        assert config.train.teacher is not None
        place, _, name = config.train.teacher.partition("@")
        run = Run.open(Path(place), warn=warn)
        wanted = config.train.teacher_arch
        if (run.config.train.task == "supernet") != (wanted is not None):
            what = "is a supernet: say which subnet teaches" if wanted is None else "is a single model: leave it out"
            raise ConfigError(f"train.teacher_arch {wanted or 'null'}: {place} {what}")
        arch = run.space.parse(wanted) if wanted is not None else next(iter(run.space))
        stored = run.checkpoint(begun_with or name or "latest")
        facts = {"run": run.id, "checkpoint": stored.name, "hash": stored.hash, "code": str(arch)}
        return cls(config, run, stored, arch, facts)

    def ready(self, config: Config, splits: Splits, device: torch.device, dtype: torch.dtype) -> Teacher:
        """With the network of ``config``'s teacher on the device, its batch norm recalibrated on training samples."""
        net = new_net(self.run.config, seed=None)
        stored = self.checkpoint.tensors.get("model", {})
        require_like(stored, net.state_dict(), f"{self.run.path} {self.checkpoint.name}: model.safetensors")
        net.load_state_dict(stored)
        if isinstance(net, FlowNet) and len(net.space) > 1:
            net = net.subnet(self.arch)
        net.to(device=device, dtype=dtype)
        place = (splits.train_print.label, config.data.crop_size, *CALIBRATION)
        skip = config.data.on_bad_sample == "quarantine"
        # Notes are for the evaluation set.
        frozen = freeze_split(splits.train, *place, "spread", "", silent, skip_bad=skip)
        set_buffers(net, FrozenBatches.of(net, frozen, splits.train, config.data.flow_clip))
        return replace(self, config=config, net=net.eval().requires_grad_(False), arch=next(iter(net.space)))

    def loss(self, images: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """train.distil_lambda times the feature loss (0-d) for ``images`` [B,6,H,W] as the student sees them."""
        assert self.net is not None, "ready() before loss()"
        train = self.config.train
        with torch.no_grad():
            own: list[torch.Tensor] = []
            encoded = self.net.input_form.of_other(images, InputForm.of(self.config))
            self.net.run_from(0, self.net.prepare(encoded), self.arch, own)
        return train.distil_lambda * feature_loss(features, own, train.distil_weights)
