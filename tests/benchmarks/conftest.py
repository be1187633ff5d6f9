import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent / "benchmarks"), str(TESTS)]  # the scripts, tiny.py

from edgeflownas.hardware.latency import torch_threads  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """Torch's threads wait for each other actively, which on a busy machine takes a hundred times as long."""
    with torch_threads(1):
        yield
