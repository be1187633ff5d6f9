"""The lock of a run directory: one writer, named to whoever comes second, free when its holder dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgeflownas.errors import StorageError
from edgeflownas.run.directory import Position, RunDirectory
from edgeflownas.run.lock import RunLock, holder

HOLD = """
import subprocess, sys, time
from pathlib import Path
from edgeflownas.run import directory as creation
from edgeflownas.run.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
if sys.argv[2] == "child":  # as a loader worker is started: a program of its own
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid, flush=True)
else:
    print("held", flush=True)
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


@contextlib.contextmanager
def another_process(path: Path, kind: str = "plain"):
    """A process that holds the lock; yields it and what it printed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path, kind], stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ---- creation ----


def test_a_second_process_is_refused_with_the_holder_named_and_changes_nothing(run):
    with another_process(run.path) as (process, _):
        before = content(run.path)
        with pytest.raises(StorageError, match=rf"in use by process {process.pid} on host \S+ since"), run.locked():
            pytest.fail("locked twice")
        assert content(run.path) == before
        assert holder(run.path)["here"] is True


@pytest.mark.faults
def test_the_lock_is_free_when_its_holder_was_killed(run):
    with another_process(run.path) as (process, _):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert holder(run.path) is None
        began = time.monotonic()
        with run.locked():
            assert time.monotonic() - began < 1.0
            assert holder(run.path)["pid"] == os.getpid()


@pytest.mark.faults
def test_children_of_the_holder_do_not_keep_the_lock(run):
    with another_process(run.path, "child") as (process, child):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        try:
            os.kill(int(child), 0)  # the child lives on
            with run.locked():
                pass
        finally:
            os.kill(int(child), signal.SIGKILL)


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


# ---- committing and resuming ----
