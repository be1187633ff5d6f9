"""The training step: gradients, clipping, batch-norm updates, and that what is not accepted leaves no trace."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import noisy_batch

from edgeflownas.config import TrainConfig
from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.blocks import to_flow_batch
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet, layout
from edgeflownas.space import Choice, SearchSpace, get_space
from edgeflownas.train.fairness import fair_cycle
from edgeflownas.train.machine import World
from edgeflownas.train.step import MOMENTUM, StopRequested, SupernetTask, batch_slices

CPU = torch.device("cpu")
SPACE = get_space("v1")
LATE = SearchSpace("late", (Choice("DB1", "depth", (1, 2)), Choice("H2", "kernel", (3, 5))), fixed=("ECA", "Gate"))
SPACES = [SPACE, get_space("v3"), LATE]  # a stem shared, none, one that ends before context is given


def make_task(space: SearchSpace = SPACE, frozen: bool = False, **keys: Any) -> SupernetTask:
    config = TrainConfig(**{"width": 2, "batch_size": 6, "grad_clip_global_norm": None, "weight_decay": 0.0, **keys})
    net = FlowNet(space, 2, batch_norm="frozen" if frozen else "trained").double()
    return SupernetTask(net, config, 0, World(), CPU)


def snapshot(task: SupernetTask) -> dict[str, torch.Tensor]:
    return {f"{file}/{name}": t.detach().clone() for file, named in task.tensors().items() for name, t in named.items()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.sampled_from(["same", "shifted"]))
def test_gradient_does_not_depend_on_micro_batch_size_with_frozen_batch_norm(micro: int, sharing: str) -> None:
    gradients = []
    for size in (None, micro):
        task = make_task(frozen=True, micro_batch_size=size, path_batches=sharing, batch_size=6)
        task.step(noisy_batch(18 if sharing == "shifted" else 6), 4, 0.0, lambda: None)
        gradients.append(task.gradient.vector.clone())
    assert torch.linalg.vector_norm(gradients[1] - gradients[0]) <= 1e-10 * torch.linalg.vector_norm(gradients[0])


def plain_gradient(
    batch: Batch, step: int, micro: int | None = None, space: SearchSpace = SPACE
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Mean over paths and micro-batches with torch alone, and the gradient of every unit's own loss."""
    net = FlowNet(space, 2).double().train()
    data = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64)
    paths = fair_cycle(space, 0, step)
    units, total = [], torch.zeros(sum(p.numel() for p in net.parameters()), dtype=torch.float64)
    for path in paths:
        for piece in batch_slices(len(data.images), micro):
            net.zero_grad()
            part = [tensor[piece] for tensor in data]
            multiscale_loss(net(part[0], path), part[1], part[2]).total.backward()
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
            unit = torch.cat([g.contiguous().flatten() for g in grads])
            units.append(unit)
            total += unit * (piece.stop - piece.start) / len(data.images) / len(paths)
    return total, units


def own_gradient(task: SupernetTask) -> torch.Tensor:
    return torch.cat([p.grad.contiguous().flatten() for p in task.parameters.values() if p.grad is not None])


@pytest.mark.parametrize("micro", [None, 4])
@pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])
def test_shared_stem_gives_the_gradient_of_separate_passes(space: SearchSpace, micro: int | None) -> None:
    batch = noisy_batch(6)
    task = make_task(space, micro_batch_size=micro)
    output = task.step(batch, 3, 0.0, lambda: None)
    expected, _ = plain_gradient(batch, 3, micro, space)
    assert torch.linalg.vector_norm(own_gradient(task) - expected) <= 1e-10 * torch.linalg.vector_norm(expected)
    assert output.grad_norms == pytest.approx([torch.linalg.vector_norm(expected).item()])
    assert output.loss == pytest.approx(np.mean(output.path_losses))
    assert output.loss == pytest.approx(output.loss_optical + output.loss_uncertainty)


