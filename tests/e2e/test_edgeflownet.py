"""The published single model through the same commands as a supernet."""

import json

import cv2
import numpy as np
import pytest
from runs import command, outcome, rows, state, table, tensors, told
from test_interruption import resume_to_the_end, stop_at
from tiny import make_tiny

from edgeflownas.report.console import Tracker

pytestmark = pytest.mark.e2e
SINGLE = (
    *("--train.task=edgeflownet", "--eval.eval_pool_size=1", "--eval.eval_every_epoch=1"),
    *("--train.epoch_mode=near_full", "--train.train_sampling_mode=random_with_replacement", "--train.batch_size=3"),
    *("--train.micro_batch_size=2", "--train.lr=1e-3", "--train.weight_decay=0", "--train.grad_clip_global_norm=null"),
)
PUBLISHED = (*SINGLE, "--train.batch_norm=frozen", "--train.input_normalisation=raw_0_255", "--data.channel_order=bgr")
KINDS = {"frozen": PUBLISHED, "trained": (*SINGLE, "--train.ema_decay=0.9")}


@pytest.fixture(scope="module")
def whole(place):
    return {kind: place.trained(kind, *words) for kind, words in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_history_and_events(whole, kind):
    run = whole[kind]
    first, last = table(run / "eval_history.csv")
    epe = table(run / "per_arch_epe.csv")[-1]
    assert (epe["arch_index"], epe["code"]) == ("0", "edgeflownet")
    assert last["mean_epe_1"] == last["per_arch_epe_max"] == epe["epe"] and last["std_epe_1"] == "0.0000"
    assert last["arch_rank_1"] == f"1:0:{epe['epe']}"
    assert (last["kendall_tau_prev"], last["bilinear_arch_epe"], last["fairness_gap"]) == ("", "", "0")
    assert (first["global_step"], last["global_step"], last["train_drawn"]) == ("2", "4", "6")
    assert all(row["accepted"] and len(row["path_losses"]) == 1 for row in rows(run, "step"))
    assert rows(run, "step")[0]["loss"] == rows(run, "step")[0]["path_losses"][0]
    manifest = json.loads((run / "run_manifest.json").read_text())["manifest"]
    identity = manifest["keys"]["identity"]
    assert (identity["train.task"], identity["train.batch_norm"]) == ("edgeflownet", kind)
    assert manifest["space"] == {"name": "edgeflownet", "size": 1, "choices": []}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_gives_the_figures_of_the_history_to_the_bit(whole, kind):
    run = whole[kind]
    document = told("evaluate", run)
    (result,) = document["results"]
    assert [result["epe"]] == state(run)["last_epes"] and document["frozen"] and result["code"] == "edgeflownet"
    assert result["epe"] == rows(run, "evaluation")[-1]["mean_epe_1"]
    assert "edgeflownet" in command("evaluate", run).out + command("evaluate", run).err
    if kind == "trained":
        (average,) = told("evaluate", run, "--weights=ema")["results"]
        assert average["epe"] == rows(run, "evaluation")[-1]["mean_epe_1_ema"] != result["epe"]


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_anywhere_and_resumed_the_bits_are_the_same(place, whole, monkeypatch, kind):
    stop_at(monkeypatch, 9)  # a step asks 1 + 2 times, an evaluation 2 + 2 (average) + 4 (monitors)
    assert place.train(f"{kind}-stopped", *KINDS[kind]).code == 75
    resume_to_the_end(place, f"{kind}-stopped")
    assert outcome(place.runs / f"{kind}-stopped") == outcome(whole[kind])


def test_a_network_for_bgr_sees_in_a_bgr_world_what_one_for_rgb_sees_in_ours(place):
    """Training, calibration and evaluation alike: same bits on data whose channels are swapped."""
    swapped = make_tiny(place.folder / "swapped")
    for path in swapped.rglob("*.png"):
        cv2.imwrite(str(path), np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]))
    words = (*SINGLE, "--eval.pictures=0")
    rgb, bgr = place.trained("rgb", *words), place.trained("bgr", *words, "--data.channel_order=bgr", data=swapped)
    plain = place.trained("plain", *words, data=swapped)
    ours, theirs = tensors(rgb), tensors(bgr)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert state(rgb)["last_epes"] == state(bgr)["last_epes"] != state(plain)["last_epes"]


def test_pictures_show_true_colours(place, monkeypatch):
    shown: dict[str, list[np.ndarray]] = {"published": [], "usual": []}
    words = ("--runtime.tensorboard=true", "--eval.pictures=1", "--train.num_epochs=1", "--data.crop_size=40x56")
    for name, kind in (("published", PUBLISHED), ("usual", SINGLE)):
        monkeypatch.setattr(Tracker, "images", lambda self, step, tag, image, to=shown[name]: to.append(image))
        place.trained(name, *kind, *words)
    first = cv2.imread(str(sorted((place.data / "val").glob("*-img_0.png"))[0]))[..., ::-1]
    for (picture,) in shown.values():
        zoom = -(-256 // first.shape[1])  # the first panel, below its label
        panel = picture[22 : 22 + zoom * first.shape[0] : zoom, : zoom * first.shape[1] : zoom]
        assert np.array_equal(panel, first)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--eval.eval_pool_size=4",), "eval.eval_pool_size 4"),
        (("--train.space=v2",), "train.space v2"),
        (("--train.path_batches=shifted", "--train.train_sampling_mode=sequential"), "train.path_batches shifted"),
        (("--train.task=supernet", "--train.batch_norm=frozen"), "train.batch_norm frozen"),
        (("--train.task=supernet", "--train.fast_mode=true"), "train.fast_mode"),
        (("--train.epoch_mode=full_pass", "--train.epoch_divisor=2"), "train.epoch_divisor 2"),
    ],
)
def test_keys_that_mean_nothing_here_are_refused(place, words, named):
    ended = place.train("refused", *SINGLE, *words)
    assert ended.code == 64 and named in ended.err and "Traceback" not in ended.err
    assert not (place.runs / "refused").exists()


