"""What ``edgeflownas evaluate`` does with a run: its frozen set, any data set under a protocol, calibration sweeps.

Results are plain data for JSON; ``report/`` puts them into words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.data.check import fingerprint
from edgeflownas.data.dataset import in_order
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate import pool
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.frozen import FrozenBatches
from edgeflownas.evaluate.pool import CalibrationSweep, PoolEvaluation
from edgeflownas.evaluate.predictors import BASELINES, Predictor, SubnetPredictor, evaluate_labelled, make_baseline
from edgeflownas.evaluate.protocols import Protocol, make_protocol
from edgeflownas.evaluate.results import EVALUATIONS, ResultRow, append_results
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.run import Run
from edgeflownas.run.setup import open_split

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

TOO_LARGE = "the frames are too large for this network and machine: use --protocol deploy with a smaller --size"


class FrozenEvaluation:
    """Weights of a run and the frozen set they are scored on; ``own``: the set, and so the figures, of its history."""

    def __init__(
        self, run: Run, checkpoint: str, weights: str, codes: Sequence[str] | None, split: str, batches: str | None
    ) -> None:
        """Read weights and samples; ``codes`` None for the pool.  Errors as those of :class:`Run`'s methods."""
        self.run, self.weights, self.split = run, weights, split
        self.checkpoint = run.checkpoint(checkpoint, weights)
        self.net = run.net(self.checkpoint, weights)
        self.eval_set, self.own = run.evaluation(split, batches)
        self.archs = [run.space.parse(code) for code in (codes or self.eval_set.pool or run.pool)]

    def score(self, console: Console) -> PoolEvaluation:
        """Score the archs, batch norm recalibrated for each."""
        calibration, evaluation = self.run.batches(self.net, self.eval_set, self.split)
        with console.task("evaluate", len(calibration) + len(evaluation)) as meter:
            divisor = self.run.config.data.flow_divisor
            return pool.score_pool(self.net, self.archs, calibration, evaluation, meter.advance, divisor)

    def document(self, result: PoolEvaluation) -> dict[str, Any]:
        """The scores with everything they belong to."""
        noise, config = result.noise, self.run.config
        ranks, margins = noise.ranks(result.epes), noise.margins()
        figures = ("epe_a0", "epe_a1", "loss_total", "loss_optical", "loss_uncertainty")
        return {
            "run": str(self.run.path),
            "checkpoint": self.checkpoint.name,
            "step": self.checkpoint.position.step,
            "weights": self.weights,
            "arithmetic": config.train.evaluated_in,
            "protocol": "training",
            "split_label": self.eval_set.evaluation.label,
            "eval_set": self.eval_set.hash,
            "calibration_set": self.eval_set.calibration_hash,
            "frozen": self.own,
            "flow_clip": self.eval_set.flow_clip,
            "flow_divisor": config.data.flow_divisor,
            "samples": result.samples,
            "zero_flow_epe": result.zero_flow_epe,
            "smallest_difference": noise.smallest_difference,
            "eval_seconds": result.eval_seconds,
            "bn_recal_seconds": result.recal_seconds,
            "results": [
                {
                    "arch_index": index,
                    "code": str(score.arch),
                    "epe": score.epe,
                    "rank": ranks[index],
                    "epe_margin": margins[index] if margins else None,
                    **{name: getattr(score, name) for name in figures},
                    "sample_epe": score.sample_epe.tolist(),
                }
                for index, score in enumerate(result.scores)
            ],
        }

    def sweep_calibration(self, console: Console) -> tuple[CalibrationSweep, dict[str, Any]]:
        """Is an arch hard, or badly calibrated?  Scores under several sets; ConfigError where nothing is calibrated."""
        run, net = self.run, self.net
        if not net.batchnorms:
            raise ConfigError("--calibration-sweep: this run's batch norm is frozen, so nothing is calibrated")
        own, train = self.eval_set.calibration, run.train
        sizes = pool.sweep_sizes(own.num_batches, len(train), own.batch_size)
        if sizes[-1] < max(*pool.SIZES, 2 * own.num_batches):
            console.info(f"the train split holds {len(train)} samples: at most {sizes[-1]} batches of {own.batch_size}")
        other, shared = pool.other_samples(own, train, sizes[-1], run.config.runtime.seed)
        if shared:
            count = len(own.names)
            console.info(f"{shared} of the {count} samples of the other set are the run's own: there are no more")
        calibration, evaluation = run.batches(net, self.eval_set, self.split)
        sets = calibration, FrozenBatches.of(net, other, train, self.eval_set.flow_clip, hold=False)
        work = len(sets[0]) + len(sets[1]) + (1 + len(sizes)) * len(evaluation)
        with console.task("calibration sweep", work) as meter:
            divisor = run.config.data.flow_divisor
            found = pool.sweep_calibration(net, self.archs, *sets, evaluation, sizes, meter.advance, divisor)
        rows = []
        for index, (score, verdict) in enumerate(zip(found.own.scores, found.verdicts(), strict=True)):
            by_size = {str(size): result.epes[index] for size, result in found.others.items()}
            rows.append({"arch_index": index, "code": str(score.arch), "epe": score.epe, "epe_by_batches": by_size})
            rows[-1] |= vars(verdict)
        document = {
            "run": str(run.path),
            "checkpoint": self.checkpoint.name,
            "eval_set": self.eval_set.hash,
            "samples": found.own.samples,
            "calibration_batches": found.own_batches,
            "batch_size": own.batch_size,
            "kendall_tau": {str(size): tau for size, tau in found.taus().items()},
            "results": rows,
            "shared_samples": shared,
        }
        return found, document


