"""Run folders, logs and tables of the TF1 tool, in the forms they take on a disk."""

from __future__ import annotations

import csv
import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.errors import DataError, StorageError
from edgeflownas.report.diagnosis import diagnose
from edgeflownas.report.history import read_histories, read_history
from edgeflownas.report.logs import facts_of, minutes_per_epoch, read_log
from edgeflownas.report.run_facts import read_any_facts

BEGAN = datetime(2026, 3, 2, 8, 15)
HEADER = (
    "start strict-fairness supernet training",
    "gpu_device=0 applied (visible GPUs=1)",
    "batch_size=32 micro_batch_size=16",
    "eval_batches_per_arch=16",
    "grad_clip_global_norm=200.0000",
    "val_source=data of mine/FC2/val val_samples={val}",
    "epoch_mode=full_pass train_sampling_mode=shuffle_no_replacement train_samples=17785 steps_per_epoch=556",
)


def ranking(epoch: int, archs: int = 12) -> list[float]:
    level = 8.0 + math.exp(-epoch / 4.0)
    return [round(level + 0.05 * index, 4) for index in range(archs)]


def text(epoch: int, every: int = 1) -> str:
    epes = ranking(epoch)
    figures = f"epoch={epoch} lr=9.9e-05 loss={20 / math.sqrt(epoch):.6f}"
    tail = "fairness_gap=0.00 grad_norm=39.0 grad_p90=50.7 clip_count=80 clip_rate=0.1439"
    if epoch % every:
        return f"{figures} distill=0.100000 eval=skipped {tail}"
    pool = "|".join(f"{rank}:{rank - 1}:{epe:.4f}" for rank, epe in enumerate(epes, 1))
    return f"{figures} mean_epe_12={sum(epes) / 12:.6f} std_epe_12=0.172602 {tail} arch_rank_12={pool}"


def log(*starts: tuple[range, int], minutes: float = 12.0, every: int = 1, stamp: bool = True) -> str:
    """Sessions (epochs, val_samples) one after the other."""
    lines, now = [], BEGAN
    for epochs, val in starts:
        lines += [(now, line.format(val=val)) for line in HEADER]
        for epoch in epochs:
            now += timedelta(minutes=minutes)
            lines.append((now, text(epoch, every)))
    mark = "{:%Y-%m-%d %H:%M:%S},417 | INFO | ".format
    return "".join(f"{mark(when) if stamp else ''}{line}\n" for when, line in lines)


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def table(path: Path, epochs: range) -> Path:
    rows = [
        {
            **{"epoch": e, "mean_epe_12": sum(ranking(e)) / 12, "train_loss_epoch_avg": 20 / math.sqrt(e)},
            **{"clip_trigger_rate": 0.0, "train_distill_loss_epoch_avg": 0.0},
            "arch_rank_12": "|".join(f"{i + 1}:{i}:{v:.4f}" for i, v in enumerate(ranking(e))),
        }
        for e in epochs
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def ids(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for finding in diagnose(read_history(path)).findings:
        found.setdefault(finding.id, []).append(finding)
    return found


def test_two_starts_with_other_samples_are_judged_apart(tmp_path: Path) -> None:
    write(tmp_path / "run" / "train.log", log((range(1, 31), 640), (range(31, 53), 4447)))
    table(tmp_path / "run" / "eval_epe_history.csv", range(1, 53))
    history = read_history(tmp_path / "run")
    facts = facts_of(history)
    assert [(s["first_epoch"], s["last_epoch"], s["val_samples"]) for s in facts["starts"]] == [
        (1, 30, 640),
        (31, 52, 4447),
    ]
    assert facts["starts"][0]["time"] == "2026-03-02 08:15:00" and facts["minutes_per_epoch"] == pytest.approx(12.0)
    assert (facts["steps"], facts["samples"], facts["train_samples"]) == (52 * 556, 52 * 17_792, 17_785)
    assert facts["evaluation_samples_per_arch"] == 512 and facts["gpu_device"] == 0
    assert (
        history.rows[0]["split_label"] == "data of mine/FC2/val/640"
        and history.rows[0]["mean_epe_12"] == sum(ranking(1)) / 12
    )
    assert not any("does not know" in note for note in history.notes)
    found = ids(tmp_path / "run")
    assert found["label_changed"][0].epochs == (31,)
    spans = [finding.epochs for finding in found["loss_epe_divergence"]]
    assert (1, 30) in spans or any(end <= 30 for _, end in spans)
    assert all("before the evaluation changed" in f.evidence for f in found["loss_epe_divergence"] if f.epochs[1] <= 30)


def test_epochs_without_evaluation_carry_loss_gradient_and_clip(tmp_path: Path) -> None:
    file = write(tmp_path / "train.log", log((range(1, 61), 640), every=5, minutes=0.0))
    history = read_history(file)
    assert (len(history.rows), history.evaluated) == (60, 12) and minutes_per_epoch(history) is None
    assert len(history.known("train_loss")) == len(history.known("grad_norm_p90")) == 60
    diagnosis = diagnose(history)
    assert {f.id for f in diagnosis.findings} & {"loss_epe_divergence", "no_divergence", "plateau"}
    assert diagnosis.price is None and "grad_p90" not in " ".join(history.notes)


DEBRIS = "epoch 3:  50%|##   | 278/556 [06:00<06:00, loss=99.0, lr=1e-9]"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.replace("2026-03-02 09:", f"{DEBRIS}\r2026-03-02 09:"),  # a progress bar before a line
        lambda t: t.replace("2026-03-02 09:", f"\x1b[A\x1b[2K{DEBRIS}2026-03-02 09:"),  # without a return, coloured
        lambda t: t.replace("\n", f"\r{DEBRIS}\n".replace("loss=99.0, lr=1e-9", "1.29s/it")),  # and after it
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t + text(53)[:90],  # cut in the middle of a line
        lambda t: t + text(53)[: text(53).index("|9:")],  # cut in its ranking
        lambda t: t + "epoch=53 distill_loss=0.1\n",
    ],
    ids=["bar", "bar in line", "bar after", "windows", "cut", "cut ranking", "distil"],
)
def test_what_a_console_leaves_around_the_lines(tmp_path: Path, spoil: Any) -> None:
    whole = read_history(write(tmp_path / "whole.log", log((range(1, 53), 640))))
    history = read_history(write(tmp_path / "spoilt.log", spoil(log((range(1, 53), 640)))))
    assert history.rows[:52] == whole.rows and len(history.rows) == 52


