"""FlowNet, loss, EPE and gradient against outputs of the TF1 graphs (width 8, three codes, eval and train mode)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numeric import relative_difference

from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.metrics import epe, sample_errors
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.tf1 import load_tf1_weights, tf1_space, tf1_width
from edgeflownas.space import get_space

pytestmark = pytest.mark.golden
# Of the largest number of an output: 2 to 56 px in eval mode, 3 to 12 in train mode. Correct programs are about 6e-5 px
# from TF1; in train mode, where the statistics of two small maps are rounded as well, up to twice that by processor.
TOLERANCE = {"eval": 1e-5, "train": 4e-5}
CODES = {
    "v1": ("000000000", "000021222", "210210210"),
    "v2": ("00000000000", "00000011111", "21021010101"),
    "v3": ("00000000000", "21000011111", "12021010101"),
}


@pytest.fixture(scope="module")
def golden(shared: Path) -> Iterator[Any]:
    """By space: the arrays of its file, and the network with its weights."""
    found = {}
    for space in CODES:
        path = shared / "golden" / f"tf1_supernet_{'' if space == 'v1' else space + '_'}width8.npz"
        if not path.exists():
            pytest.skip(f"{path} not found")
        assert tf1_space(path) == space
        net = FlowNet(get_space(space), width=tf1_width(path))
        load_tf1_weights(net, path)
        found[space] = np.load(path, allow_pickle=False), net
    yield found
    for file, _ in found.values():
        file.close()


def to_nchw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("space", "code"), [(space, code) for space, codes in CODES.items() for code in codes])
def test_outputs_loss_and_gradient(golden: Any, space: str, code: str, mode: str) -> None:
    golden, net = golden[space]
    net.train(mode == "train")
    net.zero_grad()
    flow = to_nchw(golden["flow_label_nhwc"])
    predictions = net(to_nchw(golden["input_nhwc"]), code)
    loss = multiscale_loss(predictions, flow)
    total, optical, uncertainty = (float(term.detach()) for term in loss)
    expected = {key.split("/")[-1]: golden[key] for key in golden.files if key.startswith(f"arch_{code}/{mode}/")}
    accumulated = accumulate(predictions)[-1]
    for prediction, name in zip([*predictions, accumulated], ("pred0", "pred1", "pred2", "accumulated"), strict=True):
        assert relative_difference(prediction, to_nchw(expected[name])) < TOLERANCE[mode], name
    assert epe(*sample_errors(accumulated.detach(), flow)) == pytest.approx(float(expected["epe"]), rel=1e-4)
    assert total == pytest.approx(float(expected["loss_total"]), rel=1e-4)
    assert optical == pytest.approx(float(expected["loss_optical"]), rel=1e-4)
    assert uncertainty == pytest.approx(float(expected["loss_uncertainty"]), rel=1e-4)
    if mode == "train":
        # A unit at ReLU's kink falls to either side by rounding (norms of 234.373 and 234.439 for one code of v2), so
        # theirs has to be that of the images, or of images that differ from them by float32's last bit.
        theirs = pytest.approx(float(expected["grad_norm_of_total"]), rel=1e-4)
        assert any(gradient_norm(net, golden, code, nudge) == theirs for nudge in range(16))


def gradient_norm(net: Any, golden: Any, code: str, nudge: int) -> float:
    """Global norm of the loss's gradient; with ``nudge`` of images moved by some 1e-7 of each value."""
    images = to_nchw(golden["input_nhwc"])
    if nudge:
        images = images * (1 + 1e-7 * torch.randn(images.shape, generator=torch.Generator().manual_seed(nudge)))
    net.zero_grad()
    torch.autograd.backward(multiscale_loss(net(images, code), to_nchw(golden["flow_label_nhwc"])).total)
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return float(torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt())
