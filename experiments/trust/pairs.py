"""Pairs that a small network learns in a few hundred steps: a random texture, moved, turned and stretched a little.

``edgeflownas data synth`` makes harder ones (objects of their own motion, occlusion): on these a network of width 8
stands at the error of zero flow for most of the steps that this experiment can pay.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo
from edgeflownas.randomness import uniforms

HEIGHT, WIDTH, MARGIN = 48, 64, 16


def write_pairs(root: Path, seed: int, **splits: int) -> None:
    """Write ``root``/SPLIT with so many pairs in FlyingChairs2 layout, each a function of seed, split and number."""
    for split, count in splits.items():
        (root / split).mkdir(parents=True)
        for number in range(count):
            first, second, flow = pair(seed, f"trust {split}", number)
            stem = root / split / f"{number:07d}"
            cv2.imwrite(f"{stem}-img_0.png", first)
            cv2.imwrite(f"{stem}-img_1.png", second)
            write_flo(Path(f"{stem}-flow_01.flo"), flow)


def pair(seed: int, stream: str, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Two images uint8 [48,64,3] and the flow float32 [48,64,2]: up to 3 px either way, 2.3 degrees, 4 %."""
    shape = (HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, 3)
    draws = uniforms(seed, stream, number, count=4 + 3 * int(np.prod(shape)))
    canvas = np.zeros(shape)
    for sigma, noise in zip((1.2, 2.5, 5.0), draws[4:].reshape(3, *shape), strict=True):
        octave = cv2.GaussianBlur(noise, (0, 0), sigma)
        canvas += (octave - octave.mean()) / octave.std()
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
    angle, zoom, *shift = (2 * draws[:4] - 1) * (0.04, 0.04, 3.0, 3.0)
    turn = (1 + zoom) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    place = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1)
    flow = (place - centre) @ turn.T + centre + shift - place
    source = (place - centre - shift) @ np.linalg.inv(turn).T + centre + MARGIN  # where a pixel of image 2 comes from
    moved = cv2.remap(canvas, source.astype(np.float32), None, cv2.INTER_CUBIC)
    still = canvas[MARGIN : MARGIN + HEIGHT, MARGIN : MARGIN + WIDTH]
    first, second = (np.clip(image, 0, 255).round().astype(np.uint8) for image in (still, moved))
    return first, second, flow.astype(np.float32)