@pytest.mark.parametrize("space", SPACES[:2], ids=["v1", "v3"])
def test_step_clip_scales_once_with_decay_inside_the_norm(space: SearchSpace) -> None:
    batch = noisy_batch(6)
    expected, _ = plain_gradient(batch, 0, space=space)
    net = FlowNet(space, 2).double()
    kernels = [p.dim() > 1 for p in net.parameters()]  # 1-D and 1x1 ones too
    pairs = zip(kernels, net.parameters(), strict=True)
    decay = torch.cat([(0.3 * kernel * p).contiguous().flatten() for kernel, p in pairs])
    expected = expected + decay.detach()
    norm = torch.linalg.vector_norm(expected).item()
    task = make_task(space, weight_decay=0.3, grad_clip_global_norm=norm / 2)
    output = task.step(batch, 0, 0.0, lambda: None)
    assert output.grad_norms == pytest.approx([norm])
    assert output.clip_count == 1
    torch.testing.assert_close(own_gradient(task), expected / 2, rtol=1e-9, atol=1e-12)


def test_micro_step_clips_each_unit_before_the_sum_without_decay() -> None:
    batch = noisy_batch(6)
    _, units = plain_gradient(batch, 0, 4)
    norms = [torch.linalg.vector_norm(unit).item() for unit in units]
    threshold = float(np.median(norms))
    shares = [4 / 6 / 3, 2 / 6 / 3] * 3
    expected = sum(u * s * min(1.0, threshold / n) for u, s, n in zip(units, shares, norms, strict=True))
    task = make_task(micro_batch_size=4, grad_clip_position="micro_step", grad_clip_global_norm=threshold)
    output = task.step(batch, 0, 0.0, lambda: None)
    assert output.grad_norms == pytest.approx(norms)
    assert output.clip_count == sum(n > threshold for n in norms)
    assert len(output.grad_norms) == task.expected_clip_checks(6) == 6
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(own_gradient(task), expected, rtol=1e-9, atol=1e-12)


def test_adam_update_is_torchs() -> None:
    batch = noisy_batch(6)
    task = make_task(weight_decay=0.1)
    net = FlowNet(SPACE, 2).double().train()
    reference = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=False, fused=False)
    for step in range(3):
        task.step(batch, step, 1e-3, lambda: None)
        net.load_state_dict(net.state_dict())
        reference.zero_grad()
        data = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64)
        for path in fair_cycle(SPACE, 0, step):
            (multiscale_loss(net(data.images, path), data.flow, data.valid).total / 3).backward()
        for p in net.parameters():
            if p.dim() == 4 and p.grad is not None:
                p.grad.add_(p.detach(), alpha=0.1)
        reference.step()
    for (name, own), other in zip(task.net.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-7, atol=1e-9, msg=name)


def test_buffers_move_once_towards_the_mean_of_the_units() -> None:
    batch = noisy_batch(6)
    task = make_task(micro_batch_size=4)
    bn = task.net.get_submodule("E0.bn")
    data = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64)
    features = task.net.get_submodule("E0.k7")(task.net.prepare(data.images))
    parts = [features[piece] for piece in batch_slices(6, 4)]
    mean = sum(p.mean((0, 2, 3)) * len(p) / 6 for p in parts)
    var = sum(p.var((0, 2, 3), correction=0) * len(p) / 6 for p in parts)
    before = bn.running_mean.clone(), bn.running_var.clone()
    task.step(batch, 0, 0.0, lambda: None)
    torch.testing.assert_close(bn.running_mean, torch.lerp(before[0], mean, MOMENTUM))
    torch.testing.assert_close(bn.running_var, torch.lerp(before[1], var, MOMENTUM))


@pytest.mark.parametrize(("position", "value"), [("step", np.nan), ("micro_step", np.inf)])
def test_a_non_finite_step_is_dropped_whole(position: str, value: float) -> None:
    task = make_task(ema_decay=0.9, weight_decay=0.1, grad_clip_position=position, grad_clip_global_norm=1.0)
    task.step(noisy_batch(6), 0, 1e-3, lambda: None)
    before = snapshot(task)
    bad = noisy_batch(6, seed=1)
    bad.flow[2, 5, 5] = value
    bad.valid[2, 5, 5] = True
    output = task.step(bad, 1, 1e-3, lambda: None)
    assert not output.accepted
    assert_equal(snapshot(task), before)
    task.step(noisy_batch(6, seed=2), 1, 1e-3, lambda: None)
    assert not torch.equal(snapshot(task)["model/E0.k7.weight"], before["model/E0.k7.weight"])


