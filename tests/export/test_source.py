"""The subnet that is exported: which sizes it may have, and what of a run it is; its pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numeric import FLOAT32, relative_difference
from tiny import make_tiny

from edgeflownas.config import Config
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.export.paths import as_integers
from edgeflownas.export.source import check_export_size, example_pairs, extracted, generated_pairs, read_pairs
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.models.int8 import pixel_scale
from edgeflownas.run.checkpoint import Checkpoint, Position
from edgeflownas.run.run import Run, Subnet
from edgeflownas.space import get_space


@pytest.mark.parametrize(
    ("size", "words"),
    [((180, 240), "176x240 or 192x240"), ((200, 250), "192x240 or 208x256"), ((1, 64), "32x64"), ((0, 0), "32x32")],
)
def test_other_sizes_are_refused_with_the_nearest(size, words):
    with pytest.raises(ConfigError, match=f"{size[0]}x{size[1]}: .*multiples of 16 .*the nearest are {words}"):
        check_export_size(size)


def test_sizes_on_the_grid_pass():
    for size in ((192, 256), (32, 32), (4096, 16 * 9)):
        check_export_size(size)
    with pytest.raises(ConfigError, match="4096x32"):
        check_export_size((4112, 32))


def no_task(label, total):
    raise AssertionError("nothing is recalibrated here")


def subnet(net, arch, config, name):
    directory: Any = object()
    run = Run(Path("runs/a"), None, config, config, print, ())
    run.directory = None if name.endswith(".npz") else directory
    stored = Checkpoint(name, Position(1, 0, 0), {}, {}, {}, None, False, "f" * 64, {})
    chosen = next(iter(net.space)) if arch is None else net.space.parse(arch)
    return Subnet(run, stored, net, chosen, "--arch", None)


def test_a_supernet_is_never_shipped():
    net = FlowNet(get_space("v1"), 4).double()
    found = extracted(subnet(net, "021100101", Config(), "step-1"), no_task)
    assert len(found.net.space) == 1 and not found.net.training
    assert {parameter.dtype for parameter in found.net.parameters()} == {torch.float32}
    assert (found.code, found.space, found.short_name) == ("021100101", "v1", "a/step-1")
    own = net.state_dict()
    assert all(torch.equal(tensor.double(), own[name]) for name, tensor in found.net.state_dict().items())


def test_edgeflownet_has_no_code():
    config = Config.model_validate({"train": {"task": "edgeflownet", "width": 4}})
    found = extracted(subnet(EdgeFlowNet(4), None, config, "w.npz"), no_task)
    assert (found.code, found.space, found.short_name) == ("edgeflownet", "edgeflownet", "w.npz")


def test_real_pairs_are_spread_and_cut_to_the_middle(tmp_path):
    data, notes = open_dataset(str(make_tiny(tmp_path) / "train"), "train"), []
    pairs = read_pairs(data, 3, (32, 48), "--data", notes.append)
    assert pairs.names == ("0000001", "0000003", "0000005") and not notes
    first = data.read(1)
    assert np.array_equal(pairs.images[0][..., 3:], first.image2[4:36, 4:52])
    assert np.array_equal(pairs.samples[0].flow, first.flow[4:36, 4:52]) and pairs.samples[0].valid.all()
    again = read_pairs(data, 3, (32, 48), "--data", notes.append)
    assert again.hash == pairs.hash != read_pairs(data, 2, (32, 48), "--data", notes.append).hash
    assert len(read_pairs(data, 9, (32, 48), "--data", notes.append)) == 6 and "all of them" in notes[0]


def test_frames_that_are_too_small_say_what_to_do(tmp_path):
    data = open_dataset(str(make_tiny(tmp_path) / "train"), "train")
    with pytest.raises(DataError, match=r"are 40x56, smaller than --size 48x48: .* --data synth"):
        read_pairs(data, 3, (48, 48), "--data", print)


def test_generated_pairs_are_those_of_the_seed():
    pairs = generated_pairs(2, (32, 48), "train")
    assert pairs.hash == generated_pairs(2, (32, 48), "train").hash != example_pairs((32, 48)).hash
    assert pairs.names == ("0000000", "0000001") and pairs.images[0].shape == (32, 48, 6)
    assert pairs.facts()["names"] == ["0000000", "0000001"]
    with pytest.raises(ConfigError):
        generated_pairs(1, (16, 48), "train")


@pytest.mark.parametrize("form", [InputForm(), InputForm("raw_0_255", "bgr")])
def test_integers_stand_for_what_the_network_takes(form):
    pairs, scale, done = generated_pairs(2, (32, 48), "val"), pixel_scale(form), []
    batches = list(pairs.batches(form, lambda: done.append(1)))
    assert len(batches) == len(done) == 2
    real = scale.scale * (as_integers(pairs.images[0], form)[0].astype(float) - scale.zero_point) + scale.offset
    assert relative_difference(torch.from_numpy(real).permute(2, 0, 1), batches[0][0]) <= FLOAT32
