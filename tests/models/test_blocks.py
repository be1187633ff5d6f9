"""SAME padding, upsampling, choices; channel attention and gate against numpy; the form images take, and back."""

import numpy as np
import pytest
import torch
from numeric import FLOAT32
from numpy.typing import NDArray

from edgeflownas.config import Config, DataConfig, TrainConfig
from edgeflownas.models.blocks import (
    ChainChoice,
    ContextGate,
    Conv,
    EfficientChannelAttention,
    InputForm,
    OutputChoice,
    ResidualBlock,
    attention_kernel,
    conv_chain,
    global_mean,
    replicate_pad,
    to_flow_batch,
    up2,
    up2_pooled,
)
from edgeflownas.models.flownet import initialise


def upsampled_by_definition(x):
    """u[2i] = x[i], u[2i+1] = (x[i] + x[min(i+1, H-1)]) / 2 along both axes, written as loops."""
    for axis in (2, 3):
        parts = []
        for i in range(x.shape[axis]):
            here, following = x.select(axis, i), x.select(axis, min(i + 1, x.shape[axis] - 1))
            parts += [here, (here + following) / 2]
        x = torch.stack(parts, axis)
    return x


@pytest.mark.parametrize("form", [up2, up2_pooled])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (1, 2, 1, 3)])
def test_up2_by_definition(form, shape):
    assert callable(form)
    x = torch.randn(shape, dtype=torch.float64)
    for layout in (torch.channels_last, torch.contiguous_format):
        torch.testing.assert_close(form(x.contiguous(memory_format=layout)), upsampled_by_definition(x))


