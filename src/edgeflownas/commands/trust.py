"""``edgeflownas trust``: does a supernet's ranking hold for subnets that are trained alone?"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgeflownas.commands._shared import Csv, Json, OtherKeys, Paths, emit, example
from edgeflownas.errors import ConfigError


def trust(
    run: Path,
    /,
    *,
    truth: Paths | None = None,
    against: Paths | None = None,
    calibrations: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    ranking: Path | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    seed: int = 0,
    csv: Csv | None = None,
    json: Json = False,
    overrides: OtherKeys = (),
) -> None:
    """How far the ranking of a supernet can be trusted.

    Example: edgeflownas trust RUN --truth RUN RUN ...

    Subnets trained alone are evaluated on the frozen calibration and evaluation sets of RUN, and so are the same
    subnets with the supernet's weights. Printed are rank correlation, top picks and regret with 95 % intervals, beside
    rankings by size, and how well two trainings of one subnet agree. Writes nothing. docs/trust.md defines all of it.

    Args:
        run: run directory, of the supernet.
        truth: runs of single subnets (train.task standalone), or folders of several.
        against: further supernet runs; the change of the rank correlation has a paired interval.
        calibrations: numbers of calibration batches with which RUN is read again, likewise.
        ranking: take RUN's errors from this table of `edgeflownas rank` instead of evaluating it.
        checkpoint: of RUN: latest, best, or a name such as step-00001234.
        weights: of RUN: model, or ema for the moving average.
        seed: of the bootstrap.
    """
    if not truth:
        raise ConfigError(f"--truth: give runs of subnets trained alone: {example(trust)}")

    from edgeflownas.report.console import Console
    from edgeflownas.report.views import trust_view
    from edgeflownas.search.trust import judge_ranking

    console = Console()
    document = judge_ranking(
        run, truth, console, against=against or (), calibrations=calibrations or (), ranking=ranking,
        checkpoint=checkpoint, weights=weights, overrides=overrides, seed=seed,
    )  # fmt: skip
    console.wrote(emit(document, trust_view, json, csv, console.tell))
