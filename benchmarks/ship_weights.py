"""Make weights of the package out of a run: recalibrate, store (float16 where it costs nothing), measure, write a card.

Start it where the run was trained, so that its training and validation pairs are found.  A single subnet gets the
batch-norm statistics of its training crops and those of whole frames at --size, both of the run's calibration samples.
What is measured is what was written, opened as ``weights:NAME``.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shared import INT8_RANGES, at_least, height_width, options
from _shared import run as run_benchmark
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.evaluate.frozen import FrozenBatches, FrozenSplit
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.export.build import Request, Seconds, build
from edgeflownas.export.paths import TRAINING
from edgeflownas.export.source import extracted, open_pairs
from edgeflownas.export.verify import ZERO
from edgeflownas.files import read_json, read_rows
from edgeflownas.hardware.targets import named_target
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.models.flownet import FlowNet
from edgeflownas.report.console import Console
from edgeflownas.run import weights
from edgeflownas.run.checkpoint import Checkpoint
from edgeflownas.run.evaluate import evaluate_on
from edgeflownas.run.run import Run
from edgeflownas.space import get_space

HALF_LOSS = 0.01  # px that float16 may cost, under deploy
GENERATED = "generated"  # what data/check.py calls such a source
LICENCE = "MIT, trained on pairs that edgeflownas generated"
STORAGES = ("float16", "float32")  # of the kernels; the first is taken unless it costs too much
Groups = dict[str, dict[str, NDArray[Any]]]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("run", type=Path, help="run directory of a single subnet or a supernet, on generated pairs")
    parser.add_argument("--name", required=True, help="what the weights are called, such as flownet-v1-w16")
    parser.add_argument("--checkpoint", help="latest, best or a name; default: the best, else the latest")
    parser.add_argument("--weights", default="model", help="model or ema")
    parser.add_argument("--size", type=height_width, default="192x256", help="of the images on the device")
    parser.add_argument("--storage", default="auto", choices=("auto", *STORAGES), help="of the kernels")
    parser.add_argument("--data", nargs="*", default=[], help="data sets for the card's table beside the run's own")
    parser.add_argument("--recipe", help="the recipe; default: the name of the run")
    parser.add_argument("--commit", help="of the code that trained; default: what the run recorded")
    parser.add_argument("--arena", type=at_least(1), help="SRAM that Vela may use, KiB; default: as much as is fastest")
    parser.add_argument("--no-export", action="store_true", help="without the figures of int8 and of the chip")
    parser.add_argument("--folder", type=Path, default=weights.FOLDER, help="where the two files go")
    return run_benchmark(parser, make, argv)


def make(given: Any) -> dict[str, Any]:
    """Write the weights and their card; what was written."""
    console = Console()
    run = Run.open(given.run, note=console.info)
    stored = run.checkpoint(
        given.checkpoint or ("best" if (given.run / "best.json").exists() else "latest"), given.weights
    )
    card = _history(run, stored, given)
    with tempfile.TemporaryDirectory() as temporary, package_folder():
        found = {}
        for storage in STORAGES if given.storage == "auto" else (given.storage,):
            facts, groups = _contents(run, run.net(stored, given.weights), given.size, storage == "float16", console)
            folder = weights.FOLDER = Path(temporary, storage)  # so that what follows opens what is written
            folder.mkdir()
            weights.write_weights(given.name, facts, groups, card, folder)
            found[storage] = folder, facts, groups, _scores(run, given, console)
        epes = {storage: each[-1][0]["epe_per_image"] for storage, each in found.items()}
        storage = min(epes, key=lambda name: (epes[name] > min(epes.values()) + HALF_LOSS, STORAGES.index(name)))
        weights.FOLDER, facts, groups, rows = found[storage]
        card |= {"storage": storage, "epe_by_storage": epes, "epe": rows}
        if not given.no_export:
            card |= _on_device(given, console)
    given.folder.mkdir(parents=True, exist_ok=True)
    files = weights.write_weights(given.name, facts, groups, card, given.folder)
    return {"weights": str(files[0]), "card": str(files[1]), **card, "bytes": files[0].stat().st_size}


@contextlib.contextmanager
def package_folder() -> Iterator[None]:
    """Where weights of the package are looked for may change meanwhile."""
    before = weights.FOLDER
    try:
        yield
    finally:
        weights.FOLDER = before


def _contents(
    run: Run, net: StagedNet, size: tuple[int, int], half: bool, console: Console
) -> tuple[dict[str, Any], Groups]:
    """Metadata and tensors.  With ``half`` the kernels are rounded first, so that batch norm fits what is stored."""
    config = run.config
    for parameter in net.parameters():
        if half and parameter.ndim > 1:
            parameter.data.copy_(parameter.data.half())
    flat = {
        f"{group}.{key}": value for group, keys in config.model_dump(mode="json").items() for key, value in keys.items()
    }
    idle = "train.space" if config.train.task == "edgeflownet" else "eval.eval_pool_size"
    kept = {key: flat[key] for key in weights.KEPT if key != idle or config.train.task == "supernet"}
    if config.train.task == "distil":
        kept["train.task"] = "standalone"
    if isinstance(net, FlowNet):
        kept["train.batch_norm"] = "trained"  # frozen asks for train.init_from; statistics are carried either way
    facts = {
        "config": kept,
        "space": get_space(config.train.space).declaration(),
        "size": list(size),
        "pairs": _pairs(run),
        "statistics": {},
    }
    groups: Groups = {"model": _arrays(net, half)}
    if config.train.task == "supernet":
        return facts, groups
    if not net.batchnorms:
        facts["statistics"] = {weights.TRAINING: {"from": "frozen in training", "samples": 0}}
        return facts, groups
    split, dataset = run.own_calibration()
    place = Protocol("deploy", size)
    crops = FrozenBatches.of(net, split, dataset, None, hold=False)
    for label, batches in ((weights.TRAINING, crops), (place.label, _whole_frames(net, split, dataset, place))):
        with full_precision(), console.task(f"calibrate {label}", split.num_batches) as meter:
            set_buffers(net, batches, meter.advance)
        facts["statistics"][label] = {"from": split.label, "samples": len(split.names)}
        if label == weights.TRAINING:
            groups["model"] = _arrays(net, half)
        else:
            groups[label] = {name: array for name, array in _arrays(net, half).items() if "running_" in name}
    return facts, groups


def _whole_frames(net: StagedNet, split: FrozenSplit, dataset: FlowDataset, place: Protocol) -> Iterator[FlowBatch]:
    """The samples of a split as a protocol shows them, in batches."""
    position = {name: index for index, name in enumerate(dataset.names)}
    for start in range(0, len(split.names), split.batch_size):
        names = split.names[start : start + split.batch_size]
        images = np.stack([place.prepare(dataset.read(position[name])).images for name in names])
        yield FlowBatch(net.input_form.encode(torch.from_numpy(images), torch.float32), *2 * (torch.empty(0),))


def _arrays(net: StagedNet, half: bool) -> dict[str, NDArray[Any]]:
    """The network's tensors; kernels as float16, where asked, the rest (few numbers) as float32."""
    tensors = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    return {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor).numpy().copy() for name, tensor in tensors.items()
    }


