"""Errors on real pairs beside cost: the package's weights in float and int8, beside what people use without weights.

    python benchmarks/accuracy.py FOLDER [--weights NAME ...] [--size 192x256] [--out results]

FOLDER holds flying_chairs_fc2_layout, sintel, middlebury and kitti_pair, laid out as docs/results.md says; a set that
is missing is said and left out.  Everything is scored under ``deploy:SIZE`` and, but for int8 (the exported file has
one size), under ``standard``.  Milliseconds are those of one pair of SIZE on one thread of this machine; the chip's,
and its memory, are Vela's.  Writes OUT/accuracy_HARDWARE.csv, and the tables between the marks in README.md,
README.zh.md and docs/results.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shared import INT8_RANGES, height_width, options
from _shared import run as run_benchmark

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import DataError
from edgeflownas.evaluate.predictors import BASELINES, Flow, Images, Model, Predictor, evaluate_labelled, make_baseline
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.export.build import Request, Seconds, build
from edgeflownas.export.paths import host_flow, tflite_input
from edgeflownas.export.source import extracted, open_pairs
from edgeflownas.files import replace_file
from edgeflownas.hardware.latency import median_ms
from edgeflownas.hardware.targets import named_target
from edgeflownas.hardware.tflite import TfliteModel
from edgeflownas.report.console import Console
from edgeflownas.report.table import Table, columns
from edgeflownas.run import weights
from edgeflownas.run.manifest import environment
from edgeflownas.run.run import Run, Subnet

ROOT = Path(__file__).parents[1]
TITLES = {"zero": "nothing moves", "farneback": "Farneback", "dis_fast": "DIS fast", "dis": "DIS medium"}
HEADING = columns(
    "data | protocol | samples | model | code | width | precision | EPE per image:.4f=epe_per_image | EPE:.4f=epe | "
    "zero flow:.4f=zero_flow_epe | CPU ms:.1f=cpu_ms | chip ms:.1f=chip_ms | SRAM KiB:.0f=sram_kib | "
    "flash KiB:.0f=flash_kib | hardware"
)
Row = dict[str, Any]


class Integers(Predictor):
    """The exported int8 file, run by LiteRT with the kernels of this processor."""

    def __init__(self, content: bytes, subnet: Subnet, name: str) -> None:
        self.models = (Model(name, str(subnet.arch), None),)
        self.file, self.form, self.divisor = TfliteModel(content, "fast"), subnet.net.input_form, subnet.flow_divisor

    def predict(self, images: Images) -> list[Flow]:
        """See Predictor."""
        found = self.file.run(tflite_input(self.file, images, self.form))
        outputs = {name: self.file.real(name, values)[0].transpose(2, 0, 1) for name, values in found.items()}
        return [host_flow(outputs).permute(1, 2, 0).numpy() * np.float32(self.divisor)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("folder", type=Path, help="where the real pairs lie")
    parser.add_argument("--weights", nargs="*", help="of the package; default: all")
    parser.add_argument("--size", type=height_width, default="192x256", help="of protocol deploy")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the CSV file")
    parser.add_argument(
        "--no-pages", action="store_true", help="leave README.md, README.zh.md and docs/results.md alone"
    )
    return run_benchmark(parser, measure, argv)


def measure(given: Any) -> dict[str, Any]:
    """Score everything, write the files; the rows."""
    console = Console()
    torch.set_num_threads(1)
    sets = dict(real_sets(given.folder, console.info))
    if not sets:
        raise DataError(f"{given.folder} holds none of flying_chairs_fc2_layout, sintel, middlebury, kitti_pair")
    names = weights.weights_names() if given.weights is None else [weights.find_weights(name) for name in given.weights]
    references = [(make_baseline(name), {"model": name}) for name in BASELINES]
    networks = [(name, Run.open(Path(weights.PREFIX + name), note=console.info)) for name in names]
    deploy = [*references]
    standard = [*references]
    for name, run in networks:
        about = {"model": name, "width": run.config.train.width, "precision": "float"}
        subnet = run.subnet(size=given.size)
        about["code"] = str(subnet.arch).replace(",", "")
        content, chip = on_device(run, given.size, console)
        deploy += [(subnet.predictor(), about), (Integers(content, subnet, name), about | {"precision": "int8"} | chip)]
        standard.append((run.subnet().predictor(), about))
    hardware = str(environment()["cpu"])
    rows = list(scored(sets, Protocol("deploy", given.size), deploy, hardware))
    rows += scored(sets, Protocol("standard"), standard, hardware)
    table = Table(HEADING, [[row.get(column.key) for column in HEADING] for row in rows])
    given.out.mkdir(parents=True, exist_ok=True)
    label = "-".join("".join(letter if letter.isalnum() else " " for letter in hardware).lower().split())
    replace_file(file := given.out / f"accuracy_{label}.csv", [table.csv()])
    if not given.no_pages:
        pages(rows)
    return {"csv": str(file), "rows": rows}


def real_sets(folder: Path, note: Callable[[str], None]) -> Iterator[tuple[str, FlowDataset]]:
    """Data sets that are there, by name."""
    parts = {
        "Chairs": [f"fc2:{split}@{folder}/flying_chairs_fc2_layout" for split in ("train", "val")],
        "Sintel clean": [f"sintel:clean@{folder}/sintel"],
        "Sintel final": [f"sintel:final@{folder}/sintel"],
        "Middlebury": [f"middlebury@{folder}/middlebury"],
        "KITTI": [f"{folder}/kitti_pair"],
    }
    for name, places in parts.items():
        if not Path(places[0].rpartition("@")[2]).is_dir():
            note(f"{name}: no folder {places[0].rpartition('@')[2]}; left out")
            continue
        if name == "KITTI":
            yield name, one_pair(Path(places[0]))
            continue
        opened = [open_dataset(place, "val", "FOLDER") for place in places]
        yield name, replace(opened[0], samples=tuple(sample for each in opened for sample in each.samples))


def one_pair(folder: Path) -> FlowDataset:
    """frame1.png, frame2.png and flow_gt.png as a KITTI set of one, through links in a temporary folder."""
    root = Path(tempfile.mkdtemp(prefix="edgeflownas-kitti-"))
    names = {"image_2/000000_10.png": "frame1.png", "image_2/000000_11.png": "frame2.png"}
    names |= {f"{kind}/000000_10.png": "flow_gt.png" for kind in ("flow_occ", "flow_noc")}
    for link, target in names.items():
        (root / "training" / link).parent.mkdir(parents=True, exist_ok=True)
        (root / "training" / link).symlink_to((folder / target).resolve())
    return open_dataset(f"kitti2015:occ@{root}", "val", "FOLDER")


def scored(
    sets: dict[str, FlowDataset], protocol: Protocol, predictors: Sequence[tuple[Predictor, Row]], hardware: str
) -> Iterator[Row]:
    """A row for each data set and predictor."""
    blank = np.random.default_rng(0).integers(0, 256, (*(protocol.size or (192, 256)), 6)).astype(np.uint8)
    times = [median_ms(lambda one=one: one.predict(blank), 2, 7) for one, _ in predictors]
    for name, dataset in sets.items():
        pairs = ((sample, dataset.read(index)) for index, sample in enumerate(dataset.names))
        found = evaluate_labelled(pairs, [one for one, _ in predictors], protocol, name)
        for row, (_, about), ms in zip(found, predictors, times, strict=True):
            figures = {"samples": row.samples, "epe_per_image": row.epe_per_image, "epe": row.epe}
            label = {"data": name, "protocol": protocol.label, "hardware": hardware}
            timed = {"cpu_ms": ms} if protocol.size is not None and about["model"] != "zero" else {}
            yield label | about | figures | timed | {"zero_flow_epe": found[0].epe_per_image}


def on_device(run: Run, size: tuple[int, int], console: Console) -> tuple[bytes, Row]:
    """The int8 file of weights, its ranges from generated pairs, and what Vela says of it."""
    subnet = extracted(run.subnet(size=size), console.task)
    target = named_target(None)
    request = Request(("tflite-int8",), size, "flow", False, INT8_RANGES, target, "performance", None)
    calibration = open_pairs("", None, "train", run, 32, size, console.info)
    with console.task("int8", len(calibration)) as meter:
        files, report = build(request, subnet, calibration, None, Seconds(), meter.advance)
    vela = report["vela"]
    chip = {"chip_ms": vela["milliseconds"], "sram_kib": vela["sram_kib"], "flash_kib": vela["flash_kib"]}
    return files["model_int8.tflite"], chip


def pages(rows: Sequence[Row]) -> None:
    """Write the tables between the marks of README.md, README.zh.md and docs/results.md."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    for file, protocols in (("README.md", 1), ("README.zh.md", 1), ("docs/results.md", 2)):
        path, parts = ROOT / file, []
        for protocol in list(dict.fromkeys(row["protocol"] for row in rows))[:protocols]:
            here = [row for row in rows if row["protocol"] == protocol]
            lines = [["EPE per image, px, `" + protocol + "`", *sets, "CPU ms", "chip ms", "SRAM KiB", "flash KiB"]]
            for who in dict.fromkeys((row["model"], row.get("precision")) for row in here):
                own = {row["data"]: row for row in here if (row["model"], row.get("precision")) == who}
                first = next(iter(own.values()))
                cost = [first.get(key) for key in ("cpu_ms", "chip_ms", "sram_kib", "flash_kib")]
                title = TITLES.get(who[0]) or f"`{who[0]}`, {who[1]}"
                shown = [f"{own[name]['epe_per_image']:.2f}" for name in sets]
                form = ("{:.1f}", "{:.1f}", "{:.0f}", "{:.0f}")
                lines.append(
                    [title, *shown, *("" if c is None else f.format(c) for f, c in zip(form, cost, strict=True))]
                )
            count = [next(row["samples"] for row in here if row["data"] == name) for name in sets]
            lines[0][1 : 1 + len(sets)] = [f"{name} ({number})" for name, number in zip(sets, count, strict=True)]
            lines.insert(1, ["---"] * len(lines[0]))
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if path.exists():
            before, _, rest = path.read_text(encoding="utf-8").partition("<!-- accuracy -->\n")
            _, mark, after = rest.partition("<!-- /accuracy -->")
            if not mark:
                raise DataError(f"{path}: no lines <!-- accuracy --> and <!-- /accuracy --> to write the table between")
            text = before + "<!-- accuracy -->\n" + "\n\n".join(parts) + "\n" + mark + after
            replace_file(path, [text.encode()])


if __name__ == "__main__":
    sys.exit(main())
