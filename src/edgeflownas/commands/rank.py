"""``edgeflownas rank``: every subnet of a supernet run evaluated exactly, in one table with its cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Bytes, FromZero, Overrides, WholeNumber, may_begin
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeflownas.evaluate.ranking import Ranking
    from edgeflownas.hardware.latency import CostModel
    from edgeflownas.hardware.vela.latency import VelaLatency
    from edgeflownas.report.console import Console
    from edgeflownas.space import Arch, SearchSpace
    from edgeflownas.train.ranking import RankingJob, Workload
    from edgeflownas.train.ranking_source import Source

__all__ = ["rank"]

MOST_MEASURED = 500  # subnets whose time on this CPU is measured, a second or more each
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
    exact: bool = False,
    measure_cpu: bool = False,
    target: str | None = None,
    yes: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Evaluate every subnet of a supernet run and write the ranking.

    Example: edgeflownas rank RUN [--out DIR] [--where CONDITIONS] [--sample N] [--data NAME:VARIANT ...]

    Batch norm is recalibrated for each subnet on the run's frozen calibration samples; what subnets share is computed
    once. Writes ranking.csv and ranking.safetensors. Ctrl-C keeps finished parts (exit 75); the same command goes on.
    Start it with torchrun to share the work between processes, GPUs or machines. docs/ranking.md has the columns.

    Args:
        run: run directory.
        out: folder of the ranking; default RUN/ranking, or RUN/ranking-CHECKPOINT.
        checkpoint: latest, best, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        archs: file with an arch code a line, or CSV with a column code; default: the whole space.
        where: conditions on digits of blocks and on costs, such as "EB0=1,macs<2e9".
        sample: draw so many of the subnets instead of taking all.
        seed: of the draw (0).
        data: data set to score as NAME[:VARIANT][@ROOT], several times for several columns; default: the run's own
            frozen evaluation set.
        protocol: of --data: standard (the default: whole frames), training (the run's crop and clip) or edgeflownet.
        memory: most memory for features, such as 8GB; default: as the evaluator finds sensible.
        keep_sample_errors: keep the error of every subnet on every sample (float16), for paired statistics.
        exact: bit for bit what each subnet evaluated alone gives, on a CPU; slower.
        measure_cpu: a column with the measured time of each subnet on this CPU (at most 500 subnets).
        target: a column with the time of each subnet on this chip, such as grove-vision-ai-v2 (docs/cost.md).
        yes: do not ask before a long computation.
        json: machine-readable result on stdout.
        overrides: configuration keys that are others here, such as --data.val_dir DIR where the data moved.
    """
    if seed is not None and sample is None:
        raise ConfigError(f"--seed {seed} belongs to a draw: add --sample N, or leave it out")
    folder, protocol = _folder(run, out, checkpoint), _protocol(protocol, data)

    from edgeflownas.train.distributed import connect
    from edgeflownas.train.ranking import RankingJob
    from edgeflownas.train.ranking_source import Wanted, open_source
    from edgeflownas.train.setup import memory_in_words

    world = connect(on_gpu=False, timeout=PATIENCE)
    try:
        with memory_in_words("give a smaller --memory, or fewer samples"):
            console, wanted = _console(world.is_main), Wanted(run, checkpoint, weights, data, protocol, overrides)
            source = open_source(wanted, world, console.info)
            chips = _on_chip(target, source, world.is_main, console)
            chosen = _chosen(source, archs, where, (sample, seed or 0), chips, console)
            models = [*_cost_models(measure_cpu, len(chosen)), *chips]
            job = RankingJob(source, chosen, folder, exact, memory, keep_sample_errors, models)
            return _run(job, world, console, yes, json)
    finally:
        world.close()


def _protocol(protocol: str | None, data: tuple[str, ...]) -> str:
    if protocol is not None and not data:
        raise ConfigError(f"--protocol {protocol} belongs to --data: the run's own set has the protocol of training")
    return protocol or "standard"


def _folder(run: Path, out: str | None, checkpoint: str) -> Path:
    """The folder of the ranking."""
    if out is None:
        return run / ("ranking" if checkpoint == "latest" else f"ranking-{checkpoint}")
    if not out or (Path(out) / "run_manifest.json").exists():
        raise ConfigError(f"--out {out!r}: give the ranking a folder of its own, such as --out {run / 'ranking'}")
    return Path(out)


