"""FlowNet: supernet and fixed subnet from one definition.

``LAYOUT`` is the network: a chain of slots.  A search space varies some of them; the others keep their default.
The architecture is an argument of forward, never hidden state:

    net = FlowNet(get_space("v1"), width=32)
    predictions = net(images, "000021222")   # images [B,6,H,W] in [-1,1]; predictions at 1/4, 1/2, 1/1
    subnet = net.subnet("000021222")         # the same tensors under the same names, nothing else
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import BlockChoice, ConvChoice, OutputChoice, replicate_pad, up2, up2_pooled
from edgeflownas.randomness import uniforms
from edgeflownas.space import Arch, Choice, SearchSpace

__all__ = ["LAYOUT", "FlowNet", "Slot", "Stage"]

GRID = 16  # heights and widths are padded to multiples of it: four halvings


@dataclass(frozen=True)
class Slot:
    """One link of the chain, with its ``default`` option where no space varies it.

    ``channels`` of the features after it are in multiples of the width; a prediction leaves the features alone.
    """

    name: str
    kind: Literal["kernel", "depth"]
    default: int
    channels: float
    resample: Literal["down", "up", ""] = ""
    output: int | None = None  # scale of the prediction it makes; None: it makes features
    phases: bool = False  # computed on the grid of half the size (models/phases.py), where that is faster


LAYOUT = (
    Slot("E0", "kernel", 7, 1, "down"),
    Slot("E1", "kernel", 5, 2, "down"),
    Slot("EB0", "depth", 1, 2),
    Slot("Down1", "kernel", 3, 4, "down"),
    Slot("EB1", "depth", 1, 4),
    Slot("Down2", "kernel", 3, 8, "down"),
    Slot("DB0", "depth", 1, 8),
    Slot("Up1", "kernel", 3, 4, "up"),
    Slot("DB1", "depth", 1, 4),
    Slot("Up2", "kernel", 3, 2, "up"),
    Slot("H0Out", "kernel", 3, 2, output=0),
    Slot("H1", "kernel", 3, 1, "up", phases=True),
    Slot("H1Out", "kernel", 3, 1, output=1, phases=True),
    Slot("H2", "kernel", 3, 0.5, "up", phases=True),
    Slot("H2Out", "kernel", 3, 0.5, output=2, phases=True),
)


@dataclass(frozen=True)
class Stage:
    """A slot as a space uses it: ``choice`` is its place in the arch code, ``output`` the scale it predicts."""

    name: str
    choice: int | None
    output: int | None


def slot_options(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Options of every slot under ``space``.  Raises ConfigError for a choice the network has no slot for."""
    kinds = {slot.name: slot.kind for slot in LAYOUT}
    for choice in space.choices:
        if kinds.get(choice.name) != choice.kind:
            known = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
            raise ConfigError(
                f"space {space.name!r}: FlowNet has no slot {choice.name} of kind {choice.kind}; it has {known}"
            )
        _check_options(choice)
    declared = {choice.name: choice.options for choice in space.choices}
    return {slot.name: declared.get(slot.name, (slot.default,)) for slot in LAYOUT}


def _check_options(choice: Choice) -> None:
    options = choice.options
    what = "depths of at least 1" if choice.kind == "depth" else "odd kernel sizes"
    sound = all(option >= 1 and (choice.kind == "depth" or option % 2 == 1) for option in options)
    if not options or not sound or len(set(options)) < len(options):
        raise ConfigError(f"choice {choice.name}: options {options} must be distinct {what}")


def resolve(space: SearchSpace, arch: Arch | Sequence[int] | str | None) -> Arch:
    """The arch of ``space`` that ``arch`` means; None is allowed where the space holds one arch only."""
    if arch is None:
        if len(space) != 1:
            raise ConfigError(
                f"space {space.name!r} holds {len(space)} archs: say which one, e.g. net(images, space.sample(0))"
            )
        return space.arch((0,) * len(space.choices))
    return space.parse(arch) if isinstance(arch, str) else space.arch(arch)


