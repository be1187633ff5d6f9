r"""Weights of the TF1 supernet or of the published EdgeFlowNet, from an npz file of named arrays.

Six lines of TensorFlow write such a file from a checkpoint (``model.ckpt-N.index`` and ``.data-*``):

    import numpy as np, tensorflow as tf
    reader = tf.train.load_checkpoint("model.ckpt-N")
    leaves = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    names = [name for name in reader.get_variable_to_shape_map() if name.split("/")[-1] in leaves]
    arrays = {"weights/" + name: reader.get_tensor(name) for name in names}
    np.savez("tf1.npz", **arrays)

TF numbers its scopes in the order of graph construction (``conv_bn_relu4/conv5/E1_conv``), so the numbers mean
nothing and only the parts that name a stage, a branch, a block or a kernel are read.  In EdgeFlowNet's graph the
scopes have no other name (``ResBlock9/ConvBNReLUBlock10/Conv11``): there the order of the numbers is what counts.
Kernels are HWIO there (HWOI of a transposed convolution), OIHW (IOHW) here.  Arrays outside ``weights/`` (inputs and
outputs stored for comparison) are not read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import Conv, StagedNet, TransposedConv
from edgeflownas.models.flownet import EdgeFlowNet, slot_options
from edgeflownas.space import SPACES

PREFIX = "weights/"
WORDS = {"supernet": "the TF1 supernet", "edgeflownet": "the published EdgeFlowNet"}
LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KINDS: dict[type, str] = {BatchNorm: "BN", Conv: "Conv", TransposedConv: "ConvTranspose"}
BLOCK_PARTS = {"conv1_conv": "conv1", "conv2": "conv2", "conv1_bn": "bn1", "bn2": "bn2"}
LEAF = r"(?P<leaf>kernel|gamma|beta|moving_mean|moving_variance)$"
BLOCK = re.compile(
    r"(?:^|/)(?P<stage>[ED]B\d)/branch(?P<depth>\d)_block(?P<block>\d)/(?:.+/)?(?P<part>conv1_conv|conv2|conv1_bn|bn2)/"
    + LEAF
)
CHOICE = re.compile(r"(?:^|/)(?P<stage>H\d(?:Out)?)/(?:.+/)?k(?P<kernel>\d)(?:_conv)?/" + LEAF)
PLAIN = re.compile(r"(?:^|/)(?P<stage>E\d|Down\d|Up\d|H\d)_?(?P<part>conv|bn)/" + LEAF, re.IGNORECASE)
STEM = re.compile(r"(?:^|/)(?P<stage>E\d)/(?:.+/)?k(?P<kernel>\d)_(?P<down>down_)?(?P<part>conv|bn)/" + LEAF)
DILATED = re.compile(r"(?:^|/)(?P<stage>E\d)/k(?P<kernel>\d)_dilated/(?:.+/)?(?P<part>conv|bn)/" + LEAF)
ATTENTION = re.compile(r"(?:^|/)eca_bottleneck_conv1d/(?P<leaf>kernel|bias)$")
GATE = re.compile(r"(?:^|/)global_gate_4x_proj/(?P<leaf>kernel)$")
NUMBERED = re.compile(
    r"(?:^|/)(?P<kind>Conv|ConvTranspose|BN)(?P<number>\d+)/(?:conv2d|conv2d_transpose|batch_normalization)(?:_\d+)?/"
    r"(?P<leaf>kernel|bias|gamma|beta|moving_mean|moving_variance)$"
)
TRANSPOSED = re.compile(r"(?:^|/)ConvTranspose\d+/conv2d_transpose(?:_\d+)?/kernel$")


def parameter_name(tf_name: str, kernel_of: Mapping[str, int | str]) -> str | None:
    """Name in :class:`FlowNet` of a TF variable, or None; ``kernel_of`` gives the kernel of stages without a choice."""
    if match := BLOCK.search(tf_name):
        stage, block = match["stage"], int(match["block"]) - 1
        return f"{stage}.depth{match['depth']}.{block}.{BLOCK_PARTS[match['part']]}.{LEAVES[match['leaf']]}"
    if match := CHOICE.search(tf_name):
        return f"{match['stage']}.k{match['kernel']}.{LEAVES[match['leaf']]}"
    if match := STEM.search(tf_name) or DILATED.search(tf_name):  # chains: convolution, batch norm, ReLU a link
        size = "{0}x{0}".format(match["kernel"])
        dilated = "down" not in match.groupdict()
        chain = f"{size}_dilated{size}" if dilated or match["down"] else size
        place = 3 * dilated + (match["part"] == "bn")
        return f"{match['stage']}.conv{chain}.{place}.{LEAVES[match['leaf']]}"
    if match := ATTENTION.search(tf_name):
        return f"ECA.{LEAVES[match['leaf']]}"
    if match := GATE.search(tf_name):
        return f"Gate.{LEAVES[match['leaf']]}"
    if match := PLAIN.search(tf_name):
        stage = match["stage"]
        part = "bn" if match["part"].lower() == "bn" else f"k{kernel_of.get(stage)}"
        return f"{stage}.{part}.{LEAVES[match['leaf']]}"
    return None


def load_tf1_weights(model: StagedNet, path: str | Path) -> None:
    """Fill ``model`` with the TF1 weights in ``path`` (npz); nothing is changed when anything is wrong.

    Raises:
        DataError: unreadable file, another model or width, or a missing, unexpected, repeated, mis-shaped or
            non-finite array, each by name.
    """
    arrays = _read(Path(path))
    kind = _model(arrays)
    if (kind == "edgeflownet") != isinstance(model, EdgeFlowNet):
        wanted_kind = "EdgeFlowNet" if kind == "edgeflownet" else "FlowNet"
        raise DataError(
            f"{path}: weights of {WORDS[kind]}, the model is a {type(model).__name__}: make a {wanted_kind}"
        )
    width = _width(arrays, path)
    if width != model.width:
        raise DataError(
            f"{path}: weights of width {width}, the model has width {model.width}: make it with width={width}"
        )
    wanted = model.state_dict()
    space = _space(arrays)
    if kind == "supernet" and model.space.name in SPACES and model.space.name != space:
        raise DataError(
            f"{path}: weights of search space {space}, the model is of space {model.space.name}: make it with "
            f'get_space("{space}")'
        )
    if isinstance(model, EdgeFlowNet):
        names = _numbered_names(arrays, model, path)
    else:
        options = slot_options(model.space)  # TF names a stage with one option without its kernel
        kernels = {stage: known[0] for stage, known in options.items() if len(known) == 1}
        names = {tf_name: parameter_name(tf_name, kernels) or tf_name for tf_name in arrays}
    found = _by_parameter(arrays, names, path)
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(tf_name for name, (tf_name, _) in found.items() if name not in wanted)
    if missing or unexpected:
        hint = "a subnet is loaded through its supernet: load_tf1_weights(net, path), then net.subnet(arch)"
        raise DataError(f"{path}: {_listed('missing', missing)}; {_listed('unexpected', unexpected)} ({hint})")
    tensors = {name: _tensor(array, wanted[name], f"{path}: {tf}") for name, (tf, array) in found.items()}
    model.load_state_dict(tensors)


def tf1_width(path: str | Path) -> int:
    """Width of the network whose weights ``path`` holds (output channels of its first convolution)."""
    return _width(_read(Path(path)), path)


def tf1_model(path: str | Path) -> Literal["supernet", "edgeflownet"]:
    """Which network's weights ``path`` holds: only EdgeFlowNet has transposed convolutions."""
    return _model(_read(Path(path)))


