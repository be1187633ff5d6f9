"""What a configuration does, observed through the real code: one function per part, each from Config to plain data.

test_no_dead_keys.py compares what they return for two configurations that differ in one key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from edgeflownas.config import Config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import write_flo
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import UserError
from edgeflownas.evaluate.frozen import freeze
from edgeflownas.run.checkpoint import TrainState
from edgeflownas.run.manifest import choose_device, set_arithmetic
from edgeflownas.run.setup import build_net, freeze_eval_set, loading, open_split, open_splits, run_space, silent
from edgeflownas.train.loop import choose_best, quarantine
from edgeflownas.train.machine import World
from edgeflownas.train.plan import learning_rate
from edgeflownas.train.records import criterion
from edgeflownas.train.step import SupernetTask

HEIGHT, WIDTH = 40, 48


ROOT = Path()  # the test module puts a temporary folder here


def data_folder(name: str = "data", pairs: int = 5) -> Path:
    """A folder with train (``pairs``) and val (3) pairs of noise."""
    root = ROOT / name
    if root.exists():
        return root
    for split, count in (("train", pairs), ("val", 3)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng([pairs, number, split == "val"])
            stem = root / split / f"{number:07d}"
            for image in (0, 1):
                cv2.imwrite(f"{stem}-img_{image}.png", random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
            write_flo(f"{stem}-flow_01.flo", random.normal(0, 40, (HEIGHT, WIDTH, 2)).astype(np.float32))
    return root


def tiny() -> dict[str, dict[str, Any]]:
    """A run of two epochs of one step that takes well under a second."""
    return {
        "runtime": {"num_threads": 1, "tensorboard": False, "report": False},
        "train": {"width": 2, "gpu_device": -1, "num_epochs": 2, "batch_size": 2, "lr": 1e-2, **STEPS},
        "data": {
            "train_dir": str(data_folder() / "train"),
            "val_dir": str(data_folder() / "val"),
            "crop_size": (32, 32),
            "num_workers": 0,
        },
        "eval": {
            "eval_pool_size": 2,
            "eval_batches_per_arch": 1,
            "bn_recal_batches": 1,
            "batch_size": 2,
            "train_batches": 0,
            "pictures": 0,
        },
    }


STEPS = {"epoch_mode": "fixed_steps", "steps_per_epoch": 1, "monitor_every": None}


def digest(*arrays: Any) -> str:
    """Short hash of arrays or tensors."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def dataset(config: Config, split: str = "train") -> FlowDataset:
    return open_split(config, split)


def plan_of(config: Config) -> BatchPlan:
    paths = run_space(config).num_paths
    return BatchPlan.from_config(config.train, len(dataset(config)), paths, config.runtime.seed)


def or_error(function: Any) -> Any:
    """The result, or the text of the user error: refusing is an effect."""
    try:
        return function()
    except UserError as error:
        return str(error)


def order(config: Config) -> Any:
    """Sample indices of the first steps of two epochs."""
    plan = plan_of(config)
    return [plan.indices(epoch, step).tolist() for epoch in (0, 1) for step in range(min(3, plan.steps_per_epoch))]


def rates(config: Config) -> Any:
    """The learning rate over a plan of 100 draws, and a little beyond."""
    return [learning_rate(config.train, seen, 100) for seen in range(105)]


def batch(config: Config) -> Any:
    """The pixels and flow of the first training batch."""
    with Loader(dataset(config), plan_of(config), config.data, config.runtime.seed) as loader:
        first = loader.next_batch(0, 0)
    return digest(first.images, first.flow, first.valid), first.clipped_share


def names(config: Config) -> Any:
    """Which samples the two splits hold."""
    return [
        [str(path) for sample in dataset(config, split).samples for path in sample.files] for split in ("train", "val")
    ]


def names_of_roots(config: Config) -> Any:
    """Which samples a data set by name holds, or that nobody knows where it is."""
    return or_error(lambda: names(config))


class HalfWorld(World):
    """Rank 0 of 2 whose sums contain only its own share."""

    def sum(self, tensor: torch.Tensor) -> None:
        return None


