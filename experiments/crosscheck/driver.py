"""The int8 files of this package against those of litert-torch and ai-edge-quantizer.

    python experiments/crosscheck/driver.py RESULTS --python OTHER/bin/python

For each subnet: writes weights, pairs and our int8 file into RESULTS/WIDTH_CODE, has other.py do the same work in the
other environment, compares both with the network on the same pairs, and compiles both with Vela.
README.md says what is needed.  Exit code 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from edgeflownas.data.synthetic.generate import FIRST_VAL, generate_pair
from edgeflownas.evaluate.calibration import MomentTree
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.hardware.targets import get_target
from edgeflownas.hardware.tflite import TfliteModel, write_float, write_int8
from edgeflownas.hardware.vela import compile_tflite
from edgeflownas.models.batchnorm import record_moments
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.graph import Graph, Outputs, fold, graph_of
from edgeflownas.models.int8 import collect_ranges, integer_layers, tensor_scales
from edgeflownas.space import get_space

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
SNR_LIMIT, COST_LIMIT = 1.5, 0.01  # dB apart, share apart
FLOAT_LIMITS = {"float files": 100.0, "float": 90.0}  # dB at least: of the two float files, and against the network
TARGET, MODES = "grove-vision-ai-v2", ("performance", "size")
COSTS = {"ms": "milliseconds", "SRAM KiB": "sram_kib", "flash KiB": "flash_kib"}
BATCH = 4
EQUAL = 999.0  # dB, for what JSON has no number


def main() -> int:
    """Write, convert elsewhere, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--python", required=True, help="interpreter of the other environment")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--codes", nargs="+", default=codes(), help="subnets of space v1")
    parser.add_argument("--size", type=int, nargs=2, default=[192, 256])
    parser.add_argument("--pairs", type=int, nargs=2, default=[32, 8], help="for calibration, to compare")
    parser.add_argument("--outputs", default="scales", choices=get_args(Outputs))
    options = parser.parse_args()
    cases = {options.results / f"{width}_{code}": (code, width) for width in options.widths for code in options.codes}
    for folder, subnet in cases.items():
        write_case(folder, *subnet, tuple(options.size), tuple(options.pairs), options.outputs)
    folders = list(cases)
    convert(folders, options.python)
    found = {folder.name: compare(folder) for folder in folders}
    (options.results / "crosscheck.json").write_text(json.dumps(found, indent=1))
    for name, case in found.items():
        print(as_text(name, case))
    faults = [f"{name}: {fault}" for name, case in found.items() for fault in case["faults"]]
    print("\n".join(faults) or f"all {len(found)} agree")
    return int(bool(faults))


def codes() -> list[str]:
    """The baseline and two subnets drawn from the whole space."""
    space = get_space("v1")
    return ["000021222", *("".join(map(str, space.sample(seed))) for seed in range(2))]


def images(count: int, size: tuple[int, int], first: int) -> NDArray[np.uint8]:
    """Generated pairs [B,H,W,6] from number ``first`` on."""
    pairs = [generate_pair(0, first + index, *size) for index in range(count)]
    return np.stack([np.concatenate((pair.image1, pair.image2), axis=2) for pair in pairs])


@torch.no_grad()
def write_case(
    folder: Path, code: str, width: int, size: tuple[int, int], pairs: tuple[int, int], outputs: Outputs = "scales"
) -> None:
    """Weights, pairs, the outputs of the network as it is trained (in float64), our two files and their outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    calibration, test = images(pairs[0], size, 0), images(pairs[1], size, FIRST_VAL)
    np.savez(folder / "pairs.npz", calibration=calibration, test=test)
    net = FlowNet(get_space("v1"), width, seed=0).subnet(code)
    batches = [net.input_form.encode(part, torch.float32) for part in torch.from_numpy(calibration).split(BATCH)]
    settle(net, batches)
    graph = graph_of(net, size, outputs)
    layers = fold(net, graph)
    parts = [(name, *part) for name, layer in layers.items() for part in layer._asdict().items()]
    save_file({f"{name}.{part}": tensor.contiguous() for name, part, tensor in parts}, folder / "layers.safetensors")
    case = {"space": "v1", "code": code, "width": width, "size": size, "outputs": outputs}
    (folder / "case.json").write_text(json.dumps(case))
    scales = tensor_scales(graph, collect_ranges(graph, layers, batches, "minmax"), net.input_form)
    files = {
        "float": write_float(graph, layers),
        "int8": write_int8(graph, integer_layers(graph, layers, scales), scales),
    }
    encoded = net.input_form.encode(torch.from_numpy(test), torch.float32).permute(0, 2, 3, 1).contiguous().numpy()
    for name, inputs in {"float": encoded, "int8": (test.astype(np.int16) - 128).astype(np.int8)}.items():
        (folder / f"ours_{name}.tflite").write_bytes(files[name])
        np.savez(folder / f"ours_{name}.npz", **run(files[name], inputs))
    np.savez(folder / "network.npz", **network_outputs(net.double(), graph, test))


def run(file: bytes, images_BHW6: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Outputs [B,h,w,2] in real numbers by name."""
    model = TfliteModel(file)
    rows = [model.run(image) for image in images_BHW6]
    return {name: np.concatenate([model.real(name, row[name]) for row in rows]) for name in model.outputs}