def test_up2_gradient():
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(up2, (x,))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [8, 9, 16])
def test_same_convolution_stride_2(kernel, size):
    """Output i is centred as TensorFlow centres it: windows start at 2 i - floor(total padding / 2)."""
    conv = Conv(1, 1, kernel, stride=2)
    torch.nn.init.ones_(conv.weight)
    x = np.random.default_rng(0).normal(size=(size, size))
    with torch.no_grad():
        ours = conv(torch.from_numpy(x).float()[None, None])[0, 0].numpy()
    outputs = -(-size // 2)
    before = max((outputs - 1) * 2 + kernel - size, 0) // 2
    for i in range(outputs):
        top = 2 * i - before
        window = x[max(top, 0) : top + kernel, max(-before, 0) : -before + kernel]
        assert ours[i, 0] == pytest.approx(window.sum(), rel=0, abs=4 * FLOAT32 * np.abs(window).sum())


def test_replicate_pad_and_its_gradient():
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.pad(x, (0, 3, 0, 2), mode="replicate")
    assert torch.equal(replicate_pad(x, 3, 2), expected)
    assert replicate_pad(x, 0, 0) is x
    assert torch.autograd.gradcheck(lambda t: replicate_pad(t, 3, 2), (x,))


def test_residual_block_starts_from_its_input():
    """Zero kernels make the block ReLU(x); and its in-place sums must not touch the input."""
    x = torch.randn(2, 4, 6, 6)
    kept = x.clone()
    assert torch.equal(ResidualBlock(4)(x), x.relu())
    assert torch.equal(x, kept)


def test_only_the_chosen_option_gets_a_gradient():
    choice = OutputChoice(4, (3, 5, 7))
    torch.autograd.backward(choice(torch.randn(1, 4, 6, 6), 1).sum())
    touched = {name for name, parameter in choice.named_parameters() if parameter.grad is not None}
    assert touched == {"k5.weight"}


@pytest.mark.parametrize(
    ("option", "links"),
    [
        ("3x3", [(3, 1)]),
        ("5x5", [(5, 1)]),
        ("3x3+dilated3x3", [(3, 1), (3, 2)]),
        ("11x11+3x3+dilated5x5", [(11, 1), (3, 1), (5, 2)]),
        *((text, None) for text in ("", "3x5", "4x4", "dilated3x3", "3x3+", "3x3 + 3x3", "3x3+3", "0x0")),
    ],
)
def test_chains_in_words(option, links):
    assert conv_chain(option) == links


@pytest.mark.parametrize(("option", "kernels"), [("3x3", (3,)), ("5x5", (5,)), ("3x3+dilated3x3", (3, 3))])
def test_chain_of_convolutions_by_definition(option, kernels):
    """SAME padding of stride 2 puts the larger part after; the dilated link keeps the size."""
    module = ChainChoice(2, 4, (option, "7x7")).double().eval()
    generator = torch.Generator().manual_seed(0)
    convolutions = [link for link in module.get_submodule(module.labels[0]).children() if isinstance(link, Conv)]
    assert tuple(conv.kernel for conv in convolutions) == kernels
    x = torch.randn((2, 2, 12, 16), generator=generator, dtype=torch.float64)
    y, stride, dilation = x, 2, 1
    for conv in convolutions:
        torch.nn.init.normal_(conv.weight, generator=generator)
        reach = (conv.kernel - 1) * dilation
        before = (reach - 1) // 2 if stride == 2 else reach // 2
        y = torch.nn.functional.pad(y, (before, (reach - (stride == 2)) - before) * 2)
        y = torch.nn.functional.conv2d(y, conv.weight, stride=stride, dilation=dilation).relu() / (1 + 1e-5) ** 0.5
        stride, dilation = 1, 2
    torch.testing.assert_close(module(x, 0), y, rtol=1e-12, atol=1e-12)
    assert y.shape == (2, 4, 6, 8)


Array = NDArray[np.float64]


def features(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_kernels_of_the_paper():
    """Its reference code: t = int(abs((log2(C) + b) / gamma)), k = t if t is odd else t + 1."""
    for channels in (2, 4, 8, 16, 64, 100, 256, 512, 2048):
        t = int(abs((np.log2(channels) + 1) / 2))
        assert attention_kernel(channels) == (t if t % 2 else t + 1)
    assert attention_kernel(256) == attention_kernel(512) == 5


@pytest.mark.parametrize("channels", [16, 256])
def test_channel_attention_by_definition(channels):
    x, module = features(3, channels, 4, 5), EfficientChannelAttention(channels).double()
    initialise(module, 3)
    kernel = module.weight.detach().numpy()[0, 0]
    means = np.pad(x.numpy().mean((2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    scale = np.stack([sigmoid(means[:, c : c + len(kernel)] @ kernel) for c in range(channels)], 1)
    np.testing.assert_allclose(module(x).detach().numpy(), x.numpy() * scale[:, :, None, None], rtol=1e-12)
    assert kernel.std() > 0.2 and module(x[:1]).shape == (1, channels, 4, 5)


def test_gate_by_definition():
    x, deep, gate = features(2, 4, 6, 7), features(2, 16, 3, 3, seed=1), ContextGate(16, 4).double()
    initialise(gate, 0)
    context = global_mean(deep)
    assert context.shape == (2, 16, 1, 1)
    scale = sigmoid(deep.numpy().mean((2, 3)) @ gate.weight.detach().numpy()[:, :, 0, 0].T)
    np.testing.assert_allclose(gate(x, context).detach().numpy(), x.numpy() * scale[:, :, None, None], rtol=1e-12)


def test_gradients_and_memory_format():
    eca, gate = EfficientChannelAttention(16).double(), ContextGate(16, 2).double()
    for module in (eca, gate):
        initialise(module, 1)
    x = features(2, 16, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(eca, (x,))
    assert torch.autograd.gradcheck(
        gate, (features(2, 2, 2, 3).requires_grad_(), features(2, 16, 1, 1).requires_grad_())
    )
    last = x.detach().contiguous(memory_format=torch.channels_last)
    assert eca(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(eca(last), eca(x), rtol=1e-14, atol=0)


FORMS = [InputForm(n, c) for n in ("minus1_1", "raw_0_255") for c in ("rgb", "bgr")]  # type: ignore[arg-type]
CPU = torch.device("cpu")


def pair(batch=2, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 6), dtype=np.uint8)


def encoded(form, images, dtype=torch.float32):
    flow, valid = np.zeros((*images.shape[:3], 2), np.float32), np.ones(images.shape[:3], bool)
    return to_flow_batch(images, flow, valid, CPU, dtype, form).images


def test_values_and_order():
    images = pair()
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(encoded(InputForm(), images), planes.float() / 127.5 - 1.0)
    assert torch.equal(encoded(InputForm("raw_0_255"), images), planes.float())
    assert torch.equal(encoded(InputForm("raw_0_255", "bgr"), images), planes[:, [2, 1, 0, 5, 4, 3]].float())
    assert torch.equal(
        encoded(InputForm(), images), encoded(InputForm("minus1_1", "bgr"), images)[:, [2, 1, 0, 5, 4, 3]]
    )


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_picture_shows_the_bytes_of_image_1(form, dtype):
    images = pair()
    values = encoded(form, images, dtype)
    assert values.is_contiguous(memory_format=torch.channels_last) and values.dtype == dtype
    picture = form.picture(values[1])
    assert picture.dtype == np.uint8 and np.array_equal(picture, images[1, ..., :3])


def test_the_configuration_decides():
    config = Config(train=TrainConfig(input_normalisation="raw_0_255"), data=DataConfig(channel_order="bgr"))
    assert InputForm.of(config) == InputForm("raw_0_255", "bgr") and str(InputForm.of(config)) == "BGR, 0..255"
    assert InputForm.of(Config()) == InputForm()
