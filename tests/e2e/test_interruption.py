"""Stopped by the clock, a signal or a kill, and resumed: the same bits as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from runs import command, contents, newest, outcome, rows, state, stop_when, table, told

from edgeflownas.data import loader

pytestmark = pytest.mark.e2e
# Two epochs of two steps, evaluated after each; micro-batches of 3 and 1.
KEYS = ("--train.num_epochs=2", "--eval.eval_every_epoch=1", "--train.micro_batch_size=3", "--train.ema_decay=0.9")


@pytest.fixture(scope="module")
def whole(place):
    """The uninterrupted run."""
    return place.trained("whole", *KEYS)


def stop_at(monkeypatch, count):
    """Let the ``count``-th look at the stop flag find it raised, in every session."""
    stop_when(monkeypatch, lambda asked: asked % count == 0)


def resume_to_the_end(place, name, *words, lives=40):
    """Resume until it ends with 0; the number of resumes."""
    for life in range(1, lives):
        ended = place.resume(name, *words)
        if ended.code == 0:
            return life
        assert ended.code == 75, ended.err
    raise AssertionError(f"{name} does not come to an end")


# A step asks 1 + 6 times (once, then before each of 6 units), an evaluation 2 + 2 (of the average) times.
def test_stopped_at_any_micro_batch_or_evaluation_batch(place, whole, monkeypatch):
    name = "stopped"
    stop_at(monkeypatch, 11)
    first = place.train(name, *KEYS)
    assert first.code == 75 and "SIGTERM" in first.err and "resume" in first.err
    assert resume_to_the_end(place, name) >= 5
    assert outcome(place.runs / name) == outcome(whole)
    timed = ("_seconds", "_share", "_second")
    columns = [k for k in table(whole / "eval_history.csv")[0] if not k.endswith(timed) and not k.startswith("share_")]
    ours, theirs = table(place.runs / name / "eval_history.csv"), table(whole / "eval_history.csv")
    assert [[row[key] for key in columns] for row in ours] == [[row[key] for key in columns] for row in theirs]
    for file in ("per_arch_epe.csv", "best.json", "eval_set.json"):
        assert (place.runs / name / file).read_bytes() == (whole / file).read_bytes()


def test_an_abandoned_step_changes_nothing(place, monkeypatch):
    stop_at(monkeypatch, 2 * 7 + 4 + 3)  # the third step is in its second unit
    assert place.train("abandoned", *KEYS).code == 75
    run = place.runs / "abandoned"
    assert state(run)["step"] == 2 and newest(run).name == "step-00000002"
    assert [row["step"] for row in rows(run, "step")] == [1, 2]


def test_during_an_evaluation_the_epoch_is_kept_and_evaluated_again(place, whole, monkeypatch):
    stop_at(monkeypatch, 2 * 7 + 2)  # two steps, then the first evaluation batch
    assert place.train("evaluating", *KEYS).code == 75
    run = place.runs / "evaluating"
    assert newest(run).name == "step-00000002-before-evaluation" and not rows(run, "evaluation")
    monkeypatch.undo()
    assert place.resume("evaluating").code == 0
    assert outcome(run) == outcome(whole)


def test_max_seconds(place, whole):
    started = place.train("timed", *KEYS, "--runtime.max_seconds=0.01")
    assert started.code == 75 and "time limit of 0.01 s" in started.err and "committed step 0" in started.err
    (row,) = [r for r in told("status", place.runs) if r["run"].endswith("timed")]
    assert (row["state"], row["step"], row["lock_owner"]) == ("interrupted", 0, None)
    assert place.resume("timed").code == 75  # the key is the run's own
    middle = command("train", "--resume", place.runs / "timed", "--max-seconds", "0.3", "--json")
    assert middle.code in (75, 0)
    assert json.loads(middle.out)["state"] == ("interrupted" if middle.code else "finished")
    assert place.resume("timed", "--runtime.max_seconds=null").code == 0
    assert outcome(place.runs / "timed") == outcome(whole)  # the clock changes no bit


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_max_seconds_that_make_no_sense_are_refused(place, seconds):
    ended = place.train("senseless", "--max-seconds", seconds)
    assert ended.code == 64 and "--max-seconds" in ended.err and not (place.runs / "senseless").exists()


def send_when_running(run, number):
    """Send a signal to this process once the run has logged its second step."""

    def wait_and_send():
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if (run / "events.jsonl").exists() and (run / "events.jsonl").read_bytes().count(b"\n") >= 2:
                os.kill(os.getpid(), number)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGUSR1, 2)])
def test_signals(place, whole, number, workers):
    name, before = f"{number.name}{workers}", signal.getsignal(number)
    # Many epochs, so that the run cannot end before the signal comes.
    thread = send_when_running(place.runs / name, number)
    ended = place.train(name, *KEYS, "--train.num_epochs=500", f"--data.num_workers={workers}")
    thread.join()
    assert ended.code == 75 and f"{number.name}: committed step" in ended.err and "Traceback" not in ended.err
    assert signal.getsignal(number) == before
    run = place.runs / name
    assert state(run)["step"] == len(rows(run, "step")) >= 2


def test_sigterm_to_the_program(place):
    """The real thing: exit status soon (ten seconds, more where a machine does five things at once), lock released."""
    words = ("--train.num_epochs=500", "--data.num_workers=2")
    run = place.runs / "terminated"
    arguments = [sys.executable, "-m", "edgeflownas", "train", *place.words("terminated", *words)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (run / "events.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    (row,) = told("status", run)
    assert row["state"] == "running" and row["lock_owner"]["pid"] == process.pid
    before = contents(run / "checkpoints")
    second = place.resume("terminated")
    assert second.code == 74 and str(process.pid) in second.err
    assert before.items() <= contents(run / "checkpoints").items() or len(rows(run, "step")) > 1
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    stderr = process.communicate(timeout=300)[1]
    assert process.returncode == 75 and time.monotonic() - sent < 30
    assert "SIGTERM" in stderr and "Traceback" not in stderr and "leaked" not in stderr
    (row,) = told("status", run)
    assert row["state"] == "interrupted" and row["lock_owner"] is None
    assert state(run)["step"] == len(rows(run, "step"))


def test_observation_keys_at_resume_change_no_bit(place, whole, monkeypatch):
    run, cache = place.runs / "observed", place.folder / "cache"
    with monkeypatch.context() as patch:
        stop_at(patch, 10)
        assert place.train("observed", *KEYS).code == 75
    threads = ("--data.num_workers=2", "--data.prefetch_batches=3", f"--data.cache_dir={cache}")
    storage = ("--checkpoint.every_steps=1", "--checkpoint.keep=3", "--runtime.tensorboard=true", "--eval.pictures=1")
    ended = place.resume("observed", *threads, *storage)
    assert ended.code == 0 and "changed since this run began" in ended.err
    assert outcome(run) == outcome(whole)
    assert list(cache.iterdir()) and len(list((run / "checkpoints").glob("step-*"))) >= 3


def test_a_run_of_a_version_with_process_workers_goes_on(place, whole, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 10)
        assert place.train("former", *KEYS).code == 75
    run = place.runs / "former"
    config, manifest = run / "config.yaml", run / "run_manifest.json"
    config.write_text(config.read_text().replace("  num_workers:", "  worker_kind: process\n  num_workers:"))
    document = json.loads(manifest.read_text())
    document["manifest"]["keys"]["observation"]["data.worker_kind"] = "process"
    manifest.write_text(json.dumps(document))
    ended = place.resume("former")
    assert ended.code == 0 and "changed since this run began: data.worker_kind: process -> (absent)" in ended.err
    assert "worker_kind" not in config.read_text()
    assert outcome(run) == outcome(whole)


def test_the_clock_is_obeyed_while_the_storage_hangs(place, monkeypatch):
    wake = threading.Event()
    load = loader.load_training_sample
    monkeypatch.setattr(loader, "load_training_sample", lambda *args: (wake.wait(200), load(*args))[1])
    timer = threading.Timer(150.0, wake.set)
    timer.start()
    started = time.monotonic()
    ended = place.train("hanging", *KEYS, "--data.num_workers=1", "--max-seconds=0.2")
    assert ended.code == 75 and "time limit" in ended.err and time.monotonic() - started < 100
    timer.cancel()
    wake.set()


def test_a_damaged_newest_checkpoint_falls_back(place, whole):
    run = place.copy("whole", "damaged")
    weights = newest(run) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    ended = place.resume("damaged")
    assert ended.code == 0 and "model.safetensors" in ended.err and "the checkpoint before step-00000004" in ended.err
    assert outcome(run) == outcome(whole)


def test_no_checkpoint_left_is_an_error(place, whole):
    run = place.copy("whole", "lost")
    for checkpoint in (run / "checkpoints").glob("step-*"):
        (checkpoint / "manifest.json").unlink()
    before = contents(run, ("timing.jsonl", "lease.json"))
    ended = place.resume("lost")
    assert ended.code == 74 and "no usable checkpoint" in ended.err
    assert contents(run, ("timing.jsonl", "lease.json", "run_manifest.json")) == {
        name: content for name, content in before.items() if name != "run_manifest.json"
    }


def test_a_signal_before_training_begins_ends_with_75(place, monkeypatch):
    def check(dataset, *words):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return []

    monkeypatch.setattr("edgeflownas.run.setup.check_dataset", check)
    before = signal.getsignal(signal.SIGTERM)
    ended = place.train("early-signal", *KEYS)
    assert ended.code == 75 and "SIGTERM outside the training loop" in ended.err
    assert not (place.runs / "early-signal").exists()
    assert signal.getsignal(signal.SIGTERM) == before
