"""Building blocks of the networks: TF SAME convolution, x2 upsampling, residual block, choices, attention; batches.

Everything is a pure function of its input and the option asked for; only the chosen option is computed.
Shapes: features [B,C,H,W], kernels [out,in,k,k].  ReLU and the residual sum work in place on the fresh output of
the batch norm, which autograd does not need again: one pass over memory less each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import EPS, BatchNorm
from edgeflownas.models.fast import as_map, conv_phases, from_map, to_pixels, up2_conv_phases
from edgeflownas.space import Arch, SearchSpace

OUTPUT_CHANNELS = 4  # flow u, v and the uncertainty of each


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after): asymmetric for stride 2, the larger part after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def replicate_pad(x: Tensor, right: int, bottom: int) -> Tensor:
    """Repeat the last column ``right`` and the last row ``bottom`` times.

    A concatenation, because the gradient of torch's replication pad has no deterministic CUDA kernel.
    """
    if right:
        x = torch.cat([x, x[..., -1:].expand(*x.shape[:-1], right)], -1)
    if bottom:
        x = torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], bottom, x.shape[-1])], -2)
    return x


def up2(x: Tensor) -> Tensor:
    """Asymmetric bilinear x2 as in TF1's resize: u[2i] = x[i], u[2i+1] = (x[i] + x[i+1]) / 2, last repeated."""
    result: Tensor = _Up2.apply(x)  # type: ignore[no-untyped-call]
    return result


def up2_pooled(x: Tensor) -> Tensor:
    """The same from native operators: what a microcontroller runs, and four times slower on a CPU."""
    nearest = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(replicate_pad(nearest, 1, 1), 2, 1)


class _Up2(torch.autograd.Function):
    """up2 in channels_last memory, every output pixel written once; the backward is the transposed sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1)
        out = rows.new_empty(batch, height, 2, width, 2, channels)
        even = out[:, :, 0]
        even[:, :, :, 0] = rows
        torch.add(rows[:, :, :-1], rows[:, :, 1:], out=even[:, :, :-1, 1]).mul_(0.5)
        even[:, :, -1, 1] = rows[:, :, -1]
        torch.add(even[:, :-1], even[:, 1:], out=out[:, :-1, 1]).mul_(0.5)
        out[:, -1, 1] = even[:, -1]
        return out.view(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        batch, channels, height, width = gradient.shape
        split = gradient.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
        rows = up2_transposed(split[:, :, 0], split[:, :, 1], 1)
        return up2_transposed(rows[:, :, :, 0], rows[:, :, :, 1], 2).permute(0, 3, 1, 2)


def up2_transposed(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    """Gradient of x along ``axis``: even + (odd + odd shifted by one) / 2, the last odd one counted whole."""
    size = even.shape[axis]
    total = torch.add(even, odd, alpha=0.5)
    total.narrow(axis, 1, size - 1).add_(odd.narrow(axis, 0, size - 1), alpha=0.5)
    total.narrow(axis, size - 1, 1).add_(odd.narrow(axis, size - 1, 1), alpha=0.5)
    return total


class Conv(nn.Module):
    """Convolution with TF SAME padding; the weight is filled by the network that holds it.  FlowNet's has no bias.

    ``dilation`` is for stride 1.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False, dilation: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.kernel, self.stride, self.dilation = kernel, stride, dilation

    def forward(self, x: Tensor) -> Tensor:
        """[B,in,H,W] -> [B,out,ceil(H/stride),ceil(W/stride)]."""
        if self.stride == 1:
            reach = self.kernel // 2 * self.dilation
            return F.conv2d(x, self.weight, self.bias, padding=reach, dilation=self.dilation)
        vertical = same_padding(x.shape[-2], self.kernel, self.stride)
        horizontal = same_padding(x.shape[-1], self.kernel, self.stride)
        return F.conv2d(F.pad(x, horizontal + vertical), self.weight, self.bias, stride=self.stride)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        outputs, inputs = self.weight.shape[:2]
        return f"{inputs}, {outputs}, kernel={self.kernel}, stride={self.stride}, dilation={self.dilation}"