def steps(config: Config, world: World = World(), count: int = 2) -> Any:  # noqa: B008
    """Facts of the first steps, and a hash of all tensors after them."""
    net = build_net(config, torch.device("cpu"))
    task = SupernetTask(net, config.train, config.runtime.seed, world, torch.device("cpu"))
    facts = []
    with Loader(dataset(config), plan_of(config), config.data, config.runtime.seed) as loader:
        for step in range(count):
            rate = learning_rate(config.train, step, count)
            facts.append(task.step(loader.next_batch(step, 0), step, rate, lambda: None))
    files = {
        file: digest(*(tensor.detach().numpy() for _, tensor in sorted(tensors.items())))
        for file, tensors in task.tensors().items()
    }
    return [str(fact) for fact in facts], files


def share_of_a_rank(config: Config) -> Any:
    """What rank 0 of 2 computes of a step."""
    return steps(config, HalfWorld(0, 2), 1)


def network(config: Config) -> Any:
    """Shapes and memory layout of the weights, or why there is no network."""
    return or_error(lambda: [(p.shape, p.stride()) for p in build_net(config, torch.device("cpu")).parameters()])


def device(config: Config) -> Any:
    return or_error(lambda: choose_device(config.train.gpu_device))


@contextlib.contextmanager
def arithmetic_restored() -> Iterator[None]:
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.backends.cudnn.benchmark = before[2]


def arithmetic(config: Config) -> Any:
    """Threads and determinism in force, not merely logged."""
    with arithmetic_restored():
        set_arithmetic(config)
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()


def frozen_set(config: Config) -> Any:
    """Samples, windows, batches and clip of the evaluation."""
    return freeze(config, dataset(config), dataset(config, "val"), ("train", "val"), lambda note: None).to_json()


def evaluated_names(config: Config) -> Any:
    """Samples and pool of the evaluation, of a set that is given too."""
    splits = open_splits(config, silent, silent, None, make_cache=False)
    frozen = freeze_eval_set(config, splits, silent)
    return frozen.evaluation.names, frozen.pool


def other_set() -> str:
    """The eval_set.json of a run that chose other samples."""
    config = Config(**{**tiny(), "eval": {**tiny()["eval"], "selection": "prefix", "eval_batches_per_arch": 2}})
    splits = open_splits(config, silent, silent, None, make_cache=False)
    file = ROOT / "other_set.json"
    file.write_text(json.dumps(freeze_eval_set(config, splits, silent).to_json()))
    return str(file)


def workers(config: Config) -> Any:
    """Number of workers, what is requested ahead, and how the wait for a batch ends when none delivers."""
    with (
        mock.patch.object(Loader, "_serve", lambda loader: None),
        Loader(dataset(config), plan_of(config), loading(config), config.runtime.seed) as loader,
    ):
        threads, ended = len(loader._threads), or_error(lambda: loader.next_batch(0, 0).names)
        return threads, ended, loader._samples.qsize()


def damaged(config: Config) -> Any:
    """What happens when a file of the training split turns out truncated."""
    folder = data_folder("damaged") / "train"
    found = scan_fc2(folder, "train")
    with open(folder / "0000001-flow_01.flo", "r+b") as file:
        file.truncate(100)
    try:
        with Loader(found, plan_of(config), config.data, 0) as loader:
            return or_error(lambda: [row.by_name for step in (0, 1) for row in loader.next_batch(0, step).replaced])
    finally:
        shutil.rmtree(folder.parent)


def quarantined(config: Config) -> Any:
    """What three bad samples of 100 lead to."""
    rows = [SimpleNamespace(bad_name=f"{i}", by_name="9", reason="truncated") for i in range(3)]
    plan, state = SimpleNamespace(num_samples=100), TrainState(planned=1, num_epochs=1)
    training: Any = SimpleNamespace(config=config, directory=None, plan=plan, state=state, console=mock.Mock())
    return or_error(lambda: quarantine(training, SimpleNamespace(replaced=rows)))  # type: ignore[arg-type]


def pool_result(*epes: float) -> Any:
    return SimpleNamespace(epes=list(epes), scores=[SimpleNamespace(epe=epe) for epe in epes])


def best_figure(config: Config) -> Any:
    """The figure that chooses the best checkpoint, of a skewed pool."""
    return criterion(config, pool_result(1.0, 2.0, 3.0, 10.0))


def early_stop(config: Config) -> Any:
    """After how many evaluations that gain little and then nothing training ends."""
    state = TrainState(planned=1, num_epochs=100)
    training: Any = SimpleNamespace(config=config, console=mock.Mock(), evaluator=mock.Mock(), state=state)
    for evaluation in range(10):
        if state.stopped_early:
            return evaluation
        choose_best(training, pool_result(max(4.0, 5.0 - 0.25 * evaluation)))
    return None