def tf1_space(path: str | Path) -> str:
    """Name of the search space of the TF1 supernet whose weights ``path`` holds."""
    return _space(_read(Path(path)))


def _space(arrays: dict[str, NDArray[Any]]) -> str:
    """v1 has no branches in the stem; v3 has attention, v2 has not."""
    if not any(STEM.search(name) for name in arrays):
        return "v1"
    return "v3" if any(ATTENTION.search(name) or GATE.search(name) for name in arrays) else "v2"


def _model(arrays: dict[str, NDArray[Any]]) -> Literal["supernet", "edgeflownet"]:
    return "edgeflownet" if any(TRANSPOSED.search(name) for name in arrays) else "supernet"


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file by TF name, without the ``weights/`` prefix where the file uses it."""
    try:
        with path.open("rb") as stream:  # opened here, because numpy leaves a torn file open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array, not an npz file of named weights")
            prefixed = any(name.startswith(PREFIX) for name in file.files)
            return {
                name.removeprefix(PREFIX).removesuffix(":0"): file[name]
                for name in file.files
                if name.startswith(PREFIX) or not prefixed
            }
    except DataError:  # said already
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable npz file of TF1 weights ({error})") from error


def _width(arrays: dict[str, NDArray[Any]], path: str | Path) -> int:
    if _model(arrays) == "edgeflownet":
        layers = _numbered(arrays, path)
        first = arrays.get(layers[min(layers)][1].get("kernel", ""))
    else:
        first = next(
            (a for name, a in arrays.items() if re.search(r"(?:^|/)(?:E0_conv|E0/(?:.+/)?k\d_conv)/kernel$", name)),
            None,
        )
    if first is not None and first.ndim == 4:
        return int(first.shape[-1])
    raise DataError(
        f"{path}: no 4-D array .../E0_conv/kernel (or .../E0/.../k7_conv/kernel) among {len(arrays)}: not "
        "weights of the TF1 supernet (nor of EdgeFlowNet, whose first convolution would be .../Conv2/conv2d/kernel)"
    )


def _numbered(arrays: dict[str, NDArray[Any]], path: str | Path) -> dict[int, tuple[str, dict[str, str]]]:
    """EdgeFlowNet's layers by the number of their scope: kind and, by leaf, TF name.  Other names are left out."""
    layers: dict[int, tuple[str, dict[str, str]]] = {}
    for tf_name in arrays:
        if match := NUMBERED.search(tf_name):
            number = int(match["number"])
            kind, leaves = layers.setdefault(number, (match["kind"], {}))
            if kind != match["kind"] or match["leaf"] in leaves:
                raise DataError(f"{path}: {tf_name}: a second layer or array of number {number}")
            leaves[match["leaf"]] = tf_name
    return layers


