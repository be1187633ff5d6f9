"""Pairs that a small network learns in a few hundred steps: a texture that moves as one, and bends a little.

    python examples/pipeline/pairs.py OUT --size 48x64 --train 1600 --val 64 --seed 5 --motion 3

`edgeflownas data synth` makes harder ones (objects, edges of motion, occlusion).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo
from edgeflownas.randomness import uniforms

MARGIN = 16  # px of texture around the images, which may come into view

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]


def main() -> None:
    """Write OUT/train and OUT/val in FlyingChairs2 layout, complete or not at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", default="48x64")
    parser.add_argument("--motion", type=float, default=3.0, help="largest motion drawn, px")
    for name in ("train", "val", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    rows, columns = map(int, given.size.split("x"))
    begun = given.out.with_name(f"{given.out.name}.begun")
    shutil.rmtree(begun, ignore_errors=True)
    for split in ("train", "val"):
        (begun / split).mkdir(parents=True)
        for number in range(getattr(given, split)):
            first, second, flow = pair(given.seed, f"pipeline {split}", number, (rows, columns), given.motion)
            stem = begun / split / f"{number:07d}"
            cv2.imwrite(f"{stem}-img_0.png", first)
            cv2.imwrite(f"{stem}-img_1.png", second)
            write_flo(Path(f"{stem}-flow_01.flo"), flow)
    begun.rename(given.out)
    print(f"{given.train} + {given.val} pairs of {given.size} in {given.out}")


def pair(seed: int, stream: str, number: int, size: tuple[int, int], motion: float) -> Pair:
    """Two images uint8 [H,W,3] and the flow float32 [H,W,2] from the first to the second, px."""
    rows, columns = size
    shape = (rows + 2 * MARGIN, columns + 2 * MARGIN, 3)
    draws = uniforms(seed, stream, number, count=10 + 3 * int(np.prod(shape)))
    shift, local, noises = draws[:2], draws[2:10], draws[10:]
    canvas = np.zeros(shape)
    for sigma, noise in zip((1.2, 2.5, 5.0), noises.reshape(3, *shape), strict=True):
        octave = cv2.GaussianBlur(noise, (0, 0), sigma)
        canvas += (octave - octave.mean()) / octave.std()
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
    # One motion for the whole, and at each corner up to a quarter of it more.
    corners = (2 * shift - 1) + (2 * local.reshape(2, 2, 2) - 1) / 4
    flow = cv2.resize((motion * corners).astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    place = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) + MARGIN
    # Image 1 shows at x what image 2 shows at x + flow(x): exact for any flow.
    first = cv2.remap(canvas, (place + flow).astype(np.float32), None, cv2.INTER_CUBIC)
    second = canvas[MARGIN : MARGIN + rows, MARGIN : MARGIN + columns]
    images = (np.clip(image, 0, 255).round().astype(np.uint8) for image in (first, second))
    return next(images), next(images), flow


if __name__ == "__main__":
    main()
