"""``edgeflownas noise``: which differences of a run's figures mean something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Paths
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.evaluate.noise import PoolNoise
    from edgeflownas.report.measured import Measured

__all__ = ["noise"]


def noise(
    run: Path,
    *,
    seeds: Paths | None = None,
    epoch: int | None = None,
    wide: bool = False,
    resolution: float | None = None,
    json: bool = False,
) -> int:
    """What an evaluation can tell apart.

    Example: edgeflownas noise RUN [--seeds RUN RUN ...]

    Reads the errors of every sample that the run kept; needs neither data nor weights. A difference smaller than the
    noise of the evaluation set, or than the spread between training seeds, is no difference.

    Args:
        run: run directory.
        seeds: at least two more runs that differ from it in runtime.seed only.
        epoch: the evaluation after this epoch; default: the last.
        wide: the wide evaluation instead of the frequent one.
        resolution: difference in px that should be told apart; default: the median step between neighbouring ranks.
        json: machine-readable result on stdout.
    """
    if resolution is not None and not 0.0 < resolution < float("inf"):
        raise ConfigError(f"--resolution {resolution}: must be a positive number of px")

    from edgeflownas.report.console import Console
    from edgeflownas.report.measured import read_measured, require_seeds_only
    from edgeflownas.report.noise_text import noise_text

    measured = [read_measured(path, epoch, wide) for path in (run, *(seeds or ()))]
    if seeds is not None:
        require_seeds_only(measured, wide)
    document = _document(measured, resolution, wide)
    if json:
        import json as encoder

        print(encoder.dumps(document, indent=2))
    else:
        Console().info(noise_text(document))
    return 0


def _document(measured: list[Measured], resolution: float | None, wide: bool) -> dict[str, Any]:
    import numpy as np

    from edgeflownas.evaluate.noise import pool_noise, split_half_tau

    first = measured[0]
    found = pool_noise(first.errors.sample_epe, first.errors.valid_pixels)
    steps = np.diff(np.sort(found.epes[np.isfinite(found.epes)]))
    wished = resolution if resolution is not None else _finite(np.median(steps)) if steps.size else None
    rows = _archs(first, found)
    return {
        "run": str(first.run.path),
        "epoch": first.errors.epoch,
        "tier": "wide" if wide else "frequent",
        "eval_set": first.errors.eval_set,
        "samples": found.samples,
        "mean_epe": _finite(found.epes.mean()),
        "mean_epe_margin": _finite(found.mean_margin),
        "smallest_difference": found.smallest_difference,
        "smallest_difference_worst_pair": max(found.smallest_differences.tolist(), default=None),
        "tied_pairs": found.tied_pairs,
        "resolution": wished,
        "samples_needed": None if wished is None else found.samples_needed(wished),
        "split_half_tau": split_half_tau(first.errors.sample_epe, first.errors.valid_pixels),
        "trivial_rankings": _trivial(rows, found),
        "seeds": _seeds(measured) if len(measured) > 1 else None,
        "archs": rows,
        "notes": [run.note for run in measured if run.note],
    }


def _finite(value: Any) -> float | None:
    """None for what JSON has no number for: a network that diverged, or too few samples."""
    return float(value) if abs(value) < float("inf") else None


def _archs(measured: Measured, found: PoolNoise) -> list[dict[str, Any]]:
    """A row for each arch, by arch_index; parameters and multiply-adds where the space is FlowNet's."""
    from edgeflownas.config.load import load_config
    from edgeflownas.hardware.costs import space_costs
    from edgeflownas.run.setup import run_space

    config = load_config(measured.run.path / "config.yaml")
    codes = measured.errors.codes
    costs: list[tuple[int | None, int | None]] = [(None, None)] * len(codes)
    if config.train.task != "edgeflownet":
        space = run_space(config)
        table = space_costs(space, config.train.width, config.data.crop_size, [space.parse(code) for code in codes])
        costs = list(zip(table["parameters"].tolist(), table["macs"].tolist(), strict=True))
    ranks, margins = found.ranks(), found.margins()
    return [
        {
            "arch_index": index,
            "code": code,
            "rank": ranks[index],
            "epe": _finite(found.epes[index]),
            "epe_margin": _finite(margins[index]) if margins else None,
            "parameters": costs[index][0],
            "macs": costs[index][1],
        }
        for index, code in enumerate(codes)
    ]


def _trivial(rows: list[dict[str, Any]], found: PoolNoise) -> dict[str, float | None]:
    """Kendall's tau of the EPEs with sizes that need no training; positive: larger networks have the larger EPE."""
    from edgeflownas.evaluate.rank_statistics import kendall_tau_b

    sizes = {name: [row[name] for row in rows] for name in ("macs", "parameters")}
    return {
        name: None if None in values else kendall_tau_b(values, found.epes.tolist()) for name, values in sizes.items()
    }


def _seeds(measured: list[Measured]) -> dict[str, Any]:
    """Standard deviations (ddof 1) between runs, of the archs that all of their pools hold."""
    import numpy as np

    from edgeflownas.evaluate.noise import pool_noise, student95

    shared = [code for code in measured[0].errors.codes if all(code in run.errors.codes for run in measured)]
    epes = []
    for run in measured:
        values = dict(
            zip(run.errors.codes, pool_noise(run.errors.sample_epe, run.errors.valid_pixels).epes, strict=True)
        )
        epes.append([values[code] for code in shared])
    table = np.array(epes)  # [runs, archs]
    one, other = np.triu_indices(len(shared), 1)
    between = (table[:, one] - table[:, other]).std(axis=0, ddof=1)
    return {
        "runs": [str(run.run.path) for run in measured],
        "seeds": [run.seed for run in measured],
        "shared_archs": len(shared),
        "std": dict(zip(shared, table.std(axis=0, ddof=1).tolist(), strict=True)),
        "mean_epe": table.mean(axis=1).tolist(),
        "mean_epe_std": float(table.mean(axis=1).std(ddof=1)),
        "smallest_difference": float(student95(len(measured)) * np.median(between)) if between.size else None,
    }
