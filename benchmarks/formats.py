"""Time to read and write the files of a flow, in turn with what people would use instead on the same files.

OpenCV, a plain numpy reader, and torchvision's readers where it is installed (it is no dependency: an environment of
its own, `pip install torchvision`).  None of the others checks sizes, lengths or checksums.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from _shared import at_least, options, run

from edgeflownas.data.formats import read_flow, write_flow

SIZES = {"sparse.flo": (388, 584), "dense.flo": (384, 512), "kitti.png": (375, 1242), "scene.pfm": (540, 960)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=at_least(3), default=25, help="readings of each side, in turn")
    return run(parser, lambda o: bench_formats(o.rounds), argv)


def bench_formats(rounds: int) -> dict[str, Any]:
    """Median milliseconds of each way, and ours over the fastest other."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            path, other = Path(folder, name), Path(folder, f"other-{name}")
            flow = np.random.default_rng(0).normal(0, 8, (*size, 2)).astype(np.float32)
            valid = np.random.default_rng(1).random(size) > (0.0 if name in ("dense.flo", "scene.pfm") else 0.1)
            write_flow(path, flow, valid)
            found[f"read {name}"] = in_turn({"ours": lambda p=path: read_flow(p), **readers(path)}, rounds)
            ways = {"ours": lambda o=other, f=flow, v=valid: write_flow(o, f, v), **writers(other, flow, valid)}
            found[f"write {name}"] = in_turn(ways, rounds)
    return found


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Times in ms, and the ratio of ours to the fastest other one."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(1e3 * (time.perf_counter() - started))
    found = {f"{name}_ms": median(values) for name, values in times.items()}
    return found | {"ratio": found["ours_ms"] / min(value for name, value in found.items() if name != "ours_ms")}


def readers(path: Path) -> dict[str, Callable[[], object]]:
    """Other readers of a file; those of .flo with the mask of known pixels, which the format needs."""
    ways: dict[str, Callable[[], object]] = {}
    if path.suffix == ".flo":
        ways = {
            "numpy": lambda: plain_flo(path),
            "opencv": lambda: np.abs(cv2.readOpticalFlow(str(path))).max(axis=2, initial=0) < 1e9,
        }
    elif path.suffix == ".png":
        ways = {"opencv": lambda: plain_kitti(path)}
    else:
        ways = {"opencv": lambda: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)}
    try:
        from torchvision.datasets import _optical_flow
    except ImportError:
        return ways
    theirs = {".flo": "_read_flo", ".png": "_read_16bits_png_with_flow_and_valid_mask", ".pfm": "_read_pfm"}
    return ways | {"torchvision": lambda: getattr(_optical_flow, theirs[path.suffix])(str(path))}


def writers(path: Path, flow: np.ndarray, valid: np.ndarray) -> dict[str, Callable[[], object]]:
    """OpenCV's writers of the same arrays."""
    if path.suffix == ".flo":
        return {"opencv": lambda: cv2.writeOpticalFlow(str(path), np.where(valid[..., None], flow, 1.7e9))}
    if path.suffix == ".png":
        steps = np.dstack([valid, flow[..., ::-1] * 64 + 2**15]).astype(np.uint16)
        return {"opencv": lambda: cv2.imwrite(str(path), steps)}
    return {"opencv": lambda: cv2.imwrite(str(path), np.dstack([flow, flow[..., :1]]))}


def plain_flo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The twelve lines that everybody writes."""
    with path.open("rb") as file:
        if file.read(4) != b"PIEH":
            raise ValueError("not a .flo file")
        width, height = np.fromfile(file, np.int32, 2)
        flow = np.fromfile(file, np.float32, 2 * width * height).reshape(height, width, 2)
    known = np.abs(flow) < 1e9
    valid = known[..., 0] & known[..., 1]
    flow[~valid] = 0
    return flow, valid


def plain_kitti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """As the development kit of KITTI has it."""
    stored = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    flow = (stored[..., 2:0:-1].astype(np.float32) - 2**15) / 64
    valid = stored[..., 0] > 0
    flow[~valid] = 0
    return flow, valid


if __name__ == "__main__":
    sys.exit(main())
