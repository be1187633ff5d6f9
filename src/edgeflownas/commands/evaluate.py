"""``edgeflownas evaluate``: subnets of a run on its frozen evaluation set, or anything on any data set by protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._overrides import OverrideTokens, split_overrides
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.evaluate.pool import PoolEvaluation
    from edgeflownas.evaluate.results import ResultRow
    from edgeflownas.report.console import Console
    from edgeflownas.space import Arch
    from edgeflownas.train.reading import ReadRun

OPTIONS = (
    *("--arch", "--checkpoint", "--weights", "--split", "--batches", "--data", "--protocol", "--size"),
    *("--baseline", "--references", "--record", "--calibration-sweep", "--json", "--help"),
)
USAGE = "edgeflownas evaluate RUN [--arch CODE ...], or RUN|WEIGHTS --data NAME[:VARIANT][@ROOT] --protocol standard"


def evaluate(
    *tokens: OverrideTokens,
    arch: list[str] | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    split: str | None = None,
    batches: str | None = None,
    data: str | None = None,
    protocol: str | None = None,
    size: str | None = None,
    baseline: str | None = None,
    references: str | None = None,
    record: bool = False,
    calibration_sweep: bool = False,
    json: bool = False,
) -> int:
    """Score subnets of a run, batch norm recalibrated for each: edgeflownas evaluate RUN [--arch CODE ...].

    Without further options the figures are those of the run's own history, to the bit on the same machine.
    With --data or --protocol they are labelled rows on any data set, beside references on the same pixels. Writes
    nothing unless --record is given. Data that moved: --data.train_dir DATA --data.val_dir DATA (folder or name).

    Args:
        *tokens: run directory or weights file (npz), and overrides (--group.key value).
        arch: an arch code such as 0,0,0,0,2,1,2,2,2 (may be given several times); default: the run's pool.
        checkpoint: latest, best, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        split: of the frozen evaluation: where its samples come from, val or train.
        batches: of the frozen evaluation: number of batches, or all for the whole split; default: the frozen set.
        data: data set as NAME[:VARIANT][@ROOT]; default with --protocol: the run's own data.val_dir.
        protocol: standard, edgeflownet, training or deploy (docs/protocols.md); default with --data: standard.
        size: HEIGHTxWIDTH: the input of protocol deploy, or another crop for edgeflownet.
        baseline: evaluate zero, dis, dis_fast or farneback instead of weights; needs --data.
        references: baselines beside the result: all (default), none, or a list such as zero,dis.
        record: append the rows, references included, to RUN/evaluations.jsonl.
        calibration_sweep: EPE under 8, 16, 32, 64 calibration batches and another set: hard, or badly calibrated?
        json: machine-readable result on stdout.
    """
    path, overrides = split_overrides(tokens, OPTIONS)

    from edgeflownas.report.console import Console

    if data is not None or protocol is not None or baseline is not None:
        frozen: dict[str, object] = {"split": split, "batches": batches, "calibration-sweep": calibration_sweep or None}
        _refuse(frozen, "of the frozen evaluation; --data names split and samples")
        from edgeflownas.commands._labelled import Request, evaluate_on

        place = None if path is None else Path(path)
        words = (data, protocol or "standard", size, baseline, "all" if references is None else references, record)
        rows = evaluate_on(Request(place, overrides, arch, checkpoint, weights, *words), Console())
        _show_rows(*rows, json)
        return 0
    _refuse({"size": size, "references": references, "record": record or None}, "of --data or --protocol; add one")
    if path is None:
        raise ConfigError(f"give the run directory: {USAGE}")
    run = _read(Path(path), checkpoint, weights, split, batches, overrides)
    (_sweep if calibration_sweep else _show)(run, _archs(run, arch), weights, json)
    return 0


def _read(
    path: Path, checkpoint: str, weights: str, split: str | None, batches: str | None, overrides: list[str]
) -> ReadRun:
    from edgeflownas.report.console import Console
    from edgeflownas.train.reading import read_run

    return read_run(path, checkpoint, weights, split or "val", batches, overrides, Console().info)


def _sweep(run: ReadRun, archs: list[Arch], weights: str, json: bool) -> None:
    from edgeflownas.commands._calibration import calibration_sweep
    from edgeflownas.report.console import Console

    calibration_sweep(run, archs, Console(), json)


def _refuse(options: dict[str, object], belong: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name} is an option {belong}")


def _show_rows(results: list[ResultRow], references: list[ResultRow], json: bool) -> None:
    from edgeflownas.report.console import Console
    from edgeflownas.report.result_table import result_table

    if not json:
        Console().info(result_table(results, references))
        return
    import json as encoder

    first = results[0]
    common = {name: getattr(first, name) for name in ("protocol", "split_label", "precision", "samples")}
    rows = {"results": results, "references": references}
    document = {**common, **{name: [row.to_json() for row in part] for name, part in rows.items()}}
    print(encoder.dumps(document, indent=2))


def _show(run: ReadRun, archs: list[Arch], weights: str, json: bool) -> None:
    from edgeflownas.report.console import Console

    console = Console()
    result = _score(run, archs, console)
    if json:
        import json as encoder

        print(encoder.dumps(_document(run, result, weights), indent=2))
        return
    rows = [(score.arch, i, score.epe) for i, score in enumerate(result.scores)]
    noise = result.noise
    name, data = run.checkpoint.name, run.eval_set.evaluation.label
    console.info(f"{name} ({weights}) on {data}, evaluation set {run.eval_set.hash}")
    console.pool_table(rows, run.net.space, result.zero_flow_epe, noise.ranks(result.epes), noise.margins())


def _archs(run: ReadRun, codes: list[str] | None) -> list[Arch]:
    from edgeflownas.train.setup import run_pool

    pool = run.eval_set.pool or [str(code) for code in run_pool(run.config)]
    return [run.net.space.parse(code) for code in (codes or pool)]


def _score(run: ReadRun, archs: list[Arch], console: Console) -> PoolEvaluation:
    from edgeflownas.evaluate.evalset import FrozenBatches
    from edgeflownas.evaluate.pool import score_pool

    first = next(run.net.parameters())
    place = (run.eval_set.flow_clip, first.device, first.dtype, run.net.input_form)
    calibration = FrozenBatches(run.eval_set.calibration, run.train, *place)
    evaluation = FrozenBatches(run.eval_set.evaluation, run.val, *place)
    with console.task("evaluate", len(calibration) + len(evaluation)) as meter:
        return score_pool(run.net, archs, calibration, evaluation, meter.advance, run.config.data.flow_divisor)


def _document(run: ReadRun, result: PoolEvaluation, weights: str) -> dict[str, Any]:
    noise = result.noise
    ranks, margins = noise.ranks(result.epes), noise.margins()
    return {
        "run": str(run.directory.path),
        "checkpoint": run.checkpoint.name,
        "step": run.checkpoint.position.step,
        "weights": weights,
        "arithmetic": run.config.train.evaluated_in,
        "protocol": "training",
        "split_label": run.eval_set.evaluation.label,
        "eval_set": run.eval_set.hash,
        "calibration_set": run.eval_set.calibration_hash,
        "frozen": run.frozen,
        "flow_clip": run.eval_set.flow_clip,
        "flow_divisor": run.config.data.flow_divisor,
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
