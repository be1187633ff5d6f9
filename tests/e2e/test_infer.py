"""`edgeflownas infer` as a user runs it: what it writes, what it says, what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from runs import BRIEF, command, contents, table, told

from edgeflownas.data.formats import read_flo
from edgeflownas.report import pictures

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(place):
    """A run whose crop is the whole frame, so that its evaluation and infer see the same pixels."""
    return place.trained("base", *BRIEF, "--data.crop_size=40x56")


@pytest.fixture
def out(place):
    folder = place.folder / "out"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def pair(place, name="0000000"):
    return [place.data / "val" / f"{name}-img_{k}.png" for k in (0, 1)]


def infer(run, out, *words):
    return command("infer", run, *words, "--out", out)


def document(*words):
    ended = infer(*words, "--json")
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_a_pair_has_the_error_that_evaluate_says(run, place, out):
    before = contents(run)
    for arch in ("000021222", "222222222"):
        found = document(run, out, *pair(place), "--arch", arch, "--checkpoint=latest", "--overwrite")
        flow, _ = read_flo(Path(found["pairs"][0]["files"]["flo"]))
        truth, _ = read_flo(place.data / "val" / "0000000-flow_01.flo")
        error = float(np.linalg.norm(flow - truth, axis=-1).mean())
        scores = told("evaluate", run, "--arch", arch)["results"]
        assert error == pytest.approx(scores[0]["sample_epe"][0], rel=1e-4)
    assert contents(run) == before


def test_the_default_is_rank_one_of_the_last_evaluation(run, place, out):
    ended = infer(run, out, *pair(place))
    best = table(run / "eval_history.csv")[-1]["arch_rank_4"].split("|")[0].split(":")
    (code,) = [row["code"] for row in table(run / "per_arch_epe.csv") if row["arch_index"] == best[1]]
    assert ended.code == 0 and f"arch {code} (rank 1 of 4 in the evaluation of epoch 1" in ended.err
    assert {path.name for path in out.iterdir()} == {
        "0000000-img_0.flo", "0000000-img_0-color.png", "0000000-img_0-arrows.png"
    }  # fmt: skip
    assert cv2.imread(str(out / "0000000-img_0-color.png")).shape == (40, 56, 3)


def test_without_an_evaluation_it_is_the_baseline_and_the_latest(run, place, out):
    copy = place.copy("base", "unevaluated")
    for name in ("best.json", "per_arch_epe.csv", "eval_history.csv", "events.jsonl"):
        (copy / name).unlink()
    ended = infer(copy, out, *pair(place), "--formats=flo")
    assert ended.code == 0, ended.err
    assert "the latest is used" in ended.err
    assert "arch 0,0,0,0,2,1,2,2,2 (the bilinear baseline: nothing was evaluated yet)" in ended.err
    assert [path.suffix for path in out.iterdir()] == [".flo"]


def test_a_folder_of_odd_sizes_and_kinds(run, place, out):
    folder = place.folder / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("f1.jpg", "f2.png", "f10.ppm"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (37, 51, 3)).astype(np.uint8))
    cv2.imwrite(str(folder / "f2.png"), rng.integers(0, 256, (37, 51)).astype(np.uint8))
    found = document(run, out, folder, "--formats", "flo,arrows")
    assert [(Path(p["image1"]).name, Path(p["image2"]).name) for p in found["pairs"]] == [
        ("f1.jpg", "f2.png"), ("f2.png", "f10.ppm")
    ]  # fmt: skip
    for entry in found["pairs"]:
        flow, valid = read_flo(Path(entry["files"]["flo"]))
        assert flow.shape == (37, 51, 2) and valid.all() and set(entry["files"]) == {"flo", "arrows"}
        assert entry["max_flow"] == pytest.approx(float(np.linalg.norm(flow, axis=-1).max()), rel=1e-5)
    ended = infer(run, out, folder, "--overwrite")
    assert "gray repeated in the three channels" in ended.err and "2 flow fields in" in ended.err


def test_a_video(run, place, out):
    path = place.folder / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (56, 40))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for k in range(3):
        writer.write(np.full((40, 56, 3), 60 * k, np.uint8))
    writer.release()
    found = document(run, out, path, "--formats=color")
    assert [Path(p["files"]["color"]).name for p in found["pairs"]] == [
        "frame_000000-color.png",
        "frame_000001-color.png",
    ]
    cut = place.folder / "cut.avi"
    cut.write_bytes(path.read_bytes()[:-2000][:900])
    ended = infer(run, out / "cut", cut)
    assert ended.code == 65 and "cut.avi" in ended.err


def test_an_existing_folder_is_not_overwritten_unless_asked(run, place, out):
    out.mkdir()
    assert infer(run, out, *pair(place), "--formats=flo").code == 0  # empty: nothing to lose
    before = contents(out)
    ended = infer(run, out, *pair(place, "0000001"))
    assert ended.code == 74 and "--overwrite" in ended.err and contents(out) == before
    assert infer(run, out, *pair(place, "0000001"), "--formats=flo", "--overwrite").code == 0
    assert len(contents(out)) == 2
    (out / "file").write_text("")
    assert infer(run, out / "file", *pair(place)).code == 74
    frames = place.folder / "frames_in_place"
    frames.mkdir()
    for number, image in enumerate(pair(place)):
        shutil.copy(image, frames / f"{number}.png")
    ended = infer(run, frames, frames, "--overwrite")
    assert ended.code == 64 and "folder of the frames" in ended.err


def test_an_interruption_leaves_whole_files_only(run, place, out, monkeypatch):
    folder = place.folder / "many"
    folder.mkdir()
    for k in range(4):
        shutil.copy(pair(place)[k % 2], folder / f"f{k}.png")
    calls: list[Path] = []
    original = pictures.replace_file

    def interrupted(path, parts):
        def half():
            yield parts[0][:10]
            raise KeyboardInterrupt

        calls.append(path)
        original(path, half() if len(calls) == 4 else parts)

    monkeypatch.setattr(pictures, "replace_file", interrupted)
    ended = infer(run, out, folder)
    assert ended.code == 130 and "interrupted after 1 of 3 pairs" in ended.err
    left = sorted(path.name for path in out.iterdir())
    assert left == ["f0-arrows.png", "f0-color.png", "f0.flo", "f1-color.png", "f1.flo"]
    assert all(cv2.imread(str(out / name)) is not None for name in left if name.endswith(".png"))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 64, "images missing"),
        (("{a}",), 65, "a single image"),
        (("{a}", "{b}", "{b}"), 64, "3 inputs"),
        (("{a}", "nothing.png"), 65, "nothing.png: does not exist"),
        (("{a}", "{flo}"), 65, "no PNG, JPEG, PPM or PGM"),
        (("{a}", "{b}", "--formats=flo,colour"), 64, "'colour' is unknown; choose from flo, color, arrows"),
        (("{a}", "{b}", "--formats="), 64, "--formats"),
        (("{a}", "{b}", "--max-flow=0"), 64, "--max-flow"),
        (("{a}", "{b}", "--arch=0000"), 64, "has 4 digits"),
        (("{a}", "{b}", "--checkpoint=step-00000099"), 74, "no such checkpoint"),
        (("{a}", "{b}", "--wieghts=x"), 64, "did you mean --weights"),
        (("{a}", "{b}", "--data.train_dir=nowhere"), 65, "--data.train_dir DIR"),
        (("{a}", "{b}", "--train.width=8"), 64, "weights do not fit"),
    ],
)
def test_refusals_name_the_remedy_and_write_nothing(run, place, out, words, code, text):
    a, b = pair(place)
    places = {"a": a, "b": b, "flo": place.data / "val" / "0000000-flow_01.flo"}
    ended = infer(run, out, *(word.format(**places) for word in words))
    assert ended.code == code and text in ended.err, ended.err
    assert not out.exists()


def test_moved_data_are_found_and_other_data_refused(run, place, out):
    moved = place.folder / "moved"
    shutil.copytree(place.data / "train", moved)
    (moved / "0000000-flow_01.flo").unlink()
    (moved / "0000000-img_0.png").unlink()
    (moved / "0000000-img_1.png").unlink()  # no calibration sample
    assert infer(run, out, *pair(place), f"--data.train_dir={moved}", "--train.lr=0.1").code == 0
    shutil.copy(moved / "0000003-img_1.png", moved / "0000003-img_0.png")
    ended = infer(run, out, *pair(place), f"--data.train_dir={moved}", "--overwrite")
    assert ended.code == 65 and "0000003-img_0.png: not the file this run was calibrated with" in ended.err
    ended = infer(run, out, *pair(place), f"--data.train_dir={place.data / 'val'}", "--overwrite")
    assert ended.code == 65 and "calibration samples are missing" in ended.err and "--data.train_dir" in ended.err


def test_progress_and_results_do_not_mix(run, place, out):
    ended = infer(run, out, *pair(place), "--json", "--train.lr=0.1")
    assert json.loads(ended.out)["calibration_samples"] == 3
    assert "--train.lr has no effect on this" in ended.err


GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


def two_images(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    for name, shift in (("a.png", 0), ("b.png", 2)):
        cv2.imwrite(str(folder / name), np.roll(pixels, shift, 1))
    return folder / "a.png", folder / "b.png"


def test_a_file_of_weights(tmp_path, monkeypatch):
    """EdgeFlowNet's frozen batch norm needs no data; the results land in ./flow where no other place is given."""
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN} is missing")
    monkeypatch.chdir(tmp_path)
    file = GOLDEN / "tf1_edgeflownet_width8.npz"
    document = told("infer", file, *two_images(tmp_path))
    assert document["arch"] == "edgeflownet" and len(document["source"]) == 64 and document["calibration"] is None
    flow, _ = read_flo(tmp_path / "flow" / "a.flo")
    made = command("import-tf1", file, "--out", tmp_path / "imported")
    assert made.code == 0, made.err
    images = (tmp_path / "a.png", tmp_path / "b.png")
    assert command("infer", tmp_path / "imported", *images, "--out", tmp_path / "again").code == 0
    assert np.array_equal(read_flo(tmp_path / "again" / "a.flo")[0], flow)
    assert command("infer", file, *images, "--out", "x", "--checkpoint", "latest").code == 64


