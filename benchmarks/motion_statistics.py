"""How far things move, and what the pictures are like, as a network sees them under ``deploy:192x256``.

    python benchmarks/motion_statistics.py generated:train@OUT sintel:final@DIR IMAGE1,IMAGE2,FLOW

Each data set (a folder, one by name, or three files) is shrunk to the size, its flow with it.  Quantiles of the
magnitude in px and shares of pixels beyond 5, 10 and 20 px; of the grey levels (0..255) the standard deviation, mean
and quantiles of the gradient, and the slope of power over frequency, both in logarithms; the median saturation; and the
mean difference of image 1 to image 2 where the flow points: noise, light, hidden pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _shared import at_least, height_width, options, run
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, FlowPair, Sample
from edgeflownas.data.sets import open_dataset
from edgeflownas.evaluate.protocols import Protocol

Float = NDArray[np.float64]
QUANTILES = (10, 25, 50, 75, 90, 99)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("sets", nargs="+", help="data sets, or IMAGE1,IMAGE2,FLOW")
    parser.add_argument("--size", type=height_width, default="192x256", help="rows x columns, px")
    parser.add_argument("--pairs", type=at_least(1), default=100, help="of a set, spread over it")
    return run(parser, lambda o: {spec: of_set(opened(spec), o.size, o.pairs) for spec in o.sets}, argv)


def opened(spec: str) -> FlowDataset:
    """A data set, or one pair of three files."""
    if spec.count(",") == 2:
        return FlowDataset(Path.cwd(), "all", "folder", (Sample(spec, *map(Path, spec.split(","))),))
    return open_dataset(spec, "train", "motion_statistics", {})


def of_set(dataset: FlowDataset, size: tuple[int, int], pairs: int) -> dict[str, Any]:
    """The figures of up to ``pairs`` pairs, every pixel alike."""
    picked = np.unique(np.linspace(0, len(dataset) - 1, pairs).round().astype(int))
    rows = [of_pair(dataset.read(int(index)), size) for index in picked]
    moved, steep = (np.concatenate([row[part] for row in rows]) for part in ("magnitude", "gradient"))
    shares = {f"above_{limit}": float((moved > limit).mean()) for limit in (5, 10, 20)}
    quantiles = {f"p{share}": float(np.percentile(moved, share)) for share in QUANTILES}
    steepness = {f"gradient_p{share}": float(np.percentile(steep, share)) for share in (50, 90, 99)}
    others = {
        name: float(np.mean([row[name] for row in rows])) for name in ("contrast", "slope", "saturation", "residual")
    }
    return {"pairs": len(rows), "mean": float(moved.mean()), **quantiles, **shares, "gradient": float(steep.mean())} | (
        steepness | others
    )


def of_pair(pair: FlowPair, size: tuple[int, int]) -> dict[str, Any]:
    """Magnitudes and gradients of every pixel of the shrunk pair, and what is one number."""
    images = Protocol("deploy", size).prepare(pair).images
    grey = [cv2.cvtColor(images[..., part], cv2.COLOR_RGB2GRAY).astype(np.float64) for part in (slice(3), slice(3, 6))]
    scale = np.array([size[1], size[0]]) / pair.flow.shape[1::-1]
    known = np.dstack([pair.flow * scale * pair.valid[..., None], pair.valid]).astype(np.float32)
    small = cv2.resize(known, size[::-1], interpolation=cv2.INTER_AREA)
    valid = small[..., 2] > 0.5
    flow = small[..., :2] / np.maximum(small[..., 2:], 0.5)
    y, x = np.indices(size, dtype=np.float32)
    there = cv2.remap(grey[1].astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
    high, low = images[..., :3].max(axis=2), images[..., :3].min(axis=2)
    return {
        "magnitude": np.hypot(flow[..., 0], flow[..., 1])[valid],
        "gradient": np.hypot(*np.gradient(grey[0])).ravel(),
        "contrast": grey[0].std(),
        "slope": slope(grey[0]),
        "saturation": np.median((high - low) / np.maximum(high, 1)),
        "residual": np.abs(there - grey[0])[valid].mean(),
    }


def slope(grey: Float) -> float:
    """Of log power over log frequency, from 4 cycles a height to a third of the rows, every octave alike."""
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    rows, columns = (np.fft.fftfreq(side) * grey.shape[0] for side in grey.shape)
    frequency = np.hypot(rows[:, None], columns)
    band = np.digitize(frequency, np.geomspace(4, grey.shape[0] / 3, 13))
    there = [number for number in range(1, 13) if (band == number).any()]
    points = [(frequency[band == number].mean(), max(power[band == number].mean(), 1e-9)) for number in there]
    return float(np.polyfit(*np.log(points).T, 1)[0])


if __name__ == "__main__":
    sys.exit(main())