def _pairs(run: Run) -> dict[str, Any]:
    """How the run's pairs were generated, and how many are made again to calibrate and to evaluate."""
    described = run.train.directory.parent / "dataset.json"
    if run.train.source != GENERATED:
        raise ConfigError(
            f"{run.train.directory}: not generated pairs; weights of the package are trained on such alone"
        )
    made, own = read_json(described), run.config.eval
    counts = {
        "train": min(made["train"], own.bn_recal_batches * own.batch_size),
        "val": min(made["val"], (own.eval_batches_per_arch or 8) * own.batch_size),
    }
    words = {key: made.get(key) for key in ("seed", "height", "width", "motion", "version")}
    return {"kind": made.get("kind", "scenes"), **words, **counts}


def _history(run: Run, stored: Checkpoint, given: Any) -> dict[str, Any]:
    """The card, as far as it is known before anything is measured."""
    config, trained = run.config, _training(run, stored)
    code = str(next(iter(run.space))).replace(",", "") if config.train.task != "supernet" else None
    return {
        "code": code,
        "task": config.train.task,
        "space": config.train.space,
        "width": config.train.width,
        "size": list(given.size),
        "storage": given.storage,
        "recipe": given.recipe or trained[-1]["run"],
        "commit": given.commit or run.manifest["code"]["commit"],
        "machine": {key: run.manifest["environment"][key] for key in ("cpu", "threads", "torch")},
        "data": trained[-1]["data"],
        "pairs_seen": sum(part["pairs_seen"] for part in trained),
        "hours": round(sum(part["hours"] for part in trained), 3),
        "trained": trained,
        "epe": [],
        "int8": None,
        "vela": None,
        "licence": LICENCE,
    }