def evaluate_on(
    run: Run | None,
    console: Console,
    *,
    codes: Sequence[str] | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    data: str | None = None,
    protocol: str = "standard",
    size: tuple[int, int] | None = None,
    baseline: str | None = None,
    references: str = "all",
    record: Path | None = None,
) -> tuple[list[ResultRow], list[ResultRow]]:
    """Subnets of a run, or a baseline, on any data set under a protocol, beside references on the same pixels.

    The words are those of ``edgeflownas evaluate``.  ``run`` is None for a ``baseline``, ``codes`` for the run's pool,
    ``data`` for its own data.val_dir; ``size`` is rows and columns in px; rows are appended to evaluations.jsonl of the
    run directory ``record``.  Returns the rows of what is evaluated and those of the references.  Raises ConfigError
    for words that do not go together, DataError and StorageError for what cannot be read.
    """
    names = list(BASELINES) if references == "all" else [part.strip() for part in references.split(",")]
    names = [] if references == "none" else list(dict.fromkeys(names))
    for name in names:
        if name not in BASELINES:
            raise ConfigError(f"--references {name!r} is unknown: all, none, or some of {','.join(BASELINES)}")
    settings = None if run is None else run.config.data
    if run is not None:
        stored = run.checkpoint(checkpoint, weights)
        net, known = run.net(stored, weights), run.pool
        carried = run.carried(net, protocol if size is None else Protocol(protocol, size).label)
        samples = FrozenBatches.of(net, *run.calibration(), None) if net.batchnorms and not carried else ()
    if data is None:
        assert run is not None, "a baseline needs data"
        dataset = run.val if run.shipped else open_split(run.config, "val")
    else:
        dataset = open_dataset(data, "val", "--data", None if settings is None else settings.roots)
    height, width = dataset.read(0).flow.shape[:2]
    trained_on = None if settings is None else (settings.crop_size, settings.flow_clip)
    made = make_protocol(protocol, (height, width), size, trained_on)
    first: Predictor
    if run is None:
        first = make_baseline(str(baseline))
    else:
        archs = [run.space.parse(code) for code in (codes or known)]
        with console.task("calibrate", len(samples)) as meter, pool.full_precision():
            statistics = recalibrate(net, archs, samples, meter.advance) if samples else None
        facts = (run.label(stored, weights), stored.hash, run.config.data.flow_divisor)
        first = SubnetPredictor(net, archs, statistics, *facts)
    predictors = [first, *(make_baseline(name) for name in names if name != baseline)]
    with console.task("checksums", sum(len(sample.files) for sample in dataset.samples)) as meter:
        mark = fingerprint(dataset, progress=lambda done, total: meter.update(done))
    # Decoded pairs in order; the next are read while one is worked on, at most four wait.
    pairs = zip(dataset.names, in_order(dataset.read, range(len(dataset)), 2), strict=True)
    with console.task("evaluate", len(dataset)) as meter, memory_in_words(TOO_LARGE):
        precision = "fp32" if run is None else run.config.train.evaluated_in
        rows = evaluate_labelled(pairs, predictors, made, mark.label, precision, meter.advance)
    if record is not None:
        append_results(record / EVALUATIONS, rows)
        console.wrote({"results": record / EVALUATIONS})
    return rows[: len(first.models)], rows[len(first.models) :]
