"""Wide and train evaluations beside the frequent one, the errors they keep, and what `noise` reads out of them."""

import json
import shutil

import numpy as np
import pytest
from numeric import FLOAT32
from runs import ONE_STEP, command, contents, digest, outcome, rows, state, stop_when, table, told
from scipy.stats import t
from tiny import make_tiny

from edgeflownas.evaluate.noise import kendall_tau_b, pool_noise, tau_interval
from edgeflownas.evaluate.results import read_sample_errors

pytestmark = pytest.mark.e2e
# Four epochs of one step, evaluated after each; the wide set (three samples, the frequent one has two) after 2 and 4.
KEYS = (
    *("--train.num_epochs=4", "--train.micro_batch_size=2", *ONE_STEP),
    *("--eval.eval_every_epoch=1", "--eval.batch_size=2", "--eval.wide_every_epoch=2"),
    "--eval.train_batches=2",
)
VERDICTS = {"under-calibrated", "depends on the samples", "not calibration", "cannot be told"}
WITHOUT = ("--eval.wide_every_epoch=null", "--eval.train_batches=0", "--eval.keep_sample_errors=false")


@pytest.fixture(scope="module")
def run(place):
    return place.trained("watched", *KEYS)


@pytest.fixture(scope="module")
def bare(place):
    """Neither watched nor keeping errors."""
    return place.trained("bare", *KEYS, *WITHOUT)


@pytest.fixture(scope="module")
def seeds(place, run):
    return [run, *(place.trained(f"seed{seed}", *KEYS, f"--runtime.seed={seed}") for seed in (1, 2))]


def test_wide_columns_are_there_when_they_are_due(run):
    history = table(run / "eval_history.csv")
    assert [bool(row["wide_mean_epe_4"]) for row in history] == [False, True, False, True]
    assert all(row["train_epe_4"] and row["smallest_difference_4"] and row["tied_pairs_4"] for row in history)
    last, event = history[-1], rows(run, "evaluation")[-1]
    assert (last["eval_samples_per_arch"], last["wide_samples_per_arch"], last["train_eval_samples"]) == ("2", "3", "4")
    assert float(last["wide_eval_seconds"]) >= 0 and "wide_eval_seconds" not in event
    assert event["wide_difference_4"] == pytest.approx(event["mean_epe_4"] - event["wide_mean_epe_4"], abs=1e-12)
    assert last["wide_arch_rank_4"].count("|") == 3 and last["wide_eval_set"] != last["eval_set"]
    frozen = json.loads((run / "eval_set.json").read_text())["monitors"]
    assert frozen["wide"]["hash"] == last["wide_eval_set"] and len(frozen["wide"]["names"]) == 3


def test_wide_figures_are_those_of_an_evaluation_of_the_whole_split(run):
    document = told("evaluate", run, "--batches", "all")
    event, frequent = rows(run, "evaluation")[-1], told("evaluate", run)
    epes = [row["epe"] for row in document["results"]]
    assert event["wide_mean_epe_4"] == np.mean(epes) and event["wide_zero_flow_epe"] == document["zero_flow_epe"]
    assert event["wide_kendall_tau"] == kendall_tau_b(epes, [row["epe"] for row in frequent["results"]])
    assert event["wide_smallest_difference_4"] == document["smallest_difference"]
    kept = read_sample_errors(run / "sample_epe" / "wide-00004.safetensors")
    expected = np.array([row["sample_epe"] for row in document["results"]], np.float32)
    np.testing.assert_array_equal(kept.sample_epe, expected)
    assert (kept.eval_set, kept.epoch, kept.valid_pixels.tolist()) == (event["wide_eval_set"], 4, [32 * 48] * 3)


def test_train_figures_are_those_of_an_evaluation_of_training_samples(run):
    document = told("evaluate", run, "--split", "train", "--batches", "2")
    event = rows(run, "evaluation")[-1]
    assert event["train_epe_4"] == np.mean([row["epe"] for row in document["results"]])
    for term in ("total", "optical", "uncertainty"):
        assert event[f"train_eval_loss_{term}"] == np.mean([row[f"loss_{term}"] for row in document["results"]])
    assert event["train_epe_random_crop_4"] != event["train_epe_4"]


