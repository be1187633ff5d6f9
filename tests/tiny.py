"""A tiny data set in FlyingChairs2 layout: smooth random images moved by a constant flow, made in milliseconds."""

import cv2
import numpy as np

from edgeflownas.data.formats import write_flo


def make_tiny(root, train=6, val=3, height=40, width=56, seed=0):
    """Write ``root``/train and ``root``/val and return ``root``."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        folder = root / split
        folder.mkdir(parents=True)
        for number in range(count):
            shift = rng.integers(-4, 5, 2)
            noise = rng.integers(0, 256, (height + 16, width + 16, 3)).astype(np.uint8)
            canvas = cv2.GaussianBlur(noise, (0, 0), 1.5)
            canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
            first = canvas[8 : 8 + height, 8 : 8 + width]
            second = canvas[8 - shift[1] : 8 - shift[1] + height, 8 - shift[0] : 8 - shift[0] + width]
            cv2.imwrite(str(folder / f"{number:07d}-img_0.png"), first)
            cv2.imwrite(str(folder / f"{number:07d}-img_1.png"), second)
            write_flo(folder / f"{number:07d}-flow_01.flo", np.full((height, width, 2), shift, np.float32))
    return root


def tiny_options(root, runs, name):
    """Command-line overrides of a run on :func:`make_tiny` data that takes well under a second a step."""
    values = {
        "runtime.output_root": runs,
        "runtime.experiment_name": name,
        "runtime.num_threads": 1,
        "runtime.tensorboard": "false",
        "runtime.report": "false",
        "train.width": 4,
        "train.gpu_device": -1,
        "train.num_epochs": 2,
        "train.batch_size": 4,
        "train.monitor_every": "null",
        "data.train_dir": root / "train",
        "data.val_dir": root / "val",
        "data.crop_size": "32x48",
        "data.num_workers": 0,
        "eval.eval_pool_size": 4,
        "eval.eval_batches_per_arch": 1,
        "eval.bn_recal_batches": 1,
        "eval.batch_size": 3,
        "eval.train_batches": 0,
    }
    return [f"--{key}={value}" for key, value in values.items()]
