"""The heads below one trunk, fused: batch norms folded into convolutions, flow channels only, options of a unit only.

Two walks as everywhere: moments over whole calibration batches (training mode, every node normalised by the batch's
own statistics), then predictions and errors chunk by chunk.  The functions are those of the network's own stages up to
rounding; evaluate/tree.py says how the exact ones are asked for.

A2 = up2(up2(p0) + p1) + p2 is a sum, so 18 maps give 81 errors.  Every part is brought to full size once and reduced to
the valid pixels in one gather (crop, layout and mask in one index); an error is then a handful of operations in place
on a tile that stays in cache.  Sums are formed in the flow's own precision over a tile, in float64 over tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.evaluate.calibration import MomentTree, Node, NodeStatistics, by_option
from edgeflownas.models.batchnorm import precise_moments
from edgeflownas.models.blocks import GRID, Conv, ConvChoice, FlowBatch, OutputChoice, Stage, StagedNet, up2
from edgeflownas.models.fast import (
    BLOCK,
    UpKernels,
    as_map,
    block_pixels,
    flow_conv,
    flow_kernels,
    fold,
    from_map,
    pixels_relu,
    up2_conv,
    up_kernels,
)
from edgeflownas.space import Arch

Item = TypeVar("Item")
Result = TypeVar("Result")

TILE = 98_304  # numbers in each of the two working maps of a tile on a CPU: they stay in its second-level cache


class Workers:
    """Python threads with one torch thread each, so that no result depends on their number; a context manager.

    A chunk of work (the whole tree below a trunk, for one sample) keeps its features in one core's cache and needs no
    barrier between its thousands of small operations; torch releases the interpreter lock inside each.  On a GPU, with
    one thread, or unless ``parallel``, chunks run one after the other in the calling thread.
    """

    def __init__(self, device: torch.device, check_stop: Callable[[], None], parallel: bool = True) -> None:
        self.check_stop = check_stop
        self.count = torch.get_num_threads() if parallel and device.type == "cpu" else 1
        self.pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            self.pool = ThreadPoolExecutor(self.count, "tree")
            together = Barrier(self.count)  # every thread of the pool takes exactly one of these

            def prepare() -> None:
                torch.get_num_threads()  # a thread takes over the default when it first asks, also once told otherwise
                torch.set_num_threads(1)
                torch.set_grad_enabled(False)
                together.wait()

            for started in [self.pool.submit(prepare) for _ in range(self.count)]:
                started.result()
            torch.set_num_threads(self.count)  # the number belongs to a thread; the default of later ones does not
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``function`` of every item, in order.  ``check_stop`` is called between results and may raise."""
        results = map(function, items) if self.pool is None else self.pool.map(function, items)
        self.check_stop()
        for result in results:
            yield result
            self.check_stop()


# ---- errors ----


