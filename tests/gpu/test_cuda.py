"""The same code on a GPU: `make test-gpu` on a machine that has one; skipped elsewhere."""

import numpy as np
import pytest
import torch

from edgeflownas.config import Config
from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.pool import evaluate_pool
from edgeflownas.evaluate.tree import TreeEvaluator
from edgeflownas.models.blocks import to_flow_batch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.manifest import choose_device, set_arithmetic
from edgeflownas.run.setup import build_net
from edgeflownas.space import get_space, list_spaces
from edgeflownas.train.machine import World
from edgeflownas.train.step import SupernetTask

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def make_batch(count=4):
    rng = np.random.default_rng(0)
    return Batch(
        images=rng.integers(0, 256, (count, 90, 120, 6), dtype=np.uint8),
        flow=rng.normal(0, 3, (count, 90, 120, 2)).astype(np.float32),
        valid=rng.random((count, 90, 120)) < 0.9,
        names=tuple(map(str, range(count))),
        indices=np.arange(count),
        positions=np.arange(count),
        epoch=0,
        step=0,
        clipped_share=0.0,
        replaced=(),
    )


def run_steps(gpu_device, steps=3, **train):
    config = Config.model_validate({"train": {"width": 8, "batch_size": 4, "gpu_device": gpu_device, **train}})
    device, note = choose_device(gpu_device)
    assert note == f"gpu_device={gpu_device} applied"
    set_arithmetic(config)
    task = SupernetTask(build_net(config, device), config.train, 0, World(), device)
    outputs = [task.step(make_batch(), step, 1e-4, lambda: None) for step in range(steps)]
    return outputs, {name: tensor.cpu() for name, tensor in task.tensors()["model"].items()}


@pytest.mark.parametrize("space", list_spaces())
def test_first_step_agrees_with_the_cpu(space):
    gpu, cpu = run_steps(0, 1, space=space)[0][0], run_steps(-1, 1, space=space)[0][0]
    assert gpu.loss == pytest.approx(cpu.loss, rel=1e-4)
    assert gpu.grad_norms == pytest.approx(cpu.grad_norms, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("space", list_spaces())
def test_same_bits_twice_in_deterministic_mode(precision, channels_last, space):
    first, second = (run_steps(0, precision=precision, channels_last=channels_last, space=space) for _ in range(2))
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


@pytest.mark.parametrize("name", list_spaces())
def test_pool_agrees_with_the_cpu(name):
    space = get_space(name)
    scores = []
    for device in (torch.device("cpu"), torch.device("cuda", 0)):
        batch = make_batch()
        data = [to_flow_batch(batch.images, batch.flow, batch.valid, device)]
        scores.append([r.epe for r in evaluate_pool(FlowNet(space, 8).to(device), space.pool(6), data, data)])
    assert scores[1] == pytest.approx(scores[0], rel=2e-5)  # 1e-4 px of the 4 to 5 px here


def test_a_gpu_that_is_not_there_is_an_error():
    from edgeflownas.errors import ConfigError

    with pytest.raises(ConfigError, match=r"train.gpu_device 99"):
        choose_device(99)


@pytest.mark.parametrize("exact", [True, False])
def test_tree_agrees_with_the_cpu(exact):
    """The ranking's fused heads and its exact path on a GPU against the CPU: fp32, TF32 off, 1e-4 px of 5 px."""
    space, found = get_space("v1"), []
    archs = list(space)[:: len(space) // 100]
    for device in (torch.device("cuda", 0), torch.device("cpu")):
        data = make_batch()
        batch = to_flow_batch(data.images, data.flow, data.valid, device)
        tree = TreeEvaluator(FlowNet(space, 8).to(device), [batch], [[batch]], exact=exact)
        sums = torch.zeros(len(archs), len(tree.pixels[0]), dtype=torch.float64)
        for scores in tree.score(archs):
            sums[list(scores.unit.members)] = scores.sums[0]
        found.append(sums / tree.pixels[0])
    assert ((found[0] - found[1]) / found[1]).abs().max() < 2e-5
