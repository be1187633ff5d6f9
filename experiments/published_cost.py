"""What the published EdgeFlowNet costs on an Arm Ethos-U, beside two subnets: the tables of docs/published_cost.md.

    python experiments/published_cost.py [--targets grove-vision-ai-v2 u55-128 ...] [--old-compiler]

Kernels are made up (edgeflownas.hardware.tflite.cost_model_bytes): no weights are needed.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from edgeflownas.hardware.targets import TARGETS, Target, get_target
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.hardware.vela import Compiled, compile_tflite
from edgeflownas.models.graph import Graph, Outputs, edgeflownet_graph, subnet_graph
from edgeflownas.space import get_space

WIDTH = 32
SIZES = {"EdgeFlowNet 172x224": (172, 224), "EdgeFlowNet 176x224": (176, 224)}
CODES = {"baseline 000021222 176x224": "000021222", "lightest 000000000 176x224": "000000000"}
LEAVES: dict[str, tuple[Outputs, bool]] = {
    "flow": ("flow", False),
    "flow, uncertainty": ("flow", True),
    "raw": ("raw", False),
    "raw, uncertainty": ("raw", True),
}
ARENA = 900  # KiB: what the vendor of the board advises
HEADS = ("target", "network", "outputs", "fastest", f"arena {ARENA} KiB", "mode size")


def main() -> None:
    """Print one table for all targets, and one of the old compiler where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=["grove-vision-ai-v2"], choices=sorted(TARGETS))
    parser.add_argument("--outputs", nargs="+", default=list(LEAVES), choices=list(LEAVES))
    parser.add_argument("--old-compiler", action="store_true", help="Vela's legacy core, which the vela command has")
    options = parser.parse_args()
    print("ms / KiB of SRAM / KiB of flash\n")
    row(HEADS)
    row(["---"] * len(HEADS))
    for name in options.targets:
        for leaves in options.outputs:
            for network, graph in graphs(*LEAVES[leaves]).items():
                row([name, network, leaves, *figures(cost_model_bytes(graph), get_target(name))])
    if options.old_compiler:
        old_table(get_target("grove-vision-ai-v2"))


def row(cells: list[str] | tuple[str, ...]) -> None:
    """A line of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def graphs(outputs: Outputs, uncertainty: bool) -> dict[str, Graph]:
    """The networks by name."""
    space = get_space("v1")
    published = {name: edgeflownet_graph(WIDTH, size, outputs, uncertainty) for name, size in SIZES.items()}
    return published | {
        name: subnet_graph(space, WIDTH, code, (176, 224), outputs, uncertainty) for name, code in CODES.items()
    }


def figures(model: bytes, target: Target) -> list[str]:
    """Cells: without a limit, under the limit, in mode size.  An operator that the accelerator lacks is an error."""
    found = [compile_tflite(model, target), compile_tflite(model, target, arena_kib=ARENA)]
    found.append(compile_tflite(model, target, "size"))
    return list(map(figure, found))


def figure(one: Compiled) -> str:
    """Time, SRAM (bold where it is above the limit of the arena), flash."""
    sram = f"{one.sram_kib:.0f}"
    return f"{one.milliseconds:.1f} / {sram if one.arena_kept else f'**{sram}**'} / {one.flash_kib:.0f}"


def old_table(target: Target) -> None:
    """EdgeFlowNet at 172x224 by the legacy core, with either input of the sums of predictions first."""
    print("\nVela's legacy core, EdgeFlowNet 172x224, ms / KiB of SRAM\n")
    row(("outputs", "first input of a sum", "Performance", "Size"))
    row(["---"] * 4)
    for leaves, asked in LEAVES.items():
        graph = edgeflownet_graph(WIDTH, (172, 224), *asked)
        for first, model in {"prediction": graph, "enlarged": turned(graph)}.items():
            found = (old_figure(cost_model_bytes(model), target, mode) for mode in ("Performance", "Size"))
            row([leaves, first, *found])


def turned(graph: Graph) -> Graph:
    """``graph`` with the inputs of every sum of predictions in the other order."""
    sums = [op.kind == "add" and not op.activation for op in graph.ops]
    ops = [replace(op, inputs=op.inputs[::-1]) if turn else op for op, turn in zip(graph.ops, sums, strict=True)]
    return replace(graph, ops=tuple(ops))


def old_figure(model: bytes, target: Target, mode: str) -> str:
    """What the vela command says with ``--debug-force-legacy-core``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        (folder / "target.ini").write_text(target.ini)
        command = [sys.executable, "-m", "ethosu.vela", "model.tflite", "--debug-force-legacy-core"]
        command += ["--config", "target.ini", "--accelerator-config", target.accelerator, "--optimise", mode]
        command += ["--system-config", target.system_config, "--memory-mode", target.memory_mode, "--output-dir", "."]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (summary,) = folder.glob("model_summary_*.csv")
        with summary.open(newline="") as file:
            found = next(csv.DictReader(file))
    return f"{float(found['inference_time']) * 1e3:.1f} / {float(found['sram_memory_used']):.0f}"


if __name__ == "__main__":
    main()
