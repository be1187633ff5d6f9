"""Reading histories: every form, while they are written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.report.history import read_history

ROWS = "epoch,lr,mean_epe_3,arch_rank_3\n1,1e-4,3.0000,1:0:2.0000|2:1:3.0000|3:2:4.0000\n"
NEXT = "2,9e-5,2.5000,1:1:2.0000|1:0:2.0000|3:2:3.5000\n"
CONSOLE = "starting\n10:00 epoch=1/50 lr=1e-4 loss=8.5 mean_epe_3=3.0, arch_rank_3=1:0:2.0|2:1:3.0|3:2:4.0\nstep=3\n"


def write(folder: Path, text: str, name: str = "eval_history.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def run_folder(folder: Path, events: str, manifest: object = None) -> Path:
    """A run directory with two rows in its table."""
    write(folder, ROWS + NEXT)
    write(folder, events, "events.jsonl")
    write(folder, json.dumps({"format": 1, "run": "x", "manifest": manifest or {}}), "run_manifest.json")
    write(folder, "train:\n  lr: 1e-4\n", "config.yaml")
    return folder


def test_columns_have_canonical_names_whatever_the_pool_size(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, ROWS + NEXT))
    assert history.pool_size == 3 and history.epochs.tolist() == [1, 2]
    assert history.column("mean_epe_12").tolist() == history.known("mean_epe_12").tolist() == [3.0, 2.5]
    assert np.isnan(history.column("zero_flow_epe")).all() and not len(history.known("zero_flow_epe"))
    assert history.epes.tolist() == [[2.0, 3.0, 4.0], [2.0, 2.0, 3.5]]  # shared ranks are fine
    assert history.column("median_epe_12").tolist() == [3.0, 2.0]  # computed, and said so
    assert any("median_epe_12" in note for note in history.notes)


def test_codes_and_baseline_come_from_per_arch(tmp_path: Path) -> None:
    codes = ["0,0,0,0,0,0,0,0,0", "0,0,0,0,2,1,2,2,2", "2,2,2,2,2,2,2,2,2"]
    lines = [f'{epoch},{a},{epe},"{codes[a]}",' for epoch, epe in ((1, 3.0), (2, 2.0)) for a in range(3)]
    write(tmp_path, "epoch,arch_index,epe,code,epe_ema\n" + "\n".join(lines) + "\n", "per_arch_epe.csv")
    history = read_history(write(tmp_path, "epoch,mean_epe_3\n1,3\n2,2\n"))
    assert history.codes == tuple(codes) and history.baseline_index == 1
    assert history.epes.tolist() == [[3.0] * 3, [2.0] * 3]


@pytest.mark.parametrize("torn", ["2,9e-", "2,9e-5,2.5", "2,9e-5,2.5000,1:1:2.0000|1:0:2.00"])
def test_a_torn_last_line_is_noted_and_left_out(tmp_path: Path, torn: str) -> None:
    history = read_history(write(tmp_path, ROWS + torn))
    assert len(history.rows) == 1 and "line 3 is not complete" in history.notes[0]
    assert len(read_history(write(tmp_path, ROWS + NEXT.rstrip("\n"))).rows) == 2  # only the line end is missing


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2,abc,2.5,\n", "lr must be a number"),
        ("2,9e-5\n", "2 cells under a header of 4"),
        ("two,9e-5,2.5,\n", "epoch must be a"),
        ("2,9e-5,2.5,1:7:2.0\n", "arch 7 of a pool of 3"),
        ("2,9e-5,2.5,1:0:x\n", "no number"),
        ("2,9e-5,2.5,1:0:2.0|2:0:3.0\n", "twice"),
    ],
)
def test_a_bad_line_is_refused_with_number_and_content(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read_history(write(tmp_path, ROWS + line))
    assert problem in str(caught.value) and "line 3" in str(caught.value) and line.strip() in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *((text, "expected a run directory") for text in ("", "a,b\n1,2\n", "epoch,lr\n1,2\n", "words\n", "\0\1\2")),
        ("epoch,mean_epe_3\n", "no evaluated epoch"),
    ],
)
def test_another_file_is_refused_saying_what_was_expected(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_history(write(tmp_path, text))
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "no", tmp_path / "empty"):
        with pytest.raises(StorageError, match="expected a run directory"):
            read_history(path)


def test_a_resumed_log_counts_the_later_row(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, "epoch,mean_epe_3\n1,9\n2,8\n3,7\n2,6\n"))
    assert history.epochs.tolist() == [1, 2, 3] and history.column("mean_epe_12").tolist() == [9, 6, 7]
    assert "stand twice" in history.notes[0]


def test_another_pool_inside_the_history(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, ROWS + "epoch,lr,mean_epe_2,arch_rank_2\n2,1e-4,2.5,1:0:2.0|2:1:3.0\n"))
    assert history.pool_size == 2 and np.isnan(history.epes[0]).all()
    assert history.epes[1].tolist() == [2.0, 3.0] and history.text("pool_size") == ["3", "2"]


def test_unknown_columns_are_named_and_values_that_are_no_numbers_stay(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, "epoch,mean_epe_3,colour\n1,nan,red\n2,inf,\n"))
    assert any("colour" in note for note in history.notes)
    assert np.isnan(history.column("mean_epe_12")[0]) and np.isinf(history.column("mean_epe_12")[1])


def test_console_lines(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, CONSOLE, "train.log"))
    assert history.planned_epochs == 50 and history.column("train_loss").tolist() == [8.5]
    with pytest.raises(DataError, match="line 4"):
        read_history(write(tmp_path, CONSOLE + "epoch=2 mean_epe_3=many\n", "train.log"))
    torn = read_history(write(tmp_path, CONSOLE + "epoch=2 mean_epe_3=many", "train.log"))
    assert len(torn.rows) == 1 and torn.notes


def test_a_shortened_ranking_on_the_console_is_left_out(tmp_path: Path) -> None:
    line = "epoch={} lr=9.9e-05 loss=8.1 mean_epe_12={:.4f} std_epe_12=0.01 ... arch_rank_12=1:3:9.72|...\n"
    history = read_history(write(tmp_path, line.format(1, 9.8) + line.format(2, 9.7), "train.log"))
    assert history.column("mean_epe_12").tolist() == [9.8, 9.7] and history.column("lr").tolist() == [9.9e-5] * 2
    assert "arch_rank_12" not in history.columns and np.isnan(history.epes).all()
    assert any("shortened with ... in 2 lines, first line 1" in note for note in history.notes)


def test_run_directory_has_exact_values_and_its_record(tmp_path: Path) -> None:
    event = {"event": "evaluation", "epoch": 1, "mean_epe_3": 3.00001234, "clip_threshold": None, "train_loss": "nan"}
    lines = [{"event": "step", "loss": 1}, event, {**event, "epoch": 2, "mean_epe_3": 2.5}]
    events = "".join(json.dumps(line) + "\n" for line in lines) + '{"event": "evaluation", "ep'
    run_folder(tmp_path, events, {"plan": {"num_epochs": 7}, "eval_set": {"pool": ["0", "1", "2"]}})
    write(tmp_path, json.dumps({"what": "resumed", "step": 3, "changed": ["a: 1 -> 2"]}) + "\n", "timing.jsonl")
    history = read_history(tmp_path)
    assert history.column("mean_epe_12").tolist() == [3.00001234, 2.5]
    assert history.column("lr").tolist() == [1e-4, 9e-5]  # from the CSV
    assert np.isnan(history.column("train_loss")).all() and "train_loss" in history.columns
    assert history.planned_epochs == 7 and history.codes == ("0", "1", "2")
    assert history.run is not None and history.run.key("train.lr") == 1e-4
    assert history.run.timing[0]["changed"] == ["a: 1 -> 2"]


def test_missing_events_are_named_and_the_table_stands_in(tmp_path: Path) -> None:
    history = read_history(run_folder(tmp_path, ""))
    assert len(history.rows) == 2
    assert any("events.jsonl holds no evaluation of any epoch" in note for note in history.notes)
    second = json.dumps({"event": "evaluation", "epoch": 2, "mean_epe_3": 2.50001})
    history = read_history(run_folder(tmp_path, '{"event": "evaluation", garbage\n' + second + "\n"))
    assert history.column("mean_epe_12").tolist() == [3.0, 2.50001]
    assert any("epochs 1: taken from eval_history.csv" in note for note in history.notes)


@pytest.mark.parametrize("name", ["per_option.csv", "monitor.csv"])
@pytest.mark.parametrize("content", [b"\0\1\2", b"epoch,a\n1,2,3,4\n5,6\n", b"epoch,a\nmany,2\n", b"words\nother\n"])
def test_damaged_files_beside_the_history_are_left_out(tmp_path: Path, name: str, content: bytes) -> None:
    (run_folder(tmp_path, "") / name).write_bytes(content)
    history = read_history(tmp_path)
    assert len(history.rows) == 2 and history.run is not None and history.run.monitor == history.run.per_option == ()
    assert any(note.startswith(f"{name} cannot be read and was left out") for note in history.notes)


def test_a_last_row_without_its_epe_is_noted(tmp_path: Path) -> None:
    notes = read_history(write(tmp_path, "epoch,mean_epe_3,zero_flow_epe\n1,3.0,9.0\n2,,nan\n")).notes
    missing = [f"the last evaluation (epoch 2) has no {name}" for name in ("mean_epe_3", "zero_flow_epe")]
    assert [note.split(":")[0] for note in notes] == missing
    assert not read_history(write(tmp_path, "epoch,mean_epe_3\n1,3.0\n")).notes


def test_planned_epochs_can_be_given(tmp_path: Path) -> None:
    history = read_history(write(tmp_path, ROWS + NEXT))
    assert history.planned(200).planned_epochs == 200 and history.planned(None) is history
    with pytest.raises(ConfigError, match="below the last epoch 2"):
        history.planned(1)
