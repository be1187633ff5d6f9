"""``edgeflownas evaluate``: the pool, or any subnets, of a run on its frozen evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._overrides import OverrideTokens, split_overrides
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.evaluate.pool import PoolEvaluation
    from edgeflownas.report.console import Console
    from edgeflownas.train.reading import ReadRun

OPTIONS = ("--arch", "--checkpoint", "--weights", "--split", "--batches", "--json", "--help")


def evaluate(
    *tokens: OverrideTokens,
    arch: list[str] | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    split: str = "val",
    batches: str | None = None,
    json: bool = False,
) -> int:
    """Score subnets of a run, batch norm recalibrated for each: edgeflownas evaluate RUN [--arch CODE ...].

    Without further options the figures are those of the run's own history, to the bit on the same machine.
    Writes nothing. Data that moved: --data.train_dir DATA --data.val_dir DATA (folder or name).

    Args:
        *tokens: run directory and overrides (--group.key value).
        arch: an arch code such as 0,0,0,0,2,1,2,2,2 (may be given several times); default: the run's pool.
        checkpoint: latest, best, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        split: where the evaluation samples come from, val or train.
        batches: number of evaluation batches, or all for the whole split; default: the frozen set.
        json: machine-readable result on stdout.
    """
    path, overrides = split_overrides(tokens, OPTIONS)
    if path is None:
        raise ConfigError("give the run directory: edgeflownas evaluate RUN [--arch CODE ...]")

    from edgeflownas.report.console import Console
    from edgeflownas.train.reading import read_run

    console = Console()
    run = read_run(Path(path), checkpoint, weights, split, batches, overrides, console.info)
    result = _score(run, arch, console)
    if json:
        import json as encoder

        print(encoder.dumps(_document(run, result, weights), indent=2))
        return 0
    rows = [(score.arch, i, score.epe) for i, score in enumerate(result.scores)]
    name, data = run.checkpoint.name, run.eval_set.evaluation.label
    console.info(f"{name} ({weights}) on {data}, evaluation set {run.eval_set.hash}")
    console.pool_table(rows, run.net.space, result.zero_flow_epe)
    return 0


def _score(run: ReadRun, arch: list[str] | None, console: Console) -> PoolEvaluation:
    from edgeflownas.evaluate.evalset import FrozenBatches
    from edgeflownas.evaluate.pool import score_pool

    pool = run.eval_set.pool or [
        str(a) for a in run.net.space.pool(run.config.eval.eval_pool_size, run.config.runtime.seed)
    ]
    archs = [run.net.space.parse(code) for code in (arch or pool)]
    first = next(run.net.parameters())
    place = (run.eval_set.flow_clip, first.device, first.dtype)
    calibration = FrozenBatches(run.eval_set.calibration, run.train, *place)
    evaluation = FrozenBatches(run.eval_set.evaluation, run.val, *place)
    with console.task("evaluate", len(calibration) + len(evaluation)) as meter:
        return score_pool(run.net, archs, calibration, evaluation, meter.advance, run.config.data.flow_divisor)


def _document(run: ReadRun, result: PoolEvaluation, weights: str) -> dict[str, Any]:
    return {
        "run": str(run.directory.path),
        "checkpoint": run.checkpoint.name,
        "step": run.checkpoint.position.step,
        "weights": weights,
        "protocol": "training",
        "split_label": run.eval_set.evaluation.label,
        "eval_set": run.eval_set.hash,
        "calibration_set": run.eval_set.calibration_hash,
        "frozen": run.frozen,
        "flow_clip": run.eval_set.flow_clip,
        "flow_divisor": run.config.data.flow_divisor,
        "samples": result.samples,
        "zero_flow_epe": result.zero_flow_epe,
        "eval_seconds": result.eval_seconds,
        "bn_recal_seconds": result.recal_seconds,
        "results": [
            {
                "arch_index": index,
                "code": str(score.arch),
                "epe": score.epe,
                "epe_a0": score.epe_a0,
                "epe_a1": score.epe_a1,
                "loss_total": score.loss_total,
                "loss_optical": score.loss_optical,
                "loss_uncertainty": score.loss_uncertainty,
                "sample_epe": score.sample_epe.tolist(),
            }
            for index, score in enumerate(result.scores)
        ],
    }
