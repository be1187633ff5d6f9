"""``edgeflownas evaluate RUN --calibration-sweep``: is an arch hard, or is it badly calibrated?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.evaluate.calibration_sweep import CalibrationSweep
    from edgeflownas.report.console import Console
    from edgeflownas.space import Arch
    from edgeflownas.train.reading import ReadRun

__all__ = ["calibration_sweep"]


def calibration_sweep(run: ReadRun, archs: list[Arch], console: Console, json: bool) -> None:
    """Score the archs under several calibration sets and print a table, or JSON."""
    if not run.net.batchnorms:
        raise ConfigError("--calibration-sweep: this run's batch norm is frozen, so nothing is calibrated")
    from edgeflownas.evaluate import calibration_sweep as sweeping
    from edgeflownas.evaluate.evalset import FrozenBatches

    own = run.eval_set.calibration
    sizes = sweeping.sweep_sizes(own.num_batches, len(run.train), own.batch_size)
    if sizes[-1] < max(*sweeping.SIZES, 2 * own.num_batches):
        console.info(f"the train split holds {len(run.train)} samples: at most {sizes[-1]} batches of {own.batch_size}")
    other, shared = sweeping.other_samples(own, run.train, sizes[-1], run.config.runtime.seed)
    if shared:
        console.info(f"{shared} of the {len(own.names)} samples of the other set are the run's own: there are no more")
    first = next(run.net.parameters())
    place = (run.eval_set.flow_clip, first.device, first.dtype, run.net.input_form)
    sets = FrozenBatches(own, run.train, *place), FrozenBatches(other, run.train, *place, hold=False)
    evaluation = FrozenBatches(run.eval_set.evaluation, run.val, *place)
    work = len(sets[0]) + len(sets[1]) + (1 + len(sizes)) * len(evaluation)
    with console.task("calibration sweep", work) as meter:
        found = sweeping.sweep_calibration(
            run.net, archs, *sets, evaluation, sizes, meter.advance, run.config.data.flow_divisor
        )
    if json:
        import json as encoder

        print(encoder.dumps({**_document(run, found), "shared_samples": shared}, indent=2))
    else:
        console.info(_table(found))


def _document(run: ReadRun, found: CalibrationSweep) -> dict[str, Any]:
    rows = []
    for index, (score, verdict) in enumerate(zip(found.own.scores, found.verdicts(), strict=True)):
        by_size = {str(size): result.epes[index] for size, result in found.others.items()}
        rows.append({"arch_index": index, "code": str(score.arch), "epe": score.epe, "epe_by_batches": by_size})
        rows[-1] |= vars(verdict)
    return {
        "run": str(run.directory.path),
        "checkpoint": run.checkpoint.name,
        "eval_set": run.eval_set.hash,
        "samples": found.own.samples,
        "calibration_batches": found.own_batches,
        "batch_size": run.eval_set.calibration.batch_size,
        "kendall_tau": {str(size): tau for size, tau in found.taus().items()},
        "results": rows,
    }


def _table(found: CalibrationSweep) -> str:
    from edgeflownas.evaluate.rank_statistics import rank_order
    from edgeflownas.report.text_table import text_table

    largest, taus, verdicts = max(found.others), found.taus(), found.verdicts()
    heading = ["index", "code", f"own {found.own_batches}", *map(str, found.others)]
    heading += [f"{found.own_batches}->{largest}", "+-", "own->other", "+-", f"own->{largest}", "+-", "gap", "verdict"]
    rows = []
    for index in rank_order(found.own.epes):
        score, verdict = found.own.scores[index], verdicts[index]
        figures = [f"{result.epes[index]:.4f}" for result in (found.own, *found.others.values())]
        changes = [verdict.more, verdict.more_margin, verdict.other, verdict.other_margin]
        changes += [verdict.total, verdict.total_margin, verdict.relevant]
        signs = ("+.4f", ".4f") * 3 + (".4f",)
        cells = ["-" if value is None else format(value, sign) for value, sign in zip(changes, signs, strict=True)]
        rows.append([str(index), str(score.arch), *figures, *cells, verdict.verdict])
    last = [taus[size] for size in found.others]
    rows.append(["", "Kendall tau", "", *("-" if tau is None else f"{tau:.3f}" for tau in last), *[""] * 8])
    notes = (
        "EPE px by number of calibration batches: the run's own set, then growing random sets; Kendall tau: to its own",
        f"{found.own_batches}->{largest}: change with more batches; own->other: with other samples; own->{largest}: "
        "with both; +-: 95 % for the whole pool",
        "gap: to the pool's median EPE (at least the median gap); not calibration: all changes, with their +-, are "
        "smaller (docs/evaluation.md)",
    )
    return "\n".join([text_table(heading, rows, ("code", "verdict")), *notes])
