"""TF1 weights: names with other scope numbers, and everything that can be wrong with a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeflownas.errors import DataError
from edgeflownas.models.blocks import TransposedConv
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.models.tf1 import load_tf1_weights, parameter_name, tf1_model, tf1_width
from edgeflownas.space import get_space

V1 = get_space("v1")
Arrays = dict[str, np.ndarray]
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def tf_name(name: str, counter: Callable[[], int]) -> str:
    """The name TF1 would give a parameter of ours, with scope numbers from ``counter``."""
    stage, option, *rest = name.split(".")
    n = counter()
    if option.startswith("depth"):
        block, part, last = rest
        scope = f"weights/backbone/{stage}/branch{option[5:]}_block{int(block) + 1}"
        return {
            "conv1": f"{scope}/conv_bn_relu{n}/conv{n}/conv1_conv/kernel",
            "bn1": f"{scope}/conv_bn_relu{n}/bn{n}/conv1_bn/{NORM[last]}",
            "conv2": f"{scope}/conv{n}/conv2/kernel",
            "bn2": f"{scope}/bn{n}/bn2/{NORM[last]}",
        }[part]
    joint = "" if stage.startswith(("Down", "Up", "H")) else "_"
    if option == "bn":
        return f"weights/net/bn{n}/{stage}{joint}{'BN' if not joint else 'bn'}/{NORM[rest[0]]}"
    if stage.startswith("H"):
        up = stage in ("H1", "H2")
        return (
            f"weights/head/{stage}/"
            + (f"resize_conv{n}/conv{n}/{option}_conv" if up else f"conv{n}/{option}")
            + "/kernel"
        )
    return f"weights/net/conv{n}/{stage}{'Conv' if stage.startswith('Down') else '_conv'}/kernel"


def turned(value: torch.Tensor) -> np.ndarray:
    return value.numpy().transpose(2, 3, 1, 0) if value.ndim == 4 else value.numpy()


@pytest.fixture(scope="module")
def source() -> FlowNet:
    net = FlowNet(V1, width=4, seed=3)
    for bn in net.batchnorms:
        bn.running_mean.normal_(), bn.running_var.uniform_(0.5, 2.0)
    return net


@pytest.fixture(scope="module")
def arrays(source: FlowNet) -> Arrays:
    numbers = iter(range(1, 10_000, 7))
    return {tf_name(name, lambda: next(numbers)): turned(value) for name, value in source.state_dict().items()}


def numbered(net: EdgeFlowNet) -> Arrays:
    """The names TF1 gives EdgeFlowNet's variables: nothing but running numbers (with gaps for ReLUs and blocks)."""
    arrays: Arrays = {}
    for number, (name, module) in enumerate(net.layers()):
        kind = "BN" if "bn" in name else "ConvTranspose" if isinstance(module, TransposedConv) else "Conv"
        inner = {"BN": "batch_normalization", "Conv": "conv2d", "ConvTranspose": "conv2d_transpose"}[kind]
        for key, value in module.state_dict().items():
            last = NORM[key] if kind == "BN" else {"weight": "kernel", "bias": "bias"}[key]
            arrays[f"weights/Net0/ResNetBlock0/{kind}{3 * number + 2}/{inner}/{last}"] = turned(value)
    return arrays


@pytest.fixture(scope="module")
def single() -> EdgeFlowNet:
    net = EdgeFlowNet(4, seed=3)
    for value in net.state_dict().values():
        value.uniform_(0.5, 2.0)
    return net


