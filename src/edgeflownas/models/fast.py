r"""Faster forms of the heads: upsample-then-convolve on the small grid, four phase convolutions in one.

Upsampling by two and convolving with a k x k kernel is linear and, away from the border, the same for every pixel
of one parity.  With u[2i] = x[i] and u[2i+1] = (x[i] + x[i+1]) / 2, output row 2i + r is

    y[2i+r] = sum_a w[a] u[2i+r+a-p] = sum_t (P_r w)[t] x[i+t],      p = (k-1) / 2,

so each of the four parities (r, s) is a convolution of the SMALL map with its own kernel P_r w P_s^T: 5x5 taps instead
of 7x7, 4x4 instead of 5x5, 3x3 for 3x3.  All four are one convolution with 4 x out channels.

Layout "phases": [B, 4 C, H, W], channel (2 r + s) C + c is pixel (2i+r, 2j+s) of channel c.  In channels_last memory
it is also the map [B, C, H, 4 W] (:func:`as_map`), so a batch norm and a ReLU need no shuffling; a SAME convolution of
a map that is kept in phases is again one small convolution (:func:`conv_phases`).

Border.  SAME padding puts zeros around u, not around x.  With x zero outside, the extended u is wrong in two
places of each axis: u[-1] is x[0]/2 instead of 0, u[2H-1] is x[H-1]/2 instead of x[H-1].  Let A be the true (extended,
zero-padded) upsampling and A~ the one the phases compute, dA = A - A~ of rank two.  Then

    A x B^T = A~ x B~^T + dA x B^T + A~ x dB^T

and the last two terms are two rows and two columns, each convolved with the kernel rows or columns that reach it.
Checked against the direct form in float64: equal to rounding, values and gradients.

Without gradients, on maps of pixels in channels_last memory, kernels are transformed once and statistics folded in:

* :func:`up2_conv`: up2, SAME convolution and a batch norm with fixed statistics as ONE convolution of the small map
  with bias.  What the border lacks is two rows and two columns; here each is one strided convolution of a line whose
  output has the layout of the result, so that adding it is adding slices.
* :func:`flow_conv`: the two flow channels of a prediction, for 4 x 2 pixels at once.  Two output channels would leave
  14 of the 16 lanes of a vector unit idle; a convolution with stride (4, 2) and 16 output channels, each the same
  kernel shifted inside a (k+3) x (k+1) window, fills them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = (4, 2)  # rows and columns of pixels a flow convolution gives at once: with two channels, 16 outputs
LAST = torch.channels_last


@functools.cache
def _up_taps(kernel: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """P [2, taps, kernel] of the equation above, and the smallest offset t (taps run from it)."""
    reach = kernel // 2
    entries: dict[tuple[int, ...], float] = {}
    for r in range(2):
        for a in range(kernel):
            half, odd = divmod(r + a - reach, 2)  # pixel of u, relative to 2 i, in pixels of x
            for t in (half, half + 1) if odd else (half,):
                entries[r, t, a] = 0.5 if odd else 1.0
    offsets = [t for _, t, _ in entries]
    first = min(offsets)
    shifted: dict[tuple[int, ...], float] = {(r, t - first, a): value for (r, t, a), value in entries.items()}
    return _constant(shifted, (2, max(offsets) - first + 1, kernel), dtype, device), first


@functools.cache
def _same_taps(kernel: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """S [2 (out), 2 (in), taps, kernel] with S = 1 where pixel 2i+r+a-p is pixel 2(i+t)+q, and the span of t."""
    reach = kernel // 2
    span = (reach + 1) // 2
    entries: dict[tuple[int, ...], float] = {}
    for r in range(2):
        for a in range(kernel):
            t, q = divmod(r + a - reach, 2)
            entries[r, q, t + span, a] = 1.0
    return _constant(entries, (2, 2, 2 * span + 1, kernel), dtype, device), span


def _constant(
    entries: Mapping[tuple[int, ...], float], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Tensor of ``entries``, usable for gradients even when it is first made (and kept) in inference mode."""
    with torch.inference_mode(False):
        matrix = torch.zeros(shape, dtype=dtype)
        for place, value in entries.items():
            matrix[place] = value
        return matrix.to(device)


def _transform(equation: str, taps: Tensor, weight: Tensor) -> Tensor:
    """The fixed linear map from the learned kernel to the phase kernels; never in reduced precision."""
    with torch.autocast(weight.device.type, enabled=False):
        return torch.einsum(equation, taps, taps, weight)


def phase_kernels(weight: Tensor) -> tuple[Tensor, int]:
    """The four phase kernels [4 O,C,taps,taps] of ``weight`` [O,C,k,k], and the offset of the first tap."""
    outputs, inputs, kernel, _ = weight.shape
    taps, first = _up_taps(kernel, weight.dtype, weight.device)
    size = taps.shape[1]
    return _transform("rta,sub,ocab->rsoctu", taps, weight).reshape(4 * outputs, inputs, size, size), first


