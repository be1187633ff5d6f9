"""FlowNet: supernet and fixed subnet from one definition.

:func:`layout` is the network: a chain of slots, the optional ones where the space names them (``fixed``).  A search
space varies some of the slots; the others keep their default.
The architecture is an argument of forward, never hidden state:

    net = FlowNet(get_space("v1"), width=32)
    predictions = net(images, "000021222")   # images [B,6,H,W] in [-1,1]; predictions at 1/4, 1/2, 1/1
    subnet = net.subnet("000021222")         # the same tensors under the same names, nothing else
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from edgeflownas.errors import ConfigError
from edgeflownas.models.attention import ContextGate, EfficientChannelAttention
from edgeflownas.models.blocks import (
    BatchNormKind,
    BlockChoice,
    ChainChoice,
    ConvChoice,
    InputForm,
    OutputChoice,
    Stage,
    StagedNet,
    conv_chain,
    number_batchnorms,
    resolve,
    up2,
    up2_pooled,
)
from edgeflownas.models.phases import to_pixels
from edgeflownas.randomness import uniforms
from edgeflownas.space import Arch, Choice, SearchSpace


@dataclass(frozen=True)
class Slot:
    """One link of the chain, with its ``default`` option where no space varies it.

    ``channels`` of the features after it are in multiples of the width; a prediction leaves the features alone.
    Slots of the kinds ``eca`` and ``gate`` are optional and have no options.
    """

    name: str
    kind: Literal["kernel", "depth", "eca", "gate"]
    default: int
    channels: float
    resample: Literal["down", "up", ""] = ""
    output: int | None = None  # scale of the prediction it makes; None: it makes features
    phases: bool = False  # computed on the grid of half the size (models/phases.py), where that is faster
    context: Literal["", "gives", "takes"] = ""  # of Stage
    optional: bool = False


SLOTS = (
    Slot("E0", "kernel", 7, 1, "down"),
    Slot("E1", "kernel", 5, 2, "down"),
    Slot("EB0", "depth", 1, 2),
    Slot("Down1", "kernel", 3, 4, "down"),
    Slot("EB1", "depth", 1, 4),
    Slot("Down2", "kernel", 3, 8, "down"),
    Slot("DB0", "depth", 1, 8),
    Slot("ECA", "eca", 1, 8, context="gives", optional=True),
    Slot("Up1", "kernel", 3, 4, "up"),
    Slot("DB1", "depth", 1, 4),
    Slot("Up2", "kernel", 3, 2, "up"),
    Slot("Gate", "gate", 1, 2, context="takes", optional=True),
    Slot("H0Out", "kernel", 3, 2, output=0),
    Slot("H1", "kernel", 3, 1, "up", phases=True),
    Slot("H1Out", "kernel", 3, 1, output=1, phases=True),
    Slot("H2", "kernel", 3, 0.5, "up", phases=True),
    Slot("H2Out", "kernel", 3, 0.5, output=2, phases=True),
)


def layout(space: SearchSpace) -> tuple[Slot, ...]:
    """The chain under ``space``.  Raises ConfigError for fixed parts the network does not know or cannot connect."""
    known = [slot.name for slot in SLOTS if slot.optional]
    if not set(space.fixed) <= set(known):
        raise ConfigError(
            f"space {space.name!r}: fixed parts {', '.join(space.fixed)} must be among {', '.join(known)}"
        )
    slots = tuple(slot for slot in SLOTS if not slot.optional or slot.name in space.fixed)
    contexts = [slot.context for slot in slots]
    if "takes" in contexts and "gives" not in contexts:
        raise ConfigError(f"space {space.name!r}: the fixed part Gate takes the context of ECA: name both")
    return slots


def slot_options(space: SearchSpace) -> dict[str, tuple[int | str, ...]]:
    """Options of every slot under ``space``.  Raises ConfigError for a choice the network has no slot for."""
    slots = layout(space)
    kinds: dict[str, list[str]] = {slot.name: [slot.kind] for slot in slots if not slot.optional}
    for slot in slots:
        if slot.resample == "down":
            kinds[slot.name].append("conv")
    for choice in space.choices:
        if choice.kind not in kinds.get(choice.name, ()):
            known = ", ".join(f"{name} ({' or '.join(kind)})" for name, kind in kinds.items())
            raise ConfigError(
                f"space {space.name!r}: FlowNet has no slot {choice.name} of kind {choice.kind}; it has {known}"
            )
        _check_options(choice)
    declared = {choice.name: choice.options for choice in space.choices}
    return {slot.name: declared.get(slot.name, (slot.default,)) for slot in slots}


OPTION_RULES: dict[str, tuple[str, Callable[[int | str], bool]]] = {
    "depth": ("depths of at least 1", lambda option: isinstance(option, int) and option >= 1),
    "kernel": ("odd kernel sizes", lambda option: isinstance(option, int) and option >= 1 and option % 2 == 1),
    "conv": ("chains such as 3x3+dilated3x3", lambda option: isinstance(option, str) and bool(conv_chain(option))),
}


def _check_options(choice: Choice) -> None:
    options = choice.options
    what, sound = OPTION_RULES[choice.kind]
    if not options or not all(map(sound, options)) or len(set(options)) < len(options):
        raise ConfigError(f"choice {choice.name}: options {options} must be distinct {what}")


class FlowNet(StagedNet):
    """Weight-sharing network of ``space`` (a plain fixed network where the space holds one arch).

    Args:
        space: search space; only archs of this space are accepted.
        width: channels after E0 (even).
        seed: initial values are a pure function of (seed, parameter name), so that a subnet trained alone starts
            from the supernet's; None leaves the kernels zero for a caller that loads them.
        channels_last: memory format of weights and features.
        batch_norm: ``trained`` (batch statistics in training, recalibrated in evaluation), or ``frozen``: the stored
            ones in both, for the fine-tuning of one arch.
        plain: every layer as it is drawn, from native operators (resize, then convolve): the reference that the
            faster forms are compared with, the same function to rounding.
        input_form: what its images look like.
    """

    def __init__(
        self,
        space: SearchSpace,
        width: int = 32,
        seed: int | None = 0,
        *,
        batch_norm: BatchNormKind = "trained",
        channels_last: bool = True,
        plain: bool = False,
        input_form: InputForm = InputForm(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__(space, width, channels_last, input_form)
        self.batch_norm, self.plain = batch_norm, plain
        self.slots, options = layout(space), slot_options(space)
        inputs, context, phases = 6, 0, False
        for slot in self.slots:
            channels = int(width * slot.channels)
            if slot.context == "takes":
                self.add_module(slot.name, ContextGate(context, channels))
            else:
                self.add_module(slot.name, _stage_module(slot, inputs, channels, options[slot.name], plain, phases))
            inputs, phases = channels, slot.phases and not plain
            context = channels if slot.context == "gives" else context
        self.stages = tuple(
            Stage(slot.name, space.position(slot.name), slot.output, slot.context) for slot in self.slots
        )
        self.batchnorms = number_batchnorms(self, batch_norm == "frozen")
        if seed is not None:
            initialise(self, seed)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def as_pixels(self, index: int, features: torch.Tensor) -> torch.Tensor:
        """What output stage ``index`` takes, as a map of the size of its prediction."""
        before = self.slots[index - 1]
        return to_pixels(features) if before.phases and not self.plain else features

    def subnet(self, arch: Arch | Sequence[int] | str) -> FlowNet:
        """A fixed network of its own with the tensors of ``arch``, copied by name; same mode, device and dtype."""
        restricted = self.space.restrict(resolve(self.space, arch))
        net = FlowNet(
            restricted,
            self.width,
            seed=None,
            batch_norm=self.batch_norm,
            channels_last=self.channels_last,
            plain=self.plain,
            input_form=self.input_form,
        )
        first = next(self.parameters())
        net.to(device=first.device, dtype=first.dtype)
        own = self.state_dict()
        net.load_state_dict({name: own[name] for name in net.state_dict()})
        return net.train(self.training)


def _stage_module(
    slot: Slot, inputs: int, channels: int, options: tuple[int | str, ...], plain: bool, from_phases: bool
) -> nn.Module:
    chains = [option for option in options if isinstance(option, str)]
    sizes = [option for option in options if isinstance(option, int)]
    if chains:
        return ChainChoice(inputs, channels, chains)
    if slot.kind == "eca":
        return EfficientChannelAttention(channels)
    if slot.kind == "depth":
        return BlockChoice(channels, sizes)
    if slot.output is not None:
        return OutputChoice(inputs, sizes, phases=from_phases)
    return ConvChoice(
        inputs,
        channels,
        sizes,
        slot.resample,
        phases=slot.phases and not plain,
        from_phases=from_phases,
        resize=up2_pooled if plain else up2,
    )


@torch.no_grad()
def initialise(net: nn.Module, seed: int) -> None:
    """He normal (fan-in) kernels [out,in,k,k] and [1,1,k], each a stream of (seed, parameter name); gamma 1, beta 0.

    He et al. 2015, eq. 10: standard deviation sqrt(2 / (in k k)).  Normal numbers by Box and Muller from
    counter-based words, because numpy's own normal distribution may change between versions.
    """
    for name, parameter in net.named_parameters():
        if parameter.dim() < 3:
            continue
        count = parameter.numel()
        u = uniforms(seed, f"init.{name}", count=count + count % 2).reshape(2, -1)
        radius, angle = np.sqrt(-2.0 * np.log1p(-u[0])), 2.0 * math.pi * u[1]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        scale = math.sqrt(2.0 / parameter[0].numel())
        parameter.copy_(torch.from_numpy(scale * normal).reshape(parameter.shape))