@pytest.mark.parametrize("cut", [40, 90, -40, -2])
def test_a_start_after_a_line_that_was_cut(tmp_path: Path, cut: int) -> None:
    """Killed in the middle of a line, then begun again from the checkpoint before it."""
    first, second = log((range(1, 31), 640)), log((range(31, 53), 640))
    for end in ("\n", ""):
        spoilt = f"{first}2026-03-02 21:00:00,000 | INFO | {text(31)[:cut]}{end}{second}"
        history = read_history(write(tmp_path / "spoilt.log", spoilt))
        assert history.epochs.tolist() == list(range(1, 53)) and len(facts_of(history)["starts"]) == 2
        assert history.rows[30]["mean_epe_12"] == pytest.approx(sum(ranking(31)) / 12, abs=1e-6)
    lost = f"{first}2026-03-02 21:00:00,000 | INFO | {text(31)[:cut]}\n" + log((range(20, 26), 640))
    assert read_history(write(tmp_path / "back.log", lost)).epochs.tolist() == list(range(1, 26))


def test_a_log_of_powershell_and_one_without_stamps(tmp_path: Path) -> None:
    (tmp_path / "wide.log").write_bytes(log((range(1, 11), 640)).encode("utf-16"))
    assert read_history(tmp_path / "wide.log").evaluated == 10
    plain = read_history(write(tmp_path / "plain.log", log((range(1, 11), 640), stamp=False)))
    assert plain.evaluated == 10 and minutes_per_epoch(plain) is None and plain.starts[0].facts["val_samples"] == 640


def test_a_start_that_begins_again_below_leaves_out_what_it_went_back_from(tmp_path: Path) -> None:
    write(tmp_path / "run" / "train.log", log((range(1, 31), 640), (range(1, 13), 640)))
    table(tmp_path / "run" / "eval_epe_history.csv", range(1, 31))
    history = read_history(tmp_path / "run")
    assert history.epochs.tolist() == list(range(1, 13)) and any("began below" in note for note in history.notes)
    resumed = read_history(write(tmp_path / "b.log", log((range(1, 31), 640), (range(21, 41), 640))))
    assert resumed.epochs.tolist() == list(range(1, 41)) and len(facts_of(resumed)["starts"]) == 2


def test_a_row_that_contradicts_its_ranking(tmp_path: Path) -> None:
    content = log((range(1, 21), 640))
    mean = f"mean_epe_12={sum(ranking(7)) / 12:.6f}"
    assert "row_contradicts" not in ids(write(tmp_path / "a.log", content))
    found = ids(write(tmp_path / "b.log", content.replace(mean, "mean_epe_12=7.500000")))["row_contradicts"][0]
    assert found.epochs == (7,) and found.severity == "warning" and "7.5000" in found.evidence


def test_the_price_of_going_on(tmp_path: Path) -> None:
    history = read_history(write(tmp_path / "train.log", log((range(1, 51), 640)))).planned(201)
    price = diagnose(history).price
    assert price is not None and price["epochs_left"] == 151 and price["hours_left"] == pytest.approx(30.2)
    since = price["level_since"]
    assert (
        price["text"]
        == f"level since epoch {since}: {50 - since} epochs, {(50 - since) / 5:.1f} h spent since; 151 left, 30 h"
    )