class TransposedConv(nn.Module):
    """Transposed convolution with TF SAME padding and bias: [B,in,H,W] -> [B,out,stride H,stride W], odd kernels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Features at ``stride`` times the size.

        It is the gradient of the SAME convolution that halves the output: that one pads (k-2)//2 before and one more
        after, so the result has a last row and column too many, which are cut off.
        """
        if self.stride == 1:
            return F.conv_transpose2d(x, self.weight, self.bias, padding=self.kernel // 2)
        wide = F.conv_transpose2d(x, self.weight, self.bias, self.stride, (self.kernel - 2) // 2)
        cut = wide[..., :-1, :-1]
        layout = torch.channels_last if wide.is_contiguous(memory_format=torch.channels_last) else None
        return cut.contiguous(memory_format=layout or torch.contiguous_format)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        inputs, outputs = self.weight.shape[:2]
        return f"{inputs}, {outputs}, kernel={self.kernel}, stride={self.stride}"


class SingleConv(nn.Module):
    """A convolution, alone or with batch norm and ReLU: a stage without a choice."""

    def __init__(self, conv: nn.Module, norm: BatchNorm | None = None) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features or a prediction; there is no option but 0."""
        y: Tensor = self.conv(x)
        if self.bn is None:
            return y
        result: Tensor = self.bn(y, relu=True)
        return result


class ResidualBlock(nn.Module):
    """conv3 BN ReLU conv3 BN, add the input, ReLU; ``convolution`` (inputs, outputs, kernel) makes the two."""

    def __init__(self, channels: int, convolution: Callable[..., nn.Module] = Conv, eps: float = EPS) -> None:
        super().__init__()
        self.conv1 = convolution(channels, channels, 3)
        self.bn1 = BatchNorm(channels, eps)
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = BatchNorm(channels, eps)

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features of the same shape; there is no option but 0."""
        y = self.bn1(self.conv1(x), relu=True)
        result: Tensor = self.bn2(self.conv2(y), residual=x, relu=True)
        return result


def conv_chain(option: str) -> list[tuple[int, int]] | None:
    """(kernel, dilation) of each link of ``3x3+dilated3x3``, whose ``dilated`` means 2; None where it reads otherwise.

    The first link changes the size, so it is not dilated; kernels are odd.
    """
    links = [re.fullmatch(r"(dilated)?(\d*[13579])x\2", link) for link in option.split("+")]
    found = [(int(link[2]), 2 if link[1] else 1) for link in links if link]
    return found if len(found) == len(links) and found[0][1] == 1 else None


def option_label(kind: str, option: int | str) -> str:
    """What a stage calls the module of an option: ``depth3``, ``k5``, ``conv3x3_dilated3x3``."""
    if isinstance(option, str):
        return f"conv{option.replace('+', '_')}"
    return f"depth{option}" if kind == "depth" else f"k{option}"


class StageChoice(nn.Module):
    """A module for each option; only the chosen one runs."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.labels = tuple(modules)
        for label, module in modules.items():
            self.add_module(label, module)

    def forward(self, x: Tensor, option: int) -> Tensor:
        """Run the module of ``option``."""
        result: Tensor = self.get_submodule(self.labels[option])(x)
        return result


class BlockChoice(StageChoice):
    """Depth choice: option i is its own chain of ``depths[i]`` residual blocks (``depth3.0``, ``depth3.1``, ...)."""

    def __init__(self, channels: int, depths: Sequence[int]) -> None:
        super().__init__(
            {
                option_label("depth", depth): nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))
                for depth in depths
            }
        )


class ChainChoice(StageChoice):
    """Choice of a chain of convolutions at half size, each with a batch norm of its own and ReLU.

    Its first link halves the size and makes the channels.
    """

    def __init__(self, inputs: int, outputs: int, options: Sequence[str]) -> None:
        chains = {}
        for option in options:
            links: list[nn.Module] = []
            for kernel, dilation in conv_chain(option) or ():
                first = not links
                conv = Conv(inputs if first else outputs, outputs, kernel, 2 if first else 1, dilation=dilation)
                links += [conv, BatchNorm(outputs), nn.ReLU(inplace=True)]
            chains[option_label("conv", option)] = nn.Sequential(*links)
        super().__init__(chains)


class OutputChoice(StageChoice):
    """Kernel choice of a prediction: option i is its own convolution (``k3``, ``k5``, ...), no batch norm."""

    def __init__(self, inputs: int, kernels: Sequence[int], phases: bool = False) -> None:
        super().__init__({option_label("kernel", k): Conv(inputs, OUTPUT_CHANNELS, k) for k in kernels})
        self.phases = phases

    def forward(self, x: Tensor, option: int) -> Tensor:
        """Prediction [B,4,H,W]: flow u, v in full-size pixels, uncertainty of u, v."""
        return to_pixels(self.in_phases(x, option)) if self.phases else super().forward(x, option)

    def in_phases(self, x: Tensor, option: int) -> Tensor:
        """The same as it is computed, [B,16,H/2,W/2] (models/fast.py), from features in phases."""
        return conv_phases(x, cast(Conv, self.get_submodule(self.labels[option])).weight)


class ConvChoice(StageChoice):
    """Kernel choice of a convolution at x2, x1 or x1/2 size, then one shared batch norm and ReLU.

    ``phases`` (upsampling stages only): the output stays on the small grid in four phases, see models/fast.py;
    ``from_phases``: so does the input.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernels: Sequence[int],
        resample: str,
        *,
        phases: bool = False,
        from_phases: bool = False,
        resize: Callable[[Tensor], Tensor] = up2,
    ) -> None:
        stride = 2 if resample == "down" else 1
        super().__init__({option_label("kernel", k): Conv(inputs, outputs, k, stride) for k in kernels})
        self.resample, self.phases, self.from_phases, self.resize = resample, phases, from_phases, resize
        self.bn = BatchNorm(outputs)

    def forward(self, x: Tensor, option: int) -> Tensor:
        """Features at the new size."""
        conv = cast(Conv, self.get_submodule(self.labels[option]))
        if self.from_phases:
            x = to_pixels(x)
        if self.phases:
            return from_map(self.bn(as_map(up2_conv_phases(x, conv.weight)), relu=True))
        result: Tensor = self.bn(conv(self.resize(x) if self.resample == "up" else x), relu=True)
        return result


def global_mean(features: Tensor) -> Tensor:
    """Mean over the (padded) grid, [B,C,1,1].  torch's adaptive pooling has no deterministic CUDA gradient."""
    return features.mean((2, 3), keepdim=True)


def attention_kernel(channels: int) -> int:
    """Kernel size of efficient channel attention: the odd number nearest to log2(C) / 2 + 1 / 2.

    Wang et al. 2020, "ECA-Net" (arXiv 1910.03151), eq. 12 with gamma 2 and b 1: 5 for 256 channels.
    """
    return 2 * int((math.log2(channels) + 1) / 4) + 1


class EfficientChannelAttention(nn.Module):
    """Scales every channel by the sigmoid of a convolution across the channels' means (Wang et al. 2020).

    ``kernel`` numbers and a bias; 0: as many as :func:`attention_kernel` says, and no bias.
    """

    def __init__(self, channels: int, kernel: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, kernel or attention_kernel(channels)))
        self.bias = nn.Parameter(torch.zeros(1)) if kernel else None

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features of the same shape; there is no option but 0."""
        means = global_mean(x).flatten(1).unsqueeze(1)  # [B,1,C]
        scale = F.conv1d(means, self.weight, self.bias, padding=self.weight.shape[-1] // 2).sigmoid()
        return x * scale.transpose(1, 2).unsqueeze(-1)


class ContextGate(nn.Module):
    """Scales every channel by the sigmoid of a 1x1 convolution of another stage's context."""

    def __init__(self, context: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, context, 1, 1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Features of the same shape, from them and the context [B,context,1,1]."""
        return x * F.conv2d(context, self.weight).sigmoid()


BatchNormKind = Literal["trained", "frozen"]
GRID = 16  # heights and widths are padded to multiples of it: four halvings


@dataclass(frozen=True)
class Stage:
    """A link as a space uses it: ``choice`` is its place in the arch code, ``output`` the scale it predicts.

    After a stage that ``gives`` context the caller forms :meth:`StagedNet.context_of` its features and hands that to
    the later stage that ``takes`` it; all others depend on the features alone.
    """

    name: str
    choice: int | None
    output: int | None
    context: Literal["", "gives", "takes"] = ""


def resolve(space: SearchSpace, arch: Arch | Sequence[int] | str | None) -> Arch:
    """The arch of ``space`` that ``arch`` means; None is allowed where the space holds one arch only."""
    if arch is None:
        if len(space) != 1:
            raise ConfigError(
                f"space {space.name!r} holds {len(space)} archs: say which one, e.g. net(images, space.sample(0))"
            )
        return space.arch((0,) * len(space.choices))
    return space.parse(arch) if isinstance(arch, str) else space.arch(arch)


def check_width(width: int) -> None:
    """Raises ConfigError for a width that no network here can have."""
    if not 2 <= width <= 4096 or width % 2:
        raise ConfigError(f"width {width} must be an even number from 2 to 4096 (H2 has width / 2 channels)")


class StagedNet(nn.Module):
    """A chain of stages, each a submodule called with (features, option).

    Whoever derives from it sets ``stages`` and ``batchnorms`` (those with statistics to recalibrate; may be none).
    ``input_form`` says what the images it is trained on look like; everything that feeds it batches obeys it.
    """

    stages: tuple[Stage, ...]
    batchnorms: tuple[BatchNorm, ...]

    def __init__(self, space: SearchSpace, width: int, channels_last: bool, input_form: InputForm) -> None:
        super().__init__()
        check_width(width)
        self.space, self.width, self.channels_last, self.input_form = space, width, channels_last, input_form

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of the features (not kept as such: torch.save could not write it)."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def shared_stages(self) -> int:
        """Number of leading stages that all archs share; 0 where there is no choice, hence nothing to share.

        They end before a stage that gives context, so that what they hand on is their features alone.
        """
        if all(stage.choice is None for stage in self.stages):
            return 0
        return next(i for i, stage in enumerate(self.stages) if stage.choice is not None or stage.context == "gives")

    def prepare(self, images: Tensor) -> Tensor:
        """Images [B,6,H,W] -> input of stage 0: padded right and bottom to multiples of 16 by repeating the edge."""
        if images.dim() != 4 or images.shape[1] != 6 or not images.is_floating_point():
            raise ConfigError(
                f"{type(self).__name__} takes float images [B,6,H,W] (image 1, image 2; {self.input_form}), got "
                f"{images.dtype} {list(images.shape)}"
            )
        height, width = images.shape[-2:]
        padded = replicate_pad(images, -width % GRID, -height % GRID)
        return padded.contiguous(memory_format=self.memory_format)

    def run_stage(self, index: int, features: Tensor, option: int, context: Tensor | None = None) -> Tensor:
        """Run stage ``index`` with one option: new features, or the prediction [B,4,h,w] of an output stage.

        ``context`` is what the last stage that gives one gave; only a stage that takes it reads it.  Raises ConfigError
        where it is missing.
        """
        stage = self.stages[index]
        if stage.context != "takes":
            result: Tensor = self.get_submodule(stage.name)(features, option)
            return result
        if context is None:
            raise ConfigError(
                f"stage {stage.name} needs the context that an earlier stage gives: net.context_of(features)"
            )
        gated: Tensor = self.get_submodule(stage.name)(features, context)
        return gated

    def context_of(self, features: Tensor) -> Tensor:
        """Context [B,C,1,1] of the features [B,C,h,w] of a stage that gives it: their mean over the (padded) grid."""
        return global_mean(features)

    def forward(self, images: Tensor, arch: Arch | Sequence[int] | str | None = None) -> list[Tensor]:
        """Predictions p0 [B,4,H/4,W/4], p1 [B,4,H/2,W/2], p2 [B,4,H,W] on the padded grid.

        Args:
            images: [B,6,H,W], image 1 then image 2, as ``input_form`` says (RGB in [-1,1] unless told otherwise).
            arch: Arch, digits or text of this network's space; None where the space holds one arch only.

        Raises:
            ConfigError: arch of another space, or images of another layout.
        """
        return self.run_from(0, self.prepare(images), resolve(self.space, arch))

    def run_from(
        self,
        start: int,
        features: Tensor,
        code: Arch,
        decoder_features: list[Tensor] | None = None,
        as_computed: bool = False,
    ) -> list[Tensor]:
        """The predictions of stages ``start`` and later, from the features that stage ``start`` takes.

        ``decoder_features`` receives the features [B,C,h,w] from which each prediction is made.  ``as_computed`` leaves
        a prediction that is computed in phases so, [B,16,h/2,w/2]: the loss takes both.
        """
        predictions = []
        context = None
        for index in range(start, len(self.stages)):
            stage = self.stages[index]
            option = 0 if stage.choice is None else code[stage.choice]
            module = self.get_submodule(stage.name) if as_computed else None
            if isinstance(module, OutputChoice) and module.phases:
                result = module.in_phases(features, option)
            else:
                result = self.run_stage(index, features, option, context)
            if stage.output is None:
                features = result
                if stage.context == "gives":
                    context = self.context_of(features)
            else:
                predictions.append(result)
                if decoder_features is not None:
                    decoder_features.append(self.as_pixels(index, features))
        return predictions

    def as_pixels(self, index: int, features: Tensor) -> Tensor:
        """What output stage ``index`` takes, as a map of the size of its prediction."""
        return features


def number_batchnorms(net: nn.Module, frozen: bool = False) -> tuple[BatchNorm, ...]:
    """The batch norms of ``net`` in order, each told its position and its name; none to recalibrate if ``frozen``."""
    named = [(name, module) for name, module in net.named_modules() if isinstance(module, BatchNorm)]
    for slot, (name, module) in enumerate(named):
        module.slot, module.name, module.frozen = slot, name, frozen
    return () if frozen else tuple(module for _, module in named)


class FlowBatch(NamedTuple):
    """Images [B,6,H,W] (image 1, image 2) as an InputForm says, flow [B,2,H,W] in px, valid [B,H,W] bool."""

    images: torch.Tensor
    flow: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class InputForm:
    """How images enter a network: part of what its weights mean (train.input_normalisation, data.channel_order).

    Files, cache and loader hold RGB bytes always; this is the one place where they take another form, for training,
    calibration and evaluation alike, and the one that turns them back into a picture.
    """

    normalisation: Literal["minus1_1", "raw_0_255"] = "minus1_1"
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @classmethod
    def of(cls, config: Config) -> InputForm:
        """The form a configuration asks for."""
        return cls(config.train.input_normalisation, config.data.channel_order)

    def __str__(self) -> str:
        return f"{self.channel_order.upper()}, {'-1..1' if self.normalisation == 'minus1_1' else '0..255'}"

    def encode(self, images_BHW6: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """RGB bytes [B,H,W,6] -> floats [B,6,H,W]; a channels_last view, no copy of the layout."""
        images = _swapped(images_BHW6) if self.channel_order == "bgr" else images_BHW6
        values = images.permute(0, 3, 1, 2).to(dtype)
        return values / 127.5 - 1.0 if self.normalisation == "minus1_1" else values

    def of_other(self, images_B6HW: torch.Tensor, form: InputForm) -> torch.Tensor:
        """Encoded images [B,6,H,W] of another form in this one (teacher and student may differ)."""
        values = images_B6HW
        if form.channel_order != self.channel_order:
            values = values[:, [2, 1, 0, 5, 4, 3]]
        if form.normalisation == self.normalisation:
            return values
        return (values + 1.0) * 127.5 if form.normalisation == "minus1_1" else values / 127.5 - 1.0

    def picture(self, images_6HW: torch.Tensor) -> NDArray[np.uint8]:
        """The first image of what is encoded (a pair, or its second image alone) as RGB bytes [H,W,3], for people."""
        values = images_6HW[:3].permute(1, 2, 0).float()
        if self.normalisation == "minus1_1":
            values = (values + 1.0) * 127.5
        if self.channel_order == "bgr":
            values = values.flip(-1)
        found: NDArray[np.uint8] = values.round().clamp(0, 255).to(torch.uint8).numpy()
        return found


def _swapped(images_BHW6: torch.Tensor) -> torch.Tensor:
    """The channels of both images in reverse order."""
    pairs: torch.Tensor = images_BHW6.reshape(*images_BHW6.shape[:-1], 2, 3)
    return pairs.flip(-1).flatten(-2)


def to_flow_batch(
    images_BHW6: NDArray[np.uint8],
    flow_BHW2: NDArray[np.float32],
    valid_BHW: NDArray[np.bool_],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    form: InputForm = InputForm(),  # noqa: B008  (frozen)
) -> FlowBatch:
    """Images in the form a network takes; the NHWC arrays become channels_last tensors without a copy of the layout."""
    images = form.encode(torch.from_numpy(images_BHW6).to(device), dtype)
    flow = torch.from_numpy(flow_BHW2).to(device).permute(0, 3, 1, 2).to(dtype)
    return FlowBatch(images, flow, torch.from_numpy(valid_BHW).to(device))
