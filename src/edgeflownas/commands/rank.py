"""``edgeflownas rank``: every subnet of a supernet run evaluated exactly, in one table with its cost."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands import _shared as shared
from edgeflownas.commands._shared import Bytes, Csv, FromZero, Json, OtherKeys, WholeNumber
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

REMEDY = "give a smaller --memory, or fewer samples"
PATIENCE = 24 * 3600  # seconds that ranks wait for each other's units; a rank that dies is noticed at once


def rank(
    run: Path,
    /,
    *,
    out: str | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    archs: Path | None = None,
    where: str = "",
    sample: WholeNumber | None = None,
    seed: FromZero | None = None,
    data: tuple[str, ...] = (),
    protocol: str | None = None,
    memory: Bytes | None = None,
    keep_sample_errors: bool = False,
    calibration_data: str | None = None,
    exact: bool = False,
    measure_cpu: bool = False,
    target: str | None = None,
    yes: bool = False,
    csv: Csv | None = None,
    json: Json = False,
    overrides: OtherKeys = (),
) -> None:
    """Evaluate every subnet of a supernet run and write the ranking.

    Example: edgeflownas rank RUN [--out DIR] [--where CONDITIONS] [--sample N] [--data NAME:VARIANT ...]

    Batch norm is recalibrated for each subnet on the run's frozen calibration samples; what subnets share is computed
    once. Writes ranking.csv and ranking.safetensors. Ctrl-C keeps finished parts (exit 75); the same command goes on.
    Start it with torchrun to share the work between processes, GPUs or machines. docs/ranking.md has the columns.

    Args:
        run: run directory, or weights:NAME of a supernet.
        out: folder of the ranking; default RUN/ranking, or RUN/ranking-CHECKPOINT; of weights:NAME NAME-ranking.
        checkpoint: latest, best, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        archs: file with an arch code a line, or CSV with a column code; default: the whole space.
        where: conditions on options of blocks and on costs, such as "EB0=depth2,macs<2e9".
        sample: draw so many of the subnets instead of taking all.
        seed: of the draw (0).
        data: data set to score as NAME[:VARIANT][@ROOT], several times for several columns; default: the run's own
            frozen evaluation set.
        protocol: of --data: standard (the default: whole frames), training (the run's crop and clip) or edgeflownet.
        memory: most memory for features, such as 8GB; default: as the evaluator finds sensible.
        keep_sample_errors: keep the error of every subnet on every sample (float16), for paired statistics.
        calibration_data: data set or folder on which batch norm of weights:NAME is recalibrated.
        exact: bit for bit what each subnet evaluated alone gives, on a CPU; slower.
        measure_cpu: a column with the measured time of each subnet on this CPU (at most 500 subnets).
        target: a column with the time of each subnet on this chip, such as grove-vision-ai-v2 (docs/cost.md).
        yes: do not ask before a long computation.
    """
    if seed is not None and sample is None:
        raise ConfigError(f"--seed {seed} belongs to a draw: add --sample N, or leave it out")
    if protocol is not None and not data:
        raise ConfigError(f"--protocol {protocol} belongs to --data: the run's own set has the protocol of training")
    usual = shared.beside(run, "ranking", checkpoint)
    folder = usual if out is None else Path(out)
    if out is not None and (not out or (folder / "run_manifest.json").exists()):
        raise ConfigError(f"--out {out!r}: give the ranking a folder of its own, such as --out {usual}")

    from edgeflownas.hardware.vela_table import chip_latency
    from edgeflownas.report.console import Console
    from edgeflownas.report.views import ranking_view
    from edgeflownas.run.manifest import memory_in_words
    from edgeflownas.search.rank import cpu_column, open_job, rank_space, ranking_document
    from edgeflownas.search.ranking import TENSORS
    from edgeflownas.train.machine import connect

    with closing(connect(on_gpu=False, timeout=PATIENCE)) as world, memory_in_words(REMEDY):
        console = Console() if world.is_main else Console(io.StringIO(), plain=True)
        job = open_job(
            run, shared.calibrated_elsewhere(run, calibration_data, overrides), console.info,
            checkpoint=checkpoint, weights=weights, data=data, protocol=protocol or "standard",
            exact=exact, memory=memory, keep_sample_errors=keep_sample_errors, world=world, where=where,
        )  # fmt: skip
        # The chip's table is compiled here, by one rank: a ranking before it may take hours.
        bar = console.task if world.is_main else None
        chips = [] if target is None else [chip_latency(target, *job.network, console.warn, bar)]
        chosen = job.choose(archs, where, sample, seed or 0, chips, console.info)
        columns: list[Any] = [cpu_column(len(chosen)), *chips] if measure_cpu else [*chips]
        done = rank_space(job, chosen, columns, folder, world, console, lambda work: _agree(work, yes, console))
        if done is not None:
            ranking, files = done
            printed = shared.emit(ranking_document(ranking, folder), ranking_view, json, csv, console.tell)
            if TENSORS not in files:
                console.info(f"{folder}: finished before, nothing was computed")
            console.wrote(printed | files)


def _agree(work: dict[str, Any], yes: bool, console: Console) -> bool:
    """Say what will be done; whether to go on."""
    from edgeflownas.report.views import workload_text

    console.info(workload_text(work))
    if yes or shared.may_begin(work["seconds"], "rank fewer subnets (--where, --sample)", work["processes"]):
        return True
    console.info("nothing was computed")
    return False
