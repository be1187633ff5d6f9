"""The run directory: creation, the lock, committing, pruning, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgeflownas.config.load import dump_yaml
from edgeflownas.errors import StorageError
from edgeflownas.run import directory
from edgeflownas.run.directory import Position, RunDirectory, RunLock, holder

HOLD = """
import subprocess, sys, time
from pathlib import Path
from edgeflownas.run.directory import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
# as a loader worker is started: a program of its own
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory.create(
        tmp_path / "runs" / "a", {"train": {"lr": 0.1}}, {"plan": {"total_steps": 9}}, pytest.fail
    )


def tensors(value: float = 1.0):
    return {"model": {"w": torch.full((2, 2), value)}}


def commit(run: RunDirectory, step: int, **facts) -> str:
    return run.commit(Position(step, 0, step), {"step": step}, tensors(step), **facts)


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_a_new_run(run):
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoints", "config.yaml", "run_manifest.json"]
    assert run.config == {"train": {"lr": 0.1}}
    assert run.manifest == {"plan": {"total_steps": 9}}
    assert RunDirectory(run.path).id == run.id
    assert [p.name for p in run.path.parent.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["run", "empty folder", "file", "dangling link"])
def test_an_existing_path_is_refused_and_untouched(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "run":
        RunDirectory.create(path, {}, {})
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = content(tmp_path)
    with pytest.raises(StorageError, match=r"exists already; go on with .*--resume .*experiment_name"):
        RunDirectory.create(path, {}, {})
    assert content(tmp_path) == before


def test_leftovers_of_a_creation_that_died_are_removed(tmp_path):
    mine = directory._unfinished_name(tmp_path / "a").name
    dead = tmp_path / mine.replace(f"-{os.getpid()}", "-999999999")
    alive = tmp_path / mine.replace(f"-{os.getpid()}", f"-{os.getppid()}")
    for folder in (dead / "checkpoints", alive, tmp_path / ".new-something-else"):
        folder.mkdir(parents=True)
    RunDirectory.create(tmp_path / "a", {}, {})
    assert not dead.exists() and alive.exists() and (tmp_path / ".new-something-else").exists()


@pytest.mark.parametrize("name", ["name with spaces", "ünï-çødé", "-dash", "a'b", "x" * 200, "g[l]o*b?"])
def test_strange_names(tmp_path, name):
    path = tmp_path / name
    run = RunDirectory.create(path, {}, {})
    with run.locked():
        run.resume()
        commit(run, 1)
    with run.locked():
        assert run.resume().state == {"step": 1}


def test_what_is_no_run_directory_is_refused(tmp_path, run):
    with pytest.raises(StorageError, match="not a run directory"):
        RunDirectory(tmp_path)
    manifest = run.path / "run_manifest.json"
    manifest.write_text(manifest.read_text().replace('"format":2', '"format":9'))
    with pytest.raises(StorageError, match="format 9, this version reads 2"):
        RunDirectory(run.path)
    manifest.write_text("[]")
    with pytest.raises(StorageError, match="not the manifest of a run"):
        RunDirectory(run.path)


def test_config_and_manifest_can_be_replaced(run):
    run.write_file("config.yaml", dump_yaml({"train": {"lr": 0.2}}).encode())
    run.write_manifest({"plan": {"total_steps": 18}})
    again = RunDirectory(run.path)
    assert again.config == {"train": {"lr": 0.2}} and again.manifest["plan"]["total_steps"] == 18 and again.id == run.id
    (run.path / "config.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(StorageError, match="config.yaml: cannot be read"):
        _ = again.config


# ---- the lock ----


def test_before_the_first_commit_a_resume_starts_fresh(run):
    with run.locked():
        assert run.resume() is None
        run.events.append({"step": 0})
        run.log.append("hello")
    with run.locked():
        assert run.resume() is None
    assert (run.path / "events.jsonl").read_bytes() == b""
    assert (run.path / "train.log").read_bytes() == b"hello\n"
    with pytest.raises(StorageError, match="nothing was committed yet"):
        run.load("latest")


def test_fact_logs_go_back_to_the_commit_and_time_logs_do_not(run):
    with run.locked():
        run.resume()
        facts = (run.events, run.quarantine, run.history, run.training, run.per_arch, run.per_option, run.monitor)
        for log in facts:
            log.append({"n": 1})
        commit(run, 1)
        committed = content(run.path)
        for log in (*facts, run.timing):
            log.append({"n": 2})
    with run.locked():
        checkpoint = run.resume()
    assert checkpoint.state == {"step": 1} and len(checkpoint.session["token"]) == 32
    now = content(run.path)
    tables = ("eval_history.csv", "per_arch_epe.csv", "per_option.csv", "monitor.csv", "training_history.csv")
    for name in ("events.jsonl", "quarantine.jsonl", *tables):
        assert now[name] == committed[name] != b""
    assert b'{"n": 2}' in now["timing.jsonl"] and now["timing.jsonl"].startswith(committed["timing.jsonl"])
    whats = [json.loads(line).get("what") for line in now["timing.jsonl"].splitlines()]
    assert whats == ["session", "resume", "commit", None, "session", "resume"]


def test_a_checkpoint_from_before_a_log_existed(run, monkeypatch):
    """Its manifest names no length for the newer logs: whatever they hold was written after it."""
    older = [log for log in run._fact_logs if log not in (run.per_option, run.monitor)]
    with run.locked(), monkeypatch.context() as patch:
        patch.setattr(run, "_fact_logs", older)
        run.resume()
        run.events.append({"n": 1})
        commit(run, 1)
    with run.locked():
        assert run.resume().state == {"step": 1}
        run.monitor.append({"n": 1})
    with run.locked():
        assert run.resume().state == {"step": 1}
    assert (run.path / "monitor.csv").read_bytes() == b"" and run.events.offset() > 0
    with run.locked():
        run.resume()
        run.monitor.append({"n": 1})
        commit(run, 2)
        assert run.resume().state == {"step": 2}
    assert (run.path / "monitor.csv").read_bytes() == b"n\n1\n"


def test_a_checkpoint_whose_log_rows_are_gone_is_passed_over(run):
    with run.locked():
        run.resume()
        for step in (1, 2):
            run.events.append({"step": step})
            commit(run, step)
    log = run.path / "events.jsonl"
    log.write_bytes(log.read_bytes()[:-3])
    warnings: list[str] = []
    again = RunDirectory(run.path, warnings.append)
    with again.locked():
        assert again.resume().state == {"step": 1}
        assert "rows are missing" in warnings[0]
        assert log.read_bytes() == b'{"step": 1}\n'
        assert again.checkpoints() == ["step-00000001"]
        assert (run.path / "checkpoints" / ".damaged-step-00000002").is_dir()


def test_the_same_position_twice_changes_nothing_and_replaces_a_damaged_checkpoint(run):
    warnings: list[str] = []
    run.warn = warnings.append
    with run.locked():
        run.resume()
        name = commit(run, 3)
        before = content(run.path)
        assert run.commit(Position(3, 0, 3), {"step": "other"}, tensors(9)) == name
        assert content(run.path) == before and warnings == []
        (run.path / "checkpoints" / name / "state.json").write_text("{}")
        assert commit(run, 3) == name
    assert "made again" in warnings[0]
    assert run.load(name).state == {"step": 3}


def test_before_evaluation_comes_before_the_plain_one(run):
    with run.locked():
        run.resume()
        run.commit(Position(4, 0, 4, evaluated=False), {"at": "before"}, tensors())
        assert run.load("latest").state == {"at": "before"}
        run.commit(Position(4, 1, 0), {"at": "after"}, tensors())
    assert run.checkpoints() == ["step-00000004", "step-00000004-before-evaluation"]
    assert run.load("latest").state == {"at": "after"}


def test_pruning_keeps_the_newest_and_every_best_they_name(run):
    run.keep = 3
    with run.locked():
        run.resume()
        for step in range(1, 8):
            commit(run, step, best={"checkpoint": "step-00000002", "value": 1.0} if step == 2 else None)
        assert [int(name[5:]) for name in run.checkpoints()] == [7, 6, 5, 2]
        commit(run, 8, best={"checkpoint": "step-00000008", "value": 0.5})
        assert [int(name[5:]) for name in run.checkpoints()] == [8, 7, 6, 2]  # 7 and 6 still name 2
        for step in (9, 10, 11):
            commit(run, step)
        assert [int(name[5:]) for name in run.checkpoints()] == [11, 10, 9, 8]
    assert run.load("best").state == {"step": 8}
    assert run.load("latest").state == {"step": 11}
    with pytest.raises(StorageError, match="step-00000001: no such checkpoint .there are: step-00000011"):
        run.load("step-00000001")


def test_best_goes_back_with_the_checkpoint(run):
    with run.locked():
        run.resume()
        commit(run, 1, best={"checkpoint": "step-00000001", "value": 2.0})
        commit(run, 2, best={"checkpoint": "step-00000002", "value": 1.0})
    (run.path / "checkpoints" / "step-00000002" / "model.safetensors").unlink()
    again = RunDirectory(run.path, lambda message: None)
    with again.locked():
        again.resume()
    assert again.read_best() == {"checkpoint": "step-00000001", "value": 2.0}


def test_without_an_evaluation_there_is_no_best(run):
    with pytest.raises(StorageError, match="best.json: missing"):
        run.load("best")
    with run.locked():
        run.resume()
        commit(run, 1)
        run.write_best({"checkpoint": "step-00000001"})
        run.write_best(None)
    assert not (run.path / "best.json").exists()


def test_reading_a_run_writes_nothing(run):
    with run.locked():
        run.resume()
        commit(run, 1, best={"checkpoint": "step-00000001"})
    before = content(run.path)
    reader = RunDirectory(run.path)
    reader.load("latest"), reader.load("best", groups=("model",)), reader.checkpoints(), reader.config
    assert content(run.path) == before


def test_a_file_in_a_folder_is_replaced_whole_and_half_written_ones_go(run):
    with run.locked():
        run.resume()
        run.write_file("sample_epe/epoch-00001.safetensors", b"one")
        run.write_file("sample_epe/epoch-00001.safetensors", b"two")
        half = run.path / "sample_epe" / ".tmp-epoch-00002.safetensors-abc"
        half.write_bytes(b"ha")
        run.resume()
    assert [(p.name, p.read_bytes()) for p in half.parent.iterdir()] == [("epoch-00001.safetensors", b"two")]
    (run.path / "plain").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="plain"):
        run.write_file("plain/x", b"")


# ---- the lock: one writer, named to whoever comes second, free when its holder dies ----


@pytest.mark.faults
def test_a_second_process_is_refused_and_changes_nothing_until_the_holder_is_killed(run):
    process = subprocess.Popen([sys.executable, "-c", HOLD, run.path], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        before = content(run.path)
        with pytest.raises(StorageError, match=rf"in use by process {process.pid} on host \S+ since"), run.locked():
            pytest.fail("locked twice")
        assert content(run.path) == before
        assert holder(run.path)["here"] is True
        process.kill()
        process.wait()
        os.kill(child, 0)  # the child of the holder lives on and does not keep the lock
        assert holder(run.path) is None
        began = time.monotonic()
        with run.locked():
            assert time.monotonic() - began < 1.0
            assert holder(run.path)["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_objects_of_one_process_exclude_each_other(run):
    with (
        run.locked(),
        pytest.raises(StorageError, match=f"in use by process {os.getpid()}"),
        RunDirectory(run.path).locked(),
    ):
        pass
    assert not (run.path / "lease.json").exists()
    with run.locked():  # free again
        pass


def test_a_writer_whose_run_was_taken_over_cannot_commit(run):
    with run.locked():
        run.resume()
        lease = run.path / "lease.json"
        lease.write_text(json.dumps(json.loads(lease.read_text()) | {"token": "another", "host": "node7"}))
        with pytest.raises(StorageError, match="taken over by process .* on host node7"):
            commit(run, 1)
        assert run.checkpoints() == [] and not list(run.path.rglob(".tmp-*"))
    assert lease.exists()  # it is the other's


def test_lease_of_a_dead_or_later_process_or_torn_is_no_holder(run):
    lease = run.path / "lease.json"
    lock = RunLock(run.path)
    lock.acquire()
    facts = json.loads(lease.read_text())
    for change in ({"pid": 999_999_999}, {"process_started": 1}):
        lease.write_text(json.dumps(facts | change))
        assert holder(run.path) is None
    lease.write_text(json.dumps(facts | {"host": "elsewhere"}))
    assert holder(run.path)["here"] is False
    lease.write_text('{"pid": ')
    assert holder(run.path) is None
    lock.release()
