"""EdgeFlowNet, the published single model, as a chain of stages without a choice.

Residual encoder and decoder after the TF1 code of EdgeFlowNet (arXiv 2411.14576): convolutions with bias on the way
down, transposed convolutions with bias on the way up, four channels (flow, uncertainty) predicted at 1/4, 1/2 and 1/1.
Stage names are FlowNet's, whose bilinear baseline is its nearest relative; the differences are the transposed
convolutions, the biases, and the plain (no batch norm, no ReLU) convolutions that change the size inside the backbone.

    net = EdgeFlowNet(width=32, batch_norm="frozen", input_form=InputForm("raw_0_255", "bgr"))
    predictions = net(images)   # images [B,6,H,W], BGR, 0..255

Shapes: features [B,C,H,W]; kernels [out,in,k,k] of a convolution, [in,out,k,k] of a transposed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import (
    OUTPUT_CHANNELS,
    BatchNormKind,
    Conv,
    InputForm,
    Stage,
    StagedNet,
    number_batchnorms,
)
from edgeflownas.randomness import uniforms
from edgeflownas.space import SearchSpace

SPACE = SearchSpace("edgeflownet", ())
EPS = 1e-3  # of its batch norm: TF1's default


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


def _convolution(transposed: bool, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return (
        TransposedConv(inputs, outputs, kernel, stride)
        if transposed
        else Conv(inputs, outputs, kernel, stride, bias=True)
    )


class _Convolution(nn.Module):
    """A convolution, alone or (``norm``) with batch norm and ReLU: one stage."""

    def __init__(
        self, transposed: bool, inputs: int, outputs: int, kernel: int, stride: int, norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = _convolution(transposed, inputs, outputs, kernel, stride)
        self.bn = BatchNorm(outputs, EPS) if norm else None

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features or a prediction; there is no option but 0."""
        y: Tensor = self.conv(x)
        if self.bn is None:
            return y
        normalised: Tensor = self.bn(y)
        return normalised.relu_()


class _Residual(nn.Module):
    """conv3 BN ReLU conv3 BN, add the input, ReLU; with transposed convolutions in the decoder."""

    def __init__(self, transposed: bool, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(transposed, channels, channels, 3)
        self.bn1 = BatchNorm(channels, EPS)
        self.conv2 = _convolution(transposed, channels, channels, 3)
        self.bn2 = BatchNorm(channels, EPS)

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features of the same shape; there is no option but 0."""
        y: Tensor = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).add_(x)
        return y.relu_()


class EdgeFlowNet(StagedNet):
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
        self.batch_norm = batch_norm
        c, out = width, OUTPUT_CHANNELS
        layout: list[tuple[str, nn.Module, int | None]] = [
            ("E0", _Convolution(False, 6, c, 7, 2, norm=True), None),
            ("E1", _Convolution(False, c, 2 * c, 5, 2, norm=True), None),
            ("EB0", _Residual(False, 2 * c), None),
            ("Down1", _Convolution(False, 2 * c, 4 * c, 3, 2), None),
            ("EB1", _Residual(False, 4 * c), None),
            ("Down2", _Convolution(False, 4 * c, 8 * c, 3, 2), None),
            ("DB0", _Residual(True, 8 * c), None),
            ("Up1", _Convolution(True, 8 * c, 4 * c, 3, 2), None),
            ("DB1", _Residual(True, 4 * c), None),
            ("Up2", _Convolution(True, 4 * c, 2 * c, 3, 2), None),
            ("H0Out", _Convolution(True, 2 * c, out, 7, 1), 0),
            ("H1", _Convolution(True, 2 * c, c, 5, 2, norm=True), None),
            ("H1Out", _Convolution(True, c, out, 7, 1), 1),
            ("H2", _Convolution(True, c, c // 2, 7, 2, norm=True), None),
            ("H2Out", _Convolution(True, c // 2, out, 7, 1), 2),
        ]
        for name, module, _ in layout:
            self.add_module(name, module)
        self.stages = tuple(Stage(name, None, output) for name, _, output in layout)
        self.batchnorms = number_batchnorms(self, batch_norm == "frozen")
        if seed is not None:
            _initialise(self, seed)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Convolutions and batch norms by name, in the order of computation (and of the TF1 graph)."""
        kinds = (Conv, TransposedConv, BatchNorm)
        return ((name, module) for name, module in self.named_modules() if isinstance(module, kinds))


@torch.no_grad()
def _initialise(net: nn.Module, seed: int) -> None:
    """Glorot uniform kernels (TF1's default, symmetric in inputs and outputs), each from its own stream; biases 0."""
    for name, parameter in net.named_parameters():
        if parameter.dim() == 4:
            u = uniforms(seed, f"init.{name}", count=parameter.numel())
            limit = math.sqrt(
                6.0 / ((parameter.shape[0] + parameter.shape[1]) * parameter.shape[2] * parameter.shape[3])
            )
            parameter.copy_(torch.from_numpy((2.0 * u - 1.0) * limit).reshape(parameter.shape))