def test_a_step_whose_moments_overflow_is_dropped() -> None:
    """Batch norm hides it from loss and gradient, but an infinite variance would stay in the buffers for ever."""
    task = make_task()
    with torch.no_grad():
        task.net.get_parameter("E0.k7.weight").mul_(1e200)
    before = snapshot(task)
    output = task.step(noisy_batch(6), 0, 1e-3, lambda: None)
    assert np.isfinite(output.loss) and np.isfinite(output.grad_norms).all() and not output.accepted
    assert_equal(before, snapshot(task))


def stop_after(calls: int) -> Callable[[], None]:
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise StopRequested("SIGTERM")

    return check


@pytest.mark.parametrize("calls", [1, 6])
def test_an_abandoned_step_leaves_no_trace_and_is_repeated_to_the_bit(calls: int) -> None:
    task, other = make_task(micro_batch_size=3, ema_decay=0.5), make_task(micro_batch_size=3, ema_decay=0.5)
    before = snapshot(task)
    with pytest.raises(StopRequested):
        task.step(noisy_batch(6), 0, 1e-3, stop_after(calls))
    assert_equal(snapshot(task), before)
    first = task.step(noisy_batch(6), 0, 1e-3, lambda: None)
    assert first == other.step(noisy_batch(6), 0, 1e-3, lambda: None)
    assert_equal(snapshot(task), snapshot(other))


def test_evaluation_changes_nothing_in_training() -> None:
    task, other = make_task(), make_task()
    batch = noisy_batch(6)
    data = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64)
    for step in range(2):
        task.step(batch, step, 1e-3, lambda: None)
        other.step(batch, step, 1e-3, lambda: None)
        random_state = torch.get_rng_state()
        score_pool(task.net, SPACE.pool(3), [data], [data])
        assert torch.equal(torch.get_rng_state(), random_state)
        assert_equal(snapshot(task), snapshot(other))
    task.step(batch, 2, 1e-3, lambda: None)
    other.step(batch, 2, 1e-3, lambda: None)
    assert_equal(snapshot(task), snapshot(other))


def test_shifted_paths_take_distinct_slices_that_rotate() -> None:
    task = make_task(path_batches="shifted", batch_size=2)
    seen: list[torch.Tensor] = []
    loss = task._loss
    task._loss = lambda unit, arch, piece, *rest: (seen.append(piece.images), loss(unit, arch, piece, *rest))[1]  # type: ignore[method-assign,func-returns-value]
    batch = noisy_batch(6)
    images = to_flow_batch(batch.images, batch.flow, batch.valid, CPU, torch.float64).images
    for step in range(3):
        seen.clear()
        task.step(batch, step, 0.0, lambda: None)
        assert len(seen) == 3
        for path, part in enumerate(seen):
            start = (path + step) % 3 * 2
            assert torch.equal(part, images[start : start + 2])


def test_staggered_paths_begin_at_another_slice_and_sum_up_to_the_same() -> None:
    batch, gradients, orders = noisy_batch(7), {}, {}
    for sharing in ("same", "staggered"):
        task = make_task(path_batches=sharing, batch_size=7, micro_batch_size=2)
        run, seen = task._loss, []
        task._loss = lambda unit, *rest, run=run, seen=seen: (seen.append((unit.path, unit.micro)), run(unit, *rest))[1]  # type: ignore[method-assign,func-returns-value]
        task.step(batch, 5, 0.0, lambda: None)
        gradients[sharing], orders[sharing] = task.gradient.vector.clone(), seen
        moments = {name: buffer for name, buffer in task.net.named_buffers()}
        gradients[sharing + " statistics"] = torch.cat([buffer.double().flatten() for buffer in moments.values()])
    for path in range(3):
        first = (path + 5) % 4
        assert [micro for one, micro in orders["staggered"] if one == path] == [*range(first, 4), *range(first)]
    assert sorted(orders["same"]) == sorted(orders["staggered"]) and orders["same"][0] != orders["staggered"][0]
    for name in ("", " statistics"):
        torch.testing.assert_close(gradients["staggered" + name], gradients["same" + name], rtol=1e-9, atol=1e-12)


def test_moving_average_follows_accepted_steps() -> None:
    task = make_task(ema_decay=0.75)
    start = task.net.get_parameter("E0.k7.weight").detach().clone()
    task.step(noisy_batch(6), 0, 1e-2, lambda: None)
    assert task.average is not None
    expected = 0.75 * start + 0.25 * task.net.get_parameter("E0.k7.weight").detach()
    torch.testing.assert_close(task.average.average["E0.k7.weight"].detach(), expected)


