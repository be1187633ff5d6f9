"""Task qat: how it starts, and what a step of it may change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_tiny  # noqa: E402

from edgeflownas.config import TrainConfig
from edgeflownas.data.registry import open_dataset
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import FrozenBatches, freeze_split
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.recalibrate import recalibrate
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.deployed.rounded import RoundedNet
from edgeflownas.space import get_space
from edgeflownas.train.distributed import World
from edgeflownas.train.measure import random_batch
from edgeflownas.train.qat import calibrate_rounded
from edgeflownas.train.tasks import SupernetTask

CPU = torch.device("cpu")
SPACE = get_space("v1")
ONE = SPACE.restrict(SPACE.parse("000021222"))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> FrozenBatches:
    """Two batches of three pairs, 40x56."""
    data = make_tiny(tmp_path_factory.mktemp("data"))
    dataset = open_dataset(str(data / "train"), "train", "data.train_dir", None)
    split = freeze_split(dataset, "tiny", (40, 56), 3, None, "spread", "", lambda text: None)
    return FrozenBatches(split, dataset, None, CPU, torch.float64)


def calibrated(batches: FrozenBatches, method: str = "minmax") -> RoundedNet:
    net = RoundedNet(ONE, 2, seed=3).double()
    calibrate_rounded(net, batches, method)
    return net


def test_it_starts_from_what_an_evaluation_would_have_seen(batches: FrozenBatches) -> None:
    net = calibrated(batches)
    plain = RoundedNet(ONE, 2, seed=3).double().subnet(next(iter(ONE))).eval()
    statistics = recalibrate(plain, list(plain.space), batches)
    lent = {slot: pair for slots in statistics.values() for slot, pair in slots.items()}
    net.rounded = False
    with torch.no_grad(), use_statistics(plain, lent):
        for batch in batches:
            for ours, theirs in zip(net(batch.images), accumulate(plain(batch.images)), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    ends = torch.stack([torch.cat([net(b.images)[2][:, :2].flatten() for b in batches]).aminmax()[i] for i in (0, 1)])
    torch.testing.assert_close(
        torch.tensor(net.tensor_ranges()["flow"], dtype=torch.float64), ends, rtol=1e-9, atol=1e-9
    )


def test_the_method_decides_the_ranges(batches: FrozenBatches) -> None:
    widths = [calibrated(batches, method).ranges.diff(dim=1).sum() for method in ("minmax", "percentile:99", "mse")]
    assert widths[1] < widths[0] and widths[2] < widths[0]
    with pytest.raises(ConfigError, match="often"):
        calibrated(batches, "often")


def make_task(batches: FrozenBatches, **keys: object) -> SupernetTask:
    chosen = {"task": "qat", "arch": ("000021222",), "init_from": "runs/source", "width": 2, "batch_size": 6, **keys}
    return SupernetTask(calibrated(batches), TrainConfig(**chosen), 0, World(), CPU)  # type: ignore[arg-type]


def test_the_gradient_does_not_depend_on_the_micro_batch_size(batches: FrozenBatches) -> None:
    gradients = []
    for size in (None, 4, 1):
        task = make_task(batches, micro_batch_size=size, grad_clip_global_norm=None)
        task.step(random_batch(6, (32, 32)), 4, 0.0, lambda: None)
        gradients.append(task.gradient.vector.clone())
    for other in gradients[1:]:
        assert torch.linalg.vector_norm(other - gradients[0]) <= 1e-10 * torch.linalg.vector_norm(gradients[0])


@pytest.mark.parametrize("position", ["step", "micro_step"])
def test_a_step_moves_weights_and_nothing_else(batches: FrozenBatches, position: str) -> None:
    task = make_task(batches, grad_clip_position=position, micro_batch_size=4, ema_decay=0.5)
    average = task.average
    assert average is not None
    average.take_buffers(task.net)
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    assert task.step(random_batch(6, (32, 32)), 0, 1e-3, lambda: None).accepted
    parameters = {name for name, _ in task.net.named_parameters()}
    for name, value in task.net.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in parameters), name
    assert torch.equal(average.net.get_buffer("ranges"), before["ranges"])
    bad = random_batch(6, (32, 32))
    bad.flow[:] = float("inf")
    held = {name: value.clone() for name, value in task.net.state_dict().items()}
    assert not task.step(bad, 1, 1e-3, lambda: None).accepted
    assert all(torch.equal(value, held[name]) for name, value in task.net.state_dict().items())