def _training(run: Run, stored: Checkpoint) -> list[dict[str, Any]]:
    """What was trained, first to last: the run, before it those that its weights came from."""
    facts = run.manifest.get("initialised_from") or run.manifest.get("forked_from")
    before: list[dict[str, Any]] = []
    if facts and weights.is_weights(facts["run"]):
        before = weights.read_card(facts["run"])["trained"]
    elif facts:
        parent = Run.open(Path(facts["run"]))
        before = _training(parent, parent.checkpoint(facts["checkpoint"]))
    rows = list(read_rows(run.path / "timing.jsonl", b'"epoch_seconds"'))
    seconds = {row["epoch"]: row["epoch_seconds"] for row in rows if row["epoch"] <= stored.position.epoch}
    described = Path(run.config.data.train_dir).parent / "dataset.json"
    data = run.manifest["data"]["train"]["label"]
    if described.exists():
        made, asked = read_json(described), ("kind", "motion", "height", "width", "train", "val", "seed")
        words = " ".join(f"--{key} {made[key]}" for key in asked if made.get(key) is not None)
        data = f"edgeflownas data synth {words} (generator version {made['version']})"
    return [
        *before,
        {
            "run": run.path.resolve().name,
            "checkpoint": stored.name,
            "commit": run.manifest["code"]["commit"],
            "data": data,
            "pairs_seen": stored.state["seen"],
            "hours": round(sum(seconds.values()) / 3600, 3),
        },
    ]


def _scores(run: Run, given: Any, console: Console) -> list[dict[str, Any]]:
    """EPE of the weights as they are now stored, of a supernet its baseline's; the run's own validation pairs first."""
    opened = Run.open(Path(weights.PREFIX + given.name), note=console.info)
    codes = [str(opened.choose(None)[0])]
    own = str(run.val.directory)
    rows = []
    for data, (protocol, size) in itertools.product([own, *given.data], (("deploy", given.size), ("standard", None))):
        words = {"data": data, "protocol": protocol, "size": size, "references": "zero"}
        (row,), (zero,) = evaluate_on(opened, console, codes=codes, **words)
        figures = {"epe_per_image": row.epe_per_image, "epe": row.epe, "zero_flow": zero.epe_per_image}
        rows.append({"data": row.split_label, "protocol": row.protocol, **figures, "samples": row.samples})
    return rows


def _on_device(given: Any, console: Console) -> dict[str, Any]:
    """EPE of the int8 file beside that of the float network on generated pairs, and what Vela says of the chip."""
    opened = Run.open(Path(weights.PREFIX + given.name), note=console.info)
    subnet = extracted(opened.subnet(size=given.size), console.task)
    target = named_target(None)
    request = Request(("tflite-int8",), given.size, "flow", False, INT8_RANGES, target, "performance", given.arena)
    pairs = [open_pairs("", None, split, opened, 32, given.size, console.info) for split in ("train", "val")]
    with console.task("int8", 64) as meter:
        _, report = build(request, subnet, *pairs, Seconds(), meter.advance)
    paths = {row["path"]: row for row in report["verification"]["paths"]}
    int8 = next(row for path, row in paths.items() if path.endswith("int8"))
    vela = {key: round(report["vela"][key], 2) for key in ("milliseconds", "sram_kib", "flash_kib")}
    scores = {"epe": int8["epe"], "float_epe": paths[TRAINING]["epe"], "zero_flow": paths[ZERO]["epe"]}
    on = {"data": pairs[1].label, "samples": len(pairs[1]), "size": list(given.size)}
    return {
        "int8": {**scores, "loss_percent": int8["loss_percent"], **on},
        "vela": {"target": target.name, "mode": "performance", **vela, "cpu_ms": report["measured"]["cpu_ms"]},
    }


if __name__ == "__main__":
    sys.exit(main())
