"""Weights of the package: what comes back from their files, what is refused, and what they are good for as a run."""

import gc
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from shipped import NAME, SIZE, SUPERNET, frames, make_weights

import edgeflownas
from edgeflownas.data.synthetic.generate import VERSION, generate_pair
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate.calibration import predict
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.run import weights
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.run import Run

pytestmark = pytest.mark.usefixtures("package")


def opened(name=NAME, *overrides, notes=None):
    return Run.open(Path(f"weights:{name}"), overrides, (notes if notes is not None else []).append)


def test_what_is_written_comes_back(package):
    full = make_weights(package, "full", half=False)
    run, exact = opened(), opened("full")
    assert full.stat().st_size > 1.5 * (package / f"{NAME}.safetensors").stat().st_size
    assert [str(arch) for arch in run.space] == ["0,0,0,0,2,1,2,2,2"]
    assert (run.config.train.width, run.config.data.crop_size, run.deployed_size) == (4, (32, 48), SIZE)
    rounded, kept = run.checkpoint().tensors["model"], exact.checkpoint().tensors["model"]
    assert rounded.keys() == kept.keys() == run.net(run.checkpoint()).state_dict().keys()
    for name, tensor in kept.items():
        assert rounded[name].dtype == torch.float32
        if tensor.ndim > 1:
            torch.testing.assert_close(rounded[name], tensor, atol=1e-3, rtol=1e-3)


def test_the_same_content_gives_the_same_bytes(package, tmp_path):
    assert make_weights(tmp_path).read_bytes() == (package / f"{NAME}.safetensors").read_bytes()


def test_names(package, monkeypatch, tmp_path):
    assert weights.weights_names() == [NAME, SUPERNET]
    with pytest.raises(ConfigError, match=f"no weights 'tiny-v1-w5' .known: {NAME}, .*did you mean weights:{NAME}"):
        opened("tiny-v1-w5")
    with pytest.raises(ConfigError, match=f"flownet-v1-w16, are not in this version.*weights:{NAME}"):
        weights.default_name()
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "missing")
    for ask in (weights.default_name, lambda: weights.find_weights("x")):
        with pytest.raises(ConfigError, match="give a run directory"):
            ask()


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def edit_card(path):
    card = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in card.items() if key != "licence"}))


@pytest.mark.parametrize(
    ("kind", "spoil", "text"),
    [
        ("safetensors", cut, r"damaged \([\d,]+ bytes with sha256 \w+, expected [\d,]+ with"),
        ("safetensors", Path.unlink, "No such file"),
        ("json", cut, "not the card of weights, or damaged"),
        ("json", Path.unlink, "No such file"),
        ("json", edit_card, "without licence"),
        ("json", lambda path: path.write_text("[]"), "no mapping"),
    ],
)
def test_what_is_damaged_is_named_with_the_remedy(package, kind, spoil, text):
    path = package / f"{NAME}.{kind}"
    spoil(path)
    with pytest.raises(DataError, match=text) as caught:
        opened()
    assert str(caught.value).startswith(f"{path}: ") and "pip install --force-reinstall" in str(caught.value)


def test_another_declaration_of_the_space_is_refused(package):
    make_weights(package, "other", space={"name": "v1", "size": 2, "choices": []})
    with pytest.raises(DataError, match="made for search space v1 as another version declares it"):
        opened("other")


def test_statistics_are_those_of_the_protocol():
    images = np.concatenate(frames(*SIZE), axis=2)
    found = {}
    for size, label in ((None, "model"), (SIZE, "deploy:32x48")):
        run = opened()
        net = run.net(run.checkpoint()).eval()
        assert run.shipped is not None
        net.load_state_dict({name: torch.from_numpy(a) for name, a in run.shipped.groups[label].items()}, strict=False)
        leaves: list[list[torch.Tensor]] = []
        pair = net.input_form.encode(torch.from_numpy(images[None]), torch.float32)
        predict(net, list(net.space), pair, None, lambda _, leaf, into=leaves: into.append(leaf))  # type: ignore[misc]
        expected = accumulate(leaves[0])[2][0, :2].permute(1, 2, 0).numpy()
        subnet = run.subnet(size=size)
        found[label] = subnet.flow(*frames(*SIZE))
        assert np.array_equal(found[label], expected)
        assert (subnet.calibrated_on, subnet.calibration_samples) == ("noise", 2)
    assert not np.allclose(*found.values(), atol=1e-3)


