"""Parts of a run made from its configuration."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeflownas import limits
from edgeflownas.config import Config, DataConfig, EvalConfig, TrainConfig
from edgeflownas.data.check import Fingerprint
from edgeflownas.errors import ConfigError
from edgeflownas.files import canonical_json
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.setup import FINGERPRINTS, loading, new_net, run_pool, run_space, stored_fingerprints


def host_array() -> None:
    np.empty(2**50)


def host_tensor() -> None:
    torch.empty(2**58)


def gpu_tensor() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...")


@pytest.mark.parametrize("exhaust", [host_array, host_tensor, gpu_tensor])
def test_an_exhausted_memory_names_the_keys(exhaust: object) -> None:
    assert callable(exhaust)
    with pytest.raises(ConfigError, match=r"out of memory \(.+\): lower train.micro_batch_size"), memory_in_words():
        exhaust()


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="ours"), memory_in_words():
        raise RuntimeError("ours")


def test_the_task_decides_network_space_and_pool() -> None:
    data = DataConfig(channel_order="bgr")
    single = Config(
        train=TrainConfig(task="edgeflownet", width=4, batch_norm="frozen", input_normalisation="raw_0_255"), data=data
    )
    net = new_net(single, 0)
    assert isinstance(net, EdgeFlowNet) and (net.batch_norm, net.width) == ("frozen", 4)
    assert net.input_form == InputForm("raw_0_255", "bgr") and net.space is run_space(single)
    assert run_pool(single) == list(net.space)
    supernet = Config(train=TrainConfig(width=4), data=data, eval=EvalConfig(eval_pool_size=5))
    net = new_net(supernet, 0)
    assert isinstance(net, FlowNet) and net.input_form == InputForm("minus1_1", "bgr")
    assert net.subnet("000021222").input_form == net.input_form
    assert len(run_pool(supernet)) == 5 and run_space(supernet).name == "v1"


@pytest.mark.parametrize(
    ("fast", "given", "batches", "words"),
    [(False, None, 4, ""), (False, 3, 3, ""), (True, None, 8, "raised from 4"), (True, 3, 3, "is set")],
)
def test_batches_loaded_ahead(fast: bool, given: int | None, batches: int, words: str) -> None:
    train, said = TrainConfig(task="edgeflownet", fast_mode=fast), []
    config = Config(train=train, data=DataConfig(prefetch_batches=given))
    assert loading(config, said.append).prefetch_batches == batches
    assert len(said) == fast and words in "".join(said)


def test_the_fingerprints_of_many_files_are_read_back(tmp_path: Path) -> None:
    """More than limits.JSON, which 355,000 samples take: the run could not be resumed."""
    empty = Fingerprint("", 0, "val", "folder", "full", ())
    own = replace(empty, hash=hashlib.sha256(b'["full",[]]').hexdigest())
    document = canonical_json({"train": own.to_json(), "val": own.to_json()})
    (tmp_path / FINGERPRINTS).write_bytes(document + b" " * limits.JSON)
    assert stored_fingerprints(tmp_path) == (own, own)