def _numbered_names(arrays: dict[str, NDArray[Any]], model: EdgeFlowNet, path: str | Path) -> dict[str, str]:
    """TF name -> parameter name: the layers of both sides in the order of computation, kind by kind."""
    names = {tf_name: tf_name for tf_name in arrays}  # what is no layer stays unexpected
    ours = list(model.layers())
    theirs = [layer for _, layer in sorted(_numbered(arrays, path).items())]
    kinds = [KINDS[type(module)] for _, module in ours]
    if [kind for kind, _ in theirs] != kinds:
        raise DataError(
            f"{path}: {len(theirs)} layers {' '.join(kind for kind, _ in theirs)}; EdgeFlowNet has {len(kinds)}: "
            f"{' '.join(kinds)}"
        )
    for (name, _), (_, leaves) in zip(ours, theirs, strict=True):
        names |= {tf_name: f"{name}.{LEAVES[leaf]}" for leaf, tf_name in leaves.items()}
    return names


def _by_parameter(
    arrays: dict[str, NDArray[Any]], names: dict[str, str], path: str | Path
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Parameter name -> (TF name, array).  A name that cannot be read stays under its own name: unexpected."""
    found: dict[str, tuple[str, NDArray[Any]]] = {}
    for tf_name, array in arrays.items():
        name = names[tf_name]
        if name in found:
            raise DataError(f"{path}: {tf_name} and {found[name][0]} both mean {name}")
        found[name] = (tf_name, array)
    return found


def _tensor(array: NDArray[Any], like: torch.Tensor, place: str) -> torch.Tensor:
    if array.dtype.kind != "f":
        raise DataError(f"{place}: must hold floating-point numbers, got {array.dtype}")
    turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array  # HWIO -> OIHW, HWOI -> IOHW
    if like.ndim == 3 and turned.ndim == 4 and turned.shape[2] == 1:  # a row of channels was convolved as an image
        turned = turned[:, :, 0]
    if turned.shape != like.shape:
        raise DataError(
            f"{place}: shape {list(array.shape)} (as OIHW {list(turned.shape)}), expected {list(like.shape)}"
        )
    if not np.isfinite(turned).all():
        raise DataError(f"{place}: holds NaN or infinite values")
    return torch.from_numpy(np.ascontiguousarray(turned)).to(like)


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what}" + (f": {shown}" if names else "")
