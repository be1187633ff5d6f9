"""``edgeflownas data`` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.cli import run
from edgeflownas.data import check
from edgeflownas.data.formats import write_flo
from edgeflownas.data.synthetic import generate


@pytest.fixture
def data(capsys):
    """What a command says on stdout and stderr; with --json the document and stderr."""

    def said(*words, code=0):
        assert run(["data", *map(str, words)]) == code
        out, err = capsys.readouterr()
        return (json.loads(out) if "--json" in words else out), err

    return said


def make_folder(folder, count, flow=3.0):
    """Samples of 6x8 pixels with a uniform flow to the right."""
    folder.mkdir(parents=True)
    for i in range(count):
        for part in ("img_0", "img_1"):
            (folder / f"{i:07d}-{part}.ppm").write_bytes(b"P6 8 6 255\n" + bytes(3 * 48))
        write_flo(folder / f"{i:07d}-flow_01.flo", np.full((6, 8, 2), (flow, 0.0), np.float32))
    return folder


def test_check_exits_65_and_names_the_file(tmp_path, data):
    train, val = make_folder(tmp_path / "a", 3), make_folder(tmp_path / "b", 2)
    command = ["check", "--train-dir", train, "--val-dir", val]
    out, _ = data(*command, "--full")
    assert f"train: 3 samples in {train} (folder): all good (every file decoded" in out
    assert f"val: 2 samples in {val} (folder): all good" in out
    (train / "0000001-flow_01.flo").write_bytes(b"PIEH")
    (val / "0000000-img_1.ppm").unlink()
    out, err = data(*command, code=65)
    assert "error: 2 bad files, the first is " in err and "0000001-flow_01.flo" in err
    assert "0000000-img_1.png: is missing" in out
    report, _ = data(*command, "--json", code=65)
    assert report["ok"] is False and [row["samples"] for row in report["sets"]] == [3, 1]
    rows = [(row["split"], Path(row["file"]).name) for row in report["rows"]]
    assert rows == [("train", "0000001-flow_01.flo"), ("val", "0000000-img_1.png")]


def test_only_full_sees_a_fault_of_content(tmp_path, data):
    train = make_folder(tmp_path / "a", 1)
    content = (train / "0000000-flow_01.flo").read_bytes()
    (train / "0000000-flow_01.flo").write_bytes(content[:-4] + np.float32(np.nan).tobytes())
    report, _ = data("check", "--train-dir", train, "--full", "--json")
    assert report["sets"][0]["unknown_flow_pixels"] == 1  # NaN is no fault
    (train / "0000000-flow_01.flo").write_bytes(content[:-4] + np.float32(np.inf).tobytes())
    data("check", "--train-dir", train)
    assert "not finite" in data("check", "--train-dir", train, "--full", code=65)[1]


def test_check_by_recipe(tmp_path, data):
    folder, recipe = make_folder(tmp_path / "a", 2), tmp_path / "mine.yaml"
    recipe.write_text(f"data: {{train_dir: {folder}, val_dir: {tmp_path / 'gone'}}}\n")
    assert f"data.val_dir: no folder {tmp_path / 'gone'}" in data("check", "--config", recipe, code=65)[1]
    report, _ = data("check", "--config", recipe, "--val-dir", folder, "--json")
    assert [row["samples"] for row in report["sets"]] == [2, 2]
    assert "--train-dir" in data("check", code=64)[1]


def test_stats(tmp_path, data):
    make_folder(tmp_path / "train", 3, flow=60.0)
    folder = make_folder(tmp_path / "val", 1, flow=-3.0)
    values, valid = np.full((6, 8, 2), (0.0, 4.0), np.float32), np.zeros((6, 8), np.bool_)
    valid[0] = True
    write_flo(folder / "0000000-flow_01.flo", values, valid)
    report, _ = data("stats", tmp_path, "--json")
    train, val = report["sets"]
    assert report["warnings"] == [] and val["label"].startswith("fc2/folder:val/1/") and train["split"] == "train"
    assert train["mean"] == train["maximum"] == 60.0 and train["share_beyond_50"] == 1.0
    assert train["pixels"] == 144 and train["source"] == "folder"
    assert val["invalid_share"] == pytest.approx(5 / 6) and val["pixels"] == 8
    assert [val[key] for key in ("median", "p90", "p99")] == pytest.approx([4.0] * 3, abs=0.01)
    assert "mean 4.00" in data("stats", folder)[0]
    write_flo(folder / "0000000-flow_01.flo", values, np.zeros((6, 8), np.bool_))
    data("stats", folder, code=65)
    data("stats", code=64)


def test_percentiles_of_a_spread_of_magnitudes(tmp_path, data):
    folder = make_folder(tmp_path / "a", 2)
    values = np.random.default_rng(0).gamma(1.0, 10.0, (2, 6, 8, 2)).astype(np.float32)
    for i in range(2):
        write_flo(folder / f"{i:07d}-flow_01.flo", values[i])
    (row,) = data("stats", folder, "--json")[0]["sets"]
    magnitude = np.sort(np.hypot(values[..., 0], values[..., 1]).ravel())
    assert row["mean"] == pytest.approx(magnitude.mean(), rel=1e-5) and row["p99"] <= row["maximum"]
    for key, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert row[key] == pytest.approx(np.quantile(magnitude, share, method="inverted_cdf"), abs=0.01)


def test_synth_hands_every_option_on(tmp_path, monkeypatch, data):
    from dataclasses import make_dataclass

    calls = []

    def made(*given):
        calls.append(dict(zip(generate.generate_dataset.__annotations__, given, strict=False)))
        return make_dataclass("Stats", ["mean"])(mean=3.0)

    made.__annotations__ = generate.generate_dataset.__annotations__
    monkeypatch.setattr(generate, "generate_dataset", made)
    words = f"synth --out {tmp_path / 'set'} --train 4 --val 2 --seed 7 --width 64 --occlusion --workers 2 --json"
    assert data(*words.split())[0]["mean"] == 3.0
    sizes = {"out": tmp_path / "set", "train": 4, "val": 2, "seed": 7, "height": 384, "width": 64, "motion": None}
    assert calls == [sizes | {"backward": False, "occlusion": True, "workers": 2, "progress": None}]
    for more, expected in (("", 3.0), ("--motion 1.5", 1.5)):
        data(*f"synth --out x --train 4 --val 2 --seed 7 --size 48x64 --kind texture {more} --json".split())
        assert (calls[-1]["height"], calls[-1]["width"], calls[-1]["motion"]) == (48, 64, expected)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--size 48x64 --width 64", "--size and --height or --width say the same"),
        ("--size 48", "'48' must be rows x columns in px"),
        ("--motion 3", "--motion belongs to --kind texture"),
        ("--kind scenes --motion 3", "--motion belongs to --kind texture"),
        ("--kind textures", "textures"),
        ("--kind texture --size 48x64 --motion 100", "--motion: 100 is outside 0.1..24"),
    ],
)
def test_synth_refuses(tmp_path, data, words, said):
    assert said in data(*f"synth --out {tmp_path / 'set'} --train 1 --val 1 --seed 0 {words}".split(), code=64)[1]
    assert not (tmp_path / "set").exists()


def test_stats_of_any_set_under_its_label(shared, data):
    specs = (f"sintel:final@{shared / 'data/sintel'}", f"middlebury@{shared / 'data/middlebury'}")
    sintel, middlebury = data("stats", *specs, "--json")[0]["sets"]
    assert sintel["label"].startswith("sintel/folder:final/2/") and sintel["share_beyond_50"] > 0.05
    assert middlebury["label"].startswith("middlebury/folder:all/2/") and 0 < middlebury["invalid_share"] < 0.05


def test_stats_warn_of_two_validation_sets(tmp_path, data, monkeypatch):
    official, hold_out = make_folder(tmp_path / "a" / "val", 2), make_folder(tmp_path / "b" / "val", 3)
    monkeypatch.setattr(check, "OFFICIAL", 2)
    monkeypatch.setattr(check, "HOLD_OUT", (3,))
    assert "warning: fc2/folder:val/2/" in data("stats", official, hold_out)[1]
    assert len(data("stats", official, hold_out, "--json")[0]["warnings"]) == 1


def test_check_of_a_named_set(shared, tmp_path, data):
    spec = f"sintel:both@{shared / 'data/sintel'}"
    (row,) = data("check", "--data", spec, "--full", "--json")[0]["sets"]
    assert (row["spec"], row["name"], row["samples"], row["bad_files"]) == (spec, "sintel", 4, 0)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"data: {{roots: {{sintel: {shared / 'data/sintel'}}}}}\n")
    assert "final: 2 samples in " in data("check", "--data", "sintel:final", "--config", recipe)[0]
    refused = data("check", "--data", "sintel:fianl", "--config", recipe, code=64)[1]
    assert "did you mean sintel:final?" in refused


def test_check_of_index_lists(shared, tmp_path, data):
    lists = ["check", "--index", shared / "data/fc2_index_lists"]
    assert "4,447 = 22,232 - 17,785" in data(*lists)[0]
    report, err = data(*lists, "--json", "--root", tmp_path, code=65)
    assert not report["ok"] and report["on_disk"] == {"root": str(tmp_path), "complete": 0, "incomplete": 22232}
    assert "train: 17785 samples are not complete on disk" in err
    data(*lists, "--root", tmp_path / "gone", code=65)
    assert "22232 entries are refused" in data(*lists, "--prefix", "/other", code=65)[1]
    data(*lists, "--full", code=64)
    data("check", "--root", tmp_path, code=64)


def test_list(shared, tmp_path, monkeypatch, data):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEFLOWNAS_DATA_SINTEL", str(shared / "data/sintel"))
    (sintel,) = [row for row in data("list", "--json")[0]["sets"] if row["name"] == "sintel"]
    assert sintel["found"] and sintel["named_by"] == "EDGEFLOWNAS_DATA_SINTEL"
    assert sintel["variants"][0] == {"variant": "clean", "samples": 2, "problem": None}
    out, _ = data("list")
    assert f"found in {shared / 'data/sintel'} (named by EDGEFLOWNAS_DATA_SINTEL)" in out
    assert "hd1k             no folder is known" in out
    (tmp_path / "edgeflownas").mkdir()
    (tmp_path / "edgeflownas" / "datasets.yaml").write_text("sintell: /x\n")
    assert "did you mean sintel?" in data("list", code=64)[1]
