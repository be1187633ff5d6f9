"""Flow of frames by one subnet, on disk as people look at it: .flo, colour wheel, arrows.

Each file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo
from edgeflownas.data.frames import Frames
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.predictors import SubnetPredictor, check_finite
from edgeflownas.files import replace_file
from edgeflownas.report.console import Console
from edgeflownas.report.flow_arrows import flow_arrows
from edgeflownas.report.flow_color import flow_to_color
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.run import Subnet

FORMATS = {"flo": ".flo", "color": "-color.png", "arrows": "-arrows.png"}


def flow_paths(folder: Path, name: str, formats: Sequence[str]) -> dict[str, Path]:
    """Format -> file of the pair ``name``."""
    return {form: folder / f"{name}{FORMATS[form]}" for form in formats}


def write_flow(
    paths: dict[str, Path], image1: NDArray[np.uint8], flow: NDArray[np.float32], max_flow: float | None = None
) -> None:
    """Write a pair's files; ``max_flow`` (px) is drawn in full colour, None takes the longest vector of the pair.

    Raises StorageError where the disk refuses.
    """
    for form, path in paths.items():
        if form == "flo":
            write_flo(path, flow)
        else:
            picture = flow_to_color(flow, max_flow) if form == "color" else flow_arrows(image1, flow)
            done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            assert done, "OpenCV encodes any 8-bit picture"
            replace_file(path, [data.data])


def infer_frames(
    subnet: Subnet, frames: Frames, out: Path, formats: Sequence[str], max_flow: float | None, console: Console
) -> dict[str, Any]:
    """Estimate and write the flow of pair after pair; what was written, and by which weights, as plain data.

    An interruption leaves whole files only, and says how many pairs.  Raises NonFiniteError for a network that
    diverged, ConfigError for frames too large for this machine, StorageError.
    """
    samples = subnet.calibration or ()
    full = "the run's calibration batches do not fit this machine's memory: free some"
    with console.task("calibrate", len(samples)) as meter, memory_in_words(full):
        statistics = recalibrate(subnet.net, [subnet.arch], samples, meter.advance)
    who = (subnet.name, subnet.checkpoint.hash)
    predictor = SubnetPredictor(subnet.net, [subnet.arch], statistics, *who, flow_divisor=subnet.flow_divisor)
    rows: list[dict[str, Any]] = []
    total = frames.count - 1
    with console.task("flow", total) as meter:
        try:
            for first, second in frames.pairs(console.warn):
                height, width = first.image.shape[:2]
                with memory_in_words(f"{first.origin} is {height}x{width}: give smaller images"):
                    (flow,) = predictor.predict(np.concatenate([first.image, second.image], axis=-1))
                check_finite(flow)
                out.mkdir(parents=True, exist_ok=True)
                paths = flow_paths(out, first.name, formats)
                write_flow(paths, first.image, flow, max_flow)
                length = np.hypot(flow[..., 0], flow[..., 1])
                row = {"image1": first.origin, "image2": second.origin, "height": height, "width": width}
                row |= {"mean_flow": float(length.mean()), "max_flow": float(length.max())}
                rows.append(row | {"files": {form: str(path) for form, path in paths.items()}})
                meter.update(min(len(rows), total))
        except KeyboardInterrupt:
            console.info(f"interrupted after {len(rows)} of {total} pairs; every file in {out} is whole")
            raise
    return {
        "weights": who[0],
        "source": who[1],
        "arch": str(subnet.arch),
        "arch_choice": subnet.reason,
        "calibration": subnet.calibrated_on or None,
        "calibration_samples": subnet.calibration_samples,
        "out": str(out),
        "pairs": rows,
    }