def network_outputs(net: FlowNet, graph: Graph, test: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """What ``net`` itself predicts for each output of ``graph`` [B,h,w,2]."""
    raw = net(net.input_form.encode(torch.from_numpy(test), torch.float64))
    given = raw if graph.outputs[-1].name.startswith("flow_raw") else accumulate(raw)
    of_rows = {flow.shape[2]: flow[:, :2].permute(0, 2, 3, 1).numpy() for flow in given}  # they differ in size
    return {buffer.name: of_rows[buffer.rows] for buffer in graph.outputs}


def settle(net: FlowNet, batches: Sequence[torch.Tensor]) -> None:
    """Give every batch norm the pooled moments of ``batches``; evaluation mode afterwards."""
    recorder = MomentTree()
    net.train()
    with record_moments(net, recorder), recorder.at(()):
        for batch in batches:
            net(batch)
    for slot, (mean, var) in recorder.statistics(torch.float32)[()].items():
        net.batchnorms[slot].running_mean.copy_(mean)
        net.batchnorms[slot].running_var.copy_(var)
    net.eval()


def convert(folders: Sequence[Path], python: str) -> None:
    """Run other.py over ``folders``; what it says goes to other.log beside them."""
    environment, log = os.environ | {"PYTHONPATH": str(SOURCE)}, folders[0].parent / "other.log"
    with log.open("w") as file:
        command = [python, str(HERE / "other.py"), *map(str, folders)]
        if subprocess.run(command, env=environment, stdout=file, stderr=file).returncode:
            sys.exit(f"the other environment failed: see {log}")


def compare(folder: Path) -> dict[str, Any]:
    """SNR of each output of every file, Vela's figures of both int8 files, and what passes a limit."""
    names = ("network", "ours_float", "ours_int8", "theirs")
    network, ours_float, ours, theirs = (np.load(folder / f"{name}.npz") for name in names)
    snr = {}
    for name in network.files:
        row = {way: decibel(network[name], theirs[f"{way}/{name}"]) for way in ("minmax", "average", "float")}
        files = decibel(ours_float[name], theirs[f"float/{name}"])
        snr[name] = {"ours": decibel(network[name], ours[name]), **row, "float files": files}
    files = {"ours": "ours_int8.tflite", "theirs": "theirs_minmax.tflite"}
    cost = {mode: {who: costs(folder / file, mode) for who, file in files.items()} for mode in MODES}
    return {"snr_db": snr, "cost": cost, "faults": [*apart_in_snr(snr), *apart_in_cost(cost)]}


def decibel(reference: NDArray[Any], found: NDArray[Any]) -> float:
    """10 log10 of the power of the reference over that of the difference; EQUAL for none."""
    power, noise = (float(np.square(x, dtype=np.float64).sum()) for x in (reference, reference - found))
    return 10 * float(np.log10(power / noise)) if noise else EQUAL


def costs(file: Path, mode: str) -> dict[str, float]:
    """What Vela says of a file."""
    compiled = compile_tflite(file.read_bytes(), get_target(TARGET), mode)
    return {name: getattr(compiled, key) for name, key in COSTS.items()}


def apart_in_snr(snr: dict[str, dict[str, float]]) -> list[str]:
    """Outputs whose int8 files are further apart than the limit, or whose float file is another network."""
    faults = []
    for name, row in snr.items():
        for which, least in FLOAT_LIMITS.items():
            if row[which] < least:
                faults.append(f"{name}: {which}: {row[which]:.1f} dB, at least {least:g} expected")
        if abs(row["ours"] - row["minmax"]) > SNR_LIMIT:
            faults.append(
                f"{name}: {row['ours']:.2f} dB against {row['minmax']:.2f}, at most {SNR_LIMIT} apart expected"
            )
    return faults


def apart_in_cost(cost: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Figures of Vela that differ by more than the limit."""
    faults = []
    for mode, both in cost.items():
        for name, own in both["ours"].items():
            other = both["theirs"][name]
            if abs(own - other) > COST_LIMIT * other:
                faults.append(f"{mode}: {own:.2f} {name} against {other:.2f}, within {COST_LIMIT:.0%} expected")
    return faults


def as_text(name: str, case: dict[str, Any]) -> str:
    """A few lines for people."""
    heads = list(next(iter(case["snr_db"].values())))
    lines = [f"{name}\n  {'SNR, dB':16}" + "".join(f"{head:>12}" for head in heads)]
    lines += [f"  {out:16}" + "".join(f"{row[head]:12.2f}" for head in heads) for out, row in case["snr_db"].items()]
    for mode, both in case["cost"].items():
        for who, figures in both.items():
            cells = ", ".join(f"{value:.2f} {key}" for key, value in figures.items())
            lines.append(f"  {mode:12}{who:8} {cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
