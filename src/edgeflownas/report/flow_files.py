"""Flow on disk as people look at it: .flo, colour wheel, arrows.  Each file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo
from edgeflownas.files import replace_file
from edgeflownas.report.flow_arrows import flow_arrows
from edgeflownas.report.flow_color import flow_to_color

__all__ = ["FORMATS", "flow_paths", "write_flow"]

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
