"""Gradient readings against autograd by hand, and that taking one leaves no trace."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from edgeflownas.config import TrainConfig
from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.models.blocks import to_flow_batch
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet, layout
from edgeflownas.space import get_space
from edgeflownas.train.fairness import fair_cycle
from edgeflownas.train.machine import World
from edgeflownas.train.monitor import GradientReading, read_gradients
from edgeflownas.train.step import StopRequested, SupernetTask, batch_slices

CPU = torch.device("cpu")
SPACE = get_space("v1")
FIXED = ("E0", "E1", "Down1", "Down2", "Up1", "Up2")


def make_batch(count: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        images=rng.integers(0, 256, (count, 32, 32, 6), dtype=np.uint8),
        flow=rng.normal(0, 3, (count, 32, 32, 2)).astype(np.float32),
        valid=rng.random((count, 32, 32)) < 0.9,
        names=tuple(f"{i:07d}" for i in range(count)),
        indices=np.arange(count),
        positions=np.arange(count),
        epoch=0,
        step=0,
        clipped_share=0.0,
        replaced=(),
    )


def make_task(**keys: Any) -> SupernetTask:
    config = TrainConfig(**{"width": 2, "batch_size": 6, "grad_clip_global_norm": 1.0, "weight_decay": 0.3, **keys})
    return SupernetTask(FlowNet(SPACE, 2).double(), config, 0, World(), CPU)


def read(task: SupernetTask, batch: Batch, step: int = 4) -> GradientReading:
    return read_gradients(task, batch, step, 1, lambda: None)


def by_hand(batch: Batch, step: int, micro: int | None, shifted: bool) -> list[dict[str, torch.Tensor]]:
    """Per path the gradient of its mean loss by parameter, with torch alone; no weight decay, no clipping."""
    net = FlowNet(SPACE, 2).double().train()
    data = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64)
    paths = fair_cycle(SPACE, 0, step)
    size = len(data.images) // (len(paths) if shifted else 1)
    found = []
    for index, path in enumerate(paths):
        net.zero_grad()
        start = (index + step) % len(paths) * size if shifted else 0
        for piece in batch_slices(size, micro):
            images, flow, valid = (tensor[start + piece.start : start + piece.stop] for tensor in data)
            loss = multiscale_loss(net(images, path), flow, valid).total
            (loss * ((piece.stop - piece.start) / size)).backward()
        found.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    return found


@pytest.mark.parametrize("position", ["step", "micro_step"])
@pytest.mark.parametrize(("micro", "sharing"), [(None, "same"), (4, "same"), (2, "shifted")])
def test_norms_and_cosine_by_hand(micro: int | None, sharing: str, position: str) -> None:
    shifted = sharing == "shifted"
    batch = make_batch(18 if shifted else 6)
    reading = read(make_task(micro_batch_size=micro, path_batches=sharing, grad_clip_position=position), batch)
    gradients = by_hand(batch, 4, micro, shifted)
    assert reading.paths == fair_cycle(SPACE, 0, 4) and reading.step == 4
    assert list(reading.norms) == [slot.name for slot in layout(SPACE)]
    for path, gradient in enumerate(gradients):
        for block, norms in reading.norms.items():
            own = [g.flatten() for name, g in gradient.items() if name.split(".")[0] == block]
            assert norms[path] == pytest.approx(torch.cat(own).norm().item(), rel=1e-9), block
        whole = torch.cat([g.flatten() for g in gradient.values()])
        assert reading.all[path] == pytest.approx(whole.norm().item(), rel=1e-9)
    shared = [torch.cat([g[n].flatten() for n in g if n.split(".")[0] in FIXED]) for g in gradients]
    cosines = [torch.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(shared, 2)]
    assert reading.path_cosine == pytest.approx(np.mean(cosines), rel=1e-9)


def test_squares_of_the_blocks_add_up() -> None:
    reading = read(make_task(), make_batch(6))
    sums = np.sum([np.square(norms) for norms in reading.norms.values()], axis=0)
    assert sums == pytest.approx(np.square(reading.all), rel=1e-12) and len(reading.all) == 3
    assert all(norm > 0 for norms in reading.norms.values() for norm in norms)


def everything(task: SupernetTask) -> dict[str, torch.Tensor]:
    return {f"{file}/{name}": t.detach().clone() for file, named in task.tensors().items() for name, t in named.items()}


@pytest.mark.parametrize("position", ["step", "micro_step"])
def test_a_reading_leaves_no_trace(position: str) -> None:
    watched, plain = (make_task(ema_decay=0.9, grad_clip_position=position, micro_batch_size=4) for _ in range(2))
    torch.manual_seed(1)
    for step in range(3):
        before, random = everything(watched), torch.get_rng_state()
        read(watched, make_batch(6, seed=7), step)
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(tensor, before[name]) for name, tensor in everything(watched).items())
        outputs = [task.step(make_batch(6, seed=step), step, 1e-3, lambda: None) for task in (watched, plain)]
        assert outputs[0] == outputs[1]
    ours, theirs = everything(watched), everything(plain)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_non_finite_gradients_are_read_as_such() -> None:
    batch = make_batch(6)
    batch.flow[2, 5, 5], batch.valid[2, 5, 5] = np.nan, True
    reading = read(make_task(), batch)
    assert np.isnan(reading.all).all() and reading.path_cosine is not None and np.isnan(reading.path_cosine)


@pytest.mark.parametrize("look", range(1, 4))
def test_a_stop_ends_a_reading(look: int) -> None:
    looks = itertools.count(1)

    def check_stop() -> None:
        if next(looks) == look:
            raise StopRequested

    with pytest.raises(StopRequested):
        read_gradients(make_task(), make_batch(6), 0, 1, check_stop)


def test_a_single_model_has_one_path_and_no_cosine() -> None:
    config = TrainConfig(width=2, batch_size=6, task="edgeflownet")
    task = SupernetTask(EdgeFlowNet(2), config, 0, World(), CPU)
    reading = read(task, make_batch(6))
    assert len(reading.all) == 1 and reading.path_cosine is None
    assert sum(norms[0] ** 2 for norms in reading.norms.values()) == pytest.approx(reading.all[0] ** 2, rel=1e-5)
