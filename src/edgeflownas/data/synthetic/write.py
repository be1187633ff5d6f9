"""Generated pairs as a data set on disk, in FlyingChairs2 layout, that says of itself that it is generated."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.files import replace_file
from edgeflownas.data.formats import read_flo, write_flo
from edgeflownas.data.parallel import Progress
from edgeflownas.data.synthetic.render import check_size, generate_pair
from edgeflownas.errors import ConfigError, StorageError

__all__ = ["GeneratedStats", "generate_dataset"]

VAL_OFFSET = 1_000_000_000  # number of the first evaluation pair: no training pair ever has it
PNG_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_BIN = 0.01  # px, of the histogram of magnitudes
_BINS = 20_000


@dataclass(frozen=True)
class GeneratedStats:
    """Magnitudes of the forward flow over all pixels of the set, px; shares by magnitude."""

    pairs: int
    mean: float
    median: float
    p90: float
    p99: float
    maximum: float
    share_below_10: float
    share_above_40: float


@dataclass(frozen=True)
class _Recipe:
    """What decides the bytes of a sample, beside its number."""

    seed: int
    height: int
    width: int
    backward: bool
    occlusion: bool


def generate_dataset(
    out: Path,
    train: int,
    val: int,
    seed: int,
    height: int = 384,
    width: int = 512,
    backward: bool = False,
    occlusion: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> GeneratedStats:
    """Write ``out``/train, ``out``/val and ``out``/dataset.json; samples that are already there are kept.

    The bytes of a sample depend on seed, size and its number only.

    Raises:
        ConfigError: impossible sizes or counts, or a folder that holds something else.
        StorageError: files cannot be written.
    """
    check_size(height, width)
    for name, count in (("--train", train), ("--val", val), ("--workers", workers - 1)):
        if count < 0:
            raise ConfigError(f"{name} must not be negative")
    recipe = _Recipe(seed, height, width, backward, occlusion)
    _claim(out, recipe)
    jobs = [(out / "train", number, number) for number in range(train)]
    jobs += [(out / "val", number, VAL_OFFSET + number) for number in range(val)]
    histogram, largest, total = np.zeros(_BINS, np.int64), 0.0, 0.0
    for done, (counts, top, summed) in enumerate(_each(functools.partial(_write_pair, recipe), jobs, workers), start=1):
        histogram += counts
        largest, total = max(largest, top), total + summed
        if progress is not None:
            progress(done, len(jobs))
    statistics = _statistics(len(jobs), histogram, largest, total)
    _describe(out, recipe, {"train": train, "val": val, "complete": True, "statistics": asdict(statistics)})
    return statistics


def _claim(out: Path, recipe: _Recipe) -> None:
    """Make the folder, or check that it holds a set of the same recipe."""
    mark = out / "dataset.json"
    if mark.exists():
        try:
            found = json.loads(mark.read_text(encoding="utf-8"))["recipe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"--out {out}: its dataset.json is not one of a generated set ({error}): choose another"
            ) from error
        if found != asdict(recipe):
            raise ConfigError(
                f"--out {out}: holds a set generated with {found}, asked for {asdict(recipe)}: choose another folder, or "
                "remove this one"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is not an empty folder and not a generated set: choose another")
    try:
        for split in ("train", "val"):
            (out / split).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {out}: cannot be made: {error.strerror}") from error
    _describe(out, recipe, {"complete": False})


def _describe(out: Path, recipe: _Recipe, facts: dict[str, Any]) -> None:
    document = {
        "generated": True,
        "generator": "edgeflownas data synth",
        "version": importlib.metadata.version("edgeflownas"),
        "recipe": asdict(recipe),
        **facts,
    }
    replace_file(out / "dataset.json", [json.dumps(document, indent=2).encode()])


def _each(write: Any, jobs: Iterable[tuple[Path, int, int]], workers: int) -> Iterator[tuple[Any, float, float]]:
    if workers <= 1:
        yield from map(write, jobs)
        return
    # Fresh processes: a fork would copy the threads' locks of this one.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, jobs, chunksize=4)


def _write_pair(recipe: _Recipe, job: tuple[Path, int, int]) -> tuple[NDArray[np.int64], float, float]:
    """Write one sample where a file of it is missing; returns the histogram, maximum and sum of its magnitudes."""
    cv2.setNumThreads(1)  # one core for one worker
    folder, name, number = job
    stem = f"{name:07d}"
    suffixes = ["img_0.png", "img_1.png", "flow_01.flo"]
    suffixes += ["flow_10.flo"] if recipe.backward else []
    suffixes += ["occ_01.png", "occ_10.png"] if recipe.occlusion else []
    paths = {suffix: folder / f"{stem}-{suffix}" for suffix in suffixes}
    if all(path.exists() for path in paths.values()):
        return _magnitudes(read_flo(paths["flow_01.flo"])[0])
    pair = generate_pair(recipe.seed, number, recipe.height, recipe.width)
    _write_png(paths["img_0.png"], pair.image1[..., ::-1])
    _write_png(paths["img_1.png"], pair.image2[..., ::-1])
    if recipe.backward:
        write_flo(paths["flow_10.flo"], pair.backward_flow)
    if recipe.occlusion:
        _write_png(paths["occ_01.png"], pair.occlusion.astype(np.uint8) * 255)
        _write_png(paths["occ_10.png"], pair.backward_occlusion.astype(np.uint8) * 255)
    write_flo(paths["flow_01.flo"], pair.flow)
    return _magnitudes(pair.flow)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", np.ascontiguousarray(image), PNG_FAST)
    assert done, path
    replace_file(path, [data.data])


def _magnitudes(flow: NDArray[np.float32]) -> tuple[NDArray[np.int64], float, float]:
    magnitude = np.sqrt(flow[..., 0] ** 2 + flow[..., 1] ** 2)
    bins = np.minimum((magnitude / _BIN).astype(np.int64), _BINS - 1)
    counts = np.bincount(bins.ravel(), minlength=_BINS)
    return counts, float(magnitude.max()), float(magnitude.sum(dtype=np.float64))


def _statistics(pairs: int, histogram: NDArray[np.int64], largest: float, total: float) -> GeneratedStats:
    """Percentiles are the middles of bins of 0.01 px."""
    pixels = max(1, int(histogram.sum()))
    cumulative = np.cumsum(histogram)

    def percentile(share: float) -> float:
        return (int(np.searchsorted(cumulative, share * pixels)) + 0.5) * _BIN

    return GeneratedStats(
        pairs=pairs,
        mean=total / pixels,
        median=percentile(0.5),
        p90=percentile(0.9),
        p99=percentile(0.99),
        maximum=largest,
        share_below_10=float(histogram[: round(10 / _BIN)].sum() / pixels),
        share_above_40=float(histogram[round(40 / _BIN) :].sum() / pixels),
    )
