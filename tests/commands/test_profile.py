"""`profile`: what it prints and writes, and what it refuses."""

import csv
import json
import math

import pytest

from edgeflownas import cli
from edgeflownas.hardware.costs import space_costs
from edgeflownas.hardware.latency import draw_archs
from edgeflownas.space import get_space

V1 = get_space("v1")


def document(capsys, *words):
    assert cli.run(["profile", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_arch_by_stage(capsys):
    found = document(capsys, "--arch", "000021222")
    assert (found["arch"], found["width"], found["size"]) == ("0,0,0,0,2,1,2,2,2", 32, [180, 240])
    assert found["parameters"] == 2_743_072 == sum(stage["parameters"] for stage in found["stages"])
    assert found["macs"] == sum(stage["macs"] for stage in found["stages"])
    assert found["int8_weight_kib"] == sum(stage["weight_bytes"] for stage in found["stages"]) / 1024
    assert found["sram_kib"] * 1024 == max(stage["peak_bytes"] for stage in found["stages"])
    assert found["sram_kib"] * 1024 == sum(buffer["bytes"] for buffer in found["peak"]["alive"])
    assert [stage["output"] for stage in found["stages"]][-2:] == [[16, 192, 240], [2, 192, 240]]
    assert "cpu_ms" not in found


def test_attention_and_gate_show_their_features(capsys):
    stages = document(capsys, "--space", "v3", "--arch", "0" * 11, "--width", 8, "--size", "30x50")["stages"]
    outputs = {stage["name"]: stage["output"] for stage in stages}
    assert (outputs["ECA"], outputs["Gate"]) == ([64, 2, 4], [16, 8, 16])


def test_the_table_for_people(capsys):
    assert cli.run(["profile", "--arch", "000021222"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "space v1, width 32, 180x240, arch 0,0,0,0,2,1,2,2,2"
    assert lines[-2].split() == ["total", "2,743,072", "3,634.8", "2,682.7", "2,340.0"]
    assert [line.split()[0] for line in lines if line.endswith("<")] == ["H2"]
    assert lines[-1].startswith("peak at H2 (H2), alive: flow_half 2x96x120 180.0, H1_x2 32x192x240 1,440.0")


def test_a_space_and_its_extremes(capsys):
    found = document(capsys, "--space", "v1", "--width", 8, "--size", "64x96")
    table = space_costs(V1, 8, (64, 96))
    assert found["archs"] == len(V1) and list(found["columns"]) == list(table)
    macs = found["columns"]["macs"]
    assert (macs["min"], macs["max"]) == (table["macs"].min(), table["macs"].max())
    assert (macs["min_arch"], macs["max_arch"]) == ("0,0,0,0,0,0,0,0,0", "2,2,2,2,2,2,2,2,2")
    assert cli.run(["profile", "--space", "v1"]) == 0
    text = capsys.readouterr().out
    assert "19,683 archs" in text
    assert "(all alike)" in next(line for line in text.splitlines() if line.startswith("peak of activations"))


@pytest.mark.e2e
def test_the_whole_table_with_measured_times(tmp_path, capsys):
    out = tmp_path / "costs.csv"
    words = ("--space", "v1", "--width", 2, "--size", "16x16", "--measure-cpu", "--sample", 2, "--seed", 5)
    found = document(capsys, *words, "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = space_costs(V1, 2, (16, 16))
    assert [row["code"] for row in rows] == [str(arch) for arch in V1] and rows[1]["H2Out"] == "kernel 5"
    for name, column in table.items():
        assert [float(row[name]) for row in rows] == column.tolist()
    measured = [place for place, row in enumerate(rows) if math.isfinite(float(row["cpu_ms"]))]
    assert measured == draw_archs(V1, 2, seed=5) and found["columns"]["cpu_ms"]["archs"] == 2
    assert found["columns"]["cpu_ms"]["min"] > 0


def test_one_measured_arch(capsys):
    words = ["profile", "--arch", "000000000", "--width", "2", "--size", "16x16", "--measure-cpu"]
    assert cli.run(words) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("CPU time ")
    assert "measuring 1 of 1 subnets: at most about" in captured.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 64, "say what to profile"),
        (["--space", "v9"], 64, "unknown search space 'v9' (known: v1"),
        (["--arch", "00000000000"], 64, "has 11 digits, space 'v1' needs 9"),
        (["--arch", "000000000", "--space", "v3"], 64, "has 9 digits"),
        (["--arch", "000000009"], 64, "digit 9 of H2Out must be 0 to 2"),
        (["--space", "v1", "--width", "7"], 64, "width 7 must be an even number"),
        (["--space", "v1", "--width", "1000000"], 64, "from 2 to 4096"),
        (["--space", "v1", "--size", "180"], 64, "--size '180' must be rows x columns"),
        (["--space", "v1", "--size", "0x16"], 64, "size 0x16: rows and columns must be 1 to 16384"),
        (["--space", "v1", "--sample", "3"], 64, "add --measure-cpu"),
        (["--space", "v1", "--out", "{folder}/missing/x.csv"], 74, "x.csv: cannot be written"),
        (["--space", "v1", "--seed", "7"], 64, "--seed belongs to a measurement"),
        (["--arch", "000000000", "--measure-cpu", "--seed", "7"], 64, "--seed draws subnets, and --arch is one"),
        (["{folder}/run"], 74, "run"),
        (["{folder}/run", "--space", "v1"], 64, "has its own; leave --space out"),
    ],
)
def test_bad_input(words, code, said, tmp_path, capsys):
    assert cli.run(["profile", *(word.format(folder=tmp_path) for word in words)]) == code
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_where_to_write_is_looked_at_before_the_measurement(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("edgeflownas.report.chip_views.measured_times", lambda *words: pytest.fail("measured"))
    for path, said in ((tmp_path / "missing" / "x.csv", "there is no folder"), (tmp_path, "a folder, or in one that")):
        assert cli.run(["profile", "--space", "v1", "--measure-cpu", "--out", str(path)]) == 74
        assert said in capsys.readouterr().err
