"""``edgeflownas data`` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.cli import run
from edgeflownas.data.formats import write_flo
from edgeflownas.data.synthetic import generate


def make_folder(folder, count, flow=3.0):
    """Samples of 6x8 pixels with a uniform flow to the right."""
    folder.mkdir(parents=True)
    for i in range(count):
        for part in ("img_0", "img_1"):
            (folder / f"{i:07d}-{part}.ppm").write_bytes(b"P6 8 6 255\n" + bytes(3 * 48))
        values = np.zeros((6, 8, 2), np.float32)
        values[..., 0] = flow
        write_flo(folder / f"{i:07d}-flow_01.flo", values)
    return folder


def test_check_exits_65_and_names_the_file(tmp_path, capsys):
    train, val = make_folder(tmp_path / "a", 3), make_folder(tmp_path / "b", 2)
    command = ["data", "check", "--train-dir", str(train), "--val-dir", str(val)]
    assert run([*command, "--full"]) == 0
    out = capsys.readouterr().out
    assert f"train: 3 samples in {train} (folder): all good (every file decoded" in out
    assert f"val: 2 samples in {val} (folder): all good" in out
    (train / "0000001-flow_01.flo").write_bytes(b"PIEH")
    (val / "0000000-img_1.ppm").unlink()
    assert run(command) == 65
    captured = capsys.readouterr()
    assert "error: 2 bad files, the first is " in captured.err and "0000001-flow_01.flo" in captured.err
    assert "0000000-img_1.png: is missing" in captured.out and run([*command, "--json"]) == 65
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and [row["samples"] for row in report["sets"]] == [3, 1]
    rows = [(row["split"], Path(row["file"]).name) for row in report["rows"]]
    assert rows == [("train", "0000001-flow_01.flo"), ("val", "0000000-img_1.png")]


def test_only_full_sees_a_fault_of_content(tmp_path, capsys):
    train = make_folder(tmp_path / "a", 1)
    content = (train / "0000000-flow_01.flo").read_bytes()
    (train / "0000000-flow_01.flo").write_bytes(content[:-4] + np.float32(np.nan).tobytes())
    assert run(["data", "check", "--train-dir", str(train)]) == 0
    assert run(["data", "check", "--train-dir", str(train), "--full"]) == 65
    assert "not finite" in capsys.readouterr().err


def test_check_by_recipe(tmp_path, capsys):
    make_folder(tmp_path / "a", 2)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"data: {{train_dir: {tmp_path / 'a'}, val_dir: {tmp_path / 'gone'}}}\n")
    assert run(["data", "check", "--config", str(recipe)]) == 65
    assert f"data.val_dir: no folder {tmp_path / 'gone'}" in capsys.readouterr().err
    assert run(["data", "check", "--config", str(recipe), "--val-dir", str(tmp_path / "a"), "--json"]) == 0
    assert [row["samples"] for row in json.loads(capsys.readouterr().out)["sets"]] == [2, 2]
    assert run(["data", "check"]) == 64 and "--train-dir" in capsys.readouterr().err


def test_stats(tmp_path, capsys):
    make_folder(tmp_path / "train", 3, flow=60.0)
    folder = make_folder(tmp_path / "val", 1, flow=-3.0)
    values = np.zeros((6, 8, 2), np.float32)
    values[..., 1] = 4.0
    valid = np.zeros((6, 8), np.bool_)
    valid[0] = True
    write_flo(folder / "0000000-flow_01.flo", values, valid)
    assert run(["data", "stats", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["split"]: row for row in report["sets"]}
    assert report["warnings"] == [] and rows["val"]["label"].startswith("fc2/folder:val/1/")
    assert rows["train"]["mean"] == rows["train"]["maximum"] == 60.0 and rows["train"]["share_beyond_50"] == 1.0
    assert rows["train"]["pixels"] == 144 and rows["train"]["source"] == "folder"
    assert rows["val"]["invalid_share"] == pytest.approx(5 / 6) and rows["val"]["pixels"] == 8
    for key in ("median", "p90", "p99"):
        assert rows["val"][key] == pytest.approx(4.0, abs=0.01)
    assert run(["data", "stats", str(folder)]) == 0 and "mean 4.00" in capsys.readouterr().out
    write_flo(folder / "0000000-flow_01.flo", values, np.zeros((6, 8), np.bool_))
    assert run(["data", "stats", str(folder)]) == 65


def test_percentiles_of_a_spread_of_magnitudes(tmp_path, capsys):
    folder = make_folder(tmp_path / "a", 2)
    values = np.random.default_rng(0).gamma(1.0, 10.0, (2, 6, 8, 2)).astype(np.float32)
    for i in range(2):
        write_flo(folder / f"{i:07d}-flow_01.flo", values[i])
    assert run(["data", "stats", str(folder), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["sets"]
    magnitude = np.sort(np.hypot(values[..., 0], values[..., 1]).ravel())
    assert row["mean"] == pytest.approx(magnitude.mean(), rel=1e-5) and row["p99"] <= row["maximum"]
    for key, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert row[key] == pytest.approx(np.quantile(magnitude, share, method="inverted_cdf"), abs=0.01)


def test_synth_hands_every_option_on(tmp_path, monkeypatch, capsys):
    from dataclasses import make_dataclass

    calls: list[dict[str, object]] = []

    def made(*given):
        calls.append(dict(zip(generate.generate_dataset.__annotations__, given, strict=False)))
        make_folder(tmp_path / "set" / "train", 1)
        return make_dataclass("Stats", ["mean"])(mean=3.0)

    made.__annotations__ = generate.generate_dataset.__annotations__
    monkeypatch.setattr(generate, "generate_dataset", made)
    words = f"data synth --out {tmp_path / 'set'} --train 4 --val 2 --seed 7 --width 64 --occlusion --workers 2 --json"
    assert run(words.split()) == 0
    sizes = {"out": tmp_path / "set", "train": 4, "val": 2, "seed": 7, "height": 384, "width": 64}
    assert calls == [sizes | {"backward": False, "occlusion": True, "workers": 2, "progress": None}]
    assert json.loads(capsys.readouterr().out)["mean"] == 3.0


def test_stats_of_any_set_under_its_label(shared, capsys):
    data = shared / "data"
    assert run(["data", "stats", f"sintel:final@{data / 'sintel'}", f"middlebury@{data / 'middlebury'}", "--json"]) == 0
    sintel, middlebury = json.loads(capsys.readouterr().out)["sets"]
    assert sintel["label"].startswith("sintel/folder:final/2/") and sintel["share_beyond_50"] > 0.05
    assert middlebury["label"].startswith("middlebury/folder:all/2/") and 0 < middlebury["invalid_share"] < 0.05
    assert run(["data", "stats"]) == 64


def test_stats_warn_of_two_validation_sets(tmp_path, capsys):
    from edgeflownas.data import check as fingerprint

    official, hold_out = make_folder(tmp_path / "a" / "val", 2), make_folder(tmp_path / "b" / "val", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "OFFICIAL", 2)
        patch.setattr(fingerprint, "HOLD_OUT", (3,))
        assert run(["data", "stats", str(official), str(hold_out)]) == 0
        assert "warning: fc2/folder:val/2/" in capsys.readouterr().err
        assert run(["data", "stats", str(official), str(hold_out), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1


def test_check_of_a_named_set(shared, tmp_path, capsys):
    spec = f"sintel:both@{shared / 'data/sintel'}"
    assert run(["data", "check", "--data", spec, "--full", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["sets"]
    assert (row["spec"], row["name"], row["samples"], row["bad_files"]) == (spec, "sintel", 4, 0)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"data: {{roots: {{sintel: {shared / 'data/sintel'}}}}}\n")
    assert run(["data", "check", "--data", "sintel:final", "--config", str(recipe)]) == 0
    assert "final: 2 samples in " in capsys.readouterr().out
    assert run(["data", "check", "--data", "sintel:fianl", "--config", str(recipe)]) == 64
    assert "did you mean sintel:final?" in capsys.readouterr().err


def test_check_of_index_lists(shared, tmp_path, capsys):
    lists = str(shared / "data/fc2_index_lists")
    assert run(["data", "check", "--index", lists]) == 0
    assert "4,447 = 22,232 - 17,785" in capsys.readouterr().out
    assert run(["data", "check", "--index", lists, "--json", "--root", str(tmp_path)]) == 65
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert not report["ok"] and report["on_disk"] == {"root": str(tmp_path), "complete": 0, "incomplete": 22232}
    assert "train: 17785 samples are not complete on disk" in captured.err
    assert run(["data", "check", "--index", lists, "--root", str(tmp_path / "gone")]) == 65
    assert run(["data", "check", "--index", lists, "--prefix", "/other"]) == 65
    assert "22232 entries are refused" in capsys.readouterr().err
    assert run(["data", "check", "--index", lists, "--full"]) == 64
    assert run(["data", "check", "--root", str(tmp_path)]) == 64


def test_list(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("EDGEFLOWNAS_DATA_SINTEL", str(shared / "data/sintel"))
    assert run(["data", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["sets"]}
    assert rows["sintel"]["found"] and rows["sintel"]["named_by"] == "EDGEFLOWNAS_DATA_SINTEL"
    assert rows["sintel"]["variants"][0] == {"variant": "clean", "samples": 2, "problem": None}
    assert run(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert f"found in {shared / 'data/sintel'} (named by EDGEFLOWNAS_DATA_SINTEL)" in out
    assert "hd1k             no folder is known" in out
    (tmp_path / "edgeflownas").mkdir()
    (tmp_path / "edgeflownas" / "datasets.yaml").write_text("sintell: /x\n")
    assert run(["data", "list"]) == 64 and "did you mean sintel?" in capsys.readouterr().err