def up2_conv_phases(x: Tensor, weight: Tensor) -> Tensor:
    """SAME convolution of up2(x) with ``weight`` [O,C,k,k], in phases: [B,C,H,W] -> [B,4 O,H,W]."""
    small, first = phase_kernels(weight)
    small = small.contiguous(memory_format=_format(x))
    before, after = -first, small.shape[2] - 1 + first
    if before == after:
        y = F.conv2d(x, small, padding=before)
    else:
        y = F.conv2d(F.pad(x, (before, after, before, after)), small)
    rows = _border(x, weight, exact=True)
    columns = _border(x.transpose(2, 3), weight.transpose(2, 3), exact=False)
    result: Tensor = _AddBorders.apply(y, *rows, *columns)  # type: ignore[no-untyped-call]
    return result


def _border(x: Tensor, weight: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """What the first and last rows of the phases lack: [B, 2 (r), 2 (s), O, rows, W] each.

    ``exact`` upsamples the border rows as the true operator does (B in the equation), otherwise as the phases do
    (A~), which reaches one pixel out at the start.
    """
    reach = weight.shape[2] // 2
    flipped = weight.flip(2)  # row Y of y meets the wrong row of u with kernel row p - 1 - Y (top), 2p - q (bottom)
    top = _row_term(x[:, :, :1] * -0.5, flipped[:, :, reach + 1 :], exact, at_start=True)
    bottom = _row_term(x[:, :, -1:] * 0.5, flipped[:, :, : reach + 1], exact, at_start=False)
    return top, bottom


def _row_term(row: Tensor, kernels: Tensor, exact: bool, at_start: bool) -> Tensor:
    """Upsample ``row`` [B,C,1,W] along W and convolve it with each of ``kernels`` [O,C,n,k], rows paired by parity."""
    batch, inputs, _, width = row.shape
    outputs, _, count, kernel = kernels.shape
    missing = count % 2 or 2 * (count == 0)  # rows are completed to whole pairs, away from the border
    kernels = F.pad(kernels, (0, 0, 0, missing) if at_start else (0, 0, missing, 0))
    count += missing
    stacked = kernels.permute(2, 0, 1, 3).reshape(count * outputs, inputs, 1, kernel)
    if exact:
        following = torch.cat([row[..., 1:], row[..., -1:]], -1)
        line = torch.stack([row, (row + following) * 0.5], -1).flatten(-2)
        padding = kernel // 2
    else:  # pixels -1 to 2 W, the last one zero
        wide = F.pad(row, (1, 1))
        line = torch.stack([(wide[..., :-1] + wide[..., 1:]) * 0.5, wide[..., 1:]], -1).flatten(-2)
        padding = max(kernel // 2 - 1, 0)
        line = line if kernel > 1 else line[..., 1:-1]
    term = F.conv2d(line, stacked, padding=(0, padding))
    return term.reshape(batch, count // 2, 2, outputs, width, 2).permute(0, 2, 5, 3, 1, 4)


class _AddBorders(torch.autograd.Function):
    """y += border terms, in place.  Plain slice assignment would copy the whole gradient once for each border."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        ctx.sizes = (top.shape[4], bottom.shape[4], left.shape[4], right.shape[4])
        batch, channels, height, width = y.shape
        view = y.view(batch, 2, 2, channels // 4, height, width)
        for piece, term in zip(_pieces(view, ctx.sizes), (top, bottom, left, right), strict=True):
            piece += term
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        batch, channels, height, width = gradient.shape
        return gradient, *_pieces(gradient.reshape(batch, 2, 2, channels // 4, height, width), ctx.sizes)


def _pieces(view: Tensor, sizes: tuple[int, int, int, int]) -> tuple[Tensor, ...]:
    """Border slices of [B,r,s,O,H,W] laid out as :func:`_border` returns them; columns have their axes swapped."""
    top, bottom, left, right = sizes
    turned = view.permute(0, 2, 1, 3, 5, 4)
    height, width = view.shape[4:]
    return (
        view[..., :top, :],
        view[..., height - bottom :, :],
        turned[..., :left, :],
        turned[..., width - right :, :],
    )


def conv_phases(x: Tensor, weight: Tensor) -> Tensor:
    """SAME convolution with ``weight`` [O,C,k,k] of a map in phases: [B,4 C,H,W] -> [B,4 O,H,W]."""
    outputs, inputs, kernel, _ = weight.shape
    taps, span = _same_taps(kernel, weight.dtype, weight.device)
    size = 2 * span + 1
    small = _transform("rRta,sSub,ocab->rsoRSctu", taps, weight)
    small = small.reshape(4 * outputs, 4 * inputs, size, size).contiguous(memory_format=_format(x))
    return F.conv2d(x, small, padding=span)


def as_map(phases: Tensor) -> Tensor:
    """[B,4 C,H,W] -> [B,C,H,4 W], the same pixels in another order; a view of channels_last memory."""
    batch, channels, height, width = phases.shape
    rows = phases.permute(0, 2, 3, 1).reshape(batch, height, width * 4, channels // 4)
    return rows.permute(0, 3, 1, 2)


def from_map(pixels: Tensor) -> Tensor:
    """Inverse of :func:`as_map`."""
    batch, channels, height, width = pixels.shape
    rows = pixels.permute(0, 2, 3, 1).reshape(batch, height, width // 4, channels * 4)
    return rows.permute(0, 3, 1, 2)


def to_pixels(phases: Tensor) -> Tensor:
    """[B,4 C,H,W] in phases -> the map [B,C,2 H,2 W]."""
    batch, channels, height, width = phases.shape
    split = phases.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    return split.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def _format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


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
    """Kernels of the border terms at the start and at the end, see :func:`_border`.

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
