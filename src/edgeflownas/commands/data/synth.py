"""``edgeflownas data synth``: generated pairs with exact flow."""

from __future__ import annotations

from pathlib import Path


def synth(
    *,
    out: Path,
    train: int,
    val: int,
    seed: int,
    height: int = 384,
    width: int = 512,
    backward: bool = False,
    occlusion: bool = False,
    workers: int = 1,
    json: bool = False,
) -> int:
    """Generate image pairs with exact flow in FlyingChairs2 layout: OUT/train, OUT/val and OUT/dataset.json.

    A sample depends on the seed and its number only, not on how many are made or by how many workers.

    Args:
        out: folder to make the set in.
        train: training pairs.
        val: evaluation pairs.
        seed: seed of every pair.
        height: pixels.
        width: pixels.
        backward: also write the flow from image 2 to image 1.
        occlusion: also write the masks of pixels that are hidden in the other image.
        workers: processes.
        json: what was made, as JSON.
    """
    import time
    from dataclasses import asdict
    from json import dumps

    from edgeflownas.commands.data.progress import progress
    from edgeflownas.commands.data.stats import stats
    from edgeflownas.data.synthetic.write import generate_dataset

    started = time.monotonic()
    made = generate_dataset(
        *(out, train, val, seed),
        height=height,
        width=width,
        backward=backward,
        occlusion=occlusion,
        workers=workers,
        progress=progress("generating"),
    )
    seconds = time.monotonic() - started
    if json:
        print(dumps({"out": str(out), "train": train, "val": val, "seconds": seconds, **asdict(made)}, indent=2))
        return 0
    print(f"{train} training and {val} evaluation pairs in {out}, {(train + val) / max(seconds, 1e-9):.1f} a second")
    return stats(str(out))