class FlowNet(nn.Module):
    """Weight-sharing network of ``space`` (a plain fixed network where the space holds one arch).

    Args:
        space: search space; only archs of this space are accepted.
        width: channels after E0 (even).
        seed: initial values are a pure function of (seed, parameter name), so that a subnet trained alone starts
            from the supernet's; None leaves the kernels zero for a caller that loads them.
        channels_last: memory format of weights and features.
        plain: every layer as it is drawn, from native operators (resize, then convolve): the reference that the
            faster forms are compared with, the same function to rounding.
    """

    def __init__(
        self,
        space: SearchSpace,
        width: int = 32,
        seed: int | None = 0,
        *,
        channels_last: bool = True,
        plain: bool = False,
    ) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ConfigError(f"width {width} must be an even number of at least 2 (H2 has width / 2 channels)")
        self.space, self.width, self.plain = space, width, plain
        self.channels_last = channels_last
        options = slot_options(space)
        inputs, phases = 6, False
        for slot in LAYOUT:
            channels = int(width * slot.channels)
            self.add_module(slot.name, _stage_module(slot, inputs, channels, options[slot.name], plain, phases))
            inputs, phases = channels, slot.phases and not plain
        self.stages = tuple(Stage(slot.name, space.position(slot.name), slot.output) for slot in LAYOUT)
        self.batchnorms = _number_batchnorms(self)
        if seed is not None:
            initialise(self, seed)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of the features (not kept as such: torch.save could not write it)."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def shared_stages(self) -> int:
        """Number of leading stages without a choice, the same for every arch."""
        return next((i for i, stage in enumerate(self.stages) if stage.choice is not None), len(self.stages))

    def prepare(self, images: Tensor) -> Tensor:
        """Images [B,6,H,W] -> input of stage 0: padded right and bottom to multiples of 16 by repeating the edge."""
        if images.dim() != 4 or images.shape[1] != 6 or not images.is_floating_point():
            raise ConfigError(
                f"FlowNet takes float images [B,6,H,W] in [-1,1] (image 1 RGB, image 2 RGB), got {images.dtype} "
                f"{list(images.shape)}"
            )
        height, width = images.shape[-2:]
        padded = replicate_pad(images, -width % GRID, -height % GRID)
        return padded.contiguous(memory_format=self.memory_format)

    def run_stage(self, index: int, features: Tensor, option: int) -> Tensor:
        """Run stage ``index`` with one option: new features, or the prediction [B,4,h,w] of an output stage."""
        result: Tensor = self.get_submodule(self.stages[index].name)(features, option)
        return result

    def forward(self, images: Tensor, arch: Arch | Sequence[int] | str | None = None) -> list[Tensor]:
        """Predictions p0 [B,4,H/4,W/4], p1 [B,4,H/2,W/2], p2 [B,4,H,W] on the padded grid.

        Args:
            images: [B,6,H,W] in [-1,1], image 1 RGB then image 2 RGB.
            arch: Arch, digits or text of this network's space; None where the space holds one arch only.

        Raises:
            ConfigError: arch of another space, or images of another layout.
        """
        return self.run_from(0, self.prepare(images), resolve(self.space, arch))

    def run_from(self, start: int, features: Tensor, code: Arch) -> list[Tensor]:
        """The predictions of stages ``start`` and later, from the features that stage ``start`` takes."""
        predictions = []
        for index in range(start, len(self.stages)):
            stage = self.stages[index]
            result = self.run_stage(index, features, 0 if stage.choice is None else code[stage.choice])
            if stage.output is None:
                features = result
            else:
                predictions.append(result)
        return predictions

    def subnet(self, arch: Arch | Sequence[int] | str) -> FlowNet:
        """A fixed network of its own with the tensors of ``arch``, copied by name; same mode, device and dtype."""
        restricted = self.space.restrict(resolve(self.space, arch))
        net = FlowNet(restricted, self.width, seed=None, channels_last=self.channels_last, plain=self.plain)
        first = next(self.parameters())
        net.to(device=first.device, dtype=first.dtype)
        own = self.state_dict()
        net.load_state_dict({name: own[name] for name in net.state_dict()})
        return net.train(self.training)


def _stage_module(
    slot: Slot, inputs: int, channels: int, options: tuple[int, ...], plain: bool, from_phases: bool
) -> nn.Module:
    if slot.kind == "depth":
        return BlockChoice(channels, options)
    if slot.output is not None:
        return OutputChoice(inputs, options, phases=from_phases)
    return ConvChoice(
        inputs,
        channels,
        options,
        slot.resample,
        phases=slot.phases and not plain,
        from_phases=from_phases,
        resize=up2_pooled if plain else up2,
    )


def _number_batchnorms(net: nn.Module) -> tuple[BatchNorm, ...]:
    named = [(name, module) for name, module in net.named_modules() if isinstance(module, BatchNorm)]
    for slot, (name, module) in enumerate(named):
        module.slot, module.name = slot, name
    return tuple(module for _, module in named)


@torch.no_grad()
def initialise(net: nn.Module, seed: int) -> None:
    """He normal (fan-in) kernels [out,in,k,k], each from its own stream (seed, parameter name); gamma 1, beta 0.

    He et al. 2015, eq. 10: standard deviation sqrt(2 / (in k k)).  Normal numbers by Box and Muller from
    counter-based words, because numpy's own normal distribution may change between versions.
    """
    for name, parameter in net.named_parameters():
        if parameter.dim() != 4:
            continue
        count = parameter.numel()
        u = uniforms(seed, f"init.{name}", count=count + count % 2).reshape(2, -1)
        radius, angle = np.sqrt(-2.0 * np.log1p(-u[0])), 2.0 * math.pi * u[1]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        scale = math.sqrt(2.0 / parameter[0].numel())
        parameter.copy_(torch.from_numpy(scale * normal).reshape(parameter.shape))