def test_identity(place, whole):
    for key in ("train.batch_norm=frozen", "train.input_normalisation=raw_0_255", "data.channel_order=bgr"):
        ended = place.resume("trained", f"--{key}")
        assert ended.code == 64 and key.partition("=")[0] in ended.err and "identity" in ended.err
        ended = command("evaluate", whole["trained"], f"--{key}")
        assert ended.code == 64 and key.partition("=")[0] in ended.err
        if not key.startswith("train.batch_norm"):
            ended = place.train("other_input", *SINGLE, f"--train.init_from={whole['trained']}", f"--{key}")
            assert ended.code == 64 and key.partition("=")[0] in ended.err
    ended = place.train("supernet_from_single", f"--train.init_from={whole['trained']}")
    assert ended.code == 64 and "train.task is edgeflownet" in ended.err


def test_published_weights_may_be_trained_on_with_batch_norm(place, whole):
    words = [word for word in PUBLISHED if "batch_norm" not in word]
    run = place.trained("thawed", *words, f"--train.init_from={whole['frozen']}")
    assert not np.array_equal(
        tensors(run)["model/E0.bn.running_mean"], tensors(whole["frozen"])["model/E0.bn.running_mean"]
    )


def test_a_frozen_average_keeps_the_statistics_of_its_weights(place, shared):
    """Imported statistics are not 0 and 1; the average of the weights is evaluated with them, in the run and after."""
    source = place.runs / "imported_source"
    file = shared / "golden" / "tf1_edgeflownet_width8.npz"
    assert command("import-tf1", file, "--out", source).code == 0
    words = (*PUBLISHED, "--train.width=8", "--train.ema_decay=0.9", f"--train.init_from={source}", "--train.lr=1e-12")
    run = place.trained("averaged", *words, "--train.num_epochs=1")
    (event,) = rows(run, "evaluation")
    assert event["mean_epe_1_ema"] == pytest.approx(event["mean_epe_1"], rel=1e-5)
    (average,) = told("evaluate", run, "--weights=ema")["results"]
    assert average["epe"] == event["mean_epe_1_ema"]


def test_imported_weights_are_evaluated(place, shared):
    out, file = place.runs / "imported", shared / "golden" / "tf1_edgeflownet_width8.npz"
    facts = told("import-tf1", file, "--out", out)
    assert (facts["space"], facts["width"]) == ("edgeflownet", 8)
    keys = (f"--data.train_dir={place.data / 'train'}", f"--data.val_dir={place.data / 'val'}")
    words = (*keys, "--data.crop_size=32x48", "--runtime.num_threads=1", "--json")
    document = json.loads(command("evaluate", out, *words).out)
    (result,) = document["results"]
    assert result["code"] == "edgeflownet" and np.isfinite(result["epe"]) and document["samples"] == 3
    config = (out / "config.yaml").read_text()
    for line in ("batch_norm: frozen", "input_normalisation: raw_0_255", "channel_order: bgr", "task: edgeflownet"):
        assert line in config
    thawed = place.runs / "imported_trained"
    assert command("import-tf1", file, "--out", thawed, "--train.batch_norm", "trained").code == 0
    (other,) = json.loads(command("evaluate", thawed, *words).out)["results"]
    assert other["epe"] != result["epe"]
    ended = command("import-tf1", file, "--out", place.runs / "never", "--train.task=supernet")
    assert ended.code == 64 and "--train.task cannot be set here" in ended.err


def test_fast_mode_is_said_and_changes_no_bit(place, whole):
    ended = place.train("fast", *PUBLISHED, "--train.fast_mode=true", "--data.num_workers=1")
    assert ended.code == 0 and "train.fast_mode: 8 batches loaded ahead (raised from 4)" in ended.err
    assert outcome(place.runs / "fast") == outcome(whole["frozen"])
    ended = place.train("set", *PUBLISHED, "--train.fast_mode=true", "--data.prefetch_batches=2")
    assert "2 batches loaded ahead (data.prefetch_batches is set)" in ended.err


def test_dry_run(place):
    ended = place.train("planned", *PUBLISHED, "--dry-run", "--json")
    facts = json.loads(ended.out)
    assert facts["space"] == "edgeflownet: 1 subnets, 1 paths a step" and facts["steps_per_epoch"] == 2
    assert facts["memory_total_mib"] > 0 and not (place.runs / "planned").exists()


def test_curves_are_drawn_and_flushed_every_so_many_steps(place, monkeypatch):
    drawn: list[int] = []
    flushed: list[int] = []
    monkeypatch.setattr(Tracker, "flush", lambda self: flushed.append(len(drawn)))
    monkeypatch.setattr(
        Tracker, "scalars", lambda self, step, values: drawn.extend([step] if "train/loss" in values else [])
    )
    words = ("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=7", "--train.num_epochs=1")
    place.trained("curves", *PUBLISHED, *words, "--runtime.summary_every=2", "--runtime.summary_flush_every=3")
    assert drawn == [2, 4, 6] and flushed == [1, 3]
