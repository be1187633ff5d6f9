"""The networks: a chain of slots gives the module here, and its deployed graph and its costs in models/graph.py.

:data:`SLOTS` is FlowNet, supernet and fixed subnet from one definition.  A search space varies some of the slots, the
others keep their default; the optional ones are there where the space names them (``fixed``).
The architecture is an argument of forward, never hidden state:

    net = FlowNet(get_space("v1"), width=32)
    predictions = net(images, "000021222")   # images [B,6,H,W] in [-1,1]; predictions at 1/4, 1/2, 1/1
    subnet = net.subnet("000021222")         # the same tensors under the same names, nothing else

:data:`PUBLISHED` is EdgeFlowNet after its TF1 code (arXiv 2411.14576): convolutions with bias on the way down,
transposed convolutions with bias on the way up, four channels (flow, uncertainty) predicted at 1/4, 1/2 and 1/1.
Stage names are FlowNet's, whose bilinear baseline is its nearest relative; the differences are the transposed
convolutions, the biases, and the plain (no batch norm, no ReLU) convolutions that change the size inside the backbone.

    net = EdgeFlowNet(width=32, batch_norm="frozen", input_form=InputForm("raw_0_255", "bgr"))
    predictions = net(images)   # images [B,6,H,W], BGR, 0..255
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import (
    OUTPUT_CHANNELS,
    BatchNormKind,
    BlockChoice,
    ChainChoice,
    ContextGate,
    Conv,
    ConvChoice,
    EfficientChannelAttention,
    InputForm,
    OutputChoice,
    ResidualBlock,
    SingleConv,
    Stage,
    StagedNet,
    TransposedConv,
    conv_chain,
    number_batchnorms,
    option_label,
    resolve,
    up2,
    up2_pooled,
)
from edgeflownas.models.fast import to_pixels
from edgeflownas.randomness import uniforms
from edgeflownas.space import Arch, SearchSpace

SPACE = SearchSpace("edgeflownet", ())
EPS = 1e-3  # of EdgeFlowNet's batch norm: TF1's default


@dataclass(frozen=True)
class Slot:
    """One link of the chain, with its ``default`` option where no space varies it.

    ``channels`` of the features after it are in multiples of the width; a prediction leaves the features alone.
    Slots of the kinds ``eca`` and ``gate`` have no options and are there where a space names their ``part``;
    attention of ``default`` 0 has the size of the paper's formula and no bias.
    """

    name: str
    kind: Literal["kernel", "depth", "eca", "gate"]
    default: int
    channels: float
    resample: Literal["down", "up", ""] = ""
    output: int | None = None  # scale of the prediction it makes; None: it makes features
    phases: bool = False  # computed on the grid of half the size (models/fast.py), where that is faster
    context: Literal["", "gives", "takes"] = ""  # of Stage
    part: str = ""  # what SearchSpace.fixed calls it; "" is always there
    single: bool = False  # no choice: its convolution is called ``conv``, and has a bias
    transposed: bool = False
    norm: bool = True  # batch norm and ReLU after a convolution that makes features

    def path(self, option: int | str) -> str:
        """Where the network keeps the option."""
        if self.kind in ("eca", "gate") or (self.single and self.kind == "depth"):
            return self.name
        return f"{self.name}.{'conv' if self.single else option_label(self.kind, option)}"


SLOTS = (
    Slot("E0", "kernel", 7, 1, "down"),
    Slot("E1", "kernel", 5, 2, "down"),
    Slot("EB0", "depth", 1, 2),
    Slot("Down1", "kernel", 3, 4, "down"),
    Slot("EB1", "depth", 1, 4),
    Slot("Down2", "kernel", 3, 8, "down"),
    Slot("DB0", "depth", 1, 8),
    Slot("ECA", "eca", 3, 8, context="gives", part="ECA"),
    Slot("ECA", "eca", 0, 8, context="gives", part="ECA_nobias"),
    Slot("Up1", "kernel", 3, 4, "up"),
    Slot("DB1", "depth", 1, 4),
    Slot("Up2", "kernel", 3, 2, "up"),
    Slot("Gate", "gate", 1, 2, context="takes", part="Gate"),
    Slot("H0Out", "kernel", 3, 2, output=0),
    Slot("H1", "kernel", 3, 1, "up", phases=True),
    Slot("H1Out", "kernel", 3, 1, output=1, phases=True),
    Slot("H2", "kernel", 3, 0.5, "up", phases=True),
    Slot("H2Out", "kernel", 3, 0.5, output=2, phases=True),
)
_down = partial(Slot, single=True)
_up = partial(Slot, single=True, transposed=True)
PUBLISHED = (
    _down("E0", "kernel", 7, 1, "down"),
    _down("E1", "kernel", 5, 2, "down"),
    _down("EB0", "depth", 1, 2),
    _down("Down1", "kernel", 3, 4, "down", norm=False),
    _down("EB1", "depth", 1, 4),
    _down("Down2", "kernel", 3, 8, "down", norm=False),
    _up("DB0", "depth", 1, 8),
    _up("Up1", "kernel", 3, 4, "up", norm=False),
    _up("DB1", "depth", 1, 4),
    _up("Up2", "kernel", 3, 2, "up", norm=False),
    _up("H0Out", "kernel", 7, 2, output=0),
    _up("H1", "kernel", 5, 1, "up"),
    _up("H1Out", "kernel", 7, 1, output=1),
    _up("H2", "kernel", 7, 0.5, "up"),
    _up("H2Out", "kernel", 7, 0.5, output=2),
)


def layout(space: SearchSpace) -> tuple[Slot, ...]:
    """FlowNet under ``space``.  Raises ConfigError for fixed parts that it does not know or cannot connect."""
    known = [slot.part for slot in SLOTS if slot.part]
    if not set(space.fixed) <= set(known):
        raise ConfigError(
            f"space {space.name!r}: fixed parts {', '.join(space.fixed)} must be among {', '.join(known)}"
        )
    slots = tuple(slot for slot in SLOTS if not slot.part or slot.part in space.fixed)
    contexts = [slot.context for slot in slots]
    if "takes" in contexts and "gives" not in contexts:
        raise ConfigError(f"space {space.name!r}: the fixed part Gate takes the context of ECA: name both")
    return slots


OPTION_RULES: dict[str, tuple[str, Callable[[int | str], bool]]] = {
    "depth": ("depths of at least 1", lambda option: isinstance(option, int) and option >= 1),
    "kernel": ("odd kernel sizes", lambda option: isinstance(option, int) and option >= 1 and option % 2 == 1),
    "conv": ("chains such as 3x3+dilated3x3", lambda option: isinstance(option, str) and bool(conv_chain(option))),
}


def slot_options(space: SearchSpace) -> dict[str, tuple[int | str, ...]]:
    """Options of every slot under ``space``.  Raises ConfigError for a choice the network has no slot for."""
    slots = layout(space)
    kinds = {
        slot.name: [slot.kind, "conv"] if slot.resample == "down" else [slot.kind] for slot in slots if not slot.part
    }
    for choice in space.choices:
        if choice.kind not in kinds.get(choice.name, ()):
            known = ", ".join(f"{name} ({' or '.join(kind)})" for name, kind in kinds.items())
            raise ConfigError(
                f"space {space.name!r}: FlowNet has no slot {choice.name} of kind {choice.kind}; it has {known}"
            )
        options, (what, sound) = choice.options, OPTION_RULES[choice.kind]
        if not options or not all(map(sound, options)) or len(set(options)) < len(options):
            raise ConfigError(f"choice {choice.name}: options {options} must be distinct {what}")
    declared = {choice.name: choice.options for choice in space.choices}
    return {slot.name: declared.get(slot.name, (slot.default,)) for slot in slots}


class SlottedNet(StagedNet):
    """A network that is declared by its ``slots``, one stage each."""

    slots: tuple[Slot, ...]
    batch_norm: BatchNormKind

    def _assemble(
        self,
        slots: tuple[Slot, ...],
        module_of: Callable[[Slot, Slot | None, int, int], nn.Module],
        batch_norm: BatchNormKind,
        fill: Callable[[nn.Module], None] | None,
    ) -> None:
        """Add the modules of the stages: ``module_of`` takes a slot, the one before, channels of input and features."""
        inputs, before = 6, None
        for slot in slots:
            channels = int(self.width * slot.channels)
            self.add_module(slot.name, module_of(slot, before, inputs, channels))
            inputs, before = channels, slot
        self.slots, self.batch_norm = slots, batch_norm
        self.stages = tuple(Stage(s.name, self.space.position(s.name), s.output, s.context) for s in slots)
        self.batchnorms = number_batchnorms(self, batch_norm == "frozen")
        if fill is not None:
            fill(self)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]


class FlowNet(SlottedNet):
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
        self.plain = plain
        fill = None if seed is None else partial(initialise, seed=seed)
        self._options = slot_options(space)
        self._assemble(layout(space), self._stage_module, batch_norm, fill)

    def _stage_module(self, slot: Slot, before: Slot | None, inputs: int, channels: int) -> nn.Module:
        options = self._options[slot.name]
        sizes = [option for option in options if isinstance(option, int)]
        if slot.kind == "gate":
            context = next(int(self.width * other.channels) for other in layout(self.space) if other.context == "gives")
            return ContextGate(context, channels)
        if slot.kind == "eca":
            return EfficientChannelAttention(channels, slot.default)
        if slot.kind == "depth":
            return BlockChoice(channels, sizes)
        if not sizes:
            return ChainChoice(inputs, channels, [str(option) for option in options])
        phases = slot.phases and not self.plain
        from_phases = before is not None and before.phases and not self.plain
        if slot.output is not None:
            return OutputChoice(inputs, sizes, phases=from_phases)
        resize = up2_pooled if self.plain else up2
        return ConvChoice(inputs, channels, sizes, slot.resample, phases=phases, from_phases=from_phases, resize=resize)

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


class EdgeFlowNet(SlottedNet):
    """The published network; trained and evaluated by the code that trains and evaluates FlowNet.

    Args:
        width: channels after E0 (even).
        batch_norm: ``frozen`` as published (statistics that never move: with mean 0 and variance 1 a learned affine),
            or ``trained`` (batch statistics in training, recalibrated in evaluation).
        seed: initial values are a pure function of (seed, parameter name), Glorot uniform kernels as the published
            code has them; None leaves the kernels zero for a caller that loads them.
        channels_last: memory format of weights and features.
        input_form: what its images look like (published: BGR, 0..255).
    """

    def __init__(
        self,
        width: int = 32,
        batch_norm: BatchNormKind = "frozen",
        seed: int | None = 0,
        *,
        channels_last: bool = True,
        input_form: InputForm = InputForm(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__(SPACE, width, channels_last, input_form)
        fill = None if seed is None else partial(_initialise_as_published, seed=seed)
        self._assemble(PUBLISHED, self._stage_module, batch_norm, fill)

    @staticmethod
    def _stage_module(slot: Slot, before: Slot | None, inputs: int, channels: int) -> nn.Module:
        convolution: Callable[..., nn.Module] = TransposedConv if slot.transposed else partial(Conv, bias=True)
        if slot.kind == "depth":
            return ResidualBlock(channels, convolution, EPS)
        if slot.output is not None:
            return SingleConv(convolution(inputs, OUTPUT_CHANNELS, slot.default))
        return SingleConv(
            convolution(inputs, channels, slot.default, 2), BatchNorm(channels, EPS) if slot.norm else None
        )

    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Convolutions and batch norms by name, in the order of computation (and of the TF1 graph)."""
        kinds = (Conv, TransposedConv, BatchNorm)
        return ((name, module) for name, module in self.named_modules() if isinstance(module, kinds))


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


