"""``edgeflownas evaluate``: subnets of a run on its frozen evaluation set, or anything on any data set by protocol."""

from pathlib import Path

from edgeflownas.commands import _shared as shared
from edgeflownas.commands._shared import Csv, Json, OtherKeys, Size, emit, example
from edgeflownas.errors import ConfigError


def evaluate(
    run: Path | None = None,
    /,
    *,
    arch: list[str] | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    split: str | None = None,
    batches: str | None = None,
    data: str | None = None,
    protocol: str | None = None,
    size: Size | None = None,
    baseline: str | None = None,
    references: str | None = None,
    record: bool = False,
    calibration_sweep: bool = False,
    calibration_data: str | None = None,
    csv: Csv | None = None,
    json: Json = False,
    overrides: OtherKeys = (),
) -> None:
    """Score subnets of a run, batch norm recalibrated for each.

    Example: edgeflownas evaluate RUN [--arch CODE ...], or RUN|WEIGHTS --data NAME[:VARIANT][@ROOT] --protocol standard

    Without further options the figures are those of the run's own history, to the bit on the same machine.
    With --data or --protocol they are labelled rows on any data set, beside references on the same pixels. Writes
    nothing unless --record is given.

    Args:
        run: run directory, weights:NAME (edgeflownas weights list), or an npz file of TF1 weights.
        arch: an arch code such as 0,0,0,0,2,1,2,2,2 (may be given several times); default: the run's pool.
        checkpoint: latest, best, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        split: of the frozen evaluation: where its samples come from, val or train.
        batches: of the frozen evaluation: number of batches, or all for the whole split; default: the frozen set.
        data: data set as NAME[:VARIANT][@ROOT]; default with --protocol: the run's own data.val_dir.
        protocol: standard, edgeflownet, training or deploy (docs/protocols.md); default with --data: standard.
        size: the input of protocol deploy, or another crop for edgeflownet.
        baseline: evaluate zero, dis, dis_fast or farneback instead of weights; needs --data.
        references: baselines beside the result: all (default), none, or a list such as zero,dis.
        record: append the rows, references included, to RUN/evaluations.jsonl.
        calibration_data: data set or folder on which batch norm of weights:NAME is recalibrated.
        calibration_sweep: EPE under 8, 16, 32, 64 calibration batches and another set: hard, or badly calibrated?
    """
    labelled = data is not None or protocol is not None or baseline is not None
    of_frozen = {"split": split, "batches": batches, "calibration-sweep": calibration_sweep or None}
    of_labelled = {"size": size, "references": references, "record": record or None}
    for name, value in (of_frozen if labelled else of_labelled).items():
        if value is not None:
            belong = "of the frozen evaluation; --data names split and samples"
            raise ConfigError(f"--{name} is an option {belong if labelled else 'of --data or --protocol; add one'}")
    if not labelled and run is None:
        raise ConfigError(f"give the run directory: {example(evaluate)}")
    if labelled:
        _check(run, data, baseline, bool(arch or overrides), record)
    for option, value, usual in (("checkpoint", checkpoint, "latest"), ("weights", weights, "model")):
        if run is not None and (shared.is_package_weights(run) or run.is_file()) and value != usual:
            raise ConfigError(f"--{option} {value} belongs to a run directory; {run} is one file")
    overrides = shared.calibrated_elsewhere(run, calibration_data, overrides)

    from edgeflownas.report.console import Console
    from edgeflownas.report.views import calibration_view, frozen_view, result_document, results_view
    from edgeflownas.run.evaluate import FrozenEvaluation, evaluate_on
    from edgeflownas.run.run import Run

    console = Console()
    opened = None if run is None else Run.open(run, overrides, console.info)
    if labelled or opened is None:
        rows = evaluate_on(
            opened, console, codes=arch, checkpoint=checkpoint, weights=weights, data=data, size=size,
            protocol=protocol or "standard", baseline=baseline,
            references="all" if references is None else references, record=run if record else None,
        )  # fmt: skip
        console.wrote(emit(result_document(*rows), lambda _: results_view(*rows), json, csv, console.tell))
        return
    frozen = FrozenEvaluation(opened, checkpoint, weights, arch, split or "val", batches)
    if calibration_sweep:
        found, document = frozen.sweep_calibration(console)
        console.wrote(emit(document, lambda _: calibration_view(found), json, csv, console.tell))
        return
    result = frozen.score(console)
    console.wrote(emit(frozen.document(result), lambda _: frozen_view(frozen, result), json, csv, console.show))


def _check(run: Path | None, data: str | None, baseline: str | None, of_weights: bool, record: bool) -> None:
    """Raises ConfigError for options that do not go together; ``of_weights``: one was given that only weights have."""
    if (run is None) == (baseline is None):
        raise ConfigError(
            "give what to evaluate: edgeflownas evaluate RUN|WEIGHTS --data NAME, or --baseline zero|dis|... alone"
        )
    if baseline is not None and of_weights:
        raise ConfigError(f"--baseline {baseline} has no weights: --arch and configuration keys mean nothing")
    if baseline is not None and data is None:
        raise ConfigError(f"--baseline {baseline} needs --data NAME[:VARIANT][@ROOT]")
    if record and (run is None or not run.is_dir()):
        raise ConfigError("--record appends to a run directory, and this is none: redirect --json into a file instead")
