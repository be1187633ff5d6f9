"""The subnet that is exported: which sizes it may have, and what of a run it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from edgeflownas.train.inference import ReadySubnet

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.export import source as module
from edgeflownas.export.source import check_export_size, open_source
from edgeflownas.models.edgeflownet import EdgeFlowNet
from edgeflownas.models.flownet import FlowNet
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


def ready(net: FlowNet | EdgeFlowNet, arch: str) -> ReadySubnet:
    return ReadySubnet("runs/a step-1", "f" * 64, net, net.space.parse(arch), "--arch", (), "", Config())


def test_a_supernet_is_never_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    net = FlowNet(get_space("v1"), 4).double()
    monkeypatch.setattr(module, "open_subnet", lambda *words: ready(net, "021100101"))
    source = open_source(Path("runs/a"), None, "best", (), print, no_task)
    assert len(source.net.space) == 1 and not source.net.training
    assert {parameter.dtype for parameter in source.net.parameters()} == {torch.float32}
    assert (source.code, source.space, source.name) == ("021100101", "v1", "a/step-1")
    own = net.state_dict()
    assert all(torch.equal(tensor.double(), own[name]) for name, tensor in source.net.state_dict().items())


def test_edgeflownet_has_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    net = EdgeFlowNet(4)
    config = Config.model_validate({"train": {"task": "edgeflownet", "width": 4}})
    found = ReadySubnet("w.npz", "f" * 64, net, next(iter(net.space)), "the only subnet", (), "", config)
    monkeypatch.setattr(module, "open_subnet", lambda *words: found)
    (tmp_path / "w.npz").touch()
    source = open_source(tmp_path / "w.npz", None, "best", (), print, no_task)
    assert (source.code, source.space, source.name) == ("edgeflownet", "edgeflownet", "w.npz")