def single(path: Path, epochs: range, epe: Any, names: str = "ab") -> Path:
    def line(e: int) -> str:
        losses = " ".join(f"loss_{n}={2 / e + i / 10:.6f}" for i, n in enumerate(names))
        return f"epoch={e} lr=9.98e-05 {losses} " + " ".join(
            f"epe_{n}={epe(e) + i / 10:.4f}" for i, n in enumerate(names)
        )

    return write(
        path, "".join(f"2026-11-30 05:{e % 60:02d}:00,000 | INFO | {line(e)} Δepe_b_vs_a=0.1000\n" for e in epochs)
    )


def test_single_models_of_one_log_and_their_table(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    single(folder / "train.log", range(5, 101, 5), lambda e: 2 + 5 / e)
    rows = "".join(f"{e},0.0001,{2 / e},{2 + 5 / e},{2 + 5 / e}\n" for e in range(5, 101, 5))
    write(folder / "eval_history.csv", f"epoch,lr,loss,epe,best_epe\n{rows}")
    histories = read_histories(folder)
    assert [h.name for h in histories] == ["run:a", "run:b"] and [h.evaluated for h in histories] == [20, 20]
    assert histories[0].rows[3]["mean_epe_12"] == 2.25 and histories[0].rows[3]["best_epe"] == 2.25  # the table's
    with pytest.raises(DataError, match="several models, run:a, run:b"):
        read_history(folder)
    (table_alone,) = read_histories(folder / "eval_history.csv")
    assert table_alone.pool_size == 1 and table_alone.evaluated == 20
    facts = read_any_facts(folder, "run")
    assert [fact.name for fact in facts] == ["run:a", "run:b"]
    assert [result.epe for fact in facts for result in fact.results] == pytest.approx([2.05, 2.15], abs=1e-4)


def test_a_table_of_variants_and_a_retrain_log(tmp_path: Path) -> None:
    rows = "".join(f"{e},{v},1e-4,1.0,{3 - e / 10 + (v == 'b')}\n" for e in range(1, 9) for v in "ab")
    histories = read_histories(write(tmp_path / "eval_history.csv", f"epoch,variant,lr,loss,epe\n{rows}"))
    assert [(h.model, h.evaluated) for h in histories] == [("a", 8), ("b", 8)]
    line = (
        "epoch={0}/100 global_step={1} lr=1e-4 time_sec=99.0 loss=2.0 optical=1.6 uncertainty=0.4 val_epe={2} "
        "sintel_epe=None grad_mean=1.0 grad_p90=2.0 clip_rate=0.0000\n"
    )
    content = "".join(line.format(e, 556 * e, 2 + 5 / e if e % 5 == 0 else None) for e in range(1, 51))
    history = read_history(write(tmp_path / "retrain.log", content))
    assert (len(history.rows), history.evaluated, history.planned_epochs) == (50, 10, 100)
    assert facts_of(history)["minutes_per_epoch"] == pytest.approx(1.65) and facts_of(history)["steps"] == 27_800
    price = diagnose(history).price
    assert price is not None and price["epochs_left"] == 50


def test_a_manifest_of_the_tf1_tool_says_what_the_log_does_not(tmp_path: Path) -> None:
    table(tmp_path / "run" / "eval_epe_history.csv", range(1, 11))
    settings = {
        "config": {"train": {"num_epochs": 200, "batch_size": 32, "epoch_mode": "full_pass", "steps_per_epoch": 50}}
    }
    write(tmp_path / "run" / "run_manifest.json", json.dumps(settings))
    history = read_history(tmp_path / "run")
    assert history.planned_epochs == 200 and facts_of(history)["batch_size"] == 32
    assert "steps_per_epoch" not in facts_of(history)  # ignored with full_pass
    with pytest.raises(StorageError, match="give one of run"):
        read_history(tmp_path)


def test_header_lines_in_any_order_make_one_start() -> None:
    found = read_log("\n".join([HEADER[1], *HEADER[:1], *HEADER[2:4], text(1), *HEADER[:3], "", text(2)])).starts
    assert [sorted(start.epochs) for start in found] == [[1], [2]] and found[1].facts["batch_size"] == 32


def test_another_log_beside_a_table_says_nothing(tmp_path: Path) -> None:
    table(tmp_path / "eval_history.csv", range(1, 11))
    alone = read_history(tmp_path)
    write(
        tmp_path / "train.log",
        "gpu_device=-1 applied\ntrain step 1/9  11.1 %  loss 10.95\nepoch 1/3 step 3 loss 13.18\n",
    )
    assert read_history(tmp_path).rows == alone.rows
