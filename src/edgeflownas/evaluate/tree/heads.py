"""The tree below one trunk, fused: batch norms folded into convolutions, flow channels only, options of a unit only.

Two walks as everywhere: moments over whole calibration batches (training mode, every node normalised by the batch's
own statistics), then predictions and errors piece by piece.  The functions are those of the network's own stages up to
rounding; evaluate/tree/evaluator.py says how the exact ones are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.evaluate.recalibrate import MomentTree, NodeStatistics
from edgeflownas.evaluate.tree.errors import Pixels, error_sums
from edgeflownas.evaluate.tree.pieces import Pieces
from edgeflownas.evaluate.walk import Node
from edgeflownas.models.batchnorm import precise_moments
from edgeflownas.models.blocks import Conv, ConvChoice, OutputChoice, Stage, StagedNet
from edgeflownas.models.fast import (
    UpKernels,
    as_map,
    flow_conv,
    flow_kernels,
    fold,
    from_map,
    pixels_relu,
    up2_conv,
    up_kernels,
)
from edgeflownas.space import Arch


def can_fuse(net: StagedNet, first: int) -> bool:
    """Whether every stage from ``first`` on is one of those that :class:`Heads` computes."""
    modules = [net.get_submodule(stage.name) for stage in net.stages[first:]]
    heads = all(isinstance(m, OutputChoice) or (isinstance(m, ConvChoice) and m.phases) for m in modules)
    kernels = [m.kernel for module in modules for m in module.modules() if isinstance(m, Conv)]
    last = net.stages[-1].output is not None and bool(net.batchnorms)
    return heads and last and min(kernels) >= 3 and next(net.parameters()).dtype in (torch.float32, torch.float64)


@dataclass(frozen=True)
class _Coarse:
    """Sums of the predictions so far, at full size and at the valid pixels, the true flow taken off."""

    choices: tuple[int | None, ...]
    """Of those predictions: what a row depends on."""
    rows: dict[tuple[int, ...], int]
    maps: Tensor
    """[2, rows, P]"""

    def of(self, arch: Arch) -> tuple[int, ...]:
        """The digits of ``arch`` that name its row."""
        return tuple(0 if choice is None else arch[choice] for choice in self.choices)

    def plus(self, choice: int | None, part: Tensor, options: list[int], archs: Sequence[Arch]) -> _Coarse:
        """With a further prediction ``part`` [2, options, P]; only the sums that some arch asks for."""
        further = _Coarse((*self.choices, choice), {}, self.maps)
        wanted = sorted({further.of(arch) for arch in archs})
        rows = {key: row for row, key in enumerate(wanted)}
        if len(wanted) == len(self.rows) * len(options):  # in order, since rows and options are
            maps = (self.maps[:, :, None] + part[:, None]).flatten(1, 2)
        else:
            before = self.maps[:, [self.rows[key[:-1]] for key in wanted]]
            maps = before.add_(part[:, [options.index(key[-1]) for key in wanted]])
        return replace(further, rows=rows, maps=maps)


class _Work(NamedTuple):
    """What the walk of one piece reads, and where it writes."""

    archs: Sequence[Arch]
    pixels: Pixels
    folded: Mapping[Node, UpKernels]
    sums: Tensor


class Heads:
    """Stages ``first`` and later of ``net``; kernels are transformed when first asked for and kept."""

    def __init__(self, net: StagedNet, first: int, flow_divisor: float) -> None:
        self.net, self.first, self.divisor = net, first, flow_divisor
        self.dtype = next(net.parameters()).dtype
        self.scales = sum(stage.output is not None for stage in net.stages)
        self.up: dict[tuple[int, int], UpKernels] = {}
        self.out: dict[tuple[int, int], Tensor] = {}
        with torch.no_grad():
            for index in range(first, len(net.stages)):
                module = cast(ConvChoice | OutputChoice, net.get_submodule(net.stages[index].name))
                for option, label in enumerate(module.labels):
                    weight = cast(Conv, module.get_submodule(label)).weight.detach()
                    if isinstance(module, OutputChoice):
                        self.out[index, option] = flow_kernels(weight, flow_divisor)
                    else:
                        self.up[index, option] = up_kernels(weight)

    def _features_after(self, index: int) -> int | None:
        """The next stage that makes features, from ``index`` on."""
        stages = self.net.stages
        return next((i for i in range(index, len(stages)) if stages[i].output is None), None)

    # ---- moments ----

    def calibrate(
        self, features: Tensor, archs: Sequence[Arch], prefix: tuple[int, ...], tree: MomentTree, pieces: Pieces
    ) -> None:
        """File the moments of one calibration batch; ``features`` [B,...] are the trunk's, in training mode."""
        stage = self._features_after(self.first)
        if stage is not None:
            self._calibrate(stage, list(_last(features).split(1)), archs, prefix, tree, pieces)

    def _calibrate(
        self,
        index: int,
        samples: list[Tensor],
        archs: Sequence[Arch],
        prefix: tuple[int, ...],
        tree: MomentTree,
        pieces: Pieces,
    ) -> None:
        stage, following = self.net.stages[index], self._features_after(index + 1)
        options = _groups(stage, archs)

        def raw(work: tuple[int, Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
            y = as_map(up2_conv(work[1], self.up[index, work[0]]))
            return (None if following is None else y, *precise_moments(y))

        found = list(pieces.map(raw, [(option, sample) for option in options for sample in samples]))
        bn = cast(ConvChoice, self.net.get_submodule(stage.name)).bn
        for place, (option, members) in enumerate(options.items()):
            results = found[place * len(samples) : (place + 1) * len(samples)]
            pixels = 4 * samples[0].shape[2] * samples[0].shape[3]
            with tree.at((index, prefix, option)):
                for _, mean, var in results:
                    tree.add(bn.slot, mean, var, pixels)
            if following is None:
                continue
            means, variances = torch.stack([r[1] for r in results]), torch.stack([r[2] for r in results])
            mean = means.mean(0)
            var = variances.mean(0) + (means - mean).square().mean(0)
            batch = mean.to(self.dtype), var.to(self.dtype)

            def normalised(y: Tensor, batch: tuple[Tensor, Tensor] = batch) -> Tensor:
                return pixels_relu(from_map(F.batch_norm(y, *batch, bn.weight, bn.bias, False, 0.0, bn.eps)))

            deeper = list(pieces.map(normalised, [cast(Tensor, r[0]) for r in results]))
            below = [archs[member] for member in members]
            self._calibrate(following, deeper, below, _deeper(stage, prefix, option), tree, pieces)

    # ---- errors ----

    def fold(self, statistics: NodeStatistics) -> dict[Node, UpKernels]:
        """Kernels of every head node of ``statistics`` with its batch norm in them."""
        folded = {}
        for node, slots in statistics.items():
            if (node[0], node[2]) not in self.up:
                continue
            ((slot, (mean, var)),) = slots.items()
            bn = self.net.batchnorms[slot]
            scale = bn.weight.double() * (var.double() + bn.eps).rsqrt()
            shift = bn.bias.double() - mean.double() * scale
            folded[node] = fold(self.up[node[0], node[2]], scale.to(self.dtype), shift.to(self.dtype))
        return folded

    def errors(
        self,
        features: Tensor,
        pixels: Pixels,
        archs: Sequence[Arch],
        prefix: tuple[int, ...],
        folded: Mapping[Node, UpKernels],
    ) -> Tensor:
        """Summed end-point errors of every arch on every sample of a piece, px: float64 [A,B]."""
        sums = torch.zeros(len(archs), len(features), dtype=torch.float64, device=features.device)
        work = _Work(archs, pixels, folded, sums)
        coarse = _Coarse((), {(): 0}, -pixels.label[:, None])
        self._descend(self.first, _last(features), prefix, list(range(len(archs))), coarse, work)
        return sums

    def _descend(
        self,
        index: int,
        features: Tensor,
        prefix: tuple[int, ...],
        members: list[int],
        coarse: _Coarse,
        work: _Work,
    ) -> None:
        stage = self.net.stages[index]
        groups = _groups(stage, work.archs, members)
        if stage.output is None:
            for option, group in groups.items():
                deeper = pixels_relu(up2_conv(features, work.folded[index, prefix, option]))
                self._descend(index + 1, deeper, _deeper(stage, prefix, option), group, coarse, work)
            return
        flows = {option: flow_conv(features, self.out[index, option]) for option in groups}
        if index + 1 < len(self.net.stages):
            part = work.pixels.coarse(torch.cat(list(flows.values()), 1), self.scales - 1 - stage.output)
            deeper_coarse = coarse.plus(stage.choice, part, list(groups), [work.archs[member] for member in members])
            self._descend(index + 1, features, prefix, members, deeper_coarse, work)
            return
        for option, group in groups.items():
            rows = [coarse.rows[coarse.of(work.archs[member])] for member in group]
            maps = coarse.maps if rows == list(range(coarse.maps.shape[1])) else coarse.maps[:, rows]
            work.sums[group] = error_sums(maps, work.pixels.fine(flows[option]), work.pixels.counts)


def _groups(stage: Stage, archs: Sequence[Arch], members: Sequence[int] | None = None) -> dict[int, list[int]]:
    """Positions of ``members`` (all of ``archs``) by their option of ``stage``, in the order of the options."""
    groups: dict[int, list[int]] = {}
    for member in range(len(archs)) if members is None else members:
        groups.setdefault(0 if stage.choice is None else archs[member][stage.choice], []).append(member)
    return dict(sorted(groups.items()))


def _deeper(stage: Stage, prefix: tuple[int, ...], option: int) -> tuple[int, ...]:
    return prefix if stage.choice is None else (*prefix, option)


def _last(features: Tensor) -> Tensor:
    return features.contiguous(memory_format=torch.channels_last)
