"""One checkpoint folder: exact round trip, names and order, what a manifest must be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from edgeflownas.files import canonical_json
from edgeflownas.run import checkpoint as checkpoints
from edgeflownas.run.checkpoint import (
    DamagedCheckpoint,
    Position,
    checkpoint_names,
    read_checkpoint,
    read_manifest,
    verify,
    write_checkpoint,
)

AT = Position(12, 1, 4)
FACTS = {"run": "r1", "logs": {"events.jsonl": 7}, "best": None, "finished": False, "parent": None, "session": {}}


def write(parent: Path, position=AT, tensors=None, **facts) -> Path:
    folder = parent / position.name
    folder.mkdir()
    tensors = {"model": {"w": torch.arange(6.0).reshape(2, 3)}} if tensors is None else tensors
    write_checkpoint(folder, position, {"seen": 96}, tensors, FACTS | facts)
    return folder


def rewrite(folder: Path, **changes) -> None:
    """A manifest altered by someone who knows how to compute its hash."""
    document = json.loads((folder / "manifest.json").read_text()) | changes
    document["hash"] = checkpoints._own_hash(document)
    (folder / "manifest.json").write_bytes(canonical_json(document))


def test_everything_comes_back(tmp_path):
    flat = torch.randn(20)
    tensors = {
        "model": {
            "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "parameter": torch.nn.Parameter(torch.randn(3)),
            "view": flat[3:9].view(2, 3),
            "same_memory": flat[3:9].view(2, 3),
            "strided": flat[::2],
            "double": torch.tensor([float("nan"), float("inf"), -0.0], dtype=torch.float64),
            "half": torch.randn(3).to(torch.bfloat16),
            "scalar": torch.tensor(7),
            "empty": torch.empty(0, 3),
            "flag": torch.tensor([True, False]),
        },
        "ema": {},
    }
    folder = write(tmp_path, tensors=tensors, best={"checkpoint": "step-00000012", "value": 1.5}, finished=True)
    loaded = read_checkpoint(folder, "r1")
    assert loaded.position == Position(12, 1, 4) and loaded.state == {"seen": 96}
    assert loaded.finished and loaded.best["value"] == 1.5 and loaded.logs == {"events.jsonl": 7}
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors["model"].items():
        back = loaded.tensors["model"][name]
        assert back.dtype == tensor.dtype and back.shape == tensor.shape and back.is_contiguous()
        assert (
            back.reshape(-1).view(torch.uint8).tolist()
            == tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        ), name
    loaded.tensors["model"]["strided"].add_(1)  # loaded tensors are ours to change


def test_only_the_groups_asked_for_are_read(tmp_path):
    folder = write(tmp_path, tensors={"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.ones(2)}})
    (folder / "optimizer.safetensors").write_bytes(b"damaged")
    assert read_checkpoint(folder, "r1", groups=("model",)).tensors.keys() == {"model"}
    with pytest.raises(DamagedCheckpoint, match=r"optimizer.safetensors: 7 bytes, expected"):
        verify(folder, "r1")


def test_equal_contents_give_equal_files(tmp_path):
    first, second = (tmp_path / "a"), (tmp_path / "b")
    first.mkdir(), second.mkdir()
    tensors = {"model": {name: torch.ones(3) for name in "cab"}}
    one, two = write(first, tensors=tensors), write(second, tensors=tensors)
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


def test_newest_first_by_step_not_by_date(tmp_path):
    expected = ["step-123456789", "step-00001000", "step-00000999", "step-00000999-before-evaluation"]
    for name in reversed(expected):
        (tmp_path / name).mkdir()
    for other in (".tmp-x", "step-7", "best", ".damaged-step-00001001", "step-00000001-copy"):
        (tmp_path / other).mkdir()
    assert checkpoint_names(tmp_path) == expected
    places = [Position(123456789, 9, 0), Position(1000, 2, 10), Position(999, 2, 0), Position(999, 1, 5, False)]
    assert [place.name for place in places] == expected
    assert checkpoint_names(tmp_path / "absent") == []


def test_manifest_of_another_run_format_or_place_is_refused(tmp_path):
    folder = write(tmp_path)
    with pytest.raises(DamagedCheckpoint, match="belongs to run r1, expected r2"):
        read_manifest(folder, "r2")
    renamed = folder.rename(tmp_path / "step-00000013")
    with pytest.raises(DamagedCheckpoint, match="is the manifest of step-00000012, not step-00000013"):
        read_manifest(renamed, "r1")
    renamed.rename(folder)
    rewrite(folder, format=2)
    with pytest.raises(DamagedCheckpoint, match="format 2, this version reads 1: use the version that wrote it"):
        read_manifest(folder, "r1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.replace(b'"events.jsonl":7', b'"events.jsonl":8'), "sha256 .*, expected"),
        (lambda data: data.replace(b'{"best"', b'{"best":null,"best"'), "key 'best' occurs twice"),
        (lambda data: data.ljust(2**20 + 1), "1048577 bytes, expected at most 1048576"),
    ],
)
def test_an_altered_manifest_is_refused(tmp_path, change, said):
    path = write(tmp_path) / "manifest.json"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedCheckpoint, match=said):
        read_manifest(path.parent, "r1")


@pytest.mark.parametrize("name", ["../../secret.json", "/etc/passwd", "a/b.json", "state.pickle"])
def test_manifest_cannot_name_files_elsewhere(tmp_path, name):
    folder = write(tmp_path)
    rewrite(folder, files={name: {"bytes": 3, "sha256": "0" * 64}})
    with pytest.raises(DamagedCheckpoint, match="not a name of a checkpoint file"):
        verify(folder, "r1")


def test_a_file_longer_than_stated_is_not_read(tmp_path):
    path = write(tmp_path) / "model.safetensors"
    with path.open("ab") as file:
        file.truncate(2**40)  # sparse: reading it would need a tebibyte
    with pytest.raises(DamagedCheckpoint, match=r"1099511627776 bytes, expected at most \d+"):
        verify(path.parent, "r1")


def test_a_well_hashed_file_that_is_no_safetensors_is_refused(tmp_path):
    folder = write(tmp_path)
    data = b"\xff" * 64
    (folder / "model.safetensors").write_bytes(data)
    entry = {"bytes": 64, "sha256": checkpoints.hashlib.sha256(data).hexdigest()}
    manifest = read_manifest(folder, "r1")
    rewrite(folder, files=manifest["files"] | {"model.safetensors": entry})
    with pytest.raises(DamagedCheckpoint, match="model.safetensors: "):
        read_checkpoint(folder, "r1")


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors"])
def test_a_pipe_or_folder_in_the_place_of_a_file_is_never_waited_for(tmp_path, name):
    folder = write(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for _ in range(2):
        with pytest.raises(DamagedCheckpoint, match=f"{name}: cannot be read: it is not a regular file"):
            read_checkpoint(folder, "r1")
        (folder / name).unlink(missing_ok=True) if (folder / name).is_fifo() else (folder / name).rmdir()
        (folder / name).mkdir()
