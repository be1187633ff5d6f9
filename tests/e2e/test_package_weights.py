"""Weights of the package where commands take a run: nothing but what they carry is needed."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from runs import command, told
from shipped import NAME, SIZE, SUPERNET, frames, make_weights
from tiny import make_tiny

import edgeflownas
from edgeflownas.data.formats import read_flo
from edgeflownas.data.frames import Frames
from edgeflownas.run import weights
from edgeflownas.search.fitting import read_subnets

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("package")]
DEPLOY = ("--protocol", "deploy", "--size", "32x48", "--references", "none")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The folder that commands are started in: no training data anywhere near."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def run(place):
    """A supernet run."""
    return place.trained("base", "--data.crop_size=40x56")


def two_frames(folder, height=41, width=57):
    for name, image in zip("ab", frames(height, width), strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
    return folder / "a.png", folder / "b.png"


def a_video(path, count=4, height=41, width=57):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (width, height))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(count):
        writer.write(np.roll(frames(height, width)[0], 2 * number, 1))
    writer.release()
    return path


def test_evaluate_prints_the_document_of_a_run(elsewhere):
    data = make_tiny(elsewhere / "set", train=1)
    found = told("evaluate", f"weights:{NAME}", "--data", data / "val", *DEPLOY)
    (row,) = found["results"]
    assert found["protocol"] == "deploy:32x48" and found["samples"] == row["samples"] == 3
    assert row["model"] == f"weights:{NAME}" and row["code"] == "0,0,0,0,2,1,2,2,2" and found["references"] == []
    net, errors = edgeflownas.load(NAME), []
    for number in range(5_000_000, 5_000_003) if (data / "val" / "5000000-img_0.png").exists() else range(3):
        stem = str(data / "val" / f"{number:07d}")
        one, two = (cv2.imread(f"{stem}-img_{k}.png")[..., ::-1] for k in (0, 1))
        errors.append(np.linalg.norm(net.flow(one, two) - read_flo(f"{stem}-flow_01.flo")[0], axis=-1).mean())
    assert row["epe_per_image"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_evaluate_without_data_takes_generated_pairs(elsewhere):
    own = told("evaluate", f"weights:{NAME}")
    assert own["samples"] == 2 and own["split_label"].startswith("fc2/generated:val/2/") and not own["frozen"]
    pool = told("evaluate", f"weights:{SUPERNET}", "--protocol", "standard", "--references", "none")
    assert len(pool["results"]) == 3 and pool["split_label"] == own["split_label"]
    for words in (("--weights", "ema"), ("--checkpoint", "best"), ("--record", "--protocol", "standard")):
        assert command("evaluate", f"weights:{NAME}", *words).code == 64
    assert list(elsewhere.iterdir()) == []


def test_calibration_data_replace_what_is_carried(elsewhere, run):
    data = make_tiny(elsewhere / "set", train=4)
    words = ("--data", data / "val", *DEPLOY)
    figures = {
        given: told("evaluate", f"weights:{NAME}", *words, *given)["results"][0]["epe"]
        for given in ((), ("--calibration-data", str(data / "train")), (f"--data.train_dir={data / 'train'}",))
    }
    carried, *others = figures.values()
    assert others[0] == others[1] != carried
    ended = command("evaluate", run, *words, "--calibration-data", data / "train")
    assert ended.code == 64 and "--calibration-data" in ended.err and "--data.train_dir" in ended.err
    ended = command("evaluate", f"weights:{NAME}", *words, "--calibration-data", "nowhere")
    assert ended.code == 65 and "nowhere" in ended.err


def test_a_supernet_is_ranked_and_a_subnet_is_not(elsewhere):
    found = told("rank", f"weights:{SUPERNET}", "--sample", "4", "--yes")
    assert found["subnets"] == 4
    assert [path.name for path in elsewhere.iterdir()] == [f"{SUPERNET}-ranking"]
    ended = command("rank", f"weights:{NAME}")
    assert ended.code == 64 and "one model, nothing to rank" in ended.err


def test_training_starts_from_them(elsewhere, place):
    single = ("--train.task=standalone", "--train.arch=000021222", "--eval.eval_pool_size=1")
    words = ("--train.width=4", f"--train.init_from=weights:{NAME}")
    ended = place.train("warm", *single, *words)
    assert ended.code == 0, ended.err
    origin = json.loads((place.runs / "warm" / "run_manifest.json").read_text())["manifest"]["initialised_from"]
    assert origin["run"] == f"weights:{NAME}" and origin["batch_norm"] == "copied" and len(origin["hash"]) == 64
    assert "weights of weights:tiny-v1-w4" in ended.err
    ended = place.train("wide", *single, f"--train.init_from=weights:{NAME}", "--train.width=2")
    assert ended.code == 64 and "train.width is 4" in ended.err
    ended = place.train("typo", *single, "--train.width=4", "--train.init_from=weights:tiny-v1-w5")
    assert ended.code == 64 and f"did you mean weights:{NAME}" in ended.err


def test_infer_takes_the_default_and_says_so(elsewhere, package):
    images = two_frames(elsewhere)
    ended = command("infer", *images)
    assert ended.code == 64 and "flownet-v1-w16" in ended.err and f"weights:{NAME}" in ended.err
    assert not (elsewhere / "flow").exists()
    make_weights(package, weights.DEFAULT)
    found = told("infer", *images)
    assert found["weights"] == "weights:flownet-v1-w16" and found["size"] == list(SIZE)
    flow = read_flo(Path(found["pairs"][0]["files"]["flo"]))[0]
    assert np.array_equal(flow, edgeflownas.load(weights.DEFAULT).flow(*frames(41, 57)))
    native = told("infer", f"weights:{NAME}", *images, "--size", "frame", "--out", "native")
    assert native["size"] is None and "(the only subnet)" in command("infer", *images, "--overwrite").err
    assert not np.array_equal(read_flo(Path(native["pairs"][0]["files"]["flo"]))[0], flow)


def test_infer_of_a_run_at_another_size(elsewhere, run):
    found = told("infer", run, *two_frames(elsewhere), "--size", "32x48", "--formats", "flo")
    assert found["size"] == [32, 48] and read_flo(elsewhere / "flow" / "a.flo")[0].shape == (41, 57, 2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--size", "192"), "--size '192' must be rows x columns"),
        (("--size", "8x8"), "--size 8x8 is too small"),
        (("--weights", "ema"), "keeps no moving average; use model"),
        (("--checkpoint", "latest"), "belongs to a run directory"),
        (("--arch", "111111111"), "arch"),
    ],
)
def test_infer_refuses(elsewhere, words, text):
    ended = command("infer", f"weights:{NAME}", *two_frames(elsewhere), *words)
    assert ended.code == 64 and text in ended.err
    assert not (elsewhere / "flow").exists()


def test_a_missing_run_is_named(elsewhere):
    ended = command("infer", "runs/nothing", *two_frames(elsewhere))
    assert ended.code == 74 and "runs/nothing: not a run directory" in ended.err


def test_frames_of_two_sizes_are_refused_by_name(elsewhere):
    first, second = two_frames(elsewhere)
    cv2.imwrite(str(second), frames(41, 60)[1])
    ended = command("infer", f"weights:{NAME}", first, second)
    assert ended.code == 65 and "b.png: 41x60, but" in ended.err and "a.png is 41x57" in ended.err


def test_a_video_becomes_one_with_its_flow(elsewhere):
    video = a_video(elsewhere / "clip.avi")
    found = told("infer", f"weights:{NAME}", video)
    assert found["video"] == "flow/clip-flow.mp4" and len(found["pairs"]) == 3 and found["frames_per_second"] > 0
    assert [path.name for path in (elsewhere / "flow").iterdir()] == ["clip-flow.mp4"]
    capture = cv2.VideoCapture(str(elsewhere / "flow" / "clip-flow.mp4"))
    shapes = [picture.shape for done, picture in iter(capture.read, (False, None)) if done]
    assert shapes == [(40, 112, 3)] * 3 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.0)
    ended = command("infer", f"weights:{NAME}", video, "--overwrite", "--formats", "video,color", "--max-flow", "4")
    assert ended.code == 0 and "frames a second" in ended.err and len(list((elsewhere / "flow").iterdir())) == 4
    odd = elsewhere / "odd"
    odd.mkdir()
    two_frames(odd)
    assert told("infer", f"weights:{NAME}", odd, "--formats", "video", "--overwrite")["video"] == "flow/odd-flow.mp4"
    assert cv2.VideoCapture(str(elsewhere / "flow" / "odd-flow.mp4")).read()[1].shape == (42, 114, 3)


def test_what_is_no_video_leaves_nothing(elsewhere):
    (elsewhere / "clip.mp4").write_bytes(b"\0" * 4096)
    ended = command("infer", f"weights:{NAME}", "clip.mp4")
    assert ended.code == 65 and "clip.mp4" in ended.err and "a video that OpenCV can read" in ended.err
    assert not (elsewhere / "flow").exists()


def test_an_interrupted_video_leaves_nothing(elsewhere, monkeypatch):
    video, pairs = a_video(elsewhere / "clip.avi"), Frames.pairs

    def interrupted(self, note):
        yield next(pairs(self, note))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Frames, "pairs", interrupted)
    ended = command("infer", f"weights:{NAME}", video)
    assert ended.code == 130 and "interrupted after 1 of 3 pairs" in ended.err
    assert list((elsewhere / "flow").iterdir()) == []


def test_export_and_verify(elsewhere):
    pytest.importorskip("ai_edge_litert")
    words = ("--format", "tflite-float", "--size", "32x48", "--pairs", "2", "--out", "deployed")
    report = told("export", f"weights:{NAME}", *words)
    assert report["verified"] and report["batch_norm"] == {"recalibrated_on": "noise", "samples": 2}
    assert report["model"]["weights"] == f"weights:{NAME}"
    assert command("verify", "deployed", f"weights:{NAME}", "--pairs", "2").code == 0
    ended = command("verify", "deployed", f"weights:{SUPERNET}", "--pairs", "2")
    assert ended.code == 64 and "its weights are" in ended.err


def test_profile_and_what_needs_a_history(elsewhere):
    assert told("profile", f"weights:{NAME}")["size"] == list(SIZE)
    found = read_subnets(Path(f"weights:{SUPERNET}"), None, None, "EB0#1,EB1#0,DB0#0,DB1#0,H0Out#0,H1#2")
    assert (len(found.archs), found.width, found.size) == (27, 4, SIZE)
    for words in (("noise",), ("report",), ("diagnose",), ("compare",), ("train", "--resume")):
        ended = command(*words, f"weights:{NAME}")
        assert ended.code in (64, 74) and "Traceback" not in ended.err, (words, ended.err)


def test_list_show_and_path(elsewhere, package):
    listed = told("weights", "list")["weights"]
    assert [(card["name"], card["code"], card["width"]) for card in listed] == [
        (NAME, "000021222", 4), (SUPERNET, None, 4)
    ]  # fmt: skip
    assert listed[0]["bytes"] == (package / f"{NAME}.safetensors").stat().st_size
    text = command("weights", "list").out
    assert NAME in text and "(supernet)" in text and "deploy:32x48 on generated" in text
    assert told("weights", "show", NAME) == listed[0] == told("weights", "show", f"weights:{NAME}")
    assert "licence   MIT" in command("weights", "show", NAME).out
    assert command("weights", "path", NAME).out.strip() == str(package / f"{NAME}.safetensors")
    assert set(told("weights", "path", NAME)) == {"name", "path", "card"}
    ended = command("weights", "show", "tiny-v1-w5")
    assert ended.code == 64 and "did you mean" in ended.err
    shutil.rmtree(package)
    ended = command("weights", "list")
    assert ended.code == 0 and ended.out.strip() == "" and "no weights" in ended.err
    assert told("weights", "list") == {"weights": []}