def test_a_size_without_statistics_of_its_own_is_said():
    notes: list[str] = []
    opened(notes=notes).subnet(size=(48, 48))
    assert (
        "weights:tiny-v1-w4 carries batch-norm statistics for deploy:32x48, training: those of training are taken"
        in notes
    )


@pytest.mark.parametrize("shape", [(40, 56), (33, 70), (5, 3), (1, 1), (64, 64)])
def test_flow_has_the_pixels_of_the_frames(shape):
    subnet = edgeflownas.load(NAME)
    one, two = frames(*shape)
    flow = subnet.flow(one, two)
    assert subnet.size == SIZE and flow.shape == (*shape, 2) and flow.dtype == np.float32
    place = Protocol("deploy", SIZE)
    pictures = place.prepare(edgeflownas_pair(one, two))
    small = edgeflownas.load(NAME, size=None).flow(pictures.images[..., :3], pictures.images[..., 3:])
    assert small.shape == (*SIZE, 2)
    assert np.array_equal(subnet.flow(one, two), flow)  # the same again


def edgeflownas_pair(one, two):
    from edgeflownas.data.dataset import FlowPair

    return FlowPair(one, two, np.zeros((*one.shape[:2], 2), np.float32), np.ones(one.shape[:2], bool))


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (np.zeros((40, 55, 3), np.uint8), "image1 and image2 are 40x56 and 40x55"),
        (np.zeros((40, 56), np.uint8), r"image2: uint8 \[40, 56\], expected uint8 \[H, W, 3\], RGB"),
        (np.zeros((40, 56, 4), np.uint8), "image2"),
        (np.zeros((40, 56, 3), np.uint16), "image2: uint16"),
        (np.zeros((40, 56, 3), np.float32), "image2: float32"),
        (np.zeros((0, 56, 3), np.uint8), "image2"),
    ],
)
def test_what_is_no_frame_is_refused(second, text):
    with pytest.raises(DataError, match=text):
        edgeflownas.load(NAME).flow(frames()[0], second)


def test_load_takes_names_and_says_what_there_is():
    for name in (NAME, f"weights:{NAME}"):
        assert edgeflownas.load(name).code == "000021222"
    with pytest.raises(ConfigError, match="did you mean"):
        edgeflownas.load("tiny-v1")
    with pytest.raises(ConfigError, match="too small"):
        edgeflownas.load(NAME, size=(8, 8))


def test_a_supernet_makes_its_calibration_pairs_again(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    notes: list[str] = []
    run = opened(SUPERNET, notes=notes)
    subnet = run.subnet("111111111")
    assert subnet.calibration_samples == 4 and "4 train pairs of 32x48 are generated, seed 5" in notes
    flow = subnet.flow(*frames())
    assert np.array_equal(edgeflownas.load(SUPERNET, "111111111", size=None).flow(*frames()), flow)
    assert len(run.val) == 2 and run.pool[0] == "0,0,0,0,0,0,0,0,0"
    del run, subnet
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_another_generator_is_said(package):
    pairs = {"seed": 5, "height": 32, "width": 48, "version": 0, "train": 2, "val": 2}
    make_weights(package, "old-supernet", pairs=pairs)
    notes: list[str] = []
    assert len(opened("old-supernet", notes=notes).train) == 2
    assert any("the generator of weights:old-supernet had version 0" in note for note in notes)


def test_textures_are_made_again_as_textures(package):
    pairs = {"kind": "texture", "seed": 5, "height": 32, "width": 48, "version": VERSION, "train": 1, "val": 1}
    make_weights(package, "texture-supernet", pairs=pairs | {"motion": 3.0})
    again = generate_pair(5, 0, 32, 48, 3.0)
    assert np.array_equal(opened("texture-supernet").train.read(0).image1, again.image1)


@pytest.mark.parametrize("words", [("ema", "latest"), ("model", "step-00000001")])
def test_there_are_neither_averages_nor_checkpoints(words):
    with pytest.raises(ConfigError, match="keeps no moving average; use model|belongs to a run directory"):
        opened().checkpoint(words[1], words[0])


def test_keys_that_would_change_the_network_are_refused():
    with pytest.raises(ConfigError, match="--train.width differs from the run's 4"):
        opened(NAME, "--train.width=8")


def test_there_is_no_history():
    with pytest.raises(StorageError, match="weights of the package, which have neither checkpoints nor a history"):
        RunDirectory(Path(f"weights:{NAME}"))
