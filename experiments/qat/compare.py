"""The experiment of docs/qat.md: does fine-tuning through int8 give a better int8 model than calibration alone?

    python experiments/qat/compare.py RESULTS [--seed 1] [--qat_calibrate minmax]

Makes the data, trains one subnet, and fine-tunes it for as many steps at the same rate in three ways: in floating
point, in floating point with the batch-norm statistics of task ``qat`` (which never move), and by task ``qat``.  Prints
the EPE of each in floating point and as int8 (simulated), with paired 95 % intervals.  Everything lies below RESULTS;
what is there already is not made again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "trust"))
from pairs import write_pairs  # noqa: E402

from edgeflownas import cli  # noqa: E402
from edgeflownas.evaluate.evalset import FrozenBatches  # noqa: E402
from edgeflownas.evaluate.noise import paired_change, student95  # noqa: E402
from edgeflownas.evaluate.pool import PoolEvaluation, score_pool  # noqa: E402
from edgeflownas.models.deployed.folding import fold  # noqa: E402
from edgeflownas.models.deployed.ranges import collect_ranges  # noqa: E402
from edgeflownas.models.deployed.rounded import RoundedNet, loss_graph  # noqa: E402
from edgeflownas.train.qat import calibrate_rounded  # noqa: E402
from edgeflownas.train.reading import ReadRun, read_run  # noqa: E402

TUNING = ("--train.num_epochs=3", "--train.steps_per_epoch=200", "--train.lr=2e-4", "--eval.eval_every_epoch=3")


def main() -> None:
    """Train what is not there and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--qat_calibrate", default="minmax")
    given = parser.parse_args()
    data, method = given.results / "data", given.qat_calibrate
    if not data.exists():
        write_pairs(data, seed=5, train=1600, val=256)
    source, tuned, qat = f"source{given.seed}", f"tuned{given.seed}", f"qat{given.seed}_{method.replace(':', '')}"
    seed = f"--runtime.seed={given.seed}"
    train(given.results, source, seed)
    begin = f"--train.init_from={given.results / 'runs' / source}"
    train(given.results, tuned, seed, begin, *TUNING)
    through_int8 = (*TUNING, "--train.task=qat", f"--train.qat_calibrate={method}")
    train(given.results, qat, seed, begin, *through_int8)
    frozen = qat.replace("qat", "frozen")
    RoundedNet.rounded = False
    train(given.results, frozen, seed, begin, *through_int8)
    RoundedNet.rounded = True
    runs = {name: read_run(given.results / "runs" / name) for name in (source, tuned, frozen, qat)}
    rows = {
        "trained, floating point": score(runs[source], runs[source].net),
        "trained, int8 by calibration alone": score(runs[source], by_calibration(runs[source], method)),
        "fine-tuned, floating point": score(runs[tuned], runs[tuned].net),
        "fine-tuned, int8 by calibration alone": score(runs[tuned], by_calibration(runs[tuned], method)),
        "frozen statistics, floating point": score(runs[frozen], unrounded(runs[frozen].net)),
        "frozen statistics, int8 by calibration": score(runs[frozen], with_ranges(runs[frozen], method)),
        "qat, floating point": score(runs[qat], unrounded(runs[qat].net)),
        "qat, int8": score(runs[qat], rounded(runs[qat].net)),
    }
    show(rows)


def train(results: Path, name: str, *keys: str) -> None:
    """One run, unless it is there."""
    if (results / "runs" / name).exists():
        return
    data = [f"--data.{split}_dir={results / 'data' / split}" for split in ("train", "val")]
    place = [f"--runtime.output_root={results / 'runs'}", f"--runtime.experiment_name={name}"]
    began = time.monotonic()
    assert cli.run(["train", str(HERE / "qat.yaml"), *data, *place, *keys]) == 0
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def by_calibration(run: ReadRun, method: str) -> RoundedNet:
    """The run's network as int8, statistics and ranges measured on its calibration samples."""
    net = RoundedNet(run.net.space, run.net.width, None, input_form=run.net.input_form)
    net.load_state_dict(run.net.state_dict(), strict=False)
    calibrate_rounded(net, batches(run)[0], method)
    return net


def with_ranges(run: ReadRun, method: str) -> RoundedNet:
    """The network of a run with frozen statistics as int8, ranges measured on its final weights."""
    net = rounded(run.net)
    graph = loss_graph(net, run.config.data.crop_size)
    images = (net.prepare(batch.images) for batch in batches(run)[0])
    with torch.no_grad():
        net.set_ranges(collect_ranges(graph, fold(net, graph), images, method))
    return net


def rounded(net: object) -> RoundedNet:
    """The network of task qat as int8."""
    assert isinstance(net, RoundedNet)
    net.rounded = True
    return net


def unrounded(net: object) -> RoundedNet:
    """The same in floating point."""
    assert isinstance(net, RoundedNet)
    net.rounded = False
    return net


def batches(run: ReadRun) -> tuple[FrozenBatches, FrozenBatches]:
    """Calibration and evaluation samples."""
    first = next(run.net.parameters())
    place = (run.eval_set.flow_clip, first.device, first.dtype, run.net.input_form)
    calibration = FrozenBatches(run.eval_set.calibration, run.train, *place)
    return calibration, FrozenBatches(run.eval_set.evaluation, run.val, *place)


def score(run: ReadRun, net: object) -> PoolEvaluation:
    """Its errors on the run's frozen evaluation set."""
    return score_pool(net, list(net.space), *batches(run))  # type: ignore[attr-defined, arg-type]


def show(rows: dict[str, PoolEvaluation]) -> None:
    """EPE of each int8 model beside its own in floating point, and beside the int8 model of every other."""
    names = list(rows)
    first = rows[names[0]]
    print(f"zero flow {first.zero_flow_epe:.4f} px, {first.samples} pairs")
    for name, row in rows.items():
        print(f"{name:40} {row.epes[0]:.4f}")
    for before, after in [*zip(names[::2], names[1::2], strict=True), *((name, names[-1]) for name in names[1:-1:2])]:
        change, error = paired_change(rows[before].sample_epe, rows[after].sample_epe, first.valid_pixels)
        middle, margin = float(change[0]), float(error[0]) * student95(first.samples)
        print(f"{after} - {before}: {middle:+.4f} [{middle - margin:+.4f}, {middle + margin:+.4f}]")
    assert np.isfinite([row.epes[0] for row in rows.values()]).all()


if __name__ == "__main__":
    main()
