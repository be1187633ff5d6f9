"""Small folders in FlyingChairs2 layout, made of noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgeflownas.data.formats import write_flo

HEIGHT, WIDTH = 12, 17


def make_folder(folder: Path, names: list[str] | int, suffix: str = ".png") -> Path:
    """Write samples (a count, or their names); the content depends on the name only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"{i:07d}" for i in range(names)] if isinstance(names, int) else names:
        random = np.random.default_rng(abs(hash_of(name)))
        for part in ("img_0", "img_1"):
            image = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            assert cv2.imwrite(str(folder / f"{name}-{part}{suffix}"), image)
        write_flo(folder / f"{name}-flow_01.flo", random.normal(0, 10, (HEIGHT, WIDTH, 2)).astype(np.float32))
    return folder


def hash_of(name: str) -> int:
    """A number that does not change from process to process."""
    return int.from_bytes(name.encode(), "big")
