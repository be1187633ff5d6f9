"""The wrapper over regor: figures that add up, what is refused, and silence."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from vela_models import model, with_corners_aligned

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.costs import space_costs
from edgeflownas.hardware.latency import draw_archs
from edgeflownas.hardware.targets import Target, get_target
from edgeflownas.hardware.tflite import cost_model_bytes, write_float
from edgeflownas.hardware.vela import alive_at, compile_file, compile_tflite, description
from edgeflownas.models.graph import stage_macs, subnet_graph
from edgeflownas.space import get_space

BOARD = get_target("grove-vision-ai-v2")


def graph():
    return subnet_graph(get_space("v1"), 16, "000021222", (32, 48))


@pytest.fixture(scope="module", params=["performance", "size"])
def compiled(request):
    return compile_tflite(model(16), BOARD, request.param)


def test_layers_add_up(compiled):
    assert sum(layer.cycles for layer in compiled.layers) == compiled.cycles
    assert sum(layer.macs for layer in compiled.layers) == compiled.macs
    assert compiled.milliseconds == pytest.approx(compiled.cycles / 400e3)
    assert compiled.utilisation == pytest.approx(compiled.macs / compiled.cycles / 64)
    assert compiled.cpu_ops == 0 and compiled.npu_ops == len(compiled.layers)


def test_every_operator_has_its_layer(compiled):
    ops = {op.output.name: op for op in graph().ops}
    assert {layer.name for layer in compiled.layers} == set(ops)
    kinds = {"conv": "Conv2D", "up2": "ResizeBilinear", "add": "Add"}
    assert all(layer.kind == kinds[ops[layer.name].kind] for layer in compiled.layers)
    trained = stage_macs(get_space("v1"), 16, "000021222", 32, 48)  # heads of four channels, two of which are deployed
    macs = sum(count // (2 if stage.endswith("Out") else 1) for stage, count in trained.items())
    assert macs == sum(layer.macs for layer in compiled.layers if layer.kind == "Conv2D")


def test_an_operator_that_becomes_two():
    """Of four channels, ReLU is not fused; it is listed, and has the name of the tensor it writes."""
    found = {layer.name: layer.kind for layer in compile_tflite(model(8), BOARD).layers}
    assert (found["H2_act"], found["H2"]) == ("Conv2D", "Relu")
    assert found.keys() - {"H2_act"} == {op.output.name for op in graph().ops}


def test_the_arena_holds_every_tensor_where_it_is_needed(compiled):
    top = max(placed.address + placed.bytes for placed in compiled.placed)
    assert top == compiled.sram_kib * 1024
    times = {layer.name: layer.time for layer in compiled.layers}
    for op in graph().ops:
        there = {name for placed in alive_at(compiled.placed, times[op.output.name]) for name in placed.names}
        assert {buffer.name for buffer in (*op.inputs, op.output)} <= there


def test_no_two_ranges_in_use_overlap(compiled):
    for layer in compiled.layers:
        alive = sorted(alive_at(compiled.placed, layer.time), key=lambda placed: placed.address)
        for below, above in zip(alive, alive[1:], strict=False):
            assert below.address + below.bytes <= above.address


def test_weights_are_fetched_before_their_operator(compiled):
    times = {layer.name: layer.time for layer in compiled.layers}
    fetched = [placed for placed in compiled.placed if placed.use == "weights"]
    assert fetched
    assert all(placed.start <= times[placed.names[0]] <= placed.end + 1 for placed in fetched)


def test_the_peak(compiled):
    peak = description(compiled)["peak"]
    sums = [sum(one.bytes for one in alive_at(compiled.placed, layer.time)) for layer in compiled.layers]
    assert peak["used_kib"] * 1024 >= max(sums) > 0
    assert peak["used_kib"] + peak["gaps_kib"] == pytest.approx(compiled.sram_kib)


def test_modes_and_a_limit_trade_memory_for_time():
    large = model(16, (96, 128))
    fast, small = (compile_tflite(large, BOARD, mode) for mode in ("performance", "size"))
    between = compile_tflite(large, BOARD, arena_kib=250)
    assert fast.sram_kib > 250 >= between.sram_kib >= small.sram_kib
    assert between.cycles < 1.05 * fast.cycles < 1.1 * fast.cycles < small.cycles
    assert any(placed.use == "stripes" for placed in small.placed)
    assert (fast.facts["arena"], between.facts["arena"]) == ("no limit", "250 KiB")


def test_a_limit_that_cannot_be_kept_is_told():
    kept, not_kept = (compile_tflite(model(), BOARD, arena_kib=arena) for arena in (60, 1))
    assert kept.arena_kept and kept.sram_kib <= 60 and compile_tflite(model(), BOARD).arena_kept
    assert not not_kept.arena_kept and not_kept.sram_kib > 1 and not description(not_kept)["arena_kept"]


def test_a_memory_mode_with_a_limit_and_weights_in_dram():
    """The facts say both, and the weights are counted wherever they are."""
    system = ("ethos-u65-256", "Ethos_U65_High_End")
    plain, own, free = (
        compile_tflite(model(16, (96, 128)), Target("t", *system, mode))
        for mode in ("Shared_Sram", "Dedicated_Sram_256KB", "Dedicated_Sram")
    )
    assert (own.facts["arena"], own.facts["constants"], free.facts["arena"]) == ("256 KiB", "Dram", "no limit")
    assert own.arena_kept and own.sram_kib <= 256 < free.sram_kib
    assert own.flash_kib == free.flash_kib == plain.flash_kib == plain.memories["Dram"] > 600
    assert own.memories["Dram"] > own.flash_kib  # with what the arena has no room for
    asked = compile_tflite(model(16, (96, 128)), Target("t", *system, "Dedicated_Sram_256KB"), arena_kib=300)
    assert asked.facts["arena"] == "300 KiB" and 256 < asked.sram_kib <= 300


def test_earlier_predictions_do_not_wait_for_later_stages():
    """The order of the inputs of a sum: features of 1/4 and 1/2 are not alive at the peak."""
    large = subnet_graph(get_space("v1"), 16, "000021222", (96, 128))
    names = {
        name
        for one in description(compile_tflite(model(16, (96, 128)), BOARD))["peak"]["alive"]
        for name in one["names"]
    }
    assert "H1_x2" in names and not names & {"Up2", "H1"}
    swapped = [dataclasses.replace(op, inputs=op.inputs[::-1]) if op.kind == "add" else op for op in large.ops]
    waiting = compile_tflite(cost_model_bytes(dataclasses.replace(large, ops=tuple(swapped))), BOARD)
    names = {name for one in description(waiting)["peak"]["alive"] for name in one["names"]}
    assert names >= {"H1_x2", "Up2", "H1"}


def test_same_file_same_bytes_and_silence(capfd):
    one, other = (compile_tflite(model(), BOARD) for _ in range(2))
    assert one == other and one.model[4:8] == b"TFL3"
    assert capfd.readouterr() == ("", "")


def test_facts():
    facts = compile_tflite(model(), get_target("u65-256"), "size").facts
    assert facts["version"] == "5.2.0" and len(facts["ini_sha256"]) == 64
    assert [facts[key] for key in ("target", "accelerator", "clock", "mode")] == [
        *("u65-256", "ethos-u65-256", "500 MHz", "size"),
    ]


def test_operators_on_the_cpu_are_named():
    words = r"would run on the CPU.*\(6\): ResizeBilinear \(DB0\.0\.sum_x2\).*ResizeBilinear \(flow_half_x2\)"
    with pytest.raises(ConfigError, match=words):
        compile_tflite(with_corners_aligned(model()), BOARD)


def test_a_compiled_model_is_refused():
    with pytest.raises(ConfigError, match=r"\(1\): Custom \(flow\); a model that Vela has compiled already"):
        compile_tflite(compile_tflite(model(), BOARD).model, BOARD)


def test_a_model_of_floats_is_refused():
    import torch

    from edgeflownas.models.flownet import FlowNet
    from edgeflownas.models.graph import fold

    torch.manual_seed(0)
    net = FlowNet(get_space("v1"), 16).subnet("000021222")
    with pytest.raises(ConfigError, match=r"would run on the CPU.*\(31\): Conv2D \(E0\)"):
        compile_tflite(write_float(graph(), fold(net, graph())), BOARD)


@pytest.mark.parametrize(
    "mode, arena, words", [("fast", None, "mode 'fast'"), ("size", 9, "ignores it"), ("performance", 0, "least 1")]
)
def test_requests_that_mean_nothing(mode, arena, words):
    with pytest.raises(ConfigError, match=words):
        compile_tflite(model(), BOARD, mode, arena)


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("ethosu.vela._version.__version__", "5.1.0")
    with pytest.raises(ConfigError, match=r"5\.1\.0 is installed.*5\.2\.0"):
        compile_tflite(model(), BOARD)


def test_a_file_that_is_none():
    with pytest.raises(DataError, match="not a TFLite file"):
        compile_tflite(b"PK\3\4 and more", BOARD)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_truncated_file_ends_no_process(tmp_path, share, capfd):
    path = tmp_path / "cut.tflite"
    path.write_bytes(model()[: int(share * len(model()))])
    with pytest.raises(DataError, match=r"cut\.tflite: "):
        compile_file(path, BOARD)
    assert capfd.readouterr() == ("", "")


def test_a_file_compiles_in_another_process_as_it_does_here(tmp_path):
    (tmp_path / "a.tflite").write_bytes(model())
    assert compile_file(tmp_path / "a.tflite", BOARD) == compile_tflite(model(), BOARD)
    with pytest.raises(DataError, match=r"b\.tflite: cannot be read"):
        compile_file(tmp_path / "b.tflite", BOARD)


@pytest.mark.faults
def test_an_interrupt_while_the_process_starts_is_silent(tmp_path):
    """Ctrl-C reaches every process of the terminal; only ours answers."""
    (tmp_path / "a.tflite").write_bytes(model(16, (96, 128)))
    program = (
        "import signal, sys; from pathlib import Path; from edgeflownas.hardware.vela import compile_file;"
        "from edgeflownas.hardware.targets import architecture, get_target;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a job in the background starts without it
        "target = get_target('u55-128'); architecture(target)\n"
        "try: print('ready', flush=True); compile_file(Path(sys.argv[1]), target)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "a.tflite")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for wait in (0.02, 0.1, 0.2):
        with subprocess.Popen(words, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
            assert process.stdout.readline() == "ready\n"
            time.sleep(wait)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert (out, err) == ("interrupted\n", ""), wait


WIDTH, DRAWN = 32, 24
BOUNDS = {  # mean and largest of (count / arena - 1), percent, rounded away from 0
    ((192, 256), "performance"): (3.4, 3.8),
    ((96, 128), "performance"): (1.4, 3.2),
    ((192, 256), "size"): (252, 286),
    ((96, 128), "size"): (199, 247),
}


@pytest.mark.slow
@pytest.mark.parametrize("size, mode", BOUNDS)
def test_error_of_the_count(size, mode):
    space, board = get_space("v1"), get_target("grove-vision-ai-v2")
    archs = [list(space)[index] for index in draw_archs(space, DRAWN, 0)]
    counted = space_costs(space, WIDTH, size, archs)["sram_kib"]
    graphs = [subnet_graph(space, WIDTH, arch, size) for arch in archs]
    arena = np.array([compile_tflite(cost_model_bytes(graph), board, mode).sram_kib for graph in graphs])
    error = 100 * np.abs(counted / arena - 1)
    print(f"\n{size} {mode}: {DRAWN} codes, mean {error.mean():.2f} %, largest {error.max():.2f} %")
    mean, largest = BOUNDS[size, mode]
    assert error.mean() <= mean and error.max() <= largest
