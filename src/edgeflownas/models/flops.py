"""Multiply-adds of a forward pass, in nominal operations, and parameters.

Nominal: every convolution is counted directly at the size of its output, an upsampling stage at the full
resolution, whatever faster form computes it.  So two implementations of the same network have the same count, and
"nominal GFLOP per second" compares them.  Batch norm, ReLU, resizing and sums are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeflownas.models.blocks import OUTPUT_CHANNELS
from edgeflownas.models.flownet import LAYOUT, slot_options
from edgeflownas.models.stages import GRID, resolve
from edgeflownas.space import Arch, SearchSpace

__all__ = ["macs", "parameters", "stage_macs", "training_flop"]


def stage_macs(
    space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None, height: int, image_width: int
) -> dict[str, int]:
    """Multiply-adds of one sample by stage name; ``height`` x ``image_width`` are padded to multiples of 16."""
    code, options = resolve(space, arch), slot_options(space)
    rows, columns = height + -height % GRID, image_width + -image_width % GRID
    inputs, counts = 6, {}
    for slot in LAYOUT:
        position = space.position(slot.name)
        option = options[slot.name][0 if position is None else code[position]]
        channels = int(width * slot.channels)
        if slot.resample == "down":
            rows, columns = rows // 2, columns // 2
        elif slot.resample == "up":
            rows, columns = rows * 2, columns * 2
        if slot.kind == "depth":
            per_pixel = option * 2 * 9 * channels * channels
        else:
            outputs = channels if slot.output is None else OUTPUT_CHANNELS
            per_pixel = option * option * inputs * outputs
        counts[slot.name] = per_pixel * rows * columns
        inputs = channels
    return counts


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


def parameters(space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None) -> int:
    """Trained numbers of one subnet: kernels, and gamma and beta of its batch norms (an output has none).

    Raises ConfigError for an arch of another space.
    """
    code, options = resolve(space, arch), slot_options(space)
    inputs, total = 6, 0
    for slot in LAYOUT:
        position = space.position(slot.name)
        option = options[slot.name][0 if position is None else code[position]]
        channels = int(width * slot.channels)
        if slot.kind == "depth":
            total += option * 2 * (9 * channels * channels + 2 * channels)
        else:
            outputs = channels if slot.output is None else OUTPUT_CHANNELS
            total += option * option * inputs * outputs + (2 * channels if slot.output is None else 0)
        inputs = channels
    return total


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