def _run(job: RankingJob, world: Any, console: Console, yes: bool, json: bool) -> int:
    from edgeflownas.evaluate.ranking import TENSORS
    from edgeflownas.train.ranking import rank_space

    done = rank_space(job, world, console, lambda work: _agree(work, yes, console))
    if done is None:
        return 0
    ranking, files = done
    document = _document(ranking, job.source.net.space, job.out)
    if json:
        import json as encoder

        print(encoder.dumps(document, indent=2))
    else:
        from edgeflownas.report.ranking_text import ranking_text

        console.info(ranking_text(document))
    if TENSORS not in files:
        console.info(f"{job.out}: finished before, nothing was computed")
    console.wrote(files)
    return 0


def _console(speaks: bool) -> Console:
    import io

    from edgeflownas.report.console import Console

    return Console() if speaks else Console(io.StringIO(), plain=True)


def _chosen(
    source: Source,
    archs: Path | None,
    where: str,
    draw: tuple[int | None, int],
    models: Sequence[VelaLatency],
    console: Console,
) -> list[Arch]:
    from functools import partial

    from edgeflownas.evaluate.ranking_codes import choose_archs, read_codes
    from edgeflownas.hardware.costs import COLUMNS, space_costs

    space, network = source.net.space, (source.net.space, source.net.width, source.size)
    costs: dict[str, Any] = dict.fromkeys(COLUMNS, partial(space_costs, *network))
    costs |= {model.column: partial(model.costs, *network) for model in models}
    if archs is None:
        return choose_archs(space, None, where, *draw, costs)
    codes, again = read_codes(archs, space)
    if again:
        from edgeflownas.report.words import counted

        console.info(f"--archs {archs}: a code counts once; {counted(again, 'line')} left out")
    return choose_archs(space, codes, where, *draw, costs)


def _cost_models(measure_cpu: bool, subnets: int) -> list[CostModel]:
    if not measure_cpu:
        return []
    if subnets > MOST_MEASURED:
        raise ConfigError(
            f"--measure-cpu runs every subnet by itself, a second or more each; {subnets:,} are too many (limit "
            f"{MOST_MEASURED}): add --sample or --archs"
        )
    from edgeflownas.hardware.latency import CpuLatency

    return [CpuLatency()]


def _on_chip(target: str | None, source: Source, is_main: bool, console: Console) -> list[VelaLatency]:
    """The chip's cost model, its table compiled: here, because a ranking before it may take hours."""
    from edgeflownas.hardware.vela.latency import chip_latency

    network = source.net.space, source.net.width, source.size
    return [] if target is None else [chip_latency(target, *network, console.warn, console.task if is_main else None)]


def _agree(work: Workload, yes: bool, console: Console) -> bool:
    """Say what will be done; whether to go on."""
    from edgeflownas.report.ranking_text import workload_text

    console.info(workload_text({**asdict(work.estimate), **asdict(work)}))
    if yes or may_begin(work.seconds, "rank fewer subnets (--where, --sample)", work.processes):
        return True
    console.info("nothing was computed")
    return False


def _document(ranking: Ranking, space: SearchSpace, out: Path) -> dict[str, Any]:
    """The head of the table as plain data; figures that are not finite are None."""
    import numpy as np

    from edgeflownas.evaluate.ranking_parts import TIED

    order = np.argsort(ranking.columns["rank"]).tolist()
    baseline = None if space.baseline is None else str(space.parse(space.baseline))
    place = ranking.codes.index(baseline) if baseline in ranking.codes else None
    tied = ranking.facts.get(TIED)
    return {
        "ranking": str(out),
        "facts": ranking.facts,
        "subnets": len(ranking),
        "within_noise_of_best": None if tied is None else int(tied),
        "top": [_row(ranking, position) for position in order[:10]],
        "worst": _row(ranking, order[-1]),
        "baseline": None if place is None else _row(ranking, place),
    }


def _row(ranking: Ranking, position: int) -> dict[str, Any]:
    from math import isfinite

    from edgeflownas.evaluate.noise import student95

    values = {name: column[position].item() for name, column in ranking.columns.items()}
    margin = student95(values["samples"]) * values["epe_standard_error"]
    figures = {**values, "epe_margin": margin}
    finite = {name: value if isfinite(value) else None for name, value in figures.items()}
    return {"code": ranking.codes[position], **finite, "options": {n: w[position] for n, w in ranking.words.items()}}