def save(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


def test_round_trip_whatever_the_scope_numbers(source: FlowNet, arrays: Arrays, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.npz", {**arrays, "input_nhwc": np.zeros((2, 2))})
    net = FlowNet(V1, width=tf1_width(path), seed=0)
    load_tf1_weights(net, path)
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_without_the_prefix_and_with_output_suffix(source: FlowNet, arrays: Arrays, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.npz", {name.removeprefix("weights/") + ":0": a for name, a in arrays.items()})
    net = FlowNet(V1, width=4, seed=0)
    load_tf1_weights(net, path)
    assert torch.equal(net.get_parameter("H2.k7.weight"), source.get_parameter("H2.k7.weight"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/conv_bn_relu0/bn2/E0_bn/gamma", "E0.bn.weight"),
        ("a/EB0/branch2_block1/conv_bn_relu15/bn2/conv1_bn/beta", "EB0.depth2.0.bn1.bias"),
        ("a/EB0/branch3_block2/conv2/conv2/kernel", "EB0.depth3.1.conv2.weight"),
        ("a/conv50/Down1Conv/kernel", "Down1.k3.weight"),
        ("b/H1/resize_conv1/conv2/k7_conv/kernel", "H1.k7.weight"),
        ("b/H0Out/conv190/k5/kernel", "H0Out.k5.weight"),
        ("b/bn199/H1BN/moving_variance", "H1.bn.running_var"),
        ("b/H0Out/conv190/k5/kernel/Adam", None),
        ("global_step", None),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert parameter_name(name, {"Down1": 3}) == expected


Change = Callable[[str, np.ndarray], Arrays]
FAULTS: list[tuple[str, Change, str]] = [
    (r"Up1BN/beta$", lambda n, a: {}, r"1 missing: Up1\.bn\.bias"),
    (r"Up1BN/beta$", lambda n, a: {n: a, "weights/net/Extra/kernel": a}, "1 unexpected: net/Extra/kernel"),
    (r"Up1BN/beta$", lambda n, a: {n: a, n.replace("net/", "net/again/"): a}, r"both mean Up1\.bn\.bias"),
    (r"Up1BN/beta$", lambda n, a: {n: a[:-1]}, r"Up1BN/beta: shape \[15\].*expected \[16\]"),
    (r"Down1Conv/kernel$", lambda n, a: {n: a.transpose(3, 2, 0, 1)}, "Down1Conv/kernel: shape"),
    (r"Up1BN/beta$", lambda n, a: {n: np.full_like(a, np.nan)}, "Up1BN/beta: holds NaN"),
    (r"Up1BN/beta$", lambda n, a: {n: a.astype(np.int32)}, "floating-point"),
    (r"Up1BN/beta$", lambda n, a: {n: np.array([{}], dtype=object)}, "not readable as an npz"),
    (r"E0_conv/kernel$", lambda n, a: {}, "E0_conv/kernel"),
]
NUMBERED_FAULTS: list[tuple[str, Change, str]] = [
    (r"/BN5/.*/beta$", lambda n, a: {}, r"1 missing: E0\.bn\.bias"),
    (r"/BN5/.*/beta$", lambda n, a: {n: a, "weights/more/kernel": a}, "1 unexpected: more/kernel"),
    (r"/BN5/.*/beta$", lambda n, a: {n: a, n.replace("BN5", "Conv5"): a}, "a second layer or array of number 5"),
    (r"/BN5/.*/beta$", lambda n, a: {n: a, n.replace("Net0", "Net1"): a}, "a second layer or array of number 5"),
    (r"/BN5/.*/beta$", lambda n, a: {n: a, n.replace("BN5", "BN3"): a}, "32 layers Conv BN BN .*EdgeFlowNet has 31"),
    (r"/BN5/.*/beta$", lambda n, a: {n: a[:-1]}, r"beta: shape \[3\].*expected \[4\]"),
    (r"/Conv2/.*/kernel$", lambda n, a: {}, "not weights of the TF1 supernet"),
    (r"/Conv2/.*/kernel$", lambda n, a: {n: np.full_like(a, np.inf)}, "holds NaN or infinite"),
    (r"/ConvTranspose92/.*/bias$", lambda n, a: {n: a.astype(np.int64)}, "floating-point"),
]


@pytest.mark.parametrize(
    ("model", "pattern", "change", "message"),
    [*(("supernet", *fault) for fault in FAULTS), *(("edgeflownet", *fault) for fault in NUMBERED_FAULTS)],
)
def test_faults_are_named_and_change_nothing(
    arrays: Arrays, single: EdgeFlowNet, tmp_path: Path, model: str, pattern: str, change: Change, message: str
) -> None:
    sound = arrays if model == "supernet" else numbered(single)
    (name,) = [name for name in sound if re.search(pattern, name)]
    rest = {other: array for other, array in sound.items() if other != name}
    path = save(tmp_path / "weights.npz", rest | change(name, sound[name]))
    net = FlowNet(V1, width=4, seed=0) if model == "supernet" else EdgeFlowNet(4, seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(DataError, match=message):
        load_tf1_weights(net, path)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_another_width_and_a_subnet(arrays: Arrays, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.npz", arrays)
    with pytest.raises(DataError, match="width 4, the model has width 8"):
        load_tf1_weights(FlowNet(V1, width=8, seed=None), path)
    with pytest.raises(DataError, match="unexpected.*through its supernet"):
        load_tf1_weights(FlowNet(V1, width=4, seed=None).subnet("000000000"), path)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    net = FlowNet(V1, width=4, seed=None)
    text, single, torn = tmp_path / "text.npz", tmp_path / "single.npy", tmp_path / "torn.npz"
    text.write_text("not a zip")
    np.save(single, np.zeros(3))
    torn.write_bytes(save(tmp_path / "whole.npz", {"weights/a": np.zeros(99)}).read_bytes()[:-40])
    for path in (text, single, torn, tmp_path / "absent.npz", tmp_path):
        with pytest.raises(DataError, match=re.escape(str(path))):
            load_tf1_weights(net, path)


@pytest.mark.parametrize("kind", ["frozen", "trained"])
def test_edgeflownet_round_trip_by_the_order_of_its_layers(single: EdgeFlowNet, tmp_path: Path, kind: str) -> None:
    arrays = numbered(single)
    path = save(tmp_path / "weights.npz", dict(sorted(arrays.items())))  # the order in the file means nothing
    assert (tf1_model(path), tf1_width(path)) == ("edgeflownet", 4)
    net = EdgeFlowNet(4, kind, seed=0)  # type: ignore[arg-type]
    load_tf1_weights(net, path)
    for name, value in single.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_weights_of_the_other_model(single: EdgeFlowNet, arrays: Arrays, tmp_path: Path) -> None:
    of_supernet, of_single = save(tmp_path / "a.npz", arrays), save(tmp_path / "b.npz", numbered(single))
    with pytest.raises(DataError, match="weights of the TF1 supernet, the model is a EdgeFlowNet: make a FlowNet"):
        load_tf1_weights(EdgeFlowNet(4, seed=None), of_supernet)
    with pytest.raises(DataError, match="weights of the published EdgeFlowNet, the model is a FlowNet"):
        load_tf1_weights(FlowNet(V1, width=4, seed=None), of_single)
