"""Multiply-adds of a forward pass, in nominal operations, and parameters.

Nominal: every convolution is counted directly at the size of its output, an upsampling stage at the full
resolution, whatever faster form computes it.  So two implementations of the same network have the same count, and
"nominal GFLOP per second" compares them.  Batch norm, ReLU, resizing and sums are not counted; nor are the means, the
sigmoid and the scaling of channel attention and gate, of which only the convolutions count: 1-D over the channels, and
1x1 on one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeflownas.models.attention import attention_kernel
from edgeflownas.models.blocks import GRID, OUTPUT_CHANNELS, conv_chain, resolve
from edgeflownas.models.flownet import Slot, layout, slot_options
from edgeflownas.space import Arch, SearchSpace


def stage_macs(
    space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None, height: int, image_width: int
) -> dict[str, int]:
    """Multiply-adds of one sample by stage name; ``height`` x ``image_width`` are padded to multiples of 16."""
    rows, columns = height + -height % GRID, image_width + -image_width % GRID
    counts = {}
    for slot, weights, _ in _stages(space, width, arch):
        if slot.resample == "down":
            rows, columns = rows // 2, columns // 2
        elif slot.resample == "up":
            rows, columns = rows * 2, columns * 2
        outputs = {"eca": int(width * slot.channels), "gate": 1}.get(slot.kind, rows * columns)
        counts[slot.name] = weights * outputs
    return counts


def _stages(space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None) -> Iterator[tuple[Slot, int, int]]:
    """Every slot with the kernel weights and the batch-norm parameters (gamma, beta) of the chosen option."""
    code, options = resolve(space, arch), slot_options(space)
    inputs, context = 6, 0
    for slot in layout(space):
        position = space.position(slot.name)
        option = options[slot.name][0 if position is None else code[position]]
        channels = int(width * slot.channels)
        if isinstance(option, str):
            sizes = [kernel for kernel, _ in conv_chain(option) or ()]
            later = sum(kernel**2 for kernel in sizes[1:]) * channels
            yield slot, (sizes[0] ** 2 * inputs + later) * channels, 2 * channels * len(sizes)
        elif slot.kind == "depth":
            yield slot, option * 2 * 9 * channels * channels, option * 2 * 2 * channels
        elif slot.kind == "eca":
            yield slot, attention_kernel(channels), 0
        elif slot.kind == "gate":
            yield slot, context * channels, 0
        elif slot.output is None:
            yield slot, option * option * inputs * channels, 2 * channels
        else:
            yield slot, option * option * inputs * OUTPUT_CHANNELS, 0
        inputs, context = channels, channels if slot.context == "gives" else context


def parameters(space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None) -> int:
    """Trainable parameters of one subnet alone: kernels, gamma and beta.  Raises ConfigError as :func:`macs`."""
    return sum(stage_parameters(space, width, arch).values())


def stage_parameters(space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None) -> dict[str, int]:
    """The same by stage name."""
    return {slot.name: weights + norms for slot, weights, norms in _stages(space, width, arch)}


def macs(space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None, height: int, image_width: int) -> int:
    """Multiply-adds of one forward pass of one sample.

    Args:
        space: search space of ``arch``.
        width: channels after E0.
        arch: the subnet; None where the space holds one arch only.
        height: rows of the images, px.
        image_width: columns of the images, px.

    Raises:
        ConfigError: arch of another space.
    """
    return sum(stage_macs(space, width, arch, height, image_width).values())


def training_flop(space: SearchSpace, width: int, archs: Sequence[Arch], height: int, image_width: int) -> int:
    """Floating-point operations of one forward and backward pass of one sample through each of ``archs``.

    A multiply-add is two; the backward pass computes the gradient of the kernel and of the input, as many each
    as the forward, except that nothing needs the gradient of the images (E0).
    """
    total = 0
    for arch in archs:
        counts = stage_macs(space, width, arch, height, image_width)
        total += 2 * (3 * sum(counts.values()) - counts["E0"])
    return total