@torch.no_grad()
def widened(small: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Tensors of a network with more channels that computes what the narrow one, ``small``, does (Net2WiderNet).

    Every channel is there as often as the shapes of ``like``, tensors of the wide network by name, say.  Copies of an
    input share its weight in random parts (``seed``), so that they learn to differ.  Chen et al., ICLR 2016.
    """
    tensors = {}
    for name, tensor in small.items():
        times = [wide // narrow for wide, narrow in zip(like[name].shape, tensor.shape, strict=True)]
        tensors[name] = tensor.repeat(*times) if times else tensor.clone()
        if tensor.ndim == 4 and times[1] > 1:
            shape = (like[name].shape[0], times[1], tensor.shape[1])
            share = 0.25 + torch.from_numpy(uniforms(seed, f"widen.{name}", count=math.prod(shape)).reshape(shape))
            share = (share / share.sum(1, keepdim=True)).reshape(shape[0], -1)
            tensors[name] *= share[..., None, None].to(tensor)
    return tensors


@torch.no_grad()
def _initialise_as_published(net: nn.Module, seed: int) -> None:
    """Glorot uniform kernels (TF1's default, symmetric in inputs and outputs), each from its own stream; biases 0."""
    for name, parameter in net.named_parameters():
        if parameter.dim() == 4:
            u = uniforms(seed, f"init.{name}", count=parameter.numel())
            one, other, rows, columns = parameter.shape
            limit = math.sqrt(6.0 / ((one + other) * rows * columns))
            parameter.copy_(torch.from_numpy((2.0 * u - 1.0) * limit).reshape(parameter.shape))
