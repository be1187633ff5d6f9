"""The heads without gradients, in the cheapest form known: kernels are transformed once, statistics folded into them.

Features are maps of pixels in channels_last memory.  Two operations:

* :func:`up2_conv`: up2, SAME convolution and a batch norm with fixed statistics as ONE convolution of the small map
  (models/phases.py has the derivation) with bias.  What the border lacks is two rows and two columns; here each is one
  strided convolution of a line whose output has the layout of the result, so that adding it is adding slices.
* :func:`flow_conv`: the two flow channels of a prediction, for 4 x 2 pixels at once.  Two output channels would leave
  14 of the 16 lanes of a vector unit idle; a convolution with stride (4, 2) and 16 output channels, each the same
  kernel shifted inside a (k+3) x (k+1) window, fills them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.models.phases import phase_kernels

BLOCK = (4, 2)  # rows and columns of pixels a flow convolution gives at once: with two channels, 16 outputs
LAST = torch.channels_last


class UpKernels(NamedTuple):
    """Kernels of one up2 convolution in phases, its border terms, and a bias [4 O] (None before :func:`fold`).

    ``lines`` are the terms of the first and last row and the first and last column: each [n 4 O, C, 1, k+1], a
    convolution along the line with stride 2 whose channels are (row or column of the result, phase, output).
    """

    small: Tensor
    first: int
    lines: tuple[Tensor, Tensor, Tensor, Tensor]
    bias: Tensor | None


def up_kernels(weight: Tensor) -> UpKernels:
    """Everything :func:`up2_conv` needs of a kernel [O,C,k,k]."""
    small, first = phase_kernels(weight)
    turned = weight.transpose(2, 3)
    rows, columns = _line_kernels(weight, across=True), _line_kernels(turned, across=False)
    return UpKernels(small.contiguous(memory_format=LAST), first, (*rows, *columns), None)


def _line_kernels(weight: Tensor, across: bool) -> tuple[Tensor, Tensor]:
    """Kernels of the border terms at the start and at the end, see models/phases.py (``_border``).

    Phase (r, s) of a row term comes from kernel row r of a pair and step s along the line; ``across`` says that
    the line is a row, otherwise r and s change places.
    """
    outputs, inputs, kernel, _ = weight.shape
    reach, flipped = kernel // 2, weight.flip(2)
    found = []
    for kernels, factor, at_start in (
        (flipped[:, :, reach + 1 :], -0.5, True),
        (flipped[:, :, : reach + 1], 0.5, False),
    ):
        missing = kernels.shape[2] % 2 or 2 * (kernels.shape[2] == 0)
        padded = F.pad(kernels * factor, (0, 0, 0, missing) if at_start else (0, 0, missing, 0))
        shifted = torch.stack([F.pad(padded, (s, 1 - s)) for s in range(2)])  # [s, O, C, rows, k + 1]
        pairs = shifted.reshape(2, outputs, inputs, -1, 2, kernel + 1)  # s O C n r k
        ordered = pairs.permute(3, 4, 0, 1, 2, 5) if across else pairs.permute(3, 0, 4, 1, 2, 5)
        found.append(ordered.reshape(-1, inputs, 1, kernel + 1).contiguous(memory_format=LAST))
    return found[0], found[1]


def fold(kernels: UpKernels, scale: Tensor, shift: Tensor) -> UpKernels:
    """The kernels followed by ``scale`` [O] x + ``shift`` [O]: a batch norm with fixed statistics."""
    phases = scale.repeat(4)[:, None, None, None]
    lines = tuple((line.view(-1, *phases.shape[:1], *line.shape[1:]) * phases).view_as(line) for line in kernels.lines)
    return UpKernels(kernels.small * phases, kernels.first, lines, shift.repeat(4))  # type: ignore[arg-type]


def up2_conv(x: Tensor, kernels: UpKernels) -> Tensor:
    """Convolution of up2(x) in phases: [B,C,H,W] -> [B,4 O,H,W], channels_last."""
    size, before = kernels.small.shape[2], -kernels.first
    after = size - 1 - before
    source = x if before == after else F.pad(x, (before, after, before, after))
    y = F.conv2d(source, kernels.small, kernels.bias, padding=before if before == after else 0)
    reach = kernels.lines[0].shape[-1] // 2 - 1
    rows = _upsampled(x[:, :, :: x.shape[2] - 1] if x.shape[2] > 1 else x.expand(-1, -1, 2, -1), exact=True)
    columns = x[:, :, :, :: x.shape[3] - 1] if x.shape[3] > 1 else x.expand(-1, -1, -1, 2)
    columns = _upsampled(columns.transpose(2, 3), exact=False)
    last, turned = y.permute(0, 2, 3, 1), y.permute(0, 3, 2, 1)  # [B,H,W,4 O] and [B,W,H,4 O]
    for line, weight, target, at_start in (
        (rows[:, :, :1], kernels.lines[0], last, True),
        (rows[:, :, 1:], kernels.lines[1], last, False),
        (columns[:, :, :1], kernels.lines[2], turned, True),
        (columns[:, :, 1:], kernels.lines[3], turned, False),
    ):
        padding = reach if target is last else reach - 1
        term = F.conv2d(line, weight, stride=(1, 2), padding=(0, padding))  # [B, n 4 O, 1, W]
        count = term.shape[1] // y.shape[1]
        split = term.permute(0, 2, 3, 1).reshape(len(y), -1, count, y.shape[1]).transpose(1, 2)
        target.narrow(1, 0 if at_start else target.shape[1] - count, count).add_(split)
    return y


def _upsampled(lines: Tensor, exact: bool) -> Tensor:
    """Lines [B,C,n,W] upsampled along W: pixels 0 to 2 W - 1, or -1 to 2 W as the phases extend them with zeros."""
    batch, channels, count, width = lines.shape
    rows = lines.permute(0, 2, 3, 1)  # [B,n,W,C]
    if exact:
        out = rows.new_empty(batch, count, width, 2, channels)
        out[:, :, :, 0] = rows
        torch.add(rows[:, :, :-1], rows[:, :, 1:], out=out[:, :, :-1, 1]).mul_(0.5)
        out[:, :, -1, 1] = rows[:, :, -1]
    else:
        out = rows.new_zeros(batch, count, width + 1, 2, channels)
        out[:, :, :-1, 1] = rows
        out[:, :, 1:, 0] = rows
        out[:, :, :-1, 0] += rows
        out[:, :, :, 0] *= 0.5
    return out.view(batch, count, -1, channels).permute(0, 3, 1, 2)


def pixels_relu(phases: Tensor) -> Tensor:
    """ReLU of a map in phases [B,4 C,H,W] as pixels [B,C,2 H,2 W], in one pass."""
    batch, channels, height, width = phases.shape
    source = phases.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
    out = phases.new_empty(batch, height, 2, width, 2, channels // 4)
    torch.clamp_min(source, 0.0, out=out)
    return out.view(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def flow_kernels(weight: Tensor, factor: float = 1.0) -> Tensor:
    """Kernels [16,C,k+3,k+1] of the flow channels of a prediction's [4,C,k,k], times ``factor``.

    Outputs are (flow, y, x).
    """
    rows, columns = BLOCK
    shifted = [
        F.pad(weight[:2] * factor, (x, columns - 1 - x, y, rows - 1 - y)) for y in range(rows) for x in range(columns)
    ]
    return torch.stack(shifted, 1).flatten(0, 1).contiguous(memory_format=LAST)


def flow_conv(x: Tensor, kernels: Tensor) -> Tensor:
    """Flow of features [B,C,H,W] (multiples of BLOCK) in blocks: [B,16,H/4,W/2], channels (flow, y, x)."""
    return F.conv2d(x, kernels, stride=BLOCK, padding=(kernels.shape[3] - BLOCK[1] + 1) // 2)


def block_pixels(blocks: Tensor) -> Tensor:
    """[B,n 16,H/4,W/2] in blocks -> the maps [B,n 2,H,W], channels_last."""
    batch, channels, height, width = blocks.shape
    rows, columns = BLOCK
    split = blocks.permute(0, 2, 3, 1).reshape(batch, height, width, -1, rows, columns)
    pixels = split.permute(0, 1, 4, 2, 5, 3).reshape(batch, height * rows, width * columns, -1)
    return pixels.permute(0, 3, 1, 2)