def test_kept_errors_give_the_figures_of_the_history(run):
    files = sorted(path.name for path in (run / "sample_epe").iterdir())
    assert files == [f"epoch-0000{i}.safetensors" for i in (1, 2, 3, 4)] + [f"wide-0000{i}.safetensors" for i in (2, 4)]
    for event in rows(run, "evaluation"):
        kept = read_sample_errors(run / "sample_epe" / f"epoch-{event['epoch']:05d}.safetensors")
        noise = pool_noise(kept.sample_epe, kept.valid_pixels)
        assert event["smallest_difference_4"] == noise.smallest_difference and event["tied_pairs_4"] == noise.tied_pairs
        assert event["mean_epe_standard_error_4"] == noise.mean_standard_error
        assert event["ranks"] == noise.ranks()
    assert state(run)["last_ranks"] == noise.ranks() and state(run)["last_margins"] == noise.margins()


def test_training_does_not_see_what_is_watched(run, bare):
    assert digest(bare) == digest(run) and not (bare / "sample_epe").exists()
    ours, theirs = rows(run), rows(bare)
    assert [row for row in ours if row["event"] == "step"] == [row for row in theirs if row["event"] == "step"]
    for one, other in zip(rows(run, "evaluation"), rows(bare, "evaluation"), strict=True):
        shared = {name: value for name, value in one.items() if not name.startswith(("wide_", "train_e"))}
        assert {**shared, "eval_set": ""} == {**other, "eval_set": ""}


def test_stopped_while_a_monitor_is_scored(place, run, monkeypatch):
    # A step looks at the flag 7 times, an evaluation 1 + 1 times, then 2 + 2 for the training samples and 2 for the
    # wide set: stopped are the training samples of the first epoch and the wide set of the second.
    stop_when(monkeypatch, lambda asked: asked in (7 + 3, 7 + 3 + 6 + 7 + 8))
    assert place.train("stopped", *KEYS).code == 75
    stopped = place.runs / "stopped"
    assert not rows(stopped, "evaluation")  # the epoch's own evaluation is still to come
    assert place.resume("stopped").code == 75 and len(rows(stopped, "evaluation")) == 1
    assert place.resume("stopped").code == 0
    assert outcome(stopped) == outcome(run)
    kept = [{p.name: p.read_bytes() for p in (r / "sample_epe").iterdir()} for r in (stopped, run)]
    assert kept[0] == kept[1] and len(kept[0]) == 6


def test_wide_comes_at_the_first_evaluation_after_its_epoch_and_after_the_last(place):
    keys = ("--train.num_epochs=5", "--eval.eval_every_epoch=2", "--eval.wide_every_epoch=3", "--eval.eval_pool_size=2")
    found = [
        (row["epoch"], "wide_mean_epe_2" in row) for row in rows(place.trained("uneven", *KEYS, *keys), "evaluation")
    ]
    assert found == [(2, False), (4, True), (5, True)]


def test_wide_also_follows_an_early_stop(place):
    stop = ("--train.num_epochs=9", "--eval.wide_every_epoch=9", "--eval.early_stop_patience=1", "--train.lr=1e-30")
    last = rows(place.trained("early", *KEYS, *stop, "--eval.eval_pool_size=2"), "evaluation")[-1]
    assert last["epoch"] == 2 and "wide_mean_epe_2" in last


def test_wide_batches_without_wide_are_refused(place):
    ended = place.train("senseless", "--eval.wide_batches_per_arch=3")
    assert ended.code == 64 and "eval.wide_every_epoch" in ended.err


# ---- edgeflownas noise ----


def test_noise_of_a_run(run):
    before = contents(run)
    document = told("noise", run)
    event = rows(run, "evaluation")[-1]
    assert document["smallest_difference"] == event["smallest_difference_4"] and document["epoch"] == 4
    assert document["mean_epe"] == pytest.approx(event["mean_epe_4"], rel=1e-6) and document["samples"] == 2
    codes = [row["code"] for row in table(run / "per_arch_epe.csv") if row["epoch"] == "4"]
    assert [row["code"] for row in document["archs"]] == codes and document["archs"][0]["parameters"] == 11444
    sizes = [row["macs"] for row in document["archs"]]
    assert document["trivial_rankings"]["macs"] == kendall_tau_b(sizes, [row["epe"] for row in document["archs"]])
    ended = command("noise", run, "--resolution", "0.001")
    wished = told("noise", run, "--resolution", "0.001")
    paired = document["smallest_difference"] / t.ppf(0.975, 1)  # two samples
    expected = wished["samples_needed"]
    few, enough = (t.ppf(0.975, n - 1) * paired * np.sqrt(2 / n) for n in (expected - 1, expected))
    assert enough <= 0.001 + 1e-9 < few + 2e-9 and f"{expected:,}" in ended.err and ended.out == ""
    assert "more than 1,000,000,000,000 to tell 1e-300 px" in command("noise", run, "--resolution", "1e-300").err
    wide = told("noise", run, "--wide", "--epoch", "2")
    assert (wide["tier"], wide["samples"], wide["epoch"]) == ("wide", 3, 2)
    assert contents(run) == before


