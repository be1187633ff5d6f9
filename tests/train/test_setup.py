"""Parts of a run made from its configuration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeflownas.errors import ConfigError
from edgeflownas.train.setup import memory_in_words


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
