"""The subnet that is exported: which sizes it may have, and what of a run it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.export.source import check_export_size, extracted
from edgeflownas.models.edgeflownet import EdgeFlowNet
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.checkpoint import Checkpoint, Position
from edgeflownas.run.run import Run, Subnet
from edgeflownas.space import get_space


@pytest.mark.parametrize(
    ("size", "words"),
    [((180, 240), "176x240 or 192x240"), ((200, 250), "192x240 or 208x256"), ((1, 64), "32x64"), ((0, 0), "32x32")],
)
def test_other_sizes_are_refused_with_the_nearest(size: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=f"{size[0]}x{size[1]}: .*multiples of 16 .*the nearest are {words}"):
        check_export_size(size)


def test_sizes_on_the_grid_pass() -> None:
    for size in ((192, 256), (32, 32), (4096, 16 * 9)):
        check_export_size(size)
    with pytest.raises(ConfigError, match="4096x32"):
        check_export_size((4112, 32))


def no_task(label: str, total: int) -> Any:
    raise AssertionError("nothing is recalibrated here")


def subnet(net: FlowNet | EdgeFlowNet, arch: str | None, config: Config, name: str) -> Subnet:
    directory: Any = object()
    run = Run(Path("runs/a"), None, config, config, print, ())
    run.directory = None if name.endswith(".npz") else directory
    stored = Checkpoint(name, Position(1, 0, 0), {}, {}, {}, None, False, "f" * 64, {})
    chosen = next(iter(net.space)) if arch is None else net.space.parse(arch)
    return Subnet(run, stored, net, chosen, "--arch", None)


def test_a_supernet_is_never_shipped() -> None:
    net = FlowNet(get_space("v1"), 4).double()
    found = extracted(subnet(net, "021100101", Config(), "step-1"), no_task)
    assert len(found.net.space) == 1 and not found.net.training
    assert {parameter.dtype for parameter in found.net.parameters()} == {torch.float32}
    assert (found.code, found.space, found.short_name) == ("021100101", "v1", "a/step-1")
    own = net.state_dict()
    assert all(torch.equal(tensor.double(), own[name]) for name, tensor in found.net.state_dict().items())


def test_edgeflownet_has_no_code() -> None:
    config = Config.model_validate({"train": {"task": "edgeflownet", "width": 4}})
    found = extracted(subnet(EdgeFlowNet(4), None, config, "w.npz"), no_task)
    assert (found.code, found.space, found.short_name) == ("edgeflownet", "edgeflownet", "w.npz")