def test_noise_that_cannot_be_read(place, run, bare):
    for words, code, text in (
        ((bare,), 65, "eval.keep_sample_errors"),
        ((run, "--epoch", "9"), 64, "there are: 1, 2, 3, 4"),
        ((run, "--wide", "--epoch", "3"), 64, "there are: 2, 4"),
        ((run, "--resolution", "0"), 64, "--resolution"),
        ((place.runs / "absent",), 74, "not a run directory"),
    ):
        ended = command("noise", *words)
        assert ended.code == code and text in ended.err and "Traceback" not in ended.err, ended.err
    copy = place.copy("watched", "mixed")
    shutil.copy(copy / "sample_epe" / "epoch-00003.safetensors", copy / "sample_epe" / "epoch-00004.safetensors")
    ended = command("noise", copy)
    assert ended.code == 65 and "epoch 3" in ended.err


def test_noise_without_a_log(place, run):
    """The kept errors are enough; without them it says what is broken and what to do."""
    copy, expected = place.copy("watched", "emptied"), told("noise", run)
    (copy / "events.jsonl").write_bytes(b"")
    document = told("noise", copy)
    assert document["archs"] == expected["archs"] and document["epoch"] == 4 and expected["notes"] == []
    assert "events.jsonl holds no evaluation" in document["notes"][0]
    assert "events.jsonl holds no evaluation" in command("noise", copy).err
    assert told("noise", copy, "--wide", "--epoch", "2")["samples"] == 3
    ended = command("noise", copy, "--wide", "--epoch", "3")
    assert ended.code == 64 and "there are: 2, 4" in ended.err
    shutil.rmtree(copy / "sample_epe")
    ended = command("noise", copy)
    assert ended.code == 64 and "events.jsonl is missing, empty or damaged" in ended.err and "copy" in ended.err


def test_noise_of_a_single_model(place):
    """No line that needs a second one, and its name as it is."""
    single = place.trained(
        "single", "--train.task=edgeflownet", "--eval.eval_pool_size=1", "--train.num_epochs=1", *ONE_STEP
    )
    said = command("noise", single)
    assert said.code == 0 and "\nedgeflownet  " in said.err and "+-" in said.err
    for word in ("unknown", "pairs", "tied", "smallest", "halves", "cannot be told"):
        assert word not in said.err, said.err
    document = told("noise", single)
    assert [row["code"] for row in document["archs"]] == ["edgeflownet"] and document["smallest_difference"] is None


def test_spread_between_seeds(seeds):
    document = told("noise", seeds[0], "--seeds", *seeds[1:])["seeds"]
    assert document["seeds"] == [0, 1, 2] and document["shared_archs"] == 4
    epes = np.array([[float(r["epe"]) for r in table(run / "per_arch_epe.csv") if r["epoch"] == "4"] for run in seeds])
    assert list(document["std"].values()) == pytest.approx(epes.std(axis=0, ddof=1), abs=2e-4)
    assert document["mean_epe_std"] == pytest.approx(epes.mean(axis=1).std(ddof=1), abs=2e-4)
    differences = [np.std(epes[:, i] - epes[:, j], ddof=1) for i in range(4) for j in range(i)]
    assert document["smallest_difference"] == pytest.approx(t.ppf(0.975, 2) * np.median(differences), abs=1e-3)
    said = command("noise", seeds[0], "--seeds", *seeds[1:])
    assert said.code == 0 and "is no difference" in said.err and "3 runs, seeds 0, 1, 2" in said.err
    # The printed table: best first, EPE, 95 % interval of the ratio estimator and spread of the seeds, all by numpy.
    kept = read_sample_errors(seeds[0] / "sample_epe" / "epoch-00004.safetensors")
    sums, pixels = np.float64(kept.sample_epe) * kept.valid_pixels, kept.valid_pixels
    own = sums.sum(axis=1) / pixels.sum()
    residuals = sums - own[:, None] * pixels
    margins = t.ppf(0.975, 1) * np.sqrt(2 / 1 * (residuals**2).sum(axis=1)) / pixels.sum()
    lines = [line.split() for line in said.err.splitlines() if line.strip()[:1] in "=1234" and line.count(",") == 8]
    assert [int(line[1]) for line in lines] == np.argsort(own).tolist()
    for line in lines:
        index = int(line[1])
        shown, expected = (
            [float(line[i]) for i in (3, 4, 7)],
            [own[index], margins[index], epes.std(axis=0, ddof=1)[index]],
        )
        assert shown == pytest.approx(expected, abs=2e-4)