def test_load_restores_every_tensor() -> None:
    task, other = make_task(ema_decay=0.5), make_task(ema_decay=0.5)
    task.step(noisy_batch(6), 0, 1e-3, lambda: None)
    other.load({file: dict(named) for file, named in task.tensors().items()})
    assert_equal(snapshot(task), snapshot(other))
    task.step(noisy_batch(6), 1, 1e-3, lambda: None)
    other.step(noisy_batch(6), 1, 1e-3, lambda: None)
    assert_equal(snapshot(task), snapshot(other))


# ---- gradient readings: against autograd by hand, and that taking one leaves no trace ----

FIXED = ("E0", "E1", "Down1", "Down2", "Up1", "Up2")
WATCHED: dict[str, Any] = {"grad_clip_global_norm": 1.0, "weight_decay": 0.3}


def read(task: SupernetTask, batch: Batch, step: int = 4) -> SimpleNamespace:
    return SimpleNamespace(**task.read_gradients(batch, step, lambda: None))


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


@pytest.mark.parametrize(
    ("micro", "sharing", "position"), [(None, "same", "step"), (4, "same", "micro_step"), (2, "shifted", "step")]
)
def test_norms_and_cosine_by_hand(micro: int | None, sharing: str, position: str) -> None:
    shifted = sharing == "shifted"
    batch = noisy_batch(18 if shifted else 6)
    reading = read(
        make_task(**WATCHED, micro_batch_size=micro, path_batches=sharing, grad_clip_position=position), batch
    )
    gradients = by_hand(batch, 4, micro, shifted)
    assert reading.paths == list(map(str, fair_cycle(SPACE, 0, 4)))
    assert list(reading.norms) == [slot.name for slot in layout(SPACE)]
    for path, gradient in enumerate(gradients):
        for block, norms in reading.norms.items():
            own = [g.flatten() for name, g in gradient.items() if name.split(".")[0] == block]
            assert norms[path] == pytest.approx(torch.cat(own).norm().item(), rel=1e-9), block
        whole = torch.cat([g.flatten() for g in gradient.values()])
        assert reading.all[path] ** 2 == pytest.approx(sum(norms[path] ** 2 for norms in reading.norms.values()))
        assert reading.all[path] == pytest.approx(whole.norm().item(), rel=1e-9)
    shared = [torch.cat([g[n].flatten() for n in g if n.split(".")[0] in FIXED]) for g in gradients]
    cosines = [torch.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(shared, 2)]
    assert reading.path_cosine == pytest.approx(np.mean(cosines), rel=1e-9)


def test_a_reading_leaves_no_trace() -> None:
    keys = WATCHED | {"ema_decay": 0.9, "grad_clip_position": "micro_step", "micro_batch_size": 4}
    watched, plain = make_task(**keys), make_task(**keys)
    torch.manual_seed(1)
    for step in range(2):
        before, random = snapshot(watched), torch.get_rng_state()
        read(watched, noisy_batch(6, seed=7), step)
        assert torch.equal(torch.get_rng_state(), random)
        assert_equal(snapshot(watched), before)
        outputs = [task.step(noisy_batch(6, seed=step), step, 1e-3, lambda: None) for task in (watched, plain)]
        assert outputs[0] == outputs[1]
    assert_equal(snapshot(watched), snapshot(plain))


def test_non_finite_gradients_are_read_as_such() -> None:
    batch = noisy_batch(6)
    batch.flow[2, 5, 5], batch.valid[2, 5, 5] = np.nan, True
    reading = read(make_task(**WATCHED), batch)
    assert np.isnan(reading.all).all() and reading.path_cosine is not None and np.isnan(reading.path_cosine)


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_stop_ends_a_reading(calls: int) -> None:
    with pytest.raises(StopRequested):
        make_task(**WATCHED).read_gradients(noisy_batch(6), 0, stop_after(calls))


def test_a_single_model_has_one_path_and_no_cosine() -> None:
    config = TrainConfig(width=2, batch_size=6, task="edgeflownet")
    task = SupernetTask(EdgeFlowNet(2), config, 0, World(), CPU)
    reading = read(task, noisy_batch(6))
    assert len(reading.all) == 1 and reading.path_cosine is None
    assert sum(norms[0] ** 2 for norms in reading.norms.values()) == pytest.approx(reading.all[0] ** 2, rel=1e-5)
