"""How much the pool's ranking can be trusted: over time, under resampling, and beside trivial rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError, UserError
from edgeflownas.evaluate.noise import kendall_tau_b, tau_interval
from edgeflownas.evaluate.results import read_sample_errors, sample_errors_name
from edgeflownas.report.histories import History

Array = NDArray[np.float64]
DRAWS = 2000


def stability(history: History) -> dict[str, Any]:
    """Rank correlations (Kendall's tau-b) of the pool, empty where fewer than two archs are known in an evaluation.

    ``epochs``: per evaluation tau against the one before (``kendall_tau_prev``), the ``final`` and the ``best`` one;
    ``last_two``: tau of the last two evaluations with its 95 % interval over archs; ``samples``: the same with the
    interval over evaluation samples, where their errors were kept; ``trivial``: tau of the last ranking against "more
    is better" by MACs and by parameters, with intervals, where the codes are known.
    """
    whole = np.isfinite(history.epes).all(axis=1)
    if history.pool_size < 2 or not whole.any():
        return {}
    epochs, epes = history.epochs[whole], history.epes[whole]
    best = int(np.argmin(epes.mean(axis=1)))
    signs = np.sign(epes[:, :, None] - epes[:, None, :])
    taus = {
        "tau_prev": _taus(signs, np.roll(signs, 1, axis=0)),
        "tau_final": _taus(signs, signs[-1:]),
        "tau_best": _taus(signs, signs[best : best + 1]),
    }
    taus["tau_prev"][0] = None
    rows = [
        {"epoch": int(epoch), **{name: values[place] for name, values in taus.items()}}
        for place, epoch in enumerate(epochs)
    ]
    found: dict[str, Any] = {"final_epoch": int(epochs[-1]), "best_epoch": int(epochs[best]), "epochs": rows}
    if len(epes) > 1:
        found["last_two"] = tau_bootstrap(epes[-2], epes[-1])
        if (by_samples := _over_samples(history.source, [int(epoch) for epoch in epochs[-2:]])) is not None:
            found["samples"] = by_samples
    if costs := _costs(history):
        found["trivial"] = {name: tau_bootstrap(-values, epes[-1]) for name, values in costs.items()}
    return found


def _taus(first: Array, second: Array) -> list[float | None]:
    """tau-b of pairs of rankings given as signs of differences [E, A, A]; None where all archs of one are equal."""
    both, untied = (first * second).sum(axis=(1, 2)), np.abs(first).sum(axis=(1, 2)) * np.abs(second).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        taus = both / np.sqrt(untied)
    return [float(np.clip(tau, -1.0, 1.0)) if np.isfinite(tau) else None for tau in taus]


def _tau(first: Array, second: Array) -> float | None:
    return kendall_tau_b(first.tolist(), second.tolist())


def tau_bootstrap(first: Array, second: Array) -> dict[str, float | None]:
    """tau-b of two score lists [A] with the 95 % percentile interval over archs drawn with replacement.

    The draws are the same for the same pool size.  An arch drawn twice makes a pair tied in both lists, which tau-b
    leaves out.
    """
    size = len(first)
    tau = _tau(first, second)
    if tau is None or size < 4:
        return {"tau": tau, "low": None, "high": None}
    signs = [np.sign(values[:, None] - values[None, :]) for values in (first, second)]
    drawn = np.random.default_rng(size).multinomial(size, np.full(size, 1.0 / size), DRAWS).astype(np.float64)

    def weighed(matrix: Array) -> Array:
        return np.asarray(np.einsum("di,ij,dj->d", drawn, matrix, drawn, optimize=True))

    with np.errstate(invalid="ignore", divide="ignore"):
        untied = np.sqrt(weighed(np.abs(signs[0])) * weighed(np.abs(signs[1])))
        taus = weighed(signs[0] * signs[1]) / untied
    return {"tau": tau, **_interval(taus)}


def _interval(taus: Array) -> dict[str, float | None]:
    taus = taus[np.isfinite(taus)]
    if not len(taus):
        return {"low": None, "high": None}
    low, high = np.percentile(taus, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}


def _over_samples(folder: Path, epochs: Sequence[int]) -> dict[str, Any] | None:
    """tau-b of two evaluations with its interval over samples; None where their errors were not kept.

    ``reason`` in place of the figures where they cannot be compared: a damaged file, or other samples or archs.
    """
    files = [folder / sample_errors_name(epoch) for epoch in epochs]
    if not all(file.is_file() for file in files):
        return None
    try:
        first, second = map(read_sample_errors, files)
    except DataError as error:
        return {"reason": str(error)}
    if (first.eval_set, first.codes) != (second.eval_set, second.codes):
        return {"reason": f"the kept errors of epochs {epochs[0]} and {epochs[1]} are of other samples or archs"}
    found = tau_interval(first.sample_epe, second.sample_epe, first.valid_pixels)
    figures = {name: value if math.isfinite(value) else None for name, value in found._asdict().items()}
    return {"epochs": list(epochs), "samples": int((first.valid_pixels > 0).sum()), **figures}


def _costs(history: History) -> dict[str, Array]:
    """MACs and parameters [A] of the pool; empty where codes or space are unknown, or all are equal."""
    if not all(history.codes):
        return {}
    name, width, crop = "v1", 32, (192, 256)
    if history.run is not None:
        name, width = history.run.key("train.space", name), history.run.key("train.width", width)
        crop = history.run.key("data.crop_size", crop)
    from edgeflownas.models.flops import macs, parameters
    from edgeflownas.space import get_space

    try:
        space = get_space(str(name))
        archs: Sequence[Any] = [space.parse(code) for code in history.codes]
        found = {
            "macs": np.array([macs(space, int(width), arch, int(crop[0]), int(crop[1])) for arch in archs], float),
            "parameters": np.array([parameters(space, int(width), arch) for arch in archs], float),
        }
    except (UserError, TypeError, ValueError, IndexError):
        return {}
    return {key: values for key, values in found.items() if len(set(values.tolist())) > 1}
