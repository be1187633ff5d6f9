"""`vela` as a user runs it, and its figures against Arm's own command line."""

import csv
import json
import subprocess
import sys

import pytest
from runs import command, told

from edgeflownas.hardware.targets import WE2, architecture, get_target
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.models.graph import subnet_graph
from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "baseline.tflite"
    path.write_bytes(cost_model_bytes(subnet_graph(get_space("v1"), 16, "000021222", (96, 128))))
    return path


def arm(model, folder, target, *options):
    """The summary of `vela`, and what it says on the file that it writes."""
    chip = get_target(target)
    (folder / "chip.ini").write_text(architecture(chip).ini)
    subprocess.run(
        [
            *(sys.executable, "-m", "ethosu.vela", str(model), "--config", str(folder / "chip.ini")),
            *("--accelerator-config", chip.accelerator, "--system-config", chip.system_config),
            *("--memory-mode", chip.memory_mode, "--output-dir", str(folder), *options),
        ],
        check=True,
        capture_output=True,
    )
    (summary,) = folder.glob("*_summary_*.csv")
    with summary.open() as file:
        return next(csv.DictReader(file))


@pytest.mark.parametrize(
    "target, ours, arms",
    [
        ("grove-vision-ai-v2", (), ("--optimise", "Performance")),
        ("grove-vision-ai-v2", ("--mode", "size"), ("--optimise", "Size")),
        ("grove-vision-ai-v2", ("--arena", "250"), ("--arena-cache-size", str(250 * 1024))),
        ("u55-256", (), ()),
        ("u65-256", ("--mode", "size"), ("--optimise", "Size")),
    ],
)
def test_the_same_as_the_command_line_of_vela(model, tmp_path, target, ours, arms):
    ended = command("vela", model, "--target", target, *ours, "--json", "--out", tmp_path / "ours")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)["models"]
    (tmp_path / "arms").mkdir()
    summary = arm(model, tmp_path / "arms", target, *arms)
    assert found["milliseconds"] == pytest.approx(1e3 * float(summary["inference_time"]), rel=1e-12)
    assert found["cycles"] == int(summary["cycles_total"])
    assert found["sram_kib"] == float(summary["sram_memory_used"])
    assert found["flash_kib"] == float(summary["off_chip_flash_memory_used"])
    assert found["macs"] == int(summary["nn_macs"])
    written = [(tmp_path / folder / "baseline_vela.tflite").read_bytes() for folder in ("ours", "arms")]
    assert written[0] == written[1]


def test_table_files_and_pictures(model, tmp_path):
    ended = command("vela", model, "--out", tmp_path / "out", "--figures", tmp_path / "figures")
    assert ended.code == 0, ended.err
    for words in ("H2Out", "total", "peak of SRAM at H2", "ethos-u55-64 at 400 MHz", "0 on the CPU", "Vela 5.2.0"):
        assert words in ended.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"baseline_vela.tflite", "baseline_vela.json"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"baseline_latency.png", "baseline_sram.png"}
    assert json.loads((tmp_path / "out" / "baseline_vela.json").read_text())["facts"]["version"] == "5.2.0"


def test_several_models(model, tmp_path):
    other = tmp_path / "other.tflite"
    other.write_bytes(model.read_bytes())
    lines = command("vela", model, other).out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["baseline", "other"]
    assert lines[2].split()[1:] == lines[3].split()[1:]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.tflite").write_bytes(b"")
    assert "two models are called other" in command("vela", other, tmp_path / "more" / "other.tflite").err


def test_ones_own_ini(model, tmp_path):
    ini = tmp_path / "board.ini"
    ini.write_text(WE2.replace("400e6", "200e6"))
    words = ("--ini", ini, "--accelerator", "ethos-u55-64", "--system-config", "WE2", "--memory-mode", "WE2_Shared")
    slow = told("vela", model, *words)["models"][0]
    fast = told("vela", model)["models"][0]
    assert (slow["facts"]["target"], slow["facts"]["clock"]) == ("board", "200 MHz")
    assert slow["cycles"] == fast["cycles"] and slow["milliseconds"] == pytest.approx(2 * fast["milliseconds"])
    assert slow["facts"]["ini_sha256"] != fast["facts"]["ini_sha256"]


def test_a_limit_that_is_not_kept(model):
    ended = command("vela", model, "--arena", "1", "--json")
    assert not json.loads(ended.out)["models"][0]["arena_kept"] and ended.code == 0
    assert "baseline: the limit of the arena, 1 KiB, is not kept" in ended.err
    assert "! baseline: the limit of the arena, 1 KiB, is not kept" in command("vela", model, "--arena", "1").out


def test_list_of_targets():
    assert "grove-vision-ai-v2  ethos-u55-64" in command("vela", "--list-targets").out
    assert len(told("vela", "--list-targets")) == 4


@pytest.mark.parametrize(
    "words, code, problem",
    [
        ((), 64, "give at least one"),
        (("MODEL", "--target", "u99"), 64, "target 'u99' is unknown: .*; or give your own as FILE.ini,ACCELERATOR"),
        (("MODEL", "--target", ""), 64, "target '' is unknown"),
        (("MODEL", "--mode", "fast"), 64, "mode 'fast'"),
        (("MODEL", "--arena", "1.5"), 64, "--arena 1.5 must be a whole number"),
        (("MODEL", "--mode", "size", "--arena", "900"), 64, "mode size ignores it"),
        (("MODEL", "--accelerator", "ethos-u55-64"), 64, "--accelerator belongs to --ini"),
        (("MODEL", "--ini", "INI"), 64, "needs --accelerator, --system-config, --memory-mode too: .*WE2_Shared"),
        (("MODEL", "--ini", "INI", "--target", "u55-128"), 64, "both say what to compile for"),
        (("MODEL", "--ini", "none.ini"), 65, "none.ini: cannot be read"),
        (("none.tflite",), 65, "none.tflite: cannot be read"),
        (("CUT",), 65, "cut.tflite: Vela breaks off"),
        (("INI",), 65, "board.ini: not a TFLite file"),
        (("MODEL", "--out", "INI"), 74, "board.ini: cannot be written"),
        (("MODEL", "--figures", "INI"), 74, "board.ini: the pictures cannot be written"),
    ],
)
def test_errors(model, tmp_path, words, code, problem):
    import re

    (tmp_path / "board.ini").write_text(WE2)
    (tmp_path / "cut.tflite").write_bytes(model.read_bytes()[:50_000])
    places = {"MODEL": model, "INI": tmp_path / "board.ini", "CUT": tmp_path / "cut.tflite"}
    ended = command("vela", *(places.get(word, word) for word in words))
    assert ended.code == code
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1 and re.search(problem, ended.err)
