"""A run of format 1 (rankings as text in events.jsonl) becomes one of format 2 at its first resume, once and whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeflownas.errors import StorageError
from edgeflownas.files import CONVERSION_POINTS, canonical_json, read_rows
from edgeflownas.run.checkpoint import Position
from edgeflownas.run.directory import FORMAT, KEPT, RunDirectory
from edgeflownas.run.history import evaluations

CODES = ("0,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1")
# Imports torch once and resumes each run in a child of its own, whose exit status it prints.
SERVER = """
import json, os, sys
from pathlib import Path
from edgeflownas.run.directory import RunDirectory
for line in sys.stdin:
    path, variables = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            os.environ.update(variables)
            run = RunDirectory(Path(path))
            with run.locked():
                run.resume()
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
Resume = Callable[..., Path]


def ranking(epoch):
    return f"1:1:{7.0 / epoch:.4f}|1:0:{8.0 / epoch:.4f}"


def event(epoch):
    facts = {"epoch": epoch, "global_step": 2 * epoch, "seen_samples": 16 * epoch, "split_label": "fc2/x"}
    return {"event": "evaluation", **facts, "mean_epe_2": 7.5 / epoch, "arch_rank_2": ranking(epoch), "lr": 1e-4}


def old_run(path):
    """Two epochs of a run as the version before wrote it, with rows of a third that was never committed."""
    run = RunDirectory.create(path, {"runtime": {"seed": 0}}, {"keys": {}})
    with run.locked():
        run.resume()
        for epoch in (1, 2, 3):
            for index, code in enumerate(CODES):
                run.per_arch.append({"epoch": epoch, "arch_index": index, "epe": f"{8.0 - index}", "code": code})
            for step in (2 * epoch - 1, 2 * epoch):
                run.events.append({"event": "step", "step": step, "loss": 1.0 / step})
            run.events.append(event(epoch))
            if epoch < 3:
                run.commit(Position(2 * epoch, epoch, 0), {"epoch": epoch}, {"model": {"w": torch.ones(2)}})
    file = path / "run_manifest.json"
    file.write_bytes(canonical_json({**json.loads(file.read_bytes()), "format": 1}))
    return path


def test_it_is_read_as_it_is(tmp_path):
    path = old_run(tmp_path / "run")
    before = (path / "events.jsonl").read_bytes()
    last = evaluations(path)[-1]
    assert (last.epoch, last.step, last.codes) == (3, 6, CODES)
    assert last.epes == (2.6667, 2.3333) and last.ranks == (1, 1) and last.mean == 2.5
    assert (path / "events.jsonl").read_bytes() == before and not (path / KEPT).exists()


def test_a_resume_converts_it_once_and_keeps_the_old_log(tmp_path):
    path = old_run(tmp_path / "run")
    before = (path / "events.jsonl").read_bytes()
    for _ in range(2):
        run = RunDirectory(path)
        with run.locked():
            checkpoint = run.resume()
        assert checkpoint is not None and checkpoint.name == "step-00000004"
        assert RunDirectory(path).format == FORMAT and (path / KEPT).read_bytes() == before
        rows = list(read_rows(path / "events.jsonl"))
        assert [row.get("step") for row in rows] == [1, 2, None, 3, 4, None], "what was not committed is cut"
        assert rows[2]["epes"] == [8.0, 7.0] and rows[2]["ranks"] == [1, 1] and rows[2]["codes"] == list(CODES)
        assert not any(name.startswith("arch_rank") for row in rows for name in row)
        others = [{**row, "epes": 0, "ranks": 0, "codes": 0} for row in rows]
        old = [json.loads(line) for line in before.splitlines()[:6]]
        assert others == [
            {**{k: v for k, v in r.items() if k != "arch_rank_2"}, "epes": 0, "ranks": 0, "codes": 0} for r in old
        ]
    with run.locked():  # an older checkpoint is still found where its rows ended
        run.events.append({"event": "step", "step": 5, "loss": 0.2})
        run.commit(Position(6, 3, 0), {"epoch": 3}, {"model": {"w": torch.zeros(2)}})
    (path / "checkpoints" / "step-00000006" / "model.safetensors").write_bytes(b"torn")
    (path / "checkpoints" / "step-00000004" / "model.safetensors").write_bytes(b"torn")
    again = RunDirectory(path, warn=lambda text: None)
    with pytest.raises(StorageError, match="no usable checkpoint"), again.locked():  # keep is 2: these were all
        again.resume()


def test_an_older_checkpoint_finds_its_rows_in_the_new_log(tmp_path):
    path = old_run(tmp_path / "run")
    run = RunDirectory(path)
    with run.locked():
        run.resume()
    (path / "checkpoints" / "step-00000004" / "model.safetensors").write_bytes(b"torn")
    again = RunDirectory(path, warn=lambda text: None)
    with again.locked():
        checkpoint = again.resume()
    assert checkpoint is not None and checkpoint.name == "step-00000002"
    assert [row.get("step") for row in read_rows(path / "events.jsonl")] == [1, 2, None]


@pytest.fixture(scope="module")
def resumed():
    """A function that resumes a run in a process of its own, which may die on the way."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def resume(path, crash=""):
            variables = {"EDGEFLOWNAS_CRASH_AT": crash} if crash else {}
            print(json.dumps([str(path), variables]), file=process.stdin, flush=True)
            assert int(process.stdout.readline()) == (137 if crash else 0)
            return path

        yield resume


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return old_run(tmp_path_factory.mktemp("begun") / "run")


@pytest.fixture(scope="module")
def whole(begun, resumed):
    """Converted at once."""
    return resumed(Path(shutil.copytree(begun, begun.parent / "whole")))


@pytest.mark.faults
@pytest.mark.parametrize("place", [*CONVERSION_POINTS, "atomic.temporary_written:2", "atomic.replaced:3"])
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path, begun, whole, resumed, place):
    killed = Path(shutil.copytree(begun, tmp_path / "killed"))
    resumed(killed, place)
    resumed(killed)
    for name in ("events.jsonl", KEPT, "per_arch_epe.csv", "run_manifest.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
