"""Weights as the package ships them, tiny and untrained, made in milliseconds in a folder of the test."""

from typing import Any

import numpy as np
import torch

from edgeflownas.config.load import load_config
from edgeflownas.data.synthetic.generate import VERSION
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.run import weights
from edgeflownas.run.setup import new_net
from edgeflownas.space import get_space

NAME, SUPERNET = "tiny-v1-w4", "tiny-v1-w4-supernet"
SIZE = (32, 48)
CARD: dict[str, Any] = {
    **{"code": "000021222", "task": "standalone", "space": "v1", "width": 4, "size": list(SIZE), "storage": "float16"},
    **{"recipe": "smoke", "commit": None, "machine": {"cpu": "a CPU", "threads": 1}, "data": "edgeflownas data synth"},
    **{"pairs_seen": 64, "hours": 0.5, "trained": [], "int8": None, "vela": None, "licence": "MIT"},
    "epe": [{"data": "generated", "protocol": "deploy:32x48", "epe_per_image": 1.5, "epe": 1.4, "zero_flow": 2.0}],
}


def arrays(net, half):
    return {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor).numpy().copy()
        for name, tensor in net.state_dict().items()
    }


def noise_batch(seed):
    images = torch.rand(2, 6, *SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return [FlowBatch(images, torch.empty(0), torch.empty(0))]


def make_weights(folder, name=NAME, half=True, **facts):
    """Write weights of a subnet, or of a supernet where the name says so; returns the file."""
    supernet = name.endswith("supernet")
    task = ["--train.task=supernet"] if supernet else ["--train.task=standalone", "--train.arch=000021222"]
    small = ["--data.crop_size=32x48", "--eval.batch_size=2", "--eval.bn_recal_batches=2"]
    small += ["--eval.eval_batches_per_arch=1", *(["--eval.eval_pool_size=3"] * supernet)]
    config = load_config(None, [*task, "--train.width=4", *small])
    plain = config.model_dump(mode="json")
    net = new_net(config, 0)
    if half:
        for parameter in net.parameters():
            parameter.data.copy_(parameter.data.half() if parameter.ndim > 1 else parameter.data)
    groups = {"model": arrays(net, half)}
    statistics = {}
    if not supernet:
        for seed, label in enumerate((weights.TRAINING, "deploy:32x48")):
            set_buffers(net, noise_batch(seed))
            statistics[label] = {"from": "noise", "samples": 2}
            named = arrays(net, half)
            buffers = {key: value for key, value in named.items() if "running_" in key}
            groups["model" if seed == 0 else label] = named if seed == 0 else buffers
    content = {
        "config": {
            key: plain[key.partition(".")[0]][key.partition(".")[2]]
            for key in weights.KEPT
            if supernet or key != "eval.eval_pool_size"
        },
        "space": get_space("v1").declaration(),
        "size": list(SIZE),
        "pairs": {"seed": 5, "height": 32, "width": 48, "version": VERSION, "train": 4, "val": 2},
        "statistics": statistics,
    }
    card = CARD | ({"code": None, "task": "supernet"} if supernet else {})
    return weights.write_weights(name, content | facts, groups, card, folder)[0]


def frames(height=40, width=56):
    """Two uint8 frames [H,W,3], the second moved by two pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return pixels, np.roll(pixels, 2, 1)
