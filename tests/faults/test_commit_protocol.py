"""Crashes at every named point, torn and altered files, a full disk: the run ends in the same bits or says why not."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import CRASH_POINTS, PROTOCOL_POINTS, crash_point
from edgeflownas.run.directory import Position, RunDirectory

HERE = Path(__file__).parent
TOY = HERE / "toy_trainer.py"

pytestmark = pytest.mark.faults


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness = load_module(HERE / "kill_harness.py")
toy = load_module(TOY)
fingerprint = harness.fingerprint


def toy_call(*arguments):
    return harness.Call(f"{TOY}:train", ["{run}", *arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An uninterrupted toy run."""
    path = tmp_path_factory.mktemp("reference") / "run"
    assert toy.train(str(path)) == 0
    return path


@pytest.fixture
def run_copy(finished, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    return path


def test_the_protocol_under_crashes_and_kills_and_the_harness_under_a_wrong_trainer(tmp_path):
    forgetful = tmp_path / "forgetful.py"
    forgetful.write_text(
        "import importlib.util, os\n"
        f"spec = importlib.util.spec_from_file_location('toy', {str(TOY)!r})\n"
        "toy = importlib.util.module_from_spec(spec); spec.loader.exec_module(toy)\n"
        "def train(run):\n"
        "    if os.path.exists(run):\n"
        "        toy.uniforms = lambda *a, count: __import__('numpy').full(count, 0.5)\n"  # a resume draws differently
        "    return toy.train(run)\n"
    )
    sound, slow, wrong = toy_call(2, 3), toy_call(2, 3, 1, 0.005), harness.Call(f"{forgetful}:train", ["{run}"])
    requests = [
        harness.crashes(sound, sound, tmp_path / "crashed", list(PROTOCOL_POINTS)),
        harness.kills(slow, slow, tmp_path / "killed", count=4, seed=3),
        harness.crashes(wrong, wrong, tmp_path / "forgotten", ["commit.verified"]),
    ]
    crashed, killed, forgotten = harness.ask(requests)
    assert set(crashed["hits"]) == set(PROTOCOL_POINTS)
    assert crashed["mismatches"] == killed["mismatches"] == []
    assert killed["kills"] >= 4 and killed["orphans"] == 0
    assert any("model/w" in line for line in forgotten["mismatches"])  # the harness notices other bits
    assert any("events.jsonl" in line for line in forgotten["mismatches"])


def newest(path: Path) -> Path:
    return path / "checkpoints" / RunDirectory(path).checkpoints()[0]


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 1 << position % 8
    file.write_bytes(data)


def assert_falls_back(path: Path, finished: Path, named: str) -> None:
    """The damaged newest is named and passed over, the run goes on from the one before to the same end."""
    warnings: list[str] = []
    names = RunDirectory(path).checkpoints()
    loaded = RunDirectory(path, warnings.append).load("latest")
    assert loaded.name == names[1]
    assert len(warnings) == 1 and named in warnings[0], warnings
    assert toy.train(str(path)) == 0
    assert fingerprint(path) == fingerprint(finished)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_truncated_at_every_sixteenth(finished, tmp_path, name):
    for part in range(16):
        path = tmp_path / f"run{part}"
        shutil.copytree(finished, path)
        file = newest(path) / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size * part // 16])
        warnings: list[str] = []
        names = RunDirectory(path).checkpoints()
        assert RunDirectory(path, warnings.append).load("latest").name == names[1]
        assert str(file) in warnings[0] and ("expected" in warnings[0] or "torn" in warnings[0])
        if part == 7:
            assert_falls_back(path, finished, name)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_flipped_bits_are_never_loaded(finished, tmp_path, name):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    file = newest(path) / name
    sound, expected = file.read_bytes(), RunDirectory(path).checkpoints()[1]
    for position in range(0, len(sound), max(1, len(sound) // 60)):
        flip(file, position)
        warnings: list[str] = []
        assert RunDirectory(path, warnings.append).load("latest").name == expected, position
        assert name in warnings[0]
        file.write_bytes(sound)
    flip(file, 100)
    assert_falls_back(path, finished, name)


def test_warning_names_hash_expected_and_found(run_copy):
    file = newest(run_copy) / "model.safetensors"
    flip(file, 90)
    warnings: list[str] = []
    RunDirectory(run_copy, warnings.append).load("latest")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    flip(file, 90)
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"{file}: sha256 {found}, expected {expected}" in warnings[0]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_deleted_file(run_copy, finished, name):
    (newest(run_copy) / name).unlink()
    assert_falls_back(run_copy, finished, f"{name}: missing")


def test_none_left_is_an_error_and_never_a_fresh_start(run_copy):
    for name in RunDirectory(run_copy).checkpoints():
        flip(run_copy / "checkpoints" / name / "model.safetensors", 50)
    before = {
        p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file() and p.name not in ("lease.json", "timing.jsonl")
    }
    with pytest.raises(StorageError, match="no usable checkpoint is left"):
        toy.train(str(run_copy))
    assert {p: p.read_bytes() for p in before} == before


def test_removed_checkpoints_folder_is_an_error(run_copy):
    shutil.rmtree(run_copy / "checkpoints")
    with pytest.raises(StorageError, match="no usable checkpoint is left"):
        toy.train(str(run_copy))


def test_checkpoint_of_another_run_is_refused(run_copy, tmp_path):
    toy.train(str(tmp_path / "other"))
    stranger = newest(tmp_path / "other")
    shutil.rmtree(newest(run_copy))
    shutil.copytree(stranger, run_copy / "checkpoints" / stranger.name)
    warnings: list[str] = []
    assert RunDirectory(run_copy, warnings.append).load("latest").name != stranger.name
    assert "belongs to run" in warnings[0]
    with pytest.raises(StorageError, match="belongs to run"):
        RunDirectory(run_copy).load(stranger.name)


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_disk_refuses_during_a_commit(tmp_path, monkeypatch, call, code):
    """Every n-th call of a commit fails once: the old checkpoints stay, no temporary stays, nothing is retried."""
    path = tmp_path / "run"
    tensors = {"model": {"w": toy.torch.ones(3)}}
    run = RunDirectory.create(path, {}, {})
    with run.locked():
        run.resume()
        run.commit(Position(1, 0, 1), {"n": 0}, tensors)
    original, stored = getattr(os, call), 0
    for n in range(1, 40):
        calls = 0

        def failing(*arguments, n=n, **keywords):
            nonlocal calls
            calls += 1
            if calls == n:
                raise OSError(code, os.strerror(code))
            return original(*arguments, **keywords)

        run = RunDirectory(path)
        with run.locked():
            run.resume()
            run.events.append({"n": n})
            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                if refused := commit_refused(run, Position(1 + n, 0, 1 + n), {"n": n}, tensors):
                    assert os.strerror(code) in refused
                    assert "an earlier write" in commit_refused(run, Position(500, 0, 0), {}, tensors)
        assert not list(path.rglob(".tmp-*"))
        latest = RunDirectory(path, pytest.fail).load("latest").state["n"]
        assert latest in ({stored, n} if refused else {n})  # n: it failed only after the commit's rename
        stored = latest
        if not refused:
            return  # the commit came through without an n-th call: every one of them was tried
    pytest.fail("more calls than expected")


def commit_refused(run, position, state, tensors) -> str:
    try:
        run.commit(position, state, tensors)
    except StorageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("call", ["open", "mkdir"])
def test_read_only_at_the_start(tmp_path, monkeypatch, call):
    def refuse(*arguments, **keywords):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        RunDirectory.create(tmp_path / "runs" / "run", {}, {})
    monkeypatch.undo()
    assert not list(tmp_path.rglob("run"))


def test_read_only_at_resume(run_copy, monkeypatch):
    real = os.open

    def only_to_read(path, flags, *more, **keywords):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EACCES, "Permission denied")
        return real(path, flags, *more, **keywords)

    monkeypatch.setattr(os, "open", only_to_read)
    with (
        pytest.raises(StorageError, match="cannot lock the folder: Permission denied"),
        RunDirectory(run_copy).locked(),
    ):
        pass


def test_order_of_the_system_calls(tmp_path, monkeypatch):
    """A kill cannot show a missing fsync (the page cache survives it); the order of the calls can."""
    journal: list[str] = []
    names: dict[int, str] = {}
    for call in ("open", "fsync", "rename"):
        original = getattr(os, call)

        def noted(*arguments, original=original, call=call, **keywords):
            result = original(*arguments, **keywords)
            if call == "open":
                names[result] = Path(arguments[0]).name
            elif call == "fsync":
                journal.append(f"fsync {names[arguments[0]]}")
            else:
                journal.append(f"rename {Path(arguments[1]).name}")
            return result

        monkeypatch.setattr(os, call, noted)
    run = RunDirectory.create(tmp_path / "run", {}, {})
    with run.locked():
        run.resume()
        run.events.append({"n": 1})
        journal.clear()
        run.commit(Position(1, 0, 1), {}, {"model": {"w": toy.torch.ones(3)}})
    assert journal[:2] == ["fsync events.jsonl", "fsync run"]
    assert journal[2:5] == ["fsync model.safetensors", "fsync state.json", "fsync manifest.json"]
    assert journal[5].startswith("fsync .tmp-")
    assert journal[6:] == ["rename step-00000001", "fsync checkpoints"]


def test_a_misspelt_crash_point_is_refused(monkeypatch):
    monkeypatch.setenv("EDGEFLOWNAS_CRASH_AT", "comit.renamed")
    with pytest.raises(ConfigError, match="comit.renamed"):
        crash_point("commit.renamed")


def test_every_point_of_the_list_occurs_in_the_source():
    source = "\n".join(p.read_text() for p in (HERE.parents[1] / "src" / "edgeflownas").rglob("*.py"))
    missing = [point for point in CRASH_POINTS if f'crash_point("{point}")' not in source]
    assert [point for point in missing if point in PROTOCOL_POINTS] == []