def test_a_supernet_file_needs_calibration_pairs(tmp_path, place):
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN} is missing")
    words = (GOLDEN / "tf1_supernet_width8.npz", *two_images(tmp_path), "--out", tmp_path / "out")
    ended = command("infer", *words)
    assert ended.code == 64 and "--data.train_dir" in ended.err
    ended = command("infer", *words, f"--data.train_dir={place.data / 'train'}", "--data.crop_size=32x48")
    assert ended.code == 0 and "bilinear baseline" in ended.err


def test_what_would_mean_nothing_is_refused(tmp_path, place):
    (tmp_path / "weights.npz").write_bytes(b"PK")
    ended = command("infer", tmp_path / "weights.npz", *two_images(tmp_path), "--out", tmp_path / "out")
    assert ended.code == 65 and "weights.npz" in ended.err
    ended = command("infer", *two_images(tmp_path), "--formats", "flo", "--max-flow", "3")
    assert ended.code == 64 and "--max-flow" in ended.err
    ended = command("infer", "--weights", "x", *two_images(tmp_path))
    assert (
        ended.code == 64 and "model or ema; a run stands first: edgeflownas infer [RUN|weights:NAME] A.png" in ended.err
    )
    ended = command("infer", place.data / "train", "--out", tmp_path / "out")
    assert ended.code == 65 and "separate pairs" in ended.err