@dataclass(frozen=True)
class ValidPixels:
    """Where the valid pixels of a chunk [B,...] lie, sample after sample (P in all), and the true flow there."""

    label: Tensor
    """[2, P], px"""
    places: Tensor
    """int32 [P]: into the padded grid [B, H, W]."""
    blocks: Tensor
    """int32 [2 P]: into a prediction in blocks, [B, H/4, W/2, 16] (models/fast.py)."""
    counts: tuple[int, ...]
    """Of each sample."""

    @classmethod
    def of(cls, batch: FlowBatch, dtype: torch.dtype) -> ValidPixels:
        """Pixels of a chunk whose images are padded to multiples of 16 on their way into the network."""
        height, width = (size + -size % GRID for size in batch.valid.shape[1:])
        sample, row, column = batch.valid.nonzero(as_tuple=True)
        rows, columns = BLOCK
        block = (sample * (height // rows) + row // rows) * (width // columns) + column // columns
        first = block * (2 * rows * columns) + row % rows * columns + column % columns
        return cls(
            batch.flow[sample, :, row, column].t().to(dtype).contiguous(),
            ((sample * height + row) * width + column).int(),
            torch.cat([first, first + rows * columns]).int(),
            tuple(batch.valid.sum((1, 2)).tolist()),
        )

    def coarse(self, blocks: Tensor, doublings: int) -> Tensor:
        """Predictions [B, n 16, h/4, w/2] in blocks, doubled so often, at the valid pixels: [2, n, P]."""
        maps = block_pixels(blocks)
        for _ in range(doublings):
            maps = up2(maps)
        found = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).index_select(0, self.places)
        return found.view(len(found), maps.shape[1] // 2, 2).permute(2, 1, 0).contiguous()

    def fine(self, blocks: Tensor) -> Tensor:
        """A prediction of full size [B, 16, H/4, W/2] in blocks at the valid pixels: [2, P]."""
        flat = blocks.permute(0, 2, 3, 1).reshape(-1)
        return flat.index_select(0, self.blocks).view(2, len(self.places))


def error_sums(coarse: Tensor, fine: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Sums of |coarse_i + fine| over each sample's pixels: [2,n,P] and [2,P] -> float64 [n,B].

    ``coarse`` already has the true flow taken off.
    """
    number = coarse.shape[1]
    tile = max(TILE // (2 * number), 1024) if coarse.device.type == "cpu" else max(counts, default=1)
    sums = coarse.new_zeros(number, len(counts), dtype=torch.float64)
    work = coarse.new_empty(2 * number * min(tile, max(counts, default=0)))
    start = 0
    for sample, count in enumerate(counts):
        for first in range(start, start + count, tile):
            last = min(first + tile, start + count)
            error = work[: 2 * number * (last - first)].view(2, number, last - first)
            torch.add(coarse[:, :, first:last], fine[:, None, first:last], out=error)
            error.mul_(error)
            sums[:, sample] += error[0].add_(error[1]).sqrt_().sum(1)
        start += count
    return sums


@dataclass(frozen=True)
class _CoarseSums:
    """Sums of the predictions so far, at full size and at the valid pixels, the true flow taken off."""

    choices: tuple[int | None, ...]
    """Of those predictions: what a row depends on."""
    rows: dict[tuple[int, ...], int]
    """By the digits of the choices."""
    maps: Tensor
    """[2, rows, P]"""

    def digits(self, arch: Arch) -> tuple[int, ...]:
        """The digits of ``arch`` that name its row."""
        return tuple(0 if choice is None else arch[choice] for choice in self.choices)

    def plus(self, choice: int | None, part: Tensor, options: list[int], archs: Sequence[Arch]) -> _CoarseSums:
        """With a further prediction ``part`` [2, options, P]; only the sums that some arch asks for."""
        choices = (*self.choices, choice)
        wanted = sorted({tuple(0 if own is None else arch[own] for own in choices) for arch in archs})
        if len(wanted) == len(self.rows) * len(options):  # in order, since rows and options are
            maps = (self.maps[:, :, None] + part[:, None]).flatten(1, 2)
        else:
            before = self.maps[:, [self.rows[key[:-1]] for key in wanted]]
            maps = before.add_(part[:, [options.index(key[-1]) for key in wanted]])
        return _CoarseSums(choices, {key: row for row, key in enumerate(wanted)}, maps)


# ---- heads ----


class _Chunk(NamedTuple):
    """What the evaluation walk of one chunk reads, and where it writes."""

    archs: Sequence[Arch]
    pixels: ValidPixels
    folded: Mapping[Node, UpKernels]
    sums: Tensor


def can_fuse(net: StagedNet, first: int) -> bool:
    """Whether every stage from ``first`` on is one of those that :class:`Heads` computes."""
    modules = [net.get_submodule(stage.name) for stage in net.stages[first:]]
    heads = all(isinstance(m, OutputChoice) or (isinstance(m, ConvChoice) and m.phases) for m in modules)
    kernels = [m.kernel for module in modules for m in module.modules() if isinstance(m, Conv)]
    last = net.stages[-1].output is not None and bool(net.batchnorms)
    return heads and last and min(kernels) >= 3 and next(net.parameters()).dtype in (torch.float32, torch.float64)


class Heads:
    """Stages ``first`` and later of ``net``, whose kernels are transformed once, here."""

    def __init__(self, net: StagedNet, first: int, flow_divisor: float, workers: Workers) -> None:
        self.net, self.first, self.workers = net, first, workers
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

    def calibrate(self, features: Tensor, archs: Sequence[Arch], prefix: tuple[int, ...], tree: MomentTree) -> None:
        """File the moments of one calibration batch; ``features`` [B,...] are the trunk's, in training mode."""
        makers = [index for index in range(self.first, len(self.net.stages)) if self.net.stages[index].output is None]

        def descend(depth: int, samples: list[Tensor], archs: Sequence[Arch], prefix: tuple[int, ...]) -> None:
            index, last = makers[depth], depth + 1 == len(makers)
            stage = self.net.stages[index]
            options = by_option(stage, archs, range(len(archs)))

            def raw(work: tuple[int, Tensor]) -> tuple[Tensor | None, Tensor, Tensor]:
                y = as_map(up2_conv(work[1], self.up[index, work[0]]))
                return (None if last else y, *precise_moments(y))

            found = iter(list(self.workers.map(raw, [(option, sample) for option in options for sample in samples])))
            results = {option: [next(found) for _ in samples] for option in options}
            bn = cast(ConvChoice, self.net.get_submodule(stage.name)).bn
            pixels = 4 * samples[0].shape[2] * samples[0].shape[3]
            for option, members in options.items():
                maps, *moments = zip(*results.pop(option), strict=True)
                means, variances = map(torch.stack, moments)
                with tree.at((index, prefix, option)):
                    for mean, var in zip(means, variances, strict=True):
                        tree.add(bn.slot, mean, var, pixels)
                if last:
                    continue
                mean = means.mean(0)
                var = variances.mean(0) + (means - mean).square().mean(0)
                batch = mean.to(self.dtype), var.to(self.dtype)

                def normalised(y: Tensor, batch: tuple[Tensor, Tensor] = batch) -> Tensor:
                    return pixels_relu(from_map(F.batch_norm(y, *batch, bn.weight, bn.bias, False, 0.0, bn.eps)))

                deeper = list(self.workers.map(normalised, cast(Sequence[Tensor], maps)))
                descend(depth + 1, deeper, [archs[member] for member in members], _deeper(stage, prefix, option))

        if makers:
            descend(0, list(_channels_last(features).split(1)), archs, prefix)

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
        pixels: ValidPixels,
        archs: Sequence[Arch],
        prefix: tuple[int, ...],
        folded: Mapping[Node, UpKernels],
    ) -> Tensor:
        """Summed end-point errors of every arch on every sample of a chunk, px: float64 [A,B]."""
        sums = torch.zeros(len(archs), len(features), dtype=torch.float64, device=features.device)
        coarse = _CoarseSums((), {(): 0}, -pixels.label[:, None])
        chunk = _Chunk(archs, pixels, folded, sums)
        self._descend(self.first, _channels_last(features), prefix, list(range(len(archs))), coarse, chunk)
        return sums

    def _descend(
        self,
        index: int,
        features: Tensor,
        prefix: tuple[int, ...],
        members: list[int],
        coarse: _CoarseSums,
        chunk: _Chunk,
    ) -> None:
        stage = self.net.stages[index]
        groups = by_option(stage, chunk.archs, members)
        if stage.output is None:
            for option, group in groups.items():
                deeper = pixels_relu(up2_conv(features, chunk.folded[index, prefix, option]))
                self._descend(index + 1, deeper, _deeper(stage, prefix, option), group, coarse, chunk)
            return
        flows = {option: flow_conv(features, self.out[index, option]) for option in groups}
        if index + 1 < len(self.net.stages):
            part = chunk.pixels.coarse(torch.cat(list(flows.values()), 1), self.scales - 1 - stage.output)
            further = coarse.plus(stage.choice, part, list(groups), [chunk.archs[member] for member in members])
            self._descend(index + 1, features, prefix, members, further, chunk)
            return
        for option, group in groups.items():
            rows = [coarse.rows[coarse.digits(chunk.archs[member])] for member in group]
            maps = coarse.maps if rows == list(range(coarse.maps.shape[1])) else coarse.maps[:, rows]
            chunk.sums[group] = error_sums(maps, chunk.pixels.fine(flows[option]), chunk.pixels.counts)


def _deeper(stage: Stage, prefix: tuple[int, ...], option: int) -> tuple[int, ...]:
    return prefix if stage.choice is None else (*prefix, option)


def _channels_last(features: Tensor) -> Tensor:
    return features.contiguous(memory_format=torch.channels_last)
