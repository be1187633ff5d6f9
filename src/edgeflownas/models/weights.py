r"""Weights of the TF1 supernet, from an npz file of named arrays.

Six lines of TensorFlow write such a file from a checkpoint (``model.ckpt-N.index`` and ``.data-*``):

    import numpy as np, tensorflow as tf
    reader = tf.train.load_checkpoint("model.ckpt-N")
    leaves = ("kernel", "gamma", "beta", "moving_mean", "moving_variance")
    names = [name for name in reader.get_variable_to_shape_map() if name.split("/")[-1] in leaves]
    arrays = {"weights/" + name: reader.get_tensor(name) for name in names}
    np.savez("tf1_supernet.npz", **arrays)

TF numbers its scopes in the order of graph construction (``conv_bn_relu4/conv5/E1_conv``), so the numbers mean
nothing and only the parts that name a stage, a branch, a block or a kernel are read.  Kernels are HWIO there, OIHW
here.  Arrays outside ``weights/`` (inputs and outputs stored for comparison) are not read.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.models.flownet import FlowNet

__all__ = ["load_tf1_weights", "tf1_width"]

PREFIX = "weights/"
LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
BLOCK_PARTS = {"conv1_conv": "conv1", "conv2": "conv2", "conv1_bn": "bn1", "bn2": "bn2"}
LEAF = r"(?P<leaf>kernel|gamma|beta|moving_mean|moving_variance)$"
BLOCK = re.compile(
    r"(?:^|/)(?P<stage>[ED]B\d)/branch(?P<depth>\d)_block(?P<block>\d)/(?:.+/)?(?P<part>conv1_conv|conv2|conv1_bn|bn2)/"
    + LEAF
)
CHOICE = re.compile(r"(?:^|/)(?P<stage>H\d(?:Out)?)/(?:.+/)?k(?P<kernel>\d)(?:_conv)?/" + LEAF)
PLAIN = re.compile(r"(?:^|/)(?P<stage>E\d|Down\d|Up\d|H\d)_?(?P<part>conv|bn)/" + LEAF, re.IGNORECASE)


def parameter_name(tf_name: str, kernel_of: dict[str, int]) -> str | None:
    """Name in :class:`FlowNet` of a TF variable, or None; ``kernel_of`` gives the kernel of stages without a choice."""
    if match := BLOCK.search(tf_name):
        stage, block = match["stage"], int(match["block"]) - 1
        return f"{stage}.depth{match['depth']}.{block}.{BLOCK_PARTS[match['part']]}.{LEAVES[match['leaf']]}"
    if match := CHOICE.search(tf_name):
        return f"{match['stage']}.k{match['kernel']}.{LEAVES[match['leaf']]}"
    if match := PLAIN.search(tf_name):
        stage = match["stage"]
        part = "bn" if match["part"].lower() == "bn" else f"k{kernel_of.get(stage)}"
        return f"{stage}.{part}.{LEAVES[match['leaf']]}"
    return None


def load_tf1_weights(model: FlowNet, path: str | Path) -> None:
    """Fill ``model`` with the TF1 supernet weights in ``path`` (npz); nothing is changed when anything is wrong.

    Raises:
        DataError: unreadable file, another width, or a missing, unexpected, repeated, mis-shaped or non-finite array,
            each by name.
    """
    arrays = _read(Path(path))
    width = _width(arrays, path)
    if width != model.width:
        raise DataError(
            f"{path}: weights of width {width}, the model has width {model.width}: make it with width={width}"
        )
    wanted = model.state_dict()
    found = _by_parameter(arrays, _fixed_kernels(model), path)
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(tf_name for name, (tf_name, _) in found.items() if name not in wanted)
    if missing or unexpected:
        hint = "a subnet is loaded through its supernet: load_tf1_weights(net, path), then net.subnet(arch)"
        raise DataError(f"{path}: {_listed('missing', missing)}; {_listed('unexpected', unexpected)} ({hint})")
    tensors = {name: _tensor(array, wanted[name], f"{path}: {tf}") for name, (tf, array) in found.items()}
    model.load_state_dict(tensors)


def tf1_width(path: str | Path) -> int:
    """Width of the network whose weights ``path`` holds (output channels of its E0 convolution)."""
    return _width(_read(Path(path)), path)


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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable npz file of TF1 weights ({error})") from error


def _width(arrays: dict[str, NDArray[Any]], path: str | Path) -> int:
    for name, array in arrays.items():
        if re.search(r"(?:^|/)E0_conv/kernel$", name) and array.ndim == 4:
            return int(array.shape[-1])
    raise DataError(f"{path}: no 4-D array .../E0_conv/kernel among {len(arrays)}: not weights of the TF1 supernet")


def _fixed_kernels(model: FlowNet) -> dict[str, int]:
    """Kernel of every convolution stage that has one option: TF names such a stage without its kernel."""
    labels = (name.split(".") for name in model.state_dict())
    kernels: dict[str, list[int]] = {}
    for stage, label, *_ in labels:
        if re.fullmatch(r"k\d+", label):
            kernels.setdefault(stage, []).append(int(label[1:]))
    return {stage: options[0] for stage, options in kernels.items() if len(options) == 1}


def _by_parameter(
    arrays: dict[str, NDArray[Any]], kernels: dict[str, int], path: str | Path
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Parameter name -> (TF name, array).  A name that cannot be read stays under its own name: unexpected."""
    found: dict[str, tuple[str, NDArray[Any]]] = {}
    for tf_name, array in arrays.items():
        name = parameter_name(tf_name, kernels) or tf_name
        if name in found:
            raise DataError(f"{path}: {tf_name} and {found[name][0]} both mean {name}")
        found[name] = (tf_name, array)
    return found


def _tensor(array: NDArray[Any], like: torch.Tensor, where: str) -> torch.Tensor:
    if array.dtype.kind != "f":
        raise DataError(f"{where}: must hold floating-point numbers, got {array.dtype}")
    turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array  # HWIO -> OIHW
    if turned.shape != like.shape:
        raise DataError(
            f"{where}: shape {list(array.shape)} (as OIHW {list(turned.shape)}), expected {list(like.shape)}"
        )
    if not np.isfinite(turned).all():
        raise DataError(f"{where}: holds NaN or infinite values")
    return torch.from_numpy(np.ascontiguousarray(turned)).to(like)


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what}" + (f": {shown}" if names else "")
