"""Documents of a run that were edited are refused with the key, whatever stands there instead."""

from __future__ import annotations

import copy
import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.errors import StorageError
from edgeflownas.files import canonical_json, parse_json
from edgeflownas.run import documents
from edgeflownas.run.checkpoint import Best, DamagedCheckpoint, Position, TrainState, read_manifest, require_like

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz  # noqa: E402

SOUND = {name: parse_json(reader.seeds(None)[0]) for name, reader in fuzz.READERS.items() if reader.document}
MODELS = {
    "json.identity": documents.Identity,
    "json.trained": documents.TrainedFacts,
    "json.group": documents.Group,
    "json.lease": documents.Lease,
    "json.best": documents.Best,
    "json.commit": documents.Commit,
    "json.state": documents.State,
    "json.eval_set": documents.EvalSetFile,
    "json.prints": documents.Prints,
    "json.pictures": documents.PictureIndex,
    "json.planned": documents.PlannedRun,
}


@pytest.mark.parametrize("name", MODELS)
def test_sound_ones_come_back_as_they_are(name: str) -> None:
    assert documents.require(MODELS[name], SOUND[name], "a.json") is SOUND[name]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("instead", [[], "x", None, 3])
def test_another_kind_of_document_is_refused(name: str, instead: Any) -> None:
    with pytest.raises(StorageError, match="a.json: altered or incomplete"):
        documents.require(MODELS[name], instead, "a.json")


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("json.identity", ("manifest", "plan", "total_steps"), "many", "manifest.plan.total_steps: .*found 'many'"),
        ("json.trained", ("data", "val"), 3, "data.val: "),
        ("json.commit", ("position", "step"), -1, "position.step: "),
        ("json.commit", ("position", "more"), 1, "position.more: "),
        ("json.commit", ("files", "state.json", "bytes"), 1.5, "files.state.json.bytes: "),
        ("json.commit", ("best",), [], "best: "),
        ("json.state", ("last_epes",), ["a"], "last_epes.0: "),
        ("json.state", ("best", "value"), None, "best.value: "),
        ("json.eval_set", ("monitors", "wide"), {}, "monitors.wide.label: Field required"),
        ("json.eval_set", ("calibration", "windows"), [[0, 0, 1]], "calibration.windows.0: "),
        ("json.eval_set", ("evaluation", "names"), ["a"], "evaluation: .*1 names and 2 windows"),
        ("json.lease", ("started",), "now", "started: "),
    ],
)
def test_the_key_is_named(name: str, path: tuple[str, ...], value: Any, said: str) -> None:
    document = copy.deepcopy(SOUND[name])
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(StorageError, match=f"a.json: altered or incomplete .{said}"):
        documents.require(MODELS[name], document, "a.json")


def test_a_manifest_whose_hash_was_put_right_is_refused_as_well(tmp_path) -> None:
    document = {**SOUND["json.commit"], "position": {"step": 1}}
    body = canonical_json({key: value for key, value in document.items() if key != "hash"})
    document["hash"] = hashlib.sha256(body).hexdigest()
    (tmp_path / "manifest.json").write_bytes(canonical_json(document))
    with pytest.raises(DamagedCheckpoint, match="position.epoch: Field required"):
        read_manifest(tmp_path, document["run"])


def test_a_state_comes_back_and_an_edited_one_does_not() -> None:
    state = TrainState(8, 2, step=3, best=Best(1.5, 1, "step-00000003", "mean", "ab"), last_epes=[float("nan"), 1.0])
    assert TrainState.from_json(state.to_json()).best == state.best
    with pytest.raises(StorageError, match="state.json: altered or incomplete .seen"):
        TrainState.from_json({**state.to_json(), "seen": "all"})


def test_tensors_of_another_network_are_refused_by_name() -> None:
    import torch

    wanted = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    require_like({**wanted, "more": torch.zeros(1)}, wanted, "m")
    for stored, said in (
        ({"a": torch.zeros(2, 3)}, "b is missing"),
        ({**wanted, "b": torch.zeros(1)}, r"b is .*\[1\]"),
    ):
        with pytest.raises(DamagedCheckpoint, match=f"m: {said}"):
            require_like(stored, wanted, "m")
    assert Position(1, 0, 1).name == "step-00000001"
