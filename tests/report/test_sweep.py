"""The figures of a sweep: smoothness beside its noise, the plateau, mean and deviation over seeds."""

import json
import math

import numpy as np
import pytest

from edgeflownas.config.load import load_config
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.report.sweep import FIGURES, Ended, read_ended, sweep_view, variant_rows
from edgeflownas.report.table import text_of
from edgeflownas.run.directory import RunDirectory

MEANS = [3.0, 2.0, 1.5, 1.4, 1.6, 1.5]


def write_run(path, means, errors=None):
    """A run of one epoch an evaluation; ``errors`` [epochs, samples] are the same for each of its two archs."""
    config, folder = load_config("smoke"), path / "sample_epe"
    RunDirectory.create(path, config.model_dump(mode="json"), {"plan": {"num_epochs": len(means)}})
    folder.mkdir()
    rows = [
        {"event": "evaluation", "epoch": i + 1, "seen_samples": 100 * (i + 1), "eval_set": "e", "zero_flow_epe": 2.5}
        | {"mean_epe_2": mean, "std_epe_2": 0.1, "mean_epe_standard_error_2": 0.05, "clip_checks": 10, "clip_count": i}
        for i, mean in enumerate(means)
    ]
    rows += [{"event": "epoch", "epoch": 99, "clip_checks": 40, "clip_count": 40}]  # not evaluated
    (path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    times = [{"what": "epoch", "epoch": 1, "epoch_seconds": 99.0}]  # interrupted, then repeated
    times += [{"what": "epoch", "epoch": i + 1, "epoch_seconds": 10.0, "eval_seconds": 2.0} for i in range(len(means))]
    (path / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in times))
    for i, row in enumerate([] if errors is None else errors):
        codes = ("0,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1")
        found = SampleErrors(codes, np.stack([row, row]), np.full(row.size, 7), "e", i + 1)
        (path / sample_errors_name(i + 1)).write_bytes(found.to_bytes())
    return path


def test_the_figures_of_a_run(tmp_path):
    rng = np.random.default_rng(0)
    errors = rng.normal(2.0, 0.5, (6, 40)).astype(np.float32)
    run = read_ended(write_run(tmp_path / "a", MEANS, errors), "v", 0, "A on B")
    assert list(run.figures) == [name for name in FIGURES if "difference" not in name]
    assert (run.name, run.variant) == ("a", "v")
    assert run.figures["smoothness"] == pytest.approx(np.diff([1.4, 1.6, 1.5]).std())
    change = np.diff(errors[3:].astype(np.float64), axis=0)
    assert run.figures["smoothness_noise"] == pytest.approx(math.sqrt((change.var(axis=1, ddof=1) / 40).mean()))
    assert run.figures["mean_epe"] == 1.5 and run.figures["noise"] == 0.05
    assert run.figures["clip_rate"] == pytest.approx((15 + 40) / 100) and run.figures["seconds"] == 72.0
    assert run.course[0] == (100, 3.0) and run.zero_flow_epe == 2.5


def test_without_sample_errors_or_evaluations(tmp_path):
    run = read_ended(write_run(tmp_path / "a", MEANS), "v", 0, "A on B")
    assert math.isnan(run.figures["smoothness_noise"]) and run.figures["smoothness"] > 0
    assert math.isnan(read_ended(write_run(tmp_path / "c", [3.0]), "v", 0, "A on B").figures["smoothness"])


def test_the_plateau_is_that_of_diagnose(tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.01, 30)
    bent = np.concatenate([np.linspace(3.0, 2.0, 12), np.full(18, 2.0)]) + noise
    run = read_ended(write_run(tmp_path / "bent", bent.tolist()), "v", 0, "A on B")
    assert 10 <= run.figures["plateau_epoch"] <= 14
    assert run.figures["plateau_share"] == 1.0
    for name, means in (("falls", (np.linspace(3.0, 2.0, 30) + noise).tolist()), ("short", MEANS)):
        run = read_ended(write_run(tmp_path / name, means), "v", 0, "A on B")
        assert math.isnan(run.figures["plateau_epoch"])


def ended(variant, seed, epe, samples="e", each=()):
    figures = dict.fromkeys(FIGURES, math.nan) | {"mean_epe": epe, "seen_samples": 400.0}
    pixels = np.full(len(each), 7)
    return Ended(f"{variant}-{seed}", variant, seed, samples, 2.5, figures, (), np.array(each), pixels)


def test_mean_and_deviation_over_seeds():
    runs = [ended("a", 0, 1.0), ended("b", 0, 5.0), ended("a", 1, 2.0)]
    first, second = variant_rows(runs)
    assert (first["variant"], first["seeds"], second["seeds"]) == ("a", [0, 1], [0])
    assert first["mean_epe"] == 1.5 and first["mean_epe_sd"] == pytest.approx(math.sqrt(0.5))
    assert second["mean_epe"] == 5.0 and second["mean_epe_sd"] is None
    text = text_of(sweep_view({"variants": [first, second]}))
    assert "1.5000 +- 0.7071" in text and "400" in text and "400 +-" not in text
    assert "smoothness" not in text and "different sets" not in text  # nothing is said of what nobody has


def test_other_evaluation_samples_are_marked():
    text = text_of(sweep_view({"variants": variant_rows([ended("a", 0, 1.0), ended("b", 0, 5.0, "other")])}))
    assert "must not be compared" in text and text.splitlines()[-1] == "B: other"
    assert [line.split()[2] for line in text.splitlines()[1:3]] == ["A", "B"]


def test_differences_are_paired_by_seed_and_by_sample():
    runs = [ended("a", 0, 2.0, each=(1.0, 3.0)), ended("a", 1, 4.0, each=(3.0, 5.0)), ended("a", 2, 9.0)]
    runs += [ended("b", 0, 2.5, each=(1.5, 3.5)), ended("b", 1, 4.7, each=(3.5, 5.9))]
    first, second = variant_rows(runs)
    assert first["difference"] is None
    assert second["difference"] == pytest.approx(0.6)  # seed 2 has no partner
    assert second["difference_sd"] == pytest.approx(0.2 / math.sqrt(2))
    change = np.array([0.5, 0.7])  # of each sample, mean over the two pairs: the seeds' own level cancels
    assert second["difference_noise"] == pytest.approx(change.std(ddof=1) / math.sqrt(2))
    other = variant_rows([ended("a", 0, 2.0), ended("b", 0, 2.5, samples="others")])[1]
    assert other["difference"] is None
    unkept = variant_rows([ended("a", 0, 2.0), ended("b", 0, 2.5)])[1]
    assert unkept["difference"] == 0.5 and unkept["difference_noise"] is None