def test_runs_that_differ_in_more_than_the_seed_are_refused(place, seeds):
    other = place.trained("shorter", *KEYS, "--runtime.seed=5", "--train.num_epochs=1")
    coarse = place.trained("coarse", *KEYS, "--runtime.seed=6", "--eval.selection=prefix")
    for words, text in (
        ((seeds[1],), "at least three"),
        ((seeds[1], seeds[1]), "runtime.seed 1 occurs twice"),
        ((seeds[1], other), "train.num_epochs"),
        ((seeds[1], coarse), "eval.selection"),
    ):
        ended = command("noise", seeds[0], "--seeds", *words)
        assert ended.code == 64 and text in ended.err, ended.err


def test_stability_between_two_epochs(run):
    files = [read_sample_errors(run / "sample_epe" / f"epoch-0000{epoch}.safetensors") for epoch in (3, 4)]
    found = tau_interval(files[0].sample_epe, files[1].sample_epe, files[0].valid_pixels)
    assert found.value == pytest.approx(rows(run, "evaluation")[-1]["kendall_tau_prev"])


# ---- edgeflownas evaluate --calibration-sweep ----


def test_calibration_sweep(run):
    before = contents(run)
    document = told("evaluate", run, "--calibration-sweep")
    assert [row["epe"] for row in document["results"]] == [row["epe"] for row in told("evaluate", run)["results"]]
    assert all(list(row["epe_by_batches"]) == ["1", "2", "3"] for row in document["results"])  # six training samples
    assert {row["verdict"] for row in document["results"]} <= VERDICTS
    assert set(document["kendall_tau"]) == {"1", "2", "3"}
    said = command("evaluate", run, "--calibration-sweep")
    assert said.code == 0 and "at most 3 batches of 2" in said.err and "Kendall tau" in said.err
    assert contents(run) == before
    refused = command("evaluate", run, "--calibration-sweep", "--data", "x")
    assert refused.code == 64 and "--calibration-sweep" in refused.err


def test_calibration_sweep_of_all_sizes(place):
    """A split that holds them: 8 own batches of one sample and 64 others, so nothing is shared."""
    data = make_tiny(place.folder / "many", train=72)
    keys = (
        "--eval.batch_size=1",
        "--eval.bn_recal_batches=8",
        "--eval.eval_batches_per_arch=3",
        "--eval.eval_pool_size=2",
    )
    found = place.trained("many", *keys, *ONE_STEP, "--train.num_epochs=1", data=data)
    said = command("evaluate", found, "--calibration-sweep", "--json")
    document = json.loads(said.out)
    assert document["shared_samples"] == 0 and document["calibration_batches"] == 8 and "at most" not in said.err
    assert list(document["kendall_tau"]) == ["8", "16", "32", "64"]
    middle = np.median([row["epe"] for row in document["results"]])
    gaps = [abs(row["epe"] - middle) for row in document["results"]]
    for row, gap in zip(document["results"], gaps, strict=True):
        by = row["epe_by_batches"]
        changes = [by["64"] - by["8"], by["8"] - row["epe"], by["64"] - row["epe"]]
        assert [row[name] for name in ("more", "other", "total")] == pytest.approx(changes, abs=FLOAT32 * row["epe"])
        assert row["relevant"] == pytest.approx(max(gap, np.median(gaps))) and row["verdict"]
        reach = [abs(row[name]) + row[f"{name}_margin"] for name in ("more", "other", "total")]
        assert (row["verdict"] == "not calibration") == (max(reach) < row["relevant"])
