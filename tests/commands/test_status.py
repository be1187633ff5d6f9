"""`status`: what it says of runs in every state, and that looking changes nothing."""

import json
import time

import pytest
import torch

from edgeflownas.cli import run
from edgeflownas.commands.status import status
from edgeflownas.errors import StorageError
from edgeflownas.run.directory import Position, RunDirectory


def make(path, steps=0, **last):
    run = RunDirectory.create(path, {}, {"plan": {"total_steps": 10}, "generated_data": True})
    with run.locked():
        run.resume()
        for step in range(1, steps + 1):
            facts = last if step == steps else {}
            run.commit(Position(step, step // 5, step % 5), {}, {"model": {"w": torch.ones(2)}}, **facts)
    return run


def ask(root, capsys):
    status(root, json=True)
    captured = capsys.readouterr()
    assert captured.err == ""
    return {row["run"].removeprefix(f"{root}/"): row for row in json.loads(captured.out)}


def test_runs_in_every_state(tmp_path, capsys):
    make(tmp_path / "begun")
    make(
        tmp_path / "deep" / "er" / "interrupted",
        6,
        best={"checkpoint": "step-00000006", "value": 7.25, "criterion": "wide_p90"},
    )
    make(tmp_path / "finished", 10, finished=True)
    broken = make(tmp_path / "broken", 1)
    (broken.path / "run_manifest.json").write_text("{")
    (tmp_path / ".hidden").mkdir()
    running = make(tmp_path / "running", 2)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    with running.locked():
        rows = ask(tmp_path, capsys)
        status(tmp_path)
        table = capsys.readouterr().out
    states = {name: name for name in ("begun", "finished", "running")}
    states |= {"deep/er/interrupted": "interrupted", "broken": "unreadable"}
    assert {name: row["state"] for name, row in rows.items()} == states
    row = rows["deep/er/interrupted"]
    assert (row["step"], row["total_steps"], row["epoch"], row["best"]["value"]) == (6, 10, 1, 7.25)
    assert row["seconds_left"] > 0 and row["generated_data"] is True and row["lock_owner"] is None
    assert rows["finished"]["seconds_left"] is None and rows["begun"]["seconds_left"] is None
    assert rows["running"]["lock_owner"]["pid"] > 0 and "run_manifest.json" in rows["broken"]["problem"]
    lines = {line.split()[0].removeprefix(f"{tmp_path}/"): line for line in table.splitlines()}
    assert "wide p90 7.2500 at step-00000006" in lines["deep/er/interrupted"] and "6/10" in lines["deep/er/interrupted"]
    assert str(rows["running"]["lock_owner"]["pid"]) in lines["running"]
    untouched = {p: t for p, t in before.items() if "running" not in str(p)}
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched


def test_time_left_is_the_pace_of_the_last_session(tmp_path, capsys):
    run = make(tmp_path / "a", 4)
    now = time.time()
    rows = [("resume", now - 900, 0), ("commit", now - 800, 1), ("resume", now - 100, 1), ("commit", now - 40, 4)]
    (run.path / "timing.jsonl").write_text(
        "".join(json.dumps({"what": what, "time": at, "step": step}) + "\n" for what, at, step in rows)
        + '{"what": "com'
    )
    assert ask(tmp_path, capsys)["a"]["seconds_left"] == pytest.approx(6 * 20.0)


def test_a_run_held_on_another_machine(tmp_path, capsys):
    run = make(tmp_path / "a", 1)
    lease = {"host": "node7", "pid": 5, "boot_id": "x", "started": 0.0, "process_started": 1, "token": "t"}
    (run.path / "lease.json").write_text(json.dumps(lease))
    row = ask(tmp_path, capsys)["a"]
    assert row["state"] == "locked" and row["lock_owner"]["host"] == "node7"


def test_a_damaged_newest_manifest_does_not_hide_the_run(tmp_path, capsys):
    run = make(tmp_path / "a", 3)
    (run.path / "checkpoints" / "step-00000003" / "manifest.json").write_text("torn")
    assert ask(tmp_path, capsys)["a"]["step"] == 2


def test_a_run_directory_itself_nothing_and_no_folder(tmp_path, capsys):
    run = make(tmp_path / "a", 1)
    status(run.path)
    assert str(run.path) in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    status(tmp_path / "none")
    assert "no runs below" in capsys.readouterr().out and ask(tmp_path / "none", capsys) == {}
    with pytest.raises(StorageError, match="not a folder"):
        status(tmp_path / "absent")


@pytest.mark.parametrize("name", ["\x1b[2J\x9b31m", "caf\udce9", "\u202eabc"])
def test_no_name_reaches_the_terminal_raw(tmp_path, capsys, name):
    make(tmp_path / name / "run", 1)
    broken = make(tmp_path / name / "broken", 1)
    (broken.path / "run_manifest.json").write_text("{}")
    for words in (["status", tmp_path], ["status", tmp_path, "--json"], ["status", tmp_path / name / "gone"]):
        run([str(word) for word in words])
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert text and all(char.isprintable() or char == "\n" for char in text)


def test_no_formula_reaches_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "=cmd|'x'!A1" / "run", 1)
    assert run(["status", "=cmd|'x'!A1", "--csv", "states.csv"]) == 0
    assert (tmp_path / "states.csv").read_text().splitlines()[1].startswith("'=cmd")
